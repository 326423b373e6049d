"""Execute the committed notebooks again and store their outputs: ``python tests/notebooks/refresh.py``.

Run it from the repository root after a change that alters what a notebook shows, and read the difference. What is
stored depends on the code and the parameters only: no times, no machine, no versions.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
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
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
    return str(nbformat.writes(notebook)) + "\n"


def main() -> None:
    """Refresh every notebook of the repository."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        path.write_text(stored(executed(path)), encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    main()
