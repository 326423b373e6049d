"""The linter against a real Prometheus that scrapes a small service: what it says of the series is what they are."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lint_exporter import FIRST_ERRORS
from prometheus_server import ask, backfill, needs_prometheus, needs_prometheus3, running_prometheus
from workspaces import ROOT

from node0lib.shell.cli.alert_lint import lint

pytestmark = [pytest.mark.real, needs_prometheus]

SLOS = """
slos:
  - {name: shop, kind: ratio, objective: 0.999, window: 30d, queries: RATIO(shop_requests_total)}
  - {name: calm, kind: ratio, objective: 0.999, window: 30d, queries: RATIO(calm_requests_total)}
  - {name: ready, kind: ratio, objective: 0.93, window: 30d, queries: RATIO(ready_requests_total)}
  - {name: shop_bad, kind: ratio, objective: 0.999, window: 30d, queries: ERRORS(shop_requests_total)}
  - {name: calm_bad, kind: ratio, objective: 0.999, window: 30d, queries: ERRORS(calm_requests_total)}
  - {name: mixed, kind: ratio, objective: 0.999, window: 30d, queries: {
      good: 'sum(increase(calm_requests_total[$window]))', total: 'sum(increase(ready_requests_total[$window]))'}}
  - {name: gone, kind: ratio, objective: 0.999, window: 30d, queries: RATIO(gone_total)}
  - {name: fast, kind: latency, objective: 0.99, window: 30d, threshold: 200ms, queries: BUCKETS}
  - {name: exact, kind: latency, objective: 0.99, window: 30d, threshold: 250ms, queries: BUCKETS}
"""
QUERIES = {
    r"RATIO\((\w+)\)": r"""{good: 'sum(increase(\1{code!~"5.."}[$window]))', total: 'sum(increase(\1[$window]))'}""",
    r"ERRORS\((\w+)\)": r"""{bad: 'sum(increase(\1{code=~"5.."}[$window]))', total: 'sum(increase(\1[$window]))'}""",
    "BUCKETS": "{buckets: 'sum by (le) (increase(shop_seconds_bucket[$window]))'}",
}


@contextmanager
def exporter() -> Iterator[str]:
    """Yield host:port of the service, which counts once its metrics can be read."""
    command = [sys.executable, str(Path(__file__).with_name("lint_exporter.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def installation(folder: Path, url: str, interval: str = "1s") -> Path:
    """Write a configuration whose telemetry is that server."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    for name in ("ihsan.yaml", "alpha.policy.json"):
        (configs / name).write_bytes((ROOT / "configs" / name).read_bytes())
    slos = SLOS
    for short, whole in QUERIES.items():
        slos = re.sub(short, whole, slos)
    (configs / "slo.yaml").write_text(slos, "utf-8")
    (folder / "notebook.ipynb").write_text("{}", "utf-8")
    telemetry = f'{{kind: prometheus, url: "{url}", scrape_interval: {interval}, timeout: 5s, attempts: 1, delay: 1s}}'
    path = configs / "node0.yaml"
    path.write_text(
        f"slo: slo.yaml\nihsan: ihsan.yaml\npolicy: alpha.policy.json\nmode: recommend\ntelemetry: {telemetry}\n"
        "target: {kind: none}\npaths: {notebook: notebook.ipynb}\n",
        "utf-8",
    )
    return path


def linted(config: Path, *options: str) -> dict[str, Any]:
    """Run the command; return its JSON, with the exit code."""
    ran = CliRunner().invoke(lint, ["--config", str(config), "--output", "json", *options], catch_exceptions=False)
    return {**json.loads(ran.stdout), "exit_code": ran.exit_code}


