"""A study of delivery: one history looked at by weeks, its trends, its next weeks, and what definitions make of it.

A ``DeliveryStudy`` says what is asked, of a simulated history or of a real one; each function answers one part. The
services of a history are looked at together.

>>> asked = simulated("steady", weeks=12, seed=1)
>>> found = trends(asked)
>>> found["change_lead_time"].verdict, found["change_lead_time"].n
('no evidence', 12)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from node0lib.dora.forecast import LEVEL, Forecast, forecast
from node0lib.dora.history import History, micros
from node0lib.dora.profiles import METRICS, PROFILES, profile
from node0lib.dora.report import SCALES, GroupReport, Metric, report
from node0lib.dora.trends import WEEK, Trend, trend, week_ends
from node0lib.errors import DataError
from node0lib.ports import Progress
from node0lib.simulate.delivery import KINDS, end, events
from node0lib.simulate.delivery_trials import Trials, Weeks, trials, weekly
from node0lib.slo.catalogue import DoraTargets


@dataclass(frozen=True)
class DeliveryStudy:
    """The last ``weeks`` whole ISO weeks of a history before ``at``; ``name`` is the kind of history, or where it lies.

    ``target`` is the largest share of failed deployments that is aimed at, ``ahead`` how many weeks are forecast.
    """

    name: str
    history: History
    at: datetime
    weeks: int
    is_simulated: bool
    seed: int | None = None
    target: float = 0.05
    ahead: int = 4
    level: float = LEVEL


@dataclass(frozen=True)
class Defined:
    """The metrics of the whole time under one profile; ``start`` is where its lead time begins."""

    profile: str
    start: str
    metrics: Mapping[str, Metric]


def simulated(
    kind: str, weeks: int, seed: int, target: float = 0.05, ahead: int = 4, level: float = LEVEL
) -> DeliveryStudy:
    """Return the study of a simulated history of that kind (a name in KINDS); raises ConfigError for no week."""
    history = History.of(events(KINDS[kind], weeks, seed))
    return DeliveryStudy(kind, history, end(weeks), weeks, True, seed, target, ahead, level)


def values(asked: DeliveryStudy) -> Weeks:
    """Return the metrics week by week."""
    return weekly(asked.history, asked.weeks, micros(asked.at))[0]


def trends(asked: DeliveryStudy) -> dict[str, Trend]:
    """Return the trend of each metric."""
    found, sizes = weekly(asked.history, asked.weeks, micros(asked.at))
    return {name: trend(one, sizes=sizes[name]) for name, one in found.items()}


def forecasts(asked: DeliveryStudy) -> dict[str, Forecast]:
    """Return the forecast of each metric."""
    found, sizes = weekly(asked.history, asked.weeks, micros(asked.at))
    return {
        name: forecast(one, weeks=asked.ahead, level=asked.level, scale=SCALES[name], sizes=sizes[name])
        for name, one in found.items()
    }


def whole(asked: DeliveryStudy) -> Mapping[str, Metric]:
    """Return the metrics of the whole time at once, by node0's definitions."""
    return _defined(asked, "node0", author=False).metrics


def per_week(metrics: Mapping[str, Metric]) -> float | None:
    """Return how many deployments a week there were; None if that is not known."""
    found = metrics[METRICS[0]].value
    return None if found is None else 7 * found


def definitions(asked: DeliveryStudy) -> tuple[Defined, ...]:
    """Return the metrics of the whole time under every profile, and node0's from the author's time too."""
    author = _defined(asked, "node0", author=True)
    own, *others = (_defined(asked, name, author=False) for name in PROFILES)
    return (own, author, *others)


def every_kind(asked: DeliveryStudy, histories: int, seed: int, progress: Progress) -> dict[str, Trials]:
    """Return what is found in many simulated histories of each kind, as long as the study's."""
    found = {}
    for done, (name, team) in enumerate(KINDS.items()):
        progress("simulating histories", done, len(KINDS))
        sizes = {"weeks": asked.weeks, "histories": histories, "ahead": asked.ahead}
        found[name] = trials(team, **sizes, seed=seed, level=asked.level)
    progress("simulating histories", len(KINDS), len(KINDS))
    return found


def _defined(asked: DeliveryStudy, name: str, *, author: bool) -> Defined:
    meant = profile(name, author=author)
    targets = DoraTargets(change_fail_rate=asked.target)
    last = week_ends(asked.at, 1)[0]
    found = report(asked.history, last, profile=meant, targets=targets, windows=(WEEK * asked.weeks,), weeks=1)
    if not found.groups:
        raise DataError(f"{asked.name}: has no deployment to production; there is nothing to look at")
    return Defined(name, meant.lead, _metrics(found.groups[-1]))


def _metrics(group: GroupReport) -> dict[str, Metric]:
    (metrics,) = group.windows.values()
    return dict(zip(METRICS, metrics, strict=True))
