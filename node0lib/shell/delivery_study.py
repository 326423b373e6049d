"""Open a study of delivery: a simulated history by its kind and seed, or a real one from a file of events.

A file's history ends with its last event: nobody's clock decides what a notebook shows. A relative path is looked for
as a configuration is: from the working directory, then from each parent that holds a folder ``configs``.

>>> open_delivery("simulated", "steady", 1, 12, 0.05).at.isoformat()
'2025-09-29T00:00:00+00:00'
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from node0lib.dora.enough import deployments_needed
from node0lib.dora.history import History, instant
from node0lib.errors import ConfigError, DataError
from node0lib.shell.dora_files import read_events
from node0lib.shell.mistakes import nearest
from node0lib.shell.notebook_values import share, text, whole
from node0lib.shell.notebooks import found
from node0lib.simulate.delivery import KINDS
from node0lib.simulate.delivery_study import DeliveryStudy, simulated

SIMULATED = "simulated"


def open_delivery(
    source: str, kind: str, seed: int, weeks: int, target: float | str, ahead: int = 4, level: float = 0.8
) -> DeliveryStudy:
    """Return a study of the last ``weeks`` whole weeks of a history.

    ``source`` is "simulated", or a file of events (.jsonl, .csv, .parquet) as ``node0 dora`` writes and reads them;
    ``kind`` and ``seed`` are those of a simulated one. ``target`` is the largest share of deployments that may fail,
    0.05 or "5%". Raises ConfigError for values of another kind, unknown names and numbers that make no
    sense, DataError for a file that is wrong or empty.
    """
    weeks, ahead, seed = whole("weeks", weeks, 26), whole("ahead", ahead, 4), whole("seed", seed, 1)
    target, level = share("target", target, 0.05), share("level", level, 0.8)
    source, kind = text("source", source, SIMULATED), text("kind", kind, "steady")
    if weeks < 1 or ahead < 1:
        raise ConfigError(f"{weeks} weeks, {ahead} ahead: give at least 1 of each; 26 and 4 are a beginning")
    deployments_needed(0, target)  # refuses a target that is no share
    if source == SIMULATED:
        if kind not in KINDS:
            raise ConfigError(f"kind: there is no history called {kind!r}; {nearest(kind, KINDS)}")
        return simulated(kind, weeks, seed, target, ahead, level)
    path = found(source)
    history = History.of(read_events(path))
    return DeliveryStudy(path.name, history, _last(history, path), weeks, False, None, target, ahead, level)


def _last(history: History, path: Path) -> datetime:
    """When the last thing happened that the history tells of."""
    if not len(history.finished):
        raise DataError(f"{path}: has no deployment; there is nothing to look at")
    return instant(max(int(times.max()) for times in (history.finished, history.opened) if len(times)))
