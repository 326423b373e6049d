"""Series files, policy files and ``node0 alerts replay``."""

import io
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from node0lib.alerts import kernel
from node0lib.alerts.policy import AlertPolicy, BurnAlert, policy_of, workbook_policy
from node0lib.alerts.replay import (
    BucketSeries,
    CounterSeries,
    Evaluations,
    in_order,
    replay_buckets,
    replay_counters,
)
from node0lib.alerts.timeline import timelines
from node0lib.errors import ConfigError, DataError
from node0lib.shell.alert_policy_file import parse_alert_policy, read_alert_policy
from node0lib.shell.cli import main
from node0lib.shell.series_file import parse_series
from node0lib.slo.catalogue import Alerting
from node0lib.timespan import parse_duration

MINUTE = 60_000
POLICY = """
objective: 0.99
period: 30d
alerts:
- {name: page, severity: critical, long: 1h, short: 5m, factor: 14.4}
- {name: ticket, severity: warning, long: 6h, short: 30m, budget: 5%, for: 10m, min_bad: 5}
"""


def _outage(n: int = 600, first: int = 300, length: int = 40) -> pd.DataFrame:
    total = np.full(n, 10)
    bad = np.where((np.arange(n) >= first) & (np.arange(n) < first + length), 10, 0)
    time = pd.date_range("2026-03-01T00:00:00Z", periods=n, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ")
    return pd.DataFrame({"time": time, "bad": bad, "total": total})


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _run(*words: str, stdin: bytes | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["alerts", "replay", *words], input=stdin)
    return done.exit_code, done.output


def _document(*words: str, stdin: bytes | None = None) -> dict:
    done = CliRunner().invoke(main, ["alerts", "replay", *words, "--output", "json"], input=stdin)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, "utf-8")
    return str(path)


def test_a_pipeline_gets_intervals_onsets_and_budgets(policy: str) -> None:
    """From standard input: the firing intervals, half-open, with the budget spent at each onset."""
    document = _document("--policy", policy, stdin=_csv(_outage()))
    page, ticket = document["alerts"]
    assert page["firing"] == [
        {
            "start": "2026-03-01T05:08:00Z",
            "end": "2026-03-01T05:44:00Z",
            "resolved": True,
            "budget_spent": pytest.approx(9 * 10 / (0.01 * 6000 * 43_200 / 600)),
        }
    ]
    assert page["onsets"] == [{"at": "2026-03-01T05:08:00Z", "budget_spent": page["firing"][0]["budget_spent"]}]
    assert ticket["firing"][0]["start"] == "2026-03-01T05:29:00Z"
    assert document["evaluations"]["count"] == 600
    assert document["series"]["kind"] == "buckets"


@pytest.mark.parametrize("form", ["bad", "good"])
def test_csv_and_parquet_say_the_same(policy: str, tmp_path: Path, form: str) -> None:
    """A Parquet file with zoned timestamps is read like a CSV with ISO 8601 text, by good or by bad events."""
    frame = _outage()
    if form == "good":
        frame["good"] = frame["total"] - frame.pop("bad")
    frame.to_csv(tmp_path / "s.csv", index=False)
    frame.assign(time=pd.to_datetime(frame["time"])).to_parquet(tmp_path / "s.parquet")
    one, other = (_document("--policy", policy, "--series", str(tmp_path / f"s.{end}")) for end in ("csv", "parquet"))
    assert one["alerts"] == other["alerts"]
    assert len(one["alerts"][0]["firing"]) == 1


def test_a_series_may_end_while_an_alert_fires(policy: str) -> None:
    """An alert that fires at the last evaluation is not resolved."""
    page = _document("--policy", policy, stdin=_csv(_outage(320)))["alerts"][0]
    assert [f["resolved"] for f in page["firing"]] == [False]
    assert page["firing"][0]["end"] == "2026-03-01T05:20:00Z"


def test_versions_differ_by_the_sample_at_the_edge(policy: str) -> None:
    """Scraped exactly at the evaluations, 2.x looks one sample further back and so resets later."""
    frame = _outage()
    frame = pd.DataFrame(
        {"time": frame["time"], "bad_total": frame["bad"].cumsum(), "total_total": frame["total"].cumsum() + 500}
    )
    ends = [
        _document("--policy", policy, "--semantics", version, stdin=_csv(frame))["alerts"][0]["firing"][0]["end"]
        for version in ("2", "3")
    ]
    assert ends == ["2026-03-01T05:44:00Z", "2026-03-01T05:43:00Z"]


