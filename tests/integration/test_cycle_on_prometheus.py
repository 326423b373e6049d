"""A whole cycle on a real Prometheus reports what PromQL answers there for the same instant."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_server import ask, ask_number, backfill, drive_traffic, needs_prometheus, running_prometheus
from workspaces import ROOT, make_workspace, node0, node0_json

from node0lib.timespan import parse_instant

pytestmark = [pytest.mark.real, needs_prometheus]
EXACT = 1e-9
HISTOGRAM = "prometheus_http_request_duration_seconds_bucket"
SELF = {
    "prometheus_availability": (
        0.999,
        "24h",
        'sum(increase(prometheus_http_requests_total{code!~"5.."}[$window]))',
        "sum(increase(prometheus_http_requests_total[$window]))",
    ),
    "prometheus_latency": (
        0.99,
        "24h",
        f'sum(increase({HISTOGRAM}{{le="0.4"}}[$window]))',
        f'sum(increase({HISTOGRAM}{{le="+Inf"}}[$window]))',
    ),
}
"""What the example promises: objective, window, and the PromQL of good and total, written down once more."""

MONTH = """ihsan: ../ihsan.yaml
policy: ../alpha.policy.json
mode: recommend
telemetry: {kind: prometheus, url: "http://127.0.0.1:9090", delay: 5s}
target: {kind: none}
slo:
  slos:
    - name: jobs
      kind: ratio
      objective: 0.999
      window: 30d
      queries: {good: 'sum(increase(jobs_total{result="ok"}[$window]))', total: "sum(increase(jobs_total[$window]))"}
"""
JOBS = (0.999, "30d", 'sum(increase(jobs_total{result="ok"}[$window]))', "sum(increase(jobs_total[$window]))")


def _installation(folder: Path, text: str, url: str) -> tuple[Path, str]:
    """Make an installation from the shipped files with one more example, pointed at ``url``; return its config."""
    make_workspace(folder)
    assert text.count("http://127.0.0.1:9090") >= 1
    config = folder / "configs" / "examples" / "here.yaml"
    config.write_text(text.replace("http://127.0.0.1:9090", url), "utf-8")
    return folder, "configs/examples/here.yaml"


def _agrees(url: str, ended: Mapping[str, Any], name: str, promise: tuple[float, str, str, str]) -> Mapping[str, Any]:
    """Compare one SLO's good, total, budget left and every burn with PromQL at the cycle's instant; return it."""
    objective, window, good, total = promise
    status = next(s for s in ended["result"]["statuses"] if s["name"] == name)
    at = f"{parse_instant(ended['result']['at']).timestamp():.3f}"
    own_good, own_total = (query.replace("$window", window) for query in (good, total))
    assert status["counts"]["problem"] is None
    assert status["counts"]["good"] == pytest.approx(ask_number(url, own_good, at), rel=EXACT)
    assert status["counts"]["total"] == pytest.approx(ask_number(url, own_total, at), rel=EXACT)
    left = f"1 - (({own_total}) - ({own_good})) / ((1 - {objective}) * ({own_total}))"
    assert status["budget_left"] == pytest.approx(ask_number(url, left, at), rel=EXACT)
    assert {"5m", "30m", "1h", "2h", "6h", "1d", "3d"} <= set(status["burn"])
    for length, burn in status["burn"].items():
        some_good, some_total = (query.replace("$window", length) for query in (good, total))
        expected = f"(1 - ({some_good}) / ({some_total})) / (1 - {objective})"
        assert burn == pytest.approx(ask_number(url, expected, at), rel=EXACT), length
        assert status["bad"][length] == pytest.approx(ask_number(url, f"({some_total}) - ({some_good})", at), rel=EXACT)
    return status


def _reported(folder: Path, config: str, ended: Mapping[str, Any]) -> None:
    """The evidence verifies, and neither report calls anything simulated."""
    assert node0(folder, "evidence", "verify", "--config", config).returncode == 0
    for kind in ("audit", "investor"):
        page = (folder / ended["files"][f"{kind} report"]).read_text("utf-8")
        assert page.rstrip().endswith("</html>") and "SIMULATED" not in page
        assert "prometheus at http://127.0.0.1:" in page


def _traffic(url: str) -> None:
    """Some twenty seconds of requests of which some fail, by the client's or the server's fault, and some are slow."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for _ in range(6):
            drive_traffic(url, 2)
            assert client.get("/api/v1/query?query=up&timeout=0s").status_code == 503
            assert client.get("/api/v1/query?query=sum_over_time(vector(1)[4000000s:1s])").status_code == 200


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes itself every second and has answered real requests, some of them with errors."""
    with running_prometheus(tmp_path_factory.mktemp("live")) as url:
        end = time.monotonic() + 60
        while not ask(url, "query", query="up == 1"):
            assert time.monotonic() < end, "no scrape within a minute"
            time.sleep(0.1)
        _traffic(url)
        yield url


def test_a_cycle_on_a_real_prometheus_is_promqls(live: str, tmp_path: Path) -> None:
    """Good, total, budget left and burn of the shipped example equal PromQL's own, for every window."""
    example = (ROOT / "configs" / "examples" / "prometheus-self.yaml").read_text("utf-8")
    assert "scrape_interval: 15s" in example
    folder, config = _installation(tmp_path / "w", example.replace("scrape_interval: 15s", "scrape_interval: 1s"), live)

    ended = node0_json(folder, "cycle", "--config", config, expect=3)

    assert ended["status"] == "blocked", "half a minute of 24 hours is too little to change anything on"
    found = [_agrees(live, ended, name, promise) for name, promise in SELF.items()]
    assert all(status["counts"]["total"] > 100 and status["counts"]["coverage"] < 0.1 for status in found)
    assert found[0]["burn"]["5m"] > 0, "some requests did fail"
    assert found[1]["burn"]["5m"] > 0, "some requests were slow"
    slices = next(s for s in ended["result"]["statuses"] if s["name"] == "prometheus_latency_p95")
    assert slices["counts"]["total"] >= 1 and slices["counts"]["problem"] is None
    assert ended["result"]["simulated"] is False and ended["result"]["target"] is None
    _reported(folder, config, ended)


