"""The metrics that node0 exports: one table, which the exporter serves and the dashboard draws.

Names, label names and bucket bounds (seconds) are a promise to dashboards and rules elsewhere. ``labels`` lists for
each label the values that are known beforehand: every combination exists from the first scrape on, at zero, because a
counter that is born above zero hides its first events from ``increase``. A label without known values (an SLO's name)
gets them from the installation.

>>> family("slo_burn_rate").label_names
('slo_name', 'window')
>>> family("deployments_total").samples
('deployments_total',)
>>> len(family("http_request_duration_seconds").buckets)
11
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Type = Literal["counter", "gauge", "histogram"]

_CLASSES = ("L", "M", "H")
_METHODS, _ENDPOINTS, _CODES = ("POST",), ("/v1/tasks",), ("200", "500")


@dataclass(frozen=True)
class Family:
    """One metric family. ``labels``: label name -> known values, in order; ``buckets``: upper bounds, +Inf left out."""

    name: str
    type: Type
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which PromQL finds it."""
        if self.type == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


FAMILIES: tuple[Family, ...] = (
    Family(
        "http_request_duration_seconds",
        "histogram",
        "Latency of requests to the API.",
        {"method": _METHODS, "endpoint": _ENDPOINTS, "status_code": _CODES},
        (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    ),
    Family(
        "http_requests_total",
        "counter",
        "Requests to the API; code is the HTTP status.",
        {"method": _METHODS, "endpoint": _ENDPOINTS, "code": _CODES},
    ),
    Family(
        "alpha_request_duration_seconds",
        "histogram",
        "Latency of the alpha service's jobs.",
        {"operation": ("task",)},
        (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
    ),
    Family("alpha_requests_total", "counter", "The alpha service's jobs.", {"status": ("success", "failure")}),
    Family(
        "mcp_llm_request_duration_seconds",
        "histogram",
        "Latency of calls to the language model.",
        {"model": ("default",)},
        (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
    ),
    Family("mcp_tools_requests_total", "counter", "Calls of tools.", {"status": ("success", "failure")}),
    Family(
        "agent_coordination_duration_seconds",
        "histogram",
        "Latency of hand-overs between agents.",
        {"coordinator": ("default",), "agent_type": ("worker",)},
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1),
    ),
    Family("agent_tasks_total", "counter", "Tasks of the agents.", {"outcome": ("success", "failure")}),
    Family(
        "bizra_optimizer_cycle_duration_seconds",
        "histogram",
        "Wall time of production cycles, by how they ended.",
        {
            "cycle_status": (
                "applied",
                "no_change",
                "recommended",
                "held",
                "inconclusive",
                "blocked",
                "rolled_back",
                "failed",
            )
        },
        (1, 5, 10, 15, 30, 60, 120, 300),
    ),
    Family(
        "deployment_lead_time_seconds",
        "histogram",
        "From the start of the cycle that found a change (it has no commit) to production, of kept ones.",
        {},
        (60, 300, 900, 1800, 3600, 14_400, 43_200, 86_400, 604_800),
    ),
    Family(
        "incident_resolution_time_seconds",
        "histogram",
        "From the opening of an incident to its resolution, of incidents that lasted.",
        {},
        (60, 300, 900, 1800, 3600, 14_400, 43_200, 86_400, 604_800),
    ),
    Family(
        "canary_rollback_seconds",
        "histogram",
        "From the decision to take a canary's traffic back to the first read-back of none.",
        {},
        (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60),
    ),
    Family(
        "deployments_total",
        "counter",
        "Deployments by outcome and risk class: success was kept, rolled_back undone by its own canary; "
        "failed was taken back later and is counted as a success too.",
        {"status": ("success", "failed", "rolled_back"), "change_class": (*_CLASSES, "unknown")},
    ),
    Family("ihsan_compliance_score", "gauge", "The ihsan score of the newest cycle, 0 to 100; absent if it failed."),
    Family(
        "node0_last_cycle_timestamp_seconds",
        "gauge",
        "The instant that the newest ended cycle looked at, in seconds since 1970; absent before the first.",
    ),
    Family(
        "slo_error_budget_remaining",
        "gauge",
        "The share of the error budget that is left, 0 to 1; absent without data.",
        {"slo_name": ()},
    ),
    Family(
        "slo_burn_rate",
        "gauge",
        "Error ratio over the window divided by the error budget; absent without data.",
        {"slo_name": (), "window": ("5m", "30m", "1h", "6h", "24h", "3d")},
    ),
)
_BY_NAME = {family.name: family for family in FAMILIES}


def family(name: str) -> Family:
    """Return the family of that name; raises KeyError if node0 exports none."""
    return _BY_NAME[name]
