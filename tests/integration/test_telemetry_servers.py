"""The same history in Prometheus 2.x, Prometheus 3.x and VictoriaMetrics: node0 reads what each answers to raw PromQL.

The three differ among themselves (what a range holds, extrapolation), so each is compared with its own answers, asked
by a call that shares no code with node0; what no server may lose or invent is compared with the truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_server import (
    ask,
    ask_number,
    ask_raw,
    backfill,
    import_history,
    needs_prometheus,
    needs_prometheus3,
    needs_victoria_metrics,
    running_prometheus,
    running_victoria_metrics,
)
from workspaces import make_workspace

from node0lib.shell.cli import slo_status
from node0lib.shell.prometheus import Endpoint, PrometheusSource
from node0lib.sli.series import Counts
from node0lib.slo.budget import burn_rate
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration, parse_duration

pytestmark = pytest.mark.real
EXACT = 1e-9
SCRAPE = timedelta(seconds=15)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + 3 * HOUR
TICKS = 3 * 240 + 1
RESTART = 500
"""The tick at which instance b begins anew; 55 minutes before the end."""
STEADY = 4
"""Events of each instance in each tick of ``steady_total``."""

GOOD = 'sum(increase(jobs_total{result="ok"}[$window]))'
BAD = 'sum(increase(jobs_total{result="failed"}[$window]))'
TOTAL = "sum(increase(jobs_total[$window]))"
NEVER = 'sum(increase(jobs_total{result="never"}[$window]))'
BUCKETS = "sum by (le) (increase(latency_seconds_bucket[$window]))"
UNDER = 'sum(increase(latency_seconds_bucket{{le="{}"}}[$window]))'
RATIO = Objective("jobs", "ratio", 0.99, 3 * HOUR, queries={"good": GOOD, "total": TOTAL})
OF_BAD = replace(RATIO, queries={"bad": BAD, "total": TOTAL})
LATENCY = Objective("latency", "latency", 0.95, 3 * HOUR, queries={"buckets": BUCKETS}, threshold_s=0.25)
SLICES = Objective("p90", "timeslice", 0.9, HOUR, queries={"buckets": BUCKETS}, threshold_s=0.25, quantile=0.9)
GAUGE = Objective("up", "invariant", 1.0, HOUR, queries={"gauge": "min(alive)"}, minimum=1.0)


def _counted(amounts: np.ndarray, restart: int | None) -> np.ndarray:
    """A counter that starts at 0, and at a restart with what happened since the last scrape."""
    total = np.cumsum(amounts) - amounts[0]
    if restart is not None:
        total[restart:] -= total[restart - 1]
    return total


def _instance(rng: np.random.Generator, restart: int | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Metric, labels and values (TICKS,) of one instance; a fifth of the minutes is slow."""
    requests = rng.poisson(30, TICKS)
    failed = rng.binomial(requests, 0.01)
    slow = np.where(np.arange(TICKS) % 60 < 12, 0.3, 0.02)
    fast = rng.binomial(requests, 1 - slow)
    buckets = {"0.1": rng.binomial(fast, 1 - slow / 2), "0.25": fast, "+Inf": requests}
    yield "jobs_total", 'result="ok"', _counted(requests - failed, restart)
    yield "jobs_total", 'result="failed"', _counted(failed, restart)
    yield "steady_total", 'kind="any"', _counted(np.full(TICKS, STEADY), restart)
    for le, amounts in buckets.items():
        yield "latency_seconds_bucket", f'le="{le}"', _counted(amounts, restart)
    yield "alive", 'kind="any"', np.where(np.arange(TICKS) % 100 < 95, 1, 0)


def _history() -> str:
    """Two instances, a sample every 15 s for three hours; the second restarts, and nobody scraped for ten minutes."""
    rng = np.random.default_rng(20260101)
    ticks = np.delete(np.arange(TICKS), np.arange(300, 340))
    stamps = int(START.timestamp()) + 15 * ticks
    lines: dict[str, list[str]] = {}
    for instance, restart in (("a", None), ("b", RESTART)):
        for name, labels, values in _instance(rng, restart):
            series = f'{name}{{instance="{instance}",{labels}}}'
            pairs = zip(values[ticks], stamps, strict=True)
            lines.setdefault(name, []).extend(f"{series} {value} {stamp}" for value, stamp in pairs)
    metrics = (("jobs", "counter"), ("steady", "counter"), ("latency_seconds", "histogram"), ("alive", "gauge"))
    text: list[str] = []
    for metric, kind in metrics:
        text.append(f"# TYPE {metric} {kind}")
        text.extend(line for name, own in lines.items() if name.startswith(metric) for line in own)
    return "\n".join([*text, "# EOF", ""])


