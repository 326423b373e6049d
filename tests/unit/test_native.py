"""Native histograms as the Prometheus API writes them, and the ones that cannot be."""

import math

import pytest

from node0lib.errors import DataError
from node0lib.sli.native import NativeHistogram

ANSWERED = {
    "count": "28.09",
    "sum": "0.0764",
    "buckets": [[1, "-2", "-1", "1.04"], [3, "-0.001", "0.001", "2.08"], [0, "0.5", "1", "24.97"]],
}
"""As an ``increase`` in Prometheus 3.5 answers: fractional counts, from low to high, empty buckets left out."""


def test_an_answer_is_read() -> None:
    """Negative, zero and positive buckets are read with their rules, and a share is exact between them."""
    histogram = NativeHistogram.of(ANSWERED)
    assert (histogram.count, histogram.sum, len(histogram.buckets)) == (28.09, 0.0764, 3)
    assert histogram.count_at_or_under(0.25) == pytest.approx((3.12, 3.12))
    assert histogram.count_at_or_under(0.0) == pytest.approx((1.04, 3.12))
    assert histogram.count_at_or_under(0.75) == pytest.approx((3.12, 28.09))
    assert histogram.quantile(0.05) == (-0.001, 0.001)


def test_the_left_boundary_belongs_to_whom_the_rule_says() -> None:
    """At its left boundary a bucket that holds it is uncertain, and one that does not is above."""
    for rule, high in ((0, 0.0), (1, 1.0), (2, 0.0), (3, 1.0)):
        histogram = NativeHistogram.of({"count": "4", "sum": "1", "buckets": [[rule, "1", "2", "4"]]})
        assert histogram.share_at_or_under(1.0) == (0.0, high)
        assert histogram.share_at_or_under(2.0) == (1.0, 1.0)


def test_nan_observations_are_above_everything() -> None:
    """NaN is counted and lies in no bucket: shares never reach 1, and high quantiles have no upper bound."""
    histogram = NativeHistogram.of({"count": "10", "sum": "NaN", "buckets": [[0, "1", "2", "8"]]})
    assert histogram.share_at_or_under(math.inf) == (0.8, 0.8)
    assert histogram.quantile(0.8) == (1.0, 2.0)
    assert histogram.quantile(0.9) == (2.0, math.inf)
    only = NativeHistogram.of({"count": "1", "sum": "NaN"})
    assert only.quantile(0.5) == (-math.inf, math.inf)


def test_an_empty_histogram_knows_nothing() -> None:
    """Without observations there is no share and no quantile, but there are counts; bad q are refused."""
    empty = NativeHistogram.of({"count": "0", "sum": "0"})
    assert empty.count_at_or_under(1.0) == (0.0, 0.0)
    for question in (lambda: empty.quantile(0.5), lambda: empty.share_at_or_under(0.1)):
        with pytest.raises(DataError, match="empty"):
            question()
    with pytest.raises(DataError, match="quantile"):
        NativeHistogram.of(ANSWERED).quantile(1.5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"count": "-1"}, "not negative"),
        ({"count": "NaN"}, "must be finite"),
        ({"count": "many"}, "malformed"),
        ({"count": None}, "malformed"),
        ({"buckets": 3}, "malformed"),
        ({"buckets": [[0, "1", "2"]]}, "malformed"),
        ({"buckets": [[9, "1", "2", "3"]]}, "by rule 9"),
        ({"buckets": [[0, "2", "1", "3"]]}, "cannot be"),
        ({"buckets": [[0, "NaN", "1", "3"]]}, "cannot be"),
        ({"buckets": [[0, "1", "2", "-3"]]}, "not negative"),
        ({"buckets": [[0, "1", "3", "2"], [0, "2", "4", "2"]]}, r"overlap: \(1, 3\] and \(2, 4\]"),
        ({"buckets": [[0, "1", "3", "2"], [1, "1", "3", "2"]]}, "overlap"),
        ({"buckets": [[0, "1", "2", "30"]]}, "more than its count"),
    ],
)
def test_nonsense_is_refused(change: dict, why: str) -> None:
    """A native histogram that cannot be is a DataError that says why."""
    with pytest.raises(DataError, match=why):
        NativeHistogram.of({**ANSWERED, **change})


def test_what_is_no_object_is_refused() -> None:
    """Something that is no JSON object is a DataError too."""
    for document in ([], "x", None, 3):
        with pytest.raises(DataError, match="malformed"):
            NativeHistogram.of(document)
