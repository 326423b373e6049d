"""Policies compared on a service's history, as one JSON document and as tables of 80 columns.

The document; null is not known, and "Infinity" a time that never came:

=========== ==========================================================================================================
slo         ``name kind objective events`` (requests or slices)
source      ``name address simulated``
range       ``from to interval evaluations``
observed    ``share`` of the range, ``gaps`` (``from to``), ``months`` (of 30 days) seen, ``lead`` and ``lead_share``
cache       ``kept`` and ``read``: buckets from the cache and from the server
rules       ``significant grace merge_gap paging``
labels      ``source``, ``unlabelled`` (why nothing is known of precision and recall), ``incidents``: ``name start
            end``, ``standing`` (counted, too small, began before, not observed, outside), ``budget_spent observed``
policies    ``name source objective period``; ``pages``: ``start end began_before resolved true budget_spent``;
            ``alerts``: ``name severity long short factor threshold for min_bad scaling can_fire firing``;
            ``quality``: ``pages true_pages flaps events detected``, and the estimates (``value low high``, 95%)
            ``pages_a_month false_pages_a_month precision recall detection_seconds reset_seconds
            budget_spent_at_detection``; ``detections``: seconds for each incident
notes       what a reader should know
=========== ==========================================================================================================

>>> _seconds(math.inf), _seconds(None), _seconds(60.0)
('Infinity', None, 60.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from node0lib.alerts.comparison import Comparison, Judged, Labelled
from node0lib.alerts.timeline import Firing
from node0lib.shell.alert_history import Read
from node0lib.shell.cli.frame import console
from node0lib.sli.intervals import Estimate
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration, format_instant
from node0lib.views import words
from node0lib.views.alarms import estimated, lasting

_SHOWN = 5
SIMULATED = "*** SIMULATED TELEMETRY ***"


def document(slo: Objective, read: Read, found: Comparison, labels: str, notes: Sequence[str]) -> dict[str, Any]:
    """Return the document that the module's docstring describes."""
    past, rules = found.past, found.rules
    return {
        "slo": {
            "name": slo.name,
            "kind": slo.kind,
            "objective": slo.objective,
            "events": "slices" if slo.kind == "timeslice" else "requests",
        },
        "source": {"name": read.source, "address": read.address, "simulated": read.simulated},
        "range": {
            "from": format_instant(past.start),
            "to": format_instant(past.end),
            "interval": format_duration(past.read.step),
            "evaluations": past.count,
        },
        "observed": {
            "share": past.observed,
            "months": past.months,
            "gaps": [{"from": format_instant(gap.start), "to": format_instant(gap.end)} for gap in past.gaps],
            "lead": format_duration(past.lead),
            "lead_share": past.lead_observed,
        },
        "cache": {"kept": read.kept, "read": read.fetched},
        "rules": {
            "significant": rules.significant,
            "grace": format_duration(rules.grace),
            "merge_gap": format_duration(rules.merge_gap),
            "paging": list(found.paging),
        },
        "labels": {
            "source": labels,
            "unlabelled": found.unlabelled,
            "incidents": [_incident(one) for one in found.incidents],
        },
        "policies": [_policy(one) for one in found.judged],
        "notes": list(notes),
    }


def _incident(one: Labelled) -> dict[str, Any]:
    return {
        "name": one.label.name,
        "start": format_instant(one.label.start),
        "end": None if one.label.end is None else format_instant(one.label.end),
        "standing": one.standing,
        "budget_spent": one.spent,
        "observed": one.observed,
    }


def _policy(one: Judged) -> dict[str, Any]:
    policy = one.candidate.policy
    return {
        "name": one.candidate.name,
        "source": one.candidate.told,
        "objective": policy.objective,
        "period": format_duration(policy.period),
        "quality": _quality(one),
        "detections": [_seconds(value) for value in one.detections],
        "pages": [
            {
                "start": format_instant(page.start),
                "end": format_instant(page.end),
                "began_before": page.began_before,
                "resolved": page.resolved,
                "true": page.true,
                "budget_spent": page.spent,
            }
            for page in one.pages
        ],
        "alerts": [
            {
                "name": alert.name,
                "severity": alert.severity,
                "long": format_duration(alert.long),
                "short": format_duration(alert.short),
                "factor": alert.factor,
                "threshold": policy.threshold(alert),
                "for": format_duration(alert.hold),
                "min_bad": alert.min_bad,
                "scaling": alert.scaling,
                "can_fire": alert.can_fire(policy.objective),
                "firing": [_firing(firing, before and n == 0) for n, firing in enumerate(firings)],
            }
            for alert, firings, before in zip(policy.alerts, one.firings, one.began_before, strict=True)
        ],
    }


def _firing(one: Firing, began_before: bool) -> dict[str, Any]:
    return {
        "start": format_instant(one.start),
        "end": format_instant(one.end),
        "began_before": began_before,
        "resolved": one.resolved,
        "budget_spent": one.budget_spent,
    }


