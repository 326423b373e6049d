"""What node0 remembers: ``data/node0.sqlite`` (WAL): cycles, changes, requests, incidents, deployments, a journal.

A cycle's row is written before anything happens and closed after everything has; the journal names each station
in between. A row that is still "running" while nobody holds the lock belongs to a cycle that was killed.

``changes`` are those that cycles tried; ``requests`` those that wait for somebody or something to try them, whose
``shell.changes`` says which states may follow which. Schema 2 added the requests; a memory of schema 1 gets them, and
keeps everything else, when it is first opened.

>>> cycle_id(parse_instant("2026-01-01T12:00:00Z"))
'20260101T120000Z'
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from node0lib.errors import RunError
from node0lib.gates import Incident
from node0lib.timespan import ensure_utc, format_instant, parse_instant

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cycles (
    id TEXT PRIMARY KEY, at TEXT NOT NULL, status TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    forced INTEGER NOT NULL, ihsan REAL, provenance TEXT, reports TEXT NOT NULL DEFAULT '[]', reason TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS changes (
    cycle TEXT PRIMARY KEY REFERENCES cycles (id), class TEXT NOT NULL, ending TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, improvement REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS deployments (
    cycle TEXT PRIMARY KEY REFERENCES cycles (id), kind TEXT NOT NULL, outcome TEXT NOT NULL, sha TEXT NOT NULL,
    started_at TEXT NOT NULL, finished_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS incidents (
    id INTEGER PRIMARY KEY, cycle TEXT NOT NULL, kind TEXT NOT NULL, opened_at TEXT NOT NULL, resolved_at TEXT,
    summary TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY, cycle TEXT NOT NULL, station TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, at TEXT NOT NULL, state TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
    content TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS request_steps (
    seq INTEGER PRIMARY KEY, request TEXT NOT NULL REFERENCES requests (id), state TEXT NOT NULL, at TEXT NOT NULL,
    who TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS returns (
    cycle TEXT PRIMARY KEY REFERENCES cycles (id), decided_at TEXT NOT NULL, confirmed_at TEXT NOT NULL
) STRICT;
"""
_VERSION = 2
RUNNING = "running"
ROLLOUT = "-canary"
"""How the identity ends of a rollout that was ordered by itself, outside of any cycle."""


@dataclass(frozen=True)
class CycleRow:
    """One cycle as remembered; ``reports`` are (name, sha256) of what it published."""

    id: str
    at: datetime
    status: str
    started_at: datetime
    forced: bool
    ihsan: float | None
    provenance: str | None
    reports: tuple[tuple[str, str], ...]
    reason: str | None


@dataclass(frozen=True)
class Deployment:
    """A deployment of a policy; ``sha`` is the SHA-256 of its file, ``outcome`` succeeded or failed."""

    outcome: str
    sha: str
    started_at: datetime
    finished_at: datetime
    kind: str = "normal"


@dataclass(frozen=True)
class Request:
    """A change that waits to be tried: SHA-256 of the policies before and after it, ``content`` is JSON."""

    id: str
    at: datetime
    state: str
    before: str
    after: str
    content: str


@dataclass(frozen=True)
class Step:
    """One state that a request came into: when, by whom or what, why."""

    state: str
    at: datetime
    who: str
    reason: str


def cycle_id(at: datetime) -> str:
    """Return the identity of the cycle at that instant."""
    return ensure_utc(at).strftime("%Y%m%dT%H%M%SZ")


