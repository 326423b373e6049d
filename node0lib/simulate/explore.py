"""One question, answered at once: what would these thresholds do on this traffic?

A question is a policy, traffic, an error floor and one fault. The answer counts false pages over healthy months, finds
out how soon the fault is paged in each of them, draws the detection curve over fault sizes, and says it in a sentence.

Healthy months are drawn once for a traffic and a floor and kept (``Explorer``), as running sums; a fault changes only
its own minutes, so only the part of a month that its windows can see is evaluated again, by the alerts that page.
Every number is of simulated months.

>>> from node0lib.alerts.policy import workbook_policy
>>> asked = Question(workbook_policy(0.999), months=4)
>>> answer = Explorer().answer(asked)
>>> answer.detection.value, answer.missed, len(answer.curve)
(1020.0, 0, 9)
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.quality import Quality, QualityRules, judge, pooled
from node0lib.alerts.replay import (
    BucketSeries,
    Evaluations,
    RunningSums,
    in_order,
    replay_buckets,
    replay_sums,
    whole_buckets,
)
from node0lib.alerts.timeline import budget_spent
from node0lib.errors import ConfigError
from node0lib.simulate.counts import failures
from node0lib.simulate.months import PAGING, evaluations_of
from node0lib.simulate.scenario import Floor, Plan, Scenario, Traffic, draw, plan
from node0lib.sli.intervals import Estimate, median_interval, wilson
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

_CURVE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Fault sizes of the detection curve: the share of requests that fail."""
_KEPT = 3
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Question:
    """What is asked. ``size`` is the share of requests that the fault fails; it begins after ``onset``."""

    policy: AlertPolicy
    traffic: Traffic = Traffic(36_000.0, daily_swing=0.5)
    floor: Floor = Floor(0.0003)
    size: float = 0.05
    length: timedelta = timedelta(hours=1)
    onset: timedelta = timedelta(days=10, hours=13)
    months: int = 200
    seed: int = 1
    paging: tuple[Severity, ...] = PAGING

    def __post_init__(self) -> None:
        if self.months < 1:
            raise ConfigError("at least one month must be simulated")
        if not 0 <= self.size <= 1:
            raise ConfigError(f"the fault's size {self.size:g} must lie between 0 and 1; a twentieth is 0.05")


@dataclass(frozen=True)
class Answer:
    """Times in seconds, shares in [0, 1]. ``curve`` has (size, median detection or +inf, share detected) rows.

    ``first`` is the first month with the fault, ``firing`` (alerts, n) what fires on it, ``spent`` (n,) its budget
    spent.
    """

    question: Question
    healthy: Quality
    detection: Estimate
    missed: int
    spent_at_detection: float | None
    curve: tuple[tuple[float, float, float], ...]
    first: BucketSeries
    firing: Bools
    spent: Floats

    @property
    def recall(self) -> Estimate | None:
        """The share of months in which the fault was paged."""
        return wilson(self.question.months - self.missed, self.question.months)


