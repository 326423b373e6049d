"""The five metrics of every service and environment, each with what is needed to know what it says.

Groups are never blended silently: a row for each service in each environment asked for and, where there are several
services, one for all of them that says so (``service`` is None). Its counts are the sums of the others'. What is asked
of one environment changes nothing in another: incidents belong to ``production`` whether or not staging is asked for.

>>> from datetime import UTC
>>> from node0lib.dora.events import Deployment
>>> days = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(1, 8)]
>>> history = History.of([Deployment(f"d{day.day}", "shop", "production", day, day) for day in days])
>>> found = report(history, datetime(2026, 1, 8, tzinfo=UTC))
>>> [metric.verdict for metric in found.groups[0].windows["7d"]]
['missed', 'not shown by the data', 'not shown by the data', 'not shown by the data', 'not shown by the data']
>>> found.groups[0].windows["7d"][2].reason.split(":")[0]
'there is no incident and no failed deployment among the events'
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from node0lib.dora import trends
from node0lib.dora.bands import Target, bands, target_verdict
from node0lib.dora.bounds import Floats, wilson_bounds
from node0lib.dora.forecast import Forecast, Scale, forecast
from node0lib.dora.history import History, instant, micros
from node0lib.dora.linking import judge
from node0lib.dora.metrics import Group, Series, Windows
from node0lib.dora.profiles import METRICS, NODE0, Profile
from node0lib.dora.quick_check import BENCHMARKS_2025, answers, score
from node0lib.dora.remarks import ON_FAILURES, UNHEARD, remarks, unheard
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
SCALES: Mapping[str, Scale] = dict(zip(METRICS, ("count", "duration", "share", "duration", "share"), strict=True))


@dataclass(frozen=True)
class Metric:
    """One number of one window: None where there are no data, or not enough of them for an end of the interval.

    ``detail`` holds what else belongs to it: counts apart, the 0.9 quantile, Wilson's interval. ``reason`` is why
    nothing is shown where no event could have told a failure; the verdict then is the same with and without a target.
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
    reason: str | None = None

    def document(self, definition: str) -> dict[str, Any]:
        """Return the metric as JSON values."""
        asked = {"target": self.target, "verdict": self.verdict, "shown_at": CONFIDENCE, "reason": self.reason}
        target = None if self.verdict is None else asked
        numbers = {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "unit": UNITS[self.name]}
        words = {"definition": definition, "interval": METHODS[self.name]}
        return {**numbers, **words, "immature": self.immature, "target": target, "bands": self.bands, **self.detail}


