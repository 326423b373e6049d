"""``node0 simulate burn``: a grid of services, faults and policies, simulated and judged.

>>> sorted(simulate.commands)
['burn']
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.table import Table

from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import Verbs, console, echo_json, output_option, shown_progress, stoppable

if TYPE_CHECKING:  # the kernels take a moment to load; --help does not need them
    from node0lib.shell.sweep_run import Line, Ran
    from node0lib.shell.sweep_workers import Crew
    from node0lib.simulate.sweep import Cost, Sweep
    from node0lib.sli.intervals import Estimate

_WORTH_PROCESSES_S = 10.0


@click.group(cls=Verbs)
def simulate() -> None:
    """Simulate what may happen, before it does."""


@simulate.command()
@click.option("--sweep", "file", type=click.Path(path_type=Path), required=True, help="YAML: what is combined.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder of the dataset. Needed unless --dry-run.")
@click.option("--scheduler", metavar="tcp://…", help="Compute on this Dask cluster instead of this machine.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes on this machine. Default: one for each core.")
@click.option("--dry-run", is_flag=True, help="Only tell how many cells there are, and what they cost.")
@output_option
def burn(
    file: Path, out: Path | None, scheduler: str | None, workers: int | None, dry_run: bool, output: str
) -> None:
    """Judge alert policies on a grid of simulated services.

    The file lists objectives, traffic, errors (the floor), faults, policies
    and seeds; every combination is a cell, over as many simulated months as
    the file says. configs/examples/burn-sweep.yaml is one that takes seconds.

    --out becomes a Parquet dataset with a row for each combination and alert
    (page: any alert that pages): counts, and recall, precision, false_pages (a
    month), detection, reset (s) and spent_at_detection with their 95%
    intervals (_low, _high). In Python:

    \b
        import pandas as pd
        rows = pd.read_parquet("FOLDER")
        pages = rows[rows.alert == "page"]
        pages.pivot_table("recall", "fault", ["objective", "policy"])

    A sweep that was stopped, killed or ran out of disk goes on where it was
    when the same command is given again. With --scheduler the same numbers
    come from a Dask cluster (dask scheduler; dask worker ADDRESS) whose
    machines have the same node0, numpy and numba; this machine writes.

    With --output json, null is not known, and a detection_s of "Infinity" a
    page that most faults never got.

    Exit codes: 0 finished; 1 the disk is full or the cluster is lost: what is
    finished is kept; 2 the command line or the file is wrong, the sweep is too
    large, or the folder holds another one; 5 another run is writing there;
    130 interrupted.
    """
    from node0lib.shell.sweep_file import read_sweep
    from node0lib.shell.sweep_run import measured_pace, run_sweep
    from node0lib.simulate.sweep import cost, refuse_if_vast

    if scheduler is not None and workers is not None:
        raise ConfigError("--workers is for this machine; a cluster has as many as it has: leave one of the two out")
    if out is None and not dry_run:
        raise ConfigError("--out is missing: name the folder that gets the dataset, or use --dry-run")
    sweep = read_sweep(file)
    refuse_if_vast(sweep)  # before a month of it is drawn: the pace is measured on some
    told = cost(sweep, measured_pace(sweep))
    if dry_run or out is None:
        return _show_cost(sweep, told, output)
    try:
        with stoppable(), _crew(scheduler, workers, told) as crew, shown_progress() as progress:
            ran = run_sweep(sweep, out, crew, progress)
    except KeyboardInterrupt:
        _interrupted(out, output)
    if output == "json":
        echo_json(_document(out, told, ran))
    else:
        _show(out, told, ran)


def _crew(scheduler: str | None, workers: int | None, told: Cost) -> AbstractContextManager[Crew]:
    """Return who computes: processes only where that saves more than their start."""
    from node0lib.shell.sweep_workers import alone, cluster, processes

    if scheduler is not None:
        return cluster(scheduler)
    if workers is None:
        workers = _cores() if told.seconds > _WORTH_PROCESSES_S else 1
    return processes(workers) if workers > 1 else alone()


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _interrupted(out: Path, output: str) -> NoReturn:
    text = f"interrupted; what is finished is kept in {out}, and the same command goes on"
    if output == "json":
        echo_json({"error": text, "exit_code": 130})
    click.echo(f"error: {text}", err=True)
    sys.exit(130)


def _show_cost(sweep: Sweep, told: Cost, output: str) -> None:
    from node0lib.simulate.sweep import lasting

    axes = {"objectives": len(sweep.objectives), "traffic": len(sweep.traffics), "errors": len(sweep.floors),
            "faults": len(sweep.faults), "policies": len(sweep.policies), "seeds": len(sweep.seeds)}  # fmt: skip
    if output == "json":
        echo_json({**axes, "cells": told.combinations, "months": told.months, "core_seconds": told.seconds})
        return
    grid = " x ".join(f"{size:,} {name}" for name, size in axes.items())
    out = console()
    out.print(f"{grid} = {told.combinations:,} cells", soft_wrap=True)
    out.print(f"{told.months:,} months to draw: {lasting(told.seconds)} on one core of this machine", soft_wrap=True)


def _document(out: Path, told: Cost, ran: Ran) -> dict[str, Any]:
    return {
        "folder": str(out),
        "cells": told.combinations,
        "months": told.months,
        "parts": ran.chunks,
        "parts_found_before": ran.found_before,
        "months_simulated_now": ran.months,
        "seconds": ran.seconds,
        "summary": [_line(line) for line in ran.summary],
    }


def _line(line: Line) -> dict[str, Any]:
    quality = line.quality
    return {
        "objective": line.objective,
        "policy": line.policy,
        "months": quality.months,
        "events": quality.events,
        "detected": quality.detected,
        "pages": quality.pages,
        "true_pages": quality.true_pages,
        "recall": _estimate(quality.recall),
        "precision": _estimate(quality.precision),
        "false_pages": _estimate(quality.false_pages),
        "detection_s": "Infinity" if line.detection == math.inf else line.detection,
    }


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _show(out: Path, told: Cost, ran: Ran) -> None:
    from node0lib.simulate.sweep import lasting

    screen = console()
    before = f", {ran.found_before} of {ran.chunks} parts were there" if ran.found_before else ""
    now = f"{ran.months:,} months simulated in {lasting(ran.seconds)}{before}"
    screen.print(f"{told.combinations:,} cells in {out}: {now}", soft_wrap=True)
    screen.print(_table(ran.summary))
    screen.print("Over everything else, with 95% intervals; median: from a fault to its page.")


def _table(lines: Sequence[Line]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("policy", overflow="fold", max_width=22)
    for name in ("objective", "events", "recall", "median", "false a month"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.policy, f"{line.objective:g}", *_cells(line))
    return table


def _cells(line: Line) -> Iterator[str]:
    quality, found = line.quality, line.detection
    yield f"{quality.events:,}"
    yield _interval(quality.recall, lambda share: f"{share:.0%}")
    yield "" if found is None else "never" if math.isinf(found) else f"{found / 60:.0f} min"
    yield _interval(quality.false_pages, lambda rate: f"{rate:.3f}" if rate < 10 else f"{rate:.0f}")


def _interval(estimate: Estimate | None, said: Callable[[float], str]) -> str:
    if estimate is None:
        return ""
    low, high = ("?" if end is None else said(end) for end in (estimate.low, estimate.high))
    return f"{said(estimate.value)} ({low}-{high})"
