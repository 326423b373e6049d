"""What was measured of two arms, and how each kind of measurement is asked each kind of question.

Rules
- Three kinds of data: counts of requests and bad ones, raw samples, cumulative histograms; looks in order of time.
- Tallies (for the sequential judge) ask for bad events. Samples and histograms become some by a threshold that was
  fixed before: given, or the quantile of a ``baseline`` x the margin. A threshold within a bucket is moved up to the
  bucket's bound, for both arms alike.
- Points (for Kayenta) are samples as they are, and of counts and histograms one rate or quantile a look.
- Estimates (for the threshold rule) are one number an arm.
- An arm without requests, a value that is not a number, a stale series, a query that failed and a canary that does not
  get its share of the traffic are each a ``Gap``, which no judge turns into a pass or a failure.

>>> latency = Samples((0.1, 0.2, 0.3, 0.4), (0.2, 0.4, 0.5, 0.6))
>>> Measured("latency", latency, margin=1.05, threshold=0.3).tallies()
(Tally(requests=(4, 4), bad=(1, 3)),)
>>> Measured("latency", Samples((0.1,), (float("nan"),)), margin=1.05, threshold=0.3).gap
Gap(state='nan', why='1 of 1 values of the canary are no numbers')
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from node0lib.canary.kayenta_config import Analysis
from node0lib.canary.sequential import Tally
from node0lib.errors import ConfigError
from node0lib.sli.histogram import Histogram

GapState = Literal["missing", "nan", "stale", "query_error", "sample_ratio"]
ARMS = ("control", "canary")
WIDEST = 20.0
"""No margin is wider: where almost nobody was slower than the threshold, a ratio to it means nothing."""


@dataclass(frozen=True)
class Gap:
    """Why nothing can be said of a metric."""

    state: GapState
    why: str


@dataclass(frozen=True)
class Counts:
    """Requests and bad ones of both arms, a tally a look."""

    looks: tuple[Tally, ...]


@dataclass(frozen=True)
class Samples:
    """Values of both arms; NaN where one is missing, never infinite."""

    control: tuple[float, ...]
    canary: tuple[float, ...]


@dataclass(frozen=True)
class Histograms:
    """(control, canary) histograms of one set of bounds, a pair a look."""

    looks: tuple[tuple[Histogram, Histogram], ...]


Data = Counts | Samples | Histograms


@dataclass(frozen=True)
class Baseline:
    """What the control was like before: samples, or one histogram. Not empty, no NaN."""

    values: tuple[float, ...] | Histogram


@dataclass(frozen=True)
class Measured:
    """One metric of two arms and its question.

    ``margin`` is the largest harmless ratio: of bad shares, or of latencies where a ``quantile`` is asked for.
    ``threshold`` is what a slow one is slower than, in the data's unit. ``lost`` says that the data is not to be used.
    """

    name: str
    data: Data
    margin: float
    threshold: float | None = None
    quantile: float | None = None
    baseline: Baseline | None = None
    lost: Gap | None = None
    analysis: Analysis | None = None
    groups: tuple[str, ...] = ("metrics",)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many requests or values each arm has, (control, canary)."""
        if isinstance(self.data, Samples):
            return len(self.data.control), len(self.data.canary)
        if isinstance(self.data, Counts):
            return sum(t.requests[0] for t in self.data.looks), sum(t.requests[1] for t in self.data.looks)
        return sum(a.count for a, _ in self.data.looks), sum(b.count for _, b in self.data.looks)

    @property
    def gap(self) -> Gap | None:
        """Why nothing can be said, if so: lost telemetry, an empty arm, a value that is not a number."""
        if self.lost is not None:
            return self.lost
        for arm, size in zip(ARMS, self.sizes, strict=True):
            if size == 0:
                return Gap("missing", f"the {arm} has no data")
        if isinstance(self.data, Samples):
            for arm, values in zip(ARMS, (self.data.control, self.data.canary), strict=True):
                if wrong := sum(map(math.isnan, values)):
                    return Gap("nan", f"{wrong} of {len(values)} values of the {arm} are no numbers")
        return None

    def question(self) -> tuple[float | None, float]:
        """Return the threshold of a slow one and the largest harmless ratio of shares.

        Raises ConfigError where samples or histograms come without a threshold or a quantile and its baseline.
        """
        if isinstance(self.data, Counts):
            return None, self.margin
        if self.threshold is not None:
            return self._at_a_bound(self.threshold), self.margin
        if self.quantile is None or self.baseline is None:
            raise ConfigError(
                f"{self.name}: the sequential judge asks for a share slower than a threshold fixed before; "
                "add threshold, or quantile with a baseline of the control from before"
            )
        return _from_baseline(self.name, self.baseline.values, self.quantile, self.margin)

    def _at_a_bound(self, threshold: float) -> float:
        if not isinstance(self.data, Histograms) or not self.data.looks:
            return threshold
        bounds = self.data.looks[0][0].bounds
        return bounds[_bucket(self.name, bounds, threshold)]

    def tallies(self) -> tuple[Tally, ...]:
        """Return requests and bad ones of both arms, a look each; raises ConfigError as ``question`` does."""
        if isinstance(self.data, Counts):
            return self.data.looks
        threshold, _ = self.question()
        assert threshold is not None  # by construction: neither samples nor histograms have none
        if isinstance(self.data, Samples):
            arms = self.data.control, self.data.canary
            slow = [int(np.count_nonzero(np.asarray(values) > threshold)) for values in arms]
            return (Tally((len(arms[0]), len(arms[1])), (slow[0], slow[1])),)
        return tuple(_tally(self.name, pair, threshold) for pair in self.data.looks)

    def points(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (control, canary) points, NaN where a look saw nothing; raises ConfigError for a single look."""
        if isinstance(self.data, Samples):
            return self.data.control, self.data.canary
        if len(self.data.looks) < 2:
            raise ConfigError(
                f"{self.name}: the kayenta judge compares series of points, one a look; "
                "give counts or histograms of several looks, or samples"
            )
        if isinstance(self.data, Counts):
            rates = [tuple(_rate(t.bad[arm], t.requests[arm]) for t in self.data.looks) for arm in (0, 1)]
            return rates[0], rates[1]
        control, canary = (tuple(self._of(pair[arm]) for pair in self.data.looks) for arm in (0, 1))
        return control, canary

    def estimates(self) -> tuple[float, float]:
        """Return one number an arm, (control, canary): a rate, a share, a quantile or a mean. Not with a ``gap``."""
        if isinstance(self.data, Samples):
            return self._value(self.data.control), self._value(self.data.canary)
        if isinstance(self.data, Counts):
            sizes = self.sizes
            bad = [sum(t.bad[arm] for t in self.data.looks) for arm in (0, 1)]
            return bad[0] / sizes[0], bad[1] / sizes[1]
        control, canary = self.data.looks[0]
        for more in self.data.looks[1:]:
            control, canary = control + more[0], canary + more[1]
        return self._of(control), self._of(canary)

    def _value(self, values: Sequence[float]) -> float:
        if self.threshold is not None:
            return float(np.mean(np.asarray(values) > self.threshold))
        return float(np.mean(values) if self.quantile is None else np.quantile(values, self.quantile))

    def _of(self, seen: Histogram) -> float:
        if seen.count == 0:
            return math.nan
        if self.threshold is not None:
            return _slower(self.name, seen, self.threshold) / seen.count
        return seen.estimate(0.95 if self.quantile is None else self.quantile)


def _rate(bad: int, requests: int) -> float:
    return bad / requests if requests else math.nan


def _tally(name: str, pair: tuple[Histogram, Histogram], threshold: float) -> Tally:
    control, canary = pair
    slow = _slower(name, control, threshold), _slower(name, canary, threshold)
    return Tally((control.count, canary.count), slow)


def _slower(name: str, seen: Histogram, threshold: float) -> int:
    return seen.count - seen.cumulative[_bucket(name, seen.bounds, threshold)]


def _bucket(name: str, bounds: Sequence[float], threshold: float) -> int:
    """The bucket whose bound is the threshold, or the next above it."""
    at = bisect_left(bounds, threshold)
    if at == len(bounds):
        raise ConfigError(f"{name}: the threshold {threshold:g} is above the last bound, {bounds[-1]:g}; lower it")
    return at


def _from_baseline(
    name: str, values: tuple[float, ...] | Histogram, quantile: float, margin: float
) -> tuple[float, float]:
    """The quantile x the margin, and what the share of slow ones may grow by until that is the canary's quantile."""
    allowed = 1 - quantile
    if isinstance(values, Histogram):
        threshold = values.bounds[_bucket(name, values.bounds, values.quantile(quantile)[1] * margin)]
        slow = 1 - values.share_at_or_under(threshold)[0]
    else:
        threshold = float(np.quantile(values, quantile)) * margin
        slow = float(np.mean(np.asarray(values) > threshold))
    return threshold, max(1.0, allowed / max(slow, allowed / WIDEST))
