"""What was promised: the four kinds of objective.

``ratio`` counts good of total events, ``latency`` requests at or under a threshold, ``timeslice`` the slices
whose quantile meets a bound, ``invariant`` a gauge that must never leave its bound (budget zero).

>>> from datetime import timedelta
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30))
>>> round(api.budget, 6)
0.001
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

Kind = Literal["ratio", "latency", "timeslice", "invariant"]


@dataclass(frozen=True)
class Objective:
    """One SLO. ``objective`` lies in (0, 1), or is 1 for an invariant; ``threshold_s`` is in seconds.

    ``stream`` names the series of the embedded node; ``queries`` holds PromQL by role: ``good`` and ``total``
    (ratio), ``buckets`` (latency, timeslice: ``increase`` summed by ``le``), ``gauge`` (invariant).
    A query contains ``$window`` where the range goes.
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

    @property
    def budget(self) -> float:
        """The error budget B = 1 - objective."""
        return 1.0 - self.objective
