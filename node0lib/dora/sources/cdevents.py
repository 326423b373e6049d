"""CDEvents: the events of the CD Foundation's vocabulary, plain or as the data of CloudEvents (structured mode).

- ``service.deployed`` and ``service.upgraded`` are deployments that succeeded, ``service.rolledback`` one of kind
  rollback; an event is one instant, so each starts and finishes then. The version is ``artifactId``.
- ``incident.detected`` and ``incident.reported`` open an incident, the first of them; ``incident.resolved`` ends it,
  the last of them, unless the incident was detected once more after that. One incident is one subject of one source.
- An incident is taken of the environments asked for, else of production only: others are counted, not blended in.
- A RELATION link of the kind TRIGGER or CAUSE from an incident to the event of a deployment, or the other way round,
  says what caused it.
- All other types (``service.removed`` and ``service.published`` too) are counted by name, and so are types of a
  version that is not known here; neither is an error. A specification older than 0.3 is refused: its events differ.

Source: cdevents.dev, specification 0.3 to 0.5 (continuous deployment, continuous operations, links, CloudEvents
binding).

>>> event = {"context": {"version": "0.4.1", "id": "A1", "source": "/argo", "timestamp": "2026-01-05T12:00:00Z",
...                      "type": "dev.cdevents.service.deployed.0.2.0"},
...          "subject": {"id": "shop", "content": {"environment": {"id": "production"}, "artifactId": "pkg:oci/s@1"}}}
>>> source = CDEvents(Wanted())
>>> source.take({"specversion": "1.0", "type": "dev.cdevents.service.deployed.0.2.0", "data": event})
>>> source.taken().events[0].id, source.taken().events[0].sha
('cdevents:/argo:A1', 'pkg:oci/s@1')
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from node0lib.dora.events import Deployment, Event, Incident, differing
from node0lib.dora.sources.payload import Row, Taken, Tally, Wanted, mapping, moment, text, words
from node0lib.errors import DataError

_TYPE = re.compile(r"dev\.cdevents\.([a-z]+)\.([a-z]+)\.(\d+)\.(\d+)\.\d+(?:-\w+)?")
_SPECIFICATION = re.compile(r"(\d+)\.(\d+)\.\d+(?:-\w+)?")
_SPECIFICATIONS = {(0, minor) for minor in (3, 4, 5)}
_TYPES = {(0, minor) for minor in (1, 2, 3)}
_DEPLOYS = {"deployed", "upgraded", "rolledback"}
_INCIDENTS = {"detected", "reported", "resolved"}
_CAUSES = {"TRIGGER", "CAUSE"}


@dataclass(frozen=True)
class _Told:
    """One event about an incident: what it says, and the events that it names as its cause."""

    predicate: str
    at: datetime
    service: str
    description: str | None
    causes: tuple[str, ...]


class CDEvents:
    """Collects events; see the module for what is taken of them."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._incident_places = wanted.environments or frozenset({"production"})
        self._deployments: dict[str, tuple[Deployment, tuple[str, ...]]] = {}
        self._incidents: dict[str, dict[str, _Told]] = {}
        self._of_context: dict[str, str] = {}
        self._tally = Tally()

    def take(self, row: Row) -> None:
        """Take an event; raises DataError if it lacks what CDEvents ask of it."""
        if "context" not in row and isinstance(row.get("data"), Mapping):
            row = row["data"]
        context = mapping(row, "context", "an event")
        number = text(context, "id", "an event's context")
        who = f"event {number}"
        kind = self._kind(context, who)
        if kind is None:
            return
        subject = mapping(row, "subject", who)
        if kind[0] == "service":
            self._service(kind[1], context, subject, who)
        else:
            self._incident(kind[1], context, subject, who)

    def _kind(self, context: Row, who: str) -> tuple[str, str] | None:
        """The subject and the predicate of an event that is to be taken; None, and counted, of others."""
        version = words(context, "version") or words(context, "specversion")
        given = _SPECIFICATION.fullmatch(version)
        if given is None or (int(given[1]), int(given[2])) not in _SPECIFICATIONS:
            raise DataError(f"{who}: is of specification {version!r}; known are 0.3 to 0.5")
        name = text(context, "type", who)
        found = _TYPE.fullmatch(name)
        taken = found is not None and found[2] in {"service": _DEPLOYS, "incident": _INCIDENTS}.get(found[1], set())
        if found is None or not taken:
            self._tally.add(f"{{}} event(s) of the type {_shown(name)} were left out")
            return None
        if (int(found[3]), int(found[4])) not in _TYPES:
            self._tally.add(f"{{}} event(s) of the type {_shown(name)} are of a version that is not known, left out")
            return None
        return found[1], found[2]

    def _service(self, predicate: str, context: Row, subject: Row, who: str) -> None:
        content = mapping(subject, "content", who)
        environment = text(mapping(content, "environment", f"{who}: content"), "id", f"{who}: environment")
        if not self._wanted.takes(environment):
            self._tally.add("{} deployment(s) to environments that were not asked for")
            return
        at, number = moment(context, "timestamp", who), text(context, "id", who)
        key = f"cdevents:{text(context, 'source', who)}:{number}"
        one = Deployment(
            key,
            self._wanted.service or text(subject, "id", f"{who}: subject"),
            environment,
            at,
            at,
            sha=words(content, "artifactId") or None,
            kind="rollback" if predicate == "rolledback" else "normal",
        )
        known = self._deployments.setdefault(key, (one, _causes(context)))[0]
        if known != one:
            raise differing(known, one)
        self._of_context[number] = key

    def _incident(self, predicate: str, context: Row, subject: Row, who: str) -> None:
        content = mapping(subject, "content", who)
        environment = text(mapping(content, "environment", f"{who}: content"), "id", f"{who}: environment")
        service = content.get("service")
        name = self._wanted.service or (words(service, "id") if isinstance(service, Mapping) else "")
        if environment not in self._incident_places:
            places = ", ".join(sorted(self._incident_places))
            self._tally.add(f"{{}} event(s) of incidents elsewhere than in {places}; --environment names others")
            return
        if not name:
            self._tally.add("{} event(s) of incidents name no service and were left out; --service gives one")
            return
        source = words(subject, "source") or text(context, "source", who)
        key = f"cdevents:{source}:{text(subject, 'id', f'{who}: subject')}"
        number = text(context, "id", who)
        told = _Told(
            predicate, moment(context, "timestamp", who), name, words(content, "description") or None, _causes(context)
        )
        known = self._incidents.setdefault(key, {}).setdefault(number, told)
        if known != told:
            raise DataError(f"{who} is given twice with different content\n  first:  {known}\n  second: {told}")
        self._of_context[number] = key

    def taken(self) -> Taken:
        """Return the events of all payloads, and what was left out; raises DataError where they make none."""
        tally = Tally(self._tally.counts.copy())
        return Taken(tuple(self._made(tally)), tally.notes)

    def _made(self, tally: Tally) -> Iterator[Event]:
        for one, causes in self._deployments.values():
            cause = self._cause(causes, self._incidents)
            yield one if cause is None else replace(one, caused_by=cause, planned=False)
        for key, told in self._incidents.items():
            rows = sorted(told.values(), key=lambda row: (row.at, row.predicate == "resolved"))
            opening = [row for row in rows if row.predicate != "resolved"]
            if not opening:
                tally.add("{} incident(s) were resolved, and nothing says when they were opened: left out")
                continue
            resolved = [row.at for row in rows if row.predicate == "resolved"]
            over = bool(resolved) and opening[0].at <= resolved[-1]  # else it makes no sense, and is refused
            again = over and any(row.predicate == "detected" and row.at > resolved[-1] for row in rows)
            named = tuple(cause for row in rows for cause in row.causes)
            yield Incident(
                key,
                opening[0].service,
                opening[0].at,
                resolved[-1] if resolved and not again else None,
                self._cause(named, self._deployments),
                opening[0].description,
            )

    def _cause(self, contexts: tuple[str, ...], among: Mapping[str, object]) -> str | None:
        """The first named event that is one of ``among``."""
        keys = (self._of_context.get(context, "") for context in contexts)
        return next((key for key in keys if key in among), None)


def _causes(context: Row) -> tuple[str, ...]:
    links = context.get("links")
    found = []
    for link in links if isinstance(links, list) else ():
        target = link.get("target") if isinstance(link, Mapping) else None
        if isinstance(target, Mapping) and link.get("linkType") == "RELATION" and link.get("linkKind") in _CAUSES:
            found.append(words(target, "contextId"))
    return tuple(found)


def _shown(name: str) -> str:
    """A type as it may stand in a message, without braces, which a count is put between."""
    return re.sub(r"[^\w.+-]", "?", name)[:80]