@pytest.fixture(scope="module", params=["prometheus", pytest.param("prometheus3", marks=needs_prometheus3)])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the linter finds once the service has had its first errors, on 2.x and on 3.x."""
    folder = tmp_path_factory.mktemp("lint")
    with exporter() as target, running_prometheus(folder, extra_targets=[target], binary=request.param) as url:
        for _ in range(600):
            if ask(url, "query", query='count_over_time(shop_requests_total{code="500"}[1m]) > 3'):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the service had no errors within a minute")
        yield linted(installation(folder / "w", url), "--look-back", "1h")


def of(found: dict[str, Any], slo: str) -> dict[str, dict[str, Any]]:
    """The findings of an SLO by code."""
    return {finding["code"]: finding for finding in found["findings"] if finding["slo"] == slo}


def test_errors_that_began_above_zero_are_found_and_counted(found: dict[str, Any]) -> None:
    """The error series that was first seen at 7 is named, with the seven errors that no burn rate has."""
    born = of(found, "shop")["errors-born-above-zero"]
    assert born["severity"] == "warning" and f"at {FIRST_ERRORS} events in all" in born["why"]
    assert 'code="500"' in born["why"] and "1 series was first seen above 0" in born["why"]
    assert "initialise the counter to 0" in born["advice"]
    assert "error-series-missing" not in of(found, "shop")


def test_bad_events_of_their_own_are_looked_at_too(found: dict[str, Any]) -> None:
    """Where the query counts bad events, its own selector is what begins above zero, or is missing."""
    born = of(found, "shop_bad")["errors-born-above-zero"]
    assert f"at {FIRST_ERRORS} events in all" in born["why"]
    assert "counters-born-above-zero" not in of(found, "shop_bad"), "errors are told once"
    missing = of(found, "calm_bad")["error-series-missing"]
    assert missing["why"].startswith('calm_requests_total{code=~"5.."} has selected nothing for 1h')


def test_errors_that_cannot_be_told_are_not_checked(found: dict[str, Any]) -> None:
    """Where good and total are different metrics, nobody can name the error series: that is said, not skipped."""
    (unchecked,) = [one for one in found["findings"] if "different metrics" in one["why"]]
    assert (unchecked["slo"], unchecked["what"]) == ("mixed", "not checked: missing series")


def test_a_missing_error_series_is_found(found: dict[str, Any]) -> None:
    """A service without any error so far has no error series: its first error will be lost."""
    missing = of(found, "calm")["error-series-missing"]
    assert "calm_requests_total unless calm_requests_total" in missing["why"]
    assert "errors-born-above-zero" not in of(found, "calm")


def test_counters_that_were_initialised_are_left_in_peace(found: dict[str, Any]) -> None:
    """Where every label set was there from the start nothing is missing and nothing was born above zero.

    Nor is a counter that had counted before the server ever came: that is no birth.
    """
    codes = set(of(found, "ready"))
    assert not codes & {"error-series-missing", "errors-born-above-zero", "counters-born-above-zero", "no-series"}
    assert "counters-born-above-zero" not in of(found, "shop")


def test_an_alert_that_can_never_fire_is_an_error(found: dict[str, Any]) -> None:
    """At 93% no outage burns 14.4 budgets, and the message has both bounds."""
    never = of(found, "ready")["never-fires"]
    assert never["severity"] == "error" and never["alert"] == "critical_1h"
    assert "14.2857" in never["why"] and "93.0556%" in never["advice"]


def test_a_total_without_series_is_found(found: dict[str, Any]) -> None:
    """An SLO on a metric that does not exist can never alert."""
    assert "gone_total" in of(found, "gone")["no-series"]["why"]


def test_a_threshold_between_bounds_names_its_neighbours(found: dict[str, Any]) -> None:
    """200 ms lies between 0.1 and 0.25 s; 250 ms is a bound."""
    assert "0.1 and 0.25 s" in of(found, "fast")["threshold-between-buckets"]["what"]
    assert "threshold-between-buckets" not in of(found, "exact")


def test_what_a_young_server_cannot_tell_is_said(found: dict[str, Any]) -> None:
    """A server of some seconds has no whole hour of traffic: not checked, with what to do; windows are not full."""
    unchecked = [finding for finding in found["findings"] if finding["code"] == "not-checked"]
    assert any("traffic" in one["what"] and "--requests-per-hour" in one["why"] for one in unchecked)
    assert not any("retention" in one["what"] or "bucket" in one["what"] for one in unchecked)
    assert of(found, "shop")["window-beyond-data"]["severity"] == "note"
    assert found["exit_code"] == 3


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with eight days of samples 30 s apart: six requests an hour by day, two by night, never an error."""
    folder = tmp_path_factory.mktemp("week")
    now = int(time.time())
    lines, counted = ["# TYPE ready_requests counter"], 0.0
    for at in range(now - 8 * 86_400, now, 30):
        counted += (2 if at // 3600 % 24 < 6 else 6) / 120
        for code, value in (("200", counted), ("500", 0)):
            lines.append(f'ready_requests_total{{code="{code}"}} {value:.6f} {at}')
    backfill("\n".join([*lines, "# EOF", ""]), folder / "data")
    with running_prometheus(folder, data_dir=folder / "data", scrape_self=False) as url:
        yield installation(folder / "w", url, "15s")


def test_the_scrape_interval_is_measured(week: Path) -> None:
    """Samples that come every thirty seconds are not fifteen apart, whatever the configuration says."""
    differs = of(linted(week, "--slo", "ready"), "ready")["scrape-interval-differs"]
    assert "samples are 30s apart (measured over 1h)" in differs["why"] and "says 15s" in differs["why"]


def test_one_failure_is_weighed_against_the_measured_traffic(week: Path, tmp_path: Path) -> None:
    """The requests of the long window are those of the mean and of the quietest hour; a guard is given its due."""
    policy = tmp_path / "policy.yaml"
    text = """
objective: 0.99
alerts:
  - {name: bare, severity: critical, long: 1h, short: 5m, factor: 14.4}
  - {name: guarded, severity: critical, long: 1h, short: 5m, factor: 14.4, min_bad: 2}
  - {name: deaf, severity: critical, long: 1h, short: 5m, factor: 14.4, min_bad: 9}
  - {name: short, severity: critical, long: 1h, short: 45s, factor: 20}
  - {name: slow, severity: warning, long: 20d, short: 2d, factor: 1.1}
"""
    policy.write_text(text, "utf-8")
    found = linted(week, "--slo", "ready", "--policy", str(policy))
    by = {(finding["alert"], finding["code"]): finding for finding in found["findings"]}
    bare = by["bare", "one-failure-fires"]
    assert "5 requests in 1h on average, 2 in the quietest (measured over 7d)" in bare["why"]
    assert "from 7 on" in bare["why"]
    assert by["guarded", "guarded"]["severity"] == "note" and "min_bad 2" in by["guarded", "guarded"]["why"]
    assert "min_bad 9" in by["deaf", "guard-silences"]["what"]
    assert by["short", "short-window-under-two-scrapes"]["severity"] == "error"
    assert ("slow", "window-beyond-data") in by and ("slow", "one-failure-fires") not in by


def test_a_window_beyond_the_retention_is_a_note(week: Path) -> None:
    """The server keeps 90 days: windows within are not mentioned, and the retention itself is known."""
    found = linted(week, "--slo", "ready")
    assert "window-beyond-retention" not in of(found, "ready")
    assert not [one for one in found["findings"] if one["code"] == "not-checked" and "retention" in one["what"]]


def test_a_server_that_is_down_leaves_everything_unchecked(tmp_path: Path) -> None:
    """What needs no server is found all the same, and the rest is not checked, for one reason that is told once."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        found = linted(installation(tmp_path, f"http://127.0.0.1:{nobody.getsockname()[1]}"))
    (unchecked,) = [finding for finding in found["findings"] if finding["code"] == "not-checked"]
    assert "cannot connect" in unchecked["why"]
    assert "traffic" in unchecked["what"] and "retention" in unchecked["what"]
    assert "never-fires" in of(found, "ready") and found["exit_code"] == 3
