"""The slow reference of the replay against small cases: Prometheus's own published ones, and some done by hand."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from extrapolated_rate import Samples, counter_sum, extrapolated_rate, firing, held, in_range, summed

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.replay import CounterSeries, Evaluations, replay_counters

MINUTE = 60_000


def every(minutes: int, *values: float, start: int = 0) -> Samples:
    return [((start + minutes * n) * MINUTE, float(value)) for n, value in enumerate(values)]


def rising(start: float, step: float, steps: int) -> list[float]:
    """Return start, start + step, ...: what promtool writes as start+step x steps."""
    return [start + step * n for n in range(steps + 1)]


def increase(samples: Samples, at: float, window: float, semantics: int) -> float | None:
    return counter_sum([samples], round(at * MINUTE), round(window * MINUTE), semantics, per_second=False)


def rate(samples: Samples, at: float, window: float, semantics: int) -> float | None:
    return counter_sum([samples], round(at * MINUTE), round(window * MINUTE), semantics, per_second=True)


FOO, DINGS, BUMMS = rising(0, 10, 10), rising(10, 10, 10), rising(1, 10, 10)
BAR = rising(0, 18, 5) + rising(0, 18, 5)


@pytest.mark.parametrize(
    ("values", "window", "expected"),
    [
        (FOO, 50, 100),
        (BAR, 50, 160),
        (DINGS, 50, 100),
        (BUMMS, 50, 100),
        (FOO, 100, 100),
        (BAR, 100, 162),
        (DINGS, 100, 105),
        (BUMMS, 100, 101),
        ([0, 1, 2, 3, 2, 3, 4], 30, 7),
    ],
)
def test_increase_as_prometheus_3_publishes_it(values: list[float], window: int, expected: float) -> None:
    """The cases of promql/promqltest/testdata/functions.test for increase() come out."""
    at = 30 if len(values) == 7 else 50
    assert increase(every(5, *values), at, window, semantics=3) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("start", "expected"), [(0, 0.5), (60, 0.55), (120, 0.6), (180, 0.6), (240, 0.6), (300, 0.6)]
)
def test_zero_limits_the_start_as_prometheus_3_publishes_it(start: int, expected: float) -> None:
    """In 3.x extrapolation ends half an interval before the first sample, or earlier at the counter's zero."""
    samples = every(4, *rising(start, 240, 10))
    assert rate(samples, 10, 20, semantics=3) == pytest.approx(expected, rel=1e-12)
    assert rate(samples, 50, 20, semantics=3) == pytest.approx(0.6, rel=1e-12)


def test_a_closed_range_has_the_sample_at_its_start() -> None:
    """Samples at 0, 5, ... 50: 50 minutes hold eleven of them in 2.x and ten in 3.x, and only 3.x extrapolates."""
    samples = every(5, *BAR)
    assert len(in_range(samples, 0, 50 * MINUTE, 2)) == 11
    assert len(in_range(samples, 0, 50 * MINUTE, 3)) == 10
    assert increase(samples, 50, 50, semantics=2) == 90 + 72
    assert increase(samples, 50, 50, semantics=3) == 144 * (50 / 45)


def test_a_zero_between_half_and_all_of_an_interval_separates_the_versions() -> None:
    """A zero 3 minutes before the first sample, at 4-minute scrapes: 2.x extrapolates 3 minutes, 3.x two."""
    samples = every(4, 180, 420, 660, start=100)
    assert increase(samples, 108, 20, semantics=2) == pytest.approx(480 * 11 / 8, rel=1e-15)
    assert increase(samples, 108, 20, semantics=3) == pytest.approx(480 * 10 / 8, rel=1e-15)


@pytest.mark.parametrize("semantics", [2, 3])
def test_extrapolation_reaches_less_than_eleven_tenths_of_an_interval(semantics: int) -> None:
    """65 s after the last scrape the end is reached; from 66 s on only half an interval is added."""
    samples = every(1, 1000, 1006, 1012)
    assert increase(samples, 2 + 65 / 60, 2 + 65 / 60 + 0.5, semantics) == pytest.approx(12 * (120 + 30 + 65) / 120)
    assert increase(samples, 2 + 66 / 60, 2 + 66 / 60 + 0.5, semantics) == pytest.approx(12 * (120 + 30 + 30) / 120)


@pytest.mark.parametrize("semantics", [2, 3])
def test_two_samples_are_needed(semantics: int) -> None:
    """None and one sample give no result, two equal ones give zero."""
    assert increase([], 5, 5, semantics) is None
    assert increase(every(1, 7, start=3), 5, 5, semantics) is None
    assert increase(every(1, 7, 7, start=3), 5, 5, semantics) == 0


@pytest.mark.parametrize("semantics", [2, 3])
def test_a_reset_adds_what_was_reached_before(semantics: int) -> None:
    """5, 8, 2, 3 has risen by 3 before the reset and by 3 after it."""
    samples = every(1, 5, 8, 2, 3)
    assert extrapolated_rate(samples, 0, 3 * MINUTE, semantics, per_second=False) == 6
    assert extrapolated_rate(samples, 0, 3 * MINUTE, semantics, per_second=True) == 6 * (1 / 180)


def test_sums_are_compensated_in_3_only() -> None:
    """1e16 + 1 + 1 loses both ones in 2.x and keeps them in 3.x; nothing to add is no result."""
    assert summed([1e16, 1.0, None, 1.0], 2) == 1e16
    assert summed([1e16, 1.0, None, 1.0], 3) == 1e16 + 2
    assert summed([None, None], 3) is None


def test_pending_starts_anew_after_each_gap() -> None:
    """With for 2m an alert fires at the third of three evaluations in a row, and never before."""
    met = [True, True, False, True, True, True, True]
    assert held(met, range(0, 7 * MINUTE, MINUTE), 2 * MINUTE) == [False] * 5 + [True] * 2
    assert held(met, range(0, 7 * MINUTE, MINUTE), 0) == met


@pytest.mark.parametrize(("semantics", "over"), [(2, 7), (3, 6)])
def test_the_alert_resets_one_interval_later_in_2(semantics: int, over: int) -> None:
    """Failures between minutes 2 and 3: four minutes see their rise until minute 6 in 2.x, until 5 in 3.x."""
    times = np.arange(12) * MINUTE
    bad = np.where(np.arange(12) >= 3, 10.0, 0.0) + 100
    series = CounterSeries(times, bad, 1000.0 + 10 * np.arange(12))
    window = timedelta(minutes=4)
    policy = AlertPolicy(0.99, timedelta(days=30), (BurnAlert("a", "critical", window, window, 1.0),))
    fires = firing(policy, [series], times.tolist(), semantics)[0]
    assert np.flatnonzero(fires).tolist() == list(range(3, over))
    assert (replay_counters(policy, [series], Evaluations(0, MINUTE, 12), semantics)[0] == fires).all()
