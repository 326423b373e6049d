"""The choice between alert policies, at 80 columns: the Pareto front, and why the default policy is on it or not.

At most twelve rows: the recommended policy, the default's, the best in each column, and others spread evenly between
the soonest page and the latest. ``document`` has all of them, with the numbers that the search saw next to the fresh
ones that are shown.

>>> from datetime import timedelta
>>> pair(BurnAlert("page", "critical", timedelta(hours=1), timedelta(minutes=5), 14.4, timedelta(minutes=2), 3.0))
'1h/5m 14.4x for 2m bad 3'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from node0lib.alerts.goals import Goals, amount, lasting, percent
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.search import Check, Scored, met, nearest, out_of_reach, unshown, why
from node0lib.simulate.months import PAGING
from node0lib.simulate.search import Found, Member
from node0lib.sli.intervals import Estimate
from node0lib.timespan import format_duration

_ROWS = 12
_SIGNS = {"met": "+", "missed": "-", "not shown": "?"}
_QUIET = 0.05
"""So few false pages a month that nothing keeps a search from the most sensitive thresholds."""


def shown(found: Found) -> list[RenderableType]:
    """Return what a terminal gets to see, one thing after another."""
    asked, members = found.asked, rows(found)
    numbers = {id(one): number for number, one in enumerate(members, start=1)}
    policy, tried = asked.default, len(found.tried)
    parts: list[RenderableType] = [
        f"objective {policy.objective:g} over {format_duration(policy.period)}; {tried} policies tried on "
        f"{asked.months} simulated months; the numbers are of {asked.months} fresh ones",
        *(f"goal {n}: {check.asked}" for n, check in enumerate(met(asked.goals, found.default.fresh), start=1)),
        _table(found, members),
    ]
    if left := len(found.front) - len(members):
        parts.append(f"and {left} more on the front; --output json has them all")
    parts.append("> recommended  * default  goals in order: + met, - missed, ? not shown")
    return [*parts, reason(found, numbers), *_caution(found), *(_advice(found, numbers))]


def rows(found: Found) -> list[Member]:
    """Return the members of the front that are shown, soonest page first."""
    front = list(found.front)
    columns = ("detection_s", "false_pages", "reset_s", "ticket_spent")
    best = [min(front, key=lambda one: _value(getattr(one.fresh, column))) for column in columns]
    spread = [front[round(n * (len(front) - 1) / (_ROWS - 1))] for n in range(_ROWS)]
    wanted = [one for one in (found.recommended, found.default, *best, *spread) if one in found.front]
    kept = dict.fromkeys(front.index(one) for one in wanted if one is not None)
    return [front[n] for n in sorted(list(kept)[:_ROWS])]


def reason(found: Found, numbers: Mapping[int, int]) -> str:
    """Return why the default is or is not on the front; ``numbers`` are the rows of the members, by identity."""
    rows_of = {id(one.fresh): numbers[id(one)] for one in found.front if id(one) in numbers}

    def called(one: Scored) -> str:
        row = rows_of.get(id(one))
        return f"policy {row}" if row else f"the policy {' and '.join(pair(a) for a in _paging(one.policy))}"

    # Rivals that have a row come first: of equals, one that can be looked up is named.
    members = sorted((one.fresh for one in found.front), key=lambda one: id(one) not in rows_of)
    return why(found.default.fresh, members, found.asked.goals.enough, called)


def unmet(found: Found) -> list[str]:
    """Return, where no policy meets the goals, which of them is out of reach and what comes nearest."""
    goals, members = found.asked.goals, [one.fresh for one in found.rescored]
    lines = [f"Out of reach: {asked}. No policy that was tried meets it." for asked in out_of_reach(goals, members)]
    lines += [f"Not shown: {asked}. More months would tell." for asked in unshown(goals, members)]
    if not lines:
        lines.append("Out of reach together: each goal is met by some policy, but no policy is shown to meet them all.")
    near = nearest(goals, members)
    short = "; ".join(f"{c.asked}: {c.reason}" for c in met(goals, near) if c.verdict != "met")
    return [*lines, f"Nearest: {', '.join(pair(a) for a in near.policy.alerts)}. It lacks: {short}."]


def pair(alert: BurnAlert) -> str:
    """Windows, burn rate, ``for`` and ``min_bad`` of an alert, in short."""
    hold = f" for {format_duration(alert.hold)}" if alert.hold else ""
    guard = f" bad {alert.min_bad:g}" if alert.min_bad else ""
    return f"{format_duration(alert.long)}/{format_duration(alert.short)} {alert.factor:.3g}x{hold}{guard}"


def document(found: Found) -> dict[str, Any]:
    """Return everything as JSON values; a value that is null was never, an end that is null never or not known.

    ``recommended`` counts the members of ``front`` from 1.
    """
    asked, numbers = found.asked, {id(one): n for n, one in enumerate(found.front, start=1)}
    chosen = found.recommended
    return {
        "objective": asked.default.objective,
        "period": format_duration(asked.default.period),
        "goals": [check.asked for check in met(asked.goals, found.default.fresh)],
        "seed": asked.seed,
        "months": asked.months,
        "candidates": asked.candidates,
        "policies_tried": len(found.tried),
        "default_policy": _member(found, found.default)
        | {"on_front": found.default in found.front, "why": reason(found, numbers)}
        | {"faults": {name: [q.detected, q.events] for name, q in found.default_faults.items()}},
        "front": [_member(found, one) for one in found.front],
        "recommended": None if chosen is None else numbers[id(chosen)],
        "unmet": [] if chosen is not None else unmet(found),
    }


def _advice(found: Found, numbers: Mapping[int, int]) -> list[str]:
    chosen = found.recommended
    if chosen is None:
        return unmet(found)
    tickets, false = [a for a in chosen.fresh.policy.alerts if a.severity not in PAGING], chosen.fresh.false_tickets
    told = f" with tickets at {', '.join(pair(a) for a in tickets)}" if tickets else ""
    many = f"; {amount(false.value)} false tickets a month" if false is not None and tickets else ""
    return [f"Recommended: policy {numbers[id(chosen)]}{told}{many}."]


def _caution(found: Found) -> list[str]:
    """Where nothing but chance could page falsely, and did not, sensitivity looks free."""
    fresh = [one.fresh for one in found.front]
    busy = max(one.false_pages.value for one in fresh) > _QUIET
    if found.asked.goals.blips is not None or busy or all(math.isinf(one.detection_s.value) for one in fresh):
        return []
    return [
        "Caution: chance alone pages hardly anybody on this traffic, so the most sensitive policy looks best. Say in "
        "the goals which failures happen and are to page nobody, for example blips: {a_month: 8, size: 5%, length: 3m}."
    ]


def _table(found: Found, members: Sequence[Member]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "pages at"):
        table.add_column(name)
    for name in ("paged\nwithin", "false pages\na month", "recall", "reset", "spent at\nticket", "goals"):
        table.add_column(name, justify="right", no_wrap=True)
    lines = [(str(number), one) for number, one in enumerate(members, start=1)]
    if found.default not in members:
        lines.append(("-", found.default))
    for number, one in lines:
        mark = (">" if one is found.recommended else "") + ("*" if one is found.default else "")
        table.add_row(f"{number}{mark}", *_cells(one.fresh, found.asked.goals))
    return table


def _cells(one: Scored, goals: Goals) -> tuple[str, ...]:
    pages = one.false_pages
    high = "" if pages.high is None else f" (<{amount(pages.high)})"
    return (
        "\n".join(pair(alert) for alert in _paging(one.policy)) or "nothing",
        lasting(one.detection_s.value),
        f"{amount(pages.value)}{high}",
        "-" if one.recall is None else percent(one.recall.value),
        "-" if one.reset_s is None else lasting(one.reset_s.value),
        percent(one.ticket_spent.value),
        "".join(_SIGNS[check.verdict] for check in met(goals, one)),
    )


def _paging(policy: AlertPolicy) -> list[BurnAlert]:
    return [alert for alert in policy.alerts if alert.severity in PAGING]


def _value(estimate: Estimate | None) -> float:
    return math.inf if estimate is None else estimate.value


def _member(found: Found, one: Member) -> dict[str, Any]:
    checks = met(found.asked.goals, one.fresh)
    return {
        "alerts": [_alert(alert) for alert in one.fresh.policy.alerts],
        "fresh": _scored(one.fresh),
        "seen_by_the_search": _scored(one.seen),
        "goals": [_check(check) for check in checks],
        "meets_all": all(check.verdict == "met" for check in checks),
    }


def _alert(alert: BurnAlert) -> dict[str, Any]:
    return {
        "name": alert.name,
        "severity": alert.severity,
        "long": format_duration(alert.long),
        "short": format_duration(alert.short),
        "factor": alert.factor,
        "for": format_duration(alert.hold),
        "min_bad": alert.min_bad,
    }


def _scored(one: Scored) -> dict[str, Any]:
    names = ("detection_s", "false_pages", "recall", "reset_s", "ticket_spent", "false_tickets")
    return {name: _estimate(getattr(one, name)) for name in names}


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if end is None or math.isinf(end) else end for name, end in ends.items()}


def _check(check: Check) -> dict[str, Any]:
    return {"goal": check.goal, "asked": check.asked, "verdict": check.verdict, "reason": check.reason}
