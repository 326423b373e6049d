"""Carry out a rollout: obey its commands on a ``ports.Split``, feed it the looks, and keep what was seen.

The same walk moves real traffic, look after look in real time, and the simulated target's, whose looks are a minute
apart and cost none. Whatever ends it, the traffic is not left with the canary: a command that cannot be carried out is
an abort, and a way back that cannot be confirmed is tried again and then raised, with the guard still on duty.

>>> roll_out.__name__
'roll_out'
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from node0lib.canary.analysis import Analysis, Reading
from node0lib.canary.rollout import (
    LOOKING,
    Abort,
    Command,
    Confirmed,
    Ending,
    Event,
    Lost,
    Measured,
    Plan,
    Revised,
    Rollout,
    State,
    Tick,
)
from node0lib.canary.sequential import MetricVerdict
from node0lib.errors import DataError, RunError
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.ports import Arm, Baseline, Look, Policy, Progress, Split, Target
from node0lib.slo.catalogue import CanaryRules, ChangeRule

StageOutcome = Literal["passed", "went_on", "failed", "held", "telemetry_lost"]
ATTEMPTS = 3
"""How often the way back is tried from here before it is raised; the target retries each time too."""


@dataclass(frozen=True)
class Stage:
    """What one stage saw: its share of the traffic, its minutes, its totals, verdicts and outcome."""

    share: float
    minutes: float
    control: Arm
    canary: Arm
    verdicts: tuple[MetricVerdict, ...]
    outcome: StageOutcome
    reason: str


@dataclass(frozen=True)
class Walked:
    """The whole way; ``minutes`` from start to the decision. Traffic is back at the control unless promoted."""

    stages: tuple[Stage, ...]
    ending: Ending
    reasons: tuple[str, ...]
    minutes: float


@dataclass(frozen=True)
class Change:
    """The question a rollout answers: may ``candidate`` take over from ``control``?

    ``error_limit`` is the absolute error share that the watch at 100% tolerates, in (0, 1].
    """

    control: Policy
    candidate: Policy
    rule: ChangeRule
    margins: CanaryRules
    error_limit: float
    at: datetime
    seed: int

    def plan(self, *, patience: float = 0.0, approved: bool = True) -> Plan:
        """Return how its class is rolled out; ``patience`` minutes are waited for a person."""
        rule = self.rule
        return Plan(
            shares=rule.stages or (1.0,),
            length=rule.stage_duration / timedelta(minutes=1),
            on_inconclusive=rule.on_inconclusive,
            harm_cap=rule.harm_cap,
            approval=rule.approval and not approved,
            patience=patience,
        )


@dataclass(frozen=True)
class Seen:
    """One look of the record: the rollout after it, the look itself, and what is known of it."""

    rollout: Rollout
    look: Look
    reading: Reading


Pulse = Callable[[Rollout], Event | None]
"""Waits until the next look is due; returns what came from outside meanwhile (a person, a deadline), if anything."""


@dataclass(frozen=True)
class Watch:
    """How a walk is driven, and who is told: of every look, and of every command before and after it is carried out.

    ``whole`` has every look judged whole; ``deaf`` looks in a row that cannot be had are borne, one more is lost
    telemetry.
    """

    pulse: Pulse
    seen: Callable[[Seen], None]
    told: Callable[[Rollout, Command, bool], None]
    whole: bool = True
    deaf: int = 0


def _nothing(*_: object) -> None:
    """Nobody is there: simulated time needs no waiting for."""


def roll_out(change: Change, target: Target, progress: Progress) -> Walked:
    """Walk every stage of the change's class on a simulated target and say how it ended."""
    split = Minutes(change, target, progress)
    walked = walk(change, split, change.plan(), Watch(_nothing, _nothing, _nothing, whole=False))
    split.over()
    return walked


def walk(change: Change, split: Split, plan: Plan, watch: Watch) -> Walked:
    """Roll the candidate out; raises RunError if the canary's traffic could not be taken back."""
    return _Walk(change, split, plan, watch).run()


