"""Margins as metrics of an Argo Rollouts AnalysisTemplate, in PromQL that each measurement can be judged by alone.

Argo looks at one measurement at a time and has no memory, so the memory is put into the query. ``sequential`` asks
Prometheus for an e-value: for each step (1m) and each of four ratios r beyond the null r0 the log likelihood ratio of
the canary's share of the bad events, summed over the rollout, then averaged over the four. If the canary is not worse
than r0, the e-value ever reaches 1/alpha with probability alpha at most, however often Argo looks (Ville's inequality):

    e = avg over r of exp(f * sum over steps of [bad_c ln(r/r0) - (bad_c + bad_s) ln((n_s + r n_c) / (n_s + r0 n_c))])

f = (1 - scrape interval / step) / design effect: ``increase`` extrapolates what it saw to the whole step, and what it
did not see is no evidence; nor is what comes in bursts. The ratios are a coarse grid of the mixture that ``sequential``
has; it is a little slower.

================ ====================================================================================================
background       fails when a ratio above the margin is shown (alpha over the metrics), errs when telemetry is lost
decision         at a stage's end: succeeds when the ratio is shown below the bound, else inconclusive, and Argo pauses
watch            at 100%, where no control is left: fails on what is surely (3 sigma) above an absolute limit
================ ====================================================================================================

``threshold`` is the naive rule (canary > margin x stable over five minutes); ``node0`` runs a Job with node0 in it.

Source: Argo Rollouts, ``docs/features/analysis.md`` and ``utils/evaluate`` (a failure condition that is not met is a
success where it is alone, and inconclusive beside a success condition); ``sequential`` for the statistics.

>>> of_arm('sum(increase(asked{code="500"}[1m]))', "hash", "canary")
'sum(increase(asked{code="500",hash="{{args.canary-hash}}"}[1m]))'
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import promql_parser

from node0lib.errors import ConfigError
from node0lib.slo.promql import flaw, with_matcher
from node0lib.timespan import format_duration

JudgeName = Literal["sequential", "threshold", "node0"]
JUDGES: tuple[JudgeName, ...] = ("sequential", "threshold", "node0")
Arm = Literal["canary", "stable"]
Metric = Mapping[str, Any]
STEPS = (0.2, 0.6, 1.2, 2.4)
"""How far the four ratios lie beyond the null, in the log."""
NAIVE_WINDOW = timedelta(minutes=5)
ERRORS_ALLOWED = 4
"""So many measurements in a row may err (no data, no answer) before the run does; Argo's own default."""
GO_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_MINUTE = timedelta(minutes=1)
_SIGMAS = 3.0
_ARGS = [{"name": "stable-hash"}, {"name": "canary-hash"}]


@dataclass(frozen=True)
class Question:
    """A margin as it is measured: the largest harmless ratio of the bad events' shares, and a limit without a control.

    ``bad`` and ``total`` are PromQL of one series at most, with ``$window`` for the range; ``says`` names the event.
    """

    metric: str
    ratio: float
    bad: str
    total: str
    limit: float
    says: str


@dataclass(frozen=True)
class Judging:
    """What the templates are made of; ``reach`` is how far back the evidence goes, ``length`` a stage.

    ``bound`` is the ratio that a decision must show the canary to be under (None: each question's own margin), and
    ``again`` whether it is asked every minute for another stage's length.
    """

    questions: tuple[Question, ...]
    address: str
    label: str
    length: timedelta
    reach: timedelta
    alpha: float
    beta: float
    minimum_requests: int
    bound: float | None = None
    again: bool = False
    step: timedelta = _MINUTE
    scrape: timedelta = timedelta(seconds=15)
    telemetry: bool = True
    design_effect: float = 1.0
    image: str = ""
    collect: str = ""


def of_arm(query: str, label: str, arm: Arm) -> str:
    """Return the query with a matcher for the arm's pods in every selector.

    Raises ConfigError if a selector would be left without one: it would count both arms.
    """
    matcher = f'{label}="{{{{args.{arm}-hash}}}}"'
    changed = with_matcher(query, matcher)
    if not _everywhere(changed, label, f"{{{{args.{arm}-hash}}}}"):
        text = f"not every selector can be given the label {label}; write a sum of increase(x[$window])"
        raise ConfigError(f"{query}: {text}")
    return changed


