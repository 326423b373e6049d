"""Two pages from one executed notebook: the audit report with everything, the investor report with what matters.

Both are single files that load nothing from anywhere: no scripts, styles and pictures within, and a policy in the
page that forbids the rest. There is one h1, every heading of the notebook is in the contents, every picture has a
description. What the kernel left is cleaned first (``sanitize``), and what the control plane knows comes as facts,
never from the kernel: a run that failed is red whatever its notebook says.

The pages are nbconvert templates (``templates/``) on its ``basic`` one; nbconvert reads them from the package.

>>> anchor("Error budget, left")
'error-budget-left'
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import as_file, files
from typing import Any

from markupsafe import Markup, escape
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from node0lib.cycle import CycleResult
from node0lib.views import words
from node0lib.views.headlines import GLOSSARY
from node0lib.views.sanitize import clean

_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(.+?)\s*#*\s*$", re.M)
_TITLE_CHARACTERS = 60
"""Facts name a cell by the first characters of the heading above it."""
_GOOD = ("applied", "no_change")


@dataclass(frozen=True)
class _Edition:
    """One of the two reports: its template, and what stands in its contents before and after the notebook."""

    template: str
    kind: str
    tag: str | None
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]


_AUDIT = _Edition(
    "node0-audit",
    "Audit report",
    None,
    (("parameters", "What the run was told"), ("steps", "Steps and times")),
    (("evidence", "Evidence and digests"), ("verify", "How to verify"), ("caveats", "What this does not say")),
)
_INVESTOR = _Edition(
    "node0-investor",
    "Investor report",
    "investor",
    (("numbers", "In numbers"),),
    (("caveats", "What this does not say"), ("glossary", "Glossary")),
)


@dataclass(frozen=True)
class ReportFacts:
    """What the control plane knows of a run; the notebook is not asked.

    ``status`` is a decision's kind or how the run failed ("timeout"). ``cells`` are (title, state, seconds) of the
    code cells in order, state one of "done", "failed", "cut off", "not run". ``digests`` are (name, sha256 in
    hexadecimal), ``evidence`` the names of the records, ``headlines`` and ``caveats`` as from ``views.headlines``,
    ``clock`` says where the instant came from. ``result`` is None where the run did not come to one.
    """

    cycle: str
    at: datetime
    status: str
    failed: bool
    message: str
    reasons: tuple[str, ...]
    banner: str | None
    mode: str
    source: str
    target: str | None
    parameters: Mapping[str, object]
    cells: tuple[tuple[str, str, float | None], ...]
    digests: tuple[tuple[str, str], ...]
    evidence: tuple[str, ...]
    builder: str
    headlines: tuple[tuple[str, str, str], ...]
    caveats: tuple[str, ...]
    clock: str
    result: CycleResult | None

    @property
    def tone(self) -> str:
        """``good``, ``notice`` or ``bad``: how the page is coloured."""
        if self.failed:
            return "bad"
        return "good" if self.status in _GOOD else "notice"

    @property
    def broken_cells(self) -> tuple[str, ...]:
        """The titles of the cells that failed or were cut off."""
        return tuple(title for title, state, _ in self.cells if state in ("failed", "cut off"))


def audit(notebook: NotebookNode, facts: ReportFacts) -> str:
    """Return the audit page: code folded, parameters, times, digests, every output; the notebook is not changed."""
    return _page(_AUDIT, notebook, facts)


def investor(notebook: NotebookNode, facts: ReportFacts) -> str:
    """Return the investor page: no code; numbers, the outputs of cells tagged ``investor``, caveats, glossary."""
    return _page(_INVESTOR, notebook, facts)


def anchor(title: str) -> str:
    """Return the identifier of a heading: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _page(edition: _Edition, notebook: NotebookNode, facts: ReportFacts) -> str:
    page_title, prepared, sections = _prepared(notebook, facts, edition.tag)
    verdict, meaning = words.outcome(facts.status)
    known = {
        "facts": facts,
        "kind": edition.kind,
        "title": page_title,
        "contents": (*edition.before, *((s["anchor"], s["title"]) for s in sections), *edition.after),
        "verdict": verdict,
        "meaning": meaning,
        "because": _because(facts.banner),
        "reasons": words.outline(facts.reasons),
        "steps": _steps(facts),
        "glossary": GLOSSARY,
        "moment": words.moment(facts.at),
        "seconds": words.seconds,
        "breakable": lambda text: escape(text).replace("_", Markup("_<wbr>")),
        "clean": lambda html: Markup(clean(html)),
    }
    with as_file(files("node0lib.views") / "templates") as folder:
        exporter = HTMLExporter(
            template_name=edition.template,
            extra_template_basedirs=[str(folder)],
            exclude_anchor_links=True,
        )
        exporter.environment.autoescape = True
        html, _ = exporter.from_notebook_node(prepared, resources={"node0": known})
    return str(html)


