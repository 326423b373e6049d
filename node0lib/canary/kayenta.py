"""A judge with the semantics of Kayenta's NetflixACAJudge, for teams who come from Spinnaker.

Rules, in the order in which they are applied to one metric
1. NaN is removed, or replaced by zero; outliers beyond Tukey's fences (never within the 1st to 99th percentile) are
   removed if asked.
2. An empty arm is ``Nodata``; ``NodataFailMetric`` if the metric must have data and is not critical; and ``Pass``
   where NaN is replaced: there, no data is a count of zero.
3. Arms with the same values pass.
4. The Mann-Whitney test gives an interval and an estimate of the shift. ``High`` if the interval lies above
   tolerance x estimate and the effect reaches its bound; ``Low`` likewise below; only in the metric's direction.
5. A critical metric that is High or Low beyond its critical bound, or has no data, brings the whole score to 0.

Score: in each group, passed / (passed + high + low + missing but required) x 100; summed by the groups' weights. A
group without data counts as 100, and half of the metrics without data make 0. Muted metrics do not count.

What differs: where both arms are constant, Kayenta adds random noise (1e-5 of the value) so that ranks exist; here it
is the normal distribution's quantiles, so that a judge is deterministic. Kayenta's leniency towards missing data is
kept in its classifications and its score; ``canary.verdict`` never makes a pass of it.

Source: ``MannWhitneyClassifier``, ``NetflixACAJudge``, ``IQRDetector``, ``WeightedSumScorer`` of Kayenta (Apache-2.0).

>>> found = classify([10.0, 11.0, 12.0, 10.0, 11.0], [20.0, 22.0, 21.0, 20.0, 23.0], Analysis(), name="cpu")
>>> found.label, round(found.deviation, 2), found.reason
('High', 1.96, 'cpu was classified as High')
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import numpy as np
from scipy.special import ndtri

from node0lib.canary.kayenta_config import Analysis, Direction, KayentaConfig
from node0lib.canary.mannwhitney import cles, shift
from node0lib.errors import DataError

Label = Literal["Pass", "High", "Low", "Nodata", "NodataFailMetric", "Error"]
Arms = tuple[Sequence[float], Sequence[float]]
TOLERANCE, CONFIDENCE = 0.25, 0.98
TOO_MANY_NODATA = 50.0
_NOISE = 1e-5
_COUNTED = ("Pass", "High", "Low", "NodataFailMetric")


@dataclass(frozen=True)
class Classification:
    """What one metric shows. ``deviation`` is the ratio of the means (NaN if one of them is 0, 1 if not compared)."""

    label: Label
    deviation: float
    critical: bool
    reason: str | None = None


@dataclass(frozen=True)
class MetricResult:
    """A classified metric; ``points`` are the (control, experiment) values left after rule 1."""

    name: str
    groups: tuple[str, ...]
    found: Classification
    muted: bool = False
    points: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Score:
    """The summary score, 0..100, rounded to two places as Kayenta compares it; the groups' own, and why it is 0."""

    score: float
    groups: Mapping[str, float]
    reason: str | None = None


@dataclass(frozen=True)
class Judged:
    """The whole answer: ``Pass``, ``Marginal`` or ``Fail``, the score, and every metric."""

    label: Literal["Pass", "Marginal", "Fail"]
    score: Score
    results: tuple[MetricResult, ...]


def judge(config: KayentaConfig, values: Mapping[str, Arms]) -> Judged:
    """Judge (control, experiment) points by metric name; a metric without values has no data.

    Raises ConfigError for values of a metric that the configuration does not know.
    """
    for name in values:
        config.metric(name)
    results = []
    for metric in config.metrics:
        control, experiment = (transformed(arm, metric.analysis) for arm in values.get(metric.name, ((), ())))
        found = classify(control, experiment, metric.analysis, name=metric.name)
        points = len(control), len(experiment)
        results.append(MetricResult(metric.name, metric.groups, found, metric.analysis.muted, points))
    scored = score([r for r in results if not r.muted], config.weights)
    if scored.score >= config.pass_at:
        return Judged("Pass", scored, tuple(results))
    return Judged("Marginal" if scored.score >= config.marginal_at else "Fail", scored, tuple(results))


def transformed(values: Sequence[float], analysis: Analysis) -> list[float]:
    """Return the values without NaN (or with zeros for it) and, if asked, without outliers."""
    kept = [0.0 if math.isnan(v) else v for v in values if analysis.nan == "replace" or not math.isnan(v)]
    if analysis.outlier_factor is None or not kept:
        return kept
    low, high = fences(kept, analysis.outlier_factor)
    return [v for v in kept if low <= v <= high]


def fences(values: Sequence[float], factor: float) -> tuple[float, float]:
    """Return Tukey's fences, widened to the 1st and 99th percentile; ``values`` is not empty."""
    ordered = sorted(values)
    p01, p25, p75, p99 = (_percentile(ordered, p) for p in (0.01, 0.25, 0.75, 0.99))
    reach = factor * (p75 - p25)
    return min(p01, p25 - reach), max(p99, p75 + reach)


def _percentile(ordered: Sequence[float], p: float) -> float:
    """R's type 7, in the order of operations of Apache Commons Math, whose last bit decides at a fence."""
    position = 1 + (len(ordered) - 1) * p
    below = math.floor(position)
    if position >= len(ordered):
        return ordered[-1]
    return ordered[below - 1] + (position - below) * (ordered[below] - ordered[below - 1])


