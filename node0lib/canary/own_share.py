"""One arm's share of bad requests against the share that is allowed: an e-process that needs no control.

Each look multiplies up the likelihood of its bad and good requests, mixed over shares beyond the allowed one, so that
P(ever >= 1/alpha) <= alpha however often one looks. What is common to both arms does not cancel here: whoever blames a
canary by this also asks whether the control is spared.

>>> some = OwnShare(0.01)
>>> some.add(1000, 0)
>>> some.surely_under(0.05), some.surely_above(0.05)
(True, False)
>>> low, high = some.interval(0.05, 0.05)
>>> low, high < 1
(0.0, True)
"""

from __future__ import annotations

import math

import numpy as np

from node0lib.canary.mixture import FINE, LOG_WEIGHTS, STEPS, Floats, log_sum, over_stages

_NULLS: Floats = np.asarray(np.arange(-200, 201) * FINE, dtype=np.float64)


class OwnShare:
    """Bad requests of one arm; ``allowed`` in (0, 1], of which 1 forbids nothing. The rest as ``Evidence``."""

    def __init__(self, allowed: float, *, design_effect: float = 1.0, stages: int = 1) -> None:
        self.allowed, self._design_effect, self._stages = allowed, design_effect, stages
        self._odds = math.log(allowed) - math.log1p(-allowed) if allowed < 1 else math.inf
        self._parts = [(0, 0)]

    def begin_stage(self) -> None:
        """Begin the next stage."""
        self._parts.append((0, 0))

    def add(self, requests: int, bad: int) -> None:
        """Count a look; so many of its requests were bad."""
        before = self._parts[-1]
        self._parts[-1] = before[0] + requests, before[1] + bad

    @property
    def _whole(self) -> tuple[int, int]:
        return sum(n for n, _ in self._parts), sum(bad for _, bad in self._parts)

    @property
    def relative(self) -> float | None:
        """The share of bad requests as a multiple of what is allowed; None without requests."""
        requests, bad = self._whole
        return bad / requests / self.allowed if requests else None

    def surely_above(self, alpha: float) -> bool:
        """Whether more than allowed is shown, with error ``alpha``."""
        return self.allowed < 1 and float(self._above(np.zeros(1))[0]) >= -math.log(alpha)

    def surely_under(self, beta: float) -> bool:
        """Whether less than allowed is shown, with error ``beta``."""
        return self.allowed < 1 and self.log_e_under(*self._whole) >= -math.log(beta)

    def log_e_under(self, requests: float, bad: float) -> float:
        """Return the log e-value that such counts (not those that were added) have against "the allowed or more"."""
        return float(self._log_e(requests, bad, np.zeros(1), -1)[0])

    def interval(self, alpha: float, beta: float) -> tuple[float, float]:
        """Return the shares that are not excluded, as multiples of what is allowed: errors as in ``Evidence``."""
        if self.allowed >= 1:
            return 0.0, math.inf
        shares = 1 / (1 + np.exp(-(self._odds + _NULLS))) / self.allowed
        low = shares[self._above(_NULLS) >= -math.log(alpha)]
        high = shares[self._log_e(*self._whole, _NULLS, -1) >= -math.log(beta)]
        return (float(low.max()) if low.size else 0.0), (float(high.min()) if high.size else math.inf)

    def _above(self, nulls: Floats) -> Floats:
        later = [self._log_e(*part, nulls, 1) for part in self._parts[1:]]
        return over_stages(self._log_e(*self._whole, nulls, 1), later, stages=self._stages)

    def _log_e(self, requests: float, bad: float, nulls: Floats, direction: int) -> Floats:
        """Log e-values against shares of the odds allowed x exp(null), on the other side than ``direction``."""
        null, steps = (self._odds + nulls)[:, None], direction * STEPS
        spared = np.log1p(np.exp(null)) - np.log1p(np.exp(null + steps))  # of log(1 - share)
        return log_sum((bad * steps + requests * spared) / self._design_effect + LOG_WEIGHTS)