def _everywhere(query: str, label: str, value: str) -> bool:
    if flaw(query):
        return False
    found: list[list[str]] = []

    def visit(node: promql_parser.Expr) -> bool:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.append([m.value for m in selector.matchers.matchers if m.name == label])
        return True

    promql_parser.walk(promql_parser.parse(query.replace("$window", "5m")), visit)
    return bool(found) and all(values == [value] for values in found)


def background(judge: JudgeName, given: Judging) -> tuple[Metric, ...]:
    """Return the metrics that are measured as long as the rollout lasts, each failing by itself."""
    if judge == "node0":
        return (_job(given),)
    make = _worse if judge == "sequential" else _naive
    metrics = tuple(make(given, question) for question in given.questions)
    return (*metrics, _telemetry(given)) if given.telemetry else metrics


def decision(given: Judging) -> tuple[Metric, ...]:
    """Return the metrics that say at a stage's end whether it may go on; inconclusive pauses the rollout."""
    return (*(_harmless(given, question) for question in given.questions), _enough(given))


def watch(given: Judging) -> tuple[Metric, ...]:
    """Return the metrics of the stage that has no control: absolute limits, every minute for the stage's length."""
    metrics = [_limit(given, question) for question in given.questions]
    lost = [{**_telemetry(given), "initialDelay": "1m", "count": _minutes(given.length)}] if given.telemetry else []
    return (*metrics, *lost)


def template(name: str, namespace: str, metrics: Sequence[Metric]) -> dict[str, Any]:
    """Return an AnalysisTemplate."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    spec = {"args": [dict(arg) for arg in _ARGS], "metrics": [dict(metric) for metric in metrics]}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": metadata, "spec": spec}


def evidence(given: Judging, question: Question, *, null: float, above: bool) -> str:
    """Return PromQL for the e-value against "the ratio is at most ``null``" (``above``), or "at least" it."""
    step = format_duration(given.step)
    beyond = [null * math.exp(s if above else -s) for s in STEPS]
    bad, total = _arms(given, question, step)
    factor = (1 - given.scrape / given.step) / given.design_effect
    gains = _grid([math.log(r / null) for r in beyond])
    return (
        f"# e-value against a ratio {'above' if above else 'below'} {null:.6g}; evidence: {question.says}\n"
        f"avg(exp({factor:.6g} * sum_over_time((\n"
        f"  {gains} * on () group_left ()\n"
        f"    clamp_min({bad['canary']}, 0)\n"
        "  - ln(\n"
        f"    ({_grid(beyond)} * on () group_left ()\n"
        f"      {total['canary']}\n"
        f"      + on () group_left () {total['stable']})\n"
        "    / on () group_left ()\n"
        f"    (({null:.6g} * {total['canary']}\n"
        f"      + {total['stable']}) > 0)\n"
        "  ) * on () group_left () (\n"
        f"    clamp_min({bad['canary']}, 0)\n"
        f"    + clamp_min({bad['stable']}, 0))\n"
        f")[{format_duration(given.reach)}:{step}])))\n"
    )


def _grid(values: Sequence[float]) -> str:
    """Numbers as one series each, told apart by the label ``r``."""
    series = (f'label_replace(vector({v:.6g}), "r", "{n}", "", "")' for n, v in enumerate(values))
    return f"({' or '.join(series)})"


def _arms(given: Judging, question: Question, window: str) -> tuple[dict[Arm, str], dict[Arm, str]]:
    arms: tuple[Arm, ...] = ("canary", "stable")
    bad, total = ({a: f"({of_arm(q, given.label, a)})" for a in arms} for q in (question.bad, question.total))
    for found in (bad, total):
        found.update({arm: _line(text).replace("$window", window) for arm, text in found.items()})
    return bad, total


def _line(text: str) -> str:
    """The text in one line, unless a comment would then hide what follows it."""
    return text if "#" in text else " ".join(text.split())


def _asked(given: Judging, query: str) -> dict[str, Any]:
    return {"prometheus": {"address": given.address, "query": query}}


def _every_minute(name: str) -> dict[str, Any]:
    return {"name": name, "interval": "1m", "initialDelay": "2m", "consecutiveErrorLimit": ERRORS_ALLOWED}


def _worse(given: Judging, question: Question) -> Metric:
    alpha = given.alpha / len(given.questions)
    return {
        **_every_minute(question.metric.replace("_", "-")),
        "failureCondition": f"result[0] >= {1 / alpha:.6g}",
        "failureLimit": 0,
        "provider": _asked(given, evidence(given, question, null=question.ratio, above=True)),
    }


def _naive(given: Judging, question: Question) -> Metric:
    window = min(NAIVE_WINDOW, given.length)
    bad, total = _arms(given, question, format_duration(window))
    query = f"({bad['canary']} / {total['canary']})\n/\n({bad['stable']} / {total['stable']})\n"
    return {
        **_every_minute(question.metric.replace("_", "-")),
        "interval": go_duration(window),
        "initialDelay": go_duration(window),
        "failureCondition": f"result[0] > {question.ratio:.6g}",
        "failureLimit": 0,
        "provider": _asked(given, query),
    }


def _harmless(given: Judging, question: Question) -> Metric:
    bound = max(given.bound or 0.0, question.ratio)
    often = _minutes(given.length)
    # A failed query counts as a measurement: with a few to spare the limit of inconclusive ones is met first.
    again = {"interval": "1m", "count": often + ERRORS_ALLOWED + 1, "consecutiveSuccessLimit": 1}
    return {
        "name": question.metric.replace("_", "-"),
        **(again if given.again else {"count": 1}),
        "successCondition": f"result[0] >= {1 / given.beta:.6g}",
        "failureCondition": "result[0] < 0",
        "failureLimit": 0,
        "inconclusiveLimit": often - 1 if given.again else 0,
        "provider": _asked(given, evidence(given, question, null=bound, above=False)),
    }


def _enough(given: Judging) -> Metric:
    """At least the minimum of canary requests, else inconclusive."""
    _, total = _arms(given, given.questions[0], format_duration(given.reach))
    return {
        "name": "requests",
        "count": 1,
        "successCondition": f"result[0] >= {given.minimum_requests}",
        "failureCondition": "result[0] < 0",
        "failureLimit": 0,
        "inconclusiveLimit": 0,
        "provider": _asked(given, f"{total['canary']}\n"),
    }


def _telemetry(given: Judging) -> Metric:
    """The canary's requests are counted: without any the answer is empty, which is an error and no failure."""
    _, total = _arms(given, given.questions[0], "2m")
    return {
        **_every_minute("telemetry"),
        "initialDelay": "3m",
        "successCondition": "result[0] > 0",
        "failureLimit": 0,
        "provider": _asked(given, f"{total['canary']} > 0\n"),
    }


