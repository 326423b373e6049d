"""How long a cycle takes, and how much of it lies outside the notebook. Prints; asserts nothing.

    python tests/benchmarks/cycle_time.py [REPEATS]

The first run makes 30 days of history; the warm ones follow on the same installation with ``--force``. "Before" is
from the start of the process until the first code cell began, "after" from the end of the last one until the process
ended; both from the instants that the executed notebook holds.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from workspaces import make_workspace, node0


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}  {machine}")
    print(f"{'run':<12}{'wall':>8}{'before':>9}{'cells':>8}{'after':>8}   ended")
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder) / "w")
        for number in range(repeats + 1):
            print(_timed(workspace, "first" if number == 0 else f"warm {number}"))


def _timed(workspace: Path, name: str) -> str:
    began = datetime.now(UTC)
    ran = node0(workspace, "cycle", "--force", "--output", "json")
    ended = datetime.now(UTC)
    told = json.loads(ran.stdout)
    first, last = _cells(workspace / told["files"]["notebook"])
    parts = [ended - began, first - began, last - first, ended - last]
    figures = "".join(f"{p.total_seconds():>{width}.1f}" for p, width in zip(parts, (8, 9, 8, 8), strict=True))
    return f"{name:<12}{figures}   {told['status']}"


def _cells(notebook: Path) -> tuple[datetime, datetime]:
    """When the first code cell began and the last one ended."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    times = [c["metadata"]["papermill"] for c in cells if c["cell_type"] == "code"]
    instants = [(_utc(t["start_time"]), _utc(t["end_time"])) for t in times if t.get("start_time")]
    return min(i[0] for i in instants), max(i[1] for i in instants)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    main()
