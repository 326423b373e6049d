"""The haproxy target against Debian's HAProxy and Prometheus: what was commanded is what was read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from demo_stack import needs_demo, running_demo
from haproxy_stack import (
    HaproxyPorts,
    SmallInstance,
    drive,
    needs_haproxy,
    refusing,
    running_haproxy,
    running_instance,
    target_file,
    wait_for,
)
from prometheus_server import needs_prometheus, running_prometheus

from node0lib.errors import ConfigError, DataError, RunError
from node0lib.optimize.knobs import POLICY_EXAMPLE
from node0lib.ports import Arm, Baseline, Look
from node0lib.shell.clocks import SystemClock
from node0lib.shell.targets.arms_telemetry import Telemetry
from node0lib.shell.targets.haproxy import HaproxySplit
from node0lib.shell.targets.haproxy_runtime import Runtime
from node0lib.shell.targets.haproxy_weights import Balance
from node0lib.shell.targets.target_file import HaproxyTarget, parse_target, read_target

pytestmark = [pytest.mark.real, needs_haproxy, needs_prometheus]
CONTROL, CANDIDATE = {"cache_ttl_s": 30.0, "mode": "lru"}, {"cache_ttl_s": 60, "mode": "lru"}
TICK = "250ms"
SOON = timedelta(seconds=1)


@dataclass
class Stack:
    """HAProxy, both instances, and the target file's value."""

    ports: HaproxyPorts
    stable: SmallInstance
    canary: SmallInstance
    target: HaproxyTarget

    def balance(self, port: int | None = None, deadline: timedelta = SOON) -> Balance:
        """Return a balance through a runtime API."""
        return Balance(Runtime(f"127.0.0.1:{port or self.ports.admin}"), "app", "stable", "canary", deadline)

    def split(self) -> HaproxySplit:
        """Return a split that was prepared and has its baseline."""
        split = HaproxySplit(self.target)
        split.prepare(CONTROL, CANDIDATE)
        drive(self.ports.front, 200)
        wait_for(lambda: _answers(lambda: split.baseline(margin_p95=0.05, margin_p99=0.10)))
        return split


def _answers(read: Callable[[], object]) -> bool:
    try:
        read()
    except DataError:
        return False
    return True


