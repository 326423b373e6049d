"""The world around the embedded node, minute by minute: traffic, drifting dependencies, incidents.

Promise: the same seed and minute give the same environment, in whatever order or chunk it is asked for. Minute m
covers the seconds (60 m, 60 (m + 1)] since the epoch. Everything is drawn per whole hour (incidents: per UTC day)
from ``SeedSequence(seed, spawn_key=(purpose, hour))``; slow drift is interpolated between values that belong to
the hour's two ends, so that it needs no state that runs through time.

| constant   | value  | meaning                                                                        |
|------------|--------|--------------------------------------------------------------------------------|
| MEAN_RATE  | 100/s  | requests at the API, averaged over a month                                     |
| DAY        | 0.38   | amplitude of the day (peak 14:00 UTC); a second harmonic of 0.08               |
| WEEKEND    | 0.78   | factor on Saturday and Sunday                                                  |
| DRIFT      | 0.06   | sd of the log of the hourly drift of traffic; 0.04 for each dependency         |
| JITTER     | 0.05   | sd of the log of the minute's noise on top (counts are overdispersed)          |
| INCIDENTS  | 0.16/d | partial outage 10-40 min with 1-10% errors; slow dependency; burst of traffic  |

>>> environment(7, 29_000_000, 3).requests.tolist() == environment(7, 28_999_999, 9).requests[1:4].tolist()
True
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MEAN_RATE, DAY, SECOND_HARMONIC, WEEKEND = 100.0, 0.38, 0.08, 0.78
DRIFT, DEPENDENCY_DRIFT, JITTER, DEPENDENCY_JITTER = 0.06, 0.04, 0.05, 0.02
INCIDENTS_PER_DAY, PEAK_HOUR = 0.16, 14.0
SERVICES = ("api", "alpha", "llm", "tools", "agent")
FAULTY = ("api", "alpha", "llm", "tools")
MINUTES_PER_DAY = 1440
_PURPOSES = {"traffic": 0, "drift": 1, "incidents": 2, "jitter": 3, "counts": 4, "evaluate": 5, "split": 6}


def generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """Return the generator of one purpose; ``key`` are non-negative integers such as the hour."""
    spawned = np.random.SeedSequence(seed, spawn_key=(_PURPOSES[purpose], *key))
    return np.random.Generator(np.random.PCG64(spawned))


@dataclass(frozen=True)
class Environment:
    """What a span of minutes is like; nothing in it depends on a policy. All arrays have n rows.

    ``requests`` (n,) per minute at the API; ``slow`` (n, 5) factors on the service times of ``SERVICES``;
    ``faults`` (n, 4) extra error ratios of ``FAULTY`` that no retry cures.
    """

    requests: Floats
    slow: Floats
    faults: Floats

    def factor(self, service: str) -> Floats:
        """Return the slowness (n,) of a service; 1 is usual."""
        return self.slow[:, SERVICES.index(service)]

    def fault(self, service: str) -> Floats:
        """Return the extra error ratio (n,) of a service."""
        return self.faults[:, FAULTY.index(service)]

    def blocks(self, length: int) -> Environment:
        """Return the means over consecutive blocks of ``length`` minutes (n must be a multiple)."""
        means = [getattr(self, f.name) for f in fields(self)]
        return Environment(*(a.reshape(-1, length, *a.shape[1:]).mean(axis=1) for a in means))

    def part(self, start: int, end: int) -> Environment:
        """Return the rows start..end-1."""
        return Environment(self.requests[start:end], self.slow[start:end], self.faults[start:end])


@dataclass(frozen=True)
class Incident:
    """Something that goes wrong at ``first`` (minute since the epoch) for ``minutes``.

    ``kind`` is outage (``size``: error ratio), slow (factor on the service time) or burst (factor on traffic).
    """

    kind: str
    service: str
    first: int
    minutes: int
    size: float

    def overlap(self, first: int, n: int) -> slice:
        """Return the rows of the minutes first..first+n-1 that it touches (possibly none)."""
        start = max(0, self.first - first)
        return slice(min(start, n), max(start, min(n, self.first + self.minutes - first)))


def incidents(seed: int, day: int) -> tuple[Incident, ...]:
    """Return the incidents that begin on a day since the epoch: none on most days."""
    draw = generator(seed, "incidents", day)
    found = []
    for _ in range(int(draw.poisson(INCIDENTS_PER_DAY))):
        kind = ("outage", "slow", "burst")[int(draw.choice(3, p=[0.5, 0.3, 0.2]))]
        names = {"outage": ("api", "alpha", "tools"), "slow": ("alpha", "llm", "tools"), "burst": ("api",)}[
            kind
        ]
        low, high = {"outage": (0.01, 0.10), "slow": (1.5, 3.0), "burst": (1.4, 1.9)}[kind]
        service = names[int(draw.integers(len(names)))]
        first = day * MINUTES_PER_DAY + int(draw.integers(MINUTES_PER_DAY))
        size = low * (high / low) ** float(draw.random())
        found.append(Incident(kind, service, first, int(draw.integers(10, 41)), size))
    return tuple(found)


def usual_rate(minute: NDArray[np.int64]) -> Floats:
    """Return requests per second by time of day and week (n,), before any noise."""
    phase = 2 * np.pi * ((minute % MINUTES_PER_DAY) / 60.0 - PEAK_HOUR) / 24.0
    weekday = (minute // MINUTES_PER_DAY + 3) % 7  # day 0 of the epoch was a Thursday
    shape = 1.0 + DAY * np.cos(phase) + SECOND_HARMONIC * np.cos(2 * phase)
    mean = (5.0 + 2.0 * WEEKEND) / 7.0
    return np.asarray(MEAN_RATE / mean * shape * np.where(weekday >= 5, WEEKEND, 1.0))


@lru_cache(maxsize=8192)
def _node(seed: int, hour: int) -> Floats:
    """Return the drift (6,) at the start of an hour: traffic first, then the services."""
    return generator(seed, "drift", hour).standard_normal(1 + len(SERVICES))


def _drift(seed: int, hour: int) -> Floats:
    """Return the logs (60, 6) of the slow drift in an hour, of constant variance between its nodes."""
    along = (np.arange(60) + 0.5)[:, None] / 60.0
    mixed = (1 - along) * _node(seed, hour) + along * _node(seed, hour + 1)
    scale = np.array([DRIFT] + [DEPENDENCY_DRIFT] * len(SERVICES))
    return np.asarray(scale * mixed / np.hypot(1 - along, along))


def _jitter(seed: int, hour: int) -> Floats:
    """Return the logs (60, 6) of the minute's own noise."""
    scale = np.array([JITTER] + [DEPENDENCY_JITTER] * len(SERVICES))
    return np.asarray(scale * generator(seed, "jitter", hour).standard_normal((60, scale.size)))


