"""The arithmetic of the replay on good/total buckets, compiled: windows are plain sums, without extrapolation.

Running sums make every window a difference; a product with the threshold is taken first and, within 1e-9 of it, decides
nothing, so that no answer differs from the division's. ``held`` is Prometheus's ``for``, for every kind of series.

>>> running_sums(np.array([1.0, np.nan, 2.0])).tolist()
[0.0, 1.0, 1.0, 3.0]
>>> met = np.array([True, True, False, True])
>>> held(met, 60_000, 60_000)
>>> met.tolist()
[False, True, False, False]
"""

from __future__ import annotations

import numpy as np

from node0lib.alerts.kernel import CLEAR, Bools, Floats, Ints, compiled, first_in
from node0lib.alerts.policy import fires

_fires = compiled(fires)


@compiled
def running_sums(values: Floats) -> Floats:
    """Return sums (n + 1,) of the values before each index; a bucket that nobody observed (NaN) adds nothing."""
    sums, so_far = np.empty(values.size + 1), 0.0
    sums[0] = 0.0
    for i in range(values.size):
        value = float(values[i])
        so_far += value if value == value else 0.0
        sums[i + 1] = so_far
    return sums


@compiled
def regular_buckets(
    bad: Floats,
    total: Floats,
    first: int,
    count: int,
    windows: tuple[int, int],
    threshold: float,
    min_bad: float,
    met: Bools,
) -> None:
    """Set ``met[i]`` where the condition holds after bucket ``first + i``; windows are numbers of buckets.

    ``bad`` and ``total`` are running sums. Before a window is full it holds what there is.
    """
    short, long = windows
    clear = threshold * (1.0 - CLEAR)
    for i in range(count):
        end = first + i + 1
        start = max(end - short, 0)
        met[i] = bad[end] - bad[start] > clear * (total[end] - total[start])
    for i in range(count):
        if met[i]:
            end = first + i + 1
            met[i] = _holds(bad, total, max(end - short, 0), max(end - long, 0), end, threshold, min_bad)


@compiled
def buckets(
    times: Ints,
    bad: Floats,
    total: Floats,
    evaluations: tuple[int, int, int],
    windows: tuple[int, int],
    threshold: float,
    min_bad: float,
    met: Bools,
) -> None:
    """Set ``met[i]`` where the condition holds at the i-th evaluation; ``times`` are the ends of the buckets.

    ``bad`` and ``total`` are running sums; a window (t - w, t] has the buckets that end in it.
    """
    (begin, step, count), (short, long) = evaluations, windows
    end, first, long_first, n = 0, 0, 0, times.size
    for i in range(count):
        at = begin + i * step
        while end < n and times[end] <= at:
            end += 1
        first = first_in(times, first, end, at - short, True)
        if bad[end] == bad[first]:
            continue
        long_first = first_in(times, long_first, end, at - long, True)
        met[i] = _holds(bad, total, first, long_first, end, threshold, min_bad)


@compiled
def weighted_buckets(
    times: Ints,
    bad: Floats,
    total: Floats,
    evaluations: tuple[int, int, int],
    windows: tuple[int, int, int],
    threshold: float,
    min_bad: float,
    met: Bools,
) -> None:
    """Do what ``buckets`` does with a threshold that traffic moves: times the period's usual traffic over the window's.

    ``windows`` are the short, the long and the period. While less than a period has been seen, its traffic is taken to
    go on as it was.
    """
    (begin, step, count), (short, long, period) = evaluations, windows
    end, first, long_first, period_first, n = 0, 0, 0, 0, times.size
    for i in range(count):
        at = begin + i * step
        while end < n and times[end] <= at:
            end += 1
        first = first_in(times, first, end, at - short, True)
        if bad[end] == bad[first]:
            continue
        long_first = first_in(times, long_first, end, at - long, True)
        period_first = first_in(times, period_first, end, at - period, True)
        seen = min(period, max(step, at - times[0] + step))
        usual = (total[end] - total[period_first]) * (long / seen)
        moved = threshold * (usual / (total[end] - total[long_first]))
        met[i] = _holds(bad, total, first, long_first, end, moved, min_bad)


@compiled
def _holds(
    bad: Floats, total: Floats, short: int, long: int, end: int, threshold: float, min_bad: float
) -> bool:
    """Return whether both ratios are above the threshold and enough bad events lie in the long window."""
    recent = (bad[end] - bad[short]) / (total[end] - total[short])
    events = bad[end] - bad[long]
    return _fires(recent, events / (total[end] - total[long]), events, threshold, min_bad)


@compiled
def held(met: Bools, step: int, hold: int) -> None:
    """Keep ``met[i]`` only where the condition has held for ``hold`` milliseconds of evaluations, ``step`` apart."""
    since = -1
    for i in range(met.size):
        if not met[i]:
            since = -1
            continue
        if since < 0:
            since = i
        met[i] = (i - since) * step >= hold
