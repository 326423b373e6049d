"""The figures of the SRE Workbook, chapter 5, come out of the replay: detection, reset and budget at the alert.

Transcribed as facts; 99.9% over 30 days, evaluated each second on one-second buckets of constant traffic, so that a
closed form t = factor x B x L / e is met to the next second.
"""

from datetime import timedelta

import numpy as np
import pytest

from node0lib.alerts.policy import AlertPolicy, BurnAlert, workbook_policy
from node0lib.alerts.replay import BucketSeries, Evaluations, replay_buckets
from node0lib.alerts.timeline import budget_spent, timelines
from node0lib.timespan import parse_duration

MONTH = timedelta(days=30)
SECOND = 1000


def _alert(window: str, burn: float, short: str | None = None, hold: str | None = None) -> BurnAlert:
    wait = parse_duration(hold) if hold else timedelta(0)
    return BurnAlert("a", "critical", parse_duration(window), parse_duration(short or window), burn, wait)


def _fault(before_s: int, length_s: int, after_s: int, share: float, step_s: int = 1) -> BucketSeries:
    """Ten requests a second; the share ``share`` fails for ``length_s`` after ``before_s`` of health."""
    n = (before_s + length_s + after_s) // step_s
    ends = (1 + np.arange(n)) * step_s * SECOND
    bad = (ends > before_s * SECOND) & (ends <= (before_s + length_s) * SECOND)
    return BucketSeries(ends, bad * share * 10.0 * step_s, np.full(n, 10.0 * step_s))


def _times(alert: BurnAlert, series: BucketSeries, objective: float = 0.999, step_s: int = 1) -> np.ndarray:
    """Seconds at which the alert fires."""
    policy = AlertPolicy(objective, MONTH, (alert,))
    evaluations = Evaluations.within(*series.span, step_s * SECOND)
    return evaluations.instants_ms[replay_buckets(policy, series, evaluations)[0]] / SECOND


@pytest.mark.parametrize(
    ("window", "burn", "exact_s"),
    [("10m", 1, 0.6), ("36h", 1, 129.6), ("1h", 36, 129.6), ("1h", 14.4, 51.84)],
)
def test_a_total_outage_is_detected_after_factor_times_budget_times_window(
    window: str, burn: float, exact_s: float
) -> None:
    """Approaches 1, 2, 4 and 6: the first second at which the window's ratio is above the threshold."""
    before = int(parse_duration(window).total_seconds())
    fires = _times(_alert(window, burn), _fault(before, 600, 0, 1.0))
    assert fires[0] - before == np.floor(exact_s) + 1


def test_a_wait_of_an_hour_hides_the_severity() -> None:
    """Approach 3: with for: 1h a total outage is told after an hour, when 139% of the month's budget has gone."""
    alert = _alert("1m", 1, hold="1h")
    series = _fault(600, 4000, 0, 1.0)
    fires = _times(alert, series)
    assert fires[0] - 600 == 3601
    long_series = _fault(600, 4000, 30 * 86_400 - 4600, 1.0, step_s=10)
    shown = timelines(AlertPolicy(0.999, MONTH, (alert,)), [long_series], Evaluations.within(*long_series.span, 10_000))
    assert shown[0].firings[0].budget_spent == pytest.approx(1.3889, abs=0.005)


def test_a_single_long_window_goes_on_for_most_of_an_hour() -> None:
    """Approach 4: after an outage that just tripped it, 36x over an hour stays up for 58 minutes."""
    series = _fault(3600, 130, 4000, 1.0)
    fires = _times(_alert("1h", 36), series)
    assert fires[0] == 3730
    assert round((fires[-1] - fires[0]) / 60) == 58


def test_a_burn_just_under_the_factor_is_never_told() -> None:
    """Approach 4: a 35x burn never alerts at 36x, yet exhausts 30 days' budget in 20.57 hours."""
    series = _fault(3600, 80_000, 30 * 86_400 - 83_600, 0.035, step_s=10)
    assert _times(_alert("1h", 36), series, step_s=10).size == 0
    spent = budget_spent(AlertPolicy(0.999, MONTH, (_alert("1h", 36),)), [series], series.ends_ms)
    gone = series.ends_ms[int(np.argmax(spent >= 1))] / SECOND - 3600
    assert gone / 3600 == pytest.approx(20.57, abs=0.01)


@pytest.mark.parametrize(
    ("window", "burn", "share"),
    [("10m", 1, 0.000231), ("36h", 1, 0.05), ("1h", 14.4, 0.02), ("6h", 6, 0.05), ("24h", 3, 0.1), ("3d", 1, 0.1)],
)
def test_a_factor_is_the_budget_spent_when_it_alerts(window: str, burn: float, share: float) -> None:
    """factor x window / period is the budget that a slow fault has spent when the alert comes."""
    length = int(parse_duration(window).total_seconds())
    series = _fault(length, length, 30 * 86_400 - 2 * length, burn * 0.001 * 1.001, step_s=60)
    policy = AlertPolicy(0.999, MONTH, (_alert(window, burn),))
    (shown,) = timelines(policy, [series], Evaluations.within(*series.span, 60_000))
    assert shown.firings[0].budget_spent == pytest.approx(share, rel=0.01)


