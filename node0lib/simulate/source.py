"""The embedded node as an SLI source: good and total events from whole days of minutes.

Promise: the same answers, wherever the minutes lie. ``DayColumns`` computes; whoever inherits says where a day's
columns come from: ``EmbeddedSource`` makes them in memory when asked, ``shell.history.History`` reads them from
Parquet. A minute that nobody has is a gap (NaN, coverage < 1), never zero.

Minute m covers (60 m, 60 (m + 1)] seconds since the epoch; instants are floored to the minute. A latency threshold
must be a bucket bound, so that shares and "p95 at or under the threshold" are exact.

>>> from node0lib.simulate.service import POLICY
>>> from node0lib.timespan import parse_instant
>>> now = parse_instant("2026-11-24T12:00:00Z")
>>> source = embedded_source(EmbeddedNode(seed=7), POLICY, now, timedelta(hours=2))
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30), stream="api")
>>> source.counts(api, timedelta(hours=1), now).coverage, source.counts(api, timedelta(hours=4), now).coverage
(1.0, 0.5)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from node0lib.errors import ConfigError, DataError
from node0lib.ports import Policy
from node0lib.simulate.service import EPOCH, EmbeddedNode, minute_of
from node0lib.simulate.streams import STREAMS, Minutes, bound_column, bound_index, column
from node0lib.sli.series import Counts, Floats, GoodTotal
from node0lib.slo.objective import Objective
from node0lib.timespan import Span

MINUTE, DAY_MINUTES = timedelta(minutes=1), 1440


class DayColumns:
    """An SliSource over whole days of minutes; whoever inherits says where a day's columns come from."""

    name = "embedded node"
    simulated = True
    warnings: tuple[str, ...] = ()
    """What a server warned of; there is none here."""

    def day_columns(self, day: int, names: Sequence[str]) -> Mapping[str, Floats] | None:
        """Return columns (1440,) of a day since the epoch, NaN where nobody observed; None without the day."""
        raise NotImplementedError

    def counts(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        """Return the events of the window that ends at ``at``, floored to the minute.

        Raises ConfigError for an objective that the node has no stream or bucket bound for; a store that cannot be
        read is ``Counts.nothing`` with the reason.
        """
        _columns_of(slo)
        try:
            good, total = self._good_total(slo, minute_of(at), whole_minutes(window, "window"))
        except DataError as error:
            return Counts.nothing(str(error))
        seen = np.isfinite(total)
        if not seen.any():
            return Counts.nothing(f"{slo.name}: the embedded node has no minutes in this window")
        return Counts(float(good[seen].sum()), float(total[seen].sum()), float(seen.mean()))

    def series(self, slo: Objective, span: Span, step: timedelta) -> GoodTotal:
        """Return buckets of ``step`` over the span, its ends floored to the minute; raises DataError, ConfigError.

        A bucket is NaN if none of its minutes was observed; it sums those that were.
        """
        end, minutes = minute_of(span.end), whole_minutes(step, "step")
        n, rest = divmod(end - minute_of(span.start), minutes)
        if rest or n < 1:
            raise DataError(f"{slo.name}: a span of {span.length} is not a whole number of steps of {step}")
        if slo.kind == "timeslice" and minutes % whole_minutes(slo.slice, "slice"):
            raise ConfigError(f"{slo.name}: the step {step} is not a multiple of the slice {slo.slice}")
        good, total = (_sums(values, n) for values in self._good_total(slo, end, n * minutes))
        return GoodTotal(EPOCH + (end - n * minutes) * MINUTE, step, good, total)

    def _good_total(self, slo: Objective, end: int, minutes: int) -> tuple[Floats, Floats]:
        """Return good and total of each minute (or slice) of the ``minutes`` before minute ``end``."""
        names = _columns_of(slo)
        if slo.kind != "timeslice":
            return self._read(names, end - minutes, minutes)
        size = whole_minutes(slo.slice, "slice")
        slices = max(1, minutes // size)
        fast, total = (_sums(v, slices) for v in self._read(names, end - slices * size, slices * size))
        quantile = slo.quantile if slo.quantile is not None else 0.95
        # q * total of integers may miss its true value by the last bit; a slice must not fail for that.
        met = (fast >= quantile * total * (1.0 - 1e-12)) & (total > 0)
        return np.where(np.isfinite(total), met, np.nan), np.where(np.isfinite(total), total > 0, np.nan)

    def _read(self, names: tuple[str, str], first: int, n: int) -> tuple[Floats, Floats]:
        """Return two columns (n,) from minute ``first`` on."""
        found = np.full((2, n), np.nan)
        for day in range(first // DAY_MINUTES, (first + n - 1) // DAY_MINUTES + 1):
            columns = self.day_columns(day, names)
            if columns is None:
                continue
            start = day * DAY_MINUTES
            low, high = max(first, start), min(first + n, start + DAY_MINUTES)
            for row, name in enumerate(names):
                found[row, low - first : high - first] = columns[name][low - start : high - start]
        return found[0], found[1]


def _columns_of(slo: Objective) -> tuple[str, str]:
    """Return the columns of good and total events; raises ConfigError if the node has none for this SLO."""
    if slo.kind == "invariant" or slo.stream not in STREAMS:
        known = ", ".join(STREAMS)
        raise ConfigError(
            f"slos.{slo.name}: the embedded node has no stream {slo.stream!r} for a {slo.kind} objective; "
            f"set stream to one of {known}, or read this SLO from elsewhere"
        )
    total = f"{slo.stream}:total"
    if slo.kind == "ratio":
        return f"{slo.stream}:good", total
    if slo.threshold_s is None:
        raise ConfigError(f"slos.{slo.name}: a {slo.kind} objective needs threshold_s")
    try:
        return bound_column(slo.stream, bound_index(slo.threshold_s)), total
    except ConfigError as error:
        raise ConfigError(f"slos.{slo.name}.threshold_s: {error}") from error


def whole_minutes(length: timedelta, what: str) -> int:
    """Return a duration in minutes; raises ConfigError, naming ``what``, if it is not a whole number of them."""
    minutes, rest = divmod(length, MINUTE)
    if rest or minutes < 1:
        raise ConfigError(
            f"the {what} {length} is not a whole number of minutes; the embedded node counts minutes"
        )
    return minutes


def _sums(values: Floats, n: int) -> Floats:
    """Return sums (n,) over equal buckets; NaN only where all of a bucket is."""
    table = values.reshape(n, -1)
    return np.where(np.isfinite(table).any(axis=1), np.nansum(table, axis=1), np.nan)


@dataclass
class EmbeddedSource(DayColumns):
    """The node's minutes (first..end-1) under one policy, made when somebody asks; nothing is stored."""

    node: EmbeddedNode
    policy: Policy
    first: int
    end: int
    _days: dict[int, Minutes] = field(default_factory=dict, repr=False)

    def day_columns(self, day: int, names: Sequence[str]) -> Mapping[str, Floats] | None:
        """Return columns (1440,) of a day, NaN outside first..end-1."""
        start = max(day * DAY_MINUTES, self.first)
        n = min((day + 1) * DAY_MINUTES, self.end) - start
        if n < 1:
            return None
        if day not in self._days:
            self._days[day] = self.node.minutes(EPOCH + start * MINUTE, n, self.policy)
        rows = np.arange(start % DAY_MINUTES, start % DAY_MINUTES + n)
        return {name: spread(column(self._days[day], name), rows) for name in names}


def embedded_source(node: EmbeddedNode, policy: Policy, at: datetime, history: timedelta) -> EmbeddedSource:
    """Return what the node showed in the ``history`` before ``at``, had ``policy`` been live all the while."""
    end = minute_of(at)
    return EmbeddedSource(node, policy, end - whole_minutes(history, "history"), end)


def spread(values: NDArray[np.int32] | NDArray[np.int64], rows: NDArray[np.int64]) -> Floats:
    """Return a whole day (1440,) with ``values`` at ``rows``."""
    day = np.full(DAY_MINUTES, np.nan)
    day[rows] = values
    return day
