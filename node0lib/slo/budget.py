"""Error budgets and burn rates.

Budget B = 1 - objective; burn(w) = error ratio over w / B; budget left = 1 - errors / (B x events), weighted
by events (never a mean of ratios). No traffic is a state of its own: no burn, nothing spent, never "100% good".
An invariant burns 0 while it holds and +inf when it does not. Source: SRE Workbook, ch. 5.

A calendar's budget is that of the period so far: errors / (B x events so far). At the period's end it is the budget of
the whole, and before that a promise is missed exactly if it would be at this rate; nobody's traffic is guessed.

>>> from datetime import timedelta
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30))
>>> round(burn_rate(api, Counts(good=9_856, total=10_000, coverage=1.0)), 6)
14.4
>>> round(budget_left(api, Counts(good=9_995, total=10_000, coverage=1.0)), 6)
0.5
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from node0lib.errors import DataError
from node0lib.sli.series import Counts
from node0lib.slo.catalogue import BudgetPolicy
from node0lib.slo.maintenance import excluded_length
from node0lib.slo.objective import Kind, Objective
from node0lib.timespan import Period, Span, format_duration

HOUR = timedelta(hours=1)
State = Literal["meeting", "at_risk", "breached", "no_data"]


@dataclass(frozen=True)
class SloStatus:
    """Where one SLO stands at an instant.

    ``counts`` are the events of the SLO's own window; ``burn`` maps a window ("1h") to its burn rate, ``ratio`` to its
    error ratio and ``bad`` to its bad events; None where nothing was observed. ``budget_left`` may be negative.
    ``problem`` says why there is no data, if so. ``period`` is the calendar's, where the window is one; ``excluded``
    how much of the own window was maintenance.
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
    problem: str | None = None
    period: Period | None = None
    excluded: timedelta = timedelta(0)
    ratio: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def sli(self) -> float | None:
        """The share of good events in the SLO's window."""
        ratio = self.counts.error_ratio
        return None if ratio is None else 1.0 - ratio

    @property
    def sli_most(self) -> float | None:
        """The most that ``sli`` can be, where good is known only within bounds; None where it is exact."""
        most = self.counts.good_most
        return None if most is None or not self.counts.observed else most / self.counts.total

    @property
    def hours_to_exhaustion(self) -> float | None:
        """Hours until the budget is gone if the last hour's burn goes on; None if it never would be.

        A rolling window forgets as fast as it goes on, so a burn under 1 never exhausts it; above, the forecast is the
        soonest: left x window / burn, as if nothing old were forgotten meanwhile.

        A calendar's budget is renewed at the period's end, so what would last until then is None. It grows with the
        events to come: with traffic as it was so far it is gone after left x elapsed / (burn - 1).
        """
        burn = self.burn.get("1h")
        if burn is None or self.budget_left is None or not 0 < burn < math.inf:
            return None
        left = max(0.0, self.budget_left)
        if self.period is None:
            return left * (self.window / HOUR) / burn if burn >= 1 - 1e-12 or left == 0 else None
        return _in_period(left, burn, (self.period.so_far.length - self.excluded) / HOUR, self.period)


def _in_period(left: float, burn: float, elapsed: float, period: Period) -> float | None:
    """Hours until a period's budget is gone, ``elapsed`` hours of it having counted; None if not in this period."""
    if left == 0:
        return 0.0
    hours = left * elapsed / (burn - 1) if burn > 1 else math.inf
    return hours if hours <= (period.whole.end - period.so_far.end) / HOUR else None


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


def kept(slo: Objective, scores: Sequence[float]) -> Counts:
    """Return the scores of cycles as samples of an invariant, good at or above its minimum (100 if it has none)."""
    if not scores:
        return Counts.nothing(f"no cycle within {format_duration(slo.window)} has scored it")
    need = 100.0 if slo.minimum is None else slo.minimum
    return Counts(float(sum(s >= need for s in scores)), float(len(scores)), 1.0)


def status(
    slo: Objective,
    counts: Mapping[timedelta, Counts],
    policy: BudgetPolicy,
    at: datetime | None = None,
    maintenance: Sequence[Span] = (),
) -> SloStatus:
    """Return the status from the counts of several windows; raises DataError if the SLO's own is missing.

    The own window's counts are those under ``slo.window``, which for a calendar is only a name: they are of
    ``slo.span(at)``. ``at`` is what a calendar needs; ``maintenance`` are the spans that the counts leave out.
    """
    if slo.window not in counts:
        raise DataError(f"{slo.name}: the counts of its window {format_duration(slo.window)} are missing")
    if slo.calendar is not None and at is None:
        raise DataError(f"{slo.name}: a calendar's status needs the instant it is of")
    own = counts[slo.window]
    recent = counts.get(policy.look_back, own) if slo.window > policy.look_back else own
    left = budget_left(slo, own)
    state = state_of(left, burn_rate(slo, recent), policy)
    return SloStatus(
        name=slo.name,
        kind=slo.kind,
        objective=slo.objective,
        window=slo.window,
        counts=own,
        burn={format_duration(w): burn_rate(slo, c) for w, c in counts.items()},
        bad={format_duration(w): c.total - c.good if c.observed else None for w, c in counts.items()},
        budget_left=left,
        state=state,
        problem=_silence(own, recent) if state == "no_data" else None,
        period=None if at is None else slo.period(at),
        excluded=timedelta(0) if at is None else excluded_length(slo.span(at), maintenance),
        ratio={format_duration(w): c.error_ratio for w, c in counts.items()},
    )


def _silence(own: Counts, recent: Counts) -> str:
    """Say why there is no data: nothing in the window, or nothing of late."""
    if not own.observed:
        return own.problem or "no traffic in the window"
    return recent.problem or "no traffic in the look-back"


def state_of(left: float | None, burn: float | None, policy: BudgetPolicy) -> State:
    """Return the state for the budget left and the burn over the look-back.

    A window with a silent look-back is no_data: what was good a day ago says nothing of now.
    """
    if left is None or burn is None:
        return "no_data"
    if left <= 0:
        return "breached"
    return "at_risk" if burn >= policy.alert_at_burn or left < policy.freeze_below else "meeting"
