"""The demo's real stack for tests: brought up in a folder, its counters, weights and faults at hand, taken down.

``needs_demo`` skips where HAProxy or Prometheus is missing. ``running_demo`` yields a ``Demo``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node0lib.errors import ConfigError
from node0lib.optimize.knobs import POLICY_EXAMPLE
from node0lib.ports import Policy
from node0lib.shell.demo.faults import inject
from node0lib.shell.demo.layout import QUERIES, Arm, Ports
from node0lib.shell.demo.stack import Stack, down, programs, standing, up
from node0lib.shell.demo.telemetry import ask, runtime


def _missing() -> str:
    try:
        programs()
    except ConfigError as error:
        return str(error)
    return ""


needs_demo = pytest.mark.skipif(bool(_missing()), reason=_missing() or "everything is there")


@dataclass(frozen=True)
class Demo:
    """A demo that is up in ``folder``."""

    folder: Path

    @property
    def stack(self) -> Stack:
        """What is on record now; a crash that restarts changes it."""
        found = standing(self.folder)
        assert found is not None
        return found

    @property
    def ports(self) -> Ports:
        """Where everything listens: ``front`` takes the traffic, ``admin`` is HAProxy's runtime API."""
        return self.stack.ports

    @property
    def target(self) -> Path:
        """The file for ``node0 canary run --target``."""
        return self.stack.target

    def weigh(self, arm: Arm, weight: int) -> None:
        """Set the weight of an arm (0..256; stable starts with 100, canary with 0)."""
        assert runtime(self.ports.admin, f"set server app/{arm} weight {weight}") == ""

    def count(self, name: str, arm: Arm) -> float:
        """Return what Prometheus answers to the target's query ``requests`` or ``errors`` now."""
        found = ask(self.ports, QUERIES[name].replace("$arm", arm))
        assert found is not None, f"{name} of {arm}: no data"
        return found

    def await_scrape(self) -> None:
        """Return when HAProxy's counters were scraped by a scrape that begins after the call."""
        now = time.time()
        await_that(lambda: (ask(self.ports, 'timestamp(up{job="haproxy"})') or 0.0) > now, "a scrape")

    def share_of_errors(self, arm: Arm, requests: int = 150) -> float:
        """Return which share of the next requests of an arm is counted as errors; waits for so many."""
        return self.counted("errors", arm, requests)

    def counted(self, name: str, arm: Arm, requests: int) -> float:
        """Return how much a counter of an arm grows for each of its next requests, those from now on."""
        self.await_scrape()
        before = self.count("requests", arm), self.count(name, arm)
        await_that(lambda: self.count("requests", arm) >= before[0] + requests, f"{requests} requests to {arm}")
        # Both once more: the queries are answered one after the other, and a scrape may lie between them.
        settled = self.count("requests", arm), self.count(name, arm)
        return (settled[1] - before[1]) / (settled[0] - before[0])

    def fault(self, kind: str, arm: Arm = "canary", **options: Any) -> str:
        """Put a fault in force (see ``node0lib.shell.demo.faults.inject``); "clear" ends all of them."""
        return inject(self.folder, kind, arm, **options)


def await_that(condition: Callable[[], bool], what: str, patience_s: float = 30.0) -> None:
    """Return when the condition holds; fails the test if it does not in all that time."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"not within {patience_s:g} s: {what}"
        time.sleep(0.1)


@contextmanager
def running_demo(folder: Path, rate: float = 100, policy: Policy = POLICY_EXAMPLE) -> Iterator[Demo]:
    """Yield a demo that is up and measured; ``folder`` takes its files. Afterwards none of its processes is left."""
    up(folder, rate=rate, policy=policy)
    try:
        yield Demo(folder.resolve())
    finally:
        down(folder)
