"""Sloth's files, read strictly: prometheus/v1, and the Kubernetes object PrometheusServiceLevel of sloth.slok.dev/v1.

Promises: what comes out is what Sloth 0.16 makes of the same file, or there is a ``Mistake`` with the path of keys that
says what to do.

Rules
- A key that Sloth does not know is a mistake. One exception: a key in the spelling of the other form (``pageAlert`` in
  prometheus/v1) is what Sloth silently ignores in files that it calls good; it is ignored here too, and told in
  ``notes``.
- An alert is there unless ``disable: true``; labels of a lower level win over those of a higher one.
- An SLI is ``events`` (bad and total), ``raw`` (a ratio) or ``plugin`` (a program in Go, which only Sloth can run).
- The objective is a percentage strictly between 0 and 100. Sloth takes 100 too and makes alerts of it that fire on
  every error; node0 calls a promise without a budget an invariant.

Source: slok/sloth 0.16, pkg/prometheus/api/v1, pkg/kubernetes/api/sloth/v1, pkg/common/validation.

>>> mistakes: list[Mistake] = []
>>> sli = {"raw": {"error_ratio_query": "rate(bad[{{.window}}]) / rate(all[{{.window}}])"}}
>>> off = {"page_alert": {"disable": True}, "ticket_alert": {"disable": True}}
>>> slo = {"name": "up", "objective": 99.9, "sli": sli, "alerting": off}
>>> read = read_sloth({"version": "prometheus/v1", "service": "shop", "slos": [slo]}, Place(0), mistakes)
>>> [(slo.id, slo.objective, slo.page) for slo in read.slos], mistakes
([('shop-up', 99.9, None)], [])
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from node0lib.slo.formats.account import Note
from node0lib.slo.formats.fields import Fields, Mistake, Place, shown
from node0lib.slo.formats.sloth_spec import (
    SlothAlert,
    SlothEvents,
    SlothForm,
    SlothMeta,
    SlothPlugin,
    SlothRaw,
    SlothSlo,
    SlothSpec,
    query_mistake,
)

VERSION, API_VERSION, KIND = "prometheus/v1", "sloth.slok.dev/v1", "PrometheusServiceLevel"
_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OTHER = "{other} is the spelling of the {form} form; Sloth ignores it here, and so does node0: write {key}"


def is_sloth(data: object) -> bool:
    """Return whether the document says that it is one of Sloth's."""
    return isinstance(data, Mapping) and (
        data.get("version") == VERSION or str(data.get("apiVersion", "")).startswith("sloth.slok.dev/")
    )


def read_sloth(data: object, place: Place, mistakes: list[Mistake]) -> SlothSpec | None:
    """Return the document's SLOs; what is malformed is noted, and an SLO in which something is has no place in them.

    None if there is nothing to read at all.
    """
    if not isinstance(data, Mapping):
        mistakes.append(Mistake(place, f"{shown(data)} is not a Sloth file; it begins with version: {VERSION}"))
        return None
    root = Fields(data, place, mistakes)
    if "apiVersion" in data or "kind" in data:
        return _kubernetes(root, mistakes)
    root.text("version", needed=VERSION, known=(VERSION,))
    spec = _Reader("prometheus/v1", mistakes).spec(root, SlothMeta())
    root.close()
    return spec


def _kubernetes(root: Fields, mistakes: list[Mistake]) -> SlothSpec | None:
    root.text("apiVersion", needed=API_VERSION, known=(API_VERSION,))
    root.text("kind", needed=KIND, known=(KIND,))
    root.anything("status")
    # Kubernetes writes much into the metadata that is nobody's promise (uid, managedFields): it is not looked at.
    meta = root.mapping("metadata", needed="{name: api}")
    body = root.mapping("spec", needed="{service: api, slos: []}")
    root.close()
    if meta is None or body is None:
        return None
    read = SlothMeta(
        meta.text("name", needed="api") or "", meta.text("namespace") or "", *(_texts(meta, k) for k in _META)
    )
    spec = _Reader("sloth.slok.dev/v1", mistakes).spec(body, read)
    body.close()
    return spec


