"""A Kayenta canary configuration as frozen values: which metrics, in which groups, judged how, scored how.

The defaults are those of ``NetflixACAJudge-v1.0``. A metric's name is its key: the judge takes the first of that name,
so a second one would never be looked at; it is refused.

Source: Kayenta's ``docs/canary-config.md`` and ``NetflixACAJudge.scala`` (spinnaker/spinnaker, ``kayenta/``).

>>> cpu = Metric("cpu", ("system",))
>>> KayentaConfig((cpu,)).metric("cpu").analysis.direction
'either'
>>> KayentaConfig((cpu, cpu))
Traceback (most recent call last):
...
node0lib.errors.ConfigError: the metric name 'cpu' is there twice; give each metric a name of its own
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from node0lib.errors import ConfigError

Direction = Literal["increase", "decrease", "either"]
Measure = Literal["meanRatio", "cles"]
PASS_AT, MARGINAL_AT = 95.0, 75.0


@dataclass(frozen=True)
class EffectSize:
    """How large a difference must be, as (low, high) bounds of the measure; None is the measure's neutral value.

    ``meanRatio`` is mean(experiment) / mean(control); ``cles`` the share of pairs in which the experiment is higher.
    """

    measure: Measure = "meanRatio"
    allowed: tuple[float | None, float | None] = (None, None)
    critical: tuple[float | None, float | None] = (None, None)

    @property
    def neutral(self) -> float:
        """The measure of two equal arms, beyond which any difference is large enough."""
        return 0.5 if self.measure == "cles" else 1.0

    def fails(self, effect: float, label: Literal["High", "Low"], *, critically: bool = False) -> bool:
        """Whether an effect is large enough; one that cannot be computed (NaN) is."""
        low, high = self.critical if critically else self.allowed
        if effect != effect:
            return True
        if label == "High":
            return effect >= (self.neutral if high is None else high)
        return effect <= (self.neutral if low is None else low)


@dataclass(frozen=True)
class Analysis:
    """How one metric is judged; ``outlier_factor`` None keeps outliers, else it is that of Tukey's fences (> 0)."""

    direction: Direction = "either"
    nan: Literal["remove", "replace"] = "remove"
    outlier_factor: float | None = None
    critical: bool = False
    muted: bool = False
    must_have_data: bool = False
    effect: EffectSize = field(default_factory=EffectSize)


@dataclass(frozen=True)
class Metric:
    """A metric, the groups it counts in, and its analysis."""

    name: str
    groups: tuple[str, ...] = ()
    analysis: Analysis = field(default_factory=Analysis)


@dataclass(frozen=True)
class KayentaConfig:
    """Metrics, weights of groups in percent, and the scores (0..100) from which a canary passes or is marginal.

    Groups without a weight share what is left of 100. ``notes`` say what was read otherwise than it was written.
    Raises ConfigError for a metric name that is there twice.
    """

    metrics: tuple[Metric, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    pass_at: float = PASS_AT
    marginal_at: float = MARGINAL_AT
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, count in Counter(m.name for m in self.metrics).items():
            if count > 1:
                often = "twice" if count == 2 else f"{count} times"
                raise ConfigError(f"the metric name {name!r} is there {often}; give each metric a name of its own")

    def metric(self, name: str) -> Metric:
        """Return the metric of that name; raises ConfigError naming the known ones."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        known = ", ".join(m.name for m in self.metrics)
        raise ConfigError(f"there is no metric {name!r} in the Kayenta configuration; it has {known}")
