"""Pictures of a rollout: what each metric's ratio may be, look by look; the share that the canary got; who failed more.

Small plots, 420 units wide, so that a phone can show them and a desk two side by side. Stages are shaded in turn and
named by their share. Rollouts of thousands of looks are thinned (ratios) or summed (counts); the last look of every
stage is always there, and the alternative text states its numbers. What cannot be drawn says why.

>>> RatioScale(0.3, 5.0, 0.0, 1.0, log=True).ticks()
[0.5, 1.0, 2.0, 4.0]
>>> thinned([1, 1, 1, 1, 2, 2, 2], most=3)
[0, 3, 6]
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from node0lib.canary.analysis import add
from node0lib.canary.record import RolloutRecord
from node0lib.canary.sequential import MetricVerdict
from node0lib.canary.walk import Seen
from node0lib.ports import Arm
from node0lib.views import words
from node0lib.views.canary_incident import lasting
from node0lib.views.canvas import Plot, Scale, figure
from node0lib.views.display import Display, note
from node0lib.views.figures import BLUE, INK, MUTED, ORANGE, RED, SKY

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 408.0, 48.0, 204.0
_TITLE, _STAGES = 18.0, 40.0
"""Where the title stands, and below it the names of the stages."""
_WASH = "#eef2f6"
_POINTS, _SUMS = 240, 90
_LETTER = 7.6


class RatioScale(Scale):
    """A logarithmic scale with a line at every doubling."""

    def ticks(self, most: int = 6) -> list[float]:
        """Return powers of two within the scale, or of four where these are too many."""
        first, last = math.ceil(math.log2(self.low) - 1e-9), math.floor(math.log2(self.high) + 1e-9)
        step = 1 if last - first < most else 2
        return [2.0**n for n in range(first, last + 1) if n % step == 0]


@dataclass(frozen=True)
class _Part:
    """Looks of one revision at one share; ``ends`` is when the last of them ended, in minutes."""

    share: float
    revision: str
    looks: tuple[Seen, ...]

    @property
    def starts(self) -> float:
        return self.looks[0].look.minute

    @property
    def ends(self) -> float:
        return self.looks[-1].look.minute + self.looks[-1].look.length


@dataclass(frozen=True)
class _Time:
    """Minutes, or seconds where there are few of them."""

    unit: str
    factor: float
    ends: float

    def at(self, minutes: float) -> float:
        return minutes * self.factor


def thinned(keys: Sequence[Hashable], most: int) -> list[int]:
    """Return about ``most`` evenly spaced places of a sequence, and the last of every run of equal keys."""
    step = max(1, math.ceil(len(keys) / most))
    return [n for n, key in enumerate(keys) if n % step == 0 or n + 1 == len(keys) or keys[n + 1] != key]


def parts_of(looks: Sequence[Seen]) -> list[_Part]:
    """Return the looks, those of one revision at one share together, in order."""
    grouped = groupby(looks, key=lambda s: (s.rollout.share, s.rollout.revision))
    return [_Part(share, revision, tuple(seen)) for (share, revision), seen in grouped]


def ratio(record: RolloutRecord, metric: str) -> Display:
    """Draw a metric's ratio of canary to control after every look, what is not excluded, and the margin.

    A rollout that compared nothing, since it began at 100%, is drawn against its absolute limit.
    """
    name = words.metric(metric)
    parts = parts_of(record.looks)
    known = [_verdicts(part, metric) for part in parts]
    compared = [found if part.share < 1 else [] for part, found in zip(parts, known, strict=True)]
    if not any(known):
        return note(f"{name}: nothing was compared.")
    absolute = not any(compared)
    drawn = known if absolute else compared
    asked = f"{name}, to its absolute limit" if absolute else f"{name}, ratio of canary to control"
    plot, time = _plot(record, parts, _ratios(drawn), asked)
    for revision in dict.fromkeys(part.revision for part in parts):
        mine = [found for part, found in zip(parts, drawn, strict=True) if part.revision == revision]
        _draw(plot, time, [one for found in mine for one in found], absolute)
    _margins(plot, time, parts, drawn)
    told = "; ".join(_spoken(part, found[-1][1]) for part, found in zip(parts, known, strict=True) if found)
    caption = _spoken_last(name, drawn)
    alt = f"{asked} over {time.at(time.ends):.4g} {time.unit}. {told}."
    return Display(figure([plot], WIDTH, HEIGHT, alt=alt, caption=caption), alt)


def _verdicts(part: _Part, metric: str) -> list[tuple[float, MetricVerdict]]:
    """(minute, verdict) of the looks that say something of the metric, thinned."""
    found = [
        (s.look.minute + s.look.length, v)
        for s in part.looks
        for v in s.reading.verdicts
        if v.metric == metric and v.kind != "no_data"
    ]
    return [found[n] for n in thinned([0] * len(found), _POINTS)]


def _ratios(known: Sequence[Sequence[tuple[float, MetricVerdict]]]) -> Scale:
    """A scale that shows where every stage ended, the margins, and at least a half to a doubling."""
    lasts = [found[-1][1] for found in known if found]
    shown = [x for v in lasts for x in (v.low, v.high, v.margin, v.ratio or v.margin) if 0 < x < math.inf]
    low, high = min([0.5, *(x / 1.15 for x in shown)]), max([2.0, *(x * 1.15 for x in shown)])
    return RatioScale(max(low, 0.05), min(high, 32.0), _BOTTOM, _TOP, log=True)


def _plot(record: RolloutRecord, parts: Sequence[_Part], y: Scale, title: str) -> tuple[Plot, _Time]:
    """A plot over the whole rollout with its stages shaded in turn and its axes, and how time is told on it."""
    ends = parts[-1].ends
    time = _Time("minutes since it began", 1, ends) if ends >= 3 else _Time("seconds since it began", 60, ends)
    plot = Plot(Scale(0.0, time.at(ends) * 1.03, _LEFT, _RIGHT), y)
    spans = [(time.at(part.starts), time.at(part.ends)) for part in parts]
    for first, last in spans[::2]:
        plot.shade(first, last, _WASH)
    plot.axes("", below=time.unit)
    plot.text(_LEFT, _TITLE, title, "start", INK, bold=True)
    for part, (first, last) in zip(parts, spans, strict=True):
        text, (a, b) = f"{100 * part.share:.3g}%", plot.x.at(np.array([first, last]))
        if b - a > _LETTER * len(text):
            plot.text(float(a + b) / 2, _STAGES, text, "middle", MUTED)
    if record.walked and record.walked.ending != "promoted":
        plot.upright(time.at(ends), RED if record.walked.ending == "rolled_back" else INK)
    return plot, time


def _draw(plot: Plot, time: _Time, found: Sequence[tuple[float, MetricVerdict]], absolute: bool) -> None:
    """Draw one revision's estimates and what is not excluded."""
    if not found:
        return
    x = np.array([time.at(minute) for minute, _ in found])
    low, high = (np.array([getattr(v, name) for _, v in found]) for name in ("low", "high"))
    shown = [v.high if absolute else math.nan if v.ratio is None else v.ratio for _, v in found]
    _band(plot, x, low, high)
    _line(plot, x, np.array(shown), BLUE, 2.0)


