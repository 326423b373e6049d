"""The demo's stack: brought up whole or not at all, on record while it runs, taken down without a trace of processes.

``FOLDER/stack.json`` lists what was started, and is written again after every start, so that a command that is killed
half-way leaves nothing that ``down`` does not find. Commands on one folder wait for each other.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     down(Path(folder) / "demo"), standing(Path(folder) / "demo")
((), None)
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from node0lib.errors import ConfigError, DataError, RefusedError, RunError
from node0lib.evidence.canonical import policy_bytes
from node0lib.ports import Policy
from node0lib.shell.demo.layout import (
    ARMS,
    HAPROXY_FILE,
    PROMETHEUS_FILE,
    QUERIES,
    TARGET_FILE,
    TSDB_SUFFIX,
    Planned,
    Ports,
    free_ports,
    haproxy_config,
    plan,
    policy_name,
    prometheus_config,
    target,
)
from node0lib.shell.demo.processes import Process, await_ready, end, found, log_of, refreshed, start
from node0lib.shell.demo.telemetry import ask
from node0lib.shell.files import write_atomic

RECORD, _LOCK, _FORMAT = "stack.json", "stack.lock", "node0-demo/1"
_PATIENCE_S, _SCRAPED_S, _POLL_S = 60.0, 20.0, 0.1
_PROGRAMS = ("haproxy", "prometheus")
# One thread is enough for four scrapes a second, and times of creation are half of the samples, which nobody asks for.
_VARIABLES: Mapping[str, str] = {"GOMAXPROCS": "1", "PROMETHEUS_DISABLE_CREATED_SERIES": "true"}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Stack:
    """What was started in ``folder``: ``processes`` in the order of their start, not all of which need to live."""

    folder: Path
    rate: float
    ports: Ports
    processes: tuple[Process, ...] = ()

    @property
    def target(self) -> Path:
        """The file that ``node0 canary run --target`` takes."""
        return self.folder / TARGET_FILE

    def process(self, name: str) -> Process:
        """Return the process of that name; raises RunError if it was not started."""
        for process in self.processes:
            if process.name == name:
                return process
        raise RunError(f"{self.folder}: {name} was never started; run node0 demo up")

    def running(self) -> tuple[str, ...]:
        """Return the names of the processes that run."""
        return tuple(process.name for process in self.processes if found(process) is not None)

    def planned(self) -> tuple[Planned, ...]:
        """Return what is to run; raises ConfigError if a program is not installed."""
        return plan(self.folder, self.ports, self.rate, *programs())


def programs() -> tuple[str, ...]:
    """Return the paths of HAProxy and Prometheus; raises ConfigError that says what to install."""
    # Debian puts haproxy where only root's PATH leads.
    paths = {name: shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") for name in _PROGRAMS}
    if missing := [name for name, path in paths.items() if path is None]:
        raise ConfigError(f"the demo needs {' and '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")
    return tuple(str(path) for path in paths.values())


def up(folder: Path, *, rate: float, policy: Policy, progress: Progress = lambda *_: None) -> tuple[Stack, bool]:
    """Bring the stack up and return it, and whether anything had to be started.

    What is missing of one that is up is started again, with the policy files as they are. Raises ConfigError without
    HAProxy or Prometheus, RefusedError if it is up at another rate, RunError, having ended what it started, if a
    process does not come up.
    """
    programs()  # what is missing is told before anything is written
    folder = folder.resolve()
    with locked(folder):
        stack = standing(folder)
        if stack is not None and stack.running():
            if stack.rate != rate:
                raise RefusedError(f"{folder}: the demo is up at {stack.rate:g} requests/s; run node0 demo down first")
            stack, started = restored(stack, progress)
            return stack, bool(started)
        stack = Stack(folder, rate, free_ports())
        with _undone(folder):
            _furnish(stack, policy)
            stack, started = restored(stack, progress)
            progress("waiting for the first measurements", len(started), len(started) + 1)
            _await_telemetry(stack)
            return stack, True


def restored(stack: Stack, progress: Progress = lambda *_: None) -> tuple[Stack, tuple[str, ...]]:
    """Start what does not run, and return the stack and the names; the caller holds the lock.

    Raises RunError, having ended what it started, if a process does not come up.
    """
    before, planned = stack, stack.planned()
    missing = [each for each in planned if each.name not in stack.running()]
    try:
        for number, each in enumerate(missing):
            progress(f"starting {each.name}", number, len(missing) + 1)
            stack = _started(stack, each)
    except BaseException:
        end(reversed([process for process in stack.processes if process not in before.processes]))
        raise
    return stack, tuple(each.name for each in missing)


def _started(stack: Stack, planned: Planned) -> Stack:
    """Start a process and return the stack once it is ready; it is on record before anything can go wrong with it."""
    process = start(planned, stack.folder, _VARIABLES)
    try:
        _remember(_with(stack, process))
        process = await_ready(process, planned.ready, log_of(stack.folder, planned.name))
        _remember(_with(stack, process))
    except BaseException:
        end([refreshed(process)])
        raise
    return _with(stack, process)


def _with(stack: Stack, process: Process) -> Stack:
    others = tuple(other for other in stack.processes if other.name != process.name)
    return replace(stack, processes=(*others, process))


def down(folder: Path) -> tuple[Process, ...]:
    """End the processes that were started in ``folder``, the last first, and return them; none if nothing is up."""
    if not (folder / RECORD).exists():
        return ()
    folder = folder.resolve()
    with locked(folder):
        return _taken_down(folder)


def _taken_down(folder: Path) -> tuple[Process, ...]:
    stack = standing(folder)
    ended = end(reversed(stack.processes)) if stack else ()
    for name in (TARGET_FILE, RECORD):
        (folder / name).unlink(missing_ok=True)
    return ended


def standing(folder: Path) -> Stack | None:
    """Return the stack on record, None without; raises RunError if the record cannot be read."""
    path = folder / RECORD
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return _stack_of(json.loads(content), folder)
    except (ValueError, TypeError, KeyError) as error:
        told = f"{path}: is no record of a demo ({error}); end its processes by hand, then remove the file"
        raise RunError(told) from error


def required(folder: Path) -> Stack:
    """Return the stack on record; raises RefusedError if there is none."""
    stack = standing(folder.resolve())
    if stack is None:
        raise RefusedError(f"{folder}: no demo is up there; run node0 demo up")
    return stack


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands from the folder meanwhile; raises RunError if one takes too long, or it cannot be written."""
    lock = FileLock(folder / _LOCK, timeout=_PATIENCE_S)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(f"{folder}: another node0 demo is at work there; try again when it has ended") from error
    except OSError as error:
        told = f"{folder}: cannot be written ({error.strerror or error}); name another folder with --folder"
        raise RunError(told) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _undone(folder: Path) -> Iterator[None]:
    """Take down what was started, if not all of it comes up."""
    try:
        yield
    except BaseException:
        _taken_down(folder)
        raise


