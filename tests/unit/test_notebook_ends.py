"""The two ends of the production notebook: where its configuration is found, and what is asked by hand."""

from pathlib import Path

import pytest

from node0lib.shell.notebooks import found, open_cycle, progress


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An installation with a configuration, a folder of notebooks, and one below it."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "node0.yaml").write_text("", encoding="utf-8")
    (tmp_path / "notebooks" / "deeper").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/deeper"])
def test_a_configuration_is_found_from_the_notebooks_own_folder(
    tree: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab starts a kernel beside the notebook; the path in the parameters is found from there, too."""
    monkeypatch.chdir(tree / folder)
    assert found("configs/node0.yaml").resolve() == (tree / "configs" / "node0.yaml").resolve()


def test_a_configuration_that_is_nowhere_keeps_its_name(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file is reported by the name that was passed; an absolute path is taken as it is."""
    monkeypatch.chdir(tree / "notebooks")
    assert found("configs/missing.yaml") == Path("configs/missing.yaml")
    assert found(str(tree / "configs" / "node0.yaml")) == tree / "configs" / "node0.yaml"


def test_by_hand_nothing_is_claimed_that_nobody_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an installation only controls that telemetry can answer are asked; key, evidence and clock are not."""
    monkeypatch.chdir(Path(__file__).parents[2] / "notebooks")
    given, rules, target = open_cycle("configs/node0.yaml", "2026-11-24T02:00:00Z", "")
    assert [c.name for c in rules.controls] == ["telemetry_coverage"]
    assert target is not None and given.facts.coverage == 1.0


def test_progress_is_silent_unless_somebody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of an open notebook nothing is written, so that stored outputs can be compared; inside it is."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    progress("searching", 1, 2)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
    progress("searching", 1, 2)
    assert "searching: 1 of 2" in capsys.readouterr().out
