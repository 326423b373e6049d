"""Findings about alerts as data, and what is looked at to find them.

>>> from node0lib.alerts.measured import Facts
>>> subject = Subject("api", "ratio", None, Facts())
>>> subject.finding("no-series", "warning", "has no series", "selects nothing", "scrape it").slo
'api'
>>> percent(0.9305555555), length(timedelta(seconds=14.9))
('93.0556%', '14.9 s')
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from node0lib.alerts.measured import Facts
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.slo.objective import Kind
from node0lib.timespan import format_duration

Gravity = Literal["error", "warning", "note"]
GRAVITIES: tuple[Gravity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing to know: ``why`` has the numbers, ``advice`` what to do. ``slo`` and ``alert`` say where."""

    code: str
    severity: Gravity
    what: str
    slo: str | None
    alert: str | None
    why: str
    advice: str


@dataclass(frozen=True)
class Subject:
    """What is looked at: an SLO (None: only a policy file), its alerts (None: it has none), and what was measured."""

    slo: str | None
    kind: Kind
    policy: AlertPolicy | None
    facts: Facts
    threshold_s: float | None = None
    slice: timedelta | None = None
    window: timedelta | None = None

    def finding(
        self, code: str, severity: Gravity, what: str, why: str, advice: str, alert: BurnAlert | None = None
    ) -> Finding:
        """Return a finding about this SLO."""
        return Finding(code, severity, what, self.slo, alert.name if alert else None, why, advice)

    @property
    def event(self) -> str:
        """What is counted."""
        return "slice" if self.kind == "timeslice" else "request"


def percent(share: float) -> str:
    """Return a share as it is read, to six digits."""
    return f"{100 * share:.6g}%"


def length(duration: timedelta) -> str:
    """Return a duration as it is read; a measured one need not be round."""
    whole = duration % timedelta(seconds=1) == timedelta(0)
    return format_duration(duration) if whole else f"{duration.total_seconds():.3g} s"
