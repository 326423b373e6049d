"""Simulated months give the alerts that Prometheus gives: promtool evaluates the same policies on the same minutes.

Each minute's events are a gauge, so that a window is ``sum_over_time``; where nobody observed there is no sample. The
ranges of 2.42 are closed on both sides, so windows are a millisecond shorter: (t - w, t], as buckets have it. promtool
confirms every alert's state on both sides of each of its onsets and ends, and how many minutes it fires in all.
"""

import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.replay import replay_buckets
from node0lib.simulate.months import evaluations_of, series_of
from node0lib.simulate.scenario import Fault, Floor, Month, Scenario, Traffic, draw, plan
from node0lib.timespan import format_duration

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: install Debian's prometheus"),
]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WORKBOOK = named_policies(0.999)["workbook"]
PAIRS = AlertPolicy(0.999, timedelta(days=30), WORKBOOK.alerts[:2])
WAITING = AlertPolicy(
    0.99,
    timedelta(days=30),
    (
        BurnAlert("guarded", "critical", HOUR, 5 * MINUTE, 2.0, min_bad=3.0),
        BurnAlert("waiting", "warning", 2 * HOUR, 10 * MINUTE, 1.5, hold=7 * MINUTE),
    ),
)
USUAL, CLUSTERED = Traffic(36_000.0, daily_swing=0.5), Floor(0.0003, dispersion=1.5)
SCENARIOS = {
    "outage and regional fault": (
        PAIRS,
        Scenario(
            USUAL,
            CLUSTERED,
            (
                Fault("outage", 9 * HOUR, 20 * MINUTE, errors=1.0),
                Fault("regional", 30 * HOUR, 90 * MINUTE, errors=0.6, share=0.2),
            ),
            length=48 * HOUR,
        ),
    ),
    "flapping and a telemetry gap": (
        PAIRS,
        Scenario(
            USUAL,
            CLUSTERED,
            (
                Fault("flapping", 8 * HOUR, 3 * HOUR, errors=0.2, shape="flapping", period=20 * MINUTE),
                Fault("gap", 10 * HOUR, 45 * MINUTE, telemetry=False),
                Fault("silence", 15 * HOUR, 2 * HOUR, traffic=0.0),
            ),
            length=24 * HOUR,
        ),
    ),
    "a slow burn through the slower pairs": (
        AlertPolicy(0.999, timedelta(days=30), WORKBOOK.alerts[1:3]),
        Scenario(
            USUAL,
            CLUSTERED,
            (
                Fault("slow burn", 28 * HOUR, 30 * HOUR, errors=0.005),
                Fault("partial", 66 * HOUR, 40 * MINUTE, errors=0.1),
            ),
            length=72 * HOUR,
        ),
    ),
    "a request a minute and a guard": (
        WAITING,
        Scenario(
            Traffic(60.0),
            Floor(0.01, dispersion=1.0),
            (Fault("ramp", 12 * HOUR, 2 * HOUR, errors=0.6, shape="ramp"),),
            length=36 * HOUR,
        ),
    ),
}


def _rule(alert: BurnAlert, policy: AlertPolicy) -> dict[str, str]:
    threshold = repr(policy.threshold(alert))

    def window(name: str, length: timedelta) -> str:
        return f"sum(sum_over_time({name}[{format_duration(length - timedelta(milliseconds=1))}]))"

    parts = [f"{window('bad', w)} / {window('total', w)} > {threshold}" for w in (alert.long, alert.short)]
    if alert.min_bad:
        parts.append(f"{window('bad', alert.long)} >= {alert.min_bad!r}")
    return {"alert": alert.name, "expr": " and ".join(parts), "for": format_duration(alert.hold) or "0s"}


def _values(numbers: np.ndarray) -> str:
    return " ".join("_" if np.isnan(value) else f"{int(value)}" for value in numbers)


def _question(policy: AlertPolicy, month: Month, firing: np.ndarray) -> dict[str, object]:
    """What promtool is asked to confirm: firing minutes, and the states around each edge."""
    n, counts, states = month.bad.size, [], []
    for alert, row in zip(policy.alerts, firing, strict=True):
        fires = f'ALERTS{{alertname="{alert.name}",alertstate="firing"}}'
        samples = [{"labels": "{}", "value": int(row.sum())}]
        expr = f"sum(count_over_time({fires}[{n}m])) or vector(0)"
        counts.append({"expr": expr, "eval_time": f"{n - 1}m", "exp_samples": samples})
        edges = np.flatnonzero(np.diff(row.astype(np.int8)))
        for minute in sorted({int(m) for edge in edges for m in (edge, edge + 1)}):
            alerts = [{"exp_labels": {}}] if row[minute] else []
            states.append({"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": alerts})
    columns = (("bad", month.bad), ("total", month.total))
    series = [{"series": name, "values": _values(values)} for name, values in columns]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": counts, "alert_rule_test": states}
    return {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}


def _promtool(folder: Path, policy: AlertPolicy, month: Month, firing: np.ndarray) -> subprocess.CompletedProcess[str]:
    rules = [_rule(alert, policy) for alert in policy.alerts]
    groups = {"groups": [{"name": "burn", "interval": "1m", "rules": rules}]}
    (folder / "rules.json").write_text(json.dumps(groups), "utf-8")
    (folder / "test.json").write_text(json.dumps(_question(policy, month, firing)), "utf-8")
    command = ["promtool", "test", "rules", "test.json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_fires_as_in_prometheus(name: str, tmp_path: Path) -> None:
    """Every onset, every end and every firing minute of a simulated month are promtool's too."""
    policy, scenario = SCENARIOS[name]
    expected = plan(scenario)
    month = draw(expected, seed=11, month=0)
    firing = replay_buckets(policy, series_of(expected, month), evaluations_of(expected))
    assert firing.any(axis=1).all()
    done = _promtool(tmp_path, policy, month, firing)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_promtool_would_not_agree_with_a_minute_less(tmp_path: Path) -> None:
    """The comparison can fail: an alert that is said to go a minute too soon is found."""
    policy, scenario = SCENARIOS["a request a minute and a guard"]
    expected = plan(scenario)
    month = draw(expected, seed=11, month=0)
    firing = replay_buckets(policy, series_of(expected, month), evaluations_of(expected))
    firing[0, np.flatnonzero(firing[0])[-1]] = False
    done = _promtool(tmp_path, policy, month, firing)
    assert done.returncode == 1 and "FAILED" in done.stdout + done.stderr
