"""Maintenance: what is left of a window, how its parts are read, and what a status says of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from node0lib.cycle import Given, RecentChange, Rules, statuses_of, watched
from node0lib.errors import DataError
from node0lib.gates import ask
from node0lib.ihsan import Facts
from node0lib.optimize.propose import Search
from node0lib.shell.collect import events, least_coverage, read_counts, read_series
from node0lib.simulate.service import POLICY, EmbeddedNode
from node0lib.simulate.source import EmbeddedSource, embedded_source
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.maintenance import ALL_OF_IT, Maintenance, excluded_length, exclusions, in_force, parts, together
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar, Span

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
API = Objective("api", "ratio", 0.999, 24 * HOUR, stream="api")
SLOW = Objective("slow", "timeslice", 0.9, HOUR, stream="api", threshold_s=0.05, quantile=0.95, slice=5 * MINUTE)
SOURCE: EmbeddedSource = embedded_source(EmbeddedNode(seed=7), POLICY, NOON, timedelta(days=4))


def _quiet(what: str, done: int, total: int) -> None:
    return


def _move(start: timedelta, end: timedelta, *slos: str) -> Maintenance:
    """Maintenance so long before noon."""
    return Maintenance(NOON - start, NOON - end, "the database moves", slos or None)


def _statuses(*maintenance: Maintenance, slos: tuple[Objective, ...] = (API, SLOW)) -> tuple[SloStatus, ...]:
    catalogue = Catalogue(slos, maintenance=maintenance)
    return statuses_of(catalogue, read_counts(catalogue, SOURCE, NOON, _quiet), (), NOON)


def test_an_end_belongs_to_maintenance_and_its_start_does_not() -> None:
    """Spans are left-open: (start, end] of maintenance, so back to back maintenance is one."""
    first, second = _move(3 * HOUR, 2 * HOUR), _move(2 * HOUR, HOUR, "api")
    assert in_force((first, second), NOON - 3 * HOUR) == () and in_force((first, second), NOON - 2 * HOUR) == (first,)
    assert exclusions((second, first), "api") == (Span(NOON - 3 * HOUR, NOON - HOUR),)
    assert parts(Span.ending(NOON - HOUR, 2 * HOUR), exclusions((first, second), "api")) == ()


@pytest.mark.parametrize(("start", "end"), [(HOUR, HOUR), (HOUR, 2 * HOUR)])
def test_maintenance_that_never_is_is_refused(start: timedelta, end: timedelta) -> None:
    """An end that is not after the start is an error, as is a time without a zone."""
    with pytest.raises(DataError, match="is empty"):
        _move(start, end)
    with pytest.raises(DataError, match="time zone"):
        Maintenance(datetime(2026, 1, 1), NOON, "x")  # noqa: DTZ001


def test_the_counts_around_maintenance_are_those_of_the_minutes_around_it() -> None:
    """Read in parts, a window has exactly the events of its minutes outside maintenance."""
    move = _move(5 * HOUR, 3 * HOUR)
    found = events(Catalogue((API,), maintenance=(move,)), SOURCE, API, Span.ending(NOON, 24 * HOUR))
    series = SOURCE.series(API, Span.ending(NOON, 24 * HOUR), MINUTE)
    outside = np.ones(1440, dtype=bool)
    outside[19 * 60 : 21 * 60] = False
    assert (found.good, found.total) == (series.good[outside].sum(), series.total[outside].sum())
    assert found.coverage == 1.0 and found.problem is None


def test_slices_that_maintenance_cuts_are_not_looked_at() -> None:
    """A slice is whole or not there: 60 minutes with maintenance from 30 to 13 minutes ago hold 6 + 2 of 5 minutes."""
    move = _move(30 * MINUTE, 13 * MINUTE)
    found = events(Catalogue((SLOW,), maintenance=(move,)), SOURCE, SLOW, Span.ending(NOON, HOUR))
    assert found.total == 8
    rest = events(Catalogue((SLOW,), maintenance=(_move(HOUR, 3 * MINUTE),)), SOURCE, SLOW, Span.ending(NOON, HOUR))
    assert rest.problem == "what is left of the window is shorter than a slice of 5m"


def test_burn_windows_leave_maintenance_out_too() -> None:
    """An hour and a half of maintenance until half an hour ago leaves 30 minutes of the last hour's burn."""
    api, _ = _statuses(_move(2 * HOUR, HOUR / 2, "api"))
    alone = SOURCE.counts(API, HOUR / 2, NOON)
    assert api.bad["1h"] == alone.total - alone.good == api.bad["30m"] and api.burn["1h"] == api.burn["30m"]
    assert api.excluded == 1.5 * HOUR


def test_a_window_that_is_all_maintenance_has_no_data_and_says_so() -> None:
    """Neither met nor missed: the state is no_data, and the reason is the maintenance."""
    api, slow = _statuses(_move(2 * HOUR, -HOUR))
    assert slow.counts.problem == slow.problem == ALL_OF_IT == "all of the window is maintenance"
    assert (slow.state, slow.sli, slow.budget_left, slow.burn["1h"]) == ("no_data", None, None, None)
    assert api.budget_left is not None and (api.state, api.problem) == ("no_data", ALL_OF_IT), "nothing of late"
    assert slow.excluded == HOUR and excluded_length(Span.ending(NOON, HOUR), ()) == timedelta(0)


