"""The alerting of a catalogue that people wrote is changed number by number: every comment and every other byte stays.

Promises: nothing is written before a person has seen the difference, nor if the file has changed since then; the edited
text is read by the reader that reads it every hour, and must say exactly what was chosen, or nothing is written. A
pair's ``for`` and ``min_bad`` are added where they are not written yet.

>>> text = "pairs:\\n  - { severity: critical, budget: 2%, long: 1h, short: 5m } # burn above 14.4\\n"
>>> node = yaml.compose(text, Loader=yaml.SafeLoader)
>>> pair = _child(_child(node, "pairs"), 0)
>>> print(_applied(text, _edits(pair, {"budget": "1%", "for": "2m"}, text)), end="")
pairs:
  - { severity: critical, budget: 1%, long: 1h, short: 5m, for: 2m } # burn above 14.4
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from node0lib.errors import ConfigError, Node0Error, RunError
from node0lib.shell.catalogue_edit import Edit, read_edited
from node0lib.shell.config import load
from node0lib.shell.files import write_atomic
from node0lib.shell.settings import Settings
from node0lib.shell.yaml_lines import KeyPath, parse
from node0lib.simulate.thresholds import Chosen, percentage
from node0lib.slo.catalogue import Alerting, AlertPair, Catalogue
from node0lib.timespan import format_duration

_MARK = b"\xef\xbb\xbf"
_Span = tuple[int, int, str]
"""Characters from, to, and what takes their place."""


def changed(config: Path, chosen: Chosen) -> Edit:
    """Return the configured catalogue with the chosen objective and pairs; nothing is written.

    Raises ConfigError if the catalogue does not write its pairs out, or cannot say what was chosen.
    """
    settings = load(config)
    path, keys = _place(settings)
    shown = (path.relative_to(settings.root) if path.is_relative_to(settings.root) else path).as_posix()
    before = _bytes(path)
    text = before.decode("utf-8-sig")
    alerting = chosen.alerting(settings.catalogue.alerting)
    spans = set(_spans(text, keys, settings.catalogue, alerting, chosen, shown))
    mark = _MARK if before.startswith(_MARK) else b""
    edit = Edit(path, shown, before, mark + _applied(text, spans).encode("utf-8"))
    _check(edit, keys, settings, alerting, chosen)
    return edit


def write(edit: Edit) -> None:
    """Replace the file; raises ConfigError if it is not what it was when the difference was made."""
    if _bytes(edit.path) != edit.before:
        raise ConfigError(f"{edit.shown} has changed since the difference was shown; look at the new one first")
    write_atomic(edit.path, edit.after, mode=stat.S_IMODE(edit.path.stat().st_mode))


def remarks(edit: Edit) -> tuple[str, ...]:
    """Return the comments beside changed numbers: they are kept, and may have become untrue."""
    new = (line for line in edit.diff.splitlines() if line.startswith("+") and not line.startswith("+++"))
    return tuple(line.partition(" # ")[2].strip() for line in new if " # " in line)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error


def _place(settings: Settings) -> tuple[Path, KeyPath]:
    """The file that holds the catalogue, and where in it."""
    named = parse(_bytes(settings.config)).at(("slo",))
    return ((settings.config.parent / named).resolve(), ()) if isinstance(named, str) else (settings.config, ("slo",))


def _spans(
    text: str, keys: KeyPath, catalogue: Catalogue, alerting: Alerting, chosen: Chosen, shown: str
) -> Iterator[_Span]:
    root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys:
        root = _child(root, key)
    for number, (old, new) in enumerate(zip(catalogue.alerting.pairs, alerting.pairs, strict=True)):
        values = _differences(old, new)
        pair = _child(_child(_child(root, "alerting"), "pairs"), number)
        if values and not isinstance(pair, yaml.MappingNode):
            raise ConfigError(f"{shown}: alerting.pairs is not written out; write its pairs first, one a line")
        yield from _edits(pair, values, text)
    if catalogue.slo(chosen.slo).objective != chosen.objective:
        slos = _child(root, "slos")
        for item in slos.value if isinstance(slos, yaml.SequenceNode) else ():
            name = _child(item, "name")
            if isinstance(name, yaml.ScalarNode) and name.value == chosen.slo:
                yield from _edits(item, {"objective": f"{chosen.objective:.10g}"}, text)


def _differences(old: AlertPair, new: AlertPair) -> dict[str, str]:
    """What of a pair is to be written, by key."""
    found = {
        "budget": (old.budget, new.budget, percentage(new.budget)),
        "long": (old.long, new.long, format_duration(new.long)),
        "short": (old.short, new.short, format_duration(new.short)),
        "for": (old.hold, new.hold, format_duration(new.hold) if new.hold else "0s"),
        "min_bad": (old.min_bad, new.min_bad, f"{0 if new.min_bad is None else new.min_bad:g}"),
    }
    return {key: text for key, (before, after, text) in found.items() if before != after}


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    """The node below a key or at an index; None where there is none."""
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        found: yaml.Node = node.value[key]
        return found
    return None


def _edits(node: yaml.Node | None, values: Mapping[str, str], text: str) -> Iterator[_Span]:
    """What to replace in a mapping, and what to add after its last value."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in values.items():
        there = _child(node, key)
        if there is not None:
            yield there.start_mark.index, there.end_mark.index, value
    new = [f"{key}: {value}" for key, value in values.items() if _child(node, key) is None]
    if not new:
        return
    end: int = node.value[-1][1].end_mark.index
    if node.flow_style:
        yield end, end, "".join(f", {one}" for one in new)
        return
    ending = "\r\n" if "\r\n" in text else "\n"
    indent = " " * node.value[0][0].start_mark.column
    line = text.find("\n", end)
    at = len(text) if line < 0 else line - (text[line - 1] == "\r")
    yield at, at, "".join(f"{ending}{indent}{one}" for one in new)


def _applied(text: str, spans: Iterable[_Span]) -> str:
    for start, end, new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _check(edit: Edit, keys: KeyPath, settings: Settings, alerting: Alerting, chosen: Chosen) -> None:
    """Raise ConfigError unless the edited text is right, and says what was chosen."""
    try:
        read = read_edited(edit.after, edit.shown, keys, settings)
    except Node0Error as error:
        raise ConfigError(f"{error}\nnothing can be written: the catalogue would not be right") from None
    said = read.alerting, read.slo(chosen.slo).objective
    if said != (alerting, chosen.objective):
        raise ConfigError(f"{edit.shown}: its pairs are written with aliases and cannot be edited here; do it by hand")
