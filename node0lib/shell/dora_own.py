"""node0's own changes and incidents, as every cycle recorded them in its memory: only read, in one snapshot.

- A deployment that its own canary or watch undid is ``rolled_back``. One that was kept, and that a later cycle took
  back, is two: it succeeded, and the rollback is a deployment of its own, from which on it counts as failed. So what
  was told of the past stays as it was told, and telling it again changes nothing.
- Only incidents of the service count: a critical burn of an SLO. That a change was rolled back is its deployment's
  outcome already; a cycle that failed, was interrupted or slow is an incident of node0 and not of what it governs.
- Cycles that still run are left out. No commit stands behind a policy, so there are no changes and no lead time.

>>> own_events(Path("no/such/node0.sqlite"), "alpha").events
()
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from node0lib.dora.events import Deployment, Event, Incident, Kind, Outcome
from node0lib.dora.sources.payload import Taken, Tally
from node0lib.errors import DataError
from node0lib.shell.state import RUNNING
from node0lib.timespan import parse_instant

_DEPLOYMENTS = """
SELECT d.cycle, d.kind, d.outcome, d.sha, d.started_at, d.finished_at, c.status, c.reason
FROM deployments d JOIN cycles c ON c.id = d.cycle WHERE c.status <> ? ORDER BY d.finished_at, d.cycle
"""
_INCIDENTS = "SELECT cycle, kind, opened_at, resolved_at, summary FROM incidents ORDER BY opened_at, id"
_OF_THE_SERVICE = "critical_burn:"
_TOLD_BY_OUTCOME = "rolled_back"
_SEALED_FIRST = "sealed as applied"
"""How the reason begins of a cycle that was killed after its change had been sealed: it was live."""


def own_events(path: Path, service: str, environment: str = "production") -> Taken:
    """Return what the database remembers, nothing if there is none yet; raises DataError if it cannot be read."""
    if not path.exists():
        return Taken((), (f"{path}: node0 has no memory yet; its first cycle makes it",))
    tally = Tally()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("BEGIN")
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                return Taken((), (f"{path}: node0's first cycle is just making it",))
            deployments = list(_deployments(db, service, environment))
            events = (*deployments, *_incidents(db, service, tally))
    except (sqlite3.Error, DataError) as error:
        raise DataError(f"{path}: cannot be read as node0's memory ({error}); restore it or move it away") from error
    return Taken(events, tally.notes)


def _deployments(db: sqlite3.Connection, service: str, environment: str) -> Iterator[Event]:
    rows = db.execute(_DEPLOYMENTS, (RUNNING,)).fetchall()
    rollbacks = sorted(row[5] for row in rows if row[1] == "rollback")
    for cycle, kind, outcome, sha, started, finished, status, reason in rows:
        kept = status == "applied" or (reason or "").startswith(_SEALED_FIRST)
        undone_later = kept and any(at >= finished for at in rollbacks)
        start, end = parse_instant(started), parse_instant(finished)
        yield Deployment(
            f"node0:{service}:{cycle}",
            service,
            environment,
            min(start, end),  # a clock may have been set back in between
            end,
            _outcome(outcome, undone_later=undone_later),
            sha=sha,
            kind=_kind(kind),
        )


def _outcome(outcome: str, *, undone_later: bool) -> Outcome:
    if outcome not in {"succeeded", "failed"}:
        raise DataError(f"a deployment's outcome is {outcome!r}")
    return "succeeded" if outcome == "succeeded" or undone_later else "rolled_back"


def _kind(kind: str) -> Kind:
    if kind not in {"normal", "rollback"}:
        raise DataError(f"a deployment's kind is {kind!r}")
    return "rollback" if kind == "rollback" else "normal"


def _incidents(db: sqlite3.Connection, service: str, tally: Tally) -> Iterator[Event]:
    rows: list[tuple[Any, ...]] = db.execute(_INCIDENTS).fetchall()
    for cycle, kind, opened, resolved, summary in rows:
        if kind == _TOLD_BY_OUTCOME:
            tally.add("{} incident(s) say that a change was rolled back, as their deployments' outcomes do")
        elif not kind.startswith(_OF_THE_SERVICE):
            tally.add("{} incident(s) are of node0 itself, not of the service, and were left out")
        else:
            end = None if resolved is None else parse_instant(resolved)
            yield Incident(f"node0:{service}:{cycle}:{kind}", service, parse_instant(opened), end, None, summary)
