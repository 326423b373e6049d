"""A YAML stream of several documents, read as strictly as one, and much faster."""

import pytest

from node0lib.shell.yaml_lines import MAX_DEPTH, parse, parse_all


def test_documents_keep_their_lines() -> None:
    """Each document has the lines of the whole stream; documents of nothing are not there."""
    documents = parse_all(b"# head\na: 1\n---\n---\n# none\n---\nb:\n  - c: 2\n...\n")
    assert [document.data for document in documents] == [{"a": 1}, {"b": [{"c": 2}]}]
    assert [documents[0].line(("a",)), documents[1].line(("b", 0, "c"))] == [2, 8]


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "---", "---\n---\n", "\ufeff"])
def test_nothing_is_no_document(text: str) -> None:
    """A stream without content has no documents and no problems."""
    assert parse_all(text.encode()) == ()


@pytest.mark.parametrize(
    "text",
    [
        "a: on",
        "a: 1:30",
        "a: 1e-3",
        "a: 0x10",
        "a: null",
        "a: ~",
        "a: 2022-01-01",
        "a: 'x'",
        "a: |\n  b\n  c",
        "[1, .inf]",
    ],
)
def test_both_readers_see_the_same_values(text: str) -> None:
    """libyaml's events become the values that PyYAML's own become: the core schema of YAML 1.2."""
    one = parse(text.encode())
    (other,) = parse_all(text.encode())
    assert (other.data, other.lines) == (one.data, one.lines)


@pytest.mark.parametrize(
    ("content", "said"),
    {
        b"a: 1\n---\nb: [": "is not YAML",
        b"a: 1\na: 2": "is written twice, first in line 1",
        b"a: 1\n---\nb: !x c": "has the tag !x",
        b"a: \xff": "is not UTF-8",
        b"a: \x00": "holds a control character",
        b"[" * 100: "nest",
        b"[" * 100_000: "nest",
        b"a: &a [*a]": "through its aliases",
        b"? [a]\n: b": "a key that is no text",
        b"a: &a 1\n---\nb: *a": "undefined alias",
    }.items(),
)
def test_what_is_wrong_is_one_problem(content: bytes, said: str) -> None:
    """A stream that is malformed anywhere has a problem that says what and in which line."""
    problems = [problem for document in parse_all(content) for problem in document.problems]
    assert len(problems) == 1 and said in problems[0].text


def test_depth_is_bounded() -> None:
    """As many levels as are allowed are read, and one more is a problem."""
    deep = b"[" * (MAX_DEPTH - 1) + b"1" + b"]" * (MAX_DEPTH - 1)
    assert parse_all(deep)[0].problems == ()
    assert parse_all(b"[" + deep + b"]")[0].problems


def test_the_limits_hold_for_all_documents_together() -> None:
    """Values are counted over the whole stream, bytes before anything is read."""
    stream = b"---\na: [1, 2]\n" * 5
    assert len(parse_all(stream, max_values=20)) == 5
    (document,) = parse_all(stream, max_values=19)
    assert document.problems[0].text.startswith("expands to more than 19 values")
    assert parse_all(stream, max_bytes=len(stream) - 1)[0].problems[0].text.startswith("is larger than")
    assert parse(b"a: [" + b"1," * 10_000 + b"]").problems  # a configuration file keeps its own
