"""DSSE v1 envelopes: a signature over the exact bytes that are stored, and over how to read them.

Source: github.com/secure-systems-lab/dsse, protocol.md 1.0 and envelope.md 1.0.

Rules
- What is signed is PAE(type, body); its lengths count bytes, not characters.
- ``keyid`` is an unauthenticated hint: it orders the keys that are tried and decides nothing.
- Readers accept standard and URL-safe base64. Writers use standard base64 and exactly one signature.
- ``exact=True`` asks for the bytes that ``seal`` writes, to the last one. Without it a flipped bit in the
  hint, in white space or in base64's unused bits would pass, since no signature covers those.
- Ed25519 (RFC 8032) only. A key's id is the SHA-256 of its DER SubjectPublicKeyInfo.

>>> pae("http://example.com/HelloWorld", b"hello world")
b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from node0lib.errors import EvidenceError
from node0lib.evidence import canonical
from node0lib.evidence.names import KEYS, key_name
from node0lib.ports import EvidenceStore

PublicKey = Ed25519PublicKey
IN_TOTO = "application/vnd.in-toto+json"
_STANDARD = str.maketrans("-_", "+/")


class Signer(Protocol):
    """Something that can sign; the private key stays inside it."""

    @property
    def keyid(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, hexadecimal."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of ``message``, 64 bytes."""
        ...


@dataclass(frozen=True)
class _Envelope:
    """An envelope taken apart; ``signatures`` holds (key id or "", signature) pairs."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]


def pae(payload_type: str, body: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def seal(payload: bytes, payload_type: str, signer: Signer) -> bytes:
    """Return the envelope (canonical JSON) of ``payload`` with one signature by ``signer``."""
    return _render(payload, payload_type, signer.keyid, signer.sign(pae(payload_type, payload)))


def unseal(
    envelope: bytes,
    keys: Mapping[str, PublicKey],
    *,
    payload_type: str = IN_TOTO,
    where: str = "envelope",
    exact: bool = False,
) -> bytes:
    """Return the payload, once one signature verifies with one of ``keys`` (key id -> key).

    Raises EvidenceError, beginning with ``where``, if the envelope is malformed, of another payload type, not
    signed by any of the keys, or, with ``exact``, not byte for byte what ``seal`` writes.
    """
    opened = _open(envelope, where)
    keyid, signature = _verified(opened, keys, where)
    if opened.payload_type != payload_type:
        raise EvidenceError(f"{where}: the payload type is {opened.payload_type!r}, not {payload_type!r}")
    if exact and envelope != _render(opened.payload, payload_type, keyid, signature):
        raise EvidenceError(
            f"{where}: the signature holds, but the envelope around it was changed; restore it from a backup"
        )
    return opened.payload


def key_id(key: PublicKey) -> str:
    """Return the SHA-256 of the key's DER SubjectPublicKeyInfo, hexadecimal."""
    return canonical.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def public_pem(key: PublicKey) -> bytes:
    """Return the key as PEM SubjectPublicKeyInfo, the form in which it is published."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def parse_public_pem(pem: bytes, where: str) -> PublicKey:
    """Return the Ed25519 key in ``pem``; raises EvidenceError unless it is exactly what is published."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceError(f"{where}: is not a PEM public key; restore it from a backup") from error
    if not isinstance(key, Ed25519PublicKey) or public_pem(key) != pem:
        raise EvidenceError(f"{where}: is not an Ed25519 key as node0 publishes it; restore it from a backup")
    return key


def published_key(store: EvidenceStore, name: str) -> PublicKey:
    """Return the public key under ``name``; raises EvidenceError if it is not the one it is named after."""
    key = parse_public_pem(store.get(name), name)
    if name != key_name(key_id(key)):
        raise EvidenceError(f"{name}: holds the key {key_id(key)[:12]}..., not the one it is named after")
    return key


def public_keys(store: EvidenceStore) -> dict[str, PublicKey]:
    """Return all published keys (key id -> key); raises EvidenceError if one is not as named.

    They say which keys signed, not which ones to trust: whoever can write the store can publish a key.
    """
    keys = [published_key(store, name) for name in store.names(KEYS)]
    return {key_id(key): key for key in keys}


def _render(payload: bytes, payload_type: str, keyid: str, signature: bytes) -> bytes:
    text = base64.b64encode(payload).decode("ascii")
    signed = {"keyid": keyid, "sig": base64.b64encode(signature).decode("ascii")}
    return canonical.encode({"payload": text, "payloadType": payload_type, "signatures": [signed]})


def _verified(opened: _Envelope, keys: Mapping[str, PublicKey], where: str) -> tuple[str, bytes]:
    """Return the id of the first key that verifies a signature, and that signature; raises EvidenceError."""
    message = pae(opened.payload_type, opened.payload)
    for hint, signature in opened.signatures:
        for keyid, key in _hinted_first(hint, keys):
            if _verifies(key, signature, message):
                return keyid, signature
    hints = {hint for hint, _ in opened.signatures}
    if hints & keys.keys():
        raise EvidenceError(f"{where}: the signature does not verify; restore the file from a backup")
    raise EvidenceError(
        f"{where}: is not signed by any of the {len(keys)} trusted keys; if its key is yours, trust it first"
    )


def _hinted_first(hint: str, keys: Mapping[str, PublicKey]) -> Iterator[tuple[str, PublicKey]]:
    if hint in keys:
        yield hint, keys[hint]
    yield from ((keyid, key) for keyid, key in keys.items() if keyid != hint)


def _verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _open(envelope: bytes, where: str) -> _Envelope:
    """Take the JSON apart; raises EvidenceError if it is not an envelope."""
    value = canonical.decode(envelope, where)
    if not isinstance(value, dict):
        raise EvidenceError(f"{where}: is not a DSSE envelope (payload, payloadType, signatures)")
    payload_type, signatures = value.get("payloadType"), value.get("signatures")
    if not isinstance(payload_type, str) or not isinstance(signatures, list) or not signatures:
        raise EvidenceError(f"{where}: is not a DSSE envelope (payload, payloadType, signatures)")
    found = tuple(_signature(item, f"{where}: signatures[{i}]") for i, item in enumerate(signatures))
    return _Envelope(_base64(value.get("payload"), f"{where}: payload"), payload_type, found)


def _signature(item: canonical.Json, where: str) -> tuple[str, bytes]:
    if not isinstance(item, dict):
        raise EvidenceError(f"{where} is not an object")
    hint = item.get("keyid")
    return hint if isinstance(hint, str) else "", _base64(item.get("sig"), f"{where}.sig")


def _base64(text: object, where: str) -> bytes:
    """Decode standard or URL-safe base64, padded or not; raises EvidenceError."""
    if not isinstance(text, str):
        raise EvidenceError(f"{where} is missing")
    try:
        standard = text.rstrip("=").translate(_STANDARD).encode("ascii")
        return base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise EvidenceError(f"{where} is not base64") from error
