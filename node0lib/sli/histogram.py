"""Cumulative histograms that say how much they know.

A histogram knows counts at its bounds and nothing in between: a share or a quantile is therefore an interval,
and it is a point exactly where a bound lies. ``estimate`` interpolates as Prometheus's ``histogram_quantile``
does, for pictures; decisions use shares at a bound. An empty histogram has no quantile: that is a DataError.

>>> h = Histogram((0.1, 0.2, 0.4), (50, 90, 98, 100))
>>> h.share_at_or_under(0.2)
(0.9, 0.9)
>>> h.share_at_or_under(0.3)
(0.9, 0.98)
>>> h.quantile(0.95)
(0.2, 0.4)
>>> round(h.estimate(0.95), 3)
0.325
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from node0lib.errors import DataError


@dataclass(frozen=True)
class Histogram:
    """Counts at or under each bound; ``cumulative`` has one entry more than ``bounds``, the one for +Inf.

    Bounds are > 0, finite and rising (seconds for latencies); counts are integers that never fall.
    Raises DataError if they do not.
    """

    bounds: tuple[float, ...]
    cumulative: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.cumulative) != len(self.bounds) + 1 or not self.bounds:
            raise DataError(f"{len(self.bounds)} bounds need one count more, not {len(self.cumulative)}")
        edges = (0.0, *self.bounds, math.inf)
        if not all(low < high for low, high in zip(edges, edges[1:], strict=False)):
            raise DataError("histogram bounds must be positive, finite and rising")
        steps = zip((0, *self.cumulative), self.cumulative, strict=False)
        if not all(low <= high for low, high in steps):
            raise DataError("cumulative counts must not fall")

    @classmethod
    def of(cls, bounds: Sequence[float], observations: ArrayLike) -> Histogram:
        """Return the histogram of raw observations (any shape), each counted at its own bound and above."""
        values = np.sort(np.asarray(observations, dtype=np.float64), axis=None)
        counts = np.searchsorted(values, np.asarray(bounds), side="right")
        return cls(tuple(map(float, bounds)), (*map(int, counts), values.size))

    @property
    def count(self) -> int:
        """The number of observations."""
        return self.cumulative[-1]

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both sets of observations; raises DataError if the bounds differ."""
        if self.bounds != other.bounds:
            raise DataError("histograms with different bounds cannot be merged")
        merged = (a + b for a, b in zip(self.cumulative, other.cumulative, strict=True))
        return Histogram(self.bounds, tuple(merged))

    def share_at_or_under(self, threshold: float) -> tuple[float, float]:
        """Return bounds of the share of observations <= ``threshold``; equal where a bound lies there."""
        self._require_observations()
        at = bisect_right(self.bounds, threshold)
        low = self.cumulative[at - 1] if at else 0
        exact = at > 0 and self.bounds[at - 1] == threshold
        return low / self.count, (low if exact else self.cumulative[at]) / self.count

    def quantile(self, q: float) -> tuple[float, float]:
        """Return (low, high] around the smallest value that a share ``q`` of the observations is at or under.

        ``high`` is +inf if it lies above the last bound, ``low`` 0 if in the first bucket. q in (0, 1].
        """
        index = self._bucket(q)
        low = self.bounds[index - 1] if index else 0.0
        return low, self.bounds[index] if index < len(self.bounds) else math.inf

    def estimate(self, q: float) -> float:
        """Return the quantile as ``histogram_quantile`` gives it: linear in the bucket, at most the last bound."""
        index = self._bucket(q)
        if index == len(self.bounds):
            return self.bounds[-1]
        below = self.cumulative[index - 1] if index else 0
        start = self.bounds[index - 1] if index else 0.0
        part = (q * self.count - below) / (self.cumulative[index] - below)
        return start + (self.bounds[index] - start) * min(1.0, max(0.0, part))

    def mean_bounds(self) -> tuple[float, float]:
        """Return bounds of the mean; the upper one is +inf if anything lies above the last bound."""
        self._require_observations()
        counts = np.diff(np.asarray(self.cumulative), prepend=0)
        edges = np.asarray((0.0, *self.bounds))
        low = float(edges @ counts) / self.count
        if counts[-1]:
            return low, math.inf
        return low, float(edges[1:] @ counts[:-1]) / self.count

    def mean_estimate(self) -> float:
        """Return the mean with every observation in the middle of its bucket, or at the last bound above it."""
        self._require_observations()
        counts = np.diff(np.asarray(self.cumulative), prepend=0)
        edges = np.asarray((0.0, *self.bounds, self.bounds[-1]))
        return float((edges[:-1] + edges[1:]) @ counts) / 2.0 / self.count

    def _bucket(self, q: float) -> int:
        self._require_observations()
        if not 0.0 < q <= 1.0:
            raise DataError(f"the quantile {q} does not lie in (0, 1]")
        # The rank in exact steps: 0.95 * 20 must be the 19th observation, not the 20th, for a last bit.
        return bisect_left(self.cumulative, max(1, math.ceil(q * self.count * (1.0 - 1e-12))))

    def _require_observations(self) -> None:
        if self.count == 0:
            raise DataError("an empty histogram has no shares, quantiles or mean")
