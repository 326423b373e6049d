"""Burn-rate alert policies as data: what must burn, over which windows, for how long.

An alert fires when the error ratio over ``long`` and the one over ``short`` are both above factor x budget (strictly),
at least ``min_bad`` bad events lie in the long window, and all of that has held for ``hold`` (Prometheus's ``for``).
The threshold is the float64 product ``factor * budget``, the very number that the emitted rules compare with.
Source: SRE Workbook, ch. 5 (multiwindow, multi-burn-rate alerts).

>>> month, hour = timedelta(days=30), timedelta(hours=1)
>>> page = BurnAlert.spending("page", "critical", 0.02, hour, hour / 12, month)
>>> round(page.factor, 6)
14.4
>>> policy = AlertPolicy(0.999, month, (page,))
>>> round(policy.threshold(page), 6)
0.0144
>>> page.can_fire(0.93), page.can_fire(0.999)
(False, True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from node0lib.errors import ConfigError
from node0lib.slo.catalogue import Alerting, Severity
from node0lib.timespan import format_duration

Scaling = Literal["static", "traffic"]
_NOTHING = timedelta(0)


@dataclass(frozen=True)
class BurnAlert:
    """One multiwindow alert; ``factor`` > 0 is a burn rate, ``min_bad`` 0 asks for no bad events.

    ``short == long`` is an alert on a single window. ``scaling`` "traffic" multiplies the threshold by the traffic that
    the period usually has in a long window over what this one has: a quiet hour must fail more to spend as much.
    Raises ConfigError for a short window above the long one and for numbers that make no sense.
    """

    name: str
    severity: Severity
    long: timedelta
    short: timedelta
    factor: float
    hold: timedelta = _NOTHING
    min_bad: float = 0.0
    scaling: Scaling = "static"

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise ConfigError(f"alert {self.name}: the factor {self.factor:g} must be above 0 and finite")
        if not _NOTHING < self.short <= self.long:
            windows = f"{format_duration(self.short)} and {format_duration(self.long)}"
            raise ConfigError(f"alert {self.name}: of {windows} the short window must be above 0 and at most the long")
        if self.hold < _NOTHING or not 0 <= self.min_bad < float("inf"):
            raise ConfigError(f"alert {self.name}: for and min_bad must be at least 0")

    @classmethod
    def spending(
        cls,
        name: str,
        severity: Severity,
        budget: float,
        long: timedelta,
        short: timedelta,
        period: timedelta,
        hold: timedelta = _NOTHING,
        min_bad: float = 0.0,
    ) -> BurnAlert:
        """Return the alert on spending ``budget`` (a share of the period's) in the long window."""
        return cls(name, severity, long, short, budget * (period / long), hold, min_bad)

    def can_fire(self, objective: float) -> bool:
        """Return whether a total outage (error ratio 1) is above the threshold."""
        return self.factor * (1.0 - objective) < 1.0


@dataclass(frozen=True)
class AlertPolicy:
    """The alerts of one SLO. Raises ConfigError for an objective outside (0, 1) and for names used twice."""

    objective: float
    period: timedelta
    alerts: tuple[BurnAlert, ...]

    def __post_init__(self) -> None:
        if not 0 < self.objective < 1:
            raise ConfigError(f"the objective {self.objective:g} must lie strictly between 0 and 1; write 0.999")
        if self.period <= _NOTHING:
            raise ConfigError("the period must be longer than 0; 30d is usual")
        if not self.alerts:
            raise ConfigError("the policy has no alerts; it needs at least one")
        names = [alert.name for alert in self.alerts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"alert {twice[0]} is there twice; names must differ")

    @property
    def budget(self) -> float:
        """The error budget B = 1 - objective."""
        return 1.0 - self.objective

    def threshold(self, alert: BurnAlert) -> float:
        """Return the error ratio above which the alert's windows must lie."""
        return alert.factor * self.budget


def fires(short: float, long: float, bad: float, threshold: float, min_bad: float) -> bool:
    """Return whether an alert's condition holds: both windows' error ratios above the threshold, enough bad events.

    This is the condition of the replay kernel on buckets (which compiles it) and of the gates. A ratio that is NaN (0
    of 0) holds nothing.
    """
    return short > threshold and long > threshold and bad >= min_bad


def policy_of(objective: float, alerting: Alerting) -> AlertPolicy:
    """Return the catalogue's alerting as a policy for an SLO of that objective.

    Names are severity and long window, critical_1h, with the pair's number where two would be called the same.
    """
    names = [f"{pair.severity}_{format_duration(pair.long)}" for pair in alerting.pairs]
    alerts = [
        BurnAlert.spending(
            name if names.count(name) == 1 else f"{name}_{number}",
            pair.severity,
            pair.budget,
            pair.long,
            pair.short,
            alerting.period,
            pair.hold,
            alerting.guard(pair),
        )
        for number, (name, pair) in enumerate(zip(names, alerting.pairs, strict=True), start=1)
    ]
    return AlertPolicy(objective, alerting.period, tuple(alerts))


def workbook_policy(objective: float = 0.999, period: timedelta = timedelta(days=30)) -> AlertPolicy:
    """Return the four pairs of the SRE Workbook, without a guard on bad events."""
    return policy_of(objective, Alerting(period=period, min_bad=0))


def windows(alerts: Sequence[BurnAlert]) -> tuple[timedelta, ...]:
    """Return every window that the alerts look at, rising, each once."""
    return tuple(sorted({window for alert in alerts for window in (alert.short, alert.long)}))
