"""A series from CSV or Parquet, by path or from standard input, as values that the replay takes.

Columns: ``time``, and either ``good`` or ``bad`` with ``total`` (events of the interval that ends at ``time``), or the
scraped counters ``good_total`` or ``bad_total`` with ``total_total``. A ``series`` column tells several apart: counters
are evaluated each by itself and summed, buckets are summed. A missing scrape is a missing row, or an empty cell.

Times are ISO 8601 with Z or an offset, or numbers: seconds since the epoch (milliseconds from 10^11 on). Rows may come
in any order; two rows of one series at one time are an error.

>>> text = b"time,bad,total\\n2026-01-01T00:01:00Z,0,10\\n2026-01-01T00:02:00Z,1,10\\n"
>>> read = parse_series(text, "series.csv")
>>> read.kind, len(read.series), read.series[0].bad.tolist()
('buckets', 1, [0.0, 1.0])
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from node0lib.alerts.replay import BucketSeries, CounterSeries, Floats, Ints
from node0lib.errors import ConfigError, DataError

_FORMS = {
    ("good", "total"): ("buckets", "good"),
    ("bad", "total"): ("buckets", "bad"),
    ("good_total", "total_total"): ("counters", "good"),
    ("bad_total", "total_total"): ("counters", "bad"),
}
_ZONE = r"(Z|z|[+-]\d\d:?\d\d)$"
_AS_MILLISECONDS = 1e11


@dataclass(frozen=True)
class SeriesFile:
    """What was read; ``notes`` say what was clamped, ignored or put in order."""

    kind: Literal["counters", "buckets"]
    series: tuple[CounterSeries, ...] | tuple[BucketSeries, ...]
    rows: int
    notes: tuple[str, ...]

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last time of any series, in milliseconds since the epoch."""
        return min(one.span[0] for one in self.series), max(one.span[1] for one in self.series)


def read_series(path: str) -> SeriesFile:
    """Return the series in a file, or on standard input for "-"; raises ConfigError, DataError."""
    if path == "-":
        if sys.stdin.isatty():
            raise ConfigError("no series: name a file with --series, pipe one in, or take the history with --from")
        return parse_series(sys.stdin.buffer.read(), "standard input")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name a CSV or Parquet file") from error
    return parse_series(content, path)


def parse_series(content: bytes, shown: str) -> SeriesFile:
    """Return the series that the bytes of a CSV or Parquet file hold; raises DataError, naming ``shown``."""
    table = _table(content, shown)
    pair, kind, form = _columns(table, shown)
    frame = pd.DataFrame({"time": _times_ms(table["time"], shown)})
    for name in pair:
        frame[name] = _numbers(table[name], name, shown)
    frame["series"] = _names(table, shown)
    if frame.empty:
        raise DataError(f"{shown}: has no rows below its line of column names")
    notes = [f"column {name} is ignored" for name in table.column_names if name not in ("time", "series", *pair)]
    if not frame.groupby("series")["time"].is_monotonic_increasing.all():
        notes.append("rows were not in order of time; they were sorted")
    frame = frame.sort_values(["series", "time"], kind="stable")
    _no_repeats(frame, shown)
    try:
        series, told = _counters(frame, pair, form) if kind == "counters" else _buckets(frame, pair, form)
    except DataError as error:
        raise DataError(f"{shown}: {error}") from error
    return SeriesFile(kind, series, len(frame), (*notes, *told))  # type: ignore[arg-type]


def _names(table: pa.Table, shown: str) -> pd.Series | str:
    """Return which series each row belongs to; a row must not leave it open where others say so."""
    if "series" not in table.column_names:
        return ""
    names: pd.Series = table["series"].cast(pa.string()).to_pandas()
    if names.isna().any():
        raise DataError(f"{shown}: row {int(names.isna().argmax()) + 1} names no series; every row needs one")
    return names


def _table(content: bytes, shown: str) -> pa.Table:
    if not content.strip():
        raise DataError(f"{shown}: is empty; write a line of column names, such as time,bad,total, and rows below it")
    try:
        if content[:4] == b"PAR1":
            return pq.read_table(io.BytesIO(content), use_threads=False)
        types = {"time": pa.string(), "series": pa.string()}
        convert = pa_csv.ConvertOptions(column_types=types, null_values=["", "NaN", "nan", "null"])
        # One thread: Arrow's own may be at work still when an error ends the process, which then aborts.
        read = pa_csv.ReadOptions(use_threads=False)
        return pa_csv.read_csv(io.BytesIO(content), read_options=read, convert_options=convert)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{shown}: is neither CSV nor Parquet that can be read ({reason})") from error


def _columns(table: pa.Table, shown: str) -> tuple[tuple[str, str], str, str]:
    """Return the pair of columns that hold events, what kind they are, and whether events are good or bad."""
    names = table.column_names
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{shown}: column {sorted(twice)[0]} is there twice; keep one")
    found = [pair for pair in _FORMS if set(pair) <= set(names)]
    if "time" not in names or len(found) != 1:
        wanted = "time, and good or bad with total (buckets), or good_total or bad_total with total_total (counters)"
        raise DataError(f"{shown}: has the columns {', '.join(names)}; it needs {wanted}, one pair of them")
    return found[0], *_FORMS[found[0]]


