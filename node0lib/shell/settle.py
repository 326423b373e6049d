"""How a notebook's run ended, settled from what happened and not from what papermill says.

papermill marks every cell "completed" after a timeout, a dead kernel or an interrupt, and ``sys.exit(0)`` in
a cell ends its process with 0. So its status is never read. A cell is

- ``done`` if the kernel replied ok, the notebook holds its execution count, and no output is an error;
- ``failed`` if the kernel replied otherwise or an output is an error;
- ``cut off`` if it began and neither is known: the deadline, an interrupt, a kernel that died;
- ``not run`` if it did not begin.

And the run, the first that applies: it was interrupted; its deadline passed (``timeout``); a cell failed
(``incomplete`` if by leaving with SystemExit 0, else ``error``); the kernel died (``dead-kernel``); the
process around it failed (``error``); a cell was not done (``incomplete``); ``ok``.

>>> plain_text("\\x1b[0;31mZeroDivisionError\\x1b[0m")
'ZeroDivisionError'
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nbformat import NotebookNode

Kind = Literal["ok", "error", "timeout", "dead-kernel", "incomplete", "interrupted"]
State = Literal["done", "failed", "not run", "cut off"]
Reason = Literal["exit", "deadline", "interrupt"]

SKIPPED_TAG = "skip-execution"
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*$")
_TITLE_CHARACTERS = 60
_MESSAGE_CHARACTERS = 2000


@dataclass(frozen=True)
class CellRun:
    """What became of one code cell.

    ``index`` is its position in the notebook's ``cells``; ``seconds`` is how long it ran, None if it did not;
    ``title`` is the last heading above it, or else its first line.
    """

    index: int
    state: State
    seconds: float | None
    title: str


@dataclass(frozen=True)
class Ended:
    """How the process around the kernel ended: why, after how many seconds, and its stray last words."""

    reason: Reason
    exit_code: int | None
    seconds: float
    last_words: str


@dataclass(frozen=True)
class Reply:
    """What the kernel answered for one cell: ``ok``, ``error`` or ``aborted``, and the error."""

    at: float
    status: str
    ename: str
    evalue: str


@dataclass
class Trace:
    """What was heard from the process while it ran; times are seconds since the start of the run."""

    started: dict[int, float] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)
    end: Mapping[str, Any] | None = None

    def hear(self, event: Mapping[str, Any], at: float) -> None:
        """Take note of one event of ``kernel_child``; ``at`` is when it came."""
        match event["event"]:
            case "cell":
                self.started[event["index"]] = at
            case "reply":
                self.replies[event["index"]] = Reply(at, event["status"], event["ename"], event["evalue"])
            case "end":
                self.end = event


@dataclass(frozen=True)
class Settled:
    """The outcome: its kind, the cell that decided it (a position), where, why, and every code cell."""

    kind: Kind
    cell: int | None
    where: str
    message: str
    cells: tuple[CellRun, ...]


def settle(notebook: NotebookNode, trace: Trace, ended: Ended, limit: str) -> Settled:
    """Return how the run of ``notebook`` (executed as far as it came) ended; ``limit`` names its deadline."""
    cells = tuple(_cell_run(notebook, index, trace, ended.seconds) for index in code_cells(notebook))
    kind = _kind(notebook, cells, trace, ended)
    cell = _deciding_cell(kind, cells)
    message = _message(kind, cell, notebook, trace, ended, limit)
    return Settled(kind, cell, _where(kind, cell, cells), message, cells)


def code_cells(notebook: NotebookNode) -> list[int]:
    """Return the positions of the cells that a run must execute: code, not blank, not tagged to be skipped."""
    return [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and cell.source.strip()
        and SKIPPED_TAG not in cell.metadata.get("tags", [])
    ]


def cell_title(notebook: NotebookNode, index: int) -> str:
    """Return the last heading above the cell at ``index``, or the first line of its own source."""
    for cell in reversed(notebook.cells[:index]):
        headings = _headings(cell.source) if cell.cell_type == "markdown" else []
        if headings:
            return headings[-1][:_TITLE_CHARACTERS]
    lines = notebook.cells[index].source.strip().splitlines()
    return lines[0][:_TITLE_CHARACTERS] if lines else ""


def plain_text(text: str) -> str:
    """Return ``text`` without terminal colours, cut to a length that a log can take."""
    text = _ANSI.sub("", text).strip()
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _headings(markdown: str) -> list[str]:
    found, fenced = [], False
    for line in markdown.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (match := _HEADING.match(line)):
            found.append(match[1])
    return found


def _cell_run(notebook: NotebookNode, index: int, trace: Trace, until: float) -> CellRun:
    state = _state(notebook, index, trace)
    began = trace.started.get(index)
    reply = trace.replies.get(index)
    seconds = None if began is None else (reply.at if reply else until) - began
    return CellRun(index, state, seconds, cell_title(notebook, index))


def _state(notebook: NotebookNode, index: int, trace: Trace) -> State:
    reply = trace.replies.get(index)
    if _error(notebook, index, trace) is not None:
        return "failed"
    if reply and reply.status == "ok" and notebook.cells[index].execution_count is not None:
        return "done"
    return "cut off" if index in trace.started else "not run"


def _error(notebook: NotebookNode, index: int, trace: Trace) -> tuple[str, str] | None:
    """Return the name and text of the error of a cell, from the kernel's reply or else its outputs."""
    reply = trace.replies.get(index)
    if reply and reply.status == "error":
        return reply.ename, reply.evalue
    for output in notebook.cells[index].outputs:
        if output.output_type == "error":
            return output.ename, output.evalue
    return None


