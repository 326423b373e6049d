"""Does it get better? Theil and Sen's slope with Mann and Kendall's test, on weeks that do not overlap.

Rolling windows share their days, so a test on them finds trends in noise; ISO weeks (Monday to Monday, UTC, left-open
like every window) share none. A week without a number is left out and keeps its place in time. The answer is "no
evidence" unless the test is below 5%: under 5 weeks it always is, since no order of 4 is that improbable (2 of 24).

The test takes weeks as independent; a season or a slow wave is a trend to it. One test in twenty of steady histories
finds one, so five metrics of ten services find some: look at p.

Sources: Theil (1950), Sen (1968), Mann (1945), Kendall (1975); ties as in SciPy's ``kendalltau`` (exact without ties).

>>> trend([5.0, 4.0, 4.5, 3.0, 2.5, 2.0, 1.0]).verdict
'falling'
>>> trend([1.0, 2.0, 3.0, 4.0]).verdict
'no evidence'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from scipy import stats

from node0lib.timespan import ensure_utc

WEEK = timedelta(days=7)
_LEVEL, _FEWEST = 0.05, 5
Verdict = Literal["rising", "falling", "no evidence"]


@dataclass(frozen=True)
class Trend:
    """The change per week with its 95% interval and the test's two-sided p; None where too few weeks have a number."""

    verdict: Verdict
    slope: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int


def week_ends(until: datetime, weeks: int) -> list[datetime]:
    """Return the ends of the last whole ISO weeks, oldest first: Mondays at midnight UTC, at or before ``until``."""
    until = ensure_utc(until)
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    last = midnight - timedelta(days=midnight.weekday())
    return [last - WEEK * back for back in range(weeks - 1, -1, -1)]


def week_name(end: datetime) -> str:
    """Return the ISO name of the week that ends then: 2026-W48.

    >>> from datetime import UTC
    >>> week_name(datetime(2026, 1, 5, tzinfo=UTC))
    '2026-W01'
    """
    year, week, _ = (end - timedelta(days=1)).isocalendar()
    return f"{year}-W{week:02}"


def trend(values: Sequence[float | None]) -> Trend:
    """Return the trend of one number a week, oldest first; None and NaN are weeks without one."""
    numbers = np.array([math.nan if value is None else value for value in values], np.float64)
    weeks = np.flatnonzero(np.isfinite(numbers))
    known = numbers[weeks]
    if len(weeks) < 2:
        return Trend("no evidence", None, None, None, None, len(weeks))
    slope, _, low, high = stats.theilslopes(known, weeks, 0.95)
    p = 1.0 if np.all(known == known[0]) else float(stats.kendalltau(weeks, known).pvalue)
    if len(weeks) < _FEWEST:
        return Trend("no evidence", float(slope), None, None, p, len(weeks))
    verdict: Verdict = "no evidence"
    if p < _LEVEL and slope != 0:
        verdict = "rising" if slope > 0 else "falling"
    return Trend(verdict, float(slope), float(low), float(high), p, len(weeks))
