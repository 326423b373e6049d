"""One page on what candidate policies would have done on a service's history.

Like the other reports it is a single file that loads nothing from anywhere: no scripts, styles and pictures within, a
description to every picture. It opens with the catalogue's own policy in numbers, then shows all policies side by side,
what paged when, every incident, and how each alert is defined; it says what it does not know.

>>> [term for term, _ in GLOSSARY][:2]
['Page', 'True page']
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import as_file, files
from typing import Any

from markupsafe import Markup, escape
from nbconvert import HTMLExporter
from nbformat.v4 import new_notebook

from node0lib.alerts.comparison import Comparison, Judged
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration
from node0lib.views import alarms, words
from node0lib.views.display import Display
from node0lib.views.past_pictures import costliest, pages_over_time
from node0lib.views.tables import Column, table

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Page", "A time in which any alert of severity critical or warning fires; onsets near each other are one page."),
    ("True page", "A page that overlaps a labelled incident, or its grace afterwards; any other page is false."),
    ("Incident that counts", "A labelled incident that spent a certain share of a period's budget: worth a page."),
    ("Recall", "The share of the incidents that count that were paged."),
    ("Precision", "The share of pages that were true."),
    ("Detection", "From an incident's start to its page. What was missed counts as never, and is not left out."),
    ("Flap", "An alert that fires again before the merge gap is over; it is told, not counted as a page."),
    ("95% interval", "The values that agree with what was counted; few incidents give wide ones."),
    ("Error budget", "What the promise leaves for failure: 99.9% leaves 0.1% of a period's events."),
    ("Simulated", "Made by a seeded model of the service and not by real traffic."),
)
_ALERTS = (
    Column("policy: alert"),
    Column("severity"),
    Column("burn above", number=True),
    Column("long", number=True),
    Column("short", number=True),
    Column("for", number=True),
    Column("bad events", number=True),
    Column("fires", number=True),
)


@dataclass(frozen=True)
class ReportFacts:
    """What the comparison itself does not know; ``labels`` says where they come from, ``at`` when this was made."""

    slo: Objective
    source: str
    simulated: bool
    labels: str
    notes: tuple[str, ...]
    at: datetime


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    prose: str = ""
    tiles: tuple[tuple[str, str, str], ...] = ()
    shown: tuple[Markup, ...] = ()


def report_of(found: Comparison, facts: ReportFacts) -> str:
    """Return the page as HTML."""
    verdict, meaning = _verdict(found)
    known: dict[str, Any] = {
        "slo": facts.slo,
        "span": f"{words.moment(found.past.start)} to {words.moment(found.past.end)}",
        "source": facts.source,
        "labels": facts.labels,
        "banner": words.banner(facts.simulated, target_simulated=False),
        "tone": "notice",
        "verdict": verdict,
        "meaning": meaning,
        "sections": _sections(found, facts),
        "caveats": _caveats(found, facts),
        "glossary": GLOSSARY,
        "moment": words.moment(facts.at),
        "breakable": lambda text: escape(text).replace("_", Markup("_<wbr>")),
    }
    with as_file(files("node0lib.views") / "templates") as folder:
        exporter = HTMLExporter(template_name="node0-alerts", extra_template_basedirs=[str(folder)])
        exporter.environment.autoescape = True
        html, _ = exporter.from_notebook_node(new_notebook(), resources={"node0": known})
    return str(html)


def _verdict(found: Comparison) -> tuple[str, tuple[str, ...]]:
    own, quality = found.judged[0], found.judged[0].quality
    pages = f"{quality.pages} page{'s' * (quality.pages != 1)}"
    if found.unlabelled is not None:
        told = f"The catalogue's policy would have sent {pages}"
        return told, (f"{found.unlabelled[:1].upper()}{found.unlabelled[1:]}: nobody can say which of them were true.",)
    if not quality.events:
        why = f"None of the {len(found.incidents)} labelled incidents counts: too little was spent or observed."
        return f"The catalogue's policy would have sent {pages}", (f"{why} Of recall nothing can be said.",)
    false = quality.pages - quality.true_pages
    told = f"The catalogue's policy pages {quality.detected} of {quality.events} incidents, and {false} times falsely"
    better = [one.candidate.name for one in found.judged[1:] if _dominates(one, own)]
    if not better:
        return told, ("No other policy here is better in one of both and no worse in the other.",)
    return told, (f"Better in one of both and no worse in the other: {', '.join(better)}.",)


def _dominates(one: Judged, own: Judged) -> bool:
    mine, other = ((j.quality.detected, j.quality.true_pages - j.quality.pages) for j in (own, one))
    return other != mine and all(a >= b for a, b in zip(other, mine, strict=True))


def _sections(found: Comparison, facts: ReportFacts) -> tuple[_Section, ...]:
    rules = found.rules
    merged, grace = format_duration(rules.merge_gap), format_duration(rules.grace)
    counted = (
        f"An incident counts if it spent at least {words.percent(rules.significant)} of a period's budget. A page is "
        f"true up to {grace} after an incident; onsets within {merged} are one page. What pages is an alert of "
        f"severity {' or '.join(found.paging)}."
    )
    sections = [
        _Section("numbers", "The catalogue's policy in numbers", tiles=_tiles(found)),
        _Section("policies", "Policies side by side", counted, shown=(_html(side_by_side(found)),)),
        _Section("pages", "What paged when", shown=(_html(pages_over_time(found)),)),
    ]
    if found.inside:
        zoom = costliest(found, facts.simulated)
        shown = (incidents(found), *([zoom] if zoom else []))
        sections.append(_Section("incidents", "Incidents", shown=tuple(_html(one) for one in shown)))
    sections.append(_Section("alerts", "How each alert is defined", shown=(_html(definitions(found)),)))
    return tuple(sections)


def _html(shown: Display) -> Markup:
    return Markup(shown.html)  # made by views, which escape every text


def _tiles(found: Comparison) -> tuple[tuple[str, str, str], ...]:
    own = found.judged[0]
    quality = own.quality
    unknown = "not known: no incidents are labelled"
    false, recall, detection = own.false_pages, quality.recall, quality.detection
    return (
        ("Pages", str(quality.pages), f"in {_few(quality.months)} observed months; {quality.flaps} flaps merged"),
        (
            "False pages a month",
            "-" if false is None else _few(false.value),
            unknown if false is None else f"95% interval {alarms.estimated(false, _few).partition(' ')[2].strip('()')}",
        ),
        (
            "Incidents paged",
            "-" if recall is None else f"{quality.detected} of {quality.events}",
            "no incident counts" if recall is None else f"recall {alarms.estimated(recall, _whole)}",
        ),
        (
            "Median detection",
            "-" if detection is None else alarms.lasting(detection.value),
            "no incident counts" if detection is None else alarms.estimated(detection, alarms.lasting),
        ),
    )


def _few(value: float) -> str:
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def _whole(share: float) -> str:
    return words.percent(share, 0)


def side_by_side(found: Comparison) -> Display:
    """Show the qualities of all policies, each estimate with its interval; without labels only what paged."""
    if found.unlabelled is None:
        caption = "Each policy on the same history and the same incidents, with 95% intervals"
        return alarms.qualities({one.candidate.name: one.quality for one in found.judged}, caption)
    columns = (
        Column("policy"),
        Column("pages", number=True),
        Column("flaps", number=True),
        Column("pages a month", number=True),
    )
    rows = [
        (
            one.candidate.name,
            str(one.quality.pages),
            str(one.quality.flaps),
            alarms.estimated(one.pages_a_month, _few),
        )
        for one in found.judged
    ]
    caption = f"Each policy on the same history; {found.unlabelled}, so precision and recall are not known"
    return table(caption, columns, rows)


def incidents(found: Comparison) -> Display:
    """Show every incident of the range: what it spent, and how soon each policy paged it."""
    columns = [Column("incident"), *(Column(head, number=True) for head in ("began, UTC", "lasted", "spent"))]
    columns += [Column("counts", state=True), *(Column(one.candidate.name, number=True) for one in found.judged)]
    rows = []
    for number, one in enumerate(found.incidents):
        if one.standing == "outside":
            continue
        label = one.label
        lasted = "open" if label.end is None else format_duration(label.end - label.start)
        told = "yes" if one.standing == "counted" else f"no: {one.standing}"
        times = [_paged(judged.detections[number]) for judged in found.judged]
        rows.append((label.name, f"{label.start:%Y-%m-%d %H:%M}", lasted, words.percent(one.spent), told, *times))
    return table("Incidents, the budget that each spent, and how soon each policy paged it", columns, rows)


def _paged(seconds: float | None) -> str:
    return "-" if seconds is None else "missed" if math.isinf(seconds) else alarms.lasting(seconds)


def definitions(found: Comparison) -> Display:
    """Show every alert of every policy, and how often it fired."""
    rows = [
        (
            f"{one.candidate.name}: {alert.name}",
            alert.severity,
            f"{alert.factor:.3g}{' x traffic' * (alert.scaling == 'traffic')}",
            format_duration(alert.long),
            format_duration(alert.short),
            "-" if not alert.hold else format_duration(alert.hold),
            "-" if not alert.min_bad else f"{alert.min_bad:g}",
            str(len(firings)),
        )
        for one in found.judged
        for alert, firings in zip(one.candidate.policy.alerts, one.firings, strict=True)
    ]
    return table("Burn rates are multiples of the budget; both windows must burn", _ALERTS, rows)


def _caveats(found: Comparison, facts: ReportFacts) -> Sequence[str]:
    step = format_duration(found.past.read.step)
    always = (
        f"Windows are plain sums of events in buckets of {step}; a server's rules extrapolate between samples, so an "
        "alert of its own may come a minute sooner or later.",
        "A question mark is the end of an interval that so few incidents cannot give.",
        "Labels are what people wrote down: an incident that nobody noticed makes a true page look false.",
        "The past had its incidents; another month will have others. The intervals are about chance, not about change.",
    )
    return (*facts.notes, *always)
