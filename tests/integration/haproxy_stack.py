"""A small real stack for tests: Debian's HAProxy before two HTTP instances of the test's own process.

``running_haproxy`` yields where HAProxy listens; ``running_instance`` serves /work, /metrics, /-/reload and /-/policy,
and its counters, its policy and its faults are plain attributes; ``refusing`` stands before a runtime API and answers
some commands itself, as HAProxy would. Everything is on loopback and ends with the test.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="install Debian's haproxy")
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class HaproxyPorts:
    """Where HAProxy listens: its front, its runtime API with all rights, and one with too few."""

    front: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    operator: int = field(default_factory=free_port)

    def ask(self, command: str) -> str:
        """Return the raw answer to a command, by no code of node0."""
        with socket.create_connection(("127.0.0.1", self.admin), 5) as link:
            link.sendall(f"{command}\n".encode())
            return "".join(iter(lambda: link.recv(65536).decode(), ""))

    def weight(self, server: str) -> int:
        """Return the weight of a server of the backend, by ``get weight``."""
        return int(self.ask(f"get weight app/{server}").split()[0])


@contextmanager
def running_haproxy(folder: Path, ports: HaproxyPorts, stable: int, canary: int, *, weight: int = 0) -> Iterator[None]:
    """Run HAProxy on those ports; the canary begins with ``weight``, the stable one with 100."""
    config = folder / "haproxy.cfg"
    config.write_text(
        f"global\n  stats socket ipv4@127.0.0.1:{ports.admin} level admin\n"
        f"  stats socket ipv4@127.0.0.1:{ports.operator} level operator\n"
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  timeout server 10s\n"
        f"frontend front\n  bind 127.0.0.1:{ports.front}\n  default_backend app\n"
        f"backend app\n  balance roundrobin\n  server stable 127.0.0.1:{stable} weight 100\n"
        f"  server canary 127.0.0.1:{canary} weight {weight}\n",
        encoding="utf-8",
    )
    with (folder / "haproxy.log").open("ab") as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=log, stderr=log)
        try:
            wait_for(lambda: _listens(ports.admin))
            yield
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds; fails if it does not within that time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


class SmallInstance:
    """One instance: it counts what it serves, runs the policy of its file, and has the faults that a test sets."""

    def __init__(self, name: str, policy_file: Path) -> None:
        self.name, self.policy_file = name, policy_file
        self.policy: dict[str, object] = {}
        self.latency_s, self.failing, self.deaf, self.silent = 0.015, False, False, False
        self.stamp: Callable[[], float] | None = None
        self.served = 0
        self.lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Begin all counters at zero, as a new process does."""
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests.", ["arm", "code"], registry=self.registry)
        seconds = Histogram("seconds", "Latency.", ["arm"], buckets=BOUNDS, registry=self.registry)
        self.seconds = seconds.labels(self.name)
        for code in ("200", "500"):
            self.requests.labels(self.name, code)

    def work(self) -> int:
        """Count one request; returns its status."""
        code = 500 if self.failing else 200
        with self.lock:
            self.served += 1
        self.requests.labels(self.name, str(code)).inc()
        self.seconds.observe(self.latency_s)
        return code

    def metrics(self) -> bytes:
        """Return the exposition, with times of its own where the instance stamps what it tells."""
        text = generate_latest(self.registry).decode()
        stamp = f" {int(self.stamp() * 1000)}" if self.stamp else ""
        return "".join(f"{line}{'' if line.startswith('#') else stamp}\n" for line in text.splitlines()).encode()

    def answer(self, method: str, path: str) -> tuple[int, bytes]:
        """Answer a request."""
        if path == "/metrics":
            return (503, b"") if self.silent else (200, self.metrics())
        if path == "/-/policy":
            return 200, json.dumps({"policy": self.policy}).encode()
        if (method, path) == ("POST", "/-/reload"):
            self.policy = self.policy if self.deaf else json.loads(self.policy_file.read_bytes())
            return 200, b""
        return self.work(), b"done"


@contextmanager
def running_instance(name: str, folder: Path) -> Iterator[tuple[SmallInstance, int]]:
    """Yield the instance of an arm and its port; its policy file lies in ``folder``."""
    instance = SmallInstance(name, folder / f"{name}.json")

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize, disable_nagle_algorithm = -1, True  # an answer is one segment, or each takes 40 ms

        def do_GET(self) -> None:
            status, body = instance.answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return

        def handle(self) -> None:
            with contextlib.suppress(ConnectionResetError):  # HAProxy ends what it does not need any more
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield instance, server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def drive(port: int, requests: int) -> None:
    """Send requests one after the other through HAProxy."""
    link = HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(requests):
        link.request("GET", "/work")
        link.getresponse().read()
    link.close()


def target_file(ports: HaproxyPorts, prometheus: str, stable: int, canary: int, *, tick: str = "1s") -> bytes:
    """Return the target file of such a stack; the instances say themselves which arm they are."""
    arms = "".join(
        f"{arm}: {{server: {arm}, policy: {arm}.json, reload: 'http://127.0.0.1:{port}/-/reload',"
        f" loaded: 'http://127.0.0.1:{port}/-/policy'}}\n"
        for arm, port in (("stable", stable), ("canary", canary))
    )
    return (
        f"kind: haproxy\nsocket: 127.0.0.1:{ports.admin}\nbackend: app\nprometheus: {prometheus}\ntick: {tick}\n"
        f"{arms}queries:\n  requests: requests_total{{arm=\"$arm\"}}\n"
        f"  errors: sum(requests_total{{arm=\"$arm\",code=\"500\"}})\n  buckets: seconds_bucket{{arm=\"$arm\"}}\n"
    ).encode()


@contextmanager
def refusing(admin: int, refuses: Callable[[str, int], bool]) -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a runtime API that refuses where ``refuses(command, how many-th)``, and what it has heard."""
    heard: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link, link.makefile("r") as lines:
                command = lines.readline().strip()
                heard.append(command)
                if refuses(command, len(heard)):
                    link.sendall(b"Permission denied\n\n")
                    continue
                with socket.create_connection(("127.0.0.1", admin), 5) as real:
                    real.sendall(f"{command}\n".encode())
                    while part := real.recv(65536):
                        link.sendall(part)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
