"""Forecasts that can be reckoned by hand, and those that are refused with a reason."""

import pytest

from node0lib.dora import enough
from node0lib.dora.forecast import Forecast, forecast, weeks_needed
from node0lib.dora.trends import trend
from node0lib.errors import ConfigError


def test_a_level_is_bounded_by_order_statistics() -> None:
    """Without a trend every coming week lies between the k-th lowest and highest; the median is likely."""
    found = forecast([7, 3, 9, 4, 8, 2, 6, 5, 10], weeks=3)
    assert [(one.week, one.low, one.value, one.high) for one in found.ahead] == [(w, 2.0, 6.0, 10.0) for w in (1, 2, 3)]
    assert (found.method, found.n) == ("level", 9)
    values = [5, 1, 4, 2, 6, 3, 9, 7, 8, 10, 0, 11, 5, 6, 4, 7, 3, 8, 2]
    assert (forecast(values).ahead[0].low, forecast(values).ahead[0].high) == (1.0, 10.0)


@pytest.mark.parametrize(("level", "needed"), [(0.5, 3), (0.8, 9), (0.9, 19), (0.95, 39)])
def test_a_level_needs_its_weeks(level: float, needed: int) -> None:
    """One week fewer than the level needs is no forecast, and the reason says how many there must be."""
    assert weeks_needed(level) == needed
    weeks = [float(5 + (week * 7) % 4) for week in range(needed)]
    assert forecast(weeks, level=level).ahead
    less = forecast(weeks[1:], level=level)
    assert less.ahead == () and less.method is None
    assert less.reason.startswith(f"cannot forecast: {needed - 1} weeks of data") and f"needs {needed}" in less.reason


def test_three_weeks_are_too_few() -> None:
    """Three weeks of data, and no data at all, are answered with what is missing."""
    assert forecast([3, 4, 5]).reason.startswith("cannot forecast: 3 weeks of data")
    assert forecast([]).reason.startswith("cannot forecast: 0 weeks of data")
    assert forecast([None, 2.0, None]).reason.startswith("cannot forecast: 1 week of data")


def test_a_line_goes_on_and_no_further_than_a_third() -> None:
    """A shown trend is carried on for a third of its weeks; on a perfect line the interval is the line."""
    found = forecast([10.0 + 2 * week for week in range(12)], weeks=9, scale="share")
    assert (found.method, len(found.ahead)) == ("trend", 4)
    assert found.reason == "the weeks are rising: the line goes on; not further than a third of 12 weeks"
    line = forecast([0.1 + 0.02 * week for week in range(12)], weeks=2, scale="share").ahead
    for one, expected in zip(line, (0.34, 0.36), strict=True):
        assert (one.low, one.value, one.high) == pytest.approx((expected,) * 3)


def test_a_short_line_is_not_carried_on() -> None:
    """A trend that is shown in 9 weeks makes them unlike each other, and is too short to go on."""
    found = forecast([float(week) for week in range(9)])
    assert found.ahead == () and found.reason.endswith("a line goes on only if seen in 12; there are 9")


def test_intervals_stay_within_what_can_be() -> None:
    """Falling counts end at 0 and are whole, falling times stay above 0, rising shares end at 1."""
    weeks = range(15)
    counts = forecast([float(max(0, 30 - 2 * week)) for week in weeks], weeks=5).ahead
    assert all(0 <= one.low <= one.value <= one.high and one.low % 1 == one.high % 1 == 0 for one in counts)
    times = forecast([86_400 * 0.5**week for week in weeks], weeks=5, scale="duration").ahead
    assert all(0 < one.low <= one.high for one in times)
    assert forecast([week / 14 for week in weeks], weeks=5, scale="share").ahead[-1].high == 1.0


def test_weeks_without_a_number_keep_their_place() -> None:
    """A line is seen in the weeks that have a number, and the next week is counted from the last one given."""
    holes = [None if week % 5 == 3 else 0.1 + 0.01 * week for week in range(20)]
    (one,) = forecast(holes, weeks=1, scale="share").ahead
    assert one.value == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"weeks": 0}, "0 weeks ahead"), ({"level": 1.0}, "level of a forecast is 1"), ({"level": 0.0}, "is 0")],
)
def test_senseless_questions_are_refused(given: dict[str, float], said: str) -> None:
    """No week ahead and levels that are no share are refused, saying what to give."""
    with pytest.raises(ConfigError, match=said):
        forecast([1.0] * 30, **given)  # type: ignore[arg-type]


def test_no_evidence_has_a_reason() -> None:
    """Too few weeks, equal weeks, balanced weeks and chance are told apart."""
    assert trend([]).reason == "0 weeks with a number: there is nothing to compare"
    assert trend([1.0]).reason == "1 week with a number: there is nothing to compare"
    assert "fewer than 5" in trend([1.0, 2.0, 3.0, 4.0]).reason
    assert trend([2.0] * 8).reason == "all 8 weeks are equal"
    assert trend([1.0, 2.0, 3.0, 2.0, 1.0]).reason == "in 5 weeks as much rises as falls"
    rare = trend([0.0] * 12 + [1.0, 1.0, 2.0])
    assert rare.verdict == "no evidence" and rare.reason.endswith("so many are equal that the middle slope is 0")
    assert trend([1.0, 3.0, 2.0, 5.0, 4.0, 3.5]).reason == "chance alone orders 6 weeks so, or more so, in 27% of cases"
    assert "in seasons of 4 no order" in trend([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], season=4).reason


def test_neighbours_that_resemble_each_other_are_told() -> None:
    """A trend found in weeks that drift slowly comes with that doubt; one with independent noise does not."""
    slow = [float(x) for x in (1, 2, 3, 4, 4, 3, 2, 1, 2, 4, 6, 8, 9, 9, 8, 7, 6, 7, 9, 11)]
    found = trend(slow)
    assert found.verdict == "rising" and "resemble" in found.reason
    noisy = [week + (3.0 if week % 2 else -3.0) for week in range(20)]
    assert trend(noisy).verdict == "rising" and "resemble" not in trend(noisy).reason


def test_a_line_has_values() -> None:
    """The line of a trend is its start and slope; without one there is none. A season under 1 is refused."""
    found = trend([1.0, 3.0, 5.0, 7.0, 9.0])
    assert (found.slope, found.at(0), found.at(6)) == (2.0, 1.0, 13.0)
    assert trend([]).at(1) is None
    with pytest.raises(ConfigError, match="season"):
        trend([1.0], season=0)


@pytest.mark.parametrize(
    "ask",
    [lambda: enough.deployments_needed(0, 0.0), lambda: enough.deployments_needed(-1, 0.05),
     lambda: enough.deployments_for(1.0, 0.05), lambda: enough.deployments_for(0.01, 0.05, 1.0)],
)  # fmt: skip
def test_targets_that_are_no_shares_are_refused(ask: object) -> None:
    """Targets, rates and chances outside their range are refused."""
    with pytest.raises(ConfigError):
        ask()  # type: ignore[operator]


def test_a_forecast_says_what_it_rests_on() -> None:
    """The value is frozen and equal for equal input."""
    assert forecast([1.0] * 9) == forecast([1.0] * 9)
    assert isinstance(forecast([1.0] * 9), Forecast)
