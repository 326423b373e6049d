"""The series behind an objective's queries, looked at on a server: how far apart, what is missing, how they begin.

Rules
- A *missing* selector has found no series in the look-back.
- A series is *born above zero* if it was absent from some scrape of a target that was up, and was never seen at 0: its
  counter was made by its first event. ``increase`` counts from the first sample on, so what that sample holds is lost,
  and at each restart again. A series of a target that was first scraped late in its life is no such series. Targets are
  told by ``job`` and ``instance``; what they were asked is ``up``, or else the metric's own most complete series.
- Bad events are those of ``bad``, or, where good and total select one metric, what total selects and good does not.
- Samples are as far apart as the median series of the total has them; where that cannot be counted, as configured.

>>> selector, = selectors('sum(increase(http_requests_total{code!~"5.."}[$window]))')
>>> selector.text, selector.metric
('http_requests_total{code!~"5.."}', 'http_requests_total')
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import promql_parser

from node0lib.alerts.measured import Absent, Born, Bounds, Facts, Scrape, Unknown
from node0lib.errors import DataError
from node0lib.shell.promanswer import Answer, Reader, Reading
from node0lib.shell.promendpoint import Endpoint
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.slo.objective import Objective
from node0lib.slo.promql import flaw
from node0lib.timespan import format_duration, parse_duration

_T = TypeVar("_T")
_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_YEARS = re.compile(r"^(\d+)y")
_INFINITE = 'le="+Inf"'
_COUNTING = ("total", "good", "buckets")
_NATIVE = Unknown("how a native histogram begins is not looked at")
_AGREES = 0.05
"""A measured interval this near to the configured one is that one: scrapes have some jitter."""


@dataclass(frozen=True)
class Selector:
    """A vector selector as PromQL text, and the metric it names."""

    text: str
    metric: str

    @property
    def counted(self) -> Selector:
        """Of a classic histogram one bucket is enough: every observation is in the last one."""
        if not self.metric.endswith("_bucket") or re.search(r"\ble\s*[=!]", self.text):
            return self
        inner = self.text[len(self.metric) :].strip("{}")
        return replace(self, text=f"{self.metric}{{{', '.join(filter(None, (inner, _INFINITE)))}}}")


def configured(endpoint: Endpoint) -> Scrape:
    """Return what the configuration says of the samples' distance, where nobody could count it."""
    return Scrape(endpoint.scrape_interval, "as configured, not measured")


def selectors(query: str) -> tuple[Selector, ...]:
    """Return the vector selectors of a query, each once, without offsets; raises ReadError for one without a metric."""
    if not query:
        return ()
    if wrong := flaw(query):
        raise ReadError(f"the query is not PromQL ({wrong})")
    found: dict[str, Selector] = {}

    def visit(node: promql_parser.Expr) -> bool:
        inner = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(inner, promql_parser.VectorSelector):
            one = _selector(inner)
            found[one.text] = one
        return True

    promql_parser.walk(promql_parser.parse(query.replace("$window", "5m")), visit)
    return tuple(found.values())


def _selector(node: promql_parser.VectorSelector) -> Selector:
    matchers = [(m.name, str(m.op).rsplit(".", 1)[-1], m.value) for m in node.matchers.matchers]
    named = [value for name, how, value in matchers if name == "__name__" and how == "Equal"]
    metric = node.name or (named[0] if named else "")
    if not metric or node.matchers.or_matchers:
        raise ReadError("a selector of the query names no single metric, so its series cannot be looked at")
    rest = [f"{n}{_OPERATORS[how]}{json.dumps(v, ensure_ascii=False)}" for n, how, v in matchers if n != "__name__"]
    return Selector(f"{metric}{{{', '.join(rest)}}}" if rest else metric, metric)


