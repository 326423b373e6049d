"""Trends, forecasts and targets against other reckonings: every order counted, SciPy's answers, simulated histories."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from node0lib.dora import enough
from node0lib.dora.bounds import ONE_SIDED, share_bounds
from node0lib.dora.forecast import Scale, forecast
from node0lib.dora.rank_sums import extreme, improbable
from node0lib.dora.trends import trend
from node0lib.simulate.delivery import KINDS
from node0lib.simulate.delivery_trials import trials


def score(values: tuple[float, ...]) -> int:
    """Kendall's S by its definition."""
    return sum((b > a) - (b < a) for a, b in itertools.combinations(values, 2))


@pytest.mark.parametrize("group", [(1, 1, 1, 1), (2, 2), (3, 1, 2), (1, 1, 2, 2), (4,), (1, 1, 1, 1, 1, 2)])
def test_every_order_is_counted(group: tuple[int, ...]) -> None:
    """The probability of S is the share of all orders that have one at least as large, ties or not."""
    values = [float(value) for value, equal in enumerate(group) for _ in range(equal)]
    counts = Counter(map(score, itertools.permutations(values)))
    for asked in range(max(counts) + 1):
        share = sum(count for found, count in counts.items() if abs(found) >= asked) / counts.total()
        assert extreme(asked, (group,)) == pytest.approx(share, rel=1e-12)


def test_seasons_are_counted_together() -> None:
    """With two seasons the probability is that over all pairs of orders."""
    orders = [score(order) for order in itertools.permutations((1.0, 2.0, 3.0, 4.0))]
    sums = [a + b for a in orders for b in orders]
    for asked in range(13):
        share = sum(abs(found) >= asked for found in sums) / len(sums)
        assert extreme(asked, ((1,) * 4, (1,) * 4)) == pytest.approx(share, rel=1e-12)


def test_the_test_is_scipys_without_ties() -> None:
    """Slope and p are those of theilslopes and kendalltau, which is exact without ties; gaps keep their places."""
    rng = np.random.default_rng(3)
    for n in range(5, 34):
        values = rng.normal(size=n).tolist()
        values[2] = None
        weeks = np.flatnonzero([value is not None for value in values])
        known = np.array([value for value in values if value is not None])
        found = trend(values)
        assert found.slope == pytest.approx(stats.theilslopes(known, weeks).slope)
        assert found.p == pytest.approx(stats.kendalltau(weeks, known, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize(("group", "near"), [((1,) * 104, 0.001), ((60, 30, 10, 4), 0.001), ((100, 4), 0.005)])
def test_many_weeks_go_over_into_the_normal_distribution(group: tuple[int, ...], near: float) -> None:
    """The approximation that takes over above 120 weeks is as near to the exact p about 5% as the module says."""
    n = sum(group)
    spread = math.sqrt((n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in group)) / 18)
    middle = improbable((group,), 0.05)
    assert middle is not None and extreme(middle, (group,)) < 0.05 <= extreme(middle - 2, (group,))
    for asked in range(middle - 20, middle + 21, 2):
        assert extreme(asked, (group,)) == pytest.approx(2 * stats.norm.sf((asked - 1) / spread), abs=near)
    least = improbable(((1,) * 121,), 0.05)
    assert least is not None and extreme(least, ((1,) * 121,)) < 0.05 <= extreme(least - 2, ((1,) * 121,))


def test_the_interval_leaves_out_zero_exactly_if_a_trend_is_shown() -> None:
    """Without ties interval and test agree, at every number of weeks."""
    rng = np.random.default_rng(4)
    for n in range(5, 70):
        found = trend((rng.normal(size=n) + 0.03 * np.arange(n)).tolist())
        assert found.low is not None and found.high is not None and found.p is not None
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05) == (found.verdict != "no evidence")


@pytest.mark.parametrize("weeks", [5, 8, 12, 26])
def test_slopes_are_covered(weeks: int) -> None:
    """The interval of the slope holds the true one in at least 95% of simulated histories (less what luck takes)."""
    rng = np.random.default_rng(weeks)
    found = [trend((rng.standard_t(3, weeks) - 0.2 * np.arange(weeks)).tolist()) for _ in range(400)]
    held = sum(one.low is not None and one.high is not None and one.low <= -0.2 <= one.high for one in found)
    assert held >= stats.binom.ppf(0.001, 400, 0.95)


@pytest.mark.parametrize("weeks", [6, 12, 26])
def test_steady_weeks_have_false_trends_in_one_of_twenty_at_most(weeks: int) -> None:
    """Counts, shares of few, and long-tailed times: at most 5% of steady histories show a trend, ties and all."""
    rng = np.random.default_rng(weeks)
    draws = (lambda: rng.poisson(2, weeks), lambda: rng.binomial(8, 0.1, weeks) / 8, lambda: rng.lognormal(9, 1, weeks))
    for draw in draws:
        false = sum(trend(draw().tolist()).verdict != "no evidence" for _ in range(400))
        assert false <= stats.binom.ppf(0.999, 400, 0.05)


