"""A real Alertmanager takes node0's configuration and its alerts: what fires reaches whom it should, only them."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from click.testing import CliRunner
from prometheus_server import backfill, running, running_prometheus
from workspaces import make_workspace, node0

from node0lib.shell.alert_post import post_alerts
from node0lib.shell.cli.alert_routes import alertmanager
from node0lib.shell.config import Settings, load
from node0lib.shell.promendpoint import Endpoint
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.timespan import parse_duration, parse_instant

BINARY = "prometheus-alertmanager"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        shutil.which(BINARY) is None or shutil.which("amtool") is None,
        reason="install Debian's prometheus-alertmanager (it brings amtool)",
    ),
]
FAST = ("--group-wait", "100ms", "--group-interval", "200ms")
HOOKED = ("--critical", "pagerduty,slack,webhook", "--warning", "slack,webhook", "--webhook-url")
CYCLE = """ihsan: ../ihsan.yaml
policy: ../alpha.policy.json
mode: recommend
telemetry: {kind: prometheus, url: "SOURCE", delay: 5s}
target: {kind: none}
notification: {alertmanager: "ALERTMANAGER"}
slo:
  slos:
    - name: jobs
      kind: ratio
      objective: 0.999
      window: 30d
      queries: {good: 'sum(increase(jobs_total{result="ok"}[$window]))', total: "sum(increase(jobs_total[$window]))"}
