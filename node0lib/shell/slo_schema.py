"""The shape of an SLO in ``slo.yaml``, and of what is said of several: maintenance and composites.

Rules
- A window is a duration, which rolls, or a unit of the calendar, whose periods begin in ``time_zone`` (UTC).
- A ratio has ``total`` and one of ``good`` and ``bad``. Every query must be PromQL, with ``$window`` for the range.
- Times are ISO 8601 with an offset, in whole minutes. Weights are relative to each other.

>>> shop = {"name": "shop", "kind": "ratio", "objective": 0.99, "window": "month", "stream": "api"}
>>> SloModel.model_validate(shop).objective_value().calendar
Calendar(unit='month', zone='UTC')
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from node0lib.errors import ConfigError, DataError
from node0lib.shell.schema import (
    STRICTLY,
    Contradictions,
    Duration,
    Inner,
    Model,
    Name,
    Query,
    Seconds,
    Text,
    duration,
)
from node0lib.slo.catalogue import Composite
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.objective import Kind, Objective
from node0lib.slo.promql import flaw
from node0lib.timespan import Calendar, Unit, parse_instant, zone_of

UNITS: tuple[Unit, ...] = get_args(Unit)


def _window(value: object) -> timedelta | Unit:
    for unit in UNITS:
        if value == unit:
            return unit
    try:
        return duration(value)
    except ValueError as error:
        calendar = f", or {', '.join(UNITS)} for the calendar's" if "is not a duration" in str(error) else ""
        raise ValueError(f"{error}{calendar}") from None


def _zone(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("{value} is not a time zone; write an IANA name such as Europe/Berlin, or UTC")
    try:
        zone_of(value)
    except ConfigError as error:
        raise ValueError(str(error).replace(repr(value), "{value}")) from None
    return value


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("{value} is not an ISO 8601 time such as 2026-11-24T22:00:00+01:00")
    try:
        return parse_instant(value)
    except DataError as error:
        raise ValueError(str(error)) from None


Window = Annotated[timedelta | Unit, BeforeValidator(_window)]
Zone = Annotated[str, BeforeValidator(_zone)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Weight = Annotated[float, Field(ge=0.001, le=1000)]
Role = Literal["good", "total", "bad", "buckets", "gauge"]


class SloModel(Model):
    """One of ``slos:``."""

    name: Name = Field(examples=["api_availability"])
    kind: Kind = Field(examples=["ratio"])
    objective: Inner = Field(examples=["0.999"])
    window: Window = Field(examples=["30d"])
    time_zone: Zone = "UTC"
    description: Text = ""
    stream: Literal["api", "alpha", "mcp_llm", "mcp_tools", "agent", "coordination"] | None = None
    queries: dict[Role, Query] = {}
    threshold: Seconds | None = None
    quantile: Inner | None = None
    slice: Duration = timedelta(minutes=1)
    minimum: float | None = None

    @property
    def calendar(self) -> Calendar | None:
        """The calendar of the window; None where it rolls."""
        return None if isinstance(self.window, timedelta) else Calendar(self.window, self.time_zone)

    @property
    def length(self) -> timedelta:
        """The window's length, of a calendar's the nominal one."""
        return self.window if isinstance(self.window, timedelta) else Calendar(self.window).nominal

    def objective_value(self) -> Objective:
        """Return the frozen SLO."""
        renamed = {**self.given(), "threshold_s": self.threshold, "window": self.length, "calendar": self.calendar}
        return Objective(**{name: value for name, value in renamed.items() if name not in ("threshold", "time_zone")})

    def contradictions(self) -> Contradictions:
        """Yield what the kind needs and has not, or has and does not need."""
        yield from self._bounds()
        yield from self._period()
        yield from self._fields()
        yield from self._slices()
        yield from self._source()

    def _bounds(self) -> Contradictions:
        if self.kind == "invariant" and self.objective != 1:
            yield ("objective",), f"{self.objective:g} must be 1: an invariant has no budget; set minimum instead"
        if self.kind != "invariant" and self.objective == 1:
            yield ("objective",), STRICTLY.replace("{value}", "1") + "; only an invariant promises everything"
        if self.quantile == 1:
            yield ("quantile",), "1 must lie strictly between 0 and 1; write the 95th percentile as 0.95"

    def _period(self) -> Contradictions:
        if self.calendar is None and "time_zone" in self.model_fields_set:
            yield ("time_zone",), f"has no meaning for a window that rolls; remove it, or write {', '.join(UNITS)}"
        if self.calendar is not None and self.kind == "invariant":
            yield ("window",), f"{self.window}: an invariant is judged continuously; write how long to look back: 1h"

    def _fields(self) -> Contradictions:
        needed, examples = NEEDS[self.kind], {"threshold": "50ms", "quantile": "0.95", "minimum": "100"}
        an = "an" if self.kind == "invariant" else "a"
        for name, example in examples.items():
            if name in needed and getattr(self, name) is None:
                yield (name,), f"is missing: {an} {self.kind} objective needs it; add for example {name}: {example}"
        for name in sorted({*examples, "slice"} - set(needed)):
            if name in self.model_fields_set:
                yield (name,), f"has no meaning for {an} {self.kind} objective; remove it, or change the kind"

    def _slices(self) -> Contradictions:
        if self.kind != "timeslice":
            return
        if self.slice >= self.length:
            yield ("slice",), "must be shorter than the window; 1m is usual"
        elif self.length % self.slice:
            yield ("slice",), "must divide the window into whole slices; 1m is usual"

    def _source(self) -> Contradictions:
        roles = ROLES[self.kind]
        for role in self.queries:
            if role not in (*roles, *INSTEAD.get(self.kind, {})):
                yield ("queries", role), f"is not asked for: kind {self.kind} has {told_roles(self.kind)}; remove it"
        yield from self._texts()
        if self.kind == "invariant" and self.stream is not None:
            yield ("stream",), "the embedded node has no stream for an invariant; remove it"
        there = {INSTEAD.get(self.kind, {}).get(role, role) for role in self.queries}
        missing = [role for role in roles if role not in there]
        if missing and self.queries and self.kind != "invariant":
            needs = f"a {self.kind} objective needs {told_roles(self.kind)}"
            yield ("queries",), f"lacks {' and '.join(missing)}; {needs}"
        if not self.queries and self.stream is None and self.kind != "invariant":
            yield (), f"has no source; add stream, or queries with {told_roles(self.kind)}"

    def _texts(self) -> Contradictions:
        for role, query in self.queries.items():
            if role != "gauge" and "$window" not in query:
                yield ("queries", role), "must contain $window where the range goes, as in rate(x_total[$window])"
            elif wrong := flaw(query):
                yield ("queries", role), f"is not PromQL ({wrong}); correct it, and ask a server for it to be sure"
        good, bad, total = (" ".join(self.queries.get(role, "").split()) for role in ("good", "bad", "total"))
        if good and bad:
            yield ("queries", "bad"), "stands beside good, and one follows from the other; remove one of the two"
        if good and good == total:
            yield ("queries", "good"), "is the same as total, which is 100% good for ever; select the good events"
        if bad and bad == total:
            yield ("queries", "bad"), "is the same as total, which is 100% bad for ever; select the bad events"


NEEDS: dict[Kind, tuple[str, ...]] = {
    "ratio": (),
    "latency": ("threshold",),
    "timeslice": ("threshold", "quantile", "slice"),
    "invariant": ("minimum",),
}
"""Which numbers a kind of objective has."""
ROLES: dict[Kind, tuple[Role, ...]] = {
    "ratio": ("good", "total"),
    "latency": ("buckets",),
    "timeslice": ("buckets",),
    "invariant": ("gauge",),
}
"""Which queries a kind of objective has."""
INSTEAD: dict[Kind, dict[Role, Role]] = {"ratio": {"bad": "good"}}
"""Which query may stand for which other one."""


def told_roles(kind: Kind) -> str:
    """Return the queries of a kind in words: ``good and total (or bad for good)``."""
    instead = "".join(f" (or {role} for {other})" for role, other in INSTEAD.get(kind, {}).items())
    return " and ".join(ROLES[kind]) + instead


class MaintenanceModel(Model):
    """One of ``maintenance:``."""

    start: Instant = Field(examples=["2026-11-24T22:00:00+01:00"])
    end: Instant = Field(examples=["2026-11-25T02:00:00+01:00"])
    reason: Annotated[Text, Field(min_length=1)] = Field(examples=["the database moves"])
    slos: Annotated[list[Name], Field(min_length=1)] | None = None

    def maintenance_value(self) -> Maintenance:
        """Return the frozen maintenance."""
        return Maintenance(self.start, self.end, self.reason, None if self.slos is None else tuple(self.slos))

    def contradictions(self) -> Contradictions:
        """Yield an end that is not after the start, and times within a minute: the embedded node counts minutes."""
        if self.end <= self.start:
            yield ("end",), "must be after start"
        for name in ("start", "end"):
            moment: datetime = getattr(self, name)
            if moment.second or moment.microsecond:
                yield (name,), "must be a whole minute; widen it to the next one"


class CompositeModel(Model):
    """One of ``composites:``."""

    name: Name = Field(examples=["checkout"])
    description: Text = ""
    of: dict[Name, Weight] = Field(
        min_length=1, examples=["{api_availability: 3, agent_success_rate: 1}"]
    )

    def composite_value(self) -> Composite:
        """Return the frozen composite."""
        return Composite(self.name, self.of, self.description)
