"""The replay against the real thing: on 72 weeks of scrapes it fires in the very minutes in which Prometheus does.

All scenarios are backfilled at once and asked of a Prometheus 2.42 and of a 3.5, each over the same blocks. The
expressions are written here, apart from those that node0 emits. An evaluation every minute, from before the first
scrape until after the last; whoever fires a minute too early, too late or in one version's way fails the test.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import httpx
import numpy as np
import pytest
from alert_scenarios import scenarios
from filelock import FileLock
from prometheus_server import needs_prometheus, running_prometheus
from prometheus_three import VERSIONS
from scraped_weeks import BEGIN_MS, METRICS, MINUTE, N, Scenario, write_openmetrics

from node0lib.alerts.policy import AlertPolicy, BurnAlert, workbook_policy
from node0lib.alerts.replay import CounterSeries, Evaluations, Function, Semantics, replay_counters
from node0lib.timespan import format_duration

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
from extrapolated_rate import Samples, counter_sum

pytestmark = pytest.mark.real
EVALUATIONS = Evaluations(BEGIN_MS - 10 * MINUTE, MINUTE, N + 200)
"""From ten minutes before the first scrape until three hours after the last; one answer has at most 11,000 points."""
HOLDS = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 15))
WEEKS = scenarios()


@dataclass(frozen=True)
class Variant:
    """A way to write the four alerts; ``part`` of the scenarios is asked."""

    form: str
    function: Function
    min_bad: float
    part: slice

    @property
    def policy(self) -> AlertPolicy:
        """The workbook's four alerts, with the guard on bad events."""
        policy = workbook_policy()
        return replace(policy, alerts=tuple(replace(alert, min_bad=self.min_bad) for alert in policy.alerts))

    def expression(self, alert: BurnAlert, threshold: float, names: str) -> str:
        """Return the PromQL of the alert for the scenarios that match, as the replay's docstring has it."""

        def total(function: str, counter: str, window: timedelta) -> str:
            selector = f'{METRICS[counter]}_total{{scenario=~"{names}"}}[{format_duration(window)}]'
            return f"sum by (scenario) ({function}({selector}))"

        def ratio(window: timedelta) -> str:
            plain = f"{total(self.function, self.form, window)} / {total(self.function, 'total', window)}"
            return f"1 - {plain}" if self.form == "good" else plain

        terms = [f"{ratio(window)} > {threshold!r}" for window in (alert.long, alert.short)]
        if self.min_bad:
            bad = total("increase", self.form, alert.long)
            bad = f"({total('increase', 'total', alert.long)} - {bad})" if self.form == "good" else bad
            terms.append(f"{bad} >= {self.min_bad!r}")
        return " and ".join(terms)


VARIANTS = {
    "bad": Variant("bad", "rate", 0, slice(None)),
    "good": Variant("good", "rate", 0, slice(0, None, 5)),
    "bad_guarded": Variant("bad", "rate", 12.5, slice(1, None, 5)),
    "good_guarded": Variant("good", "rate", 30.0, slice(2, None, 5)),
    "bad_increase": Variant("bad", "increase", 0, slice(3, None, 5)),
    "good_increase_guarded": Variant("good", "increase", 3.0, slice(4, None, 5)),
}


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All scenarios as one block; made once, however many processes run the tests."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if shared.name.startswith("popen-") else shared
    folder = shared / "burn-rate-blocks"
    with FileLock(shared / "burn-rate-blocks.lock"):
        if not folder.exists():
            _backfill(shared / "burn-rate-blocks.openmetrics", folder)
    return folder


