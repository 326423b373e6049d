"""Deployments out of a counter's samples, and bounds out of a histogram's: what a metrics server can say, and no more.

- A counter that rose by n between two samples counted n deployments in between. Each is told at the later sample: it
  finished at most the samples' distance earlier, and ``resolution`` is the longest one that counted.
- A counter that falls has begun again at 0: what the new one holds was counted since. What the old one counted after
  its last sample is lost, and so is what a series holds at its first sample: counted (``before``), not invented.
- A histogram has no values, only how many lay between its bounds. So of lead and recovery times there are a count, the
  mean, and for a quantile the bounds between which it lies; never a change or an incident.
- One series is one process. Two processes that tell of the same deployments tell of them twice: select one.

>>> samples = [(0.0, 5.0), (60.0, 5.0), (120.0, 7.0), (180.0, 1.0)]
>>> risen(Series({}, samples))
Risen(steps=((120.0, 60.0, 2), (180.0, 60.0, 1)), before=5, resets=1)
>>> spread({0.5: 2.0, 1.0: 9.0, math.inf: 10.0}, 6.0)["median"]
{'above': 0.5, 'at_most': 1.0}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from node0lib.dora.events import Deployment, Kind, Outcome
from node0lib.errors import ConfigError, DataError

Meaning = tuple[Outcome, Kind]
NEVER_ARRIVED: Meaning = ("failed", "normal")
TAKEN_BACK: Meaning = ("succeeded", "rollback")
MEANINGS: Mapping[str, Meaning] = {
    "success": ("succeeded", "normal"),
    "succeeded": ("succeeded", "normal"),
    "rolled_back": ("rolled_back", "normal"),
    "rollback": TAKEN_BACK,
    "failed": NEVER_ARRIVED,
    "failure": NEVER_ARRIVED,
    "error": NEVER_ARRIVED,
}
"""What a status means. node0's own exporter counts under ``failed`` what a later cycle took back: ``TAKEN_BACK``."""
_MOST = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Series:
    """A counter's labels and its samples, (seconds since 1970, value), oldest first."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]

    @property
    def text(self) -> str:
        """The labels as PromQL writes them, in their order."""
        return ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))


@dataclass(frozen=True)
class Risen:
    """Each rise as (when it was seen, seconds since the sample before, how many), what was counted before, resets."""

    steps: tuple[tuple[float, float, int], ...]
    before: int
    resets: int


@dataclass(frozen=True)
class Naming:
    """How labels name a deployment: ``service`` and ``environment`` where no label does, ``meanings`` of statuses."""

    metric: str
    service: str | None
    environment: str
    service_label: str = "service"
    environment_label: str = "environment"
    status_label: str = "status"
    meanings: Mapping[str, Meaning] | None = None

    def meaning(self, labels: Mapping[str, str]) -> Meaning:
        """Return what the status says; raises ConfigError if nobody said what it means."""
        status = labels.get(self.status_label, "success")
        given = self.meanings or {}
        if status in given:
            return given[status]
        if status == "failed" and "change_class" in labels:  # node0's own exporter
            return TAKEN_BACK
        if status not in MEANINGS:
            known = ", ".join(MEANINGS)
            raise ConfigError(f"{self.metric}: status {status!r} is none of {known}; say what it means with --status")
        return MEANINGS[status]

    def named(self, series: Series) -> tuple[str, str]:
        """Return the service and the environment of a series; raises ConfigError without a service."""
        service = series.labels.get(self.service_label) or self.service
        if not service:
            text = f"{self.metric}{{{series.text}}} has no label {self.service_label!r}"
            raise ConfigError(f"{text}; give the service with --service, or its label with --service-label")
        return service, series.labels.get(self.environment_label) or self.environment


@dataclass(frozen=True)
class Counted:
    """Deployments, and how exact they are: seconds by which a finish may lie earlier, and what was not counted."""

    deployments: tuple[Deployment, ...]
    resolution: float
    before: int
    resets: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of them."""
        found = []
        if self.deployments:
            exact = f"a deployment may have finished up to {self.resolution:g} s before the time that is given for it"
            found.append(f"{exact}; no sha, no commit and no start is known, so lead times are not")
        if self.before:
            found.append(f"{self.before} deployment(s) were counted before the first sample: when is not known")
        if self.resets:
            found.append(f"{self.resets} reset(s): what was counted between the last sample and a restart is lost")
        return tuple(found)


