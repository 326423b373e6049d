"""Which deployment failed, when that was known, and when it was over; which change arrived first with which.

- An incident belongs to the deployment that it names; else to the latest of its service, in production and no
  rollback, that finished before it was opened, at most 24 h earlier (the profile says).
- A rollback undoes the latest deployment of its service and environment that is not undone yet, unless that one has
  the very version that the rollback restores; a second step back undoes the one before.
- A deployment has failed from the moment its rollback finished or its incident was opened. So what a window says at
  its end rests on nothing that happened later, and a report for a past instant is what it would have been then.
- A declared maturity closes the past: what is known of a failure later than that after the deployment finished, by an
  incident or a rollback, changes nothing any more. It is counted as ``late``. Undeclared, every explicit link counts.
- Recovery ends with the first rollback or hotfix that finished after it, or the first resolution of its incidents.

>>> from datetime import UTC, datetime
>>> from node0lib.dora.events import Deployment, Incident
>>> from node0lib.dora.history import micros
>>> from node0lib.dora.profiles import NODE0
>>> day = datetime(2026, 1, 5, tzinfo=UTC)
>>> bad = Deployment("d1", "shop", "production", day, day)
>>> fault = Incident("i1", "shop", day + timedelta(hours=2), day + timedelta(hours=3))
>>> judged = judge(History.of([bad, fault]), NODE0, frozenset({"production"}))
>>> (judged.failed_at - micros(day)) // 3_600_000_000, (judged.recovered_at - micros(day)) // 3_600_000_000
(array([2]), array([3]))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from node0lib.dora.history import (
    FAILED,
    HOTFIX,
    NEVER,
    NONE,
    ROLLBACK,
    ROLLED_BACK,
    UNKNOWN,
    UNLINKED,
    History,
)
from node0lib.dora.profiles import Profile

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
_SECOND, _MINUTE = 1_000_000, 60_000_000
_MICRO = timedelta(microseconds=1)
_LATE = -3
"""A link that came too late to count, beside UNLINKED and UNKNOWN."""


@dataclass(frozen=True)
class Judged:
    """What became of n deployments, and m changes in the order in which they arrived.

    ``reached`` (n,): it got to its environment. ``counted``: so it did, and it is no rollback: what can fail.
    ``half``: it stopped on its way by its own word, and yet an incident names it; it counts from when that is known.
    ``failed_at`` and ``recovered_at`` (n,) are microseconds, NEVER if it did not;
    ``began_at`` is when the recovery's clock starts. ``untold``: failed by its own word, with no end of it recorded.
    ``rework``: unplanned and caused by an incident. Of changes: ``arrival`` (m,) is the deployment's place, ``lead``
    (m,) seconds, NaN if the start is not known.
    """

    reached: Bools
    counted: Bools
    half: Bools
    failed_at: Ints
    began_at: Ints
    recovered_at: Ints
    untold: Bools
    rework: Bools
    arrival: Ints
    lead: Floats
    timed: int
    named: int
    unlinked: int
    unknown: int
    late: int


def judge(
    history: History, profile: Profile, production: frozenset[str], maturity: timedelta | None = None
) -> Judged:
    """Return what became of every deployment under a profile; ``production`` names the environments of incidents.

    ``maturity`` is how long a deployment may still fail, if that was declared.
    """
    within = NEVER if maturity is None else maturity // _MICRO
    given = _punctual(history, history.link, within)
    live = np.isin(history.environment, [k for k, name in enumerate(history.environments) if name in production])
    blamed = given[given >= 0]
    reached, named = history.outcome != FAILED, np.zeros(len(history.outcome), np.bool_)
    named[blamed] = True
    counted = reached & (history.kind != ROLLBACK)
    half = named & ~reached & (history.kind != ROLLBACK)
    link, timed = _linked(history, given, profile, counted & live)
    link = _punctual(history, link, within)
    failed_at, by_incident, undone_late = _failures(history, link, counted | half, within)
    began_at, recovered_at = _recoveries(history, profile, link, reached)
    untold = (failed_at != NEVER) & (recovered_at == NEVER) & ~by_incident
    rework, (arrival, lead) = _rework(history, reached, live), _leads(history, profile, reached)
    return Judged(
        *(reached, counted, half, failed_at, began_at, recovered_at, untold, rework, arrival, lead),
        timed=timed,
        named=len(blamed),
        unlinked=int(np.count_nonzero(link == UNLINKED)),
        unknown=int(np.count_nonzero(link == UNKNOWN)),
        late=int(np.count_nonzero(link == _LATE)) + undone_late,
    )


def _punctual(history: History, link: Ints, within: int) -> Ints:
    """The links without those of incidents that were opened later than ``within`` after their deployment finished."""
    found, linked = link.copy(), np.flatnonzero(link >= 0)
    found[linked[history.opened[linked] - history.finished[link[linked]] > within]] = _LATE
    return found


def _groups(codes: Ints, *others: Ints) -> Iterator[tuple[Ints, ...]]:
    """The places in each array that hold a code, for every code of the first; places keep their order."""
    present = np.unique(codes)
    split = [_places(array, present) for array in (codes, *others)]
    yield from zip(*split, strict=True)


def _places(array: Ints, codes: Ints) -> list[Ints]:
    """The places of each of the codes, which rise; sorting small numbers is a count, so millions take milliseconds."""
    small = array.astype(np.int16) if array.size and np.abs(array).max() < 2**15 else array
    order = np.argsort(small, kind="stable")
    ordered = array[order]
    starts, ends = np.searchsorted(ordered, codes, "left"), np.searchsorted(ordered, codes, "right")
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _linked(history: History, given: Ints, profile: Profile, candidates: Bools) -> tuple[Ints, int]:
    """The deployment of each incident, by the links that are given or else by the time rule, and how many that found.
    """
    link = given.copy()
    if not profile.timed:
        return link, 0
    within = NEVER if profile.link_within is None else profile.link_within // _MICRO
    service = np.where(candidates, history.service, -1)
    asking = np.where(link == UNLINKED, history.incident_service, -2)
    for asked, found in _groups(asking, service):
        if asking[asked[0]] < 0 or not len(found):
            continue
        before = np.searchsorted(history.finished[found], history.opened[asked], "right") - 1
        latest = found[np.maximum(before, 0)]
        near = (before >= 0) & (history.opened[asked] - history.finished[latest] <= within)
        link[asked[near]] = latest[near]
    return link, int(np.count_nonzero(link != given))


def _failures(history: History, link: Ints, counted: Bools, within: int) -> tuple[Ints, Bools, int]:
    """When each deployment was known to have failed, whether an incident said so, how many rollbacks were too late."""
    failed_at = np.where(counted & (history.outcome == ROLLED_BACK), history.finished, NEVER)
    by_incident = np.zeros(len(failed_at), np.bool_)
    blamed = link >= 0
    blamed[blamed] = counted[link[blamed]]
    known = np.maximum(history.opened[blamed], history.finished[link[blamed]])
    np.minimum.at(failed_at, link[blamed], known)
    by_incident[link[blamed]] = True
    late = 0
    for rollback, undone in _undone(history, counted, link):
        if history.finished[rollback] - history.finished[undone] > within:
            late += 1
        else:
            failed_at[undone] = min(failed_at[undone], max(history.finished[rollback], history.finished[undone]))
    return failed_at, by_incident, late


def _undone(history: History, counted: Bools, link: Ints) -> Iterator[tuple[int, int]]:
    """The (rollback, deployment that it undoes) pairs."""
    rollbacks = (history.kind == ROLLBACK) & (history.outcome != FAILED)
    group = history.service * len(history.environments) + history.environment
    undoing, standing = np.where(rollbacks, group, -1), np.where(counted, group, -2)
    for steps, stood in _groups(undoing, standing):
        if undoing[steps[0]] < 0:
            continue
        gone: set[int] = set()
        # An automatic rollback may start before the deployment that it undoes has finished: the finish decides.
        before = np.searchsorted(history.finished[stood], history.finished[steps], "right") - 1
        for step, at in zip(steps.tolist(), before.tolist(), strict=True):
            cause = int(history.cause[step])
            if cause >= 0 and link[cause] >= 0 and counted[link[cause]]:
                target = int(link[cause])  # an incident brought it about, and that one names its deployment
            else:
                while at >= 0 and int(stood[at]) in gone:
                    at -= 1
                target = int(stood[at]) if at >= 0 else -1
            if target >= 0 and not _restores(history, step, target):
                gone.add(target)
                yield step, target


def _restores(history: History, rollback: int, target: int) -> bool:
    return bool(history.sha[rollback] >= 0 and history.sha[rollback] == history.sha[target])


def _recoveries(history: History, profile: Profile, link: Ints, reached: Bools) -> tuple[Ints, Ints]:
    """When the clock of each deployment's recovery starts, and when it stops."""
    blamed = np.flatnonzero(link >= 0)
    began, ended = history.finished.copy(), np.full(len(history.finished), NEVER)
    if profile.recovery_from == "incident":
        began = np.full(len(began), NEVER)
        np.minimum.at(began, link[blamed], history.opened[blamed])
    np.minimum.at(ended, link[blamed], history.resolved[blamed])
    if profile.recovery_from == "deployment":
        ended = np.minimum(ended, _next_remedy(history, reached))
    return began, ended


