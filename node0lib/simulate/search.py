"""Thresholds by search: which policies a team can choose from on this traffic, and what each would cost.

- Candidates come from ``candidates``; the default policy is the first, its neighbours follow, and NSGA-II (Optuna,
  seeded) breeds the rest, preferring what tells the goals' burn in time.
- All are scored on the same simulated months (``trial``), so that they differ by what they are and not by luck.
- The best of many looks better than it is: the front that the search found is scored again on as many months that no
  candidate has seen, and is made anew of those numbers, which are the ones to believe; both are kept. Which member is
  recommended is chosen on them too: of many that meet the goals, the best looks a little better than it is.
- Equal arguments give equal results, whatever the number of workers.

Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE TEC 6 (2002).

>>> from node0lib.alerts.policy import workbook_policy
>>> from node0lib.simulate.gallery import USUAL
>>> asked = Search(workbook_policy(), USUAL, Goals(share=0.5), candidates=4, months=8)
>>> found = search(asked)
>>> found.default.seen.detection_s.value, len(found.tried) <= 4, found.default.fresh.policy == workbook_policy()
(540.0, True, True)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import optuna

from node0lib.alerts.goals import Goals
from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.quality import Quality, QualityRules
from node0lib.alerts.replay import in_order, whole_buckets
from node0lib.alerts.search import Scored, distinct, front, recommended
from node0lib.errors import ConfigError
from node0lib.ports import Progress
from node0lib.simulate.candidates import Numbers, Space
from node0lib.simulate.months import silent
from node0lib.simulate.scenario import Scenario
from node0lib.simulate.trial import Reach, Trial
from node0lib.sli.intervals import Estimate
from node0lib.timespan import format_duration

_TOGETHER = 8
"""How many candidates are asked for before they are scored; fixed, so that workers change nothing."""
_NEIGHBOURS = 0.3
_NEVER = 1e12


@dataclass(frozen=True)
class Search:
    """What is asked: the default policy (it gives objective and period), traffic and floor, goals, how much work."""

    default: AlertPolicy
    scenario: Scenario
    goals: Goals
    candidates: int = 300
    months: int = 100
    seed: int = 1
    rules: QualityRules = QualityRules()
    space: Space | None = None

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.months < 1:
            raise ConfigError("at least one candidate and one month are needed")
        if self.months * self.scenario.steps > MOST_STEPS:
            told = f"{self.months} months of {self.scenario.steps:,} steps exceed the {MOST_STEPS:,} that are held"
            raise ConfigError(f"{told} at once; search fewer months, or take longer steps")
        step = self.scenario.step
        if not whole_buckets(self.default, round(step.total_seconds() * 1000)):
            told = f"the windows of the default policy must be whole steps of {format_duration(step)}"
            raise ConfigError(f"{told}, and no alert scaled by traffic; choose another step (1m)")


MOST_STEPS = 50_000_000
"""Some 1.5 GB of running sums."""


@dataclass(frozen=True)
class Member:
    """One policy: what the search saw of it, and what it does on months that the search has not seen."""

    seen: Scored
    fresh: Scored


@dataclass(frozen=True)
class Found:
    """The front of the fresh numbers, soonest page first; ``tried`` is every distinct candidate as the search saw it.

    ``front`` has the default policy if it belongs there; ``rescored`` are all that were scored again.
    """

    asked: Search
    default: Member
    front: tuple[Member, ...]
    rescored: tuple[Member, ...]
    tried: tuple[Scored, ...]
    default_faults: dict[str, Quality]

    @property
    def recommended(self) -> Member | None:
        """The member of the front that meets all goals with the fewest false pages; None if there is none."""
        best = recommended(self.asked.goals, [member.fresh for member in self.front])
        return next((member for member in self.front if member.fresh is best), None)


def search(asked: Search, *, workers: int = 1, progress: Progress = silent) -> Found:
    """Search, and score the front again on fresh months; raises ConfigError where faults do not fit into months."""
    space = asked.space or Space.around(asked.default, asked.scenario.step)
    reach = Reach.of([asked.default, space.furthest()])
    tried = _tried(asked, space, _trial(asked, reach, range(asked.months), workers, progress), workers, progress)
    best = distinct(front(tried, asked.goals.enough), asked.goals.enough)
    chosen = best if tried[0] in best else (tried[0], *best)
    again = _trial(asked, reach, range(asked.months, 2 * asked.months), workers, progress)
    members = []
    for done, seen in enumerate(chosen):
        progress("scoring the front on fresh months", done, len(chosen))
        members.append(Member(seen, again.score(seen.policy)))
    progress("scoring the front on fresh months", len(chosen), len(chosen))
    default = next(one for one in members if one.seen is tried[0])
    kept = {id(one) for one in front([one.fresh for one in members], asked.goals.enough)}
    shown = sorted((one for one in members if id(one.fresh) in kept), key=_sooner)
    return Found(asked, default, tuple(shown), tuple(members), tried, again.faults(asked.default))


def _trial(asked: Search, reach: Reach, months: range, workers: int, progress: Progress) -> Trial:
    return Trial.draw(
        asked.scenario,
        asked.goals,
        reach,
        asked.default,
        months=months,
        seed=asked.seed,
        rules=asked.rules,
        workers=workers,
        progress=progress,
    )


def _tried(asked: Search, space: Space, trial: Trial, workers: int, progress: Progress) -> tuple[Scored, ...]:
    """Return every distinct candidate, the default first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    population = max(8, min(50, asked.candidates // 6))
    sampler = optuna.samplers.NSGAIISampler(seed=asked.seed, population_size=population)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * 5)
    start = space.numbers(asked.default)
    for first in _first(space, start, asked.candidates):
        study.enqueue_trial(dict(first))
    scored: dict[AlertPolicy, Scored] = {}
    for begun in range(0, asked.candidates, _TOGETHER):
        progress("trying candidates", begun, asked.candidates)
        trials = [study.ask() for _ in range(min(_TOGETHER, asked.candidates - begun))]
        policies = [_suggested(one, space) for one in trials]
        if begun == 0:
            policies[0] = asked.default
        for policy, found in zip(policies, _scored(trial, policies, scored, workers), strict=True):
            scored[policy] = found
        for one, policy in zip(trials, policies, strict=True):
            one.set_constraint("ticket", _beyond(scored[policy], asked.goals))
            study.tell(one, _values(scored[policy]))
    progress("trying candidates", asked.candidates, asked.candidates)
    return tuple(scored.values())


def _first(space: Space, start: Numbers, candidates: int) -> Iterator[Numbers]:
    """The default and some of its neighbours; not so many that none is left to breed."""
    yield start
    for number, near in enumerate(space.neighbours(start)):
        if number >= _NEIGHBOURS * candidates:
            return
        yield near


def _scored(
    trial: Trial, policies: Iterable[AlertPolicy], known: dict[AlertPolicy, Scored], workers: int
) -> list[Scored]:
    def one(policy: AlertPolicy) -> Scored:
        return known[policy] if policy in known else trial.score(policy)

    return list(in_order(one, policies, workers))


def _suggested(one: optuna.Trial, space: Space) -> AlertPolicy:
    return space.policy({name: int(one.suggest_int(name, 0, size - 1)) for name, size in space.sizes.items()})


def _values(scored: Scored) -> tuple[float, ...]:
    """What NSGA-II makes small; tickets by how often they are false: that they come in time is a constraint."""
    estimates = (scored.detection_s, scored.false_pages, scored.recall, scored.reset_s, scored.false_tickets)
    detection, pages, recall, reset, tickets = (_value(one) for one in estimates)
    return detection, pages, -recall if scored.recall else 0.0, reset, tickets


def _value(estimate: Estimate | None) -> float:
    return _NEVER if estimate is None else min(_NEVER, estimate.value)


def _beyond(scored: Scored, goals: Goals) -> float:
    """How much later than asked the burn is told; at most 0 is in time."""
    if goals.burn.before is None:
        return 0.0
    high = scored.ticket_spent.high
    return min(1.0, high if high is not None else scored.ticket_spent.value) - goals.burn.before


def _sooner(member: Member) -> tuple[float, ...]:
    one = member.fresh
    reset = one.reset_s.value if one.reset_s else math.inf
    return one.detection_s.value, one.false_pages.value, reset, one.ticket_spent.value
