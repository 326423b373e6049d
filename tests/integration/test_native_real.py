"""Native histograms of a real Prometheus 3: what node0 reads of them agrees with PromQL and with classic buckets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_server import ask, ask_number, drive_traffic, needs_prometheus3, running_prometheus

from node0lib.shell.prometheus import Endpoint, PrometheusSource
from node0lib.sli.native import NativeHistogram
from node0lib.slo.objective import Objective
from node0lib.timespan import Span

pytestmark = [pytest.mark.real, needs_prometheus3]
EXACT = 1e-9
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NAME = "prometheus_http_request_duration_seconds"
WHOLE = f"sum(increase({NAME}[$window]))"
COUNTERS = f"sum(last_over_time({NAME}[$window]))"
CLASSIC = f'sum(last_over_time({NAME}_bucket{{le="%s"}}[$window]))'
"""Counters as scraped: ``increase`` extrapolates each classic bucket on its own, and a native one as a whole."""
LATENCY = Objective("api", "latency", 0.9, 5 * MINUTE, queries={"buckets": WHOLE}, threshold_s=0.1)
SLICES = replace(LATENCY, kind="timeslice", quantile=0.9, slice=2 * SECOND)
ON_A_BOUNDARY = 2.0**-8
"""Every exponential schema from 0 on has the powers of two as boundaries."""
BOTH = {"always_scrape_classic_histograms": True}
CUSTOM = {**BOTH, "convert_classic_histograms_to_nhcb": True, "scrape_protocols": ["OpenMetricsText1.0.0"]}
NATIVE = ["--enable-feature=native-histograms"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, datetime]]:
    """One server with exponential histograms of itself, one with custom buckets of the first; an instant stored."""
    first, second = tmp_path_factory.mktemp("exponential"), tmp_path_factory.mktemp("custom")
    with running_prometheus(first, binary="prometheus3", options=NATIVE, scrape=BOTH) as exponential:
        target = [exponential.removeprefix("http://")]
        options = {"scrape_self": False, "extra_targets": target, "scrape": CUSTOM}
        with running_prometheus(second, binary="prometheus3", options=NATIVE, **options) as custom:
            for url in (exponential, custom):
                for _ in range(300):
                    if ask(url, "query", query="up == 1"):
                        break
                    time.sleep(0.1)
            for _ in range(4):
                drive_traffic(exponential, 2)
                ask(exponential, "query", query="sum_over_time(vector(1)[2000000s:1s])")  # Slower than 0.1 s.
            now = datetime.now(UTC)
            time.sleep(2.5)  # A scrape that began before ``now`` is stored by then.
            yield exponential, custom, now.replace(microsecond=0)


def _number(url: str, query: str, at: datetime, window: str = "5m") -> float:
    return ask_number(url, query.replace("$window", window), f"{at.timestamp():.3f}")


@pytest.mark.parametrize("threshold", [ON_A_BOUNDARY, 0.1, 0.0042, 1000.0])
def test_exponential_buckets_agree_with_promql(servers: tuple[str, str, datetime], threshold: float) -> None:
    """The total is PromQL's, its interpolated share lies within node0's bounds, and is theirs at a boundary."""
    url, _, at = servers
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(replace(LATENCY, threshold_s=threshold), 5 * MINUTE, at)
    assert counts.problem is None
    assert counts.total == pytest.approx(_number(url, f"histogram_count({WHOLE})", at), rel=EXACT)
    share = _number(url, f"histogram_fraction(-Inf, {threshold!r}, {WHOLE})", at)
    most = counts.good if counts.good_most is None else counts.good_most
    assert counts.good * (1 - EXACT) <= share * counts.total <= most * (1 + EXACT)
    if threshold in {ON_A_BOUNDARY, 1000.0}:
        assert counts.good_most is None and counts.note is None


def test_exponential_buckets_agree_with_classic_ones(servers: tuple[str, str, datetime]) -> None:
    """The count of the classic bucket at 0.1 s, scraped at the same time, lies within the native bounds."""
    url, _, at = servers
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(replace(LATENCY, queries={"buckets": COUNTERS}), 5 * MINUTE, at)
    most = counts.good if counts.good_most is None else counts.good_most
    assert 0 < counts.good < counts.total == _number(url, CLASSIC % "+Inf", at)
    assert counts.good <= _number(url, CLASSIC % "0.1", at) <= most
    assert most - counts.good < 0.2 * counts.total


@pytest.mark.parametrize("bound", [0.1, 0.2, 0.4, 120.0])
def test_custom_buckets_are_the_classic_ones(servers: tuple[str, str, datetime], bound: float) -> None:
    """Classic buckets converted to a native histogram give the counts of the classic buckets, exactly."""
    _, url, at = servers
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(replace(LATENCY, queries={"buckets": COUNTERS}, threshold_s=bound), 5 * MINUTE, at)
    assert (counts.good_most, counts.note) == (None, None)
    assert counts.good == _number(url, CLASSIC % f"{bound:.1f}", at)
    assert counts.total == _number(url, CLASSIC % "+Inf", at)


def test_slices_and_series_of_native_histograms(servers: tuple[str, str, datetime]) -> None:
    """Slices and series of native histograms follow from PromQL's own shares at a boundary, instant by instant."""
    url, _, at = servers
    at -= timedelta(seconds=at.timestamp() % 2)
    slo = replace(SLICES, threshold_s=ON_A_BOUNDARY)
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(slo, MINUTE, at)
        series = source.series(replace(LATENCY, threshold_s=ON_A_BOUNDARY), Span.ending(at, MINUTE), 2 * SECOND)
    share = _instants(url, f"histogram_fraction(-Inf, {ON_A_BOUNDARY!r}, {WHOLE})", at)
    total = _instants(url, f"histogram_count({WHOLE})", at)
    traffic = total > 0
    np.testing.assert_allclose(series.total, total, rtol=EXACT)
    np.testing.assert_allclose(series.good[traffic], (share * total)[traffic], rtol=1e-6)
    assert counts.total == traffic.sum() > 3
    assert counts.good == (share[traffic] >= 0.9 * (1 - EXACT)).sum()


