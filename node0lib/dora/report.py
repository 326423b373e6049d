"""The five metrics of every service and environment, each with what is needed to know what it says.

Groups are never blended silently: a row for each service in each environment asked for and, where there are several
services, one for all of them that says so (``service`` is None). Its counts are the sums of the others'.

>>> from datetime import UTC
>>> from node0lib.dora.events import Deployment
>>> days = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(1, 8)]
>>> history = History.of([Deployment(f"d{day.day}", "shop", "production", day, day) for day in days])
>>> found = report(history, datetime(2026, 1, 8, tzinfo=UTC))
>>> [metric.verdict for metric in found.groups[0].windows["7d"]]
['missed', 'not shown by the data', 'not shown by the data', 'not shown by the data', None]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from node0lib.dora import trends
from node0lib.dora.bands import Target, bands, target_verdict
from node0lib.dora.bounds import wilson_bounds
from node0lib.dora.history import History, instant, micros
from node0lib.dora.linking import Judged, judge
from node0lib.dora.metrics import Group, Series, Windows
from node0lib.dora.profiles import METRICS, NODE0, Profile
from node0lib.dora.quick_check import BENCHMARKS_2025, answers, score
from node0lib.dora.trends import Trend
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import DoraTargets
from node0lib.timespan import ensure_utc, format_duration, format_instant

WINDOWS = (timedelta(days=7), timedelta(days=30))
PRODUCTION = ("production",)
CONFIDENCE = "one-sided 95%, exact"
METHODS: Mapping[str, str] = {
    "deployment_frequency": "Poisson, exact (Garwood)",
    "change_lead_time": "order statistics, exact",
    "change_fail_rate": "binomial, exact (Clopper-Pearson)",
    "failed_deployment_recovery_time": "Kaplan-Meier median between order statistics, exact or wider",
    "deployment_rework_rate": "binomial, exact (Clopper-Pearson)",
}
UNITS = dict(zip(METRICS, ("per day", "seconds", "share", "seconds", "share"), strict=True))


@dataclass(frozen=True)
class Metric:
    """One number of one window: None where there are no data, or not enough of them for an end of the interval.

    ``detail`` holds what else belongs to it: counts apart, the 0.9 quantile, Wilson's interval.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    immature: float | None
    target: float | None
    verdict: Target | None
    bands: Mapping[str, Mapping[str, str | None]]
    detail: Mapping[str, Any] = field(default_factory=dict)

    def document(self, definition: str) -> dict[str, Any]:
        """Return the metric as JSON values."""
        asked = {"target": self.target, "verdict": self.verdict, "shown_at": CONFIDENCE}
        target = None if self.target is None else asked
        numbers = {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "unit": UNITS[self.name]}
        words = {"definition": definition, "interval": METHODS[self.name]}
        return {**numbers, **words, "immature": self.immature, "target": target, "bands": self.bands, **self.detail}


@dataclass(frozen=True)
class GroupReport:
    """A service (None: all of them) in an environment: metrics by window, weeks by name, trends, quick check."""

    service: str | None
    environment: str
    windows: Mapping[str, tuple[Metric, ...]]
    coverage: Mapping[str, float]
    weeks: Mapping[str, Mapping[str, float | None]]
    trends: Mapping[str, Trend]
    score: Mapping[str, float | None]


