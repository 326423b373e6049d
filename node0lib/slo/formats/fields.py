"""Parsed data is read strictly: every key is asked for by name, and what nobody asked for is a mistake.

Promises: a reader never raises; what is malformed becomes a ``Mistake`` with the place where it stands, and all of
them are told together. An empty value (``alertPolicies:`` and nothing after it) is as good as none, as in Kubernetes.

A ``Place`` names the how-many-th of the documents that were given and the path of keys in it; who opened the files
knows which file and line that is.

>>> mistakes: list[Mistake] = []
>>> fields = Fields({"name": "api", "objectiv": 99}, Place(0), mistakes)
>>> fields.text("name", needed=True), fields.number("objective")
('api', None)
>>> fields.close()
>>> mistakes
[Mistake(place=Place(document=0, path=('objectiv',)), text='is no key here; did you mean objective?', other=None)]
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands: the document, counted from 0 over all that were given, and the path of keys in it."""

    document: int
    path: KeyPath = ()

    def below(self, *keys: str | int) -> Place:
        """Return the place of a key, or of a key of a key, of the mapping here."""
        return Place(self.document, (*self.path, *keys))


@dataclass(frozen=True)
class Mistake:
    """What is malformed, where, and what to do about it; ``other`` is the first place of what is there twice."""

    place: Place
    text: str
    other: Place | None = None


class Fields:
    """One mapping. Each method asks for one key; None where there is none, or where it is not what it should be."""

    def __init__(self, data: Mapping[str, object], place: Place, mistakes: list[Mistake]) -> None:
        self.place = place
        self._data, self._mistakes = data, mistakes
        self._asked: list[str] = []

    def wrong(self, text: str, *keys: str | int) -> None:
        """Note a mistake at a key, or at the mapping itself."""
        self._mistakes.append(Mistake(self.place.below(*keys), text))

    def written(self) -> tuple[str, ...]:
        """Return every key that is there; asks nothing."""
        return tuple(self._data)

    def has(self, key: str) -> bool:
        """Return whether the key has a value; asks nothing."""
        return self._data.get(key) is not None

    def anything(self, key: str, *, needed: str = "") -> object:
        """Return whatever stands there; if nothing does, a mistake that shows ``needed`` as an example."""
        self._asked.append(key)
        found = self._data.get(key)
        if found is None and needed:
            self.wrong(f"is missing; add for example {key}: {needed}", key)
        return found

    def text(self, key: str, *, needed: str = "", known: Sequence[str] = ()) -> str | None:
        """Return a text that is not empty and, where there are any, one of the known."""
        found = self.anything(key, needed=needed)
        if found is None:
            return None
        if not isinstance(found, str):
            self.wrong(f"{shown(found)} is not text; write text, in quotes if it looks like a number", key)
            return None
        if not found.strip():
            self.wrong("is empty; write something, or remove the key", key)
            return None
        if known and found not in known:
            self.wrong(f"{shown(found)} is not one of {', '.join(known)}{_hint(found, known)}", key)
            return None
        return found

    def number(self, key: str, *, needed: str = "") -> float | None:
        """Return a finite number."""
        found = self.anything(key, needed=needed)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            self.wrong(f"{shown(found)} is not a finite number; write for example 0.5, without quotes", key)
            return None
        return float(found)

    def flag(self, key: str) -> bool | None:
        """Return true or false."""
        found = self.anything(key)
        if found is None or isinstance(found, bool):
            return found
        self.wrong(f"{shown(found)} is neither true nor false; write one of them, without quotes", key)
        return None

    def mapping(self, key: str, *, needed: str = "") -> Fields | None:
        """Return the reader of a mapping; who takes it closes it."""
        found = self.anything(key, needed=needed)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            self.wrong(f"{shown(found)} is not a mapping of keys; indent the keys below it", key)
            return None
        return Fields(found, self.place.below(key), self._mistakes)

    def items(self, key: str, *, needed: str = "") -> list[Fields]:
        """Return a reader for each mapping of a list."""
        found = self.anything(key, needed=needed)
        if found is None:
            return []
        if not isinstance(found, list) or (needed and not found):
            self.wrong(f"{shown(found)} is not a list with an item; begin each item with a dash", key)
            return []
        return list(self._each(key, found))

    def _each(self, key: str, items: Sequence[object]) -> Iterator[Fields]:
        for n, item in enumerate(items):
            if isinstance(item, Mapping):
                yield Fields(item, self.place.below(key, n), self._mistakes)
            else:
                self.wrong(f"{shown(item)} is not a mapping of keys; indent the keys below the dash", key, n)

    def close(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._data:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                self.wrong(f"is no key here; {f'did you mean {near[0]}?' if near else self._known()}", key)

    def _known(self) -> str:
        return f"known are {', '.join(dict.fromkeys(self._asked))}"


def shown(value: object) -> str:
    """Return a value as it may have been written, shortened.

    >>> shown(True), shown({}), shown("a" * 99)[-3:]
    ('true', 'a mapping', 'aa…')
    """
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else "; choose one"
