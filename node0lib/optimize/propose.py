"""What should change next? Search the knobs, then measure the winner where nobody looked.

Optuna (TPE, ask and tell, seeded) proposes; every candidate runs on the same seeds as the live policy (common
random numbers), so their difference is the policy's and not the traffic's. The search starts at the live policy and
its neighbours in one knob. The winner is made as small a change as it can be: a knob whose return to the live value
costs nothing goes back. The estimate comes from fresh seeds.

>>> Search(trials=60, seeds=3, fresh_seeds=32, seed=1).fresh_seeds
32
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import optuna

from node0lib.optimize.estimate import Estimate, paired
from node0lib.optimize.knobs import KNOBS, Knob, changed, kinds
from node0lib.ports import Outcome, Policy, Progress, Target

_FREE = 0.005
"""A knob goes back to its live value if that costs less than half a percent of loss."""


@dataclass(frozen=True)
class Search:
    """How long to look: ``trials`` candidates on ``seeds`` seeds, the winner on ``fresh_seeds`` others.

    A change is made only if its improvement is shown to be above ``worthwhile``, a share: every change is a risk.
    """

    trials: int = 60
    seeds: int = 3
    fresh_seeds: int = 32
    seed: int = 1
    worthwhile: float = 0.01


@dataclass(frozen=True)
class Proposal:
    """A candidate that the search found, and what fresh data say of it."""

    policy: Policy
    changes: tuple[str, ...]
    kinds: tuple[str, ...]
    estimate: Estimate
    violation: float
    live_violation: float
    trials: int

    @property
    def safe(self) -> bool:
        """Whether no SLO limit is overstepped, or at least none further than under the live policy."""
        return self.violation <= max(0.0, self.live_violation)


def propose(target: Target, live: Policy, search: Search, at: datetime, progress: Progress) -> Proposal | None:
    """Return the best candidate, measured on fresh seeds; None if the search found nothing better."""
    bench = _Bench(target, live, _seeds(search, at)[: search.seeds], at)
    best = _search(bench, search, progress)
    best = _smallest(bench, best)
    if not changed(live, best):
        return None
    progress("measuring the winner on fresh seeds", 0, 1)
    found = measured(target, live, best, search, at)
    progress("measuring the winner on fresh seeds", 1, 1)
    return found


def _seeds(search: Search, at: datetime) -> list[int]:
    """The seeds of an instant: first those of the search, then the fresh ones."""
    words = np.random.SeedSequence([search.seed, int(at.timestamp())])
    return [int(seed) for seed in words.generate_state(search.seeds + search.fresh_seeds)]


class _Bench:
    """Candidates against the live policy on the search's seeds."""

    def __init__(self, target: Target, live: Policy, seeds: Sequence[int], at: datetime) -> None:
        self.live, self._target, self._seeds, self._at = live, target, seeds, at
        self._base = self._run(live)

    def _run(self, policy: Policy) -> list[Outcome]:
        return [self._target.evaluate(policy, at=self._at, seed=s) for s in self._seeds]

    def score(self, policy: Policy) -> tuple[float, float]:
        """Mean log loss ratio to the live policy, and the violation beyond the live policy's own."""
        outcomes = self._run(policy)
        ratios = [np.log(o.loss / b.loss) for o, b in zip(outcomes, self._base, strict=True)]
        allowed = max(0.0, float(np.mean([b.violation for b in self._base])))
        return float(np.mean(ratios)), float(np.mean([o.violation for o in outcomes])) - allowed


def _search(bench: _Bench, search: Search, progress: Progress) -> Policy:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=search.seed))
    for start in (bench.live, *_neighbours(bench.live)):
        study.enqueue_trial(dict(start))
    best, best_score = bench.live, 0.0
    for number in range(search.trials):
        progress("searching better policies", number, search.trials)
        trial = study.ask()
        policy = {knob.name: _suggest(trial, knob) for knob in KNOBS}
        score, violation = bench.score(policy)
        trial.set_constraint("violation", violation)
        study.tell(trial, score)
        if violation <= 0 and score < best_score:
            best, best_score = policy, score
    progress("searching better policies", search.trials, search.trials)
    return best


def _neighbours(live: Policy) -> Iterator[Policy]:
    """Yield the policies that differ in one knob: half, twice, one less, one more, each other choice."""
    for knob in KNOBS:
        value = live[knob.name]
        if isinstance(value, str):
            others: list[int | float | str] = [c for c in knob.choices if c != value]
        elif knob.log:
            others = [knob.type(value * factor) for factor in (0.5, 2)]
        else:
            others = [value - 1, value + 1]
        yield from ({**live, knob.name: other} for other in others if knob.admits(other))


def _suggest(trial: optuna.Trial, knob: Knob) -> int | float | str:
    if knob.choices:
        return str(trial.suggest_categorical(knob.name, knob.choices))
    if knob.type is int:
        return int(trial.suggest_int(knob.name, int(knob.low), int(knob.high), log=knob.log))
    return float(trial.suggest_float(knob.name, knob.low, knob.high, log=knob.log))


def _smallest(bench: _Bench, policy: Policy) -> Policy:
    """Return every knob that does not matter to its live value, one after the other."""
    kept = dict(policy)
    score, _ = bench.score(kept)
    for name in changed(bench.live, policy):
        without = {**kept, name: bench.live[name]}
        again, violation = bench.score(without)
        if violation <= 0 and again <= score + _FREE:
            kept, score = without, min(score, again)
    return kept


def measured(target: Target, live: Policy, policy: Policy, search: Search, at: datetime) -> Proposal:
    """Measure a candidate against the live policy on the fresh seeds of that instant, which no search has seen."""
    seeds = _seeds(search, at)[search.seeds :]
    before = [target.evaluate(live, at=at, seed=s) for s in seeds]
    after = [target.evaluate(policy, at=at, seed=s) for s in seeds]
    return Proposal(
        policy=policy,
        changes=changed(live, policy),
        kinds=tuple(sorted(kinds(live, policy))),
        estimate=paired([o.loss for o in before], [o.loss for o in after]),
        violation=float(np.mean([o.violation for o in after])),
        live_violation=float(np.mean([o.violation for o in before])),
        trials=search.trials,
    )
