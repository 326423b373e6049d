"""What ``node0 dora report`` says in text, and that the JSON document says no less."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from node0lib.dora.events import Change, Deployment, Event, Incident, event_line
from node0lib.dora.profiles import METRICS
from node0lib.shell.cli.dora import dora
from node0lib.simulate.delivery import KINDS, end, events

HOUR = timedelta(hours=1)


def reported(folder: Path, found: list[Event], at: datetime, *words: str) -> str:
    """What the command prints of these events."""
    path = folder / "events.jsonl"
    path.write_text("".join(event_line(event) + "\n" for event in found), encoding="utf-8")
    asked = ["report", "--events", str(path), "--at", at.isoformat(), *words]
    ran = CliRunner().invoke(dora, asked)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def improving(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, object]]:
    """The text and the document of half a year of a team that gets better."""
    found = list(events(KINDS["improving"], 26, 3))
    at = end(26)
    found.append(Deployment("again", "shop", "production", at - 5 * HOUR, at - 4 * HOUR, kind="retry"))
    found.append(Deployment("undone", "shop", "production", at - 3 * HOUR, at - 2 * HOUR, "rolled_back"))
    folder = tmp_path_factory.mktemp("improving")
    words = ("--weeks", "26", "--window", "7d")
    return reported(folder, found, at, *words), json.loads(reported(folder, found, at, *words, "-o", "json"))


def test_everything_that_was_asked_is_in_the_text(improving: tuple[str, dict[str, object]]) -> None:
    """p90, what was counted apart, quick check, weeks with n and interval, trends with reasons and forecasts."""
    text, _ = improving
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert re.search(r"p90 │ [\d.]+ \w+ +│ [\d.]+ \w+ to", flat)
    assert "Counted apart: 1 retries" in flat and "1 rolled back by their own outcome" in flat
    assert re.search(r"Quick check of dora\.dev: \d\.\d of 10 \(all industries in 2025: 6\.\d\)", flat)
    assert re.search(r"2025-W30 +\d\.\d\d \(\d+\) +[\d.]+ \w+ \(\d+\)", text)
    assert re.search(r"lead time: falling by -[\d.]+ h a week, -.* \(chance alone orders 26 weeks so", flat)
    assert "next week" in flat and "in 80% of cases" in flat and "the line goes on" in flat
    assert "Incidents belong to production." in flat


def test_the_document_says_no_less(improving: tuple[str, dict[str, object]]) -> None:
    """Weeks with intervals, trends with reasons, forecasts with level and method, by metric."""
    _, document = improving
    assert document["production"] == ["production"]
    (group,) = document["groups"]  # type: ignore[misc,attr-defined]
    assert len(group["weeks"]) == 26
    for week in group["weeks"].values():
        assert list(week) == list(METRICS)
        assert all(set(one) == {"value", "low", "high", "n", "immature"} for one in week.values())
    assert all(one["reason"] for one in group["trends"].values())
    lead = group["forecasts"]["change_lead_time"]
    assert (lead["method"], lead["level"], len(lead["ahead"])) == ("trend", 0.8, 4)
    assert all(one["low"] <= one["value"] <= one["high"] for one in lead["ahead"])


def test_a_season_is_compared_with_itself(tmp_path: Path) -> None:
    """With --season 2 only weeks two apart are compared, and the reason counts on that."""
    found: list[Event] = []
    at = datetime(2026, 3, 9, tzinfo=UTC)
    for week in range(1, 13):
        for k in range((9 if week % 2 else 2) + (13 - week) // 3):
            when = at - timedelta(days=7 * week - 1, hours=k)
            found.append(Deployment(f"d{week}.{k}", "shop", "production", when, when))
    plain, apart = (reported(tmp_path, found, at, *more) for more in ((), ("--season", "2")))
    assert "frequency: no evidence of a trend" in plain and "frequency: rising by" in apart


def test_names_are_no_markup(tmp_path: Path) -> None:
    """Square brackets and control codes in a service's name are printed as they are, and as question marks."""
    at = datetime(2026, 3, 9, tzinfo=UTC)
    found: list[Event] = [
        Deployment("d", "[/b]shop\x1b[31m", "[red]", at - HOUR, at - HOUR),
        Incident("i", "[bold]ghost", at - HOUR),
    ]
    text = reported(tmp_path, found, at, "--environment", "[red]")
    assert "[/b]shop?[31m in [red], 7d" in text and "\x1b" not in text and "'[bold]ghost'" in text


def test_a_history_of_git_alone_shows_nothing_of_failures(tmp_path: Path) -> None:
    """Text and document give the reason, say what verdicts rest on, and that lead times begin at 0 by construction."""
    at = datetime(2026, 3, 9, tzinfo=UTC)
    times = [at - k * HOUR for k in range(1, 80)]
    found: list[Event] = [
        Deployment(f"d{k}", "shop", "production", when, when, changes=(Change(f"c{k}", when),))
        for k, when in enumerate(times)
    ]
    text = " ".join(reported(tmp_path, found, at).split())
    assert "fail rate, recovery, rework: not shown by the data: there is no incident and no failed" in text
    assert "met and missed by one-sided 95% bounds" in text and "79 deployment(s) finished at the very time" in text
    document = json.loads(reported(tmp_path, found, at, "-o", "json"))
    rows = document["groups"][0]["windows"]["30d"]
    assert all(rows[name]["target"]["verdict"] == "not shown by the data" for name in METRICS[2:])
    assert rows["change_fail_rate"]["target"]["reason"].endswith("nobody recorded any, or there were none")
