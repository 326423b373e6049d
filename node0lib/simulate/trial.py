"""A policy on trial: healthy months, the goals' outage and burn, and the fault gallery, the same for every policy.

All that is simulated is drawn once (``Trial.draw``), so candidates are compared on the same chance, and a candidate
costs a few replays of ready sums. Faults lie at random times of the month, one for each month; the asked scenario's own
faults stay where they are. The goals' blips lie in the healthy months, unlabelled. A page is any critical or warning
alert, a ticket any other; a burn is told by either.

Without blips, healthy month k is month k of the scenario in any other command. Stretches with faults have month numbers
of their own, so the months ``range(n, 2 * n)`` share nothing with ``range(n)``.

>>> from node0lib.alerts.policy import workbook_policy
>>> from node0lib.simulate.gallery import USUAL
>>> policy = workbook_policy()
>>> trial = Trial.draw(USUAL, Goals(share=0.5), Reach.of([policy]), policy, months=range(8), seed=1)
>>> scored = trial.score(policy)
>>> scored.detection_s.value, scored.false_pages.value
(540.0, 0.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from node0lib.alerts.goals import Blips, Goals, percent
from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.quality import Quality, QualityRules, pooled
from node0lib.alerts.replay import in_order
from node0lib.alerts.search import Scored
from node0lib.errors import ConfigError
from node0lib.ports import Progress
from node0lib.simulate.gallery import FAULTS
from node0lib.simulate.months import PAGING, silent
from node0lib.simulate.scenario import Fault, Month, Scenario, draw, plan
from node0lib.simulate.tape import Stretch, Tape, faulty, healthy, moved
from node0lib.sli.intervals import Estimate, poisson_rate, quantile_interval
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

TELLING: tuple[Severity, ...] = ("critical", "warning", "info")
TICKETS: tuple[Severity, ...] = ("info",)
_TAIL = timedelta(hours=6)
"""How long a page may stay up after its fault before it counts as never reset."""
_WATCHED = timedelta(hours=1)
_KIND = 1_000_000
_MISSED = Estimate(math.inf, math.inf, math.inf)


@dataclass(frozen=True)
class Reach:
    """How far back pages and how far back any alerts look, ``for`` included."""

    pages: timedelta
    all: timedelta

    @classmethod
    def of(cls, policies: Iterable[AlertPolicy]) -> Reach:
        """Return the reach of the furthest."""
        alerts = [alert for policy in policies for alert in policy.alerts]
        pages = [alert.long + alert.hold for alert in alerts if alert.severity in PAGING]
        return cls(max(pages, default=timedelta(0)), max(alert.long + alert.hold for alert in alerts))


@dataclass(frozen=True)
class Trial:
    """What a policy of one objective and period is judged by; ``gallery`` has a tape for each kind of fault."""

    goals: Goals
    quiet: Tape
    outage: Tape
    burn: Tape
    gallery: Mapping[str, Tape]
    rules: QualityRules

    @classmethod
    def draw(
        cls,
        scenario: Scenario,
        goals: Goals,
        reach: Reach,
        policy: AlertPolicy,
        *,
        months: range,
        seed: int,
        rules: QualityRules = QualityRules(),  # noqa: B008 - frozen
        workers: int = 1,
        progress: Progress = silent,
    ) -> Trial:
        """Draw months and faults; ``policy`` gives objective and period only.

        Raises ConfigError if a fault with its lead does not fit into a month.
        """
        placing = _Placing(replace(scenario, faults=()), reach, months, seed, workers)
        kinds = _kinds(scenario, goals, policy)
        quiet = placing.quiet(goals.blips)
        progress("drawing months", 1, len(kinds) + 1)
        steps = float(quiet.counted.sum())
        allowance = policy.budget * float(quiet.sums.total[-1]) / steps * (policy.period / scenario.step)
        tapes = {}
        for number, (name, fault, fixed) in enumerate(kinds, start=1):
            tapes[name] = placing.faults(fault, number, fixed=fixed, far=name == _BURN, allowance=allowance)
            progress("drawing months", number + 1, len(kinds) + 1)
        return cls(goals, quiet, tapes.pop(_OUTAGE), tapes.pop(_BURN), tapes, rules)

    def score(self, policy: AlertPolicy) -> Scored:
        """Return what the policy did; its windows must be whole steps, within the reach that was drawn for."""
        every = replace(self.rules, significant=0.0)
        outage = self.outage.judged(policy, PAGING, every)
        burn = self.burn.judged(policy, TELLING, every)
        spent = (*burn.spent, *(math.inf for _ in range(burn.events - burn.detected)))
        quiet = self.quiet.judged(policy, PAGING, self.rules)
        tickets = self.quiet.judged(policy, TICKETS, self.rules)
        return Scored(
            policy,
            quantile_interval(outage.detection_s, self.goals.share) or _MISSED,
            quiet.false_pages or _MISSED,
            pooled(self.faults(policy).values()).recall,
            outage.reset,
            quantile_interval(spent, self.goals.share) or _MISSED,
            poisson_rate(tickets.pages, tickets.months),
        )

    def faults(self, policy: AlertPolicy) -> dict[str, Quality]:
        """Return the quality of the policy's pages on each kind of fault; no events: none was significant."""
        return {name: tape.judged(policy, PAGING, self.rules) for name, tape in self.gallery.items()}


