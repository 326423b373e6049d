"""``node0 demo`` with real processes: traffic, weights, faults, and what is left when it is down."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner
from demo_stack import Demo, await_that, needs_demo

from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.optimize.knobs import POLICY_EXAMPLE
from node0lib.shell.cli import main
from node0lib.shell.demo.loopback import fetch
from node0lib.shell.demo.processes import found
from node0lib.shell.demo.telemetry import ask, runtime

pytestmark = [pytest.mark.real, needs_demo]
RATE = 250
NAMES = {"stable", "canary", "haproxy", "prometheus", "load"}


def command(folder: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    """Run the command line within this process, and return its JSON document."""
    ran = CliRunner().invoke(main, ["demo", *words, "--folder", str(folder), "--output", "json"])
    assert ran.exit_code == expect, ran.output[-2000:]
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "node0lib.shell.cli", "demo", *words, "--folder", str(folder)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that the command line brought up, and takes down; no process of it may be left."""
    folder = tmp_path_factory.mktemp("stack") / "demo"
    try:
        started = process(folder, "up", "--rate", str(RATE))
        assert started.returncode == 0, started.stderr
        running = Demo(folder)
        yield running
        processes = running.stack.processes
    finally:
        ended = command(folder, "down")["ended"]
    assert {each["name"] for each in ended} == NAMES
    assert not [each.name for each in processes if found(each)]
    assert _processes_that_mention(folder) == []


@pytest.fixture
def calm(demo: Demo) -> Iterator[Demo]:
    """The demo without a fault, half of its traffic on canary."""
    demo.weigh("canary", 100)
    yield demo
    demo.fault("clear")


def _processes_that_mention(folder: Path) -> list[psutil.Process]:
    def mentions(process: psutil.Process) -> bool:
        try:
            return any(str(folder) in word for word in process.cmdline())
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if mentions(process)]


