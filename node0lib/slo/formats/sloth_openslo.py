"""OpenSLO v1alpha the way Sloth reads it, which is narrower than OpenSLO: ratios in PromQL over days.

Promises: each objective of an SLO becomes an SLO of its own, NAME-0, NAME-1 and so on, with a raw query 1 - good/total
and without alerts, as in Sloth 0.16. The time window must be the period that rules are made for: an objective promised
over 28 days has no rules over 30. ``slo import`` reads OpenSLO as OpenSLO; this is for rules in Sloth's dialect only.

Source: slok/sloth 0.16, internal/storage/io/openslo.go.

>>> mistakes: list[Mistake] = []
>>> asked = {"source": "prometheus", "queryType": "promql"}
>>> ratio = {kind: asked | {"query": f"sum(rate({kind}[{{{{.window}}}}]))"} for kind in ("good", "total")}
>>> spec = {"service": "shop", "objectives": [{"ratioMetrics": ratio, "target": 0.999}]}
>>> document = {"apiVersion": "openslo/v1alpha", "kind": "SLO", "metadata": {"name": "up"}, "spec": spec}
>>> read = read_openslo(document, Place(0), mistakes, timedelta(days=30))
>>> [(slo.id, slo.objective) for slo in read.slos], mistakes
([('shop-up-0', 99.9)], [])
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from node0lib.slo.formats.fields import Fields, Mistake, Place
from node0lib.slo.formats.sloth_spec import SlothRaw, SlothSlo, SlothSpec, query_mistake
from node0lib.timespan import format_duration

API_VERSION: Literal["openslo/v1alpha"] = "openslo/v1alpha"
KIND = "SLO"
_RATIO = """
  1 - (
    (
      {good}
    )
    /
    (
      {total}
    )
  )
"""


def is_openslo(data: object) -> bool:
    """Return whether the document is one that Sloth would read as OpenSLO."""
    return isinstance(data, Mapping) and data.get("apiVersion") == API_VERSION and data.get("kind") == KIND


def read_openslo(data: Mapping[str, object], place: Place, mistakes: list[Mistake], period: timedelta) -> SlothSpec:
    """Return the document's objectives as SLOs of Sloth over ``period``; what Sloth does not take is a mistake."""
    root = Fields(data, place, mistakes)
    root.text("apiVersion", needed=API_VERSION, known=(API_VERSION,))
    root.text("kind", needed=KIND, known=(KIND,))
    meta, spec = root.mapping("metadata", needed="{name: availability}"), root.mapping("spec", needed="{}")
    root.close()
    name = (meta.text("name", needed="availability") if meta else None) or ""
    if spec is None:
        return SlothSpec(API_VERSION, ())
    service, description = spec.text("service", needed="my-service") or "", spec.anything("description")
    for ignored in ("budgetingMethod", "alertPolicies", "indicator"):
        spec.anything(ignored)
    _window(spec, period)
    items = spec.items("objectives", needed="[{ratioMetrics: {good: ..., total: ...}, target: 0.999}]")
    read = [_objective(item, service, f"{name}-{n}", str(description or "")) for n, item in enumerate(items)]
    spec.close()
    return SlothSpec(API_VERSION, tuple(slo for slo in read if slo is not None))


def _window(spec: Fields, period: timedelta) -> None:
    windows = spec.items("timeWindows")
    if len(windows) > 1:
        spec.wrong("has more than one window; rules can be made for one", "timeWindows")
    for window in windows[:1]:
        count, unit = window.number("count", needed="30"), window.text("unit", needed="Day")
        for ignored in ("isRolling", "calendar"):
            window.anything(ignored)
        window.close()
        if unit is not None and unit.lower() != "day":
            window.wrong(f"{unit} is not Day; Sloth makes rules for windows of days only", "unit")
        elif count is not None and timedelta(days=count) != period:
            asked = f"rules are made for {format_duration(period)}; ask for a period of {count:g}d"
            window.wrong(f"is a window of {count:g} days, and {asked}", "count")


def _objective(fields: Fields, service: str, name: str, description: str) -> SlothSlo | None:
    target = fields.number("target", needed="0.999")
    if target is not None and not 0 < target < 1:
        fields.wrong(f"{target:g} must lie strictly between 0 and 1", "target")
    for ignored in ("displayName", "value", "op"):
        fields.anything(ignored)
    ratio = fields.mapping("ratioMetrics", needed="{good: ..., total: ...}")
    fields.close()
    if ratio is None:
        return None
    good, total = (_metric(ratio, role) for role in ("good", "total"))
    for ignored in ("incremental", "counter"):
        ratio.anything(ignored)
    ratio.close()
    if target is None or good is None or total is None:
        return None
    if good.strip() == total.strip():
        ratio.wrong("is the same query as good: nothing could ever be bad", "total")
    sli = SlothRaw(_RATIO.format(good=good, total=total))
    return SlothSlo(service, name, target * 100, sli, fields.place, description)


def _metric(ratio: Fields, role: str) -> str | None:
    metric = ratio.mapping(role, needed="{source: prometheus, queryType: promql, query: ...}")
    if metric is None:
        return None
    metric.text("source", needed="prometheus", known=("prometheus", "sloth"))
    metric.text("queryType", needed="promql", known=("promql",))
    query = metric.text("query", needed="sum(rate(http_requests_total[{{.window}}]))")
    metric.close()
    wrong = query_mistake(query) if query is not None else ""
    if wrong:
        metric.wrong(wrong, "query")
    return query
