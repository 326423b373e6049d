"""A Kayenta canary configuration from JSON, strictly: what would silently weaken the judge is a mistake with a line.

Rules
- A key of an ``analysisConfigurations.canary`` that nobody knows, a word that is none of its choices, a number that is
  text: a mistake. (Kayenta itself falls back to a default there.) ``extensions`` is the older name and is read too.
- A metric name that is there twice is a mistake: Kayenta would judge the first for both.
- Weights of groups must add up to 100 if every group has one, and to at most 100 otherwise.
- Queries and templates are not node0's to run and are not looked at; keys beside them that nobody knows are notes.
- Judges: NetflixACAJudge-v1.0, and dredd-v1.0, as it was once called.

>>> text = b'''{"metrics": [{"name": "cpu", "groups": ["system"], "analysisConfigurations": {
...   "canary": {"direction": "increase", "critical": true, "effectSize": {"allowedIncrease": 1.2}}}}],
...   "classifier": {"groupWeights": {"system": 100}, "scoreThresholds": {"pass": 75, "marginal": 50}}}'''
>>> config = parse_kayenta(text, "config.json")
>>> config.metrics[0].analysis.effect.allowed, config.pass_at
((None, 1.2), 75.0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from node0lib.canary.kayenta_config import MARGINAL_AT, PASS_AT, Analysis, EffectSize, KayentaConfig, Metric
from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import checked
from node0lib.shell.json_lines import parse_json
from node0lib.shell.mistakes import Mistakes, Source
from node0lib.shell.schema import Contradictions, Model, Score
from node0lib.shell.yaml_lines import KeyPath

JUDGES = ("NetflixACAJudge-v1.0", "dredd-v1.0")
_TOP = ("metrics", "classifier", "judge", "name", "id", "description", "configVersion", "applications", "templates")
_STAMPS = ("createdTimestamp", "updatedTimestamp", "createdTimestampIso", "updatedTimestampIso", "services", "isNew")
TOP_KEYS = _TOP + _STAMPS
METRIC_KEYS = ("name", "groups", "analysisConfigurations", "extensions", "query", "scopeName", "id", "serviceName")
_ANALYSES = ("analysisConfigurations", "extensions")
_MARGIN = 1e-6


class EffectModel(Model):
    """``effectSize:``."""

    measure: Literal["meanRatio", "cles"] = "meanRatio"
    allowedIncrease: float | None = Field(default=None, ge=0)
    allowedDecrease: float | None = Field(default=None, ge=0)
    criticalIncrease: float | None = Field(default=None, ge=0)
    criticalDecrease: float | None = Field(default=None, ge=0)


class OutliersModel(Model):
    """``outliers:``."""

    strategy: Literal["remove", "keep"] = "keep"
    outlierFactor: float = Field(default=3.0, gt=0)


class AnalysisModel(Model):
    """``analysisConfigurations.canary:``; ``nanStrategy: none`` is Kayenta's default, which removes."""

    direction: Literal["increase", "decrease", "either"] = "either"
    nanStrategy: Literal["remove", "replace", "none"] = "remove"
    critical: bool = False
    muted: bool = False
    mustHaveData: bool = False
    effectSize: Any = None
    outliers: Any = None


class ThresholdsModel(Model):
    """``scoreThresholds:``; Spinnaker's defaults."""

    marginal: Score = MARGINAL_AT
    pass_: Score = Field(default=PASS_AT, alias="pass")

    def contradictions(self) -> Contradictions:
        """Yield thresholds in the wrong order."""
        if self.marginal > self.pass_:
            yield ("marginal",), f"{self.marginal:g} is above pass, {self.pass_:g}; nothing could be marginal"


