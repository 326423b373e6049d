"""How fast are months drawn and judged? By stage, on a Dask cluster against one process, and with twice as many.

    python tests/benchmarks/burn_sweep.py              # all of it, some minutes
    python tests/benchmarks/burn_sweep.py --months 200 # quicker and less sure

A month has 43,200 minutes, ten requests a second with a day and a week, a floor of 0.03% errors and one outage, and is
put through the workbook's four pairs. Targets on 2 cores: 1,000 months in 5 s with an iid floor, 10 s with an
overdispersed one, at most 2 GB, evaluating alone in 1 s; a cluster of 2 workers costs at most 1.3 times one process
with 2 threads; twice as many months take twice as long. Run it when the machine has nothing else to do: it says how
busy the machine was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from node0lib.alerts.policy import workbook_policy
from node0lib.alerts.quality import QualityRules, judge
from node0lib.alerts.replay import replay_buckets
from node0lib.alerts.timeline import budget_spent
from node0lib.shell.sweep_run import run_sweep
from node0lib.shell.sweep_workers import Crew, cluster, processes
from node0lib.simulate.gallery import FAULTS, USUAL
from node0lib.simulate.months import evaluate, evaluations_of, events_of, series_of
from node0lib.simulate.scenario import Floor, Scenario, draw, plan
from node0lib.simulate.sweep import Sweep

CORES = 2
FLOORS = {"iid": Floor(0.0003), "overdispersed": Floor(0.0003, dispersion=0.5)}
FAULT = "partial outage"
POLICY = workbook_policy(0.999)
STAGES = ("draw", "running sums", "replay", "quality")


def scenario(floor: str) -> Scenario:
    """The month that everything here is about."""
    return replace(USUAL, floor=FLOORS[floor], faults=FAULTS[FAULT])


def sweep(floor: str, months: int) -> Sweep:
    """A sweep of one cell."""
    faults = {FAULT: FAULTS[FAULT]}
    return Sweep((0.999,), {"usual": USUAL.traffic}, {floor: FLOORS[floor]}, faults, {"workbook": None}, (1,), months)


def stages(floor: str, first: int, count: int) -> tuple[list[float], float, int]:
    """The seconds that each stage takes over some months, all CPU seconds, and this process's peak memory in bytes."""
    expected = plan(scenario(floor))
    evaluations, rules = evaluations_of(expected), QualityRules()
    spent_in, cpu = [0.0] * len(STAGES), time.process_time()
    for month in range(first, first + count):
        at = [time.perf_counter()]
        drawn = draw(expected, seed=1, month=month)
        at.append(time.perf_counter())
        series = series_of(expected, drawn)
        _ = series.sums
        at.append(time.perf_counter())
        firing = replay_buckets(POLICY, series, evaluations)
        at.append(time.perf_counter())
        spent = budget_spent(POLICY, [series], series.ends_ms)
        events = events_of(expected, spent)
        for row in (firing[:2].any(axis=0), *firing):
            judge(row, events, rules, evaluations.step_ms, spent)
        at.append(time.perf_counter())
        spent_in = [so_far + end - begin for so_far, begin, end in zip(spent_in, at, at[1:], strict=False)]
    return spent_in, time.process_time() - cpu, peak_memory()


def peak_memory() -> int:
    """The most memory that this process has had."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # where getrusage begins with what the parent had before it spawned
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def copy_bandwidth() -> float:
    """Bytes a second that numpy copies, of 1 GiB, the best of three."""
    source, target, best = np.ones(2**27), np.empty(2**27), float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - begun)
    return source.nbytes / best


@contextmanager
def timed() -> Iterator[Callable[[], str]]:
    """Yield what tells wall seconds, and how much of the machine others took meanwhile."""
    cores = psutil.cpu_count() or 1
    before, begun = psutil.cpu_times(), time.perf_counter()
    ended: list[str] = []
    yield lambda: ended[0]
    lasted, after = time.perf_counter() - begun, psutil.cpu_times()
    idle = (after.idle - before.idle) / (lasted * cores)
    ended.append(f"{lasted:.2f} s (machine {1 - min(1.0, idle):.0%} busy)")


def by_stage(floor: str, months: int) -> None:
    """Each stage on all cores at once: every process does its part of the months."""
    with ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(stages, [floor] * CORES, range(CORES), [2] * CORES))  # compile
        with timed() as lasted:
            share = months // CORES
            found = list(pool.map(stages, [floor] * CORES, [k * share for k in range(CORES)], [share] * CORES))
    each = [max(spent[k] for spent, _, _ in found) for k in range(len(STAGES))]
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in zip(STAGES, each, strict=True))
    cpu, memory = sum(cpu for _, cpu, _ in found), sum(peak for _, _, peak in found) / 1e9
    print(f"{months} months, {floor}, {CORES} cores: {lasted()}; {told} s; evaluating {sum(each[1:]):.2f} s; "
          f"{cpu:.2f} CPU seconds, {memory:.2f} GB in {CORES} processes", flush=True)  # fmt: skip


def swept(crew: Crew, floor: str, months: int) -> None:
    """The sweep as it is run, with its dataset."""
    with tempfile.TemporaryDirectory() as name:
        run_sweep(sweep(floor, months), Path(name) / "out", crew)


def doubling(floor: str, months: int) -> None:
    """Twice as many months, and twice that."""
    with processes(CORES) as crew:
        swept(crew, floor, 4 * 50)  # compile
        for many in (months, 2 * months, 4 * months):
            with timed() as lasted:
                swept(crew, floor, many)
            print(f"{many} months, {floor}, swept by {CORES} processes: {lasted()}", flush=True)


def against_dask(floor: str, months: int) -> None:
    """One process with threads, and a local Dask cluster with as many workers."""
    from distributed import LocalCluster

    policies, expected = {"workbook": POLICY}, plan(scenario(floor))
    seconds = {}
    with timed() as threads:
        begun = time.perf_counter()
        evaluate(expected, policies, months=range(months), seed=1, workers=CORES)
        seconds["threads"] = time.perf_counter() - begun
    print(f"{months} months, {floor}, one process with {CORES} threads: {threads()}", flush=True)
    loopback = LocalCluster(CORES, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    with loopback as local, cluster(local.scheduler_address) as crew:
        swept(crew, floor, 4 * 50)  # compile
        with timed() as dask:
            begun = time.perf_counter()
            swept(crew, floor, months)
            seconds["dask"] = time.perf_counter() - begun
    ratio = seconds["dask"] / seconds["threads"]
    print(f"{months} months, {floor}, Dask with {CORES} workers: {dask()}: {ratio:.2f} times the threads", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=1000, help="as many by stage; ten times as many against Dask")
    months = parser.parse_args().months
    print(f"numpy copies {copy_bandwidth() / 1e9:.1f} GB/s; load {psutil.getloadavg()[0]:.1f}", flush=True)
    for floor in FLOORS:
        by_stage(floor, months)
    doubling("iid", months)
    against_dask("iid", 10 * months)


if __name__ == "__main__":
    main()
