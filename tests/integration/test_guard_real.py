"""The dead-man's switch against Debian's HAProxy: whoever dies in mid-canary, traffic goes back to the stable one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from haproxy_stack import (
    HaproxyPorts,
    SmallInstance,
    needs_haproxy,
    running_haproxy,
    running_instance,
    target_file,
    wait_for,
)

from node0lib.errors import RefusedError, RunError
from node0lib.shell.canary_live import Diary, RealTraffic
from node0lib.shell.clocks import SystemClock
from node0lib.shell.lease import Lease, alive, guard_of, guarded
from node0lib.shell.state import State
from node0lib.shell.targets.haproxy import HaproxySplit
from node0lib.shell.targets.target_file import HaproxyTarget, read_target

pytestmark = [pytest.mark.real, needs_haproxy]
CONTROL, CANDIDATE = {"cache_ttl_s": 30}, {"cache_ttl_s": 60}
ORCHESTRATOR = """
import sys, time
from pathlib import Path
from node0lib.shell.canary_live import Diary, RealTraffic
from node0lib.shell.clocks import SystemClock
from node0lib.shell.lease import guarded
from node0lib.shell.targets.haproxy import HaproxySplit
from node0lib.shell.targets.target_file import read_target
folder = Path(sys.argv[1])
with guarded(read_target(folder / "target.yaml"), {"cache_ttl_s": 30}, "change-1", folder / "run",
             state=folder / "node0.sqlite") as lease:
    print("guarded", flush=True)
    while True:
        lease.renew()
        time.sleep(0.2)
