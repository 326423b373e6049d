"""``node0 run``: the cycle again and again, in the foreground.

>>> run.name
'run'
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import click

from node0lib.shell.cli.frame import config_option, output_option, stoppable
from node0lib.shell.config import load
from node0lib.shell.schedule import repeat
from node0lib.timespan import format_duration, parse_duration


@click.command()
@config_option
@click.option("--every", help="How often, such as 1h. Default: schedule.every of the configuration.")
@click.option("--times", type=click.IntRange(1), help="Stop after so many cycles. Default: never.")
@click.option("--force", is_flag=True, help="Do not wait out the interval between cycles; this is recorded.")
@output_option
def run(config: Path, every: str | None, times: int | None, force: bool, output: str) -> None:
    """Repeat the cycle in the foreground, the first one at once.

    One cycle at a time: a start that falls due while one is running is queued,
    once. A cycle that fails does not end the schedule. Stop it with Ctrl-C or
    SIGTERM; a cycle that is running then is interrupted and accounted for.
    With --output json every cycle is one line.

    Exit codes: 0 stopped, 2 the command line or the configuration is wrong.
    """
    settings = load(config)
    interval: timedelta = parse_duration(every) if every else settings.schedule.every
    command = [sys.executable, "-m", "node0lib.shell.cli", "cycle", "--config", str(config), "--output", output]
    click.echo(f"a cycle every {format_duration(interval)}; stop with Ctrl-C", err=True)
    cycles = _Cycles([*command, *(["--force"] if force else [])], as_lines=output == "json")
    with stoppable():
        repeat(cycles.once, interval, times, stop=cycles.stop)


class _Cycles:
    """Each cycle is a process of its own: whatever it does to itself, the schedule goes on."""

    def __init__(self, command: list[str], *, as_lines: bool) -> None:
        self._command, self._as_lines = command, as_lines
        self._running: subprocess.Popen[str] | None = None

    def once(self) -> int:
        piped = subprocess.PIPE if self._as_lines else None
        with subprocess.Popen(self._command, stdout=piped, text=True, encoding="utf-8") as running:
            self._running = running
            told, _ = running.communicate()
        self._running = None
        if told:
            click.echo(_one_line(told))
        click.echo(f"the cycle ended with exit code {running.returncode}", err=True)
        return running.returncode

    def stop(self) -> None:
        if self._running is not None:
            self._running.terminate()


def _one_line(told: str) -> str:
    """The cycle's document on one line; what is none (a cycle that was killed in mid-word) is told as text."""
    try:
        return json.dumps(json.loads(told))
    except json.JSONDecodeError:
        return json.dumps({"error": "the cycle did not end with a JSON document", "output": told})