"""
_DIRECT = build_opener(ProxyHandler({}))


@dataclass
class Hook:
    """A webhook receiver on this machine, and the notifications that it got, each an alert with its receiver."""

    url: str
    got: list[dict[str, Any]]

    def severities(self, slo: str) -> set[str]:
        """The severities of which it was told for an SLO."""
        return {one["labels"]["severity"] for one in self.got if one["labels"]["slo"] == slo}

    def wait(self, slo: str) -> dict[str, Any]:
        """Return the first alert for an SLO that comes within half a minute."""
        for _ in range(300):
            for one in self.got:
                if one["labels"]["slo"] == slo:
                    return one
            time.sleep(0.1)
        raise AssertionError(f"nothing came for {slo}: {self.got}")


@contextmanager
def hook() -> Iterator[Hook]:
    """Yield a receiver that takes everything."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.extend({**alert, "receiver": told["receiver"]} for alert in told["alerts"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Hook(f"http://127.0.0.1:{server.server_port}/hook", got)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def written(path: Path, *options: str) -> Path:
    """Write the configuration that the command makes."""
    ran = CliRunner().invoke(alertmanager, ["--out", str(path), *options], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return path


def amtool(*words: str) -> str:
    """Run amtool; return what it says."""
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@contextmanager
def running_alertmanager(folder: Path, config: Path) -> Iterator[str]:
    """Yield the base url of an Alertmanager that has loaded the configuration, alone in its cluster."""

    def command(port: int) -> list[str]:
        flags = ["--cluster.listen-address=", f"--storage.path={folder / 'data'}"]
        return [BINARY, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", *flags]

    with running(folder, BINARY, command, "/-/ready") as url:
        yield url


@pytest.fixture
def settings() -> Settings:
    """The shipped settings."""
    return load(Path(__file__).parents[2] / "configs" / "node0.yaml")


def statuses(settings: Settings, severities: Collection[str]) -> list[SloStatus]:
    """The API's status in which just these severities fire: failures in their windows, and none elsewhere."""
    slo = settings.catalogue.slo("api_availability")
    windows = {"5m": "critical", "1h": "critical", "30m": "warning", "6h": "warning", "2h": "info", "1d": "info"}
    counts = {slo.window: Counts(1e6, 1e6, 1.0), timedelta(days=3): Counts(1e5, 1e5, 1.0)}
    for text, severity in windows.items():
        counts[parse_duration(text)] = Counts(9000.0 if severity in severities else 10_000.0, 10_000.0, 1.0)
    return [status(slo, counts, settings.catalogue.budget_policy)]


def post(settings: Settings, url: str, at: datetime, *severities: str) -> str | None:
    """Post as a cycle does whose statuses have these severities firing."""
    told = replace(settings, notification=replace(settings.notification, alertmanager=Endpoint(url)))
    return post_alerts(told, statuses(told, severities), at, "c1")


def alerts_of(url: str) -> list[dict[str, Any]]:
    """What the Alertmanager holds."""
    with _DIRECT.open(f"{url}/api/v2/alerts", timeout=10) as answer:
        return json.load(answer)


def test_the_configuration_is_accepted_and_routes_as_promised(tmp_path: Path) -> None:
    """amtool finds no fault in it, and sends each severity where it belongs; another's alert goes where warnings go."""
    config = str(written(tmp_path / "alertmanager.yml"))
    assert "SUCCESS" in amtool("check-config", config)
    routed = ("config", "routes", "test", f"--config.file={config}")
    for severity in ("critical", "warning", "info"):
        assert amtool(*routed, f"severity={severity}", "slo=a") == severity
    assert amtool(*routed, "alertname=Other") == "warning"


@pytest.mark.parametrize(
    "options",
    [
        ("--mail-user", "node0", "--smarthost", "mail:587"),
        ("--dialect", "sloth"),
        ("--info", "email,webhook", "--webhook-url", "http://127.0.0.1:1/"),
        ("--critical", "pagerduty", "--warning", "pagerduty", "--info", "slack", "--group-by", "team"),
    ],
)
def test_every_form_of_the_configuration_is_accepted(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Debian's Alertmanager 0.25 knows every key that an option brings, but for the hook read from a file."""
    assert "SUCCESS" in amtool("check-config", str(written(tmp_path / "alertmanager.yml", *options)))


def test_a_critical_alert_arrives_and_inhibits_the_warning(tmp_path: Path, settings: Settings) -> None:
    """The hook is told of the critical alert, with the labels of node0's rules, and not of the milder ones."""
    now = datetime.now(UTC)
    with hook() as receiver:
        config = written(tmp_path / "alertmanager.yml", *HOOKED, receiver.url, *FAST)
        with running_alertmanager(tmp_path, config) as url:
            assert post(settings, url, now, "critical", "warning", "info") is None
            told = receiver.wait("api_availability")
            time.sleep(1.0)  # five more rounds of the group, in which the warning could have come
            held = alerts_of(url)
    assert told["labels"] == {
        "alertname": "SloErrorBudgetBurn",
        "severity": "critical",
        "slo": "api_availability",
        "long_window": "1h",
        "short_window": "5m",
        "simulated": "true",
    }
    assert told["status"] == "firing" and told["receiver"] == "critical"
    assert "burns 100.0x and 100.0x over 1h/5m" in told["annotations"]["description"]
    assert receiver.severities("api_availability") == {"critical"}
    states = {one["labels"]["severity"]: one["status"]["state"] for one in held}
    assert states == {"critical": "active", "warning": "suppressed", "info": "suppressed"}


def test_a_warning_alone_arrives_and_what_is_not_posted_again_ends(tmp_path: Path, settings: Settings) -> None:
    """Without a graver alert a warning is told; posted so long ago that it ends now, it resolves without node0."""
    schedule = settings.schedule
    begun = datetime.now(UTC) - (schedule.every + schedule.deadline) + timedelta(seconds=4)
    with hook() as receiver:
        config = written(tmp_path / "alertmanager.yml", *HOOKED, receiver.url, *FAST)
        with running_alertmanager(tmp_path, config) as url:
            assert post(settings, url, begun, "warning") is None
            assert receiver.wait("api_availability")["labels"]["severity"] == "warning"
            for _ in range(150):
                if any(one["status"] == "resolved" for one in receiver.got):
                    break
                time.sleep(0.1)
    assert {one["status"] for one in receiver.got} == {"firing", "resolved"}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="install Debian's prometheus (it brings promtool)")
def test_a_cycle_posts_what_fires(tmp_path: Path) -> None:
    """From counters in a Prometheus to a receiver's door: an outage of the last hour pages through a whole cycle."""
    now, ok, failed = int(time.time()), 0, 0
    lines: list[str] = []
    for at in range(now - 7200, now, 15):
        ok, failed = ok + 10, failed + (5 if at > now - 3600 else 0)
        lines += [f'jobs_total{{result="ok"}} {ok} {at}', f'jobs_total{{result="failed"}} {failed} {at}']
    backfill("\n".join(["# TYPE jobs counter", *lines, "# EOF", ""]), tmp_path / "tsdb")
    folder = make_workspace(tmp_path / "w")
    with hook() as receiver:
        config = written(tmp_path / "alertmanager.yml", *HOOKED, receiver.url, *FAST)
        prometheus = running_prometheus(tmp_path / "p", data_dir=tmp_path / "tsdb", scrape_self=False)
        with prometheus as source, running_alertmanager(tmp_path / "a", config) as url:
            text = CYCLE.replace("SOURCE", source).replace("ALERTMANAGER", url)
            (folder / "configs" / "examples" / "here.yaml").write_text(text, "utf-8")
            ran = node0(folder, "cycle", "--config", "configs/examples/here.yaml", "--output", "json")
            assert ran.returncode == 3, ran.stderr
            told = receiver.wait("jobs")
            (held,) = [one for one in alerts_of(url) if one["labels"]["severity"] == "critical"]
    cycle = json.loads(ran.stdout)
    assert told["labels"]["severity"] == "critical" and "simulated" not in told["labels"]
    assert held["annotations"]["cycle"] == cycle["cycle"] and held["generatorURL"] == f"{source}/graph"
    lasts = parse_instant(held["endsAt"]) - parse_instant(held["startsAt"])
    assert lasts == timedelta(hours=1, minutes=10), "one interval of the schedule, and one deadline"
