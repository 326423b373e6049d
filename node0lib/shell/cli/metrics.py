"""``node0 metrics``: what a Prometheus wants to know, as an endpoint or printed once.

>>> sorted(metrics.commands)
['export', 'serve']
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node0lib.shell.cli.frame import config_option, echo_json, output_option, stoppable
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.files import write_atomic
from node0lib.shell.workspace import Places

if TYPE_CHECKING:
    from node0lib.shell.exporter import Exporter, Format

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "openmetrics"]),
    default="text",
    show_default=True,
    help="Prometheus's text format 0.0.4, or OpenMetrics 1.0.",
)


@click.group()
def metrics() -> None:
    """Budgets, burn rates, cycles and deployments for a Prometheus."""


@metrics.command()
@config_option
@click.option("--address", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="The port; 0 takes a free one."
)
@output_option
def serve(config: Path, address: str, port: int, output: str) -> None:
    """Serve the metrics over HTTP at /metrics, and /-/healthy.

    OpenMetrics or text by content negotiation. Nothing is written; the
    embedded node's minutes since the last cycle are counted in memory. Says on
    stderr when it is ready, and with --output json its address on stdout; stop
    it with Ctrl-C or SIGTERM.

    Exit codes: 0 stopped, 1 the address cannot be listened on, 2 the command
    line or the configuration is wrong.
    """
    from node0lib.shell.metrics_server import MetricsServer

    try:
        with stoppable():
            exporter, places = _exporter(config)
            with MetricsServer(exporter, address, port, places) as server:
                server.warm_up()
                click.echo(f"serving metrics at {server.url}; stop with Ctrl-C", err=True)
                if output == "json":
                    echo_json({"url": server.url})
                server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


@metrics.command()
@config_option
@format_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there, atomically, not to stdout.")
@output_option
def export(config: Path, form: Format, out: Path | None, output: str) -> None:
    """Print the metrics once.

    For a textfile collector, or for a program that has an endpoint of its own.
    With --output json they are families and samples as JSON, whatever --format
    says.

    Exit codes: 0 printed, 1 something stored cannot be read or --out cannot be
    written, 2 the command line or the configuration is wrong.
    """
    from node0lib.shell.exporter import as_json, render

    exporter, _ = _exporter(config)
    content = _json(as_json(exporter)) if output == "json" else render(exporter, form)
    if out is not None:
        write_atomic(out, content)
    else:
        click.echo(content, nl=False)


def _json(families: list[dict[str, Any]]) -> bytes:
    return (json.dumps({"families": families}, indent=2, allow_nan=False) + "\n").encode()


def _exporter(config: Path) -> tuple[Exporter, Places]:
    from node0lib.shell.exporter import Exporter

    settings = load(config)
    places = Places.of(settings)
    return Exporter(settings, places, SystemClock()), places
