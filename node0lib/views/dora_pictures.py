"""A study of delivery as pictures: weeks with their trends, the weeks that come, what shows a target, definitions.

Captions say whether a history is SIMULATED or real; alternative texts state the numbers. A line is drawn through weeks
only where a trend is shown; what is forecast is drawn apart from what was.

>>> from node0lib.simulate.delivery_study import simulated, trends, values
>>> asked = simulated("small team", weeks=6, seed=1)
>>> weeks(asked, values(asked), trends(asked)).text.split(";")[0]
'SIMULATED history (small team, seed 1). deployments a week: 6 weeks, 0 to 1, median 1, no evidence'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from node0lib.dora.enough import deployments_needed, least_failures, most_failures
from node0lib.dora.forecast import Forecast
from node0lib.dora.report import Metric
from node0lib.dora.trends import Trend, week_ends, week_name
from node0lib.simulate.delivery_study import Defined, DeliveryStudy
from node0lib.simulate.delivery_trials import Weeks
from node0lib.views import words
from node0lib.views.alarms import lasting
from node0lib.views.display import Display, note
from node0lib.views.dora_view import FAILS, FREQUENCY, LEAD, NAMES, RECOVERY, amount, ranged, told
from node0lib.views.figures import (
    BLUE,
    GRID,
    INK,
    MUTED,
    ORANGE,
    RED,
    SMALL,
    Figure,
    image,
    mark,
    multiples,
    rows,
)

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_TIMES = (
    *(_MINUTE * n for n in (1, 2, 5, 10, 20, 30)),
    *(_HOUR * n for n in (1, 2, 4, 8, 16)),
    *(_DAY * n for n in (1, 2, 4, 7, 14, 28, 56)),
)
"""Where an axis of times may have a mark, in seconds."""
_SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000)
_STEPS = (1, 2, 5, 10)
_WIDTH, _HEIGHT = 2.7, 2.0


def weeks(asked: DeliveryStudy, past: Weeks, found: Mapping[str, Trend]) -> Display:
    """Draw each metric by disjoint weeks, with its line where a trend is shown."""
    shown = [name for name, values in past.items() if _known(values)]
    if not shown:
        return note(f"{told(asked)}: no whole week has a number.")
    texts = {name: _summary(name, past[name], found[name]) for name in shown}
    images = [
        image(partial(_story, name=name, values=past[name], found=found[name]), width=_WIDTH, height=_HEIGHT, alt=text)
        for name, text in texts.items()
    ]
    absent = [NAMES[name] for name in past if name not in shown]
    missing = f" No data: {', '.join(absent)}." if absent else ""
    caption = (
        f"{told(asked)}: one dot a week, {_span(asked, past)}. Blue line: a trend is shown, falling or rising; grey "
        f"dashes: the median, no evidence of a trend.{missing}"
    )
    return multiples(images, alt=f"{told(asked)}. {'; '.join(texts.values())}.{missing}", caption=caption)


def _span(asked: DeliveryStudy, past: Weeks) -> str:
    length = len(next(iter(past.values())))
    ends = week_ends(asked.at, length)
    return f"{week_name(ends[0])} (1) to {week_name(ends[-1])} ({length})"


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _summary(name: str, values: Sequence[float | None], found: Trend) -> str:
    known = _known(values)
    low, middle, high = (amount(name, value) for value in (min(known), float(np.median(known)), max(known)))
    return f"{NAMES[name]}: {len(known)} weeks, {low} to {high}, median {middle}, {found.verdict}"


def _story(page: Page, name: str, values: Sequence[float | None], found: Trend) -> None:
    axes: Axes = page.subplots()
    at = np.arange(1, len(values) + 1)
    numbers = np.array([math.nan if value is None else value for value in values])
    axes.plot(at, numbers, "o", color=MUTED, markersize=3.4, zorder=3)
    if found.verdict == "no evidence":
        axes.axhline(float(np.nanmedian(numbers)), color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    else:
        line = np.array([found.at(float(week - 1)) for week in at], np.float64)
        axes.plot(at, np.maximum(line, np.nanmin(numbers)), color=BLUE, linewidth=2, zorder=4)
    _frame(axes, name, numbers, len(values))
    axes.set_title(f"{NAMES[name]}: {found.verdict}", fontsize=SMALL, loc="left")


def _frame(axes: Axes, name: str, numbers: np.ndarray, last: int) -> None:
    """Weeks below, the metric's own scale at the side: times on a logarithmic one, shares and counts from 0."""
    axes.set_xlim(0.2, last + 0.8)
    axes.set_xticks(sorted({1, (last + 1) // 2, last}))
    axes.tick_params(labelsize=8, length=0)
    axes.set_xlabel("week", fontsize=8)
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    if name in (LEAD, RECOVERY):
        low, high = max(low, 1.0) / 1.3, max(high, 1.0) * 1.3
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        axes.yaxis.set_minor_locator(NullLocator())
        inside = [time for time in _TIMES if low <= time <= high]
        axes.set_yticks(inside[:: max(1, math.ceil(len(inside) / 5))])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda time, _: lasting(time)))
        return
    axes.set_ylim(-0.04 * (high or 1), 1.08 * (high or 1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=name == FREQUENCY, steps=_STEPS))
    if name != FREQUENCY:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: words.percent(share, 0)))


