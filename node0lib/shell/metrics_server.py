"""An HTTP endpoint for a Prometheus: ``/metrics`` in the format that the client asks for, and ``/-/healthy``.

Promise: a stored file that cannot be read is one HTTP 500 with one line, said on stderr too, and the server goes on.
Requests run side by side; a client that stalls is left after 30 s. Anything else than GET and HEAD is refused, any
other path is a 404 that says where the metrics are. Formats: OpenMetrics 1.0 and the text format 0.0.4, chosen by the
Accept header with its weights (RFC 9110, section 12.5.1); compressed by gzip where the client takes it.

>>> chosen("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1")
'openmetrics'
>>> chosen("*/*"), chosen("text/plain, application/openmetrics-text;q=0.2")
('text', 'text')
"""

from __future__ import annotations

import gzip
import os
import socket
import socketserver
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.exposition import ThreadingWSGIServer

from node0lib.errors import Node0Error, RunError
from node0lib.shell.exporter import CONTENT_TYPES, Exporter, Format, render
from node0lib.shell.workspace import Places

PATH, HEALTHY = "/metrics", "/-/healthy"
_PLAIN = "text/plain; charset=utf-8"
Start = Callable[[str, list[tuple[str, str]]], Any]


class MetricsServer(ThreadingWSGIServer):
    """A server that listens already; ``serve_forever`` answers, ``server_close`` ends. Port 0 takes a free one.

    Raises RunError if the address cannot be listened on.
    """

    # On Windows this option would let two servers share a port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, exporter: Exporter, address: str, port: int, places: Places) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            told = f"{address}:{port}: cannot be listened on ({why}); choose another --port or --address"
            raise RunError(told) from error
        self._metrics = _App(exporter, places)
        self.set_app(self._metrics)

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of the address, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def warm_up(self) -> None:
        """Read everything once, so that the first scrape is as fast as the others; what is wrong is told."""
        self._metrics.answer("text")

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}{PATH}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away or stalled is no news; anything else is told with its traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(WSGIRequestHandler):
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


class _App:
    """The WSGI application."""

    def __init__(self, exporter: Exporter, places: Places) -> None:
        self._exporter, self._places = exporter, places

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        status, headers, body = self._respond(environ)
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _respond(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Type", _PLAIN)], b"use GET or HEAD\n"
        if path == HEALTHY:
            return "200 OK", [("Content-Type", _PLAIN)], b"node0 metrics: healthy\n"
        if path != PATH:
            return "404 Not Found", [("Content-Type", _PLAIN)], f"the metrics are at {PATH}\n".encode()
        return self.answer(chosen(environ.get("HTTP_ACCEPT", "")), environ.get("HTTP_ACCEPT_ENCODING", ""))

    def answer(self, form: Format, encodings: str = "") -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body of the metrics."""
        try:
            body = render(self._exporter, form)
        except Node0Error as error:
            reason = self._places.told(str(error)).splitlines()[0]
            print(f"error: {reason}", file=sys.stderr, flush=True)
            return "500 Internal Server Error", [("Content-Type", _PLAIN)], f"{reason}\n".encode()
        headers = [("Content-Type", CONTENT_TYPES[form]), ("Vary", "Accept, Accept-Encoding")]
        if _weight(encodings, {"gzip"}) > 0:
            return "200 OK", [*headers, ("Content-Encoding", "gzip")], gzip.compress(body, 6, mtime=0)
        return "200 OK", headers, body


def chosen(accept: str) -> Format:
    """Return the format that an Accept header asks for: text, unless OpenMetrics 1.x is named and weighs as much."""
    wanted = _weight(accept, {"application/openmetrics-text"}, ("", "1."))
    text = _weight(accept, {"text/plain", "text/*", "*/*"})
    return "openmetrics" if wanted > 0 and wanted >= text else "text"


def _weight(header: str, names: set[str], versions: tuple[str, ...] = ()) -> float:
    """Return the largest weight of any of the names in a header, 0 if it has none of them."""
    return max((q for name, version, q in _accepted(header) if name in names and _fits(version, versions)), default=0.0)


def _fits(version: str, versions: tuple[str, ...]) -> bool:
    return not versions or any(version.startswith(v) if v else not version for v in versions)


def _accepted(header: str) -> Iterator[tuple[str, str, float]]:
    """Yield (name, version, weight) of the header's entries; a weight that is no number is 0."""
    for entry in header.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        named = dict(p.split("=", 1) for p in parameters if "=" in p)
        try:
            weight = float(named.get("q", "1"))
        except ValueError:
            weight = 0.0
        yield name, named.get("version", ""), weight
