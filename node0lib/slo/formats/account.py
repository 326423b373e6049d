"""The account of an import: for every SLO of the input what was kept, what was changed, what was left out, and why.

Promises: nothing is lost silently. Whatever a reader meets below an SLO goes into one of the three; an SLO that node0
cannot express has its reasons in ``refusals`` instead of an objective.

>>> node0_name("Search-API / v2"), node0_name("99ers")
('search_api_v2', 'slo_99ers')
>>> share(99.9)
0.999
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from node0lib.errors import ConfigError
from node0lib.slo.formats.fields import Mistake, Place
from node0lib.slo.objective import Objective

Verdict = Literal["kept", "changed", "left out"]
LONGEST_NAME = 63
LONGEST_DESCRIPTION = 2000


class InexpressibleError(ConfigError):
    """What was written is well formed, and node0 has no way to say it: the reason."""


@dataclass(frozen=True)
class Note:
    """What became of something in the input; ``text`` says what it was and, where it is not kept, why."""

    place: Place
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Imported:
    """One SLO of the input: ``objective`` if node0 can express it, else the reasons in ``refusals``.

    ``format`` is the dialect ("openslo/v1"), ``original`` the name that the source gives it.
    """

    format: str
    original: str
    place: Place
    objective: Objective | None
    notes: tuple[Note, ...] = ()
    refusals: tuple[Note, ...] = ()

    def of(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the texts of the notes with that verdict."""
        return tuple(note.text for note in self.notes if note.verdict == verdict)


@dataclass(frozen=True)
class Reading:
    """What a format's reader found: its SLOs, what else there was, and what is malformed."""

    slos: tuple[Imported, ...] = ()
    others: tuple[Note, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


class Account:
    """Collects the notes of one SLO while it is read."""

    def __init__(self, format_: str, original: str, place: Place) -> None:
        self._head = (format_, original, place)
        self._notes: list[Note] = []
        self._refusals: list[Note] = []

    def copy(self) -> Account:
        """Return an account that begins with the same notes, for a source that makes several SLOs of one."""
        other = Account(*self._head)
        other._notes, other._refusals = list(self._notes), list(self._refusals)
        return other

    def kept(self, place: Place, text: str) -> None:
        self._notes.append(Note(place, "kept", text))

    def changed(self, place: Place, text: str) -> None:
        self._notes.append(Note(place, "changed", text))

    def left(self, place: Place, text: str) -> None:
        self._notes.append(Note(place, "left out", text))

    def refused(self, place: Place, text: str) -> None:
        self._refusals.append(Note(place, "left out", text))

    def add(self, notes: Sequence[Note]) -> None:
        """Take notes that were made elsewhere."""
        self._notes += notes

    @property
    def is_refused(self) -> bool:
        """Whether there is a reason against it so far."""
        return bool(self._refusals)

    def name(self, place: Place, *words: str) -> str:
        """Return node0's name for words of the source; a change is told."""
        plain = node0_name("_".join(words))
        if plain == "_".join(words):
            self.kept(place, f"name {plain}")
        else:
            self.changed(place, f"name {' / '.join(words)} -> {plain}")
        return plain

    def description(self, place: Place, text: str) -> str:
        """Return the description in one line, cut where it is longer than node0 takes; a cut is told."""
        line = " ".join(text.split())
        if len(line) <= LONGEST_DESCRIPTION:
            self.kept(place, "description")
            return line
        self.changed(place, f"description: cut from {len(line):,} to {LONGEST_DESCRIPTION:,} characters")
        return line[: LONGEST_DESCRIPTION - 1] + "…"

    def closed(self, objective: Objective | None) -> Imported:
        """Return the SLO as imported; the objective only if nothing refused it."""
        kept = None if self._refusals else objective
        return Imported(*self._head, kept, tuple(self._notes), tuple(self._refusals))


def node0_name(text: str) -> str:
    """Return the text in node0's grammar of names, [a-z][a-z0-9_]{0,62}."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).replace("-", "_").strip("_")
    if not re.match(r"[a-z]", plain):
        plain = f"slo_{plain}".rstrip("_")
    return plain[:LONGEST_NAME].rstrip("_")


def share(percent: float) -> float:
    """Return a percentage as a share of 1, without the error of a binary division."""
    return float(Decimal(repr(percent)) / 100)


def named_twice(slos: Sequence[Imported]) -> tuple[tuple[Imported, Imported], ...]:
    """Return each SLO whose node0 name an earlier one has, after that earlier one."""
    first: dict[str, Imported] = {}
    twice: list[tuple[Imported, Imported]] = []
    for slo in slos:
        if slo.objective is not None:
            other = first.setdefault(slo.objective.name, slo)
            if other is not slo:
                twice.append((other, slo))
    return tuple(twice)
