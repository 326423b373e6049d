"""The search: what it proposes is in range, small, measured where nobody looked, and truly better."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from toy_service import Shop, quiet

from node0lib.optimize.estimate import paired
from node0lib.optimize.knobs import KNOBS, POLICY_EXAMPLE, changed, check_policy
from node0lib.optimize.propose import Proposal, Search, propose
from node0lib.ports import Policy
from node0lib.simulate.service import POLICY, EmbeddedNode

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NODE = EmbeddedNode(seed=20260101)
SEARCH = Search()
CORNERS = ({knob.name: knob.choices[0] if knob.choices else knob.type(knob.low) for knob in KNOBS},
           {knob.name: knob.choices[-1] if knob.choices else knob.type(knob.high) for knob in KNOBS})  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Proposal:
    """What the shipped search proposes for the shipped policy at noon."""
    proposal = propose(NODE, POLICY, SEARCH, NOON, quiet)
    assert proposal is not None
    return proposal


def _measured(candidate: Policy, live: Policy, first: int, n: int) -> tuple[list[float], list[float]]:
    seeds = range(first, first + n)
    return tuple([NODE.evaluate(p, at=NOON, seed=s).loss for s in seeds] for p in (live, candidate))  # type: ignore[return-value]


def test_the_improvement_is_true_on_seeds_that_nobody_has_seen(found: Proposal) -> None:
    """On 200 further seeds the improvement lies where the estimate's interval said, and no worse than the live one."""
    again = paired(*_measured(found.policy, POLICY, 10_000, 200))
    assert found.estimate.shown and found.estimate.low <= again.high and again.low <= found.estimate.high
    assert abs(found.estimate.improvement - again.improvement) < found.estimate.high - found.estimate.low
    assert again.low > 0, "the winner is better than the live policy, not only luckier"


def test_the_estimate_is_that_of_the_fresh_seeds(found: Proposal) -> None:
    """As many pairs as the search asks for, an interval around the value, and what changed spelt out."""
    estimate = found.estimate
    assert estimate.n == SEARCH.fresh_seeds and estimate.low < estimate.improvement < estimate.high
    assert found.changes == changed(POLICY, found.policy) != () and found.kinds and found.trials == SEARCH.trials
    assert found.safe


def test_the_search_is_a_function_of_its_question(found: Proposal) -> None:
    """The same node, policy, search and instant give the same proposal; another seed may give another."""
    assert propose(EmbeddedNode(seed=20260101), dict(POLICY), SEARCH, NOON, quiet) == found


@pytest.mark.parametrize("live", [dict(POLICY_EXAMPLE), *CORNERS], ids=["shipped", "lowest", "highest"])
def test_every_candidate_is_a_policy(live: Policy) -> None:
    """From anywhere, also from the corners of what is allowed, nothing out of range is even tried."""
    shop = Shop(home=live, weights={"cache_ttl_s": 0.1, "llm_retries": 0.05})
    propose(shop, live, Search(trials=40), NOON, quiet)
    assert len({tuple(policy.items()) for policy, _ in shop.asked}) > 25
    for policy, _ in shop.asked:
        assert check_policy(policy, "candidate") == policy


def test_fresh_seeds_are_fresh() -> None:
    """The winner is measured on seeds the search never used, and both policies on the very same ones."""
    shop = Shop()
    found = propose(shop, shop.home, SEARCH, NOON, quiet)
    assert found is not None
    measured = shop.asked[-2 * SEARCH.fresh_seeds :]
    searched = {seed for _, seed in shop.asked[: -2 * SEARCH.fresh_seeds]}
    fresh = [seed for policy, seed in measured if policy == shop.home]
    assert fresh == [seed for policy, seed in measured if policy == found.policy]
    assert len(searched) == SEARCH.seeds and len(set(fresh)) == SEARCH.fresh_seeds and not searched & set(fresh)


