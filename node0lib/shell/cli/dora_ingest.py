"""``node0 dora ingest``: what all sources have in common, and those that are events or commits already.

The JSON document; a key is always there: ``file``, ``new``, ``known`` (there already), ``resolved`` (incidents that
were open in the file and are over now), ``replaced`` (names of events that gave way), ``unlinked`` (``event`` and
``caused_by`` of events that name a cause which is not in the file), ``notes``. The fields of an event are those of
``dora.schema``, which the help of jsonl, csv and parquet shows.

>>> sorted(_FORMATS)
['csv', 'jsonl', 'parquet']
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from node0lib.dora.events import Event, Key
from node0lib.dora.schema import SCHEMA
from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import DEFAULT_CONFIG, Verbs, config_option, echo_json, output_option
from node0lib.shell.clocks import SystemClock
from node0lib.shell.dora_files import Appended, Format, append_events, read_events
from node0lib.shell.git_history import Delivered, When, from_branch, from_tags, gone, known_tags, tags_moved, tags_of

if TYPE_CHECKING:  # reading a configuration takes a moment to load; --help does not need it
    from node0lib.shell.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])
_NAMED = 5
"""So many of a kind are named on a screen."""
services_option = click.option(
    "--services",
    metavar="FILE|A,B",
    help="The declared services, by commas or a file with one a line; others are refused.  [default: delivery.services "
    "of the configuration]",
)
files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…"
)
service_option = click.option("--service", help="The service of all that comes in.  [default: as it says itself]")
environments_option = click.option(
    "--environment", "environments", multiple=True, metavar="NAME", help="Only these; repeatable.  [default: all]"
)


def into_file(command: _F) -> _F:
    """Add the options of every verb that brings events into a file, for ``bring``; the configuration is read first."""

    @functools.wraps(command)
    def asked(*args: Any, config: Path, **options: Any) -> Any:
        return command(*args, told=configured(config), **options)

    whole = cast("_F", asked)
    out = click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help="The file of events (JSON lines) to add to; it is made if it is not there.",
    )
    replace = click.option(
        "--replace", is_flag=True, help="Let what differs from an event of --out replace it, and name it."
    )
    for option in (output_option, config_option, replace, services_option, out):
        whole = option(whole)
    return whole


@click.group(cls=Verbs)
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
@into_file
def ingest_git(
    repo: Path,
    pattern: str | None,
    branch: str | None,
    when: When,
    service: str | None,
    environment: str,
    allow_shallow: bool,
    **into: Any,
) -> None:
    """Take tags, or what landed on a branch, of a git repository for deployments.

    A tag that was moved since the last time is a second deployment; with
    --replace the earlier one is taken out of --out.

    \b
    Exit codes:
      0  done
      1  the clone is shallow, or an event differs from the one that is known
      2  no such repository, tag or branch, or the configuration is wrong
    """
    if pattern is not None and branch is not None:
        raise ConfigError("--tags and --branch are both given; count tags, or what landed on a branch")
    where = {"service": service or repo.resolve().name, "environment": environment}
    if branch is not None:
        found = from_branch(repo, branch=branch, allow_shallow=allow_shallow, **where)
    else:
        found = from_tags(repo, pattern=pattern or "*", when=when, allow_shallow=allow_shallow, **where)
    moved, old = _moved(into["out"], found, where["service"], replace=into["replace"])
    bring(found.deployments, [*found.notes, *moved], gone=old, **into)


def _moved(out: Path, found: Delivered, service: str, *, replace: bool) -> tuple[list[str], frozenset[Key]]:
    known = known_tags(read_events(out, "jsonl"), service) if out.exists() else {}
    tags = tags_of(found)
    return tags_moved(known, tags, replaced=replace), gone(known, tags, service) if replace else frozenset()


def _from_file(kind: Format, about: str) -> click.Command:
    """The command that takes events from files of one format."""

    @files_argument
    @into_file
    def command(files: tuple[Path, ...], **into: Any) -> None:
        now = SystemClock().now()
        bring((event for path in files for event in read_events(path, kind, now)), [], **into)

    fields = SCHEMA.replace("\n", "\n    ")
    command.__doc__ = f"""Take deployments and incidents from {kind.upper()}.

    It is {about}.

    \b
    {fields}

    All or nothing: if anything in FILE is wrong, --out stays as it was.

    \b
    Exit codes:
      0  done
      1  what FILE says is wrong, or differs from what is known (both are shown)
      2  FILE cannot be read, or the configuration is wrong
    """
    return click.command(kind)(command)


_FORMATS: Mapping[Format, str] = {
    "jsonl": "JSON lines, one event each",
    "csv": "CSV with a header, one event a row; an empty cell\n    is not known, changes are a JSON list",
    "parquet": "Parquet, one event a row; times are timestamps with a zone\n    or texts, changes a list of structs",
}
for _kind, _about in _FORMATS.items():
    ingest.add_command(_from_file(_kind, _about))


def configured(config: Path) -> Settings | None:
    """Return what the configuration says; None if there is none and none was named. Raises ConfigError."""
    from node0lib.shell.config import load

    return None if not config.exists() and config == DEFAULT_CONFIG else load(config)


def declared(given: str | None, told: Settings | None) -> frozenset[str] | None:
    """Return the services that ``--services`` declares or, without it, the configuration; None is any.

    Raises ConfigError if the option declares none.
    """
    if given is None:
        return None if told is None else told.delivery.services
    path = Path(given)
    try:
        lines = path.read_text("utf-8-sig").splitlines() if path.is_file() else given.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--services: {path}: cannot be read as a text in UTF-8 ({error})") from error
    found = frozenset(name for line in lines if (name := line.partition("#")[0].strip()))
    if not found:
        raise ConfigError(f"--services: {given!r} declares none; write them with commas, or a file with one a line")
    return found


def bring(
    events: Iterable[Event],
    notes: Sequence[str],
    *,
    out: Path,
    services: str | None,
    told: Settings | None,
    replace: bool,
    output: str,
    gone: frozenset[Key] = frozenset(),
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Add the events to the file and give account of it; ``beside`` is what the JSON document holds besides.

    Raises as ``append_events`` and ``declared`` do.
    """
    known = declared(services, told)
    done = append_events(out, events, SystemClock().now(), declared=known, replace=replace, gone=gone)
    if output == "json":
        counts = {"new": done.new, "known": done.known, "resolved": done.resolved, "replaced": list(done.replaced)}
        lost = [{"event": name, "caused_by": cause} for name, cause in done.unlinked]
        echo_json({"file": str(out), **counts, "unlinked": lost, "notes": list(notes), **(beside or {})})
        return
    for warning in _warned(done.unlinked, out):
        click.echo(f"warning: {warning}", err=True)
    for note in (*notes, *(f"{name} was replaced" for name in done.replaced)):
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: {_told(done)}")


def _warned(unlinked: Sequence[tuple[str, str]], out: Path) -> Iterator[str]:
    """What to know of causes that are not there: without them the events count nowhere."""
    for name, cause in unlinked[:_NAMED]:
        yield f"{name} names the cause {cause}, which is not in {out}; ingest that too, or mind --service"
    if len(unlinked) > _NAMED:
        yield f"{len(unlinked) - _NAMED} more event(s) name a cause that is not in {out}; --output json lists them"


def _told(done: Appended) -> str:
    more = f", {done.resolved} incident(s) resolved" if done.resolved else ""
    more += f", {len(done.replaced)} replaced" if done.replaced else ""
    return f"{done.new} new event(s), {done.known} known already{more}"
