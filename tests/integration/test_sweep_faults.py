"""A sweep under faults, on this machine and on a Dask cluster: nothing is lost, and the numbers stay the same."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from node0lib.errors import RunError
from node0lib.shell.sweep_file import read_sweep
from node0lib.shell.sweep_run import Ran, run_sweep
from node0lib.shell.sweep_workers import alone, cluster, processes
from node0lib.simulate.sweep import Sweep

PROGRAM = [sys.executable, "-c", "from node0lib.shell.cli.simulate import simulate; simulate()", "burn"]
TEXT = """months: 500
objectives: [0.999]
length: 1d
traffic: [{name: busy, per_hour: 36000}]
errors: [{name: iid, rate: 0.03%}, {name: clustered, rate: 0.03%, dispersion: 1}]
faults: [none, {name: outage, onset: 12h, length: 20m, errors: 30%}]
policies: [workbook, {name: one, alerts: [{name: fast, severity: critical, long: 30m, short: 5m, factor: 20}]}]
seeds: {first: 1, count: 3}
"""
"""Twelve cells of 500 days, each a part of its own."""
PARTS = 12


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    path.write_text(TEXT, "utf-8")
    return path


@pytest.fixture(scope="module")
def sweep(file: Path) -> Sweep:
    return read_sweep(file)


@pytest.fixture(scope="module")
def expected(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as one undisturbed process makes it."""
    folder = tmp_path_factory.mktemp("expected") / "out"
    with alone() as crew:
        assert run_sweep(sweep, folder, crew).chunks == PARTS
    return folder


