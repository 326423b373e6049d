"""Walking the stages: what harms is stopped early, what does not is not, and missing data is never a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from toy_service import Shop, quiet

from node0lib.canary.sequential import Tally, fails, judge
from node0lib.canary.walk import Change, Walked, roll_out
from node0lib.ports import Policy
from node0lib.simulate.service import POLICY, EmbeddedNode
from node0lib.slo.catalogue import CanaryRules, Catalogue, ChangeClass, ChangeRule

NODE, NOON = EmbeddedNode(seed=7), datetime(2026, 11, 24, 12, tzinfo=UTC)
IMPATIENT: Policy = {**POLICY, "llm_timeout_ms": 50, "llm_retries": 0}
OTHER: Policy = {**POLICY, "cache_ttl_s": 31}
RULES: Mapping[ChangeClass, ChangeRule] = Catalogue(()).classes
L, M, H = RULES[ChangeClass.L], RULES[ChangeClass.M], RULES[ChangeClass.H]


def _change(candidate: Policy, rule: ChangeRule = M, seed: int = 1, error_limit: float = 0.0144) -> Change:
    return Change(POLICY, candidate, rule, CanaryRules(), error_limit, NOON, seed)


def _shop(shop: Shop, rule: ChangeRule = M, seed: int = 1, error_limit: float = 0.05) -> Walked:
    return roll_out(_change(OTHER, rule, seed, error_limit), shop, quiet)


@pytest.mark.parametrize("rule", [M, H], ids=["M", "H"])
def test_a_harmful_candidate_is_rolled_back_while_few_see_it(rule: ChangeRule) -> None:
    """Not waiting for the language model fails many requests: found at the first stage, within minutes, every time."""
    for seed in range(10):
        found = roll_out(_change(IMPATIENT, rule, seed), NODE, quiet)
        assert found.ending == "rolled_back" and len(found.stages) == 1
        assert found.stages[0].share == rule.stages[0] and found.minutes <= 10
        assert "error_rate" in found.reasons[0] and "above the margin" in found.reasons[0]


def test_a_harmful_candidate_of_class_l_is_caught_by_its_watch() -> None:
    """A change that is applied at once is watched, and what fails more than the limit is rolled back."""
    for seed in range(10):
        found = roll_out(_change(IMPATIENT, L, seed), NODE, quiet)
        assert found.ending == "rolled_back" and found.stages[0].share == 1.0 and "limit 1.440%" in found.reasons[0]
        assert roll_out(_change(POLICY, L, seed), NODE, quiet).ending == "promoted"


def test_an_equal_candidate_is_never_rolled_back() -> None:
    """In 20 rollouts, each looked at every minute, the live policy against itself is promoted or held."""
    endings = [roll_out(_change(POLICY, M, seed), NODE, quiet).ending for seed in range(20)]
    assert set(endings) <= {"promoted", "held"} and endings.count("promoted") >= 10


@pytest.mark.parametrize("rule", [L, M, H], ids=["L", "M", "H"])
@pytest.mark.parametrize("silent_from", [0, 3])
def test_lost_telemetry_is_rolled_back(rule: ChangeRule, silent_from: int) -> None:
    """A canary from which nothing is heard any more is rolled back in that minute: silence is not success."""
    found = _shop(Shop(silent_from=silent_from), rule)
    assert (found.ending, found.stages[-1].outcome) == ("rolled_back", "telemetry_lost")
    assert found.minutes == silent_from + 1
    assert found.reasons == (f"no canary requests in minute {silent_from}: telemetry is lost",)
    assert bool(found.stages[-1].verdicts) is (silent_from > 0), "what was known before is kept"


def test_telemetry_lost_at_100_percent_is_rolled_back() -> None:
    """The last stage, which has no control, does not take silence for health either."""
    stages = replace(M, stages=(0.5, 1.0), on_inconclusive="extend")
    found = _shop(Shop(silent_from=35), stages)
    assert found.ending == "rolled_back" and found.stages[-1].share == 1.0 and len(found.stages) == 2


def test_a_stage_is_extended_once_only() -> None:
    """Class M takes the stage's time once more, goes on if no harm above the cap is left, and else holds."""
    shop = Shop()
    found = _shop(shop)
    times = [shop.sent.count(sent) for sent in {*shop.sent}]
    shares = [share for share, _, _ in shop.sent]
    assert max(times) == 1 and max(shares.count(share) for share in shares) == 2 and shares.count(1.0) == 1
    assert [s.minutes for s in found.stages] == [30, 30, 30, 15] and found.minutes == 105
    assert all("extended once" in s.reason for s in found.stages if s.outcome == "went_on")

    few = _shop(Shop(traffic=300))
    assert few.ending == "held" and few.stages[0].minutes == 30 and len(few.stages) == 1
    assert "extended once, harm above 2 times is not excluded" in few.reasons[0]


