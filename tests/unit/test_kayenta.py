"""The rules of the kayenta judge, one by one, and its configurations."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from node0lib.canary.kayenta import Classification, MetricResult, classify, fences, judge, score, transformed
from node0lib.canary.kayenta_config import Analysis, EffectSize, KayentaConfig, Metric
from node0lib.errors import ConfigError
from node0lib.shell.kayenta_file import parse_kayenta, read_kayenta

CONFIGS = Path(__file__).parent.parent / "data" / "kayenta" / "configs"
NAN = math.nan
LOW, HIGH = [10.0, 11.0, 12.0, 10.5, 11.5], [20.0, 21.0, 22.0, 20.5, 21.5]


def _result(label: Any, *groups: str, critical: bool = False) -> MetricResult:
    return MetricResult(f"m-{label}", groups, Classification(label, 1.0, critical, f"it is {label}"))


def test_nan_is_removed_or_replaced_by_zero() -> None:
    """Both strategies, and outliers are looked for after them."""
    assert transformed([1.0, NAN, 2.0], Analysis()) == [1.0, 2.0]
    assert transformed([1.0, NAN, 2.0], Analysis(nan="replace")) == [1.0, 0.0, 2.0]


def test_outliers_go_only_if_asked_and_beyond_the_fences() -> None:
    """With a factor of 1.5 the lone 100 goes; the 1st and 99th percentile always stay."""
    values = [*map(float, range(1, 200)), 1000.0]
    assert transformed(values, Analysis()) == values
    assert transformed(values, Analysis(outlier_factor=1.5)) == values[:-1]
    assert transformed([], Analysis(outlier_factor=1.5)) == []


def test_fences_are_tukeys_by_r_type_7() -> None:
    """The quartiles of 1..5 are 2 and 4, so a factor of 3 reaches from -4 to 10."""
    assert fences([5.0, 1.0, 4.0, 2.0, 3.0], 3.0) == (-4.0, 10.0)


@pytest.mark.parametrize(
    ("analysis", "label", "critical"),
    [
        (Analysis(), "Nodata", False),
        (Analysis(critical=True), "Nodata", True),
        (Analysis(must_have_data=True), "NodataFailMetric", False),
        (Analysis(must_have_data=True, critical=True), "Nodata", True),
        (Analysis(nan="replace", critical=True, must_have_data=True), "Pass", False),
    ],
)
@pytest.mark.parametrize("arms", [([], LOW), (LOW, []), ([], [])])
def test_no_data(analysis: Analysis, label: str, critical: bool, arms: tuple[list[float], list[float]]) -> None:
    """An empty arm is Kayenta's Nodata in its three shades, and its Pass where no data means zero."""
    found = classify(*arms, analysis, name="cpu")
    assert (found.label, found.critical) == (label, critical)


@pytest.mark.parametrize(
    ("direction", "up", "down"), [("increase", "High", "Pass"), ("decrease", "Pass", "Low"), ("either", "High", "Low")]
)
def test_a_metric_fails_in_its_direction_only(direction: Any, up: str, down: str) -> None:
    """More is High where a rise is watched, less is Low where a fall is."""
    analysis = Analysis(direction=direction)
    assert classify(LOW, HIGH, analysis, name="x").label == up
    assert classify(HIGH, LOW, analysis, name="x").label == down


@pytest.mark.parametrize(
    ("effect", "label"),
    [
        (EffectSize(allowed=(None, 1.5)), "High"),
        (EffectSize(allowed=(None, 2.5)), "Pass"),
        (EffectSize("cles", allowed=(None, 1.0)), "High"),
        (EffectSize("cles"), "High"),
    ],
)
def test_an_effect_must_reach_its_bound(effect: EffectSize, label: str) -> None:
    """Means 1.9 to 1 are no 2.5, and of separated arms every pair is higher (CLES 1)."""
    assert classify(LOW, HIGH, Analysis(effect=effect), name="x").label == label


