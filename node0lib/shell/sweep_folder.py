"""What a sweep has found, in a folder: a Parquet dataset of one file for each finished chunk, and a manifest.

- ``_sweep.json`` says which sweep it is, by digest, and which versions drew its months; another sweep, or other
  versions, are refused. Its name begins with a line, so that readers of datasets pass it over.
- ``part-000012.parquet`` is written whole or not at all, so what is there is finished. A file that is damaged (its
  pages carry checksums, and all of them are read) or of another sweep counts as not there, and is made again.
- One run at a time: a second one in the same folder is refused.

Read it with ``pandas.read_parquet(FOLDER)``.

>>> from tempfile import TemporaryDirectory
>>> from node0lib.simulate.scenario import Floor, Traffic
>>> from node0lib.simulate.sweep import cell_at, run_cell
>>> sweep = Sweep((0.999,), {"t": Traffic(60.0)}, {"f": Floor(0.0)}, {"none": ()}, {"workbook": None}, (1,), months=1)
>>> with TemporaryDirectory() as name, opened(Path(name), sweep) as folder:
...     folder.write(0, run_cell(cell_at(sweep, 0)))
...     folder.finished(), [table.num_rows for table in folder.tables(["events"], "page")]
({0}, [1])
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from node0lib.errors import ConfigError, DataError, RefusedError, RunError
from node0lib.evidence.canonical import encode
from node0lib.shell.files import write_atomic
from node0lib.simulate.sweep import ESTIMATES, TIMES, Row, Sweep, count, digest, document

MANIFEST = "_sweep.json"
_FORMAT = 1
_LOCK = ".sweep.lock"
_TEXTS = ("traffic", "floor", "fault")
SCHEMA = pa.schema(
    [
        ("cell", pa.string()),
        *((name, pa.string()) for name in _TEXTS),
        ("seed", pa.int64()),
        ("objective", pa.float64()),
        ("policy", pa.string()),
        ("alert", pa.string()),
        ("severity", pa.string()),
        ("months", pa.float64()),
        *((name, pa.int64()) for name in ("events", "detected", "pages", "true_pages", "flaps")),
        *((f"{name}{end}", pa.float64()) for name in ESTIMATES for end in ("", "_low", "_high")),
        *((name, pa.list_(pa.float64())) for name in TIMES),
    ]
)
"""One row for each cell, objective, policy and alert; null is what is not known."""


def versions() -> dict[str, str]:
    """Return the versions on which a month's draw depends."""
    numba = importlib.metadata.version("numba")  # compiles the draws
    return {"node0": importlib.metadata.version("node0"), "numpy": np.__version__, "numba": numba}


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep, while it is open."""

    path: Path
    sweep: Sweep
    digest: str

    def finished(self) -> set[int]:
        """Return the numbers of the chunks that are there and whole, to the last page."""
        return {number for number in range(self.sweep.chunks) if self._read(number) is not None}

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Keep the rows of a finished chunk; raises RunError if they cannot be written."""
        table = pa.Table.from_pylist(list(rows), schema=self._schema(number))
        sink = pa.BufferOutputStream()
        # Statistics lie in the footer, which has no checksum: a damaged one would hide rows from who filters by it.
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True, write_statistics=False)
        write_atomic(self._part(number), sink.getvalue().to_pybytes())

    def tables(self, columns: Sequence[str], alert: str) -> Iterator[pa.Table]:
        """Yield an alert's rows of each chunk that is there, in order; raises DataError if one is damaged."""
        for number in range(self.sweep.chunks):
            if not self._part(number).exists():
                continue
            table = self._read(number, [*columns, "alert"])
            if table is None:
                raise DataError(f"{self._part(number)}: is damaged; run the same sweep again, and it is made anew")
            yield table.filter(pc.field("alert") == alert).select(list(columns))

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number:06d}.parquet"

    def _read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Return columns of a part (None: all), every page verified; None if it is not there, damaged or not ours."""
        ours = self._schema(number)
        try:
            with pq.ParquetFile(self._part(number), page_checksum_verification=True) as file:
                kept = file.schema_arrow
                if kept != ours or kept.metadata != ours.metadata:
                    return None
                table = file.read(columns=columns, use_threads=False)
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError, ValueError):  # ValueError: a name in the footer is no text
            return None
        whole = len(self.sweep.in_chunk(number)) * self._rows
        return table if table.num_rows == whole else None

    def _schema(self, number: int) -> pa.Schema:
        """The columns of a part, stamped with whose it is."""
        return SCHEMA.with_metadata({b"node0.sweep": self.digest.encode(), b"node0.chunk": str(number).encode()})

    @cached_property
    def _rows(self) -> int:
        """How many rows a cell has: at each objective one for each alert of a policy, and one for those that page."""
        policies = (self.sweep.policy(name, at) for name in self.sweep.policies for at in self.sweep.objectives)
        return sum(1 + len(policy.alerts) for policy in policies)


@contextmanager
def opened(path: Path, sweep: Sweep) -> Iterator[SweepFolder]:
    """Yield the folder of this sweep, made if it is not there.

    Raises ConfigError for a folder of something else, RefusedError if somebody else writes it, RunError if the disk
    does not let us.
    """
    folder = SweepFolder(path, sweep, digest(sweep))
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is no folder; name one, it is made if it is not there")
    if path.is_dir() and not (path / MANIFEST).exists() and any(not p.name.startswith(".") for p in path.iterdir()):
        raise ConfigError(f"{path}: holds something that is no sweep; name an empty folder, or one that is not there")
    lock = filelock.FileLock(path / _LOCK, timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise RefusedError(f"{path}: another run is writing this sweep; wait until it ends, or stop it") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed") from error
    try:
        _claim(folder)
        yield folder
    finally:
        lock.release()


def _claim(folder: SweepFolder) -> None:
    """Write the manifest, or see that the one that is there is of the same sweep; tidy up after a kill."""
    path, found = folder.path / MANIFEST, versions()
    if path.exists():
        kept = _manifest(path)
        if kept.get("digest") != folder.digest:
            raise ConfigError(f"{folder.path}: holds another sweep; name another folder, or that sweep's file")
        if kept.get("versions") != found:
            were = ", ".join(f"{name} {version}" for name, version in dict(kept["versions"]).items())
            raise ConfigError(f"{folder.path}: was begun with {were}; go on with those, or name another folder")
    else:
        sweep = folder.sweep
        told = {"format": _FORMAT, "digest": folder.digest, "versions": found, "chunks": sweep.chunks}
        size = {"combinations": count(sweep), "months": sweep.cells * sweep.months}
        write_atomic(path, encode({**told, **size, "sweep": document(sweep)}))
    for left in folder.path.glob(".part-*.tmp"):
        left.unlink(missing_ok=True)


def _manifest(path: Path) -> Mapping[str, Any]:
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name another folder") from error
    return kept if isinstance(kept, dict) and kept.get("format") == _FORMAT else {}
