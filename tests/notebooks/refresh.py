"""Execute the committed notebooks again and store their outputs: ``python tests/notebooks/refresh.py [NAME ...]``.

Run it from the repository root after a change that alters what a notebook shows, and read the difference. Names (parts
of them do) choose notebooks. What is stored depends on the code and the parameters only: no times, no machine, no
versions; and of a widget only its text, since its model dies with the kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path) -> NotebookNode:
    """Return the notebook as a fresh kernel leaves it that runs in the notebook's own folder, as JupyterLab's does."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where, record_timing=False).execute()
    return notebook


def stored(notebook: NotebookNode) -> str:
    """Return the notebook's text without anything but cells, tags, counts and outputs."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
    return str(nbformat.writes(notebook)) + "\n"


def chosen(names: Sequence[str]) -> list[Path]:
    """Return the notebooks whose names contain one of ``names``; all of them without any."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    found = [path for path in paths if not names or any(name in path.name for name in names)]
    if not found:
        sys.exit(f"there is no notebook like {', '.join(names)}; known are {', '.join(path.name for path in paths)}")
    return found


def main() -> None:
    """Refresh the notebooks that the command line names."""
    for path in chosen(sys.argv[1:]):
        path.write_text(stored(executed(path)), encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    main()
