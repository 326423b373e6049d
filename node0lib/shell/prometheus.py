"""Real telemetry: good and total events read from any server that speaks the HTTP API of Prometheus.

What an objective needs, by role in ``Objective.queries`` (``$window`` is replaced by the range):

========== ================== ===============================================================================
kind       role               good of total
========== ================== ===============================================================================
ratio      good and total     one number each, evaluated where the window ends
latency    buckets            the bucket whose bound is exactly the threshold, of the +Inf bucket
timeslice  buckets            slices with count(<= threshold) >= quantile * total, of the slices with traffic
invariant  gauge              samples at or above the minimum, of the samples, one a minute
========== ================== ===============================================================================

Promises: PromQL's numbers are reported as they are, never rounded, extrapolated or filled in. A window that cannot be
read is ``Counts.nothing`` with the reason, so a cycle degrades to "no data"; a series that cannot be read raises.
Coverage is the share of instants at which the total answered a finite number: for slices and samples their own
instants, else up to 360 over the window, each looking back two scrapes at least, so shorter gaps are not seen.

>>> expand("sum(increase(http_requests_total[$window]))", timedelta(hours=1))
'sum(increase(http_requests_total[1h]))'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import TracebackType

import httpx
import numpy as np

from node0lib.errors import ConfigError, DataError
from node0lib.shell.promanswer import Grid, Lines, Reader
from node0lib.shell.promendpoint import Endpoint
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.sli.series import Counts, Floats, GoodTotal
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, ensure_utc, format_duration

__all__ = ["Endpoint", "PrometheusSource", "ReadError", "expand"]

COVERAGE_POINTS = 360
SAMPLE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_ROLES = {
    "ratio": ("good", "total"),
    "latency": ("buckets",),
    "timeslice": ("buckets",),
    "invariant": ("gauge",),
}
_NUMBERS = {"latency": ("threshold_s",), "timeslice": ("threshold_s", "quantile"), "invariant": ("minimum",)}
Pair = tuple[Floats, Floats]
Read = Callable[[str], Lines]


def expand(query: str, window: timedelta) -> str:
    """Return the PromQL with ``$window`` replaced."""
    return query.replace("$window", format_duration(window))


class PrometheusSource:
    """An ``SliSource`` over HTTP. ``name`` never holds credentials; ``warnings`` is what the server warned of."""

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
                good, total = self._pair(slo, step, lambda query: self._reader.range(query, grid), count)
            else:
                unit = _unit(slo, step)
                per = _whole(step, unit, "the step")
                units = self._units(slo, unit, Grid.ending(span.end, unit, count * per))
                good, total = _grouped(*units, per)
        except DataError as error:
            raise DataError(f"{slo.name}: {error}") from None
        seen = np.isfinite(good) & np.isfinite(total)
        return GoodTotal(span.start, step, np.where(seen, good, np.nan), np.where(seen, total, np.nan))

    def _increase(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        good, total = self._pair(slo, window, lambda query: self._instant(query, at), 1)
        numbers = float(good[0]), float(total[0])
        if not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise ReadError(f"good is {numbers[0]} and total {numbers[1]}; both must be finite and not negative")
        return Counts(*numbers, self._coverage(slo, window, at))

    def _instant(self, query: str, at: datetime) -> Lines:
        lines = self._reader.instant(query, at)
        if not lines:
            raise ReadError("no series; check the metric's name, and start its counters at 0")
        return lines

    def _pair(self, slo: Objective, window: timedelta, read: Read, count: int) -> Pair:
        """Good and total of a ratio or latency objective, each of shape (count,)."""
        if slo.kind == "latency":
            return _within(_asked(slo, "buckets", window, read), slo, count)
        good, total = (_single(_asked(slo, role, window, read), role, count) for role in _ROLES["ratio"])
        return good, total

    def _sampled(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        """Counts of an objective whose events are slices or samples."""
        unit = _unit(slo, window)
        grid = Grid.ending(at, unit, _whole(window, unit, "the window"))
        good, total = self._units(slo, unit, grid)
        seen = np.isfinite(total)
        if not seen.any():
            unit_text = format_duration(unit)
            raise ReadError(f"queries.{_ROLES[slo.kind][0]}: nothing was observed in any {unit_text} of the window")
        return Counts(float(good[seen].sum()), float(total[seen].sum()), float(seen.mean()))

    def _units(self, slo: Objective, unit: timedelta, grid: Grid) -> Pair:
        """Per slice or sample: good 0 or 1, total 0 (no traffic) or 1, NaN where nothing was observed."""
        role = _ROLES[slo.kind][0]
        lines = _asked(slo, role, unit, lambda query: self._reader.range(query, grid))
        if slo.kind == "timeslice":
            return _slices(*_within(lines, slo, grid.count), slo.quantile or 0.0)
        gauge = _single(lines, role, grid.count)
        seen = np.isfinite(gauge)
        return np.where(seen, gauge >= (slo.minimum or 0.0), np.nan), np.where(seen, 1.0, np.nan)

    def _coverage(self, slo: Objective, window: timedelta, at: datetime) -> float:
        """Observed share of the window, in [0, 1]; asked once for a query, window and instant."""
        role = _ROLES[slo.kind][-1]
        key = (slo.queries[role], window, at)
        if key not in self._covered:
            grid, reach = _coverage_grid(window, at, self._endpoint.scrape_interval)
            lines = _asked(slo, role, reach, lambda query: self._reader.range(query, grid))
            total = _within(lines, slo, grid.count)[1] if role == "buckets" else _single(lines, role, grid.count)
            self._covered[key] = float(np.isfinite(total).sum()) / grid.count
        return self._covered[key]


def _complete(slo: Objective) -> None:
    """Raise ConfigError if the objective lacks a query or a number that its kind needs."""
    for role in _ROLES[slo.kind]:
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


def _asked(slo: Objective, role: str, window: timedelta, read: Read) -> Lines:
    """Evaluate the role's query; raises ReadError, naming the role."""
    try:
        return read(expand(slo.queries[role], window))
    except ReadError as error:
        raise ReadError(f"queries.{role}: {error}", down=error.down) from None


