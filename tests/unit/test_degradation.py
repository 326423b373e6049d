"""Simulated canaries: what degradations and noises do to counts, how rollouts are walked, what a study says of them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from node0lib.canary.threshold import compare
from node0lib.errors import ConfigError
from node0lib.shell.canary_study import open_canary_study
from node0lib.simulate import canary_study
from node0lib.simulate.canary_walk import HELD, JUDGES, PROMOTED, ROLLED_BACK, Plan, walk
from node0lib.simulate.degradation import DEGRADATIONS, HARMLESS, NOISES, WHAT, Degradation, Noise
from node0lib.simulate.harmless import Question, naively_worse, stopped_by
from node0lib.simulate.rollouts import Block, Drawing, World
from node0lib.views import canary_pictures, canary_view

SHORT = Plan(World(look=10.0), (0.05, 0.5), looks=30)


def drawn(wrong: Degradation, *, share: float = 0.25, noise: Noise = Noise(), rollouts: int = 400) -> Block:  # noqa: B008
    """Two minutes of some rollouts, in looks of a second."""
    world = World(noise=noise, look=1.0)
    drawing = Drawing(world, wrong, rollouts=rollouts, random=np.random.default_rng(7), most=share)
    return drawing.looks(share, np.zeros(rollouts), 120)


def test_every_degradation_is_told_in_words() -> None:
    """The table and its words name the same kinds, and one of them is harmless."""
    assert list(DEGRADATIONS) == list(WHAT)
    assert [name for name, kind in DEGRADATIONS.items() if kind.harmless] == [HARMLESS]


def test_shapes_over_time() -> None:
    """A step stays, a ramp rises, a warm-up heals, flapping comes and goes, load decides at its share."""
    at = np.array([0.0, 30.0, 60.0, 90.0, 120.0, 600.0])
    ratios = {
        "step": Degradation(3.0, begins=60.0),
        "ramp": Degradation(3.0, "ramp", begins=30.0, length=60.0),
        "heals": Degradation(3.0, "heals", length=60.0),
        "flapping": Degradation(3.0, "flapping", length=120.0),
    }
    found = {name: kind.ratios(at, 0.05).tolist() for name, kind in ratios.items()}
    assert found["step"] == [1, 1, 3, 3, 3, 3]
    assert found["ramp"] == [1, 1, 2, 3, 3, 3]
    assert found["heals"] == [3, 2, 1, 1, 1, 1]
    assert found["flapping"] == [3, 3, 1, 1, 3, 3]
    load = Degradation(3.0, above_share=0.2)
    assert load.ratios(at, 0.2).max() == 1 and load.ratios(at, 0.21).min() == 3


IMPOSSIBLE = [{"ratio": 0.5}, {"ratio": math.inf}, {"lost": 1.5}, {"begins": -1.0}, {"length": 0.0}]


@pytest.mark.parametrize("wrong", IMPOSSIBLE)
def test_degradations_that_cannot_be(wrong: dict[str, float]) -> None:
    """Ratios under 1, shares beyond 1 and times that are none are refused."""
    with pytest.raises(ConfigError, match="degradation"):
        Degradation(**wrong)  # type: ignore[arg-type]


def test_counts_have_the_rates_that_are_asked_for() -> None:
    """Requests and failures of both arms lie at what is expected, within four standard errors."""
    block = drawn(Degradation(3.0))
    n = 400 * 120
    for arm, (requests, bad) in enumerate(((75.0, 0.75), (25.0, 0.75))):
        assert abs(block.requests[..., arm].sum() / n - requests) < 4 * math.sqrt(requests / n)
        assert abs(block.bad[..., arm].sum() / n - bad) < 4 * math.sqrt(bad / n)
    assert abs(block.harm.sum() / n - 0.5) < 4 * math.sqrt(0.75 / n)
    assert (block.bad <= block.requests).all()


@pytest.mark.parametrize("kind", ["bursts", "overdispersed"])
def test_noise_has_its_design_effect_in_each_look(kind: str) -> None:
    """The variance of a look's failures is the design effect times their mean; iid failures have 1."""
    bad = drawn(Degradation(), noise=Noise(kind, 3.0)).bad.astype(float)  # type: ignore[arg-type]
    iid = drawn(Degradation()).bad.astype(float)
    assert bad.var(axis=(0, 1)) / bad.mean(axis=(0, 1)) == pytest.approx([3, 3], rel=0.15)
    assert iid.var(axis=(0, 1)) / iid.mean(axis=(0, 1)) == pytest.approx([1, 1], rel=0.05)


