"""Histograms against the observations that they were made of."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node0lib.errors import DataError
from node0lib.sli.histogram import Histogram

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5)
VALUES = st.floats(0.001, 5.0) | st.sampled_from(BOUNDS)
OBSERVED = st.lists(VALUES, min_size=1, max_size=60)
QUANTILES = st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]) | st.floats(0.001, 1.0)


@given(OBSERVED, VALUES)
def test_shares_enclose_the_truth(values: list[float], threshold: float) -> None:
    """The share at or under a threshold lies in its bounds, and is exact at a bucket bound."""
    low, high = Histogram.of(BOUNDS, values).share_at_or_under(threshold)
    truth = sum(v <= threshold for v in values) / len(values)
    assert low <= truth <= high
    if threshold in BOUNDS:
        assert low == truth == high


@given(OBSERVED, QUANTILES)
def test_quantiles_enclose_the_truth(values: list[float], q: float) -> None:
    """The quantile (nearest rank) lies in its bucket, and so does the interpolated estimate."""
    histogram = Histogram.of(BOUNDS, values)
    low, high = histogram.quantile(q)
    rank = max(1, math.ceil(q * len(values) * (1 - 1e-12)))
    assert low < sorted(values)[rank - 1] <= high
    assert low <= histogram.estimate(q) <= min(high, BOUNDS[-1])


@given(OBSERVED, QUANTILES, QUANTILES)
def test_quantiles_rise(values: list[float], first: float, second: float) -> None:
    """A higher quantile is never estimated lower."""
    histogram, (low, high) = Histogram.of(BOUNDS, values), sorted((first, second))
    assert histogram.estimate(low) <= histogram.estimate(high) + 1e-12


@given(OBSERVED)
def test_means_enclose_the_truth(values: list[float]) -> None:
    """The mean lies in its bounds; above the last bound nothing limits it."""
    low, high = Histogram.of(BOUNDS, values).mean_bounds()
    assert low <= np.mean(values) + 1e-12
    assert np.mean(values) <= high + 1e-12
    assert (high == math.inf) == (max(values) > BOUNDS[-1])


@given(OBSERVED, OBSERVED)
def test_merging_is_observing_both(first: list[float], second: list[float]) -> None:
    """The sum of two histograms is the histogram of all observations, in either order."""
    one, two = Histogram.of(BOUNDS, first), Histogram.of(BOUNDS, second)
    assert one + two == Histogram.of(BOUNDS, first + second) == two + one


def test_ranks_are_exact() -> None:
    """The 95th percentile of 20 is the 19th, and the estimate is Prometheus's interpolation."""
    histogram = Histogram((0.1, 0.2), (19, 20, 20))
    assert histogram.quantile(0.95) == (0.0, 0.1)
    assert Histogram((0.1, 0.2, 0.4), (50, 90, 98, 100)).estimate(0.95) == pytest.approx(0.325)
    assert Histogram((0.1, 0.2), (0, 1, 10)).estimate(0.95) == 0.2


@pytest.mark.parametrize(
    ("bounds", "counts"),
    [
        ((), (1,)),
        ((0.1,), (1,)),
        ((0.1,), (2, 1)),
        ((0.2, 0.1), (1, 1, 1)),
        ((0.0,), (1, 1)),
        ((math.nan,), (1, 1)),
    ],
)
def test_nonsense_is_refused(bounds: tuple[float, ...], counts: tuple[int, ...]) -> None:
    """A histogram that cannot be is a DataError."""
    with pytest.raises(DataError):
        Histogram(bounds, counts)


def test_an_empty_histogram_knows_nothing() -> None:
    """Without observations there is no share, quantile or mean, rather than a good one; bad q are refused."""
    empty = Histogram((0.1,), (0, 0))
    for question in (lambda: empty.quantile(0.5), lambda: empty.share_at_or_under(0.1), empty.mean_bounds):
        with pytest.raises(DataError, match="empty"):
            question()
    with pytest.raises(DataError, match="quantile"):
        Histogram((0.1,), (1, 1)).quantile(0.0)
    with pytest.raises(DataError, match="merged"):
        empty + Histogram((0.2,), (0, 0))
