"""``slo.yaml`` into a ``Catalogue``: every section is checked, whatever is wrong in the others.

The same keys may stand in ``node0.yaml`` below ``slo:``; ``path`` says where they begin.

>>> from node0lib.shell.yaml_lines import parse
>>> mistakes = Mistakes()
>>> text = b"slos: [{name: api, kind: ratio, objective: 0.999, window: 30d, stream: api}]"
>>> read_catalogue(mistakes, mistakes.source(parse(text), "slo.yaml"), ()).catalogue.slos[0].budget < 0.0011
True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from node0lib.errors import ConfigError
from node0lib.shell.mistakes import Mistakes, Source, nearest, shown, unknown_key
from node0lib.shell.schema import (
    AlertingModel,
    BudgetModel,
    CanaryModel,
    ChangeModel,
    DoraModel,
    GatesModel,
    Model,
    PairModel,
    RollbackModel,
)
from node0lib.shell.slo_schema import ROLES, CompositeModel, MaintenanceModel, SloModel
from node0lib.shell.yaml_lines import KeyPath
from node0lib.simulate.streams import bound_index
from node0lib.slo.catalogue import (
    Alerting,
    AlertPair,
    BudgetPolicy,
    CanaryRules,
    Catalogue,
    ChangeClass,
    ChangeRule,
    Composite,
    DoraTargets,
    GateRules,
    RollbackRules,
)
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

SECTIONS = (
    "slos",
    "error_budget_policy",
    "dora_targets",
    "change_classes",
    "execution_gates",
    "canary",
    "rollback_policy",
    "alerting",
    "maintenance",
    "composites",
)
"""The keys of slo.yaml; only ``slos`` must be there."""
_MINUTE = timedelta(minutes=1)
_M = TypeVar("_M", bound=Model)


@dataclass(frozen=True)
class CatalogueFile:
    """What was read: the SLOs that are right by themselves, each with its path, and the catalogue they make."""

    slos: tuple[tuple[KeyPath, Objective], ...]
    catalogue: Catalogue


def checked(mistakes: Mistakes, source: Source, path: KeyPath, model: type[_M]) -> _M | None:
    """Return the section as a model; None, and notes, if a field is wrong or two contradict each other."""
    found = mistakes.parsed(source, path, model)
    wrong = list(found.contradictions()) if found is not None else []
    for below, text in wrong:
        mistakes.add(source, (*path, *below), text)
    return None if wrong else found


def known_keys(mistakes: Mistakes, source: Source, path: KeyPath, known: tuple[str, ...], *, what: str) -> bool:
    """Note the keys that nobody knows; return whether there is a mapping at all."""
    data = source.document.at(path)
    if not isinstance(data, Mapping):
        mistakes.add(source, path, f"{shown(data)} is not {what}; write the keys {', '.join(known)}")
        return False
    for key in data:
        if key not in known:
            mistakes.add(source, (*path, key), unknown_key(key, known))
    return True


def read_catalogue(mistakes: Mistakes, source: Source, path: KeyPath) -> CatalogueFile:
    """Return the catalogue at ``path``; what is wrong is noted, and stands at its default in what is returned."""
    if not known_keys(mistakes, source, path, SECTIONS, what="a mapping of SLOs and the rules around them"):
        return CatalogueFile((), Catalogue(()))
    slos = tuple(_slos(mistakes, source, (*path, "slos")))
    values = {key: checked(mistakes, source, (*path, key), model) for key, model in _PLAIN.items()}
    given: dict[str, Any] = {key: model.given() if model else {} for key, model in values.items()}
    catalogue = Catalogue(
        slos=tuple(slo for _, slo in slos),
        budget_policy=BudgetPolicy(**given["error_budget_policy"]),
        alerting=_alerting(mistakes, source, (*path, "alerting")),
        dora=DoraTargets(**given["dora_targets"]),
        classes=_classes(mistakes, source, (*path, "change_classes")),
        gates=GateRules(**given["execution_gates"]),
        canary=CanaryRules(**given["canary"]),
        rollback=RollbackRules(**given["rollback_policy"]),
        maintenance=tuple(_maintenance(mistakes, source, path)),
        composites=tuple(_composites(mistakes, source, path)),
    )
    return CatalogueFile(slos, catalogue)


_PLAIN: Mapping[str, type[Model]] = {
    "error_budget_policy": BudgetModel,
    "dora_targets": DoraModel,
    "execution_gates": GatesModel,
    "canary": CanaryModel,
    "rollback_policy": RollbackModel,
}


def items(mistakes: Mistakes, source: Source, path: KeyPath, *, example: str) -> Iterator[KeyPath]:
    """Yield the path of each item of a list that must be there and have one."""
    data = source.document.at(path)
    if not isinstance(data, list) or not data:
        there = path in source.document.lines
        what = "must be a list with one item at least" if there else "is missing"
        mistakes.add(source, path, f"{what}; begin an item with a dash: {example}")
        return
    for n, item in enumerate(data):
        if isinstance(item, Mapping):
            yield (*path, n)
        else:
            mistakes.add(source, (*path, n), f"{shown(item)} is not a mapping of keys; write {example}")


def _slos(mistakes: Mistakes, source: Source, path: KeyPath) -> Iterator[tuple[KeyPath, Objective]]:
    unique(mistakes, source, path, "name")
    for item in items(mistakes, source, path, example="- name: api_availability"):
        model = checked(mistakes, source, item, SloModel)
        if model is not None:
            yield item, model.objective_value()


def unique(mistakes: Mistakes, source: Source, path: KeyPath, key: str) -> None:
    """Note every item of a list whose ``key`` an earlier item has too."""
    data = source.document.at(path)
    first: dict[str, int] = {}
    for n, item in enumerate(data if isinstance(data, list) else []):
        name = item.get(key) if isinstance(item, Mapping) else None
        if not isinstance(name, str):
            continue
        if name in first:
            line = source.document.line((*path, first[name], key))
            mistakes.add(source, (*path, n, key), f"{name} is taken, first in line {line}; names must differ")
        first.setdefault(name, n)


def _names(source: Source, path: KeyPath) -> list[str]:
    """Return the names of all SLOs, also of those that are wrong: what refers to them is not."""
    data = source.document.at((*path, "slos"))
    found = [item.get("name") for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []
    return [name for name in found if isinstance(name, str)]


def _optional(mistakes: Mistakes, source: Source, path: KeyPath, *, example: str) -> Iterator[KeyPath]:
    """Yield the path of each item of a list that may be missing, or empty."""
    if path in source.document.lines and source.document.at(path) != []:
        yield from items(mistakes, source, path, example=example)


def _maintenance(mistakes: Mistakes, source: Source, path: KeyPath) -> Iterator[Maintenance]:
    example = "- {start: 2026-11-24T22:00:00+01:00, end: 2026-11-25T02:00:00+01:00, reason: the database moves}"
    known = _names(source, path)
    for item in _optional(mistakes, source, (*path, "maintenance"), example=example):
        model = checked(mistakes, source, item, MaintenanceModel)
        if model is None:
            continue
        for n, name in enumerate(model.slos or ()):
            if name not in known:
                mistakes.add(source, (*item, "slos", n), f"there is no SLO {name}; {nearest(name, known)}")
        yield model.maintenance_value()


def _composites(mistakes: Mistakes, source: Source, path: KeyPath) -> Iterator[Composite]:
    section, known = (*path, "composites"), _names(source, path)
    unique(mistakes, source, section, "name")
    for item in _optional(mistakes, source, section, example="- {name: checkout, of: {api_availability: 1}}"):
        model = checked(mistakes, source, item, CompositeModel)
        if model is None:
            continue
        if model.name in known:
            mistakes.add(source, (*item, "name"), f"{model.name} is an SLO already; choose another name")
        for name in model.of:
            if name not in known:
                mistakes.add(source, (*item, "of", name), f"there is no SLO {name}; {nearest(name, known)}")
        yield model.composite_value()


def _classes(mistakes: Mistakes, source: Source, path: KeyPath) -> Mapping[ChangeClass, ChangeRule]:
    default = Catalogue(()).classes
    if path not in source.document.lines:
        return default
    names = tuple(name.value for name in ChangeClass)
    if not known_keys(mistakes, source, path, names, what="a mapping of change classes"):
        return default
    models = {name: checked(mistakes, source, (*path, name.value), ChangeModel) for name in ChangeClass}
    found = {name: replace(default[name], **(model.given() if model else {})) for name, model in models.items()}
    _kinds_once(mistakes, source, path, found)
    return found


def _kinds_once(
    mistakes: Mistakes, source: Source, path: KeyPath, classes: Mapping[ChangeClass, ChangeRule]
) -> None:
    """A kind in two classes is a slip of the pen: the lower entry would never decide anything."""
    owner: dict[str, ChangeClass] = {}
    for name, rule in classes.items():
        for kind in rule.kinds:
            if owner.setdefault(kind, name) != name:
                text = f"{kind} is listed in class {owner[kind].value} too; list it in one of them"
                mistakes.add(source, (*path, name.value, "kinds"), text)


def _alerting(mistakes: Mistakes, source: Source, path: KeyPath) -> Alerting:
    model = checked(mistakes, source, path, AlertingModel)
    given = model.given() if model else {}
    pairs = (*path, "pairs")
    if pairs in source.document.lines:
        given["pairs"] = tuple(_pairs(mistakes, source, pairs))
    return Alerting(**given)


def _pairs(mistakes: Mistakes, source: Source, path: KeyPath) -> Iterator[AlertPair]:
    example = "- {severity: critical, budget: 2%, long: 1h, short: 5m}"
    for item in items(mistakes, source, path, example=example):
        model = checked(mistakes, source, item, PairModel)
        if model is not None:
            yield AlertPair(model.severity, model.budget, model.long, model.short, model.wait, model.min_bad)


def too_fine(slo: Objective, scrape_interval: timedelta) -> Iterator[tuple[KeyPath, str]]:
    """Yield why an objective's slices are too short for the scrapes: ``increase`` needs two samples in each."""
    if slo.kind == "timeslice" and slo.slice < 2 * scrape_interval:
        text = f"{format_duration(slo.slice)} holds fewer than two scrapes of {format_duration(scrape_interval)}"
        yield ("slice",), f"{text}; lengthen it, or set telemetry.scrape_interval to what the server does"


