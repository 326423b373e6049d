"""``node0 change`` on the command line: what people see, what is refused, and with which exit code."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.evidence.dsse import key_id, public_pem
from node0lib.optimize.knobs import POLICY_EXAMPLE, check_policy
from node0lib.shell.cli import main

ROOT = Path(__file__).resolve().parents[2]
ROUTED = {**POLICY_EXAMPLE, "agent_routing": "two_choices"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation in which nothing has run yet, as current folder, its keys beside it."""
    folder = tmp_path / "w"
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copy(ROOT / "constraints.txt", folder)
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "production_cycle.ipynb", folder / "notebooks")
    _set(folder, "fresh_seeds", "4")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NODE0_KEY_DIR", str(tmp_path / "keys"))
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def _set(folder: Path, key: str, value: str, file: str = "node0.yaml") -> None:
    path = folder / "configs" / file
    text, count = re.subn(rf"(?m)^( *){key}: [^#\n]*", rf"\g<1>{key}: {value} ", path.read_text("utf-8"))
    assert count >= 1
    path.write_text(text, "utf-8")


def _run(*words: str, expect: int = 0) -> Result:
    ran = CliRunner().invoke(main, ["change", *words], prog_name="node0")
    assert ran.exit_code == expect, f"{ran.exit_code}\n{ran.stdout}\n{ran.stderr}\n{ran.exception!r}"
    return ran


def _json(*words: str) -> Any:
    return json.loads(_run(*words, "--output", "json").stdout)


def _proposed(place: Path, policy: dict[str, Any] = ROUTED, by: str = "Ada") -> str:  # type: ignore[assignment]
    (place / "candidate.json").write_text(json.dumps(policy), "utf-8")
    return str(_json("propose", "candidate.json", "--by", by, "--reason", "less waiting")["id"])


def _unmeasured(place: Path) -> None:
    """Leave nothing on which a policy could be measured."""
    path = place / "configs" / "node0.yaml"
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"(?m)^target:\n  kind: embedded", "target:\n  kind: none", text), "utf-8")


def test_a_proposal_is_measured_and_classified(place: Path) -> None:
    """What a person proposes is compared with the live policy on the target; its class and its estimate are told."""
    name = _proposed(place)
    shown = _json("show", name)
    assert (shown["state"], shown["class"]) == ("proposed", "M")
    assert shown["reasons"] == ["routing is a class M change"]
    assert shown["estimate"]["n"] == 4 and shown["estimate"]["improvement"] > 0.1 and shown["safe"] is True
    assert shown["changes"] == {"agent_routing": {"from": "round_robin", "to": "two_choices"}}
    assert shown["after_sha256"] == sha256(policy_bytes(ROUTED))
    assert shown["origin"] == {"kind": "person", "name": "Ada"}
    assert shown["answers"] == [] and shown["approval_valid"] is False
    assert [(s["state"], s["who"], s["reason"]) for s in shown["history"]] == [("proposed", "Ada", "less waiting")]


def test_what_nobody_can_measure_is_class_h(place: Path) -> None:
    """Without a target the confidence is unknown, which the reasons say, and the change waits for an approval."""
    _unmeasured(place)
    shown = _json("show", _proposed(place, {**POLICY_EXAMPLE, "cache_ttl_s": 31}))
    assert (shown["state"], shown["class"], shown["estimate"]) == ("waiting", "H", None)
    assert "the confidence is unknown and counts as 0%" in shown["reasons"][-1]


def test_a_change_for_much_the_worse_is_registered_as_what_it_is(place: Path) -> None:
    """A loss that more than doubles is no error: it is shown, and nobody is sure that it helps, so it is class H."""
    shown = _json("show", _proposed(place, {**POLICY_EXAMPLE, "cache_ttl_s": 600, "batch_size": 1}))
    assert shown["estimate"]["improvement"] < -1 and (shown["state"], shown["class"]) == ("waiting", "H")


def test_the_whole_way_in_text(place: Path) -> None:
    """Propose, list, approve with a digest, show: every step says what it did, and whose key vouches for what."""
    name = _proposed(place)
    listed = _run("list").stdout
    assert name in listed and "proposed" in listed and "agent_routing" in listed and "Ada" in listed
    assert max(map(len, listed.splitlines())) <= 80
    digest = sha256(policy_bytes(ROUTED))
    told = _run("approve", name[:6], "--by", "Eve", "--digest", digest, "--note", "fine [by me]").stdout
    assert f"change {name} is approved by Eve for {digest}" in told and "the next cycle tries it" in told
    assert "vouches for the record, not for the person" in told
    again = _run("approve", name, "--by", "Bo", expect=5).stderr
    assert f"change {name} is approved already, by Eve at 2" in again
    shown = _run("show", name).stdout
    for line in (f"change {name}: approved", "round_robin -> two_choices", "approved by Eve at ", "fine [by me]"):
        assert line in shown
    assert f"approvals/{name}.approve.dsse.json" in shown and "vouches for the record, not for the person" in shown
    assert _json("show", name)["approval_valid"] is True
    assert [c["id"] for c in _json("list", "--state", "approved")] == [name] and _json("list", "--state", "held") == []


