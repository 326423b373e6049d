"""Counters of both arms from a Prometheus, read together: one request, one instant, both arms.

Rules
- The queries are instant vectors of raw cumulative counters; node0 takes the differences itself, series by series. A
  counter that fell was restarted and counts from zero; a series that was never seen before counts from zero too; one
  that comes back after a gap counts from where it was.
- No data is never a figure. A query that answers nothing, NaN, a scrape older than ``STALE`` ticks, an answer that
  broke off or none at all: each is a DataError that says which.
- How old a scrape is, the server says by its own clock, and the same clock says whether a scrape lies after an instant
  of ours; so the two clocks need not agree.

A part of the combined query is marked by a label, since ``or`` keeps what differs in its labels:

>>> queries = Queries("r{arm='$arm'}", "e{arm='$arm'}", "b{arm='$arm'}")
>>> text = combined(queries)
>>> text.count(" or "), text.partition(" or ")[0]
(12, 'label_replace(vector(time()), "node0_part", "now", "", "")')
>>> grown({(): 7.0}, {(): 9.0}), grown({(): 7.0}, {(): 2.0}), grown({}, {(): 3.0})
({(): 2.0}, {(): 2.0}, {(): 3.0})
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import promql_parser

from node0lib.errors import DataError
from node0lib.ports import Arm, Baseline, Clock
from node0lib.shell.promanswer import Answer, Grid, Labels, Lines, Reader
from node0lib.shell.promendpoint import Endpoint, verified_client
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.sli.histogram import Histogram
from node0lib.sli.series import Floats

Which = Literal["stable", "canary"]
Role = Literal["requests", "errors", "buckets"]
ARMS: tuple[Which, ...] = ("stable", "canary")
ROLES: tuple[Role, ...] = ("requests", "errors", "buckets")
Series = Mapping[Labels, float]
STALE = 5
"""A newest scrape may be that many ticks old."""
_PART = "node0_part"
_INSTEAD = {
    "requests": "is it scraped, and does the query fit?",
    "errors": "let the service begin its counter at 0, or write `... or vector(0)` if nothing is no errors",
    "buckets": "is it scraped, and is it a classic histogram?",
}


@dataclass(frozen=True)
class Queries:
    """PromQL of one arm's raw cumulative counters, ``$arm`` standing for stable or canary."""

    requests: str
    errors: str
    buckets: str

    def of(self, role: Role, arm: Which) -> str:
        """Return the query of a role and an arm."""
        text: str = getattr(self, role)
        return text.replace("$arm", arm)


def selectors(query: str) -> tuple[str, ...]:
    """Return the selectors that a query reads, as PromQL; raises ValueError if it is none, or reads a range.

    >>> selectors("sum by (le) (x_bucket{job='a'}) or vector(0)")
    ('x_bucket{job="a"}',)
    """
    found: list[str] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
            raise ValueError("it reads a range")
        if isinstance(node, promql_parser.VectorSelector):
            found.append(str(node))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return tuple(dict.fromkeys(found))


def combined(queries: Queries) -> str:
    """Return the one query that answers all parts of both arms, the instants of their scrapes, and the server's now."""
    parts = {"now": "vector(time())"}
    for arm in ARMS:
        for role in ROLES:
            query = queries.of(role, arm)
            parts[f"{arm}/{role}"] = f"({query})"
            for number, selector in enumerate(selectors(query)):
                parts[f"{arm}/{role}/scraped/{number}"] = f"min(timestamp({selector}))"
    return " or ".join(f'label_replace({text}, "{_PART}", "{name}", "", "")' for name, text in parts.items())


@dataclass(frozen=True)
class Snapshot:
    """Counters of both arms at one instant of the server: ``now`` and ``scraped`` in its seconds since 1970.

    ``asked`` is the instant, by our clock, at which nobody had answered yet; ``scraped`` the oldest scrape of each arm.
    """

    asked: datetime
    now: float
    scraped: Mapping[Which, float]
    series: Mapping[tuple[Which, Role], Series]

    def after(self, moment: datetime) -> bool:
        """Whether both arms were surely scraped after an instant of our clock."""
        return all(self.scraped_after(arm, moment) for arm in ARMS)

    def scraped_after(self, arm: Which, moment: datetime) -> bool:
        """Whether one arm was; the server's now is not before ``asked``, which bounds where its clock stood then."""
        return self.scraped[arm] > self.now - (self.asked - moment).total_seconds()

    def newer(self, than: Snapshot) -> bool:
        """Whether both arms were scraped since."""
        return all(self.scraped[arm] > than.scraped[arm] for arm in ARMS)

    def remembering(self, before: Snapshot) -> Snapshot:
        """Return this snapshot with the series that only an earlier one has: they may come back."""
        return replace(self, series={key: {**before.series[key], **new} for key, new in self.series.items()})

    def since(self, before: Snapshot, arm: Which, bounds: Baseline) -> Arm:
        """Return what an arm did since: counts that fit each other, whatever was counted in mid-scrape."""
        new = {role: grown(before.series[arm, role], self.series[arm, role]) for role in ROLES}
        requests = round(math.fsum(new["requests"].values()))
        slow = [_slower(new["buckets"], bound) for bound in (bounds.bound_p95_s, bounds.bound_p99_s)]
        errors = round(math.fsum(new["errors"].values()))
        return Arm(requests, min(errors, requests), *(min(count, requests) for count in slow))