def _instants(url: str, query: str, at: datetime) -> np.ndarray:
    """The answers at 30 instants, two seconds apart; NaN where there is none."""
    span = {"start": str(at.timestamp() - 58), "end": str(at.timestamp()), "step": "2"}
    values = np.full(30, np.nan)
    for series in ask(url, "query_range", query=query.replace("$window", "2s"), **span):
        for moment, value in series["values"]:
            values[29 - round((at.timestamp() - moment) / 2)] = float(value)
    return values


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_quantiles_enclose_promqls(servers: tuple[str, str, datetime], which: int, q: float) -> None:
    """``histogram_quantile`` lies within the bounds that a native histogram gives for it."""
    url, at = servers[which], servers[2]
    (series,) = ask(url, "query", query=WHOLE.replace("$window", "5m"), time=f"{at.timestamp():.3f}")
    low, high = NativeHistogram.of(series["histogram"][1]).quantile(q)
    estimate = _number(url, f"histogram_quantile({q}, {WHOLE})", at)
    assert low - EXACT <= estimate <= high + EXACT
    assert math.isfinite(high)


def test_several_native_histograms_are_no_data(servers: tuple[str, str, datetime], tmp_path: Path) -> None:
    """Native histograms that were not summed, or are asked for as numbers, say so."""
    url, _, at = servers
    several = replace(LATENCY, queries={"buckets": f"increase({NAME}[$window])"})
    as_ratio = Objective("r", "ratio", 0.9, MINUTE, queries={"good": WHOLE, "total": WHOLE})
    with PrometheusSource(Endpoint(url)) as source:
        assert "native histograms where one is needed" in str(source.counts(several, 5 * MINUTE, at).problem)
        assert "native histograms, not numbers" in str(source.counts(as_ratio, 5 * MINUTE, at).problem)
