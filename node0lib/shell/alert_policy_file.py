"""A policy of alerts from YAML: ``objective``, ``period`` and ``alerts``.

Each alert has ``name``, ``severity`` (critical, warning or info; the workbook's page and ticket are read as critical
and warning), ``long`` and ``short`` windows, ``factor`` (a burn rate) or ``budget`` (the share of the period's budget
spent in the long window), and optionally ``for``, ``min_bad`` and ``scaling`` (static, or traffic: a quiet hour must
fail more).

>>> text = b'''
... objective: 0.999
... period: 30d
... alerts:
... - {name: page, severity: critical, long: 1h, short: 5m, budget: 2%}
... - {name: ticket, severity: warning, long: 3d, short: 6h, factor: 1, for: 5m, min_bad: 3}
... '''
>>> policy = parse_alert_policy(text, "policy.yaml")
>>> [(alert.name, round(alert.factor, 6)) for alert in policy.alerts]
[('page', 14.4), ('ticket', 1.0)]
>>> parse_alert_policy(alert_policy_yaml(policy), "again.yaml") == policy
True
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import checked, items, unique
from node0lib.shell.files import write_atomic
from node0lib.shell.mistakes import content_of, opened
from node0lib.shell.schema import STRICTLY, Contradictions, Duration, Inner, Model, Share, Wait
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

_SEVERITIES: dict[str, Severity] = {
    "critical": "critical",
    "warning": "warning",
    "info": "info",
    "page": "critical",
    "ticket": "warning",
}
_EXAMPLE = "- {name: page, severity: critical, long: 1h, short: 5m, factor: 14.4}"


class AlertModel(Model):
    """One of ``alerts:``."""

    name: str = Field(min_length=1, max_length=200, examples=["page"])
    severity: Literal["critical", "warning", "info", "page", "ticket"] = Field(examples=["critical"])
    long: Duration = Field(examples=["1h"])
    short: Duration = Field(examples=["5m"])
    factor: float | None = Field(default=None, gt=0)
    budget: Share | None = None
    wait: Wait = Field(default=timedelta(0), alias="for")
    min_bad: float = Field(default=0, ge=0)
    scaling: Literal["static", "traffic"] = "static"

    def contradictions(self) -> Contradictions:
        """Yield windows that do not fit each other, and a factor written twice or not at all."""
        if self.short > self.long:
            yield ("short",), "must be at most long; a twelfth of it is usual"
        if (self.factor is None) == (self.budget is None):
            yield (), "needs either factor (a burn rate) or budget (the share spent in the long window)"
        if self.budget == 0:
            yield ("budget",), "must be more than 0: spending nothing would always alert"

    def alert(self, period: timedelta) -> BurnAlert:
        """Return the frozen alert."""
        factor = self.factor if self.factor is not None else (self.budget or 0.0) * (period / self.long)
        severity = _SEVERITIES[self.severity]
        return BurnAlert(self.name, severity, self.long, self.short, factor, self.wait, self.min_bad, self.scaling)


class PolicyModel(Model):
    """The whole file; its alerts are checked one by one."""

    objective: Inner = Field(examples=["0.999"])
    period: Duration = timedelta(days=30)
    alerts: list[Any] = []

    def contradictions(self) -> Contradictions:
        """Yield an objective that leaves no budget to burn."""
        if self.objective == 1:
            yield ("objective",), STRICTLY.replace("{value}", "1")


def read_alert_policy(path: Path) -> AlertPolicy:
    """Return the policy in a file; raises ConfigError with every mistake, each with its line."""
    return parse_alert_policy(content_of(path, "a policy file"), str(path))


def parse_alert_policy(content: bytes, shown: str) -> AlertPolicy:
    """Return the policy that YAML bytes hold; raises ConfigError with every mistake."""
    mistakes, source = opened(content, shown)
    heading = checked(mistakes, source, (), PolicyModel)
    unique(mistakes, source, ("alerts",), "name")
    paths = items(mistakes, source, ("alerts",), example=_EXAMPLE)
    alerts = [checked(mistakes, source, path, AlertModel) for path in paths]
    mistakes.raise_if_any()
    if heading is None:
        raise ConfigError(f"{shown}: is no policy; write objective, period and alerts")
    return AlertPolicy(
        heading.objective, heading.period, tuple(one.alert(heading.period) for one in alerts if one)
    )


def write_alert_policy(path: Path, policy: AlertPolicy, heading: str = "") -> None:
    """Write the policy so that ``read_alert_policy`` returns it; raises RunError and leaves what was there."""
    write_atomic(path, alert_policy_yaml(policy, heading))


def alert_policy_yaml(policy: AlertPolicy, heading: str = "") -> bytes:
    """Return a policy file's bytes; each line of ``heading`` becomes a comment.

    Factors are written to the last bit: they are the very thresholds that were compared with.
    """
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    lines += [f"objective: {policy.objective!r}", f"period: {format_duration(policy.period)}", "alerts:"]
    lines += [f"- {{{', '.join(f'{key}: {value}' for key, value in _written(alert))}}}" for alert in policy.alerts]
    return "\n".join((*lines, "")).encode()


def _written(alert: BurnAlert) -> Iterator[tuple[str, str]]:
    yield "name", json.dumps(alert.name)
    yield "severity", alert.severity
    yield "long", format_duration(alert.long)
    yield "short", format_duration(alert.short)
    yield "factor", repr(float(alert.factor))
    if alert.hold:
        yield "for", format_duration(alert.hold)
    if alert.min_bad:
        yield "min_bad", repr(float(alert.min_bad))
    if alert.scaling != "static":
        yield "scaling", alert.scaling
