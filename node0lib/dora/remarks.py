"""What a reader must know of a history besides its numbers: links that lead nowhere, and what nobody recorded.

A history without an incident, a rollback and a deployment that failed or was taken back cannot tell a team that never
fails from one that writes no failure down: what it says of failures is no evidence, whatever the interval.

>>> from datetime import UTC
>>> from node0lib.dora.events import Deployment
>>> day = datetime(2026, 1, 5, tzinfo=UTC)
>>> fine, undone = (Deployment("d", "shop", "production", day, day, how) for how in ("succeeded", "rolled_back"))
>>> unheard(History.of([fine]), day), unheard(History.of([undone]), day)
(True, False)
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from node0lib.dora.history import ROLLBACK, SUCCEEDED, History, micros
from node0lib.dora.linking import Judged
from node0lib.dora.profiles import METRICS

ON_FAILURES = frozenset(METRICS[2:])
"""The metrics that only recorded failures can tell anything of: fail rate, recovery, rework."""
UNHEARD = "there is no incident and no failed deployment among the events: nobody recorded any, or there were none"


def unheard(history: History, at: datetime) -> bool:
    """Whether nothing up to an instant could have told a failure: no incident, no rollback, no outcome but success."""
    done = history.finished <= micros(at)
    told = (history.outcome != SUCCEEDED) | (history.kind == ROLLBACK)
    return not np.any(told & done) and not np.any(history.opened <= micros(at))


def remarks(history: History, judged: Judged, at: datetime) -> tuple[str, ...]:
    """Return the notes of a report for an instant."""
    later = int(np.count_nonzero(history.finished > micros(at)) + np.count_nonzero(history.opened > micros(at)))
    told = (
        (judged.timed, "incident(s) name no deployment and were linked by the time rule"),
        (judged.unlinked, "incident(s) name no deployment and follow none closely enough: they count nowhere"),
        (judged.unknown, "incident(s) name a deployment that is not among the events: they count nowhere"),
        (judged.late, "incident(s) or rollback(s) came later than the declared maturity: they changed nothing"),
        (later, "event(s) lie after the instant of the report and were not looked at"),
    )
    notes = [f"{count} {text}" for count, text in told if count]
    return (*notes, *_silence(history, at), *_at_once(judged), *_strangers(history))


def _silence(history: History, at: datetime) -> list[str]:
    if not len(history.finished):
        return []
    if unheard(history, at):
        return [f"fail rate, recovery and rework are not shown by the data: {UNHEARD}"]
    if not len(history.opened):
        return ["there is no incident among the events: a fail rate without them only knows of rollbacks"]
    return []


def _at_once(judged: Judged) -> list[str]:
    """Of deployments that were dated by their own commit: no change can have taken less than none."""
    count = len(np.unique(judged.arrival[judged.lead == 0]))
    text = f"{count} deployment(s) finished at the very time of a change of theirs, as those of ingest git --branch and"
    return [f"{text} of lightweight tags do (deployment time = commit time): lead time has a minimum of 0 by"
            " construction, and leaves out the way from the merge to production"] if count else []  # fmt: skip


def _strangers(history: History) -> list[str]:
    deployed = {history.services[code] for code in np.unique(history.service)}
    strangers = sorted({history.services[code] for code in history.incident_service} - deployed)
    return [f"incidents name the service {name!r}, which was never deployed" for name in strangers]
