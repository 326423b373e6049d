"""A study of alerts: the fault gallery through every policy, arithmetic beside simulation, and the quiet service.

A ``Study`` says what is asked; each function answers one part of it, from months that only its seed decides:

- ``gallery_months``: each kind of fault, and no fault, over many months, through all policies (common random numbers);
- ``first_months``: the first of those months as series, to look at;
- ``beside`` and ``curve``: the closed forms next to what the replay finds on steady traffic;
- ``low_traffic``: false pages with and without a guard on bad events, and what the guard costs on a full outage.

>>> from node0lib.alerts.policies import named_policies
>>> asked = Study("workbook", {"workbook": named_policies(0.999)["workbook"]}, months=2)
>>> page = beside(asked, sizes=(0.1,))[0]
>>> page.alert.name, round(page.detection_closed), page.detection.value
('critical_1h', 508, 540.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np

from node0lib.alerts import closed_forms
from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import Quality, QualityRules, pooled
from node0lib.alerts.replay import Bools, BucketSeries, Floats, in_order, replay_buckets
from node0lib.alerts.timeline import budget_spent
from node0lib.ports import Progress
from node0lib.simulate.gallery import FAULTS, USUAL
from node0lib.simulate.months import PAGE, PAGING, evaluate, evaluations_of, judged, series_of, silent
from node0lib.simulate.scenario import Fault, Floor, Plan, Scenario, Traffic, draw, labels, plan
from node0lib.sli.intervals import Estimate, mean_interval, median_interval
from node0lib.slo.catalogue import Severity

HEALTHY = "no fault"
Runs = Mapping[str, Mapping[str, Mapping[str, Quality]]]
"""Qualities by fault, policy, and alert or "page"."""
_ONSET = timedelta(days=10, hours=13)
_LONG_ENOUGH = timedelta(hours=4)
_SIZES = (0.02, 0.1, 1.0)
_CURVE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_SPENDING = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Study:
    """What is asked: the policy called ``chosen`` among ``policies``, in months like ``usual``."""

    chosen: str
    policies: Mapping[str, AlertPolicy]
    usual: Scenario = USUAL
    months: int = 30
    seed: int = 1
    rules: QualityRules = QualityRules()
    paging: tuple[Severity, ...] = PAGING
    workers: int = 1
    slo: str = ""
    faults: Mapping[str, tuple[Fault, ...]] = field(default_factory=lambda: dict(FAULTS))

    @property
    def scenarios(self) -> dict[str, Scenario]:
        """A usual month for each kind of fault."""
        return {name: replace(self.usual, faults=faults) for name, faults in self.faults.items()}

    @property
    def policy(self) -> AlertPolicy:
        """The chosen policy."""
        return self.policies[self.chosen]


@dataclass(frozen=True)
class Shown:
    """One simulated month with a fault in the steps [first, end): ``firing`` (alerts, n), budget ``spent`` (n,)."""

    series: BucketSeries
    firing: Bools
    spent: Floats
    first: int
    end: int


@dataclass(frozen=True)
class Beside:
    """One alert on a fault that fails ``size`` of requests: closed forms, and medians over simulated months.

    Times in seconds, None where the closed form says never; ``missed`` of the months did not tell it.
    """

    alert: BurnAlert
    size: float
    detection_closed: float | None
    detection: Estimate | None
    reset_closed: float | None
    reset: Estimate | None
    spent_closed: float | None
    spent: Estimate | None


@dataclass(frozen=True)
class Exhaustion:
    """How long a failure of ``size`` takes to spend the whole budget, in seconds: closed form and simulated median."""

    size: float
    closed: float
    simulated: Estimate | None


@dataclass(frozen=True)
class LowTraffic:
    """Two policies, ``plain`` and ``guarded``, over healthy months and over months with a full outage.

    ``delays``: in how many seconds more each month's outage is told with the guard. ``errors_a_month`` is what the
    floor fails on average.
    """

    scenario: Scenario
    months: int
    min_bad: float
    plain: Quality
    guarded: Quality
    plain_outage: Quality
    guarded_outage: Quality
    delays: tuple[float, ...]
    errors_a_month: float

    @property
    def delay(self) -> Estimate | None:
        """The mean delay in seconds: whole minutes have a median that says little."""
        return mean_interval(self.delays)


def gallery_months(asked: Study, progress: Progress = silent) -> Runs:
    """Return the qualities of every policy for each kind of fault, and without any ("no fault")."""
    scenarios = asked.scenarios | {HEALTHY: replace(asked.usual, faults=())}
    found = {}
    for done, (name, scenario) in enumerate(scenarios.items()):
        found[name] = _evaluated(asked, plan(scenario), asked.policies)
        progress("kinds of month", done + 1, len(scenarios))
    return found


def _evaluated(
    asked: Study, expected: Plan, policies: Mapping[str, AlertPolicy]
) -> Mapping[str, Mapping[str, Quality]]:
    return evaluate(
        expected,
        policies,
        months=range(asked.months),
        seed=asked.seed,
        rules=asked.rules,
        paging=asked.paging,
        workers=asked.workers,
    )


def together(runs: Runs, policy: str, alert: str = PAGE) -> Quality:
    """Return a policy's quality over all kinds of month."""
    return pooled(run[policy][alert] for run in runs.values())


