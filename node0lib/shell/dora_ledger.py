"""The account of events that are written to one file: each name once, what changed in its place, what leads nowhere.

Of what was written it keeps digests, and only what was linked: memory grows with the number of events, not their size.

>>> import io
>>> from node0lib.dora.events import Incident
>>> from node0lib.timespan import parse_instant
>>> when = parse_instant("2026-01-05T12:00:00Z")
>>> ledger = Ledger(io.StringIO(), None, replace=False)
>>> ledger.add(Incident("i1", "shop", when, caused_by="d1"))
>>> ledger.closed().unlinked
(('incident i1', 'd1'),)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from node0lib.dora.events import (
    Event,
    Key,
    check_circles,
    check_service,
    differing,
    event_line,
    event_type,
    goes_on,
    parse_event,
)

_KINDS = ("deployment", "incident")


@dataclass(frozen=True)
class Appended:
    """How many events were new, how many were there already, and how many open incidents were resolved.

    ``replaced`` are the names of the events that gave way to others, ``unlinked`` those of events whose ``caused_by``
    is not in the file, with what it says.
    """

    new: int
    known: int
    resolved: int = 0
    replaced: tuple[str, ...] = ()
    unlinked: tuple[tuple[str, str], ...] = ()


class Ledger:
    """Writes events to a file, each name once: of what was written it keeps digests, and only what was linked."""

    def __init__(self, file: IO[str], declared: frozenset[str] | None, *, replace: bool) -> None:
        self._file, self._declared, self._replace = file, declared, replace
        self._seen: dict[bytes, bytes] = {}
        self._given: set[bytes] = set()
        self._links: dict[Key, str] = {}
        self._instead: dict[Key, Event] = {}
        self._replaced: list[Key] = []
        self._new = self._known = self._resolved = 0

    def keep(self, event: Event, gone: frozenset[Key]) -> None:
        """Take over an event of the file that was there, or leave it out."""
        key = (event_type(event), event.id)
        if key in gone:
            self._replaced.append(key)
            return
        name = _digest("\0".join(key))
        known = self._seen.get(name)
        if known is None:
            self._write(key, name, event)
        elif known != _digest(event_line(event)):
            raise differing(self._found(key), event)

    def add(self, event: Event) -> None:
        """Take an event that is given now."""
        key = (event_type(event), event.id)
        name = _digest("\0".join(key))
        known = self._seen.get(name)
        if known is None:
            self._new += 1
            self._given.add(name)
            self._write(key, name, event)
        elif known == _digest(event_line(event)):
            self._known += 1
        else:
            self._change(key, name, event)

    def _write(self, key: Key, name: bytes, event: Event) -> None:
        check_service(event, self._declared)
        line = event_line(event)
        self._seen[name] = _digest(line)
        self._link(key, event)
        self._file.write(line + "\n")

    def _link(self, key: Key, event: Event) -> None:
        self._links.pop(key, None)
        if event.caused_by is not None:
            self._links[key] = event.caused_by

    def _change(self, key: Key, name: bytes, event: Event) -> None:
        """An event that differs from what was written under its name: it has gone on, gives way, or is refused."""
        known, given = self._found(key), name in self._given
        if not given and goes_on(event, known):  # an older export, from when it was open
            self._known += 1
            return
        if given or not (self._replace or goes_on(known, event)):
            raise differing(known, event)
        check_service(event, self._declared)
        if goes_on(known, event):
            self._resolved += 1
        else:
            self._replaced.append(key)
        self._seen[name] = _digest(event_line(event))
        self._given.add(name)
        self._instead[key] = event
        self._link(key, event)

    def _found(self, key: Key) -> Event:
        """The event of that name among those written: looked for only when there is something to complain about."""
        if key in self._instead:
            return self._instead[key]
        self._file.seek(0)
        written = (parse_event(json.loads(line)) for line in iter(self._file.readline, ""))
        found = next(event for event in written if (event_type(event), event.id) == key)
        self._file.seek(0, os.SEEK_END)
        return found

    def closed(self) -> Appended:
        """Check the causes, put what has changed into its place, and return the account."""
        check_circles({**dict.fromkeys(self._targets()), **self._links})
        if self._instead:
            self._rewrite()
        replaced = tuple(" ".join(key) for key in self._replaced)
        return Appended(self._new, self._known, self._resolved, replaced, tuple(self._unlinked()))

    def _targets(self) -> Iterator[Key]:
        """What the links lead to, as far as it is here."""
        for target in self._links.values():
            yield from (key for kind in _KINDS if self._holds(key := (kind, target)))

    def _holds(self, key: Key) -> bool:
        return _digest("\0".join(key)) in self._seen

    def _unlinked(self) -> Iterator[tuple[str, str]]:
        """The links that lead to nothing here; a deployment's leads to an incident."""
        for key, target in self._links.items():
            kinds = _KINDS[1:] if key[0] == "deployment" else _KINDS
            if not any(self._holds((kind, target)) for kind in kinds):
                yield " ".join(key), target

    def _rewrite(self) -> None:
        """The same events in the same order, with those that have changed; through a file, not through the memory."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as copy:
            self._file.seek(0)
            shutil.copyfileobj(self._file, copy)
            copy.seek(0)
            self._file.seek(0)
            self._file.truncate()
            for line in copy:
                event = parse_event(json.loads(line))
                event = self._instead.get((event_type(event), event.id), event)
                self._file.write(event_line(event) + "\n")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
