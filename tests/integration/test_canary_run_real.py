"""Rollouts of real traffic, end to end: HAProxy, Prometheus, HTTP; stages of seconds in place of minutes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from demo_stack import Demo, needs_demo, running_demo
from workspaces import NODE0, environment, make_workspace, node0, node0_json

from node0lib.ports import Policy
from node0lib.shell import changes
from node0lib.shell.canary_end import CanaryEnded
from node0lib.shell.canary_run import CanaryOrder, run_change
from node0lib.shell.changes import Content, Origin
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.state import State
from node0lib.shell.targets.haproxy_runtime import Runtime
from node0lib.shell.workspace import Places, live_policy
from node0lib.slo.catalogue import ChangeClass

pytestmark = [pytest.mark.real, needs_demo]
SHORT = {
    r"stages: \[5%, 25%, 50%, 100%\]": "stages: [50%, 100%]",
    r"stage_duration: 15m": "stage_duration: 6s",
    r"(extend\n    harm_cap:) 2.0": r"\1 20.0",
    r"error_rate: 5%": "error_rate: 50%",
    r"latency_p95: 5%": "latency_p95: 50%",
    r"latency_p99: 10%": "latency_p99: 50%",
}
"""Stages of six seconds cannot show +5%; these show what there is to show."""


@dataclass
class Shop:
    """A demo, and an installation whose rollouts move its traffic."""

    demo: Demo
    folder: Path
    tried: list[str] = field(default_factory=list)

    @property
    def places(self) -> Places:
        return Places.of(load(self.folder / "configs" / "node0.yaml"))

    def live(self) -> Policy:
        return live_policy(self.places, load(self.folder / "configs" / "node0.yaml").initial_policy)

    def propose(self, **knobs: float) -> str:
        """Register a change of class M from the live policy; a ttl of its own makes it a new one."""
        live = self.live()
        after = {**live, "cache_ttl_s": 120.0 + len(self.tried), **knobs}
        content = Content(Origin("person", "Grace"), live, after, ChangeClass.M, ("a test's",), None, None)
        with State(self.places.state) as state:
            made = changes.register(state, content, SystemClock().now(), approval=False)
        assert made is not None
        self.tried.append(made.id)
        return made.id

    def roll_out(self, change: str) -> CanaryEnded:
        """Roll a change out in this process; the simulated telemetry's gates are passed by force."""
        settings = load(self.folder / "configs" / "node0.yaml")
        order = CanaryOrder(
            settings, Places.of(settings), SystemClock(), lambda *_: None, change,
            target=self.demo.target, wait=timedelta(seconds=2), forced=True,
        )  # fmt: skip
        return run_change(order)

    def weights(self) -> tuple[int, int]:
        servers = Runtime(f"127.0.0.1:{self.demo.ports.admin}").servers("app")
        return servers["stable"].effective, servers["canary"].effective

    def analysis(self, ended: CanaryEnded) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.places.reports / f"{ended.id}.rollout.json").read_text("utf-8"))
        return found


@contextmanager
def _fault(shop: Shop, kind: str, after: Callable[[], bool] = lambda: True, **options: float) -> Iterator[None]:
    """Put a fault in force for a while, at once or as soon as something holds; afterwards all is well again."""

    def inject() -> None:
        _until(after, f"the moment for {kind}")
        shop.demo.fault(kind, **options)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(inject)
        if after():
            coming.result()
        try:
            yield
        finally:
            coming.result()
            shop.demo.fault("clear")
            shop.demo.await_scrape()


