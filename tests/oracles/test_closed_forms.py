"""Closed forms against the replay: on steady traffic the alert comes and goes at the next evaluation, over a grid.

The Workbook's own numbers (chapter 5) come first: they are transcribed as facts.
"""

from datetime import timedelta

import numpy as np
import pytest

from node0lib.alerts.closed_forms import detection, exhaustion, reset, spent_at_alert
from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert, workbook_policy
from node0lib.alerts.replay import BucketSeries, Evaluations, replay_buckets
from node0lib.alerts.timeline import budget_spent
from node0lib.errors import ConfigError

STEP = 20
STEP_MS = STEP * 1000
HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
PAGE = BurnAlert("page", "critical", HOUR, HOUR / 12, 14.4)
TICKET = BurnAlert("ticket", "warning", 6 * HOUR, HOUR / 2, 6.0)
ALONE = BurnAlert("alone", "critical", HOUR, HOUR, 36.0)
WAITS = BurnAlert("waits", "critical", HOUR, HOUR / 12, 14.4, timedelta(minutes=2))
GRID = [
    (alert, objective, error, floor)
    for alert in (PAGE, TICKET, ALONE, WAITS)
    for objective in (0.999, 0.99)
    for error in (0.01, 0.0144, 0.03, 0.2, 0.7, 1.0)
    for floor in (0.0, 0.0004)
]


