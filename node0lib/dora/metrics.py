"""The five metrics of many windows at once: for each end E the window (E - w, E], from what was known at E.

- Nothing after E counts: a deployment has failed if that was known by E, a recovery that goes on at E is censored
  there. A report for a past instant is therefore the one that would have been written then.
- Deployments of a group (a service in an environment) count where they finished, changes where they arrived.
- No data is NaN: no deployment, no share; nothing ever seen of a group before E, no frequency. Zero deployments in a
  window of a group that is known is a frequency of 0, which an interval comes with too.
- Deployments that finished less than the profile's maturity before E may still turn out to have failed: ``immature``.

All intervals are exact (``bounds`` says how much more than 95% they cover) and take deployments as independent.

>>> from datetime import UTC, datetime, timedelta
>>> from node0lib.dora.events import Deployment
>>> days = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(1, 8)]
>>> history = History.of([Deployment(f"d{day.day}", "shop", "production", day, day) for day in days])
>>> week = Group(history, judge(history, NODE0, frozenset({"production"})), NODE0, 0, 0)
>>> found = week.windows([micros(datetime(2026, 1, 8, tzinfo=UTC))], timedelta(days=7))
>>> found.frequency.value, found.frequency.n, found.fails.high.round(2)
(array([1.]), array([7]), array([0.41]))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from node0lib.dora.bounds import (
    ONE_SIDED,
    Bools,
    Floats,
    Ints,
    rank_bounds,
    rate_bounds,
    recovery,
    share_bounds,
)
from node0lib.dora.history import (
    FAILED,
    HOTFIX,
    NEVER,
    NORMAL,
    RETRY,
    ROLLBACK,
    ROLLED_BACK,
    SUCCEEDED,
    History,
    micros,
)
from node0lib.dora.linking import Judged, judge
from node0lib.dora.profiles import NODE0, Profile

__all__ = ["NODE0", "Group", "Series", "Windows", "judge", "micros"]
_SECOND = 1_000_000
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Series:
    """One number for each of e windows, NaN where there is none: ``value``, its 95% interval (``low``, ``high``), the
    one-sided bounds (``at_least``, ``at_most``) that a target is compared with, and ``n``, how many it rests on."""

    n: Ints
    value: Floats
    low: Floats
    high: Floats
    at_least: Floats
    at_most: Floats


@dataclass(frozen=True)
class Windows:
    """The five metrics of e windows of one group: rates per day, seconds, shares in [0, 1].

    ``hits`` are how many failed or were rework; ``apart`` are counts beside the numbers, by name, each (e,).
    """

    frequency: Series
    lead: Series
    lead_p90: Series
    fails: Series
    recovery: Series
    rework: Series
    hits: dict[str, Ints]
    immature: Floats
    coverage: Floats
    apart: dict[str, Ints]


class Group:
    """The deployments of one service (None: all, pooled) in one environment, ready for windows."""

    def __init__(
        self, history: History, judged: Judged, profile: Profile, service: int | None, environment: int
    ) -> None:
        here = history.environment == environment
        if service is not None:
            here &= history.service == service
        self._profile = profile
        rows = np.flatnonzero(here)
        self._finished, self._kind = history.finished[rows], history.kind[rows]
        self._reached, self._counted, self._rework = judged.reached[rows], judged.counted[rows], judged.rework[rows]
        outcome, new = history.outcome[rows], (self._kind == NORMAL) | (self._kind == HOTFIX)
        self._stopped, self._taken_back = outcome == FAILED, new & (outcome == ROLLED_BACK)
        self._frequent = new & (outcome == SUCCEEDED)
        failed = rows[(judged.failed_at[rows] != NEVER) & (judged.counted | judged.half)[rows]]
        self._failed = _Failed(history, judged, failed)
        mine = here[judged.arrival]
        self._arrived, self._lead = history.finished[judged.arrival[mine]], judged.lead[mine]
        order = np.argsort(self._arrived, kind="stable")
        self._arrived, self._lead = self._arrived[order], self._lead[order]

    @property
    def first(self) -> int | None:
        """When the first deployment finished that is known of; None without one."""
        return int(self._finished[0]) if len(self._finished) else None

    def windows(self, ends: Sequence[int] | Ints, length: timedelta) -> Windows:
        """Return the metrics of the windows of that length that end at ``ends`` (microseconds)."""
        at = np.asarray(ends, np.int64)
        since = at - length // timedelta(microseconds=1)
        cut = _Cut(self._finished, since, at)
        lead, p90, lead_apart = self._leads(since, at)
        fails, immature, failing = self._fails(cut, since, at)
        mend, mend_apart = self._failed.recoveries(since, at)
        reworked, deployed = cut.count(self._rework), cut.count(self._reached)
        return Windows(
            frequency=self._frequency(cut, at, length),
            lead=lead,
            lead_p90=p90,
            fails=fails,
            recovery=mend,
            rework=_share(reworked, deployed),
            hits={"failed": failing, "rework": reworked},
            immature=immature,
            coverage=self._coverage(since, at),
            apart={**self._apart(cut), **lead_apart, **mend_apart},
        )

    def _frequency(self, cut: _Cut, at: Ints, length: timedelta) -> Series:
        days = length / _DAY
        counts = cut.days(self._frequent) if self._profile.days else cut.count(self._frequent)
        known = np.full(len(at), self.first is not None) & (at >= (self.first or 0))
        low, high = rate_bounds(counts, days)
        least, most = rate_bounds(counts, days, ONE_SIDED)[0], rate_bounds(counts, days, ONE_SIDED)[1]
        values = (np.where(known, one, np.nan) for one in (counts / days, low, high, least, most))
        return Series(counts, *values)

    def _fails(self, cut: _Cut, since: Ints, at: Ints) -> tuple[Series, Floats, Ints]:
        failed, half = self._failed.counts(since, at)
        total = cut.count(self._counted) + half
        young = at - self._profile.maturity // timedelta(microseconds=1)
        recent = _Cut(self._finished, np.maximum(since, young), at).count(self._counted)
        with np.errstate(invalid="ignore", divide="ignore"):
            immature = recent / np.where(total == 0, np.nan, total)
        return _share(failed, total), immature, failed

    def _leads(self, since: Ints, at: Ints) -> tuple[Series, Series, dict[str, Ints]]:
        cut = _Cut(self._arrived, since, at)
        usable = self._lead >= 0  # of NaN this is False, as it should be
        own = _Cut(self._arrived[usable], since, at)
        median, p90 = _quantiles(self._lead[usable], own)
        unknown = cut.count(np.isnan(self._lead))
        negative = cut.count(~usable) - unknown
        return median, p90, {"negative_lead_times": negative, "changes_without_a_start": unknown}

    def _coverage(self, since: Ints, at: Ints) -> Floats:
        if self.first is None:
            return np.zeros(len(at))
        return np.clip((at - np.maximum(since, self.first)) / (at - since), 0.0, 1.0)

    def _apart(self, cut: _Cut) -> dict[str, Ints]:
        return {
            "retries": cut.count(self._reached & (self._kind == RETRY)),
            "rollbacks": cut.count(self._reached & (self._kind == ROLLBACK)),
            "rolled_back": cut.count(self._taken_back),
            "never_arrived": cut.count(self._stopped),
        }


class _Cut:
    """Where windows lie in rising times: the rows from ``first`` up to but without ``last`` (e,)."""

    def __init__(self, times: Ints, since: Ints, at: Ints) -> None:
        self._times = times
        self.first, self.last = np.searchsorted(times, since, "right"), np.searchsorted(times, at, "right")

    @property
    def n(self) -> Ints:
        counts: Ints = self.last - self.first
        return counts

    def count(self, mask: Bools) -> Ints:
        """How many of the masked rows lie in each window."""
        total = np.concatenate(([0], np.cumsum(mask)))
        counts: Ints = total[self.last] - total[self.first]
        return counts

    def days(self, mask: Bools) -> Ints:
        """On how many UTC days of each window at least one masked row lies."""
        days = self._times // (86_400 * _SECOND)
        found = [len(np.unique(days[a:b][mask[a:b]])) for a, b in zip(self.first, self.last, strict=True)]
        return np.array(found, np.int64)


class _Failed:
    """The failed deployments of a group, in the order in which they finished."""

    def __init__(self, history: History, judged: Judged, rows: Ints) -> None:
        self._finished, self._known = history.finished[rows], judged.failed_at[rows]
        self._began, self._ended = judged.began_at[rows], judged.recovered_at[rows]
        self._untold, self._half = judged.untold[rows], judged.half[rows]
        self._negative = self._ended < self._began

    def counts(self, since: Ints, at: Ints) -> tuple[Ints, Ints]:
        """How many had failed, as known at each end, and how many of them had never arrived by their own word."""
        cut, failed, half = _Cut(self._finished, since, at), [], []
        for first, last, end in zip(cut.first, cut.last, at, strict=True):
            known = self._known[first:last] <= end
            failed.append(np.count_nonzero(known))
            half.append(np.count_nonzero(known & self._half[first:last]))
        return np.array(failed, np.int64), np.array(half, np.int64)

    def recoveries(self, since: Ints, at: Ints) -> tuple[Series, dict[str, Ints]]:
        """The Kaplan-Meier median of what was known at each end, in seconds."""
        cut = _Cut(self._finished, since, at)
        usable = ~self._untold & ~self._negative & (self._began != NEVER)
        spans = [self._spans(slice(a, b), end, usable) for a, b, end in zip(cut.first, cut.last, at, strict=True)]
        n = np.array([len(one) for one, _ in spans], np.int64)
        found = [recovery(*one, places) for one, places in zip(spans, _median_places(n), strict=True)]
        columns = (np.array([getattr(one, name) for one in found], np.float64) for name in _RECOVERY)
        apart = {
            "open": np.array([one.censored for one in found], np.int64),
            "negative_recoveries": cut.count(self._negative),
            "recoveries_not_told": cut.count(self._untold),
        }
        return Series(n, *columns), apart

    def _spans(self, rows: slice, end: int, usable: Bools) -> tuple[Floats, Bools]:
        mine = usable[rows] & (self._known[rows] <= end)
        began, ended = self._began[rows][mine], self._ended[rows][mine]
        return (np.minimum(ended, end) - began) / _SECOND, ended <= end


_RECOVERY = ("median", "low", "high", "at_least", "at_most")


def _median_places(n: Ints) -> list[tuple[int, int, int, int]]:
    _, low, high = rank_bounds(n, 0.5)
    _, least, most = rank_bounds(n, 0.5, ONE_SIDED)
    return list(zip(low.tolist(), high.tolist(), least.tolist(), most.tolist(), strict=True))


def _share(hits: Ints, trials: Ints) -> Series:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = hits / np.where(trials == 0, np.nan, trials)
    return Series(trials, value, *share_bounds(hits, trials), *share_bounds(hits, trials, ONE_SIDED))


def _quantiles(values: Floats, cut: _Cut) -> tuple[Series, Series]:
    """The median and the 0.9 quantile of each window with their bounds, from order statistics."""
    n = cut.n
    middle, p90 = rank_bounds(n, 0.5), rank_bounds(n, 0.9)
    places = np.array([*middle, *rank_bounds(n, 0.5, ONE_SIDED)[1:], *p90, *rank_bounds(n, 0.9, ONE_SIDED)[1:]])
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), np.uint16 if len(values) <= 2**16 else np.uint32)  # small ones sort much faster
    ranks[order] = np.arange(len(values))
    picked = np.full((len(n), len(places)), -1)
    for row, (first, last) in enumerate(zip(cut.first, cut.last, strict=True)):
        if last > first:
            picked[row] = np.sort(ranks[first:last])[places[:, row]]  # -1 takes the last, and is taken out below
    found = np.where(places.T >= 0, np.append(values[order], np.nan)[picked], np.nan)
    return Series(n, *found[:, :5].T), Series(n, *found[:, 5:].T)
