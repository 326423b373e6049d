"""Whatever is written, reading it ends in settings or in one ConfigError, never in anything else."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node0lib.errors import ConfigError
from node0lib.optimize.knobs import KNOBS, POLICY_EXAMPLE, Knob, changed, check_policy, kinds
from node0lib.shell.config import load
from node0lib.shell.policy_file import read_json
from node0lib.shell.yaml_lines import Document, parse

SHIPPED = Path(__file__).parents[2] / "configs"
SLO = parse((SHIPPED / "slo.yaml").read_bytes()).data
NODE = parse((SHIPPED / "node0.yaml").read_bytes()).data
IHSAN = parse((SHIPPED / "ihsan.yaml").read_bytes()).data
MISTAKE = re.compile(r"configs/(node0|slo|ihsan)\.yaml:[1-9][0-9]*: \S.*|configs/alpha\.policy\.json:[1-9][0-9]*: \S.*")
few = settings(max_examples=60, deadline=None)
many = settings(max_examples=150, deadline=None)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**18, 10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["5m", "0s", "1h", "30d", "9" * 40 + "w", "25%", "-1%", "101%", "ratio", "invariant", "$window", "٣m"]
    ),
    st.sampled_from(
        ["../x", "/", "\0", "a" * 5000, "~", "http://[", "http://a:99999", "http://ü.\u2603:1", "slo.yaml"]
    ),
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=5), v, max_size=2), max_leaves=4
)


def paths(data: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every path of keys below ``data``."""
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in below:
        yield (*path, key)
        yield from paths(value, (*path, key))


def mutated(data: Any, path: tuple[str | int, ...], how: str, value: object) -> Any:
    """A copy of ``data`` with one value dropped, replaced, or joined by an unknown key."""
    head, *rest = path
    copy = data.copy()
    if rest:
        copy[head] = mutated(data[head], tuple(rest), how, value)
    elif how == "drop":
        del copy[head]
    elif how == "replace" or isinstance(copy, list):
        copy[head] = value
    else:
        copy[str(value)] = copy[head]
    return copy


@st.composite
def mutations(draw: st.DrawFn, data: object) -> object:
    """``data`` after one to three mutations."""
    for _ in range(draw(st.integers(1, 3))):
        known = list(paths(data))
        if known:
            how = draw(st.sampled_from(["drop", "replace", "replace", "add"]))
            data = mutated(data, draw(st.sampled_from(known)), how, draw(values))
    return data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shipped configuration in a folder of its own, which is the current one."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "configs").mkdir()
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "production_cycle.ipynb").write_text("{}", encoding="utf-8")
    (folder / "constraints.txt").write_text("", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def loads_or_says_why(place: Path, **files: object) -> None:
    """Write the shipped files, some of them changed; load them, or check every line of the error."""
    for stem in ("node0", "slo", "ihsan"):
        content = (SHIPPED / f"{stem}.yaml").read_bytes()
        (place / "configs" / f"{stem}.yaml").write_bytes(content)
    (place / "configs" / "alpha.policy.json").write_bytes((SHIPPED / "alpha.policy.json").read_bytes())
    for stem, data in files.items():
        name = "alpha.policy.json" if stem == "policy" else f"{stem}.yaml"
        content = (
            data if isinstance(data, bytes) else yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "replace")
        )
        (place / "configs" / name).write_bytes(content)
    try:
        load(place / "configs" / "node0.yaml")
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert MISTAKE.fullmatch(line), line


@many
@given(data=mutations(SLO))
def test_any_mutation_of_slo_yaml_loads_or_is_a_config_error(place: Path, data: object) -> None:
    """Dropping, replacing or adding values ends in settings or in lines with file, line and sentence."""
    loads_or_says_why(place, slo=data)


@many
@given(data=mutations(NODE), ihsan=mutations(IHSAN))
def test_any_mutation_of_the_other_files_loads_or_is_a_config_error(place: Path, data: object, ihsan: object) -> None:
    """The same holds for node0.yaml and ihsan.yaml, both changed at once."""
    loads_or_says_why(place, node0=data, ihsan=ihsan)


