"""YAML into plain values, with a line for every path of keys.

Promises: whatever the bytes are, the answer is a ``Document``; what is wrong with them is in its ``problems``.

Rules
- UTF-8, with or without a byte order mark, any line ends. One document; ``parse_all`` takes several, and by libyaml,
  which reads ten times as fast.
- The core schema of YAML 1.2: true and false are booleans, ``on``, ``no`` and dates are text, 1e-3 is a number.
  (PyYAML follows 1.1, where ``on:`` is the key True and 1:30 is 90.) Keys are always text.
- A key written twice, a tag, a key that is no text, nesting beyond 40 levels, and aliases that expand to more than
  10,000 values are problems, not surprises.

Source: YAML 1.2.2, section 10.3. Composed by PyYAML's SafeLoader, which builds nodes and no objects.

>>> document = parse(b"slos:\\n  - name: api\\n    objective: 0.999\\n")
>>> document.data, document.line(("slos", 0, "objective"))
({'slos': [{'name': 'api', 'objective': 0.999}]}, 3)
>>> parse(b"a: 1\\na: 2\\n").problems
(Problem(line=2, path=('a',), text='is written twice, first in line 1; keep one of the two'),)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer

KeyPath = tuple[str | int, ...]
MAX_DEPTH = 40
MAX_VALUES = 10_000
MAX_BYTES = 1 << 20
_MAX_DIGITS = 18
_Nodes = tuple[yaml.Node, ...]
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Problem:
    """What is wrong with the text itself, and what to do about it."""

    line: int
    path: KeyPath
    text: str


@dataclass(frozen=True)
class Document:
    """Plain values (dict, list, str, int, float, bool, None) and the line, from 1, of each path of keys."""

    data: object
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def unreadable(self) -> bool:
        """Whether there is no data to look at, and a problem that says why."""
        return self.data is None and bool(self.problems)

    def line(self, path: KeyPath) -> int:
        """Return the line of a path, or of the nearest part of it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def at(self, path: KeyPath) -> object:
        """Return the value at a path; None where there is none."""
        found: Any = self.data
        for key in path:
            if isinstance(found, Mapping) and isinstance(key, str):
                found = found.get(key)
            elif isinstance(found, list) and isinstance(key, int) and 0 <= key < len(found):
                found = found[key]
            else:
                return None
        return found


def parse(content: bytes) -> Document:
    """Return the document that the bytes hold; never raises, see ``Document.problems``."""
    if len(content) > MAX_BYTES:
        return _broken(1, f"is larger than {MAX_BYTES >> 20} MiB; a configuration file is not")
    text = _decoded(content)
    if isinstance(text, Document):
        return text
    nodes = _nodes(lambda: tuple(filter(None, (_Loader(text).get_single_node(),))), text)
    if isinstance(nodes, Document):
        return nodes
    if not nodes:
        return _broken(1, "is empty; it must hold a mapping of keys")
    return _Walk().document(nodes[0])


def parse_all(content: bytes, *, max_bytes: int = MAX_BYTES, max_values: int = MAX_VALUES) -> tuple[Document, ...]:
    """Return the documents that the bytes hold, without the empty ones, ``max_values`` in all of them together.

    Never raises. Where the text itself is malformed there is one document with the problem, and none besides it.

    >>> [document.data for document in parse_all(b"a: 1\\n---\\n---\\nb: 2\\n")]
    [{'a': 1}, {'b': 2}]
    """
    if len(content) > max_bytes:
        return (_broken(1, f"is larger than {max_bytes / 2**20:g} MiB; split the file"),)
    text = _decoded(content)
    if isinstance(text, Document):
        return (text,)
    nodes = _nodes(lambda: tuple(_every(_Stream(text))), text)
    if isinstance(nodes, Document):
        return (nodes,)
    found, left = [], max_values
    for node in nodes:
        walk = _Walk(left, max_values)
        found.append(walk.document(node))
        if found[-1].data is None and walk.ended:
            return (found[-1],)
        left -= walk.count
    return tuple(document for document in found if document.data is not None or document.problems)


def dump_all(documents: Iterable[object]) -> str:
    """Return a stream of plain values, in the order of their keys, that every reader of YAML reads back as it was.

    >>> print(dump_all([{"b": "0E0", "a": "yes"}]), end="")
    ---
    b: '0E0'
    a: 'yes'
    """
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 10**9, "default_flow_style": False}
    return str(yaml.dump_all(documents, Dumper=_Dumper, explicit_start=True, **style))


def _decoded(content: bytes) -> str | Document:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _broken(line, f"is not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8")


