"""What the memory says for the metrics: every count only grows, and nothing is written."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node0lib.errors import DataError
from node0lib.gates import Incident
from node0lib.shell.delivered import Delivered, read
from node0lib.shell.state import Deployment, State

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
GAIN = {"improvement": 0.1, "low": 0.0, "high": 0.2}
CHANGE = {"class": "M", "ending": "promoted", "before": "{}", "after": "{}", **GAIN}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a memory lies that nobody has made yet."""
    return tmp_path / "data" / "node0.sqlite"


def cycle(state: State, number: int, status: str, *, reason: str = "", seconds: float = 8) -> datetime:
    """Remember a cycle of that hour from its beginning to its end; return its instant."""
    at = AT + number * HOUR
    state.begin(f"c{number}", at, at, forced=False)
    state.finish(f"c{number}", status, at + seconds * SECOND, reason=reason)
    return at


def deployed(state: State, number: int, outcome: str = "succeeded", kind: str = "normal", change: bool = True) -> None:
    """Remember the deployment of a cycle, seven seconds after its beginning."""
    at = AT + number * HOUR
    if change:
        state.record_change(f"c{number}", CHANGE)
    state.record_deployment(f"c{number}", Deployment(outcome, "ab" * 32, at, at + 7 * SECOND, kind))


def test_without_a_memory_there_is_nothing(path: Path) -> None:
    """Before the first cycle nothing is known, and asking makes no file."""
    assert read(path) == Delivered()
    assert not path.exists() and not path.parent.exists()


def test_a_memory_that_is_just_being_made_is_empty(path: Path) -> None:
    """Between the making of the file and its tables nothing is remembered, and that is no error."""
    path.parent.mkdir()
    path.touch()
    assert read(path) == Delivered()


def test_cycles_count_by_how_they_ended(path: Path) -> None:
    """Each ended cycle's wall time is under its status, those of any failure together; an interrupted one has none."""
    with State(path) as state:
        for number, status in enumerate(("applied", "blocked", "timeout", "dead-kernel", "failed", "interrupted")):
            cycle(state, number, status, seconds=number + 1)
        found = read(path)
    assert found.cycles == {"applied": [1.0], "blocked": [2.0], "failed": [3.0, 4.0, 5.0]}
    assert found.newest == ("c5", AT + 5 * HOUR, "interrupted")


def test_a_cycle_that_runs_is_told_and_not_counted(path: Path) -> None:
    """While a cycle runs the newest one is still the last that ended."""
    with State(path) as state:
        cycle(state, 0, "no_change")
        state.begin("c1", AT + HOUR, AT + HOUR, forced=False)
        deployed(state, 1)
        found = read(path)
    assert found.running == AT + HOUR and found.newest == ("c0", AT, "no_change")
    assert found.cycles == {"no_change": [8.0]} and found.deployments == {}


def test_a_change_that_is_taken_back_counts_twice_and_nothing_falls(path: Path) -> None:
    """A kept change is a success for good; when a later cycle takes it back, a failure of its class is added."""
    with State(path) as state:
        cycle(state, 0, "applied")
        deployed(state, 0)
        before = read(path)
        state.begin("c1", AT + HOUR, AT + HOUR, forced=False)
        state.fail_deployment("c0")
        deployed(state, 1, kind="rollback", change=False)
        during = read(path)
        state.finish("c1", "rolled_back", AT + HOUR + SECOND)
        after = read(path)
    assert before.deployments == during.deployments == {("success", "M"): 1}
    assert after.deployments == {("success", "M"): 1, ("failed", "M"): 1}
    assert before.lead_times == after.lead_times == (7.0,)


def test_a_change_that_its_own_canary_undid_is_rolled_back(path: Path) -> None:
    """A change that was not kept is rolled_back, is no success and has no lead time."""
    with State(path) as state:
        cycle(state, 0, "rolled_back")
        deployed(state, 0, "failed")
        found = read(path)
    assert found.deployments == {("rolled_back", "M"): 1} and found.lead_times == ()


def test_a_change_that_was_sealed_before_a_kill_is_a_success(path: Path) -> None:
    """A cycle that was killed after it had sealed its change delivered it; its class may be unknown."""
    with State(path) as state:
        cycle(state, 0, "interrupted", reason="sealed as applied, then interrupted after it reached 'remember'")
        deployed(state, 0, change=False)
        kept = read(path)
        state.fail_deployment("c0")
        taken_back = read(path)
    assert kept.deployments == taken_back.deployments == {("success", "unknown"): 1}


def test_only_incidents_that_lasted_have_a_resolution_time(path: Path) -> None:
    """An open incident and one that was over when it was noted have no time of resolution."""
    with State(path) as state:
        state.record_incident("c0", Incident("critical_burn:api", AT, None, "burns"))
        state.record_incident("c0", Incident("failed", AT, AT, "was noted"))
        assert read(path).resolutions == ()
        state.resolve("critical_burn:api", AT + 2 * HOUR)
        assert read(path).resolutions == (7200.0,)


def test_a_clock_set_back_makes_nothing_negative(path: Path) -> None:
    """A cycle that seems to have ended before it began took no time."""
    with State(path) as state:
        cycle(state, 0, "no_change", seconds=-5)
    assert read(path).cycles == {"no_change": [0.0]}


@pytest.mark.parametrize("damage", ["not a database", "no table", "no time"])
def test_a_damaged_memory_is_named(path: Path, damage: str) -> None:
    """Whatever is wrong with the file, the error is one line that names it and says what to do."""
    with State(path) as state:
        cycle(state, 0, "no_change")
    if damage == "not a database":
        path.write_bytes(b"SQLite? No." * 1000)
    else:
        statement = "DROP TABLE deployments" if damage == "no table" else "UPDATE cycles SET finished_at = 'noon'"
        db = sqlite3.connect(path, isolation_level=None)
        db.execute(statement)
        db.close()
    with pytest.raises(DataError, match=r"node0\.sqlite: cannot be read .*restore it or move it away") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_reading_writes_nothing(path: Path) -> None:
    """The bytes of the memory are the same afterwards, while it is open elsewhere and when it is not."""
    with State(path) as state:
        cycle(state, 0, "no_change")
        read(path)
    before = path.read_bytes()
    read(path)
    assert path.read_bytes() == before
