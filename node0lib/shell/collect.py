"""Fix once, at the edge, everything that a cycle will look at.

The control plane reads the telemetry (with its credentials, which the notebook never sees) and writes down what it
read: counts of every SLO over every window that matters, and a series for the pictures. With it, the configuration
and the seed the cycle can be replayed.

>>> [format_duration(w) for w in windows_of(Catalogue(slos=()))]
['5m', '30m', '1h', '2h', '6h', '1d', '3d']
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np

from node0lib.cycle import Series
from node0lib.errors import DataError
from node0lib.ports import Progress, SliSource
from node0lib.sli.series import Counts, Floats
from node0lib.slo.catalogue import BURN_WINDOWS, Catalogue
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration

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
        every = sorted({*windows_of(catalogue), slo.window})
        found[slo.name] = {format_duration(w): source.counts(slo, w, at) for w in every}
    progress(f"reading telemetry from {source.name}", len(slos), len(slos))
    return found


def read_series(catalogue: Catalogue, source: SliSource, at: datetime) -> dict[str, Series]:
    """Read the series of every SLO over its own window; one that cannot be read says why."""
    return {slo.name: _series(source, slo, at) for slo in observed(catalogue, source)}


def _series(source: SliSource, slo: Objective, at: datetime) -> Series:
    span, step = _steps(slo, at)
    try:
        read = source.series(slo, span, step)
    except DataError as error:
        return Series(span.start, step, (), (), str(error))
    return Series(read.start, read.step, _plain(read.good), _plain(read.total))


def _steps(slo: Objective, at: datetime) -> tuple[Span, timedelta]:
    unit = slo.slice if slo.kind == "timeslice" else timedelta(minutes=1)
    per = max(1, -(-(slo.window // unit) // _POINTS))
    step = unit * per
    return Span.ending(at, step * (slo.window // step)), step


def _plain(values: Floats) -> tuple[float | None, ...]:
    return tuple(float(v) if np.isfinite(v) else None for v in values)


def least_coverage(catalogue: Catalogue, counts: Mapping[str, Mapping[str, Counts]]) -> float | None:
    """Return the least observed share of any SLO's own window; None if nothing was observed at all."""
    own = [by[format_duration(catalogue.slo(name).window)].coverage for name, by in counts.items()]
    return min(own) if own and max(own) > 0 else None