def _nodes(compose: Callable[[], _Nodes], text: str) -> _Nodes | Document:
    """What PyYAML composes, or the document that says why it cannot."""
    try:
        return compose()
    except yaml.MarkedYAMLError as error:
        return _malformed(error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _broken(line, "holds a control character; remove it")
    except (ValueError, OverflowError):
        # An escape such as "\UFFFFFFFF", or a %YAML directive with too many digits: PyYAML does not catch these itself.
        return _broken(1, "is malformed: it holds an escape or a number that no character or version has")


def _every(loader: _Stream | _Loader) -> Iterator[yaml.Node]:
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


class _Bounded(Composer):
    """Composes nodes; its plain scalars are those of the core schema, its nesting is bounded."""

    # PyYAML copies this table from the class it finds it on; an empty one keeps YAML 1.1 out.
    yaml_implicit_resolvers: dict[Any, list[tuple[str, re.Pattern[str]]]] = {}
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.peek_event().start_mark)  # type: ignore[attr-defined]
        composed = super().compose_node(parent, index)
        self._depth -= 1
        return composed


class _Loader(_Bounded, yaml.SafeLoader):
    """One document, in PyYAML's own words where it is malformed."""


_Libyaml: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Stream(_Bounded, _Libyaml):  # type: ignore[misc]
    """Documents whose events come from libyaml, composed here: libyaml's own composer knows no bound of nesting."""

    def __init__(self, text: str) -> None:
        _Libyaml.__init__(self, text)
        Composer.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Quotes what is text and would be read as something else by YAML 1.1 or by the core schema."""


_CORE = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
for _name, _pattern in _CORE.items():
    for _kind in (_Loader, _Stream, _Dumper):
        _kind.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS + 1:
        raise ValueError("too many digits")
    return int(text)


_SCALARS: Mapping[str, Callable[[str], object]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _TAG + "int": _integer,
    _TAG + "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    _TAG + "str": str,
}


class _TooMany(Exception):
    """The aliases expand beyond every measure; carries the line."""


class _Walk:
    """Turns nodes into values, remembering lines and problems; aliases are expanded here, and counted."""

    def __init__(self, limit: int = MAX_VALUES, told: int = MAX_VALUES) -> None:
        self._lines: dict[KeyPath, int] = {}
        self._problems: list[Problem] = []
        self._limit, self._told = limit, told
        self.count, self.ended = 0, False

    def document(self, node: yaml.Node) -> Document:
        try:
            data = self._value(node, ())
        except _TooMany as error:
            self.ended = True
            size = f"{self._told:,} values or {MAX_DEPTH} levels"
            return _broken(int(str(error)), f"expands to more than {size} through its aliases; write them out")
        return Document(data, self._lines, tuple(self._problems))

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        line = node.start_mark.line + 1
        self.count += 1
        if self.count > self._limit or len(path) > MAX_DEPTH:
            raise _TooMany(line)
        self._lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(item, (*path, n)) for n, item in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._problems.append(Problem(line, path, "has a key that is no text; keys are plain words"))
                continue
            name = (*path, _legible(key.value))
            if name in self._lines:
                text = f"is written twice, first in line {self._lines[name]}; keep one of the two"
                self._problems.append(Problem(line, name, text))
                continue
            self._lines[name] = line
            found[_legible(key.value)] = self._value(value, name)
        return found

    def _scalar(self, node: yaml.Node, path: KeyPath, line: int) -> object:
        make = _SCALARS.get(node.tag) if isinstance(node, yaml.ScalarNode) else None
        if make is None:
            tag = _legible(node.tag.replace(_TAG, "!!"))[:60]
            self._problems.append(Problem(line, path, f"has the tag {tag}; tags are not allowed, write a plain value"))
            return None
        try:
            if node.value != _legible(node.value):
                raise ValueError("half of a surrogate pair")
            return make(node.value)
        except (ValueError, KeyError):
            text = f"{_legible(node.value)[:40]!r} cannot be read as {node.tag.removeprefix(_TAG)}; write a plain value"
            self._problems.append(Problem(line, path, text))
            return None


def _legible(text: str) -> str:
    """Return the text as UTF-8 can hold it: an escape may have smuggled in half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _broken(line: int, text: str) -> Document:
    return Document(None, {}, (Problem(line, (), text),))


def _malformed(error: yaml.MarkedYAMLError) -> Document:
    """The problem in PyYAML's own words, at the place it is noticed, and where what it belongs to began."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    begun = error.context_mark if error.context else None
    context = f", {error.context} begun in line {begun.line + 1}" if begun else ""
    text = f"is not YAML: {_legible(error.problem or str(error.context))} at column {column}{context}"
    return _broken(line, text + "; correct it here or just above")
