"""OpenSLO's objects (openslo/v1 and openslo/v1alpha) as node0's objectives.

Promises: every object is read strictly; references are resolved over all objects that are given together, and one that
leads nowhere is a mistake. An SLO with several objectives becomes several SLOs, one for each. What node0 has no use for
(services, alert policies, labels, data sources) is told, object by object.

An objective's own indicator (a composite SLO) is read as an SLO of its own; its weight is told and left out.

Source: OpenSLO specification; OpenSLO/go-sdk for what is valid. ``openslo_parts`` reads indicators and windows,
``openslo_objectives`` says what an objective becomes.

>>> read_openslo([({"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {}}, Place(0))])
... # doctest: +NORMALIZE_WHITESPACE
Reading(slos=(), others=(Note(place=Place(document=0, path=()), verdict='left out',
text='Service web: node0 has SLOs, and no services'),), mistakes=())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from node0lib.slo.formats.account import Account, Imported, Note, Reading, share
from node0lib.slo.formats.fields import Fields, Mistake, Place
from node0lib.slo.formats.openslo_objectives import METHODS, MalformedError, Wanted, expressed
from node0lib.slo.formats.openslo_parts import Indicator, Metric, Window, alpha_metric, indicator, slice_of, window
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

V1, ALPHA = "openslo/v1", "openslo/v1alpha"
_ALERTS = "node0 alerts by the pairs of alerting: in slo.yaml"
_WHEN = ("alertWhenNoData", "alertWhenBreaching", "alertWhenResolved")
_UNUSED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Service": (("description",), "node0 has SLOs, and no services"),
    "DataSource": (("description", "type", "connectionDetails"), "node0 asks the server of telemetry.url"),
    "AlertPolicy": (
        ("description", *_WHEN, "conditions", "notificationTargets"),
        _ALERTS,
    ),
    "AlertCondition": (("description", "severity", "condition"), _ALERTS),
    "AlertNotificationTarget": (("description", "target"), "node0 notifies as notification: in node0.yaml says"),
}  # fmt: skip
"""Kinds of objects that are no SLO's numbers: the keys of their spec, and why they are left out."""
_KINDS = {V1: ("SLO", "SLI", *_UNUSED), ALPHA: ("SLO", "Service")}
_OPERATORS = ("lte", "gte", "lt", "gt")


def read_openslo(
    objects: Sequence[tuple[Mapping[str, object], Place]], default_window: timedelta | None = None
) -> Reading:
    """Return the SLOs of all objects. ``default_window`` is that of an SLO that names none; None refuses it."""
    return _Reader(default_window).read(objects)


