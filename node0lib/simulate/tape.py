"""Stretches of simulated months laid end to end: one call replays a policy on all of them.

Before each stretch lies what the longest window looks back at, and a little more, so that no window sees the stretch
before: either months of nothing (a window that is not full holds what there is, as in ``months``) or the service's own
healthy time. Only the ``counted`` evaluations are judged.

A stretch with a fault is a scenario of its own that begins shortly before the fault: same clock, same weekday, same
trend, same recorded traffic, a month number of its own; so it costs minutes to draw and not a month.

>>> from node0lib.simulate.scenario import Floor, Traffic
>>> hour = timedelta(hours=1)
>>> usual = Scenario(Traffic(6000.0, daily_swing=0.5), Floor(0.0))
>>> outage = Fault("outage", onset=100 * hour, length=hour, errors=1.0)
>>> short = around(usual, outage, lead=120, tail=60)
>>> short.start.isoformat(), short.faults[0].onset, short.steps
('2026-01-09T02:00:00+00:00', datetime.timedelta(seconds=7200), 240)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts import bucket_kernel
from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.quality import Event, Quality, QualityRules, judge
from node0lib.alerts.replay import RunningSums, replay_sums
from node0lib.errors import ConfigError
from node0lib.simulate.scenario import Fault, Month, Scenario, Traffic, draw, labels, plan
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_MONTH_MS = 30 * 86_400_000


@dataclass(frozen=True)
class Stretch:
    """A piece of time; ``counted`` are the steps [first, end) whose evaluations are judged, ``event`` the fault's."""

    month: Month
    counted: tuple[int, int]
    event: tuple[int, int] | None = None


@dataclass(frozen=True)
class Tape:
    """Stretches laid end to end, n steps in all; ``spent`` (n,) is the share of a budget spent so far, never reset."""

    sums: RunningSums
    counted: Bools
    events: tuple[Event, ...]
    spent: Floats
    step_ms: int

    @classmethod
    def of(cls, stretches: Iterable[Stretch], step_ms: int, allowance: float | None = None) -> Tape:
        """Return the tape of at least one stretch; ``allowance`` is a period's budget in bad events."""
        laid = list(stretches)
        bad = np.concatenate([one.month.bad for one in laid])
        sums = RunningSums(
            bucket_kernel.running_sums(bad),
            bucket_kernel.running_sums(np.concatenate([one.month.total for one in laid])),
        )
        spent = sums.bad[1:] / allowance if allowance else np.broadcast_to(0.0, bad.size)
        counted, events, offset = np.zeros(bad.size, np.bool_), [], 0
        for one in laid:
            counted[offset + one.counted[0] : offset + one.counted[1]] = True
            if one.event is not None:
                first, end = (offset + step for step in one.event)
                events.append(Event(first, end, float(spent[end - 1] - spent[first - 1])))
            offset += one.month.bad.size
        return cls(sums, counted, tuple(events), spent, step_ms)

    def fires(self, policy: AlertPolicy, severities: Sequence[Severity]) -> Bools:
        """Return the counted evaluations (n,) at which any alert of those severities fires."""
        alerts = tuple(alert for alert in policy.alerts if alert.severity in severities)
        found = np.zeros(self.counted.size, np.bool_)
        if alerts:
            for firing in replay_sums(replace(policy, alerts=alerts), self.sums, self.step_ms, 0, found.size):
                found |= firing
        return np.logical_and(found, self.counted, out=found)

    def judged(self, policy: AlertPolicy, severities: Sequence[Severity], rules: QualityRules) -> Quality:
        """Return the quality of what those severities tell; its months are those that count."""
        fires = self.fires(policy, severities)
        months = float(self.counted.sum()) * self.step_ms / _MONTH_MS
        return replace(judge(fires, self.events, rules, self.step_ms, self.spent), months=months)


def healthy(month: Month, lead: int) -> Stretch:
    """Return a whole month after ``lead`` steps of nothing."""
    bad, total = (np.concatenate((np.zeros(lead), values)) for values in (month.bad, month.total))
    return Stretch(Month(bad, total), (lead, bad.size))


def faulty(scenario: Scenario, fault: Fault, *, lead: int, tail: int, watch: int, seed: int, month: int) -> Stretch:
    """Return the fault with ``lead`` steps before and ``tail`` after it; the last ``watch`` of the lead count."""
    short = around(scenario, fault, lead=lead, tail=tail)
    drawn, ((first, end),) = draw(plan(short), seed=seed, month=month), labels(short)
    missing = lead - first
    if missing:  # the month begins in the lead
        nothing = np.zeros(missing)
        drawn = Month(np.concatenate((nothing, drawn.bad)), np.concatenate((nothing, drawn.total)))
    return Stretch(drawn, (lead - watch, drawn.bad.size), (first + missing, end + missing))


def around(scenario: Scenario, fault: Fault, *, lead: int, tail: int) -> Scenario:
    """Return the scenario of ``lead`` steps before the fault to ``tail`` after it, as far as the month goes."""
    step = scenario.step
    first, end = fault.onset // step, -(-(fault.onset + fault.length) // step)
    begin, stop = max(0, first - lead), min(scenario.steps, end + tail)
    return replace(
        scenario,
        traffic=_later(scenario.traffic, begin, stop - begin, step),
        faults=(replace(fault, onset=fault.onset - begin * step),),
        start=scenario.start + begin * step,
        length=(stop - begin) * step,
    )


def moved(scenario: Scenario, fault: Fault, *, lead: int, tail: int, seed: int, month: int) -> Fault:
    """Return the fault at a random step of the month; raises ConfigError where it does not fit in."""
    length = max(1, -(-fault.length // scenario.step))
    last = scenario.steps - length - tail
    if last < lead:
        needed = format_duration((lead + length + tail) * scenario.step)
        raise ConfigError(f"fault {fault.name}: with what alerts look back at it needs {needed}; let months be longer")
    random = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(month, 1))))
    return replace(fault, onset=int(random.integers(lead, last + 1)) * scenario.step)


def _later(traffic: Traffic, begin: int, steps: int, step: timedelta) -> Traffic:
    """The same traffic seen from ``begin`` steps later."""
    if traffic.recorded is not None:
        values = traffic.recorded
        return replace(traffic, recorded=tuple(values[(begin + i) % len(values)] for i in range(steps)))
    grown = 1.0 + traffic.trend * (begin * step / timedelta(days=30))
    if grown <= 0 or math.isclose(grown, 0.0):
        return replace(traffic, per_hour=0.0)
    return replace(traffic, per_hour=traffic.per_hour * grown, trend=traffic.trend / grown)
