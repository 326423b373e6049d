"""One production cycle, from what was observed to what should be done.

``run_cycle`` is the whole sentence: assess the SLOs, score ihsan, ask the gates, propose, classify, roll out,
decide. It has no effects: what was observed is in ``Given``, what may be tried is the target, and the decision is
a value on which the control plane acts. The notebook calls the same steps one by one.

>>> Decision("no_change", ("not shown by the data",), {}).kind
'no_change'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from node0lib.canary.walk import Change, Walked, roll_out
from node0lib.evidence.approval import Approved
from node0lib.gates import Gates, Incident, ask, firing
from node0lib.ihsan import Control, Facts, IhsanScore, score
from node0lib.optimize.propose import Proposal, Search, measured, propose
from node0lib.optimize.risk import Classified, classify
from node0lib.ports import Policy, Progress, Target
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, kept, status
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.maintenance import ALL_OF_IT, exclusions
from node0lib.timespan import parse_duration

Mode = Literal["recommend", "autonomous"]
Kind = Literal["applied", "no_change", "recommended", "held", "inconclusive", "blocked", "rolled_back"]


@dataclass(frozen=True)
class Series:
    """Good and total events in buckets of ``step`` from ``start`` on; None where nothing was observed.

    ``problem`` says why a series could not be read; it then has no buckets.
    """

    start: datetime
    step: timedelta
    good: tuple[float | None, ...]
    total: tuple[float | None, ...]
    problem: str | None = None


@dataclass(frozen=True)
class RecentChange:
    """A change that was applied shortly before: its cycle, the policy it replaced, the SLOs breached already then."""

    cycle: str
    at: datetime
    before: Policy
    breached: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """Everything a cycle looks at, fixed once at the edge: with it the cycle can be replayed.

    ``counts`` maps SLO and window ("1h") to events; ``ihsan_history`` are the scores of earlier cycles within the
    invariant's window; ``policy`` is the live one, ``target`` names what it governs (None: nothing can be tried),
    ``seed`` drives the rollout's draws on a simulated target; ``recent_change`` is the one that is still watched;
    ``approved`` is the one that is tried next, in place of a search.
    """

    at: datetime
    mode: Mode
    source: str
    simulated: bool
    target: str | None
    target_simulated: bool
    policy: Policy
    counts: Mapping[str, Mapping[str, Counts]]
    series: Mapping[str, Series]
    facts: Facts
    ihsan_history: tuple[float, ...]
    incidents: tuple[Incident, ...]
    seed: int
    recent_change: RecentChange | None = None
    approved: Approved | None = None


@dataclass(frozen=True)
class Rules:
    """What people decided beforehand: the catalogue, the controls, how long to search."""

    catalogue: Catalogue
    controls: tuple[Control, ...]
    search: Search


@dataclass(frozen=True)
class Decision:
    """What the cycle decided, why, and the policy that should be live afterwards."""

    kind: Kind
    reasons: tuple[str, ...]
    policy: Policy


@dataclass(frozen=True)
class CycleResult:
    """The whole cycle as a value."""

    at: datetime
    mode: Mode
    source: str
    simulated: bool
    target: str | None
    target_simulated: bool
    policy: Policy
    statuses: tuple[SloStatus, ...]
    ihsan: IhsanScore
    gates: Gates
    proposal: Proposal | None
    classified: Classified | None
    rollout: Walked | None
    decision: Decision


def run_cycle(given: Given, rules: Rules, target: Target | None, progress: Progress) -> CycleResult:
    """Run the whole cycle; ``target`` is None where no policy can be tried."""
    ihsan = score_ihsan(given, rules)
    statuses = assess(given, rules, ihsan)
    gates = ask_gates(given, rules, statuses, ihsan)
    proposal = find_proposal(given, rules, gates, target, progress)
    classified = classify_proposal(rules, proposal)
    rollout = try_out(given, rules, proposal, classified, target, progress)
    decision = decide(given, rules, gates, proposal, classified, rollout, target)
    return conclude(given, statuses, ihsan, gates, proposal, classified, rollout, decision)


def score_ihsan(given: Given, rules: Rules) -> IhsanScore:
    """Score the controls on what the control plane established."""
    return score(rules.controls, given.facts)


def assess(given: Given, rules: Rules, ihsan: IhsanScore) -> tuple[SloStatus, ...]:
    """Return the status of every SLO; an invariant without telemetry of its own is node0's ihsan score."""
    scores = (*given.ihsan_history, ihsan.value)
    return statuses_of(rules.catalogue, given.counts, scores, given.at)