def test_missing_scrapes_are_missing_rows_or_empty_cells(policy: str) -> None:
    """Without samples nothing is extrapolated over the gap: rows left out and empty cells are the same."""
    frame = _outage()
    counters = pd.DataFrame(
        {"time": frame["time"], "bad_total": frame["bad"].cumsum() * 1.0, "total_total": frame["total"].cumsum() * 1.0}
    )
    emptied = counters.copy()
    emptied.loc[310:330, ["bad_total", "total_total"]] = np.nan
    left_out = counters.drop(index=range(310, 331))
    one, other = (_document("--policy", policy, stdin=_csv(f))["alerts"] for f in (emptied, left_out))
    assert one == other
    assert one != _document("--policy", policy, stdin=_csv(counters))["alerts"]


def test_several_series_are_summed(policy: str) -> None:
    """Two instances of which one is down burn half as much as one that is down alone."""
    frame = _outage()
    healthy = frame.assign(bad=0, series="b")
    both = pd.concat([frame.assign(series="a"), healthy])
    (alone, _), (halved, _) = (
        _document("--policy", policy, stdin=_csv(f))["alerts"] for f in (frame, both)
    )
    assert alone["firing"][0]["start"] < halved["firing"][0]["start"]


def test_the_configuration_s_alerting_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a policy file the alerting section is replayed, with the objective of an SLO if one is named."""
    config = Path(__file__).parents[2] / "configs" / "node0.yaml"
    document = _document("--config", str(config), "--slo", "alpha_availability", stdin=_csv(_outage()))
    assert document["policy"]["objective"] == 0.995
    assert [a["name"] for a in document["alerts"]] == ["critical_1h", "warning_6h", "info_1d", "info_3d"]
    assert document["alerts"][0]["min_bad"] == 3
    monkeypatch.chdir(tmp_path)
    nothing = _document(stdin=_csv(_outage()))
    assert nothing["policy"]["source"] == "the defaults of alerting"


def test_people_get_a_table_within_eighty_columns(policy: str) -> None:
    """The table names alerts, burn and windows; every firing has a line."""
    code, text = _run("--policy", policy, stdin=_csv(_outage()))
    assert code == 0
    assert "page" in text and "> 14.4" in text and "once" in text
    assert "2026-03-01T05:08:00Z to 2026-03-01T05:44:00Z" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"time,bad\n2026-03-01T00:00:00Z,1\n", "it needs time, and good or bad with total"),
        (b"time,bad,good,total\n2026-03-01T00:00:00Z,1,1,2\n", "one pair of them"),
        (b"time,bad,total\n2026-03-01T00:00:00,1,2\n", "no ISO 8601 time with Z or an offset"),
        (b"time,bad,total\nyesterdayZ,1,2\n", "cannot be read"),
        (b"time,bad,total\n2026-03-01T00:00:00Z,x,2\n", "no number"),
        (b"time,bad,total\n2026-03-01T00:00:00Z,-1,2\n", "never negative"),
        (b"time,bad,total\n,1,2\n", "no ISO 8601 time"),
        (b"time,bad,total\n2026-03-01T00:00:00Z,1,2\n2026-03-01T00:00:00Z,1,2\n", "two rows"),
        (b"time,bad,total\n2026-03-01T00:00:00Z,,2\n", "no row has both"),
        (b"time,bad,total\n2026-03-01T00:00:01Z,1,2\n", "shorter than one evaluation interval"),
        (b"PAR1 and nothing else", "neither CSV nor Parquet"),
        (b"time,bad,total\n1,2\n", "neither CSV nor Parquet"),
    ],
)
def test_a_series_that_cannot_be_used_is_refused(content: bytes, told: str) -> None:
    """One clear error, exit code 1, nothing evaluated."""
    done = CliRunner().invoke(main, ["alerts", "replay"], input=content)
    assert done.exit_code == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_out_of_order_and_impossible_events_are_told(policy: str) -> None:
    """Rows are sorted, more bad events than total are clamped, unknown columns ignored, and all three are said."""
    frame = _outage().iloc[::-1].assign(extra=1)
    frame.loc[310, "bad"] = 11
    document = _document("--policy", policy, stdin=_csv(frame))
    assert len(document["series"]["notes"]) == 3
    assert len(document["alerts"][0]["firing"]) == 1


def test_seconds_and_milliseconds_since_the_epoch_are_times() -> None:
    """1772323200 and 1772323200000 are the same instant."""
    one, other = (
        parse_series(f"time,bad,total\n{stamp},1,2\n".encode(), "s.csv").span for stamp in (1772323200, 1772323200000)
    )
    assert one == other == (1772323200000, 1772323200000)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("objective: 0.99->objective: 99", "strictly between 0 and 1"),
        ("objective: 0.99->objective: 1", "strictly between 0 and 1"),
        ("short: 5m->short: 2h", "at most long"),
        ("factor: 14.4->factor: 0", "must be more than 0"),
        ("factor: 14.4->factor: 14.4, budget: 2%", "either factor"),
        (", factor: 14.4->", "either factor"),
        ("budget: 5%->budget: 0", "more than 0"),
        ("name: ticket->name: page", "is taken"),
        ("severity: warning->severity: loud", "not one of"),
        ("min_bad: 5->min_bad: -1", "at least 0"),
        ("for: 10m->for: soon", "not a duration"),
        ("period: 30d->perriod: 30d", "did you mean period"),
    ],
)
def test_a_policy_that_is_wrong_is_told_with_its_line(change: str, told: str) -> None:
    """Every mistake names file, line and key."""
    before, after = change.split("->")
    with pytest.raises(ConfigError, match=told) as raised:
        parse_alert_policy(POLICY.replace(before, after, 1).encode(), "policy.yaml")
    assert str(raised.value).startswith("policy.yaml:")


def test_a_policy_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The path and what to do."""
    with pytest.raises(ConfigError, match="name a policy file"):
        read_alert_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--interval", "0m"), "--interval"),
        (("--slo", "nothing"), "there is no SLO"),
        (("--policy", "POLICY", "--slo", "api_availability"), "exclude each other"),
        (("--series", "none.csv"), "cannot be read"),
    ],
)
def test_a_command_line_that_is_wrong_ends_with_two(words: tuple[str, ...], told: str, policy: str) -> None:
    """Exit code 2 and one clear error."""
    config = str(Path(__file__).parents[2] / "configs" / "node0.yaml")
    done = CliRunner().invoke(
        main, ["alerts", "replay", "--config", config, *(policy if w == "POLICY" else w for w in words)], input=b"x"
    )
    assert done.exit_code == 2, done.output
    assert told in done.stderr


