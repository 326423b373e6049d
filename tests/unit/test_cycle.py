"""The whole cycle, from what was given to what was decided: every kind of decision, from real values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from toy_service import Shop, quiet

from node0lib import cycle
from node0lib.cycle import CycleResult, Given, RecentChange, Rules, run_cycle
from node0lib.gates import Incident
from node0lib.ihsan import Control, Facts
from node0lib.optimize.estimate import Estimate
from node0lib.optimize.knobs import POLICY_EXAMPLE, changed, kinds
from node0lib.optimize.propose import Proposal, Search
from node0lib.ports import Policy, Target
from node0lib.shell.records import dump, load
from node0lib.simulate.service import POLICY, EmbeddedNode
from node0lib.sli.series import Counts
from node0lib.slo.catalogue import Catalogue, ChangeClass, GateRules, RollbackRules
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NODE = EmbeddedNode(seed=20260101)
API = Objective("api_availability", "ratio", 0.999, timedelta(days=30))
IHSAN = Objective("ihsan_compliance", "invariant", 1.0, timedelta(hours=1), minimum=100.0)
WINDOWS = [format_duration(timedelta(minutes=m)) for m in (5, 30, 60, 120, 360, 1440, 4320)] + ["30d"]
RULES = Rules(Catalogue((API, IHSAN)), (Control("telemetry_coverage", 1.0),), Search())
BLIND = dict.fromkeys(WINDOWS, Counts.nothing("HTTP 503"))
BETTER: Policy = {**POLICY, "cache_ttl_s": 60.0}
WORSE: Policy = {**POLICY, "llm_timeout_ms": 50, "llm_retries": 0}
HASTY: Policy = {**POLICY, "tools_timeout_ms": 100}


def _given(bad: int = 10, coverage: float = 1.0, policy: Policy = POLICY_EXAMPLE) -> Given:
    """100,000 requests in every window, so many of them bad; autonomous, on a target."""
    counts = {"api_availability": {w: Counts(100_000.0 - bad, 100_000.0, coverage) for w in WINDOWS}}
    return Given(
        at=NOON, mode="autonomous", source="test", simulated=True, target="toy shop", target_simulated=True,
        policy=policy, counts=counts, series={}, facts=Facts(coverage=coverage), ihsan_history=(100.0,), incidents=(),
        seed=3,
    )  # fmt: skip


def _decided(target: Target | None, given: Given | None = None, search: Search | None = None) -> CycleResult:
    rules = RULES if search is None else replace(RULES, search=search)
    return run_cycle(given or _given(), rules, target, quiet)


def _tried(candidate: Policy, given: Given | None = None, improvement: float = 0.1) -> CycleResult:
    """Everything after the search, on the embedded node, as if the search had found ``candidate``."""
    given = given or _given(policy=POLICY)
    ihsan = cycle.score_ihsan(given, RULES)
    statuses = cycle.assess(given, RULES, ihsan)
    gates = cycle.ask_gates(given, RULES, statuses, ihsan)
    estimate = Estimate(improvement, improvement - 0.03, improvement + 0.03, 0.99, 32)
    changes = changed(given.policy, candidate), kinds(given.policy, candidate)
    proposal = Proposal(candidate, *changes, estimate, -0.1, -0.1, 60)
    classified = cycle.classify_proposal(RULES, proposal)
    rollout = cycle.try_out(given, RULES, proposal, classified, NODE, quiet)
    decision = cycle.decide(given, RULES, gates, proposal, classified, rollout, NODE)
    return cycle.conclude(given, statuses, ihsan, gates, proposal, classified, rollout, decision)


def _unchanged(found: CycleResult, kind: str, told: str) -> None:
    assert found.decision.kind == kind, found.decision
    assert any(told in reason for reason in found.decision.reasons), found.decision.reasons
    assert found.decision.policy == found.policy, "what is live stays live"


# Decisions


def test_a_better_policy_is_found_and_applied() -> None:
    """On the embedded node the whole cycle searches, classifies, tries and applies; the policy is the proposal's."""
    found = run_cycle(_given(policy=POLICY), RULES, NODE, quiet)
    assert found.proposal is not None and found.rollout is not None and found.classified is not None
    assert found.decision.kind == "applied" and found.rollout.ending == "promoted"
    assert found.decision.policy == found.proposal.policy != POLICY
    assert found.proposal.estimate.low > RULES.search.worthwhile
    assert found.decision.reasons[0].startswith("improvement ") and "fresh pairs" in found.decision.reasons[0]
    stages = RULES.catalogue.classes[found.classified.change_class].stages or (1.0,)
    assert tuple(s.share for s in found.rollout.stages) == stages


