"""The two HTML reports: self-contained, accessible, honest about failure, and deaf to hostile output."""

import copy
import re
from dataclasses import replace
from typing import Any

import nbformat
import pytest
import view_samples as samples
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from node0lib.views import words
from node0lib.views.report import ReportFacts, audit, investor
from node0lib.views.sanitize import clean

REPORTS = pytest.mark.parametrize("report", [audit, investor])
FAILURES = ("error", "timeout", "dead-kernel", "incomplete", "interrupted")
LOADING = {"src", "href", "srcset", "poster", "data", "background", "action", "formaction", "xlink:href"}


def parsed(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def loads(page: BeautifulSoup) -> list[str]:
    """Every address in the page that is neither within it nor data."""
    found = [str(v) for tag in page.find_all(True) for k, v in tag.attrs.items() if k in LOADING]
    styles = " ".join(s.get_text() for s in page.find_all("style"))
    found += re.findall(r"url\(([^)]*)\)|@import", styles)
    return [address for address in found if not address.startswith(("#", "data:image/"))]


@REPORTS
@pytest.mark.parametrize("kind", list(words.KINDS))
def test_a_report_is_a_sound_page(report: Any, kind: Any) -> None:
    """One h1, a language, descriptions on every picture, and no address that a browser would load."""
    html = report(samples.executed(kind), samples.facts(kind))
    page = parsed(html)
    assert len(page.find_all("h1")) == 1
    assert page.html and page.html["lang"] == "en"
    assert page.title and page.find("meta", attrs={"name": "viewport"})
    assert all(img.get("alt") for img in page.find_all("img"))
    assert loads(page) == []
    assert page.find("script") is None
    assert len(html.encode("utf-8")) < 1_000_000


@REPORTS
def test_no_address_of_another_place_stands_in_a_report(report: Any) -> None:
    """Not even in a comment or a style is there an http address."""
    assert re.findall(r"https?://[^\s\"'<)]*", report(samples.executed(), samples.facts())) == []


def test_the_check_for_loaded_addresses_can_fail() -> None:
    """The check above finds a script, a picture and a style from elsewhere when there is one."""
    bad = '<script src="https://[::1]:9/x.js"></script><img src="//[::1]:9/a.png"><style>a{b:url(//x)}</style>'
    assert len(loads(parsed(bad))) == 3


@REPORTS
def test_a_page_forbids_itself_to_load_anything(report: Any) -> None:
    """The page's own policy allows inline styles and pictures within it, and nothing else."""
    meta = parsed(report(samples.executed(), samples.facts())).find("meta", attrs={"http-equiv": True})
    assert meta is not None
    assert str(meta["content"]).startswith("default-src 'none'; img-src data:")


@REPORTS
def test_contents_lead_to_headings(report: Any) -> None:
    """Every entry of the contents leads to a heading with the same words, and no identifier occurs twice."""
    page = parsed(report(samples.executed(), samples.facts()))
    ids = [str(tag["id"]) for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    entries = page.select("nav a")
    assert len(entries) > 8
    for entry in entries:
        target = page.find(id=str(entry["href"])[1:])
        assert target is not None and target.get_text(strip=True) == entry.get_text(strip=True)


@REPORTS
def test_headings_do_not_skip_levels(report: Any) -> None:
    """A heading is at most one level below the one before it."""
    page = parsed(report(samples.executed(), samples.facts()))
    levels = [int(t.name[1]) for t in page.find_all(re.compile("^h[1-6]$"))]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_the_audit_has_everything() -> None:
    """Code is folded, and parameters, times, digests, evidence and the way to verify are there."""
    facts = samples.facts()
    page = parsed(audit(samples.executed(), facts))
    text = page.get_text(" ")
    assert len(page.find_all("details")) == len(facts.cells)
    assert not page.find("details", open=True)
    assert "cycle.score_ihsan(given, rules)" in text
    for word in ("configs/node0.yaml", "2026-11-24T12:00:00Z", "(empty)", "0.5 s", "node0 evidence verify"):
        assert word in text
    for word in (*(d for _, d in facts.digests), *facts.evidence, facts.builder, facts.clock):
        assert word in text
    assert len(page.find_all("figure")) == 5


def test_the_investor_sees_no_code() -> None:
    """Not one line of the notebook's code, no parameter and no digest is in the investor report."""
    notebook, facts = samples.executed(), samples.facts()
    page = parsed(investor(notebook, facts))
    text = page.get_text("\n")
    code = [line for c in notebook.cells if c.cell_type == "code" for line in c.source.splitlines() if line]
    assert [line for line in code if line in text] == []
    assert page.find(["details", "pre"]) is None
    assert facts.digests[0][1] not in text


def test_the_investor_sees_numbers_figures_caveats_and_terms() -> None:
    """Headline numbers, the figures of the tagged cells with captions, the caveats, and a glossary are there."""
    facts = samples.facts()
    page = parsed(investor(samples.executed(), facts))
    text = page.get_text()
    assert all(value in text for _, value, _ in facts.headlines)
    assert all(caveat in text for caveat in facts.caveats)
    assert len(page.find_all("figure")) == len(page.find_all("figcaption")) == 5
    assert "Error budget" in text and "Burn rate" in text
    assert "Ihsan score 100.0 of 100, from" not in text


def test_no_change_is_presented_as_good() -> None:
    """A cycle that changed nothing is neither red nor empty."""
    page = parsed(investor(samples.executed("no_change"), samples.facts("no_change")))
    assert page.body and page.body["class"] == ["good"]
    assert "That is a good outcome" in page.get_text()


@REPORTS
def test_simulated_stands_on_every_page(report: Any) -> None:
    """The banner is there, and the style sheet repeats it on every printed page; without simulation it is not."""
    html = report(samples.executed(), samples.facts())
    assert "SIMULATED TARGET" in parsed(html).select_one(".running").get_text()  # type: ignore[union-attr]
    assert ".running { display: table-header-group" in html and "@page" in html
    assert "SIMULATED" not in report(nbformat.v4.new_notebook(), replace(samples.facts(), banner=None))


@REPORTS
@pytest.mark.parametrize("outcome", FAILURES)
def test_a_failed_run_is_red(report: Any, outcome: str) -> None:
    """Whatever the notebook looks like, a failed run is red and names the outcome and the step."""
    facts = samples.failed_facts(outcome)
    page = parsed(report(samples.failed_notebook(), facts))
    assert page.body and page.body["class"] == ["bad"]
    verdict = page.select_one(".verdict")
    assert verdict is not None
    assert outcome in verdict.get_text() and facts.message in verdict.get_text()
    if outcome != "incomplete":
        assert "Gates" in verdict.get_text()
    assert f"RUN FAILED: {outcome}" in page.get_text()


def test_a_failed_run_keeps_what_ran() -> None:
    """The audit shows the traceback without colour codes, and which steps did not run."""
    text = audit(samples.failed_notebook(), samples.failed_facts("error"))
    assert "ZeroDivisionError" in text and "\x1b" not in text
    assert "not run" in text


@REPORTS
def test_an_unexecuted_or_empty_notebook_still_gives_a_page(report: Any) -> None:
    """A run that failed before its first step has a page too."""
    for notebook in (nbformat.v4.new_notebook(), nbformat.read(samples.NOTEBOOK, as_version=4)):
        page = parsed(report(notebook, samples.failed_facts("dead-kernel")))
        assert page.h1 and "dead-kernel" in page.get_text()


@REPORTS
def test_the_notebook_is_not_changed(report: Any) -> None:
    """Making a report leaves the notebook as it was."""
    notebook = samples.executed()
    before = copy.deepcopy(notebook)
    report(notebook, samples.facts())
    assert notebook == before


@REPORTS
def test_the_same_run_gives_the_same_bytes(report: Any) -> None:
    """A report holds no random identifier and no time of its own."""
    assert report(samples.executed(), samples.facts()) == report(samples.executed(), samples.facts())


HOSTILE = (
    "<script>alert('x')</script>", "<ScRiPt src=//[::1]:9/x>", '<img src=x onerror="alert(1)">',
    '<img src="https://[::1]:9/pixel.png">', "<svg onload=alert(1)>", '<iframe srcdoc="<script>1</script>"></iframe>',
    '<a href="javascript:alert(1)">a</a>', "<style>body{display:none}</style>", '<p style="position:fixed">p</p>',
    '<form action="https://[::1]:9"><input name=a></form>', '<div id="main" class="verdict good">fine</div>',
    "<h1>Applied</h1>", '<base href="https://[::1]:9/">', "<meta http-equiv=refresh content=0>", "<!-- <script> -->",
    '<img alt="a" src="data:text/html;base64,PHNjcmlwdD4=">', "<math><mtext></p><style><img src=x onerror=alert(1)>",
    "</main></div></body><p>out", "<video src=//[::1]:9/v autoplay>", "{{ 7*7 }}{% for a in b %}",
)  # fmt: skip


def hostile_notebook(html: str) -> NotebookNode:
    notebook = samples.executed()
    data = {"text/html": html, "text/plain": html, "application/javascript": "alert('js')", "image/svg+xml": html}
    cell = next(c for c in notebook.cells if c.id == "budgets")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data),
        nbformat.v4.new_output("display_data", {"text/plain": html}),
        nbformat.v4.new_output("stream", name="stdout", text=html),
        nbformat.v4.new_output("error", ename=html, evalue=html, traceback=[html]),
    ]
    next(c for c in notebook.cells if c.id == "about-budgets").source = f"## Error budgets {html}\n\n{html}"
    return notebook


