"""The rules of ingestion: once is once, what may change, what is refused, and that size does not matter."""

from __future__ import annotations

import json
import os
import subprocess
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node0lib.dora.events import KINDS, OUTCOMES, Deployment, Event, Incident, event_line
from node0lib.dora.history import History
from node0lib.dora.report import Metric
from node0lib.dora.report import report as reported
from node0lib.dora.schema import columns
from node0lib.dora.sources.counters import Naming, Series, bucketed, deployments, spread
from node0lib.dora.sources.github import GitHub
from node0lib.dora.sources.payload import Wanted
from node0lib.errors import ConfigError, DataError
from node0lib.shell.cli.dora import dora
from node0lib.shell.dora_files import append_events, read_events
from node0lib.shell.dora_payloads import collected, payloads, values_in

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DATA = Path(__file__).parent.parent / "data" / "dora" / "payloads"
D1 = Deployment("d1", "shop", "production", NOON, NOON)
OPEN, OVER = Incident("i1", "shop", NOON, None, "d1"), Incident("i1", "shop", NOON, NOON + HOUR, "d1")


def run(*words: object) -> Result:
    """What the command line does with these words."""
    return CliRunner().invoke(dora, [str(word) for word in words])


def written(path: Path, events: Iterable[Event]) -> Path:
    """A file of these events."""
    path.write_text("".join(event_line(event) + "\n" for event in events), encoding="utf-8")
    return path


# What may change


def test_an_open_incident_goes_on(tmp_path: Path) -> None:
    """One that was open and is resolved changes in its place; the older export after that changes nothing."""
    out = written(tmp_path / "out.jsonl", [OPEN, D1])
    done = append_events(out, [OVER])
    assert (done.new, done.known, done.resolved) == (0, 0, 1)
    assert list(read_events(out)) == [OVER, D1]
    done = append_events(out, [OPEN, D1])
    assert (done.new, done.known, done.resolved) == (0, 2, 0)
    assert list(read_events(out)) == [OVER, D1]


@pytest.mark.parametrize(
    "other",
    [
        Incident("i1", "shop", NOON, NOON + HOUR),
        Incident("i1", "shop", NOON + HOUR, NOON + 2 * HOUR, "d1"),
        Incident("i1", "cart", NOON, NOON + HOUR, "d1"),
    ],
    ids=["cause", "time", "service"],
)
def test_anything_else_is_refused(tmp_path: Path, other: Event) -> None:
    """An incident that differs in more than its end has not gone on: both are shown, the file stays."""
    out = written(tmp_path / "out.jsonl", [OPEN])
    with pytest.raises(DataError, match="(?s)given twice.*first:.*second:"):
        append_events(out, [other])
    assert list(read_events(out)) == [OPEN]


def test_within_one_ingestion_nothing_goes_on(tmp_path: Path) -> None:
    """Two tellings that differ come from one source at one time: one of them is wrong, whatever is replaced."""
    for replace in (False, True):
        with pytest.raises(DataError, match="given twice"):
            append_events(tmp_path / "out.jsonl", [OPEN, OVER], replace=replace)


def test_replacing_is_told(tmp_path: Path) -> None:
    """With --replace the new one stands where the old one stood, and its name is given."""
    out = written(tmp_path / "out.jsonl", [D1, OPEN])
    other = written(tmp_path / "in.jsonl", [Deployment("d1", "shop", "staging", NOON, NOON)])
    assert run("ingest", "jsonl", other, "--out", out).exit_code == 1
    ran = run("ingest", "jsonl", other, "--out", out, "--replace", "-o", "json")
    assert json.loads(ran.stdout)["replaced"] == ["deployment d1"]
    assert list(read_events(out)) == [*read_events(other), OPEN]
    assert "1 replaced" in run("ingest", "jsonl", written(other, [D1]), "--out", out, "--replace").stdout


def git(where: Path, *words: str, at: int) -> None:
    """Run git as nobody in particular at a fixed time."""
    who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {"GIT_COMMITTER_DATE": f"{at} +0000", "GIT_AUTHOR_DATE": f"{at} +0000"}
    none = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(
        ["git", "-C", str(where), *words], capture_output=True, check=True, env={**os.environ, **who, **when, **none}
    )


