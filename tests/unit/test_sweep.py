"""Sweeps: what a file may say, how cells are numbered, what they cost, and what a folder takes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import node0lib
from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import QualityRules, pooled
from node0lib.errors import ConfigError, DataError, RefusedError, RunError
from node0lib.shell import sweep_folder, sweep_run
from node0lib.shell.cli.simulate import simulate
from node0lib.shell.sweep_file import parse_sweep, read_sweep
from node0lib.shell.sweep_folder import MANIFEST, opened, versions
from node0lib.shell.sweep_run import measured_pace, run_sweep
from node0lib.shell.sweep_workers import alone, run_checked
from node0lib.simulate.gallery import FAULTS
from node0lib.simulate.months import evaluate
from node0lib.simulate.scenario import Fault, Floor, Traffic, plan
from node0lib.simulate.sweep import (
    MOST_COMBINATIONS,
    Pace,
    Sweep,
    cell_at,
    cells,
    cost,
    count,
    digest,
    quality_of,
    refuse_if_vast,
    rows_of,
    run_block,
    run_cell,
)

EXAMPLE = Path(node0lib.__file__).parent.parent / "configs" / "examples" / "burn-sweep.yaml"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OUTAGE = Fault("outage", 20 * HOUR, HOUR / 2, errors=0.5)
SMALL = Sweep(
    (0.999, 0.99),
    {"busy": Traffic(36_000.0, daily_swing=0.5), "quiet": Traffic(600.0)},
    {"clustered": Floor(0.0003, 0.5)},
    {"none": (), "outage": (OUTAGE,)},
    {"workbook": None, "mine": (BurnAlert("fast", "critical", HOUR, HOUR / 12, 10.0),)},
    range(1, 3),
    months=60,
    length=2 * DAY,
)
TEXT = """months: 20
objectives: [0.999]
traffic:
- {name: busy, per_hour: 36000}
errors:
- {name: iid, rate: 0.03%}
faults:
- none
policies:
- workbook
seeds: [1]
"""


def parsed(text: str) -> Sweep:
    return parse_sweep(text.encode(), "sweep.yaml")


# The file


def test_the_example_is_a_sweep_of_seconds() -> None:
    """The shipped example reads, uses every way of writing an axis, and is small."""
    sweep = read_sweep(EXAMPLE)
    assert count(sweep) == 320 and cost(sweep, Pace(0.0, 0.0)).months == 400
    assert [len(faults) for faults in sweep.faults.values()] == [0, 1, 1, 1, 2]
    assert [alert.name for alert in sweep.policies["ours"] or ()] == ["fast", "slow"]
    assert sweep.seeds == range(1, 3)


def test_a_minimal_file_has_the_usual_month() -> None:
    """What is left out is a month of minutes from a Monday on, judged by the usual rules."""
    sweep = parsed(TEXT)
    assert (sweep.length, sweep.period, sweep.step) == (30 * DAY, 30 * DAY, HOUR / 60)
    assert sweep.rules == QualityRules() and sweep.seeds == (1,)
    assert parsed(TEXT + "quality: {significant: 5%, grace: 0s}\n").rules == QualityRules(0.05, timedelta(0))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("months: 20", "months: 0", "sweep.yaml:1: months: 0 must be at least 1"),
        ("months: 20", "months: 20000", "sweep.yaml:1: months: 20000 must be at most 10000"),
        ("[0.999]", "[0.999, 1]", "sweep.yaml:2: objectives[1]: 1 must lie strictly between 0 and 1"),
        ("[0.999]", "[0.999, 0.999]", "sweep.yaml:2: objectives[1]: 0.999 is there twice"),
        ("[0.999]", "[]", "sweep.yaml:2: objectives: has too few items"),
        ("per_hour: 36000", "per_hour: -1", "sweep.yaml:4: traffic.busy.per_hour: -1 must be at least 0"),
        ("{name: busy, per_hour: 36000}", "busy", "sweep.yaml:4: traffic[0]: 'busy' is not a mapping of keys"),
        ("per_hour: 36000", "daily_swing: 50%", "sweep.yaml:4: traffic.busy: traffic needs either"),
        ("rate: 0.03%", "rate: 1.5", "sweep.yaml:6: errors.iid.rate: 1.5 must lie between 0 and 1"),
        ("name: iid, ", "", "sweep.yaml:6: errors[0].name: is missing"),
        ("- none", "- full outrage", "sweep.yaml:8: faults[0]: full outrage is not known; did you mean full outage?"),
        ("- none", "- none\n- none", "sweep.yaml:9: faults[1]: none is taken, first in line 8; names must differ"),
        ("- none", "- {name: late, onset: 30d, length: 1m}", "sweep.yaml:8: faults.late: fault late: ends after 30d1m"),
        ("- none", "- {name: two, faults: []}", "sweep.yaml:8: faults.two.faults: must be a list with one item"),
        ("- workbook", "- slot", "sweep.yaml:10: policies[0]: slot is not known; did you mean sloth?"),
        (
            "- workbook",
            "- {name: mine, alerts: [{name: page, severity: page, long: 1h, short: 5m, factor: 10}]}",
            "sweep.yaml:10: policies.mine.alerts.page.name: page is what the alerts that page are called together",
        ),
        (
            "- workbook",
            "- {name: mine, alerts: [{name: a, severity: page, long: 1h, short: 5h, factor: 10}]}",
            "sweep.yaml:10: policies.mine.alerts.a.short: must be at most long",
        ),
        ("seeds: [1]", "seeds: [1, -2]", "sweep.yaml:11: seeds[1]: -2 is no seed; write a whole number from 0 on"),
        ("seeds: [1]", "seeds: [1, 1]", "sweep.yaml:11: seeds[1]: 1 is there twice"),
        ("seeds: [1]", "seeds: {first: 1}", "sweep.yaml:11: seeds.count: is missing; add for example count: 100"),
        ("seeds: [1]", "", "seeds: must be a list, or a beginning and a count"),
        ("seeds: [1]", "seeds: [1]\nstep: 7m", "must be a whole number of steps"),
        ("seeds: [1]", "seeds: [1]\nseed: 2", "sweep.yaml:12: seed: is no key here; did you mean seeds?"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, told: str) -> None:
    """Whatever is wrong in a sweep file is said with file, line, path of keys and what to do."""
    with pytest.raises(ConfigError) as error:
        parsed(TEXT.replace(old, new))
    assert told in str(error.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Three mistakes in three axes are three lines of one error."""
    text = TEXT.replace("36000", "-1").replace("none", "nothing").replace("[1]", "[x]")
    with pytest.raises(ConfigError) as error:
        parsed(text)
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["4", "8", "11"]


