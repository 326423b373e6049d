"""What a number is called: bands with the edition of the report that drew them, and targets.

- A band is read at the value and at both ends of its interval: "high; elite to medium" says what the data allow.
- The reports found clusters and named where they lie. What lies between two clusters has no name there, and has none
  here: "between elite and high". Beyond the worst one it is "beyond low". Where two share a range both are named.
- Fail rates: 2021 gives ranges, and one for high, medium and low; 2023 and 2024 give one figure a cluster, read as "at
  most". In 2024 high fails at 20% and medium at 10%: its clusters are ordered by throughput. A month is 30 days, half
  a year 182. "On demand (multiple deploys per day)" is more than one a day. No edition bands the rework rate.
- A target is met if the exact one-sided 95% bound keeps it, missed if the bound on the other side excludes it, and
  else not shown by the data. 59 deployments without a failure show "at most 5%"; 58 do not.

Source: Accelerate State of DevOps, reports of 2021, 2023 and 2024 (p. 13). The one of 2025 draws no such bands.

>>> band("2024", "change_lead_time", 23.9 * 3600), band("2024", "change_lead_time", 25.3 * 3600)
('elite', 'high')
>>> band("2021", "change_lead_time", 23.9 * 3600)
'between elite and high'
>>> target_verdict(0.05, at_least=0.0, at_most=0.0495)
'met'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from node0lib.errors import ConfigError

Edition = Literal["2021", "2023", "2024"]
EDITIONS: tuple[Edition, ...] = ("2021", "2023", "2024")
Target = Literal["met", "missed", "not shown by the data"]
_HOUR, _DAY, _WEEK, _MONTH, _HALF_YEAR = 3600.0, 86_400.0, 604_800.0, 2_592_000.0, 15_724_800.0
_GAP_EH, _GAP_HM, _GAP_ML = "between elite and high", "between high and medium", "between medium and low"
_BEYOND = "beyond low"
_Steps = tuple[tuple[float, str], ...]
"""(upper bound, band) from the best on; a value belongs to the first step that it does not pass."""

_LEAD: Mapping[Edition, _Steps] = {
    "2021": (
        *((_HOUR, "elite"), (_DAY, _GAP_EH), (_WEEK, "high"), (_MONTH, _GAP_HM)),
        *((_HALF_YEAR, "medium"), (math.inf, "low")),
    ),
    "2023": ((_DAY, "elite"), (_WEEK, "high"), (_MONTH, "medium or low"), (math.inf, _BEYOND)),
    "2024": ((_DAY, "elite"), (_WEEK, "high"), (_MONTH, "medium"), (_HALF_YEAR, "low"), (math.inf, _BEYOND)),
}
_RECOVERY: Mapping[Edition, _Steps] = {
    "2021": ((_HOUR, "elite"), (_DAY, "high"), (_WEEK, "medium"), (_HALF_YEAR, _GAP_ML), (math.inf, "low")),
    "2023": (
        *((_HOUR, "elite"), (_DAY, "high"), (_WEEK, "medium"), (_MONTH, _GAP_ML)),
        *((_HALF_YEAR, "low"), (math.inf, _BEYOND)),
    ),
    "2024": ((_HOUR, "elite"), (_DAY, "high or medium"), (_WEEK, _GAP_ML), (_MONTH, "low"), (math.inf, _BEYOND)),
}
_FAILS: Mapping[Edition, _Steps] = {
    "2021": ((0.15, "elite"), (0.16, _GAP_EH), (0.30, "high, medium or low"), (1.0, _BEYOND)),
    "2023": ((0.05, "elite"), (0.10, "high"), (0.15, "medium"), (0.64, "low"), (1.0, _BEYOND)),
    "2024": ((0.05, "elite"), (0.10, "medium"), (0.20, "high"), (0.40, "low"), (1.0, _BEYOND)),
}
# How long from one deployment to the next, in seconds: 1 a day is a day.
_PAUSE: Mapping[Edition, _Steps] = {
    "2021": (
        *((_DAY, "elite"), (_WEEK, _GAP_EH), (_MONTH, "high")),
        *((_HALF_YEAR, "medium"), (math.inf, "low")),
    ),
    "2023": ((_DAY, "elite"), (_WEEK, "high"), (_MONTH, "medium or low"), (math.inf, _BEYOND)),
    "2024": ((_DAY, "elite"), (_WEEK, "high"), (_MONTH, "medium"), (_HALF_YEAR, "low"), (math.inf, _BEYOND)),
}
_STRICT = {"change_lead_time", "failed_deployment_recovery_time"}
"""Where "less than an hour" leaves the hour itself to the next band."""


def band(edition: str, metric: str, value: float | None) -> str | None:
    """Return what the edition calls a value (per day, seconds, share); None of no value and where there is no band.

    Raises ConfigError for an edition that drew none.
    """
    if edition not in EDITIONS:
        raise ConfigError(f"there are no bands of {edition!r}; choose {', '.join(EDITIONS)}")
    if value is None or math.isnan(value):
        return None
    if metric == "deployment_frequency":
        return _step(_PAUSE[edition], _DAY / value if value > 0 else math.inf, strict_first=True)
    tables = {"change_lead_time": _LEAD, "failed_deployment_recovery_time": _RECOVERY, "change_fail_rate": _FAILS}
    steps = tables.get(metric)
    return None if steps is None else _step(steps[edition], value, strict=metric in _STRICT)


def _step(steps: _Steps, value: float, *, strict: bool = False, strict_first: bool = False) -> str:
    for place, (bound, name) in enumerate(steps):
        excluded = strict or (strict_first and place == 0)
        if value < bound or (value == bound and not excluded):
            return name
    return steps[-1][1]


def bands(metric: str, value: float | None, low: float | None, high: float | None) -> dict[str, dict[str, str | None]]:
    """Return, for each edition, the band of the value and of both ends of its interval; {} where none is drawn."""
    if band("2024", metric, 1.0) is None:
        return {}
    ends = {"value": value, "low": low, "high": high}
    return {edition: {name: band(edition, metric, end) for name, end in ends.items()} for edition in EDITIONS}


def target_verdict(
    target: float, *, at_least: float | None, at_most: float | None, more_is_better: bool = False
) -> Target:
    """Return whether one-sided 95% bounds of a number (None: not known) show that it keeps a target, or that not.

    To keep is to be at most the target, or at least with ``more_is_better``.
    """
    better, worse = (at_least, at_most) if more_is_better else (at_most, at_least)
    sign = -1.0 if more_is_better else 1.0
    if better is not None and sign * better <= sign * target:
        return "met"
    if worse is not None and sign * worse > sign * target:
        return "missed"
    return "not shown by the data"
