"""Runs a sweep into a folder: what is finished stays finished, however the run ends.

Chunks are computed in order and kept one by one; a run that was killed, or whose disk was full, goes on at the first
chunk that is not there. The numbers do not depend on who computes them.

>>> from tempfile import TemporaryDirectory
>>> from node0lib.shell.sweep_workers import alone
>>> from node0lib.simulate.scenario import Floor, Traffic
>>> sweep = Sweep((0.999,), {"t": Traffic(60.0)}, {"f": Floor(0.0)}, {"none": ()}, {"workbook": None}, (1,), months=1)
>>> with TemporaryDirectory() as name, alone() as crew:
...     run_sweep(sweep, Path(name), crew).found_before, run_sweep(sweep, Path(name), crew).found_before
(0, 1)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from node0lib.alerts.quality import Quality
from node0lib.errors import RunError
from node0lib.ports import Progress
from node0lib.shell.sweep_folder import SweepFolder, opened
from node0lib.shell.sweep_workers import Crew, Task
from node0lib.simulate.months import PAGE, judged, silent
from node0lib.simulate.scenario import draw, plan
from node0lib.simulate.sweep import (
    Cell,
    Found,
    Pace,
    Row,
    Sweep,
    cell_at,
    refuse_if_vast,
    rows_of,
)

_COUNTS = ("months", "events", "detected", "pages", "true_pages", "flaps")
_SAMPLED = 4
_POLICIES = 8


@dataclass(frozen=True)
class Ran:
    """How a run ended: ``chunks`` in all, of which ``found_before`` were there; the summary, and how long it took."""

    chunks: int
    found_before: int
    months: int
    seconds: float
    summary: tuple[Line, ...]


@dataclass(frozen=True)
class Line:
    """The counts of a policy's pages at one objective, over all traffics, floors, faults and seeds.

    ``quality`` has no times; ``detection`` is their median in seconds, +inf if most events are missed.
    """

    objective: float
    policy: str
    quality: Quality
    detection: float | None


def measured_pace(sweep: Sweep) -> Pace:
    """Return how fast this machine is on months like the sweep's, measured on a few of them."""
    draws, replays, passed = 0.0, 0.0, 0
    stride = max(1, sweep.cells // _SAMPLED)
    for number in range(0, sweep.cells, stride)[:_SAMPLED]:
        cell = cell_at(sweep, number)
        for timed in (False, True):  # the first time compiles
            drawing, replaying = _timed(cell)
            draws, replays = (draws + drawing, replays + replaying) if timed else (draws, replays)
        passed += 1
    policies = min(_POLICIES, len(sweep.objectives) * len(sweep.policies))
    return Pace(draws / passed, replays / passed / policies)


def _timed(cell: Cell) -> tuple[float, float]:
    """Return the seconds to draw one month, and to judge some of the policies on it."""
    expected, some = plan(cell.scenario), dict(islice(cell.policies.items(), _POLICIES))
    begun = time.perf_counter()
    month = draw(expected, seed=cell.seed, month=0)
    drawn = time.perf_counter()
    judged(expected, month, some, cell.rules)
    return drawn - begun, time.perf_counter() - drawn


def run_sweep(sweep: Sweep, path: Path, crew: Crew, progress: Progress = silent) -> Ran:
    """Compute what is not in the folder yet; returns a summary of all of it.

    Raises ConfigError for a vast sweep and another sweep's folder, RefusedError for a folder that somebody writes,
    RunError when the disk is full or workers are lost for good: what is finished is kept.
    """
    begun = time.perf_counter()
    refuse_if_vast(sweep)
    with opened(path, sweep) as folder:
        before = folder.finished()
        missing = [number for number in range(sweep.chunks) if number not in before]
        computed = sum(len(sweep.in_chunk(number)) for number in missing) * sweep.months
        told = _Told(progress, computed)
        finished = len(before)
        try:
            for number, rows in _computed(sweep, missing, crew, told):
                folder.write(number, rows)
                finished += 1
        except RunError as error:
            kept = f"{finished} of {sweep.chunks} parts are finished and kept; the same command goes on"
            raise RunError(f"{error}. {kept}") from error
        summary = tuple(_summary(folder))
    return Ran(sweep.chunks, len(before), computed, time.perf_counter() - begun, summary)


def _computed(
    sweep: Sweep, missing: Sequence[int], crew: Crew, told: Callable[[range], None]
) -> Iterator[tuple[int, list[Row]]]:
    """Yield the rows of each missing chunk, in order."""
    found = crew.results(_tasks(sweep, missing))

    def each(cell: Cell) -> Iterator[Found]:
        for months, block in zip(cell.blocks, found, strict=False):
            told(months)
            yield block

    for number in missing:
        cells = (cell_at(sweep, k) for k in sweep.in_chunk(number))
        yield number, [row for cell in cells for row in rows_of(cell, list(each(cell)))]


def _tasks(sweep: Sweep, chunks: Sequence[int]) -> Iterator[Task]:
    for number in chunks:
        for cell in (cell_at(sweep, k) for k in sweep.in_chunk(number)):
            for months in cell.blocks:
                yield cell, months


class _Told:
    """Counts months for the progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self, months: range) -> None:
        self._done += len(months)
        self._progress(f"simulating {self._total:,} months", self._done, self._total)


def _summary(folder: SweepFolder) -> Iterator[Line]:
    """Yield the quality of each policy's pages at each objective, pooled over the rest."""
    counted: dict[tuple[float, str], list[float]] = {}
    times: dict[tuple[float, str], Counter[float]] = {}
    for table in folder.tables(("objective", "policy", *_COUNTS, "detection_s"), PAGE):
        for row in table.to_pylist():
            key = (row["objective"], row["policy"])
            before = counted.setdefault(key, [0] * len(_COUNTS))
            counted[key] = [sum(pair) for pair in zip(before, (row[name] for name in _COUNTS), strict=True)]
            times.setdefault(key, Counter()).update(row["detection_s"])
    for key in ((objective, policy) for objective in folder.sweep.objectives for policy in folder.sweep.policies):
        events, detected, pages, true_pages, flaps = (int(number) for number in counted[key][1:])
        quality = Quality(counted[key][0], events, detected, pages, true_pages, flaps, (), (), ())
        yield Line(*key, quality, _median(times[key]))


def _median(times: Counter[float]) -> float | None:
    """Return the lower median of what was counted, +inf if that was missed; None of nothing."""
    passed, n = 0, times.total()
    for value in sorted(times):
        passed += times[value]
        if passed > (n - 1) // 2:
            return value
    return None
