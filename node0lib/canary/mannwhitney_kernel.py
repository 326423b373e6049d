"""Kayenta's Mann-Whitney classification of a rise, for many rollouts at once; ``mannwhitney`` compiled.

Ranks come from merging sorted arms instead of sorting them anew for every trial shift; everything else is the
original's arithmetic, step by step, so the labels are the original's. Constant arms, which are rare, go to it.

>>> control = np.array([[10.0, 11.0, 12.0, 10.0, 11.0], [1.0, 2.0, 3.0, 4.0, np.nan]])
>>> canary = np.array([[20.0, 22.0, 21.0, 20.0, 23.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
>>> high(control, canary).tolist()
[True, False]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from node0lib.canary.evidence_kernel import compiled
from node0lib.canary.kayenta import CONFIDENCE, TOLERANCE, classify
from node0lib.canary.kayenta_config import Analysis
from node0lib.canary.mannwhitney import _EPSILON, _ITERATIONS, _TINIEST
from node0lib.canary.mannwhitney import _TOLERANCE as _ROOT_TOLERANCE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_RISE = Analysis(direction="increase")


def high(control: Floats, canary: Floats, *, tolerance: float = TOLERANCE, confidence: float = CONFIDENCE) -> Bools:
    """Return whether Kayenta calls each canary High, for points (rollouts, points); NaN is removed.

    An arm without points is not High; that it has no data is for the caller to say.
    """
    found = np.zeros(len(control), np.bool_)
    z = -float(ndtri((1.0 - confidence) / 2))
    for i, (first, second) in enumerate(zip(control, canary, strict=True)):
        ours, theirs = np.sort(second[~np.isnan(second)]), np.sort(first[~np.isnan(first)])
        if not (ours.size and theirs.size) or np.array_equal(ours, theirs):
            continue
        if ours[0] == ours[-1] or theirs[0] == theirs[-1]:
            found[i] = classify(theirs.tolist(), ours.tolist(), _RISE, name="", confidence=confidence).label == "High"
            continue
        ratio = float(np.mean(ours)) / float(np.mean(theirs)) if np.mean(theirs) else math.nan
        if ratio < 1:
            continue  # the effect is none, whatever the ranks say
        low, estimate = _shift(ours, theirs, z)
        found[i] = low > tolerance * abs(estimate)
    return found


@compiled
def _shift(x: Floats, y: Floats, z: float) -> tuple[float, float]:
    """The interval's lower end and the estimate; both arms sorted."""
    low, high = x[0] - y[-1], x[-1] - y[0]
    at_low, at_high = _statistic(x, y, low), _statistic(x, y, high)
    estimate = _root(x, y, 0.0, low, at_low, high, at_high)
    if at_low - z <= 0:
        return low, estimate
    if at_high - z >= 0:
        return high, estimate
    return _root(x, y, z, low, at_low - z, high, at_high - z), estimate


@compiled
def _statistic(x: Floats, y: Floats, mu: float) -> float:
    """The standardised rank sum of ``x - mu`` among both, both sorted."""
    n, m = x.size, y.size
    i, j, below, ranks, tied = 0, 0, 0, 0.0, 0.0
    while i < n or j < m:
        value = min(x[i] - mu if i < n else math.inf, y[j] if j < m else math.inf)
        ours, theirs = i, j
        while i < n and x[i] - mu == value:
            i += 1
        while j < m and y[j] == value:
            j += 1
        count = (i - ours) + (j - theirs)
        ranks += (i - ours) * (below + (count + 1) / 2)
        tied += float(count) ** 3 - count
        below += count
    centred = ranks - n * (n + 1) / 2 - n * m / 2
    variance = (n * m / 12) * ((n + m + 1) - tied / ((n + m) * (n + m - 1)))
    return float((centred - np.sign(centred) * 0.5) / math.sqrt(variance))


@compiled
def _root(x: Floats, y: Floats, quantile: float, a: float, fa: float, b: float, fb: float) -> float:
    """Brent's method, as the original has it."""
    c, fc = a, fa
    if abs(fa) <= _TINIEST:
        return a
    if abs(fb) <= _TINIEST:
        return b
    for _ in range(_ITERATIONS):
        before = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = 2 * _EPSILON * abs(b) + _ROOT_TOLERANCE / 2
        half = (c - b) / 2
        if abs(half) <= tolerance or abs(fb) <= _TINIEST:
            return b
        step = half
        if abs(before) >= tolerance and abs(fa) > abs(fb):
            step = _interpolated(a, fa, b, fb, c, fc, before, tolerance)
        if abs(step) < tolerance:
            step = tolerance if step > 0 else -tolerance
        a, fa = b, fb
        b += step
        fb = _statistic(x, y, b) - quantile
        if (fb > 0 and fc > 0) or (fb < 0 and fc < 0):
            c, fc = a, fa
    return b


@compiled
def _interpolated(
    a: float, fa: float, b: float, fb: float, c: float, fc: float, before: float, tolerance: float
) -> float:
    width, t1 = c - b, fb / fc
    if a == c:
        p, q = width * t1, 1.0 - t1
    else:
        q, t2 = fa / fc, fb / fa
        p = t2 * (width * q * (q - t1) - (b - a) * (t1 - 1.0))
        q = (q - 1.0) * (t1 - 1.0) * (t2 - 1.0)
    if p > 0:
        q = -q
    else:
        p = -p
    good = p < 0.75 * width * q - abs(tolerance * q) / 2 and p < abs(before * q / 2)
    return p / q if good else width / 2
