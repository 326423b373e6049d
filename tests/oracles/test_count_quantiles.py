"""The counts of simulated months against scipy's distributions."""

import numpy as np
import pytest
from scipy import stats

from node0lib.simulate.counts import Expected, binomial, failures, quantile, rounded


def theirs(expected: float, z: np.ndarray) -> np.ndarray:
    """scipy's quantiles, from the tail that is nearer."""
    lower, upper = stats.poisson.ppf(stats.norm.cdf(z), expected), stats.poisson.isf(stats.norm.sf(z), expected)
    return np.where(z > 0, upper, lower)


@pytest.mark.parametrize("expected", [0.01, 0.5, 1.5, 3.9, 4.0, 4.5, 6.3, 10.0, 16.0, 40.0, 100.0, 255.9])
def test_the_quantile_is_the_poissons(expected: float) -> None:
    """Below 256 the quick quantile is scipy's, from six standard deviations below to six above."""
    z = np.concatenate((np.linspace(-6, 6, 4001), np.random.default_rng(1).standard_normal(20_000)))
    assert (np.array([quantile(expected, one) for one in z]) == theirs(expected, z)).all()


@pytest.mark.parametrize("expected", [256.0, 1000.0, 60_000.0])
def test_a_large_quantile_is_off_by_one_at_most(expected: float) -> None:
    """From 256 on fewer than one in a thousand is off, and by one."""
    z = np.random.default_rng(2).standard_normal(20_000)
    away = np.abs(np.array([quantile(expected, one) for one in z]) - theirs(expected, z))
    assert away.max() <= 1
    assert away.mean() < 1e-3


@pytest.mark.parametrize("expected", [0.002, 0.2, 0.9, 3.0, 12.0, 500.0])
def test_drawn_counts_have_the_distribution(expected: float) -> None:
    """Chi-square over 200,000 seeded counts, however they are drawn; and neighbours are independent."""
    steps = rounded(np.full(200_000, expected))
    drawn = Expected(steps).draw(np.random.Generator(np.random.SFC64(5)))
    most = int(drawn.max()) + 2
    wanted = stats.poisson.pmf(np.arange(most), expected) * drawn.size
    seen = np.bincount(drawn.astype(int), minlength=most)
    kept = wanted > 10
    chi = float(((seen[kept] - wanted[kept]) ** 2 / wanted[kept]).sum())
    assert stats.chi2.sf(chi, max(1, int(kept.sum()) - 1)) > 1e-3
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 4 / np.sqrt(drawn.size)


@pytest.mark.parametrize("events", [1, 3, 10, 40, 120, 600, 1200])
@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.2, 0.4, 0.5])
def test_the_binomial_quantile_is_scipys(events: int, share: float) -> None:
    """Where the variance is below 256 the quick binomial quantile is scipy's, and off by one at most beyond."""
    z = np.concatenate((np.linspace(-5, 5, 2001), np.random.default_rng(3).standard_normal(5000)))
    wanted = np.clip(stats.binom.ppf(stats.norm.cdf(z), events, share), 0, events)
    wanted = np.where(z > 0, stats.binom.isf(stats.norm.sf(z), events, share), wanted)
    away = np.abs(np.array([binomial(float(events), share, one) for one in z]) - wanted)
    assert away.max() <= (events * share * (1 - share) >= 256)
    assert away.mean() < 1e-3


def test_more_fail_at_a_higher_share() -> None:
    """On the same chance, a larger fault never fails fewer requests, and a share of 1 fails all."""
    random = np.random.default_rng(4)
    events, z = random.poisson(30, 5000).astype(float), random.standard_normal(5000)
    found = failures(events, np.array([0.0, 0.01, 0.1, 0.49, 0.51, 0.9, 1.0]), z)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[0] == 0).all()
    assert (found[-1] == events).all()
