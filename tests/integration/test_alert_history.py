"""``node0 alerts replay --from`` on a whole installation: what it shows, and how it fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from workspaces import make_workspace

from node0lib.gates import Incident, firing
from node0lib.shell.cli import main
from node0lib.shell.collect import read_counts
from node0lib.shell.config import Settings, load
from node0lib.shell.history import History
from node0lib.shell.state import State
from node0lib.simulate.service import EmbeddedNode
from node0lib.slo.budget import status
from node0lib.timespan import format_duration, parse_instant

MINUTE = timedelta(minutes=1)
END = datetime(2026, 2, 2, 6, tzinfo=UTC)
"""On 2 February at 04:27 the embedded node's API fails 8.7% of its requests for 23 minutes."""
RANGE = ("--from", "2026-02-01T06:00:00Z", "--to", "2026-02-02T07:00:00+01:00", "--slo", "api_availability")
LABELS = """start,end,name
2026-02-02T04:27:00Z,2026-02-02T05:50:00+01:00,api outage
2026-02-02T04:40:00Z,2026-02-02T04:45:00Z,seen twice
2026-01-31T10:00:00Z,2026-02-01T07:00:00Z,overnight
2026-03-02T04:27:00Z,,later
2026-02-01T12:00:00Z,2026-02-01T12:30:00Z,nothing much
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation whose embedded node has four days of history, until END."""
    folder = make_workspace(tmp_path_factory.mktemp("past") / "w")
    settings = load(folder / "configs" / "node0.yaml")
    _history(settings).extend(END, settings.initial_policy, timedelta(days=4), lambda *_: None)
    (folder / "labels.csv").write_text(LABELS, "utf-8")
    return folder


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The installation as current folder; its configuration is afterwards as it was, and node0 remembers nothing."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "80")
    kept = {path: path.read_bytes() for path in made.glob("configs/*.yaml")}
    yield made
    for path, content in kept.items():
        path.write_bytes(content)
    for path in made.glob("data/node0.sqlite*"):
        path.unlink()


def _history(settings: Settings) -> History:
    return History(settings.data / "sli", EmbeddedNode(settings.telemetry.seed))  # type: ignore[union-attr]


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, ["alerts", "replay", *words])