def test_one_window_of_ten_minutes_may_alert_144_times_a_day() -> None:
    """Approach 1: a burst of 0.7 s of failures in each ten minutes fires anew each time a window has lost it."""
    ends = (1 + np.arange(86_400)) * SECOND
    bad = np.where(np.arange(ends.size) % 600 == 0, 7.0, 0.0)
    series = BucketSeries(ends, bad, np.full(ends.size, 10.0))
    policy = AlertPolicy(0.999, MONTH, (_alert("599s", 1),))
    (shown,) = timelines(policy, [series], Evaluations.within(*series.span, SECOND))
    assert len(shown.firings) == 144


def test_the_pair_of_figure_5_6_fires_and_stops_with_the_fault() -> None:
    """15% errors for 10 minutes: the pair fires after 5.76 min and stops 5 min after the end, 1h alone an hour."""
    series = _fault(7200, 600, 7200, 0.15)
    pair, alone = _times(_alert("1h", 14.4, "5m"), series), _times(_alert("1h", 14.4), series)
    assert (pair[0] - 7200) / 60 == pytest.approx(5.76, abs=0.03)
    assert 4 < (pair[-1] - 7800) / 60 < 5
    assert (alone[-1] - 7800) / 60 == pytest.approx(54.2, abs=0.1)  # "about 60" in the figure
    assert pair[0] == alone[0]


def test_a_wait_can_hide_a_service_that_is_down_half_of_the_time() -> None:
    """100% errors in 5 of every 10 minutes spend 11.6% of the budget each, and never alert with for: 10m."""
    ends = (1 + np.arange(86_400)) * SECOND
    bad = np.where(np.arange(ends.size) % 600 < 300, 10.0, 0.0)
    series = BucketSeries(ends, bad, np.full(ends.size, 10.0))
    assert _times(_alert("1m", 1, hold="10m"), series).size == 0
    assert _times(_alert("1m", 1), series).size > 0
    month = _fault(600, 300, 30 * 86_400 - 900, 1.0, step_s=10)
    spent = budget_spent(AlertPolicy(0.999, MONTH, (_alert("1m", 1),)), [month], month.ends_ms)
    assert spent.max() == pytest.approx(0.1157, abs=1e-4)


def test_one_failure_in_ten_requests_burns_a_hundredfold() -> None:
    """10 requests an hour and one failure: burn 100 (the text's 1,000 is an erratum), 13.9% of the budget, a page."""
    ends = (1 + np.arange(30 * 240)) * 360 * SECOND
    bad = np.zeros(ends.size)
    bad[3600] = 1.0
    series = BucketSeries(ends, bad, np.ones(ends.size))
    (shown,) = timelines(
        AlertPolicy(0.999, MONTH, (_alert("1h", 99.9),)), [series], Evaluations.within(*series.span, 360_000)
    )
    assert len(shown.firings) == 1
    assert shown.firings[0].budget_spent == pytest.approx(0.139, abs=0.0005)
    assert _times(_alert("1h", 101), series, step_s=360).size == 0
    assert 1 / shown.firings[0].budget_spent == pytest.approx(7.2)


def test_a_page_at_ninety_percent_can_never_fire() -> None:
    """At 90% an hour of total outage spends 1.39% of the budget, so 2% in an hour cannot be reached."""
    series = _fault(3600, 3600, 30 * 86_400 - 7200, 1.0, step_s=10)
    policy = workbook_policy(0.90)
    page = policy.alerts[0]
    assert not page.can_fire(0.90)
    assert _times(page, series, 0.90, step_s=10).size == 0
    assert budget_spent(policy, [series], series.ends_ms).max() == pytest.approx(0.0139, abs=1e-4)


def test_the_recommended_pairs_are_the_workbook_s_table() -> None:
    """Page 1h/5m 14.4 (2%), page 6h/30m 6 (5%), ticket 24h/2h 3 and 3d/6h 1 (10% each)."""
    table = [(a.long, a.short, round(a.factor, 9)) for a in workbook_policy().alerts]
    hours = timedelta(hours=1)
    assert table == [
        (hours, hours / 12, 14.4),
        (6 * hours, hours / 2, 6.0),
        (24 * hours, 2 * hours, 3.0),
        (72 * hours, 6 * hours, 1.0),
    ]


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 25.92), (0.01, 2592.0)])
def test_five_nines_are_gone_before_anybody_wakes(share: float, seconds: float) -> None:
    """At 99.999% a total outage exhausts the month in 25.92 s, one of 1% in 43.2 minutes."""
    series = _fault(60, 6000, 30 * 86_400 - 6060, share, step_s=2)
    policy = workbook_policy(0.99999)
    spent = budget_spent(policy, [series], series.ends_ms)
    gone = series.ends_ms[int(np.argmax(spent >= 1 - 1e-9))] / SECOND - 60
    assert seconds <= gone <= seconds + 2
