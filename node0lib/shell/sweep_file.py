"""A sweep from YAML: lists of what is combined, and how many months each combination gets.

``objectives``, ``traffic``, ``errors``, ``faults``, ``policies`` and ``seeds`` are the axes. Traffic and errors are as
in a scenario file, each with a ``name``. A fault is ``none``, a name of the gallery, or spelt out: one fault, or a
name with several ``faults``. A policy is a name (workbook, pyrra, ...), or a name with ``alerts`` as in a policy file.
``seeds`` are a list, or ``{first: 1, count: 100}``. ``length``, ``step`` and ``start`` are a scenario's, ``period`` is
a policy's, and ``quality`` has ``significant``, ``grace`` and ``merge_gap``.

>>> text = b'''
... months: 20
... objectives: [0.999]
... traffic: [{name: busy, per_hour: 36000}]
... errors: [{name: iid, rate: 0.03%}]
... faults: [none, full outage, {name: short, onset: 10d, length: 3m, errors: 100%}]
... policies: [workbook, {name: mine, alerts: [{name: p, severity: page, long: 1h, short: 5m, factor: 10}]}]
... seeds: {first: 1, count: 2}
... '''
>>> sweep = parse_sweep(text, "sweep.yaml")
>>> list(sweep.faults), list(sweep.policies), sweep.seeds
(['none', 'full outage', 'short'], ['workbook', 'mine'], range(1, 3))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import BurnAlert
from node0lib.alerts.quality import QualityRules
from node0lib.errors import ConfigError, Node0Error
from node0lib.shell.alert_policy_file import AlertModel
from node0lib.shell.catalogue_file import checked, items, unique
from node0lib.shell.mistakes import Mistakes, Source, content_of, nearest, opened, shown
from node0lib.shell.scenario_file import FaultModel, FloorModel, ScenarioModel, TrafficModel, traffic_of
from node0lib.shell.schema import STRICTLY, Contradictions, Duration, Model, Share, Wait
from node0lib.shell.yaml_lines import KeyPath
from node0lib.simulate.gallery import FAULTS
from node0lib.simulate.months import PAGE
from node0lib.simulate.scenario import Fault, Floor, Scenario, Traffic
from node0lib.simulate.sweep import MOST_IN_A_CELL, Sweep

_T = TypeVar("_T")
_MONTH = timedelta(days=30)
_MOST_SEED = 2**52
_NAME = Field(min_length=1, max_length=100, examples=["busy"])
_KNOWN: Mapping[str, tuple[Fault, ...]] = {"none": (), **FAULTS}
_EXAMPLES = {
    "traffic": "- {name: busy, per_hour: 36000}",
    "errors": "- {name: iid, rate: 0.03%}",
    "faults": "- full outage",
    "policies": "- workbook",
}


class NamedTraffic(TrafficModel):
    """One of ``traffic:``."""

    name: str = _NAME


class NamedFloor(FloorModel):
    """One of ``errors:``."""

    name: str = _NAME


class NamedFaults(Model):
    """One of ``faults:`` that has several."""

    name: str = _NAME
    faults: list[Any] = []


class NamedPolicy(Model):
    """One of ``policies:`` that is spelt out."""

    name: str = _NAME
    alerts: list[Any] = []


class SeedsModel(Model):
    """``seeds:`` as a beginning and a count."""

    first: int = Field(default=1, ge=0, le=_MOST_SEED)
    count: int = Field(ge=1, le=_MOST_SEED, examples=["100"])


class QualityModel(Model):
    """``quality:``, what counts as an event worth a page, and as the same page."""

    significant: Share = 0.01
    grace: Wait = timedelta(minutes=30)
    merge_gap: Wait = timedelta(minutes=15)


class SweepModel(ScenarioModel):
    """The whole file; its axes are checked item by item."""

    months: int = Field(ge=1, le=MOST_IN_A_CELL, examples=["100"])
    objectives: list[float] = Field(min_length=1, examples=["[0.999]"])
    faults: Any = None
    policies: Any = None
    seeds: Any = None
    quality: Any = None
    period: Duration = _MONTH

    def contradictions(self) -> Contradictions:
        """Yield objectives that leave no budget, or are written twice."""
        for n, objective in enumerate(self.objectives):
            if not 0 < objective < 1:
                yield ("objectives", n), STRICTLY.replace("{value}", f"{objective:g}")
            elif objective in self.objectives[:n]:
                yield ("objectives", n), f"{objective:g} is there twice; leave one of them out"


def read_sweep(path: Path) -> Sweep:
    """Return the sweep in a file; raises ConfigError with every mistake, each with its line."""
    return parse_sweep(content_of(path, "a sweep file"), str(path), path.parent)


def parse_sweep(content: bytes, told: str, folder: Path = Path()) -> Sweep:
    """Return the sweep that YAML bytes hold; ``folder`` is what recorded series lie relative to."""
    mistakes, source = opened(content, told)
    whole = checked(mistakes, source, (), SweepModel)
    axes = _Axes(mistakes, source, folder, whole)
    traffics, floors = dict(axes.traffics()), dict(axes.floors())
    faults, policies, seeds = dict(axes.faults()), dict(axes.policies()), axes.seeds()
    rules = checked(mistakes, source, ("quality",), QualityModel)
    mistakes.raise_if_any()
    if whole is None or rules is None:
        raise ConfigError(f"{told}: is no sweep; write months, objectives, traffic, errors, faults, policies and seeds")
    counts = QualityRules(**rules.model_dump())
    objectives = tuple(whole.objectives)
    try:
        return Sweep(objectives, traffics, floors, faults, policies, seeds, whole.months, whole.period,
                     rules=counts, **_span(whole))  # fmt: skip
    except ConfigError as error:
        raise ConfigError(f"{told}: {error}") from error


def _span(whole: SweepModel | None) -> dict[str, Any]:
    """The scenario's length, step and start, those that were written."""
    given = {} if whole is None else whole.given()
    return {name: value for name, value in given.items() if name in ("length", "step", "start")}


