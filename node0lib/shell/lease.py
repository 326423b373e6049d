"""The lease of a rollout: while it is renewed the guard keeps still; when it is not, the guard takes traffic back.

A dead-man's switch. The lease is a file whose name says its state, and one rename changes it, so that of two processes
exactly one wins:

| name                | state                                                                                      |
|---------------------|--------------------------------------------------------------------------------------------|
| CHANGE.lease        | held: its time of modification is the last renewal                                         |
| CHANGE.released     | the rollout has ended and traffic lies where it should; the guard ends, and writes nothing |
| CHANGE.abandoned    | the holder gave up in the middle: the guard takes traffic back at once                     |
| CHANGE.taken        | the guard has decided to take traffic back; from here on nothing can be renewed            |

The file holds everything that the guard needs (``Duty``), so nothing has to be found out when the worst has happened.
Renewing is one ``utime`` and one look at the guard; the guard compares renewals, not clocks.

>>> check_name("change-7")
'change-7'
>>> check_name("../x")
Traceback (most recent call last):
...
node0lib.errors.ConfigError: '../x' cannot name a lease; a change's name is letters, digits and . _ -, 100 at most
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from node0lib.errors import ConfigError, RefusedError, RunError
from node0lib.ports import Policy
from node0lib.shell.files import write_atomic
from node0lib.shell.targets.live_policy import Instance

if TYPE_CHECKING:
    from node0lib.shell.targets.target_file import HaproxyTarget

TIME_TO_LIVE = timedelta(seconds=10)
HELD, RELEASED, ABANDONED, TAKEN = ".lease", ".released", ".abandoned", ".taken"
READY, LOG = ".guard", ".guard-log"
_COMMAND = [sys.executable, "-P", "-m", "node0lib.shell.guard", "--lease"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_READY_S, _END_S, _POLL_S = 30.0, 60.0, 0.05
UNANSWERED_S = 3.0
"""So long a guard is waited for that has no balancer to talk to: it goes on by itself."""


@dataclass(frozen=True)
class Duty:
    """What the guard has to know: whom to watch, and how to take traffic back. Paths are absolute texts.

    ``sealed`` is the file whose existence says that the candidate was promoted and that is on record; None: never.
    """

    change: str
    holder: int
    holder_created: float
    time_to_live_s: float
    folder: str
    state: str | None
    socket: str
    backend: str
    stable: Instance
    canary: Instance
    control: Policy
    sealed: str | None = None

    def encoded(self) -> bytes:
        """Return the duty as JSON."""
        return (json.dumps(asdict(self), default=str, indent=1) + "\n").encode("utf-8")

    @classmethod
    def decoded(cls, content: bytes, where: str) -> Duty:
        """Return the duty in some bytes; raises RunError if there is none."""
        try:
            found: dict[str, Any] = json.loads(content)
            stable, canary = (_instance(found.pop(name)) for name in ("stable", "canary"))
            return cls(**found, stable=stable, canary=canary)
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{where}: is no lease ({error}); nobody may edit it") from error


def _instance(fields: dict[str, Any]) -> Instance:
    return Instance(**{**fields, "policy": Path(fields["policy"]).absolute()})


def check_name(change: str) -> str:
    """Return the name of a change if files can be called by it; raises ConfigError."""
    if not _NAME.fullmatch(change):
        raise ConfigError(
            f"{change!r} cannot name a lease; a change's name is letters, digits and . _ -, 100 at most"
        )
    return change


def alive(pid: int, created: float) -> bool:
    """Whether that very process lives: not another one with its number, and not one that is only not yet buried."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 0.1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Lease:
    """A lease that is held, and the guard that watches it."""

    def __init__(self, held: Path, guard: subprocess.Popen[bytes]) -> None:
        self.held, self._guard, self._over = held, guard, False

    @property
    def guard(self) -> int:
        """The guard's process id."""
        return self._guard.pid

    def renew(self) -> None:
        """Say that the holder lives; raises RunError if nobody guards any more, or traffic was taken back.

        Then the rollout is to end, and its traffic to be taken back: by the caller too.
        """
        try:
            os.utime(self.held)
        except OSError as error:
            raise RunError(
                f"{self.held}: the lease is gone, the guard has taken traffic back; see the incident beside it"
            ) from error
        if self._guard.poll() is not None:
            raise RunError(
                f"the guard of {self.held.stem} (pid {self._guard.pid}) is gone, code {self._guard.returncode}: no "
                f"rollout without one; {_last_words(self.held)}"
            )

    def release(self) -> None:
        """Say that traffic lies where it should, and wait for the guard's end; raises RunError if it was taken back."""
        self._end(RELEASED)

    def abandon(self, patience: float = _END_S) -> None:
        """Leave the rest to the guard, and wait until it has taken traffic back, for ``patience`` seconds.

        Raises RunError if nobody guards.
        """
        self._end(ABANDONED, patience)

    def _end(self, state: str, patience: float = _END_S) -> None:
        if self._over:
            return
        self._over = True
        gone = self._guard.poll() is not None
        try:
            self.held.replace(self.held.with_suffix(state))
        except OSError as error:
            self._wait(patience)
            if state == RELEASED:
                raise RunError(f"{self.held}: the guard has taken traffic back; see the incident beside it") from error
            return
        if gone and state == ABANDONED:
            raise RunError(f"the guard of {self.held.stem} is gone: take the canary's traffic back by hand, now")
        if self._wait(patience):
            _clear(self.held)

    def _wait(self, patience: float) -> bool:
        """Wait for the guard's end; False if it is still at it: it goes on, with or without us, and needs its files."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(patience)
        return self._guard.poll() is not None


@contextmanager
def guarded(
    target: HaproxyTarget,
    control: Policy,
    change: str,
    folder: Path,
    *,
    state: Path | None = None,
    sealed: Path | None = None,
    time_to_live: timedelta = TIME_TO_LIVE,
) -> Iterator[Lease]:
    """Hold the lease of a change, watched by a guard that has reached HAProxy; ``state`` is node0's database.

    Until the file ``sealed`` is there, the guard that takes traffic back brings a promoted stable instance back too.

    A normal end releases it. An exception abandons it: the guard takes traffic back, and that has been waited for when
    the exception goes on; a caller that has taken traffic back itself releases the lease first. Raises RefusedError if
    there can be no guard, or if the change has a lease already.
    """
    held = folder.absolute() / f"{check_name(change)}{HELD}"
    duty = _duty(target, control, held, time_to_live)
    _take(held, replace(duty, state=_absolute(state), sealed=_absolute(sealed)))
    lease = Lease(held, _started(held))
    try:
        yield lease
    except BaseException:
        lease.abandon()
        raise
    lease.release()


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


def _duty(target: HaproxyTarget, control: Policy, held: Path, time_to_live: timedelta) -> Duty:
    me = psutil.Process()
    return Duty(
        change=held.stem,
        holder=me.pid,
        holder_created=me.create_time(),
        time_to_live_s=time_to_live.total_seconds(),
        folder=str(held.parent),
        state=None,
        socket=target.socket,
        backend=target.backend,
        stable=_instance(vars(target.stable)),
        canary=_instance(vars(target.canary)),
        control=dict(control),
    )


def _take(held: Path, duty: Duty) -> None:
    """Create the lease; one that nobody holds or guards any more is replaced. Raises RefusedError, RunError."""
    try:
        held.parent.mkdir(parents=True, exist_ok=True)
        _refuse_if_in_use(held)
        _clear(held)
        with held.open("xb") as file:
            file.write(duty.encoded())
    except OSError as error:
        why = error.strerror or error
        raise RefusedError(f"{held}: cannot be taken ({why}); no rollout without a lease") from error


def _refuse_if_in_use(held: Path) -> None:
    """Whatever its name is: two rollouts, or one and the guard of another, would move the same traffic."""
    for other in {held, *(ready.with_suffix(HELD) for ready in held.parent.glob(f"*{READY}"))}:
        watching = guard_of(other)
        holder = Duty.decoded(other.read_bytes(), str(other)) if other.exists() else None
        if holder and alive(holder.holder, holder.holder_created):
            raise RefusedError(f"{other}: process {holder.holder} is rolling {other.stem} out; wait for its end")
        if watching and alive(*watching):
            raise RefusedError(f"{other}: the guard (pid {watching[0]}) takes {other.stem} back; wait for its end")


def guard_of(held: Path) -> tuple[int, float] | None:
    """Return the process id and the start of the guard that said it is ready; None before."""
    try:
        found = json.loads(held.with_suffix(READY).read_bytes())
        return int(found["pid"]), float(found["created"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{held.with_suffix(READY)}: is not what a guard writes ({error}); remove it") from error


def announce(held: Path) -> None:
    """Say that this process guards the lease; raises RunError."""
    me = psutil.Process()
    write_atomic(held.with_suffix(READY), json.dumps({"pid": me.pid, "created": me.create_time()}).encode())


def _started(held: Path) -> subprocess.Popen[bytes]:
    """Start the guard, in a session of its own, and wait until it is ready; raises RefusedError."""
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "DETACHED_PROCESS", 0)
    with held.with_suffix(LOG).open("ab") as log:
        guard = subprocess.Popen(
            [*_COMMAND, str(held)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=held.parent,
            start_new_session=True,
            creationflags=flags,
        )
    try:
        _await_ready(held, guard)
    except BaseException:
        guard.kill()
        guard.wait()
        _clear(held)
        raise
    return guard


def _await_ready(held: Path, guard: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _READY_S
    while (guard_of(held) or (0,))[0] != guard.pid:
        if guard.poll() is not None or time.monotonic() > until:
            raise RefusedError(f"no rollout without a guard, and it did not get ready: {_last_words(held)}")
        time.sleep(_POLL_S)
    os.utime(held)


def _clear(held: Path) -> None:
    for suffix in (HELD, RELEASED, ABANDONED, TAKEN, READY):
        held.with_suffix(suffix).unlink(missing_ok=True)


def _last_words(held: Path) -> str:
    log = held.with_suffix(LOG)
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return f"it last said: {lines[-1]} ({log})" if lines else f"it said nothing ({log})"
