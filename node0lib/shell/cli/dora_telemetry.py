"""``node0 dora ingest prometheus | node0``: deployments out of a metrics server, and out of node0's own memory.

The JSON of ``prometheus`` has ``times`` besides: for ``deployment_lead_time_seconds`` and
``incident_resolution_time_seconds`` each ``events`` (null: there are none), ``why``, ``count``, ``mean`` and the bounds
``median`` and ``p90`` (``above``, ``at_most``; null is the open end).

>>> ingest_prometheus.name, ingest_node0.name
('prometheus', 'node0')
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import click

from node0lib.dora.sources.counters import MEANINGS, Meaning, Naming
from node0lib.errors import ConfigError, DataError
from node0lib.shell.cli.dora_ingest import bring, into_file
from node0lib.shell.cli.frame import DEFAULT_CONFIG
from node0lib.shell.clocks import SystemClock
from node0lib.timespan import Span, parse_duration, parse_instant


@click.command("prometheus")
@click.option("--url", required=True, help="The server's address, without /api/v1.")
@click.option("--last", default="30d", show_default=True, help="How far back from --until.")
@click.option("--until", metavar="INSTANT", help="The end of the span.  [default: now]")
@click.option("--metric", default="deployments_total", show_default=True, help="The counter of deployments.")
@click.option("--match", default="", metavar="MATCHERS", help="""Only such series, as job="shop".""")
@click.option("--service", help="The service of series without the label.")
@click.option("--service-label", default="service", show_default=True, help="The label that names the service.")
@click.option("--environment", default="production", show_default=True, help="Of series without such a label.")
@click.option("--environment-label", default="environment", show_default=True, help="The label that names it.")
@click.option("--status-label", default="status", show_default=True, help="The label that tells how it ended.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="STATUS=MEANING",
    help="What a status means: success, rolled_back, failed (never arrived) or rollback (a deployment that took the "
    "one before back). Repeatable.",
)
@click.option("--token-env", help="The environment variable with a bearer token.")
@into_file
def ingest_prometheus(
    url: str, last: str, until: str | None, match: str, statuses: tuple[str, ...], token_env: str | None, **other: Any
) -> None:
    """Take deployments from a counter in Prometheus.

    Each rise between two samples is a deployment, told at the later sample:
    it finished up to one scrape interval earlier. Nothing is known of commits,
    so there is no lead time. deployment_lead_time_seconds and
    incident_resolution_time_seconds are histograms: no event can be made of
    them; their counts, means and the bounds of their quantiles are printed.

    What node0's own exporter counts as failed was taken back by a later
    cycle: a rollback. Elsewhere failed never arrived; --status says otherwise.

    \b
    Exit codes:
      0  done
      1  the server cannot be read, or counts something else
      2  the command line or the configuration is wrong, or a label has no meaning
    """
    from node0lib.shell.dora_prometheus import measured
    from node0lib.shell.promendpoint import Endpoint

    names = ("metric", "service", "environment", "service_label", "environment_label", "status_label")
    naming = Naming(**{name: other.pop(name) for name in names}, meanings=_meanings(statuses))
    now = SystemClock().now()
    span = Span.ending(now if until is None else _instant(until, now), parse_duration(last))
    found = measured(Endpoint(url, token_env=token_env), span, naming, match)
    notes = [*found.notes, *(_spread(name, one) for name, one in found.times.items())]
    bring(found.counted.deployments, notes, beside={"times": found.times}, **other)


def _meanings(given: tuple[str, ...]) -> Mapping[str, Meaning]:
    found = {}
    for text in given:
        status, sign, meaning = text.partition("=")
        if not sign or meaning not in MEANINGS:
            raise ConfigError(f"--status: {text!r} is no STATUS=MEANING; a meaning is one of {', '.join(MEANINGS)}")
        found[status] = MEANINGS[meaning]
    return found


def _instant(text: str, now: datetime) -> datetime:
    try:
        moment = parse_instant(text)
    except DataError as error:
        raise ConfigError(f"--until: {error}") from error
    if moment > now + timedelta(seconds=1):
        raise ConfigError(f"--until: {text} lies in the future")
    return moment


def _spread(name: str, found: Mapping[str, Any]) -> str:
    if not found["count"]:
        return f"{name}: nothing was observed"
    bounds = "; ".join(f"{key} {_bounds(found[key])}" for key in ("median", "p90"))
    return f"{name}: {found['count']} observed, mean {found['mean']:.4g} s, {bounds}; no events: {found['why']}"


def _bounds(found: Mapping[str, float | None]) -> str:
    top = "any length" if found["at_most"] is None else f"{found['at_most']:g} s"
    return f"from {found['above']:g} s to {top}"


@click.command("node0")
@click.option("--service", default="node0", show_default=True, help="The name of what node0 governs.")
@click.option("--environment", default="production", show_default=True, help="Where it runs.")
@into_file
def ingest_node0(service: str, environment: str, **into: Any) -> None:
    """Take node0's own changes and incidents, which every cycle records.

    A change that its canary undid was rolled back; one that a later cycle took
    back has a rollback after it. Incidents are critical burns of an SLO; what
    befell node0 itself is counted and left out. A policy has no commit, so
    there is no lead time.

    \b
    Exit codes:
      0  done
      1  node0's memory cannot be read, or an event differs from what is known
      2  the configuration is missing or wrong
    """
    from node0lib.shell.config import load
    from node0lib.shell.dora_own import own_events
    from node0lib.shell.workspace import Places

    told = into["told"] or load(DEFAULT_CONFIG)  # which is not there, and says so
    found = own_events(Places.of(told).state, service, environment)
    bring(found.events, found.notes, **into)