def test_steady_teams_have_false_trends_in_one_of_twenty_at_most() -> None:
    """From events to verdict, every metric of simulated steady teams, large and small, holds the promised 5%."""
    for kind, histories in (("steady", 50), ("small team", 80)):
        found = trials(KINDS[kind], weeks=16, histories=histories, seed=5, ahead=1)
        for name, one in found.metrics.items():
            assert one.rising + one.falling <= stats.binom.ppf(0.999, histories, 0.05), (kind, name)


def test_a_trend_that_is_there_is_found() -> None:
    """Lead times that fall to a third in half a year are seen to in nearly every history, and never to rise."""
    found = trials(KINDS["improving"], weeks=26, histories=12, seed=6, ahead=1).metrics["change_lead_time"]
    assert found.falling >= 11 and found.rising == 0


def test_a_rhythm_is_no_trend_if_its_season_is_named() -> None:
    """Eight weeks of a rhythm of two: the rise hides in the rhythm, and shows among weeks of one season."""
    rhythm = [1.0, 9.0] * 4
    assert trend(rhythm, season=2).reason == "in 8 weeks as much rises as falls"
    risen = [value + 0.5 * week for week, value in enumerate(rhythm)]
    assert trend(risen).verdict == "no evidence" and trend(risen, season=2).verdict == "rising"
    assert trend(risen, season=2).slope == 0.5


@pytest.mark.parametrize(("weeks", "level"), [(9, 0.8), (12, 0.8), (19, 0.9), (26, 0.8), (39, 0.95)])
def test_forecasts_of_steady_weeks_hold_what_they_say(weeks: int, level: float) -> None:
    """Counts and times of steady teams: the coming week lies within the interval at least as often as promised.

    The 5% in which a trend is seen that is not there may cost a little; luck is allowed for besides.
    """
    rng = np.random.default_rng(weeks)
    draws: dict[Scale, np.ndarray] = {
        "count": rng.negative_binomial(5, 0.4, (400, weeks + 1)).astype(float),
        "duration": rng.lognormal(9, 0.6, (400, weeks + 1)),
    }
    for scale, drawn in draws.items():
        held = 0
        for *past, coming in drawn.tolist():
            one = forecast(past, weeks=1, level=level, scale=scale)
            held += not one.ahead or one.ahead[0].low <= coming <= one.ahead[0].high
        assert held >= stats.binom.ppf(0.001, 400, level - 0.01)


@pytest.mark.parametrize("far", [1, 4])
def test_forecasts_along_a_line_hold_about_what_they_say(far: int) -> None:
    """Where a trend is shown the jackknife's interval covers about its level (72% with luck), next week and in four."""
    rng = np.random.default_rng(far)
    slope = 0.05 * np.arange(24 + far)
    draws: dict[Scale, np.ndarray] = {
        "count": rng.poisson(8 * np.exp(slope), (200, 24 + far)).astype(float),
        "duration": 9000 * rng.lognormal(-slope, 0.4, (200, 24 + far)),
    }
    for scale, drawn in draws.items():
        found = [(forecast(row[:24], weeks=far, scale=scale), row[-1]) for row in drawn.tolist()]
        lines = [(one.ahead[-1], coming) for one, coming in found if one.method == "trend"]
        assert len(lines) > 150
        assert sum(one.low <= coming <= one.high for one, coming in lines) / len(lines) > 0.72


@pytest.mark.parametrize("target", [0.05, 0.15, 0.3])
def test_what_shows_a_target_is_what_the_bounds_say(target: float) -> None:
    """Most and least failures are those at which the exact one-sided bounds change their mind, for every n to 150."""
    n = np.arange(1, 151)
    most, least = enough.most_failures(n, target), enough.least_failures(n, target)
    for size, kept, missed in zip(n.tolist(), most.tolist(), least.tolist(), strict=True):
        low, high = share_bounds(np.arange(size + 1), np.full(size + 1, size), ONE_SIDED)
        assert kept == max(np.flatnonzero(high <= target).tolist(), default=-1)
        assert missed == min(np.flatnonzero(low > target).tolist(), default=size + 1)


def test_fifty_nine_deployments_show_at_most_five_percent() -> None:
    """The published numbers of failure-free trials at 95%: 59 for 5%, 29 for 10%, 299 for 1%, 14 for 20%."""
    assert [enough.deployments_needed(0, share) for share in (0.05, 0.1, 0.01, 0.2)] == [59, 29, 299, 14]
    assert [math.ceil(math.log(0.05) / math.log(1 - share)) for share in (0.05, 0.1, 0.01, 0.2)] == [59, 29, 299, 14]


def test_the_chance_to_show_a_target_is_reckoned_and_never_at_the_target() -> None:
    """A team at 2% shows "at most 5%" with 80% from 286 deployments on; one at 5% in at most 5% of cases."""
    assert enough.deployments_for(0.02, 0.05) == 286
    assert enough.chance(np.arange(286, 400), 0.02, 0.05).min() >= 0.8 > enough.chance(np.array([285]), 0.02, 0.05)[0]
    assert enough.chance(np.arange(1, 2000), 0.05, 0.05).max() <= 0.05
    assert enough.deployments_for(0.05, 0.05) is None
