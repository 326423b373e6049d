"""Many histories as one: weeks that know nothing of each other, so that every week is a history of its own.

Service 0 has failures, lead times and recoveries; service 1 has rework. Whatever is drawn has a known truth, and goes
through linking and windows as any other history does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from node0lib.dora.history import HOTFIX, NEVER, NONE, NORMAL, SUCCEEDED, UNLINKED, History, micros
from node0lib.dora.linking import judge
from node0lib.dora.metrics import Group, Series, Windows
from node0lib.dora.profiles import NODE0
from node0lib.dora.trends import WEEK

START = micros(datetime(2000, 1, 3, tzinfo=UTC))
LENGTH = micros(datetime(2000, 1, 10, tzinfo=UTC)) - START
LEAD, SPREAD = 3600.0, 1.3
METRICS = ("frequency", "lead", "lead_p90", "fails", "recovery", "rework")


@dataclass(frozen=True)
class World:
    """What is true: rates of failure and of rework, and the median time to recover in weeks."""

    fails: float = 0.1
    rework: float = 0.1
    recovery: float = 0.3

    @property
    def truths(self) -> dict[str, float]:
        """The true value of each metric but the frequency."""
        p90 = LEAD * math.exp(SPREAD * float(stats.norm.ppf(0.9)))
        week = WEEK.total_seconds()
        return {"lead": LEAD, "lead_p90": p90, "fails": self.fails, "recovery": self.recovery * week,
                "rework": self.rework}  # fmt: skip


def windows(world: World, counts: NDArray[np.int64], seed: int) -> tuple[Windows, Windows]:
    """Return the metrics of both services, a window for each count of deployments in it."""
    history = drawn(world, counts, seed)
    judged = judge(history, NODE0, frozenset({"production"}))
    ends = START + LENGTH * (np.arange(len(counts)) + 1)
    failing, working = (Group(history, judged, NODE0, service, 0).windows(ends, WEEK) for service in (0, 1))
    return failing, working


def coverage(world: World, n: int, histories: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return, for each metric but the frequency, in which share of histories its interval holds the truth, and in
    which share the interval has both ends; of ``n`` deployments each (recoveries: n failures)."""
    counts = np.full(histories, n)
    failing, working = windows(world, counts, seed)
    mending, _ = windows(World(1.0, world.rework, world.recovery), counts, seed + 1)
    found = {"lead": failing.lead, "lead_p90": failing.lead_p90, "fails": failing.fails, "rework": working.rework,
             "recovery": mending.recovery}  # fmt: skip
    return {name: (held(one, world.truths[name]), _whole(one)) for name, one in found.items()}


def frequency_coverage(mean: float, histories: int, seed: int) -> float:
    """Return in which share of histories the interval of a frequency holds the truth, with so many a week expected."""
    counts = np.random.default_rng(seed).poisson(mean, histories)
    counts[0] = max(1, counts[0])  # before its first deployment nothing is known of a service
    return held(windows(World(), counts, seed)[0].frequency, mean / 7)


def held(one: Series, truth: float) -> float:
    """The share of windows whose interval holds the truth; an end that is missing is no bound."""
    low, high = np.nan_to_num(one.low, nan=-np.inf), np.nan_to_num(one.high, nan=np.inf)
    return float(np.mean((low <= truth * (1 + 1e-9)) & (high >= truth * (1 - 1e-9))))


def _whole(one: Series) -> float:
    return float(np.mean(np.isfinite(one.low) & np.isfinite(one.high)))


def drawn(world: World, counts: NDArray[np.int64], seed: int) -> History:
    """Both services' deployments, as many in each week as ``counts`` says."""
    rng = np.random.default_rng(seed)
    week = np.repeat(np.arange(len(counts)), counts)
    n = len(week)
    service = np.repeat([0, 1], n)
    at = START + LENGTH * np.tile(week, 2) + 1 + rng.integers(0, LENGTH, 2 * n)
    order = np.argsort(at, kind="stable")
    at, service = at[order], service[order]
    failed = np.flatnonzero((service == 0) & (rng.random(2 * n) < world.fails))
    rework = (service == 1) & (rng.random(2 * n) < world.rework)
    lasting = world.recovery * LENGTH * rng.lognormal(0.0, 1.0, len(failed))
    lead = LEAD * 1e6 * rng.lognormal(0.0, SPREAD, 2 * n)
    nothing = np.full(2 * n, NONE)
    return History(
        services=("failing", "working"), environments=("production",), service=service,
        environment=np.zeros(2 * n, np.int64), started=at, finished=at, outcome=np.full(2 * n, SUCCEEDED),
        kind=np.where(rework, HOTFIX, NORMAL), planned=~rework, sha=np.full(2 * n, -1),
        cause=np.where(rework, 0, UNLINKED), owner=np.arange(2 * n), change_sha=np.arange(2 * n),
        committed=at - lead.astype(np.int64), authored=nothing, proposed=nothing, merged=nothing,
        incident_service=np.append(np.zeros(len(failed), np.int64), 1), opened=np.append(at[failed], START),
        resolved=np.append(at[failed] + lasting.astype(np.int64), NEVER), link=np.append(failed, -2),
    )  # fmt: skip