def statuses_of(
    catalogue: Catalogue, counts: Mapping[str, Mapping[str, Counts]], scores: Sequence[float], at: datetime
) -> tuple[SloStatus, ...]:
    """Return the status of every SLO from the counts of its windows ("1h").

    An SLO without counts is an invariant of node0's own, of which ``scores`` are the samples. What happened in
    maintenance is missing from the counts already; the scores have no maintenance.
    """
    found = []
    for slo in catalogue.slos:
        if slo.name in counts:
            own = {parse_duration(w): c for w, c in counts[slo.name].items()}
            left_out = exclusions(catalogue.maintenance, slo.name)
        else:
            own, left_out = {slo.window: kept(slo, scores)}, ()
        found.append(status(slo, own, catalogue.budget_policy, at, left_out))
    return tuple(found)


def ask_gates(given: Given, rules: Rules, statuses: tuple[SloStatus, ...], ihsan: IhsanScore) -> Gates:
    """Ask every gate whether anything may change now."""
    failed = [finding.control for finding in ihsan.failed]
    return ask(rules.catalogue, statuses, ihsan.value, given.incidents, given.at, failed)


def find_proposal(
    given: Given, rules: Rules, gates: Gates, target: Target | None, progress: Progress
) -> Proposal | None:
    """Search a better policy, if the gates are open, a target is there, and no earlier change must be taken back.

    An approved candidate is measured instead: it was approved on what an earlier hour showed.
    """
    if not gates.open or target is None or _take_back(given, rules) is not None:
        return None
    if given.approved is not None:
        return replace(measured(target, given.policy, given.approved.policy, rules.search, given.at), trials=0)
    return propose(target, given.policy, rules.search, given.at, progress)


def classify_proposal(rules: Rules, proposal: Proposal | None) -> Classified | None:
    """Classify the proposal's risk."""
    if proposal is None:
        return None
    improvement = max(-1.0, proposal.estimate.improvement)  # a loss can more than double
    return classify(proposal.kinds, improvement, proposal.estimate.confidence, rules.catalogue.classes)


def try_out(
    given: Given,
    rules: Rules,
    proposal: Proposal | None,
    classified: Classified | None,
    target: Target | None,
    progress: Progress,
) -> Walked | None:
    """Walk the class's stages, if the improvement is shown, safe, allowed, and needs no approval first."""
    if proposal is None or classified is None or target is None or not may_try(given, rules, proposal, classified):
        return None
    change = Change(
        control=given.policy,
        candidate=proposal.policy,
        rule=rules.catalogue.classes[classified.change_class],
        margins=rules.catalogue.canary,
        error_limit=error_limit(rules.catalogue),
        at=given.at,
        seed=given.seed,
    )
    return roll_out(change, target, progress)


def may_try(given: Given, rules: Rules, proposal: Proposal, classified: Classified) -> bool:
    """Whether a change may be rolled out at all: worth it, safe, and neither the mode nor an approval in its way."""
    approval = lacks_approval(given, rules, proposal, classified)
    in_order = score_ihsan(given, rules).value >= rules.catalogue.canary.ihsan_at_least
    wanted = worthwhile(rules, proposal) and proposal.safe
    return given.mode == "autonomous" and wanted and in_order and not approval


def lacks_approval(given: Given, rules: Rules, proposal: Proposal, classified: Classified) -> bool:
    """Whether the change's class asks for an approval that this very candidate does not have, for such a class."""
    has = given.approved is not None and given.approved.covers(proposal.policy, classified.change_class)
    return rules.catalogue.classes[classified.change_class].approval and not has


def worthwhile(rules: Rules, proposal: Proposal) -> bool:
    """Whether the whole interval of the improvement lies above what a change must bring."""
    return proposal.estimate.low > rules.search.worthwhile


def error_limit(catalogue: Catalogue) -> float:
    """The error share at which the fastest alert of the strictest ratio SLO would fire: a watch's absolute limit."""
    ratios = [s for s in catalogue.slos if s.kind == "ratio"]
    factor = max(p.factor(catalogue.alerting.period) for p in catalogue.alerting.pairs)
    return min(1.0, factor * min((s.budget for s in ratios), default=0.01))


