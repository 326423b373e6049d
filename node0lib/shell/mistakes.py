"""Every mistake of every file at once, each with file, line and path of keys, in words of the person who wrote it.

``Mistakes`` collects while files are read; ``raise_if_any`` ends the reading. A value is validated by a flat pydantic
model; its errors become sentences by a table. A value whose key names a secret (``*_env``, ``url``) is never repeated.

>>> from node0lib.shell.yaml_lines import parse
>>> mistakes = Mistakes()
>>> source = mistakes.source(parse(b"slos:\\n- name: api\\n  objective: 1.2\\n"), "slo.yaml")
>>> mistakes.add(source, ("slos", 0, "objective"), "1.2 must lie strictly between 0 and 1; write 99.9% as 0.999")
>>> mistakes.raise_if_any()
Traceback (most recent call last):
...
node0lib.errors.ConfigError: slo.yaml:3: slos.api.objective: 1.2 must lie strictly between 0 and 1; write 99.9% as 0.999
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from node0lib.errors import ConfigError
from node0lib.shell.yaml_lines import Document, KeyPath, parse

M = TypeVar("M", bound=BaseModel)
_NAMES = ("name", "control")


@dataclass(frozen=True)
class Source:
    """A file as it was read: how it is called in messages, what it holds, and the how many-th it is."""

    shown: str
    document: Document
    number: int


class Mistakes:
    """What is wrong so far; files come in the order of their reading, lines in the order of the file."""

    def __init__(self) -> None:
        self._found: set[tuple[int, int, str]] = set()
        self._sources = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def source(self, document: Document, shown: str) -> Source:
        """Return the document as a source, after noting what is wrong with its text."""
        self._sources += 1
        source = Source(shown, document, self._sources)
        for problem in document.problems:
            self._note(source, problem.line, problem.path, problem.text)
        return source

    def add(self, source: Source, path: KeyPath, text: str) -> None:
        """Note a mistake at a path of keys."""
        document = source.document
        lost = any(p.path == path for p in document.problems) and document.at(path) is None
        if not lost:  # its problem has been told, and there is no value to say more of
            self._note(source, document.line(path), path, text)

    def _note(self, source: Source, line: int, path: KeyPath, text: str) -> None:
        where = f"{source.shown}:{line}: "
        name = spelled(path, source.document)
        self._found.add((source.number, line, where + (f"{name}: {text}" if name else text)))

    def raise_if_any(self) -> None:
        """Raise one ConfigError with a line for each mistake, if there are any."""
        if self._found:
            raise ConfigError("\n".join(text for _, _, text in sorted(self._found)))

    def parsed(self, source: Source, path: KeyPath, model: type[M]) -> M | None:
        """Return the value at ``path`` as a model; None, and notes, if it is wrong.

        A section that is not there is its defaults; None without a note if it has none: what lacks it, says so.
        """
        there = not path or path in source.document.lines
        data = source.document.at(path) if there else {}
        if not isinstance(data, Mapping):
            self.add(source, path, f"{shown(data)} is not a mapping of keys; indent the keys below it, or remove it")
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False) if there else ():
                self._translate(source, path, model, detail)
            return None

    def _translate(self, source: Source, path: KeyPath, model: type[BaseModel], detail: ErrorDetails) -> None:
        loc = tuple(part for part in detail["loc"] if part != "[key]")
        field = str(loc[0]) if loc else ""
        if detail["type"] == "extra_forbidden":
            text = unknown_key(field, (one.alias or name for name, one in model.model_fields.items()))
        elif detail["type"] == "missing":
            text = f"is missing; {_example(model, field)}"
        else:
            text = sentence(detail, secret=_is_secret(field))
        self.add(source, (*path, *loc), text)


def content_of(path: Path, what: str) -> bytes:
    """Return the bytes of a file that a person named; raises ConfigError, saying ``what`` ("a policy file") to name."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name {what}") from error


def opened(content: bytes, shown: str) -> tuple[Mistakes, Source]:
    """Return YAML bytes as a source that can be looked into; raises ConfigError if there is no document at all."""
    mistakes = Mistakes()
    source = mistakes.source(parse(content), shown)
    if source.document.unreadable:
        mistakes.raise_if_any()
    return mistakes, source


