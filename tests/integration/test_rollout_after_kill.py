"""A rollout that ends where it should not: what is left is accounted for, verifies, and does not stand in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from workspaces import ROOT, environment, make_workspace, node0, node0_json

from node0lib.ports import Policy
from node0lib.shell import changes
from node0lib.shell.changes import Content, Origin
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.state import State
from node0lib.shell.workspace import Places, live_policy
from node0lib.slo.catalogue import ChangeClass

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a past; tests work on copies."""
    folder = make_workspace(tmp_path_factory.mktemp("installed") / "w")
    assert node0(folder, "slo", "status").returncode == 0
    return folder


@pytest.fixture
def folder(installed: Path, tmp_path: Path) -> Path:
    shutil.copytree(installed, tmp_path / "w")
    return tmp_path / "w"


def _places(folder: Path) -> Places:
    return Places.of(load(folder / "configs" / "node0.yaml"))


def _live(folder: Path) -> Policy:
    settings = load(folder / "configs" / "node0.yaml")
    return live_policy(Places.of(settings), settings.initial_policy)


def _propose(folder: Path) -> str:
    """Register a harmless change of class L."""
    live = _live(folder)
    content = Content(
        Origin("person", "Grace"), live, {**live, "cache_ttl_s": 121.0}, ChangeClass.L, ("a test's",), None, None
    )
    with State(_places(folder).state) as state:
        made = changes.register(state, content, SystemClock().now(), approval=False)
    assert made is not None
    return made.id


def _roll_out(folder: Path, change: str, point: str = "") -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "tests" / "integration" / "killed_rollout.py")
    return subprocess.run(
        [sys.executable, script, change, point],
        cwd=folder, env=environment(folder), capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def _remembered(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """The states of the rows of rollouts, the outcomes of deployments, the kinds of incidents."""
    with State(_places(folder).state) as state:
        rows, long_ago = state.cycles(), SystemClock().now() - timedelta(hours=1)
        deployed = [outcome for _, outcome in state.deployments(long_ago)]
        return [row.status for row in rows], deployed, [i.kind for i in state.incidents(long_ago)]


@pytest.mark.parametrize(
    ("point", "code", "ends", "deployed"),
    [
        ("kill:look:3", -9, "held", "failed"),  # in mid-canary
        ("kill:after:3", -9, "held", "failed"),  # promoted and attested, not yet applied
        ("kill:after:4", -9, "held", "failed"),  # applied, not yet proved
        ("kill:after:5", -9, "promoted", "succeeded"),  # sealed, not yet remembered
        ("full:before:1", 1, "held", "failed"),  # no place for the analysis
    ],
)
def test_what_a_broken_off_rollout_leaves_is_settled_by_the_next(
    folder: Path, point: str, code: int, ends: str, deployed: str
) -> None:
    """The sealed policy is live, the change and the deployment say what is known, and the evidence verifies."""
    before, change = _live(folder), _propose(folder)
    broken = _roll_out(folder, change, point)
    assert broken.returncode == code, broken.stderr
    again = _roll_out(folder, change)
    assert again.returncode == 5 and f"change {change} is {ends}" in again.stderr, again.stderr
    assert (_live(folder) == before) == (ends == "held")
    assert _remembered(folder) == (["interrupted"], [deployed], ["interrupted"])
    node0_json(folder, "evidence", "verify")


def test_an_interrupted_rollout_is_sealed_and_says_so(folder: Path) -> None:
    """Ctrl-C in mid-canary ends with 130, a signed record, a deployment that failed, and words for people."""
    change = _propose(folder)
    ended = _roll_out(folder, change, "interrupt:look:3")
    assert (ended.returncode, ended.stdout) == (130, "rolled_back\n"), ended.stderr
    assert _remembered(folder) == (["rolled_back"], ["failed"], ["rolled_back"])
    shown = node0_json(folder, "change", "show", change)
    assert shown["state"] == "rolled_back" and "interrupted (Ctrl-C or SIGTERM)" in str(shown)
    assert str(node0_json(folder, "evidence", "verify")["newest_cycle"]).endswith("-canary")
