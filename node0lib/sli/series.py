"""What happened: good and total events, with gaps explicit.

``Counts`` is one window; ``GoodTotal`` is a regular series of buckets, bucket i covering
(start + i*step, start + (i+1)*step]. NaN marks a bucket nobody observed; 0 of 0 is an observed
bucket without traffic. Good above total cannot be, nor bad above total: either is clamped, and the number of clamps
is kept. Where a latency threshold lies between two bucket bounds, good is known only within bounds: ``good`` is then
the least it can be, which every decision uses (the cautious side), and ``good_most`` the most.

>>> Counts(good=99.0, total=100.0, coverage=1.0).error_ratio
0.01
>>> Counts.of_bad(bad=1.0, total=100.0, coverage=1.0).good
99.0
>>> Counts(good=0.0, total=0.0, coverage=1.0).error_ratio is None
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from node0lib.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Good and total events of one window; ``coverage`` is the observed share of the window, 0..1.

    For a ratio or latency objective these are requests (PromQL's ``increase`` makes them fractional),
    for a timeslice slices, for an invariant samples. ``problem`` says why there is no data, if so; ``note`` what a
    reader should know of numbers that there are (a series that is missing, a threshold between bucket bounds).
    ``good_most`` is the upper bound of good, where ``good`` is only the lower one; None where good is exact.
    """

    good: float
    total: float
    coverage: float
    problem: str | None = None
    clamped: int = 0
    good_most: float | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.total > 0 and self.good > self.total:
            object.__setattr__(self, "good", self.total)
            object.__setattr__(self, "clamped", self.clamped + 1)
        if self.good_most is not None:
            most = min(self.good_most, self.total)
            object.__setattr__(self, "good_most", most if most > self.good else None)

    @classmethod
    def of_bad(
        cls, bad: float, total: float, coverage: float, *, clamped: int = 0, note: str | None = None
    ) -> Counts:
        """Good is total - bad; bad above total cannot be: good is then 0, and the clamp is counted."""
        return cls(max(0.0, total - bad), total, coverage, None, clamped + int(bad > total), None, note)

    @classmethod
    def nothing(cls, problem: str) -> Counts:
        """No observation at all, and why."""
        return cls(0.0, 0.0, 0.0, problem)

    @property
    def observed(self) -> bool:
        return math.isfinite(self.total) and self.total > 0

    @property
    def error_ratio(self) -> float | None:
        """1 - good/total, in [0, 1]; None without traffic."""
        return (self.total - self.good) / self.total if self.observed else None


@dataclass(frozen=True)
class GoodTotal:
    """A regular series; ``good`` and ``total`` have shape (n,), NaN where nothing was observed.

    Where good is known only within bounds, ``good`` is the lower one: the cautious side.
    """

    start: datetime
    step: timedelta
    good: Floats
    total: Floats
    clamped: int = field(default=0)

    def __post_init__(self) -> None:
        if self.good.shape != self.total.shape or self.good.ndim != 1:
            raise DataError(f"good {self.good.shape} and total {self.total.shape} must be of one length")
        over = self.good > self.total
        if over.any():
            object.__setattr__(self, "good", np.where(over, self.total, self.good))
            object.__setattr__(self, "clamped", self.clamped + int(over.sum()))

    @classmethod
    def of_bad(cls, start: datetime, step: timedelta, bad: Floats, total: Floats) -> GoodTotal:
        """Good is total - bad, all of shape (n,); 0 and a clamp where bad is above total."""
        return cls(start, step, np.maximum(0.0, total - bad), total, int((bad > total).sum()))

    def counts(self) -> Counts:
        """Event-weighted sums over the whole series."""
        seen = np.isfinite(self.total) & np.isfinite(self.good)
        coverage = float(seen.mean()) if seen.size else 0.0
        good, total = float(self.good[seen].sum()), float(self.total[seen].sum())
        return Counts(good, total, coverage, None, self.clamped)
