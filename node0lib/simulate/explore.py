"""One question, answered at once: what would these thresholds do on this traffic?

A question is a policy, traffic, an error floor and one fault. The answer counts false pages over healthy months, finds
out how soon the fault is paged in each of them, draws the detection curve over fault sizes, and says it in a sentence.

Healthy months are drawn once for a traffic and a floor and kept (``Explorer``), as running sums; a fault changes only
its own minutes, so only the part of a month that its windows can see is evaluated again, by the alerts that page.
What counts is what ``alerts.quality.judge`` counts: a page that was up before the fault tells it at once, and no page
is asked of a fault that spends less than ``QualityRules.significant`` of the budget. Every number is of simulated
months.

>>> from node0lib.alerts.policy import workbook_policy
>>> asked = Question(workbook_policy(0.999), months=4)
>>> answer = Explorer().answer(asked)
>>> answer.detection.value, answer.missed, answer.up_before, len(answer.curve)
(1020.0, 0, 0, 9)
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
from node0lib.alerts.quality import Event, Quality, QualityRules, judge, pooled
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
from node0lib.sli.intervals import Estimate, wilson
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

_CURVE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Fault sizes of the detection curve: the share of requests that fail."""
_KEPT = 3
NOTABLY_UP = 0.01
"""A page that is up for more of the healthy time than this is said to be."""
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
    """Times in seconds, shares in [0, 1].

    Without the fault the pages are ``healthy``, and one is up for a share ``healthy_up`` of the time. The fault is
    significant in ``events`` of the months: of those it is ``missed`` in some, and in ``up_before`` a page was up
    before it. ``detection`` (+inf: missed) and ``spent_at_detection`` are medians, None where no page is asked.
    ``curve`` has (size, median detection or +inf, share detected) rows, NaN where no page is asked. ``first`` is the
    first month with the fault, ``firing`` (alerts, n) what fires on it, ``spent`` (n,) its budget spent.
    """

    question: Question
    rules: QualityRules
    healthy: Quality
    healthy_up: float
    events: int
    up_before: int
    detection: Estimate | None
    missed: int
    spent_at_detection: Estimate | None
    curve: tuple[tuple[float, float, float], ...]
    first: BucketSeries
    firing: Bools
    spent: Floats

    @property
    def recall(self) -> Estimate | None:
        """The share of the months with a significant fault in which it was paged."""
        return wilson(self.events - self.missed, self.events)


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
        instants = fault.evaluations.instants_ms
        healthy, up = zip(*(fault.without(month) for month in months), strict=True)
        sizes = (asked.size, *_CURVE)
        found = [fault.told(month, n, sizes) for n, month in enumerate(months)]
        told, *others = (pooled(many) for many in zip(*found, strict=True))
        first = fault.on(months[0], fault.failing(months[0], 0, sizes)[0])
        return Answer(
            asked,
            self.rules,
            pooled(healthy),
            float(np.mean(up)),
            told.events,
            sum(seconds == 0 for seconds in told.detection_s),
            told.detection,
            told.events - told.detected,
            told.spent_at_detection,
            tuple(_row(size, one) for size, one in zip(_CURVE, others, strict=True)),
            first,
            replay_buckets(asked.policy, first, fault.evaluations),
            budget_spent(asked.policy, [first], instants),
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
    """The asked fault in the steps [first, end), judged in [first - before, stop): nothing else can change how it is.

    ``paging`` is the policy of the alerts that page. ``part`` are the steps [start, stop) that they can see, None if
    that is more than whole buckets can say. The steps ``before`` tell what an alert's ``for`` waits for, and which
    earlier page an onset would belong to.
    """

    asked: Question
    paging: AlertPolicy | None
    evaluations: Evaluations
    rules: QualityRules
    first: int
    end: int
    stop: int
    part: tuple[int, int] | None
    before: int

    @classmethod
    def of(cls, asked: Question, expected: Plan, rules: QualityRules) -> _Fault:
        """Return the fault in steps; raises ConfigError if it does not lie within the month."""
        scenario = expected.scenario
        first, end = asked.onset // scenario.step, -(-(asked.onset + asked.length) // scenario.step)
        if not 0 <= first < end <= scenario.steps:
            raise ConfigError("the fault does not lie within the month; let it begin sooner or be shorter")
        alerts = tuple(alert for alert in asked.policy.alerts if alert.severity in asked.paging)
        evaluations = evaluations_of(expected)
        grace, merge_gap = rules.steps(evaluations.step_ms)
        back = max((-(-alert.hold // scenario.step) for alert in alerts), default=0)
        before, stop = min(first, back + merge_gap + 1), min(scenario.steps, end + grace)
        lead = max((alert.long // scenario.step for alert in alerts), default=0) + before + 1
        paging = replace(asked.policy, alerts=alerts) if alerts else None
        part = (max(0, first - lead), stop) if paging and whole_buckets(paging, evaluations.step_ms) else None
        return cls(asked, paging, evaluations, rules, first, end, stop, part, before)

    def without(self, sums: RunningSums) -> tuple[Quality, float]:
        """Return the quality of the pages of a healthy month, and the share of it during which one is up."""
        if self.paging is None:
            fires = np.zeros(self.evaluations.count, np.bool_)
        elif self.part is not None:
            fires = _any(replay_sums(self.paging, sums, self.evaluations.step_ms, 0, self.evaluations.count))
        else:
            fires = _any(replay_buckets(self.paging, _series(sums, self.evaluations), self.evaluations))
        return judge(fires, [], self.rules, self.evaluations.step_ms), float(fires.mean())

    def failing(self, sums: RunningSums, number: int, sizes: Sequence[float]) -> Floats:
        """Return what fails more in each step of the fault, (sizes, steps); equal months and sizes fail equally."""
        bad, total = (np.diff(one[self.first : self.end + 1]) for one in (sums.bad, sums.total))
        seed = np.random.SeedSequence(self.asked.seed, spawn_key=(number, 1))
        random = np.random.Generator(np.random.SFC64(seed))
        return failures(total - bad, np.asarray(sizes), random.standard_normal(bad.size))

    def told(self, sums: RunningSums, number: int, sizes: Sequence[float]) -> list[Quality]:
        """Return for each size how the fault is told; pages and resets are of [first - before, stop) only."""
        more = self.failing(sums, number, sizes)
        firing, spent = self._firing(sums, more), self._spent(sums, more)
        step_ms, rules = self.evaluations.step_ms, self.rules
        return [judge(f, [self._event(s)], rules, step_ms, s) for f, s in zip(firing, spent, strict=True)]

    def _event(self, spent: Floats) -> Event:
        """The fault as an incident, as ``months.events_of`` labels it; ``spent`` as ``_spent`` returns it."""
        end = self.before + self.end - self.first
        share = float(spent[end - 1]) - (float(spent[self.before - 1]) if self.before else 0.0)
        return Event(self.before, end, max(0.0, share) if math.isfinite(share) else 0.0)

    def _firing(self, sums: RunningSums, more: Floats) -> list[Bools]:
        """Return for each row of ``more`` in which of the steps [first - before, stop) a page is up."""
        begin, count = self.first - self.before, self.before + self.stop - self.first
        if self.paging is None:
            return [np.zeros(count, np.bool_)] * len(more)
        if self.part is None:
            return [self._whole_month(self.paging, sums, row) for row in more]
        start, stop = self.part
        part = sums.part(start, stop).with_more_bad(self.first - start, more)
        each = (RunningSums(bad, part.total) for bad in part.bad)
        step_ms = self.evaluations.step_ms
        return [_any(replay_sums(self.paging, one, step_ms, begin - start, count)) for one in each]

    def on(self, sums: RunningSums, more: Floats) -> BucketSeries:
        """Return the month with the fault in it."""
        series = _series(sums, self.evaluations)
        series.bad[self.first : self.end] += more
        return series

    def _whole_month(self, paging: AlertPolicy, sums: RunningSums, more: Floats) -> Bools:
        """Where an alert looks further back than a part of the month, all of it is replayed."""
        series = self.on(sums, more)
        begin = int(series.ends_ms[self.first - self.before])
        evaluations = Evaluations(begin, self.evaluations.step_ms, self.before + self.stop - self.first)
        return _any(replay_buckets(paging, series, evaluations))

    def _spent(self, sums: RunningSums, more: Floats) -> Floats:
        """What ``timeline.budget_spent`` says after the steps [first - before, stop), a row for each of ``more``."""
        step, period = timedelta(milliseconds=self.evaluations.step_ms), self.asked.policy.period
        added = np.concatenate((np.zeros((len(more), 1)), np.cumsum(more, axis=1)), axis=1)

        def bad(until: NDArray[np.int64]) -> Floats:
            rows = np.clip(until - self.first, 0, more.shape[1])
            return np.asarray(sums.bad[until] + np.take(added, rows, axis=1))

        until = np.arange(self.first - self.before, self.stop) + 1
        since = until + period // -step
        risen = bad(until) - bad(np.maximum(since, 0)) if since[-1] > 0 else bad(until)
        allowance = self.asked.policy.budget * float(sums.total[-1]) * (period / (step * (sums.total.size - 1)))
        return risen / allowance if allowance > 0 else np.full(risen.shape, math.nan)


def _row(size: float, found: Quality) -> tuple[float, float, float]:
    """A row of the curve."""
    if found.detection is None:
        return size, math.nan, math.nan
    return size, found.detection.value, found.detected / found.events


def sentence(answer: Answer) -> str:
    """Return the answer in plain words."""
    asked, false = answer.question, answer.healthy.false_pages
    fault = f"A failure of {_percent(asked.size)} for {format_duration(asked.length)}"
    quiet = "" if false is None else f"; expect {_amount(false)} false pages a month"
    up = answer.healthy_up
    always = f"; a page is up {_percent(up)} of the time without any fault" if up > NOTABLY_UP else ""
    return f"{fault} {_told(answer)}{quiet}{always}. (Simulated: {asked.months} months.)"


def _told(answer: Answer) -> str:
    """How the fault is told: when, how often not, and where no page is asked or one was up already."""
    events, months, share = answer.events, answer.question.months, answer.spent_at_detection
    small = f"spends under {_percent(answer.rules.significant)} of the budget"
    if answer.detection is None:
        return f"{small}, so no page is asked of it"
    missed = f"{answer.missed} of {events} are missed" if answer.missed else ""
    before = f"in {answer.up_before} of {events} months a page was up before it" if answer.up_before else ""
    if math.isinf(answer.detection.value):
        seen, missed = events - answer.missed, ""
        told = f"is paged in {seen} of {events} months only" if seen else "is never paged"
    elif answer.detection.value == 0:
        told, before = f"comes while a page is up already in {answer.up_before} of {events} months", ""
    else:
        spent = "" if share is None else f", having spent {_percent(share.value)} of the month's budget"
        told = f"is paged after {_lasting(answer.detection.value)}{spent}"
    rest = f"in {months - events} of {months} months it {small}, and no page is asked" if events < months else ""
    return "; ".join(filter(None, (told, missed, before, rest)))


def _percent(share: float) -> str:
    text = f"{share * 100:.2g}" if share < 0.0995 else f"{share * 100:.0f}"
    return f"{text}%"


def _lasting(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _amount(estimate: Estimate) -> str:
    high = "" if estimate.high is None else f" (at most {estimate.high:.2g})"
    return f"{estimate.value:.2g}{high}"


def _series(sums: RunningSums, evaluations: Evaluations) -> BucketSeries:
    """Return the month's events of each step, from its sums; what was not observed has none."""
    return BucketSeries(evaluations.instants_ms, np.diff(sums.bad), np.diff(sums.total))


def _any(firing: Bools) -> Bools:
    """Whether any of the alerts (alerts, n) fires."""
    return np.asarray(firing.any(axis=0))
