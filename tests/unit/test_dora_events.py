"""What counts as an event of delivery, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from node0lib.dora.events import Change, Deployment, Event, Incident, event_line, event_row, merge, parse_event
from node0lib.dora.history import NONE, UNKNOWN, UNLINKED, History, micros
from node0lib.errors import DataError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def deployment(id: str = "d1", at: datetime = NOON, **given: object) -> Deployment:
    """A deployment of the shop to production that took five minutes."""
    return Deployment(id, "shop", "production", at - timedelta(minutes=5), at, **given)  # type: ignore[arg-type]


FULL: list[Event] = [
    deployment(sha="abc", changes=(Change("abc", NOON - HOUR, NOON - 2 * HOUR),)),
    deployment("d2", NOON + HOUR, kind="hotfix", planned=False, caused_by="i1"),
    Incident("i1", "shop", NOON + HOUR / 2, NOON + HOUR, "d1", "a bad query"),
    Incident("i2", "shop", NOON + 2 * HOUR),
]


@pytest.mark.parametrize("event", FULL, ids=lambda event: event.id)
def test_an_event_survives_its_row(event: Event) -> None:
    """Reading what was written gives the same event."""
    assert parse_event(event_row(event)) == event


def test_another_offset_is_the_same_instant() -> None:
    """A time with an offset is kept in UTC, so the same instant is the same event."""
    away = timezone(timedelta(hours=5, minutes=30))
    assert deployment(at=NOON.astimezone(away)) == deployment()
    assert event_line(deployment(at=NOON.astimezone(away))) == event_line(deployment())


def test_kinds_say_what_was_planned() -> None:
    """Normal deployments and retries are planned, hotfixes and rollbacks not, unless somebody says otherwise."""
    assert [deployment(kind=kind).planned for kind in ("normal", "retry", "hotfix", "rollback")] == [
        *(True, True),
        *(False, False),
    ]
    assert deployment(kind="hotfix", planned=True).planned is True


ROW = event_row(deployment())
WRONG = [
    ({"finished_at": "2026-03-02T12:00:00"}, "has no time zone"),
    ({"finished_at": "2026-03-02T11:00:00Z"}, "before it started"),
    ({"finished_at": "yesterday"}, "not an ISO 8601 time"),
    ({"finished_at": 1772452800}, "not a time"),
    ({"outcome": "SUCCESS"}, "succeeded, failed or rolled_back"),
    ({"kind": "canary"}, "normal, hotfix, retry or rollback"),
    ({"service": " "}, "service is ' '"),
    ({"service": None}, "says nothing of service"),
    ({"colour": "red"}, "has no 'colour'"),
    ({"type": "release"}, "deployment or incident"),
    ({"planned": "perhaps"}, "true or false"),
    ({"sha": 5}, "sha is 5"),
    ({"sha": ["a"]}, "sha is "),
    ({"caused_by": {"id": "i"}}, "caused_by is "),
    ({"id": "d\ud800"}, "half a character"),
    ({"changes": "abc"}, "a list of changes"),
    ({"changes": ["abc"]}, "not a mapping"),
    ({"changes": [{"sha": "a"}, {"sha": "a"}]}, "lists a change twice"),
    ({"changes": [{"sha": "a", "committed_at": "2026-03-02T12:00:00"}]}, "has no time zone"),
]


@pytest.mark.parametrize(("change", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_is_refused(change: dict[str, object], told: str) -> None:
    """Naive and impossible times, unknown words, missing and unknown keys are one clear error each."""
    with pytest.raises(DataError, match=told):
        parse_event({**ROW, **change})


@pytest.mark.parametrize("given", [{"cause": {}}, {"cause": "\udfff"}, {"caused_by": 5}])
def test_an_incidents_texts_are_texts(given: dict[str, object]) -> None:
    """What is no text, or no whole one, is refused where it is read and not where it is first used."""
    with pytest.raises(DataError, match="incident 'i'.* is "):
        parse_event({**event_row(Incident("i", "shop", NOON)), **given})


def test_resolved_before_opened_is_refused() -> None:
    """An incident cannot end before it began."""
    with pytest.raises(DataError, match="before it was opened"):
        Incident("i1", "shop", NOON, NOON - HOUR)


def test_the_future_is_refused() -> None:
    """An event after now is an error that names both times."""
    with pytest.raises(DataError, match="lies in the future"):
        merge([deployment(at=NOON + HOUR)], now=NOON)
    with pytest.raises(DataError, match="resolved_at .* lies in the future"):
        History.of([Incident("i1", "shop", NOON, NOON + HOUR)], now=NOON)


@pytest.mark.parametrize("into", [merge, History.of])
def test_twice_is_once_and_a_difference_is_shown(into: object) -> None:
    """The same event twice is one; two that differ under one name are refused, and both are shown."""
    assert callable(into)
    into([*FULL, *FULL])
    with pytest.raises(DataError, match='(?s)first:.*"succeeded".*second:.*"failed"'):
        into([deployment(), deployment(outcome="failed")])


def test_merging_is_idempotent() -> None:
    """Merging again changes nothing, in whatever order."""
    once = merge(FULL)
    assert merge(once, reversed(FULL)) == once


def test_circles_are_refused() -> None:
    """Following caused_by must come to an end; the circle is shown."""
    around = [deployment("d1", caused_by="i1"), Incident("i1", "shop", NOON, None, "i2")]
    with pytest.raises(DataError, match="goes in a circle: .*i1 <- "):
        merge([*around, Incident("i2", "shop", NOON, None, "d1")])
    with pytest.raises(DataError, match="circle"):
        History.of([Incident("i1", "shop", NOON, None, "i1")])


def test_a_deployment_and_an_incident_may_share_a_name() -> None:
    """Numbers of trackers collide: an incident 7 caused by deployment 7 is no circle."""
    history = History.of([deployment("7"), Incident("7", "shop", NOON, None, "7")])
    assert history.link.tolist() == [0]


def test_links_are_followed_to_the_deployment() -> None:
    """An incident that names an incident is linked to what caused that one; unknown names stay unknown."""
    chain = [deployment("d1"), Incident("a", "shop", NOON, None, "d1"), Incident("b", "shop", NOON, None, "a")]
    history = History.of([*chain, Incident("c", "shop", NOON, None, "gone"), Incident("d", "shop", NOON)])
    assert history.link.tolist() == [0, 0, UNKNOWN, UNLINKED]


def test_columns_lie_in_the_order_of_time() -> None:
    """Deployments lie as they finished, their changes with them, whatever came first."""
    early = deployment("b", NOON - HOUR, changes=(Change("x", NOON - 3 * HOUR), Change("y")))
    history = History.of([deployment("a", changes=(Change("z", NOON - HOUR),)), early])
    assert history.finished.tolist() == [micros(NOON - HOUR), micros(NOON)]
    assert history.owner.tolist() == [0, 0, 1]
    assert history.committed.tolist() == [micros(NOON - 3 * HOUR), NONE, micros(NOON - HOUR)]
