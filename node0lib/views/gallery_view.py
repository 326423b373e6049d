"""The fault gallery as pictures: small multiples of firing alerts against the budget, alert pairs, policies.

Everything here is simulated and says so; what is missed stands at an edge of its own, never left out. Alerts are told
apart by row and shape, not by colour alone.

>>> hours_shown(20, 60_000), hours_shown(2880, 60_000)
((-1.0, 8.0), (-9.0, 57.0))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import Quality
from node0lib.alerts.replay import Bools
from node0lib.simulate.months import PAGE
from node0lib.simulate.study import HEALTHY, Runs, Shown, Study, together
from node0lib.sli.intervals import Estimate
from node0lib.timespan import format_duration
from node0lib.views import words
from node0lib.views.alarms import COLORS, amount, estimated, lasting
from node0lib.views.display import Display, note
from node0lib.views.figures import BLUE, GRID, INK, MUTED, RED, SMALL, Figure, image, multiples, rows

_TINY = 8.5
_ROW = 15.0
_MARKS = "oD^vsPX*"
_HOUR_MS = 3_600_000


def hours_shown(steps: int, step_ms: int) -> tuple[float, float]:
    """Return from when to when a fault of so many steps is shown, in hours since it began: most alike, to compare."""
    length = steps * step_ms / _HOUR_MS
    return (-1.0, 8.0) if length <= 4 else (-float(round(length * 0.18)), float(round(length * 1.18)))


def firing_against_budget(asked: Study, months: Mapping[str, Shown]) -> Figure:
    """Draw every fault of the gallery in one simulated month: budget left, and below it which alerts fire."""
    policy = asked.policy
    height = 1.55 + 0.13 * len(policy.alerts)
    told = {name: f"{name}: {_told(shown, policy)}" for name, shown in months.items()}
    images = [
        image(partial(_story, name=name, shown=shown, policy=policy), width=2.5, height=height, alt=told[name])
        for name, shown in months.items()
    ]
    alerts = ", ".join(format_duration(alert.long) for alert in policy.alerts)
    caption = (
        "One simulated month for each fault, over hours since the fault began. Line: error budget left; grey: the "
        f"fault; bars: firing alerts, named by their long windows ({alerts}), red critical, orange warning, blue info. "
        "All but the two-day burn have the same scale; overspent budget is drawn at 0."
    )
    alt = f"Simulated faults, policy {asked.chosen}. {'; '.join(told.values())}."
    return multiples(images, alt=alt, caption=caption)


def _window(shown: Shown) -> tuple[slice, float]:
    """The steps that are shown, and a step's length in hours."""
    step_ms = shown.series.step_ms or 60_000
    step = step_ms / _HOUR_MS
    low, high = hours_shown(shown.end - shown.first, step_ms)
    first, end = shown.first + round(low / step), shown.first + round(high / step)
    return slice(max(0, first), min(shown.spent.size, end)), step