def _steps(facts: ReportFacts) -> tuple[tuple[str, str, float | None], ...]:
    """Return the steps, each once: cells under one heading are one step, in its worst state, with their time."""
    titles = dict.fromkeys(title for title, _, _ in facts.cells)
    found = ((title, _state(title, facts)) for title in titles)
    return tuple((title, state["state"], state["seconds"]) for title, state in found)


def _because(banner: str | None) -> str:
    return "These numbers come from a seeded model, not from real traffic." if banner else ""


def _prepared(
    notebook: NotebookNode, facts: ReportFacts, tag: str | None
) -> tuple[str, NotebookNode, list[dict[str, Any]]]:
    """Return the page's title, a copy that the templates can walk straight through, and its sections.

    The first heading, if nothing runs under it, is the page's own. The others move from the markdown into
    ``cell.metadata.node0``, so that they get anchors. With a tag only the cells that have it stay, and their headings.
    """
    copied = copy.deepcopy(notebook)
    copied.metadata.pop("widgets", None)
    page_title, cells, sections, used = "Production cycle", [], [], set[str]()
    for number, (prose, code) in enumerate(_blocks(copied)):
        title, text = _split_heading(prose)
        if number == 0 and not code:
            page_title = title
        shown = [c for c in code if tag is None or tag in c.metadata.get("tags", [])]
        if not shown and (tag or number == 0):
            continue
        section = {"anchor": _unused(anchor(title), used), "title": title, **_state(title, facts)}
        sections.append(section)
        cells.append(_markdown(section, text))
        cells.extend(_harmless(c) for c in shown)
    copied.cells = cells
    return page_title, copied, sections


def _blocks(notebook: NotebookNode) -> list[tuple[str, list[NotebookNode]]]:
    """Return each heading's prose with the code cells under it; what comes before any heading has none."""
    blocks: list[tuple[str, list[NotebookNode]]] = []
    for cell in notebook.cells:
        starts = cell.cell_type == "markdown" and _HEADING.match(cell.source)
        if starts or not blocks:
            blocks.append(("", []))
        prose, code = blocks[-1]
        if cell.cell_type == "markdown":
            blocks[-1] = (f"{prose}\n\n{cell.source}" if prose else cell.source, code)
        elif cell.cell_type == "code":
            code.append(cell)
    return blocks


def _split_heading(prose: str) -> tuple[str, str]:
    found = _HEADING.match(prose)
    title = re.sub(r"[*_`]", "", found[2]) if found else "Before the first step"
    return title, prose[found.end() :] if found else prose


def _unused(name: str, used: set[str]) -> str:
    number, unique = 1, f"s-{name}"
    while unique in used:
        number += 1
        unique = f"s-{name}-{number}"
    used.add(unique)
    return unique


def _state(title: str, facts: ReportFacts) -> dict[str, Any]:
    """Return the worst state and the seconds of the cells under that heading, as the facts have them."""
    mine = [(s, t) for name, s, t in facts.cells if name[:_TITLE_CHARACTERS] == title[:_TITLE_CHARACTERS]]
    order = ("failed", "cut off", "not run", "done")
    state = min((s for s, _ in mine), key=lambda s: order.index(s) if s in order else 0, default="")
    times = [t for _, t in mine if t is not None]
    return {"state": state, "seconds": sum(times) if times else None}


def _markdown(section: Mapping[str, Any], text: str) -> NotebookNode:
    cell = new_markdown_cell(text.strip(), id=section["anchor"][:64])
    cell.metadata.node0 = dict(section)
    return cell


def _harmless(cell: NotebookNode) -> NotebookNode:
    """Keep of each output only text and HTML; the HTML is cleaned where the template writes it."""
    kept = []
    for output in cell.get("outputs", []):
        if output.output_type in ("stream", "error"):
            kept.append(output)
            continue
        data = {k: v for k, v in output.get("data", {}).items() if k in ("text/html", "text/plain")}
        if data:
            kept.append(NotebookNode(output_type="display_data", data=NotebookNode(data), metadata=NotebookNode()))
    cell.outputs = kept
    return cell
