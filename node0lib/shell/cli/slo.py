"""``node0 slo``: where every promise stands, and promises in other tools' words.

>>> sorted(slo.commands)
['export', 'import', 'status']
"""

from __future__ import annotations

import click

from node0lib.shell.cli.slo_import import export, import_
from node0lib.shell.cli.slo_status import status


@click.group()
def slo() -> None:
    """Service level objectives: status, import, export."""


for _command in (export, import_, status):
    slo.add_command(_command)
