"""Burn-rate alerts on scraped counters, evaluated slowly and obviously: every range is cut out and walked through.

It shares no code with the replay's kernel, keeps no state between evaluations and takes no short cut, so that the two
cannot be wrong in the same way. ``extrapolated_rate`` follows extrapolatedRate of Prometheus's promql/functions.go,
``summed`` the aggregation ``sum`` of promql/engine.go, in 2.x and in 3.x. None stands for "no result".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.replay import CounterSeries

Samples = list[tuple[int, float]]


def in_range(samples: Samples, start_ms: int, end_ms: int, semantics: int) -> Samples:
    """Return the samples of a range: closed on both sides in 2.x, left-open in 3.x."""
    return [(t, v) for t, v in samples if (start_ms < t or semantics == 2 and t == start_ms) and t <= end_ms]


def risen(samples: Samples) -> float:
    """Return by how much a counter rose from the first to the last of its samples; a fall is a reset to zero."""
    rise = samples[-1][1] - samples[0][1]
    for (_, before), (_, after) in zip(samples, samples[1:], strict=False):
        if after < before:
            rise += before
    return rise


def extrapolated_rate(
    samples: Samples, start_ms: int, end_ms: int, semantics: int, per_second: bool
) -> float | None:
    """Return ``rate`` (per second) or ``increase`` of one counter's samples within the range; None below two."""
    if len(samples) < 2:
        return None
    (first_t, first_v), (last_t, _), rise = samples[0], samples[-1], risen(samples)
    sampled = (last_t - first_t) / 1000
    average = sampled / (len(samples) - 1)
    to_start, to_end = (first_t - start_ms) / 1000, (end_ms - last_t) / 1000
    threshold = average * 1.1
    to_zero = sampled * (first_v / rise) if rise > 0 and first_v >= 0 else float("inf")
    if semantics == 2:
        to_start = min(to_start, to_zero)
        to_start = to_start if to_start < threshold else average / 2
    else:
        to_start = to_start if to_start < threshold else average / 2
        to_start = min(to_start, to_zero)
    to_end = to_end if to_end < threshold else average / 2
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor /= (end_ms - start_ms) / 1000
    return rise * factor


def summed(values: Sequence[float | None], semantics: int) -> float | None:
    """Return the ``sum`` of those that are there: plain in 2.x, with Kahan's and Neumaier's compensation in 3.x."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    total, compensation = present[0], 0.0
    for value in present[1:]:
        together = total + value
        if abs(total) >= abs(value):
            compensation += (total - together) + value
        else:
            compensation += (value - together) + total
        total = together
    return total + compensation if semantics == 3 else total


def counter_sum(
    counters: Sequence[Samples], at_ms: int, window_ms: int, semantics: int, per_second: bool
) -> float | None:
    """Return ``sum(rate(...[window]))`` or ``sum(increase(...[window]))`` over the counters at an instant."""
    start = at_ms - window_ms
    return summed(
        [
            extrapolated_rate(in_range(c, start, at_ms, semantics), start, at_ms, semantics, per_second)
            for c in counters
        ],
        semantics,
    )


def firing(
    policy: AlertPolicy,
    series: Sequence[CounterSeries],
    instants_ms: Sequence[int],
    semantics: int,
    function: str = "rate",
) -> np.ndarray:
    """Return which alerts fire at which of the equally spaced instants, (alerts, instants)."""
    events, total = [_samples(s.times_ms, s.events) for s in series], [_samples(s.times_ms, s.total) for s in series]
    good = series[0].form == "good"

    def holds(alert: BurnAlert, at: int) -> bool:
        def both(window_ms: int, per_second: bool) -> tuple[float | None, float | None]:
            one, other = (counter_sum(c, at, window_ms, semantics, per_second) for c in (events, total))
            return one, other

        long, short = _milliseconds(alert.long), _milliseconds(alert.short)
        ratios = [_error_ratio(*both(window, function == "rate"), good) for window in (long, short)]
        burns = all(ratio is not None and ratio > policy.threshold(alert) for ratio in ratios)
        return burns and (not alert.min_bad or _bad(*both(long, False), good) >= alert.min_bad)

    return np.array(
        [
            held([holds(alert, at) for at in instants_ms], instants_ms, _milliseconds(alert.hold))
            for alert in policy.alerts
        ]
    )


def held(met: Sequence[bool], instants_ms: Sequence[int], hold_ms: int) -> list[bool]:
    """Apply ``for``: pending since the first evaluation of an unbroken run, firing once that is ``hold`` ago."""
    fires, since = [], None
    for condition, at in zip(met, instants_ms, strict=True):
        since = (at if since is None else since) if condition else None
        fires.append(since is not None and at - since >= hold_ms)
    return fires


def _samples(times_ms: np.ndarray, values: np.ndarray) -> Samples:
    return [(int(t), float(v)) for t, v in zip(times_ms, values, strict=True) if not np.isnan(v)]


def _error_ratio(events: float | None, total: float | None, good: bool) -> float | None:
    if events is None or total is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.float64(events) / total)  # 0/0 is NaN, which is above nothing
    return 1 - ratio if good else ratio


def _bad(events: float | None, total: float | None, good: bool) -> float:
    assert events is not None and total is not None
    return total - events if good else events


def _milliseconds(duration) -> int:
    return round(duration.total_seconds() * 1000)