@dataclass(frozen=True)
class Inspector:
    """Looks at a server at one instant; every fact is a value, or ``Unknown`` with the reason."""

    transport: Transport
    at: datetime
    look_back: timedelta

    @property
    def _reader(self) -> Reader:
        return Reader(self.transport)

    def down(self) -> Unknown | None:
        """Return why the server cannot be asked at all; None if it answers."""
        answer = _fact(lambda: self._ask("vector(1)"))
        return answer if isinstance(answer, Unknown) else None

    def retention(self) -> timedelta | Unknown:
        """Return how long the server keeps samples, as Prometheus says it."""
        return _fact(self._retention)

    def facts(self, slo: Objective) -> Facts:
        """Return what the series of the SLO's queries show; traffic, coverage and retention are not among it."""
        if slo.kind == "invariant" or not slo.queries:
            return Facts()
        bounds = _fact(lambda: self._bounds(slo)) if "buckets" in slo.queries else None
        native = isinstance(bounds, Bounds) and bounds.native
        return Facts(
            scrape=self._interval(slo),
            bounds=bounds,
            born=_NATIVE if native else _fact(lambda: tuple(self._born(slo))),
            absent=_fact(lambda: tuple(self._absent(slo))),
        )

    def _ask(self, query: str, how: Reading | None = None) -> Answer:
        return self._reader.instant(query, self.at, how or Reading())

    def _number(self, query: str) -> float | None:
        """The one number of an answer; None for an empty one."""
        lines = self._ask(query).lines
        return float(next(iter(lines.values()))[0]) if lines else None

    def _retention(self) -> timedelta:
        body = self.transport.fetch("status/runtimeinfo", {}).body
        try:
            text = json.loads(body)["data"]["storageRetention"].partition(" or ")[0]
            years = _YEARS.match(text)
            length = timedelta(days=365 * int(years[1])) if years else timedelta(0)
            rest = text[years.end() :] if years else text
            return length + (parse_duration(rest) if rest else timedelta(0))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ReadError(f"the server does not say its retention ({type(error).__name__})") from None

    def _interval(self, slo: Objective) -> Scrape:
        measured = _fact(lambda: self._scrape(slo))
        return configured(self.transport.endpoint) if isinstance(measured, Unknown) else measured

    def _scrape(self, slo: Objective) -> Scrape:
        """Intervals between samples, counted over an hour, or less where there is less."""
        total = _total(slo)
        for window, length in (("1h", 3600), ("10m", 600), ("2m", 120)):
            apart = f"{length} / count_over_time({total.text}[{window}])"
            seconds = self._number(f"quantile(0.5, ({apart}) and {total.text} offset {window})")
            if seconds is not None and math.isfinite(seconds):
                return self._told(timedelta(seconds=seconds), window)
        raise ReadError(f"{total.text} has no two minutes of samples")

    def _told(self, measured: timedelta, window: str) -> Scrape:
        said = self.transport.endpoint.scrape_interval
        if abs(measured / said - 1) <= _AGREES:
            return Scrape(said, "as configured, and so measured")
        # A range of one hour may hold a sample more than it has intervals.
        whole = measured if measured < timedelta(seconds=1) else timedelta(seconds=round(measured.total_seconds()))
        return Scrape(whole, f"measured over {window}", said)

    def _bounds(self, slo: Objective) -> Bounds:
        """The bounds of classic buckets that answer now, or whether the threshold cuts one of a native histogram."""
        query = slo.queries["buckets"].replace("$window", format_duration(min(self.look_back, timedelta(hours=1))))
        answer = self._ask(query, Reading(slo.threshold_s))
        if answer.natives:
            return Bounds(native=True, cut=any(rows[0, 0] < rows[1, 0] for rows in answer.natives.values()))
        texts = {dict(labels).get("le") for labels in answer.lines} - {None}
        if not texts:
            raise ReadError("queries.buckets answers no series with the label le")
        try:
            bounds = sorted(float(str(text)) for text in texts)
        except ValueError:
            raise ReadError("queries.buckets: an le is no number; wrap it in sum by (le) (…)") from None
        return Bounds(tuple(bound for bound in bounds if math.isfinite(bound)))

    def _absent(self, slo: Objective) -> Iterator[Absent]:
        total = _total(slo)
        if self._number(f"count({self._present(total)})") is None:
            yield Absent(total.text, errors=False, look_back=self.look_back)
            return
        for one in _errors(slo):
            if self._number(f"count({one.asked(self._present(one.of), self._present)})") is None:
                yield Absent(one.text, errors=True, look_back=self.look_back)

    def _born(self, slo: Objective) -> Iterator[Born]:
        try:
            errors = _errors(slo)
        except ReadError:
            errors = ()  # the missing series say why; what is counted at all is looked at below
        for one in errors:
            yield from self._counted(one.text, one.asked(self._above(one.of), self._present), is_error=True)
        known = {one.of.text for one in errors}
        rest = [one.counted for role in _COUNTING for one in selectors(slo.queries.get(role, ""))]
        for text, counter in {one.text: one for one in rest if one.text not in known}.items():
            bad = next((one.of for one in errors if one.of.metric == counter.metric), None)
            others = _Series(counter, bad).asked(self._above(counter), self._present)
            yield from self._counted(text, others, is_error=False)

    def _present(self, one: Selector) -> str:
        return f"present_over_time({one.text}[{format_duration(self.look_back)}])"

    def _above(self, one: Selector) -> str:
        """The series that were born above zero, each at the least value that was seen of it."""
        back = format_duration(self.look_back)
        asked = f"max by (job, instance) (sum_over_time(up[{back}]) or count_over_time({one.metric}[{back}]))"
        partly = f"count_over_time({one.text}[{back}]) < on (job, instance) group_left () {asked}"
        return f"((min_over_time({one.text}[{back}]) > 0) and ({partly}))"

    def _counted(self, text: str, expression: str, *, is_error: bool) -> Iterator[Born]:
        series = self._number(f"count({expression})")
        if series is None:
            return
        events = self._number(f"sum({expression})") or 0.0
        most = next(iter(self._ask(f"topk(1, {expression})").lines), ())
        shown = [(name, value) for name, value in most if name != "__name__"]  # which VictoriaMetrics keeps
        inner = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in shown)
        yield Born(text, is_error, int(series), events, f"{{{inner}}}", self.look_back)


