"""Requests and failures of many rollouts' two arms, look by look, drawn from a seed.

Promise: equal world, degradation, seed and calls give equal counts. Rollouts are independent of each other.

- Well answered requests of an arm are Poisson around its share of the traffic; so are failures, or wilder, as ``Noise``
  says (thinning: drawn apart, they add up to Poisson requests of which a share fails).
- Of the failures those beyond the control's rate come by themselves, in bursts where the degradation says so.
- What judges see can be less than what happens: a silent canary is not counted, but its users suffer.

>>> drawing = Drawing(World(), Degradation(2.0), rollouts=100, random=np.random.default_rng(1))
>>> block = drawing.looks(0.5, np.zeros(100), 60)
>>> block.requests.shape, round(float(block.bad[..., 1].sum() / block.bad[..., 0].sum()), 1)
((100, 60, 2), 2.0)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from node0lib.errors import ConfigError
from node0lib.simulate.degradation import Degradation, Noise

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Requests a second, the control's share of errors in (0, 1), how failures come, seconds from look to look."""

    per_second: float = 100.0
    error_rate: float = 0.01
    noise: Noise = Noise()
    look: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.error_rate < 1:
            raise ConfigError(f"error_rate: {self.error_rate:g} must lie strictly between 0 and 1, as 0.01")
        if not (0 < self.per_second < math.inf and 0 < self.look < math.inf):
            raise ConfigError(f"traffic: {self.per_second:g} requests a second, a look each {self.look:g} s cannot be")


@dataclass(frozen=True)
class Block:
    """Some looks of all rollouts, as judges see them: ``requests`` and ``bad`` (rollouts, looks, 2), control first.

    ``harm`` (rollouts, looks) is how many requests failed users, beyond what the control would have failed.
    """

    requests: Ints
    bad: Ints
    harm: Floats


class Drawing:
    """Draws the looks of ``rollouts`` one stretch after another; ``random`` is used up in the order of the calls.

    ``most`` is the largest share of the rollout: noise that wanders has its design effect there.
    """

    def __init__(
        self,
        world: World,
        degradation: Degradation,
        *,
        rollouts: int,
        random: np.random.Generator,
        most: float = 0.5,
    ) -> None:
        self.world, self.degradation = world, degradation
        self._random, self._rollouts = random, rollouts
        each = world.per_second * world.error_rate * world.look
        self._spread, self._kept = world.noise.wander((each * (1 - most), each * most), world.look)
        arms = 1 if world.noise.kind == "swings" else 2
        self._wandering = random.standard_normal((rollouts, 1, arms)) if self._spread else np.zeros((rollouts, 1, arms))

    def looks(self, share: float, begins: Floats, count: int) -> Block:
        """Return ``count`` looks at that share; ``begins`` (rollouts,) is when, in seconds since each rollout began."""
        seconds = begins[:, None] + (np.arange(count) + 0.5) * self.world.look
        sent = self.world.per_second * self.world.look * np.array([1 - share, share * (1 - self.degradation.lost)])
        rate = np.minimum(self.world.error_rate * self._factors(count), 1.0)
        usual = np.broadcast_to(sent * rate, (self._rollouts, count, 2))
        beyond = self.degradation.ratios(seconds, share) - 1.0
        extra = np.minimum(usual[..., 1] * beyond, sent[1] - usual[..., 1])
        bad = self._failures(usual)
        bad[..., 1] += self._bursts(extra, self.degradation.burst)
        well = sent - usual
        well[..., 1] -= extra
        good = self._random.poisson(np.maximum(well, 0.0))
        return self._seen(share, seconds, good, bad, rate[..., 1])

    def _factors(self, count: int) -> Floats:
        """What the arms' error rates are multiplied with, (rollouts, count, 2), of mean 1."""
        if not self._spread:
            return np.ones((1, count, 2))
        fresh = self._random.standard_normal((self._rollouts, count, self._wandering.shape[2]))
        fresh *= math.sqrt(1 - self._kept**2)
        path, _ = lfilter([1.0], [1.0, -self._kept], fresh, axis=1, zi=self._kept * self._wandering)
        self._wandering = path[:, -1:, :]
        found: Floats = np.exp(self._spread * path - self._spread**2 / 2)
        return np.broadcast_to(found, (self._rollouts, count, 2))

    def _failures(self, expected: Floats) -> Ints:
        """The failures that come anyway, (rollouts, count, 2)."""
        noise = self.world.noise
        if noise.kind == "bursts":
            return self._bursts(expected, (noise.design_effect + 1) / 2)
        if noise.kind == "overdispersed" and noise.design_effect > 1:
            beyond = noise.design_effect - 1
            expected = self._random.standard_gamma(np.maximum(expected / beyond, 1e-12)) * beyond
        return self._random.poisson(expected)

    def _bursts(self, expected: Floats, size: float) -> Ints:
        """Failures in bursts of geometric size, ``size`` on average."""
        bursts = self._random.poisson(expected / size)
        if size > 1:
            bursts = bursts + np.where(bursts, self._random.negative_binomial(np.maximum(bursts, 1), 1 / size), 0)
        return bursts

    def _seen(self, share: float, seconds: Floats, good: Ints, bad: Ints, rate: Floats) -> Block:
        """Add what clients do about failures and losses, and take away what nobody counts."""
        wrong, requests = self.degradation, good + bad
        harm = bad[..., 1] - requests[..., 1] * rate
        if wrong.lost:
            lost = self.world.per_second * self.world.look * share * wrong.lost
            harm = harm + self._random.poisson(lost, seconds.shape)
        if wrong.retried:
            again = self._random.binomial(bad[..., 1], wrong.retried * (1 - share))
            failed = self._random.binomial(again, np.broadcast_to(np.minimum(rate, 1.0), again.shape))
            harm = harm - again + failed
            requests[..., 0] += again
            bad[..., 0] += failed
        if wrong.silent:
            gone = seconds >= wrong.begins
            requests[..., 1][gone] = bad[..., 1][gone] = 0
        return Block(requests, bad, harm)
