"""Values to JSON and back, checked at the door: what a cycle was given, and what it found.

Frozen dataclasses go through pydantic's TypeAdapter: a file with a field too many, too few or of another kind is a
DataError that names it.
Infinity (a broken invariant burns infinitely) is written as a string, since JSON has no number for it.

>>> from node0lib.sli.series import Counts
>>> dump(Counts(1.0, 2.0, 1.0)).decode()[:13]
'{"good": 1.0,'
"""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from node0lib.cycle import CycleResult, Given
from node0lib.errors import DataError
from node0lib.shell.files import write_atomic

T = TypeVar("T")
_CONFIG = ConfigDict(ser_json_inf_nan="strings", extra="forbid")


_adapters: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(with_config(_CONFIG)(kind) if is_dataclass(kind) else kind)
    return _adapters[kind]


def plain(value: object) -> Any:
    """Return the value as what JSON can hold: mappings, lists, strings, finite numbers, booleans, None."""
    return json.loads(_adapter(type(value)).dump_json(value))


def dump(value: object) -> bytes:
    """Return the value as UTF-8 JSON with a newline at its end."""
    return (json.dumps(plain(value), ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(kind: type[T], content: bytes, where: str) -> T:
    """Parse JSON into ``kind``; raises DataError that names every place where it does not fit."""
    try:
        parsed: T = _adapter(kind).validate_json(content)
    except ValidationError as error:
        lines = [f"{where}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:10]]
        raise DataError("\n".join(lines)) from error
    return parsed


def write_given(folder: Path, given: Given) -> Path:
    """Write what the cycle is given, atomically."""
    write_atomic(folder / "given.json", dump(given))
    return folder / "given.json"


def write_result(folder: Path, result: CycleResult) -> Path:
    """Write what the cycle found, atomically."""
    write_atomic(folder / "result.json", dump(result))
    return folder / "result.json"


def read_given(folder: Path) -> Given:
    """Read what the cycle is given; raises DataError."""
    return _read(Given, folder / "given.json")


def read_result(folder: Path) -> CycleResult:
    """Read what the cycle found; raises DataError."""
    return _read(CycleResult, folder / "result.json")


def _read(kind: type[T], path: Path) -> T:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return load(kind, content, path.name)
