"""A policy's JSON with a line for every knob: JSON, in which no knob is written twice.

NaN, which Python reads though JSON has none, passes here and lies in no knob's range.

>>> document = read_json(b'{"batch_size": 8,\\n "llm_retries": 1}')
>>> document.data, document.line(("llm_retries",))
({'batch_size': 8, 'llm_retries': 1}, 2)
"""

from __future__ import annotations

import json
import re
from collections import defaultdict

from node0lib.shell.yaml_lines import MAX_BYTES, Document, KeyPath, Problem

_COLON = re.compile(r"\s*:")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def read_json(content: bytes) -> Document:
    """Return the document that the bytes hold, a flat object; never raises, see ``Document.problems``."""
    if len(content) > MAX_BYTES:
        return _broken(1, f"is larger than {MAX_BYTES >> 20} MiB; a policy is not")
    try:
        text = content.decode("utf-8-sig")
        data = json.loads(text)
    except json.JSONDecodeError as error:
        return _broken(error.lineno, f"is not JSON: {error.msg} at column {error.colno}; correct it here or just above")
    except UnicodeDecodeError as error:
        return _broken(content.count(b"\n", 0, error.start) + 1, "is not UTF-8; save the file as UTF-8")
    except (ValueError, RecursionError):
        return _broken(1, "has a number of thousands of digits or as many brackets; write one flat object of knobs")
    lines, problems = _lines(text)
    return Document(data, lines, problems)


def _lines(text: str) -> tuple[dict[KeyPath, int], tuple[Problem, ...]]:
    """Return the line of every key, and those that are written twice."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for string in _STRING.finditer(text):
        # A string that ends where a colon follows is a key; strings are taken whole, so none begins inside another.
        if _COLON.match(text, string.end()):
            found[json.loads(string[0])].append(text.count("\n", 0, string.start()) + 1)
    twice = [
        Problem(lines[1], (key,), f"is written twice, first in line {lines[0]}; keep one of the two")
        for key, lines in found.items()
        if len(lines) > 1
    ]
    return {(key,): lines[0] for key, lines in found.items()}, tuple(twice)


def _broken(line: int, text: str) -> Document:
    return Document(None, {}, (Problem(line, (), text),))
