"""Run one cycle on a simulated clock and, if asked, SIGKILL it at a point: a crash-consistency harness.

    python killed_cycle.py 2026-11-24T02:00:00Z [station:N | before-replace:N | after-replace:N]

``station:N`` dies when the Nth station is noted; ``before-replace:N`` and ``after-replace:N`` around the Nth file
that the runner's process publishes by renaming.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from node0lib.shell.clocks import SimulatedClock
from node0lib.shell.config import load
from node0lib.shell.order import Order
from node0lib.shell.runner import run
from node0lib.shell.state import State
from node0lib.shell.workspace import Places
from node0lib.timespan import parse_instant


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(kind: str, n: int) -> None:
    left = n

    def due() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    if kind == "station":
        station = State.station

        def noted(self: State, *words: Any) -> None:
            station(self, *words)
            if due():
                _die()

        State.station = noted  # type: ignore[method-assign]
        return
    replace = Path.replace

    def replaced(self: Path, target: Any) -> Path:
        now = due()
        if now and kind == "before-replace":
            _die()
        found = replace(self, target)
        if now:
            _die()
        return found

    Path.replace = replaced  # type: ignore[method-assign,assignment]


def main() -> int:
    at, kill = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    if kill:
        kind, n = kill.split(":")
        _arm(kind, int(n))
    settings = load(Path("configs/node0.yaml"))
    clock = SimulatedClock(parse_instant(at))
    ended = run(Order(settings, Places.of(settings), clock, lambda *_: None, clock_kind="simulated"))
    print(ended.status, [f"{i.kind}: {i.summary}" for i in ended.incidents], sorted(ended.files))
    return ended.exit_code


if __name__ == "__main__":
    sys.exit(main())
