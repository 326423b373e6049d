"""Intervals of many windows at once: the arrays' side of ``sli.intervals``, with the same results.

All are exact, so they cover at least what they are asked to, whatever the truth is; how much more, at a nominal 95%:

- ``share_bounds`` (Clopper-Pearson 1934): 95.0 to 100%; typically 96-98% of 20 to 100 trials, 98-100% of fewer or of
  rare failures. The usual ones are narrower and miss what is promised here (at least 93% at every n from 5 on): over
  shares of 0.5 to 50%, Wilson's goes down to 83% (5 or 6 trials, 3-4%), Jeffreys' to 87%. ``wilson_bounds`` is given
  beside it.
- ``rate_bounds`` (Garwood 1936, Poisson): 95.0 to 100%; about 98% of 5 events expected, 96% of 50.
- ``rank_bounds`` (order statistics): of a median 95.0-99%, of a 0.9 quantile the same; an end is missing (-1) where a
  sample is too small for it: under 6 for a median's both ends, under 36 for the upper end of a 0.9 quantile.
- ``recovery``: the Kaplan-Meier median between two order statistics. The lower end takes a censored span as if it had
  ended when it was last seen, the upper as if it never did. The truth lies between, so the interval covers at least
  what the order statistics do, whatever decides how long is watched; it is wide where much is censored.

>>> share_bounds(np.array([0]), np.array([59]), 0.05)[1].round(4)  # one-sided 95%: at most 5% of failures is shown
array([0.0495])
>>> recovery(np.array([600.0, 1200.0, 60.0]), np.array([True, True, False])).median
600.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
TAIL = 0.025
"""What a two-sided 95% interval may miss at each end."""
ONE_SIDED = 0.05
"""What a bound may miss that a target is compared with: 95% on one side."""


def share_bounds(hits: Ints, trials: Ints, tail: float = TAIL) -> tuple[Floats, Floats]:
    """Return Clopper and Pearson's bounds of hits/trials, each missed with at most ``tail``; NaN without a trial."""
    hits, trials = np.asarray(hits), np.asarray(trials)
    with np.errstate(invalid="ignore"):
        low = np.where(hits == 0, 0.0, special.betaincinv(np.maximum(hits, 1), trials - hits + 1, tail))
        high = np.where(hits == trials, 1.0, special.betaincinv(hits + 1, np.maximum(trials - hits, 1), 1 - tail))
    return np.where(trials == 0, np.nan, low), np.where(trials == 0, np.nan, high)


def wilson_bounds(hits: Ints, trials: Ints) -> tuple[Floats, Floats]:
    """Return Wilson's 95% bounds of hits/trials, as ``sli.intervals.wilson`` does; NaN without a trial."""
    z = float(stats.norm.ppf(1 - TAIL))
    with np.errstate(invalid="ignore", divide="ignore"):
        share, spread = hits / trials, z * z / trials
        middle = (share + spread / 2) / (1 + spread)
        half = z / (1 + spread) * np.sqrt(share * (1 - share) / trials + spread / (4 * trials))
        low = np.where(hits == 0, 0.0, np.maximum(0.0, middle - half))
        high = np.where(hits == trials, 1.0, np.minimum(1.0, middle + half))
    return np.where(trials == 0, np.nan, low), np.where(trials == 0, np.nan, high)


def rate_bounds(events: Ints, exposure: float, tail: float = TAIL) -> tuple[Floats, Floats]:
    """Return Garwood's bounds of events per unit of exposure (> 0), each missed with at most ``tail``."""
    events = np.asarray(events)
    low = np.where(events == 0, 0.0, special.gammaincinv(np.maximum(events, 1), tail))
    high = special.gammaincinv(events + 1, 1 - tail)
    return low / exposure, high / exposure


def rank_bounds(n: Ints, share: float, tail: float = TAIL) -> tuple[Ints, Ints, Ints]:
    """Return the places (from 0, -1 for none) of a quantile and its two bounds in ordered samples of n."""
    sizes, back = np.unique(np.asarray(n, dtype=np.int64), return_inverse=True)
    middle = np.ceil(np.round(sizes * share, 9)).astype(np.int64) - 1
    low = stats.binom.ppf(tail, sizes, share).astype(np.int64)
    low = np.where(stats.binom.cdf(low, sizes, share) <= tail, low + 1, low) - 1
    high = stats.binom.ppf(1 - tail, sizes, share).astype(np.int64)
    low, high = np.where(sizes == 0, -1, low), np.where(high >= sizes, -1, high)
    return middle[back], low[back], high[back]


@dataclass(frozen=True)
class Recovery:
    """Seconds: the Kaplan-Meier median (None: half have not recovered yet), its interval, and one-sided bounds."""

    median: float | None
    low: float | None
    high: float | None
    at_least: float | None
    at_most: float | None
    censored: int


def recovery(spans: Floats, ended: Bools, places: tuple[int, int, int, int] | None = None) -> Recovery:
    """Return the median of how long something lasts of which some is seen only in part.

    ``spans`` (n,) are seconds, ``ended`` (n,) whether the end was seen or, False, the watch broke off there.
    ``places`` are the order statistics of the bounds (two-sided low and high, one-sided low and high), if known.
    """
    n = len(spans)
    if n == 0:
        return Recovery(None, None, None, None, None, 0)
    low, high, least, most = places or median_places(n)
    early, late = np.sort(spans), np.sort(np.where(ended, spans, np.inf))
    return Recovery(
        _kaplan_meier(spans, ended, late),
        _finite(early, low),
        _finite(late, high),
        _finite(early, least),
        _finite(late, most),
        int(n - np.count_nonzero(ended)),
    )


def median_places(n: int) -> tuple[int, int, int, int]:
    """Return the places of a median's bounds in an ordered sample of n: two-sided low, high, one-sided low, high."""
    one = np.array([n])
    _, low, high = rank_bounds(one, 0.5)
    _, least, most = rank_bounds(one, 0.5, ONE_SIDED)
    return int(low[0]), int(high[0]), int(least[0]), int(most[0])


def _kaplan_meier(spans: Floats, ended: Bools, late: Floats) -> float | None:
    """The first time at which Kaplan and Meier's (1958) estimate of what still lasts is at most a half."""
    n = len(spans)
    middle = late[(n - 1) // 2]
    watched = spans[~ended]
    if not len(watched) or middle <= watched.min():
        return float(middle)  # nothing was censored before it: the estimate is the share itself
    order = np.lexsort((~ended, spans))  # at one time those that ended come before those that were lost from sight
    left = np.cumprod(1.0 - ended[order] / np.arange(n, 0, -1))
    reached = np.flatnonzero(left <= 0.5 + 1e-12)
    return float(spans[order][reached[0]]) if len(reached) else None


def _finite(ordered: Floats, place: int) -> float | None:
    return float(ordered[place]) if place >= 0 and np.isfinite(ordered[place]) else None
