"""How a run ended, settled from the events and the notebook alone."""

from typing import Any

import pytest
from nbformat import NotebookNode, v4

from node0lib.shell.settle import Ended, Reason, Trace, cell_title, code_cells, plain_text, settle

END = {"event": "end", "exception": None, "message": "", "kernel_died": False, "kernel_exit": None}
DIED = END | {"exception": "DeadKernelError", "message": "Kernel died", "kernel_died": True, "kernel_exit": 3}


def two_cells() -> NotebookNode:
    """Return a notebook with the code cells 1, 'One', and 3, 'Two'."""
    cells = [
        v4.new_markdown_cell("# One"),
        v4.new_code_cell("a"),
        v4.new_markdown_cell("## Two ##"),
        v4.new_code_cell("b"),
    ]
    return v4.new_notebook(cells=cells)


def heard(notebook: NotebookNode, *replies: str | None, end: dict[str, Any] | None = END) -> Trace:
    """Return the trace of a run whose cells were answered so; None is a cell that began and was not answered."""
    trace = Trace()
    for at, (index, status) in enumerate(zip((1, 3), replies, strict=False)):
        trace.hear({"event": "cell", "index": index}, at)
        notebook.cells[index].execution_count = at + 1  # the kernel sends it before a cell runs
        if status:
            reply = {"event": "reply", "index": index, "status": status, "ename": "E", "evalue": "why"}
            trace.hear(reply, at + 0.5)
    if end is not None:
        trace.hear(end, 9)
    return trace


@pytest.mark.parametrize(
    ("replies", "end", "reason", "code", "expected"),
    [
        (["ok", "ok"], END, "exit", 0, ("ok", None, "all 2 code cells")),
        (
            ["ok", "error"],
            END | {"exception": "PapermillExecutionError"},
            "exit",
            1,
            ("error", 3, "code cell 2 of 2, 'Two'"),
        ),
        (["ok", None], DIED, "exit", 1, ("dead-kernel", 3, "code cell 2 of 2, 'Two'")),
        (["ok"], DIED, "exit", 1, ("dead-kernel", None, "after code cell 1 of 2, 'One'")),
        (["ok", "ok"], DIED, "exit", 1, ("dead-kernel", None, "after code cell 2 of 2, 'Two'")),
        ([], DIED, "exit", 1, ("dead-kernel", None, "before the first code cell")),
        (
            ["ok", None],
            END | {"exception": "CellTimeoutError"},
            "exit",
            1,
            ("timeout", 3, "code cell 2 of 2, 'Two'"),
        ),
        (["ok", None], END | {"exception": "OSError"}, "exit", 1, ("error", 3, "code cell 2 of 2, 'Two'")),
        (["ok", "ok"], END, "exit", 7, ("error", None, "after code cell 2 of 2, 'Two'")),
        (["ok", "ok"], None, "exit", -9, ("error", None, "after code cell 2 of 2, 'Two'")),
        (["ok"], END, "exit", 0, ("incomplete", 3, "code cell 2 of 2, 'Two'")),
        (["ok", "aborted"], END, "exit", 0, ("incomplete", 3, "code cell 2 of 2, 'Two'")),
        (["ok", None], DIED, "deadline", 1, ("timeout", 3, "code cell 2 of 2, 'Two'")),
        (["ok", "ok"], None, "deadline", -9, ("timeout", None, "after code cell 2 of 2, 'Two'")),
        ([None], DIED, "interrupt", 1, ("interrupted", 1, "code cell 1 of 2, 'One'")),
    ],
)
def test_the_outcome_follows_from_what_happened(
    replies: list[str | None],
    end: dict[str, Any] | None,
    reason: Reason,
    code: int,
    expected: tuple[Any, ...],
) -> None:
    """Every way to end has its kind, its cell and its place, and only a good end has no message."""
    notebook = two_cells()
    trace = heard(notebook, *replies, end=end)
    settled = settle(notebook, trace, Ended(reason, code, 9.0, ""), "1h")
    assert (settled.kind, settled.cell, settled.where) == expected
    assert bool(settled.message) == (settled.kind != "ok")


def test_papermills_word_is_not_taken() -> None:
    """A cell that papermill calls completed is cut off if the kernel never answered for it."""
    notebook = two_cells()
    for cell in notebook.cells:
        cell.metadata["papermill"] = {"status": "completed", "exception": False}
    settled = settle(notebook, heard(notebook, "ok", None, end=DIED), Ended("exit", 1, 9.0, "boom"), "1h")
    assert [(cell.state, cell.seconds) for cell in settled.cells] == [("done", 0.5), ("cut off", 8.0)]
    assert settled.message == "the kernel died (exit code 3); last words: boom"


def test_blank_and_skipped_cells_are_not_expected_to_run() -> None:
    """Text, blank code and code tagged skip-execution do not make a run incomplete."""
    skipped = v4.new_code_cell("1", metadata={"tags": ["skip-execution"]})
    notebook = v4.new_notebook(
        cells=[v4.new_markdown_cell("x"), v4.new_code_cell(" \n"), skipped, v4.new_code_cell("2")]
    )
    assert code_cells(notebook) == [3]


def test_titles_are_headings_and_not_comments_in_code() -> None:
    """The last heading above names a cell; a comment in a fenced block is no heading; else its first line does."""
    fenced = v4.new_markdown_cell("# One\n```\n# not this\n```\ntext #nor this")
    notebook = v4.new_notebook(cells=[v4.new_code_cell("\nfirst = 1\nx"), fenced, v4.new_code_cell("y")])
    assert (cell_title(notebook, 0), cell_title(notebook, 2)) == ("first = 1", "One")


def test_messages_are_plain_and_short() -> None:
    """Colours go, and what is endless is cut."""
    assert plain_text("\x1b[1;31mred\x1b[0m\x1b[K ") == "red"
    assert len(plain_text("x" * 10_000)) == 2000
