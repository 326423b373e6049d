"""Simulated rollouts, walked stage by stage by one of three judges, many at once.

What each judge does
- ``sequential``: as node0's rollout. Evidence of the error rate at every look; the sample-ratio check; lost telemetry
  (no canary request where 15 were due). At a stage's end: on if the canary passes, else the stage's time once more, and
  then on if no harm above ``harm_cap`` is left unexcluded, else held for a person: that is inconclusive.
- ``kayenta``: as Spinnaker. At each stage's end, one error rate a look and arm of that stage; High is a score of 0, and
  so is a stage without any data. What is missing within a stage is passed over.
- ``naive``: at every look, totals since the rollout began: the canary's rate above ``margin`` x the control's. Looks
  without data leave the totals as they were.

After the last comparing stage a canary counts as promoted. Chunks of rollouts draw from their own seeds, so judges are
compared on the same chance as long as their stages take the same time.

>>> found = walk(Plan(World(), looks=12), Degradation(20.0), "sequential", rollouts=10, seed=1)
>>> sorted(set(found.ending.tolist())), bool((found.seconds < 60).all())
(['rolled back'], True)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts.replay import in_order
from node0lib.canary.analysis import ALPHA_SHARES, EXPECTED, MISMATCH_ALPHA
from node0lib.canary.evidence_kernel import Evidences, SampleRatios
from node0lib.canary.mannwhitney_kernel import high
from node0lib.errors import ConfigError
from node0lib.simulate.degradation import Degradation
from node0lib.simulate.harmless import chunks, naively_worse, rates
from node0lib.simulate.rollouts import Block, Drawing, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Judge = Literal["sequential", "kayenta", "naive"]
JUDGES: tuple[Judge, ...] = get_args(Judge)
PROMOTED, ROLLED_BACK, HELD = "promoted", "rolled back", "held"


@dataclass(frozen=True)
class Plan:
    """A rollout: shares of the traffic of ``looks`` looks each, and what judges are told.

    ``alpha`` is that of the whole rollout, of which errors get their part; ``users`` is how many people there are.
    """

    world: World = field(default_factory=World)
    shares: tuple[float, ...] = (0.05, 0.25, 0.5)
    looks: int = 60
    margin: float = 1.05
    alpha: float = 0.05
    beta: float = 0.05
    design_effect: float = 1.0
    harm_cap: float = 2.0
    minimum_requests: int = 100
    users: int = 10_000

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if not self.shares or not rising or not 0 < self.shares[0] <= self.shares[-1] < 1:
            told = ", ".join(f"{share:g}" for share in self.shares)
            raise ConfigError(f"stages: {told} must rise between 0 and 1; at 1 no control is left to compare with")
        if self.looks < 2:
            raise ConfigError(f"a stage of {self.looks} looks is too short; give it two at least")

    @property
    def stage(self) -> float:
        """Seconds of a stage."""
        return self.looks * self.world.look

    @property
    def errors_alpha(self) -> float:
        """The part of alpha that the error rate gets."""
        return self.alpha * ALPHA_SHARES["error_rate"]


@dataclass(frozen=True)
class Walked:
    """How rollouts ended, (rollouts,) each: ``ending``, after how many ``seconds``, and ``at_stage`` (from 0).

    ``onset``: when harm began (inf: never in that rollout); ``failed``: requests that failed users beyond what the
    control would have failed; ``exposed``: users who had met the canary.
    """

    ending: NDArray[np.str_]
    seconds: Floats
    at_stage: Ints
    onset: Floats
    failed: Floats
    exposed: Floats

    @property
    def detected(self) -> Bools:
        """Whether the rollout was rolled back after harm had begun."""
        found: Bools = (self.ending == ROLLED_BACK) & (self.seconds > self.onset)
        return found

    @property
    def delays(self) -> Floats:
        """Seconds from the beginning of harm to the rollback; inf where there was none."""
        with np.errstate(invalid="ignore"):
            return np.where(self.detected, self.seconds - self.onset, np.inf)


class _Judging(Protocol):
    def begin(self, share: float) -> None:
        """Begin a stage."""

    def stops(self, block: Block, active: Bools) -> Ints:
        """The look at which each active rollout is rolled back, -1 for none."""

    def passes(self) -> Bools:
        """Which go on at the stage's end."""

    def goes_on(self) -> Bools:
        """Which go on although they did not pass, after the stage's time was taken once more."""


def walk(plan: Plan, degradation: Degradation, judge: Judge, *, rollouts: int, seed: int) -> Walked:
    """Walk rollouts of one kind; equal arguments give equal answers."""

    def one(given: tuple[int, np.random.Generator]) -> Walked:
        count, random = given
        return _Walk(plan, degradation, _JUDGES[judge](plan, count), count, random).ended()

    parts = list(in_order(one, chunks(rollouts, seed), os.cpu_count() or 1))
    return Walked(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Walked)})


