"""The numbers of Google's SRE Workbook, chapter 5, that concern budgets: exhaustion, low traffic, extreme objectives.

Facts only, computed by hand from its tables. Its "1,000x burn rate" of one failure in ten requests is an erratum: an
error ratio of 10% over a budget of 0.1% is a burn of 100.
"""

from datetime import timedelta

import pytest

from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, budget_left, burn_rate, status
from node0lib.slo.catalogue import AlertPair, BudgetPolicy
from node0lib.slo.objective import Objective

HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
API = Objective("api", "ratio", 0.999, MONTH)


def _burning(slo: Objective, errors: float) -> SloStatus:
    """A month without errors so far, whose last hour has that share of errors."""
    quiet, hour = Counts(1e9, 1e9, 1.0), Counts(1e9 * (1 - errors), 1e9, 1.0)
    return status(slo, {MONTH: quiet, HOUR: hour}, BudgetPolicy())


@pytest.mark.parametrize(("burn", "hours"), [(1, 720), (2, 360), (10, 72), (1000, 43.2 / 60)])
def test_a_burn_exhausts_the_budget_in_time(burn: float, hours: float) -> None:
    """At 99.9% over 30 days: burn 1 lasts 30 days, 2 15 days, 10 3 days, 1,000 43.2 minutes."""
    assert _burning(API, burn * 0.001).hours_to_exhaustion == pytest.approx(hours, rel=1e-6)


def test_a_burn_of_35_never_alerts_at_36_and_is_gone_in_a_day() -> None:
    """Burning 35 times too fast, a month's budget lasts 20.57 hours."""
    assert _burning(API, 0.035).hours_to_exhaustion == pytest.approx(720 / 35, rel=1e-6)


def test_one_failure_in_ten_requests_burns_a_hundred_times() -> None:
    """At ten requests an hour one failure is a burn of 100, and 13.9% of the 7.2 failures that 30 days allow."""
    hour, month = Counts(9.0, 10.0, 1.0), Counts(7199.0, 7200.0, 1.0)
    assert burn_rate(API, hour) == pytest.approx(100)
    left = budget_left(API, month)
    assert left is not None and 1 - left == pytest.approx(1 / 7.2) and 1 - left == pytest.approx(0.139, abs=5e-4)
    assert API.budget * month.total == pytest.approx(7.2)


def test_a_total_outage_of_an_hour_at_90_percent_spends_little() -> None:
    """It spends 1.39% of 30 days' budget, so a page on 2% in an hour can never fire: the burn is 10, not above 14.4."""
    slo = Objective("lax", "ratio", 0.9, MONTH)
    left = budget_left(slo, Counts(719.0, 720.0, 1.0))
    burn, page = burn_rate(slo, Counts(0.0, 1.0, 1.0)), AlertPair("critical", 0.02, HOUR, HOUR / 12)
    assert left is not None and 1 - left == pytest.approx(0.0139, abs=5e-5)
    assert burn is not None and burn == pytest.approx(10) and not burn > page.factor(MONTH)


@pytest.mark.parametrize(("errors", "seconds"), [(1.0, 25.92), (0.01, 43.2 * 60)])
def test_five_nines_are_gone_before_anybody_wakes(errors: float, seconds: float) -> None:
    """At 99.999% a total outage exhausts 30 days' budget in 25.92 s, an outage of 1% in 43.2 minutes."""
    hours = _burning(Objective("strict", "ratio", 0.99999, MONTH), errors).hours_to_exhaustion
    assert hours is not None and hours * 3600 == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("hours", "burn", "spent"),
    [(1 / 6, 1, 0.000231), (36, 1, 0.05), (1, 14.4, 0.02), (6, 6, 0.05), (24, 3, 0.10), (72, 1, 0.10)],
)
def test_what_an_alert_has_spent_when_it_fires(hours: float, burn: float, spent: float) -> None:
    """A window burning at its threshold has spent window x burn / period: 2% in an hour at 14.4, and so on."""
    errors = burn * API.budget * hours
    left = budget_left(API, Counts(720.0 - errors, 720.0, 1.0))
    assert left is not None and 1 - left == pytest.approx(spent, rel=3e-3)  # told with three figures


def test_five_minutes_of_every_ten_spend_an_eighth_each() -> None:
    """One spike of five minutes without a good request spends 11.57% of 30 days' budget."""
    left = budget_left(API, Counts(720.0 - 1 / 12, 720.0, 1.0))
    assert left is not None and 1 - left == pytest.approx(0.1157, abs=5e-5)