class State:
    """The database; every method is one transaction. Raises RunError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> RunError:
        return RunError(f"{self.path}: cannot be used as node0's memory ({error}); restore or move it away")

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise RunError(f"{self.path}: was written by a newer node0 (schema {version}); upgrade node0")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise RunError(f"{self.path}: cannot be written ({error}); nothing of this step was kept") from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with closing(self._db.execute(sql, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def begin(self, cycle: str, at: datetime, started_at: datetime, *, forced: bool) -> None:
        """Open the cycle's row and its journal; raises RunError if that cycle exists."""
        with self._writing() as db:
            row = (cycle, format_instant(at), RUNNING, format_instant(started_at), int(forced))
            db.execute("INSERT INTO cycles (id, at, status, started_at, forced) VALUES (?, ?, ?, ?, ?)", row)
            db.execute("DELETE FROM journal")

    def station(self, cycle: str, name: str, at: datetime) -> None:
        """Note in the journal that the cycle has reached a station."""
        with self._writing() as db:
            entry = (cycle, name, format_instant(at))
            db.execute("INSERT INTO journal (cycle, station, at) VALUES (?, ?, ?)", entry)

    def journal(self) -> list[tuple[str, str, datetime]]:
        """Return the (cycle, station, instant) entries of the newest cycle."""
        rows = self._rows("SELECT cycle, station, at FROM journal ORDER BY seq")
        return [(cycle, station, parse_instant(at)) for cycle, station, at in rows]

    def sealed(self, cycle: str, provenance: str) -> None:
        """Remember which provenance sealed the cycle."""
        with self._writing() as db:
            db.execute("UPDATE cycles SET provenance = ? WHERE id = ?", (provenance, cycle))

    def finish(
        self,
        cycle: str,
        status: str,
        finished_at: datetime,
        *,
        ihsan: float | None = None,
        reports: tuple[tuple[str, str], ...] = (),
        reason: str | None = None,
    ) -> None:
        """Close the cycle's row."""
        values = (status, format_instant(finished_at), ihsan, json.dumps(reports), reason, cycle)
        with self._writing() as db:
            db.execute(
                "UPDATE cycles SET status = ?, finished_at = ?, ihsan = ?, reports = ?, reason = ? WHERE id = ?", values
            )

    def cycles(self, since: datetime | None = None) -> list[CycleRow]:
        """Return the cycles, oldest first; ``since`` leaves out those at or before it."""
        after = format_instant(since) if since else ""
        columns = "id, at, status, started_at, forced, ihsan, provenance, reports, reason"
        rows = self._rows(f"SELECT {columns} FROM cycles WHERE at > ? ORDER BY started_at, at, id", after)
        return [_row(row) for row in rows]

    def interrupted(self) -> list[CycleRow]:
        """Return the cycles that never ended; only the holder of the lock may ask."""
        return [row for row in self.cycles() if row.status == RUNNING]

    def record_change(self, cycle: str, change: Mapping[str, object]) -> None:
        """Record a change that was tried: class, ending, before, after, improvement, low, high."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO changes VALUES (:cycle, :class, :ending, :before, :after,"
                " :improvement, :low, :high)",
                {"cycle": cycle, **change},
            )

    def add_request(self, request: Request, step: Step, unless: Collection[str] = ()) -> bool:
        """Remember a request; False if one of the same policies is in one of the states ``unless``, or is this one."""
        with self._writing() as db:
            rows = db.execute("SELECT id, state FROM requests WHERE before = ? AND after = ?", _policies(request))
            if any(name == request.id or state in unless for name, state in rows.fetchall()):
                return False
            values = (request.id, format_instant(request.at), request.state, *_policies(request), request.content)
            db.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)", values)
            _note(db, request.id, step)
        return True

    @contextmanager
    def stepping(self, request: str, step: Step) -> Iterator[str]:
        """Bring a request into another state; yields the state that it is in, with every other writer kept waiting.

        Whatever the caller raises leaves the request as it was.
        """
        with self._writing() as db:
            (state,) = db.execute("SELECT state FROM requests WHERE id = ?", (request,)).fetchone() or ("unknown",)
            yield state
            db.execute("UPDATE requests SET state = ? WHERE id = ?", (step.state, request))
            _note(db, request, step)

    def requests(self) -> list[Request]:
        """Return the requests, oldest first."""
        rows = self._rows("SELECT id, at, state, before, after, content FROM requests ORDER BY at, id")
        return [Request(name, parse_instant(at), *rest) for name, at, *rest in rows]

    def steps(self, request: str) -> list[Step]:
        """Return every state that a request came into, oldest first."""
        rows = self._rows("SELECT state, at, who, reason FROM request_steps WHERE request = ? ORDER BY seq", request)
        return [Step(state, parse_instant(at), who, reason) for state, at, who, reason in rows]

    def record_deployment(self, cycle: str, deployment: Deployment) -> None:
        """Record that a change was deployed, or was to be and failed; once a cycle."""
        times = format_instant(deployment.started_at), format_instant(deployment.finished_at)
        row = (cycle, deployment.kind, deployment.outcome, deployment.sha, *times)
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?, ?, ?)", row)

    def record_return(self, cycle: str, decided: datetime, confirmed: datetime) -> None:
        """Record that traffic was taken back: when that was decided, and when none was first read back."""
        with self._writing() as db:
            values = (cycle, format_instant(decided), format_instant(confirmed))
            db.execute("INSERT OR REPLACE INTO returns VALUES (?, ?, ?)", values)

    def forget_deployment(self, cycle: str) -> None:
        """Take back a deployment that was noted before it was one."""
        with self._writing() as db:
            db.execute("DELETE FROM deployments WHERE cycle = ?", (cycle,))

    def fail_deployment(self, cycle: str) -> None:
        """Mark the deployment of a cycle as failed: it was taken back."""
        with self._writing() as db:
            db.execute("UPDATE deployments SET outcome = 'failed' WHERE cycle = ?", (cycle,))

    def deployments(self, since: datetime) -> list[tuple[str, str]]:
        """Return (cycle, outcome) of the deployments finished after ``since``, oldest first."""
        sql = "SELECT cycle, outcome FROM deployments WHERE finished_at > ? ORDER BY finished_at"
        return [(cycle, outcome) for cycle, outcome in self._rows(sql, format_instant(since))]

    def record_incident(self, cycle: str, incident: Incident) -> None:
        """Record an incident; the same kind for the same cycle counts once."""
        closed = format_instant(incident.resolved_at) if incident.resolved_at else None
        values = (cycle, incident.kind, format_instant(incident.opened_at), closed, incident.summary)
        with self._writing() as db:
            db.execute("DELETE FROM incidents WHERE cycle = ? AND kind = ?", values[:2])
            db.execute(
                "INSERT INTO incidents (cycle, kind, opened_at, resolved_at, summary) VALUES (?, ?, ?, ?, ?)", values
            )

    def resolve(self, kind: str, at: datetime) -> None:
        """Close the open incidents of a kind."""
        with self._writing() as db:
            values = (format_instant(at), kind)
            db.execute("UPDATE incidents SET resolved_at = ? WHERE kind = ? AND resolved_at IS NULL", values)

    def incidents(self, since: datetime) -> tuple[Incident, ...]:
        """Return the incidents opened after ``since`` or still open, oldest first."""
        sql = (
            "SELECT kind, opened_at, resolved_at, summary FROM incidents"
            " WHERE opened_at > ? OR resolved_at IS NULL ORDER BY opened_at, id"
        )
        return tuple(
            Incident(kind, parse_instant(opened), parse_instant(closed) if closed else None, summary)
            for kind, opened, closed, summary in self._rows(sql, format_instant(since))
        )

    def scores(self, window: timedelta, at: datetime) -> tuple[float, ...]:
        """Return the ihsan scores of the cycles within the window that ends at ``at``."""
        rows = self.cycles(since=at - window)
        return tuple(row.ihsan for row in rows if row.ihsan is not None and row.at <= at)


def _policies(request: Request) -> tuple[str, str]:
    return request.before, request.after


def _note(db: sqlite3.Connection, request: str, step: Step) -> None:
    entry = (request, step.state, format_instant(step.at), step.who, step.reason)
    db.execute("INSERT INTO request_steps (request, state, at, who, reason) VALUES (?, ?, ?, ?, ?)", entry)


def _row(row: tuple[Any, ...]) -> CycleRow:
    cycle, at, status, started, forced, ihsan, provenance, reports, reason = row
    published = tuple((name, digest) for name, digest in json.loads(reports))
    return CycleRow(
        cycle, parse_instant(at), status, parse_instant(started), bool(forced), ihsan, provenance, published, reason
    )