class _Walk:
    """A walk under way."""

    def __init__(self, change: Change, split: Split, plan: Plan, watch: Watch) -> None:
        self.change, self.split, self.plan, self.watch = change, split, plan, watch
        self.stages: list[Stage] = []
        self.minute: float = 0
        self.stage_minutes: float = 0
        self.deaf = self.failures = 0
        self.verdicts: tuple[MetricVerdict, ...] = ()
        self.passed = self.moved = False

    def run(self) -> Walked:
        self._prepare()
        self.rollout, commands = Rollout.begin(self.plan, _digest(self.change.candidate))
        try:
            self._obey(commands)
            while self.rollout.ending is None:
                self._step(self._event())
        except BaseException as error:
            if self.moved and self.failures < ATTEMPTS:  # a way back that was interrupted is gone once more
                self._step(Abort(f"the rollout was interrupted ({type(error).__name__})"))
            raise
        return self._walked(self.rollout.ending)

    def _prepare(self) -> None:
        rules = self.change.margins
        self.split.prepare(self.change.control, self.change.candidate)
        self.baseline = self.split.baseline(margin_p95=rules.latency_p95, margin_p99=rules.latency_p99)
        limit = self.change.error_limit
        self.analysis = Analysis(rules, self.baseline, stages=self.plan.comparing, error_limit=limit)

    def _walked(self, ending: Ending) -> Walked:
        last = self.stages[-1].reason if self.stages else self.rollout.reason
        extended = tuple(s.reason for s in self.stages if s.outcome != "passed")
        reasons = (extended or (last,)) if ending == "promoted" else (last,)
        return Walked(tuple(self.stages), ending, reasons, self.minute)

    def _event(self) -> Event:
        event = self.watch.pulse(self.rollout)
        if event is not None:
            return event
        held = self.rollout.state is State.HELD and self.plan.patience == 0 and not self.rollout.stranded
        return Tick(self.minute) if held or self.rollout.state not in LOOKING else self._look()

    def _look(self) -> Event:
        try:
            look = self.split.look()
        except DataError as error:
            self.deaf += 1
            lost = self.deaf > self.watch.deaf
            return Lost(f"telemetry is lost: {error}") if lost else Tick(self.minute)
        self.deaf, self.minute = 0, look.minute + look.length
        self.stage_minutes += look.length
        self.analysis.add(look)
        ends = self.minute - self.rollout.since >= self.plan.length - 1e-9
        reading = self.analysis.reading(look, whole=self.watch.whole or ends)
        self.verdicts, self.passed = reading.verdicts, reading.passed
        self.watch.seen(Seen(self.rollout, look, reading))
        return Measured(self.minute, reading)

    def _step(self, event: Event) -> None:
        before = self.rollout
        self.rollout, commands = before.step(event)
        if isinstance(event, Revised) and self.rollout.revision != before.revision:
            self._revise(event, commands)
            return
        if any(c.kind in ("send", "promote", "roll_back", "withdraw") for c in commands) and before.state in LOOKING:
            self._close(commands[0], lost=isinstance(event, Lost) or _is_lost(event))
        self._obey(commands)

    def _revise(self, event: Revised, commands: tuple[Command, ...]) -> None:
        """Take the traffic back, load the other candidate, forget what was seen of the one before."""
        self._obey(commands[:1])
        self.change = replace(self.change, candidate=event.candidate)
        self.stages, self.stage_minutes, self.verdicts = [], 0, ()
        self._prepare()
        self._obey(commands[1:])

    def _close(self, command: Command, *, lost: bool) -> None:
        """Write down the stage that is over."""
        outcome: StageOutcome = "passed" if self.passed else "went_on"
        if command.kind == "withdraw":
            outcome = "held"
        elif command.kind == "roll_back":
            outcome = "telemetry_lost" if lost else "failed"
        stage = self.plan.shares[max(0, self.rollout.stage - (command.kind == "send"))]
        seen = self.analysis.control, self.analysis.canary
        self.stages.append(Stage(stage, self.stage_minutes, *seen, self.verdicts, outcome, self.rollout.reason))

    def _obey(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self.watch.told(self.rollout, command, False)
            try:
                self._carry_out(command)
            except RunError as error:
                self._not_done(command, error)
                return
            self.watch.told(self.rollout, command, True)
            if command.kind in ("promote", "roll_back", "withdraw"):
                self._step(Confirmed())

    def _carry_out(self, command: Command) -> None:
        if command.kind == "send":
            self.moved = True
            self.split.send(command.share)
            self.analysis.begin(command.share)
            self.stage_minutes, self.verdicts, self.passed = 0, (), False
        elif command.kind == "promote":
            self.split.promote()
        elif command.kind in ("roll_back", "withdraw"):
            self.split.send(0.0)

    def _not_done(self, command: Command, error: RunError) -> None:
        """A command that was not carried out is an abort; the way back is tried again, and then raised."""
        back = command.kind in ("roll_back", "withdraw")
        # What to do by hand is told once, at the end, by the cause.
        why = str(error).partition("; ")[0] if back else str(error)
        self.failures += back
        if self.failures >= ATTEMPTS:
            raise RunError(f"the canary's traffic could not be taken back: {why}") from error
        self._step(Abort(f"{command.kind.replace('_', ' ')} was not carried out: {why}"))


def _is_lost(event: Event) -> bool:
    return isinstance(event, Measured) and event.reading.lost is not None


def _digest(policy: Policy) -> str:
    return sha256(policy_bytes(policy))


class Minutes:
    """A simulated target as a ``Split``: looks a minute apart that take no time."""

    def __init__(self, change: Change, target: Target, progress: Progress) -> None:
        self._change, self._target, self._progress = change, target, progress
        self._shares = change.plan().shares
        self._minutes = max(1, math.ceil(change.plan().length))
        self._share, self._next = 0.0, 0
        self._coming: deque[Look] = deque()

    @property
    def name(self) -> str:
        return self._target.name

    @property
    def simulated(self) -> bool:
        return self._target.simulated

    def prepare(self, control: Policy, candidate: Policy) -> None:
        self._policies = control, candidate

    def baseline(self, *, margin_p95: float, margin_p99: float) -> Baseline:
        change, control = self._change, self._policies[0]
        self._baseline = self._target.baseline(
            control, margin_p95=margin_p95, margin_p99=margin_p99, at=change.at, seed=change.seed
        )
        return self._baseline

    def send(self, share: float) -> None:
        self._share = share
        self._coming.clear()
        if share > 0:
            self._progress(f"canary at {share:.0%}", self._shares.index(share), len(self._shares))

    def look(self) -> Look:
        if not self._coming:
            self._coming.extend(self._stage())
        self._next += 1
        return self._coming.popleft()

    def _stage(self) -> Sequence[Look]:
        return self._target.split(
            *self._policies,
            baseline=self._baseline,
            share=self._share,
            first_minute=self._next,
            minutes=self._minutes,
            at=self._change.at,
            seed=self._change.seed,
        )

    def promote(self) -> None:
        """The cycle that asked applies the policy itself."""

    def over(self) -> None:
        """Tell that the walk is over."""
        self._progress("canary", len(self._shares), len(self._shares))
