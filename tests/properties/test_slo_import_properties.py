"""Whatever the bytes are, an import gives objectives with an account, or one clear error."""

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import read_catalogue
from node0lib.shell.mistakes import Mistakes
from node0lib.shell.spec_files import Content, read_specs
from node0lib.shell.yaml_lines import dump_all, parse
from node0lib.slo.formats.account import node0_name
from node0lib.slo.formats.catalogue_text import document, item, scalar
from node0lib.slo.formats.openslo_export import export_slo
from node0lib.slo.formats.promql import counted
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar

DATA = Path(__file__).parent.parent / "data"
FILES = sorted(path for folder in ("openslo", "pyrra", "sloth/validate") for path in (DATA / folder).rglob("*.yaml"))
OBJECTS: list[Any] = [found for path in FILES for found in yaml.safe_load_all(path.read_text("utf-8"))]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["{{.window}}", "sum(rate(x[{{.window}}]))", "1m", "30d", "openslo/v1", "SLO", "SLI", "a-b", "0"]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
TEXTS = st.text(max_size=60).filter(lambda text: text == text.strip())


def _clear(content: bytes) -> None:
    """Reading the bytes gives objectives that a catalogue takes, or an error that begins with the file's name."""
    try:
        read = read_specs([Content("any.yml", content)], timedelta(days=30))
    except ConfigError as error:
        assert str(error).startswith("any.yml"), str(error)
        return
    assert all((slo.objective is None) == bool(slo.refusals) for slo in read.slos)
    if read.objectives:
        mistakes = Mistakes()
        catalogue = read_catalogue(mistakes, mistakes.source(parse(document(read.items(), "x").encode()), "x"), ())
        mistakes.raise_if_any()
        assert tuple(slo for _, slo in catalogue.slos) == read.objectives


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfversion: prometheus/v1")
def test_any_bytes(content: bytes) -> None:
    """Arbitrary bytes never raise anything but a ConfigError."""
    _clear(content)


@given(st.text(alphabet="version: prometheus/v1\n-[]{}&*!|>'\"#,kindSLOapi", max_size=120))
def test_any_yaml_like_text(text: str) -> None:
    """Text that looks like YAML never raises anything but a ConfigError."""
    _clear(text.encode("utf-8", "replace"))


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [p for key, value in pairs for p in ((*path, key), *_places(value, (*path, key)))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_mutated_document(data: st.DataObject) -> None:
    """An official example with a value changed, taken away or moved is read or refused, and nothing else."""
    found = copy.deepcopy(data.draw(st.sampled_from(OBJECTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        places = _places(found)
        if not places:
            break
        *above, last = data.draw(st.sampled_from(places))
        parent = found
        for key in above:
            parent = parent[key]
        if data.draw(st.booleans()):
            parent[last] = data.draw(ODD)
        else:
            del parent[last]
    _clear(yaml.safe_dump(found, allow_unicode=True).encode("utf-8", "replace"))


@given(st.text(alphabet="ratesumincrease(){}[]$window{.}+-*/\"'`#abc,= \n5m", max_size=60))
@example("sum(rate(x[{{.window}}]))")
def test_any_query(text: str) -> None:
    """A query is counted, and then counting it again changes nothing, or refused with a reason."""
    for counter in (False, True):
        try:
            query = counted(text, counter=counter)
        except ConfigError:
            continue
        assert "$window" in query and counted(query) == query


@given(TEXTS)
@example("a: b")
@example("x\u2028y\ufeff\x85")
@example("null")
@example("\ud800")
def test_any_text_is_written_so_that_it_reads_back(text: str) -> None:
    """Every text reads back from YAML as it was, but for half of a surrogate pair, which is no character."""
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert parse(f"a: {scalar(text)}\n".encode()).data == {"a": expected}


@given(st.text(max_size=100))
def test_any_name_becomes_one_of_node0s(text: str) -> None:
    """A name has node0's grammar, and one that has it already stays."""
    name = node0_name(text)
    assert name == node0_name(name) and name.isascii() and len(name) <= 63 and name[0].isalpha()


NAMES = st.from_regex(r"[a-z](?:[a-z0-9_]{0,20}[a-z0-9])?", fullmatch=True)
LENGTHS = st.integers(1, 100_000).map(lambda minutes: timedelta(minutes=minutes))
CALENDARS = st.builds(Calendar, st.sampled_from(["week", "month", "quarter", "year"]), st.just("Europe/Berlin"))
QUERIES = {"good": 'sum(increase(n{code!~"5.."}[$window]))', "total": "sum(increase(n[$window]))"}


@st.composite
def _objectives(draw: st.DrawFn) -> Objective:
    calendar = draw(st.none() | CALENDARS)
    window = calendar.nominal if calendar else draw(LENGTHS)
    share = draw(st.floats(1e-9, 1, exclude_max=True))
    description = " ".join(draw(st.text(max_size=40)).encode("utf-8", "replace").decode().split())
    return Objective(draw(NAMES), "ratio", share, window, description, queries=QUERIES, calendar=calendar)


@given(_objectives())
def test_any_ratio_is_written_and_read_back(slo: Objective) -> None:
    """What an objective is written as in slo.yaml reads back as the same objective."""
    mistakes = Mistakes()
    source = mistakes.source(parse(document([item(slo, "somewhere: #1")], "heading").encode()), "slo.yaml")
    catalogue = read_catalogue(mistakes, source, ())
    mistakes.raise_if_any()
    assert catalogue.catalogue.slos == (slo,)


@given(_objectives())
@example(Objective("a", "ratio", 0.5, timedelta(minutes=1), "0E0", queries=QUERIES))
def test_any_ratio_comes_back_from_openslo(slo: Objective) -> None:
    """Export and import together change nothing."""
    exported = export_slo(slo, "web")
    assert exported.document is not None
    text = dump_all([exported.document])
    (back,) = read_specs([Content("out.yml", text.encode())]).objectives
    assert back == slo


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_examples_themselves(path: Path) -> None:
    """Unchanged examples are read or refused as well."""
    _clear(path.read_bytes())