def _quality(one: Judged) -> dict[str, Any]:
    quality, labelled = one.quality, one.labelled
    return {
        "pages": quality.pages,
        "true_pages": quality.true_pages if labelled else None,
        "flaps": quality.flaps,
        "events": quality.events if labelled else None,
        "detected": quality.detected if labelled else None,
        "pages_a_month": _estimate(one.pages_a_month),
        "false_pages_a_month": _estimate(one.false_pages),
        "precision": _estimate(one.precision),
        "recall": _estimate(quality.recall),
        "detection_seconds": _estimate(quality.detection),
        "reset_seconds": _estimate(quality.reset),
        "budget_spent_at_detection": _estimate(quality.spent_at_detection),
    }


def _estimate(one: Estimate | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"value": _seconds(one.value), "low": _seconds(one.low), "high": _seconds(one.high)}


def _seconds(value: float | None) -> float | str | None:
    return "Infinity" if value == math.inf else value


def show(slo: Objective, read: Read, found: Comparison, labels: str, notes: Sequence[str]) -> None:
    """Print what was compared on, the policies side by side, the incidents, and what fired when."""
    out, past = console(), found.past
    if read.simulated:
        out.print(SIMULATED)
    events = "slices" if slo.kind == "timeslice" else "requests"
    out.print(f"{slo.name}: {words.objective(slo.objective)} of {events}; telemetry: {read.source}")
    step = format_duration(past.read.step)
    span = f"{format_instant(past.start)} to {format_instant(past.end)}"
    out.print(f"{span}, {past.count:,} evaluations every {step}")
    out.print(f"labels: {labels}: {_labelled(found)}")
    for note in notes:
        out.print(f"note: {note}")
    tables = [_pages_table(found)]
    if found.unlabelled is None:
        tables += [_detection_table(found), _incidents_table(found)]
    for table in tables:
        out.print()
        out.print(table)
    out.print()
    for one in found.judged:
        _show_pages(out, one)


def _labelled(found: Comparison) -> str:
    if found.unlabelled is not None:
        return f"{found.unlabelled}, so precision and recall are not known"
    counted = sum(one.standing == "counted" for one in found.incidents)
    spent = words.percent(found.rules.significant)
    return f"{len(found.inside)} incidents in the range, {counted} of them counted: at least {spent} of the budget"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(heads[0], overflow="fold", max_width=22)
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _few(value: float) -> str:
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def _whole(share: float) -> str:
    return words.percent(share, 0)


def _told(one: Estimate | None, told: Callable[[float], str]) -> str:
    return estimated(one, told).replace(" to ", "-")


def _pages_table(found: Comparison) -> Table:
    """Pages, with what is known of them."""
    known = found.unlabelled is None
    rows = []
    for one in found.judged:
        told = (_told(one.false_pages, _few), _told(one.precision, _whole)) if known else ()
        counted = () if known else (_told(one.pages_a_month, _few),)
        rows.append((one.candidate.name, str(one.quality.pages), str(one.quality.flaps), *counted, *told))
    heads = ("false a month", "precision") if known else ("pages a month",)
    return _table(("policy", "pages", "flaps", *heads), rows)


def _detection_table(found: Comparison) -> Table:
    rows = [
        (
            one.candidate.name,
            _told(one.quality.recall, _whole),
            _told(one.quality.detection, lasting),
            _told(one.quality.spent_at_detection, words.percent),
        )
        for one in found.judged
    ]
    return _table(("policy", "recall", "detection", "spent by then"), rows)


def _incidents_table(found: Comparison) -> Table:
    rows = []
    for number, one in enumerate(found.incidents):
        times = [judged.detections[number] for judged in found.judged]
        told = sum(time is not None and math.isfinite(time) for time in times)
        own = "-" if times[0] is None else lasting(times[0])
        by = f"{told} of {len(times)}" if one.standing == "counted" else one.standing
        rows.append((one.label.name, f"{one.label.start:%Y-%m-%d %H:%M}", words.percent(one.spent), own, by))
    heads = ("incident", "began (UTC)", "spent", found.judged[0].candidate.name, "paged by")
    return _table(heads, rows)


def _show_pages(out: Console, one: Judged) -> None:
    name = one.candidate.name
    if not one.pages:
        out.print(f"{name}: pages nobody", soft_wrap=True)
    for page in one.pages[:_SHOWN]:
        until = format_instant(page.end) if page.resolved else "the end of the range"
        since = "before the range" if page.began_before else format_instant(page.start)
        kind = {True: ", true", False: ", false", None: ""}[page.true]
        out.print(f"{name}: {since} to {until}{kind}", soft_wrap=True)
    if len(one.pages) > _SHOWN:
        out.print(f"{name}: and {len(one.pages) - _SHOWN} times more; --output json has them all", soft_wrap=True)
