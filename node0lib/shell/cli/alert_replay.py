"""``node0 alerts replay``: what would these alerts have done on this series, or on the service's own history?

>>> replay.name
'replay'
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource
from rich.table import Table

from node0lib.alerts.policy import AlertPolicy, policy_of
from node0lib.errors import ConfigError, DataError
from node0lib.shell.cli.frame import DEFAULT_CONFIG, config_option, console, echo_json, output_option
from node0lib.timespan import format_duration, format_instant, parse_duration

if TYPE_CHECKING:  # the kernels take a moment to load; --help does not need them
    from node0lib.alerts.timeline import AlertTimeline
    from node0lib.shell.series_file import SeriesFile

NAMED = "name:"
"""What a policy of a known name begins with; anything else is a file."""
_SHOWN = 12
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


@click.command()
@config_option
@click.option("--from", "start", metavar="TIME", help="Replay the SLO's own history: ISO 8601 with offset, or -30d.")
@click.option("--to", "end", metavar="TIME", help="Its end, likewise; default: now, or where the history ends.")
@click.option(
    "--series",
    default="-",
    show_default=True,
    metavar="FILE",
    help="Without --from: CSV or Parquet; - reads standard input.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="FILE",
    help="YAML: objective, period, alerts; or name:workbook, name:pyrra ... With --from repeatable, up to 19.",
)
@click.option("--slo", metavar="NAME", help="The SLO whose history is read; without --from: whose objective is taken.")
@click.option("--labels", type=click.Path(path_type=Path), help="CSV of incidents: start, end, name. Default: node0's.")
@click.option("--significant", default="1%", show_default=True, help="An incident counts that spends so much budget.")
@click.option("--grace", default="30m", show_default=True, help="A page so long after an incident's end is true.")
@click.option("--merge-gap", default="15m", show_default=True, help="Onsets sooner after a page belong to it.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Write a report, too.")
@click.option("--fresh", is_flag=True, help="Read anew what is in the cache.")
@click.option("--semantics", type=click.Choice(["2", "3"]), default="3", show_default=True, help="Prometheus 2 or 3.")
@click.option("--interval", default="1m", show_default=True, help="Evaluated at multiples of this.")
@output_option
def replay(
    config: Path,
    start: str | None,
    end: str | None,
    series: str,
    policies: tuple[str, ...],
    slo: str | None,
    semantics: str,
    interval: str,
    output: str,
    **history: Any,
) -> None:
    """Show when every alert of a policy fires on a series, or on history.

    With --from, candidate policies are compared on the history of --slo, from
    the configured telemetry (a server's is kept in data/cache). The
    catalogue's own alerting comes first. Incidents are the labels: what would
    have fired when, precision, recall, detection times, false pages a month,
    with 95% intervals. What pages is critical or warning. Events are summed in
    buckets of --interval, plain sums without extrapolation; a timeslice SLO is
    replayed on its slices.

    Without it, the series has the column time (ISO 8601 with zone, or seconds
    since the epoch) and either good or bad with total: events of the interval
    that ends at time; or the scraped counters good_total or bad_total with
    total_total, a missing scrape being a missing row. A column series tells
    several apart; they are summed. Counters are evaluated as Prometheus
    evaluates sum(rate(bad[w])) / sum(rate(total[w])), minute for minute.

    Without --policy the alerting section of the configuration is replayed,
    with the objective of --slo (default: 0.999); where there is no
    configuration, the defaults of that section.

    In JSON each alert has firing intervals [start, end), in ISO 8601, with
    resolved: false where it still fires at the last evaluation, and the share
    of the period's budget spent at each onset.

    Exit codes: 0 replayed, whether or not anything fires; 1 the series cannot
    be used, or there is no history; 2 the command line, a policy or the labels
    are wrong.
    """
    if start is not None or end is not None:
        from node0lib.shell.cli.alert_past import replay_past

        _exclude(("series", "semantics"), "is for a series from a file; --from replays history")
        replay_past(config, start, end, slo, policies, interval, output, **history)
        return
    _exclude(tuple(history), "is for history: name its start with --from")
    if len(policies) > 1:
        raise ConfigError("--policy: a series is replayed through one policy; several are compared with --from")
    _replay_series(config, series, policies, slo, semantics, interval, output)


def _exclude(names: Sequence[str], why: str) -> None:
    """Raise ConfigError for an option that was given and does not belong to this use."""
    ctx = click.get_current_context()
    given = [name for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} {why}")


def _replay_series(
    config: Path,
    series: str,
    policies: Sequence[str],
    slo: str | None,
    semantics: str,
    interval: str,
    output: str,
) -> None:
    from node0lib.alerts.replay import Evaluations
    from node0lib.alerts.timeline import timelines
    from node0lib.shell.series_file import read_series

    step = _interval(interval)
    chosen, told = _policy(config, policies[0] if policies else None, slo)
    read = read_series(series)
    version: Literal[2, 3] = 2 if semantics == "2" else 3
    try:
        evaluations = Evaluations.within(*read.span, step // _MILLISECOND)
    except DataError as error:
        raise DataError(f"{'standard input' if series == '-' else series}: {error}") from error
    found = timelines(chosen, read.series, evaluations, version)
    if output == "json":
        echo_json(
            {
                "policy": _policy_document(chosen, told),
                "series": _series_document(read),
                "semantics": version if read.kind == "counters" else None,
                "interval": format_duration(step),
                "evaluations": {
                    "first": _iso(evaluations.begin_ms),
                    "last": _iso(int(evaluations.instants_ms[-1])),
                    "count": evaluations.count,
                },
                "alerts": [_alert(one) for one in found],
            }
        )
    else:
        _show(chosen, told, read, version, found)


def _interval(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise ConfigError(f"--interval: {error}") from error


def _policy(config: Path, policy: str | None, slo: str | None) -> tuple[AlertPolicy, str]:
    """Return what is replayed, and where it comes from."""
    from node0lib.alerts.policies import policy_named
    from node0lib.shell.alert_policy_file import read_alert_policy
    from node0lib.shell.config import load
    from node0lib.slo.catalogue import Catalogue

    named = policy is not None and policy.startswith(NAMED)
    if policy is not None and not named:
        if slo is not None:
            raise ConfigError("--slo and --policy exclude each other: a policy file has an objective of its own")
        return read_alert_policy(Path(policy)), policy
    known = config.exists() or config != DEFAULT_CONFIG  # one that was named must be there
    if not known and slo is not None:
        raise ConfigError(f"--slo: there is no configuration {config}; name one with --config, or use --policy")
    catalogue = load(config).catalogue if known else Catalogue(())
    objective = catalogue.slo(slo).objective if slo is not None else 0.999
    if policy is not None:
        return policy_named(policy.removeprefix(NAMED), objective, catalogue.alerting.period), policy
    told = f"alerting of {config}" if known else "the defaults of alerting"
    return policy_of(objective, catalogue.alerting), told


def _iso(ms: int) -> str:
    return format_instant(_EPOCH + ms * _MILLISECOND)


def _policy_document(policy: AlertPolicy, told: str) -> dict[str, Any]:
    return {
        "source": told,
        "objective": policy.objective,
        "period": format_duration(policy.period),
        "error_budget": policy.budget,
    }


def _series_document(read: SeriesFile) -> dict[str, Any]:
    first, last = read.span
    document: dict[str, Any] = {"kind": read.kind, "rows": read.rows, "series": len(read.series)}
    return document | {"first": _iso(first), "last": _iso(last), "notes": list(read.notes)}


def _alert(one: AlertTimeline) -> dict[str, Any]:
    alert = one.alert
    return {
        "name": alert.name,
        "severity": alert.severity,
        "long": format_duration(alert.long),
        "short": format_duration(alert.short),
        "factor": alert.factor,
        "threshold": one.threshold,
        "for": format_duration(alert.hold),
        "min_bad": alert.min_bad,
        "can_fire": one.threshold < 1,
        "firing": [
            {
                "start": format_instant(firing.start),
                "end": format_instant(firing.end),
                "resolved": firing.resolved,
                "budget_spent": firing.budget_spent,
            }
            for firing in one.firings
        ],
        "onsets": [{"at": format_instant(f.start), "budget_spent": f.budget_spent} for f in one.firings],
        "seconds_firing": one.time_firing.total_seconds(),
    }


def _show(
    policy: AlertPolicy, told: str, read: SeriesFile, version: int, found: Sequence[AlertTimeline]
) -> None:
    out = console()
    how = f"counters, as Prometheus {version}.x" if read.kind == "counters" else "good/total buckets, plain sums"
    first, last = (_iso(ms) for ms in read.span)
    out.print(f"{told}: objective {policy.objective:g} over {format_duration(policy.period)}", soft_wrap=True)
    out.print(f"{read.rows} rows from {first} to {last}; {how}", soft_wrap=True)
    for note in read.notes:
        out.print(f"note: {note}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("alert", "severity", "burn", "windows"):
        table.add_column(name)
    for name in ("fires", "in all"):
        table.add_column(name, justify="right")
    for one in found:
        alert = one.alert
        windows = f"{format_duration(alert.long)}/{format_duration(alert.short)}"
        times = f"{len(one.firings)} times" if len(one.firings) != 1 else "once"
        length = format_duration(one.time_firing)
        table.add_row(alert.name, alert.severity, f"> {alert.factor:.4g}", windows, times, length)
    out.print(table)
    for one in found:
        _show_firings(one)


def _show_firings(one: AlertTimeline) -> None:
    out = console()
    for firing in one.firings[:_SHOWN]:
        spent = "" if firing.budget_spent is None else f", {firing.budget_spent:.2%} of the budget spent at its start"
        until = format_instant(firing.end) if firing.resolved else "the end of the series"
        out.print(f"{one.alert.name}: {format_instant(firing.start)} to {until}{spent}", soft_wrap=True)
    if len(one.firings) > _SHOWN:
        out.print(f"{one.alert.name}: and {len(one.firings) - _SHOWN} times more; --output json has them all")
