"""``node0 slo status`` on whole installations: what it shows, what it leaves alone, and how it fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from workspaces import make_workspace

from node0lib.shell.cli.frame import Verbs
from node0lib.shell.cli.slo_status import status
from node0lib.shell.config import load
from node0lib.shell.history import History
from node0lib.shell.order import alone
from node0lib.shell.state import State, cycle_id
from node0lib.shell.workspace import Places
from node0lib.simulate.service import EmbeddedNode, minute_of
from node0lib.timespan import format_instant, parse_instant

MINUTE = timedelta(minutes=1)
SLO_KEYS = {
    "name", "description", "kind", "objective", "state", "problem", "note", "window", "good", "total", "clamped",
    "coverage", "sli", "sli_most", "budget_left", "burn", "exhaustion",
}  # fmt: skip


@click.group(cls=Verbs)
def slo() -> None:
    """What stands between the command and the shell: errors become messages and exit codes."""


slo.add_command(status)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation whose embedded node has three hours of history, until ten minutes ago."""
    folder = make_workspace(tmp_path_factory.mktemp("status") / "w", history="3h")
    settings = load(folder / "configs" / "node0.yaml")
    _history(folder).extend(_ago(10), settings.initial_policy, timedelta(hours=3), lambda *_: None)
    return folder


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The installation as current folder; its slo.yaml and history are afterwards as they were."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "80")
    kept = {path: path.read_bytes() for path in (*made.glob("configs/*.yaml"), *made.glob("data/sli/*"))}
    yield made
    for path in set(made.glob("data/**/*")) - set(kept):
        if path.is_file():
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)


def _ago(minutes: int) -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - minutes * MINUTE


def _history(folder: Path) -> History:
    return History(folder / "data" / "sli", EmbeddedNode(load(folder / "configs" / "node0.yaml").telemetry.seed))  # type: ignore[union-attr]


def _run(*words: str) -> Result:
    return CliRunner().invoke(slo, ["status", *words], prog_name="node0 slo")


