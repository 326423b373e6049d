"""Native histograms against the observations that they were made of."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node0lib.errors import DataError
from node0lib.sli.histogram import Histogram
from node0lib.sli.native import CLOSED, OPEN_LEFT, OPEN_RIGHT, NativeHistogram

ZERO = 2.0**-12
CUSTOM = (0.1, 0.25, 0.5, 1.0, 2.5)
EDGES = [sign * 2.0**k for k in range(-14, 4) for sign in (1, -1)]
VALUES = st.floats(-8.0, 8.0) | st.sampled_from([*EDGES, 0.0, ZERO, -ZERO])
OBSERVED = st.lists(VALUES, min_size=1, max_size=60)
SCHEMAS = st.integers(0, 3)
QUANTILES = st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]) | st.floats(0.001, 1.0)


def _place(value: float, schema: int) -> tuple[int, float, float]:
    """Rule, left and right of the exponential bucket of a value; the zero bucket is [-ZERO, ZERO]."""
    if abs(value) <= ZERO:
        return CLOSED, -ZERO, ZERO
    index = math.ceil(math.log2(abs(value)) * 2**schema)
    low, high = (2.0 ** ((index - 1) / 2**schema), 2.0 ** (index / 2**schema))
    if abs(value) <= low:  # A logarithm that was rounded up past a boundary.
        low, high = 2.0 ** ((index - 2) / 2**schema), low
    elif abs(value) > high:
        low, high = high, 2.0 ** ((index + 1) / 2**schema)
    return (OPEN_LEFT, low, high) if value > 0 else (OPEN_RIGHT, -high, -low)


def _document(values: list[float], schema: int, nans: int = 0) -> dict:
    """What the API would answer for those observations and ``nans`` of NaN."""
    counts = Counter(_place(v, schema) for v in values)
    buckets = [[rule, repr(left), repr(right), str(n)] for (rule, left, right), n in counts.items()]
    return {"count": str(len(values) + nans), "sum": repr(math.fsum(values)), "buckets": buckets}


def _exponential(values: list[float], schema: int, nans: int = 0) -> NativeHistogram:
    return NativeHistogram.of(_document(values, schema, nans))


def _custom(values: list[float]) -> NativeHistogram:
    """Custom buckets, as Prometheus makes them from classic ones: the first begins at -Inf."""
    edges = (-math.inf, *CUSTOM, math.inf)
    buckets = [
        [CLOSED if low == -math.inf else OPEN_LEFT, str(low), str(high), str(sum(low < v <= high for v in values))]
        for low, high in zip(edges, edges[1:], strict=False)
    ]
    return NativeHistogram.of({"count": str(len(values)), "sum": "0", "buckets": buckets})


@given(OBSERVED, VALUES, SCHEMAS, st.integers(0, 3))
def test_shares_enclose_the_truth(values: list[float], threshold: float, schema: int, nans: int) -> None:
    """The share at or under any threshold lies within its bounds; NaN is at or under nothing."""
    low, high = _exponential(values, schema, nans).share_at_or_under(threshold)
    truth = sum(v <= threshold for v in values) / (len(values) + nans)
    assert low <= truth <= high


@given(OBSERVED, st.sampled_from([e for e in EDGES if e > ZERO]), SCHEMAS)
def test_shares_at_a_boundary_are_exact(values: list[float], threshold: float, schema: int) -> None:
    """At a positive boundary, and outside every bucket that is not empty, the two bounds are one."""
    histogram = _exponential(values, schema)
    for where in (threshold, -8.5, 8.5):
        low, high = histogram.share_at_or_under(where)
        assert low == high == sum(v <= where for v in values) / len(values)


@given(OBSERVED, QUANTILES, SCHEMAS)
def test_quantiles_enclose_the_truth(values: list[float], q: float, schema: int) -> None:
    """The quantile (nearest rank) lies between the boundaries of its bucket."""
    low, high = _exponential(values, schema).quantile(q)
    rank = max(1, math.ceil(q * len(values) * (1 - 1e-12)))
    assert low <= sorted(values)[rank - 1] <= high


@given(OBSERVED, OBSERVED, SCHEMAS)
def test_merging_is_observing_both(first: list[float], second: list[float], schema: int) -> None:
    """The sum of two histograms of one schema is that of all observations, in either order."""
    one, two = _exponential(first, schema), _exponential(second, schema)
    both, merged = _exponential(first + second, schema), one + two
    assert (merged.count, merged.buckets) == (both.count, both.buckets) == ((two + one).count, (two + one).buckets)
    assert merged.sum == pytest.approx(both.sum)


@given(OBSERVED, OBSERVED, VALUES)
def test_merging_different_schemas_is_true_or_refused(first: list[float], second: list[float], at: float) -> None:
    """Histograms whose buckets cut each other are refused; whatever is not refused tells the truth."""
    try:
        merged = _exponential(first, 0) + _exponential(second, 2)
    except DataError as error:
        assert "boundaries differ cannot be merged" in str(error)
        return
    low, high = merged.share_at_or_under(at)
    values = first + second
    assert low <= sum(v <= at for v in values) / len(values) <= high


@given(st.lists(st.floats(0.001, 5.0) | st.sampled_from(CUSTOM), min_size=1, max_size=60), st.floats(0.001, 5.0))
def test_custom_buckets_say_what_classic_ones_say(values: list[float], threshold: float) -> None:
    """A histogram with custom boundaries has the bounds of the classic one, wherever the threshold lies."""
    native, classic = _custom(values), Histogram.of(CUSTOM, values)
    for at in (threshold, *CUSTOM):
        assert native.share_at_or_under(at) == classic.share_at_or_under(at)
    low, high = native.quantile(0.9)
    assert (max(low, 0.0), high) == classic.quantile(0.9)


@given(OBSERVED, SCHEMAS, st.floats(0.1, 10.0))
def test_fractions_keep_ranks(values: list[float], schema: int, factor: float) -> None:
    """Extrapolation multiplies every count by one factor; shares and quantiles stay."""
    document = _document(values, schema)
    scaled = [[*b[:3], repr(int(b[3]) * factor)] for b in document["buckets"]]
    whole = NativeHistogram.of(document)
    part = NativeHistogram.of({**document, "count": repr(len(values) * factor), "buckets": scaled})
    assert part.quantile(0.9) == whole.quantile(0.9)
    assert part.share_at_or_under(0.3) == pytest.approx(whole.share_at_or_under(0.3))
