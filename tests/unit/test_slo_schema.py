"""What slo.yaml may say of windows, queries, maintenance and composites, and how a mistake in it is told."""

from datetime import timedelta
from pathlib import Path

import pytest

from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import CatalogueFile, read_catalogue
from node0lib.shell.mistakes import Mistakes
from node0lib.shell.yaml_lines import parse
from node0lib.slo.catalogue import Composite
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.promql import flaw
from node0lib.timespan import Calendar, parse_instant

SHIPPED = Path(__file__).parents[2] / "configs" / "slo.yaml"
API = "{name: api, kind: ratio, objective: 0.999, window: 30d, stream: api}"
WEB = "{name: web, kind: ratio, objective: 0.999, window: 30d, stream: api}"
MOVE = "start: 2026-11-24T22:00:00+01:00, end: 2026-11-25T02:00:00+01:00"
RATIO = "name: api, kind: ratio, objective: 0.9"


def _read(text: str) -> CatalogueFile:
    mistakes = Mistakes()
    found = read_catalogue(mistakes, mistakes.source(parse(text.encode()), "slo.yaml"), ())
    mistakes.raise_if_any()
    return found


def _told(text: str) -> str:
    """The one mistake of a file with that text."""
    with pytest.raises(ConfigError) as error:
        _read(text)
    lines = str(error.value).split("\n")
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(("unit", "days"), [("week", 7), ("month", 30), ("quarter", 91), ("year", 365)])
def test_a_window_may_be_the_calendars(unit: str, days: int) -> None:
    """A unit with a zone becomes a calendar, and the window its nominal length; the zone is UTC if left out."""
    slo = _read(f"slos: [{{{RATIO}, stream: api, window: {unit}, time_zone: Europe/Berlin}}]").catalogue.slos[0]
    assert (slo.window, slo.calendar) == (timedelta(days=days), Calendar(unit, "Europe/Berlin"))  # type: ignore[arg-type]
    assert _read(f"slos: [{{{RATIO}, stream: api, window: {unit}}}]").catalogue.slos[0].calendar == Calendar(unit)  # type: ignore[arg-type]


def test_errors_may_be_what_is_counted() -> None:
    """A ratio has total and either good or bad."""
    queries = _read(f"slos: [{{{RATIO}, window: 1h, queries: {{bad: 'b[$window]', total: 't[$window]'}}}}]")
    assert queries.catalogue.slos[0].queries == {"bad": "b[$window]", "total": "t[$window]"}


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        (f"{RATIO}, stream: api, window: moon", "window: 'moon' is not a duration; write for example 5m, 1h30m or"),
        (f"{RATIO}, stream: api, window: 30d, time_zone: UTC", "time_zone: has no meaning for a window that rolls"),
        (
            f"{RATIO}, stream: api, window: month, time_zone: Europe/Berln",
            "time_zone: 'Europe/Berln' is no time zone known here; write an IANA name such as Europe/Berlin",
        ),
        (f"{RATIO}, stream: api, window: month, time_zone: 1", "time_zone: 1 is not a time zone; write an IANA name"),
        (
            "name: api, kind: invariant, objective: 1, window: month, minimum: 100",
            "window: month: an invariant is judged continuously; write how long to look back: 1h",
        ),
        (
            f"{RATIO}, window: 1h, queries: {{good: 'g[$window]', bad: 'b[$window]', total: 't[$window]'}}",
            "queries.bad: stands beside good, and one follows from the other; remove one of the two",
        ),
        (
            f"{RATIO}, window: 1h, queries: {{bad: 't [$window]', total: 't  [$window]'}}",
            "queries.bad: is the same as total, which is 100% bad for ever; select the bad events",
        ),
        (f"{RATIO}, window: 1h, queries: {{bad: 'b[$window]'}}", "queries: lacks total; a ratio objective needs good"),
        (
            f"{RATIO}, window: 1h, queries: {{total: 't[$window]'}}",
            "queries: lacks good; a ratio objective needs good and total (or bad for good)",
        ),
        (
            f"{RATIO}, window: 1h, queries: {{good: 'sum(rate(g[$window])', total: 't[$window]'}}",
            "queries.good: is not PromQL (unclosed left parenthesis); correct it",
        ),
        (
            f"{RATIO}, window: 1h, queries: {{good: 'sum(g[$window])', total: 't[$window]'}}",
            "queries.good: is not PromQL (expected type vector in aggregation expression, got matrix)",
        ),
    ],
)
def test_a_mistake_in_an_slo_is_told(slo: str, said: str) -> None:
    """One line with the path of keys, what is wrong and what to do."""
    assert _told(f"slos: [{{{slo}}}]").startswith(f"slo.yaml:1: slos.api.{said}")


@pytest.mark.parametrize(
    "query",
    [
        "-" * 9000 + "a[$window]",
        "(" * 4900 + "a[$window]" + ")" * 4900,
        "- #\n" * 2400 + "a[$window]",
        "+".join("a" * 5000),
    ],
    ids=["signs", "brackets", "comments", "sums"],
)
def test_a_query_that_would_end_the_process_is_a_mistake(query: str) -> None:
    """The compiled parser is recursive; what is nested beyond reason does not reach it."""
    assert (flaw(query) or "").startswith("nested too deep")


@pytest.mark.parametrize("query", ['a{b="' + "-" * 50 + '"}', "a{b=~'" + "[" * 3 + "]]]'}", "((1)) - -1", "a # (((("])
def test_texts_and_comments_are_not_nesting(query: str) -> None:
    """What stands in quotes or behind # has no depth."""
    assert "nested" not in (flaw(query) or "")


