"""Changes on a screen and as JSON, for ``node0 change``.

>>> print(_knobs({"llm_retries": 1}, {"llm_retries": 2}))
  llm_retries          1 -> 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from node0lib.evidence.approval import SignedApproval
from node0lib.optimize.knobs import changed
from node0lib.ports import Policy
from node0lib.shell.approvals import Desk
from node0lib.shell.changes import ChangeState, StoredChange, approval_of, digest_of, outdated
from node0lib.shell.records import plain
from node0lib.timespan import format_instant
from node0lib.views import words

_VOUCHES = {
    "installation": "this installation's key, which vouches for the record, not for the person",
    "person": "a person's own key",
}


def seen(change: StoredChange, live: Policy) -> tuple[ChangeState, str | None]:
    """Return the state of a change under the live policy, and why it is superseded if it just was."""
    why = outdated(change, digest_of(live))
    return (change.state, None) if why is None else ("superseded", why)


def in_short(change: StoredChange, live: Policy) -> dict[str, Any]:
    """Return a change for JSON, without its answers and history."""
    state, why = seen(change, live)
    told = plain(change.content)
    return {
        "id": change.id,
        "at": format_instant(change.at),
        "state": state,
        "superseded_because": why,
        "origin": told["origin"],
        "class": told["change_class"],
        "reasons": told["reasons"],
        "changes": _changes(change),
        "estimate": told["estimate"],
        "safe": told["safe"],
        "note": told["note"],
        "before_sha256": change.before_sha256,
        "after_sha256": change.after_sha256,
    }


def as_json(desk: Desk, change: StoredChange, live: Policy) -> dict[str, Any]:
    """Return a whole change for JSON; raises EvidenceError if an answer to it does not verify."""
    valid = approval_of(desk.store, desk.keys, change)
    return {
        **in_short(change, live),
        "before": dict(change.content.before),
        "after": dict(change.content.after),
        "approval_valid": valid is not None,
        "answers": [_signed(signed) for signed in desk.answers(change)],
        "history": [{**plain(step), "at": format_instant(step.at)} for step in desk.state.steps(change.id)],
    }


def _changes(change: StoredChange) -> dict[str, Any]:
    before, after = change.content.before, change.content.after
    return {knob: {"from": before.get(knob), "to": after.get(knob)} for knob in changed(before, after)}


def _signed(signed: SignedApproval) -> dict[str, Any]:
    told = signed.approval
    return {
        "decision": told.decision,
        "by": told.by,
        "at": format_instant(told.at),
        "class": told.change_class,
        "digest": told.after,
        "note": told.note,
        "keyid": signed.keyid,
        "signer": told.signer,
        "evidence": signed.evidence.name,
        "evidence_sha256": signed.evidence.sha256,
    }


def table(changes: Sequence[StoredChange], live: Policy) -> Table:
    """Return the list."""
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("id", "state", "class", "improvement", "changes", "from"):
        found.add_column(name, overflow="fold", no_wrap=name in ("id", "state"))
    for change in changes:
        e = change.content.estimate
        cells = (
            change.id,
            seen(change, live)[0],
            str(change.content.change_class),
            "not measured" if e is None else words.percent(e.improvement),
            ", ".join(_changes(change)),
            str(change.content.origin),
        )
        found.add_row(*(Text(cell) for cell in cells))
    return found


def show_change(out: Console, desk: Desk, change: StoredChange, live: Policy) -> None:
    """Print everything that is known of a change; raises EvidenceError if an answer to it does not verify."""
    answers = desk.answers(change)
    lines = [*_head(change, live), *_answers(desk, change, answers), *_history(desk, change)]
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


def _head(change: StoredChange, live: Policy) -> list[str]:
    content, (state, why) = change.content, seen(change, live)
    e = content.estimate
    measured = "nothing was measured"
    if e is not None:
        limits = "no SLO limit is overstepped" if content.safe else "an SLO limit would be overstepped"
        sure = words.nearly(min(e.confidence, 1 - 1e-9))  # a computed 1 is a rounded one
        measured = f"{words.interval(e)}, confidence {sure}, {e.n} fresh pairs; {limits}"
    return [
        f"change {change.id}: {state}{f' ({why})' if why else ''}",
        f"  proposed     {format_instant(change.at)} by {content.origin}",
        *([f"  reason       {content.note}"] if content.note else []),
        f"  class        {content.change_class}: {'; '.join(content.reasons) or 'no criterion asks for more'}",
        f"  improvement  {measured}",
        f"  from         {change.before_sha256}",
        f"  to           {change.after_sha256}",
        "knobs:",
        _knobs(content.before, content.after),
    ]


def _knobs(before: Policy, after: Policy) -> str:
    rows = words.changes(before, after)
    return "\n".join(f"  {name:<20} {old} -> {new}" for name, old, new in rows)


def _answers(desk: Desk, change: StoredChange, answers: Sequence[SignedApproval]) -> list[str]:
    lines = ["answers:" if answers else "answers: none"]
    for signed in answers:
        told = signed.approval
        said = "approved" if told.decision == "approve" else "rejected"
        lines.append(f"  {said} by {told.by} at {format_instant(told.at)}{f': {told.note}' if told.note else ''}")
        lines.append(f"    for {told.after}, class {told.change_class}")
        lines.append(f"    signed with {signed.keyid[:12]}, {_VOUCHES[told.signer]}")
        lines.append(f"    {signed.evidence.name}")
    if change.state == "approved" and approval_of(desk.store, desk.keys, change) is None:
        lines.append("  note: it is remembered as approved, but no valid approval is in the evidence: it waits for one")
    return lines


def _history(desk: Desk, change: StoredChange) -> list[str]:
    steps = desk.state.steps(change.id)
    told = (f"  {format_instant(s.at)}  {s.state:<11} {s.who}{f': {s.reason}' if s.reason else ''}" for s in steps)
    return ["history:", *told]


def registered(change: StoredChange) -> str:
    """Return what to say once a change is registered."""
    told = f"change {change.id} is {change.state}, class {change.content.change_class}"
    why = "; ".join(change.content.reasons) or "no criterion asks for more"
    if change.state == "waiting":
        return f"{told} ({why}); somebody else approves it: node0 change approve {change.id} --by NAME"
    return f"{told} ({why}); try it: node0 canary run {change.id}, or approve it and the next cycle tries it"


def answered(change: StoredChange, signed: SignedApproval, mode: str) -> str:
    """Return what to say once an answer is signed."""
    told = signed.approval
    said = f"change {change.id} is {change.state} by {told.by} for {told.after}\n{signed.evidence.name}, signed with"
    lines = [f"{said} {signed.keyid[:12]}, {_VOUCHES[told.signer]}"]
    if told.decision == "approve":
        waits = "mode is recommend, in which cycles try nothing" if mode == "recommend" else "the next cycle tries it"
        lines.append(waits)
    return "\n".join(lines)
