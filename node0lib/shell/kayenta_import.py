"""A Kayenta canary configuration, ready for ``node0 canary judge --judge kayenta``: config, skeleton input, queries.

Rules
- The configuration stays as it is; it is checked as the judge checks it. Keys that Kayenta does not have are left over.
- The skeleton holds every metric with empty samples: no data until somebody fills it in.
- A Prometheus query becomes the PromQL that Kayenta would ask, with its ``${scope}`` and ``${location}``; other
  stores' queries are notes: their values are somebody's to fetch.

Source: Kayenta, ``PrometheusMetricsService`` and ``docs/canary-config.md``.

>>> query = {"type": "prometheus", "metricName": "cpu", "labelBindings": ['job="node"'], "groupByFields": ["mode"]}
>>> promql(query, {})
'avg(cpu{job="node"}) by (mode)'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node0lib.canary.kayenta_config import KayentaConfig
from node0lib.shell.canary_leftovers import Leftovers
from node0lib.shell.kayenta_file import METRIC_KEYS, TOP_KEYS, kayenta_at
from node0lib.shell.mistakes import Source, nearest

_QUERY = (
    "type", "serviceType", "metricName", "labelBindings", "groupByFields", "customFilter", "customFilterTemplate",
    "customInlineTemplate", "resourceType",
)  # fmt: skip
_RAW = "PromQL:"


@dataclass(frozen=True)
class KayentaImport:
    """``config`` as JSON values, ``skeleton`` the input document to fill in, ``queries`` PromQL by metric."""

    config: Mapping[str, Any]
    skeleton: Mapping[str, Any]
    queries: Mapping[str, str]


def import_kayenta(found: Leftovers, source: Source) -> KayentaImport:
    """Return what the document holds, nothing if there are mistakes; these, leftovers and notes go into ``found``."""
    read = kayenta_at(found.mistakes, source, ())
    whole = source.document.at(())
    data: dict[str, Any] = dict(whole) if isinstance(whole, Mapping) else {}
    for key in [key for key in data if key not in TOP_KEYS]:
        found.add(source, (key,), f"is no key of a canary config; {nearest(key, TOP_KEYS)}")
        del data[key]
    if isinstance(data.get("metrics"), list):
        data["metrics"] = [_metric(found, source, n, item) for n, item in enumerate(data["metrics"])]
    found.notes += [note for note in read.notes if "was not looked at" not in note]
    if found.mistakes:
        return KayentaImport({}, {}, {})
    return KayentaImport(data, _skeleton(read), _queries(found, data))


def _metric(found: Leftovers, source: Source, n: int, item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    for key in item:
        if key not in METRIC_KEYS:
            found.add(source, ("metrics", n, key), f"is no key of a metric; {nearest(key, METRIC_KEYS)}")
    return {key: value for key, value in item.items() if key in METRIC_KEYS}


def _skeleton(config: KayentaConfig) -> dict[str, Any]:
    names = [metric.name for metric in config.metrics]
    return {"metrics": [{"name": name, "samples": {"control": [], "canary": []}} for name in names]}


def _queries(found: Leftovers, data: Mapping[str, Any]) -> dict[str, str]:
    templates = data.get("templates")
    known = templates if isinstance(templates, Mapping) else {}
    queries: dict[str, str] = {}
    for item in data.get("metrics") or ():
        query = item.get("query") if isinstance(item, Mapping) else None
        if not isinstance(query, Mapping):
            continue
        text = promql(query, known)
        if text is not None:
            queries[item["name"]] = text
        else:
            name = item["name"]
            found.notes.append(f"{name}: its {_store(query)} query is not translated; fetch the values yourself")
    return queries


def _store(query: Mapping[str, Any]) -> str:
    extra = [key for key in query if key not in _QUERY]
    store = str(query.get("type", "unnamed"))
    return f"{store} ({', '.join(extra)})" if store == "prometheus" and extra else store


def promql(query: Mapping[str, Any], templates: Mapping[str, Any]) -> str | None:
    """Return a Prometheus query as PromQL; None where it is of another store, or has keys that nobody knows."""
    if query.get("type") != "prometheus" or any(key not in _QUERY for key in query):
        return None
    inline, named = query.get("customInlineTemplate"), query.get("customFilterTemplate")
    if isinstance(inline, str) and inline.startswith(_RAW):
        return inline.removeprefix(_RAW).strip()
    name, bindings, fields = query.get("metricName"), query.get("labelBindings", []), query.get("groupByFields", [])
    filters = [inline, query.get("customFilter"), templates.get(named) if named else None]
    if not isinstance(name, str) or not isinstance(bindings, list) or not isinstance(fields, list):
        return None
    inside = ",".join(str(part) for part in (*bindings, *filters) if part)
    return f"avg({name}{{{inside}}})" + (f" by ({', '.join(map(str, fields))})" if fields else "")
