"""What is counted: deployments and incidents, each a frozen value that cannot be wrong.

- A deployment ends in one of three ways: ``succeeded``; ``rolled_back`` (it reached its environment and was taken
  back); ``failed`` (it never got there: a pipeline that stopped). Its kind is ``normal``, ``hotfix``, ``retry`` or
  ``rollback``. ``planned`` is, unless given, true of normal ones and retries only.
- ``caused_by`` of an incident names the deployment that did it, or another incident; of a deployment, the incident
  that made it necessary. Going round in a circle is refused.
- Times are aware and kept in UTC; a naive one is refused, as is one after ``now``, which the caller knows.
- The same event twice is one event. Two of one identity that differ are refused, and both are shown.
- An incident that was open and is now resolved, all else being equal, has gone on: ``goes_on`` tells it apart, for
  those who keep events over time.

>>> when = parse_instant("2026-01-05T12:00:00Z")
>>> one = Deployment("d1", "shop", "production", when, when)
>>> merge([one, one]) == (one,)
True
>>> event_row(one)["kind"], one.planned
('normal', True)
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from node0lib.errors import DataError
from node0lib.timespan import ensure_utc, format_instant, parse_instant

Outcome = Literal["succeeded", "failed", "rolled_back"]
Kind = Literal["normal", "hotfix", "retry", "rollback"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that a deployment brought, or a pull request under its merge commit.

    ``committed_at`` is the committer's time. ``authored_at`` (of a pull request: its first commit's), ``opened_at`` and
    ``merged_at`` are only asked for by definitions that count from there. None is "not known".
    """

    sha: str
    committed_at: datetime | None = None
    authored_at: datetime | None = None
    opened_at: datetime | None = None
    merged_at: datetime | None = None

    def __post_init__(self) -> None:
        _named("a change", "sha", self.sha)
        for name in ("committed_at", "authored_at", "opened_at", "merged_at"):
            _in_utc(self, name, f"change {self.sha}")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of a service to an environment; raises DataError if it makes no sense in itself."""

    id: str
    service: str
    environment: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome = "succeeded"
    sha: str | None = None
    changes: tuple[Change, ...] = ()
    planned: bool | None = None
    kind: Kind = "normal"
    caused_by: str | None = None

    def __post_init__(self) -> None:
        who = f"deployment {self.id!r}"
        for name in ("id", "service", "environment"):
            _named(who, name, getattr(self, name))
        _one_of(who, "outcome", self.outcome, OUTCOMES)
        _one_of(who, "kind", self.kind, KINDS)
        for name in ("sha", "caused_by"):
            _maybe_named(who, name, getattr(self, name))
        _in_utc(self, "started_at", who, needed=True)
        _in_utc(self, "finished_at", who, needed=True)
        if self.finished_at < self.started_at:
            raise DataError(f"{who} finished ({_at(self.finished_at)}) before it started ({_at(self.started_at)})")
        shas = [change.sha for change in self.changes]
        if len(set(shas)) < len(shas):
            raise DataError(f"{who} lists a change twice; list each once")
        if self.planned is None:
            object.__setattr__(self, "planned", self.kind in ("normal", "retry"))

    @property
    def times(self) -> Iterator[tuple[str, datetime]]:
        """What happened, and when; commits may lie later than that (clocks differ) and are dropped, counted, there."""
        yield from (("started_at", self.started_at), ("finished_at", self.finished_at))


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident of a service in production; ``resolved_at`` is None while it is open."""

    id: str
    service: str
    opened_at: datetime
    resolved_at: datetime | None = None
    caused_by: str | None = None
    cause: str | None = None

    def __post_init__(self) -> None:
        who = f"incident {self.id!r}"
        _named(who, "id", self.id)
        _named(who, "service", self.service)
        for name in ("caused_by", "cause"):
            _maybe_named(who, name, getattr(self, name))
        _in_utc(self, "opened_at", who, needed=True)
        _in_utc(self, "resolved_at", who)
        if self.resolved_at is not None and self.resolved_at < self.opened_at:
            opened, resolved = _at(self.opened_at), _at(self.resolved_at)
            raise DataError(f"{who} was resolved ({resolved}) before it was opened ({opened}); correct one of them")

    @property
    def times(self) -> Iterator[tuple[str, datetime]]:
        """What happened, and when."""
        yield "opened_at", self.opened_at
        if self.resolved_at is not None:
            yield "resolved_at", self.resolved_at