def test_while_maintenance_lasts_nothing_is_changed_and_the_gate_says_why() -> None:
    """The telemetry gate is closed with the maintenance as its reason."""
    verdicts = ask(Catalogue((API, SLOW)), _statuses(_move(HOUR, -HOUR)), 100.0, (), NOON).verdicts
    telemetry = next(v for v in verdicts if v.gate == "telemetry")
    assert not telemetry.open and telemetry.reason == f"no data ({ALL_OF_IT}) for api, slow"


def test_maintenance_is_no_loss_of_telemetry() -> None:
    """A change that is still watched is not taken back because its SLOs are in maintenance; silence takes it back."""
    change = RecentChange("c1", NOON - HOUR, POLICY, ())

    def reasons(catalogue: Catalogue, source: EmbeddedSource) -> tuple[str, ...]:
        given = Given(
            at=NOON, mode="autonomous", source="test", simulated=True, target=None, target_simulated=False,
            policy=POLICY, counts=read_counts(catalogue, source, NOON, _quiet), series={}, facts=Facts(coverage=1.0),
            ihsan_history=(), incidents=(), seed=1, recent_change=change,
        )  # fmt: skip
        return watched(given, Rules(catalogue, (), Search()), change)

    calm = Catalogue((API, SLOW), maintenance=(_move(HOUR, -HOUR),))
    assert not any("telemetry lost" in reason for reason in reasons(calm, SOURCE))
    silent = embedded_source(EmbeddedNode(seed=7), POLICY, NOON - 2 * HOUR, timedelta(days=1))
    assert "telemetry lost: api, slow" in reasons(Catalogue((API, SLOW)), silent)


def test_a_part_that_cannot_be_read_is_a_gap_and_is_told() -> None:
    """Coverage is weighted by length; clamps and bounds add up; nothing is said to be nothing only if all of it is."""
    fine = Counts(90.0, 80.0, 1.0, None, 0, None, "a note")
    bounded = Counts(50.0, 100.0, 0.5, None, 0, 70.0)
    found = together([(HOUR, fine), (HOUR, bounded), (2 * HOUR, Counts.nothing("HTTP 503"))])
    assert (found.good, found.total, found.good_most, found.clamped) == (130.0, 180.0, 150.0, 1)
    assert found.coverage == pytest.approx(0.375) and found.problem is None
    assert found.note == "a note; a part is missing: HTTP 503"
    assert together([(HOUR, Counts.nothing("HTTP 503")), (HOUR, Counts.nothing("HTTP 503"))]).problem == "HTTP 503"


def test_maintenance_does_not_count_as_unobserved() -> None:
    """The least coverage is that of what was to be observed."""
    catalogue = Catalogue((API, SLOW), maintenance=(_move(HOUR, timedelta(0), "slow"),))
    assert least_coverage(catalogue, read_counts(catalogue, SOURCE, NOON, _quiet)) == 1.0


def test_in_a_picture_maintenance_is_a_gap() -> None:
    """Buckets that maintenance touches have no value, all others have."""
    catalogue = Catalogue((API,), maintenance=(_move(5 * HOUR, 4 * HOUR),))
    series = read_series(catalogue, SOURCE, NOON)["api"]
    missing = [series.start + n * series.step for n, v in enumerate(series.total) if v is None]
    assert len(missing) == HOUR // series.step and missing[0] == NOON - 5 * HOUR


@pytest.mark.parametrize("unit", ["week", "month"])
def test_a_calendars_window_is_read_from_its_periods_start(unit: str) -> None:
    """The own window's counts are those of the period so far, under the nominal window's name."""
    calendar = Calendar(unit, "Europe/Berlin")  # type: ignore[arg-type]
    slo = replace(API, window=calendar.nominal, calendar=calendar)
    (found,) = _statuses(slos=(slo,))
    so_far = calendar.period(NOON).so_far.length
    if unit == "week":  # since Monday, which the four days of history hold
        assert found.counts == SOURCE.counts(slo, so_far, NOON) and found.counts.coverage == 1.0
    assert found.counts.coverage == pytest.approx(min(1.0, timedelta(days=4) / so_far))
    assert found.period == calendar.period(NOON)


def test_the_slices_of_a_calendars_period_are_whole() -> None:
    """A period so far is not a multiple of the slice; what is too little for one at its start is not looked at."""
    calendar = Calendar("week", "UTC")
    slo = replace(SLOW, window=calendar.nominal, calendar=calendar)
    at = datetime(2026, 11, 23, 1, 2, tzinfo=UTC)
    found = read_counts(Catalogue((slo,)), SOURCE, at, _quiet)["slow"]
    assert found["7d"].total == 12 and found["1h"].total == 12
    early = read_counts(Catalogue((slo,)), SOURCE, datetime(2026, 11, 23, 0, 2, tzinfo=UTC), _quiet)["slow"]
    assert early["7d"].problem is not None and "shorter than a slice" in early["7d"].problem
    assert read_series(Catalogue((slo,)), SOURCE, datetime(2026, 11, 23, 0, 2, tzinfo=UTC))["slow"].problem is None