def _firing(alert: BurnAlert, objective: float, error: float, floor: float, length: timedelta) -> np.ndarray:
    """Seconds since a fault began at which the alert fires; the windows are full of the floor before it."""
    before, steps = 6 * 3600 // STEP, int(length.total_seconds()) // STEP
    ratio = np.full(before + steps + 7 * 3600 // STEP, floor)
    ratio[before : before + steps] = error
    ends = (1 + np.arange(ratio.size)) * STEP_MS
    series = BucketSeries(ends, ratio * 1e4, np.full(ratio.size, 1e4))
    policy = AlertPolicy(objective, MONTH, (alert,))
    fires = replay_buckets(policy, series, Evaluations.within(*series.span, STEP_MS))[0]
    return (np.flatnonzero(fires) + 1 - before) * float(STEP)


def _next(seconds: float) -> tuple[float, float]:
    """The evaluations that may be the first strictly after it, where rounding can tell."""
    return seconds - 1e-3, seconds + STEP + 1e-3


@pytest.mark.parametrize(("alert", "objective", "error", "floor"), GRID)
def test_the_alert_comes_at_the_next_evaluation(
    alert: BurnAlert, objective: float, error: float, floor: float
) -> None:
    """Detection within a step of the closed form, or never where that says so; with floors and a for."""
    told = detection(alert, 1 - objective, error, floor=floor)
    fires = _firing(alert, objective, error, floor, 7 * HOUR)
    if told is None:
        assert fires.size == 0
        return
    low, high = _next(told.total_seconds())
    assert low <= fires[0] <= high + (STEP if alert.hold else 0)  # the wait begins at an evaluation, too


@pytest.mark.parametrize("length", [timedelta(minutes=3), timedelta(minutes=10), HOUR, 5 * HOUR])
@pytest.mark.parametrize(("alert", "objective", "error", "floor"), GRID[::2] + GRID[1::4])
def test_the_alert_goes_with_the_short_window(
    alert: BurnAlert, objective: float, error: float, floor: float, length: timedelta
) -> None:
    """Reset within a step of the closed form, whatever the fault's length; nothing where the fault is too short."""
    over = reset(alert, 1 - objective, error, length, floor=floor)
    fires = _firing(alert, objective, error, floor, length)
    if over is None:
        assert fires.size == 0 or _on_the_edge(alert, objective, error, floor, length)
        return
    low, high = over.total_seconds() - STEP - 1e-3, over.total_seconds() + 1e-3
    assert low <= fires[-1] - length.total_seconds() <= high or _on_the_edge(alert, objective, error, floor, length)


def _on_the_edge(alert: BurnAlert, objective: float, error: float, floor: float, length: timedelta) -> bool:
    """Whether the fault ends within two steps of being told: evaluations decide then, not the closed form."""
    told = detection(alert, 1 - objective, error, floor=floor)
    over = reset(alert, 1 - objective, error, 100 * HOUR, floor=floor)
    if told is None or over is None:
        return False
    longest = length + (over if alert.hold else timedelta(0))
    return abs((told - longest).total_seconds()) <= 2 * STEP


@pytest.mark.parametrize(
    ("window", "factor", "seconds"),
    [(600, 1.0, 0.6), (129_600, 1.0, 129.6), (3600, 36.0, 129.6), (3600, 14.4, 51.84)],
)
def test_the_workbook_s_detection_times(window: int, factor: float, seconds: float) -> None:
    """A total outage at 99.9%: approaches 1, 2, 4 and 6."""
    length = timedelta(seconds=window)
    alert = BurnAlert("a", "critical", length, length, factor)
    assert detection(alert, 0.001, 1.0) / timedelta(seconds=1) == pytest.approx(seconds, rel=1e-6)


def test_the_workbook_s_reset_times() -> None:
    """36x over an hour goes on for 58 minutes; figure 5-6: 5.76 minutes to fire, about 5 and about an hour to stop."""
    minute, ten = timedelta(minutes=1), timedelta(minutes=10)
    assert round(reset(ALONE, 0.001, 1.0, timedelta(seconds=130)) / minute) == 58
    assert detection(PAGE, 0.001, 0.15) / minute == pytest.approx(5.76)
    assert 4 < reset(PAGE, 0.001, 0.15, ten) / minute < 5
    alone = BurnAlert("alone", "critical", HOUR, HOUR, 14.4)
    assert reset(alone, 0.001, 0.15, ten) / minute == pytest.approx(54.24)


@pytest.mark.parametrize(("burn", "days"), [(1, 30), (2, 15), (10, 3), (1000, 0.03)])
def test_the_workbook_s_exhaustion_times(burn: float, days: float) -> None:
    """Burn 1, 2, 10 and 1,000: 30, 15, 3 days and 43.2 minutes; and no burn never exhausts anything."""
    assert exhaustion(0.001, burn * 0.001, MONTH) / timedelta(days=1) == pytest.approx(days)
    assert exhaustion(0.001, 0.0, MONTH) is None


@pytest.mark.parametrize("objective", [0.9, 0.95, 0.999, 0.99999])
def test_the_budget_at_the_alert_is_the_table_s(objective: float) -> None:
    """2%, 5%, 10% and 10%, however big the fault, or None where the alert can never fire."""
    for alert, share in zip(workbook_policy(objective).alerts, (0.02, 0.05, 0.1, 0.1), strict=True):
        found = [spent_at_alert(alert, 1 - objective, error, MONTH) for error in (0.3, 1.0)]
        can = [alert.factor * (1 - objective) < error for error in (0.3, 1.0)]
        assert [value is not None for value in found] == can
        assert [value for value in found if value is not None] == pytest.approx([share] * sum(can), rel=1e-3)


def test_what_is_spent_is_what_the_replay_counts() -> None:
    """Half of the requests fail: at the page's onset the timeline's budget is the closed form's, to a step's worth."""
    before, steps = 15 * 24 * 180, 360
    ratio = np.zeros(30 * 24 * 180)
    ratio[before : before + steps] = 0.5
    series = BucketSeries((1 + np.arange(ratio.size)) * STEP_MS, ratio * 1e4, np.full(ratio.size, 1e4))
    policy = AlertPolicy(0.999, MONTH, (PAGE,))
    evaluations = Evaluations.within(*series.span, STEP_MS)
    onset = int(replay_buckets(policy, series, evaluations)[0].argmax())
    spent = budget_spent(policy, [series], evaluations.instants_ms)[onset]
    closed = spent_at_alert(PAGE, 0.001, 0.5, MONTH)
    assert closed <= spent <= closed + 0.5 * STEP / (0.001 * MONTH.total_seconds()) * 1.001


def test_a_ratio_on_the_threshold_is_never_told() -> None:
    """Comparisons are strict: at 8 x 1/8 a total outage is exactly on the threshold, and so it is for the replay."""
    edge = BurnAlert("edge", "critical", HOUR, HOUR / 12, 8.0)
    assert detection(edge, 0.125, 1.0) is reset(edge, 0.125, 1.0, HOUR) is None
    assert _firing(edge, 0.875, 1.0, 0.0, 2 * HOUR).size == 0
    assert detection(BurnAlert("under", "critical", HOUR, HOUR, 7.999), 0.125, 1.0) is not None


def test_a_wait_may_outlast_the_fault() -> None:
    """With for: 2m a fault that ends a minute after being seen is told only as long as the short window keeps it."""
    sharp = detection(PAGE, 0.001, 1.0)
    length = sharp + timedelta(minutes=1)
    assert reset(WAITS, 0.001, 1.0, length) is not None
    longer = BurnAlert("longer", "critical", HOUR, HOUR / 12, 14.4, timedelta(minutes=10))
    assert reset(longer, 0.001, 1.0, length) is None


def test_what_cannot_be_is_refused() -> None:
    """Ratios outside [0, 1], a budget that is none, and a floor on which the alert fires always."""
    for wrong in (
        lambda: detection(PAGE, 0.001, 1.5),
        lambda: detection(PAGE, 0.001, 0.5, floor=-0.1),
        lambda: detection(PAGE, 0.0, 0.5),
        lambda: exhaustion(1.0, 0.5, MONTH),
    ):
        with pytest.raises(ConfigError, match="must lie"):
            wrong()
    with pytest.raises(ConfigError, match="page fires always"):
        reset(PAGE, 0.001, 0.5, HOUR, floor=0.02)


def test_named_policies_are_told_too() -> None:
    """Pyrra's for of two minutes adds itself to the detection of its first window."""
    first = named_policies(0.999, timedelta(days=28))["pyrra"].alerts[0]
    assert detection(first, 0.001, 1.0) == 0.014 * HOUR + timedelta(minutes=2)
