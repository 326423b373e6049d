"""Months are drawn as they are described: integers, the right means, variances and clusters, the same for everybody."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from node0lib.alerts.policies import named_policies
from node0lib.alerts.quality import QualityRules, pooled
from node0lib.errors import ConfigError, DataError
from node0lib.simulate.counts import quantile
from node0lib.simulate.gallery import USUAL, gallery
from node0lib.simulate.months import evaluate, judged
from node0lib.simulate.scenario import (
    MOST_STEPS,
    Fault,
    Floor,
    Month,
    Scenario,
    Traffic,
    draw,
    labels,
    plan,
    stacked,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUIET = Floor(0.0)


def _plan(per_hour: float, floor: Floor = QUIET, *faults: Fault, length: timedelta = 30 * DAY, **traffic: float):  # type: ignore[no-untyped-def]
    return plan(Scenario(Traffic(per_hour, **traffic), floor, faults, length=length))


def _same(one: Month, other: Month) -> bool:
    return np.array_equal(one.bad, other.bad, equal_nan=True) and np.array_equal(one.total, other.total, equal_nan=True)


@pytest.mark.parametrize("mean", [0.02, 0.9, 2.5, 15.9, 16.0, 40.0, 255.0, 300.0, 20_000.0])
def test_counts_are_poisson(mean: float) -> None:
    """Mean, variance and distribution are scipy's Poisson, however counts of that size are drawn."""
    expected = _plan(mean * 60)
    drawn = np.concatenate([draw(expected, seed=3, month=k).total for k in range(5)])
    n = drawn.size
    assert (drawn == np.rint(drawn)).all() and (drawn >= 0).all()
    assert drawn.mean() == pytest.approx(mean, abs=4.5 * np.sqrt(mean / n))
    assert drawn.var() == pytest.approx(mean, abs=4.5 * mean * np.sqrt((2 + 1 / mean) / n))
    values = np.arange(drawn.max() + 1)
    below = np.searchsorted(np.sort(drawn), values, side="right") / n
    assert np.abs(below - stats.poisson.cdf(values, mean)).max() < 2.2 / np.sqrt(n)


@pytest.mark.parametrize("mean", [0.01, 1.0, 3.0, 9.9, 16.0, 40.0, 99.0, 255.0])
def test_a_quantile_is_poisson_s_own(mean: float) -> None:
    """At any probability that a normal gives, eight deviations out included: scipy's quantile, and never below 0."""
    z = np.concatenate((np.linspace(-5.0, 5.0, 801), [-8.0, -6.5]))
    found = np.array([quantile(mean, float(one)) for one in z])
    exact = stats.poisson.ppf(stats.norm.cdf(z), mean)
    assert (found >= 0).all()
    assert (np.abs(found - exact) <= 1).all() and (found != exact).mean() < 0.003


@pytest.mark.parametrize("mean", [16.0, 100.0, 5000.0])
def test_the_tails_of_large_counts_are_poisson_s(mean: float) -> None:
    """A thousandth lies outside the quantiles of a thousandth, on either side: errors come in bursts as they should."""
    drawn = np.concatenate([draw(_plan(mean * 60), seed=5, month=k).total for k in range(10)])
    low, high = stats.poisson.ppf([0.001, 0.999], mean)
    for share, true in (
        ((drawn < low).mean(), stats.poisson.cdf(low - 1, mean)),
        ((drawn > high).mean(), stats.poisson.sf(high, mean)),
    ):
        assert share == pytest.approx(true, abs=5 * np.sqrt(0.001 / drawn.size) + 0.05 * true)


def test_failures_are_a_share_of_requests() -> None:
    """Bad events are binomial among the total: the two vary together, and bad never exceeds total."""
    month = draw(_plan(6000.0, Floor(0.3)), seed=1, month=0)
    assert (month.bad <= month.total).all()
    assert month.bad.sum() / month.total.sum() == pytest.approx(0.3, abs=0.001)
    assert np.corrcoef(month.bad, month.total)[0, 1] == pytest.approx(np.sqrt(0.3), abs=0.02)


