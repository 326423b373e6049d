"""What happens inside an instance of the demo's service: a real cache, batcher, timeouts, retries and routing.

A request for a key is answered from the TTL cache, or its key waits in a batch. A batch goes to the simulated LLM in
one call; some keys then need the simulated tools, and every result passes one of ``AGENTS`` simulated agents, which
work on one result at a time and are chosen by the routing rule. Every wait is a real one on the event loop, so a policy
really shows in latencies and errors. Only the latencies and failures of the dependencies are drawn, from one seed.

| constants            | meaning                                                                          |
|----------------------|----------------------------------------------------------------------------------|
| LLM, TOOLS           | (median s, sigma) of body and tail, share of the tail, share of failed attempts  |
| TOOLS_SHARE          | share of the misses that need the tools                                          |
| REFUSED, BROKEN      | final failures: of a miss, of any request                                        |
| AGENTS x AGENT_S     | the agents behind, and how long one of them takes                                |

Under the policy of a new installation about 1% of the requests fail, the 95th percentile lies between 50 and 100 ms;
a longer ``cache_ttl_s`` makes both better, an ``llm_timeout_ms`` of 50 or a ``batch_wait_ms`` of 100 clearly worse.

>>> cache = Cache()
>>> cache.put("a", "value", now=0.0)
>>> cache.get("a", ttl_s=30.0, now=29.0), cache.get("a", ttl_s=30.0, now=31.0)
('value', None)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

from node0lib.ports import Policy

CAPACITY, AGENTS, AGENT_S = 20_000, 4, 0.002
TOOLS_SHARE, REFUSED, BROKEN = 0.2, 0.02, 0.002


class FailedError(Exception):
    """A dependency failed or took too long, and the retries were used up; the text says which."""


@dataclass(frozen=True)
class Dependency:
    """A simulated remote service: (median s, sigma) of body and tail, share of the tail, share of failures."""

    name: str
    body: tuple[float, float]
    tail: tuple[float, float]
    tail_share: float
    failures: float

    async def call(self, random: Random) -> None:
        """Take as long as an attempt takes; raises FailedError for an attempt that fails."""
        median, sigma = self.tail if random.random() < self.tail_share else self.body
        fails = random.random() < self.failures
        await asyncio.sleep(median * random.lognormvariate(0.0, sigma))
        if fails:
            raise FailedError(f"{self.name} failed")


LLM = Dependency("the LLM", (0.034, 0.30), (0.150, 0.45), 0.03, 0.01)
TOOLS = Dependency("a tool", (0.014, 0.30), (0.120, 0.50), 0.02, 0.01)


async def attempted(dependency: Dependency, random: Random, timeout_s: float, retries: int) -> None:
    """Call the dependency until an attempt succeeds in time; raises FailedError after 1 + ``retries`` attempts."""
    for left in reversed(range(retries + 1)):
        try:
            async with asyncio.timeout(timeout_s):
                return await dependency.call(random)
        except TimeoutError:
            if not left:
                raise FailedError(f"{dependency.name} took longer than {timeout_s * 1000:g} ms") from None
        except FailedError:
            if not left:
                raise


class Cache:
    """Values with the time of their making, at most ``CAPACITY``; the oldest leave first. Times are in seconds."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[str, float]] = {}

    def get(self, key: str, *, ttl_s: float, now: float) -> str | None:
        """Return the value if it is younger than ``ttl_s``."""
        value, at = self._made.get(key, (None, 0.0))
        return value if now - at < ttl_s else None

    def put(self, key: str, value: str, *, now: float) -> None:
        """Keep a value that was made just now."""
        self._made.pop(key, None)
        self._made[key] = (value, now)
        if len(self._made) > CAPACITY:
            del self._made[next(iter(self._made))]


class Batcher:
    """Collects keys and has them computed together: when ``size`` wait, or the first has waited ``wait_s``.

    A key that waits already is joined, not computed twice.
    """

    def __init__(self, compute: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self._compute = compute
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Future[None]] = set()

    async def submit(self, key: str, *, size: int, wait_s: float) -> None:
        """Return when the key's batch was computed; raises FailedError if that failed."""
        loop = asyncio.get_running_loop()
        future = self._waiting.setdefault(key, loop.create_future())
        if len(self._waiting) >= size:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(wait_s, self._flush)
        # A client that goes away must not take the others of its key with it.
        await asyncio.shield(future)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        batch, self._waiting, self._timer = self._waiting, {}, None
        task = asyncio.ensure_future(self._compute(list(batch)))
        self._running.add(task)
        task.add_done_callback(lambda done: self._settle(done, batch))

    def _settle(self, task: asyncio.Future[None], batch: dict[str, asyncio.Future[None]]) -> None:
        self._running.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        for future in batch.values():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # looked at, should all its clients have gone away


class Agents:
    """The simulated agents: each works on one result at a time, and the routing rule says on whose."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._locks = [asyncio.Lock() for _ in range(AGENTS)]
        self._load = [0] * AGENTS
        self._turn = 0

    async def hand_over(self, routing: str) -> None:
        """Have an agent work on a result, after those that it has already."""
        chosen = self._chosen(routing)
        self._load[chosen] += 1
        try:
            async with self._locks[chosen]:
                await asyncio.sleep(AGENT_S)
        finally:
            self._load[chosen] -= 1

    def _chosen(self, routing: str) -> int:
        if routing == "round_robin":
            self._turn = (self._turn + 1) % AGENTS
            return self._turn
        asked = range(AGENTS) if routing == "least_loaded" else self._random.sample(range(AGENTS), 2)
        return min(asked, key=self._load.__getitem__)


class Mechanics:
    """One instance: its cache and batcher, and the dependencies that it sees. ``policy`` may change at any time."""

    def __init__(self, policy: Policy, seed: int, clock: Callable[[], float], filled: Callable[[str, str], None]):
        """``clock`` gives seconds; ``filled`` is told every key and value that was computed."""
        self.policy, self.cache = policy, Cache()
        self._random, self._clock, self._filled = Random(seed), clock, filled
        self._batcher, self._agents = Batcher(self._llm), Agents(self._random)

    async def answer(self, key: str) -> str:
        """Return the value of a key; raises FailedError."""
        if self._random.random() < BROKEN:
            raise FailedError("the service itself failed")
        found = self.cache.get(key, ttl_s=self._number("cache_ttl_s"), now=self._clock())
        return found if found is not None else await self._missed(key)

    async def _missed(self, key: str) -> str:
        wait_s = self._number("batch_wait_ms") / 1000.0
        await self._batcher.submit(key, size=int(self._number("batch_size")), wait_s=wait_s)
        if self._random.random() < TOOLS_SHARE:
            await self._attempted(TOOLS, "tools")
        await self._agents.hand_over(str(self.policy["agent_routing"]))
        if self._random.random() < REFUSED:
            raise FailedError("the LLM refused")
        value = f"value of {key}"
        self.remember(key, value)
        self._filled(key, value)
        return value

    def remember(self, key: str, value: str) -> None:
        """Keep a value that this instance or its peer computed just now."""
        self.cache.put(key, value, now=self._clock())

    async def _llm(self, keys: Sequence[str]) -> None:
        await self._attempted(LLM, "llm")

    async def _attempted(self, dependency: Dependency, name: str) -> None:
        timeout_s, retries = self._number(f"{name}_timeout_ms") / 1000.0, int(self._number(f"{name}_retries"))
        await attempted(dependency, self._random, timeout_s, retries)

    def _number(self, knob: str) -> float:
        return float(self.policy[knob])
