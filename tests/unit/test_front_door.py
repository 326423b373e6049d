"""``import node0lib``: few names, all of them there, and nothing heavy until it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import node0lib

HEAVY = ("pandas", "matplotlib", "httpx", "papermill", "optuna", "pyarrow", "nbconvert", "scipy", "rich", "pydantic")
DOORS = ("subprocess", "sqlite3", "node0lib.shell", "node0lib.views", "node0lib.simulate")


def _loaded(code: str) -> set[str]:
    """Return the modules that are loaded after running ``code`` in a fresh interpreter."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    return set(ran.stdout.split())


def test_public_names_are_sorted_and_there() -> None:
    """Every public name can be imported, and no name is listed twice or out of order."""
    assert node0lib.__all__ == sorted(set(node0lib.__all__))
    for name in node0lib.__all__:
        found = getattr(node0lib, name)
        assert found.__doc__, name
        assert found.__module__.startswith("node0lib."), name


@pytest.mark.parametrize(
    "name", ["SLOAwareOptimizer", "ChangeClass", "enhance_optimizer_with_slo_awareness", "Node0Error", "Span", "replay"]
)
def test_the_documented_names_are_public(name: str) -> None:
    """What the first interface named is found at the front door, also by a star import."""
    assert name in node0lib.__all__
    space: dict[str, object] = {}
    exec("from node0lib import *", space)
    assert space[name] is getattr(node0lib, name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """Misspelt names fail as they do in any module."""
    with pytest.raises(AttributeError, match="no attribute 'SloAwareOptimiser'"):
        node0lib.SloAwareOptimiser  # noqa: B018
    with pytest.raises(ImportError):
        exec("from node0lib import SloAwareOptimiser")


def test_the_front_door_is_light() -> None:
    """Importing node0lib loads no plotting, no HTTP, no notebooks, and nothing that reaches the world."""
    loaded = _loaded("import node0lib")
    assert "node0lib.errors" in loaded
    assert not loaded & {*HEAVY, *DOORS}


def test_the_command_line_starts_light() -> None:
    """Asking for help does not wait for plotting, notebooks, statistics, compiled judges or servers."""
    loaded = _loaded("import node0lib.shell.cli")
    heavy = {"matplotlib", "papermill", "nbconvert", "IPython", "pandas", "scipy.stats", "numba", "tornado.web"}
    assert "click" in loaded and not loaded & heavy


def test_the_names_of_the_first_interface_load_what_they_need() -> None:
    """Asked for, the optimizer is there, and still no notebook or picture is loaded."""
    loaded = _loaded("from node0lib import SLOAwareOptimizer")
    assert "node0lib.shell.aware" in loaded and not loaded & {"matplotlib", "papermill", "pandas"}
