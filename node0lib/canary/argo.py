"""A change class as Argo Rollouts manifests: one Rollout and its AnalysisTemplates. ``argo_notes`` says what differs.

Rules
- ``spec.workloadRef`` names the Deployment whose pods are rolled out: no pod template is invented.
- Weights are integers. Where a share is no whole percentage, ``maxTrafficWeight`` (1000, ...) makes it one; Argo has
  that for nginx and for traffic router plugins only. Without a router Argo approximates weights by counts of pods.
- A class with stages: the background analysis watches all the time; at each stage's end a decision goes on or, if it
  is inconclusive, Argo pauses. The last stage, and a class without stages, have no control: a watch with absolute
  limits.
- ``on_inconclusive: ask`` decides once, by the margins. ``extend`` asks every minute for the stage's length again and
  goes on as soon as no harm above ``harm_cap`` is left; else Argo pauses.
- An approval is a pause without end before the first weight.
- What breaks a rule of Argo's own is never written: ``flaws`` is asked of everything.

Source: Argo Rollouts, ``pkg/apis/rollouts/validation/validation.go`` and ``docs/features/{specification,canary}.md``.

>>> weights((0.005, 0.25, 1.0), "nginx")
Weights(steps=(5, 250, 1000), most=1000)
>>> weights((0.005, 1.0), "istio")
Traceback (most recent call last):
...
node0lib.errors.ConfigError: a stage of 0.5% is no whole percentage, and Argo's setWeight is an integer: it needs \
maxTrafficWeight, which Argo has for nginx and for plugins (gateway) only, not for istio; name one with --traffic-router
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any, Literal

from node0lib.canary.argo_analysis import (
    GO_DURATION,
    JudgeName,
    Judging,
    background,
    decision,
    go_duration,
    template,
    watch,
)
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import ChangeRule

Router = Literal["none", "nginx", "istio", "gateway"]
ROUTERS: tuple[Router, ...] = ("none", "nginx", "istio", "gateway")
FINE: tuple[Router, ...] = ("nginx", "gateway")
"""The routers for which Argo has weights finer than one percent."""
GATEWAY = "argoproj-labs/gatewayAPI"
_MOST = (100, 1000, 10_000, 100_000, 1_000_000)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME = 63
_URL = re.compile(r"https?://[^/\s]+")
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Weights:
    """A weight for each stage, and the weight that is the whole traffic."""

    steps: tuple[int, ...]
    most: int = 100


@dataclass(frozen=True)
class Wish:
    """What the cluster calls things. ``route`` is the Ingress, VirtualService or HTTPRoute that splits the traffic."""

    name: str
    deployment: str
    namespace: str = ""
    replicas: int | None = None
    canary_service: str = ""
    stable_service: str = ""
    router: Router = "none"
    route: str = ""
    judge: JudgeName = "sequential"


@dataclass(frozen=True)
class Exported:
    """The manifests, templates first, and the weights of the stages."""

    manifests: tuple[Manifest, ...]
    weights: Weights


def weights(stages: Sequence[float], router: Router) -> Weights:
    """Return the integer weights of stages; raises ConfigError where Argo has none for them."""
    exact = [Fraction(repr(float(stage))) for stage in stages]
    most = next((m for m in _MOST if all((share * m).denominator == 1 for share in exact)), None)
    odd = next((share for share in exact if (share * 100).denominator != 1), Fraction(0))
    if most is None:
        raise ConfigError(f"a stage of {float(odd * 100):g}% is no whole millionth of the traffic; round it")
    if most > 100 and router not in FINE:
        raise ConfigError(
            f"a stage of {float(odd * 100):g}% is no whole percentage, and Argo's setWeight is an integer: it needs "
            f"maxTrafficWeight, which Argo has for nginx and for plugins (gateway) only, not for {router}; "
            "name one with --traffic-router"
        )
    return Weights(tuple(int(share * most) for share in exact), most)


def exported(rule: ChangeRule, wish: Wish, judging: Judging) -> Exported:
    """Return the manifests of a class; raises ConfigError for what Argo would refuse, with every reason."""
    found = weights(rule.stages or (1.0,), wish.router)
    templates = _templates(rule, wish, judging)
    manifests = (*templates.values(), _rollout(rule, wish, found, tuple(templates)))
    wrong = [flaw for manifest in manifests for flaw in flaws(manifest)]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return Exported(manifests, found)


def _templates(rule: ChangeRule, wish: Wish, judging: Judging) -> dict[str, Manifest]:
    found = {}
    if compares(rule):
        found["background"] = background(wish.judge, judging)
        if wish.judge == "sequential":
            found["decision"] = decision(judging)
    found["watch"] = watch(judging)
    return {role: template(f"{wish.name}-{role}", wish.namespace, metrics) for role, metrics in found.items()}


def compares(rule: ChangeRule) -> bool:
    """Return whether any stage leaves a control to compare with."""
    return any(stage < 1 for stage in rule.stages)


def _rollout(rule: ChangeRule, wish: Wish, found: Weights, roles: Sequence[str]) -> Manifest:
    canary: Manifest = {}
    if wish.router != "none":
        canary |= {"canaryService": wish.canary_service, "stableService": wish.stable_service}
        canary["trafficRouting"] = _routing(wish, found)
    if "background" in roles:
        canary["analysis"] = _run(wish, "background") | {"startingStep": 1 if rule.approval else 0}
    canary["steps"] = list(_steps(rule, wish, found))
    spec: Manifest = {} if wish.replicas is None else {"replicas": wish.replicas}
    spec["workloadRef"] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": wish.deployment,
        "scaleDown": "onsuccess",
    }
    spec["strategy"] = {"canary": canary}
    metadata = {"name": wish.name} | ({"namespace": wish.namespace} if wish.namespace else {})
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata, "spec": spec}


def _routing(wish: Wish, found: Weights) -> Manifest:
    routers: Mapping[str, Manifest] = {
        "nginx": {"nginx": {"stableIngress": wish.route}},
        "istio": {"istio": {"virtualService": {"name": wish.route}}},
        "gateway": {"plugins": {GATEWAY: {"httpRoute": wish.route, "namespace": wish.namespace or "default"}}},
    }
    return routers[wish.router] | ({"maxTrafficWeight": found.most} if found.most != 100 else {})


def _steps(rule: ChangeRule, wish: Wish, found: Weights) -> Iterator[Manifest]:
    if rule.approval:
        yield {"pause": {}}
    for weight in found.steps:
        yield {"setWeight": weight}
        if weight == found.most:
            yield {"analysis": _run(wish, "watch")}
            continue
        yield {"pause": {"duration": go_duration(rule.stage_duration)}}
        if wish.judge == "sequential":
            yield {"analysis": _run(wish, "decision")}
        elif wish.judge == "node0":
            yield {"pause": {}}


def _run(wish: Wish, role: str) -> Manifest:
    hashes = {"stable-hash": "Stable", "canary-hash": "Latest"}
    args = [{"name": name, "valueFrom": {"podTemplateHashValue": which}} for name, which in hashes.items()]
    return {"templates": [{"templateName": f"{wish.name}-{role}"}], "args": args}


def flaws(manifest: Manifest) -> Iterator[str]:
    """Yield what Argo would refuse of a manifest that this module makes, each with its place and what to do."""
    name = manifest["metadata"]["name"]
    for what in (name, *filter(None, [manifest["metadata"].get("namespace")])):
        if not _NAME.fullmatch(what) or len(what) > _LONGEST_NAME:
            yield f"{what!r} is no name in Kubernetes; write small letters, digits and -, {_LONGEST_NAME} at most"
    if manifest["kind"] == "Rollout":
        yield from (f"{name}: {text}" for text in _rollout_flaws(manifest["spec"]))
    else:
        yield from (f"{name}: {text}" for text in _metric_flaws(manifest["spec"]["metrics"]))


def _rollout_flaws(spec: Manifest) -> Iterator[str]:
    canary = spec["strategy"]["canary"]
    routing = canary.get("trafficRouting", {})
    services = [canary.get("stableService"), canary.get("canaryService")]
    if not _NAME.fullmatch(spec["workloadRef"]["name"]):
        yield f"{spec['workloadRef']['name']!r} is no name of a Deployment; give --deployment"
    if spec.get("replicas", 1) < 1:
        yield f"{spec['replicas']} replicas run nothing; give --replicas 1 or more"
    if routing and not all(services):
        yield "traffic routing needs a service for each arm; give --canary-service and --stable-service"
    elif routing and services[0] == services[1]:
        yield f"{services[0]} cannot be the service of both arms; give two"
    if "maxTrafficWeight" in routing and not {"nginx", "plugins"} & set(routing):
        yield "maxTrafficWeight is for nginx and plugins only; give --traffic-router nginx or gateway"
    most = routing.get("maxTrafficWeight", 100)
    for n, step in enumerate(canary["steps"]):
        weight, pause = step.get("setWeight"), step.get("pause", {}).get("duration")
        if weight is not None and (type(weight) is not int or not 0 <= weight <= most):
            yield f"steps[{n}]: the weight {weight} is no integer from 0 to {most}"
        if pause is not None and (not GO_DURATION.fullmatch(pause) or pause == "0s"):
            yield f"steps[{n}]: a pause of {pause} is none in whole seconds; lengthen stage_duration"


def _metric_flaws(metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [metric["name"] for metric in metrics]
    if not names:
        yield "has no metrics; Argo wants one at least"
    for n, metric in enumerate(metrics):
        count = metric.get("count", 0)
        if metric["name"] in names[:n]:
            yield f"two metrics are called {metric['name']}"
        if count > 1 and "interval" not in metric:
            yield f"{metric['name']}: several measurements need an interval"
        if count and count < max(metric.get("failureLimit", 0), metric.get("inconclusiveLimit", 0)):
            yield f"{metric['name']}: {count} measurements are fewer than a limit of them"
        address = metric["provider"].get("prometheus", {}).get("address", "http://none")
        if not _URL.match(address):
            yield "the address of Prometheus is no URL; give --prometheus http://prometheus.monitoring:9090"


def horizon(rule: ChangeRule) -> timedelta:
    """Return how far back evidence must reach: all stages, extended ones twice, and a day for people to decide."""
    planned = rule.stage_duration * sum(stage < 1 for stage in rule.stages)
    return planned * (2 if rule.on_inconclusive == "extend" else 1) + timedelta(days=1)