@dataclass
class Explorer:
    """Answers questions; keeps the healthy months of the last few traffics and floors.

    ``workers`` threads draw months; evaluating them is so short that threads would only wait for each other.
    """

    workers: int = 1
    rules: QualityRules = QualityRules()
    _healthy: OrderedDict[tuple[object, ...], tuple[Plan, list[RunningSums]]] = field(
        default_factory=OrderedDict, repr=False
    )

    def answer(self, asked: Question) -> Answer:
        """Return the answer; raises ConfigError for a fault that does not fit into the month."""
        expected, months = self._months(asked)
        fault = _Fault.of(asked, expected, self.rules)
        evaluations = fault.evaluations
        healthy = [_pages(fault.paging, month, evaluations, self.rules) for month in months]
        sizes = (asked.size, *_CURVE)
        found = [fault.told(month, n, sizes) for n, month in enumerate(months)]
        steps, spent = (np.array(column) for column in zip(*found, strict=True))
        times = steps * (expected.scenario.step / timedelta(seconds=1))
        curve = [(size, _median(times[:, k]), _seen(times[:, k])) for k, size in enumerate(sizes)]
        first = fault.on(months[0], fault.failing(months[0], 0, sizes)[0])
        return Answer(
            asked,
            pooled(healthy),
            median_interval([float(t) for t in times[:, 0]]) or Estimate(math.inf, None, None),
            int(np.isinf(times[:, 0]).sum()),
            float(np.median(spent[np.isfinite(spent)])) if np.isfinite(spent).any() else None,
            tuple(curve[1:]),
            first,
            replay_buckets(asked.policy, first, evaluations),
            budget_spent(asked.policy, [first], evaluations.instants_ms),
        )

    def _months(self, asked: Question) -> tuple[Plan, list[RunningSums]]:
        key = (asked.traffic, asked.floor, asked.months, asked.seed)
        if key not in self._healthy:
            expected = plan(Scenario(asked.traffic, asked.floor))

            def drawn(k: int) -> RunningSums:
                month = draw(expected, seed=asked.seed, month=k)
                return RunningSums.of(month.bad, month.total)

            self._healthy[key] = expected, list(in_order(drawn, range(asked.months), self.workers))
        self._healthy.move_to_end(key)
        while len(self._healthy) > _KEPT:
            self._healthy.popitem(last=False)
        return self._healthy[key]


