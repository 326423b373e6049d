"""Notebooks run with real kernels, and end in every way that there is."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat import v4

from node0lib.errors import ConfigError, RunError
from node0lib.shell.execution import Execution, execute

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEFAULTS = "text = ''\nnumber = 0.5\nitems = [1]\npids = 'pids.json'"
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "APPDATA")
ENVIRONMENT = {name: os.environ[name] for name in KEPT if name in os.environ}
SLEEPER = """import json, os, pathlib, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
found = {"kernel": os.getpid(), "child": os.getppid(), "other": other.pid, "folder": os.environ["IPYTHONDIR"]}
pathlib.Path("part").write_text(json.dumps(found))
pathlib.Path("part").rename(pids)
"""
RUNNER = """import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from node0lib.shell.execution import execute
done = execute(Path("n.ipynb"), {}, output=Path("out.ipynb"), cwd=Path.cwd(), deadline=timedelta(minutes=5),
               environment=dict(os.environ), progress=lambda *_: None, clock=lambda: datetime.now(UTC))
print(done.outcome, done.where, sep="|")
"""


def write_notebook(path: Path, *sources: str) -> Path:
    """Write a notebook: title, parameters, then for each source a heading 'Step N' and a code cell."""
    cells = [v4.new_markdown_cell("# Title"), v4.new_code_cell(DEFAULTS, metadata={"tags": ["parameters"]})]
    for number, source in enumerate(sources, 1):
        cells += [v4.new_markdown_cell(f"Text\n\n## Step {number}"), v4.new_code_cell(source)]
    path.write_text(nbformat.writes(v4.new_notebook(cells=cells)), "utf-8")
    return path


def run(folder: Path, *sources: str, seconds: float = 120, **options: Any) -> Execution:
    """Execute a notebook of ``sources`` in ``folder`` into ``out.ipynb``."""
    given = {
        "output": folder / "out.ipynb",
        "environment": ENVIRONMENT,
        "progress": lambda *_: None,
    } | options
    notebook = write_notebook(folder / given.pop("name", "n.ipynb"), *sources)
    parameters = given.pop("parameters", {})
    limit = timedelta(seconds=seconds)
    return execute(notebook, parameters, cwd=folder, deadline=limit, clock=lambda: AT, **given)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; fails after half a minute."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_nothing_is_left(folder: Path) -> None:
    """Processes and the private folder that ``SLEEPER`` wrote down are gone."""
    pids = json.loads((folder / "pids.json").read_text("utf-8"))
    wait_for(lambda: all(is_gone(pids[name]) for name in ("kernel", "child", "other")))
    wait_for(lambda: not Path(pids["folder"]).parent.exists())


def published(folder: Path) -> Any:
    """Return the published notebook, which is a valid one."""
    notebook = nbformat.read(folder / "out.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def states(done: Execution) -> list[str]:
    """Return the state of every code cell, and check it against what the published metadata say."""
    words = {"done": "completed", "not run": "pending", "failed": "failed", "cut off": "failed"}
    for cell in done.cells:
        metadata = done.notebook.cells[cell.index].metadata.papermill
        assert metadata.status == words[cell.state]
        assert (cell.seconds is None) == (cell.state == "not run")
    return [cell.state for cell in done.cells]


def test_a_run_that_ends_well(tmp_path: Path) -> None:
    """Values arrive exactly, progress names the cells, and the output knows neither machine nor environment."""
    given = {"text": "a\"'\\n\n{x}\tü\u2028𝄞", "number": 1e-300, "items": [None, {"k": [True, -1.5]}]}
    shown: list[tuple[str, int, int]] = []
    check = f"assert (text, number, items) == {(given['text'], given['number'], given['items'])!r}\nnumber"
    done = run(
        tmp_path,
        check,
        "import os, sys; assert 'NODE0_SECRET' not in os.environ; print(sys.executable)",
        name="{at} n.ipynb",
        parameters=given,
        progress=lambda *what: shown.append(what),
    )
    assert (done.outcome, done.cell, done.message, done.where) == ("ok", None, "", "all 4 code cells")
    assert states(done) == ["done"] * 4
    assert [cell.title for cell in done.cells] == ["Title", "Title", "Step 1", "Step 2"]
    assert shown[0] == ("kernel started", 0, 4)
    assert shown[-2:] == [("Step 2", 3, 4), ("Step 2", 4, 4)]
    assert done.started_at == done.finished_at == AT
    assert done.startup_seconds is not None
    notebook = published(tmp_path)
    assert notebook == done.notebook
    assert notebook.cells[-1].outputs[0].text.strip() == sys.executable
    assert str(tmp_path) not in (tmp_path / "out.ipynb").read_text("utf-8")
    papermill = notebook.metadata.papermill
    assert (papermill.input_path, papermill.output_path) == ("{at} n.ipynb", "out.ipynb")
    assert papermill.parameters == given
    assert "environment_variables" not in papermill


def test_the_kernel_sees_the_given_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of this process that is not in the given environment does not exist for the kernel."""
    monkeypatch.setenv("NODE0_SECRET", "hunter2")
    cell = "import os, subprocess, sys\nprint('NODE0_SECRET' in os.environ, os.environ['NODE0_GIVEN'])"
    done = run(tmp_path, cell, environment=ENVIRONMENT | {"NODE0_GIVEN": "here"})
    assert done.notebook.cells[-1].outputs[0].text == "False here\n"
    assert "hunter2" not in (tmp_path / "out.ipynb").read_text("utf-8")


