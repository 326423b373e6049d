"""The canary's plan against published figures, the judge itself, and simulation."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from node0lib.canary.plan import Asked, Traffic, fixed, plan, question, to_catch, to_pass
from node0lib.canary.sequential import Evidence, Tally, fails, judge
from node0lib.slo.catalogue import CanaryRules, Catalogue, ChangeClass

ORDINARY = Traffic(100.0, 0.01, 0.5)


@pytest.mark.parametrize(("ratio", "requests"), [(1.05, 262_000), (1.25, 11_200), (2.0, 849)])
def test_the_published_numbers_of_an_error_rate(ratio: float, requests: int) -> None:
    """On 1% errors with a canary of 5%, +5% needs 262,000 canary requests, +25% 11,200, +100% 849."""
    found = fixed(Asked("error_rate", 0.01, ratio), share=0.05, alpha=0.05, power=0.8)
    assert found == pytest.approx(requests, rel=0.002)


@pytest.mark.parametrize(("sigma", "requests"), [(0.5, 3_000), (1.0, 12_000)])
def test_the_published_numbers_of_a_p95(sigma: float, requests: int) -> None:
    """A p95 +5% needs about 3,000 canary requests at lognormal sigma 0.5, and four times that at sigma 1."""
    asked = question("latency_p95", 0.05, Traffic(100.0, 0.01, sigma))
    assert fixed(asked, share=0.05, alpha=0.05, power=0.8) == pytest.approx(requests, rel=0.07)


def test_the_fixed_formula_has_the_power_it_promises() -> None:
    """At 849 canary requests a doubled error rate is found by the pooled z-test in about 80% of 20,000 trials."""
    rng, n, m = np.random.default_rng(1), 849, 849 * 19
    canary, control = rng.binomial(n, 0.02, 20_000), rng.binomial(m, 0.01, 20_000)
    pooled = (canary + control) / (n + m)
    z = (canary / n - control / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    assert (z > 1.6449).mean() == pytest.approx(0.80, abs=0.03)


def _ideal(requests: float, ask: Asked, true: float) -> Tally:
    sizes = round(requests * 19), round(requests)
    return Tally(sizes, (round(sizes[0] * ask.rate), round(sizes[1] * ask.rate * true)))


def test_the_plan_and_the_judge_agree() -> None:
    """At power 50% an ideal canary passes at the planned requests and not at 3% fewer."""
    ask = Asked("error_rate", 0.01, 1.25)
    requests = to_pass(ask, share=0.05, beta=0.05, power=0.5)
    looks = [[_ideal(n, ask, 1.0)] for n in (requests, 0.97 * requests)]
    found = [judge("e", one, margin=1.25, alpha=0.05, beta=0.05).kind for one in looks]
    assert found == ["pass", "inconclusive"]


@pytest.mark.parametrize("metric", ["latency_p95", "latency_p99"])
def test_the_plan_and_the_judge_agree_on_latencies(metric: str) -> None:
    """At power 50% an ideal canary passes a latency at the planned requests, by the quicker way, and not before."""
    ask = question(metric, 0.10, ORDINARY)
    requests = to_pass(ask, share=0.25, beta=0.05, power=0.5)

    def found(canary: float) -> str:
        evidence = Evidence(ask.ratio, allowed=ask.allowed)
        sizes = round(3 * canary), round(canary)
        evidence.add(Tally(sizes, (round(sizes[0] * ask.rate), round(sizes[1] * ask.rate))))
        return evidence.judge(metric, alpha=0.005, beta=0.05).kind

    assert [found(requests * 1.1), found(requests * 0.85)] == ["pass", "inconclusive"]  # counts are whole


def test_the_planned_detection_and_the_judge_agree() -> None:
    """At power 50% an ideal canary with 30% more errors fails at the planned requests and not at 5% fewer."""
    ask = Asked("error_rate", 0.05, 1.05)
    requests = to_catch(ask, 1.3, share=0.05, alpha=0.001, power=0.5)
    looks = [[_ideal(n, ask, 1.3)] for n in (requests * 1.01, 0.95 * requests)]
    assert [fails(one, margin=1.05, alpha=0.001) for one in looks] == [True, False]


def test_the_planned_power_is_kept() -> None:
    """Of 400 simulated equal canaries at the requests planned for power 80%, 74 to 90% pass at that one look."""
    ask = Asked("error_rate", 0.01, 1.5)
    n = round(to_pass(ask, share=0.25, beta=0.05, power=0.8))
    bad = np.random.default_rng(3).binomial([3 * n, n], 0.01, size=(400, 2))
    looks = (Tally((3 * n, n), (int(a), int(b))) for a, b in bad)
    passed = sum(judge("e", [look], margin=1.5, alpha=0.05, beta=0.05).kind == "pass" for look in looks)
    assert 0.74 <= passed / 400 <= 0.90


@pytest.mark.parametrize(("true", "seconds"), [(2.0, 175.0), (5.0, 25.0), (20.0, 5.0)])
def test_detection_takes_about_what_was_measured(true: float, seconds: float) -> None:
    """At 100 requests/s, 5% canary and 1% errors a doubling is found in about 175 s, x5 in 25 s, x20 in 5 s."""
    found = to_catch(Asked("e", 0.01, 1.05), true, share=0.05, alpha=0.05, power=0.5) / 5
    assert seconds / 2 < found < seconds * 2


def test_class_m_in_fifteen_minutes_is_blind_to_five_percent() -> None:
    """With class M's stages +5% errors takes days, and the plan proposes margins that the stages do reach."""
    found = plan(Catalogue(()).classes[ChangeClass.M], CanaryRules(), ORDINARY)
    first = found.stages[0]
    assert [stage.share for stage in found.stages] == [0.05, 0.25, 0.5]
    assert first.requests == 4500 and found.needed == pytest.approx(262_000, rel=0.002)
    assert first.minutes(first.needs[0].to_pass, 100.0) > 24 * 60
    every, end = found.proposals
    assert every.margins["error_rate"] == 1.0 and end.margins["error_rate"] == 0.3
    assert every.stage_length is not None and end.stage_length is not None
    assert timedelta(days=2) < every.stage_length < timedelta(days=4) and end.stage_length < every.stage_length


def test_what_the_plan_proposes_works() -> None:
    """With the proposed length of the stages every stage passes the configured margins; 2% less is too few."""
    rule, rules = Catalogue(()).classes[ChangeClass.M], CanaryRules()
    length = plan(rule, rules, ORDINARY).proposals[0].stage_length
    assert length is not None

    def passes(minutes: timedelta) -> bool:
        stages = plan(replace(rule, stage_duration=minutes), rules, ORDINARY).stages
        return all(n.reachable is not None and n.reachable <= n.margin for s in stages for n in s.needs)

    assert passes(length + timedelta(minutes=10)) and not passes(length * 0.98)


def test_class_l_has_no_canary() -> None:
    """A class without stages has nothing to plan, and the plan says so by having none."""
    found = plan(Catalogue(()).classes[ChangeClass.L], CanaryRules(), ORDINARY)
    assert (found.stages, found.proposals, found.needed) == ((), (), None)


def test_more_harm_than_there_are_requests_is_never_found() -> None:
    """A margin by which every request and more would fail needs infinitely many requests."""
    assert math.isinf(fixed(Asked("e", 0.99, 1.05), share=0.05, alpha=0.05, power=0.8))
    assert math.isinf(to_catch(Asked("e", 0.6, 1.05), 2.0, share=0.05, alpha=0.05, power=0.8))
