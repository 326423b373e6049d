"""PoI, the proof of impact: what one cycle saw, decided and did, as one signed statement.

Predicate type ``urn:node0:poi:v1``; this module is its specification.

Rules
- The subjects are what the cycle made: the executed notebook and its result. A cycle that made neither (genesis,
  interrupted) speaks about the policy it left behind.
- ``policy_before`` and ``policy_after`` are whole, so that ``after`` can be restored from here; ``before`` is null
  only at genesis.
- ``previous`` links the records: the SHA-256 of the previous provenance envelope, null at genesis. Since that
  provenance names its PoI, one link fixes the whole past. ``previous.abandoned`` names what interrupted cycles
  left unsealed, so that a leftover is accounted for and a gap is seen.
- ``clock`` and ``source.simulated`` are never left out: nobody can take a rehearsal for the real thing.
- What the caller gives as JSON (budgets, gates, ...) is kept as it will be read back: infinity as text,
  tuples as lists.

>>> from datetime import UTC, datetime
>>> at = datetime(2026, 11, 24, 12, tzinfo=UTC)
>>> first = PoI("c1", at, "genesis", Source("embedded", True), "simulated", {"ttl_s": 30})
>>> PoI.from_statement(first.to_statement(), "c1.dsse.json") == first
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal, cast

from node0lib.errors import EvidenceError
from node0lib.evidence.canonical import POLICY_NAME, Json, plain, policy_bytes
from node0lib.evidence.statement import Artifact, Fields, Statement, located
from node0lib.ports import Policy
from node0lib.timespan import ensure_utc, format_instant

PREDICATE_TYPE = "urn:node0:poi:v1"
Clock = Literal["real", "simulated"]
_FREE = ("budgets", "gates", "ihsan", "proposal", "rollout")


@dataclass(frozen=True)
class Source:
    """Where the telemetry came from, and whether it was simulated."""

    name: str
    simulated: bool


@dataclass(frozen=True)
class Previous:
    """What came before: a provenance envelope's SHA-256, the reports on it, leftovers of interrupted cycles.

    ``abandoned`` artifacts carry store names such as ``poi-attestations/<cycle>.dsse.json``.
    """

    provenance: str | None = None
    reports: tuple[Artifact, ...] = ()
    abandoned: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class PoI:
    """One cycle. ``at`` is its UTC instant; ``status`` a word such as applied, no_change, blocked or genesis.

    ``policy_before`` is None at genesis only. ``budgets`` ... ``incidents`` are any values that
    ``canonical.encode`` knows. Raises EvidenceError if one of them has no canonical form or a policy is not one,
    DataError if ``at`` is naive.
    """

    cycle: str
    at: datetime
    status: str
    source: Source
    clock: Clock
    policy_after: Policy
    policy_before: Policy | None = None
    reasons: tuple[str, ...] = ()
    mode: str = "recommend"
    forced: bool = False
    subjects: tuple[Artifact, ...] = ()
    inputs: tuple[Artifact, ...] = ()
    budgets: object = None
    gates: object = None
    ihsan: object = None
    proposal: object = None
    rollout: object = None
    incidents: tuple[object, ...] = ()
    previous: Previous = field(default_factory=Previous)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", ensure_utc(self.at))
        for name in _FREE:
            object.__setattr__(self, name, plain(getattr(self, name)))
        object.__setattr__(self, "incidents", tuple(plain(incident) for incident in self.incidents))
        for policy in (self.policy_before, self.policy_after):
            policy_bytes(policy or {})  # raises unless every knob is text or a finite number

    @cached_property
    def policy_artifact(self) -> Artifact:
        """The live policy file as this cycle left it."""
        return Artifact.of(POLICY_NAME, policy_bytes(self.policy_after))

    def to_statement(self) -> Statement:
        """Return the statement to be sealed."""
        before = None if self.policy_before is None else plain(self.policy_before)
        predicate: dict[str, Json] = {
            "cycle": self.cycle,
            "at": format_instant(self.at),
            "status": self.status,
            "reasons": list(self.reasons),
            "mode": self.mode,
            "source": {"name": self.source.name, "simulated": self.source.simulated},
            "clock": self.clock,
            "forced": self.forced,
            "inputs": _listed(self.inputs),
            "policy_before": before,
            "policy_after": plain(self.policy_after),
            "incidents": plain(self.incidents),
            "previous": {
                "provenance": self.previous.provenance,
                "reports": _listed(self.previous.reports),
                "abandoned": _listed(self.previous.abandoned),
            },
        }
        predicate |= {name: plain(getattr(self, name)) for name in _FREE}
        return Statement(self.subjects or (self.policy_artifact,), PREDICATE_TYPE, predicate)

    @classmethod
    def from_statement(cls, statement: Statement, where: str) -> PoI:
        """Return the PoI in ``statement``; raises EvidenceError, naming the field, if it is not one."""
        given = statement.fields(PREDICATE_TYPE, where)
        source, before = given.inner("source"), given.get("policy_before")
        with located(where):
            poi = cls(
                cycle=given.text("cycle"),
                at=given.instant("at"),
                status=given.text("status"),
                source=Source(source.text("name"), source.flag("simulated")),
                clock=_clock(given),
                policy_after=_policy(given, "policy_after"),
                policy_before=None if before is None else _policy(given, "policy_before"),
                reasons=given.texts("reasons"),
                mode=given.text("mode"),
                forced=given.flag("forced"),
                subjects=tuple(a for a in statement.subject if a.name != POLICY_NAME),
                inputs=given.artifacts("inputs"),
                incidents=tuple(given.items("incidents")),
                previous=_previous(given.inner("previous")),
                **{name: given.get(name) for name in _FREE},
            )
        if statement.subject != (poi.subjects or (poi.policy_artifact,)):
            raise EvidenceError(f"{where}: its subject is not the policy that it says it left behind")
        return poi


def _listed(artifacts: tuple[Artifact, ...]) -> list[Json]:
    return [artifact.to_json() for artifact in artifacts]


def _clock(given: Fields) -> Clock:
    if (clock := given.text("clock")) not in ("real", "simulated"):
        raise EvidenceError(f"{given.where}.clock is {clock!r}, neither real nor simulated")
    return cast("Clock", clock)


def _policy(given: Fields, key: str) -> Policy:
    values: Mapping[str, Json] = given.inner(key).values
    for name, knob in values.items():
        if not isinstance(knob, int | float | str):
            raise EvidenceError(f"{given.where}.{key}.{name} is neither a number nor text")
    return cast("Policy", values)


def _previous(given: Fields) -> Previous:
    provenance = None if given.get("provenance") is None else given.text("provenance")
    return Previous(provenance, given.artifacts("reports"), given.artifacts("abandoned"))
