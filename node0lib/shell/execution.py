"""Executing a notebook so that its outcome is the truth.

The promise: ``execute`` returns how the run really ended, and publishes a notebook that says the same. Rules:

- The parameters are checked first, then whether the output can be written; only then does a kernel start.
- papermill runs in a process of its own (``kernel_child``), with exactly the given environment, in a folder of
  its own that is always removed. One deadline holds for the whole run, the start of the kernel included.
- The outcome is settled here (``settle``); papermill's word on it is never taken, and is corrected.
- The output appears whole, in one step, in every outcome: what was not run has no outputs, the first thing
  that a reader of a failed run sees is that it failed, and no path of this machine is in its metadata.
- KeyboardInterrupt while the notebook runs is an outcome, not an exception.

>>> sorted(STATUS.items())
[('cut off', 'failed'), ('done', 'completed'), ('failed', 'failed'), ('not run', 'pending')]
"""

from __future__ import annotations

import html
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node0lib.errors import RunError
from node0lib.ports import Progress
from node0lib.shell.files import write_atomic
from node0lib.shell.kernel_child import Request
from node0lib.shell.kernel_process import drive
from node0lib.shell.parameters import check_parameters
from node0lib.shell.settle import CellRun, Kind, Settled, State, Trace, settle
from node0lib.timespan import format_duration

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["CellRun", "Execution", "Kind", "check_parameters", "execute"]

STATUS: Mapping[State, str] = {
    "done": "completed",
    "failed": "failed",
    "cut off": "failed",
    "not run": "pending",
}
"""What papermill's metadata say of a cell, in its own words, after they are corrected."""

_MARKER_TAG = "papermill-error-cell-tag"  # papermill removes cells with this tag before it runs a notebook
_SOCKET_PATH_BYTES = 90  # a Unix socket's path has at most 104 to 108, and a number is appended to it


@dataclass(frozen=True)
class Execution:
    """One run of a notebook.

    ``cell`` is the position in ``notebook.cells`` of the cell that decided the outcome, None if none did;
    ``where`` names it for people; ``message`` is one plain paragraph, empty if ``outcome`` is ok.
    ``cells`` has every code cell, in order. ``started_at`` and ``finished_at`` come from the caller's clock,
    ``startup_seconds`` is real time until the first cell began, None if none did. ``notebook`` is what was published.
    """

    outcome: Kind
    cell: int | None
    where: str
    message: str
    cells: tuple[CellRun, ...]
    started_at: datetime
    finished_at: datetime
    startup_seconds: float | None
    notebook: NotebookNode


def execute(
    notebook: Path,
    parameters: Mapping[str, object],
    *,
    output: Path,
    cwd: Path,
    deadline: timedelta,
    environment: Mapping[str, str],
    progress: Progress,
    clock: Callable[[], datetime],
) -> Execution:
    """Run ``notebook`` in ``cwd`` and publish what came of it at ``output``; return how it ended.

    The kernel sees ``environment`` and nothing else of this process's; secrets are the caller's to leave out.
    ``progress`` is called at every start and end of a code cell with its title, cells done, and their number.
    Raises ConfigError for parameters that do not fit the notebook, RunError if no process can be started or
    the output cannot be written. A run that fails is returned, and published, like one that does not.
    """
    check_parameters(notebook, parameters)
    _require_writable(output)
    started_at, trace = clock(), Trace()
    with _scratch() as folder:
        request = _request(notebook, parameters, folder, deadline)

        def hear(event: Mapping[str, Any], at: float) -> None:
            trace.hear(event, at)
            _show(event, progress)

        ended = drive(
            request,
            environment=environment,
            cwd=cwd,
            deadline=deadline,
            hear=hear,
            meanwhile=lambda: importlib.import_module("nbformat"),  # a second, while the kernel starts anyway
        )
        executed = _executed(Path(request.partial), notebook)
    settled = settle(executed, trace, ended, format_duration(deadline))
    settled = _make_honest(executed, settled)
    _tidy_metadata(executed, parameters, notebook, output, cwd)
    published = _publish(executed, output)
    startup = min(trace.started.values(), default=None)
    return Execution(
        outcome=settled.kind,
        cell=settled.cell,
        where=settled.where,
        message=settled.message,
        cells=settled.cells,
        started_at=started_at,
        finished_at=clock(),
        startup_seconds=startup,
        notebook=published,
    )


def _require_writable(output: Path) -> None:
    """Raise RunError before an hour of work if its output could not be published."""
    if output.is_dir():
        raise RunError(f"{output}: is a folder; name a file for the executed notebook")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise RunError(f"{output}: cannot be written ({error.strerror}); nothing was run") from error


