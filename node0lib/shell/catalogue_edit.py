"""SLOs are added to a catalogue that people wrote: at the end of ``slos:``, and every other byte stays.

Promises: the edited text is read by the reader that reads it every hour, with the telemetry that is configured, before
the file is replaced; if it would not do, one ConfigError tells why and nothing is written. Comments, order, line ends
and a byte order mark stay as they are.

>>> text = "slos:\\n  - name: a # first\\n    window: 1h\\n  # about a\\n\\n# Budget\\nalerting: {}\\n"
>>> print(inserted(text, ("slos",), lambda indent: [f"{indent}- name: b\\n"]), end="")
slos:
  - name: a # first
    window: 1h
  # about a
<BLANKLINE>
  - name: b
<BLANKLINE>
# Budget
alerting: {}
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import read_catalogue, too_fine, unanswerable
from node0lib.shell.config import load
from node0lib.shell.mistakes import Mistakes, Source
from node0lib.shell.settings import PrometheusTelemetry, Settings
from node0lib.shell.yaml_lines import KeyPath, parse
from node0lib.slo.catalogue import Catalogue

_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Edit:
    """A file before and after; nothing has been written."""

    path: Path
    shown: str
    before: bytes
    after: bytes

    @property
    def diff(self) -> str:
        """The difference as ``diff -u`` shows it."""
        old, new = (content.decode("utf-8-sig").splitlines(keepends=True) for content in (self.before, self.after))
        return "".join(difflib.unified_diff(old, new, self.shown, self.shown))


def added(config: Path, items: Callable[[str], Sequence[str]]) -> Edit:
    """Return the configured catalogue with the items at the end of its SLOs.

    ``items`` gives the lines of each for an indentation. Raises ConfigError if the catalogue cannot take them: a name
    is taken, its telemetry is not a Prometheus, ``slos`` is written in one line, or it is wrong already.
    """
    settings = load(config)
    path, keys = _catalogue(settings)
    shown = path.name if not config.parent.parts else (config.parent / path.name).as_posix()
    before = path.read_bytes()
    text = before.decode("utf-8-sig")
    ending = "\r\n" if "\r\n" in text else "\n"
    new = inserted(text, keys, lambda indent: [part.replace("\n", ending) for part in items(indent)], ending)
    after = (_MARK if before.startswith(_MARK) else b"") + new.encode("utf-8")
    try:
        read_edited(after, shown, keys[:-1], settings)
    except ConfigError as error:
        raise ConfigError(f"{error}\nnothing was added: the catalogue would not be right") from None
    return Edit(path, shown, before, after)


def inserted(text: str, keys: KeyPath, items: Callable[[str], Sequence[str]], ending: str = "\n") -> str:
    """Return the text with the items after the last one of the list at ``keys``; raises ConfigError."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys:
        node = next((v for k, v in node.value if k.value == key), None) if isinstance(node, yaml.MappingNode) else None
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not node.value:
        raise ConfigError(
            f"{'.'.join(map(str, keys))} is not a list with an item after a dash a line; write it so first"
        )
    lines = text.splitlines(keepends=True)
    at = _end(node, lines)
    indent = " " * node.start_mark.column
    head, tail = "".join(lines[:at]), "".join(lines[at:])
    if head and not head.endswith(("\n", "\r")):
        head += ending
    parts = items(indent)
    return head + "".join(f"{ending}{part}" for part in parts) + tail


def _end(node: yaml.Node, lines: Sequence[str]) -> int:
    """The number of the line after the last one that belongs to a list."""
    last = max(_ends(node))
    while last > 0 and not lines[last - 1].strip():
        last -= 1  # a block of text ends after the empty lines below it
    inside = max(node.start_mark.column, 1)
    while last < len(lines) and lines[last].strip().startswith("#") and _indent(lines[last]) >= inside:
        last += 1  # a comment about the last item
    return last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _ends(node: yaml.Node) -> Iterator[int]:
    """The line after each scalar, and after each collection in brackets."""
    inside = node.value if isinstance(node, yaml.CollectionNode) else []
    if not isinstance(node, yaml.CollectionNode) or not inside or node.flow_style:
        yield node.end_mark.line + (node.end_mark.column > 0)
    for child in inside:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _ends(part)


def _catalogue(settings: Settings) -> tuple[Path, KeyPath]:
    """The file that holds the SLOs, and where in it."""
    main = parse(settings.config.read_bytes())
    named = main.at(("slo",))
    if isinstance(named, str):
        return (settings.config.parent / named).resolve(), ("slos",)
    return settings.config, ("slo", "slos")


def read_edited(content: bytes, shown: str, path: KeyPath, settings: Settings) -> Catalogue:
    """Return the catalogue that the edited bytes hold; raises ConfigError with every mistake that it would have."""
    mistakes = Mistakes()
    source: Source = mistakes.source(parse(content), f"{shown} (edited)")
    mistakes.raise_if_any()
    read = read_catalogue(mistakes, source, path)
    prometheus = settings.telemetry if isinstance(settings.telemetry, PrometheusTelemetry) else None
    kind = "prometheus" if prometheus else "embedded"
    for where, slo in read.slos:
        fine = too_fine(slo, prometheus.endpoint.scrape_interval) if prometheus else ()
        for below, text in (*unanswerable(slo, kind), *fine):
            mistakes.add(source, (*where, *below), text)
    mistakes.raise_if_any()
    return read.catalogue
