"""Exported payloads in files, one value at a time: JSON documents, JSON lines, and whatever a paging client wrote.

- A file holds JSON values one after the other, with white space or commas between them or not: one document, a list,
  an event a line, or pages of lists behind each other. Lists are opened, so what comes out are objects.
- It is streamed: what is kept is the piece that is being read and the value in it, never the file.
- What is wrong is told with file and line; a file that was cut short is one clear error.

>>> list(values_in("\\n".join(('[{"id": 1}, {"id": 2}]', '[{"id": 3}]')).splitlines(keepends=True), "pages.json"))
[(1, {'id': 1}), (1, {'id': 2}), (2, {'id': 3})]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from node0lib.dora.sources.payload import Collector, Row, Taken
from node0lib.errors import ConfigError, DataError

_PIECE = 1 << 18
_LONGEST = 64 << 20
"""Characters: a longer value is no payload, and reading on would fill the memory."""
_BLANK = " \t\r\n,"
_CUT = "Unterminated string"


def collected(source: Collector, paths: Sequence[Path]) -> Taken:
    """Give every value of the files to the source, and return what it made of them.

    Raises ConfigError if a file cannot be read, DataError with file and line where one is wrong.
    """
    for path in paths:
        for line, row in payloads(path):
            try:
                source.take(row)
            except DataError as error:
                raise DataError(f"{path}:{line}: {error}") from error
    try:
        return source.taken()
    except DataError as error:
        raise DataError(f"{', '.join(str(path) for path in paths)}: {error}") from error


def payloads(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield every object of a file with its line; raises as ``collected`` does."""
    try:
        file = path.open("r", encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    with file:
        try:
            yield from values_in(iter(lambda: file.read(_PIECE), ""), str(path))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error


def values_in(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Row]]:
    """Yield every object in the text that the pieces make, with its line; raises DataError."""
    scanner = _Scanner(name, iter(pieces))
    while (found := scanner.next()) is not None:
        yield found


class _Scanner:
    """Where the reading is: the text that was not used up, the place in it, its line, and how many lists are open."""

    def __init__(self, name: str, pieces: Iterator[str]) -> None:
        self._name, self._pieces = name, pieces
        self._text, self._at, self._line, self._depth, self._ended = "", 0, 1, 0, False
        self._decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode

    def next(self) -> tuple[int, Row] | None:
        """The next object; None at the end."""
        while True:
            sign = self._sign()
            if sign == "{":
                return self._object()
            if sign == "":
                if self._depth:
                    self._wrong("ends within a list; the file was cut short: fetch it again")
                return None
            if sign not in "[]" or (sign == "]" and not self._depth):
                self._wrong("holds something that is neither an object nor a list of them")
            self._depth += 1 if sign == "[" else -1
            self._at += 1

    def _sign(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            start, length = self._at, len(self._text)
            while self._at < length and self._text[self._at] in _BLANK:
                self._at += 1
            self._line += self._text.count("\n", start, self._at)
            if self._at < length:
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, as much again as is waiting; False at the end of the file."""
        if self._ended:
            return False
        left, new = self._text[self._at :], []
        wanted = max(1, len(left))
        while wanted > 0 and (piece := next(self._pieces, "")):
            new.append(piece)
            wanted -= len(piece)
        self._ended = wanted > 0
        self._text, self._at = left + "".join(new), 0
        return bool(new)

    def _object(self) -> tuple[int, Row]:
        line = self._line
        while True:
            try:
                found, end = self._decode(self._text, self._at)
                break
            except RecursionError:
                self._wrong("is nested too deeply to be a payload")
            except ValueError as error:
                self._read_on(error)
        self._line += self._text.count("\n", self._at, end)
        self._at = end
        return line, found

    def _read_on(self, error: ValueError) -> None:
        """The value may go on in the next piece; raises DataError if it does not, or is wrong anyhow."""
        waiting = len(self._text) - self._at
        # A value that was cut is found wrong at the end of the text, or in the string that it ends in.
        told = error if isinstance(error, json.JSONDecodeError) else None
        cut = told is not None and (told.msg.startswith(_CUT) or told.pos >= len(self._text) - 16)
        if waiting > _LONGEST:
            self._wrong(f"has a value of more than {_LONGEST:,} characters, which is no payload")
        if not cut:
            self._line += self._text.count("\n", self._at, told.pos if told else self._at)
            self._wrong(f"is not JSON ({error})")
        if not self._more():
            self._wrong("ends in the middle of a value; the file was cut short: fetch it again")

    def _wrong(self, text: str) -> NoReturn:
        raise DataError(f"{self._name}:{self._line}: {text}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