def test_a_small_change_is_applied_at_once_and_watched() -> None:
    """A class-L change has no canary, but five minutes of watch."""
    found = _decided(Shop(errors=0.001))
    assert found.classified is not None and found.classified.change_class == ChangeClass.L
    assert found.decision.kind == "applied" and found.rollout is not None
    assert [(s.share, s.minutes) for s in found.rollout.stages] == [(1.0, 5)]


@pytest.mark.parametrize(("candidate", "expected"), [(WORSE, "M"), (HASTY, "L")], ids=["canary", "watch"])
def test_a_policy_that_degrades_the_node_is_rolled_back(candidate: Policy, expected: str) -> None:
    """Whatever was promised of it: requests that fail on the embedded node take the change back, of either class."""
    found = _tried(candidate)
    assert found.classified is not None and found.classified.change_class == expected
    _unchanged(found, "rolled_back", "error_rate")
    assert found.rollout is not None and found.rollout.ending == "rolled_back"


def test_a_harmful_winner_of_the_search_is_rolled_back() -> None:
    """A candidate whose loss is truly lower, but whose requests fail, does not become live."""
    _unchanged(_decided(Shop(harm=20.0)), "rolled_back", "error_rate")


def test_lost_telemetry_takes_the_change_back() -> None:
    """Silence during the watch is no success."""
    _unchanged(_decided(Shop(errors=0.001, silent_from=2)), "rolled_back", "telemetry is lost")


def test_a_rollout_that_shows_too_little_is_inconclusive() -> None:
    """A canary of few requests cannot exclude harm: the change is not applied, and what is missing is told."""
    routed = Shop(best={**POLICY_EXAMPLE, "agent_routing": "two_choices"}, weights={"agent_routing": 0.2}, traffic=300)
    _unchanged(_decided(routed), "inconclusive", "not excluded")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (_given(bad=70), "api_availability has 30% budget (need 50%)"),
        (_given(bad=150), "breached: api_availability"),
        (_given(bad=2000), "api_availability burns 20.0x and 20.0x over 1h/5m"),
        (_given(coverage=0.5), "ihsan is 0.0 (need 95)"),
        (replace(_given(), incidents=(Incident("rolled_back", NOON - timedelta(minutes=5), NOON, "x"),)), "x"),
        (replace(_given(), counts={"api_availability": BLIND}), "no data (HTTP 503) for api_availability"),
        (replace(_given(), ihsan_history=(100.0, 96.0)), "breached: ihsan_compliance"),
    ],
    ids=["budget", "breach", "alert", "ihsan", "incident", "no data", "invariant"],
)
def test_a_closed_gate_blocks(given: Given, told: str) -> None:
    """Every gate blocks with its reason, and then nothing is even searched for."""
    shop = Shop()
    found = _decided(shop, given)
    _unchanged(found, "blocked", told)
    assert (found.proposal, found.classified, found.rollout) == (None, None, None)
    assert shop.asked == [] and shop.sent == []
    assert found.decision.reasons == found.gates.reasons


def test_without_a_target_nothing_can_be_tried() -> None:
    """Where only telemetry is of interest the cycle ends well and says why nothing changes."""
    _unchanged(_decided(None), "no_change", "no target is configured")


def test_none_found_is_a_good_answer() -> None:
    """Where the live policy is the best one, the number of candidates is told."""
    best = Shop(best=dict(POLICY_EXAMPLE), weights=dict.fromkeys(POLICY_EXAMPLE, 0.05), noise=0.0)
    found = _decided(best)
    _unchanged(found, "no_change", "60 candidates, none better than the live policy")
    assert found.proposal is None


def test_what_is_not_shown_is_not_done() -> None:
    """A winner by luck alone is unmasked by the fresh seeds."""
    found = _decided(Shop(weights={}, noise=0.05))
    _unchanged(found, "no_change", "not shown by the data: improvement ")
    assert found.proposal is not None and found.proposal.estimate.low <= 0 and found.rollout is None


def test_what_is_not_worth_a_change_is_not_done() -> None:
    """An improvement that is shown, but not above what a change must bring, is not even tried."""
    shop = Shop()
    found = _decided(shop, search=Search(worthwhile=0.3))
    _unchanged(found, "no_change", "not shown to be worth a change (above 30.0%)")
    assert found.proposal is not None and found.proposal.estimate.shown and shop.sent == []


def test_what_would_overstep_a_limit_is_not_done() -> None:
    """A candidate that kept an SLO's limit by luck in the search, and breaks it on fresh seeds, is not tried."""
    shop = Shop(violation=0.3, doubt=0.5)
    found = _decided(shop, search=Search(seeds=1))
    _unchanged(found, "no_change", "would overstep an SLO's limit")
    assert found.proposal is not None and not found.proposal.safe and shop.sent == []


