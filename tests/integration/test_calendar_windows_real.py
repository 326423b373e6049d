"""A month that begins in Berlin, with maintenance in it, read from a real Prometheus as its own PromQL answers."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_server import ask_number, backfill, needs_prometheus, running_prometheus
from workspaces import make_workspace

from node0lib.shell.cli.slo_status import status
from node0lib.timespan import format_duration, parse_instant

pytestmark = [pytest.mark.real, needs_prometheus]
START, MONTH, AT = map(parse_instant, ("2026-10-31T21:00:00Z", "2026-10-31T23:00:00Z", "2026-11-01T02:10:07Z"))
MOVE = parse_instant("2026-11-01T00:20:00Z"), parse_instant("2026-11-01T01:05:00Z")
QUERIES = {"bad": 'sum(increase(jobs_total{result="failed"}[$window]))', "total": "sum(increase(jobs_total[$window]))"}
CONFIG = """ihsan: ../ihsan.yaml
policy: ../alpha.policy.json
mode: recommend
telemetry: {{kind: prometheus, url: "{url}", scrape_interval: 15s}}
target: {{kind: none}}
slo:
  slos:
    - name: jobs
      kind: ratio
      objective: 0.99
      window: month
      time_zone: Europe/Berlin
      queries: {queries}
  maintenance:
    - {{start: "2026-11-01T01:20:00+01:00", end: "2026-11-01T02:05:00+01:00", reason: the jobs move}}
"""


def _history() -> str:
    """A sample every 15 s, a job a second: all fail before the month, half in maintenance, 2 in 100 else."""
    lines: dict[str, list[str]] = {"ok": [], "failed": []}
    ok = failed = 0.0
    for tick in range(int((AT - START).total_seconds()) // 15 + 1):
        at = START + tick * timedelta(seconds=15)
        share = 1.0 if at <= MONTH else 0.5 if MOVE[0] < at <= MOVE[1] else 0.02
        ok, failed = (ok + 15 * (1 - share), failed + 15 * share) if tick else (0.0, 0.0)
        for result, value in (("ok", ok), ("failed", failed)):
            lines[result].append(f'jobs_total{{result="{result}"}} {value:.6f} {at.timestamp():.0f}')
    return "\n".join(["# TYPE jobs counter", *lines["ok"], *lines["failed"], "# EOF", ""])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, float]]:
    """What the status says of the SLO, and the server's own sums over the two parts of the month so far."""
    folder = tmp_path_factory.mktemp("calendar")
    backfill(_history(), folder / "data")
    with running_prometheus(folder, data_dir=folder / "data", scrape_self=False) as url:
        config = make_workspace(folder / "w") / "configs" / "examples" / "here.yaml"
        config.write_text(CONFIG.format(url=url, queries=json.dumps(QUERIES)), "utf-8")
        words = ["--config", str(config), "--at", AT.isoformat(), "--output", "json"]
        ran = CliRunner().invoke(status, words, catch_exceptions=False)
        spans = (MONTH, MOVE[0]), (MOVE[1], AT)
        truth = {
            role: sum(
                ask_number(url, query.replace("$window", format_duration(end - start)), f"{end.timestamp():.3f}")
                for start, end in spans
            )
            for role, query in QUERIES.items()
        }
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)["slos"][0], truth


def test_the_month_so_far_is_summed_around_maintenance(seen: tuple[dict[str, Any], dict[str, float]]) -> None:
    """Good and total are the server's sums of the parts; October's outage and the maintenance do not count."""
    slo, truth = seen
    assert slo["total"] == pytest.approx(truth["total"], rel=1e-9)
    assert slo["good"] == pytest.approx(truth["total"] - truth["bad"], rel=1e-9)
    assert slo["sli"] == pytest.approx(0.98, abs=1e-3) and slo["state"] == "breached"
    assert slo["coverage"] == pytest.approx(1.0, abs=0.01)


def test_the_window_is_told_as_the_month_in_berlin(seen: tuple[dict[str, Any], dict[str, float]]) -> None:
    """It begins at midnight in Berlin, ends at the instant, and lasts until December begins there."""
    window = seen[0]["window"]
    assert (window["start"], window["end"]) == ("2026-10-31T23:00:00Z", "2026-11-01T02:10:07Z")
    assert (window["ends"], window["time_zone"]) == ("2026-11-30T23:00:00Z", "Europe/Berlin")
    assert window["excluded_hours"] == 0.75


def test_burn_windows_roll_over_the_months_start_and_leave_maintenance_out(
    seen: tuple[dict[str, Any], dict[str, float]],
) -> None:
    """Six hours reach back into October's outage; the last hour burns twice, in which no maintenance was."""
    burn = seen[0]["burn"]
    assert burn["6h"] > 40 and burn["1h"] == pytest.approx(2.0, rel=0.01)
    assert burn["3d"] == pytest.approx(burn["6h"], rel=0.02)
