"""Sloth's files are read strictly: one clear mistake for each thing that is wrong, at the path where it stands."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from node0lib.alerts.sloth_rules import sloth_rules
from node0lib.errors import ConfigError
from node0lib.slo.formats.fields import Mistake, Place
from node0lib.slo.formats.sloth import is_sloth, read_sloth
from node0lib.slo.formats.sloth_spec import SlothPlugin, SlothSpec
from node0lib.slo.formats.sloth_windows import google

ERROR, TOTAL = "sum(rate(failed[{{.window}}]))", "sum(rate(asked[{{ .window }}]))"
SPEC: dict[str, Any] = {
    "version": "prometheus/v1",
    "service": "shop",
    "labels": {"team": "a", "tier": "1"},
    "slos": [
        {
            "name": "up",
            "objective": 99.9,
            "description": "Requests that do not fail.",
            "labels": {"tier": "2"},
            "sli": {"events": {"error_query": ERROR, "total_query": TOTAL}},
            "alerting": {
                "name": "ShopDown",
                "labels": {"severity": "any", "area": "shop"},
                "annotations": {"runbook": "urn:node0:shop"},
                "page_alert": {"labels": {"severity": "page"}},
                "ticket_alert": {"disable": True},
            },
        }
    ],
}


def _slo(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["slos"][0]
    return found


def _changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    data = copy.deepcopy(SPEC)
    change(data)
    return data


def _read(data: object) -> tuple[SlothSpec | None, list[Mistake]]:
    mistakes: list[Mistake] = []
    return read_sloth(data, Place(0), mistakes), mistakes


def _kubernetes() -> dict[str, Any]:
    body = copy.deepcopy(SPEC)
    del body["version"]
    sli, alerting = _slo(body)["sli"]["events"], _slo(body)["alerting"]
    sli["errorQuery"], sli["totalQuery"] = sli.pop("error_query"), sli.pop("total_query")
    alerting["pageAlert"], alerting["ticketAlert"] = alerting.pop("page_alert"), alerting.pop("ticket_alert")
    head = {"apiVersion": "sloth.slok.dev/v1", "kind": "PrometheusServiceLevel"}
    return {**head, "metadata": {"name": "shop", "namespace": "prod", "uid": "x"}, "spec": body, "status": {}}


def test_levels_are_merged_and_disabled_alerts_are_gone() -> None:
    """The SLO's labels win over the service's, the alert's over those of alerting; disable leaves no alert."""
    spec, mistakes = _read(SPEC)
    assert spec is not None and mistakes == []
    (slo,) = spec.slos
    assert (slo.id, slo.labels, slo.ticket) == ("shop-up", {"team": "a", "tier": "2"}, None)
    assert slo.page is not None
    assert slo.page.labels == {"severity": "page", "area": "shop"}
    assert slo.page.annotations == {"runbook": "urn:node0:shop"}


def test_both_forms_say_the_same() -> None:
    """The Kubernetes object holds the same SLO, and a name."""
    (plain, _), (object_, mistakes) = _read(SPEC), _read(_kubernetes())
    assert plain is not None and object_ is not None and mistakes == []
    assert (object_.form, object_.meta.name, object_.meta.namespace) == ("sloth.slok.dev/v1", "shop", "prod")
    ours, theirs = plain.slos[0], object_.slos[0]
    assert (ours.sli, ours.page, ours.labels, ours.objective) == (
        theirs.sli,
        theirs.page,
        theirs.labels,
        theirs.objective,
    )