def coming(asked: DeliveryStudy, past: Weeks, found: Mapping[str, Forecast]) -> Display:
    """Draw the weeks that were and, apart from them, the intervals for the weeks that come."""
    shown = [name for name in past if found[name].ahead]
    if not shown:
        why = "; ".join(f"{NAMES[name]}: {one.reason}" for name, one in found.items())
        return note(f"{told(asked)}. {why}.")
    texts = {name: _foretold(name, found[name]) for name in shown}
    images = [
        image(partial(_ahead, name=name, values=past[name], found=found[name]), width=_WIDTH, height=_HEIGHT, alt=text)
        for name, text in texts.items()
    ]
    silent = "".join(f" {NAMES[n].capitalize()}: {found[n].reason}." for n in past if n not in shown)
    level = words.percent(asked.level, 0)
    caption = (
        f"{told(asked)}: grey, the weeks that were; orange, what a coming week is likely to bring (dash) and the "
        f"interval that holds in {level} of cases (bar).{silent}"
    )
    return multiples(images, alt=f"{told(asked)}. {'; '.join(texts.values())}.{silent}", caption=caption)


def _foretold(name: str, found: Forecast) -> str:
    ends = dict.fromkeys((found.ahead[0], found.ahead[-1]))
    parts = (f"week {one.week} {ranged(name, one.value, one.low, one.high)}" for one in ends)
    return f"{NAMES[name]}, by {found.method}: {', '.join(parts)}"


def _ahead(page: Page, name: str, values: Sequence[float | None], found: Forecast) -> None:
    axes: Axes = page.subplots()
    n = len(values)
    numbers = np.array([math.nan if value is None else value for value in values])
    axes.plot(np.arange(1, n + 1), numbers, "o", color=MUTED, markersize=3.0, alpha=0.75, zorder=3)
    axes.axvspan(n + 0.5, n + 0.8 + len(found.ahead), color=GRID, alpha=0.6, linewidth=0, zorder=0)
    for one in found.ahead:
        at = n + one.week
        axes.plot([at, at], [one.low, one.high], color=ORANGE, linewidth=3, solid_capstyle="butt", zorder=3)
        axes.plot(at, one.value, "_", color=INK, markersize=6, zorder=4)
    everything = np.concatenate([numbers, [end for one in found.ahead for end in (one.low, one.high)]])
    _frame(axes, name, everything, n + len(found.ahead))
    axes.set_xticks([1, n, n + len(found.ahead)])
    axes.set_title(NAMES[name], fontsize=SMALL, loc="left")


def showing(asked: DeliveryStudy, fails: Metric) -> Figure:
    """Draw how many deployments show what: the target met, missed, or neither; and where this history stands."""
    first, target = deployments_needed(0, asked.target), words.objective(asked.target)
    here = "no data" if fails.value is None else f"{fails.detail['failed']} of {fails.n} failed: {fails.verdict}"
    caption = (
        f"What shows that at most {target} of deployments fail (dashes), by deployments seen and the share of them "
        f"that failed; exact one-sided 95% bounds. Diamond: {told(asked)}, {here}."
    )
    alt = (
        f"Share failed against deployments seen, target {target}. The target is met from {first} deployments without a "
        f"failure on. {told(asked)}: {here}."
    )
    drawn = image(partial(_regions, target=asked.target, fails=fails), width=3.8, height=2.8, alt=alt)
    return multiples([drawn], alt=alt, caption=caption)


