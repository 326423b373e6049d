"""How a policy and a minute's environment make latencies, errors, staleness and cost.

A request reaches the API. A hit in its TTL cache is answered at once; a miss is looked up in the store, answered
with an accepted job, and the job goes to alpha. Alpha batches jobs; while it works on a job it may call the LLM and
the tools (with timeouts and retries), and it may hand the task to the agent fleet, whose routing rule decides how
long a hand-over waits. API latency is therefore the time to the accepted job, alpha latency the time the job takes
in alpha's own batches, and each dependency has a stream of its own.

| constants                               | meaning                                                          |
|-----------------------------------------|------------------------------------------------------------------|
| KEYS 10,000 Zipf(1.0); CHANGES 1/1200 s | what is asked for, and how often a key changes (staleness)       |
| HIT, LOOKUP, PAUSE                      | API: (median s, sigma); 1.3% of requests meet a pause            |
| STORE 6 servers x 24 ms                 | the store behind misses (M/M/c)                                  |
| BATCH 2 servers, 0.118 + 0.006 b s      | alpha's batches, padded by 0.4 ms for each place of the limit;   |
|                                         | waits from Inoue's phi, plus Erlang C of full batches            |
| LLM, TOOLS                              | attempts: body, heavy tail, errors, capacity (1/s), backoff      |
| FLEET 14 agents x 28.5 ms               | 8 hand-overs a task, 60/s of its own; JSQ(d) mean field          |
| ROUTING                                 | choices of JSQ, overhead (least_loaded asks the fleet), sigma    |
| *_ERRORS, AGENT_FAILURE                 | base error ratios; late hand-overs (> 0.25 s) fail tasks         |
| *_VISITS                                | calls of the LLM, the tools, the agents per job                  |
| PRICES                                  | alpha server-second, attempt, second of latency, stale, failure  |

They are chosen so that, under ``POLICY``, the 30-day ratio SLOs keep 55-80% of their budgets and about 80% of the
hours keep more than half of every timeslice budget; the daily peak and incidents do not. Simplifications: attempts
are independent (an outage is not: no retry cures it), waits enter as their means, hand-overs are lognormal around
JSQ's mean.

>>> state = respond(Environment(np.full(1, 6000.0), np.ones((1, 5)), np.zeros((1, 4))), POLICY)
>>> 0.5 < float(state.hit[0]) < 0.7
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from node0lib.errors import ConfigError
from node0lib.ports import Policy
from node0lib.simulate.queueing import (
    ZipfKeys,
    batch_latency_bound,
    jsq_mean_field,
    natural_batch,
    overload,
    stale_share,
    wait_mg1,
    wait_mmc,
)
from node0lib.simulate.streams import BOUNDS, Expected, Floats, Lognormal, Mixture
from node0lib.simulate.traffic import Environment

MODEL_VERSION = 2
"""Raise it when the same seed and policy would give other minutes: a stored history then says so."""

POLICY: Policy = {
    "cache_ttl_s": 30,
    "batch_size": 8,
    "batch_wait_ms": 20,
    "llm_timeout_ms": 400,
    "llm_retries": 1,
    "tools_timeout_ms": 800,
    "tools_retries": 1,
    "agent_routing": "round_robin",
}
RANGES: Mapping[str, tuple[float, float]] = {
    "cache_ttl_s": (0, 3600),
    "batch_size": (1, 64),
    "batch_wait_ms": (0, 1000),
    "llm_timeout_ms": (10, 60_000),
    "llm_retries": (0, 5),
    "tools_timeout_ms": (10, 60_000),
    "tools_retries": (0, 5),
}
WHOLE = ("batch_size", "llm_retries", "tools_retries")

KEYS, CHANGES = ZipfKeys.grouped(10_000, 1.0), 1 / 1200
HIT, LOOKUP, PAUSE, PAUSE_SHARE = (0.004, 0.45), (0.0232, 0.48), (0.110, 0.55), 0.013
STORE_SERVERS, STORE_S = 6, 0.024
ALPHA_SERVERS, BATCH_FIXED_S, BATCH_JOB_S, BATCH_PAD_S, BATCH_SIGMA = 2, 0.118, 0.006, 0.0004, 0.22
FLEET, HANDOVER_S, HANDOVERS, OWN_HANDOVERS = 14, 0.0285, 8, 60.0
ROUTING: Mapping[str, tuple[int, float, float]] = {
    "round_robin": (1, 0.000, 0.85),  # (choices of JSQ, overhead in s, sigma of the sojourn)
    "two_choices": (2, 0.001, 0.70),
    "least_loaded": (4, 0.008, 0.60),  # it asks the whole fleet before each hand-over
}
AGENT_FAILURE, AGENT_LATE_SHARE, HANDOVER_DEADLINE_S = 0.005, 0.13, 0.25
API_ERRORS, ALPHA_ERRORS = 0.0002, 0.0011
LLM_VISITS, TOOLS_VISITS, AGENT_VISITS = 0.35, 0.30, 0.50
PRICES: Mapping[str, float] = {
    "alpha_s": 1.0,
    "llm_attempt": 0.06,
    "tools_attempt": 0.02,
    "latency_s": 1.0,
    "stale": 3.2,
    "failure": 22.0,
}


@dataclass(frozen=True)
class Dependency:
    """A remote service as its attempts see it: body and tail (median s, sigma), errors, capacity per second."""

    body: tuple[float, float]
    tail: tuple[float, float]
    tail_share: float
    errors: float
    capacity: float
    backoff_s: float


LLM = Dependency((0.034, 0.38), (0.260, 0.9), 0.025, 0.004, 60.0, 0.005)
TOOLS = Dependency((0.060, 0.55), (0.700, 1.0), 0.026, 0.006, 40.0, 0.010)


@dataclass(frozen=True)
class Calls:
    """Calls to a dependency: ``cdf`` (n, bounds) of whole calls, ``failure`` and ``attempts`` per call (n,)."""

    cdf: Floats
    failure: Floats
    attempts: Floats


@dataclass(frozen=True)
class Response:
    """The expected behaviour of a policy in n minutes.

    ``streams`` by name; ``hit`` and ``stale`` are shares of API requests; ``end_to_end`` the probability that a
    request or anything it depends on fails; ``compute`` the cost of compute per API request; all (n,).
    """

    streams: Mapping[str, Expected]
    hit: Floats
    stale: Floats
    end_to_end: Floats
    compute: Floats


def checked(policy: Policy) -> Policy:
    """Return the policy; raises ConfigError that names every knob that is missing, unknown or out of range."""
    faults = [f"{name}: no such knob" for name in policy if name not in POLICY]
    faults += [f"{name}: missing" for name in POLICY if name not in policy]
    faults += [
        f"{k}: {policy[k]!r} is not {_allowed(k)}" for k in POLICY if k in policy and not _fits(k, policy[k])
    ]
    if faults:
        raise ConfigError("the policy does not fit the embedded node: " + "; ".join(faults))
    return policy


def _fits(name: str, value: object) -> bool:
    if name == "agent_routing":
        return value in ROUTING
    low, high = RANGES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return number and (name not in WHOLE or float(str(value)).is_integer())


def _allowed(name: str) -> str:
    if name == "agent_routing":
        return "one of " + ", ".join(ROUTING)
    low, high = RANGES[name]
    return f"a {'whole ' if name in WHOLE else ''}number from {low:g} to {high:g}"


def respond(environment: Environment, policy: Policy) -> Response:
    """Return how the node behaves under ``policy``; raises ConfigError if the policy does not fit."""
    knob = _numbers(checked(policy))
    rate = environment.requests / 60.0
    hit = KEYS.hit_ratio(rate, knob("cache_ttl_s"))
    jobs = rate * (1.0 - hit)
    alpha, busy = _alpha(environment, jobs, knob)
    llm = _calls(
        LLM, jobs * LLM_VISITS, environment.factor("llm"), knob("llm_timeout_ms"), knob("llm_retries")
    )
    tools = _calls(
        TOOLS,
        jobs * TOOLS_VISITS,
        environment.factor("tools"),
        knob("tools_timeout_ms"),
        knob("tools_retries"),
    )
    agent, coordination = _agents(environment, jobs * AGENT_VISITS, str(policy["agent_routing"]))
    miss = 1.0 - hit
    streams = {
        "api": _api(environment, hit, jobs),
        "alpha": Expected(miss, *alpha),
        "mcp_llm": Expected(miss * LLM_VISITS, _either(llm.failure, environment.fault("llm")), llm.cdf),
        "mcp_tools": Expected(
            miss * TOOLS_VISITS, _either(tools.failure, environment.fault("tools")), tools.cdf
        ),
        "agent": Expected(miss * AGENT_VISITS, *agent),
        "coordination": Expected(miss * AGENT_VISITS * HANDOVERS, np.zeros_like(miss), coordination),
    }
    attempts = (
        LLM_VISITS * llm.attempts * PRICES["llm_attempt"]
        + TOOLS_VISITS * tools.attempts * PRICES["tools_attempt"]
    )
    compute = miss * (busy * PRICES["alpha_s"] + attempts)
    stale = hit * stale_share(knob("cache_ttl_s"), CHANGES)
    return Response(streams, hit, stale, _end_to_end(streams, miss), compute)


def _numbers(policy: Policy) -> Callable[[str], float]:
    """Return a reader of numeric knobs, so that an int and a float of a value give the same minutes."""
    return lambda name: float(policy[name])


def _either(first: Floats, second: Floats) -> Floats:
    return 1.0 - (1.0 - first) * (1.0 - second)


def _end_to_end(streams: Mapping[str, Expected], miss: Floats) -> Floats:
    """Return the probability that a request, or the job that it became, fails anywhere."""
    job = 1.0 - streams["alpha"].failure
    for name, share in (("mcp_llm", LLM_VISITS), ("mcp_tools", TOOLS_VISITS), ("agent", AGENT_VISITS)):
        job = job * (1.0 - share * streams[name].failure)
    return np.asarray(1.0 - (1.0 - streams["api"].failure) * (1.0 - miss * (1.0 - job)))


def _api(environment: Environment, hit: Floats, jobs: Floats) -> Expected:
    """Hits are quick, misses go to the store, a few of either meet a pause."""
    slow = environment.factor("api")
    queue = wait_mmc(jobs, STORE_S * slow, STORE_SERVERS)
    zero = np.zeros_like(hit)
    parts = (
        Lognormal(zero, HIT[0] * slow, HIT[1]),
        Lognormal(queue + 0.002, LOOKUP[0] * slow, LOOKUP[1]),
        Lognormal(zero, PAUSE[0] * slow, PAUSE[1]),
    )
    rest = 1.0 - PAUSE_SHARE
    latency = Mixture((rest * hit, rest * (1.0 - hit), zero + PAUSE_SHARE), parts)
    refused = (1.0 - hit) * overload(jobs * STORE_S * slow / STORE_SERVERS)
    failure = _either(_either(API_ERRORS + zero, refused), environment.fault("api"))
    return Expected(np.ones_like(hit), failure, latency.cdf(BOUNDS))


def _alpha(
    environment: Environment, jobs: Floats, knob: Callable[[str], float]
) -> tuple[tuple[Floats, Floats], Floats]:
    """Return (failure, cdf) of jobs in alpha, and the server-seconds that a job takes of its batch."""
    slow, limit, hold = environment.factor("alpha"), knob("batch_size"), knob("batch_wait_ms") / 1000.0
    # Slow service is the same as a faster clock for the arrivals: one set of constants serves both.
    each = jobs * slow / ALPHA_SERVERS
    fixed = BATCH_FIXED_S + BATCH_PAD_S * limit
    natural = natural_batch(each, BATCH_JOB_S, fixed)
    batch = np.clip(np.maximum(natural, 1.0 + jobs / ALPHA_SERVERS * hold), 1.0, limit)
    service = (fixed + BATCH_JOB_S * batch) * slow
    full = (fixed + BATCH_JOB_S * limit) * slow
    residual = batch_latency_bound(each, BATCH_JOB_S, fixed) - fixed - BATCH_JOB_S * natural
    joined = np.maximum(0.0, residual) * slow * np.minimum(1.0, natural / batch)
    capped = 0.5 * wait_mmc(jobs / limit, full, ALPHA_SERVERS)  # M/D/c waits about half as long as M/M/c
    idle = np.clip(1.0 - jobs * service / (ALPHA_SERVERS * batch), 0.0, 1.0)
    fill = np.minimum(hold, (limit - 1.0) / np.maximum(jobs / ALPHA_SERVERS, 1e-9)) * idle
    wait = joined + capped
    thirds = [np.full_like(jobs, 1 / 3)] * 3
    parts = [Lognormal(share * (wait + fill), service, BATCH_SIGMA) for share in (1 / 3, 1.0, 5 / 3)]
    refused = overload(jobs / limit * full / ALPHA_SERVERS)
    failure = _either(_either(ALPHA_ERRORS + np.zeros_like(jobs), refused), environment.fault("alpha"))
    return (failure, Mixture(thirds, parts).cdf(BOUNDS)), service / batch


def _calls(service: Dependency, rate: Floats, slow: Floats, timeout_ms: float, retries: float) -> Calls:
    """Return whole calls: attempts that fail or exceed the timeout are repeated, and so load the service."""
    tries, limit = int(retries) + 1, np.full((len(rate), 1), timeout_ms / 1000.0)
    attempts, load = np.ones_like(rate), np.zeros_like(rate)
    for _ in range(2):  # retries raise the load and the load raises retries: twice settles it
        load = 1.0 + 0.5 * wait_mg1(rate * attempts, 1.0 / service.capacity, 1.0) * service.capacity
        latency = _attempt(service, slow * load)
        in_time = (1.0 - service.errors) * latency.cdf(limit)[:, 0]
        failed = 1.0 - in_time
        attempts = np.asarray(sum(failed**k for k in range(tries)))
    late = np.maximum(failed - service.errors, 0.0)
    quick = service.errors * service.body[0] * slow
    lost = (late * limit[:, 0] + quick) / np.maximum(failed, 1e-12) + service.backoff_s
    cdf = failed[:, None] ** tries * (tries * lost[:, None] <= BOUNDS)
    for k in range(tries):
        within = latency.cdf(np.minimum(np.maximum(BOUNDS - k * lost[:, None], 0.0), limit))
        cdf = cdf + failed[:, None] ** k * (1.0 - service.errors) * within
    return Calls(cdf, failed**tries, attempts)


def _attempt(service: Dependency, slow: Floats) -> Mixture:
    zero = np.zeros_like(slow)
    parts = (
        Lognormal(zero, service.body[0] * slow, service.body[1]),
        Lognormal(zero, service.tail[0] * slow, service.tail[1]),
    )
    return Mixture((zero + 1.0 - service.tail_share, zero + service.tail_share), parts)


def _agents(environment: Environment, tasks: Floats, routing: str) -> tuple[tuple[Floats, Floats], Floats]:
    """Return (failure, cdf) of tasks and the cdf of single hand-overs: a task is late if its hand-overs are."""
    choices, overhead, sigma = ROUTING[routing]
    service = HANDOVER_S * environment.factor("agent")
    utilisation = (tasks * HANDOVERS + OWN_HANDOVERS) * service / FLEET
    sojourn = service * jsq_mean_field(np.minimum(utilisation, 0.97), choices)
    handover = Lognormal(np.full_like(tasks, overhead), sojourn * math.exp(-(sigma**2) / 2), sigma)
    deadline = np.full((len(tasks), 1), HANDOVER_DEADLINE_S)
    late = 1.0 - handover.cdf(deadline)[:, 0]
    failure = _either(
        _either(AGENT_FAILURE + np.zeros_like(tasks), AGENT_LATE_SHARE * late * HANDOVERS),
        overload(utilisation),
    )
    task_sigma = sigma / math.sqrt(HANDOVERS) + 0.1
    median = (sojourn + overhead) * HANDOVERS * math.exp(-(task_sigma**2) / 2)
    whole = Lognormal(np.zeros_like(tasks), median, task_sigma)
    return (failure, whole.cdf(BOUNDS)), handover.cdf(BOUNDS)
