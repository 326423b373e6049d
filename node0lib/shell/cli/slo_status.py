"""``node0 slo status``: where every SLO stands, now or at an instant of the past.

The JSON document; a value that is not known is null, a key is always there:

============ =========================================================================================================
at           the instant looked at, ISO 8601 in UTC, as are all times
source       ``name``, ``address`` (null for the embedded node), ``simulated``, ``warnings`` (the server's own)
slos         a list in the catalogue's order: ``name description kind objective state problem note``;
             ``window``: ``name`` (30d, month), ``start`` and ``end`` of what counted, ``ends`` (the period's end, of a
             calendar's only), ``time_zone`` (likewise), ``excluded_hours`` (maintenance);
             ``good total clamped`` (how often good was above total), ``coverage`` (0..1), ``sli`` and ``sli_most``
             (0..1; the latter where good is known only within bounds: sli is then the least), ``budget_left`` (at
             most 1, negative when overspent), ``burn`` by window (5m 30m 1h 6h 24h 3d; "Infinity" for an invariant
             that does not hold), ``exhaustion``: ``hours`` and ``at`` (null if more than ten years ahead)
composites   ``name description of state problem budget_left burn``
maintenance  what is in force: ``start end reason slos`` (null for all)
============ =========================================================================================================

>>> status.name
'status'
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from node0lib.cycle import statuses_of
from node0lib.errors import ConfigError, DataError, RefusedError
from node0lib.ports import Progress, SliSource
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option, shown_progress
from node0lib.shell.clocks import SystemClock
from node0lib.shell.collect import read_counts
from node0lib.shell.config import PrometheusTelemetry, Settings, load
from node0lib.shell.history import History
from node0lib.shell.order import alone
from node0lib.shell.state import State
from node0lib.shell.workspace import Places, instant_of, live_policy, source_of
from node0lib.simulate.service import EmbeddedNode
from node0lib.slo.budget import HOUR, SloStatus
from node0lib.slo.composite import CompositeStatus, composite_status
from node0lib.slo.maintenance import in_force
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration, format_instant, parse_instant
from node0lib.views.slo_table import BURNS, Overview, overview

_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_LONGEST = timedelta(days=3650)


@click.command()
@config_option
@click.option("--at", "when", metavar="TIME", help="An instant of the past, ISO 8601 with an offset; default: now.")
@output_option
def status(config: Path, when: str | None, output: str) -> None:
    """Show every SLO: budget left, burn rates, state.

    The budget left is weighted by events. It is forecast to be gone if the
    last hour's burn goes on; a calendar's is not if it lasts until its period
    ends. States: meeting, at_risk, breached, no_data. The embedded node makes
    the minutes that have passed, as in a cycle; with --at its history is read
    as it is.

    JSON: at, source, slos (name, state, sli, objective, budget_left, coverage,
    burn by 5m 30m 1h 6h 24h 3d, exhaustion, window, good, total, clamped),
    composites, maintenance. Times are ISO 8601, null is not known.

    \b
    Exit codes:
      0  it could be computed, whatever the states are
      1  the stored telemetry or node0's memory cannot be read
      2  the command line or the configuration is wrong
    """
    settings = load(config)
    now = SystemClock().now()
    at = instant_of(settings, now) if when is None else _past(settings, when, now)
    with shown_progress() as progress:
        seen = look(settings, at, progress, extend=when is None)
    if output == "json":
        echo_json(document(seen, settings))
        return
    out = console()
    for part in overview(seen):
        out.print(part, soft_wrap=False)


def _past(settings: Settings, text: str, now: datetime) -> datetime:
    """Return the instant, in whole minutes on the embedded node, else in whole seconds; raises ConfigError."""
    try:
        at = parse_instant(text)
    except DataError as error:
        raise ConfigError(f"--at: {error}") from error
    if at > now:
        raise ConfigError(f"--at: {text} lies in the future; it is {format_instant(now.replace(microsecond=0))}")
    if at < _FIRST:
        raise ConfigError(f"--at: {text} lies before {format_instant(_FIRST)}; node0 looks no further back")
    whole = at.replace(microsecond=0)
    return whole if isinstance(settings.telemetry, PrometheusTelemetry) else whole.replace(second=0)


def look(settings: Settings, at: datetime, progress: Progress, *, extend: bool) -> Overview:
    """Look at every SLO; ``extend`` makes the embedded node's minutes until ``at`` first.

    Raises DataError, RunError, ConfigError. Telemetry that cannot be read is no_data, with the reason.
    """
    catalogue, places = settings.catalogue, Places.of(settings)
    with _telemetry(settings, places, at, progress, extend=extend) as source:
        counts = read_counts(catalogue, source, at, progress)
        name, simulated, warnings = source.name, source.simulated, source.warnings
    found = statuses_of(catalogue, counts, _scores(settings, places, at), at)
    policy = catalogue.budget_policy
    return Overview(
        at=at,
        source=name,
        simulated=simulated,
        slos=catalogue.slos,
        statuses=found,
        composites=tuple(composite_status(c, found, policy) for c in catalogue.composites),
        maintenance=in_force(catalogue.maintenance, at),
        warnings=warnings,
    )


@contextmanager
def _telemetry(
    settings: Settings, places: Places, at: datetime, progress: Progress, *, extend: bool
) -> Iterator[SliSource]:
    telemetry = settings.telemetry
    if isinstance(telemetry, PrometheusTelemetry):
        with source_of(settings, places, {}, at, progress) as source:
            yield source
        return
    if extend:
        _extend(settings, places, at, progress)
    yield History(places.history, EmbeddedNode(telemetry.seed))


def _extend(settings: Settings, places: Places, at: datetime, progress: Progress) -> None:
    """Make the minutes that have passed; a cycle that is running just now has made them itself."""
    try:
        with alone(places), source_of(settings, places, live_policy(places, settings.initial_policy), at, progress):
            pass
    except RefusedError:
        return


def _scores(settings: Settings, places: Places, at: datetime) -> tuple[float, ...]:
    """The ihsan scores that the invariants without telemetry of their own are judged by, as in a cycle."""
    windows = [slo.window for slo in settings.catalogue.slos if slo.kind == "invariant"]
    if not windows or not places.state.exists():
        return ()
    with State(places.state) as state:
        return state.scores(max(windows), at)


def document(seen: Overview, settings: Settings) -> dict[str, Any]:
    """Return the JSON document that the module's docstring describes."""
    telemetry, described = settings.telemetry, {c.name: c.description for c in settings.catalogue.composites}
    address = telemetry.endpoint.address if isinstance(telemetry, PrometheusTelemetry) else None
    return {
        "at": format_instant(seen.at),
        "source": {
            "name": seen.source,
            "address": address,
            "simulated": seen.simulated,
            "warnings": list(seen.warnings),
        },
        "slos": [_slo(slo, s, seen.at) for slo, s in zip(seen.slos, seen.statuses, strict=True)],
        "composites": [_composite(c, described[c.name]) for c in seen.composites],
        "maintenance": [
            {
                "start": format_instant(m.start),
                "end": format_instant(m.end),
                "reason": m.reason,
                "slos": None if m.slos is None else list(m.slos),
            }
            for m in seen.maintenance
        ],
    }