@pytest.mark.parametrize("content", [b"", b"- 1", b"a: [", b"\xff", b"months: &a [*a]"])
def test_what_is_no_mapping_is_no_sweep(content: bytes) -> None:
    """Any bytes give a sweep or a ConfigError that names the file."""
    with pytest.raises(ConfigError, match=r"sweep\.yaml"):
        parse_sweep(content, "sweep.yaml")


# Cells


def test_cells_have_stable_identifiers() -> None:
    """A cell is called after what it is made of, once each, and keeps its name when the axes grow."""
    names = [cell.id for cell in cells(SMALL)]
    assert names[:3] == ["busy/clustered/none/1", "busy/clustered/none/2", "busy/clustered/outage/1"]
    assert len(set(names)) == len(names) == SMALL.cells == 8
    grown = replace(SMALL, faults={**SMALL.faults, "full outage": ()}, seeds=range(1, 9))
    assert set(names) < {cell.id for cell in cells(grown)}


def test_a_cell_is_the_same_in_a_larger_sweep() -> None:
    """What is found in a cell depends on that cell only, not on the grid around it."""
    small = replace(SMALL, months=3)
    grown = replace(small, traffics={"new": Traffic(60.0), **small.traffics}, seeds=range(0, 5))
    of = {cell.id: cell for cell in cells(grown)}
    cell = cell_at(small, 3)
    assert run_cell(of[cell.id]) == run_cell(cell)


