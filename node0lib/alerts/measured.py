"""What a linter of alerts knows of the telemetry behind an SLO: facts, each measured, or why it was not.

A fact is a value, or ``Unknown`` with the reason, or None where it does not apply (a ratio has no buckets). Nobody
guesses: a check whose fact is unknown is reported as not checked. ``told`` says where a number comes from.

>>> total = np.array([np.nan, 5.0, 60.0, 80.0, 20.0])  # in the second hour observation began
>>> found = rolling(total, timedelta(hours=1), [timedelta(hours=1), timedelta(hours=2)], "measured")
>>> {format_duration(window): (seen.mean, seen.quietest) for window, seen in found.items()}
{'1h': (53.333333333333336, 20.0), '2h': (106.66666666666667, 100.0)}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from node0lib.sli.series import Floats
from node0lib.timespan import format_duration


@dataclass(frozen=True)
class Unknown:
    """A fact that could not be established, and why."""

    why: str


@dataclass(frozen=True)
class Traffic:
    """Events in a window: on average, and in the quietest one observed (None where no window was observed whole)."""

    mean: float
    quietest: float | None
    told: str


@dataclass(frozen=True)
class Scrape:
    """How far apart samples are; ``configured`` is what the configuration says, where it says something else."""

    interval: timedelta
    told: str
    configured: timedelta | None = None


@dataclass(frozen=True)
class Bounds:
    """Bucket bounds in seconds, rising, +Inf left out.

    A native histogram has none that stay: ``cut`` says whether the threshold lies within one of its buckets now.
    """

    le: tuple[float, ...] = ()
    native: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Born:
    """Series that were first seen above zero: how many, and at how many events in all; ``errors``: of bad events."""

    selector: str
    errors: bool
    series: int
    events: float
    example: str
    look_back: timedelta


@dataclass(frozen=True)
class Absent:
    """A selector that has found no series in the look-back; ``errors``: those of bad events."""

    selector: str
    errors: bool
    look_back: timedelta


TrafficFact: TypeAlias = "Mapping[timedelta, Traffic] | Unknown | None"
CoverageFact: TypeAlias = "Mapping[timedelta, float] | Unknown | None"


@dataclass(frozen=True)
class Facts:
    """Everything measured of one SLO. ``traffic`` by long window, ``coverage`` (0..1) by window."""

    traffic: TrafficFact = None
    scrape: Scrape | Unknown | None = None
    bounds: Bounds | Unknown | None = None
    born: tuple[Born, ...] | Unknown | None = None
    absent: tuple[Absent, ...] | Unknown | None = None
    retention: timedelta | Unknown | None = None
    coverage: CoverageFact = None

    @property
    def unknown(self) -> Mapping[str, str]:
        """What could not be established, by the words for it, and why."""
        values = {words: getattr(self, name) for name, words in _WORDS.items()}
        return {words: value.why for words, value in values.items() if isinstance(value, Unknown)}


_WORDS = {
    "traffic": "traffic",
    "scrape": "scrape interval",
    "bounds": "bucket bounds",
    "born": "counters born above zero",
    "absent": "missing series",
    "retention": "retention",
    "coverage": "coverage",
}


def rolling(
    total: Floats, step: timedelta, windows: Iterable[timedelta], told: str
) -> Mapping[timedelta, Traffic] | Unknown:
    """Return the traffic of each window from buckets of ``step``, of shape (n,), NaN where nothing was observed.

    A bucket beside a gap may have been observed in part and is left out. So is the first one: it only tells whether the
    second was observed from its beginning. A window that is no whole number of buckets is reckoned from the nearest.
    """
    seen = np.isfinite(total)
    whole = seen & np.concatenate(([False], seen[:-1])) & np.concatenate((seen[1:], [True]))
    if not whole.any():
        return Unknown(f"no {format_duration(step)} was observed whole; give --requests-per-hour")
    mean = float(total[whole].mean())
    found = {}
    for window in windows:
        size = max(1, round(window / step))
        scale = window / (size * step)
        quietest = _quietest(total, whole, size)
        found[window] = Traffic(mean * (window / step), None if quietest is None else quietest * scale, told)
    return found


def _quietest(total: Floats, whole: NDArray[np.bool_], size: int) -> float | None:
    """The least sum over ``size`` buckets in a row that were all observed; None if no such row is there."""
    if size > total.size:
        return None
    sums = np.convolve(np.where(whole, total, 0.0), np.ones(size), "valid")
    full = np.convolve(whole.astype(np.float64), np.ones(size), "valid") > size - 0.5
    return float(sums[full].min()) if full.any() else None


def steady(per_hour: float, windows: Iterable[timedelta]) -> Mapping[timedelta, Traffic]:
    """Return the traffic of each window where somebody says how many events an hour has."""
    hour = timedelta(hours=1)
    return {window: Traffic(per_hour * (window / hour), None, "as given") for window in windows}
