"""What people wrote down of incidents, as labels: a CSV file, or node0's own incident table.

A CSV has the columns ``start``, ``end`` and ``name``, in any order; times are ISO 8601 with Z or an offset, an empty
``end`` is an incident that is still open, an empty name is the row's number. Other columns are ignored, and told. A row
that cannot be read is one error, which names it.

Of the table those incidents are labels that lasted, unless they are about another SLO. What node0's own alert opened is
told: a policy that is judged by its own alerts proves nothing.

>>> text = b"start,end,name\\n2026-11-24T12:00:00Z,2026-11-24T12:40:00+00:00,database\\n2026-11-25T12:00:00Z,,\\n"
>>> [(one.name, one.end is None) for one in parse_labels(text, "labels.csv").labels]
[('database', False), ('row 2', True)]
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node0lib.alerts.comparison import Label
from node0lib.errors import ConfigError, DataError
from node0lib.gates import Incident
from node0lib.timespan import format_instant, parse_instant

_COLUMNS = ("start", "end", "name")
_OWN = "critical_burn:"
_EXAMPLE = "2026-11-24T12:00:00Z,2026-11-24T12:40:00Z,database"


@dataclass(frozen=True)
class Labels:
    """The labels, where they come from, and what a reader should know of them."""

    labels: tuple[Label, ...]
    source: str
    notes: tuple[str, ...] = ()


def read_labels(path: Path) -> Labels:
    """Return the labels in a CSV file; raises ConfigError, naming the row that is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name a CSV of incidents") from error
    return parse_labels(content, str(path))


def parse_labels(content: bytes, shown: str) -> Labels:
    """Return the labels that the bytes of a CSV hold; raises ConfigError, naming ``shown`` and the row."""
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{shown}: is no CSV in UTF-8 ({error}); write start,end,name and rows below it") from error
    if not rows:
        raise ConfigError(f"{shown}: is empty; write a line start,end,name and rows below it, such as {_EXAMPLE}")
    head = [cell.strip() for cell in rows[0][1]]
    if missing := [name for name in _COLUMNS if head.count(name) != 1]:
        raise ConfigError(f"{shown}: needs the column {missing[0]} once; its first line is {','.join(head)[:100]}")
    ignored = tuple(f"column {name} is ignored" for name in head if name not in _COLUMNS)
    labels = [_label(head, row, f"{shown}:{line}", number) for number, (line, row) in enumerate(rows[1:], start=1)]
    return Labels(tuple(labels), shown, ignored)


def _label(head: list[str], row: list[str], where: str, number: int) -> Label:
    if len(row) != len(head):
        raise ConfigError(f"{where}: row {number} has {len(row)} cells, the first line {len(head)}; write {_EXAMPLE}")
    cells = {name: cell.strip() for name, cell in zip(head, row, strict=True)}
    times: dict[str, datetime | None] = {"end": None}
    for column in ("start", "end") if cells["end"] else ("start",):
        try:
            times[column] = parse_instant(cells[column])
        except DataError as error:
            raise ConfigError(f"{where}: row {number}, {column}: {error}") from error
    start, end = times["start"], times["end"]
    assert start is not None
    if end is not None and end <= start:
        text = f"ends at {format_instant(end)}, which is not after its start {format_instant(start)}"
        raise ConfigError(f"{where}: row {number} {text}; an incident that is still open has an empty end")
    return Label(cells["name"] or f"row {number}", start, end)


def table_labels(incidents: Iterable[Incident], slo: str) -> Labels:
    """Return the incidents of node0's table that label an SLO's past."""
    found, others, own = [], 0, 0
    for one in incidents:
        about_another = one.kind.startswith(_OWN) and one.kind != f"{_OWN}{slo}"
        if about_another or (one.resolved_at is not None and one.resolved_at <= one.opened_at):
            others += 1
            continue
        own += one.kind.startswith(_OWN)
        found.append(Label(one.kind, one.opened_at, one.resolved_at))
    notes = []
    if others:
        notes.append(f"{others} incidents of node0's table are about other SLOs, or have no length; they are no labels")
    if own:
        notes.append(
            f"{own} labels are incidents that node0's own critical alert opened, from the first cycle that saw it on: "
            "they favour the catalogue's policy; label with --labels FILE to compare fairly"
        )
    return Labels(tuple(found), "node0's incident table", tuple(notes))
