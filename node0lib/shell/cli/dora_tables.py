"""A report of delivery as text within 80 columns: numbers, bands, weeks, trends and what comes next, definitions.

- A number comes with its interval and its n. ``-`` is no data; ``?`` an end that so few events do not give.
- What was counted apart or dropped is said below the table, if there is any.
- Names out of events are printed as they are, never as markup or control codes.

>>> span(5400.0), brief_span(5400.0), brief_span(360_000.0), rate(None)
('1.5 h', '1.5 h', '4.2 d', '?')
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from node0lib.timespan import format_duration, format_instant

if TYPE_CHECKING:  # pandas takes a moment to load; --help does not need it
    from node0lib.dora.forecast import Forecast
    from node0lib.dora.report import GroupReport, Metric, Number, Report
    from node0lib.dora.trends import Trend

_LEAD = "change_lead_time"
_APART: Mapping[str, str] = {
    "retries": "retries",
    "rollbacks": "rollbacks",
    "rolled_back": "rolled back by their own outcome",
    "never_arrived": "deployments that never arrived",
    "negative_lead_times": "negative lead times (dropped)",
    "changes_without_a_start": "changes without a start (dropped)",
    "open": "recoveries still open (censored)",
    "negative_recoveries": "negative recoveries (dropped)",
    "recoveries_not_told": "failures of whose end nothing is told",
}


def printed(found: Report, targets_of: str | None, benchmark: float, out: Console) -> None:
    """Print a report; ``targets_of`` names the configuration, ``benchmark`` is the quick check's mean of everybody."""
    _say(out, f"At {format_instant(found.at)}, profile {found.profile.name}. 95% intervals, two-sided; - is no data.")
    _say(out, "kept: met and missed by one-sided 95% bounds.")
    _say(out, f"Targets: {targets_of or 'the defaults of node0'}. Incidents belong to {', '.join(found.production)}.")
    if not found.groups:
        _say(out, "There is no deployment to any of the environments asked for.")
    for group in found.groups:
        _group(out, group, format_duration(found.profile.maturity), benchmark)
    for name, words in found.profile.definitions.items():
        _say(out, f"{name}: {words}")
    for text in (*(f"of {found.profile.name}: {fault}" for fault in found.profile.faults), *found.notes):
        _say(out, f"note: {text}")


def _group(out: Console, group: GroupReport, maturity: str, benchmark: float) -> None:
    who = f"{group.service or 'ALL SERVICES'} in {group.environment}"
    for length, metrics in group.windows.items():
        out.print(_numbers(f"{who}, {length}", metrics, maturity))
        for line in _below(metrics, group.score[length], group.coverage[length], benchmark):
            _say(out, line)
        out.print(_bands(length, metrics))
    if group.weeks:
        out.print(_weeks(who, group.weeks))
    for name, one in group.trends.items():
        _say(out, _trend(name, one, group.forecasts[name]))


def _numbers(title: str, metrics: Sequence[Metric], maturity: str) -> Table:
    young = next((one.immature for one in metrics if one.immature is not None), None)
    told = "" if young is None else f", {young:.0%} may still fail (under {maturity} old)"
    table = _table(title + told, "metric", "value", "95%", "n", "target", "kept")
    for one in metrics:
        label, show, _ = _SHOWN[one.name]
        known = one.value is not None or one.low is not None
        target = "-" if one.target is None else show(one.target)
        ends = _ends(show, one.low, one.high) if known else "-"
        value = "-" if one.value is None else show(one.value)
        table.add_row(label, value, ends, str(one.n), target, one.verdict or "-")
        if one.name == _LEAD:
            table.add_row(*_p90(one), "-", "-")
    return table


def _p90(lead: Metric) -> tuple[str, str, str, str]:
    p90 = lead.detail["p90"]
    if p90["value"] is None:
        return "  p90", "-", "-", str(lead.n)
    return "  p90", span(p90["value"]), _ends(span, p90["low"], p90["high"]), str(lead.n)


def _ends(show: Callable[[float | None], str], low: float | None, high: float | None) -> str:
    return f"{show(low)} to {show(high)}"


def _below(metrics: Sequence[Metric], score: float | None, coverage: float, benchmark: float) -> Iterator[str]:
    """What belongs to the numbers of a window besides."""
    if coverage < 1:
        yield f"Only {coverage:.0%} of it lies after the first deployment that is known of."
    counts = {key: metric.detail[key] for metric in metrics for key in metric.detail if key in _APART}
    if apart := [f"{counts[key]} {text}" for key, text in _APART.items() if counts.get(key)]:
        yield f"Counted apart: {', '.join(apart)}."
    for reason in dict.fromkeys(metric.reason for metric in metrics if metric.reason):
        silent = ", ".join(_SHOWN[metric.name][0] for metric in metrics if metric.reason == reason)
        yield f"{silent}: not shown by the data: {reason}."
    if score is not None:
        yield f"Quick check of dora.dev: {score:.1f} of 10 (all industries in 2025: {benchmark:.1f})."


