"""The incident that a rollback is: what, when, why, who met it, and how long the way back took.

A rollout that sent traffic to the canary and ended by an error is one too: nobody knows then how it would have ended.

>>> exposure({"requests": 426, "failed": 22, "beyond_control": 20.3})
"426 canary requests, 22 of them failed, about 20 more than at the control's rate"
>>> share(0.005), lasting(8.25), lasting(900)
('0.5%', '8.2 s', '15 minutes')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from node0lib.canary.record import Return, RolloutRecord
from node0lib.timespan import ensure_utc, format_instant
from node0lib.views.canary_document import exposed, finite, way_back

SCHEMA = "node0-canary-incident/1"


def incident(record: RolloutRecord, evidence: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return what happened as JSON values, None if nothing did; ``evidence`` names files.

    A rollback is one, and so is a rollout that sent traffic and ended by an error.
    """
    rolled_back = record.walked is not None and record.walked.ending == "rolled_back"
    if not rolled_back and not (record.error and _sent(record)):
        return None
    decided = _decided(record)
    found: dict[str, Any] = finite(
        {
            "schema": SCHEMA,
            "change": record.id,
            "class": record.change_class,
            "target": record.target,
            "simulated": record.simulated,
            "what": "rolled_back" if rolled_back else "ended_by_an_error",
            "started": format_instant(record.started),
            "decided": format_instant(decided),
            "finished": format_instant(record.finished),
            "share": record.looks[-1].rollout.share if record.looks else 0.0,
            "why": record.walked.reasons if record.walked else (record.error,),
            "exposed": exposed(record),
            "rollback": way_back(record.back),
            "evidence": evidence,
        }
    )
    return found


def _sent(record: RolloutRecord) -> bool:
    return any(deed.command.kind == "send" for deed in record.deeds) or bool(record.looks)


def _decided(record: RolloutRecord) -> datetime:
    deeds = [deed.decided for deed in record.deeds if deed.command.kind == "roll_back"]
    return record.back.decided if record.back else deeds[0] if deeds else record.finished


def incident_text(record: RolloutRecord, evidence: Sequence[str] = ()) -> str | None:
    """Return the incident in a few lines of plain text, None if nothing happened."""
    found = incident(record, evidence)
    if found is None:
        return None
    what = "Rolled back" if found["what"] == "rolled_back" else "Ended by an error"
    where = f"{record.target}{' (SIMULATED)' if record.simulated else ''}"
    began = ensure_utc(_decided(record)) - ensure_utc(record.started)
    lines = [
        f"{what}: change {record.id} of class {record.change_class} on {where}",
        f"When: {instant(_decided(record))}, {lasting(began.total_seconds())} after it began, "
        f"at {share(found['share'])} of the traffic",
        *(f"Why: {reason}" for reason in found["why"]),
        f"Exposed: {exposure(found['exposed'])}",
        f"Way back: {returned(record.back)}",
        f"Evidence: {', '.join(evidence) or 'none'}",
    ]
    return "\n".join(" ".join(line.split()) for line in lines) + "\n"


def exposure(of: Mapping[str, Any]) -> str:
    """Say what ``exposed`` counted."""
    requests, failed, beyond = of["requests"], of["failed"], of["beyond_control"]
    told = f"{requests:,} canary request{'s' * (requests != 1)}, {failed:,} of them failed"
    if beyond is None:
        return f"{told}; there was no control to compare them with"
    more = f"about {beyond:,.0f} more than" if beyond >= 0.5 else "no more than"
    return f"{told}, {more} at the control's rate"


def returned(back: Return | None) -> str:
    """Say how long the way back took, and whether that was in time."""
    if back is None:
        return "it was not confirmed that the canary has no traffic"
    kept = "kept" if back.kept else "NOT KEPT"
    tries = "at the first attempt" if back.attempts == 1 else f"after {back.attempts} attempts"
    after = "nobody counted" if back.after is None else f"{back.after:,}"
    return (
        f"{back.seconds:.1f} s from the decision to no traffic, read back {tries} (promised: {back.within:g} s, "
        f"{kept}); canary requests after that: {after}"
    )


def share(value: float) -> str:
    """Return a share of the traffic in percent, with the digits that it needs: 5%, 0.5%."""
    return f"{100 * value:.3g}%"


def instant(at: datetime) -> str:
    """Return an instant to the second."""
    return f"{ensure_utc(at):%Y-%m-%d %H:%M:%S} UTC"


def lasting(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.4g} minutes"
