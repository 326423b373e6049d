"""The arithmetic of the replay, compiled: does an alert's condition hold at each evaluation?

``counters`` evaluates scraped counters as Prometheus does: ``extrapolatedRate`` of promql/functions.go, per series,
from the first and the last sample of a range and the reset-corrected difference, which prefix sums give in one step.
Two things differ between versions: in 2.x a range is closed on both sides and the limit at the counter's zero is
applied before the comparison with 1.1 average intervals; in 3.x it is left-open and the limit is applied afterwards.
Most windows need not be looked at: the short one is asked first, and without a bad event, or with a product far from
the threshold, no division is needed. A product within 1e-9 of the threshold decides nothing, so that no answer differs
from the division's. Staleness markers never lie within a range, so a target that goes away is just missing samples.

Times are int64 milliseconds since the epoch. All functions release the GIL; numba caches the compiled code.

>>> t = np.array([0, 60_000, 120_000])
>>> v = np.array([0.0, 6.0, 12.0])
>>> round(extrapolated(t, v, np.zeros(3), 1, 2, 0, 120_000, 1.0, True), 9)
12.0
>>> round(extrapolated(t, v, np.zeros(3), 0, 2, -30_000, 120_000, 150.0, True), 9)
0.08
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., object])
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
CLEAR = 1e-9
"""How far from the threshold, relatively, a product must lie to decide without a division."""


def compiled(function: _F) -> _F:
    """Compile on first use and keep the code beside the module or in the user's cache; where neither can be written to
    (a read-only installation), compile anew in each process."""
    how = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(_F, numba.njit(cache=True, **how)(function))
    except RuntimeError:  # no locator available
        return cast(_F, numba.njit(**how)(function))


@compiled
def resets(values: Floats) -> Floats:
    """Return what a counter had reached before its resets, summed up to each sample; (n,) like ``values``."""
    lost, before = np.zeros(values.size), 0.0
    for i in range(1, values.size):
        if values[i] < values[i - 1]:
            before += values[i - 1]
        lost[i] = before
    return lost


@compiled
def extrapolated(
    times: Ints,
    values: Floats,
    lost: Floats,
    first: int,
    last: int,
    start_ms: int,
    at_ms: int,
    per: float,
    left_open: bool,
) -> float:
    """Return ``increase`` / ``per`` of the range whose first and last of at least two samples are given."""
    raw = (values[last] - values[first]) + (lost[last] - lost[first])
    sampled = (times[last] - times[first]) / 1000.0
    average = sampled / (last - first)
    to_start = (times[first] - start_ms) / 1000.0
    to_end = (at_ms - times[last]) / 1000.0
    far = average * 1.1
    to_zero = sampled * (values[first] / raw) if raw > 0.0 and values[first] >= 0.0 else np.inf
    if left_open and to_start >= far:
        to_start = average / 2.0
    to_start = min(to_start, to_zero)
    if to_start >= far:  # only in 2.x
        to_start = average / 2.0
    if to_end >= far:
        to_end = average / 2.0
    return float(raw * ((sampled + to_start + to_end) / sampled / per))


@compiled
def counters(
    times: Ints,
    values: Floats,
    lost: Floats,
    starts: Ints,
    evaluations: tuple[int, int, int],
    windows: tuple[int, int],
    threshold: float,
    min_bad: float,
    form: tuple[bool, bool, bool],
    met: Bools,
) -> None:
    """Set ``met[i]`` where the condition holds at the i-th evaluation, for any number of summed series.

    Counter c has the samples starts[c]..starts[c + 1] - 1; counters 2s and 2s + 1 are the events and the total of
    series s. ``evaluations`` are first instant, step and count, ``windows`` the short and the long one, in
    milliseconds. ``form``: the events are good ones, ranges are left-open, ``rate`` instead of ``increase``.
    """
    (begin, step, count), (short, long) = evaluations, windows
    good, left_open, rate = form
    short_s, long_s = (short / 1000.0, long / 1000.0) if rate else (1.0, 1.0)
    n = starts.size - 1
    ends, short_firsts, long_firsts = starts[:n].copy(), starts[:n].copy(), starts[:n].copy()
    for i in range(count):
        at = begin + i * step
        for c in range(n):
            while ends[c] < starts[c + 1] and times[ends[c]] <= at:
                ends[c] += 1
        if not good and not _any_event(values, lost, ends, short_firsts, times, at - short, left_open):
            continue
        events = _sum(times, values, lost, short_firsts, ends, 0, at - short, at, short_s, left_open)
        total = _sum(times, values, lost, short_firsts, ends, 1, at - short, at, short_s, left_open)
        if not _error_ratio(events, total, good) > threshold:
            continue
        events = _sum(times, values, lost, long_firsts, ends, 0, at - long, at, long_s, left_open)
        total = _sum(times, values, lost, long_firsts, ends, 1, at - long, at, long_s, left_open)
        if not _error_ratio(events, total, good) > threshold:
            continue
        if min_bad > 0.0 and rate:
            events = _sum(times, values, lost, long_firsts, ends, 0, at - long, at, 1.0, left_open)
            total = _sum(times, values, lost, long_firsts, ends, 1, at - long, at, 1.0, left_open)
        met[i] = min_bad <= 0.0 or (total - events if good else events) >= min_bad


@compiled
def _error_ratio(events: float, total: float, good: bool) -> float:
    return 1.0 - events / total if good else events / total


@compiled
def first_in(times: Ints, first: int, end: int, start_ms: int, left_open: bool) -> int:
    """Return the index of the first sample in a range, looking from ``first`` on."""
    while first < end and (times[first] < start_ms or (left_open and times[first] == start_ms)):
        first += 1
    return first


@compiled
def _any_event(
    values: Floats, lost: Floats, ends: Ints, firsts: Ints, times: Ints, start_ms: int, left_open: bool
) -> bool:
    """Return whether the events of any series have risen in the range."""
    for c in range(0, ends.size, 2):
        first = first_in(times, firsts[c], ends[c], start_ms, left_open)
        firsts[c] = first
        last = ends[c] - 1
        if last > first and (values[last] != values[first] or lost[last] != lost[first]):
            return True
    return False


@compiled
def _sum(
    times: Ints,
    values: Floats,
    lost: Floats,
    firsts: Ints,
    ends: Ints,
    kind: int,
    start_ms: int,
    at_ms: int,
    per: float,
    left_open: bool,
) -> float:
    """Return the sum over all series' events (kind 0) or totals (1); NaN where none has two samples in the range."""
    total, rest, seen = 0.0, 0.0, False
    for c in range(kind, firsts.size, 2):
        first = first_in(times, firsts[c], ends[c], start_ms, left_open)
        firsts[c] = first
        if ends[c] - first < 2:
            continue
        value = extrapolated(times, values, lost, first, ends[c] - 1, start_ms, at_ms, per, left_open)
        added = total + value
        if left_open:  # 3.x sums with compensation (Kahan, Neumaier)
            rest += (total - added) + value if total >= value else (value - added) + total
        total, seen = added, True
    return total + rest if seen else np.nan


