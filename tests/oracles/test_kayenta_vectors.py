"""The kayenta judge against Kayenta's own test vectors, and scipy's Mann-Whitney test as a second opinion."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from node0lib.canary.kayenta import Classification, MetricResult, classify, mean_inequality, score
from node0lib.canary.kayenta_config import Analysis, EffectSize
from node0lib.canary.mannwhitney import cles, shift, statistic

DATA = Path(__file__).parent.parent / "data" / "kayenta"


def _vectors(name: str) -> list[Any]:
    found: list[Any] = json.loads((DATA / f"{name}_vectors.json").read_text("utf-8"))
    return [pytest.param(v, id=v["name"].replace(" ", "_")) for v in found]


def _analysis(vector: dict[str, Any]) -> Analysis:
    p = vector["params"]
    allowed, critical = tuple(p["effectSizeThresholds_low_high"]), tuple(p["criticalThresholds_low_high"])
    return Analysis(
        direction=vector["direction"],
        nan=vector["nanStrategy"],
        critical=vector["isCriticalMetric"],
        must_have_data=vector["isDataRequired"],
        effect=EffectSize(p["effectSizeMeasure"], allowed, critical),
    )


def _classified(vector: dict[str, Any]) -> Classification:
    arms, params = (vector["control"], vector["experiment"]), vector["params"]
    if vector["classifier"] == "MeanInequalityClassifier":
        return mean_inequality(*arms, _analysis(vector), name="metric")
    within = {"tolerance": params["tolerance"], "confidence": params["confLevel"]}
    return classify(*arms, _analysis(vector), name="metric", **within)


@pytest.mark.parametrize("vector", _vectors("classifier"))
def test_metrics_are_classified_as_kayenta_does(vector: dict[str, Any]) -> None:
    """Label, criticality, deviation and reason of every vector are Kayenta's."""
    found, expected = _classified(vector), vector["expected"]
    assert expected["classification"] in (None, found.label)
    assert expected["critical"] in (None, found.critical)
    if expected["deviation"] is not None:
        assert found.deviation == pytest.approx(float(expected["deviation"]), nan_ok=True)
    if expected["reason_nonempty"]:
        assert found.reason


@pytest.mark.parametrize("vector", _vectors("scorer"))
def test_scores_are_kayentas(vector: dict[str, Any]) -> None:
    """The summary score of every vector is Kayenta's, to the last digit."""
    results = [
        MetricResult(r["name"], tuple(r["groups"]), Classification(r["classification"], 1.0, r["critical"], ""))
        for r in vector["results"]
    ]
    assert score(results, vector["groupWeights"]).score == vector["expected"]["summaryScore"]


@pytest.mark.parametrize("vector", _vectors("mannwhitney"))
def test_statistic_interval_and_estimate_are_kayentas(vector: dict[str, Any]) -> None:
    """The standardised rank sum, the interval and the estimate agree within the vectors' own tolerances."""
    x, y = np.asarray(vector["x"]), np.asarray(vector["y"])
    for one in vector.get("wilcoxonDiff", ()):
        assert statistic(x, y, one["mu"]) - one["q"] == pytest.approx(one["value"], abs=1e-5)
    if "expected" in vector:
        found, expected = shift(x, y, confidence=vector["confLevel"]), vector["expected"]
        assert (found.low, found.high) == pytest.approx(expected["ci"], abs=expected["tol"])
        assert found.estimate == pytest.approx(expected["estimate"], abs=expected["est_tol"])


def _arms(seed: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.lognormal(2, 0.5, size=35), rng.lognormal(2.1, 0.5, size=42)
    return x.round(decimals), y.round(decimals)


@pytest.mark.parametrize("decimals", [6, 0])
@pytest.mark.parametrize("seed", range(4))
def test_scipy_gives_the_same_p_value(seed: int, decimals: int) -> None:
    """The statistic's two-sided p is that of scipy's asymptotic test, with ties (rounded values) and without."""
    x, y = _arms(seed, decimals)
    ours = 2 * norm.sf(abs(statistic(x, y, 0.0)))
    theirs = mannwhitneyu(x, y, method="asymptotic", use_continuity=True)
    assert ours == pytest.approx(theirs.pvalue, rel=1e-9)
    assert cles(x.tolist(), y.tolist()) == pytest.approx(theirs.statistic / (x.size * y.size))


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_is_what_scipy_does_not_reject(seed: int) -> None:
    """Shifts a little inside the 98% interval have p above 2%, and those a little outside have less."""
    x, y = _arms(seed, 6)
    found = shift(x.tolist(), y.tolist(), confidence=0.98)
    inside, outside = (found.low + 0.05, found.high - 0.05), (found.low - 0.05, found.high + 0.05)
    assert all(mannwhitneyu(x - mu, y, method="asymptotic").pvalue > 0.02 for mu in inside)
    assert all(mannwhitneyu(x - mu, y, method="asymptotic").pvalue < 0.02 for mu in outside)


def test_the_estimate_is_that_of_hodges_and_lehmann() -> None:
    """The estimate is the median of all pairwise differences (Hodges & Lehmann 1963), to the solver's tolerance."""
    x, y = _arms(1, 6)
    assert shift(x.tolist(), y.tolist(), confidence=0.98).estimate == pytest.approx(
        float(np.median(np.subtract.outer(x, y))), abs=2e-2
    )


def test_equal_arms_are_rarely_classified_high() -> None:
    """Of 300 pairs of equal noise at 98% confidence, at most 4% are High or Low (the nominal rate is 2%)."""
    rng, found = np.random.default_rng(7), 0
    for _ in range(300):
        a, b = rng.normal(10, 1, size=(2, 40)).tolist()
        found += classify(a, b, Analysis(), name="x").label != "Pass"
    assert found / 300 <= 0.04


def test_deviation_of_a_zero_mean_is_not_known() -> None:
    """The ratio of means is NaN where one of them is zero, and an effect that is NaN is large enough."""
    found = classify([0.0] * 5, [3.0, 4.0, 3.5, 4.5, 3.2], Analysis(effect=EffectSize(allowed=(0.5, 9.0))), name="x")
    assert math.isnan(found.deviation) and found.label == "High"
