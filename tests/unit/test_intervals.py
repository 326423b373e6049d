"""Intervals hold what they promise: in simulation they cover the truth as often as they say, or oftener."""

import math

import numpy as np
import pytest
from scipy import stats

from node0lib.errors import DataError
from node0lib.sli.intervals import mean_interval, median_interval, poisson_rate, wilson

RUNS = 4000


def _coverage(hits: list[bool]) -> float:
    return float(np.mean(hits))


@pytest.mark.parametrize("trials", [15, 40, 200])
def test_wilson_covers_the_share_about_as_often_as_it_says(trials: int) -> None:
    """Weighed with the probability of each count: near 95% on average over all shares, never far below at one of them.

    (At very rare shares it dips lower, to 84%: Brown, Cai and DasGupta 2001.)
    """
    counts = np.arange(trials + 1)
    low, high = np.array([(e.low, e.high) for e in (wilson(int(k), trials) for k in counts)]).T
    shares = np.linspace(0.05, 0.95, 91)
    covered = [stats.binom.pmf(counts, trials, s)[(low <= s) & (s <= high)].sum() for s in shares]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    assert np.min(covered) > 0.89


def test_wilson_is_the_published_interval() -> None:
    """81 of 263 is 25.53% to 36.62% (Newcombe 1998, table I, method 3), and so are its edges at none and all."""
    assert tuple(wilson(81, 263)) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)
    assert tuple(wilson(0, 20)) == pytest.approx((0.0, 0.0, 0.1611), abs=5e-5)
    assert tuple(wilson(20, 20)) == pytest.approx((1.0, 0.8389, 1.0), abs=5e-5)


@pytest.mark.parametrize("mean", [0.1, 1.0, 4.0, 30.0])
def test_garwood_covers_at_least_what_it_says(mean: float) -> None:
    """Over all counts that may come, the exact interval of a rate covers it in at least 95%."""
    counts = np.arange(0, int(mean + 20 * math.sqrt(mean) + 20))
    weight = stats.poisson.pmf(counts, mean)
    found = [poisson_rate(int(k), 2.0) for k in counts]
    assert sum(w for w, e in zip(weight, found, strict=True) if e.low <= mean / 2 <= e.high) >= 0.95


@pytest.mark.parametrize("size", [6, 11, 30, 101])
def test_order_statistics_cover_the_median(size: int) -> None:
    """Of a skewed distribution, from six observations on, the interval covers its median in at least 95%."""
    random = np.random.default_rng(size)
    samples = random.exponential(1.0, (RUNS, size))
    found = [median_interval(list(row)) for row in samples]
    hits = [e.low <= math.log(2) <= e.high for e in found]
    assert _coverage(hits) >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / RUNS)


def test_a_median_says_where_its_sample_is_too_small() -> None:
    """Five observations give no 95% interval, six do; what was censored may be an end."""
    five, six = median_interval([1.0, 2.0, 3.0, 4.0, 5.0]), median_interval([1.0, 2.0, 3.0, 4.0, 5.0, math.inf])
    assert (five.value, five.low, five.high) == (3.0, None, None)
    assert (six.value, six.low, six.high) == (3.0, 1.0, math.inf)
    assert median_interval([math.inf, 1.0, math.inf]).value == math.inf


def test_student_covers_the_mean() -> None:
    """Of 20 observations of a moderately skewed distribution the interval covers the mean in about 95%."""
    samples = np.random.default_rng(7).gamma(4.0, 1.0, (RUNS, 20))
    found = [mean_interval(list(row)) for row in samples]
    assert 0.92 < _coverage([e.low <= 4.0 <= e.high for e in found]) < 0.97


def test_a_mean_of_what_is_censored_is_not_known() -> None:
    """One observation has no interval; one that never came makes the mean infinite."""
    alone, censored = mean_interval([3.0]), mean_interval([1.0, math.inf])
    assert (alone.value, alone.low, alone.high) == (3.0, None, None)
    assert (censored.value, censored.low) == (math.inf, None)


def test_nothing_observed_is_no_estimate() -> None:
    """Without trials, exposure or observations there is no number, not even 0."""
    assert wilson(0, 0) is poisson_rate(0, 0.0) is median_interval([]) is mean_interval([]) is None


@pytest.mark.parametrize("wrong", [lambda: wilson(3, 2), lambda: wilson(-1, 2), lambda: poisson_rate(-1, 1.0)])
def test_counts_that_cannot_be_are_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    """More successes than trials, or less than none, is somebody's mistake."""
    with pytest.raises(DataError, match="cannot be"):
        wrong()