@compiled
def one_counter(
    times: Ints,
    events: Floats,
    total: Floats,
    events_lost: Floats,
    total_lost: Floats,
    evaluations: tuple[int, int, int],
    windows: tuple[int, int],
    threshold: float,
    min_bad: float,
    form: tuple[bool, bool, bool],
    met: Bools,
) -> None:
    """Do what ``counters`` does for one series whose events and total were scraped together.

    Where the total is far from its zero, the events are extrapolated at most by the total's factor: the ratio of the
    plain differences is then at least the error ratio, and decides most evaluations without a division.
    """
    (begin, step, count), (short, long) = evaluations, windows
    good, left_open, rate = form
    short_s, long_s = (short / 1000.0, long / 1000.0) if rate else (1.0, 1.0)
    clear = threshold * (1.0 - CLEAR)
    end, first, long_first, n = 0, 0, 0, times.size
    for i in range(count):
        at = begin + i * step
        while end < n and times[end] <= at:
            end += 1
        first = first_in(times, first, end, at - short, left_open)
        last = end - 1
        if last <= first:
            continue
        happened = (events[last] - events[first]) + (events_lost[last] - events_lost[first])
        if not good and happened == 0.0:
            continue
        whole = (total[last] - total[first]) + (total_lost[last] - total_lost[first])
        bad = whole - happened if good else happened
        sampled = times[last] - times[first]
        before = times[first] - (at - short)
        far_from_zero = total[first] * sampled >= whole * before
        # In 2.x a zero that is near can also extrapolate further: up to 1.1 intervals instead of half of one.
        late = not left_open and before * (last - first) >= 1.05 * sampled
        far_from_zero = far_from_zero and (not (good or late) or events[first] * sampled >= happened * before)
        if bad < clear * whole and far_from_zero:
            continue
        a = extrapolated(times, events, events_lost, first, last, at - short, at, short_s, left_open)
        b = extrapolated(times, total, total_lost, first, last, at - short, at, short_s, left_open)
        if not _error_ratio(a, b, good) > threshold:
            continue
        long_first = first_in(times, long_first, end, at - long, left_open)
        a = extrapolated(times, events, events_lost, long_first, last, at - long, at, long_s, left_open)
        b = extrapolated(times, total, total_lost, long_first, last, at - long, at, long_s, left_open)
        if not _error_ratio(a, b, good) > threshold:
            continue
        if min_bad > 0.0 and rate:
            a = extrapolated(times, events, events_lost, long_first, last, at - long, at, 1.0, left_open)
            b = extrapolated(times, total, total_lost, long_first, last, at - long, at, 1.0, left_open)
        met[i] = min_bad <= 0.0 or (b - a if good else a) >= min_bad