def _outcomes(demo: Demo) -> dict[str, float]:
    """What the clients saw so far, by outcome."""
    text = fetch(demo.ports.load, "/metrics")[1]
    lines = [line for line in text.splitlines() if line.startswith("load_requests_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


# ---- in the order of a demonstration: canary has no weight before the first test that sets one --------------------


def test_nothing_goes_to_a_canary_without_weight(demo: Demo) -> None:
    """What is up serves all traffic from stable, and not one request from canary, until a weight is set."""
    await_that(lambda: demo.count("requests", "stable") > 100, "traffic")
    status = command(demo.folder, "status")
    assert status["state"] == "up" and "simulated" in status["simulated"]
    assert {each["name"] for each in status["processes"] if each["running"]} == NAMES
    assert status["weights"] == {"stable": 100, "canary": 0}
    assert demo.count("requests", "canary") == 0
    assert demo.count("errors", "stable") < 0.1 * demo.count("requests", "stable")
    assert _outcomes(demo)["broken"] == 0


def test_up_when_up_changes_nothing(demo: Demo) -> None:
    """A second up starts nothing, and refuses another rate."""
    before = demo.stack
    assert command(demo.folder, "up", "--rate", str(RATE))["started"] is False
    assert demo.stack == before
    assert "node0 demo down" in command(demo.folder, "up", "--rate", "50", expect=5)["error"]


def test_the_target_describes_what_runs(demo: Demo) -> None:
    """Every address in target.yaml answers: the runtime API, the policies in force, Prometheus for every query."""
    target = yaml.safe_load(demo.target.read_text("utf-8"))
    assert target["socket"] == f"127.0.0.1:{demo.ports.admin}" and target["backend"] == "app"
    for arm in ("stable", "canary"):
        content = (demo.target.parent / target[arm]["policy"]).read_bytes()
        loaded = json.loads(fetch(int(target[arm]["loaded"].split(":")[2].split("/")[0]), "/-/policy")[1])
        assert loaded == {"sha256": sha256(content), "policy": dict(POLICY_EXAMPLE)}
        assert all(ask(demo.ports, query.replace("$arm", arm)) is not None for query in target["queries"].values())


def test_a_weight_moves_its_share_of_the_traffic(calm: Demo) -> None:
    """With equal weights half of the requests arrive at canary; with none again, none does."""
    calm.await_scrape()
    before = {arm: calm.count("requests", arm) for arm in ("stable", "canary")}
    await_that(lambda: calm.count("requests", "canary") > before["canary"] + 150, "traffic on canary")
    grown = {arm: calm.count("requests", arm) - before[arm] for arm in before}
    assert 0.35 < grown["canary"] / sum(grown.values()) < 0.65
    calm.weigh("canary", 0)
    assert runtime(calm.ports.admin, "get weight app/canary").startswith("0 ")
    await_that(lambda: _gets_nothing(calm), "no traffic on canary")


def _gets_nothing(demo: Demo) -> bool:
    """Whether canary's requests stand still while stable gets those of two seconds."""
    before = {arm: demo.count("requests", arm) for arm in ("stable", "canary")}
    await_that(lambda: demo.count("requests", "stable") > before["stable"] + 2 * RATE, "traffic on stable")
    return demo.count("requests", "canary") == before["canary"]


def test_errors_are_counted_on_the_arm_that_makes_them(calm: Demo) -> None:
    """Errors of canary are not stable's, and the other way round."""
    calm.fault("errors", share=0.5)
    assert calm.share_of_errors("canary") > 0.3
    assert calm.share_of_errors("stable") < 0.1
    calm.fault("clear")
    assert command(calm.folder, "fault", "broken-stable")["kind"] == "broken-stable"
    assert calm.share_of_errors("stable") > 0.15
    assert calm.share_of_errors("canary") < 0.1


def test_a_delay_shows_in_the_buckets(calm: Demo) -> None:
    """Under the p95 fault more than a tenth of canary's requests are slower than 0.25 s, and not of stable's."""

    def slower(arm: str) -> float:
        within, every = (
            f'sum(rate(http_request_duration_seconds_bucket{{arm="{arm}",le="{le}"}}[5s]))' for le in ("0.25", "+Inf")
        )
        return ask(calm.ports, f"1 - {within} / {every}") or 0.0

    calm.fault("p95", share=0.4, delay_s=0.3)
    await_that(lambda: slower("canary") > 0.1, "slow requests on canary")
    assert slower("stable") < 0.1


def test_a_crash_shows_as_errors_and_spares_the_clients(calm: Demo) -> None:
    """Every attempt at a crashed canary is its error, the clients are answered by stable, status tells it."""
    before = calm.stack.process("canary")
    calm.fault("crash")
    assert found(before) is None
    assert calm.share_of_errors("canary", requests=60) > 0.9
    broken = _outcomes(calm)["broken"]  # by now with those that were under way when it crashed, which nobody can repeat
    assert calm.share_of_errors("stable") < 0.1
    assert _outcomes(calm)["broken"] == broken  # HAProxy repeated them: no client was left without an answer
    status = command(calm.folder, "status", expect=4)
    assert status["state"] == "degraded"
    assert [each["name"] for each in status["processes"] if not each["running"]] == ["canary"]
    assert "runs again" in calm.fault("crash", restart=True)
    assert calm.stack.process("canary").pid != before.pid
    await_that(lambda: calm.share_of_errors("canary", requests=30) < 0.3, "canary serves again")


def test_an_arm_that_leaves_gets_nothing_though_it_has_weight(calm: Demo) -> None:
    """Traffic is lost silently: no error, weight unchanged, requests standing still."""
    calm.fault("leave")
    await_that(lambda: _gets_nothing(calm), "no traffic on canary")
    assert runtime(calm.ports.admin, "get weight app/canary").startswith("100 ")
    before = calm.count("requests", "canary")
    calm.fault("clear")
    await_that(lambda: calm.count("requests", "canary") > before, "traffic on canary again")


def test_lost_telemetry_is_lost(calm: Demo) -> None:
    """A silent canary has no buckets though it serves; without Prometheus nothing is known; clear mends both."""
    calm.fault("silence")
    buckets = 'http_request_duration_seconds_bucket{job="app",arm="canary"}'
    await_that(lambda: ask(calm.ports, buckets) is None, "no buckets of canary")
    assert calm.share_of_errors("canary", requests=50) < 0.2
    command(calm.folder, "fault", "telemetry")
    status = command(calm.folder, "status", expect=4)
    assert status["arms"] is None and "Prometheus" in status["problem"]
    assert "prometheus" in calm.fault("clear")
    await_that(lambda: ask(calm.ports, buckets) is not None, "buckets of canary again")


def test_a_bad_policy_is_refused_and_the_old_one_stays(calm: Demo) -> None:
    """A reload takes a valid policy, and answers 400 with the reason to any other."""
    file, port = calm.folder / "canary.policy.json", calm.ports.canary
    better = {**POLICY_EXAMPLE, "cache_ttl_s": 120}
    file.write_bytes(policy_bytes(better))
    status, text = fetch(port, "/-/reload", body=b"")
    assert status == 200 and json.loads(text)["sha256"] == sha256(policy_bytes(better))
    for bad in (b"{", b'{"cache_ttl_s": 0}', policy_bytes({**POLICY_EXAMPLE, "llm_timeout_ms": 7})):
        file.write_bytes(bad)
        status, text = fetch(port, "/-/reload", body=b"")
        assert status == 400 and "canary.policy.json" in text
        assert json.loads(fetch(port, "/-/policy")[1])["policy"] == better
    file.write_bytes(policy_bytes(POLICY_EXAMPLE))
    assert fetch(port, "/-/reload", body=b"")[0] == 200


def test_commands_are_taken_from_this_machine_only(demo: Demo) -> None:
    """Through HAProxy neither commands nor metrics can be reached, and a page in a browser gives no command."""
    for path in ("/-/fault", "/-/policy", "/metrics"):
        assert fetch(demo.ports.front, path)[0] == 403
    assert fetch(demo.ports.front, "/items/1")[0] in {200, 500}
    assert fetch(demo.ports.stable, "/-/fault", body=b'{"error_share": 3}')[0] == 400
    browser = http.client.HTTPConnection("127.0.0.1", demo.ports.stable)
    browser.request("POST", "/-/fault", b"{}", {"Origin": "http://localhost"})
    assert browser.getresponse().status == 403
    browser.close()


def test_a_half_failed_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Prometheus does not start, what started before it is ended, and nothing is on record."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "prometheus").write_text("#!/bin/sh\necho it has no room >&2\nexit 1\n", encoding="utf-8")
    (programs / "prometheus").chmod(0o755)
    folder = tmp_path / "demo"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    error = command(folder, "up", expect=1)["error"]
    assert "prometheus ended" in error and "it has no room" in error
    assert _processes_that_mention(folder) == []
    assert not (folder / "stack.json").exists() and not (folder / "target.yaml").exists()
    assert command(folder, "down")["ended"] == []
