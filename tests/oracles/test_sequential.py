"""The canary judge against what it promises: error rates under repeated looks."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from node0lib.canary.analysis import wilson_low
from node0lib.canary.sequential import Evidence, MetricVerdict, Tally, judge


def _looks(ratio: float, n: int, seed: int, *, rate: float = 0.01, share: float = 0.05) -> list[Tally]:
    """Looks of 6,000 requests each, binomial errors, the canary's rate ``ratio`` times the control's."""
    rng = np.random.default_rng(seed)
    canary = round(6000 * share)
    bad = rng.binomial([6000 - canary, canary], [rate, rate * ratio], size=(n, 2))
    return [Tally((6000 - canary, canary), (int(a), int(b))) for a, b in bad]


def _judge(looks: list[Tally], alpha: float = 0.05) -> MetricVerdict:
    return judge("error_rate", looks, margin=1.05, alpha=alpha, beta=0.05)


def test_a_harmless_canary_is_rarely_stopped_however_often_one_looks() -> None:
    """At alpha 5% at most 5% of 100 equal canaries fail at any of 20 looks (measured: about 1%)."""
    rollouts = [_looks(1.0, 20, seed) for seed in range(100)]
    stopped = sum(any(_judge(looks[: k + 1]).kind == "fail" for k in range(20)) for looks in rollouts)
    assert stopped / 100 <= 0.05


def test_the_naive_rule_is_what_we_are_not() -> None:
    """On the same equal canaries "worse than 1.05 x control" on point estimates stops more than half."""
    stopped = 0
    for seed in range(100):
        bad = np.cumsum([t.bad for t in _looks(1.0, 20, seed)], axis=0)
        requests = np.cumsum([t.requests for t in _looks(1.0, 20, seed)], axis=0)
        rates = bad / requests
        stopped += bool((rates[:, 1] > 1.05 * rates[:, 0]).any())
    assert stopped > 50


def test_a_bad_canary_is_stopped() -> None:
    """A canary with five times the errors fails within three looks in nearly all of 50 rollouts."""
    assert sum(_judge(_looks(5.0, 3, seed)).kind == "fail" for seed in range(50)) >= 48


def test_the_confidence_sequence_covers() -> None:
    """The true ratio lies within the interval at every one of 20 looks in at least 90% of 100 rollouts."""
    held = 0
    for seed in range(100):
        looks = _looks(1.5, 20, seed)
        verdicts = [_judge(looks[: k + 1]) for k in range(0, 20, 4)]
        held += all(v.low <= 1.5 <= v.high for v in verdicts)
    assert held >= 90


def test_enough_data_pass() -> None:
    """With a wide margin and many requests an equal canary passes."""
    found = judge("error_rate", _looks(1.0, 60, 1, share=0.5), margin=1.5, alpha=0.05, beta=0.05)
    assert found.kind == "pass" and found.high <= 1.5


def test_inconclusive_says_how_much_is_missing() -> None:
    """+5% on 1% errors needs some hundred thousand canary requests, and the verdict says so."""
    found = _judge(_looks(1.0, 10, 1))
    assert found.kind == "inconclusive" and found.need is not None and 100_000 < found.need < 2_000_000


@pytest.mark.parametrize("looks", [[], [Tally((100, 0), (1, 0))], [Tally((0, 100), (0, 1))]])
def test_an_empty_arm_is_no_data(looks: list[Tally]) -> None:
    """Missing data is its own verdict: neither a pass nor a failure."""
    assert _judge(looks).kind == "no_data"


def test_no_errors_exclude_nothing() -> None:
    """Without a single bad event nothing is known of the ratio, and the judge says so."""
    found = _judge([Tally((5700, 300), (0, 0))] * 5)
    assert (found.kind, found.ratio, found.low, found.high) == ("inconclusive", None, 0.0, math.inf)


def test_looks_may_be_split_or_joined() -> None:
    """Two looks of one share tell what their sum tells."""
    looks = [Tally((5700, 300), (57, 9)), Tally((5700, 300), (60, 11))]
    joined = [Tally((11_400, 600), (117, 20))]
    assert _judge(looks).low == pytest.approx(_judge(joined).low)


def test_wilsons_interval_is_the_published_one() -> None:
    """Wilson's lower bound for 10 of 100 at z = 1.96 is 0.0552 (Newcombe 1998)."""
    assert wilson_low(10, 100, z=1.959964) == pytest.approx(0.0552, abs=5e-5)


def _slow(control: int, canary: int, looks: int, *, own_only: bool) -> MetricVerdict:
    """Looks of 1,000 requests an arm, so many of them slow, of which 1% are allowed."""
    evidence = Evidence(20.0 if own_only else 1.5, allowed=0.01, own_only=own_only)
    for _ in range(looks):
        evidence.add(Tally((1000, 1000), (control, canary)))
    return evidence.judge("latency_p99", alpha=0.005, beta=0.05)


def test_where_nobody_is_slow_the_own_share_decides() -> None:
    """Without a slow request in either arm a canary passes in time, and fails once it surely has too many."""
    assert _slow(0, 0, 1, own_only=True).kind == "pass"
    found = _slow(0, 40, 1, own_only=True)
    assert found.kind == "fail" and "surely above the 1% allowed and above the control's" in found.reason


