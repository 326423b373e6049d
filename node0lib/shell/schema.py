"""The shape of ``slo.yaml``: strict, flat models, one for each section, and how they become the frozen values.

The SLOs themselves, and what is said of several, have their models in ``slo_schema``.

Rules
- Unknown keys are mistakes; numbers are not text and booleans are not numbers.
- Durations are text, "5m". Shares are numbers or percentages, 0.25 or 25%. An objective is a number: 0.999.
- A key that is left out keeps the default of ``slo/catalogue.py``; ``configs/slo.yaml`` spells all of them out.
- What one model cannot see (two SLOs of one name, stages that fall) is checked after it, by ``contradictions``.

>>> CanaryModel.model_validate({"latency_p99": "10%"}).given()
{'latency_p99': 0.1}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from node0lib.errors import ConfigError
from node0lib.timespan import parse_duration

Contradictions = Iterator[tuple[tuple[str | int, ...], str]]
"""Paths below a section, each with what is wrong and what to do."""
LONGEST = timedelta(days=3660)
_PERCENT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?%")
_NO_WAIT = ("0s", "0m", "0")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def duration(value: object) -> timedelta:
    """Return the duration that a text names; raises ValueError with a sentence, in which {value} is what it was."""
    if not isinstance(value, str):
        raise ValueError("{value} is not a duration; write for example 5m, 1h30m or 30d")
    try:
        length = parse_duration(value)
    except (ConfigError, OverflowError) as error:
        raise ValueError(str(error) if isinstance(error, ConfigError) else _TOO_LONG) from None
    if length > LONGEST:
        raise ValueError(_TOO_LONG)
    return length


_TOO_LONG = "the duration {value} is longer than ten years; write a shorter one"


def _number(value: object) -> float:
    """A finite number, or a percentage as a share of 1."""
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return float(Decimal(value[:-1]) / 100)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("{value} is not a share; write 25% or 0.25")
    if not math.isfinite(value):
        raise ValueError("{value} is not a finite number; write 25% or 0.25")
    return float(value)


def _share(value: object) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError("{value} must lie between 0 and 1; write a quarter as 25% or 0.25")
    return number


def _margin(value: object) -> float:
    number = _number(value)
    if not 0 < number <= 10:
        raise ValueError("{value} must be more than 0 and at most 1000%; write for example 5%")
    return number


def _inner(value: object) -> float:
    """An objective or a quantile; 1 passes here and is for invariants only."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("{value} is not a number; write 99.9% as 0.999, without quotes")
    if not 0 < value <= 1:
        raise ValueError(STRICTLY)
    return float(value)


STRICTLY = "{value} must lie strictly between 0 and 1; write 99.9% as 0.999"


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("{value} is not a name; write small letters, digits and _, a letter first, 63 at most")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Wait = Annotated[timedelta, BeforeValidator(lambda value: timedelta(0) if value in _NO_WAIT else duration(value))]
Seconds = Annotated[float, BeforeValidator(lambda value: duration(value).total_seconds())]
Share = Annotated[float, BeforeValidator(_share)]
Margin = Annotated[float, BeforeValidator(_margin)]
Inner = Annotated[float, BeforeValidator(_inner)]
Name = Annotated[str, BeforeValidator(_name)]
Score = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=10_000, strip_whitespace=True)]


class Model(BaseModel):
    """Strict, closed and frozen; infinity and NaN are no numbers."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """Return the fields that were written, by name; lists as tuples."""
        found = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}

    def written(self, *names: str) -> tuple[str, ...]:
        """Return the first of those fields that was written, as a path; empty if none was."""
        return tuple(name for name in names if name in self.model_fields_set)[:1]

    def contradictions(self) -> Contradictions:
        """Yield what is wrong between fields that are each right."""
        yield from ()


class BudgetModel(Model):
    """``error_budget_policy:``."""

    alert_at_burn: float = Field(default=2.0, gt=0)
    freeze_below: Share = 0.25
    optimize_above: Share = 0.5
    look_back: Duration = timedelta(hours=1)

    def contradictions(self) -> Contradictions:
        """Yield a gap in which nothing may be deployed but much be optimized."""
        if self.optimize_above < self.freeze_below:
            text = "optimize_above must be at least freeze_below: who may not deploy may not optimize"
            yield self.written("optimize_above", "freeze_below"), text


class DoraModel(Model):
    """``dora_targets:``."""

    deployments_per_day: float = Field(default=2.0, gt=0)
    lead_time: Duration = timedelta(hours=1)
    change_fail_rate: Share = 0.05
    recovery_time: Duration = timedelta(minutes=30)


class ChangeModel(Model):
    """One of ``change_classes:``; its defaults differ by class and are the catalogue's."""

    kinds: list[Name] = []
    improvement_at_least: Share | None = None
    improvement_above: Share | None = None
    confidence_under: Share | None = None
    stages: list[Share] = []
    stage_duration: Duration = timedelta(minutes=15)
    approval: bool = True
    on_inconclusive: Literal["extend", "ask"] = "ask"
    harm_cap: float = Field(default=2.0, gt=1, le=100)

    def contradictions(self) -> Contradictions:
        """Yield stages that do not rise to the whole traffic, and kinds written twice."""
        steps = zip([0.0, *self.stages], self.stages, strict=False)
        for n, (before, stage) in enumerate(steps):
            if stage <= before:
                yield ("stages", n), f"{stage:.4g} must be more than {before:.4g}, the stage before; let stages rise"
        if self.stages and self.stages[-1] != 1:
            yield ("stages",), "must end in 100%: the last stage is the whole traffic; [] applies at once"
        for n, kind in enumerate(self.kinds):
            if kind in self.kinds[:n]:
                yield ("kinds", n), f"{kind} is listed twice; remove one"


class GatesModel(Model):
    """``execution_gates:``."""

    slo_compliance: bool = True
    telemetry: bool = True
    burn_alerts: bool = True
    recent_incident: Duration = timedelta(hours=1)
    ihsan_at_least: Score = 95.0


class CanaryModel(Model):
    """``canary:``."""

    error_rate: Margin = 0.05
    latency_p95: Margin = 0.05
    latency_p99: Margin = 0.10
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    beta: float = Field(default=0.05, gt=0, lt=0.5)
    minimum_requests: int = Field(default=100, ge=1)
    ihsan_at_least: Score = 95.0
    design_effect: float = Field(default=1.0, ge=1, le=1000)


class RollbackModel(Model):
    """``rollback_policy:``."""

    slo_breach: bool = True
    budget_exhausted: bool = True
    ihsan_below: Score = 95.0
    telemetry_lost: bool = True
    within: Duration = timedelta(seconds=30)


class PairModel(Model):
    """One of ``alerting.pairs:``."""

    severity: Literal["critical", "warning", "info"] = Field(examples=["critical"])
    budget: Share = Field(examples=["2%"])
    long: Duration = Field(examples=["1h"])
    short: Duration = Field(examples=["5m"])
    wait: Wait = Field(default=timedelta(0), alias="for")
    min_bad: float | None = Field(default=None, ge=0)

    def contradictions(self) -> Contradictions:
        """Yield a short window that is not shorter, and a budget of nothing."""
        if self.short >= self.long:
            yield ("short",), "must be shorter than long; a twelfth of it is usual"
        if self.budget == 0:
            yield ("budget",), "must be more than 0: spending nothing would always alert"


class AlertingModel(Model):
    """``alerting:``, without its pairs."""

    period: Duration = timedelta(days=30)
    min_bad: int = Field(default=3, ge=0)
    pairs: list[Any] = []