def test_noise_that_wanders_has_its_design_effect_in_the_long_run() -> None:
    """The log ratio of both arms varies about D times as much as iid failures make it; shared swings leave it alone."""

    def varies(noise: Noise) -> float:
        world = World(1000.0, 0.05, noise, look=5.0)
        drawing = Drawing(world, Degradation(), rollouts=1000, random=np.random.default_rng(8))
        control, canary = drawing.looks(0.5, np.zeros(1000), 360).bad.sum(axis=1).T
        usual = 1 / control.mean() + 1 / canary.mean()
        return float(np.log(canary / control).var() / usual)

    assert varies(Noise()) == pytest.approx(1, rel=0.15)
    assert varies(Noise("autocorrelated", 3.0)) == pytest.approx(3, rel=0.15)
    assert varies(Noise("swings")) == pytest.approx(1, rel=0.15)


def test_stretches_of_a_wandering_rate_belong_together() -> None:
    """A rate that wanders goes on where the last stretch left it."""
    drawing = Drawing(World(20_000.0, 0.05, Noise("swings"), 1.0), Degradation(), rollouts=300,
                      random=np.random.default_rng(9))  # fmt: skip
    before, after = (drawing.looks(0.5, np.zeros(300), 5).bad.sum(axis=2) for _ in range(2))
    assert np.corrcoef(before[:, -1], after[:, 0])[0, 1] > 0.9


def test_retries_land_on_the_stable_version() -> None:
    """Clients that try again load the control, and few of them see a failure."""
    plain, retried = drawn(Degradation(20.0)), drawn(Degradation(20.0, retried=1.0))
    more = retried.requests[..., 0].mean() - plain.requests[..., 0].mean()
    assert more == pytest.approx(0.75 * 25 * 0.2, rel=0.05)
    assert retried.bad[..., 1].mean() == pytest.approx(plain.bad[..., 1].mean(), rel=0.05)
    assert retried.harm.mean() < 0.3 * plain.harm.mean()


def test_lost_requests_are_harm_that_nobody_counts() -> None:
    """Half of the canary's requests are missing, its error rate is the usual one, and users are failed all the same."""
    block = drawn(Degradation(lost=0.5))
    assert block.requests[..., 1].mean() == pytest.approx(12.5, rel=0.03)
    assert block.bad[..., 1].sum() / block.requests[..., 1].sum() == pytest.approx(0.01, rel=0.1)
    assert block.harm.mean() == pytest.approx(12.5, rel=0.03)


def test_a_silent_canary_goes_on_failing() -> None:
    """From its beginning on nothing is counted, and users suffer."""
    block = drawn(Degradation(5.0, begins=60.0, silent=True))
    assert block.requests[:, 60:, 1].sum() == 0 and block.requests[:, :60, 1].sum() > 0
    assert block.harm[:, 60:].mean() == pytest.approx(1.0, rel=0.05)


def test_bursts_of_a_cohort() -> None:
    """A cohort's failures are as many as those of a step, and cluster."""
    step, cohort = (drawn(kind).bad[..., 1].astype(float) for kind in (Degradation(2.0), Degradation(2.0, burst=5.0)))
    assert cohort.mean() == pytest.approx(step.mean(), rel=0.08)
    assert cohort.var() / cohort.mean() > 3 > 1.2 > step.var() / step.mean()


def test_the_naive_rule_is_the_threshold_judge() -> None:
    """Totals compare as ``threshold.compare`` does, a control without errors included."""
    random = np.random.default_rng(10)
    requests = random.poisson([95, 5], size=(300, 2)) + 1
    bad = random.binomial(requests, 0.02)
    found = naively_worse(requests, bad, 1.05)
    for row in range(300):
        control, canary = bad[row] / requests[row]
        assert found[row] == (compare("errors", control, canary, margin=1.05).kind == "fail")
    assert 0 < found.sum() < 300
    assert not naively_worse(np.array([10, 0]), np.array([1, 0]), 1.05)


