"""The evidence store as a folder: append only, each file whole or not at all.

Promises
- ``put`` writes a name once. The same bytes again are no news, other bytes are an EvidenceError.
- No name leaves the folder, neither by ``..`` nor through a symbolic link.
- What an interrupted write left (``.name.*.tmp``) is not evidence and is not listed.

Append only is a promise of this class, not of the disk: that nobody else rewrote the folder is what
``evidence.verify`` finds out.

>>> import tempfile
>>> store = EvidenceFiles(Path(tempfile.mkdtemp()))
>>> store.put("sbom/c1.cdx.json", b"{}")
>>> store.names("sbom"), store.get("sbom/c1.cdx.json")
(('sbom/c1.cdx.json',), b'{}')
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from node0lib.errors import EvidenceError, RunError
from node0lib.evidence.names import checked
from node0lib.shell.files import write_atomic


class EvidenceFiles:
    """``ports.EvidenceStore`` on the folder ``root``, which is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"EvidenceFiles({str(self.root)!r})"

    def put(self, name: str, content: bytes) -> None:
        """Write ``content`` under ``name``; raises EvidenceError if it holds something else, RunError."""
        path = self._path(name)
        if path.exists():
            if self.get(name) != content:
                raise EvidenceError(f"{path}: is evidence already and is not overwritten; use a new name")
            return
        write_atomic(path, content)

    def get(self, name: str) -> bytes:
        """Return the bytes under ``name``; raises EvidenceError if there are none, RunError."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise EvidenceError(f"{path}: is not there; restore it from a backup") from error
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror or error}); check its owner") from error

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the sorted names of all files in ``folder``, also nested ones; () if there is none."""
        top = self._path(folder)
        try:
            found = [p for p in top.rglob("*") if not p.is_dir() and not _temporary(p)]
        except OSError as error:
            raise RunError(f"{top}: cannot be listed ({error.strerror or error}); check its owner") from error
        return tuple(sorted(f"{folder}/{p.relative_to(top).as_posix()}" for p in found))

    def probe(self) -> None:
        """Write a file and remove it, so that a cycle fails before it begins; raises RunError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".probe.", suffix=".tmp", dir=self.root) as file:
                file.write(b"node0")
                file.flush()
        except OSError as error:
            why = error.strerror or error
            raise RunError(
                f"{self.root}: evidence cannot be written ({why}); make the folder writable, no cycle runs without"
            ) from error

    def _path(self, name: str) -> Path:
        path = self.root / checked(name)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise EvidenceError(f"{path}: leads out of the evidence store; remove the symbolic link")
        return path


def _temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")
