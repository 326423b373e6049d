"""The embedded node's events since its history began, as running counts that only grow.

Promise: what is stored in ``data/sli/`` plus the minutes since, made in memory and written nowhere. A minute follows
from seed, policy and time, so the next cycle stores the very minutes that were counted here before. Each finished day
is summed once, each hour since the last cycle is simulated once. Without any stored minute every count is zero: the
node's past begins with the first cycle. After an absence longer than the configured past, which the next cycle would
leave as a gap, the counts stand still. A policy that somebody edits by hand, or a day's file that is deleted, can make
counts fall, which is a restart to whoever reads them.

The node does not record which latencies its failed events had, and draws the two independently; so the failures'
latencies are taken in proportion, minute by minute: ``failed`` sums failures x (events at or under the bound) / events
in units of 2^-20, each rounded down. That is integer arithmetic, hence the same in whatever chunks it is added; it
never falls with time or bound, and neither does what is left for the successes.

>>> minutes = EmbeddedNode(seed=7).minutes(EPOCH + timedelta(days=20_000), 60, POLICY)
>>> whole = tally(minutes.streams["api"])
>>> parts = tally(minutes.streams["api"].part(0, 7)) + tally(minutes.streams["api"].part(7, 60))
>>> whole.total == parts.total and bool((whole.failed == parts.failed).all())
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from node0lib.ports import Policy
from node0lib.shell.history import History, policy_digest
from node0lib.simulate.service import EPOCH, POLICY, EmbeddedNode
from node0lib.simulate.source import DAY_MINUTES, MINUTE, whole_minutes
from node0lib.simulate.streams import BOUNDS_S, STREAMS, Ints, Minutes, StreamMinutes, column_names
from node0lib.sli.series import Floats

__all__ = ["POLICY", "SCALE_BITS", "ServiceTallies", "Tally", "tally"]

SCALE_BITS = 20
"""``Tally.failed`` is in units of 2^-SCALE_BITS events."""
_NONE = np.zeros(len(BOUNDS_S), dtype=np.int64)


@dataclass(frozen=True)
class Tally:
    """Counts of one stream: ``under`` (bounds,) are events at or under each bound, ``failed`` (bounds,) scaled."""

    total: int = 0
    good: int = 0
    under: Ints = field(default_factory=_NONE.copy)
    failed: Ints = field(default_factory=_NONE.copy)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.total + other.total, self.good + other.good, self.under + other.under, self.failed + other.failed
        )


Tallies = Mapping[str, Tally]


def tally(stream: StreamMinutes) -> Tally:
    """Return the sums over all minutes of a stream."""
    failures = (stream.total - stream.good)[:, None]
    shared = ((failures * stream.cumulative) << SCALE_BITS) // np.maximum(stream.total, 1)[:, None]
    return Tally(
        int(stream.total.sum()), int(stream.good.sum()), stream.cumulative.sum(axis=0), shared.sum(axis=0)
    )


@dataclass
class ServiceTallies:
    """The counts of ``node``, whose history lies in ``folder`` and is never made longer than ``history`` at once.

    Not for several threads at a time. Raises DataError if a file is damaged, ConfigError if another seed made it.
    """

    folder: Path
    node: EmbeddedNode
    history: timedelta
    _days: dict[int, tuple[int, Tallies]] = field(default_factory=dict, repr=False)
    _tail: tuple[int, str] = field(default=(0, ""), repr=False)
    _done: int = field(default=0, repr=False)
    _since: Tallies = field(default_factory=dict, repr=False)

    def last_minute(self) -> int | None:
        """Return the newest stored minute since the epoch, or None without any."""
        return History(self.folder, self.node).last_minute()

    def until(self, end: int, last: int, policy: Policy) -> Tallies:
        """Return the counts before minute ``end``: what is stored to ``last``, the rest as ``policy`` makes it.

        Whatever is stored counts, even beyond ``end``.
        """
        first = last + 1
        end = min(end, first + whole_minutes(self.history, "history"))
        return _added(self._stored(last), self._simulated(first, end, policy))

    def _stored(self, last: int) -> Tallies:
        """Sum the days; a cycle may add minutes after ``last`` just now, and those are not counted twice."""
        days = [day for day in History(self.folder, self.node).days() if day * DAY_MINUTES <= last]
        self._days = {day: self._day(day, min(last + 1, (day + 1) * DAY_MINUTES)) for day in days}
        return _added(*(tallies for _, tallies in self._days.values()))

    def _day(self, day: int, end: int) -> tuple[int, Tallies]:
        known = self._days.get(day)
        if known is not None and known[0] == end:
            return known
        names = [name for stream in STREAMS for name in column_names(stream)]
        # A History keeps the columns that it has read; all of them are too many to keep.
        columns = History(self.folder, self.node).day_columns(day, names) or {}
        rows = end - day * DAY_MINUTES
        return end, {stream: tally(_minutes(stream, columns, rows)) for stream in STREAMS if columns}

    def _simulated(self, first: int, end: int, policy: Policy) -> Tallies:
        """Return the minutes first..end-1; whole hours are kept for the next time."""
        tail = (first, policy_digest(policy))
        if tail != self._tail or end < self._done:
            self._tail, self._done, self._since = tail, first, {}
        hour = end // 60 * 60
        while self._done < hour:
            upto = min(hour, self._done + DAY_MINUTES)
            self._since = _added(self._since, self._made(self._done, upto, policy))
            self._done = upto
        return _added(self._since, self._made(self._done, end, policy))

    def _made(self, first: int, end: int, policy: Policy) -> Tallies:
        if end <= first:
            return {}
        made: Minutes = self.node.minutes(EPOCH + first * MINUTE, end - first, policy)
        return {name: tally(stream) for name, stream in made.streams.items()}


def _added(*several: Tallies) -> Tallies:
    return {stream: sum((t[stream] for t in several if stream in t), Tally()) for stream in STREAMS}


def _minutes(stream: str, columns: Mapping[str, Floats], rows: int) -> StreamMinutes:
    """Return the stored minutes of a stream among the day's first ``rows``; those that are missing are left out."""
    table = np.stack([columns[name][:rows] for name in column_names(stream)], axis=1)
    whole = table[np.isfinite(table[:, 0])].astype(np.int64)
    return StreamMinutes(whole[:, 0], whole[:, 1], whole[:, 2:])
