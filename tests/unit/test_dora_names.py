"""Texts as numbers, in little memory."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from node0lib.dora.names import Names


@given(st.lists(st.text(max_size=4), max_size=60))
def test_numbers_are_those_of_a_dict(texts: list[str]) -> None:
    """Each distinct text has one number, in the order of first appearance, and is found again by either."""
    names, known = Names(), dict[str, int]()
    for text in texts:
        assert names(text) == known.setdefault(text, len(known))
    assert len(names) == len(known)
    assert all(names[code] == text and names.find(text) == code for text, code in known.items())
    assert names.find("absent") is None and names[-1] is None


def test_the_own_order_is_told() -> None:
    """The sorted texts, and where each number's text went."""
    names = Names()
    for text in ("shop", "cart", "till"):
        names(text)
    texts, places = names.sorted()
    assert (texts, places.tolist()) == (("cart", "shop", "till"), [1, 0, 2])


def test_memory_is_little_more_than_the_texts() -> None:
    """Ten thousand texts of ten bytes take under half of what a dict of them takes."""
    names, plain = Names(), dict[str, int]()
    for k in range(10_000):
        names(f"event-{k:04d}")
        plain[f"event-{k:04d}"] = k
    parts = (names._text, names._ends, names._table)
    theirs = sys.getsizeof(plain) + sum(sys.getsizeof(text) for text in plain)
    assert sum(sys.getsizeof(part) for part in parts) < theirs / 2
