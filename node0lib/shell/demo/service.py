"""One instance of the demo's service, a process of its own: ``python -m node0lib.shell.demo.service``.

| path            | answer                                                                                        |
|-----------------|-----------------------------------------------------------------------------------------------|
| GET /items/KEY  | 200 and the value; 500 where a dependency failed, 503 where a fault refuses                   |
| GET /metrics    | ``http_requests_total{code}`` and ``http_request_duration_seconds`` of /items/                 |
| GET /-/healthy  | 200; 404 while the instance leaves, upon which HAProxy sends it nothing new                   |
| GET /-/policy   | ``{"sha256", "policy"}`` of the policy in force; the digest is that of ``policy_bytes``       |
| POST /-/reload  | reads the policy file again: 200 as above, or 400 with the reason, and the old one stays      |
| POST /-/fault   | a JSON object of ``Fault``'s fields replaces the fault in force; the empty one ends it        |

It listens on loopback only. Instances tell each other what they cached (a datagram to the peer for each value), so that
one with a twentieth of the traffic is judged by its policy and not by a cold cache. The arms therefore touch each
other: one that keeps its values longer computes fewer, of which the other hears less. SIGTERM ends it: it takes nothing
new and has ``GRACE_S`` to answer what it has.

>>> fault_of(b'{"error_share": 0.2}')
Fault(error_share=0.2, slow_share=0.0, slow_s=0.0, silent=False, leaving=False)
>>> fault_of(b'{"error_share": 2}')
Traceback (most recent call last):
node0lib.errors.ConfigError: error_share must be from 0 to 1, not 2
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import time
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from node0lib.alerts.metrics import family
from node0lib.errors import ConfigError
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.optimize.knobs import check_policy
from node0lib.ports import Policy
from node0lib.shell.demo.loopback import LOOPBACK
from node0lib.shell.demo.mechanics import FailedError, Mechanics
from node0lib.shell.policy_file import read_json

GRACE_S, LONGEST_S = 2.0, 60.0
REQUESTS, DURATIONS = "http_requests_total", "http_request_duration_seconds"


@dataclass(frozen=True)
class Fault:
    """What is wrong: shares of all requests (0..1) that fail or take ``slow_s`` seconds longer; no metrics; leaving."""

    error_share: float = 0.0
    slow_share: float = 0.0
    slow_s: float = 0.0
    silent: bool = False
    leaving: bool = False


def fault_of(body: bytes) -> Fault:
    """Return the fault that a JSON object describes; raises ConfigError."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise ConfigError(f"the fault is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ConfigError("the fault is no JSON object")
    known = {field.name for field in fields(Fault)}
    if unknown := sorted(set(data) - known):
        raise ConfigError(f"{', '.join(unknown)}: no such field of a fault; there are {', '.join(sorted(known))}")
    for name, value in data.items():
        _check(name, value)
    return Fault(**data)


def _check(name: str, value: object) -> None:
    if name in {"silent", "leaving"}:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, not {value}")
        return
    most = LONGEST_S if name == "slow_s" else 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConfigError(f"{name} must be from 0 to {most:g}, not {value}")


def read_policy(path: Path) -> Policy:
    """Read a policy file, without the rest of node0 that a workspace needs; raises ConfigError if it is not one."""
    try:
        document = read_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    if document.problems:
        raise ConfigError("\n".join(f"{path}:{problem.line}: {problem.text}" for problem in document.problems))
    return check_policy(document.data, str(path))


