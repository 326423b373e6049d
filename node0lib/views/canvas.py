"""Plain SVG, written by hand: for pictures that must be there before the hand has left the slider.

A page of matplotlib takes a quarter of a second to draw; the same lines written as SVG take two thousandths. A ``Plot``
is a rectangle on the page with a scale on either side; what it draws is appended to its ``parts``. Equal input, equal
bytes. Colours and type are those of ``figures``.

>>> scale = Scale(0.1, 100.0, 0.0, 300.0, log=True)
>>> scale.ticks(), round(float(scale.at(1.0)), 6)
([0.1, 1.0, 10.0, 100.0], 100.0)
>>> Scale(0.0, 90.0, 0.0, 1.0).ticks()
[0.0, 20.0, 40.0, 60.0, 80.0]
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node0lib.views.figures import GRID, INK, MUTED

Floats = NDArray[np.float64]
Anchor = Literal["start", "middle", "end"]
FONT = "'DejaVu Sans', Verdana, sans-serif"
SMALL = 12


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` (above 0 if ``log``) lie from ``start`` to ``end`` on the page."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, values: Floats | float) -> Floats:
        """Return where values lie, those beyond an end at that end."""
        inside = np.clip(values, self.low, self.high)
        if self.log:
            share = np.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return np.asarray(self.start + share * (self.end - self.start))

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the scale: powers of ten, or steps of 1, 2 or 5 of them."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [float(10.0**n) for n in range(first, last + 1)]
        step = _step((self.high - self.low) / most)
        return [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def _step(least: float) -> float:
    size = 10.0 ** math.floor(math.log10(least))
    return next(size * n for n in (1, 2, 5, 10) if size * n >= least * (1 - 1e-9))


@dataclass
class Plot:
    """What is drawn between two scales; ``y.start`` is the bottom."""

    x: Scale
    y: Scale
    parts: list[str] = field(default_factory=list)

    def axes(self, title: str, *, below: str = "", x_labels: bool = True) -> None:
        """Draw the grid, its values, a title above the plot and one below it."""
        left, right, top, bottom = self.x.start, self.x.end, self.y.end, self.y.start
        for value in self.y.ticks(4):
            at = float(self.y.at(value))
            self._segment(left, at, right, at, GRID, 1)
            self.text(left - 6, at + 4, f"{value:g}", "end", MUTED)
        for value in self.x.ticks():
            at = float(self.x.at(value))
            self._segment(at, top, at, bottom, GRID, 1)
            if x_labels:
                self.text(at, bottom + 16, f"{value:g}", "middle", MUTED)
        self.text(left, top - 8, title, "start", INK, bold=True)
        if below:
            self.text((left + right) / 2, bottom + 34, below, "middle", MUTED)

    def line(self, x: Floats, y: Floats, color: str, width: float = 1.6) -> None:
        """Draw a line through points; NaN is a gap."""
        kept = np.isfinite(y)
        for run in np.split(np.arange(x.size), np.flatnonzero(np.diff(kept)) + 1):
            if run.size and kept[run[0]]:
                points = zip(self.x.at(x[run]), self.y.at(y[run]), strict=True)
                told = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
                self.parts.append(
                    f'<polyline points="{told}" fill="none" stroke="{color}" stroke-width="{width:g}" '
                    'stroke-linejoin="round"/>'
                )

    def across(self, value: float, color: str, label: str = "") -> None:
        """Draw a dashed horizontal line at a value, its label at its right end above it."""
        if self.y.low <= value <= self.y.high:
            at = float(self.y.at(value))
            self._segment(self.x.start, at, self.x.end, at, color, 1.2, dashes="5 4")
            self.text(self.x.end - 2, at - 4, label, "end", color)

    def upright(self, value: float, color: str) -> None:
        """Draw a dashed vertical line at a value."""
        at = float(self.x.at(value))
        self._segment(at, self.y.end, at, self.y.start, color, 1.2, dashes="3 3")

    def shade(self, first: float, last: float, color: str, opacity: float = 1.0) -> None:
        """Fill the plot's height from one value to another."""
        a, b = float(self.x.at(first)), float(self.x.at(last))
        self.bar(a, self.y.end, b - a, self.y.start - self.y.end, color, opacity)

    def dot(self, x: float, y: float, color: str, *, filled: bool = True) -> None:
        """Draw a dot; an empty one stands for what was not found."""
        fill = color if filled else "#ffffff"
        a, b = float(self.x.at(x)), float(self.y.at(y))
        self.parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{fill}" stroke="{color}" stroke-width="1.6"/>'
        )

    def bar(self, left: float, top: float, width: float, height: float, color: str, opacity: float = 1.0) -> None:
        """Draw a rectangle in the page's own units."""
        self.parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(width, 0.0):.1f}" height="{height:.1f}" fill="{color}" '
            f'fill-opacity="{opacity:g}"/>'
        )

    def text(self, x: float, y: float, text: str, anchor: Anchor, color: str, *, bold: bool = False) -> None:
        """Write at a place in the page's own units."""
        if text:
            weight = ' font-weight="bold"' if bold else ""
            self.parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" stroke="#ffffff" '
                f'stroke-width="3" stroke-opacity="0.8" paint-order="stroke"{weight}>{escape(text)}</text>'
            )

    def _segment(
        self, x1: float, y1: float, x2: float, y2: float, color: str, width: float, dashes: str = ""
    ) -> None:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width:g}"{dashed}/>'
        )


def figure(plots: Sequence[Plot], width: int, height: int, *, alt: str, caption: str) -> str:
    """Return the HTML of a figure with those plots; ``alt`` states its numbers."""
    inside = "".join(part for plot in plots for part in plot.parts)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{FONT}" font-size="{SMALL}"><rect width="{width}" height="{height}" fill="#ffffff"/>'
        f"{inside}</svg>"
    )
    source = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    image = f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{source}" style="max-width:100%">'
    told = f'<figcaption style="line-height:1.4">{escape(caption)}</figcaption>'
    return f'<figure class="n0-figure" style="margin:0">{image}{told}</figure>'
