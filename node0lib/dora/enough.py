"""How much is enough? What a target can be shown with, before anybody waits for it.

"At most 5%" is shown at one-sided 95% if the exact upper bound keeps it (``bands.target_verdict``): by 59 deployments
without a failure, 93 with one, 124 with two. A team whose true rate is just the target will show it in 5% of cases, by
luck, however long it waits; one at half of it needs hundreds of deployments. Medians ask for less: five spans that all
keep the target show it of the median, since the median of others would exceed it in one of 32.

Source: Clopper & Pearson (1934); the "rule of three" (Hanley & Lippman-Hand 1983) is its approximation, 3 / target.

>>> deployments_needed(0, 0.05), deployments_needed(1, 0.05), spans_needed()
(59, 93, 5)
>>> deployments_for(0.02, 0.05)
286
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from node0lib.dora.bounds import ONE_SIDED, Floats, Ints, share_bounds
from node0lib.errors import ConfigError

_MOST = 20_000
CHANCE = 0.8
"""How probable it should be that a target is shown by a team that keeps it."""


def deployments_needed(failures: int, target: float) -> int:
    """Return the fewest deployments, ``failures`` of them failed, that show a share of at most ``target``.

    Raises ConfigError for a target outside (0, 1) or negative failures.
    """
    _check(target)
    if failures < 0:
        raise ConfigError(f"{failures} failures are none; give at least 0")
    low, high = failures, failures + 1
    while not _shown(failures, high, target):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _shown(failures, middle, target) else (middle, high)
    return high


def most_failures(deployments: Ints, target: float) -> Ints:
    """Return how many failures at most n deployments (each >= 0) may have to show the target; -1 where none do."""
    _check(target)
    n = np.asarray(deployments, np.int64)
    # The bound keeps the target exactly if so few failures are improbable at it: P(X <= k | target) <= 5%.
    found = stats.binom.ppf(ONE_SIDED, np.maximum(n, 1), target).astype(np.int64)
    found = np.where(stats.binom.cdf(found, n, target) <= ONE_SIDED, found, found - 1)
    return np.where(n > 0, found, -1)


def least_failures(deployments: Ints, target: float) -> Ints:
    """Return how many failures at least of n deployments show that the target is missed; n + 1 where none do."""
    _check(target)
    n = np.asarray(deployments, np.int64)
    found = stats.binom.isf(ONE_SIDED, np.maximum(n, 1), target).astype(np.int64) + 1
    found = np.where(stats.binom.sf(found - 1, n, target) < ONE_SIDED, found, found + 1)
    return np.where(n > 0, np.minimum(found, n + 1), 1)


def chance(deployments: Ints, rate: float, target: float) -> Floats:
    """Return how probable it is that n deployments, failing at ``rate``, show the target."""
    found: Floats = stats.binom.cdf(most_failures(deployments, target), deployments, rate)
    return found


def deployments_for(rate: float, target: float, probably: float = CHANCE) -> int | None:
    """Return from how many deployments on the target is shown with that chance, if they fail at ``rate``.

    None if no 20,000 are enough: at or above the target they never are. Raises ConfigError for shares outside [0, 1).
    """
    _check(target)
    if not 0 <= rate < 1 or not 0 < probably < 1:
        raise ConfigError(f"a rate of {rate:g} with a chance of {probably:g}: give shares below 1")
    if rate >= target:
        return None
    n = np.arange(1, _MOST + 1)
    under = np.flatnonzero(chance(n, rate, target) < probably)
    last = int(under[-1]) + 1 if len(under) else 0
    return None if last >= _MOST else last + 1


def spans_needed() -> int:
    """Return how many spans, all within a target, show that it is kept by their median."""
    return math.ceil(math.log(ONE_SIDED) / math.log(0.5))


def _shown(failures: int, deployments: int, target: float) -> bool:
    if failures >= deployments:
        return False
    return bool(share_bounds(np.array([failures]), np.array([deployments]), ONE_SIDED)[1][0] <= target)


def _check(target: float) -> None:
    if not 0 < target < 1:
        raise ConfigError(f"the target is {target:g}; give a share between 0 and 1, such as 0.05")
