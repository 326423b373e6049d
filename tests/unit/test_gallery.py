"""The fault gallery: which alerts of the Workbook tell each fault, and why; and the policies it is held against."""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import BurnAlert
from node0lib.alerts.quality import Quality
from node0lib.alerts.timeline import budget_spent
from node0lib.simulate.gallery import FAULTS, USUAL, WHAT, gallery
from node0lib.simulate.months import evaluate, evaluations_of, events_of, series_of
from node0lib.simulate.scenario import draw, plan
from node0lib.timespan import parse_duration

MONTHS = 6
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def told() -> Mapping[str, Mapping[str, Quality]]:
    """Each fault over a few months through the Workbook's four pairs."""
    policies = {"workbook": named_policies(0.999)["workbook"]}
    return {
        name: evaluate(plan(scenario), policies, months=range(MONTHS), seed=1)["workbook"]
        for name, scenario in gallery().items()
    }


HARD = [
    ("full outage", 1, "a minute of nothing but failures is above 1.44% of an hour"),
    ("partial outage", 9, "1.44% of an hour at 10% are 8.6 minutes"),
    ("regional", 9, "60% of a fifth are 12%: 7.2 minutes"),
    ("retry storm", 3, "tripled traffic weighs more in the window than what was before"),
    ("flapping", 6, "the first phase of 20% is enough"),
]


@pytest.mark.parametrize(("fault", "minutes", "why"), HARD, ids=[f"{name}: {why}" for name, _, why in HARD])
def test_a_hard_fault_is_always_paged(
    told: Mapping[str, Mapping[str, Quality]], fault: str, minutes: float, why: str
) -> None:
    """In every month, by the fast pair, within the minutes that arithmetic allows."""
    page = told[fault]["page"]
    assert (page.events, page.detected) == (MONTHS, MONTHS)
    assert page.detection.value <= minutes * 60
    assert told[fault]["critical_1h"].detected == MONTHS


def test_a_ramp_is_paged_when_it_is_steep_enough(told: Mapping[str, Mapping[str, Quality]]) -> None:
    """It passes 1.44% after 26 minutes, but an hour's mean passes it only after 55: a page, late."""
    assert told["ramp"]["page"].detected == MONTHS
    assert 50 * 60 <= told["ramp"]["page"].detection.value <= 60 * 60


def test_a_slow_burn_is_a_ticket_not_a_page(told: Mapping[str, Mapping[str, Quality]]) -> None:
    """0.53% is a burn of 5.3: under 14.4 and 6, above 3 and 1; so nobody is woken and 33% of the budget goes."""
    slow = told["slow burn"]
    assert slow["page"].events == MONTHS and slow["page"].detected <= 1
    assert slow["info_1d"].detected == slow["info_3d"].detected == MONTHS
    assert slow["info_3d"].detection.value < slow["info_1d"].detection.value
    assert slow["info_3d"].spent_at_detection.value < 0.1


def test_flapping_is_one_page_and_many_flaps(told: Mapping[str, Mapping[str, Quality]]) -> None:
    """The fast pair goes up and down with every phase; merged, that is one page with its flaps counted."""
    flapping = told["flapping"]
    assert flapping["critical_1h"].pages == MONTHS and flapping["critical_1h"].flaps >= 5 * MONTHS
    assert flapping["page"].pages == MONTHS and flapping["page"].flaps == 0  # the 6h pair bridges the phases


def test_a_bad_night_spends_next_to_nothing(told: Mapping[str, Mapping[str, Quality]]) -> None:
    """5% of hardly any traffic is under 1% of the budget: no event that must be paged, though it may be."""
    assert told["low-traffic night"]["page"].events == 0


@pytest.mark.parametrize("fault", ["silent traffic loss", "telemetry gap"])
def test_what_nobody_counts_no_ratio_sees(told: Mapping[str, Mapping[str, Quality]], fault: str) -> None:
    """Without requests, or without telemetry, no ratio moves: nothing fires, and no budget is seen to be spent."""
    assert (told[fault]["page"].pages, told[fault]["page"].events) == (0, 0)
    expected = plan(gallery()[fault])
    series = series_of(expected, draw(expected, seed=1, month=0))
    spent = budget_spent(named_policies(0.999)["workbook"], [series], evaluations_of(expected).instants_ms)
    assert [event.budget_spent for event in events_of(expected, spent)] == [0.0]
    window = slice(15_180, 15_240)
    assert (np.nan_to_num(series.total[window]) == 0).all()
    assert np.isnan(series.total[window]).all() == (fault == "telemetry gap")


def test_a_retry_storm_spends_more_than_its_errors_alone(told: Mapping[str, Mapping[str, Quality]]) -> None:
    """Clients that come three times fail three times: the same share of errors costs three times the budget."""
    storm = gallery()["retry storm"]
    expected = plan(storm)
    (fault,) = storm.faults
    first = fault.onset // MINUTE
    calm = plan(USUAL)
    assert expected.requests[first] == pytest.approx(3 * calm.requests[first], abs=1e-6)
    assert told["retry storm"]["page"].spent_at_detection.value > 0.02


