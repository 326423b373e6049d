"""The command line: every verb of node0, one module each.

>>> print(*sorted(main.commands))
alerts canary change config cycle dashboard demo dora evidence lab metrics replay run simulate slo
"""

from __future__ import annotations

import click

from node0lib.shell.cli.alerts import alerts
from node0lib.shell.cli.canary import canary
from node0lib.shell.cli.change import change
from node0lib.shell.cli.config import config
from node0lib.shell.cli.cycle import cycle
from node0lib.shell.cli.dashboard import dashboard
from node0lib.shell.cli.demo import demo
from node0lib.shell.cli.dora import dora
from node0lib.shell.cli.evidence import evidence
from node0lib.shell.cli.frame import Verbs
from node0lib.shell.cli.lab import lab
from node0lib.shell.cli.metrics import metrics
from node0lib.shell.cli.replay import replay
from node0lib.shell.cli.run import run
from node0lib.shell.cli.simulate import simulate
from node0lib.shell.cli.slo import slo

__all__ = ["main"]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="node0", prog_name="node0")
def main() -> None:
    """An SRE workbench: error budgets, honest canaries, evidence.

    Once an hour a cycle looks at a service's telemetry, asks the gates whether
    anything may change, proposes a better policy, tries it as its risk class
    demands, keeps it or rolls it back, and seals evidence of all that.

    Every verb knows --help and --output json.
    """


_VERBS = (
    alerts, canary, change, config, cycle, dashboard, demo, dora, evidence, lab, metrics, replay, run, simulate, slo
)  # fmt: skip
for _verb in _VERBS:
    main.add_command(_verb)
