"""The committed outputs are what the notebooks show: nbval executes them again and compares."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import refresh
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
RULES = Path(__file__).with_name("nbval.cfg")


def nbval(folder: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """Compare every notebook of a folder, under settings of its own: the repository's turn warnings into errors."""
    settings = scratch / "pytest.ini"
    settings.write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", str(settings), "--rootdir", str(scratch), "-p", "no:cacheprovider",
               "-q", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", "--nbval-sanitize-with", str(RULES),
               str(folder)]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600, cwd=folder)


def test_the_committed_outputs_are_reproduced(tmp_path: Path) -> None:
    """A fresh kernel shows exactly what is stored, in every cell of every notebook."""
    done = nbval(FOLDER, tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    cells = sum(c.cell_type == "code" for p in FOLDER.glob("*.ipynb") for c in nbformat.read(p, as_version=4).cells)
    assert f"{cells} passed" in done.stdout


def _replace(cell_id: str, old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        cell = next(c for c in notebook.cells if c.id == cell_id)
        for kind, text in cell.outputs[0].data.items():
            assert old in text, (kind, old)
            cell.outputs[0].data[kind] = text.replace(old, new)

    return change


def test_a_changed_output_is_found(tmp_path: Path) -> None:
    """A number that is stored differently fails in its cell, and so does the description of a figure; others pass."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(FOLDER / "production_cycle.ipynb", as_version=4)
    changes = (_replace("levels", "99.9%", "99.8%"), _replace("burndown", "it falls from 100%", "it falls from 99%"))
    changes[0](notebook)
    changes[1](notebook)
    nbformat.write(notebook, folder / "production_cycle.ipynb")
    done = nbval(folder, tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    assert f"{len(changes)} failed" in done.stdout


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda p: p.name)
def test_what_is_stored_can_be_compared_and_names_no_machine(path: Path) -> None:
    """Every code cell was run, once and in order (nbval skips others); no time, path or version is stored."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.read(path, as_version=4)
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert refresh.stored(notebook) == text
    for word in ("papermill", "iopub", "site-packages", str(ROOT), str(Path.home()) + "/"):
        assert word not in text