Event = Deployment | Incident
Key = tuple[str, str]
_TYPES: Mapping[str, type[Event]] = {"deployment": Deployment, "incident": Incident}
# Looked up once and not for each of millions of events.
_NAMES: Mapping[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (Change, Deployment, Incident)
}
_NEEDED: Mapping[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if field.default is field.default_factory) for kind in _NAMES
}
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SCREEN = 2000
_TIMES = {"started_at", "finished_at", "opened_at", "resolved_at", "committed_at", "authored_at", "merged_at"}


def event_type(event: Event) -> str:
    """Return "deployment" or "incident"."""
    return "deployment" if isinstance(event, Deployment) else "incident"


def event_row(event: Event) -> dict[str, Any]:
    """Return the event as JSON values, ``type`` first; what is not known is left out."""
    return {"type": event_type(event), **_row(event)}


def event_line(event: Event) -> str:
    """Return the event as one line of JSON; equal events give equal lines."""
    return _ENCODE(event_row(event))


def parse_event(row: Mapping[str, Any]) -> Event:
    """Return the event that a mapping describes, the inverse of ``event_row``; raises DataError.

    Null and "" are "not known". Times are ISO 8601 texts with a zone, or aware datetimes.
    """
    kind = row.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise DataError(f"type is {kind!r}; write deployment or incident")
    values = {key: value for key, value in row.items() if key != "type" and value is not None and value != ""}
    if kind == "deployment" and "changes" in values:
        values["changes"] = tuple(_parsed(Change, one, "a change") for one in _listed(values["changes"]))
    event: Event = _parsed(_TYPES[kind], values, f"{kind} {row.get('id')!r}")
    return event


def merge(*sources: Iterable[Event], now: datetime | None = None) -> tuple[Event, ...]:
    """Return all events once, oldest first; raises DataError where two differ, at a circle, or after ``now``."""
    seen: dict[Key, Event] = {}
    for source in sources:
        for event in source:
            not_after(event, now)
            known = seen.setdefault((event_type(event), event.id), event)
            if known != event:
                raise differing(known, event)
    check_circles({key: event.caused_by for key, event in seen.items()})
    return tuple(sorted(seen.values(), key=lambda event: (next(iter(event.times))[1], event_type(event), event.id)))


def not_after(event: Event, now: datetime | None) -> None:
    """Raise DataError if any of the event's times lies after ``now``; None asks nothing."""
    for name, time in event.times if now is not None else ():
        if now is not None and time > now:
            text = f"{event_type(event)} {event.id!r}: {name} {_at(time)} lies in the future (now is {_at(now)})"
            raise DataError(f"{text}; correct it, or the clock")


def goes_on(known: Event, event: Event) -> bool:
    """Whether the event is the known incident, which was open, and is resolved now; nothing else has changed."""
    if not isinstance(known, Incident) or not isinstance(event, Incident) or known.resolved_at is not None:
        return False
    return event.resolved_at is not None and replace(event, resolved_at=None) == known


def check_service(event: Event, declared: Collection[str] | None) -> None:
    """Raise DataError if there are declared services and the event's is none of them; the nearest one is named."""
    if declared is None or event.service in declared:
        return
    near, last = difflib.get_close_matches(event.service, declared, n=1), event.service.rpartition("/")[2]
    hint = f"did you mean {near[0]}?" if near else f"declared are {', '.join(sorted(declared)) or 'none'}"
    if last in declared:  # a forge names its projects with their owner
        hint = f"ingest with --service {last}, or declare it with --services {event.service}"
    who = f"{event_type(event)} {event.id!r}"
    raise DataError(f"{who} is of the service {event.service!r}, which is not declared; {hint}")


def differing(known: Event, event: Event) -> DataError:
    """Return the error of two events of one identity that differ; it shows both."""
    head = f"{event_type(event)} {event.id!r} is given twice with different content; keep the one that is true"
    return DataError(f"{head}\n  first:  {_shown(known)}\n  second: {_shown(event)}")


