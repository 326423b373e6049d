"""The canary's promises on simulated rollouts, and the compiled judges against the originals that they repeat.

``tests/benchmarks/canary_aa.py`` has the same with ten thousand rollouts for each of many configurations.
"""

import itertools

import numpy as np
import pytest

from node0lib.canary.evidence_kernel import Evidences, SampleRatios
from node0lib.canary.kayenta import classify
from node0lib.canary.kayenta_config import Analysis
from node0lib.canary.mannwhitney_kernel import high
from node0lib.canary.sample_ratio import SampleRatio
from node0lib.canary.sequential import Evidence, Tally
from node0lib.simulate.canary_walk import Plan, walk
from node0lib.simulate.degradation import DEGRADATIONS, Degradation, Noise
from node0lib.simulate.harmless import NEVER, Question, family_stopped_by, stopped_by
from node0lib.simulate.rollouts import World
from node0lib.sli.intervals import median_interval

AT_MARGIN = np.array([0])
ALPHA = 0.05


def looks_of(random: np.random.Generator, rollouts: int, looks: int) -> tuple[np.ndarray, np.ndarray]:
    """Requests and bad ones of rollouts that are far apart: each with a ratio of its own, some looks empty."""
    requests = random.poisson([40.0, 4.0], size=(rollouts, looks, 2))
    ratios = np.exp(random.uniform(-2, 1.5, size=(rollouts, 1)))
    rates = np.stack([np.full_like(ratios, 0.05), np.minimum(0.05 * ratios, 0.9)], axis=-1)
    return requests, random.binomial(requests, rates)


def tally(requests: np.ndarray, bad: np.ndarray) -> Tally:
    return Tally((int(requests[0]), int(requests[1])), (int(bad[0]), int(bad[1])))


@pytest.mark.parametrize(("stages", "effect"), [(1, 1.0), (3, 1.0), (4, 2.5)])
def test_the_compiled_evidence_is_the_judges(stages: int, effect: float) -> None:
    """Evidence for harm and against it agree with the judge's own to 1e-9 at every look, through all its stages."""
    requests, bad = looks_of(np.random.default_rng(1), rollouts=12, looks=60)
    many = Evidences(12, 1.05, design_effect=effect, stages=stages, excluding=(1.05, 2.0))
    ones = [Evidence(1.05, design_effect=effect, stages=stages) for _ in range(12)]
    for look in range(60):
        if look and look % 15 == 0 and look // 15 < stages:
            many.begin_stage()
            for one in ones:
                one.begin_stage()
        many.add(requests[:, [look]], bad[:, [look]], alpha=1e-300)
        for row, one in enumerate(ones):
            one.add(tally(requests[row, look], bad[row, look]))
        np.testing.assert_allclose(many.log_e(), [one._above(AT_MARGIN)[0] for one in ones], rtol=0, atol=1e-9)
        np.testing.assert_allclose(
            many.log_e_below(1.05), [one._below(AT_MARGIN)[0] for one in ones], rtol=0, atol=1e-9
        )
    with pytest.raises(ValueError, match=f"made for {stages} stages"):
        for _ in range(stages):
            many.begin_stage()


def test_the_compiled_evidence_says_what_the_judge_says() -> None:
    """First failing look, pass at the margin and harm that is excluded are the judge's own, and all of them occur."""
    requests, bad = looks_of(np.random.default_rng(2), rollouts=60, looks=80)
    many = Evidences(60, 1.05, excluding=(1.05, 2.0))
    stopped = many.add(requests, bad, alpha=ALPHA)
    for row in range(60):
        one = Evidence(1.05)
        first = -1
        for look in range(80):
            one.add(tally(requests[row, look], bad[row, look]))
            if one.fails(ALPHA):
                first = look
                break
        assert stopped[row] == first
        verdict = one.judge("errors", alpha=ALPHA, beta=ALPHA)
        assert many.excludes(2.0, ALPHA)[row] == (verdict.high <= 2.0)
        assert verdict.kind == "fail" or many.excludes(1.05, ALPHA)[row] == (verdict.kind == "pass")
    assert 5 < (stopped >= 0).sum() < 55
    assert 5 < many.excludes(1.05, ALPHA).sum() < many.excludes(2.0, ALPHA).sum() < 55


def test_the_compiled_sample_ratio_is_the_original() -> None:
    """The first look at which the traffic is seen to be wrong is the same, over two stretches of a stage."""
    random = np.random.default_rng(3)
    requests = random.poisson(np.array([95.0, 1.0]) * [[[1.0, s]] for s in np.linspace(0.5, 14, 20)], size=(20, 80, 2))
    many = SampleRatios(20, 0.05)
    first, second = many.add(requests[:, :30], alpha=0.01), many.add(requests[:, 30:], alpha=0.01)
    found = np.where(first >= 0, first, np.where(second >= 0, second + 30, -1))
    for row in range(20):
        one = SampleRatio(0.05)
        told = []
        for control, canary in requests[row]:
            one.add((int(control), int(canary)))
            told.append(one.mismatch(0.01) is not None)
        assert found[row] == (told.index(True) if any(told) else -1)
    assert 3 < (found >= 0).sum() < 20


