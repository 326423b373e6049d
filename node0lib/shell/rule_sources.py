"""Where the rules of node0's dialect come from: the configuration's catalogue, or the SLOs of somebody's file.

Promises: SLOs of a file (OpenSLO, Sloth, Pyrra) are alerted on as the configuration says; where there is none, by the
defaults. What node0 cannot express of a file is told, and the rest is used.

>>> catalogue_of(None, Path("configs/absent.yaml"))
Traceback (most recent call last):
...
node0lib.errors.ConfigError: configs/absent.yaml: there is no such configuration; create it, or name a FILE
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from node0lib.errors import ConfigError
from node0lib.shell.config import load
from node0lib.shell.spec_files import Import, contents, read_specs
from node0lib.slo.catalogue import Catalogue


def catalogue_of(
    file: str | None, config: Path, period: timedelta | None = None
) -> tuple[Catalogue, str, list[str]]:
    """Return the catalogue, where it is from, and what of the file it does not hold; raises ConfigError.

    ``period`` is the window of SLOs whose file names none; without it the alerting period is.
    """
    if file is None and not config.exists():
        text = "there is no such configuration; create it, or name a FILE"
        raise ConfigError(f"{config.as_posix()}: {text}")
    known = load(config).catalogue if config.exists() else Catalogue(())
    if file is None:
        return known, config.as_posix(), []
    read = read_specs(contents([file]), period or known.alerting.period)
    notes = list(_refused(read))
    if not read.objectives:
        raise ConfigError(f"{file}: holds no SLO that node0 can express; {'; '.join(notes) or 'name another file'}")
    return replace(known, slos=read.objectives, maintenance=(), composites=()), file, notes


def _refused(read: Import) -> Iterator[str]:
    for slo in read.slos:
        if slo.objective is None:
            reasons = "; ".join(note.text for note in slo.refusals)
            yield f"{read.where(slo.place)}: {slo.original}: left out: {reasons}"
