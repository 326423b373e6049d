"""``node0 canary export``: a change class as manifests of Argo Rollouts, for a cluster where Argo moves the traffic.

The JSON document:

========= ============================================================================================================
judge     sequential, threshold or node0
classes   a list: ``class rollout notes weights max_weight`` and ``manifests``, those of one Rollout
yaml      all of them as they are written; ``out`` the file, null for stdout
========= ============================================================================================================

>>> export.name
'export'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from node0lib.canary.argo import ROUTERS, Exported, Wish, compares, exported, horizon
from node0lib.canary.argo_analysis import JUDGES, Judging
from node0lib.canary.argo_notes import notes
from node0lib.canary.plan import Traffic
from node0lib.errors import ConfigError
from node0lib.shell.argo_file import written
from node0lib.shell.argo_margins import METRICS, margins
from node0lib.shell.cli.canary_plan import _share
from node0lib.shell.cli.frame import config_option, echo_json, output_option
from node0lib.shell.config import load
from node0lib.shell.files import write_atomic
from node0lib.slo.catalogue import Catalogue, ChangeClass, ChangeRule
from node0lib.timespan import parse_duration

_MINUTE = timedelta(minutes=1)
_SCRAPES = 4
"""So many scrapes in a step, so that little of it is extrapolated."""


@dataclass(frozen=True)
class _One:
    """The export of one class."""

    kind: ChangeClass
    wish: Wish
    found: Exported
    notes: tuple[str, ...]


@click.command()
@click.option("--to", "dialect", type=click.Choice(["argo"]), required=True, help="The format to write.")
@click.option("--class", "kind", type=click.Choice([*(c.value for c in ChangeClass), "all"]), default="M",
              show_default=True, help="The class of the change; all writes a Rollout for each.")  # fmt: skip
@click.option("--deployment", required=True, help="The Deployment whose pods are rolled out (spec.workloadRef).")
@click.option("--name", help="The Rollout's name [default: the Deployment's]; with --class all -l, -m, -h follow.")
@click.option("--namespace", default="", help="The namespace of everything.")
@click.option("--replicas", type=int, help="How many pods; left out, an autoscaler decides.")
@click.option("--traffic-router", "router", type=click.Choice(ROUTERS), default="none", show_default=True,
              help="What splits the traffic; none: counts of pods.")  # fmt: skip
@click.option("--route", default="", help="The Ingress, VirtualService or HTTPRoute of the router.")
@click.option("--canary-service", "--service", "canary_service", default="", help="The Service of the canary's pods.")
@click.option("--stable-service", default="", help="The Service of the stable pods.")
@click.option("--prometheus", "address", required=True, metavar="URL", help="Where Argo asks Prometheus.")
@click.option("--arm-label", "label", default="rollouts_pod_template_hash", show_default=True,
              help="The label of the series that tells the arms apart.")  # fmt: skip
@click.option("--scrape", default="15s", show_default=True, help="Prometheus's scrape interval.")
@click.option("--errors", "error_rate", metavar="SLO", help="The ratio SLO to measure errors by.")
@click.option("--p95", "latency_p95", metavar="SLO", help="The SLO to measure the p95 by.")
@click.option("--p99", "latency_p99", metavar="SLO", help="The SLO to measure the p99 by.")
@click.option("--latency-sigma", "sigma", type=float, default=0.5, show_default=True,
              help="The latency's shape, as in canary plan.")  # fmt: skip
@click.option("--judge", type=click.Choice(JUDGES), default="sequential", show_default=True,
              help="How Argo judges; see above.")  # fmt: skip
@click.option("--image", default="", help="With --judge node0: an image with node0 in it.")
@click.option("--collect", default="", metavar="COMMAND",
              help="With --judge node0: what prints the input of canary judge in that image.")  # fmt: skip
@click.option("--traffic", type=float, metavar="PER_SECOND", help="Requests per second, for figures in the notes.")
@click.option("--error-rate", "rate", callback=lambda c, p, v: None if v is None else _share(c, p, v),
              help="The share of errors, 1% or 0.01, for figures in the notes.")  # fmt: skip
@click.option("--out", default="-", show_default=True, metavar="FILE", help="Where the YAML goes; - is stdout.")
@click.option("--force", is_flag=True, help="Let --out replace a file that is there.")
@config_option
@output_option
def export(kind: str, out: str, force: bool, config: Path, output: str, **given: Any) -> None:
    """Write a change class as an Argo Rollout and its AnalysisTemplates.

    Argo then moves the traffic: a weight for each stage, a background
    analysis that rolls back, a decision at each stage's end, a watch at 100%
    (and for a class without stages). An approval is a pause before the first
    weight. The margins become PromQL made of the catalogue's own SLOs, with
    --arm-label in every selector.

    \b
    sequential  an e-value in PromQL: bounds false rollbacks by alpha however
                often Argo looks; undecided, Argo pauses for a person
    threshold   canary > margin x stable over 5m; for comparison: its notes
                say how many harmless canaries it stops
    node0       a Job each minute: node0 canary judge in --image, on what
                --collect prints ($PROMETHEUS_URL, $STABLE_HASH, $CANARY_HASH)

    Weights are integers: a stage of 0.5% needs maxTrafficWeight, which Argo
    has for nginx and for plugins (gateway) only. What was changed, and what
    Argo cannot do, is told on stderr and in the comments of the YAML.

    \b
    Exit codes:
      0  written
      1  the file could not be written
      2  the command line or the configuration is wrong, or Argo would refuse
         the manifests; nothing was written
    """
    _consistent(given, out, force)
    catalogue = load(config).catalogue
    found = list(_classes(catalogue, kind, given))
    text = "".join(written(one.found.manifests, [_head(one), *one.notes]) for one in found)
    if out != "-":
        write_atomic(Path(out), text.encode("utf-8"))
    if output == "json":
        document = {"judge": given["judge"], "classes": [_told(one) for one in found], "yaml": text}
        echo_json({**document, "out": None if out == "-" else out})
        return
    for one in found:
        for note in one.notes:
            click.echo(f"{one.wish.name}: {note}", err=True)
    click.echo(f"written: {out}" if out != "-" else text, err=out != "-", nl=out != "-")


def _consistent(given: dict[str, Any], out: str, force: bool) -> None:
    """Raise ConfigError for options that cannot be meant together."""
    router, route, judge = given["router"], given["route"], given["judge"]
    wrong = []
    if router != "none" and not route:
        wrong.append(f"--traffic-router {router} needs --route: the name of what splits the traffic")
    if router == "none" and (route or given["canary_service"] or given["stable_service"]):
        wrong.append("--route and the services belong to --traffic-router; name it, or leave them out")
    if judge == "node0" and not (given["image"] and given["collect"]):
        wrong.append("--judge node0 needs --image and --collect: node0 itself collects nothing in a cluster")
    if judge != "node0" and (given["image"] or given["collect"]):
        wrong.append("--image and --collect are for --judge node0")
    if (given["traffic"] is None) != (given["rate"] is None):
        wrong.append("--traffic and --error-rate go together; give both, or neither")
    if out != "-" and Path(out).exists() and not force:
        wrong.append(f"{out}: is there already; name another file, or replace it with --force")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _classes(catalogue: Catalogue, kind: str, given: dict[str, Any]) -> Iterator[_One]:
    traffic = None if given["traffic"] is None else Traffic(given["traffic"], given["rate"], given["sigma"])
    questions, left = margins(catalogue, {m: given[m] for m in METRICS if given[m]}, sigma=given["sigma"])
    for one in ChangeClass if kind == "all" else [ChangeClass(kind)]:
        rule = catalogue.classes[one]
        name = (given["name"] or given["deployment"]) + (f"-{one.value.lower()}" if kind == "all" else "")
        wish = _wish(given, name)
        judging = _judging(catalogue, rule, questions, given)
        found = exported(rule, wish, judging)
        told = notes(rule, wish, found.weights, judging, catalogue.canary, traffic)
        alone = ("one of three: apply one Rollout for the Deployment, not all",) if kind == "all" else ()
        yield _One(one, wish, found, (*alone, *told, *(left if compares(rule) else ())))


def _wish(given: dict[str, Any], name: str) -> Wish:
    keys = ("deployment", "namespace", "replicas", "canary_service", "stable_service", "router", "route", "judge")
    return Wish(name=name, **{key: given[key] for key in keys})


def _judging(catalogue: Catalogue, rule: ChangeRule, questions: Any, given: dict[str, Any]) -> Judging:
    extend, scrape = rule.on_inconclusive == "extend", _scrape(given["scrape"])
    judging = Judging(
        questions,
        given["address"],
        given["label"],
        rule.stage_duration,
        horizon(rule),
        catalogue.canary.alpha,
        catalogue.canary.beta,
        catalogue.canary.minimum_requests,
        bound=rule.harm_cap if extend else None,
        again=extend,
        step=max(_MINUTE, _SCRAPES * scrape),
        scrape=scrape,
        telemetry=catalogue.rollback.telemetry_lost,
        design_effect=catalogue.canary.design_effect,
    )
    return replace(judging, image=given["image"], collect=given["collect"])


def _scrape(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except (ConfigError, OverflowError):
        raise ConfigError(f"--scrape: {text!r} is not a duration; write for example 15s") from None


def _head(one: _One) -> str:
    return f"Change class {one.kind.value} of node0 for Argo Rollouts, by judge {one.wish.judge}."


def _told(one: _One) -> dict[str, Any]:
    return {
        "class": one.kind.value,
        "rollout": one.wish.name,
        "weights": list(one.found.weights.steps),
        "max_weight": one.found.weights.most,
        "notes": list(one.notes),
        "manifests": list(one.found.manifests),
    }
