"""A scenario from YAML: ``traffic``, ``errors``, ``faults``, ``length``, ``step``, ``start``.

>>> text = b'''
... traffic: {per_hour: 36000, daily_swing: 50%, weekend: 0.7}
... errors: {rate: 0.03%, dispersion: 0.5, correlation: 10m}
... faults:
... - {name: outage, onset: 10d, length: 20m, errors: 100%}
... '''
>>> scenario = parse_scenario(text, "scenario.yaml")
>>> scenario.floor.rate, scenario.faults[0].length, scenario.steps
(0.0003, datetime.timedelta(seconds=1200), 43200)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BeforeValidator, Field, TypeAdapter

from node0lib.alerts.replay import BucketSeries, CounterSeries
from node0lib.errors import ConfigError, DataError, Node0Error
from node0lib.shell.catalogue_file import checked, items, unique
from node0lib.shell.mistakes import Mistakes, Source, content_of, opened
from node0lib.shell.schema import Duration, Model, Share
from node0lib.shell.series_file import read_series
from node0lib.shell.yaml_lines import KeyPath
from node0lib.simulate.scenario import MOST_STEPS, Fault, Floor, Scenario, Traffic
from node0lib.timespan import format_duration, parse_instant

_T = TypeVar("_T")
_EXAMPLE = "- {name: outage, onset: 10d, length: 20m, errors: 100%}"
_duration = TypeAdapter[timedelta](Duration).validate_python


def _offset(value: object) -> timedelta:
    """A duration that may be nothing: a fault may begin at the beginning."""
    return timedelta(0) if value in ("0", "0s", "0m", 0) else _duration(value)


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("{value} is not an ISO 8601 time; write 2026-01-05T00:00:00Z, in quotes")
    try:
        return parse_instant(value)
    except DataError as error:
        raise ValueError(str(error)) from None


Factor = Annotated[float, Field(ge=0, le=1e6)]


class TrafficModel(Model):
    """``traffic:``; ``recorded`` names a CSV or Parquet file with time and total, which replaces the rest.

    Its rows lie a step apart; in a hole nobody comes.
    """

    per_hour: float | None = Field(default=None, ge=0, le=1e12)
    daily_swing: Share = 0.0
    weekend: Factor = 1.0
    trend: float = Field(default=0.0, gt=-1, le=100)
    peak_hour: float = Field(default=14.0, ge=0, le=24)
    bursts: float = Field(default=0.0, ge=0, le=1e5)
    burst_factor: Factor = 3.0
    burst_length: Duration = timedelta(minutes=10)
    recorded: str | None = None


class FloorModel(Model):
    """``errors:``."""

    rate: Share = Field(examples=["0.03%"])
    dispersion: float = Field(default=0.0, ge=0, le=100)
    correlation: Duration = timedelta(minutes=10)


class FaultModel(Model):
    """One of ``faults:``."""

    name: str = Field(min_length=1, max_length=200, examples=["outage"])
    onset: Annotated[timedelta, BeforeValidator(_offset)] = Field(examples=["10d"])
    length: Duration = Field(examples=["20m"])
    errors: Share = 0.0
    share: Share = 1.0
    shape: Literal["step", "ramp", "flapping"] = "step"
    period: Duration = timedelta(minutes=10)
    traffic: Factor = 1.0
    telemetry: bool = True


class ScenarioModel(Model):
    """The whole file."""

    traffic: Any = None
    errors: Any = None
    faults: list[Any] = []
    length: Duration = timedelta(days=30)
    step: Duration = timedelta(minutes=1)
    start: Annotated[datetime | None, BeforeValidator(_instant)] = None


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a file; raises ConfigError with every mistake, each with its line."""
    return parse_scenario(content_of(path, "a scenario file"), str(path), folder=path.parent)


