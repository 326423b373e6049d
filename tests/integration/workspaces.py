"""Throw-away installations for tests, each with a key of its own beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODE0 = [sys.executable, "-m", "node0lib.shell.cli"]


def make_workspace(folder: Path, **changes: str) -> Path:
    """Copy configuration and notebook into ``folder``; ``changes`` replace ``key: value`` lines of node0.yaml."""
    for name in ("configs", "notebooks"):
        # A kernel that somebody runs there just now keeps its sockets in notebooks/.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("kernel-ipc-*", ".ipynb_checkpoints"))
    shutil.copy(ROOT / "constraints.txt", folder)
    node = folder / "configs" / "node0.yaml"
    text = node.read_text("utf-8")
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^( *){key}: [^#\n]*", rf"\g<1>{key}: {value} ", text)
        assert count == 1, f"{key} is there {count} times"
    node.write_text(text, "utf-8")
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a process that works in ``folder``: its key lies beside it, never in it."""
    return {**os.environ, "NODE0_KEY_DIR": str(folder.parent / f"{folder.name}-keys"), "COLUMNS": "80", **more}


def node0(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run node0 in ``folder``."""
    return subprocess.run(
        [*NODE0, *words],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def node0_json(folder: Path, *words: str, expect: int = 0, **more: str) -> Mapping[str, Any]:
    """Run node0 with --output json; the exit code must be as expected."""
    ran = node0(folder, *words, "--output", "json", **more)
    assert ran.returncode == expect, f"exit {ran.returncode}\n{ran.stderr[-3000:]}\n{ran.stdout[-2000:]}"
    document: Mapping[str, Any] = json.loads(ran.stdout)
    return document
