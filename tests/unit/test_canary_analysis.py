"""What single looks may and may not say: quiet services, few requests, no control."""

from __future__ import annotations

import numpy as np
import pytest

from node0lib.canary.analysis import Analysis, Reading, absolute
from node0lib.ports import Arm, Baseline, Look
from node0lib.slo.catalogue import CanaryRules

SECOND = 1 / 60
NOBODY = Arm(0, 0, 0, 0)


def _at(share: float, *, rules: CanaryRules | None = None) -> Analysis:
    made = Analysis(rules or CanaryRules(), Baseline(0.05, 0.15, 0.04, 0.008), stages=3, error_limit=0.05)
    made.begin(share)
    return made


def _seen(analysis: Analysis, control: Arm, canary: Arm, *, minute: float = 0, length: float = SECOND) -> Reading:
    look = Look(minute, control, canary, length)
    analysis.add(look)
    return analysis.reading(look, whole=True)


def test_a_quiet_service_has_its_pauses() -> None:
    """Forty seconds without any request are no loss of telemetry where two a minute come; ten minutes are."""
    analysis = _at(0.5)
    for minute in range(10):
        assert _seen(analysis, Arm(1, 0, 0, 0), Arm(1, 0, 0, 0), minute=minute, length=1).lost is None
    told = [_seen(analysis, NOBODY, NOBODY, minute=10 + n / 3, length=1 / 3).lost for n in range(30)]
    assert told[:15] == [None] * 15 and told[-1] is not None and "telemetry is lost" in told[-1]


def test_a_busy_service_that_falls_silent_is_lost_telemetry() -> None:
    """Where a hundred come a second, half a minute of nothing says enough; a moment does not."""
    analysis = _at(0.5)
    _seen(analysis, Arm(50, 0, 0, 0), Arm(50, 0, 0, 0))
    told = [_seen(analysis, NOBODY, NOBODY, minute=n * SECOND).lost for n in range(1, 32)]
    assert told[28] is None and told[30] is not None


def test_who_was_never_heard_has_a_minute() -> None:
    """Looks between two scrapes are empty: a minute of them is lost telemetry, half a minute is not."""
    analysis = _at(0.05)
    told = [_seen(analysis, NOBODY, NOBODY, minute=n / 4, length=0.25).lost for n in range(4)]
    assert told[:3] == [None] * 3 and told[3] is not None


def test_a_look_with_no_request_changes_nothing() -> None:
    """An empty look leaves every verdict as it was."""
    analysis = _at(0.25)
    before = _seen(analysis, Arm(7500, 75, 300, 60), Arm(2500, 25, 100, 20)).verdicts
    assert _seen(analysis, NOBODY, NOBODY, minute=SECOND).verdicts == before


@pytest.mark.parametrize("requests", [1, 2, 4])
def test_one_slow_request_is_no_failure_of_the_watch(requests: int) -> None:
    """At 100% the first look of a quiet service has few requests, and one of them may be slow."""
    seen = absolute(Arm(requests, 1, 1, 1), error_limit=0.05)
    assert [v.kind for v in seen] == ["pass"] * 3 and all(v.low <= 1 for v in seen)


def test_the_watch_keeps_its_error_under_repeated_looks() -> None:
    """A canary exactly at the limit is rolled back in at most 1% of 60 watches, a worse one in all."""
    rng = np.random.default_rng(1)

    def ever(rate: float) -> float:
        counts = np.cumsum(rng.binomial(20, rate, (60, 60)), axis=1)
        failed = [any(absolute(Arm(20 * (n + 1), int(row[n]), 0, 0), 0.05)[0].kind == "fail" for n in range(0, 60, 6))
                  for row in counts]  # fmt: skip
        return sum(failed) / len(failed)

    assert ever(0.05) <= 0.01 and ever(0.2) == 1.0


def test_a_limit_of_everything_forbids_nothing() -> None:
    """An error limit of 100% is none: no division by zero, and nothing fails."""
    assert absolute(Arm(100, 100, 0, 0), error_limit=1.0)[0].kind == "pass"


def test_a_control_that_serves_nobody_loses_nothing_and_blames_nobody() -> None:
    """While stable is down there is no silence, no wrong share and no harm, only a broken control; then all goes on."""
    analysis = _at(0.05)
    _seen(analysis, Arm(9500, 95, 380, 76), Arm(500, 5, 20, 4))
    look = Look(1, NOBODY, NOBODY, 1, "stable weight 95 stopped")
    for _ in range(10):
        analysis.add(look)
        reading = analysis.reading(look, whole=True)
        assert (reading.lost, reading.failed, reading.control_down) == (None, None, True)
        assert reading.broken == "stable does not serve (stable weight 95 stopped)"
    after = _seen(analysis, Arm(950, 9, 38, 8), Arm(50, 1, 2, 0), minute=2)
    assert (after.lost, after.broken, after.control_down) == (None, None, False)
