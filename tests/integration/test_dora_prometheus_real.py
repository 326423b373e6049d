"""Deployments out of a real Prometheus, from a history that promtool wrote, and again once more was scraped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_server import backfill, needs_prometheus, running_prometheus

from node0lib.dora.events import Deployment
from node0lib.shell.cli.dora import dora
from node0lib.shell.dora_files import read_events
from node0lib.timespan import format_instant

pytestmark = [pytest.mark.real, needs_prometheus]
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 2 * HOUR
START = END - 5 * DAY
DEPLOYED = [timedelta(hours=5 + 9 * k, seconds=20) for k in range(12)]
"""When the shop was deployed, after START; every sixth was taken back an hour later, the fourth by its canary."""
RESTART = 61 * HOUR
LEADS = (50.0, 200.0, 200.0, 2000.0)


@dataclass(frozen=True)
class _Truth:
    """What had happened to the shop by a time after START, as its exporter counts it; a restart forgets."""

    success: int
    rolled_back: int
    failed: int

    @classmethod
    def at(cls, since: timedelta) -> _Truth:
        begun = RESTART if since >= RESTART else timedelta(0)
        done = [k for k, when in enumerate(DEPLOYED) if begun < when <= since]
        undone = [k for k, when in enumerate(DEPLOYED) if k % 6 == 5 and begun < when + HOUR <= since]
        return cls(sum(k != 3 for k in done), sum(k == 3 for k in done), len(undone))


def _history() -> str:
    """Five days of samples, one a minute, of what node0's own exporter exports and of a foreign service."""
    samples = [k * MINUTE for k in range(5 * 24 * 60 + 1)]
    lines = ["# TYPE deployments counter"]
    for status in ("success", "rolled_back", "failed"):
        labels = f'{{change_class="L",instance="a:1",job="node0",service="shop",status="{status}"}}'
        lines += [_line(f"deployments_total{labels}", getattr(_Truth.at(at), status), at) for at in samples]
    labels = '{instance="b:1",job="other",environment="staging",service="cart",status="failed"}'
    lines += [_line(f"deployments_total{labels}", int(at >= DAY), at) for at in samples]
    lines.append("# TYPE deployment_lead_time_seconds histogram")
    for bound in ("60.0", "300.0", "3600.0", "+Inf"):
        name = f'deployment_lead_time_seconds_bucket{{job="node0",le="{bound}"}}'
        lines += [_line(name, sum(lead <= float(bound) for lead in LEADS) * (at > DAY), at) for at in samples]
    lines += [_line('deployment_lead_time_seconds_sum{job="node0"}', sum(LEADS) * (at > DAY), at) for at in samples]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _line(series: str, value: float, since: timedelta) -> str:
    return f"{series} {value} {(START + since).timestamp():.3f}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with that history."""
    folder = tmp_path_factory.mktemp("dora")
    backfill(_history(), folder / "data")
    with running_prometheus(folder, data_dir=folder / "data", scrape_self=False) as address:
        yield address


def _ingest(url: str, out: Path, *words: str) -> Result:
    span = ("--until", format_instant(END), "--last", "5d")
    return CliRunner().invoke(dora, ["ingest", "prometheus", "--url", url, "--out", str(out), *span, *words])


def _document(ran: Result) -> Any:
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_every_deployment_is_found_within_a_scrape(url: str, tmp_path: Path) -> None:
    """Each that was counted is told at most a minute after it was, across a restart and the days asked for in turn."""
    out = tmp_path / "out.jsonl"
    found = _document(_ingest(url, out, "--match", 'job="node0"', "-o", "json"))
    events = [event for event in read_events(out) if isinstance(event, Deployment)]
    normal = sorted(event.finished_at for event in events if event.kind == "normal")
    assert len(normal) == len(DEPLOYED)
    for seen, true in zip(normal, (START + when for when in DEPLOYED), strict=True):
        assert timedelta(0) <= seen - true <= MINUTE
    assert {event.service for event in events} == {"shop"} and found["new"] == len(events)
    assert "up to 60 s before" in found["notes"][0] and any("3 reset(s)" in note for note in found["notes"])


