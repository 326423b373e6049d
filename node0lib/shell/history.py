"""The embedded node's past: its minutes in Parquet under ``data/sli/``, read back as an SLI source.

Promise: one file for each UTC day, written whole; a killed ``extend`` leaves whole files only, and the next one goes on
after the last minute. A minute once written is never made again under another policy: each row names the digest of
the policy that was in effect, and the metadata hold seed, model version and the policies themselves. A day that is
missing is a gap. Pages carry checksums: a damaged file is a DataError that names it, not a wrong number.

>>> History(Path("data/sli"), EmbeddedNode(seed=7)).simulated
True
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rfc8785

from node0lib.errors import ConfigError, DataError
from node0lib.ports import Policy, Progress
from node0lib.shell.files import write_atomic
from node0lib.simulate.service import EPOCH, MODEL_VERSION, EmbeddedNode, minute_of
from node0lib.simulate.source import (
    DAY_MINUTES,
    MINUTE,
    DayColumns,
    EmbeddedSource,
    embedded_source,
    spread,
    whole_minutes,
)
from node0lib.simulate.streams import (
    STREAMS,
    THRESHOLDS_S,
    Minutes,
    bound_column,
    bound_index,
    column,
    column_names,
)
from node0lib.sli.series import Floats

__all__ = ["EmbeddedSource", "History", "embedded_source", "policy_digest"]

MINUTE_COLUMN, POLICY_COLUMN = "minute", "policy"
_STAMP = b"node0"
# Opening a day costs more than reading a few columns more: what the SLOs ask for is read at once.
_USUAL = tuple(f"{stream}:{what}" for stream in STREAMS for what in ("total", "good")) + tuple(
    bound_column(stream, bound_index(threshold)) for stream in STREAMS for threshold in THRESHOLDS_S
)


@dataclass
class History(DayColumns):
    """The stored minutes of ``node`` in ``folder``; days that were read are kept, and only the columns asked for.

    Every method raises ConfigError if the store was made by another seed or model, and ``extend`` and ``series``
    raise DataError if a file is damaged.
    """

    folder: Path
    node: EmbeddedNode
    _cache: dict[int, tuple[tuple[int, int], dict[str, Floats]]] = field(default_factory=dict, repr=False)

    def days(self) -> tuple[int, ...]:
        """Return the days since the epoch that there is a file for, rising."""
        return tuple(sorted(_day_of(path) for path in self.folder.glob("*.parquet")))

    def last_minute(self) -> int | None:
        """Return the newest stored minute since the epoch, or None without any."""
        days = self.days()
        if not days:
            return None
        return int(self._table(days[-1], [MINUTE_COLUMN])[MINUTE_COLUMN].to_numpy()[-1])

    def extend(self, to: datetime, policy: Policy, history: timedelta, progress: Progress) -> int:
        """Make the minutes that have passed until ``to`` (floored) and return how many those were.

        On first use, or after a longer absence, that is at most the past ``history``. The minutes are those of
        ``policy``; call it before the live policy changes. Raises RunError if a file cannot be written.
        """
        end, last = minute_of(to), self.last_minute()
        first = end - whole_minutes(history, "history")
        first = first if last is None else max(first, last + 1)
        done, total = 0, max(0, end - first)
        while first < end:
            n = min(end, (first // DAY_MINUTES + 1) * DAY_MINUTES) - first
            self._append(self.node.minutes(EPOCH + first * MINUTE, n, policy), policy)
            first, done = first + n, done + n
            progress("history of the embedded node", done, total)
        return done

    def policies(self, day: int) -> Mapping[str, Policy]:
        """Return the policies that were in effect on a day, by the digest that its rows name."""
        return dict(self._stamp(day)["policies"])

    def day_columns(self, day: int, names: Sequence[str]) -> Mapping[str, Floats] | None:
        """Return columns (1440,) of a day, NaN for minutes that are not stored; None without the day's file."""
        try:
            stat = self._path(day).stat()
        except FileNotFoundError:
            return None
        version, known = self._cache.get(day, ((0, 0), {}))
        if version != (stat.st_mtime_ns, stat.st_size):
            known = {}
        wanted = names if known else dict.fromkeys((*names, *_USUAL))
        missing = [name for name in wanted if name not in known]
        if missing:
            table = self._table(day, [MINUTE_COLUMN, *missing])
            rows = table[MINUTE_COLUMN].to_numpy() - day * DAY_MINUTES
            if rows[0] < 0 or rows[-1] >= DAY_MINUTES:
                raise _damaged(self._path(day), "its minutes are those of another day")
            known = known | {name: spread(table[name].to_numpy(), rows) for name in missing}
            self._cache[day] = (stat.st_mtime_ns, stat.st_size), known
        return known

    def _path(self, day: int) -> Path:
        return self.folder / f"{(EPOCH + timedelta(days=day)).date().isoformat()}.parquet"

    def _append(self, minutes: Minutes, policy: Policy) -> None:
        """Rewrite the file of the day that the minutes lie in, with them at its end."""
        day, digest = minutes.first // DAY_MINUTES, policy_digest(policy)
        arrays = {
            name: pa.array(column(minutes, name), pa.int32()) for s in STREAMS for name in column_names(s)
        }
        when = pa.array(np.arange(minutes.first, minutes.first + minutes.n), pa.int64())
        table = pa.table({MINUTE_COLUMN: when, POLICY_COLUMN: pa.array([digest] * minutes.n), **arrays})
        policies: dict[str, Policy] = {digest: dict(policy)}
        if self._path(day).exists():
            table = pa.concat_tables([self._table(day, table.column_names), table])
            policies = {**self.policies(day), **policies}
        stamp = {"seed": self.node.seed, "model": MODEL_VERSION, "policies": policies}
        table = table.replace_schema_metadata({_STAMP: json.dumps(stamp, sort_keys=True)})
        write_atomic(self._path(day), _parquet(table))

    def _table(self, day: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a day's file; raises DataError if it is damaged, ConfigError if another node's."""
        path = self._path(day)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                self._check(path, file.schema_arrow.metadata)
                table = file.read(columns=list(names), use_threads=False)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(path, str(error)) from error
        if table.num_rows == 0 or set(names) - set(table.column_names):
            raise _damaged(path, "rows or columns are missing")
        return table

    def _stamp(self, day: int) -> dict[str, Any]:
        path = self._path(day)
        try:
            return _stamp_of(path, pq.read_schema(path).metadata)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(path, str(error)) from error

    def _check(self, path: Path, metadata: Mapping[bytes, bytes] | None) -> None:
        """Raise ConfigError if another seed or model made the file."""
        stamp = _stamp_of(path, metadata)
        for what, expected in (("seed", self.node.seed), ("model", MODEL_VERSION)):
            if stamp.get(what) != expected:
                raise ConfigError(
                    f"{path}: made by the embedded node's {what} {stamp.get(what)}, but this one has {expected}; "
                    f"set the {what} back, or delete the folder {path.parent} and its history is made anew"
                )


def _parquet(table: pa.Table) -> bytes:
    """Return the bytes of a file; differences between minutes take half the room of the counts."""
    encoding = {name: "DELTA_BINARY_PACKED" for name in table.column_names if name != POLICY_COLUMN}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=[POLICY_COLUMN],
        column_encoding=encoding,
        write_page_checksum=True,
        write_statistics=False,
    )
    return bytes(sink.getvalue().to_pybytes())


def policy_digest(policy: Policy) -> str:
    """Return the hexadecimal SHA-256 of the policy's canonical JSON (RFC 8785), however it is spelt in a file."""
    return hashlib.sha256(rfc8785.dumps(dict(policy))).hexdigest()


def _day_of(path: Path) -> int:
    try:
        return minute_of(datetime.fromisoformat(f"{path.stem}T00:00:00+00:00")) // DAY_MINUTES
    except ValueError as error:
        raise _damaged(path, "its name is not a date such as 2026-11-24") from error


def _stamp_of(path: Path, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    try:
        stamp = json.loads((metadata or {})[_STAMP])
    except (KeyError, ValueError) as error:
        raise _damaged(path, "it does not say which node made it") from error
    return dict(stamp)


def _damaged(path: Path, why: str) -> DataError:
    reason = " ".join(why.split())  # Arrow's messages have several lines
    return DataError(
        f"{path}: cannot be read as a day of the embedded node ({reason}); delete it: its minutes are then "
        "a gap, or made again if it is the newest day"
    )
