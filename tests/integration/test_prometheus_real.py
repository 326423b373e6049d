"""What node0 reads from a real Prometheus is what PromQL answers there, asked by a call that shares no code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_server import ask, ask_number, backfill, drive_traffic, needs_prometheus, running_prometheus

from node0lib.shell.prometheus import Endpoint, PrometheusSource
from node0lib.sli.series import Counts
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration

pytestmark = [pytest.mark.real, needs_prometheus]
EXACT = 1e-9
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

GOOD = 'sum(increase(prometheus_http_requests_total{code!~"[45].."}[$window]))'
TOTAL = "sum(increase(prometheus_http_requests_total[$window]))"
BUCKETS = "sum by (le) (increase(prometheus_http_request_duration_seconds_bucket[$window]))"
FAST = 'sum(increase(prometheus_http_request_duration_seconds_bucket{le="0.1"}[$window]))'
ALL = 'sum(increase(prometheus_http_request_duration_seconds_bucket{le="+Inf"}[$window]))'
X = "prometheus_http_requests_total"
AVAILABILITY = Objective("api_availability", "ratio", 0.9, 30 * DAY, queries={"good": GOOD, "total": TOTAL})
LATENCY = Objective("api_latency", "latency", 0.99, 30 * DAY, queries={"buckets": BUCKETS}, threshold_s=0.1)
SLICE = 2 * SECOND
SLICES = Objective(
    "api_p95", "timeslice", 0.9, HOUR, queries={"buckets": BUCKETS}, threshold_s=0.1, quantile=0.95, slice=SLICE
)
UP = Objective("up", "invariant", 1.0, HOUR, queries={"gauge": "min(up)"}, minimum=1.0)


def _text(at: datetime) -> str:
    return f"{at.timestamp():.3f}"


def _burn(counts: Counts, slo: Objective) -> float:
    assert counts.problem is None and counts.error_ratio is not None
    return counts.error_ratio / (1.0 - slo.objective)


# ---- a live server ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, datetime]]:
    """A Prometheus that has scraped itself under 20 s of traffic, and the instant at which all of it is stored."""
    with running_prometheus(tmp_path_factory.mktemp("live")) as url:
        for _ in range(300):  # The first scrape comes some seconds after the start.
            if ask(url, "query", query="up == 1"):
                break
            time.sleep(0.1)
        drive_traffic(url, 20)
        now = datetime.now(UTC)
        time.sleep(2.5)  # A scrape that began before ``now`` is stored by then.
        yield url, now.replace(microsecond=0)


@pytest.mark.parametrize("window", [5 * MINUTE, 30 * MINUTE, HOUR, 30 * DAY], ids=format_duration)
@pytest.mark.parametrize("back", [0.0, 3.25, 8.0])
@pytest.mark.parametrize(("slo", "good", "total"), [(AVAILABILITY, GOOD, TOTAL), (LATENCY, FAST, ALL)])
def test_requests_and_burn_are_promqls(
    live: tuple[str, datetime], slo: Objective, good: str, total: str, back: float, window: timedelta
) -> None:
    """Good, total and burn of ratio and latency objectives equal PromQL's own at the same instant."""
    url, now = live
    at = now - back * SECOND
    good, total = (q.replace("$window", format_duration(window)) for q in (good, total))
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(slo, window, at)
    assert counts.good == pytest.approx(ask_number(url, good, _text(at)), rel=EXACT)
    assert counts.total == pytest.approx(ask_number(url, total, _text(at)), rel=EXACT)
    burn = ask_number(url, f"(1 - ({good}) / ({total})) / (1 - {slo.objective})", _text(at))
    assert burn > 0
    assert _burn(counts, slo) == pytest.approx(burn, rel=EXACT)


@pytest.mark.parametrize("window", [5 * MINUTE, 30 * MINUTE, HOUR], ids=format_duration)
@pytest.mark.parametrize("back", [0, 4])
def test_slices_and_burn_are_promqls(live: tuple[str, datetime], back: int, window: timedelta) -> None:
    """Good and total slices and their burn equal those of a PromQL subquery over the same slices."""
    url, now = live
    at = now - timedelta(seconds=now.timestamp() % 2 + back)  # Subqueries evaluate at multiples of their step.
    # The range is left-open here, and closed in Prometheus 2: a millisecond less says the same to both.
    steps = f"[{format_duration(window - timedelta(milliseconds=1))}:2s]"
    fast, total = (q.replace("$window", "2s") for q in (FAST, ALL))
    good = f"sum_over_time((({fast}) >= bool (0.95 * ({total}) > 0)){steps})"
    slices = f"count_over_time((({total}) > 0){steps})"
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(SLICES, window, at)
    assert counts.good == ask_number(url, good, _text(at))
    assert counts.total == ask_number(url, slices, _text(at)) > 3
    burn = ask_number(url, f"(1 - {good} / {slices}) / (1 - {SLICES.objective})", _text(at))
    assert _burn(counts, SLICES) == pytest.approx(burn, rel=EXACT)


