"""Changes that wait to be tried: where they come from, in which state each is, and what may follow.

Rules
- ``FOLLOWS`` is the whole life of a change. A step that is not in it is a RefusedError that says what may follow.
- A change is from one policy to another, both known by the SHA-256 of their files. It can be tried only while the
  first of them is live: once another one is, the change is superseded.
- A class that asks for an approval makes a change ``waiting``, any other ``proposed``; either can be approved, and only
  a proposed or an approved one can be started.
- The memory says what was decided, the evidence proves it: ``approval_of`` looks at signatures only.
- A cycle leaves one change for a candidate: none beside one that is open or runs already, and none for what somebody
  rejected while the same policy was live.

>>> may_follow("waiting", "approved"), may_follow("waiting", "running"), may_follow("rejected", "approved")
(True, False, False)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from node0lib.errors import ConfigError, DataError, RefusedError
from node0lib.evidence.approval import SignedApproval, valid_approval
from node0lib.evidence.canonical import encode, policy_bytes, sha256
from node0lib.evidence.dsse import PublicKey
from node0lib.optimize.estimate import Estimate
from node0lib.optimize.knobs import changed, kinds
from node0lib.optimize.propose import Proposal, measured
from node0lib.optimize.risk import Classified, classify
from node0lib.ports import EvidenceStore, Policy
from node0lib.shell.records import dump, load
from node0lib.shell.settings import Settings
from node0lib.shell.state import Request, State, Step
from node0lib.shell.workspace import instant_of, rules_of, target_of
from node0lib.slo.catalogue import ChangeClass
from node0lib.timespan import format_instant

ChangeState = Literal[
    "proposed", "waiting", "approved", "rejected", "running", "promoted", "rolled_back", "held", "superseded"
]
Ending = Literal["promoted", "rolled_back", "held"]

FOLLOWS: Mapping[ChangeState, tuple[ChangeState, ...]] = {
    "proposed": ("approved", "rejected", "running", "superseded"),
    "waiting": ("approved", "rejected", "superseded"),
    "approved": ("running", "rejected", "superseded", "waiting"),  # waiting: its approval is not in the evidence
    "running": ("promoted", "rolled_back", "held", "approved"),  # approved: the cycle that tried it was interrupted
    "rejected": (),
    "promoted": (),
    "rolled_back": (),
    "held": (),
    "superseded": (),
}
"""Which states may follow which; what has ended stays as it ended."""

OPEN: tuple[ChangeState, ...] = ("proposed", "waiting", "approved")
"""The states of a change that somebody or something may still act on."""

_SHORTEST = 4
_ALIVE: tuple[ChangeState, ...] = (*OPEN, "running")


@dataclass(frozen=True)
class Origin:
    """Who or what a change comes from: a cycle by its identity, or a person by the name that was given."""

    kind: Literal["cycle", "person"]
    name: str

    def __str__(self) -> str:
        return f"cycle {self.name}" if self.kind == "cycle" else self.name


@dataclass(frozen=True)
class Content:
    """What a change is and what was known of it when it was registered.

    ``estimate`` and ``safe`` (no SLO limit is overstepped) are None if nothing was measured; ``note`` may be empty.
    """

    origin: Origin
    before: Policy
    after: Policy
    change_class: ChangeClass
    reasons: tuple[str, ...]
    estimate: Estimate | None
    safe: bool | None
    note: str = ""


@dataclass(frozen=True)
class StoredChange:
    """A change as it is remembered; ``before`` and ``after`` are the digests under which it was registered."""

    id: str
    at: datetime
    state: ChangeState
    before: str
    after: str
    content: Content

    @property
    def before_sha256(self) -> str:
        """The SHA-256 of the policy it starts from, computed from the policy that is stored."""
        return digest_of(self.content.before)

    @property
    def after_sha256(self) -> str:
        """The SHA-256 of the candidate, computed from the candidate that is stored."""
        return digest_of(self.content.after)

    def check(self) -> None:
        """Raise RefusedError, showing both digests, if a policy is no longer the one that was registered."""
        for what, registered, found in (
            ("candidate", self.after, self.after_sha256),
            ("policy before", self.before, self.before_sha256),
        ):
            if registered != found:
                told = f"was registered with the SHA-256 {registered}, but what is stored has {found}"
                raise RefusedError(f"change {self.id}: its {what} {told}; reject it and propose it again")


def digest_of(policy: Policy) -> str:
    """Return the SHA-256 of a policy's file."""
    return sha256(policy_bytes(policy))