class _Axes:
    """Reads the axes of one file, noting what is wrong; ``whole`` is None if something beside them is."""

    def __init__(self, mistakes: Mistakes, source: Source, folder: Path, whole: SweepModel | None) -> None:
        self._mistakes, self._source, self._folder, self._whole = mistakes, source, folder, whole

    def traffics(self) -> Iterator[tuple[str, Traffic]]:
        step = self._whole.step if self._whole else timedelta(minutes=1)
        for path, _ in self._items("traffic"):
            model = checked(self._mistakes, self._source, path, NamedTraffic)
            if model and (made := self._traffic(path, model, step)):
                yield model.name, made

    def _traffic(self, path: KeyPath, model: TrafficModel, step: timedelta) -> Traffic | None:
        """The traffic, without what is recorded beyond the months' end: it travels to every worker."""
        made = self._made(path, lambda: traffic_of(model, step, self._folder))
        if made is None or made.recorded is None or self._whole is None:
            return made
        return replace(made, recorded=made.recorded[: self._whole.length // step])

    def floors(self) -> Iterator[tuple[str, Floor]]:
        for path, _ in self._items("errors"):
            model = checked(self._mistakes, self._source, path, NamedFloor)
            if model:
                yield model.name, Floor(**model.model_dump(exclude={"name"}))

    def faults(self) -> Iterator[tuple[str, tuple[Fault, ...]]]:
        for path, item in self._items("faults", _KNOWN):
            if isinstance(item, str):
                found, name = _KNOWN.get(item), item
            elif "faults" in item:
                found, name = self._several(path)
            else:
                found, name = self._fault(path)
            if found is not None and self._fits(path, found):
                yield name, found

    def _several(self, path: KeyPath) -> tuple[tuple[Fault, ...] | None, str]:
        model = checked(self._mistakes, self._source, path, NamedFaults)
        below = (*path, "faults")
        unique(self._mistakes, self._source, below, "name")
        example = "- {name: outage, onset: 10d, length: 20m, errors: 100%}"
        found = [self._fault(one)[0] for one in items(self._mistakes, self._source, below, example=example)]
        return (tuple(one for many in found if many for one in many), model.name) if model else (None, "")

    def _fault(self, path: KeyPath) -> tuple[tuple[Fault, ...] | None, str]:
        model = checked(self._mistakes, self._source, path, FaultModel)
        return ((Fault(**model.model_dump()),), model.name) if model else (None, "")

    def _fits(self, path: KeyPath, faults: Sequence[Fault]) -> bool:
        """Whether the faults lie within the scenario; notes if they do not."""
        scenario = self._made(path, lambda: Scenario(Traffic(), Floor(0.0), tuple(faults), **_span(self._whole)))
        return scenario is not None

    def policies(self) -> Iterator[tuple[str, tuple[BurnAlert, ...] | None]]:
        for path, item in self._items("policies", named_policies(0.999)):
            if isinstance(item, str):
                yield item, None
                continue
            model = checked(self._mistakes, self._source, path, NamedPolicy)
            alerts = tuple(self._alerts((*path, "alerts")))
            if model:
                yield model.name, alerts

    def _alerts(self, path: KeyPath) -> Iterator[BurnAlert]:
        period = self._whole.period if self._whole else _MONTH
        unique(self._mistakes, self._source, path, "name")
        example = "- {name: fast, severity: critical, long: 1h, short: 5m, factor: 14.4}"
        for below in items(self._mistakes, self._source, path, example=example):
            model = checked(self._mistakes, self._source, below, AlertModel)
            if model and model.name == PAGE:
                text = f"{PAGE} is what the alerts that page are called together; choose another name"
                self._mistakes.add(self._source, (*below, "name"), text)
            elif model:
                yield model.alert(period)

    def seeds(self) -> range | tuple[int, ...]:
        path, written = ("seeds",), self._source.document.at(("seeds",))
        if isinstance(written, Mapping):
            model = checked(self._mistakes, self._source, path, SeedsModel)
            return range(model.first, model.first + model.count) if model else ()
        if not isinstance(written, list) or not written:
            text = "must be a list, or a beginning and a count; write [1, 2] or {first: 1, count: 100}"
            self._mistakes.add(self._source, path, text)
            return ()
        for n, seed in enumerate(written):
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MOST_SEED:
                self._note((*path, n), f"{shown(seed)} is no seed; write a whole number from 0 on")
            elif seed in written[:n]:
                self._note((*path, n), f"{seed} is there twice; leave one of them out")
        return tuple(written)

    def _items(self, axis: str, known: Mapping[str, object] | None = None) -> Iterator[tuple[KeyPath, Any]]:
        """Yield path and value of each item: mappings and, where some are ``known``, names; notes all else."""
        found, example = self._source.document.at((axis,)), _EXAMPLES[axis]
        if not isinstance(found, list) or not found:
            there = (axis,) in self._source.document.lines
            what = "must be a list with one item at least" if there else "is missing"
            self._note((axis,), f"{what}; begin an item with a dash: {example}")
            return
        first: dict[str, int] = {}
        for n, item in enumerate(found):
            name = str(item.get("name") if isinstance(item, Mapping) else item)
            if name in first:
                line = self._source.document.line((axis, first[name]))
                self._note((axis, n), f"{name} is taken, first in line {line}; names must differ")
            elif isinstance(item, Mapping) or (known is not None and isinstance(item, str) and item in known):
                first[name] = n
                yield (axis, n), item
            elif known is not None and isinstance(item, str):
                self._note((axis, n), f"{item} is not known; {nearest(item, known)}")
            else:
                self._note((axis, n), f"{shown(item)} is not a mapping of keys; write {example}")

    def _note(self, path: KeyPath, text: str) -> None:
        self._mistakes.add(self._source, path, text)

    def _made(self, path: KeyPath, make: Callable[[], _T]) -> _T | None:
        """Return what is made, or note why the values cannot go together."""
        try:
            return make()
        except Node0Error as error:
            self._note(path, str(error))
            return None
