"""What delivery metrics may never do, whatever the history."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.dora.events import Change, Deployment, Event, Incident
from node0lib.dora.history import History
from node0lib.dora.profiles import METRICS, PROFILES
from node0lib.dora.report import GroupReport, report

END = datetime(2026, 3, 9, tzinfo=UTC)
MINUTES = st.integers(0, 45 * 24 * 60).map(lambda minutes: END - timedelta(minutes=minutes))
SPANS = st.integers(0, 5000).map(lambda minutes: timedelta(minutes=minutes))
SERVICES = ("shop", "till", "mail")


@st.composite
def histories(draw: st.DrawFn, services: tuple[str, ...] = SERVICES, prefix: str = "") -> list[Event]:
    """Deployments with changes, incidents with and without links; outcomes that nobody changes afterwards."""
    events: list[Event] = []
    for k in range(draw(st.integers(0, 12))):
        at = draw(MINUTES)
        name, kind = draw(st.sampled_from(services)), draw(st.sampled_from(["normal", "hotfix", "retry", "rollback"]))
        shas = draw(st.sets(st.integers(0, 8), max_size=3))
        changes = tuple(Change(f"c{sha}", END - timedelta(days=30, hours=sha)) for sha in sorted(shas))
        outcome = draw(st.sampled_from(["succeeded", "succeeded", "failed"]))
        made: Any = {"outcome": outcome, "kind": kind, "sha": f"v{draw(st.integers(0, 5))}", "changes": changes}
        events.append(Deployment(f"{prefix}d{k}", name, "production", at - draw(SPANS), at, **made))
    ids = [event.id for event in events]
    for k in range(draw(st.integers(0, 6))):
        at = draw(MINUTES)
        end = draw(st.none() | SPANS.map(lambda span, at=at: min(at + span, END)))
        cause = draw(st.none() | st.sampled_from([*ids, "gone"]))
        events.append(Incident(f"{prefix}i{k}", draw(st.sampled_from(services)), at, end, cause))
    return events


def groups(events: list[Event], at: datetime = END, profile: str = "node0") -> dict[str | None, GroupReport]:
    """The report's groups by service, with enough weeks for trends."""
    return {one.service: one for one in report(History.of(events), at, profile=PROFILES[profile], weeks=5).groups}


@given(histories(), st.integers(0, 10**6), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=40)
def test_order_changes_nothing(events: list[Event], seed: int, profile: str) -> None:
    """Permuting the events, or giving them twice, changes no number."""
    shuffled = [*events, *events]
    random.Random(seed).shuffle(shuffled)
    assert groups(events, profile=profile) == groups(shuffled, profile=profile)


@given(histories(), histories(services=("other",), prefix="x"), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=40)
def test_unrelated_events_change_nothing(events: list[Event], others: list[Event], profile: str) -> None:
    """Events of another service change no number of this one."""
    alone, both = groups(events, profile=profile), groups([*events, *others], profile=profile)
    assert {name: both[name] for name in alone if name} == {name: one for name, one in alone.items() if name}


@given(histories(), st.integers(0, 30))
@settings(max_examples=40)
def test_the_past_does_not_know_the_future(events: list[Event], days: int) -> None:
    """A report for an earlier instant is that of the events that had happened by then."""
    at = END - timedelta(days=days)
    happened: list[Event] = []
    for event in events:
        if isinstance(event, Deployment) and event.finished_at <= at:
            happened.append(event)
        elif isinstance(event, Incident) and event.opened_at <= at:
            resolved = event.resolved_at if event.resolved_at and event.resolved_at <= at else None
            happened.append(Incident(event.id, event.service, event.opened_at, resolved, event.caused_by))
    then, now = groups(happened, at), groups(events, at)
    assert {name: one for name, one in now.items() if name in then and name} == {
        name: one for name, one in then.items() if name
    }


@given(histories())
@settings(max_examples=40)
def test_services_add_up(events: list[Event]) -> None:
    """The pooled row's counts are the sums over the services, for every metric, failures and rework included."""
    found = groups(events)
    if None not in found:
        return
    for length in ("7d", "30d"):
        for place, name in enumerate(METRICS):
            rows = [one.windows[length][place] for service, one in found.items() if service is not None]
            pooled = found[None].windows[length][place]
            assert pooled.n == sum(row.n for row in rows), name
            for key in ("failed", "rework", "retries", "rollbacks", "open"):
                if key in pooled.detail:
                    assert pooled.detail[key] == sum(row.detail[key] for row in rows)


