"""Sloth's dialect: the rules that Sloth 0.16 makes of the same file, so that a team can switch and keep its dashboards.

Promises: groups, records, alerts, labels, annotations and expressions are Sloth's, to the character; numbers are its
float64s in its notation. Two things differ: the comment at the top, and ``sloth_version`` in ``sloth_slo_info``, which
names who made the rules ("node0-0.1.0"). ``sloth_mode`` stays what Sloth's own command line writes.

Rules
- Three groups for an SLO: SLI recordings (a ratio of errors for every range, rising, then the period's), metadata
  recordings, alerts. A group without rules is left out; no rules at all is an error.
- The ratio over the whole period is Sloth's cheap one, the mean of the 5m ratios, which weighs a quiet night like a
  busy day. It is informative, and no alert reads it; node0's own dialect weighs by events.
- Labels: Sloth's ids, then those of the file, then those asked for; the later wins. An alert has only its own: it
  inherits those of the series.
- Plugins are programs that only Sloth can run: they are refused, with the reason.
- The rules of a Kubernetes object are a PrometheusRule of its name.

Source: slok/sloth 0.16, internal/plugin/slo/core and internal/storage/io. Expected outputs: tests/data/sloth.

>>> sli = SlothEvents("sum(rate(bad[{{.window}}]))", "sum(rate(all[{{.window}}]))")
>>> spec = SlothSpec("prometheus/v1", (SlothSlo("shop", "up", 99.9, sli, Place(0)),))
>>> file = sloth_rules(spec, google(timedelta(days=30)), version="dev")
>>> [(group.name, len(group.rules)) for group in file.groups]
[('sloth-slo-sli-recordings-shop-up', 8), ('sloth-slo-meta-recordings-shop-up', 7)]
>>> file.rules[0].expr
'(sum(rate(bad[5m])))\\n/\\n(sum(rate(all[5m])))\\n'
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from node0lib.alerts.promrules import Rule, RuleFile, RuleGroup
from node0lib.errors import ConfigError
from node0lib.slo.formats.fields import Place
from node0lib.slo.formats.sloth_spec import (
    SlothAlert,
    SlothEvents,
    SlothForm,
    SlothMeta,
    SlothPlugin,
    SlothSlo,
    SlothSpec,
    windowed,
)
from node0lib.slo.formats.sloth_windows import AlertWindows, BurnWindow, google
from node0lib.timespan import format_duration

__all__ = ["Place", "SlothEvents", "google", "sloth_rules"]

_MODES: Mapping[SlothForm, str] = {
    "prometheus/v1": "cli-gen-prom",
    "sloth.slok.dev/v1": "cli-gen-k8s",
    "openslo/v1alpha": "cli-gen-openslo",
}
_EVENTS = "({error})\n/\n({total})\n"
_PERIOD = "sum_over_time({series}[{window}])\n/ ignoring (sloth_window)\ncount_over_time({series}[{window}])\n"
_BURN = "{ratio}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio{ids}\n"
_PAIR = """(
    max({short} > ({factor} * {budget})) without (sloth_window)
    and
    max({long} > ({factor} * {budget})) without (sloth_window)
)
"""
_SUMMARY = "{{$labels.sloth_service}} {{$labels.sloth_slo}} SLO error budget burn rate is over expected."
_TITLE = "({severity}) {{{{$labels.sloth_service}}}} {{{{$labels.sloth_slo}}}} SLO error budget burn rate is too fast."
_OF_KUBERNETES = {"app.kubernetes.io/component": "SLO", "app.kubernetes.io/managed-by": "sloth"}


def sloth_rules(
    spec: SlothSpec,
    windows: AlertWindows,
    *,
    version: str,
    labels: Mapping[str, str] | None = None,
    recordings: bool = True,
    alerts: bool = True,
    title: str = "",
) -> RuleFile:
    """Return the rules of a document; ``labels`` are added to every recording.

    Raises ConfigError for an SLO with a plugin, and if nothing is left to write.
    """
    groups: list[RuleGroup] = []
    for slo in spec.slos:
        one = _Slo(slo, windows, labels or {})
        info = {"sloth_version": version, "sloth_mode": _MODES[spec.form], "sloth_spec": spec.form}
        parts = {
            "sli-recordings": one.ratios() if recordings else (),
            "meta-recordings": one.metadata(info) if recordings else (),
            "alerts": one.alerts() if alerts else (),
        }
        groups += [RuleGroup(f"sloth-slo-{kind}-{slo.id}", rules) for kind, rules in parts.items() if rules]
    if not groups:
        raise ConfigError("no rules come out: every alert is disabled, and recordings were not asked for")
    return RuleFile(tuple(groups), title, _metadata(spec.meta) if spec.meta.name else None)


class _Slo:
    """The rules of one SLO."""

    def __init__(self, slo: SlothSlo, windows: AlertWindows, labels: Mapping[str, str]) -> None:
        if slo.plugins or isinstance(slo.sli, SlothPlugin):
            which = slo.sli.id if isinstance(slo.sli, SlothPlugin) else ", ".join(slo.plugins)
            what = "plugins are programs that only Sloth can run; write events or raw queries, or keep Sloth for it"
            raise ConfigError(f"the SLO {slo.id} needs the plugin {which}: {what}")
        self._slo, self._windows = slo, windows
        ids = {"sloth_id": slo.id, "sloth_service": slo.service, "sloth_slo": slo.name}
        self._ids = "{" + ", ".join(f'{name}="{value}"' for name, value in ids.items()) + "}"
        self._own, self._labels = ids, {**slo.labels, **labels}

    def ratios(self) -> tuple[Rule, ...]:
        """The ratio of errors over every range, and over the whole period."""
        period = self._windows.period
        return tuple(self._ratio(range_, range_ == period) for range_ in (*self._windows.ranges, period))

    def _ratio(self, range_: timedelta, whole: bool) -> Rule:
        window, sli = prometheus_duration(range_), self._slo.sli
        if whole:
            expr = _PERIOD.format(series=self._series(self._windows.page[0].short), window=window)
        elif isinstance(sli, SlothEvents):
            expr = _EVENTS.format(error=windowed(sli.error, window), total=windowed(sli.total, window))
        else:
            assert not isinstance(sli, SlothPlugin)
            expr = f"({windowed(sli.ratio, window)})"
        return Rule.recording(_record(range_), expr, {**self._own, "sloth_window": window, **self._labels})

    def _series(self, range_: timedelta) -> str:
        return f"{_record(range_)}{self._ids}"

    def metadata(self, info: Mapping[str, str]) -> tuple[Rule, ...]:
        """What the SLO is, as series: objective, budget, period, burn rates, what is left, and who made the rules."""
        objective, period = self._slo.objective / 100, self._windows.period
        burns = {
            "slo:current_burn_rate:ratio": self._series(self._windows.page[0].short),
            "slo:period_burn_rate:ratio": self._series(period),
        }
        exprs = {
            "slo:objective:ratio": f"vector({go_float(objective)})",
            "slo:error_budget:ratio": f"vector(1-{go_float(objective)})",
            "slo:time_period:days": f"vector({go_float(period / timedelta(days=1))})",
            **{record: _BURN.format(ratio=ratio, ids=self._ids) for record, ratio in burns.items()},
            "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{self._ids}",
        }
        labels = {**self._own, **self._labels}
        percent = f"{Decimal(repr(self._slo.objective)).normalize():f}"
        about = Rule.recording("sloth_slo_info", "vector(1)", {**labels, **info, "sloth_objective": percent})
        return (*(Rule.recording(record, expr, labels) for record, expr in exprs.items()), about)

    def alerts(self) -> tuple[Rule, ...]:
        """The page and the ticket alert, where they are not disabled."""
        given = ("page", self._slo.page, self._windows.page), ("ticket", self._slo.ticket, self._windows.ticket)
        return tuple(self._alert(name, alert, pair) for name, alert, pair in given if alert is not None)

    def _alert(self, severity: str, alert: SlothAlert, pair: tuple[BurnWindow, BurnWindow]) -> Rule:
        return Rule(
            "or\n".join(self._burning(window) for window in pair),
            alert=alert.name,
            labels={"sloth_severity": severity, **alert.labels},
            annotations={"title": _TITLE.format(severity=severity), "summary": _SUMMARY, **alert.annotations},
        )

    def _burning(self, window: BurnWindow) -> str:
        # Sloth subtracts in percent and divides then: 99.9% leaves 0.0009999999999999432, and that is compared with.
        budget = (100 - self._slo.objective) / 100
        return _PAIR.format(
            short=self._series(window.short),
            long=self._series(window.long),
            factor=go_float(self._windows.factor(window)),
            budget=go_float(budget),
        )


def _metadata(meta: SlothMeta) -> dict[str, Any]:
    found: dict[str, Any] = {"name": meta.name}
    if meta.namespace:
        found["namespace"] = meta.namespace
    found["labels"] = dict(sorted({**_OF_KUBERNETES, **meta.labels}.items()))
    if meta.annotations:
        found["annotations"] = dict(sorted(meta.annotations.items()))
    return found


def _record(range_: timedelta) -> str:
    return f"slo:sli_error:ratio_rate{prometheus_duration(range_)}"


def prometheus_duration(duration: timedelta) -> str:
    """Return a duration as Prometheus itself writes it: in years or weeks where it is whole ones, else from days down.

    >>> [prometheus_duration(timedelta(days=days)) for days in (3, 28, 30, 365)]
    ['3d', '4w', '30d', '1y']
    """
    for unit, days in (("y", 365), ("w", 7)):
        whole, rest = divmod(duration, timedelta(days=days))
        if whole and not rest:
            return f"{whole}{unit}"
    return format_duration(duration)


def go_float(number: float) -> str:
    """Return a number as Go's %g writes it: the shortest text that reads back the same, 1e-05 for the very small.

    >>> go_float(14.4), go_float(6.0), go_float(1 - 0.95), go_float(1e-05)
    ('14.4', '6', '0.050000000000000044', '1e-05')
    """
    return repr(number).removesuffix(".0")