_OUTAGE, _BURN = "the goals' outage", "the goals' burn"


def _kinds(scenario: Scenario, goals: Goals, policy: AlertPolicy) -> list[tuple[str, Fault, bool]]:
    """Name, fault, and whether it stays where it is."""
    outage = Fault(_OUTAGE, timedelta(0), goals.outage.length, errors=goals.outage.size)
    burn = Fault(_BURN, timedelta(0), _lasting(goals, policy, scenario), errors=goals.burn.size)
    found = [(_OUTAGE, outage, False), (_BURN, burn, False)]
    found += [(name, fault, False) for name, faults in FAULTS.items() for fault in faults]
    known = {name for name, _, _ in found}
    own = [replace(f, name=f"{f.name} (the scenario's)") if f.name in known else f for f in scenario.faults]
    return found + [(fault.name, fault, True) for fault in own]


def _lasting(goals: Goals, policy: AlertPolicy, scenario: Scenario) -> timedelta:
    """How long the burn lasts: three times what it takes, at the mean traffic, to spend what it may."""
    before = goals.burn.before or 0.05
    takes = policy.period * (before * policy.budget / goals.burn.size)
    length = max(timedelta(hours=1), -(-3 * takes // scenario.step) * scenario.step)
    if length > scenario.length / 2:
        hours = format_duration(timedelta(hours=takes // timedelta(hours=1)))
        spends = f"a failure of {percent(goals.burn.size)} spends {percent(before)} of the budget in {hours} only"
        raise ConfigError(f"burn: {spends}, so months are too short to watch it; ask for a larger one")
    return length


@dataclass(frozen=True)
class _Placing:
    """Where faults come to lie; ``scenario`` has none of its own."""

    scenario: Scenario
    reach: Reach
    months: range
    seed: int
    workers: int

    def quiet(self, blips: Blips | None) -> Tape:
        """All healthy months, with what is too small to matter."""
        expected, lead = plan(self.scenario), self._steps(self.reach.all) + 1

        def one(k: int) -> Month:
            mine = plan(replace(self.scenario, faults=self._blips(blips, k))) if blips else expected
            return draw(mine, seed=self.seed, month=k)

        drawn = in_order(one, self.months, self.workers)
        return Tape.of((healthy(month, lead) for month in drawn), self._step_ms)

    def _blips(self, blips: Blips, month: int) -> tuple[Fault, ...]:
        random = np.random.Generator(np.random.SFC64(np.random.SeedSequence(self.seed, spawn_key=(month, 2))))
        steps, many = self.scenario.steps, random.poisson(blips.a_month * (self.scenario.length / timedelta(days=30)))
        onsets = random.integers(0, max(1, steps - self._steps(blips.length)), many)
        step, size = self.scenario.step, blips.size
        return tuple(Fault(f"blip {n}", int(at) * step, blips.length, errors=size) for n, at in enumerate(onsets))

    def faults(self, fault: Fault, number: int, *, fixed: bool, far: bool, allowance: float) -> Tape:
        """One fault of that kind for each month; with ``far`` all alerts look at it, else those that page."""
        watch, tail = self._steps(_WATCHED), self._steps(_TAIL)
        lead = self._steps(self.reach.all if far else self.reach.pages) + watch + 1

        def one(month: int) -> Stretch:
            mine = number * _KIND + month
            placed = fault if fixed else moved(self.scenario, fault, lead=lead, tail=tail, seed=self.seed, month=mine)
            return faulty(self.scenario, placed, lead=lead, tail=tail, watch=watch, seed=self.seed, month=mine)

        return Tape.of(in_order(one, self.months, self.workers), self._step_ms, allowance)

    @property
    def _step_ms(self) -> int:
        return self.scenario.step // timedelta(milliseconds=1)

    def _steps(self, length: timedelta) -> int:
        return -(-length // self.scenario.step)


