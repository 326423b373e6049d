"""Repeat something at an interval: one at a time, and a start that falls due meanwhile is queued once.

APScheduler's own limit skips a start while one is running; here two may be due and one thread works them off, so
that one waits and a third is skipped.

>>> repeat(lambda: 7, timedelta(milliseconds=10), times=2)
[7, 7]
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

_TICK = 0.5
_QUEUED_ONCE = 2


def repeat(
    job: Callable[[], int], every: timedelta, times: int | None = None, stop: Callable[[], None] = lambda: None
) -> list[int]:
    """Run ``job`` now and every so often, until ``times`` runs or a KeyboardInterrupt; return its exit codes.

    On an interrupt ``stop`` is called, so that a job that is running ends soon; then the rest is waited for.
    """
    codes: list[int] = []
    enough = threading.Event()

    def once() -> None:
        if not enough.is_set():
            codes.append(job())
        if times is not None and len(codes) >= times:
            enough.set()

    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(1)}, timezone=UTC)
    scheduler.add_job(
        once,
        "interval",
        seconds=every.total_seconds(),
        next_run_time=datetime.now(UTC),
        max_instances=_QUEUED_ONCE,
        coalesce=True,
        misfire_grace_time=None,
    )
    try:
        scheduler.start()
        while not enough.wait(_TICK):
            continue
    except KeyboardInterrupt:
        enough.set()
        stop()
    finally:
        if scheduler.running:
            scheduler.shutdown(wait=True)
    return codes