def test_blocks_change_nothing() -> None:
    """A cell that is computed block by block gives the very numbers of all its months at once."""
    cell = cell_at(SMALL, 2)
    assert [len(block) for block in cell.blocks] == [50, 10]
    whole = evaluate(plan(cell.scenario), cell.policies, months=range(60), seed=cell.seed, rules=cell.rules)
    rows = {(row["objective"], row["policy"], row["alert"]): row for row in run_cell(cell)}
    for label, key in cell.labels.items():
        for alert, quality in whole[label].items():
            assert replace(quality_of(rows[*key, alert]), months=quality.months) == quality
    assert len(rows) == 2 * (5 + 2)


def test_page_is_always_the_union() -> None:
    """An alert that is itself called page does not stand for all that page."""
    alerts = (BurnAlert("page", "critical", HOUR, HOUR, 900.0), BurnAlert("fast", "critical", HOUR, HOUR / 12, 10.0))
    policies = {"mine": AlertPolicy(0.999, 30 * DAY, alerts)}
    found = evaluate(plan(cell_at(SMALL, 2).scenario), policies, months=range(3), seed=1)["mine"]
    assert set(found) == {"page", "fast"} and found["page"].detected == found["fast"].detected == 3


def test_rows_carry_estimates_with_intervals() -> None:
    """A row has counts, estimates with both ends, None for what is not known, and can be pooled again."""
    healthy, outage = (run_cell(cell_at(replace(SMALL, months=20), n))[0] for n in (0, 2))
    assert healthy["alert"] == outage["alert"] == "page" and healthy["severity"] is None
    assert healthy["events"] == 0 and healthy["recall"] is None and healthy["recall_low"] is None
    assert outage["events"] == outage["detected"] == 20 and outage["recall"] == 1.0
    assert 0.8 < outage["recall_low"] < 0.9 and outage["recall_high"] == 1.0
    assert len(outage["detection_s"]) == 20 and outage["detection_low"] <= outage["detection"]
    assert pooled([quality_of(healthy), quality_of(outage)]).events == 20


def test_a_missing_block_is_never_a_row() -> None:
    """Rows are made of all blocks of a cell, or not at all."""
    cell = cell_at(SMALL, 0)
    with pytest.raises(RunError, match="1 of 2 blocks"):
        rows_of(cell, [run_block(cell, cell.blocks[0])])


def test_chunks_cover_every_cell_once() -> None:
    """Every cell lies in one chunk, and even millions of months make no more than some thousand files."""
    for sweep in (SMALL, replace(SMALL, months=1), replace(SMALL, seeds=range(12_345)), replace(SMALL, months=10_000)):
        numbers = [n for chunk in range(sweep.chunks) for n in sweep.in_chunk(chunk)]
        assert numbers == list(range(sweep.cells)) and sweep.chunks <= 2000


def test_any_change_is_another_sweep() -> None:
    """The digest differs for every change of what is simulated, even of the order of rows."""
    changed = [
        replace(SMALL, months=61),
        replace(SMALL, objectives=(0.99, 0.999)),
        replace(SMALL, faults=dict(reversed(SMALL.faults.items()))),
        replace(SMALL, floors={"clustered": Floor(0.0003, 0.6)}),
        replace(SMALL, policies={**SMALL.policies, "mine": None, "workbook": None} | {"mine": SMALL.policies["mine"]},
                seeds=range(1, 4)),  # fmt: skip
        replace(SMALL, rules=QualityRules(0.02)),
        replace(SMALL, step=HOUR / 30),
    ]
    assert len({digest(sweep) for sweep in (SMALL, *changed)}) == len(changed) + 1
    assert digest(SMALL) == digest(replace(SMALL))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"objectives": ()}, "at least one objective"),
        ({"objectives": (1.0,)}, "strictly between 0 and 1"),
        ({"objectives": (0.9, 0.9)}, "must differ"),
        ({"policies": {"mine": None}}, "policy mine is not known"),
        ({"policies": {"m": (BurnAlert("page", "critical", HOUR, HOUR, 1.0),)}}, "no alert may be called page"),
        ({"faults": {"late": FAULTS["full outage"]}}, "outside the scenario"),
        ({"traffics": {"a/b": Traffic(1.0)}}, "must not have a /"),
        ({"seeds": (-1,)}, "at least 0"),
        ({"months": 0}, "between 1 and 10,000"),
    ],
)
def test_what_cannot_be_simulated_is_no_sweep(change: dict[str, object], told: str) -> None:
    """A sweep that exists can be run."""
    with pytest.raises(ConfigError, match=told):
        replace(SMALL, **change)  # type: ignore[arg-type]