def test_a_control_that_suffers_as_much_blames_nobody() -> None:
    """What is slow in both arms is a swing of the service, not the canary's doing."""
    found = _slow(40, 40, 20, own_only=True)
    assert found.kind == "inconclusive" and found.low <= found.margin == 1.0 < found.high


def test_a_late_swing_of_the_whole_service_does_not_blame_the_canary() -> None:
    """Most of a canary's requests come late, most of the control's early: slow ones in the end are not its doing."""
    evidence = Evidence(20.0, allowed=0.01, own_only=True, stages=3)
    for stage, (control, canary, slow) in enumerate([(9500, 500, 0.0), (7500, 2500, 0.0), (5000, 5000, 0.03)]):
        if stage:
            evidence.begin_stage()
        for _ in range(10):
            evidence.add(Tally((control, canary), (round(control * slow), round(canary * slow))))
            assert not evidence.fails(0.05)
    assert evidence.judge("latency_p99", alpha=0.05, beta=0.05).kind == "inconclusive"


def test_an_own_share_that_gets_bad_in_a_late_stage_is_found() -> None:
    """Early stages without a slow request do not hide a late one, as they would if only the whole were looked at."""
    evidence = Evidence(20.0, allowed=0.01, own_only=True, stages=2)
    evidence.add(Tally((100_000, 100_000), (0, 0)))
    evidence.begin_stage()
    evidence.add(Tally((1000, 1000), (0, 40)))
    found = evidence.judge("latency_p99", alpha=0.05, beta=0.05)
    assert found.kind == "fail" and found.low >= 1.0 and found.high >= found.low


def test_there_are_two_ways_to_pass_a_latency() -> None:
    """A canary whose own share is surely small passes although the ratio is not known to that width."""
    found = _slow(2, 3, 2, own_only=False)
    assert found.kind == "pass" and "surely under" in found.reason
    assert found.high <= found.margin == 1.0 and found.ratio == pytest.approx(0.3)


def _ever(own_only: bool, rates: Callable[[int], tuple[float, float]], says: str, effect: int = 1) -> float:
    """How many of 100 rollouts of two stages ever get a verdict; ``rates`` of (control, canary) by look of 40."""
    rng = np.random.default_rng(6)
    found = 0
    for _ in range(100):
        margin = 20.0 if own_only else 2.0
        evidence = Evidence(margin, allowed=0.01, own_only=own_only, stages=2, design_effect=effect)
        for look in range(40):
            if look == 20:
                evidence.begin_stage()
            requests = (1800, 200) if look < 20 else (1000, 1000)
            bursts = [rng.binomial(n // effect, rate) for n, rate in zip(requests, rates(look), strict=True)]
            evidence.add(Tally(requests, (int(bursts[0]) * effect, int(bursts[1]) * effect)))
            if (evidence.fails(0.1) and says == "fail") or (
                says == "pass" and look % 4 == 3 and evidence.judge("p99", alpha=1e-9, beta=0.1).kind == "pass"
            ):
                found += 1
                break
    return found / 100


@pytest.mark.parametrize("effect", [1, 4])
def test_the_own_share_keeps_its_errors_under_repeated_looks(effect: int) -> None:
    """At exactly the allowed share, whatever the control does, at most alpha ever fail and at most beta ever pass."""
    assert _ever(True, lambda _: (0.0, 0.01), "fail", effect) <= 0.1
    assert _ever(True, lambda look: (0.0, 0.0) if look < 30 else (0.05, 0.05), "fail", effect) <= 0.1
    assert _ever(True, lambda _: (0.0, 0.01), "pass", effect) <= 0.1


def test_two_ways_to_pass_keep_one_error() -> None:
    """A canary at the margin and at the allowed share passes at most beta of the time, though it may try both ways."""
    assert _ever(False, lambda _: (0.005, 0.01), "pass") <= 0.1


def test_there_are_two_ways_to_fail_a_latency() -> None:
    """Where the margin is too wide for a ratio to be shown above it, a share surely above the allowed one is enough."""
    evidence = Evidence(12.0, allowed=0.01)
    evidence.add(Tally((900, 900), (1, 72)))
    found = evidence.judge("latency_p99", alpha=0.005, beta=0.05)
    assert found.kind == "fail" and evidence.fails(0.005) and "surely above the 1% allowed" in found.reason
    assert found.margin == 1.0 and found.ratio == pytest.approx(8.0)


def test_two_ways_to_fail_keep_one_error() -> None:
    """At the margin and at the allowed share at most alpha ever fail, though either way may show it."""
    assert _ever(False, lambda _: (0.005, 0.01), "fail") <= 0.1
    assert _ever(False, lambda look: (0.002, 0.002) if look < 30 else (0.05, 0.05), "fail") <= 0.1


def test_a_late_failure_of_what_was_better_before_has_no_upper_bound() -> None:
    """Where one ratio does not fit the whole rollout, the interval is not told inside out."""
    evidence = Evidence(1.05, stages=2)
    evidence.add(Tally((50_000, 50_000), (2000, 400)))
    evidence.begin_stage()
    evidence.add(Tally((5000, 5000), (50, 200)))
    found = evidence.judge("error_rate", alpha=0.05, beta=0.05)
    assert found.kind == "fail" and found.low >= 1.05 and math.isinf(found.high)