def parse_scenario(content: bytes, shown: str, folder: Path = Path()) -> Scenario:
    """Return the scenario that YAML bytes hold; ``folder`` is what a recorded series lies relative to."""
    mistakes, source = opened(content, shown)
    scenario = scenario_at(mistakes, source, (), folder)
    mistakes.raise_if_any()
    if scenario is None:
        raise ConfigError(f"{shown}: is no scenario; write traffic and errors")
    return scenario


def scenario_at(mistakes: Mistakes, source: Source, path: KeyPath, folder: Path) -> Scenario | None:
    """Return the scenario at a path of keys; None, and notes, if anything in it is wrong."""
    whole = checked(mistakes, source, path, ScenarioModel)
    for needed in ("traffic", "errors"):
        if (*path, needed) not in source.document.lines:
            mistakes.add(source, path, f"{needed} is missing; add for example {needed}: {_NEEDED[needed]}")
    traffic = checked(mistakes, source, (*path, "traffic"), TrafficModel)
    floor = checked(mistakes, source, (*path, "errors"), FloorModel)
    faults = list(_faults(mistakes, source, (*path, "faults")))
    if mistakes or whole is None or traffic is None or floor is None:
        return None
    made = _made(mistakes, source, (*path, "traffic"), lambda: traffic_of(traffic, whole.step, folder))
    if made is None:
        return None
    span = {name: value for name, value in whole.given().items() if name in ("length", "step", "start")}
    return _made(
        mistakes, source, path, lambda: Scenario(made, Floor(**floor.model_dump()), tuple(faults), **span)
    )


_NEEDED = {"traffic": "{per_hour: 36000}", "errors": "{rate: 0.03%}"}


def _faults(mistakes: Mistakes, source: Source, path: KeyPath) -> list[Fault]:
    written = source.document.at(path)
    if not written or not isinstance(written, list):  # anything else has been told of already
        return []
    unique(mistakes, source, path, "name")
    models = [checked(mistakes, source, item, FaultModel) for item in items(mistakes, source, path, example=_EXAMPLE)]
    return [Fault(**model.model_dump()) for model in models if model]


def traffic_of(model: TrafficModel, step: timedelta, folder: Path) -> Traffic:
    """Return the traffic of a section; a recorded series lies relative to ``folder``, a step apart."""
    if (model.per_hour is None) == (model.recorded is None):
        raise ConfigError("traffic needs either per_hour or recorded (a CSV or Parquet file with time and total)")
    shape = model.model_dump(exclude={"recorded", "per_hour", "name"})
    if model.recorded is None:
        return Traffic(model.per_hour or 0.0, **shape)
    read = read_series(str(folder / model.recorded))
    return Traffic(recorded=_laid_out(read.series[0], step // timedelta(milliseconds=1)))


def _laid_out(series: CounterSeries | BucketSeries, step_ms: int) -> tuple[float, ...]:
    """Return requests step by step; where nothing was recorded nobody comes. Raises ConfigError for other steps."""
    if not isinstance(series, BucketSeries):
        raise ConfigError("recorded traffic must be buckets, with the columns time, total and good or bad")
    places, beside = np.divmod(series.ends_ms - series.ends_ms[0], step_ms)
    apart = int(np.diff(series.ends_ms).min()) if series.ends_ms.size > 1 else step_ms
    if apart != step_ms or beside.any():
        there, here = (format_duration(timedelta(milliseconds=ms)) for ms in (apart, step_ms))
        raise ConfigError(f"recorded traffic lies {there} apart, the scenario's steps {here}; write step: {there}")
    if places[-1] >= MOST_STEPS:
        raise ConfigError(f"recorded traffic spans {int(places[-1]) + 1:,} steps; at most {MOST_STEPS:,} are drawn")
    requests = np.zeros(int(places[-1]) + 1)
    requests[places] = np.nan_to_num(series.total)
    return tuple(float(value) for value in requests)


def _made(mistakes: Mistakes, source: Source, path: KeyPath, make: Callable[[], _T]) -> _T | None:
    """Return what is made, or note why the values cannot go together."""
    try:
        return make()
    except Node0Error as error:
        mistakes.add(source, path, str(error))
        return None
