"""``node0 slo import`` and ``node0 slo export`` as they are typed."""

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from node0lib.errors import ConfigError, Node0Error
from node0lib.shell.cli.frame import exit_code_of
from node0lib.shell.cli.slo_import import export, import_
from node0lib.shell.config import load
from node0lib.shell.yaml_lines import MAX_VALUES

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "tests" / "data"
SLOTH = str(DATA / "sloth" / "in-base.yaml")
PYRRA = str(DATA / "pyrra" / "nginx.yaml")
OPENSLO = str(DATA / "openslo" / "v1.yaml")


def _run(command: click.Command, *words: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], input=stdin)


def _failed(command: click.Command, *words: object) -> str:
    """The text of the one error that a command ends with, which is the user's to correct."""
    ran = _run(command, *words)
    assert isinstance(ran.exception, Node0Error), ran.output
    assert exit_code_of(ran.exception) == 2
    return str(ran.exception)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An installation of its own that reads from a Prometheus; its node0.yaml."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    config = tmp_path / "configs" / "node0.yaml"
    text = config.read_text("utf-8")
    start = text.index("telemetry:")
    end = text.index("\n\n", start)
    embedded = "target:\n  kind: embedded"
    assert embedded in text
    telemetry = "telemetry:\n  kind: prometheus\n  url: http://127.0.0.1:9090\n  scrape_interval: 15s"
    config.write_text((text[:start] + telemetry + text[end:]).replace(embedded, "target:\n  kind: none"), "utf-8")
    load(config)
    return config


def test_the_catalogue_goes_to_stdout_and_the_account_to_stderr() -> None:
    """Without a file the SLOs are printed, each below a comment with its origin; the account is beside them."""
    ran = _run(import_, SLOTH, PYRRA)
    assert ran.exit_code == 0
    assert ran.stdout.startswith("# 4 SLOs imported from ")
    assert ran.stdout.count("  # from ") == 4
    assert f"{SLOTH}:6: svc01-slo1 (sloth prometheus/v1) -> svc01_slo1" in ran.stderr
    assert "  left out: alerting (page and ticket alerts)" in ran.stderr
    assert ran.stderr.endswith("4 of 4 SLOs carried over\n")


def test_json_is_one_document() -> None:
    """With --output json stdout is one document with the catalogue and the whole account."""
    found = json.loads(_run(import_, SLOTH, OPENSLO, "--output", "json").stdout)
    assert (found["carried"], found["not_carried"]) == (2, 1)
    assert [slo["name"] for slo in found["slos"]] == ["svc01_slo1", "svc01_slo02", None]
    assert found["slos"][2]["reasons"] and found["catalogue"].count("- name: ") == 2
    assert {"where", "text"} == set(found["others"][0])


def test_what_is_not_carried_over_has_an_exit_code_of_its_own() -> None:
    """An SLO that node0 cannot express ends with 3, and the others are printed all the same."""
    ran = _run(import_, SLOTH, OPENSLO)
    assert ran.exit_code == 3
    assert "NOT CARRIED OVER" in ran.stderr and "svc01_slo1" in ran.stdout


def test_nothing_to_write_writes_nothing(tmp_path: Path) -> None:
    """Where no SLO could be expressed there is no empty catalogue."""
    out = tmp_path / "slo.yaml"
    ran = _run(import_, OPENSLO, "--out", out)
    assert (ran.exit_code, ran.stdout, out.exists()) == (3, "", False)


def test_standard_input_is_a_file_like_any() -> None:
    """A dash reads standard input."""
    ran = _run(import_, "-", stdin=Path(PYRRA).read_bytes())
    assert ran.exit_code == 0 and "# from stdin:1 (pyrra.dev/v1alpha1, nginx-api-errors)" in ran.stdout


def test_what_is_emitted_is_a_catalogue(installed: Path) -> None:
    """A file written with --out is a slo.yaml that the configuration reads, with the same SLOs."""
    out = installed.parent / "slo.yaml"
    every = [SLOTH, PYRRA, *sorted((DATA / "pyrra").glob("[ct]*.yaml"))]
    ran = _run(import_, *every, "--out", out, "--force")
    assert ran.exit_code == 0 and ran.stdout == ""
    names = [slo.name for slo in load(installed).catalogue.slos]
    assert names == [
        "svc01_slo1", "svc01_slo02", "nginx_api_errors", "nginx_api_latency", "caddy_response_latency", "thanos_store",
    ]  # fmt: skip