@dataclass(frozen=True)
class Server:
    """A running server: ``major`` is Prometheus's version, or None for VictoriaMetrics."""

    url: str
    major: int | None

    def source(self) -> PrometheusSource:
        return PrometheusSource(Endpoint(self.url, scrape_interval=SCRAPE))

    def number(self, query: str, window: timedelta, at: datetime) -> float:
        """The one number that the server answers to PromQL."""
        return ask_number(self.url, query.replace("$window", format_duration(window)), f"{at.timestamp():.3f}")

    def minutes(self, query: str, at: datetime, count: int) -> np.ndarray:
        """The answers at ``count`` minutes up to ``at``, NaN where there is none."""
        span = {"start": f"{(at - (count - 1) * MINUTE).timestamp()}", "end": f"{at.timestamp()}", "step": "60"}
        values = np.full(count, np.nan)
        for series in ask(self.url, "query_range", query=query.replace("$window", "1m"), nocache="1", **span):
            for moment, value in series["values"]:
                values[count - 1 - round((at.timestamp() - moment) / 60)] = float(value)
        return values


SERVERS = [
    pytest.param("prometheus", id="prometheus 2", marks=needs_prometheus),
    pytest.param("prometheus3", id="prometheus 3", marks=[needs_prometheus, needs_prometheus3]),
    pytest.param("victoria-metrics", id="victoria metrics", marks=needs_victoria_metrics),
]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of the three servers on the same three hours; it scrapes nothing."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "victoria-metrics":
        with running_victoria_metrics(folder) as url:
            import_history(url, _history())
            yield Server(url, None)
        return
    backfill(_history(), folder / "data")
    with running_prometheus(folder, data_dir=folder / "data", scrape_self=False, binary=request.param) as url:
        yield Server(url, 3 if request.param == "prometheus3" else 2)


def test_the_binary_is_the_version_that_was_asked_for(server: Server) -> None:
    """The server that runs under each name is of the version that the test means; VictoriaMetrics names none."""
    version = ask_raw(server.url, "status/buildinfo").get("version")
    assert version is None if server.major is None else str(version).startswith(f"{server.major}.")


@pytest.mark.parametrize("window", [5 * MINUTE, HOUR, 3 * HOUR], ids=format_duration)
@pytest.mark.parametrize("at", [END, END - 50 * MINUTE - timedelta(milliseconds=7_250)])
def test_requests_and_burn_are_the_servers_own(server: Server, at: datetime, window: timedelta) -> None:
    """Good, total and burn of a ratio, by good or by bad events, are what the server's PromQL says."""
    good, bad, total = (server.number(query, window, at) for query in (GOOD, BAD, TOTAL))
    with server.source() as source:
        of_good, of_bad = source.counts(RATIO, window, at), source.counts(OF_BAD, window, at)
    assert (of_good.good, of_good.total) == pytest.approx((min(good, total), total), rel=EXACT)
    assert (of_bad.good, of_bad.total) == pytest.approx((total - bad, total), rel=EXACT)
    burn = server.number(f"(1 - ({GOOD}) / ({TOTAL})) / (1 - 0.99)", window, at)
    assert burn_rate(RATIO, of_good) == pytest.approx(burn, rel=1e-7)
    burn = server.number(f"({BAD}) / ({TOTAL}) / 0.01", window, at)
    assert burn_rate(OF_BAD, of_bad) == pytest.approx(burn, rel=1e-7)


@pytest.mark.parametrize("window", [5 * MINUTE, 3 * HOUR], ids=format_duration)
def test_latencies_and_their_bounds_are_the_servers_own(server: Server, window: timedelta) -> None:
    """Requests at or under a threshold are the bucket's at its bound, and between the two around it elsewhere."""
    fast, slow, total = (server.number(UNDER.format(le), window, END) for le in ("0.1", "0.25", "+Inf"))
    with server.source() as source:
        exact = source.counts(LATENCY, window, END)
        between = source.counts(replace(LATENCY, threshold_s=0.2), window, END)
    assert (exact.good, exact.total, exact.good_most) == (pytest.approx(slow, rel=EXACT), pytest.approx(total), None)
    assert (between.good, between.good_most) == pytest.approx((fast, slow), rel=EXACT)
    burn = server.number(f"(1 - ({UNDER.format('0.1')}) / ({UNDER.format('+Inf')})) / (1 - 0.95)", window, END)
    assert burn_rate(LATENCY, between) == pytest.approx(burn, rel=1e-7)


