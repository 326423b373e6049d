"""Which policies a team has to choose from, and which of them keep its goals: dominance, the Pareto front, verdicts.

Five things are scored, each with its interval: detection (the time within which the goals' ``share`` of outages is
paged), false pages a month, recall, reset, and the share of the budget gone when a slow burn is told. All but recall
are better when lower.

Dominance is honest about chance. A dominates B if in every objective A's value and both ends of its interval are at
least as good as B's, and in one of them the intervals lie apart:
- Better by chance is not better: without an objective whose intervals do not touch, neither dominates.
- Worse by chance is worse all the same: to call it equal would make dominance run in circles (A before B before C
  before A), and a front could be empty. The front is larger for it; it never hides a policy for noise alone.
- An end that too few observations allow is as bad as can be at the bad end and as good at the good one. What was
  never observed (None) is worst.
- Equal policies do not dominate each other: all of them are on the front.
So dominance is a strict partial order, whatever the intervals are, and what is off the front is dominated by a member.
A ticket soon enough is soon enough: below ``enough`` the budget spent before it counts as equal.

A goal is met if all of the interval meets it, missed if none does; else the data do not show it.

>>> from node0lib.alerts.policy import workbook_policy
>>> from node0lib.sli.intervals import poisson_rate
>>> def scored(seconds: float, false: int, name: str = "") -> Scored:
...     sure, share = Estimate(seconds, seconds, seconds), Estimate(0.04, 0.04, 0.04)
...     return Scored(workbook_policy(), sure, poisson_rate(false, 100.0), Estimate(1.0, 0.9, 1.0), sure, share)
>>> soon, late, noisy = scored(540, 20), scored(720, 18), scored(540, 90)
>>> dominates(soon, late), dominates(soon, noisy)  # two false pages fewer in 100 months may be chance; 70 are not
(False, True)
>>> front([soon, late, noisy]) == (soon, late)
True
>>> [check.verdict for check in met(Goals(), late)]
['met', 'missed', 'met']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts.goals import Goals, amount, lasting, percent
from node0lib.alerts.policy import AlertPolicy
from node0lib.sli.intervals import Estimate
from node0lib.timespan import format_duration

Verdict = Literal["met", "missed", "not shown"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """A policy and what it did; times in seconds (+inf: missed, or never reset), rates a month, shares of the budget.

    None is what could not be observed. ``false_tickets`` a month is told, and decides between equals; it is not an
    objective.
    """

    policy: AlertPolicy
    detection_s: Estimate
    false_pages: Estimate
    recall: Estimate | None
    reset_s: Estimate | None
    ticket_spent: Estimate
    false_tickets: Estimate | None = None


@dataclass(frozen=True)
class Check:
    """One goal against the data. ``gap`` is how far the value is off, relative to the goal; 0 if it is reached."""

    goal: str
    asked: str
    verdict: Verdict
    reason: str
    gap: float


def dominates(one: Scored, other: Scored, enough: float = 0.0) -> bool:
    """Return whether ``one`` is at least as good in everything and better beyond chance in something."""
    return bool(_dominated(_ends(other, enough), _ends(one, enough)[None])[0])


def front(scored: Sequence[Scored], enough: float = 0.0) -> tuple[Scored, ...]:
    """Return those that no other dominates, in their order."""
    if not scored:
        return ()
    ends = np.stack([_ends(one, enough) for one in scored])
    return tuple(one for one, mine in zip(scored, ends, strict=True) if not _dominated(mine, ends).any())


def met(goals: Goals, scored: Scored) -> tuple[Check, ...]:
    """Return a check of each goal that is asked, in a fixed order: pages, detection, ticket, recall, reset."""
    outage, burn, share = goals.outage, goals.burn, f"{percent(goals.share)} of cases"
    found: list[Check] = []
    if goals.false_pages is not None:
        pages = "page" if goals.false_pages == 1 else "pages"
        asked = f"at most {goals.false_pages:g} false {pages} a month"
        found.append(_check("false pages", asked, scored.false_pages, goals.false_pages, amount))
    if outage.within is not None:
        asked = f"a failure of {percent(outage.size)} paged within {format_duration(outage.within)} in {share}"
        found.append(_check("detection", asked, scored.detection_s, outage.within.total_seconds(), lasting))
    if burn.before is not None:
        asked = f"a failure of {percent(burn.size)} told before {percent(burn.before)} of the budget is gone in {share}"
        found.append(_check("ticket", asked, scored.ticket_spent, burn.before, percent))
    if goals.recall is not None:
        asked = f"at least {percent(goals.recall)} of significant faults paged"
        found.append(_check("recall", asked, scored.recall, goals.recall, percent, lower_is_better=False))
    if goals.reset is not None:
        asked = f"reset within {format_duration(goals.reset)} (median)"
        found.append(_check("reset", asked, scored.reset_s, goals.reset.total_seconds(), lasting))
    return tuple(found)


def meets(goals: Goals, scored: Scored) -> bool:
    """Return whether every goal is shown to be met."""
    return all(check.verdict == "met" for check in met(goals, scored))


def recommended(goals: Goals, members: Sequence[Scored]) -> Scored | None:
    """Return the member with the fewest false pages (then tickets, then the soonest) that meets the goals."""
    good = [one for one in members if meets(goals, one)]
    return min(good, key=_preference, default=None)


def nearest(goals: Goals, members: Sequence[Scored]) -> Scored:
    """Return the member with the fewest goals unmet, and of those the least far off."""

    def distance(one: Scored) -> tuple[float, ...]:
        checks = met(goals, one)
        unmet = sum(check.verdict != "met" for check in checks)
        return (unmet, sum(check.gap for check in checks), *_preference(one))

    return min(members, key=distance)


def out_of_reach(goals: Goals, members: Sequence[Scored]) -> tuple[str, ...]:
    """Return what is asked and missed by every member: not even alone can it be had."""
    return tuple(asked for asked, verdicts in _verdicts(goals, members) if verdicts == {"missed"})


def unshown(goals: Goals, members: Sequence[Scored]) -> tuple[str, ...]:
    """Return what is asked, not shown to be met by any member, and not missed by all."""
    found = _verdicts(goals, members)
    return tuple(asked for asked, verdicts in found if "met" not in verdicts and "not shown" in verdicts)


def _verdicts(goals: Goals, members: Sequence[Scored]) -> list[tuple[str, set[Verdict]]]:
    columns = zip(*(met(goals, one) for one in members), strict=True)
    return [(column[0].asked, {check.verdict for check in column}) for column in columns]


def distinct(members: Sequence[Scored], enough: float = 0.0) -> tuple[Scored, ...]:
    """Return one of those that are equal in every objective: the first with the fewest false tickets."""
    kept: dict[bytes, Scored] = {}
    for one in members:
        key = _ends(one, enough).tobytes()
        if key not in kept or _rate(one.false_tickets) < _rate(kept[key].false_tickets):
            kept[key] = one
    chosen = {id(one) for one in kept.values()}
    return tuple(one for one in members if id(one) in chosen)


def why(
    default: Scored,
    members: Sequence[Scored],
    enough: float = 0.0,
    called: Callable[[Scored], str] = lambda _: "another policy",
) -> str:
    """Return in plain words why the default policy is, or is not, on the front that ``members`` make.

    ``called`` names a member.
    """
    better_ones = [one for one in members if dominates(one, default, enough)]
    rivals = better_ones or [one for one in members if one is not default and _compared(one, default, enough)[0]]
    rival = max(rivals, key=lambda one: (len(_compared(one, default, enough)[0]), -_rank(one, members)), default=None)
    if rival is None:
        return "The default policy is on the front: no policy that was tried is better in anything beyond chance."
    better, worse, same = _compared(rival, default, enough)
    equal = f"; no difference is shown in {_listed(same)}" if same else ""
    if better_ones:
        return f"The default policy is not on the front: {called(rival)} {_listed(better)}{equal}."
    ahead = "no policy is at least as good in everything and better beyond chance in something"
    cost = f", but {_listed(worse)}" if worse else ", though not everything in it is as good: that may be chance"
    return f"The default policy is on the front: {ahead}. {_capital(called(rival))} {_listed(better)}{cost}."


def _rank(one: Scored, members: Sequence[Scored]) -> int:
    return next(n for n, member in enumerate(members) if member is one)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _compared(one: Scored, other: Scored, enough: float) -> tuple[list[str], list[str], list[str]]:
    """Return in what ``one`` is better and worse beyond chance, in sentences, and where the data see no difference."""
    better, worse, same = [], [], []
    names = ("detection time", "false pages", "recall", "reset time", "budget spent before a ticket")
    told = zip(_ends(one, 0.0)[:, 1], _ends(other, 0.0)[:, 1], strict=True)
    rows = zip(names, _ends(one, enough), _ends(other, enough), told, _WORDS, strict=True)
    for name, mine, theirs, values, words in rows:
        value, against = (abs(float(each)) for each in values)
        if mine[2] < theirs[0]:
            better.append(words(value, against, "better"))
        elif mine[0] > theirs[2]:
            worse.append(words(value, against, "worse"))
        else:
            same.append(name)
    return better, worse, same


def _time(verb: str) -> Callable[[float, float, str], str]:
    def told(mine: float, theirs: float, how: str) -> str:
        both = f"{lasting(mine)} against {lasting(theirs)}"
        if math.isinf(mine) or math.isinf(theirs):
            return f"{verb} {'sooner' if how == 'better' else 'later'} ({both})"
        return f"{verb} {lasting(abs(mine - theirs))} {'sooner' if how == 'better' else 'later'} ({both})"

    return told


def _pages(mine: float, theirs: float, how: str) -> str:
    return f"has {'fewer' if how == 'better' else 'more'} false pages a month ({amount(mine)} against {amount(theirs)})"


def _recall(mine: float, theirs: float, how: str) -> str:
    return f"pages {'more' if how == 'better' else 'fewer'} of the faults ({percent(mine)} against {percent(theirs)})"


def _ticket(mine: float, theirs: float, how: str) -> str:
    when = "sooner" if how == "better" else "later"
    return f"tells a slow burn {when} ({percent(mine)} of the budget gone against {percent(theirs)})"


_WORDS = (_time("pages"), _pages, _recall, _time("resets"), _ticket)


def _preference(one: Scored) -> tuple[float, ...]:
    pages, late = one.false_pages.value, one.detection_s.value
    return pages, _rate(one.false_tickets), late, _rate(one.reset_s), one.ticket_spent.value


def _rate(estimate: Estimate | None) -> float:
    return math.inf if estimate is None else estimate.value


def _check(
    goal: str,
    asked: str,
    found: Estimate | None,
    limit: float,
    told: Callable[[float], str],
    *,
    lower_is_better: bool = True,
) -> Check:
    if found is None:
        return Check(goal, asked, "not shown", "there was nothing to observe", 1.0)
    low, high = _open(found)
    best, worst = (low, high) if lower_is_better else (-high, -low)
    bound, value = (limit, found.value) if lower_is_better else (-limit, -found.value)
    verdict: Verdict = "met" if worst <= bound else "missed" if best > bound else "not shown"
    gap = 0.0 if value <= bound else min(abs(value - bound) / (abs(bound) or 1.0), 1e6)
    interval = " to ".join("?" if end is None else told(end) for end in (found.low, found.high))
    reasons = {
        "met": f"{told(found.value)} ({interval})",
        "missed": f"{told(found.value)} ({interval})",
        "not shown": f"{told(found.value)}, but {interval} is on both sides of {told(limit)}: more months would tell",
    }
    return Check(goal, asked, verdict, reasons[verdict], gap)


def _open(estimate: Estimate) -> tuple[float, float]:
    """The interval's ends; one that is not known is as far away as can be."""
    low, high = estimate.low, estimate.high
    return -math.inf if low is None else low, math.inf if high is None else high


def _ends(scored: Scored, enough: float) -> Floats:
    """Return low, value and high of each objective, (5, 3), lower being better."""
    recall = scored.recall
    if recall is not None:
        low, high = _open(recall)
        recall = Estimate(-recall.value, -high, -low)
    estimates = (scored.detection_s, scored.false_pages, recall, scored.reset_s)
    tickets = np.maximum(enough, _row(scored.ticket_spent))
    return np.array([*(_row(one) for one in estimates), tickets])


def _row(estimate: Estimate | None) -> tuple[float, float, float]:
    if estimate is None:
        return math.inf, math.inf, math.inf
    low, high = _open(estimate)
    return low, estimate.value, high


def _dominated(mine: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return for each of others (n, 5, 3) whether it dominates mine (5, 3)."""
    as_good = (others <= mine).all(axis=(1, 2))
    apart = (others[:, :, 2] < mine[:, 0]).any(axis=1)
    return np.asarray(as_good & apart)