def test_equal_questions_have_equal_answers() -> None:
    """The seed decides, not the threads; another seed decides otherwise."""
    asked = Question(World(), (0.05, 0.5), 20, 600)
    one, two = (stopped_by(asked, kayenta=600, workers=workers) for workers in (1, 3))
    assert all((one[judge] == two[judge]).all() for judge in one)
    assert (stopped_by(replace(asked, seed=2))["naive"] != one["naive"]).any()


@pytest.mark.parametrize("judge", JUDGES)
def test_a_walk_adds_up(judge: str) -> None:
    """Every rollout has one end, within its stages' time (twice, for sequential), at a stage that it reached."""
    plan = replace(SHORT, looks=12)
    found = walk(plan, DEGRADATIONS["one cohort"], judge, rollouts=300, seed=3)  # type: ignore[arg-type]
    assert set(found.ending.tolist()) <= {PROMOTED, ROLLED_BACK, HELD}
    longest = plan.stage * len(plan.shares) * (2 if judge == "sequential" else 1)
    assert (found.seconds > 0).all() and (found.seconds <= longest).all()
    assert (found.at_stage[found.ending == PROMOTED] == 1).all()
    assert (found.exposed > 0).all() and (found.exposed < plan.users * plan.shares[-1]).all()
    assert judge == "sequential" or (found.ending != HELD).all()


def test_a_rollback_before_the_harm_is_not_a_detection() -> None:
    """What is stopped at 5% for a fault that shows above 20% only was stopped for a wrong reason."""
    found = walk(SHORT, Degradation(20.0, above_share=0.2), "naive", rollouts=300, seed=4)
    early = (found.ending == ROLLED_BACK) & (found.at_stage == 0)
    assert early.any() and not found.detected[early].any()
    assert np.isinf(found.delays[early]).all() and np.isinf(found.onset[early]).all()
    assert found.detected[found.at_stage == 1].all()


def test_outcomes_are_shares_with_intervals() -> None:
    """Shares of ends add up to one; who misses most has no median; a harmless canary is always among the kinds."""
    asked = canary_study.Study(SHORT, 100, 1, {"silent loss of traffic": DEGRADATIONS["silent loss of traffic"]})
    found = canary_study.outcomes(asked)
    assert list(found) == [HARMLESS, "silent loss of traffic"]
    for by_judge in found.values():
        for one in by_judge.values():
            assert one.rolled_back.value + one.held.value + one.promoted.value == pytest.approx(1)
    lost = found["silent loss of traffic"]
    assert lost["kayenta"].delay.value == math.inf and lost["sequential"].detected.value == 1
    assert lost["kayenta"].failed.value > 10 * lost["sequential"].failed.value


def test_needs_are_the_published_ones() -> None:
    """+5% at 1% errors takes 262,000 canary requests at one look, and no canary at the margin is ever caught."""
    least, *others = canary_study.needs(Plan())
    assert round(least.fixed, -3) == 262_000 and least.caught == math.inf
    assert all(a.excluded > b.excluded and a.caught > b.caught for a, b in zip(others, others[1:], strict=False))
    assert all(need.ratio * 0.3 < 1 for need in canary_study.needs(Plan(World(error_rate=0.3))))


