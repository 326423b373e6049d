"""Closed forms of queueing theory, vectorised: what the embedded node's latencies follow from.

Every function is elementwise over numpy arrays (rates in 1/s, times in s) and finite for any load: at or above
``CAP`` of the capacity a wait is that at ``CAP``, because a minute is too short for a queue to reach infinity.
``overload`` says which share of the work cannot be served at all.

Sources: Erlang C and Pollaczek-Khinchine (any textbook); Y. Inoue, "Queueing analysis of GPU-based inference
servers with dynamic batching" (2021), Theorem 2; M. Mitzenmacher, "The power of two choices" (2001), the
mean-field limit of JSQ(d); N. C. Fofack et al., "Performance evaluation of hierarchical TTL-based cache
networks" (2014), TTL without reset.

>>> round(float(wait_mmc(80.0, 0.1, 10)), 6)
0.020459
>>> round(float(jsq_mean_field(0.9, 2)), 6)
2.614057
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CAP = 0.995
"""The utilisation at which waits stop growing."""


def erlang_c(offered: ArrayLike, servers: int) -> Floats:
    """Return the probability that a job waits in M/M/c; ``offered`` is lambda/mu in erlangs, capped."""
    load = np.minimum(np.asarray(offered, dtype=np.float64), CAP * servers)
    blocking = np.ones_like(load)
    for busy in range(1, servers + 1):
        blocking = load * blocking / (busy + load * blocking)
    utilisation = load / servers
    return np.asarray(blocking / (1.0 - utilisation * (1.0 - blocking)))


def wait_mmc(rate: ArrayLike, service: ArrayLike, servers: int) -> Floats:
    """Return the mean time in queue of M/M/c, in the unit of ``service`` (the mean service time)."""
    mean = np.asarray(service, dtype=np.float64)
    offered = np.minimum(np.asarray(rate, dtype=np.float64) * mean, CAP * servers)
    return np.asarray(erlang_c(offered, servers) * mean / (servers - offered))


def wait_mg1(rate: ArrayLike, service: ArrayLike, cv2: ArrayLike) -> Floats:
    """Return the mean time in queue of M/G/1; ``cv2`` is the squared coefficient of variation of service."""
    mean = np.asarray(service, dtype=np.float64)
    utilisation = np.minimum(np.asarray(rate, dtype=np.float64) * mean, CAP)
    spread = (1.0 + np.asarray(cv2, dtype=np.float64)) / 2.0
    return np.asarray(utilisation / (1.0 - utilisation) * mean * spread)


def overload(utilisation: ArrayLike) -> Floats:
    """Return the share of the work beyond ``CAP`` of the capacity, in [0, 1)."""
    return np.asarray(1.0 - CAP / np.maximum(np.asarray(utilisation, dtype=np.float64), CAP))


def natural_batch(rate: ArrayLike, per_job: float, fixed: float) -> Floats:
    """Return the mean batch that forms by itself while a server is busy (service ``fixed + per_job * b``).

    The fluid limit is rate*fixed / (1 - rate*per_job); below it a batch is at least one job. Within 4% of Inoue's
    exact values from light to heavy load.
    """
    arrivals = np.asarray(rate, dtype=np.float64)
    fluid = arrivals * fixed / (1.0 - np.minimum(arrivals * per_job, CAP))
    return np.asarray(np.hypot(1.0, fluid))


def batch_latency_bound(rate: ArrayLike, per_job: float, fixed: float) -> Floats:
    """Return Inoue's phi = min(phi0, phi1), an upper bound of the mean time in system, close at any load.

    One server takes everybody who waits: a batch of b takes ``fixed + per_job * b``.
    """
    phi0, phi1 = inoue_phi(rate, per_job, fixed)
    return np.asarray(np.minimum(phi0, phi1))


def inoue_phi(rate: ArrayLike, per_job: float, fixed: float) -> tuple[Floats, Floats]:
    """Return the two bounds (phi0: tight at light load, phi1: at heavy load)."""
    arrivals = np.asarray(rate, dtype=np.float64)
    busy = np.minimum(arrivals * per_job, CAP)
    light = 1.0 + 2.0 * arrivals * fixed + (1.0 - arrivals * fixed) / (1.0 + busy)
    phi0 = (per_job + fixed) / (2.0 * (1.0 - busy)) * light
    phi1 = 1.5 * fixed / (1.0 - busy) + per_job / 2.0 * (busy + 2.0) / (1.0 - busy**2)
    return np.asarray(phi0), np.asarray(phi1)


def jsq_mean_field(utilisation: ArrayLike, choices: int) -> Floats:
    """Return the mean time in system, in service times, if each job joins the shortest of d random queues.

    For d = 1 that is M/M/1's 1/(1-rho); for d >= 2 the sum over i >= 1 of rho^((d^i - d)/(d - 1)).
    """
    rho = np.minimum(np.asarray(utilisation, dtype=np.float64), CAP)
    if choices == 1:
        return np.asarray(1.0 / (1.0 - rho))
    total, exponent = np.zeros_like(rho), 0
    while exponent < 20_000:  # CAP**20_000 is 1e-44: nothing is left of the sum
        total += rho**exponent
        exponent = choices * (exponent + 1)
    return total


@dataclass(frozen=True)
class ZipfKeys:
    """Keys whose popularity falls as rank^-exponent, grouped so that a sum over keys is short.

    ``popularity`` and ``weight`` have shape (groups,): a key of the group is asked for with probability
    ``popularity``; the group together with probability ``weight``; the weights sum to 1.
    """

    popularity: Floats
    weight: Floats

    @classmethod
    def grouped(cls, keys: int, exponent: float, groups: int = 64) -> ZipfKeys:
        """Return ``keys`` Zipf keys in about ``groups`` log-spaced groups, the most popular ones alone."""
        mass = np.arange(1, keys + 1, dtype=np.float64) ** -exponent
        mass /= mass.sum()
        edges = np.unique(np.geomspace(1, keys + 1, groups + 1).astype(np.int64)) - 1
        weight = np.add.reduceat(mass, edges[:-1])
        return cls(weight / np.diff(edges), weight)

    def hit_ratio(self, rate: ArrayLike, ttl: float) -> Floats:
        """Return the hit ratio of a TTL cache without reset, for total request rates of any shape.

        The sum over keys of popularity * lam*T / (1 + lam*T), lam = rate * popularity: of each cycle of
        1 + lam*T requests the first one misses.
        """
        rates = np.asarray(rate, dtype=np.float64)[..., None]
        expected = rates * self.popularity * ttl
        return np.asarray((expected / (1.0 + expected)) @ self.weight)


def stale_share(ttl: float, changes: float) -> float:
    """Return the share of hits whose key changed since it was cached; ``changes`` per key and second.

    A hit's age is uniform over the TTL, so the share is 1 - (1 - exp(-x))/x with x = changes * ttl.
    """
    expected = changes * ttl
    return float(1.0 + np.expm1(-expected) / expected) if expected > 0 else 0.0