def test_a_live_policy_that_oversteps_may_be_improved() -> None:
    """Where the live policy itself is over a limit, a candidate that is no further over it is safe."""
    proposal = Proposal(BETTER, ("cache_ttl_s",), ("cache_ttl",), Estimate(0.1, 0.07, 0.13, 0.99, 32), 0.2, 0.3, 60)
    assert proposal.safe and not replace(proposal, violation=0.31).safe


@pytest.mark.parametrize("target", [NODE, Shop(), Shop(harm=20.0)], ids=["node", "shop", "harmful"])
def test_recommend_mode_never_rolls_out(target: Target) -> None:
    """In recommend mode the proposal is shown and nothing is tried, let alone applied."""
    found = _decided(target, replace(_given(), mode="recommend"))
    _unchanged(found, "recommended", "mode is recommend, nothing is applied")
    assert found.proposal is not None and found.classified is not None and found.rollout is None
    assert not isinstance(target, Shop) or target.sent == []


def test_class_h_never_rolls_out_and_is_held_for_an_approval() -> None:
    """More than half better is too good to be let loose without a person: held, with the criterion that decided."""
    shop = Shop(best={**POLICY_EXAMPLE, "cache_ttl_s": 120.0}, weights={"cache_ttl_s": 2.0})
    found = _decided(shop)
    assert found.classified is not None and found.classified.change_class == ChangeClass.H
    _unchanged(found, "held", "the change needs an approval: improvement")
    assert found.rollout is None and shop.sent == []


def test_a_change_that_is_unsure_is_held_too() -> None:
    """Confidence under 70% makes any change class H."""
    given, shop = _given(), Shop()
    unsure = Proposal(BETTER, ("cache_ttl_s",), ("cache_ttl",), Estimate(0.1, 0.07, 0.13, 0.69, 32), 0.0, 0.0, 60)
    classified = cycle.classify_proposal(RULES, unsure)
    assert classified is not None and classified.change_class == ChangeClass.H
    assert cycle.try_out(given, RULES, unsure, classified, shop, quiet) is None and shop.sent == []


def test_a_rollout_needs_the_canarys_ihsan() -> None:
    """Where the gate lets a low score pass, the canary's own threshold still holds the change, and says so."""
    low = replace(RULES, catalogue=Catalogue((API,), gates=GateRules(ihsan_at_least=0)))
    shop = Shop()
    found = run_cycle(_given(coverage=0.5), low, shop, quiet)
    _unchanged(found, "held", "the ihsan score is under 95, which a rollout needs")
    assert found.rollout is None and shop.sent == []


# A change that was applied shortly before

FAST = Objective("api_latency_p95", "timeslice", 0.9, timedelta(hours=1), threshold_s=0.05, quantile=0.95)
RECENT = RecentChange("20261124T110000Z", NOON - timedelta(hours=1), BETTER, ())
TRIGGERS = {
    "breach": ({"1h": Counts(40.0, 60.0, 1.0)}, 10, "newly breached: api_latency_p95", "slo_breach"),
    "budget": ({"1h": Counts(60.0, 60.0, 1.0)}, 150, "budget exhausted: api_availability", "budget_exhausted"),
    "silence": ({"1h": Counts.nothing("HTTP 503")}, 10, "telemetry lost: api_latency_p95", "telemetry_lost"),
}


def _after_a_change(fast: dict[str, Counts], bad: int, recent: RecentChange, **rules: Any) -> CycleResult:
    """The cycle after ``recent``, without a target so that nothing else is tried; ``rules`` change the rollback's."""
    given = replace(_given(bad=bad), recent_change=recent)
    given = replace(given, counts={**given.counts, "api_latency_p95": fast})
    catalogue = Catalogue((API, FAST, IHSAN), rollback=RollbackRules(**rules))
    return run_cycle(given, replace(RULES, catalogue=catalogue), None, quiet)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_recent_change_is_taken_back(trigger: str) -> None:
    """What broke since the change takes it back: the policy before it, with the cycle and the trigger named."""
    fast, bad, told, rule = TRIGGERS[trigger]
    found = _after_a_change(fast, bad, RECENT).decision
    assert (found.kind, found.policy) == ("rolled_back", BETTER)
    assert found.reasons == ("the change of cycle 20261124T110000Z is taken back", told)
    assert _after_a_change(fast, bad, RECENT, **{rule: False}).decision.kind == "blocked", "people may say otherwise"


