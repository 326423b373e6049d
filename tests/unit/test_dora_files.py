"""Files of events: what is read, what is refused and where, and that adding to one is idempotent and atomic."""

import csv
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from node0lib.dora.events import Change, Deployment, Event, Incident, event_line, event_row
from node0lib.errors import ConfigError, DataError
from node0lib.shell.dora_files import append_events, read_events

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVENTS: list[Event] = [
    Deployment("d1", "shop", "production", NOON, NOON, sha="abc", changes=(Change("abc", NOON),)),
    Deployment("d2", "shop", "production", NOON, NOON, "rolled_back", planned=False),
    Incident("i1", "shop", NOON, NOON + timedelta(hours=1), "d2", "a „bad“ query, twice"),
]
LINE = event_line(EVENTS[0])


def written(path: Path, text: str) -> Path:
    """A file with that text."""
    path.write_text(text, encoding="utf-8")
    return path


def as_csv(path: Path, events: list[Event]) -> Path:
    """The events in CSV, with changes as JSON."""
    rows = [event_row(event) for event in events]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({**row, "changes": json.dumps(row["changes"]) if "changes" in row else ""} for row in rows)
    return path


def as_parquet(path: Path, events: list[Event]) -> Path:
    """The events in Parquet, with changes as structs."""
    rows = [event_row(event) for event in events]
    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    return path


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    """JSON lines, CSV and Parquet give the same events."""
    append_events(tmp_path / "e.jsonl", EVENTS)
    paths = [tmp_path / "e.jsonl", as_csv(tmp_path / "e.csv", EVENTS), as_parquet(tmp_path / "e.parquet", EVENTS)]
    assert [list(read_events(path)) for path in paths] == [EVENTS] * 3


def test_parquet_may_hold_true_times(tmp_path: Path) -> None:
    """Timestamps with a zone are taken as they are; without one they are refused."""
    rows = [{"type": "incident", "id": "i", "service": "shop", "opened_at": NOON}]
    for zone, name in (("UTC", "aware.parquet"), (None, "naive.parquet")):
        schema = pa.schema([(key, pa.string()) for key in ("type", "id", "service")])
        schema = schema.append(pa.field("opened_at", pa.timestamp("us", zone)))
        pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / name)
    assert list(read_events(tmp_path / "aware.parquet")) == [Incident("i", "shop", NOON)]
    with pytest.raises(DataError, match="naive.parquet:1: incident 'i'.*no time zone"):
        list(read_events(tmp_path / "naive.parquet"))


def test_nanoseconds_make_no_difference(tmp_path: Path) -> None:
    """Times of a table may be finer than an event's: ingested again they are known already, and not different."""
    at = pa.array([1_767_614_400_123_456_789]).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"type": ["incident"], "id": ["i"], "service": ["shop"], "opened_at": at})
    pq.write_table(table, tmp_path / "fine.parquet")
    out = tmp_path / "out.jsonl"
    counts = [append_events(out, read_events(tmp_path / "fine.parquet")) for _ in range(2)]
    assert [(one.new, one.known) for one in counts] == [(1, 0), (0, 1)]


def test_the_future_is_told_with_its_line(tmp_path: Path) -> None:
    """An event after now is refused with file and line."""
    path = tmp_path / "e.jsonl"
    path.write_text(event_line(EVENTS[0]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"e\.jsonl:1: .* lies in the future"):
        list(read_events(path, now=NOON - timedelta(days=99)))


WRONG = [
    ("cut.jsonl", LINE + "\n" + LINE[:-9], "cut.jsonl:2: ends in the middle of an event"),
    ("odd.jsonl", LINE + "\n{]\n", "odd.jsonl:2: is not JSON"),
    ("list.jsonl", "[1]\n", "list.jsonl:1: is list, not an object"),
    ("nan.jsonl", '{"type": NaN}\n', "NaN is no JSON"),
    ("deep.jsonl", "[" * 100_000 + "\n", "deep.jsonl:1: is not JSON"),
    ("naive.jsonl", LINE.replace("Z", "") + "\n", "naive.jsonl:1: .*no time zone"),
    ("wide.csv", "type,id,service\nincident,i,shop,more\n", "wide.csv:2: the row has more cells"),
    ("short.csv", "type,id,service\nincident,i\n", "short.csv:2: the row has fewer cells"),
    ("quote.csv", 'type,id,service\nincident,"i"x\n', "quote.csv:2: is not CSV"),
    ("changes.csv", "type,id,service,changes\ndeployment,d,shop,[{\n", "changes.csv:2: is not JSON"),
    ("foo.csv", "foo,bar\n1,2\n", r"foo.csv:1: the header lacks .* type, id, service, .*foo, bar.*required.*opened_at"),
    ("bad.parquet", "PAR1", "bad.parquet: cannot be read as Parquet"),
]


@pytest.mark.parametrize(("name", "text", "told"), WRONG, ids=[name for name, _, _ in WRONG])
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    """Truncated, malformed and naive input is one error that names file and line."""
    with pytest.raises(DataError, match=told):
        list(read_events(written(tmp_path / name, text)))


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    """A file in another encoding is refused, not guessed at."""
    (tmp_path / "e.jsonl").write_bytes(b'{"type": "\xff"}\n')
    with pytest.raises(DataError, match="is not UTF-8"):
        list(read_events(tmp_path / "e.jsonl"))


@pytest.mark.parametrize("name", ["none.jsonl", "none.csv", "none.parquet", "folder.jsonl", "events.xml"])
def test_files_that_are_not_to_be_had(tmp_path: Path, name: str) -> None:
    """A file that is missing, a folder, or of an unknown format is the user's to correct."""
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError):
        list(read_events(tmp_path / name))


def test_adding_is_idempotent(tmp_path: Path) -> None:
    """The same events again change no byte; new ones come behind."""
    path = tmp_path / "e.jsonl"
    assert append_events(path, EVENTS[:2]).new == 2
    assert append_events(path, [*EVENTS, *EVENTS]).new == 1
    before = path.read_bytes()
    done = append_events(path, EVENTS)
    assert (done.new, done.known) == (0, 3)
    assert path.read_bytes() == before


def test_a_difference_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """An event that differs from the known one is refused with both shown, and nothing is written."""
    path = tmp_path / "e.jsonl"
    append_events(path, EVENTS)
    before = path.read_bytes()
    other = Incident("i1", "shop", NOON, None, "d2")
    with pytest.raises(DataError, match="(?s)first:.*twice.*second:"):
        append_events(path, [Incident("i9", "shop", NOON), other])
    with pytest.raises(DataError, match="future"):
        append_events(path, [Incident("i9", "shop", NOON)], now=NOON - timedelta(hours=1))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["e.jsonl"]


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    """Reading does not keep the file: ten megabytes pass through less than two."""
    path = tmp_path / "large.jsonl"
    filler = "x" * 2000
    with path.open("w", encoding="utf-8") as file:
        for k in range(5000):
            file.write(event_line(Incident(f"i{k}", "shop", NOON, None, None, filler)) + "\n")
    assert path.stat().st_size > 10**7
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_events(path)) == 5000
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
    finally:
        tracemalloc.stop()
