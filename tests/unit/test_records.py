"""Values to JSON and back: nothing is lost on the way, and nothing else gets in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import view_samples as samples
from hypothesis import given as drawn
from hypothesis import strategies as st

from node0lib.cycle import CycleResult, Given, Kind, Series
from node0lib.errors import DataError
from node0lib.gates import Incident
from node0lib.shell.records import dump, load, plain, read_given, read_result, write_given, write_result
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus

KINDS: tuple[Kind, ...] = ("applied", "no_change", "recommended", "held", "inconclusive", "blocked", "rolled_back")
NUMBERS = st.floats(allow_nan=False)
COUNTS = st.builds(Counts, NUMBERS, NUMBERS, st.floats(0, 1), st.none() | st.text(), st.integers(0, 99))


def _given() -> Given:
    """Everything a cycle may look at, none of it empty."""
    counts = {"api": {"1h": Counts(9.5, 10.0, 0.99), "30d": Counts.nothing("HTTP 503: \u2028 no")}}
    incidents = Incident("x", samples.AT, None, "open"), Incident("y", samples.AT, samples.AT, "ü")
    facts = replace(samples.given().facts, coverage=0.5, pin_mismatches=("a 1 != 2",), hours_since_crash=0.25)
    return replace(samples.given(), counts=counts, incidents=incidents, facts=facts)


# Round trips


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_comes_back_as_it_was(kind: Kind) -> None:
    """Every kind of cycle, with its infinite bounds and missing numbers, is equal after the round trip."""
    result = samples.result(kind)
    assert load(CycleResult, dump(result), "result.json") == result
    assert dump(load(CycleResult, dump(result), "result.json")) == dump(result)


def test_a_given_comes_back_as_it_was(tmp_path: Path) -> None:
    """Through a file too, with gaps, problems, incidents that are open and text in any script."""
    given = _given()
    assert write_given(tmp_path, given) == tmp_path / "given.json"
    assert read_given(tmp_path) == given
    result = samples.result()
    assert read_result(write_result(tmp_path, result).parent) == result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.json", "result.json"]


def test_infinity_is_not_lost() -> None:
    """An invariant that is broken burns infinitely, here and after the round trip; JSON itself has no such number."""
    broken = replace(samples.statuses()[-1], burn={"1h": math.inf, "6h": -math.inf, "1d": None}, budget_left=0.0)
    content = dump(broken)
    assert load(SloStatus, content, "x").burn == {"1h": math.inf, "6h": -math.inf, "1d": None}
    json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert plain(broken)["burn"]["1h"] == "Infinity"


def test_numbers_that_are_none_stay_numbers() -> None:
    """NaN comes back as NaN, not as a missing value."""
    assert math.isnan(load(Counts, dump(Counts(math.nan, math.nan, 0.0)), "x").good)


@drawn(COUNTS)
def test_any_counts_come_back(counts: Counts) -> None:
    """Whatever was counted, of whatever size, and whatever the problem's text."""
    assert load(Counts, dump(counts), "x") == counts


@drawn(st.lists(st.none() | NUMBERS), st.timedeltas(timedelta(milliseconds=1)), st.datetimes(timezones=st.just(UTC)))
def test_any_series_comes_back(values: list[float | None], step: timedelta, start: datetime) -> None:
    """Instants and durations to the microsecond, gaps as gaps."""
    series = Series(start, step, tuple(values), tuple(values))
    assert load(Series, dump(series), "x") == series


