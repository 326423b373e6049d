"""Labels: what people wrote down of incidents, and what of it can be used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node0lib.alerts.comparison import Label, merge
from node0lib.errors import ConfigError
from node0lib.gates import Incident
from node0lib.shell.labels_file import parse_labels, read_labels, table_labels

T, HOUR = datetime(2026, 11, 24, 12, tzinfo=UTC), timedelta(hours=1)


def test_times_of_any_zone_become_utc() -> None:
    """A zone is part of a time; a byte order mark, spaces, blank lines and the columns' order do not matter."""
    text = "\ufeffname, end ,start\n db ,2026-11-24T14:00:00+01:00,2026-11-24T12:00:00Z\n\n,,2026-11-25T01:00:00+0100\n"
    read = parse_labels(text.encode(), "l.csv")
    assert read.labels == (Label("db", T, T + HOUR), Label("row 2", T + 12 * HOUR, None))
    assert read.source == "l.csv" and read.notes == ()


def test_a_column_that_is_not_used_is_told() -> None:
    """Nothing is dropped in silence."""
    assert parse_labels(b"start,end,name,team\n", "l.csv").notes == ("column team is ignored",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("start,name\n", "column end"),
        ("start,end,name,start\n", "column start once"),
        ("start,end,name\n2026-11-24T12:00:00,,a\n", "l.csv:2: row 1, start: .* no time zone"),
        ("start,end,name\n2026-11-24T12:00:00Z,,a\nyesterday,,b\n", "l.csv:3: row 2, start: 'yesterday'"),
        ("start,end,name\n2026-11-24T12:00:00Z,soon,a\n", "row 1, end: 'soon'"),
        ("start,end,name\n,2026-11-24T12:00:00Z,a\n", "row 1, start: ''"),
        ("start,end,name\n2026-11-24T12:00:00Z,2026-11-24T12:00:00Z,a\n", "row 1 ends at .* not after its start"),
        ("start,end,name\n2026-11-24T12:00:00Z,a\n", "row 1 has 2 cells, the first line 3"),
        ('start,end,name\n"2026-11-24T12:00:00Z,,a\n', "no CSV"),
        ("start,end,name\n0001-01-01T00:00:00+14:00,,a\n", "row 1, start: .* outside the years"),
    ],
)
def test_a_row_that_is_malformed_is_one_error_that_names_it(text: str, told: str) -> None:
    """File, line, row, column, and what to write."""
    with pytest.raises(ConfigError, match=told) as raised:
        parse_labels(text.encode(), "l.csv")
    assert str(raised.value).startswith("l.csv")


def test_bytes_that_are_no_text_and_a_missing_file_are_told(tmp_path: Path) -> None:
    """Neither is a traceback."""
    with pytest.raises(ConfigError, match="no CSV in UTF-8"):
        parse_labels(b"start,end,name\n\xff\xfe,,\n", "l.csv")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "none.csv")


def test_overlapping_labels_are_one_incident_and_that_is_told() -> None:
    """Chains and nested labels become one, an open one stays open, and labels that only touch stay two."""
    chain = [Label("c", T + 2 * HOUR, T + 4 * HOUR), Label("a", T, T + HOUR), Label("b", T + HOUR / 2, T + 3 * HOUR)]
    merged, told = merge(chain)
    assert merged == (Label("a + b + c", T, T + 4 * HOUR),)
    assert told[0] == "a and b overlap; they count as one incident" and len(told) == 2
    nested, _ = merge([Label("a", T, T + 4 * HOUR), Label("b", T + HOUR, T + 2 * HOUR)])
    assert nested == (Label("a + b", T, T + 4 * HOUR),)
    still, _ = merge([Label("a", T, None), Label("b", T + HOUR, T + 2 * HOUR)])
    assert still == (Label("a + b", T, None),)
    touching = [Label("a", T, T + HOUR), Label("b", T + HOUR, T + 2 * HOUR)]
    assert merge(touching) == (tuple(touching), ())


def test_the_incident_table_gives_labels_that_lasted_and_concern_the_slo() -> None:
    """What is about a cycle or another SLO is no label, and that a label comes from node0's own alert is told."""
    table = [
        Incident("failed", T, T, "a cycle failed"),
        Incident("critical_burn:other", T, T + HOUR, ""),
        Incident("critical_burn:api", T, T + HOUR, ""),
        Incident("database", T + 2 * HOUR, None, "written down by somebody"),
    ]
    read = table_labels(table, "api")
    assert [one.name for one in read.labels] == ["critical_burn:api", "database"]
    assert read.labels[1].end is None
    assert read.notes[0].startswith("2 incidents of node0's table are about other SLOs")
    assert read.notes[1].startswith("1 labels are incidents that node0's own critical alert opened")
    assert table_labels([], "api").labels == ()