def test_out_replaces_nothing_unasked(tmp_path: Path) -> None:
    """A file that is there stays as it is without --force."""
    out = tmp_path / "slo.yaml"
    out.write_text("mine", "utf-8")
    assert "is there already" in _failed(import_, SLOTH, "--out", out)
    assert out.read_text("utf-8") == "mine"


def test_a_malformed_file_writes_nothing(tmp_path: Path) -> None:
    """With one malformed file among good ones nothing is written, and the error is the user's."""
    out = tmp_path / "slo.yaml"
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: prometheus/v1\n", "utf-8")
    assert f"{bad}:1: service: is missing" in _failed(import_, SLOTH, bad, "--out", out)
    assert not out.exists()


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    """Every file that is not there is named in one error."""
    text = _failed(import_, tmp_path / "a", tmp_path / "b")
    assert [line.split(": ")[0] for line in text.splitlines()] == [str(tmp_path / "a"), str(tmp_path / "b")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--add", "--out", "x"], "both given"),
        (["--dry-run"], "belongs to --add"),
        (["--window", "month"], "--window: 'month' is not a duration"),
        (["--window", "9" * 30 + "d"], "is not a duration"),
    ],
)
def test_options_that_contradict_are_told(words: list[str], said: str) -> None:
    """What cannot be meant is refused before anything is read."""
    assert said in _failed(import_, SLOTH, *words)


