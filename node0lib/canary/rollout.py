"""Walk a change through the stages of its class: hold each share, judge every look, stop at the first failure.

Evidence accumulates over the whole rollout of one revision; alpha is divided over the three metrics, beta is not
(promotion asks for all of them). When a stage's time is over and something is still inconclusive, the class
decides: ``extend`` takes the stage's time once more and goes on only if no harm above ``harm_cap`` is left
unexcluded; ``ask`` holds for a human. At a share of 1 no control is left: the last stage watches absolute limits.
A class without stages is applied at once and watched for ``stage_duration``.

>>> wilson_low(0, 100)
0.0
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from node0lib.canary.sequential import MetricVerdict, Tally, fails, judge
from node0lib.ports import Arm, Baseline, Look, Policy, Progress, Target
from node0lib.slo.catalogue import CanaryRules, ChangeRule

StageOutcome = Literal["passed", "went_on", "failed", "held", "telemetry_lost"]
Ending = Literal["promoted", "rolled_back", "held"]
_METRICS = ("error_rate", "latency_p95", "latency_p99")
_WIDEST = 20.0
"""No margin is wider: where (almost) nobody waits for the control, a ratio to it means nothing."""


@dataclass(frozen=True)
class Stage:
    """What one stage saw: its share of the traffic, its length, its totals, verdicts and outcome."""

    share: float
    minutes: int
    control: Arm
    canary: Arm
    verdicts: tuple[MetricVerdict, ...]
    outcome: StageOutcome
    reason: str


@dataclass(frozen=True)
class Rollout:
    """The whole way; ``minutes`` from start to the decision. Traffic is back at the control unless promoted."""

    stages: tuple[Stage, ...]
    ending: Ending
    reasons: tuple[str, ...]
    minutes: int


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


def roll_out(change: Change, target: Target, progress: Progress) -> Rollout:
    """Walk every stage of the change's class on the target and say how it ended."""
    baseline = target.baseline(
        change.control,
        margin_p95=change.margins.latency_p95,
        margin_p99=change.margins.latency_p99,
        at=change.at,
        seed=change.seed,
    )
    shares = change.rule.stages or (1.0,)
    looks: list[Look] = []
    stages: list[Stage] = []
    for number, share in enumerate(shares):
        progress(f"canary at {share:.0%}", number, len(shares))
        stages.append(_stage(change, target, baseline, share, looks))
        if stages[-1].outcome not in ("passed", "went_on"):
            break
    progress("canary", len(shares), len(shares))
    return _ended(stages, len(looks))


def _ended(stages: Sequence[Stage], minutes: int) -> Rollout:
    last = stages[-1]
    endings: dict[StageOutcome, Ending] = {"failed": "rolled_back", "telemetry_lost": "rolled_back", "held": "held"}
    ending = endings.get(last.outcome, "promoted")
    reasons = tuple(s.reason for s in stages if s.outcome != "passed") or (last.reason,)
    return Rollout(tuple(stages), ending, reasons if ending == "promoted" else (last.reason,), minutes)


def _stage(change: Change, target: Target, baseline: Baseline, share: float, looks: list[Look]) -> Stage:
    minutes = max(1, math.ceil(change.rule.stage_duration / timedelta(minutes=1)))
    stage = _hold(change, target, baseline, share, minutes, looks)
    if stage.outcome == "held" and change.rule.on_inconclusive == "extend" and share < 1:
        more = _hold(change, target, baseline, share, minutes, looks)
        enough = sum(look.canary.requests for look in looks) >= change.margins.minimum_requests
        stage = _after_extension(_joined(stage, more), change.rule.harm_cap) if enough else _joined(stage, more)
    return stage


def _hold(
    change: Change, target: Target, baseline: Baseline, share: float, minutes: int, looks: list[Look]
) -> Stage:
    """Keep the share for some minutes; appends its looks, and stops at the first look that fails."""
    coming = target.split(
        change.control,
        change.candidate,
        baseline=baseline,
        share=share,
        first_minute=len(looks),
        minutes=minutes,
        at=change.at,
        seed=change.seed,
    )
    began = len(looks)
    for look in coming:
        if look.canary.requests == 0:
            before = _verdicts(change, baseline, looks, began, share) if len(looks) > began else ()
            looks.append(look)
            text = f"no canary requests in minute {look.minute}: telemetry is lost"
            return _seen(share, looks[began:], before, "telemetry_lost", text)
        looks.append(look)
        if _failing(change, baseline, looks, began, share):
            verdicts = _verdicts(change, baseline, looks, began, share)
            text = "; ".join(f"{v.metric}: {v.reason}" for v in verdicts if v.kind == "fail")
            return _seen(share, looks[began:], verdicts, "failed", f"at {share:.0%}: {text}")
    return _at_the_end(change, share, looks, began, _verdicts(change, baseline, looks, began, share))


