"""All events as columns: what the metrics are computed from, a million deployments in about 100 MB.

Promise: the same events in whatever order, and however often, give the same numbers. Deployments lie in the order in
which they finished (then started, then by name), incidents in the order in which they were opened. ``caused_by`` is
followed to its end: an incident is linked to the deployment that it names, or that the incident it names is linked to.
A link to something that is not here is kept as such (``UNKNOWN``) and counted; the time rule never overrides a link.

Times are int64 microseconds since 1970 UTC: ``NONE`` where not known, ``NEVER`` for an incident that is open.

>>> when = datetime(2026, 1, 5, 12, tzinfo=UTC)
>>> history = History.of([Deployment("d1", "shop", "production", when, when), Incident("i1", "shop", when)])
>>> history.services, len(history.finished), int(history.link[0]) == UNLINKED
(('shop',), 1, True)
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from node0lib.dora.events import (
    KINDS,
    OUTCOMES,
    Change,
    Deployment,
    Event,
    Incident,
    Key,
    cause_of,
    check_circles,
    differing,
    not_after,
)
from node0lib.dora.names import Names

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NONE, NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
UNLINKED, UNKNOWN = -1, -2
NORMAL, HOTFIX, RETRY, ROLLBACK = range(len(KINDS))
SUCCEEDED, FAILED, ROLLED_BACK = range(len(OUTCOMES))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Return microseconds since 1970 of an aware time."""
    return (time - _EPOCH) // _MICRO


def instant(at: int) -> datetime:
    """Return the UTC time of microseconds since 1970."""
    return _EPOCH + int(at) * _MICRO


@dataclass(frozen=True)
class History:
    """Columns of n deployments, m changes of them and k incidents; see the module for order and special values.

    ``service`` and ``environment`` (n,) are places in ``services`` and ``environments``; ``outcome`` and ``kind`` are
    places in OUTCOMES and KINDS; ``sha`` and ``change_sha`` are codes of one list, -1 for none. ``cause`` (n,) and
    ``link`` (k,) are the place of an incident, of a deployment, UNLINKED or UNKNOWN. ``owner`` (m,) is the place of the
    deployment that brought a change, rising.
    """

    services: tuple[str, ...]
    environments: tuple[str, ...]
    service: Ints
    environment: Ints
    started: Ints
    finished: Ints
    outcome: Ints
    kind: Ints
    planned: Bools
    sha: Ints
    cause: Ints
    owner: Ints
    change_sha: Ints
    committed: Ints
    authored: Ints
    proposed: Ints
    merged: Ints
    incident_service: Ints
    opened: Ints
    resolved: Ints
    link: Ints

    @classmethod
    def of(cls, events: Iterable[Event], now: datetime | None = None) -> History:
        """Return the columns of events in any order; raises DataError as ``events.merge`` does."""
        builder = Builder(now)
        for event in events:
            builder.add(event)
        return builder.history()


class _Columns:
    """Numbers of events or changes, a flat array for each kind of number; ``types`` are those of ``array``."""

    def __init__(self, types: str) -> None:
        self._arrays = [array(kind) for kind in types]

    def __len__(self) -> int:
        return len(self._arrays[0])

    def append(self, *values: int) -> None:
        """Add a row."""
        for one, value in zip(self._arrays, values, strict=True):
            one.append(value)

    def row(self, place: int) -> list[int]:
        """Return a row."""
        return [one[place] for one in self._arrays]

    def column(self, number: int, order: Ints | None = None) -> Ints:
        """Return a column, in an order if one is given."""
        # The view is never kept: an array that is looked at cannot grow.
        view = np.frombuffer(self._arrays[number], self._arrays[number].typecode) if len(self) else np.empty(0)
        return (view if order is None else view[order]).astype(np.int64)


@dataclass
class _Side:
    """The rows of one kind of event as they came in: an event's row is the number of its name; links are few."""

    rows: _Columns
    ids: Names = field(default_factory=Names)
    links: dict[int, str] = field(default_factory=dict)