def read_kayenta(path: Path) -> KayentaConfig:
    """Return the configuration in a file; raises ConfigError with every mistake, each with its line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name a Kayenta config") from error
    return parse_kayenta(content, str(path))


def parse_kayenta(content: bytes, shown: str) -> KayentaConfig:
    """Return the configuration that JSON bytes hold; raises ConfigError with every mistake."""
    mistakes = Mistakes()
    source = mistakes.source(parse_json(content, shown), shown)
    found = kayenta_at(mistakes, source, ())
    mistakes.raise_if_any()
    return found


def kayenta_at(mistakes: Mistakes, source: Source, path: KeyPath) -> KayentaConfig:
    """Return the configuration at ``path``; what is wrong is noted."""
    whole = source.document.at(path)
    if not isinstance(whole, Mapping):
        mistakes.add(source, path, "is not a mapping of keys; give a Kayenta canary config with metrics")
        return KayentaConfig(())
    notes = [f"{key} is no key of a canary config and was not looked at" for key in whole if key not in TOP_KEYS]
    _judge_name(mistakes, source, (*path, "judge", "name"))
    metrics = _metrics(mistakes, source, (*path, "metrics"), notes)
    weights = _weights(mistakes, source, (*path, "classifier", "groupWeights"), metrics)
    notes.extend(_idle(weights, metrics))
    levels = checked(mistakes, source, (*path, "classifier", "scoreThresholds"), ThresholdsModel) or ThresholdsModel()
    name = whole.get("name")
    config = KayentaConfig(metrics, weights, levels.pass_, levels.marginal, name if isinstance(name, str) else "")
    return replace(config, notes=tuple(notes))


def _judge_name(mistakes: Mistakes, source: Source, path: KeyPath) -> None:
    name = source.document.at(path)
    if name is not None and name not in JUDGES:
        mistakes.add(source, path, f"{name!r} is not a judge that node0 knows; it has the rules of {JUDGES[0]}")


def _metrics(mistakes: Mistakes, source: Source, path: KeyPath, notes: list[str]) -> tuple[Metric, ...]:
    items = source.document.at(path)
    if not isinstance(items, list) or not items:
        mistakes.add(source, path, "is not a list of metrics; write one at least, with a name and groups")
        return ()
    found = [m for n in range(len(items)) if (m := _metric(mistakes, source, (*path, n), notes)) is not None]
    twice = {name for name, count in Counter(m.name for m in found).items() if count > 1}
    seen: set[str] = set()
    for n, item in enumerate(items):
        name = item.get("name") if isinstance(item, Mapping) else None
        if isinstance(name, str) and name in twice and name in seen:
            mistakes.add(source, (*path, n, "name"), f"{name!r} is there already; give each metric a name of its own")
        seen.add(str(name))
    return () if twice else tuple(found)


def _metric(mistakes: Mistakes, source: Source, path: KeyPath, notes: list[str]) -> Metric | None:
    item = source.document.at(path)
    name = item.get("name") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(name, str) or not name:
        mistakes.add(source, path, "has no name; write name: and the metric's name, as text")
        return None
    notes.extend(f"{name}: {key} is no key of a metric and was not looked at" for key in item if key not in METRIC_KEYS)
    groups = item.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(g, str) and g for g in groups):
        mistakes.add(source, (*path, "groups"), "is not a list of names; write for example [system]")
        groups = []
    at = next((key for key in _ANALYSES if key in item), _ANALYSES[0])
    return Metric(name, tuple(groups), analysis_at(mistakes, source, (*path, at, "canary")))


def analysis_at(mistakes: Mistakes, source: Source, path: KeyPath) -> Analysis:
    """Return how a metric is judged, from the mapping at ``path``, if there is one; what is wrong is noted."""
    model = checked(mistakes, source, path, AnalysisModel)
    effect = checked(mistakes, source, (*path, "effectSize"), EffectModel)
    outliers = checked(mistakes, source, (*path, "outliers"), OutliersModel)
    if model is None or effect is None or outliers is None:
        return Analysis()
    size = EffectSize(
        effect.measure,
        (effect.allowedDecrease, effect.allowedIncrease),
        (effect.criticalDecrease, effect.criticalIncrease),
    )
    return Analysis(
        model.direction,
        "replace" if model.nanStrategy == "replace" else "remove",
        outliers.outlierFactor if outliers.strategy == "remove" else None,
        model.critical,
        model.muted,
        model.mustHaveData,
        size,
    )


def _idle(weights: Mapping[str, float], metrics: tuple[Metric, ...]) -> list[str]:
    """What to say of groups whose weight can never be earned."""
    groups = {group for metric in metrics for group in metric.groups}
    idle = [group for group in weights if group not in groups] if metrics else []
    return [f"the group {group} has a weight and no metric: {weights[group]:g}% of the score is lost" for group in idle]


def _weights(
    mistakes: Mistakes, source: Source, path: KeyPath, metrics: tuple[Metric, ...]
) -> dict[str, float]:
    given = source.document.at(path)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        mistakes.add(source, path, "is not a mapping of groups to percentages; write for example {system: 100}")
        return {}
    weights: dict[str, float] = {}
    for group, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 100:
            mistakes.add(source, (*path, group), f"{weight!r} is not a percentage; write a number from 0 to 100")
        else:
            weights[group] = float(weight)
    _consistent(mistakes, source, path, weights, metrics)
    return weights


def _consistent(
    mistakes: Mistakes, source: Source, path: KeyPath, weights: Mapping[str, float], metrics: tuple[Metric, ...]
) -> None:
    total, groups = sum(weights.values()), {group for metric in metrics for group in metric.groups}
    if total > 100 + _MARGIN:
        mistakes.add(source, path, f"the weights add up to {total:g}; make them 100 in all")
    elif weights and groups <= set(weights) and abs(total - 100) > _MARGIN:
        mistakes.add(source, path, f"every group has a weight, and they add up to {total:g}; make them 100 in all")
