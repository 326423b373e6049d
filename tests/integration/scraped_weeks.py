"""Weeks of scraped counters, and what they are made of: traffic that fails in part, faults, restarts, lost scrapes.

A scenario is a week of one-minute scrapes of one to three instances; an instance has the counters bad, good and total.
``write_openmetrics`` writes many as one file for ``promtool tsdb create-blocks-from openmetrics``. Everything random
comes from the generator that is given.

Times are int64 milliseconds, values whole numbers as float64, NaN where a counter has no sample at that scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

import numpy as np

MINUTE, HOUR, DAY = 60_000, 60, 1440
N = 7 * DAY
BEGIN_MS = 660 * 744 * 3_600_000 + 86_400_000
"""The first scrape; all of the week lies in one block of 744 hours."""
METRICS = {"bad": "requests_bad", "good": "requests_good", "total": "requests"}
"""Counter -> its metric family; PromQL appends _total."""
HEALTHY = 0.0002


@dataclass(frozen=True)
class Instance:
    """What was scraped from one target; all arrays (n,)."""

    times_ms: np.ndarray
    bad: np.ndarray
    good: np.ndarray
    total: np.ndarray

    def where(self, kept: np.ndarray) -> Instance:
        """Return only the scrapes that are kept (mask or indices)."""
        return Instance(self.times_ms[kept], self.bad[kept], self.good[kept], self.total[kept])


@dataclass(frozen=True)
class Scenario:
    """One service: its instances are summed by the alerts."""

    name: str
    instances: tuple[Instance, ...]


Traffic = tuple[np.ndarray, np.ndarray]
"""Bad and total events between a scrape and the one before it, (N,)."""
Rng = np.random.Generator


def write_openmetrics(many: Sequence[Scenario], file: TextIO) -> None:
    """Write every sample of every scenario; labels are scenario and instance."""
    for counter, family in METRICS.items():
        file.write(f"# TYPE {family} counter\n")
        for scenario in many:
            for number, instance in enumerate(scenario.instances):
                labels = f'{{scenario="{scenario.name}",instance="{number}"}}'
                file.writelines(_lines(f"{family}_total{labels}", instance.times_ms, getattr(instance, counter)))
    file.write("# EOF\n")


def _lines(name: str, times_ms: np.ndarray, values: np.ndarray) -> Iterable[str]:
    there = np.isfinite(values)
    times, numbers = _seconds(times_ms[there]).tolist(), values[there].astype(np.int64).tolist()
    return [f"{name} {value} {time!r}\n" for time, value in zip(times, numbers, strict=True)]


def _seconds(times_ms: np.ndarray) -> np.ndarray:
    """Return seconds from which promtool, which cuts off after milliseconds, reads these very milliseconds."""
    seconds = times_ms / 1000.0
    cut = (seconds * 1000.0).astype(np.int64) != times_ms
    return np.where(cut, np.nextafter(seconds, np.inf), seconds)


def off_the_minute(instance: Instance, rng: Rng) -> Instance:
    """Scrape at a phase of the instance's own, each time up to 200 ms early or late; sometimes seconds late."""
    shift = rng.integers(200, MINUTE - 6000) + rng.integers(-200, 201, instance.times_ms.size)
    late = rng.random(instance.times_ms.size) < 0.002
    return replace(instance, times_ms=instance.times_ms + shift + late * rng.integers(500, 5000, late.size))


def traffic(rng: Rng, share: np.ndarray | float, a_minute: float = 600.0) -> Traffic:
    """Draw a week with a day's rhythm of which that share fails."""
    rhythm = 1 + 0.5 * np.sin(np.arange(N) * 2 * np.pi / DAY + rng.uniform(0, 6))
    total = rng.poisson(a_minute * rhythm)
    return rng.binomial(total, np.broadcast_to(share, N)), total


def scraped(events: Traffic, before: float = 1e6, restarts: Iterable[int] = ()) -> Instance:
    """Count events up; at each of the restarts all counters begin again at zero. ``before`` is the first total."""
    bad, total = (np.asarray(counts, float) for counts in events)
    starts = {"bad": np.round(before / 5000), "total": before}
    counted = {"bad": np.cumsum(bad) + starts["bad"], "total": np.cumsum(total) + before}
    for at in sorted(restarts):
        for counter in counted.values():
            counter[at:] -= counter[at - 1]
    good = counted["total"] - counted["bad"]
    return Instance(BEGIN_MS + MINUTE * np.arange(N, dtype=np.int64), counted["bad"], good, counted["total"])


def faults(rng: Rng, count: int, lengths: tuple[int, int], shares: Sequence[float]) -> np.ndarray:
    """Return the share that fails each minute: healthy but for ``count`` faults of that many minutes."""
    share = np.full(N, HEALTHY)
    for at in rng.integers(HOUR, N - lengths[1], count):
        share[at : at + rng.integers(*lengths)] = rng.choice(shares)
    return share


def runs(rng: Rng, count: int, lengths: tuple[int, int]) -> np.ndarray:
    """Return a mask (N,) with ``count`` runs of that many minutes."""
    mask = np.zeros(N, bool)
    for at in rng.integers(0, N, count):
        mask[at : at + rng.integers(*lengths)] = True
    return mask


def moments(rng: Rng, count: int) -> list[int]:
    """Return at most ``count`` different minutes, rising, none at the week's ends."""
    return sorted({int(at) for at in rng.integers(10, N - 10, count)})