# Cost


def test_a_cost_is_counted_and_measured() -> None:
    """Cells are counted, a month is drawn once for all policies, and seconds follow from the pace that is given."""
    told = cost(SMALL, Pace(0.001, 0.0005))
    assert (told.combinations, told.months) == (8 * 2 * 2, 8 * 60)
    assert told.seconds == pytest.approx(480 * (0.001 + 4 * 0.0005))
    assert (pace := measured_pace(SMALL)).draw > 0 and pace.policy > 0


def test_a_vast_sweep_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """10^9 cells are counted, priced and refused, and no folder is made."""
    vast = replace(SMALL, seeds=range(62_500_000), policies={name: None for name in ("workbook", "pyrra")})
    vast = replace(vast, traffics={f"t{n}": Traffic(60.0) for n in range(2)}, objectives=(0.9, 0.99))
    assert count(vast) == 10**9 > MOST_COMBINATIONS
    told = r"1,000,000,000 cells and draws 15,000,000,000 months, 43,200,000,000,000 steps in all: about \d+ days on"
    with pytest.raises(ConfigError, match=told):
        refuse_if_vast(vast)
    with alone() as crew, pytest.raises(ConfigError, match="Nothing was started"):
        run_sweep(vast, tmp_path / "out", crew)
    assert not (tmp_path / "out").exists()


def test_short_steps_make_a_sweep_vast_too() -> None:
    """What is drawn are steps: few cells and months of seconds are refused where as many of minutes are run."""
    minutes = replace(SMALL, months=5_000, seeds=range(40))
    refuse_if_vast(minutes)
    with pytest.raises(ConfigError, match=r"800,000 months, 1,382,400,000,000 steps .* take longer steps"):
        refuse_if_vast(replace(minutes, length=20 * DAY, step=timedelta(seconds=1)))


# The folder


@pytest.fixture
def tiny() -> Sweep:
    return replace(SMALL, months=250, seeds=(7,), objectives=(0.999,), length=DAY)


def test_a_folder_goes_on_where_it_stopped(tmp_path: Path, tiny: Sweep) -> None:
    """What is finished is not computed again; what is damaged, or missing, is made again, byte for byte."""
    with alone() as crew:
        first = run_sweep(tiny, tmp_path, crew)
        assert (first.found_before, first.chunks, first.months) == (0, 2, 1000)
        kept = {path.name: path.read_bytes() for path in tmp_path.glob("part-*")}
        (tmp_path / "part-000001.parquet").write_bytes(kept["part-000001.parquet"][:-9])
        (tmp_path / ".part-000001.parquet.x.tmp").write_bytes(b"half")
        second = run_sweep(tiny, tmp_path, crew)
    assert (second.found_before, second.months) == (1, 500)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("part-*")} == kept
    assert not list(tmp_path.glob("*.tmp")) and second.summary == first.summary


def test_a_flipped_byte_is_never_a_result(tmp_path: Path, tiny: Sweep) -> None:
    """A part with one wrong byte, in whatever column, is made again, or still reads as the very rows it was."""
    tiny = replace(tiny, months=2)
    with opened(tmp_path, tiny) as folder:
        folder.write(0, [row for cell in cells(tiny) for row in run_cell(cell)])
        path = tmp_path / "part-000000.parquet"
        sound, rows, seen = path.read_bytes(), pq.read_table(path), 0
        pages = {column.data_page_offset + 40 for column in columns_of(sound)}
        for place in sorted(pages | set(range(4, len(sound), 97))):
            path.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
            if folder.finished():
                assert place not in pages and pq.read_table(path).equals(rows)
            else:
                seen += 1
        assert seen > len(pages) > 20
        place = next(one.data_page_offset + 40 for one in columns_of(sound) if one.path_in_schema == "months")
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        with pytest.raises(DataError, match=r"part-000000\.parquet: is damaged"):
            list(folder.tables(["months"], "page"))
    with alone() as crew:
        ran = run_sweep(tiny, tmp_path, crew)
    assert ran.found_before == 0 and path.read_bytes() == sound


