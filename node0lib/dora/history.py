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


class _Names:
    """Texts as small numbers, in the order of their first appearance."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []

    def __call__(self, text: str | None) -> int:
        if text is None:
            return -1
        code = self._codes.setdefault(text, len(self._texts))
        if code == len(self._texts):
            self._texts.append(text)
        return code

    def __getitem__(self, code: int) -> str | None:
        return None if code < 0 else self._texts[code]

    def sorted(self) -> tuple[tuple[str, ...], Ints]:
        """The texts in their own order, and for each code the place of its text there."""
        names = self._texts
        order = sorted(range(len(names)), key=names.__getitem__)
        places = np.empty(len(names), np.int64)
        places[order] = np.arange(len(names))
        return tuple(names[place] for place in order), places


@dataclass
class _Side:
    """The rows of one kind of event as they came in: numbers in flat arrays, identities, links."""

    ids: dict[str, int] = field(default_factory=dict)
    links: list[str | None] = field(default_factory=list)
    rows: array[int] = field(default_factory=lambda: array("q"))


_D, _C, _I = 8, 6, 4  # numbers kept of a deployment, a change, an incident


class Builder:
    """Takes events one at a time and keeps numbers, not objects: a stream of millions fits in memory."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now
        self._services, self._environments, self._shas, self._causes = _Names(), _Names(), _Names(), _Names()
        self._deployments, self._incidents = _Side(), _Side()
        self._changes = array("q")
        self._ends = array("q", [0])

    def add(self, event: Event) -> None:
        """Take an event; raises DataError if it lies in the future or differs from a known one of its name."""
        not_after(event, self._now)
        side = self._deployments if isinstance(event, Deployment) else self._incidents
        row = side.ids.setdefault(event.id, len(side.ids))
        if row < len(side.links):
            known = self._deployment(event.id, row) if isinstance(event, Deployment) else self._incident(event.id, row)
            if known != event:
                raise differing(known, event)
            return
        side.links.append(event.caused_by)
        if isinstance(event, Deployment):
            self._add_deployment(event)
        else:
            values = (self._services(event.service), micros(event.opened_at))
            side.rows.extend((*values, _end(event.resolved_at), self._causes(event.cause)))

    def _add_deployment(self, one: Deployment) -> None:
        where = self._services(one.service), self._environments(one.environment)
        when = micros(one.started_at), micros(one.finished_at)
        what = OUTCOMES.index(one.outcome), KINDS.index(one.kind), int(bool(one.planned)), self._shas(one.sha)
        self._deployments.rows.extend((*where, *when, *what))
        for change in one.changes:
            times = (change.committed_at, change.authored_at, change.opened_at, change.merged_at)
            own = len(self._deployments.links) - 1, self._shas(change.sha)
            self._changes.extend((*own, *(NONE if time is None else micros(time) for time in times)))
        self._ends.append(len(self._changes) // _C)

    def _deployment(self, id: str, row: int) -> Deployment:
        """A deployment as it was given, for comparison."""
        service, env, start, end, outcome, kind, planned, sha = self._deployments.rows[row * _D : row * _D + _D]
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
            caused_by=self._deployments.links[row],
        )

    def _change(self, row: int) -> Change:
        _, sha, *times = self._changes[row * _C : row * _C + _C]
        return Change(str(self._shas[sha]), *(None if time == NONE else instant(time) for time in times))

    def _incident(self, id: str, row: int) -> Incident:
        service, opened, resolved, cause = self._incidents.rows[row * _I : row * _I + _I]
        end = None if resolved == NEVER else instant(resolved)
        link = self._incidents.links[row]
        return Incident(id, str(self._services[service]), instant(opened), end, link, self._causes[cause])

    def history(self) -> History:
        """Return the columns of what was taken so far; raises DataError if ``caused_by`` goes in a circle."""
        services, service_places = self._services.sorted()
        environments, environment_places = self._environments.sorted()
        d, i = _table(self._deployments.rows, _D), _table(self._incidents.rows, _I)
        c = _table(self._changes, _C)
        d_order = _ordered(self._deployments.ids, d[3], d[2])
        i_order = _ordered(self._incidents.ids, i[1], i[2])
        cause, link = self._linked(d_order, i_order)
        owners = _inverse(d_order)[c[0]]
        c_order = np.lexsort((c[1], owners))
        d, i, c = d[:, d_order], i[:, i_order], c[:, c_order]
        return History(
            services,
            environments,
            service_places[d[0]],
            environment_places[d[1]],
            *(d[2], d[3], d[4], d[5], d[6].astype(bool), d[7], cause),
            *(owners[c_order], c[1], c[2], c[3], c[4], c[5]),
            *(service_places[i[0]], i[1], i[2], link),
        )

    def _linked(self, d_order: Ints, i_order: Ints) -> tuple[Ints, Ints]:
        """For each deployment the incident that caused it, for each incident the deployment that did."""
        d, i = self._deployments, self._incidents
        links: dict[Key, str | None] = {("deployment", name): to for name, to in zip(d.ids, d.links, strict=True)}
        links.update({("incident", name): to for name, to in zip(i.ids, i.links, strict=True)})
        check_circles(links)
        d_place, i_place = _inverse(d_order), _inverse(i_order)
        cause, link = np.full(len(d_order), UNLINKED), np.full(len(i_order), UNLINKED)
        for name, row in d.ids.items():
            if d.links[row] is not None:
                found = cause_of(("deployment", name), links)
                cause[row] = UNKNOWN if found is None else i_place[i.ids[found[1]]]
        for name, row in i.ids.items():
            if i.links[row] is not None:
                link[row] = _origin(("incident", name), links, d, d_place)
        return cause[d_order], link[i_order]


def _origin(node: Key, links: dict[Key, str | None], deployments: _Side, places: Ints) -> int:
    """Follow an incident from cause to cause to the deployment at the beginning."""
    while True:
        given, found = links[node] is not None, cause_of(node, links)
        if found is None:
            return UNKNOWN if given else UNLINKED
        if found[0] == "deployment":
            return int(places[deployments.ids[found[1]]])
        node = found


def _table(flat: array[int], width: int) -> Ints:
    return np.array(flat, dtype=np.int64).reshape(-1, width).T if len(flat) else np.empty((width, 0), np.int64)


def _ordered(ids: dict[str, int], first: Ints, second: Ints) -> Ints:
    """The order by two times and, where they tie, by name."""
    names = np.empty(len(ids), np.int64)
    names[[ids[name] for name in sorted(ids)]] = np.arange(len(ids))
    order: Ints = np.lexsort((names, second, first))
    return order


def _inverse(order: Ints) -> Ints:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _end(time: datetime | None) -> int:
    return NEVER if time is None else micros(time)
