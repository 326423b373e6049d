"""Look once: telemetry, the live policy, and the facts that the controls judge, as one ``Given``.

And after the notebook: derive again, from the same ``Given``, whatever follows from it. Which candidate the search
came to is the notebook's; score, statuses, gates, what the candidate changes and its class, whether it may be tried,
and the decision are not a matter of trust. On a simulated target, whose draws are seeded, its gain on fresh seeds and
the whole rollout are run again too.

>>> told_source.__name__
'told_source'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np

from node0lib import cycle as steps
from node0lib.cycle import CycleResult, Given, RecentChange, Rules
from node0lib.errors import ConfigError, DataError
from node0lib.evidence.approval import Approved
from node0lib.evidence.poi import Source
from node0lib.gates import Gates, Incident, firing
from node0lib.ihsan import Facts
from node0lib.optimize.knobs import changed, check_policy, kinds
from node0lib.optimize.propose import Proposal, measured
from node0lib.ports import Policy, Progress, SliSource, Target
from node0lib.shell import collect
from node0lib.shell.approvals import next_approved
from node0lib.shell.config import PrometheusTelemetry, Settings
from node0lib.shell.environment import pin_mismatches
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import default_key_folder, trusted
from node0lib.shell.records import plain
from node0lib.shell.recovery import Found
from node0lib.shell.state import State
from node0lib.shell.workspace import Places, rules_of, source_of, target_of
from node0lib.timespan import format_instant


def told_source(settings: Settings) -> Source:
    """Return where the telemetry comes from, as it is told to people."""
    if isinstance(settings.telemetry, PrometheusTelemetry):
        return Source(f"prometheus at {settings.telemetry.endpoint.address}", simulated=False)
    return Source("embedded node", simulated=True)


def burning(
    settings: Settings, state: State, result: CycleResult
) -> tuple[tuple[Incident, ...], tuple[str, ...]]:
    """Return the incidents, still open, of critical alerts that have begun to fire, and the kinds that are over.

    An SLO that cannot be observed keeps its incident open: silence is no recovery.
    """
    alerts = firing(result.statuses, settings.catalogue.alerting)
    critical = {f"critical_burn:{a.slo}": str(a) for a in alerts if a.pair.severity == "critical"}
    open_ = {i.kind for i in state.incidents(result.at) if i.resolved_at is None}
    seen = {f"critical_burn:{s.name}" for s in result.statuses if s.state != "no_data"}
    begun = tuple(Incident(kind, result.at, None, told) for kind, told in critical.items() if kind not in open_)
    return begun, tuple(sorted((open_ & seen) - critical.keys()))


@dataclass(frozen=True)
class Observer:
    """Everything that looking needs."""

    settings: Settings
    places: Places
    state: State
    found: Found
    progress: Progress
    at: datetime
    cycle: str

    def given(self, live: Policy) -> Given:
        """Read the telemetry and fix everything the cycle will look at; raises DataError."""
        with source_of(self.settings, self.places, live, self.at, self.progress) as source:
            return look(
                self.settings,
                source,
                self.at,
                policy=live,
                facts=self._facts,
                ihsan_history=self._ihsan_history(),
                incidents=self.state.incidents(self.at - self.settings.catalogue.gates.recent_incident),
                recent_change=self._recent_change(),
                approved=self._approved(live),
                progress=self.progress,
            )

    def _ihsan_history(self) -> tuple[float, ...]:
        windows = [s.window for s in self.settings.catalogue.slos if s.kind == "invariant"]
        return self.state.scores(max(windows), self.at) if windows else ()

    def _recent_change(self) -> RecentChange | None:
        """The last change of the policy, if a cycle applied it within twice the look-back: it is still watched."""
        changes = [r.poi for r in self.found.chain if r.poi.policy_before not in (None, r.poi.policy_after)]
        since = self.at - 2 * self.settings.catalogue.budget_policy.look_back
        if not changes or changes[-1].status != "applied" or changes[-1].at < since:
            return None
        poi = changes[-1]
        breached = tuple(s["name"] for s in cast("list[Any]", poi.budgets) if s["state"] == "breached")
        return RecentChange(poi.cycle, poi.at, poi.policy_before or {}, breached)

    def _approved(self, live: Policy) -> Approved | None:
        """The approved change that this cycle may try: none where nothing may be applied, or evidence is broken."""
        if self.settings.mode != "autonomous" or self.found.sealer is None:
            return None
        store, keys = EvidenceFiles(self.places.evidence), trusted(default_key_folder())
        return next_approved(self.state, store, keys, live, self.at)

    def _facts(self, coverage: float | None) -> Facts:
        constraints = self.settings.constraints
        return Facts(
            sealed_records=len(self.found.chain),
            chain_problem=self.found.chain_problem,
            policy_problem=self.found.policy_problem,
            hours_since_crash=self._hours_since_crash(),
            coverage=coverage,
            pin_mismatches=pin_mismatches(constraints) if constraints else None,
            clock_problem=self._clock_problem(),
            key_problem=self._key_problem(),
        )

    def _hours_since_crash(self) -> float | None:
        day = self.state.incidents(self.at - timedelta(days=1))
        newest = max((i.opened_at for i in day if i.kind == "interrupted"), default=None)
        return None if newest is None else (self.at - newest) / timedelta(hours=1)

    def _clock_problem(self) -> str | None:
        newest = max((row.at for row in self.state.cycles() if row.id != self.cycle), default=self.at)
        return f"the cycle of {format_instant(newest)} lies ahead of now" if newest > self.at else None

    def _key_problem(self) -> str | None:
        folder = default_key_folder().resolve()
        inside = folder.is_relative_to(self.places.root.resolve())
        return "the signing key lies within the workspace, where a notebook may write" if inside else None


def look(
    settings: Settings,
    source: SliSource,
    at: datetime,
    *,
    policy: Policy,
    facts: Callable[[float | None], Facts],
    ihsan_history: tuple[float, ...],
    incidents: tuple[Incident, ...],
    progress: Progress,
    recent_change: RecentChange | None = None,
    approved: Approved | None = None,
) -> Given:
    """Read the telemetry at ``at``; ``facts`` is told the least coverage that was found."""
    counts = collect.read_counts(settings.catalogue, source, at, progress)
    target, told = target_of(settings), told_source(settings)
    seed = np.random.SeedSequence([settings.optimizer.seed, int(at.timestamp())]).generate_state(1)
    return Given(
        at=at,
        mode=settings.mode,
        source=told.name,
        simulated=told.simulated,
        target=target.name if target else None,
        target_simulated=bool(target and target.simulated),
        policy=policy,
        counts=counts,
        series=collect.read_series(settings.catalogue, source, at),
        facts=facts(collect.least_coverage(settings.catalogue, counts)),
        ihsan_history=ihsan_history,
        incidents=incidents,
        seed=int(seed[0]),
        recent_change=recent_change,
        approved=approved,
    )


def derived_again(settings: Settings, given: Given, result: CycleResult) -> CycleResult:
    """Return the result if it follows from what was given; raises DataError if it does not."""
    rules, target = rules_of(settings), target_of(settings)
    ihsan = steps.score_ihsan(given, rules)
    statuses = steps.assess(given, rules, ihsan)
    gates = steps.ask_gates(given, rules, statuses, ihsan)
    proposal = _proposal_again(given, rules, gates, target, result.proposal)
    classified = steps.classify_proposal(rules, proposal)
    tried = proposal is not None and classified is not None and steps.may_try(given, rules, proposal, classified)
    rollout = result.rollout if tried else None  # a rollout does not stand in for a mode or an approval
    if target is not None and target.simulated:
        rollout = steps.try_out(given, rules, proposal, classified, target, lambda *_: None)
    decision = steps.decide(given, rules, gates, proposal, classified, rollout, target)
    again = steps.conclude(given, statuses, ihsan, gates, proposal, classified, rollout, decision)
    if plain(again) != plain(result):
        raise DataError("the notebook's result does not follow from what it was given; nothing is applied")
    return result


def _proposal_again(
    given: Given, rules: Rules, gates: Gates, target: Target | None, proposal: Proposal | None
) -> Proposal | None:
    """Return the proposal with what it changes derived, and what it gains measured, again; raises DataError.

    Where a change was approved, the proposal is that change: a notebook can neither leave it out nor put another one
    in its place.
    """
    if proposal is None:
        asked = given.approved is not None and target is not None and target.simulated
        return steps.find_proposal(given, rules, gates, target, lambda *_: None) if asked else None
    try:
        policy = check_policy(proposal.policy, "the notebook's proposal")
    except ConfigError as error:
        raise DataError(f"{error}\nnothing is applied") from error
    live, approved = given.policy, given.approved
    if approved is not None and changed(approved.policy, policy):
        raise DataError(f"the notebook's proposal is not the approved change {approved.change}; nothing is applied")
    if target is not None and target.simulated:
        again = measured(target, live, policy, rules.search, given.at)
        return again if approved is None else replace(again, trials=0)
    return replace(proposal, policy=policy, changes=changed(live, policy), kinds=kinds(live, policy))
