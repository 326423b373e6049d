"""The grammar of the house: what node0lib/README.md promises about the code."""

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import node0lib

ROOT = Path(node0lib.__file__).parent
BELOW_SHELL = [p for p in sorted(ROOT.rglob("*.py")) if "shell" not in p.relative_to(ROOT).parts]
EFFECTS = {"open", "input", "datetime.now", "datetime.utcnow", "time.time", "time.monotonic", "date.today"}
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], "node0lib."))
ON_PATHS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "touch", "rename"}
BANNED = {"utils", "helpers", "manager", "handler", "common", "misc"}


def _effects(tree: ast.AST) -> list[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [f"{ast.unparse(c.func)} in line {c.lineno}" for c in calls if ast.unparse(c.func) in EFFECTS]
    found += [
        f"{ast.unparse(c.func)} in line {c.lineno}"
        for c in calls
        if isinstance(c.func, ast.Attribute) and c.func.attr in ON_PATHS
    ]
    draws = [c for c in calls if ast.unparse(c.func).endswith("default_rng")]
    unseeded = [c for c in draws if not (c.args or c.keywords)]
    return found + [f"unseeded generator in line {c.lineno}" for c in unseeded]


@pytest.mark.parametrize("path", BELOW_SHELL, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_effects_below_the_shell(path: Path) -> None:
    """Below the shell nothing opens a file, reads a clock or draws from an unseeded generator."""
    assert _effects(ast.parse(path.read_text("utf-8"))) == []


def test_the_effect_check_can_fail() -> None:
    """The check above finds a clock, a file and an unseeded generator when there is one."""
    effects = "datetime.now()\nopen('x')\nPath('x').read_text()\nnp.random.default_rng()\nnp.random.default_rng(1)"
    assert len(_effects(ast.parse(effects))) == 4


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_promise(name: str) -> None:
    """Every module has a docstring, a telling name, and its examples hold."""
    assert name.rsplit(".", 1)[-1] not in BANNED
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    ran = doctest.testmod(module)
    assert ran.failed == 0
    if not hasattr(module, "__path__"):
        assert ran.attempted > 0, f"{name} shows no example"


def test_modules_stay_readable() -> None:
    """No module grows past 350 lines and no function past 60."""
    for path in ROOT.rglob("*.py"):
        text = path.read_text("utf-8")
        assert text.count("\n") <= 350, f"{path} is too long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name} is too long"


def test_every_test_says_its_promise() -> None:
    """Every test function has a one-sentence docstring."""
    for path in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name} has no docstring"
