"""``node0 dora report``: the five metrics of every service and environment, as tables or one JSON document.

The JSON document is that of ``dora.report`` and ``targets_of``: whose ``dora_targets`` were asked for, null for
node0's defaults. A key is always there, null where nothing is known:

- ``at``, ``profile`` (``name``, ``about``, ``faults``, ``definitions`` by metric), ``maturity``, ``production`` (the
  environments that incidents belong to), ``notes``, ``benchmarks_2025``;
- ``groups``, each with ``service`` (null: all services, pooled) and ``environment``;
- of a group ``windows`` by length and metric: ``value``, ``low``, ``high``, ``n``, ``unit``, ``definition``,
  ``interval`` (how it was made), ``immature``, ``target`` (``target``, ``verdict``, ``shown_at``, ``reason``: why no
  event could have told a failure, else null), ``bands`` by edition, and what was counted apart; ``coverage`` and
  ``quick_check`` by length;
- of a group ``weeks`` by ISO week and metric: ``value``, ``low``, ``high``, ``n``, ``immature``;
- of a group ``trends`` by metric: ``verdict``, ``reason``, ``slope`` (a week), ``low``, ``high``, ``p``, ``n``,
  ``start``, ``resemblance``; and ``forecasts``: ``ahead`` (``week``, ``value``, ``low``, ``high`` of each), ``method``,
  ``level``, ``n``, ``reason``, in the metric's unit.

>>> report.name
'report'
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from node0lib.dora.events import check_service
from node0lib.dora.history import Builder, History
from node0lib.dora.profiles import PROFILES, profile
from node0lib.errors import ConfigError, DataError
from node0lib.shell.cli.dora_ingest import configured, declared, services_option
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option
from node0lib.shell.clocks import SystemClock
from node0lib.shell.dora_files import read_events
from node0lib.timespan import format_instant, parse_duration, parse_instant


@click.command()
@click.option("--events", "files", type=click.Path(path_type=Path), multiple=True, required=True, help="Repeatable.")
@click.option("--profile", "name", type=click.Choice(list(PROFILES)), default="node0", help="Whose definitions.")
@click.option("--author", is_flag=True, help="Count lead time from the author's time instead of the committer's.")
@click.option("--environment", "environments", multiple=True, default=["production"], show_default=True, help="Which.")
@click.option("--window", "windows", multiple=True, default=["7d", "30d"], show_default=True, help="How long.")
@click.option("--weeks", type=click.IntRange(1, 520), default=12, show_default=True, help="Whole weeks for the trends.")
@click.option(
    "--season",
    type=click.IntRange(1, 53),
    default=1,
    show_default=True,
    help="Compare only weeks so many apart: 2 for a rhythm of two weeks.",
)
@click.option(
    "--production",
    multiple=True,
    metavar="NAME",
    help="Environments that incidents belong to; repeatable.  [default: the configuration's; else production or, if "
    "that is not asked for, all that are]",
)
@click.option(
    "--maturity",
    metavar="DURATION",
    help="How long a deployment may still fail. What is known of a failure later than that changes nothing.  "
    "[default: for ever; 24h for the share that may still fail]",
)
@services_option
@click.option("--at", metavar="INSTANT", help="Report as it was at this time.  [default: now]")
@config_option
@output_option
def report(
    files: tuple[Path, ...],
    name: str,
    author: bool,
    environments: tuple[str, ...],
    windows: tuple[str, ...],
    weeks: int,
    season: int,
    production: tuple[str, ...],
    maturity: str | None,
    services: str | None,
    at: str | None,
    config: Path,
    output: str,
) -> None:
    """Print the five metrics of each service and environment over windows and weeks.

    A number comes with its 95% interval, how many events it rests on, its
    bands by edition of the report at both ends of the interval, and whether
    the data show that a target is kept. No data is null in JSON and - in text.
    Weeks have trends with the reason for each, and the next ones a forecast.

    Targets, services and production are the configuration's (dora_targets;
    delivery); without one, and none named, node0's defaults.

    \b
    Exit codes:
      0  reported
      1  the events contradict themselves or lie in the future
      2  a file, an environment, the configuration or an option is wrong
    """
    from node0lib.dora.quick_check import BENCHMARKS_2025
    from node0lib.dora.report import report as reported
    from node0lib.shell.cli.dora_tables import printed

    now = SystemClock().now()
    told = configured(config)
    moment, known = _moment(at, now), declared(services, told)
    lengths = [parse_duration(text) for text in windows]
    found = reported(
        _history(files, known, now),
        moment,
        profile=profile(name, author=author),
        targets=None if told is None else told.catalogue.dora,
        environments=environments,
        production=production or (None if told is None else told.delivery.production),
        windows=lengths,
        weeks=weeks,
        maturity=None if maturity is None else parse_duration(maturity),
        season=season,
    )
    of = None if told is None else str(config)
    if output == "json":
        echo_json({**found.document(), "targets_of": of})
    else:
        printed(found, of, BENCHMARKS_2025["all"].score, console())


def _history(files: Sequence[Path], known: frozenset[str] | None, now: datetime) -> History:
    """The events of all files as columns; what they were collected in is given back."""
    builder = Builder()
    for path in files:
        _take(path, builder, known, now)
    return builder.history()


def _take(path: Path, builder: Builder, known: frozenset[str] | None, now: datetime) -> None:
    for event in read_events(path, now=now):
        try:
            check_service(event, known)
            builder.add(event)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _moment(text: str | None, now: datetime) -> datetime:
    if text is None:
        return now
    try:
        moment = parse_instant(text)
    except DataError as error:
        raise ConfigError(f"--at: {error}") from error
    if moment > now:
        raise ConfigError(f"--at: {format_instant(moment)} lies in the future; it is {format_instant(now)}")
    return moment