def _bands(length: str, metrics: Sequence[Metric]) -> Table:
    """A row for each metric and edition; where value and both ends have one band, it is said once."""
    table = _table(f"bands, {length}", "metric", "report", "at the low end", "at the value", "at the high end")
    for one in metrics:
        for label, edition, ends in _banded(one):
            cells = ends if len(set(ends)) > 1 else ("=", ends[1], "=")
            table.add_row(label, edition, *cells)
    return table


def _banded(metric: Metric) -> Iterator[tuple[str, str, tuple[str, str, str]]]:
    label = _SHOWN[metric.name][0]
    for edition, ends in metric.bands.items():
        if metric.value is not None:
            yield label, edition, (ends["low"] or "?", ends["value"] or "?", ends["high"] or "?")
            label = ""


def _weeks(who: str, weeks: Mapping[str, Mapping[str, Number]]) -> Table:
    """A week a row, two lines each: the value with its n, and its interval."""
    headings = ("week", *(label for label, _, _ in _SHOWN.values()))
    table = _table(f"{who}, by ISO weeks, each as known at its end: value (n), 95%", *headings)
    table.box = SIMPLE_HEAD
    for week, row in weeks.items():
        table.add_row(week, *(_cell(one, _SHOWN[name][2]) for name, one in row.items()))
    return table


def _cell(one: Number, show: Callable[[float | None], str]) -> str:
    if one.value is None:
        return f"- ({one.n})" if one.n else "-"
    return f"{show(one.value)} ({one.n})\n{show(one.low)}-{show(one.high)}"


def _trend(name: str, one: Trend, coming: Forecast) -> str:
    label, show, _ = _SHOWN[name]
    text = "no evidence of a trend" if one.verdict == "no evidence" else f"{one.verdict} by {_slope(name, one)}"
    ahead = coming.reason
    if coming.ahead:
        first, last = coming.ahead[0], coming.ahead[-1]
        ahead = f"next week {_ends(show, first.low, first.high)}"
        if last is not first and (last.low, last.high) != (first.low, first.high):
            ahead += f", in week {last.week} {_ends(show, last.low, last.high)}"
        ahead += f" (in {coming.level:.0%} of cases{'' if coming.method == 'level' else f'; {coming.reason}'})"
    return f"{label}: {text} ({one.reason}); {ahead}."


def _slope(name: str, one: Trend) -> str:
    show = _SHOWN[name][1]
    ends = "" if one.low is None or one.high is None else f", {_signed(show, one.low)} to {_signed(show, one.high)}"
    return f"{_signed(show, one.slope or 0.0)} a week{ends}"


def _signed(show: Callable[[float | None], str], value: float) -> str:
    return f"{'-' if value < 0 else '+'}{show(abs(value))}"


def _say(out: Console, text: str) -> None:
    out.print(_plain(text))


def _plain(text: str) -> Text:
    return Text("".join(sign if sign.isprintable() else "?" for sign in text))


def _table(title: str, *headings: str) -> Table:
    table = Table(title=_plain(title), title_justify="left")
    for heading in headings:
        table.add_column(heading)
    return table


def rate(value: float | None) -> str:
    """Per day; None is "?"."""
    return "?" if value is None else f"{value:.2f}/d"


def share(value: float | None) -> str:
    """A percentage; None is "?"."""
    return "?" if value is None else f"{value:.1%}"


def span(value: float | None) -> str:
    """Seconds in the largest unit that they fill; None is "?"."""
    return _span(value, lambda number: f"{number:.1f}")


def brief_span(value: float | None) -> str:
    """The same with two digits where they are enough."""
    return _span(value, lambda number: f"{number:.0f}" if number >= 9.95 else f"{number:.1f}")


def _span(value: float | None, digits: Callable[[float], str]) -> str:
    if value is None:
        return "?"
    for seconds, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= seconds:
            return f"{digits(value / seconds)} {unit}"
    return f"{value:.0f} s"


def _brief_rate(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def _brief_share(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"


_Show = Callable[[float | None], str]
_SHOWN: dict[str, tuple[str, _Show, _Show]] = {
    "deployment_frequency": ("frequency", rate, _brief_rate),
    "change_lead_time": ("lead time", span, brief_span),
    "change_fail_rate": ("fail rate", share, _brief_share),
    "failed_deployment_recovery_time": ("recovery", span, brief_span),
    "deployment_rework_rate": ("rework", share, _brief_share),
}
"""What each metric is called, and how its numbers are written, at length and in brief."""
