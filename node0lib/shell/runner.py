"""The control plane of one cycle: it observes, lets the notebook compute, judges how it ended, seals, publishes.

The notebook is a tenant: it is given what was observed, and nothing else, and what it returns is checked against
what can be derived again. The runner holds the key, computes every digest itself, applies the policy, signs.
Every station is noted in the journal before it is entered, so that a killed cycle can be accounted for. A run
that fails, for whatever reason, leaves its record and its report too.

>>> run.__name__
'run'
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from node0lib.cycle import CycleResult, Given
from node0lib.errors import ConfigError, DataError, RunError
from node0lib.evidence.canonical import policy_bytes
from node0lib.evidence.poi import PoI
from node0lib.evidence.statement import Artifact
from node0lib.gates import Incident
from node0lib.ports import Policy
from node0lib.shell import publish, textfile
from node0lib.shell.approvals import approvals_used
from node0lib.shell.deployments import begin_change, remember_change
from node0lib.shell.execution import Execution, execute
from node0lib.shell.files import sha256_file
from node0lib.shell.notify import notify
from node0lib.shell.observe import Observer, burning, derived_again, told_source
from node0lib.shell.order import Ended, Order, alone, not_too_soon
from node0lib.shell.records import plain, read_result, write_given
from node0lib.shell.recovery import Found, recover
from node0lib.shell.sealing import Sealed
from node0lib.shell.state import State, cycle_id
from node0lib.shell.workspace import instant_of, kernel_environment, live_bytes, read_policy, rules_of, write_policy
from node0lib.timespan import format_instant


@dataclass(frozen=True)
class Computed:
    """What became of the notebook: a result that was checked, or how it failed."""

    status: str
    reasons: tuple[str, ...]
    given: Given | None
    result: CycleResult | None
    execution: Execution | None
    decided: datetime


def run(order: Order) -> Ended:
    """Run one cycle. Raises RefusedError (too soon, already running), RunError, ConfigError, EvidenceError."""
    places = order.places
    with alone(places), State(places.state) as state:
        now = order.clock.now()
        at = instant_of(order.settings, now)
        source = told_source(order.settings)
        found = recover(order.settings, places, state, source, clock=order.clock_kind, now=now)
        if not order.forced:
            not_too_soon(order.settings, state, at, found.incidents)
        return _Cycle(order, state, found, at, now).run()


class _Cycle:
    """The stations of one cycle, in order."""

    def __init__(self, order: Order, state: State, found: Found, at: datetime, started: datetime) -> None:
        self.order, self.state, self.found = order, state, found
        self.settings, self.places = order.settings, order.places
        self.at, self.started = at, started
        # The memory may have been lost: what the evidence holds, or has a folder, is not named again either.
        known = {row.id for row in state.cycles()} | {record.poi.cycle for record in found.chain}
        names = (cycle_id(at) if n == 1 else f"{cycle_id(at)}-{n}" for n in range(1, 10_000))
        self.id = next(name for name in names if name not in known and not self.places.cycle(name).exists())
        self.folder = self.places.cycle(self.id)
        self.executed = self.places.reports / f"{self.id}.ipynb"
        self._observer = Observer(self.settings, self.places, state, found, order.progress, at, self.id)

    def run(self) -> Ended:
        self.state.begin(self.id, self.at, self.started, forced=self.order.forced)
        try:
            return self._run()
        except BaseException as error:
            self._give_up(error)
            raise

    def _run(self) -> Ended:
        inputs, live = self._inputs(), read_policy(self.places.policy)
        computed = self._compute(live, inputs)
        after = computed.result.decision.policy if computed.result else live
        own = self._incidents(computed)
        incidents = (*self.found.incidents, *own)
        sealed = self._seal(computed, live, after, incidents, inputs)
        page = self._page(computed, sealed, inputs, incidents)
        self._station("remember")  # before the reports, which may not be written: what is sealed has happened
        self._remember(computed, sealed, own)
        self._station("report")
        published = publish.reports(page)
        self._station("notify")
        firing = computed.result if self.order.clock_kind == "real" else None  # a rehearsal wakes nobody
        notice = notify(self.settings, self.places, computed.status, computed.reasons, self.id, self.at, firing)
        self.state.finish(
            self.id,
            computed.status,
            self.order.clock.now(),
            ihsan=computed.result.ihsan.value if computed.result else None,
            reports=tuple((path.name, self._digest(path).sha256) for path in published),
            reason="; ".join(computed.reasons),
        )
        return Ended(
            cycle=self.id,
            at=self.at,
            status=computed.status,
            reasons=computed.reasons,
            incidents=incidents,
            result=computed.result,
            files=self._files(sealed, published),
            notice=textfile.leave(self.order, notice),
        )

    def _station(self, name: str) -> None:
        self.order.progress(name, 0, 1)
        self.state.station(self.id, name, self.order.clock.now())

    def _told(self, text: str) -> str:
        """Messages are sealed and published."""
        return self.places.told(text)

    def _give_up(self, error: BaseException) -> None:
        """Nothing unsealed stays live; an interrupt, or what cannot even be noted, the next cycle accounts for."""
        sealed = self.found.sealer.policy if self.found.sealer else None
        if sealed is not None:
            write_policy(self.places, sealed)
        if not isinstance(error, Exception):
            return
        reason = self._told(str(error))
        told = (reason.splitlines() or [type(error).__name__])[0]
        self.state.record_incident(self.id, Incident("failed", self.at, self.at, told))
        self.state.finish(self.id, "failed", self.order.clock.now(), reason=reason)
        self.order.progress(textfile.leave(self.order) or "metrics", 0, 1)

    def _inputs(self) -> tuple[Artifact, ...]:
        """Digests of what people wrote: the configuration and the notebook."""
        files = (*self.settings.files, self.settings.notebook)
        return tuple(self._digest(path) for path in files)

    def _digest(self, path: Path) -> Artifact:
        try:
            return Artifact(self.places.shown(path), sha256_file(path))
        except OSError as error:
            why = error.strerror or error
            raise RunError(f"{self.places.shown(path)}: cannot be read ({why}); restore it") from error

    def _compute(self, live: Policy, inputs: tuple[Artifact, ...]) -> Computed:
        given = execution = None
        before = live_bytes(self.places)
        try:
            self._station("telemetry")
            given = self._observer.given(live)
            self._station("given")
            write_given(self.folder, given)
            self._station("notebook")
            execution = self._execute()
            if execution.outcome != "ok":
                where = f"{execution.where}: {execution.message}" if execution.where else execution.message
                return Computed(execution.outcome, (self._told(where),), given, None, execution, self.order.clock.now())
            self._station("settle")
            if self._inputs() != inputs:
                raise RunError("a configuration file or the notebook changed while the cycle ran; run it again")
            if live_bytes(self.places) != before:
                raise RunError("the live policy was changed while the cycle ran, not by it; nothing is applied")
            result = derived_again(self.settings, given, read_result(self.folder))
            decision, now = result.decision, self.order.clock.now()
            begin_change(self.state, self.id, given, result, now)
            return Computed(decision.kind, decision.reasons, given, result, execution, now)
        except (DataError, ConfigError, RunError) as error:
            return Computed("error", (self._told(str(error)),), given, None, execution, self.order.clock.now())

    def _execute(self) -> Execution:
        told = {
            "config": self.places.shown(self.settings.config),
            "at": format_instant(self.at),
            "out": self.places.shown(self.folder),
        }
        return execute(
            self.settings.notebook,
            told,
            output=self.executed,
            cwd=self.places.root,
            deadline=self.settings.schedule.deadline,
            environment=kernel_environment(self.settings),
            progress=self.order.progress,
            clock=self.order.clock.now,
        )

    def _incidents(self, computed: Computed) -> tuple[Incident, ...]:
        if computed.result is None:
            return (Incident("failed", self.at, self.at, f"{computed.status}: {computed.reasons[0].splitlines()[0]}"),)
        begun, _ = burning(self.settings, self.state, computed.result)
        if computed.status == "rolled_back":
            return (*begun, Incident("rolled_back", self.at, self.at, "; ".join(computed.reasons)))
        return begun

    def _seal(
        self,
        computed: Computed,
        live: Policy,
        after: Policy,
        incidents: tuple[Incident, ...],
        inputs: tuple[Artifact, ...],
    ) -> Sealed | None:
        """Attest, apply, prove; None where the evidence does not verify and nothing may be added to it."""
        sealer, result = self.found.sealer, computed.result
        if sealer is None:
            return None
        products = self._products()
        materials = (*inputs, *self._artifacts(self.folder / "given.json"), *approvals_used(computed.given))
        self._station("attest")
        poi = PoI(
            cycle=self.id,
            at=self.at,
            status=computed.status,
            source=told_source(self.settings),
            clock=self.order.clock_kind,
            policy_after=after,
            policy_before=live,
            reasons=computed.reasons,
            mode=self.settings.mode,
            forced=self.order.forced,
            subjects=products,
            inputs=materials,
            budgets=plain(result.statuses) if result else None,
            gates=plain(result.gates) if result else None,
            ihsan=plain(result.ihsan) if result else None,
            proposal=plain(result.proposal) if result and result.proposal else None,
            rollout=plain(result.rollout) if result and result.rollout else None,
            incidents=incidents,
        )
        poi, attested = sealer.attest(poi, self._last_reports())
        self._station("apply")
        applied = self._apply(computed, after)
        self._station("prove")
        return sealer.prove(
            poi,
            attested,
            config=self.places.shown(self.settings.config),
            started=self.started,
            finished=self.order.clock.now(),
            materials=materials,
            byproducts=products,
            internal={
                "seed": self.settings.optimizer.seed,
                "python": platform.python_version(),
                "seconds_from_decision_to_read_back": applied,
            },
        )

    def _apply(self, computed: Computed, after: Policy) -> float:
        """Make the policy live and read it back; return how many seconds after the decision that was.

        The file is written even where nothing changes: the notebook could have written there.
        """
        write_policy(self.places, after)
        if live_bytes(self.places) != policy_bytes(after):
            raise RunError("the live policy is not what was just written there; find out who else writes it")
        took = self.order.clock.now() - computed.decided
        if computed.status == "rolled_back" and took > self.settings.catalogue.rollback.within:
            told = f"the rollback took {took.total_seconds():.1f} s from the decision"
            self.state.record_incident(self.id, Incident("slow_rollback", self.at, self.at, told))
        return round(took.total_seconds(), 6)

    def _products(self) -> tuple[Artifact, ...]:
        return self._artifacts(self.executed, self.folder / "result.json")

    def _artifacts(self, *paths: Path) -> tuple[Artifact, ...]:
        return tuple(self._digest(path) for path in paths if path.exists())

    def _last_reports(self) -> tuple[Artifact, ...]:
        ended = [row for row in self.state.cycles() if row.reports]
        return tuple(Artifact(name, digest) for name, digest in ended[-1].reports) if ended else ()

    def _page(
        self,
        computed: Computed,
        sealed: Sealed | None,
        inputs: tuple[Artifact, ...],
        incidents: tuple[Incident, ...],
    ) -> publish.Page:
        return publish.Page(
            cycle=self.id,
            at=self.at,
            status=computed.status,
            reasons=computed.reasons,
            incidents=incidents,
            settings=self.settings,
            places=self.places,
            source=told_source(self.settings),
            clock=self.order.clock_kind,
            forced=self.order.forced,
            result=computed.result,
            execution=computed.execution,
            artifacts=(*inputs, *self._artifacts(self.folder / "given.json"), *self._products()),
            sealed=sealed,
            chain_problem=self.found.chain_problem,
            deployments=tuple(self.state.deployments(self.at - timedelta(days=30))),
        )

    def _remember(self, computed: Computed, sealed: Sealed | None, own: tuple[Incident, ...]) -> None:
        if sealed is not None:
            self.state.sealed(self.id, sealed.provenance.sha256)
        if computed.result is not None:
            for kind in burning(self.settings, self.state, computed.result)[1]:
                self.state.resolve(kind, self.at)
        for incident in own:
            self.state.record_incident(self.id, incident)
        if computed.given is not None and computed.result is not None:
            when = self.started, self.order.clock.now()
            remember_change(self.state, self.id, computed.given, computed.result, when, rules_of(self.settings))

    def _files(self, sealed: Sealed | None, published: tuple[Path, ...]) -> dict[str, str]:
        files = {}
        if sealed is not None:
            files = {a.name: self.places.shown(self.places.evidence / str(a.uri)) for a in sealed.artifacts}
        for path in published:
            files[path.name.split(".", 1)[1].split(".")[0] + " report"] = self.places.shown(path)
        if self.executed.exists():
            files["notebook"] = self.places.shown(self.executed)
        return files
