"""From a held candidate to a promoted one: two real cycles with a person between them, and what the evidence says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from workspaces import ROOT, environment, make_workspace, node0, node0_json

from node0lib.cycle import CycleResult, Decision, Given, run_cycle
from node0lib.errors import DataError
from node0lib.evidence.approval import Approved
from node0lib.evidence.statement import Artifact
from node0lib.evidence.verify import Record, chain_of
from node0lib.shell.config import load
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.files import sha256_file
from node0lib.shell.keys import trusted
from node0lib.shell.notebooks import by_hand
from node0lib.shell.observe import derived_again
from node0lib.shell.settings import Settings
from node0lib.shell.workspace import rules_of, target_of

HARNESS = Path(__file__).parent / "killed_cycle.py"
AT = datetime(2026, 11, 24, 2, tzinfo=UTC)


def _cycle(folder: Path, at: str) -> str:
    """Run a cycle at an instant of a simulated clock; return its status."""
    words = [sys.executable, str(HARNESS), at]
    ran = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.split()[0]


def _chain(folder: Path) -> tuple[Record, ...]:
    return chain_of(EvidenceFiles(folder / "evidence"), trusted(folder.parent / f"{folder.name}-keys"))


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An installation in which every class needs an approval: a cycle, an approval, the cycle that acts on it."""
    folder = make_workspace(tmp_path_factory.mktemp("approved") / "w", trials="30")
    rules = folder / "configs" / "slo.yaml"
    rules.write_text(rules.read_text("utf-8").replace("approval: false", "approval: true"), "utf-8")
    assert _cycle(folder, "2026-11-24T02:00:00Z") == "held"
    (waiting,) = node0_json(folder, "change", "list", "--state", "waiting")
    assert waiting["origin"] == {"kind": "cycle", "name": "20261124T020000Z"}
    words = ("--by", "Ada", "--digest", waiting["after_sha256"])
    approved = node0_json(folder, "change", "approve", waiting["id"], *words)
    assert approved["state"] == "approved" and approved["approval_valid"] is True
    assert _cycle(folder, "2026-11-24T03:00:00Z") == "applied"
    return folder, waiting["id"]


def test_the_next_cycle_tries_what_was_approved(promoted: tuple[Path, str]) -> None:
    """The approved candidate is live, its change is promoted, and the history says who did what."""
    folder, name = promoted
    shown = node0_json(folder, "change", "show", name)
    assert sha256_file(folder / "data" / "policy" / "alpha.policy.json") == shown["after_sha256"]
    assert [step["state"] for step in shown["history"]] == ["waiting", "approved", "running", "promoted"]
    assert [step["who"] for step in shown["history"]][2:] == ["cycle 20261124T030000Z"] * 2
    assert [c["state"] for c in node0_json(folder, "change", "list")] == ["promoted"], "nothing else waits"


def test_the_record_names_the_approval_it_was_made_with(promoted: tuple[Path, str]) -> None:
    """The signed approval, by its digest, is an input of the PoI and of the provenance; all of it verifies."""
    folder, name = promoted
    newest = _chain(folder)[-1]
    envelope = f"approvals/{name}.approve.dsse.json"
    digest = sha256_file(folder / "evidence" / envelope)
    assert (envelope, digest) in [(a.name, a.sha256) for a in newest.poi.inputs]
    assert (envelope, digest) in [(a.name, a.sha256) for a in newest.provenance.dependencies]
    assert newest.poi.reasons[-1].startswith(f"change {name} was approved by Ada at ")
    assert node0(folder, "evidence", "verify").returncode == 0


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_verify_finds_a_touched_approval(promoted: tuple[Path, str], tmp_path: Path, how: str) -> None:
    """An approval that a record was made with can be neither edited nor taken away."""
    folder, name = promoted
    shutil.copytree(folder, tmp_path / "w")
    shutil.copytree(folder.parent / "w-keys", tmp_path / "w-keys")
    path = tmp_path / "w" / "evidence" / "approvals" / f"{name}.approve.dsse.json"
    path.write_bytes(path.read_bytes().replace(b"A", b"B", 1)) if how == "changed" else path.unlink()
    ran = node0(tmp_path / "w", "evidence", "verify")
    assert ran.returncode == 1 and f"approvals/{name}.approve.dsse.json: " in ran.stderr


# What the notebook says of an approved change is run again


@pytest.fixture(scope="module")
def honest() -> tuple[Settings, Given, CycleResult]:
    """An hour of the shipped installation in which a change of routing was approved."""
    settings = load(ROOT / "configs" / "node0.yaml")
    given = by_hand(settings, AT)
    candidate = {**given.policy, "agent_routing": "two_choices"}
    approved = Approved("4f0c11d2a3b4", candidate, "M", "Ada", AT, Artifact("approvals/x", "0" * 64))
    given = replace(given, approved=approved)
    result = run_cycle(given, rules_of(settings), target_of(settings), lambda *_: None)
    assert result.decision.kind == "applied" and result.decision.policy == candidate
    return settings, given, result


def test_an_honest_trial_of_an_approved_change_follows(honest: tuple[Settings, Given, CycleResult]) -> None:
    """What was measured and rolled out is derived again to the same value."""
    settings, given, result = honest
    assert derived_again(settings, given, result) == result


def test_a_notebook_cannot_put_another_change_in_place_of_the_approved_one(
    honest: tuple[Settings, Given, CycleResult],
) -> None:
    """Another candidate, or none at all, does not follow from what was given: nothing is applied."""
    settings, given, result = honest
    assert result.proposal is not None
    other = replace(result.proposal, policy={**given.policy, "llm_retries": 2})
    with pytest.raises(DataError, match="is not the approved change 4f0c11d2a3b4; nothing is applied"):
        derived_again(settings, given, replace(result, proposal=other))
    nothing = Decision("no_change", ("60 candidates, none better than the live policy",), given.policy)
    left_out = replace(result, proposal=None, classified=None, rollout=None, decision=nothing)
    with pytest.raises(DataError, match="does not follow"):
        derived_again(settings, given, left_out)


def test_an_approval_is_the_control_planes_to_give(honest: tuple[Settings, Given, CycleResult]) -> None:
    """A result that rests on an approval is refused where the control plane gave none for that policy."""
    settings, given, result = honest
    with pytest.raises(DataError, match="nothing is applied"):
        derived_again(settings, replace(given, approved=None), result)