def _line(plot: Plot, x: Floats, y: Floats, color: str, width: float) -> None:
    """Draw a line; what stands alone between two gaps gets a dot."""
    known = np.concatenate([[False], np.isfinite(y), [False]])
    plot.line(x, y, color, width)
    for n in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]):
        plot.dot(float(x[n]), float(y[n]), color)


def _band(plot: Plot, x: Floats, low: Floats, high: Floats) -> None:
    """Fill between two lines; a single look has a bar."""
    if x.size == 1:
        top, bottom = float(plot.y.at(high)[0]), float(plot.y.at(low)[0])
        plot.bar(float(plot.x.at(x)[0]) - 3, top, 6, bottom - top, SKY, 0.45)
        return
    there = [f"{a:.1f},{b:.1f}" for a, b in zip(plot.x.at(x), plot.y.at(high), strict=True)]
    back = [f"{a:.1f},{b:.1f}" for a, b in zip(plot.x.at(x[::-1]), plot.y.at(low[::-1]), strict=True)]
    plot.parts.append(f'<polygon points="{" ".join([*there, *back])}" fill="{SKY}" fill-opacity="0.45"/>')


def _margins(
    plot: Plot, time: _Time, parts: Sequence[_Part], known: Sequence[Sequence[tuple[float, MetricVerdict]]]
) -> None:
    """Draw the margin over every stage that has one, and write the last of them."""
    there = [(part, found[-1][1].margin) for part, found in zip(parts, known, strict=True) if found]
    for part, margin in there:
        (a, b), at = plot.x.at(np.array([time.at(part.starts), time.at(part.ends)])), float(plot.y.at(margin))
        plot.parts.append(
            f'<line x1="{a:.1f}" y1="{at:.1f}" x2="{b:.1f}" y2="{at:.1f}" stroke="{RED}" stroke-width="1.6" '
            'stroke-dasharray="5 4"/>'
        )
    if there[-1][0].share < 1:
        plot.text(_RIGHT, _TITLE, f"margin {words.rate(there[-1][1])}", "end", RED)


def _spoken_last(name: str, known: Sequence[Sequence[tuple[float, MetricVerdict]]]) -> str:
    """What was known in the end: the caption."""
    v = next(found[-1][1] for found in reversed(known) if found)
    return f"{name[:1].upper()}{name[1:]}, in the end: {v.reason}."


def _spoken(part: _Part, v: MetricVerdict) -> str:
    where = f"at {100 * part.share:.3g}% until {lasting(60 * part.ends)}"
    kind = v.kind.replace("_", " ")
    if part.share >= 1:
        return f"{where}: {words.rate(v.high)} times the absolute limit, {kind}"
    low, high = words.allowed(v)
    most = "any harm is possible" if math.isinf(high) else f"at most {words.rate(high)}"
    estimate = "unknown" if v.ratio is None else words.rate(v.ratio)
    return f"{where}: {estimate}, at least {words.rate(low)}, {most}, margin {words.rate(v.margin)}, {kind}"