@contextmanager
def _scratch() -> Iterator[Path]:
    """A private folder whose path is short enough for a Unix socket; removed in the end."""
    base = tempfile.gettempdir()
    if os.name == "posix" and len(os.fsencode(base)) > _SOCKET_PATH_BYTES - len("/n0-12345678/k"):
        base = "/tmp"
    with tempfile.TemporaryDirectory(prefix="n0-", dir=base, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _request(notebook: Path, parameters: Mapping[str, object], folder: Path, deadline: timedelta) -> Request:
    return Request(
        notebook=str(notebook.resolve()),
        partial=str(folder / "partial.ipynb"),
        parameters=dict(parameters),
        folder=str(folder),
        socket=str(folder / "k") if os.name == "posix" else None,
        patience=int(deadline.total_seconds()) + 60,  # the deadline comes first
    )


def _show(event: Mapping[str, Any], progress: Progress) -> None:
    """Tell the caller what a person who waits wants to know of one event."""
    match event:
        case {"event": "ready", "total": total}:
            progress("kernel started", 0, total)
        case {"event": "cell" | "reply" as what, "title": title, "number": number, "total": total}:
            progress(title, number - (what == "cell"), total)


def _executed(partial: Path, source: Path) -> NotebookNode:
    """Return the notebook as far as it was executed: nothing in it is older than this run."""
    import nbformat

    if partial.exists():
        notebook = nbformat.read(partial, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if _MARKER_TAG not in cell.metadata.get("tags", [])]
        return notebook
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _make_honest(notebook: NotebookNode, settled: Settled) -> Settled:
    """Correct what papermill's metadata say, and mark a run that failed; return ``settled`` for the result."""
    notebook.metadata["node0"] = {"outcome": settled.kind, "where": settled.where, "message": settled.message}
    notebook.metadata.setdefault("papermill", {})["exception"] = None if settled.kind == "ok" else True
    states = {run.index: run for run in settled.cells}
    reached = _reached(settled.cells)
    for index, cell in enumerate(notebook.cells):
        metadata = cell.metadata.setdefault("papermill", {})
        passed = index < reached and metadata.get("start_time")
        _correct(metadata, states.get(index) or CellRun(index, "done" if passed else "not run", None, ""))
    return settled if settled.kind == "ok" else _mark(notebook, settled)


def _reached(cells: tuple[CellRun, ...]) -> float:
    """Return the position before which text counts as passed: where the run stopped, or infinity."""
    for before, run in zip((None, *cells), cells, strict=False):
        if run.state == "not run":
            return run.index if before is None or before.state == "done" else before.index
    return float("inf")


def _correct(metadata: dict[str, Any], run: CellRun) -> None:
    metadata["status"] = STATUS[run.state]
    if run.state == "not run":
        metadata.update(exception=None, start_time=None, end_time=None, duration=None)
    elif run.state == "cut off":
        metadata.update(exception=True, end_time=None, duration=run.seconds)
    else:
        metadata["exception"] = run.state == "failed"


def _mark(notebook: NotebookNode, settled: Settled) -> Settled:
    """Say at the top that the run failed, and again where; the positions in the result count these cells."""
    top = 1 if notebook.cells and notebook.cells[0].cell_type == "markdown" else 0
    stop = settled.cell if settled.cell is not None and settled.cell > top else None
    if stop is not None:
        notebook.cells.insert(stop, _marker("stopped", "The run stopped in the next cell.", settled.message))
    summary = f"This run failed: {settled.kind}, {settled.where}."
    notebook.cells.insert(top, _marker("outcome", summary, settled.message))

    def shifted(index: int) -> int:
        return index + (index >= top) + (stop is not None and index >= stop)

    cells = tuple(replace(run, index=shifted(run.index)) for run in settled.cells)
    cell = None if settled.cell is None else shifted(settled.cell)
    return replace(settled, cell=cell, cells=cells)


def _marker(name: str, summary: str, message: str) -> NotebookNode:
    import nbformat

    # One line: a blank one would end the HTML block, and the rest of the message would be read as markdown.
    text = html.escape(" ".join(message.split()))
    source = (
        f'<div class="alert alert-danger" role="alert"><strong>{html.escape(summary)}</strong> {text}</div>'
    )
    return nbformat.v4.new_markdown_cell(source, id=f"node0-{name}", metadata={"tags": [_MARKER_TAG]})


def _tidy_metadata(
    notebook: NotebookNode, parameters: Mapping[str, object], source: Path, output: Path, cwd: Path
) -> None:
    """Keep this machine out of the metadata: paths are relative to ``cwd`` or bare names."""
    notebook.metadata.papermill.pop("environment_variables", None)
    notebook.metadata.papermill.update(
        parameters=dict(parameters), input_path=_name(source, cwd), output_path=_name(output, cwd)
    )


def _name(path: Path, cwd: Path) -> str:
    path, cwd = path.resolve(), cwd.resolve()
    return path.relative_to(cwd).as_posix() if path.is_relative_to(cwd) else path.name


def _publish(notebook: NotebookNode, output: Path) -> NotebookNode:
    """Write the notebook whole; return it as a reader will read it."""
    import nbformat

    notebook = nbformat.from_dict(notebook)
    text: str = nbformat.writes(notebook)
    # A lone surrogate in an output becomes its JSON escape.
    write_atomic(output, (text + "\n").encode("utf-8", "backslashreplace"))
    return notebook
