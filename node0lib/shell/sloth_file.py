"""A file of Sloth's from disk or standard input, as Sloth means it: its documents, and the windows of its alerts.

``spec_files`` reads the same files into node0's objectives; here every label and annotation is kept, for rules in
Sloth's dialect. OpenSLO v1alpha is read as Sloth reads it.

Promises: either every document is right, or one ConfigError tells every mistake, each with file, line and path of keys.

>>> text = b"version: prometheus/v1\\nservice: shop\\n"
>>> parse_sloth(Content("slo.yaml", text), timedelta(days=30))
Traceback (most recent call last):
...
node0lib.errors.ConfigError: slo.yaml:1: slos: is missing; add for example slos: [{name: availability, objective: 99.9}]
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from node0lib.errors import ConfigError
from node0lib.shell.mistakes import Mistakes
from node0lib.shell.spec_files import MAX_BYTES, MAX_VALUES, Content
from node0lib.shell.yaml_lines import parse_all
from node0lib.slo.formats.fields import Mistake, Place
from node0lib.slo.formats.sloth import is_sloth, read_sloth
from node0lib.slo.formats.sloth_openslo import is_openslo, read_openslo
from node0lib.slo.formats.sloth_spec import SlothSpec
from node0lib.slo.formats.sloth_windows import AlertWindows, read_windows

_T = TypeVar("_T")
_KNOWN = "Sloth's dialect is made of version: prometheus/v1, kind: PrometheusServiceLevel or openslo/v1alpha"
_TABLE = "write one document of kind: AlertWindows"


def parse_sloth(file: Content, period: timedelta) -> tuple[SlothSpec, ...]:
    """Return the specifications of a file, at least one; ``period`` is what an OpenSLO window must be."""
    found = _read(file, lambda data, mistakes: _spec(data, mistakes, period))
    if not found:
        raise ConfigError(f"{file.shown}: is empty; {_KNOWN}")
    return tuple(found)


def parse_windows(file: Content) -> AlertWindows:
    """Return the windows of an AlertWindows file; raises ConfigError with every mistake."""
    found = _read(file, lambda data, mistakes: read_windows(data, Place(0), mistakes))
    if len(found) != 1:
        raise ConfigError(f"{file.shown}: holds {len(found)} tables of windows; {_TABLE}")
    return found[0]


def _spec(data: object, mistakes: list[Mistake], period: timedelta) -> SlothSpec | None:
    if isinstance(data, dict) and is_openslo(data):
        return read_openslo(data, Place(0), mistakes, period)
    if is_sloth(data):
        return read_sloth(data, Place(0), mistakes)
    mistakes.append(Mistake(Place(0), f"is none of Sloth's files; {_KNOWN}"))
    return None


def _read(file: Content, read: Callable[[object, list[Mistake]], _T | None]) -> list[_T]:
    """Return what each document holds; raises ConfigError with every mistake of all of them."""
    mistakes = Mistakes()
    found: list[_T] = []
    for document in parse_all(file.content, max_bytes=MAX_BYTES, max_values=MAX_VALUES):
        source = mistakes.source(document, file.shown)
        if document.unreadable:
            continue
        noted: list[Mistake] = []
        one = read(document.data, noted)
        for mistake in noted:
            mistakes.add(source, mistake.place.path, mistake.text)
        found += [] if one is None else [one]
    mistakes.raise_if_any()
    return found