def test_node0s_own_statuses_are_understood(url: str, tmp_path: Path) -> None:
    """The report's fail rate is that of the definition: one undone by its canary, two taken back later, of twelve."""
    out = tmp_path / "out.jsonl"
    _document(_ingest(url, out, "--match", 'job="node0"', "-o", "json"))
    words = ["report", "--events", str(out), "--at", format_instant(END), "--window", "7d", "-o", "json"]
    (group,) = _document(CliRunner().invoke(dora, words))["groups"]
    rate, lead = group["windows"]["7d"]["change_fail_rate"], group["windows"]["7d"]["change_lead_time"]
    assert (rate["n"], rate["failed"]) == (12, 3)
    assert (lead["value"], lead["n"]) == (None, 0)


def test_again_is_known_and_a_longer_span_only_adds(url: str, tmp_path: Path) -> None:
    """Reading the same once more, or two days first and then all of them, gives the same events."""
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    some = _document(_ingest(url, out, "--match", 'job="node0"', "--last", "2d", "-o", "json"))
    rest = _document(_ingest(url, out, "--match", 'job="node0"', "-o", "json"))
    again = _document(_ingest(url, out, "--match", 'job="node0"', "-o", "json"))
    assert rest["known"] == some["new"] > 0 and (again["new"], again["known"]) == (0, some["new"] + rest["new"])
    _document(_ingest(url, whole, "--match", 'job="node0"', "-o", "json"))
    assert set(read_events(whole)) == set(read_events(out))


def test_histograms_give_bounds_and_no_events(url: str, tmp_path: Path) -> None:
    """Count and mean of the lead times are exact, quantiles lie between bounds, events are null with a reason."""
    times = _document(_ingest(url, tmp_path / "out.jsonl", "--match", 'job="node0"', "-o", "json"))["times"]
    lead = times["deployment_lead_time_seconds"]
    assert (lead["count"], lead["mean"], lead["events"]) == (4, sum(LEADS) / 4, None)
    assert lead["median"] == {"above": 60.0, "at_most": 300.0} and lead["p90"] == {"above": 300.0, "at_most": 3600.0}
    assert "no event can be made of it" in lead["why"]
    assert times["incident_resolution_time_seconds"]["median"] is None


def test_foreign_counters_may_mean_other_things(url: str, tmp_path: Path) -> None:
    """Elsewhere failed never arrived, unless --status says so; two targets and a missing series are told."""
    out = tmp_path / "out.jsonl"
    ran = _ingest(url, out)
    (one,) = (event for event in read_events(out) if event.service == "cart" and isinstance(event, Deployment))
    assert (one.environment, one.outcome, one.kind) == ("staging", "failed", "normal")
    assert "2 targets count deployments" in ran.stderr
    _ingest(url, tmp_path / "other.jsonl", "--match", 'job="other"', "--status", "failed=rollback")
    (one,) = read_events(tmp_path / "other.jsonl")
    assert isinstance(one, Deployment) and one.kind == "rollback"
    assert "there is no series" in _ingest(url, tmp_path / "none.jsonl", "--metric", "none_total").stderr


def test_what_the_server_refuses_is_told(url: str, tmp_path: Path) -> None:
    """Matchers that are none, a wrong span, and nobody at home are one clear error each, and nothing is written."""
    out = tmp_path / "out.jsonl"
    assert _ingest(url, out, "--match", "job=").exit_code == 1
    assert _ingest(url, out, "--until", "2999-01-01T00:00:00Z").exit_code == 2
    assert _ingest(url, out, "--status", "failed").exit_code == 2
    assert _ingest("ftp://nowhere", out).exit_code == 2
    assert not out.exists()
