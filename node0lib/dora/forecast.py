"""What will the coming weeks be like? An interval for each of them, or why there is none.

- No trend was shown: a coming week is one more of the same, in whichever order. It lies between the k-th lowest and the
  k-th highest of n weeks with probability (n + 1 - 2k) / (n + 1) at least, whatever the distribution: 80% needs 9
  weeks, 95% needs 39. Nothing is fitted, so nothing can be wrong but the sameness itself.
- A trend was shown: Theil and Sen's line goes on, for at most a third of the weeks that it was seen in. The interval
  is the jackknife+: the line without each week, and how far off it was there, widened for how far ahead is asked. It
  is fitted to square roots of counts, logarithms of durations, shares as they are. Covers about what it says, not at
  least.

A week that lies beyond what the past weeks show (a holiday, a freeze, a bad release) is not foreseen, and a trend too
slow to be shown is not followed. Nominal 80% held, over 600 simulated histories of 26 weeks each
(tests/benchmarks/dora_coverage.py): 79 to 96% of steady ones by metric, 81 to 98% with a season or a bad release, 71 to
98% of improving and 68 to 85% of degrading ones.

Sources: Wilks (1941), Vovk et al. (2005, conformal); Barber, Candes, Ramdas & Tibshirani (2021, jackknife+).

>>> found = forecast([4, 6, 5, 7, 5, 6, 4, 5, 8], weeks=1)
>>> found.method, found.ahead[0].low, found.ahead[0].value, found.ahead[0].high
('level', 4.0, 5.0, 8.0)
>>> forecast([4, 6, 5]).reason
'cannot forecast: 3 weeks of data; an interval that holds in 80% of cases needs 9'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node0lib.dora.trends import trend
from node0lib.errors import ConfigError

Floats = NDArray[np.float64]
Scale = Literal["count", "duration", "share"]
Method = Literal["level", "trend"]
LEVEL = 0.8
_CARRIED = 3
"""A line is carried for one week for every so many in which it was seen."""
_FEWEST_FOR_LINE = 12


@dataclass(frozen=True)
class Ahead:
    """The ``week``-th week from now (1 is the next): the likely value between two that hold at the forecast's level."""

    week: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """What ``n`` weeks say of the next; ``ahead`` is empty (``method`` None) where they say nothing, ``reason`` why."""

    ahead: tuple[Ahead, ...]
    method: Method | None
    level: float
    n: int
    reason: str


def weeks_needed(level: float) -> int:
    """Return how many weeks an interval of that level needs at least; raises ConfigError outside (0, 1).

    >>> weeks_needed(0.8), weeks_needed(0.9), weeks_needed(0.95)
    (9, 19, 39)
    """
    if not 0 < level < 1:
        raise ConfigError(f"the level of a forecast is {level:g}; give one between 0 and 1, such as 0.8")
    return math.ceil(round(2 / (1 - level), 9)) - 1


def forecast(
    values: Sequence[float | None],
    *,
    weeks: int = 4,
    level: float = LEVEL,
    scale: Scale = "count",
    season: int = 1,
    sizes: Sequence[int] | None = None,
) -> Forecast:
    """Return the forecast of the next weeks from one number a week, oldest first; None is a week without one.

    ``season`` and ``sizes`` are those of ``trends.trend``. Raises ConfigError for no week, or a level outside (0, 1).
    """
    needed = weeks_needed(level)
    if weeks < 1:
        raise ConfigError(f"{weeks} weeks ahead are none; give at least 1")
    numbers = np.array([math.nan if value is None else value for value in values], np.float64)
    at = np.flatnonzero(np.isfinite(numbers))
    known, n = numbers[at], len(at)
    if n < needed:
        share = f"an interval that holds in {level * 100:g}% of cases needs {needed}"
        return Forecast((), None, level, n, f"cannot forecast: {n} week{'' if n == 1 else 's'} of data; {share}")
    found = trend(values, season, sizes)
    if found.verdict == "no evidence":
        one = _same(known, level)
        ahead = tuple(Ahead(week, *one) for week in range(1, weeks + 1))
        return Forecast(ahead, "level", level, n, f"no trend is shown in {n} weeks: a coming week is one more of them")
    if n < _FEWEST_FOR_LINE:
        text = f"cannot forecast: the weeks are {found.verdict}, and a line goes on only if seen in {_FEWEST_FOR_LINE}"
        return Forecast((), None, level, n, f"{text}; there are {n}")
    far = min(weeks, n // _CARRIED)
    line = _Line(at.astype(np.float64), known, scale)
    ahead = tuple(Ahead(week, *line.ahead(len(values) - 1 + week, level)) for week in range(1, far + 1))
    less = "" if far == weeks else f"; not further than a third of {n} weeks"
    return Forecast(ahead, "trend", level, n, f"the weeks are {found.verdict}: the line goes on{less}")


def _same(known: Floats, level: float) -> tuple[float, float, float]:
    """The median, and the order statistics between which one more week lies."""
    ordered = np.sort(known)
    place = math.floor(round((1 - level) / 2 * (len(known) + 1), 9))
    return float(np.median(ordered)), float(ordered[place - 1]), float(ordered[-place])


_Map = Callable[[Floats], Floats]


def _squares(roots: Floats) -> Floats:
    return np.maximum(np.maximum(roots, 0.0) ** 2 - 0.375, 0.0)


def _plain(values: Floats) -> Floats:
    return values


_SCALES: Mapping[Scale, tuple[_Map, _Map]] = {
    "count": (lambda counts: np.sqrt(counts + 0.375), _squares),
    "duration": (lambda spans: np.log(np.maximum(spans, 1.0)), np.exp),
    "share": (_plain, lambda shares: np.clip(shares, 0.0, 1.0)),
}
"""Onto a scale on which the spread does not depend on the size, and back; a duration has seconds, at least one."""


class _Line:
    """Theil and Sen's line through the weeks, and without each of them in turn."""

    def __init__(self, at: Floats, known: Floats, scale: Scale) -> None:
        there, self._back = _SCALES[scale]
        self._at, self._known, self._whole = at, there(known), scale == "count"
        early, late = np.triu_indices(len(at), 1)
        slopes = (self._known[late] - self._known[early]) / (at[late] - at[early])
        kept = [(early != out) & (late != out) for out in range(len(at))]
        self._slopes = np.array([np.median(slopes[mask]) for mask in kept])
        left = self._known - self._slopes[:, None] * at
        np.fill_diagonal(left, np.nan)
        self._middles = np.nanmedian(left, axis=1)
        self._slope = float(np.median(slopes))
        self._middle = float(np.median(self._known - self._slope * at))

    def ahead(self, week: float, level: float) -> tuple[float, float, float]:
        """The line's value in a week, and the jackknife+ interval around it."""
        off = np.abs(self._known - self._middles - self._slopes * self._at)
        reach = off * np.sqrt(self._spread(week) / self._spread(self._at))
        lines = self._middles + self._slopes * week
        place = max(1, math.floor(round((1 - level) * (len(off) + 1), 9)))
        low, high = np.sort(lines - reach)[place - 1], np.sort(lines + reach)[-place]
        value, low, high = self._back(np.array([self._middle + self._slope * week, low, high])).tolist()
        return (value, math.floor(low), math.ceil(high)) if self._whole else (value, low, high)

    def _spread(self, week: Floats | float) -> Floats:
        """How the variance of one more value around a line grows with the distance from the weeks' middle."""
        middle = self._at.mean()
        return np.asarray(1 + 1 / len(self._at) + (week - middle) ** 2 / ((self._at - middle) ** 2).sum())