@few
@given(data=mutations(dict(POLICY_EXAMPLE)))
def test_any_mutation_of_the_policy_loads_or_is_a_config_error(place: Path, data: object) -> None:
    """The same holds for the policy, NaN and infinity included."""
    loads_or_says_why(place, policy=json.dumps(data).encode())


@few
@given(seed=st.integers(0, 2**32), size=st.integers(1, 3), filler=st.binary(max_size=3))
def test_any_corruption_of_the_bytes_loads_or_is_a_config_error(
    place: Path, seed: int, size: int, filler: bytes
) -> None:
    """A few bytes overwritten anywhere in slo.yaml never end in another exception."""
    content = (SHIPPED / "slo.yaml").read_bytes()
    at = seed % len(content)
    loads_or_says_why(place, slo=content[:at] + filler + content[at + size :])


@many
@given(content=st.binary(max_size=60) | st.text("ab:-[]{}&*!?|>'\"%@#,\n \t\\Ux0.~<=", max_size=60).map(str.encode))
@example(b'"\\xd8"')
@example(b"%TAG ! tag:yaml.org,2002:python/\n--- !object/apply:os.system []")
@example(b"a: !!float x\nb: !!bool maybe\nc: !!int ''\nd: !!binary eA==\ne: !!set {}")
def test_any_bytes_are_a_document(content: bytes) -> None:
    """The reader of YAML never raises; what it cannot read is a problem with a line of the file."""
    document = parse(content)
    assert document.data is not None or document.problems or document == Document(None, document.lines)
    assert all(1 <= problem.line <= content.count(b"\n") + content.count(b"\r") + 2 for problem in document.problems)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=5), v, max_size=2),
    max_leaves=6,
)


@few
@given(data=st.dictionaries(st.text(max_size=8), plain, min_size=1, max_size=3))
@example({"on": "no", "a": ["~", "1:30", "2026-01-01", "0x1f", "1_000", "=", "<<", "\x85", "\u2028", ""]})
def test_what_pyyaml_writes_is_read_alike(data: dict[str, object]) -> None:
    """Plain values survive the way through YAML text, and every path of keys has a line."""
    document = parse(yaml.safe_dump(data).encode())
    assert document.problems == () and document.data == data
    assert set(paths(data)) <= set(document.lines)


@few
@given(content=st.binary(max_size=40) | st.text('{}[]:",0123456789eE.-+\\u \n', max_size=40).map(str.encode))
def test_any_bytes_are_a_policy_document(content: bytes) -> None:
    """The reader of JSON never raises either."""
    document = read_json(content)
    assert document.data is not None or document.problems or content.strip() == b"null"


@st.composite
def policies(draw: st.DrawFn) -> dict[str, object]:
    """A policy that is right."""
    return {knob.name: draw(_allowed(knob)) for knob in KNOBS}


def _allowed(knob: Knob) -> st.SearchStrategy[object]:
    if knob.choices:
        return st.sampled_from(knob.choices)
    if knob.type is int:
        return st.integers(int(knob.low), int(knob.high))
    return st.floats(knob.low, knob.high)


@few
@given(before=policies(), after=policies())
def test_policies_in_range_pass_and_survive_json(before: dict, after: dict) -> None:
    """What is in range is a policy, again after a way through JSON; what changed has a kind, and only that."""
    first, second = check_policy(before, "x"), check_policy(after, "x")
    assert check_policy(json.loads(json.dumps(first)), "x") == first
    assert all(first[name] != second[name] for name in changed(first, second))
    assert bool(changed(first, second)) == (first != second) == bool(kinds(first, second))
    assert changed(first, second) == changed(second, first)


@few
@given(policy=policies(), knob=st.sampled_from(KNOBS), value=values)
def test_a_policy_never_holds_what_its_knob_does_not_admit(policy: dict, knob: Knob, value: object) -> None:
    """Any value at any knob is either admitted, of the right type and in range, or refused."""
    try:
        found = check_policy({**policy, knob.name: value}, "x")[knob.name]
    except ConfigError as error:
        assert str(error).startswith(f"x: {knob.name}: ")
        return
    assert type(found) is knob.type
    assert found in knob.choices if knob.choices else math.isfinite(found) and knob.low <= found <= knob.high
