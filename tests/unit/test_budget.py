"""Error budgets, burn rates and states."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from node0lib.errors import ConfigError, DataError
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, budget_left, burn_rate, kept, status
from node0lib.slo.catalogue import AlertPair, BudgetPolicy, Catalogue
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar, Span

HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
API = Objective("api", "ratio", 0.999, MONTH)
IHSAN = Objective("ihsan", "invariant", 1.0, HOUR, minimum=100.0)


def test_burn_is_the_error_ratio_over_the_budget() -> None:
    """One failure in ten requests at 99.9% burns 100x."""
    assert burn_rate(API, Counts(9, 10, 1.0)) == pytest.approx(100)


def test_no_traffic_is_its_own_state() -> None:
    """Without traffic there is no burn, no budget spent, and the state is no_data, never meeting."""
    found = status(API, {MONTH: Counts(0, 0, 1.0), HOUR: Counts(0, 0, 1.0)}, BudgetPolicy())
    assert (found.state, found.budget_left, found.burn["1h"], found.sli) == ("no_data", None, None, None)


def test_the_budget_is_weighted_by_events() -> None:
    """A busy hour counts for its requests: the budget is errors over all requests, no mean of ratios."""
    quiet, busy = Counts(90, 100, 1.0), Counts(999_900, 1_000_000, 1.0)
    together = Counts(quiet.good + busy.good, quiet.total + busy.total, 1.0)
    assert budget_left(API, together) == pytest.approx(1 - 110 / (0.001 * 1_000_100))


def test_an_overspent_budget_is_negative_and_breached() -> None:
    """Twice the allowed errors leave minus one budget."""
    found = status(API, {MONTH: Counts(998, 1000, 1.0)}, BudgetPolicy())
    assert found.budget_left == pytest.approx(-1) and found.state == "breached"


@pytest.mark.parametrize(("good", "state"), [(9999, "meeting"), (9992, "at_risk")])
def test_little_budget_is_a_risk(good: int, state: str) -> None:
    """Under the freeze threshold an SLO is at risk although it still holds."""
    counts = {MONTH: Counts(good, 10_000, 1.0), HOUR: Counts(10_000, 10_000, 1.0)}
    assert status(API, counts, BudgetPolicy()).state == state


def test_a_fast_burn_is_a_risk() -> None:
    """A burn at or above the alert threshold over the look-back makes an SLO at risk with all its budget."""
    counts = {MONTH: Counts(100_000, 100_000, 1.0), HOUR: Counts(997, 1000, 1.0)}
    assert status(API, counts, BudgetPolicy()).state == "at_risk"


def test_an_invariant_burns_infinitely_when_broken() -> None:
    """An invariant has no budget: burn 0 while it holds, infinite and breached when not."""
    assert burn_rate(IHSAN, Counts(3, 3, 1.0)) == 0
    assert burn_rate(IHSAN, Counts(2, 3, 1.0)) == math.inf
    assert status(IHSAN, {HOUR: Counts(2, 3, 1.0)}, BudgetPolicy()).state == "breached"


def test_the_own_window_is_needed() -> None:
    """A status without the counts of the SLO's own window is an error that names it."""
    with pytest.raises(DataError, match="30d"):
        status(API, {HOUR: Counts(1, 1, 1.0)}, BudgetPolicy())


def test_exhaustion_follows_the_last_hours_burn() -> None:
    """Half a budget at burn 6 lasts 60 hours of a 720-hour window."""
    counts = {MONTH: Counts(99_950, 100_000, 1.0), HOUR: Counts(994, 1000, 1.0)}
    found = status(API, counts, BudgetPolicy())
    assert found.hours_to_exhaustion == pytest.approx(60)


@pytest.mark.parametrize(
    ("share", "hours", "factor"), [(0.02, 1, 14.4), (0.05, 6, 6), (0.10, 24, 3), (0.10, 72, 1)]
)
def test_alert_factors_are_the_workbooks(share: float, hours: int, factor: float) -> None:
    """Budget share x period / long window gives 14.4, 6, 3 and 1 over 30 days."""
    pair = AlertPair("critical", share, timedelta(hours=hours), timedelta(hours=hours) / 12)
    assert pair.factor(MONTH) == pytest.approx(factor)


def test_an_unknown_slo_is_named_with_the_known_ones() -> None:
    """Asking for an SLO that is not there says which are."""
    with pytest.raises(ConfigError, match="api"):
        Catalogue((API,)).slo("apo")


