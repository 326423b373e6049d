"""The evidence store and its chain: what holds is reported, what was touched is found."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from node0lib.errors import EvidenceError, RunError
from node0lib.evidence.canonical import POLICY_NAME, encode, policy_bytes, sha256
from node0lib.evidence.dsse import IN_TOTO, seal
from node0lib.evidence.names import key_name, poi_name, provenance_name, sbom_name
from node0lib.evidence.poi import PoI, Previous, Source
from node0lib.evidence.provenance import Provenance
from node0lib.evidence.statement import Artifact, Statement
from node0lib.evidence.verify import ChainReport, chain_of, leftovers, public_keys, verify_chain
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import SigningKey

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
STRANGER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
KEYS = {KEY.keyid: KEY.public}


@dataclass
class Chain:
    """Writes records as a runner does; file names sort against the order of the chain."""

    store: EvidenceFiles
    key: SigningKey = KEY
    policy: dict[str, int | float | str] | None = None
    newest: str | None = None
    cycles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store.put(key_name(self.key.keyid), self.key.public_pem)

    @property
    def live(self) -> bytes:
        return policy_bytes(self.policy or {})

    def attest(self, cycle: str = "", **changes: object) -> PoI:
        """Write the PoI of the next cycle and return it."""
        number = len(self.cycles)
        poi = PoI(
            cycle or f"c{9 - number}",
            START + timedelta(hours=number),
            "applied" if number else "genesis",
            Source("embedded", True),
            "simulated",
            policy_after={"ttl_s": 30.0 + number, "routing": "least"},
            policy_before=self.policy,
            budgets={"api": {"left": 0.5, "burn": float("inf")}},
            subjects=(Artifact.of("reports/x.ipynb", b"{}"),) if number else (),
            previous=Previous(self.newest),
        )
        poi = replace(poi, **changes)  # type: ignore[arg-type]
        self.store.put(poi_name(poi.cycle), seal(poi.to_statement().to_bytes(), IN_TOTO, self.key))
        return poi

    def prove(self, poi: PoI, **changes: object) -> None:
        """Write the SBOM and the provenance of ``poi``."""
        self.store.put(sbom_name(poi.cycle), encode({"cycle": poi.cycle}))
        names = {"poi": poi_name(poi.cycle), "sbom": sbom_name(poi.cycle)}
        made_from = tuple(Artifact.of(kind, self.store.get(n), uri=n) for kind, n in names.items())
        at, policy = poi.at, sha256(policy_bytes(poi.policy_after))
        proof = Provenance(poi.cycle, policy, "configs/node0.yaml", at, poi.mode, "0.1.0", at, at, made_from)
        proof = replace(proof, **changes)  # type: ignore[arg-type]
        envelope = seal(proof.to_statement().to_bytes(), IN_TOTO, self.key)
        self.store.put(provenance_name(poi.cycle), envelope)
        self.newest, self.policy = sha256(envelope), dict(poi.policy_after)
        self.cycles.append(poi.cycle)

    def seal(self, times: int = 1) -> None:
        for _ in range(times):
            self.prove(self.attest())

    def verify(self, anchor: str | None = None) -> ChainReport:
        return verify_chain(self.store, KEYS, live_policy=self.live, anchor=anchor)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Three sealed records: c9, c8, c7 in this order."""
    made = Chain(EvidenceFiles(tmp_path / "evidence"))
    made.seal(3)
    return made


def _path(chain: Chain, name: str) -> Path:
    return chain.store.root / name


def test_a_good_chain_reports_its_newest_record(chain: Chain) -> None:
    """The report names the newest record by the links, not by the file names, with its policy and digests."""
    expected = ChainReport(3, "c7", {"ttl_s": 32, "routing": "least"}, sha256(chain.live), str(chain.newest), None)
    assert chain.verify(anchor=chain.newest) == expected
    assert [record.poi.cycle for record in chain_of(chain.store, KEYS)] == ["c9", "c8", "c7"]
    assert public_keys(chain.store).keys() == KEYS.keys()


def test_the_sealed_policy_restores_the_live_file(chain: Chain) -> None:
    """The last sealed policy gives the exact bytes of the live policy file, also after 32.0 became 32."""
    newest = chain_of(chain.store, KEYS)[-1]
    assert policy_bytes(newest.poi.policy_after) == chain.live


