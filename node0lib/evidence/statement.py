"""In-toto Statement v1: what an attestation speaks about, and in which words.

Source: github.com/in-toto/attestation, spec/v1/statement.md and resource_descriptor.md.

Rules
- A statement has at least one subject; every artifact carries a SHA-256, and no two subjects share a name.
- Fields that are asked for must be there and of their type; as the specification demands, others are ignored.
- Every EvidenceError names the place, for example ``x.dsse.json: predicate.at``.

>>> policy = Artifact("policy.json", "0" * 64)
>>> Statement.from_bytes(Statement((policy,), "urn:node0:example", {"n": 1}).to_bytes(), "x").predicate
{'n': 1}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from node0lib.errors import DataError, EvidenceError
from node0lib.evidence.canonical import Json, decode, encode, sha256
from node0lib.timespan import parse_instant

TYPE = "https://in-toto.io/Statement/v1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put ``where`` in front of an EvidenceError that does not begin with it."""
    try:
        yield
    except EvidenceError as error:
        message = str(error)
        raise EvidenceError(message if message.startswith(where) else f"{where}: {message}") from error


@dataclass(frozen=True)
class Artifact:
    """Bytes with a name: in-toto's ResourceDescriptor. ``uri`` says where they lie, if not under ``name``.

    Raises EvidenceError if the name is empty or the digest is not 64 lower-case hexadecimal digits.
    """

    name: str
    sha256: str
    uri: str | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise EvidenceError("an artifact needs a name")
        if not _SHA256.fullmatch(self.sha256):
            raise EvidenceError(f"artifact {self.name}: {self.sha256!r} is not a SHA-256 in hexadecimal")

    @classmethod
    def of(
        cls, name: str, content: bytes, *, uri: str | None = None, media_type: str | None = None
    ) -> Artifact:
        """Return the artifact of these bytes."""
        return cls(name, sha256(content), uri, media_type)

    def to_json(self) -> dict[str, Json]:
        """Return the ResourceDescriptor; what is not known is left out."""
        found: dict[str, Json] = {"name": self.name, "digest": {"sha256": self.sha256}}
        if self.uri is not None:
            found["uri"] = self.uri
        if self.media_type is not None:
            found["mediaType"] = self.media_type
        return found


@dataclass(frozen=True)
class Statement:
    """Subjects, and a predicate of ``predicate_type`` about them; raises EvidenceError without subjects."""

    subject: tuple[Artifact, ...]
    predicate_type: str
    predicate: Mapping[str, Json]

    def __post_init__(self) -> None:
        names = [artifact.name for artifact in self.subject]
        if not names or len(set(names)) != len(names):
            raise EvidenceError(f"a statement needs subjects, each with a name of its own; found {names}")

    def to_bytes(self) -> bytes:
        """Return the canonical JSON, the payload of an envelope."""
        return encode(
            {
                "_type": TYPE,
                "subject": [artifact.to_json() for artifact in self.subject],
                "predicateType": self.predicate_type,
                "predicate": self.predicate,
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes, where: str) -> Statement:
        """Return the statement in ``payload``; raises EvidenceError if it is not one."""
        top = Fields.of(decode(payload, where), where)
        if (kind := top.text("_type")) != TYPE:
            raise EvidenceError(f"{where}: _type is {kind!r}, expected {TYPE!r}")
        with located(where):
            return cls(top.artifacts("subject"), top.text("predicateType"), top.inner("predicate").values)

    def fields(self, predicate_type: str, where: str) -> Fields:
        """Return the predicate for reading; raises EvidenceError if it is of another type."""
        if self.predicate_type != predicate_type:
            raise EvidenceError(f"{where}: predicateType is {self.predicate_type!r}, not {predicate_type!r}")
        return Fields(self.predicate, f"{where}: predicate")


@dataclass(frozen=True)
class Fields:
    """A JSON object that is read field by field; every reader raises EvidenceError with the full path."""

    values: Mapping[str, Json]
    where: str

    @classmethod
    def of(cls, value: object, where: str) -> Fields:
        """Return the fields of ``value``, which must be an object."""
        if not isinstance(value, dict):
            raise EvidenceError(f"{where}: is not a JSON object")
        return cls(value, where)

    def get(self, key: str) -> Json:
        """Return the value of ``key``, which must be there, null or not."""
        if key not in self.values:
            raise EvidenceError(f"{self._path(key)} is missing")
        return self.values[key]

    def text(self, key: str) -> str:
        """Return text that is not empty."""
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise EvidenceError(f"{self._path(key)} is not text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        found = tuple(item for item in self.items(key) if isinstance(item, str))
        if len(found) != len(self.items(key)):
            raise EvidenceError(f"{self._path(key)} is not a list of texts")
        return found

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise EvidenceError(f"{self._path(key)} is neither true nor false")
        return value

    def instant(self, key: str) -> datetime:
        """Return a UTC instant."""
        try:
            return parse_instant(self.text(key))
        except DataError as error:
            raise EvidenceError(f"{self._path(key)}: {error}") from error

    def inner(self, key: str) -> Fields:
        """Return an object for reading."""
        return Fields.of(self.get(key), self._path(key))

    def items(self, key: str) -> list[Json]:
        """Return a list."""
        value = self.get(key)
        if not isinstance(value, list):
            raise EvidenceError(f"{self._path(key)} is not a list")
        return value

    def artifacts(self, key: str) -> tuple[Artifact, ...]:
        """Return a list of ResourceDescriptors; a name and a SHA-256 are demanded."""
        found = enumerate(self.items(key))
        return tuple(Fields.of(item, f"{self._path(key)}[{i}]")._artifact() for i, item in found)

    def only(self, known: Iterable[str]) -> None:
        """Refuse every field that is not ``known``."""
        if unknown := sorted(set(self.values) - set(known)):
            raise EvidenceError(f"{self.where} has unexpected fields: {', '.join(unknown)}")

    def _artifact(self) -> Artifact:
        name, digest = self.text("name"), self.inner("digest").text("sha256")
        uri = self.text("uri") if "uri" in self.values else None
        media_type = self.text("mediaType") if "mediaType" in self.values else None
        with located(self.where):
            return Artifact(name, digest, uri, media_type)

    def _path(self, key: str) -> str:
        separator = "." if self.where.endswith("]") or ": " in self.where else ": "
        return f"{self.where}{separator}{key}"
