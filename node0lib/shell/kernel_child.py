"""The process between the runner and the kernel: ``python -m node0lib.shell.kernel_child``.

It runs one notebook with papermill and reports; it judges nothing. The protocol:

- stdin, first line: the request, a JSON object (see ``Request``). stdin then stays open as a life line: at
  its end the runner is gone, so the kernel is killed, the folder removed, and this process ends.
- stdout: one JSON object a line, in this order:
  ``kernel`` (pid), ``ready`` (total), for every code cell ``cell`` (index, number, total, title) and
  ``reply`` (the same and status, ename, evalue), and ``end`` (exception, message, kernel_died, kernel_exit).
  Whatever else writes to the real stdout, here or in the kernel, goes to stderr instead.
- exit code: 0 if papermill returned, 1 if it raised.

The kernel runs this interpreter, whatever kernelspecs are installed, and reads nobody's start-up files.

>>> Request.parse(b'{"notebook": "a.ipynb", "partial": "p.ipynb", "parameters": {}, "folder": "f",'
...               b' "socket": null, "patience": 60}').partial
'p.ipynb'
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import psutil

from node0lib.shell.settle import SKIPPED_TAG, cell_title, code_cells

if TYPE_CHECKING:
    from nbformat import NotebookNode

# Importing these costs half of the start-up, and their importers do without them: the first builds a grammar
# for a format checker that no notebook needs, the other is there for papermill's access to Hadoop.
_UNNEEDED = ("rfc3987_syntax", "pyarrow")
# nbclient takes outputs that come this many seconds after their cell for lost; the deadline rules instead.
_OUTPUT_PATIENCE_S = 3600
_KERNEL_COMMAND = [
    sys.executable,
    "-Xfrozen_modules=off",
    "-m",
    "ipykernel_launcher",
    "-f",
    "{connection_file}",
    "--IPKernelApp.exec_PYTHONSTARTUP=False",
]


@dataclass(frozen=True)
class Request:
    """What to run: paths as text, ``socket`` None for TCP, ``patience`` seconds for the kernel to start."""

    notebook: str
    partial: str
    parameters: Mapping[str, Any]
    folder: str
    socket: str | None
    patience: int

    @classmethod
    def parse(cls, line: bytes) -> Request:
        """Return the request in one line of JSON; raises ValueError or TypeError if it is none."""
        return cls(**json.loads(line))

    def line(self) -> bytes:
        """Return the request as one line of JSON, the inverse of ``parse``."""
        return json.dumps(vars(self)).encode("ascii") + b"\n"


class Report:
    """The events on their way to the runner, on a copy of stdout that nobody else can reach.

    As a context it sends ``end`` with the exception that ended the run, if any; ``code`` is then 1.
    """

    def __init__(self) -> None:
        self._lines: IO[str] = os.fdopen(os.dup(1), "w", encoding="ascii")
        os.dup2(2, 1)
        self.code = 0
        self.kernel: Any = None

    def send(self, event: str, **content: object) -> None:
        """Send one event; raises OSError if the runner is gone."""
        self._lines.write(json.dumps({"event": event, **content}) + "\n")
        self._lines.flush()

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        died = self.kernel is not None and self.kernel.died
        self.send(
            "end",
            exception=kind.__name__ if kind else None,
            message=str(error)[:2000] if error else "",
            kernel_died=died,
            kernel_exit=self.kernel.process.returncode if died else None,
        )
        self.code = 1 if error else 0
        return isinstance(error, Exception)


def main() -> int:
    """Serve one request from stdin; returns the exit code."""
    stdin = os.fdopen(0, "rb", buffering=0, closefd=False)
    request = Request.parse(stdin.readline())
    threading.Thread(target=_hold_life_line, args=(stdin, request.folder), daemon=True).start()
    with Report() as report:
        _run(request, report)
    return report.code


def _hold_life_line(stdin: IO[bytes], folder: str) -> None:
    """Wait for the end of stdin, then leave nothing behind: no kernel, no folder, no process."""
    while stdin.read(1):
        pass
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _run(request: Request, report: Report) -> None:
    for name in _UNNEEDED:
        sys.modules[name] = None  # type: ignore[assignment]  # their import is an ImportError now
    import logging

    from papermill.execute import execute_notebook
    from traitlets.config import Config

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would say is in the events
    _save_whole(request.folder)
    os.environ["IPYTHONDIR"] = str(Path(request.folder, "ipython"))
    connection = {"connection_file": str(Path(request.folder, "kernel.json"))}
    transport = {"transport": "ipc", "ip": request.socket} if request.socket else {}
    execute_notebook(
        _literal_path(request.notebook),
        _literal_path(request.partial),
        dict(request.parameters),
        kernel_name="python3",
        language="python",
        progress_bar=False,
        start_timeout=request.patience,
        force_raise_errors=True,
        skip_cells_with_tag=SKIPPED_TAG,
        iopub_timeout=_OUTPUT_PATIENCE_S,
        kernel_manager_class=_kernel_class(report),
        config=Config({"KernelManager": connection | transport}),
        **_hooks(report),
    )


def _literal_path(path: str) -> str:
    """Escape a path for papermill, which sends every path through ``str.format``."""
    return path.replace("{", "{{").replace("}", "}}")


def _save_whole(folder: str) -> None:
    """Let papermill replace files in ``folder`` instead of truncating them: it saves before every cell."""
    from papermill.iorw import LocalHandler, papermill_io

    class WholeFiles(LocalHandler):  # type: ignore[misc]
        def write(self, text: str, path: str) -> None:
            part = Path(f"{path}.part")
            part.write_text(text, "utf-8", errors="backslashreplace")
            part.replace(path)

    papermill_io.register(folder, WholeFiles())


def _kernel_class(report: Report) -> type:
    """Return a kernel manager that starts this interpreter and knows whether the kernel died by itself."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):  # type: ignore[misc]
        process: Any = None
        stopping = False

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=_KERNEL_COMMAND, display_name="Python 3", language="python")

        @property
        def died(self) -> bool:
            return self.process is not None and not self.stopping and self.process.poll() is not None

        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(**options)
            self.process = self.provisioner.process
            report.kernel = self
            report.send("kernel", pid=self.process.pid)

        async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
            self.stopping = self.process.poll() is None
            await super().shutdown_kernel(now=now, restart=restart)

    return Kernel


