"""The command line: what it lists, how it fails, what it prints, and the schedule in the foreground."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import nbformat
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nbformat import v4
from workspaces import NODE0, ROOT, environment, make_workspace, node0, node0_json

from node0lib.evidence.dsse import public_pem
from node0lib.evidence.verify import chain_of
from node0lib.shell.cli import main
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import trusted
from node0lib.shell.order import EXIT_CODES, exit_code

SHORT = """import pathlib, time
from node0lib import cycle
from node0lib.shell.notebooks import close_cycle, open_cycle, progress
given, rules, target = open_cycle(config, at, out)
while pathlib.Path("wait").exists():
    pathlib.Path("here").touch()
    time.sleep(0.05)
close_cycle(cycle.run_cycle(given, rules, target, progress), out)"""


def _verbs(group: click.Command = main, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below ``group`` with the words that call it, groups too."""
    yield words, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from _verbs(command, (*words, name))


LEAVES = [words for words, command in _verbs() if not isinstance(command, click.Group)]
EVERY = [words for words, _ in _verbs()]
WITHOUT_CONFIGURATION = {
    ("alerts", "alertmanager"),
    ("canary", "import"),
    ("canary", "judge"),
    ("demo", "down"),
    ("demo", "fault"),
    ("demo", "status"),
    ("demo", "up"),
    ("simulate", "burn"),
}
"""Verbs that work on what they are given."""
NEEDED = {
    ("canary", "export"): ("--to", "argo", "--deployment", "shop", "--prometheus", "http://127.0.0.1:9090"),
    ("canary", "go-on"): ("--by", "Ada"),
    ("canary", "run"): ("c0ffee",),
    ("canary", "stop"): ("--by", "Ada"),
    ("canary", "plan"): ("--traffic", "100", "--error-rate", "1%"),
    ("change", "approve"): ("c0ffee", "--by", "Ada"),
    ("change", "propose"): ("FOLDER/policy.json", "--by", "Ada"),
    ("change", "reject"): ("c0ffee", "--by", "Ada", "--reason", "no"),
    ("change", "show"): ("c0ffee",),
    ("dora", "ingest", "cdevents"): ("FOLDER/events.jsonl", "--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "csv"): ("FOLDER/events.csv", "--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "git"): ("--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "github"): ("FOLDER/events.jsonl", "--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "gitlab"): ("FOLDER/events.jsonl", "--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "jsonl"): ("FOLDER/events.jsonl", "--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "node0"): ("--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "parquet"): ("FOLDER/events.parquet", "--out", "FOLDER/events.jsonl"),
    ("dora", "ingest", "prometheus"): ("--url", "http://127.0.0.1:9", "--out", "FOLDER/events.jsonl"),
    ("dora", "report"): ("--events", "FOLDER/events.jsonl"),
    ("slo", "export"): ("--to", "openslo"),
    ("slo", "import"): ("FOLDER/slo.yaml", "--add"),
}
"""What these verbs must be given besides."""


def _help(words: tuple[str, ...]) -> str:
    ran = CliRunner().invoke(main, [*words, "--help"], prog_name="node0", terminal_width=80)
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """An installation with one cycle, which low coverage blocked, and what that cycle printed; its notebook is short
    from then on.
    """
    folder = make_workspace(tmp_path_factory.mktemp("cli") / "w", history="2h")
    ran = node0(folder, "cycle")
    cells = [v4.new_code_cell('config = "configs/node0.yaml"\nat = ""\nout = ""', metadata={"tags": ["parameters"]})]
    cells += [v4.new_markdown_cell("## All"), v4.new_code_cell(SHORT)]
    (folder / "notebooks" / "production_cycle.ipynb").write_text(nbformat.writes(v4.new_notebook(cells=cells)), "utf-8")
    return folder, ran


def _copied(sealed: tuple[Path, object], into: Path) -> Path:
    folder = into / "w"
    shutil.copytree(sealed[0], folder)
    shutil.copytree(sealed[0].parent / "w-keys", into / "w-keys")
    return folder


def _statuses(folder: Path) -> list[str]:
    """Return the status of every sealed record after the genesis; raises EvidenceError if one does not verify."""
    chain = chain_of(EvidenceFiles(folder / "evidence"), trusted(folder.parent / "w-keys"))
    return [record.poi.status for record in chain[1:]]


# Help


def test_help_lists_every_verb() -> None:
    """Whoever asks for help sees every verb with all its words and what it does, in 80 columns."""
    ran = node0(ROOT, "--help")
    assert ran.returncode == 0 and ran.stderr == ""
    listed = ran.stdout.split("Commands:")[1]
    for words in LEAVES:
        assert re.search(rf"(?m)^  {' '.join(words)}  +\w", listed), words
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_the_readme_shows_the_real_help() -> None:
    """The help block of the README is what node0 --help prints."""
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"(?ms)^```[a-z]*\n\$ node0 --help\n(.*?)^```$", readme)
    assert len(blocks) == 1, "README.md has one fenced block that begins with: $ node0 --help"
    assert blocks[0].rstrip("\n") == node0(ROOT, "--help").stdout.rstrip("\n")


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    """Every command has a help of its own in 80 columns, in which every option says what it does."""
    shown = _help(words)
    text = shown.split("Options:")[0].partition("\n")[2].strip()
    assert len(text) >= 20 and text.split("\n")[0].endswith((".", "evidence.", "?"))
    assert max(map(len, shown.splitlines())) <= 80
    command = dict(_verbs())[words]
    assert all(p.help for p in command.params if isinstance(p, click.Option)), words


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_verb_answers_in_json_if_asked(words: tuple[str, ...]) -> None:
    """Every verb has --output with text and json, text being the default, --config, and documented exit codes."""
    options = {p.name: p for p in dict(_verbs())[words].params}
    output = options["output"]
    assert isinstance(output.type, click.Choice) and tuple(output.type.choices) == ("text", "json")
    assert output.default == "text" and {"-o", "--output"} == set(output.opts)
    assert ("config" in options) != (words in WITHOUT_CONFIGURATION)
    assert "Exit codes:" in _help(words)


