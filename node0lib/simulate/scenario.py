"""Months that may happen: traffic, an error floor and faults as data, drawn step by step as integer counts.

Promise: month k of a scenario is the same whoever draws it, in whatever order: all of it comes from
``SeedSequence(seed, spawn_key=(k,))``, and what goes into a draw is rounded first, so that another machine's last bit
of cos() changes nothing.

- Requests of a step are Poisson around its expected traffic; failures among them are binomial. Drawn as two
  independent Poisson counts, bad and good, which is the same thing (thinning of a Poisson process).
- The floor's error rate may wander: a gamma factor of mean 1 and coefficient of variation ``dispersion``, constant for
  ``correlation``, makes failures negative binomial and clustered. An iid floor flatters every alert.
- A fault adds failures to a share of the traffic, changes the traffic, or takes the telemetry away (NaN). Of two that
  overlap, one may hit what the other spares.

>>> hour = timedelta(hours=1)
>>> fault = Fault("outage", onset=2 * hour, length=hour / 6, errors=1.0)
>>> scenario = Scenario(Traffic(6000.0), Floor(0.001), (fault,), length=4 * hour)
>>> month = draw(plan(scenario), seed=7, month=0)
>>> month.total.shape, bool((month.bad[120:130] == month.total[120:130]).all())
((240,), True)
>>> bool((month.bad == draw(plan(scenario), seed=7, month=0).bad).all())
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node0lib.errors import ConfigError, DataError
from node0lib.simulate.counts import Expected, rounded, split
from node0lib.timespan import ensure_utc, format_duration

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Shape = Literal["step", "ramp", "flapping"]
_NOTHING = timedelta(0)
_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
MOST_STEPS = 5_000_000
"""Of one scenario: nine years of minutes, two months of seconds, some 40 MB for each array of a draw."""


@dataclass(frozen=True)
class Traffic:
    """Expected requests: ``per_hour`` on average, with a day's and a week's rhythm, growth, and bursts.

    ``daily_swing`` in [0, 1] is the amplitude of the day (peak at ``peak_hour`` UTC), ``weekend`` a factor on Saturdays
    and Sundays, ``trend`` the relative growth over 30 days. ``bursts`` a month on average multiply it by
    ``burst_factor`` for ``burst_length``. ``recorded`` (n,), requests a step, replaces all of this, from its beginning
    again when it ends.
    """

    per_hour: float = 0.0
    daily_swing: float = 0.0
    weekend: float = 1.0
    trend: float = 0.0
    peak_hour: float = 14.0
    bursts: float = 0.0
    burst_factor: float = 3.0
    burst_length: timedelta = timedelta(minutes=10)
    recorded: tuple[float, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        numbers = (self.per_hour, self.weekend, self.bursts, self.burst_factor, *(self.recorded or ()))
        if not all(0 <= number < np.inf for number in numbers):
            raise ConfigError("traffic: requests and factors must be finite and not negative")
        if not 0 <= self.daily_swing <= 1 or not -1 < self.trend < np.inf:
            raise ConfigError("traffic: daily_swing must lie between 0 and 1, trend above -1 (a month)")
        if self.recorded is not None and not self.recorded:
            raise ConfigError("traffic: the recorded series is empty")


@dataclass(frozen=True)
class Floor:
    """What fails without any fault: ``rate`` in [0, 1]; ``dispersion`` 0 is iid, 1 as rough as an exponential."""

    rate: float
    dispersion: float = 0.0
    correlation: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"errors: the rate {self.rate:g} must lie between 0 and 1; 0.03% is 0.0003")
        if not 0 <= self.dispersion <= 100 or self.correlation <= _NOTHING:
            raise ConfigError("errors: dispersion must lie between 0 and 100, correlation must be longer than 0")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong ``onset`` after the beginning, for ``length``.

    ``errors`` of the requests in the ``share`` of traffic that is hit fail (both in [0, 1]); ``shape``: step, ramp
    (rising all the while) or flapping (on and off, ``period`` long in all). ``traffic`` multiplies requests (0: lost,
    3: retries); with ``telemetry`` false nobody observes.
    """

    name: str
    onset: timedelta
    length: timedelta
    errors: float = 0.0
    share: float = 1.0
    shape: Shape = "step"
    period: timedelta = timedelta(minutes=10)
    traffic: float = 1.0
    telemetry: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.errors <= 1 and 0 <= self.share <= 1):
            raise ConfigError(f"fault {self.name}: errors and share must lie between 0 and 1")
        if self.onset < _NOTHING or self.length <= _NOTHING or self.period <= _NOTHING:
            raise ConfigError(f"fault {self.name}: onset must be at least 0, length and period longer than 0")
        if not 0 <= self.traffic < np.inf:
            raise ConfigError(f"fault {self.name}: traffic must be finite and not negative")


