"""``node0 canary run`` on the embedded node: who may begin, and what the record says of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from workspaces import environment, make_workspace, node0, node0_json

from node0lib.evidence.verify import chain_of
from node0lib.gates import Incident
from node0lib.ports import Policy
from node0lib.shell import changes
from node0lib.shell.changes import Content, Origin
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import trusted
from node0lib.shell.state import State
from node0lib.shell.workspace import Places, live_policy
from node0lib.slo.catalogue import ChangeClass


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a past and its first policy sealed; tests work on copies."""
    folder = make_workspace(tmp_path_factory.mktemp("installed") / "w")
    assert node0(folder, "slo", "status").returncode == 0
    return folder


@pytest.fixture
def folder(installed: Path, tmp_path: Path) -> Path:
    shutil.copytree(installed, tmp_path / "w")
    return tmp_path / "w"


def _propose(folder: Path, kind: ChangeClass, **knobs: float) -> str:
    """Register a change of a class from the live policy, by Grace."""
    settings = load(folder / "configs" / "node0.yaml")
    places = Places.of(settings)
    live: Policy = live_policy(places, settings.initial_policy)
    after = {**live, **(knobs or {"cache_ttl_s": 121.0})}
    content = Content(Origin("person", "Grace"), live, after, kind, ("a test's",), None, None)
    with State(places.state) as state:
        made = changes.register(state, content, SystemClock().now(), approval=kind is ChangeClass.H)
    assert made is not None
    return made.id


def _refused(folder: Path, change: str) -> str:
    ran = node0(folder, "canary", "run", change)
    assert ran.returncode == 5, ran.stderr
    assert not list((folder / "reports").glob("*.rollout.json"))
    return ran.stderr


def test_class_h_needs_an_approval_and_the_record_names_it(folder: Path) -> None:
    """Without one it is refused, by force too; with one it is rolled out, and the approval is an input."""
    change = _propose(folder, ChangeClass.H)
    assert f"class H and has no approval: node0 change approve {change} --by NAME" in _refused(folder, change)
    assert node0(folder, "canary", "run", change, "--force").returncode == 5
    node0_json(folder, "change", "approve", change, "--by", "Ada")
    ran = node0(folder, "canary", "run", change, "--output", "json")
    told = json.loads(ran.stdout)
    assert ran.returncode == told["exit_code"] and ran.returncode in (0, 3), ran.stderr
    store = EvidenceFiles(folder / "evidence")
    newest = chain_of(store, trusted(Path(environment(folder)["NODE0_KEY_DIR"])))[-1].poi
    assert newest.cycle == told["id"] and any("approve" in one.name for one in newest.inputs)
    node0_json(folder, "evidence", "verify")


def test_what_was_rejected_or_superseded_is_refused(folder: Path) -> None:
    """A no is final, and a change from a policy that is not live any more is not tried."""
    no = _propose(folder, ChangeClass.L)
    later = _propose(folder, ChangeClass.L, cache_ttl_s=77.0)
    node0_json(folder, "change", "reject", no, "--by", "Ada", "--reason", "not now")
    assert f"change {no} is rejected (not now)" in _refused(folder, no)
    node0_json(folder, "canary", "run", _propose(folder, ChangeClass.L, cache_ttl_s=99.0))
    ran = node0(folder, "canary", "run", later)
    assert ran.returncode == 5 and f"change {later} is superseded" in ran.stderr


def test_an_approval_is_for_one_candidate(folder: Path) -> None:
    """Whoever puts another candidate under an approved change is refused, with both digests."""
    change = _propose(folder, ChangeClass.H)
    node0_json(folder, "change", "approve", change, "--by", "Ada")
    with sqlite3.connect(folder / "data" / "node0.sqlite") as memory:
        memory.execute("UPDATE requests SET content = replace(content, '121.0', '3600.0')")
    assert "was registered with the SHA-256" in _refused(folder, change)


def test_a_closed_gate_is_passed_by_force_only_and_that_is_recorded(folder: Path) -> None:
    """An open incident closes the gates; --force passes them, in the record and in the analysis."""
    change = _propose(folder, ChangeClass.L)
    places = Places.of(load(folder / "configs" / "node0.yaml"))
    with State(places.state) as state:
        state.record_incident("x", Incident("outage", SystemClock().now(), None, "the lights are out"))
    assert "the gates are closed" in _refused(folder, change)
    ran = node0(folder, "canary", "run", change, "--force", "--output", "json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads((places.reports / f"{json.loads(ran.stdout)['id']}.rollout.json").read_text("utf-8"))
    assert "passed by force" in json.dumps(told)
