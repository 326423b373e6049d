"""Why should anybody believe it? Every file in the evidence store is checked against every other.

Verification raises one EvidenceError that lists all problems, each with where, what and what to do. The steps:

1. Keys: every file in ``keys/`` is the public key that its name says, to the byte.
2. PoI: every envelope verifies with a trusted key, to the byte, and is named by its cycle.
3. Provenance: likewise.
4. Links: a provenance's PoI lies in the store with that digest and is of the same cycle, time and mode; the
   provenance's subject is the policy that the PoI left behind.
5. SBOM: a provenance's SBOM lies in the store with that digest.
6. Chain: exactly one genesis; every other record names the provenance before it. No forks, no gaps. The order is
   that of the links, never that of the file names.
7. Policies: each record starts from the policy that the one before it left behind.
8. Leftovers: a PoI or SBOM that no provenance names is what an interrupted cycle left. A later PoI accounts for
   it (``previous.abandoned``), or it is the newest: at most one cycle, which followed the newest provenance.
   A runner therefore writes the PoI first, then the SBOM, then the provenance.
   Everything else in the folders is a stray and an error.
9. Approvals: every envelope verifies with a trusted key, to the byte, and is named by its change and its answer;
   one that a PoI names among its inputs lies in the store with that digest.
10. Live policy: its bytes are the subject of the newest provenance (asked only of a whole chain: a broken one
   does not say which is the newest).
11. Anchor: a provenance digest remembered elsewhere is in the chain. Without one, nobody can tell a chain whose
    newest records were cut off from one that never had them.

Trust comes from ``keys``, not from the store: whoever can write the store can put a key there. The work grows
linearly with the number of records.

>>> class Empty:
...     def put(self, name, content): raise NotImplementedError
...     def get(self, name): raise NotImplementedError
...     def names(self, folder): return []
>>> chain_of(Empty(), {})
()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from node0lib.errors import EvidenceError
from node0lib.evidence.approval import approval_problems
from node0lib.evidence.canonical import POLICY_NAME, policy_bytes, sha256
from node0lib.evidence.dsse import PublicKey, public_keys, published_key, unseal
from node0lib.evidence.names import KEYS, POIS, PROVENANCES, SBOMS, key_name, poi_name, provenance_name, sbom_name
from node0lib.evidence.poi import PoI
from node0lib.evidence.provenance import Provenance
from node0lib.evidence.statement import Statement
from node0lib.ports import EvidenceStore, Policy

__all__ = [
    "ChainReport",
    "Record",
    "chain_of",
    "key_name",
    "leftovers",
    "poi_name",
    "provenance_name",
    "public_keys",
    "sbom_name",
    "verify_chain",
]

_RESTORE = "restore it from a backup"
T = TypeVar("T", PoI, Provenance)


@dataclass(frozen=True)
class Record:
    """One sealed cycle; ``digest`` is the SHA-256 of its provenance envelope."""

    poi: PoI
    provenance: Provenance
    digest: str


@dataclass(frozen=True)
class ChainReport:
    """A good chain: its length, its newest record, and the cycle that was interrupted after it, if any."""

    records: int
    newest_cycle: str
    newest_policy: Policy
    policy_sha256: str
    newest_provenance: str
    unsealed: str | None


@dataclass(frozen=True)
class _Sealed:
    """A verified envelope of the store."""

    digest: str
    poi: PoI


@dataclass
class _Audit:
    """What has been found so far, good and bad."""

    pois: dict[str, _Sealed] = field(default_factory=dict)
    provenances: dict[str, tuple[str, Provenance]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    linked: list[Record] = field(default_factory=list)
    chain: tuple[Record, ...] = ()
    unsealed: str | None = None
    problems: list[str] = field(default_factory=list)

    def report(self, where: str, what: str, remedy: str = _RESTORE) -> None:
        self.problems.append(f"{where}: {what}; {remedy}")

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Turn an EvidenceError into one more problem."""
        try:
            yield
        except EvidenceError as error:
            self.problems.append(str(error))

    @property
    def whole(self) -> bool:
        """Whether the chain holds every provenance of the store, so that its end is the newest there is."""
        bad = any(name.startswith(f"{PROVENANCES}/") for name in self.broken)
        return len(self.chain) == len(self.provenances) and not bad

    def raise_problems(self) -> None:
        if self.problems:
            count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
            lines = "\n".join(f"  {i}. {problem}" for i, problem in enumerate(self.problems, 1))
            raise EvidenceError(f"the evidence does not verify, {count}:\n{lines}")


