"""Many months of a scenario through many policies: what each would have told, and what it would have missed.

Each month is drawn once and replayed through every policy, so that policies are compared on the same faults and the
same chance (common random numbers). What pages is any alert of a paging severity; ``page`` is that union, and every
alert is judged by itself too.

>>> from node0lib.alerts.policies import named_policies
>>> from node0lib.simulate.scenario import Floor, Scenario, Traffic, plan
>>> quiet = plan(Scenario(Traffic(600.0), Floor(0.0)))
>>> found = evaluate(quiet, {"workbook": named_policies(0.999)["workbook"]}, months=range(2), seed=1)
>>> found["workbook"]["page"].pages, found["workbook"]["page"].months
(0, 2.0)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import numpy as np

from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.quality import Event, Quality, QualityRules, judge, pooled
from node0lib.alerts.replay import BucketSeries, Evaluations, in_order, replay_buckets
from node0lib.alerts.timeline import budget_spent
from node0lib.ports import Progress
from node0lib.simulate.scenario import Month, Plan, draw, labels
from node0lib.slo.catalogue import Severity

PAGING: tuple[Severity, ...] = ("critical", "warning")
PAGE = "page"


def silent(_: str, __: int, ___: int) -> None:
    """Progress that nobody watches."""


def evaluate(
    expected: Plan,
    policies: Mapping[str, AlertPolicy],
    *,
    months: Iterable[int],
    seed: int,
    rules: QualityRules = QualityRules(),  # noqa: B008 - frozen
    paging: Sequence[Severity] = PAGING,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, dict[str, Quality]]:
    """Return for each policy the quality of its pages ("page") and of each alert, over all months together."""
    numbers = list(months)

    def one(month: int) -> dict[str, dict[str, Quality]]:
        return judged(expected, draw(expected, seed=seed, month=month), policies, rules, paging)

    gathered: dict[str, dict[str, list[Quality]]] = {}
    for done, found in enumerate(in_order(one, numbers, workers), start=1):
        for policy, qualities in found.items():
            for name, quality in qualities.items():
                gathered.setdefault(policy, {}).setdefault(name, []).append(quality)
        progress("simulated months", done, len(numbers))
    return {policy: {name: pooled(many) for name, many in found.items()} for policy, found in gathered.items()}


def judged(
    expected: Plan,
    month: Month,
    policies: Mapping[str, AlertPolicy],
    rules: QualityRules,
    paging: Sequence[Severity] = PAGING,
) -> dict[str, dict[str, Quality]]:
    """Return the quality of every policy on one month."""
    series, evaluations = series_of(expected, month), evaluations_of(expected)
    step = evaluations.step_ms
    found: dict[str, dict[str, Quality]] = {}
    spendings: dict[tuple[float, timedelta], np.ndarray] = {}
    for name, policy in policies.items():
        firing = replay_buckets(policy, series, evaluations)
        if (promised := (policy.objective, policy.period)) not in spendings:
            spendings[promised] = budget_spent(policy, [series], series.ends_ms)
        spent = spendings[promised]
        events = events_of(expected, spent)
        pages = np.array([alert.severity in paging for alert in policy.alerts])
        found[name] = {PAGE: judge(firing[pages].any(axis=0), events, rules, step, spent)}
        for alert, row in zip(policy.alerts, firing, strict=True):
            if alert.name != PAGE:  # an alert of that name is heard in the union only
                found[name][alert.name] = judge(row, events, rules, step, spent)
    return found


def series_of(expected: Plan, month: Month) -> BucketSeries:
    """Return a month as buckets that end one step after another from the scenario's start."""
    return BucketSeries(evaluations_of(expected).instants_ms, month.bad, month.total)


def evaluations_of(expected: Plan) -> Evaluations:
    """Return one evaluation at the end of each step."""
    scenario = expected.scenario
    step = round(scenario.step.total_seconds() * 1000)
    return Evaluations(round(scenario.start.timestamp() * 1000) + step, step, scenario.steps)


def events_of(expected: Plan, spent: np.ndarray) -> list[Event]:
    """Return the scenario's faults as labelled incidents; ``spent`` is the budget spent up to each evaluation."""
    found = []
    for first, end in labels(expected.scenario):
        before = float(spent[first - 1]) if first else 0.0
        share = float(spent[end - 1]) - before
        found.append(Event(first, end, max(0.0, share) if np.isfinite(share) else 0.0))
    return found
