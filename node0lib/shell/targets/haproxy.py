"""Real traffic between a stable and a canary instance behind HAProxy: ``ports.Split`` on real time.

Rules
- A policy counts as brought when the instance says that it runs it; a share when the weights were read back.
- ``look`` reads once and never waits. It returns what both arms counted since the last look; nothing (an empty look)
  while there is no new scrape of both, and after a ``send`` it begins at the first scrape after the confirmation: what
  was counted before belongs to another share. While stable does not serve it says so, and nothing is counted: HAProxy
  sends its traffic to the canary then, whatever the weights. Counting begins again when stable serves.
- Lost telemetry is a DataError, never a figure, and never hinders a command: taking traffic back needs only HAProxy.
- ``permit`` (a lease, say) is asked before the canary's traffic rises, and while counts are waited for.
- ``withdraw`` measures itself: from the instant of the decision to the first read-back of zero, and then it watches
  whether the canary still counts requests.

>>> from datetime import UTC
>>> at = datetime(2026, 1, 1, tzinfo=UTC)
>>> Withdrawal(at, at, at + timedelta(seconds=2), 1, "weight", True, 0, 0, ()).seconds
2.0
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType

import httpx

from node0lib.errors import DataError, RunError
from node0lib.ports import Arm, Baseline, Clock, Look, Policy
from node0lib.shell.clocks import SystemClock
from node0lib.shell.targets.arms_telemetry import Snapshot, Telemetry
from node0lib.shell.targets.haproxy_runtime import Runtime
from node0lib.shell.targets.haproxy_weights import Balance, Traffic, Zero
from node0lib.shell.targets.live_policy import Instance, bring, digest, new_client, running
from node0lib.shell.targets.target_file import HaproxyTarget
from node0lib.sli.histogram import Histogram
from node0lib.timespan import format_duration

NOTHING = Arm(0, 0, 0, 0)
WINDOWS = tuple(timedelta(minutes=n) for n in (1, 5, 15, 60))
"""How far back a baseline looks: the first window that has ``PLENTY`` requests."""
PLENTY, FEWEST = 1000, 100
_SCRAPES = 2
_PATIENCE = 8
"""Ticks within which those scrapes must have come."""
_BRIEF = timedelta(seconds=3)
"""So long an instance that has no traffic any more may take to get its policy back."""


@dataclass(frozen=True)
class Withdrawal:
    """How traffic was taken back. ``attempts`` and ``way`` (weight, drain, maint) are HAProxy's part.

    ``stable_serves``: whether somebody is there to take it. ``chosen_after``: how often HAProxy chose the canary after
    the confirmation; ``counted_after``: what the canary itself counted between the first scrape after it and the second
    one later. None where that could not be read; ``problems`` says why, and whether the canary kept the candidate.
    """

    decided_at: datetime
    commanded_at: datetime
    confirmed_at: datetime
    attempts: int
    way: str
    stable_serves: bool
    chosen_after: int | None
    counted_after: int | None
    problems: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """From the decision to the first read-back of zero."""
        return (self.confirmed_at - self.decided_at).total_seconds()


class HaproxySplit:
    """The split; a context manager. Every command has ``deadline`` to be confirmed.

    ``permit`` is asked before the canary's traffic rises; what it raises keeps the traffic where it is.
    """

    name = "haproxy"
    simulated = False

    def __init__(
        self,
        target: HaproxyTarget,
        *,
        clock: Clock | None = None,
        permit: Callable[[], object] = lambda: None,
        deadline: timedelta = timedelta(seconds=20),
    ) -> None:
        self._target, self._clock, self._permit, self._deadline = target, clock or SystemClock(), permit, deadline
        servers = target.stable.server, target.canary.server
        self.balance = Balance(Runtime(target.socket), target.backend, *servers, deadline)
        self._telemetry = Telemetry(target.prometheus, target.queries, target.tick, self._clock)
        self._client = new_client()
        self._policies: tuple[Policy, Policy] | None = None
        self._bounds: Baseline | None = None
        self._base: Snapshot | None = None
        self._sent_at = self._since = self._clock.now()
        self._began: datetime | None = None
        self._looked = 0.0  # the minute at which the last look ended

    def __enter__(self) -> HaproxySplit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; traffic stays as it is."""
        self._telemetry.close()
        self._client.close()

    def prepare(self, control: Policy, candidate: Policy) -> None:
        """Take traffic from the canary and bring both policies; raises RunError, also if the canary cannot serve."""
        self.send(0.0)
        stable, canary = self._target.stable, self._target.canary
        changed = running(stable, self._client) != digest(control)
        self._bring(stable, control)
        self._since = self._clock.now() if changed else self._clock.now() - WINDOWS[-1]
        self._bring(canary, candidate)
        self._policies = (control, candidate)
        traffic = self.balance.read()
        if not traffic.canary.serving:
            order = f"set server {self._target.backend}/{canary.server} state ready"
            raise RunError(f"the canary cannot take traffic ({traffic.canary}); start it, and tell HAProxy: {order}")

    def _bring(self, instance: Instance, policy: Policy) -> None:
        bring(instance, policy, self._client, deadline=self._deadline)

    def baseline(self, *, margin_p95: float, margin_p99: float) -> Baseline:
        """Measure the stable instance over the last minutes; margins are relative. Raises DataError."""
        latencies = self._latencies()
        bounds = [_bound_above(latencies, q, margin) for q, margin in ((0.95, margin_p95), (0.99, margin_p99))]
        slow = [1.0 - latencies.share_at_or_under(bound)[0] for bound in bounds]
        self._bounds = Baseline(bounds[0], bounds[1], slow[0], slow[1])
        return self._bounds

    def _latencies(self) -> Histogram:
        known = self._clock.now() - self._since
        requests = 0
        for window in WINDOWS:
            requests, errors, latencies = self._telemetry.totals("stable", min(window, known))
            if requests >= PLENTY or known <= window:
                break
        if requests < FEWEST or latencies.count < FEWEST:
            told = format_duration(min(window, known))
            raise DataError(f"stable: {requests} requests in {told}; a baseline needs {FEWEST}, wait until they came")
        _same_events(requests, errors, latencies.count)
        return latencies

    def send(self, share: float) -> None:
        """Send ``share`` in [0, 1] to the canary, read back; raises RunError, ConfigError for an impossible share."""
        if share > 0:
            self._permit()
        self._confirmed(self.balance.divide(share))

    def _confirmed(self, traffic: Traffic) -> None:
        self._base, self._sent_at = None, self._clock.now()
        if traffic.share > 0 and self._began is None:
            self._began = self._sent_at

    @property
    def share(self) -> float:
        """The share that the weights really make now; raises RunError."""
        return self.balance.read().share

    def look(self) -> Look:
        """Return what both arms counted since the last look or ``send``; raises DataError if that is lost."""
        if self._bounds is None:
            raise RunError("nothing to look at yet: measure the baseline first")
        try:
            control, canary = self._counted(self._bounds)
        except DataError:
            down = self._stable_down()  # after the counts: what died while they came is known
            if down is None:
                raise
        else:
            down = self._stable_down()
        if down is None:
            return self._seen(control, canary)
        self._base, self._sent_at = None, self._clock.now()
        return self._seen(NOTHING, NOTHING, down)

    def _counted(self, bounds: Baseline) -> tuple[Arm, Arm]:
        found, before = self._telemetry.read(), self._base
        if before is None:
            self._base = found if found.after(self._sent_at) else None
            return NOTHING, NOTHING
        if not found.newer(before):
            return NOTHING, NOTHING
        counts = found.since(before, "stable", bounds), found.since(before, "canary", bounds)
        self._base = found.remembering(before)
        return counts

    def _stable_down(self) -> str | None:
        """Return what is wrong if stable serves nobody; raises DataError if HAProxy does not say."""
        try:
            stable = self.balance.read().stable
        except RunError as error:
            raise DataError(str(error)) from error
        if not stable.serving:
            return str(stable)
        try:
            running(self._target.stable, self._client)
        except RunError as error:
            # HAProxy finds out late, or never if it repeats elsewhere; nobody listening says it. Counts show all else.
            return f"{stable}, but nobody listens" if isinstance(error.__cause__, httpx.ConnectError) else None
        return None

    def _seen(self, control: Arm, canary: Arm, down: str | None = None) -> Look:
        now = self._clock.now()
        before, self._looked = self._looked, (now - (self._began or now)) / timedelta(minutes=1)
        return Look(before, control, canary, self._looked - before, down)

    def promote(self) -> None:
        """Bring the stable instance to the candidate and send it all traffic; returns once both were read back."""
        self._bring(self._target.stable, self._prepared()[1])
        self.send(0.0)

    def _prepared(self) -> tuple[Policy, Policy]:
        if self._policies is None:
            raise RunError("nothing was prepared, so there is no candidate; call prepare first")
        return self._policies

    def withdraw(self, decided_at: datetime, clock: Clock | None = None) -> Withdrawal:
        """Take all traffic back, count what still came, and bring the canary back to the control.

        Raises RunError, saying what to do by hand, if zero could not be read back; everything later is a problem noted.
        """
        zero = self.balance.take_back(clock or self._clock)
        self._confirmed(zero.traffic)
        problems: list[str] = []
        chosen = _noting(problems, self._chosen)
        counted = _noting(problems, lambda: self._counted_after(zero))
        after = _noting(problems, self._chosen)
        if self._policies:
            _noting(problems, self._permitted)
            _noting(problems, self._brought_back)
            _noting(problems, self._permitted)
        grown = after - chosen if chosen is not None and after is not None else None
        times = decided_at, zero.commanded_at, zero.confirmed_at
        serves = zero.traffic.stable.effective > 0
        return Withdrawal(*times, zero.attempts, zero.way, serves, grown, counted, tuple(problems))

    def _permitted(self) -> None:
        self._permit()

    def _brought_back(self) -> None:
        """Bring the canary to the control, within a time that no lease runs out in: one that crashed is only noted."""
        bring(self._target.canary, self._prepared()[0], self._client, deadline=_BRIEF)

    def _chosen(self) -> int:
        return self.balance.runtime.chosen(self._target.backend, self._target.canary.server)

    def _counted_after(self, zero: Zero) -> int:
        """Return the canary's requests between the first scrape after zero and the second one later."""
        tick = self._target.tick.total_seconds()
        seen: list[Snapshot] = []
        for _ in range(2 * _PATIENCE):
            self._permit()  # a lease is renewed by being asked for: nothing here may look like a holder that died
            found = self._telemetry.read()
            last = seen[-1].scraped["canary"] if seen else 0.0
            if found.scraped_after("canary", zero.confirmed_at) and found.scraped["canary"] > last:
                seen.append(found)
            if len(seen) > _SCRAPES:
                return _requests(seen[0], seen[-1])
            time.sleep(tick / 2)
        raise DataError(f"canary: no {_SCRAPES + 1} scrapes within {_PATIENCE} ticks after traffic was taken back")


def _requests(first: Snapshot, last: Snapshot) -> int:
    nowhere = Baseline(float("inf"), float("inf"), 0.0, 0.0)
    return last.since(first, "canary", nowhere).requests


def _noting(problems: list[str], work: Callable[[], int | None]) -> int | None:
    """Do what must not undo a withdrawal; what fails is noted."""
    try:
        return work()
    except (RunError, DataError) as error:
        problems.append(str(error))
        return None


def _bound_above(latencies: Histogram, quantile: float, margin: float) -> float:
    """Return the smallest bucket bound at or above the quantile times the margin, or the last one."""
    value = latencies.estimate(quantile) * (1 + margin)
    return next((bound for bound in latencies.bounds if bound >= value), latencies.bounds[-1])


def _same_events(requests: int, errors: int, observed: int) -> None:
    """Raise DataError where the three queries plainly do not count the same requests."""
    slack = 10 + requests // 20
    if errors > requests + slack or abs(observed - requests) > slack:
        raise DataError(
            f"stable: {requests} requests, {errors} errors and {observed} latencies in the same time; the queries do "
            f"not count the same events, correct them in the target file"
        )
