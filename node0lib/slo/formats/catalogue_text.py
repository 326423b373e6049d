"""Objectives as the lines of ``slos:`` in slo.yaml, as a person would write them.

Promises: what is written reads back as the same objective; each item begins with a comment that says where it comes
from. Texts stand plain where YAML allows it, else in single quotes, else, with control characters, in double quotes.

>>> from datetime import timedelta
>>> queries = {"bad": 'sum(increase(x{code="500"}[$window]))', "total": "sum(increase(x[$window]))"}
>>> print(item(Objective("api", "ratio", 0.999, timedelta(days=30), queries=queries), "sloth.yml:7 shop / api"), end="")
  # from sloth.yml:7 shop / api
  - name: api
    kind: ratio
    objective: 0.999
    window: 30d
    queries:
      bad: sum(increase(x{code="500"}[$window]))
      total: sum(increase(x[$window]))
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

_PLAIN = re.compile(r"[A-Za-z(][^\x00-\x1f\x7f-\x9f#:\\ ]*(?:[ ][^\x00-\x1f\x7f-\x9f#:\\ ]+|:[^\s#:\\]+)*")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[wdhms]))+")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def document(items: Sequence[str], heading: str) -> str:
    """Return a whole slo.yaml of those items below a heading, which becomes comments."""
    comments = "".join(f"# {line}\n" for line in heading.splitlines())
    return f"{comments}slos:\n" + "\n".join(items)


def item(slo: Objective, origin: str = "", indent: str = "  ") -> str:
    """Return the lines of one item of ``slos:``, after a comment with its origin."""
    lines = [f"# from {_comment(origin)}"] if origin else []
    mark = "- "
    for key, value in entry(slo).items():
        if isinstance(value, Mapping):
            lines += [f"{mark}{key}:", *(f"    {role}: {scalar(text)}" for role, text in value.items())]
        else:
            lines.append(f"{mark}{key}: {scalar(value)}")
        mark = "  "
    return "".join(f"{indent}{line}\n" for line in lines)


def entry(slo: Objective) -> dict[str, Any]:
    """Return the keys and plain values of one item of ``slos:``, in the order in which they are written."""
    rolling = {"window": format_duration(slo.window)}
    calendar = {"window": slo.calendar.unit, "time_zone": slo.calendar.zone} if slo.calendar else rolling
    timeslice = slo.kind == "timeslice"
    threshold = None if slo.threshold_s is None else format_duration(timedelta(seconds=slo.threshold_s))
    found: dict[str, Any] = {
        "name": slo.name,
        "description": slo.description or None,
        "kind": slo.kind,
        "objective": slo.objective,
        **calendar,
        "slice": format_duration(slo.slice) if timeslice else None,
        "quantile": slo.quantile,
        "threshold": threshold,
        "minimum": slo.minimum,
        "stream": slo.stream,
        "queries": dict(slo.queries) or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def scalar(value: object) -> str:
    """Return a number or a text as YAML.

    >>> scalar("p95: fast"), scalar("it's #1"), scalar("a\\nb"), scalar("true"), scalar(0.999)
    ("'p95: fast'", "'it''s #1'", '"a\\\\nb"', "'true'", '0.999')
    """
    if not isinstance(value, str):
        return repr(value)
    if _UNSAFE.search(value):
        return '"' + _UNSAFE.sub(_escaped, value.replace("\\", "\\\\").replace('"', '\\"')) + '"'
    if _DURATION.fullmatch(value) or (_PLAIN.fullmatch(value) and value.lower() not in _RESERVED):
        return value
    return "'" + value.replace("'", "''") + "'"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code <= 0xDFFF:
        return "\\uFFFD"  # half of a surrogate pair is no character
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0], f"\\u{code:04X}")


def _comment(text: str) -> str:
    return _UNSAFE.sub(" ", text)
