"""What holds of every judge, whatever the data."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.canary.arms import Counts, Measured, Samples
from node0lib.canary.kayenta import classify, mean_inequality
from node0lib.canary.kayenta_config import Analysis
from node0lib.canary.mannwhitney import cles, statistic
from node0lib.canary.plan import Asked, fixed, to_pass
from node0lib.canary.sequential import Evidence, Tally, judge
from node0lib.canary.threshold import compare
from node0lib.canary.verdict import JUDGES, Comparison, Ihsan, JudgeName, Ordered, judged

ARM = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
LOOKS = st.lists(st.tuples(ARM, ARM), min_size=2, max_size=8).map(
    lambda pairs: tuple(Tally((a[0], b[0]), (a[1], b[1])) for a, b in pairs)
)
VALUES = st.lists(st.integers(0, 50).map(float), min_size=1, max_size=30)
SOME: st.SearchStrategy[list[float]] = st.one_of(VALUES, st.just([]), st.just([math.nan]))
MIRROR = {"High": "Low", "Low": "High", "Pass": "Pass", "Error": "Error"}


@given(LOOKS, st.sampled_from(JUDGES))
@settings(max_examples=60, deadline=None)
def test_a_judge_is_deterministic(looks: tuple[Tally, ...], name: str) -> None:
    """The same data give the same verdict, to the last digit."""
    comparison = Comparison((Measured("errors", Counts(looks), margin=1.05),))
    assert judged(name, comparison) == judged(name, comparison)  # type: ignore[arg-type]


@given(SOME, SOME, st.sampled_from(JUDGES))
@settings(max_examples=60, deadline=None)
def test_an_arm_without_numbers_is_no_data(control: list[float], canary: list[float], name: str) -> None:
    """No judge passes or fails an arm that is empty or NaN only, and all give some verdict otherwise."""
    metric = Measured("s", Samples(tuple(control), tuple(canary)), margin=1.05, threshold=25.0)
    found = judged(name, Comparison((metric,))).kind  # type: ignore[arg-type]
    if any(not arm or math.isnan(arm[0]) for arm in (control, canary)):
        assert found == "no_data"
    elif name != "kayenta":  # Kayenta cannot rank a single point an arm
        assert found != "no_data"


@given(LOOKS, LOOKS, st.sampled_from(JUDGES))
@settings(max_examples=60, deadline=None)
def test_more_data_never_become_no_data(first: tuple[Tally, ...], more: tuple[Tally, ...], name: str) -> None:
    """A verdict may change as looks are added, but what had data goes on having some."""
    kinds = [
        judged(name, Comparison((Measured("e", Counts(looks), margin=1.05),))).kind  # type: ignore[arg-type]
        for looks in (first, first + more)
    ]
    assert kinds[0] == "no_data" or kinds[1] != "no_data"


@given(LOOKS, st.floats(0.01, 0.99), st.floats(0, 100), st.sampled_from(JUDGES))
@settings(max_examples=60, deadline=None)
def test_the_checks_beside_the_metrics_only_forbid(
    looks: tuple[Tally, ...], share: float, score: float, name: JudgeName
) -> None:
    """A wrong share is no data, a low score a failure; nothing else ever comes of them."""
    plain = Comparison((Measured("errors", Counts(looks), margin=1.05),))
    alone = judged(name, plain).kind
    shared = judged(name, replace(plain, ordered=Ordered(share))).kind
    assert shared in (alone, "no_data")
    gated = judged(name, replace(plain, ihsan=Ihsan(score))).kind
    assert gated == ("fail" if score < 95 else alone)
    both = judged(name, replace(plain, ordered=Ordered(share), ihsan=Ihsan(score))).kind
    assert both == ("fail" if score < 95 else shared)


@given(LOOKS, st.floats(1, 50))
@settings(max_examples=60, deadline=None)
def test_a_design_effect_only_takes_verdicts_back(looks: tuple[Tally, ...], effect: float) -> None:
    """With a larger design effect a verdict stays or becomes inconclusive, and is never another one."""
    kinds = [judge("e", looks, margin=1.05, alpha=0.05, beta=0.05, design_effect=d).kind for d in (1.0, effect)]
    assert kinds[1] in (kinds[0], "inconclusive")


@given(LOOKS, st.sampled_from([None, 0.01, 0.3]), st.booleans(), st.sampled_from([0.5, 0.05, 0.004]))
@settings(max_examples=80, deadline=None)
def test_an_interval_never_contradicts_its_verdict(
    looks: tuple[Tally, ...], allowed: float | None, own_only: bool, error: float
) -> None:
    """Fail is above the margin, pass under it, anything else on both sides; and it is never inside out."""
    evidence = Evidence(20.0 if own_only else 1.05, allowed=allowed, own_only=own_only, stages=2)
    for look in looks[:-1]:
        evidence.add(look)
    evidence.begin_stage()
    evidence.add(looks[-1])
    found = evidence.judge("m", alpha=error, beta=error)
    assert found.low <= found.high and (found.kind == "fail") == evidence.fails(error)
    assert (found.low >= found.margin - 1e-9) or found.kind != "fail"
    assert (found.high <= found.margin + 1e-9) or found.kind != "pass"
    assert found.kind != "inconclusive" or found.low <= found.margin <= found.high
    assert (found.need is None) or (found.kind == "inconclusive" and found.need > 0)


@given(LOOKS)
@settings(max_examples=60, deadline=None)
def test_the_sequential_judge_mirrors(looks: tuple[Tally, ...]) -> None:
    """With the arms swapped and a margin of 1, what failed passes, and what passed fails."""
    swapped = [Tally(t.requests[::-1], t.bad[::-1]) for t in looks]
    kinds = [judge("e", one, margin=1.0, alpha=0.05, beta=0.05).kind for one in (looks, swapped)]
    assert kinds[1] == {"fail": "pass", "pass": "fail", "inconclusive": "inconclusive"}[kinds[0]]


@given(VALUES, VALUES)
@settings(max_examples=100, deadline=None)
def test_ranks_and_means_mirror(x: list[float], y: list[float]) -> None:
    """Swapped arms turn the statistic's sign, the effect size around a half, and High into Low."""
    assert math.isclose(cles(x, y) + cles(y, x), 1.0)
    found = [mean_inequality(*arms, Analysis(), name="m").label for arms in ((x, y), (y, x))]
    assert found[1] == MIRROR[found[0]]
    if len({*x, *y}) > 1:
        a, b = np.array(x), np.array(y)
        assert math.isclose(statistic(a, b, 0.0), -statistic(b, a, 0.0), abs_tol=1e-12)


