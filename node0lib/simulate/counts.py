"""Integer counts with given expectations, step by step: Poisson, drawn in the way that is quickest for their size.

- Rare events are arrivals of a Poisson process: exponential gaps laid over the running sum of what is expected. This
  costs an exponential an event instead of a draw a step.
- Other counts are the Poisson's quantile where a normal has its own. Up to 4 expected it is searched; from there on it
  follows from an expansion, and only where twice its error leaves two integers possible are probabilities summed up.
  From 256 on its whole part is taken; one in ten thousand is then off by one.

What is expected must be multiples of 2^-24 (``rounded``), so that running sums are exact and no machine's last bit
matters. Source: M. B. Giles, Algorithm 955: Approximation of the inverse Poisson cumulative distribution function,
ACM TOMS 42 (2016), eq. 6 and 7.

>>> random = np.random.Generator(np.random.SFC64(1))
>>> Expected(np.array([0.0, 2.0, 1000.0])).draw(random).tolist()
[0.0, 4.0, 975.0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts.kernel import compiled

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_GRID = 2.0**24
_FEW, _MANY = 4.0, 256.0
_RARE = 1.0


def rounded(values: Floats) -> Floats:
    """Return the nearest multiples of 2^-24."""
    return np.asarray(np.rint(values * _GRID) / _GRID)


@dataclass(frozen=True)
class Expected:
    """What is expected of each step, (n,): not negative, multiples of 2^-24; its draws share what can be computed once.

    >>> Expected(np.array([1.0, 2.0])).running.tolist()
    [1.0, 3.0]
    """

    steps: Floats

    @cached_property
    def running(self) -> Floats:
        """Its running sum, (n,)."""
        return np.cumsum(self.steps)

    @cached_property
    def rare(self) -> bool:
        """Whether arrivals cost less than steps."""
        return bool(self.steps.mean() <= _RARE)

    def draw(self, random: np.random.Generator) -> Floats:
        """Return counts (n,); equal generators give equal counts."""
        if self.rare:
            return self._arrivals(random)
        found = random.standard_normal(self.steps.size)
        _quantiles(self.steps, found)
        return found

    def _arrivals(self, random: np.random.Generator) -> Floats:
        found, at, step = np.zeros(self.steps.size), 0.0, 0
        while step < found.size:
            left = float(self.running[-1]) - at
            gaps = random.standard_exponential(int(left + 6 * math.sqrt(left)) + 16)
            at, step = _arrive(self.running, gaps, found, at, step)
        return found


@compiled
def split(
    requests: Floats, rates: Floats, per: int, phase: int, extra: Floats, failing: Floats, well: Floats
) -> None:
    """Fill in what of ``requests`` is expected to fail and what to go well, (n,), in multiples of 2^-24.

    Step i fails at the rate ``rates[(i + phase) // per]``, and of the rest the share ``extra[i]``.
    """
    for i in range(requests.size):
        rate = rates[(i + phase) // per]
        bad = np.rint(requests[i] * (rate + extra[i] - rate * extra[i]) * _GRID) / _GRID
        failing[i] = bad
        well[i] = max(requests[i] - bad, 0.0)


@compiled
def _arrive(running: Floats, gaps: Floats, found: Floats, at: float, step: int) -> tuple[float, int]:
    """Count the arrivals that follow each other by ``gaps`` in their steps; return where that ended."""
    for gap in gaps:
        at += gap
        while step < running.size and running[step] <= at:
            step += 1
        if step == running.size:
            break
        found[step] += 1.0
    return at, step


@compiled
def _quantiles(expected: Floats, z: Floats) -> None:
    """Turn standard normals into counts, in place: a fresh array costs as much as the arithmetic."""
    if expected.min() >= _MANY:
        for i in range(z.size):
            z[i] = max(0.0, math.floor(_about(expected[i], z[i])))
        return
    for i in range(z.size):
        z[i] = quantile(expected[i], z[i])


@compiled
def quantile(expected: float, z: float) -> float:
    """Return the Poisson's quantile at the probability that a normal is below ``z``.

    >>> [quantile(3.0, z) for z in (-1.0, 0.0, 1.0)], quantile(100.0, 2.0), quantile(0.0, 3.0)
    ([1.0, 3.0, 5.0], 120.0, 0.0)
    """
    if expected < _FEW:
        return _searched(expected, z)
    about, square = _about(expected, z), z * z
    if expected >= _MANY:
        return max(0.0, math.floor(about))
    error = 2.0 * (1.0 / 40.0 + square / 80.0 + square * square / 160.0) / expected
    if error > 0.4 or about < 1.0:
        return _searched(expected, z)
    nearest: float = np.rint(about)
    if abs(about - nearest) > error:
        return math.floor(about)
    return nearest - 1.0 if _below(z) <= _cumulated(expected, nearest - 1.0) else nearest


@compiled
def failures(events: Floats, shares: Floats, z: Floats) -> Floats:
    """Return how many of ``events`` (n,) fail at each of some shares, (shares, n): binomial quantiles at normals ``z``.

    The same normals for every share, so that more fail at a higher one, and faults are compared on the same chance.

    >>> failures(np.array([600.0, 2.0]), np.array([0.05, 0.5, 1.0]), np.array([0.0, 1.0])).tolist()
    [[30.0, 0.0], [300.0, 2.0], [600.0, 2.0]]
    """
    found = np.empty((shares.size, events.size))
    for k in range(shares.size):
        for i in range(events.size):
            share = shares[k]
            if share > 0.5:
                found[k, i] = events[i] - binomial(events[i], 1.0 - share, -z[i])
            else:
                found[k, i] = binomial(events[i], share, z[i])
    return found


@compiled
def binomial(events: float, share: float, z: float) -> float:
    """Return the binomial's quantile, ``share`` at most a half, at the probability that a normal is below ``z``.

    From an expansion, and where its error leaves a choice by summing up, as ``quantile``.
    """
    mean, rest = events * share, 1.0 - share
    variance = mean * rest
    if variance < _FEW:
        return _binomial_searched(events, share, z)
    root, square, both = math.sqrt(variance), z * z, share * rest
    third = (1.0 - 6.0 * both) * z * (square - 3.0) / 24.0 - (1.0 - 4.0 * both) * z * (2.0 * square - 5.0) / 36.0
    about = mean + 0.5 + root * z + (rest - share) * (square - 1.0) / 6.0 + (third - z / 24.0) / root
    error = 2.0 * (1.0 / 40.0 + square / 80.0 + square * square / 160.0) / variance
    if variance >= _MANY:
        return min(events, max(0.0, math.floor(about)))
    if error > 0.4 or about < 1.0 or about > events:
        return _binomial_searched(events, share, z)
    nearest: float = np.rint(about)
    if abs(about - nearest) > error:
        return math.floor(about)
    return nearest - 1.0 if _below(z) <= _binomial_cumulated(events, share, nearest - 1.0) else nearest


@compiled
def _binomial_searched(events: float, share: float, z: float) -> float:
    wanted, count, odds = _below(z), 0.0, share / (1.0 - share)
    term = math.exp(events * math.log1p(-share))
    so_far, mean = term, events * share
    while so_far < wanted and count < events and (count <= mean or term > 1e-18):
        term *= odds * (events - count) / (count + 1.0)
        count += 1.0
        so_far += term
    return count


@compiled
def _binomial_cumulated(events: float, share: float, count: float) -> float:
    """Return the probability of at most ``count``, which is a whole number."""
    term, so_far, k, odds = math.exp(events * math.log1p(-share)), 0.0, 0.0, share / (1.0 - share)
    while k <= count:
        so_far += term
        term *= odds * (events - k) / (k + 1.0)
        k += 1.0
    return so_far


@compiled
def _about(expected: float, z: float) -> float:
    """The expansion, whose whole part is the quantile but for its error."""
    root, rest = math.sqrt(expected), 2.0 + z * z
    return expected + root * z + rest / 6.0 - z * rest / (72.0 * root)


@compiled
def _below(z: float) -> float:
    return 0.5 * math.erfc(-z * math.sqrt(0.5))


@compiled
def _searched(expected: float, z: float) -> float:
    wanted, count, term = _below(z), 0.0, math.exp(-expected)
    so_far = term
    while so_far < wanted and term > 0.0 and (count <= expected or term > 1e-18):
        count += 1.0
        term *= expected / count
        so_far += term
    return count


@compiled
def _cumulated(expected: float, count: float) -> float:
    """Return the probability of at most ``count``, which is a whole number."""
    term, so_far, k = math.exp(-expected), 0.0, 0.0
    while k <= count:
        so_far += term
        k += 1.0
        term *= expected / k
    return so_far