@pytest.mark.parametrize("dispersion", [0.3, 1.0])
def test_a_wandering_floor_is_negative_binomial(dispersion: float) -> None:
    """With mean m and dispersion d failures have variance m + (d m)^2, as gamma-mixed Poisson counts have."""
    expected = _plan(60_000.0, Floor(0.01, dispersion, MINUTE))
    drawn = np.concatenate([draw(expected, seed=2, month=k).bad for k in range(8)])
    mean, variance = 10.0, 10.0 + (10.0 * dispersion) ** 2
    assert drawn.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / drawn.size))
    assert drawn.var() == pytest.approx(variance, rel=0.04)
    size = 1 / dispersion**2
    values = np.arange(60)
    below = np.searchsorted(np.sort(drawn), values, side="right") / drawn.size
    assert np.abs(below - stats.nbinom.cdf(values, size, size / (size + mean))).max() < 2.2 / np.sqrt(drawn.size)


def test_clusters_last_as_long_as_they_should() -> None:
    """The rate is constant for the correlation length: the covariance falls off along a line and is gone after it."""
    length, dispersion, mean = 20, 0.5, 10.0
    expected = _plan(60_000.0, Floor(0.01, dispersion, length * MINUTE))
    lags = np.array([1, 5, 10, 15, 20, 30])
    found = np.zeros(lags.size)
    for month in range(12):
        away = draw(expected, seed=4, month=month).bad - mean
        found += [float((away[lag:] * away[:-lag]).mean()) / 12 for lag in lags]
    assert found == pytest.approx((mean * dispersion) ** 2 * np.maximum(0, 1 - lags / length), abs=1.2)


def test_where_a_cluster_begins_differs_from_month_to_month() -> None:
    """Blocks have a random phase, so that no minute of the month is always a seam."""
    floor = Floor(0.5, 3.0, 100 * MINUTE)
    seams = [np.flatnonzero(np.abs(np.diff(draw(_plan(6e6, floor), seed=1, month=k).bad)) > 3e4) for k in range(3)]
    phases = [int(np.bincount(found % 100).argmax()) for found in seams]
    assert len(set(phases)) == 3


def test_a_month_is_the_same_in_whatever_order_it_is_drawn() -> None:
    """Alone, after others, backwards, in a thread or in another process: month 3 is month 3."""
    expected = plan(replace(gallery()["flapping"], length=12 * DAY))
    alone = draw(expected, seed=9, month=3)
    backwards = [draw(expected, seed=9, month=k) for k in (4, 3, 2)]
    with ThreadPoolExecutor(3) as pool:
        threaded = list(pool.map(lambda k: draw(expected, seed=9, month=k), range(5)))
    assert _same(alone, backwards[1]) and _same(alone, threaded[3]) and _same(threaded[4], backwards[0])
    assert not _same(alone, threaded[2]) and not _same(alone, draw(expected, seed=10, month=3))
    asked = (
        "from dataclasses import replace; from datetime import timedelta;"
        "from node0lib.simulate.gallery import gallery; from node0lib.simulate.scenario import draw, plan;"
        "m = draw(plan(replace(gallery()['flapping'], length=timedelta(days=12))), seed=9, month=3);"
        "print(int(m.bad.sum()), int(m.total.sum()), int((m.bad * range(m.bad.size)).sum()))"
    )
    other = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, encoding="utf-8", check=True)
    where = int((alone.bad * range(alone.bad.size)).sum())
    assert other.stdout.split() == [str(int(alone.bad.sum())), str(int(alone.total.sum())), str(where)]


def test_a_month_is_what_it_was() -> None:
    """Seed 1, months 0 and 7: the same counts on every machine, and whoever changes the draws hears of it here."""
    expected = plan(replace(gallery()["regional"], length=11 * DAY))
    months = [draw(expected, seed=1, month=k) for k in (0, 7)]
    assert [(int(m.bad.sum()), int(m.total.sum())) for m in months] == [(12_248, 8_984_075), (12_366, 8_991_529)]


def test_qualities_do_not_depend_on_workers_or_chunks() -> None:
    """Twelve months on one thread, on two, in two halves, and one by one backwards give the very same qualities."""
    expected = plan(replace(gallery()["partial outage"], length=14 * DAY))
    policies = {name: named_policies(0.999)[name] for name in ("workbook", "dynamic")}
    whole = evaluate(expected, policies, months=range(12), seed=5)
    assert whole == evaluate(expected, policies, months=range(12), seed=5, workers=2)
    halves = [evaluate(expected, policies, months=part, seed=5, workers=2) for part in (range(6), range(6, 12))]
    drawn = [draw(expected, seed=5, month=k) for k in range(11, -1, -1)]
    one_by_one = [judged(expected, month, policies, QualityRules()) for month in drawn]
    for name, found in whole.items():
        for alert, quality in found.items():
            assert quality == pooled(half[name][alert] for half in halves)
            assert quality == pooled(month[name][alert] for month in one_by_one)