def _seen(*words: str) -> dict[str, Any]:
    ran = _run(*words, "--output", "json")
    assert ran.exit_code == 0, ran.output
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def _slo(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in document["slos"] if s["name"] == name)
    return found


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "configs" / "slo.yaml"
    text = path.read_text("utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), "utf-8")


def test_everything_is_shown_in_80_columns(place: Path) -> None:
    """Every SLO with its state, the burns, and that the telemetry is simulated; nothing is cut off."""
    ran = _run()
    assert ran.exit_code == 0, ran.output
    shown = ran.stdout
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    assert "*** SIMULATED TELEMETRY ***" in shown and "telemetry: embedded node" in shown
    for slo_ in load(place / "configs" / "node0.yaml").catalogue.slos:
        assert len(re.findall(rf"(?m)^{slo_.name} ", shown)) == 2, slo_.name
    assert re.search(r"SLO +state +goal +measured +left +window +seen", shown)
    assert re.search(r"burn rate over +5m +30m +1h +6h +24h +3d +budget gone", shown)


def test_the_document_has_every_key_and_the_true_numbers(place: Path) -> None:
    """The JSON's keys are the documented ones, and its counts those of the history at that instant."""
    at = _ago(30)
    document = _seen("--at", format_instant(at + timedelta(seconds=40)))
    assert set(document) == {"at", "source", "slos", "composites", "maintenance"}
    assert document["at"] == format_instant(at), "whole minutes on the embedded node"
    assert document["source"] == {"name": "embedded node", "address": None, "simulated": True, "warnings": []}
    assert document["composites"] == document["maintenance"] == []
    catalogue, history = load(place / "configs" / "node0.yaml").catalogue, _history(place)
    assert [s["name"] for s in document["slos"]] == [s.name for s in catalogue.slos]
    for shown, objective in zip(document["slos"], catalogue.slos, strict=True):
        assert set(shown) == SLO_KEYS and list(shown["burn"]) == ["5m", "30m", "1h", "6h", "24h", "3d"]
        if objective.kind == "invariant":
            continue
        own = history.counts(objective, objective.window, at)
        assert (shown["good"], shown["total"], shown["coverage"]) == (own.good, own.total, own.coverage)
        hour = history.counts(objective, timedelta(hours=1), at).error_ratio
        assert hour is not None and shown["burn"]["1h"] == hour / objective.budget


def test_a_window_and_a_forecast_are_told_as_times(place: Path) -> None:
    """The window has start and end, and the budget's end is a time and the hours until then."""
    at = _ago(30)
    shown = _slo(_seen("--at", format_instant(at)), "agent_success_rate")
    assert shown["window"] == {
        "name": "1d", "start": format_instant(at - timedelta(days=1)), "end": format_instant(at), "ends": None,
        "time_zone": None, "excluded_hours": 0.0,
    }  # fmt: skip
    burn, exhaustion = shown["burn"]["1h"], shown["exhaustion"]
    if burn < 1:
        assert exhaustion is None
        return
    hours = max(0.0, shown["budget_left"]) * 24 / burn
    assert exhaustion["hours"] == pytest.approx(hours)
    assert abs(parse_instant(exhaustion["at"]) - at - timedelta(hours=hours)) < timedelta(seconds=1)


def test_now_the_embedded_node_makes_the_minutes_that_have_passed(place: Path) -> None:
    """Without --at the history goes on to this minute, under the policy of a new installation."""
    before = _history(place).last_minute()
    document = _seen()
    assert _history(place).last_minute() == minute_of(parse_instant(document["at"])) - 1 > (before or 0)
    assert _slo(document, "api_availability")["burn"]["5m"] is not None


def test_the_past_is_read_as_it_is(place: Path) -> None:
    """With --at nothing is written, and minutes that nobody made are a gap."""
    before = {path: path.stat().st_mtime_ns for path in place.glob("data/**/*")}
    document = _seen("--at", format_instant(_ago(2)))
    assert {path: path.stat().st_mtime_ns for path in place.glob("data/**/*")} == before
    shown = _slo(document, "api_availability")
    assert shown["state"] != "no_data" and shown["burn"]["5m"] is None and 0 < shown["coverage"] < 0.01


def test_long_before_there_was_anything_no_slo_has_data(place: Path) -> None:
    """What nobody observed is null with a reason, and still a good answer."""
    shown = _slo(_seen("--at", "2001-01-01T00:00:00Z"), "api_availability")
    assert (shown["state"], shown["sli"], shown["good"], shown["coverage"]) == ("no_data", None, None, 0.0)
    assert "no minutes" in shown["problem"] and set(shown["burn"].values()) == {None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-24T12:00:00", "has no time zone; write it with Z or an offset"),
        ("yesterday", "is not an ISO 8601 time"),
        ("2999-01-01T00:00:00Z", "lies in the future"),
        ("0001-01-01T00:00:00+14:00", "lies outside the years"),
        ("1999-12-31T23:59:59Z", "lies before 2000-01-01T00:00:00Z"),
    ],
)
def test_a_time_that_cannot_be_looked_at_is_refused(place: Path, text: str, said: str) -> None:
    """A naive, malformed, future or prehistoric --at ends with 2 and one message, as JSON too."""
    ran = _run("--at", text, "--output", "json")
    assert ran.exit_code == 2 and said in json.loads(ran.stdout)["error"]


def test_the_invariants_are_judged_by_the_scores_of_cycles(place: Path) -> None:
    """As in a cycle: the scores within the window; without a cycle there is no data, and the reason says so."""
    shown = _slo(_seen("--at", format_instant(_ago(1))), "ihsan_compliance")
    assert (shown["state"], shown["problem"]) == ("no_data", "no cycle within 1h has scored it")
    with State(place / "data" / "node0.sqlite") as state:
        for minutes, score in ((50, 100.0), (20, 96.0)):
            name = cycle_id(_ago(minutes))
            state.begin(name, _ago(minutes), _ago(minutes), forced=False)
            state.finish(name, "no_change", _ago(minutes), ihsan=score, reports=(), reason="")
    now = _slo(_seen("--at", format_instant(_ago(1))), "ihsan_compliance")
    assert (now["state"], now["good"], now["total"], now["budget_left"]) == ("breached", 1.0, 2.0, 0.0)
    assert now["exhaustion"] is None
    earlier = _slo(_seen("--at", format_instant(_ago(30))), "ihsan_compliance")
    assert (earlier["state"], earlier["good"], earlier["total"]) == ("meeting", 1.0, 1.0)