@dataclass(frozen=True)
class Scenario:
    """One kind of month.

    Raises ConfigError for a fault outside the span, a length that steps do not divide, or more than ``MOST_STEPS``.
    """

    traffic: Traffic
    floor: Floor
    faults: tuple[Fault, ...] = ()
    length: timedelta = timedelta(days=30)
    step: timedelta = timedelta(minutes=1)
    start: datetime = _MONDAY

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", ensure_utc(self.start))
        if self.step <= _NOTHING or self.length < self.step or self.length % self.step:
            raise ConfigError("scenario: the length must be a whole number of steps; 30d of 1m is usual")
        if self.steps > MOST_STEPS:
            asked = f"{format_duration(self.length)} in steps of {format_duration(self.step)} are {self.steps:,} steps"
            raise ConfigError(f"scenario: {asked}, at most {MOST_STEPS:,} are drawn; take longer steps or less length")
        for fault in self.faults:
            if fault.onset + fault.length > self.length:
                ends, whole = format_duration(fault.onset + fault.length), format_duration(self.length)
                raise ConfigError(f"fault {fault.name}: ends after {ends}, outside the scenario of {whole}")

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return self.length // self.step


@dataclass(frozen=True)
class Plan:
    """What is expected of each step, (n,): ``requests``, the floor's and the faults' error rates, and who observes."""

    scenario: Scenario
    requests: Floats
    floor: float
    extra: Floats
    observed: Bools

    @property
    def is_steady(self) -> bool:
        """Whether all months expect the same: no bursts, and a floor that does not wander."""
        floor = self.scenario.floor
        return not self.scenario.traffic.bursts and not (floor.dispersion and floor.rate)

    @cached_property
    def steady(self) -> tuple[Expected, Expected]:
        """The bad and the good events that a month without bursts expects, at the mean rate."""
        return _expecting(self, self.requests, np.array([self.floor]), self.requests.size, 0)


@dataclass(frozen=True)
class Month:
    """Bad and total events (n,) of each step: integers, NaN where nobody observed."""

    bad: Floats
    total: Floats


def plan(scenario: Scenario) -> Plan:
    """Return what a scenario expects; its draws share it."""
    n, extra_free = scenario.steps, np.ones(scenario.steps)
    requests, observed = _expected(scenario.traffic, scenario), np.ones(n, np.bool_)
    for fault in scenario.faults:
        rows = _rows(fault, scenario)
        extra_free[rows] *= 1.0 - fault.share * fault.errors * _shape(fault, scenario, rows)
        requests[rows] *= fault.traffic
        observed[rows] &= fault.telemetry
    return Plan(scenario, rounded(requests), scenario.floor.rate, rounded(1.0 - extra_free), observed)


def draw(expected: Plan, *, seed: int, month: int) -> Month:
    """Return month ``month`` of the scenario; equal seeds and months give equal counts."""
    random = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(month,))))
    failing, going_well = expected.steady if expected.is_steady else _wandering(expected, random)
    bad = failing.draw(random)
    total = going_well.draw(random)
    total += bad
    if not expected.observed.all():
        bad[~expected.observed] = np.nan
        total[~expected.observed] = np.nan
    return Month(bad, total)


