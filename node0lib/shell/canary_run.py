"""Roll one change out and act on how that ended: the orchestrator behind ``node0 canary run``.

Rules
- One thing changes at a time: a rollout holds the lock that cycles hold, accounts first for whatever was killed, and
  starts from the sealed live policy.
- The gates are asked, and the approval where the class needs one. ``forced`` passes closed gates, which is recorded;
  nothing passes an ihsan score that is too low.
- On real traffic nothing begins without the guard (``shell.lease``), which takes traffic back if this process dies.
  The lease is released when everything is sealed, and not at all if the traffic could not be taken back.
- However it ends there is an analysis (JSON, HTML) and a signed record (``shell.canary_end``).

>>> run_change.__name__
'run_change'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from node0lib import cycle as steps
from node0lib.canary.walk import Change, Minutes, Seen
from node0lib.cycle import Given
from node0lib.errors import ConfigError, RefusedError, RunError
from node0lib.evidence.approval import SignedApproval
from node0lib.evidence.names import provenance_name
from node0lib.gates import Gates
from node0lib.ihsan import IhsanScore
from node0lib.ports import Clock, Policy, Progress
from node0lib.shell import changes
from node0lib.shell.approvals import Desk
from node0lib.shell.canary_end import CanaryEnded, Conclusion, conclude
from node0lib.shell.canary_live import Diary, Journey, Pulse, RealTraffic, heed, journey
from node0lib.shell.canary_orders import Orders
from node0lib.shell.changes import StoredChange
from node0lib.shell.config import Settings, TrafficTarget
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import default_key_folder, trusted
from node0lib.shell.lease import UNANSWERED_S, Lease, guarded
from node0lib.shell.observe import Observer, told_source
from node0lib.shell.order import alone
from node0lib.shell.recovery import Found, recover
from node0lib.shell.state import ROLLOUT, Deployment, State, cycle_id
from node0lib.shell.targets.haproxy import HaproxySplit
from node0lib.shell.targets.target_file import HaproxyTarget, read_target
from node0lib.shell.workspace import Places, instant_of, read_policy, rules_of, target_of
from node0lib.slo.budget import SloStatus
from node0lib.slo.catalogue import ChangeRule


@dataclass(frozen=True)
class CanaryOrder:
    """What to roll out: ``change`` is its id or a beginning of it, ``target`` a target file.

    Without a file the configuration's target is taken. ``wait`` is how long a held stage waits for a person on real
    traffic (None: the stage's own time); ``watching`` is shown every look. ``stopped`` says whether the
    program was told to end: then it does, before the first traffic or between two looks, as by a KeyboardInterrupt.
    """

    settings: Settings
    places: Places
    clock: Clock
    progress: Progress
    change: str
    target: Path | None = None
    wait: timedelta | None = None
    forced: bool = False
    watching: Callable[[Seen], None] = lambda _: None
    stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class _Asked:
    """What was found before anything moved."""

    change: StoredChange
    approval: SignedApproval | None
    given: Given
    ihsan: IhsanScore
    statuses: tuple[SloStatus, ...]
    gates: Gates


def run_change(order: CanaryOrder) -> CanaryEnded:
    """Roll the change out; raises RefusedError (gates, approval, another run), ConfigError, RunError, DataError."""
    places, settings = order.places, order.settings
    named = settings.target.file if isinstance(settings.target, TrafficTarget) else None
    order = replace(order, target=order.target or named)
    target = read_target(order.target) if order.target is not None else None
    with alone(places), State(places.state) as state:
        now = order.clock.now()
        found = recover(settings, places, state, told_source(settings), clock="real", now=now)
        if found.sealer is None:
            raise RunError(f"{found.chain_problem}\nnothing may be changed while the evidence does not verify")
        return _Run(order, state, found, now).run(target)


class _Run:
    """A rollout under way."""

    def __init__(self, order: CanaryOrder, state: State, found: Found, now: datetime) -> None:
        self.order, self.state, self.found, self.started = order, state, found, now
        self.settings, self.places = order.settings, order.places
        self.at = instant_of(order.settings, now)
        taken = {row.id for row in state.cycles()} | {record.poi.cycle for record in found.chain}
        names = (f"{cycle_id(now)}{k}{ROLLOUT}" for k in ("", *(f"-{n}" for n in range(2, 10_000))))
        self.id = next(name for name in names if name not in taken)

    def run(self, target: HaproxyTarget | None) -> CanaryEnded:
        live = read_policy(self.places.policy)
        self.asked = self._asked(live)
        self.question = self._question(live)
        self.state.begin(self.id, self.at, self.started, forced=self.order.forced)
        self.orders = Orders(self.places.cycle(self.id))
        self.diary = Diary(self.order.clock, self.order.watching, self._begins)
        return self._simulated() if target is None else self._real(target)

    def _begins(self) -> None:
        """Before the first traffic: if this process dies from here on, it was a deployment that failed."""
        heed(self.order.stopped)
        now = self.order.clock.now()
        digest = changes.digest_of(self.question.candidate)
        self.state.record_deployment(self.id, Deployment("failed", digest, self.started, now))
        started = changes.start(self.state, self.asked.change, now)
        self.asked = replace(self.asked, change=started)

    def _simulated(self) -> CanaryEnded:
        node = target_of(self.settings)
        if node is None:
            raise ConfigError("the configuration has no target; name a file with --target, as node0 demo up makes one")
        split = Minutes(self.question, node, self.order.progress)
        made = journey(self.question, split, self.question.plan(), lambda _: None, self.diary)
        return conclude(self._conclusion(made, node.name, simulated=True))

    def _real(self, target: HaproxyTarget) -> CanaryEnded:
        plan = self.question.plan(patience=self._wait / timedelta(minutes=1))
        places = self.places
        sealed = places.evidence / provenance_name(self.id)
        duty = guarded(target, self.question.control, self.id, places.guard, state=places.state, sealed=sealed)
        with duty as lease, HaproxySplit(target, clock=self.order.clock, permit=lease.renew) as split:
            within = self.settings.catalogue.rollback.within
            real = RealTraffic(split, target.stable, self.diary, lease, within)
            pulse = Pulse(target.tick, self.orders, lease, self.order.stopped)
            made = journey(self.question, real, plan, pulse, self.diary)
            if made.promoted:
                return conclude(self._conclusion(made, split.name, simulated=False, notes=real.problems), lease.renew)
            notes = (*real.problems, *_let_go(lease, made))
        return conclude(self._conclusion(made, split.name, simulated=False, notes=notes))

    @property
    def _wait(self) -> timedelta:
        """How long a held stage waits for a person: as ordered, else as long as a stage."""
        return self.question.rule.stage_duration if self.order.wait is None else self.order.wait

    def _conclusion(
        self, made: Journey, target: str, *, simulated: bool, notes: tuple[str, ...] = ()
    ) -> Conclusion:
        asked = self.asked
        return Conclusion(
            id=self.id,
            at=self.at,
            started=self.started,
            settings=self.settings,
            places=self.places,
            state=self.state,
            found=self.found,
            clock=self.order.clock,
            forced=self.order.forced,
            change=asked.change,
            approval=asked.approval,
            question=self.question,
            statuses=asked.statuses,
            gates=asked.gates,
            ihsan=asked.ihsan,
            journey=made,
            diary=self.diary,
            orders=tuple(self.orders.read),
            target=target,
            target_file=self.order.target,
            simulated=simulated,
            notes=notes,
        )

    def _asked(self, live: Policy) -> _Asked:
        change = self._change(live)
        rule = self.settings.catalogue.classes[change.content.change_class]
        approval = self._approval(change, rule)
        places, progress = self.places, self.order.progress
        observer = Observer(self.settings, places, self.state, self.found, progress, self.at, self.id)
        given, rules = observer.given(live), rules_of(self.settings)
        ihsan = steps.score_ihsan(given, rules)
        statuses = steps.assess(given, rules, ihsan)
        gates = steps.ask_gates(given, rules, statuses, ihsan)
        self._may_begin(ihsan, gates)
        return _Asked(change, approval, given, ihsan, statuses, gates)

    def _change(self, live: Policy) -> StoredChange:
        changes.settle_orphans(self.state, self.started, changes.digest_of(live))
        found = changes.find_change(self.state, self.order.change)
        found.check()
        found = self._desk.caught_up(found, self.started)
        found = changes.supersede(self.state, found, changes.digest_of(live), self.started)
        if found.state not in changes.OPEN:
            why = self.state.steps(found.id)[-1].reason
            raise RefusedError(f"change {found.id} is {found.state} ({why}); propose it again: node0 change propose")
        return found

    @property
    def _desk(self) -> Desk:
        return Desk(self.state, EvidenceFiles(self.places.evidence), trusted(default_key_folder()))

    def _approval(self, change: StoredChange, rule: ChangeRule) -> SignedApproval | None:
        """Return the verified approval; raises RefusedError where the class asks for one and there is none."""
        signed = changes.approval_of(self._desk.store, self._desk.keys, change)
        if signed is None and rule.approval:
            what = f"change {change.id} is of class {change.content.change_class} and has no approval"
            raise RefusedError(f"{what}: node0 change approve {change.id} --by NAME")
        return signed

    def _may_begin(self, ihsan: IhsanScore, gates: Gates) -> None:
        least = self.settings.catalogue.canary.ihsan_at_least
        if ihsan.value < least:
            failed = ", ".join(finding.control for finding in ihsan.failed)
            raise RefusedError(f"the ihsan score is {ihsan.value:.1f} ({failed}), and a rollout needs {least:g}")
        if not gates.open and not self.order.forced:
            raise RefusedError(f"the gates are closed: {'; '.join(gates.reasons)}; --force overrides, and is recorded")

    def _question(self, live: Policy) -> Change:
        content = self.asked.change.content
        return Change(
            control=live,
            candidate=content.after,
            rule=self.settings.catalogue.classes[content.change_class],
            margins=self.settings.catalogue.canary,
            error_limit=steps.error_limit(self.settings.catalogue),
            at=self.at,
            seed=self.asked.given.seed,
        )


def _let_go(lease: Lease, made: Journey) -> tuple[str, ...]:
    """Give the lease back where traffic is; to the guard, which goes on trying, if it could not be taken back."""
    try:
        if made.lost:
            # Without a balancer the guard cannot end soon either: it goes on without us.
            lease.abandon(UNANSWERED_S) if made.unanswered else lease.abandon()
        else:
            lease.release()
    except RunError as error:
        return (str(error),)
    return ()
