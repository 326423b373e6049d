"""A second real target for tests: a shop whose loss, errors and traffic follow from a few numbers that a test sets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from node0lib.optimize.knobs import KNOBS, POLICY_EXAMPLE
from node0lib.ports import Arm, Baseline, Look, Outcome, Policy

WEIGHTS: Mapping[str, float] = {"cache_ttl_s": 0.1}
NUMERIC = {knob.name: knob for knob in KNOBS if not knob.choices}


def quiet(_: str, __: int, ___: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Shop:
    """Loss rises with the squared distance of every weighted knob from ``best``; 100 is the least.

    ``noise`` is each policy's own on each seed; ``doubt`` the sd of an own violation around ``violation``, which only
    other policies than ``home`` have. ``harm`` multiplies the errors of every policy but ``home``; ``errors`` is home's
    share of failed requests; from minute ``silent_from`` on the canary gets no requests; ``left`` requests a minute
    stay with the control at 100%. ``asked`` and ``sent`` record what was evaluated and split.
    """

    home: Policy = field(default_factory=lambda: dict(POLICY_EXAMPLE))
    best: Policy = field(default_factory=lambda: {**POLICY_EXAMPLE, "cache_ttl_s": 60.0})
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    noise: float = 0.003
    violation: float = -0.5
    doubt: float = 0.0
    errors: float = 0.01
    harm: float = 1.0
    traffic: int = 6000
    silent_from: float = math.inf
    left: int = 0
    slow_p95: float = 0.04
    slow_p99: float = 0.008
    asked: list[tuple[Policy, int]] = field(default_factory=list, compare=False)
    sent: list[tuple[float, int, int]] = field(default_factory=list, compare=False)
    name = "toy shop"
    simulated = True

    def distance(self, policy: Policy) -> float:
        """The true relative loss above the least possible."""
        return sum(weight * self._far(name, policy[name]) ** 2 for name, weight in self.weights.items())

    def _far(self, name: str, value: int | float | str) -> float:
        if name not in NUMERIC or isinstance(value, str):
            return float(value != self.best[name])
        wanted = float(self.best[name])
        return math.log(value / wanted) if NUMERIC[name].log else value - wanted

    def evaluate(self, policy: Policy, *, at: datetime, seed: int) -> Outcome:
        """Equal seeds share the conditions of the hour; the noise is each policy's own."""
        self.asked.append((dict(policy), seed))
        own = _generator(seed, policy, at)
        hour = np.random.default_rng([seed, int(at.timestamp())]).normal(0, 0.05)
        loss = 100 * (1 + self.distance(policy)) * math.exp(hour + self.noise * own.normal())
        away = dict(policy) != dict(self.home)
        return Outcome(loss, self.violation + self.doubt * own.normal() if away else -0.5, {})

    def baseline(self, policy: Policy, *, margin_p95: float, margin_p99: float, at: datetime, seed: int) -> Baseline:
        """Bounds that the control's slowest requests pass."""
        return Baseline(0.05, 0.15, self.slow_p95, self.slow_p99)

    def split(
        self,
        control: Policy,
        canary: Policy,
        *,
        baseline: Baseline,
        share: float,
        first_minute: int,
        minutes: int,
        at: datetime,
        seed: int,
    ) -> Sequence[Look]:
        """Binomial traffic and errors, one look a minute."""
        self.sent.append((share, first_minute, minutes))
        return [self._look(control, canary, share, first_minute + n, at, seed) for n in range(minutes)]

    def _look(self, control: Policy, canary: Policy, share: float, minute: int, at: datetime, seed: int) -> Look:
        draw = np.random.default_rng([seed, minute, int(at.timestamp())])
        sent = int(draw.binomial(self.traffic, share)) if minute < self.silent_from else 0
        kept = self.left if share >= 1 else self.traffic - sent
        return Look(minute, self._arm(control, kept, draw), self._arm(canary, sent, draw))

    def _arm(self, policy: Policy, requests: int, draw: np.random.Generator) -> Arm:
        away = dict(policy) != dict(self.home)
        errors = int(draw.binomial(requests, min(1.0, self.errors * (self.harm if away else 1.0))))
        slow = int(draw.binomial(requests, self.slow_p95))
        return Arm(requests, errors, slow, int(draw.binomial(slow, min(1.0, self.slow_p99 / max(self.slow_p95, 1e-9)))))


def _generator(seed: int, policy: Policy, at: datetime) -> np.random.Generator:
    digest = hashlib.sha256(repr(sorted(policy.items())).encode()).digest()
    return np.random.default_rng([seed, int(at.timestamp()), int.from_bytes(digest[:8])])
