"""What was counted and remembered, by the label sets of the exported families.

Promise: each function returns readings: family -> values of its labels, in the table's order -> value. What is not
known is left out; zeros are the exporter's business.

- Buckets are exact: every bound of the table is a bound of the node.
- ``_sum`` is estimated: every event in the middle of its bucket among the node's own 74, those above 10 s at 10 s.
- Requests of status 200 and 500 add up to all, bucket by bucket; see ``tallies`` on how latencies are shared out.

>>> Buckets.of((1.0, 5.0), [0.5, 3.0, 9.0])
Buckets(cumulative=(1, 2, 3), seconds=12.5)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from node0lib.alerts.metrics import family
from node0lib.cycle import CycleResult, Kind
from node0lib.errors import DataError
from node0lib.shell.delivered import Delivered
from node0lib.shell.records import read_result
from node0lib.shell.tallies import SCALE_BITS, Tallies, Tally
from node0lib.shell.workspace import Places
from node0lib.simulate.streams import BOUNDS_S, Ints
from node0lib.timespan import format_duration, parse_duration

_REQUEST = ("POST", "/v1/tasks")
_LATENCIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "alpha_request_duration_seconds": ("alpha", ("task",)),
    "mcp_llm_request_duration_seconds": ("mcp_llm", ("default",)),
    "agent_coordination_duration_seconds": ("coordination", ("default", "worker")),
}
_EVENTS = {"alpha_requests_total": "alpha", "mcp_tools_requests_total": "mcp_tools", "agent_tasks_total": "agent"}
SERVICE = frozenset(("http_request_duration_seconds", "http_requests_total", *_LATENCIES, *_EVENTS))
"""The families of the simulated service; all others are node0's own."""
_EDGES = (0.0, *BOUNDS_S, BOUNDS_S[-1])
_MIDDLES = tuple((low + high) / 2 for low, high in zip((0.0, *BOUNDS_S), _EDGES[1:], strict=True))


@dataclass(frozen=True)
class Buckets:
    """A histogram's counts at or under each bound of its family and at +Inf, and the sum of what was observed."""

    cumulative: tuple[int, ...]
    seconds: float

    @classmethod
    def of(cls, bounds: Sequence[float], observed: Sequence[float]) -> Buckets:
        """Count single observations, in seconds."""
        values = sorted(observed)
        return cls((*(bisect_right(values, bound) for bound in bounds), len(values)), math.fsum(values))


Labels = tuple[str, ...]
Labelled = Mapping[Labels, float | Buckets]
Readings = Mapping[str, Labelled]


def of_service(tallies: Tallies) -> Readings:
    """Return the families of the embedded node."""
    latencies: Readings = {n: {labels: _latency(n, tallies[stream])} for n, (stream, labels) in _LATENCIES.items()}
    events = {name: _events(tallies[stream]) for name, stream in _EVENTS.items()}
    return {**latencies, **events, **_of_api(tallies["api"])}


def _events(tally: Tally) -> Labelled:
    return {("success",): float(tally.good), ("failure",): float(tally.total - tally.good)}


def _latency(name: str, tally: Tally) -> Buckets:
    return _buckets(name, tally.under, tally.total, _seconds(*_scaled(tally)))


def _of_api(api: Tally) -> Readings:
    name, failures = "http_request_duration_seconds", api.total - api.good
    failed, shared = api.failed >> SCALE_BITS, (api.failed, failures << SCALE_BITS)
    every, count = _scaled(api)
    good = every - api.failed, count - shared[1]
    return {
        "http_requests_total": {(*_REQUEST, "200"): float(api.good), (*_REQUEST, "500"): float(failures)},
        name: {
            (*_REQUEST, "200"): _buckets(name, api.under - failed, api.good, _seconds(*good)),
            (*_REQUEST, "500"): _buckets(name, failed, failures, _seconds(*shared)),
        },
    }


def _scaled(tally: Tally) -> tuple[Ints, int]:
    return tally.under << SCALE_BITS, tally.total << SCALE_BITS


def _seconds(under: Ints, total: int) -> float:
    """Return the estimated sum of scaled counts; rounded once, so that it never falls while they grow."""
    counts = np.diff(under, prepend=0, append=total)
    return math.fsum(middle * int(count) for middle, count in zip(_MIDDLES, counts, strict=True)) / 2.0**SCALE_BITS


def _buckets(name: str, under: Ints, total: int, seconds: float) -> Buckets:
    """Return the counts at the family's bounds, each at the node's bound there or next below."""
    at = [bisect_right(BOUNDS_S, bound) - 1 for bound in family(name).buckets]
    return Buckets((*(int(under[i]) for i in at), total), seconds)


def of_delivery(known: Delivered) -> Readings:
    """Return the families of cycles, deployments and incidents."""
    by_status: Mapping[Labels, Sequence[float]] = {(status,): seconds for status, seconds in known.cycles.items()}
    observed: Mapping[str, Mapping[Labels, Sequence[float]]] = {
        "bizra_optimizer_cycle_duration_seconds": by_status,
        "deployment_lead_time_seconds": {(): known.lead_times},
        "incident_resolution_time_seconds": {(): known.resolutions},
        "canary_rollback_seconds": {(): known.returns},
    }
    histograms = {
        name: {labels: Buckets.of(family(name).buckets, seconds) for labels, seconds in by_labels.items()}
        for name, by_labels in observed.items()
    }
    return {**histograms, "deployments_total": {labels: float(n) for labels, n in known.deployments.items()}}


def of_newest(known: Delivered, places: Places) -> Readings:
    """Return the gauges of the newest cycle that ended; what a failed or interrupted one left was not accepted.

    Raises DataError if its result cannot be read.
    """
    if known.newest is None:
        return {}
    cycle, at, status = known.newest
    stamp: Readings = {"node0_last_cycle_timestamp_seconds": {(): at.timestamp()}}
    folder = places.cycle(cycle)
    if status not in get_args(Kind) or not (folder / "result.json").exists():
        return stamp
    try:
        return {**stamp, **_of_result(read_result(folder))}
    except DataError as error:
        raise DataError(f"{places.shown(folder)}: {error}; restore it, or run a cycle") from error


def _of_result(result: CycleResult) -> Readings:
    windows = family("slo_burn_rate").labels["window"]
    names = {window: format_duration(parse_duration(window)) for window in windows}  # 24h is called 1d inside
    burn = {(s.name, window): s.burn.get(name) for s in result.statuses for window, name in names.items()}
    left = {(s.name,): s.budget_left for s in result.statuses}
    return {
        "ihsan_compliance_score": {(): result.ihsan.value},
        "slo_error_budget_remaining": {k: min(1.0, max(0.0, v)) for k, v in left.items() if v is not None},
        "slo_burn_rate": {labels: value for labels, value in burn.items() if value is not None},
    }
