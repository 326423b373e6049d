"""``node0 alerts``: what wakes somebody, and what it would do.

>>> sorted(alerts.commands)
['alertmanager', 'lint', 'replay', 'rules', 'search']
"""

from __future__ import annotations

import click

from node0lib.shell.cli.alert_lint import lint
from node0lib.shell.cli.alert_replay import replay
from node0lib.shell.cli.alert_routes import alertmanager
from node0lib.shell.cli.alert_rules import rules
from node0lib.shell.cli.alert_search import search


@click.group()
def alerts() -> None:
    """Rules, routes and rehearsals of burn-rate alerts."""


for _command in (alertmanager, lint, replay, rules, search):
    alerts.add_command(_command)
