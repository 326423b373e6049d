"""What holds of alerts and their quality on any month: monotone in factors and failures, and nothing else matters."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.alerts.closed_forms import detection, exhaustion, reset, spent_at_alert
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import Event, Quality, QualityRules, judge
from node0lib.alerts.replay import BucketSeries, Evaluations, replay_buckets, replay_sums
from node0lib.alerts.timeline import budget_spent
from node0lib.simulate.scenario import Fault, Floor, Scenario, Traffic, draw, plan

MINUTE = timedelta(minutes=1)
MS = 60_000
N = 240
SETTINGS = settings(max_examples=60)
minutes = st.integers(1, 90)


@st.composite
def alerts(draw: st.DrawFn, *, guard: bool = True, hold: bool = True, scaling: bool = False) -> BurnAlert:
    """One alert on windows of minutes."""
    short, long = sorted((draw(minutes), draw(minutes)))
    return BurnAlert(
        "alert",
        "critical",
        long * MINUTE,
        short * MINUTE,
        draw(st.sampled_from([0.5, 1.0, 2.0, 5.0, 14.4])),
        draw(st.integers(0, 10)) * MINUTE if hold else timedelta(0),
        float(draw(st.integers(0, 6))) if guard else 0.0,
        "traffic" if scaling and draw(st.booleans()) else "static",
    )


@st.composite
def months(draw: st.DrawFn) -> BucketSeries:
    """Four hours of a service with a floor, a fault and a gap, from a seed: what hypothesis shrinks is its shape."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    total = random.poisson(draw(st.sampled_from([0.5, 3.0, 40.0])), N).astype(np.float64)
    rate = np.full(N, draw(st.sampled_from([0.0, 0.01, 0.2])))
    first, length = draw(st.integers(0, N - 1)), draw(st.integers(0, 80))
    rate[first : first + length] = draw(st.sampled_from([0.05, 0.5, 1.0]))
    bad = random.binomial(total.astype(np.int64), rate).astype(np.float64)
    gap = draw(st.integers(0, N - 1))
    bad[gap : gap + draw(st.integers(0, 20))] = np.nan
    total[np.isnan(bad)] = np.nan
    return _series(bad, total)


def _series(bad: np.ndarray, total: np.ndarray) -> BucketSeries:
    return BucketSeries((1 + np.arange(bad.size, dtype=np.int64)) * MS, bad, total)


def _fires(alert: BurnAlert, series: BucketSeries, objective: float = 0.99) -> np.ndarray:
    policy = AlertPolicy(objective, timedelta(days=30), (alert,))
    return replay_buckets(policy, series, Evaluations.within(*series.span, MS))[0]


def _first(fires: np.ndarray) -> float:
    return float(fires.argmax()) if fires.any() else np.inf


def _quality(fires: np.ndarray, events: list[Event]) -> Quality:
    return judge(fires, events, QualityRules(significant=0.0), MS)


@SETTINGS
@given(alerts(scaling=True), months(), st.floats(1.0, 8.0))
def test_raising_a_factor_never_makes_an_alert_earlier(alert: BurnAlert, series: BucketSeries, times: float) -> None:
    """With for, min_bad and scaling: the raised alert fires later or never, and only where the lower one does."""
    low, high = _fires(alert, series), _fires(replace(alert, factor=alert.factor * times), series)
    assert _first(high) >= _first(low)
    assert not (high & ~low).any()


@SETTINGS
@given(alerts(), months(), st.integers(1, 5))
def test_a_guard_or_a_wait_never_makes_an_alert_earlier(alert: BurnAlert, series: BucketSeries, more: int) -> None:
    """More bad events asked for, or a longer for: later or never."""
    fires = _fires(alert, series)
    for stricter in (
        replace(alert, min_bad=alert.min_bad + more),
        replace(alert, hold=alert.hold + more * MINUTE),
    ):
        assert _first(_fires(stricter, series)) >= _first(fires)


