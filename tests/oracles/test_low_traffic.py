"""The quiet service: about 12 false pages a month, 0.1 with a guard of three bad events, two minutes' delay for it.

60 requests an hour, 99.9%, a floor of 0.03%, the Workbook's pairs; arithmetic next to what is measured.
"""

import math

import pytest
from scipy import stats

from node0lib.alerts.policies import named_policies
from node0lib.simulate.study import LowTraffic, Study, low_traffic

POLICY = named_policies(0.999)["workbook"]


@pytest.fixture(scope="module")
def measured() -> LowTraffic:
    """Two hundred healthy months and as many with a full outage."""
    return low_traffic(Study("workbook", {"workbook": POLICY}, workers=2))


def test_the_plain_policy_pages_about_twelve_times(measured: LowTraffic) -> None:
    """Each of the floor's 13 failures a month is a page, less those that fall on one that is up."""
    found = measured.plain.false_pages
    assert measured.errors_a_month == pytest.approx(12.96)
    assert 11 < found.value < 12.96
    assert found.high - found.low < 1.2


def test_three_bad_events_leave_about_a_tenth(measured: LowTraffic) -> None:
    """Three floor failures within six hours: 13 x P(two more in the six hours before) is 0.07 a month."""
    rate = 60 * 0.0003 * 6
    expected = measured.errors_a_month * float(stats.poisson.sf(1, rate))
    found = measured.guarded.false_pages
    assert expected == pytest.approx(0.07, abs=0.01)
    assert 0.03 < found.value < 0.2
    assert measured.plain.false_pages.value / found.value > 50


def test_the_guard_costs_a_full_outage_two_minutes(measured: LowTraffic) -> None:
    """Medians of 1 and 3 minutes; on average the wait for two more requests, as far as whole minutes show it."""
    assert (measured.plain_outage.detection.value, measured.guarded_outage.detection.value) == (60.0, 180.0)
    minutes = [_minutes_until(k) for k in (1, 3)]
    assert minutes[1] - minutes[0] == pytest.approx(1.92, abs=0.02)
    found = measured.delay
    assert found.low - 10 <= 60 * (minutes[1] - minutes[0]) <= found.high + 10
    assert 85 < found.value < 140
    assert len(measured.delays) == 200 and min(measured.delays) >= 0


def _minutes_until(requests: int) -> float:
    """Expected number of whole minutes until that many requests have come, at one a minute."""
    return float(sum(stats.poisson.cdf(requests - 1, minute) for minute in range(60)))


def test_no_outage_is_missed_with_the_guard(measured: LowTraffic) -> None:
    """An hour of nothing but failures has sixty of them: three are soon there."""
    assert measured.plain_outage.detected == measured.guarded_outage.detected == measured.months
    assert all(math.isfinite(time) for time in measured.guarded_outage.detection_s)