def test_policies_refuse_what_makes_no_sense() -> None:
    """Objectives outside (0, 1), equal names, no alerts, a short window above the long, a factor of nothing."""
    hour, page = parse_duration("1h"), workbook_policy().alerts[0]
    wrong = [
        lambda: AlertPolicy(1.0, hour, (page,)),
        lambda: AlertPolicy(0.9, hour, (page, page)),
        lambda: AlertPolicy(0.9, hour, ()),
        lambda: AlertPolicy(0.9, hour * 0, (page,)),
        lambda: BurnAlert("a", "info", hour, hour * 2, 1),
        lambda: BurnAlert("a", "info", hour, hour, 0),
        lambda: BurnAlert("a", "info", hour, hour, 1, -hour),
    ]
    for make in wrong:
        with pytest.raises(ConfigError):
            make()
    assert policy_of(0.99, Alerting()).alerts[0].min_bad == 3


def test_buckets_off_the_grid_are_evaluated_by_their_times() -> None:
    """Buckets that end between evaluations, or have holes, give what a sum over their times gives."""
    rng = np.random.default_rng(4)
    ends = np.sort(rng.choice(np.arange(1, 3000), 900, replace=False)) * 20_000
    total = rng.integers(0, 30, 900).astype(float)
    bad = np.minimum(total, rng.integers(0, 3, 900) * (rng.random(900) < 0.3))
    alert = BurnAlert("a", "info", parse_duration("1h"), parse_duration("5m"), 3.0)
    policy = AlertPolicy(0.99, parse_duration("30d"), (alert,))
    evaluations = Evaluations.within(int(ends[0]), int(ends[-1]), 45_000)
    found = replay_buckets(policy, BucketSeries(ends, bad, total), evaluations)[0]
    for at, fires in zip(evaluations.instants_ms, found, strict=True):
        ratios = []
        for window in (3_600_000, 300_000):
            inside = (ends > at - window) & (ends <= at)
            ratios.append(bad[inside].sum() / total[inside].sum() if total[inside].sum() else 0.0)
        assert fires == (min(ratios) > policy.threshold(policy.alerts[0]))
    assert found.any()