@REPORTS
@pytest.mark.parametrize("html", HOSTILE)
def test_hostile_output_is_harmless(report: Any, html: str) -> None:
    """What a kernel left can run nothing, load nothing, restyle nothing, and speak for nobody."""
    page = parsed(report(hostile_notebook(html), samples.facts()))
    assert page.find(["script", "iframe", "form", "input", "base", "video", "svg", "object", "math"]) is None
    assert loads(page) == []
    assert not [k for tag in page.find_all(True) for k in tag.attrs if k.startswith("on") or k == "style"]
    assert len(page.find_all("h1")) == len(page.find_all("style")) == 1
    assert len(page.find_all(id="main")) == len(page.select(".verdict")) == 1
    assert "alert('js')" not in page.get_text()
    assert "49" not in [t.strip() for t in page.strings]


@REPORTS
def test_hostile_facts_are_text(report: Any) -> None:
    """Everything that comes as a fact is escaped."""
    bad = "<script>alert(1)</script>"
    facts: ReportFacts = replace(
        samples.facts(), cycle=bad, message=bad, reasons=(bad,), banner=bad, source=bad, target=bad, mode=bad,
        parameters={bad: bad}, cells=((bad, bad, None),), digests=((bad, bad),), evidence=(bad,), builder=bad,
        headlines=((bad, bad, bad),), caveats=(bad,), clock=bad, status=bad, failed=True,
    )  # fmt: skip
    page = parsed(report(samples.executed(), facts))
    assert page.find("script") is None
    assert bad in page.get_text()


