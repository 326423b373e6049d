"""Scenarios from YAML: what may be written, what is refused with its line, and traffic from a recording."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from node0lib.errors import ConfigError
from node0lib.shell.scenario_file import parse_scenario, read_scenario
from node0lib.simulate.scenario import Fault, Floor, Scenario, Traffic, draw, plan

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WHOLE = """
traffic: {per_hour: 36000, daily_swing: 50%, weekend: 0.7, trend: 0.2, peak_hour: 9, bursts: 4, burst_factor: 2,
          burst_length: 5m}
errors: {rate: 0.03%, dispersion: 0.5, correlation: 20m}
length: 14d
step: 5m
start: "2026-03-02T00:00:00Z"
faults:
- {name: outage, onset: 10d, length: 20m, errors: 100%}
- {name: region, onset: 0, length: 90m, errors: 0.6, share: 20%, shape: ramp}
- {name: flaps, onset: 1d, length: 3h, errors: 20%, shape: flapping, period: 20m, traffic: 3}
- {name: gap, onset: 2d, length: 1h, telemetry: false}
"""
LEAST = "traffic: {per_hour: 60}\nerrors: {rate: 0.1%}\n"


def _parsed(text: str, folder: Path = Path()) -> Scenario:
    return parse_scenario(text.encode(), "s.yaml", folder)


def _refused(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _parsed(text, folder)
    return str(caught.value).splitlines()


def test_everything_that_may_be_said() -> None:
    """Every key of a scenario becomes the frozen value that it names."""
    assert _parsed(WHOLE) == Scenario(
        Traffic(36_000.0, 0.5, 0.7, 0.2, 9.0, 4.0, 2.0, 5 * MINUTE),
        Floor(0.0003, 0.5, 20 * MINUTE),
        (
            Fault("outage", 10 * DAY, 20 * MINUTE, errors=1.0),
            Fault("region", timedelta(0), 90 * MINUTE, errors=0.6, share=0.2, shape="ramp"),
            Fault("flaps", DAY, 3 * HOUR, errors=0.2, shape="flapping", period=20 * MINUTE, traffic=3.0),
            Fault("gap", 2 * DAY, HOUR, telemetry=False),
        ),
        14 * DAY,
        5 * MINUTE,
        datetime(2026, 3, 2, tzinfo=UTC),
    )


def test_little_must_be_said() -> None:
    """Traffic and an error rate are enough: a healthy month of 30 days in minutes."""
    assert _parsed(LEAST) == Scenario(Traffic(60.0), Floor(0.001))


WRONG = {
    "negative traffic": (LEAST.replace("60", "-60"), 1, "traffic.per_hour"),
    "an error rate above 1": (LEAST.replace("0.1%", "120%"), 2, "errors.rate"),
    "an error rate below 0": (LEAST.replace("0.1%", "-0.5"), 2, "errors.rate"),
    "a negative dispersion": (LEAST.replace("0.1%", "0.1%, dispersion: -1"), 2, "errors.dispersion"),
    "a swing above 1": (LEAST.replace("60", "60, daily_swing: 2"), 1, "traffic.daily_swing"),
    "a trend below -1": (LEAST.replace("60", "60, trend: -1"), 1, "traffic.trend"),
    "an unknown key": (LEAST.replace("60", "60, per_minute: 1"), 1, "per_minute"),
    "an unknown shape": (LEAST + "faults:\n- {name: f, onset: 1d, length: 1h, shape: wave}\n", 4, "shape"),
    "a failing share above 1": (LEAST + "faults:\n- {name: f, onset: 1d, length: 1h, errors: 150%}\n", 4, "errors"),
    "a fault without a name": (LEAST + "faults:\n- {onset: 1d, length: 1h}\n", 4, "name"),
    "a fault without a length": (LEAST + "faults:\n- {name: f, onset: 1d}\n", 4, "length"),
    "a negative onset": (LEAST + "faults:\n- {name: f, onset: -1d, length: 1h}\n", 4, "onset"),
    "a fault of no length": (LEAST + "faults:\n- {name: f, onset: 1d, length: 0m}\n", 4, "length"),
    "a step of nothing": (LEAST + "step: 0m\n", 3, "step"),
    "a naive start": (LEAST + 'start: "2026-03-02T00:00:00"\n', 3, "start"),
    "a start that is no time": (LEAST + "start: 3\n", 3, "start"),
    "no traffic": ("errors: {rate: 0.1%}\n", None, "traffic is missing"),
    "no errors": ("traffic: {per_hour: 1}\n", None, "errors is missing"),
    "neither per_hour nor a recording": ("traffic: {}\nerrors: {rate: 0}\n", 1, "either per_hour or recorded"),
    "faults that are no list": (LEAST + "faults: {name: f}\n", 3, "faults"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mistake_is_told_with_its_line(wrong: str) -> None:
    """One clear line: the file, the line, the key, what is wrong and what to write."""
    text, line, told = WRONG[wrong]
    found = _refused(text)
    assert len(found) == 1, found
    assert told in found[0] and found[0].startswith("s.yaml" + (f":{line}" if line else "")), found


def test_all_mistakes_are_told_at_once() -> None:
    """Negative traffic, a rate above 1 and a wrong fault are three lines, not three attempts."""
    text = "traffic: {per_hour: -1}\nerrors: {rate: 2}\nfaults:\n- {name: f, onset: 1d, length: 1h, share: 7}\n"
    assert [line.split(":")[1] for line in _refused(text)] == ["1", "2", "4"]


def test_a_fault_outside_the_span_is_refused() -> None:
    """A fault that ends after the scenario does would be cut, and its detection judged on what is left of it."""
    (told,) = _refused(LEAST + "length: 2d\nfaults:\n- {name: late, onset: 47h, length: 2h}\n")
    assert "fault late: ends after 2d1h, outside the scenario of 2d" in told


def test_a_length_that_steps_do_not_divide_is_refused() -> None:
    """Half a step has no count."""
    assert "whole number of steps" in _refused(LEAST + "length: 1h\nstep: 7m\n")[0]


def test_two_faults_of_one_name_are_refused() -> None:
    """Results are told by name."""
    fault = "- {name: twin, onset: 1d, length: 1h}\n"
    assert "twin" in _refused(LEAST + "faults:\n" + fault + fault)[0]


def test_overlapping_faults_are_allowed_and_act_one_after_the_other() -> None:
    """What the first spares the second may hit."""
    faults = "".join(f"- {{name: {n}, onset: 1h, length: 1h, errors: 50%}}\n" for n in "ab")
    assert plan(_parsed(LEAST + "length: 3h\nfaults:\n" + faults)).extra[90] == 0.75


@pytest.mark.parametrize("text", ["", "[]", "traffic", "a: b: c", "\x00"])
def test_what_is_no_scenario_is_refused(text: str) -> None:
    """An empty file, a list, a word, broken YAML: an error that names the file."""
    assert _refused(text)[0].startswith("s.yaml")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The path, why, and what to do."""
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read .*name a scenario file"):
        read_scenario(tmp_path / "none.yaml")


