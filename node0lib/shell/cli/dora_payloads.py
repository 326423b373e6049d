"""``node0 dora ingest github | gitlab | cdevents``: what these systems export or send.

>>> ingest_github.name, ingest_gitlab.name, ingest_cdevents.name
('github', 'gitlab', 'cdevents')
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from node0lib.dora.sources.cdevents import CDEvents
from node0lib.dora.sources.github import GitHub
from node0lib.dora.sources.gitlab import GitLab
from node0lib.dora.sources.payload import Collector, Wanted
from node0lib.shell.cli.dora_ingest import bring, environments_option, files_argument, into_file, service_option
from node0lib.shell.dora_payloads import collected


@click.command("github")
@files_argument
@service_option
@environments_option
@click.option(
    "--incident-label",
    "labels",
    multiple=True,
    default=["incident"],
    show_default=True,
    metavar="NAME",
    help="Issues with this label are incidents; repeatable.",
)
@click.option("--releases", metavar="ENVIRONMENT", help="Releases are deployments too, to this environment.")
@into_file
def ingest_github(
    files: tuple[Path, ...],
    service: str | None,
    environments: tuple[str, ...],
    labels: tuple[str, ...],
    releases: str | None,
    **into: Any,
) -> None:
    """Take what GitHub exports or sends to a webhook.

    FILE holds lists of the REST API (deployments, deployment statuses, issues,
    releases, pulls, commits), payloads of webhooks, or both; JSON or JSON
    lines, in any order.

    A deployment ends as its latest status says: success; failure and error
    never arrived; inactive changes nothing; what is pending, queued, in
    progress or waiting is left out. A task rollback, hotfix or retry is the
    kind. An issue's "caused by deployment 42" links it.

    With commits a deployment gets all changes that no earlier one of FILE has,
    so export whole histories; without, it has its version only. --releases and
    deployments of the same thing count it twice.

    \b
    Exit codes:
      0  done
      1  what FILE says is wrong, or differs from what is known (both are shown)
      2  FILE cannot be read, or the configuration is wrong
    """
    wanted = Wanted(service, frozenset(environments))
    _bring(GitHub(wanted, incident_labels=labels, releases=releases), files, into)


@click.command("gitlab")
@files_argument
@service_option
@environments_option
@click.option(
    "--incident-label",
    "labels",
    multiple=True,
    metavar="NAME",
    help="Issues with this label are incidents too, besides those of that type; repeatable.",
)
@into_file
def ingest_gitlab(
    files: tuple[Path, ...], service: str | None, environments: tuple[str, ...], labels: tuple[str, ...], **into: Any
) -> None:
    """Take what GitLab exports or sends to a webhook.

    FILE holds lists of the REST API (deployments, issues, merge requests,
    commits), payloads of webhooks (deployment, issue, work item), or both;
    JSON or JSON lines, in any order.

    The status success succeeded, failed never arrived; what has not finished
    or was canceled is left out, counted. Incidents are issues of that type.
    An issue's "caused by deployment 42" links it.

    \b
    Exit codes:
      0  done
      1  what FILE says is wrong, or differs from what is known (both are shown)
      2  FILE cannot be read, or the configuration is wrong
    """
    _bring(GitLab(Wanted(service, frozenset(environments)), incident_labels=labels), files, into)


@click.command("cdevents")
@files_argument
@service_option
@environments_option
@into_file
def ingest_cdevents(files: tuple[Path, ...], service: str | None, environments: tuple[str, ...], **into: Any) -> None:
    """Take CDEvents (specification 0.3 to 0.5), plain or in CloudEvents.

    FILE holds JSON or JSON lines. service.deployed and service.upgraded are
    deployments, service.rolledback is a rollback; incident.detected and
    incident.reported open an incident, incident.resolved ends it. Incidents
    are taken of the environments asked for, else of production only. Other
    types are counted.

    \b
    Exit codes:
      0  done
      1  what FILE says is wrong, or differs from what is known (both are shown)
      2  FILE cannot be read, or the configuration is wrong
    """
    _bring(CDEvents(Wanted(service, frozenset(environments))), files, into)


def _bring(source: Collector, files: tuple[Path, ...], into: dict[str, Any]) -> None:
    found = collected(source, files)
    bring(found.events, found.notes, **into)