def _single(lines: Lines, role: str, count: int) -> Floats:
    """The only line, or NaN of shape (count,) without any; raises ReadError if there are several."""
    if len(lines) > 1:
        wrap = "min()" if role == "gauge" else "sum()"
        raise ReadError(f"queries.{role}: {len(lines)} series where one is needed; wrap it in {wrap}")
    return next(iter(lines.values()), np.full(count, np.nan))


def _within(lines: Lines, slo: Objective, count: int) -> Pair:
    """Counts at or under the threshold, and all; raises ReadError if either bucket is not there."""
    if not lines:
        return np.full(count, np.nan), np.full(count, np.nan)
    bounds = _by_bound(lines)
    if math.inf not in bounds:
        raise ReadError('queries.buckets: no bucket le="+Inf"; it must be a histogram\'s, summed by (le)')
    threshold = slo.threshold_s if slo.threshold_s is not None else math.nan
    if threshold not in bounds:
        below = max((b for b in bounds if b < threshold), default=0.0)
        above = min(b for b in bounds if not b < threshold)
        raise ReadError(
            f"queries.buckets: the threshold of {threshold:g} s is no bucket bound; it lies between {below:g} and "
            f"{above:g}. Set it to a bound, or add one to the histogram"
        )
    return bounds[threshold], bounds[math.inf]


def _by_bound(lines: Lines) -> Mapping[float, Floats]:
    """Buckets by their bound in seconds; "1" and "1.0", which Prometheus 2 keeps apart, are one bound.

    Raises ReadError if a label besides ``le`` tells series apart, or an ``le`` is no number.
    """
    if len({tuple(pair for pair in labels if pair[0] != "le") for labels in lines}) > 1:
        raise ReadError("queries.buckets: several series for one bound; wrap it in sum by (le) (…)")
    bounds: dict[float, Floats] = {}
    for labels, line in lines.items():
        text = dict(labels).get("le", "")
        try:
            bound = float(text)
        except ValueError:
            raise ReadError(f"queries.buckets: le is {text[:30]!r}, no number; wrap it in sum by (le) (…)") from None
        bounds[bound] = _plus(bounds[bound], line) if bound in bounds else line
    return bounds


def _plus(one: Floats, other: Floats) -> Floats:
    """The sum, where one of the two is missing the other."""
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, one + other))


def _slices(under: Floats, total: Floats, quantile: float) -> Pair:
    """Judge each slice: 1 of 1 if its quantile meets the bound, 0 of 0 without traffic, NaN if not observed."""
    seen = np.isfinite(under) & np.isfinite(total)
    traffic = seen & (total > 0)
    good = traffic & (under >= quantile * total)
    return np.where(seen, good, np.nan), np.where(seen, traffic, np.nan)


def _grouped(good: Floats, total: Floats, per: int) -> Pair:
    """Sum groups of ``per``; NaN where none of a group was observed."""
    seen = np.isfinite(total).reshape(-1, per).any(axis=1)
    sums = (np.nansum(values.reshape(-1, per), axis=1) for values in (good, total))
    first, second = (np.where(seen, values, np.nan) for values in sums)
    return first, second


def _coverage_grid(window: timedelta, at: datetime, scrape: timedelta) -> tuple[Grid, timedelta]:
    """Instants over the window and how far each looks back: its own step, but two scrapes at least.

    An ``increase`` needs two samples, so a range of one scrape would call a healthy server silent.
    """
    fine = 10 if window < 5 * SAMPLE else COVERAGE_POINTS
    step = window / fine if window < 5 * SAMPLE else max(scrape, window / fine)
    millis = max(1, math.ceil(step / _MILLISECOND))
    step = min(window, millis * _MILLISECOND)
    return Grid.ending(at, step, window // step), min(window, max(step, 2 * scrape))
