"""A rehearsal: hours on a simulated clock, apart from the real data, with evidence that says what it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from workspaces import make_workspace, node0, node0_json

from node0lib.evidence.verify import chain_of
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import trusted
from node0lib.timespan import format_instant

START = "2026-11-24T01:00:00Z"


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any], Mapping[str, str]]:
    """An installation with some data of its own, what a rehearsal of two hours told, and the data before it."""
    folder = make_workspace(tmp_path_factory.mktemp("replay") / "w", history="2h")
    for name in ("data", "evidence", "reports"):
        (folder / name).mkdir()
        (folder / name / "mine.txt").write_text("mine", "utf-8")
    before = _real(folder)
    return folder, node0_json(folder, "replay", "--hours", "2", "--start", START, "--into", "rehearsal"), before


def _real(folder: Path) -> Mapping[str, str]:
    """Digests of everything in the installation but the rehearsal."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and "rehearsal" not in p.relative_to(folder).parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_hour_leaves_verified_evidence(replayed: tuple[Path, Mapping[str, Any], Mapping[str, str]]) -> None:
    """The genesis and a record for each hour, which verify again from outside; every file that is told is there."""
    folder, told, _ = replayed
    assert told["verified_records"] == 3 and told["folder"] == str(folder / "rehearsal")
    assert [hour["status"] for hour in told["hours"]] == ["blocked"] * 2
    assert [hour["cycle"] for hour in told["hours"]] == ["20261124T010000Z", "20261124T020000Z"]
    for hour in told["hours"]:
        assert hour["reasons"] and hour["files"]
        assert all((folder / path).is_file() for path in hour["files"].values())
    again = node0_json(folder, "evidence", "verify", "--into", "rehearsal")
    assert again["records"] == 3 and again["newest_cycle"] == "20261124T020000Z"


def test_the_evidence_says_that_the_clock_was_simulated(
    replayed: tuple[Path, Mapping[str, Any], Mapping[str, str]],
) -> None:
    """Every record of the rehearsal, the genesis too, names its clock and the hour that it was of."""
    folder = replayed[0]
    chain = chain_of(EvidenceFiles(folder / "rehearsal" / "evidence"), trusted(folder.parent / "w-keys"))
    assert [record.poi.clock for record in chain] == ["simulated"] * 3
    assert [format_instant(record.poi.at) for record in chain[1:]] == [START, "2026-11-24T02:00:00Z"]
    assert all(record.poi.source.simulated for record in chain)


def test_the_reports_say_so_too(replayed: tuple[Path, Mapping[str, Any], Mapping[str, str]]) -> None:
    """Nobody takes a page of the rehearsal for a real one."""
    pages = sorted((replayed[0] / "rehearsal" / "reports").glob("*.html"))
    assert len(pages) == 4
    for page in pages:
        assert re.search(r"SIMULATED TARGET.*SIMULATED CLOCK", page.read_text("utf-8"), re.DOTALL), page.name


def test_the_real_data_is_not_touched(replayed: tuple[Path, Mapping[str, Any], Mapping[str, str]]) -> None:
    """Not a file is added, changed or taken away outside the rehearsal's folder."""
    folder, _, before = replayed
    assert _real(folder) == before
    assert {p.name for p in (folder / "rehearsal").iterdir()} == {"data", "evidence", "reports"}


def test_a_rehearsal_never_adds_to_another(replayed: tuple[Path, Mapping[str, Any], Mapping[str, str]]) -> None:
    """A folder that holds one is refused before anything is done, and what to do is said."""
    folder = replayed[0]
    kept = sorted((folder / "rehearsal").rglob("*"))
    ran = node0(folder, "replay", "--hours", "1", "--into", "rehearsal")
    assert ran.returncode == 2 and ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert "already holds a rehearsal" in line and "--into" in line
    assert sorted((folder / "rehearsal").rglob("*")) == kept


def test_a_past_of_others_cannot_be_rehearsed(tmp_path: Path) -> None:
    """Telemetry from a Prometheus is refused: its past cannot be made; nothing is written."""
    folder = make_workspace(tmp_path / "w")
    config = folder / "configs" / "node0.yaml"
    telemetry = 'telemetry: {kind: prometheus, url: "http://127.0.0.1:9"}\n'
    config.write_text(re.sub(r"(?m)^telemetry:\n(  .*\n)+", telemetry, config.read_text("utf-8")), "utf-8")
    ran = node0(folder, "replay", "--hours", "1", "--into", "rehearsal")
    assert ran.returncode == 2 and ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert "a replay needs the embedded node" in line
    assert not (folder / "rehearsal").exists() and not (folder / "data").exists()
