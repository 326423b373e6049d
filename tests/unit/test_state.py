"""What node0 remembers: every method is one transaction, and whatever was remembered is found again."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node0lib.errors import RefusedError, RunError
from node0lib.gates import Incident
from node0lib.shell.config import load
from node0lib.shell.order import EXIT_CODES, exit_code, not_too_soon
from node0lib.shell.state import Deployment, Request, State, Step, cycle_id

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SETTINGS = load(Path(__file__).parents[2] / "configs" / "node0.yaml")
TABLES_1 = ("cycles", "changes", "deployments", "incidents", "journal")
CHANGE = {
    "class": "L",
    "ending": "promoted",
    "before": "{}",
    "after": '{"batch_size": 4}',
    "improvement": 0.1,
    "low": 0.05,
    "high": 0.15,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a memory lies that nobody has made yet, nor its folder."""
    return tmp_path / "data" / "node0.sqlite"


def ended(state: State, name: str, at: datetime, status: str = "no_change", **more: object) -> None:
    """Remember a cycle from its beginning to its end."""
    state.begin(name, at, at, forced=False)
    state.finish(name, status, at + MINUTE, **more)  # type: ignore[arg-type]


def test_a_cycle_is_found_as_it_was_remembered(path: Path) -> None:
    """Score, provenance, reports and reason of a cycle survive a restart of the program."""
    with State(path) as state:
        state.begin("c1", AT, AT + MINUTE, forced=True)
        state.sealed("c1", "ab" * 32)
        state.finish("c1", "applied", AT + HOUR, ihsan=97.5, reports=(("c1.audit.html", "cd" * 32),), reason="why")
    with State(path) as state:
        (row,) = state.cycles()
    assert (row.id, row.at, row.status, row.started_at, row.forced) == ("c1", AT, "applied", AT + MINUTE, True)
    assert (row.ihsan, row.provenance, row.reason) == (97.5, "ab" * 32, "why")
    assert row.reports == (("c1.audit.html", "cd" * 32),)


def test_a_cycle_that_never_ended_is_found(path: Path) -> None:
    """A row is running until it is finished, and only such rows count as interrupted."""
    with State(path) as state:
        ended(state, "c1", AT)
        state.begin("c2", AT + HOUR, AT + HOUR, forced=False)
    with State(path) as state:
        assert [row.id for row in state.interrupted()] == ["c2"]
        state.finish("c2", "interrupted", AT + 2 * HOUR)
        assert state.interrupted() == []


def test_no_cycle_is_begun_twice(path: Path) -> None:
    """A second row of the same name is refused, and the journal of the first is still there."""
    with State(path) as state:
        state.begin("c1", AT, AT, forced=False)
        state.station("c1", "telemetry", AT)
        with pytest.raises(RunError, match="nothing of this step was kept"):
            state.begin("c1", AT, AT, forced=False)
        assert state.journal() == [("c1", "telemetry", AT)]


def test_the_journal_is_the_newest_cycles(path: Path) -> None:
    """Stations are kept in the order in which they were reached, and a new cycle begins a new journal."""
    with State(path) as state:
        state.begin("c1", AT, AT, forced=False)
        for n, name in enumerate(("telemetry", "given", "notebook")):
            state.station("c1", name, AT + n * MINUTE)
        assert [(name, at) for _, name, at in state.journal()] == [
            ("telemetry", AT),
            ("given", AT + MINUTE),
            ("notebook", AT + 2 * MINUTE),
        ]
        state.begin("c2", AT + HOUR, AT + HOUR, forced=False)
        assert state.journal() == []


def test_an_incident_of_a_kind_counts_once_a_cycle(path: Path) -> None:
    """Recovery that runs again after a kill does not count the same incident twice."""
    with State(path) as state:
        for summary in ("first", "again"):
            state.record_incident("c1", Incident("interrupted", AT, AT, summary))
        state.record_incident("c1", Incident("failed", AT, AT, "other"))
        state.record_incident("c2", Incident("interrupted", AT, AT, "another cycle"))
        assert [i.summary for i in state.incidents(AT - HOUR)] == ["again", "other", "another cycle"]


def test_an_open_incident_does_not_grow_old(path: Path) -> None:
    """Incidents opened after an instant are found, and older ones as long as nobody resolved them."""
    with State(path) as state:
        state.record_incident("c1", Incident("a", AT - 9 * HOUR, None, "open"))
        state.record_incident("c2", Incident("b", AT - 9 * HOUR, AT - 8 * HOUR, "resolved long ago"))
        state.record_incident("c3", Incident("c", AT - HOUR, AT, "at the boundary"))
        state.record_incident("c4", Incident("d", AT - MINUTE, AT, "recent"))
        found = state.incidents(AT - HOUR)
    assert [i.summary for i in found] == ["open", "recent"]
    assert found[0].resolved_at is None and found[1].resolved_at == AT