@drawn(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_a_policy_keeps_its_types(whole: int, number: float, text: str) -> None:
    """A whole number stays one, a float stays a float, and a text that looks like a number stays a text."""
    policy: dict[str, Any] = {"a": whole, "b": number, "c": text, "d": "30"}
    found = load(Given, dump(replace(_given(), policy=policy)), "x").policy
    assert found == policy and {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in policy.items()}


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_knob_that_is_no_number_does_not_get_in(number: float) -> None:
    """No knob may be infinite: such a policy does not come back as another one, it is refused."""
    assert "policy.a" in _refused(Given, dump(replace(_given(), policy={"a": number})))


def test_other_zones_are_the_same_instant() -> None:
    """An instant written in another zone comes back equal."""
    there = samples.AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert load(Given, dump(replace(_given(), at=there)), "x").at == samples.AT


def test_a_record_is_text_for_people_and_machines() -> None:
    """UTF-8 as it is, one document, a newline at its end, and equal values give equal bytes."""
    content = dump(_given())
    assert content.endswith(b"}\n") and content.count(b"\n") == 1 and "ü".encode() in content
    assert dump(_given()) == content


# At the door


def _refused(kind: type, content: bytes) -> str:
    with pytest.raises(DataError) as found:
        load(kind, content, "given.json")
    text = str(found.value)
    assert text and all(line.startswith("given.json: ") for line in text.splitlines())
    assert len(text.splitlines()) <= 10
    return text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b"not json", b"{}", b'{"at": "now"}', b"<html>", b"\0" * 100],
)
@pytest.mark.parametrize("kind", [Given, CycleResult])
def test_a_foreign_file_is_one_clear_error(kind: type, content: bytes) -> None:
    """Whatever the file is instead, the error is one DataError that names it."""
    _refused(kind, content)


def test_a_truncated_file_is_one_clear_error() -> None:
    """A record cut anywhere is never taken for a whole one."""
    content = dump(_given())
    for end in range(0, len(content) - 2, 37):
        assert "given.json: file: " in _refused(Given, content[:end])


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    """A result that the notebook never wrote is a DataError with the file's name, as is a folder in its place."""
    for read, name in ((read_given, "given.json"), (read_result, "result.json")):
        with pytest.raises(DataError, match=name):
            read(tmp_path)
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match=name):
            read(tmp_path)


def _objects(value: Any, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path to every JSON object below ``value``."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    own = [where] if isinstance(value, dict) else []
    return own + [path for key, child in children for path in _objects(child, (*where, key))]


def _free(path: tuple[str | int, ...], value: object) -> bool:
    """Whether the object at ``path`` is a mapping of a person's own names, not a dataclass."""
    for step in path:
        value = getattr(value, step) if is_dataclass(value) and isinstance(step, str) else value[step]  # type: ignore[index]
    return not is_dataclass(value)


@pytest.mark.parametrize("make", [_given, samples.result, lambda: samples.result("blocked")])
def test_a_field_that_nobody_knows_is_refused_everywhere(make: Callable[[], Given | CycleResult]) -> None:
    """Also deep inside: a record says what is known of, and nothing else."""
    value = make()
    paths = [path for path in _objects(plain(value)) if not _free(path, value)]
    assert len(paths) > 5
    for path in paths:
        document = plain(value)
        place = document
        for step in path:
            place = place[step]
        place["trust_me"] = True
        assert "trust_me" in _refused(type(value), json.dumps(document).encode()), path


@pytest.mark.parametrize("make", [_given, samples.result])
def test_a_missing_field_is_named(make: Callable[[], Given | CycleResult]) -> None:
    """A record without one of its fields is refused with the field's name, unless the field has a default."""
    value = make()
    for field in [f for f in fields(value) if f.default is MISSING]:
        document = plain(value)
        del document[field.name]
        assert f"given.json: {field.name}: " in _refused(type(value), json.dumps(document).encode())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("mode", "reckless"),
        ("at", "yesterday"),
        ("simulated", "perhaps"),
        ("seed", 1.5),
        ("policy", {"a": [1]}),
        ("counts", {"api": {"1h": {"good": "many", "total": 1, "coverage": 1}}}),
        ("ihsan_history", "100"),
    ],
)
def test_a_wrong_value_is_named(name: str, wrong: object) -> None:
    """A value of another kind is refused with the path of its keys."""
    document = {**plain(_given()), name: wrong}
    assert f"given.json: {name}" in _refused(Given, json.dumps(document).encode())


def test_a_kind_of_decision_that_is_none_is_refused() -> None:
    """A notebook cannot invent an ending."""
    document = plain(samples.result())
    document["decision"]["kind"] = "applied_twice"
    assert "decision.kind" in _refused(CycleResult, json.dumps(document).encode())
