"""Prometheus's rules as frozen values, and the YAML that Prometheus reads.

Promises: ``yaml_of`` is a function of the values alone, in a fixed order of keys, so that equal rules are equal bytes;
a value that Prometheus would refuse for its shape (a record that also alerts, two groups of one name, a label that is
no label) cannot be made. Expressions of more than one line are literal blocks: what is reviewed is what is evaluated.

Source: Prometheus, configuration, recording rules and alerting rules; for ``PrometheusRule`` the Prometheus Operator's
monitoring.coreos.com/v1.

>>> up = Rule.recording("job:up:sum", "sum by (job) (up)", {"team": "a"})
>>> print(yaml_of(RuleFile((RuleGroup("up", (up,)),), title="Rules of the up team.")), end="")
# Rules of the up team.
groups:
- name: up
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels:
      team: a
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from node0lib.errors import ConfigError
from node0lib.timespan import format_duration

if TYPE_CHECKING:
    from yaml import SafeDumper as _Base
else:
    # libyaml writes the same and is eight times faster; not every build of PyYAML has it.
    _Base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NOTHING = timedelta(0)


@dataclass(frozen=True)
class Rule:
    """One rule: ``record`` or ``alert``, the other is empty. ``hold`` and ``annotations`` are an alert's only.

    Raises ConfigError for what Prometheus would not load.
    """

    expr: str
    record: str = ""
    alert: str = ""
    hold: timedelta = _NOTHING
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.record) == bool(self.alert):
            raise ConfigError("a rule either records or alerts; name the one or the other")
        if self.record and not _METRIC.fullmatch(self.record):
            raise ConfigError(f"{self.record!r} is no name of a metric; write letters, digits, _ and :")
        if self.record and (self.hold or self.annotations):
            raise ConfigError(f"{self.record} records: only alerts have for and annotations")
        if self.hold < _NOTHING or not self.expr.strip():
            raise ConfigError(f"{self.name}: the expression must not be empty, nor for below 0")
        for name in (*self.labels, *self.annotations):
            if not _LABEL.fullmatch(name) or name == "__name__":
                raise ConfigError(f"{self.name}: {name!r} is no name of a label; write letters, digits and _")

    @classmethod
    def recording(cls, record: str, expr: str, labels: Mapping[str, str] | None = None) -> Rule:
        """Return the rule that records ``expr`` as the series ``record``."""
        return cls(expr, record=record, labels=labels or {})

    @property
    def name(self) -> str:
        """What it records, or how the alert is called."""
        return self.record or self.alert

    def document(self) -> dict[str, Any]:
        """Return the rule as plain values in Prometheus's order; labels and annotations sorted by name."""
        found: dict[str, Any] = {"record": self.record} if self.record else {"alert": self.alert}
        found["expr"] = self.expr
        if self.hold:
            found["for"] = format_duration(self.hold)
        if self.labels:
            found["labels"] = dict(sorted(self.labels.items()))
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return found


@dataclass(frozen=True)
class RuleGroup:
    """Rules that are evaluated one after the other, at one timestamp; ``interval`` None is the server's own."""

    name: str
    rules: tuple[Rule, ...]
    interval: timedelta | None = None

    def document(self) -> dict[str, Any]:
        """Return the group as plain values."""
        timing = {} if self.interval is None else {"interval": format_duration(self.interval)}
        return {"name": self.name, **timing, "rules": [rule.document() for rule in self.rules]}


@dataclass(frozen=True)
class RuleFile:
    """Groups with different names, below a comment (``title``, lines of text).

    With ``kubernetes`` (its metadata) the file is a PrometheusRule, which the Prometheus Operator takes.
    """

    groups: tuple[RuleGroup, ...]
    title: str = ""
    kubernetes: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        counts = Counter(group.name for group in self.groups)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ConfigError(f"the group {twice[0]} is there twice; Prometheus loads no such file: rename an SLO")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules, in order."""
        return tuple(rule for group in self.groups for rule in group.rules)

    def document(self) -> dict[str, Any]:
        """Return the file as plain values."""
        groups = {"groups": [group.document() for group in self.groups]}
        if self.kubernetes is None:
            return groups
        head = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
        return {**head, "metadata": dict(self.kubernetes), "spec": groups}


class _Dumper(_Base):
    """Blocks for lines, no anchors: two rules may share their labels and yet be written out."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Base, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_of(*files: RuleFile) -> str:
    """Return the file as YAML, or several as the documents of one stream."""
    return "---\n".join(_document(one) for one in files)


def _document(one: RuleFile) -> str:
    comment = "".join(f"# {line}".rstrip() + "\n" for line in one.title.splitlines())
    # A line that is never folded stays one that grep finds.
    return comment + yaml.dump(one.document(), Dumper=_Dumper, sort_keys=False, width=1 << 20, allow_unicode=True)