class _Walk:
    """A chunk of rollouts on their way."""

    def __init__(
        self, plan: Plan, degradation: Degradation, judging: _Judging, count: int, random: np.random.Generator
    ) -> None:
        self._plan, self._degradation, self._judging = plan, degradation, judging
        self._drawing = Drawing(plan.world, degradation, rollouts=count, random=random, most=plan.shares[-1])
        self._seconds, self._failed = np.zeros(count), np.zeros(count)
        self._onset = np.full(count, np.inf)
        self._begun = np.full((len(plan.shares), count), np.inf)
        self._stage = np.zeros(count, np.int64)
        self._ending = np.full(count, PROMOTED, dtype="<U11")

    def ended(self) -> Walked:
        """Walk all stages."""
        active = np.ones(self._seconds.size, np.bool_)
        for number, share in enumerate(self._plan.shares):
            self._begun[number][active] = self._seconds[active]
            self._stage[active] = number
            self._note_onset(share, active)
            self._judging.begin(share)
            active = self._hold(share, active)
            open_ = active & ~self._judging.passes()
            extended = self._hold(share, open_)
            held = extended & ~self._judging.goes_on()
            self._ending[held] = HELD
            active = (active & ~open_) | (extended & ~held)
        return Walked(self._ending, self._seconds, self._stage, self._onset, self._failed, self._exposed())

    def _note_onset(self, share: float, active: Bools) -> None:
        wrong = self._degradation
        if not wrong.harmless and share > wrong.above_share:
            new = active & np.isinf(self._onset)
            self._onset[new] = np.maximum(self._seconds[new], wrong.begins)

    def _hold(self, share: float, active: Bools) -> Bools:
        """Keep the share for a stage's time; return who is still on the way."""
        if not active.any():
            return active
        looks, look = self._plan.looks, self._plan.world.look
        block = self._drawing.looks(share, self._seconds, looks)
        stopped = self._judging.stops(block, active)
        rolled = active & (stopped >= 0)
        taken = np.where(rolled, stopped + 1, looks) * active
        self._failed += np.where(np.arange(looks) < taken[:, None], block.harm, 0.0).sum(axis=1)
        self._seconds += taken * look
        self._ending[rolled] = ROLLED_BACK
        return active & ~rolled

    def _exposed(self) -> Floats:
        """Users who have met the canary: each keeps to one version, and those of a smaller share belong to a larger."""
        plan = self._plan
        each = plan.world.per_second / plan.users
        more = np.diff([0.0, *plan.shares])[:, None] * plan.users
        there = np.maximum(self._seconds - self._begun, 0.0)
        exposed: Floats = (more * -np.expm1(-each * there)).sum(axis=0)
        return exposed


class _Sequential:
    def __init__(self, plan: Plan, count: int) -> None:
        self._plan, self._count, self._number = plan, count, 0
        excluding = (plan.margin, plan.harm_cap)
        self._evidence = Evidences(count, plan.margin, design_effect=plan.design_effect, stages=len(plan.shares),
                                   excluding=excluding)  # fmt: skip

    def begin(self, share: float) -> None:
        if self._number:
            self._evidence.begin_stage()
        self._number += 1
        self._share, self._ratios = share, SampleRatios(self._count, share)
        self._due = np.zeros(self._count)

    def stops(self, block: Block, active: Bools) -> Ints:
        told = [
            self._evidence.add(block.requests, block.bad, alpha=self._plan.errors_alpha, active=active),
            self._ratios.add(block.requests, alpha=MISMATCH_ALPHA / len(self._plan.shares)),
            self._silence(block),
        ]
        latest = np.iinfo(np.int64).max
        first = np.min([np.where(found >= 0, found, latest) for found in told], axis=0)
        return np.where(first == latest, -1, first)

    def _silence(self, block: Block) -> Ints:
        due = self._share * block.requests.sum(axis=2)
        lost = np.full(self._count, -1)
        for look in range(due.shape[1]):
            self._due = np.where(block.requests[:, look, 1] > 0, 0.0, self._due + due[:, look])
            lost = np.where((lost < 0) & (self._due >= EXPECTED), look, lost)
        return lost

    def passes(self) -> Bools:
        return self._enough() & self._evidence.excludes(self._plan.margin, self._plan.beta)

    def goes_on(self) -> Bools:
        return self._enough() & self._evidence.excludes(self._plan.harm_cap, self._plan.beta)

    def _enough(self) -> Bools:
        enough: Bools = self._evidence.requests[:, 1] >= self._plan.minimum_requests
        return enough


class _Kayenta:
    def __init__(self, plan: Plan, count: int) -> None:
        self._all = np.ones(count, np.bool_)

    def begin(self, share: float) -> None:
        """Each stage is judged by its own points."""

    def stops(self, block: Block, active: Bools) -> Ints:
        control, canary = rates(block)
        nothing = np.array(np.isnan(control).all(axis=1) | np.isnan(canary).all(axis=1))
        asked = active & ~nothing
        nothing[asked] = high(control[asked], canary[asked])
        return np.where(nothing, control.shape[1] - 1, -1)

    def passes(self) -> Bools:
        return self._all

    goes_on = passes


class _Naive:
    def __init__(self, plan: Plan, count: int) -> None:
        self._margin, self._all = plan.margin, np.ones(count, np.bool_)
        self._requests, self._bad = np.zeros((count, 1, 2), np.int64), np.zeros((count, 1, 2), np.int64)

    def begin(self, share: float) -> None:
        """Totals go on."""

    def stops(self, block: Block, active: Bools) -> Ints:
        heard = (block.requests.min(axis=2) > 0)[..., None]
        requests = self._requests + np.cumsum(block.requests * heard, axis=1)
        bad = self._bad + np.cumsum(block.bad * heard, axis=1)
        self._requests, self._bad = requests[:, -1:], bad[:, -1:]
        worse = naively_worse(requests, bad, self._margin)
        return np.where(worse.any(axis=1), worse.argmax(axis=1), -1)

    def passes(self) -> Bools:
        return self._all

    goes_on = passes


_JUDGES: Mapping[Judge, type[_Sequential] | type[_Kayenta] | type[_Naive]] = {
    "sequential": _Sequential,
    "kayenta": _Kayenta,
    "naive": _Naive,
}
