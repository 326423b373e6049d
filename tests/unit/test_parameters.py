"""What a notebook may be given, and what its parameters cell may say."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from node0lib.errors import ConfigError
from node0lib.shell.execution import check_parameters

CELL = """# What this run is about
config: str = "configs/node0.yaml"
at: str | None = None
hours = 24
share: float = 0.05
fast = True
labels: dict[str, str] = {"team": "sre"}
stages = [5, 25]
anything = None
"""


def write_notebook(path: Path, *sources: str, tags: list[str] | None = None) -> Path:
    """Write a notebook of format 4 whose code cells all have ``tags`` (by default: parameters)."""
    metadata = {"tags": ["parameters"] if tags is None else tags}
    cells = [
        {"cell_type": "code", "metadata": metadata, "outputs": [], "execution_count": None, "source": source}
        for source in sources
    ]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}), "utf-8")
    return path


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"config": "a.yaml", "at": "2026-11-24T12:00:00Z", "hours": 1, "share": 0.5, "fast": False},
        {"share": 1, "labels": {}, "stages": [1, [2, {"deep": None}]]},
        {"at": None, "anything": {"a": [True, None, 1.5, "ä\n\"'{x}\\"]}},
    ],
)
def test_what_fits_passes(tmp_path: Path, given: dict[str, Any]) -> None:
    """Values of the declared kinds pass; an int is a float, and a bare None takes anything."""
    check_parameters(write_notebook(tmp_path / "n.ipynb", CELL), given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"confg": "x"}, "'confg' does not exist, did you mean 'config'"),
        ({"zzz": 1}, "'zzz' does not exist. The notebook's parameters are: anything, at, config"),
        ({"config": None}, "'config' is None, the notebook takes str"),
        ({"at": 3}, "'at' is int, the notebook takes str or None"),
        ({"hours": "24"}, "'hours' is str, the notebook takes int"),
        ({"hours": 1.0}, "'hours' is float, the notebook takes int"),
        ({"hours": True}, "'hours' is bool, the notebook takes int"),
        ({"share": float("inf")}, "'share' is inf; JSON has finite numbers only"),
        ({"share": float("nan")}, "finite"),
        ({"stages": (5, 25)}, "'stages' holds a tuple"),
        ({"stages": [Path("x")]}, "'stages' holds a "),
        ({"anything": Decimal(1)}, "holds a Decimal"),
        ({"labels": {1: "a"}}, "a key that is not a str"),
        ({"anything": {"a": [float("-inf")]}}, "finite"),
        ({"config": "\ud800"}, "lone surrogate"),
        (
            {"hours": "1", "nope": 2},
            "'hours' is str, the notebook takes int; parameter 'nope' does not exist",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    """A parameter that is unknown, of another kind, or no JSON is refused; all of them at once."""
    notebook = write_notebook(tmp_path / "n.ipynb", CELL)
    with pytest.raises(ConfigError) as caught:
        check_parameters(notebook, given)
    assert says in str(caught.value)
    assert str(notebook) in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("hours = 12 * 2", "the default of 'hours' is computed (12 * 2)"),
        ("at = now()", "computed"),
        ("name = f'{1}'", "computed"),
        ("import os", "move this to another cell: import os"),
        ("a = b = 1", "move this to another cell"),
        ("a, b = 1, 2", "move this to another cell"),
        ("a: int", "move this to another cell"),
        ("a = 1\na = 2", "assigned twice"),
        ("a = (1, 2)", "holds a tuple"),
        ("a = {1, 2}", "holds a set"),
        ("a = 1e999", "finite"),
        ("a: int = 'x'", "the default of 'a' is str, its annotation says int"),
        ("a = \n", "line 1 of the parameters cell is not Python"),
        ("%time a = 1", "not Python"),
    ],
)
def test_only_literals_are_defaults(tmp_path: Path, cell: str, says: str) -> None:
    """A parameters cell that computes, imports or does not say one thing is refused, and never run."""
    with pytest.raises(ConfigError) as caught:
        check_parameters(write_notebook(tmp_path / "n.ipynb", cell), {})
    assert says in str(caught.value)


def test_an_annotation_that_is_not_understood_leaves_the_default_to_decide(tmp_path: Path) -> None:
    """An unknown annotation is no error; the type of the default decides."""
    notebook = write_notebook(tmp_path / "n.ipynb", "mode: Literal['a', 'b'] = 'a'")
    check_parameters(notebook, {"mode": "b"})
    with pytest.raises(ConfigError, match="takes str"):
        check_parameters(notebook, {"mode": 1})


def test_exactly_one_cell_holds_parameters(tmp_path: Path) -> None:
    """No tagged cell, two of them, or the output of an earlier run are refused."""
    with pytest.raises(ConfigError, match="0 code cells are tagged"):
        check_parameters(write_notebook(tmp_path / "none.ipynb", "a = 1", tags=[]), {})
    with pytest.raises(ConfigError, match="2 code cells are tagged"):
        check_parameters(write_notebook(tmp_path / "two.ipynb", "a = 1", "b = 1"), {})
    with pytest.raises(ConfigError, match="run its source"):
        check_parameters(write_notebook(tmp_path / "out.ipynb", "a = 1", tags=["injected-parameters"]), {})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"nbformat": 3}', "\udcff"])
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str) -> None:
    """A file that is missing, empty, broken, of an old format or not UTF-8 is a ConfigError that names it."""
    notebook = tmp_path / "n.ipynb"
    notebook.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="not a notebook"):
        check_parameters(notebook, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        check_parameters(tmp_path / "missing.ipynb", {})
