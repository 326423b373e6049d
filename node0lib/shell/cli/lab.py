"""``node0 lab``: JupyterLab, opened at the threshold explorer.

>>> lab.name
'lab'
"""

from __future__ import annotations

from pathlib import Path

import click

from node0lib.shell.cli.frame import config_option, echo_json, output_option, stoppable


@click.command()
@config_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8888,
    show_default=True,
    help="The port to listen on; 0 is any free one.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--allow-root", is_flag=True, help="Run as root, which JupyterLab refuses otherwise.")
@output_option
def lab(config: Path, port: int, no_browser: bool, allow_root: bool, output: str) -> None:
    """Open JupyterLab at the threshold explorer.

    Sliders for objective, factors, windows, for, min_bad, traffic and faults;
    moving one evaluates 200 simulated months again and redraws. The chosen
    policy can be written into the catalogue and exported as rules.

    The server listens on this machine only and needs the token that is part of
    the address. It runs until Ctrl-C. In JSON the address is printed as
    {"address": ...}.

    Exit codes: 0 ended by you; 1 the server failed; 2 the port is taken, or
    something is missing.
    """
    from node0lib.shell.config import load
    from node0lib.shell.lab import serve

    folder = load(config).notebook.parent

    def announce(address: str) -> None:
        if output == "json":
            echo_json({"address": address})
        else:
            click.echo(f"JupyterLab: {address}")

    with stoppable():
        serve(folder, port, browser=not no_browser, allow_root=allow_root, announce=announce)
