"""The policies that a search may try: four pairs, each from a small declared grid of numbers that people would write.

A paging pair (critical), a slower one (warning) and two of tickets (info), each with a long window, a short one that is
a part of it, the share of the budget that it may spend (the factor follows), ``for`` and ``min_bad``. The default
policy's own numbers are put into the grids, so that it and its neighbours can be tried.

>>> from node0lib.alerts.policy import workbook_policy
>>> space = Space.around(workbook_policy(), timedelta(minutes=1))
>>> start = space.numbers(workbook_policy())
>>> [(a.name, round(a.factor, 6)) for a in space.policy(start).alerts]
[('critical_1h', 14.4), ('warning_6h', 6.0), ('info_1d', 3.0), ('info_3d', 1.0)]
>>> len(list(space.neighbours(start)))
30
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

_NOTHING, _MINUTE, _HOUR, _DAY = timedelta(0), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Numbers = Mapping[str, int]
"""Where each parameter ("critical.budget") stands in its grid."""


@dataclass(frozen=True)
class PairGrid:
    """The choices for one pair, each rising: ``parts`` says how often the short window goes into the long one."""

    severity: Severity
    longs: tuple[timedelta, ...]
    parts: tuple[float, ...]
    budgets: tuple[float, ...]
    holds: tuple[timedelta, ...]
    guards: tuple[float, ...]

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many choices each parameter has; what matters most comes first."""
        columns = {"budget": self.budgets, "min_bad": self.guards, "long": self.longs, "part": self.parts}
        return {name: len(values) for name, values in {**columns, "for": self.holds}.items()}

    def with_those_of(self, alert: BurnAlert, period: timedelta) -> PairGrid:
        """Return the grid with an alert's own numbers among the choices."""
        return replace(
            self,
            longs=tuple(sorted({*self.longs, alert.long})),
            parts=_with(self.parts, alert.long / alert.short),
            budgets=_with(self.budgets, alert.factor * (alert.long / period)),
            holds=tuple(sorted({*self.holds, alert.hold})),
            guards=_with(self.guards, alert.min_bad),
        )

    def numbers(self, alert: BurnAlert, period: timedelta) -> Numbers:
        """Return where an alert's numbers stand in the grid, which must have them."""
        return {
            "long": self.longs.index(alert.long),
            "part": _index(self.parts, alert.long / alert.short),
            "budget": _index(self.budgets, alert.factor * (alert.long / period)),
            "for": self.holds.index(alert.hold),
            "min_bad": _index(self.guards, alert.min_bad),
        }

    def alert(self, at: Numbers, period: timedelta, step: timedelta) -> BurnAlert:
        """Return the alert at those numbers; its short window is a whole number of steps, one at least."""
        long = self.longs[at["long"]]
        short = max(1, round(long / self.parts[at["part"]] / step)) * step
        return BurnAlert.spending(
            f"{self.severity}_{format_duration(long)}",
            self.severity,
            self.budgets[at["budget"]],
            long,
            short,
            period,
            self.holds[at["for"]],
            self.guards[at["min_bad"]],
        )


_PARTS = (4.0, 6.0, 12.0, 24.0)
GRIDS: Mapping[str, PairGrid] = {
    "critical": PairGrid(
        "critical",
        (_HOUR / 2, _HOUR, 2 * _HOUR),
        _PARTS,
        (0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04),
        (_NOTHING, _MINUTE, 2 * _MINUTE, 5 * _MINUTE),
        (0.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0),
    ),
    "warning": PairGrid(
        "warning",
        (3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
        _PARTS,
        (0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1),
        (_NOTHING, 5 * _MINUTE, 15 * _MINUTE),
        (0.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0),
    ),
    "ticket_1": PairGrid(
        "info",
        (6 * _HOUR, 12 * _HOUR, _DAY),
        _PARTS,
        (0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15),
        (_NOTHING, 15 * _MINUTE),
        (0.0, 3.0, 10.0),
    ),
    "ticket_2": PairGrid(
        "info",
        (2 * _DAY, 3 * _DAY),
        _PARTS,
        (0.05, 0.075, 0.1, 0.15, 0.2),
        (_NOTHING, _HOUR),
        (0.0, 3.0, 10.0),
    ),
}
"""The declared space, for buckets of a minute."""


@dataclass(frozen=True)
class Space:
    """Grids by role for an objective, a period and buckets of ``step``."""

    objective: float
    period: timedelta
    step: timedelta
    grids: Mapping[str, PairGrid]

    @classmethod
    def around(cls, default: AlertPolicy, step: timedelta, grids: Mapping[str, PairGrid] = GRIDS) -> Space:
        """Return the grids with the default's numbers; long windows that steps do not divide are left out."""
        roles = _roles(default, grids)
        found = {}
        for role, grid in grids.items():
            longs = tuple(long for long in grid.longs if long % step == _NOTHING and long >= step)
            mine = replace(grid, longs=longs or (step * max(1, round(grid.longs[0] / step)),))
            found[role] = mine.with_those_of(roles[role], default.period) if role in roles else mine
        return cls(default.objective, default.period, step, found)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many choices each parameter of each role has."""
        return {f"{role}.{name}": size for role, grid in self.grids.items() for name, size in grid.sizes.items()}

    def policy(self, at: Numbers) -> AlertPolicy:
        """Return the policy at those numbers."""
        alerts = []
        for role, grid in self.grids.items():
            mine = {name: at[f"{role}.{name}"] for name in grid.sizes}
            alerts.append(grid.alert(mine, self.period, self.step))
        names = [alert.name for alert in alerts]
        told = [f"{name}_{n}" if names.count(name) > 1 else name for n, name in enumerate(names, start=1)]
        alerts = [replace(alert, name=name) for alert, name in zip(alerts, told, strict=True)]
        return AlertPolicy(self.objective, self.period, tuple(alerts))

    def numbers(self, default: AlertPolicy) -> Numbers:
        """Return where the default's alerts stand; a role that it has not, is not there."""
        found: dict[str, int] = {}
        for role, alert in _roles(default, self.grids).items():
            mine = self.grids[role].numbers(alert, self.period)
            found |= {f"{role}.{name}": number for name, number in mine.items()}
        return found

    def neighbours(self, at: Numbers) -> Iterator[Numbers]:
        """Yield what differs in one parameter by one place, budgets first, pages before tickets."""
        kinds = ("budget", "min_bad", "long", "part", "for")
        for name in (name for kind in kinds for name in at if name.endswith(f".{kind}")):
            for number in (at[name] - 1, at[name] + 1):
                if 0 <= number < self.sizes[name]:
                    yield {**at, name: number}

    def furthest(self) -> AlertPolicy:
        """Return the policy that looks back furthest in every pair."""
        return self.policy({name: size - 1 for name, size in self.sizes.items()})


def _roles(default: AlertPolicy, grids: Mapping[str, PairGrid]) -> dict[str, BurnAlert]:
    """The first alert of a severity takes the first role of it, and so on; what is left over has none."""
    left, found = list(default.alerts), {}
    for role, grid in grids.items():
        alert = next((one for one in left if one.severity == grid.severity), None)
        if alert is not None:
            left.remove(alert)
            found[role] = alert
    return found


def _with(values: tuple[float, ...], value: float) -> tuple[float, ...]:
    return values if any(math.isclose(value, one) for one in values) else tuple(sorted((*values, value)))


def _index(values: tuple[float, ...], value: float) -> int:
    return next(n for n, one in enumerate(values) if math.isclose(value, one, abs_tol=1e-12))
