"""Evidence under arbitrary input: no flipped bit passes, and what is written is what is read."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.errors import EvidenceError
from node0lib.evidence.canonical import POLICY_NAME, Json, decode, encode, plain, policy_bytes, sha256
from node0lib.evidence.dsse import IN_TOTO, pae, seal, unseal
from node0lib.evidence.names import key_name, poi_name, provenance_name, sbom_name
from node0lib.evidence.poi import PoI, Previous, Source
from node0lib.evidence.provenance import Provenance
from node0lib.evidence.statement import Artifact, Statement
from node0lib.evidence.verify import chain_of, verify_chain
from node0lib.shell.keys import SigningKey

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEYS = {KEY.keyid: KEY.public}
START = datetime(2026, 11, 24, 12, tzinfo=UTC)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)  # JSON has no lone surrogates
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | FINITE
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
POLICIES = st.dictionaries(TEXT, NUMBERS | TEXT, max_size=6)


class Memory:
    """An evidence store in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)

    def put(self, name: str, content: bytes) -> None:
        self.files[name] = content

    def get(self, name: str) -> bytes:
        return self.files[name]

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))


def _store(policies: list[Mapping[str, int | float | str]]) -> Memory:
    """Return a chain with one record a policy, the last one live."""
    store = Memory({key_name(KEY.keyid): KEY.public_pem})
    newest, before = None, None
    for number, policy in enumerate(policies):
        cycle, at = f"c{number}", START + timedelta(hours=number)
        poi = PoI(
            cycle, at, "applied", Source("s", True), "simulated", policy, before, previous=Previous(newest)
        )
        store.put(poi_name(cycle), seal(poi.to_statement().to_bytes(), IN_TOTO, KEY))
        store.put(sbom_name(cycle), encode({"cycle": cycle}))
        names = {"poi": poi_name(cycle), "sbom": sbom_name(cycle)}
        made_from = tuple(Artifact.of(kind, store.get(n), uri=n) for kind, n in names.items())
        digest = sha256(policy_bytes(policy))
        proof = Provenance(cycle, digest, "node0.yaml", at, poi.mode, "0.1.0", at, at, made_from)
        store.put(provenance_name(cycle), seal(proof.to_statement().to_bytes(), IN_TOTO, KEY))
        newest, before = sha256(store.get(provenance_name(cycle))), policy
    store.put(POLICY_NAME, policy_bytes(policies[-1]))
    return store


GOOD = _store([{"ttl_s": 30.0}, {"ttl_s": 31}, {"ttl_s": 31, "routing": "least"}])
PLACES = st.sampled_from([(name, i) for name, content in GOOD.files.items() for i in range(len(content))])


@settings(max_examples=300, deadline=None)
@given(place=PLACES, flip=st.integers(1, 255))
def test_no_changed_byte_passes(place: tuple[str, int], flip: int) -> None:
    """One changed byte anywhere, in any file of a chain or in the live policy, is an EvidenceError."""
    name, index = place
    changed = bytearray(GOOD.files[name])
    changed[index] ^= flip
    store = Memory(GOOD.files | {name: bytes(changed)})
    with pytest.raises(EvidenceError):
        verify_chain(store, KEYS, live_policy=store.get(POLICY_NAME))


@settings(max_examples=50, deadline=None)
@given(missing=st.sampled_from([name for name in GOOD.files if not name.startswith("keys/")]))
def test_no_missing_file_passes(missing: str) -> None:
    """Every file is needed: without any one of them the chain or the live policy does not verify."""
    files = {name: content for name, content in GOOD.files.items() if name != missing}
    with pytest.raises(EvidenceError):
        verify_chain(Memory(files), KEYS, live_policy=files.get(POLICY_NAME))


@settings(max_examples=50, deadline=None)
@given(policies=st.lists(POLICIES, min_size=1, max_size=3))
def test_any_policy_can_be_restored(policies: list[dict[str, int | float | str]]) -> None:
    """Whatever the knobs are, the chain verifies and its newest policy gives the live file's exact bytes."""
    store = _store(policies)
    report = verify_chain(store, KEYS, live_policy=store.get(POLICY_NAME))
    assert report.records == len(policies)
    assert policy_bytes(chain_of(store, KEYS)[-1].poi.policy_after) == store.get(POLICY_NAME)


@given(value=VALUES)
def test_canonical_json_is_a_fixed_point(value: Json) -> None:
    """Reading canonical JSON and writing it again gives the same bytes and an equal value."""
    content = encode(value)
    assert encode(decode(content, "x")) == content
    assert decode(content, "x") == value


@given(policy=POLICIES)
def test_policy_bytes_survive_attestation(policy: dict[str, int | float | str]) -> None:
    """A policy has the same bytes before and after it went through an attestation."""
    assert policy_bytes(plain(policy)) == policy_bytes(policy)  # type: ignore[arg-type]


@given(one=st.tuples(TEXT, st.binary()), two=st.tuples(TEXT, st.binary()))
def test_pae_is_injective(one: tuple[str, bytes], two: tuple[str, bytes]) -> None:
    """Two different (type, body) pairs never have the same pre-authentication encoding."""
    assert (pae(*one) == pae(*two)) == (one == two)


@settings(deadline=None)
@given(payload=st.binary(max_size=200), payload_type=TEXT)
def test_any_payload_can_be_sealed(payload: bytes, payload_type: str) -> None:
    """Whatever is sealed comes back, to the byte."""
    envelope = seal(payload, payload_type, KEY)
    assert unseal(envelope, KEYS, payload_type=payload_type, exact=True) == payload


@settings(deadline=None)
@given(garbage=st.binary(max_size=80) | VALUES.map(encode))
def test_garbage_is_an_evidence_error(garbage: bytes) -> None:
    """Bytes or JSON of any kind in the place of an envelope or a statement raise EvidenceError, nothing else."""
    with pytest.raises(EvidenceError):
        unseal(garbage, KEYS)
    with pytest.raises(EvidenceError):
        Statement.from_bytes(garbage, "x")


@settings(deadline=None, max_examples=200)
@given(key=st.sampled_from(sorted(PoI.__dataclass_fields__)), value=VALUES)
def test_a_wrong_field_is_an_evidence_error(key: str, value: Json) -> None:
    """A PoI whose predicate has any value in any field is read, or refused with an EvidenceError."""
    good = PoI("c", START, "applied", Source("s", True), "real", {"a": 1}).to_statement()
    changed = Statement(good.subject, good.predicate_type, {**good.predicate, key: value})
    try:
        PoI.from_statement(changed, "x")
    except EvidenceError as error:
        assert str(error).startswith("x: ")


@settings(deadline=None)
@given(incidents=st.lists(VALUES, max_size=2), budgets=VALUES, at=st.datetimes(timezones=st.just(UTC)))
def test_a_poi_comes_back_as_it_was(incidents: list[Json], budgets: Json, at: datetime) -> None:
    """A PoI read from its statement equals the one that was written."""
    poi = PoI("c", at, "held", Source("s", False), "real", {"a": 1}, {"a": 2.5}, budgets=budgets)
    poi = PoI(**{**vars(poi), "incidents": tuple(incidents)})
    statement = Statement.from_bytes(poi.to_statement().to_bytes(), "x")
    assert PoI.from_statement(statement, "x") == poi
