"""What node0 delivered, read from its memory for the metrics: cycles, deployments, incidents.

Promise: ``data/node0.sqlite`` is only read, in one snapshot, and every count made of it only grows:

- a cycle counts when it has ended, with its wall time; one that was interrupted has no end of its own and counts not,
  and a rollout that a person ordered is no cycle;
- a deployment counts when its cycle has ended: ``success`` if the change was kept, ``rolled_back`` if its own canary
  or watch undid it; a change that a later cycle takes back counts as ``failed`` then, in addition to the success that
  it was, since a counter takes nothing back. So the deployments are success + rolled_back, and the share of them that
  failed is (failed + rolled_back) / (success + rolled_back);
- lead time is from the start of the cycle that found a change to when it was live and remembered, of successes;
- resolution time is of incidents that lasted: one that was over when it was noted (a cycle that failed, say) is an
  event without a duration.

>>> read(Path("no/such/node0.sqlite")).newest is None
True
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from node0lib.alerts.metrics import family
from node0lib.errors import DataError
from node0lib.shell.state import ROLLOUT, RUNNING
from node0lib.timespan import parse_instant

_STATUSES = family("bizra_optimizer_cycle_duration_seconds").labels["cycle_status"]
_SEALED_FIRST = "sealed as applied"
"""How recovery begins its reason for a cycle that was killed after its change had been sealed."""
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Delivered:
    """Seconds that things took, and counts by (status, change class).

    ``newest`` is the newest cycle that ended, as (id, instant it looked at, status); ``running`` the instant that the
    one that runs now, or was killed, looks at.
    """

    cycles: Mapping[str, Sequence[float]] = field(default_factory=dict)
    deployments: Mapping[tuple[str, str], int] = field(default_factory=dict)
    lead_times: tuple[float, ...] = ()
    resolutions: tuple[float, ...] = ()
    returns: tuple[float, ...] = ()
    newest: tuple[str, datetime, str] | None = None
    running: datetime | None = None


def read(path: Path) -> Delivered:
    """Return what the database at ``path`` remembers, nothing if there is none yet.

    Raises DataError if it cannot be read.
    """
    if not path.exists():
        return Delivered()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("BEGIN")
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                return Delivered()  # the first cycle is just making it
            return _delivered(db)
    except (sqlite3.Error, DataError) as error:
        raise DataError(f"{path}: cannot be read as node0's memory ({error}); restore it or move it away") from error


def _delivered(db: sqlite3.Connection) -> Delivered:
    columns = "id, at, status, started_at, finished_at, reason"
    cycles = db.execute(f"SELECT {columns} FROM cycles ORDER BY started_at, at, id").fetchall()
    running = [parse_instant(row[1]) for row in cycles if row[2] == RUNNING]
    ended = [row for row in cycles if row[2] != RUNNING]
    deployments, lead_times = _deployments(db, ended)
    ended = [row for row in ended if not row[0].endswith(ROLLOUT)]
    return Delivered(
        cycles=_durations(ended),
        deployments=deployments,
        lead_times=lead_times,
        resolutions=_resolutions(db),
        returns=_returns(db),
        newest=(ended[-1][0], parse_instant(ended[-1][1]), ended[-1][2]) if ended else None,
        running=max(running, default=None),
    )


def _durations(ended: Rows) -> Mapping[str, Sequence[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for _, _, status, started, finished, _ in ended:
        if status != "interrupted":
            found[status if status in _STATUSES else "failed"].append(_seconds(started, finished))
    return found


def _deployments(db: sqlite3.Connection, ended: Rows) -> tuple[Mapping[tuple[str, str], int], tuple[float, ...]]:
    """Count the deployments of cycles that have ended; the class of one without a change on record is unknown."""
    undone = {cycle for cycle, _, status, _, _, reason in ended if not _kept(status, reason)}
    known = {row[0] for row in ended}
    classes = dict(db.execute("SELECT cycle, class FROM changes").fetchall())
    rows = db.execute(
        "SELECT cycle, kind, outcome, started_at, finished_at FROM deployments ORDER BY finished_at"
    ).fetchall()
    counts: Counter[tuple[str, str]] = Counter()
    times: list[float] = []
    kept = "unknown"
    for cycle, kind, outcome, started, finished in (row for row in rows if row[0] in known):
        if kind == "rollback":
            counts["failed", kept] += 1
            continue
        change_class = classes.get(cycle, "unknown")
        if outcome == "failed" and cycle in undone:
            counts["rolled_back", change_class] += 1
            continue
        counts["success", change_class] += 1
        times.append(_seconds(started, finished))
        kept = change_class
    return counts, tuple(times)


def _kept(status: str, reason: str | None) -> bool:
    """Whether the change of a cycle was live when the cycle had ended, whatever became of it later."""
    return status == "applied" or (reason or "").startswith(_SEALED_FIRST)


def _returns(db: sqlite3.Connection) -> tuple[float, ...]:
    """How long taking traffic back took; a memory of schema 1 knows no rollouts."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'returns'").fetchone():
        return ()
    rows = db.execute("SELECT decided_at, confirmed_at FROM returns ORDER BY decided_at").fetchall()
    return tuple(_seconds(*row) for row in rows)


def _resolutions(db: sqlite3.Connection) -> tuple[float, ...]:
    rows = db.execute("SELECT opened_at, resolved_at FROM incidents WHERE resolved_at IS NOT NULL").fetchall()
    return tuple(seconds for row in rows if (seconds := _seconds(*row)) > 0)


def _seconds(start: str, end: str) -> float:
    """Return how long it took; a clock that was set back between makes it 0, never less."""
    return max(0.0, (parse_instant(end) - parse_instant(start)).total_seconds())