_META = ("labels", "annotations")


class _Reader:
    """Reads one document; the two forms differ in how keys of two words are written."""

    def __init__(self, form: SlothForm, mistakes: list[Mistake]) -> None:
        self.form, self.mistakes = form, mistakes
        self.notes: list[Note] = []

    def key(self, fields: Fields, name: str) -> str:
        """Return how this form writes a key; a value under the other form's spelling is noted."""
        camel = re.sub(r"_(.)", lambda match: match[1].upper(), name)
        key, other = (name, camel) if self.form == VERSION else (camel, name)
        if key != other and fields.has(other):
            fields.anything(other)
            form = "Kubernetes" if self.form == VERSION else VERSION
            text = _OTHER.format(other=other, form=form, key=key)
            self.notes.append(Note(fields.place.below(other), "left out", text))
        return key

    def spec(self, fields: Fields, meta: SlothMeta) -> SlothSpec:
        service = _name(fields, "service", "my-service")
        labels = _labels(fields, "labels")
        plugins = self._chain(fields, self.key(fields, "slo_plugins"))
        items = fields.items("slos", needed="[{name: availability, objective: 99.9}]")
        read = [(item, self._slo(item, service, labels, plugins)) for item in items]
        _unique(read)
        slos = tuple(slo for _, slo in read if slo is not None)
        return SlothSpec(self.form, slos, meta, tuple(self.notes))

    def _slo(self, fields: Fields, service: str, labels: Mapping[str, str], plugins: list[str]) -> SlothSlo | None:
        before = len(self.mistakes)
        name = _name(fields, "name", "availability")
        objective = fields.number("objective", needed="99.9")
        if objective is not None and not 0 < objective < 100:
            rule = "must lie strictly between 0 and 100; it is a percentage, 99.9 say"
            fields.wrong(f"{objective:g} {rule}", "objective")
        description = fields.anything("description") or ""
        if not isinstance(description, str):
            fields.wrong(f"{shown(description)} is not text; put it in quotes", "description")
            description = ""
        own = _labels(fields, "labels")
        chain = [*plugins, *self._chain(fields, "plugins")]
        sli = self._sli(fields)
        page, ticket = self._alerts(fields)
        fields.close()
        if len(self.mistakes) > before or objective is None or sli is None:
            return None
        merged = {**labels, **own}
        place = fields.place
        return SlothSlo(service, name, objective, sli, place, description, merged, page, ticket, tuple(chain))

    def _chain(self, fields: Fields, key: str) -> list[str]:
        plugins = fields.mapping(key)
        if plugins is None:
            return []
        plugins.flag(self.key(plugins, "override_previous"))
        found = []
        for item in plugins.items("chain"):
            found.append(item.text("id", needed="sloth.dev/core/debug/v1"))
            item.number("priority")
            item.anything("config")
            item.close()
        plugins.close()
        return [name for name in found if name is not None]

    def _sli(self, fields: Fields) -> SlothEvents | SlothRaw | SlothPlugin | None:
        sli = fields.mapping("sli", needed="{events: {error_query: ..., total_query: ...}}")
        if sli is None:
            return None
        given = [kind for kind in ("events", "raw", "plugin") if sli.has(kind)]
        parts = {kind: sli.mapping(kind) for kind in ("events", "raw", "plugin")}
        sli.close()
        if len(given) != 1:
            what = f"has {' and '.join(given)}" if given else "has no query"
            fields.wrong(f"{what}; give exactly one of events, raw and plugin", "sli")
            return None
        part = parts[given[0]]
        if part is None:
            return None
        read = {"events": self._events, "raw": self._raw, "plugin": _plugin}[given[0]](part)
        part.close()
        return read

    def _events(self, fields: Fields) -> SlothEvents | None:
        keys = self.key(fields, "error_query"), self.key(fields, "total_query")
        error, total = (_query(fields, key) for key in keys)
        if error is None or total is None:
            return None
        if error.strip() == total.strip():
            text = f"is the same query as {keys[0]}, as if every event were an error; this one counts all events"
            fields.wrong(text, keys[1])
        return SlothEvents(error, total)

    def _raw(self, fields: Fields) -> SlothRaw | None:
        ratio = _query(fields, self.key(fields, "error_ratio_query"))
        return None if ratio is None else SlothRaw(ratio)

    def _alerts(self, fields: Fields) -> tuple[SlothAlert | None, SlothAlert | None]:
        alerting = fields.mapping("alerting")
        if alerting is None:
            fields.wrong("is missing; add alerting: {name: MyAlert}, or disable both alerts in it", "alerting")
            return None, None
        name = alerting.anything("name")
        common = [_labels(alerting, "labels"), _texts(alerting, "annotations")]
        pages, tickets = (self._alert(alerting, key, common) for key in ("page_alert", "ticket_alert"))
        if (pages or tickets) and not (isinstance(name, str) and name):
            alerting.wrong("is missing or empty; name the alert, or disable page and ticket alert", "name")
        alerting.close()
        named = name if isinstance(name, str) else ""
        page, ticket = (SlothAlert(named, *parts) if parts else None for parts in (pages, tickets))
        return page, ticket

    def _alert(
        self, alerting: Fields, name: str, common: list[Mapping[str, str]]
    ) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
        """Return the merged labels and annotations of an alert; None where it is disabled."""
        alert = alerting.mapping(self.key(alerting, name))
        if alert is None:
            return common[0], common[1]
        disabled = alert.flag("disable")
        labels, annotations = _labels(alert, "labels"), _texts(alert, "annotations")
        alert.close()
        return None if disabled else ({**common[0], **labels}, {**common[1], **annotations})


