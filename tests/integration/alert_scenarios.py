"""Seeded weeks on which burn-rate alerts behave in every way that production knows.

``KINDS`` is the table of what can happen: outages, slow burns, flapping, hardly any or no traffic, lost scrapes,
resets, restarts, series that are born late, ratios that lie exactly on a threshold, zeros and gaps where extrapolation
changes its ways. Each kind comes in two: seed 0 is scraped on the minute (where closed and left-open ranges differ
most), seed 1 at a phase and with a jitter of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scraped_weeks import (
    DAY,
    HEALTHY,
    HOUR,
    Instance,
    N,
    Rng,
    Scenario,
    Traffic,
    faults,
    moments,
    off_the_minute,
    runs,
    scraped,
    traffic,
)

THRESHOLDS = (0.0144, 0.006, 0.003, 0.001)


def scenarios() -> list[Scenario]:
    """Return all of them, the same ones on every call."""
    return [_scenario(kind, number, seed) for number, kind in enumerate(KINDS) for seed in (0, 1)]


def _scenario(kind: str, number: int, seed: int) -> Scenario:
    rng = np.random.default_rng((number, seed))
    instances = tuple(off_the_minute(one, rng) if seed else one for one in KINDS[kind](rng))
    return Scenario(f"{kind}-{seed}", instances)


def _some(rng: Rng) -> Traffic:
    """A week in which something happens: outages from seconds to hours, partial and full."""
    return traffic(rng, faults(rng, 8, (2, 240), (0.005, 0.02, 0.1, 1.0)))


def _healthy(rng: Rng) -> list[Instance]:
    return [scraped(traffic(rng, HEALTHY))]


def _outage_full(rng: Rng) -> list[Instance]:
    return [scraped(traffic(rng, faults(rng, 4, (2, 120), (1.0,))))]


def _outage_partial(rng: Rng) -> list[Instance]:
    return [scraped(traffic(rng, faults(rng, 6, (5, 360), (0.01, 0.02, 0.05, 0.3))))]


def _slow_burn(rng: Rng) -> list[Instance]:
    share = np.interp(np.arange(N), (0, 2 * DAY, 4 * DAY, 5 * DAY), (HEALTHY, 0.0012, 0.0065, HEALTHY))
    return [scraped(traffic(rng, share, 3000))]


def _flapping(rng: Rng) -> list[Instance]:
    minute, period = np.arange(N), rng.integers(8, 90)
    on = (minute % period < period * 0.3) & (minute % (2 * DAY) < DAY)
    return [scraped(traffic(rng, np.where(on, rng.choice((0.04, 0.1)), HEALTHY)))]


def _low_traffic(rng: Rng) -> list[Instance]:
    return [scraped(traffic(rng, 0.02, rng.choice((0.03, 0.2))), before=0)]


def _one_a_day(rng: Rng) -> list[Instance]:
    total = np.zeros(N, int)
    total[moments(rng, 9)] = 1
    return [scraped((total * (rng.random(N) < 0.5), total), before=rng.integers(0, 2))]


def _idle_nights(rng: Rng) -> list[Instance]:
    bad, total = traffic(rng, faults(rng, 20, (5, 90), (0.05, 0.5)))
    awake = np.arange(N) % DAY < 16 * HOUR
    return [scraped((bad * awake, total * awake))]


def _no_traffic(rng: Rng) -> list[Instance]:
    nothing = np.zeros(N)
    return [scraped((nothing, nothing), before=rng.choice((0, 5000)))]


def _traffic_stops(rng: Rng) -> list[Instance]:
    bad, total = traffic(rng, faults(rng, 6, (30, 300), (0.02, 1.0)))
    goes = ~runs(rng, 8, (2, 600))
    return [scraped((bad * goes, total * goes))]


def _lost_scrapes(rng: Rng) -> list[Instance]:
    return [scraped(_some(rng)).where(rng.random(N) > 0.06)]


def _half_lost(rng: Rng) -> list[Instance]:
    return [scraped(_some(rng)).where(rng.random(N) > 0.5)]


def _short_gaps(rng: Rng) -> list[Instance]:
    return [scraped(_some(rng)).where(~runs(rng, 300, (1, 6)))]


def _long_gaps(rng: Rng) -> list[Instance]:
    return [scraped(_some(rng)).where(~runs(rng, 12, (30, 700)))]


def _resets(rng: Rng) -> list[Instance]:
    return [scraped(_some(rng), restarts=moments(rng, 150))]


def _restarts(rng: Rng) -> list[Instance]:
    at = moments(rng, 12)
    down = np.zeros(N, bool)
    for start in at:
        down[start - rng.integers(1, 8) : start] = True
    return [scraped(_some(rng), restarts=at).where(~down)]


def _crash_loop(rng: Rng) -> list[Instance]:
    failing = runs(rng, 5, (60, 400))
    crashes = np.flatnonzero(failing & (np.arange(N) % 4 == 0) & (np.arange(N) > 10))
    bad, total = traffic(rng, np.where(failing, 0.3, HEALTHY), 20)
    return [scraped((bad, total), restarts=crashes.tolist()).where(~failing | (rng.random(N) < 0.7))]


def _from_zero(rng: Rng) -> list[Instance]:
    share = np.where(np.arange(N) < 3 * HOUR, 0.05, HEALTHY)
    return [scraped(traffic(rng, share, rng.choice((3, 300))), before=0)]


def _born_midweek(rng: Rng) -> list[Instance]:
    born = int(rng.integers(DAY, 3 * DAY))
    share = np.where(np.arange(N) < born + 40, 0.2, HEALTHY)
    return [scraped(traffic(rng, share, 40), before=0, restarts=[born]).where(np.arange(N) >= born)]


def _gone_midweek(rng: Rng) -> list[Instance]:
    gone = int(rng.integers(3 * DAY, 5 * DAY))
    share = np.where(np.arange(N) > gone - 90, 0.03, HEALTHY)
    return [scraped(traffic(rng, share)).where(np.arange(N) < gone)]


def _late_errors(rng: Rng) -> list[Instance]:
    return [_unborn_errors(scraped(traffic(rng, faults(rng, 5, (10, 300), (0.02, 0.4)) - HEALTHY), before=0))]


def _unborn_errors(instance: Instance) -> Instance:
    """The counter of bad events does not exist before the first bad event."""
    return replace(instance, bad=np.where(instance.bad > 0, instance.bad, np.nan))


def _counters_apart(rng: Rng) -> list[Instance]:
    one = scraped(_some(rng))
    holes = [np.where(rng.random(N) < 0.03, np.nan, values) for values in (one.bad, one.good, one.total)]
    return [Instance(one.times_ms, *holes)]


def _drifting(rng: Rng) -> list[Instance]:
    one = scraped(_some(rng))
    drift = np.arange(N) * rng.integers(-6, 6)
    return [replace(one, times_ms=one.times_ms + drift)]


def _on_the_threshold(rng: Rng) -> list[Instance]:
    """Exactly 14.4, 6, 3 and 1 per mille for stretches of the week: nothing is above, rounding decides."""
    share = np.repeat(rng.permutation([*THRESHOLDS, 0.0, THRESHOLDS[0], THRESHOLDS[1]]), DAY)
    total = np.full(N, 10_000)
    return [scraped((np.round(total * share), total))]


def _replicas_on_the_threshold(rng: Rng) -> list[Instance]:
    """The same, summed over three: the order and the compensation of the sum decide."""
    share = np.repeat(rng.permutation([*THRESHOLDS, *THRESHOLDS[:3]]), DAY)
    return [scraped((np.round(total * share), np.full(N, total))) for total in (5000, 35_000, 15_000)]


def _around_thresholds(rng: Rng) -> list[Instance]:
    share = np.repeat(rng.choice(THRESHOLDS, N // 120) * rng.uniform(0.9, 1.15, N // 120), 120)
    return [scraped(traffic(rng, share, 20_000))]


def _bursts(rng: Rng) -> list[Instance]:
    bad, total = traffic(rng, 0.0, 200)
    at = rng.integers(10, N, 120)
    bad[at] = np.minimum(total[at], rng.choice((1, 5, 30, 173, 500), 120))
    return [scraped((bad, total))]


def _born_failing(rng: Rng) -> list[Instance]:
    """Begun anew at zero after every gap: a few bad requests at once, then shares just under a threshold.

    At first the total is extrapolated less than the bad events, so that the ratio lies above its plain differences'.
    """
    share, total, kept = np.zeros(N), rng.poisson(2000, N), np.ones(N, bool)
    births = []
    for number, (cycle, gap) in enumerate(((30, 7), (120, 35), (480, 130), (1200, 380))):
        days = np.arange(N) // DAY
        minute = np.arange(N) % cycle
        now = days % 4 == number
        share[now] = THRESHOLDS[number] * np.repeat(rng.uniform(0.9, 1.0, N // 10), 10)[now]
        kept &= ~(now & (minute < gap))
        births += np.flatnonzero(now & (minute == gap) & (np.arange(N) > 0)).tolist()
    bad = rng.binomial(total, share)
    bad[births], total[births] = rng.integers(1, 30, len(births)), rng.integers(30, 900, len(births))
    return [scraped((bad, total), restarts=births).where(kept)]


def _errors_near_zero(rng: Rng) -> list[Instance]:
    """A gap between a restart and its first errors: 2.x extrapolates those further than the total, 3.x as far."""
    cycle = np.arange(N) % 30
    parts = [(cycle >= 8) & (cycle < 14), (cycle >= 14) & (cycle < 21)]
    share = THRESHOLDS[0] * np.select(parts, [np.repeat(rng.uniform(0.75, 1.0, N // 30), 30), np.full(N, 5.0)], 0.0)
    total = np.full(N, 5000)
    restarts = np.flatnonzero(cycle == 0)[1:].tolist()
    return [scraped((np.round(total * share), total), restarts=restarts).where((cycle < 3) | (cycle >= 8))]


def _at_the_limit_of_extrapolation(rng: Rng) -> list[Instance]:
    """Gaps that end 66 s, which is 1.1 intervals, before or after an evaluation; one of the two has all the errors."""
    share = np.repeat(rng.choice(THRESHOLDS[:2], N // 60) * rng.uniform(1.9, 2.1, N // 60), 60)
    instances = []
    for phase, fails in ((54_000, share), (6000, 0.0)):
        one = scraped(traffic(rng, fails, 5000))
        lost = np.arange(N) % 17 < rng.integers(1, 3)
        instances.append(replace(one, times_ms=one.times_ms + phase).where(~lost))
    return instances


def _replicas(rng: Rng) -> list[Instance]:
    share = faults(rng, 8, (3, 200), (0.01, 0.1, 0.8))
    return [scraped(traffic(rng, share, a_minute)) for a_minute in (500, 300, 20)]


def _one_replica_fails(rng: Rng) -> list[Instance]:
    shares = [faults(rng, 6, (10, 200), (0.05, 1.0)), HEALTHY]
    return [scraped(traffic(rng, share)).where(rng.random(N) > 0.02) for share in shares]


def _late_replica(rng: Rng) -> list[Instance]:
    born = int(rng.integers(DAY, 4 * DAY))
    late = scraped(traffic(rng, np.where(np.arange(N) < born + 60, 0.1, HEALTHY), 900), restarts=[born])
    return [scraped(_some(rng)), late.where(np.arange(N) >= born)]


def _late_replica_errors(rng: Rng) -> list[Instance]:
    shares = [faults(rng, 3, (10, 400), (0.01, 0.1)) - HEALTHY for _ in range(2)]
    return [_unborn_errors(scraped(traffic(rng, share), before=0)) for share in shares]


def _one_replica_restarts(rng: Rng) -> list[Instance]:
    share = faults(rng, 8, (3, 200), (0.01, 0.1, 0.8))
    restarts: list[list[int]] = [moments(rng, 60), []]
    return [scraped(traffic(rng, share), before=0, restarts=at) for at in restarts]


def _rollouts(rng: Rng) -> list[Instance]:
    """Every two days the instance is replaced by a new one that begins at zero; the two overlap for minutes."""
    edges, instances = (0, 2 * DAY, 4 * DAY, N), []
    for start, end in zip(edges, edges[1:], strict=False):
        one = scraped(_some(rng), before=0, restarts=[start] if start else [])
        minutes = np.arange(N)
        instances.append(one.where((minutes >= start) & (minutes < end + 5)))
    return instances


KINDS: dict[str, Callable[[Rng], list[Instance]]] = {
    make.__name__.strip("_").replace("_", "-"): make
    for make in (
        _healthy,
        _outage_full,
        _outage_partial,
        _slow_burn,
        _flapping,
        _low_traffic,
        _one_a_day,
        _idle_nights,
        _no_traffic,
        _traffic_stops,
        _lost_scrapes,
        _half_lost,
        _short_gaps,
        _long_gaps,
        _resets,
        _restarts,
        _crash_loop,
        _from_zero,
        _born_midweek,
        _gone_midweek,
        _late_errors,
        _counters_apart,
        _drifting,
        _on_the_threshold,
        _replicas_on_the_threshold,
        _around_thresholds,
        _bursts,
        _born_failing,
        _errors_near_zero,
        _at_the_limit_of_extrapolation,
        _replicas,
        _one_replica_fails,
        _late_replica,
        _late_replica_errors,
        _one_replica_restarts,
        _rollouts,
    )
}