def first_months(asked: Study) -> dict[str, Shown]:
    """Return month 0 of each kind of fault, replayed through the chosen policy."""
    return {name: _shown(asked, plan(scenario)) for name, scenario in asked.scenarios.items()}


def _shown(asked: Study, expected: Plan) -> Shown:
    series, evaluations = series_of(expected, draw(expected, seed=asked.seed, month=0)), evaluations_of(expected)
    firing = replay_buckets(asked.policy, series, evaluations)
    spent = budget_spent(asked.policy, [series], evaluations.instants_ms)
    (first, end), *_ = labels(expected.scenario)
    return Shown(series, firing, spent, first, end)


def beside(asked: Study, sizes: Iterable[float] = _SIZES) -> tuple[Beside, ...]:
    """Return closed forms and simulation for each size and each alert of the chosen policy.

    Traffic is steady at the usual mean and the floor iid, as a closed form supposes; the fault lasts four hours.
    """
    return tuple(fact for size in sizes for fact in _beside(asked, size))


def _beside(asked: Study, size: float) -> Iterator[Beside]:
    policy, floor, length = asked.policy, asked.usual.floor.rate, _LONG_ENOUGH
    runs = _evaluated(asked, plan(_steady(asked, size, length)), {asked.chosen: policy})[asked.chosen]
    error = size + floor - size * floor
    for alert in policy.alerts:
        found, budget = runs[alert.name], policy.budget
        always = floor > policy.threshold(alert)
        told = None if always else closed_forms.detection(alert, budget, error, floor=floor)
        over = None if always else closed_forms.reset(alert, budget, error, length, floor=floor)
        late = told is None or told >= length
        yield Beside(
            alert,
            size,
            None if told is None or late else told.total_seconds(),
            found.detection,
            None if over is None else over.total_seconds(),
            found.reset,
            None if told is None or late else error * (told / policy.period) / budget,
            found.spent_at_detection,
        )


def curve(asked: Study, sizes: Iterable[float] = _CURVE) -> tuple[tuple[float, float, float], ...]:
    """Return the size, the median seconds until the page (+inf: missed) and the share of months paged, for each size.

    Traffic and fault are those of ``beside``.
    """
    return tuple(_on_curve(asked, size) for size in sizes)


def _on_curve(asked: Study, size: float) -> tuple[float, float, float]:
    expected = plan(_steady(asked, size, _LONG_ENOUGH))
    page = _evaluated(asked, expected, {asked.chosen: asked.policy})[asked.chosen][PAGE]
    seconds = math.inf if page.detection is None else page.detection.value
    return size, seconds, page.detected / page.events if page.events else 0.0


def _steady(asked: Study, size: float, length: timedelta) -> Scenario:
    """The usual month's mean traffic without its rhythm, its floor without its clusters, and one fault."""
    fault = Fault("fault", _ONSET, length, errors=size)
    return replace(asked.usual, traffic=Traffic(mean_per_hour(asked.usual)), floor=Floor(asked.usual.floor.rate),
                   faults=(fault,))  # fmt: skip