@pytest.fixture(scope="module")
def dask() -> Iterator[object]:
    """A Dask cluster of two processes on loopback."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as local:
        yield local


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of the dataset; there must be no other one."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".sweep.lock"}


def once(kill: Callable[[], object]) -> Callable[[str, int, int], None]:
    """Return a progress that kills in mid-sweep, once."""
    killed: list[bool] = []

    def progress(_: str, done: int, total: int) -> None:
        if not killed and done > total // 3:
            killed.append(True)
            kill()

    return progress


# Who computes changes nothing


def test_dask_gives_the_same_dataset(sweep: Sweep, expected: Path, dask: object, tmp_path: Path) -> None:
    """Two workers of a Dask cluster and one process give the same files, byte for byte."""
    with cluster(dask.scheduler_address) as crew:  # type: ignore[attr-defined]
        assert crew.workers == 2
        ran = run_sweep(sweep, tmp_path / "out", crew)
    assert ran.found_before == 0
    assert contents(tmp_path / "out") == contents(expected)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_dask_worker_loses_nothing(sweep: Sweep, expected: Path, dask: object, tmp_path: Path) -> None:
    """A worker that is killed in mid-sweep is replaced, its blocks are computed again, the dataset is the same."""
    from distributed import Client

    with Client(dask.scheduler_address, set_as_default=False) as client:  # type: ignore[attr-defined]
        victim = next(iter(client.run(os.getpid).values()))
    with cluster(dask.scheduler_address) as crew:  # type: ignore[attr-defined]
        run_sweep(sweep, tmp_path / "out", crew, once(lambda: os.kill(victim, signal.SIGKILL)))
    assert not psutil.pid_exists(victim) or psutil.Process(victim).status() == psutil.STATUS_ZOMBIE
    assert contents(tmp_path / "out") == contents(expected)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_process_loses_nothing(sweep: Sweep, expected: Path, tmp_path: Path) -> None:
    """The same holds for the processes of this machine: a pool that lost one goes on with new ones."""

    def kill() -> None:
        children = psutil.Process().children()
        next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()

    with processes(2) as crew:
        run_sweep(sweep, tmp_path / "out", crew, once(kill))
    assert contents(tmp_path / "out") == contents(expected)


def test_a_scheduler_that_is_not_there_is_one_error(sweep: Sweep, tmp_path: Path, unused_port: int) -> None:
    """An address where nobody listens is told as such, and no folder is made."""
    pytest.importorskip("distributed")
    with pytest.raises(RunError, match="no Dask scheduler answers"), cluster(f"tcp://127.0.0.1:{unused_port}") as crew:
        run_sweep(sweep, tmp_path / "out", crew)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def unused_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port of loopback on which nobody listens, and a client that does not wait long for it."""
    import socket

    monkeypatch.setattr("node0lib.shell.sweep_workers._CONNECT_S", 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The program


def _begun(file: Path, out: Path) -> subprocess.Popen[str]:
    """Start the program, and return when some parts are finished."""
    words = [*PROGRAM, "--sweep", str(file), "--out", str(out), "--workers", "2"]
    ran = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while len(list(out.glob("part-*"))) < 2:
        assert ran.poll() is None and time.monotonic() < until, ran.communicate()
        time.sleep(0.01)
    return ran


def _finished(file: Path, out: Path) -> dict[str, object]:
    """Run the program to its end, and return what it tells."""
    words = [*PROGRAM, "--sweep", str(file), "--out", str(out), "--workers", "1", "--output", "json"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_sweep_goes_on_where_it_stopped(file: Path, expected: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-sweep leaves whole parts and no orphans; the same command finishes the same dataset."""
    with _begun(file, tmp_path / "out") as ran:
        workers = psutil.Process(ran.pid).children(recursive=True)
        ran.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert workers and not alive
    told = _finished(file, tmp_path / "out")
    assert 2 <= int(str(told["parts_found_before"])) < PARTS
    assert contents(tmp_path / "out") == contents(expected)


@pytest.mark.skipif(os.name != "posix", reason="SIGINT cannot be sent to one process on Windows")
def test_an_interrupted_sweep_keeps_what_is_finished(file: Path, expected: Path, tmp_path: Path) -> None:
    """Ctrl-C ends the program with 130 and one line; what is finished stays, and is not computed again."""
    with _begun(file, tmp_path / "out") as ran:
        for process in (psutil.Process(ran.pid), *psutil.Process(ran.pid).children(recursive=True)):
            process.send_signal(signal.SIGINT)  # as a terminal does: to all of them
        _, stderr = ran.communicate(timeout=60)
    assert ran.returncode == 130
    lines = [line for line in stderr.splitlines() if not line.startswith("...")]
    assert len(lines) == 1 and "what is finished is kept" in lines[0]
    kept = contents(tmp_path / "out")
    assert 3 <= len(kept) < PARTS + 1 and kept.items() <= contents(expected).items()


def _namespace() -> list[str]:
    """Return the command prefix under which this user may mount privately, [] if there is none."""
    for prefix in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        if shutil.which(prefix[0]) is None:
            return []
        tried = subprocess.run([*prefix, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
        if tried.returncode == 0:
            return prefix
    return []


@pytest.mark.skipif(os.name != "posix", reason="mounts are POSIX's")
def test_a_full_disk_keeps_what_is_finished(file: Path, expected: Path, tmp_path: Path) -> None:
    """A disk that is full in mid-sweep is one clear error; with room again the same command finishes the dataset."""
    if not (prefix := _namespace()):
        pytest.skip("needs unshare with the right to mount")
    page = os.sysconf("SC_PAGE_SIZE")
    kept = [expected / "_sweep.json", *sorted(expected.glob("part-*"))[:4]]
    room = sum(-(-path.stat().st_size // page) for path in kept) + 1
    burn = f'{sys.executable} -c "{PROGRAM[2]}" burn --sweep {file} --out full --workers 1'
    script = (
        f"set -e; mkdir full; mount -t tmpfs -o size={room * page} tmpfs full; code=0; {burn} || code=$?;"
        " ls -A full >listed; mount -o remount,size=16m full;"
        f" {burn} --output json >told; cp -a full kept; exit $code"
    )
    ran = subprocess.run([*prefix, "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240,
                         check=False)  # fmt: skip
    errors = [line for line in ran.stderr.splitlines() if not line.startswith("...")]
    assert ran.returncode == 1 and len(errors) == 1, ran.stderr
    assert os.strerror(errno.ENOSPC) in errors[0] and f"4 of {PARTS} parts are finished and kept" in errors[0]
    listed = (tmp_path / "listed").read_text("utf-8").split()
    assert sorted(listed) == [".sweep.lock", "_sweep.json", *(f"part-{n:06d}.parquet" for n in range(4))]
    assert json.loads((tmp_path / "told").read_text("utf-8"))["parts_found_before"] == 4
    assert contents(tmp_path / "kept") == contents(expected)


def test_the_program_tells_what_it_did(file: Path, expected: Path, sweep: Sweep) -> None:
    """A sweep that is finished is read back: the summary is that of the run that made it."""
    with alone() as crew:
        ran: Ran = run_sweep(sweep, expected, crew)
    told = _finished(file, expected)
    assert told["parts_found_before"] == ran.found_before == PARTS and told["months_simulated_now"] == 0
    assert [line["policy"] for line in told["summary"]] == list(sweep.policies)  # type: ignore[attr-defined]
