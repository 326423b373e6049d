"""What is wrong with alerts before they ever fire: findings as data.

Promises: every finding says what, where, why in numbers, and what to do; a check whose facts could not be measured is
reported as ``not-checked`` with the reason, never left out silently. Comparisons are on unrounded numbers.

=============================== ======== ================================================================
code                            severity what
=============================== ======== ================================================================
never-fires                     error    factor >= 1/B: not even a total outage burns that fast
short-window-under-two-scrapes  error    ``rate`` needs two samples in the short window
slice-under-two-scrapes         error    ``increase`` needs two samples in a slice
one-failure-fires               warning  fewer than 1/(factor x B) events in the long window, and no guard
guard-silences                  warning  fewer events in the long window than ``min_bad`` asks for
factors-out-of-order            warning  a more severe alert has a lower factor than a less severe one
threshold-between-buckets       warning  good is known only within bounds
error-series-missing            warning  no bad series yet: the first errors will be lost
no-series                       warning  the total answers nothing: no alert can fire
errors-born-above-zero          warning  error series began above 0: their first errors were lost
scrape-interval-differs         warning  the configuration says another interval than the samples
counters-born-above-zero        note     the same of series that count no errors
guarded                         note     one failure would fire, but for ``min_bad``
short-window                    note     not shorter than the long one, or far from 1/12 of it
window-beyond-retention         note     the server forgets before the window is over
window-beyond-data              note     the window is not observed in full
not-checked                     note     what could not be measured, and why
=============================== ======== ================================================================

Source: SRE Workbook, ch. 5; Prometheus, querying functions (``increase`` counts a series from its first sample on).

>>> from node0lib.alerts.measured import Facts
>>> from node0lib.alerts.policy import workbook_policy
>>> found = lint([Subject("api", "ratio", workbook_policy(0.9), Facts())])
>>> [(f.code, f.alert) for f in found]
[('never-fires', 'critical_1h')]
>>> found[0].why
'it asks for a burn above 14.4, and at an objective of 90% a total outage burns 10 (1/B)'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from node0lib.alerts.findings import GRAVITIES, Finding, Subject, length, percent
from node0lib.alerts.lint_telemetry import telemetry, windows
from node0lib.alerts.measured import Scrape, Traffic, Unknown
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.timespan import format_duration

_RANK = {"critical": 0, "warning": 1, "info": 2}
_TWELFTH = (6.0, 24.0)
"""Long over short: within half and double of the usual 12 nothing is said."""
_LAST_BITS = 1e-9
_GUARD = 2
"""From that many bad events on, one alone cannot fire: extrapolation makes at most 1.125 of one."""


def lint(subjects: Sequence[Subject]) -> tuple[Finding, ...]:
    """Return every finding, the gravest first, in the order of the subjects within a severity."""
    found: list[Finding] = []
    for subject in subjects:
        for alert in subject.policy.alerts if subject.policy else ():
            found += [finding for check in _CHECKS for finding in check(subject, alert)]
        found += [*_order(subject), *telemetry(subject)]
    found += _not_checked(subjects)
    return tuple(sorted(found, key=lambda finding: GRAVITIES.index(finding.severity)))


def _policy(subject: Subject) -> AlertPolicy:
    assert subject.policy is not None  # checks of alerts are asked only where there are some
    return subject.policy


def _can_fire(subject: Subject, alert: BurnAlert) -> bool:
    """Whether less than a total outage is enough; where just that is needed, the last bit of a float decides."""
    return _policy(subject).threshold(alert) < 1.0 - _LAST_BITS


def _never_fires(subject: Subject, alert: BurnAlert) -> Iterator[Finding]:
    policy = _policy(subject)
    if _can_fire(subject, alert):
        return
    most, least = 1.0 / policy.budget, 1.0 - 1.0 / alert.factor
    objective = f"or raise the objective above {percent(least)}" if alert.factor > 1 else "any objective would do"
    yield subject.finding(
        "never-fires",
        "error",
        "can never fire",
        f"it asks for a burn above {alert.factor:.4g}, and at an objective of {percent(policy.objective)} a total "
        f"outage burns {most:.6g} (1/B)",
        f"take a factor under {most:.6g}, {objective}",
        alert,
    )


def _scrapes(subject: Subject, alert: BurnAlert) -> Iterator[Finding]:
    scrape = subject.facts.scrape
    if not isinstance(scrape, Scrape) or alert.short >= 2 * scrape.interval:
        return
    yield subject.finding(
        "short-window-under-two-scrapes",
        "error",
        f"its short window of {format_duration(alert.short)} holds fewer than two samples",
        f"samples are {length(scrape.interval)} apart ({scrape.told}), and rate() needs two of them in the window",
        f"make the short window at least {length(2 * scrape.interval)}, four intervals to be safe; or scrape faster",
        alert,
    )


def _traffic(subject: Subject, alert: BurnAlert) -> Iterator[Finding]:
    traffic = subject.facts.traffic
    if traffic is None or isinstance(traffic, Unknown) or alert.long not in traffic:
        return
    seen, event = traffic[alert.long], subject.event
    if seen.mean < alert.min_bad:
        yield subject.finding(
            "guard-silences",
            "warning",
            f"has too few {event}s to ever reach min_bad {alert.min_bad:g}",
            f"{_told(seen, event, alert.long)}, so even a total outage has fewer than {alert.min_bad:g} bad ones",
            "lengthen the long window, lower min_bad, or watch this service with a probe that makes traffic",
            alert,
        )
    elif _can_fire(subject, alert):
        yield from _one_failure(subject, alert, seen)


def _one_failure(subject: Subject, alert: BurnAlert, seen: Traffic) -> Iterator[Finding]:
    threshold, event = _policy(subject).threshold(alert), subject.event
    least = seen.mean if seen.quietest is None else min(seen.mean, seen.quietest)
    if least * threshold >= 1:
        return
    needed = math.ceil(1 / threshold)
    told = _told(seen, event, alert.long)
    numbers = f"{told}; from {needed:,} on (1/(factor x B), a ratio of {percent(threshold)}) one alone is not enough"
    if alert.min_bad >= _GUARD:
        why = f"{numbers}, and min_bad {alert.min_bad:g} asks for that many failures"
        yield subject.finding(
            "guarded", "note", f"is protected from a single failed {event} by its guard only", why,
            f"keep min_bad at {_GUARD} or more", alert,
        )  # fmt: skip
        return
    when = "on average" if seen.mean * threshold < 1 else "in the quietest hours"
    yield subject.finding(
        "one-failure-fires", "warning", f"fires on one failed {event} {when}", numbers,
        "set min_bad to 3 (bad events in the long window), lengthen the windows, or lower the objective", alert,
    )  # fmt: skip


def _short_window(subject: Subject, alert: BurnAlert) -> Iterator[Finding]:
    ratio = alert.long / alert.short
    if _TWELFTH[0] <= ratio <= _TWELFTH[1]:
        return
    long, short = format_duration(alert.long), format_duration(alert.short)
    if ratio == 1:
        what, why = "has no shorter window", f"it goes on firing for up to {long} after the fault has gone"
    elif ratio < _TWELFTH[0]:
        what = f"its short window {short} is 1/{_ratio(ratio)} of the long one"
        why = f"it goes on firing for up to {short} after the fault has gone"
    else:
        what = f"its short window {short} is 1/{_ratio(ratio)} of the long one"
        why = "so short a window has few events, and the alert may flap within one incident"
    usual = format_duration(timedelta(seconds=max(1, round(alert.long.total_seconds() / 12))))
    yield subject.finding("short-window", "note", what, why, f"1/12 is usual: {usual}", alert)


def _order(subject: Subject) -> Iterator[Finding]:
    alerts = subject.policy.alerts if subject.policy else ()
    for grave in alerts:
        for mild in alerts:
            if _RANK[grave.severity] < _RANK[mild.severity] and grave.factor < mild.factor:
                yield subject.finding(
                    "factors-out-of-order",
                    "warning",
                    f"is {grave.severity}, but fires before the {mild.severity} alert {mild.name}",
                    f"its factor {grave.factor:.4g} is lower than {mild.factor:.4g}",
                    "exchange the severities, or raise the factor of the more severe one",
                    grave,
                )


def _not_checked(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """One finding for a reason, whatever the number of SLOs and facts that it keeps from being known."""
    missing: dict[str, dict[str | None, list[str]]] = {}
    for subject in subjects:
        for words, why in subject.facts.unknown.items():
            missing.setdefault(why, {}).setdefault(subject.slo, []).append(words)
    for why, by in missing.items():
        facts = ", ".join(dict.fromkeys(words for found in by.values() for words in found))
        named = [slo for slo in by if slo is not None]
        whose = f" of {', '.join(named)}" if len(named) > 1 else ""
        yield Finding(
            "not-checked",
            "note",
            f"not checked: {facts}{whose}",
            named[0] if len(named) == 1 else None,
            None,
            why,
            "see the reason; what is not checked may be right or wrong",
        )


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _told(seen: Traffic, event: str, window: timedelta) -> str:
    text = f"{seen.mean:,.4g} {event}s in {format_duration(window)} on average"
    quiet = "" if seen.quietest is None else f", {seen.quietest:,.4g} in the quietest"
    return f"{text}{quiet} ({seen.told})"


_CHECKS: tuple[Callable[[Subject, BurnAlert], Iterator[Finding]], ...] = (
    _never_fires, _scrapes, _traffic, _short_window, windows,
)  # fmt: skip
