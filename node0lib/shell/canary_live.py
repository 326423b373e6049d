"""Walk one rollout, on the embedded node or on real traffic, and keep its diary whatever ends it.

On real traffic the lease is renewed and people are heard (``canary_orders``) every second, however long the tick is;
the way back is the target's own, which measures itself and has a second way. If stable was to take the candidate
already, the way back begins with bringing it to the control again, and is not done before that. A lease that cannot be
renewed is an abort: the guard has then taken traffic back, or is gone.

>>> Diary(clock=None).deeds
[]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import tenacity

from node0lib.canary.record import Deed, Return
from node0lib.canary.rollout import Abort, Command, Event, Plan, Rollout
from node0lib.canary.walk import Change, Seen, Walked, Watch, walk
from node0lib.errors import DataError, Node0Error, RunError
from node0lib.ports import Baseline, Clock, Look, Policy, Split
from node0lib.shell.canary_orders import Orders
from node0lib.shell.lease import Lease
from node0lib.shell.targets.haproxy import HaproxySplit, Withdrawal
from node0lib.shell.targets.haproxy_weights import Unanswered
from node0lib.shell.targets.live_policy import Instance, bring, new_client

_UNHEARD = timedelta(minutes=1)
"""So long is waited for the requests of a baseline."""
DEAF = 10
"""So many looks in a row may fail before telemetry is lost."""
_BROUGHT = timedelta(seconds=5)
"""So long one attempt to bring stable back may take."""
_SLICE_S = 1.0
"""So often at least the lease is renewed and people are heard."""


@dataclass
class Diary:
    """Every look and every command, as they came; ``began`` is called before the first traffic is sent."""

    clock: Clock
    watching: Callable[[Seen], None] = lambda _: None
    began: Callable[[], None] = lambda: None
    looks: list[Seen] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    read_back: datetime | None = None
    """When the command under way was read back, where its target says so: it may have had to do after that."""

    def seen(self, look: Seen) -> None:
        """Write a look down and show it."""
        self.looks.append(look)
        self.watching(look)

    def told(self, _: Rollout, command: Command, done: bool) -> None:
        """Write a command down when it is decided, and again when it is carried out."""
        now = self.clock.now()
        if done:
            self.deeds[-1] = replace(self.deeds[-1], confirmed=self.read_back or now)
            return
        self.read_back = None
        if not self.deeds and command.kind == "send":
            self.began()
        self.deeds.append(Deed(command, now, None))


@dataclass(frozen=True)
class Journey:
    """How a walk ended: ``walked``, or the ``error`` that ended it; ``lost`` if the traffic may still be there."""

    walked: Walked | None
    back: Return | None
    error: BaseException | None = None
    lost: bool = False

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM ended it."""
        return isinstance(self.error, KeyboardInterrupt)

    @property
    def unanswered(self) -> bool:
        """Whether the balancer was gone when the traffic was to be taken back."""
        return self.error is not None and isinstance(self.error.__cause__, Unanswered)

    @property
    def promoted(self) -> bool:
        """Whether the candidate is what stable runs now."""
        return self.walked is not None and self.walked.ending == "promoted"


def heed(stopped: Callable[[], bool]) -> None:
    """Raise KeyboardInterrupt if the program was told to end: the one that was raised then may have been swallowed."""
    if stopped():
        raise KeyboardInterrupt


