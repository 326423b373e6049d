"""Sloth's SLOs as node0's objectives: ``events`` are bad and total, a ``raw`` quotient is taken apart.

Sloth files name no window; Sloth's own default is 30 days. An SLO's name is unique within its service, so node0 calls
it by both.

>>> sli = {"events": {"error_query": "sum(rate(e[{{.window}}]))", "total_query": "sum(rate(n[{{.window}}]))"}}
>>> slo = {"name": "up", "objective": 99.9, "sli": sli, "alerting": {"name": "Down"}}
>>> reading = import_sloth({"version": "prometheus/v1", "service": "shop", "slos": [slo]}, Place(0))
>>> reading.slos[0].objective.name, dict(reading.slos[0].objective.queries)
('shop_up', {'bad': 'sum(increase(e[$window]))', 'total': 'sum(increase(n[$window]))'})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import Account, Imported, InexpressibleError, Note, Reading, share
from node0lib.slo.formats.fields import KeyPath, Mistake, Place
from node0lib.slo.formats.promql import canonical, counted, too_deep
from node0lib.slo.formats.shapes import latency_of, quotient_of
from node0lib.slo.formats.sloth import read_sloth
from node0lib.slo.formats.sloth_spec import SlothEvents, SlothPlugin, SlothSlo, SlothSpec
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

PERIOD = timedelta(days=30)
"""The period of Sloth's rules, unless its command line says otherwise."""


def import_sloth(data: Mapping[str, object], place: Place, window: timedelta | None = None) -> Reading:
    """Return the SLOs of one document over ``window``; where something is malformed there are only mistakes."""
    mistakes: list[Mistake] = []
    for path, text in _texts(data, ()):
        if too_deep(text):  # Sloth's reader would parse it, and the parser recurses
            mistakes.append(
                Mistake(place.below(*path), "has too many operators and brackets for one query; shorten it")
            )
    spec = read_sloth(data, place, mistakes) if not mistakes else None
    if spec is None or mistakes:
        return Reading(mistakes=tuple(mistakes))
    slos: list[Imported] = []
    for slo in spec.slos:
        try:
            slos.append(_imported(slo, spec, window))
        except _MalformedError as error:
            mistakes.append(error.mistake)
    others = tuple(_others(data, spec, place))
    return Reading(tuple(slos), others, tuple(mistakes)) if not mistakes else Reading(mistakes=tuple(mistakes))


class _MalformedError(ConfigError):
    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.text)
        self.mistake = mistake


def _texts(data: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, Mapping | list):
        pairs = data.items() if isinstance(data, Mapping) else enumerate(data)
        for key, value in pairs:
            yield from _texts(value, (*path, key))


def _others(data: Mapping[str, object], spec: SlothSpec, place: Place) -> Iterator[Note]:
    """What the document says of all its SLOs, and node0 has no use for."""
    root = place.below("spec") if "spec" in data else place
    body = data.get("spec", data)
    for key in ("labels", "slo_plugins", "sloPlugins"):
        if isinstance(body, Mapping) and body.get(key):
            yield Note(root.below(key), "left out", f"{key} of the service: node0 keeps no such thing of an SLO")
    if "metadata" in data:
        yield Note(place.below("metadata"), "left out", f"metadata of {spec.meta.name}: node0 has SLOs, and no objects")
    if data.get("status") is not None:
        yield Note(place.below("status"), "left out", "status: is Sloth's own")
    yield from spec.notes


def _imported(slo: SlothSlo, spec: SlothSpec, window: timedelta | None) -> Imported:
    account = Account(f"sloth {spec.form}", f"{slo.service}-{slo.name}", slo.place)
    name = account.name(slo.place.below("name"), slo.service, slo.name)
    description = account.description(slo.place.below("description"), slo.description) if slo.description else ""
    account.kept(slo.place.below("objective"), f"objective {slo.objective:.10g}%")
    why = "" if window else ", Sloth's own default (--window says another)"
    account.changed(slo.place, f"window {format_duration(window or PERIOD)}: a Sloth file names none{why}")
    _unused(slo, account)
    queries = _queries(slo, account)
    if not queries:
        return account.closed(None)
    head = {"name": name, "objective": share(slo.objective), "window": window or PERIOD, "description": description}
    found = latency_of(queries["good"], queries["total"]) if "good" in queries else None
    if found is None:
        return account.closed(Objective(kind="ratio", queries=queries, **head))  # type: ignore[arg-type]
    threshold = format_duration(timedelta(seconds=found.threshold_s))
    account.changed(slo.place.below("sli"), f"good and total are one histogram: kept as latency at {threshold}")
    latency = {"threshold_s": found.threshold_s, "queries": {"buckets": found.buckets}}
    return account.closed(Objective(kind="latency", **latency, **head))  # type: ignore[arg-type]


def _unused(slo: SlothSlo, account: Account) -> None:
    """Tell what an SLO of Sloth has besides its numbers."""
    if slo.labels:
        account.left(slo.place.below("labels"), f"labels {', '.join(slo.labels)}: node0 keeps no labels of an SLO")
    alerts = [name for name, alert in (("page", slo.page), ("ticket", slo.ticket)) if alert is not None]
    said = f"{' and '.join(alerts)} alerts" if alerts else "both alerts are disabled"
    account.left(slo.place.below("alerting"), f"alerting ({said}): node0 alerts by the pairs of alerting: in slo.yaml")
    if slo.plugins:
        account.left(slo.place.below("plugins"), f"plugins {', '.join(slo.plugins)}: only Sloth can run them")


def _queries(slo: SlothSlo, account: Account) -> dict[str, str]:
    """The counts by role; empty, and a refusal, if node0 cannot say them."""
    place = slo.place.below("sli")
    if isinstance(slo.sli, SlothPlugin):
        account.refused(place, f"the plugin {slo.sli.id} writes the query; only Sloth can run it")
        return {}
    try:
        if isinstance(slo.sli, SlothEvents):
            queries = {"bad": counted(slo.sli.error), "total": counted(slo.sli.total)}
            account.kept(place, "queries bad and total: every rate as an increase")
        else:
            found = quotient_of(slo.sli.ratio)
            if found is None:
                account.refused(place, "raw ratio that is no quotient of two counts: node0 needs the counts")
                return {}
            role, part, total = found
            queries = {role: part, "total": total}
            account.changed(place, f"raw error ratio: its quotient is kept as {role} and total")
    except InexpressibleError as error:
        account.refused(place, f"a query {error}")
        return {}
    except ConfigError as error:
        raise _MalformedError(Mistake(place, str(error))) from None
    part, total = queries.values()
    if canonical(part) == canonical(total):
        raise _MalformedError(Mistake(place, "counts the same as bad and as total; select the bad events"))
    return queries