def unanswerable(slo: Objective, kind: str) -> Iterator[tuple[KeyPath, str]]:
    """Yield why telemetry of that kind ("embedded", "prometheus") cannot answer for the SLO, and what to do.

    An invariant may have neither stream nor gauge: it is then node0's own ihsan score.
    """
    if slo.kind == "invariant":
        return
    if kind == "prometheus":
        if not slo.queries:
            roles = " and ".join(ROLES[slo.kind])
            yield (), f"has no queries, but telemetry.kind is prometheus; add queries with {roles}, in PromQL"
        return
    if slo.stream is None:
        yield (), "has no stream, but telemetry.kind is embedded; add stream, or read from a Prometheus"
    for name, length in (("window", slo.window), ("slice", slo.slice)):
        if length % _MINUTE:
            yield (name,), f"{format_duration(length)} is not in whole minutes, and the embedded node counts minutes"
    if slo.threshold_s is not None:
        try:
            bound_index(slo.threshold_s)
        except ConfigError as error:
            yield ("threshold",), str(error).replace("threshold_s: ", "")


def silent_alerts(catalogue: Catalogue) -> tuple[str, ...]:
    """Return a note for each alert that can never fire: even without one good event the burn is too low."""
    period = catalogue.alerting.period
    asked = [slo for slo in catalogue.slos if slo.kind != "invariant" and slo.window >= period]
    return tuple(
        f"the {pair.severity} alert over {format_duration(pair.long)} can never fire for {slo.name}: "
        f"it asks for a burn above {pair.factor(period):.4g}, and the most there can be is {1 / slo.budget:.4g}"
        for slo in asked
        for pair in catalogue.alerting.pairs
        if pair.factor(period) >= 1 / slo.budget
    )


__all__ = [
    "SECTIONS",
    "CatalogueFile",
    "checked",
    "items",
    "known_keys",
    "read_catalogue",
    "silent_alerts",
    "unanswerable",
    "unique",
]
