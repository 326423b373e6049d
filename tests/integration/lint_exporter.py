"""A small service for tests of the linter, as a process of its own; it prints its port.

The first errors of ``shop_requests_total`` come after the second scrape, in a series that nobody made before;
``calm_requests_total`` never has any; ``ready_requests_total`` has every label set from the start; ``shop_seconds`` is
a histogram with few buckets.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, start_http_server

FIRST_ERRORS = 7
"""How many errors the first scrape that sees any finds."""


class Scrapes:
    """Counts how often it was asked, and answers nothing."""

    def __init__(self) -> None:
        self.count = 0

    def collect(self) -> Iterable[Metric]:
        self.count += 1
        return ()


def main() -> None:
    """Serve and count until the process is ended."""
    registry, scrapes = CollectorRegistry(), Scrapes()
    registry.register(scrapes)
    names = ("shop", "calm", "ready")
    shop, calm, ready = (Counter(f"{n}_requests_total", "Requests.", ["code"], registry=registry) for n in names)
    seconds = Histogram("shop_seconds", "Latency.", buckets=(0.1, 0.25, 1), registry=registry)
    for code in ("200", "500"):
        ready.labels(code)
    for counter in (shop, calm, ready):
        counter.labels("200").inc(1000)  # long before anybody asked
    server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
    print(server.server_port, flush=True)
    failed = False
    while True:
        if scrapes.count >= 2 and not failed:
            shop.labels("500").inc(FIRST_ERRORS)
            failed = True
        for counter in (shop, calm, ready):
            counter.labels("200").inc()
        seconds.observe(0.05)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
