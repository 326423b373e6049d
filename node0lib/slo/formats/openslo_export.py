"""node0's objectives as OpenSLO v1 objects, with an account of what OpenSLO cannot say.

========== ============================================================================================
kind       OpenSLO
========== ============================================================================================
ratio      ratioMetric, Occurrences; ``counter: true`` with the counters themselves where the queries are sums of
           increases, else the queries with Sloth's ``{{.window}}`` for the range
latency    the same, of the bucket at the threshold and the one at +Inf
timeslice  the same with Timeslices: ``timeSliceTarget`` is the quantile; of a native histogram a thresholdMetric
invariant  not at all: OpenSLO has no objective without a budget
========== ============================================================================================

Promises: whatever is exported comes back from ``read_openslo`` with the same objective, window, slices and queries.
Burn-rate alerts are left out: an AlertCondition has one window, and node0's alerts have two and a least number of
events; half of an alert would page when node0 does not.

>>> from datetime import timedelta
>>> queries = {"bad": "sum(increase(e[$window]))", "total": "sum(increase(n[$window]))"}
>>> exported = export_slo(Objective("api", "ratio", 0.999, timedelta(days=30), queries=queries), "shop")
>>> exported.document["spec"]["indicator"]["spec"]["ratioMetric"]["bad"]
{'metricSource': {'type': 'Prometheus', 'spec': {'query': 'sum(e)'}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import node0_name
from node0lib.slo.formats.promql import canonical, counters
from node0lib.slo.formats.shapes import parts
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar

LONGEST_DESCRIPTION = 1050
_UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))
_CALENDAR = {"week": "1w", "month": "1M", "quarter": "1Q", "year": "1Y"}
_MONDAY_AND_FIRST = "2024-01-01 00:00:00"
"""A start that begins a week, a month, a quarter and a year."""


@dataclass(frozen=True)
class Exported:
    """One SLO: its object, or None and why not; ``left`` is what OpenSLO cannot say of it."""

    name: str
    document: Mapping[str, Any] | None
    left: tuple[str, ...] = ()


def export_slo(slo: Objective, service: str) -> Exported:
    """Return the SLO as an object of OpenSLO v1."""
    left: list[str] = []
    try:
        spec: dict[str, Any] = {
            "description": _description(slo, left),
            "service": service,
            "indicator": {"metadata": {"name": f"{_name(slo.name)[:59].rstrip('-')}-sli"}, "spec": _indicator(slo)},
            "timeWindow": [_window(slo)],
            **_objectives(slo),
        }
    except ConfigError as error:
        return Exported(slo.name, None, (str(error),))
    if slo.stream is not None:
        left.append(f"stream {slo.stream}: is the embedded node's")
    name = _name(slo.name)
    if node0_name(name) != slo.name:
        left.append(f"name {slo.name}: becomes {name}, as OpenSLO's names are made of a-z, 0-9 and -")
    spec = {key: value for key, value in spec.items() if value}
    head = {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": name}}
    return Exported(slo.name, {**head, "spec": spec}, tuple(left))


def _name(name: str) -> str:
    return name.replace("_", "-").strip("-")


def _description(slo: Objective, left: list[str]) -> str:
    if len(slo.description) > LONGEST_DESCRIPTION:
        left.append(f"description: cut to {LONGEST_DESCRIPTION:,} characters")
    return slo.description[:LONGEST_DESCRIPTION]


def _window(slo: Objective) -> dict[str, Any]:
    if slo.calendar is None:
        return {"duration": _shorthand(slo.window, "window"), "isRolling": True}
    return {"duration": _CALENDAR[slo.calendar.unit], "isRolling": False, "calendar": _calendar(slo.calendar)}


def _calendar(calendar: Calendar) -> dict[str, str]:
    return {"startTime": _MONDAY_AND_FIRST, "timeZone": calendar.zone}


def _shorthand(length: timedelta, what: str) -> str:
    """The length in one unit; raises ConfigError if it is not in whole minutes."""
    for unit, size in _UNITS:
        if length and not length % size:
            return f"{length // size}{unit}"
    raise ConfigError(f"{what} of {length}: OpenSLO's durations are whole minutes")


def _indicator(slo: Objective) -> dict[str, Any]:
    """The spec of an indicator; raises ConfigError if OpenSLO has no word for it."""
    if slo.kind == "invariant":
        raise ConfigError("kind invariant: OpenSLO has no objective without a budget")
    if not slo.queries:
        raise ConfigError("has no queries: OpenSLO needs them")
    if slo.kind == "ratio":
        return _ratio(slo.queries)
    found = parts(slo.queries["buckets"], slo.threshold_s or 0.0)
    if found is not None:
        return _ratio(dict(zip(("good", "total"), found, strict=True)))
    if slo.kind == "timeslice":
        query = f"histogram_quantile({slo.quantile!r}, {slo.queries['buckets']})"
        return {"thresholdMetric": _metric(_variable(query))}
    raise ConfigError("latency of buckets that are no plain sum by (le) in seconds: OpenSLO has only good and total")


def _ratio(queries: Mapping[str, str]) -> dict[str, Any]:
    plain = {role: counters(query) for role, query in queries.items()}
    told = {role: query for role, query in plain.items() if query is not None}
    counter = len(told) == len(queries)
    texts = told if counter else {role: _variable(query) for role, query in queries.items()}
    return {"ratioMetric": {"counter": counter, **{role: _metric(texts[role]) for role in queries}}}


def _variable(query: str) -> str:
    canonical(query)  # a query that is no PromQL must not leave the house
    return query.replace("$window", "{{.window}}")


def _metric(query: str) -> dict[str, Any]:
    return {"metricSource": {"type": "Prometheus", "spec": {"query": query}}}


def _objectives(slo: Objective) -> dict[str, Any]:
    if slo.kind != "timeslice":
        return {"budgetingMethod": "Occurrences", "objectives": [{"target": slo.objective}]}
    one: dict[str, Any] = {"target": slo.objective}
    threshold = parts(slo.queries["buckets"], slo.threshold_s or 0.0) is None
    if threshold:
        one |= {"op": "lte", "value": slo.threshold_s}
    one |= {"timeSliceTarget": 1.0 if threshold else slo.quantile, "timeSliceWindow": _shorthand(slo.slice, "slice")}
    return {"budgetingMethod": "Timeslices", "objectives": [one]}
