"""The demo without its stack: mechanics, bounded load, processes that are ours, one clear error a mistake."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psutil
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from node0lib.errors import ConfigError, RunError
from node0lib.optimize.knobs import POLICY_EXAMPLE
from node0lib.ports import Policy
from node0lib.shell.cli import main
from node0lib.shell.demo.layout import ARMS, QUERIES, Ports, haproxy_config, prometheus_config
from node0lib.shell.demo.load import IN_FLIGHT, Clients, Keys
from node0lib.shell.demo.mechanics import (
    AGENT_S,
    AGENTS,
    Agents,
    Batcher,
    Cache,
    Dependency,
    FailedError,
    Mechanics,
    attempted,
)
from node0lib.shell.demo.processes import Process, end, found, recorded
from node0lib.shell.demo.service import read_policy
from node0lib.shell.demo.stack import RECORD, down, locked, standing, up

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
PORTS = Ports(*range(20_001, 20_008))


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, ["demo", *words])


# ---- mechanics --------------------------------------------------------------------------------------------------


def test_a_cached_value_lives_as_long_as_the_policy_says() -> None:
    """The age counts from the last filling, and a shorter ttl_s is in force at once."""
    cache = Cache()
    cache.put("a", "old", now=0.0)
    cache.put("a", "new", now=20.0)
    assert cache.get("a", ttl_s=30, now=49.0) == "new"
    assert cache.get("a", ttl_s=30, now=50.0) is None
    assert cache.get("a", ttl_s=10, now=31.0) is None


def test_a_batch_is_full_or_has_waited() -> None:
    """Keys are computed together, each once: at the size, or when the first has waited."""
    batches: list[list[str]] = []

    async def compute(keys: Sequence[str]) -> None:
        batches.append(sorted(keys))

    async def ask() -> None:
        batcher = Batcher(compute)
        await asyncio.gather(*(batcher.submit(key, size=3, wait_s=60) for key in "abc"))
        await asyncio.gather(*(batcher.submit(key, size=3, wait_s=0.01) for key in "dde"))

    asyncio.run(ask())
    assert batches == [["a", "b", "c"], ["d", "e"]]


def test_a_failed_batch_fails_every_request_in_it() -> None:
    """All who wait for a batch are told why it failed, also one that joined."""

    async def compute(keys: Sequence[str]) -> None:
        raise FailedError("broken")

    async def ask() -> list[object]:
        batcher = Batcher(compute)
        return await asyncio.gather(
            *(batcher.submit(key, size=2, wait_s=0.01) for key in "aab"), return_exceptions=True
        )

    assert [str(error) for error in asyncio.run(ask())] == ["broken"] * 3


def test_timeouts_and_retries_are_real() -> None:
    """What is slower than the timeout fails after all attempts; a retry saves what fails now and then."""
    slow = Dependency("slow", (5.0, 0.0), (5.0, 0.0), 0.0, 0.0)
    shaky = Dependency("shaky", (0.0, 0.0), (0.0, 0.0), 0.0, 0.5)

    async def failures(dependency: Dependency, timeout_s: float, retries: int, calls: int) -> int:
        calling = (attempted(dependency, Random(n), timeout_s, retries) for n in range(calls))
        return sum(isinstance(each, FailedError) for each in await asyncio.gather(*calling, return_exceptions=True))

    assert asyncio.run(failures(slow, 0.01, 1, 3)) == 3
    once, thrice = (asyncio.run(failures(shaky, 5.0, retries, 400)) for retries in (0, 2))
    assert 150 < once < 250 and 25 < thrice < 80


@pytest.mark.parametrize(
    ("change", "least", "most"),
    [({"llm_timeout_ms": 3000}, 0.0, 0.05), ({"llm_timeout_ms": 50, "llm_retries": 0, "batch_size": 1}, 0.06, 0.4)],
)
def test_a_bad_policy_makes_errors(change: Policy, least: float, most: float) -> None:
    """An LLM that may take 50 ms only, and is asked once, fails many of the misses; a patient policy few."""

    async def share() -> float:
        mechanics = Mechanics({**POLICY_EXAMPLE, **change}, 1, time.monotonic, lambda *_: None)
        answers = await asyncio.gather(*(mechanics.answer(str(n)) for n in range(400)), return_exceptions=True)
        return sum(isinstance(answer, FailedError) for answer in answers) / len(answers)

    assert least <= asyncio.run(share()) <= most


def test_a_value_is_told_and_found_by_the_peer() -> None:
    """What an instance computes is told to its peer, which answers it from its cache."""

    async def ask() -> tuple[dict[str, str], str]:
        told: dict[str, str] = {}
        first = Mechanics(POLICY_EXAMPLE, 1, time.monotonic, told.__setitem__)
        second = Mechanics(POLICY_EXAMPLE, 2, time.monotonic, lambda *_: None)
        value = await first.answer("7")
        second.remember(*next(iter(told.items())))
        async with asyncio.timeout(0.005):  # nothing is waited for
            return told, value if await second.answer("7") == value else ""

    told, value = asyncio.run(ask())
    assert told == {"7": value}


def test_an_agent_works_on_one_result_at_a_time() -> None:
    """Under every routing rule twice as many results as agents take at least two rounds."""

    async def longest(routing: str, handovers: int) -> float:
        agents = Agents(Random(1))
        start = time.perf_counter()
        await asyncio.gather(*(agents.hand_over(routing) for _ in range(handovers)))
        return time.perf_counter() - start

    for routing in ("round_robin", "two_choices", "least_loaded"):
        assert asyncio.run(longest(routing, 2 * AGENTS)) >= 2 * AGENT_S


# ---- load -------------------------------------------------------------------------------------------------------


def test_the_load_is_bounded() -> None:
    """Against a server that never answers only so many requests wait; the rest is dropped and counted."""

    async def flood() -> CollectorRegistry:
        registry = CollectorRegistry()
        silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        clients = Clients(silent.sockets[0].getsockname()[1], registry)
        for _ in range(IN_FLIGHT + 25):
            clients.begin("/items/1")
        await asyncio.sleep(0)
        assert registry.get_sample_value("load_in_flight") == IN_FLIGHT
        clients.close()
        silent.close()
        return registry

    assert asyncio.run(flood()).get_sample_value("load_dropped_total") == 25


def test_few_keys_are_asked_for_often() -> None:
    """Keys follow Zipf's law: the first comes about twice as often as the second, a hundred make half of all."""
    keys = Keys(Random(1))
    drawn = [keys.draw() for _ in range(20_000)]
    assert 1.6 < drawn.count(1) / drawn.count(2) < 2.4
    assert 0.5 < sum(key <= 100 for key in drawn) / len(drawn) < 0.65
    assert min(drawn) == 1 and max(drawn) <= 5000