def verify_chain(
    store: EvidenceStore,
    keys: Mapping[str, PublicKey],
    *,
    live_policy: bytes | None,
    anchor: str | None = None,
) -> ChainReport:
    """Return what the newest record says, once all eleven steps passed; raises EvidenceError with every problem.

    ``keys`` are those that the reader trusts (key id -> key); ``live_policy`` the bytes of the live policy file,
    None if there is none; ``anchor`` a provenance digest that the reader remembers, if any.
    """
    audit = _audit(store, keys)
    if not audit.chain and not audit.problems:
        audit.report("evidence", "nothing has been sealed", "run a cycle first")
    if audit.chain and audit.whole:
        _check_live(audit, live_policy)
    if anchor is not None and anchor not in {record.digest for record in audit.chain}:
        audit.report("evidence", f"the provenance {anchor[:12]}... seen earlier is not in the chain")
    audit.raise_problems()
    newest = audit.chain[-1]
    return ChainReport(
        len(audit.chain),
        newest.poi.cycle,
        newest.poi.policy_after,
        newest.provenance.policy_sha256,
        newest.digest,
        audit.unsealed,
    )


def chain_of(store: EvidenceStore, keys: Mapping[str, PublicKey]) -> tuple[Record, ...]:
    """Return the sealed records in order, () before genesis; raises EvidenceError unless steps 1-9 pass.

    The live policy is not looked at: this is how a runner finds the policy to restore when it differs.
    """
    audit = _audit(store, keys)
    audit.raise_problems()
    return audit.chain


def leftovers(store: EvidenceStore, chain: tuple[Record, ...]) -> tuple[str, ...]:
    """Return the names of PoIs and SBOMs that no record of ``chain`` names or accounts for.

    The next PoI lists them, with their digests, as ``previous.abandoned``.
    """
    known = {name for record in chain for name in _named(record)}
    return tuple(name for folder in (POIS, SBOMS) for name in store.names(folder) if name not in known)


def _audit(store: EvidenceStore, keys: Mapping[str, PublicKey]) -> _Audit:
    """Steps 1 to 9, in order, on all that is in the store."""
    audit = _Audit()
    for name in store.names(KEYS):  # 1
        with audit.collecting():
            published_key(store, name)
    for name, digest, poi in _opened(store, keys, audit, POIS, PoI.from_statement):  # 2
        audit.pois[name] = _Sealed(digest, poi)
    for name, digest, provenance in _opened(store, keys, audit, PROVENANCES, Provenance.from_statement):  # 3
        audit.provenances[name] = (digest, provenance)
    sboms: dict[str, str] = {}
    for name in store.names(SBOMS):
        with audit.collecting():
            sboms[name] = sha256(store.get(name))
    for name, (digest, provenance) in audit.provenances.items():
        _check_poi(audit, name, digest, provenance)  # 4
        _check_sbom(audit, name, provenance, sboms)  # 5
    _follow(audit)  # 6
    _check_policies(audit)  # 7
    _check_leftovers(audit, sboms)  # 8
    used = ((name, artifact) for name, sealed in audit.pois.items() for artifact in sealed.poi.inputs)
    audit.problems += approval_problems(store, keys, used)  # 9
    return audit


def _opened(
    store: EvidenceStore,
    keys: Mapping[str, PublicKey],
    audit: _Audit,
    folder: str,
    parse: Callable[[Statement, str], T],
) -> Iterator[tuple[str, str, T]]:
    """Steps 2 and 3: yield (name, digest, content) of every good envelope; the others become problems."""
    for name in store.names(folder):
        try:
            envelope = store.get(name)
            payload = unseal(envelope, keys, where=name, exact=True)
            content = parse(Statement.from_bytes(payload, name), name)
            if name != f"{folder}/{content.cycle}.dsse.json":
                raise EvidenceError(f"{name}: holds the cycle {content.cycle!r}; give it back its name")
        except EvidenceError as error:
            audit.broken.add(name)
            audit.problems.append(str(error))
        else:
            yield name, sha256(envelope), content


def _check_poi(audit: _Audit, name: str, digest: str, provenance: Provenance) -> None:
    """Step 4; a pair that holds becomes a record."""
    where = str(provenance.poi.uri)
    found = audit.pois.get(where)
    if found is None:
        if where not in audit.broken:
            audit.report(where, f"the PoI that {name} was made from is missing")
        return
    poi = found.poi
    if found.digest != provenance.poi.sha256:
        audit.report(where, f"is not the PoI that {name} was made from (its SHA-256 differs)")
    elif (poi.cycle, poi.at, poi.mode) != (provenance.cycle, provenance.at, provenance.mode):
        audit.report(name, f"is of another cycle, time or mode than {where}", "do not trust this runner")
    elif poi.policy_artifact.sha256 != provenance.policy_sha256:
        audit.report(name, f"its subject is not the policy that {where} left", "do not trust this runner")
    else:
        audit.linked.append(Record(poi, provenance, digest))


