"""One page on one rollout: how it ended and why, what every look showed, what was done, and how long the way back took.

Like the other reports it is a single file that loads nothing from anywhere: no scripts, styles and pictures within, a
description to every picture. Everything in it comes from the ``RolloutRecord``; ``document`` has the same as JSON, with
every look, and ``incident`` what is left of it when the change was taken back.

>>> [term for term, _ in GLOSSARY][:2]
['Canary, control', 'Look']
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat.v4 import new_notebook

from node0lib.canary.analysis import ALPHA_SHARES
from node0lib.canary.record import Return, RolloutRecord
from node0lib.canary.sequential import MetricVerdict
from node0lib.canary.walk import Walked
from node0lib.views import canary_figures, words
from node0lib.views.canary_document import digest, document, exposed, last_compared, not_excluded
from node0lib.views.canary_incident import exposure, incident, incident_text, instant, lasting, returned, share
from node0lib.views.canary_rows import deeds, looks, stages
from node0lib.views.display import Display, note
from node0lib.views.tables import Column, table

__all__ = ["document", "incident", "incident_text", "page"]

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Canary, control", "A small share of the requests meets the change (canary), the rest what was there (control)."),
    ("Look", "What came since the look before. Both error rates hold however often it is looked."),
    ("Ratio", "The canary's share of bad requests, divided by the control's. 1 is equal, 2 is twice as many."),
    ("Not excluded", "The ratios that agree with all that was seen. Harm within them may still be there."),
    (
        "Margin",
        "The largest ratio that counts as harmless. Above it is shown: fail. Below it is shown: pass. "
        "It is 1 where a latency is judged by what is allowed, not by the control: the reason says so.",
    ),
    (
        "Margin of a latency",
        "Latencies come in buckets, so a margin of +5% is read as a share of requests: those slower than the bucket "
        "bound at or above the control's p95 x 1.05. Of the canary's 5% may be. If a share s of the control's are, the "
        "canary may have 5%/s times as many: that is the margin in force, at most 20. For the p99 it is 1%/s.",
    ),
    ("Inconclusive", "Neither is shown yet. More requests may show it; until then it is not called harmless."),
    ("Went on", "The stage's time was taken twice, and no harm above the class's cap is left, though not all passed."),
    ("Held", "A person was asked. Without an answer in time the traffic goes back to the control."),
    ("Way back", "From the decision until it was read back that the canary gets no traffic."),
    ("Simulated", "Made by a seeded model of the service and not by real traffic."),
)
_KNOBS = (Column("knob"), Column("before", number=True), Column("after", number=True))
_TONES = {"promoted": "good", "rolled_back": "bad", "held": "notice"}
_VERDICTS = {
    "promoted": ("Promoted", "The change passed its rollout and serves all traffic."),
    "rolled_back": ("Rolled back", "The traffic was taken from the change and is back with what was there before."),
    "held": ("Held", "It was not shown that the change is harmless; the traffic is back with what was there before."),
}
_LINES = (
    "Of all that was seen up to then. Line: the estimate; band: what is not excluded; dashed: the margin. At 100% no "
    "control is left to compare with."
)
_GO_ON = "says go on"
_ERROR = ("Ended by an error", "The rollout could not be brought to its end. See the deeds below for what was done.")


@dataclass(frozen=True)
class _Section:
    anchor: str
    title: str
    prose: str = ""
    tiles: tuple[tuple[str, str, str], ...] = ()
    items: tuple[str, ...] = ()
    pictures: tuple[Markup, ...] = ()
    tables: tuple[Markup, ...] = ()


def page(record: RolloutRecord) -> str:
    """Return the page as HTML."""
    verdict, meaning = headline(record)
    because = "These requests come from a seeded model, not from real traffic."
    known: dict[str, Any] = {
        "record": record,
        "banner": words.banner(False, record.simulated) or "REAL TRAFFIC",
        "because": because if record.simulated else "These requests were really sent and answered.",
        "tone": _TONES[record.walked.ending] if record.walked else "bad",
        "verdict": verdict,
        "meaning": meaning,
        "reasons": _reasons(record),
        "sections": _sections(record),
        "glossary": GLOSSARY,
        "began": instant(record.started),
        "ended": instant(record.finished),
    }
    with as_file(files("node0lib.views") / "templates") as folder:
        exporter = HTMLExporter(template_name="node0-canary", extra_template_basedirs=[str(folder)])
        exporter.environment.autoescape = True
        html, _ = exporter.from_notebook_node(new_notebook(), resources={"node0": known})
    return str(html)


def headline(record: RolloutRecord) -> tuple[str, str]:
    """Return how it ended and why, in a few words, and what that means."""
    walked = record.walked
    if walked is None:
        return _ERROR
    title, meaning = _VERDICTS[walked.ending]
    if walked.ending == "promoted":
        open_ = sum(stage.outcome != "passed" for stage in walked.stages)
        several = f"{open_} of {len(walked.stages)} stages went on with something not excluded"
        return f"{title}: {several if open_ else 'every stage passed'}", _let_go_on(record) or meaning
    return f"{title}: {_why(walked)}", meaning


def _let_go_on(record: RolloutRecord) -> str:
    """Return that a person let a held stage go on, who and with what note; empty where nobody did."""
    onward = [d.command for d in record.deeds if d.command.kind in ("send", "promote")][1:]
    told = [f"{c.reason} (to {share(c.share)})" for c in onward if _GO_ON in c.reason]
    if not told:
        return ""
    return f"A person let it go on where the judge did not: {'; '.join(told)}. The change serves all traffic."


def _why(walked: Walked) -> str:
    """Return the first reason in few words; what is inconclusive is named, not counted."""
    if not walked.reasons:
        return "no reason was given"
    first, last = words.parts(walked.reasons[0])[0], walked.stages[-1] if walked.stages else None
    open_ = [words.metric(v.metric) for v in last.verdicts if v.kind == "inconclusive"] if last else []
    if last and open_ and ": inconclusive" in first:
        return f"{', '.join(open_)} not shown to be harmless at {share(last.share)} of the traffic"
    for metric in ALPHA_SHARES:
        first = first.replace(f"{metric}:", words.metric(metric))
    return first


def _reasons(record: RolloutRecord) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return why, in full, unless the headline says it all."""
    told = words.outline(record.walked.reasons) if record.walked else ()
    return told if len(told) > 1 or any(parts for _, parts in told) else ()


