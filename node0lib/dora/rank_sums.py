"""How probable is an order? The exact distribution of Kendall's S when all orders are equally so, ties and seasons too.

The number of inversions over all orders of a multiset with groups of m1, m2, ... equal values has the generating
function [n]! / ([m1]! [m2]! ...) in q-factorials (MacMahon), and S is the number of untied pairs less twice the
inversions. Numbers are Python integers, so nothing is rounded; seasons are independent, their S add up. From 121 values
in a season on the normal distribution with the variance for ties and a continuity correction takes its place; a p of
about 5% then differs by less than 0.001, by less than 0.005 where nearly all values are equal.

Sources: MacMahon (1915), Kendall (1975, ch. 4-5).

>>> extreme(6, ((1, 1, 1, 1),)), improbable(((1,) * 5,), 0.05)
(0.08333333333333333, 10)
>>> extreme(4, ((2, 2),)), round(extreme(4, ((1, 1, 1), (1, 1, 1))), 4)
(0.3333333333333333, 0.2778)
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import stats

_EXACT = 120
Groups = tuple[tuple[int, ...], ...]
"""For every season how many values are equal, value by value: (1, 1, 2) are four values of which two are equal."""


def extreme(score: int, groups: Groups) -> float:
    """Return the probability, over all orders, of an S at least as far from 0 as ``score``."""
    if not _exact(groups):
        spread = math.sqrt(sum(map(_variance, groups)))
        return min(1.0, 2 * float(stats.norm.sf((abs(score) - 1) / spread))) if score and spread else 1.0
    scores, counts = _scores(groups)
    return sum(count for at, count in zip(scores, counts, strict=True) if abs(at) >= abs(score)) / sum(counts)


def improbable(groups: Groups, level: float) -> int | None:
    """Return the least S whose ``extreme`` is under the level, of the same parity as every S; None if there is none."""
    most = sum(_pairs(group) for group in groups)
    if not _exact(groups):
        spread = math.sqrt(sum(map(_variance, groups)))
        least = math.floor(1 + spread * float(stats.norm.isf(level / 2))) + 1
        least += (most - least) % 2
        return least if least <= most else None
    scores, counts = _scores(groups)
    total, beyond, found = sum(counts), 0, None
    for at, count in zip(reversed(scores), reversed(counts), strict=True):
        beyond += 2 * count if at else count
        if at <= 0 or beyond >= level * total:
            return found
        found = at
    return found


def _exact(groups: Groups) -> bool:
    return all(sum(group) <= _EXACT for group in groups)


def _pairs(group: tuple[int, ...]) -> int:
    """How many pairs of values differ."""
    return math.comb(sum(group), 2) - sum(math.comb(equal, 2) for equal in group)


def _variance(group: tuple[int, ...]) -> float:
    """The variance of S, less what ties take from it."""
    n = sum(group)
    return float(n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in group)) / 18


@lru_cache(maxsize=64)
def _scores(groups: Groups) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Every S, rising in steps of 2, and how many orders have it."""
    most = sum(_pairs(group) for group in groups)
    counts = np.array([1], object)
    for group in groups:
        counts = np.convolve(counts, np.array(_inversions(group), object))
    return tuple(range(-most, most + 1, 2)), tuple(counts.tolist())


@lru_cache(maxsize=64)
def _inversions(group: tuple[int, ...]) -> tuple[int, ...]:
    """How many distinct orders of the multiset have 0, 1, 2, ... inversions."""
    found = np.zeros(_pairs(group) + 1, object)
    found[0] = 1
    for factor in range(2, sum(group) + 1):  # times 1 + q + ... + q^(factor-1)
        found[factor:] = found[factor:] - found[:-factor] if factor < len(found) else found[factor:]
        found = np.cumsum(found)
    for equal in group:
        for factor in range(2, equal + 1):  # divided by it
            found[1:] = found[1:] - found[:-1]
            for first in range(min(factor, len(found))):
                found[first::factor] = np.cumsum(found[first::factor])
    return tuple(found.tolist())