def test_securesystemslib_verifies_the_files(chain: Chain) -> None:
    """Another implementation verifies every stored envelope with the published key."""
    theirs = SSlibKey.from_crypto(KEY.public, keyid=KEY.keyid)
    names = [*chain.store.names("poi-attestations"), *chain.store.names("slsa-provenance")]
    assert len(names) == 6
    for name in names:
        Envelope.from_dict(json.loads(chain.store.get(name))).verify([theirs], 1)


def test_provenance_has_the_fields_of_slsa_1_2(chain: Chain) -> None:
    """The stored statement has SLSA's required fields under their names, and no level among them."""
    payload = Envelope.from_dict(json.loads(chain.store.get(provenance_name("c7")))).payload
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [subject["name"] for subject in statement["subject"]] == [POLICY_NAME]
    build, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert build.keys() == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert build["resolvedDependencies"][0]["uri"] == poi_name("c7")
    assert run.keys() == {"builder", "metadata", "byproducts"}
    assert run["metadata"].keys() == {"invocationId", "startedOn", "finishedOn"}
    assert "level" not in payload.decode().lower()


def test_an_empty_store_is_no_chain(tmp_path: Path) -> None:
    """Nothing sealed is no evidence, though a runner may begin from it."""
    store = EvidenceFiles(tmp_path / "absent")
    assert chain_of(store, KEYS) == ()
    with pytest.raises(EvidenceError, match="nothing has been sealed; run a cycle first"):
        verify_chain(store, KEYS, live_policy=None)


def _delete(*names: str) -> Callable[[Chain], None]:
    def unlink(chain: Chain) -> None:
        for name in names:
            _path(chain, name).unlink()

    return unlink


