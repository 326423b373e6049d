"""Millions of texts as small numbers, at little more than the bytes of the texts.

A dict of ten million identities takes about 2 GB, mostly for the objects around them. Here all texts lie in one piece
of memory, with a table of places (open addressing, at most two thirds full) that finds them again: about 24 bytes and
its UTF-8 for each. Numbers are given in the order of first appearance; how texts are hashed changes no result.

>>> names = Names()
>>> [names(text) for text in ("shop", "cart", "shop", None)], names[1], names.find("till")
([0, 1, 0, -1], 'cart', None)
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

_EMPTY = -1


class Names:
    """Distinct texts, each under its number from 0; None is -1."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q", [0])
        self._table = array("i", [_EMPTY]) * 8

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __call__(self, text: str | None) -> int:
        """Return the text's number, a new one if it has none yet."""
        if text is None:
            return -1
        data = text.encode()
        slot = self._slot(data)
        code = self._table[slot]
        if code == _EMPTY:
            code = len(self)
            self._table[slot] = code
            self._text += data
            self._ends.append(len(self._text))
            if 3 * len(self) > 2 * len(self._table):
                self._grow()
        return code

    def __getitem__(self, code: int) -> str | None:
        return None if code < 0 else self._data(code).decode()

    def find(self, text: str) -> int | None:
        """Return the text's number, None if it has none."""
        code = self._table[self._slot(text.encode())]
        return None if code == _EMPTY else code

    def sorted(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the texts in their own order, and for each number the place of its text there."""
        texts = [self._data(code).decode() for code in range(len(self))]
        order = sorted(range(len(texts)), key=texts.__getitem__)
        places = np.empty(len(texts), np.int64)
        places[order] = np.arange(len(texts))
        return tuple(texts[code] for code in order), places

    def _data(self, code: int) -> bytes:
        return bytes(self._text[self._ends[code] : self._ends[code + 1]])

    def _slot(self, data: bytes) -> int:
        """Where the text stands in the table, or would."""
        table, mask = self._table, len(self._table) - 1
        slot = hash(data) & mask
        while (code := table[slot]) != _EMPTY and self._data(code) != data:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        self._table = array("i", [_EMPTY]) * (2 * len(self._table))
        table, mask = self._table, len(self._table) - 1
        for code in range(len(self)):
            slot = hash(self._data(code)) & mask
            while table[slot] != _EMPTY:
                slot = (slot + 1) & mask
            table[slot] = code
