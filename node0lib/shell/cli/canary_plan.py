"""``node0 canary plan``: how long a canary must run before a judge can tell, and what can be told in the time there is.

The JSON document; null is "no number is enough" or "none":

============ =========================================================================================================
class        L, M or H; ``traffic`` (requests/s), ``error_rate``, ``latency_sigma``, ``power``; ``plain`` is a sentence
method       what ``fixed`` and ``to_pass`` are, in words
stages       a list, of those with a control: ``share minutes requests requests_by_end`` and ``needs``, a list:
             ``metric margin fixed to_pass minutes_to_pass passes finds``: canary requests of a fixed-sample test and of
             node0's judge, the minutes those take at this share alone, and by the stage's end the least margin that an
             equal canary passes and the least ratio of bad shares that is found
proposals    two, where there are stages: ``passes_at`` every_stage or end, ``margins`` by metric that an equal canary
             passes there in the configured time, ``stage_minutes`` by which it passes the configured margins there
============ =========================================================================================================

>>> plan.name
'plan'
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from node0lib.canary.plan import Need, Plan, Proposal, StagePlan, Traffic
from node0lib.canary.plan import plan as planned
from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option
from node0lib.shell.config import load
from node0lib.slo.catalogue import CanaryRules, ChangeClass
from node0lib.views.canary_tables import plainly, plan_text

METHOD = (
    "fixed: two shares, one look, one-sided alpha 5%, power 80%, pooled null variance; to_pass: the sequential judge's "
    "e-process at the quantile of the canary's bad events that the power, divided over the metrics, asks for"
)


def _share(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """25% or 0.25 as a number in [0, 1]; tells click what is wrong otherwise."""
    text = value.strip()
    try:
        found = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise click.BadParameter(f"{text!r} is not a share; write 1% or 0.01", ctx, param)
    return found


@click.command()
@click.option("--class", "name", type=click.Choice([c.value for c in ChangeClass]), default="M", show_default=True,
              help="The class of the change: its stages and their length.")  # fmt: skip
@click.option("--traffic", type=float, required=True, metavar="PER_SECOND", help="Requests per second, both arms.")
@click.option("--error-rate", callback=_share, required=True, help="The control's share of errors: 1% or 0.01.")
@click.option("--latency-sigma", type=float, default=0.5, show_default=True,
              help="The latency's shape: standard deviation of its log; 0.5 is ordinary, 1 is wild.")  # fmt: skip
@click.option("--power", callback=_share, default="80%", show_default=True,
              help="The chance that an equal canary is promoted.")  # fmt: skip
@config_option
@output_option
def plan(
    name: str, traffic: float, error_rate: float, latency_sigma: float, power: float, config: Path, output: str
) -> None:
    """Plan how long a canary must run, before it runs.

    For each stage of the class and each margin of the configuration: the
    canary requests that a test needs which looks once (alpha 5%, power 80%),
    those that node0's sequential judge needs, which may be looked at all the
    time, and how long that takes; and what can be told in the configured time
    instead. Then margins and stage lengths that work.

    Requests are taken to fail independently of each other; where errors come
    in bursts, more are needed.

    JSON: class, traffic, error_rate, latency_sigma, power, plain, method,
    stages (share, minutes, requests, requests_by_end, needs), proposals.

    \b
    Exit codes:
      0  it could be computed, whatever it says
      2  the command line or the configuration is wrong
    """
    catalogue = load(config).catalogue
    kind = ChangeClass(name)
    if kind not in catalogue.classes:
        raise ConfigError(f"{config}: has no change class {name}; it has {', '.join(sorted(catalogue.classes))}")
    found = planned(catalogue.classes[kind], catalogue.canary, Traffic(traffic, error_rate, latency_sigma), power=power)
    if output == "json":
        echo_json(document(found, catalogue.canary, name))
        return
    out = console()
    for part in plan_text(found, catalogue.canary, name):
        out.print(part, soft_wrap=False)


def document(found: Plan, rules: CanaryRules, name: str) -> dict[str, Any]:
    """Return the plan as it is written to JSON."""
    t = found.traffic
    return {
        "class": name,
        "traffic": t.per_second,
        "error_rate": t.error_rate,
        "latency_sigma": t.sigma,
        "power": found.power,
        "plain": plainly(found, rules),
        "method": METHOD,
        "stages": [_stage(stage, t.per_second) for stage in found.stages],
        "proposals": [_proposal(one) for one in found.proposals],
    }


def _proposal(one: Proposal) -> dict[str, Any]:
    minutes = None if one.stage_length is None else one.stage_length.total_seconds() / 60
    return {"passes_at": one.passes_at, "margins": dict(one.margins), "stage_minutes": minutes}


def _stage(stage: StagePlan, per_second: float) -> dict[str, Any]:
    return {
        "share": stage.share,
        "minutes": stage.length.total_seconds() / 60,
        "requests": stage.requests,
        "requests_by_end": stage.by_end,
        "needs": [_need(need, stage.minutes(need.to_pass, per_second)) for need in stage.needs],
    }


def _need(need: Need, minutes: float) -> dict[str, Any]:
    return {
        "metric": need.metric,
        "margin": need.margin,
        "fixed": _finite(need.fixed),
        "to_pass": _finite(need.to_pass),
        "minutes_to_pass": _finite(minutes),
        "passes": need.reachable,
        "finds": need.caught,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
