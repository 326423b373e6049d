"""The intervals of the delivery metrics: the same as those for one number at a time, and their coverage."""

import math

import numpy as np
import pytest
from delivery_windows import METRICS, World, coverage, drawn, frequency_coverage, windows
from scipy import stats

from node0lib.dora.bounds import median_places, rank_bounds, rate_bounds, recovery, share_bounds, wilson_bounds
from node0lib.sli.intervals import Estimate, median_interval, poisson_rate, quantile_interval, wilson

HISTORIES = 5000


def same(found: tuple[float, float], expected: Estimate | None) -> bool:
    """Whether two ends agree with an estimate's to the last digits."""
    assert expected is not None and expected.low is not None and expected.high is not None
    return bool(np.allclose(found, (expected.low, expected.high), rtol=1e-12))


@pytest.mark.parametrize("n", [1, 5, 59, 400])
def test_many_at_once_are_as_one_at_a_time(n: int) -> None:
    """Wilson's and Garwood's bounds are those of sli.intervals."""
    hits = np.arange(n + 1)
    low, high = wilson_bounds(hits, np.full(n + 1, n))
    assert all(same((low[k], high[k]), wilson(int(k), n)) for k in hits)
    low, high = rate_bounds(hits, 7.0)
    assert all(same((low[k], high[k]), poisson_rate(int(k), 7.0)) for k in hits)


def test_ranks_are_those_of_the_order_statistics() -> None:
    """Median and 0.9 quantile lie between the same order statistics as in sli.intervals, for every size."""
    rng = np.random.default_rng(5)
    for n in [*range(1, 60), 200, 1000]:
        sample = np.sort(rng.random(n))
        for share in (0.5, 0.9):
            middle, low, high = (int(one[0]) for one in rank_bounds(np.array([n]), share))
            ends = [float(sample[place]) if place >= 0 else None for place in (low, high)]
            assert Estimate(float(sample[middle]), *ends) == quantile_interval(sample.tolist(), share)


def test_uncensored_recovery_is_the_median() -> None:
    """Where everything has ended the Kaplan-Meier median and its interval are the plain ones."""
    rng = np.random.default_rng(6)
    for n in range(1, 40):
        sample = rng.integers(0, 20, n).astype(float)
        found, expected = recovery(sample, np.ones(n, np.bool_)), median_interval(sample.tolist())
        assert expected is not None
        assert (found.median, found.low, found.high) == (expected.value, expected.low, expected.high)


def test_kaplan_meier_is_scipys() -> None:
    """With censoring the median is where SciPy's survival function first reaches a half."""
    rng = np.random.default_rng(7)
    for n in range(2, 60):
        spans, watched = rng.integers(1, 30, n).astype(float), rng.integers(1, 40, n).astype(float)
        seen, ended = np.minimum(spans, watched), spans <= watched
        curve = stats.ecdf(stats.CensoredData(uncensored=seen[ended], right=seen[~ended])).sf
        reached = curve.quantiles[curve.probabilities <= 0.5 + 1e-12]
        assert recovery(seen, ended).median == (reached[0] if len(reached) else None)


def test_shares_are_covered_at_every_rate_and_number() -> None:
    """Reckoned exactly, the interval of a share covers at least 95% at every rate, for every n from 5 to 100."""
    rates = np.linspace(0.002, 0.6, 60)
    for n in [*range(5, 101), 300]:
        hits = np.arange(n + 1)
        low, high = share_bounds(hits, np.full(n + 1, n))
        inside = (low[:, None] <= rates) & (rates <= high[:, None])
        covered = (stats.binom.pmf(hits[:, None], n, rates) * inside).sum(axis=0)
        assert covered.min() >= 0.95 - 1e-9, n


def test_what_wilson_would_have_missed() -> None:
    """At 6 deployments and 3% of failures Wilson's interval covers 83%: why it is shown beside, and not relied on."""
    hits = np.arange(7)
    low, high = wilson_bounds(hits, np.full(7, 6))
    assert stats.binom.pmf(hits, 6, 0.03)[(low <= 0.03) & (high >= 0.03)].sum() == pytest.approx(0.833, abs=0.001)