@dataclass
class _Reader:
    """One reading: what other objects refer to, and what was found."""

    default_window: timedelta | None
    mistakes: list[Mistake] = field(default_factory=list)
    others: list[Note] = field(default_factory=list)
    indicators: dict[str, Indicator] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    named: dict[tuple[str, str], Place] = field(default_factory=dict)

    def read(self, objects: Sequence[tuple[Mapping[str, object], Place]]) -> Reading:
        opened = [found for data, place in objects if (found := self._opened(data, place)) is not None]
        for found in opened:
            if found.kind != "SLO":
                self._other(found)
        slos = [slo for found in opened if found.kind == "SLO" for slo in self._slos(found)]
        for name, unused in self.indicators.items():
            if name not in self.used:
                self.others.append(Note(unused.place, "left out", f"SLI {name}: no SLO refers to it"))
        return Reading(tuple(slos), tuple(self.others), tuple(self.mistakes))

    def _opened(self, data: Mapping[str, object], place: Place) -> _Object | None:
        top = Fields(data, place, self.mistakes)
        version = top.text("apiVersion", needed=V1) or ""
        kind = top.text("kind", needed="SLO", known=_KINDS.get(version, _KINDS[V1]))
        metadata, spec = top.mapping("metadata", needed="{name: …}"), top.mapping("spec", needed="{…}")
        top.close()
        name = metadata.text("name", needed="my-slo") if metadata else None
        if kind is None or metadata is None or spec is None or name is None:
            return None
        self._unique(kind, name, metadata.place.below("name"))
        return _Object(version == ALPHA, kind, name, metadata, spec, place)

    def _unique(self, kind: str, name: str, place: Place) -> None:
        first = self.named.setdefault((kind, name), place)
        if first is not place:
            self.mistakes.append(Mistake(place, f"{name} is the name of another {kind} too; names must differ", first))

    def _other(self, found: _Object) -> None:
        metadata(found.metadata, None)
        if found.kind == "SLI":
            self.indicators.setdefault(found.name, indicator(found.spec))
            text = f"SLI {found.name}: node0 keeps its queries, in every SLO that refers to it"
            self.others.append(Note(found.place, "left out", text))
            return
        keys, why = _UNUSED[found.kind]
        values = {key: found.spec.anything(key) for key in keys}
        found.spec.close()
        if found.kind == "DataSource" and isinstance(values["type"], str):
            self.sources.setdefault(found.name, values["type"])
        self.others.append(Note(found.place, "left out", f"{found.kind} {found.name}: {why}"))

    def _slos(self, found: _Object) -> list[Imported]:
        before = len(self.mistakes)
        account = Account(ALPHA if found.alpha else V1, found.name, found.place)
        metadata(found.metadata, account)
        spec = found.spec
        description = spec.text("description")
        said = account.description(spec.place.below("description"), description) if description else ""
        if spec.text("service", needed="my-service"):
            account.left(spec.place.below("service"), "service: node0 has SLOs, and no services")
        account.kept(spec.place.below("budgetingMethod"), "budgetingMethod")
        method = spec.text("budgetingMethod", needed="Occurrences", known=METHODS[:2] if found.alpha else METHODS)
        if spec.anything("alertPolicies"):
            account.left(spec.place.below("alertPolicies"), f"alertPolicies: {_ALERTS}")
        during = window(spec, account, alpha=found.alpha) or self._default(spec, account, before)
        common = self._alpha_common(spec) if found.alpha else self._indicator(spec)
        items = spec.items("objectives", needed="[{target: 0.999}]")
        read = [self._objective(item, found.alpha, common, method or "") for item in items]
        spec.close()
        if len(self.mistakes) > before:
            return []
        return self._expressed(found, account, [wanted for wanted in read if wanted], said, during)

    def _default(self, spec: Fields, account: Account, before: int) -> Window | None:
        if len(self.mistakes) > before or account.is_refused:
            return None
        if self.default_window is None:
            account.refused(spec.place, "no time window is given; import it with --window 30d, say")
            return None
        length = format_duration(self.default_window)
        account.changed(spec.place, f"window {length}: the one asked for, none is written")
        return Window(self.default_window)

    def _indicator(self, fields: Fields) -> Indicator | None:
        """The inline indicator, or the one that is referred to; None if there is none, or a mistake."""
        inline, reference = fields.mapping("indicator"), fields.text("indicatorRef")
        if inline is not None and reference is not None:
            fields.wrong("is written, and an indicator too; keep one of the two", "indicatorRef")
        if inline is not None:
            head, spec = (
                inline.mapping("metadata", needed="{name: …}"),
                inline.mapping("spec", needed="{ratioMetric: …}"),
            )
            inline.close()
            if spec is None or head is None:
                return None
            name = head.text("name", needed="my-sli")
            metadata(head, None)
            return self._sourced(
                _noted(indicator(spec), head.place, f"indicator {name}: node0 keeps its queries alone")
            )
        if reference is None:
            return None
        self.used.add(reference)
        found = self.indicators.get(reference)
        if found is None:
            fields.wrong(f"no SLI is called {reference} in the files given; give its file too", "indicatorRef")
        return (
            self._sourced(
                _noted(
                    found, fields.place.below("indicatorRef"), f"indicatorRef {reference}: its queries stand in the SLO"
                )
            )
            if found
            else None
        )

    def _sourced(self, read: Indicator) -> Indicator:
        """The indicator with the types of the data sources that it leaves to them."""
        return replace(read, metrics={role: self._typed(metric) for role, metric in read.metrics.items()})

    def _typed(self, metric: Metric) -> Metric:
        if metric.type or not metric.source:
            return metric
        kind = self.sources.get(metric.source, "")
        if not kind:
            text = f"no DataSource is called {metric.source} in the files given; give its file too, or add a type"
            self.mistakes.append(Mistake(metric.place.below("metricSourceRef"), text))
        return replace(metric, type=kind)

    def _alpha_common(self, spec: Fields) -> Indicator | None:
        fields = spec.mapping("indicator")
        if fields is None:
            return None
        threshold = fields.mapping("thresholdMetric", needed="{source: prometheus, queryType: promql, query: …}")
        fields.close()
        return Indicator(fields.place, metrics={"threshold": alpha_metric(threshold)}) if threshold else None

    def _objective(self, item: Fields, alpha: bool, common: Indicator | None, method: str) -> _Part | None:
        name, operator, value = item.text("displayName"), item.text("op", known=_OPERATORS), item.number("value")
        target, slices = self._target(item), item.number("timeSliceTarget")
        length = None if alpha else slice_of(item)
        own = self._alpha_ratio(item) if alpha else self._indicator(item)
        weight = None if alpha else item.number("compositeWeight")
        item.close()
        if own is not None and common is not None:
            item.wrong("has an indicator, and the SLO has one too; keep one of the two")
        if own is None and common is None:
            item.wrong("has no indicator, and the SLO has none; add one to the SLO")
        if slices is not None and not 0 <= slices <= 1:
            item.wrong(f"{slices:g} must lie between 0 and 1; write 95% as 0.95", "timeSliceTarget")
        measured = own or common
        if measured is None or target is None:
            return None
        wanted = Wanted(method, measured, target, operator or "", value, slices, length)
        return _Part(item.place, name or "", wanted, weight)

    def _alpha_ratio(self, item: Fields) -> Indicator | None:
        ratio = item.mapping("ratioMetrics")
        if ratio is None:
            return None
        asked = {role: ratio.mapping(role, needed="{query: …}") for role in ("good", "total")}
        counter = ratio.flag("incremental"), ratio.flag("counter")
        ratio.close()
        metrics = {role: alpha_metric(fields) for role, fields in asked.items() if fields is not None}
        return Indicator(ratio.place, any(counter), metrics)

    def _target(self, item: Fields) -> float | None:
        target, percent = item.number("target"), item.number("targetPercent")
        if target is not None and percent is not None:
            item.wrong("is written, and target too; keep one of the two", "targetPercent")
        if target is None and percent is None:
            if not item.has("target") and not item.has("targetPercent"):
                item.wrong("is missing; add for example target: 0.999", "target")
            return None
        key, value = ("target", target) if target is not None else ("targetPercent", share(percent or 0.0))
        if value is None or not 0 < value < 1:
            item.wrong(f"{value if key == 'target' else percent:g} must lie strictly between 0 and 1 (100%)", key)
            return None
        return value

    def _expressed(
        self, found: _Object, account: Account, read: list[_Part], description: str, during: Window | None
    ) -> list[Imported]:
        """One SLO of node0's for each objective."""
        imported = []
        for n, part in enumerate(read):
            own = account.copy()
            suffix = [part.name or str(n + 1)] if len(read) > 1 else []
            name = own.name(found.metadata.place.below("name"), found.name, *suffix)
            _told(part, own, len(read))
            own.add(part.wanted.indicator.left)
            try:
                parts = expressed(part.wanted, own, part.place)
            except MalformedError as error:
                self.mistakes.append(error.mistake)
                continue
            made = Objective(name, objective=part.wanted.target, window=during.length, description=description,
                             calendar=during.calendar, **parts) if parts and during else None  # type: ignore[arg-type]  # fmt: skip
            imported.append(own.closed(made))
        return imported