"""


@dataclass
class Stack:
    """HAProxy with a quarter of the traffic on the canary, and the target file's value."""

    folder: Path
    ports: HaproxyPorts
    instances: dict[str, tuple[SmallInstance, int]]
    target: HaproxyTarget

    def incident(self, change: str) -> dict:
        """Wait until the guard has told of zero, and return what it wrote."""
        path = self.folder / "run" / f"incident-{change}.json"
        wait_for(lambda: path.exists() and json.loads(path.read_bytes())["zero_confirmed_at"], 40)
        return json.loads(path.read_bytes())


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack in mid-canary; the canary runs the candidate."""
    ports = HaproxyPorts()
    with ExitStack() as opened:
        found = {name: opened.enter_context(running_instance(name, tmp_path)) for name in ("stable", "canary")}
        numbers = found["stable"][1], found["canary"][1]
        opened.enter_context(running_haproxy(tmp_path, ports, *numbers, weight=25))
        (tmp_path / "target.yaml").write_bytes(target_file(ports, "http://127.0.0.1:1", *numbers))
        found["canary"][0].policy = CANDIDATE
        yield Stack(tmp_path, ports, found, read_target(tmp_path / "target.yaml"))


def _held(stack: Stack, change: str, **options: Any) -> AbstractContextManager[Lease]:
    return guarded(stack.target, CONTROL, change, stack.folder / "run", **options)


def test_an_orchestrator_killed_in_mid_canary_is_replaced_by_its_guard(stack: Stack) -> None:
    """After SIGKILL the guard reads back zero within the promised 30 s, restores the canary, and says what happened."""
    command = [sys.executable, "-c", ORCHESTRATOR, str(stack.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None and orchestrator.stdout.readline() == "guarded\n"
        held = stack.folder / "run" / "change-1.lease"
        guard = guard_of(held)
        assert guard is not None and alive(*guard) and stack.ports.weight("canary") == 25
        killed = datetime.now(UTC)
        orchestrator.kill()
    found = stack.incident("change-1")
    assert stack.ports.weight("canary") == 0
    seen, zero = (datetime.fromisoformat(found[name]) for name in ("last_seen", "zero_confirmed_at"))
    assert (zero - killed).total_seconds() <= 30 and 0 < found["seconds"] <= 30
    assert seen <= datetime.fromisoformat(found["noticed_at"]) <= zero
    assert found["kind"] == "orchestrator_lost" and f"pid {orchestrator.pid}) is gone" in found["why"]
    assert found["stable_serves"] and found["problems"] == []
    assert stack.instances["canary"][0].policy == CONTROL
    wait_for(lambda: not alive(*guard))
    with State(stack.folder / "node0.sqlite") as state:
        (incident,) = state.incidents(killed - timedelta(minutes=1))
    assert (incident.kind, incident.resolved_at) == ("orchestrator_lost", zero)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_promotion_that_was_not_sealed_is_taken_back(stack: Stack, sealed: bool) -> None:
    """Who dies after stable took the candidate, but before that is on record, leaves stable with the control."""
    record = stack.folder / "provenance.json"
    with pytest.raises(KeyboardInterrupt), _held(stack, "promoted", sealed=record):
        stack.instances["stable"][0].policy = CANDIDATE
        if sealed:
            record.write_text("{}", "utf-8")
        raise KeyboardInterrupt
    assert stack.incident("promoted")["problems"] == []
    assert stack.instances["stable"][0].policy == (CANDIDATE if sealed else CONTROL)
    assert stack.instances["canary"][0].policy == CONTROL


def test_a_promotion_that_fails_leaves_stable_with_the_control(stack: Stack) -> None:
    """The way back after a promotion was begun brings stable back first, and is not done while stable refuses."""
    stable = stack.instances["stable"][0]
    with _held(stack, "unpromoted") as lease, HaproxySplit(stack.target) as split:
        real = RealTraffic(split, stack.target.stable, Diary(SystemClock()), lease, timedelta(seconds=30))
        real.prepare(CONTROL, CANDIDATE)
        real.promote()
        assert stable.policy == CANDIDATE
        stable.deaf = True
        with pytest.raises(RunError, match="stable keeps the candidate"):
            real.send(0.0)
        assert real.back is None
        stable.deaf = False
        real.send(0.0)
        assert stable.policy == CONTROL and real.back is not None and stack.ports.weight("canary") == 0


def test_a_rollout_waits_for_the_guard_of_the_one_before(stack: Stack) -> None:
    """A guard that still works would take the next rollout's traffic back as well, so that one is refused."""
    with (
        _held(stack, "first"),
        pytest.raises(RefusedError, match=f"process {os.getpid()} is rolling first out"),
        _held(stack, "second"),
    ):
        raise AssertionError("it was let in")


def test_a_released_lease_leaves_no_process_and_no_incident(stack: Stack) -> None:
    """A rollout that ends well leaves traffic as it is; its guard ends by itself, and only its log stays."""
    with _held(stack, "well") as lease:
        lease.renew()
        guard = psutil.Process(lease.guard)
        assert os.getsid(guard.pid) != os.getsid(0)
    assert not guard.is_running()
    assert stack.ports.weight("canary") == 25
    assert [path.name for path in (stack.folder / "run").iterdir()] == ["well.guard-log"]


def test_an_exception_hands_the_rollout_to_the_guard(stack: Stack) -> None:
    """Whatever ends the orchestrator's own code, traffic is back before its exception goes on."""
    with pytest.raises(KeyboardInterrupt), _held(stack, "interrupted"):
        raise KeyboardInterrupt
    assert stack.ports.weight("canary") == 0
    assert stack.incident("interrupted")["why"] == "the orchestrator gave up in the middle"


def test_a_caller_that_took_traffic_back_itself_needs_no_guard(stack: Stack) -> None:
    """A lease that is released before the exception goes on makes no incident."""
    with pytest.raises(ValueError, match="after a rollback"), _held(stack, "rolled-back") as lease:
        lease.release()
        raise ValueError("after a rollback")
    assert not list((stack.folder / "run").glob("incident-*"))


