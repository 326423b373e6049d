"""The metrics for a program that shells out, a Node.js host say: ``python -m node0lib.prometheus_metrics --export``.

Promise: what ``node0 metrics export`` prints, with the same exit codes; without ``--export`` nothing is printed but how
to ask. An error is one message on stderr, and nothing on stdout.

>>> main.name
'prometheus_metrics'
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node0lib.errors import Node0Error
from node0lib.shell.cli.frame import config_option, exit_code_of
from node0lib.shell.cli.metrics import export, format_option

__all__ = ["main"]


@click.command("prometheus_metrics")
@click.option("--export", "wanted", is_flag=True, required=True, help="Print the metrics once, to stdout.")
@config_option
@format_option
@click.pass_context
def main(context: click.Context, wanted: bool, config: Path, form: str) -> None:
    """Print node0's metrics for a Prometheus."""
    try:
        context.invoke(export, config=config, form=form)
    except Node0Error as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(exit_code_of(error))


if __name__ == "__main__":
    main()
