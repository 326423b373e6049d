"""The cache of a server's minutes: read once, never final too soon, never trusted when damaged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from node0lib.errors import DataError
from node0lib.shell.series_cache import DAY, SeriesCache, read_through, series_key
from node0lib.simulate.months import silent
from node0lib.simulate.service import POLICY, EmbeddedNode
from node0lib.simulate.source import EmbeddedSource, embedded_source
from node0lib.sli.series import GoodTotal
from node0lib.slo.objective import Objective
from node0lib.timespan import Span

END = datetime(2026, 3, 11, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
API = Objective("api", "ratio", 0.999, 30 * DAY, stream="api", queries={"good": "g", "total": "t"})


class Counting:
    """An embedded node's last ten days, that notes which spans it was asked for; ``warnings`` may grow."""

    def __init__(self, source: EmbeddedSource, *, warns: bool = False, fails_at: int | None = None) -> None:
        self.source, self.warns, self.fails_at = source, warns, fails_at
        self.name, self.simulated = "counted", True
        self.asked: list[Span] = []
        self.warnings: tuple[str, ...] = ()

    def series(self, slo: Objective, span: Span, step: timedelta) -> GoodTotal:
        self.asked.append(span)
        if self.fails_at == len(self.asked):
            raise DataError("the server went away")
        if self.warns:
            self.warnings += (f"partial {len(self.asked)}",)
        return self.source.series(slo, span, step)


@pytest.fixture(scope="module")
def node() -> EmbeddedSource:
    """Ten days of minutes until END."""
    return embedded_source(EmbeddedNode(seed=3), POLICY, END, 10 * DAY)


def _read(
    node: EmbeddedSource, folder: Path, span: Span, *, now: datetime = END + DAY, fresh: bool = False, **how: object
) -> tuple[GoodTotal, Counting, SeriesCache]:
    source, cache = Counting(node, **how), SeriesCache(folder, series_key("here", API, MINUTE))  # type: ignore[arg-type]
    found = read_through(source, API, span, MINUTE, cache, now=now, progress=silent, fresh=fresh)  # type: ignore[arg-type]
    return found, source, cache


def _same(one: GoodTotal, other: GoodTotal) -> bool:
    columns = ((one.good, other.good), (one.total, other.total))
    return one.start == other.start and all(np.array_equal(a, b, equal_nan=True) for a, b in columns)


def test_a_second_reading_asks_nobody_and_gives_the_same(node: EmbeddedSource, tmp_path: Path) -> None:
    """Chunks of a week at most, whole days from midnight on; then all of it comes from the cache, bit for bit."""
    span = Span(END - 9 * DAY + 5 * HOUR, END - DAY + 3 * HOUR)
    first, source, cache = _read(node, tmp_path, span)
    assert [s.length for s in source.asked] == [7 * DAY, DAY + 3 * HOUR]
    assert source.asked[0].start == END - 9 * DAY
    assert _same(first, node.series(API, span, MINUTE))
    assert (cache.kept, cache.read) == (0, 8 * 1440 + 180)
    again, source, cache = _read(node, tmp_path, span)
    assert source.asked == [] and _same(first, again)
    assert (cache.kept, cache.read) == (8 * 1440 + 180, 0)


def test_only_what_is_new_is_read(node: EmbeddedSource, tmp_path: Path) -> None:
    """A longer range asks for what is missing at either end, from the middle of a day on if that is where it was."""
    _read(node, tmp_path, Span(END - 5 * DAY, END - 3 * DAY + 6 * HOUR))
    longer = Span(END - 6 * DAY, END - 2 * DAY)
    found, source, _ = _read(node, tmp_path, longer)
    assert source.asked == [Span(END - 6 * DAY, END - 5 * DAY), Span(END - 3 * DAY + 6 * HOUR, END - 2 * DAY)]
    assert _same(found, node.series(API, longer, MINUTE))
    assert _read(node, tmp_path, longer)[1].asked == []