def classify(
    control: Sequence[float],
    experiment: Sequence[float],
    analysis: Analysis,
    *,
    name: str,
    tolerance: float = TOLERANCE,
    confidence: float = CONFIDENCE,
) -> Classification:
    """Classify values that are already transformed; ``Error`` where nothing can be ranked (one point an arm, say)."""
    if not (len(control) and len(experiment)):
        return _nodata(analysis, name)
    if sorted(control) == sorted(experiment):
        return Classification("Pass", 1.0, False, "The Canary and Baseline data are identical")
    if len({*control, *experiment}) == 1:
        return Classification("Pass", 1.0, False)
    try:
        label, deviation, effect = _compared(control, experiment, analysis, tolerance, confidence)
    except DataError as error:
        return Classification("Error", math.nan, False, f"Metric Classification Failed: {error}")
    if label == "Pass":
        return Classification("Pass", deviation, False)
    if analysis.critical and analysis.effect.fails(effect, label, critically=True):
        return Classification(label, deviation, True, f"The metric {name} was classified as {label} (Critical)")
    return Classification(label, deviation, False, f"{name} was classified as {label}")


def mean_inequality(
    control: Sequence[float], experiment: Sequence[float], analysis: Analysis, *, name: str
) -> Classification:
    """Classify by the means alone, whatever the noise: Kayenta's benchmark classifier, for comparison."""
    if not (len(control) and len(experiment)):
        return _nodata(analysis, name)
    ours, theirs = float(np.mean(experiment)), float(np.mean(control))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(ours, theirs))
    if ours > theirs and analysis.direction in ("increase", "either"):
        return Classification("High", ratio, analysis.critical, "The Canary mean was greater than the Baseline mean")
    if ours < theirs and analysis.direction in ("decrease", "either"):
        return Classification("Low", ratio, analysis.critical, "The Canary mean was less than the Baseline mean")
    return Classification("Pass", 1.0, False)


def _nodata(analysis: Analysis, name: str) -> Classification:
    if analysis.nan == "replace":
        return Classification("Pass", 1.0, False)
    reason = f"Missing data for {name}"
    if analysis.must_have_data and not analysis.critical:
        return Classification("NodataFailMetric", 1.0, False, reason)
    return Classification("Nodata", 1.0, analysis.critical, reason)


def _compared(
    control: Sequence[float], experiment: Sequence[float], analysis: Analysis, tolerance: float, confidence: float
) -> tuple[Literal["Pass", "High", "Low"], float, float]:
    """The label, the ratio of the means, and the effect in the metric's measure; raises DataError."""
    if len({*control}) == 1 and len({*experiment}) == 1:
        control, experiment = _spread(control), _spread(experiment)
    moved = shift(experiment, control, confidence=confidence)
    deviation = mean_ratio(experiment, control)
    effect = cles(experiment, control) if analysis.effect.measure == "cles" else deviation
    bound = tolerance * abs(moved.estimate)
    if moved.low > bound and _watched(analysis.direction, "increase") and analysis.effect.fails(effect, "High"):
        return "High", deviation, effect
    if moved.high < -bound and _watched(analysis.direction, "decrease") and analysis.effect.fails(effect, "Low"):
        return "Low", deviation, effect
    return "Pass", deviation, effect


def _watched(direction: Direction, way: Direction) -> bool:
    return direction in (way, "either")


def _spread(values: Sequence[float]) -> list[float]:
    """Constant values, spread by the normal quantiles in place of noise: symmetric, so that the mean stays."""
    n = len(values)
    return [v + v * _NOISE * float(ndtri((i + 0.5) / n)) for i, v in enumerate(values)]


def mean_ratio(experiment: Sequence[float], control: Sequence[float]) -> float:
    """Return mean(experiment) / mean(control); NaN if either is 0."""
    ours, theirs = float(np.mean(experiment)), float(np.mean(control))
    return math.nan if ours == 0 or theirs == 0 else ours / theirs


def score(results: Sequence[MetricResult], weights: Mapping[str, float]) -> Score:
    """Return the summary score of metrics that are not muted; ``weights`` are percentages by group."""
    groups = _grouped(results)
    shown = {name: 0.0 if value is None else value for name, value in groups.items()}
    for result in results:
        if result.found.critical and result.found.label != "Pass":
            return Score(0.0, shown, f"Canary Failed: {result.found.reason}")
    without = sum(r.found.label == "Nodata" for r in results)
    if results and without / len(results) * 100 >= TOO_MANY_NODATA:
        return Score(0.0, shown, "Canary Failed: 50% or more metrics returned NODATA")
    return Score(_summed(groups, weights), shown)


def _grouped(results: Sequence[MetricResult]) -> dict[str, float | None]:
    """The score of each group; None where nothing in it could be classified."""
    labels: dict[str, list[Label]] = {}
    for result in results:
        for group in result.groups:
            labels.setdefault(group, []).append(result.found.label)
    counted = {group: [label for label in found if label in _COUNTED] for group, found in labels.items()}
    return {g: found.count("Pass") / len(found) * 100 if found else None for g, found in counted.items()}


def _summed(groups: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    unweighted = [name for name in groups if name not in weights]
    left = (100 - sum(weights.values())) / len(unweighted) if unweighted else 0.0
    total = 0.0
    for name, value in groups.items():
        total += (100.0 if value is None else value) * (weights.get(name, left) / 100)
    return float(Decimal(repr(total)).quantize(Decimal("0.01"), ROUND_HALF_UP))
