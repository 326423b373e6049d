"""A study of canaries in pictures: what goes wrong, what a threshold does, how soon and how surely it is told.

Judges are told apart by colour, mark and line; what was missed stands at the edge. Everything is simulated and says so.

>>> STYLES["naive"].mark
'^'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from matplotlib.ticker import MaxNLocator

from node0lib.simulate.canary_study import Outcome, Outcomes, OverLooks, Study
from node0lib.simulate.canary_walk import JUDGES, Judge
from node0lib.simulate.degradation import HARMLESS
from node0lib.sli.intervals import Estimate
from node0lib.views import words
from node0lib.views.alarms import estimated, lasting
from node0lib.views.figures import BLUE, GRID, INK, MUTED, ORANGE, RED, SMALL, Figure, image, multiples, picture, rows

_TINY = 8.5


@dataclass(frozen=True)
class Style:
    """How a judge is drawn."""

    color: str
    mark: str
    line: Any = "-"


STYLES: Mapping[str, Style] = {
    "sequential": Style(BLUE, "o"),
    "kayenta": Style(ORANGE, "D", (0, (5, 2))),
    "naive": Style(RED, "^", (0, (2, 1.5))),
    "naive, last look": Style(MUTED, "v"),
}


def shapes(asked: Study) -> Figure:
    """Draw each degradation: how many times the control's errors the canary has, over the stages."""
    plan = asked.plan
    edges = np.arange(len(plan.shares) + 1) * plan.stage
    seconds = np.arange(0.5, plan.looks * len(plan.shares)) * plan.world.look
    stage = np.minimum((seconds // plan.stage).astype(int), len(plan.shares) - 1)
    lines = {
        name: np.concatenate([kind.ratios(seconds[stage == n], share) for n, share in enumerate(plan.shares)])
        for name, kind in asked.kinds.items()
    }

    def draw(page: Page, name: str) -> None:
        axes, kind = page.subplots(), asked.kinds[name]
        for number in range(0, len(plan.shares), 2):
            axes.axvspan(edges[number] / 60, edges[number + 1] / 60, color=GRID, alpha=0.35, linewidth=0)
        heard = seconds < kind.begins if kind.silent else np.ones(seconds.size, np.bool_)
        axes.plot(seconds / 60, np.where(heard, lines[name], np.nan), color=RED, linewidth=1.6)
        axes.plot(seconds / 60, np.where(heard, np.nan, lines[name]), color=RED, linewidth=1.6, linestyle=":")
        most = max(2.2, float(lines[name].max()) * 1.12)
        axes.set_ylim(0, most)
        axes.set_xlim(0, edges[-1] / 60)
        axes.set_xticks(edges / 60)
        axes.xaxis.set_major_formatter(lambda at, _: f"{at:g}m")
        axes.yaxis.set_major_formatter(lambda at, _: f"x{at:g}")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.tick_params(labelsize=_TINY, length=0)
        axes.set_title(name, loc="left", fontsize=10, color=INK, pad=3)
        if kind.lost:
            axes.text(0.04, 0.08, f"{words.percent(kind.lost, 0)} of requests lost", transform=axes.transAxes,
                      fontsize=_TINY, color=MUTED)  # fmt: skip

    told = {name: f"{name}: up to x{line.max():.3g}, x{line.mean():.2g} on average" for name, line in lines.items()}
    images = [image(partial(draw, name=name), width=2.5, height=1.5, alt=told[name]) for name in lines]
    shares = ", ".join(words.percent(share, 0) for share in plan.shares)
    caption = (
        f"The canary's error rate in multiples of the control's, over stages of {lasting(plan.stage)} at {shares} of "
        "the traffic (bands). Dotted: nobody counts."
    )
    return multiples(images, alt=f"Simulated degradations. {'; '.join(told.values())}.", caption=caption)


def over_looks(asked: Study, found: OverLooks) -> Figure:
    """Draw how many harmless canaries each judge has stopped by each look."""
    minutes = (np.arange(found.looks) + 1) * found.seconds / found.looks / 60
    limit = asked.plan.errors_alpha

    def draw(page: Page) -> None:
        axes = page.subplots()
        for judge in JUDGES:
            style = STYLES[judge]
            axes.plot(minutes, found.by_look[judge] * 100, color=style.color, linestyle=style.line, linewidth=1.8)
            at = float(found.by_look[judge][-1]) * 100
            _label(axes, judge, minutes[-1], at, 8 if judge == "kayenta" else -3)
        once = "naive, last look"
        axes.plot(minutes[-1], found.ever[once].value * 100, STYLES[once].mark, color=STYLES[once].color)
        _label(axes, "naive, last\nlook only", minutes[-1], found.ever[once].value * 100, -8, STYLES[once])
        axes.axhline(limit * 100, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_ylim(-4, 102)
        axes.set_xlim(0, minutes[-1] * 1.22)
        axes.set_xticks([t for t in axes.get_xticks() if t <= minutes[-1]])
        axes.set_xlabel("minutes", fontsize=SMALL)
        axes.set_ylabel("harmless canaries stopped, %", fontsize=SMALL)

    told = ", ".join(f"{name} {estimated(one, words.percent)}" for name, one in found.ever.items())
    where = f"{words.percent(found.share, 0)} of the traffic"
    caption = (
        f"Harmless canaries at {where} that each judge has stopped by then, {found.n:,} simulated rollouts. The longer "
        f"the naive rule is looked at, the more it stops; sequential stays under {words.percent(limit, 1)} (dotted), "
        "however long. Kayenta looks once, at the end."
    )
    alt = f"Harmless canaries stopped in {found.looks} looks at {where}, {found.n:,} simulated rollouts: {told}."
    return picture(draw, height=2.7, alt=alt, caption=caption)


def _label(axes: Axes, text: str, at: float, height: float, lift: float, style: Style | None = None) -> None:
    color = (style or STYLES[text]).color
    axes.annotate(text, (at, height), xytext=(6, lift), textcoords="offset points", color=color, fontsize=SMALL)


@dataclass(frozen=True)
class _Panel:
    head: str
    of: Callable[[Outcome], Estimate]
    told: Callable[[float], str]
    scale: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = True


_TIMES, _SHARES = (5.0, 60.0, 600.0), (0.0, 50.0, 100.0)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


_PANELS = (
    _Panel("told, of all rollouts", lambda o: o.detected, words.percent, 100.0, _SHARES, ("0", "50%", "100%"), False),
    _Panel("told after, median", lambda o: o.delay, lasting, 1.0, _TIMES, ("5s", "1m", "10m")),
    _Panel("requests failed more", lambda o: o.failed, _amount, 1.0, (1, 100, 10_000), ("1", "100", "10k")),
)


def outcomes(asked: Study, found: Outcomes) -> Figure:
    """Draw for every degradation and judge: how surely it is told, how soon, and how many requests fail meanwhile."""
    names = [name for name in found if name != HARMLESS]

    def draw(page: Page, panel: _Panel) -> None:
        axes = page.subplots()
        rows(axes, names)
        axes.grid(True, axis="x")
        for row in range(0, len(names), 2):
            axes.axhspan(row - 0.5, row + 0.5, color=GRID, alpha=0.35, linewidth=0, zorder=0)
        low, high = _scaled(axes, panel)
        for row, name in enumerate(names):
            for n, judge in enumerate(JUDGES):
                _dot(axes, panel, panel.of(found[name][judge]), row + (n - 1) * 0.24, STYLES[judge], (low, high))
        axes.set_title(panel.head, loc="left", fontsize=10)
        _legend(page)

    told = {panel.head: _spoken(panel, found, names) for panel in _PANELS}
    height = 0.9 + 0.36 * len(names)
    images = [image(partial(draw, panel=panel), width=3.3, height=height, alt=told[panel.head]) for panel in _PANELS]
    false = ", ".join(f"{judge} {words.percent(found[HARMLESS][judge].rolled_back.value)}" for judge in JUDGES)
    caption = (
        f"{asked.rollouts:,} simulated rollouts of each degradation, with 95% intervals: how many are rolled back "
        "after the harm began, how soon, and how many more requests fail users than the control would have failed. "
        "Crosses at the right edge: missed in most rollouts. To be read with what each judge does to harmless "
        f"canaries: rolled back {false}."
    )
    return multiples(images, alt=f"Degradations, simulated. {' '.join(told.values())}", caption=caption)


def _scaled(axes: Axes, panel: _Panel) -> tuple[float, float]:
    if not panel.log:
        low, high = -6.0, 106.0
    else:
        axes.set_xscale("log")
        low, high = panel.ticks[0] / 2.2, panel.ticks[-1] * 6
    axes.set_xlim(low, high)
    axes.set_xticks(list(panel.ticks), list(panel.labels))
    axes.minorticks_off()
    return low, high


def _dot(axes: Axes, panel: _Panel, found: Estimate, at: float, style: Style, ends: tuple[float, float]) -> None:
    low, high = ends
    if math.isinf(found.value):
        axes.plot(high / 1.25, at, "x", color=style.color, markersize=6, markeredgewidth=1.6)
        return
    least = low if not panel.log else low * 1.2
    value, *sides = (min(max(end * panel.scale, least), high / 1.1 if panel.log else high) for end in found)
    known = [value if math.isnan(side) else side for side in sides]
    axes.plot(known, [at, at], color=style.color, linewidth=2, alpha=0.5)
    axes.plot(value, at, style.mark, color=style.color, markersize=5.5)


def _legend(page: Page) -> None:
    axes, kept = page.axes[0], [(judge, STYLES[judge]) for judge in JUDGES]
    handles = [axes.plot([], [], one.mark, color=one.color, markersize=6, label=judge)[0] for judge, one in kept]
    page.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=_TINY, handletextpad=0.1,
                columnspacing=1.0)  # fmt: skip


def _spoken(panel: _Panel, found: Outcomes, names: list[str]) -> str:
    told = [f"{n}, {j} {estimated(panel.of(found[n][j]), panel.told)}" for n in names for j in JUDGES]
    return f"{panel.head}: {'; '.join(told)}."


def power(asked: Study, found: Mapping[float, Mapping[Judge, Outcome]]) -> Figure:
    """Draw how surely and how soon a step of each size is rolled back; the first size is harmless."""
    sizes = list(found)

    def draw(page: Page) -> None:
        surely, soon = page.subplots(2, 1, sharex=True, height_ratios=(3, 2.4))
        for judge in JUDGES:
            style, by_size = STYLES[judge], [found[size][judge] for size in sizes]
            share = [one.rolled_back.value * 100 for one in by_size]
            delay = [one.delay.value if math.isfinite(one.delay.value) else math.nan for one in by_size]
            how: dict[str, Any] = {"color": style.color, "linestyle": style.line, "marker": style.mark, "markersize": 5}
            surely.plot(sizes, share, label=judge, linewidth=1.6, **how)
            soon.plot(sizes, delay, linewidth=1.6, **how)
        surely.axvline(asked.plan.margin, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        _sized(surely, soon, sizes)
        surely.legend(frameon=False, fontsize=SMALL, loc="center right")

    told = "; ".join(f"{judge} {', '.join(_size_told(found[s][judge], s) for s in sizes)}" for judge in JUDGES)
    caption = (
        f"Canaries with so many times the control's errors from the beginning, {asked.rollouts:,} simulated rollouts "
        f"of each: how many are rolled back, and after how long in the median (no mark: most are not). Left of the "
        f"dotted line ({asked.plan.margin:g}) every rollback is a false one."
    )
    return picture(draw, height=4.2, alt=f"Rolled back by size, simulated: {told}.", caption=caption)


def _sized(surely: Axes, soon: Axes, sizes: list[float]) -> None:
    surely.set_ylim(-4, 104)
    surely.set_ylabel("rolled back, %", fontsize=SMALL)
    soon.set_xscale("log")
    soon.set_yscale("log")
    soon.set_yticks([5, 60, 600], ["5s", "1m", "10m"])
    soon.set_ylim(3, 1800)
    soon.set_ylabel("after, median", fontsize=SMALL)
    shown = [size for size in (1, 1.5, 2, 3, 5, 10, 20) if sizes[0] <= size <= sizes[-1]]
    soon.set_xticks(shown, [f"x{size:g}" for size in shown])
    soon.minorticks_off()
    soon.set_xlabel("the canary's errors, in multiples of the control's", fontsize=SMALL)


def _size_told(found: Outcome, size: float) -> str:
    after = "" if math.isinf(found.delay.value) else f" after {lasting(found.delay.value)}"
    return f"x{size:g} {words.percent(found.rolled_back.value, 0)}{after}"
