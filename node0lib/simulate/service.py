"""The embedded node: a seeded model of Node0's own service, behind ``ports.Target``.

Promise: everything follows from seed, policy and time. ``minutes`` is the telemetry of any span of the node's one
world; ``evaluate`` replays the hour before an instant under a policy; ``split`` sends the same traffic to two
policies at once. Equal seeds of an evaluation give common random numbers: the replication's conditions (how fast the
dependencies are, how much traffic comes) do not depend on the policy, so two policies differ by what they do.

What a canary looks at: requests at the API, end to end. A request fails if the API refuses it or if the job, or an
LLM, tool or agent call that it depends on, fails; it is slow by its latency at the API. Each arm behaves as its policy
would under the whole traffic: the cache is shared and capacity follows the share.

>>> from datetime import UTC, datetime
>>> node, noon = EmbeddedNode(seed=7), datetime(2026, 11, 24, 12, tzinfo=UTC)
>>> node.evaluate(POLICY, at=noon, seed=1) == node.evaluate(POLICY, at=noon, seed=1)
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from node0lib.errors import ConfigError, DataError
from node0lib.ports import Arm, Baseline, Look, Outcome, Policy
from node0lib.simulate.mechanics import MODEL_VERSION, POLICY, PRICES, Response, respond
from node0lib.simulate.streams import (
    BOUNDS_S,
    STREAMS,
    Floats,
    Minutes,
    StreamMinutes,
    draw,
    joined,
    on_grid,
)
from node0lib.simulate.traffic import Environment, environment, generator, hour_environment
from node0lib.timespan import ensure_utc

__all__ = ["EPOCH", "MODEL_VERSION", "POLICY", "EmbeddedNode", "minute_of"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MINUTE = 2 * 1440
BLOCK = 5
"""An evaluation works on blocks of five minutes: the load hardly moves within one."""
REPLICATION_SD = np.array([0.02, 0.04, 0.04, 0.05, 0.05, 0.03])
"""sd of the log of an evaluation's own conditions: traffic, api, alpha, llm, tools, agent."""
P95_LIMITS_S: Mapping[str, float] = {"api": 0.05, "alpha": 0.4, "mcp_llm": 0.1, "coordination": 0.2}
API_P99_LIMIT_S = 0.15
ERROR_LIMITS: Mapping[str, float] = {"api": 0.001, "alpha": 0.005, "mcp_tools": 0.001, "agent": 0.05}


def minute_of(moment: datetime) -> int:
    """Return the whole minutes since the epoch at ``moment``, floored; raises DataError if it is naive or too early."""
    minute = (ensure_utc(moment) - EPOCH) // timedelta(minutes=1)
    if minute < FIRST_MINUTE:
        raise DataError(f"{moment.isoformat()} is too early: the embedded node's world begins on 1970-01-03")
    return minute


