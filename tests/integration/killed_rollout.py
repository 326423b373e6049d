"""Roll one change out on the embedded node and, if asked, end it at a point: SIGKILL, Ctrl-C, or a full disk.

    python killed_rollout.py CHANGE [KIND:POINT:N]

KIND is kill, interrupt or full; POINT is ``begins`` (just before the first traffic), ``look`` (the Nth look was seen),
``before`` or ``after`` (around the Nth file that is published by renaming, counted from the first traffic on).
It prints the status, and ends with the exit code that ``node0 canary run`` has.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

from node0lib.canary.walk import Seen
from node0lib.errors import Node0Error
from node0lib.shell import canary_run
from node0lib.shell.canary_run import CanaryOrder, run_change
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.workspace import Places


class Point:
    """Where it ends."""

    def __init__(self, words: str) -> None:
        self.kind, self.place, number = words.split(":") if words else ("", "", "0")
        self.left, self.begun = int(number), False

    def reached(self, place: str) -> None:
        """Count, and end if this is the place."""
        if place != self.place or not self.begun:
            return
        self.left -= 1
        if self.left:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "interrupt":
            raise KeyboardInterrupt
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _arm(point: Point) -> None:
    replace, begins = Path.replace, canary_run._Run._begins

    def replaced(self: Path, target: Any) -> Path:
        point.reached("before")
        found = replace(self, target)
        point.reached("after")
        return found

    def begun(self: Any) -> None:
        begins(self)
        point.begun = True
        point.reached("begins")

    Path.replace = replaced  # type: ignore[method-assign,assignment]
    canary_run._Run._begins = begun  # type: ignore[method-assign]


def main(change: str, words: str = "") -> int:
    """Roll out as ``node0 canary run`` does."""
    point = Point(words)
    _arm(point)

    def watching(_: Seen) -> None:
        point.reached("look")

    settings = load(Path("configs/node0.yaml"))
    try:
        order = CanaryOrder(settings, Places.of(settings), SystemClock(), lambda *_: None, change, watching=watching)
        ended = run_change(order)
    except Node0Error as error:
        print(error, file=sys.stderr)
        return 5 if "Refused" in type(error).__name__ else 1
    print(ended.status)
    return ended.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
