"""What was promised: the four kinds of objective.

``ratio`` counts good of total events, ``latency`` requests at or under a threshold, ``timeslice`` the slices
whose quantile meets a bound, ``invariant`` a gauge that must never leave its bound (budget zero).

>>> from datetime import timedelta
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30))
>>> round(api.budget, 6)
0.001
>>> from datetime import datetime, UTC
>>> month = Calendar("month", "Europe/Berlin")
>>> shop = Objective("shop", "ratio", 0.999, month.nominal, calendar=month)
>>> shop.span(datetime(2026, 11, 3, 23, tzinfo=UTC)).start.isoformat()  # midnight in Berlin
'2026-10-31T23:00:00+00:00'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from node0lib.timespan import Calendar, Period, Span

Kind = Literal["ratio", "latency", "timeslice", "invariant"]


@dataclass(frozen=True)
class Objective:
    """One SLO. ``objective`` lies in (0, 1), or is 1 for an invariant; ``threshold_s`` is in seconds.

    ``stream`` names the series of the embedded node; ``queries`` holds PromQL by role: ``good`` or ``bad``, and
    ``total`` (ratio), ``buckets`` (latency, timeslice: ``increase`` summed by ``le``), ``gauge`` (invariant).
    A query contains ``$window`` where the range goes.

    ``calendar`` is None for a rolling window. Else the promise is about the calendar's period so far, and ``window``
    is only what the period is reckoned as (7, 30, 91 or 365 days): ``span`` is the true one.
    """

    name: str
    kind: Kind
    objective: float
    window: timedelta
    description: str = ""
    stream: str | None = None
    queries: Mapping[str, str] = field(default_factory=dict)
    threshold_s: float | None = None
    quantile: float | None = None
    slice: timedelta = timedelta(minutes=1)
    minimum: float | None = None
    calendar: Calendar | None = None

    @property
    def budget(self) -> float:
        """The error budget B = 1 - objective."""
        return 1.0 - self.objective

    def span(self, at: datetime) -> Span:
        """Return the instants that the promise is about at ``at``: a rolling window, or the period so far."""
        period = self.period(at)
        return Span.ending(at, self.window) if period is None else period.so_far

    def period(self, at: datetime) -> Period | None:
        """Return the calendar's period at ``at``; None for a rolling window."""
        return None if self.calendar is None else self.calendar.period(at)
