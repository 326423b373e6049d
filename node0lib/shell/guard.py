"""The guard: a small process that takes traffic back when the one that moved it is gone.

``python -m node0lib.shell.guard --lease FILE`` is started by ``lease.guarded``, in a session of its own, so that it
outlives whoever started it and the terminal too. It looks twice a second, and acts when

- the lease was not renewed for its time to live (it watches for renewals by its own monotonic clock, so that a
  clock that is set changes nothing), or its holder's process is gone, or the holder gave up, or
- the lease was removed by somebody, or the guard itself is told to end (SIGTERM) while the lease is held.

It then sets the canary's traffic to zero and reads that back, again and again until it is; brings both instances back
to the control (stable too, where it was promoted already and nothing is sealed: the live policy is the old one then);
writes ``incident-CHANGE.json`` beside the lease, and an incident into node0's database. It ends with 0
when the lease was released, with 1 when it took traffic back, with 2 if it could not begin.

>>> incident = Incident("c", "why", *[datetime(2026, 1, 1, tzinfo=UTC)] * 3, 1, "weight", True, ())
>>> json.loads(incident.encoded())["seconds_to_zero"]
0.0
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import httpx

from node0lib.errors import Node0Error, RunError
from node0lib.evidence.canonical import policy_bytes
from node0lib.ports import Policy
from node0lib.shell.clocks import SystemClock
from node0lib.shell.files import write_atomic
from node0lib.shell.lease import ABANDONED, RELEASED, TAKEN, Duty, alive, announce
from node0lib.shell.targets.haproxy_runtime import Runtime
from node0lib.shell.targets.haproxy_weights import Balance, Zero
from node0lib.shell.targets.live_policy import Instance, bring, digest, new_client, running
from node0lib.timespan import format_instant

KIND = "orchestrator_lost"
_LOOK_S, _AGAIN_S = 0.5, 1.0
_ROUND = timedelta(seconds=5)


@dataclass(frozen=True)
class Incident:
    """What happened; ``zero_at`` is None as long as zero was not read back. ``last_seen`` is the last renewal."""

    change: str
    why: str
    last_seen: datetime
    noticed_at: datetime
    zero_at: datetime | None
    attempts: int
    way: str
    stable_serves: bool
    problems: tuple[str, ...]

    def encoded(self) -> bytes:
        """Return the incident as JSON; the seconds run from the last renewal, and from the moment it was noticed."""
        zero = self.zero_at
        shown = {
            "kind": KIND,
            "change": self.change,
            "why": self.why,
            "last_seen": format_instant(self.last_seen),
            "noticed_at": format_instant(self.noticed_at),
            "zero_confirmed_at": format_instant(zero) if zero else None,
            "seconds": (zero - self.last_seen).total_seconds() if zero else None,
            "seconds_to_zero": (zero - self.noticed_at).total_seconds() if zero else None,
            "attempts": self.attempts,
            "way": self.way,
            "stable_serves": self.stable_serves,
            "problems": list(self.problems),
        }
        return (json.dumps(shown, indent=2) + "\n").encode("utf-8")


@dataclass
class Watch:
    """What the guard remembers between two looks."""

    held: Path
    duty: Duty
    told_to_end: bool = False
    renewed: int = 0
    renewed_at: float = field(default_factory=time.monotonic)

    def end(self, number: int, frame: FrameType | None) -> None:
        """Take SIGTERM down for the next look."""
        self.told_to_end = True

    def released(self) -> bool:
        """Whether the rollout has ended well."""
        return self.held.with_suffix(RELEASED).exists()

    def alarm(self) -> str | None:
        """Return why traffic must be taken back; None while all is well."""
        if not self.held.exists():
            if self.released():
                return None
            gave_up = self.held.with_suffix(ABANDONED).exists()
            return "the orchestrator gave up in the middle" if gave_up else "the lease was removed"
        if self.told_to_end:
            return "the guard was told to end while the lease was held"
        if not alive(self.duty.holder, self.duty.holder_created):
            return f"the orchestrator (pid {self.duty.holder}) is gone"
        return self._silent()

    def _silent(self) -> str | None:
        try:
            renewed = self.held.stat().st_mtime_ns
        except FileNotFoundError:
            return None  # renamed since: the next look says to what
        if renewed != self.renewed:
            self.renewed, self.renewed_at = renewed, time.monotonic()
        silent = time.monotonic() - self.renewed_at
        if silent <= self.duty.time_to_live_s:
            return None
        return f"the orchestrator (pid {self.duty.holder}) lives, but did not renew its lease for {silent:.1f} s"

    def take(self) -> bool:
        """Take the lease, so that it cannot be renewed any more; False if it was released in the meantime."""
        for suffix in (self.held.suffix, ABANDONED):
            try:
                self.held.with_suffix(suffix).replace(self.held.with_suffix(TAKEN))
            except FileNotFoundError:
                continue
            return True
        return not self.released()

    def last_seen(self) -> datetime:
        """Return the last renewal."""
        seconds = self.renewed / 1e9 if self.renewed else time.time()
        return datetime.fromtimestamp(seconds, UTC)


def watch(held: Path) -> int:
    """Guard a lease until it is released (0) or traffic was taken back (1); raises RunError if it cannot begin."""
    watched = Watch(held, _duty(held))
    _hear(watched)
    balance = _balance(watched.duty)
    _say(f"guards {held.stem}: {balance.read()}")
    announce(held)
    while True:
        why = watched.alarm()
        if why and watched.take():
            _respond(watched, balance, why)
            return 1
        if watched.released():
            _say(f"{held.stem} was released")
            return 0
        time.sleep(_LOOK_S)


def _duty(held: Path) -> Duty:
    try:
        return Duty.decoded(held.read_bytes(), str(held))
    except OSError as error:
        raise RunError(f"{held}: cannot be read ({error.strerror or error}); a rollout makes it") from error


def _hear(watched: Watch) -> None:
    """Outlive the terminal; SIGTERM is heard and not obeyed at once."""
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, watched.end)


def _balance(duty: Duty) -> Balance:
    return Balance(Runtime(duty.socket), duty.backend, duty.stable.server, duty.canary.server, deadline=_ROUND)


def _respond(watched: Watch, balance: Balance, why: str) -> None:
    """Take traffic back, however long it takes, and only then do everything else."""
    noticed, seen = SystemClock().now(), watched.last_seen()
    _say(f"{why}: takes traffic back")
    zero, failed = _zero(watched, balance, Incident(watched.duty.change, why, seen, noticed, None, 0, "", False, ()))
    _say(f"zero was read back, {(zero.confirmed_at - noticed).total_seconds():.2f} s later: {zero.traffic}")
    problems = [*failed, *_restore(watched.duty)]
    serves = zero.traffic.stable.effective > 0
    done = watched.duty.change, why, seen, noticed, zero.confirmed_at, zero.attempts, zero.way, serves
    _write(watched, Incident(*done, tuple(problems)))
    problems += _record(watched.duty, Incident(*done, tuple(problems)))
    _write(watched, Incident(*done, tuple(problems)))


def _zero(watched: Watch, balance: Balance, so_far: Incident) -> tuple[Zero, tuple[str, ...]]:
    """Return how zero was reached, never without it; a round that failed is told, in the log and in the incident."""
    failed: tuple[str, ...] = ()
    for rounds in itertools.count(1):
        try:
            return balance.take_back(SystemClock()), failed
        except RunError as error:
            failed = (f"{rounds} rounds failed, the last one so: {error}",)
            _say(str(error))
            _write(watched, replace(so_far, problems=failed))
            time.sleep(_AGAIN_S)
    raise AssertionError("itertools.count does not end")


def _restore(duty: Duty) -> list[str]:
    """Bring what does not run the control back to it, stable first; returns what was wrong."""
    arms = (duty.canary,) if duty.sealed and Path(duty.sealed).exists() else (duty.stable, duty.canary)
    wrong = []
    with new_client() as client:
        for arm in arms:
            try:
                if not _runs(arm, duty.control, client):
                    bring(arm, duty.control, client)
            except Node0Error as error:
                wrong.append(str(error))
                _say(str(error))
            else:
                _say(f"{arm.server} runs the control")
    return wrong


def _runs(arm: Instance, policy: Policy, client: httpx.Client) -> bool:
    """Whether an instance runs a policy, and would after a restart too: then it is left alone."""
    try:
        return running(arm, client) == digest(policy) and arm.policy.read_bytes() == policy_bytes(policy)
    except (RunError, OSError):
        return False


def _record(duty: Duty, incident: Incident) -> list[str]:
    """Tell node0's database, if there is one; returns what was wrong."""
    if duty.state is None or incident.zero_at is None:
        return []
    # Only here: what a database brings along would make the guard's start slow.
    from node0lib.gates import Incident as Remembered
    from node0lib.shell.state import State

    summary = f"rollout of {duty.change}: {incident.why}; the guard took traffic back"
    try:
        with State(Path(duty.state)) as state:
            state.record_incident(duty.change, Remembered(KIND, incident.noticed_at, incident.zero_at, summary))
    except RunError as error:
        _say(str(error))
        return [str(error)]
    return []


def _write(watched: Watch, incident: Incident) -> None:
    """Write the incident; a full disk must not keep the guard from its work."""
    try:
        write_atomic(watched.held.with_name(f"incident-{incident.change}.json"), incident.encoded())
    except RunError as error:
        _say(str(error))


def _say(text: str) -> None:
    print(f"{format_instant(SystemClock().now())} {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the guard; its output goes to a log."""
    parser = argparse.ArgumentParser(prog="python -m node0lib.shell.guard", description="Guard a rollout's lease.")
    parser.add_argument("--lease", type=Path, required=True, help="the lease that a rollout holds")
    try:
        return watch(parser.parse_args(arguments).lease)
    except Node0Error as error:
        _say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
