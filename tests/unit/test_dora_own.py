"""node0's own changes and incidents as events, read from a memory that its own code wrote."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node0lib.dora.events import Deployment, Incident
from node0lib.dora.history import History
from node0lib.dora.report import report
from node0lib.errors import DataError
from node0lib.gates import Incident as Remembered
from node0lib.shell.dora_files import append_events
from node0lib.shell.dora_own import own_events
from node0lib.shell.state import Deployment as Recorded
from node0lib.shell.state import State, cycle_id

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def cycle(state: State, hour: int, status: str, recorded: tuple[str, str] | None = None) -> str:
    """Let a cycle run for a minute, with the (outcome, kind) of its deployment if it made one."""
    at = NOON + hour * HOUR
    name = cycle_id(at)
    state.begin(name, at, at, forced=False)
    if recorded is not None:
        outcome, kind = recorded
        state.record_deployment(name, Recorded(outcome, "ab" * 32, at, at + HOUR / 60, kind))
    state.finish(name, status, at + HOUR / 60)
    return name


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Four cycles: one kept, one undone by its canary, one kept and taken back by the fourth; some incidents."""
    path = tmp_path / "node0.sqlite"
    with State(path) as state:
        cycle(state, 0, "applied", ("succeeded", "normal"))
        undone = cycle(state, 1, "rolled_back", ("failed", "normal"))
        kept = cycle(state, 2, "applied", ("succeeded", "normal"))
        burning = cycle(state, 3, "rolled_back", ("succeeded", "rollback"))
        state.fail_deployment(kept)
        for kind, at in (("rolled_back", 1), ("failed", 1), ("interrupted", 2), ("slow_rollback", 3)):
            state.record_incident(undone, Remembered(kind, NOON + at * HOUR, NOON + at * HOUR, "told"))
        state.record_incident(burning, Remembered("critical_burn:api", NOON + 2.5 * HOUR, None, "burns"))
        cycle(state, 4, "running", ("succeeded", "normal"))
    return path


def test_changes_are_deployments(memory: Path) -> None:
    """Undone by its canary is rolled back; taken back later is a success and a rollback; a running cycle is not in."""
    found = [event for event in own_events(memory, "alpha", "edge").events if isinstance(event, Deployment)]
    assert [(one.outcome, one.kind) for one in found] == [
        ("succeeded", "normal"),
        ("rolled_back", "normal"),
        ("succeeded", "normal"),
        ("succeeded", "rollback"),
    ]
    assert {(one.service, one.environment, one.sha) for one in found} == {("alpha", "edge", "ab" * 32)}


def test_only_the_service_has_incidents(memory: Path) -> None:
    """A critical burn is one; what befell node0 itself, or is an outcome already, is counted and told."""
    found = own_events(memory, "alpha")
    (one,) = (event for event in found.events if isinstance(event, Incident))
    assert (one.id, one.resolved_at) == (f"node0:alpha:{cycle_id(NOON + 3 * HOUR)}:critical_burn:api", None)
    assert found.notes[0].startswith("1 incident(s) say") and found.notes[1].startswith("3 incident(s) are of node0")


def test_two_of_three_changes_failed(memory: Path) -> None:
    """The report's fail rate is that of the definition, whoever took the change back."""
    history = History.of(own_events(memory, "alpha").events)
    rate = report(history, NOON + 5 * HOUR).groups[0].windows["7d"][2]
    assert (rate.n, rate.detail["failed"]) == (3, 2)


def test_telling_it_again_changes_nothing(memory: Path, tmp_path: Path) -> None:
    """What was told before something was taken back or resolved stays true; only the incident goes on."""
    out = tmp_path / "events.jsonl"
    with sqlite3.connect(memory) as db:  # as it was before the fourth cycle
        db.execute("CREATE TEMP TABLE t AS SELECT * FROM deployments")
        db.execute("UPDATE deployments SET outcome = 'succeeded' WHERE cycle = ?", (cycle_id(NOON + 2 * HOUR),))
        db.execute("DELETE FROM deployments WHERE kind = 'rollback'")
    assert append_events(out, own_events(memory, "alpha").events).new == 4
    with State(memory) as state:
        state.fail_deployment(cycle_id(NOON + 2 * HOUR))
        row = Recorded("succeeded", "ab" * 32, NOON + 3 * HOUR, NOON + 3.1 * HOUR, "rollback")
        state.record_deployment(cycle_id(NOON + 3 * HOUR), row)
        state.resolve("critical_burn:api", NOON + 4 * HOUR)
    done = append_events(out, own_events(memory, "alpha").events)
    assert (done.new, done.known, done.resolved, done.replaced) == (1, 3, 1, ())


def test_no_memory_is_no_event_and_a_broken_one_is_told(tmp_path: Path) -> None:
    """Before the first cycle there is nothing; a file that is no database is an error that names it."""
    assert "no memory yet" in own_events(tmp_path / "none.sqlite", "alpha").notes[0]
    sqlite3.connect(tmp_path / "new.sqlite").close()
    (tmp_path / "new.sqlite").touch()
    assert own_events(tmp_path / "new.sqlite", "alpha").events == ()
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database, but long enough to be read as one" * 100)
    with pytest.raises(DataError, match="broken.sqlite: cannot be read as node0's memory"):
        own_events(broken, "alpha")
