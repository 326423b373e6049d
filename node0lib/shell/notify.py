"""Tell somebody: a line in a file, a webhook whose address is a secret of the environment, an Alertmanager.

File and webhook are told how a cycle ended, if somebody asked for such endings; the Alertmanager is told of the
burn-rate alerts that fire, however it ended.

A notification that cannot be delivered is reported and does not change how the cycle ended.

>>> message("c1", "blocked", ("api has 30% budget (need 50%)",), "2026-01-01T00:00:00Z")["status"]
'blocked'
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime

import httpx

from node0lib.cycle import CycleResult
from node0lib.shell.alert_post import post_alerts
from node0lib.shell.config import Settings
from node0lib.shell.workspace import Places
from node0lib.timespan import format_instant

_SECONDS = 5.0
_ENDINGS = ("applied", "no_change", "recommended", "held", "inconclusive", "blocked", "rolled_back")


def message(cycle: str, status: str, reasons: Sequence[str], at: str) -> dict[str, object]:
    """Return what is told."""
    return {"cycle": cycle, "at": at, "status": status, "reasons": list(reasons)}


def notify(
    settings: Settings,
    places: Places,
    status: str,
    reasons: Sequence[str],
    cycle: str,
    at: datetime,
    result: CycleResult | None = None,
) -> str | None:
    """Tell of a status that somebody asked to be told of, and of what fires; return what could not be delivered.

    ``result`` is None where nothing is to be posted: the cycle failed, or its clock is simulated.
    """
    problems = [*_ending(settings, places, status, message(cycle, status, reasons, format_instant(at)))]
    problems.append(post_alerts(settings, result.statuses if result else (), at, cycle))
    return "; ".join(problem for problem in problems if problem) or None


def _ending(
    settings: Settings, places: Places, status: str, told: dict[str, object]
) -> tuple[str | None, str | None]:
    wanted = settings.notification
    kind = status if status in _ENDINGS else "failed"
    if kind not in wanted.on:
        return None, None
    return _append(wanted.file, places, told), _post(wanted.webhook_env, told)


def _append(name: str | None, places: Places, told: dict[str, object]) -> str | None:
    """One whole line in one write: a reader never sees half of it."""
    if name is None:
        return None
    path = places.data / name
    try:
        with path.open("ab") as file:
            file.write((json.dumps(told, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        return f"{places.shown(path)}: the notification could not be written ({error.strerror or error})"
    return None


def _post(variable: str | None, told: dict[str, object]) -> str | None:
    """The address may hold a token: no message names it, only the variable it came from."""
    if variable is None:
        return None
    address = os.environ.get(variable)
    if not address:
        return f"the environment variable {variable} holds no webhook address"
    try:
        httpx.post(address, json=told, timeout=_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"the webhook of {variable} did not take the notification ({type(error).__name__})"
    return None
