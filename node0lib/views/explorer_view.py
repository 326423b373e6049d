"""What the threshold explorer shows: a sentence, four numbers, and one picture of two halves, drawn in 5 ms or so.

On the left the asked fault in the first simulated month: error ratio and thresholds, budget left, firing alerts. On the
right the time until the page over fault sizes, simulated (dots; an empty one was missed more often than found, and no
page is asked where there is none) and by closed form (thin lines, of the alerts that page, on steady traffic).

>>> from node0lib.alerts.policy import workbook_policy
>>> from node0lib.simulate.explore import Explorer, Question
>>> shown = explored(Explorer().answer(Question(workbook_policy(0.999), months=2)))
>>> shown.text.splitlines()[0][:46]
'A failure of 5% for 1h is paged after 17 min, '
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from html import escape

import numpy as np

from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.replay import Floats
from node0lib.simulate.explore import NOTABLY_UP, Answer, sentence
from node0lib.sli.intervals import Estimate
from node0lib.timespan import format_duration
from node0lib.views import words
from node0lib.views.alarms import COLORS, around, bars, closed_form, error_ratio, fires_when, when
from node0lib.views.canvas import Plot, Scale, figure
from node0lib.views.display import Display
from node0lib.views.figures import BLUE, INK, MUTED, RED, TRACK

_WIDTH, _HEIGHT = 1040, 392
_LEFT, _MIDDLE, _RIGHT = (52.0, 588.0), 652.0, 1020.0
_POINTS = 500
_EDGE_MIN = 7 * 1440.0
_MINUTE = timedelta(minutes=1)


def explored(found: Answer) -> Display:
    """Show an answer: the sentence, false pages, missed incidents, detection and budget, and the picture."""
    said, tiles = sentence(found), _numbers(found)
    shown = "".join(
        '<div style="padding:2px 28px 6px 0;line-height:1.35">'
        f'<div style="font-size:1.5em;font-weight:600">{escape(value)}</div>'
        f'<div style="color:{MUTED}">{escape(name)}</div><div style="color:{MUTED}">{escape(more)}</div></div>'
        for name, value, more in tiles
    )
    html = (
        f'<p class="n0-said" style="font-size:1.15em;line-height:1.4;margin:4px 0 10px">{escape(said)}</p>'
        f'<div class="n0-numbers" style="display:flex;flex-wrap:wrap">{shown}</div>{picture(found)}'
    )
    text = "\n".join((said, *(f"{name}: {value}{f' ({more})' if more else ''}" for name, value, more in tiles)))
    return Display(html, text)


def _numbers(found: Answer) -> tuple[tuple[str, str, str], ...]:
    """Name, value and interval of each number."""
    spent, paged = found.spent_at_detection, found.detection
    by_then = None if paged is None or math.isinf(paged.value) else spent
    asked = found.events > 0
    missed = f"missed incidents of {found.events}" if asked else "missed incidents"
    small = f"under {words.percent(found.rules.significant, 0)} of the budget: no page is asked"
    before = f"in {found.up_before} months up before" if found.up_before else ""
    time, interval = _told(paged, _lasting)
    pages, range_ = _told(found.healthy.false_pages, lambda v: f"{v:.2g}")
    up = f"up {words.percent(found.healthy_up)} of the time" if found.healthy_up > NOTABLY_UP else ""
    return (
        ("false pages a month", pages, "; ".join(filter(None, (range_, up)))),
        (missed, str(found.missed) if asked else "-", _recall(found.recall) if asked else small),
        ("median time to the page", time, "; ".join(filter(None, (interval, before)))),
        ("budget spent by then", *_told(by_then, words.percent)),
    )


def _told(estimate: Estimate | None, said: Callable[[float], str]) -> tuple[str, str]:
    if estimate is None:
        return "-", ""
    low, high = ("?" if end is None else said(end) for end in (estimate.low, estimate.high))
    return said(estimate.value), "" if low == high else f"95%: {low} to {high}"


def _recall(recall: Estimate | None) -> str:
    if recall is None or recall.low is None or recall.high is None:
        return ""
    return f"recall {words.percent(recall.value)}, 95%: {words.percent(recall.low)} to {words.percent(recall.high)}"


def _lasting(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def picture(found: Answer) -> str:
    """Return the picture as a figure in HTML; its description states the numbers."""
    asked = found.question
    policy, shown = asked.policy, around(found)
    fault = f"a failure of {words.percent(asked.size)} for {format_duration(asked.length)}"
    plots, spoken = _timeline(found, *shown)
    curve = ", ".join(f"{words.percent(size)} {when(time)}" for size, time, _ in found.curve)
    left = f"Left: {fault} in the first of {asked.months} simulated months. {spoken}"
    alt = f"{left} Right: median time until the page by share of requests that fail: {curve}."
    caption = (
        f"{fault[:1].upper()}{fault[1:]}, simulated. Dots: medians of {asked.months} months, empty where missed more "
        f"often than found, none where under {words.percent(found.rules.significant, 0)} of the budget is spent. Thin "
        "lines: closed forms on steady traffic with this floor."
    )
    plots.append(_curve(found.curve, policy, found))
    return figure(plots, _WIDTH, _HEIGHT, alt=alt, caption=caption)


def _timeline(found: Answer, rows: slice, onset: int) -> tuple[list[Plot], str]:
    """The left half, and what its alerts do in words."""
    policy, step = found.question.policy, (found.first.step_ms or 60_000) / 60_000
    minutes = (np.arange(rows.start, rows.stop) + 1 - onset) * step
    ratio = error_ratio(found.first.bad[rows], found.first.total[rows], 5) * 100
    left = (1.0 - (found.spent[rows] - found.spent[rows][0])) * 100
    across = Scale(float(minutes[0]), float(minutes[-1]), *_LEFT)
    top = Plot(across, Scale(_power(policy.budget * 10, -1), 100.0, 164.0, 26.0, log=True))
    middle = Plot(across, Scale(_round_below(left), 100.0, 278.0, 208.0))
    every = max(1, minutes.size // _POINTS)
    for plot in (top, middle):
        plot.shade(0.0, found.question.length / _MINUTE, TRACK)
    top.axes("errors over 5 minutes, %", x_labels=False)
    middle.axes("budget left, %", x_labels=False)
    _thresholds(top, policy)
    top.line(minutes[::every], _peaks(np.maximum(ratio, top.y.low), every), INK)
    middle.line(minutes[::every], left[::every], BLUE)
    spoken = [fires_when(a.name, minutes, fires) for a, fires in zip(policy.alerts, found.firing[:, rows], strict=True)]
    spent = words.percent(float(left[0] - left[-1]) / 100)
    return [top, middle, _rows(found, rows, minutes, across)], f"{'; '.join(spoken)}. Budget spent there: {spent}."


def _thresholds(top: Plot, policy: AlertPolicy) -> None:
    """A line for each alert, named where there is room for a name; the first, which page, first."""
    named: list[float] = []
    for alert in policy.alerts:
        at = float(top.y.at(policy.threshold(alert) * 100))
        roomy = all(abs(at - other) >= 13 for other in named)
        top.across(policy.threshold(alert) * 100, COLORS[alert.severity], alert.name if roomy else "")
        named += [at] * roomy


def _rows(found: Answer, rows: slice, minutes: Floats, across: Scale) -> Plot:
    """One row for each alert, with a bar where it fires."""
    policy = found.question.policy
    bottom = 308.0 + 16.0 * len(policy.alerts)
    plot = Plot(across, Scale(0.0, 1.0, bottom, 308.0))
    plot.text(across.start, 302.0, "alerts firing", "start", INK, bold=True)
    for value in across.ticks():
        plot.text(float(across.at(value)), bottom + 16, f"{value:g}", "middle", MUTED)
    for row, (alert, fires) in enumerate(zip(policy.alerts, found.firing[:, rows], strict=True)):
        at = 308.0 + 16.0 * row
        plot.bar(across.start, at + 1, across.end - across.start, 13, TRACK)
        for begin, length in bars(minutes, fires):
            first, last = (float(across.at(value)) for value in (begin, begin + length))
            plot.bar(first, at + 1, max(last - first, 1.5), 13, COLORS[alert.severity])
        plot.text(across.start + 4, at + 12, alert.name, "start", INK)
    plot.text(across.end, 302.0, "minutes since the fault began", "end", MUTED)
    return plot


def _curve(curve: Sequence[tuple[float, float, float]], policy: AlertPolicy, found: Answer) -> Plot:
    """The right half."""
    asked = found.question
    sizes = np.array([size for size, _, _ in curve])
    minutes = np.clip([time / 60 for _, time, _ in curve], 1.0, _EDGE_MIN)
    share = np.array([share for _, _, share in curve])
    seen, is_asked = share >= 0.5, np.isfinite(share)
    paging = [alert for alert in policy.alerts if alert.severity in asked.paging]
    slowest = max([*minutes[seen], *(alert.long / _MINUTE for alert in paging), 10.0])
    plot = Plot(
        Scale(0.1, 100.0, _MIDDLE, _RIGHT, log=True), Scale(1.0, float(_power(slowest, 1)), 340.0, 26.0, log=True)
    )
    plot.axes("minutes until the page", below="share of requests that fail, %")
    plot.upright(asked.size * 100, MUTED)
    fine = np.geomspace(0.001, 1.0, 60)
    for alert in paging:
        reached, closed = closed_form(alert, policy.budget, fine, asked.floor.rate)
        plot.line(reached * 100, closed, COLORS[alert.severity], 1.2)
    plot.line(sizes * 100, np.where(seen, minutes, np.nan), INK, 1.8)
    for size, minute, is_seen in zip(sizes[is_asked], minutes[is_asked], seen[is_asked], strict=True):
        plot.dot(size * 100, minute if is_seen else plot.y.high, INK if is_seen else RED, filled=bool(is_seen))
    return plot


def _power(value: float, direction: int) -> float:
    """The power of ten at or beyond a value, downwards (-1) or upwards (1)."""
    exponent = math.log10(value)
    return float(10.0 ** (math.floor(exponent + 1e-9) if direction < 0 else math.ceil(exponent - 1e-9)))


def _round_below(left: Floats) -> float:
    """Where the scale of the budget left begins: at a round number below it, at most a few budgets overspent."""
    low = float(np.nanmin(left)) if np.isfinite(left).any() else 0.0
    step = 20.0 if low > 40 else 50.0
    return max(-400.0, math.floor(min(low, 99.0) / step) * step)


def _peaks(values: Floats, every: int) -> Floats:
    """The highest of each few values: thinned out, a peak must stay."""
    padded = np.concatenate((values, np.full(-values.size % every, np.nan)))
    return np.asarray(np.fmax.reduce(padded.reshape(-1, every), axis=1))
