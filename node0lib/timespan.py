"""Durations and half-open UTC spans.

A span is (start, end]: left-open, as Prometheus 3 reads a range. Naive datetimes are refused.
Durations use the Prometheus grammar: a sequence of integer and unit, units from large to small.

>>> parse_duration("1h30m")
datetime.timedelta(seconds=5400)
>>> format_duration(parse_duration("30d"))
'30d'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from node0lib.errors import ConfigError, DataError

_UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PATTERN = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def parse_duration(text: str) -> timedelta:
    """Return the duration that ``text`` names; raises ConfigError if it is malformed or zero."""
    match = _PATTERN.fullmatch(text) if text else None
    if match is None:
        raise ConfigError(f"{text!r} is not a duration; write for example 5m, 1h30m or 30d")
    millis = sum(int(n) * unit for n, unit in zip(match.groups(), _UNITS.values(), strict=True) if n)
    if millis == 0:
        raise ConfigError(f"the duration {text!r} is zero; it must be longer than 0")
    return timedelta(milliseconds=millis)


def format_duration(duration: timedelta) -> str:
    """Return the shortest exact text, the inverse of ``parse_duration``; weeks are written as days."""
    left = round(duration.total_seconds() * 1000)
    parts: list[str] = []
    for unit, size in list(_UNITS.items())[1:]:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def ensure_utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC; raises DataError if it is naive."""
    if moment.tzinfo is None:
        raise DataError(f"{moment.isoformat()} has no time zone; write it with Z or an offset")
    return moment.astimezone(UTC)


def parse_instant(text: str) -> datetime:
    """Return the UTC instant of an ISO 8601 text; raises DataError if malformed or naive."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r} is not an ISO 8601 time such as 2026-11-24T12:00:00Z") from error
    return ensure_utc(moment)


def format_instant(moment: datetime) -> str:
    """Return ISO 8601 with a Z, to the second or, where there are any, to the microsecond."""
    return ensure_utc(moment).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, order=True)
class Span:
    """The instants t with start < t <= end, both UTC; raises DataError if naive or empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", ensure_utc(self.start))
        object.__setattr__(self, "end", ensure_utc(self.end))
        if self.start >= self.end:
            raise DataError(f"the span ({self.start.isoformat()}, {self.end.isoformat()}] is empty")

    @classmethod
    def ending(cls, end: datetime, window: timedelta) -> Span:
        """Return the rolling window of that length that ends at ``end``."""
        return cls(end - window, end)

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def __contains__(self, moment: datetime) -> bool:
        return self.start < ensure_utc(moment) <= self.end
