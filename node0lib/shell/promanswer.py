"""What Prometheus answered, as arrays on a grid of instants; anything else is an error that says what came.

A ``Grid`` is the instants at which an expression is evaluated, in whole milliseconds, Prometheus's own resolution.
An answer is ``Lines``: for each label set one array with a value for every instant of the grid, NaN where the server
had none. Long grids are cut into pages that cover every instant exactly once. Times in an answer must be instants
that were asked for: some compatible servers move them, and a moved bucket would count other events.

>>> from datetime import datetime, timedelta, timezone
>>> grid = Grid.ending(datetime(2026, 1, 1, tzinfo=timezone.utc), timedelta(minutes=1), 5)
>>> [page.count for page in grid.pages(2)], grid.step
([2, 2, 1], 60000)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node0lib.errors import DataError
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.sli.series import Floats

Labels = tuple[tuple[str, str], ...]
Lines = dict[Labels, Floats]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
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

    def pages(self, size: int) -> Iterator[Grid]:
        """Cut into grids of at most ``size`` instants, in order; together they are this grid."""
        for begin in range(0, self.count, size):
            yield Grid(self.first + begin * self.step, self.step, min(size, self.count - begin))

    def places(self, moments: Floats) -> NDArray[np.int64]:
        """Return the indices of ``moments`` (seconds, shape (k,)); raises ReadError if one was not asked for."""
        offsets = np.rint(moments * 1000).astype(np.int64) - self.first
        places, beside = np.divmod(offsets, self.step)
        if beside.any() or (places < 0).any() or (places >= self.count).any():
            raise ReadError("the server answered for instants it was not asked for; turn off its alignment to the step")
        if np.unique(places).size < places.size:
            raise ReadError("the server answered twice for an instant")
        return places


class Reader:
    """Evaluates PromQL through a ``Transport``. ``warnings`` keeps what the server warned of, each text once."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.warnings: list[str] = []

    def instant(self, query: str, at: datetime) -> Lines:
        """Evaluate at one instant; arrays of shape (1,). Raises ReadError."""
        time = _seconds((at - _EPOCH) // _MILLISECOND)
        return self._ask("query", {"query": query, "time": time}, _vector)

    def range(self, query: str, grid: Grid) -> Lines:
        """Evaluate at every instant of the grid; arrays of shape (grid.count,). Raises ReadError."""
        lines: Lines = {}
        for page in grid.pages(self._transport.endpoint.max_points):
            begin = (page.first - grid.first) // grid.step
            for labels, values in self._page(query, page).items():
                line = lines.setdefault(labels, np.full(grid.count, np.nan))
                line[begin : begin + page.count] = values
        return lines

    def _page(self, query: str, page: Grid) -> Lines:
        params = {
            "query": query,
            "start": _seconds(page.first),
            "end": _seconds(page.first + (page.count - 1) * page.step),
            "step": _seconds(page.step),
            "nocache": "1",  # VictoriaMetrics moves the instants without it; the others do not know it.
        }
        return self._ask("query_range", params, lambda data: _matrix(data, page))

    def _ask(self, path: str, params: Mapping[str, str], parse: Callable[[Any], Lines]) -> Lines:
        """Fetch and parse; what the server warned of goes with a failure."""
        timeout = self._transport.endpoint.timeout // _MILLISECOND
        reply = self._transport.fetch(path, {**params, "timeout": f"{timeout}ms"})
        document = self._document(reply.body, reply.headers.get("content-type", "of no type"))
        warned = self._warnings(document)
        try:
            return parse(document["data"])
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
        """Keep the warnings and return them as the end of a message, empty without any."""
        given = document.get("warnings")
        texts = [self._transport.clean(str(w)) for w in given] if isinstance(given, list) else []
        self.warnings.extend(text for text in dict.fromkeys(texts) if text not in self.warnings)
        return f"; the server warns: {'; '.join(texts)}" if texts else ""


def _seconds(millis: int) -> str:
    """Exact decimal seconds: 1500 is "1.500"."""
    sign = "-" if millis < 0 else ""
    return f"{sign}{abs(millis) // 1000}.{abs(millis) % 1000:03d}"


def _labels(series: Mapping[str, Any]) -> Labels:
    return tuple(sorted((str(name), str(value)) for name, value in series["metric"].items()))


def _vector(data: Mapping[str, Any]) -> Lines:
    """Parse a vector or a scalar; a scalar has no labels."""
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return {(): np.array([float(result[1])])}
    if kind != "vector":
        raise ReadError(f"the result type is {str(kind)[:30]}, not vector or scalar; aggregate it to one number")
    _refuse_histograms(result, "value")
    return _distinct([(_labels(series), np.array([float(series["value"][1])])) for series in result])


def _matrix(data: Mapping[str, Any], page: Grid) -> Lines:
    """Parse a matrix onto the page's instants."""
    kind, result = data["resultType"], data["result"]
    if kind != "matrix":
        raise ReadError(f"the result type of a range is {str(kind)[:30]}, not matrix")
    _refuse_histograms(result, "values")
    lines: list[tuple[Labels, Floats]] = []
    for series in result:
        points = series["values"]
        line = np.full(page.count, np.nan)
        line[page.places(np.array([float(p[0]) for p in points]))] = [float(p[1]) for p in points]
        lines.append((_labels(series), line))
    return _distinct(lines)


def _distinct(lines: list[tuple[Labels, Floats]]) -> Lines:
    if len(dict(lines)) < len(lines):
        raise ReadError("the answer holds a series twice")
    return dict(lines)


def _refuse_histograms(result: list[Mapping[str, Any]], field: str) -> None:
    if any(field not in series and field.replace("value", "histogram") in series for series in result):
        raise ReadError("the query answers native histograms, not numbers; use histogram_count or classic buckets")