def _furnish(stack: Stack, policy: Policy) -> None:
    """Write the policies, the configurations and the target; what an earlier stack measured is removed."""
    for old in stack.folder.glob(f"*{TSDB_SUFFIX}"):
        shutil.rmtree(old, ignore_errors=True)
    files = {
        **{policy_name(arm): policy_bytes(policy) for arm in ARMS},
        HAPROXY_FILE: haproxy_config(stack.ports).encode(),
        PROMETHEUS_FILE: json.dumps(prometheus_config(stack.ports), indent=2).encode(),  # JSON is YAML
        TARGET_FILE: yaml.safe_dump(target(stack.ports), sort_keys=False, width=1000).encode(),
    }
    for name, content in files.items():
        write_atomic(stack.folder / name, content)


def _remember(stack: Stack) -> None:
    document = {
        "format": _FORMAT,
        "rate": stack.rate,
        "ports": asdict(stack.ports),
        "processes": [asdict(process) for process in stack.processes],
    }
    write_atomic(stack.folder / RECORD, json.dumps(document, indent=2).encode())


def _stack_of(document: dict[str, Any], folder: Path) -> Stack:
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']}, not {_FORMAT}")
    processes = (Process(**{**each, "command": tuple(each["command"])}) for each in document["processes"])
    return Stack(folder.resolve(), float(document["rate"]), Ports(**document["ports"]), tuple(processes))


def _await_telemetry(stack: Stack) -> None:
    """Return when Prometheus answers every query of the target for both arms; raises RunError if it does not."""
    missing = [query.replace("$arm", arm) for query in QUERIES.values() for arm in ARMS]
    end_at = time.monotonic() + _SCRAPED_S
    while missing:
        with contextlib.suppress(DataError):
            missing = [query for query in missing if ask(stack.ports, query) is None]
        if missing and time.monotonic() > end_at:
            raise RunError(f"Prometheus has no answer to {missing[0]}; see {log_of(stack.folder, 'prometheus')}")
        time.sleep(_POLL_S)


__all__ = ["Progress", "Stack", "down", "locked", "programs", "required", "restored", "standing", "up"]
