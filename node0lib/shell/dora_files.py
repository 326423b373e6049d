"""Events of delivery in files: JSON lines, CSV and Parquet come in, one at a time; JSON lines go out.

- A line of JSON is one event as ``event_row`` writes it; ``dora.schema`` tells its fields. CSV and Parquet have them as
  columns, an event a row, with ``changes`` as a JSON list (CSV) or a list of structs (Parquet); a time must carry its
  zone there too. A header without a column that every event needs is refused with all that there may be.
- Files are streamed: memory grows with the number of events by their names and digests, not with their size.
- What is wrong is told with file and line. A file that ends in the middle of a line is one clear error, whatever the
  line holds, and nothing of it is taken.
- ``append_events`` is idempotent: an event that is there counts once, one that differs under the same name is refused
  and both are shown. The file is replaced whole, or left as it was. Two differences are none: an incident that was
  open in the file and is resolved now has gone on (and in an older export not yet), and with ``replace`` what is in
  the file gives way, and is named.

>>> read_events(Path("events.xml"))
Traceback (most recent call last):
node0lib.errors.ConfigError: events.xml: is none of .jsonl, .csv, .parquet; name the format
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from node0lib.dora.events import Event, Key, not_after, parse_event
from node0lib.dora.schema import lacking
from node0lib.errors import ConfigError, DataError, RunError
from node0lib.shell.dora_ledger import Appended, Ledger
from node0lib.shell.files import sync_folder

__all__ = ["Appended", "Format", "append_events", "read_events"]
Format = Literal["jsonl", "csv", "parquet"]
_SUFFIXES: Mapping[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_LONGEST = 64 * 2**20
"""Characters: a longer line is no line of events, and reading on would fill the memory."""
_BATCH = 10_000


def read_events(path: Path, kind: Format | None = None, now: datetime | None = None) -> Iterator[Event]:
    """Yield the events of a file in its order; the format follows from the suffix unless ``kind`` names it.

    Raises ConfigError if the file or its format is not to be had, DataError with file and line where it is wrong or
    tells of a time after ``now`` (None: is not asked).
    """
    kind = kind or _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: is none of .jsonl, .csv, .parquet; name the format")
    readers: Mapping[Format, Callable[[Path], Iterator[tuple[int, Mapping[str, Any]]]]] = {
        "jsonl": _json_rows,
        "csv": _csv_rows,
        "parquet": _parquet_rows,
    }
    return _parsed(path, readers[kind](path), now)


def _parsed(path: Path, rows: Iterator[tuple[int, Mapping[str, Any]]], now: datetime | None) -> Iterator[Event]:
    for number, row in rows:
        try:
            event = parse_event(row)
            not_after(event, now)
            yield event
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with _opened(path) as file:
        for number, line in enumerate(_lines(path, file), 1):
            if not line.strip():
                continue
            row = _object(path, number, line)
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: is {type(row).__name__}, not an object with an event")
            yield number, row


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    number = 0
    try:
        while line := file.readline(_LONGEST):
            number += 1
            if len(line) == _LONGEST:
                raise DataError(f"{path}:{number}: has more than {_LONGEST:,} characters; write one event a line")
            yield line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number + 1}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _object(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if not line.endswith("\n"):
            text = "ends in the middle of an event; the file was cut short: fetch it again, or remove the last line"
            raise DataError(f"{path}:{number}: {text}") from error
        raise DataError(f"{path}:{number}: is not JSON ({error})") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with _opened(path, newline="") as file:
        reader = csv.DictReader(_lines(path, file), strict=True)
        try:
            _columned(path, reader.fieldnames)
            for row in reader:
                if None in row or None in row.values():
                    wide = "more" if None in row else "fewer"
                    text = f"the row has {wide} cells than the header has columns ({len(reader.fieldnames or [])})"
                    raise DataError(f"{path}:{reader.line_num}: {text}")
                yield reader.line_num, _with_changes(path, reader.line_num, row)
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num + 1}: is not CSV ({error})") from error


def _columned(path: Path, header: Sequence[str] | None) -> None:
    if header is not None and (wrong := lacking(header)):
        raise DataError(f"{path}:1: the header {wrong}")


def _with_changes(path: Path, number: int, row: Mapping[str, str]) -> Mapping[str, Any]:
    changes = row.get("changes")
    return {**row, "changes": _object(path, number, changes + "\n")} if changes else row


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with pq.ParquetFile(path) as file:
            if wrong := lacking(file.schema_arrow.names):
                raise DataError(f"{path}: the table {wrong}")
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error})") from error


@contextlib.contextmanager
def _opened(path: Path, newline: str | None = None) -> Iterator[IO[str]]:
    try:
        file = path.open("r", encoding="utf-8-sig", newline=newline)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    with file:
        yield file


def append_events(
    path: Path,
    events: Iterable[Event],
    now: datetime | None = None,
    *,
    declared: frozenset[str] | None = None,
    replace: bool = False,
    gone: frozenset[Key] = frozenset(),
) -> Appended:
    """Write the events that ``path`` does not hold yet behind those that it holds, all or nothing.

    With ``replace`` a known event gives way to one of its name that differs; the names in ``gone`` are taken out.
    Raises DataError at an event after ``now``, of a service that is not ``declared`` (None: all are), that differs from
    the known one of its name, or that closes a circle of causes; RunError if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as file:
            ledger = Ledger(file, declared, replace=replace)
            for event in read_events(path, "jsonl") if path.exists() else ():
                ledger.keep(event, gone)
            for event in events:
                not_after(event, now)
                ledger.add(event)
            done = ledger.closed()
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed") from error
    return done


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A new file that takes the place of ``path`` in the end, unless something goes wrong."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w+", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix":
            Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