def test_a_change_and_its_deployment_are_remembered_once_a_cycle(path: Path) -> None:
    """Accounting for a cycle again after a kill replaces its deployment and its change, and adds none."""
    with State(path) as state:
        ended(state, "c1", AT, "applied")
        for outcome in ("failed", "succeeded"):
            state.record_deployment("c1", Deployment(outcome, "ab" * 32, AT, AT + MINUTE))
            state.record_change("c1", CHANGE)
        assert state.deployments(AT) == [("c1", "succeeded")]
        assert state.deployments(AT + MINUTE) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT class, low, high FROM changes").fetchall() == [("L", 0.05, 0.15)]


def test_scores_are_those_of_the_window(path: Path) -> None:
    """The window is left-open and ends at its instant; a cycle without a score has none."""
    with State(path) as state:
        for n, score in ((-2, 80.0), (-1, 90.0), (0, 100.0), (1, 70.0)):
            ended(state, f"c{n}", AT + n * HOUR, ihsan=score)
        ended(state, "failed", AT - MINUTE, "error")
        assert state.scores(2 * HOUR, AT) == (90.0, 100.0)


def test_a_change_without_its_cycle_or_its_numbers_is_refused_whole(path: Path) -> None:
    """A value that a strict column does not take leaves nothing of the step behind."""
    with State(path) as state:
        with pytest.raises(RunError, match="nothing of this step was kept"):
            state.record_change("c1", {**CHANGE, "low": "not a number"})
        ended(state, "c1", AT)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM changes").fetchone() == (0,)


def test_another_reader_sees_whole_steps_while_a_cycle_writes(path: Path) -> None:
    """The memory is in WAL mode: whoever looks on neither waits for the cycle nor disturbs it."""
    with State(path) as state, closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        state.begin("c1", AT, AT, forced=False)
        assert db.execute("SELECT status FROM cycles").fetchall() == [("running",)]


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 5000], ids=["text", "pages"])
def test_a_file_that_is_no_memory_is_one_clear_error(path: Path, content: bytes) -> None:
    """What cannot be read is named, with what to do, and left as it is."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"node0\.sqlite: cannot be used .*; restore or move it away"):
        State(path)
    assert path.read_bytes() == content


def test_damage_that_is_found_later_is_the_same_error(path: Path) -> None:
    """A memory whose first page is whole and whose rows are not is no traceback either."""
    with State(path) as state:
        for n in range(200):
            ended(state, f"c{n}", AT + n * MINUTE, reason="x" * 200)
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(RunError, match="cannot be used as node0's memory"), State(path) as state:
        state.cycles()


def test_a_memory_of_a_newer_node0_is_left_alone(path: Path) -> None:
    """A schema that this version does not know is refused, not rewritten."""
    State(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RunError, match="newer node0 .*99.*; upgrade node0"):
        State(path)


def test_a_folder_in_its_place_is_one_clear_error(path: Path) -> None:
    """A memory that cannot be opened at all is named."""
    path.mkdir(parents=True)
    with pytest.raises(RunError, match="cannot be used as node0's memory"):
        State(path)


def test_a_cycle_is_named_by_its_instant() -> None:
    """Names sort as instants do, whatever the zone in which the instant was told."""
    assert cycle_id(AT.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)) == "20261124T120000Z"
    assert cycle_id(AT) < cycle_id(AT + timedelta(seconds=1)) < cycle_id(AT + timedelta(days=40))


# Requests


REQUEST = Request("c0ffee", AT, "waiting", "b" * 64, "a" * 64, "{}")


def test_a_request_is_found_as_it_was_remembered(path: Path) -> None:
    """A change that waits survives a restart of the program, with every state it came into."""
    with State(path) as state:
        assert state.add_request(REQUEST, Step("waiting", AT, "Ada", "why"))
        with state.stepping("c0ffee", Step("approved", AT + HOUR, "Eve", "")) as now:
            assert now == "waiting"
    with State(path) as state:
        assert state.requests() == [replace(REQUEST, state="approved")]
        assert state.steps("c0ffee") == [Step("waiting", AT, "Ada", "why"), Step("approved", AT + HOUR, "Eve", "")]
        assert state.steps("another") == []


def test_a_request_of_the_same_policies_is_added_once(path: Path) -> None:
    """One in a state that counts, or of the same name, keeps another out; one that has ended does not."""
    with State(path) as state:
        first = Step("waiting", AT, "Ada", "")
        assert state.add_request(REQUEST, first, ("waiting",))
        assert not state.add_request(replace(REQUEST, id="other"), first, ("waiting",))
        assert not state.add_request(REQUEST, first)
        assert state.add_request(replace(REQUEST, id="other"), first, ("approved",))
        assert state.add_request(replace(REQUEST, id="third", before="c" * 64), first, ("waiting",))


def test_what_fails_within_a_step_leaves_the_request_as_it_was(path: Path) -> None:
    """Neither the state nor the history is written if the caller raises, and the memory can be written again."""
    with State(path) as state:
        state.add_request(REQUEST, Step("waiting", AT, "Ada", ""))
        with pytest.raises(RefusedError), state.stepping("c0ffee", Step("approved", AT, "Eve", "")):
            raise RefusedError("no")
        with pytest.raises(RefusedError), state.stepping("nobody", Step("approved", AT, "Eve", "")) as now:
            assert now == "unknown"
            raise RefusedError("no")
        assert state.requests() == [REQUEST] and len(state.steps("c0ffee")) == 1
        ended(state, "c1", AT)


SCHEMA_1 = """
CREATE TABLE cycles (
    id TEXT PRIMARY KEY, at TEXT NOT NULL, status TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    forced INTEGER NOT NULL, ihsan REAL, provenance TEXT, reports TEXT NOT NULL DEFAULT '[]', reason TEXT
) STRICT;
CREATE TABLE changes (
    cycle TEXT PRIMARY KEY REFERENCES cycles (id), class TEXT NOT NULL, ending TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, improvement REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL
) STRICT;
CREATE TABLE deployments (
    cycle TEXT PRIMARY KEY REFERENCES cycles (id), kind TEXT NOT NULL, outcome TEXT NOT NULL, sha TEXT NOT NULL,
    started_at TEXT NOT NULL, finished_at TEXT NOT NULL
) STRICT;
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY, cycle TEXT NOT NULL, kind TEXT NOT NULL, opened_at TEXT NOT NULL, resolved_at TEXT,
    summary TEXT NOT NULL
) STRICT;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY, cycle TEXT NOT NULL, station TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
INSERT INTO cycles VALUES ('c1', '2026-11-24T12:00:00Z', 'applied', '2026-11-24T12:00:00Z', '2026-11-24T12:01:00Z',
    0, 97.5, 'abab', '[["c1.audit.html", "cdcd"]]', 'why');
