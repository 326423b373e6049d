"""The intervals of the delivery metrics: the same as those for one number at a time, and their coverage."""

import math

import numpy as np
import pytest
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


@pytest.mark.parametrize("n", [5, 6, 8, 11, 20, 49, 100, 300])
def test_shares_are_covered_at_every_rate(n: int) -> None:
    """Reckoned exactly, the interval of a share covers at least 95% at every rate; Wilson's and Jeffreys' do not."""
    rates, hits = np.linspace(0.002, 0.6, 300), np.arange(n + 1)
    low, high = share_bounds(hits, np.full(n + 1, n))
    inside = (low[:, None] <= rates) & (rates <= high[:, None])
    coverage = (stats.binom.pmf(hits[:, None], n, rates) * inside).sum(axis=0)
    assert coverage.min() >= 0.95 - 1e-9


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
