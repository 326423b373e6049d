"""What Prometheus answered, as arrays on a grid of instants; anything else is an error that says what came.

A ``Grid`` is the instants at which an expression is evaluated, in whole milliseconds, Prometheus's own resolution.
An ``Answer`` holds for each label set one array with a value for every instant of the grid, NaN where the server had
none; native histograms are counted at a threshold while they are read, so that a month of them fits into memory. Long
grids are cut into pages that cover every instant exactly once, shorter ones if an answer is too large. Times in an
answer must be instants that were asked for: some compatible servers move them, and a moved bucket would count other
events.

VictoriaMetrics moves instants unless it is asked with ``nocache``. In ranges with a step under a minute it repeats
older values within 30 s of now, unless it is asked with ``latency_offset``, which Debian's 1.79 does not know yet: a
``delay`` of 30 s keeps clear of that. Prometheus knows neither parameter and passes over both.

>>> from datetime import datetime, timedelta, timezone
>>> grid = Grid.ending(datetime(2026, 1, 1, tzinfo=timezone.utc), timedelta(minutes=1), 5)
>>> [grid.part(begin, 2).count for begin in (0, 2, 4)], grid.step
([2, 2, 1], 60000)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node0lib.errors import DataError
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.sli.native import NativeHistogram
from node0lib.sli.series import Floats

Labels = tuple[tuple[str, str], ...]
Lines = dict[Labels, Floats]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_VICTORIA = {"nocache": "1", "latency_offset": "1ms"}
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Grid:
    """``count`` instants from ``first`` on, ``step`` apart, in milliseconds since 1970."""

    first: int
    step: int
    count: int

    @classmethod
    def ending(cls, end: datetime, step: timedelta, count: int) -> Grid:
        """Return the grid whose last instant is ``end``; raises DataError for a step under a millisecond's grain."""
        if step % _MILLISECOND or step <= timedelta(0) or count < 1:
            raise DataError(f"{count} steps of {step} cannot be asked for; use whole milliseconds, at least one step")
        size = step // _MILLISECOND
        return cls((end - _EPOCH) // _MILLISECOND - (count - 1) * size, size, count)

    def part(self, begin: int, size: int) -> Grid:
        """Return the instants from index ``begin`` on, at most ``size``."""
        return Grid(self.first + begin * self.step, self.step, min(size, self.count - begin))

    def places(self, moments: Floats) -> NDArray[np.int64]:
        """Return the indices of ``moments`` (seconds, shape (k,)); raises ReadError if one was not asked for."""
        offsets = np.rint(moments * 1000).astype(np.int64) - self.first
        places, beside = np.divmod(offsets, self.step)
        if beside.any() or (places < 0).any() or (places >= self.count).any():
            raise ReadError("the server answered for instants it was not asked for; turn off its alignment to the step")
        if np.unique(places).size < places.size:
            raise ReadError("the server answered twice for an instant")
        return places


@dataclass(frozen=True)
class Answer:
    """``lines`` are numbers, of shape (n,); ``natives`` native histograms, of shape (3, n).

    The three rows of a native histogram are its observations at or under the threshold, at least and at most, and all.
    ``warned`` is what the server warned of with this very answer, as the end of a message.
    """

    lines: Lines = field(default_factory=dict)
    natives: Lines = field(default_factory=dict)
    warned: str = ""

    def place(self, page: Answer, begin: int, count: int, absent: float) -> None:
        """Put the arrays of a page into these, from index ``begin`` on; new ones are ``absent`` elsewhere."""
        for own, given in ((self.lines, page.lines), (self.natives, page.natives)):
            for labels, values in given.items():
                line = own.setdefault(labels, np.full((*values.shape[:-1], count), absent))
                line[..., begin : begin + values.shape[-1]] = values


@dataclass(frozen=True)
class Reading:
    """How an answer is read: ``threshold`` of native histograms (None refuses them), ``absent`` where nothing came."""

    threshold: float | None = None
    absent: float = math.nan


PLAIN = Reading()


class Reader:
    """Evaluates PromQL through a ``Transport``; ``warnings`` and ``infos`` keep the server's own, each text once."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.warnings: list[str] = []
        self.infos: list[str] = []

    def instant(self, query: str, at: datetime | None, how: Reading = PLAIN) -> Answer:
        """Evaluate at one instant, None for the server's own now; n is 1. Raises ReadError."""
        params = {"query": query, **_VICTORIA}
        if at is not None:
            params["time"] = _seconds((at - _EPOCH) // _MILLISECOND)
        return self._ask("query", params, lambda data: _vector(data, how))

    def range(self, query: str, grid: Grid, how: Reading = PLAIN) -> Answer:
        """Evaluate at every instant of the grid; n is grid.count. Raises ReadError."""
        whole, begin, size = Answer(), 0, self._transport.endpoint.max_points
        while begin < grid.count:
            page = grid.part(begin, size)
            try:
                whole.place(self._page(query, page, how), begin, grid.count, how.absent)
            except ReadError as error:
                if not error.large or page.count == 1:
                    raise
                size = -(-page.count // 2)
                continue
            begin += page.count
        return whole

    def _page(self, query: str, page: Grid, how: Reading) -> Answer:
        params = {
            "query": query,
            "start": _seconds(page.first),
            "end": _seconds(page.first + (page.count - 1) * page.step),
            "step": _seconds(page.step),
            **_VICTORIA,
        }
        return self._ask("query_range", params, lambda data: _matrix(data, page, how))

    def _ask(self, path: str, params: Mapping[str, str], parse: Callable[[Any], Answer]) -> Answer:
        """Fetch and parse; what the server warned of goes with a failure."""
        timeout = self._transport.endpoint.timeout // _MILLISECOND
        reply = self._transport.fetch(path, {**params, "timeout": f"{timeout}ms"})
        document = self._document(reply.body, reply.headers.get("content-type", "of no type"))
        warned = self._warnings(document)
        try:
            return replace(parse(document["data"]), warned=warned)
        except ReadError as error:
            raise ReadError(f"{error}{warned}") from None
        except _MALFORMED as error:
            why = f"{type(error).__name__} while reading it"
            raise ReadError(f"the answer has not the form of the Prometheus API ({why}){warned}") from None

    def _document(self, body: bytes, content_type: str) -> Mapping[str, Any]:
        """Return the JSON object of a successful answer; raises ReadError."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            what = f"{len(body)} bytes, {self._transport.clean(content_type)}"
            raise ReadError(f"the answer is malformed JSON ({what}); is a Prometheus under this url?") from None
        if not isinstance(document, dict) or document.get("status") not in {"success", "error"}:
            raise ReadError("the answer has no status; is a Prometheus under this url?")
        if document["status"] == "error":
            text = f"{document.get('errorType')}: {document.get('error')}"
            raise ReadError(f"status error: {self._transport.clean(text)}{self._warnings(document)}")
        return document

    def _warnings(self, document: Mapping[str, Any]) -> str:
        """Keep warnings and infos, and return the warnings as the end of a message, empty without any."""
        texts = self._texts(document, "warnings")
        if document.get("isPartial") is True:  # VictoriaMetrics says so without words.
            texts.append("the answer is partial: a part of the cluster did not answer")
        for kept, given in ((self.warnings, texts), (self.infos, self._texts(document, "infos"))):
            kept.extend(text for text in dict.fromkeys(given) if text not in kept)
        return f"; the server warns: {'; '.join(texts)}" if texts else ""

    def _texts(self, document: Mapping[str, Any], name: str) -> list[str]:
        given = document.get(name)
        return [self._transport.clean(str(text)) for text in given] if isinstance(given, list) else []


def _seconds(millis: int) -> str:
    """Exact decimal seconds: 1500 is "1.500"."""
    sign = "-" if millis < 0 else ""
    return f"{sign}{abs(millis) // 1000}.{abs(millis) % 1000:03d}"


def _labels(series: Mapping[str, Any]) -> Labels:
    return tuple(sorted((str(name), str(value)) for name, value in series["metric"].items()))


def _vector(data: Mapping[str, Any], how: Reading) -> Answer:
    """Parse a vector or a scalar; a scalar has no labels."""
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return Answer({(): np.array([float(result[1])])})
    if kind != "vector":
        raise ReadError(f"the result type is {str(kind)[:30]}, not vector or scalar; aggregate it to one number")
    lines, natives = [], []
    for series in result:
        if "histogram" in series:
            natives.append((_labels(series), _counted([series["histogram"]], how)))
        else:
            lines.append((_labels(series), np.array([float(series["value"][1])])))
    return Answer(_distinct(lines), _distinct(natives))


def _matrix(data: Mapping[str, Any], page: Grid, how: Reading) -> Answer:
    """Parse a matrix onto the page's instants; a series may hold numbers, native histograms, or both in turn."""
    kind, result = data["resultType"], data["result"]
    if kind != "matrix":
        raise ReadError(f"the result type of a range is {str(kind)[:30]}, not matrix")
    lines, natives = [], []
    for series in result:
        if "histograms" in series:
            points = series["histograms"]
            natives.append((_labels(series), _placed(points, _counted(points, how), page, how)))
        if "values" in series or "histograms" not in series:
            points = series["values"]
            values = np.array([float(p[1]) for p in points])
            lines.append((_labels(series), _placed(points, values, page, how)))
    return Answer(_distinct(lines), _distinct(natives))


def _placed(points: Sequence[Sequence[Any]], values: Floats, page: Grid, how: Reading) -> Floats:
    """Return ``values`` (..., k) of k points at their places on the page, (..., page.count)."""
    line = np.full((*values.shape[:-1], page.count), how.absent)
    line[..., page.places(np.array([float(p[0]) for p in points]))] = values
    return line


def _counted(points: Sequence[Sequence[Any]], how: Reading) -> Floats:
    """Return the three rows (3, k) of k native histograms; raises ReadError if none can be used here."""
    if how.threshold is None:
        raise ReadError("the query answers native histograms, not numbers; use histogram_count or classic buckets")
    try:
        found = [NativeHistogram.of(point[1]) for point in points]
    except DataError as error:
        raise ReadError(str(error)) from None
    rows = [(*h.count_at_or_under(how.threshold), h.count) for h in found]
    return np.array(rows, dtype=np.float64).reshape(-1, 3).T


def _distinct(lines: list[tuple[Labels, Floats]]) -> Lines:
    if len(dict(lines)) < len(lines):
        raise ReadError("the answer holds a series twice")
    return dict(lines)
