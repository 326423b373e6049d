"""The fault gallery: what goes wrong with services, each as a fault in an otherwise usual month.

>>> len(gallery())
10
>>> gallery()["slow burn"].faults[0].errors
0.005
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from node0lib.simulate.scenario import Fault, Floor, Scenario, Traffic

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_ONSET = 10 * _DAY + 13 * _HOUR
"""A Thursday's busy hour, ten days in, when every window is full."""
USUAL = Scenario(Traffic(36_000.0, daily_swing=0.5, weekend=0.7), Floor(0.0003, dispersion=0.5))
"""Ten requests a second on average, with a day and a week, and a floor of 0.03% errors that comes in clusters."""

FAULTS: dict[str, tuple[Fault, ...]] = {
    "full outage": (Fault("full outage", _ONSET, 20 * _MINUTE, errors=1.0),),
    "partial outage": (Fault("partial outage", _ONSET, 40 * _MINUTE, errors=1.0, share=0.1),),
    "slow burn": (Fault("slow burn", _ONSET, 2 * _DAY, errors=0.005),),
    "flapping": (Fault("flapping", _ONSET, 3 * _HOUR, errors=0.2, shape="flapping", period=20 * _MINUTE),),
    "ramp": (Fault("ramp", _ONSET, 3 * _HOUR, errors=0.1, shape="ramp"),),
    "regional": (Fault("regional", _ONSET, 90 * _MINUTE, errors=0.6, share=0.2),),
    "retry storm": (Fault("retry storm", _ONSET, 30 * _MINUTE, errors=0.3, traffic=3.0),),
    "low-traffic night": (Fault("low-traffic night", _ONSET + 13 * _HOUR, _HOUR, errors=0.05, traffic=0.002),),
    "silent traffic loss": (Fault("silent traffic loss", _ONSET, _HOUR, traffic=0.0),),
    "telemetry gap": (Fault("telemetry gap", _ONSET, _HOUR, errors=1.0, telemetry=False),),
}
"""Each entry's faults; the last two spend budget that no ratio of counted requests can see."""

WHAT: dict[str, str] = {
    "full outage": "every request fails for 20 minutes",
    "partial outage": "a tenth of the requests fails for 40 minutes",
    "slow burn": "0.5% fail for two days: no hour looks bad",
    "flapping": "a fifth fails for 10 of every 20 minutes, three hours long",
    "ramp": "errors rise steadily to 10% over three hours",
    "regional": "in a region with a fifth of the traffic 60% fail for 90 minutes",
    "retry storm": "30% fail and clients triple the traffic, for 30 minutes",
    "low-traffic night": "5% fail for an hour in which hardly anybody comes: little budget is spent",
    "silent traffic loss": "for an hour no request arrives: no ratio of requests can see that",
    "telemetry gap": "every request fails for an hour in which nobody counts: no ratio can see that either",
}
"""What happens, in words."""


def gallery(usual: Scenario = USUAL) -> dict[str, Scenario]:
    """Return a scenario for each kind of fault, all in the same usual month."""
    return {name: replace(usual, faults=faults) for name, faults in FAULTS.items()}
