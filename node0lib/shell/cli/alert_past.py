"""``node0 alerts replay --from``: candidate policies on the service's own history, told in every form.

>>> share_of("--significant", "1%"), wait_of("--grace", "0")
(0.01, datetime.timedelta(0))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from node0lib.alerts.comparison import Candidate, Comparison, compare, merge
from node0lib.alerts.quality import QualityRules
from node0lib.errors import ConfigError
from node0lib.shell.alert_history import (
    bucket_of,
    candidates_of,
    labels_of,
    latest_of,
    lead_of,
    range_of,
    read_past,
    replayable,
)
from node0lib.shell.cli.alert_comparison import document, show
from node0lib.shell.cli.frame import echo_json, shown_progress
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.files import write_atomic
from node0lib.shell.labels_file import Labels
from node0lib.simulate.months import PAGING
from node0lib.slo.catalogue import Alerting
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration, format_instant, parse_duration
from node0lib.views.alert_report import ReportFacts, report_of


def replay_past(
    config: Path,
    start: str | None,
    end: str | None,
    slo: str | None,
    policies: Sequence[str],
    interval: str,
    output: str,
    *,
    labels: Path | None,
    significant: str,
    grace: str,
    merge_gap: str,
    report: Path | None,
    fresh: bool,
) -> None:
    """Replay the policies on the SLO's history and tell the result; raises ConfigError, DataError, RunError."""
    rules = QualityRules(
        share_of("--significant", significant), wait_of("--grace", grace), wait_of("--merge-gap", merge_gap)
    )
    if slo is None:
        raise ConfigError("--slo: name the SLO whose history is replayed, such as --slo api_availability")
    settings, now = load(config), SystemClock().now()
    catalogue = settings.catalogue
    objective = replayable(catalogue, slo)
    step = bucket_of(interval, objective)
    candidates = candidates_of(catalogue, objective, policies)
    known = labels_of(settings, objective, labels)
    asked = range_of(start, end, step, now, latest_of(settings, now))
    lead = lead_of([one.policy for one in candidates], step)
    with shown_progress() as progress:
        read = read_past(settings, objective, asked, step, lead, now=now, progress=progress, fresh=fresh)
        merged, told = merge(known.labels)
        found = compare(read.past, candidates, merged, rules, PAGING, progress)
    notes = (*read.notes, *_about(objective, catalogue.alerting, candidates, step), *_about_labels(known, told, found))
    if report is not None:
        facts = ReportFacts(objective, read.source, read.simulated, Path(known.source).name, notes, now)
        write_atomic(report, report_of(found, facts).encode("utf-8"))
    if output == "json":
        echo_json(document(objective, read, found, known.source, notes))
    else:
        show(objective, read, found, known.source, notes)


def share_of(option: str, text: str) -> float:
    """Return a share in [0, 1], written 1% or 0.01; raises ConfigError."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"{option}: {text!r} is no share; write 1% or 0.01")
    return value


def wait_of(option: str, text: str) -> timedelta:
    """Return a duration, which may be 0; raises ConfigError."""
    if text in ("0", "0s", "0m"):
        return timedelta(0)
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from error


def _about(
    slo: Objective, alerting: Alerting, candidates: Sequence[Candidate], step: timedelta
) -> Iterator[str]:
    """Say what is unusual about the SLO and the policies."""
    if slo.kind == "timeslice":
        yield f"events are slices of {format_duration(slo.slice)}, good or bad as a whole; min_bad counts slices"
    if slo.window < alerting.period:
        window, period = format_duration(slo.window), format_duration(alerting.period)
        yield f"the promise is about {window}, less than the {period} of alerting: node0 itself does not alert on it"
    for one in candidates:
        yield from _about_policy(one, slo, step)


def _about_policy(one: Candidate, slo: Objective, step: timedelta) -> Iterator[str]:
    alerts = one.policy.alerts
    if one.policy.objective != slo.objective:
        yield f"{one.name} is written for {one.policy.objective:g}, not {slo.objective:g}; its thresholds are kept"
    if deaf := [alert.name for alert in alerts if not alert.can_fire(one.policy.objective)]:
        yield f"{one.name}: {', '.join(deaf)} can never fire: the threshold is above a total outage"
    if not any(alert.severity in PAGING for alert in alerts):
        yield f"{one.name} has no alert of severity {' or '.join(PAGING)}: it pages nobody"
    if rough := [alert.name for alert in alerts if alert.short % step or alert.long % step]:
        yield f"{one.name}: windows of {', '.join(rough)} are no whole buckets of {format_duration(step)}"


def _about_labels(known: Labels, merged: Sequence[str], found: Comparison) -> Iterator[str]:
    """Say what of the labels is not used as it stands."""
    yield from known.notes
    yield from merged
    outside = [one.label for one in found.incidents if one.standing == "outside"]
    if outside and found.inside:
        told = ", ".join(f"{one.name} ({format_instant(one.start)})" for one in outside[:5])
        more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
        yield f"outside the range, and not used: {told}{more}"
    for one in found.incidents:
        if one.standing == "began before":
            yield f"{one.label.name} began before the range: its pages are true, its detection is not counted"
        elif one.standing == "not observed":
            yield f"{one.label.name} was not observed: it can be neither found nor missed"
