"""How good is a policy? Pages against labelled incidents, over one month or a thousand.

What counts:
- A *page* is a maximal interval in which any of the chosen alerts fires; onsets less than ``merge_gap`` after the end
  of the last one belong to it (each such onset is a flap).
- A page is *true* if it overlaps [start, end + grace] of a labelled incident, whatever that incident spent.
- A *significant event* is an incident that spends at least ``significant`` of the period's budget. It is detected by
  the first true page that is up in [start, end + grace]; detection takes from its start to that page's onset (0 if
  the page was up before). Missed events are censored: they stay in the sample, as +inf.
- Reset takes from an incident's end to the end of its last page (+inf: still up at the last evaluation); one whose
  pages ended before it has none.
- An incident that nobody evaluated, [start, end + grace] lying outside the series, is not counted.
- Recall and precision come with Wilson intervals, false pages a month with Garwood's, medians with order statistics.

>>> fires = np.zeros(600, np.bool_)
>>> fires[[100, 101, 104, 400]] = True
>>> one = judge(fires, [Event(98, 103, 0.05), Event(300, 310, 0.05), Event(500, 501, 0.0001)], QualityRules(), 60_000)
>>> one.pages, one.true_pages, one.flaps, one.events, one.detected
(2, 1, 1, 2, 1)
>>> one.detection_s
(180.0, inf)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from node0lib.sli.intervals import Estimate, median_interval, poisson_rate, wilson

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
_MONTH_MS = 30 * 86_400_000


@dataclass(frozen=True)
class QualityRules:
    """What counts as an event worth a page, and as the same page."""

    significant: float = 0.01
    grace: timedelta = timedelta(minutes=30)
    merge_gap: timedelta = timedelta(minutes=15)

    def steps(self, step_ms: int) -> tuple[int, int]:
        """Return grace and merge gap in evaluations: what is shorter than the gap is so in whole steps too."""
        grace, gap = (round(length.total_seconds() * 1000) for length in (self.grace, self.merge_gap))
        return grace // step_ms, -(-gap // step_ms)


@dataclass(frozen=True)
class Event:
    """An incident in the steps [first, end), which spent ``budget_spent`` of the period's budget.

    Evaluation i lies at the end of step i: what fails from step i on is seen one step after it began, at the soonest.
    """

    first: int
    end: int
    budget_spent: float


@dataclass(frozen=True)
class Quality:
    """Counts over ``months`` (of 30 days); times in seconds, sorted, +inf for what was missed or never ended."""

    months: float
    events: int
    detected: int
    pages: int
    true_pages: int
    flaps: int
    detection_s: tuple[float, ...]
    reset_s: tuple[float, ...]
    spent: tuple[float, ...]

    @property
    def recall(self) -> Estimate | None:
        """The share of significant events that were detected."""
        return wilson(self.detected, self.events)

    @property
    def precision(self) -> Estimate | None:
        """The share of pages that were true."""
        return wilson(self.true_pages, self.pages)

    @property
    def false_pages(self) -> Estimate | None:
        """False pages a month."""
        return poisson_rate(self.pages - self.true_pages, self.months)

    @property
    def detection(self) -> Estimate | None:
        """The median detection time in seconds; +inf if most events are missed."""
        return median_interval(self.detection_s)

    @property
    def reset(self) -> Estimate | None:
        """The median time in seconds from an event's end to the end of its page."""
        return median_interval(self.reset_s)

    @property
    def spent_at_detection(self) -> Estimate | None:
        """The median share of the budget spent when a detected event is told."""
        return median_interval(self.spent)


def pages_of(fires: Bools, merge_steps: int) -> tuple[Ints, Ints, int]:
    """Return the first and the end (exclusive) evaluation of each page, and how many onsets were merged away."""
    if not fires.any():  # most alerts in most months
        return np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    changes = np.flatnonzero(fires[1:] != fires[:-1]) + 1
    edges = np.concatenate(([0] * bool(fires[:1].any()), changes, [fires.size] * bool(fires[-1:].any())))
    starts, ends = edges[::2].astype(np.int64), edges[1::2].astype(np.int64)
    apart = starts[1:] - ends[:-1] >= merge_steps
    return (
        starts[np.concatenate(([True], apart))],
        ends[np.concatenate((apart, [True]))],
        int((~apart).sum()),
    )


def judge(
    fires: Bools,
    events: Sequence[Event],
    rules: QualityRules,
    step_ms: int,
    spent: NDArray[np.float64] | None = None,
) -> Quality:
    """Return the quality of one series; ``fires`` has an entry for each evaluation, ``step_ms`` apart.

    ``spent`` (like ``fires``) is the share of the budget spent up to each evaluation, for ``spent_at_detection``.
    """
    grace, merge = rules.steps(step_ms)
    starts, ends, flaps = pages_of(fires, merge)
    true = np.zeros(starts.size, np.bool_)
    detection, reset, told = [], [], []
    for event in events:
        if event.end + grace <= 0 or event.first >= fires.size:
            continue
        overlapping = (starts < event.end + grace) & (ends > event.first)
        true |= overlapping
        if event.budget_spent < rules.significant:
            continue
        page = int(np.argmax(overlapping)) if overlapping.any() else -1
        detection.append(max(0, int(starts[page]) + 1 - event.first) * step_ms / 1000 if page >= 0 else math.inf)
        if page >= 0:
            last = int(np.flatnonzero(overlapping)[-1])
            if ends[last] >= event.end:
                over = int(ends[last]) + 1 - event.end
                reset.append(over * step_ms / 1000 if ends[last] < fires.size else math.inf)
            if spent is not None:
                told.append(_spent_by(spent, event, int(starts[page])))
    found = sum(math.isfinite(t) for t in detection)
    return Quality(
        fires.size * step_ms / _MONTH_MS,
        len(detection),
        found,
        starts.size,
        int(true.sum()),
        flaps,
        tuple(sorted(detection)),
        tuple(sorted(reset)),
        tuple(sorted(told)),
    )


def _spent_by(spent: NDArray[np.float64], event: Event, page: int) -> float:
    """The share that this event itself had spent when its page came."""
    before = float(spent[event.first - 1]) if event.first > 0 else 0.0
    return max(0.0, float(spent[max(page, event.first)]) - before)


def pooled(many: Iterable[Quality]) -> Quality:
    """Return the quality over many series taken together."""
    parts = list(many)

    def times(name: str) -> tuple[float, ...]:
        return tuple(sorted(value for part in parts for value in getattr(part, name)))

    return Quality(
        sum(p.months for p in parts),
        sum(p.events for p in parts),
        sum(p.detected for p in parts),
        sum(p.pages for p in parts),
        sum(p.true_pages for p in parts),
        sum(p.flaps for p in parts),
        times("detection_s"),
        times("reset_s"),
        times("spent"),
    )