@pytest.mark.parametrize(("canary", "rate"), [(0.2, 0.02), (0.2, 0.2), (50.0, 1.0), (1e-4, 1e-5)])
def test_the_compiled_rank_test_is_kayentas(canary: float, rate: float) -> None:
    """High is High, and nothing else is, for rates, for gaps, for ties and for arms that never change."""
    random = np.random.default_rng(4)
    control = np.round(random.gamma(2.0, rate, size=(120, 30)), 5)
    shifted = np.round(random.gamma(2.0, rate * np.exp(random.uniform(-1, 1, size=(120, 1))), size=(120, 25)), 5)
    control[:10], shifted[:10] = rate, rate * np.linspace(0.5, 2, 10)[:, None]
    control[10:40, ::3] = np.nan
    shifted[20:60] = np.where(random.random((40, 25)) < 0.7, 0.0, shifted[20:60])
    shifted[60] = np.nan
    found = high(control, shifted)
    for row in range(120):
        arms = [values[~np.isnan(values)].tolist() for values in (control[row], shifted[row])]
        assert found[row] == (classify(*arms, Analysis(direction="increase"), name="").label == "High"), row
    assert 10 < found.sum() < 110


NOISES = [Noise(), Noise("bursts", 3), Noise("overdispersed", 3), Noise("autocorrelated", 3), Noise("swings")]


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: n.kind)
def test_harmless_canaries_are_not_stopped(noise: Noise) -> None:
    """At most alpha are ever stopped in 180 looks: equal to the control or at the margin, staged or not."""
    for rate, shares in itertools.product((0.001, 0.05), ((0.25,), (0.05, 0.25, 0.5))):
        for wrong in (Degradation(), Degradation(1.05)):
            asked = Question(World(error_rate=rate, noise=noise), shares, 180 // len(shares), 500, wrong,
                             alpha=ALPHA, design_effect=noise.told)  # fmt: skip
            assert (stopped_by(asked, workers=1)["sequential"] < NEVER).mean() <= ALPHA, (rate, shares, wrong.ratio)


def test_three_metrics_together_keep_alpha() -> None:
    """A rollout's three metrics, each at its margin, stop at most alpha of the canaries together."""
    asked = Question(World(), (0.05, 0.25, 0.5), 60, 500, alpha=ALPHA)
    assert (family_stopped_by(asked, worst=True, workers=1) < NEVER).mean() <= ALPHA


def test_a_judge_that_is_not_told_of_the_noise_breaks_its_promise() -> None:
    """With bursts of design effect 3 that it does not know of, it stops more than three times alpha."""
    asked = Question(World(noise=Noise("bursts", 3)), (0.25,), 180, 500, alpha=ALPHA)
    assert (stopped_by(asked, workers=1)["sequential"] < NEVER).mean() > 3 * ALPHA


def test_the_naive_rule_stops_most_harmless_canaries() -> None:
    """At 1% errors, 100 requests/s, 5% canary, ten looks in ten minutes: 37% at the last look, 75% at any."""
    asked = Question(World(look=60.0), (0.05,), 10, 2000)
    found = stopped_by(asked, kayenta=500, workers=1)
    assert abs((found["naive, last look"] < NEVER).mean() - 0.37) < 0.04
    assert abs((found["naive"] < NEVER).mean() - 0.75) < 0.04
    assert (found["sequential"] < NEVER).mean() <= ALPHA
    assert found["kayenta"].size == 500


def test_kayenta_is_asked_as_its_config_would_be() -> None:
    """Some of what the naive rule stops, and almost nothing that is harmless, is High to Kayenta at a stage's end."""
    worse = Question(World(), (0.25,), 60, 250, Degradation(2.0))
    assert (stopped_by(worse, kayenta=250, workers=1)["kayenta"] == 59).mean() > 0.9
    equal = Question(World(), (0.25,), 60, 250)
    assert (stopped_by(equal, kayenta=250, workers=1)["kayenta"] < NEVER).mean() < 0.05


@pytest.mark.parametrize(("ratio", "within"), [(2.0, 240.0), (5.0, 40.0), (20.0, 13.0)])
def test_worse_canaries_are_rolled_back_in_time(ratio: float, within: float) -> None:
    """In the median a doubling takes about three minutes, x5 about 30 s, x20 about 10 s (100 requests/s, 1%)."""
    plan = Plan(World(look=1.0), looks=300, alpha=ALPHA / 0.8)
    found = median_interval(walk(plan, Degradation(ratio), "sequential", rollouts=500, seed=2).delays.tolist())
    assert found is not None and found.value <= within


@pytest.mark.parametrize("judge", ["sequential", "kayenta"])
def test_lost_telemetry_is_never_promoted(judge: str) -> None:
    """A canary that nobody hears of any more is rolled back, by the sequential judge within seconds."""
    found = walk(Plan(), DEGRADATIONS["lost telemetry"], judge, rollouts=100, seed=1)  # type: ignore[arg-type]
    assert (found.ending == "rolled back").all()
    assert judge != "sequential" or found.seconds.max() <= 70


def test_a_silent_loss_of_traffic_is_seen_by_the_sequential_judge_alone() -> None:
    """Half of the canary's requests get lost: its sample-ratio check rolls back, Kayenta promotes."""
    lost = DEGRADATIONS["silent loss of traffic"]
    assert (walk(Plan(), lost, "sequential", rollouts=100, seed=1).ending == "rolled back").all()
    assert (walk(Plan(), lost, "kayenta", rollouts=100, seed=1).ending == "promoted").all()