def _next_remedy(history: History, reached: Bools) -> Ints:
    """When, after each deployment, the next rollback or hotfix of its service and environment finished."""
    group = history.service * len(history.environments) + history.environment
    remedies = np.where(reached & ((history.kind == ROLLBACK) | (history.kind == HOTFIX)), group, -1)
    found = np.full(len(group), NEVER)
    for rows, remedy in _groups(group, remedies):
        ends = np.append(history.finished[remedy], NEVER)
        found[rows] = ends[np.searchsorted(ends[:-1], history.finished[rows], "right")]
    return found


def _rework(history: History, reached: Bools, live: Bools) -> Bools:
    """Unplanned, and caused by an incident: a named one, or one of the service that was open at the start."""
    unplanned = reached & ~history.planned
    found = unplanned & (history.cause >= 0)
    asking = np.where(unplanned & live & (history.cause == UNLINKED), history.service, -1)
    for rows, incidents in _groups(asking, history.incident_service):
        if asking[rows[0]] >= 0:
            opened, resolved = history.opened[incidents], np.sort(history.resolved[incidents])
            start = history.started[rows]
            now_open = np.searchsorted(opened, start, "right") - np.searchsorted(resolved, start, "left")
            found[rows] = now_open > 0
    return found


def _leads(history: History, profile: Profile, arrived: Bools) -> tuple[Ints, Floats]:
    """The deployment by which each change first arrived, service by service, and the seconds that it took."""
    brought = np.flatnonzero(arrived[history.owner] & (history.kind[history.owner] != ROLLBACK))
    owner = history.owner[brought]
    group = history.service[owner] * len(history.environments) + history.environment[owner]
    codes = int(history.change_sha.max(initial=0)) + 1
    first = ~pd.Series(group * codes + history.change_sha[brought]).duplicated().to_numpy()
    rows, owner = brought[first], owner[first]
    return owner, _spans(history, profile, rows, history.finished[owner])


def _spans(history: History, profile: Profile, rows: Ints, arrived: Ints) -> Floats:
    if profile.lead == "pull_request":
        return cycle_time(history.authored[rows], history.proposed[rows], history.merged[rows], arrived)
    start = {"committer": history.committed, "author": history.authored, "merge": history.merged}[profile.lead][rows]
    return np.where(start == NONE, np.nan, (arrived - start) / _SECOND)


def cycle_time(authored: Ints, proposed: Ints, merged: Ints, arrived: Ints) -> Floats:
    """Return DevLake's cycle time in seconds (m,): coding, proposal to merge, merge to deployment.

    Each part is in whole minutes, rounded up, and left out if an end of it is not known or it is negative. NaN where a
    request was not merged.
    """
    marks = (authored, proposed, merged, arrived)
    total = np.zeros(len(merged))
    for start, end in zip(marks[:-1], marks[1:], strict=True):
        known = (start != NONE) & (end != NONE) & (end >= start)
        total += np.where(known, -((np.where(known, start, 0) - np.where(known, end, 0)) // _MINUTE), 0) * 60.0
    return np.where(merged == NONE, np.nan, total)
