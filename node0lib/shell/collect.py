"""Fix once, at the edge, everything that a cycle will look at.

The control plane reads the telemetry (with its credentials, which the notebook never sees) and writes down what it
read: counts of every SLO over every window that matters, and a series for the pictures. With it, the configuration
and the seed the cycle can be replayed.

Burn windows roll; an SLO's own window is its true span, also where that is the calendar's period so far, and is kept
under the name of its nominal length. What is maintenance is left out of all of them: the parts around it are read one
by one and added up. Slices are read whole: what a part has too little for one is not looked at.

>>> [format_duration(w) for w in windows_of(Catalogue(slos=()))]
['5m', '30m', '1h', '2h', '6h', '1d', '3d']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from node0lib.cycle import Series
from node0lib.errors import DataError
from node0lib.ports import Progress, SliSource
from node0lib.sli.series import Counts, Floats
from node0lib.slo.catalogue import BURN_WINDOWS, Catalogue
from node0lib.slo.maintenance import ALL_OF_IT, exclusions, parts, together
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration

_MINUTE = timedelta(minutes=1)
_POINTS = 360
"""A series for a picture has at most this many points."""


def windows_of(catalogue: Catalogue) -> tuple[timedelta, ...]:
    """Return the burn windows and those of the alert pairs, ascending."""
    pairs = catalogue.alerting.pairs
    every = {*BURN_WINDOWS, catalogue.budget_policy.look_back}
    return tuple(sorted(every | {p.long for p in pairs} | {p.short for p in pairs}))


def observed(catalogue: Catalogue, source: SliSource) -> tuple[Objective, ...]:
    """Return the SLOs that the source can be asked for; an invariant without a gauge is node0's own score."""
    return tuple(s for s in catalogue.slos if s.kind != "invariant" or (not source.simulated and "gauge" in s.queries))


def read_counts(
    catalogue: Catalogue, source: SliSource, at: datetime, progress: Progress
) -> dict[str, Mapping[str, Counts]]:
    """Read the counts of every SLO over every window; a failed read is there with its problem."""
    slos = observed(catalogue, source)
    found: dict[str, Mapping[str, Counts]] = {}
    for number, slo in enumerate(slos):
        progress(f"reading {slo.name}", number, len(slos))
        spans = {w: Span.ending(at, w) for w in windows_of(catalogue)} | {slo.window: slo.span(at)}
        found[slo.name] = {format_duration(w): events(catalogue, source, slo, spans[w]) for w in sorted(spans)}
    progress(f"reading telemetry from {source.name}", len(slos), len(slos))
    return found


def events(catalogue: Catalogue, source: SliSource, slo: Objective, span: Span) -> Counts:
    """Read the events of a span outside maintenance; a span that cannot be read says why."""
    around = parts(span, exclusions(catalogue.maintenance, slo.name))
    if around == (span,) and slo.calendar is None:
        return source.counts(slo, span.length, span.end)
    lengths = [(_whole(slo, part.length), part.end) for part in around]
    read = [(length, source.counts(slo, length, end)) for length, end in lengths if length]
    if around and not read:
        return Counts.nothing(f"what is left of the window is shorter than a slice of {format_duration(slo.slice)}")
    return together(read)


def _whole(slo: Objective, length: timedelta) -> timedelta:
    """Return how much of a part holds whole slices, or whole minutes of an invariant, which is sampled once in each."""
    units = {"timeslice": slo.slice, "invariant": min(_MINUTE, length)}
    unit = units.get(slo.kind, length)
    return length // unit * unit


def read_series(catalogue: Catalogue, source: SliSource, at: datetime) -> dict[str, Series]:
    """Read the series of every SLO over its own window; one that cannot be read says why.

    A bucket of which a part is maintenance is a gap.
    """
    left_out = {slo.name: exclusions(catalogue.maintenance, slo.name) for slo in catalogue.slos}
    return {slo.name: _series(source, slo, at, left_out[slo.name]) for slo in observed(catalogue, source)}


def _series(source: SliSource, slo: Objective, at: datetime, left_out: Sequence[Span]) -> Series:
    span, step = _steps(slo, at)
    try:
        read = source.series(slo, span, step)
    except DataError as error:
        return Series(span.start, step, (), (), str(error))
    keep = np.ones(read.total.shape, dtype=bool)
    for gap in left_out:
        first, last = (gap.start - read.start) // step, -((read.start - gap.end) // step)
        keep[max(0, first) : max(0, last)] = False
    good, total = (_plain(np.where(keep, values, np.nan)) for values in (read.good, read.total))
    return Series(read.start, read.step, good, total)


def _steps(slo: Objective, at: datetime) -> tuple[Span, timedelta]:
    unit, length = slo.slice if slo.kind == "timeslice" else _MINUTE, slo.span(at).length
    per = max(1, -(-(length // unit) // _POINTS))
    step = unit * per
    return Span.ending(at, step * max(1, length // step)), step


def _plain(values: Floats) -> tuple[float | None, ...]:
    return tuple(float(v) if np.isfinite(v) else None for v in values)


def least_coverage(catalogue: Catalogue, counts: Mapping[str, Mapping[str, Counts]]) -> float | None:
    """Return the least observed share of any SLO's own window; None if nothing was observed at all.

    A window that is all maintenance was not to be observed.
    """
    read = [by[format_duration(catalogue.slo(name).window)] for name, by in counts.items()]
    own = [c.coverage for c in read if c.problem != ALL_OF_IT]
    return min(own) if own and max(own) > 0 else None
