"""``node0 dora``: delivery events come in, and the five metrics go out with what they rest on.

>>> sorted(dora.commands), sorted(ingest.commands)
(['ingest', 'report'], ['csv', 'git', 'jsonl', 'parquet'])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from node0lib.dora.history import Builder
from node0lib.dora.profiles import PROFILES, profile
from node0lib.errors import ConfigError, DataError
from node0lib.shell.cli.frame import Verbs, console, echo_json, output_option
from node0lib.shell.clocks import SystemClock
from node0lib.shell.dora_files import Appended, Format, append_events, read_events
from node0lib.shell.git_history import Delivered, When, from_branch, from_tags, known_tags, tags_moved, tags_of
from node0lib.timespan import format_instant, parse_duration, parse_instant

if TYPE_CHECKING:  # pandas takes a moment to load; --help does not need it
    from node0lib.dora.report import GroupReport, Metric, Report

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file of events (JSON lines) to add to; it is made if it is not there.",
)


@click.group(cls=Verbs)
def dora() -> None:
    """Delivery metrics: DORA's five, each with its interval."""


@dora.group(cls=Verbs)
def ingest() -> None:
    """Bring deployments and incidents into one file of events."""


@ingest.command("git")
@click.option("--repo", type=click.Path(path_type=Path), default=".", show_default=True, help="Where it lies.")
@click.option("--tags", "pattern", metavar="PATTERN", help="Tags that are deployments, as v*.  [default: *]")
@click.option("--branch", help="Count what landed on this branch instead of tags.")
@click.option(
    "--tag-date",
    "when",
    type=click.Choice(["tag", "commit"]),
    default="tag",
    show_default=True,
    help="When a tag was deployed: its own date if it is annotated, or always its commit's.",
)
@click.option("--service", help="The service's name.  [default: the repository's folder]")
@click.option("--environment", default="production", show_default=True, help="Where tags are deployed to.")
@click.option("--allow-shallow", is_flag=True, help="Take a shallow clone, though commits are missing.")
@out_option
@output_option
def ingest_git(
    repo: Path,
    pattern: str | None,
    branch: str | None,
    when: When,
    service: str | None,
    environment: str,
    allow_shallow: bool,
    out: Path,
    output: str,
) -> None:
    """Take tags, or what landed on a branch, of a git repository for deployments.

    Exit codes: 0 done, 2 there is no such repository, tag or branch, 1 the
    clone is shallow or an event differs from the one that is known.
    """
    if pattern is not None and branch is not None:
        raise ConfigError("--tags and --branch are both given; count tags, or what landed on a branch")
    where = {
        "service": service or repo.resolve().name,
        "environment": environment,
    }
    if branch is not None:
        found = from_branch(repo, branch=branch, allow_shallow=allow_shallow, **where)
    else:
        found = from_tags(repo, pattern=pattern or "*", when=when, allow_shallow=allow_shallow, **where)
    moved = _moved(out, found, where["service"])
    done = append_events(out, found.deployments, SystemClock().now())
    _account(out, done, [*found.notes, *moved], output)


def _moved(out: Path, found: Delivered, service: str) -> list[str]:
    known = known_tags(read_events(out, "jsonl"), service) if out.exists() else {}
    return tags_moved(known, tags_of(found))


def _from_file(kind: Format, about: str) -> click.Command:
    """The command that takes events from files of one format."""

    @click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
    @out_option
    @output_option
    def command(files: tuple[Path, ...], out: Path, output: str) -> None:
        events = (event for path in files for event in read_events(path, kind))
        _account(out, append_events(out, events, SystemClock().now()), [], output)

    command.__doc__ = f"""Take deployments and incidents from {kind.upper()}.

    It is {about}.

    All or nothing: if anything in FILE is wrong, --out stays as it was.

    Exit codes: 0 done, 2 a file cannot be read, 1 what it says is wrong or
    differs from what is known (both are shown).
    """
    return click.command(kind)(command)


_FILES: Sequence[tuple[Format, str]] = (
    ("jsonl", "JSON lines, one event each"),
    ("csv", "CSV, one event a row, changes as a JSON list"),
    ("parquet", "Parquet, one event a row"),
)
for _kind, _about in _FILES:
    ingest.add_command(_from_file(_kind, _about))