def test_a_silent_hour_is_no_data_whatever_the_month_says() -> None:
    """An SLO whose look-back is unobserved is no_data: what was good a day ago says nothing of now."""
    counts = {MONTH: Counts(100_000, 100_000, 1.0), HOUR: Counts(0, 0, 1.0)}
    found = status(API, counts, BudgetPolicy())
    assert found.state == "no_data" and found.budget_left == 1.0


def _monthly(errors: float, burn: float, excluded: timedelta = timedelta(0)) -> SloStatus:
    """November's promise of 99.9% at noon of its 11th day, an event a second so far."""
    at = datetime(2026, 11, 11, tzinfo=UTC)
    slo = Objective("shop", "ratio", 0.999, MONTH, calendar=Calendar("month"))
    seconds = (timedelta(days=10) - excluded).total_seconds()
    counts = {MONTH: Counts(seconds * (1 - errors), seconds, 1.0), HOUR: Counts(1 - burn * 0.001, 1.0, 1.0)}
    return status(slo, counts, BudgetPolicy(), at, (Span(at - HOUR - excluded, at - HOUR),) if excluded else ())


def test_a_calendars_budget_is_gone_when_the_events_so_far_and_to_come_say_so() -> None:
    """Ten days at half the budget and a burn of 3 from now on: 0.5 x 240 h / (3 - 1) later nothing is left."""
    hours = _monthly(0.0005, 3).hours_to_exhaustion
    assert hours == pytest.approx(60)
    so_far, to_come = 240.0, hours or 0.0
    errors, budget = 0.0005 * so_far + 0.003 * to_come, 0.001 * (so_far + to_come)
    assert errors == pytest.approx(budget), "then the errors are the budget of the events until then"


@pytest.mark.parametrize("burn", [0.5, 1.0, 1.2])
def test_a_calendars_budget_that_lasts_until_its_renewal_is_not_exhausted(burn: float) -> None:
    """Twenty days before the month's end a burn of 1.2 would take 25 days: a new budget comes first."""
    assert _monthly(0.0005, burn).hours_to_exhaustion is None


def test_a_calendars_budget_that_is_gone_is_gone_now() -> None:
    """An overspent budget is exhausted in 0 hours, however slow the burn has become."""
    found = _monthly(0.002, 0.5)
    assert found.hours_to_exhaustion == 0 and found.state == "breached"


def test_maintenance_is_no_time_in_which_a_calendars_budget_grew() -> None:
    """Five of the ten days were maintenance: the events of five days last half as long."""
    assert _monthly(0.0005, 3, timedelta(days=5)).hours_to_exhaustion == pytest.approx(30)


def test_a_calendars_status_needs_its_instant() -> None:
    """Without the instant nobody knows the period; the error says so."""
    slo = Objective("shop", "ratio", 0.999, MONTH, calendar=Calendar("month"))
    with pytest.raises(DataError, match="needs the instant"):
        status(slo, {MONTH: Counts(1, 1, 1.0)}, BudgetPolicy())


def test_a_range_of_what_was_measured_is_judged_by_its_lower_end() -> None:
    """Where good lies between 98 and 99.95 of 100 the budget is that of 98, and the range is told."""
    found = status(API, {MONTH: Counts(98, 100, 1.0, good_most=99.95)}, BudgetPolicy())
    assert (found.sli, found.sli_most) == (pytest.approx(0.98), 0.9995) and found.state == "breached"
    assert status(API, {MONTH: Counts(100, 100, 1.0)}, BudgetPolicy()).sli_most is None


def test_a_failed_look_back_is_told_with_its_reason() -> None:
    """A month that was read and an hour that was not is no_data because of the hour's failure."""
    found = status(API, {MONTH: Counts(1e5, 1e5, 1.0), HOUR: Counts.nothing("HTTP 503")}, BudgetPolicy())
    assert (found.state, found.problem) == ("no_data", "HTTP 503")


def test_an_invariant_that_nobody_scored_has_no_data() -> None:
    """Without a cycle in its window an invariant neither holds nor is broken."""
    assert kept(IHSAN, (100.0, 99.0)) == Counts(1.0, 2.0, 1.0)
    assert status(IHSAN, {HOUR: kept(IHSAN, ())}, BudgetPolicy()).problem == "no cycle within 1h has scored it"