def test_other_kinds_of_output_are_dropped() -> None:
    """Javascript, widgets, LaTeX and PDF leave no trace; text stays."""
    notebook = samples.executed()
    kinds = ("application/javascript", "application/vnd.jupyter.widget-view+json", "text/latex", "application/pdf")
    secret = [nbformat.v4.new_output("display_data", {kind: "leave-no-trace"}) for kind in kinds]
    next(c for c in notebook.cells if c.id == "budgets").outputs = [
        *secret, nbformat.v4.new_output("display_data", {"text/plain": "<kept>"}),
    ]  # fmt: skip
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": "leave-no-trace"}}
    html = audit(notebook, samples.facts())
    assert "leave-no-trace" not in html
    assert "&lt;kept&gt;" in html


def structure(html: str) -> list[tuple[str, dict[str, Any]]]:
    return [(tag.name, dict(tag.attrs)) for tag in parsed(html).find_all(True)]


def test_the_cleaner_keeps_node0s_own_displays() -> None:
    """Figures, tables and decisions pass the allow list unchanged in structure and text."""
    for cell in samples.executed().cells:
        for output in cell.get("outputs", []):
            html = output.data["text/html"]
            assert structure(clean(html)) == structure(html)
            assert parsed(clean(html)).get_text() == parsed(html).get_text()


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_ground() -> None:
    """Every text colour has a contrast of at least 4.5 to 1 on its ground (WCAG 2.2, AA)."""
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", audit(samples.executed(), samples.facts())))
    pairs = [(text, "wash") for text in ("ink", "muted", "accent")]
    pairs += [(text, f"{tone}-wash") for tone in ("good", "notice", "bad") for text in (tone, "ink")]
    for text, ground in pairs:
        light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_cells_under_one_heading_are_one_step() -> None:
    """The injected parameters are no second step; the worst state of a heading's cells is the step's, times add up."""
    cells = (("Parameters", "done", 0.1), ("Parameters", "done", 0.2), ("Gates", "done", 1.0), ("Gates", "failed", 2.0))
    page = parsed(audit(samples.executed(), replace(samples.facts(), cells=cells)))
    table = page.find(id="steps").find_next("table")  # type: ignore[union-attr]
    rows = [[c.get_text() for c in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")]  # type: ignore
    assert rows == [["Parameters", "done", "0.3 s"], ["Gates", "failed", "3.0 s"]]
