"""Panels for a review: DORA's five delivery metrics, and how long the cycles of node0 take.

Promises: each number says over how long and out of how many; no data is no number, never 0. What is counted is what
the exporter counts: a deployment is ``success`` when it was kept and ``rolled_back`` when its own canary undid it;
``failed`` counts, in addition, each time that a later cycle took a kept one back. Taking back is a deployment that
nobody planned, and the only kind of those that node0 makes: so the rework rate needs no counter of its own.

Source: dora.dev, the five metrics of software delivery (2024 on); targets are those of ``dora_targets``.

>>> from grafana_foundation_sdk.models.dashboard import DataSourceRef
>>> [panel.title for panel in delivery(DoraTargets(), DataSourceRef("prometheus", "${datasource}"))][2:]
['Change fail rate', 'Failed deployment recovery time', 'Deployment rework rate']
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from node0lib.alerts import panels as p
from node0lib.alerts.metrics import family
from node0lib.alerts.panels import Query, Scale, Text, rising
from node0lib.alerts.sli_queries import RATE, own
from node0lib.slo.catalogue import DoraTargets
from node0lib.timespan import format_duration

_WINDOWS = (("7d", "7 days"), ("30d", "30 days"))
_CYCLES = "bizra_optimizer_cycle_duration_seconds"
Over = Callable[[str], str]
"""From a PromQL range ("7d") to the expression over it."""


def delivery(targets: DoraTargets, source: Any) -> list[Any]:
    """Return the five panels, coloured by the targets; each shows the last 7 and 30 days."""
    return [
        _frequency(targets, source),
        _duration("lead_time", "Lead time for changes", "deployment_lead_time_seconds", targets.lead_time, source),
        _fail_rate(targets, source),
        _duration(
            "recovery_time",
            "Failed deployment recovery time",
            "incident_resolution_time_seconds",
            targets.recovery_time,
            source,
        ),
        _rework(source),
    ]


def cycles(source: Any) -> list[Any]:
    """Return the histogram of the cycles' durations over time, and its quantiles."""
    steps = rising("green", (family(_CYCLES).buckets[-1], "red"))
    return [_histogram(steps, source), _quantiles(steps, source)]


def _frequency(targets: DoraTargets, source: Any) -> Any:
    least = targets.deployments_per_day
    text = Text(
        "dora/deployment_frequency",
        "Deployment frequency",
        "Deployments a day: changes that were kept, and changes that their own canary undid. "
        f"Green from the target of {least:g} a day on. A cycle that changes nothing deploys nothing.",
    )
    scale = Scale("short", rising("orange", (least, "green")), 2)
    return _review(text, lambda window: f"{_deployed(window)} / {window.removesuffix('d')}", scale, source)


def _fail_rate(targets: DoraTargets, source: Any) -> Any:
    most = targets.change_fail_rate
    text = Text(
        "dora/change_fail_rate",
        "Change fail rate",
        "The share of deployments that were undone, by their own canary or by a later cycle. Orange from the target of "
        f"{100 * most:g}% on. The count says how many deployments it rests on; without any there is no rate.",
    )

    def rate(window: str) -> str:
        failed = _increase("deployments_total", window, 'status=~"failed|rolled_back"')
        return f"clamp_max({failed} / ({_deployed(window)} > 0), 1)"

    scale = Scale("percentunit", rising("green", (most, "orange")), 1)
    return _review(text, rate, scale, source, counted=_deployed)


def _rework(source: Any) -> Any:
    text = Text(
        "dora/rework_rate",
        "Deployment rework rate",
        "The share of deployments that nobody planned: those that took an earlier change back after it had done harm. "
        "Lower is better; there is no target. The count says how many deployments, these included, it rests on.",
    )

    def rate(window: str) -> str:
        undone = _increase("deployments_total", window, 'status="failed"')
        return f"{undone} / ({_all(window)} > 0)"

    return _review(text, rate, Scale("percentunit", rising("blue"), 1), source, counted=_all)


def _duration(key: str, title: str, metric: str, most: timedelta, source: Any) -> Any:
    text = Text(
        f"dora/{key}",
        title,
        f"{family(metric).help} Half of them took at most this long; it is read off the buckets of a histogram, so it "
        f"is exact only near their bounds. Orange from the target of {format_duration(most)} on. The count says how "
        "many it rests on; without any there is no number.",
    )

    def median(window: str) -> str:
        buckets = own(f"{metric}_bucket")
        # The quantile of nothing is NaN, which the comparison drops.
        return f"histogram_quantile(0.5, sum by (le) (increase({buckets}[{window}]))) >= 0"

    def count(window: str) -> str:
        return _increase(f"{metric}_count", window)

    scale = Scale("s", rising("green", (most.total_seconds(), "orange")), 1)
    return _review(text, median, scale, source, counted=count)


def _review(text: Text, over: Over, scale: Scale, source: Any, *, counted: Over | None = None) -> Any:
    """One number for each window and, last, out of how many in the longest one."""
    queries = [Query(over(window), name) for window, name in _WINDOWS]
    width = 12 if text.key in {"dora/recovery_time", "dora/rework_rate"} else 8
    if counted is None:
        return p.numbers(text, queries, scale, source, width=width, height=6)
    longest, name = _WINDOWS[-1]
    queries.append(Query(counted(longest), f"count, {name}"))
    return p.counted(p.numbers(text, queries, scale, source, width=width, height=6), f"count, {name}")


def _increase(sample: str, window: str, *matchers: str) -> str:
    return f"sum(increase({own(sample, *matchers)}[{window}]))"


def _deployed(window: str) -> str:
    return _increase("deployments_total", window, 'status=~"success|rolled_back"')


def _all(window: str) -> str:
    """Every deployment, those that took a change back included."""
    return _increase("deployments_total", window, 'status=~"success|rolled_back|failed"')


def _histogram(steps: list[Any], source: Any) -> Any:
    text = Text(
        "cycles/histogram",
        "Cycle durations",
        "How many cycles took how long: a column an hour, a cell a bucket of the histogram, darker for more cycles. "
        "The number on the left is the upper bound of a bucket.",
    )
    query = Query(f"sum by (le) (increase({own(f'{_CYCLES}_bucket')}[{RATE}]))", "{{le}}")
    return p.heat_map(text, query, Scale("s", steps), source, width=14, height=9, every="1h")


def _quantiles(steps: list[Any], source: Any) -> Any:
    last = family(_CYCLES).buckets[-1]
    text = Text(
        "cycles/quantiles",
        "Cycle duration, p50 and p95",
        "The time within which half of the cycles of the last 24 hours were done, and 95 in 100 of them. At the dashed "
        f"line, {last:g} s, the histogram ends: a quantile that lies there may be anything above.",
    )
    buckets = f"sum by (le) (increase({own(f'{_CYCLES}_bucket')}[1d]))"
    queries = [Query(f"histogram_quantile({q}, {buckets}) >= 0", name) for q, name in ((0.5, "p50"), (0.95, "p95"))]
    return p.lines(text, queries, Scale("s", steps, 1, 0, float(last)), source, width=10, height=9)
