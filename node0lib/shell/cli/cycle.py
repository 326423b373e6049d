"""``node0 cycle``: one production cycle.

>>> cycle.name
'cycle'
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from node0lib.shell.cli.frame import config_option, console, echo_json, output_option, shown_progress, stoppable
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.order import Ended, Order
from node0lib.shell.records import plain
from node0lib.shell.workspace import Places


@click.command()
@config_option
@click.option("--force", is_flag=True, help="Do not wait out the interval between cycles; this is recorded.")
@output_option
def cycle(config: Path, force: bool, output: str) -> None:
    """Run one production cycle and show how it ended.

    \b
    Exit codes:
      0  the cycle ended well: a change was applied or recommended, held for
         an approval, inconclusive, or nothing was to be changed
      1  failed: the notebook, the evidence or the disk; the message says which
      2  the command line or the configuration is wrong
      3  blocked by a gate
      4  a change was tried and rolled back
      5  refused: too soon after the last cycle, or another one is running
    130  interrupted outside the notebook; the next cycle accounts for it
    """
    from node0lib.shell.runner import run

    settings = load(config)
    with stoppable(), shown_progress() as progress:
        ended = run(Order(settings, Places.of(settings), SystemClock(), progress, forced=force))
    if output == "json":
        echo_json(as_json(ended))
    else:
        show(ended)
    sys.exit(ended.exit_code)


def as_json(ended: Ended) -> dict[str, Any]:
    """Return the cycle as JSON can hold it."""
    document = plain(ended)
    return {**document, "exit_code": ended.exit_code}


def show(ended: Ended) -> None:
    """Print the one screen."""
    from node0lib.views.screen import screen

    out = console()
    for incident in ended.incidents:
        out.print(f"INCIDENT {incident.kind}: {incident.summary}", style="bold red", soft_wrap=True)
    if ended.result is not None:
        out.print(screen(ended.result, ended.files))
    else:
        _show_failure(ended, out)
    if ended.notice:
        out.print(f"note: {ended.notice}", soft_wrap=True)


def _show_failure(ended: Ended, out: Console) -> None:
    out.print(f"cycle {ended.cycle}: FAILED ({ended.status})", style="bold red")
    for reason in ended.reasons:
        out.print(reason, soft_wrap=True)
    out.print("nothing was changed; the record and the reports say what happened:")
    for name, path in ended.files.items():
        out.print(f"  {name:<16} {path}", soft_wrap=True)