INSERT INTO changes VALUES ('c1', 'L', 'promoted', '{}', '{"batch_size": 4}', 0.1, 0.05, 0.15);
INSERT INTO deployments VALUES ('c1', 'normal', 'succeeded', 'ab', '2026-11-24T12:00:00Z', '2026-11-24T12:01:00Z');
INSERT INTO incidents (cycle, kind, opened_at, summary) VALUES ('c1', 'x', '2026-11-24T12:00:00Z', 'open');
INSERT INTO journal (cycle, station, at) VALUES ('c1', 'telemetry', '2026-11-24T12:00:00Z');
PRAGMA user_version = 1;
"""


def test_a_memory_of_schema_1_keeps_everything(path: Path) -> None:
    """A memory of an older node0 is opened with all that was in it, and can remember requests from then on."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_1)
        before = [db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES_1]
    with State(path) as state:
        (row,) = state.cycles()
        assert (row.id, row.ihsan, row.reports, row.reason) == ("c1", 97.5, (("c1.audit.html", "cdcd"),), "why")
        assert state.journal() == [("c1", "telemetry", AT)] and state.deployments(AT) == [("c1", "succeeded")]
        assert state.requests() == [] and state.add_request(REQUEST, Step("waiting", AT, "Ada", ""))
    with closing(sqlite3.connect(path)) as db:
        assert [db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES_1] == before
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


# May it start?


@pytest.mark.parametrize(("after", "refused"), [(0, True), (14, True), (15, False), (60, False), (-1, False)])
def test_the_interval_between_cycles_is_half_open(path: Path, after: int, refused: bool) -> None:
    """A start is refused until the interval is over, not at its end, and not by a cycle that lies ahead."""
    with State(path) as state:
        ended(state, "c1", AT)
        if not refused:
            not_too_soon(SETTINGS, state, AT + after * MINUTE)
            return
        with pytest.raises(RefusedError, match=r"may start at 2026-11-24T12:15:00Z .*15m.*--force overrides"):
            not_too_soon(SETTINGS, state, AT + after * MINUTE)


def test_an_interrupted_cycle_is_no_reason_to_wait(path: Path) -> None:
    """The successor of a killed cycle may start at once; that of a failed one waits."""
    with State(path) as state:
        ended(state, "c1", AT, "interrupted")
        not_too_soon(SETTINGS, state, AT + MINUTE)
        ended(state, "c2", AT, "failed")
        with pytest.raises(RefusedError):
            not_too_soon(SETTINGS, state, AT + MINUTE)


def test_a_refusal_tells_what_was_found_before_it(path: Path) -> None:
    """Recovery resolves an incident once: if the start is refused, the refusal is where it is told."""
    with State(path) as state:
        ended(state, "c1", AT)
        found = (Incident("policy_changed", AT, AT, "the sealed one was restored"),)
        with pytest.raises(RefusedError, match="^INCIDENT policy_changed: the sealed one was restored; the last cycle"):
            not_too_soon(SETTINGS, state, AT + MINUTE, found)


def test_every_ending_has_its_exit_code() -> None:
    """What is not known as a good ending, a gate, a rollback or a refusal is a failure."""
    assert set(EXIT_CODES.values()) == {0, 3, 4, 5}
    failures = ("error", "timeout", "dead-kernel", "incomplete", "interrupted", "failed", "anything else")
    assert {exit_code(status) for status in failures} == {1}
