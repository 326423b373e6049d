"""JupyterLab on this machine only, opened at the threshold explorer.

Promises: it listens on the loopback address, every request needs a token that is made for this run, and it asks nobody
for news or newer versions. The server's settings lie in a file of their own, so the token is in no process list, and a
configuration that switches tokens off is not read; themes and shortcuts of the user's are. The server ends with us.

>>> settings_for(Path("notebooks"), 8888, "secret")["ServerApp"]["ip"]
'127.0.0.1'
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from node0lib.errors import ConfigError, RunError

EXPLORER = "04_threshold_explorer.ipynb"
LOOPBACK = "127.0.0.1"
_NEEDED = ("jupyterlab", "ipywidgets", "jupyterlab_widgets")
_LAB = (
    f"--LabApp.default_url=/lab/tree/{EXPLORER}",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)
_OVERRIDES = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
"""Without it the page would ask whether it may fetch news."""
_PATIENCE_S, _GRACE_S = 3.0, 10.0
_WARNING, _POLL_S = 30, 0.05


def serve(
    folder: Path, port: int, *, browser: bool, allow_root: bool, announce: Callable[[str], None]
) -> None:
    """Run JupyterLab on ``folder`` until it ends, or an interrupt ends it; ``port`` 0 is any free one.

    ``announce`` is told the address, token included; JupyterLab refuses root unless ``allow_root``. Raises ConfigError
    for a folder without the explorer, a package that is missing or a port that is taken, RunError if the server fails.
    """
    _must_be_installed()
    if not (folder / EXPLORER).is_file():
        raise ConfigError(f"{folder}: there is no {EXPLORER}; name the configuration of another installation")
    token, port = secrets.token_urlsafe(24), free_port(port)
    with tempfile.TemporaryDirectory(prefix="node0-lab-", ignore_cleanup_errors=True) as name:
        config = Path(name) / "lab.json"
        settings = settings_for(folder, port, token, browser=browser, allow_root=allow_root)
        config.write_text(json.dumps(settings), encoding="utf-8")
        (Path(name) / "overrides.json").write_text(json.dumps(_OVERRIDES), encoding="utf-8")
        address = f"http://{LOOPBACK}:{port}/lab/tree/{EXPLORER}?token={token}"
        given = (f"--config={config}", f"--LabApp.app_settings_dir={name}", *_LAB)
        code = _run([sys.executable, "-m", "jupyterlab", *given], folder, port, lambda: announce(address))
    if code:
        raise RunError(f"JupyterLab ended with exit code {code}; what it said is above")


def settings_for(
    folder: Path, port: int, token: str, *, browser: bool = True, allow_root: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the server's settings, as its configuration file holds them."""
    server = {
        "ip": LOOPBACK,
        "port": port,
        "port_retries": 0,
        "root_dir": str(folder.resolve()),
        "open_browser": browser,
        "allow_root": allow_root,
        "answer_yes": True,  # Ctrl-C ends the server, without a question
        "log_level": _WARNING,
    }
    return {"ServerApp": server, "IdentityProvider": {"token": token}}


def free_port(port: int) -> int:
    """Return the port, or a free one for 0; raises ConfigError if it is taken."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # there it would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            told = f"--port: {port} cannot be listened on ({error.strerror or error})"
            raise ConfigError(f"{told}; name another, or 0 for a free one") from error
        return int(probe.getsockname()[1])


def _must_be_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not installed; run: pip install jupyterlab ipywidgets")


def _run(command: list[str], folder: Path, port: int, ready: Callable[[], None]) -> int:
    """Run the server to its end, telling when it listens; an interrupt is how a person ends it."""
    try:
        process = subprocess.Popen(command, cwd=folder)
    except OSError as error:
        raise RunError(f"JupyterLab cannot be started ({error.strerror or error})") from error
    with _ended(process):
        try:
            if _listens(process, port):
                ready()
            return process.wait()
        except KeyboardInterrupt:
            # Ctrl-C reaches the server, too, which then ends its kernels; a stop that reached only us does not.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            return 0


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server takes connections; false if it ended instead."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return True
        time.sleep(_POLL_S)
    return False


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Make sure that the server is gone afterwards: it is asked, and after some seconds no longer asked."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
