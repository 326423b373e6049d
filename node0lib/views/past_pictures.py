"""Pictures of a service's past: what every policy paged, over weeks, and the costliest incident from near.

What is drawn too small to be seen (a page of minutes in a month) has a mark; gaps and incidents are shaded, and the
alternative text states the numbers.

>>> _kind(True), _kind(False), _kind(None)
('true', 'false', 'unlabelled')
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import matplotlib.dates as dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from node0lib.alerts.comparison import Comparison, Judged
from node0lib.alerts.replay import BucketSeries
from node0lib.views import words
from node0lib.views.alarms import firing_timeline
from node0lib.views.figures import BLUE, MUTED, ORANGE, RED, SKY, SMALL, Figure, picture, rows

_COLORS = {"true": BLUE, "false": RED, "unlabelled": MUTED}
_MARKS = {"true": "|", "false": "x", "unlabelled": "|"}
_BEFORE, _AFTER = timedelta(hours=1), timedelta(hours=4)
_LONGEST = timedelta(days=2)


def pages_over_time(found: Comparison) -> Figure:
    """Draw the pages of every policy over the range: true ones, false ones, incidents and gaps shaded."""
    past = found.past

    def draw(page: Page) -> None:
        axes = page.subplots()
        rows(axes, [one.candidate.name for one in found.judged])
        for label in (one.label for one in found.inside):
            until = past.end if label.end is None else min(label.end, past.end)
            axes.axvspan(_x(max(label.start, past.start)), _x(until), color=ORANGE, alpha=0.45, linewidth=1)
        for gap in past.gaps:
            axes.axvspan(_x(gap.start), _x(gap.end), color=SKY, alpha=0.25, linewidth=0)
        for row, one in enumerate(found.judged):
            _row(axes, row, one)
        axes.set_xlim(_x(past.start), _x(past.end))
        locator = dates.AutoDateLocator(tz=UTC, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
        _legend(page, found)

    told = "; ".join(_spoken(one) for one in found.judged)
    span = f"{words.moment(past.start)} to {words.moment(past.end)}"
    shaded = f"{len(found.inside)} incidents" if found.inside else "no incident is labelled"
    alt = f"Pages of each policy from {span}; {shaded}. {told}."
    caption = f"What each policy would have paged, {span}; incidents and gaps in the telemetry are shaded."
    return picture(draw, height=1.1 + 0.32 * len(found.judged), alt=alt, caption=caption)


def _x(at: datetime) -> float:
    return float(dates.date2num(at))  # type: ignore[no-untyped-call]


def _row(axes: Axes, row: int, one: Judged) -> None:
    for page in one.pages:
        kind = _kind(page.true)
        start, end = _x(page.start), _x(page.end)
        axes.broken_barh([(start, end - start)], (row - 0.28, 0.56), color=_COLORS[kind], linewidth=0)
        axes.plot(start, row, _MARKS[kind], color=_COLORS[kind], markersize=8, markeredgewidth=1.4)


def _kind(true: bool | None) -> str:
    return "unlabelled" if true is None else "true" if true else "false"


def _legend(page: Page, found: Comparison) -> None:
    kinds = ["unlabelled"] if not found.inside else ["true", "false"]
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=_COLORS[kind], marker=_MARKS[kind], linestyle="", markeredgewidth=1.4, label=_NAMES[kind])
        for kind in kinds
    ]
    if found.inside:
        handles.append(Patch(color=ORANGE, alpha=0.45, label="incident"))
    if found.past.gaps:
        handles.append(Patch(color=SKY, alpha=0.25, label="not observed"))
    page.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=SMALL)


_NAMES = {"true": "true page", "false": "false page", "unlabelled": "page"}


def _spoken(one: Judged) -> str:
    quality = one.quality
    if not one.labelled:
        return f"{one.candidate.name}: {quality.pages} pages"
    return f"{one.candidate.name}: {quality.true_pages} true and {quality.pages - quality.true_pages} false pages"


def costliest(found: Comparison, simulated: bool) -> Figure | None:
    """Draw the incident that spent most, with the alerts of the catalogue's policy; None if none spent anything."""
    spent = [(one.spent, -one.event.first, one) for one in found.inside if one.spent and one.event.first >= 0]
    if not spent:
        return None
    share, _, worst = max(spent, key=lambda entry: entry[:2])
    past, step = found.past, found.past.read.step
    first, end = worst.event.first, min(worst.event.end, past.count)
    low = max(0, first - _BEFORE // step)
    high = min(past.count, first + _LONGEST // step, end + max(_AFTER // step, end - first))
    told = f"{worst.label.name}, {words.moment(worst.label.start)}, which spent {words.percent(share)} of the budget"
    told += ", simulated" * simulated
    seen = past.seen[past.first :]
    good, total = (values[past.first :] for values in (past.read.good, past.read.total))
    bad, total = (np.where(seen, values, np.nan) for values in (total - good, total))
    series = BucketSeries(past.evaluations.instants_ms, bad, total)
    policy = found.judged[0].candidate.policy
    return firing_timeline(policy, series, found.firing, found.spent, slice(low, high), first, told)