def test_the_documented_exit_codes_are_the_real_ones() -> None:
    """The table in cycle --help has exactly the codes that a cycle can end with, each with its meaning."""
    table = _help(("cycle",)).split("Exit codes:")[1].split("Options:")[0]
    found = re.findall(r"(?ms)^    (\d)  (.*?)(?=^    \d  |\Z)", table)
    rows = {int(code): " ".join(text.split()) for code, text in found}
    assert set(rows) == {1, 2, *EXIT_CODES.values()}
    told = {
        "applied": "applied", "no_change": "nothing was to be changed", "recommended": "recommended", "held": "held",
        "inconclusive": "inconclusive", "blocked": "blocked", "rolled_back": "rolled back", "refused": "refused",
    }  # fmt: skip
    assert set(told) == set(EXIT_CODES)
    for status, words in told.items():
        assert words in rows[EXIT_CODES[status]], status
    assert exit_code("dead-kernel") == exit_code("error") == 1 and "failed" in rows[1]


# Mistakes


@pytest.mark.parametrize(
    "words",
    [
        ("nope",),
        ("cycle", "--nope"),
        ("cycle", "too", "much"),
        ("cycle", "--output", "xml"),
        ("replay", "--hours", "0"),
        ("run", "--times", "0"),
        ("evidence", "verify", "--anchor"),
        ("evidence", "nope"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2(words: tuple[str, ...]) -> None:
    """What is not understood is named on stderr, stdout stays empty, and the exit code is 2."""
    ran = CliRunner().invoke(main, list(words), prog_name="node0")
    assert ran.exit_code == 2 and ran.stdout == ""
    assert "Error: " in ran.stderr and "Traceback" not in ran.stderr


def test_an_unknown_option_exits_with_2() -> None:
    """The same through the real program."""
    ran = node0(ROOT, "cycle", "--nope")
    assert (ran.returncode, ran.stdout) == (2, "") and "No such option" in ran.stderr


@pytest.mark.parametrize("words", [w for w in LEAVES if w not in WITHOUT_CONFIGURATION], ids=" ".join)
def test_a_missing_configuration_is_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    """Every verb that takes a configuration exits with 2 and one line that names the file."""
    (tmp_path / "slo.yaml").write_bytes((ROOT / "tests" / "data" / "sloth" / "in-base.yaml").read_bytes())
    needed = [word.replace("FOLDER", str(tmp_path)) for word in NEEDED.get(words, ())]
    ran = CliRunner().invoke(main, [*words, *needed, "--config", str(tmp_path / "none.yaml")], prog_name="node0")
    assert ran.exit_code == 2 and ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ") and "none.yaml" in line and "create it" in line


def test_a_missing_configuration_is_one_line_for_the_program(tmp_path: Path) -> None:
    """The same through the real program, and nothing is written where it ran."""
    ran = node0(tmp_path, "cycle")
    assert (ran.returncode, ran.stdout) == (2, "") and len(ran.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "--every", "soon"), "'soon' is not a duration"),
        (("run", "--every", "0s"), "longer than 0"),
        (("replay", "--start", "2026-01-01T00:00:00"), "--start: 2026-01-01T00:00:00 has no time zone"),
        (("replay", "--start", "yesterday"), "--start: 'yesterday' is not an ISO 8601 time"),
    ],
)
def test_a_wrong_value_exits_with_2(words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations and instants that are none are mistakes of the command line, told in one line."""
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(main, list(words), prog_name="node0")
    assert ran.exit_code == 2 and ran.stdout == ""
    assert told in ran.stderr.splitlines()[-1]


# What is printed


def test_the_screen_has_80_columns(sealed: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The screen of a real cycle has no line over 80 columns but for paths, no colour, and says what it says."""
    folder, ran = sealed
    assert ran.returncode == 3, ran.stderr
    wide = [line for line in ran.stdout.splitlines() if len(line) > 80]
    assert not [line for line in wide if "/" not in line.split()[-1]], wide
    assert "\x1b" not in ran.stdout and "BLOCKED BY A GATE" in ran.stdout and "SIMULATED TARGET" in ran.stdout
    for line in ran.stdout.rstrip().splitlines()[-6:]:
        assert (folder / line.split()[-1]).is_file(), line


def test_a_configuration_is_checked(sealed: tuple[Path, object], tmp_path: Path) -> None:
    """A right configuration is listed, as text and as JSON; a wrong one is told with file and line, all at once."""
    folder = _copied(sealed, tmp_path)
    found = node0_json(folder, "config", "check")
    assert found["valid"] is True and len(found["slos"]) == 10 and "configs/slo.yaml" in found["files"]
    assert node0(folder, "config", "check").stdout.startswith(f"{len(found['files'])} files are valid: ")
    mistakes = ("node0", "mode: autonomous", "mode: bold"), ("slo", "objective: 0.999", "objective: 99.9")
    for name, right, wrong in mistakes:
        path = folder / "configs" / f"{name}.yaml"
        path.write_text(path.read_text("utf-8").replace(right, wrong, 1), "utf-8")
    ran = node0(folder, "config", "check")
    assert ran.returncode == 2 and ran.stdout == ""
    assert re.search(r"node0\.yaml:\d+: mode: ", ran.stderr) and re.search(r"slo\.yaml:\d+: ", ran.stderr)


# Evidence


def _verified(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    """Verify in this process, as somebody who has no key of their own here."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NODE0_KEY_DIR", str(folder.parent / "nobodys-keys"))
    return CliRunner().invoke(main, ["evidence", "verify", *words], prog_name="node0")


def test_evidence_is_verified_with_the_keys_one_trusts(
    sealed: tuple[Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key verifies; a stranger's key, a file that is none, or no file do not, with one clear message."""
    folder, right = sealed[0], next((sealed[0].parent / "w-keys").glob("*.pub.pem"))
    ran = _verified(folder, monkeypatch, "--key", str(right))
    assert ran.exit_code == 0 and "signatures checked with 1 given key(s)" in ran.stdout
    assert "nobody vouches for it" in _verified(folder, monkeypatch).stdout, "trust without a key is named"

    wrong, none = tmp_path / "WRONG.pem", tmp_path / "none.pem"
    wrong.write_bytes(public_pem(Ed25519PrivateKey.generate().public_key()))
    none.write_text("no key", "utf-8")
    for key, told in ((wrong, "does not verify"), (none, "none.pem"), (tmp_path / "missing.pem", "missing.pem")):
        ran = _verified(folder, monkeypatch, "--key", str(key))
        assert (ran.exit_code, ran.stdout) == (1, ""), key
        assert ran.stderr.startswith("error: ") and told in ran.stderr
    assert _verified(folder, monkeypatch, "--key", str(wrong), "--key", str(right)).exit_code == 0


def test_an_anchor_that_is_not_in_the_chain_fails(
    sealed: tuple[Path, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever remembers a record that is gone is told so: a chain cut off at its end does not pass for the whole."""
    found = node0_json(sealed[0], "evidence", "verify")
    assert found["verified"] is True and found["records"] == 2
    assert _verified(sealed[0], monkeypatch, "--anchor", found["newest_provenance"]).exit_code == 0
    assert _verified(sealed[0], monkeypatch, "--anchor", found["newest_provenance"][:12]).exit_code == 0
    ran = _verified(sealed[0], monkeypatch, "--anchor", "ab" * 32)
    assert ran.exit_code == 1 and "is not in the chain" in ran.stderr
    for anchor in ("unknown", "", "ab"):
        ran = _verified(sealed[0], monkeypatch, "--anchor", anchor)
        assert ran.exit_code == 2 and "is no digest" in ran.stderr, anchor


# The schedule


def test_run_works_off_cycles_one_after_the_other(sealed: tuple[Path, object], tmp_path: Path) -> None:
    """Two forced cycles, each longer than the interval: they do not overlap, both are sealed, one line each."""
    folder = _copied(sealed, tmp_path)
    ran = node0(folder, "run", "--times", "2", "--every", "2s", "--force", "--output", "json")
    assert ran.returncode == 0, ran.stderr
    first, second = (json.loads(line) for line in ran.stdout.splitlines())
    assert {first["exit_code"], second["exit_code"]} == {3} and first["cycle"] != second["cycle"]
    assert _statuses(folder) == ["blocked"] * 3
    said = [line for line in ran.stderr.splitlines() if "kernel started" in line or "the cycle ended" in line]
    assert said == ["... kernel started", "the cycle ended with exit code 3"] * 2
    assert node0(folder, "evidence", "verify").returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")
def test_sigterm_stops_the_schedule_and_its_cycle(sealed: tuple[Path, object], tmp_path: Path) -> None:
    """A schedule that is told to stop ends with 0; the cycle that ran is on record, and the next one may start."""
    folder = _copied(sealed, tmp_path)
    (folder / "wait").touch()
    command = [*NODE0, "run", "--every", "1h", "--force"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    running = subprocess.Popen(command, cwd=folder, env=environment(folder), **pipes)  # type: ignore[call-overload]
    end = time.monotonic() + 120
    while not (folder / "here").exists():
        assert running.poll() is None and time.monotonic() < end, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    _, heard = running.communicate(timeout=120)

    assert running.returncode == 0 and "Traceback" not in heard, heard
    assert "the cycle ended with exit code 1" in heard
    assert _statuses(folder) == ["blocked", "interrupted"]
    assert node0(folder, "evidence", "verify").returncode == 0