def may_follow(before: str, after: str) -> bool:
    """Whether a change in one state may come into another."""
    return any(state == before and after in following for state, following in FOLLOWS.items())


def require(change: str, before: str, after: str) -> None:
    """Raise RefusedError unless a change in the state ``before`` may come into ``after``."""
    if may_follow(before, after):
        return
    following = next((following for state, following in FOLLOWS.items() if state == before), ())
    told = f"from there it may only become {', '.join(following)}" if following else "that is final; propose it again"
    raise RefusedError(f"change {change} is {before} and cannot become {after}: {told}")


def register(
    state: State, content: Content, at: datetime, *, approval: bool, unless: Collection[ChangeState] = _ALIVE
) -> StoredChange | None:
    """Remember a change, waiting if its class asks for an ``approval``, else proposed.

    None if one between the same policies is in one of the states ``unless``.
    """
    before, after = digest_of(content.before), digest_of(content.after)
    name = sha256(encode([before, after, content.origin.kind, content.origin.name, format_instant(at)]))[:12]
    first: ChangeState = "waiting" if approval else "proposed"
    request = Request(name, at, first, before, after, dump(content).decode())
    step = Step(first, at, str(content.origin), content.note or "; ".join(content.reasons))
    return _stored(request) if state.add_request(request, step, unless) else None


def propose_change(
    state: State, settings: Settings, live: Policy, candidate: Policy, origin: Origin, now: datetime, note: str = ""
) -> StoredChange:
    """Register a person's change against the live policy, measured where the configuration has a target.

    Raises ConfigError if it changes nothing, RefusedError if such a change is open already.
    """
    if not changed(live, candidate):
        raise ConfigError("the policy is the live one already: there is no change to propose")
    found, classified = weighed(settings, live, candidate, now)
    estimate, safe = (found.estimate, found.safe) if found is not None else (None, None)
    content = Content(origin, live, candidate, classified.change_class, classified.reasons, estimate, safe, note)
    approval = settings.catalogue.classes[classified.change_class].approval
    stored = register(state, content, now, approval=approval)
    if stored is None:
        same = digest_of(live), digest_of(candidate)
        there = next(c for c in all_changes(state, _ALIVE) if (c.before, c.after) == same)
        raise RefusedError(f"this change is {there.state} already: node0 change show {there.id}")
    return stored


def weighed(settings: Settings, live: Policy, candidate: Policy, now: datetime) -> tuple[Proposal | None, Classified]:
    """Measure a candidate on fresh seeds of this instant, and classify it; what nobody can measure is class H."""
    rules, target = rules_of(settings), target_of(settings)
    classes = rules.catalogue.classes
    if target is None:
        found = classify(kinds(live, candidate), 0.0, 0.0, classes)
        told = "nothing was measured, since no target is configured: the confidence is unknown and counts as 0%"
        return None, replace(found, reasons=(*found.reasons, told))
    proposal = measured(target, live, candidate, rules.search, instant_of(settings, now))
    improvement = max(-1.0, proposal.estimate.improvement)  # a loss can more than double
    return proposal, classify(proposal.kinds, improvement, proposal.estimate.confidence, classes)


def register_from_cycle(
    state: State, cycle: str, live: Policy, proposal: Proposal, classified: Classified, at: datetime
) -> StoredChange | None:
    """Remember what a cycle found and may not try without an approval; None if that is known already."""
    content = Content(
        origin=Origin("cycle", cycle),
        before=live,
        after=proposal.policy,
        change_class=classified.change_class,
        reasons=classified.reasons,
        estimate=proposal.estimate,
        safe=proposal.safe,
    )
    return register(state, content, at, approval=True, unless=(*_ALIVE, "rejected"))