@pytest.fixture
def stack(whole: Stack) -> Stack:
    """The stack without faults and without traffic for the canary."""
    for instance in (whole.stable, whole.canary):
        instance.failing = instance.deaf = instance.silent = False
        instance.latency_s, instance.stamp = 0.015, None
    whole.ports.ask("set server app/canary state ready")
    whole.balance().divide(0.0)
    return whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests of this file."""
    folder = tmp_path_factory.mktemp("haproxy")
    ports = HaproxyPorts()
    with ExitStack() as stack:
        stable, first = stack.enter_context(running_instance("stable", folder))
        canary, second = stack.enter_context(running_instance("canary", folder))
        stack.enter_context(running_haproxy(folder, ports, first, second))
        targets = [f"127.0.0.1:{first}", f"127.0.0.1:{second}"]
        url = stack.enter_context(
            running_prometheus(folder, scrape_interval=TICK, scrape_self=False, extra_targets=targets)
        )
        text = target_file(ports, url, first, second, tick=TICK)
        target = parse_target(text, "target.yaml", folder)
        with closing(Telemetry(target.prometheus, target.queries, target.tick, SystemClock())) as telemetry:
            wait_for(lambda: _answers(telemetry.read))  # what is counted before the first scrape is never seen
        yield Stack(ports, stable, canary, target)


def _sum(arms: list[Arm]) -> Arm:
    return Arm(*(sum(getattr(arm, name) for arm in arms) for name in ("requests", "errors", "slow_p95", "slow_p99")))


def _served(stack: Stack, requests: int) -> tuple[int, int]:
    """Send requests, and return how many of them each instance says it has served."""
    before = stack.stable.served, stack.canary.served
    drive(stack.ports.front, requests)
    return stack.stable.served - before[0], stack.canary.served - before[1]


def _looked(split: HaproxySplit, requests: int) -> tuple[Arm, Arm]:
    """Look until that many requests were seen in all."""
    looks: list[Look] = []

    def enough() -> bool:
        looks.append(split.look())
        return sum(look.control.requests + look.canary.requests for look in looks) >= requests

    wait_for(enough)
    return _sum([look.control for look in looks]), _sum([look.canary for look in looks])


def _based(split: HaproxySplit) -> None:
    """Look until the next look has something to begin from."""

    def based() -> bool:
        split.look()
        return split._base is not None

    wait_for(based)


def test_weights_are_what_haproxy_itself_reads_back(stack: Stack) -> None:
    """A share is set as two weights that another client reads from HAProxy, and that real requests follow."""
    traffic = stack.balance().divide(0.25)
    assert (stack.ports.weight("stable"), stack.ports.weight("canary")) == (75, 25)
    assert traffic.share == 0.25
    before = stack.canary.served
    drive(stack.ports.front, 200)
    assert abs(stack.canary.served - before - 50) <= 2
    assert stack.balance().divide(1.0).stable.effective == 0
    assert stack.balance().take_back(SystemClock()).way == "weight"
    assert (stack.ports.weight("stable"), stack.ports.weight("canary")) == (100, 0)


def test_a_server_in_maintenance_counts_for_nothing(stack: Stack) -> None:
    """A canary in maintenance has its weight and no traffic; asking traffic for it fails and says why."""
    stack.balance().divide(0.05)
    stack.ports.ask("set server app/canary state maint")
    assert stack.balance().read().share == 0.0
    with pytest.raises(RunError, match=r"weights 75 and 25 .* read back: .*canary weight 25 stopped, in maintenance"):
        stack.balance().divide(0.25)
    with (
        HaproxySplit(stack.target) as split,
        pytest.raises(RunError, match="the canary cannot take traffic.*state ready"),
    ):
        split.prepare(CONTROL, CANDIDATE)


def test_a_refused_rollback_is_tried_again(stack: Stack) -> None:
    """A refusal is read from HAProxy's text, the command is tried again, and the attempts are counted."""
    stack.balance().divide(0.25)
    seen = {"weights": 0}

    def refuses(command: str, _: int) -> bool:
        seen["weights"] += "weight" in command
        return "weight" in command and seen["weights"] <= 2

    with refusing(stack.ports.admin, refuses) as (port, heard):
        zero = stack.balance(port).take_back(SystemClock())
    assert (zero.attempts, zero.way) == (2, "weight")
    assert stack.ports.weight("canary") == 0
    assert heard[-1] == "show servers state app"


def test_where_weights_are_refused_the_canary_is_drained(stack: Stack) -> None:
    """Drain is the second way to zero; what is read back counts, and no request reaches the canary."""
    stack.balance().divide(0.25)
    with refusing(stack.ports.admin, lambda command, _: "weight" in command) as (port, _):
        zero = stack.balance(port).take_back(SystemClock())
    assert zero.way == "drain"
    assert zero.traffic.canary.weight == 25 and zero.traffic.canary.effective == 0
    before = stack.canary.served
    drive(stack.ports.front, 40)
    assert stack.canary.served == before


def test_a_rollback_that_haproxy_keeps_refusing_is_escalated(stack: Stack) -> None:
    """A socket of level operator refuses every way: the error says what was answered and read, and what to do."""
    stack.balance().divide(0.25)
    with pytest.raises(RunError) as caught:
        stack.balance(stack.ports.operator).take_back(SystemClock())
    text = str(caught.value)
    for part in ("STILL GETS TRAFFIC", "Permission denied", "state drain", "read back: stable weight 75"):
        assert part in text
    assert f'echo "set server app/canary state maint" | socat - tcp-connect:127.0.0.1:{stack.ports.operator}' in text
    assert stack.ports.weight("canary") == 25