def _document(*words: str) -> dict[str, Any]:
    done = _run(*words, "--output", "json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "configs" / "slo.yaml"
    text = path.read_text("utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), "utf-8")


def test_the_gates_and_the_replay_agree_minute_for_minute(place: Path) -> None:
    """Around the outage, gates.firing at an instant names the alerts that the replay has firing at that minute."""
    document = _document(*RANGE)
    own = document["policies"][0]
    assert own["name"] == "catalogue"
    settings = load(place / "configs" / "node0.yaml")
    catalogue = replace(settings.catalogue, slos=(settings.catalogue.slo("api_availability"),))
    slo, source, alerting = catalogue.slos[0], _history(settings), catalogue.alerting
    pairs = {f"{pair.severity}_{format_duration(pair.long)}": pair for pair in alerting.pairs}
    told = {
        alert["name"]: [(parse_instant(f["start"]), parse_instant(f["end"])) for f in alert["firing"]]
        for alert in own["alerts"]
    }
    assert told["critical_1h"] and told["warning_6h"]
    seen = set()
    for at in (END - n * MINUTE for n in (*range(110), *range(110, 1440, 97))):
        counts = read_counts(catalogue, source, at, lambda *_: None)[slo.name]
        by_window = {window: counts[format_duration(window)] for window in _windows(alerting.pairs, slo.window)}
        live = {alert.pair for alert in firing([status(slo, by_window, catalogue.budget_policy)], alerting)}
        replayed = {name for name, spans in told.items() if any(start <= at < end for start, end in spans)}
        assert live == {pairs[name] for name in replayed}, at
        seen.add(frozenset(replayed))
    assert len(seen) >= 3, "both sides changed in what was looked at"


def _windows(pairs: Any, window: timedelta) -> set[timedelta]:
    return {w for pair in pairs for w in (pair.long, pair.short)} | {window}


def test_policies_are_compared_on_labelled_incidents(place: Path) -> None:
    """Every label is accounted for, the outage is found, and all policies are judged on the same incidents."""
    names = ("workbook", "pyrra", "sloth", "dynamic", "approach-1")
    policies = [word for name in names for word in ("--policy", f"name:{name}")]
    document = _document(*RANGE, "--labels", "labels.csv", *policies)
    assert [p["name"] for p in document["policies"]] == [
        "catalogue", "workbook", "pyrra", "sloth", "dynamic", "approach-1",
    ]  # fmt: skip
    incidents = document["labels"]["incidents"]
    assert [(i["name"], i["standing"]) for i in incidents] == [
        ("overnight", "began before"),
        ("nothing much", "too small"),
        ("api outage + seen twice", "counted"),
        ("later", "outside"),
    ]
    assert incidents[2]["end"] == "2026-02-02T04:50:00Z" and incidents[2]["budget_spent"] > 0.01
    notes = " ".join(document["notes"])
    assert "api outage and seen twice overlap" in notes and "later (2026-03-02" in notes
    assert "overnight began before the range" in notes
    for policy in document["policies"]:
        quality = policy["quality"]
        assert quality["events"] == 1 and quality["recall"]["low"] is not None
        assert len(policy["detections"]) == 4 and policy["detections"][0] is None
    own = document["policies"][0]
    assert own["quality"]["detected"] == 1 and 0 < own["detections"][2] <= 1200
    assert own["pages"][0]["true"] is True and own["pages"][0]["budget_spent"] > 0
    assert own["alerts"] != document["policies"][1]["alerts"] and own["alerts"][0]["min_bad"] == 3
    assert document["source"] == {"name": "embedded node", "address": None, "simulated": True}
    assert document["range"]["evaluations"] == 1440


def test_without_labels_precision_is_null_and_firings_are_shown(place: Path) -> None:
    """The document and the table say that no incidents are labelled."""
    document = _document(*RANGE)
    quality = document["policies"][0]["quality"]
    assert document["labels"]["unlabelled"] == "no incidents are labelled"
    unknown = ("precision", "recall", "detection_seconds", "false_pages_a_month", "true_pages", "events", "detected")
    assert {quality[name] for name in unknown} == {None}
    assert quality["pages"] == len(document["policies"][0]["pages"]) == 1
    assert document["policies"][0]["pages"][0]["true"] is None
    shown = _run(*RANGE).stdout
    assert "no incidents are labelled" in shown and "2026-02-02T04:" in shown


def test_node0_s_own_incidents_are_labels_and_their_bias_is_told(place: Path) -> None:
    """The incident table is read; what node0's own alert opened is told."""
    with State(place / "data" / "node0.sqlite") as state:
        at = parse_instant("2026-02-02T04:27:00Z")
        state.record_incident("c1", Incident("critical_burn:api_availability", at, at + 23 * MINUTE, ""))
        state.record_incident("c1", Incident("failed", at, at, ""))
    document = _document(*RANGE)
    assert document["labels"]["source"] == "node0's incident table"
    assert [i["standing"] for i in document["labels"]["incidents"]] == ["counted"]
    assert "node0's own critical alert opened" in " ".join(document["notes"])


def test_tables_fit_80_columns_with_twenty_policies(place: Path) -> None:
    """All named policies and some files: no table is wider than a terminal, nothing is cut off."""
    file = place / "my-policy-with-a-long-name.yaml"
    file.write_text("objective: 0.99\nalerts: [{name: a, severity: info, long: 1h, short: 5m, factor: 200}]\n", "utf-8")
    names = ["workbook", "pyrra", "sloth", "dynamic", "pyrra-dynamic", "workbook-min-bad-3"]
    names += [f"approach-{n}" for n in range(1, 7)]
    policies = [word for name in names for word in ("--policy", f"name:{name}")]
    done = _run(*RANGE, "--labels", "labels.csv", *policies, "--policy", str(file))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in done.stdout
    assert "*** SIMULATED TELEMETRY ***" in lines[0]
    assert sum(line.startswith("catalogue ") for line in lines) == 2
    told = " ".join(done.stdout.split())
    assert "is written for 0.99, not 0.999" in told and "can never fire" in told and "it pages nobody" in told


def test_the_history_s_end_is_the_default_end(place: Path) -> None:
    """Without --to the embedded history is replayed as far as it goes; relative times are before now."""
    document = _document("--from", "2026-02-02T00:00:00Z", "--slo", "api_availability")
    assert document["range"]["to"] == "2026-02-02T06:00:00Z"
    assert document["observed"]["share"] == 1.0 and document["observed"]["lead_share"] == 1.0
    beyond = _document("--from", "2026-02-02T00:00:00Z", "--to", "2026-02-02T12:00:00Z", "--slo", "api_availability")
    assert beyond["observed"]["share"] == 0.5
    assert "50.0% of the range was observed: a gap of 6h from 2026-02-02T06:00:00Z" in beyond["notes"][0]
    early = _document("--from", "2026-01-30T00:00:00Z", "--slo", "api_availability", "--interval", "5m")
    assert early["observed"]["lead_share"] < 0.3 and "of the 3d before the range" in " ".join(early["notes"])


def test_a_timeslice_is_replayed_on_its_slices(place: Path) -> None:
    """Slices are the events; that its window is shorter than the alerts' period, and what cannot fire, is told."""
    document = _document("--from", "2026-02-01T06:00:00Z", "--slo", "api_latency_p99")
    notes = " ".join(document["notes"])
    assert document["slo"]["events"] == "slices" and "events are slices of 1m" in notes
    assert "node0 itself does not alert on it" in notes
    assert document["policies"][0]["alerts"][0]["can_fire"] is True
    coarse = _document("--from", "2026-02-01T06:00:00Z", "--slo", "api_latency_p95")
    assert "catalogue: critical_1h can never fire" in " ".join(coarse["notes"])


def test_maintenance_is_left_out_as_it_is_live(place: Path) -> None:
    """An outage in announced maintenance pages nobody, and the maintenance is no gap."""
    announced = (
        "maintenance:\n  - {start: 2026-02-02T04:20:00Z, end: 2026-02-02T05:00:00Z, reason: a move}\n"
        "error_budget_policy:\n"
    )
    _edit(place, "error_budget_policy:\n", announced)
    document = _document(*RANGE)
    assert document["policies"][0]["pages"] == [] and document["observed"]["share"] == 1.0


def test_a_report_is_written_that_loads_nothing(place: Path) -> None:
    """One file: SIMULATED, pictures with descriptions that state numbers, no script and no address."""
    done = _run(*RANGE, "--labels", "labels.csv", "--policy", "name:pyrra", "--report", "out/replay.html")
    assert done.exit_code == 0, done.output
    page = (place / "out" / "replay.html").read_text("utf-8")
    assert "SIMULATED TELEMETRY" in page and "<script" not in page and "http://" not in page and "https://" not in page
    assert page.count("<img alt=") == 2
    assert "catalogue: 1 true and 0 false pages" in page and "critical_1h fires from minute" in page
    assert "pages 1 of 1 incidents, and 0 times falsely" in page
    bare = _run(*RANGE, "--report", "out/bare.html")
    assert bare.exit_code == 0
    page = (place / "out" / "bare.html").read_text("utf-8")
    assert "nobody can say which of them were true" in page and page.count("<img alt=") == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--from", "2026-02-02T06:00:00Z", "--to", "2026-02-02T05:00:00Z"), 2, "is not before --to"),
        (("--from", "2026-02-03T06:00:00Z"), 2, "is not before the end of the history"),
        (("--from", "2126-02-02T05:00:00Z"), 2, "lies in the future"),
        (("--from", "2026-02-01T05:00:00Z", "--to", "2126-02-02T05:00:00Z"), 2, "--to: .* lies in the future"),
        (("--from", "2026-02-02T05:00:00"), 2, "has no time zone"),
        (("--from", "-30"), 2, "is not a duration"),
        (("--from", "-300000d"), 2, "lies before 2000"),
        (("--to", "2026-02-02T05:00:00Z"), 2, "--from: is needed"),
        (("--from", "2015-02-02T05:00:00Z"), 2, "more than 5,300,000 evaluations"),
        (("--from", "2025-02-02T05:00:00Z", "--to", "2025-03-02T05:00:00Z"), 1, "nothing was observed from 2025-02-02"),
        (("--from", "2026-02-01T06:00:00Z", "--interval", "7m"), 2, "divide a day"),
        (("--from", "2026-02-01T06:00:00Z", "--interval", "30s"), 2, "whole minutes"),
        (("--from", "2026-02-01T06:00:00Z", "--significant", "lots"), 2, "--significant: 'lots' is no share"),
        (("--from", "2026-02-01T06:00:00Z", "--grace", "soon"), 2, "--grace"),
        (("--from", "2026-02-01T06:00:00Z", "--labels", "none.csv"), 2, "none.csv: cannot be read"),
        (("--from", "2026-02-01T06:00:00Z", "--policy", "name:none"), 2, "known are approach-1"),
        (("--from", "2026-02-01T06:00:00Z", "--policy", "pyrra"), 2, "the policy of that name is name:pyrra"),
        (("--from", "2026-02-01T06:00:00Z", "--series", "s.csv"), 2, "--series is for a series from a file"),
        (("--from", "2026-02-01T06:00:00Z", "--semantics", "2"), 2, "--semantics is for a series"),
        (("--from", "2026-02-01T06:00:00Z", *(["--policy", "name:pyrra"] * 2)), 2, "name:pyrra is given twice"),
        (("--labels", "labels.csv"), 2, "--labels is for history: name its start with --from"),
        (("--policy", "a.yaml", "--policy", "b.yaml"), 2, "several are compared with --from"),
    ],
)
def test_a_command_line_that_is_wrong_is_one_clear_error(
    place: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    """Exit code, what is wrong, what to do; and nothing is replayed."""
    done = CliRunner().invoke(main, ["alerts", "replay", "--slo", "api_availability", *words], input=b"")
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.stderr
    assert re.search(told, done.stderr), done.stderr


def test_slos_that_cannot_be_replayed_are_refused(place: Path) -> None:
    """None named, an unknown one, an invariant."""
    since = ("--from", "2026-02-01T06:00:00Z")
    for words, told in (
        ((), "--slo: name the SLO"),
        (("--slo", "nothing"), "there is no SLO 'nothing'"),
        (("--slo", "ihsan_compliance"), "an invariant"),
    ):
        done = _run(*since, *words)
        assert done.exit_code == 2 and told in done.stderr, done.output


def test_policies_that_are_wrong_or_too_many_are_refused(place: Path) -> None:
    """A short window above its long one is told with its line; more than twenty policies with their number."""
    wrong = place / "wrong.yaml"
    wrong.write_text("objective: 0.99\nalerts: [{name: a, severity: info, long: 1h, short: 2h, factor: 2}]\n", "utf-8")
    done = _run(*RANGE, "--policy", str(wrong))
    assert done.exit_code == 2 and "wrong.yaml:2" in done.stderr and "must be at most long" in done.stderr
    right = "objective: 0.99\nalerts: [{name: a, severity: info, long: 1h, short: 5m, factor: 2}]\n"
    for n in range(20):
        (place / f"p{n}.yaml").write_text(right, "utf-8")
    done = _run(*RANGE, *[word for n in range(20) for word in ("--policy", f"p{n}.yaml")])
    assert done.exit_code == 2 and "21 policies, the catalogue's own included; at most 20" in done.stderr


def test_an_empty_history_says_what_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, and which command to run."""
    monkeypatch.chdir(make_workspace(tmp_path / "w"))
    done = _run(*RANGE)
    assert done.exit_code == 1 and "has no history yet; node0 cycle and node0 slo status make it" in done.stderr


def test_a_known_policy_is_replayed_on_a_file_too(place: Path) -> None:
    """name:pyrra takes the objective of --slo there, and is named as what was replayed."""
    series = "time,bad,total\n2026-03-01T00:01:00Z,0,10\n2026-03-01T00:02:00Z,1,10\n"
    words = ["alerts", "replay", "--slo", "alpha_availability", "--policy", "name:pyrra", "-o", "json"]
    done = CliRunner().invoke(main, words, input=series.encode())
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["policy"]["source"] == "name:pyrra" and document["policy"]["objective"] == 0.995
    assert [alert["factor"] for alert in document["alerts"]] == [14, 7, 2, 1]
