"""Grafana panels as values: what they ask, how they are drawn, and where they stand on a grid of 24 columns.

Promises: equal arguments give equal panels; a panel's id follows from its key alone, so that links and embeddings stay
right when others are added before it; no two panels overlap, also when every row is unfolded. Every panel asks the data
source of the dashboard's variable. Built with grafana-foundation-sdk; the panels are those of Grafana 10 and later.

>>> steps = rising("red", (0.25, "orange"), (0.5, "green"))
>>> [(step.value, step.color) for step in steps]
[(None, 'red'), (0.25, 'orange'), (0.5, 'green')]
>>> panel_id("slo/api") == panel_id("slo/api") != panel_id("slo/other")
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, gauge, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as drawn
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as asked

COLUMNS = 24
_REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_POINTS = 120
"""Points of a line: an expression over 30 days is dear, and its line is smooth."""
Built = Any
"""A panel of the SDK, whose types are not read (see pyproject.toml)."""


@dataclass(frozen=True)
class Query:
    """One expression and its name in the legend, which may hold ``{{label}}``."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Text:
    """What a panel is called: ``key`` makes its id, ``title`` stands on it, ``description`` says how to read it."""

    key: str
    title: str
    description: str


@dataclass(frozen=True)
class Scale:
    """How numbers are shown: Grafana's unit, the coloured steps from low to high, decimals, and the least and most."""

    unit: str
    steps: Sequence[Built]
    decimals: int | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels below one heading, in reading order; ``folded`` hides them until somebody looks."""

    title: str
    panels: Sequence[Built]
    folded: bool = False


def rising(base: str, *steps: tuple[float, str]) -> list[Built]:
    """Return thresholds: ``base`` colours all below the first value; of equal values the last one counts."""
    last = dict(steps)
    return [models.Threshold(None, base), *(models.Threshold(value, last[value]) for value in sorted(last))]


def panel_id(key: str) -> int:
    """Return the id that follows from a panel's key: 1 .. 2^30."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 2**30 + 1