# ---- processes --------------------------------------------------------------------------------------------------


@contextmanager
def _running(*command: str) -> Iterator[Process]:
    popen = subprocess.Popen(command)
    try:
        yield recorded("sleeper", popen.pid, 0)
    finally:
        popen.kill()
        popen.wait()


def test_a_foreign_process_is_left_alone(tmp_path: Path) -> None:
    """A process that got the id of one on record, but not its time or command line, outlives down."""
    with _running(*SLEEPER) as foreign:
        earlier = {**foreign.__dict__, "created": foreign.created - 3600}
        other = {**foreign.__dict__, "command": ["haproxy", "-db"]}
        ports = PORTS.__dict__
        record = {"format": "node0-demo/1", "rate": 100, "ports": ports, "processes": [earlier, other]}
        (tmp_path / RECORD).write_text(json.dumps(record), encoding="utf-8")
        stack = standing(tmp_path)
        assert stack is not None and stack.running() == ()
        assert down(tmp_path) == ()
        assert found(foreign) is not None
    assert standing(tmp_path) is None


def test_what_is_ours_is_ended_with_its_children() -> None:
    """A process on record and the processes that it started are gone, and a second end finds nothing."""
    with _running(sys.executable, "-c", f"{PARENT}; time.sleep(60)") as ours:
        parent = psutil.Process(ours.pid)
        deadline = time.monotonic() + 30
        while not (children := parent.children()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert children
        assert end([ours]) == (ours,)
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        assert found(ours) is None
        assert end([ours]) == ()


# ---- layout and mistakes ----------------------------------------------------------------------------------------


def test_everything_listens_on_loopback_only() -> None:
    """No address but 127.0.0.1 is in a configuration, and canary begins without weight."""
    haproxy = haproxy_config(PORTS)
    binds = [line.split()[1] for line in haproxy.splitlines() if line.strip().startswith("bind ")]
    assert binds == ["127.0.0.1:20001", "127.0.0.1:20003"] and "ipv4@127.0.0.1:20002" in haproxy
    assert "server canary 127.0.0.1:20005 weight 0" in haproxy
    scrapes = [job for config in prometheus_config(PORTS)["scrape_configs"] for job in config["static_configs"]]
    assert all(target.startswith("127.0.0.1:") for each in scrapes for target in each["targets"])
    assert [each["labels"]["arm"] for each in scrapes[:2]] == list(ARMS)


def test_no_query_fills_in_zeros() -> None:
    """What was not measured is missing, not zero; every query names the arm."""
    assert all("$arm" in query and "vector(" not in query for query in QUERIES.values())


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"batch_size": 1, "batch_size": 2}', b"\xff"])
def test_a_policy_file_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    """A policy file that cannot be one is a ConfigError that names the file."""
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"p\.json"):
        read_policy(tmp_path / "p.json")


def test_a_missing_program_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Prometheus up says what to install, and leaves nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"apt-get install .*prometheus"):
        up(tmp_path / "demo", rate=100, policy=POLICY_EXAMPLE)
    assert not (tmp_path / "demo").exists()


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    """A record that cannot be read is an error that names the file, not an empty stack."""
    for text in ("{", "[]", '{"format": "other"}', '{"format": "node0-demo/1", "rate": 1}'):
        (tmp_path / RECORD).write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match=RECORD):
            standing(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["status"], 3, "no demo is up"),
        (["down"], 0, "nothing was ended"),
        (["fault", "errors"], 5, "run node0 demo up"),
        (["fault", "errors", "--delay", "1s"], 2, "--delay is for p95 and p99"),
        (["fault", "crash", "--share", "0.1"], 2, "--share is for"),
        (["fault", "p95", "--restart"], 2, "--restart is for crash"),
        (["fault", "p99", "--delay", "soon"], 2, "not a duration"),
        (["up", "--policy", "none.json"], 2, "none.json"),
    ],
)
def test_a_mistake_is_one_clear_error(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    """Each way to be wrong ends with its exit code and says what to do."""
    ran = _run(*words, "--folder", str(tmp_path / "demo"))
    assert ran.exit_code == code and told in ran.output
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A folder that cannot be made is one clear error, not a traceback."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be written .*; name another folder with --folder"), locked(
        tmp_path / "file" / "demo"
    ):
        pass