def test_asking_does_not_extend() -> None:
    """Class H holds at the first stage that shows nothing yet, and says how much is missing."""
    shop = Shop()
    found = _shop(shop, H)
    assert found.ending == "held" and shop.sent == [(0.01, 0, 30)]
    assert "canary requests more" in found.reasons[0]


def test_shares_rise_only_after_a_stage_that_went_well() -> None:
    """Whatever happens, the shares are the first of the class's, in order, and only the last may have gone wrong."""
    shops = [Shop(), Shop(harm=1.4), Shop(harm=3), Shop(traffic=300), Shop(errors=0.2), Shop(silent_from=40)]
    for shop in shops:
        for seed in range(3):
            found = _shop(shop, M, seed, error_limit=0.3)
            shares = tuple(s.share for s in found.stages)
            assert shares == M.stages[: len(shares)]
            assert all(s.outcome in ("passed", "went_on") for s in found.stages[:-1])
            assert (found.ending == "promoted") is (len(shares) == 4 and found.stages[-1].outcome == "passed")
            assert sum(s.minutes for s in found.stages) == found.minutes


def test_minutes_are_asked_for_once_and_in_order() -> None:
    """The target is asked for every minute of the rollout once: nothing is looked at twice, nothing is left out."""
    shop = Shop()
    found = _shop(shop)
    firsts = [first for _, first, _ in shop.sent]
    assert firsts == [sum(minutes for _, _, minutes in shop.sent[:n]) for n in range(len(shop.sent))]
    assert found.minutes == sum(minutes for _, _, minutes in shop.sent)


@pytest.mark.parametrize(("errors", "ending"), [(0.01, "promoted"), (0.045, "promoted"), (0.08, "rolled_back")])
def test_the_watch_at_100_percent_is_absolute(errors: float, ending: str) -> None:
    """Without a control the limit decides, and only what is surely above it is rolled back."""
    assert _shop(Shop(errors=errors), L, error_limit=0.05).ending == ending


def test_the_watch_sees_slowness() -> None:
    """More than twice the quantile's share of slow requests is too slow, whatever the error rate."""
    found = _shop(Shop(slow_p95=0.12), L)
    assert found.ending == "rolled_back" and "latency_p95" in found.reasons[0]


def test_traffic_that_stays_at_the_control_does_not_blind_the_watch() -> None:
    """Connections kept alive leave some requests at the control at 100%; the canary is watched all the same."""
    assert _shop(Shop(left=50), L).ending == "promoted"
    assert _shop(Shop(left=50, errors=0.2), L).ending == "rolled_back"


def test_a_control_that_is_never_slow_is_no_division_by_zero() -> None:
    """Where no request of the control passes the bound, a canary that is as quick is no worse."""
    found = _shop(Shop(slow_p95=0.0, slow_p99=0.0))
    assert found.ending in ("promoted", "held")
    assert [v.margin for v in found.stages[0].verdicts] == [1.05, 1.0, 1.0], "1: of what is allowed, not of a control"


def test_too_few_requests_are_not_promoted() -> None:
    """A class-L watch that saw fewer requests than the rules ask for is held, not applied."""
    found = _shop(Shop(traffic=10), replace(L, stage_duration=timedelta(minutes=2)))
    assert found.ending == "held" and "too few canary requests" in found.reasons[0]


def test_a_rollout_is_a_function_of_its_question() -> None:
    """The same change on the same target gives the same rollout, to the last number."""
    assert roll_out(_change(POLICY), NODE, quiet) == roll_out(_change(POLICY), EmbeddedNode(seed=7), quiet)


def test_every_look_is_judged_as_the_whole_judge_would() -> None:
    """The cheap question asked at every look says fail exactly where the whole verdict does."""
    for ratio in (1.0, 1.3, 2.0, 6.0):
        looks = [Tally((5700, 300), (57, round(3 * ratio)))] * 25
        for n in range(26):
            whole = judge("error_rate", looks[:n], margin=1.05, alpha=0.02, beta=0.05).kind == "fail"
            assert fails(looks[:n], margin=1.05, alpha=0.02) is whole


def test_progress_names_every_stage() -> None:
    """Who watches is told each share as it begins, and the end."""
    told: list[tuple[str, int, int]] = []
    roll_out(_change(OTHER, M, error_limit=0.05), Shop(), lambda *words: told.append(words))
    assert [what for what, _, _ in told] == [*(f"canary at {share:.0%}" for share in M.stages), "canary"]
    assert told[-1][1:] == (4, 4)
