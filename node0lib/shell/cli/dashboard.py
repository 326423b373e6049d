"""``node0 dashboard``: the catalogue as a Grafana dashboard.

>>> dashboard.name
'dashboard'
"""

from __future__ import annotations

from pathlib import Path

import click

from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option
from node0lib.shell.config import load
from node0lib.shell.files import write_atomic

_NEVER = "off"


@click.command()
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write this file, whole or not at all. Default: print it.",
)
@click.option(
    "--datasource",
    metavar="UID|$NAME",
    help="The data source to begin with, by its uid, or $NAME: what the variable is called that chooses it.",
)
@click.option("--title", help="Its uid follows from it, so another title is another dashboard.")
@click.option("--refresh", default="1m", show_default=True, help="How often Grafana reloads it: 30s, 5m, 1h; or off.")
@output_option
def dashboard(
    config: Path, out: Path | None, datasource: str | None, title: str | None, refresh: str, output: str
) -> None:
    """Print a Grafana dashboard of every SLO, as JSON.

    It shows what is left of each error budget, how fast it burns over 1h, 6h
    and 24h, each SLO against its objective, DORA's five delivery metrics, the
    ihsan score and how long cycles take. Import it in Grafana (10 or later)
    or put it into a provisioning folder; it asks a Prometheus that scrapes
    the services and node0 metrics serve.

    The same catalogue gives the same bytes. Without --out the dashboard is
    printed, whatever --output says; with it, what was written is told.

    Exit codes: 0 made, 1 the file cannot be written, 2 the command line or
    the configuration is wrong (a query that is no PromQL).
    """
    from node0lib.alerts.dashboard import TITLE, Source, dashboard_text, unfolded
    from node0lib.alerts.dashboard import dashboard as made_of

    catalogue = load(config).catalogue
    try:
        source = Source.of(datasource) if datasource is not None else None
    except ConfigError as error:
        raise ConfigError(f"--datasource: {error}") from error
    board = made_of(
        catalogue,
        title=TITLE if title is None else title,
        source=source,
        refresh=None if refresh == _NEVER else refresh,
    )
    text = dashboard_text(board)
    if out is None:
        click.echo(text, nl=False)
        return
    write_atomic(out, text.encode())
    panels = sum(panel["type"] != "row" for panel in unfolded(board))
    if output == "json":
        echo_json({"file": str(out), "uid": board["uid"], "title": board["title"], "panels": panels})
        return
    console().print(f"wrote {out}: {board['title']!r}, {panels} panels, uid {board['uid']}", soft_wrap=True)