def mean_per_hour(scenario: Scenario) -> float:
    """Return the requests that a scenario without its faults expects an hour, on average."""
    healthy = plan(replace(scenario, faults=()))
    return round(float(healthy.requests.mean()) * (timedelta(hours=1) / scenario.step), 6)


def exhaustions(asked: Study, sizes: Iterable[float] = _SPENDING) -> tuple[Exhaustion, ...]:
    """Return how long failures of some sizes take to spend the whole budget: closed form, and simulated."""
    return tuple(_exhaustion(asked, size) for size in sizes)


def _exhaustion(asked: Study, size: float) -> Exhaustion:
    policy, floor = asked.policy, asked.usual.floor.rate
    error = size + floor - size * floor
    closed = closed_forms.exhaustion(policy.budget, error, policy.period)
    if closed is None or 1.2 * closed > asked.usual.length - _ONSET:
        return Exhaustion(size, math.inf if closed is None else closed.total_seconds(), None)
    step = asked.usual.step
    expected = plan(_steady(asked, size, max(step, 1.2 * closed // step * step)))
    first, end = labels(expected.scenario)[0]

    def gone(month: int) -> float:
        series = series_of(expected, draw(expected, seed=asked.seed, month=month))
        events = float(np.nansum(series.total)) * (policy.period / expected.scenario.length)
        spent = np.cumsum(np.nan_to_num(series.bad[first:end])) / (policy.budget * events)
        over = np.flatnonzero(spent >= 1.0)
        return float((over[0] + 1) * step.total_seconds()) if over.size else math.inf

    times = list(in_order(gone, range(asked.months), asked.workers))
    return Exhaustion(size, closed.total_seconds(), median_interval(times))


QUIET = Scenario(Traffic(60.0), Floor(0.0003))
"""One request a minute and a floor of 0.03%."""


def low_traffic(
    asked: Study,
    *,
    objective: float = 0.999,
    quiet: Scenario = QUIET,
    months: int = 200,
    min_bad: float = 3.0,
    progress: Progress = silent,
) -> LowTraffic:
    """Return what a guard of ``min_bad`` bad events brings and costs where a single failure fills a window.

    Both policies see the same months: first healthy ones, then ones with a full outage of an hour.
    """
    plain = named_policies(objective)["workbook"]
    guarded = replace(plain, alerts=tuple(replace(alert, min_bad=min_bad) for alert in plain.alerts))
    policies = {"plain": plain, "guarded": guarded}
    healthy, outage = plan(quiet), plan(replace(quiet, faults=(Fault("full outage", _ONSET, timedelta(hours=1), 1.0),)))

    def pages(expected: Plan, month: int) -> tuple[Quality, Quality]:
        found = judged(expected, draw(expected, seed=asked.seed, month=month), policies, asked.rules, asked.paging)
        return found["plain"][PAGE], found["guarded"][PAGE]

    def both(month: int) -> tuple[tuple[Quality, Quality], tuple[Quality, Quality]]:
        return pages(healthy, month), pages(outage, month)

    found = []
    for done, one in enumerate(in_order(both, range(months), asked.workers), start=1):
        found.append(one)
        progress("quiet months", done, months)
    calm, outages = zip(*found, strict=True)
    return LowTraffic(
        quiet,
        months,
        min_bad,
        plain=pooled(first for first, _ in calm),
        guarded=pooled(second for _, second in calm),
        plain_outage=pooled(first for first, _ in outages),
        guarded_outage=pooled(second for _, second in outages),
        delays=tuple(sorted(_delays(outages))),
        errors_a_month=float(healthy.requests.sum()) * quiet.floor.rate,
    )


def _delays(pairs: Sequence[tuple[Quality, Quality]]) -> Iterator[float]:
    """How much later the second of each two policies tells the one event; +inf if only it misses that."""
    for first, second in pairs:
        for early, late in zip(first.detection_s, second.detection_s, strict=True):
            if math.isfinite(early):
                yield late - early