def _slo(slo: Objective, s: SloStatus, at: datetime) -> dict[str, Any]:
    counts, known = s.counts, s.counts.problem is None
    return {
        "name": s.name,
        "description": slo.description,
        "kind": s.kind,
        "objective": s.objective,
        "state": s.state,
        "problem": s.problem,
        "note": counts.note,
        "window": _window(slo, s, at),
        "good": counts.good if known else None,
        "total": counts.total if known else None,
        "clamped": counts.clamped,
        "coverage": counts.coverage,
        "sli": s.sli,
        "sli_most": s.sli_most,
        "budget_left": s.budget_left,
        "burn": _burn(s.burn),
        "exhaustion": _exhaustion(s, at),
    }


def _window(slo: Objective, s: SloStatus, at: datetime) -> dict[str, Any]:
    span, calendar = slo.span(at), slo.calendar
    return {
        "name": format_duration(slo.window) if calendar is None else calendar.unit,
        "start": format_instant(span.start),
        "end": format_instant(span.end),
        "ends": None if s.period is None else format_instant(s.period.whole.end),
        "time_zone": None if calendar is None else calendar.zone,
        "excluded_hours": s.excluded / HOUR,
    }


def _exhaustion(s: SloStatus, at: datetime) -> dict[str, Any] | None:
    hours = s.hours_to_exhaustion
    if hours is None:
        return None
    then = None if hours > _LONGEST / HOUR else (at + hours * HOUR).replace(microsecond=0)
    return {"hours": hours, "at": None if then is None else format_instant(then)}


def _composite(c: CompositeStatus, description: str) -> dict[str, Any]:
    return {
        "name": c.name,
        "description": description,
        "of": dict(c.of),
        "state": c.state,
        "problem": c.problem,
        "budget_left": c.budget_left,
        "burn": _burn(c.burn),
    }


def _burn(burn: Mapping[str, float | None]) -> dict[str, float | str | None]:
    """The burn by the windows' names; JSON has no number for infinity."""
    found = {name: burn.get(key) for name, key in BURNS.items()}
    return {name: "Infinity" if value == math.inf else value for name, value in found.items()}
