"""The firing timeline: when each alert fired, and how much of the budget had gone when it began.

An interval is [start, end): start is the first evaluation at which the alert fires, end the first at which it no longer
does (of an alert that fires at the last evaluation, one step after it; ``resolved`` is then false). Budget spent is the
share of one period's budget: bad events of the last ``period`` before the onset, over B x the events that a period has
at the series' mean traffic (SRE Workbook, ch. 5: burn 14.4 for an hour is 2% of 30 days).

>>> from node0lib.alerts.policy import workbook_policy
>>> minutes = np.arange(1, 721) * 60_000
>>> bad = np.where((minutes > 7_200_000) & (minutes <= 9_000_000), 10.0, 0.0)
>>> series = BucketSeries(minutes, bad, np.full(720, 10.0))
>>> shown = replay(workbook_policy(), series)
>>> [(f.start.isoformat(), f.end.isoformat()) for f in shown[0].firings]
[('1970-01-01T02:01:00+00:00', '1970-01-01T02:35:00+00:00')]
>>> round(shown[0].firings[0].budget_spent, 6)
0.023148
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.replay import (
    Bools,
    BucketSeries,
    CounterSeries,
    Evaluations,
    Floats,
    Function,
    Ints,
    Semantics,
    replay_buckets,
    replay_counters,
)
from node0lib.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Firing:
    """One interval [start, end) in which an alert fires; ``budget_spent`` at its start, None without traffic."""

    start: datetime
    end: datetime
    resolved: bool
    budget_spent: float | None


@dataclass(frozen=True)
class AlertTimeline:
    """All firings of one alert; ``threshold`` is the error ratio it compares with."""

    alert: BurnAlert
    threshold: float
    firings: tuple[Firing, ...]

    @property
    def time_firing(self) -> timedelta:
        """How long it fires in all."""
        return sum((firing.end - firing.start for firing in self.firings), timedelta(0))


def replay(
    policy: AlertPolicy,
    series: CounterSeries | BucketSeries | Sequence[CounterSeries],
    *,
    interval: timedelta = timedelta(minutes=1),
    semantics: Semantics = 3,
) -> tuple[AlertTimeline, ...]:
    """Return the firing timeline of every alert of a policy, evaluated at multiples of ``interval``.

    ``series`` is one series of good/total buckets, or scraped counters (several are summed), evaluated as Prometheus
    ``semantics``.x does. Raises DataError for a series shorter than one interval.
    """
    many = (series,) if isinstance(series, CounterSeries | BucketSeries) else tuple(series)
    spans = [one.span for one in many]
    if not spans:
        raise DataError("there is no series to replay")
    begin, end = min(first for first, _ in spans), max(last for _, last in spans)
    step_ms = interval // timedelta(milliseconds=1)
    return timelines(policy, many, Evaluations.within(begin, end, step_ms), semantics)


def timelines(
    policy: AlertPolicy,
    series: Sequence[CounterSeries | BucketSeries],
    evaluations: Evaluations,
    semantics: Semantics = 3,
    function: Function = "rate",
) -> tuple[AlertTimeline, ...]:
    """Replay the policy on scraped counters (any number of series) or on one series of buckets.

    Raises DataError for a mixture, or several series of buckets: sum those first.
    """
    counters = [one for one in series if isinstance(one, CounterSeries)]
    buckets = [one for one in series if isinstance(one, BucketSeries)]
    if counters and not buckets:
        firing = replay_counters(policy, counters, evaluations, semantics, function)
    elif len(buckets) == 1 and not counters:
        firing = replay_buckets(policy, buckets[0], evaluations)
    else:
        raise DataError("a replay takes counters, or one series of buckets")
    spent = budget_spent(policy, series, evaluations.instants_ms)
    return tuple(
        AlertTimeline(alert, policy.threshold(alert), intervals(row, evaluations, spent))
        for alert, row in zip(policy.alerts, firing, strict=True)
    )


def intervals(met: Bools, evaluations: Evaluations, spent: Floats) -> tuple[Firing, ...]:
    """Return the intervals in which an alert fires; ``met`` and ``spent`` have one entry for each evaluation."""
    edges = np.diff(np.concatenate(([0], met.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)

    def at(index: int) -> datetime:
        return _EPOCH + timedelta(milliseconds=evaluations.begin_ms + index * evaluations.step_ms)

    return tuple(
        Firing(
            at(int(start)),
            at(int(end)),
            bool(end < met.size),
            float(spent[start]) if np.isfinite(spent[start]) else None,
        )
        for start, end in zip(starts, ends, strict=True)
    )


def budget_spent(
    policy: AlertPolicy, series: Sequence[CounterSeries | BucketSeries], instants_ms: Ints
) -> Floats:
    """Return the share of a period's budget spent in the period before each instant; NaN without any traffic."""
    period = round(policy.period.total_seconds() * 1000)
    bad, events, length = np.zeros(instants_ms.size), 0.0, 0
    for one in series:
        times = one.times_ms if isinstance(one, CounterSeries) else one.ends_ms
        risen, total = one.cumulated()
        bad += _risen_within(period, times, risen, instants_ms)
        events += float(total[-1])
        length = max(length, _length_ms(one, times))
    allowance = policy.budget * events * (period / length) if length else 0.0
    return bad / allowance if allowance > 0 else np.full(instants_ms.size, np.nan)


def _risen_within(period: int, times: Ints, risen: Floats, instants_ms: Ints) -> Floats:
    """Return by how much ``risen``, a running sum at ``times``, rose in the period before each instant."""
    if times is instants_ms and int(times[-1]) - period < int(times[0]):
        return risen  # no instant looks past the first bucket: a month and its own budget, over and over
    since = np.concatenate(([0.0], risen))
    return since[_reached(times, instants_ms)] - since[_reached(times, instants_ms - period)]


def _reached(times: Ints, instants_ms: Ints) -> Ints:
    """Return how many of the rising times lie at or before each of the rising instants."""
    if instants_ms[-1] < times[0]:
        return np.zeros(instants_ms.size, np.int64)
    if np.array_equal(times, instants_ms):
        return np.arange(1, times.size + 1)
    return np.asarray(np.searchsorted(times, instants_ms, side="right"), np.int64)


def _length_ms(series: CounterSeries | BucketSeries, times: Ints) -> int:
    """How much time the events took: between two scrapes, or from the first bucket's start on."""
    between = int(times[-1] - times[0])
    if isinstance(series, CounterSeries):
        return between
    if series.step_ms is not None:
        return between + series.step_ms
    return between + (int(np.median(np.diff(times))) if times.size > 1 else 0)
