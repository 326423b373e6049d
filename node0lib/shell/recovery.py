"""Before a cycle does anything: is the evidence whole, is the live policy the sealed one, was a cycle killed?

In this order: sweep the temporary files of a killed writer; verify the chain; seal the genesis of a new
installation; account for every cycle that never ended; put back the last sealed policy if the live one differs.
Each finding becomes an incident. Evidence that does not verify is never built upon: the cycle goes on blind,
blocked by its ihsan score, and seals nothing.

>>> sorted(Found().__dataclass_fields__)
['chain', 'chain_problem', 'incidents', 'policy_problem', 'sealer']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from node0lib.errors import EvidenceError, RunError
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.evidence.names import POIS, poi_name
from node0lib.evidence.poi import Clock, PoI, Source
from node0lib.evidence.statement import Artifact
from node0lib.evidence.verify import Record, chain_of
from node0lib.gates import Incident
from node0lib.ports import Policy
from node0lib.shell.config import Settings
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import SigningKey, default_key_folder, load_or_create, trusted
from node0lib.shell.sealing import Sealer
from node0lib.shell.state import CycleRow, Deployment, State
from node0lib.shell.workspace import Places, live_bytes, write_policy


@dataclass(frozen=True)
class Found:
    """What recovery found and did; ``sealer`` is None if nothing may be added to the evidence."""

    chain: tuple[Record, ...] = ()
    chain_problem: str | None = None
    policy_problem: str | None = None
    incidents: tuple[Incident, ...] = ()
    sealer: Sealer | None = None


def recover(
    settings: Settings, places: Places, state: State, source: Source, *, clock: Clock, now: datetime
) -> Found:
    """Open the evidence and the key of an installation and recover; raises RunError. Only the lock's holder may."""
    store, folder = EvidenceFiles(places.evidence), default_key_folder()
    store.probe()
    return Recovery(settings, places, state, store, load_or_create(folder), folder, source, clock, now).run()