class Builder:
    """Takes events one at a time and keeps numbers, not objects: a stream of millions fits in memory."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now
        self._services, self._environments, self._shas, self._causes = Names(), Names(), Names(), Names()
        # service, environment, sha, started, finished, outcome, kind, planned; service, cause, opened, resolved
        self._deployments, self._incidents = _Side(_Columns("iiiqqbbb")), _Side(_Columns("iiqq"))
        self._changes = _Columns("iqqqq")
        self._ends = array("q", [0])

    def add(self, event: Event) -> None:
        """Take an event; raises DataError if it lies in the future or differs from a known one of its name."""
        not_after(event, self._now)
        side = self._deployments if isinstance(event, Deployment) else self._incidents
        row = side.ids(event.id)
        if row < len(side.rows):
            known = self._deployment(event.id, row) if isinstance(event, Deployment) else self._incident(event.id, row)
            if known != event:
                raise differing(known, event)
            return
        if event.caused_by is not None:
            side.links[row] = event.caused_by
        if isinstance(event, Deployment):
            self._add_deployment(event)
        else:
            what = self._services(event.service), self._causes(event.cause)
            side.rows.append(*what, micros(event.opened_at), _end(event.resolved_at))

    def _add_deployment(self, one: Deployment) -> None:
        where = self._services(one.service), self._environments(one.environment), self._shas(one.sha)
        when = micros(one.started_at), micros(one.finished_at)
        what = OUTCOMES.index(one.outcome), KINDS.index(one.kind), int(bool(one.planned))
        self._deployments.rows.append(*where, *when, *what)
        for change in one.changes:
            times = (change.committed_at, change.authored_at, change.opened_at, change.merged_at)
            self._changes.append(self._shas(change.sha), *(NONE if time is None else micros(time) for time in times))
        self._ends.append(len(self._changes))

    def _deployment(self, id: str, row: int) -> Deployment:
        """A deployment as it was given, for comparison."""
        service, env, sha, start, end, outcome, kind, planned = self._deployments.rows.row(row)
        changes = tuple(self._change(at) for at in range(self._ends[row], self._ends[row + 1]))
        return Deployment(
            id,
            str(self._services[service]),
            str(self._environments[env]),
            instant(start),
            instant(end),
            outcome=OUTCOMES[outcome],
            sha=self._shas[sha],
            changes=changes,
            planned=bool(planned),
            kind=KINDS[kind],
            caused_by=self._deployments.links.get(row),
        )

    def _change(self, row: int) -> Change:
        sha, *times = self._changes.row(row)
        return Change(str(self._shas[sha]), *(None if time == NONE else instant(time) for time in times))

    def _incident(self, id: str, row: int) -> Incident:
        service, cause, opened, resolved = self._incidents.rows.row(row)
        end = None if resolved == NEVER else instant(resolved)
        link = self._incidents.links.get(row)
        return Incident(id, str(self._services[service]), instant(opened), end, link, self._causes[cause])

    def history(self) -> History:
        """Return the columns of what was taken so far; raises DataError if ``caused_by`` goes in a circle."""
        services, service_places = self._services.sorted()
        environments, environment_places = self._environments.sorted()
        d, i, c = self._deployments.rows, self._incidents.rows, self._changes
        d_order = _ordered(self._deployments.ids, d.column(4), d.column(3))
        i_order = _ordered(self._incidents.ids, i.column(2), i.column(3))
        cause, link = self._linked(d_order, i_order)
        ends = np.array(self._ends, np.int64)
        owners = np.repeat(_inverse(d_order), ends[1:] - ends[:-1])
        c_order = np.lexsort((c.column(0), owners))
        return History(
            services,
            environments,
            service_places[d.column(0, d_order)],
            environment_places[d.column(1, d_order)],
            *(d.column(3, d_order), d.column(4, d_order), d.column(5, d_order), d.column(6, d_order)),
            *(d.column(7, d_order).astype(bool), d.column(2, d_order), cause),
            *(owners[c_order], c.column(0, c_order), c.column(1, c_order), c.column(2, c_order)),
            *(c.column(3, c_order), c.column(4, c_order)),
            *(service_places[i.column(0, i_order)], i.column(2, i_order), i.column(3, i_order), link),
        )

    def _linked(self, d_order: Ints, i_order: Ints) -> tuple[Ints, Ints]:
        """For each deployment the incident that caused it, for each incident the deployment that did."""
        d, i = self._deployments, self._incidents
        links = self._links()
        check_circles(links)
        d_place, i_place = _inverse(d_order), _inverse(i_order)
        cause, link = np.full(len(d_order), UNLINKED), np.full(len(i_order), UNLINKED)
        for row in d.links:
            found = cause_of(("deployment", str(d.ids[row])), links)
            cause[row] = UNKNOWN if found is None else i_place[i.ids.find(found[1])]
        for row in i.links:
            target = _origin(("incident", str(i.ids[row])), links)
            link[row] = target if isinstance(target, int) else d_place[d.ids.find(target)]
        return cause[d_order], link[i_order]

    def _links(self) -> dict[Key, str | None]:
        """What the events that name a cause name, and the events that are named."""
        sides = {"deployment": self._deployments, "incident": self._incidents}
        named = {to for side in sides.values() for to in side.links.values()}
        links: dict[Key, str | None] = {
            (kind, name): None for kind, side in sides.items() for name in named if side.ids.find(name) is not None
        }
        for kind, side in sides.items():
            links.update({(kind, str(side.ids[row])): to for row, to in side.links.items()})
        return links


def _origin(node: Key, links: dict[Key, str | None]) -> str | int:
    """Follow an incident from cause to cause to the name of the deployment at the beginning; or UNLINKED, UNKNOWN."""
    while True:
        given, found = links[node] is not None, cause_of(node, links)
        if found is None:
            return UNKNOWN if given else UNLINKED
        if found[0] == "deployment":
            return found[1]
        node = found


def _ordered(ids: Names, first: Ints, second: Ints) -> Ints:
    """The order by two times and, where they tie, by name."""
    order: Ints = np.lexsort((second, first))
    same = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
    edges = np.flatnonzero(np.diff(np.concatenate(([0], same, [0]))))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        order[start : end + 1] = sorted(order[start : end + 1].tolist(), key=lambda row: str(ids[row]))
    return order


def _inverse(order: Ints) -> Ints:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _end(time: datetime | None) -> int:
    return NEVER if time is None else micros(time)
