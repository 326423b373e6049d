"""Gather what the linter of alerts needs to know: from a server, or from the embedded node.

Promises: looking changes nothing (the embedded node's history is read, or made in memory; nothing is written), every
read is bounded, and what could not be read is an ``Unknown`` with the reason. A server that is down is asked once.

>>> wanted(None, look_back=timedelta(days=7)).requests_per_hour is None
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from node0lib.alerts.findings import Subject
from node0lib.alerts.measured import CoverageFact, Facts, Scrape, TrafficFact, Unknown, rolling, steady
from node0lib.alerts.policy import AlertPolicy
from node0lib.alerts.rules import alerts_of
from node0lib.errors import DataError
from node0lib.ports import SliSource
from node0lib.shell.config import EmbeddedTelemetry, PrometheusTelemetry, Settings
from node0lib.shell.history import History
from node0lib.shell.prometheus import PrometheusSource
from node0lib.shell.promhttp import Transport
from node0lib.shell.prominspect import Inspector, configured
from node0lib.shell.workspace import Places, instant_of
from node0lib.simulate.service import EPOCH, EmbeddedNode
from node0lib.simulate.source import MINUTE, EmbeddedSource, embedded_source
from node0lib.slo.objective import Objective
from node0lib.timespan import Span, format_duration

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Wanted:
    """What the user knows better: traffic and scrape interval, where given, are not measured."""

    requests_per_hour: float | None
    scrape_interval: timedelta | None
    look_back: timedelta

    def given(self, facts: Facts, policy: AlertPolicy | None) -> Facts:
        """Return the facts with what the user said in the place of what was measured."""
        if self.requests_per_hour is not None:
            facts = replace(facts, traffic=steady(self.requests_per_hour, _long(policy)))
        if self.scrape_interval is not None:
            facts = replace(facts, scrape=Scrape(self.scrape_interval, "as given"))
        return facts


def wanted(
    requests_per_hour: float | None, scrape_interval: timedelta | None = None, *, look_back: timedelta
) -> Wanted:
    """Return what is given and how far to look back."""
    return Wanted(requests_per_hour, scrape_interval, look_back)


def subjects(
    settings: Settings, slos: Sequence[Objective], asked: Wanted, now: datetime, policy: AlertPolicy | None = None
) -> tuple[Subject, ...]:
    """Return each SLO with its alerts (or those of ``policy``) and what its telemetry shows."""
    pairs = [(slo, policy or alerts_of(slo, settings.catalogue)) for slo in slos]
    if isinstance(settings.telemetry, PrometheusTelemetry):
        return _of_prometheus(settings, pairs, asked, now)
    return _of_embedded(settings, settings.telemetry, pairs, asked, now)


def bare(policy: AlertPolicy, asked: Wanted) -> Subject:
    """Return a policy by itself: only what the user gives is known of its telemetry."""
    nothing = Unknown("a policy file names no telemetry; give --slo, or --requests-per-hour and --scrape-interval")
    facts = Facts(nothing, nothing, nothing, nothing, nothing, nothing, nothing)
    return Subject(None, "ratio", policy, asked.given(facts, policy))


_Pairs = Sequence[tuple[Objective, AlertPolicy | None]]


def _of_prometheus(settings: Settings, pairs: _Pairs, asked: Wanted, now: datetime) -> tuple[Subject, ...]:
    assert isinstance(settings.telemetry, PrometheusTelemetry)
    endpoint, at = settings.telemetry.endpoint, instant_of(settings, now)
    transport = Transport(endpoint)
    try:
        inspector = Inspector(transport, at, asked.look_back)
        down = inspector.down()
        if down is not None:
            return _each(pairs, lambda slo, policy: _nothing(slo, policy, down, configured(endpoint)), asked)
        retention = inspector.retention()
        with PrometheusSource(endpoint) as source:

            def facts(slo: Objective, policy: AlertPolicy | None) -> Facts:
                known = replace(inspector.facts(slo), retention=retention)
                return _counted(known, source, slo, policy, at, asked)

            return _each(pairs, facts, asked)
    finally:
        transport.close()


def _of_embedded(
    settings: Settings, telemetry: EmbeddedTelemetry, pairs: _Pairs, asked: Wanted, now: datetime
) -> tuple[Subject, ...]:
    """Nothing is scraped there: its minutes are whole, its bucket bounds known to the configuration's own checks."""
    source, at = _embedded(settings, telemetry, asked.look_back, now)
    return _each(pairs, lambda slo, policy: _counted(Facts(), source, slo, policy, at, asked), asked)


