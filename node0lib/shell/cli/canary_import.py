"""``node0 canary import``: canary configurations of Kayenta and Argo Rollouts, in node0's terms.

The JSON document:

========= ============================================================================================================
kind      kayenta or argo
files     by name, as text: ``kayenta.json`` and ``input.json``, or ``slo.yaml`` (parts to merge)
queries   PromQL by metric, where Kayenta would ask a Prometheus; ``${scope}`` and ``${location}`` are Kayenta's
left_out  with --partial: a list of ``where path reason``; ``notes`` is a list of sentences
out       the folder with the files, null for stdout
========= ============================================================================================================

>>> import_.name
'import'
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node0lib.errors import ConfigError
from node0lib.shell.canary_foreign import Foreign, read_foreign
from node0lib.shell.cli.frame import echo_json, output_option
from node0lib.shell.files import write_atomic
from node0lib.shell.mistakes import content_of
from node0lib.slo.catalogue import ChangeClass

INCOMPLETE = 3
"""The exit code where something was left out."""


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--class", "kind", type=click.Choice([c.value for c in ChangeClass]), default="M", show_default=True,
              help="The class that a Rollout becomes.")  # fmt: skip
@click.option("--partial", is_flag=True, help="Import what can be expressed, and list what was left out.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Write the files into a folder instead of stdout.")  # fmt: skip
@click.option("--force", is_flag=True, help="Let --out replace files that are there.")
@output_option
@click.pass_context
def import_(
    ctx: click.Context, file: str, kind: str, partial: bool, out: Path | None, force: bool, output: str
) -> None:
    """Read a canary configuration of Kayenta or Argo Rollouts.

    What FILE is (- is stdin) is seen from its content:

    \b
    Kayenta canary config   kayenta.json for canary judge --kayenta-config,
                            and input.json, its metrics without values, to
                            fill in; PromQL where it asks a Prometheus
    Argo Rollout            a change class (stages, duration, approval) to
                            merge into slo.yaml
    Argo AnalysisTemplate   margins, where a condition is an upper bound of
                            the same expression for canary and control

    What node0 cannot express (absolute limits, header routes, experiments,
    stages of different lengths, other metric providers, ...) is refused with
    file, line, path and reason, all of it at once, and nothing is written;
    --partial imports the rest. Malformed is refused in any case.

    \b
    Exit codes:
      0  everything was imported
      1  a file could not be written
      2  the file is malformed or cannot be expressed; nothing was written
      3  with --partial: something was left out, be it everything
    """
    content = sys.stdin.buffer.read() if file == "-" else content_of(Path(file), "a canary configuration, or -")
    found = read_foreign(content, "stdin" if file == "-" else file, change_class=kind, partial=partial)
    if out is not None:
        _write(out, found, force)
    if output == "json":
        _echo(found, out)
    else:
        _tell(found, out)
        if not found.files:
            click.echo("nothing of it can be expressed: nothing was written", err=True)
    ctx.exit(INCOMPLETE if found.left else 0)


def _write(folder: Path, found: Foreign, force: bool) -> None:
    there = [str(folder / name) for name in found.files if (folder / name).exists()]
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: is there already; name another folder, or replace it with --force")
    for name, text in found.files.items():
        write_atomic(folder / name, text.encode("utf-8"))


def _echo(found: Foreign, out: Path | None) -> None:
    left = [{"where": one.where, "path": one.path, "reason": one.reason} for one in found.left]
    echo_json({
        "kind": found.kind,
        "files": dict(found.files),
        "queries": dict(found.queries),
        "left_out": left,
        "notes": list(found.notes),
        "out": None if out is None else str(out),
    })  # fmt: skip


def _tell(found: Foreign, out: Path | None) -> None:
    for one in found.left:
        click.echo(f"left out: {one.where}: {f'{one.path}: ' if one.path else ''}{one.reason}", err=True)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    for name, query in found.queries.items():
        click.echo(f"query: {name}: {query}", err=True)
    for name, text in found.files.items():
        if out is not None:
            click.echo(f"written: {out / name}", err=True)
            continue
        if len(found.files) > 1:
            click.echo(f"# {name}")
        click.echo(text, nl=False)
