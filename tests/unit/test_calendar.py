"""Calendar windows: true lengths, days of 23 and 25 hours, and who owns midnight."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from node0lib.errors import ConfigError, DataError
from node0lib.slo.objective import Objective
from node0lib.timespan import NOMINAL, Calendar, Period, Span, ensure_utc, parse_instant

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")


def _period(unit: str, zone: str, at: str) -> Period:
    return Calendar(unit, zone).period(parse_instant(at))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unit", "at", "hours"),
    [
        ("week", "2026-03-27T12:00:00+01:00", 167),
        ("month", "2026-03-05T12:00:00+01:00", 743),
        ("quarter", "2026-03-05T12:00:00+01:00", 90 * 24 - 1),
        ("week", "2026-10-21T12:00:00+02:00", 169),
        ("month", "2026-10-21T12:00:00+02:00", 745),
        ("quarter", "2026-10-21T12:00:00+02:00", 92 * 24 + 1),
        ("year", "2026-07-01T12:00:00+02:00", 8760),
        ("year", "2028-07-01T12:00:00+02:00", 8784),
        ("month", "2028-02-29T12:00:00+01:00", 29 * 24),
        ("month", "2026-02-11T12:00:00+01:00", 28 * 24),
        ("quarter", "2028-01-01T12:00:00+01:00", 91 * 24 - 1),
    ],
)
def test_a_period_is_as_long_as_the_clocks_on_the_wall_make_it(unit: str, at: str, hours: int) -> None:
    """In Berlin the last Sunday of March has 23 hours and that of October 25; leap years have a day more."""
    assert _period(unit, "Europe/Berlin", at).whole.length == hours * HOUR


@pytest.mark.parametrize(
    ("day", "hours"), [(datetime(2026, 3, 29, tzinfo=BERLIN), 23), (datetime(2026, 10, 25, tzinfo=BERLIN), 25)]
)
def test_the_span_counts_the_hours_of_a_long_and_of_a_short_day(day: datetime, hours: int) -> None:
    """Between the midnights around a change of clocks the period so far grows by 23 or 25 hours."""
    month = Calendar("month", "Europe/Berlin")
    lengths = [month.period(moment).so_far.length for moment in (day, day + DAY)]  # both at midnight on the wall
    assert lengths[1] - lengths[0] == hours * HOUR


@pytest.mark.parametrize("unit", ["week", "month", "quarter", "year"])
def test_at_its_very_start_a_period_is_the_whole_one_before(unit: str) -> None:
    """Midnight belongs to what it ends; a microsecond later the new period has begun."""
    start = _period(unit, "Europe/Berlin", "2026-08-19T09:00:00Z").whole.start
    calendar = Calendar(unit, "Europe/Berlin")  # type: ignore[arg-type]
    before, after = calendar.period(start), calendar.period(start + timedelta(microseconds=1))
    assert before.so_far == before.whole and before.whole.end == start
    assert after.so_far.start == start and after.so_far.length == timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("unit", "start"),
    [("week", "2026-11-22T23:00:00Z"), ("month", "2026-10-31T23:00:00Z"), ("quarter", "2026-09-30T22:00:00Z")],
)
def test_periods_begin_at_midnight_on_the_wall(unit: str, start: str) -> None:
    """Weeks on Monday, months on the first, quarters in January, April, July and October, by the zone's clock."""
    assert _period(unit, "Europe/Berlin", "2026-11-25T12:00:00Z").so_far.start == parse_instant(start)


def test_a_zone_that_is_not_ours_has_its_own_midnight() -> None:
    """The same instant lies in November in Berlin and still in October in New York, and UTC needs no database."""
    at = "2026-11-01T01:00:00Z"
    assert _period("month", "Europe/Berlin", at).so_far.length == 2 * HOUR
    assert _period("month", "UTC", at).so_far.length == HOUR
    assert _period("month", "America/New_York", at).whole.start == parse_instant("2026-10-01T04:00:00Z")


def test_a_midnight_that_does_not_exist_is_the_instant_of_the_change() -> None:
    """In Havana clocks go from 24:00 to 01:00: the day, and the week with it, begins where the clock jumps."""
    jump = datetime(2012, 4, 1, 5, tzinfo=UTC)  # 00:00 became 01:00 on the first of April
    assert _period("month", "America/Havana", "2012-04-10T00:00:00Z").whole.start == jump


def test_a_midnight_that_comes_twice_is_the_first_one() -> None:
    """In St John's clocks once went back over midnight of 1 November: every instant still has one period."""
    first = datetime(2009, 11, 1, 2, 30, tzinfo=UTC)  # 00:00 daylight time; a minute later it was 23:01 again
    calendar = Calendar("month", "America/St_Johns")
    for minutes in range(-60, 120):
        at = first + timedelta(minutes=minutes)
        period = calendar.period(at)
        assert at in period.whole and period.so_far == Span(period.whole.start, at)
        assert period.whole.start == first if minutes > 0 else period.whole.end == first


@pytest.mark.parametrize(
    "zone", ["Europe/Berln", "", "../etc/passwd", "/etc/passwd", "Europe", "a" * 5000, "\0", "\ud800", "tzdata.zi"]
)
def test_an_unknown_zone_is_one_clear_error(zone: str) -> None:
    """Whatever is no zone is refused with an example of one."""
    with pytest.raises(ConfigError, match="Europe/Berlin, or UTC"):
        Calendar("month", zone)


@pytest.mark.parametrize(
    ("unit", "at"),
    [("year", "0001-01-01T00:00:00Z"), ("week", "9999-12-31T23:59:59Z"), ("month", "9999-12-31T23:59:59Z")],
)
def test_the_calendars_ends_are_one_clear_error(unit: str, at: str) -> None:
    """Where no neighbouring period exists the answer is a DataError."""
    with pytest.raises(DataError, match="calendar's end"):
        _period(unit, "UTC", at)


def test_an_instant_beyond_the_calendar_is_refused() -> None:
    """The first of January of the year 1 in Berlin has no time in UTC, and says so."""
    with pytest.raises(DataError, match="outside the years"):
        ensure_utc(datetime(1, 1, 1, tzinfo=BERLIN))


def test_a_rolling_objective_looks_back_and_a_calendars_to_its_periods_start() -> None:
    """span(at) is the window's length before at, or the period so far; both end at at."""
    at = parse_instant("2026-11-25T12:00:00Z")
    rolling = Objective("a", "ratio", 0.99, 30 * DAY)
    monthly = Objective("b", "ratio", 0.99, NOMINAL["month"], calendar=Calendar("month"))
    assert rolling.span(at) == Span(at - 30 * DAY, at) and rolling.period(at) is None
    assert monthly.span(at) == Span(parse_instant("2026-11-01T00:00:00Z"), at)
