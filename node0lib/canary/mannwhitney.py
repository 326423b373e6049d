"""The Mann-Whitney test of a shift, with the confidence interval and the estimate that Kayenta computes.

Rules
- The interval holds the shifts mu of ``x`` against ``y`` that the rank test (normal approximation, corrected for
  ties and continuity, two-sided) does not reject; the estimate is where its statistic crosses zero.
- The statistic is a step function, and Kayenta follows R in looking for its crossings with Brent's method to an
  absolute tolerance of 1e-4. That tolerance is part of the answer where values are small, so it is kept here.
- An end that lies beyond the outermost shift is that shift.

Source: Bauer, "Constructing confidence sets using rank statistics" (JASA 1972), as in R's ``wilcox.test``;
Brent, "Algorithms for Minimization Without Derivatives" (1973), ch. 4; Vargha & Delaney (2000) for the effect size.

>>> found = shift([11.0, 12.0, 13.0, 14.0, 15.0], [1.0, 2.0, 3.0, 4.0, 5.0], confidence=0.95)
>>> found.low > 0, round(found.estimate, 1)
(True, 10.0)
>>> cles([2.0, 3.0], [1.0, 1.0]), cles([1.0], [1.0])
(1.0, 0.5)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from node0lib.errors import DataError

_TOLERANCE = 1e-4
_EPSILON = 2.220446049250313e-16
_ITERATIONS = 1001
_TINIEST = 5e-324

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """How far ``x`` lies above ``y``: a confidence interval and an estimate, in the unit of the values."""

    low: float
    high: float
    estimate: float


def shift(x: Sequence[float], y: Sequence[float], *, confidence: float) -> Shift:
    """Return the shift of ``x`` against ``y``, both finite and not empty; ``confidence`` lies in (0, 1).

    Raises DataError where a shift makes all observations equal, so that nothing is left to rank.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    z = -float(ndtri((1.0 - confidence) / 2))
    low, high = float(xs.min() - ys.max()), float(xs.max() - ys.min())
    at_low, at_high = statistic(xs, ys, low), statistic(xs, ys, high)

    def end(quantile: float) -> float:
        if at_low - quantile <= 0:
            return low
        if at_high - quantile >= 0:
            return high
        return _root(lambda mu: statistic(xs, ys, mu) - quantile, (low, at_low - quantile), (high, at_high - quantile))

    estimate = _root(lambda mu: statistic(xs, ys, mu), (low, at_low), (high, at_high))
    return Shift(end(z), end(-z), estimate)


def statistic(x: Floats, y: Floats, mu: float) -> float:
    """Return the standardised rank sum of ``x - mu`` among ``x - mu`` and ``y``; raises DataError if all are tied."""
    n, m = float(x.size), float(y.size)
    ranks = _ranks(np.concatenate((x - mu, y)))
    _, ties = np.unique(ranks, return_counts=True)
    centred = float(ranks[: x.size].sum()) - n * (n + 1) / 2 - n * m / 2
    tied = float((ties.astype(np.float64) ** 3 - ties).sum())
    variance = (n * m / 12) * ((n + m + 1) - tied / ((n + m) * (n + m - 1)))
    if variance <= 0:
        raise DataError("all observations are equal once shifted; the rank test cannot compare them: give more points")
    return (centred - float(np.sign(centred)) * 0.5) / math.sqrt(variance)


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean."""
    # Only here: scipy.stats takes half a second to load, and most commands never rank anything.
    from scipy.stats import rankdata

    ranks: Floats = rankdata(values)
    return ranks


def cles(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the share of pairs in which a value of ``x`` is above one of ``y``, ties counted half; in [0, 1]."""
    m, n = len(x), len(y)
    ranks = _ranks(np.concatenate((np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))))
    return float((2 * ranks[:m].sum() - m * (m + 1)) / (2 * n * m))


def _root(f: Callable[[float], float], lower: tuple[float, float], upper: tuple[float, float]) -> float:
    """Brent's method between two points (position, value), to ``_TOLERANCE``."""
    (a, fa), (b, fb) = lower, upper
    c, fc = a, fa
    if _is_zero(fa):
        return a
    if _is_zero(fb):
        return b
    for _ in range(_ITERATIONS):
        before = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = 2 * _EPSILON * abs(b) + _TOLERANCE / 2
        half = (c - b) / 2
        if abs(half) <= tolerance or _is_zero(fb):
            return b
        step = half
        if abs(before) >= tolerance and abs(fa) > abs(fb):
            step = _interpolated((a, fa), (b, fb), (c, fc), before, tolerance)
        if abs(step) < tolerance:
            step = tolerance if step > 0 else -tolerance
        a, fa = b, fb
        b += step
        fb = f(b)
        if (fb > 0 and fc > 0) or (fb < 0 and fc < 0):
            c, fc = a, fa
    return b


def _interpolated(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], before: float, tolerance: float
) -> float:
    """The step from ``b`` by the secant or by inverse quadratic interpolation; half the bracket if that is no good."""
    width, t1 = c[0] - b[0], b[1] / c[1]
    if a[0] == c[0]:
        p, q = width * t1, 1.0 - t1
    else:
        q, t2 = a[1] / c[1], b[1] / a[1]
        p = t2 * (width * q * (q - t1) - (b[0] - a[0]) * (t1 - 1.0))
        q = (q - 1.0) * (t1 - 1.0) * (t2 - 1.0)
    p, q = (p, -q) if p > 0 else (-p, q)
    good = p < 0.75 * width * q - abs(tolerance * q) / 2 and p < abs(before * q / 2)
    return p / q if good else width / 2


def _is_zero(value: float) -> bool:
    return abs(value) <= _TINIEST
