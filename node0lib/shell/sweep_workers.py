"""Who computes a sweep: this process, processes on this machine, or an existing Dask cluster.

Each is a ``Crew``: it takes blocks (``simulate.sweep.run_block``: a function of its arguments and nothing else) and
gives their results back in order. A worker that is lost is replaced and its blocks are computed again.

- Processes, not threads: months are short, and threads wait for each other's interpreter lock and memory map. They are
  spawned, ignore Ctrl-C (the parent decides) and end with their parent, however that ends.
- On Dask a block is retried on other workers; results come back to this client, which is the only one that writes. A
  worker that draws with other versions of node0 or numpy is an error, as its months would be other ones.

>>> with alone() as crew:
...     list(crew.results([]))
[]
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import wait
from typing import Any, Protocol

from node0lib.errors import ConfigError, RunError
from node0lib.shell.sweep_folder import versions
from node0lib.simulate.sweep import Cell, Found, run_block

Task = tuple[Cell, range]
_ATTEMPTS = 4
_AHEAD = 4
_ADDRESS = re.compile(r"(?:tcp|tls|ws|wss|ucx|ucxx)://\S+:[0-9]+/?")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_CONNECT_S = 10
_LOOK_S = 5.0
_LOOK_EVERY = 64
_PATIENCE_S = 60.0


class Crew(Protocol):
    """Who computes."""

    @property
    def workers(self) -> int:
        """How many work at once."""
        ...

    def results(self, tasks: Iterable[Task]) -> Iterator[Found]:
        """Yield the result of each task, in order; raises RunError when workers are lost again and again."""
        ...


class _Alone:
    @property
    def workers(self) -> int:
        return 1

    def results(self, tasks: Iterable[Task]) -> Iterator[Found]:
        return (run_block(cell, months) for cell, months in tasks)


@contextmanager
def alone() -> Iterator[Crew]:
    """Yield a crew of this process alone: for a sweep that is shorter than the start of processes."""
    yield _Alone()


class _Processes:
    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = self._new()

    @property
    def workers(self) -> int:
        return self._workers

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _begin)

    def results(self, tasks: Iterable[Task]) -> Iterator[Found]:
        waiting: deque[tuple[Task, Future[Found] | None]] = deque()
        for task in tasks:
            waiting.append((task, self._submit(task)))
            if len(waiting) >= _AHEAD * self.workers:
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def _submit(self, task: Task) -> Future[Found] | None:
        """None where a pool that just broke takes no more: it is done when its turn comes."""
        try:
            with _without_interrupts():  # a submission may spawn a process
                return self._pool.submit(run_block, *task)
        except BrokenExecutor:
            return None

    def _result(self, task: Task, future: Future[Found] | None) -> Found:
        for _ in range(_ATTEMPTS):
            try:
                if future is not None:
                    return future.result()
            except BrokenExecutor:
                pass  # a worker is gone, and its pool with it: a new one computes the block again
            future = self._submit(task)
            if future is None:
                self._pool.shutdown(cancel_futures=True)
                self._pool = self._new()
                future = self._submit(task)
        raise RunError("a process was lost again and again, perhaps for want of memory; take fewer with --workers")

    def close(self) -> None:
        """End the processes, without what they have not begun."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def processes(workers: int) -> Iterator[Crew]:
    """Yield a crew of that many processes on this machine."""
    crew = _Processes(workers)
    try:
        yield crew
    finally:
        crew.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back meanwhile: a process that is spawned now never hears it, not even while it starts."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """What a process does first: leave Ctrl-C to its parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def run_checked(expected: Mapping[str, str], cell: Cell, months: range) -> Found:
    """Do what ``run_block`` does; raises RunError on a machine whose versions would draw other months."""
    here = versions()
    if here != dict(expected):
        told = "; ".join(f"{name} {here[name]} instead of {expected[name]}" for name in here)
        raise RunError(f"a worker has other versions ({told}): install the same everywhere")
    _keep_freed_memory()
    return run_block(cell, months)


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that was freed, instead of returning each array of a month to the system.

    Dask's nanny starts workers with MALLOC_TRIM_THRESHOLD_=65536, and glibc then maps and unmaps every array of more
    than 128 KiB: page faults take as long as the months.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none, and no need of it
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


class _Dask:
    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address

    @property
    def workers(self) -> int:
        """How many threads the cluster has now: it may grow and shrink."""
        return sum(self._client.nthreads().values())

    def results(self, tasks: Iterable[Task]) -> Iterator[Found]:
        waiting: deque[Any] = deque()
        told, ahead = versions(), _AHEAD
        for number, task in enumerate(tasks):
            if number % _LOOK_EVERY == 0:
                ahead = _AHEAD * max(1, self._now())
            waiting.append(self._client.submit(run_checked, told, *task, pure=False, retries=_ATTEMPTS - 1))
            while len(waiting) >= ahead:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _result(self, future: Any) -> Found:
        """Wait for a result as long as there is somebody to compute it."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        idle = 0.0
        while True:
            try:
                found: Found = future.result(timeout=_LOOK_S)
                return found
            except TimeoutError:
                idle = 0.0 if self._now() else idle + _LOOK_S
                if idle >= _PATIENCE_S:
                    raise RunError(f"{self._address}: has had no worker for a minute; start some") from None
            except KilledWorker as error:
                raise RunError(f"{self._address}: workers were lost again and again: {error}") from error
            except (FutureCancelledError, OSError) as error:
                raise self._gone() from error
            except ImportError as error:
                raise RunError(f"{self._address}: a worker cannot import node0 ({error}); install it there") from error

    def _now(self) -> int:
        """How many work at once; raises RunError if there is no scheduler any more."""
        try:
            return self.workers
        except (OSError, TimeoutError) as error:
            raise self._gone() from error

    def _gone(self) -> RunError:
        return RunError(f"{self._address}: the scheduler went away, or cannot be reached any more")


@contextmanager
def cluster(address: str) -> Iterator[Crew]:
    """Yield a crew of an existing Dask cluster; raises RunError if its scheduler cannot be reached.

    Raises ConfigError for what is no address, and where Dask is not installed.
    """
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(f"--scheduler: {address} is no address of a Dask scheduler; write tcp://HOST:8786")
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError("--scheduler needs Dask's distributed, which is not installed; install it") from error
    with _quiet("distributed"):
        try:
            client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise RunError(f"{address}: no Dask scheduler answers ({error}); start one with dask scheduler") from error
        try:
            yield _Dask(client, address)
        finally:
            client.close(timeout=_CONNECT_S)


@contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Keep a package from logging errors meanwhile: what goes wrong is told once, by us."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == package]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