def columns_of(part: bytes) -> list[pq.ColumnChunkMetaData]:
    group = pq.read_metadata(io.BytesIO(part)).row_group(0)
    return [group.column(n) for n in range(group.num_columns)]


def test_pandas_reads_the_dataset(tmp_path: Path, tiny: Sweep) -> None:
    """The folder is a dataset: pandas reads every row of it, with counts, estimates and times."""
    with alone() as crew:
        ran = run_sweep(tiny, tmp_path, crew)
    rows = pd.read_parquet(tmp_path)
    assert len(rows) == 4 * (5 + 2) and set(rows.fault) == {"none", "outage"}
    pages = rows[(rows.alert == "page") & (rows.policy == "workbook")]
    assert pages.events.sum() == ran.summary[0].quality.events == 500
    assert pages[pages.fault == "none"].recall.isna().all()
    expected = named_policies(0.999)["workbook"].alerts[0].name
    assert expected in set(rows.alert)


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path, tiny: Sweep) -> None:
    """A folder takes one sweep, drawn by one version, written by one run; anything else is refused and unchanged."""
    tiny = replace(tiny, months=1, seeds=(1,))
    with alone() as crew:
        run_sweep(tiny, tmp_path / "out", crew)
        before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        with pytest.raises(ConfigError, match="holds another sweep"):
            run_sweep(replace(tiny, months=2), tmp_path / "out", crew)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.txt").write_text("mine", "utf-8")
        with pytest.raises(ConfigError, match="something that is no sweep"):
            run_sweep(tiny, tmp_path / "other", crew)
        with pytest.raises(ConfigError, match="is no folder"):
            run_sweep(tiny, tmp_path / "other" / "thesis.txt", crew)
        with opened(tmp_path / "out", tiny), pytest.raises(RefusedError, match="another run"):
            run_sweep(tiny, tmp_path / "out", crew)
        manifest = json.loads((tmp_path / "out" / MANIFEST).read_text("utf-8"))
        manifest["versions"]["numpy"] = "1.0"
        assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
        (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest), "utf-8")
        with pytest.raises(ConfigError, match=r"begun with .*numpy 1\.0"):
            run_sweep(tiny, tmp_path / "out", crew)


def test_a_worker_with_other_versions_draws_nothing() -> None:
    """Months depend on the versions that draw them, so a worker that has others refuses and says which."""
    cell = cell_at(replace(SMALL, months=2), 0)
    assert set(versions()) == {"node0", "numpy", "numba"}
    assert run_checked(versions(), cell, range(2)) == run_block(cell, range(2))
    with pytest.raises(RunError, match=r"numpy \S+ instead of 1\.0"):
        run_checked({**versions(), "numpy": "1.0"}, cell, range(2))


def test_recorded_traffic_travels_only_as_far_as_it_is_used(tmp_path: Path) -> None:
    """Of a recorded series a sweep keeps the months' length: what lies beyond changes nothing."""
    rows = "\n".join(f"2026-01-01T00:{minute:02d}:00Z,10,10" for minute in range(30))
    (tmp_path / "seen.csv").write_text("time,good,total\n" + rows, "utf-8")
    text = TEXT.replace("per_hour: 36000", "recorded: seen.csv") + "length: 20m\n"
    sweep = parse_sweep(text.encode(), "sweep.yaml", tmp_path)
    assert sweep.traffics["busy"].recorded == (10.0,) * 20


def test_the_schema_has_every_column() -> None:
    """What a cell finds and what the dataset keeps are the same columns."""
    assert list(run_cell(cell_at(replace(SMALL, months=1), 0))[0]) == sweep_folder.SCHEMA.names


# The command


