"""The demo's clients, a process of its own: ``python -m node0lib.shell.demo.load``.

An open loop: requests begin at the instants of a Poisson process, whether or not earlier ones were answered, as those
of many people would. At most ``IN_FLIGHT`` wait at a time; a request that finds as many is dropped and counted, so the
load on this machine is bounded. Keys follow Zipf's law; arrivals and keys come from the seed.

What clients saw is at ``/metrics``: ``load_requests_total{outcome}`` (ok, failed: an HTTP status from 400 on, broken:
no answer, late: none within ``PATIENCE_S``), ``load_dropped_total`` and ``load_in_flight``.

>>> keys = Keys(Random(1))
>>> [keys.draw() for _ in range(4)]
[2, 1249, 583, 6]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from bisect import bisect_left
from random import Random

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from node0lib.shell.demo.loopback import LOOPBACK
from node0lib.shell.demo.service import terminated

KEYS, IN_FLIGHT, PATIENCE_S, BEHIND_S = 5000, 64, 5.0, 1.0
OUTCOMES = ("ok", "failed", "broken", "late")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Keys:
    """Keys 1..``KEYS`` by Zipf's law with exponent 1."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._sums = list(itertools.accumulate(1.0 / rank for rank in range(1, KEYS + 1)))

    def draw(self) -> int:
        """Return the key that is asked for next."""
        return bisect_left(self._sums, self._random.random() * self._sums[-1]) + 1


class Clients:
    """Clients of one address; connections are kept open and used again."""

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        self._port, self._idle = port, list[Connection]()
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes = Counter("load_requests_total", "Requests by outcome.", ["outcome"], registry=registry)
        for outcome in OUTCOMES:
            self._outcomes.labels(outcome)
        self._dropped = Counter("load_dropped_total", "Requests not sent: too many waited.", registry=registry)
        Gauge("load_in_flight", "Requests that wait for an answer.", registry=registry).set_function(
            lambda: len(self._tasks)
        )

    def begin(self, path: str) -> None:
        """Send a request, or drop it if too many wait."""
        if len(self._tasks) >= IN_FLIGHT:
            self._dropped.inc()
            return
        task = asyncio.get_running_loop().create_task(self._request(path))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Give up what waits, and close every connection."""
        for task in self._tasks:
            task.cancel()
        for _, writer in self._idle:
            writer.close()

    async def _request(self, path: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                outcome = "ok" if await self._status(path) < 400 else "failed"
        except TimeoutError:
            outcome = "late"
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            outcome = "broken"
        self._outcomes.labels(outcome).inc()

    async def _connection(self) -> Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(LOOPBACK, self._port)

    async def _status(self, path: str) -> int:
        """Return the HTTP status of one GET; raises OSError, IncompleteReadError or ValueError without an answer."""
        reader, writer = await self._connection()
        kept = False
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n".encode())
            status, kept = await _answer(reader)
            return status
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer; return its status, and whether the connection can be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    lines = head.split("\r\n")
    headers = dict(line.split(":", 1) for line in lines[1:] if ":" in line)
    await reader.readexactly(int(headers.get("content-length", "0")))
    keep = "content-length" in headers and headers.get("connection", "").strip() != "close"
    return int(lines[0].split()[1]), keep


async def arrive(rate: float, random: Random, clients: Clients) -> None:
    """Send requests for ever, ``rate`` a second; after a pause of the machine no burst follows."""
    keys, due = Keys(random), time.monotonic()
    while True:
        due += random.expovariate(rate)
        wait = due - time.monotonic()
        if wait < -BEHIND_S:
            due = time.monotonic()
        elif wait > 0:
            await asyncio.sleep(wait)
        clients.begin(f"/items/{keys.draw()}")


class _Metrics(RequestHandler):
    def initialize(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest(self.registry))


async def drive(target: int, port: int, rate: float, seed: int) -> None:
    """Send requests to the target port until SIGTERM, with the metrics on ``port``."""
    stop, registry = terminated(), CollectorRegistry()
    server = HTTPServer(Application([("/metrics", _Metrics, {"registry": registry})], log_function=lambda _: None))
    server.add_sockets(bind_sockets(port, LOOPBACK))
    clients = Clients(target, registry)
    arrivals = asyncio.create_task(arrive(rate, Random(seed), clients))
    await asyncio.wait({arrivals, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if arrivals.done():
        arrivals.result()
    arrivals.cancel()
    clients.close()


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(description="The demo's clients.")
    parser.add_argument("--target", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(drive(given.target, given.port, given.rate, given.seed))


if __name__ == "__main__":
    main()
