"""From what Prometheus answered to good and total events, with bounds where a histogram does not know better.

Rules: classic buckets are exact at a bound (``le``); between two bounds good is at least the count of the lower and at
most that of the upper one. A native histogram is exact unless the threshold cuts a bucket that is not empty. A slice is
surely good if its least count meets the quantile, possibly good if its most does. Good is total - bad where bad events
are counted; bad above total is clamped, and counted. NaN marks what was not observed. Cumulative counts that fall from
one bound to the next (instances with different bounds, summed) are no histogram any more: a note says so.

>>> counts = {"0.1": 50.0, "0.5": 90.0, "+Inf": 100.0}
>>> events = at_or_under(Answer({(("le", le),): np.array([n]) for le, n in counts.items()}), 0.2, 1)
>>> float(events.good[0]), float(events.most[0]), events.note
(50.0, 90.0, 'the threshold of 0.2 s lies between the bucket bounds 0.1 and 0.5: good is at least, and at most, theirs')
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from node0lib.shell.promanswer import Answer, Lines
from node0lib.shell.promhttp import ReadError
from node0lib.sli.series import Floats

_NOISE = 0.01
"""Series of one histogram are extrapolated one by one, so their sums may fall by a little."""
Flags = NDArray[np.bool_]
MISSING_BAD = (
    "queries.bad: no series, counted as no bad events; start its counters at 0, "
    "and check the metric's name if there were any"
)


@dataclass(frozen=True)
class Events:
    """Good events (at least, and at ``most``) of ``total``, each of shape (n,), NaN where nothing was observed.

    ``clamped`` is how often bad was above total. ``remark`` is what a reader should know in any case, ``between`` what
    he should know if the two bounds of good differ.
    """

    good: Floats
    most: Floats
    total: Floats
    clamped: int = 0
    remark: str | None = None
    between: str | None = None

    @property
    def seen(self) -> Flags:
        """Where both are known, of shape (n,)."""
        return np.asarray(np.isfinite(self.good) & np.isfinite(self.total))

    @property
    def note(self) -> str | None:
        """What a reader should know of these numbers, if anything."""
        between = self.between if (self.most > self.good).any() else None
        return "; ".join(filter(None, (between, self.remark))) or None

    def slices(self, quantile: float) -> Events:
        """Judge each slice: 1 of 1 if its quantile meets the bound, 0 of 0 without traffic, NaN if not observed."""
        traffic = self.seen & (self.total > 0)
        sure, possible = (traffic & (under >= quantile * self.total) for under in (self.good, self.most))
        good, most, total = (np.where(self.seen, flags, np.nan) for flags in (sure, possible, traffic))
        return replace(self, good=good, most=most, total=total)

    def grouped(self, per: int) -> Events:
        """Sum groups of ``per``; NaN where none of a group was observed."""
        seen = np.isfinite(self.total).reshape(-1, per).any(axis=1)
        sums = (np.nansum(values.reshape(-1, per), axis=1) for values in (self.good, self.most, self.total))
        good, most, total = (np.where(seen, values, np.nan) for values in sums)
        return replace(self, good=good, most=most, total=total)


def exact(good: Floats, total: Floats) -> Events:
    """Return events whose good is known."""
    return Events(good, good, total)


def of_bad(bad: Floats, total: Floats, *, missing: bool) -> Events:
    """Return total - bad, clamped at 0; ``missing`` says that no series of bad events exists.

    Raises ReadError if bad is negative: then it is no count.
    """
    if (bad < 0).any():
        raise ReadError(f"queries.bad: bad is {np.nanmin(bad):g}; it must not be negative")
    good = np.maximum(0.0, total - bad)
    return Events(good, good, total, int((bad > total).sum()), MISSING_BAD if missing else None)


def single(answer: Answer, role: str, count: int, absent: float = math.nan) -> Floats:
    """The only line, or ``absent`` of shape (count,) without any; raises ReadError if there are several."""
    if len(answer.lines) > 1:
        wrap = "min()" if role == "gauge" else "sum()"
        raise ReadError(f"queries.{role}: {len(answer.lines)} series where one is needed; wrap it in {wrap}")
    return next(iter(answer.lines.values()), np.full(count, absent))


def at_or_under(answer: Answer, threshold: float, count: int) -> Events:
    """Count what is at or under the threshold (seconds); raises ReadError if the answer is no histogram."""
    if answer.natives and answer.lines:
        raise ReadError("queries.buckets: numbers and native histograms at once; select one of the two by its labels")
    if len(answer.natives) > 1:
        several = f"{len(answer.natives)} native histograms where one is needed"
        raise ReadError(f"queries.buckets: {several}; wrap it in sum()")
    if answer.natives:
        return _native(next(iter(answer.natives.values())), threshold)
    if not answer.lines:
        return exact(np.full(count, np.nan), np.full(count, np.nan))
    return _classic(_by_bound(answer.lines), threshold)


def _native(rows: Floats, threshold: float) -> Events:
    good, most, total = rows
    note = f"the threshold of {threshold:g} s cuts a bucket of the native histogram: good is known within bounds"
    return Events(good, most, total, between=note)


def _classic(bounds: Mapping[float, Floats], threshold: float) -> Events:
    """Good at a bound, or between two; a threshold under the first bound has at least 0."""
    if math.inf not in bounds:
        raise ReadError('queries.buckets: no bucket le="+Inf"; it must be a histogram\'s, summed by (le)')
    total = bounds[math.inf]
    fall = _fall(bounds)
    if threshold in bounds:
        return replace(exact(bounds[threshold], total), remark=fall)
    below = max((b for b in bounds if b < threshold), default=0.0)
    above = min(b for b in bounds if b > threshold)
    low = bounds[below] if below in bounds else np.where(np.isnan(total), np.nan, 0.0)
    note = (
        f"the threshold of {threshold:g} s lies between the bucket bounds {below:g} and {above:g}: "
        "good is at least, and at most, theirs"
    )
    return Events(low, np.fmax(low, bounds[above]), total, remark=fall, between=note)


def _fall(bounds: Mapping[float, Floats]) -> str | None:
    """Say where the counts fall by more than ``_NOISE`` of the total; None where they do not."""
    total = bounds[math.inf]
    for low, high in pairwise(sorted(bounds)):
        if (bounds[low] - bounds[high] > _NOISE * total).any():
            return (
                f"the buckets' counts fall between the bounds {low:g} and {high:g}: instances with different bounds "
                "seem to be summed; select those of one kind, or use bounds that all of them have"
            )
    return None


def _by_bound(lines: Lines) -> Mapping[float, Floats]:
    """Buckets by their bound in seconds; "1" and "1.0", which Prometheus 2 keeps apart, are one bound.

    Raises ReadError if a label besides ``le`` tells series apart, or an ``le`` is no number.
    """
    if len({tuple(pair for pair in labels if pair[0] != "le") for labels in lines}) > 1:
        raise ReadError("queries.buckets: several series for one bound; wrap it in sum by (le) (…)")
    bounds: dict[float, Floats] = {}
    for labels, line in lines.items():
        text = dict(labels).get("le", "")
        try:
            bound = float(text)
        except ValueError:
            raise ReadError(f"queries.buckets: le is {text[:30]!r}, no number; wrap it in sum by (le) (…)") from None
        bounds[bound] = _plus(bounds[bound], line) if bound in bounds else line
    return bounds


def _plus(one: Floats, other: Floats) -> Floats:
    """The sum, where one of the two is missing the other."""
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, one + other))
