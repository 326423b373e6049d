"""Dominance and the Pareto front, whatever was measured."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from node0lib.alerts.policy import workbook_policy
from node0lib.alerts.search import Goals, Scored, dominates, front, meets
from node0lib.sli.intervals import Estimate

POLICY = workbook_policy()
ENOUGH = 1.0


LEVELS = (0.0, 1.0, 2.0, 3.0, math.inf)
SURE = Estimate(1.0, 1.0, 1.0)


def _estimate(levels: list[int], known: tuple[bool, bool]) -> Estimate:
    low, value, high = (LEVELS[n] for n in sorted(levels))
    return Estimate(value, low if known[0] else None, high if known[1] else None)


ANY = st.builds(
    _estimate,
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.sampled_from([*[(True, True)] * 6, (False, True), (True, False)]),
)
"""Any value with any interval around it, with ends that are not known, and never."""
ALIKE = st.just(SURE) | st.sampled_from([Estimate(v, v, v) for v in LEVELS[:4]]) | ANY
RATES = ALIKE.filter(lambda one: math.isfinite(one.value))
RESETS, TICKETS = st.just(SURE) | st.none(), st.just(SURE) | ALIKE
POLICIES = st.builds(Scored, st.just(POLICY), ALIKE, RATES, RATES | st.none(), RESETS, TICKETS)
"""Policies that are alike in much, so that some dominate others."""
MANY = st.lists(POLICIES, min_size=1, max_size=12)


def _beyond(estimate: Estimate) -> Estimate:
    """What is higher than all of the interval."""
    sure = 1.0 + max(estimate.value, estimate.high or 0.0)
    return Estimate(sure, sure, sure)


@given(MANY)
def test_the_front_is_what_nobody_dominates(many: list[Scored]) -> None:
    """Members do not dominate each other, and everything else is dominated by a member."""
    members = front(many, ENOUGH)
    assert members
    assert not any(dominates(one, other, ENOUGH) for one in members for other in members)
    kept = {id(one) for one in members}
    for other in many:
        if id(other) not in kept:
            assert any(dominates(one, other, ENOUGH) for one in members)


@given(MANY)
def test_dominance_is_a_strict_order(many: list[Scored]) -> None:
    """Nobody dominates itself, and who dominates a dominator dominates too: there are no circles."""
    below = {n: {m for m, other in enumerate(many) if dominates(one, other)} for n, one in enumerate(many)}
    for n, dominated in below.items():
        assert n not in dominated
        assert all(below[m] <= dominated for m in dominated)


@given(MANY, st.integers(0, 11))
def test_a_dominated_candidate_changes_nothing(many: list[Scored], number: int) -> None:
    """Adding what somebody dominates leaves the front as it was."""
    best = many[number % len(many)]
    more = replace(best, false_pages=_beyond(best.false_pages))
    assume(dominates(best, more, ENOUGH))
    assert front([*many, more], ENOUGH) == front(many, ENOUGH)
    assert front([more, *many], ENOUGH) == front(many, ENOUGH)


@given(MANY.flatmap(lambda many: st.tuples(st.just(many), st.permutations(many))))
def test_the_order_of_candidates_does_not_matter(both: tuple[list[Scored], list[Scored]]) -> None:
    """A permutation has the same members."""
    one, other = (front(many, ENOUGH) for many in both)
    assert sorted(map(id, one)) == sorted(map(id, other))


@given(POLICIES, POLICIES, st.sampled_from([0.0, 1.0, 2.0]))
def test_goals_are_kept_by_what_dominates(one: Scored, other: Scored, limit: float) -> None:
    """Who meets the goals is dominated only by who meets them: a search for the front loses no good policy."""
    goals = Goals(false_pages=limit, recall=0.5)
    if dominates(one, other, goals.enough) and meets(goals, other):
        assert meets(goals, one)
