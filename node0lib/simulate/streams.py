"""What the embedded node shows of itself: six streams of integer counts with latency histograms.

``BOUNDS_S`` are the bucket bounds: geometric with ratio 1.1 from 10 ms to 1 s and 1.25 outside, from 1 ms to 10 s,
and exactly the thresholds of the SLOs and Prometheus's classic bounds. A stream's requests all have a latency, so
the count at +Inf is ``total``. Draws happen per whole hour, each stream from a generator of its own, so that a
minute is the same in whatever chunk it is asked for.

>>> 0.05 in BOUNDS_S and 0.2 in BOUNDS_S
True
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from node0lib.errors import ConfigError, DataError
from node0lib.sli.histogram import Histogram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STREAMS = ("api", "alpha", "mcp_llm", "mcp_tools", "agent", "coordination")
THRESHOLDS_S = (0.05, 0.1, 0.15, 0.2, 0.4)
_CLASSIC = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0)
_GRID = 2.0**30


def _bounds() -> tuple[float, ...]:
    exact = {*THRESHOLDS_S, *_CLASSIC, 0.001}
    coarse = [0.001 * 1.25**i for i in range(11)] + [1.25**i for i in range(11)]
    fine = [0.01 * 1.1**i for i in range(49)]
    # A grid bound within 4% of an exact one would make an empty sliver of a bucket.
    grid = {round(b, 5) for b in coarse + fine if all(abs(b / e - 1) > 0.04 for e in exact)}
    return tuple(sorted(exact | grid))


BOUNDS_S: tuple[float, ...] = _bounds()
"""Bucket bounds in seconds, rising; +Inf is implied."""
BOUNDS: Floats = np.array(BOUNDS_S)


def bound_index(threshold_s: float) -> int:
    """Return the index of a threshold among the bounds; raises ConfigError with the nearest ones if none."""
    index = int(np.searchsorted(BOUNDS, threshold_s * (1 - 1e-9)))
    if index < len(BOUNDS_S) and abs(BOUNDS_S[index] / threshold_s - 1) < 1e-9:
        return index
    near = ", ".join(f"{b:g}" for b in BOUNDS_S[max(0, index - 1) : index + 1])
    raise ConfigError(
        f"the embedded node has no bucket bound at {threshold_s:g} s; use threshold_s: {near} (nearest)"
    )


@dataclass(frozen=True)
class Lognormal:
    """A shifted lognormal: ``shift`` + exp(N(log ``median``, ``sigma``)); shift and median (n,) in seconds."""

    shift: Floats
    median: Floats
    sigma: float

    def cdf(self, times: Floats) -> Floats:
        """Return the shares (n, k) at or under ``times``, of shape (k,) or (n, k)."""
        after = np.maximum(times - self.shift[:, None], 1e-12)
        return np.asarray(ndtr((np.log(after) - np.log(self.median)[:, None]) / self.sigma))


@dataclass(frozen=True)
class Mixture:
    """Several shifted lognormals; ``weights`` are (n,) each and sum to 1."""

    weights: Sequence[Floats]
    parts: Sequence[Lognormal]

    def cdf(self, times: Floats) -> Floats:
        """Return the shares (n, k) at or under ``times``, of shape (k,) or (n, k)."""
        pairs = zip(self.weights, self.parts, strict=True)
        return np.asarray(sum(w[:, None] * part.cdf(times) for w, part in pairs))


@dataclass(frozen=True)
class Expected:
    """One stream before anything is drawn: ``visits`` and ``failure`` (n,), ``cdf`` (n, bounds).

    ``visits`` is the number of its events per API request, ``failure`` the probability that one fails.
    """

    visits: Floats
    failure: Floats
    cdf: Floats


@dataclass(frozen=True)
class StreamMinutes:
    """Counts of a stream: ``total`` and ``good`` (n,), ``cumulative`` (n, bounds); integers."""

    total: Ints
    good: Ints
    cumulative: Ints

    def histogram(self) -> Histogram:
        """Return one histogram over all minutes."""
        counts = self.cumulative.sum(axis=0)
        return Histogram(BOUNDS_S, (*map(int, counts), int(self.total.sum())))

    def part(self, start: int, end: int) -> StreamMinutes:
        """Return the rows start..end-1."""
        return StreamMinutes(self.total[start:end], self.good[start:end], self.cumulative[start:end])


@dataclass(frozen=True)
class Minutes:
    """Consecutive minutes from ``first`` (since the epoch) on, one ``StreamMinutes`` for each stream."""

    first: int
    streams: Mapping[str, StreamMinutes]

    @property
    def n(self) -> int:
        """The number of minutes."""
        return len(self.streams["api"].total)

    def part(self, start: int, end: int) -> Minutes:
        """Return the rows start..end-1."""
        return Minutes(self.first + start, {k: s.part(start, end) for k, s in self.streams.items()})


def joined(parts: Sequence[Minutes]) -> Minutes:
    """Return consecutive parts as one; raises DataError if one does not follow the other."""
    for before, after in zip(parts, parts[1:], strict=False):
        if before.first + before.n != after.first:
            raise DataError(f"minute {after.first} does not follow minute {before.first + before.n - 1}")
    names = ("total", "good", "cumulative")
    columns = {
        stream: StreamMinutes(
            *(np.concatenate([getattr(p.streams[stream], c) for p in parts]) for c in names)
        )
        for stream in parts[0].streams
    }
    return Minutes(parts[0].first, columns)


def draw(expected: Expected, events: Ints, generator: np.random.Generator) -> StreamMinutes:
    """Return drawn counts of ``events`` (n,) events: a binomial of failures, a multinomial of latencies."""
    failed = generator.binomial(events, on_grid(np.clip(expected.failure, 0.0, 1.0)))
    shares = on_grid(np.clip(expected.cdf, 0.0, 1.0))
    np.maximum.accumulate(shares, axis=1, out=shares)
    edges = np.concatenate([np.zeros((len(shares), 1)), shares, np.ones((len(shares), 1))], axis=1)
    buckets = generator.multinomial(events, np.diff(edges, axis=1))
    return StreamMinutes(events, events - failed, np.cumsum(buckets[:, :-1], axis=1))


def on_grid(shares: Floats) -> Floats:
    """Return shares as multiples of 2^-30, so that the last bit of a machine's exp() changes no draw."""
    return np.asarray(np.rint(shares * _GRID) / _GRID)


def column_names(stream: str) -> tuple[str, ...]:
    """Return the names of a stream's stored columns: total, good, and one for each bound."""
    return (f"{stream}:total", f"{stream}:good", *(bound_column(stream, i) for i in range(len(BOUNDS_S))))


def bound_column(stream: str, index: int) -> str:
    """Return the name of the column that counts at or under a bound."""
    return f"{stream}:le:{BOUNDS_S[index]:g}"


def column(minutes: Minutes, name: str) -> Ints:
    """Return the stored column (n,) of that name; raises DataError if there is none."""
    match = re.fullmatch(r"(\w+):(total|good|le:(.+))", name)
    if match is None or match[1] not in minutes.streams:
        raise DataError(f"the embedded node has no column {name!r}")
    stream = minutes.streams[match[1]]
    if match[3] is not None:
        return np.asarray(stream.cumulative[:, bound_index(float(match[3]))])
    return stream.total if match[2] == "total" else stream.good