def test_healthy_months_are_quiet(told: Mapping[str, Mapping[str, Quality]]) -> None:
    """At ten requests a second a clustered floor of 0.03% pages nobody."""
    assert sum(run["page"].pages - run["page"].true_pages for run in told.values()) == 0


def test_every_fault_is_explained_and_lies_in_a_busy_hour() -> None:
    """Ten faults, each with its words; after ten days every window of every policy is full."""
    assert len(FAULTS) == 10 and set(WHAT) == set(FAULTS) == set(gallery())
    assert all(fault.onset >= timedelta(days=10) for faults in FAULTS.values() for fault in faults)


def _row(alert: BurnAlert) -> tuple[str, str, str, float, str, float, str]:
    def told(length: timedelta) -> str:
        return f"{length / MINUTE:g}m"

    return (alert.severity, told(alert.long), told(alert.short), round(alert.factor, 6), told(alert.hold),
            alert.min_bad, alert.scaling)  # fmt: skip


def _policy(name: str, period: str = "30d") -> list[tuple[str, str, str, float, str, float, str]]:
    return [_row(alert) for alert in named_policies(0.999, parse_duration(period))[name].alerts]


WORKBOOK = [
    ("critical", "60m", "5m", 14.4, "0m", 0, "static"),
    ("warning", "360m", "30m", 6.0, "0m", 0, "static"),
    ("info", "1440m", "120m", 3.0, "0m", 0, "static"),
    ("info", "4320m", "360m", 1.0, "0m", 0, "static"),
]
APPROACHES = {
    "approach-1": [("critical", "10m", "10m", 1.0, "0m", 0, "static")],
    "approach-2": [("critical", "2160m", "2160m", 1.0, "0m", 0, "static")],
    "approach-3": [("critical", "1m", "1m", 1.0, "60m", 0, "static")],
    "approach-4": [("critical", "60m", "60m", 36.0, "0m", 0, "static")],
    "approach-5": [(row[0], row[1], row[1], *row[3:]) for row in (WORKBOOK[0], WORKBOOK[1], WORKBOOK[3])],
    "approach-6": [WORKBOOK[0], WORKBOOK[1], WORKBOOK[3]],
    "workbook": WORKBOOK,
    "sloth": WORKBOOK,
    "workbook-min-bad-3": [(*row[:5], 3, "static") for row in WORKBOOK],
    "dynamic": [(*row[:6], "traffic") for row in WORKBOOK],
}


@pytest.mark.parametrize("name", APPROACHES)
def test_the_workbook_s_approaches_are_its_own(name: str) -> None:
    """Windows, factors, waits and guards of SRE Workbook, ch. 5, approaches 1 to 6, and of what follows them."""
    assert _policy(name) == APPROACHES[name]


def test_pyrra_s_windows_at_28_days_are_its_source_s() -> None:
    """Factors 14, 7, 2, 1 over 1h/5m, 6h/30m, 1d/2h, 4d/6h with for 2m, 15m, 1h, 3h."""
    assert _policy("pyrra", "28d") == [
        ("critical", "60m", "5m", 14.0, "2m", 0, "static"),
        ("critical", "360m", "30m", 7.0, "15m", 0, "static"),
        ("warning", "1440m", "120m", 2.0, "60m", 0, "static"),
        ("warning", "5760m", "360m", 1.0, "180m", 0, "static"),
    ]


def test_pyrra_s_windows_grow_with_the_period() -> None:
    """At 30 days they are 30/28 as long, rounded to minutes (pyrra's own rules: 1h4m, 6h26m, 1d1h43m, 4d6h51m)."""
    assert _policy("pyrra") == [
        ("critical", "64m", "5m", 14.0, "2m", 0, "static"),
        ("critical", "386m", "32m", 7.0, "16m", 0, "static"),
        ("warning", "1543m", "129m", 2.0, "64m", 0, "static"),
        ("warning", "6171m", "386m", 1.0, "193m", 0, "static"),
    ]


def test_pyrra_s_dynamic_variant_spends_the_same_shares() -> None:
    """With traffic as usual a share of 1/48 in an hour of 28 days is the factor 14; 1/16, 1/14 and 1/7 likewise."""
    found = _policy("pyrra-dynamic", "28d")
    assert [row[3] for row in found] == [14.0, 7.0, 2.0, 1.0]
    assert {row[6] for row in found} == {"traffic"}


def test_names_are_told_apart_and_budgets_are_the_objective_s() -> None:
    """Twelve names; each policy carries the objective that it was asked for."""
    found = named_policies(0.95)
    assert len(found) == 12
    assert all(policy.objective == 0.95 and policy.budget == pytest.approx(0.05) for policy in found.values())
