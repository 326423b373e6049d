"""A study of canaries: degradations against judges, what each costs, and what no judge can see in the time there is.

A ``Study`` says what is asked; each function answers one part of it, from rollouts that only its seed decides:

- ``outcomes``: each degradation, walked by each judge (``canary_walk``);
- ``curve``: the same for a step of each size, from a harmless canary on;
- ``over_looks``: how many harmless canaries have been stopped by each look;
- ``noises``: harmless canaries under each kind of noise, with a judge that is told of it and one that is not;
- ``needs``: how many requests it takes to tell a harm of some size, before anything runs.

Shares come with Wilson's 95% intervals, medians with those from order statistics; what was missed stays in the sample.

>>> asked = Study(Plan(World(look=10.0), looks=30), rollouts=20, kinds={"crash": Degradation(20.0)})
>>> crash = outcomes(asked)["crash"]["sequential"]
>>> crash.detected.value, crash.delay.value
(1.0, 10.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from node0lib.canary.plan import ALPHA, POWER, Asked, fixed, to_catch, to_pass
from node0lib.errors import ConfigError
from node0lib.ports import Progress
from node0lib.simulate.canary_walk import HELD, JUDGES, PROMOTED, ROLLED_BACK, Judge, Plan, Walked, walk
from node0lib.simulate.degradation import DEGRADATIONS, HARMLESS, NOISES, Degradation, Noise
from node0lib.simulate.harmless import NEVER, Question, stopped_by
from node0lib.simulate.months import silent
from node0lib.simulate.rollouts import World
from node0lib.sli.intervals import Estimate, mean_interval, median_interval, quantile_interval, wilson

SIZES = (1.0, 1.05, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
HARMS = (1.05, 1.10, 1.25, 1.5, 2.0, 3.0, 5.0, 20.0)
_EFFECT = 3.0
"""The design effect of the kinds of noise that have one, where they are compared."""
_LOOKS = 180


@dataclass(frozen=True)
class Study:
    """Degradations by name, walked ``rollouts`` times each through ``plan``; ``seed`` decides the rest."""

    plan: Plan
    rollouts: int = 500
    seed: int = 1
    kinds: Mapping[str, Degradation] = field(default_factory=lambda: dict(DEGRADATIONS))

    def __post_init__(self) -> None:
        if self.rollouts < 20:
            raise ConfigError(f"rollouts: {self.rollouts} are too few to say anything; 500 is a beginning")


@dataclass(frozen=True)
class Outcome:
    """What one judge did with one degradation, in ``n`` rollouts.

    ``rolled_back``, ``held`` (inconclusive) and ``promoted`` are shares of all; ``detected`` those rolled back after
    harm had begun. ``delay`` (median) and ``late`` (nine of ten) are seconds from then on, inf where missed.
    ``exposed`` (users, median), ``failed`` (requests beyond the control's, mean) and ``lasted`` (seconds, median) are
    until the end of the rollout.
    """

    n: int
    rolled_back: Estimate
    held: Estimate
    promoted: Estimate
    detected: Estimate
    delay: Estimate
    late: Estimate
    exposed: Estimate
    failed: Estimate
    lasted: Estimate


Outcomes = Mapping[str, Mapping[Judge, Outcome]]


def outcomes(asked: Study, progress: Progress = silent) -> Outcomes:
    """Return what each judge does with each degradation, and with a harmless canary."""
    kinds = {HARMLESS: Degradation()} | dict(asked.kinds)
    found = {}
    for done, (name, kind) in enumerate(kinds.items(), start=1):
        found[name] = {judge: _outcome(_walked(asked, kind, judge)) for judge in JUDGES}
        progress("degradations", done, len(kinds))
    return found


def _walked(asked: Study, kind: Degradation, judge: Judge) -> Walked:
    return walk(asked.plan, kind, judge, rollouts=asked.rollouts, seed=asked.seed)


def _outcome(walked: Walked) -> Outcome:
    delays = walked.delays.tolist()
    return Outcome(
        walked.ending.size,
        _share(walked.ending == ROLLED_BACK),
        _share(walked.ending == HELD),
        _share(walked.ending == PROMOTED),
        _share(walked.detected),
        _known(median_interval(delays)),
        _known(quantile_interval(delays, 0.9)),
        _known(median_interval(walked.exposed.tolist())),
        _known(mean_interval(walked.failed.tolist())),
        _known(median_interval(walked.seconds.tolist())),
    )


def _share(which: NDArray[np.bool_]) -> Estimate:
    return _known(wilson(int(which.sum()), which.size))


def _known(found: Estimate | None) -> Estimate:
    assert found is not None  # a study has rollouts
    return found


def curve(asked: Study, sizes: Iterable[float] = SIZES) -> Mapping[float, Mapping[Judge, Outcome]]:
    """Return what each judge does with steps of some sizes, as ratios of error rates; 1 is harmless."""
    return {size: {judge: _outcome(_walked(asked, Degradation(size), judge)) for judge in JUDGES} for size in sizes}


@dataclass(frozen=True)
class OverLooks:
    """Shares of ``n`` harmless canaries that each judge has stopped by each look, (looks,), and by the end."""

    n: int
    looks: int
    seconds: float
    share: float
    by_look: Mapping[str, NDArray[np.float64]]
    ever: Mapping[str, Estimate]


def over_looks(asked: Study, looks: int = _LOOKS) -> OverLooks:
    """Return how many harmless canaries are stopped by each look, at the first stage's share held all the time."""
    plan = asked.plan
    question = _question(asked, plan.world, looks, plan.design_effect)
    stopped = stopped_by(question, kayenta=asked.rollouts)
    n = {name: first.size for name, first in stopped.items()}
    reached = np.arange(looks)[:, None]
    by_look = {name: (first <= reached).sum(axis=1) / n[name] for name, first in stopped.items()}
    ever = {name: _share(first < NEVER) for name, first in stopped.items()}
    return OverLooks(question.rollouts, looks, looks * plan.world.look, plan.shares[0], by_look, ever)


def _question(asked: Study, world: World, looks: int, told: float) -> Question:
    plan = asked.plan
    return Question(world, plan.shares[:1], looks, asked.rollouts, Degradation(), plan.margin, plan.errors_alpha, told,
                    asked.seed)  # fmt: skip


@dataclass(frozen=True)
class Noisy:
    """Harmless canaries under one noise: shares ever stopped by the sequential judge that is ``told`` its design effect
    and by one that is not, and by the naive rule."""

    noise: Noise
    told: Estimate
    untold: Estimate
    naive: Estimate


def noises(asked: Study, looks: int = _LOOKS) -> tuple[Noisy, ...]:
    """Return what each kind of noise does to judges, at the first stage's share held all the time."""
    found = []
    for kind in NOISES:
        noise = Noise(kind, 1.0 if kind in ("iid", "swings") else _EFFECT)
        world = replace(asked.plan.world, noise=noise)
        told = stopped_by(_question(asked, world, looks, noise.told))
        untold = stopped_by(_question(asked, world, looks, 1.0)) if noise.told > 1 else told
        found.append(Noisy(noise, _ever(told["sequential"]), _ever(untold["sequential"]), _ever(told["naive"])))
    return tuple(found)


def _ever(stopped: NDArray[np.int64]) -> Estimate:
    return _share(stopped < NEVER)


@dataclass(frozen=True)
class Need:
    """Canary requests (inf: no number is enough) by which a harm of ``ratio`` times the control's errors is told.

    ``fixed``: at one look at a sample of that size, planned before. ``excluded``: by the sequential judge, which may be
    looked at all the time, for a harmless canary to be shown better than that. ``caught``: for one as bad as that to be
    rolled back.
    """

    ratio: float
    fixed: float
    excluded: float
    caught: float


def needs(plan: Plan, harms: Iterable[float] = HARMS) -> tuple[Need, ...]:
    """Return what harms of some sizes need, at the first stage's share and a power of 80%."""
    rate, share = plan.world.error_rate, plan.shares[0]

    def one(ratio: float) -> Need:
        ask, margin = Asked("error_rate", rate, ratio), Asked("error_rate", rate, plan.margin)
        caught = to_catch(margin, ratio, share=share, alpha=plan.errors_alpha, power=POWER)
        excluded = to_pass(ask, share=share, beta=plan.beta, power=POWER)
        return Need(ratio, fixed(ask, share=share, alpha=ALPHA, power=POWER), excluded, caught)

    return tuple(one(ratio) for ratio in harms if rate * ratio < 1)


def requests(plan: Plan) -> tuple[float, ...]:
    """Return the canary's requests by the end of each stage."""
    sent = [plan.world.per_second * plan.stage * share for share in plan.shares]
    return tuple(math.fsum(sent[: number + 1]) for number in range(len(sent)))
