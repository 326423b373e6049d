"""What a rollout leaves behind: analysis, incident, signed record, live policy, deployment, and how the change ended.

In the order of a cycle: the analysis is written, then **attest** (PoI over the analysis), **apply** (policy), **prove**
(provenance), remember. A kill in between is what a kill of a cycle there is (``shell.recovery``).

>>> STATUS["promoted"]
'applied'
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from node0lib.canary.record import RolloutRecord
from node0lib.canary.rollout import Ending
from node0lib.canary.walk import Change
from node0lib.errors import RunError
from node0lib.evidence.approval import SignedApproval
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.evidence.poi import PoI
from node0lib.evidence.statement import Artifact
from node0lib.gates import Gates, Incident
from node0lib.ihsan import IhsanScore
from node0lib.ports import Clock, Policy
from node0lib.shell import changes
from node0lib.shell.canary_live import Diary, Journey
from node0lib.shell.changes import StoredChange
from node0lib.shell.config import Settings
from node0lib.shell.files import sha256_file, write_atomic
from node0lib.shell.notify import notify
from node0lib.shell.observe import told_source
from node0lib.shell.records import plain
from node0lib.shell.recovery import Found
from node0lib.shell.sealing import Sealed
from node0lib.shell.state import Deployment, State
from node0lib.shell.workspace import Places, live_bytes, write_policy
from node0lib.slo.budget import SloStatus

STATUS: Mapping[Ending, str] = {"promoted": "applied", "rolled_back": "rolled_back", "held": "inconclusive"}
"""How a rollout's ending is called in the record of cycles."""
EXIT_CODES: Mapping[str, int] = {"applied": 0, "inconclusive": 3, "rolled_back": 4}
INTERRUPTED = 130
"""What a program ends with that was interrupted, if its traffic is back."""


@dataclass(frozen=True)
class Conclusion:
    """Everything there is to conclude from."""

    id: str
    at: datetime
    started: datetime
    settings: Settings
    places: Places
    state: State
    found: Found
    clock: Clock
    forced: bool
    change: StoredChange
    approval: SignedApproval | None
    question: Change
    statuses: tuple[SloStatus, ...]
    gates: Gates
    ihsan: IhsanScore
    journey: Journey
    diary: Diary
    orders: tuple[Path, ...]
    target: str
    target_file: Path | None
    simulated: bool
    notes: tuple[str, ...]

    @property
    def ending(self) -> Ending:
        """How the change ended; a walk that was broken off has been rolled back, as far as anybody knows."""
        return self.journey.walked.ending if self.journey.walked else "rolled_back"

    @property
    def status(self) -> str:
        began = self.journey.walked is not None or bool(self.diary.deeds)
        return STATUS[self.ending] if began and not self.journey.lost else "error"

    @property
    def reasons(self) -> tuple[str, ...]:
        made = self.journey
        if made.walked is not None:
            return made.walked.reasons
        if made.interrupted:
            return ("the rollout was interrupted (Ctrl-C or SIGTERM)",)
        return (self.places.told(str(made.error)),)

    @property
    def exposed(self) -> bool:
        """Whether anybody met the candidate."""
        return any(seen.look.canary.requests for seen in self.diary.looks)


@dataclass(frozen=True)
class CanaryEnded:
    """How it ended; ``files`` maps what a person looks for to where it lies."""

    id: str
    change: str
    status: str
    reasons: tuple[str, ...]
    incidents: tuple[Incident, ...]
    record: RolloutRecord
    files: Mapping[str, str] = field(default_factory=dict)
    notice: str | None = None
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        code = EXIT_CODES.get(self.status, 1)
        return INTERRUPTED if self.interrupted else code


def conclude(c: Conclusion, beat: Callable[[], None] = lambda: None) -> CanaryEnded:
    """Write, seal, apply, remember, calling ``beat`` in between; raises RunError if the policy cannot be made live."""
    record = _record(c)
    beat()
    written = _written(c, record)
    beat()
    incidents = _incidents(c, record)
    sealed = _sealed(c, record, written, incidents)
    beat()
    _remember(c, record, sealed, incidents, written)
    notice = notify(c.settings, c.places, c.status, c.reasons, c.id, c.at)
    reports = {path.suffix[1:] + " " + path.stem.split(".")[-1]: c.places.shown(path) for path in written}
    evidence = {a.name: c.places.shown(c.places.evidence / str(a.uri)) for a in sealed.artifacts}
    files, stopped = {**reports, **evidence}, c.journey.interrupted and not c.journey.lost
    return CanaryEnded(c.id, c.change.id, c.status, c.reasons, incidents, record, files, notice, stopped)


def _record(c: Conclusion) -> RolloutRecord:
    return RolloutRecord(
        id=c.change.id,
        change_class=str(c.change.content.change_class),
        why=c.change.content.reasons,
        change=c.question,
        target=c.target,
        simulated=c.simulated,
        started=c.started,
        finished=c.clock.now(),
        looks=tuple(c.diary.looks),
        deeds=tuple(c.diary.deeds),
        walked=c.journey.walked,
        back=c.journey.back,
        error=None if c.journey.walked else c.reasons[0],
        notes=(*c.notes, *_forced(c)),
    )


def _forced(c: Conclusion) -> tuple[str, ...]:
    passed = c.forced and not c.gates.open
    return (f"the gates were closed and were passed by force: {'; '.join(c.gates.reasons)}",) if passed else ()


