"""Native histograms of Prometheus: sparse buckets, each with its own boundaries and the rule of who lies on them.

What the HTTP API shows is read: ``count``, ``sum`` and ``buckets`` as ``[boundary rule, left, right, count]``.
Exponential schemas, the zero bucket and custom boundaries (NHCB, whose first bucket begins at -Inf) all have that form.
A bucket that is not shown is empty: so a share is a point wherever the threshold lies on a boundary or outside every
bucket shown, and an interval only inside one. Counts are fractions once ``increase`` has been at them. NaN observations
are in ``count`` and in no bucket: they are at or under nothing, and above everything.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/ (native histograms).

>>> h = NativeHistogram.of({"count": "8", "sum": "9", "buckets": [[3, "-0.1", "0.1", "1"], [0, "1", "2", "7"]]})
>>> h.share_at_or_under(0.5), h.share_at_or_under(1.5), h.share_at_or_under(2.0)
((0.125, 0.125), (0.125, 1.0), (1.0, 1.0))
>>> h.quantile(0.95)
(1.0, 2.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from node0lib.errors import DataError

OPEN_LEFT, OPEN_RIGHT, OPEN_BOTH, CLOSED = range(4)
"""Boundary rules, by the API's numbers: (left, right], [left, right), (left, right), [left, right]."""
_NOISE = 1e-9
"""Sums of fractional counts may miss each other by this share of the count."""
_MALFORMED = (KeyError, TypeError, ValueError, OverflowError, AttributeError)


@dataclass(frozen=True, slots=True)
class Bucket:
    """``count`` observations between ``left`` and ``right``; ``rule`` says which boundary belongs to it."""

    rule: int
    left: float
    right: float
    count: float

    @property
    def holds_left(self) -> bool:
        """Whether an observation at ``left`` is counted here."""
        return self.rule in {OPEN_RIGHT, CLOSED}

    @property
    def where(self) -> tuple[float, float, int]:
        """Boundaries and rule: equal for buckets that can be added, and in the order of their place."""
        return self.left, self.right, self.rule

    def __str__(self) -> str:
        """As the API writes it, without the count: (0.5, 1]."""
        left, right = "[" if self.holds_left else "(", "]" if self.rule in {OPEN_LEFT, CLOSED} else ")"
        return f"{left}{self.left:g}, {self.right:g}{right}"


@dataclass(frozen=True)
class NativeHistogram:
    """``count`` observations and their ``sum``; ``buckets`` from low to high, without overlap, empty ones left out.

    Raises DataError if the buckets overlap or fall, hold more than ``count``, or anything but the sum is no number.
    """

    count: float
    sum: float
    buckets: tuple[Bucket, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.count) and self.count >= 0):
            raise DataError(f"a native histogram's count is {self.count}; it must be finite and not negative")
        for bucket in self.buckets:
            if bucket.rule not in range(4) or not bucket.left <= bucket.right:
                raise DataError(f"a bucket of a native histogram cannot be: {bucket} by rule {bucket.rule}")
            if not (math.isfinite(bucket.count) and bucket.count >= 0):
                raise DataError(f"a native histogram's bucket counts {bucket.count}; it must be finite, not negative")
        for low, high in pairwise(self.buckets):
            if low.right > high.left:
                raise DataError(f"buckets of a native histogram overlap: {low} and {high}")
        if self.seen > self.count * (1.0 + _NOISE):
            raise DataError(f"the buckets of a native histogram hold {self.seen}, more than its count {self.count}")

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> NativeHistogram:
        """Parse the API's JSON object; numbers are texts there ("-Inf" too). Raises DataError."""
        try:
            buckets = [Bucket(int(b[0]), *map(float, _three(b))) for b in document.get("buckets") or ()]
            count, total = float(document["count"]), float(document["sum"])
        except _MALFORMED as error:
            raise DataError(f"a native histogram is malformed ({type(error).__name__} while reading it)") from None
        return cls(count, total, tuple(sorted((b for b in buckets if b.count != 0), key=_where)))

    @property
    def seen(self) -> float:
        """The observations that lie in buckets: all but NaN."""
        return math.fsum(bucket.count for bucket in self.buckets)

    def __add__(self, other: NativeHistogram) -> NativeHistogram:
        """Return the histogram of both sets of observations.

        Raises DataError if the buckets of one cut those of the other: then nobody knows what lies on which side.
        """
        counts: dict[tuple[float, float, int], float] = {}
        for bucket in (*self.buckets, *other.buckets):
            counts[bucket.where] = counts.get(bucket.where, 0.0) + bucket.count
        merged = sorted((Bucket(rule, left, right, n) for (left, right, rule), n in counts.items()), key=_where)
        try:
            return NativeHistogram(self.count + other.count, self.sum + other.sum, tuple(merged))
        except DataError as error:
            raise DataError(f"native histograms whose boundaries differ cannot be merged: {error}") from None

    def count_at_or_under(self, threshold: float) -> tuple[float, float]:
        """Return bounds of the number of observations <= ``threshold``; equal where no bucket is cut."""
        low = math.fsum(b.count for b in self.buckets if b.right <= threshold)
        cut = (b.count for b in self.buckets if b.left < threshold < b.right or _only_left(b, threshold))
        return min(low, self.count), min(low + math.fsum(cut), self.count)

    def share_at_or_under(self, threshold: float) -> tuple[float, float]:
        """Return bounds of the share of observations <= ``threshold``; equal where no bucket is cut.

        Raises DataError for an empty histogram.
        """
        self._require_observations()
        low, high = self.count_at_or_under(threshold)
        return low / self.count, high / self.count

    def quantile(self, q: float) -> tuple[float, float]:
        """Return (low, high) around the smallest value that a share ``q`` of the observations is at or under.

        ``high`` is +inf if that is NaN, which counts as above everything. q in (0, 1]; raises DataError.
        """
        self._require_observations()
        if not 0.0 < q <= 1.0:
            raise DataError(f"the quantile {q} does not lie in (0, 1]")
        rank, below = q * self.count * (1.0 - _NOISE if self._fractional else 1.0 - 1e-12), 0.0
        for bucket in self.buckets:
            below += bucket.count
            if below >= rank:
                return bucket.left, bucket.right
        return (self.buckets[-1].right if self.buckets else -math.inf), math.inf

    @property
    def _fractional(self) -> bool:
        return any(not float(n).is_integer() for n in (self.count, *(b.count for b in self.buckets)))

    def _require_observations(self) -> None:
        if self.count == 0:
            raise DataError("an empty histogram has no shares, quantiles or mean")


def _where(bucket: Bucket) -> tuple[float, float, int]:
    return bucket.where


def _three(bucket: Sequence[Any]) -> Sequence[Any]:
    """Left, right and count; raises ValueError if there are not four fields."""
    if len(bucket) != 4:
        raise ValueError
    return bucket[1:]


def _only_left(bucket: Bucket, threshold: float) -> bool:
    """Whether the threshold is the left boundary, and the bucket may hold observations there and others above."""
    return bucket.left == threshold < bucket.right and bucket.holds_left