@dataclass(frozen=True)
class Recovery:
    """Everything that recovery touches; ``source`` is told in the records that it seals."""

    settings: Settings
    places: Places
    state: State
    store: EvidenceFiles
    key: SigningKey
    key_folder: Path
    source: Source
    clock: Clock
    now: datetime

    def run(self) -> Found:
        """Do it all; raises RunError if a file cannot be written."""
        for folder in self.places.written:
            sweep(folder)
        chain, problem = self._chain()
        if problem is not None:
            return self._blind(problem)
        sealer = Sealer(self.store, self.key, chain)
        if not chain:
            self._genesis(sealer)
        # The policy goes back before the interrupted cycle's record says that it is back.
        policy_problem = self._put_back(sealer)
        killed = self.state.interrupted()
        incidents = (*self._reminded(chain), *(self._account(row, sealer) for row in killed))
        if policy_problem and not killed:
            incidents = (self._remember("policy", "policy_changed", policy_problem),)
        return Found(sealer.chain, None, policy_problem, incidents, sealer)

    def _reminded(self, chain: Sequence[Record]) -> tuple[Incident, ...]:
        """Cycles that are sealed but not remembered: the memory was lost, and is made again from the evidence."""
        known = {row.id for row in self.state.cycles()}
        own = [r for r in chain if r.poi.status not in ("genesis", "interrupted")]
        lost = [r for r in own if r.poi.cycle not in known]
        for record in lost:
            p = record.provenance
            self.state.begin(p.cycle, p.at, p.started, forced=record.poi.forced)
            self.state.sealed(p.cycle, record.digest)
            self.state.finish(p.cycle, record.poi.status, p.finished, reason="remembered from the evidence")
        if not lost:
            return ()
        told = f"{len(lost)} sealed cycles were not remembered; their rows were made again from the evidence"
        return (self._remember("memory", "memory_lost", told),)

    def _chain(self) -> tuple[tuple[Record, ...], str | None]:
        keys = trusted(self.key_folder)
        try:
            chain = chain_of(self.store, keys)
        except EvidenceError as error:
            return (), str(error)
        known = {record.digest for record in chain}
        gone = [row.id for row in self.state.cycles() if row.provenance and row.provenance not in known]
        if gone:
            return (), f"the evidence of {len(gone)} sealed cycles is gone, the newest being {gone[-1]}"
        return chain, None

    def _blind(self, problem: str) -> Found:
        first = " ".join(line.strip() for line in problem.splitlines()[:2])
        incident = self._remember("evidence", "evidence_broken", first)
        killed = self.state.interrupted()
        for row in killed:
            told = f"the cycle {row.id} was interrupted, found while the evidence did not verify"
            self._remember(row.id, "interrupted", told)
            self.state.finish(row.id, "interrupted", self.now, reason=told)
        if not self.places.policy.exists():
            write_policy(self.places, self.settings.initial_policy)
        unknown = "which policy was sealed last cannot be known: the evidence does not verify"
        return Found((), problem, unknown, (incident,), None)

    def _genesis(self, sealer: Sealer) -> None:
        policy = self.settings.initial_policy
        write_policy(self.places, policy)
        reason = "a new installation starts from the configured policy"
        self._seal(sealer, self._unused("genesis"), "genesis", (reason,), policy, ())

    def _unused(self, name: str) -> str:
        """A record's name that no evidence has: an interrupted recovery leaves a PoI, and names are written once."""
        taken = set(self.store.names(POIS))
        names = (name if n == 1 else f"{name}-{n}" for n in range(1, 10_000))
        return next(free for free in names if poi_name(free) not in taken)

    def _put_back(self, sealer: Sealer) -> str | None:
        """Restore the last sealed policy if the live one differs; say what was wrong."""
        sealed = sealer.policy or {}
        live = live_bytes(self.places)
        if live == policy_bytes(sealed):
            return None
        write_policy(self.places, sealed)
        was = f"had the digest {sha256(live)[:12]}" if live else "was missing"
        return f"the live policy {was} and not that of the newest sealed one; the sealed one was restored"

    def _account(self, row: CycleRow, sealer: Sealer) -> Incident:
        """Close the row of a killed cycle, and seal a record of it unless it had sealed its own."""
        sealed = next((r for r in sealer.chain if r.poi.cycle == row.id), None)
        reached = [station for cycle, station, _ in self.state.journal() if cycle == row.id]
        where = f"interrupted after it reached {reached[-1]!r}" if reached else "interrupted before its first station"
        incident = self._remember(row.id, "interrupted", f"the cycle {row.id} was {where}")
        if sealed is not None:
            self._catch_up(row, sealed)
            self.state.finish(row.id, "interrupted", self.now, reason=f"sealed as {sealed.poi.status}, then {where}")
            return incident
        name = f"{row.id}-interrupted"
        if not any(r.poi.cycle.startswith(name) for r in sealer.chain):
            self._seal(sealer, self._unused(name), "interrupted", (incident.summary,), sealer.policy or {}, (incident,))
        self.state.finish(row.id, "interrupted", self.now, reason=incident.summary)
        return incident

    def _catch_up(self, row: CycleRow, sealed: Record) -> None:
        """Remember what a cycle had sealed before it was killed: its provenance, and a change that it applied."""
        self.state.sealed(row.id, sealed.digest)
        if sealed.poi.status == "applied":
            times = sealed.provenance.started, sealed.provenance.finished
            self.state.record_deployment(row.id, Deployment("succeeded", sealed.provenance.policy_sha256, *times))
        elif sealed.poi.status == "inconclusive":
            self.state.forget_deployment(row.id)  # a rollout that was held: noted before its first traffic

    def _seal(
        self,
        sealer: Sealer,
        cycle: str,
        status: str,
        reasons: tuple[str, ...],
        policy: Policy,
        incidents: Sequence[Incident],
    ) -> None:
        poi = PoI(
            cycle=cycle,
            at=self.now,
            status=status,
            source=self.source,
            clock=self.clock,
            policy_after=policy,
            policy_before=sealer.policy,
            reasons=reasons,
            mode=self.settings.mode,
            incidents=tuple(incidents),
        )
        poi, attested = sealer.attest(poi)
        config = Artifact.of(self.settings.config.name, self.settings.config.read_bytes())
        sealer.prove(
            poi,
            attested,
            config=self.places.shown(self.settings.config),
            started=self.now,
            finished=self.now,
            materials=(replace(config, name=self.places.shown(self.settings.config)),),
        )

    def _remember(self, cycle: str, kind: str, summary: str) -> Incident:
        """Record an incident that recovery itself has just resolved."""
        incident = Incident(kind, self.now, self.now, summary)
        self.state.record_incident(cycle, incident)
        return incident


def sweep(folder: Path) -> int:
    """Remove what a killed writer left in ``folder`` under a temporary name; return how many. Raises RunError."""
    left = [path for path in folder.glob(".*.tmp") if path.is_file()] if folder.is_dir() else []
    for path in left:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise RunError(f"{path}: is left over and cannot be removed ({why}); check the folder") from error
    return len(left)