def _written(c: Conclusion, record: RolloutRecord) -> tuple[Path, ...]:
    """Write the analysis, and the incident if there was one."""
    from node0lib.views.canary_report import document, incident, page

    folder = c.places.reports
    pages = {
        folder / f"{c.id}.rollout.json": _json(document(record)),
        folder / f"{c.id}.rollout.html": page(record),
    }
    told = incident(record)
    if told is not None:
        pages[folder / f"{c.id}.incident.json"] = _json(told)
    for path, text in pages.items():
        write_atomic(path, text.encode())
    return tuple(pages)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _incidents(c: Conclusion, record: RolloutRecord) -> tuple[Incident, ...]:
    """What is to be told as an incident; each is over when it is told, but traffic that could not be taken back."""
    now, back = record.finished, record.back
    found = []
    if c.journey.lost:
        found.append(Incident("rollback_failed", now, None, _at_length(c)))
    elif c.ending == "rolled_back" and c.diary.deeds:
        found.append(Incident("rolled_back", now, now, f"change {c.change.id}: {'; '.join(c.reasons)}"))
    if back is not None and not back.kept:
        told = f"taking traffic back took {back.seconds:.1f} s from the decision, the promise is {back.within:g} s"
        found.append(Incident("slow_rollback", now, now, told))
    if (broken := _broken(record)) is not None:
        found.append(Incident("stable_broken", now, now, f"{broken}; that is stable's own, and no change mends it"))
    return tuple(found)


def _at_length(c: Conclusion) -> str:
    """What is to be done by hand: the cause says it, and the reasons do not say it again."""
    cause = c.journey.error.__cause__ if c.journey.error else None
    return c.places.told(str(cause)) if isinstance(cause, RunError) else c.reasons[0]


def _broken(record: RolloutRecord) -> str | None:
    """What was wrong with the control at the end, or while it served nobody, if anything."""
    down = [seen.reading.broken for seen in record.looks if seen.reading.control_down]
    last = record.looks[-1].reading.broken if record.looks else None
    return last or (down[-1] if down else None)


def _sealed(
    c: Conclusion, record: RolloutRecord, written: tuple[Path, ...], incidents: tuple[Incident, ...]
) -> Sealed:
    """Attest, apply, prove."""
    sealer = c.found.sealer
    if sealer is None:
        raise RunError("the evidence does not verify; nothing can be sealed")
    after: Policy = c.question.candidate if c.ending == "promoted" else c.question.control
    products = _artifacts(c, *written)
    files = [*c.settings.files, *([c.target_file] if c.target_file else []), *c.orders]
    inputs = (*_artifacts(c, *files), *((c.approval.evidence,) if c.approval else ()))
    poi = PoI(
        cycle=c.id,
        at=c.at,
        status=c.status,
        source=told_source(c.settings),
        clock="real",
        policy_after=after,
        policy_before=c.question.control,
        reasons=c.reasons,
        mode=c.settings.mode,
        forced=c.forced,
        subjects=products,
        inputs=inputs,
        budgets=plain(c.statuses),
        gates=plain(c.gates),
        ihsan=plain(c.ihsan),
        proposal=plain(c.change.content),
        rollout=plain(record.walked) if record.walked else None,
        incidents=incidents,
    )
    poi, attested = sealer.attest(poi)
    _apply(c.places, after)
    return sealer.prove(
        poi,
        attested,
        config=c.places.shown(c.settings.config),
        started=c.started,
        finished=c.clock.now(),
        materials=inputs,
        byproducts=products,
        internal={
            "python": platform.python_version(),
            "seconds_from_decision_to_read_back": record.back.seconds if record.back else None,
        },
    )


def _apply(places: Places, policy: Policy) -> None:
    write_policy(places, policy)
    if live_bytes(places) != policy_bytes(policy):
        raise RunError("the live policy is not what was just written there; find out who else writes it")


def _artifacts(c: Conclusion, *paths: Path) -> tuple[Artifact, ...]:
    return tuple(Artifact(c.places.shown(path), sha256_file(path)) for path in paths)


def _remember(
    c: Conclusion, record: RolloutRecord, sealed: Sealed, incidents: tuple[Incident, ...], written: tuple[Path, ...]
) -> None:
    c.state.sealed(c.id, sealed.provenance.sha256)
    for incident in incidents:
        c.state.record_incident(c.id, incident)
    if record.back is not None:
        c.state.record_return(c.id, record.back.decided, record.back.confirmed)
    _remember_deployment(c, record)
    if c.change.state == "running":
        changes.end(c.state, c.change, c.ending, record.finished, c.reasons)
    reports = tuple((path.name, sha256_file(path)) for path in written)
    c.state.finish(c.id, c.status, record.finished, ihsan=c.ihsan.value, reports=reports, reason="; ".join(c.reasons))


def _remember_deployment(c: Conclusion, record: RolloutRecord) -> None:
    """What was promoted or rolled back was a deployment; what was held, or met nobody, was none."""
    if c.ending == "held" or not c.exposed:
        c.state.forget_deployment(c.id)
        return
    outcome = "succeeded" if c.ending == "promoted" else "failed"
    digest = sha256(policy_bytes(c.question.candidate))
    c.state.record_deployment(c.id, Deployment(outcome, digest, c.started, record.finished))
    _remember_estimate(c)


def _remember_estimate(c: Conclusion) -> None:
    """Record the change as cycles record theirs, if its improvement was ever measured."""
    content, e = c.change.content, c.change.content.estimate
    if e is None:
        return
    row = {
        "class": str(content.change_class),
        "ending": c.ending,
        "before": json.dumps(dict(content.before), sort_keys=True),
        "after": json.dumps(dict(content.after), sort_keys=True),
        "improvement": e.improvement,
        "low": e.low,
        "high": e.high,
    }
    c.state.record_change(c.id, row)