def test_calendars_maintenance_and_composites_are_shown(place: Path) -> None:
    """A month in Berlin, a maintenance in force, and a composite of three, in the text and in the document."""
    now = _ago(15)
    goal = "objective: 0.995\n    window: "
    _edit(place, f"{goal}30d", f"{goal}month\n    time_zone: Europe/Berlin")
    start, end = format_instant(now - 30 * MINUTE), format_instant(now + timedelta(hours=1))
    more = (
        f"\nmaintenance:\n- {{start: {start}, end: {end}, reason: the tools move, slos: [mcp_tools_availability]}}\n"
        "composites:\n- {name: assistant, of: {api_availability: 3, alpha_availability: 1}}\n"
        "- {name: tools, of: {api_availability: 1, mcp_tools_availability: 1}}\n"
    )
    with (place / "configs" / "slo.yaml").open("a", encoding="utf-8") as file:
        file.write(more)
    document = _seen("--at", format_instant(now))
    month, moved = _slo(document, "alpha_availability"), _slo(document, "mcp_tools_availability")
    assert month["window"]["name"] == "month" and month["window"]["time_zone"] == "Europe/Berlin"
    assert parse_instant(month["window"]["ends"]) > now >= parse_instant(month["window"]["start"])
    assert moved["window"]["excluded_hours"] == 0.5 and moved["burn"]["30m"] is None
    assert moved["burn"]["1h"] is not None and moved["state"] != "no_data"
    assert document["maintenance"] == [
        {"start": start, "end": end, "reason": "the tools move", "slos": ["mcp_tools_availability"]}
    ]
    first, second = document["composites"]
    parts = [_slo(document, name)["budget_left"] for name in ("api_availability", "alpha_availability")]
    assert first["budget_left"] == pytest.approx((3 * parts[0] + parts[1]) / 4) and first["problem"] is None
    assert second["burn"]["30m"] is None and second["of"] == {"api_availability": 1.0, "mcp_tools_availability": 1.0}
    text = _run("--at", format_instant(now)).stdout
    assert "MAINTENANCE until" in text and "assistant: 3 api_availability + 1 alpha_availability" in text
    assert "30m of the window are maintenance" in text and re.search(r"alpha_availability .* month ", text)


def test_while_a_cycle_runs_the_history_is_its_own(place: Path) -> None:
    """A cycle that holds the lock makes the minutes itself: status reads what is there, and does not wait."""
    before = _history(place).last_minute()
    with alone(Places.of(load(place / "configs" / "node0.yaml"))):
        assert _run().exit_code == 0
    assert _history(place).last_minute() == before


def test_a_server_that_is_down_leaves_every_slo_without_data(place: Path) -> None:
    """Its address is shown, the reason too, and that is still an answer: exit 0."""
    node = place / "configs" / "node0.yaml"
    down = 'telemetry: {kind: prometheus, url: "http://127.0.0.1:9"}\n'
    node.write_text(re.sub(r"(?m)^telemetry:\n(?:  .*\n)+", down, node.read_text("utf-8")), "utf-8")
    document = _seen("--at", format_instant(_ago(5)))
    assert document["source"]["simulated"] is False and document["source"]["address"] == "http://127.0.0.1:9"
    assert {s["state"] for s in document["slos"]} == {"no_data"} and all(s["problem"] for s in document["slos"])
    shown = _run("--at", format_instant(_ago(5))).stdout
    assert "SIMULATED" not in shown and "prometheus at http://127.0.0.1:9" in shown


def test_a_damaged_memory_is_an_error(place: Path) -> None:
    """A database that is none ends with 1 and its name."""
    (place / "data" / "node0.sqlite").write_bytes(b"no database, but long enough to be looked at as one" * 20)
    ran = _run("--at", format_instant(_ago(5)))
    assert ran.exit_code == 1 and "node0.sqlite: cannot be used" in ran.output


def test_a_damaged_history_is_an_error_or_a_reason(place: Path) -> None:
    """It cannot be gone on with: 1. As it is, it is no data, and the reason names the file."""
    for path in place.glob("data/sli/*.parquet"):
        path.write_bytes(b"PAR1" + b"x" * 100)
    ran = _run()
    assert ran.exit_code == 1 and ".parquet: cannot be read" in ran.output
    shown = _slo(_seen("--at", format_instant(_ago(5))), "api_availability")
    assert shown["state"] == "no_data" and ".parquet" in shown["problem"]


def test_a_mistake_in_the_configuration_is_told(place: Path) -> None:
    """A file that is not right ends with 2 and the line."""
    _edit(place, "objective: 0.995", "objective: 99.5")
    ran = _run()
    assert ran.exit_code == 2 and re.search(r"slo\.yaml:\d+: slos\.alpha_availability\.objective: 99\.5", ran.output)


def test_the_help_says_what_ends_how() -> None:
    """Exit codes and the document's keys stand in the help, in 80 columns."""
    shown = CliRunner().invoke(slo, ["status", "--help"], terminal_width=80).output
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("Exit codes:", "0  it could", "1  the stored", "2  the command", "budget_left", "5m 30m 1h 6h 24h 3d"):
        assert word in shown