@SETTINGS
@given(alerts(guard=False, scaling=True), months(), st.sampled_from([2.0, 8.0, 1024.0]))
def test_scaling_good_and_bad_together_changes_nothing(alert: BurnAlert, series: BucketSeries, times: float) -> None:
    """Without min_bad only ratios matter: firing, pages and detection times stay as they are."""
    scaled = _series(series.bad * times, series.total * times)
    fires = _fires(alert, series)
    assert np.array_equal(fires, _fires(alert, scaled))
    policy = AlertPolicy(0.99, timedelta(days=30), (alert,))
    instants = series.ends_ms
    assert np.array_equal(
        budget_spent(policy, [series], instants), budget_spent(policy, [scaled], instants), equal_nan=True
    )


@SETTINGS
@given(alerts(), months(), st.floats(1.0, 20.0))
def test_more_traffic_never_hides_anything_from_a_guard(alert: BurnAlert, series: BucketSeries, times: float) -> None:
    """With min_bad, scaling everything up can only let more fire: the guard is met sooner, ratios are the same."""
    whole = 2.0 ** np.floor(np.log2(times))
    fires, scaled = _fires(alert, series), _fires(alert, _series(series.bad * whole, series.total * whole))
    assert not (fires & ~scaled).any()


@SETTINGS
@given(alerts(hold=False), months(), st.data())
def test_chunks_of_running_sums_equal_the_whole(alert: BurnAlert, series: BucketSeries, data: st.DataObject) -> None:
    """Evaluations [a, b) from all sums, and from only those that the windows reach, are those of the whole."""
    policy = AlertPolicy(0.99, timedelta(days=30), (alert,))
    whole = _fires(alert, series)
    cuts = sorted({0, N, *data.draw(st.lists(st.integers(0, N), max_size=4))})
    reach = alert.long // MINUTE
    found, reached = [], []
    for a, b in zip(cuts, cuts[1:], strict=False):
        found.append(replay_sums(policy, series.sums, MS, a, b - a)[0])
        start = max(0, a - reach)
        reached.append(replay_sums(policy, series.sums.part(start, b), MS, a - start, b - a)[0])
    assert np.array_equal(np.concatenate(found), whole)
    assert np.array_equal(np.concatenate(reached), whole)


@SETTINGS
@given(months(), st.integers(0, N - 1), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_more_bad_events_on_running_sums_are_those_of_a_new_series(
    series: BucketSeries, first: int, more: list[int]
) -> None:
    """Adding failures to the sums is adding them to the buckets; what leads are further faults."""
    room = min(len(more), N - first)
    added = np.array(more[:room], np.float64)
    bad = series.bad.copy()
    bad[first : first + room] += added
    grown = series.sums.with_more_bad(first, np.stack([added, 0 * added]))
    if np.isfinite(bad[first : first + room]).all() and (np.nan_to_num(bad) <= np.nan_to_num(series.total)).all():
        assert np.array_equal(grown.bad[0], _series(bad, series.total).sums.bad)
    assert np.array_equal(grown.bad[1], series.sums.bad)


@SETTINGS
@given(alerts(), months(), st.data())
def test_spending_more_never_makes_recall_fall(alert: BurnAlert, series: BucketSeries, data: st.DataObject) -> None:
    """An event that fails more requests, all else equal, is detected where it was before, and no later."""
    first = data.draw(st.integers(0, N - 1))
    end = data.draw(st.integers(first + 1, N))
    chance = data.draw(st.floats(0.0, 1.0))
    good = np.nan_to_num(series.total - series.bad)[first:end]
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    worse = series.bad.copy()
    worse[first:end] += random.binomial(good.astype(np.int64), chance)
    others = [Event(max(0, first - 60), first, 0.1), Event(end, min(N, end + 30), 0.1)]
    events = [Event(first, end, 0.1), *(event for event in others if event.end > event.first)]
    before = _quality(_fires(alert, series), events)
    after = _quality(_fires(alert, _series(worse, series.total)), events)
    assert after.detected >= before.detected
    assert after.recall.value >= before.recall.value
    assert all(late <= soon for late, soon in zip(after.detection_s, before.detection_s, strict=True))


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5), st.floats(0.0, 0.5), st.integers(0, 2**32 - 1))
def test_firing_more_never_makes_recall_fall(seed: int, share: float, more: float, events_seed: int) -> None:
    """Whatever fires in addition, merged pages included: nothing that was detected is missed or told later."""
    random = np.random.default_rng(seed)
    fires = random.random(N) < share / 10
    grown = fires | (random.random(N) < more / 10)
    places = np.sort(np.random.default_rng(events_seed).integers(0, N, 6))
    events = [Event(int(a), int(b), 0.1) for a, b in zip(places[::2], places[1::2], strict=True) if b > a]
    few, many = _quality(fires, events), _quality(grown, events)
    assert many.detected >= few.detected
    assert all(late <= soon for late, soon in zip(many.detection_s, few.detection_s, strict=True))


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_pages_and_flaps_are_all_the_onsets(seed: int, gap: int) -> None:
    """Pages plus flaps are onsets; a wider merge gap leaves fewer pages; true pages are pages."""
    fires = np.random.default_rng(seed).random(N) < 0.1
    onsets = int((np.diff(np.concatenate(([0], fires.astype(np.int8)))) == 1).sum())
    rules = QualityRules(merge_gap=gap * MINUTE)
    found = judge(fires, [Event(50, 80, 0.1)], rules, MS)
    wider = judge(fires, [Event(50, 80, 0.1)], replace(rules, merge_gap=(gap + 5) * MINUTE), MS)
    assert found.pages + found.flaps == onsets == wider.pages + wider.flaps
    assert wider.pages <= found.pages and found.true_pages <= found.pages