def _regions(page: Page, target: float, fails: Metric) -> None:
    """Where deployments and failures meet a target, miss it, or show neither."""
    axes: Axes = page.subplots()
    n = np.unique(np.round(np.geomspace(_SIZES[0], _SIZES[-1], 240)).astype(np.int64))
    met, missed = most_failures(n, target) / n, np.minimum(1.0, least_failures(n, target) / n)
    top = min(1.0, max(4 * target, 1.25 * (fails.value or 0.0)))
    axes.fill_between(n, np.maximum(met, 0), where=met >= 0, color=BLUE, alpha=0.35, linewidth=0, step="post")
    axes.plot(n, np.where(met >= 0, met, np.nan), color=BLUE, linewidth=2, drawstyle="steps-post")
    axes.fill_between(n, missed, 1.0, color=RED, alpha=0.25, linewidth=0, step="post")
    axes.axhline(target, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xscale="log", xlim=(_SIZES[0], _SIZES[-1]), ylim=(-0.03 * top, top), xlabel="deployments")
    axes.set_xticks(_SIZES, map(str, _SIZES))
    axes.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: words.percent(share, 0)))
    axes.text(300, 0.8 * top, "missed", color=RED, fontsize=SMALL, ha="center")
    axes.text(700, 0.2 * target, "met", color=BLUE, fontsize=SMALL, ha="center")
    axes.text(13, 0.5 * target, "not shown", color=MUTED, fontsize=SMALL)
    if fails.value is not None:
        axes.plot(min(_SIZES[-1], max(_SIZES[0], fails.n)), fails.value, "D", color=INK, markersize=6, zorder=5)


def definitions(asked: DeliveryStudy, found: Sequence[Defined]) -> Figure:
    """Draw lead time and fail rate of one history under every profile, with the lines that verdicts hang on."""
    texts = {
        metric: f"{NAMES[metric]}: " + ", ".join(f"{_called(one)} {_shown(one.metrics[metric])}" for one in found)
        for metric in (LEAD, FAILS)
    }
    draw = partial(_profiles, found=found, target=asked.target)
    images = [image(partial(draw, name=name), width=3.1, height=2.4, alt=text) for name, text in texts.items()]
    caption = (
        f"{told(asked)}: one history, {len(found)} definitions, 95% intervals. Left of a dashed line lies what it "
        "names: elite lead times are under a day (edition of 2024)."
    )
    return multiples(images, alt=f"{told(asked)}. {'; '.join(texts.values())}.", caption=caption)


def _called(one: Defined) -> str:
    return f"{one.profile}, author" if one.start == "author" else one.profile


def _profiles(page: Page, found: Sequence[Defined], target: float, name: str) -> None:
    axes: Axes = page.subplots()
    rows(axes, [_called(one).replace(", ", "\n") for one in found])
    for row, one in enumerate(found):
        _interval(axes, row, one.metrics[name])
    axes.set_title(NAMES[name], fontsize=SMALL, loc="left", pad=16)
    axes.tick_params(labelsize=SMALL)
    if name == FAILS:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: words.percent(share, 0)))
        mark(axes, target, "target", RED)
        return
    most = max(1.15 * _DAY, *(1.1 * (one.metrics[LEAD].high or one.metrics[LEAD].value or 0.0) for one in found))
    axes.set_xlim(0, most)
    step = next(hours for hours in (6, 12, 24, 48, 96, 192, 400, 800) if most <= 6 * hours * _HOUR or hours == 800)
    ticks = [hours for hours in range(0, 6 * step, step) if hours * _HOUR <= most]
    axes.set_xticks([hours * _HOUR for hours in ticks], [f"{hours} h" for hours in ticks])
    mark(axes, _DAY, "elite 2024", MUTED)


def _shown(metric: Metric) -> str:
    return ranged(metric.name, metric.value, metric.low, metric.high)


def _interval(axes: Axes, row: int, metric: Metric) -> None:
    if metric.value is None:
        axes.text(0, row, " no data", va="center", fontsize=SMALL, color=MUTED)
        return
    ends = [metric.value if end is None else end for end in (metric.low, metric.high)]
    axes.plot(ends, [row, row], color=BLUE, linewidth=5, alpha=0.45, solid_capstyle="butt", zorder=3)
    axes.plot(metric.value, row, "o", color=BLUE, markersize=5, zorder=4)
