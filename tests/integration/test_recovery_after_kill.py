"""SIGKILL at every station: no half-written file, the policy is the sealed one, the evidence verifies."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from workspaces import ROOT, environment, make_workspace, node0, node0_json

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")

POINTS = [
    *[("station", n) for n in range(1, 11)],
    *[("before-replace", n) for n in range(1, 9)],
    *[("after-replace", n) for n in range(1, 9)],
]
"""Ten stations, and every file that an applying cycle publishes, just before and just after it appears."""

FIRST, SECOND, NEXT = "2026-11-24T01:00:00Z", "2026-11-24T02:00:00Z", "2026-11-24T02:10:00Z"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a month of history and one sealed cycle that changed nothing; tests work on copies."""
    folder = make_workspace(tmp_path_factory.mktemp("started") / "w", mode="recommend")
    ran = _cycle(folder, FIRST)
    assert ran.returncode == 0, ran.stderr
    node = folder / "configs" / "node0.yaml"
    node.write_text(node.read_text("utf-8").replace("mode: recommend", "mode: autonomous"), "utf-8")
    return folder


def _cycle(folder: Path, at: str, kill: str = "") -> subprocess.CompletedProcess[str]:
    """Run one cycle on a simulated clock; ``kill`` names the point at which it kills itself."""
    command = [sys.executable, str(ROOT / "tests" / "integration" / "killed_cycle.py"), at, kill]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=240, check=False
    )


def test_the_killed_cycle_would_have_applied_a_change(started: Path, tmp_path: Path) -> None:
    """The cycle that the tests below kill is one that replaces the live policy when it is left alone."""
    folder = _copied(started, tmp_path)
    before = (folder / "data/policy/alpha.policy.json").read_text("utf-8")
    ran = _cycle(folder, SECOND)
    assert ran.stdout.startswith("applied"), ran.stdout + ran.stderr[-2000:]
    assert (folder / "data/policy/alpha.policy.json").read_text("utf-8") != before


@pytest.mark.parametrize(("kind", "n"), POINTS, ids=[f"{kind}-{n}" for kind, n in POINTS])
def test_a_killed_cycle_is_accounted_for(started: Path, tmp_path: Path, kind: str, n: int) -> None:
    """Wherever a cycle is killed, the next one restores the sealed policy, records an incident and goes on."""
    folder = _copied(started, tmp_path)
    killed = _cycle(folder, SECOND, f"{kind}:{n}")
    assert killed.returncode == -signal.SIGKILL, f"not reached: {killed.stdout[-500:]}{killed.stderr[-2000:]}"
    _no_half_written_file(folder)

    after = _cycle(folder, NEXT)

    assert after.returncode in (3, 4), "blocked, or the change that was sealed just before the kill is taken back"
    verified = node0_json(folder, "evidence", "verify")
    assert verified["unsealed"] is None
    assert json.loads((folder / "data/policy/alpha.policy.json").read_text("utf-8")) == verified["newest_policy"]
    assert "interrupted" in after.stdout
    assert not [p for p in folder.rglob(".*.tmp") if "sli" not in p.parts]


def _copied(source: Path, into: Path) -> Path:
    """Copy an installation and its key; history files are linked, since they are only ever replaced whole."""
    folder = into / "w"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("sli"))
    shutil.copytree(source / "data" / "sli", folder / "data" / "sli", copy_function=os.link)
    shutil.copytree(source.parent / f"{source.name}-keys", into / f"{folder.name}-keys")
    return folder


def _no_half_written_file(folder: Path) -> None:
    """Whatever has its final name is whole."""
    written = ("evidence/*/*.json", "data/cycles/*/*.json", "reports/*.ipynb")
    for path in [found for pattern in written for found in folder.glob(pattern)]:
        json.loads(path.read_text("utf-8"))
    for path in folder.glob("reports/*.html"):
        assert path.read_text("utf-8").rstrip().endswith("</html>")
    json.loads((folder / "data/policy/alpha.policy.json").read_text("utf-8"))


@pytest.mark.parametrize("point", ["before-replace:1", "after-replace:1", "after-replace:2"])
def test_a_killed_recovery_is_accounted_for_too(started: Path, tmp_path: Path, point: str) -> None:
    """A cycle that is killed while it seals the record of a killed one leaves nothing that the third cannot mend."""
    folder = _copied(started, tmp_path)
    assert _cycle(folder, SECOND, "station:3").returncode == -signal.SIGKILL
    assert _cycle(folder, NEXT, point).returncode == -signal.SIGKILL

    third = _cycle(folder, "2026-11-24T02:20:00Z")

    assert third.returncode in (3, 4), third.stderr[-2000:]
    assert node0_json(folder, "evidence", "verify")["unsealed"] is None


def test_a_lost_memory_is_made_again_from_the_evidence(started: Path, tmp_path: Path) -> None:
    """Without its database an installation remembers its sealed cycles from the evidence, and says so."""
    folder = _copied(started, tmp_path)
    for path in (folder / "data").glob("node0.sqlite*"):
        path.unlink()
    after = _cycle(folder, SECOND)
    assert after.returncode == 3 and "memory_lost" in after.stdout, after.stdout + after.stderr[-2000:]
    assert node0_json(folder, "evidence", "verify")["records"] == 3


def test_a_kill_on_first_use_is_accounted_for(tmp_path: Path) -> None:
    """A kill while a new installation seals its genesis leaves one that starts again."""
    folder = make_workspace(tmp_path / "w", history="2h")
    assert _cycle(folder, FIRST, "after-replace:4").returncode == -signal.SIGKILL
    assert _cycle(folder, SECOND).returncode == 3, "two hours of history are too little coverage: blocked"
    assert node0_json(folder, "evidence", "verify")["unsealed"] is None
    assert node0(folder, "evidence", "verify").returncode == 0