def test_the_last_hours_are_read_again(node: EmbeddedSource, tmp_path: Path) -> None:
    """What is younger than six hours may still change, so it is not kept."""
    span = Span(END - 2 * DAY, END)
    _read(node, tmp_path, span, now=END)
    _, source, _ = _read(node, tmp_path, span, now=END)
    assert source.asked == [Span(END - 6 * HOUR, END)]
    _, source, _ = _read(node, tmp_path, span, now=END + HOUR)
    assert source.asked == [Span(END - 6 * HOUR, END)]
    assert _read(node, tmp_path, span, now=END + 6 * HOUR)[1].asked == [Span(END - 5 * HOUR, END)]


def test_a_day_without_any_observation_is_not_kept(node: EmbeddedSource, tmp_path: Path) -> None:
    """It may be filled in later; a day of which a part is missing is kept, and its gap stays a gap."""
    span = Span(END - 12 * DAY, END - 9 * DAY)
    first, _, _ = _read(node, tmp_path, span)
    again, source, _ = _read(node, tmp_path, span)
    assert source.asked == [Span(END - 12 * DAY, END - 10 * DAY)]
    assert _same(first, again) and np.isnan(again.total[:2880]).all() and np.isfinite(again.total[2880:]).all()
    broken = embedded_source(EmbeddedNode(seed=3), POLICY, END - 12 * HOUR, DAY)
    half = Span(END - DAY, END)
    for _ in range(2):
        found, source, _ = _read(broken, tmp_path / "half", half)
        assert np.isnan(found.total[720:]).all() and np.isfinite(found.total[:720]).all()
    assert source.asked == []


def test_a_damaged_file_is_read_anew_and_told(node: EmbeddedSource, tmp_path: Path) -> None:
    """Cut, flipped or foreign bytes never become numbers."""
    span = Span(END - 3 * DAY, END - DAY)
    good, _, cache = _read(node, tmp_path, span)
    path = sorted(cache.place.glob("*.parquet"))[0]
    sound = path.read_bytes()
    foreign = SeriesCache(tmp_path / "other", series_key("there", API, MINUTE))
    foreign.save(END, np.ones(3), np.ones(3))
    alien = (foreign.place / f"{END.date().isoformat()}.parquet").read_bytes()
    flipped = sound[:200] + bytes([sound[200] ^ 0xFF]) + sound[201:]
    for content in (sound[:-50], b"", b"nonsense", alien, flipped):
        path.write_bytes(content)
        found, source, cache = _read(node, tmp_path, span)
        assert source.asked == [Span(END - 3 * DAY, END - 2 * DAY)] and _same(found, good)
        assert len(cache.notes) == 1 and "damaged" in cache.notes[0]
        assert path.read_bytes() == sound


def test_fresh_reads_all_of_it(node: EmbeddedSource, tmp_path: Path) -> None:
    """Somebody who knows better than the cache may say so."""
    span = Span(END - 3 * DAY, END - DAY)
    _read(node, tmp_path, span)
    assert _read(node, tmp_path, span, fresh=True)[1].asked == [span]


def test_what_came_with_a_warning_is_not_kept(node: EmbeddedSource, tmp_path: Path) -> None:
    """A partial answer is used, and asked for again."""
    span = Span(END - 3 * DAY, END - DAY)
    _read(node, tmp_path, span, warns=True)
    assert _read(node, tmp_path, span)[1].asked == [span]


def test_an_interrupted_reading_goes_on_where_it_stopped(node: EmbeddedSource, tmp_path: Path) -> None:
    """The chunks that came before the failure are kept."""
    span = Span(END - 9 * DAY, END - DAY)
    with pytest.raises(DataError, match="went away"):
        _read(node, tmp_path, span, fails_at=2)
    assert _read(node, tmp_path, span)[1].asked == [Span(END - 2 * DAY, END - DAY)]


def test_another_query_step_or_source_is_another_series(tmp_path: Path) -> None:
    """Nothing is mixed up."""
    other = Objective("api", "ratio", 0.999, 30 * DAY, queries={"good": "g2", "total": "t"})
    keys = [
        series_key("here", API, MINUTE),
        series_key("there", API, MINUTE),
        series_key("here", API, 5 * MINUTE),
        series_key("here", other, MINUTE),
    ]
    assert len({SeriesCache(tmp_path, key).place for key in keys}) == 4
    renamed = Objective("b", "ratio", 0.9, 7 * DAY, queries={"good": "g", "total": "t"})
    assert series_key("here", renamed, MINUTE) == keys[0], "the objective itself changes no event"