def test_no_haproxy_no_backend_and_no_server_are_said(stack: Stack) -> None:
    """Nobody who answers, an unknown backend and an unknown server are three errors, each with its place."""
    runtime = Runtime(f"127.0.0.1:{stack.ports.admin}")
    with pytest.raises(RunError, match="did not answer .*is HAProxy running"):
        Balance(Runtime("127.0.0.1:1"), "app", "stable", "canary", SOON).read()
    with pytest.raises(RunError, match="Can't find backend"):
        Balance(runtime, "nope", "stable", "canary", SOON).read()
    with pytest.raises(RunError, match="has no server blue"):
        Balance(runtime, "app", "stable", "blue", SOON).read()
    with pytest.raises(RunError, match="No such proxy"):
        runtime.chosen("nope", "canary")


def test_a_policy_counts_when_the_instance_runs_it(stack: Stack) -> None:
    """Preparing writes both policies and asks both instances; one that goes on with its old policy is an error."""
    with HaproxySplit(stack.target, deadline=SOON) as split:
        split.prepare(CONTROL, CANDIDATE)
        assert (stack.stable.policy["cache_ttl_s"], stack.canary.policy["cache_ttl_s"]) == (30, 60)
        stack.canary.deaf = True
        with pytest.raises(RunError, match="canary runs the policy .* after its reload, not"):
            split.prepare(CANDIDATE, CONTROL)


def test_looks_count_every_request_once(stack: Stack) -> None:
    """The looks of a stage add up to what was sent, by arm, with its failures and its slow requests."""
    with stack.split() as split:
        assert split.look().control == Arm(0, 0, 0, 0)
        split.send(0.25)
        _based(split)
        stack.canary.failing, stack.canary.latency_s = True, 0.3
        served = _served(stack, 400)
        assert _looked(split, 400) == (Arm(served[0], 0, 0, 0), Arm(*(4 * served[1:])))
        stack.canary.restart()
        served = _served(stack, 40)
        assert _looked(split, 40) == (Arm(served[0], 0, 0, 0), Arm(*(4 * served[1:])))
        assert split.look().minute >= 0


def test_what_was_counted_before_a_command_belongs_to_nobody(stack: Stack) -> None:
    """After a change of the share the looks begin at the first scrape after it."""
    with stack.split() as split:
        split.send(0.5)
        _based(split)
        drive(stack.ports.front, 100)
        split.send(0.25)
        _based(split)
        served = _served(stack, 80)
        assert served[0] > 2 * served[1]
        assert tuple(arm.requests for arm in _looked(split, 80)) == served


def test_the_baseline_is_a_bound_at_or_above_the_quantile_and_its_margin(stack: Stack) -> None:
    """Of latencies in the bucket up to 20 ms p95 x 1.05 lies just above it: the bound is the next, nobody is slower."""
    with stack.split() as split:
        found = split.baseline(margin_p95=0.05, margin_p99=0.10)
    assert found == Baseline(0.05, 0.05, 0.0, 0.0)


def _lost(split: HaproxySplit) -> str:
    """Look until it fails, and return what it says."""
    said: list[str] = []

    def failed() -> bool:
        try:
            split.look()
        except DataError as error:
            said.append(str(error))
        return bool(said)

    wait_for(failed)
    return said[0]


def test_telemetry_that_is_lost_is_an_error_and_never_a_figure(stack: Stack) -> None:
    """A scrape that fails and one that stands still are errors; the looks go on when it is back."""
    with stack.split() as split:
        split.send(0.25)
        _based(split)
        stack.canary.silent = True
        assert "canary requests: no series" in _lost(split)
        stack.canary.silent, stack.canary.stamp = False, time.time
        wait_for(lambda: _answers(split.look))
        stopped = time.time()
        stack.canary.stamp = lambda: stopped
        assert "canary: stale, the newest scrape is" in _lost(split)
        stack.canary.stamp = time.time
        wait_for(lambda: _answers(split.look))