def test_critical_asks_for_its_own_bound() -> None:
    """A critical metric that is High under its critical bound fails without failing everything."""
    mild = Analysis(critical=True, effect=EffectSize(critical=(None, 5.0)))
    assert [classify(LOW, HIGH, a, name="x").critical for a in (mild, Analysis(critical=True))] == [False, True]


def test_constant_arms_are_compared_and_the_same_way_each_time() -> None:
    """Two constants that differ are High; Kayenta draws noise for it, this judge does not."""
    found = {classify([5.0] * 4, [6.0] * 4, Analysis(), name="x") for _ in range(3)}
    assert {f.label for f in found} == {"High"} and len(found) == 1


def test_one_point_an_arm_cannot_be_ranked() -> None:
    """A single different point an arm is an Error, which says what to do."""
    found = classify([5.0], [6.0], Analysis(), name="x")
    assert found.label == "Error" and "more points" in str(found.reason)


def test_a_critical_failure_makes_zero_and_says_why() -> None:
    """One critical metric that is High brings the score to 0 whatever the others are."""
    found = score([_result("Pass", "a"), _result("Pass", "a"), _result("High", "b", critical=True)], {})
    assert (found.score, found.reason) == (0.0, "Canary Failed: it is High")


def test_half_without_data_make_zero() -> None:
    """At 50% Nodata the score is 0, below that groups without data count as 100."""
    assert score([_result("Pass", "a"), _result("Nodata", "b")], {}).score == 0.0
    assert score([_result("Pass", "a"), _result("High", "a"), _result("Nodata", "b")], {}).score == 75.0


def test_missing_but_required_counts_as_failed() -> None:
    """NodataFailMetric is counted in its group, plain Nodata is not."""
    assert score([_result("Pass", "a"), _result("NodataFailMetric", "a")], {}).score == 50.0


def test_groups_without_weight_share_the_rest_and_scores_have_two_places() -> None:
    """40% to one group leaves 30% to each of two others; a third of 100 is 33.33."""
    results = [_result("Pass", "a"), _result("High", "b"), _result("Pass", "c")]
    assert score(results, {"a": 40.0}).score == 70.0
    assert score([_result("Pass", "g"), _result("Low", "g"), _result("High", "g")], {}).score == 33.33


def test_a_metric_in_two_groups_counts_in_both() -> None:
    """Groups may overlap."""
    found = score([_result("High", "a", "b"), _result("Pass", "b")], {"a": 50.0, "b": 50.0})
    assert (found.groups, found.score) == ({"a": 0.0, "b": 50.0}, 25.0)


def test_the_whole_judge_with_muted_and_marginal() -> None:
    """A muted failure is shown and not counted; between the thresholds a canary is marginal."""
    muted = Metric("noisy", ("g",), Analysis(critical=True, muted=True))
    config = KayentaConfig((muted, Metric("good", ("g",)), Metric("bad", ("g",))), {}, 75.0, 50.0)
    found = judge(config, {"noisy": (LOW, HIGH), "good": (LOW, LOW), "bad": (LOW, HIGH)})
    assert (found.label, found.score.score) == ("Marginal", 50.0)
    assert [r.found.label for r in found.results] == ["High", "Pass", "High"]


def test_values_of_an_unknown_metric_are_refused() -> None:
    """The judge names the metrics that it knows."""
    with pytest.raises(ConfigError, match="no metric 'cpu' in the Kayenta configuration; it has mem"):
        judge(KayentaConfig((Metric("mem"),)), {"cpu": (LOW, HIGH)})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda p: p.stem)
