"""How a rollout of real traffic waits: the lease is renewed and people are heard however long a tick is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from node0lib.canary.rollout import Abort, Plan, Rollout
from node0lib.errors import RunError
from node0lib.shell import canary_live
from node0lib.shell.canary_live import Pulse
from node0lib.shell.canary_orders import Orders, Told
from node0lib.shell.lease import Lease
from node0lib.shell.records import dump

ROLLOUT, _ = Rollout.begin(Plan((0.5,), 1.0, "ask", 2.0), "r")


@dataclass
class Renewals:
    """A lease without a guard: it counts renewals, and is lost after ``at_most``."""

    at_most: int = 1000
    seen: list[float] = field(default_factory=list)

    def renew(self) -> None:
        self.seen.append(time.monotonic())
        if len(self.seen) > self.at_most:
            raise RunError("the lease is gone")


def _pulse(folder: Path, lease: Renewals, monkeypatch: pytest.MonkeyPatch) -> tuple[Pulse, Orders]:
    monkeypatch.setattr(canary_live, "_SLICE_S", 0.02)
    orders = Orders(folder)
    return Pulse(timedelta(seconds=0.3), orders, cast(Lease, lease)), orders


def test_a_long_tick_does_not_let_the_lease_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks the lease is renewed many times, and the looks keep their time."""
    lease = Renewals()
    pulse, _ = _pulse(tmp_path, lease, monkeypatch)
    begun = time.monotonic()
    assert pulse(ROLLOUT) is None and pulse(ROLLOUT) is None
    assert time.monotonic() - begun >= 0.6 and len(lease.seen) >= 4


def test_a_lost_lease_is_an_abort_before_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot renew does not wait for the tick to end."""
    pulse, _ = _pulse(tmp_path, Renewals(at_most=1), monkeypatch)
    assert pulse(ROLLOUT) == Abort("the lease is gone")


def test_people_are_heard_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word is taken once, and the look that was due meanwhile still comes."""
    lease = Renewals()
    pulse, orders = _pulse(tmp_path, lease, monkeypatch)
    told = Told("stop", "ada", datetime(2026, 1, 1, tzinfo=UTC), "")
    (tmp_path / "1-stop.json").write_bytes(dump(told))
    assert pulse(ROLLOUT) == Abort("ada stops it") and len(lease.seen) == 1
    assert pulse(ROLLOUT) is None and len(orders.read) == 1
