"""What to run, whether it may start, and how it ended.

>>> EXIT_CODES["blocked"], EXIT_CODES["rolled_back"], exit_code("dead-kernel")
(3, 4, 1)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import filelock

from node0lib.cycle import CycleResult
from node0lib.errors import RefusedError, RunError
from node0lib.evidence.poi import Clock as ClockKind
from node0lib.gates import Incident
from node0lib.ports import Clock, Progress
from node0lib.shell.config import Settings
from node0lib.shell.state import State
from node0lib.shell.workspace import Places
from node0lib.timespan import format_duration, format_instant

EXIT_CODES = {
    "applied": 0,
    "no_change": 0,
    "recommended": 0,
    "held": 0,
    "inconclusive": 0,
    "blocked": 3,
    "rolled_back": 4,
    "refused": 5,
}
"""How ``node0 cycle`` exits; every other status is a failure: 1."""


def exit_code(status: str) -> int:
    """Return the exit code of a cycle that ended with that status."""
    return EXIT_CODES.get(status, 1)


@dataclass(frozen=True)
class Order:
    """What to run: ``at`` None means now; ``forced`` overrides the interval between cycles, and is recorded."""

    settings: Settings
    places: Places
    clock: Clock
    progress: Progress
    clock_kind: ClockKind = "real"
    forced: bool = False


@dataclass(frozen=True)
class Ended:
    """How a cycle ended. ``files`` maps what a person looks for to where it lies; paths are as they are told."""

    cycle: str
    at: datetime
    status: str
    reasons: tuple[str, ...]
    incidents: tuple[Incident, ...]
    result: CycleResult | None
    files: dict[str, str] = field(default_factory=dict)
    notice: str | None = None

    @property
    def exit_code(self) -> int:
        return exit_code(self.status)


@contextmanager
def alone(places: Places) -> Iterator[None]:
    """Hold the lock that keeps two cycles apart; raises RefusedError if another cycle or a rollout has it."""
    try:
        places.data.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(places.lock, timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        what = "a cycle or a rollout is running here; wait until it ends"
        raise RefusedError(f"{places.shown(places.lock)}: {what}") from error
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{places.shown(places.lock)}: cannot be locked ({why}); check the folder") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def quiet(places: Places, seconds: float = 60.0) -> Iterator[None]:
    """Wait until no cycle is running here, and keep one from starting; goes on after ``seconds`` in any case."""
    if not places.lock.exists():
        yield
        return
    lock = filelock.FileLock(places.lock, timeout=seconds)
    with suppress(filelock.Timeout, OSError):  # a copy that may only be read has nobody who writes
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def not_too_soon(settings: Settings, state: State, at: datetime, incidents: Sequence[Incident] = ()) -> None:
    """Raise RefusedError if the last cycle that ended is too near; an interrupted one does not count.

    ``incidents`` is what was found before the refusal: it is told now, since the next cycle will not find it again.
    """
    ended = [row.at for row in state.cycles() if row.status != "interrupted"]
    last = max(ended, default=None)
    least = settings.schedule.at_least_between
    if last is not None and last <= at < last + least:
        wait = f"the next may start at {format_instant(last + least)}"
        text = f"the last cycle was at {format_instant(last)}; {wait} ({format_duration(least)} between cycles)"
        told = "".join(f"INCIDENT {i.kind}: {i.summary}; " for i in incidents)
        raise RefusedError(f"{told}{text}; --force overrides, and is recorded")
