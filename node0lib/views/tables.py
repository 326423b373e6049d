"""Small tables for notebook cells: one value of the cycle in, HTML and aligned plain text out.

Everything is escaped, numbers are rounded in ``words`` and nowhere else, and what is missing says so. Columns of
numbers are aligned right; a state is written out and never told by colour alone.

>>> from node0lib.cycle import Decision
>>> decision(Decision("no_change", ("not shown by the data",), {})).text.splitlines()[0]
'No change'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from node0lib.canary.walk import Stage, StageOutcome, Walked
from node0lib.cycle import Decision, Given
from node0lib.gates import Gates
from node0lib.ihsan import IhsanScore
from node0lib.optimize.propose import Proposal
from node0lib.optimize.risk import Classified
from node0lib.ports import Policy
from node0lib.slo.budget import SloStatus
from node0lib.views import words
from node0lib.views.display import Display, note

_FINDINGS = {"pass": "pass", "fail": "fail", "not_applicable": "does not apply"}
_STAGES: Mapping[StageOutcome, str] = {
    "passed": "passed", "went_on": "went on", "failed": "failed", "held": "held", "telemetry_lost": "no data",
}  # fmt: skip
_TONES = {
    "meeting": "good", "at risk": "notice", "breached": "bad", "no data": "bad",
    "pass": "good", "fail": "bad", "open": "good", "closed": "bad",
    "passed": "good", "went on": "notice", "failed": "bad", "held": "notice",
}  # fmt: skip
"""Words that stand for a state, and their tone in a page's style sheet."""


