"""Traffic between two servers of one backend: commanded by weights, believed only when it was read back.

Rules
- After every command the servers are read again; what was read decides, not what was answered.
- Weights rise before weights fall, so that the backend never stands without a server in between.
- A server that is down, in maintenance or drained gets nothing, whatever its weight: the share that is read back is
  that of the weights that count, and a command for traffic to such a server is not confirmed.
- What fails is tried again until a deadline. Taking traffic back has a second way: where weights do not bring zero, the
  canary is set to drain, then to maintenance. Where nothing does, the error says what to type by hand.
- A balancer that does not answer at all is not waited for as long: whoever asked says so, and asks again.

Weights are integers from 0 to 256, so a share is met as nearly as two of them can: the smallest is 1/257.

>>> weights(0.05), weights(1 / 3), weights(0.0), weights(1.0)
((95, 5), (66, 33), (100, 0), (0, 100))
>>> weights(0.004)
(249, 1)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

import tenacity

from node0lib.errors import ConfigError, RunError
from node0lib.ports import Clock
from node0lib.shell.targets.haproxy_runtime import Refused, Runtime, Server

MOST = 256
_DEADLINE, _SILENCE = timedelta(seconds=20), timedelta(seconds=5)
_PAUSE = tenacity.wait_exponential(multiplier=0.1, max=1.0)


class Unanswered(RunError):
    """HAProxy does not answer, so nobody knows where the traffic goes."""


@lru_cache(maxsize=256)
def weights(share: float) -> tuple[int, int]:
    """Return (stable, canary) whose share comes nearest; of equals those that read as percentages.

    Raises ConfigError for a share outside [0, 1], and for one so near to 0 or 1 that weights would miss it grossly.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f"the canary's share is {share:g}; it must lie in [0, 1]")
    if share in (0.0, 1.0):
        return (100, 0) if share == 0.0 else (0, 100)
    if not 1 / (MOST + 1) <= share <= MOST / (MOST + 1):
        raise ConfigError(f"a share of {share:.3%} cannot be made of HAProxy's weights; the smallest is 1/257 (0.39%)")
    return min(_pairs(share), key=lambda pair: (abs(pair[1] / sum(pair) - share), abs(sum(pair) - 100)))


def _pairs(share: float) -> list[tuple[int, int]]:
    """Return for every weight of the canary the best of the stable's."""
    canary = range(1, MOST + 1)
    return [(min(MOST, max(1, round(one * (1 - share) / share))), one) for one in canary]


@dataclass(frozen=True)
class Traffic:
    """How the backend divides traffic, as it was read: every server, and which of them are the two."""

    stable: Server
    canary: Server
    others: tuple[Server, ...] = ()

    @property
    def share(self) -> float:
        """The canary's share by the weights that count; 0 if nobody serves."""
        total = sum(one.effective for one in (self.stable, self.canary, *self.others))
        return self.canary.effective / total if total else 0.0

    def __str__(self) -> str:
        return "; ".join(map(str, (self.stable, self.canary, *self.others)))


@dataclass(frozen=True)
class Zero:
    """Traffic was taken back: ordered, and first read back as zero, after ``attempts``, by weight, drain or maint."""

    commanded_at: datetime
    confirmed_at: datetime
    attempts: int
    way: str
    traffic: Traffic


@dataclass(frozen=True)
class Attempt:
    """What one attempt was told by HAProxy, and what was read afterwards; ``answered``: whether it said anything."""

    told: tuple[str, ...]
    traffic: Traffic | None
    way: str = "weight"
    answered: bool = True

    def __str__(self) -> str:
        read = f"read back: {self.traffic}" if self.traffic else "nothing could be read back"
        return "; ".join((*self.told, read))