@given(histories(), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=40)
def test_numbers_lie_within_their_intervals(events: list[Event], profile: str) -> None:
    """A value lies within its interval, a share within [0, 1], and there is one exactly if something was counted."""
    for one in groups(events, profile=profile).values():
        for metric in (metric for row in one.windows.values() for metric in row):
            if metric.name != METRICS[0] and metric.name != METRICS[3]:
                assert (metric.value is None) == (metric.n == 0)
            if metric.value is None:
                continue
            assert metric.low is None or metric.low <= metric.value + 1e-9
            assert metric.high is None or metric.value <= metric.high + 1e-9
            assert "rate" not in metric.name or 0 <= metric.value <= 1


def _plain_leads(standing: list[Deployment], start: datetime) -> list[float]:
    seen: set[str] = set()
    leads: list[float] = []
    for one in standing:
        for change in one.changes:
            if change.sha not in seen and change.committed_at is not None:
                seen.add(change.sha)
                span = (one.finished_at - change.committed_at).total_seconds()
                leads += [span] if span >= 0 and start < one.finished_at else []
    return sorted(leads)


def plainly(events: list[Event], service: str, start: datetime) -> tuple[int, int, list[float], int]:
    """Failed deployments, deployments, lead times and rework of (start, END], one event at a time by the words."""
    mine = [one for one in events if isinstance(one, Deployment) and one.service == service]
    mine.sort(key=lambda one: (one.finished_at, one.started_at, one.id))
    everywhere = {one.id: one for one in events if isinstance(one, Deployment)}
    arrived = [one for one in mine if one.outcome == "succeeded"]
    standing = [one for one in arrived if one.kind != "rollback"]
    failed: set[str] = set()
    incidents = [one for one in events if isinstance(one, Incident)]
    for one in incidents:
        if one.caused_by is not None:
            failed |= {one.caused_by}
        elif one.service == service:
            before = [d for d in standing if d.finished_at <= one.opened_at <= d.finished_at + timedelta(hours=24)]
            failed |= {before[-1].id} if before else set()
    gone: set[str] = set()
    for back in arrived:
        if back.kind == "rollback":
            left = [d for d in standing if d.finished_at <= back.finished_at and d.id not in gone]
            if left and left[-1].sha != back.sha:
                gone.add(left[-1].id)
    failed |= gone
    half = [d for d in mine if d.outcome == "failed" and d.kind != "rollback" and d.id in failed and d.id in everywhere]
    pool = [d for d in [*standing, *half] if start < d.finished_at]
    rework = 0
    for d in arrived:
        ours = [one for one in incidents if one.service == service and one.opened_at <= d.started_at]
        now_open = [one for one in ours if one.resolved_at is None or one.resolved_at >= d.started_at]
        rework += bool(start < d.finished_at and not d.planned and now_open)
    return sum(d.id in failed for d in pool), len(pool), _plain_leads(standing, start), rework


@given(histories())
@settings(max_examples=90)
def test_the_columns_say_what_the_words_say(events: list[Event]) -> None:
    """Counting one event at a time, as the definitions are worded, gives what the columns give."""
    for service, one in groups(events).items():
        for days in (7, 30) if service else ():
            failed, n, leads, rework = plainly(events, str(service), END - timedelta(days=days))
            _, lead, fails, _, reworked = one.windows[f"{days}d"]
            assert (fails.detail["failed"], fails.n) == (failed, n)
            assert (lead.n, lead.value) == (len(leads), leads[(len(leads) - 1) // 2] if leads else None)
            assert reworked.detail["rework"] == rework


@pytest.mark.parametrize("n", [5, 40])
def test_reported_fail_rates_cover(n: int) -> None:
    """Over simulated histories the reported interval of the fail rate covers its truth at least 93% of the time."""
    rng, hits, truth = random.Random(n), 0, 0.1
    for _ in range(200):
        events: list[Event] = []
        for k in range(n):
            at = END - timedelta(minutes=1 + 100 * k)
            events.append(Deployment(f"d{k}", "shop", "production", at, at))
            if rng.random() < truth:
                events.append(Incident(f"i{k}", "shop", at, at, f"d{k}"))
        fails = groups(events)["shop"].windows["7d"][2]
        hits += fails.low is not None and fails.high is not None and fails.low <= truth <= fails.high
    assert hits / 200 >= 0.93