def _sections(record: RolloutRecord) -> tuple[_Section, ...]:
    metrics = dict.fromkeys(v.metric for seen in record.looks for v in seen.reading.verdicts) or ALPHA_SHARES
    ratios = tuple(_html(canary_figures.ratio(record, metric)) for metric in metrics)
    pictures = (_html(canary_figures.traffic(record)), _html(canary_figures.errors(record)))
    notes = (_Section("notes", "Notes", items=record.notes),) if record.notes else ()
    return (
        _Section("numbers", "In numbers", tiles=_tiles(record)),
        _Section("excluded", "What was not excluded", *_not_excluded(record)),
        _Section("stages", "Stages", tables=(_html(stages(record)),)),
        _Section("ratios", "What the looks showed", _LINES, pictures=ratios),
        _Section("traffic", "Traffic and failures", pictures=pictures),
        _Section("looks", "Looks", tables=(_html(looks(record)),)),
        _Section("deeds", "What was done", tables=(_html(deeds(record)),)),
        _Section("back", "The way back", prose=_way_back(record)),
        _Section("change", "The change", prose="; ".join(record.why), tables=_change(record)),
        *notes,
    )


def _html(shown: Display) -> Markup:
    return Markup(shown.html)  # made by views, which escape every text


def _tiles(record: RolloutRecord) -> tuple[tuple[str, str, str], ...]:
    seen, back = exposed(record), record.back
    took = (record.finished - record.started).total_seconds()
    shares = dict.fromkeys(s.rollout.share for s in record.looks)
    number = f"{len(record.looks):,} look{'s' * (len(record.looks) != 1)}"
    reached = f"{number} at {', '.join(map(share, shares)) or 'no traffic'}"
    return (
        ("Rollout", lasting(60 * record.walked.minutes if record.walked else took), reached),
        ("Canary requests", f"{seen['requests']:,}", exposure(seen).partition(", ")[2]),
        _harm(record),
        ("Way back", "-", "none was measured") if back is None else _promise(back),
    )


def _promise(back: Return) -> tuple[str, str, str]:
    kept = "kept" if back.kept else "NOT kept"
    return "Way back", f"{back.seconds:.1f} s", f"from the decision to no traffic; promised: {back.within:g} s, {kept}"


def _harm(record: RolloutRecord) -> tuple[str, str, str]:
    """How many times as many errors as the control's the canary has, or may still have."""
    _, verdicts = last_compared(record)
    found = next((v for v in verdicts if v.metric == "error_rate" and v.kind != "no_data"), None)
    if found is None:
        return "Errors", "Unknown", "nothing was compared with a control"
    (low, high), margin = words.allowed(found), words.rate(found.margin)
    if found.kind == "fail":
        return "Errors", f"over {words.rate(low)} x", f"the control's are shown; margin {margin}"
    most = "any" if math.isinf(high) else f"{words.rate(high)} x"
    told = "no harm is excluded" if math.isinf(high) else "the control's: more is excluded"
    return "Errors", f"up to {most}", f"{told}; margin {margin}"


def _not_excluded(record: RolloutRecord) -> tuple[str, tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    """Prose, no tiles, and an item for every metric that was not shown to be harmless."""
    left = not_excluded(record)
    at, verdicts = last_compared(record)
    if left is None:
        return "Nothing was compared with a control: no harm is excluded.", (), ()
    if not left:
        return f"Every metric was shown to be within its margin, at {share(at)} of the traffic.", (), ()
    prose = f"By the last comparison with a control, at {share(at)} of the traffic:"
    return prose, (), tuple(_left(v) for v in verdicts if v.kind != "pass")


def _left(v: MetricVerdict) -> str:
    name, (low, high), margin = words.metric(v.metric), words.allowed(v), words.rate(v.margin)
    most = "" if math.isinf(high) else f"up to {words.rate(high)} times the control"
    least = f"at least {words.rate(low)} times the control is shown" if v.kind == "fail" else ""
    told = ", ".join(filter(None, (least, most))) or "any harm"
    return f"{name}: {told} ({v.kind.replace('_', ' ')}); margin {margin}"


def _way_back(record: RolloutRecord) -> str:
    if record.back is not None:
        told = returned(record.back)
        return f"{told[:1].upper()}{told[1:]}."
    if record.walked and record.walked.ending == "promoted":
        return "None was needed: the change was promoted."
    away = [d.confirmed - d.decided for d in record.deeds if d.command.kind == "withdraw" and d.confirmed]
    if away:
        took = lasting(away[-1].total_seconds())
        return f"The traffic was withdrawn: {took} from the decision until that was read back."
    return "It was not measured."


def _change(record: RolloutRecord) -> tuple[Markup, ...]:
    before, after = record.change.control, record.change.candidate
    digests = [("before", digest(before)), ("after", digest(after))]
    differs = words.changes(before, after)
    knobs = table("The knobs that differ", _KNOBS, differs) if differs else note("The two policies are the same.")
    return _html(knobs), _html(table("The policies", (Column("policy"), Column("SHA-256")), digests))