@pytest.mark.parametrize("mean", [0.5, 5.0, 12.0, 60.0])
def test_rates_are_covered(mean: float) -> None:
    """Reckoned exactly, the interval of a rate covers at least 95% of Poisson counts."""
    counts = np.arange(400)
    low, high = rate_bounds(counts, 1.0)
    assert stats.poisson.pmf(counts, mean)[(low <= mean) & (mean <= high)].sum() >= 0.95


@pytest.mark.parametrize("n", [5, 7, 12, 40])
@pytest.mark.parametrize("watched", [0.5, 1.0, 4.0, math.inf])
def test_recoveries_are_covered_under_censoring(n: int, watched: float) -> None:
    """Over simulated histories the interval of a recovery covers at least 93%, however much is still open."""
    rng = np.random.default_rng(n)
    spans = rng.exponential(1.0, (HISTORIES, n))
    seen = np.minimum(spans, watched * rng.exponential(1.0, spans.shape)) if math.isfinite(watched) else spans
    hit, places = 0, median_places(n)
    for row, ended in zip(seen, seen == spans, strict=True):
        found = recovery(row, ended, places)
        hit += (found.low or 0.0) <= math.log(2) <= (math.inf if found.high is None else found.high)
    assert hit / HISTORIES >= 0.93


def test_quantiles_are_covered_at_every_number() -> None:
    """Reckoned exactly, of any continuous times, median and 0.9 quantile are covered at least 95% at every n from 5."""
    n = np.arange(5, 401)
    for share in (0.5, 0.9):
        _, low, high = rank_bounds(n, share)
        # The quantile lies above the low end if more than `low` times lie under it, and under the high end if not more.
        under = np.where(low >= 0, stats.binom.cdf(low, n, share), 0.0)
        above = np.where(high >= 0, stats.binom.sf(high, n, share), 0.0)
        assert (1 - under - above).min() >= 0.95 - 1e-9


@pytest.mark.parametrize("n", [5, 6, 7, 10, 24])
def test_all_metrics_are_covered_from_events_to_interval(n: int) -> None:
    """Over 5,000 simulated histories that go the whole way each interval holds the truth in at least 93%."""
    world = World(fails=(0.03, 0.1)[n % 2], rework=(0.25, 0.1)[n % 2], recovery=(0.3, 1.0)[n % 2])
    found = coverage(world, n, HISTORIES, seed=n)
    assert all(share >= 0.93 for share, _ in found.values()), found
    assert found["fails"][1] == 1.0 and found["lead"][1] == (n >= 6)  # under 6 a median's ends cannot be given


@pytest.mark.parametrize("mean", [5.0, 9.0])
def test_frequencies_are_covered_from_events_to_interval(mean: float) -> None:
    """The interval of a frequency holds the true rate in at least 93% of 5,000 simulated histories."""
    assert frequency_coverage(mean, HISTORIES, seed=int(mean)) >= 0.93


def test_the_windows_of_the_simulation_are_what_was_drawn() -> None:
    """The histories have the numbers of deployments asked for, and all five metrics and the 0.9 quantile to look at."""
    counts = np.array([5, 0, 7])
    failing, working = windows(World(fails=1.0), counts, seed=1)
    assert len(drawn(World(), counts, 1).finished) == 2 * counts.sum()
    assert [one.tolist() for one in (failing.fails.n, failing.recovery.n, working.rework.n)] == [counts.tolist()] * 3
    assert all(getattr(failing, name).n.shape == (3,) for name in METRICS)


@pytest.mark.parametrize("n", [5, 9, 36, 100])
def test_quantiles_are_covered(n: int) -> None:
    """Over simulated histories the intervals of median and 0.9 quantile cover at least 93%."""
    sample = np.sort(np.random.default_rng(n).lognormal(size=(HISTORIES, n)))
    for share in (0.5, 0.9):
        truth = math.exp(float(stats.norm.ppf(share)))
        _, low, high = (int(one[0]) for one in rank_bounds(np.array([n]), share))
        below = sample[:, low] <= truth if low >= 0 else np.ones(HISTORIES, np.bool_)
        above = sample[:, high] >= truth if high >= 0 else np.ones(HISTORIES, np.bool_)
        assert np.mean(below & above) >= 0.93
