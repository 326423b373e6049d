"""Real telemetry: good and total events read from any server that speaks the HTTP API of Prometheus.

What an objective needs, by role in ``Objective.queries`` (``$window`` is replaced by the range):

========== ================== ===============================================================================
kind       role               good of total
========== ================== ===============================================================================
ratio      good and total     one number each, evaluated where the window ends
ratio      bad and total      the same; good is total - bad, and 0 (a clamp, counted) where bad is above total
latency    buckets            at or under the threshold, of all; within bounds where no bucket bound lies there
timeslice  buckets            slices with count(<= threshold) >= quantile * total, of the slices with traffic
invariant  gauge              samples at or above the minimum, of the samples, one a minute
========== ================== ===============================================================================

``buckets`` answers classic buckets, summed by ``le``, or one native histogram, as in ``sum(increase(x[$window]))``.

The server's own semantics hold: a range is closed in Prometheus 2 and left-open in 3, and VictoriaMetrics does not
extrapolate; so the same history gives slightly different numbers in each, and each time they are that server's.

Promises: PromQL's numbers are reported as they are, never rounded, extrapolated or filled in, with one exception: where
``bad`` answers no series although ``total`` does, there were no bad events as far as anybody counted, and the counts
carry a note (an error series is often born with the first error; a wrong name looks the same). A window that cannot be
read is ``Counts.nothing`` with the reason, so a cycle degrades to "no data"; a series that cannot be read raises.
Coverage is the share of instants at which the total answered a finite number: for slices and samples their own
instants, else up to 360 over the window, each looking back two scrapes at least, so shorter gaps are not seen.

>>> expand("sum(increase(http_requests_total[$window]))", timedelta(hours=1))
'sum(increase(http_requests_total[1h]))'
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType

import httpx
import numpy as np

from node0lib.errors import ConfigError, DataError
from node0lib.shell.promanswer import Answer, Grid, Reader, Reading
from node0lib.shell.promendpoint import Endpoint
from node0lib.shell.promevents import Events, at_or_under, exact, of_bad, single
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.sli.series import Counts, GoodTotal
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, ensure_utc, format_duration

__all__ = ["Endpoint", "PrometheusSource", "ReadError", "expand"]

COVERAGE_POINTS = 360
SAMPLE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBERS = {"latency": ("threshold_s",), "timeslice": ("threshold_s", "quantile"), "invariant": ("minimum",)}
Read = Callable[[str, Reading], Answer]
"""Evaluates a query in one way or another: at an instant, or over a grid."""


def expand(query: str, window: timedelta) -> str:
    """Return the PromQL with ``$window`` replaced."""
    return query.replace("$window", format_duration(window))


class PrometheusSource:
    """An ``SliSource`` over HTTP. ``name`` never holds credentials; ``warnings`` and ``infos`` are the server's own."""

    simulated: bool = False

    def __init__(self, endpoint: Endpoint, *, client: httpx.Client | None = None) -> None:
        """Read the credentials from the environment; no request is sent. Raises ConfigError."""
        self.name = f"prometheus at {endpoint.address}"
        self._endpoint = endpoint
        self._transport = Transport(endpoint, client)
        self._reader = Reader(self._transport)
        self._covered: dict[tuple[str, timedelta, datetime], float] = {}

    def __enter__(self) -> PrometheusSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PrometheusSource {self.name}>"

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server warned of so far (a partial answer, say), each text once."""
        return tuple(self._reader.warnings)

    @property
    def infos(self) -> tuple[str, ...]:
        """What the server remarked on the queries so far (Prometheus 3: "metric might not be a counter", say)."""
        return tuple(self._reader.infos)

    def counts(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        """Events of (at - window, at]; a failed read is ``Counts.nothing(problem)``.

        Raises ConfigError if the objective lacks what its kind needs, DataError if ``at`` is naive.
        """
        _complete(slo)
        at = ensure_utc(at)
        try:
            if slo.kind in {"ratio", "latency"}:
                return self._increase(slo, window, at)
            return self._sampled(slo, window, at)
        except DataError as error:
            return Counts.nothing(f"{slo.name}: {error}")

    def series(self, slo: Objective, span: Span, step: timedelta) -> GoodTotal:
        """Buckets of ``step`` over the span, NaN where nothing was observed.

        Raises DataError if a read fails or the span is not whole steps, ConfigError as ``counts`` does.
        """
        _complete(slo)
        count = _whole(span.length, step, "the span")
        try:
            if slo.kind in {"ratio", "latency"}:
                grid = Grid.ending(span.end, step, count)
                events = self._events(slo, step, lambda query, how: self._reader.range(query, grid, how), count)
            else:
                unit = _unit(slo, step)
                per = _whole(step, unit, "the step")
                events = self._units(slo, unit, Grid.ending(span.end, unit, count * per)).grouped(per)
        except DataError as error:
            raise DataError(f"{slo.name}: {error}") from None
        good, total = (np.where(events.seen, values, np.nan) for values in (events.good, events.total))
        return GoodTotal(span.start, step, good, total, events.clamped)

    def _increase(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        events = self._events(slo, window, lambda query, how: self._instant(query, at, how), 1)
        good, most, total = (float(values[0]) for values in (events.good, events.most, events.total))
        if not all(math.isfinite(n) and n >= 0 for n in (good, total)):
            raise ReadError(f"good is {good} and total {total}; both must be finite and not negative")
        return Counts(good, total, self._coverage(slo, window, at), None, events.clamped, most, events.note)

    def _instant(self, query: str, at: datetime, how: Reading) -> Answer:
        answer = self._reader.instant(query, at, how)
        if math.isnan(how.absent) and not (answer.lines or answer.natives):
            raise ReadError(f"no series; check the metric's name, and start its counters at 0{answer.warned}")
        return answer

    def _events(self, slo: Objective, window: timedelta, read: Read, count: int) -> Events:
        """Events of a ratio or latency objective, of shape (count,)."""
        if slo.kind == "latency":
            return _under(slo, window, read, count)
        role, absent = ("bad", 0.0) if "bad" in slo.queries else ("good", math.nan)
        answer = _asked(slo, role, window, read, absent=absent)
        counted = single(answer, role, count, absent)
        total = single(_asked(slo, "total", window, read), "total", count)
        return of_bad(counted, total, missing=not answer.lines) if role == "bad" else exact(counted, total)

    def _sampled(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        """Counts of an objective whose events are slices or samples."""
        unit = _unit(slo, window)
        events = self._units(slo, unit, Grid.ending(at, unit, _whole(window, unit, "the window")))
        seen = np.isfinite(events.total)
        if not seen.any():
            unit_text = format_duration(unit)
            raise ReadError(f"queries.{_roles(slo)[0]}: nothing was observed in any {unit_text} of the window")
        good, most, total = (float(values[seen].sum()) for values in (events.good, events.most, events.total))
        return Counts(good, total, float(seen.mean()), None, events.clamped, most, events.note)

    def _units(self, slo: Objective, unit: timedelta, grid: Grid) -> Events:
        """Per slice or sample: good 0 or 1, total 0 (no traffic) or 1, NaN where nothing was observed."""

        def read(query: str, how: Reading) -> Answer:
            return self._reader.range(query, grid, how)

        if slo.kind == "timeslice":
            return _under(slo, unit, read, grid.count).slices(slo.quantile or 0.0)
        gauge = single(_asked(slo, "gauge", unit, read), "gauge", grid.count)
        seen = np.isfinite(gauge)
        return exact(np.where(seen, gauge >= (slo.minimum or 0.0), np.nan), np.where(seen, 1.0, np.nan))

    def _coverage(self, slo: Objective, window: timedelta, at: datetime) -> float:
        """Observed share of the window, in [0, 1]; asked once for a query, window and instant."""
        role = _roles(slo)[-1]
        key = (slo.queries[role], window, at)
        if key not in self._covered:
            grid, reach = _coverage_grid(window, at, self._endpoint.scrape_interval)

            def read(query: str, how: Reading) -> Answer:
                return self._reader.range(query, grid, how)

            if role == "buckets":
                total = _under(slo, reach, read, grid.count).total
            else:
                total = single(_asked(slo, role, reach, read), role, grid.count)
            self._covered[key] = float(np.isfinite(total).sum()) / grid.count
        return self._covered[key]


def _roles(slo: Objective) -> tuple[str, ...]:
    """The roles whose queries are asked; raises ConfigError if a ratio has both good and bad."""
    if slo.kind != "ratio":
        return ("gauge",) if slo.kind == "invariant" else ("buckets",)
    if {"good", "bad"} <= set(slo.queries):
        raise ConfigError(f"slos.{slo.name}: queries.good and queries.bad say the same twice; keep one of them")
    return "bad" if "bad" in slo.queries else "good", "total"


def _complete(slo: Objective) -> None:
    """Raise ConfigError if the objective lacks a query or a number that its kind needs."""
    for role in _roles(slo):
        query = slo.queries.get(role, "")
        if not query.strip():
            raise ConfigError(f"slos.{slo.name}: a {slo.kind} objective needs queries.{role}, in PromQL")
        if "$window" not in query and role != "gauge":
            raise ConfigError(f"slos.{slo.name}.queries.{role}: write $window where the range goes, as in [$window]")
    for field in _NUMBERS.get(slo.kind, ()):
        if getattr(slo, field) is None:
            raise ConfigError(f"slos.{slo.name}: a {slo.kind} objective needs {field}")


def _unit(slo: Objective, most: timedelta) -> timedelta:
    """The length of a slice, or the distance of samples: a minute, or less where less is asked for."""
    return slo.slice if slo.kind == "timeslice" else min(SAMPLE, most)


def _whole(length: timedelta, part: timedelta, what: str) -> int:
    """Return how many parts the length has; raises DataError if it is not a whole number of at least 1."""
    if part <= timedelta(0) or length < part or length % part:
        raise DataError(f"{what} of {length} is not a whole number of {part}; choose a multiple")
    return length // part


def _asked(slo: Objective, role: str, window: timedelta, read: Read, *, absent: float = math.nan) -> Answer:
    """Evaluate the role's query; raises ReadError, naming the role."""
    threshold = slo.threshold_s if role == "buckets" else None
    try:
        return read(expand(slo.queries[role], window), Reading(threshold, absent))
    except ReadError as error:
        raise ReadError(f"queries.{role}: {error}", down=error.down) from None


def _under(slo: Objective, window: timedelta, read: Read, count: int) -> Events:
    """Events at or under the threshold, of shape (count,)."""
    return at_or_under(_asked(slo, "buckets", window, read), slo.threshold_s or 0.0, count)


def _coverage_grid(window: timedelta, at: datetime, scrape: timedelta) -> tuple[Grid, timedelta]:
    """Instants over the window and how far each looks back: its own step, but two scrapes at least.

    An ``increase`` needs two samples, so a range of one scrape would call a healthy server silent.
    """
    fine = 10 if window < 5 * SAMPLE else COVERAGE_POINTS
    step = window / fine if window < 5 * SAMPLE else max(scrape, window / fine)
    millis = max(1, math.ceil(step / _MILLISECOND))
    step = min(window, millis * _MILLISECOND)
    return Grid.ending(at, step, window // step), min(window, max(step, 2 * scrape))
