"""The budget of one SLO over its window: how much was left when, and when nobody looked.

The budget is that of the whole window, B x its events; what is left at t is one minus the bad events up to t over
it. So the curve starts at 100%, never rises, and ends at the budget left now, as far as the series covers the
window. Buckets that nobody observed are gaps, drawn as gaps. An invariant has no budget to burn.

>>> [float(x) for x in remaining(np.array([99.0, np.nan, 98.0]), np.array([100.0, np.nan, 100.0]), 0.1)]
[0.95, nan, 0.85]
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

import matplotlib.dates as dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from node0lib.cycle import Given, Series
from node0lib.sli.series import Floats
from node0lib.slo.budget import SloStatus
from node0lib.slo.catalogue import BudgetPolicy, Catalogue
from node0lib.slo.objective import Objective
from node0lib.views import words
from node0lib.views.display import Display, note
from node0lib.views.figures import BLUE, GRID, MUTED, RED, SMALL, picture


def remaining(good: Floats, total: Floats, budget: float) -> Floats:
    """Return the share of the budget left after each bucket, shape (n,), NaN in gaps.

    ``good`` and ``total`` are events in each bucket, NaN where nothing was observed; ``budget`` is above 0.
    """
    seen = np.isfinite(good) & np.isfinite(total)
    bad = np.where(seen, total - good, 0.0).cumsum()
    events = float(total[seen].sum())
    left = 1.0 - bad / (budget * events) if events > 0 else np.full(good.shape, np.nan)
    return np.where(seen, left, np.nan)


def tightest(given: Given, statuses: Sequence[SloStatus], catalogue: Catalogue) -> Display:
    """Draw the burn-down of the SLO with the least budget left, of those that have one and whose series was read.

    Equal budgets: the one that the catalogue names first.
    """
    slos = {slo.name: slo for slo in catalogue.slos}
    known = [(s.budget_left, slos[s.name]) for s in statuses if s.budget_left is not None and s.name in slos]
    drawable = [(left, slo) for left, slo in known if _nothing(given, slo) is None]
    if not drawable:
        return note("No budget to draw: no SLO with an error budget has data.")
    return burn_down(given, min(drawable, key=lambda found: found[0])[1], catalogue.budget_policy)


def burn_down(given: Given, slo: Objective, policy: BudgetPolicy | None = None) -> Display:
    """Draw the budget left over the SLO's window, with its gaps and the thresholds of the budget policy."""
    rules = policy or BudgetPolicy()
    why = _nothing(given, slo)
    if why:
        return note(f"{slo.name}: {why}.")
    series = given.series[slo.name]
    good, total = _array(series.good), _array(series.total)
    left = remaining(good, total, slo.budget)
    seen = np.isfinite(left)
    last, least = float(left[seen][-1]), float(left[seen].min())
    coverage = float(seen.mean())

    bottom = max(-1.0, min(0.0, least))

    def draw(page: Page) -> None:
        axes = page.subplots()
        _curve(axes, series, left)
        lines = ((rules.optimize_above, MUTED, "optimize"), (rules.freeze_below, RED, "freeze"))
        for level, color, name in lines:
            axes.axhline(level, color=color, linewidth=1, linestyle=(0, (4, 3)))
            if abs(level - last) > 0.08:  # else the two texts would lie on each other
                _beside(axes, level, f"{name} {level:.0%}", color)
        _beside(axes, max(bottom, last), f"{words.percent(last)} left", BLUE)
        axes.set_ylim(bottom - 0.03, 1.05)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
        _time_axis(axes, slo.window)

    window = words.window(slo.window)
    gaps = "no gaps" if seen.all() else f"{words.percent(1 - coverage)} of the window was not observed (shaded)"
    told = f"{words.percent(last)} left now"
    caption = f"{slo.name}: error budget left over the last {window}; {told}; {gaps}."
    alt = (
        f"Error budget of {slo.name} over {window}: it falls from 100% to {words.percent(last)}; {gaps}. "
        f"Lines at {rules.optimize_above:.0%} and {rules.freeze_below:.0%}."
    )
    return picture(draw, height=2.4, alt=alt, caption=caption)


def _nothing(given: Given, slo: Objective) -> str | None:
    """Say why there is nothing to draw, if so."""
    if slo.budget <= 0:
        return "an invariant has no budget to burn down"
    series = given.series.get(slo.name)
    if series is None:
        return "no series was read"
    if series.problem:
        return f"the series could not be read ({series.problem})"
    if not any(t for t in series.total if t is not None):
        return "no data in the window"
    return None


def _array(values: tuple[float | None, ...]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _curve(axes: Axes, series: Series, left: Floats) -> None:
    """Draw each observed run from the level before it, and shade each gap; edge i is where bucket i begins."""
    edges = [dates.date2num(series.start + series.step * i) for i in range(left.size + 1)]  # type: ignore[no-untyped-call]
    position, level = 0, 1.0
    for observed, run in groupby(np.isfinite(left)):
        end = position + sum(1 for _ in run)
        if observed:
            at, height = edges[position : end + 1], [level, *left[position:end]]
            axes.plot(at, height, color=BLUE, linewidth=2, solid_capstyle="butt", zorder=3)
            axes.fill_between(at, height, 0, color=BLUE, alpha=0.1, linewidth=0, zorder=1)
            level = float(left[end - 1])
        else:
            axes.axvspan(edges[position], edges[end], facecolor="#f1f3f5", hatch="///", edgecolor=GRID, linewidth=0)
        position = end
    axes.set_xlim(edges[0], edges[-1])


def _beside(axes: Axes, level: float, text: str, color: str) -> None:
    """Write at a level, to the right of the axes."""
    axes.annotate(
        text, (1, level), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        va="center", color=color, fontsize=SMALL,
    )  # fmt: skip


def _time_axis(axes: Axes, window: timedelta) -> None:
    """Days are named by date, hours by clock, in UTC."""
    pattern = "%d %b" if window > timedelta(days=3) else "%d %b %H:%M" if window > timedelta(days=1) else "%H:%M"
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=6, interval_multiples=False))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(dates.DateFormatter(pattern))  # type: ignore[no-untyped-call]
    axes.tick_params(axis="y", length=0)