def test_without_prometheus_traffic_is_taken_back_all_the_same(stack: Stack) -> None:
    """Nobody who answers for Prometheus is lost telemetry, time and again, and hinders no command."""
    target = HaproxyTarget(**{**vars(stack.target), "prometheus": "http://127.0.0.1:1"})
    with HaproxySplit(target) as split:
        split.prepare(CONTROL, CANDIDATE)
        split.send(0.25)
        with pytest.raises(DataError, match="cannot connect"):
            split.baseline(margin_p95=0.05, margin_p99=0.10)
        record = split.withdraw(datetime.now(UTC))
    assert stack.ports.weight("canary") == 0
    assert record.counted_after is None and record.chosen_after == 0
    assert "cannot connect" in record.problems[0] and "found down earlier" not in record.problems[0]


def test_a_withdrawal_measures_itself(stack: Stack) -> None:
    """From the decision to the first zero read back, confirmed by the requests that no longer come."""
    with stack.split() as split:
        split.send(0.25)
        drive(stack.ports.front, 40)
        decided = datetime.now(UTC)
        record = split.withdraw(decided)
    assert decided <= record.commanded_at <= record.confirmed_at
    assert 0 <= record.seconds <= 30  # the promise itself
    assert (record.attempts, record.way, record.stable_serves) == (1, "weight", True)
    assert (record.chosen_after, record.counted_after, record.problems) == (0, 0, ())
    assert stack.canary.policy["cache_ttl_s"] == 30


def test_a_promotion_brings_the_candidate_to_the_stable_instance(stack: Stack) -> None:
    """After a promotion the stable instance runs the candidate and has all traffic, both read back."""
    with stack.split() as split:
        split.send(1.0)
        assert split.share == 1.0
        split.promote()
        assert split.share == 0.0
    assert stack.stable.policy["cache_ttl_s"] == 60


def test_no_traffic_without_a_permit(stack: Stack) -> None:
    """Whoever guards the rollout is asked before the canary's traffic rises, and not before it falls."""

    def refused() -> None:
        raise RunError("the lease is gone")

    with HaproxySplit(stack.target, permit=refused) as split:
        split.prepare(CONTROL, CANDIDATE)
        with pytest.raises(RunError, match="lease is gone"):
            split.send(0.05)
        split.send(0.0)


def test_a_share_that_weights_cannot_make_is_refused(stack: Stack) -> None:
    """Rather than four times the share that was asked for, nothing is sent, and the smallest share is named."""
    with HaproxySplit(stack.target) as split, pytest.raises(ConfigError, match="1/257"):
        split.send(0.001)


@needs_demo
def test_the_demo_is_a_target(tmp_path: Path) -> None:
    """The file that the demo writes is read, its traffic is split as asked, counted, and taken back."""
    with running_demo(tmp_path) as demo, HaproxySplit(read_target(demo.target)) as split:
        split.prepare(POLICY_EXAMPLE, POLICY_EXAMPLE)
        wait_for(lambda: _answers(lambda: split.baseline(margin_p95=0.05, margin_p99=0.10)))
        split.send(0.25)
        looks: list[Look] = []

        def enough() -> bool:
            time.sleep(0.2)  # the demo is scraped once a second
            looks.append(split.look())
            return sum(look.canary.requests for look in looks) >= 60

        wait_for(enough)
        total = _sum([look.control for look in looks]).requests + _sum([look.canary for look in looks]).requests
        assert 0.15 < _sum([look.canary for look in looks]).requests / total < 0.35
        record = split.withdraw(datetime.now(UTC))
        assert record.chosen_after == 0 and record.stable_serves and record.seconds <= 30
