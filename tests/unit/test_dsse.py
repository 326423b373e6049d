"""Canonical bytes and envelopes: our own rules, the specification's vector, and another implementation."""

import base64
import copy
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from node0lib.errors import EvidenceError
from node0lib.evidence import canonical
from node0lib.evidence.dsse import IN_TOTO, key_id, pae, parse_public_pem, public_pem, seal, unseal
from node0lib.evidence.statement import Artifact, Statement
from node0lib.shell.keys import SigningKey

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
KEYS = {KEY.keyid: KEY.public}
PAYLOAD = '{"müsli":"\U0001f963"}'.encode()
GOOD = seal(PAYLOAD, IN_TOTO, KEY)


def _edited(**changes: object) -> bytes:
    return json.dumps(json.loads(GOOD) | changes).encode()


def test_pae_is_the_specifications_vector() -> None:
    """The pre-authentication encoding of the DSSE specification's example is the published one."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes() -> None:
    """Lengths count UTF-8 bytes, of the type and of the body."""
    assert pae("ü", "ü€".encode()) == b"DSSEv1 2 \xc3\xbc 5 \xc3\xbc\xe2\x82\xac"


def test_what_is_sealed_can_be_unsealed() -> None:
    """The payload comes back byte for byte, with one signature in the envelope and the key id as its hint."""
    assert unseal(GOOD, KEYS, exact=True) == PAYLOAD
    assert [s["keyid"] for s in json.loads(GOOD)["signatures"]] == [KEY.keyid]


def test_securesystemslib_verifies_ours() -> None:
    """Another implementation of DSSE accepts what node0 signs, and refuses it after a change."""
    theirs = SSlibKey.from_crypto(KEY.public, keyid=KEY.keyid)
    Envelope.from_dict(json.loads(GOOD)).verify([theirs], 1)
    changed = _edited(payload=base64.b64encode(PAYLOAD + b" ").decode())
    with pytest.raises(VerificationError):
        Envelope.from_dict(json.loads(changed)).verify([theirs], 1)


def test_ours_verifies_securesystemslibs() -> None:
    """Node0 accepts what another implementation signs, and its PAE equals ours."""
    signer = CryptoSigner.generate_ed25519()
    envelope = Envelope(PAYLOAD, IN_TOTO, {})
    envelope.sign(signer)
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer.public_key.keyval["public"]))
    assert envelope.pae() == pae(IN_TOTO, PAYLOAD)
    assert unseal(json.dumps(envelope.to_dict()).encode(), {key_id(key): key}) == PAYLOAD


@pytest.mark.parametrize("padding", [True, False])
def test_both_base64_alphabets_are_read(padding: bool) -> None:
    """URL-safe base64 is read like the standard one, padded or not."""
    value = json.loads(GOOD)
    value["payload"] = value["payload"].translate(str.maketrans("+/", "-_"))
    value["signatures"][0]["sig"] = value["signatures"][0]["sig"].translate(str.maketrans("+/", "-_"))
    if not padding:
        value["payload"] = value["payload"].rstrip("=")
    assert unseal(json.dumps(value).encode(), KEYS) == PAYLOAD


@pytest.mark.parametrize("hint", [None, "", "somebody else", OTHER.keyid])
def test_the_key_id_is_only_a_hint(hint: str | None) -> None:
    """A missing or wrong key id does not keep the right key from being tried, unless exact bytes are asked."""
    value = json.loads(GOOD)
    value["signatures"][0]["keyid"] = hint
    changed = json.dumps(value).encode()
    assert unseal(changed, {OTHER.keyid: OTHER.public, **KEYS}) == PAYLOAD
    with pytest.raises(EvidenceError, match="envelope around it was changed"):
        unseal(changed, KEYS, exact=True)


def test_one_good_signature_of_several_is_enough() -> None:
    """A second signature by somebody unknown does no harm."""
    value = json.loads(GOOD)
    value["signatures"].insert(0, json.loads(seal(PAYLOAD, IN_TOTO, OTHER))["signatures"][0])
    assert unseal(json.dumps(value).encode(), KEYS) == PAYLOAD


@pytest.mark.parametrize(
    ("envelope", "what"),
    [
        (b"", "is not JSON"),
        (GOOD[:-9], "is not JSON"),
        (b"\xff" + GOOD, "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a DSSE envelope"),
        (b'{"payload": "", "payload": ""}', "a key occurs twice"),
        (_edited(signatures=[]), "is not a DSSE envelope"),
        (_edited(signatures={}), "is not a DSSE envelope"),
        (_edited(signatures=["x"]), r"signatures\[0\] is not an object"),
        (_edited(signatures=[{"keyid": KEY.keyid}]), r"signatures\[0\].sig is missing"),
        (_edited(signatures=[{"keyid": KEY.keyid, "sig": "AAAA"}]), "signature does not verify"),
        (_edited(payload=None), "payload is missing"),
        (_edited(payload="!!!!"), "payload is not base64"),
        (_edited(payload="AAAAA"), "payload is not base64"),
        (_edited(payload="ü"), "payload is not base64"),
        (_edited(payload="e30="), "signature does not verify"),
        (_edited(payloadType=7), "is not a DSSE envelope"),
        (_edited(payloadType="text/plain"), "signature does not verify"),
        (seal(PAYLOAD, "text/plain", KEY), "payload type is 'text/plain'"),
        (seal(PAYLOAD, IN_TOTO, OTHER), "not signed by any of the 1 trusted keys"),
    ],
)
def test_bad_envelopes_are_refused(envelope: bytes, what: str) -> None:
    """Each way in which an envelope can be wrong is an EvidenceError that says where and what."""
    with pytest.raises(EvidenceError, match=f"^x.dsse.json: .*{what}"):
        unseal(envelope, KEYS, where="x.dsse.json")


def test_a_key_id_is_the_digest_of_the_public_key() -> None:
    """The key id equals the SHA-256 of the DER that PEM wraps."""
    der = base64.b64decode(b"".join(KEY.public_pem.splitlines()[1:-1]))
    assert canonical.sha256(der) == KEY.keyid == key_id(parse_public_pem(KEY.public_pem, "x"))


def test_only_ed25519_keys_are_public_keys() -> None:
    """A key of another kind, or PEM with anything around it, is refused."""
    foreign = public_pem(generate_private_key(SECP256R1()).public_key())  # type: ignore[arg-type]
    for pem in (foreign, KEY.public_pem + b"\n", b"", b"-----BEGIN PUBLIC KEY-----\n"):
        with pytest.raises(EvidenceError, match="^k.pem: is not"):
            parse_public_pem(pem, "k.pem")


class _Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class _Point:
    x: float
    when: datetime


def test_canonical_json_knows_our_values() -> None:
    """Dataclasses, times, enums, tuples, infinities and numpy scalars have one canonical form each."""
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    value = {
        "z": (_Point(np.float64(2.0), at), timedelta(minutes=1), _Colour.RED),
        "a": [float("inf"), -float("inf"), np.int64(3), np.float32(0.5), None, True],
    }
    expected = (
        b'{"a":["Infinity","-Infinity",3,0.5,null,true],"z":[{"when":"2026-11-24T12:00:00Z","x":2},60,"red"]}'
    )
    assert canonical.encode(value) == expected


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"a": [float("nan")]}, r"\$.a\[0\]: NaN"),
        ({1: 2}, r"the key 1 is not text"),
        ({"a": 2**53}, "beyond"),
        ({"a": b"bytes"}, "bytes has no canonical form"),
        ({"a": {1, 2}}, "set has no canonical form"),
        ({"a": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"a": "\ud800"}, "non-UTF-8"),
    ],
)
def test_values_without_a_canonical_form_are_refused(value: object, what: str) -> None:
    """What cannot be written so that all read the same is an EvidenceError that names the place."""
    with pytest.raises(EvidenceError, match=what):
        canonical.encode(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "9" * 400, "{", '{"a":1,"a":2}'])
def test_ambiguous_json_is_refused(text: str) -> None:
    """JSON that two readers could read differently is not read at all."""
    with pytest.raises(EvidenceError, match="^file: is not JSON"):
        canonical.decode(text.encode(), "file")


@pytest.mark.parametrize("knob", [float("nan"), float("inf"), None, [1]])
def test_a_policy_holds_text_and_finite_numbers(knob: object) -> None:
    """A knob that is neither text nor a finite number cannot become a live policy."""
    with pytest.raises(EvidenceError, match="policy.ttl"):
        canonical.policy_bytes({"ttl": knob})  # type: ignore[dict-item]


def test_statements_are_read_strictly() -> None:
    """A statement comes back as it was; a wrong type, missing digest or doubled subject is named with its path."""
    good = Statement((Artifact("a", "0" * 64, uri="u", media_type="m"),), "urn:x", {"n": 1})
    assert Statement.from_bytes(good.to_bytes(), "f") == good
    value = json.loads(good.to_bytes())
    for path, wrong, what in [
        ("_type", "https://in-toto.io/Statement/v0.1", "f: _type is"),
        ("subject", [], "f: a statement needs subjects"),
        ("subject", [{"name": "a"}], r"f: subject\[0\].digest is missing"),
        ("subject", [{"name": "a", "digest": {"sha256": "0G"}}], r"f: subject\[0\]: artifact a: '0G'"),
        ("subject", value["subject"] * 2, "f: a statement needs subjects"),
        ("predicate", [], "f: predicate: is not a JSON object"),
        ("predicateType", "", "f: predicateType is not text"),
    ]:
        changed = copy.deepcopy(value) | {path: wrong}
        with pytest.raises(EvidenceError, match=what):
            Statement.from_bytes(canonical.encode(changed), "f")