@dataclass(frozen=True)
class _Object:
    """An object whose head has been read."""

    alpha: bool
    kind: str
    name: str
    metadata: Fields
    spec: Fields
    place: Place


@dataclass(frozen=True)
class _Part:
    """One of the objectives of an SLO."""

    place: Place
    name: str
    wanted: Wanted
    weight: float | None


def metadata(fields: Fields, account: Account | None) -> None:
    """Take the rest of an object's head; the name was asked for before."""
    for key in ("displayName", "labels", "annotations"):
        if fields.anything(key) is not None and account is not None:
            account.left(fields.place.below(key), f"metadata.{key}: node0 keeps no such thing of an SLO")
    fields.close()


def _noted(read: Indicator, place: Place, text: str) -> Indicator:
    return replace(read, left=(*read.left, Note(place, "left out", text)))


def _told(part: _Part, account: Account, of: int) -> None:
    """Say what becomes of the objective's own numbers."""
    account.kept(part.place.below("target"), f"objective {part.wanted.target:.10g}")
    if of > 1:
        account.changed(part.place, f"one of {of} objectives, each is an SLO of its own")
    if part.name:
        account.left(part.place.below("displayName"), f"displayName {part.name!r}: node0 has names only")
    if part.weight is not None:
        account.left(part.place.below("compositeWeight"), f"compositeWeight {part.weight:g}: each counts by itself")
    wanted = part.wanted
    compared = "threshold" in wanted.indicator.metrics
    sliced = wanted.method != "Occurrences"
    written = {
        "op": (wanted.operator, compared, "a ratio is not compared"),
        "value": (wanted.value, compared, "a ratio is not compared"),
        "timeSliceTarget": (wanted.slice_target, sliced, "Occurrences has no slices"),
        "timeSliceWindow": (wanted.slice, sliced, "Occurrences has no slices"),
    }
    for key, (value, used, why) in written.items():
        if value not in (None, "") and used:
            account.kept(part.place.below(key), f"{key} {value}")
        elif value not in (None, ""):
            account.left(part.place.below(key), f"{key} {value}: {why}")
