"""Events of delivery in files: JSON lines, CSV and Parquet come in, one at a time; JSON lines go out.

- A line of JSON is one event as ``event_row`` writes it. CSV and Parquet have its keys as columns, an event a row, with
  ``changes`` as a JSON list (CSV) or a list of structs (Parquet); a time must carry its zone there too.
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
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from node0lib.dora.events import (
    Event,
    Key,
    check_circles,
    check_service,
    differing,
    event_line,
    event_type,
    goes_on,
    not_after,
    parse_event,
)
from node0lib.errors import ConfigError, DataError, RunError
from node0lib.shell.files import sync_folder

Format = Literal["jsonl", "csv", "parquet"]
_SUFFIXES: Mapping[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_LONGEST = 64 * 2**20
"""Characters: a longer line is no line of events, and reading on would fill the memory."""
_BATCH = 10_000


@dataclass(frozen=True)
class Appended:
    """How many events were new, how many were there already, and how many open incidents were resolved.

    ``replaced`` are the names of the events that gave way to others.
    """

    new: int
    known: int
    resolved: int = 0
    replaced: tuple[str, ...] = ()


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
            for row in reader:
                if None in row or None in row.values():
                    wide = "more" if None in row else "fewer"
                    text = f"the row has {wide} cells than the header has columns ({len(reader.fieldnames or [])})"
                    raise DataError(f"{path}:{reader.line_num}: {text}")
                yield reader.line_num, _with_changes(path, reader.line_num, row)
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num + 1}: is not CSV ({error})") from error


def _with_changes(path: Path, number: int, row: Mapping[str, str]) -> Mapping[str, Any]:
    changes = row.get("changes")
    return {**row, "changes": _object(path, number, changes + "\n")} if changes else row


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with pq.ParquetFile(path) as file:
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
            ledger = _Ledger(file, declared, replace=replace)
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


class _Ledger:
    """Writes events to a file, each name once: of what was written it keeps digests, and only what was linked."""

    def __init__(self, file: IO[str], declared: frozenset[str] | None, *, replace: bool) -> None:
        self._file, self._declared, self._replace = file, declared, replace
        self._seen: dict[bytes, bytes] = {}
        self._given: set[bytes] = set()
        self._links: dict[Key, str] = {}
        self._instead: dict[Key, Event] = {}
        self._replaced: list[Key] = []
        self._new = self._known = self._resolved = 0

    def keep(self, event: Event, gone: frozenset[Key]) -> None:
        """Take over an event of the file that was there, or leave it out."""
        key = (event_type(event), event.id)
        if key in gone:
            self._replaced.append(key)
            return
        name = _digest("\0".join(key))
        known = self._seen.get(name)
        if known is None:
            self._write(key, name, event)
        elif known != _digest(event_line(event)):
            raise differing(self._found(key), event)

    def add(self, event: Event) -> None:
        """Take an event that is given now."""
        key = (event_type(event), event.id)
        name = _digest("\0".join(key))
        known = self._seen.get(name)
        if known is None:
            self._new += 1
            self._given.add(name)
            self._write(key, name, event)
        elif known == _digest(event_line(event)):
            self._known += 1
        else:
            self._change(key, name, event)

    def _write(self, key: Key, name: bytes, event: Event) -> None:
        check_service(event, self._declared)
        line = event_line(event)
        self._seen[name] = _digest(line)
        self._link(key, event)
        self._file.write(line + "\n")

    def _link(self, key: Key, event: Event) -> None:
        self._links.pop(key, None)
        if event.caused_by is not None:
            self._links[key] = event.caused_by

    def _change(self, key: Key, name: bytes, event: Event) -> None:
        """An event that differs from what was written under its name: it has gone on, gives way, or is refused."""
        known, given = self._found(key), name in self._given
        if not given and goes_on(event, known):  # an older export, from when it was open
            self._known += 1
            return
        if given or not (self._replace or goes_on(known, event)):
            raise differing(known, event)
        check_service(event, self._declared)
        if goes_on(known, event):
            self._resolved += 1
        else:
            self._replaced.append(key)
        self._seen[name] = _digest(event_line(event))
        self._given.add(name)
        self._instead[key] = event
        self._link(key, event)

    def _found(self, key: Key) -> Event:
        """The event of that name among those written: looked for only when there is something to complain about."""
        if key in self._instead:
            return self._instead[key]
        self._file.seek(0)
        written = (parse_event(json.loads(line)) for line in iter(self._file.readline, ""))
        found = next(event for event in written if (event_type(event), event.id) == key)
        self._file.seek(0, os.SEEK_END)
        return found

    def closed(self) -> Appended:
        """Check the causes, put what has changed into its place, and return the account."""
        check_circles({**dict.fromkeys(self._targets()), **self._links})
        if self._instead:
            self._rewrite()
        return Appended(self._new, self._known, self._resolved, tuple(" ".join(key) for key in self._replaced))

    def _targets(self) -> Iterator[Key]:
        """What the links lead to, as far as it is here."""
        for target in self._links.values():
            yield from (key for kind in _KINDS if _digest("\0".join(key := (kind, target))) in self._seen)

    def _rewrite(self) -> None:
        """The same events in the same order, with those that have changed; through a file, not through the memory."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as copy:
            self._file.seek(0)
            shutil.copyfileobj(self._file, copy)
            copy.seek(0)
            self._file.seek(0)
            self._file.truncate()
            for line in copy:
                event = parse_event(json.loads(line))
                event = self._instead.get((event_type(event), event.id), event)
                self._file.write(event_line(event) + "\n")


_KINDS = ("deployment", "incident")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
