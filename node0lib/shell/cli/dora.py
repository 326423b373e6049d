"""``node0 dora``: delivery events come in, and the five metrics go out with what they rest on.

>>> sorted(dora.commands), sorted(ingest.commands)
(['ingest', 'report'], ['cdevents', 'csv', 'git', 'github', 'gitlab', 'jsonl', 'node0', 'parquet', 'prometheus'])
"""

from __future__ import annotations

import click

from node0lib.shell.cli.dora_ingest import ingest
from node0lib.shell.cli.dora_payloads import ingest_cdevents, ingest_github, ingest_gitlab
from node0lib.shell.cli.dora_report import report
from node0lib.shell.cli.dora_telemetry import ingest_node0, ingest_prometheus
from node0lib.shell.cli.frame import Verbs


@click.group(cls=Verbs)
def dora() -> None:
    """Delivery metrics: DORA's five, each with its interval."""


for _verb in (ingest_cdevents, ingest_github, ingest_gitlab, ingest_node0, ingest_prometheus):
    ingest.add_command(_verb)
dora.add_command(ingest)
dora.add_command(report)

__all__ = ["dora", "ingest"]