def test_maintenance_and_composites_are_read() -> None:
    """Each item becomes a frozen value; maintenance without slos is of all."""
    found = _read(
        f"slos: [{API}, {WEB}]\nmaintenance:\n- {{{MOVE}, reason: move}}\n- {{{MOVE}, reason: move, slos: [web]}}\n"
        "composites: [{name: shop, description: All of it., of: {api: 3, web: 0.5}}]"
    ).catalogue
    start, end = parse_instant("2026-11-24T21:00:00Z"), parse_instant("2026-11-25T01:00:00Z")
    assert found.maintenance == (Maintenance(start, end, "move"), Maintenance(start, end, "move", ("web",)))
    assert found.composites == (Composite("shop", {"api": 3.0, "web": 0.5}, "All of it."),)


def test_sections_that_are_left_out_or_empty_are_nothing() -> None:
    """Neither section must be there, and a list that was emptied is no mistake."""
    for more in ("", "\nmaintenance: []\ncomposites: []"):
        found = _read(f"slos: [{API}]{more}").catalogue
        assert found.maintenance == () and found.composites == ()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("maintenance: {}", "maintenance: must be a list with one item at least; begin an item with a dash: - {start:"),
        ("maintenance: [soon]", "maintenance[0]: 'soon' is not a mapping of keys"),
        (f"maintenance: [{{{MOVE}}}]", "maintenance[0].reason: is missing; add for example reason: the database moves"),
        (f"maintenance: [{{{MOVE}, reason: ''}}]", "maintenance[0].reason: is empty"),
        (f"maintenance: [{{{MOVE}, reason: x, slos: []}}]", "maintenance[0].slos: has too few items; write at least 1"),
        (
            f"maintenance: [{{{MOVE}, reason: x, slos: [apo]}}]",
            "maintenance[0].slos[0]: there is no SLO apo; did you mean api?",
        ),
        (
            "maintenance: [{start: 2026-11-24T22:00:00, end: 2026-11-25T02:00:00Z, reason: x}]",
            "maintenance[0].start: 2026-11-24T22:00:00 has no time zone; write it with Z or an offset",
        ),
        ("maintenance: [{start: 5, end: 2026-11-25T02:00:00Z, reason: x}]", "maintenance[0].start: 5 is not an ISO"),
        (
            "maintenance: [{start: 0001-01-01T00:00:00+14:00, end: 2026-11-25T02:00:00Z, reason: x}]",
            "maintenance[0].start: 0001-01-01T00:00:00+14:00 lies outside the years 1 to 9999",
        ),
        (
            "maintenance: [{start: 2026-11-25T02:00:00+00:00, end: 2026-11-25T02:00:00Z, reason: x}]",
            "maintenance[0].end: must be after start",
        ),
        (
            "maintenance: [{start: 2026-11-25T02:00:30Z, end: 2026-11-25T03:00:00Z, reason: x}]",
            "maintenance[0].start: must be a whole minute; widen it to the next one",
        ),
        ("composites: [{name: api, of: {web: 1}}]", "composites.api.name: api is an SLO already; choose another name"),
        ("composites: [{name: shop, of: {}}]", "composites.shop.of: has too few items; write at least 1"),
        ("composites: [{name: shop, of: {apo: 1}}]", "composites.shop.of.apo: there is no SLO apo; did you mean api?"),
        ("composites: [{name: shop, of: {api: 0}}]", "composites.shop.of.api: 0 must be at least 0.001"),
        ("composites: [{name: shop, of: {api: 1e9}}]", "composites.shop.of.api: 1000000000.0 must be at most 1000"),
        ("composites: [{name: shop, of: {api: .inf}}]", "composites.shop.of.api: .inf is not a finite number"),
        ("composites: [{name: shop, of: [api]}]", "composites.shop.of: a list is not a mapping of keys"),
        (
            "composites: [{name: shop, of: {api: 1}}, {name: shop, of: {api: 1}}]",
            "composites[1].name: shop is taken, first in line 2; names must differ",
        ),
        ("maintenence: []", "maintenence: is no key here; did you mean maintenance?"),
    ],
)
def test_a_mistake_in_what_is_said_of_several_is_told(section: str, said: str) -> None:
    """One line with the path of keys, what is wrong and what to do."""
    assert _told(f"slos: [{API}, {WEB}]\n{section}").startswith(f"slo.yaml:2: {said}")


def test_what_refers_to_an_slo_that_is_wrong_is_not_wrong_for_that() -> None:
    """A mistake in an SLO is told once, not once more by every composite that it is part of."""
    wrong = API.replace("0.999", "99.9")
    assert "objective" in _told(f"slos: [{wrong}]\ncomposites: [{{name: shop, of: {{api: 1}}}}]")


def test_the_shipped_examples_are_right_once_their_comment_signs_are_gone() -> None:
    """The commented maintenance and composite of configs/slo.yaml can be used as they stand there."""
    lines = SHIPPED.read_text("utf-8").split("\n")
    heads = [n for n, line in enumerate(lines) if line in ("# maintenance:", "# composites:")]
    assert len(heads) == 2
    for head in heads:
        end = next(n for n in range(head, len(lines)) if not lines[n].startswith("# "))
        lines[head:end] = [line[2:] for line in lines[head:end]]
    found = _read("\n".join(lines)).catalogue
    assert len(found.slos) == 10 and len(found.maintenance) == 1 and len(found.composites) == 1