class Pulse:
    """Waits for the next tick, renews the lease, and hands on what people said.

    ``stopped`` says whether the program is to end; raises KeyboardInterrupt then, if nobody has yet.
    """

    def __init__(
        self, tick: timedelta, orders: Orders, lease: Lease, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._tick, self._orders, self._lease = tick.total_seconds(), orders, lease
        self._stopped = stopped
        self._next = time.monotonic()

    def __call__(self, _: Rollout) -> Event | None:
        due = max(self._next + self._tick, time.monotonic())
        while True:
            time.sleep(max(0.0, min(due - time.monotonic(), _SLICE_S)))
            heed(self._stopped)
            try:
                self._lease.renew()
            except RunError as error:
                return Abort(str(error))
            event = self._orders.next()
            if event is not None:
                return event  # the look that was due still is
            if time.monotonic() >= due:
                self._next = due
                return None


class RealTraffic:
    """HAProxy's split whose way back is measured from the decision, and is promised ``within`` a time."""

    simulated = False

    def __init__(
        self, split: HaproxySplit, stable: Instance, diary: Diary, lease: Lease, within: timedelta
    ) -> None:
        self._stable = stable
        self._split, self._diary, self._lease, self._within = split, diary, lease, within.total_seconds()
        self.name = split.name
        self.back: Return | None = None
        self.problems: tuple[str, ...] = ()
        self._promoted_from: Policy | None = None

    def prepare(self, control: Policy, candidate: Policy) -> None:
        self._control = control
        self._split.prepare(control, candidate)
        self._lease.renew()

    def baseline(self, *, margin_p95: float, margin_p99: float) -> Baseline:
        """Measure the stable revision, which has to be heard for a while if it was just brought to its policy."""
        waiting = tenacity.Retrying(
            stop=tenacity.stop_after_delay(_UNHEARD.total_seconds()),
            wait=tenacity.wait_fixed(1),
            retry=tenacity.retry_if_exception_type(DataError),
            before_sleep=lambda _: self._lease.renew(),
            reraise=True,
        )
        found: Baseline = waiting(self._split.baseline, margin_p95=margin_p95, margin_p99=margin_p99)
        return found

    def send(self, share: float) -> None:
        """Send a share; none at all is the way back, which is timed from when it was decided."""
        if share > 0:
            self._split.send(share)
            return
        kept = self._unpromoted()
        found = self._split.withdraw(self._decided())  # renews nothing: a guard that acts meanwhile does the same
        self.problems = found.problems
        if kept is not None:
            raise RunError(f"stable keeps the candidate: {kept}") from kept
        self.back = self._returned(found)
        self._diary.read_back = found.confirmed_at

    def _unpromoted(self) -> RunError | None:
        """Bring stable back if it was to be promoted; returns why it could not be."""
        if self._promoted_from is None:
            return None
        try:
            with new_client() as client:
                bring(self._stable, self._promoted_from, client, deadline=_BROUGHT)
        except RunError as error:
            return error
        return None

    def _decided(self) -> datetime:
        """When the way back was first decided: a second attempt does not begin the time anew."""
        ways = [deed for deed in self._diary.deeds if deed.command.kind in ("roll_back", "withdraw")]
        return ways[0].decided if ways else self._diary.clock.now()

    def _returned(self, found: Withdrawal) -> Return:
        # What the canary still counts were requests under way; whom the balancer chose after the read-back were not.
        after = found.counted_after if found.chosen_after is None else found.chosen_after
        return Return(found.decided_at, found.confirmed_at, found.attempts, self._within, after)

    def look(self) -> Look:
        return self._split.look()

    def promote(self) -> None:
        self._promoted_from = self._control
        self._split.promote()


def journey(
    change: Change, split: Split, plan: Plan, pulse: Callable[[Rollout], Event | None], diary: Diary
) -> Journey:
    """Walk, and return how it ended instead of raising: whatever it was, it has to be recorded."""
    real = split if isinstance(split, RealTraffic) else None
    watch = Watch(pulse, diary.seen, diary.told, deaf=DEAF if real else 0)
    try:
        walked = walk(change, split, plan, watch)
    except (Node0Error, KeyboardInterrupt) as error:
        sent = any(deed.command.kind == "send" for deed in diary.deeds)
        lost = real is not None and sent and real.back is None
        return Journey(None, real.back if real else None, error, lost)
    return Journey(walked, real.back if real else None)
