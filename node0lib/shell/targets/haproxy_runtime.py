"""HAProxy's runtime API: one command a connection, and every answer read for what it is.

HAProxy has no status codes here: a command that worked answers an empty line, and a command that did not answers text
("No such server.", "Permission denied"). So text after a ``set`` is a refusal, and a listing without its header too.

Source: HAProxy 2.6 management guide, 9.1 (``show stat``, CSV) and 9.3 (``show servers state``, ``set server``).

>>> text = '''1
... # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
... 3 app 1 stable 127.0.0.1 2 0 95
... 3 app 2 canary 127.0.0.1 2 8 5
... '''
>>> [(one.name, one.weight, one.effective, str(one)) for one in parse_servers(text)]
[('stable', 95, 95, 'stable weight 95 running'), ('canary', 5, 0, 'canary weight 5 running, draining')]
>>> parse_statistics("# pxname,svname,lbtot,status\\napp,canary,7,UP\\n")["canary"]["lbtot"]
'7'
"""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from node0lib.errors import ConfigError, RunError

_STATES = {0: "stopped", 1: "starting", 2: "running", 3: "stopping"}
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10
_LARGEST = 4 << 20
_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):(?P<port>[0-9]{1,5})")


class Refused(RunError):
    """HAProxy answered, and its answer is no."""


@dataclass(frozen=True)
class Server:
    """A server of a backend as HAProxy runs it now: its weight in 0..256 and whether it may be chosen at all."""

    name: str
    weight: int
    state: int
    admin: int

    @property
    def serving(self) -> bool:
        """Whether the balancer may choose it: starting or running, and neither in maintenance nor drained."""
        return self.state in (1, 2) and not self.admin & (_MAINTENANCE | _DRAINING)

    @property
    def effective(self) -> int:
        """The weight that counts: 0 for a server that is down, in maintenance or drained."""
        return self.weight if self.serving else 0

    def __str__(self) -> str:
        notes = [_STATES.get(self.state, f"in state {self.state}")]
        notes += ["in maintenance"] if self.admin & _MAINTENANCE else []
        notes += ["draining"] if self.admin & _DRAINING else []
        return f"{self.name} weight {self.weight} {', '.join(notes)}"


@dataclass(frozen=True)
class Address:
    """Where a runtime API listens: ``host:port``, or the path of a unix socket. Raises ConfigError if it is neither."""

    text: str

    def __post_init__(self) -> None:
        if not _TCP.fullmatch(self.text):
            self._check_path()
        elif not 0 < int(self.text.rpartition(":")[2]) < 65536:
            raise ConfigError(f"the port of {self.text} must lie in 1..65535; write for example 127.0.0.1:9999")

    def _check_path(self) -> None:
        if "/" not in self.text or "\0" in self.text:
            raise ConfigError(
                f"{self.text!r} is no address of a runtime API; write host:port, or the path of a unix socket"
            )
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError(f"{self.text}: this system has no unix sockets; let HAProxy listen on 127.0.0.1:PORT")

    def connect(self, timeout: float) -> socket.socket:
        """Return a connected socket; raises OSError."""
        found = _TCP.fullmatch(self.text)
        if found:
            return socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(timeout)
            link.connect(self.text)
        except OSError:
            link.close()
            raise
        return link

    @property
    def for_socat(self) -> str:
        """The address as socat spells it, for the person who has to do it by hand."""
        return f"tcp-connect:{self.text}" if _TCP.fullmatch(self.text) else f"unix-connect:{self.text}"


class Runtime:
    """The client; it holds no connection, so it never goes stale. ``timeout``, in seconds, bounds a whole exchange."""

    def __init__(self, address: str, *, timeout: float = 1.0) -> None:
        self.address = Address(address)
        self._timeout = timeout

    def ask(self, command: str) -> str:
        """Return what HAProxy answers to one command, stripped; raises RunError if nobody answers."""
        try:
            with self.address.connect(self._timeout) as link:
                link.sendall(f"{command}\n".encode())
                return _received(link, time.monotonic() + self._timeout).decode("utf-8", "replace").strip()
        except OSError as error:
            why = str(error) or type(error).__name__
            raise RunError(
                f"HAProxy's runtime API at {self.address.text} did not answer {command!r} ({why}); is HAProxy running?"
            ) from error

    def order(self, command: str) -> None:
        """Give a command that answers nothing when it worked; raises Refused with the answer, RunError without one."""
        answer = self.ask(command)
        if answer:
            raise Refused(f"HAProxy refused {command!r}: {_line(answer)}")

    def servers(self, backend: str) -> Mapping[str, Server]:
        """Return the servers of a backend by name; raises Refused if there is no such backend."""
        command = f"show servers state {backend}"
        answer = self.ask(command)
        try:
            return {one.name: one for one in parse_servers(answer)}
        except (ValueError, KeyError) as error:
            raise Refused(f"HAProxy answered {command!r} with {_line(answer) or 'nothing'}") from error

    def statistics(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        """Return the columns of ``show stat`` by server; raises Refused if there is no such backend."""
        command = f"show stat {backend} 4 -1"
        answer = self.ask(command)
        if not answer.startswith("# pxname,"):
            raise Refused(f"HAProxy answered {command!r} with {_line(answer) or 'nothing'}")
        return parse_statistics(answer)

    def chosen(self, backend: str, server: str) -> int:
        """Return how many times the balancer has chosen a server (``lbtot``); raises Refused."""
        try:
            return int(self.statistics(backend)[server]["lbtot"])
        except (KeyError, ValueError) as error:
            raise Refused(f"HAProxy does not count how often {backend}/{server} is chosen (lbtot)") from error


def parse_servers(text: str) -> list[Server]:
    """Return the servers of a ``show servers state``; raises ValueError or KeyError if it is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not lines[1].startswith("# "):
        raise ValueError("no header")
    rows = [dict(zip(lines[1][2:].split(), line.split(), strict=False)) for line in lines[2:]]
    return [
        Server(row["srv_name"], int(row["srv_uweight"]), int(row["srv_op_state"]), int(row["srv_admin_state"]))
        for row in rows
    ]


def parse_statistics(text: str) -> dict[str, dict[str, str]]:
    """Return the rows of a ``show stat`` by ``svname``."""
    return {row["svname"]: row for row in csv.DictReader(text.removeprefix("# ").splitlines())}


def _received(link: socket.socket, deadline: float) -> bytes:
    """Read to the end, which HAProxy marks by closing; raises OSError past the deadline or 4 MB."""
    found = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out in the middle of an answer")
        link.settimeout(left)
        part = link.recv(65536)
        if not part:
            return bytes(found)
        found += part
        if len(found) > _LARGEST:
            raise OSError("an answer of more than 4 MB")


def _line(answer: str) -> str:
    """The first line of an answer, printable and short: the rest of a refusal is HAProxy's whole help."""
    first = "".join(c for c in answer.partition("\n")[0] if c.isprintable())
    return repr(first if len(first) <= 200 else f"{first[:199]}…") if first else ""
