"""What people tell a rollout that is under way: go on past a stage that is held, or stop.

One small file each, in the rollout's own folder, written whole: whoever may write there may steer the rollout, which is
who may write node0's data. The rollout reads them in the order of their names and takes each once; they are inputs of
its record. A rollout is under way while its row is running and somebody holds the lock.

>>> from datetime import UTC
>>> event_of(Told("stop", "ada", datetime(2026, 1, 1, tzinfo=UTC), "the pager went off"))
Abort(reason='ada stops it: the pager went off')
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import filelock

from node0lib.canary.rollout import Abort, Approved, Event
from node0lib.errors import RefusedError
from node0lib.shell.files import write_atomic
from node0lib.shell.records import dump, load
from node0lib.shell.state import ROLLOUT, State
from node0lib.shell.workspace import Places
from node0lib.timespan import format_instant

Word = Literal["go-on", "stop"]


@dataclass(frozen=True)
class Told:
    """Who said what, when, and why."""

    word: Word
    by: str
    at: datetime
    note: str


def event_of(told: Told) -> Event:
    """Return what the rollout makes of it."""
    why = f": {told.note}" if told.note else ""
    return Abort(f"{told.by} stops it{why}") if told.word == "stop" else Approved(told.by, told.note)


def tell(places: Places, state: State, told: Told) -> str:
    """Leave a word for the rollout that is under way, and return its name; raises RefusedError if there is none."""
    running = [row.id for row in state.interrupted() if row.id.endswith(ROLLOUT)]
    if not running or not _is_held(places):
        raise RefusedError("no rollout is under way here; node0 change list shows how the last one ended")
    name = f"{format_instant(told.at).replace(':', '')}-{told.word}.json"
    write_atomic(places.cycle(running[-1]) / name, dump(told))
    return running[-1]


def _is_held(places: Places) -> bool:
    try:
        filelock.FileLock(places.lock, timeout=0).acquire().lock.release()
    except filelock.Timeout:
        return True
    return False


class Orders:
    """The words left for one rollout, in its folder, which is made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.read: list[Path] = []

    def next(self) -> Event | None:
        """Return the oldest word that was not taken yet; raises DataError if a file there is none."""
        for path in sorted(self.folder.glob("*.json")):
            if path not in self.read:
                self.read.append(path)
                return event_of(load(Told, path.read_bytes(), path.name))
        return None
