"""What all verbs share: options, how an error ends the program, output as text or JSON, progress on stderr.

>>> exit_code_of(ConfigError("x")), exit_code_of(RefusedError("x")), exit_code_of(Node0Error("x"))
(2, 5, 1)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from node0lib.errors import ConfigError, Node0Error, RefusedError

_OUTPUT = "node0.output"
DEFAULT_CONFIG = Path("configs/node0.yaml")
config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration to run by.",
)
output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    callback=lambda ctx, _, value: ctx.meta.setdefault(_OUTPUT, value),
    is_eager=True,
    help="What stdout gets: text for people or one JSON document.",
)


def exit_code_of(error: Node0Error) -> int:
    """Return how an error ends the program: 2 is yours to correct, 5 is a refusal, 1 all else."""
    if isinstance(error, ConfigError):
        return 2
    return 5 if isinstance(error, RefusedError) else 1


class Verbs(click.Group):
    """A group whose help lists every verb, and whose errors are one clear message and an exit code."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.get_short_help_str(200)) for name, verb in verbs(self)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Node0Error as error:
            _fail(ctx, str(error), exit_code_of(error))
        except KeyboardInterrupt:
            _fail(ctx, "interrupted; nothing is half-written, and the next run accounts for what was left", 130)
        except BrokenPipeError:
            # The reader went away (head, say): nothing to tell, and nobody to tell it to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


def verbs(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every verb below a group with its full name ("evidence verify")."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from verbs(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _fail(ctx: click.Context, text: str, code: int) -> NoReturn:
    """Say the error on stderr and, where JSON was asked for, as the one document on stdout; end the program."""
    if ctx.meta.get(_OUTPUT) == "json":
        echo_json({"error": text, "exit_code": code})
    click.echo(f"error: {text}", err=True)
    sys.exit(code)


def console(*, stderr: bool = False) -> Console:
    """Return a console that writes whatever the terminal's encoding can take, at 80 columns where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=80)


def echo_json(document: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on stderr: a bar on a terminal, else a line for each thing begun."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _Lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        yield show


class _Lines:
    """Progress where nobody watches: every thing is named once, when it begins."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._last:
            self._last = what
            click.echo(f"... {what}", err=True)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM, by which schedulers stop a program, into the KeyboardInterrupt that Ctrl-C is."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def latched() -> Iterator[Callable[[], bool]]:
    """Do what ``stoppable`` does for Ctrl-C too, once, and yield whether it was asked for.

    A KeyboardInterrupt that is raised within a library's callback or finalizer is lost: whoever must not go on asks.
    Only the first signal raises, so that a second one does not disturb what the first began.
    """
    asked = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal asked
        first, asked = not asked, True
        if first:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = [
    "Verbs",
    "config_option",
    "console",
    "echo_json",
    "exit_code_of",
    "latched",
    "output_option",
    "shown_progress",
    "stoppable",
    "verbs",
]