def test_the_fast_way_for_one_series_says_what_the_general_way_says() -> None:
    """One series alone, and the same next to one without samples: same answers in both versions and forms."""
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.integers(20_000, 100_000, 3000))
    total = np.cumsum(rng.poisson(20, 3000)).astype(float)
    bad = np.cumsum(rng.poisson(0.4, 3000) * (rng.random(3000) < 0.4)).astype(float)
    total[1500:] -= total[1500]
    bad[1500:] -= bad[1500]
    nothing = np.full(3000, np.nan)
    policy = workbook_policy(0.995)
    evaluations = Evaluations.within(int(times[0]), int(times[-1]), MINUTE)
    for form in ("bad", "good"):
        events = bad if form == "bad" else total - bad
        alone = CounterSeries(times, events, total, form)
        beside = CounterSeries(times, nothing, nothing, form)
        for version in (2, 3):
            for function in ("rate", "increase"):
                fast = replay_counters(policy, [alone], evaluations, version, function)
                general = replay_counters(policy, [alone, beside], evaluations, version, function)
                assert (fast == general).all()
                assert fast.any()


def test_the_fast_way_holds_near_zero_and_across_gaps() -> None:
    """Short series with missing scrapes and counters near zero, where extrapolation is limited: no shortcut errs."""
    rng, minute = np.random.default_rng(0), timedelta(minutes=1)
    differing = fired = 0
    for _ in range(600):
        n = int(rng.integers(12, 60))
        times = (np.arange(n) * MINUTE)[rng.random(n) > 0.3]
        if times.size < 4:
            continue
        total = np.cumsum(rng.integers(0, 30, times.size)) + (1000.0 if rng.random() < 0.6 else 0.0)
        bad = np.minimum(np.cumsum(rng.integers(0, 4, times.size)), total)
        form = "good" if rng.random() < 0.5 else "bad"
        alone = CounterSeries(times, total - bad if form == "good" else bad, total, form)
        nothing = np.full(times.size, np.nan)
        beside = CounterSeries(times, nothing, nothing, form)
        alert = BurnAlert("a", "critical", 10 * minute, 5 * minute, float(rng.uniform(0.04, 0.6)))
        policy = AlertPolicy(0.5, timedelta(days=30), (alert,))
        evaluations = Evaluations.within(int(times[0]), int(times[-1]) + 5 * MINUTE, MINUTE)
        for version in (2, 3):
            fast = replay_counters(policy, [alone], evaluations, version)
            differing += int((fast != replay_counters(policy, [alone, beside], evaluations, version)).sum())
            fired += int(fast.sum())
    assert differing == 0
    assert fired > 1000


def test_a_late_first_sample_is_extrapolated_further_than_the_total_s_in_2() -> None:
    """In 2.x a zero that is near lets errors reach up to 1.1 intervals where the total gets half of one."""
    times = np.array([0, *range(8, 17)]) * MINUTE
    rng = np.random.default_rng(3)
    seen = 0
    for _ in range(300):
        bad = np.cumsum(rng.integers(0, 4, times.size)) * 1.0
        total = 1000.0 + np.cumsum(rng.integers(5, 30, times.size))
        alert = BurnAlert("a", "critical", timedelta(minutes=10), timedelta(minutes=5), float(rng.uniform(0.1, 0.4)))
        policy, nothing = AlertPolicy(0.5, timedelta(days=30), (alert,)), np.full(times.size, np.nan)
        evaluations = Evaluations.within(0, int(times[-1]), MINUTE)
        alone, beside = CounterSeries(times, bad, total), CounterSeries(times, nothing, nothing)
        fast = replay_counters(policy, [alone], evaluations, 2)
        assert (fast == replay_counters(policy, [alone, beside], evaluations, 2)).all()
        seen += int(fast.sum())
    assert seen > 100


def test_many_series_come_back_in_their_order() -> None:
    """Ten months on two threads: each answer belongs to its month."""
    ends = np.arange(1, 501) * MINUTE
    many = [BucketSeries(ends, np.where(np.arange(500) == 50 * n, 10.0, 0.0), np.full(500, 10.0)) for n in range(10)]
    evaluations = Evaluations.within(MINUTE, 500 * MINUTE, MINUTE)
    found = in_order(lambda one: replay_buckets(workbook_policy(), one, evaluations), many, 2)
    firsts = [int(firing[0].argmax()) for firing in found]
    assert firsts == [50 * n for n in range(10)]


def test_series_refuse_what_no_telemetry_is() -> None:
    """Times that do not rise, shapes that differ, no rows, a mixture of forms, several series of buckets."""
    one = np.array([1.0, 2.0])
    times = np.array([1, 2])
    wrong = [
        lambda: CounterSeries(np.array([2, 1]), one, one),
        lambda: CounterSeries(times, one[:1], one),
        lambda: BucketSeries(np.array([], np.int64), one[:0], one[:0]),
        lambda: replay_counters(workbook_policy(), [], Evaluations(0, 1, 1)),
        lambda: timelines(workbook_policy(), [BucketSeries(times, one, one)] * 2, Evaluations(0, 1, 1)),
        lambda: timelines(workbook_policy(), [], Evaluations(0, 1, 1)),
    ]
    for make in wrong:
        with pytest.raises(DataError):
            make()