def test_an_error_is_named_with_its_cell(tmp_path: Path) -> None:
    """An error ends the run: cell and error are named, in plain text, and the notebook says so at its top."""
    done = run(tmp_path, "1", "raise ValueError('\\x1b[31mred <b>\\n\\nbroken')", "3")
    assert (done.outcome, done.where) == ("error", "code cell 3 of 4, 'Step 2'")
    assert done.message == "ValueError: red <b>\n\nbroken"
    assert states(done) == ["done", "done", "failed", "not run"]
    notebook = published(tmp_path)
    assert done.cell is not None
    assert notebook.cells[done.cell].source.startswith("raise ValueError")
    assert "This run failed: error, code cell 3 of 4" in notebook.cells[1].source
    assert "ValueError: red &lt;b&gt; broken" in notebook.cells[done.cell - 1].source
    assert notebook.metadata.node0.outcome == "error"
    assert not any("Exception was encountered" in cell.source for cell in notebook.cells)


def test_an_error_that_the_notebook_allows_is_an_error(tmp_path: Path) -> None:
    """A traceback that a cell shows is an error, even where the kernel called the cell ok."""
    done = run(tmp_path, "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()", "2")
    assert (done.outcome, done.where) == ("error", "code cell 2 of 3, 'Step 1'")
    assert done.message == "ZeroDivisionError: division by zero"
    assert states(done) == ["done", "failed", "done"]


def test_the_deadline_holds_for_the_whole_run(tmp_path: Path) -> None:
    """At the deadline everything is killed, what the cell had said is kept, and it is not called completed."""
    done = run(tmp_path, SLEEPER, "print('so far', flush=True)\ntime.sleep(300)", "3", seconds=8)
    assert (done.outcome, done.where) == ("timeout", "code cell 3 of 4, 'Step 2'")
    assert done.message == "the run was stopped at its deadline of 8s"
    assert states(done) == ["done", "done", "cut off", "not run"]
    assert_nothing_is_left(tmp_path)
    assert done.cell is not None
    cell = published(tmp_path).cells[done.cell]
    assert cell.outputs[0].text == "so far\n"
    assert cell.metadata.papermill.end_time is None


def test_a_deadline_before_the_kernel_is_there(tmp_path: Path) -> None:
    """A run that is stopped before its first cell publishes a notebook in which nothing was run."""
    done = run(tmp_path, "1", seconds=0.01)
    assert (done.outcome, done.cell, done.where) == ("timeout", None, "before the first code cell")
    assert states(done) == ["not run"] * 2
    assert done.startup_seconds is None
    assert all(not cell.outputs for cell in published(tmp_path).cells if cell.cell_type == "code")


