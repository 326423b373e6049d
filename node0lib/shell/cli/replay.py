"""``node0 replay``: a rehearsal of many hours on a simulated clock.

>>> replay.name
'replay'
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.table import Table

from node0lib.errors import ConfigError, DataError
from node0lib.evidence.verify import verify_chain
from node0lib.ports import Progress
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option, shown_progress, stoppable
from node0lib.shell.clocks import SimulatedClock
from node0lib.shell.config import EmbeddedTelemetry, Settings, load
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import default_key_folder, trusted
from node0lib.shell.order import Ended, Order
from node0lib.shell.workspace import Places
from node0lib.timespan import format_instant, parse_instant


@click.command()
@config_option
@click.option("--hours", type=click.IntRange(1, 24 * 366), default=24, show_default=True, help="How many cycles.")
@click.option("--start", help="The first hour, ISO 8601 with zone. Default: so that the last one is now.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the rehearsal lies; must not hold one yet. Default: data/replay/<first hour>.",
)
@output_option
def replay(config: Path, hours: int, start: str | None, into: Path | None, output: str) -> None:
    """Run one cycle an hour on the embedded node, on a simulated clock.

    A rehearsal keeps its data, evidence and reports apart from the real ones,
    and its evidence says that its clock was simulated. At the end the whole
    chain is verified.

    Exit codes: 0 every hour left verified evidence, 1 an hour failed or the
    evidence does not verify, 2 the command line or the configuration is wrong.
    """
    settings = load(config)
    first = _first(settings, hours, start)
    places = Places.of(settings)
    folder = into.resolve() if into else places.data / "replay" / first.strftime("%Y%m%dT%H%M%SZ")
    rehearsal = places.under(_fresh(folder))
    with stoppable(), shown_progress() as progress:
        ended = [_hour(settings, rehearsal, first + n * timedelta(hours=1), n, hours, progress) for n in range(hours)]
    live = rehearsal.policy.read_bytes()
    report = verify_chain(EvidenceFiles(rehearsal.evidence), trusted(default_key_folder()), live_policy=live)
    failed = [e for e in ended if e.exit_code == 1 or "provenance" not in e.files]
    if output == "json":
        rows = [{"cycle": e.cycle, "status": e.status, "reasons": e.reasons, "files": e.files} for e in ended]
        echo_json({"folder": str(folder), "verified_records": report.records, "hours": rows})
    else:
        _show(ended, places.shown(folder), report.records)
    sys.exit(1 if failed else 0)


def _first(settings: Settings, hours: int, start: str | None) -> datetime:
    if not isinstance(settings.telemetry, EmbeddedTelemetry):
        raise ConfigError("a replay needs the embedded node, but telemetry.kind is prometheus: its past cannot be made")
    if start is not None:
        return _instant(start)
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)


def _instant(start: str) -> datetime:
    try:
        return parse_instant(start)
    except DataError as error:
        raise ConfigError(f"--start: {error}") from error


def _fresh(folder: Path) -> Path:
    """A rehearsal never adds to another one."""
    if not folder.exists() or not any(folder.iterdir()):
        return folder
    raise ConfigError(f"{folder}: already holds a rehearsal; remove it, or name another folder with --into")


def _hour(settings: Settings, places: Places, at: datetime, n: int, hours: int, progress: Progress) -> Ended:
    from node0lib.shell.runner import run

    def told(what: str, done: int, total: int) -> None:
        progress(f"hour {n + 1} of {hours}: {what}", n, hours)

    return run(Order(settings, places, SimulatedClock(at), told, clock_kind="simulated"))


def _show(ended: list[Ended], folder: str, records: int) -> None:
    out = console()
    rows = Table.grid(padding=(0, 2))
    for one in ended:
        rows.add_row(format_instant(one.at), one.status, one.reasons[0])
    out.print(rows)
    out.print(f"{len(ended)} hours on a simulated clock; {records} sealed records verify, the first is the genesis")
    out.print(f"in {folder}", soft_wrap=True)
