"""A service's own past, as the replay takes it: buckets with gaps, the instants to evaluate, the lead before them.

Alerts are evaluated in (start, end], at the end of each bucket. What was read before ``start`` is lead: windows look
into it, and an alert's ``for`` may have begun there; nothing in it is counted. A minute that nobody observed is a gap:
it adds no events, so a window that touches it is judged by what was seen. How much was seen is told.

The budget of a period is B x the events that a period has at the range's traffic per *observed* time, so that a gap
neither spends nor earns anything, and the lead, which depends on the policies that are compared, does not matter.

>>> from datetime import UTC
>>> day = datetime(2026, 11, 24, tzinfo=UTC)
>>> good, total = np.full(1440, 9.0), np.full(1440, 10.0)
>>> total[:60] = np.nan
>>> past = Past(GoodTotal(day, timedelta(minutes=1), good, total), day + timedelta(minutes=30), day + timedelta(days=1))
>>> past.count, round(past.observed, 3), past.lead_observed
(1410, 0.979, 0.0)
>>> past.gaps[0].end.isoformat()
'2026-11-24T01:00:00+00:00'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np

from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.replay import Bools, BucketSeries, Evaluations, Floats, replay_buckets
from node0lib.errors import DataError
from node0lib.sli.series import GoodTotal
from node0lib.timespan import Span, format_instant

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


@dataclass(frozen=True)
class Past:
    """Buckets of a service, lead included, and the range (start, end] of them in which alerts are evaluated.

    ``start`` and ``end`` are ends of buckets, and the last bucket ends at ``end``. ``left_out`` (n,) marks buckets that
    no promise is about (maintenance); they must be NaN. Raises DataError if nothing was observed in the range.
    """

    read: GoodTotal
    start: datetime
    end: datetime
    left_out: Bools | None = None

    def __post_init__(self) -> None:
        if not self.seen[self.first :].any():
            span = f"{format_instant(self.start)} to {format_instant(self.end)}"
            raise DataError(f"nothing was observed from {span}: there is no history to replay")

    @property
    def step_ms(self) -> int:
        return self.read.step // _MILLISECOND

    @property
    def first(self) -> int:
        """The first bucket of the range; those before it are lead."""
        return (self.start - self.read.start) // self.read.step

    @property
    def count(self) -> int:
        """How many instants are evaluated."""
        return self.read.total.size - self.first

    @cached_property
    def seen(self) -> Bools:
        """Which buckets were observed, (n,)."""
        return np.asarray(np.isfinite(self.read.total) & np.isfinite(self.read.good))

    @cached_property
    def asked(self) -> Bools:
        """Which buckets should have been observed, (n,): all but maintenance."""
        return np.ones(self.seen.size, np.bool_) if self.left_out is None else ~self.left_out

    @property
    def observed(self) -> float:
        """The observed share of the range, 0..1."""
        return _share(self.seen[self.first :], self.asked[self.first :])

    @property
    def months(self) -> float:
        """The observed time of the range in months of 30 days: what pages a month are reckoned over."""
        return float(self.seen[self.first :].sum()) * (self.read.step / timedelta(days=30))

    @property
    def lead_observed(self) -> float:
        """The observed share of the lead; 1 if there is none."""
        return _share(self.seen[: self.first], self.asked[: self.first])

    @property
    def lead(self) -> timedelta:
        """How long before the range was read."""
        return self.start - self.read.start

    @property
    def gaps(self) -> tuple[Span, ...]:
        """What of the range nobody observed, maintenance aside."""
        missing = (self.asked & ~self.seen)[self.first :]
        edges = np.diff(np.concatenate(([0], missing.astype(np.int8), [0])))
        found = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
        return tuple(Span(self.start + int(a) * self.read.step, self.start + int(b) * self.read.step) for a, b in found)

    @property
    def evaluations(self) -> Evaluations:
        """The end of every bucket in the range."""
        return Evaluations(_ms(self.start) + self.step_ms, self.step_ms, self.count)

    @cached_property
    def series(self) -> BucketSeries:
        """The buckets as the kernel takes them, from the first observed one on; a gap in between is NaN."""
        begin = int(self.seen.argmax())
        seen = self.seen[begin:]
        ends = _ms(self.read.start) + self.step_ms * np.arange(begin + 1, self.seen.size + 1, dtype=np.int64)
        bad = np.where(seen, self.read.total[begin:] - self.read.good[begin:], np.nan)
        return BucketSeries(ends, bad, np.where(seen, self.read.total[begin:], np.nan))

    def replay(self, policy: AlertPolicy) -> tuple[Bools, Bools]:
        """Return which alerts fire at which evaluation, (alerts, count), and which were firing before, (alerts,).

        The kernel starts earlier by the longest ``for``, so that what had begun to wait before the range is known.
        """
        back = max((-(-alert.hold // self.read.step) for alert in policy.alerts), default=0) + 1
        when = self.evaluations
        earlier = Evaluations(when.begin_ms - back * when.step_ms, when.step_ms, when.count + back)
        firing = replay_buckets(policy, self.series, earlier)
        return firing[:, back:], firing[:, back - 1]

    def spent_so_far(self, policy: AlertPolicy) -> Floats:
        """Return the share of a period's budget spent since the range's start, (count,); it never falls."""
        seen = self.seen[self.first :]
        good, total = (np.where(seen, one[self.first :], 0.0) for one in (self.read.good, self.read.total))
        allowance = policy.budget * float(total.sum() / seen.sum()) * (policy.period / self.read.step)
        return np.cumsum(total - good) / allowance if allowance > 0 else np.full(self.count, np.nan)

    def spent_in_period(self, policy: AlertPolicy) -> Floats:
        """Return the share spent in the period before each evaluation, or since the range's start, (count,)."""
        since = np.concatenate(([0.0], self.spent_so_far(policy)))
        ends = np.arange(1, self.count + 1)
        return since[ends] - since[np.maximum(0, ends - policy.period // self.read.step)]


def _share(seen: Bools, asked: Bools) -> float:
    return float((seen & asked).sum() / asked.sum()) if asked.any() else 1.0


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
