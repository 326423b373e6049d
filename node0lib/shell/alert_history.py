"""A service's own history for ``node0 alerts replay``: which range, which policies, and what the telemetry has of it.

The embedded store is read as it is, minute by minute; a Prometheus through the cache (``series_cache``), as the good
and total events that it answers for each bucket. Nothing is made, and nothing but the cache is written. Maintenance is
left out, as it is from live burn rates. Before the range as much is read as the longest window (and ``for``) of any
policy reaches back, so that the first evaluations see full windows as far as there was a past.

A timeslice SLO is replayed on its slices: a slice that broke its bound is a bad event, so ``min_bad`` counts slices. An
invariant has no budget to burn, and is refused.

>>> now = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
>>> asked = range_of("-2h", None, timedelta(minutes=1), now, now)
>>> [format_instant(at) for at in (asked.start, asked.end)]
['2026-11-24T10:00:00Z', '2026-11-24T12:00:00Z']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from node0lib.alerts.comparison import Candidate
from node0lib.alerts.past import Past
from node0lib.alerts.policies import named_policies, policy_named
from node0lib.alerts.policy import AlertPolicy, policy_of
from node0lib.errors import ConfigError, DataError
from node0lib.ports import Progress
from node0lib.shell.alert_policy_file import read_alert_policy
from node0lib.shell.config import EmbeddedTelemetry, PrometheusTelemetry, Settings
from node0lib.shell.history import History
from node0lib.shell.labels_file import Labels, read_labels, table_labels
from node0lib.shell.prometheus import PrometheusSource
from node0lib.shell.series_cache import SeriesCache, read_through, series_key
from node0lib.shell.state import State
from node0lib.shell.workspace import Places, instant_of
from node0lib.simulate.service import EPOCH, EmbeddedNode
from node0lib.sli.series import GoodTotal
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.maintenance import exclusions
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration, format_instant, parse_duration, parse_instant

NAMED = "name:"
OWN = "catalogue"
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_MOST = 5_300_000
"""Evaluations of one replay: ten years of minutes."""


@dataclass(frozen=True)
class Read:
    """A past, where it comes from, and how much of it was kept from an earlier reading (both in buckets)."""

    past: Past
    source: str
    address: str | None
    simulated: bool
    notes: tuple[str, ...]
    kept: int = 0
    fetched: int = 0


def bucket_of(text: str, slo: Objective) -> timedelta:
    """Return the length of a bucket, which divides a day and holds whole slices; raises ConfigError."""
    try:
        step = parse_duration(text)
    except ConfigError as error:
        raise ConfigError(f"--interval: {error}") from error
    if step % _MINUTE or _DAY % step:
        raise ConfigError(f"--interval: {text} must be whole minutes that divide a day, such as 1m or 5m")
    if slo.kind == "timeslice" and step % slo.slice:
        slices = format_duration(slo.slice)
        raise ConfigError(f"--interval: {text} is no multiple of the slices of {slo.name}, {slices}; use {slices}")
    return step


def replayable(catalogue: Catalogue, name: str) -> Objective:
    """Return the SLO of that name; raises ConfigError if there is none, or it has no budget that could burn."""
    slo = catalogue.slo(name)
    if slo.kind == "invariant":
        raise ConfigError(f"--slo: {name} is an invariant: it has no budget that could burn, so no burn-rate alerts")
    return slo


def latest_of(settings: Settings, now: datetime) -> datetime:
    """Return how far the telemetry goes: where the embedded store ends, or a little before now on a server.

    Raises DataError if the embedded store is empty.
    """
    if isinstance(settings.telemetry, PrometheusTelemetry):
        return instant_of(settings, now)
    places = Places.of(settings)
    last = _store(settings.telemetry, places).last_minute()
    if last is None:
        folder = places.shown(places.history)
        raise DataError(f"{folder}: the embedded node has no history yet; node0 cycle and node0 slo status make it")
    return EPOCH + (last + 1) * _MINUTE


def range_of(start: str | None, end: str | None, step: timedelta, now: datetime, latest: datetime) -> Span:
    """Return the range that the texts name, floored to whole buckets; raises ConfigError.

    A text is ISO 8601 with an offset, or a duration before now, such as -30d. Without ``end`` it is ``latest``.
    """
    if start is None:
        raise ConfigError("--from: is needed with --to; write for example --from -30d")
    first = _floor(_instant("--from", start, now), step)
    last = _floor(latest if end is None else _instant("--to", end, now), step)
    if first >= last:
        told = "--to" if end is not None else "the end of the history"
        raise ConfigError(f"--from: {format_instant(first)} is not before {told}, {format_instant(last)}")
    if (last - first) // step > _MOST:
        raise ConfigError(f"--from: more than {_MOST:,} evaluations; choose a shorter range, or a longer --interval")
    return Span(first, last)


def _instant(option: str, text: str, now: datetime) -> datetime:
    try:
        at = now - parse_duration(text[1:]) if text.startswith("-") else parse_instant(text)
    except (ConfigError, DataError) as error:
        raise ConfigError(f"{option}: {error}; a duration before now is written -30d") from error
    except OverflowError:
        at = _EARLIEST - _DAY
    if at > now:
        raise ConfigError(f"{option}: {text} lies in the future; it is {format_instant(now.replace(microsecond=0))}")
    if at < _EARLIEST:
        raise ConfigError(f"{option}: {text} lies before {format_instant(_EARLIEST)}; node0 looks no further back")
    return at


def _floor(at: datetime, step: timedelta) -> datetime:
    return EPOCH + (at - EPOCH) // step * step


def candidates_of(catalogue: Catalogue, slo: Objective, chosen: Sequence[str]) -> tuple[Candidate, ...]:
    """Return the catalogue's own alerting and then what was chosen, files or ``name:`` ones; raises ConfigError."""
    if twice := sorted({text for text in chosen if chosen.count(text) > 1}):
        raise ConfigError(f"--policy: {twice[0]} is given twice; name each policy once")
    own = policy_of(slo.objective, catalogue.alerting)
    found = [Candidate(OWN, "alerting of the catalogue", own)]
    for text in chosen:
        one = _candidate(text, slo, catalogue)
        if one.name in {other.name for other in found}:
            one = replace(one, name=text)
        found.append(one)
    return tuple(found)


