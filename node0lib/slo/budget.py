"""Error budgets and burn rates.

Budget B = 1 - objective; burn(w) = error ratio over w / B; budget left = 1 - errors / (B x events), weighted
by events (never a mean of ratios). No traffic is a state of its own: no burn, nothing spent, never "100% good".
An invariant burns 0 while it holds and +inf when it does not. Source: SRE Workbook, ch. 5.

>>> from datetime import timedelta
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30))
>>> round(burn_rate(api, Counts(good=9_856, total=10_000, coverage=1.0)), 6)
14.4
>>> round(budget_left(api, Counts(good=9_995, total=10_000, coverage=1.0)), 6)
0.5
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from node0lib.errors import DataError
from node0lib.sli.series import Counts
from node0lib.slo.catalogue import BudgetPolicy
from node0lib.slo.objective import Kind, Objective
from node0lib.timespan import format_duration

State = Literal["meeting", "at_risk", "breached", "no_data"]


@dataclass(frozen=True)
class SloStatus:
    """Where one SLO stands at an instant.

    ``counts`` are the events of the SLO's own window; ``burn`` maps a window ("1h") to its burn rate and
    ``bad`` to its bad events; None where nothing was observed. ``budget_left`` may be negative.
    """

    name: str
    kind: Kind
    objective: float
    window: timedelta
    counts: Counts
    burn: Mapping[str, float | None]
    bad: Mapping[str, float | None]
    budget_left: float | None
    state: State

    @property
    def sli(self) -> float | None:
        """The share of good events in the SLO's window."""
        ratio = self.counts.error_ratio
        return None if ratio is None else 1.0 - ratio

    @property
    def hours_to_exhaustion(self) -> float | None:
        """Hours until the budget is gone if the last hour's burn goes on; None if it never would be."""
        burn = self.burn.get("1h")
        if burn is None or self.budget_left is None or not 0 < burn < math.inf:
            return None
        return max(0.0, self.budget_left) * (self.window / timedelta(hours=1)) / burn


def burn_rate(slo: Objective, counts: Counts) -> float | None:
    """Return the burn of those counts; None without traffic, +inf for an invariant that is broken."""
    ratio = counts.error_ratio
    if ratio is None:
        return None
    if slo.kind == "invariant":
        return math.inf if ratio > 0 else 0.0
    return ratio / slo.budget


def budget_left(slo: Objective, counts: Counts) -> float | None:
    """Return 1 - errors / (B x events) over the SLO's window; at most 1, negative when overspent."""
    ratio = counts.error_ratio
    if ratio is None:
        return None
    if slo.kind == "invariant":
        return 0.0 if ratio > 0 else 1.0
    return 1.0 - ratio / slo.budget


def status(slo: Objective, counts: Mapping[timedelta, Counts], policy: BudgetPolicy) -> SloStatus:
    """Return the status from the counts of several windows; raises DataError if the SLO's own is missing."""
    if slo.window not in counts:
        raise DataError(f"{slo.name}: the counts of its window {format_duration(slo.window)} are missing")
    own = counts[slo.window]
    burn = {format_duration(w): burn_rate(slo, c) for w, c in counts.items()}
    bad = {format_duration(w): c.total - c.good if c.observed else None for w, c in counts.items()}
    left = budget_left(slo, own)
    recent = counts.get(policy.look_back, own) if slo.window > policy.look_back else own
    state = _state(left, burn_rate(slo, recent), policy)
    return SloStatus(slo.name, slo.kind, slo.objective, slo.window, own, burn, bad, left, state)


def _state(left: float | None, burn: float | None, policy: BudgetPolicy) -> State:
    """A window with a silent look-back is no_data: what was good a day ago says nothing of now."""
    if left is None or burn is None:
        return "no_data"
    if left <= 0:
        return "breached"
    return "at_risk" if burn >= policy.alert_at_burn or left < policy.freeze_below else "meeting"
