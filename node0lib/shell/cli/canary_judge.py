"""``node0 canary judge``: any judge on the measurements of two arms, for any deployment tool.

The input's schema is in ``node0lib.shell.canary_input``. The JSON document:

========= ============================================================================================================
judge     sequential, kayenta or threshold
verdict   pass, fail, inconclusive or no_data; ``exit_code`` is that of the program
reasons   why, a list; ``warnings`` is another
metrics   a list: ``name verdict reason state`` (missing, nan, stale, query_error, sample_ratio; null where there is
          data that can be used), ``ratio low high margin need`` (null: not known), ``control canary`` (requests or
          values), ``counted``, and ``absolute``: false, or true in the row ``ihsan``, which is there if the input has
          the score: ``low`` and ``high`` are the score then (0 and null: not known), ``margin`` is the least allowed
kayenta   null, or ``classification score reason groups`` and ``metrics``: ``name classification critical deviation``
========= ============================================================================================================

>>> CODES
{'pass': 0, 'inconclusive': 3, 'fail': 4, 'no_data': 6}
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from node0lib.canary.kayenta import Judged
from node0lib.canary.sequential import VerdictKind
from node0lib.canary.threshold import WARNING
from node0lib.canary.verdict import JUDGES, Finding, JudgeName, Verdict, judged
from node0lib.errors import ConfigError
from node0lib.shell.canary_input import read_input
from node0lib.shell.cli.frame import console, echo_json, output_option
from node0lib.shell.kayenta_file import read_kayenta
from node0lib.views.canary_tables import verdict_text

CODES: dict[VerdictKind, int] = {"pass": 0, "inconclusive": 3, "fail": 4, "no_data": 6}
"""How a verdict ends the program; 4 is also how a cycle says that a change was rolled back."""


@click.command()
@click.option("--judge", type=click.Choice(JUDGES), default="sequential", show_default=True, help="Which one.")
@click.option("--input", "path", metavar="FILE", required=True, help="The measurements, JSON; - is stdin.")
@click.option(
    "--kayenta-config",
    "kayenta",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A Kayenta canary config: its metrics, groups, weights and scores (judge kayenta only).",
)
@output_option
@click.pass_context
def judge(ctx: click.Context, judge: JudgeName, path: str, kayenta: Path | None, output: str) -> None:
    """Judge a canary by the measurements of two arms.

    \b
    sequential  bounds both errors under any number of looks (default)
    kayenta     NetflixACAJudge: Mann-Whitney, groups, weights, scores
    threshold   canary > margin x control on point estimates; comparison only

    \b
    The input, with one of counts, samples, histogram a metric:
      {"metrics": [
        {"name": "errors", "margin": 1.05, "counts": [
          {"control": {"requests": 9500, "bad": 95},
           "canary": {"requests": 500, "bad": 5}}]},
        {"name": "latency", "margin": 1.05, "threshold": 0.4,
         "samples": {"control": [0.1, 0.2], "canary": [0.1, null]}},
        {"name": "p95", "margin": 1.05, "quantile": 0.95,
         "baseline": [0.1, 0.2, 0.3],
         "histogram": {"bounds": [0.2, 0.4], "control": [90, 98, 100],
                       "canary": [40, 49, 50]}}]}
    counts may be one look or a list of them in order. margin is the largest
    harmless ratio. Beside metrics: alpha, beta (0.05), minimum_requests (100),
    design_effect (1; sequential only: by how much failures come in bursts),
    at and stale_after (5m). A metric may have newest: {control, canary}
    (times; older than stale_after is no data), query_error (in place of
    data), groups, and kayenta (as analysisConfigurations.canary).

    share is what was ordered for the canary (0.05), share_tolerance how far
    the requests may be off (0.2 of it): a canary that surely did not get its
    share is no data, by every judge and whatever it shows. ihsan is the
    installation's score, ihsan_at_least (95) what a change needs: a score
    below is a failure, one that is null is no data.

    Missing data, null or NaN, a stale series and a query error are no data:
    never a pass, never a failure.

    \b
    Exit codes:
      0  pass
      1  something could not be computed
      2  the command line, the input or the Kayenta config is wrong
      3  inconclusive (Kayenta: marginal)
      4  fail
      6  no data
    """
    if kayenta is not None and judge != "kayenta":
        raise ConfigError(f"--kayenta-config is for --judge kayenta, not for {judge}; remove one of the two")
    config = None if kayenta is None else read_kayenta(kayenta)
    warnings = [WARNING] if judge == "threshold" else []
    warnings += config.notes if config else ()
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    verdict = judged(judge, read_input(path, config))
    if output == "json":
        echo_json(document(verdict, warnings))
    else:
        out = console()
        for part in verdict_text(verdict):
            out.print(part, soft_wrap=False)
    ctx.exit(CODES[verdict.kind])


def document(verdict: Verdict, warnings: list[str]) -> dict[str, Any]:
    """Return the verdict as it is written to JSON."""
    return {
        "judge": verdict.judge,
        "verdict": verdict.kind,
        "exit_code": CODES[verdict.kind],
        "reasons": list(verdict.reasons),
        "warnings": warnings,
        "metrics": [_metric(finding) for finding in verdict.findings],
        "kayenta": _kayenta(verdict.kayenta),
    }


def _metric(finding: Finding) -> dict[str, Any]:
    v = finding.verdict
    return {
        "name": v.metric,
        "verdict": v.kind,
        "reason": v.reason,
        "state": finding.gap.state if finding.gap else None,
        "ratio": _finite(v.ratio),
        "low": v.low,
        "high": _finite(v.high),
        "margin": v.margin,
        "need": v.need,
        "control": finding.sizes[0],
        "canary": finding.sizes[1],
        "counted": finding.counted,
        "absolute": finding.absolute,
    }


def _kayenta(answer: Judged | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    found = [
        {
            "name": r.name,
            "classification": r.found.label,
            "critical": r.found.critical,
            "deviation": _finite(r.found.deviation),
            "reason": r.found.reason,
            "muted": r.muted,
            "groups": list(r.groups),
        }
        for r in answer.results
    ]
    score = answer.score
    groups = dict(score.groups)
    return {
        "classification": answer.label, "score": score.score, "reason": score.reason, "groups": groups,
        "metrics": found,
    }  # fmt: skip


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
