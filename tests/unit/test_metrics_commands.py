"""The commands that print metrics, and the module for a program that shells out: their errors and exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from node0lib.prometheus_metrics import main
from node0lib.shell.cli import main as node0
from node0lib.shell.cli.metrics import metrics

CONFIG = str(Path(__file__).parents[2] / "configs" / "node0.yaml")


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The shipped configuration, in an installation where nothing has happened yet."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for path in Path(CONFIG).parent.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "constraints.txt").write_text("", "utf-8")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "production_cycle.ipynb").write_text("{}", "utf-8")
    return str(folder / "node0.yaml")


def test_the_module_prints_only_when_asked() -> None:
    """Without --export nothing comes on stdout, and the exit code says that the command line is wrong."""
    ran = CliRunner().invoke(main, ["--config", CONFIG])
    assert (ran.exit_code, ran.stdout) == (2, "") and "--export" in ran.stderr


def test_the_modules_errors_are_one_message(tmp_path: Path) -> None:
    """A configuration that is not there ends with 2, one message on stderr and nothing on stdout."""
    ran = CliRunner().invoke(main, ["--export", "--config", str(tmp_path / "none.yaml")])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: ") and "none.yaml" in ran.stderr and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("form", ["openmetrics", "text"])
def test_the_module_prints_what_the_command_prints(config: str, form: str) -> None:
    """Both print the same bytes in each format, before the first cycle too."""
    words = ["--config", config, "--format", form]
    module, command = CliRunner().invoke(main, ["--export", *words]), CliRunner().invoke(metrics, ["export", *words])
    assert module.exit_code == command.exit_code == 0 and module.stderr == ""
    assert module.stdout_bytes == command.stdout_bytes and b"# TYPE http_requests" in module.stdout_bytes
    if form == "openmetrics":
        assert len(list(strict(module.stdout))) > 10


def test_out_takes_json_too(config: str, tmp_path: Path) -> None:
    """--out writes whatever would have been printed, and stdout stays empty."""
    target = tmp_path / "deep" / "metrics.json"
    ran = CliRunner().invoke(metrics, ["export", "--config", config, "--output", "json", "--out", str(target)])
    assert (ran.exit_code, ran.stdout) == (0, "")
    types = {family["type"] for family in json.loads(target.read_bytes())["families"]}
    assert types == {"counter", "gauge", "histogram"}


def test_a_history_without_a_cycle_is_exported_under_the_first_policy(config: str) -> None:
    """Looking at the SLOs makes the embedded node's past before any cycle has run: the metrics are those of it."""
    looked = CliRunner().invoke(node0, ["slo", "status", "--config", config, "--output", "json"])
    assert looked.exit_code == 0, looked.output
    ran = CliRunner().invoke(metrics, ["export", "--format", "openmetrics", "--config", config])
    assert ran.exit_code == 0, ran.output
    (total,) = (f for f in strict(ran.stdout) if f.name == "http_requests")
    assert sum(sample.value for sample in total.samples if sample.name == "http_requests_total") > 0