@dataclass(frozen=True)
class Report:
    """What ``report`` found at an instant under a profile; ``notes`` are what a reader must know besides."""

    at: datetime
    profile: Profile
    groups: tuple[GroupReport, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values; unknown is null."""
        about = {"name": self.profile.name, "about": self.profile.about, "faults": list(self.profile.faults)}
        return {
            "at": format_instant(self.at),
            "profile": {**about, "definitions": self.profile.definitions},
            "maturity": format_duration(self.profile.maturity),
            "groups": [self._group(group) for group in self.groups],
            "benchmarks_2025": {"all": BENCHMARKS_2025["all"].score},
            "notes": list(self.notes),
        }

    def _group(self, group: GroupReport) -> dict[str, Any]:
        words = self.profile.definitions
        return {
            "service": group.service,
            "environment": group.environment,
            "windows": {
                length: {metric.name: metric.document(words[metric.name]) for metric in metrics}
                for length, metrics in group.windows.items()
            },
            "coverage": dict(group.coverage),
            "weeks": {name: dict(values) for name, values in group.weeks.items()},
            "trends": {name: vars(found) for name, found in group.trends.items()},
            "quick_check": dict(group.score),
        }


def report(
    history: History,
    at: datetime,
    *,
    profile: Profile = NODE0,
    targets: DoraTargets | None = None,
    environments: Sequence[str] = PRODUCTION,
    windows: Sequence[timedelta] = WINDOWS,
    weeks: int = 12,
    maturity: timedelta | None = None,
) -> Report:
    """Return the report of an instant; ``environments`` are those asked for, to which incidents belong.

    ``maturity``, if declared, replaces the profile's, and what is known of a failure later than that counts nowhere.
    Raises ConfigError if no deployment was ever made to one of them while there are deployments elsewhere.
    """
    at, targets = ensure_utc(at), targets or DoraTargets()
    profile = profile if maturity is None else replace(profile, maturity=maturity)
    judged = judge(history, profile, frozenset(environments), maturity)
    groups: list[GroupReport] = []
    for name in environments:
        if name not in history.environments:
            if history.environments:
                known = ", ".join(history.environments)
                raise ConfigError(f"nothing was ever deployed to {name!r}; there are deployments to {known}")
            continue
        place = history.environments.index(name)
        present = np.unique(history.service[history.environment == place]).tolist()
        for service in [*present, *([None] if len(present) > 1 else [])]:
            group = Group(history, judged, profile, service, place)
            label = None if service is None else history.services[service]
            groups.append(_group(group, label, name, at, targets, windows, weeks))
    return Report(at, profile, tuple(groups), _notes(history, judged, at))


def _group(
    group: Group,
    service: str | None,
    environment: str,
    at: datetime,
    targets: DoraTargets,
    windows: Sequence[timedelta],
    weeks: int,
) -> GroupReport:
    found = {format_duration(length): group.windows([micros(at)], length) for length in windows}
    metrics = {length: _metrics(one, targets) for length, one in found.items()}
    past, slopes = _weekly(group, at, weeks)
    return GroupReport(
        service,
        environment,
        metrics,
        {length: float(one.coverage[0]) for length, one in found.items()},
        past,
        slopes,
        {length: score(answers({metric.name: metric.value for metric in row})) for length, row in metrics.items()},
    )


def _series(found: Windows) -> tuple[Series, ...]:
    """In the order of METRICS."""
    return found.frequency, found.lead, found.fails, found.recovery, found.rework


def _metrics(found: Windows, targets: DoraTargets) -> tuple[Metric, ...]:
    wanted = (
        targets.deployments_per_day,
        targets.lead_time.total_seconds(),
        targets.change_fail_rate,
        targets.recovery_time.total_seconds(),
        None,
    )
    details = _details(found)
    return tuple(
        _metric(name, series, target, _number(found.immature[0]), details[name])
        for name, series, target in zip(METRICS, _series(found), wanted, strict=True)
    )


def _metric(
    name: str, series: Series, target: float | None, immature: float | None, detail: Mapping[str, Any]
) -> Metric:
    value, low, high, least, most = (
        _number(one[0]) for one in (series.value, series.low, series.high, series.at_least, series.at_most)
    )
    verdict: Target | None = None
    if target is not None:
        more = name == "deployment_frequency"
        verdict = target_verdict(target, at_least=least, at_most=most, more_is_better=more)
    return Metric(
        name, value, low, high, int(series.n[0]), immature, target, verdict, bands(name, value, low, high), detail
    )


def _details(found: Windows) -> dict[str, dict[str, Any]]:
    def counts(*names: str) -> dict[str, int]:
        return {name: int(found.apart[name][0]) for name in names}

    p90 = found.lead_p90
    quantile = {"value": _number(p90.value[0]), "low": _number(p90.low[0]), "high": _number(p90.high[0])}
    return {
        "deployment_frequency": counts("retries", "rollbacks", "never_arrived"),
        "change_lead_time": {"p90": quantile, **counts("negative_lead_times", "changes_without_a_start")},
        "change_fail_rate": _wilson(found.hits["failed"], found.fails, "failed"),
        "failed_deployment_recovery_time": counts("open", "negative_recoveries", "recoveries_not_told"),
        "deployment_rework_rate": _wilson(found.hits["rework"], found.rework, "rework"),
    }


def _wilson(hits: Any, series: Series, name: str) -> dict[str, Any]:
    low, high = wilson_bounds(hits, series.n)
    return {name: int(hits[0]), "wilson": {"low": _number(low[0]), "high": _number(high[0])}}


def _weekly(group: Group, at: datetime, weeks: int) -> tuple[dict[str, dict[str, float | None]], dict[str, Trend]]:
    """Values by week and metric, and their trends, since the first whole week of the group."""
    ends = trends.week_ends(at, weeks)
    if group.first is not None:
        ends = [end for end in ends if end - trends.WEEK >= instant(group.first)]
    if not ends or group.first is None:
        return {}, {name: trends.trend([]) for name in METRICS}
    found = group.windows([micros(end) for end in ends], trends.WEEK)
    columns = {name: [_number(value) for value in one.value] for name, one in zip(METRICS, _series(found), strict=True)}
    rows = {
        trends.week_name(end): {name: columns[name][place] for name in METRICS} for place, end in enumerate(ends)
    }
    return rows, {name: trends.trend(values) for name, values in columns.items()}


def _notes(history: History, judged: Judged, at: datetime) -> tuple[str, ...]:
    strangers = sorted({history.services[code] for code in history.incident_service} - _deployed(history))
    later = int(np.count_nonzero(history.finished > micros(at)) + np.count_nonzero(history.opened > micros(at)))
    told = (
        (judged.timed, "incident(s) name no deployment and were linked by the time rule"),
        (judged.unlinked, "incident(s) name no deployment and follow none closely enough: they count nowhere"),
        (judged.unknown, "incident(s) name a deployment that is not among the events: they count nowhere"),
        (judged.late, "incident(s) or rollback(s) came later than the declared maturity: they changed nothing"),
        (later, "event(s) lie after the instant of the report and were not looked at"),
    )
    notes = [f"{count} {text}" for count, text in told if count]
    if not len(history.opened) and len(history.finished):
        notes.append("there is no incident among the events: a fail rate without them only knows of rollbacks")
    notes += [f"incidents name the service {name!r}, which was never deployed" for name in strangers]
    return tuple(notes)


def _deployed(history: History) -> set[str]:
    return {history.services[code] for code in np.unique(history.service)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