def _recording(totals: list[float | None], *, every: str = "1min", skip: tuple[int, ...] = ()) -> pd.DataFrame:
    time = pd.date_range("2026-03-01T10:01:00Z", periods=len(totals), freq=every)
    frame = pd.DataFrame({"time": time, "bad": 0.0, "total": pd.array(totals, dtype="Float64")})
    return frame.drop(index=list(skip))


def _csv(frame: pd.DataFrame, path: Path) -> None:
    frame.assign(time=frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_csv(path, index=False)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


RECORDED = "traffic: {recorded: past.data}\nerrors: {rate: 0.1%}\nlength: 10m\n"
WRITERS = pytest.mark.parametrize("write", [_csv, _parquet], ids=["csv", "parquet"])


@WRITERS
def test_traffic_may_be_recorded(write: Callable[[pd.DataFrame, Path], None], tmp_path: Path) -> None:
    """Requests step by step from a file beside the scenario, from its beginning again when it ends."""
    write(_recording([10, 20, 30, 40]), tmp_path / "past.data")
    (tmp_path / "s.yaml").write_text(RECORDED, "utf-8")
    scenario = read_scenario(tmp_path / "s.yaml")
    assert scenario.traffic.recorded == (10, 20, 30, 40)
    assert plan(scenario).requests.tolist() == [10, 20, 30, 40, 10, 20, 30, 40, 10, 20]
    assert draw(plan(scenario), seed=1, month=0).total.size == 10


@WRITERS
def test_nobody_comes_in_a_hole_of_a_recording(
    write: Callable[[pd.DataFrame, Path], None], tmp_path: Path
) -> None:
    """Missing rows and empty cells are minutes without traffic, where they lie: what follows does not move up."""
    write(_recording([10, 20, 30, None, 50, 60], skip=(1,)), tmp_path / "past.data")
    assert _parsed(RECORDED, tmp_path).traffic.recorded == (10, 0, 30, 0, 50, 60)


def test_a_recording_in_other_steps_is_refused(tmp_path: Path) -> None:
    """Five minutes' requests are not taken for one minute's: the error names both, and the way out works."""
    _csv(_recording([300, 310, 290], every="5min"), tmp_path / "past.data")
    (told,) = _refused(RECORDED, tmp_path)
    assert "recorded traffic lies 5m apart, the scenario's steps 1m; write step: 5m" in told
    assert _parsed(RECORDED + "step: 5m\n", tmp_path).traffic.recorded == (300, 310, 290)


def test_a_crooked_recording_is_refused(tmp_path: Path) -> None:
    """Rows that lie beside the steps would be counted in the wrong minute."""
    frame = _recording([10, 20, 30])
    frame.loc[2, "time"] += pd.Timedelta(seconds=20)
    _csv(frame, tmp_path / "past.data")
    assert "recorded traffic lies" in _refused(RECORDED, tmp_path)[0]


BROKEN = {
    "is empty": b"",
    "no row has both": b"time,bad,total\n2026-03-01T10:00:00Z,,\n",
    "never negative": b"time,bad,total\n2026-03-01T10:00:00Z,0,-5\n",
    "must be buckets": b"time,bad_total,total_total\n2026-03-01T10:00:00Z,0,5\n2026-03-01T10:01:00Z,0,9\n",
    "it needs time": b"time,requests\n2026-03-01T10:00:00Z,5\n",
    "two rows": b"time,bad,total\n2026-03-01T10:00:00Z,0,5\n2026-03-01T10:00:00Z,0,6\n",
}


@pytest.mark.parametrize("told", BROKEN)
def test_a_recording_that_cannot_be_used_is_told(told: str, tmp_path: Path) -> None:
    """Empty, negative, counters, unknown columns, two rows of one minute: the line of the scenario, and why."""
    (tmp_path / "past.data").write_bytes(BROKEN[told])
    (found,) = _refused(RECORDED, tmp_path)
    assert told in found and found.startswith("s.yaml:1"), found


def test_a_recording_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The path that was looked for is named."""
    assert "past.data: cannot be read" in _refused(RECORDED, tmp_path)[0]


def test_a_recording_with_gaps_still_draws_integers(tmp_path: Path) -> None:
    """A month of a recording with holes has counts everywhere, none of them in a hole."""
    _parquet(_recording([100, None, 100, 100]), tmp_path / "past.data")
    month = draw(plan(_parsed(RECORDED, tmp_path)), seed=1, month=0)
    assert np.isfinite(month.total).all() and (month.total[1::4] == 0).all() and (month.total[::4] > 0).all()


def test_the_example_is_read_and_shows_the_defaults() -> None:
    """configs/examples/scenario.yaml is a scenario, and every key that it shows as left out is the default."""
    scenario = read_scenario(Path(__file__).parents[2] / "configs" / "examples" / "scenario.yaml")
    assert [fault.name for fault in scenario.faults] == ["bad release", "lost region"]
    assert scenario.steps == 43_200 and scenario.floor.rate == 0.0003