@SETTINGS
@given(st.integers(0, 2**31), st.integers(0, 50), st.sampled_from([0.0, 0.7]), st.sampled_from([60.0, 3000.0, 9e4]))
def test_a_month_is_drawn_alike_whoever_draws_it(seed: int, month: int, dispersion: float, per_hour: float) -> None:
    """Drawn again, from a fresh plan, after another month: equal counts; another month or seed: others."""
    fault = Fault("fault", timedelta(hours=5), timedelta(hours=1), errors=0.3)
    scenario = Scenario(Traffic(per_hour, bursts=100.0), Floor(0.01, dispersion), (fault,), length=timedelta(days=1))
    shared = plan(scenario)
    one = draw(shared, seed=seed, month=month)
    draw(shared, seed=seed, month=month + 1)
    again, fresh = draw(shared, seed=seed, month=month), draw(plan(scenario), seed=seed, month=month)
    for other in (again, fresh):
        assert np.array_equal(one.bad, other.bad) and np.array_equal(one.total, other.total)
    assert not np.array_equal(one.total, draw(shared, seed=seed, month=month + 1).total)
    assert not np.array_equal(one.total, draw(shared, seed=seed + 1, month=month).total)
    assert (one.bad <= one.total).all() and (one.bad >= 0).all() and (one.bad == np.rint(one.bad)).all()


ratios = st.floats(0.0, 1.0)


@SETTINGS
@given(alerts(guard=False), ratios, ratios, st.integers(1, 600))
def test_closed_forms_are_monotone(alert: BurnAlert, one: float, other: float, length: int) -> None:
    """A bigger fault is told sooner and longer; a raised factor later; what is spent by then is at least the share."""
    small, big = sorted((one, other))
    budget, period = 0.01, timedelta(days=30)
    told = [detection(alert, budget, error) for error in (small, big)]
    assert told[0] is None or (told[1] is not None and told[1] <= told[0])
    later = detection(replace(alert, factor=2 * alert.factor), budget, big)
    assert later is None or (told[1] is not None and later >= told[1])
    over = [reset(alert, budget, error, length * MINUTE) for error in (small, big)]
    assert over[0] is None or (over[1] is not None and over[0] <= over[1] <= alert.short)
    spent = spent_at_alert(alert, budget, big, period)
    assert spent is None or spent >= alert.factor * (alert.long / period) * (1 - 1e-6)
    gone = exhaustion(budget, big, period)
    assert gone is None or gone / period == pytest.approx(budget / big)
