"""Durations, instants and spans."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node0lib.errors import ConfigError, DataError
from node0lib.timespan import Span, format_duration, parse_duration, parse_instant

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@given(st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=4000)))
def test_durations_round_trip(duration: timedelta) -> None:
    """What format_duration writes, parse_duration reads back."""
    whole = timedelta(milliseconds=max(1, duration // timedelta(milliseconds=1)))
    assert parse_duration(format_duration(whole)) == whole


@pytest.mark.parametrize("text", ["", "0s", "5", "m5", "-5m", "5m1h", "1.5h", "5 m"])
def test_malformed_durations_are_refused(text: str) -> None:
    """A duration outside the grammar, or of length zero, is one clear error."""
    with pytest.raises(ConfigError, match="duration"):
        parse_duration(text)


def test_naive_times_are_refused() -> None:
    """A time without a zone is an error that says how to write it."""
    with pytest.raises(DataError, match="time zone"):
        parse_instant("2026-01-01T12:00:00")


def test_spans_are_left_open() -> None:
    """The start is outside and the end inside, and an empty span is refused."""
    hour = Span.ending(NOON, timedelta(hours=1))
    assert NOON in hour and hour.start not in hour
    with pytest.raises(DataError, match="empty"):
        Span(NOON, NOON)