def lines(text: Text, queries: Sequence[Query], scale: Scale, source: Built, *, width: int, height: int) -> Built:
    """Return lines over time, with a dashed line at each threshold; ``low`` and ``high`` are always in sight."""
    panel = _framed(timeseries.Panel(), text, scale, source, width, height)
    style = common.GraphThresholdsStyleConfig().mode(drawn.GraphTresholdsStyleMode.DASHED)
    legend = common.VizLegendOptions().show_legend(True).calcs(["lastNotNull"])
    legend.display_mode(drawn.LegendDisplayMode.LIST).placement(drawn.LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(drawn.TooltipDisplayMode.MULTI).sort(drawn.SortOrder.NONE)
    panel.thresholds_style(style).legend(legend).tooltip(tooltip).max_data_points(_POINTS)
    panel.line_width(2).fill_opacity(0).span_nulls(False)
    panel.color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    if scale.low is not None:
        panel.axis_soft_min(scale.low)
    if scale.high is not None:
        panel.axis_soft_max(scale.high)
    return _asking(panel, queries).build()


def beside(panel: Built, name: str, scale: Scale) -> Built:
    """Give the line called ``name`` an axis of its own on the right, with its unit and thresholds."""
    values = {
        "unit": scale.unit,
        "custom.axisPlacement": "right",
        "custom.axisLabel": name,
        "custom.lineWidth": 1,
        "custom.axisSoftMin": scale.low,
        "custom.axisSoftMax": scale.high,
        "thresholds": models.ThresholdsConfig(models.ThresholdsMode.ABSOLUTE, list(scale.steps)),
    }
    matcher = models.MatcherConfig("byName", name)
    properties = [models.DynamicConfigValue(key, value) for key, value in values.items() if value is not None]
    panel.field_config.overrides = [models.DashboardFieldConfigSourceOverrides(matcher, properties)]
    return panel


def gauges(text: Text, query: Query, scale: Scale, source: Built, *, width: int, height: int) -> Built:
    """Return a dial for every series, from ``low`` to ``high``."""
    panel = _framed(gauge.Panel(), text, scale, source, width, height)
    panel.min(scale.low).max(scale.high).reduce_options(_newest()).show_threshold_markers(True)
    panel.show_threshold_labels(False).color_scheme(_by_threshold())
    return _asking(panel, [query], instant=True).build()


def numbers(text: Text, queries: Sequence[Query], scale: Scale, source: Built, *, width: int, height: int) -> Built:
    """Return one big number for each query."""
    panel = _framed(stat.Panel(), text, scale, source, width, height)
    panel.reduce_options(_newest()).graph_mode(drawn.BigValueGraphMode.NONE).color_scheme(_by_threshold())
    panel.text_mode(drawn.BigValueTextMode.VALUE_AND_NAME).color_mode(drawn.BigValueColorMode.VALUE)
    return _asking(panel, queries, instant=True).build()


def counted(panel: Built, name: str) -> Built:
    """Show the number called ``name`` as a whole number without a judgement: it is how many the others rest on."""
    grey = models.FieldColor(models.FieldColorModeId.FIXED, "text")
    properties = [models.DynamicConfigValue(*pair) for pair in (("unit", "short"), ("decimals", 0), ("color", grey))]
    panel.field_config.overrides = [
        models.DashboardFieldConfigSourceOverrides(models.MatcherConfig("byName", name), properties)
    ]
    return panel


def heat_map(
    text: Text, query: Query, scale: Scale, source: Built, *, width: int, height: int, every: str
) -> Built:
    """Return a heatmap of cumulative buckets by ``le``, a column for each ``every``; ``unit`` is that of the bounds."""
    panel = _framed(heatmap.Panel(), text, Scale("short", scale.steps), source, width, height)
    color = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    panel.color(color.fill("blue").scale(heat.HeatmapColorScale.EXPONENTIAL).exponent(0.5))
    panel.calculate(False).cell_gap(1).filter_values(heatmap.FilterValueRange().le(1e-9)).show_tooltip()
    panel.y_axis(heatmap.YAxisConfig().unit(scale.unit).axis_placement(drawn.AxisPlacement.LEFT))
    panel.cell_values(heatmap.CellValues().unit("short")).interval(every)
    panel.scale_distribution(common.ScaleDistributionConfig().type(drawn.ScaleDistribution.LINEAR))
    return _asking(panel, [query], heatmap=True).build()


def lay_out(rows: Sequence[Row]) -> list[Built]:
    """Return the dashboard's panels, placed and with ids: a folded row holds its panels, any other precedes them."""
    placed: list[Built] = []
    top = 0
    for row in rows:
        head = models.RowPanel(row.folded, row.title, grid_pos=models.GridPos(1, COLUMNS, 0, top))
        head.id_val = panel_id(f"row/{row.title}")
        top = _flow(row.panels, top + 1)
        head.panels = list(row.panels) if row.folded else []
        placed += [head] if row.folded else [head, *row.panels]
    _unique(placed)
    return placed


def _flow(panels: Sequence[Built], top: int) -> int:
    """Place panels from left to right, a new line where one no longer fits; return the first free line below."""
    left = bottom = 0
    for panel in panels:
        place = panel.grid_pos
        if left + place.w > COLUMNS:
            left, top = 0, bottom
        place.x, place.y = left, top
        left, bottom = left + place.w, max(bottom, top + place.h)
    return max(top, bottom)


def _unique(panels: Sequence[Built]) -> None:
    """Of two ids that fall together, one in 10^9, the later one takes the next that is free."""
    taken: set[int] = set()
    for panel in _unfolded(panels):
        while panel.id_val in taken:
            panel.id_val += 1
        taken.add(panel.id_val)


def _unfolded(panels: Sequence[Built]) -> Iterator[Built]:
    for panel in panels:
        yield panel
        yield from getattr(panel, "panels", ())


def _framed(panel: Built, text: Text, scale: Scale, source: Built, width: int, height: int) -> Built:
    """Give a builder what all kinds of panels have."""
    panel.id(panel_id(text.key)).title(text.title).description(text.description).datasource(source)
    panel.span(width).height(height).unit(scale.unit)
    panel.thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(list(scale.steps)))
    return panel if scale.decimals is None else panel.decimals(scale.decimals)


def _asking(panel: Built, queries: Sequence[Query], *, instant: bool = False, heatmap: bool = False) -> Built:
    for ref, query in zip(_REFS, queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref)
        target.editor_mode(asked.QueryEditorMode.CODE)
        target = target.instant() if instant else target.range()
        panel.with_target(target.format(asked.PromQueryFormat.HEATMAP) if heatmap else target)
    return panel


def _newest() -> Built:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")


def _by_threshold() -> Built:
    return builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)
