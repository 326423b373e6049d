"""What people promised, as frozen values: the SLOs and the rules around them.

The defaults are node0's own reading of the domain; ``configs/slo.yaml`` spells every one of them out.

>>> Catalogue(slos=()).budget_policy.optimize_above
0.5
>>> round(AlertPair("critical", 0.02, timedelta(hours=1), timedelta(minutes=5)).factor(timedelta(days=30)), 6)
14.4
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from node0lib.errors import ConfigError
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.objective import Objective

Severity = Literal["critical", "warning", "info"]
BURN_WINDOWS: tuple[timedelta, ...] = tuple(
    timedelta(minutes=m) for m in (5, 30, 60, 6 * 60, 24 * 60, 3 * 24 * 60)
)


class ChangeClass(StrEnum):
    """Risk class of a change: low, medium, high."""

    L = "L"
    M = "M"
    H = "H"


@dataclass(frozen=True)
class BudgetPolicy:
    """When a budget alerts, freezes deployments, or leaves room to optimize (shares in [0, 1])."""

    alert_at_burn: float = 2.0
    freeze_below: float = 0.25
    optimize_above: float = 0.5
    look_back: timedelta = timedelta(minutes=60)


@dataclass(frozen=True)
class AlertPair:
    """One multiwindow burn-rate alert (SRE Workbook, ch. 5): ``budget`` is the share spent in ``long``.

    ``hold`` is Prometheus's ``for``: how long it must have burnt. ``min_bad`` None is the section's.
    """

    severity: Severity
    budget: float
    long: timedelta
    short: timedelta
    hold: timedelta = timedelta(0)
    min_bad: float | None = None

    def factor(self, period: timedelta) -> float:
        """Return the burn rate above which the alert fires: budget share x period / long window."""
        return self.budget * (period / self.long)


def _pairs() -> tuple[AlertPair, ...]:
    hour = timedelta(hours=1)
    return (
        AlertPair("critical", 0.02, hour, hour / 12),
        AlertPair("warning", 0.05, 6 * hour, hour / 2),
        AlertPair("info", 0.10, 24 * hour, 2 * hour),
        AlertPair("info", 0.10, 72 * hour, 6 * hour),
    )


@dataclass(frozen=True)
class Alerting:
    """The burn-rate alerts; ``min_bad`` bad events must lie in the long window of a pair that asks for no other."""

    period: timedelta = timedelta(days=30)
    min_bad: int = 3
    pairs: tuple[AlertPair, ...] = field(default_factory=_pairs)

    def guard(self, pair: AlertPair) -> float:
        """Return how many bad events must lie in the pair's long window."""
        return self.min_bad if pair.min_bad is None else pair.min_bad


@dataclass(frozen=True)
class DoraTargets:
    """What delivery aims at; ``change_fail_rate`` is a share in [0, 1]."""

    deployments_per_day: float = 2.0
    lead_time: timedelta = timedelta(hours=1)
    change_fail_rate: float = 0.05
    recovery_time: timedelta = timedelta(minutes=30)


@dataclass(frozen=True)
class ChangeRule:
    """How a class of change is recognised and rolled out.

    A change is in the class if its kind is listed, or its expected improvement reaches
    ``improvement_at_least`` or exceeds ``improvement_above``, or its confidence is under ``confidence_under``
    (None: not asked).
    The highest class wins.
    ``stages`` are canary shares in (0, 1], empty for "applied at once"; ``stage_duration`` is then the watch.
    """

    kinds: tuple[str, ...]
    improvement_at_least: float | None
    improvement_above: float | None
    confidence_under: float | None
    stages: tuple[float, ...]
    stage_duration: timedelta
    approval: bool
    on_inconclusive: Literal["extend", "ask"]
    harm_cap: float


def _classes() -> dict[ChangeClass, ChangeRule]:
    quarter, half = timedelta(minutes=15), timedelta(minutes=30)
    high = ("consensus", "blockchain", "crypto", "validation")
    medium = ("algorithm", "routing", "scheduling", "feature_flag", "retry")
    low = ("cache_ttl", "batch", "timeout")
    return {
        ChangeClass.L: ChangeRule(low, None, None, None, (), timedelta(minutes=5), False, "ask", 2.0),
        ChangeClass.M: ChangeRule(
            medium, 0.25, None, None, (0.05, 0.25, 0.5, 1.0), quarter, False, "extend", 2.0
        ),
        ChangeClass.H: ChangeRule(
            high, None, 0.5, 0.7, (0.01, 0.05, 0.25, 0.5, 1.0), half, True, "ask", 1.5
        ),
    }


@dataclass(frozen=True)
class GateRules:
    """Which gates are asked before anything changes, and their thresholds."""

    slo_compliance: bool = True
    telemetry: bool = True
    burn_alerts: bool = True
    recent_incident: timedelta = timedelta(minutes=60)
    ihsan_at_least: float = 95.0


@dataclass(frozen=True)
class CanaryRules:
    """Margins relative to the control (0.05 is +5%), and the error rates of the test.

    ``design_effect`` (1 or more) is how much more the arms' shares of bad events vary than with independent requests.
    """

    error_rate: float = 0.05
    latency_p95: float = 0.05
    latency_p99: float = 0.10
    alpha: float = 0.05
    beta: float = 0.05
    minimum_requests: int = 100
    ihsan_at_least: float = 95.0
    design_effect: float = 1.0


@dataclass(frozen=True)
class RollbackRules:
    """What takes an applied change back, ``within`` from the decision; a canary that fails always is."""

    slo_breach: bool = True
    budget_exhausted: bool = True
    ihsan_below: float = 95.0
    telemetry_lost: bool = True
    within: timedelta = timedelta(seconds=30)


@dataclass(frozen=True)
class Composite:
    """Several SLOs looked at as one; ``of`` maps their names to weights above 0, of which only the ratios matter."""

    name: str
    of: Mapping[str, float]
    description: str = ""


@dataclass(frozen=True)
class Catalogue:
    """Everything in ``configs/slo.yaml``; ``slos`` in the file's order, names unique, also among ``composites``."""

    slos: tuple[Objective, ...]
    budget_policy: BudgetPolicy = field(default_factory=BudgetPolicy)
    alerting: Alerting = field(default_factory=Alerting)
    dora: DoraTargets = field(default_factory=DoraTargets)
    classes: Mapping[ChangeClass, ChangeRule] = field(default_factory=_classes)
    gates: GateRules = field(default_factory=GateRules)
    canary: CanaryRules = field(default_factory=CanaryRules)
    rollback: RollbackRules = field(default_factory=RollbackRules)
    maintenance: tuple[Maintenance, ...] = ()
    composites: tuple[Composite, ...] = ()

    def slo(self, name: str) -> Objective:
        """Return the SLO of that name; raises ConfigError naming the known ones."""
        for slo in self.slos:
            if slo.name == name:
                return slo
        known = ", ".join(s.name for s in self.slos)
        raise ConfigError(f"there is no SLO {name!r}; the catalogue has {known}")
