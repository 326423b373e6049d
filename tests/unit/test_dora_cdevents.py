"""CDEvents: which are deployments and incidents, and that others are counted."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node0lib.dora.events import Deployment, Incident
from node0lib.dora.history import History
from node0lib.dora.sources.cdevents import CDEvents
from node0lib.dora.sources.payload import Taken, Wanted
from node0lib.errors import DataError
from node0lib.shell.dora_payloads import collected, payloads

PATH = Path(__file__).parent.parent / "data" / "dora" / "payloads" / "cdevents.jsonl"
HERE = "cdevents:/event/source/123:"
ROWS = [deepcopy(dict(row)) for _, row in payloads(PATH)]


def taken(rows: list[dict[str, Any]], wanted: Wanted = Wanted()) -> Taken:  # noqa: B008
    """What node0 makes of these events."""
    source = CDEvents(wanted)
    for row in rows:
        source.take(row)
    return source.taken()


def edited(place: int, **context: Any) -> dict[str, Any]:
    """One of the plain events with another context."""
    row = deepcopy(ROWS[place])
    row["context"].update(context)
    return row


def test_services_are_deployed_upgraded_and_rolled_back() -> None:
    """Plain and in CloudEvents, each is a deployment at its instant; a rollback is one, with the incident behind it."""
    found = [event for event in taken(ROWS).events if isinstance(event, Deployment)]
    assert [(one.id.removeprefix(HERE), one.kind, one.service) for one in found] == [
        ("d1", "normal", "shop"),
        ("d2", "normal", "shop"),
        ("d3", "rollback", "shop"),
    ]
    assert found[1].finished_at == datetime(2026, 3, 3, 10, 0, 0, 250_000, tzinfo=UTC)
    assert (found[2].planned, found[2].caused_by) == (False, f"{HERE}incident-7")


def test_an_incident_is_one_subject() -> None:
    """Detected, reported and resolved are one incident, linked to the deployment that its link names."""
    (one,) = (event for event in taken(ROWS).events if isinstance(event, Incident))
    assert (one.opened_at.minute, one.resolved_at and one.resolved_at.minute) == (10, 30)
    assert (one.caused_by, one.cause) == (f"{HERE}d2", "Response time above 100ms")
    assert History.of(taken(ROWS).events).link.tolist() == [1]


def test_order_and_repetition_do_not_matter() -> None:
    """The same events, backwards and twice, say the same."""
    assert set(taken(ROWS[::-1] + ROWS).events) == set(taken(ROWS).events)


def test_what_is_left_out_is_counted_by_type() -> None:
    """Published, removed, other subjects, versions that are not known, other places, no service: each with a count."""
    told = ("published", "removed", "pipelinerun", "9.0.0 are of a version", "elsewhere", "name no service")
    notes = taken(ROWS).notes
    assert len(notes) == len(told) and all(note.startswith("1 event(s) of ") for note in notes)
    assert all(sum(word in note for note in notes) == 1 for word in told)


def test_environments_and_service_can_be_named() -> None:
    """Incidents of another environment come in if it is asked for; a service given is that of all."""
    found = taken(ROWS, Wanted("cart", frozenset({"staging"}))).events
    assert [(event.service, event.id.removeprefix(HERE)) for event in found] == [("cart", "incident-8")]
    both = {event.id.removeprefix(HERE) for event in taken(ROWS, Wanted("cart")).events if isinstance(event, Incident)}
    assert both == {"incident-7", "incident-9"}


def test_detected_again_is_open_again() -> None:
    """An incident that is detected after it was resolved is open; one that is only reported late is not."""
    again = edited(2, id="i9", timestamp="2026-03-03T11:00:00Z")
    late = deepcopy(ROWS[3])
    late.get("data", late)["context"].update(id="i8", timestamp="2026-03-03T11:00:00Z")
    for more, still_open in (([again], True), ([late], False)):
        (one,) = (event for event in taken([*ROWS, *more]).events if isinstance(event, Incident))
        assert (one.resolved_at is None) is still_open


def test_resolved_without_an_opening_is_told() -> None:
    """Nobody knows when it was opened, so it is left out."""
    assert "nothing says when they were opened" in taken([ROWS[5]]).notes[0]


WRONG: list[tuple[Mapping[str, Any], str]] = [
    (edited(0, version="0.1.0"), "known are 0.3 to 0.5"),
    (edited(0, version=None), "specification ''"),
    (edited(0, timestamp="2026-03-02T10:00:00"), "no time zone"),
    (edited(0, type=None), "type is None"),
    ({"subject": {}}, "context is None"),
    ({**ROWS[0], "subject": {"id": "shop", "content": {}}}, "environment is None"),
    (edited(0, timestamp="2026-03-01T10:00:00Z"), "(?s)first.*second"),
]


@pytest.mark.parametrize(("row", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_is_refused(row: Mapping[str, Any], told: str) -> None:
    """An event that lacks what CDEvents ask of it, or that differs from one of its name, is one error."""
    source = CDEvents(Wanted())
    with pytest.raises(DataError, match=told):
        source.take(ROWS[0])
        source.take(row)


def test_resolved_before_opened_is_refused() -> None:
    """An incident cannot end before it began, and the error names it."""
    early = deepcopy(ROWS[5])
    early.get("data", early)["context"]["timestamp"] = "2026-03-01T00:00:00Z"
    with pytest.raises(DataError, match="incident-7' was resolved .* before it was opened"):
        taken([ROWS[2], early])


def test_a_newer_context_is_read_too() -> None:
    """Specification 0.5 calls its version specversion."""
    row = edited(0, specversion="0.5.0")
    del row["context"]["version"]
    assert len(taken([row]).events) == 1


def test_the_file_says_where_it_is_wrong(tmp_path: Path) -> None:
    """File and line of an event that makes no sense are named."""
    path = tmp_path / "events.jsonl"
    path.write_text(PATH.read_text("utf-8") + '{"context": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"events\.jsonl:13: an event: context is 1"):
        collected(CDEvents(Wanted()), [path])
