"""Every metric family of ``alerts.metrics``, read from an installation whenever somebody asks.

Promise: one collector in a registry of its own, no global state, nothing written. Counters and histograms exist at zero
for every known label set; a gauge without data is absent, never 0. Between two readings counters only grow.

- The service's families are the embedded node's (HELP says SIMULATED): the history that is stored, and the minutes
  since under the live policy. Where telemetry comes from a Prometheus they are absent: the service itself exports them.
- A minute is shown when it has been over for ``SETTLED``; and while a cycle runs, none after the instant that the cycle
  looks at, since it may change the policy and with it the minutes that follow. So what was shown is what is stored.
  A cycle that was killed counts as running until the next one has accounted for it.
- Gauges are those of the newest cycle that ended; if that one failed there are none, since older ones are not true now.

>>> metric(family("alpha_requests_total"), {("success",): 5.0}).samples[0].value
5.0
>>> metric(family("slo_error_budget_remaining"), {}).samples
[]
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from node0lib.alerts.metrics import FAMILIES, Family, family
from node0lib.ports import Clock
from node0lib.shell import delivered
from node0lib.shell.config import EmbeddedTelemetry, Settings
from node0lib.shell.delivered import Delivered
from node0lib.shell.readings import SERVICE, Buckets, Labelled, Readings, of_delivery, of_newest, of_service
from node0lib.shell.tallies import ServiceTallies
from node0lib.shell.workspace import Places, live_policy
from node0lib.simulate.service import EmbeddedNode, minute_of

__all__ = ["CONTENT_TYPES", "SETTLED", "Exporter", "Format", "as_json", "family", "metric", "render"]

SETTLED = timedelta(minutes=1)
"""A cycle notes that it runs within this time of the instant that it looks at."""
Format = Literal["openmetrics", "text"]
CONTENT_TYPES: Mapping[Format, str] = {
    "openmetrics": openmetrics.CONTENT_TYPE_LATEST,
    "text": CONTENT_TYPE_PLAIN_0_0_4,
}
_ENCODERS: Mapping[Format, Callable[[CollectorRegistry], Any]] = {
    "openmetrics": openmetrics.generate_latest,
    "text": generate_latest,
}
_SIMULATED = " SIMULATED: this is the embedded node."
_ESTIMATED = " _sum is estimated from the middles of finer buckets."
_SHARED = " Latencies of failures are not recorded: they are taken in proportion to all."


class Exporter(Collector):
    """The metrics of one installation; ``own_only`` leaves the simulated service out. For any number of threads.

    ``collect`` raises a Node0Error that names the file if something stored cannot be read.
    """

    def __init__(self, settings: Settings, places: Places, clock: Clock, *, own_only: bool = False) -> None:
        self._places, self._clock = places, clock
        self._initial = settings.initial_policy
        self._lock = threading.Lock()
        self._tallies: ServiceTallies | None = None
        telemetry = settings.telemetry
        if isinstance(telemetry, EmbeddedTelemetry) and not own_only:
            self._tallies = ServiceTallies(places.history, EmbeddedNode(telemetry.seed), telemetry.history)

    def collect(self) -> Iterator[Metric]:
        """Yield the families in the table's order, all read at one time."""
        readings = self.readings()
        for one in FAMILIES:
            if one.name not in SERVICE or self._tallies is not None:
                yield metric(one, readings.get(one.name, {}))

    def readings(self) -> Readings:
        """Read everything that is known now."""
        with self._lock:
            known = delivered.read(self._places.state)
            return {**of_delivery(known), **of_newest(known, self._places), **self._service(known)}

    def _service(self, known: Delivered) -> Readings:
        last = self._tallies.last_minute() if self._tallies is not None else None
        if self._tallies is None or last is None:
            return {}
        end = minute_of(self._clock.now() - SETTLED)
        if known.running is not None:
            end = min(end, minute_of(known.running))
        # After the memory was asked who runs: a policy that a cycle applies later is not seen.
        policy = live_policy(self._places, self._initial)
        return of_service(self._tallies.until(end, last, policy))


def render(exporter: Exporter, form: Format) -> bytes:
    """Return everything in one of the exposition formats, UTF-8; raises what ``Exporter.collect`` does."""
    registry = CollectorRegistry()
    registry.register(exporter)
    return bytes(_ENCODERS[form](registry))


def as_json(exporter: Exporter) -> list[dict[str, Any]]:
    """Return the families as JSON can hold them; a value that is no finite number is a string, such as "+Inf"."""
    return [_plain(one) for one in exporter.collect()]


def _plain(one: Metric) -> dict[str, Any]:
    name = f"{one.name}_total" if one.type == "counter" else one.name  # the client library takes it off
    samples = [{"name": s.name, "labels": s.labels, "value": _number(s.value)} for s in one.samples]
    return {"name": name, "type": one.type, "help": one.documentation, "samples": samples}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else _go(value)


def _go(value: float) -> str:
    """Return a number as Go writes it: le="1.0" and le="1" are different series to a Prometheus before 3.0."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def metric(one: Family, read: Labelled) -> Metric:
    """Return a family as the client library wants it, with a zero for every known label set that was not read."""
    labelled = _zeros(one) | dict(read)
    if one.type == "histogram":
        return _histogram(one, labelled)
    kind = CounterMetricFamily if one.type == "counter" else GaugeMetricFamily
    made = kind(one.name, _help(one), labels=one.label_names)
    for labels, value in labelled.items():
        assert not isinstance(value, Buckets)
        made.add_metric(labels, value)
    return made


def _histogram(one: Family, labelled: Labelled) -> Metric:
    bounds = [_go(bound) for bound in (*one.buckets, math.inf)]
    made = HistogramMetricFamily(one.name, _help(one), labels=one.label_names)
    for labels, value in labelled.items():
        assert isinstance(value, Buckets)
        made.add_metric(labels, list(zip(bounds, value.cumulative, strict=True)), value.seconds)
    return made


def _zeros(one: Family) -> dict[tuple[str, ...], float | Buckets]:
    if one.type == "gauge":
        return {}
    zero = Buckets.of(one.buckets, ()) if one.type == "histogram" else 0.0
    return dict.fromkeys(itertools.product(*one.labels.values()), zero)


def _help(one: Family) -> str:
    if one.name not in SERVICE:
        return one.help
    estimated = _ESTIMATED if one.type == "histogram" else ""
    return one.help + _SIMULATED + estimated + (_SHARED if one.name == "http_request_duration_seconds" else "")
