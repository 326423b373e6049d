"""One ``kernel_child`` process, from its start to the certainty that nothing of it is left.

The promise: when ``drive`` returns or raises, the process, its kernel and what the kernel started are gone.
The kernel has a session of its own (jupyter_client sees to it), so a signal to the process group misses it:
its processes are found by descent and by session, and killed one by one.

At the deadline, and at an interrupt, the kernel is killed first; its parent then has a few seconds to write
down what came out of the last cell, and is killed as well.

>>> _whole_event(b'{"event": "ready", "total": 9}\\n')
{'event': 'ready', 'total': 9}
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from node0lib.errors import RunError
from node0lib.shell.kernel_child import Request
from node0lib.shell.settle import Ended, Reason

_COMMAND = [sys.executable, "-P", "-m", "node0lib.shell.kernel_child"]
_TAIL_BYTES = 2000
_GRACE_S = 5.0
_ROUNDS = 5
_POLL_S = 0.5  # an interrupt does not wake a waiting thread on Windows

Hear = Callable[[Mapping[str, Any], float], None]
"""Called as hear(event, seconds since the start)."""


def drive(
    request: Request,
    *,
    environment: Mapping[str, str],
    cwd: Path,
    deadline: timedelta,
    hear: Hear,
    meanwhile: Callable[[], object],
) -> Ended:
    """Run ``request`` in a process with exactly ``environment`` and tell ``hear`` every event.

    ``meanwhile`` is called once while the kernel starts. KeyboardInterrupt ends the run and is returned as
    its reason; any other exception of the callbacks ends the run and is raised. Raises RunError if no
    process can be started.
    """
    child = _Child(environment, cwd)
    try:
        reason = _follow(child, request, deadline.total_seconds(), hear, meanwhile)
        seconds = child.seconds()
        if reason != "exit":
            child.kill_kernel()
            _drain(child, hear)
        child.wait(_GRACE_S)
    finally:
        child.end()
    return Ended(reason, child.exit_code, seconds, child.last_words)


def _follow(
    child: _Child, request: Request, limit: float, hear: Hear, meanwhile: Callable[[], object]
) -> Reason:
    try:
        child.send(request)
        meanwhile()
        while (left := limit - child.seconds()) > 0:
            with contextlib.suppress(queue.Empty):
                heard = child.events.get(timeout=min(left, _POLL_S))
                if heard is None:
                    return "exit"
                hear(*heard)
        return "deadline"
    except KeyboardInterrupt:
        return "interrupt"


def _drain(child: _Child, hear: Hear) -> None:
    """Hear what is still on its way while the process, its kernel gone, writes down what it has."""
    until = child.seconds() + _GRACE_S
    with contextlib.suppress(queue.Empty):
        while (heard := child.events.get(timeout=max(0.0, until - child.seconds()))) is not None:
            hear(*heard)


class _Child:
    """The process and the two threads that read it; ``events`` yields (event, seconds), and None at its end."""

    def __init__(self, environment: Mapping[str, str], cwd: Path) -> None:
        self._began = time.monotonic()
        self._process = _start(environment, cwd)
        self._root = _find(self._process.pid)
        self._kernel: psutil.Process | None = None
        self._tail = b""
        self.events: queue.Queue[tuple[Mapping[str, Any], float] | None] = queue.Queue()
        self._threads = [
            threading.Thread(target=f, daemon=True) for f in (self._read_events, self._read_tail)
        ]
        for thread in self._threads:
            thread.start()

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def last_words(self) -> str:
        """The last three lines that anything in the tree wrote to the real stdout or stderr."""
        return " / ".join(self._tail.decode("utf-8", "replace").strip().splitlines()[-3:])

    def send(self, request: Request) -> None:
        """Send the request and keep the pipe open: it is the life line."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once, and the end of its events will say so
            self._process.stdin.write(request.line())
            self._process.stdin.flush()

    def wait(self, seconds: float) -> None:
        """Give the process up to ``seconds`` to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill_kernel(self) -> None:
        """Kill the kernel and what it started; the whole tree if no kernel is known yet."""
        _kill(self._kernel or self._root)

    def end(self) -> None:
        """Kill what is left, reap the process and close its pipes."""
        _kill(self._kernel)
        _kill(self._root)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        for thread in self._threads:
            thread.join(timeout=1)

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for event in filter(None, map(_whole_event, lines)):
                if event["event"] == "kernel":
                    self._kernel = _find(event["pid"])  # at once: a kernel outlives a parent that is killed
                self.events.put((event, self.seconds()))
        self.events.put(None)

    def _read_tail(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stray:
            while chunk := os.read(stray.fileno(), 65536):
                self._tail = (self._tail + chunk)[-_TAIL_BYTES:]


def _start(environment: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own, so that Ctrl-C in the terminal reaches the runner only."""
    windows = sys.platform == "win32"
    try:
        return subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=cwd,
            start_new_session=not windows,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"the notebook's process cannot be started in {cwd} ({why}); check the folder"
        ) from error


def _find(pid: int) -> psutil.Process | None:
    """Return the process; it remembers when it was created, so a reused number is never mistaken for it."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _kill(root: psutil.Process | None) -> None:
    """Kill ``root``, its descendants and its session, again until none is left: they may fork meanwhile."""
    for _ in range(_ROUNDS if root else 0):
        assert root is not None
        victims = [process for process in _family(root) if not _gone(process)]
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        until = time.monotonic() + 1
        while not all(map(_gone, victims)) and time.monotonic() < until:
            time.sleep(0.01)
        if not victims:
            return


def _family(root: psutil.Process) -> set[psutil.Process]:
    found = {root}
    with contextlib.suppress(psutil.NoSuchProcess):
        found.update(root.children(recursive=True))
    if sys.platform != "win32":
        found.update(_session(root))
    return found


def _session(root: psutil.Process) -> set[psutil.Process]:
    """Return what belongs to the session that ``root`` leads or led: orphans too, which have no parent left."""
    found = set()
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if (
                os.getsid(pid) == root.pid
                and (member := psutil.Process(pid)).create_time() >= root.create_time()
            ):
                found.add(member)
    return found


def _gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; one that its parent has not reaped yet has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _whole_event(line: bytes) -> dict[str, Any] | None:
    """Return the event in ``line``; None if the process was killed in the middle of writing it."""
    if not line.endswith(b"\n"):
        return None
    event: dict[str, Any] = json.loads(line)
    return event