def _embedded(
    settings: Settings, telemetry: EmbeddedTelemetry, look_back: timedelta, now: datetime
) -> tuple[SliSource, datetime]:
    """The stored past up to its last minute; where there is none, the same node's minutes in memory."""
    node = EmbeddedNode(telemetry.seed)
    history = History(Places.of(settings).history, node)
    last = history.last_minute()
    if last is not None:
        return history, EPOCH + (last + 1) * MINUTE
    at = now.astimezone(UTC).replace(second=0, microsecond=0)
    return embedded_source(node, settings.initial_policy, at, look_back), at


def _each(
    pairs: _Pairs, facts: Callable[[Objective, AlertPolicy | None], Facts], asked: Wanted
) -> tuple[Subject, ...]:
    return tuple(_subject(slo, policy, facts(slo, policy), asked) for slo, policy in pairs)


def _subject(slo: Objective, policy: AlertPolicy | None, facts: Facts, asked: Wanted) -> Subject:
    given = asked.given(facts, policy) if slo.kind != "invariant" else facts
    part = slo.slice if slo.kind == "timeslice" else None
    return Subject(slo.name, slo.kind, policy, given, slo.threshold_s, part, slo.window)


def _nothing(slo: Objective, policy: AlertPolicy | None, why: Unknown, scrape: Scrape) -> Facts:
    """The facts of an SLO whose server is down: those that would apply are unknown, but for the configured interval."""
    if slo.kind == "invariant" and not slo.queries:
        return Facts()
    buckets = why if "buckets" in slo.queries else None
    return Facts(why if policy else None, scrape, buckets, why, why, why, why)


def _counted(
    facts: Facts, source: SliSource, slo: Objective, policy: AlertPolicy | None, at: datetime, asked: Wanted
) -> Facts:
    """Add traffic and coverage, which every source can tell."""
    if slo.kind == "invariant" and (source.simulated or "gauge" not in slo.queries):
        return facts
    lengths = _long(policy)
    traffic: TrafficFact = None
    if lengths and asked.requests_per_hour is None:
        traffic = _traffic(source, slo, lengths, at, asked.look_back)
    made = isinstance(source, EmbeddedSource)  # minutes made for this very look say nothing of what was observed
    return replace(facts, traffic=traffic, coverage=None if made else _coverage(source, slo, lengths, at))


def _traffic(
    source: SliSource, slo: Objective, lengths: Sequence[timedelta], at: datetime, look_back: timedelta
) -> TrafficFact:
    """Events of every long window in the look-back, from buckets of an hour or of the shortest window."""
    step = min(_HOUR, *lengths)
    if slo.kind == "timeslice":
        step = slo.slice * math.ceil(step / slo.slice)
    count = max(1, look_back // step)
    try:
        series = source.series(slo, Span.ending(at, (count + 1) * step), step)
    except DataError as error:
        return Unknown(str(error))
    return rolling(series.total, step, lengths, f"measured over {format_duration(count * step)}")


def _coverage(source: SliSource, slo: Objective, lengths: Sequence[timedelta], at: datetime) -> CoverageFact:
    """The observed share of the longest window of an alert, and of the SLO's own unless that is a calendar's."""
    own = [slo.window] if slo.calendar is None else []
    found: dict[timedelta, float] = {}
    for window in dict.fromkeys((*lengths[-1:], *own)):
        counts = source.counts(slo, window, at)
        if counts.problem is not None:
            return Unknown(counts.problem)
        found[window] = counts.coverage
    return found


def _long(policy: AlertPolicy | None) -> tuple[timedelta, ...]:
    """The long windows, rising, each once."""
    return tuple(sorted({alert.long for alert in policy.alerts})) if policy else ()
