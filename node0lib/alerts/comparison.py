"""Candidate policies on a service's own past, against the incidents that people labelled.

What counts, beyond the rules of ``quality``:
- Labels that overlap are one incident, from the first start to the last end.
- A label counts for recall and detection if it began in the range, was observed at all and spent enough. One that began
  before makes pages true, but nobody evaluated its onset; one of which nothing was observed can be neither found nor
  missed. Each label says which it is.
- An incident that is open, or ends after the range, has no reset.
- Pages a month are reckoned over the time that was observed.
- Without any label in the range nothing is known of precision, recall, detection and false pages: only what fired.

All policies see the same past and the same incidents; what an incident spent is reckoned by the SLO's own budget.

>>> from datetime import UTC
>>> t = datetime(2026, 11, 24, 12, tzinfo=UTC)
>>> hour = timedelta(hours=1)
>>> merged, told = merge([Label("a", t, t + hour), Label("b", t + hour / 2, None), Label("c", t - hour, t)])
>>> [(one.name, one.end) for one in merged][1], told
(('a + b', None), ('a and b overlap; they count as one incident',))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from node0lib.alerts.past import Past
from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.quality import Event, Quality, QualityRules, judge, pages_of
from node0lib.alerts.replay import Bools, Floats
from node0lib.alerts.timeline import Firing, intervals
from node0lib.errors import ConfigError
from node0lib.ports import Progress
from node0lib.sli.intervals import Estimate, poisson_rate
from node0lib.slo.catalogue import Severity
from node0lib.timespan import Span

MOST = 20
"""Policies in one comparison."""
Standing = Literal["counted", "too small", "began before", "not observed", "outside"]
_NEVER = -math.inf
"""What an incident that must not be an event has spent: less than any share that is asked for."""


@dataclass(frozen=True)
class Label:
    """An incident that somebody wrote down; ``end`` is None while it is open. Times are UTC."""

    name: str
    start: datetime
    end: datetime | None

    def within(self, span: Span, grace: timedelta) -> bool:
        """Return whether any of [start, end + grace] lies in the span."""
        return self.start < span.end and (self.end is None or self.end + grace > span.start)


@dataclass(frozen=True)
class Candidate:
    """A policy with the name that it goes by, and where it comes from."""

    name: str
    told: str
    policy: AlertPolicy


@dataclass(frozen=True)
class Labelled:
    """A label on this past. ``spent`` (a share of the period's budget) and ``observed`` are those of its own time."""

    label: Label
    standing: Standing
    spent: float | None
    observed: float
    event: Event


@dataclass(frozen=True)
class Page:
    """One page [start, end): any paging alert fires, onsets near each other merged.

    ``began_before``: it was up at the range's start already. ``resolved`` is false if it is up at the range's end.
    ``true`` is None where no incident is labelled. ``spent`` is the budget spent in the period before its start.
    """

    start: datetime
    end: datetime
    began_before: bool
    resolved: bool
    true: bool | None
    spent: float | None


@dataclass(frozen=True)
class Judged:
    """One policy: the firings of each alert, its pages, their quality, how soon each incident was paged.

    ``detections`` has seconds for every incident, +inf if it was missed, None if it does not count.
    """

    candidate: Candidate
    firings: tuple[tuple[Firing, ...], ...]
    began_before: tuple[bool, ...]
    pages: tuple[Page, ...]
    quality: Quality
    detections: tuple[float | None, ...]
    labelled: bool

    @property
    def precision(self) -> Estimate | None:
        """The share of pages that were true; None without a page or without a label."""
        return self.quality.precision if self.labelled else None

    @property
    def false_pages(self) -> Estimate | None:
        """False pages a month; None without a label."""
        return self.quality.false_pages if self.labelled else None

    @property
    def pages_a_month(self) -> Estimate | None:
        """Pages a month, true or not."""
        return poisson_rate(self.quality.pages, self.quality.months)


@dataclass(frozen=True)
class Comparison:
    """All policies on one past, the catalogue's own first. ``firing`` (alerts, count) is the first policy's."""

    past: Past
    rules: QualityRules
    paging: tuple[Severity, ...]
    incidents: tuple[Labelled, ...]
    judged: tuple[Judged, ...]
    firing: Bools
    spent: Floats

    @property
    def inside(self) -> tuple[Labelled, ...]:
        """The incidents that the range has any part in."""
        return tuple(one for one in self.incidents if one.standing != "outside")

    @property
    def unlabelled(self) -> str | None:
        """Why nothing is known of precision and recall, if so."""
        if self.inside:
            return None
        beside = len(self.incidents)
        return f"no incidents are labelled in the range ({beside} outside)" if beside else "no incidents are labelled"


def merge(labels: Sequence[Label]) -> tuple[tuple[Label, ...], tuple[str, ...]]:
    """Return the labels rising and disjoint, overlapping ones as one, and what was made one."""
    found: list[Label] = []
    told = []
    for label in sorted(labels, key=lambda one: (one.start, one.name)):
        last = found[-1] if found else None
        if last is None or (last.end is not None and label.start >= last.end):
            found.append(label)
            continue
        ends = (last.end, label.end)
        end = None if None in ends else max(one for one in ends if one is not None)
        found[-1] = Label(f"{last.name} + {label.name}", last.start, end)
        told.append(f"{last.name} and {label.name} overlap; they count as one incident")
    return tuple(found), tuple(told)


def compare(
    past: Past,
    candidates: Sequence[Candidate],
    labels: Sequence[Label],
    rules: QualityRules,
    paging: tuple[Severity, ...],
    progress: Progress,
) -> Comparison:
    """Return what every policy would have done; the first one's budget is what incidents spend.

    ``labels`` are disjoint, as ``merge`` returns them. Raises ConfigError for more than 20 policies, or names twice.
    """
    _check(candidates)
    own = candidates[0].policy
    spent, in_period = past.spent_so_far(own), past.spent_in_period(own)
    incidents = tuple(_labelled(past, label, spent, rules) for label in labels)
    judged, first = [], None
    for number, candidate in enumerate(candidates):
        progress("replaying policies", number, len(candidates))
        firing, before = past.replay(candidate.policy)
        first = firing if first is None else first
        judged.append(_judged(past, candidate, (firing, before), incidents, rules, paging, (spent, in_period)))
    progress("replaying policies", len(candidates), len(candidates))
    assert first is not None
    return Comparison(past, rules, paging, incidents, tuple(judged), first, in_period)


def _check(candidates: Sequence[Candidate]) -> None:
    if not 1 <= len(candidates) <= MOST:
        raise ConfigError(f"{len(candidates)} policies, the catalogue's own included; at most {MOST} are compared")
    names = [one.name for one in candidates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"the policy {twice[0]} is there twice; name each once")


def _labelled(past: Past, label: Label, spent: Floats, rules: QualityRules) -> Labelled:
    step, before = past.read.step, Event(0, 1, _NEVER)
    if not label.within(Span(past.start, past.end), rules.grace):
        return Labelled(label, "outside", None, 0.0, before)
    first = (label.start - past.start) // step
    end = past.count + 1 if label.end is None else max(first + 1, -((past.start - label.end) // step))
    low, high = max(first, 0), min(end, past.count)
    seen, asked = (one[past.first :][low:high] for one in (past.seen, past.asked))
    observed = float((seen & asked).sum() / asked.sum()) if asked.any() else 0.0
    share = float(spent[high - 1] - (spent[low - 1] if low > 0 else 0.0)) if high > low else 0.0
    known = share if math.isfinite(share) and observed > 0 else None
    standing = _standing(first, known, rules)
    event = Event(first, end, known if known is not None and standing == "counted" else _NEVER)
    return Labelled(label, standing, known, observed, event)


def _standing(first: int, spent: float | None, rules: QualityRules) -> Standing:
    if first < 0:
        return "began before"
    if spent is None:
        return "not observed"
    return "counted" if spent >= rules.significant else "too small"


def _judged(
    past: Past,
    candidate: Candidate,
    replayed: tuple[Bools, Bools],
    incidents: Sequence[Labelled],
    rules: QualityRules,
    paging: Sequence[Severity],
    budgets: tuple[Floats, Floats],
) -> Judged:
    (firing, before), (spent, in_period) = replayed, budgets
    chosen = np.array([alert.severity in paging for alert in candidate.policy.alerts])
    fires, up = firing[chosen].any(axis=0), bool(before[chosen].any())
    inside = [one for one in incidents if one.standing != "outside"]
    events = [one.event for one in inside]
    quality = replace(judge(fires, events, rules, past.step_ms, spent), months=past.months)
    return Judged(
        candidate,
        tuple(intervals(row, past.evaluations, in_period) for row in firing),
        tuple(bool(b and row[0]) for b, row in zip(before, firing, strict=True)),
        _pages(past, fires, up, events, rules, in_period),
        quality,
        tuple(_detection(past, fires, one, rules) for one in incidents),
        bool(inside),
    )


def _detection(past: Past, fires: Bools, one: Labelled, rules: QualityRules) -> float | None:
    if one.standing != "counted":
        return None
    return judge(fires, [one.event], rules, past.step_ms).detection_s[0]


def _pages(
    past: Past, fires: Bools, up: bool, events: Sequence[Event], rules: QualityRules, spent: Floats
) -> tuple[Page, ...]:
    step = past.read.step
    grace, gap = rules.steps(past.step_ms)
    starts, ends, _ = pages_of(fires, gap)
    found = []
    for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
        true = any(first < event.end + grace and end > event.first for event in events) if events else None
        share = float(spent[first]) if np.isfinite(spent[first]) else None
        begun = past.start + (first + 1) * step, past.start + (end + 1) * step
        found.append(Page(*begun, up and first == 0, end < fires.size, true, share))
    return tuple(found)
