"""What the evidence speaks of and what lies there: do the files that cycles made still have their sealed digests?

Executed notebooks, results, what cycles were given, and reports are checked if they are there; one that is gone is
counted (people may clear old reports), one that was changed is a problem. Configuration files may change: they are not
checked, each record holds the digests that they had.

>>> Outputs(matching=2, missing=1).missing
1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from node0lib.errors import EvidenceError
from node0lib.evidence.statement import Artifact
from node0lib.evidence.verify import Record
from node0lib.shell.files import sha256_file
from node0lib.shell.workspace import Places


@dataclass(frozen=True)
class Outputs:
    """How many files have their sealed digest, and how many are no longer there."""

    matching: int
    missing: int


def check_outputs(places: Places, chain: Iterable[Record]) -> Outputs:
    """Compare every file that the chain speaks of; raises EvidenceError naming each one that was changed."""
    matching = missing = 0
    changed = []
    for path, artifact in _files(places, chain):
        if not path.is_file():
            missing += 1
        elif sha256_file(path) == artifact.sha256:
            matching += 1
        else:
            changed.append(f"{places.shown(path)}: was changed after it was sealed; restore it from a backup")
    if changed:
        raise EvidenceError("\n".join(changed))
    return Outputs(matching, missing)


def _files(places: Places, chain: Iterable[Record]) -> Iterator[tuple[Path, Artifact]]:
    for record in chain:
        for artifact in (*record.poi.subjects, *record.poi.inputs):
            if PurePosixPath(artifact.name).name in ("given.json", "result.json") or artifact in record.poi.subjects:
                yield places.root / artifact.name, artifact
        for artifact in record.poi.previous.reports:
            yield places.reports / artifact.name, artifact
