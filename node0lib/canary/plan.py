"""How long must a canary run before a judge can tell? Before it runs, and what can be told in the time there is.

Two answers to "how many requests":

- ``fixed``: the textbook's, for one look at one metric (two shares, one-sided, pooled null variance, the control's
  requests counted as well). Alpha 5%, power 80%, a canary of 5%, 1% errors: +5% takes
  262,000 canary requests, +25% 11,200, +100% 849.
- ``to_pass`` and ``to_catch``: node0's own sequential judge, which may be looked at all the time and pays for that. The
  e-process is evaluated at the quantile of the canary's bad events that the power asks for (normal approximation to
  the binomial split of all bad events); peeking before can only help, so the figures are on the cautious side.

A latency margin is read as the judge reads it: of requests slower than T, the control's quantile x the margin, the
canary may have as many as make T its quantile. How many the control has is a matter of the latencies' shape: lognormal
with ``sigma`` (the standard deviation of the log; 0.5 is ordinary, 1 is wild). It also passes by its own share of slow
requests, which needs no control and is often quicker.

Promotion asks for all metrics, so the power is divided over them: each has 1 - (1 - power) / metrics. Alpha is divided
as the rollout divides it. Evidence accumulates over the stages, as it does in a rollout.

Source: Fleiss, Levin, Paik, "Statistical Methods for Rates and Proportions", 3rd ed. (2003), ch. 4; ``sequential``.

>>> errors = Asked("error_rate", rate=0.01, ratio=1.05)
>>> round(fixed(errors, share=0.05, alpha=0.05, power=0.8), -3)
262000.0
>>> round(fixed(Asked("error_rate", 0.01, 2.0), share=0.05, alpha=0.05, power=0.8))
849
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from node0lib.canary.analysis import ALLOWED, ALPHA_SHARES
from node0lib.canary.arms import WIDEST
from node0lib.canary.own_share import OwnShare
from node0lib.canary.sequential import log_e
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import CanaryRules, ChangeRule

_MOST = 1e13
_MINUTE = timedelta(minutes=1)
_YEAR = 366 * 24 * 60
_MARGINS = tuple(m / 100 for m in (1, 2, 3, 5, 7.5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 900))
ALPHA, POWER = 0.05, 0.80
"""What the published fixed-sample figures are for."""


@dataclass(frozen=True)
class Asked:
    """A metric's question: the share of bad ones at the control, and the largest harmless ratio to it (> 1).

    ``allowed`` is what a quantile allows in any case; None for errors.
    """

    metric: str
    rate: float
    ratio: float
    allowed: float | None = None

    def each(self, error: float) -> float:
        """Return the part of an error that each way to a verdict has: with two of them, half."""
        return error if self.allowed is None else error / 2


@dataclass(frozen=True)
class Traffic:
    """What comes: requests per second, share of errors in (0, 1), sigma of the log latency (> 0)."""

    per_second: float
    error_rate: float
    sigma: float

    def __post_init__(self) -> None:
        fine = self.per_second > 0 and 0 < self.error_rate < 1 and self.sigma > 0
        if not fine or not all(map(math.isfinite, (self.per_second, self.sigma))):
            raise ConfigError(
                f"traffic {self.per_second:g}/s, error rate {self.error_rate:g}, sigma {self.sigma:g}: traffic and "
                "sigma must be above 0, the error rate strictly between 0 and 1; without errors no ratio is known"
            )


@dataclass(frozen=True)
class Need:
    """What one metric needs at one share: canary requests (inf if no number is enough), and what is told in time.

    ``margin`` is the one asked for, ``reachable`` the least of a list of round margins that an equal canary passes by
    the stage's end (None: none of them), and ``caught`` the least ratio of bad shares that is found by then.
    """

    metric: str
    margin: float
    fixed: float
    to_pass: float
    reachable: float | None
    caught: float | None


@dataclass(frozen=True)
class StagePlan:
    """A stage: its share, its configured length, the canary's requests in it and up to its end, and the needs."""

    share: float
    length: timedelta
    requests: float
    by_end: float
    needs: tuple[Need, ...]

    def minutes(self, requests: float, per_second: float) -> float:
        """How long so many canary requests take at this stage's share, in minutes."""
        return requests / (per_second * self.share) / 60


