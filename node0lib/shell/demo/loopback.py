"""Ports of this machine: which are free, and one HTTP request to one of them, without proxies, TLS or redirects.

>>> free_port_numbers(2) != free_port_numbers(2)
True
>>> url(20001, "/metrics")
'http://127.0.0.1:20001/metrics'
"""

from __future__ import annotations

import http.client
import secrets
import socket
import sys
from urllib.parse import urlencode

from node0lib.errors import RunError

LOOPBACK = "127.0.0.1"
# Below what Linux, Windows and macOS take for outgoing connections: a port stays free while its process is down.
_FIRST_PORT, _PORTS = 20_000, 12_000


def url(port: int, path: str = "") -> str:
    """Return the address of a path on a port of this machine."""
    return f"http://{LOOPBACK}:{port}{path}"


def fetch(
    port: int, path: str, *, query: dict[str, str] | None = None, body: bytes | None = None, patience_s: float = 2.0
) -> tuple[int, str]:
    """Return (status, text) of a GET, or of a POST if there is a body; raises OSError without an answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=patience_s)
    asked = f"{path}?{urlencode(query)}" if query else path
    try:
        connection.request("GET" if body is None else "POST", asked, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


def free_port_numbers(count: int) -> list[int]:
    """Return that many ports that are free now, all different; raises RunError if there are not enough."""
    found: list[int] = []
    start = secrets.randbelow(_PORTS)
    for step in range(_PORTS):
        if len(found) == count:
            return found
        port = _FIRST_PORT + (start + step) % _PORTS
        if _is_free(port):
            found.append(port)
    raise RunError(f"fewer than {count} ports from {_FIRST_PORT} on are free on {LOOPBACK}; end something")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        if sys.platform != "win32":  # there it would let two servers share a port
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
