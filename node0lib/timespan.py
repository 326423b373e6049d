"""Durations, half-open UTC spans, and the calendar's periods.

A span is (start, end]: left-open, as Prometheus 3 reads a range. Naive datetimes are refused.
Durations use the Prometheus grammar: a sequence of integer and unit, units from large to small.

A calendar's periods begin at midnight on the wall of its zone, so a day may have 23 or 25 hours. They are left-open
too: midnight itself is the last instant of the period that it ends. Where a clock is set forward over midnight a
period begins at that instant; where midnight comes twice, at the first. Weeks begin on Monday (ISO 8601).

>>> parse_duration("1h30m")
datetime.timedelta(seconds=5400)
>>> format_duration(parse_duration("30d"))
'30d'
>>> march = Calendar("month", "Europe/Berlin").period(parse_instant("2026-03-30T00:00:00+02:00"))
>>> march.whole.length / timedelta(hours=1)  # of 31 days one has 23 hours
743.0
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from node0lib.errors import ConfigError, DataError

Unit = Literal["week", "month", "quarter", "year"]
NOMINAL: Mapping[Unit, timedelta] = {
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=91),
    "year": timedelta(days=365),
}
"""What a calendar's period is reckoned as where its true length does not matter (which alerts are asked, say)."""

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
    """Return ``moment`` in UTC; raises DataError if it is naive, or beyond the years 1 to 9999 there."""
    if moment.tzinfo is None:
        raise DataError(f"{moment.isoformat()} has no time zone; write it with Z or an offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise DataError(f"{moment.isoformat()} lies outside the years 1 to 9999 in UTC; write another year") from error


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


def zone_of(name: str) -> tzinfo:
    """Return the zone of an IANA name such as Europe/Berlin; raises ConfigError if this machine knows none."""
    if name == "UTC":  # needs no database, which Windows has not
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        text = f"{name!r} is no time zone known here; write an IANA name such as Europe/Berlin, or UTC"
        raise ConfigError(f"{text} (on a machine without zone files install the package tzdata)") from error


@dataclass(frozen=True)
class Period:
    """One period of a calendar at an instant: what has passed of it, and all of it; both begin together."""

    so_far: Span
    whole: Span


@dataclass(frozen=True)
class Calendar:
    """Periods of the calendar in a zone; raises ConfigError if this machine does not know the zone."""

    unit: Unit
    zone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.zone)

    @property
    def nominal(self) -> timedelta:
        """The length that the period is reckoned as: 7, 30, 91 or 365 days."""
        return NOMINAL[self.unit]

    def period(self, at: datetime) -> Period:
        """Return the period that ``at`` lies in; at exactly a period's start that is the whole one before.

        Raises DataError in the years 1 and 9999, at whose far ends the calendar stops.
        """
        at, zone = ensure_utc(at), zone_of(self.zone)
        try:
            first = self._first_day(at.astimezone(zone).date())
            # A clock that is set back over midnight shows the day before once more, so look beyond both neighbours.
            bounds = [_midnight(self._moved(first, n), zone) for n in (-1, 0, 1, 2)]
        except (OverflowError, ValueError) as error:
            raise DataError(f"{at.isoformat()} is too near the calendar's end for a {self.unit}") from error
        n = sum(bound < at for bound in bounds)
        return Period(Span(bounds[n - 1], at), Span(bounds[n - 1], bounds[n]))

    def _first_day(self, day: date) -> date:
        if self.unit == "week":
            return day - timedelta(days=day.weekday())
        months = _MONTHS[self.unit]
        return date(day.year, (day.month - 1) // months * months + 1, 1)

    def _moved(self, first: date, periods: int) -> date:
        if self.unit == "week":
            return first + periods * timedelta(days=7)
        years, month = divmod(first.month - 1 + periods * _MONTHS[self.unit], 12)
        return date(first.year + years, month + 1, 1)


_MONTHS: Mapping[Unit, int] = {"month": 1, "quarter": 3, "year": 12}


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
