"""The degradations: each a real one of a real process, though what the process depends on is simulated.

| fault         | what happens                                                                                     |
|---------------|--------------------------------------------------------------------------------------------------|
| errors        | a share of the arm's requests is answered with 503                                               |
| p95, p99      | a share of the arm's requests takes longer by a delay                                            |
| crash         | the arm's process is killed: connections are refused, and HAProxy repeats them on the other arm   |
| silence       | the arm answers no scrape any more; its traffic goes on                                          |
| telemetry     | Prometheus is stopped                                                                            |
| broken-stable | errors, on stable                                                                                |
| leave         | the arm's health check says that it leaves: HAProxy sends it nothing new, whatever its weight    |
| clear         | ends every fault and starts what does not run                                                    |

A fault of an arm replaces the one before.

>>> body("p99", None, None)
{'slow_share': 0.02, 'slow_s': 1.0}
>>> body("errors", None, 1.0)
Traceback (most recent call last):
node0lib.errors.ConfigError: --delay is for p95 and p99, not for errors; remove it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node0lib.errors import ConfigError, RefusedError, RunError
from node0lib.shell.demo.layout import ARMS, Arm
from node0lib.shell.demo.loopback import fetch
from node0lib.shell.demo.processes import end, found
from node0lib.shell.demo.stack import Stack, locked, required, restored

_SHARES: Mapping[str, float] = {"errors": 0.1, "broken-stable": 0.3, "p95": 0.2, "p99": 0.02}
_DELAYS: Mapping[str, float] = {"p95": 0.2, "p99": 1.0}
_FLAGS: Mapping[str, str] = {"silence": "silent", "leave": "leaving"}
_PATIENCE_S = 5.0


def inject(
    folder: Path,
    kind: str,
    arm: Arm,
    *,
    share: float | None = None,
    delay_s: float | None = None,
    restart: bool = False,
) -> str:
    """Put a fault in force and return what was done.

    ``share`` of the requests (0..1) and ``delay_s`` (seconds) have defaults by kind. ``restart``: a crash after which
    the process comes back. Raises ConfigError for an option that the kind does not have, RefusedError if no demo is up
    or the arm's process does not run, RunError if it does not answer.
    """
    wanted = body(kind, share, delay_s)
    if restart and kind != "crash":
        raise ConfigError(f"--restart is for crash, not for {kind}; remove it, or run node0 demo fault clear")
    required(folder)
    with locked(folder.resolve()):
        stack = required(folder)
        if kind == "clear":
            return _cleared(stack)
        if kind == "telemetry":
            return _stopped(stack)
        if kind == "crash":
            return _crashed(stack, arm, restart)
        return _degraded(stack, "stable" if kind == "broken-stable" else arm, wanted)


def body(kind: str, share: float | None, delay_s: float | None) -> dict[str, Any]:
    """Return what an instance is told, {} if it is not told anything; raises ConfigError for an option too many."""
    if share is not None and kind not in _SHARES:
        raise ConfigError(f"--share is for {', '.join(_SHARES)}, not for {kind}; remove it")
    if delay_s is not None and kind not in _DELAYS:
        raise ConfigError(f"--delay is for p95 and p99, not for {kind}; remove it")
    if kind in _FLAGS:
        return {_FLAGS[kind]: True}
    if kind not in _SHARES:
        return {}
    part = _SHARES[kind] if share is None else share
    if kind not in _DELAYS:
        return {"error_share": part}
    return {"slow_share": part, "slow_s": _DELAYS[kind] if delay_s is None else delay_s}


def _degraded(stack: Stack, arm: Arm, wanted: dict[str, Any]) -> str:
    if found(stack.process(arm)) is None:
        raise RefusedError(f"{arm} does not run; run node0 demo fault clear first")
    _told(stack, arm, wanted)
    return f"{arm}: {_words(wanted)}"


def _words(wanted: Mapping[str, Any]) -> str:
    if "error_share" in wanted:
        return f"{wanted['error_share']:.4g} of all requests are answered with 503 from now on"
    if "slow_share" in wanted:
        return f"{wanted['slow_share']:.4g} of all requests take {wanted['slow_s']:g} s longer from now on"
    if "silent" in wanted:
        return "answers no scrape from now on; its traffic goes on"
    return "says that it leaves; within 2 s HAProxy sends it nothing new, whatever its weight"


def _told(stack: Stack, arm: Arm, wanted: dict[str, Any]) -> None:
    port = getattr(stack.ports, arm)
    try:
        status, text = fetch(port, "/-/fault", body=json.dumps(wanted).encode(), patience_s=_PATIENCE_S)
    except OSError as error:
        raise RunError(f"{arm} does not answer on port {port} ({error}); see node0 demo status") from error
    if status == 400:
        raise ConfigError(text.strip())
    if status != 200:
        raise RunError(f"{arm} refused the fault with HTTP {status}")


def _crashed(stack: Stack, arm: Arm, restart: bool) -> str:
    process = stack.process(arm)
    killed = bool(end([process], at_once=True))
    told = f"{arm}: process {process.pid} {'was killed' if killed else 'was gone already'}"
    if not restart:
        return f"{told}; node0 demo fault crash --restart brings it back"
    stack, _ = restored(stack)
    return f"{told}; it runs again as process {stack.process(arm).pid}, with an empty cache"


def _stopped(stack: Stack) -> str:
    ended = end([stack.process("prometheus")])
    told = "was stopped: nothing is measured from now on" if ended else "was stopped already"
    return f"Prometheus {told}; node0 demo fault clear starts it again"


def _cleared(stack: Stack) -> str:
    stack, started = restored(stack)
    for arm in ARMS:
        _told(stack, arm, {})
    return f"no fault is in force; {'started again: ' + ', '.join(started) if started else 'everything runs'}"