@pytest.mark.parametrize(("hour", "seed"), [(13, 1), (12, 2)])
def test_another_hour_or_search_has_other_seeds(hour: int, seed: int) -> None:
    """No seed is used again at another hour or by another search: luck is not carried over."""
    asked = []
    for search, at in ((SEARCH, NOON), (Search(seed=seed), NOON.replace(hour=hour))):
        shop = Shop()
        propose(shop, shop.home, search, at, quiet)
        asked.append({s for _, s in shop.asked})
    assert not asked[0] & asked[1]


def test_a_knob_that_does_not_matter_stays() -> None:
    """Where only two knobs matter, only those are turned, and towards their best."""
    best: Policy = {**POLICY_EXAMPLE, "cache_ttl_s": 60.0, "agent_routing": "least_loaded"}
    shop = Shop(best=best, weights={"cache_ttl_s": 0.3, "agent_routing": 0.2}, noise=0.0005)
    found = propose(shop, shop.home, SEARCH, NOON, quiet)
    assert found is not None and found.changes == ("cache_ttl_s", "agent_routing")
    assert shop.distance(found.policy) < 0.2 * shop.distance(shop.home)


def test_giving_back_costs_next_to_nothing() -> None:
    """Every knob that was turned is needed: given back, the loss rises by more than half a percent."""
    weights = {"cache_ttl_s": 0.1, "batch_size": 0.0005, "llm_retries": 0.1, "tools_retries": 0.001}
    best: Policy = {**POLICY_EXAMPLE, "cache_ttl_s": 90.0, "batch_size": 16, "llm_retries": 2, "tools_retries": 2}
    shop = Shop(best=best, weights=weights, noise=0.0)
    found = propose(shop, shop.home, SEARCH, NOON, quiet)
    assert found is not None and {"batch_size", "tools_retries"}.isdisjoint(found.changes)
    whole = 1 + shop.distance(found.policy)
    for name in found.changes:
        assert 1 + shop.distance({**found.policy, name: shop.home[name]}) > whole * 1.004


def test_where_the_live_policy_is_best_nothing_is_proposed() -> None:
    """Without noise no candidate is better than the best, and the search says so by returning nothing."""
    shop = Shop(best=dict(POLICY_EXAMPLE), weights=dict.fromkeys(POLICY_EXAMPLE, 0.05), noise=0.0)
    assert propose(shop, shop.home, SEARCH, NOON, quiet) is None


def test_luck_is_not_an_improvement() -> None:
    """Where nothing matters but noise, fresh seeds unmask the winner: at most one in 20 is shown to be better."""
    shown = 0
    for seed in range(20):
        shop = Shop(weights={}, noise=0.05)
        found = propose(shop, shop.home, Search(trials=25, seed=seed), NOON, quiet)
        shown += found is not None and found.estimate.shown
    assert shown <= 2  # 2.5% each; more than two of 20 has a probability under 2%


def test_a_candidate_that_oversteps_a_limit_is_not_chosen() -> None:
    """The search keeps to what the SLOs allow, however good the rest looks."""
    shop = Shop(violation=0.2)
    assert propose(shop, shop.home, SEARCH, NOON, quiet) is None


def test_progress_ends_where_it_said() -> None:
    """Who watches sees the search count up to its trials, and then the measurement."""
    told: list[tuple[str, int, int]] = []
    propose(Shop(), Shop().home, Search(trials=5), NOON, lambda *words: told.append(words))
    searching = [done for what, done, total in told if "searching" in what and total == 5]
    assert searching == [0, 1, 2, 3, 4, 5]
    assert [done for what, done, _ in told if "fresh" in what] in ([], [0, 1])


def test_the_winner_is_no_worse_at_night() -> None:
    """At an hour with little traffic, too, what is proposed and shown is no loss on seeds that nobody has seen."""
    at = NOON.replace(hour=3)
    found = propose(NODE, POLICY, Search(trials=40), at, quiet)
    assert found is not None
    losses = [[NODE.evaluate(p, at=at, seed=s).loss for s in range(90_000, 90_060)] for p in (POLICY, found.policy)]
    assert not found.estimate.shown or float(np.mean(losses[1])) < float(np.mean(losses[0]))
