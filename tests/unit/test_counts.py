"""Counts and series: clamps, bounds and bad events."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from node0lib.shell.records import dump, load
from node0lib.sli.series import Counts, GoodTotal
from node0lib.slo.budget import budget_left, burn_rate
from node0lib.slo.objective import Objective

START, MINUTE = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=1)
API = Objective("api", "latency", 0.9, timedelta(hours=1), threshold_s=0.2)


@pytest.mark.parametrize(
    ("most", "kept"), [(None, None), (80.0, None), (79.0, None), (90.0, 90.0), (100.0, 100.0), (101.0, 100.0)]
)
def test_an_upper_bound_is_kept_only_where_it_says_something(most: float | None, kept: float | None) -> None:
    """An upper bound that is not above good is none, and it is never above total."""
    assert Counts(80.0, 100.0, 1.0, good_most=most).good_most == kept


def test_without_events_there_are_no_bounds() -> None:
    """No traffic has neither a ratio nor bounds."""
    counts = Counts(0.0, 0.0, 1.0, good_most=0.0)
    assert (counts.good_most, counts.error_ratio) == (None, None)


def test_budgets_use_the_lower_bound() -> None:
    """Burn and budget see the errors that there may be: the cautious side."""
    counts = Counts(80.0, 100.0, 1.0, good_most=95.0)
    assert burn_rate(API, counts) == pytest.approx(2.0)
    assert budget_left(API, counts) == pytest.approx(-1.0)


def test_bad_events_above_the_total_are_clamped() -> None:
    """Good is total - bad; where that is negative it is 0, and the clamp is counted."""
    assert Counts.of_bad(3.0, 10.0, 1.0) == Counts(7.0, 10.0, 1.0)
    assert Counts.of_bad(11.0, 10.0, 1.0, clamped=1, note="x") == Counts(0.0, 10.0, 1.0, clamped=2, note="x")


def test_a_series_of_bad_events_is_clamped_bucket_by_bucket() -> None:
    """Clamps of a series are counted, gaps stay gaps, and the sums are event-weighted."""
    series = GoodTotal.of_bad(START, MINUTE, np.array([1.0, 9.0, np.nan]), np.array([10.0, 8.0, 5.0]))
    np.testing.assert_array_equal(series.good, [9.0, 0.0, np.nan])
    assert series.clamped == 1
    assert series.counts() == Counts(9.0, 18.0, pytest.approx(2 / 3), clamped=1)


def test_counts_survive_the_record() -> None:
    """Bounds and notes are written and read back; a record of before they existed can still be read."""
    counts = Counts(1.0, 3.0, 1.0, good_most=2.0, note="between")
    assert load(Counts, dump(counts), "here") == counts
    old = b'{"good": 1.0, "total": 2.0, "coverage": 1.0, "problem": null, "clamped": 0}'
    assert load(Counts, old, "here") == Counts(1.0, 2.0, 1.0)