def _swap(chain: Chain) -> None:
    one, two = (_path(chain, provenance_name(cycle)) for cycle in ("c8", "c7"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def _truncate(chain: Chain) -> None:
    path = _path(chain, poi_name("c8"))
    path.write_bytes(path.read_bytes()[:-100])


def _second_genesis(chain: Chain) -> None:
    chain.prove(chain.attest("again", previous=Previous(), policy_before=None))


def _fork(chain: Chain) -> None:
    records = chain_of(chain.store, KEYS)
    previous, before = Previous(records[0].digest), records[0].poi.policy_after
    chain.prove(chain.attest("fork", previous=previous, policy_before=before))


def _edit_live(chain: Chain) -> None:
    chain.policy = {**(chain.policy or {}), "ttl_s": 33}


def _old_live(chain: Chain) -> None:
    chain.policy = dict(chain_of(chain.store, KEYS)[0].poi.policy_after)


def _other_key(chain: Chain) -> None:
    chain.key = STRANGER
    chain.store.put(key_name(STRANGER.keyid), STRANGER.public_pem)
    chain.seal()


def _two_orphans(chain: Chain) -> None:
    chain.attest("o1")
    chain.attest("o2")


def _old_orphan(chain: Chain) -> None:
    chain.attest("o1", previous=Previous(chain_of(chain.store, KEYS)[1].digest))


def _lying_subject(chain: Chain) -> None:
    chain.prove(chain.attest(), policy_sha256="0" * 64)


def _other_mode(chain: Chain) -> None:
    chain.prove(chain.attest(), mode="autonomous")


def _jump(chain: Chain) -> None:
    chain.prove(chain.attest(policy_before={"ttl_s": 1}))


def _stray(name: str) -> Callable[[Chain], None]:
    def write(chain: Chain) -> None:
        _path(chain, name).parent.mkdir(exist_ok=True)
        _path(chain, name).write_bytes(b"{}")

    return write


def _renamed(chain: Chain) -> None:
    _path(chain, provenance_name("c7")).rename(_path(chain, provenance_name("x")))


def _other_statement(chain: Chain) -> None:
    statement = Statement((Artifact("a", "0" * 64),), "urn:node0:else", {})
    chain.store.put(poi_name("else"), seal(statement.to_bytes(), IN_TOTO, KEY))


def _false_abandoned(chain: Chain) -> None:
    chain.attest("o1")
    listed = (Artifact(poi_name("o1"), "0" * 64), Artifact(poi_name("o2"), "0" * 64))
    chain.prove(chain.attest(previous=Previous(chain.newest, abandoned=listed)))


@pytest.mark.parametrize(
    ("tamper", "what"),
    [
        (_delete(provenance_name("c8")), ["1 problem:\n  1. slsa-provenance/c7.dsse.json: a gap"]),
        (_delete(poi_name("c8"), provenance_name("c8")), [r"c7.dsse.json: a gap", r"sbom/c8.*no provenance"]),
        (_delete(provenance_name("c9")), ["no record is a genesis", "c8.dsse.json: a gap"]),
        (_delete(poi_name("c7")), ["poi-attestations/c7.dsse.json: the PoI that slsa-.* is missing"]),
        (_delete(sbom_name("c7")), ["sbom/c7.cdx.json: the SBOM that .* is missing"]),
        (_delete(provenance_name("c7")), [f"{POLICY_NAME}: is not the one that the cycle c8 sealed"]),
        (_swap, ["c8.dsse.json: holds the cycle 'c7'", "c7.dsse.json: holds the cycle 'c8'"]),
        (_renamed, ["slsa-provenance/x.dsse.json: holds the cycle 'c7'"]),
        (_truncate, ["poi-attestations/c8.dsse.json: is not JSON", "a gap"]),
        (_second_genesis, ["more than one genesis: again, c9"]),
        (_fork, ["a fork after c9: c8, fork"]),
        (_edit_live, [f"{POLICY_NAME}: is not the one that the cycle c7 sealed"]),
        (_old_live, [f"{POLICY_NAME}: is not the one that the cycle c7 sealed"]),
        (_other_key, ["c6.dsse.json: is not signed by any of the 1 trusted keys"]),
        (_two_orphans, ["o1.dsse.json: no provenance names it", "o2.dsse.json: no provenance names it"]),
        (_old_orphan, ["o1.dsse.json: is unsealed, yet it did not follow the newest"]),
        (_lying_subject, ["c6.dsse.json: its subject is not the policy that poi-attestations/c6"]),
        (_other_mode, ["c6.dsse.json: is of another cycle, time or mode"]),
        (_jump, ["c6.dsse.json: did not start from the policy that the record before it left"]),
        (_stray("sbom/new.cdx.json"), ["sbom/new.cdx.json: no provenance names it"]),
        (_stray("sbom/note.txt"), ["sbom/note.txt: no provenance names it"]),
        (_stray("slsa-provenance/deep/x"), ["slsa-provenance/deep/x: is not a DSSE envelope"]),
        (_stray("keys/note.txt"), ["keys/note.txt: is not a PEM public key"]),
        (_stray("sbom/.DS_Store"), ["'sbom/.DS_Store' is not a name for the evidence store"]),
        (_stray("keys/a b"), ["'keys/a b' is not a name for the evidence store"]),
        (_other_statement, ["else.dsse.json: predicateType is 'urn:node0:else'"]),
        (_false_abandoned, ["o1.dsse.json: is missing or is not the leftover", "o2.dsse.json: is missing"]),
    ],
)
def test_tampering_is_found(chain: Chain, tamper: Callable[[Chain], None], what: list[str]) -> None:
    """Whatever is deleted, moved, forged or added to a good chain is named, with what to do about it."""
    tamper(chain)
    for pattern in what:
        with pytest.raises(EvidenceError, match=pattern):
            chain.verify()


def test_all_problems_are_one_error(chain: Chain) -> None:
    """Several problems come as one error with a numbered list; none hides another."""
    _edit_live(chain)
    _delete(sbom_name("c9"))(chain)
    _stray("keys/note.txt")(chain)
    with pytest.raises(EvidenceError, match="3 problems:\n  1. (.|\n)*\n  2. (.|\n)*\n  3. "):
        chain.verify()


def test_a_cut_off_end_is_found_with_an_anchor(chain: Chain) -> None:
    """Cutting off the newest record and restoring its old policy is found by whoever remembers its digest."""
    seen = chain.newest
    _delete(provenance_name("c7"), poi_name("c7"), sbom_name("c7"))(chain)
    chain.policy = dict(chain_of(chain.store, KEYS)[-1].poi.policy_after)
    assert chain.verify().newest_cycle == "c8"
    with pytest.raises(EvidenceError, match="seen earlier is not in the chain"):
        chain.verify(anchor=seen)


def test_a_missing_live_policy_is_found(chain: Chain) -> None:
    """No live policy at all is a problem too, and the chain still tells which one to restore."""
    with pytest.raises(EvidenceError, match="is missing .*the next cycle restores"):
        verify_chain(chain.store, KEYS, live_policy=None)
    assert chain_of(chain.store, KEYS)[-1].poi.policy_after == chain.policy


def test_an_interrupted_cycle_is_reported_and_accounted_for(chain: Chain) -> None:
    """One unsealed PoI is reported; the next record lists it as abandoned, and then all is well again."""
    chain.attest("dead", status="interrupted")
    assert chain.verify().unsealed == "dead"
    for attempt in ("dead-too", "alive"):  # the recovery is interrupted as well, after its SBOM
        left = leftovers(chain.store, chain_of(chain.store, KEYS))
        abandoned = tuple(Artifact.of(name, chain.store.get(name)) for name in left)
        poi = chain.attest(attempt, previous=Previous(chain.newest, abandoned=abandoned))
        chain.store.put(sbom_name(attempt), encode({"cycle": attempt}))
        assert chain.verify().unsealed == attempt
    chain.prove(poi)
    chain.seal()
    assert chain.verify().unsealed is None and chain.verify().records == 5
    assert leftovers(chain.store, chain_of(chain.store, KEYS)) == ()


def test_a_genesis_may_be_interrupted(tmp_path: Path) -> None:
    """A first cycle that died after its PoI leaves an empty chain to begin from."""
    chain = Chain(EvidenceFiles(tmp_path))
    chain.attest()
    assert chain_of(chain.store, KEYS) == ()


def test_one_sbom_may_serve_several_cycles(chain: Chain) -> None:
    """A provenance may name an older cycle's SBOM: an environment that did not change is described once."""
    poi = chain.attest()
    bill = sbom_name("c7")
    made_from = (
        Artifact.of("poi", chain.store.get(poi_name(poi.cycle)), uri=poi_name(poi.cycle)),
        Artifact.of("sbom", chain.store.get(bill), uri=bill),
    )
    chain.prove(poi, dependencies=made_from)
    _delete(sbom_name(poi.cycle))(chain)
    assert chain.verify().records == 4


def test_evidence_is_never_overwritten(tmp_path: Path) -> None:
    """The same bytes again are no news; other bytes under the same name are refused, and the first stay."""
    store = EvidenceFiles(tmp_path)
    store.put("sbom/a.cdx.json", b"1")
    store.put("sbom/a.cdx.json", b"1")
    with pytest.raises(EvidenceError, match=r"a.cdx.json: is evidence already"):
        store.put("sbom/a.cdx.json", b"2")
    assert store.get("sbom/a.cdx.json") == b"1"


@pytest.mark.parametrize(
    "name", ["../x", "sbom/../../x", "/etc/x", "C:/x", "sbom\\x", "", "sbom//x", ".hidden", "sbom/.x.tmp", "a\n"]
)
def test_names_do_not_leave_the_store(tmp_path: Path, name: str) -> None:
    """A name that could lead out of the folder, or hide in it, is refused for reading and writing."""
    store = EvidenceFiles(tmp_path / "evidence")
    for call in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store.names(name)):
        with pytest.raises(EvidenceError, match="is not a name for the evidence store"):
            call()


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need a privilege on Windows")
def test_links_do_not_leave_the_store(tmp_path: Path) -> None:
    """A symbolic link out of the folder is refused."""
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "sbom").symlink_to(tmp_path)
    with pytest.raises(EvidenceError, match="leads out of the evidence store"):
        EvidenceFiles(tmp_path / "evidence").put("sbom/x", b"")


def test_temporary_files_are_no_evidence(chain: Chain) -> None:
    """What an interrupted write left behind is not listed and does not disturb."""
    _path(chain, "sbom/.c1.cdx.json.abc.tmp").write_bytes(b"{")
    assert chain.store.names("sbom") == tuple(sbom_name(cycle) for cycle in ("c7", "c8", "c9"))
    assert chain.verify().records == 3
    with pytest.raises(EvidenceError, match="is not there"):
        chain.store.get("sbom/none")


def test_the_probe_writes(tmp_path: Path) -> None:
    """The probe makes the folder, leaves nothing behind, and says clearly when it cannot write."""
    EvidenceFiles(tmp_path / "new").probe()
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="evidence cannot be written"):
        EvidenceFiles(tmp_path / "file" / "evidence").probe()