def test_a_moved_tag_is_replaced(tmp_path: Path) -> None:
    """Refused where it changes what is known; with --replace the file is what a first ingestion would make."""
    where, out, fresh = tmp_path / "shop", tmp_path / "out.jsonl", tmp_path / "fresh.jsonl"
    where.mkdir()
    git(where, "init", "-q", "-b", "main", at=0)
    start = 1_772_000_000
    for k in range(4):
        git(where, "commit", "--allow-empty", "-q", "-m", f"c{k}", at=start + k * 1000)
        if k in (1, 3):
            git(where, "tag", f"v{k}", at=0)
    words = ("ingest", "git", "--repo", where, "--tags", "v*", "-o", "json", "--out")
    assert json.loads(run(*words, out).stdout)["new"] == 2
    git(where, "tag", "-f", "v1", "HEAD~1", at=0)  # c2 now comes with v1 and not with v3
    ran = run(*words, out)
    assert ran.exit_code == 1 and "git:shop:tag:v3@" in ran.stderr and "given twice" in ran.stderr
    found = json.loads(run(*words, out, "--replace").stdout)
    assert (found["new"], len(found["replaced"])) == (1, 2)
    assert any("the earlier deployment is taken out" in note for note in found["notes"])
    run(*words, fresh)
    assert set(read_events(out)) == set(read_events(fresh))


