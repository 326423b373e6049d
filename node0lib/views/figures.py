"""Pictures as values: matplotlib draws an SVG once, byte for byte the same for the same numbers.

Each figure carries its caption and an alternative text that states the numbers, so nothing is told by the picture
alone. Colours are from Okabe and Ito's palette (told apart by colour-blind readers); what matters is also written
or shaped, so that it survives a black-and-white print. Pages are narrow and letters large: a phone can show them.
What cannot be drawn says why. No pyplot, no global state.

Source of the palette: Okabe & Ito, "Color Universal Design" (2008).

>>> improvement(None).text
'No improvement was estimated: there is no candidate.'
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from matplotlib.ticker import MaxNLocator

from node0lib.canary.sequential import MetricVerdict
from node0lib.canary.walk import Stage, Walked
from node0lib.optimize.propose import Proposal
from node0lib.slo.budget import SloStatus
from node0lib.slo.catalogue import Alerting, BudgetPolicy
from node0lib.timespan import format_duration
from node0lib.views import words
from node0lib.views.display import Display, note

INK, MUTED, GRID = "#1b2733", "#52606d", "#d9dfe5"
BLUE, SKY, ORANGE, RED, GREEN = "#0072b2", "#56b4e9", "#e69f00", "#b3261e", "#00785a"
_STATES = {"meeting": (BLUE, ""), "at_risk": (ORANGE, "//"), "breached": (RED, "xx"), "no_data": ("#ffffff", "..")}
_SHADES = ("#ffffff", SKY, BLUE, "#00263d")
_MARKS = "oD^v"
_PATCH: dict[str, Any] = {"facecolor": "#ffffff", "edgecolor": "none", "pad": 0.8}
_EDGE: dict[str, Any] = {"markeredgecolor": INK, "markeredgewidth": 0.8}
_WINDOWS = ("1h", "6h", "1d", "3d")
TRACK, SMALL = "#eaeef2", 9.0
_STYLE = {
    "svg.hashsalt": "node0",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.5,
}
_WIDTH = 5.6
_Side = Literal["left", "center", "right"]


@dataclass(frozen=True, repr=False)
class Figure(Display):
    """A picture in HTML (``html``) and its alternative text (``text``)."""


def image(draw: Callable[[Page], None], *, height: float, alt: str, width: float = _WIDTH) -> str:
    """Draw on a fresh page, in inches, and return it as an ``img`` element; same input, same bytes."""
    target = io.BytesIO()
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        page = Page(figsize=(width, height), layout="constrained")
        draw(page)
        page.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    source = base64.b64encode(target.getvalue()).decode("ascii")
    return f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{source}">'


def picture(draw: Callable[[Page], None], *, height: float, alt: str, caption: str) -> Figure:
    """Draw on a fresh page of ``height`` inches and return it as a figure; same input, same bytes."""
    shown = image(draw, height=height, alt=alt)
    return Figure(f'<figure class="n0-figure">{shown}<figcaption>{escape(caption)}</figcaption></figure>', alt)


def multiples(images: Sequence[str], *, alt: str, caption: str) -> Figure:
    """Return several images (``image``) as one figure: side by side where there is room, else below one another."""
    shown = " ".join(images)
    return Figure(f'<figure class="n0-figure">{shown}<figcaption>{escape(caption)}</figcaption></figure>', alt)


def rows(axes: Axes, names: Sequence[str]) -> None:
    """Make ``axes`` a list from top to bottom: one row for each name."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(length=0)