def spelled(path: KeyPath, document: Document) -> str:
    """Return a path as people say it: ``slos.api.objective``, ``alerting.pairs[0].short``; items by name if unique."""
    words = ""
    for n, key in enumerate(path):
        if isinstance(key, str):
            told = key if key.isprintable() else ascii(key)  # a line break would make two lines of one mistake
            words += f".{told}" if words else told
        else:
            name = _name_of(document.at(path[:n]), key)
            words += f".{name}" if name else f"[{key}]"
    return words


def _name_of(items: object, index: int) -> str | None:
    """Return the name of a list's item, unless it has none or shares it."""
    if not isinstance(items, list) or index >= len(items):
        return None
    names = [next((str(i[n]) for n in _NAMES if isinstance(i, Mapping) and i.get(n)), None) for i in items]
    name = names[index]
    return name if name and names.count(name) == 1 and re.fullmatch(r"[\w-]{1,63}", name) else None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return what to say of a key that nobody knows."""
    return f"is no key here; {nearest(key, known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a suggestion: the known word that is most like it, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(words)}"


def shown(value: object) -> str:
    """Return a value as it may have been written, shortened."""
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{value:g}".replace("inf", ".inf")
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _is_secret(field: str) -> bool:
    return field.endswith("_env") or field == "url"


def _example(model: type[BaseModel], field: str) -> str:
    info = model.model_fields.get(field)
    example = info.examples[0] if info and info.examples else "…"
    return f"add for example {field}: {example}"


def _chosen(value: str, context: Mapping[str, Any]) -> str:
    known = re.findall(r"'([^']*)'", context["expected"])
    words = nearest(value, known)
    return f"{value} is not one of {', '.join(known)}" + (f"; {words}" if words.startswith("did") else "; choose one")


_Sentence = Callable[[str, Mapping[str, Any]], str]
_SENTENCES: Mapping[str, _Sentence] = {
    "bool_type": lambda v, c: f"{v} is neither true nor false; write one of them, without quotes",
    "int_type": lambda v, c: f"{v} is not a whole number; write one without quotes and without a point",
    "int_from_float": lambda v, c: f"{v} is not a whole number; write one without a point",
    "float_type": lambda v, c: f"{v} is not a number; write for example 0.5, without quotes",
    "finite_number": lambda v, c: f"{v} is not a finite number; write for example 0.5",
    "string_type": lambda v, c: f"{v} is not text; write text, in quotes if it looks like a number",
    "list_type": lambda v, c: f"{v} is not a list; write [a, b] or one item a line, each after a dash",
    "dict_type": lambda v, c: f"{v} is not a mapping of keys; indent the keys below it, or remove it",
    "string_too_short": lambda v, c: "is empty; write something, or remove the key",
    "string_too_long": lambda v, c: f"is longer than {c['max_length']} characters; shorten it",
    "too_short": lambda v, c: f"has too few items; write at least {c['min_length']}",
    "too_long": lambda v, c: f"has too many items; write at most {c['max_length']}",
    "greater_than": lambda v, c: f"{v} must be more than {c['gt']:g}",
    "greater_than_equal": lambda v, c: f"{v} must be at least {c['ge']:g}",
    "less_than": lambda v, c: f"{v} must be less than {c['lt']:g}",
    "less_than_equal": lambda v, c: f"{v} must be at most {c['le']:g}",
    "literal_error": _chosen,
    "value_error": lambda v, c: str(c["error"]).replace("{value}", v),
}
"""What pydantic's errors are called here; ``value_error`` carries a sentence of node0's own."""


def sentence(detail: ErrorDetails, *, secret: bool = False) -> str:
    """Return a pydantic error as a sentence that says what is wrong and what to do."""
    value = "what is written there" if secret else shown(detail["input"])
    make = _SENTENCES.get(detail["type"])
    return make(value, detail.get("ctx", {})) if make else f"{value}: {detail['msg']}"
