"""``node0 dora report``: the five metrics of every service and environment, as tables or one JSON document.

The JSON document is that of ``dora.report`` and ``targets_of``: whose ``dora_targets`` were asked for, null for
node0's defaults.

>>> report.name, _span(5400.0), _rate(None)
('report', '1.5 h', '?')
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from node0lib.dora.events import check_service
from node0lib.dora.history import Builder
from node0lib.dora.profiles import PROFILES, profile
from node0lib.errors import ConfigError, DataError
from node0lib.shell.cli.dora_ingest import declared, services_option
from node0lib.shell.cli.frame import DEFAULT_CONFIG, config_option, console, echo_json, output_option
from node0lib.shell.clocks import SystemClock
from node0lib.shell.dora_files import read_events
from node0lib.timespan import format_duration, format_instant, parse_duration, parse_instant

if TYPE_CHECKING:  # pandas takes a moment to load; --help does not need it
    from node0lib.dora.report import GroupReport, Metric, Report
    from node0lib.slo.catalogue import DoraTargets


@click.command()
@click.option("--events", "files", type=click.Path(path_type=Path), multiple=True, required=True, help="Repeatable.")
@click.option("--profile", "name", type=click.Choice(list(PROFILES)), default="node0", help="Whose definitions.")
@click.option("--author", is_flag=True, help="Count lead time from the author's time instead of the committer's.")
@click.option("--environment", "environments", multiple=True, default=["production"], show_default=True, help="Which.")
@click.option("--window", "windows", multiple=True, default=["7d", "30d"], show_default=True, help="How long.")
@click.option("--weeks", type=click.IntRange(1, 520), default=12, show_default=True, help="Whole weeks for the trends.")
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

    The targets are the configuration's dora_targets; without one, and none
    named, node0's defaults.

    \b
    Exit codes:
      0  reported
      1  the events contradict themselves or lie in the future
      2  a file, an environment, the configuration or an option is wrong
    """
    from node0lib.dora.report import report as reported

    now = SystemClock().now()
    moment, known = _moment(at, now), declared(services)
    targets = _targets(config)
    lengths = [parse_duration(text) for text in windows]
    longest = None if maturity is None else parse_duration(maturity)
    builder = Builder(now)
    for path in files:
        _take(path, builder, known)
    found = reported(
        builder.history(),
        moment,
        profile=profile(name, author=author),
        targets=targets,
        environments=environments,
        windows=lengths,
        weeks=weeks,
        maturity=longest,
    )
    of = None if targets is None else str(config)
    if output == "json":
        echo_json({**found.document(), "targets_of": of})
    else:
        _print(found, of)


def _targets(config: Path) -> DoraTargets | None:
    """The configuration's targets; None if there is none and none was named."""
    from node0lib.shell.config import load

    if not config.exists() and config == DEFAULT_CONFIG:
        return None
    return load(config).catalogue.dora


def _take(path: Path, builder: Builder, known: frozenset[str] | None) -> None:
    for event in read_events(path):
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


def _print(found: Report, targets_of: str | None) -> None:
    out = console()
    out.print(f"At {format_instant(found.at)}, profile {found.profile.name}. 95% intervals; - is no data.")
    out.print(f"Targets: {targets_of or 'the defaults of node0'}.")
    if not found.groups:
        out.print("There is no deployment to any of the environments asked for.")
    for group in found.groups:
        for length, metrics in group.windows.items():
            out.print(_numbers(group, length, metrics, format_duration(found.profile.maturity)))
            out.print(_bands(length, metrics))
        for name, one in group.trends.items():
            if one.verdict != "no evidence":
                out.print(f"  {name} is {one.verdict} over {one.n} weeks (p = {one.p:.3g})")
    for name, words in found.profile.definitions.items():
        out.print(f"{name}: {words}")
    for text in (*(f"of {found.profile.name}: {fault}" for fault in found.profile.faults), *found.notes):
        out.print(f"note: {text}")


def _numbers(group: GroupReport, length: str, metrics: Sequence[Metric], maturity: str) -> Table:
    who = group.service or "ALL SERVICES"
    young = next((one.immature for one in metrics if one.immature is not None), None)
    told = "" if young is None else f", {young:.0%} may still fail (under {maturity} old)"
    table = _table(f"{who} in {group.environment}, {length}{told}", "metric", "value", "95%", "n", "target", "kept")
    for one in metrics:
        label, show = _SHOWN[one.name]
        known = one.value is not None or one.low is not None
        ends = f"{show(one.low)} to {show(one.high)}" if known else "-"
        value = "-" if one.value is None else show(one.value)
        target = "-" if one.target is None else show(one.target)
        table.add_row(label, value, ends, str(one.n), target, one.verdict or "-")
    return table


def _bands(length: str, metrics: Sequence[Metric]) -> Table:
    """A row for each metric and edition; where value and both ends have one band, it is said once."""
    table = _table(f"bands, {length}", "metric", "report", "at the low end", "at the value", "at the high end")
    for one in metrics:
        for label, edition, ends in _banded(one):
            cells = ends if len(set(ends)) > 1 else ("=", ends[1], "=")
            table.add_row(label, edition, *cells)
    return table


def _banded(metric: Metric) -> Iterator[tuple[str, str, tuple[str, str, str]]]:
    label = _SHOWN[metric.name][0]
    for edition, ends in metric.bands.items():
        if metric.value is not None:
            yield label, edition, (ends["low"] or "?", ends["value"] or "?", ends["high"] or "?")
            label = ""


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    return table


def _rate(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}/d"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{value:.1%}"


def _span(value: float | None) -> str:
    if value is None:
        return "?"
    for seconds, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= seconds:
            return f"{value / seconds:.1f} {unit}"
    return f"{value:.0f} s"


_SHOWN: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "deployment_frequency": ("frequency", _rate),
    "change_lead_time": ("lead time", _span),
    "change_fail_rate": ("fail rate", _share),
    "failed_deployment_recovery_time": ("recovery", _span),
    "deployment_rework_rate": ("rework", _share),
}
