"""Seal what a cycle did: attest (PoI), publish the policy, prove (SLSA provenance), in this order.

The runner holds the key and computes every digest itself. Whatever interrupts the order is found and accounted
for: a PoI without its provenance is a leftover that the next PoI lists as abandoned, and the live policy that no
provenance names is replaced by the last sealed one.

Source: SLSA 1.2 Build Provenance, in-toto Statement v1, DSSE v1, CycloneDX 1.6.

>>> Sealer.__name__
'Sealer'
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version

from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.evidence.dsse import IN_TOTO, Signer, seal
from node0lib.evidence.poi import PoI, Previous
from node0lib.evidence.provenance import Provenance
from node0lib.evidence.sbom import build
from node0lib.evidence.statement import Artifact, Statement
from node0lib.evidence.verify import Record, key_name, leftovers, poi_name, provenance_name, sbom_name
from node0lib.ports import EvidenceStore, Policy
from node0lib.shell.environment import installed
from node0lib.shell.keys import SigningKey
from node0lib.timespan import parse_instant


@dataclass(frozen=True)
class Sealed:
    """Where a cycle's evidence lies in the store, with the SHA-256 of each file."""

    poi: Artifact
    provenance: Artifact
    sbom: Artifact

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return self.poi, self.provenance, self.sbom


class Sealer:
    """Adds records to one chain; ``chain`` is what was sealed before, oldest first."""

    def __init__(self, store: EvidenceStore, key: SigningKey, chain: Sequence[Record]) -> None:
        self._store, self._key, self._chain = store, key, tuple(chain)
        store.put(key_name(key.keyid), key.public_pem)

    @property
    def chain(self) -> tuple[Record, ...]:
        """Every sealed record, oldest first."""
        return self._chain

    @property
    def policy(self) -> Policy | None:
        """The last sealed policy; None before genesis."""
        return self._chain[-1].poi.policy_after if self._chain else None

    def attest(self, poi: PoI, reports: Sequence[Artifact] = ()) -> tuple[PoI, Artifact]:
        """Write the PoI, linked to the newest provenance, its reports, and the leftovers of interrupted cycles."""
        newest = self._chain[-1].digest if self._chain else None
        left = leftovers(self._store, self._chain)
        abandoned = tuple(Artifact(name, sha256(self._store.get(name))) for name in left)
        linked = replace(poi, previous=Previous(newest, tuple(reports), abandoned))
        return linked, self._put("poi", poi_name(poi.cycle), linked.to_statement())

    def prove(
        self,
        poi: PoI,
        attested: Artifact,
        *,
        config: str,
        started: datetime,
        finished: datetime,
        materials: Sequence[Artifact] = (),
        byproducts: Sequence[Artifact] = (),
        internal: Mapping[str, object] | None = None,
    ) -> Sealed:
        """Write the SBOM, if it changed, and the provenance whose subject is the policy that the PoI left."""
        bill = self._bill(poi)
        provenance = Provenance(
            cycle=poi.cycle,
            policy_sha256=sha256(policy_bytes(poi.policy_after)),
            config=config,
            at=poi.at,
            mode=poi.mode,
            node0_version=version("node0"),
            started=started,
            finished=finished,
            dependencies=(attested, bill, *materials),
            byproducts=tuple(byproducts),
            internal=internal or {},
        )
        proven = self._put("provenance", provenance_name(poi.cycle), provenance.to_statement())
        self._chain = (*self._chain, Record(poi, provenance, proven.sha256))
        return Sealed(attested, proven, bill)

    def _bill(self, poi: PoI) -> Artifact:
        """The newest sealed SBOM if it still describes this environment, else a new one."""
        if self._chain and (newest := self._chain[-1].provenance.sbom).uri is not None:
            content = self._store.get(newest.uri)
            if _sbom(parse_instant(json.loads(content)["metadata"]["timestamp"])) == content:
                return newest
        content = _sbom(poi.at)
        self._store.put(sbom_name(poi.cycle), content)
        return Artifact("sbom", sha256(content), uri=sbom_name(poi.cycle))

    def _put(self, kind: str, name: str, statement: Statement) -> Artifact:
        signer: Signer = self._key
        envelope = seal(statement.to_bytes(), IN_TOTO, signer)
        self._store.put(name, envelope)
        return Artifact(kind, sha256(envelope), uri=name)


def _sbom(at: datetime) -> bytes:
    components = installed()
    root = next(c for c in components if c.name == "node0")
    return build([c for c in components if c is not root], root, at=at)