def test_a_study_is_opened_by_its_parameters() -> None:
    """Minutes become looks, names become degradations, and judges are told of noise that has a design effect."""
    asked = open_canary_study(50, 0.02, [0.1], 10, ["ramp"], "bursts", 2.5, 40, 3)
    assert (asked.plan.stage, asked.plan.design_effect, list(asked.kinds)) == (600.0, 2.5, ["ramp"])
    assert asked.plan == open_canary_study(50, "2%", "10%", 10, [], "bursts", 2.5, 40, 3).plan
    assert open_canary_study(50, 0.02, ["5%", "25%"], 10, [], "iid", 3, 40, 3).plan.shares == (0.05, 0.25)
    assert open_canary_study(50, 0.02, [0.1], 10, [], "swings", 2.5, 40, 3).plan.design_effect == 1
    assert len(open_canary_study(50, 0.02, [0.1], 10, [], "iid", 3, 40, 3).kinds) == len(DEGRADATIONS) - 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"noise": "bursty"}, "did you mean"),
        ({"noise": 3}, 'noise: 3 is no text; write "iid"'),
        ({"kinds": "ramp"}, "kinds: 'ramp' is no list"),
        ({"stages": 0.05}, "stages: 0.05 is no list of shares; write"),
        ({"stages": ["a", 0.5]}, "stages: 'a' is no share; write"),
        ({"stage_minutes": "5m"}, "stage_minutes: '5m' is no number; write 5"),
        ({"error_rate": "one"}, "error_rate: 'one' is no share; write"),
        ({"rollouts": "many"}, "rollouts: 'many' is no whole number; write 500"),
        ({"kinds": ["rampe"]}, "did you mean"),
        ({"stages": [0.5, 0.05]}, "must rise"),
        ({"stages": [0.05, 1.0]}, "no control"),
        ({"stages": []}, "must rise"),
        ({"error_rate": 0.0}, "error_rate"),
        ({"traffic": 0}, "traffic"),
        ({"rollouts": 5}, "too few"),
        ({"stage_minutes": 0.05}, "too short"),
        ({"noise": "bursts", "design_effect": 0.5}, "design effect"),
    ],
)
def test_parameters_that_make_no_sense(given: dict[str, object], told: str) -> None:
    """Each is refused, with what to do or what is meant."""
    usual: dict[str, object] = {
        "traffic": 100, "error_rate": 0.01, "stages": [0.05, 0.5], "stage_minutes": 5, "kinds": [], "noise": "iid",
        "design_effect": 3, "rollouts": 100, "seed": 1,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=told):
        open_canary_study(**(usual | given))  # type: ignore[arg-type]


def test_every_view_of_a_small_study() -> None:
    """Tables and pictures of another traffic say its numbers and that they are simulated, whatever was asked."""
    asked = open_canary_study(400, 0.05, [0.1, 0.4], 1, ["crash with retries", "lost telemetry"], "bursts", 3, 20, 2)
    found, needed = canary_study.outcomes(asked), canary_study.needs(asked.plan)
    assert "SIMULATED" in canary_view.question(asked).text and "design effect, 3" in canary_view.question(asked).text
    assert "promises at most 4.0%" in canary_view.noises(asked, canary_study.noises(asked, looks=20), 20).text
    shown = (
        canary_view.judges(asked.plan), canary_view.degradations(asked), canary_view.in_short(asked, found),
        canary_view.outcomes(asked, found), canary_view.costs(asked, found), canary_view.needs(asked.plan, needed),
        canary_view.answer(asked.plan, needed),
        canary_pictures.shapes(asked), canary_pictures.outcomes(asked, found),
        canary_pictures.over_looks(asked, canary_study.over_looks(asked, looks=20)),
        canary_pictures.power(asked, canary_study.curve(asked, sizes=(1.0, 5.0))),
    )  # fmt: skip
    for one in shown:
        assert "nan" not in one.text and " inf" not in one.text
    for figure in shown[-4:]:
        assert "simulated" in figure.text.lower() and figure.html.count("<figcaption>") == 1
    assert "Lost telemetry: sequential rolls back after 5 s" in canary_view.in_short(asked, found).html
    assert {noise.noise.kind for noise in canary_study.noises(asked, looks=5)} == set(NOISES)


def test_a_study_without_enough_traffic_says_so() -> None:
    """One request a second tells nothing in five minutes, and the page says that instead of a size."""
    plan = Plan(World(1.0, 0.001))
    told = canary_view.answer(plan, canary_study.needs(plan)).text
    assert "at no size of harm" in told and "no harm that is listed here is excluded" in told
    assert "may pass at the margin" in canary_view.answer(
        Plan(World(50_000.0, 0.05)), canary_study.needs(Plan(World(50_000.0, 0.05)))
    ).text