def _limit(given: Judging, question: Question) -> Metric:
    """What is surely bad, three sigma of a Poisson count, as a share of all; against the limit."""
    bad, total = _arms(given, question, format_duration(min(NAIVE_WINDOW, given.length)))
    count = f"clamp_min({bad['canary']}, 0)"
    query = f"({count}\n  - {_SIGMAS:g} * sqrt({count}))\n/\n({total['canary']} > 0)\n"
    return {
        **_every_minute(question.metric.replace("_", "-")),
        "initialDelay": "1m",
        "count": _minutes(given.length),
        "failureCondition": f"result[0] > {question.limit:.6g}",
        "failureLimit": 0,
        "provider": _asked(given, query),
    }


def _job(given: Judging) -> Metric:
    """``node0 canary judge`` in a Job: 0 pass and 3 inconclusive are no failure, anything else is."""
    script = f"({given.collect}) | node0 canary judge --input -; code=$?; [ $code -eq 0 ] || [ $code -eq 3 ]"
    values = {
        "PROMETHEUS_URL": given.address,
        "STABLE_HASH": "{{args.stable-hash}}",
        "CANARY_HASH": "{{args.canary-hash}}",
    }
    container = {
        "name": "judge",
        "image": given.image,
        "command": ["sh", "-c", script],
        "env": [{"name": name, "value": value} for name, value in values.items()],
    }
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        **_every_minute("node0-judge"),
        "failureLimit": 0,
        "provider": {"job": {"spec": {"backoffLimit": 0, "template": pod}}},
    }


def _minutes(length: timedelta) -> int:
    return max(1, math.ceil(length / _MINUTE))


def go_duration(length: timedelta) -> str:
    """Return a duration as Go reads it, which knows no days.

    >>> go_duration(timedelta(days=1, minutes=5)), go_duration(timedelta(seconds=90))
    ('24h5m', '1m30s')
    """
    seconds = round(length.total_seconds())
    parts = (seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
