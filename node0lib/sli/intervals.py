"""Intervals for what was counted: a number without one says less than it seems.

- ``wilson``: a share of n trials (Wilson 1927; its coverage is near nominal from small n on, never far below).
- ``poisson_rate``: events in an exposure (Garwood 1936, exact: at least nominal, wider for few events).
- ``median_interval``: the median of a sample, from order statistics (binomial, exact: at least nominal; None at an end
  that too few observations allow). Censored observations are +inf: they count, at the far end.
- ``quantile_interval``: the same of any other quantile; "within ten minutes, nine times of ten" asks for the 0.9.
- ``mean_interval``: the mean of independent observations (Student's t; near nominal unless few and very skewed).

Nothing observed is None, never 0.

>>> [round(x, 3) for x in wilson(0, 59)]
[0.0, 0.0, 0.061]
>>> [round(x, 2) for x in poisson_rate(0, 1.0)]
[0.0, 0.0, 3.69]
>>> median_interval([1.0, 2.0, 3.0, 4.0, 5.0, math.inf, math.inf])
Estimate(value=4.0, low=1.0, high=inf)
>>> wilson(0, 0) is None
True
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from node0lib.errors import DataError


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``low`` or ``high`` is None where the sample is too small for that end."""

    value: float
    low: float | None
    high: float | None

    def __iter__(self) -> Iterator[float]:
        """Yield value, low and high; an end that is not known is NaN."""
        yield from (self.value, *(math.nan if end is None else end for end in (self.low, self.high)))


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Estimate | None:
    """Return the share of successes with Wilson's score interval; None without a trial."""
    if not 0 <= successes <= trials:
        raise DataError(f"{successes} successes of {trials} trials cannot be")
    if trials == 0:
        return None
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return Estimate(share, low, high)


def poisson_rate(events: int, exposure: float, confidence: float = 0.95) -> Estimate | None:
    """Return events per unit of exposure with Garwood's exact interval; None without exposure."""
    if events < 0 or exposure < 0:
        raise DataError(f"{events} events in an exposure of {exposure:g} cannot be")
    if exposure == 0:
        return None
    tail = (1 - confidence) / 2
    low = float(stats.chi2.ppf(tail, 2 * events)) / 2 if events else 0.0
    high = float(stats.chi2.ppf(1 - tail, 2 * events + 2)) / 2
    return Estimate(events / exposure, low / exposure, high / exposure)


def median_interval(sample: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Return the (lower) median with the interval between two order statistics; None of an empty sample."""
    ordered, n = sorted(sample), len(sample)
    if n == 0:
        return None
    # The largest k with P(Binomial(n, 1/2) < k) at most half of what may be missed.
    k = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5))
    if stats.binom.cdf(k, n, 0.5) <= (1 - confidence) / 2:
        k += 1
    middle = ordered[(n - 1) // 2]
    return Estimate(middle, ordered[k - 1] if k else None, ordered[n - k] if k else None)


def mean_interval(sample: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Return the mean with Student's interval; None of an empty sample, no ends of one, +inf if anything is censored.

    >>> mean_interval([1.0, 2.0, 3.0]).value
    2.0
    """
    n = len(sample)
    if n == 0:
        return None
    mean = math.fsum(sample) / n
    if n == 1 or math.isinf(mean):
        return Estimate(mean, None, None)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in sample) / (n - 1) / n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread
    return Estimate(mean, mean - half, mean + half)


def quantile_interval(sample: Sequence[float], share: float, confidence: float = 0.95) -> Estimate | None:
    """Return the value that ``share`` in (0, 1) of the population does not exceed, between two order statistics.

    None of an empty sample; None at an end that too few observations allow.

    >>> quantile_interval(list(range(1, 101)), 0.9)
    Estimate(value=90, low=84, high=96)
    """
    ordered, n = sorted(sample), len(sample)
    if not 0 < share < 1:
        raise DataError(f"the quantile {share:g} must lie strictly between 0 and 1")
    if n == 0:
        return None
    tail, counts = (1 - confidence) / 2, stats.binom.cdf(np.arange(-1, n), n, share)
    # How many of n lie at or below the quantile is binomial: the ends are the ranks that it seldom passes.
    low = int(np.flatnonzero(counts <= tail)[-1])
    above = np.flatnonzero(1.0 - counts <= tail)
    high = int(above[0]) if above.size else n + 1
    middle = ordered[math.ceil(round(n * share, 9)) - 1]
    return Estimate(middle, ordered[low - 1] if low else None, ordered[high - 1] if high <= n else None)