def mark(axes: Axes, at: float, label: str, color: str = MUTED, side: _Side = "center") -> None:
    """Draw a vertical line with its label above the axes, on that side of the line."""
    axes.axvline(at, color=color, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    axes.annotate(
        label, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
        ha={"left": "right", "right": "left"}.get(side, side), va="bottom", color=color, fontsize=SMALL,
    )  # fmt: skip


def budgets_left(statuses: Sequence[SloStatus], policy: BudgetPolicy) -> Display:
    """Draw the budget left of every SLO, with the shares below which deployments freeze and optimization stops."""
    if not statuses:
        return note("No budgets: the catalogue has no SLOs.")
    low, high = f"{policy.freeze_below:.0%}", f"{policy.optimize_above:.0%}"
    limits = f"under {low} deployments freeze, optimization needs more than {high}"
    told = "; ".join(f"{s.name} {_left(s)}, {words.STATES[s.state]}" for s in statuses)

    def draw(page: Page) -> None:
        axes = page.subplots()
        rows(axes, [s.name for s in statuses])
        for row, s in enumerate(statuses):
            _budget_bar(axes, row, s)
        least = -0.5 if any((s.budget_left or 0) < 0 for s in statuses) else 0.0
        axes.set_xlim(least, 1.42)
        axes.set_xticks([x for x in (-0.5, 0, 0.25, 0.5, 0.75, 1.0) if x >= least])
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        mark(axes, policy.freeze_below, f"freeze {low}", RED, "left")
        mark(axes, policy.optimize_above, f"optimize {high}", MUTED, "right")

    caption = f"Error budget left in each SLO's own window: {limits}."
    alt = f"Error budget left; {limits}. {told}."
    return picture(draw, height=0.75 + 0.3 * len(statuses), alt=alt, caption=caption)


def _left(status: SloStatus) -> str:
    return "no data" if status.budget_left is None else words.percent(status.budget_left)


def _budget_bar(axes: Axes, row: int, status: SloStatus) -> None:
    color, hatch = _STATES[status.state]
    length = max(-0.5, status.budget_left) if status.budget_left is not None else 0.0
    axes.barh(row, 1.0, height=0.52, color=TRACK, linewidth=0, zorder=1)
    axes.barh(row, length, height=0.52, color=color, hatch=hatch, edgecolor="#ffffff", linewidth=0, zorder=2)
    state = "" if status.state in ("meeting", "no_data") else f" {words.STATES[status.state]}"
    axes.text(1.02, row, _left(status) + state, va="center", fontsize=SMALL, zorder=4)


def burn_rates(statuses: Sequence[SloStatus], alerting: Alerting) -> Display:
    """Draw the burn of every SLO over an hour to 3 days on a log scale, with the alert factors as lines."""
    if not statuses:
        return note("No burn rates: the catalogue has no SLOs.")
    factors = sorted({p.factor(alerting.period): p.severity for p in alerting.pairs}.items())
    told = "; ".join(f"{s.name} {words.burns(s, _WINDOWS) or 'not asked'}" for s in statuses)
    lines = ", ".join(f"{f:.3g} ({severity})" for f, severity in factors)
    floor, top = 0.01, 100.0

    def draw(page: Page) -> None:
        axes = page.subplots()
        rows(axes, [s.name for s in statuses])
        axes.set_xscale("log")
        axes.set_xlim(floor / 1.5, top * 1.5)
        axes.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
        axes.minorticks_off()
        for row, s in enumerate(statuses):
            _burn_row(axes, row, s, floor, top)
        for factor, _ in factors:
            mark(axes, factor, f"{factor:.3g}", RED if factor == factors[-1][0] else MUTED)
        _burn_legend(page)

    caption = (
        "Burn rate over several windows; 1 spends the budget exactly by the window's end. Further out is drawn at the "
        f"edge. Alerts at {lines}."
    )
    height = 1.15 + 0.3 * len(statuses)
    return picture(draw, height=height, alt=f"Burn rates; alert factors {lines}. {told}.", caption=caption)


def _burn_row(axes: Axes, row: int, status: SloStatus, floor: float, top: float) -> None:
    known = [(i, b) for i, w in enumerate(_WINDOWS) if (b := status.burn.get(w)) is not None]
    own = status.burn.get(format_duration(status.window))
    if not known:
        text = "no data" if own is None else f"over its window: {words.rate(own)}"
        axes.text(floor, row, text, va="center", fontsize=SMALL, color=MUTED)
        return
    ends = [min(top, max(floor, b)) for _, b in known]
    axes.plot([min(ends), max(ends)], [row, row], color=GRID, linewidth=3, zorder=1, solid_capstyle="round")
    for (i, _), at in zip(known, ends, strict=True):
        axes.plot(at, row, _MARKS[i], color=_SHADES[i], markersize=6.5, zorder=4 + i, **_EDGE)


def _burn_legend(page: Page) -> None:
    axes = page.axes[0]
    handles = [
        axes.plot([], [], _MARKS[i], color=_SHADES[i], label=w, **_EDGE)[0]
        for i, w in enumerate(_WINDOWS)
    ]
    page.legend(handles=handles, loc="outside lower center", ncols=len(_WINDOWS), frameon=False, handletextpad=0.2)


def improvement(proposal: Proposal | None) -> Display:
    """Draw the estimated improvement with its 95% interval against no improvement at all."""
    if proposal is None:
        return note("No improvement was estimated: there is no candidate.")
    e = proposal.estimate
    shown = "the whole interval lies above 0" if e.shown else "the interval includes 0, so nothing is shown"
    told = f"{words.interval(e)} from {e.n} fresh pairs; {shown}"

    def draw(page: Page) -> None:
        axes = page.subplots()
        rows(axes, ["candidate"])
        axes.set_ylim(0.5, -0.9)
        color = BLUE if e.shown else MUTED
        axes.plot([e.low, e.high], [0, 0], color=color, linewidth=5, solid_capstyle="butt", alpha=0.45)
        axes.plot(e.improvement, 0, "D", color=color, markersize=8)
        ends: tuple[tuple[float, _Side, tuple[int, int]], ...] = (
            (e.low, "right", (-7, -3)), (e.improvement, "center", (0, 9)), (e.high, "left", (7, -3)),
        )  # fmt: skip
        for at, side, away in ends:
            how: dict[str, Any] = {"xytext": away, "textcoords": "offset points", "ha": side, "fontsize": SMALL}
            axes.annotate(words.percent(at), (at, 0), bbox=_PATCH, **how)
        reach = max(abs(e.low), abs(e.high), 0.01)
        axes.set_xlim(min(0.0, e.low) - 0.2 * reach, max(0.0, e.high) + 0.2 * reach)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(lambda x, _: f"{round(x * 100, 6):g}%")
        mark(axes, 0.0, "no improvement", side="right" if e.low >= 0 else "center")

    caption = (
        f"Expected improvement with its 95% interval, from {e.n} pairs of runs, live policy and candidate on the same "
        f"seeds; {shown}."
    )
    return picture(draw, height=1.5, alt=f"Estimated improvement {told}.", caption=caption)


def canary(rollout: Walked | None) -> Display:
    """Draw what each stage could say of each metric: ratio canary to control, its interval, the margin."""
    if rollout is None:
        return note("No canary: no rollout took place.")
    judged = [(s, v) for s in rollout.stages for v in s.verdicts]
    if not judged:
        return note("The canary saw no data, so nothing could be judged.")
    metrics = list(dict.fromkeys(v.metric for _, v in judged))
    lowest, highest = 0.2, 5.0

    def draw(page: Page) -> None:
        panels = page.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            found = [(s, v) for s, v in judged if v.metric == metric]
            rows(axes, [_stage_name(s) for s, _ in found])
            axes.set_xscale("log")
            axes.set_xlim(lowest, highest)
            axes.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
            axes.minorticks_off()
            axes.set_title(words.metric(metric), fontsize=10, loc="left")
            axes.axvline(1, color=MUTED, linewidth=0.8)
            for row, (_, verdict) in enumerate(found):
                _interval_row(axes, row, verdict, lowest, highest)

    told = "; ".join(f"{_stage_name(s)} {_verdict_text(v)}" for s, v in judged)
    ending = rollout.ending.replace("_", " ")
    caption = (
        "Canary / control, stage by stage: the ratio (dot) and what is not excluded (bar); the bar must end left of "
        "the red stroke, the largest harmless ratio. At 100% no control is left: the ratio is to an absolute limit "
        f"(diamond). Ended: {ending}."
    )
    height = 0.95 + 0.34 * max(sum(v.metric == m for _, v in judged) for m in metrics)
    return picture(draw, height=height, alt=f"Canary to control, ended {ending}. {told}.", caption=caption)


def _stage_name(stage: Stage) -> str:
    return words.percent(stage.share, 0) + (" (limit)" if stage.share >= 1 else "")


def _verdict_text(verdict: MetricVerdict) -> str:
    least, most = words.allowed(verdict)
    high = "no upper bound" if math.isinf(most) else f"at most {words.rate(most)}"
    ratio = "unknown" if verdict.ratio is None else words.rate(verdict.ratio)
    bounds = f"at least {words.rate(least)}, {high}, margin {words.rate(verdict.margin)}"
    return f"{verdict.metric} {verdict.kind.replace('_', ' ')}: ratio {ratio}, {bounds}"


def _interval_row(axes: Axes, row: int, verdict: MetricVerdict, lowest: float, highest: float) -> None:
    color = {"pass": BLUE, "fail": RED}.get(verdict.kind, ORANGE)
    least, most = words.allowed(verdict)
    low, high = np.clip([least, most], lowest, highest)
    axes.plot([low, high], [row, row], color=color, linewidth=5, alpha=0.5, solid_capstyle="butt", zorder=2)
    if most > highest:
        axes.plot(highest / 1.06, row, ">", color=color, markersize=6, zorder=3)
    shown, dot = (verdict.high, "D") if verdict.ratio is None else (verdict.ratio, "o")
    if verdict.kind == "no_data":
        axes.text(1, row, "no data", va="center", ha="center", fontsize=SMALL, bbox=_PATCH)
    elif math.isfinite(shown):
        inside = max(lowest * 1.06, min(highest / 1.06, shown))
        shape = dot if lowest <= shown <= highest else "<>"[shown > 1]
        axes.plot(inside, row, shape, color=color, markersize=6, zorder=4)
    axes.plot([verdict.margin] * 2, [row - 0.32, row + 0.32], color=RED, linewidth=1.4, zorder=3)