def _total(slo: Objective) -> Selector:
    found = selectors(slo.queries.get("total") or slo.queries.get("buckets", ""))
    if not found:
        raise ReadError("the query of the total selects no series")
    return found[0].counted


@dataclass(frozen=True)
class _Series:
    """The series that ``of`` selects, but not those that ``without`` does: bad events, say, are all but the good."""

    of: Selector
    without: Selector | None = None

    @property
    def text(self) -> str:
        return self.of.text if self.without is None else f"{self.of.text} unless {self.without.text}"

    def asked(self, question: str, present: Callable[[Selector], str]) -> str:
        """Return what is asked of ``of``, without the series that are left out."""
        return question if self.without is None else f"({question} unless {present(self.without)})"


def _errors(slo: Objective) -> Sequence[_Series]:
    """Return the series of bad events, none for a latency; raises ReadError where they cannot be told from the good."""
    if slo.kind != "ratio":
        return ()
    if "bad" in slo.queries:
        return [_Series(one) for one in selectors(slo.queries["bad"])]
    good, total = selectors(slo.queries["good"]), selectors(slo.queries["total"])
    if len(good) != 1 or len(total) != 1 or good[0].metric != total[0].metric:
        raise ReadError("good and total select different metrics, so error series cannot be told; count bad, not good")
    return [_Series(total[0], good[0])]


def _fact(look: Callable[[], _T]) -> _T | Unknown:
    try:
        return look()
    except DataError as error:
        return Unknown(str(error))
