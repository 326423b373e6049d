"""How a rollout of real traffic waits, is stopped and goes back: the lease is renewed and people are always heard."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from node0lib.canary.rollout import Abort, Approved, Command, Plan, Rollout
from node0lib.errors import RunError
from node0lib.shell import canary_live
from node0lib.shell.canary_live import Diary, Pulse, heed
from node0lib.shell.canary_orders import Orders, Told
from node0lib.shell.cli.frame import latched
from node0lib.shell.clocks import SystemClock
from node0lib.shell.lease import Lease
from node0lib.shell.records import dump
from node0lib.shell.targets.haproxy_runtime import Runtime
from node0lib.shell.targets.haproxy_weights import Balance, Unanswered

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


def test_a_word_that_was_taken_is_not_taken_again(tmp_path: Path) -> None:
    """A go-on that came while nothing was held does not wait for the next stage that is."""
    orders = Orders(tmp_path)
    (tmp_path / "1-go-on.json").write_bytes(dump(Told("go-on", "ada", datetime(2026, 1, 1, tzinfo=UTC), "")))
    assert orders.next() == Approved("ada") and orders.next() is None and orders.next() is None


def test_ctrl_c_that_a_library_swallows_still_ends_the_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who caught the KeyboardInterrupt does not matter: the next beat raises it again, without renewing the lease."""
    lease, before = Renewals(), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(canary_live, "_SLICE_S", 0.02)
    with latched() as stopped:
        pulse = Pulse(timedelta(seconds=0.05), Orders(tmp_path), cast(Lease, lease), stopped)
        assert pulse(ROLLOUT) is None and not stopped()
        renewed = len(lease.seen)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            pulse(ROLLOUT)
        with pytest.raises(KeyboardInterrupt):
            heed(stopped)
    assert len(lease.seen) == renewed and signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_the_first_signal_interrupts(number: signal.Signals) -> None:
    """What the first one began, the way back, is not disturbed by those that come after it."""
    with latched() as stopped:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stopped()


def test_a_way_back_is_confirmed_when_it_was_read_back() -> None:
    """What the target still does after that, counting and tidying, is no part of the way back."""
    diary, at = Diary(SystemClock()), datetime(2026, 1, 1, tzinfo=UTC)
    for kind in ("roll_back", "hold"):
        command = Command(kind, 0.0, "")  # type: ignore[arg-type]
        diary.told(ROLLOUT, command, False)
        diary.read_back = at if kind == "roll_back" else diary.read_back
        diary.told(ROLLOUT, command, True)
    assert diary.deeds[0].confirmed == at and diary.deeds[1].confirmed != at


def test_a_balancer_that_does_not_answer_is_no_canary_that_gets_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed that nobody can know, no socket is recommended that is dead, and it does not take long."""
    monkeypatch.setattr("node0lib.shell.targets.haproxy_weights._SILENCE", timedelta(seconds=0.3))
    balance = Balance(Runtime("127.0.0.1:1"), "app", "stable", "canary", timedelta(hours=1))
    with pytest.raises(Unanswered) as caught:
        balance.take_back(SystemClock())
    text = str(caught.value)
    assert text.startswith("HAProxy does not answer at 127.0.0.1:1: whether the canary gets traffic cannot be known; ")
    assert "start HAProxy again" in text and "STILL" not in text and "socat" not in text