def test_a_recent_change_answers_for_what_it_broke_only() -> None:
    """What was breached before the change does not take it back, and where all is well the cycle goes on."""
    fast, bad, _, _ = TRIGGERS["breach"]
    assert _after_a_change(fast, bad, replace(RECENT, breached=("api_latency_p95",))).decision.kind == "blocked"
    assert _after_a_change({"1h": Counts(60.0, 60.0, 1.0)}, 10, RECENT).decision.kind == "no_change"


def test_a_low_score_takes_a_recent_change_back() -> None:
    """The ihsan score under the rollback policy's threshold is a trigger of its own."""
    given = replace(_given(coverage=0.5), recent_change=RECENT)
    found = run_cycle(given, RULES, Shop(), quiet).decision
    assert (found.kind, found.policy) == ("rolled_back", BETTER) and "ihsan is 0.0" in found.reasons


def test_the_first_reason_that_applies_wins() -> None:
    """A closed gate is told before a missing target, and a missing target before anything else."""
    assert _decided(None, _given(bad=150)).decision.kind == "blocked"


# What the steps see


def test_the_same_given_has_the_same_result() -> None:
    """A cycle is a function: from the same given, also read back from JSON, the same result, on node and shop."""
    for target, given in ((NODE, _given(policy=POLICY)), (Shop(), _given())):
        rules = replace(RULES, search=Search(trials=20))
        found = run_cycle(given, rules, target, quiet)
        again = run_cycle(load(Given, dump(given), "given.json"), rules, target, quiet)
        assert again == found and dump(again) == dump(found)


def test_the_seed_drives_the_rollout_only() -> None:
    """Another seed gives other draws of the canary and the same proposal."""
    one, two = (_decided(Shop(errors=0.001), replace(_given(), seed=seed)) for seed in (1, 2))
    assert one.proposal == two.proposal and one.rollout != two.rollout


def test_the_invariant_is_the_score_of_the_cycles() -> None:
    """Without a gauge of its own the invariant is judged on the scores within its window, this cycle's included."""
    for history, good in (((), 1.0), ((100.0, 100.0), 3.0), ((100.0, 99.0), 2.0)):
        given = replace(_given(), ihsan_history=history)
        status = cycle.assess(given, RULES, cycle.score_ihsan(given, RULES))[1]
        assert (status.counts.good, status.counts.total) == (good, len(history) + 1.0)
        assert status.state == ("meeting" if good == len(history) + 1 else "breached")


@pytest.mark.parametrize(("objectives", "limit"), [((0.999, 0.95), 0.0144), ((0.9,), 1.0), ((), 0.144)])
def test_the_watch_tolerates_what_the_strictest_promise_does(objectives: tuple[float, ...], limit: float) -> None:
    """The absolute limit is where the fastest alert of the strictest ratio SLO would fire, and never above 1."""
    slos = tuple(Objective(f"s{n}", "ratio", o, timedelta(days=30)) for n, o in enumerate(objectives))
    shop = Shop(errors=0.0)
    rules = replace(RULES, catalogue=Catalogue(slos))
    proposal = Proposal(BETTER, ("cache_ttl_s",), ("cache_ttl",), Estimate(0.1, 0.07, 0.13, 0.99, 32), 0.0, 0.0, 60)
    rollout = cycle.try_out(_given(), rules, proposal, cycle.classify_proposal(rules, proposal), shop, quiet)
    assert rollout is not None and f"(limit {limit:.3%})" in rollout.reasons[0]


def test_the_result_repeats_what_was_given() -> None:
    """Instant, mode, source, target and live policy go through unchanged."""
    given = _given()
    found = _decided(Shop(), given)
    same = ("at", "mode", "source", "simulated", "target", "target_simulated", "policy")
    assert all(getattr(found, name) == getattr(given, name) for name in same)


def test_a_critical_burn_takes_a_recent_change_back() -> None:
    """A burn that pages (more than 14.4x over both windows) takes the change back long before the budget is gone."""
    burning = {**_given().counts["api_availability"], **dict.fromkeys(["5m", "1h"], Counts(98_000.0, 100_000.0, 1.0))}
    given = replace(_given(), counts={"api_availability": burning}, recent_change=RECENT)
    found = run_cycle(given, RULES, Shop(), quiet).decision
    assert (found.kind, found.policy) == ("rolled_back", BETTER)
    assert "burns 20.0x and 20.0x over 1h/5m" in found.reasons[1] and "critical" in found.reasons[1]


def test_recommend_mode_takes_nothing_back_by_itself() -> None:
    """In recommend mode a change that should go is recommended to be taken back; the live policy stays."""
    given = replace(_given(coverage=0.5), mode="recommend", recent_change=RECENT)
    found = run_cycle(given, RULES, Shop(), quiet).decision
    assert (found.kind, found.policy) == ("recommended", given.policy)
    assert found.reasons[0] == "take back the last change"
