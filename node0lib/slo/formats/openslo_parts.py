"""The parts of OpenSLO's objects, read strictly: indicators with their metric sources, and time windows.

Both versions become the same values. What v1alpha writes into an SLO (``ratioMetrics`` of an objective, ``source`` and
``queryType``), v1 writes into an indicator (``ratioMetric``, ``metricSource``).

Traps
- In v1 ``1m`` is a minute and ``1M`` a month: a calendar window of ``1m``, as OpenSLO's own example has it, is refused.
- ``isRolling`` may be left out; a window with a ``calendar`` is then one of the calendar's.
- A rolling month, quarter or year has no length of its own; it is read as 30, 91 or 365 days, and that is told.

Source: OpenSLO specification, README of OpenSLO/OpenSLO; OpenSLO/go-sdk, pkg/openslo/v1 and v1alpha.

>>> duration("1M"), duration("90"), duration("5m")
((1, 'M'), None, (5, 'm'))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import Account, Note
from node0lib.slo.formats.fields import Fields, Place
from node0lib.timespan import Calendar, Unit, format_duration

PROMETHEUS = (
    "prometheus", "promql", "thanos", "mimir", "cortex", "grafanamimir", "victoriametrics", "amazonprometheus", "gmp",
)  # fmt: skip
"""Types of sources that answer PromQL, in small letters."""
_SHORTHAND = re.compile(r"([1-9][0-9]{0,5})([mhdwMQY])")
_FIXED = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(days=7)}
_CALENDAR: Mapping[tuple[int, str], Unit] = {
    (1, "w"): "week", (7, "d"): "week", (1, "M"): "month", (1, "Q"): "quarter", (3, "M"): "quarter",
    (1, "Y"): "year", (12, "M"): "year", (4, "Q"): "year",
}  # fmt: skip
_ROLLING: Mapping[str, Unit] = {"M": "month", "Q": "quarter", "Y": "year"}
_ALPHA_UNITS = {"Second": "s", "Day": "d", "Week": "w", "Month": "M", "Quarter": "Q"}
LONGEST = timedelta(days=3660)


@dataclass(frozen=True)
class Metric:
    """One query of an indicator, and where it is asked; ``query`` is None where there is none in PromQL."""

    place: Place
    type: str
    source: str
    query: str | None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Indicator:
    """What is measured: ``metrics`` by role (good, bad, total; raw; threshold), ``left`` what is left out."""

    place: Place
    counter: bool = False
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    raw_type: str = ""
    left: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Window:
    """A rolling window, or the calendar's, whose nominal length is ``length``."""

    length: timedelta
    calendar: Calendar | None = None


def indicator(spec: Fields) -> Indicator:
    """Return an indicator of v1 from its spec, which is closed."""
    left: tuple[Note, ...] = ()
    if spec.text("description"):
        left = (Note(spec.place.below("description"), "left out", "description of the indicator: an SLO has its own"),)
    threshold, ratio = spec.mapping("thresholdMetric"), spec.mapping("ratioMetric")
    if (threshold is None) == (ratio is None):
        spec.wrong("needs either ratioMetric or thresholdMetric; write one of the two")
    spec.close()
    if threshold is not None:
        metrics = {"threshold": _metric(threshold)}
        return Indicator(spec.place, metrics=_there(metrics), left=left)
    return replace(_ratio(ratio), left=left) if ratio is not None else Indicator(spec.place)


def _ratio(ratio: Fields) -> Indicator:
    counter, raw_type = ratio.flag("counter"), ratio.text("rawType", known=("success", "failure"))
    asked = {role: ratio.mapping(role) for role in ("good", "bad", "total", "raw")}
    given = {role: fields for role, fields in asked.items() if fields is not None}
    if sorted(given) not in (["good", "total"], ["bad", "total"], ["raw"]):
        ratio.wrong(f"has {' and '.join(given) or 'no metric'}; write good and total, or bad and total, or raw alone")
    if "raw" in given and raw_type is None:
        ratio.wrong("is missing; write success (good / total) or failure (bad / total)", "rawType")
    metrics = {role: _metric(fields) for role, fields in given.items()}
    ratio.close()
    return Indicator(ratio.place, bool(counter), _there(metrics), raw_type or "")


def _there(metrics: Mapping[str, Metric | None]) -> Mapping[str, Metric]:
    return {role: metric for role, metric in metrics.items() if metric is not None}


def _metric(fields: Fields) -> Metric | None:
    source = fields.mapping("metricSource", needed="{type: Prometheus, spec: {query: …}}")
    fields.close()
    if source is None:
        return None
    ref, kind = source.text("metricSourceRef") or "", source.text("type") or ""
    spec = source.mapping("spec", needed="{query: …}")
    source.close()
    if spec is None:
        return None
    if not ref and not kind:
        source.wrong("is missing where no metricSourceRef names a DataSource; add type: Prometheus", "type")
    keys = [key for key in ("query", "promql") if spec.has(key)]
    query = spec.text(keys[0]) if keys and kind.lower().replace(" ", "") in (*PROMETHEUS, "") else None
    more = tuple(key for key in spec.written() if key not in keys)
    return Metric(source.place, kind, ref, query, more)


def alpha_metric(fields: Fields) -> Metric:
    """Return a metric of v1alpha, whose mapping is closed."""
    source = fields.text("source", needed="prometheus") or ""
    kind = fields.text("queryType", needed="promql") or ""
    query = fields.text("query", needed="sum(rate(x_total[{{.window}}]))")
    fields.close()
    return Metric(fields.place, source if kind.lower() == "promql" else f"{source} {kind}", "", query)