def _candidate(text: str, slo: Objective, catalogue: Catalogue) -> Candidate:
    if text.startswith(NAMED):
        name = text.removeprefix(NAMED)
        return Candidate(name, text, policy_named(name, slo.objective, catalogue.alerting.period))
    path = Path(text)
    if text in named_policies(slo.objective) and not path.exists():
        raise ConfigError(f"--policy: there is no file {text}; the policy of that name is {NAMED}{text}")
    return Candidate(path.stem, text, read_alert_policy(path))


def lead_of(policies: Sequence[AlertPolicy], step: timedelta) -> timedelta:
    """Return how far before the range any policy looks, in whole buckets: the longest window and wait.

    A policy that traffic scales looks back over its period.
    """
    reach = [_reach(policy) for policy in policies]
    return -(-max(reach) // step) * step


def _reach(policy: AlertPolicy) -> timedelta:
    scaled = any(alert.scaling == "traffic" for alert in policy.alerts)
    windows = max(alert.long + alert.hold for alert in policy.alerts)
    return max(windows, policy.period) if scaled else windows


def read_past(
    settings: Settings,
    slo: Objective,
    asked: Span,
    step: timedelta,
    lead: timedelta,
    *,
    now: datetime,
    progress: Progress,
    fresh: bool = False,
) -> Read:
    """Return the history of the range with its lead; raises DataError if it cannot be read or there is none of it."""
    span, telemetry = Span(asked.start - lead, asked.end), settings.telemetry
    if isinstance(telemetry, PrometheusTelemetry):
        return _from_server(settings, telemetry, slo, asked, span, step, now=now, progress=progress, fresh=fresh)
    progress("reading the embedded store", 0, 1)
    store = _store(telemetry, Places.of(settings))
    past = _past(settings, slo, store.series(slo, span, step), asked)
    return Read(past, store.name, None, True, _told(past))


def _from_server(
    settings: Settings,
    telemetry: PrometheusTelemetry,
    slo: Objective,
    asked: Span,
    span: Span,
    step: timedelta,
    *,
    now: datetime,
    progress: Progress,
    fresh: bool,
) -> Read:
    endpoint = telemetry.endpoint
    user = endpoint.token_env or endpoint.username_env or "nobody"
    folder = Places.of(settings).data / "cache" / "series"
    cache = SeriesCache(folder, series_key(f"{endpoint.url} as {user}", slo, step))
    with PrometheusSource(endpoint) as source:
        read = read_through(source, slo, span, step, cache, now=now, progress=progress, fresh=fresh)
        notes = (*cache.notes, *(f"the server warns: {text}" for text in source.warnings))
        name = source.name
    if step < 2 * endpoint.scrape_interval and not np.isfinite(read.total).any():
        raise DataError(
            f"{slo.name}: no {format_duration(step)} has two samples; if the server scrapes every "
            f"{format_duration(endpoint.scrape_interval)} or so, choose a longer --interval, such as 5m"
        )
    past = _past(settings, slo, read, asked)
    return Read(past, name, endpoint.address, False, (*_told(past), *notes), cache.kept, cache.read)


def _past(settings: Settings, slo: Objective, read: GoodTotal, asked: Span) -> Past:
    """Return the past with its maintenance left out."""
    left_out = np.zeros(read.total.size, np.bool_)
    for gap in exclusions(settings.catalogue.maintenance, slo.name):
        first, last = (gap.start - read.start) // read.step, -((read.start - gap.end) // read.step)
        left_out[max(0, first) : max(0, last)] = True
    good, total = (np.where(left_out, np.nan, values) for values in (read.good, read.total))
    return Past(GoodTotal(read.start, read.step, good, total), asked.start, asked.end, left_out)


def _told(past: Past) -> tuple[str, ...]:
    """Say what of the past nobody observed."""
    notes = []
    if gaps := past.gaps:
        worst = max(gaps, key=lambda gap: gap.length)
        many = f"{len(gaps)} gaps, the longest" if len(gaps) > 1 else "a gap"
        notes.append(
            f"{past.observed:.1%} of the range was observed: {many} of {format_duration(worst.length)} "
            f"from {format_instant(worst.start)}; nothing fires on what nobody saw"
        )
    if past.lead_observed < 1:
        lead = format_duration(past.lead)
        notes.append(
            f"of the {lead} before the range, into which windows look, {past.lead_observed:.1%} was observed: "
            "at first they hold less than their length"
        )
    return tuple(notes)


def labels_of(settings: Settings, slo: Objective, file: Path | None) -> Labels:
    """Return the labels of a file, or else of node0's own incident table; raises ConfigError, RunError."""
    if file is not None:
        return read_labels(file)
    places = Places.of(settings)
    if not places.state.exists():
        return table_labels((), slo.name)
    with State(places.state) as state:
        return table_labels(state.incidents(_EARLIEST), slo.name)


def _store(telemetry: EmbeddedTelemetry, places: Places) -> History:
    return History(places.history, EmbeddedNode(telemetry.seed))