@given(VALUES, st.lists(st.integers(100, 150).map(float), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_separated_arms_mirror(low: list[float], high: list[float]) -> None:
    """Arms that do not overlap are High one way and Low the other, and never both Pass."""
    up, down = (classify(*arms, Analysis(), name="m").label for arms in ((low, high), (high, low)))
    assert down == MIRROR[up] and (up in ("High", "Error") or len(low) * len(high) < 4)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_naive_rule_mirrors(a: float, b: float) -> None:
    """At a margin of 1 at most one of the two ways fails, and both pass only where they are equal."""
    kinds = [compare("m", *pair, margin=1.0).kind for pair in ((a, b), (b, a))]
    assert kinds.count("fail") == (a != b)


@given(st.floats(1e-4, 0.3), st.floats(1.05, 3), st.floats(0.01, 0.5))
@settings(max_examples=40, deadline=None)
def test_plans_ask_for_less_where_the_margin_is_wider(rate: float, ratio: float, share: float) -> None:
    """A wider margin never needs more requests, by either way of counting, nor does a larger power need fewer."""
    narrow, wide = Asked("e", rate, ratio), Asked("e", rate, ratio * 1.05)
    needs: tuple[Callable[[Asked, float], float], ...] = (
        lambda ask, power: fixed(ask, share=share, alpha=0.05, power=power),
        lambda ask, power: to_pass(ask, share=share, beta=0.05, power=power),
    )
    for need in needs:
        assert need(wide, 0.8) <= need(narrow, 0.8) * 1.002
        assert need(narrow, 0.9) >= need(narrow, 0.8) * 0.998