def _until(condition: Callable[[], object], what: str, patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(0.1)


def _guards(process: psutil.Process, folder: Path) -> bool:
    words = process.info["cmdline"] or []
    return "node0lib.shell.guard" in words and any(str(folder) in word for word in words)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One demo and one installation for this file."""
    folder = make_workspace(tmp_path_factory.mktemp("shop") / "node0")
    rules = folder / "configs" / "slo.yaml"
    text = rules.read_text("utf-8")
    for old, new in SHORT.items():
        text, count = re.subn(old, new, text)
        assert count == 1, old
    rules.write_text(text, "utf-8")
    before = os.environ.get("NODE0_KEY_DIR")
    os.environ["NODE0_KEY_DIR"] = environment(folder)["NODE0_KEY_DIR"]
    node0_json(folder, "slo", "status")  # makes the past once
    try:
        with running_demo(folder / "data" / "demo", rate=150) as demo:
            yield Shop(demo, folder)
    finally:
        os.environ.pop("NODE0_KEY_DIR") if before is None else os.environ.update(NODE0_KEY_DIR=before)


def test_a_good_change_is_promoted_on_real_traffic(shop: Shop) -> None:
    """Every stage is walked, stable runs the candidate in the end, has all the traffic, and the evidence says so."""
    change = shop.propose()
    ended = shop.roll_out(change)
    told = shop.analysis(ended)
    assert (ended.status, ended.exit_code) == ("applied", 0), ended.reasons
    assert [s["share"] for s in told["stages"]] == [0.5, 1.0] and not told["simulated"]
    assert shop.live()["cache_ttl_s"] == 120.0 and shop.weights() == (100, 0)
    assert all(s["canary"]["requests"] >= 100 for s in told["stages"])
    assert json.loads((shop.demo.folder / "stable.policy.json").read_text("utf-8")) == dict(shop.live())
    verified = node0_json(shop.folder, "evidence", "verify")
    assert verified["newest_cycle"] == ended.id, verified
    again = node0(shop.folder, "canary", "run", change, "--target", str(shop.demo.target))
    assert again.returncode == 5 and f"change {change} is promoted" in again.stderr


@pytest.mark.parametrize(
    ("kind", "options", "metric"),
    [
        ("errors", {"share": 0.3}, "error_rate"),
        ("p95", {"share": 0.4, "delay_s": 0.4}, "latency"),
        ("p99", {"share": 0.08, "delay_s": 2.0}, "latency_p99"),
    ],
)
def test_a_degradation_is_rolled_back_on_real_traffic(
    shop: Shop, kind: str, options: dict[str, float], metric: str
) -> None:
    """The metric that suffers is found in the first stage; traffic is back in time, by read-back and by count."""
    before = shop.live()
    with _fault(shop, kind, **options):
        ended = shop.roll_out(shop.propose())
    told = shop.analysis(ended)
    assert (ended.status, ended.exit_code) == ("rolled_back", 4), ended.reasons
    assert any(metric in reason for reason in ended.reasons), ended.reasons
    assert ended.record.back is not None and ended.record.back.seconds <= 30 and ended.record.back.after == 0
    assert shop.weights() == (100, 0) and shop.live() == before
    assert told["rollback"]["kept"] and [s["outcome"] for s in told["stages"]] == ["failed"]
    assert any(i.kind == "rolled_back" for i in ended.incidents)


def test_telemetry_that_is_killed_is_rolled_back(shop: Shop) -> None:
    """Without Prometheus nothing is known, so the traffic goes back: silence is never a pass."""
    with _fault(shop, "telemetry", after=lambda: sum(shop.weights()) > 0 and shop.weights()[1] > 0):
        ended = shop.roll_out(shop.propose())
    assert ended.status == "rolled_back" and "telemetry is lost" in ended.reasons[0], ended.reasons
    assert shop.weights() == (100, 0) and ended.record.back is not None and ended.record.back.kept


def test_traffic_that_does_not_come_is_no_comparison(shop: Shop) -> None:
    """A canary that silently leaves the balancer gets too little: the sample ratio tells, and the traffic goes back."""
    with _fault(shop, "leave", after=lambda: shop.weights()[1] > 0):
        ended = shop.roll_out(shop.propose())
    assert ended.status == "rolled_back" and "lost" in ended.reasons[0], ended.reasons


def test_a_broken_stable_is_recognised(shop: Shop) -> None:
    """Where stable itself fails, the canary is not promoted, nothing goes to and fro, and the incident names stable."""
    with _fault(shop, "broken-stable", share=0.3):
        ended = shop.roll_out(shop.propose())
    assert ended.status == "inconclusive" and "the control itself fails" in ended.reasons[0], ended.reasons
    assert [i.kind for i in ended.incidents] == ["stable_broken"]
    assert [d.command.kind for d in ended.record.deeds] == ["send", "hold", "withdraw"]


def test_a_stable_that_died_is_recognised(shop: Shop) -> None:
    """The canary keeps its share until stable serves again, and is not blamed for what HAProxy repeats on it."""

    def dies() -> tuple[int, int]:
        _until(lambda: shop.weights()[1] > 0, "traffic at the canary")
        shop.demo.fault("crash", arm="stable")
        try:
            time.sleep(6)  # longer than anybody has patience here
            return shop.weights()
        finally:
            shop.demo.fault("clear")

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(dies)
        ended = shop.roll_out(shop.propose())
        assert coming.result()[1] > 0
    shop.demo.await_scrape()
    assert ended.status == "inconclusive" and "stable does not serve" in ended.reasons[0], ended.reasons
    assert [i.kind for i in ended.incidents] == ["stable_broken"] and "does not serve" in ended.incidents[0].summary
    assert [d.command.kind for d in ended.record.deeds] == ["send", "hold", "withdraw"]
    assert ended.record.back is not None and ended.record.deeds[-1].confirmed == ended.record.back.confirmed
    assert shop.weights() == (100, 0)


def test_a_killed_orchestrator_is_replaced_by_the_guard(shop: Shop) -> None:
    """After SIGKILL in mid-canary the guard has all traffic back on stable within 30 s, and the memory knows of it."""
    change = shop.propose()
    words = [*NODE0, "canary", "run", change, "--force", "--target", str(shop.demo.target)]
    with subprocess.Popen(words, cwd=shop.folder, env=environment(shop.folder), stderr=subprocess.PIPE) as process:
        _until(lambda: shop.weights()[1] > 0 or process.poll() is not None, "traffic at the canary")
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        killed = time.time()
        os.kill(process.pid, signal.SIGKILL)
    _until(lambda: shop.weights() == (100, 0), "traffic back on stable")
    _until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if _guards(p, shop.folder)], "the guard's end")
    incidents = shop.places.guard.glob("incident-*.json")
    told = json.loads(max(incidents, key=lambda path: path.stat().st_mtime).read_text("utf-8"))
    assert told["kind"] == "orchestrator_lost" and "gone" in told["why"]
    assert told["seconds"] <= 30 and time.time() - killed < 120
    ended = shop.roll_out(shop.propose())
    assert ended.status in ("applied", "inconclusive"), ended.reasons
    assert node0_json(shop.folder, "change", "show", change)["state"] == "held"
    with State(shop.places.state) as state:
        assert {"orchestrator_lost", "interrupted"} <= {i.kind for i in state.incidents(state.cycles()[0].at)}
    node0_json(shop.folder, "evidence", "verify")


def test_a_person_can_stop_a_rollout(shop: Shop) -> None:
    """node0 canary stop takes the traffic back at once, and says who stopped it."""
    change = shop.propose()
    words = [*NODE0, "canary", "run", change, "--force", "--target", str(shop.demo.target), "--output", "json"]
    with subprocess.Popen(words, cwd=shop.folder, env=environment(shop.folder), stdout=subprocess.PIPE) as process:
        _until(lambda: shop.weights()[1] > 0 or process.poll() is not None, "traffic at the canary")
        node0_json(shop.folder, "canary", "stop", "--by", "Ada", "--note", "the pager went off")
        told = json.loads(process.communicate(timeout=60)[0])
    assert told["status"] == "rolled_back" and told["reasons"] == ["Ada stops it: the pager went off"]
    assert told["exit_code"] == process.returncode == 4 and shop.weights() == (100, 0)
    late = node0(shop.folder, "canary", "stop", "--by", "Ada")
    assert late.returncode == 5 and "no rollout is under way" in late.stderr
