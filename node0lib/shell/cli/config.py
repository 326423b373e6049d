"""``node0 config``: is what people wrote right?

>>> sorted(config.commands)
['check']
"""

from __future__ import annotations

from pathlib import Path

import click

from node0lib.shell.cli.frame import config_option, console, echo_json, output_option
from node0lib.shell.config import load
from node0lib.shell.workspace import Places


@click.group()
def config() -> None:
    """Check what people wrote."""


@config.command()
@config_option
@output_option
def check(config: Path, output: str) -> None:
    """Read every configuration file and report every mistake at once.

    Each mistake comes with its file, line and path of keys. Exit codes: 0 all
    is well, 2 there are mistakes.
    """
    settings = load(config)
    places = Places.of(settings)
    files = [places.shown(path) for path in settings.files]
    slos = [slo.name for slo in settings.catalogue.slos]
    if output == "json":
        echo_json(
            {"valid": True, "files": files, "slos": slos, "mode": settings.mode, "notes": list(settings.notes)}
        )
        return
    console().print(f"{len(files)} files are valid: {', '.join(files)}", soft_wrap=True)
    console().print(f"mode {settings.mode}, {len(slos)} SLOs: {', '.join(slos)}", soft_wrap=True)
    for note in settings.notes:
        console().print(f"note: {note}", soft_wrap=True)
