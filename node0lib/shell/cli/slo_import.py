"""``node0 slo import`` and ``node0 slo export``: other people's SLO files come in, node0's go out.

>>> import_.name, export.name
('import', 'export')
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click

from node0lib.alerts.event_queries import counted_at
from node0lib.errors import ConfigError
from node0lib.shell.catalogue_edit import Edit, added
from node0lib.shell.cli.frame import config_option, echo_json, output_option
from node0lib.shell.config import load
from node0lib.shell.files import write_atomic
from node0lib.shell.spec_files import Import, contents, read_specs
from node0lib.shell.yaml_lines import dump_all, parse
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.formats.account import Imported
from node0lib.slo.formats.catalogue_text import document
from node0lib.slo.formats.openslo_export import Exported, export_slo
from node0lib.slo.objective import Objective
from node0lib.timespan import parse_duration

INCOMPLETE = 3
"""The exit code where something well formed could not be carried over."""


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a new slo.yaml with these SLOs.")
@click.option("--force", is_flag=True, help="Let --out replace a file that is there.")
@click.option("--add", is_flag=True, help="Add the SLOs to the catalogue that --config names, after showing a diff.")
@click.option("--dry-run", is_flag=True, help="With --add: show the diff and change nothing.")
@click.option("--window", metavar="LENGTH", help="The window of SLOs that name none (30d for Sloth's).")
@config_option
@output_option
@click.pass_context
def import_(
    ctx: click.Context,
    files: tuple[str, ...],
    out: Path | None,
    force: bool,
    add: bool,
    dry_run: bool,
    window: str | None,
    config: Path,
    output: str,
) -> None:
    """Read OpenSLO, Sloth and Pyrra files and turn them into node0's SLOs.

    FILE may hold several documents and may be - for stdin; references between
    OpenSLO objects are resolved over all files given. Without --out and --add
    the catalogue goes to stdout; the account of what was kept, changed and
    left out goes to stderr, or into the one JSON document.

    Limits: 32 MiB and 2,000,000 values a file, 20,000 SLOs in all.

    Exit codes: 0 every SLO was carried over, 3 some could not be (the account
    says why; the others were) or the catalogue is larger than node0 reads in
    one file, 2 a file is malformed and nothing was written, 1 a file could
    not be written.
    """
    _consistent(out, force, add=add, dry_run=dry_run)
    read = read_specs(contents(files), _length(window))
    edit = added(config, read.items) if add and read.objectives else None
    text = document(read.items(), _heading(read)) if read.objectives else ""
    if output == "json" and not dry_run:  # a write that fails must not leave two documents
        _write(edit, out, text)
    _report(read, text, edit, output, shown=out is None and not add)
    if output == "text" and not dry_run:
        _write(edit, out, text)
    ctx.exit(0 if read.complete and not _sizes(text) else INCOMPLETE)


@click.command()
@click.option("--to", "dialect", type=click.Choice(["openslo"]), required=True, help="The format to write.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a file instead of stdout.")
@click.option("--force", is_flag=True, help="Let --out replace a file that is there.")
@click.option("--service", default="node0", show_default=True, help="The service that OpenSLO wants of every SLO.")
@config_option
@output_option
@click.pass_context
def export(
    ctx: click.Context, dialect: str, out: Path | None, force: bool, service: str, config: Path, output: str
) -> None:
    """Write the catalogue's SLOs as OpenSLO v1, one document each.

    What OpenSLO cannot say is told on stderr, or in the one JSON document.

    Exit codes: 0 every SLO was exported, 3 some could not be, 2 the
    configuration is wrong, 1 the file could not be written.
    """
    _consistent(out, force, add=False, dry_run=False)
    catalogue = load(config).catalogue
    found = [_told_bound(slo, export_slo(slo, service)) for slo in catalogue.slos]
    objects = [one.document for one in found if one.document is not None]
    text = dump_all(objects)
    left = _left_of(catalogue)
    _write(None, out, text)
    if output == "json":
        echo_json({"dialect": dialect, "openslo": text, "slos": [_exported(one) for one in found], "left_out": left})
    else:
        _export_account(found, left)
        if out is None:
            click.echo(text, nl=False)
    ctx.exit(0 if len(objects) == len(found) else INCOMPLETE)


def _told_bound(slo: Objective, one: Exported) -> Exported:
    """Say where a threshold is no bucket of the histogram, as far as node0 knows it: nothing would be counted there."""
    if one.document is None or slo.threshold_s is None or "buckets" not in slo.queries:
        return one
    bound = counted_at(slo)
    if bound == slo.threshold_s:
        return one
    why = f"there is no bucket at {slo.threshold_s:g} s (the next below is {bound:g}): the query as written finds none"
    return replace(one, left=(*one.left, why))


def _length(window: str | None) -> timedelta | None:
    try:
        return parse_duration(window) if window else None
    except (ConfigError, OverflowError):
        raise ConfigError(f"--window: {window!r} is not a duration; write for example 30d or 4w") from None


def _consistent(out: Path | None, force: bool, *, add: bool, dry_run: bool) -> None:
    if add and out is not None:
        raise ConfigError("--add and --out are both given; add to the catalogue, or write a new one")
    if dry_run and not add:
        raise ConfigError("--dry-run belongs to --add; without --add and --out nothing is written anyway")
    if out is not None and out.exists() and not force:
        raise ConfigError(f"{out}: is there already; name another file, or replace it with --force")


def _write(edit: Edit | None, out: Path | None, text: str) -> None:
    if edit is not None:
        write_atomic(edit.path, edit.after)
        click.echo(f"written: {edit.shown}", err=True)
    elif out is not None and text:
        write_atomic(out, text.encode("utf-8"))
        click.echo(f"written: {out}", err=True)


def _heading(read: Import) -> str:
    files = ", ".join(dict.fromkeys(source.shown for source in read.sources))
    count = len(read.objectives)
    return f"{count} SLO{'s' if count != 1 else ''} imported from {files}. Check after an edit: node0 config check."


def _report(read: Import, text: str, edit: Edit | None, output: str, *, shown: bool) -> None:
    """Tell everything: in JSON one document, else the catalogue or the diff on stdout and the account on stderr."""
    notes = _sizes(text)
    if output == "json":
        others = [{"where": read.where(note.place), "text": note.text} for note in read.others]
        slos = [_imported(read, slo) for slo in read.slos]
        carried = len(read.objectives)
        counts = {"carried": carried, "not_carried": len(read.slos) - carried}
        diff = {"diff": edit.diff, "file": edit.shown} if edit else {}
        echo_json({**counts, "catalogue": text, "slos": slos, "others": others, "notes": notes, **diff})
        return
    for line in (*_account(read), *(f"note: {note}" for note in notes)):
        click.echo(line, err=True)
    if edit is not None:
        click.echo(edit.diff, nl=False)
    elif shown:
        click.echo(text, nl=False)


def _sizes(text: str) -> list[str]:
    """A note if the catalogue is larger than node0 reads in one file."""
    problems = parse(text.encode("utf-8")).problems if text else ()
    return [f"node0 cannot read this catalogue in one file: it {problem.text}" for problem in problems]


def _account(read: Import) -> list[str]:
    lines = []
    for slo in read.slos:
        name = slo.objective.name if slo.objective else "NOT CARRIED OVER"
        lines.append(f"{read.where(slo.place)}: {slo.original} ({slo.format}) -> {name}")
        lines += [f"  reason: {reason}" for reason in _reasons(slo)]
        for verdict in ("kept", "changed", "left out"):
            lines += [f"  {verdict}: {text}" for text in dict.fromkeys(slo.of(verdict))]
    lines += [f"{read.where(note.place)}: {note.verdict}: {note.text}" for note in read.others]
    carried = len(read.objectives)
    return [*lines, f"{carried} of {len(read.slos)} SLOs carried over"]


def _reasons(slo: Imported) -> list[str]:
    return list(dict.fromkeys(note.text for note in slo.refusals))


def _imported(read: Import, slo: Imported) -> dict[str, object]:
    return {
        "original": slo.original,
        "format": slo.format,
        "where": read.where(slo.place),
        "name": slo.objective.name if slo.objective else None,
        "carried": slo.objective is not None,
        "reasons": _reasons(slo),
        "kept": list(dict.fromkeys(slo.of("kept"))),
        "changed": list(dict.fromkeys(slo.of("changed"))),
        "left_out": list(dict.fromkeys(slo.of("left out"))),
    }


def _exported(one: Exported) -> dict[str, object]:
    return {"name": one.name, "exported": one.document is not None, "left_out": list(one.left)}


def _left_of(catalogue: Catalogue) -> list[str]:
    """What the catalogue says besides its SLOs, and OpenSLO has no word for."""
    left = ["error_budget_policy, dora_targets, change_classes, execution_gates, canary, rollback_policy: node0's own"]
    if catalogue.alerting.pairs:
        left.append("alerting: an AlertCondition has one window; node0's alerts have two, and a least number of events")
    left += [f"maintenance {one.reason!r}: OpenSLO v1 has no exclusions" for one in catalogue.maintenance]
    left += [f"composite {one.name}: its SLOs are exported, their weights are not" for one in catalogue.composites]
    return left


def _export_account(found: list[Exported], left: list[str]) -> None:
    for one in found:
        verdict = "exported" if one.document is not None else "NOT EXPORTED"
        click.echo(f"{one.name}: {verdict}", err=True)
        for text in one.left:
            click.echo(f"  {'left out' if one.document is not None else 'reason'}: {text}", err=True)
    for text in left:
        click.echo(f"left out: {text}", err=True)
