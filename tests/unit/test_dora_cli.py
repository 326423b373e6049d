"""``node0 dora ingest`` and ``node0 dora report`` as they are typed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node0lib.dora.events import Change, Deployment, Event, Incident, event_line
from node0lib.dora.profiles import METRICS
from node0lib.shell.cli.dora import dora

END = datetime(2026, 3, 9, tzinfo=UTC)
AT = "2026-03-09T00:00:00Z"
HOUR = timedelta(hours=1)


def run(*words: object) -> Result:
    """What the command line does with these words."""
    return CliRunner().invoke(dora, [str(word) for word in words])


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Ten deployments of a shop over ten weeks, one of which failed."""
    found: list[Event] = []
    for k in range(10):
        at = END - timedelta(days=7 * k + 1)
        found.append(Deployment(f"d{k}", "shop", "production", at, at, changes=(Change(f"c{k}", at - (k + 1) * HOUR),)))
    found.append(Incident("i", "shop", END - 20 * HOUR, END - 18 * HOUR))
    path = tmp_path / "events.jsonl"
    path.write_text("".join(event_line(event) + "\n" for event in found), encoding="utf-8")
    return path


def document(*words: object) -> Any:
    """The JSON that the command prints."""
    ran = run(*words, "--output", "json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_a_report_in_json(events: Path) -> None:
    """One document: each metric with n, interval, definition, bands and target; weeks and trends beside."""
    group = document("report", "--events", events, "--at", AT)["groups"][0]
    metrics = group["windows"]["30d"]
    assert list(metrics) == list(METRICS)
    assert metrics["change_fail_rate"]["value"] == 0.2
    assert metrics["failed_deployment_recovery_time"]["value"] == 6 * 3600
    assert metrics["change_lead_time"]["target"]["verdict"] == "not shown by the data"
    assert group["trends"]["change_lead_time"]["verdict"] == "falling"
    assert 0 <= group["quick_check"]["30d"] <= 10


def test_a_report_in_text(events: Path) -> None:
    """A table for each group and window, with definitions in words; no data is a dash."""
    ran = run("report", "--events", events, "--at", AT, "--window", "12h")
    assert ran.exit_code == 0, ran.output
    assert "shop in production, 12h" in ran.stdout
    assert "change_fail_rate: The share of deployments" in ran.stdout


def test_profiles_differ_and_say_so(events: Path) -> None:
    """The same events under a peer's definition give another number, with the peer's faults told."""
    named = document("report", "--events", events, "--at", AT, "--profile", "fourkeys")
    assert named["groups"][0]["windows"]["30d"]["change_fail_rate"]["value"] == 0.0
    assert named["profile"]["faults"]


def test_ingesting_twice_changes_nothing(events: Path, tmp_path: Path) -> None:
    """All are new once and known afterwards."""
    out = tmp_path / "all.jsonl"
    assert document("ingest", "jsonl", events, "--out", out)["new"] == 11
    assert document("ingest", "jsonl", events, events, "--out", out) == {
        **{"file": str(out), "new": 0},
        **{"known": 22, "resolved": 0, "replaced": [], "unlinked": [], "notes": []},
    }


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--at", "2026-03-09"], 1, "no time zone"),
        (["--at", "2999-01-01T00:00:00Z"], 2, "lies in the future"),
        (["--environment", "prod"], 2, "nothing was ever deployed to 'prod'"),
        (["--window", "soon"], 2, "not a duration"),
        (["--profile", "gitlab", "--author"], 2, "of no use"),
    ],
)
def test_wrong_options_are_told(events: Path, words: list[str], code: int, told: str) -> None:
    """A wrong option is one clear error and the exit code of whose it is to correct."""
    ran = run("report", "--events", events, *words)
    assert (ran.exit_code, told in ran.stderr) == (2 if "--at" in words else code, True), ran.output


def test_wrong_events_are_told(events: Path, tmp_path: Path) -> None:
    """A truncated file leaves the output as it was and ends with 1; a missing one with 2."""
    out, cut = tmp_path / "all.jsonl", tmp_path / "cut.jsonl"
    cut.write_text(events.read_text("utf-8")[:-30], encoding="utf-8")
    ran = run("ingest", "jsonl", cut, "--out", out)
    assert (ran.exit_code, "cut.jsonl:11: ends in the middle" in ran.stderr, out.exists()) == (1, True, False)
    assert run("ingest", "csv", tmp_path / "none.csv", "--out", out).exit_code == 2
    assert run("ingest", "git", "--repo", tmp_path, "--out", out).exit_code == 2
    assert run("ingest", "git", "--tags", "v*", "--branch", "main", "--out", out).exit_code == 2
    differing = tmp_path / "other.jsonl"
    differing.write_text(event_line(Incident("i", "shop", END - HOUR)) + "\n", encoding="utf-8")
    both = run("report", "--events", events, "--events", differing)
    assert (both.exit_code, "other.jsonl: incident 'i' is given twice" in both.stderr) == (1, True)
