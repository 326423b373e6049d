"""JSON into plain values, with a line for every path of keys: the same ``Document`` that YAML becomes.

Rules
- UTF-8, strict JSON, except that NaN is read: whoever asks may refuse it. Infinities are not.
- A key that is written twice is a problem. Scalars in lists have the line of their list: there may be a million.

Source: RFC 8259.

>>> document = parse_json(b'{"metrics": [\\n {"name": "cpu",\\n  "margin": 1.05}]}', "input.json")
>>> document.line(("metrics", 0, "margin")), document.at(("metrics", 0, "name"))
(3, 'cpu')
>>> parse_json(b'{"a": 1, "a": 2}', "input.json").problems[0].text
'is written twice; keep one of the two'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from node0lib.errors import ConfigError
from node0lib.shell.yaml_lines import Document, KeyPath, Problem

MAX_BYTES = 64 << 20
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


def parse_json(content: bytes, shown: str) -> Document:
    """Return the values and their lines; raises ConfigError, with the line, for bytes that are not JSON."""
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{shown}: has {len(content):,} bytes; node0 reads {MAX_BYTES:,} at most")
    try:
        text = content.decode("utf-8-sig")
        data = json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        where = f"{shown}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else shown
        told = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise ConfigError(f"{where}: is not JSON ({told}); correct it there") from error
    lines: dict[KeyPath, int] = {}
    problems = []
    for path, line in _located(text):
        if path in lines:
            problems.append(Problem(line, path, "is written twice; keep one of the two"))
        lines[path] = line
    return Document(data, lines, tuple(problems))


def _constant(word: str) -> float:
    if word == "NaN":
        return float("nan")
    _refuse(word)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _located(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Yield each key and each container in a list with its line; ``text`` is known to be JSON."""
    line, path, opened, key = 1, [], [], None  # type: int, list[str | int], list[str], str | None
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n":
            line += 1
        elif token in "{[":
            if opened and opened[-1] == "[":
                yield tuple(path), line
            opened.append(token)
            path.append(0 if token == "[" else "")
        elif token in "}]":
            opened.pop()
            path.pop()
        elif token == "," and opened[-1] == "[":
            path[-1] = _next(path[-1])
        elif token == ":" and key is not None:
            path[-1] = json.loads(key)
            yield tuple(path), line
        key = token if token[0] == '"' else None


def _next(index: str | int) -> int:
    return int(index) + 1