def test_kayentas_own_configurations_are_read(path: Path) -> None:
    """Every configuration of Kayenta's is read, but for the one whose metric name is there twice."""
    if "duplicated" in path.name:
        with pytest.raises(ConfigError, match=r"json:16: metrics\[1\].name: 'mem' is there already"):
            read_kayenta(path)
        return
    found, raw = read_kayenta(path), json.loads(path.read_text("utf-8"))
    assert [m.name for m in found.metrics] == [m["name"] for m in raw["metrics"]]
    assert found.pass_at == raw["classifier"]["scoreThresholds"]["pass"]
    assert found.notes == ()


def test_all_of_an_analysis_is_read() -> None:
    """Direction, NaN strategy, outliers, effect sizes and flags arrive where they belong."""
    canary = {
        "direction": "decrease", "nanStrategy": "replace", "critical": True, "muted": True, "mustHaveData": True,
        "outliers": {"strategy": "remove", "outlierFactor": 2},
        "effectSize": {"measure": "cles", "allowedDecrease": 0.3, "allowedIncrease": 0.7, "criticalDecrease": 0.1},
    }  # fmt: skip
    text = {"metrics": [{"name": "m", "groups": ["g"], "analysisConfigurations": {"canary": canary}}]}
    found = parse_kayenta(json.dumps(text, indent="\t").encode(), "c.json").metrics[0].analysis
    effect = EffectSize("cles", (0.3, 0.7), (0.1, None))
    assert found == Analysis("decrease", "replace", 2.0, True, True, True, effect)


def _config(canary: Any = None, **more: Any) -> bytes:
    metric = {"name": "m", "groups": ["g"], "analysisConfigurations": {"canary": canary or {}}}
    return json.dumps({"metrics": [metric], **more}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "c.json:1: is not JSON"),
        (b"[]", "metrics"),
        (b'{"metrics": []}', "metrics: is not a list of metrics"),
        (_config({"critcal": True}), "canary.critcal: is no key here; did you mean critical?"),
        (_config({"direction": "up"}), "canary.direction: 'up' is not one of increase, decrease, either"),
        (_config({"critical": "true"}), "canary.critical: 'true' is neither true nor false"),
        (_config({"effectSize": {"measure": "cohen"}}), "effectSize.measure: 'cohen' is not one of meanRatio, cles"),
        (_config({"outliers": {"outlierFactor": 0}}), "outliers.outlierFactor: 0 must be more than 0"),
        (_config(judge={"name": "RemoteJudge-v1.0"}), "judge.name: 'RemoteJudge-v1.0' is not a judge that node0 knows"),
        (_config(classifier={"groupWeights": {"g": 60}}), "every group has a weight, and they add up to 60"),
        (_config(classifier={"groupWeights": {"g": 60, "h": 60}}), "the weights add up to 120"),
        (_config(classifier={"scoreThresholds": {"pass": 50, "marginal": 60}}), "marginal: 60 is above pass, 50"),
        (b'{"metrics": [{"name": "m", "name": "n"}]}', "metrics.n.name: is written twice"),
    ],
)
def test_what_would_weaken_the_judge_is_refused(content: bytes, message: str) -> None:
    """Each mistake is one clear line that names the file, the line and the key."""
    with pytest.raises(ConfigError) as caught:
        parse_kayenta(content, "c.json")
    assert message in str(caught.value) and str(caught.value).count("\n") == 0


def test_what_is_not_looked_at_is_noted() -> None:
    """Keys beside the known ones are told, not refused."""
    found = parse_kayenta(_config(retries=3), "c.json")
    assert found.notes == ("retries is no key of a canary config and was not looked at",)


def test_a_weight_that_cannot_be_earned_is_noted() -> None:
    """A group with a weight and without a metric takes its share of the score away, in Kayenta too."""
    config = parse_kayenta(_config(classifier={"groupWeights": {"g": 60, "h": 40}}), "c.json")
    assert config.notes == ("the group h has a weight and no metric: 40% of the score is lost",)
    assert judge(config, {"m": (LOW, LOW)}).score.score == 60.0


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message says which file, and what to name instead."""
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read .*; name a Kayenta config"):
        read_kayenta(tmp_path / "none.json")
