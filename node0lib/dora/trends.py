"""Does it get better? Theil and Sen's slope with Mann and Kendall's test, on weeks that do not overlap.

Rolling windows share their days, so a test on them finds trends in noise; ISO weeks (Monday to Monday, UTC, left-open
like every window) share none. A week without a number is left out and keeps its place in time. The test is exact, ties
included (``rank_sums``); the interval inverts it, so without ties it leaves out 0 exactly if a trend is shown. "No
evidence" comes with its reason: under 5 weeks it is the only answer, since no order of 4 is improbable (2 of 24).

Limits. The test takes weeks as exchangeable: it finds a trend in at most 5% of steady histories (simulated: 2 to 5% by
metric), one in twenty of what is looked at, so among five metrics of ten services expect some. Weeks that resemble
their neighbours (``resemblance``, the correlation of a week with the next, the line taken off) make it find more: 13%
at a correlation of 0.3, 28% at 0.6 (26 weeks). Above 1.96/sqrt(n) the reason says so; 26 weeks hardly show 0.3. A share
of three deployments is more often 0 than one of thirty, so a December of three looks like a trend (9% false ones where
it has a third of the deployments): given ``sizes``, weeks of under half the middle size are not compared, which leaves
6% and takes nothing from trends that are there (400 histories each). A rhythm of two weeks (a sprint) or of a year is
none if ``season`` names it: only weeks of one season are compared then (Hirsch, Slack & Smith 1982). A shorter piece of
a rhythm is a trend to it.

Sources: Theil (1950), Sen (1968), Mann (1945), Kendall (1975); ties by the inversions of a multiset (MacMahon 1915).

>>> trend([5.0, 4.0, 4.5, 3.0, 2.5, 2.0, 1.0]).verdict
'falling'
>>> trend([1.0, 2.0, 3.0, 4.0]).reason
'4 weeks have a number; with fewer than 5 no order of them is improbable'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from node0lib.dora.rank_sums import extreme, improbable
from node0lib.errors import ConfigError
from node0lib.timespan import ensure_utc

WEEK = timedelta(days=7)
_LEVEL, _FEWEST = 0.05, 5
Floats = NDArray[np.float64]
Verdict = Literal["rising", "falling", "no evidence"]


@dataclass(frozen=True)
class Trend:
    """The change per week with its 95% interval and the test's two-sided p; None where too few weeks have a number.

    ``start`` is the line's value in the first week given, ``resemblance`` the correlation of a week with the next,
    ``reason`` says what the verdict rests on.
    """

    verdict: Verdict
    slope: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    start: float | None = None
    resemblance: float | None = None
    reason: str = ""

    def at(self, week: float) -> float | None:
        """Return the line's value in a week, counted from 0; None without a slope."""
        return None if self.slope is None or self.start is None else self.start + self.slope * week


def week_ends(until: datetime, weeks: int) -> list[datetime]:
    """Return the ends of the last whole ISO weeks, oldest first: Mondays at midnight UTC, at or before ``until``."""
    until = ensure_utc(until)
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    last = midnight - timedelta(days=midnight.weekday())
    return [last - WEEK * back for back in range(weeks - 1, -1, -1)]


def week_name(end: datetime) -> str:
    """Return the ISO name of the week that ends then: 2026-W48.

    >>> from datetime import UTC
    >>> week_name(datetime(2026, 1, 5, tzinfo=UTC))
    '2026-W01'
    """
    year, week, _ = (end - timedelta(days=1)).isocalendar()
    return f"{year}-W{week:02}"


def trend(values: Sequence[float | None], season: int = 1, sizes: Sequence[int] | None = None) -> Trend:
    """Return the trend of one number a week, oldest first; None and NaN are weeks without one.

    With a ``season`` of so many weeks only weeks that lie whole seasons apart are compared; raises ConfigError under 1.
    ``sizes`` are how many events each week's number rests on, for shares: weeks of few are then left out.
    """
    if season < 1:
        raise ConfigError(f"a season has {season} weeks; give 1 for none, 2 for a rhythm of two weeks")
    numbers = np.array([math.nan if value is None else value for value in values], np.float64)
    small = _small(numbers, sizes)
    found = _tested(np.where(small, np.nan, numbers), season)
    if not small.any():
        return found
    least = f"{np.count_nonzero(small)} left out, with under half of the middle week's deployments"
    return replace(found, reason=f"{found.reason}; {least}")