def _shown(event: Event) -> str:
    """A line of JSON that a screen can hold: the first release of a repository may bring 50,000 changes."""
    line = event_line(event)
    return line if len(line) <= _SCREEN else f"{line[:_SCREEN]}… ({len(line):,} characters)"


def check_circles(links: Mapping[Key, str | None]) -> None:
    """Raise DataError if following ``caused_by``, of every event by its (type, id), comes back; shows the circle."""
    settled: set[Key] = set()
    for start in links:
        path: dict[Key, None] = {}
        node: Key | None = start
        while node is not None and node not in settled:
            if node in path:
                walked = list(path)
                circle = [*walked[walked.index(node) :], node]
                raise DataError(f"caused_by goes in a circle: {' <- '.join(' '.join(one) for one in circle)}")
            path[node] = None
            node = cause_of(node, links)
        settled.update(path)


def cause_of(node: Key, links: Mapping[Key, str | None]) -> Key | None:
    """Return what the event was caused by, if that is among ``links``: they hold every event's ``caused_by``.

    A deployment is caused by an incident; an incident by a deployment or, if none is so called, by an incident.
    """
    target = links.get(node)
    if target is None:
        return None
    ways = [("incident", target)] if node[0] == "deployment" else [("deployment", target), ("incident", target)]
    return next((way for way in ways if way in links), None)


def _row(value: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _NAMES[type(value)]:
        item = getattr(value, name)
        if item is None:
            continue
        if isinstance(item, datetime):
            found[name] = item.isoformat()[: -len("+00:00")] + "Z"  # an event's times are in UTC
        elif isinstance(item, tuple):
            if item:
                found[name] = [_row(one) for one in item]
        else:
            found[name] = item
    return found


def _parsed(kind: type[Any], values: object, who: str) -> Any:
    if not isinstance(values, Mapping):
        raise DataError(f"{who} is {values!r}, not a mapping")
    known = _NAMES[kind]
    for key in values:
        if key not in known:
            raise DataError(f"{who} has no {key!r}; it may have {', '.join(sorted(known))}")
    missing = [name for name in _NEEDED[kind] if name not in values]
    if missing:
        raise DataError(f"{who} says nothing of {', '.join(missing)}")
    return kind(**{key: _value(key, value, who) for key, value in values.items()})


def _value(key: str, value: object, who: str) -> object:
    if key in _TIMES and isinstance(value, str):
        try:
            return parse_instant(value)
        except DataError as error:
            raise DataError(f"{who}: {key}: {error}") from error
    if key == "planned":
        return _flag(value, who)
    return value


def _flag(value: object, who: str) -> bool:
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise DataError(f"{who}: planned is {value!r}; write true or false")
    return found


def _listed(value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise DataError(f"changes is {value!r}; write a list of changes, each with its sha and committed_at")
    return list(value)


def _named(who: str, name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{who}: {name} is {value!r}; write a text that is not empty")
    if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise DataError(f"{who}: {name} is {value!r}: it holds half a character, which no file can; mend the export")


def _maybe_named(who: str, name: str, value: object) -> None:
    if value is not None:
        _named(who, name, value)


def _one_of(who: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DataError(f"{who}: {name} is {value!r}; write {', '.join(allowed[:-1])} or {allowed[-1]}")


def _in_utc(event: object, name: str, who: str, *, needed: bool = False) -> None:
    value = getattr(event, name)
    if value is None and not needed:
        return
    if not isinstance(value, datetime):
        raise DataError(f"{who}: {name} is {value!r}, not a time")
    if type(value) is not datetime:  # a table's times may have nanoseconds, which would be lost when written and read
        value = datetime.combine(value.date(), value.timetz())
        object.__setattr__(event, name, value)
    if value.tzinfo is UTC:
        return
    try:
        object.__setattr__(event, name, ensure_utc(value))
    except DataError as error:
        raise DataError(f"{who}: {name}: {error}") from error


def _at(time: datetime) -> str:
    return format_instant(time)
