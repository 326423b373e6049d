"""Live and historical alerts are one: what the gates say at an instant is what the replay says at that minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from node0lib.alerts.past import Past
from node0lib.alerts.policy import fires, policy_of
from node0lib.gates import firing
from node0lib.sli.series import Counts, GoodTotal
from node0lib.slo.budget import SloStatus, status
from node0lib.slo.catalogue import Alerting, AlertPair, BudgetPolicy
from node0lib.slo.objective import Objective

T, MINUTE, MONTH = datetime(2026, 3, 1, tzinfo=UTC), timedelta(minutes=1), timedelta(days=30)
PAIRS = (
    AlertPair("critical", 0.02, timedelta(hours=1), 5 * MINUTE),
    AlertPair("warning", 0.05, timedelta(hours=6), 30 * MINUTE, min_bad=0),
    AlertPair("info", 0.05, timedelta(hours=24), timedelta(hours=2), min_bad=7.5),
)
ALERTING = Alerting(MONTH, 3, PAIRS)
WINDOWS = sorted({w for pair in PAIRS for w in (pair.long, pair.short)} | {MONTH})


def _status(slo: Objective, read: GoodTotal, at: int) -> SloStatus:
    """What a cycle would see after minute ``at``: counts of every window, gaps left out."""

    def counts(window: timedelta) -> Counts:
        first = max(0, at + 1 - window // MINUTE)
        part = GoodTotal(T, MINUTE, read.good[first : at + 1], read.total[first : at + 1])
        found = part.counts()
        return found if found.observed else Counts.nothing("nothing")

    return status(slo, {window: counts(window) for window in WINDOWS}, BudgetPolicy())


def _asked(objective: float, bad: list[int], total: list[int], gap: int) -> tuple[list[list[bool]], list[list[bool]]]:
    """Return which pairs fire at some minutes, by the gates and by the replay."""
    slo = Objective("api", "ratio", objective, MONTH)
    every = np.repeat(np.array(total, dtype=np.float64), 40)
    failed = np.minimum(every, np.repeat(np.array(bad, dtype=np.float64), 40))
    every[gap * 40 : gap * 40 + 25] = np.nan
    read = GoodTotal(T, MINUTE, every - failed, every)
    past = Past(read, T, T + every.size * MINUTE)
    replayed, _ = past.replay(policy_of(objective, ALERTING))
    instants = range(3, every.size, 17)
    live = [{(a.pair.long, a.pair.short) for a in firing([_status(slo, read, at)], ALERTING)} for at in instants]
    gates = [[(pair.long, pair.short) in found for pair in PAIRS] for found in live]
    return gates, [[bool(replayed[row, at]) for row in range(len(PAIRS))] for at in instants]


@given(
    st.sampled_from([0.5, 0.535, 0.556, 0.9, 0.95, 0.99, 0.999]),
    st.lists(st.integers(0, 60), min_size=8, max_size=8),
    st.lists(st.integers(0, 60), min_size=8, max_size=8).filter(any),
    st.integers(0, 7),
)
@example(0.99, [0, 20, 0, 1, 0, 0, 3, 0], [40] * 8, 5)
@example(0.999, [0, 0, 1, 0, 0, 40, 0, 0], [40] * 8, 3)
def test_the_gates_say_what_the_replay_says(objective: float, bad: list[int], total: list[int], gap: int) -> None:
    """At every looked-at minute the same pairs fire, with gaps, silence, guards and any traffic."""
    if gap == total.index(next(n for n in total if n)) and sum(map(bool, total)) == 1:
        total = [1] * 8
    gates, replayed = _asked(objective, bad, total, gap)
    assert gates == replayed


def test_a_tie_is_a_tie_for_both() -> None:
    """279 of 400 at 0.535 burn exactly 1.5: divided by the budget it would fire, the emitted rules say it does not."""
    slo, pair = Objective("a", "ratio", 0.535, MONTH), AlertPair("critical", 0.05, timedelta(days=1), timedelta(days=1))
    counts = Counts(400 - 279, 400, 1.0)
    seen = status(slo, {MONTH: counts, timedelta(days=1): counts}, BudgetPolicy())
    alerting = Alerting(MONTH, 0, (pair,))
    threshold = pair.factor(MONTH) * (1 - 0.535)
    by_ratio, by_burn = threshold < 279 / 400, seen.burn["1d"] > pair.factor(MONTH)
    assert by_ratio != by_burn, "this case tells the two apart"
    policy = policy_of(0.535, alerting)
    read = GoodTotal(T, timedelta(days=1), np.array([121.0]), np.array([400.0]))
    replayed, _ = Past(read, T, T + timedelta(days=1)).replay(policy)
    assert bool(firing([seen], alerting)) is bool(replayed[0, 0]) is by_ratio


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 100), st.floats(0, 1, exclude_min=True), st.floats(0, 50))
def test_the_condition_is_strict_and_needs_all_of_it(
    short: float, long: float, bad: float, threshold: float, guard: float
) -> None:
    """Both ratios above, enough bad events; a ratio at the threshold or unknown fires nothing."""
    assert fires(short, long, bad, threshold, guard) is (short > threshold and long > threshold and bad >= guard)
    assert not fires(threshold, long, bad, threshold, guard)
    assert not fires(short, float("nan"), bad, threshold, guard)
