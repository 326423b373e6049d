"""How fast are the delivery metrics? A million deployments and 50,000 incidents of 20 services, every day of a year.

    python tests/benchmarks/dora.py              # the whole size; ends with an error if it takes more than promised
    python tests/benchmarks/dora.py --share 0.1  # a tenth of it

All five metrics with their intervals over 7 and 30 days, for each service and, with ``--pooled``, for all of them. The
history is made as columns: reading a file of that size takes longer and is not in it. It runs on one core; what it is
held to are the seconds of that core, so that a busy machine does not decide.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import psutil

from node0lib.dora.history import NEVER, NONE, NORMAL, ROLLBACK, UNLINKED, History, micros
from node0lib.dora.linking import judge
from node0lib.dora.metrics import Group
from node0lib.dora.profiles import NODE0

SERVICES, DAYS = 20, 365
SECONDS, GIGABYTES = 3.0, 2.0
START = micros(datetime(2025, 1, 1, tzinfo=UTC))
DAY, HOUR = 86_400_000_000, 3_600_000_000


def made(deployments: int, incidents: int, seed: int = 1) -> History:
    """A year of deployments with one change each, incidents that mostly name nothing, and a rollback for some."""
    rng = np.random.default_rng(seed)
    n, k = deployments, incidents
    finished = np.sort(START + rng.integers(0, DAYS * DAY, n))
    opened = np.sort(START + rng.integers(0, DAYS * DAY, k))
    lasting = (rng.lognormal(0.5, 1.0, k) * HOUR).astype(np.int64)
    resolved = np.where(rng.random(k) < 0.02, NEVER, opened + lasting)
    kinds = rng.choice(4, n, p=(0.93, 0.03, 0.02, 0.02))
    unknown = np.full(n, NONE)
    return History(
        services=tuple(f"s{place:02}" for place in range(SERVICES)),
        environments=("production",),
        service=rng.integers(0, SERVICES, n),
        environment=np.zeros(n, np.int64),
        started=finished - 300_000_000,
        finished=finished,
        outcome=rng.choice(3, n, p=(0.97, 0.02, 0.01)),
        kind=kinds,
        planned=(kinds == NORMAL) | (kinds == ROLLBACK - 1),
        sha=np.arange(n),
        cause=np.full(n, UNLINKED),
        owner=np.arange(n),
        change_sha=rng.permutation(n),
        committed=finished - (rng.lognormal(1.0, 1.5, n) * HOUR).astype(np.int64),
        authored=unknown,
        proposed=unknown,
        merged=unknown,
        incident_service=rng.integers(0, SERVICES, k),
        opened=opened,
        resolved=resolved,
        link=np.where(rng.random(k) < 0.3, rng.integers(0, n, k), UNLINKED),
    )


def run(history: History, *, pooled: bool) -> int:
    """Compute everything once; the number of windows."""
    judged = judge(history, NODE0, frozenset({"production"}))
    ends = START + DAY * np.arange(1, DAYS + 1)
    done = 0
    for service in [*range(SERVICES), *([None] if pooled else [])]:
        group = Group(history, judged, NODE0, service, 0)
        for days in (7, 30):
            done += len(group.windows(ends, timedelta(days=days)).frequency.value)
    return done


def main() -> int:
    """Print what was measured; 1 if a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the whole size")
    parser.add_argument("--pooled", action="store_true", help="all services pooled as well")
    parser.add_argument("--runs", type=int, default=3, help="the best of so many counts")
    asked = parser.parse_args()
    n, k = int(1_000_000 * asked.share), int(50_000 * asked.share)
    history = made(n, k)
    taken, peak = [], 0.0
    for _ in range(asked.runs):
        began, used = time.perf_counter(), time.process_time()
        windows = run(history, pooled=asked.pooled)
        taken.append((time.process_time() - used, time.perf_counter() - began))
        peak = max(peak, psutil.Process().memory_info().rss / 2**30)
    busy, waited = min(taken)
    print(f"{n:,} deployments, {k:,} incidents, {windows:,} windows: {busy:.2f} s of one core ({waited:.2f} s in all)")
    print(f"memory after a run at most {peak:.2f} GB")
    if asked.share == 1.0 and (busy > SECONDS or peak > GIGABYTES):
        print(f"promised: at most {SECONDS:g} s and {GIGABYTES:g} GB")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
