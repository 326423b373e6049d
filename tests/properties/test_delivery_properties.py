"""What must hold of every history of weeks, whatever the numbers."""

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from node0lib.dora.forecast import forecast
from node0lib.dora.trends import trend

NUMBERS = st.integers(-50, 50).map(float)
WEEKS = st.lists(st.none() | NUMBERS, max_size=30)
COUNTS = st.lists(st.integers(0, 30).map(float), min_size=9, max_size=30)


@given(WEEKS, st.integers(1, 4))
def test_a_trend_is_always_told_with_its_reason(values: list[float | None], season: int) -> None:
    """Whatever the weeks, there is a verdict with a reason; the slope lies in its interval, p is a probability."""
    found = trend(values, season=season)
    assert found.reason and found.n == sum(value is not None for value in values)
    assert (found.low is None) == (found.high is None)
    if found.slope is not None and found.low is not None and found.high is not None:
        assert found.low <= found.slope <= found.high
    assert found.p is None or 0 < found.p <= 1
    if found.verdict != "no evidence":
        assert found.slope is not None and found.p is not None and found.p < 0.05


@given(WEEKS)
def test_backwards_a_rise_is_a_fall(values: list[float | None]) -> None:
    """Read from the end, or with the sign turned, slope and verdict turn and p stays."""
    found = trend(values)
    turned = {"rising": "falling", "falling": "rising", "no evidence": "no evidence"}[found.verdict]
    for other in (trend(values[::-1]), trend([None if value is None else -value for value in values])):
        assert (other.verdict, other.p, other.n) == (turned, found.p, found.n)
        assert other.slope == (None if found.slope is None else -found.slope)


@given(WEEKS, st.sampled_from([0.25, 2.0, 8.0]), st.integers(-100, 100))
def test_units_do_not_matter(values: list[float | None], factor: float, shift: int) -> None:
    """In other units the verdict is the same and the slope is in the other units; nor do silent weeks around matter."""
    found = trend(values)
    other = trend([None, *(None if value is None else value * factor + shift for value in values), None])
    assert (other.verdict, other.p) == (found.verdict, found.p)
    assert other.slope == (None if found.slope is None else found.slope * factor)


@given(COUNTS, st.integers(1, 12), st.sampled_from(["count", "duration", "share"]))
def test_a_forecast_is_an_interval_or_a_reason(values: list[float], weeks: int, scale: str) -> None:
    """Every forecast has its value within finite ends and its weeks in order, or none and a reason."""
    assume(scale != "share" or max(values) <= 1)
    found = forecast(values, weeks=weeks, scale=scale)  # type: ignore[arg-type]
    assert found.reason and (found.method is None) == (not found.ahead)
    assert [one.week for one in found.ahead] == list(range(1, len(found.ahead) + 1)) and len(found.ahead) <= weeks
    for one in found.ahead:
        assert math.isfinite(one.low) and math.isfinite(one.high) and one.low <= one.high
        assert found.method == "trend" or one.low <= one.value <= one.high


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_a_level_does_not_ask_for_the_order(values: list[float], seed: int) -> None:
    """As long as no trend is shown, weeks in another order forecast the same."""
    mixed = np.random.default_rng(seed).permutation(values).tolist()
    one, other = forecast(values), forecast(mixed)
    if one.method == other.method == "level":
        assert one == other


@given(COUNTS)
def test_more_confidence_is_wider(values: list[float]) -> None:
    """An interval of 80% holds the one of 50%."""
    narrow, wide = forecast(values, level=0.5), forecast(values, level=0.8)
    for inner, outer in zip(narrow.ahead, wide.ahead, strict=False):
        assert outer.low <= inner.low and inner.high <= outer.high
