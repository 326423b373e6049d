"""Files of SLOs that others wrote (OpenSLO, Sloth, Pyrra) read together, into node0's objectives and an account.

Promises: either no file is malformed, or one ConfigError tells every mistake with file, line and path of keys; then
nothing was imported. What is well formed and cannot be expressed is in the account, with the reason. An objective that
is returned is one that slo.yaml may hold.

Limits: 32 MiB and 2,000,000 values a file, 20,000 SLOs in all.

>>> text = b"apiVersion: openslo/v2\\nkind: SLO\\n"
>>> read_specs([Content("slo.yml", text)])
Traceback (most recent call last):
...
node0lib.errors.ConfigError: slo.yml:1: apiVersion: 'openslo/v2' is no format that node0 reads; known are openslo/v1, \
openslo/v1alpha, pyrra.dev/v1alpha1, sloth.slok.dev/v1 and version: prometheus/v1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from node0lib.errors import ConfigError
from node0lib.shell.mistakes import Mistakes, Source, sentence
from node0lib.shell.slo_schema import SloModel
from node0lib.shell.yaml_lines import parse_all
from node0lib.slo.formats.account import Imported, Note, Reading, named_twice
from node0lib.slo.formats.catalogue_text import entry, item
from node0lib.slo.formats.fields import Mistake, Place, shown
from node0lib.slo.formats.openslo import ALPHA, V1, read_openslo
from node0lib.slo.formats.pyrra import API as PYRRA
from node0lib.slo.formats.pyrra import read_pyrra
from node0lib.slo.formats.sloth import API_VERSION as SLOTH
from node0lib.slo.formats.sloth import VERSION as SLOTH_FILE
from node0lib.slo.formats.sloth_import import import_sloth
from node0lib.slo.objective import Objective

MAX_BYTES, MAX_VALUES, MAX_SLOS = 32 << 20, 2_000_000, 20_000
MOST_TOLD = 100
"""More mistakes than that help nobody; how many more there are is told."""
_KNOWN = f"known are {', '.join((V1, ALPHA, PYRRA, SLOTH))} and version: {SLOTH_FILE}"
_Object = tuple[Mapping[str, object], Place]


@dataclass(frozen=True)
class Content:
    """What one file holds, and how it is called in messages."""

    shown: str
    content: bytes


@dataclass(frozen=True)
class Import:
    """What was read from all files: SLOs in their order, other objects, and where things stand."""

    slos: tuple[Imported, ...]
    others: tuple[Note, ...]
    sources: tuple[Source, ...]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The SLOs that node0 can express."""
        return tuple(slo.objective for slo in self.slos if slo.objective is not None)

    @property
    def complete(self) -> bool:
        """Whether every SLO could be expressed."""
        return all(slo.objective is not None for slo in self.slos)

    def where(self, place: Place) -> str:
        """Return file and line of a place."""
        source = self.sources[place.document]
        return f"{source.shown}:{source.document.line(place.path)}"

    def items(self, indent: str = "  ") -> list[str]:
        """Return the lines of each SLO for ``slos:``, each with its origin."""
        return [
            item(slo.objective, f"{self.where(slo.place)} ({slo.format}, {slo.original})", indent)
            for slo in self.slos
            if slo.objective is not None
        ]


def contents(names: Sequence[str]) -> list[Content]:
    """Return what the files hold, "-" being standard input; raises ConfigError that names every one that cannot be."""
    found, wrong = [], []
    for name in names:
        try:
            found.append(_content(name))
        except OSError as error:
            wrong.append(f"{name}: cannot be read ({error.strerror or error}); correct its name or permissions")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


def _content(name: str) -> Content:
    """The file's bytes, one more than is allowed at most."""
    if name == "-":
        return Content("stdin", sys.stdin.buffer.read(MAX_BYTES + 1))
    with Path(name).open("rb") as file:
        return Content(name, file.read(MAX_BYTES + 1))


def read_specs(files: Sequence[Content], window: timedelta | None = None) -> Import:
    """Return what all files say together. ``window`` is that of SLOs that name none. Raises ConfigError."""
    mistakes = Mistakes()
    sources: list[Source] = []
    for file in files:
        for document in parse_all(file.content, max_bytes=MAX_BYTES, max_values=MAX_VALUES):
            sources.append(mistakes.source(document, file.shown))
    mistakes.raise_if_any()
    if not sources:
        raise ConfigError(f"{files[0].shown if files else 'no file'}: is empty; it must hold an SLO, {_KNOWN}")
    noted: list[Mistake] = []
    reading = _read(list(_objects(sources, noted)), window)
    noted += reading.mistakes
    told = _above(noted)
    noted += [_twice(first, second) for first, second in named_twice(reading.slos) if second.place not in told]
    _raise(mistakes, sources, noted)
    if len(reading.slos) > MAX_SLOS:
        raise ConfigError(f"{len(reading.slos):,} SLOs are more than {MAX_SLOS:,}; import the files one after another")
    return Import(tuple(_possible(slo) for slo in reading.slos), reading.others, tuple(sources))