def _check_sbom(audit: _Audit, name: str, provenance: Provenance, sboms: Mapping[str, str]) -> None:
    """Step 5."""
    where = str(provenance.sbom.uri)
    if where not in sboms:
        audit.report(where, f"the SBOM that {name} names is missing")
    elif sboms[where] != provenance.sbom.sha256:
        audit.report(where, f"is not the SBOM that {name} names (its SHA-256 differs)")


def _follow(audit: _Audit) -> None:
    """Step 6: walk from genesis along the links; what is not reached has lost its predecessor."""
    after: dict[str | None, list[Record]] = {}
    for record in audit.linked:
        after.setdefault(record.poi.previous.provenance, []).append(record)
    chain: list[Record] = []
    last: str | None = None
    while following := after.pop(last, []):
        if len(following) > 1:
            cycles = ", ".join(record.poi.cycle for record in following)
            what = "more than one genesis" if last is None else f"a fork after {chain[-1].poi.cycle}"
            audit.report(PROVENANCES, f"{what}: {cycles}", "keep the true one, restore from a backup")
            return
        chain.append(following[0])
        last = chain[-1].digest
    audit.chain = tuple(chain)
    if not chain and audit.provenances:
        audit.report(PROVENANCES, "no record is a genesis that holds", "restore it from a backup")
    for missing, orphans in after.items():
        for record in orphans:
            what = f"a gap: the provenance before it ({str(missing)[:12]}...) is missing or was changed"
            audit.report(provenance_name(record.poi.cycle), what, "restore that one from a backup")


def _check_policies(audit: _Audit) -> None:
    """Step 7."""
    left: str | None = None
    for record in audit.chain:
        before = record.poi.policy_before
        if (None if before is None else sha256(policy_bytes(before))) != left:
            what = "did not start from the policy that the record before it left"
            audit.report(poi_name(record.poi.cycle), what, "do not trust this runner")
        left = record.poi.policy_artifact.sha256


def _named(record: Record) -> tuple[str, ...]:
    """All names in the store that a record stands for or accounts for."""
    abandoned = (artifact.name for artifact in record.poi.previous.abandoned)
    return str(record.provenance.poi.uri), str(record.provenance.sbom.uri), *abandoned


def _check_leftovers(audit: _Audit, sboms: Mapping[str, str]) -> None:
    """Step 8."""
    digests = dict(sboms) | {name: sealed.digest for name, sealed in audit.pois.items()}
    known = _accounted(audit, digests)
    for _, provenance in audit.provenances.values():
        known |= {str(provenance.poi.uri), str(provenance.sbom.uri)}
    left = [name for name in digests if name not in known]
    unsealed = [audit.pois[name].poi for name in left if name in audit.pois]
    if len(unsealed) == 1:
        _check_newest(audit, unsealed[0])
        left = [name for name in left if name not in (poi_name(unsealed[0].cycle), sbom_name(unsealed[0].cycle))]
    for name in left:
        audit.report(name, "no provenance names it and no later PoI accounts for it", "find out who put it there")


def _accounted(audit: _Audit, digests: Mapping[str, str]) -> set[str]:
    """Names that PoIs list as abandoned; each must be as listed and have followed the same provenance."""
    accounted: set[str] = set()
    for name, sealed in audit.pois.items():
        for artifact in sealed.poi.previous.abandoned:
            accounted.add(artifact.name)
            left = audit.pois.get(artifact.name)
            if artifact.name not in audit.broken and digests.get(artifact.name) != artifact.sha256:
                audit.report(artifact.name, f"is missing or is not the leftover that {name} lists")
            elif left and left.poi.previous.provenance != sealed.poi.previous.provenance:
                audit.report(artifact.name, f"is listed by {name} but did not follow the same provenance")
    return accounted


def _check_newest(audit: _Audit, poi: PoI) -> None:
    """The one unsealed cycle must have come after the newest provenance."""
    audit.unsealed = poi.cycle
    if poi.previous.provenance != (audit.chain[-1].digest if audit.chain else None):
        what = "is unsealed, yet it did not follow the newest provenance: a provenance is missing"
        audit.report(poi_name(poi.cycle), what, "restore its provenance from a backup")


def _check_live(audit: _Audit, live_policy: bytes | None) -> None:
    """Step 10."""
    newest = audit.chain[-1].provenance
    if live_policy is None or sha256(live_policy) != newest.policy_sha256:
        what = "is missing" if live_policy is None else f"is not the one that the cycle {newest.cycle} sealed"
        remedy = "the next cycle restores the sealed one; to change the policy, change it through a cycle"
        audit.report(POLICY_NAME, f"{what} (edited by hand, or a cycle was interrupted)", remedy)