def traffic(record: RolloutRecord) -> Display:
    """Draw the share of the requests that the canary was to get and the share that it got."""
    if not record.looks:
        return note("Traffic: there was no look.")
    parts = parts_of(record.looks)
    sums = [(end, 100 * _share(control, canary)) for end, control, canary in _sums(parts)]
    top = 1.15 * max([100 * part.share for part in parts] + [y for _, y in sums if math.isfinite(y)])
    plot, time = _plot(record, parts, Scale(0.0, top, _BOTTOM, _TOP), "requests to the canary, %")
    over = [0.0] if record.walked and record.walked.ending != "promoted" else []
    ordered = [(time.at(m), 100 * p.share) for p in parts for m in (p.starts, p.ends)]
    ordered += [(time.at(parts[-1].ends), y) for y in over] + [(plot.x.high, y) for y in over]
    plot.line(*_columns(ordered), MUTED, 5.0)
    _line(plot, *_columns([(time.at(end), y) for end, y in sums]), BLUE, 1.8)
    _key(plot, (("ordered", MUTED), ("got", BLUE)))
    alt = f"Share of the requests that the canary was to get and got. {'; '.join(map(_shared, parts))}."
    return Display(figure([plot], WIDTH, HEIGHT, alt=alt, caption="Traffic: thick grey, ordered; blue, got."), alt)


def _shared(part: _Part) -> str:
    got = _share(*_summed(part.looks))
    return f"ordered {100 * part.share:.3g}%, got {words.percent(got, 2)} until {lasting(60 * part.ends)}"


def errors(record: RolloutRecord) -> Display:
    """Draw the share of each arm's requests that failed, and the absolute limit."""
    if not record.looks:
        return note("Errors: there was no look.")
    parts, limit = parts_of(record.looks), 100 * record.change.error_limit
    sums = _sums(parts)
    rates = [[100 * _rate(arm) for arm in arms] for _, *arms in sums]
    highest = max([r for pair in rates for r in pair if math.isfinite(r)], default=0.0)
    top = 1.15 * max(highest, 0.01)
    top = max(top, 1.1 * limit) if limit < 3 * top else top
    plot, time = _plot(record, parts, Scale(0.0, top, _BOTTOM, _TOP), "failed requests, %")
    at = np.array([time.at(end) for end, _, _ in sums])
    for arm, (color, width) in enumerate(((BLUE, 1.6), (ORANGE, 2.6))):
        rate = np.array([pair[arm] for pair in rates])
        _line(plot, at, rate, color, width)
    plot.across(limit, RED)
    _key(plot, (("control", BLUE), ("canary", ORANGE)))
    told = "; ".join(_failed(part) for part in parts)
    alt = f"Share of failed requests. {told}. Absolute limit {limit:.3g}%."
    where = "dashed red" if limit <= top else "above the picture"
    caption = (
        f"Failed requests: thin blue, control; thick orange, canary; {where}, the absolute limit, {limit:.3g}%. At "
        "100% no control is left."
    )
    return Display(figure([plot], WIDTH, HEIGHT, alt=alt, caption=caption), alt)


def _failed(part: _Part) -> str:
    told = [
        f"{name} {words.percent(_rate(arm) if arm.requests else None, 2)} of {arm.requests:,}"
        for name, arm in zip(("control", "canary"), _summed(part.looks), strict=True)
    ]
    return f"at {100 * part.share:.3g}%: {', '.join(told)}"


def _sums(parts: Sequence[_Part]) -> list[tuple[float, Arm, Arm]]:
    """(end, control, canary) of some looks in a row each, never of two stages."""
    size = max(1, math.ceil(sum(len(part.looks) for part in parts) / _SUMS))
    found = []
    for part in parts:
        for first in range(0, len(part.looks), size):
            looks = part.looks[first : first + size]
            found.append((looks[-1].look.minute + looks[-1].look.length, *_summed(looks)))
    return found


def _summed(looks: Sequence[Seen]) -> tuple[Arm, Arm]:
    return add(*(s.look.control for s in looks)), add(*(s.look.canary for s in looks))


def _share(control: Arm, canary: Arm) -> float:
    total = control.requests + canary.requests
    return canary.requests / total if total else math.nan


def _rate(arm: Arm) -> float:
    return arm.errors / arm.requests if arm.requests else math.nan


def _columns(points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    x, y = zip(*points, strict=True)
    return np.array(x), np.array(y)


def _key(plot: Plot, entries: Sequence[tuple[str, str]]) -> None:
    """Name the lines at the right of the title, each after a piece of itself."""
    right = _RIGHT
    for name, color in reversed(entries):
        plot.text(right, _TITLE, name, "end", INK)
        right -= _LETTER * len(name) + 8
        plot.bar(right - 12, _TITLE - 6, 14, 4, color)
        right -= 24