def test_recommend_mode_tells_that_nothing_will_try_it(place: Path) -> None:
    """An approval in a mode in which cycles apply nothing does not promise that the next one will."""
    _set(place, "mode", "recommend")
    assert "cycles try nothing" in _run("approve", _proposed(place), "--by", "Eve").stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("approve", "ID", "--by", "Eve", "--digest", "0" * 64), 5, "has the SHA-256 "),
        (("approve", "ID", "--by", "Eve", "--digest", "nonsense"), 2, "is no SHA-256"),
        (("approve", "ID", "--by", "ada"), 5, "cannot approve it; ask somebody else"),
        (("approve", "ID", "--by", " "), 2, "is no name"),
        (("approve", "beef0000", "--by", "Eve"), 2, "no change is called"),
        (("show", "beef0000"), 2, "no change is called"),
        (("propose", "candidate.json", "--by", "Eve"), 5, "this change is proposed already"),
        (("propose", "configs/alpha.policy.json", "--by", "Eve"), 2, "is the live one already"),
        (("propose", "nowhere.json", "--by", "Eve"), 2, "nowhere.json: cannot be read"),
        (("propose", "constraints.txt", "--by", "Eve"), 2, "constraints.txt: is not JSON"),
    ],
)
def test_what_is_refused_says_why(place: Path, words: tuple[str, ...], code: int, told: str) -> None:
    """Exit code 2 for what one typed, 5 for what may not be; one line, nothing signed, nothing changed."""
    name = _proposed(place)
    ran = _run(*(name if word == "ID" else word for word in words), expect=code)
    assert told in ran.stderr.splitlines()[-1] and ran.stdout == ""
    assert _json("show", name)["answers"] == [] and len(_json("list")) == 1


def test_both_digests_of_a_refusal_are_shown(place: Path) -> None:
    """Who looked at another candidate sees which one it would have been."""
    name = _proposed(place)
    error = _run("approve", name, "--by", "Eve", "--digest", "abcdefabcdef", expect=5).stderr
    assert "abcdefabcdef" in error and sha256(policy_bytes(ROUTED)) in error


def test_a_superseded_change_is_told_and_refused(place: Path) -> None:
    """Once another policy is live, list and show say that the change is superseded, and it cannot be approved."""
    name = _proposed(place)
    live = place / "data" / "policy" / "alpha.policy.json"
    live.parent.mkdir(parents=True)
    live.write_bytes(policy_bytes(check_policy({**POLICY_EXAMPLE, "llm_retries": 2}, "x")))
    assert _json("list")[0]["state"] == "superseded" and _json("list", "--state", "proposed") == []
    assert "superseded (it starts from the policy" in _run("show", name).stdout
    assert "propose it again" in _run("approve", name, "--by", "Eve", expect=5).stderr
    live.write_bytes(policy_bytes(POLICY_EXAMPLE))
    assert _json("show", name)["state"] == "superseded", "an attempt to approve it has made that final"


def test_a_rejection_is_signed_and_final(place: Path) -> None:
    """Who, why and for which digest are evidence; an approval afterwards is refused."""
    name = _proposed(place)
    rejected = _json("reject", name, "--by", "Eve", "--reason", "too risky")
    (answer,) = rejected["answers"]
    assert (rejected["state"], answer["decision"], answer["note"]) == ("rejected", "reject", "too risky")
    assert "is rejected and cannot become approved" in _run("approve", name, "--by", "Eve", expect=5).stderr
    assert _proposed(place) != name, "a person may bring it up again"


def test_a_key_of_ones_own_must_be_trusted(place: Path, tmp_path: Path) -> None:
    """A stranger's key is refused with the command that would trust it; a trusted one vouches for the person."""
    private, name = Ed25519PrivateKey.generate(), _proposed(place)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    own, keyid = tmp_path / "eve.pem", key_id(private.public_key())
    own.write_bytes(pem)
    own.chmod(0o600)
    refused = _run("approve", name, "--by", "Eve", "--key", str(own), expect=5)
    trusted = tmp_path / "keys" / f"{keyid}.pub.pem"
    assert f"-pubout -out {trusted}" in refused.stderr and b"PRIVATE" in pem and "PRIVATE" not in refused.stderr
    trusted.parent.mkdir(exist_ok=True)
    trusted.write_bytes(public_pem(private.public_key()))
    told = _run("approve", name, "--by", "Eve", "--key", str(own)).stdout
    assert keyid[:12] in told and "a person's own key" in told
    assert _json("show", name)["answers"][0]["keyid"] == keyid


def test_a_tampered_approval_is_not_shown_as_one(place: Path) -> None:
    """An answer that does not verify ends show with exit code 1 and its name."""
    name = _proposed(place)
    _run("approve", name, "--by", "Eve")
    path = place / "evidence" / "approvals" / f"{name}.approve.dsse.json"
    path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"A'))
    assert f"approvals/{name}.approve.dsse.json: " in _run("show", name, expect=1).stderr


def test_an_approval_that_is_gone_is_noticed(place: Path) -> None:
    """What is remembered as approved but has no evidence is told to wait, and a candidate that was edited too."""
    name = _proposed(place)
    _run("approve", name, "--by", "Eve")
    shutil.rmtree(place / "evidence" / "approvals")
    assert "no valid approval is in the evidence" in _run("show", name).stdout
    with closing(sqlite3.connect(place / "data" / "node0.sqlite")) as db:
        db.execute("UPDATE requests SET content = replace(content, 'two_choices', 'least_loaded')")
        db.commit()
    error = _run("approve", name, "--by", "Eve", expect=5).stderr
    assert "propose it again" in error and sha256(policy_bytes(ROUTED)) in error


def test_looking_makes_nothing(place: Path) -> None:
    """List and show in an installation that has no memory yet neither make one nor a key."""
    assert _run("list").stdout == "no changes\n" and _json("list") == []
    _run("show", "beef0000", expect=2)
    assert not (place / "data").exists() and not (place / "evidence").exists()
    assert not (place.parent / "keys").exists()


def test_an_error_is_json_if_asked(place: Path) -> None:
    """With --output json a refusal is the one document on stdout too."""
    ran = _run("approve", _proposed(place), "--by", "Ada", "--output", "json", expect=5)
    assert json.loads(ran.stdout)["exit_code"] == 5