def test_an_orchestrator_that_hangs_has_lost_its_lease(stack: Stack) -> None:
    """Silence beyond the time to live is taken for death; whoever wakes up later is told, and cannot renew."""
    with pytest.raises(RunError, match="guard has taken traffic back"):
        _hang(stack)
    assert stack.ports.weight("canary") == 0
    assert "did not renew its lease" in stack.incident("hangs")["why"]


def _hang(stack: Stack) -> None:
    with _held(stack, "hangs", time_to_live=timedelta(seconds=1)) as lease:
        wait_for(lambda: not lease.held.exists())
        lease.renew()


def _killed(lease: Lease, number: int) -> None:
    """Send a signal to the guard, and renew until that fails."""
    os.kill(lease.guard, number)
    while True:
        lease.renew()
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be heard")
def test_a_guard_that_is_told_to_end_takes_traffic_back_first(stack: Stack) -> None:
    """SIGTERM while the lease is held ends the canary and not its protection."""
    with pytest.raises(RunError, match="guard has taken traffic back"), _held(stack, "told") as lease:
        for ignored in (signal.SIGINT, signal.SIGHUP):
            os.kill(lease.guard, ignored)
        _killed(lease, signal.SIGTERM)
    assert stack.ports.weight("canary") == 0
    assert "told to end" in stack.incident("told")["why"]


def test_a_rollout_whose_guard_died_is_told_at_its_next_renewal(stack: Stack) -> None:
    """Without a guard nothing is renewed, and the caller takes traffic back; releasing then is no error."""
    with _held(stack, "alone") as lease:
        with pytest.raises(RunError, match=r"the guard of alone .* is gone, code -9"):
            _killed(lease, signal.SIGKILL)
        lease.release()


def test_no_rollout_without_a_guard_that_reaches_haproxy(stack: Stack) -> None:
    """A guard that could not take traffic back is none: the rollout is refused and says why, and nothing is left."""
    target = HaproxyTarget(**{**vars(stack.target), "socket": "127.0.0.1:1"})
    with (
        pytest.raises(RefusedError, match="no rollout without a guard.*did not answer"),
        guarded(target, CONTROL, "blind", stack.folder / "run"),
    ):
        raise AssertionError("it was let in")
    assert not list((stack.folder / "run").glob("blind.lease"))


def test_one_change_has_one_rollout(stack: Stack) -> None:
    """A second rollout of a change is refused while the first one lives."""
    with (
        _held(stack, "twice"),
        pytest.raises(RefusedError, match=f"process {os.getpid()} is rolling twice out"),
        _held(stack, "twice"),
    ):
        raise AssertionError("it was let in")


def test_the_guard_never_gives_up(tmp_path: Path) -> None:
    """With HAProxy gone the incident says that zero is not reached; when HAProxy is back, traffic is taken back."""
    ports = HaproxyPorts()
    with running_instance("stable", tmp_path) as stable, running_instance("canary", tmp_path) as canary:
        numbers = stable[1], canary[1]
        (tmp_path / "target.yaml").write_bytes(target_file(ports, "http://127.0.0.1:1", *numbers))
        stack = Stack(tmp_path, ports, {}, read_target(tmp_path / "target.yaml"))
        with running_haproxy(tmp_path, ports, *numbers, weight=25):
            lease = _held(stack, "stubborn")
            guard = guard_of(lease.__enter__().held)
        (tmp_path / "run" / "stubborn.lease").unlink()
        incident = tmp_path / "run" / "incident-stubborn.json"
        wait_for(incident.exists, 40)
        assert json.loads(incident.read_bytes())["zero_confirmed_at"] is None
        with running_haproxy(tmp_path, ports, *numbers, weight=25):
            found = stack.incident("stubborn")
            assert ports.weight("canary") == 0
            assert "HAProxy does not answer" in found["problems"][0]
            with pytest.raises(RunError, match="guard has taken traffic back"):
                lease.__exit__(None, None, None)
        assert guard is not None and not alive(*guard)