def _backfill(source: Path, folder: Path) -> None:
    with source.open("w", encoding="utf-8") as file:
        write_openmetrics(WEEKS, file)
    making = folder.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h"]
    done = subprocess.run([*command, str(source), str(making)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    source.unlink()
    making.rename(folder)


@dataclass(frozen=True)
class Server:
    """A Prometheus that has all scenarios."""

    client: httpx.Client
    semantics: Semantics

    def ask(self, path: str, **parameters: str) -> list[dict]:
        """Return data.result of an API call."""
        answer = self.client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]


@pytest.fixture(scope="session", params=VERSIONS)
def server(request: pytest.FixtureRequest, blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of each version on a copy of the blocks, which scrapes nothing."""
    binary, semantics = request.param
    folder = tmp_path_factory.mktemp(binary)
    shutil.copytree(blocks, folder / "data")
    with (
        running_prometheus(folder, data_dir=folder / "data", scrape_self=False, binary=binary) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=600) as client,
    ):
        yield Server(client, semantics)


def test_the_server_has_the_very_samples(server: Server) -> None:
    """Backfilled times and values come back to the millisecond, also those off the minute and with gaps."""
    at = str(EVALUATIONS.instants_ms[-1] / 1000)
    for scenario, (counter, family) in product(WEEKS[3::20], METRICS.items()):
        found = server.ask("query", query=f'{family}_total{{scenario="{scenario.name}"}}[8d]', time=at)
        by_instance = {one["metric"]["instance"]: one["values"] for one in found}
        for number, instance in enumerate(scenario.instances):
            seen = np.array(by_instance[str(number)], float)
            values = getattr(instance, counter)
            assert (np.round(seen[:, 0] * 1000) == instance.times_ms[np.isfinite(values)]).all()
            assert (seen[:, 1] == values[np.isfinite(values)]).all()


@pytest.mark.parametrize("window", ["5m", "6h", "3d"])
def test_the_slow_reference_is_right_to_the_last_bit(server: Server, window: str) -> None:
    """Sums of rates and of increases by the tests' own slow reference are the floats that Prometheus answers."""
    instants = EVALUATIONS.instants_ms[7 :: 17 * 60 + 3]
    window_ms = {"5m": 5, "6h": 360, "3d": 4320}[window] * MINUTE
    asked = {"start": str(instants[0] / 1000), "end": str(instants[-1] / 1000), "step": str((17 * 60 + 3) * 60)}
    for function in ("rate", "increase"):
        query = f"sum by (scenario) ({function}(requests_bad_total[{window}]))"
        found = {one["metric"]["scenario"]: one["values"] for one in server.ask("query_range", query=query, **asked)}
        for scenario in WEEKS[1::9]:
            theirs = {round(t * 1000): float(value) for t, value in found.get(scenario.name, [])}
            sums = [
                counter_sum(_bad(scenario), int(at), window_ms, server.semantics, function == "rate")
                for at in instants
            ]
            ours = {int(at): value for at, value in zip(instants, sums, strict=True) if value is not None}
            assert ours == theirs, scenario.name


def _bad(scenario: Scenario) -> list[Samples]:
    return [
        [(int(t), float(v)) for t, v in zip(one.times_ms, one.bad, strict=True) if np.isfinite(v)]
        for one in scenario.instances
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_replay_fires_in_the_very_minutes_in_which_prometheus_does(server: Server, name: str) -> None:
    """Every alert, scenario and minute: before and after ``for`` no difference between replay and Prometheus."""
    variant = VARIANTS[name]
    weeks = WEEKS[variant.part]
    theirs = _asked(server, variant, weeks)
    wrong = []
    for scenario, hold in product(weeks, HOLDS):
        rows = zip(_replayed(server.semantics, variant, scenario, hold), theirs[scenario.name], strict=True)
        for alert, (ours, met) in zip(variant.policy.alerts, rows, strict=True):
            if (minutes := np.flatnonzero(ours != _held(met, hold))).size:
                wrong.append(f"{scenario.name}, {alert.name} for {hold}: {minutes.size}, the first {minutes[0]}")
    fired = sum(rows.sum(axis=1) for rows in theirs.values())
    shown = ", ".join(f"{alert.name} {count}" for alert, count in zip(variant.policy.alerts, fired, strict=True))
    print(
        f"\nPrometheus {server.semantics}.x, {name}: {len(weeks)} weeks, {int(fired.sum())} firing minutes ({shown}) "
        f"of {EVALUATIONS.count * len(weeks) * len(fired)} compared, {len(wrong)} rows differ"
    )
    assert wrong == []
    assert (fired > 200).all(), "the scenarios do not let every alert fire"
    assert name != "bad" or fired.sum() > 100_000


def _asked(server: Server, variant: Variant, weeks: Sequence[Scenario]) -> dict[str, np.ndarray]:
    """Return the minutes in which Prometheus has the alerts' expressions met, (alerts, count) for each scenario."""
    policy = variant.policy
    met = {scenario.name: np.zeros((len(policy.alerts), EVALUATIONS.count), bool) for scenario in weeks}
    chunks = [[one.name for one in weeks[start : start + 8]] for start in range(0, len(weeks), 8)]
    first, last = (str(EVALUATIONS.instants_ms[i] / 1000) for i in (0, -1))

    def ask(work: tuple[int, list[str]]) -> None:
        number, names = work
        alert = policy.alerts[number]
        query = variant.expression(alert, policy.threshold(alert), "|".join(names))
        for found in server.ask("query_range", query=query, start=first, end=last, step="60"):
            times = np.array([t for t, _ in found["values"]])
            minutes = np.round(times * 1000 - EVALUATIONS.begin_ms).astype(np.int64) // MINUTE
            met[found["metric"]["scenario"]][number, minutes] = True

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, product(range(len(policy.alerts)), chunks)))
    return met


def _replayed(semantics: Semantics, variant: Variant, scenario: Scenario, hold: timedelta) -> np.ndarray:
    policy = variant.policy
    policy = replace(policy, alerts=tuple(replace(alert, hold=hold) for alert in policy.alerts))
    series = [
        CounterSeries(one.times_ms, getattr(one, variant.form), one.total, variant.form) for one in scenario.instances
    ]
    return replay_counters(policy, series, EVALUATIONS, semantics, variant.function)


def _held(met: np.ndarray, hold: timedelta) -> np.ndarray:
    """Apply Prometheus's ``for``: an unbroken run fires from ``hold`` after its first minute on."""
    if not hold:
        return met
    needed, fires, run = hold // timedelta(minutes=1), np.zeros_like(met), 0
    for minute, condition in enumerate(met):
        run = run + 1 if condition else 0
        fires[minute] = run > needed
    return fires


def test_the_scenarios_are_the_same_on_every_call() -> None:
    """At least sixty weeks, drawn again to the very same samples."""
    assert len(WEEKS) >= 60
    for one, again in zip(WEEKS, scenarios(), strict=True):
        for here, there in zip(one.instances, again.instances, strict=True):
            assert one.name == again.name and (np.diff(here.times_ms) > 0).all()
            for column in ("times_ms", "bad", "good", "total"):
                assert np.array_equal(getattr(here, column), getattr(there, column), equal_nan=True)


def test_the_scenarios_tell_the_versions_apart() -> None:
    """A replay in the other version's way is wrong in hundreds of minutes: the comparison above can fail."""
    two, three = (
        np.stack([_replayed(semantics, VARIANTS["bad"], scenario, HOLDS[0]) for scenario in WEEKS])
        for semantics in (2, 3)
    )
    assert (two != three).sum() > 500
    assert (two != three).any(axis=(1, 2)).sum() > 20


@needs_prometheus
@pytest.mark.parametrize("seed", [1, 2])
def test_for_is_what_prometheus_rules_make_of_it(tmp_path: Path, seed: int) -> None:
    """Rules with ``for`` run by promtool fire in the replay's minutes, also around restarts and stale series."""
    bad, total = _flapping_day(seed)
    policy = workbook_policy()
    holds = (2, 15, 0, 60)
    alerts = tuple(
        replace(alert, hold=timedelta(minutes=hold), min_bad=5.0)
        for alert, hold in zip(policy.alerts, holds, strict=True)
    )
    policy = replace(policy, alerts=alerts)
    series = CounterSeries(np.arange(bad.size, dtype=np.int64) * MINUTE, bad, total)
    firing = replay_counters(policy, [series], Evaluations(0, MINUTE, bad.size), semantics=2)
    assert (firing.sum(axis=1) > 30).all() and (np.diff(firing[0].astype(int)) == 1).sum() > 3
    _write_unit_test(tmp_path, policy, bad, total, firing)
    command = ["promtool", "test", "rules", "test.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[:3000]


def _flapping_day(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counters of a day on which errors come and go; NaN where the target was away; it then restarts at zero."""
    rng = np.random.default_rng(seed)
    minute = np.arange(1440)
    share = np.where((minute % 110 < 35) & (minute > 100), 0.05, 0.0)
    share[rng.integers(200, 1400, 40)] = 0.5
    total = rng.poisson(100, minute.size)
    counters = [np.cumsum(rng.binomial(total, share)).astype(float), np.cumsum(total).astype(float)]
    for at in 200 * np.arange(1, 7) + rng.integers(0, 150, 6):
        for values in counters:
            values[at:] -= values[at - 1]
            values[at - rng.integers(2, 9) : at] = np.nan
    return counters[0], np.where(np.isnan(counters[0]), np.nan, counters[1])


def _write_unit_test(folder: Path, policy: AlertPolicy, bad: np.ndarray, total: np.ndarray, firing: np.ndarray) -> None:
    """Ask promtool to confirm the state of every alert in every minute."""

    def rule(alert: BurnAlert) -> dict[str, str]:
        threshold, (long, short) = policy.threshold(alert), map(format_duration, (alert.long, alert.short))
        ratios = [f"sum(rate(bad_total[{w}])) / sum(rate(total_total[{w}])) > {threshold!r}" for w in (long, short)]
        guard = f"sum(increase(bad_total[{long}])) >= {alert.min_bad!r}"
        return {"alert": alert.name, "expr": " and ".join([*ratios, guard]), "for": format_duration(alert.hold)}

    rules = [rule(alert) for alert in policy.alerts]
    groups = {"groups": [{"name": "burn", "interval": "1m", "rules": rules}]}
    (folder / "rules.json").write_text(json.dumps(groups), "utf-8")
    states = [
        {"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": [{"exp_labels": {}}] * int(fires)}
        for alert, row in zip(policy.alerts, firing, strict=True)
        for minute, fires in enumerate(row)
    ]
    inputs = [{"series": f"{name}_total", "values": _notation(v)} for name, v in (("bad", bad), ("total", total))]
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": states}
    unit = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.json").write_text(json.dumps(unit), "utf-8")


def _notation(values: np.ndarray) -> str:
    """Write a series for promtool: a target that went away is marked stale once and then just missing."""
    words = ["_" if np.isnan(value) else f"{value:.0f}" for value in values]
    for minute in range(1, len(words)):
        if words[minute] == "_" and words[minute - 1] not in ("_", "stale"):
            words[minute] = "stale"
    return " ".join(words)