def _account(out: Path, done: Appended, notes: Sequence[str], output: str) -> None:
    if output == "json":
        echo_json({"file": str(out), "new": done.new, "known": done.known, "notes": list(notes)})
        return
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: {done.new} new event(s), {done.known} known already")


@dora.command()
@click.option("--events", "files", type=click.Path(path_type=Path), multiple=True, required=True, help="Repeatable.")
@click.option("--profile", "name", type=click.Choice(list(PROFILES)), default="node0", help="Whose definitions.")
@click.option("--author", is_flag=True, help="Count lead time from the author's time instead of the committer's.")
@click.option("--environment", "environments", multiple=True, default=["production"], show_default=True, help="Which.")
@click.option("--window", "windows", multiple=True, default=["7d", "30d"], show_default=True, help="How long.")
@click.option("--weeks", type=click.IntRange(1, 520), default=12, show_default=True, help="Whole weeks for the trends.")
@click.option("--at", metavar="INSTANT", help="Report as it was at this time.  [default: now]")
@output_option
def report(
    files: tuple[Path, ...],
    name: str,
    author: bool,
    environments: tuple[str, ...],
    windows: tuple[str, ...],
    weeks: int,
    at: str | None,
    output: str,
) -> None:
    """Print the five metrics of each service and environment over windows and weeks.

    A number comes with its 95% interval, how many events it rests on, its
    band by edition at both ends of the interval, and whether the data show
    that a target is kept. No data is null in JSON and - in text.

    Exit codes: 0 reported, 2 a file, an environment or an option is wrong,
    1 the events contradict themselves or lie in the future.
    """
    from node0lib.dora.report import report as reported

    now = SystemClock().now()
    moment = _moment(at, now)
    builder = Builder(now)
    for path in files:
        _taken(path, builder)
    lengths = [parse_duration(text) for text in windows]
    chosen = profile(name, author=author)
    found = reported(
        builder.history(), moment, profile=chosen, environments=environments, windows=lengths, weeks=weeks
    )
    if output == "json":
        echo_json(found.document())
    else:
        _print(found)


def _taken(path: Path, builder: Builder) -> None:
    for event in read_events(path):
        try:
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


def _print(found: Report) -> None:
    out = console()
    out.print(f"At {format_instant(found.at)}, profile {found.profile.name}. 95% intervals; - is no data.")
    if not found.groups:
        out.print("There is no deployment to any of the environments asked for.")
    for group in found.groups:
        for length, metrics in group.windows.items():
            out.print(_table(group, length, metrics))
        for name, one in group.trends.items():
            if one.verdict != "no evidence":
                out.print(f"  {name} is {one.verdict} over {one.n} weeks (p = {one.p:.3g})")
    for name, words in found.profile.definitions.items():
        out.print(f"{name}: {words}")
    for text in (*(f"of {found.profile.name}: {fault}" for fault in found.profile.faults), *found.notes):
        out.print(f"note: {text}")


def _table(group: GroupReport, length: str, metrics: Sequence[Metric]) -> Table:
    who = group.service or "ALL SERVICES"
    young = next((one.immature for one in metrics if one.immature is not None), None)
    told = "" if young is None else f", {young:.0%} may still fail"
    table = Table(title=f"{who} in {group.environment}, {length}{told}", title_justify="left")
    for heading in ("metric", "value", "95%", "n", "target", "band 2024"):
        table.add_column(heading)
    for one in metrics:
        label, show = _SHOWN[one.name]
        known = one.value is not None or one.low is not None
        ends = f"{show(one.low)} to {show(one.high)}" if known else "-"
        value = "-" if one.value is None else show(one.value)
        table.add_row(label, value, ends, str(one.n), one.verdict or "-", _band(one))
    return table


def _band(one: Metric) -> str:
    at = one.bands.get("2024")
    if at is None or at["value"] is None:
        return "-"
    ends = [text or "?" for text in (at["low"], at["high"])]
    return f"{at['value']} ({ends[0]}; {ends[1]})" if len({at["value"], *ends}) > 1 else str(at["value"])


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

__all__ = ["dora", "ingest"]
