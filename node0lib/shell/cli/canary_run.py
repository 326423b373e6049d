"""``node0 canary run``, and what people tell a rollout that is under way: ``go-on`` and ``stop``.

>>> run.name, go_on.name, stop.name
('run', 'go-on', 'stop')
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from node0lib.canary.walk import Seen
from node0lib.errors import ConfigError
from node0lib.shell.canary_orders import Told, Word, tell
from node0lib.shell.cli.frame import config_option, console, echo_json, latched, output_option, shown_progress
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.state import State
from node0lib.shell.workspace import Places
from node0lib.timespan import parse_duration


@click.command()
@click.argument("change", metavar="CHANGE")
@config_option
@click.option(
    "--target",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the traffic is, as node0 demo up writes it  [default: the target of the configuration].",
)
@click.option("--wait", metavar="DURATION", help="How long a held stage waits for a person [as long as a stage].")
@click.option("--force", is_flag=True, help="Pass closed gates; this is recorded.")
@output_option
def run(change: str, config: Path, target: Path | None, wait: str | None, force: bool, output: str) -> None:
    """Roll one change out by canary: promote it, hold it, or roll it back.

    CHANGE is an id of node0 change list, or the beginning of one. The stages
    are those of its class in slo.yaml. Every look is judged at once; the
    reports folder gets an analysis with every look (HTML, JSON), the evidence
    a signed record. A class that needs an approval is refused without one.

    On real traffic a guard process takes traffic back if this program dies.
    While a stage is held: node0 canary go-on, or node0 canary stop, in
    another terminal.

    \b
    Exit codes:
      0  promoted
      1  failed; if the traffic could not be taken back, the message says so
      2  the command line, the configuration or the target file is wrong
      3  held: nothing was shown, and the traffic is back at the old revision
      4  rolled back
      5  refused: a gate, no approval, or another rollout or cycle is running
    130  interrupted; the traffic was taken back
    """
    with latched() as stopped, shown_progress() as progress, _watched(progress) as watching:
        from node0lib.shell.canary_run import CanaryOrder, run_change  # inside: an import may swallow Ctrl-C

        settings = load(config)
        patience = parse_duration(wait) if wait is not None else None
        ended = run_change(
            CanaryOrder(
                settings, Places.of(settings), SystemClock(), progress, change,
                target=target, wait=patience, forced=force, watching=watching, stopped=stopped,
            )
        )  # fmt: skip
    if output == "json":
        echo_json(as_json(ended))
    else:
        show(ended)
    sys.exit(ended.exit_code)


@contextmanager
def _watched(progress: Callable[[str, int, int], None]) -> Iterator[Callable[[Seen], None]]:
    """Show looks: on a terminal each of them, else one line a stage and state."""
    live = console(stderr=True).is_terminal

    def watching(seen: Seen) -> None:
        plan, rollout = seen.rollout.plan, seen.rollout
        length = max(1, round(plan.length * 60))
        done = round((seen.look.minute + seen.look.length - rollout.since) * 60)
        where = f"{rollout.state.value} at {100 * rollout.share:g}%"
        progress(f"{where}: {_told(seen)}" if live else where, min(done, length), length)

    yield watching


def _told(seen: Seen) -> str:
    """The metric that says most, in a few words."""
    verdicts = seen.reading.verdicts
    if not verdicts:
        return "looking"
    first = next((v for v in verdicts if v.kind == "fail"), verdicts[0])
    ratio = "-" if first.ratio is None else f"{first.ratio:.2f}"
    return f"{first.metric} {ratio} x ({first.low:.2f} to {first.high:.2f}) {first.kind}"


def as_json(ended: Any) -> dict[str, Any]:
    """Return the ending as JSON can hold it; the looks are in the analysis."""
    back = ended.record.back
    return {
        "id": ended.id,
        "change": ended.change,
        "status": ended.status,
        "reasons": list(ended.reasons),
        "incidents": [{"kind": i.kind, "summary": i.summary} for i in ended.incidents],
        "target": ended.record.target,
        "simulated": ended.record.simulated,
        "looks": len(ended.record.looks),
        "rollback_seconds": back.seconds if back else None,
        "requests_after_rollback": back.after if back else None,
        "files": dict(ended.files),
        "notice": ended.notice,
        "exit_code": ended.exit_code,
    }


def show(ended: Any) -> None:
    """Print how it ended."""
    out = console()
    record = ended.record
    words = {"applied": "PROMOTED", "rolled_back": "ROLLED BACK", "inconclusive": "HELD, traffic is back"}
    style = {"applied": "bold green", "inconclusive": "bold yellow"}.get(ended.status, "bold red")
    out.print(f"change {ended.change}: {words.get(ended.status, 'FAILED')}", style=style)
    where = "SIMULATED target" if record.simulated else "real traffic"
    out.print(f"on {record.target} ({where}), {len(record.looks)} looks", soft_wrap=True)
    for reason in ended.reasons:
        out.print(f"  {reason}", soft_wrap=True, markup=False)
    for incident in ended.incidents:
        out.print(f"INCIDENT {incident.kind}: {incident.summary}", style="bold red", soft_wrap=True, markup=False)
    if record.back is not None:
        told = "unknown" if record.back.after is None else f"{record.back.after}"
        out.print(f"traffic was back after {record.back.seconds:.2f} s (promise {record.back.within:g} s), "
                  f"canary requests after that: {told}", soft_wrap=True)  # fmt: skip
    for note in record.notes:
        out.print(f"note: {note}", soft_wrap=True, markup=False)
    for name, path in ended.files.items():
        out.print(f"  {name:<16} {path}", soft_wrap=True, markup=False)
    if ended.notice:
        out.print(f"note: {ended.notice}", soft_wrap=True, markup=False)


_UNHELD = "a stage that is not held takes no notice of it, and it is not kept for later"
_by = click.option("--by", metavar="NAME", required=True, help="Who says so: a name or a mail address.")
_note = click.option("--note", default="", help="Why; it is part of the record.")


@click.command("go-on")
@config_option
@_by
@_note
@output_option
def go_on(config: Path, by: str, note: str, output: str) -> None:
    """Let the rollout that is under way go on past the stage that is held.

    A stage that is not held takes no notice, nor does one while stable does
    not serve. Who said so, and why, is an input of the rollout's signed record.

    \b
    Exit codes:
      0  told
      2  the command line or the configuration is wrong
      5  refused: no rollout is under way here
    """
    _say("go-on", config, by, note, output)


@click.command()
@config_option
@_by
@_note
@output_option
def stop(config: Path, by: str, note: str, output: str) -> None:
    """Stop the rollout that is under way: its traffic goes back at once.

    \b
    Exit codes:
      0  told; the rollout says itself when the traffic is back
      2  the command line or the configuration is wrong
      5  refused: no rollout is under way here
    """
    _say("stop", config, by, note, output)


def _say(word: Word, config: Path, by: str, note: str, output: str) -> None:
    if not by.strip():
        raise ConfigError("--by: a name is needed; it becomes part of the record")
    settings = load(config)
    places = Places.of(settings)
    with State(places.state) as state:
        name = tell(places, state, Told(word, by.strip(), SystemClock().now(), note))
    notice = _UNHELD if word == "go-on" else None
    if output == "json":
        echo_json({"rollout": name, "told": word, "by": by.strip(), "notice": notice})
    else:
        click.echo(f"{name} was told: {word}{f'; {notice}' if notice else ''}")