class Instance:
    """What all requests share: mechanics, fault, metrics and the policy file."""

    def __init__(self, policy_file: Path, seed: int, peer: int) -> None:
        """``peer``: the port of the other instance. Raises ConfigError for a bad policy file."""
        self._file, self._peer = policy_file, (LOOPBACK, peer)
        self.fault, self.mended = Fault(), asyncio.Event()
        self._random = Random(f"faults {seed}")
        self._mechanics = Mechanics(read_policy(policy_file), seed, time.monotonic, self._tell)
        self._datagrams: asyncio.DatagramTransport | None = None
        self.registry = CollectorRegistry()
        self._requests = Counter(REQUESTS, "Requests by HTTP status.", ["code"], registry=self.registry)
        for code in ("200", "500", "503"):
            self._requests.labels(code)
        buckets = family(DURATIONS).buckets
        self._durations = Histogram(DURATIONS, "Latency of requests.", buckets=buckets, registry=self.registry)

    def loaded(self) -> str:
        """Return the JSON that says which policy is in force."""
        policy = self._mechanics.policy
        return json.dumps({"sha256": sha256(policy_bytes(policy)), "policy": dict(policy)})

    def reload(self) -> None:
        """Read the policy file again; raises ConfigError and keeps the old policy if it is not valid."""
        self._mechanics.policy = read_policy(self._file)

    def set_fault(self, fault: Fault) -> None:
        """Put a fault in force, in place of the last."""
        self.fault = fault
        self.mended.set()
        self.mended = asyncio.Event()

    async def answer(self, key: str) -> tuple[int, str]:
        """Return (status, body) of a request, counted and timed."""
        start = time.perf_counter()
        code, body = await self._answer(key)
        self._durations.observe(time.perf_counter() - start)
        self._requests.labels(str(code)).inc()
        return code, body

    async def _answer(self, key: str) -> tuple[int, str]:
        if self._random.random() < self.fault.slow_share:
            await asyncio.sleep(self.fault.slow_s)
        if self._random.random() < self.fault.error_share:
            return 503, "a fault of the demo"
        try:
            return 200, await self._mechanics.answer(key)
        except FailedError as error:
            return 500, str(error)

    async def hear(self, port: int) -> None:
        """Begin to take the peer's values."""
        loop = asyncio.get_running_loop()
        mechanics = self._mechanics

        class Peer(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
                key, _, value = data.decode("utf-8", "replace").partition("\n")
                mechanics.remember(key, value)

            def error_received(self, exc: Exception) -> None:
                """A peer that is down hears nothing, and is cold when it comes back."""

        self._datagrams, _ = await loop.create_datagram_endpoint(Peer, local_addr=(LOOPBACK, port))

    def _tell(self, key: str, value: str) -> None:
        if self._datagrams is not None:
            self._datagrams.sendto(f"{key}\n{value}".encode(), self._peer)


class _Handler(RequestHandler):
    def initialize(self, instance: Instance) -> None:
        self.instance = instance

    def say(self, code: int, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.set_status(code)
        self.set_header("Content-Type", kind)
        self.finish(body)

    def compute_etag(self) -> None:
        return None  # nobody asks twice for the same thing


class _Items(_Handler):
    async def get(self, key: str) -> None:
        self.say(*await self.instance.answer(key))


class _Metrics(_Handler):
    async def get(self) -> None:
        while self.instance.fault.silent:
            await self.instance.mended.wait()
        self.say(200, generate_latest(self.instance.registry), CONTENT_TYPE_LATEST)


class _Healthy(_Handler):
    def get(self) -> None:
        leaving = self.instance.fault.leaving
        self.say(*((404, "leaving") if leaving else (200, "healthy")))


class _Policy(_Handler):
    def get(self) -> None:
        self.say(200, self.instance.loaded(), "application/json")


class _Command(_Handler):
    def prepare(self) -> None:
        """Take no command from elsewhere, nor from a page in a browser on this machine."""
        if self.request.remote_ip != LOOPBACK or "Origin" in self.request.headers:
            raise HTTPError(403)


class _Reload(_Command):
    def post(self) -> None:
        try:
            self.instance.reload()
        except ConfigError as error:
            self.say(400, f"{error}\n")
        else:
            self.say(200, self.instance.loaded(), "application/json")


class _Fault(_Command):
    def post(self) -> None:
        try:
            self.instance.set_fault(fault_of(self.request.body))
        except ConfigError as error:
            self.say(400, f"{error}\n")
        else:
            self.say(200, "done\n")


def application(instance: Instance) -> Application:
    """Return the HTTP application of an instance."""
    given = {"instance": instance}
    paths = {
        r"/items/([\w-]{1,64})": _Items, "/metrics": _Metrics, "/-/healthy": _Healthy, "/-/policy": _Policy,
        "/-/reload": _Reload, "/-/fault": _Fault,
    }  # fmt: skip
    return Application([(path, kind, given) for path, kind in paths.items()], log_function=lambda _: None)


def terminated() -> asyncio.Event:
    """Return an event that SIGTERM sets; call it on the running loop."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(event.set))
    return event


async def serve(policy_file: Path, port: int, peer: int, seed: int) -> None:
    """Serve until SIGTERM; raises ConfigError for a bad policy file, OSError for a port that is taken."""
    stop, instance = terminated(), Instance(policy_file, seed, peer)
    server = HTTPServer(application(instance))
    server.add_sockets(bind_sockets(port, LOOPBACK))
    await instance.hear(port)
    await stop.wait()
    server.stop()
    # Idle connections of HAProxy would be closed at once; requests that are being answered get their time.
    await asyncio.sleep(0.2)
    try:
        async with asyncio.timeout(GRACE_S):
            await server.close_all_connections()
    except TimeoutError:
        logging.getLogger(__name__).warning("some requests were not answered within %g s", GRACE_S)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="One instance of the demo's service.")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--peer", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.policy, given.port, given.peer, given.seed))


if __name__ == "__main__":
    main()
