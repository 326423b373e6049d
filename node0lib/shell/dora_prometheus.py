"""Deployments and the spread of delivery times from a metrics server's raw samples.

Promise: what is asked for are the samples themselves (``metric[1d]``), not ``increase``, which extrapolates; each is
read once, whether the server takes ranges as closed (Prometheus 2) or left-open (3). What ``counters`` makes of them
says how exact it is. Lead times and recovery times are histograms, which hold no values: their events are None, with
the reason, and the bounds of their quantiles are given instead.

>>> selector("deployments_total", 'job="shop"')
'deployments_total{job="shop"}'
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from node0lib.dora.sources.counters import Counted, Naming, Series, bucketed, deployments, grown, spread
from node0lib.shell.promendpoint import Endpoint
from node0lib.shell.promhttp import ReadError, Transport
from node0lib.timespan import Span

LEAD = "deployment_lead_time_seconds"
RECOVERY = "incident_resolution_time_seconds"
WHY = "a histogram holds how many values lay between its bounds, not the values: no event can be made of it"
_PIECE = timedelta(days=1)
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Measured:
    """What a server could say: deployments, the spread of times by the histogram's name, and warnings of its own."""

    counted: Counted
    times: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


def selector(metric: str, match: str = "") -> str:
    """Return PromQL that selects a metric, with further matchers."""
    return f"{metric}{{{match}}}" if match else metric


def measured(endpoint: Endpoint, span: Span, naming: Naming, match: str = "") -> Measured:
    """Return what the server tells of a span; raises ReadError if it cannot be read, ConfigError, DataError."""
    transport, warnings = Transport(endpoint), dict[str, None]()
    try:

        def ask(metric: str) -> tuple[Series, ...]:
            return _samples(transport, selector(metric, match), span, warnings)

        counters = ask(naming.metric)
        counted = deployments(counters, naming)
        times = {name: _times(ask(f"{name}_bucket"), ask(f"{name}_sum")) for name in (LEAD, RECOVERY)}
    finally:
        transport.close()
    notes = [*counted.notes, *(f"the server warns: {text}" for text in warnings)]
    if not counters:
        notes.append(f"there is no series {selector(naming.metric, match)} in the span; check the name and --match")
    instances = {(one.labels.get("job"), one.labels.get("instance")) for one in counters}
    if len(instances) > 1:
        notes.append(f"{len(instances)} targets count deployments; if they count the same ones, select one by --match")
    return Measured(counted, times, tuple(notes))


def _times(buckets: tuple[Series, ...], sums: tuple[Series, ...]) -> dict[str, Any]:
    found = spread(bucketed(buckets), sum(grown(one) for one in sums))
    return {"events": None, "why": WHY if buckets else "there is no such series in the span", **found}


def _samples(transport: Transport, query: str, span: Span, warnings: dict[str, None]) -> tuple[Series, ...]:
    """The raw samples of every series of the span, oldest first."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for start, length in _pieces(span):
        end = start + length
        params = {"query": f"{query}[{round(length * 1000)}ms]", "time": f"{end:.3f}", "nocache": "1"}
        for labels, points in _matrix(transport, params, warnings):
            line = found.setdefault(labels, [])
            line += [point for point in points if not line or point[0] > line[-1][0]]
    return tuple(Series(dict(labels), points) for labels, points in sorted(found.items()))


def _pieces(span: Span) -> Iterator[tuple[float, float]]:
    """(start, length) in seconds of pieces that cover the span."""
    at, end = span.start.timestamp(), span.end.timestamp()
    while at < end:
        length = min(_PIECE.total_seconds(), end - at)
        yield at, length
        at += length


def _matrix(
    transport: Transport, params: dict[str, str], warnings: dict[str, None]
) -> Iterator[tuple[tuple[tuple[str, str], ...], list[tuple[float, float]]]]:
    body = transport.fetch("query", params).body
    try:
        document = json.loads(body)
        if document["status"] != "success" or document["data"]["resultType"] != "matrix":
            raise ReadError("the answer holds no samples; is a Prometheus under this url?")
        warnings.update(dict.fromkeys(transport.clean(str(text)) for text in document.get("warnings") or ()))
        for series in document["data"]["result"]:
            labels = {name: value for name, value in series["metric"].items() if name != "__name__"}
            yield tuple(sorted(labels.items())), [(float(at), float(value)) for at, value in series.get("values", ())]
    except ReadError:
        raise
    except _MALFORMED as error:
        why = f"{type(error).__name__} while reading it"
        raise ReadError(f"the answer has not the form of the Prometheus API ({why}); is one under this url?") from None
