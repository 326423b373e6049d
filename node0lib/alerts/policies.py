"""Policies by name, so that a team sees what it has next to what it might have.

The workbook's approaches 1 to 6 (SRE Workbook, ch. 5), the defaults that Sloth and Pyrra emit, a traffic-weighted
variant ("dynamic" burn rates: pyrra-dynamic with Pyrra's shares). What pages is critical or warning, a ticket is info.

>>> sorted(named_policies(0.999))[:3]
['approach-1', 'approach-2', 'approach-3']
>>> [round(a.factor, 2) for a in named_policies(0.999)["pyrra"].alerts]
[14.0, 7.0, 2.0, 1.0]
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from node0lib.alerts.policy import AlertPolicy, BurnAlert, workbook_policy
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

_MONTH = timedelta(days=30)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def named_policies(objective: float, period: timedelta = _MONTH) -> dict[str, AlertPolicy]:
    """Return every known policy for an SLO of that objective; approaches 1 to 6 are the workbook's."""
    pairs = workbook_policy(objective, period)
    alone = [replace(alert, short=alert.long) for alert in pairs.alerts]
    scaled = [replace(alert, scaling="traffic") for alert in pairs.alerts]
    guarded = [replace(alert, min_bad=3.0) for alert in pairs.alerts]
    tables: dict[str, Iterable[BurnAlert]] = {
        "approach-1": [_single("error_rate_10m", 10 * _MINUTE, 1.0)],
        "approach-2": [_single("error_rate_36h", 36 * _HOUR, 1.0)],
        "approach-3": [replace(_single("error_rate_1m_for_1h", _MINUTE, 1.0), hold=_HOUR)],
        "approach-4": [_single("burn_36x_1h", _HOUR, 36.0)],
        "approach-5": [alone[0], alone[1], alone[3]],
        "approach-6": [pairs.alerts[0], pairs.alerts[1], pairs.alerts[3]],
        "workbook": pairs.alerts,
        "workbook-min-bad-3": guarded,
        "sloth": pairs.alerts,
        "pyrra": _pyrra(period),
        "pyrra-dynamic": _pyrra(period, dynamic=True),
        "dynamic": scaled,
    }
    return {name: AlertPolicy(objective, period, tuple(alerts)) for name, alerts in tables.items()}


def policy_named(name: str, objective: float, period: timedelta = _MONTH) -> AlertPolicy:
    """Return the policy of that name; raises ConfigError naming the known ones."""
    known = named_policies(objective, period)
    if name not in known:
        raise ConfigError(f"there is no policy named {name!r}; known are {', '.join(known)}")
    return known[name]


def _single(name: str, window: timedelta, factor: float) -> BurnAlert:
    return BurnAlert(name, "critical", window, window, factor)


_PYRRA: tuple[tuple[Severity, float, float, timedelta, timedelta, timedelta], ...] = (
    ("critical", 14.0, 1 / 48, _HOUR, 5 * _MINUTE, 2 * _MINUTE),
    ("critical", 7.0, 1 / 16, 6 * _HOUR, 30 * _MINUTE, 15 * _MINUTE),
    ("warning", 2.0, 1 / 14, _DAY, 2 * _HOUR, _HOUR),
    ("warning", 1.0, 1 / 7, 4 * _DAY, 6 * _HOUR, 3 * _HOUR),
)
"""Severity, factor, budget share of the dynamic variant, and long, short and for at a period of 28 days."""


def _pyrra(period: timedelta, *, dynamic: bool = False) -> list[BurnAlert]:
    """Pyrra's defaults: windows and waits in proportion to the period, rounded to minutes."""
    scale = period / (28 * _DAY)
    found = []
    for number, (severity, factor, share, *lengths) in enumerate(_PYRRA, start=1):
        long, short, hold = (max(1, math.floor(t * scale / _MINUTE + 0.5)) * _MINUTE for t in lengths)
        name = f"pyrra_{number}_{format_duration(long)}"
        if dynamic:
            found.append(BurnAlert(name, severity, long, short, share * (period / long), hold, scaling="traffic"))
        else:
            found.append(BurnAlert(name, severity, long, short, factor, hold))
    return found
