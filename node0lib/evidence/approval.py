"""Approvals: who said yes or no to which change, as signed statements that cannot be used for another one.

Predicate type ``urn:node0:approval:v1``; this module is its specification.

Rules
- The only subject is the candidate policy with its SHA-256: an approval is valid for these bytes and no others, for
  the change that it names, and for as long as the policy that the change starts from (``before``) is the live one.
- One yes and one no a change, each once: ``approvals/<change>.approve.dsse.json`` and ``<change>.reject.dsse.json``.
  A no is final: with one in the store no yes counts, whenever it was given.
- A yes covers the class of change that the approver was shown (``class``), or a lower one, never a higher one.
- ``signer`` says whose key wrote the record. The installation's key vouches for the record only: that ``by`` is the
  person is then as good as the machine's own log-in. A person's own key vouches for the person.
- Files are read to the byte: what a reader would write differently is not an approval.

>>> from datetime import UTC, datetime
>>> yes = Approval("4f0c", "approve", "Ada", datetime(2026, 11, 24, 12, tzinfo=UTC), "H", "0" * 64, "1" * 64)
>>> Approval.from_statement(yes.to_statement(), "x") == yes, yes.name
(True, 'approvals/4f0c.approve.dsse.json')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from node0lib.errors import EvidenceError
from node0lib.evidence.canonical import POLICY_NAME, Json, decode, policy_bytes, sha256
from node0lib.evidence.dsse import IN_TOTO, PublicKey, Signer, seal, unseal
from node0lib.evidence.names import APPROVALS, approval_name
from node0lib.evidence.statement import Artifact, Fields, Statement, located
from node0lib.ports import EvidenceStore, Policy
from node0lib.timespan import ensure_utc, format_instant

PREDICATE_TYPE = "urn:node0:approval:v1"
CLASSES = ("L", "M", "H")
"""The classes of change, from low to high."""

Answer = Literal["approve", "reject"]
SignedBy = Literal["installation", "person"]
_FIELDS = ("change", "decision", "by", "at", "class", "before", "note", "signer")


@dataclass(frozen=True)
class Approval:
    """One person's answer to one change: ``after`` and ``before`` are the SHA-256 of the two policy files.

    ``by`` is a name or a mail address, ``change_class`` the class that the person was shown, ``note`` may be empty.
    Raises EvidenceError if a digest is none or ``change`` cannot be part of a name, DataError if ``at`` is naive.
    """

    change: str
    decision: Answer
    by: str
    at: datetime
    change_class: str
    before: str
    after: str
    note: str = ""
    signer: SignedBy = "installation"

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", ensure_utc(self.at))
        Artifact("before", self.before), Artifact("after", self.after), approval_name(self.change, self.decision)

    @property
    def name(self) -> str:
        """Its name in the evidence store."""
        return approval_name(self.change, self.decision)

    def to_statement(self) -> Statement:
        """Return the statement to be sealed."""
        predicate: dict[str, Json] = {
            "change": self.change,
            "decision": self.decision,
            "by": self.by,
            "at": format_instant(self.at),
            "class": self.change_class,
            "before": {"sha256": self.before},
            "note": self.note,
            "signer": self.signer,
        }
        return Statement((Artifact(POLICY_NAME, self.after),), PREDICATE_TYPE, predicate)

    @classmethod
    def from_statement(cls, statement: Statement, where: str) -> Approval:
        """Return the approval in ``statement``; raises EvidenceError, naming the field, if it is not one."""
        given = statement.fields(PREDICATE_TYPE, where)
        given.only(_FIELDS)
        if [artifact.name for artifact in statement.subject] != [POLICY_NAME]:
            raise EvidenceError(f"{where}: its only subject must be {POLICY_NAME}")
        note = given.get("note")
        with located(where):
            return cls(
                change=given.text("change"),
                decision=cast("Answer", _one_of(given, "decision", ("approve", "reject"))),
                by=given.text("by"),
                at=given.instant("at"),
                change_class=_one_of(given, "class", CLASSES),
                before=given.inner("before").text("sha256"),
                after=statement.subject[0].sha256,
                note=note if isinstance(note, str) else given.text("note"),
                signer=cast("SignedBy", _one_of(given, "signer", ("installation", "person"))),
            )


@dataclass(frozen=True)
class SignedApproval:
    """An approval that verified: the id of the key that signed it, and the envelope in the evidence store."""

    approval: Approval
    keyid: str
    evidence: Artifact


@dataclass(frozen=True)
class Approved:
    """A change that may be tried because somebody approved it: what a cycle is given of it.

    ``policy`` is the candidate, ``change_class`` the class that was approved, ``evidence`` the signed approval.
    """

    change: str
    policy: Policy
    change_class: str
    by: str
    at: datetime
    evidence: Artifact

    def covers(self, policy: Policy, change_class: str) -> bool:
        """Whether the approval is for this very policy, and for a change of that class or a higher one."""
        same = sha256(policy_bytes(policy)) == sha256(policy_bytes(self.policy))
        return same and CLASSES.index(change_class) <= CLASSES.index(self.change_class)

    def __str__(self) -> str:
        return f"change {self.change} was approved by {self.by} at {format_instant(self.at)}"


def sign_approval(store: EvidenceStore, approval: Approval, signer: Signer) -> SignedApproval:
    """Seal the approval and put it into the store; raises EvidenceError if that answer was given already."""
    envelope = seal(approval.to_statement().to_bytes(), IN_TOTO, signer)
    store.put(approval.name, envelope)
    return SignedApproval(approval, signer.keyid, _artifact(approval.name, envelope))


def read_approval(store: EvidenceStore, keys: Mapping[str, PublicKey], name: str) -> SignedApproval:
    """Return the approval under ``name``, once its signature, name and bytes hold; raises EvidenceError."""
    envelope = store.get(name)
    payload = unseal(envelope, keys, where=name, exact=True)
    found = Approval.from_statement(Statement.from_bytes(payload, name), name)
    if name != found.name:
        what = f"is the answer {found.decision!r} to the change {found.change}"
        raise EvidenceError(f"{name}: {what}; give it back its name")
    if payload != found.to_statement().to_bytes():
        raise EvidenceError(f"{name}: is not written as node0 writes it; do not trust whoever signed it")
    # ``exact`` has compared the hint with the key that verified.
    signed = Fields.of(decode(envelope, name), name).items("signatures")
    return SignedApproval(found, Fields.of(signed[0], name).text("keyid"), _artifact(name, envelope))


def answers(store: EvidenceStore, keys: Mapping[str, PublicKey], change: str) -> tuple[SignedApproval, ...]:
    """Return every signed answer to a change, the yes first; raises EvidenceError if one does not verify."""
    wanted = [approval_name(change, answer) for answer in ("approve", "reject")]
    there = set(store.names(APPROVALS))
    return tuple(read_approval(store, keys, name) for name in wanted if name in there)


def valid_approval(
    store: EvidenceStore, keys: Mapping[str, PublicKey], change: str, *, before: str, after: str
) -> SignedApproval | None:
    """Return the yes to a change between policies of those SHA-256; None without one, or with a no beside it.

    Raises EvidenceError if an answer to that change does not verify.
    """
    given = answers(store, keys, change)
    if any(signed.approval.decision == "reject" for signed in given):
        return None
    fits = (s for s in given if (s.approval.before, s.approval.after) == (before, after))
    return next(fits, None)


def approval_problems(
    store: EvidenceStore, keys: Mapping[str, PublicKey], named: Iterable[tuple[str, Artifact]]
) -> list[str]:
    """Return what is wrong with the approvals of a store; ``named`` are (PoI, its input) pairs of the whole chain."""
    found, digests = [], {}
    for name in store.names(APPROVALS):
        try:
            digests[name] = read_approval(store, keys, name).evidence.sha256
        except EvidenceError as error:
            digests[name] = ""
            found.append(str(error))
    for poi, artifact in named:
        if artifact.name.startswith(f"{APPROVALS}/") and digests.get(artifact.name) not in (artifact.sha256, ""):
            what = f"is missing or is not the approval that {poi} was made with"
            found.append(f"{artifact.name}: {what}; restore it from a backup")
    return found


def _artifact(name: str, envelope: bytes) -> Artifact:
    return Artifact(name, sha256(envelope), uri=name)


def _one_of(given: Fields, key: str, known: tuple[str, ...]) -> str:
    if (text := given.text(key)) not in known:
        raise EvidenceError(f"{given.where}.{key} is {text!r}, none of {', '.join(known)}")
    return text
