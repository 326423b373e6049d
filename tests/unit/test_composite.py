"""Composites: weighted burns and budgets, the states that follow, and parts without data."""

import math
from datetime import timedelta

import pytest

from node0lib.errors import ConfigError
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.slo.catalogue import BudgetPolicy, Composite
from node0lib.slo.composite import composite_status
from node0lib.slo.objective import Objective

HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
POLICY = BudgetPolicy()


def _status(name: str, month_bad: float, hour_bad: float = 0.0, events: float = 10_000.0) -> SloStatus:
    slo = Objective(name, "ratio", 0.99, MONTH)
    counts = {MONTH: Counts(events - month_bad, events, 1.0), HOUR: Counts(events - hour_bad, events, 1.0)}
    return status(slo, counts, POLICY)


def test_weights_say_how_much_a_part_matters_and_traffic_does_not() -> None:
    """Budgets 0.5 and 1 with weights 3 and 1 leave 0.625, however many requests either had."""
    parts = (_status("web", 50), _status("pay", 0, events=10.0))
    found = composite_status(Composite("shop", {"web": 3, "pay": 1}), parts, POLICY)
    assert found.budget_left == pytest.approx(0.625) and found.burn["30d"] == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("month", "hour", "state"),
    [(10, 0, "meeting"), (170, 0, "at_risk"), (10, 500, "at_risk"), (400, 0, "breached")],
)
def test_the_state_follows_by_the_rules_of_a_single_slo(month: float, hour: float, state: str) -> None:
    """Little budget or a fast burn over the look-back is a risk, no budget a breach, by the weighted numbers."""
    parts = (_status("web", month, hour), _status("pay", 0))
    assert composite_status(Composite("shop", {"web": 1, "pay": 1}), parts, POLICY).state == state


def test_a_part_without_data_leaves_the_whole_without() -> None:
    """A mean over the rest would be of something else: no_data, and which part it is."""
    slo = Objective("pay", "ratio", 0.99, MONTH)
    blind = status(slo, {MONTH: Counts.nothing("HTTP 503"), HOUR: Counts.nothing("HTTP 503")}, POLICY)
    found = composite_status(Composite("shop", {"web": 9, "pay": 1}), (_status("web", 0), blind), POLICY)
    assert (found.state, found.budget_left, found.burn["1h"]) == ("no_data", None, None)
    assert found.problem == "no data for pay (HTTP 503)"


def test_a_broken_invariant_breaks_the_whole() -> None:
    """Its infinite burn is infinite in any mean, and takes its share of the budget."""
    slo = Objective("ihsan", "invariant", 1.0, HOUR, minimum=100.0)
    broken = status(slo, {HOUR: Counts(0.0, 1.0, 1.0)}, POLICY)
    found = composite_status(Composite("all", {"web": 3, "ihsan": 1}), (_status("web", 0), broken), POLICY)
    assert found.burn["1h"] == math.inf and (found.budget_left, found.state) == (0.75, "at_risk")


def test_only_windows_that_all_parts_know_are_shown() -> None:
    """A window that one part was not asked for has no weighted burn."""
    day = Objective("day", "ratio", 0.9, timedelta(days=1))
    part = status(day, {timedelta(days=1): Counts(9.0, 10.0, 1.0), HOUR: Counts(9.0, 10.0, 1.0)}, POLICY)
    assert set(composite_status(Composite("c", {"web": 1, "day": 1}), (_status("web", 0), part), POLICY).burn) == {"1h"}


def test_a_part_that_nobody_knows_is_refused() -> None:
    """The message names the composite, the part and the SLOs there are."""
    with pytest.raises(ConfigError, match=r"composites\.shop: there is no SLO 'wep'; known are web"):
        composite_status(Composite("shop", {"wep": 1}), (_status("web", 0),), POLICY)