@pytest.mark.parametrize("at", [END, START + 90 * MINUTE, END - 20 * MINUTE + 7 * timedelta(seconds=1)])
def test_slices_are_the_servers_own(server: Server, at: datetime) -> None:
    """Good and total slices of an hour follow from the server's answers minute by minute; gaps are not slices."""
    fast, slow, total = (server.minutes(UNDER.format(le), at, 60) for le in ("0.1", "0.25", "+Inf"))
    traffic = total > 0
    with server.source() as source:
        exact = source.counts(SLICES, HOUR, at)
        between = source.counts(replace(SLICES, threshold_s=0.2), HOUR, at)
        series = source.series(SLICES, Span.ending(at, HOUR), MINUTE)
    assert exact.total == between.total == traffic.sum() > 40
    assert exact.good == (traffic & (slow >= 0.9 * total)).sum() < exact.total
    assert between.good == (traffic & (fast >= 0.9 * total)).sum()
    assert (between.good_most or between.good) == exact.good
    assert exact.coverage == pytest.approx(np.isfinite(total).sum() / 60)
    np.testing.assert_array_equal(np.isnan(series.total), np.isnan(total))


def test_series_are_the_servers_own(server: Server) -> None:
    """Minutes of three hours equal the server's answers, gaps included, wherever its own step would lie."""
    at = END - timedelta(seconds=7)
    with server.source() as source:
        series = source.series(OF_BAD, Span.ending(at, 170 * MINUTE), MINUTE)
    total, bad = server.minutes(TOTAL, at, 170), server.minutes(BAD, at, 170)
    np.testing.assert_allclose(series.total, total, rtol=EXACT)
    np.testing.assert_allclose(series.good, np.maximum(0, total - bad), rtol=EXACT)
    assert 0 < np.isnan(total).sum() < 12


def test_a_gauge_that_fails_for_a_while_is_seen(server: Server) -> None:
    """An invariant counts the minutes at which the server says that the gauge holds."""
    alive = server.minutes("min(alive)", END, 60)
    with server.source() as source:
        counts = source.counts(GAUGE, HOUR, END)
    assert (counts.good, counts.total) == ((alive >= 1).sum(), np.isfinite(alive).sum())
    assert counts.good < counts.total == 60


def test_coverage_sees_the_gap(server: Server) -> None:
    """A window inside the ten minutes that nobody scraped has no data; one around them is covered in part."""
    silent = START + 300 * SCRAPE
    with server.source() as source:
        around = source.counts(RATIO, HOUR, silent + 30 * MINUTE)
        inside = source.counts(RATIO, MINUTE, silent + 9 * MINUTE)
    assert 45 / 60 < around.coverage < 55 / 60
    assert not inside.observed or (inside.total, inside.coverage) == (0.0, 0.0)


def test_a_restart_loses_and_invents_nothing(server: Server) -> None:
    """One of two instances restarts: per-series increases, summed, give the true number of events of the hour."""
    query = "sum(increase(steady_total[$window]))"
    steady = replace(RATIO, queries={"good": query, "total": query})
    with server.source() as source:
        counts = source.counts(steady, HOUR, END)
        minutes = source.series(steady, Span.ending(END, HOUR), MINUTE).counts()
    truth = 2 * STEADY * 240
    assert counts.total == pytest.approx(truth, rel=EXACT)
    assert minutes.total == pytest.approx(truth, rel=EXACT)
    if server.major:
        mistaken = "sum(increase(sum(steady_total)[1h:15s]))"
        assert server.number(mistaken, HOUR, END) > 1.2 * truth, "a sum before the increase reads a restart as events"


def test_an_error_series_that_does_not_exist_is_no_error_with_a_note(server: Server) -> None:
    """Without any series of bad events all events are good, and the counts say why."""
    never = replace(OF_BAD, queries={"bad": NEVER, "total": TOTAL})
    with server.source() as source:
        counts = source.counts(never, HOUR, END)
    assert counts.good == counts.total == pytest.approx(server.number(TOTAL, HOUR, END), rel=EXACT)
    assert counts.note is not None and "no series, counted as no bad events" in counts.note
    assert counts.problem is None


def test_another_query_than_a_number_is_no_data(server: Server) -> None:
    """A query that cannot be parsed, or answers several series, is no data with the server's reason."""
    for good, why in (("sum(increase(x[$window]) + ", "HTTP 4"), ("increase(jobs_total[$window])", "4 series where")):
        with server.source() as source:
            counts = source.counts(replace(RATIO, queries={"good": good, "total": TOTAL}), HOUR, END)
        assert counts == Counts.nothing(str(counts.problem))
        assert why in str(counts.problem)