def _times_ms(column: pa.ChunkedArray, shown: str) -> Ints:
    """Return milliseconds since the epoch; raises DataError for naive, missing or malformed times."""
    if column.null_count:
        raise DataError(f"{shown}: a row has no time; every row needs one")
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise DataError(f"{shown}: the column time has no time zone; store it in UTC")
        return np.asarray(column.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()))
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _from_epoch(np.asarray(column.cast(pa.float64())), shown)
    text = column.cast(pa.string())
    numbers = pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(np.float64)
    if np.isfinite(numbers).all():
        return _from_epoch(numbers, shown)
    zoned = np.asarray(pc.match_substring_regex(text, _ZONE))
    if not zoned.all():
        row = int(np.flatnonzero(~zoned)[0])
        raise DataError(
            f"{shown}: row {row + 1}: {str(text[row])[:40]!r} is no ISO 8601 time with Z or an offset, "
            "such as 2026-11-24T12:00:00Z"
        )
    try:
        moments = pd.to_datetime(text.to_pandas(), utc=True, format="ISO8601")
    except (ValueError, OverflowError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"{shown}: a time cannot be read ({why}); write 2026-11-24T12:00:00Z") from error
    return np.asarray(moments.dt.as_unit("ms").astype(np.int64), np.int64)


def _from_epoch(numbers: Floats, shown: str) -> Ints:
    if not np.isfinite(numbers).all() or (np.abs(numbers) > 1e15).any():
        raise DataError(f"{shown}: a time is no number of seconds since the epoch")
    large = np.abs(numbers) >= _AS_MILLISECONDS
    if large.any() and not large.all():
        raise DataError(f"{shown}: some times look like seconds and some like milliseconds since the epoch; use one")
    return np.round(numbers * (1.0 if large.any() else 1000.0)).astype(np.int64)


def _numbers(column: pa.ChunkedArray, name: str, shown: str) -> Floats:
    if pa.types.is_boolean(column.type):
        raise DataError(f"{shown}: column {name} holds true and false; it must hold numbers of events")
    try:
        return np.asarray(column.cast(pa.float64()).to_pandas(), np.float64)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{shown}: column {name} holds something that is no number ({reason})") from error


def _no_repeats(frame: pd.DataFrame, shown: str) -> None:
    again = frame.duplicated(["series", "time"])
    if again.any():
        row = frame[again].iloc[0]
        of = f" of series {row['series']}" if row["series"] else ""
        raise DataError(f"{shown}: two rows{of} at {np.datetime64(int(row['time']), 'ms')}Z; keep one")


def _counters(
    frame: pd.DataFrame, pair: tuple[str, str], form: str
) -> tuple[tuple[CounterSeries, ...], tuple[str, ...]]:
    """Counters stay as they are, impossible or not: Prometheus would evaluate them so. But it is said."""
    made = tuple(
        CounterSeries(*_arrays(part, pair), form="good" if form == "good" else "bad")
        for _, part in frame.groupby("series", sort=True)
    )
    over = sum(one.more_events_than_total for one in made)
    told = f"between {over} pairs of scrapes the {form} events rose more than the total; evaluated as Prometheus does"
    return made, (told,) if over else ()


def _buckets(
    frame: pd.DataFrame, pair: tuple[str, str], form: str
) -> tuple[tuple[BucketSeries, ...], tuple[str, ...]]:
    """Each row is clamped by itself, before series are summed: one series' excess must not hide another's failures."""
    _no_negatives(frame, pair)
    kept = frame[["time", *pair]].dropna()
    if kept.empty:
        raise DataError("no row has both events and total")
    events, whole = pair
    clamped = int((kept[events] > kept[whole]).sum())
    kept = kept.assign(**{events: kept[[events, whole]].min(axis=1)})
    times, summed, total = _arrays(kept.groupby("time", sort=True)[list(pair)].sum().reset_index(), pair)
    bad = total - summed if form == "good" else summed
    told = (
        (clamped, f"in {clamped} rows there were more {form} events than total; they were clamped"),
        (len(frame) - len(kept), f"{len(frame) - len(kept)} rows lack {events} or {whole}; nobody observed them"),
    )
    return (BucketSeries(times, bad, total),), tuple(text for number, text in told if number)


def _no_negatives(frame: pd.DataFrame, pair: tuple[str, str]) -> None:
    counts = frame[list(pair)].to_numpy(np.float64)
    wrong = ((counts < 0) | np.isinf(counts)).any(axis=1)
    if wrong.any():
        row = frame.iloc[int(wrong.argmax())]
        at = np.datetime64(int(row["time"]), "ms")
        raise DataError(f"{row[pair[0]]:g} of {row[pair[1]]:g} at {at}Z: events are finite and never negative")


def _arrays(frame: pd.DataFrame, pair: tuple[str, str]) -> tuple[Ints, Floats, Floats]:
    def column(name: str) -> NDArray[np.float64]:
        return np.ascontiguousarray(frame[name].to_numpy(np.float64))

    return np.ascontiguousarray(frame["time"].to_numpy(np.int64)), column(pair[0]), column(pair[1])