@dataclass(frozen=True)
class Proposal:
    """What would work: for ``every_stage`` to pass by its own end, or only the last, by the ``end`` of the comparison.

    ``margins`` are those that an equal canary passes in the configured time (None: none up to +900%), ``stage_length``
    is the least length of every stage by which it passes the configured margins (None: none within a year).
    """

    passes_at: Literal["every_stage", "end"]
    margins: Mapping[str, float | None]
    stage_length: timedelta | None


@dataclass(frozen=True)
class Plan:
    """The stages that compare (the one at 100% has no control), and what would work.

    ``needed`` is ``fixed`` for the error rate at the first stage's share; None without stages.
    """

    stages: tuple[StagePlan, ...]
    traffic: Traffic
    power: float
    proposals: tuple[Proposal, ...]
    needed: float | None


def asked(rules: CanaryRules, traffic: Traffic) -> tuple[Asked, ...]:
    """Return the questions of the three margins for that traffic."""
    return tuple(question(name, margin, traffic) for name, margin in _margins(rules).items())


def _margins(rules: CanaryRules) -> dict[str, float]:
    return {"error_rate": rules.error_rate, "latency_p95": rules.latency_p95, "latency_p99": rules.latency_p99}


def question(metric: str, margin: float, traffic: Traffic) -> Asked:
    """Return a metric's question; ``margin`` 0.05 is +5% of the error rate or of the quantile."""
    if metric == "error_rate":
        return Asked(metric, traffic.error_rate, 1 + margin)
    allowed = ALLOWED[metric]
    slow = float(ndtr(-(-float(ndtri(allowed)) + math.log1p(margin) / traffic.sigma)))
    slow = max(slow, allowed / WIDEST)
    return Asked(metric, slow, allowed / slow, allowed)


def fixed(ask: Asked, *, share: float, alpha: float, power: float) -> float:
    """Return the canary requests of one look at one metric by which a canary at the margin is told from an equal one.

    inf if the margin would make more than every request a bad one.
    """
    worse = ask.rate * ask.ratio
    if not ask.rate < worse < 1:
        return math.inf
    odds = share / (1 - share)
    pooled = (1 - share) * ask.rate + share * worse
    null = math.sqrt(pooled * (1 - pooled) * (1 + odds))
    other = math.sqrt(worse * (1 - worse) + odds * ask.rate * (1 - ask.rate))
    z_alpha, z_power = -float(ndtri(alpha)), float(ndtri(power))
    return float(((z_alpha * null + z_power * other) / (worse - ask.rate)) ** 2)


def to_pass(ask: Asked, *, share: float, beta: float, power: float) -> float:
    """Return the canary requests by which the sequential judge passes an equal canary, with that power."""
    return _least(lambda n: _passed(ask, [(n, share)], beta, power))


def to_catch(ask: Asked, true: float, *, share: float, alpha: float, power: float) -> float:
    """Return the canary requests by which the sequential judge fails a canary ``true`` times as bad as the control."""
    if true <= ask.ratio or ask.rate * true >= 1:
        return math.inf
    return _least(lambda n: _found(ask, [(n, share)], true, alpha, power))


def _least(enough: Callable[[float], bool]) -> float:
    """The least number that is enough, to a thousandth; ``enough`` once true stays so."""
    if not enough(_MOST):
        return math.inf
    low, high = 0.0, math.log(_MOST)
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _log_e(seen: Sequence[tuple[float, float]], ask: Asked, *, true: float, power: float, above: bool) -> float:
    """The log e-value of looks (canary requests, share) at the bad events that the power asks to reckon with."""
    requests, shares = np.array(seen, dtype=np.float64).T
    odds = shares / (1 - shares)
    bad = requests * ask.rate * (true + 1 / odds)
    expected = bad * (true * odds / (1 + true * odds))
    spread = float(np.sqrt((expected * (1 - expected / bad)).sum())) * float(ndtri(power))
    canary = expected * (1 + (-spread if above else spread) / float(expected.sum()))
    return float(log_e(shares, np.stack([bad - canary, canary], axis=-1), ask.ratio, above=above))


