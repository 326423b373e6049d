"""The layout of the evidence store: one name for each thing a cycle leaves, the same on every system.

Names use forward slashes; their parts begin with a letter or digit and go on with letters, digits and ``._-``,
so that none can leave the store, hide in it, or mean something else on Windows.

>>> poi_name("2026-11-24T12-00")
'poi-attestations/2026-11-24T12-00.dsse.json'
>>> checked("sbom/../../etc/passwd")  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
node0lib.errors.EvidenceError: 'sbom/../../etc/passwd' is not a name for the evidence store; use ... first
"""

from __future__ import annotations

import re

from node0lib.errors import EvidenceError

POIS, PROVENANCES, SBOMS, KEYS = "poi-attestations", "slsa-provenance", "sbom", "keys"
APPROVALS = "approvals"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)


def poi_name(cycle: str) -> str:
    """Return the name of a cycle's PoI envelope."""
    return checked(f"{POIS}/{cycle}.dsse.json")


def provenance_name(cycle: str) -> str:
    """Return the name of a cycle's provenance envelope."""
    return checked(f"{PROVENANCES}/{cycle}.dsse.json")


def sbom_name(cycle: str) -> str:
    """Return the name of a cycle's SBOM."""
    return checked(f"{SBOMS}/{cycle}.cdx.json")


def approval_name(change: str, answer: str) -> str:
    """Return the name of an answer ("approve" or "reject") to a change."""
    return checked(f"{APPROVALS}/{change}.{answer}.dsse.json")


def key_name(keyid: str) -> str:
    """Return the name of a public key."""
    return checked(f"{KEYS}/{keyid}.pub.pem")


def checked(name: str) -> str:
    """Return ``name``; raises EvidenceError if it could lead out of the store."""
    if not _NAME.fullmatch(name):
        rule = "use letters, digits and ._- between forward slashes, a letter or digit first"
        raise EvidenceError(f"{name!r} is not a name for the evidence store; {rule}")
    return name