@dataclass(frozen=True)
class Number:
    """One metric of one week: its value with a 95% interval, on how many it rests, and how much is immature."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    immature: float | None


@dataclass(frozen=True)
class GroupReport:
    """A service (None: all of them) in an environment: metrics by window, weeks by name, trends, forecasts of the next
    weeks (in the metric's unit), quick check."""

    service: str | None
    environment: str
    windows: Mapping[str, tuple[Metric, ...]]
    coverage: Mapping[str, float]
    weeks: Mapping[str, Mapping[str, Number]]
    trends: Mapping[str, Trend]
    forecasts: Mapping[str, Forecast]
    score: Mapping[str, float | None]


@dataclass(frozen=True)
class Report:
    """What ``report`` found at an instant under a profile; ``notes`` are what a reader must know besides."""

    at: datetime
    profile: Profile
    production: tuple[str, ...]
    groups: tuple[GroupReport, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values; unknown is null."""
        about = {"name": self.profile.name, "about": self.profile.about, "faults": list(self.profile.faults)}
        return {
            "at": format_instant(self.at),
            "profile": {**about, "definitions": self.profile.definitions},
            "maturity": format_duration(self.profile.maturity),
            "production": list(self.production),
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
            "weeks": {week: {name: vars(one) for name, one in row.items()} for week, row in group.weeks.items()},
            "trends": {name: vars(found) for name, found in group.trends.items()},
            "forecasts": {name: asdict(found) for name, found in group.forecasts.items()},
            "quick_check": dict(group.score),
        }


@dataclass(frozen=True)
class _Asked:
    """What is asked of every group."""

    at: datetime
    targets: DoraTargets
    windows: Sequence[timedelta]
    weeks: int
    season: int
    ahead: int
    unheard: bool


def report(
    history: History,
    at: datetime,
    *,
    profile: Profile = NODE0,
    targets: DoraTargets | None = None,
    environments: Sequence[str] = PRODUCTION,
    production: Collection[str] | None = None,
    windows: Sequence[timedelta] = WINDOWS,
    weeks: int = 12,
    maturity: timedelta | None = None,
    season: int = 1,
    ahead: int = 4,
) -> Report:
    """Return the report of an instant for the ``environments`` asked for.

    Incidents belong to the ``production`` environments: unless given, to "production" or, if that is not asked for, to
    those that are. ``maturity``, if declared, replaces the profile's, and what is known of a failure later than that
    counts nowhere. Trends compare weeks of one ``season``, forecasts look so many weeks ``ahead``.
    Raises ConfigError if no deployment was ever made to one of them while there are deployments elsewhere.
    """
    asked = _Asked(ensure_utc(at), targets or DoraTargets(), windows, weeks, season, ahead, unheard(history, at))
    profile = profile if maturity is None else replace(profile, maturity=maturity)
    live = tuple(production or (PRODUCTION if set(PRODUCTION) & set(environments) else environments))
    judged = judge(history, profile, frozenset(live), maturity)
    groups: list[GroupReport] = []
    for name in dict.fromkeys(environments):
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
            groups.append(_group(group, label, name, asked))
    return Report(asked.at, profile, live, tuple(groups), remarks(history, judged, asked.at))


def _group(group: Group, service: str | None, environment: str, asked: _Asked) -> GroupReport:
    found = {format_duration(length): group.windows([micros(asked.at)], length) for length in asked.windows}
    metrics = {length: _metrics(one, asked) for length, one in found.items()}
    past, slopes, coming = _weekly(group, asked)
    return GroupReport(
        service,
        environment,
        metrics,
        {length: float(one.coverage[0]) for length, one in found.items()},
        past,
        slopes,
        coming,
        {length: score(answers({metric.name: metric.value for metric in row})) for length, row in metrics.items()},
    )


def _series(found: Windows) -> tuple[Series, ...]:
    """In the order of METRICS."""
    return found.frequency, found.lead, found.fails, found.recovery, found.rework


def _metrics(found: Windows, asked: _Asked) -> tuple[Metric, ...]:
    targets = asked.targets
    wanted = (
        targets.deployments_per_day,
        targets.lead_time.total_seconds(),
        targets.change_fail_rate,
        targets.recovery_time.total_seconds(),
        None,
    )
    details = _details(found)
    made = (
        _metric(name, series, target, _number(found.immature[0]), details[name])
        for name, series, target in zip(METRICS, _series(found), wanted, strict=True)
    )
    return tuple(_silenced(one) if asked.unheard and one.name in ON_FAILURES else one for one in made)


def _silenced(metric: Metric) -> Metric:
    """The same numbers, which show nothing: none of the events could have told a failure."""
    return replace(metric, verdict="not shown by the data", reason=UNHEARD)


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
        "deployment_frequency": counts("retries", "rollbacks", "rolled_back", "never_arrived"),
        "change_lead_time": {"p90": quantile, **counts("negative_lead_times", "changes_without_a_start")},
        "change_fail_rate": _wilson(found.hits["failed"], found.fails, "failed"),
        "failed_deployment_recovery_time": counts("open", "negative_recoveries", "recoveries_not_told"),
        "deployment_rework_rate": _wilson(found.hits["rework"], found.rework, "rework"),
    }


def _wilson(hits: Any, series: Series, name: str) -> dict[str, Any]:
    low, high = wilson_bounds(hits, series.n)
    return {name: int(hits[0]), "wilson": {"low": _number(low[0]), "high": _number(high[0])}}


def _weekly(
    group: Group, asked: _Asked
) -> tuple[dict[str, dict[str, Number]], dict[str, Trend], dict[str, Forecast]]:
    """Numbers by week and metric, their trends and forecasts, since the first whole week of the group."""
    ends = trends.week_ends(asked.at, asked.weeks)
    if group.first is not None:
        ends = [end for end in ends if end - trends.WEEK >= instant(group.first)]
    if not ends or group.first is None:
        none = {name: _foretold(name, [], None, asked) for name in METRICS}
        return {}, {name: trends.trend([], asked.season) for name in METRICS}, none
    found = group.windows([micros(end) for end in ends], trends.WEEK)
    series = dict(zip(METRICS, _series(found), strict=True))
    rows = {
        trends.week_name(end): {name: _week(one, found.immature, place) for name, one in series.items()}
        for place, end in enumerate(ends)
    }
    values = {name: [_number(value) for value in one.value] for name, one in series.items()}
    sizes = {name: one.n.tolist() if SCALES[name] == "share" else None for name, one in series.items()}
    slopes = {name: trends.trend(one, asked.season, sizes[name]) for name, one in values.items()}
    return rows, slopes, {name: _foretold(name, one, sizes[name], asked) for name, one in values.items()}


def _week(series: Series, immature: Floats, place: int) -> Number:
    value, low, high = (_number(one[place]) for one in (series.value, series.low, series.high))
    return Number(value, low, high, int(series.n[place]), _number(immature[place]))


def _foretold(name: str, values: Sequence[float | None], sizes: Sequence[int] | None, asked: _Asked) -> Forecast:
    """The forecast in the metric's unit: counts are forecast by the week, and told by the day."""
    days = 7 if SCALES[name] == "count" else 1
    whole = [None if value is None else round(days * value, 9) for value in values]
    found = forecast(whole, weeks=asked.ahead, scale=SCALES[name], season=asked.season, sizes=sizes)
    ahead = tuple(
        replace(one, value=one.value / days, low=one.low / days, high=one.high / days) for one in found.ahead
    )
    return replace(found, ahead=ahead)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