def decide(
    given: Given, rules: Rules, gates: Gates, proposal: Proposal | None, classified: Classified | None,
    rollout: Walked | None, target: Target | None,
) -> Decision:  # fmt: skip
    """Say what should happen; the first reason that applies wins, and "no change" is a good answer."""
    live = given.policy
    if (taken_back := _take_back(given, rules)) is not None:
        return taken_back
    if not gates.open:
        return Decision("blocked", gates.reasons, live)
    if target is None:
        return Decision("no_change", ("no target is configured on which a policy could be measured",), live)
    if proposal is None:
        return Decision("no_change", (f"{rules.search.trials} candidates, none better than the live policy",), live)
    if not proposal.estimate.shown:
        return Decision("no_change", (f"not shown by the data: {_interval(proposal)}",), live)
    if not worthwhile(rules, proposal):
        least = f"{rules.search.worthwhile:.1%}"
        return Decision("no_change", (f"not shown to be worth a change (above {least}): {_interval(proposal)}",), live)
    if not proposal.safe:
        return Decision("no_change", ("the candidate would overstep an SLO's limit",), live)
    if given.mode == "recommend":
        return Decision("recommended", (f"{_interval(proposal)}; mode is recommend, nothing is applied",), live)
    if rollout is None:
        return Decision("held", (_why_held(given, rules, proposal, classified),), live)
    found = _after(rollout, proposal, live)
    return replace(found, reasons=(*found.reasons, str(given.approved))) if given.approved is not None else found


def _take_back(given: Given, rules: Rules) -> Decision | None:
    """The decision where a change that was applied shortly before must go; None if there is none, or it may stay."""
    change = given.recent_change
    reasons = watched(given, rules, change) if change is not None else ()
    if change is None or not reasons:
        return None
    if given.mode == "recommend":
        return Decision("recommended", ("take back the last change", *reasons), given.policy)
    return Decision("rolled_back", reasons, change.before)


def watched(given: Given, rules: Rules, change: RecentChange) -> tuple[str, ...]:
    """Return why a change that was applied shortly before must be taken back; nothing if it may stay.

    The triggers are those of the rollback policy: an SLO newly breached or burning at a critical rate, over
    the alerting period its budget exhausted, telemetry lost, the ihsan score too low.
    """
    rollback, ihsan = rules.catalogue.rollback, score_ihsan(given, rules)
    found = [s for s in assess(given, rules, ihsan) if s.kind != "invariant" and s.name not in change.breached]
    long = [s for s in found if s.window >= rules.catalogue.alerting.period]
    broken = [s.name for s in found if s.state == "breached" and s not in long] if rollback.slo_breach else []
    spent = [s.name for s in long if s.state == "breached"] if rollback.budget_exhausted else []
    blind = [s for s in found if s.state == "no_data" and s.problem != ALL_OF_IT]  # maintenance is no loss
    lost = [s.name for s in blind] if rollback.telemetry_lost else []
    alerts = firing(found, rules.catalogue.alerting) if rollback.slo_breach else ()
    reasons = [
        *[str(alert) for alert in alerts if alert.pair.severity == "critical"],
        *([f"newly breached: {', '.join(broken)}"] if broken else []),
        *([f"budget exhausted: {', '.join(spent)}"] if spent else []),
        *([f"telemetry lost: {', '.join(lost)}"] if lost else []),
        *([f"ihsan is {ihsan.value:.1f}"] if ihsan.value < rollback.ihsan_below else []),
    ]
    return (f"the change of cycle {change.cycle} is taken back", *reasons) if reasons else ()


def _why_held(given: Given, rules: Rules, proposal: Proposal, classified: Classified | None) -> str:
    if classified is not None and lacks_approval(given, rules, proposal, classified):
        return f"the change needs an approval: {'; '.join(classified.reasons)}"
    return f"the ihsan score is under {rules.catalogue.canary.ihsan_at_least:g}, which a rollout needs"


def _after(rollout: Walked, proposal: Proposal, live: Policy) -> Decision:
    if rollout.ending == "promoted":
        return Decision("applied", (_interval(proposal), *rollout.reasons), proposal.policy)
    if rollout.ending == "rolled_back":
        return Decision("rolled_back", rollout.reasons, live)
    return Decision("inconclusive", rollout.reasons, live)


def _interval(proposal: Proposal) -> str:
    e = proposal.estimate
    return f"improvement {e.improvement:.1%} (95% interval {e.low:.1%} to {e.high:.1%}, {e.n} fresh pairs)"


def conclude(
    given: Given, statuses: tuple[SloStatus, ...], ihsan: IhsanScore, gates: Gates, proposal: Proposal | None,
    classified: Classified | None, rollout: Walked | None, decision: Decision,
) -> CycleResult:  # fmt: skip
    """Put the steps' values together."""
    return CycleResult(
        at=given.at,
        mode=given.mode,
        source=given.source,
        simulated=given.simulated,
        target=given.target,
        target_simulated=given.target_simulated,
        policy=given.policy,
        statuses=statuses,
        ihsan=ihsan,
        gates=gates,
        proposal=proposal,
        classified=classified,
        rollout=rollout,
        decision=decision,
    )
