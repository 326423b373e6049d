"""A service's minutes from any server, read once: whole days as Parquet under ``data/cache/series/``.

Promise: a second reading asks for what is new only, and gives the same numbers. There is one folder for each source,
query and step (named by a digest of them; ``key.json`` says which) and in it one file for each UTC day, written whole,
with the rows from midnight on that are final. Rows of the last hours are not: late samples may still change them, so
they are read again, as is a day in which nothing was observed (it may be filled in later). A file that is damaged, or
of another key, is read anew and replaced. What came with a server's warning (a partial answer) is not kept.

Reading goes in chunks of at most a week, with progress; each is kept as soon as it has come, so what was interrupted
goes on where it stopped.

>>> key = series_key("prometheus", Objective("a", "ratio", 0.9, timedelta(days=1)), timedelta(minutes=1))
>>> sorted(key)
['kind', 'quantile', 'queries', 'slice', 'source', 'step', 'threshold_s', 'version']
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from node0lib.errors import DataError
from node0lib.ports import Progress, SliSource
from node0lib.shell.files import write_atomic
from node0lib.sli.series import Floats, GoodTotal
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration

DAY = timedelta(days=1)
SETTLED = timedelta(hours=6)
"""What is younger than this is not final."""
_CHUNK_DAYS = 7
_STAMP = b"node0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def series_key(source: str, slo: Objective, step: timedelta) -> dict[str, Any]:
    """Return what a series depends on, as JSON can hold it; ``source`` names the server, without credentials."""
    return {
        "version": 1,
        "source": source,
        "kind": slo.kind,
        "queries": dict(slo.queries),
        "threshold_s": slo.threshold_s,
        "quantile": slo.quantile,
        "slice": format_duration(slo.slice),
        "step": format_duration(step),
    }


@dataclass
class SeriesCache:
    """The days of one key below ``folder``. ``notes`` say what was found damaged, ``read`` how many rows were read."""

    folder: Path
    key: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    kept: int = 0
    read: int = 0

    @property
    def place(self) -> Path:
        """The folder of this key."""
        return self.folder / hashlib.sha256(self._stamp).hexdigest()[:16]

    @property
    def _stamp(self) -> bytes:
        return json.dumps(self.key, sort_keys=True).encode()

    def load(self, day: datetime, rows: int) -> tuple[Floats, Floats]:
        """Return good and total (n <= rows,) from the day's midnight on; none if there is no sound file."""
        path, nothing = self._path(day), np.empty(0)
        if not path.exists():
            return nothing, nothing
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if (file.schema_arrow.metadata or {}).get(_STAMP) != self._stamp:
                    raise DataError("it is of another query")
                table = file.read(columns=["good", "total"], use_threads=False)
            good, total = (np.asarray(table[name], np.float64) for name in ("good", "total"))
        except (pa.ArrowException, OSError, KeyError, ValueError, DataError) as error:
            self.notes.append(f"{path.name} in the cache is damaged ({' '.join(str(error).split())[:80]}); read anew")
            return nothing, nothing
        return good[:rows], total[:rows]

    def save(self, day: datetime, good: Floats, total: Floats) -> None:
        """Keep the day's rows, from midnight on; raises RunError if they cannot be written."""
        sink = pa.BufferOutputStream()
        table = pa.table({"good": pa.array(good), "total": pa.array(total)})
        table = table.replace_schema_metadata({_STAMP: self._stamp})
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True, write_statistics=False)
        if not (self.place / "key.json").exists():
            write_atomic(self.place / "key.json", self._stamp)
        write_atomic(self._path(day), bytes(sink.getvalue().to_pybytes()))

    def _path(self, day: datetime) -> Path:
        return self.place / f"{day.date().isoformat()}.parquet"


def read_through(
    source: SliSource,
    slo: Objective,
    span: Span,
    step: timedelta,
    cache: SeriesCache,
    *,
    now: datetime,
    progress: Progress,
    fresh: bool = False,
) -> GoodTotal:
    """Return the buckets of the span, from the cache as far as they are final; ``fresh`` reads all of them anew.

    Whole days are read from their midnight on. ``step`` divides a day, and the span is whole steps since the epoch.
    Raises DataError if a read fails; what was read before is kept.
    """
    days = list(_days(span))
    rows, count = DAY // step, (span.end - days[0]) // step
    good, total = np.full(count, np.nan), np.full(count, np.nan)
    wanted = np.ones(count, np.bool_)
    for number, day in enumerate(days if not fresh else ()):
        start = number * rows
        known = cache.load(day, min(rows, count - start))
        stop = start + known[0].size
        good[start:stop], total[start:stop] = known
        wanted[start:stop] = False
    cache.kept += int((~wanted).sum())
    pieces = list(_pieces(wanted, _CHUNK_DAYS * rows))
    for number, (start, stop) in enumerate(pieces):
        progress(f"reading {slo.name} from {source.name}", number, len(pieces))
        warned = len(_warnings(source))
        part = source.series(slo, Span(days[0] + start * step, days[0] + stop * step), step)
        good[start:stop], total[start:stop] = part.good, part.total
        cache.read += stop - start
        if len(_warnings(source)) == warned:
            final = min(count, (now - SETTLED - days[0]) // step)
            _keep(cache, days, rows, (start, stop, final), (good, total))
    progress(f"reading {slo.name} from {source.name}", len(pieces), len(pieces))
    skipped = (span.start - days[0]) // step
    return GoodTotal(span.start, step, good[skipped:], total[skipped:])


def _keep(
    cache: SeriesCache,
    days: list[datetime],
    rows: int,
    piece: tuple[int, int, int],
    series: tuple[Floats, Floats],
) -> None:
    """Save the days that a piece touches as far as they are read and final, unless nothing was observed in one."""
    start, stop, final = piece
    for number in range(start // rows, (stop - 1) // rows + 1):
        first, last = number * rows, min((number + 1) * rows, stop, final)
        if last > first and np.isfinite(series[1][first:last]).any():
            cache.save(days[number], series[0][first:last], series[1][first:last])


def _days(span: Span) -> Iterator[datetime]:
    day = _EPOCH + (span.start - _EPOCH) // DAY * DAY
    while day < span.end:
        yield day
        day += DAY


def _pieces(wanted: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield what is wanted as runs of at most ``most`` rows, rising."""
    edges = np.diff(np.concatenate(([0], wanted.astype(np.int8), [0])))
    for start, end in zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True):
        for first in range(start, end, most):
            yield first, min(first + most, end)


def _warnings(source: SliSource) -> tuple[str, ...]:
    return tuple(getattr(source, "warnings", ()))