def plan(rule: ChangeRule, rules: CanaryRules, traffic: Traffic, *, power: float = POWER) -> Plan:
    """Plan the stages of a class; ``power`` is the chance that an equal canary is promoted. Pure and deterministic.

    Raises ConfigError for a power that does not lie in [0.5, 1).
    """
    if not 0.5 <= power < 1:
        raise ConfigError(f"the power {power:g} does not lie between 0.5 and 1; write for example 80%")
    shares = [share for share in rule.stages if share < 1]
    each = 1 - (1 - power) / len(_margins(rules))
    sent = [_sent(share, rule.stage_duration, traffic) for share in shares]
    stages = []
    for n, share in enumerate(shares):
        seen = list(zip(sent[: n + 1], shares[: n + 1], strict=True))
        needs = tuple(_need(name, m, rules, traffic, seen, each) for name, m in _margins(rules).items())
        stages.append(StagePlan(share, rule.stage_duration, sent[n], sum(sent[: n + 1]), needs))
    needed = stages[0].needs[0].fixed if stages else None
    return Plan(tuple(stages), traffic, power, _proposals(stages, rules, traffic, each), needed)


def _proposals(
    stages: Sequence[StagePlan], rules: CanaryRules, traffic: Traffic, power: float
) -> tuple[Proposal, ...]:
    if not stages:
        return ()
    shares = [stage.share for stage in stages]
    every = {need.metric: _worst([s.needs[n].reachable for s in stages]) for n, need in enumerate(stages[0].needs)}
    end = {need.metric: need.reachable for need in stages[-1].needs}
    return (
        Proposal("every_stage", every, _length(shares, rules, traffic, power, every=True)),
        Proposal("end", end, _length(shares, rules, traffic, power, every=False)),
    )


def _worst(reached: Sequence[float | None]) -> float | None:
    found = [margin for margin in reached if margin is not None]
    return max(found) if len(found) == len(reached) else None


def _sent(share: float, length: timedelta, traffic: Traffic) -> float:
    return traffic.per_second * share * length.total_seconds()


def _need(
    metric: str,
    margin: float,
    rules: CanaryRules,
    traffic: Traffic,
    seen: Sequence[tuple[float, float]],
    power: float,
) -> Need:
    ask, share = question(metric, margin, traffic), seen[-1][1]
    alpha = rules.alpha * ALPHA_SHARES[metric]
    passes = (m for m in _MARGINS if _passed(question(metric, m, traffic), seen, rules.beta, power))
    return Need(
        metric,
        margin,
        fixed(ask, share=share, alpha=ALPHA, power=POWER),
        to_pass(ask, share=share, beta=rules.beta, power=power),
        next(passes, None),
        _caught(ask, seen, alpha, power),
    )


def _passed(ask: Asked, seen: Sequence[tuple[float, float]], beta: float, power: float) -> bool:
    """Whether an equal canary passes, by its ratio to the control or by its own share of slow requests."""
    enough = -math.log(ask.each(beta))
    if _log_e(seen, ask, true=1.0, power=power, above=False) >= enough:
        return True
    if ask.allowed is None:
        return False
    requests = sum(n for n, _ in seen)
    slow = requests * ask.rate + math.sqrt(requests * ask.rate * (1 - ask.rate)) * float(ndtri(power))
    return OwnShare(ask.allowed).log_e_under(requests, min(slow, requests)) >= enough


def _found(ask: Asked, seen: Sequence[tuple[float, float]], true: float, alpha: float, power: float) -> bool:
    """Whether a canary that is ``true`` times as bad fails, by its ratio: the own share can only help."""
    return _log_e(seen, ask, true=true, power=power, above=True) >= -math.log(ask.each(alpha))


def _caught(ask: Asked, seen: Sequence[tuple[float, float]], alpha: float, power: float) -> float | None:
    """The least ratio above the margin that the judge finds by then; None if not even the largest possible."""
    low, high = math.log(ask.ratio), math.log(min(1 / ask.rate, 1000.0)) - 1e-9

    def found(true: float) -> bool:
        return _found(ask, seen, math.exp(true), alpha, power)

    if high <= low or not found(high):
        return None
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return math.exp(high)


def _length(
    shares: Sequence[float], rules: CanaryRules, traffic: Traffic, power: float, *, every: bool
) -> timedelta | None:
    """The least stage length, in whole minutes, by which the stages (or the last) pass; None beyond a year."""
    questions = asked(rules, traffic)
    ends = range(1, len(shares) + 1) if every else [len(shares)]

    def enough(minutes: float) -> bool:
        seen = [(_sent(share, min(minutes, _YEAR) * _MINUTE, traffic), share) for share in shares]
        return all(_passed(ask, seen[:end], rules.beta, power) for end in ends for ask in questions)

    minutes = _least(enough)
    return None if minutes > _YEAR else math.ceil(minutes) * _MINUTE