def grown(before: Series, after: Series) -> dict[Labels, float]:
    """Return by how much each counter grew; one that fell was restarted, and one that is new began at zero."""
    found = {}
    for labels, value in after.items():
        old = before.get(labels, 0.0)
        found[labels] = value - old if value >= old else value
    return found


def _slower(buckets: Series, bound: float) -> int:
    """Return the observations above a bound that is one of the buckets'."""
    known = {_bound(labels) for labels in buckets}
    if not {bound, math.inf} <= known:
        raise DataError(f"buckets: no bucket le={bound:g} or none +Inf; the buckets changed since the baseline")
    under = math.fsum(value for labels, value in buckets.items() if _bound(labels) == bound)
    return round(math.fsum(value for labels, value in buckets.items() if _bound(labels) == math.inf) - under)


def _bound(labels: Labels) -> float:
    try:
        return float(dict(labels)["le"])
    except (KeyError, ValueError):
        raise DataError("buckets: a series has no number in its label le; ask for a classic histogram") from None


class Telemetry:
    """Reads both arms through one kept connection. Close it after use."""

    def __init__(self, url: str, queries: Queries, tick: timedelta, clock: Clock) -> None:
        """``tick``: the scrape interval. Raises ConfigError if the url is none."""
        self._endpoint = Endpoint(url, timeout=timedelta(seconds=2), attempts=2, scrape_interval=tick)
        self._client = verified_client(self._endpoint)
        self._queries, self._tick, self._clock = queries, tick, clock
        self._together = combined(queries)
        self._reader: Reader | None = None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def read(self) -> Snapshot:
        """Return the newest scrape of both arms; raises DataError if it is lost, stale or no figure."""
        asked = self._clock.now()
        snapshot = _snapshot(self._asked(lambda reader: reader.instant(self._together, None)), asked)
        for arm, scraped in snapshot.scraped.items():
            age = snapshot.now - scraped
            if age > STALE * self._tick.total_seconds():
                raise DataError(f"{arm}: stale, the newest scrape is {age:.1f} s old; is it still scraped?")
        return snapshot

    def totals(self, arm: Which, window: timedelta) -> tuple[int, int, Histogram]:
        """Return (requests, errors, latencies) of an arm over the window that ends now; raises DataError."""
        grid = Grid.ending(self._clock.now(), self._tick, max(2, math.ceil(window / self._tick) + 1))
        found = {role: self._lines(role, arm, grid) for role in ROLES}
        requests, errors = (round(sum(map(_increase, found[role].values()))) for role in ("requests", "errors"))
        return requests, errors, _histogram(found["buckets"])

    def _lines(self, role: Role, arm: Which, grid: Grid) -> Lines:
        query = self._queries.of(role, arm)
        lines = self._asked(lambda reader: reader.range(query, grid)).lines
        if not lines:
            raise DataError(f"{arm} {role}: no series; {_INSTEAD[role]}")
        return lines

    def _asked(self, ask: Callable[[Reader], Answer]) -> Answer:
        """Ask; a transport that once found its server down would never ask again, and the next look must."""
        self._reader = self._reader or Reader(Transport(self._endpoint, self._client))
        try:
            return ask(self._reader)
        except ReadError:
            self._reader = None
            raise


def _snapshot(answer: Answer, asked: datetime) -> Snapshot:
    parts: dict[str, dict[Labels, float]] = {}
    for labels, values in answer.lines.items():
        rest = tuple(pair for pair in labels if pair[0] != _PART)
        parts.setdefault(dict(labels).get(_PART, ""), {})[rest] = float(values[0])
    series = {(arm, role): _counters(parts, arm, role) for arm in ARMS for role in ROLES}
    scraped = {arm: min(_instants(parts, arm), default=math.nan) for arm in ARMS}
    for arm, instant in scraped.items():
        if math.isnan(instant):
            raise DataError(f"{arm}: nobody says when it was scraped; let the queries read a counter")
    return Snapshot(asked, parts["now"][()], scraped, series)


def _counters(parts: Mapping[str, Series], arm: Which, role: Role) -> Series:
    found = parts.get(f"{arm}/{role}", {})
    if not found:
        raise DataError(f"{arm} {role}: no series; {_INSTEAD[role]}")
    if not all(math.isfinite(value) and value >= 0 for value in found.values()):
        raise DataError(f"{arm} {role}: NaN, infinite or negative, which no counter is; ask for the raw counter")
    return found


def _instants(parts: Mapping[str, Series], arm: Which) -> Iterator[float]:
    for name, found in parts.items():
        if name.startswith(f"{arm}/") and "/scraped/" in name:
            yield from found.values()


def _increase(line: Floats) -> float:
    """Return the growth of a counter (n,) with NaN where it was not there, from its first sample on."""
    there = line[~np.isnan(line)]
    steps = np.diff(there)
    return float(np.where(steps >= 0, steps, there[1:]).sum())


def _histogram(lines: Mapping[Labels, Floats]) -> Histogram:
    by_bound: dict[float, float] = {}
    for labels, line in lines.items():
        bound = _bound(labels)
        by_bound[bound] = by_bound.get(bound, 0.0) + _increase(line)
    if math.inf not in by_bound:
        raise DataError("buckets: no bucket +Inf; ask for all buckets of a classic histogram")
    bounds = sorted(by_bound)
    return Histogram(tuple(bounds[:-1]), tuple(round(by_bound[bound]) for bound in bounds))
