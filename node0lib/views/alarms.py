"""What alerts do, as pictures: firing timelines against the budget, detection over fault sizes, policies side by side.

Every picture is of simulated or recorded events and says which; what was missed is drawn at the edge, never dropped.

>>> detection_curve([(0.01, math.inf, 0.0)], [], simulated="4 simulated months").text
'Detection time by size of the fault, 4 simulated months: 1.0% of requests never.'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from node0lib.alerts import closed_forms
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import Quality
from node0lib.alerts.replay import Bools, BucketSeries, Floats
from node0lib.simulate.explore import Answer
from node0lib.sli.intervals import Estimate
from node0lib.timespan import format_duration
from node0lib.views import words
from node0lib.views.display import Display
from node0lib.views.figures import BLUE, INK, MUTED, ORANGE, RED, SMALL, Figure, picture, rows
from node0lib.views.tables import Column, table

COLORS = {"critical": RED, "warning": ORANGE, "info": BLUE}
_EDGE_S = 7 * 86_400.0
"""What takes longer is drawn at the edge."""
_AT_ONCE_S = 30.0
"""A page that was up before the fault takes no time; there is no 0 on a scale of powers."""


def around(found: Answer) -> tuple[slice, int]:
    """Return the steps of the first month to be shown, from well before the fault to well after it, and its onset."""
    asked = found.question
    step = timedelta(milliseconds=found.first.step_ms or 60_000)
    onset, length = asked.onset // step, asked.length // step
    before, after = max(60, length // 2), max(240, 2 * length)
    return slice(max(0, onset - before), min(found.first.ends_ms.size, onset + length + after)), onset


def answer(found: Answer) -> Figure:
    """Draw the asked fault in the first simulated month, with the alerts that fire on it and the budget it spends."""
    asked = found.question
    rows_, onset = around(found)
    told = f"a failure of {words.percent(asked.size)} for {format_duration(asked.length)}, simulated"
    return firing_timeline(asked.policy, found.first, found.firing, found.spent, rows_, onset, told)


def firing_timeline(
    policy: AlertPolicy, series: BucketSeries, firing: Bools, spent: Floats, rows_: slice, onset: int, told: str
) -> Figure:
    """Draw error ratio, budget left and firing alerts over some steps of a series, minutes counted from ``onset``.

    ``firing`` (alerts, n) and ``spent`` (n,) belong to the steps of the series; ``told`` says what is shown.
    """
    minutes = (np.arange(rows_.start, rows_.stop) + 1 - onset) * (series.step_ms or 60_000) / 60_000
    ratio = error_ratio(series.bad[rows_], series.total[rows_], 5)
    left = 1.0 - (spent[rows_] - spent[rows_][0])
    shown = firing[:, rows_]

    def draw(page: Page) -> None:
        top, middle, bottom = page.subplots(3, 1, sharex=True, height_ratios=(3, 2, 0.5 * len(policy.alerts) + 0.4))
        _ratios(top, minutes, ratio, policy)
        middle.plot(minutes, left * 100, color=BLUE, linewidth=1.6)
        middle.set_ylabel("budget left, %", fontsize=SMALL)
        rows(bottom, [alert.name for alert in policy.alerts])
        for row, (alert, fires) in enumerate(zip(policy.alerts, shown, strict=True)):
            bottom.broken_barh(bars(minutes, fires), (row - 0.3, 0.6), color=COLORS[alert.severity])
        bottom.set_xlabel("minutes since the fault began", fontsize=SMALL)
        for axes in (top, middle, bottom):
            axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))

    told_alerts = zip(policy.alerts, shown, strict=True)
    spoken = "; ".join(fires_when(alert.name, minutes, fires) for alert, fires in told_alerts)
    title = f"{told[:1].upper()}{told[1:]}"
    alt = f"{title}. {spoken}. Budget spent in the picture: {words.percent(float(1 - left[-1]))}."
    caption = f"{title}: error ratio over 5 minutes with the alerts' thresholds, budget left, firing alerts."
    return picture(draw, height=4.6, alt=alt, caption=caption)


def _ratios(axes: Axes, minutes: Floats, ratio: Floats, policy: AlertPolicy) -> None:
    axes.plot(minutes, np.maximum(ratio, 1e-5) * 100, color=INK, linewidth=1.2)
    for alert in policy.alerts:
        axes.axhline(policy.threshold(alert) * 100, color=COLORS[alert.severity], linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yscale("log")
    axes.set_ylabel("errors, %", fontsize=SMALL)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def error_ratio(bad: Floats, total: Floats, steps: int) -> Floats:
    """Error ratio over the last few steps; NaN without traffic."""
    kernel = np.ones(steps)
    events = np.convolve(np.nan_to_num(total), kernel)[: total.size]
    failed = np.convolve(np.nan_to_num(bad), kernel)[: bad.size]
    return np.asarray(np.divide(failed, events, out=np.full(bad.size, np.nan), where=events > 0))


def bars(minutes: Floats, fires: Bools) -> list[tuple[float, float]]:
    """Return begin and length, in minutes, of each time that an alert fires."""
    edges = np.diff(np.concatenate(([0], fires.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    step = float(minutes[1] - minutes[0]) if minutes.size > 1 else 1.0
    return [(float(minutes[start]), (end - start) * step) for start, end in zip(starts, ends, strict=True)]


def fires_when(name: str, minutes: Floats, fires: Bools) -> str:
    """Say when an alert fires, the first three times."""
    times = bars(minutes, fires)
    if not times:
        return f"{name} does not fire"
    spans = ", ".join(f"{start:g} to {start + length:g}" for start, length in times[:3])
    more = f" and {len(times) - 3} times more" if len(times) > 3 else ""
    return f"{name} fires from minute {spans}{more}"


def detection_curve(
    curve: Sequence[tuple[float, float, float]],
    policies: Sequence[AlertPolicy],
    *,
    simulated: str,
    asked: float | None = None,
    floor: float = 0.0,
) -> Figure:
    """Draw the median detection time over fault sizes, and the closed form of each alert on ``floor`` as a thin line.

    ``curve`` has rows (size, seconds or +inf, share detected), NaN where no page is asked: nothing is drawn there.
    """
    sizes = np.array([size for size, _, _ in curve])
    seconds = np.clip([time for _, time, _ in curve], _AT_ONCE_S, _EDGE_S)
    seen = np.array([share for _, _, share in curve])

    def draw(page: Page) -> None:
        axes = page.subplots()
        for policy in policies:
            _closed_forms(axes, policy, sizes, floor)
        found, missed = seen >= 0.5, seen < 0.5
        axes.plot(sizes[found] * 100, seconds[found] / 60, "o-", color=INK, linewidth=1.6, markersize=5)
        axes.plot(sizes[missed] * 100, np.full(missed.sum(), axes.get_ylim()[1]), "x", color=RED, markersize=7)
        if asked is not None:
            axes.axvline(asked * 100, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("share of requests that fail, %", fontsize=SMALL)
        axes.set_ylabel("minutes until the page", fontsize=SMALL)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")

    told = ", ".join(f"{words.percent(size)} of requests {when(time)}" for size, time, _ in curve)
    alt = f"Detection time by size of the fault, {simulated}: {told}."
    caption = f"Median time until the page, {simulated}; crosses: missed more often than found; lines: closed form."
    return picture(draw, height=3.0, alt=alt, caption=caption)


def _closed_forms(axes: Axes, policy: AlertPolicy, sizes: Floats, floor: float) -> None:
    for alert in policy.alerts:
        reached, minutes = closed_form(alert, policy.budget, sizes, floor)
        if reached.size:
            axes.plot(reached * 100, minutes, color=COLORS[alert.severity], linewidth=0.9, alpha=0.8)


def closed_form(alert: BurnAlert, budget: float, sizes: Floats, floor: float) -> tuple[Floats, Floats]:
    """Return the fault sizes that an alert tells on steady traffic, and after how many minutes, by arithmetic.

    A fault of a size fails that share of the requests that the floor spares. None if the floor alone is enough.

    >>> from node0lib.alerts.policy import workbook_policy
    >>> page = workbook_policy(0.999).alerts[0]
    >>> reached, minutes = closed_form(page, 0.001, np.array([0.01, 0.1]), 0.004)
    >>> reached.tolist(), minutes.round(2).tolist()
    ([0.1], [6.27])
    """
    if floor >= alert.factor * budget:
        return np.zeros(0), np.zeros(0)
    errors = ((size, size + floor - size * floor) for size in sizes)
    times = [(size, closed_forms.detection(alert, budget, float(error), floor=floor)) for size, error in errors]
    told = [(size, time / timedelta(minutes=1)) for size, time in times if time is not None]
    return np.array([size for size, _ in told]), np.array([minutes for _, minutes in told])


def when(seconds: float) -> str:
    """Say how soon something is paged; +inf is never, 0 before it began, NaN that no page is asked."""
    if math.isnan(seconds):
        return "spends too little to ask for a page"
    if math.isinf(seconds):
        return "never"
    return f"after {seconds / 60:.3g} min" if seconds else "while a page is up already"


_COLUMNS = (
    Column("policy or alert"),
    Column("pages", number=True),
    Column("false pages a month", number=True),
    Column("recall", number=True),
    Column("precision", number=True),
    Column("median detection", number=True),
    Column("median reset", number=True),
    Column("budget spent", number=True),
    Column("flaps", number=True),
)


def qualities(found: Mapping[str, Quality], caption: str) -> Display:
    """Show qualities side by side, each estimate with its 95% interval."""
    return table(caption, _COLUMNS, [(name, *_cells(quality)) for name, quality in found.items()])


def _cells(quality: Quality) -> tuple[str, ...]:
    return (
        f"{quality.pages}",
        estimated(quality.false_pages, amount),
        estimated(quality.recall, _whole),
        estimated(quality.precision, _whole),
        estimated(quality.detection, lasting),
        estimated(quality.reset, lasting),
        estimated(quality.spent_at_detection, words.percent),
        f"{quality.flaps}",
    )


def amount(value: float) -> str:
    """How many a month, with two figures or all."""
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _whole(share: float) -> str:
    return words.percent(share, 0)


def lasting(seconds: float) -> str:
    """How long something took, in seconds, minutes, hours or days; +inf was missed."""
    if math.isinf(seconds):
        return "missed"
    if seconds < 59.5:
        return f"{seconds:.3g} s"
    if seconds >= 14 * 86_400:
        return f"{seconds / 86_400:.3g} d"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def estimated(estimate: Estimate | None, told: Callable[[float], str]) -> str:
    """Value and interval; a dash if nothing was counted, a question mark for an end that the sample cannot give.

    A unit that all three share is written once: 8 min (7 to 8).
    """
    if estimate is None:
        return "-"
    low, high = ("?" if end is None else told(end) for end in (estimate.low, estimate.high))
    value = told(estimate.value)
    if low == high == value or (math.isinf(estimate.value) and low == "?"):
        return value
    unit = value.lstrip("0123456789.")
    if unit != value and all(end == "?" or end.endswith(unit) for end in (low, high)):
        low, high = low.removesuffix(unit), high.removesuffix(unit)
    return f"{value} ({low} to {high})"