def duration(text: object) -> tuple[int, str] | None:
    """Return count and unit of a duration shorthand (12h, 4w, 1M), None if it is none."""
    match = _SHORTHAND.fullmatch(text) if isinstance(text, str) else None
    return (int(match[1]), match[2]) if match else None


def slice_of(fields: Fields) -> timedelta | None:
    """Return ``timeSliceWindow``: a shorthand, or a number of minutes."""
    found = fields.anything("timeSliceWindow")
    if found is None:
        return None
    minutes = isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < 1e6
    read = (1, "m") if minutes else duration(found)
    if read is None or read[1] not in _FIXED:
        fields.wrong(f"{str(found)[:60]!r} is no length of a slice; write for example 1m", "timeSliceWindow")
        return None
    return timedelta(minutes=float(str(found))) if minutes else read[0] * _FIXED[read[1]]


def window(spec: Fields, account: Account, *, alpha: bool) -> Window | None:
    """Return the time window; None if there is none, or it is malformed, or refused in the account."""
    key = "timeWindows" if alpha else "timeWindow"
    items = spec.items(key)
    if len(items) != 1:
        if spec.has(key):
            spec.wrong("must have exactly one item; node0, as OpenSLO, knows one window for an SLO", key)
        return None
    item = items[0]
    read = _alpha_length(item) if alpha else _length(item)
    rolling, calendar = item.flag("isRolling"), item.mapping("calendar")
    item.close()
    if rolling and calendar is not None:
        item.wrong("is true, and a calendar is given; write isRolling: false, or remove the calendar", "isRolling")
    if rolling is False and calendar is None:
        item.wrong("is false, so a calendar must be given; add calendar: {startTime: …, timeZone: …}", "isRolling")
    if calendar is not None:
        return _calendar(calendar, item, read, account)
    if read is None:
        return None
    if rolling is None:
        account.changed(item.place, "isRolling is not written: read as a rolling window")
    return _rolling(item, *read, account)


def _length(item: Fields) -> tuple[int, str] | None:
    text = item.text("duration", needed="4w")
    read = duration(text)
    if text is not None and read is None:
        item.wrong(
            f"{text[:60]!r} is no duration; write for example 30d, 4w or 1M (a month; 1m is a minute)", "duration"
        )
    return read


def _alpha_length(item: Fields) -> tuple[int, str] | None:
    unit = item.text("unit", needed="Day", known=tuple(_ALPHA_UNITS))
    count = item.number("count", needed="30")
    if count is not None and (count != int(count) or not 0 < count < 10**6):
        item.wrong(f"{count:g} is no whole number above 0", "count")
        return None
    return (int(count), _ALPHA_UNITS[unit]) if unit is not None and count is not None else None


def _rolling(item: Fields, count: int, unit: str, account: Account) -> Window | None:
    length = count * {**_FIXED, "s": timedelta(seconds=1)}.get(unit, timedelta(0))
    if unit in _ROLLING:
        length = count * Calendar(_ROLLING[unit]).nominal
        text = (
            f"window {count}{unit}: a rolling {_ROLLING[unit]} has no fixed length, read as {format_duration(length)}"
        )
        account.changed(item.place, text)
    else:
        account.kept(item.place, f"window {format_duration(length)}, rolling")
    if length > LONGEST:
        account.refused(item.place, f"the window {count}{unit} is longer than ten years")
    return Window(length)


def _calendar(fields: Fields, item: Fields, read: tuple[int, str] | None, account: Account) -> Window | None:
    start, zone = _start(fields), fields.text("timeZone", needed="Europe/Berlin")
    fields.close()
    if read is None or start is None or zone is None:
        return None
    unit = _CALENDAR.get(read)
    if unit is None:
        minute = " (1m is a minute in OpenSLO; a month is 1M)" if read[1] == "m" else ""
        text = f"window {read[0]}{read[1]} of the calendar: node0 has week, month, quarter and year{minute}"
        account.refused(item.place, text)
        return None
    try:
        calendar = Calendar(unit, zone)
    except ConfigError as error:
        fields.wrong(str(error), "timeZone")
        return None
    account.kept(item.place, f"window {unit} of the calendar in {zone}")
    if not _begins(start, unit):
        first = "on Monday" if unit == "week" else "on the first day"
        account.changed(fields.place.below("startTime"), f"startTime {start}: node0's {unit} begins {first} at 00:00")
    return Window(calendar.nominal, calendar)


def _start(fields: Fields) -> datetime | None:
    text = fields.text("startTime", needed="2022-01-01 00:00:00")
    try:
        # A wall clock's reading, in the zone that timeZone names: it is only looked at, never compared.
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S") if text else None  # noqa: DTZ007
    except ValueError:
        fields.wrong(f"{str(text)[:60]!r} is no date with time; write for example 2022-01-01 00:00:00", "startTime")
        return None


def _begins(start: datetime, unit: Unit) -> bool:
    """Whether node0's period begins there too."""
    if start.time() != datetime.min.time():
        return False
    if unit == "week":
        return start.weekday() == 0
    months = {"month": range(1, 13), "quarter": (1, 4, 7, 10), "year": (1,)}[unit]
    return start.day == 1 and start.month in months