@dataclass(frozen=True)
class EmbeddedNode:
    """Node0's own service, simulated; two nodes of one seed are the same node.

    Raises ConfigError if the seed is negative.
    """

    seed: int
    name = "embedded node"
    simulated = True

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"the embedded node's seed is {self.seed}; it must be 0 or more")

    def minutes(self, span_start: datetime, n: int, policy: Policy) -> Minutes:
        """Return ``n`` >= 1 minutes from ``span_start`` (floored) on, under ``policy``; raises ConfigError."""
        first = minute_of(span_start)
        hours = range(first // 60, (first + n - 1) // 60 + 1)
        offset = first % 60
        return joined([self._hour(hour, policy) for hour in hours]).part(offset, offset + n)

    def _hour(self, hour: int, policy: Policy) -> Minutes:
        """Return a whole hour: a part of it would draw other numbers."""
        world = hour_environment(self.seed, hour)
        key = [(self.seed, "counts", index, hour) for index in range(len(STREAMS))]
        return Minutes(hour * 60, _drawn(respond(world, policy), world.requests, key))

    def evaluate(self, policy: Policy, *, at: datetime, seed: int) -> Outcome:
        """Run ``policy`` on the traffic of the hour before ``at``; equal seeds give common random numbers.

        ``loss`` is the cost per 1,000 requests of compute, mean latency, stale answers and failures.
        Raises ConfigError if the policy does not fit.
        """
        end = minute_of(at)
        world = self._replication(environment(self.seed, end - 60, 60).blocks(BLOCK), end, seed)
        response = respond(world, policy)
        key = [(seed, "evaluate", 1 + index, end) for index in range(len(STREAMS))]
        return _outcome(response, world, _drawn(response, world.requests * BLOCK, key))

    def _replication(self, world: Environment, end: int, seed: int) -> Environment:
        """Return the world under the conditions of one evaluation, the same for every policy."""
        factors = np.exp(
            REPLICATION_SD * generator(seed, "evaluate", 0, end).standard_normal(REPLICATION_SD.size)
        )
        return replace(world, requests=world.requests * factors[0], slow=world.slow * factors[1:])

    def baseline(
        self, policy: Policy, *, margin_p95: float, margin_p99: float, at: datetime, seed: int
    ) -> Baseline:
        """Measure the control over the hour before ``at``; margins are relative (0.05 is +5%)."""
        end = minute_of(at)
        world = environment(self.seed, end - 60, 60)
        key = [(seed, "split", 0, end)]
        api = _drawn(respond(world, policy), world.requests, key)["api"].histogram()
        bounds = [
            _bound_above(api.estimate(q) * (1 + m)) for q, m in ((0.95, margin_p95), (0.99, margin_p99))
        ]
        slow = [1.0 - api.share_at_or_under(bound)[0] for bound in bounds]
        return Baseline(bounds[0], bounds[1], slow[0], slow[1])

    def split(
        self,
        control: Policy,
        canary: Policy,
        *,
        baseline: Baseline,
        share: float,
        first_minute: int,
        minutes: int,
        at: datetime,
        seed: int,
    ) -> Sequence[Look]:
        """Send ``share`` of the traffic to the canary for ``minutes``; one look a minute.

        ``first_minute`` counts from the rollout's start at ``at``; a share of 1 leaves the control empty. A look
        depends on its minute and not on the call that it was made in. Raises ConfigError.
        """
        if not 0.0 < share <= 1.0:
            raise ConfigError(f"the canary's share is {share:g}; it must lie in (0, 1]")
        first = minute_of(at) + first_minute
        world = environment(self.seed, first, minutes)
        arms = [_ArmShares.of(respond(world, policy), baseline) for policy in (control, canary)]
        looks = []
        for row in range(minutes):
            source = generator(seed, "split", 1, first + row)
            requests = int(world.requests[row])
            sent = int(source.binomial(requests, share))
            counts = [arm.draw(row, n, source) for arm, n in zip(arms, (requests - sent, sent), strict=True)]
            looks.append(Look(first_minute + row, counts[0], counts[1]))
        return looks


@dataclass(frozen=True)
class _ArmShares:
    """Probabilities (n,) that a request fails, or is slower than the baseline's two bounds."""

    failed: Floats
    slow_p95: Floats
    slow_p99: Floats

    @classmethod
    def of(cls, response: Response, baseline: Baseline) -> _ArmShares:
        slow = [
            1.0 - response.streams["api"].cdf[:, BOUNDS_S.index(_bound_above(bound))]
            for bound in (baseline.bound_p95_s, baseline.bound_p99_s)
        ]
        return cls(on_grid(response.end_to_end), on_grid(slow[0]), on_grid(slow[1]))

    def draw(self, row: int, requests: int, source: np.random.Generator) -> Arm:
        """Return the counts of ``requests`` requests; whoever is slower than the higher bound is than the lower."""
        errors = int(source.binomial(requests, min(1.0, max(0.0, self.failed[row]))))
        low, high = sorted((float(self.slow_p95[row]), float(self.slow_p99[row])), reverse=True)
        over_low = int(source.binomial(requests, low))
        over_high = int(source.binomial(over_low, high / low if low > 0 else 0.0))
        swapped = self.slow_p99[row] > self.slow_p95[row]
        slow = (over_high, over_low) if swapped else (over_low, over_high)
        return Arm(requests, errors, *slow)


def _bound_above(value: float) -> float:
    """Return the smallest bucket bound at or above a value in seconds, or the last one."""
    return next((bound for bound in BOUNDS_S if bound >= value), BOUNDS_S[-1])


def _drawn(
    response: Response, requests: Floats, keys: Sequence[tuple[int, str, int, int]]
) -> dict[str, StreamMinutes]:
    """Return the counts of the first ``len(keys)`` streams; each key seeds one stream's own generator."""
    result = {}
    for name, (seed, purpose, *key) in zip(STREAMS, keys, strict=False):
        expected, source = response.streams[name], generator(seed, purpose, *key)
        events = np.rint(requests * expected.visits).astype(np.int64)
        result[name] = draw(expected, events, source)
    return result


def _outcome(response: Response, world: Environment, streams: Mapping[str, StreamMinutes]) -> Outcome:
    """Weigh one evaluation: every part of the loss comes from drawn counts or from work done."""
    histograms = {name: stream.histogram() for name, stream in streams.items()}
    requests = histograms["api"].count
    p95 = {f"{name}_p95_s": h.estimate(0.95) for name, h in histograms.items()}
    errors = {f"{name}_errors": 1.0 - float(s.good.sum() / s.total.sum()) for name, s in streams.items()}
    failures = sum(int((s.total - s.good).sum()) for s in streams.values()) / requests
    latency = (
        sum(h.mean_estimate() * h.count for n, h in histograms.items() if n != "coordination") / requests
    )
    weights = world.requests / world.requests.sum()
    stale, compute = float(response.stale @ weights), float(response.compute @ weights)
    parts = {
        "loss_compute": 1000.0 * compute,
        "loss_latency": 1000.0 * PRICES["latency_s"] * latency,
        "loss_staleness": 1000.0 * PRICES["stale"] * stale,
        "loss_failures": 1000.0 * PRICES["failure"] * failures,
    }
    p99 = histograms["api"].estimate(0.99)
    ratios = [p95[f"{name}_p95_s"] / limit for name, limit in P95_LIMITS_S.items()] + [p99 / API_P99_LIMIT_S]
    ratios += [errors[f"{name}_errors"] / limit for name, limit in ERROR_LIMITS.items()]
    metrics = {
        **parts,
        **p95,
        **errors,
        "api_p99_s": p99,
        "mean_latency_s": latency,
        "staleness": stale,
        "hit_ratio": float(response.hit @ weights),
        "failures": failures,
        "cost": 1000.0 * compute,
        "requests": float(requests),
    }
    return Outcome(sum(parts.values()), max(ratios) - 1.0, metrics)