def _small(numbers: Floats, sizes: Sequence[int] | None) -> NDArray[np.bool_]:
    """Which weeks have a number that rests on less than half as much as the middle week's."""
    known = np.isfinite(numbers)
    if sizes is None or not known.any():
        return np.zeros(len(numbers), np.bool_)
    size = np.asarray(sizes, np.int64)
    return known & (2 * size < np.median(size[known]))


def _tested(numbers: Floats, season: int) -> Trend:
    weeks = np.flatnonzero(np.isfinite(numbers))
    known, n = numbers[weeks], len(weeks)
    parts = [np.flatnonzero(weeks % season == phase) for phase in range(season)]
    slopes = np.sort(np.concatenate([_slopes(weeks[part], known[part]) for part in parts]))
    if not len(slopes):
        return Trend("no evidence", None, None, None, None, n, reason=_too_few(n, season))
    slope = float(np.median(slopes))
    score = sum(_score(known[part]) for part in parts)
    p = extreme(score, tuple(_ties(known[part]) for part in parts))
    bounds = _bounds(slopes, tuple((1,) * len(part) for part in parts))
    left = known - slope * weeks
    near = _resemblance(weeks, left)
    verdict: Verdict = "no evidence"
    if bounds and p < _LEVEL and slope * score > 0:
        verdict = "rising" if score > 0 else "falling"
    reason = _reason(p, n, slope, near) if bounds else _few(n, season)
    if not np.ptp(known):
        reason = f"all {n} weeks are equal"
    low, high = bounds or (None, None)
    return Trend(verdict, slope, low, high, p, n, float(np.median(left)), near, reason)


def _slopes(weeks: NDArray[np.int64], known: Floats) -> Floats:
    early, late = np.triu_indices(len(weeks), 1)
    found: Floats = (known[late] - known[early]) / (weeks[late] - weeks[early])
    return found


def _score(known: Floats) -> int:
    """Kendall's S: how many pairs rise, less how many fall."""
    early, late = np.triu_indices(len(known), 1)
    return int(np.sign(known[late] - known[early]).sum())


def _ties(known: Floats) -> tuple[int, ...]:
    """How many weeks share each value."""
    return tuple(sorted(np.unique(known, return_counts=True)[1].tolist()))


def _bounds(slopes: Floats, untied: tuple[tuple[int, ...], ...]) -> tuple[float, float] | None:
    """The slopes that the test does not exclude, or None if it can exclude none."""
    least = improbable(untied, _LEVEL)
    if least is None:
        return None
    place = (len(slopes) - least) // 2
    return float(slopes[place]), float(slopes[-1 - place])


def _resemblance(weeks: NDArray[np.int64], left: Floats) -> float | None:
    """The correlation of what is left of the line with the week after; None under 8 neighbours, or without spread."""
    neighbours = np.flatnonzero(np.diff(weeks) == 1)
    ranks = stats.rankdata(np.round(left, 9)) - (len(left) + 1) / 2
    if len(neighbours) < 8 or np.ptp(left) <= 1e-12 * (1 + np.abs(left).max()):
        return None
    found: Floats = (ranks[neighbours] * ranks[neighbours + 1]).mean() / (ranks**2).mean()
    return float(found)


def _too_few(n: int, season: int) -> str:
    apart = "" if season == 1 else f" and a season of {season}"
    return f"{n} week{'' if n == 1 else 's'} with a number{apart}: there is nothing to compare"


def _few(n: int, season: int) -> str:
    few = f"with fewer than {_FEWEST}" if season == 1 else f"in seasons of {season}"
    return f"{n} weeks have a number; {few} no order of them is improbable"


def _reason(p: float, n: int, slope: float, near: float | None) -> str:
    if p >= 1.0:
        return f"in {n} weeks as much rises as falls"
    chance = f"chance alone orders {n} weeks so, or more so, in {100 * p:.2g}% of cases"
    if p >= _LEVEL:
        return chance
    if slope == 0:
        return f"{chance}; but so many are equal that the middle slope is 0"
    if near is not None and near > 1.96 / math.sqrt(n):
        return f"{chance}; but weeks resemble their neighbours ({near:.2f}), so it does that more often"
    return chance
