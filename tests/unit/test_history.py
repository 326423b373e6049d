"""The stored history: made once, whole files, gaps explicit, damage said."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from node0lib.errors import ConfigError, DataError
from node0lib.shell.history import History, embedded_source, policy_digest
from node0lib.simulate.service import POLICY, EmbeddedNode, minute_of
from node0lib.simulate.streams import bound_index
from node0lib.slo.objective import Objective
from node0lib.timespan import Span

NODE, NOON = EmbeddedNode(seed=7), datetime(2026, 11, 24, 12, 34, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OTHER = {**POLICY, "cache_ttl_s": 90}
RATIO = Objective("api_availability", "ratio", 0.999, 30 * DAY, stream="api")
LATENCY = Objective("api_fast", "latency", 0.95, DAY, stream="api", threshold_s=0.05)
SLICES = Objective("llm_p95", "timeslice", 0.9, HOUR, stream="mcp_llm", threshold_s=0.1, quantile=0.95)


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def stored(folder: Path, past: timedelta = 2 * DAY) -> History:
    """Return a history of two and a half days' files that ends at NOON."""
    history = History(folder / "sli", NODE)
    assert history.extend(NOON, POLICY, past, quiet) == past // timedelta(minutes=1)
    return history


def newest(history: History) -> Path:
    """Return the newest file."""
    return max(history.folder.glob("*.parquet"))


def test_the_store_and_the_memory_agree(tmp_path: Path) -> None:
    """Parquet and memory answer every kind of question alike, to the last event."""
    history, memory = stored(tmp_path), embedded_source(NODE, POLICY, NOON, 2 * DAY)
    assert [p.name for p in sorted(history.folder.iterdir())] == [
        f"2026-11-{d}.parquet" for d in (22, 23, 24)
    ]
    for slo in (RATIO, LATENCY, SLICES):
        for window in (timedelta(minutes=5), HOUR, DAY, 30 * DAY):
            assert history.counts(slo, window, NOON) == memory.counts(slo, window, NOON)
        span = Span.ending(NOON, 6 * HOUR)
        one, two = history.series(slo, span, HOUR), memory.series(slo, span, HOUR)
        assert np.array_equal(one.good, two.good) and one.start == span.start
    assert (history.name, history.simulated) == (memory.name, memory.simulated) == ("embedded node", True)


def test_counts_are_the_minutes_own(tmp_path: Path) -> None:
    """Ratio, latency and timeslice counts are what the node's minutes say; ``at`` is floored to the minute."""
    history, minutes = stored(tmp_path, 2 * HOUR), NODE.minutes(NOON - HOUR, 60, POLICY)
    api, llm = minutes.streams["api"], minutes.streams["mcp_llm"]
    counts = history.counts(RATIO, HOUR, NOON + timedelta(seconds=59))
    assert (counts.good, counts.total, counts.coverage) == (api.good.sum(), api.total.sum(), 1.0)
    fast = api.cumulative[:, bound_index(0.05)]
    assert history.counts(LATENCY, HOUR, NOON).good == fast.sum()
    met = llm.cumulative[:, bound_index(0.1)] >= 0.95 * llm.total
    assert history.counts(SLICES, HOUR, NOON).good == met.sum()
    assert history.counts(SLICES, HOUR, NOON).total == 60


def test_slices_of_several_minutes(tmp_path: Path) -> None:
    """A slice of five minutes is judged on all its requests together; a step must hold whole slices."""
    history, minutes = stored(tmp_path, 2 * HOUR), NODE.minutes(NOON - HOUR, 60, POLICY)
    slow = Objective(
        "s", "timeslice", 0.9, HOUR, stream="api", threshold_s=0.05, quantile=0.965, slice=HOUR / 12
    )
    api = minutes.streams["api"]
    fast = api.cumulative[:, bound_index(0.05)].reshape(12, 5).sum(axis=1)
    met = fast >= 0.965 * api.total.reshape(12, 5).sum(axis=1)
    counts = history.counts(slow, HOUR, NOON)
    assert (counts.good, counts.total) == (met.sum(), 12)
    with pytest.raises(ConfigError, match="multiple of the slice"):
        history.series(slow, Span.ending(NOON, HOUR), timedelta(minutes=3))


def test_extending_in_steps_is_extending_at_once(tmp_path: Path) -> None:
    """Hour by hour, across midnight, gives the same minutes; nothing new makes nothing."""
    steps, start = History(tmp_path / "steps", NODE), NOON - 20 * HOUR
    made = steps.extend(start, POLICY, HOUR, quiet)
    made += sum(steps.extend(start + k * HOUR, POLICY, HOUR, quiet) for k in range(1, 21))
    assert made == 21 * 60
    assert steps.extend(NOON, POLICY, DAY, quiet) == 0 == steps.extend(NOON - DAY, POLICY, DAY, quiet)
    memory = embedded_source(NODE, POLICY, NOON, 21 * HOUR)
    assert steps.counts(SLICES, 30 * DAY, NOON) == memory.counts(SLICES, 30 * DAY, NOON)