def test_progress_counts_the_months() -> None:
    """Whoever watches hears of every month, in order."""
    heard: list[tuple[str, int, int]] = []
    evaluate(_plan(600.0, length=DAY), {"w": named_policies(0.999)["workbook"]}, months=range(3), seed=1,
             progress=lambda *told: heard.append(told))  # fmt: skip
    assert heard == [("simulated months", k, 3) for k in (1, 2, 3)]


def test_traffic_has_its_day_week_and_growth() -> None:
    """The peak hour, the weekend's factor and the month's trend are where they were put."""
    day = _plan(3600.0, daily_swing=0.5, peak_hour=14.0).requests
    assert day[:1440].argmax() in (839, 840) and day[:1440].max() == pytest.approx(90, rel=1e-4)
    assert day.mean() == pytest.approx(60)
    week = _plan(3600.0, weekend=0.25).requests
    assert (week[5 * 1440 : 7 * 1440] == 15).all() and (week[: 5 * 1440] == 60).all()
    grown = _plan(3600.0, trend=1.0).requests
    assert grown[-1] / grown[0] == pytest.approx(2.0, rel=1e-3)
    sunday = Scenario(Traffic(3600.0, weekend=0.0), QUIET, start=datetime.fromisoformat("2026-01-04T00:00:00Z"))
    assert plan(sunday).requests[:1440].sum() == 0 and plan(sunday).requests[1440] == 60


def test_bursts_come_as_often_as_they_should() -> None:
    """Eight bursts a month of ten minutes that triple traffic add 160 minutes' worth, up to what they overlap."""
    calm, bursty = _plan(3600.0), _plan(3600.0, bursts=8.0)
    more = [draw(bursty, seed=1, month=k).total.sum() - calm.requests.sum() for k in range(60)]
    assert np.mean(more) / 60 == pytest.approx(160, abs=4.5 * np.sqrt(20 * 160 / 60))


def test_recorded_traffic_begins_again_when_it_ends() -> None:
    """Requests step by step, as recorded, over and over."""
    scenario = Scenario(Traffic(recorded=(1.0, 0.0, 5.0)), QUIET, length=7 * MINUTE)
    assert plan(scenario).requests.tolist() == [1, 0, 5, 1, 0, 5, 1]


def test_overlapping_faults_act_one_after_the_other() -> None:
    """What one fault spares the other may hit (a half of a half is left); traffic multiplies; both are labelled."""
    one, two = Fault("a", HOUR, HOUR, errors=0.5, traffic=3.0), Fault("b", 1.5 * HOUR, HOUR, errors=0.5, traffic=0.5)
    expected = _plan(600.0, QUIET, one, two, length=4 * HOUR)
    assert expected.extra[[59, 60, 89, 90, 119, 120, 149, 150]].tolist() == [0, 0.5, 0.5, 0.75, 0.75, 0.5, 0.5, 0]
    assert expected.requests[[59, 60, 90, 120]].tolist() == [10, 30, 15, 5]
    assert labels(expected.scenario) == ((60, 120), (90, 150))


def test_shapes_are_what_they_are_called() -> None:
    """A ramp rises to its full strength, flapping is on for half of its period, a step is all there at once."""
    ramp = Fault("ramp", timedelta(0), HOUR, errors=0.6, shape="ramp")
    assert _plan(60.0, QUIET, ramp, length=HOUR).extra[[0, 29, 59]] == pytest.approx([0.01, 0.3, 0.6], abs=1e-6)
    flap = Fault("flap", timedelta(0), HOUR, errors=1.0, shape="flapping", period=20 * MINUTE)
    assert _plan(60.0, QUIET, flap, length=HOUR).extra.tolist() == ([1.0] * 10 + [0.0] * 10) * 3
    region = Fault("region", timedelta(0), HOUR, errors=0.5, share=0.5)
    assert set(_plan(60.0, QUIET, region, length=HOUR).extra.tolist()) == {0.25}