def all_changes(state: State, only: Collection[str] = ()) -> tuple[StoredChange, ...]:
    """Return the changes, oldest first; ``only`` those in these states, if any are named."""
    found = (_stored(request) for request in state.requests())
    return tuple(change for change in found if not only or change.state in only)


def find_change(state: State, name: str) -> StoredChange:
    """Return the change of that id, or of a beginning of it that no other has; raises ConfigError."""
    found = [request for request in state.requests() if request.id.startswith(name)]
    if len(name) < _SHORTEST or not found:
        least = f"give at least {_SHORTEST} characters of its id" if len(name) < _SHORTEST else "see node0 change list"
        raise ConfigError(f"no change is called {name!r}; {least}")
    if len(found) > 1:
        names = ", ".join(request.id for request in found)
        raise ConfigError(f"{len(found)} changes begin with {name!r}: {names}; write more of it")
    return _stored(found[0])


def outdated(change: StoredChange, live: str) -> str | None:
    """Return why an open change can no longer be tried where ``live`` is the live policy's SHA-256; None if it can."""
    if change.state not in OPEN or live == change.before:
        return None
    if live == change.after:
        return "its candidate is the live policy already"
    return f"it starts from the policy {change.before[:12]}, and {live[:12]} is live now"


def supersede(state: State, change: StoredChange, live: str, at: datetime) -> StoredChange:
    """Return the change as it is under the live policy's SHA-256 ``live``, and remember that if it is outdated."""
    why = outdated(change, live)
    return change if why is None else step(state, change, "superseded", at, "node0", why)


def start(state: State, change: StoredChange, at: datetime, who: str = "node0") -> StoredChange:
    """Note that a change is tried from now on; raises RefusedError unless it is proposed or approved.

    From here on nobody can reject it. Whether the approval is real is for ``approval_of`` to say: ask it first where
    the class needs one. Whoever starts a change holds the lock of the cycles (``order.alone``) until it has ended it.
    """
    return step(state, change, "running", at, who, "it is tried")


def settle_orphans(state: State, at: datetime, live: str | None = None) -> None:
    """Bring every running change out of that state; only the holder of the lock may ask, since then nobody tries one.

    ``live`` is the live policy's SHA-256, None if it is not known. A change whose candidate is live was promoted. One
    that a cycle tried may be tried again: the last sealed policy is back. Of any other nobody knows what it came to: it
    is held, for a person to look at.
    """
    why = "what tried it was interrupted before it could say what it came to"
    for change in all_changes(state, ("running",)):
        if live == change.after:
            end(state, change, "promoted", at, (f"{why}, and its candidate is live",))
        elif state.steps(change.id)[-1].who.startswith("cycle "):
            step(state, change, "approved", at, "node0", why)
        else:
            end(state, change, "held", at, (why,))


def end(state: State, change: StoredChange, ending: Ending, at: datetime, reasons: Collection[str]) -> StoredChange:
    """Note how a change that was tried has ended; raises RefusedError unless it runs."""
    return step(state, change, ending, at, "node0", "; ".join(reasons))


def step(state: State, change: StoredChange, to: ChangeState, at: datetime, who: str, reason: str) -> StoredChange:
    """Bring a change into another state; raises RefusedError if that may not follow the one it is in by now."""
    with state.stepping(change.id, Step(to, at, who, reason)) as now:
        require(change.id, now, to)
    return find_change(state, change.id)


def approval_of(
    store: EvidenceStore, keys: Mapping[str, PublicKey], change: StoredChange
) -> SignedApproval | None:
    """Return the verified approval of a change, for the very policies that are stored; None if there is none.

    A rejection beside it, of whatever age, makes it none. Raises EvidenceError if an answer does not verify.
    """
    return valid_approval(store, keys, change.id, before=change.before_sha256, after=change.after_sha256)


def _stored(request: Request) -> StoredChange:
    content = load(Content, request.content.encode(), f"change {request.id}")
    return StoredChange(request.id, request.at, _known(request.state), request.before, request.after, content)


def _known(state: str) -> ChangeState:
    for known in FOLLOWS:
        if known == state:
            return known
    raise DataError(f"{state!r} is no state of a change; the memory was changed by something else than node0")
