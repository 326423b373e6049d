"""A judge's verdict and a canary's plan as text of 80 columns; whatever a number alone does not say stands below.

>>> change(0.05), change(1.0), change(None), times(1.938), times(None)
('+5%', '+100%', '-', 'x1.9', '-')
>>> lasting(75.0), lasting(3.5), lasting(60 * 24 * 3.0), lasting(float("inf"))
('75m', '4m', '3.0d', 'never')
>>> lasting(0.5), lasting(1.0), lasting(0.995), lasting(1e-9)
('30s', '1m', '1m', '1s')
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from node0lib.canary.plan import ALPHA, POWER, Need, Plan, StagePlan
from node0lib.canary.verdict import Finding, JudgeName, Verdict
from node0lib.slo.catalogue import CanaryRules

WIDTH = 80
NAMES = {"error_rate": "error rate", "latency_p95": "p95", "latency_p99": "p99"}
_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "no_data": "bold magenta"}
_HOUR, _DAY = 60.0, 24 * 60.0


def change(margin: float | None) -> str:
    """A margin as people say it: +5%."""
    return "-" if margin is None else f"+{margin * 100:.3g}%"


def times(ratio: float | None) -> str:
    """A ratio as people say it: x2."""
    if ratio is None or math.isinf(ratio):
        return "-"
    return f"x{ratio:.2g}" if ratio < 10 else f"x{ratio:.0f}"


def count(requests: float) -> str:
    """Requests in at most three figures, with thousands; a dash for infinitely many."""
    return "-" if math.isinf(requests) else f"{float(f'{requests:.3g}'):,.0f}"


def lasting(minutes: float) -> str:
    """A length of time, rounded up: 30s, 43m, 7.5h, 2.7d."""
    if math.isinf(minutes):
        return "never"
    if 0 < (seconds := math.ceil(round(60 * minutes, 6)) or 1) < 60 and minutes > 0:
        return f"{seconds}s"
    if minutes < 2 * _HOUR:
        return f"{math.ceil(minutes)}m"
    return f"{minutes / _HOUR:.1f}h" if minutes < 2 * _DAY else f"{minutes / _DAY:,.1f}d"


def verdict_text(verdict: Verdict) -> Iterator[Text | Table]:
    """Yield a verdict as it is printed."""
    yield Text.assemble((verdict.kind.replace("_", " ").upper(), _STYLES[verdict.kind]), f" (judge: {verdict.judge})")
    for reason in verdict.reasons:
        yield Text(f"  {reason}", overflow="fold")
    if verdict.judge == "sequential" and verdict.kind == "inconclusive":
        yield Text("  what is not excluded may still be there", overflow="fold")
    table = _table(("metric", 24), ("verdict", 12), ("ratio", 6), ("not excluded", 14), ("margin", 7), ("canary n", 9))
    for finding in verdict.findings:
        table.add_row(*_finding(finding, verdict.judge))
    yield table


def _finding(finding: Finding, judge: JudgeName) -> tuple[str | Text, ...]:
    v = finding.verdict
    kind = Text(v.kind.replace("_", " ") + ("" if finding.counted else " (muted)"), _STYLES[v.kind])
    if finding.absolute:
        return v.metric, kind, "-", "-" if v.kind == "no_data" else f"{v.low:g}", f">={v.margin:.3g}", "-"
    between = f"{v.low:.2f}-{v.high:.2f}" if judge == "sequential" and v.kind != "no_data" else "-"
    return v.metric, kind, times(v.ratio), between, f"{v.margin:.3g}", f"{finding.sizes[1]:,}"


def _table(*columns: tuple[str, int]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", width=WIDTH)
    for n, (head, width) in enumerate(columns):
        table.add_column(head, justify="left" if n == 0 else "right", min_width=width, overflow="fold")
    return table


def plan_text(plan: Plan, rules: CanaryRules, name: str) -> Iterator[Text | Table]:
    """Yield a plan as it is printed; ``name`` is the class's."""
    t = plan.traffic
    yield Text(
        f"Class {name}: {t.per_second:g} requests/s, {t.error_rate:.3g} errors, latency sigma {t.sigma:g}, "
        f"power {plan.power:.0%}",
        style="bold",
    )
    yield Text(plainly(plan, rules), overflow="fold")
    if not plan.stages:
        return
    yield Text("")
    heads = ("stage", 5), ("metric", 10), ("margin", 6), ("one look", 9), ("node0", 9), ("takes", 6)
    table = _table(*heads, ("passes", 6), ("finds", 5))
    for stage in plan.stages:
        for n, need in enumerate(stage.needs):
            table.add_row(_stage(stage) if n == 0 else "", *_row(plan, stage, need))
    yield table
    yield from (Text(line, overflow="fold") for line in ("", *_below(plan)))


def _stage(stage: StagePlan) -> str:
    return f"{stage.share:.3g}".rstrip("0") if stage.share < 0.001 else f"{stage.share * 100:.3g}%"


def _row(plan: Plan, stage: StagePlan, need: Need) -> tuple[str, ...]:
    takes = stage.minutes(need.to_pass, plan.traffic.per_second)
    return (
        NAMES[need.metric], change(need.margin), count(need.fixed), count(need.to_pass), lasting(takes),
        change(need.reachable), times(need.caught),
    )  # fmt: skip


def _below(plan: Plan) -> Iterator[str]:
    length = lasting(plan.stages[0].length.total_seconds() / 60)
    yield (
        f"one look: canary requests of a test of one metric that looks once (alpha {ALPHA:.0%}, power {POWER:.0%}). "
        "node0: those by which the sequential judge, looked at all the time, passes an equal canary; takes: how long "
        f"that is at this share alone. passes, finds: by the end of the stage ({length}, with the evidence of the "
        "stages before), the least margin that an equal canary passes, and the least ratio of bad shares that is "
        "rolled back."
    )
    yield ""
    yield "What works:"
    for one in plan.proposals:
        where = "every stage passes" if one.passes_at == "every_stage" else "only the last stage passes"
        told = ", ".join(f"{NAMES[m]} {change(r) if r else 'none'}" for m, r in one.margins.items())
        least = "of more than a year"
        if one.stage_length is not None:
            least = f"of at least {lasting(one.stage_length.total_seconds() / 60)}"
        yield f"- {where}: margins of {told} with stages of {length}; or the configured margins with stages {least}"


def plainly(plan: Plan, rules: CanaryRules) -> str:
    """What the margin of the error rate takes, in one sentence."""
    if plan.needed is None:
        return "This class has no canary: it is applied at once and watched against absolute limits."
    margin, rate = change(rules.error_rate), f"{plan.traffic.error_rate * 100:.3g}%"
    if math.isinf(plan.needed):
        return f"No number of requests shows {margin} of an error rate of {rate}."
    share = f"{plan.stages[0].share * 100:.3g}%"
    return (
        f"{margin} on an error rate of {rate} needs about {count(plan.needed)} canary requests at {share} of the "
        f"traffic, in a test that looks once (alpha {ALPHA:.0%}, power {POWER:.0%}); node0's judge, which may be "
        f"looked at all the time, about {count(plan.stages[0].needs[0].to_pass)}."
    )