@dataclass(frozen=True)
class Balance:
    """The backend with its two servers; every method raises RunError if what it promises could not be read back."""

    runtime: Runtime
    backend: str
    stable: str
    canary: str
    deadline: timedelta = field(default=_DEADLINE)

    def read(self) -> Traffic:
        """Return what HAProxy does now."""
        servers = dict(self.runtime.servers(self.backend))
        try:
            stable, canary = servers.pop(self.stable), servers.pop(self.canary)
        except KeyError as error:
            raise Refused(f"HAProxy's backend {self.backend} has no server {error.args[0]}; name one of it") from None
        return Traffic(stable, canary, tuple(servers.values()))

    def divide(self, share: float) -> Traffic:
        """Send ``share`` to the canary; returns what was read back. Raises ConfigError for a share that cannot be."""
        wanted = weights(share)
        last = self._until(lambda _: self._weigh(wanted), lambda traffic: _divided(traffic, wanted))
        if last.traffic is None or not _divided(last.traffic, wanted):
            asked = f"weights {wanted[0]} and {wanted[1]} ({self.stable} and {self.canary})"
            raise RunError(f"HAProxy's backend {self.backend} does not divide traffic as asked: {asked}; {last}")
        return last.traffic

    def take_back(self, clock: Clock) -> Zero:
        """Bring the canary to zero by whatever way works, and say when that was first read; raises Unanswered too."""
        commanded, tried, confirmed = clock.now(), 0, clock.now()

        def attempt(number: int) -> Attempt:
            nonlocal tried, confirmed
            tried = number
            done = self._empty(second_way=number > 1)
            confirmed = clock.now()
            return done

        last = self._until(attempt, lambda traffic: traffic.canary.effective == 0)
        if not last.answered:
            raise Unanswered(self._unknown())
        if last.traffic is None or last.traffic.canary.effective:
            raise RunError(self._by_hand(last, tried))
        return Zero(commanded, confirmed, tried, last.way, last.traffic)

    def _until(self, attempt: Callable[[int], Attempt], done: Callable[[Traffic], bool]) -> Attempt:
        """Attempt until ``done`` or the deadline, a short one while nobody answers; returns the last attempt."""
        retrying = tenacity.Retrying(
            stop=self._over,
            wait=_PAUSE,
            retry=tenacity.retry_if_result(lambda result: result.traffic is None or not done(result.traffic)),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        numbers = iter(range(1, 1_000_000))
        last: Attempt = retrying(lambda: attempt(next(numbers)))
        return last

    def _over(self, state: tenacity.RetryCallState) -> bool:
        last: Attempt | None = state.outcome.result() if state.outcome else None
        silent = last is not None and not last.answered
        patience = min(self.deadline, _SILENCE) if silent else self.deadline
        return (state.seconds_since_start or 0.0) >= patience.total_seconds()

    def _weigh(self, wanted: tuple[int, int]) -> Attempt:
        """Set both weights, the rising one first, and read them back."""
        before = self._look()
        now = before.traffic.canary.weight if before.traffic else 0
        pairs = [(self.stable, wanted[0]), (self.canary, wanted[1])]
        told = self._orders([f"weight {weight}" for _, weight in pairs], [name for name, _ in pairs], wanted[1] > now)
        return self._look(told)

    def _empty(self, *, second_way: bool) -> Attempt:
        done = self._weigh((100, 0))
        for state in ("drain", "maint") if second_way and done.answered else ():
            if done.traffic and not done.traffic.canary.effective:
                break
            told = self._orders([f"state {state}"], [self.canary], False)
            after = self._look((*done.told, *told))
            done = replace(after, way=state)
        return done

    def _orders(self, orders: Sequence[str], servers: Sequence[str], reverse: bool) -> tuple[str, ...]:
        """Give the orders, all of them whatever comes; returns what went wrong."""
        pairs = list(zip(servers, orders, strict=True))
        told = []
        for server, order in reversed(pairs) if reverse else pairs:
            try:
                self.runtime.order(f"set server {self.backend}/{server} {order}")
            except RunError as error:
                told.append(str(error))
        return tuple(told)

    def _look(self, told: tuple[str, ...] = ()) -> Attempt:
        try:
            return Attempt(told, self.read())
        except RunError as error:
            return Attempt((*told, str(error)), None, answered=isinstance(error, Refused))

    def _unknown(self) -> str:
        return (
            f"HAProxy does not answer at {self.runtime.address.text}: whether the canary gets traffic cannot be known; "
            f"start HAProxy again, the guard then takes traffic back"
        )

    def _by_hand(self, last: Attempt, tried: int) -> str:
        order = f'echo "set server {self.backend}/{self.canary} state maint" | socat - {self.runtime.address.for_socat}'
        seconds = self.deadline.total_seconds()
        return (
            f"the canary {self.backend}/{self.canary} STILL GETS TRAFFIC: {tried} attempts in {seconds:g} s to take it "
            f"back failed; {last}; do it by hand now: {order} (the socket must have level admin), or stop the canary"
        )


def _divided(traffic: Traffic, wanted: tuple[int, int]) -> bool:
    """Whether both weights are as wanted, nobody who should serve is out of service, and nobody else serves."""
    return (
        _obeys(traffic.stable, wanted[0])
        and _obeys(traffic.canary, wanted[1])
        and not any(one.effective for one in traffic.others)
    )


def _obeys(server: Server, weight: int) -> bool:
    """A server that is to get nothing obeys in maintenance too; its weight is then of no matter."""
    return server.effective == weight if weight else server.effective == 0