def test_a_gauge_that_holds_is_good(live: tuple[str, datetime]) -> None:
    """An invariant counts the samples at which the gauge holds, and only the observed ones."""
    url, now = live
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(UP, 5 * MINUTE, now)
    assert counts.good == counts.total == round(5 * counts.coverage)
    assert 1 / 5 <= counts.coverage <= 2 / 5


def test_the_young_server_covers_little_of_a_month(live: tuple[str, datetime]) -> None:
    """Twenty seconds of data are not 30 days: the coverage says so."""
    url, now = live
    with PrometheusSource(Endpoint(url)) as source:
        assert source.counts(AVAILABILITY, 30 * DAY, now).coverage == pytest.approx(1 / 360)
        assert source.counts(AVAILABILITY, 5 * MINUTE, now).coverage <= 2 / 5


@pytest.mark.parametrize(
    ("good", "problem"),
    [
        ("sum(increase(x[$window])", "HTTP 400: bad_data: .*parse error"),
        ("sum(increase(nobody_counts_this[$window]))", "queries.good: no series"),
        ("increase(prometheus_http_requests_total[$window])", "series where one is needed; wrap it in sum()"),
        ("prometheus_http_requests_total[$window]", "result type is matrix"),
        ("scalar(sum(increase(nobody_counts_this[$window])))", "good is nan"),
        (f"sum(increase({X}[$window]) * on() {X})", "HTTP 422: execution: found duplicate series"),
    ],
)
def test_the_servers_own_words_are_kept(live: tuple[str, datetime], good: str, problem: str) -> None:
    """A query that fails, or answers no single number, gives no data with the server's reason."""
    url, now = live
    slo = Objective("api", "ratio", 0.99, HOUR, queries={"good": good, "total": TOTAL})
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(slo, 5 * MINUTE, now)
    assert not counts.observed
    assert counts.problem is not None
    assert all(part in counts.problem for part in problem.split(".*")), counts.problem


def test_a_threshold_between_bounds_has_promqls_bounds(live: tuple[str, datetime]) -> None:
    """A threshold that is no bucket bound has the counts of the bounds around it, and the note names them."""
    url, now = live
    slo = Objective("api", "latency", 0.99, HOUR, queries={"buckets": BUCKETS}, threshold_s=0.15)
    at = _text(now)
    with PrometheusSource(Endpoint(url)) as source:
        counts = source.counts(slo, 5 * MINUTE, now)
        series = source.series(slo, Span.ending(now, MINUTE), 5 * SECOND)
        exact = source.series(replace(slo, threshold_s=0.1), Span.ending(now, MINUTE), 5 * SECOND)
    low, high, total = (
        ask_number(url, ALL.replace('"+Inf"', f'"{le}"').replace("$window", "5m"), at) for le in ("0.1", "0.2", "+Inf")
    )
    assert counts.good == pytest.approx(low, rel=EXACT)
    assert (counts.good_most or counts.good) == pytest.approx(high, rel=EXACT)
    assert counts.total == pytest.approx(total, rel=EXACT)
    assert high == low or "between the bucket bounds 0.1 and 0.2" in str(counts.note)
    np.testing.assert_array_equal(series.good, exact.good)


def test_a_query_too_long_for_a_url_is_posted(live: tuple[str, datetime]) -> None:
    """A query of 6,000 characters gives the same numbers: it goes as POST."""
    url, now = live
    long = TOTAL + " + 0 * " + "1" * 2 + " + 0" * 1500
    slo = Objective("api", "ratio", 0.99, HOUR, queries={"good": GOOD, "total": long})
    with PrometheusSource(Endpoint(url)) as source:
        assert source.counts(slo, 5 * MINUTE, now) == source.counts(AVAILABILITY, 5 * MINUTE, now)


def test_a_server_that_goes_away_is_no_data(live: tuple[str, datetime], tmp_path: Path) -> None:
    """A second server scrapes the first as an extra target; once it has stopped, reads say that nobody answers."""
    gauge = Objective("up", "invariant", 1.0, HOUR, queries={"gauge": 'min(up{job="extra"})'}, minimum=1.0)
    target = live[0].removeprefix("http://")
    with running_prometheus(tmp_path, scrape_self=False, extra_targets=[target]) as url:
        with PrometheusSource(Endpoint(url)) as source:
            for _ in range(300):
                if (counts := source.counts(gauge, MINUTE, datetime.now(UTC))).observed:
                    break
                time.sleep(0.1)
        assert counts == Counts(1.0, 1.0, 1.0)
    with PrometheusSource(Endpoint(url, attempts=2)) as source:
        assert "cannot connect" in str(source.counts(gauge, MINUTE, datetime.now(UTC)).problem)