def _story(page: Page, name: str, shown: Shown, policy: AlertPolicy) -> None:
    axes: Axes = page.subplots()
    part, step = _window(shown)
    hours = (np.arange(part.start, part.stop) + 1 - shown.first) * step
    left = np.clip(1.0 - shown.spent[part], 0.0, 1.0) * 100
    axes.axvspan(0, (shown.end - shown.first) * step, color=GRID, alpha=0.7, linewidth=0, zorder=0)
    axes.plot(hours, left, color=BLUE, linewidth=1.7, zorder=3)
    places = [-_ROW * (row + 1) for row in range(len(policy.alerts))]
    for alert, fires, at in zip(policy.alerts, shown.firing, places, strict=True):
        bars = [((start - shown.first + 1) * step, (end - start) * step) for start, end in _spans(fires[part], part)]
        axes.broken_barh(bars, (at - 4.5, 9.0), color=COLORS[alert.severity], zorder=3)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_ylim(places[-1] - 8, 104)
    axes.set_xlim(hours[0] - step, hours[-1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}h")
    names = [format_duration(alert.long) for alert in policy.alerts]
    axes.set_yticks([100, 50, 0, *places], ["100%", "50%", "0", *names], fontsize=_TINY)
    axes.tick_params(axis="x", labelsize=_TINY)
    axes.tick_params(length=0)
    axes.set_title(name, loc="left", fontsize=10, color=INK, pad=3)


def _spans(fires: Bools, part: slice) -> list[tuple[int, int]]:
    """Intervals [start, end) of the whole series in which an alert fires, of a part of it."""
    edges = np.diff(np.concatenate(([0], fires.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(part.start + int(a), part.start + int(b)) for a, b in zip(starts, ends, strict=True)]


def _told(shown: Shown, policy: AlertPolicy) -> str:
    part, step = _window(shown)
    before = float(shown.spent[shown.first - 1]) if shown.first else 0.0
    share = max(0.0, float(shown.spent[shown.end - 1]) - before)
    firing = []
    for alert, fires in zip(policy.alerts, shown.firing, strict=True):
        spans = _spans(fires[part], part)
        if spans:
            start, end = (_minutes(s - shown.first + 1, step) for s in (spans[0][0], spans[-1][1]))
            times = "" if len(spans) == 1 else f" ({len(spans)} times)"
            firing.append(f"{alert.name} {start} to {end} min{times}")
    return f"spends {words.percent(share)} of the budget, " + (", ".join(firing) or "no alert fires")


def _minutes(steps: int, step: float) -> str:
    return f"{steps * step * 60:g}"


@dataclass(frozen=True)
class _Panel:
    """One measure: its head, what to take of a quality, how that is said, and its scale."""

    head: str
    of: Callable[[Quality], Estimate | None]
    told: Callable[[float], str]
    scale: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    linear: bool = False


_TIMES = (1.0, 10.0, 60.0, 600.0, 4320.0)
_TIMES_TOLD = ("1m", "10m", "1h", "10h", "3d")
_DETECTION = _Panel("detected after", lambda q: q.detection, lasting, 1 / 60, _TIMES, _TIMES_TOLD)
_PAIR_PANELS = (
    _DETECTION,
    _Panel("reset after the end", lambda q: q.reset, lasting, 1 / 60, _TIMES, _TIMES_TOLD),
    _Panel("budget spent at detection", lambda q: q.spent_at_detection, words.percent, 100.0, (1.0, 10.0, 100.0),
           ("1%", "10%", "100%")),
)
_POLICY_PANELS = (
    _Panel("recall", lambda q: q.recall, words.percent, 100.0, (0.0, 50.0, 100.0), ("0", "50%", "100%"), linear=True),
    _Panel("false pages a month", lambda q: q.false_pages, amount, 1.0, (0.01, 0.1, 1, 10, 100),
           ("0", "0.1", "1", "10", "100")),
    _DETECTION,
)


def pairs(asked: Study, runs: Runs) -> Display:
    """Draw for every significant fault and every alert: median detection, reset and budget spent, with intervals."""
    alerts = asked.policy.alerts
    found = {name: run[asked.chosen] for name, run in runs.items() if run[asked.chosen][PAGE].events}
    least = words.percent(asked.rules.significant, 0)
    if not found:
        return note(f"No alert to compare: no fault spends {least} of the budget.")

    def draw(page: Page, panel: _Panel) -> None:
        axes = page.subplots()
        _scaled(axes, panel, list(found))
        for row, run in enumerate(found.values()):
            for n, alert in enumerate(alerts):
                at, color = row + _offset(n, len(alerts)), COLORS[alert.severity]
                _dot(axes, panel, run[alert.name], at, color, _mark(n))
        _legend(page, alerts)

    names = [alert.name for alert in alerts]
    told = {p.head: _spoken(p, {f"{f}, {n}": run[n] for f, run in found.items() for n in names}) for p in _PAIR_PANELS}
    height = 0.8 + 0.16 * math.ceil(len(alerts) / 2) + 0.42 * len(found)
    images = [image(partial(draw, panel=p), width=3.3, height=height, alt=told[p.head]) for p in _PAIR_PANELS]
    caption = (
        f"Medians with 95% intervals over {asked.months} simulated months of each fault, for every alert of the policy "
        f"{asked.chosen}. Crosses at the right edge: missed in most months. Faults that spend under {least} of the "
        "budget are not asked about."
    )
    return multiples(images, alt=f"Alert by alert, simulated. {' '.join(told.values())}", caption=caption)


def _mark(number: int) -> str:
    return _MARKS[number % len(_MARKS)]


def _spoken(panel: _Panel, found: Mapping[str, Quality]) -> str:
    """All that a panel shows, in words."""
    told = ((name, panel.of(quality)) for name, quality in found.items())
    return f"{panel.head}: " + "; ".join(f"{name} {estimated(one, panel.told)}" for name, one in told) + "."


def policies(asked: Study, runs: Runs) -> Figure:
    """Draw recall, false pages and detection of every policy over all kinds of month, with intervals."""
    found = {name: together(runs, name) for name in asked.policies}

    def draw(page: Page, panel: _Panel) -> None:
        axes = page.subplots()
        _scaled(axes, panel, list(found))
        for row, (name, quality) in enumerate(found.items()):
            color, mark = (RED, "D") if name == asked.chosen else (INK, "o")
            _dot(axes, panel, quality, row, color, mark)

    told = {panel.head: _spoken(panel, found) for panel in _POLICY_PANELS}
    height = 0.7 + 0.24 * len(found)
    images = [image(partial(draw, panel=p), width=3.3, height=height, alt=told[p.head]) for p in _POLICY_PANELS]
    months = found[asked.chosen].months
    caption = (
        f"What pages, over {months:g} simulated months, {len(runs) - (HEALTHY in runs)} kinds of fault and none in "
        f"equal shares, with 95% intervals. Diamond: {asked.chosen}. Cross: missed more often than not."
    )
    return multiples(images, alt=f"Policies side by side, simulated. {' '.join(told.values())}", caption=caption)


def _scaled(axes: Axes, panel: _Panel, names: Sequence[str]) -> None:
    rows(axes, names)
    low, high = panel.ticks[0], panel.ticks[-1]
    if panel.linear:
        axes.set_xlim(low - 4, high + 8)
    else:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.8, high * 4)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
    axes.set_xticks(panel.ticks, panel.labels, fontsize=_TINY)
    axes.set_title(panel.head, loc="left", fontsize=10, color=INK)
    axes.tick_params(axis="y", labelsize=SMALL)


def _dot(axes: Axes, panel: _Panel, quality: Quality, at: float, color: str, mark: str) -> None:
    """A value with its interval, drawn within the panel; what is missed is a cross at the right edge."""
    estimate = panel.of(quality)
    if estimate is None:
        return
    low, high = panel.ticks[0], axes.get_xlim()[1]
    edge = high / 1.3 if not panel.linear else high - 2
    if math.isinf(estimate.value):
        axes.plot(edge, at, "x", color=color, markersize=5, zorder=3)
        return
    value = _within(estimate.value * panel.scale, low, edge)
    ends = zip((estimate.low, estimate.high), (low, edge), strict=True)  # an end that is not known is drawn as far off
    least, most = (_within((far / panel.scale if end is None else end) * panel.scale, low, edge) for end, far in ends)
    axes.plot([least, most], [at, at], color=color, linewidth=2.4, alpha=0.45, solid_capstyle="butt", zorder=2)
    axes.plot(value, at, mark, color=color, markersize=4.5, zorder=3)


def _within(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def _offset(n: int, of: int) -> float:
    return 0.0 if of == 1 else 0.56 * (n / (of - 1) - 0.5)


def _legend(page: Page, alerts: Sequence[BurnAlert]) -> None:
    handles = [
        Line2D([], [], marker=_mark(n), color=COLORS[alert.severity], linestyle="", markersize=5, label=alert.name)
        for n, alert in enumerate(alerts)
    ]
    page.legend(handles=handles, loc="outside lower center", ncols=min(2, len(alerts)), frameon=False, fontsize=SMALL,
                handletextpad=0.2, columnspacing=1.2)  # fmt: skip
