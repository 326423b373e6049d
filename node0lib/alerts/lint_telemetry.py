"""What is wrong with the telemetry behind an SLO: findings about series, buckets, slices and windows.

Part of ``alerts/lint.py``, which lists the codes.

>>> from node0lib.alerts.measured import Bounds, Facts
>>> slow = Subject("api", "latency", None, Facts(bounds=Bounds((0.05, 0.1, 0.25))), threshold_s=0.2)
>>> [finding.what for finding in telemetry(slow)]
['its threshold of 0.2 s lies between the bucket bounds 0.1 and 0.25 s']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta

from node0lib.alerts.findings import Finding, Subject, length
from node0lib.alerts.measured import Absent, Born, Scrape, Unknown
from node0lib.alerts.policy import BurnAlert
from node0lib.timespan import format_duration

_FULL = 0.99
"""A window of which less is observed is not full."""


def telemetry(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the telemetry of an SLO, whatever its alerts."""
    for check in _CHECKS:
        yield from check(subject)


def windows(subject: Subject, alert: BurnAlert) -> Iterator[Finding]:
    """Yield how much of an alert's long window the server does not hold."""
    yield from _forgotten(subject, alert.long, "its long window", alert)
    yield from _uncovered(subject, alert.long, "its long window", alert)


def _own_window(subject: Subject) -> Iterator[Finding]:
    if subject.window is not None:
        yield from _forgotten(subject, subject.window, "the SLO's window")
        yield from _uncovered(subject, subject.window, "the SLO's window")


def _forgotten(
    subject: Subject, window: timedelta, which: str, alert: BurnAlert | None = None
) -> Iterator[Finding]:
    kept = subject.facts.retention
    if isinstance(kept, timedelta) and window > kept:
        yield subject.finding(
            "window-beyond-retention",
            "note",
            f"{which} of {format_duration(window)} is longer than the server remembers",
            f"its retention is {format_duration(kept)}, so older events are missing from the ratio",
            f"keep {format_duration(window)} at least, or shorten the window",
            alert,
        )


def _uncovered(
    subject: Subject, window: timedelta, which: str, alert: BurnAlert | None = None
) -> Iterator[Finding]:
    covered = subject.facts.coverage
    share = covered.get(window) if covered is not None and not isinstance(covered, Unknown) else None
    if share is not None and share < _FULL:
        yield subject.finding(
            "window-beyond-data",
            "note",
            f"{which} of {format_duration(window)} is not observed in full",
            f"{share:.1%} of it has data; ratios are of that part only",
            "wait until the window is full, or look for gaps in scraping",
            alert,
        )


def _slices(subject: Subject) -> Iterator[Finding]:
    scrape = subject.facts.scrape
    if subject.slice is None or not isinstance(scrape, Scrape) or subject.slice >= 2 * scrape.interval:
        return
    yield subject.finding(
        "slice-under-two-scrapes",
        "error",
        f"its slices of {format_duration(subject.slice)} hold fewer than two samples",
        f"samples are {length(scrape.interval)} apart ({scrape.told}), and increase() needs two of them",
        f"make slices at least {length(2 * scrape.interval)}, or scrape faster",
    )


def _interval(subject: Subject) -> Iterator[Finding]:
    scrape = subject.facts.scrape
    if isinstance(scrape, Scrape) and scrape.configured is not None:
        yield subject.finding(
            "scrape-interval-differs",
            "warning",
            "the scrape interval is not the configured one",
            f"samples are {length(scrape.interval)} apart ({scrape.told}), telemetry.scrape_interval says "
            f"{length(scrape.configured)}",
            "correct telemetry.scrape_interval: coverage is reckoned with it",
        )


def _between(subject: Subject) -> Iterator[Finding]:
    bounds, threshold = subject.facts.bounds, subject.threshold_s
    if bounds is None or isinstance(bounds, Unknown) or threshold is None or threshold in bounds.le:
        return
    if bounds.native and not bounds.cut:
        return
    below = max((bound for bound in bounds.le if bound < threshold), default=0.0)
    above = min((bound for bound in bounds.le if bound > threshold), default=math.inf)
    where = "a bucket of the native histogram" if bounds.native else f"the bucket bounds {below:g} and {above:g} s"
    take = " or ".join(f"{bound:g}" for bound in (below, above) if 0 < bound < math.inf)
    yield subject.finding(
        "threshold-between-buckets",
        "warning",
        f"its threshold of {threshold:g} s lies {'within' if bounds.native else 'between'} {where}",
        "requests between the bounds may be fast or slow; node0 takes all of them for slow, rules find no bucket",
        f"add a bucket at {threshold:g}" + (f", or take the threshold {take} s" if take else ""),
    )


def _absent(subject: Subject) -> Iterator[Finding]:
    absent = subject.facts.absent
    for one in () if absent is None or isinstance(absent, Unknown) else absent:
        yield _missing_errors(subject, one) if one.errors else _missing_total(subject, one)


def _missing_errors(subject: Subject, one: Absent) -> Finding:
    return subject.finding(
        "error-series-missing",
        "warning",
        "has no error series yet",
        f"{one.selector} has selected nothing for {format_duration(one.look_back)}; a series that begins with the "
        "first error begins above 0, and increase() counts from its first sample on: that error is lost",
        "initialise the counter to 0 for every label set when the process starts; if there were errors, the selector "
        "is wrong",
    )


def _missing_total(subject: Subject, one: Absent) -> Finding:
    return subject.finding(
        "no-series",
        "warning",
        "has no series at all, so none of its alerts can fire",
        f"{one.selector} has selected nothing for {format_duration(one.look_back)}",
        "check the metric's name, its labels and that it is scraped",
    )


def _born(subject: Subject) -> Iterator[Finding]:
    born = subject.facts.born
    for one in () if born is None or isinstance(born, Unknown) else born:
        yield _born_above_zero(subject, one)


def _born_above_zero(subject: Subject, one: Born) -> Finding:
    series = "1 series was" if one.series == 1 else f"{one.series:,} series were"
    effect = "these errors are in no burn rate" if one.errors else "these events are in no total, and ratios too high"
    return subject.finding(
        "errors-born-above-zero" if one.errors else "counters-born-above-zero",
        "warning" if one.errors else "note",
        "has error counters that are born above zero" if one.errors else "has counters that are born above zero",
        f"in {format_duration(one.look_back)} {series} first seen above 0 on a target that had been scraped before, at "
        f"{one.events:,.6g} events in all (for example {one.example}); increase() counts from the first sample on: "
        f"{effect}, and as many again are lost at each restart",
        "initialise the counter to 0 for every label set when the process starts",
    )


_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    _between, _absent, _born, _slices, _interval, _own_window,
)  # fmt: skip