def _objects(sources: Sequence[Source], mistakes: list[Mistake]) -> Iterator[_Object]:
    """Yield every object: of documents, of lists of objects, and of Kubernetes' lists."""
    for number, source in enumerate(sources):
        data = source.document.data
        listed = isinstance(data, Mapping) and str(data.get("kind", "")).endswith("List")
        inside = data.get("items") if listed and isinstance(data, Mapping) else data
        above: tuple[str, ...] = ("items",) if listed else ()
        objects = enumerate(inside) if isinstance(inside, list) else [(None, inside)]
        for n, found in objects:
            place = Place(number, above if n is None else (*above, n))
            if isinstance(found, Mapping):
                yield found, place
            else:
                mistakes.append(Mistake(place, f"{shown(found)} is no object with keys; {_KNOWN}"))


def _read(objects: Sequence[_Object], window: timedelta | None) -> Reading:
    """Give every object to the reader of its format; OpenSLO's refer to each other and are read together."""
    openslo, at = list[_Object](), 0
    parts: list[Reading] = []
    for data, place in objects:
        version = data.get("apiVersion")
        if version in (V1, ALPHA):
            at = at if openslo else len(parts)
            openslo.append((data, place))
        else:
            parts.append(_alone(data, place, window))
    if openslo:
        parts.insert(at, read_openslo(openslo, window))
    slos = tuple(slo for part in parts for slo in part.slos)
    others = tuple(note for part in parts for note in part.others)
    return Reading(slos, others, tuple(mistake for part in parts for mistake in part.mistakes))


def _alone(data: Mapping[str, object], place: Place, window: timedelta | None) -> Reading:
    version = data.get("apiVersion")
    if version == PYRRA:
        return read_pyrra(data, place)
    if version == SLOTH and data.get("kind") == "AlertWindows":
        return Reading(
            others=(Note(place, "left out", "AlertWindows: node0 alerts by the pairs of alerting: in slo.yaml"),)
        )
    if version == SLOTH or (version is None and data.get("version") == SLOTH_FILE):
        return import_sloth(data, place, window)
    if version is None and "version" in data:
        return Reading(mistakes=(Mistake(place.below("version"), f"{shown(data['version'])} {_unknown()}"),))
    if version is None:
        return Reading(mistakes=(Mistake(place, f"has neither apiVersion nor version; {_KNOWN}"),))
    return Reading(mistakes=(Mistake(place.below("apiVersion"), f"{shown(version)} {_unknown()}"),))


def _unknown() -> str:
    return f"is no format that node0 reads; {_KNOWN}"


def _above(mistakes: Sequence[Mistake]) -> set[Place]:
    """The places of what has been said to be there twice, and all that they lie in."""
    places = (mistake.place for mistake in mistakes if mistake.other is not None)
    return {Place(place.document, place.path[:n]) for place in places for n in range(len(place.path) + 1)}


def _twice(first: Imported, second: Imported) -> Mistake:
    name = second.objective.name if second.objective else ""
    text = f"{second.original!r} becomes {name} in node0, as {first.original!r} does; rename one of them"
    return Mistake(second.place, text, first.place)


def _raise(mistakes: Mistakes, sources: Sequence[Source], noted: Sequence[Mistake]) -> None:
    """Raise one ConfigError with every mistake, or with the first of very many."""
    for mistake in noted[:MOST_TOLD]:
        source, other = sources[mistake.place.document], mistake.other
        text = mistake.text
        if other is not None:
            first = sources[other.document]
            text += f" (first in {first.shown}:{first.document.line(other.path)})"
        mistakes.add(source, mistake.place.path, text)
    try:
        mistakes.raise_if_any()
    except ConfigError as error:
        more = len(noted) - MOST_TOLD
        raise ConfigError(f"{error}\nand {more:,} mistakes more" if more > 0 else str(error)) from None


def _possible(slo: Imported) -> Imported:
    """The SLO; with reasons instead of an objective if slo.yaml could not hold it."""
    if slo.objective is None:
        return slo
    reasons = tuple(Note(slo.place, "left out", f"node0: {text}") for text in _contradictions(slo.objective))
    return replace(slo, objective=None, refusals=reasons) if reasons else slo


def _contradictions(objective: Objective) -> Iterator[str]:
    try:
        model = SloModel.model_validate(entry(objective))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield f"{'.'.join(str(part) for part in detail['loc'])}: {sentence(detail)}"
        return
    for path, text in model.contradictions():
        yield f"{'.'.join(str(part) for part in path)}: {text}" if path else text