def _plugin(fields: Fields) -> SlothPlugin | None:
    name = fields.text("id", needed="sloth-common/kubernetes/apiserver/availability")
    fields.anything("options")
    return None if name is None else SlothPlugin(name)


def _name(fields: Fields, key: str, example: str) -> str:
    found = fields.text(key, needed=example)
    if found is None:
        return ""
    if not _NAME.fullmatch(found):
        rule = "two or more letters, digits, '.', '_' and '-', beginning and ending with a letter or digit"
        fields.wrong(f"{shown(found)} is no name; write {rule}", key)
    return found


def _query(fields: Fields, key: str) -> str | None:
    """Return a query that holds the variable, nothing else that is a template, and is PromQL; else a mistake."""
    query = fields.text(key, needed="sum(rate(http_requests_total[{{.window}}]))")
    if query is None:
        return None
    wrong = query_mistake(query)
    if wrong:
        fields.wrong(wrong, key)
    return None if wrong else query


def _texts(fields: Fields, key: str) -> Mapping[str, str]:
    """Return a mapping of texts, none of them empty."""
    found = fields.mapping(key)
    if found is None:
        return {}
    data = fields.anything(key)
    names = list(data) if isinstance(data, Mapping) else []
    values = {name: found.text(name, needed="value") for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _labels(fields: Fields, key: str) -> Mapping[str, str]:
    """Return a mapping of labels, whose names Prometheus takes."""
    found = _texts(fields, key)
    for name in found:
        if not _LABEL.fullmatch(name) or name == "__name__":
            fields.wrong("is no name of a label; write letters, digits and _, not beginning with a digit", key, name)
    return found


def _unique(read: Iterable[tuple[Fields, SlothSlo | None]]) -> None:
    seen: dict[str, Place] = {}
    for fields, slo in read:
        if slo is None:
            continue
        first = seen.setdefault(slo.id, slo.place)
        if first is not slo.place:
            where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first.path).lstrip(".")
            fields.wrong(f"{slo.name!r} is the name of {where} too; names must differ within a service", "name")
