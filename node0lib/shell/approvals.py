"""A person answers to a change: the answer is checked, signed, put into the evidence, and then remembered.

Rules
- Whoever proposed a change cannot approve it (two names are compared without regard to case and spaces). He may take it
  back: a rejection is never refused for who gives it.
- An answer is for a digest. If the digest that the person names, or the one under which the change was registered, is
  not that of the candidate as it is stored now, both are shown and nothing is signed.
- The evidence is written before the memory, within one transaction of the memory: of several people at once, one
  answers and the others are told so. If the process dies in between, whoever looks next remembers what was signed.
- A key that this installation does not trust signs nothing: the evidence would not verify any more.

>>> same_person("Ada  Lovelace", "ada lovelace"), same_person("ada@x", "eve@x")
(True, False)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node0lib.cycle import Given
from node0lib.errors import ConfigError, RefusedError
from node0lib.evidence.approval import Answer, Approval, Approved, SignedApproval, SignedBy, answers, sign_approval
from node0lib.evidence.dsse import PublicKey
from node0lib.evidence.names import key_name
from node0lib.evidence.statement import Artifact
from node0lib.ports import EvidenceStore, Policy
from node0lib.shell.changes import (
    OPEN,
    ChangeState,
    StoredChange,
    all_changes,
    approval_of,
    digest_of,
    require,
    settle_orphans,
    step,
    supersede,
)
from node0lib.shell.keys import SigningKey, load_or_create, read_key, trusted
from node0lib.shell.state import State, Step
from node0lib.timespan import format_instant

_BECOMES: Mapping[Answer, ChangeState] = {"approve": "approved", "reject": "rejected"}
_LONGEST = 200


@dataclass(frozen=True)
class Desk:
    """Where answers are given: the memory, the evidence, the keys that this installation trusts."""

    state: State
    store: EvidenceStore
    keys: Mapping[str, PublicKey]

    def answer(
        self,
        change: StoredChange,
        answer: Answer,
        key: SigningKey,
        *,
        by: str,
        at: datetime,
        live: Policy,
        note: str = "",
        signer: SignedBy = "installation",
        digest: str | None = None,
    ) -> SignedApproval:
        """Sign and remember a person's answer; ``digest`` is the candidate's, or its beginning, as the person saw it.

        Raises RefusedError if the change may not be answered so, EvidenceError if an earlier answer does not verify.
        """
        if key.keyid not in self.keys:
            raise RefusedError(f"the key {key.keyid[:12]} is not trusted here; see node0 change approve --help")
        change = self.caught_up(change, at)
        _check_digest(change, digest, answer)
        if answer == "approve":
            change = self._still_open(change, live, at)
            self._refuse_again(change)
            if change.content.origin.kind == "person" and same_person(change.content.origin.name, by):
                raise RefusedError(f"{by} proposed the change {change.id} and cannot approve it; ask somebody else")
        policies = change.before_sha256, change.after_sha256
        told = Approval(change.id, answer, by, at, change.content.change_class, *policies, note, signer)
        with self.state.stepping(change.id, Step(_BECOMES[answer], at, by, note)) as now:
            require(change.id, now, _BECOMES[answer])
            self.store.put(key_name(key.keyid), key.public_pem)
            return sign_approval(self.store, told, key)

    def answers(self, change: StoredChange) -> tuple[SignedApproval, ...]:
        """Return every verified answer to a change; raises EvidenceError if one does not verify."""
        return answers(self.store, self.keys, change.id)

    def caught_up(self, change: StoredChange, at: datetime) -> StoredChange:
        """Return the change as the evidence has it: an answer whose process died before it was remembered counts.

        A change that is remembered as approved, but whose approval is not in the evidence, waits for one again.
        """
        if change.state not in OPEN:
            return change
        no = next((s for s in self.answers(change) if s.approval.decision == "reject"), None)
        yes = approval_of(self.store, self.keys, change)
        if no is not None:
            return step(self.state, change, "rejected", at, no.approval.by, no.approval.note)
        if yes is not None and change.state != "approved":
            return step(self.state, change, "approved", at, yes.approval.by, yes.approval.note)
        if yes is None and change.state == "approved":
            return step(self.state, change, "waiting", at, "node0", "no approval of it is in the evidence")
        return change

    def _refuse_again(self, change: StoredChange) -> None:
        """Raise RefusedError that names who approved it, if somebody has."""
        if change.state == "approved":
            signed = approval_of(self.store, self.keys, change)
            told = f", by {signed.approval.by} at {format_instant(signed.approval.at)}" if signed else ""
            raise RefusedError(f"change {change.id} is approved already{told}")

    def _still_open(self, change: StoredChange, live: Policy, at: datetime) -> StoredChange:
        now = supersede(self.state, change, digest_of(live), at)
        if now.state == "superseded":
            why = self.state.steps(change.id)[-1].reason
            raise RefusedError(f"change {change.id} is superseded: {why}; propose it again against the live policy")
        return now


def next_approved(
    state: State, store: EvidenceStore, keys: Mapping[str, PublicKey], live: Policy, at: datetime
) -> Approved | None:
    """Return the approved change that is to be tried next, the oldest; None if there is none.

    What the evidence says and what the live policy makes of every open change is remembered on the way. Only the
    holder of the lock may ask. Raises EvidenceError if an approval does not verify.
    """
    desk, digest = Desk(state, store, keys), digest_of(live)
    settle_orphans(state, at, digest)
    for change in all_changes(state, OPEN):
        supersede(state, desk.caught_up(change, at), digest, at)
    for change in all_changes(state, ("approved",)):
        signed = approval_of(store, keys, change)
        if signed is not None and signed.approval.after == change.after:
            told = signed.approval
            return Approved(change.id, change.content.after, told.change_class, told.by, told.at, signed.evidence)
    return None


def approvals_used(given: Given | None) -> tuple[Artifact, ...]:
    """Return the signed approval that a cycle was given, as a material of it."""
    return (given.approved.evidence,) if given is not None and given.approved is not None else ()


def signing_key(folder: Path, own: Path | None) -> SigningKey:
    """Return the key that signs an answer: a person's ``own``, or that of the installation, keys in ``folder``.

    Raises RefusedError if this installation does not trust the person's key, and says how to change that.
    """
    if own is None:
        return load_or_create(folder)
    key = read_key(own)
    if key.keyid not in trusted(folder):
        place = folder / f"{key.keyid}.pub.pem"
        how = f"whoever answers for this installation runs: openssl pkey -in {own} -pubout -out {place}"
        raise RefusedError(f"{own}: this installation does not trust the key {key.keyid[:12]}; {how}")
    return key


def named(text: str, option: str) -> str:
    """Return a person's name or address as it is recorded; raises ConfigError if it is none."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise ConfigError(f"{option}: {text[:40]!r} is no name; write a name or a mail address in one line")
    return name


def same_person(one: str, other: str) -> bool:
    """Whether two names are the same, whatever their case and spaces."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _check_digest(change: StoredChange, digest: str | None, answer: Answer) -> None:
    """The candidate as it is stored must be the one that was registered (to approve it) and the one that was named."""
    if answer == "approve":
        change.check()
    if digest is not None and not change.after_sha256.startswith(digest.lower()):
        told = f"--digest is {digest}, but the candidate of change {change.id} has the SHA-256 {change.after_sha256}"
        raise RefusedError(f"{told}; look at it again: node0 change show {change.id}")
