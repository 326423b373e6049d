"""Post the burn-rate alerts that fire to an Alertmanager (its API v2).

Promises
- An alert is identified by the labels that node0's rules give it: alertname, severity, slo, long_window, short_window.
  ``simulated="true"`` is added where the telemetry is, so that nobody takes it for the real thing.
- It ends by itself when it is not posted again in time: one interval of the schedule and one deadline after the cycle's
  instant. So an alert that no longer fires, and a node0 that died, resolve; a cycle that is late does not.
- A failure is told and changes nothing else. Connection errors, 429 and 5xx are tried again, redirects are refused,
  and no message holds a secret.

>>> from datetime import UTC, timedelta
>>> from node0lib.slo.catalogue import AlertPair
>>> hour = timedelta(hours=1)
>>> alert = Alert("api", AlertPair("critical", 0.02, hour, hour / 12), 14.4, 20.0, 30.0)
>>> at = datetime(2026, 1, 1, tzinfo=UTC)
>>> document(alert, "c1", Firing(at, at + hour, simulated=False))["labels"]["long_window"]
'1h'
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import tenacity

from node0lib.alerts.rules import BURN_ALERT
from node0lib.errors import ConfigError
from node0lib.gates import Alert, firing
from node0lib.shell.config import PrometheusTelemetry, Settings
from node0lib.shell.promendpoint import Endpoint, credentials, verified_client
from node0lib.slo.budget import SloStatus
from node0lib.timespan import format_duration, format_instant

_SECONDS = 5.0
_ATTEMPTS = 3
_TRY_AGAIN = {429, 500, 502, 503, 504}
_WAIT = tenacity.wait_exponential(multiplier=0.2, max=2.0)


@dataclass(frozen=True)
class Firing:
    """Since when alerts fire and until when they do if nobody says more; ``generator`` is where they come from."""

    start: datetime
    end: datetime
    simulated: bool
    generator: str | None = None


def post_alerts(settings: Settings, statuses: Sequence[SloStatus], at: datetime, cycle: str) -> str | None:
    """Post what fires at the instant of these statuses; return why it could not be delivered, or None.

    Without statuses (the cycle failed) nothing is known, and what was posted before ends in its time.
    """
    endpoint = settings.notification.alertmanager
    alerts = firing(statuses, settings.catalogue.alerting)
    if endpoint is None or not alerts:
        return None
    telemetry, schedule = settings.telemetry, settings.schedule
    source = telemetry.endpoint if isinstance(telemetry, PrometheusTelemetry) else None
    generator = f"{source.url.rstrip('/')}/graph" if source else None
    when = Firing(at, at + schedule.every + schedule.deadline, source is None, generator)
    return _post(endpoint, [document(alert, cycle, when) for alert in alerts])


def document(alert: Alert, cycle: str, when: Firing) -> dict[str, Any]:
    """Return one alert as Alertmanager's API v2 takes it."""
    pair = alert.pair
    labels = {
        "alertname": BURN_ALERT,
        "severity": pair.severity,
        "slo": alert.slo,
        "long_window": format_duration(pair.long),
        "short_window": format_duration(pair.short),
    }
    summary = f"{alert.slo} burns its error budget more than {alert.factor:.4g} times too fast"
    found: dict[str, Any] = {
        "labels": labels | ({"simulated": "true"} if when.simulated else {}),
        "annotations": {"summary": summary, "description": str(alert), "cycle": cycle},
        "startsAt": format_instant(when.start),
        "endsAt": format_instant(when.end),
    }
    return found | ({"generatorURL": when.generator} if when.generator else {})


class _Refused(Exception):
    """An answer that is no success: what to tell, and whether another attempt is worth it."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


def _post(endpoint: Endpoint, alerts: Sequence[dict[str, Any]]) -> str | None:
    where = f"the Alertmanager at {endpoint.address}"
    for name in (endpoint.token_env, endpoint.username_env, endpoint.password_env):
        if name and not os.environ.get(name, "").strip():
            return f"{where} was not told of {len(alerts)} alerts: the environment variable {name} is empty or not set"
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=_WAIT,
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, _Refused) and error.again),
        reraise=True,
    )
    try:
        auth, _ = credentials(endpoint)
        with verified_client(endpoint) as client:
            attempts(_attempt, client, f"{endpoint.url.rstrip('/')}/api/v2/alerts", auth, alerts)
    except (_Refused, ConfigError) as error:
        return f"{where} did not take {len(alerts)} alerts ({error})"
    return None


def _attempt(client: httpx.Client, url: str, auth: httpx.Auth | None, alerts: Sequence[dict[str, Any]]) -> None:
    """One POST; what the server says in a failure is not repeated, it may repeat what it was sent."""
    try:
        asked = client.build_request("POST", url, json=list(alerts), timeout=_SECONDS)
        answer = client.send(asked, auth=auth or httpx.USE_CLIENT_DEFAULT, follow_redirects=False)
    except httpx.HTTPError as error:
        raise _Refused(type(error).__name__, again=True) from None
    if not answer.is_success:
        raise _Refused(f"HTTP {answer.status_code}", again=answer.status_code in _TRY_AGAIN)
