"""What a lease promises by itself; with a guard and HAProxy it is tested in integration."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from node0lib.errors import ConfigError, RunError
from node0lib.shell.guard import Watch, main
from node0lib.shell.lease import ABANDONED, RELEASED, TAKEN, Duty, alive, check_name, guard_of
from node0lib.shell.targets.live_policy import Instance

HEAVY = {"pandas", "scipy", "matplotlib", "pyarrow", "numba", "pydantic"}


def _duty(folder: Path, time_to_live_s: float = 10.0) -> Duty:
    me = psutil.Process()
    stable, canary = (Instance(arm, folder / f"{arm}.json", "http://h/r", "http://h/p") for arm in ("stable", "canary"))
    where = str(folder), None, "h:1", "app", stable, canary
    return Duty("c", me.pid, me.create_time(), time_to_live_s, *where, {"cache_ttl_s": 30, "mode": "lru"})


@pytest.fixture
def watched(tmp_path: Path) -> Watch:
    """A lease that this process holds, as a guard sees it."""
    held = tmp_path / "c.lease"
    held.write_bytes(_duty(tmp_path).encoded())
    return Watch(held, _duty(tmp_path))


def test_a_duty_survives_its_file(tmp_path: Path) -> None:
    """What the guard reads is what was written; anything else is refused with its place."""
    duty = _duty(tmp_path)
    assert Duty.decoded(duty.encoded(), "x") == duty
    for broken in (b"", b"{}", b"[]", duty.encoded().replace(b'"backend"', b'"front"')):
        with pytest.raises(RunError, match="x: is no lease"):
            Duty.decoded(broken, "x")


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    """Another process with the number of a dead one is not taken for it, and neither is one not yet buried."""
    me = psutil.Process()
    assert alive(me.pid, me.create_time())
    assert not alive(me.pid, me.create_time() - 100)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        created = psutil.Process(child.pid).create_time()
        child.kill()
        while alive(child.pid, created):  # it is a zombie until it is waited for, at the end of the block
            time.sleep(0.01)
    assert not alive(child.pid, created)


def test_the_guard_keeps_still_while_the_lease_is_renewed(watched: Watch) -> None:
    """Renewals count, and not the clock: a time of modification in the past is as good as any other, once."""
    watched.duty = _duty(watched.held.parent, time_to_live_s=0.05)
    assert watched.alarm() is None
    for second in range(3):
        time.sleep(0.06)
        os.utime(watched.held, (second, second))
        assert watched.alarm() is None
    assert watched.last_seen() == datetime.fromtimestamp(2, UTC)
    time.sleep(0.06)
    assert "did not renew" in str(watched.alarm())


@pytest.mark.parametrize(
    ("state", "told"), [(RELEASED, None), (ABANDONED, "gave up in the middle"), (".elsewhere", "lease was removed")]
)
def test_how_a_lease_ended_is_told_by_its_name(watched: Watch, state: str, told: str | None) -> None:
    """Only a released lease lets the guard go; one that is simply gone is an alarm."""
    watched.held.rename(watched.held.with_suffix(state))
    why = watched.alarm()
    assert why is None if told is None else told in str(why)


def test_of_a_holder_and_a_guard_exactly_one_wins(watched: Watch) -> None:
    """What the guard has taken cannot be renewed or released; what was released cannot be taken."""
    watched.end(15, None)
    assert "told to end" in str(watched.alarm())
    assert watched.take()
    assert watched.held.with_suffix(TAKEN).exists()
    with pytest.raises(FileNotFoundError):
        os.utime(watched.held)
    watched.held.with_suffix(TAKEN).rename(watched.held.with_suffix(RELEASED))
    assert not watched.take()


def test_a_holder_that_is_gone_is_an_alarm(watched: Watch) -> None:
    """The process is looked at, so that a death is noticed before its lease runs out."""
    duty = vars(_duty(watched.held.parent)) | {"holder_created": 1.0}
    watched.duty = Duty(**duty)
    assert f"pid {os.getpid()}) is gone" in str(watched.alarm())


def test_the_guard_needs_a_lease(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without one it ends with 2 and says so."""
    assert main(["--lease", str(tmp_path / "none.lease")]) == 2
    assert "cannot be read" in capsys.readouterr().out
    assert guard_of(tmp_path / "none.lease") is None


@pytest.mark.parametrize("name", ["", ".", "../up", "a/b", "a\\b", "a b", "x" * 101])
def test_a_change_whose_name_is_no_file_name_has_no_lease(name: str) -> None:
    """No name leads out of the folder."""
    with pytest.raises(ConfigError):
        check_name(name)


def test_the_guard_starts_light() -> None:
    """The guard brings nothing along that would keep it from being there at once."""
    code = "import sys, node0lib.shell.guard; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