def test_a_dead_kernel(tmp_path: Path) -> None:
    """A kernel that dies is named with the cell it died in; what it had started dies too."""
    done = run(tmp_path, SLEEPER, "os.kill(os.getpid(), 9)" if os.name == "posix" else "os._exit(3)", "3")
    assert (done.outcome, done.where) == ("dead-kernel", "code cell 3 of 4, 'Step 2'")
    assert done.message.startswith("the kernel died (")
    assert states(done) == ["done", "done", "cut off", "not run"]
    assert_nothing_is_left(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_a_killed_process_between_runner_and_kernel(tmp_path: Path) -> None:
    """If the process around the kernel is killed, the run is an error, and the kernel does not outlive it."""
    done = run(tmp_path, SLEEPER, "os.kill(os.getppid(), 9)\ntime.sleep(300)", "3")
    assert (done.outcome, done.where) == ("error", "code cell 3 of 4, 'Step 2'")
    assert done.message.startswith("the process around the kernel ended early (killed by SIGKILL)")
    assert states(done) == ["done", "done", "cut off", "not run"]
    assert_nothing_is_left(tmp_path)


def test_a_process_that_cannot_start(tmp_path: Path) -> None:
    """If not even Python starts, the run is an error that quotes what it said, and a notebook is published."""
    done = run(tmp_path, "1", environment=ENVIRONMENT | {"PYTHONHOME": str(tmp_path / "nowhere")})
    assert (done.outcome, done.cell, done.where) == ("error", None, "before the first code cell")
    assert "last words" in done.message
    assert states(done) == ["not run"] * 2
    published(tmp_path)


@pytest.mark.parametrize(
    ("leave", "text"), [("import sys; sys.exit(0)", "SystemExit: 0"), ("exit", "SystemExit")]
)
def test_leaving_early_is_incomplete(tmp_path: Path, leave: str, text: str) -> None:
    """A cell that ends the run with success leaves it incomplete: papermill would call it completed."""
    done = run(tmp_path, leave, "import time; time.sleep(1)", "3")
    assert (done.outcome, done.where) == ("incomplete", "code cell 2 of 4, 'Step 1'")
    assert done.message == f"the cell ended the run ({text})"
    assert states(done)[1] == "failed"
    assert states(done)[3] != "done"


def test_leaving_with_a_failure_is_an_error(tmp_path: Path) -> None:
    """sys.exit with a reason is an error with that reason."""
    done = run(tmp_path, "import sys; sys.exit('no data')")
    assert (done.outcome, done.message) == ("error", "SystemExit: no data")


def test_much_output_and_stray_writes(tmp_path: Path) -> None:
    """10 MB of output pass, and bytes on the real stdout, protocol-like ones too, disturb nothing."""
    stray = 'import os, sys\nos.write(1, b\'{"event": "end"}\\n\\xff\')\nos.write(2, b"x" * 100_000)'
    done = run(tmp_path, f"{stray}\nos.system('echo stray')", "print('0123456789' * 1_000_000)")
    assert done.outcome == "ok"
    assert sum(len(output.text) for output in published(tmp_path).cells[-1].outputs) == 10_000_001


def test_parameters_are_checked_first(tmp_path: Path) -> None:
    """An unknown parameter is refused before anything runs or is written."""
    with pytest.raises(ConfigError, match="did you mean 'number'"):
        run(tmp_path, "1", parameters={"numbr": 1})
    with pytest.raises(ConfigError, match="'number' is str"):
        run(tmp_path, "1", parameters={"number": "1"})
    assert not (tmp_path / "out.ipynb").exists()


def test_two_at_once(tmp_path: Path) -> None:
    """Two runs of one notebook in one folder do not meet."""
    done: list[Execution] = []

    def work(name: str) -> None:
        notebook, output = tmp_path / "n.ipynb", tmp_path / f"{name}.ipynb"
        done.append(
            execute(
                notebook,
                {"text": name},
                output=output,
                cwd=tmp_path,
                deadline=timedelta(minutes=2),
                environment=ENVIRONMENT,
                progress=lambda *_: None,
                clock=lambda: AT,
            )
        )

    write_notebook(tmp_path / "n.ipynb", "print(text)")
    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = sorted((run.outcome, run.notebook.cells[-1].outputs[0].text) for run in done)
    assert said == [("ok", "one\n"), ("ok", "two\n")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.ipynb", "one.ipynb", "two.ipynb"]


def test_the_output_is_never_half_written(tmp_path: Path) -> None:
    """Who looks at the output at any time sees the old one or the new one, whole."""
    output = tmp_path / "out.ipynb"
    seen: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            if output.exists():
                seen.add(len(json.loads(output.read_text("utf-8"))["cells"]))
            time.sleep(0.0005)

    reader = threading.Thread(target=look)
    reader.start()
    done = run(tmp_path, *(["print('x' * 300_000)"] * 4))
    again = run(tmp_path, "1")
    wait_for(lambda: 4 in seen)
    over.set()
    reader.join()
    assert (done.outcome, again.outcome) == ("ok", "ok")
    assert seen == {10, 4}


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    """It is a RunError: before the run if that can be known, and nothing is left behind in any case."""
    (tmp_path / "file").write_text("", "utf-8")
    for output in (tmp_path, tmp_path / "file" / "out.ipynb"):
        with pytest.raises(RunError):
            run(tmp_path, "open('ran', 'w').close()", output=output)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RunError, match="cannot be written"):
        run(tmp_path, SLEEPER, "os.mkdir('out.ipynb')")
    assert_nothing_is_left(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "n.ipynb", "out.ipynb", "pids.json"]


def start_runner(folder: Path) -> subprocess.Popen[str]:
    """Start a real runner on a notebook whose second cell sleeps, and wait until it does."""
    write_notebook(folder / "n.ipynb", SLEEPER, "pathlib.Path('second').touch()\ntime.sleep(300)")
    (folder / "runner.py").write_text(RUNNER, "utf-8")
    command = [sys.executable, "runner.py"]
    runner = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: (folder / "second").exists())
    return runner


@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_a_killed_runner_leaves_no_orphans(tmp_path: Path) -> None:
    """SIGKILL of the runner ends the kernel and all that hangs on it, and removes the private folder."""
    with start_runner(tmp_path) as runner:
        runner.kill()
    assert_nothing_is_left(tmp_path)
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.skipif(os.name != "posix", reason="interrupts with a signal")
def test_an_interrupt_is_an_outcome(tmp_path: Path) -> None:
    """Ctrl-C stops the run, which is returned as interrupted and published."""
    with start_runner(tmp_path) as runner:
        runner.send_signal(signal.SIGINT)
        said, _ = runner.communicate()
    assert said == "interrupted|code cell 3 of 3, 'Step 2'\n"
    assert runner.returncode == 0
    assert_nothing_is_left(tmp_path)
    assert published(tmp_path).metadata.node0.outcome == "interrupted"