CATALOGUE = f"""ihsan: ../ihsan.yaml
policy: ../alpha.policy.json
mode: recommend
telemetry: {{kind: prometheus, url: "URL", scrape_interval: 15s}}
target: {{kind: none}}
slo:
  slos:
    - {{name: jobs, kind: ratio, objective: 0.99, window: 3h, queries: {{bad: '{BAD}', total: '{TOTAL}'}}}}
    - {{name: never, kind: ratio, objective: 0.99, window: 3h, queries: {{bad: '{NEVER}', total: '{TOTAL}'}}}}
    - {{name: latency, kind: latency, objective: 0.95, window: 3h, threshold: 250ms, queries: {{buckets: '{BUCKETS}'}}}}
    - {{name: between, kind: latency, objective: 0.95, window: 3h, threshold: 200ms, queries: {{buckets: '{BUCKETS}'}}}}
    - name: p90
      kind: timeslice
      objective: 0.9
      window: 1h
      slice: 1m
      quantile: 0.9
      threshold: 250ms
      queries: {{buckets: '{BUCKETS}'}}
"""


@pytest.fixture
def status(server: Server, tmp_path: Path) -> dict[str, Any]:
    """What ``node0 slo status`` says of that server at the end of the history, by the name of the SLO."""
    config = make_workspace(tmp_path) / "configs" / "examples" / "here.yaml"
    config.write_text(CATALOGUE.replace("URL", server.url), "utf-8")
    words = ["--config", str(config), "--at", END.isoformat(), "--output", "json"]
    ran = CliRunner().invoke(slo_status.status, words, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert document["source"].pop("warnings") == []
    assert document["source"] == {"name": f"prometheus at {server.url}", "address": server.url, "simulated": False}
    return {slo["name"]: slo for slo in document["slos"]}


def test_the_status_command_says_what_the_server_says(server: Server, status: dict[str, Any]) -> None:
    """``node0 slo status`` shows SLI, budget left and burns that follow from the server's own PromQL."""
    window, jobs = 3 * HOUR, status["jobs"]
    bad, total = server.number(BAD, window, END), server.number(TOTAL, window, END)
    assert (jobs["total"], jobs["good"]) == pytest.approx((total, total - bad), rel=EXACT)
    assert jobs["budget_left"] == pytest.approx(1 - bad / total / 0.01, rel=1e-7)
    for name in ("5m", "30m", "1h", "6h"):
        burn = server.number(f"({BAD}) / ({TOTAL}) / 0.01", parse_duration(name), END)
        assert jobs["burn"][name] == pytest.approx(burn, rel=1e-7)
    fast, slow, every = (server.number(UNDER.format(le), window, END) for le in ("0.1", "0.25", "+Inf"))
    assert status["latency"]["sli"] == pytest.approx(slow / every, rel=EXACT)
    assert status["latency"]["sli_most"] is None
    assert (status["between"]["sli"], status["between"]["sli_most"]) == pytest.approx((fast / every, slow / every))
    total_slices = server.minutes(UNDER.format("+Inf"), END, 60)
    assert status["p90"]["good"] == (server.minutes(UNDER.format("0.25"), END, 60) >= 0.9 * total_slices).sum()


def test_the_status_command_says_what_is_not_sure(status: dict[str, Any]) -> None:
    """A threshold between bounds and a missing error series are notes of the status, not silence."""
    assert "between the bucket bounds 0.1 and 0.25" in status["between"]["note"]
    assert "queries.bad: no series" in status["never"]["note"]
    assert (status["never"]["sli"], status["jobs"]["note"], status["latency"]["note"]) == (1.0, None, None)
    assert {slo["problem"] for slo in status.values()} == {None}


@needs_victoria_metrics
def test_victoria_metrics_is_read_up_to_now(tmp_path: Path) -> None:
    """The last half minute, which VictoriaMetrics hides unless it is told not to, is counted."""
    now = datetime.now(UTC).replace(microsecond=0)
    samples = (f"fresh_total {10 * tick} {now.timestamp() - 600 + 15 * tick:.0f}" for tick in range(41))
    query = "sum(increase(fresh_total[$window]))"
    fresh = replace(RATIO, queries={"good": query, "total": query})
    with running_victoria_metrics(tmp_path) as url:
        import_history(url, "\n".join(samples))
        with PrometheusSource(Endpoint(url, scrape_interval=SCRAPE)) as source:
            assert source.counts(fresh, 5 * MINUTE, now).total == pytest.approx(200.0)
            assert source.series(fresh, Span.ending(now, 5 * MINUTE), MINUTE).total == pytest.approx(np.full(5, 40.0))
