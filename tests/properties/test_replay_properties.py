"""What holds of the replay on any series: the fast kernels equal obvious references, and nothing depends on chunks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.replay import (
    BucketSeries,
    CounterSeries,
    Evaluations,
    Function,
    Semantics,
    replay_buckets,
    replay_counters,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
from extrapolated_rate import Samples, counter_sum, firing, held, in_range, risen

MINUTE = 60_000
LONGEST_MS = 20 * MINUTE
semantics_of = st.sampled_from([2, 3])
functions = st.sampled_from(["rate", "increase"])
steps_ms = st.sampled_from([MINUTE, 30_000, 54_000, 66_000, 2 * MINUTE, 5 * MINUTE, 61_234, 1])


@st.composite
def policies(draw: st.DrawFn, hold: bool = True, guard: bool = True) -> AlertPolicy:
    """Two alerts on windows of minutes, with thresholds that small counts meet exactly at times."""
    minutes = st.integers(1, LONGEST_MS // MINUTE)

    def alert(name: str) -> BurnAlert:
        short, long = sorted((draw(minutes), draw(minutes)))
        return BurnAlert(
            name,
            "critical",
            timedelta(minutes=long),
            timedelta(minutes=short),
            draw(st.sampled_from([0.5, 1.0, 2.0, 2.5, 5.0, 9.0])),
            timedelta(minutes=draw(st.integers(0, 3))) if hold else timedelta(0),
            draw(st.sampled_from([0.0, 0.0, 1.0, 7.5])) if guard else 0.0,
        )

    return AlertPolicy(0.9, timedelta(days=30), (alert("one"), alert("other")))


@st.composite
def counters(draw: st.DrawFn, form: str) -> CounterSeries:
    """A few scrapes with gaps, with resets and samples that only one of the counters has."""
    n = draw(st.integers(1, 40))
    begin = draw(st.integers(0, 3 * MINUTE))
    times = begin + np.cumsum(draw(st.lists(steps_ms, min_size=n, max_size=n)))
    columns = [draw(_counter(n, largest, 3, (0, 2, 1000))) for largest in (6, 20)]
    return CounterSeries(times.astype(np.int64), *columns, form)


@st.composite
def scraped_together(draw: st.DrawFn) -> CounterSeries:
    """A few scrapes of both counters, some of which begin near zero."""
    n = draw(st.integers(3, 12))
    times = np.cumsum(draw(st.lists(steps_ms, min_size=n, max_size=n)))
    columns = [draw(_counter(n, largest, 0, begins)) for largest, begins in ((3, (0, 1, 2, 5)), (9, (0, 2, 1000)))]
    return CounterSeries(times.astype(np.int64), *columns, draw(st.sampled_from(["bad", "good"])))


@st.composite
def _counter(draw: st.DrawFn, n: int, largest: int, most_missing: int, begins: Sequence[int]) -> np.ndarray:
    rises = draw(st.lists(st.integers(-1, largest), min_size=n, max_size=n))  # -1 is a reset
    missing = draw(st.sets(st.integers(0, n - 1), max_size=most_missing))
    values, value = np.empty(n), draw(st.sampled_from(begins))
    for i, rise in enumerate(rises):
        value = value // 3 if rise < 0 else value + rise
        values[i] = np.nan if i in missing else value
    return values


@st.composite
def summed(draw: st.DrawFn) -> list[CounterSeries]:
    """One to three series of one form."""
    form = draw(st.sampled_from(["bad", "good"]))
    return draw(st.lists(counters(form), min_size=1, max_size=3))


evaluations = st.builds(
    Evaluations,
    begin_ms=st.integers(-2, 30).map(lambda halves: halves * 30_000),
    step_ms=st.sampled_from([MINUTE, 30_000, 77_000]),
    count=st.integers(1, 40),
)


@given(policies(), summed(), evaluations, semantics_of, functions)
def test_the_kernel_equals_the_slow_reference(
    policy: AlertPolicy, series: list[CounterSeries], when: Evaluations, semantics: Semantics, function: Function
) -> None:
    """On any series, in both versions and forms, with for and min_bad, the same alerts fire at the same instants."""
    expected = firing(policy, series, when.instants_ms.tolist(), semantics, function)
    assert (replay_counters(policy, series, when, semantics, function) == expected).all()


@settings(max_examples=1000)
@given(scraped_together(), st.data(), semantics_of, st.sampled_from([0.01, 0.5, 0.99]))
def test_no_short_cut_is_taken_where_extrapolation_decides(
    series: CounterSeries, data: st.DataObject, semantics: Semantics, between: float
) -> None:
    """With a threshold between the plain ratio and the extrapolated one of some range, the reference is still right."""
    start, at = data.draw(ranges_around(series.times_ms))
    samples = [_samples(series.times_ms, values) for values in (series.events, series.total)]
    inside = [in_range(one, start, at, semantics) for one in samples]
    sums = [counter_sum([one], at, at - start, semantics, True) for one in samples]
    if not sums[1]:
        return
    ratios = [risen(inside[0]) / risen(inside[1]), sums[0] / sums[1]]
    ratios = [1 - ratio for ratio in ratios] if series.form == "good" else ratios
    threshold = ratios[0] + between * (ratios[1] - ratios[0])
    if not threshold > 0:
        return
    window = timedelta(milliseconds=at - start)
    policy = AlertPolicy(0.5, timedelta(days=30), (BurnAlert("a", "info", window, window, 2 * threshold),))
    when = Evaluations(at - 3 * MINUTE, MINUTE, 6)
    expected = firing(policy, [series], when.instants_ms.tolist(), semantics)
    assert (replay_counters(policy, [series], when, semantics) == expected).all()


@st.composite
def ranges_around(draw: st.DrawFn, times_ms: np.ndarray) -> tuple[int, int]:
    """Return start and end of a range that reaches some average intervals beyond two of the samples."""
    first = draw(st.integers(0, times_ms.size - 2))
    last = draw(st.integers(first + 1, times_ms.size - 1))
    average = int(times_ms[last] - times_ms[first]) / (last - first)
    before, after = (draw(st.sampled_from([0.0, 0.4, 0.6, 1.0, 1.05, 1.1, 1.15, 1.5, 4.0])) for _ in range(2))
    return int(times_ms[first] - before * average), int(times_ms[last] + after * average)


def _samples(times_ms: np.ndarray, values: np.ndarray) -> Samples:
    return [(int(t), float(v)) for t, v in zip(times_ms, values, strict=True)]


@given(policies(), counters("bad"), evaluations, semantics_of, functions)
def test_a_silent_second_series_changes_nothing(
    policy: AlertPolicy, series: CounterSeries, when: Evaluations, semantics: Semantics, function: Function
) -> None:
    """The kernel for one series and the one for sums agree: a second series of one sample adds no result."""
    silent = CounterSeries(series.times_ms[:1], np.array([5.0]), np.array([9.0]))
    both = replay_counters(policy, [series, silent], when, semantics, function)
    assert (replay_counters(policy, [series], when, semantics, function) == both).all()


@given(policies(hold=False), summed(), evaluations, semantics_of, st.integers(0, 40))
def test_chunks_do_not_matter(
    policy: AlertPolicy, series: list[CounterSeries], when: Evaluations, semantics: Semantics, cut: int
) -> None:
    """Evaluated in two goes, the second from the samples that its windows reach alone, the answer is the same."""
    cut = min(cut, when.count)
    later = replace(when, begin_ms=when.begin_ms + cut * when.step_ms, count=when.count - cut)
    reached = [_since(one, later.begin_ms - LONGEST_MS) for one in series]
    parts = [
        replay_counters(policy, series, replace(when, count=cut), semantics),
        replay_counters(policy, reached, later, semantics),
    ]
    assert (replay_counters(policy, series, when, semantics) == np.concatenate(parts, axis=1)).all()


def _since(series: CounterSeries, start_ms: int) -> CounterSeries:
    """Return the samples from ``start_ms`` on, or the last one where there is none."""
    kept = series.times_ms >= start_ms
    kept[-1] = True
    return CounterSeries(series.times_ms[kept], series.events[kept], series.total[kept], series.form)


@given(policies(), summed(), evaluations, semantics_of, st.sampled_from([1.0, 1.25, 3.0]))
def test_a_higher_factor_never_fires_more(
    policy: AlertPolicy, series: list[CounterSeries], when: Evaluations, semantics: Semantics, by: float
) -> None:
    """Whatever fires at a raised factor fires at the lower one too."""
    raised = replace(policy, alerts=tuple(replace(alert, factor=alert.factor * by) for alert in policy.alerts))
    lower, higher = (replay_counters(one, series, when, semantics) for one in (policy, raised))
    assert not (higher & ~lower).any()


@given(policies(guard=False), summed(), evaluations, semantics_of, functions, st.sampled_from([0.5, 2.0, 1024.0]))
def test_scaling_changes_nothing_without_a_guard(
    policy: AlertPolicy,
    series: list[CounterSeries],
    when: Evaluations,
    semantics: Semantics,
    function: Function,
    by: float,
) -> None:
    """Events and totals times a power of two: no ratio changes, to the last bit."""
    scaled = [replace(one, events=one.events * by, total=one.total * by) for one in series]
    plain, other = (replay_counters(policy, one, when, semantics, function) for one in (series, scaled))
    assert (plain == other).all()


@given(policies(), st.data(), evaluations)
def test_buckets_equal_plain_sums(policy: AlertPolicy, data: st.DataObject, when: Evaluations) -> None:
    """On buckets with holes and gaps every window is the sum of the buckets that end in it."""
    n = data.draw(st.integers(1, 40))
    regular = data.draw(st.booleans())
    steps = [when.step_ms] * n if regular else data.draw(st.lists(steps_ms, min_size=n, max_size=n))
    ends = (when.begin_ms - MINUTE * data.draw(st.integers(0, 3)) + np.cumsum(steps)).astype(np.int64)
    bad, total = (np.array(data.draw(_events(n, largest))) for largest in (4, 9))
    series = BucketSeries(ends, np.where(np.isnan(total), np.nan, bad), np.where(np.isnan(bad), np.nan, total))
    assert (replay_buckets(policy, series, when) == _plain(policy, series, when)).all()


def _events(n: int, largest: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.integers(0, largest).map(float) | st.just(np.nan), min_size=n, max_size=n)


def _plain(policy: AlertPolicy, series: BucketSeries, when: Evaluations) -> np.ndarray:
    def sums(at: int, window: timedelta) -> tuple[float, float]:
        inside = (series.ends_ms <= at) & (series.ends_ms > at - window // timedelta(milliseconds=1))
        return float(np.nansum(series.bad[inside])), float(np.nansum(series.total[inside]))

    def holds(alert: BurnAlert, at: int) -> bool:
        pairs = [sums(at, window) for window in (alert.long, alert.short)]
        burns = all(total > 0 and bad / total > policy.threshold(alert) for bad, total in pairs)
        return burns and pairs[0][0] >= alert.min_bad

    instants = when.instants_ms.tolist()
    return np.array(
        [
            held([holds(alert, at) for at in instants], instants, alert.hold // timedelta(milliseconds=1))
            for alert in policy.alerts
        ]
    )


@pytest.mark.parametrize("semantics", [2, 3])
def test_a_long_random_series_equals_the_slow_reference(semantics: Semantics) -> None:
    """Hundreds of jittered scrapes of three series, where rounding of fractional seconds could tell."""
    rng = np.random.default_rng(semantics)
    series = []
    for _ in range(3):
        times = np.arange(400) * MINUTE + rng.integers(0, 500, 400) + rng.integers(0, MINUTE)
        total = rng.poisson(50, 400)
        columns = [np.cumsum(events).astype(float) for events in (rng.binomial(total, 0.1), total)]
        series.append(CounterSeries(times, *columns))
    window = timedelta(minutes=7)
    policy = AlertPolicy(0.9, timedelta(days=30), (BurnAlert("a", "info", 4 * window, window, 1.0, min_bad=3.0),))
    when = Evaluations(0, MINUTE, 410)
    expected = firing(policy, series, when.instants_ms.tolist(), semantics)
    assert (replay_counters(policy, series, when, semantics) == expected).all()
    assert 50 < expected.sum() < 380
