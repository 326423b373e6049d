"""Notebook parameters, strictly: what is passed must be declared, and be what was declared.

The promise: a parameter that passes here arrives in the notebook as the very value that was given. Rules:

- Exactly one code cell is tagged ``parameters``. It holds assignments of JSON literals and nothing else,
  with optional annotations; it is read with ``ast`` and never run.
- Every parameter that is given is assigned there. (papermill only warns about an unknown one, and its own
  reader is a regular expression that misses ``int | None``.)
- Values are JSON: str, int, finite float, bool, None, list, dict with str keys. (papermill turns a Path, a
  Decimal or a tuple silently into a string.)
- A value fits the annotation or, without one that is understood, the type of the default. An int fits a
  float, a bool fits no int, anything fits a bare default of None.

>>> declared = parse_parameters("at: str | None = None\\nhours = 24")
>>> declared["hours"].fits(12), declared["hours"].fits("12"), declared["at"].fits(None)
(True, False, True)
"""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node0lib.errors import ConfigError

TAG = "parameters"
INJECTED_TAG = "injected-parameters"
_KINDS = ("str", "int", "float", "bool", "None", "list", "dict")


@dataclass(frozen=True)
class Declared:
    """One parameter of a notebook: its default and the kinds of values that it takes."""

    default: object
    kinds: frozenset[str]

    def fits(self, value: object) -> bool:
        """Say whether ``value`` is of a kind that this parameter takes."""
        kind = _kind(value)
        return kind in self.kinds or (kind == "int" and "float" in self.kinds)


def check_parameters(notebook: Path, parameters: Mapping[str, object]) -> None:
    """Refuse parameters that the notebook does not declare or that do not fit; runs nothing.

    Raises ConfigError, which names the notebook and every parameter that is wrong, if the notebook cannot be
    read, has not exactly one cell of parameters, computes a default, or does not know what is given.
    """
    try:
        declared = parse_parameters(_parameters_source(notebook))
    except ValueError as error:
        raise ConfigError(f"{notebook}: {error}") from error
    problems = [p for name, value in parameters.items() for p in _problems(name, value, declared)]
    if problems:
        known = ", ".join(sorted(declared)) or "none"
        raise ConfigError(f"{notebook}: {'; '.join(problems)}. The notebook's parameters are: {known}")


def parse_parameters(source: str) -> dict[str, Declared]:
    """Return what the source of a parameters cell declares, by name.

    Raises ValueError if it holds anything but assignments of JSON literals, each name once.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} of the parameters cell is not Python: {error.msg}") from error
    declared: dict[str, Declared] = {}
    for statement in statements:
        name, parameter = _declaration(statement)
        if name in declared:
            raise ValueError(f"parameter {name!r} is assigned twice; keep one default")
        declared[name] = parameter
    return declared


def _declaration(statement: ast.stmt) -> tuple[str, Declared]:
    name, value, annotation = _assignment(statement)
    default = _literal(name, value)
    kind = _kind(default)
    kinds = _annotated(annotation) or frozenset(_KINDS if default is None else [kind])
    parameter = Declared(default, kinds)
    if not parameter.fits(default):
        raise ValueError(f"the default of {name!r} is {kind}, its annotation says {_listed(kinds)}")
    return name, parameter


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr, ast.expr | None]:
    """Return name, value and annotation of a simple assignment; raises ValueError for any other statement."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name, statement.value, None
        case ast.AnnAssign(target=ast.Name(id=name)) if statement.value is not None:
            return name, statement.value, statement.annotation
    text = ast.unparse(statement).splitlines()[0]
    raise ValueError(
        f"the parameters cell may only assign literals to names, one a statement; move this to another cell: {text}"
    )


def _literal(name: str, value: ast.expr) -> object:
    try:
        default: object = ast.literal_eval(value)
    except (ValueError, TypeError) as error:
        text = ast.unparse(value)
        raise ValueError(
            f"the default of {name!r} is computed ({text}); write a literal and compute in another cell"
        ) from error
    problem = _not_json(default)
    if problem:
        raise ValueError(f"the default of {name!r} {problem}")
    return default


def _annotated(annotation: ast.expr | None) -> frozenset[str] | None:
    """Return the kinds that an annotation allows; None where it is missing or not understood."""
    match annotation:
        case ast.Name(id=name) if name in _KINDS:
            return frozenset([name])
        case ast.Constant(value=None):
            return frozenset(["None"])
        case ast.Subscript(value=ast.Name(id=("list" | "dict") as name)):
            return frozenset([name])
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            one, other = _annotated(left), _annotated(right)
            return one | other if one and other else None
    return None


def _problems(name: str, value: object, declared: Mapping[str, Declared]) -> Iterator[str]:
    if name not in declared:
        near = difflib.get_close_matches(name, declared, n=1)
        yield f"parameter {name!r} does not exist" + (f", did you mean {near[0]!r}?" if near else "")
    elif problem := _not_json(value):
        yield f"parameter {name!r} {problem}"
    elif not declared[name].fits(value):
        yield f"parameter {name!r} is {_kind(value)}, the notebook takes {_listed(declared[name].kinds)}"


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _listed(kinds: frozenset[str]) -> str:
    return " or ".join(kind for kind in _KINDS if kind in kinds)


def _not_json(value: object) -> str | None:
    """Return what keeps ``value`` from being plain JSON; None if nothing does."""
    kind = type(value)
    if value is None or kind in (bool, int):
        return None
    if kind is float:
        return None if math.isfinite(float(str(value))) else f"is {value}; JSON has finite numbers only"
    if kind is str:
        return _not_text(str(value))
    if isinstance(value, list) and kind is list:
        return next(filter(None, map(_not_json, value)), None)
    if isinstance(value, dict) and kind is dict:
        if not all(type(key) is str for key in value):
            return "has a key that is not a str; JSON has str keys only"
        return next(filter(None, map(_not_json, [*value, *value.values()])), None)
    return f"holds a {kind.__name__}; pass JSON values only: {', '.join(_KINDS)}"


def _not_text(value: str) -> str | None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is no Unicode text"
    return None


def _parameters_source(notebook: Path) -> str:
    """Return the source of the one cell tagged ``parameters``; raises ValueError, saying what is wrong."""
    cells = _code_cells(notebook)
    if any(INJECTED_TAG in _tags(cell) for cell in cells):
        raise ValueError(f"a cell is tagged {INJECTED_TAG!r}: this is the output of a run; run its source")
    tagged = [cell for cell in cells if TAG in _tags(cell)]
    if len(tagged) != 1:
        raise ValueError(f"{len(tagged)} code cells are tagged {TAG!r}; tag exactly one")
    source = tagged[0].get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _code_cells(notebook: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(notebook.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}); name an existing notebook") from error
    except ValueError as error:
        raise ValueError(f"is not a notebook ({error})") from error
    if not isinstance(content, dict) or content.get("nbformat") != 4 or "cells" not in content:
        raise ValueError("is not a notebook of format 4; save it with JupyterLab")
    return [cell for cell in content["cells"] if cell.get("cell_type") == "code"]


def _tags(cell: Mapping[str, Any]) -> list[str]:
    tags: list[str] = cell.get("metadata", {}).get("tags", [])
    return tags
