"""An honest estimate: the improvement on fresh seeds, paired, with its interval.

The search saw its own seeds, so its winner looks better than it is (the best of 20 equal candidates with 5% noise
looks 9% better). The winner is therefore measured again on seeds nobody has looked at: d = log(loss/loss of the
live policy) seed by seed, Student's t on the mean of d, improvement = 1 - exp(d).

>>> e = paired([100.0, 101.0, 99.0], [90.0, 91.5, 88.8])
>>> round(e.improvement, 3), e.shown
(0.099, True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from node0lib.errors import DataError


@dataclass(frozen=True)
class Estimate:
    """Relative improvement (0.1 is 10% less loss) with its 95% interval, over ``n`` fresh pairs.

    ``confidence`` is one minus the one-sided p-value of "no improvement", in [0, 1].
    """

    improvement: float
    low: float
    high: float
    confidence: float
    n: int

    @property
    def shown(self) -> bool:
        """Whether the data show an improvement: the whole interval lies above 0."""
        return self.low > 0


def paired(live: Sequence[float], candidate: Sequence[float], level: float = 0.95) -> Estimate:
    """Estimate the improvement from paired losses (> 0), at least two; raises DataError otherwise."""
    before, after = np.asarray(live, dtype=float), np.asarray(candidate, dtype=float)
    if before.shape != after.shape or before.size < 2 or not (before > 0).all() or not (after > 0).all():
        raise DataError(f"an estimate needs at least two pairs of losses above 0, not {before.size}")
    d = np.log(after / before)
    n, mean = d.size, float(d.mean())
    error = float(d.std(ddof=1)) / np.sqrt(n)
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * error
    confidence = float(special.stdtr(n - 1, -mean / error)) if error > 0 else float(mean < 0)
    ends = 1 - np.exp(mean + half), 1 - np.exp(mean - half)
    return Estimate(float(1 - np.exp(mean)), float(ends[0]), float(ends[1]), confidence, int(n))
