"""What every source of payloads has in common: reading a key strictly, and accounting for what was not taken.

- A key that must be there and is not, or holds something else than it should, is a DataError that names the record.
- Times are read as the source writes them, but never without a zone.
- Whatever is left out is counted under a reason, and told: nothing vanishes silently.

>>> moment({"closed_at": "2021-04-28 21:50:00 +0200"}, "closed_at", "issue 7").isoformat()
'2021-04-28T19:50:00+00:00'
>>> tally = Tally()
>>> tally.add("{} deployment(s) have not finished"); tally.notes
('1 deployment(s) have not finished',)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from node0lib.dora.events import Event
from node0lib.errors import DataError
from node0lib.timespan import parse_instant

Row = Mapping[str, Any]
_BLANK_ZONE = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)")
_CAUSE = r"\bcaused[ -]by[ :]+(?:the +)?{} *[#!:]?(\d+)\b"
_CAUSING_DEPLOYMENT = re.compile(_CAUSE.format("deployment"), re.IGNORECASE)
_CAUSING_INCIDENT = re.compile(_CAUSE.format("(?:incident|issue)"), re.IGNORECASE)


@dataclass(frozen=True)
class Taken:
    """The events of a source, and what a reader must know of them."""

    events: tuple[Event, ...]
    notes: tuple[str, ...]


class Collector(Protocol):
    """Takes payloads one at a time, in any order; whoever has given all of them asks for the events."""

    def take(self, row: Row) -> None:
        """Take a payload; raises DataError if it lacks what its kind must have."""

    def taken(self) -> Taken:
        """Return the events of all payloads; raises DataError where they make none."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source: ``service`` for all records (None: as they say), ``environments`` (empty: all)."""

    service: str | None = None
    environments: frozenset[str] = frozenset()

    def takes(self, environment: str) -> bool:
        """Whether deployments to that environment are asked for."""
        return not self.environments or environment in self.environments


@dataclass
class Tally:
    """How often something was left out or supposed, by sentences that hold a {} for the number."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, sentence: str, count: int = 1) -> None:
        """Count it."""
        self.counts[sentence] += count

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences that apply, in the order in which they first did."""
        return tuple(sentence.format(count) for sentence, count in self.counts.items() if count)


def text(row: Row, key: str, who: str) -> str:
    """Return a text that must be there; a whole number is its digits. Raises DataError."""
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{who}: {key} is {value!r}, and should be a text that is not empty")
    return value


def words(row: Row, key: str) -> str:
    """Return a text that may be missing or null as ""."""
    value = row.get(key)
    return value if isinstance(value, str) else ""


def mapping(row: Row, key: str, who: str) -> Row:
    """Return an object that must be there; raises DataError."""
    value = row.get(key)
    if not isinstance(value, Mapping):
        raise DataError(f"{who}: {key} is {value!r}, and should be an object")
    return value


def moment(row: Row, key: str, who: str) -> datetime:
    """Return a time that must be there; raises DataError if it is missing, malformed or without a zone."""
    found = maybe(row, key, who)
    if found is None:
        raise DataError(f"{who}: says nothing of {key}")
    return found


def maybe(row: Row, key: str, who: str) -> datetime | None:
    """Return a time, None where it is missing or null; raises DataError if it is malformed or without a zone."""
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{who}: {key} is {value!r}, not a time")
    try:
        return parse_instant(_BLANK_ZONE.sub("", value.strip().removesuffix(" UTC") + ("Z" if " UTC" in value else "")))
    except DataError as error:
        raise DataError(f"{who}: {key}: {error}") from error


def labels(row: Row) -> frozenset[str]:
    """Return the names of a record's labels, which are texts or objects with a name (title), in small letters."""
    given = row.get("labels")
    found = [_label(one) for one in given] if isinstance(given, list) else []
    return frozenset(name.casefold() for name in found if name)


def _label(one: object) -> str:
    if isinstance(one, Mapping):
        return words(one, "name") or words(one, "title")
    return one if isinstance(one, str) else ""


def causing_deployment(texts: Collection[str]) -> frozenset[str]:
    """Return the numbers of the deployments that the texts say something was "caused by deployment N" of."""
    return frozenset(match for one in texts for match in _CAUSING_DEPLOYMENT.findall(one))


def causing_incident(texts: Collection[str]) -> frozenset[str]:
    """Return the numbers of the incidents that the texts name as "caused by incident N", or issue."""
    return frozenset(match for one in texts for match in _CAUSING_INCIDENT.findall(one))
