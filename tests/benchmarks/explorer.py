"""How soon does the threshold explorer answer? Its round trip in the kernel: from the state of the sliders to HTML.

    python tests/benchmarks/explorer.py              # 200 months
    python tests/benchmarks/explorer.py --months 50

What a slider of the policy or the fault moves is evaluated on months that are there; what a slider of the service moves
draws all of them again. Wall and CPU time are both printed, and how fast this machine copies memory: on a machine that
others use, wall time says little. The way from the kernel to the picture on the page is measured in the browser:
``pytest -s tests/browser/test_explorer.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np

from node0lib.simulate.explore import Explorer
from node0lib.simulate.thresholds import Chosen, starting
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.objective import Objective
from node0lib.views.explorer_view import explored

SLO = Objective("api", "ratio", 0.999, timedelta(days=30))
Move = Callable[[Chosen, int], Chosen]


def factor(chosen: Chosen, n: int) -> Chosen:
    pairs = (replace(chosen.pairs[0], factor=14.4 - n / 10), *chosen.pairs[1:])
    return replace(chosen, pairs=pairs)


def hold(chosen: Chosen, n: int) -> Chosen:
    pairs = (replace(chosen.pairs[0], hold=timedelta(minutes=n)), *chosen.pairs[1:])
    return replace(chosen, pairs=pairs)


MOVES: dict[str, Move] = {
    "factor": factor,
    "for": hold,
    "objective": lambda chosen, n: replace(chosen, objective=0.999 - n / 10_000),
    "fault": lambda chosen, n: replace(chosen, size=0.05 + n / 100),
    "fault of 3 days": lambda chosen, n: replace(chosen, size=0.05 + n / 100, length=timedelta(days=3)),
    "traffic": lambda chosen, n: replace(chosen, traffic=36_000 + n),
    "traffic of 600/h": lambda chosen, n: replace(chosen, traffic=600 + n),
    "traffic of 60/h": lambda chosen, n: replace(chosen, traffic=60 + n / 100),
    "floor": lambda chosen, n: replace(chosen, floor=0.0003 + n / 1e6),
    "floor of 1%": lambda chosen, n: replace(chosen, floor=0.01 + n / 1e6),
    "iid floor": lambda chosen, n: replace(chosen, floor=0.0003 + n / 1e6, dispersion=0.0),
}


def copied() -> float:
    """Bytes a second that this machine copies."""
    source = np.ones(50_000_000)
    target = np.empty_like(source)
    begun = time.perf_counter()
    for _ in range(4):
        np.copyto(target, source)
    return 4 * source.nbytes / (time.perf_counter() - begun)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def round_trips(months: int, workers: int) -> Iterator[str]:
    start = replace(starting(Catalogue((SLO,)), "api", months=months))
    explorer, number = Explorer(workers=workers), count(1)

    def trip(move: Move) -> None:
        explored(explorer.answer(move(start, next(number)).question()))

    trip(MOVES["floor"])
    for name, move in MOVES.items():
        wall, cpu = zip(*(timed(lambda move=move: trip(move)) for _ in range(5)), strict=True)
        yield (
            f"{name:16s} {statistics.median(wall) * 1000:6.0f} ms wall (best {min(wall) * 1000:.0f}), "
            f"{statistics.median(cpu) * 1000:6.0f} ms CPU"
        )
    answer = explorer.answer(start.question())
    yield f"{'drawing alone':16s} {min(timed(lambda: explored(answer))[1] for _ in range(5)) * 1000:6.1f} ms CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=200)
    options = parser.parse_args()
    workers = os.cpu_count() or 1
    print(f"{options.months} months, {workers} threads, memory copied at {copied() / 1e9:.1f} GB/s", flush=True)
    for line in round_trips(options.months, workers):
        print(line, flush=True)


if __name__ == "__main__":
    main()