def test_added_slos_leave_every_other_byte(installed: Path) -> None:
    """--add inserts at the end of slos: and shows the difference; all else, comments too, stays."""
    catalogue = installed.parent / "slo.yaml"
    before = catalogue.read_bytes()
    ran = _run(import_, PYRRA, "--add", "--config", installed)
    assert ran.exit_code == 0, ran.output
    after = catalogue.read_bytes()
    new = after.decode().splitlines()
    kept = [line[1:] for line in ran.stdout.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert all(line in new for line in kept) and len(new) - len(before.decode().splitlines()) == len(kept)
    start = after.index(b"\n  # from ")
    end = start + len(after) - len(before)
    assert after[:start] + after[end:] == before
    assert [slo.name for slo in load(installed).catalogue.slos][-2:] == ["nginx_api_errors", "nginx_api_latency"]


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_line_ends_and_the_mark_stay(installed: Path, ending: str) -> None:
    """Windows line ends and a byte order mark are kept, and the new lines have them too."""
    catalogue = installed.parent / "slo.yaml"
    text = catalogue.read_text("utf-8").replace("\n", ending)
    catalogue.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert _run(import_, PYRRA, "--add", "--config", installed).exit_code == 0
    after = catalogue.read_bytes()
    assert after.startswith(b"\xef\xbb\xbf") and after.count(b"\n") == after.count(ending.encode())


def test_a_dry_run_changes_nothing(installed: Path) -> None:
    """--dry-run shows the difference and leaves the file alone."""
    catalogue = installed.parent / "slo.yaml"
    before = catalogue.read_bytes()
    ran = _run(import_, PYRRA, "--add", "--dry-run", "--config", installed)
    assert ran.exit_code == 0 and "+  - name: nginx_api_errors" in ran.stdout
    assert catalogue.read_bytes() == before


def test_a_name_that_is_taken_adds_nothing(installed: Path) -> None:
    """A collision with the catalogue is told with both lines, and the file stays."""
    assert _run(import_, PYRRA, "--add", "--config", installed).exit_code == 0
    before = (installed.parent / "slo.yaml").read_bytes()
    text = _failed(import_, PYRRA, "--add", "--config", installed)
    assert "nginx_api_errors is taken, first in line" in text and "nothing was added" in text
    assert (installed.parent / "slo.yaml").read_bytes() == before


def test_the_embedded_node_takes_no_imported_slos(installed: Path) -> None:
    """Imported SLOs have queries and no stream: a catalogue that is read from the embedded node refuses them."""
    shutil.copy(ROOT / "configs" / "node0.yaml", installed)
    assert "has no stream, but telemetry.kind is embedded" in _failed(import_, PYRRA, "--add", "--config", installed)


def test_slos_in_node0_yaml_are_added_there(installed: Path) -> None:
    """A catalogue that stands in node0.yaml itself is edited in its place, between its neighbours."""
    queries = "        good: |\n          sum(increase(b[$window]))\n        total: sum(increase(n[$window]))\n"
    head = "slo:\n  slos:\n    - name: a\n      kind: ratio\n      objective: 0.9\n      window: 1h\n"
    own = f"{head}      queries:\n{queries}\n"
    text = installed.read_text("utf-8")
    line = next(line for line in text.splitlines(keepends=True) if line.startswith("slo:"))
    installed.write_text(text.replace(line, own), "utf-8")
    assert _run(import_, PYRRA, "--add", "--config", installed).exit_code == 0
    assert [slo.name for slo in load(installed).catalogue.slos] == ["a", "nginx_api_errors", "nginx_api_latency"]


def test_slos_in_one_line_are_not_edited(installed: Path) -> None:
    """A list in brackets has no line to add after; the error says how to write it."""
    catalogue = installed.parent / "slo.yaml"
    queries = "{good: 'sum(increase(b[$window]))', total: 'sum(increase(n[$window]))'}"
    catalogue.write_text(f"slos: [{{name: a, kind: ratio, objective: 0.9, window: 1h, queries: {queries}}}]\n", "utf-8")
    assert "slos is not a list with an item after a dash a line" in _failed(
        import_, PYRRA, "--add", "--config", installed
    )


def test_an_import_too_large_for_one_catalogue_is_told() -> None:
    """More SLOs than node0 reads in one file are printed, with a note that they must be split."""
    one = Path(SLOTH).read_text("utf-8")
    head, slo = one[: one.index("  - name:")], one[one.index("  - name:") : one.index('  - name: "slo02"')]
    many = head + "".join(slo.replace('"slo1"', f'"slo{n}"') for n in range(MAX_VALUES // 9))
    ran = _run(import_, "-", "--output", "json", stdin=many.encode())
    assert ran.exit_code == 3
    assert "node0 cannot read this catalogue in one file" in json.loads(ran.stdout)["notes"][0]


def test_the_catalogue_goes_out_and_comes_back(tmp_path: Path) -> None:
    """Every SLO of the shipped catalogue that OpenSLO can say comes back with objective, window and queries."""
    out = tmp_path / "openslo.yaml"
    config = ROOT / "configs" / "node0.yaml"
    ran = _run(export, "--to", "openslo", "--out", out, "--config", config)
    assert ran.exit_code == 3  # the invariant has no budget
    assert "ihsan_compliance: NOT EXPORTED" in ran.stderr and "left out: alerting" in ran.stderr
    found = json.loads(_run(import_, out, "--output", "json").stdout)
    shipped = [slo for slo in load(config).catalogue.slos if slo.kind != "invariant"]
    assert [slo["name"] for slo in found["slos"]] == [slo.name for slo in shipped]
    assert found["not_carried"] == 0
    assert all(f"objective: {slo.objective!r}\n" in found["catalogue"] for slo in shipped)


def test_an_export_to_stdout_is_only_yaml() -> None:
    """Without --out the documents are on stdout, the account on stderr; JSON holds both."""
    config = ROOT / "configs" / "node0.yaml"
    ran = _run(export, "--to", "openslo", "--config", config)
    assert ran.stdout.startswith("---\napiVersion: openslo/v1\n")
    found = json.loads(_run(export, "--to", "openslo", "--config", config, "--output", "json").stdout)
    assert found["openslo"] == ran.stdout
    assert [slo["name"] for slo in found["slos"] if not slo["exported"]] == ["ihsan_compliance"]


def test_an_export_replaces_nothing_unasked(tmp_path: Path) -> None:
    """A file that is there stays as it is without --force."""
    out = tmp_path / "out.yaml"
    out.write_text("mine", "utf-8")
    config = ROOT / "configs" / "node0.yaml"
    assert "is there already" in _failed(export, "--to", "openslo", "--out", out, "--config", config)
    assert _run(export, "--to", "openslo", "--out", out, "--config", config, "--force").exit_code == 3
    assert out.read_text("utf-8").startswith("---")


@pytest.mark.parametrize("command", [import_, export])
def test_the_exit_codes_are_in_the_help(command: click.Command) -> None:
    """--help says what each exit code means."""
    assert "Exit codes:" in _run(command, "--help").output


def test_errors_are_configuration_errors() -> None:
    """A malformed file ends as a configuration error does everywhere."""
    ran = _run(import_, str(DATA / "openslo" / "unknown-field.yaml"))
    assert isinstance(ran.exception, ConfigError)