MISTAKES: list[tuple[Callable[[dict[str, Any]], object], tuple[str | int, ...], str]] = [
    (lambda d: d.update(version="prometheus/v2"), ("version",), "is not one of prometheus/v1"),
    (lambda d: d.pop("version"), ("version",), "is missing"),
    (lambda d: d.update(service=""), ("service",), "is empty"),
    (lambda d: d.update(service="-shop"), ("service",), "is no name"),
    (lambda d: d.update(owner="me"), ("owner",), "is no key here"),
    (lambda d: d.update(slos=[]), ("slos",), "is not a list with an item"),
    (lambda d: d.pop("slos"), ("slos",), "is missing"),
    (lambda d: _slo(d).pop("name"), ("slos", 0, "name"), "is missing"),
    (lambda d: _slo(d).pop("objective"), ("slos", 0, "objective"), "is missing"),
    (lambda d: _slo(d).update(objective=100), ("slos", 0, "objective"), "strictly between 0 and 100"),
    (lambda d: _slo(d).update(objective=0), ("slos", 0, "objective"), "strictly between 0 and 100"),
    (lambda d: _slo(d).update(objective="99.9"), ("slos", 0, "objective"), "without quotes"),
    (lambda d: _slo(d).update(objectiv=1), ("slos", 0, "objectiv"), "did you mean objective?"),
    (lambda d: _slo(d).update(description=["a"]), ("slos", 0, "description"), "is not text"),
    (lambda d: _slo(d).update(labels={"a-b": "c"}), ("slos", 0, "labels", "a-b"), "no name of a label"),
    (lambda d: _slo(d).update(labels={"a": 1}), ("slos", 0, "labels", "a"), "in quotes"),
    (lambda d: _slo(d).pop("sli"), ("slos", 0, "sli"), "is missing"),
    (lambda d: _slo(d).update(sli={}), ("slos", 0, "sli"), "has no query"),
    (
        lambda d: _slo(d)["sli"].update(raw={"error_ratio_query": ERROR}),
        ("slos", 0, "sli"),
        "has events and raw; give exactly one",
    ),
    (
        lambda d: _slo(d)["sli"]["events"].pop("total_query"),
        ("slos", 0, "sli", "events", "total_query"),
        "is missing",
    ),
    (
        lambda d: _slo(d)["sli"]["events"].update(error_query="sum(rate(a[5m]))"),
        ("slos", 0, "sli", "events", "error_query"),
        "has no window",
    ),
    (
        lambda d: _slo(d)["sli"]["events"].update(error_query="sum(rate({{.metric}}[{{.window}}]))"),
        ("slos", 0, "sli", "events", "error_query"),
        "a template other than",
    ),
    (
        lambda d: _slo(d)["sli"]["events"].update(error_query="sum(rate(a[{{.window}}])"),
        ("slos", 0, "sli", "events", "error_query"),
        "is not PromQL",
    ),
    (
        lambda d: _slo(d)["sli"]["events"].update(total_query=ERROR),
        ("slos", 0, "sli", "events", "total_query"),
        "is the same query",
    ),
    (lambda d: _slo(d).pop("alerting"), ("slos", 0, "alerting"), "is missing"),
    (lambda d: _slo(d)["alerting"].update(name=""), ("slos", 0, "alerting", "name"), "name the alert"),
    (
        lambda d: _slo(d)["alerting"]["ticket_alert"].update(disable="yes"),
        ("slos", 0, "alerting", "ticket_alert", "disable"),
        "neither true nor false",
    ),
    (lambda d: d["slos"].append(copy.deepcopy(_slo(d))), ("slos", 1, "name"), "is the name of slos[0] too"),
    (lambda d: d.update(slos={"name": "up"}), ("slos",), "is not a list"),
]


@pytest.mark.parametrize(("change", "path", "text"), MISTAKES)
def test_what_is_wrong_is_one_mistake(
    change: Callable[[dict[str, Any]], object], path: tuple[str | int, ...], text: str
) -> None:
    """Each thing that is wrong is told once, at its path, with what to do."""
    _, mistakes = _read(_changed(change))
    assert [mistake.place.path for mistake in mistakes] == [path]
    assert text in mistakes[0].text


@pytest.mark.parametrize("data", [None, "text", 3, [], {}], ids=repr)
def test_what_is_no_file_of_sloths_is_refused(data: object) -> None:
    """Whatever the data are, there is a mistake and no exception."""
    _, mistakes = _read(data)
    assert mistakes and not is_sloth(data)


def test_the_other_forms_spelling_is_ignored_and_told() -> None:
    """pageAlert in prometheus/v1 is what Sloth ignores, so the page alert has the common labels only; that is told."""
    alerting = copy.deepcopy(_slo(SPEC)["alerting"])
    alerting["pageAlert"] = alerting.pop("page_alert")
    spec, mistakes = _read(_changed(lambda d: _slo(d).update(alerting=alerting)))
    assert spec is not None and mistakes == []
    assert spec.slos[0].page is not None and spec.slos[0].page.labels["severity"] == "any"
    assert [note.place.path for note in spec.notes] == [("slos", 0, "alerting", "pageAlert")]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: _slo(d).update(sli={"plugin": {"id": "my/plugin", "options": {"a": "b"}}}),
        lambda d: _slo(d).update(plugins={"chain": [{"id": "my/plugin", "priority": 1, "config": {"a": 1}}]}),
        lambda d: d.update(slo_plugins={"chain": [{"id": "my/plugin"}]}),
    ],
    ids=["sli", "slo", "service"],
)
def test_plugins_are_read_and_no_rules_are_made_of_them(change: Callable[[dict[str, Any]], object]) -> None:
    """A file with plugins is well formed; rules are refused with the plugin's name, since only Sloth can run it."""
    spec, mistakes = _read(_changed(change))
    assert spec is not None and mistakes == []
    assert spec.slos[0].plugins == ("my/plugin",) or isinstance(spec.slos[0].sli, SlothPlugin)
    with pytest.raises(ConfigError, match=r"shop-up needs the plugin my/plugin: plugins are programs"):
        sloth_rules(spec, google(timedelta(days=30)), version="dev")


def test_the_files_labels_win_over_sloths() -> None:
    """As in Sloth, a label of the file replaces one of Sloth's own, and one that is asked for replaces both."""
    spec, _ = _read(_changed(lambda d: _slo(d).update(labels={"sloth_service": "mine", "team": "b"})))
    assert spec is not None
    (rule, *_) = sloth_rules(spec, google(timedelta(days=30)), version="dev", labels={"team": "c"}).rules
    assert (rule.labels["sloth_service"], rule.labels["team"], rule.labels["sloth_id"]) == ("mine", "c", "shop-up")


def test_a_period_too_short_for_the_windows_is_refused() -> None:
    """Alerts that look back three days say nothing of a budget of two."""
    with pytest.raises(ConfigError, match="too short for alerts that look back 3d"):
        google(timedelta(days=2))
