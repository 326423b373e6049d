"""Pyrra's ServiceLevelObjective (pyrra.dev/v1alpha1) as node0's objective.

============== ============================================================================================
indicator      objective
============== ============================================================================================
ratio          ratio: ``bad`` and ``total`` are the increase of the two counters, over all their series
latency        latency, where success is a bucket of the very histogram that total counts; else ratio
latencyNative  latency, of the native histogram
bool_gauge     ratio: the samples that are 1, of all samples
============== ============================================================================================

``grouping`` (one SLO for each value of a label) is not carried over: node0 sums over all series.

Source: Pyrra 0.8, kubernetes/api/v1alpha1/servicelevelobjective_types.go (what is accepted) and slo/rules.go (what it
means).

>>> spec = {"target": "99", "window": "4w", "indicator": {"bool_gauge": {"metric": "probe_success"}}}
>>> document = {"apiVersion": API, "kind": KIND, "metadata": {"name": "probe"}, "spec": spec}
>>> read_pyrra(document, Place(0)).slos[0].objective.queries["good"]
'sum(sum_over_time(probe_success[$window]))'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta

import promql_parser as promql

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import Account, Reading, share
from node0lib.slo.formats.fields import Fields, Mistake, Place
from node0lib.slo.formats.promql import canonical, counted, parsed
from node0lib.slo.formats.shapes import latency_of
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration, parse_duration

API = "pyrra.dev/v1alpha1"
KIND = "ServiceLevelObjective"
METADATA = (
    "namespace", "labels", "annotations", "creationTimestamp", "deletionTimestamp", "finalizers", "generateName",
    "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid",
)  # fmt: skip
"""What Kubernetes keeps of an object besides its name; none of it is an SLO's."""
_UNUSED = {
    "alerting": "node0 alerts by the pairs of alerting: in slo.yaml",
    "partial_response_strategy": "is Thanos Ruler's",
    "performance_over_accuracy": "is about the rules that Pyrra writes",
}
_Parts = dict[str, object]


def read_pyrra(data: Mapping[str, object], place: Place) -> Reading:
    """Return the SLO of one document; what is malformed is in ``mistakes``, and then there is no SLO."""
    mistakes: list[Mistake] = []
    top = Fields(data, place, mistakes)
    top.text("apiVersion")
    top.text("kind", needed=KIND, known=[KIND])
    metadata, spec = top.mapping("metadata", needed="{name: …}"), top.mapping("spec", needed="{target: '99', …}")
    status = top.anything("status")
    top.close()
    name = metadata.text("name", needed="my-slo") if metadata else None
    account = Account(API, name or "?", place)
    if status is not None:
        account.left(place.below("status"), "status: is Pyrra's own")
    objective = _objective(metadata, spec, name, account) if metadata and spec else None
    if mistakes:
        return Reading(mistakes=tuple(mistakes))
    return Reading((account.closed(objective),))


def kubernetes_metadata(metadata: Fields, account: Account) -> None:
    """Take what Kubernetes keeps of an object; the name was asked for before."""
    for key in METADATA:
        if metadata.anything(key) is not None:
            account.left(metadata.place.below(key), f"metadata.{key}: node0 keeps no such thing of an SLO")
    metadata.close()


def _objective(metadata: Fields, spec: Fields, name: str | None, account: Account) -> Objective | None:
    plain = account.name(metadata.place.below("name"), name or "?")
    kubernetes_metadata(metadata, account)
    text = spec.text("description")
    description = account.description(spec.place.below("description"), text) if text else ""
    target, window = _target(spec, account), _window(spec, account)
    indicator = spec.mapping("indicator", needed="{ratio: {errors: …, total: …}}")
    for key, why in _UNUSED.items():
        if spec.anything(key) is not None:
            account.left(spec.place.below(key), f"{key}: {why}")
    spec.close()
    parts = _indicator(indicator, account) if indicator else None
    if parts is None or target is None or window is None:
        return None
    return Objective(name=plain, objective=target, window=window, description=description, **parts)  # type: ignore[arg-type]