def _history(end: int) -> str:
    """Two counters until ``end``, a sample a minute for 30 days and an hour; some jobs fail, mostly every fifth day."""
    rng = np.random.default_rng(20260101)
    ticks = np.arange(31 * 24 * 60)
    started = rng.poisson(40 * (1 + 0.8 * np.sin(ticks * 2 * np.pi / 1440)))
    failed = rng.binomial(started, np.where(ticks % 7200 < 30, 0.05, 0.0002))
    stamps = end - 60 * ticks[::-1]
    lines = ["# TYPE jobs counter"]
    for result, amounts in (("ok", started - failed), ("failed", failed)):
        counted = zip(np.cumsum(amounts), stamps, strict=True)
        lines += [f'jobs_total{{result="{result}"}} {count} {stamp}' for count, stamp in counted]
    return "\n".join([*lines, "# EOF", ""])


def test_the_budget_of_a_month_in_a_cycle_is_promqls(tmp_path: Path) -> None:
    """On 30 days of history a whole cycle reports PromQL's good, total, budget left and burn for every window."""
    end = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=4)  # the cycle looks back from now
    backfill(_history(int(end.timestamp())), tmp_path / "data")
    with running_prometheus(tmp_path / "server", data_dir=tmp_path / "data", scrape_self=False) as url:
        folder, config = _installation(tmp_path / "w", MONTH, url)
        ended = node0_json(folder, "cycle", "--config", config)
        status = _agrees(url, ended, "jobs", JOBS)
    assert status["counts"]["coverage"] == 1.0 and status["counts"]["total"] > 1_000_000
    assert 0 < status["budget_left"] < 1 and status["state"] == "meeting"
    assert ended["status"] == "no_change" and "no target is configured" in ended["reasons"][0]
    _reported(folder, config, ended)
