"""The sequential judge's evidence for many rollouts at once: simulations ask it millions of times.

``Evidences`` is the twin of ``sequential.Evidence``, ``SampleRatios`` that of ``sample_ratio.SampleRatio``: the same
mixtures on the same grid, one row a rollout. A test holds twin and original together, to 1e-9.

- Only those ratios of the grid are kept that a question is asked about: the margin and its mixture above, and for each
  ratio in ``excluding`` that ratio and its mixture below. That harm from a ratio upwards is excluded is read off the
  largest ratio of the grid that is not above it, as the upper bound of the judge's interval is.
- A mean of likelihood ratios is never above the largest of them, so most looks need no exponential.

>>> many = Evidences(2, 1.05)
>>> requests, bad = np.full((2, 10, 2), (9500, 500)), np.array([[(95, 5)] * 10, [(95, 25)] * 10])
>>> many.add(requests, bad, alpha=0.05).tolist()
[-1, 0]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

# The twins share the originals' constants on purpose: were they written twice, they could drift apart.
from node0lib.canary.mixture import FINE, FROM_THE_START, LOG_WEIGHTS, STEPS
from node0lib.canary.sample_ratio import SampleRatio
from node0lib.canary.sequential import OFFSETS

_F = TypeVar("_F", bound=Callable[..., object])
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_LOG_THIRD = math.log(1 / 3) - 1e-9


def compiled(function: _F) -> _F:
    """Compile on first use and keep the code; where nothing can be written to, compile anew in each process."""
    how = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(_F, numba.njit(cache=True, **how)(function))
    except RuntimeError:  # no locator available
        return cast(_F, numba.njit(**how)(function))


class Evidences:
    """One metric's evidence in each of ``rollouts``; the rest as ``Evidence``.

    ``excluding``: ratios (each at least the margin) of which ``excludes`` may be asked. Rows never see each other.
    """

    def __init__(
        self,
        rollouts: int,
        margin: float,
        *,
        design_effect: float = 1.0,
        stages: int = 1,
        excluding: Sequence[float] = (),
    ) -> None:
        self._design_effect, self._stages, self._begun = design_effect, stages, 0
        self._nulls = {ratio: math.floor(math.log(ratio / margin) / FINE + 1e-9) for ratio in excluding}
        kept = [np.array([0]), OFFSETS, *(np.concatenate([[null], null - OFFSETS]) for null in self._nulls.values())]
        self._points = np.unique(np.concatenate(kept))
        self._ratios = margin * np.exp(self._points * FINE)
        self._above = np.concatenate([self._places([0]), self._places(OFFSETS)])
        self._whole = np.zeros((rollouts, self._points.size))
        self._stage = np.zeros_like(self._whole)
        self._finished = np.full(rollouts, -np.inf)
        self._each = (1 - FROM_THE_START) / (stages - 1) if stages > 1 else 0.0
        self.requests = np.zeros((rollouts, 2), np.int64)

    def _places(self, points: Sequence[int] | Ints) -> Ints:
        return np.searchsorted(self._points, points)

    def begin_stage(self) -> None:
        """Begin the next stage, in all rollouts; raises ValueError where more are begun than were announced."""
        if self._begun + 1 >= self._stages:
            raise ValueError(f"this evidence was made for {self._stages} stages")
        if self._begun:
            self._finished = np.logaddexp(self._finished, math.log(self._each) + self._mixed(self._stage, self._above))
        self._begun += 1
        self._stage[:] = 0.0

    def add(self, requests: Ints, bad: Ints, *, alpha: float, active: Bools | None = None) -> Ints:
        """Count looks (rollouts, looks, 2) one after another; return the first at which harm is shown, -1 for none.

        A rollout counts nothing after that look, and nothing at all where it is not ``active`` (rollouts,).
        """
        who = np.ones(len(requests), np.bool_) if active is None else active
        stopped = np.full(len(requests), -1, np.int64)
        _add(
            requests,
            bad,
            who,
            (self._ratios, np.log(self._ratios), self._above, LOG_WEIGHTS),
            (self._whole, self._stage, self._rest()),
            self._log_shares(),
            (self._design_effect, -math.log(alpha)),
            (self.requests, stopped),
        )
        return stopped

    def _log_shares(self) -> tuple[float, float]:
        """Log weights of the evidence of the whole rollout and of that of the current stage."""
        if self._stages == 1:
            return 0.0, -math.inf
        return math.log(FROM_THE_START), math.log(self._each) if self._begun else -math.inf

    def _rest(self) -> Floats:
        """What does not change until the next stage begins: finished stages, and those to come."""
        unbegun = self._each * (self._stages - 1 - self._begun)
        rest: Floats = np.logaddexp(self._finished, math.log(unbegun) if unbegun > 0 else -math.inf)
        return rest

    def log_e(self) -> Floats:
        """Return the log e-values against "ratio <= margin", (rollouts,)."""
        whole, stage = self._log_shares()
        found = np.logaddexp(self._mixed(self._whole, self._above) + whole, self._rest())
        return np.asarray(np.logaddexp(found, self._mixed(self._stage, self._above) + stage))

    def log_e_below(self, ratio: float) -> Floats:
        """Return the log e-values against "at least that ratio", one of ``excluding``, (rollouts,)."""
        null = self._nulls[ratio]
        return self._mixed(self._whole, self._places(np.concatenate([[null], null - OFFSETS])))

    def excludes(self, ratio: float, beta: float) -> Bools:
        """Return whether harm from that ratio upwards is excluded with error ``beta``, (rollouts,)."""
        enough: Bools = (self.log_e_below(ratio) >= -math.log(beta)) & (self.requests.min(axis=1) > 0)
        return enough

    def _mixed(self, likelihood: Floats, places: Ints) -> Floats:
        """The log of the mixture over all places but the first, against the first."""
        terms = likelihood[:, places[1:]] + LOG_WEIGHTS
        top = terms.max(axis=1)
        mixed: Floats = top + np.log(np.exp(terms - top[:, None]).sum(axis=1)) - likelihood[:, places[0]]
        return mixed


@compiled
def _add(
    requests: Ints,
    bad: Ints,
    active: Bools,
    grid: tuple[Floats, Floats, Ints, Floats],
    evidence: tuple[Floats, Floats, Floats],
    log_shares: tuple[float, float],
    asked: tuple[float, float],
    out: tuple[Ints, Ints],
) -> None:
    ratios, log_ratios, above, log_weights = grid
    whole, stage, rest = evidence
    totals, stopped = out
    for i in range(len(requests)):
        if not active[i]:
            continue
        for t in range(requests.shape[1]):
            control, canary = requests[i, t]
            totals[i, 0] += control
            totals[i, 1] += canary
            failing = bad[i, t, 0] + bad[i, t, 1]
            if control == 0 or canary == 0 or failing == 0:
                continue
            odds = canary / control
            log_odds = math.log(odds)
            for k in range(ratios.size):
                seen = bad[i, t, 1] * (log_odds + log_ratios[k]) - failing * math.log1p(odds * ratios[k])
                whole[i, k] += seen / asked[0]
                stage[i, k] += seen / asked[0]
            if _shown(whole[i], stage[i], rest[i], above, log_weights, log_shares, asked[1]):
                stopped[i] = t
                break


@compiled
def _shown(
    whole: Floats,
    stage: Floats,
    rest: float,
    above: Ints,
    log_weights: Floats,
    log_shares: tuple[float, float],
    limit: float,
) -> bool:
    """Whether the mean of the e-values reaches the limit; the largest of its terms tells most of the time."""
    first, second = log_shares[0] + _most(whole, above), log_shares[1] + _most(stage, above)
    if max(first, second, rest) < limit + _LOG_THIRD:
        return False
    total = math.exp(rest) + math.exp(log_shares[0]) * _mean(whole, above, log_weights)
    if log_shares[1] > -math.inf:
        total += math.exp(log_shares[1]) * _mean(stage, above, log_weights)
    return math.log(total) >= limit


@compiled
def _most(likelihood: Floats, above: Ints) -> float:
    most = float(likelihood[above[1]])
    for k in range(2, above.size):
        most = max(most, float(likelihood[above[k]]))
    return most - float(likelihood[above[0]])


@compiled
def _mean(likelihood: Floats, above: Ints, log_weights: Floats) -> float:
    total, null = 0.0, likelihood[above[0]]
    for k in range(1, above.size):
        total += math.exp(min(likelihood[above[k]] - null + log_weights[k - 1], 600.0))  # stay finite
    return total


class SampleRatios:
    """One stage of each of ``rollouts``: does the canary get the share (in (0, 1)) that was ordered?"""

    def __init__(self, rollouts: int, share: float) -> None:
        one = SampleRatio(share)
        self._sides = tuple((math.log(b / (1 - b)) + d * STEPS, b) for b, d in ((one._less, -1), (one._more, 1)))
        self.requests = np.zeros((rollouts, 2), np.int64)

    def add(self, requests: Ints, *, alpha: float) -> Ints:
        """Count the requests of looks (rollouts, looks, 2); return the first that shows a mismatch, -1 for none."""
        running = self.requests[:, None, :] + np.cumsum(requests, axis=1)
        self.requests = running[:, -1, :].copy()
        found = np.full(len(requests), -1, np.int64)
        for log_odds, boundary in self._sides:
            rows = np.stack([-np.log1p(np.exp(log_odds)) - math.log1p(-boundary),
                             -np.log1p(np.exp(-log_odds)) - math.log(boundary)])  # fmt: skip
            _mismatch(running, rows, LOG_WEIGHTS, math.log(2 / alpha), found)
        return found


@compiled
def _mismatch(running: Ints, rows: Floats, log_weights: Floats, limit: float, found: Ints) -> None:
    for i in range(len(running)):
        for t in range(running.shape[1]):
            if 0 <= found[i] <= t:
                break
            most, total = -math.inf, 0.0
            for k in range(log_weights.size):
                most = max(most, running[i, t, 0] * rows[0, k] + running[i, t, 1] * rows[1, k])
            if most < limit:
                continue
            for k in range(log_weights.size):
                term = running[i, t, 0] * rows[0, k] + running[i, t, 1] * rows[1, k] + log_weights[k]
                total += math.exp(min(term, 600.0))
            if math.log(total) >= limit:
                found[i] = t
                break