def test_sources_may_overlap(tmp_path: Path) -> None:
    """The same events in JSON lines after the export that they came from, and the export again, are known."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    names = [DATA / f"github-{name}.json" for name in ("deployments", "statuses", "issues")]
    assert "6 new" in run("ingest", "github", *names, "--out", first).stdout
    for words in (["jsonl", first], ["github", *names], ["jsonl", first, first]):
        ran = run("ingest", *words, "--out", second)
        assert ran.exit_code == 0, ran.output
    assert sorted(first.read_text("utf-8")) == sorted(second.read_text("utf-8"))


def test_circles_are_refused_when_they_close(tmp_path: Path) -> None:
    """An event that closes a circle of causes with what is in the file is refused, and the file stays."""
    out = written(tmp_path / "out.jsonl", [Incident("a", "shop", NOON, None, "b")])
    with pytest.raises(DataError, match="goes in a circle: .*incident a <- incident b|incident b <- incident a"):
        append_events(out, [Incident("b", "shop", NOON, None, "a")])
    before = out.read_text("utf-8")
    append_events(out, [Incident("b", "shop", NOON, None, "c"), Deployment("a", "shop", "production", NOON, NOON)])
    assert out.read_text("utf-8").startswith(before)


def test_numbers_that_collide_are_no_circle(tmp_path: Path) -> None:
    """Incident 7 caused by deployment 7 names the deployment, wherever that comes in."""
    seven = Incident("7", "shop", NOON, None, "7")
    append_events(tmp_path / "out.jsonl", [seven, Deployment("7", "shop", "production", NOON, NOON)])
    with pytest.raises(DataError, match="circle"):
        append_events(tmp_path / "alone.jsonl", [seven])


def test_a_file_that_contradicts_itself_is_not_added_to(tmp_path: Path) -> None:
    """Somebody edited it: both lines are shown."""
    out = written(tmp_path / "out.jsonl", [D1, D1, Deployment("d1", "shop", "staging", NOON, NOON)])
    with pytest.raises(DataError, match="(?s)given twice.*staging"):
        append_events(out, [OPEN])


def test_a_link_to_nothing_is_told_at_once(tmp_path: Path) -> None:
    """An incident whose cause is not in the file is named at ingestion, until the cause is there."""
    out, late = tmp_path / "out.jsonl", written(tmp_path / "late.jsonl", [D1])
    events = written(tmp_path / "in.jsonl", [OPEN])
    ran = run("ingest", "jsonl", events, "--out", out)
    assert "warning: incident i1 names the cause d1, which is not in" in ran.stderr
    ran = run("ingest", "jsonl", events, "--out", out, "-o", "json")
    assert json.loads(ran.stdout)["unlinked"] == [{"event": "incident i1", "caused_by": "d1"}]
    assert "warning" not in run("ingest", "jsonl", late, "--out", out).stderr


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_the_help_tells_the_schema(kind: str) -> None:
    """Every field of an event is in the help, within 80 columns, with what outcomes and kinds there are."""
    text = run("ingest", kind, "--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in (*columns(), *OUTCOMES, *KINDS))


# Services


def test_a_project_of_a_forge_is_told_how_to_declare_it(tmp_path: Path) -> None:
    """acme/shop where shop is declared: the error names both ways out."""
    events = written(tmp_path / "in.jsonl", [Deployment("d1", "acme/shop", "production", NOON, NOON)])
    ran = run("report", "--events", events, "--services", "shop,cart")
    assert ran.exit_code == 1 and "--service shop, or declare it with --services acme/shop" in ran.stderr


def test_services_may_be_declared(tmp_path: Path) -> None:
    """A service that was not declared is refused with the nearest name, at ingestion and in the report."""
    events, out = written(tmp_path / "in.jsonl", [D1, OPEN]), tmp_path / "out.jsonl"
    listed = tmp_path / "services.txt"
    listed.write_text("# ours\nshop  # the shop\n\ncart\n", encoding="utf-8")
    assert run("ingest", "jsonl", events, "--out", out, "--services", "shops,cart").exit_code == 1
    ran = run("ingest", "jsonl", events, "--out", out, "--services", "shops,cart")
    assert "is not declared; did you mean shops?" in ran.stderr and not out.exists()
    assert run("ingest", "jsonl", events, "--out", out, "--services", listed).exit_code == 0
    assert run("ingest", "jsonl", events, "--out", out, "--services", " , ").exit_code == 2
    words = ("report", "--events", out, "--at", "2026-03-03T00:00:00Z", "-o", "json", "--services")
    assert run(*words, listed).exit_code == 0
    ran = run(*words, "xyz")
    assert ran.exit_code == 1 and "declared are xyz" in ran.stderr


def test_services_may_be_declared_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """delivery.services holds for ingestion and report alike; --services comes before it."""
    monkeypatch.chdir(tmp_path)
    node = installed(tmp_path) / "node0.yaml"
    node.write_text(node.read_text("utf-8").replace("services: null", "services: [shops, cart]"), "utf-8")
    events, out = written(tmp_path / "in.jsonl", [D1, OPEN]), tmp_path / "out.jsonl"
    for words in (("ingest", "jsonl", events, "--out", out), ("report", "--events", events)):
        ran = run(*words)
        assert ran.exit_code == 1 and "not declared; did you mean shops?" in ran.stderr, ran.output
        assert run(*words, "--services", "shop").exit_code == 0


@pytest.mark.parametrize(
    ("written_as", "told"),
    [
        ("[]", "delivery.services: is an empty list"),
        ("[shop, shop]", "delivery.services[1]: shop is listed twice"),
        ("[5]", "delivery.services[0]: 5 is not a name"),
        ("shop", "delivery.services: 'shop' is not a list"),
    ],
)
def test_wrong_services_are_told_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_as: str, told: str
) -> None:
    """A mistake in the configuration's list is its own error, with file and line."""
    monkeypatch.chdir(tmp_path)
    node = installed(tmp_path) / "node0.yaml"
    node.write_text(node.read_text("utf-8").replace("services: null", f"services: {written_as}"), "utf-8")
    ran = run("report", "--events", written(tmp_path / "in.jsonl", [D1]))
    assert ran.exit_code == 2 and "configs/node0.yaml:" in ran.stderr and told in ran.stderr, ran.output


