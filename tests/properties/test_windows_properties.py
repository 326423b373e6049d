"""Periods tile time, maintenance and what is left of a window add up, composites ignore the scale of their weights."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.shell.records import dump, load
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, budget_left, status
from node0lib.slo.catalogue import BudgetPolicy, Composite
from node0lib.slo.composite import composite_status
from node0lib.slo.maintenance import Maintenance, excluded_length, exclusions, parts, together
from node0lib.slo.objective import Objective
from node0lib.timespan import NOMINAL, Calendar, Span, Unit

many = settings(max_examples=200, deadline=None)
EPOCH, MINUTE, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=1), timedelta(days=1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Kathmandu", "Pacific/Apia", "Asia/Beirut")
calendars = st.builds(Calendar, st.sampled_from(sorted(NOMINAL)), st.sampled_from(ZONES))
instants = st.integers(-36 * 365 * 1440, 14 * 365 * 1440).map(lambda n: EPOCH + n * MINUTE)


@many
@given(calendar=calendars, at=instants)
def test_every_instant_lies_in_one_period(calendar: Calendar, at: datetime) -> None:
    """A period holds the instant, begins with what has passed of it, and its neighbours join it without a gap."""
    period = calendar.period(at)
    assert at in period.whole and period.so_far == Span(period.whole.start, at)
    before, after = calendar.period(period.whole.start), calendar.period(period.whole.end + MINUTE)
    assert before.whole.end == period.whole.start and after.whole.start == period.whole.end
    assert calendar.period(period.whole.end).whole == period.whole


@many
@given(unit=st.sampled_from(sorted(NOMINAL)), at=instants)
def test_a_period_in_utc_is_whole_days(unit: Unit, at: datetime) -> None:
    """Without changes of clocks a week has 7 days, a month 28 to 31, a quarter 90 to 92, a year 365 or 366."""
    days, rest = divmod(Calendar(unit).period(at).whole.length, DAY)
    allowed = {"week": {7}, "month": {28, 29, 30, 31}, "quarter": {90, 91, 92}, "year": {365, 366}}
    assert not rest and days in allowed[unit]


@many
@given(calendar=calendars, at=instants)
def test_a_period_begins_on_the_day_that_the_calendar_says(calendar: Calendar, at: datetime) -> None:
    """On the wall of the zone it is a Monday, or the first of a month that begins a month, a quarter or a year."""
    start = calendar.period(at).whole.start.astimezone(ZoneInfo(calendar.zone))
    if calendar.unit == "week":
        # The 30th of December 2011, a Friday, never was in Apia: no Monday is missing anywhere.
        assert start.isoweekday() == 1
    else:
        assert start.day == 1 and (start.month - 1) % {"month": 1, "quarter": 3, "year": 12}[calendar.unit] == 0


def _span(start: int, length: int) -> Span:
    return Span(EPOCH + start * MINUTE, EPOCH + (start + length) * MINUTE)


spans = st.builds(_span, st.integers(0, 300), st.integers(1, 120))
windows = st.builds(_span, st.integers(0, 200), st.integers(1, 300))
some = st.lists(spans, max_size=6).map(lambda s: tuple(Maintenance(x.start, x.end, "move") for x in s))


@many
@given(window=windows, maintenance=some)
def test_parts_and_maintenance_are_the_window(window: Span, maintenance: tuple[Maintenance, ...]) -> None:
    """Every minute of the window is in exactly one part, or in maintenance, and the lengths add up."""
    excluded = exclusions(maintenance, "api")
    left = parts(window, excluded)
    for n in range(1, window.length // MINUTE + 1):
        at = window.start + n * MINUTE
        assert sum(at in part for part in left) == (0 if any(at in m.span for m in maintenance) else 1)
    assert sum((p.length for p in left), timedelta(0)) + excluded_length(window, excluded) == window.length
    assert all(a.end < b.start for a, b in zip(left, left[1:], strict=False)), "rising, and joined where they touch"


@many
@given(maintenance=some)
def test_maintenance_of_another_slo_does_not_concern_this_one(maintenance: tuple[Maintenance, ...]) -> None:
    """What names other SLOs is not left out."""
    named = tuple(Maintenance(m.start, m.end, m.reason, ("other",)) for m in maintenance)
    assert exclusions(named, "api") == () and exclusions(named, "other") == exclusions(maintenance, "api")


events = st.integers(0, 10_000)
read = st.tuples(events, events).map(lambda n: Counts(float(min(n)), float(max(n)), 1.0))


@many
@given(found=st.lists(st.tuples(st.integers(1, 500), read), min_size=1, max_size=6))
def test_parts_are_weighted_by_their_events(found: list[tuple[int, Counts]]) -> None:
    """The ratio of parts together is the sum of errors over the sum of events, never a mean of ratios."""
    whole = together([(length * MINUTE, counts) for length, counts in found])
    good, total = sum(c.good for _, c in found), sum(c.total for _, c in found)
    assert (whole.good, whole.total) == (good, total) and whole.coverage == pytest.approx(1.0)
    assert whole.error_ratio == ((total - good) / total if total else None)


@many
@given(days=st.lists(read, min_size=2, max_size=30))
def test_a_months_budget_is_weighted_by_events(days: list[Counts]) -> None:
    """Thirty days' budget left is one minus all errors over B times all events, and no mean of the days' ratios."""
    api = Objective("api", "ratio", 0.99, 30 * DAY)
    whole = together([(DAY, c) for c in days])
    bad, total = sum(c.total - c.good for c in days), sum(c.total for c in days)
    left = budget_left(api, whole)
    assert left is None if not total else left == pytest.approx(1 - bad / (total * api.budget))


def _statuses(errors: list[int]) -> tuple[SloStatus, ...]:
    slos = [Objective(f"s{n}", "ratio", 0.99, 30 * DAY) for n in range(len(errors))]
    counts = [Counts(1000.0 - bad, 1000.0, 1.0) for bad in errors]
    rolled = [{s.window: c, timedelta(hours=1): c} for s, c in zip(slos, counts, strict=True)]
    return tuple(status(s, c, BudgetPolicy()) for s, c in zip(slos, rolled, strict=True))


parts_of = st.lists(st.tuples(st.integers(0, 1000), st.floats(0.001, 1000)), min_size=1, max_size=5)


@many
@given(parts=parts_of, scale=st.sampled_from([2.0**-60, 0.5, 8.0, 2.0**60]))
def test_only_the_ratios_of_weights_matter(parts: list[tuple[int, float]], scale: float) -> None:
    """Weights times a constant give the same composite, to the last bit for powers of two."""
    found = _statuses([bad for bad, _ in parts])
    weights = {s.name: weight for s, (_, weight) in zip(found, parts, strict=True)}
    one = composite_status(Composite("c", weights), found, BudgetPolicy())
    other = composite_status(Composite("c", {n: w * scale for n, w in weights.items()}), found, BudgetPolicy())
    assert (one.burn, one.budget_left, one.state) == (other.burn, other.budget_left, other.state)


@many
@given(parts=parts_of)
def test_a_composite_lies_between_its_parts(parts: list[tuple[int, float]]) -> None:
    """A mean is at least the least part and at most the greatest, and equal parts are their own mean."""
    found = _statuses([bad for bad, _ in parts])
    weights = {s.name: weight for s, (_, weight) in zip(found, parts, strict=True)}
    whole = composite_status(Composite("c", weights), found, BudgetPolicy())
    left = [s.budget_left for s in found if s.budget_left is not None]
    assert whole.budget_left is not None and min(left) - 1e-9 <= whole.budget_left <= max(left) + 1e-9


@settings(max_examples=100, deadline=None)
@given(calendar=st.none() | calendars, at=instants, minutes=st.integers(0, 100_000), problem=st.none() | st.text())
def test_a_status_survives_its_record(
    calendar: Calendar | None, at: datetime, minutes: int, problem: str | None
) -> None:
    """What is written of a status, its period and its maintenance too, comes back equal."""
    window = 30 * DAY if calendar is None else calendar.nominal
    slo = Objective("api", "ratio", 0.99, window, calendar=calendar)
    counts = {window: Counts(90.0, 100.0, 1.0) if problem is None else Counts.nothing(problem)}
    excluded = (Span(at - (minutes + 1) * MINUTE, at - MINUTE),) if minutes else ()
    found = status(slo, counts, BudgetPolicy(), at, excluded)
    again = load(SloStatus, dump(found), "x")
    assert again == found and (again.hours_to_exhaustion or 0.0) < math.inf
