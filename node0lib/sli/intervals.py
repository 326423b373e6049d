"""Intervals for what was counted: a number without one says less than it seems.

- ``wilson``: a share of n trials (Wilson 1927; its coverage is near nominal from small n on, never far below).
- ``poisson_rate``: events in an exposure (Garwood 1936, exact: at least nominal, wider for few events).
- ``median_interval``: the median of a sample, from order statistics (binomial, exact: at least nominal; None at an end
  that too few observations allow). Censored observations are +inf: they count, at the far end.

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
