"""``node0 alerts``: what wakes somebody, and what it would do.

>>> "replay" in alerts.commands
True
"""

from __future__ import annotations

import click

from node0lib.shell.cli.alert_replay import replay


@click.group()
def alerts() -> None:
    """Rules, routes and rehearsals of burn-rate alerts."""


for _command in (replay,):
    alerts.add_command(_command)