def test_each_minute_keeps_its_policy(tmp_path: Path) -> None:
    """A new policy governs new minutes only, and both can be read back from the file."""
    history = stored(tmp_path, 2 * HOUR)
    before = history.counts(RATIO, HOUR, NOON)
    history.extend(NOON + HOUR, OTHER, DAY, quiet)
    assert history.counts(RATIO, HOUR, NOON) == before
    later = embedded_source(NODE, OTHER, NOON + HOUR, HOUR)
    assert history.counts(LATENCY, HOUR, NOON + HOUR) == later.counts(LATENCY, HOUR, NOON + HOUR)
    policies = history.policies(minute_of(NOON) // 1440)
    assert policies == {policy_digest(POLICY): POLICY, policy_digest(OTHER): OTHER}
    assert policy_digest(dict(reversed(POLICY.items()))) == policy_digest(POLICY)


def test_progress_is_told(tmp_path: Path) -> None:
    """Progress rises from day to day to the total."""
    told: list[tuple[int, int]] = []
    History(tmp_path, NODE).extend(NOON, POLICY, DAY, lambda what, done, total: told.append((done, total)))
    assert told == [(686, 1440), (1440, 1440)]


def test_a_missing_day_is_a_gap(tmp_path: Path) -> None:
    """A deleted day lowers the coverage and shows as NaN; nothing at all is said to be nothing."""
    history = stored(tmp_path)
    (history.folder / "2026-11-23.parquet").unlink()
    counts = history.counts(RATIO, 2 * DAY, NOON)
    assert counts.coverage == 0.5
    series = history.series(RATIO, Span.ending(NOON, 2 * DAY), 2 * HOUR)
    assert np.isnan(series.total).sum() == 11
    nothing = history.counts(RATIO, HOUR, NOON - 9 * DAY)
    assert not nothing.observed and "no minutes" in str(nothing.problem)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped"])
def test_damage_is_said(tmp_path: Path, damage: str) -> None:
    """A damaged file is named with what to do, and deleting it gives the same minutes again."""
    history = stored(tmp_path)
    before, path = history.counts(SLICES, 6 * HOUR, NOON), newest(history)
    content = path.read_bytes()
    flipped = bytearray(content)
    for index in range(4, len(content) // 2):
        flipped[index] ^= 0x55
    path.write_bytes(
        {"truncated": content[:-100], "empty": b"", "text": b"hello", "flipped": bytes(flipped)}[damage]
    )
    fresh = History(history.folder, NODE)
    with pytest.raises(DataError, match=r"2026-11-24\.parquet.*delete it"):
        fresh.series(SLICES, Span.ending(NOON, HOUR), HOUR)
    assert "2026-11-24.parquet" in str(fresh.counts(SLICES, HOUR, NOON).problem)
    with pytest.raises(DataError, match="delete it"):
        fresh.extend(NOON + HOUR, POLICY, DAY, quiet)
    path.unlink()
    fresh.extend(NOON, POLICY, DAY, quiet)
    assert fresh.counts(SLICES, 6 * HOUR, NOON) == before


def test_files_that_nobody_made_are_named(tmp_path: Path) -> None:
    """A day under another day's name, and a name that is no date, are said rather than read."""
    history = stored(tmp_path, HOUR)
    (history.folder / "2026-11-23.parquet").write_bytes(newest(history).read_bytes())
    assert "another day" in str(history.counts(RATIO, DAY, NOON).problem)
    (history.folder / "copy.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"copy\.parquet.*not a date"):
        history.extend(NOON, POLICY, DAY, quiet)


def test_another_nodes_store_is_refused(tmp_path: Path) -> None:
    """A store of another seed is not mixed with this one's minutes, and the message says what to do."""
    history = stored(tmp_path, HOUR)
    other = History(history.folder, EmbeddedNode(seed=8))
    for question in (lambda: other.counts(RATIO, HOUR, NOON), lambda: other.extend(NOON, POLICY, DAY, quiet)):
        with pytest.raises(ConfigError, match="seed 7, but this one has 8; set the seed back, or delete"):
            question()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"stream": "alhpa"}, "no stream 'alhpa'.*api, alpha"),
        ({"stream": None}, "set stream to one of"),
        ({"threshold_s": 0.052}, "slos.x.threshold_s.*0.05"),
        ({"threshold_s": None}, "needs threshold_s"),
        ({"kind": "invariant"}, "read this SLO from elsewhere"),
    ],
)
def test_objectives_that_the_node_cannot_answer(tmp_path: Path, change: dict, why: str) -> None:
    """An SLO without a stream or a bucket bound is the configuration's mistake, with the choices."""
    given = {"kind": "latency", "stream": "api", "threshold_s": 0.05, **change}
    slo = Objective("x", objective=0.9, window=HOUR, **given)
    with pytest.raises(ConfigError, match=why):
        History(tmp_path, NODE).counts(slo, HOUR, NOON)


def test_spans_must_be_whole(tmp_path: Path) -> None:
    """A span that is not a number of steps, and a step of seconds, are refused."""
    history = History(tmp_path, NODE)
    with pytest.raises(DataError, match="whole number of steps"):
        history.series(RATIO, Span.ending(NOON, HOUR), timedelta(minutes=7))
    with pytest.raises(ConfigError, match="whole number of minutes"):
        history.series(RATIO, Span.ending(NOON, HOUR), timedelta(seconds=30))


def test_a_killed_extend_leaves_whole_files(tmp_path: Path) -> None:
    """Killed in the middle, the store is readable, and the next extend goes on without a gap."""
    script = (
        "import sys; from pathlib import Path; from datetime import datetime, timedelta\n"
        "from node0lib.shell.history import History\n"
        "from node0lib.simulate.service import POLICY, EmbeddedNode\n"
        "History(Path(sys.argv[1]), EmbeddedNode(7)).extend(datetime.fromisoformat(sys.argv[2]), POLICY,\n"
        "    timedelta(days=30), lambda what, done, total: print(done, flush=True))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), NOON.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    history = History(tmp_path, NODE)
    days = history.days()
    assert 1 <= len(days) < 31
    later = datetime.fromtimestamp((days[-1] + 2) * 86_400, UTC)
    history.extend(later, POLICY, 30 * DAY, quiet)
    assert history.counts(RATIO, 35 * HOUR, later).coverage == 1.0