@dataclass(frozen=True)
class _Fault:
    """The asked fault in the steps [first, end); its pages are looked for until ``stop``.

    ``paging`` is the policy of the alerts that page. ``part`` are the steps [start, stop) that they can see, None if
    that is more than whole buckets can say; ``back`` steps before the fault tell what an alert's ``for`` waits for.
    """

    asked: Question
    paging: AlertPolicy | None
    evaluations: Evaluations
    first: int
    end: int
    stop: int
    part: tuple[int, int] | None
    back: int

    @classmethod
    def of(cls, asked: Question, expected: Plan, rules: QualityRules) -> _Fault:
        """Return the fault in steps; raises ConfigError if it does not lie within the month."""
        scenario = expected.scenario
        first, end = asked.onset // scenario.step, -(-(asked.onset + asked.length) // scenario.step)
        if not 0 <= first < end <= scenario.steps:
            raise ConfigError("the fault does not lie within the month; let it begin sooner or be shorter")
        alerts = tuple(alert for alert in asked.policy.alerts if alert.severity in asked.paging)
        stop, evaluations = min(scenario.steps, end + rules.grace // scenario.step), evaluations_of(expected)
        back = max((-(-alert.hold // scenario.step) for alert in alerts), default=0)
        lead = max((alert.long // scenario.step for alert in alerts), default=0) + back + 1
        start = max(0, first - lead)
        paging = replace(asked.policy, alerts=alerts) if alerts else None
        part = (start, stop) if paging and whole_buckets(paging, evaluations.step_ms) else None
        return cls(asked, paging, evaluations, first, end, stop, part, min(back, first - start))

    def failing(self, sums: RunningSums, number: int, sizes: Sequence[float]) -> Floats:
        """Return what fails more in each step of the fault, (sizes, steps); equal months and sizes fail equally."""
        bad, total = (np.diff(one[self.first : self.end + 1]) for one in (sums.bad, sums.total))
        seed = np.random.SeedSequence(self.asked.seed, spawn_key=(number, 1))
        random = np.random.Generator(np.random.SFC64(seed))
        return failures(total - bad, np.asarray(sizes), random.standard_normal(bad.size))

    def told(self, sums: RunningSums, number: int, sizes: Sequence[float]) -> tuple[list[float], float]:
        """Return the steps until the page for each size (+inf: none), and the budget spent at the first size's."""
        more = self.failing(sums, number, sizes)
        firing = self._paged(sums, more)
        steps = [float(row.argmax() + 1) if row.any() else math.inf for row in firing]
        bad = np.diff(sums.bad[self.first : self.stop + 1])
        bad[: more.shape[1]] += more[0]
        return steps, self._spent(bad, steps[0], sums)

    def _paged(self, sums: RunningSums, more: Floats) -> list[Bools]:
        """Return for each row of ``more`` in which of the steps [first, stop) the fault is paged."""
        if self.paging is None:
            return [np.zeros(self.stop - self.first, np.bool_)] * len(more)
        if self.part is None:
            return [self._whole_month(self.paging, sums, row) for row in more]
        start, stop = self.part
        part = sums.part(start, stop).with_more_bad(self.first - start, more)
        first, count = self.first - self.back - start, self.back + stop - self.first
        each = (RunningSums(bad, part.total) for bad in part.bad)
        found = (replay_sums(self.paging, one, self.evaluations.step_ms, first, count) for one in each)
        return [_any(firing)[self.back :] for firing in found]

    def on(self, sums: RunningSums, more: Floats) -> BucketSeries:
        """Return the month with the fault in it."""
        series = _series(sums, self.evaluations)
        series.bad[self.first : self.end] += more
        return series

    def _whole_month(self, paging: AlertPolicy, sums: RunningSums, more: Floats) -> Bools:
        """Where an alert looks further back than a part of the month, all of it is replayed."""
        series = self.on(sums, more)
        begin = int(series.ends_ms[self.first - self.back])
        evaluations = Evaluations(begin, self.evaluations.step_ms, self.back + self.stop - self.first)
        return _any(replay_buckets(paging, series, evaluations))[self.back :]

    def _spent(self, bad: Floats, steps: float, sums: RunningSums) -> float:
        """The share of a period's budget that fails from the onset to the page."""
        if math.isinf(steps):
            return math.nan
        length = (sums.total.size - 1) * timedelta(milliseconds=self.evaluations.step_ms)
        allowance = self.asked.policy.budget * float(sums.total[-1]) * (self.asked.policy.period / length)
        return float(bad[: int(steps)].sum()) / allowance if allowance else math.nan


def sentence(answer: Answer) -> str:
    """Return the answer in plain words."""
    asked, false = answer.question, answer.healthy.false_pages
    fault = f"A failure of {_percent(asked.size)} for {format_duration(asked.length)}"
    if math.isinf(answer.detection.value):
        seen = asked.months - answer.missed
        told = f"is paged in {seen} of {asked.months} months only" if seen else "is never paged"
    else:
        share = answer.spent_at_detection
        spent = "" if share is None else f", having spent {_percent(share)} of the month's budget"
        missed = f"; {answer.missed} of {asked.months} are missed" if answer.missed else ""
        told = f"is paged after {_lasting(answer.detection.value)}{spent}{missed}"
    quiet = "" if false is None else f"; expect {_amount(false)} false pages a month"
    return f"{fault} {told}{quiet}. (Simulated: {asked.months} months.)"


def _percent(share: float) -> str:
    text = f"{share * 100:.2g}" if share < 0.0995 else f"{share * 100:.0f}"
    return f"{text}%"


def _lasting(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _amount(estimate: Estimate) -> str:
    high = "" if estimate.high is None else f" (at most {estimate.high:.2g})"
    return f"{estimate.value:.2g}{high}"


def _median(times: Floats) -> float:
    return float(np.sort(times)[(times.size - 1) // 2])


def _seen(times: Floats) -> float:
    return float(np.isfinite(times).mean())


def _pages(paging: AlertPolicy | None, sums: RunningSums, evaluations: Evaluations, rules: QualityRules) -> Quality:
    """Return the quality of the pages of a healthy month."""
    if paging is None:
        firing = np.zeros((1, evaluations.count), np.bool_)
    elif whole_buckets(paging, evaluations.step_ms):
        firing = replay_sums(paging, sums, evaluations.step_ms, 0, evaluations.count)
    else:
        firing = replay_buckets(paging, _series(sums, evaluations), evaluations)
    return judge(_any(firing), [], rules, evaluations.step_ms)


def _series(sums: RunningSums, evaluations: Evaluations) -> BucketSeries:
    """Return the month's events of each step, from its sums; what was not observed has none."""
    return BucketSeries(evaluations.instants_ms, np.diff(sums.bad), np.diff(sums.total))


def _any(firing: Bools) -> Bools:
    """Whether any of the alerts (alerts, n) fires."""
    return np.asarray(firing.any(axis=0))
