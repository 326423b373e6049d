"""Does the canary get the traffic that it was meant to get? Anytime-valid, like the judge.

A canary that gets less than its share loses requests somewhere, or its telemetry does; one that gets more is not the
experiment that was planned. Either way the comparison of errors means nothing. Traffic is never split to the last
request (connections are kept alive, weights are whole numbers), so a relative ``tolerance`` is harmless, and only a
share beyond it is told: two e-processes, "at least share x (1 - tolerance)" and "at most share x (1 + tolerance)", each
mixed over shares beyond (``canary.mixture``), each with half of the error.

Source: Lindon & Malek, "Anytime-valid inference for multinomial count data" (2022), on sample-ratio mismatch.

>>> few = SampleRatio(0.05)
>>> few.add((9990, 10))
>>> few.mismatch(alpha=0.001)
'the canary got 0.1% of 10,000 requests and was to get 5.0%'
"""

from __future__ import annotations

import math

import numpy as np

from node0lib.canary.mixture import LOG_WEIGHTS, STEPS, log_sum
from node0lib.errors import ConfigError

TOLERANCE = 0.2


class SampleRatio:
    """Counts requests of one stage against the share that was ordered, in (0, 1); raises ConfigError for another."""

    def __init__(self, share: float, tolerance: float = TOLERANCE) -> None:
        if not 0 < share < 1:
            raise ConfigError(f"the share {share:g} must lie strictly between 0 and 1, as 0.05 or 5%")
        if not 0 <= tolerance < 1:
            raise ConfigError(f"the tolerance {tolerance:g} must lie in [0, 1)")
        self.share = share
        self.requests = (0, 0)
        self._less, self._more = share * (1 - tolerance), min(share * (1 + tolerance), (1 + share) / 2)

    def add(self, requests: tuple[int, int]) -> None:
        """Count the (control, canary) requests of a look."""
        self.requests = self.requests[0] + requests[0], self.requests[1] + requests[1]

    def mismatch(self, alpha: float) -> str | None:
        """Return what is wrong with the traffic, wrongly with ``alpha`` at most; None if nothing is."""
        limit = math.log(2 / alpha)
        if self._log_e(self._less, -1) < limit and self._log_e(self._more, 1) < limit:
            return None
        total = sum(self.requests)
        got = self.requests[1] / total
        return f"the canary got {got:.1%} of {total:,} requests and was to get {self.share:.1%}"

    def _log_e(self, boundary: float, direction: int) -> float:
        """The log e-value against shares on the harmless side of ``boundary``."""
        odds = math.log(boundary / (1 - boundary)) + direction * STEPS
        log_share, log_rest = -np.log1p(np.exp(-odds)), -np.log1p(np.exp(odds))
        control, canary = self.requests
        terms = canary * (log_share - math.log(boundary)) + control * (log_rest - math.log1p(-boundary)) + LOG_WEIGHTS
        return float(log_sum(terms))