def _target(spec: Fields, account: Account) -> float | None:
    """Pyrra's target is a percentage, as text."""
    found = spec.anything("target", needed="'99.9'")
    if found is None:
        return None
    place = spec.place.below("target")
    try:
        percent = float(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else float("nan")
    except ValueError:
        percent = float("nan")
    if not 0 < percent < 100:
        spec.wrong(f"{found!r} must lie strictly between 0 and 100; write 99.9% as '99.9'"[:200], "target")
        return None
    account.kept(place, f"objective {percent:g}%")
    return share(percent)


def _window(spec: Fields, account: Account) -> timedelta | None:
    text = spec.text("window", needed="4w")
    if text is None:
        return None
    years = re.fullmatch(r"([0-9]{1,3})y(.*)", text, re.DOTALL)
    try:
        rest = parse_duration(years[2]) if years and years[2] else timedelta(0)
        window = timedelta(days=365 * int(years[1])) + rest if years else parse_duration(text)
    except (ConfigError, OverflowError):
        window = timedelta(0)
    if not timedelta(0) < window <= timedelta(days=3660):
        spec.wrong(f"{text[:60]!r} is no duration of at most ten years; write for example 4w or 30d", "window")
        return None
    account.kept(spec.place.below("window"), f"window {format_duration(window)}")
    return window


def _indicator(indicator: Fields, account: Account) -> _Parts | None:
    kinds = [kind for kind in _READERS if indicator.has(kind)]
    found = {kind: indicator.mapping(kind) for kind in _READERS}
    indicator.close()
    if len(kinds) != 1:
        several = f"has {' and '.join(kinds)}" if kinds else "has no indicator"
        indicator.wrong(f"{several}; write one of {', '.join(_READERS)}")
        return None
    fields = found[kinds[0]]
    if fields is None:
        return None
    parts = _READERS[kinds[0]](fields, account)
    if fields.anything("grouping"):
        why = "node0 sums over all series instead of keeping one budget for each value"
        account.left(fields.place.below("grouping"), f"grouping: {why}")
    fields.close()
    return parts


def _ratio(fields: Fields, account: Account) -> _Parts | None:
    bad, total = _counter(fields, "errors"), _counter(fields, "total")
    if bad is None or total is None or _same(fields, "errors", bad, total):
        return None
    account.kept(fields.place, "queries bad and total: the increase of both counters")
    return {"kind": "ratio", "queries": {"bad": bad, "total": total}}


def _latency(fields: Fields, account: Account) -> _Parts | None:
    good, total = _counter(fields, "success"), _counter(fields, "total")
    if good is None or total is None or _same(fields, "success", good, total):
        return None
    found = latency_of(good, total)
    if found is None:
        text = (
            "success and total are not bucket and count of one histogram in seconds: kept as good and total of a ratio"
        )
        account.changed(fields.place, text)
        return {"kind": "ratio", "queries": {"good": good, "total": total}}
    threshold = format_duration(timedelta(seconds=found.threshold_s))
    account.kept(fields.place, f"latency at {threshold}, its bucket and +Inf found in one query of all buckets")
    return {"kind": "latency", "threshold_s": found.threshold_s, "queries": {"buckets": found.buckets}}


def _native(fields: Fields, account: Account) -> _Parts | None:
    buckets, text = _counter(fields, "total"), fields.text("latency", needed="200ms")
    if text is None or buckets is None:
        return None
    try:
        threshold = parse_duration(text)
    except (ConfigError, OverflowError):
        fields.wrong(f"{text[:60]!r} is no duration; write for example 200ms", "latency")
        return None
    account.kept(fields.place, f"latency at {format_duration(threshold)}, of a native histogram")
    return {"kind": "latency", "threshold_s": threshold.total_seconds(), "queries": {"buckets": buckets}}


def _bool_gauge(fields: Fields, account: Account) -> _Parts | None:
    gauge = _selector(fields, "metric")
    if gauge is None:
        return None
    good, total = (f"sum({function}({gauge}[$window]))" for function in ("sum_over_time", "count_over_time"))
    account.kept(fields.place, "queries good and total: the samples that are 1, and all samples")
    return {"kind": "ratio", "queries": {"good": good, "total": total}}


_READERS: Mapping[str, Callable[[Fields, Account], _Parts | None]] = {
    "ratio": _ratio,
    "latency": _latency,
    "latencyNative": _native,
    "bool_gauge": _bool_gauge,
}


def _counter(fields: Fields, key: str) -> str | None:
    """The increase of the counter below a key, over all its series."""
    below = fields.mapping(key, needed="{metric: x_total}")
    if below is None:
        return None
    selector = _selector(below, "metric")
    below.close()
    return counted(selector, counter=True) if selector else None


def _selector(fields: Fields, key: str) -> str | None:
    """The metric, which Pyrra wants to be a selector without a range."""
    text = fields.text(key, needed="x_total")
    if text is None:
        return None
    try:
        found = parsed(text)
        plain = isinstance(found, promql.VectorSelector) and "$window" not in text and canonical(text)
        if plain:
            counted(plain, counter=True)
    except ConfigError as error:
        fields.wrong(str(error), key)
        return None
    if not plain:
        fields.wrong('is no plain selector; write a metric with its matchers, as in x_total{code="500"}', key)
        return None
    return plain


def _same(fields: Fields, key: str, one: str, other: str) -> bool:
    """Whether the two count the same, which is a mistake."""
    if canonical(one) != canonical(other):
        return False
    fields.wrong(f"is the same as total; select the {'bad' if key == 'errors' else 'good'} events", key, "metric")
    return True