def installed(folder: Path) -> Path:
    """A copy of this repository's configuration; its folder."""
    root = Path(__file__).parent.parent.parent
    configs = folder / "configs"
    configs.mkdir()
    for path in (root / "configs").glob("*.*"):
        (configs / path.name).write_bytes(path.read_bytes())
    for name in ("constraints.txt", "notebooks/production_cycle.ipynb"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((root / name).read_bytes())
    return configs


# Maturity


def failing(events: list[Event], maturity: timedelta | None, at: datetime) -> tuple[int, tuple[str, ...], Metric]:
    """How many deployments of the last 30 days failed, the notes, and the recovery."""
    found = reported(History.of(events), at, maturity=maturity)
    metrics = found.groups[0].windows["30d"]
    return metrics[2].detail["failed"], found.notes, metrics[3]


@pytest.mark.parametrize("late", [1, 6, 8, 20])
def test_late_incidents_change_what_maturity_allows(late: int) -> None:
    """An incident counts if it was opened within the declared maturity of its deployment, linked or timed."""
    known = Incident("i", "shop", NOON + late * DAY, NOON + late * DAY + HOUR, "d1")
    at = NOON + 21 * DAY
    assert failing([D1, known], None, at)[0] == 1
    count, notes, recovery = failing([D1, known], 7 * DAY, at)
    assert (count, recovery.n) == ((1, 1) if late <= 7 else (0, 0))
    assert any("later than the declared maturity" in note for note in notes) is (late > 7)


def test_late_rollbacks_change_nothing_either() -> None:
    """A rollback after the maturity does not make a failure of what had closed."""
    back = Deployment("d2", "shop", "production", NOON + 9 * DAY, NOON + 9 * DAY, kind="rollback")
    assert failing([D1, back], None, NOON + 10 * DAY)[0] == 1
    count, notes, _ = failing([D1, back], 7 * DAY, NOON + 10 * DAY)
    assert count == 0 and any("declared maturity" in note for note in notes)


def test_a_closed_window_stays_as_it_was() -> None:
    """Whatever is opened after a window's deployments are mature changes no number of that window."""
    events: list[Event] = [
        Deployment(f"d{k}", "shop", "production", NOON + k * DAY, NOON + k * DAY) for k in range(14)
    ]
    end = NOON + 14 * DAY
    late = [Incident(f"i{k}", "shop", end + (k + 1) * DAY, None, f"d{k}") for k in range(14)]
    closed = NOON + 7 * DAY  # all that finished until then is a week old at the end
    before, after = (
        reported(History.of(rows), closed, maturity=7 * DAY).document()["groups"] for rows in (events, [*events, *late])
    )
    assert before == after
    assert failing([*events, *late], 7 * DAY, end + 20 * DAY)[0] == 0


def test_the_report_says_how_many_are_immature(tmp_path: Path) -> None:
    """The share that may still fail is told under the declared maturity, in text and in JSON."""
    young = Deployment("d2", "shop", "production", NOON + 5 * DAY, NOON + 5 * DAY)
    events = written(tmp_path / "in.jsonl", [D1, young])
    words = ("report", "--events", events, "--at", "2026-03-10T12:00:00Z", "--maturity", "7d", "--window", "30d")
    assert "50% may still fail (under 7d old)" in run(*words).stdout
    document = json.loads(run(*words, "-o", "json").stdout)
    assert document["maturity"] == "7d"
    assert document["groups"][0]["windows"]["30d"]["change_fail_rate"]["immature"] == 0.5
    assert run(*words[:-4], "--maturity", "soon").exit_code == 2


# Targets and bands


def test_targets_come_from_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default configuration counts where there is one, a named one must be there, and the report says whose."""
    events = written(tmp_path / "in.jsonl", [D1])
    words = ("report", "--events", events, "--at", "2026-03-03T00:00:00Z", "-o", "json")
    monkeypatch.chdir(tmp_path)
    assert json.loads(run(*words).stdout)["targets_of"] is None
    ran = run(*words, "--config", tmp_path / "none.yaml")
    assert ran.exit_code == 2 and "none.yaml" in ran.stderr
    slo = installed(tmp_path) / "slo.yaml"
    slo.write_text(slo.read_text("utf-8").replace("deployments_per_day: 2", "deployments_per_day: 3"), "utf-8")
    found = json.loads(run(*words).stdout)
    assert found["targets_of"] == "configs/node0.yaml"
    assert found["groups"][0]["windows"]["7d"]["deployment_frequency"]["target"]["target"] == 3


def test_the_text_shows_every_edition(tmp_path: Path) -> None:
    """Bands of 2021, 2023 and 2024 at both ends of the interval, in 80 columns."""
    events: list[Event] = [
        Deployment(f"d{k}", "a-service-with-quite-a-long-name", "production", NOON + k * 7 * HOUR, NOON + k * 7 * HOUR)
        for k in range(20)
    ]
    path = written(tmp_path / "in.jsonl", [*events, Incident("i", events[0].service, NOON, None, "d0")])
    ran = run("report", "--events", path, "--at", "2026-03-20T00:00:00Z")
    assert ran.exit_code == 0, ran.output
    assert max(map(len, ran.stdout.splitlines())) <= 80
    for word in ("2021", "2023", "2024", "at the low end", "at the high end", "between"):
        assert word in ran.stdout, word


# Payloads in files


PAGES = [
    ('[{"a": 1}]\n[{"a": 2}, {"a": 3}]\n', [1, 1 + 1, 2]),
    ('{"a": 1}\n\n{"a": 2}\n', [1, 3]),
    ('{"a":\n 1}', [1]),
    ("[[], [{}]]", [1]),
    ("", []),
    ("\ufeff[]", []),
]


@pytest.mark.parametrize(("text", "lines"), PAGES, ids=range(len(PAGES)))
def test_all_shapes_of_exports_are_read(tmp_path: Path, text: str, lines: list[int]) -> None:
    """One document, lists, lines, and pages behind each other give the same objects, each with its line."""
    path = tmp_path / "in.json"
    path.write_text(text, encoding="utf-8")
    assert [line for line, _ in payloads(path)] == lines


WRONG = [
    ('[{"a": 1}, {"a": ', "in.json:1: ends in the middle of a value; the file was cut short"),
    ('[{"a": 1},\n', "in.json:2: ends within a list"),
    ('[{"a": "x', "ends in the middle"),
    ('{"a": tru', "ends in the middle"),
    ('\n{"a": 1 "b": 2, "c": 3, "long enough": "to be no cut"}', "in.json:2: is not JSON"),
    ("[1, 2]", "neither an object nor a list"),
    ("]", "neither an object nor a list"),
    ('{"a": NaN, "b": "long enough to be no cut"}', "NaN is no JSON"),
    ('{"a": ' + "[" * 100_000, "in.json:1"),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=range(len(WRONG)))
def test_wrong_exports_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    """Truncated and malformed JSON is one error that names file and line."""
    path = tmp_path / "in.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        list(payloads(path))


def test_values_may_lie_across_pieces(tmp_path: Path) -> None:
    """A value that is longer than what is read at once is still one value."""
    path, rows = tmp_path / "in.json", [{"id": k, "text": "ä" * (k * 90_000)} for k in range(8)]
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    assert [row for _, row in payloads(path)] == rows


TEXT = '[{"a": [1, "x\\u00e4 \\"y\\""], "b": {}},\n {"c": null, "d": -1.5e3, "e": true}]'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 1000])
def test_pieces_do_not_matter(size: int) -> None:
    """However the text comes in pieces, the values and their lines are those of the whole."""
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    assert list(values_in(pieces, "x")) == list(zip((1, 2), json.loads(TEXT), strict=True))


def test_every_cut_is_called_a_cut() -> None:
    """A list that was cut short anywhere is told as that, and never taken for a shorter one."""
    for end in range(1, len(TEXT)):
        with pytest.raises(DataError, match="cut short"):
            list(values_in([TEXT[:end]], "x"))


def test_files_that_are_not_to_be_had(tmp_path: Path) -> None:
    """A missing export is the user's to correct; one in another encoding is refused."""
    out = tmp_path / "out.jsonl"
    for kind in ("github", "gitlab", "cdevents"):
        assert run("ingest", kind, tmp_path / "none.json", "--out", out).exit_code == 2
    (tmp_path / "odd.json").write_bytes(b'[{"a": "\xff"}]')
    assert run("ingest", "github", tmp_path / "odd.json", "--out", out).exit_code == 1
    assert not out.exists()


def test_an_export_from_the_future_is_refused(tmp_path: Path) -> None:
    """A deployment that finished after now is an error, and nothing is written."""
    path, out = tmp_path / "in.json", tmp_path / "out.jsonl"
    path.write_text((DATA / "cdevents.jsonl").read_text("utf-8").replace("2026-03-02", "2999-03-02"), "utf-8")
    ran = run("ingest", "cdevents", path, "--out", out)
    assert ran.exit_code == 1 and "lies in the future" in ran.stderr and not out.exists()


# Size


def peak(work: Callable[[], object]) -> int:
    """The most memory that Python held while it worked, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_events_and_not_with_size(tmp_path: Path) -> None:
    """The same events eight times as long take as much memory: as JSON lines into a file, and as an export."""
    peaks = []
    for length in (500, 4000):
        filler = "x" * length
        lines = written(
            tmp_path / f"{length}.jsonl", (Incident(f"i{k}", "shop", NOON, None, None, filler) for k in range(2000))
        )
        export = tmp_path / f"{length}.json"
        row = {"id": 1, "sha": "a", "created_at": "2026-03-02T10:00:00Z", "environment": "x", "payload": filler}
        urls = {"statuses_url": "", "task": "deploy", "url": "https://api.github.com/repos/o/r/deployments/1"}
        export.write_text(json.dumps([{**row, **urls, "id": k} for k in range(2000)]), encoding="utf-8")
        append = peak(lambda lines=lines: append_events(tmp_path / "out.jsonl", read_events(lines)))
        collect = peak(lambda export=export: collected(GitHub(Wanted()), [export]))
        peaks.append((append, collect))
        (tmp_path / "out.jsonl").unlink()
    assert peaks[1][0] < 1.5 * peaks[0][0] and peaks[1][1] < 1.5 * peaks[0][1], peaks


# Counters


def counted(samples: list[tuple[float, float]], **labels: str) -> Any:
    """The deployments of one series of the shop."""
    naming = Naming("deployments_total", "shop", "production")
    return deployments([Series(labels, samples)], naming)


def test_a_counters_rises_are_deployments() -> None:
    """Each rise is told at the later sample; what was before the first sample, and resets, are told and not made."""
    found = counted([(0, 3), (60, 3), (120, 5), (300, 1), (360, float("nan")), (420, 1)], status="success")
    assert [one.finished_at.timestamp() for one in found.deployments] == [120, 120, 300]
    assert len({one.id for one in found.deployments}) == 3
    assert (found.resolution, found.before, found.resets) == (180, 3, 1)
    assert "up to 180 s before" in found.notes[0] and "3 deployment(s)" in found.notes[1]


@pytest.mark.parametrize(
    ("labels", "meaning"),
    [
        ({}, ("succeeded", "normal")),
        ({"status": "success"}, ("succeeded", "normal")),
        ({"status": "rolled_back"}, ("rolled_back", "normal")),
        ({"status": "failed"}, ("failed", "normal")),
        ({"status": "failed", "change_class": "L"}, ("succeeded", "rollback")),
    ],
    ids=str,
)
def test_a_status_has_a_meaning(labels: dict[str, str], meaning: tuple[str, str]) -> None:
    """What never arrived, and what node0's own exporter counts when a change is taken back, are told apart."""
    (one,) = counted([(0, 0), (60, 1)], **labels).deployments
    assert (one.outcome, one.kind) == meaning


def test_what_is_no_counter_of_deployments_is_refused() -> None:
    """Parts of a deployment, thousands at once, words that nobody explained, and no service at all."""
    with pytest.raises(DataError, match=r"rose by 0\.5"):
        counted([(0, 0), (60, 0.5)])
    with pytest.raises(DataError, match="no counter of deployments"):
        counted([(0, 0), (60, 5000)])
    with pytest.raises(ConfigError, match="say what it means"):
        counted([(0, 0), (60, 1)], status="meh")
    with pytest.raises(ConfigError, match="--service-label"):
        deployments([Series({}, [(0, 0), (60, 1)])], Naming("deployments_total", None, "production"))


def test_a_histogram_gives_bounds_and_no_values() -> None:
    """Median and 0.9 quantile lie between bucket bounds; the last bucket is open; without observations all is None."""
    buckets = [Series({"le": le}, [(0, 1), (60, 1 + n)]) for le, n in (("60", 4.0), ("300", 8.0), ("+Inf", 10.0))]
    assert spread(bucketed(buckets), 5000.0) == {
        "count": 10,
        "mean": 500.0,
        "median": {"above": 60.0, "at_most": 300.0},
        "p90": {"above": 300.0, "at_most": None},
    }
    assert spread({}, 0.0)["median"] is None
    with pytest.raises(DataError, match="no le that is a number"):
        bucketed([Series({}, [])])