def risen(series: Series) -> Risen:
    """Return the rises of a counter; raises DataError if it is none."""
    finite = [(at, value) for at, value in series.samples if math.isfinite(value)]
    steps, resets = [], 0
    for (start, low), (end, high) in pairwise(finite):
        fell = high < low
        resets += fell
        count = _whole(high if fell else high - low, series)
        if count:
            steps.append((end, end - start, count))
    return Risen(tuple(steps), _whole(finite[0][1], series) if finite else 0, resets)


def _whole(value: float, series: Series) -> int:
    count = round(value)
    if value < 0 or abs(value - count) > 1e-6:
        raise DataError(f"{{{series.text}}} rose by {value:g}; a counter of deployments rises by whole ones")
    return count


def deployments(series: Iterable[Series], naming: Naming) -> Counted:
    """Return the deployments that counters counted; raises ConfigError or DataError where they do not count any."""
    found: list[Deployment] = []
    resolution, before, resets = 0.0, 0, 0
    for one in series:
        rises = risen(one)
        before, resets = before + rises.before, resets + rises.resets
        for at, distance, count in rises.steps:
            if count > _MOST:
                text = f"{naming.metric}{{{one.text}}} rose by {count} in {distance:g} s"
                raise DataError(f"{text}; that is no counter of deployments")
            resolution = max(resolution, distance)
            found.extend(_deployment(one, naming, at, place) for place in range(1, count + 1))
    return Counted(tuple(found), resolution, before, resets)


def _deployment(series: Series, naming: Naming, at: float, place: int) -> Deployment:
    service, environment = naming.named(series)
    outcome, kind = naming.meaning(series.labels)
    name = f"prometheus:{naming.metric}{{{series.text}}}@{at:.3f}#{place}"
    when = _EPOCH + timedelta(milliseconds=round(at * 1000))
    return Deployment(name, service, environment, when, when, outcome, kind=kind)


def bucketed(buckets: Iterable[Series]) -> dict[float, float]:
    """Return how many observations came in at or under each bound while the samples were taken.

    Buckets with the same ``le`` are added; raises DataError for an ``le`` that is no number.
    """
    found: dict[float, float] = {}
    for one in buckets:
        try:
            bound = float(one.labels.get("le", ""))
        except ValueError as error:
            raise DataError(f"{{{one.text}}} has no le that is a number; a histogram's buckets have one") from error
        found[bound] = found.get(bound, 0.0) + grown(one)
    return found


def grown(series: Series) -> float:
    """Return by how much a counter, of whole ones or not, has grown over its samples."""
    finite = [value for _, value in series.samples if math.isfinite(value)]
    return sum(high if high < low else high - low for low, high in pairwise(finite))


def spread(at_or_under: Mapping[float, float], total: float) -> dict[str, Any]:
    """Return the count, the mean, and bounds of median and 0.9 quantile; None where nothing was observed.

    ``total`` is the sum of the observations. A bound is None at the open end of the last bucket.
    """
    count = round(at_or_under.get(math.inf, 0.0))
    if not count:
        return {"count": 0, "mean": None, "median": None, "p90": None}
    quantiles = {name: _between(at_or_under, math.ceil(q * count)) for name, q in (("median", 0.5), ("p90", 0.9))}
    return {"count": count, "mean": total / count, **quantiles}


def _between(at_or_under: Mapping[float, float], rank: int) -> dict[str, float | None]:
    low = 0.0
    for bound in sorted(at_or_under):
        if at_or_under[bound] >= rank - 1e-6:
            return {"above": low, "at_most": None if math.isinf(bound) else bound}
        low = bound
    return {"above": low, "at_most": None}
