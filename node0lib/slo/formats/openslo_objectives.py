"""One objective of an OpenSLO SLO as node0's objective, or the reasons why not.

================ =============== ==========================================================================
budgetingMethod  indicator       node0
================ =============== ==========================================================================
Occurrences      good|bad, total ratio; latency where good is a bucket of the histogram that total counts
Occurrences      raw             ratio, where the query is a quotient of two counts
Timeslices       good, total     timeslice, where good is a bucket of the histogram that total counts
Timeslices       threshold       timeslice, where the query is a histogram_quantile, and the objective lt or lte
RatioTimeslices  any             refused: node0 weighs by events and does not average the ratios of slices
================ =============== ==========================================================================

A query may have Sloth's ``{{.window}}`` where the range goes; without one, ``counter: true`` makes its metrics counters
whose increase is asked for. Anything else is refused with the reason, or is a mistake if nobody could ask it.

>>> account = Account("openslo/v1", "api", Place(0))
>>> metrics = {role: Metric(Place(0), "Prometheus", "", f"sum({role})") for role in ("bad", "total")}
>>> wanted = Wanted("Occurrences", Indicator(Place(0), True, metrics), 0.999)
>>> expressed(wanted, account, Place(0))["queries"]["bad"]
'sum(increase(bad[$window]))'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import Account, InexpressibleError
from node0lib.slo.formats.fields import Mistake, Place
from node0lib.slo.formats.openslo_parts import PROMETHEUS, Indicator, Metric
from node0lib.slo.formats.promql import canonical, counted
from node0lib.slo.formats.shapes import latency_of, quantile_of, quotient_of
from node0lib.timespan import format_duration

METHODS = ("Occurrences", "Timeslices", "RatioTimeslices")
Parts = dict[str, object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Wanted:
    """One objective with what the SLO says of all of them; ``target`` in (0, 1)."""

    method: str
    indicator: Indicator
    target: float
    operator: str = ""
    value: float | None = None
    slice_target: float | None = None
    slice: timedelta | None = None


class MalformedError(ConfigError):
    """A query that nobody could ask; carries where it stands."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.text)
        self.mistake = mistake


def expressed(wanted: Wanted, account: Account, place: Place) -> Parts:
    """Return the fields of node0's objective; empty where the account has a refusal.

    Raises MalformedError for a query that is not PromQL, has no window, or counts good and total alike.
    """
    if not _askable(wanted.indicator, account):
        return {}
    roles = tuple(sorted(wanted.indicator.metrics))
    read = _READERS.get((wanted.method, roles))
    if read is None:
        account.refused(place, _WHY.get(wanted.method, "").format(roles=" and ".join(roles)))
        return {}
    return read(wanted, account, place) or {}


_WHY = {
    "RatioTimeslices": "RatioTimeslices averages the ratios of slices; node0 weighs by events: write Occurrences",
    "Timeslices": "Timeslices of {roles}: node0's slices are those of a latency histogram",
    "Occurrences": "Occurrences of {roles}: node0 counts events; ask for the buckets of a histogram, or good and total",
}


def _askable(indicator: Indicator, account: Account) -> bool:
    """Whether Prometheus answers every metric; what is refused is in the account."""
    before = True
    for metric in indicator.metrics.values():
        kind = metric.type.lower().replace(" ", "")
        if kind not in PROMETHEUS:
            account.refused(metric.place, f"metric source of type {metric.type or 'unknown'}: node0 asks Prometheus")
            before = False
        elif metric.query is None:
            account.refused(metric.place, "metric source without a query in PromQL (query or promql)")
            before = False
        _told(metric, account)
    return before


def _told(metric: Metric, account: Account) -> None:
    if metric.source:
        text = f"data source {metric.source}: node0 asks the server of telemetry.url"
        account.left(metric.place.below("metricSourceRef"), text)
    for key in metric.more:
        account.left(metric.place.below("spec", key), f"{key} of a metric source: node0 asks the query alone")


def _ratio(wanted: Wanted, account: Account, place: Place) -> Parts | None:
    queries = _queries(wanted, account)
    if queries is None:
        return None
    found = latency_of(queries["good"], queries["total"]) if "good" in queries else None
    if found is None:
        return {"kind": "ratio", "queries": queries}
    text = f"good and total are one histogram: kept as latency at {_seconds(found.threshold_s)}"
    account.changed(wanted.indicator.place, text)
    return {"kind": "latency", "threshold_s": found.threshold_s, "queries": {"buckets": found.buckets}}


