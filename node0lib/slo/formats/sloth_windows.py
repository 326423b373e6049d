"""The windows of Sloth's four burn-rate alerts as data, and Sloth's files that hold them (AlertWindows).

Promises: the table is Google's for every period (the two that Sloth has built in differ in nothing but the period), or
what a file says; a factor is computed in Sloth's order of operations, so that it is the same float64.

Source: SRE Workbook, ch. 5, table 5-8; slok/sloth 0.16, internal/alert/windows and getBurnRateFactor.

>>> four_weeks = google(timedelta(days=28))
>>> [four_weeks.factor(window) for window in four_weeks.page]
[13.44, 5.6000000000000005]
>>> mistakes: list[Mistake] = []
>>> read_windows({"apiVersion": "sloth.slok.dev/v1", "kind": "AlertWindows"}, Place(0), mistakes) is None
True
>>> mistakes[0].text
'is missing; add for example spec: {sloPeriod: 30d, page: ..., ticket: ...}'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from node0lib.errors import ConfigError
from node0lib.slo.formats.fields import Fields, Mistake, Place, shown
from node0lib.timespan import format_duration, parse_duration

API_VERSION, KIND = "sloth.slok.dev/v1", "AlertWindows"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class BurnWindow:
    """Spending ``percent`` of the period's budget within ``long`` is too fast; ``short`` says that it goes on."""

    percent: float
    short: timedelta
    long: timedelta


@dataclass(frozen=True)
class AlertWindows:
    """The quick and the slow window of the page and of the ticket alert, for SLOs over ``period``."""

    period: timedelta
    page: tuple[BurnWindow, BurnWindow]
    ticket: tuple[BurnWindow, BurnWindow]

    def factor(self, window: BurnWindow) -> float:
        """Return the burn rate above which the window's alert fires."""
        return window.percent * (self.period / _HOUR) / 100 / (window.long / _HOUR)

    @property
    def ranges(self) -> tuple[timedelta, ...]:
        """Every range that the alerts look at, rising, each once."""
        return tuple(sorted({range_ for w in (*self.page, *self.ticket) for range_ in (w.short, w.long)}))


def google(period: timedelta) -> AlertWindows:
    """Return the workbook's table for a period; raises ConfigError if its longest window does not fit in."""
    if period <= 3 * _DAY:
        text = f"a period of {format_duration(period)} is too short for alerts that look back 3d"
        raise ConfigError(f"{text}; give windows of your own, or a longer period")
    page = BurnWindow(2, _HOUR / 12, _HOUR), BurnWindow(5, _HOUR / 2, 6 * _HOUR)
    ticket = BurnWindow(10, 2 * _HOUR, _DAY), BurnWindow(10, 6 * _HOUR, 3 * _DAY)
    return AlertWindows(period, page, ticket)


def read_windows(data: object, place: Place, mistakes: list[Mistake]) -> AlertWindows | None:
    """Return what an AlertWindows document says; None, and what is wrong with it, if something is."""
    if not isinstance(data, Mapping):
        mistakes.append(Mistake(place, f"{shown(data)} is no AlertWindows file; it begins with kind: {KIND}"))
        return None
    before = len(mistakes)
    root = Fields(data, place, mistakes)
    root.text("apiVersion", needed=API_VERSION, known=(API_VERSION,))
    root.text("kind", needed=KIND, known=(KIND,))
    spec = root.mapping("spec", needed="{sloPeriod: 30d, page: ..., ticket: ...}")
    root.close()
    if spec is None:
        return None
    period = _duration(spec, "sloPeriod", "30d")
    page, ticket = (_alert(spec, name) for name in ("page", "ticket"))
    spec.close()
    if period is None or page is None or ticket is None or len(mistakes) > before:
        return None
    return AlertWindows(period, page, ticket)


def _alert(spec: Fields, name: str) -> tuple[BurnWindow, BurnWindow] | None:
    alert = spec.mapping(name, needed="{quick: ..., slow: ...}")
    if alert is None:
        return None
    quick, slow = (_window(alert, speed) for speed in ("quick", "slow"))
    alert.close()
    return None if quick is None or slow is None else (quick, slow)


def _window(alert: Fields, speed: str) -> BurnWindow | None:
    fields = alert.mapping(speed, needed="{errorBudgetPercent: 2, shortWindow: 5m, longWindow: 1h}")
    if fields is None:
        return None
    percent = fields.number("errorBudgetPercent", needed="2")
    short, long = _duration(fields, "shortWindow", "5m"), _duration(fields, "longWindow", "1h")
    fields.close()
    if percent is not None and not 0 < percent <= 100:
        fields.wrong(f"{percent:g} must lie above 0 and be at most 100", "errorBudgetPercent")
    if percent is None or short is None or long is None:
        return None
    if short > long:
        fields.wrong(f"{format_duration(short)} must not be longer than the long window", "shortWindow")
    return BurnWindow(percent, short, long)


def _duration(fields: Fields, key: str, example: str) -> timedelta | None:
    text = fields.text(key, needed=example)
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ConfigError as error:
        fields.wrong(str(error), key)
        return None