def test_the_command_counts_without_starting(tmp_path: Path) -> None:
    """--dry-run tells cells, months and seconds, and makes no folder."""
    out = tmp_path / "out"
    ran = CliRunner().invoke(simulate, ["burn", "--sweep", str(EXAMPLE), "--out", str(out), "--dry-run"])
    assert ran.exit_code == 0 and "= 320 cells" in ran.output and "400 months to draw" in ran.output
    ran = CliRunner().invoke(simulate, ["burn", "--sweep", str(EXAMPLE), "--dry-run", "--output", "json"])
    told = json.loads(ran.output)
    assert (told["cells"], told["months"], told["faults"]) == (320, 400, 5) and told["core_seconds"] > 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--out is missing"),
        (["--out", "x", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], "leave one of the two out"),
        (["--out", "x", "--scheduler", "127.0.0.1"], "127.0.0.1 is no address of a Dask scheduler"),
    ],
)
def test_a_wrong_command_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    """Options that are missing, exclude each other or make no sense end with code 2, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(simulate, ["burn", "--sweep", str(EXAMPLE), *words])
    assert ran.exit_code == 2 and told in ran.output
    assert not list(tmp_path.iterdir())


def test_the_command_refuses_a_billion_cells(tmp_path: Path) -> None:
    """A file of a few lines that means 10^9 cells is refused with the count and the cost; nothing is made."""
    file = tmp_path / "vast.yaml"
    file.write_text(TEXT.replace("[1]", "{first: 1, count: 1000000000}"), "utf-8")
    ran = CliRunner().invoke(simulate, ["burn", "--sweep", str(file), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 2
    assert "1,000,000,000 cells" in ran.output and " on one core. At most" in ran.output
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_before_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a vast sweep is drawn, not even to learn its pace; ten years of seconds are no scenario at all."""

    def measured(sweep: Sweep) -> Pace:
        raise AssertionError(f"a month of {sweep.length} was drawn")

    monkeypatch.setattr(sweep_run, "measured_pace", measured)
    file = tmp_path / "vast.yaml"
    words = ["burn", "--sweep", str(file), "--dry-run"]
    file.write_text(TEXT.replace("20", "10000").replace("[1]", "{count: 50}") + "length: 50d\nstep: 1s\n", "utf-8")
    ran = CliRunner().invoke(simulate, words)
    assert ran.exit_code == 2 and "500,000 months, 2,160,000,000,000 steps in all: about" in ran.output
    file.write_text(TEXT + "length: 3650d\nstep: 1s\n", "utf-8")
    ran = CliRunner().invoke(simulate, words)
    assert ran.exit_code == 2 and "315,360,000 steps, at most 5,000,000 are drawn" in ran.output
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("fault", "told"), [("none", None), ("{name: slow, onset: 1d, length: 2h, errors: 3%}", "Infinity")]
)
def test_json_tells_never_from_nothing_to_see(tmp_path: Path, fault: str, told: str | None) -> None:
    """Without an event detection is null; where events are never paged for it is "Infinity"."""
    file = tmp_path / "sweep.yaml"
    text = TEXT.replace("- none", f"- {fault}")
    deaf = "- {name: deaf, alerts: [{name: fast, severity: critical, long: 1h, short: 5m, factor: 999}]}"
    file.write_text(text.replace("20", "2").replace("- workbook", deaf) + "quality: {significant: 0.1%}\n", "utf-8")
    ran = CliRunner().invoke(simulate, ["burn", "--sweep", str(file), "--out", str(tmp_path / "o"), "--output", "json"])
    assert ran.exit_code == 0, ran.output
    line = json.loads(ran.stdout)["summary"][0]
    assert (line["events"], line["detection_s"]) == (0 if told is None else 2, told)


def test_the_summary_fits_eighty_columns(tmp_path: Path) -> None:
    """The table at the end keeps to 80 columns, and a second run says that everything was there."""
    file = tmp_path / "sweep.yaml"
    file.write_text(TEXT.replace("- none", "- full outage").replace("20", "2"), "utf-8")
    words = ["burn", "--sweep", str(file), "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(simulate, words)
    assert ran.exit_code == 0, ran.output
    table = [line for line in ran.output.splitlines() if not line.startswith(("...", "1 cells"))]
    assert max(map(len, table)) <= 80 and any("workbook" in line and "100%" in line for line in table)
    again = CliRunner().invoke(simulate, [*words, "--output", "json"])
    told = json.loads(again.stdout)
    assert (told["parts"], told["parts_found_before"], told["months_simulated_now"]) == (1, 1, 0)
    assert told["summary"][0]["recall"]["value"] == 1.0 and told["summary"][0]["detection_s"] == 60.0
