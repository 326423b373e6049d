"""The schedule: one job at a time, a start that falls due meanwhile waits once, and an interrupt ends it all."""

import _thread
import threading
import time
from datetime import timedelta

import pytest

from node0lib.shell.schedule import repeat

SOON, NEVER = timedelta(milliseconds=20), timedelta(days=1)


def test_the_first_run_is_at_once_and_codes_are_kept_in_order() -> None:
    """Every exit code is returned, in the order of the runs, and no run is added after the last one asked for."""
    codes = iter(range(100))
    assert repeat(lambda: next(codes), SOON, times=5) == [0, 1, 2, 3, 4]
    assert next(codes) == 5, "nothing ran that was not asked for"
    assert repeat(lambda: 7, NEVER, times=1) == [7], "the first does not wait for its interval"


def test_two_runs_never_overlap() -> None:
    """However long a run takes, the next one begins after it has ended."""
    running, most = 0, 0
    lock, pause = threading.Lock(), threading.Event()

    def job() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pause.wait(0.1)  # five intervals
        with lock:
            running -= 1
        return 0

    assert repeat(job, SOON, times=4) == [0, 0, 0, 0]
    assert most == 1


def test_starts_that_were_missed_are_not_all_made_up_for() -> None:
    """After a run of many intervals one start is waiting and the rest keep to the interval: there is no burst."""
    every, pause = timedelta(milliseconds=100), threading.Event()
    ended: list[float] = []

    def job() -> int:
        if not ended:
            pause.wait(1.0)  # nine starts fall due meanwhile
        ended.append(time.monotonic())
        return 0

    assert repeat(job, every, times=8) == [0] * 8
    # Seven more, of which two may follow at once. A slow machine only makes this longer.
    assert ended[-1] - ended[0] >= 4 * every.total_seconds()


def test_an_interrupt_stops_the_job_and_is_waited_for() -> None:
    """On Ctrl-C the running job is told to stop, and repeat returns when it has, with its exit code."""
    told, ended = threading.Event(), threading.Event()

    def job() -> int:
        told.wait(0.2)  # the schedule is waiting by now
        _thread.interrupt_main()
        assert told.wait(30)
        ended.set()
        return 130

    assert repeat(job, NEVER, stop=told.set) == [130]
    assert ended.is_set()


def test_an_interrupt_between_runs_ends_the_schedule() -> None:
    """While nothing runs there is nothing to wait for, and nothing runs afterwards."""
    stopped: list[bool] = []

    def job() -> int:
        threading.Timer(0.2, _thread.interrupt_main).start()
        return 3

    assert repeat(job, NEVER, stop=lambda: stopped.append(True)) == [3]
    assert stopped == [True]


def test_a_queued_start_does_not_run_after_an_interrupt() -> None:
    """What was due when the schedule was stopped is not begun any more."""
    told = threading.Event()
    pause = threading.Event()
    runs: list[int] = []

    def job() -> int:
        runs.append(len(runs))
        pause.wait(0.2)  # ten intervals: a start is queued by now
        _thread.interrupt_main()
        assert told.wait(30)
        return 0

    assert repeat(job, SOON, stop=told.set) == [0]
    assert runs == [0]


@pytest.mark.parametrize("codes", [[1, 5, 0], [-9, 3, 1]])
def test_a_run_that_fails_does_not_end_the_schedule(codes: list[int]) -> None:
    """A cycle that failed, was refused or was killed is followed by the next."""
    left = iter(codes)
    assert repeat(lambda: next(left), SOON, times=len(codes)) == codes


def test_a_job_that_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An error in the job itself does not vanish: it is logged, and the schedule goes on."""
    left = iter([OSError("no process could be started"), None])

    def job() -> int:
        if (error := next(left)) is not None:
            raise error
        return 0

    assert repeat(job, SOON, times=1) == [0]
    assert "no process could be started" in caplog.text
