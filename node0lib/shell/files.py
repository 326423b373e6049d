"""Files that matter are written whole or not at all: temporary name, fsync, replace, fsync of the folder.

>>> with tempfile.TemporaryDirectory() as folder:
...     write_atomic(Path(folder) / "a" / "b.json", b"{}")
...     (Path(folder) / "a" / "b.json").read_bytes()
b'{}'
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from node0lib.errors import RunError


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Publish ``content`` at ``path`` atomically; raises RunError and leaves the old file if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if os.name == "posix":
                Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{path}: cannot be written ({why}); nothing was changed") from error


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable; Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