def _at_the_end(
    change: Change, share: float, looks: list[Look], began: int, verdicts: tuple[MetricVerdict, ...]
) -> Stage:
    few = sum(look.canary.requests for look in looks) < change.margins.minimum_requests
    open_ = [v for v in verdicts if v.kind != "pass"]
    if few or open_:
        text = "; ".join(f"{v.metric}: {v.reason}" for v in open_) or "too few canary requests"
        return _seen(share, looks[began:], verdicts, "held", f"at {share:.0%}: {text}")
    text = "; ".join(f"{v.metric}: {v.reason}" for v in verdicts)
    return _seen(share, looks[began:], verdicts, "passed", f"at {share:.0%}: {text}")


def _after_extension(stage: Stage, cap: float) -> Stage:
    """After the extension: go on if every harm above the cap is excluded, else hold."""
    if stage.outcome != "held":
        return stage
    worst = max(v.high for v in stage.verdicts)
    if worst <= cap:
        text = f"{stage.reason}; extended once, no harm above {cap:g} times is left"
        return replace(stage, outcome="went_on", reason=text)
    return replace(stage, reason=f"{stage.reason}; extended once, harm above {cap:g} times is not excluded")


def _joined(first: Stage, more: Stage) -> Stage:
    control, canary = _add([first.control, more.control]), _add([first.canary, more.canary])
    return replace(more, minutes=first.minutes + more.minutes, control=control, canary=canary)


def _seen(
    share: float,
    looks: Sequence[Look],
    verdicts: tuple[MetricVerdict, ...],
    outcome: StageOutcome,
    reason: str,
) -> Stage:
    control, canary = _add([k.control for k in looks]), _add([k.canary for k in looks])
    return Stage(share, len(looks), control, canary, verdicts, outcome, reason)


def _add(arms: Sequence[Arm]) -> Arm:
    fields = zip(*((a.requests, a.errors, a.slow_p95, a.slow_p99) for a in arms), strict=True)
    return Arm(*(sum(column) for column in fields))


@dataclass(frozen=True)
class _Question:
    """One metric of a comparison: its looks, and the largest ratio that is still harmless."""

    metric: str
    looks: tuple[Tally, ...]
    margin: float


def _questions(change: Change, baseline: Baseline, looks: Sequence[Look]) -> Iterator[_Question]:
    shares = (0.05, baseline.slow_p95), (0.01, baseline.slow_p99)
    margins = (1 + change.margins.error_rate, *(allowed / max(slow, allowed / _WIDEST) for allowed, slow in shares))
    for name, margin, bad in zip(_METRICS, margins, (_errors, _slow_p95, _slow_p99), strict=True):
        tallies = (Tally((k.control.requests, k.canary.requests), (bad(k.control), bad(k.canary))) for k in looks)
        yield _Question(name, tuple(tallies), max(1.0, margin))


def _failing(change: Change, baseline: Baseline, looks: Sequence[Look], began: int, share: float) -> bool:
    if share >= 1:
        return any(v.kind == "fail" for v in _verdicts(change, baseline, looks, began, share))
    alpha = change.margins.alpha / len(_METRICS)
    return any(fails(q.looks, margin=q.margin, alpha=alpha) for q in _questions(change, baseline, looks))


def _verdicts(
    change: Change, baseline: Baseline, looks: Sequence[Look], began: int, share: float
) -> tuple[MetricVerdict, ...]:
    """Compare all that the rollout has seen; at 100%, only what this stage has seen, and with limits."""
    if share >= 1:
        return _absolute(_add([k.canary for k in looks[began:]]), change.error_limit)
    alpha, beta = change.margins.alpha / len(_METRICS), change.margins.beta
    questions = _questions(change, baseline, looks)
    return tuple(judge(q.metric, q.looks, margin=q.margin, alpha=alpha, beta=beta) for q in questions)


def _errors(arm: Arm) -> int:
    return arm.errors


def _slow_p95(arm: Arm) -> int:
    return arm.slow_p95


def _slow_p99(arm: Arm) -> int:
    return arm.slow_p99


def _absolute(seen: Arm, error_limit: float) -> tuple[MetricVerdict, ...]:
    """Without a control: fail only what is surely (3 sigma) above twice the quantile's share, or the limit."""
    limits = (error_limit, 0.10, 0.02)
    counts = (seen.errors, seen.slow_p95, seen.slow_p99)
    found = []
    for name, limit, count in zip(_METRICS, limits, counts, strict=True):
        low, share = wilson_low(count, seen.requests), count / seen.requests
        text = f"{share:.3%} of {seen.requests:,} requests (limit {limit:.3%})"
        kind: Literal["pass", "fail"] = "fail" if low > limit else "pass"
        found.append(MetricVerdict(name, kind, None, low / limit, share / limit, 1.0, None, text))
    return tuple(found)


def wilson_low(count: int, n: int, z: float = 3.0) -> float:
    """Return the lower end of Wilson's interval for a share, in [0, 1] (Wilson 1927)."""
    share = count / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n))