def test_a_series_without_traffic_has_no_budget_to_spend(policy: str) -> None:
    """Nothing fires on 0 of 0, and the budget spent is not known."""
    frame = _outage().assign(bad=0, total=0)
    buffer = io.BytesIO(_csv(frame))
    document = _document("--policy", policy, stdin=buffer.getvalue())
    assert all(alert["firing"] == [] for alert in document["alerts"])


def test_each_series_is_clamped_before_they_are_summed() -> None:
    """One series with more good events than requests does not hide another one's failures, and it is said."""
    rows = ["time,series,good,total"]
    rows += [f"2026-03-01T00:0{m}:00Z,{s},{good},1000" for m in range(3) for s, good in (("a", 1500), ("b", 500))]
    read = parse_series("\n".join(rows).encode(), "s.csv")
    (series,) = read.series
    assert isinstance(series, BucketSeries)
    assert series.bad.tolist() == [500.0] * 3 and series.total.tolist() == [2000.0] * 3
    assert read.notes == ("in 3 rows there were more good events than total; they were clamped",)


def test_counters_that_cannot_be_are_evaluated_as_they_are_and_told() -> None:
    """Prometheus would not clamp them either; the budget spent is never negative."""
    read = parse_series(
        b"time,good_total,total_total\n2026-03-01T00:00:00Z,0,0\n2026-03-01T00:01:00Z,30,10\n", "s.csv"
    )
    assert "between 1 pairs of scrapes the good events rose more" in read.notes[0]
    assert read.series[0].cumulated()[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"time,good_total,total_total\n", "has no rows"),
        (b"time,bad,total\n0001-01-01T00:00:00Z,0,1\n2026-01-01T00:00:00Z,0,1\n", "is a time mistyped"),
        (b"time,bad,total\n1772323200,0,1\n1772323260000,0,1\n", "some like milliseconds"),
        (b"time,bad,total\n99999-01-01T00:00:00Z,0,1\n", "a time cannot be read"),
    ],
)
def test_more_that_cannot_be_used(content: bytes, told: str) -> None:
    """A table without rows, years apart by a slip of the pen, seconds mixed with milliseconds."""
    done = CliRunner().invoke(main, ["alerts", "replay"], input=content)
    assert done.exit_code == 1, done.output
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_a_row_without_a_series_is_refused(tmp_path: Path) -> None:
    """Where there is a column series every row needs one: none is dropped in silence."""
    frame = _outage(6).assign(series=["a", "a", None, None, "a", "a"])
    frame.to_parquet(tmp_path / "s.parquet")
    with pytest.raises(DataError, match="row 3 names no series"):
        parse_series((tmp_path / "s.parquet").read_bytes(), "s.parquet")
    flags = _outage(6).assign(bad=[True, False] * 3)
    flags.to_parquet(tmp_path / "f.parquet")
    with pytest.raises(DataError, match="true and false"):
        parse_series((tmp_path / "f.parquet").read_bytes(), "f.parquet")


def test_half_an_observation_is_none() -> None:
    """Bad events of an unknown total are not infinitely many."""
    ends = np.arange(1, 11) * MINUTE
    total = np.where(np.arange(10) == 5, np.nan, 10.0)
    series = BucketSeries(ends, np.where(np.arange(10) == 5, 3.0, 0.0), total)
    assert not replay_buckets(workbook_policy(), series, Evaluations.within(*series.span, MINUTE)).any()


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only installation without a writable cache compiles anew instead of failing."""
    real = kernel.numba.njit

    def refusing(*, cache: bool = False, **how: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**how)

    monkeypatch.setattr(kernel.numba, "njit", refusing)
    assert kernel.compiled(lambda values: values[0])(np.array([3.0])) == 3.0


def test_cells_that_are_empty_are_told(policy: str) -> None:
    """Rows without events or total are gaps, and the output says how many there are."""
    frame = _outage().astype({"bad": float})
    frame.loc[100:108, "bad"] = np.nan
    document = _document("--policy", policy, stdin=_csv(frame))
    assert document["series"]["notes"] == ["9 rows lack bad or total; nobody observed them"]


def test_negative_good_events_are_refused() -> None:
    """They are no failures: the row is named."""
    with pytest.raises(DataError, match="-500 of 100 at 2026-03-01T00:00:00.000Z"):
        parse_series(b"time,good,total\n2026-03-01T00:00:00Z,-500,100\n", "s.csv")
