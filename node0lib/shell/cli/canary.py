"""``node0 canary``: is the new one worse, and how long until one can tell?

>>> sorted(canary.commands)
['judge', 'plan']
"""

from __future__ import annotations

import click

from node0lib.shell.cli.canary_judge import judge
from node0lib.shell.cli.canary_plan import plan


@click.group()
def canary() -> None:
    """Canaries: plan how long they must run, judge what they show."""


for _command in (judge, plan):
    canary.add_command(_command)
