"""``node0 canary``: is the new one worse, how long until one can tell, and the way there and back.

>>> sorted(canary.commands)
['export', 'go-on', 'import', 'judge', 'plan', 'run', 'stop']
"""

from __future__ import annotations

import click

from node0lib.shell.cli.canary_export import export
from node0lib.shell.cli.canary_import import import_
from node0lib.shell.cli.canary_judge import judge
from node0lib.shell.cli.canary_plan import plan
from node0lib.shell.cli.canary_run import go_on, run, stop


@click.group()
def canary() -> None:
    """Canaries: plan how long they must run, judge what they show, run them."""


for _command in (export, go_on, import_, judge, plan, run, stop):
    canary.add_command(_command)