@dataclass(frozen=True)
class Column:
    """A column's head; numbers are aligned right, a state is marked."""

    head: str
    number: bool = False
    state: bool = False


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Display:
    """Return a table of texts, each row as long as ``columns``; the first column heads its row."""
    cells = [tuple(row) for row in rows]
    heads = "".join(f'<th scope="col"{_class(c)}>{_aligned(c, escape(c.head))}</th>' for c in columns)
    body = "".join(f"<tr>{_row(columns, row)}</tr>" for row in cells)
    html = (
        f'<table class="n0-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )
    return Display(html, _text(caption, columns, cells))


def _class(column: Column) -> str:
    return ' class="n0-number"' if column.number else ""


def _aligned(column: Column, shown: str) -> str:
    """Keep text to the left where the style sheet is not node0's: JupyterLab aligns every cell to the right."""
    return shown if column.number else f'<div align="left">{shown}</div>'


def _row(columns: Sequence[Column], row: Sequence[str]) -> str:
    parts = []
    for number, (column, text) in enumerate(zip(columns, row, strict=True)):
        tag, scope = ("th", ' scope="row"') if number == 0 else ("td", "")
        shown = escape(text).replace("_", "_<wbr>") if number == 0 else escape(text)
        if column.state:
            shown = f'<span class="n0-state n0-{_TONES.get(text, "plain")}">{shown}</span>'
        parts.append(f"<{tag}{scope}{_class(column)}>{_aligned(column, shown)}</{tag}>")
    return "".join(parts)


def _text(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    grid = [[c.head for c in columns], *rows]
    widths = [max(len(line[i]) for line in grid) for i in range(len(columns))]
    lines = [
        "  ".join(
            text.rjust(width) if column.number else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in grid
    ]
    return "\n".join([caption, *lines])


def given(seen: Given) -> Display:
    """What the cycle looks at: instant, mode, where the numbers come from, the live policy."""
    simulated = " (simulated)"
    target = (seen.target or "none") + simulated * (seen.target is not None and seen.target_simulated)
    rows = [
        ("instant", words.moment(seen.at)),
        ("mode", seen.mode),
        ("telemetry", seen.source + simulated * seen.simulated),
        ("target", target),
        *((f"policy {name}", words.setting(value)) for name, value in seen.policy.items()),
        ("incidents", str(len(seen.incidents))),
        ("seed", str(seen.seed)),
    ]
    return table("What this cycle looks at", (Column("what"), Column("value")), rows)


def statuses(found: Sequence[SloStatus]) -> Display:
    """Every SLO: promise, window, what was measured, budget left, burn, state."""
    columns = (
        Column("SLO"), Column("state", state=True), Column("objective", number=True),
        Column("measured", number=True), Column("budget left", number=True),
        Column("burn 1h", number=True), Column("6h", number=True), Column("24h", number=True),
        Column("window", number=True), Column("observed", number=True),
    )  # fmt: skip
    rows = [
        (
            s.name, words.STATES[s.state], words.objective(s.objective), words.measured(s.sli, s.objective),
            words.percent(s.budget_left), *(words.rate(s.burn.get(w)) for w in ("1h", "6h", "1d")),
            words.window(s.window), words.nearly(s.counts.coverage, 0),
        )
        for s in found
    ]  # fmt: skip
    met = sum(s.state in ("meeting", "at_risk") for s in found)
    caption = f"{met} of {len(found)} service levels are met; a burn of 1 spends the budget exactly by the window's end"
    return table(caption, columns, rows)


def ihsan(score: IhsanScore) -> Display:
    """The compliance score and the finding of every control."""
    columns = (Column("control"), Column("weight", number=True), Column("result", state=True), Column("finding"))
    rows = [(f.control, f"{f.weight:g}", _FINDINGS[f.state], f.finding) for f in score.findings]
    asked = f"{len(rows)} control{'s' * (len(rows) != 1)}"
    return table(f"Ihsan score {score.value:.1f} of 100, from {asked}", columns, rows)


def gates(asked: Gates) -> Display:
    """Every gate's answer and reason."""
    rows = [(v.gate, "open" if v.open else "closed", v.reason) for v in asked.verdicts]
    closed = sum(not v.open for v in asked.verdicts)
    said = f"{closed} of {len(rows)} gates are closed: nothing may change now" if closed else "Every gate is open"
    columns = (Column("gate"), Column("answer", state=True), Column("why"))
    return table(f"May anything change now? {said}", columns, rows)


def proposal(
    live: Policy, found: Proposal | None, classified: Classified | None, asked: Gates | None = None
) -> Display:
    """Knobs, live value and candidate; the estimate; the risk class with the criteria that decided it.

    ``asked`` are the gates, to say why there is no candidate.
    """
    if found is None:
        if asked is not None and not asked.open:
            return note("No candidate: a gate is closed, so nothing was searched.")
        return note("No candidate: nothing better than the live policy was found, or there is no target to measure on.")
    knobs = (Column("knob"), Column("live", number=True), Column("candidate", number=True))
    who = f"The best of {found.trials} candidates" if found.trials else "The approved change"
    changes = table(f"{who} changes", knobs, words.changes(live, found.policy))
    told = table("What is known of it", (Column("question"), Column("answer")), _known(found, classified))
    return Display(changes.html + told.html, f"{changes.text}\n\n{told.text}")


def _known(found: Proposal, classified: Classified | None) -> list[tuple[str, str]]:
    e = found.estimate
    shown = "yes: the whole interval lies above 0" if e.shown else "not shown by the data: the interval includes 0"
    sure = words.nearly(min(e.confidence, 1 - 1e-9))  # a computed 1 is a rounded one
    rows = [
        ("expected improvement", words.interval(e)),
        ("shown by the data", shown),
        ("how sure", f"confidence {sure}, from {e.n} fresh pairs"),
        ("SLO limits", "none is overstepped" if found.safe else "one would be overstepped"),
    ]
    if classified is not None:
        why = "; ".join(classified.reasons) or "no criterion asks for more"
        rows.append(("risk class", f"{classified.change_class}: {why}"))
    return rows


def rollout(walked: Walked | None) -> Display:
    """Every stage: outcome, length, requests of both arms, and what each metric showed."""
    if walked is None:
        return note("No rollout took place.")
    metrics = tuple(dict.fromkeys(v.metric for s in walked.stages for v in s.verdicts))
    columns = (
        Column("stage", number=True), Column("outcome", state=True), Column("minutes", number=True),
        Column("control requests", number=True), Column("canary requests", number=True),
        *(Column(words.metric(name), number=True) for name in metrics), Column("besides"),
    )  # fmt: skip
    caption = (
        f"The rollout ended after {walked.minutes:g} minutes: {walked.ending.replace('_', ' ')}. Of each metric: the "
        "largest ratio of canary to control that the data allow for / the margin that it must stay under; at 100%, "
        "where no control is left, the ratio is to an absolute limit"
    )
    return table(caption, columns, [_stage(s, metrics) for s in walked.stages])


def _stage(stage: Stage, metrics: Sequence[str]) -> tuple[str, ...]:
    found = {v.metric: words.bound(v) for v in stage.verdicts}
    return (
        words.percent(stage.share, 0), _STAGES[stage.outcome], f"{stage.minutes:g}",
        f"{stage.control.requests:,}", f"{stage.canary.requests:,}",
        *(found.get(name, "-") for name in metrics), "; ".join(words.beyond(stage.reason, stage.verdicts)) or "-",
    )  # fmt: skip


def decision(made: Decision) -> Display:
    """What was decided, what that means, and why."""
    title, meaning = words.outcome(made.kind)
    outline = words.outline(made.reasons)
    reasons = "".join(f"<li>{escape(head)}{_inner(parts)}</li>" for head, parts in outline)
    html = (
        f'<div class="n0-decision"><p><strong>{escape(title)}.</strong> {escape(meaning)}</p><ul>{reasons}</ul></div>'
    )
    told = [line for head, parts in outline for line in (f"- {head}", *(f"  - {part}" for part in parts))]
    return Display(html, "\n".join([title, meaning, *told]))


def _inner(parts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(part)}</li>' for part in parts)}</ul>" if parts else ""
