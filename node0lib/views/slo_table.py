"""``node0 slo status`` as text: two tables in 80 columns, and below them whatever a number alone does not say.

The first table says where each SLO stands, the second how fast its budget burns and when it is gone. A range under
"measured" means that good is known only within bounds; every decision used the lower one. Nothing is a colour alone,
and simulated telemetry is said to be simulated.

>>> lasting(timedelta(hours=77)), lasting(timedelta(minutes=90)), lasting(timedelta(seconds=20))
('3d', '90m', '0m')
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.table import Table
from rich.text import Text

from node0lib.slo.budget import HOUR, SloStatus
from node0lib.slo.catalogue import BURN_WINDOWS
from node0lib.slo.composite import CompositeStatus
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration
from node0lib.views import words

WIDTH = 80
_NAME = 26
_STYLES = {"meeting": "green", "at risk": "yellow", "breached": "bold red", "no data": "bold magenta"}
_LONGEST = timedelta(days=3650)
BURNS: Mapping[str, str] = {words.window(w): format_duration(w) for w in BURN_WINDOWS}
"""The burn windows as people call them, and as ``SloStatus.burn`` does: 24h is 1d there."""


@dataclass(frozen=True)
class Overview:
    """Every SLO at an instant; ``statuses`` are those of ``slos``, in that order, ``maintenance`` what is in force.

    ``warnings`` are the server's own, of partial answers say.
    """

    at: datetime
    source: str
    simulated: bool
    slos: tuple[Objective, ...]
    statuses: tuple[SloStatus, ...]
    composites: tuple[CompositeStatus, ...]
    maintenance: tuple[Maintenance, ...]
    warnings: tuple[str, ...] = ()


def overview(seen: Overview) -> Iterator[Text | Table]:
    """Yield what is printed, one after the other."""
    yield Text(f"Service levels at {words.moment(seen.at)}", style="bold")
    yield Text(f"telemetry: {seen.source}", overflow="fold")
    if seen.simulated:
        yield Text(f"*** {words.banner(True, False)} ***", style="bold yellow")
    for m in seen.maintenance:
        whom = "all SLOs" if m.slos is None else ", ".join(m.slos)
        yield Text(f"MAINTENANCE until {words.moment(m.end)}: {m.reason} ({whom})", style="bold cyan")
    yield Text("")
    yield _standing(seen)
    yield Text("")
    yield _burning(seen)
    if seen.composites:
        yield Text("")
        yield _composites(seen.composites)
    yield from _notes(seen)
    for warning in seen.warnings:
        yield Text(f"the server warns: {warning}", style="yellow", overflow="fold")


def _table(first: str, *columns: tuple[str, int]) -> Table:
    """A table of a name and of columns with their least widths, numbers to the right."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", width=WIDTH)
    table.add_column(first, width=_NAME, overflow="fold")
    for head, width in columns:
        table.add_column(head, justify="left" if head == "state" else "right", min_width=width, no_wrap=True)
    return table


def _standing(seen: Overview) -> Table:
    heads = ("state", 8), ("goal", 5), ("measured", 7), ("left", 6), ("window", 6), ("seen", 4)
    table = _table("SLO", *heads)
    for slo, s in zip(seen.slos, seen.statuses, strict=True):
        window = words.window(s.window) if slo.calendar is None else slo.calendar.unit
        table.add_row(
            s.name, _state(s), words.objective(s.objective), measured(s), words.percent(s.budget_left),
            window, words.nearly(s.counts.coverage, 0),
        )  # fmt: skip
    return table


def measured(status: SloStatus) -> str:
    """What was measured, in percent; from the least to the most where it is known only within bounds."""
    low = words.measured(status.sli, status.objective)
    if status.sli_most is None:
        return low
    return f"{low.rstrip('%')}-{words.measured(status.sli_most, status.objective)}"


def _burning(seen: Overview) -> Table:
    table = _table("burn rate over", *((name, 5) for name in BURNS), ("budget gone", 16))
    for s in seen.statuses:
        table.add_row(s.name, *_rates(s.burn), exhausted(s, seen.at))
    return table


def _rates(burn: Mapping[str, float | None]) -> list[str]:
    return [words.rate(burn.get(key)) for key in BURNS.values()]


def exhausted(status: SloStatus, at: datetime) -> str:
    """When the budget is gone if the last hour's burn goes on: ``12d Dec 07 12:30``; a dash if it is not."""
    hours = status.hours_to_exhaustion
    if status.budget_left is not None and status.budget_left <= 0:
        return "gone"
    if hours is None:
        return "-"
    if hours * HOUR > _LONGEST:
        return "years"
    return f"{lasting(hours * HOUR)} {at + hours * HOUR:%b %d %H:%M}"


def lasting(length: timedelta) -> str:
    """A duration in one unit, cut and never rounded up: whole days from three on, hours from three on, or minutes."""
    for unit, name in ((timedelta(days=1), "d"), (HOUR, "h")):
        if length >= 3 * unit:
            return f"{length // unit}{name}"
    return f"{length // timedelta(minutes=1)}m"


def _composites(found: tuple[CompositeStatus, ...]) -> Table:
    table = _table("composite", ("state", 8), ("left", 6), *((name, 5) for name in BURNS))
    for c in found:
        table.add_row(c.name, _state(c), words.percent(c.budget_left), *_rates(c.burn))
    return table


def _state(status: SloStatus | CompositeStatus) -> Text:
    state = words.STATES[status.state]
    return Text(state, style=_STYLES[state])


def _notes(seen: Overview) -> Iterator[Text]:
    notes = [*_of_composites(seen.composites), *_of_slos(seen)]
    if notes:
        yield Text("")
    for names, text in _grouped(notes):
        yield Text.assemble((f"{', '.join(names)}: ", "bold"), text, overflow="fold")


def _of_composites(found: tuple[CompositeStatus, ...]) -> Iterator[tuple[str, str]]:
    for c in found:
        yield c.name, " + ".join(f"{weight:g} {name}" for name, weight in c.of.items())
        if c.problem:
            yield c.name, c.problem


def _of_slos(seen: Overview) -> Iterator[tuple[str, str]]:
    """What a reader must know of an SLO besides its numbers."""
    for s in seen.statuses:
        if s.problem:
            yield s.name, f"no data: {s.problem.removeprefix(f'{s.name}: ')}"
        if s.counts.note:
            yield s.name, s.counts.note
        if n := s.counts.clamped:
            yield s.name, f"more good (or bad) events than events in all: clamped {n} time{'s' * (n > 1)}"
        if s.excluded:
            yield s.name, f"{lasting(s.excluded)} of the window are maintenance and do not count"
        if s.period:
            yield s.name, f"from {words.moment(s.period.whole.start)} to {words.moment(s.period.whole.end)}"


def _grouped(notes: list[tuple[str, str]]) -> Iterator[tuple[list[str], str]]:
    """Say once what is true of several, in the order of the first."""
    names: dict[str, list[str]] = {}
    for name, text in notes:
        names.setdefault(text, []).append(name)
    for text, of in names.items():
        yield of, text