# ---- thirty days of history -------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + 30 * DAY
JOBS_GOOD = 'sum(increase(jobs_total{result="ok"}[$window]))'
JOBS_TOTAL = "sum(increase(jobs_total[$window]))"
JOBS = Objective("jobs", "ratio", 0.999, 30 * DAY, queries={"good": JOBS_GOOD, "total": JOBS_TOTAL})


def _history() -> str:
    """Two counters, a sample every 30 s: diurnal traffic, a restart every five days, gaps of 7 h and 40 min."""
    rng = np.random.default_rng(20260101)
    ticks = np.arange(30 * 24 * 120 + 1)
    traffic = rng.poisson(30 * (1 + 0.8 * np.sin(ticks * 2 * np.pi / 2880)))
    failed = rng.binomial(traffic, np.where(ticks % 18_000 < 60, 0.05, 0.0002))
    present = ~(((ticks > 24_000) & (ticks < 24_840)) | ((ticks > 60_000) & (ticks < 60_080)))
    lines = ["# TYPE jobs counter"]
    for result, amounts in (("ok", traffic - failed), ("failed", failed)):
        # A counter starts at 0, and at 0 again after a restart.
        runs = np.split(amounts, range(14_400, 86_400, 14_400))
        counted = np.concatenate([np.cumsum(run) - run[0] for run in runs])
        samples = zip(counted[present], int(START.timestamp()) + 30 * ticks[present], strict=True)
        lines += [f'jobs_total{{result="{result}"}} {count} {stamp}' for count, stamp in samples]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus on 30 days of history, which scrapes nothing."""
    folder = tmp_path_factory.mktemp("month")
    backfill(_history(), folder / "data")
    with running_prometheus(folder, data_dir=folder / "data", scrape_self=False) as url:
        yield url


@pytest.mark.parametrize("window", [30 * DAY, 7 * DAY, 6 * HOUR], ids=format_duration)
@pytest.mark.parametrize("at", [END, END - 3 * DAY - 17 * MINUTE - timedelta(milliseconds=250)])
def test_the_budget_of_a_month_is_promqls(month: str, at: datetime, window: timedelta) -> None:
    """Good, total and budget left over long windows, with restarts and gaps, equal PromQL's own."""
    good, total = (q.replace("$window", format_duration(window)) for q in (JOBS_GOOD, JOBS_TOTAL))
    with PrometheusSource(Endpoint(month)) as source:
        counts = source.counts(JOBS, window, at)
    assert counts.good == pytest.approx(ask_number(month, good, _text(at)), rel=EXACT)
    assert counts.total == pytest.approx(ask_number(month, total, _text(at)), rel=EXACT)
    left = ask_number(month, f"1 - (({total}) - ({good})) / ((1 - {JOBS.objective}) * ({total}))", _text(at))
    assert 1 - (counts.total - counts.good) / (JOBS.budget * counts.total) == pytest.approx(left, rel=EXACT)


def test_coverage_sees_the_gaps(month: str) -> None:
    """Of 30 days with a gap of 7 hours, 360 looks of 2 hours miss three; a window inside the gap is not covered."""
    with PrometheusSource(Endpoint(month)) as source:
        assert source.counts(JOBS, 30 * DAY, END).coverage == pytest.approx(357 / 360)
        assert source.counts(JOBS, 6 * HOUR, START + 15_000 * MINUTE).coverage == 1.0
        inside = source.counts(JOBS, 6 * HOUR, START + 12_400 * MINUTE)
    assert not inside.observed and inside.problem is not None and "no series" in inside.problem


def test_a_month_of_minutes_joins_exactly(month: str) -> None:
    """43,200 points in four pages equal PromQL's answers asked day by day, gaps included."""
    with PrometheusSource(Endpoint(month)) as source:
        series = source.series(JOBS, Span(START, END), MINUTE)
    assert series.total.shape == (43_200,)
    assert series.clamped == 0
    np.testing.assert_allclose(series.total, _day_by_day(month, JOBS_TOTAL), rtol=EXACT)
    np.testing.assert_allclose(series.good, _day_by_day(month, JOBS_GOOD), rtol=EXACT)
    assert 400 < int(np.isnan(series.total).sum()) < 480


def _day_by_day(url: str, query: str) -> np.ndarray:
    """Minutes of 30 days, (start, end], by one raw call a day; NaN where nothing was answered."""
    values = np.full(43_200, np.nan)
    for day in range(30):
        first = int(START.timestamp()) + day * 86_400 + 60
        span = {"start": str(first), "end": str(first + 86_400 - 60), "step": "60"}
        for series in ask(url, "query_range", query=query.replace("$window", "1m"), **span):
            for moment, value in series["values"]:
                values[(round(moment) - int(START.timestamp())) // 60 - 1] = float(value)
    return values
