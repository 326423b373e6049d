"""What a canary configuration of another tool says and node0 cannot: each with file, line, path and reason.

Malformed is a mistake, always. What is well formed and inexpressible is left over: a mistake too, unless the reader was
asked for the part that can be expressed.

>>> from node0lib.shell.yaml_lines import parse
>>> found = Leftovers()
>>> found.add(found.mistakes.source(parse(b"a: 1"), "rollout.yaml"), ("a",), "is not for node0")
>>> found.left[0].where, found.left[0].path
('rollout.yaml:1', 'a')
>>> found.settle(partial=False)
Traceback (most recent call last):
...
node0lib.errors.ConfigError: rollout.yaml:1: a: is not for node0
nothing was imported; --partial imports the rest
"""

from __future__ import annotations

from dataclasses import dataclass, field

from node0lib.errors import ConfigError
from node0lib.shell.mistakes import Mistakes, Source, spelled
from node0lib.shell.yaml_lines import KeyPath


@dataclass(frozen=True)
class Left:
    """One thing that node0 cannot express: ``where`` is file:line."""

    where: str
    path: str
    reason: str


@dataclass
class Leftovers:
    """What was found so far: mistakes, what is left over, and notes on what was read otherwise than it was written."""

    mistakes: Mistakes = field(default_factory=Mistakes)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _places: list[tuple[Source, KeyPath, str]] = field(default_factory=list)

    def add(self, source: Source, path: KeyPath, reason: str) -> None:
        """Note what is well formed and cannot be expressed."""
        where = f"{source.shown}:{source.document.line(path)}"
        self.left.append(Left(where, spelled(path, source.document), reason))
        self._places.append((source, path, reason))

    def settle(self, *, partial: bool) -> None:
        """Raise one ConfigError with every mistake and, unless ``partial``, everything that is left over."""
        malformed = bool(self.mistakes)
        for source, path, reason in () if partial else self._places:
            self.mistakes.add(source, path, reason)
        try:
            self.mistakes.raise_if_any()
        except ConfigError as error:
            helps = "" if malformed else "; --partial imports the rest"
            raise ConfigError(f"{error}\nnothing was imported{helps}") from None