def test_a_telemetry_gap_is_nothing_not_zero() -> None:
    """Where nobody observed both counts are NaN; around it nothing changes."""
    gap = Fault("gap", HOUR, HOUR, errors=1.0, telemetry=False)
    month = draw(_plan(600.0, QUIET, gap, length=4 * HOUR), seed=1, month=0)
    assert np.isnan(month.bad[60:120]).all() and np.isnan(month.total[60:120]).all()
    assert np.isfinite(month.total[:60]).all() and np.isfinite(month.total[120:]).all()


def test_a_fault_shorter_than_a_step_has_one() -> None:
    """Whatever is touched is hit whole: a fault of a second in the middle of a minute is that minute's."""
    blink = Fault("blink", 90 * timedelta(seconds=1), timedelta(seconds=1), errors=1.0)
    assert labels(Scenario(Traffic(60.0), QUIET, (blink,), length=HOUR)) == ((1, 2),)


WRONG = {
    "traffic: requests and factors must be finite and not negative": lambda: Traffic(-1.0),
    "requests and factors": lambda: Traffic(float("nan")),
    "factors must be finite": lambda: Traffic(1.0, burst_factor=float("inf")),
    "and not negative": lambda: Traffic(recorded=(1.0, -2.0)),
    "the recorded series is empty": lambda: Traffic(recorded=()),
    "daily_swing must lie between 0 and 1": lambda: Traffic(1.0, daily_swing=1.5),
    "trend above -1": lambda: Traffic(1.0, trend=-1.0),
    "the rate 1.2 must lie between 0 and 1": lambda: Floor(1.2),
    "the rate -0.1 must lie": lambda: Floor(-0.1),
    "dispersion must lie": lambda: Floor(0.1, -1.0),
    "correlation must be longer than 0": lambda: Floor(0.1, 1.0, timedelta(0)),
    "fault f: errors and share must lie between 0 and 1": lambda: Fault("f", HOUR, HOUR, errors=1.5),
    "errors and share": lambda: Fault("f", HOUR, HOUR, share=-0.5),
    "onset must be at least 0": lambda: Fault("f", -HOUR, HOUR),
    "length and period longer than 0": lambda: Fault("f", HOUR, timedelta(0)),
    "fault f: traffic must be finite and not negative": lambda: Fault("f", HOUR, HOUR, traffic=-1.0),
    "fault f: ends after 2h, outside the scenario of 1h": lambda: Scenario(
        Traffic(1.0), QUIET, (Fault("f", HOUR, HOUR),), length=HOUR
    ),
    "scenario: 3650d in steps of 1s are 315,360,000 steps, at most 5,000,000 are drawn; take longer steps": lambda: (
        Scenario(Traffic(1.0), QUIET, length=3650 * DAY, step=timedelta(seconds=1))
    ),
    "whole number of steps": lambda: Scenario(Traffic(1.0), QUIET, length=90 * timedelta(seconds=1)),
}


@pytest.mark.parametrize("told", WRONG)
def test_what_cannot_be_is_refused_with_one_clear_error(told: str) -> None:
    """Negative traffic, an error rate above 1, a fault outside the span: the error names the number and the rule."""
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        WRONG[told]()


def test_the_longest_scenario_is_one_that_can_be_drawn() -> None:
    """As many steps as are allowed are a scenario, one more is none."""
    second = timedelta(seconds=1)
    assert Scenario(Traffic(1.0), QUIET, length=MOST_STEPS * second, step=second).steps == MOST_STEPS
    with pytest.raises(ConfigError, match="5,000,001 steps"):
        Scenario(Traffic(1.0), QUIET, length=(MOST_STEPS + 1) * second, step=second)


def test_a_naive_start_is_refused() -> None:
    """A month begins at an instant, not at some wall's clock."""
    with pytest.raises(DataError):
        Scenario(Traffic(1.0), QUIET, start=datetime(2026, 1, 5))  # noqa: DTZ001


def test_months_are_stacked_and_none_is_an_error() -> None:
    """Many months are two arrays (months, n)."""
    expected = plan(replace(USUAL, length=DAY))
    bad, total = stacked([draw(expected, seed=1, month=k) for k in range(3)])
    assert bad.shape == total.shape == (3, 1440)
    with pytest.raises(DataError, match="no month"):
        stacked([])