def labels(scenario: Scenario) -> tuple[tuple[int, int], ...]:
    """Return the steps [first, end) of each fault, in the scenario's order."""
    found = (_rows(fault, scenario) for fault in scenario.faults)
    return tuple((rows.start, rows.stop) for rows in found)


def _expected(traffic: Traffic, scenario: Scenario) -> Floats:
    n = scenario.steps
    if traffic.recorded is not None:
        return np.resize(np.asarray(traffic.recorded, np.float64), n)
    hours = scenario.step / timedelta(hours=1) * (np.arange(n) + 0.5)
    since_monday = (scenario.start - _MONDAY) / timedelta(hours=1) + hours
    day = 1.0 + traffic.daily_swing * np.cos(2 * np.pi * (since_monday - traffic.peak_hour) / 24.0)
    week = np.where(np.floor(since_monday / 24.0) % 7 >= 5, traffic.weekend, 1.0)
    growth = 1.0 + traffic.trend * hours / (30 * 24.0)
    return np.asarray(traffic.per_hour * (scenario.step / timedelta(hours=1)) * day * week * np.maximum(growth, 0.0))


def _rows(fault: Fault, scenario: Scenario) -> slice:
    first = fault.onset // scenario.step
    return slice(first, max(first + 1, -(-(fault.onset + fault.length) // scenario.step)))


def _shape(fault: Fault, scenario: Scenario, rows: slice) -> Floats:
    """How strong the fault is in each of its steps, 0..1."""
    along = np.arange(rows.stop - rows.start)
    if fault.shape == "ramp":
        return np.asarray((along + 1.0) / along.size)
    if fault.shape == "flapping":
        half = max(1, (fault.period // scenario.step) // 2)
        return np.asarray((along // half) % 2 == 0, np.float64)
    return np.ones(along.size)


def _with_bursts(requests: Floats, scenario: Scenario, random: np.random.Generator) -> Floats:
    traffic, burst = scenario.traffic, requests.copy()
    length = max(1, traffic.burst_length // scenario.step)
    months = scenario.length / timedelta(days=30)
    for first in random.integers(0, requests.size, random.poisson(traffic.bursts * months)):
        burst[first : first + length] = requests[first : first + length] * traffic.burst_factor
    return burst


def _wandering(expected: Plan, random: np.random.Generator) -> tuple[Expected, Expected]:
    """What this month expects: its own bursts, and its own wandering floor."""
    scenario, requests = expected.scenario, expected.requests
    if scenario.traffic.bursts:
        requests = _with_bursts(requests, scenario, random)
    if not scenario.floor.dispersion or not scenario.floor.rate:
        return _expecting(expected, requests, np.array([scenario.floor.rate]), requests.size, 0)
    per = max(1, scenario.floor.correlation // scenario.step)
    variance = scenario.floor.dispersion**2
    factors = random.gamma(1.0 / variance, variance, -(-requests.size // per) + 1)
    rates = np.minimum(1.0, scenario.floor.rate * factors)
    return _expecting(expected, requests, rates, per, int(random.integers(per)))


def _expecting(expected: Plan, requests: Floats, rates: Floats, per: int, phase: int) -> tuple[Expected, Expected]:
    """The bad and the good events of each step; ``rates`` hold for ``per`` steps each, the first for ``phase`` less."""
    failing, well = np.empty(requests.size), np.empty(requests.size)
    split(requests, rates, per, phase, expected.extra, failing, well)
    return Expected(failing), Expected(well)


def stacked(months: Sequence[Month]) -> tuple[Floats, Floats]:
    """Return bad and total of many months, (months, n); raises DataError without one."""
    if not months:
        raise DataError("there is no month to look at")
    return np.stack([one.bad for one in months]), np.stack([one.total for one in months])
