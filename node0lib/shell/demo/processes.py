"""Processes that outlive the command that started them, and are ended by another: those and no others.

A process is ours if its id, the time of its creation and its command line are those on record: an id that the system
gave to somebody else meanwhile is left alone. What is ended is asked first (SIGTERM), its children before it, and
killed after ``GRACE_S``.

>>> me = recorded("doctest", os.getpid(), 0)
>>> found(me) == psutil.Process(), found(replace(me, created=me.created - 60)), found(replace(me, command=("cat",)))
(True, None, None)
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from node0lib.errors import RunError
from node0lib.shell.demo.layout import Planned
from node0lib.shell.demo.loopback import LOOPBACK, fetch

GRACE_S, PATIENCE_S, _POLL_S, _LOOK_S = 5.0, 30.0, 0.05, 1.0
# The time of a creation is reckoned from that of the boot, which moves when the machine's clock is set.
_SAME_S = 1.0
# Popen objects of this process, kept so that a child that ended is reaped and not a zombie.
_STARTED: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Process:
    """A process on record: ``created`` is psutil's create_time, in seconds since 1970."""

    name: str
    pid: int
    created: float
    port: int
    command: tuple[str, ...]


def recorded(name: str, pid: int, port: int) -> Process:
    """Return the record of a process that runs now; raises psutil.Error if it does not."""
    process, end_at = psutil.Process(pid), time.monotonic() + _LOOK_S
    # The system shows a process a moment before it shows its command line.
    while not (command := process.cmdline()) and time.monotonic() < end_at:
        time.sleep(_POLL_S / 10)
    return Process(name, pid, process.create_time(), port, tuple(command))


def found(process: Process) -> psutil.Process | None:
    """Return the process if it still runs and is the one on record."""
    try:
        candidate = _living(process)
        return candidate if candidate and tuple(candidate.cmdline()) == process.command else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def refreshed(process: Process) -> Process:
    """Return the record with the command line of now: what starts as a script goes on as its interpreter, say."""
    living = _living(process)
    try:
        return replace(process, command=tuple(living.cmdline())) if living else process
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return process


def _living(process: Process) -> psutil.Process | None:
    """Return the process of that id and time, whatever its command line is by now."""
    try:
        candidate = psutil.Process(process.pid)
        same = abs(candidate.create_time() - process.created) <= _SAME_S
        return candidate if same and _lives(candidate) else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def start(planned: Planned, folder: Path, variables: Mapping[str, str]) -> Process:
    """Start a process in ``folder``, its words in NAME.log there; raises RunError if it cannot be, or ends at once."""
    log = log_of(folder, planned.name)
    try:
        with log.open("ab") as words:
            popen = subprocess.Popen(
                planned.command,
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
    except OSError as error:
        told = f"{planned.name}: {planned.command[0]} cannot be started ({error.strerror or error})"
        raise RunError(told) from error
    _STARTED.append(popen)
    try:
        return recorded(planned.name, popen.pid, planned.port)
    except psutil.Error as error:
        raise RunError(f"{planned.name} ended at once; {last_words(log)}") from error


def await_ready(process: Process, ready: str | None, log: Path) -> Process:
    """Return its record when it can be used; raises RunError, with its last words, if it ends or takes too long.

    A program that is a script has another command line by then, that of its interpreter.
    """
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        living = _living(process)
        if living and _answers(process.port, ready):
            return refreshed(process)
        if not living:
            raise RunError(f"{process.name} ended while it was starting; {last_words(log)}")
        time.sleep(_POLL_S)
    raise RunError(f"{process.name} was not ready within {PATIENCE_S:g} s; {last_words(log)}")


def _answers(port: int, ready: str | None) -> bool:
    try:
        if ready is not None:
            return fetch(port, ready, patience_s=_LOOK_S)[0] == 200
        with socket.create_connection((LOOPBACK, port), timeout=_LOOK_S):
            return True
    except OSError:
        return False


def end(processes: Iterable[Process], *, at_once: bool = False) -> tuple[Process, ...]:
    """End those that run and are ours, in this order, and return them; ``at_once`` kills without asking.

    Raises RunError if one outlives even that.
    """
    ours = [(process, candidate) for process in processes if (candidate := found(process)) is not None]
    doomed = [each for _, candidate in ours for each in (*_children(candidate), candidate)]
    left = doomed if at_once else _signalled(doomed, "terminate")
    if left := _signalled(left, "kill"):
        pids = ", ".join(str(each.pid) for each in left)
        raise RunError(f"process {pids} cannot be ended, although it was killed; look what it waits for")
    return tuple(process for process, _ in ours)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)[::-1]
    except psutil.NoSuchProcess:
        return []


def _signalled(processes: Sequence[psutil.Process], how: str) -> Sequence[psutil.Process]:
    """Send the signal to each and return those that outlive ``GRACE_S``; psutil looks that an id is still the same."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            getattr(process, how)()
    end_at = time.monotonic() + GRACE_S
    while (left := [process for process in processes if _lives(process)]) and time.monotonic() < end_at:
        time.sleep(_POLL_S)
    return left


def _lives(process: psutil.Process) -> bool:
    """Whether it runs: what its parent has not yet taken notice of (a zombie) does not."""
    _reap()
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reap() -> None:
    _STARTED[:] = [popen for popen in _STARTED if popen.poll() is None]


def log_of(folder: Path, name: str) -> Path:
    """Return where a process says what it says."""
    return folder / f"{name}.log"


def last_words(log: Path) -> str:
    """Return what the end of a log says, in one line."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return f"{log} says: {' / '.join(lines[-3:])[-600:]}" if lines else f"{log} says nothing"


__all__ = ["Process", "await_ready", "end", "found", "last_words", "log_of", "recorded", "refreshed", "start"]
