"""Maintenance: times that no promise is about.

What happened during announced maintenance counts neither as good nor as bad. A window is cut into the parts outside
maintenance, each part is read by itself, and the counts are added up: by events for good and total, by length for
coverage. Spans are left-open throughout, so parts and exclusions together are the window, and nothing counts twice.

>>> from datetime import UTC
>>> day = Span(datetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC))
>>> move = Maintenance(day.start + timedelta(hours=2), day.start + timedelta(hours=5), "move", ("api",))
>>> [part.length / timedelta(hours=1) for part in parts(day, exclusions((move,), "api"))]
[2.0, 19.0]
>>> parts(day, exclusions((move,), "alpha")) == (day,)
True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from node0lib.sli.series import Counts
from node0lib.timespan import Span, ensure_utc

ALL_OF_IT = "all of the window is maintenance"
"""The problem of a window of which nothing is left."""
_NOTHING = timedelta(0)


@dataclass(frozen=True)
class Maintenance:
    """Announced maintenance in (start, end], of the SLOs named, or of all where ``slos`` is None.

    Raises DataError if a time is naive or the end is not after the start.
    """

    start: datetime
    end: datetime
    reason: str
    slos: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        span = Span(self.start, self.end)
        object.__setattr__(self, "start", span.start)
        object.__setattr__(self, "end", span.end)

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)

    def concerns(self, name: str) -> bool:
        """Return whether it is maintenance of that SLO."""
        return self.slos is None or name in self.slos


def in_force(maintenance: Iterable[Maintenance], at: datetime) -> tuple[Maintenance, ...]:
    """Return what is under way at ``at``."""
    at = ensure_utc(at)
    return tuple(m for m in maintenance if at in m.span)


def exclusions(maintenance: Iterable[Maintenance], name: str) -> tuple[Span, ...]:
    """Return the spans that are maintenance of that SLO, rising, disjoint and not touching."""
    merged: list[Span] = []
    for span in sorted(m.span for m in maintenance if m.concerns(name)):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return tuple(merged)


def parts(span: Span, excluded: Sequence[Span]) -> tuple[Span, ...]:
    """Return what is left of ``span`` outside the ``excluded`` spans (disjoint, rising); nothing if all is excluded."""
    found, start = [], span.start
    for gap in excluded:
        if gap.end <= start or gap.start >= span.end:
            continue
        if gap.start > start:
            found.append(Span(start, gap.start))
        start = min(gap.end, span.end)
    return (*found, Span(start, span.end)) if start < span.end else tuple(found)


def excluded_length(span: Span, excluded: Sequence[Span]) -> timedelta:
    """Return how much of ``span`` lies in the ``excluded`` spans."""
    return span.length - sum((part.length for part in parts(span, excluded)), _NOTHING)


def together(read: Sequence[tuple[timedelta, Counts]]) -> Counts:
    """Return the counts of disjoint parts as one, each given with its length; no part at all is all maintenance.

    Good, total and clamps add up; coverage is weighted by length, so a part that could not be read is a gap, and is
    told. Only where no part could be read there is no data.
    """
    if not read:
        return Counts.nothing(ALL_OF_IT)
    counts = [c for _, c in read]
    problems = tuple(dict.fromkeys(c.problem for c in counts if c.problem is not None))
    if all(c.problem is not None for c in counts):
        return Counts.nothing("; ".join(problems))
    length = sum((length for length, _ in read), _NOTHING)
    coverage = sum(c.coverage * (part / length) for part, c in read)
    bounded = any(c.good_most is not None for c in counts)
    notes = dict.fromkeys(c.note for c in counts if c.note is not None)
    missing = [f"a part is missing: {problem}" for problem in problems]
    return Counts(
        good=sum(c.good for c in counts),
        total=sum(c.total for c in counts),
        coverage=min(1.0, coverage),
        clamped=sum(c.clamped for c in counts),
        good_most=sum(c.good if c.good_most is None else c.good_most for c in counts) if bounded else None,
        note="; ".join([*notes, *missing]) or None,
    )
