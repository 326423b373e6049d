"""What an export to Argo Rollouts changes, and what Argo cannot do: for stderr and for the comments of the manifests.

With the traffic and the error rate the notes have figures: what the naive rule would stop of harmless canaries, and
what the sequential judge can tell in the configured time.

>>> from node0lib.slo.catalogue import CanaryRules, Catalogue, ChangeClass
>>> medium = Catalogue(()).classes[ChangeClass.M]
>>> print(naive_figure(medium, CanaryRules(), Traffic(100, 0.01, 0.5)))
judge threshold stops 98% of harmless canaries at 100 requests/s and 1% errors by the error rate alone (9 measurements \
of 5m each, each by itself)
>>> [round(100 * false_alarm(0.01, 0.05, 3000, 57000, looks=looks)) for looks in (1, 10)]
[39, 99]
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import bdtrc, gammaln

from node0lib.canary.argo import Weights, Wish, compares
from node0lib.canary.argo_analysis import NAIVE_WINDOW, Judging
from node0lib.canary.plan import Traffic, plan
from node0lib.slo.catalogue import CanaryRules, ChangeRule
from node0lib.timespan import format_duration


def notes(
    rule: ChangeRule, wish: Wish, found: Weights, judging: Judging, rules: CanaryRules, traffic: Traffic | None
) -> tuple[str, ...]:
    """Return the notes, the weights first; ``traffic`` None leaves the figures out."""
    told = [*_weights(rule, wish, found), *_arms(judging)]
    if compares(rule):
        told += _judge(rule, wish, judging)
        told += _figures(rule, wish, rules, traffic)
    else:
        told.append(
            f"no stages: all traffic moves at once and is watched for {format_duration(rule.stage_duration)} with "
            "absolute limits; without a traffic router the old pods are gone by then, and a rollback starts them again"
        )
    if rule.approval:
        told.append(
            "approval: the first step waits for kubectl argo rollouts promote, by whoever may; that signs nothing and "
            "names no digest, as node0's approval does"
        )
    return (*told, *_argo(wish))


def _argo(wish: Wish) -> Iterator[str]:
    yield (
        f"workloadRef: with scaleDown onsuccess the own pods of the Deployment {wish.deployment} run, and get traffic "
        "of a Service that selects them, until the first rollout is healthy"
    )
    yield (
        "what Argo does not do: check that the canary gets its share, ask the ihsan score and the error budget, "
        "confirm within a time that no traffic is left, seal evidence"
    )


def _weights(rule: ChangeRule, wish: Wish, found: Weights) -> Iterator[str]:
    if found.most != 100:
        shares = ", ".join(f"{share * 100:g}% = {w}" for share, w in zip(rule.stages, found.steps, strict=True))
        yield f"maxTrafficWeight {found.most}, for a share that is no whole percentage: setWeight {shares}"
    if wish.router == "none" and compares(rule):
        yield "no traffic router: Argo approximates weights by counts of pods; name one with --traffic-router"
        yield from _pods(rule, wish)
    if wish.replicas is None:
        yield "no --replicas: spec.replicas is left out, and Argo then runs one pod unless an autoscaler says otherwise"


def _pods(rule: ChangeRule, wish: Wish) -> Iterator[str]:
    """What the shares become where one pod is the least there is."""
    if wish.replicas is None:
        return
    became = [(s, max(1, round(s * wish.replicas)) / wish.replicas) for s in rule.stages if s < 1]
    told = ", ".join(f"{s * 100:g}% becomes about {real * 100:.3g}%" for s, real in became if abs(real - s) > 0.001)
    if told:
        yield f"with {wish.replicas} pod{'s' if wish.replicas != 1 else ''}, {told}"


def _arms(judging: Judging) -> Iterator[str]:
    yield (
        f"arms are told apart by the label {judging.label}: every series must carry it; relabel the pods' label "
        "rollouts-pod-template-hash to it"
    )
    for question in judging.questions:
        yield f"{question.metric}: {question.says}; harmless up to {question.ratio:.3g} times the stable's share"


def _judge(rule: ChangeRule, wish: Wish, judging: Judging) -> Iterator[str]:
    if wish.judge == "node0":
        yield (
            f"judge node0: a Job each minute, in {judging.image}; a Job ends well or badly and cannot say "
            "inconclusive, so every stage ends in a pause for a person (kubectl argo rollouts promote)"
        )
    elif wish.judge == "threshold":
        yield (
            "judge threshold: Argo compares each measurement by itself, with no notion of noise, and never says that "
            f"it does not know: on_inconclusive {rule.on_inconclusive} has no effect. For comparison only"
        )
    else:
        yield (
            f"judge sequential: an e-value in PromQL. At most {judging.alpha:.2g} of harmless canaries are rolled "
            f"back, however often Argo looks, {_independent(judging)}; it forgets what is older than "
            f"{format_duration(judging.reach)}, so let no pause last that long"
        )
        yield _on_inconclusive(rule, judging)


def _independent(judging: Judging) -> str:
    if judging.design_effect == 1:
        return "if failures are independent"
    return f"if failures vary {judging.design_effect:g} times as much as independent ones"


def _on_inconclusive(rule: ChangeRule, judging: Judging) -> str:
    resume = "go on with kubectl argo rollouts promote --skip-current-step, or abort"
    if rule.on_inconclusive == "ask":
        return f"on_inconclusive ask: Argo pauses after a stage that did not show each ratio under its margin; {resume}"
    return (
        f"on_inconclusive extend: for up to {format_duration(rule.stage_duration)} more, and Argo goes on as soon as "
        f"no harm above {judging.bound:g} times is left, where node0 uses the whole extension; then it pauses: "
        f"{resume}. consecutiveSuccessLimit needs Argo Rollouts 1.8"
    )


def _figures(rule: ChangeRule, wish: Wish, rules: CanaryRules, traffic: Traffic | None) -> Iterator[str]:
    if traffic is None:
        yield "no --traffic and --error-rate: how often the rule errs, and what it can tell in time, is not said here"
    elif wish.judge == "threshold":
        yield naive_figure(rule, rules, traffic)
    else:
        yield sequential_figure(rule, rules, traffic)


def naive_figure(rule: ChangeRule, rules: CanaryRules, traffic: Traffic) -> str:
    """Return in words how many harmless canaries the naive rule stops by the error rate, over all its measurements."""
    window = min(NAIVE_WINDOW, rule.stage_duration)
    each, kept, looks = traffic.per_second * window.total_seconds(), 1.0, 0
    for share in (stage for stage in rule.stages if stage < 1):
        often = max(1, int(rule.stage_duration / window))
        arms = each * share, each * (1 - share)
        kept *= 1 - false_alarm(traffic.error_rate, rules.error_rate, *arms, looks=often)
        looks += often
    return (
        f"judge threshold stops {1 - kept:.0%} of harmless canaries {_at(traffic)} by the error rate alone "
        f"({looks} measurements of {format_duration(window)} each, each by itself)"
    )


def sequential_figure(rule: ChangeRule, rules: CanaryRules, traffic: Traffic) -> str:
    """Return in words what node0's sequential judge can tell of the error rate by each stage's end."""
    told = []
    for stage in plan(rule, rules, traffic).stages:
        need = stage.needs[0]
        found = "nothing" if need.caught is None else f"{need.caught:.1f} times the errors"
        passed = "no margin" if need.reachable is None else f"+{need.reachable * 100:g}%"
        told.append(f"at {stage.share * 100:g}% {found} is found and an equal canary passes {passed}")
    return (
        f"{_at(traffic)}, by each stage's end: {'; '.join(told)} (the configured margin is "
        f"+{rules.error_rate * 100:g}%; node0's own judge, of which the query is a coarser form; node0 canary plan "
        "tells more)"
    )


def _at(traffic: Traffic) -> str:
    return f"at {traffic.per_second:g} requests/s and {traffic.error_rate * 100:g}% errors"


def false_alarm(rate: float, margin: float, canary: float, control: float, *, looks: int) -> float:
    """Return how often the naive rule stops an equal canary, over independent looks of so many requests each.

    Exact for Poisson counts: of t bad events the canary's are binomial. ``rate`` is the share of bad ones, in (0, 1).
    """
    mean, odds = rate * (canary + control), canary / control
    spread = 8 * math.sqrt(mean) + 10
    seen = np.arange(max(0, math.floor(mean - spread)), math.ceil(mean + spread) + 1)
    beyond = np.floor((1 + margin) * odds / (1 + (1 + margin) * odds) * seen + 1e-9)
    chances = np.exp(seen * math.log(mean) - mean - gammaln(seen + 1.0))
    once = float((chances * bdtrc(beyond, seen, odds / (1 + odds))).sum())
    return 1.0 - (1.0 - once) ** looks