@lru_cache(maxsize=4096)
def hour_environment(seed: int, hour: int) -> Environment:
    """Return the 60 minutes of an hour since the epoch."""
    first = hour * 60
    noise = np.exp(_drift(seed, hour) + _jitter(seed, hour))
    rate, slow = usual_rate(np.arange(first, first + 60)) * noise[:, 0], noise[:, 1:]
    faults = np.zeros((60, len(FAULTY)))
    day = first // MINUTES_PER_DAY
    for incident in (*incidents(seed, day - 1), *incidents(seed, day)):
        rows = incident.overlap(first, 60)
        if incident.kind == "outage":
            faults[rows, FAULTY.index(incident.service)] += incident.size
        elif incident.kind == "slow":
            slow[rows, SERVICES.index(incident.service)] *= incident.size
        else:
            rate[rows] *= incident.size
    # Rounded first, so that another machine's last bit of exp() does not change a draw.
    requests = generator(seed, "traffic", hour).poisson(np.rint(rate * 60 * 1024) / 1024)
    result = Environment(requests.astype(np.float64), slow, faults)
    for array in (result.requests, result.slow, result.faults):
        array.flags.writeable = False  # it is shared by everybody who asks for this hour
    return result


def environment(seed: int, first: int, n: int) -> Environment:
    """Return the minutes first..first+n-1 since the epoch."""
    hours = [hour_environment(seed, h) for h in range(first // 60, (first + n - 1) // 60 + 1)]
    whole = Environment(*(np.concatenate([getattr(h, f.name) for h in hours]) for f in fields(Environment)))
    offset = first % 60
    return whole.part(offset, offset + n)