def _slices(wanted: Wanted, account: Account, place: Place) -> Parts | None:
    queries = _queries(wanted, account)
    if queries is None:
        return None
    found = latency_of(queries["good"], queries["total"])
    if found is None:
        why = "slices of good and total that are no histogram: node0's slices are those of a latency quantile"
        account.refused(wanted.indicator.place, why)
        return None
    return _timeslice(wanted, account, place, wanted.slice_target, found.threshold_s, found.buckets)


def _quantile(wanted: Wanted, account: Account, place: Place) -> Parts | None:
    metric = wanted.indicator.metrics["threshold"]
    found = _tried(metric, account, quantile_of)
    if found is None:
        if not account.is_refused:
            account.refused(metric.place, "thresholdMetric that is no histogram_quantile: node0 slices a histogram")
        return None
    if wanted.operator not in {"lt", "lte"} or wanted.value is None or wanted.value <= 0:
        account.refused(metric.place, "a quantile is good at or under a value above 0; write op: lte with a value")
        return None
    if wanted.operator == "lt":
        account.changed(metric.place, "op lt: read as lte, a bucket holds what lies on its bound")
    if wanted.slice_target is not None:
        account.changed(metric.place, "timeSliceTarget: a slice has one value, the quantile over all of it")
    return _timeslice(wanted, account, place, found[0], wanted.value, found[1])


def _timeslice(
    wanted: Wanted, account: Account, place: Place, quantile: float | None, threshold: float, buckets: str
) -> Parts | None:
    if wanted.slice is None or quantile is None or not 0 < quantile < 1:
        reason = "a slice needs timeSliceWindow, and a share strictly between 0 and 1 in timeSliceTarget"
        account.refused(wanted.indicator.place, reason)
        return None
    text = f"timeslice: p{quantile * 100:g} at most {_seconds(threshold)} in slices of {format_duration(wanted.slice)}"
    account.kept(place, text)
    numbers: Parts = {"quantile": quantile, "threshold_s": threshold, "slice": wanted.slice}
    return {"kind": "timeslice", "queries": {"buckets": buckets}, **numbers}


def _raw(wanted: Wanted, account: Account, place: Place) -> Parts | None:
    metric = wanted.indicator.metrics["raw"]
    asked = f"1 - ({metric.query})" if wanted.indicator.raw_type == "success" else str(metric.query)
    found = _tried(metric, account, lambda _: quotient_of(asked))
    if found is None:
        if not account.is_refused:
            account.refused(metric.place, "raw ratio that is no quotient of two counts: node0 needs the counts")
        return None
    role, part, total = found
    account.changed(metric.place, f"raw ratio: its quotient is kept as {role} and total")
    _differ(metric.place, part, total)
    return {"kind": "ratio", "queries": {role: part, "total": total}}


_READERS: Mapping[tuple[str, tuple[str, ...]], Callable[[Wanted, Account, Place], Parts | None]] = {
    ("Occurrences", ("good", "total")): _ratio,
    ("Occurrences", ("bad", "total")): _ratio,
    ("Occurrences", ("raw",)): _raw,
    ("Timeslices", ("good", "total")): _slices,
    ("Timeslices", ("threshold",)): _quantile,
}


def _queries(wanted: Wanted, account: Account) -> dict[str, str] | None:
    """The counts by role; None, and a refusal, if one counts nothing."""
    counter, metrics = wanted.indicator.counter, wanted.indicator.metrics
    read = {
        role: _tried(metric, account, lambda text: counted(text, counter=counter)) for role, metric in metrics.items()
    }
    queries = {role: text for role, text in read.items() if text is not None}
    if len(queries) != len(metrics):
        return None
    part = next(role for role in ("good", "bad") if role in queries)
    _differ(metrics[part].place, queries[part], queries["total"])
    how = "the increase of its counters" if counter else "every range the window"
    account.kept(wanted.indicator.place, f"queries {part} and total, {how}")
    return queries


def _differ(place: Place, part: str, total: str) -> None:
    if canonical(part) == canonical(total):
        raise MalformedError(Mistake(place, "is the same query as total; select the events that are meant"))


def _tried(metric: Metric, account: Account, read: Callable[[str], _T]) -> _T | None:
    """What a reader makes of a query; None, and a refusal, if node0 cannot say it. Raises MalformedError."""
    try:
        return read(str(metric.query))
    except InexpressibleError as error:
        account.refused(metric.place, f"the query {error}")
        return None
    except ConfigError as error:
        gauge = " (or counter: true in ratioMetric, if its metrics are counters)" if "variable" in str(error) else ""
        raise MalformedError(Mistake(metric.place.below("spec", "query"), f"{error}{gauge}")) from None


def _seconds(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))
