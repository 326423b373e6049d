"""The grammar of a notebook: thin, literal, captioned. Checked without a kernel."""

import ast
import copy
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
EXPLORERS = {"ipywidgets"}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def problems(notebook: NotebookNode, *, also: frozenset[str] = frozenset()) -> list[str]:
    """Return every breach of the grammar; ``also`` names packages that may be imported besides node0lib."""
    code = [c for c in notebook.cells if c.cell_type == "code"]
    found = [*_whole(notebook, code), *_title(notebook), *_parameters(code), *_headings(notebook)]
    for cell in code:
        found += [f"cell {cell.id}: {text}" for text in (*_cell(cell, also), *_outputs(cell))]
    return found


def _lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def _whole(notebook: NotebookNode, code: list[NotebookNode]) -> list[str]:
    found = []
    if sum(map(_lines, code)) > 60:
        found.append(f"{sum(map(_lines, code))} lines of code, more than 60")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernelspec is not python3")
    ids = [c.get("id") for c in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        found.append("cells need identifiers, each once")
    return found


def _title(notebook: NotebookNode) -> list[str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell is not a title"]
    return [f"the title has no {word}" for word in ("Question", "Answer") if f"**{word}:**" not in first.source]


def _parameters(code: list[NotebookNode]) -> list[str]:
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1 or tagged[0] is not code[0]:
        return ["the first code cell, and only it, must be tagged parameters"]
    for line in ast.parse(tagged[0].source).body:
        plain = isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None and _literal(line.value)
        if not plain:
            return [f"a parameter is not a literal: {ast.unparse(line)}"]
    return []


def _literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def _headings(notebook: NotebookNode) -> list[str]:
    found = []
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code" and not (before.cell_type == "markdown" and before.source.startswith("## ")):
            found.append(f"cell {cell.id}: no heading above it")
    more = [c.id for c in notebook.cells if c.cell_type == "markdown" and len(re.findall(r"^#+ ", c.source, re.M)) != 1]
    return found + [f"cell {name}: not exactly one heading" for name in more]


def _cell(cell: NotebookNode, also: frozenset[str]) -> list[str]:
    found = [f"{_lines(cell)} lines, more than 12"] if _lines(cell) > 12 else []
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        return [*found, f"not Python: {error.msg}"]
    for node in ast.walk(tree):
        if isinstance(node, LOOPS):
            found.append("a loop")
        if isinstance(node, DEFINITIONS):
            found.append("a definition")
        found += [f"imports {name}" for name in _imported(node) if name.split(".")[0] not in {"node0lib", *also}]
    shows = [node for node in tree.body if isinstance(node, ast.Expr)]
    if "parameters" not in cell.metadata.get("tags", []) and (len(shows) != 1 or tree.body[-1] is not shows[0]):
        found.append("shows not exactly one thing, at its end")
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or "."] if isinstance(node, ast.ImportFrom) else []


def _outputs(cell: NotebookNode) -> list[str]:
    found = []
    for output in cell.outputs:
        html = output.get("data", {}).get("text/html", "")
        page = BeautifulSoup(html, "html.parser")
        for image in page.find_all("img"):
            if not re.search(r"\d", str(image.get("alt", ""))):
                found.append("a figure whose description states no number")
            figure = image.find_parent("figure")
            if figure is None or figure.find("figcaption") is None:
                found.append("a figure without a caption")
        if "image/png" in output.get("data", {}) or "image/svg+xml" in output.get("data", {}):
            found.append("a bare picture without caption and description")
        if output.output_type == "error":
            found.append("committed with an error")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_every_notebook_keeps_the_grammar(path: Path) -> None:
    """Title with question and answer, literal parameters, short cells that only call node0lib, captioned figures."""
    notebook = read(path)
    nbformat.validate(notebook)
    also = EXPLORERS if "explorer" in path.stem else set()
    assert problems(notebook, also=frozenset(also)) == []


def test_there_is_a_production_notebook() -> None:
    """The notebook that is the cycle exists, and takes config, at and out and nothing else."""
    notebook = read(FOLDER / "production_cycle.ipynb")
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    names = [t.id for line in ast.parse(cell.source).body if isinstance(line, ast.Assign)
             for t in line.targets if isinstance(t, ast.Name)]  # fmt: skip
    assert names == ["config", "at", "out"]


def _code(source: str) -> Callable[[NotebookNode], object]:
    return lambda nb: nb.cells[4].update(source=source)


def _output(html: str) -> Callable[[NotebookNode], object]:
    return lambda nb: nb.cells[4].outputs.append(new_output("display_data", {"text/html": html}))


BREACHES: dict[str, Callable[[NotebookNode], object]] = {
    "a loop": _code("[x for x in given]"),
    "a definition": _code("f = lambda: 1\nf()"),
    "imports os": _code("import os\nos"),
    "imports .": _code("from . import a\na"),
    "not Python": _code("1 +"),
    "more than 12": _code("a = 1\n" * 12 + "a"),
    "more than 60": lambda nb: [nb.cells[i].update(source="a = 1\n" * 11 + "a") for i in (4, 6, 8, 10, 12, 14)],
    "shows not exactly one thing": _code("given\nrules"),
    "the first cell is not a title": lambda nb: nb.cells.pop(0),
    "no Answer": lambda nb: nb.cells[0].update(source="# T\n\n**Question:** q?"),
    "must be tagged parameters": lambda nb: nb.cells[2].metadata.pop("tags"),
    "not a literal": lambda nb: nb.cells[2].update(source="config = str(1)"),
    "no heading above it": lambda nb: nb.cells.insert(4, new_code_cell("given")),
    "not exactly one heading": lambda nb: nb.cells[3].update(source="## A\n\n## B"),
    "kernelspec": lambda nb: nb.metadata.pop("kernelspec"),
    "each once": lambda nb: nb.cells[3].update(id=nb.cells[4].id),
    "states no number": _output('<figure><img alt="a picture"><figcaption>c</figcaption></figure>'),
    "without a caption": _output('<img alt="3 of 10">'),
    "a bare picture": lambda nb: nb.cells[4].outputs.append(new_output("display_data", {"image/png": ""})),
    "committed with an error": lambda nb: nb.cells[4].outputs.append(new_output("error", ename="E")),
}


@pytest.mark.parametrize("told", BREACHES)
def test_the_grammar_check_can_fail(told: str) -> None:
    """Each breach of the grammar is found in a notebook that has it."""
    notebook = copy.deepcopy(read(FOLDER / "production_cycle.ipynb"))
    BREACHES[told](notebook)
    assert any(told in text for text in problems(notebook)), problems(notebook)