def _kind(notebook: NotebookNode, cells: tuple[CellRun, ...], trace: Trace, ended: Ended) -> Kind:
    if ended.reason != "exit":
        return "interrupted" if ended.reason == "interrupt" else "timeout"
    failed = _first(cells, "failed")
    if failed is not None:
        return "incomplete" if _left(notebook, failed, trace) else "error"
    if trace.end is None:
        return "error"
    if trace.end["kernel_died"] or trace.end["exception"] == "DeadKernelError":
        return "dead-kernel"
    if trace.end["exception"] is not None:
        return "timeout" if trace.end["exception"] == "CellTimeoutError" else "error"
    if ended.exit_code:
        return "error"
    return "ok" if all(cell.state == "done" for cell in cells) else "incomplete"


def _left(notebook: NotebookNode, index: int, trace: Trace) -> bool:
    """Say whether the cell left the run as if all was well: ``sys.exit(0)``, ``exit``."""
    ename, evalue = _error(notebook, index, trace) or ("", "")
    return ename == "SystemExit" and evalue in ("", "0", "None")


def _first(cells: tuple[CellRun, ...], state: State) -> int | None:
    return next((cell.index for cell in cells if cell.state == state), None)


def _deciding_cell(kind: Kind, cells: tuple[CellRun, ...]) -> int | None:
    if kind == "ok":
        return None
    order: tuple[State, ...] = ("failed", "cut off") if kind in ("error", "incomplete") else ("cut off",)
    named = next((index for state in order if (index := _first(cells, state)) is not None), None)
    return _first(cells, "not run") if named is None and kind == "incomplete" else named


def _where(kind: Kind, cell: int | None, cells: tuple[CellRun, ...]) -> str:
    total = len(cells)
    if kind == "ok":
        return f"all {total} code cells"
    done = [number for number, run in enumerate(cells, 1) if run.state != "not run"]
    number = next((n for n, run in enumerate(cells, 1) if run.index == cell), None)
    if number is None and not done:
        return "before the first code cell"
    prefix = "" if number else "after "
    number = number or done[-1]
    return f"{prefix}code cell {number} of {total}, '{cells[number - 1].title}'"


def _message(
    kind: Kind, cell: int | None, notebook: NotebookNode, trace: Trace, ended: Ended, limit: str
) -> str:
    match kind:
        case "ok":
            return ""
        case "interrupted":
            return "the run was interrupted and stopped"
        case "timeout" if ended.reason == "deadline":
            return f"the run was stopped at its deadline of {limit}"
    error = None if cell is None else _error(notebook, cell, trace)
    if error is not None:
        text = plain_text(": ".join(filter(None, error)))
        return f"the cell ended the run ({text})" if kind == "incomplete" else text
    if kind == "incomplete":
        return "the run ended before this cell"
    return plain_text(
        "; last words: ".join(filter(None, [_process_failure(kind, trace, ended), ended.last_words]))
    )


def _process_failure(kind: Kind, trace: Trace, ended: Ended) -> str:
    if kind == "dead-kernel":
        code = trace.end["kernel_exit"] if trace.end else None
        return "the kernel died" + (f" ({_exit_text(code)})" if code is not None else "")
    if trace.end is None:
        code = ended.exit_code
        return "the process around the kernel ended early" + (
            f" ({_exit_text(code)})" if code is not None else ""
        )
    return f"{trace.end['exception']}: {trace.end['message']}"


def _exit_text(code: int) -> str:
    """Name an exit code; negative ones are signals, as ``subprocess`` reports them."""
    names = {-s.value: s.name for s in signal.Signals}
    return f"killed by {names[code]}" if code in names else f"exit code {code}"