def _hooks(report: Report) -> dict[str, Any]:
    """Return nbclient's hooks that turn its progress into events."""
    names: dict[int, dict[str, Any]] = {}

    def on_notebook_start(notebook: NotebookNode) -> None:
        cells = code_cells(notebook)
        for number, index in enumerate(cells, 1):
            title = cell_title(notebook, index)
            names[index] = {"index": index, "number": number, "total": len(cells), "title": title}
        report.send("ready", total=len(cells))

    def on_cell_execute(cell: NotebookNode, cell_index: int) -> None:
        report.send("cell", **names[cell_index])

    def on_cell_executed(cell: NotebookNode, cell_index: int, execute_reply: Mapping[str, Any]) -> None:
        content = execute_reply["content"]
        status, ename, evalue = content["status"], content.get("ename", ""), content.get("evalue", "")
        # ``exit`` in a notebook replies ok and ends the kernel a little later.
        if any(item.get("source") == "ask_exit" for item in content.get("payload", [])):
            status, ename, evalue = "error", "SystemExit", ""
        report.send("reply", **names[cell_index], status=status, ename=ename, evalue=evalue[:2000])

    return {
        "on_notebook_start": on_notebook_start,
        "on_cell_execute": on_cell_execute,
        "on_cell_executed": on_cell_executed,
    }


if __name__ == "__main__":
    sys.exit(main())
