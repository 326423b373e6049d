"""The dashboard against real servers: every expression is accepted, and its panels show what really happened.

One history is written into a Prometheus 2.x, a 3.x and a VictoriaMetrics: a month of a service, of deployments and of
cycles, whose numbers are known. Each server answers the expressions as Grafana would send them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_server import (
    ask,
    backfill,
    import_history,
    needs_prometheus,
    needs_prometheus3,
    needs_victoria_metrics,
    running_prometheus,
    running_victoria_metrics,
)

from node0lib.alerts.dashboard import dashboard, unfolded
from node0lib.alerts.metrics import family
from node0lib.shell.config import load

pytestmark = pytest.mark.real
CONFIG = Path(__file__).parents[2] / "configs" / "node0.yaml"
END = 1_767_225_600 + 40 * 86_400
"""Forty days into 2026, at midnight."""
HOURS = 31 * 24
MINUTES = 180
SERVERS = [
    pytest.param("prometheus", marks=needs_prometheus),
    pytest.param("prometheus3", marks=[needs_prometheus, needs_prometheus3]),
    pytest.param("victoria-metrics", marks=needs_victoria_metrics),
]


def _hourly(sample: str, per_hour: float, *, since: int = HOURS) -> list[str]:
    """A counter that grows evenly in the last ``since`` hours of the month, read once an hour."""
    return [f"{sample} {per_hour * max(0, n - HOURS + since)} {END - (HOURS - n) * 3600}" for n in range(HOURS + 1)]


def _steps(sample: str, total: int) -> list[str]:
    """A counter that grew by ``total`` three days ago."""
    return [f"{sample} {total * (n >= HOURS - 72)} {END - (HOURS - n) * 3600}" for n in range(HOURS + 1)]


def _histogram(name: str, count: int, bound: float) -> list[list[str]]:
    """A histogram with ``count`` events of three days ago, all in the bucket that ends at ``bound``."""
    bounds = (*family(name).buckets, math.inf)
    texts = ["+Inf" if math.isinf(b) else repr(float(b)) for b in bounds]
    counts = [count if b >= bound else 0 for b in bounds]
    buckets = [_steps(f'{name}_bucket{{le="{text}"}}', n) for text, n in zip(texts, counts, strict=True)]
    return [*buckets, _steps(f"{name}_count", count)]


def _gauge(sample: str, value: float | str) -> list[str]:
    """A gauge that stood still for the last ten minutes."""
    return [f"{sample} {value} {END - 60 * n}" for n in reversed(range(10))]


def _slices() -> list[list[str]]:
    """Ten requests a minute: in every tenth minute slow ones, in every tenth none at all."""
    counts = {"0.05": 0, "0.1": 0, "+Inf": 0}
    lines: dict[str, list[str]] = {le: [] for le in counts}
    for n in range(MINUTES + 1):
        idle, slow = n % 10 == 5, n % 10 == 0
        for le in counts:
            sample, end = f'http_request_duration_seconds_bucket{{le="{le}"}}', END - (MINUTES - n) * 60
            # Two scrapes a minute, so that a range of a minute holds two, also where it is left-open.
            before, counts[le] = counts[le], counts[le] + (0 if idle or (slow and le == "0.05") else 10)
            lines[le] += [f"{sample} {before} {end - 15}", f"{sample} {counts[le]} {end}"]
    return list(lines.values())


def _history() -> str:
    series = [
        _hourly('http_requests_total{code="200"}', 999.5),
        _hourly('http_requests_total{code="500"}', 0.5),
        _steps('deployments_total{status="success",change_class="L"}', 18),
        _steps('deployments_total{status="rolled_back",change_class="M"}', 2),
        _steps('deployments_total{status="failed",change_class="L"}', 3),
        *_histogram("deployment_lead_time_seconds", 20, 900),
        *_histogram("incident_resolution_time_seconds", 0, 60),
        *_histogram("bizra_optimizer_cycle_duration_seconds", 0, 1),
        *_slices(),
        _gauge("ihsan_compliance_score", 97.0),
        _gauge('slo_error_budget_remaining{slo_name="api_availability"}', 0.5),
        _gauge('slo_burn_rate{slo_name="api_availability",window="1h"}', 0.25),
        _gauge('slo_burn_rate{slo_name="ihsan_compliance",window="1h"}', "+Inf"),
    ]
    return "\n".join(line for lines in series for line in lines) + "\n# EOF\n"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "victoria-metrics":
        with running_victoria_metrics(folder) as url:
            import_history(url, _history())
            yield url
    else:
        backfill(_history(), folder / "data")
        with running_prometheus(folder, data_dir=folder / "data", scrape_self=False, binary=request.param) as url:
            yield url


@pytest.fixture(scope="module")
def shown(server: str) -> dict[tuple[str, str], list[float]]:
    """What each line or number shows: by panel and legend, the values of all its series at the end."""
    found: dict[tuple[str, str], list[float]] = {}
    for panel in unfolded(dashboard(load(CONFIG).catalogue)):
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$__rate_interval", "2m").replace("$job", ".*")
            answer = ask(server, "query", query=expr, time=str(END))
            found[panel["title"], target["legendFormat"]] = [float(series["value"][1]) for series in answer]
    return found


def test_every_expression_is_accepted(shown: dict[tuple[str, str], list[float]]) -> None:
    """Each server answers every expression of the default dashboard without an error."""
    assert len(shown) == 37


def test_gauges_show_what_is_exported(shown: dict[tuple[str, str], list[float]]) -> None:
    """Budget, score and burn rate are the exported numbers; the infinite burn of a broken invariant is left out."""
    assert shown["Error budget left", "{{slo_name}}"] == [0.5]
    assert shown["Ihsan score", "score"] == [97.0]
    assert shown["Burn rate over 1h", "{{slo_name}}"] == [0.25]
    assert shown["Burn rate over 6h", "{{slo_name}}"] == []
    assert shown["ihsan_compliance: always at least 100", "value"] == [97.0]


def test_service_levels_are_what_happened(shown: dict[tuple[str, str], list[float]]) -> None:
    """Availability is weighted by events; silent slices count neither way; what nobody measured has no line."""
    assert shown["api_availability: 99.9% over 30d", "SLI"] == pytest.approx([0.9995])
    # 2.x finds 61 slices in an hour that is closed on both sides, and 7 slow ones; others may find 60 with 6.
    assert shown["api_latency_p95: 90% over 1h", "SLI"][0] in [pytest.approx(48 / 55), pytest.approx(48 / 54)]
    assert 0.05 < shown["api_latency_p95: 90% over 1h", "p95"][0] <= 0.1
    assert shown["alpha_availability: 99.5% over 30d", "SLI"] == []


def test_delivery_numbers_are_what_happened(shown: dict[tuple[str, str], list[float]]) -> None:
    """Twenty deployments, two undone by their canary and three later; without incidents there is no recovery time."""
    about = {"rel": 0.02}  # 3.x and VictoriaMetrics see a range without its start.
    assert shown["Deployment frequency", "7 days"] == pytest.approx([20 / 7], **about)
    assert shown["Deployment frequency", "30 days"] == pytest.approx([20 / 30], **about)
    assert shown["Change fail rate", "7 days"] == pytest.approx([5 / 20])
    assert shown["Change fail rate", "count, 30 days"] == pytest.approx([20], **about)
    assert shown["Deployment rework rate", "30 days"] == pytest.approx([3 / 23])
    assert 300 < shown["Lead time for changes", "7 days"][0] < 900
    assert shown["Failed deployment recovery time", "7 days"] == []
    assert shown["Failed deployment recovery time", "count, 30 days"] == [0.0]
    assert shown["Cycle duration, p50 and p95", "p95"] == []
