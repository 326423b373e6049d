"""Whole cycles under faults: they end, say how, change nothing that they may not, and leave evidence that verifies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat import v4
from workspaces import NODE0, ROOT, environment, make_workspace, node0, node0_json

from node0lib import cycle
from node0lib.cycle import CycleResult, Decision, Given
from node0lib.errors import DataError
from node0lib.evidence.canonical import sha256
from node0lib.evidence.poi import PoI
from node0lib.evidence.verify import ChainReport, chain_of, verify_chain
from node0lib.optimize.estimate import Estimate
from node0lib.optimize.propose import measured
from node0lib.shell.config import Settings, load
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import trusted
from node0lib.shell.observe import derived_again
from node0lib.shell.records import read_given
from node0lib.shell.state import RUNNING
from node0lib.shell.workspace import rules_of, target_of

PARAMETERS = 'config = "configs/node0.yaml"\nat = ""\nout = ""'
GIVEN = """from dataclasses import replace
from node0lib import cycle
from node0lib.gates import Gates, Verdict
from node0lib.shell.notebooks import close_cycle, open_cycle, progress
given, rules, target = open_cycle(config, at, out)
result = cycle.run_cycle(given, rules, target, progress)"""
NUDGE = """from node0lib.optimize.propose import measured
policy = {**given.policy, "cache_ttl_s": given.policy["cache_ttl_s"] + 15}
proposal = measured(target, given.policy, policy, rules.search, given.at)
classified = cycle.classify_proposal(rules, proposal)
rollout = cycle.try_out(given, rules, proposal, classified, target, progress)
decision = cycle.decide(given, rules, result.gates, proposal, classified, rollout, target)
result = replace(result, proposal=proposal, classified=classified, rollout=rollout, decision=decision)"""
FORGED = """mine = {**given.policy, "llm_retries": 3}
decision = cycle.Decision("applied", ("trust me",), mine)
result = replace(result, gates=Gates((Verdict("ihsan", True, "fine"),)), decision=decision)"""
RESULT = "close_cycle(result, out)"
OPEN = """slo: {slos: [{name: api_availability, kind: ratio, objective: 0.9, window: 1h, stream: api}]}
ihsan: ihsan.yaml
policy: alpha.policy.json
mode: autonomous
telemetry: {kind: embedded, history: 2h}
target: {kind: embedded}
optimizer: {trials: 1, seeds: 1, fresh_seeds: 16, worthwhile: 0}
"""
"""A promise that is kept at every hour, so that the gates are open after two hours of history."""
LIVE = "data/policy/alpha.policy.json"


# What the tests work on


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with one sealed cycle, which low coverage blocked, and a short notebook; work on copies."""
    folder = make_workspace(tmp_path_factory.mktemp("blocked") / "w", history="2h")
    write_notebook(folder)
    assert node0(folder, "cycle").returncode == 3
    return folder


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation whose every cycle turns one knob a little, with one such cycle sealed; work on copies."""
    folder = make_workspace(tmp_path_factory.mktemp("applied") / "w")
    (folder / "configs" / "node0.yaml").write_text(OPEN, "utf-8")
    write_notebook(folder, ("Nudge", NUDGE))
    ran = node0(folder, "cycle")
    assert ran.returncode == 0 and "APPLIED" in ran.stdout, ran.stdout + ran.stderr
    for stream in ("stdout", "stderr"):
        (folder.parent / stream).write_text(getattr(ran, stream), "utf-8")
    return folder


def copied(source: Path, into: Path) -> Path:
    """Copy an installation and its key."""
    folder = into / "w"
    shutil.copytree(source, folder)
    shutil.copytree(source.parent / f"{source.name}-keys", into / f"{folder.name}-keys")
    return folder


def write_notebook(folder: Path, *cells: tuple[str, str], parameters: str = PARAMETERS) -> None:
    """Write a notebook that computes the whole cycle in one cell, then runs ``cells`` (title, code), then returns."""
    found = [v4.new_markdown_cell("# Short"), v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    for title, source in (("Given", GIVEN), *cells, ("Result", RESULT)):
        found += [v4.new_markdown_cell(f"## {title}"), v4.new_code_cell(source)]
    path = folder / "notebooks" / "production_cycle.ipynb"
    path.write_text(nbformat.writes(v4.new_notebook(cells=found)), "utf-8")


def configure(folder: Path, pattern: str, text: str) -> None:
    """Replace the one place in node0.yaml that matches."""
    path = folder / "configs" / "node0.yaml"
    changed, count = re.subn(pattern, lambda _: text, path.read_text("utf-8"))
    assert count == 1, pattern
    path.write_text(changed, "utf-8")


def ask_prometheus(folder: Path, url: str, more: str = "") -> None:
    """Let the installation's telemetry come from the server at ``url``."""
    telemetry = f'telemetry: {{kind: prometheus, url: "{url}", timeout: 1s, attempts: 1{more}}}\n'
    configure(folder, r"telemetry:\n(  .*\n)+", telemetry)


def keys_of(folder: Path) -> Path:
    return folder.parent / f"{folder.name}-keys"


def verified(folder: Path) -> ChainReport:
    """Verify the whole chain and the live policy; raises EvidenceError."""
    live = (folder / LIVE).read_bytes()
    return verify_chain(EvidenceFiles(folder / "evidence"), trusted(keys_of(folder)), live_policy=live)


def newest(folder: Path) -> PoI:
    """Return the newest sealed PoI."""
    return chain_of(EvidenceFiles(folder / "evidence"), trusted(keys_of(folder)))[-1].poi


def rows(folder: Path) -> list[tuple[str, str, str]]:
    """Return (id, status, reason) of every cycle that node0 remembers, oldest first."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "node0.sqlite")) as db:
        return db.execute("SELECT id, status, coalesce(reason, '') FROM cycles ORDER BY started_at, rowid").fetchall()


def deployments(folder: Path) -> int:
    """Return how many deployments node0 remembers."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "node0.sqlite")) as db:
        return int(db.execute("SELECT count(*) FROM deployments").fetchone()[0])


def station(folder: Path) -> str:
    """Return the station that the running cycle has reached."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "node0.sqlite", timeout=30)) as db:
        found = db.execute("SELECT station FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    return found[0] if found else ""


def nothing_half_done(folder: Path) -> None:
    """No temporary file, no row of a running cycle, and every file that has its name is whole."""
    assert not list(folder.rglob(".*.tmp"))
    assert RUNNING not in [status for _, status, _ in rows(folder)]
    for pattern in ("evidence/*/*.json", "data/cycles/*/*.json", "reports/*.ipynb", LIVE):
        for path in folder.glob(pattern):
            json.loads(path.read_text("utf-8"))
    for path in folder.glob("reports/*.html"):
        assert path.read_text("utf-8").rstrip().endswith("</html>")


def one_line_error(ran: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Return the error that ended the program: one, on stderr, and never a traceback."""
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and ran.stderr.splitlines()[-1] == errors[0], ran.stderr
    return errors[0]


def reports_of(folder: Path, name: str) -> str:
    """Return the text of both reports of a cycle."""
    pages = [(folder / "reports" / f"{name}.{kind}.html").read_text("utf-8") for kind in ("audit", "investor")]
    assert all(page.rstrip().endswith("</html>") for page in pages)
    return "\n".join(pages)


@contextlib.contextmanager
def serving(behave: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Yield the address of a real server on loopback that answers every request by ``behave``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behave(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, status: int, document: object) -> None:
    body = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


# Telemetry


def _blind(folder: Path, ended: Mapping[str, Any]) -> None:
    """A cycle that saw nothing: no_data everywhere, nothing may change, and everything is written all the same."""
    statuses = {s["name"]: s for s in ended["result"]["statuses"]}
    assert {s["state"] for name, s in statuses.items() if name != "ihsan_compliance"} == {"no_data"}
    assert all(s["budget_left"] is None for name, s in statuses.items() if name != "ihsan_compliance")
    assert ended["status"] == "blocked" and any(" for api_availability" in r for r in ended["reasons"])
    assert {"poi", "provenance", "sbom", "audit report", "investor report"} <= set(ended["files"])
    assert all((folder / path).stat().st_size for path in ended["files"].values())
    assert "SIMULATED TELEMETRY" not in reports_of(folder, ended["cycle"])
    assert verified(folder).newest_cycle == ended["cycle"]
    nothing_half_done(folder)


def test_a_prometheus_that_is_down_degrades_the_cycle(tmp_path: Path) -> None:
    """On first use, with nobody at the address, the shipped notebook still ends with evidence and both reports."""
    folder = make_workspace(tmp_path / "w")
    with serving(lambda _: None) as closed:
        pass
    ask_prometheus(folder, closed)
    ended = node0_json(folder, "cycle", expect=3)
    _blind(folder, ended)
    assert any("cannot connect" in reason for reason in ended["reasons"])
    assert node0(folder, "evidence", "verify").returncode == 0


def _nan(handler: BaseHTTPRequestHandler) -> None:
    ranged = "query_range" in handler.path
    value = {"values": [[time.time(), "NaN"]]} if ranged else {"value": [time.time(), "NaN"]}
    data = {"resultType": "matrix" if ranged else "vector", "result": [{"metric": {"le": "+Inf"}, **value}]}
    answer(handler, 200, {"status": "success", "data": data})


@pytest.mark.parametrize("fault", ["hangs", "fails", "nan"])
def test_a_prometheus_that_misbehaves_degrades_the_cycle(blocked: Path, tmp_path: Path, fault: str) -> None:
    """A server that hangs, answers 500 or answers NaN is no data, never good data."""
    folder, over = copied(blocked, tmp_path), threading.Event()
    behaviours: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
        "hangs": lambda _: None if over.wait(120) else None,
        "fails": lambda handler: answer(handler, 500, {"status": "error", "errorType": "x", "error": "broken"}),
        "nan": _nan,
    }
    with serving(behaviours[fault]) as url:
        ask_prometheus(folder, url)
        ended = node0_json(folder, "cycle", "--force", expect=3)
        over.set()
    _blind(folder, ended)
    told = {"hangs": "no answer within 1 s", "fails": "HTTP 500", "nan": "nan"}[fault]
    assert any(told in reason.lower() or told in reason for reason in ended["reasons"]), ended["reasons"]


# Disks


def _namespace() -> list[str]:
    """Return the command prefix under which this user may mount privately, [] if there is none."""
    for prefix in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        if shutil.which(prefix[0]) is None:
            return []
        tried = subprocess.run([*prefix, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
        if tried.returncode == 0:
            return prefix
    return []


def _shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a mount namespace of its own; ``node0`` in it is the program."""
    text = f'set -e; node0() {{ {" ".join(NODE0)} "$@"; }}; {script}'
    command = [*_namespace(), "sh", "-c", text]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=240, check=False
    )


def _read_only(folder: Path, place: str) -> subprocess.CompletedProcess[str]:
    """Run a cycle while the folder ``place`` cannot be written."""
    if _namespace():
        return _shell(folder, f"mount --bind {place} {place}; mount -o remount,ro,bind {place}; node0 cycle --force")
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("a read-only folder needs unshare with the right to mount, or a user who is not root")
    modes = {path: path.stat().st_mode for path in (folder / place, *(folder / place).rglob("*"))}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        return node0(folder, "cycle", "--force")
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.mark.parametrize("place", ["evidence", "data"])
def test_a_read_only_folder_ends_the_cycle_before_it_begins(blocked: Path, tmp_path: Path, place: str) -> None:
    """Without a place for evidence or for memory no cycle runs: one line says so, and nothing has happened."""
    folder = copied(blocked, tmp_path)
    before, remembered = (folder / LIVE).read_bytes(), rows(folder)
    files = sorted(folder.rglob("*"))
    error = one_line_error(_read_only(folder, place))
    assert f"/{place}" in error or f"{place}/" in error
    assert "Read-only file system" in error or "Permission denied" in error
    assert (folder / LIVE).read_bytes() == before and rows(folder) == remembered
    assert sorted(p for p in folder.rglob("*") if "sqlite-" not in p.name) == files
    nothing_half_done(folder)
    verified(folder)


SIMULATED = """import errno, os, sys, tempfile
from pathlib import Path
made = tempfile.mkstemp
def full(*words, **options):
    if Path(sys.argv[1]).resolve() in (found := Path(options["dir"]).resolve(), *found.parents):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return made(*words, **options)
tempfile.mkstemp = full
from node0lib.shell.cli import main
main(sys.argv[2:])
"""
"""Where mounts are not permitted: a disk that takes no file that matters any more below one folder."""


def _on_full_disk(folder: Path, place: str, left: int) -> subprocess.CompletedProcess[str]:
    """Run a cycle while the disk of ``place`` has ``left`` pages left; what was written there stays."""
    if not _namespace():
        inner = "evidence/slsa-provenance" if left > 1 else place
        command = [sys.executable, "-c", SIMULATED, inner, "cycle", "--force"]
        told = {"env": environment(folder), "capture_output": True, "text": True, "timeout": 240, "check": False}
        return subprocess.run(command, cwd=folder, **told)
    return _shell(
        folder,
        f"mkdir ../full; mount -t tmpfs -o size=16m tmpfs ../full; cp -a {place}/. ../full;"
        f" page=$(getconf PAGESIZE); cat /dev/zero >../full/filler 2>/dev/null || true;"
        f" truncate -s -$(({left} * page)) ../full/filler; mkdir ../kept; mount --bind {place} ../kept;"
        f" mount --bind ../full {place}; code=0; node0 cycle --force || code=$?;"
        f" rm {place}/filler; cp -a {place}/. ../kept; exit $code",
    )


def _pages(path: Path) -> int:
    return -(-path.stat().st_size // os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.skipif(os.name != "posix", reason="pages and mounts are POSIX's")
@pytest.mark.parametrize("point", ["attest", "prove", "report"])
def test_a_full_disk_leaves_the_sealed_policy(applied: Path, tmp_path: Path, point: str) -> None:
    """Whether the PoI, the provenance of a change or the reports do not fit: the live policy is the sealed one."""
    folder = copied(applied, tmp_path)
    before = (folder / LIVE).read_bytes()
    name = newest(folder).cycle
    sizes = [_pages(folder / f"evidence/{kind}/{name}.dsse.json") for kind in ("poi-attestations", "slsa-provenance")]
    left = {"attest": 1, "prove": sum(sizes) - 1, "report": 1}[point]

    error = one_line_error(_on_full_disk(folder, "reports" if point == "report" else "evidence", left))

    assert os.strerror(errno.ENOSPC) in error
    assert (folder / LIVE).read_bytes() == before
    attested = len(list(folder.glob("evidence/poi-attestations/*")))
    assert attested == {"attest": 2, "prove": 3, "report": 3}[point], "it failed where it should"
    nothing_half_done(folder)
    assert rows(folder)[-1][1] == "failed"
    assert deployments(folder) == 1
    if point == "prove":
        ran = node0(folder, "cycle", "--force")
        assert ran.returncode == 3, "the failure is an incident, which closes the gates"
        assert verified(folder).unsealed is None
    assert verified(folder).policy_sha256 == sha256(before)


@pytest.mark.skipif(os.name != "posix", reason="pages and mounts are POSIX's")
def test_a_change_that_was_sealed_is_remembered_without_its_reports(applied: Path, tmp_path: Path) -> None:
    """A disk that takes the notebook but not the reports fails the cycle, and not the record of what it applied."""
    folder = copied(applied, tmp_path)
    before = (folder / LIVE).read_bytes()
    left = _pages(next(folder.glob("reports/*.ipynb"))) + 4
    if not _namespace():
        pytest.skip("needs unshare with the right to mount")
    error = one_line_error(_on_full_disk(folder, "reports", left))
    assert ".html: cannot be written" in error and os.strerror(errno.ENOSPC) in error
    assert newest(folder).status == "applied" and (folder / LIVE).read_bytes() != before
    assert deployments(folder) == 2 and rows(folder)[-1][1] == "failed"
    nothing_half_done(folder)
    verified(folder)


# Notebooks

SLEEPS = "import time\ntime.sleep(600)"
DIES = "import os, signal\nos.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))"
LEAVES = "import sys\nclose_cycle(result, out)\nsys.exit(0)"
ODD = """from IPython.display import display
print("\\x00 \\x1b[31m <script>alert(1)</script>")
display({"image/png": "no image", "text/html": "<script>alert(1)</script>", "text/latex": "$\\\\frac{"}, raw=True)
raise ValueError("\\x00 \\x1b[31m\\n\\n<script>alert(1)</script>")"""
REWRITES = f"""import json
from pathlib import Path
path = Path("{LIVE}")
path.write_text(json.dumps({{**json.loads(path.read_text()), "llm_retries": 3}}))"""
REMOVES = "import pathlib\npathlib.Path('configs/slo.yaml').unlink()"
NOTEBOOK_FAULTS = {
    "raises": (f"{REWRITES}\n1 / 0", "error", "ZeroDivisionError: division by zero"),
    "sleeps": (SLEEPS, "timeout", "stopped at its deadline of 15s"),
    "dies": (DIES, "dead-kernel", "the kernel died"),
    "leaves": (LEAVES, "incomplete", "the cell ended the run (SystemExit: 0)"),
    "odd": (ODD, "error", "ValueError"),
}


@pytest.mark.parametrize("fault", NOTEBOOK_FAULTS)
def test_a_notebook_that_fails_leaves_its_record_and_a_red_report(blocked: Path, tmp_path: Path, fault: str) -> None:
    """However a cell ends the run, outcome and cell are told, sealed and published, and the policy is as before."""
    source, outcome, message = NOTEBOOK_FAULTS[fault]
    folder = copied(blocked, tmp_path)
    before = (folder / LIVE).read_bytes()
    write_notebook(folder, ("Fault", source))
    if fault == "sleeps":
        configure(folder, "deadline: 10m", "deadline: 15s")

    ended = node0_json(folder, "cycle", "--force", expect=1)

    assert ended["status"] == outcome and ended["result"] is None
    (reason,) = ended["reasons"]
    assert "code cell 4 of 5, 'Fault'" in reason and message in reason
    _failed(folder, ended, before)
    pages = reports_of(folder, ended["cycle"])
    assert pages.count("code cell 4 of 5") >= 2 and "<script>alert" not in pages


def _failed(folder: Path, ended: Mapping[str, Any], before: bytes) -> None:
    """A failed cycle: sealed as what it was, told in red on both pages, an incident, and the policy as before."""
    poi = newest(folder)
    assert (poi.cycle, poi.status, poi.reasons) == (ended["cycle"], ended["status"], tuple(ended["reasons"]))
    assert [i["kind"] for i in poi.incidents] == ["failed"]
    assert (folder / LIVE).read_bytes() == before
    assert verified(folder).newest_cycle == ended["cycle"]
    assert rows(folder)[-1][:2] == (ended["cycle"], ended["status"])
    for kind in ("audit", "investor"):
        page = (folder / "reports" / f"{ended['cycle']}.{kind}.html").read_text("utf-8")
        assert ended["status"] in page and "failed" in page.lower()
    nothing_half_done(folder)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (FORGED, "does not follow from what it was given; nothing is applied"),
        (f"{RESULT}\n{REWRITES}", "live policy was changed while the cycle ran"),
        (f"{RESULT}\n{REMOVES}", "slo.yaml"),
    ],
    ids=["forged-result", "rewritten-policy", "removed-configuration"],
)
def test_a_notebook_that_oversteps_is_refused(blocked: Path, tmp_path: Path, source: str, told: str) -> None:
    """A result that does not follow, a policy written past the runner, a configuration removed: nothing is applied."""
    folder = copied(blocked, tmp_path)
    before, kept = (folder / LIVE).read_bytes(), (folder / "configs" / "slo.yaml").read_bytes()
    write_notebook(folder, ("Fault", source))

    ended = node0_json(folder, "cycle", "--force", expect=1)

    assert ended["status"] == "error" and told in ended["reasons"][0]
    assert str(tmp_path) not in ended["reasons"][0], "messages are sealed: no path of this machine is in them"
    (folder / "configs" / "slo.yaml").write_bytes(kept)
    _failed(folder, ended, before)


def test_a_notebook_that_lacks_a_parameter_is_recorded(blocked: Path, tmp_path: Path) -> None:
    """A notebook that does not know ``out`` is not run; the error names the parameter, and the record is sealed."""
    folder = copied(blocked, tmp_path)
    before = (folder / LIVE).read_bytes()
    write_notebook(folder, parameters='config = "configs/node0.yaml"\nat = ""')
    ended = node0_json(folder, "cycle", "--force", expect=1)
    assert ended["status"] == "error" and "out" in ended["reasons"][0] and "config" in ended["reasons"][0]
    assert "notebook" not in ended["files"], "nothing was executed"
    assert str(tmp_path) not in ended["reasons"][0], "messages are sealed: no path of this machine is in them"
    _failed(folder, ended, before)


# What the runner derives again


@pytest.fixture(scope="module")
def honest(applied: Path) -> tuple[Settings, Given, CycleResult]:
    """What an honest notebook returns for a change of class L that its watch promoted."""
    settings = load(applied / "configs" / "node0.yaml")
    given = read_given(next((applied / "data" / "cycles").iterdir()))
    return settings, given, _changed(settings, given, {"cache_ttl_s": 45.0}, ("cache_ttl",))


def _changed(settings: Settings, given: Given, change: Mapping[str, Any], kinds: tuple[str, ...]) -> CycleResult:
    """Return the result of proposing ``change``, which the notebook calls a change of those kinds."""
    rules, target = rules_of(settings), target_of(settings)
    ihsan = cycle.score_ihsan(given, rules)
    statuses = cycle.assess(given, rules, ihsan)
    gates = cycle.ask_gates(given, rules, statuses, ihsan)
    assert gates.open
    assert target is not None
    harmless = measured(target, given.policy, {**given.policy, "cache_ttl_s": 45.0}, rules.search, given.at)
    proposal = replace(harmless, policy={**given.policy, **change}, changes=tuple(change), kinds=kinds)
    classified = cycle.classify_proposal(rules, proposal)
    rollout = cycle.try_out(given, rules, harmless, classified, target, lambda *_: None)
    decision = cycle.decide(given, rules, gates, proposal, classified, rollout, target)
    return cycle.conclude(given, statuses, ihsan, gates, proposal, classified, rollout, decision)


def test_what_follows_from_the_given_is_accepted(honest: tuple[Settings, Given, CycleResult]) -> None:
    """An honest result passes as it is."""
    settings, given, result = honest
    assert result.decision.kind == "applied"
    assert derived_again(settings, given, result) is result


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"batch_size": 6400}, ("batch",)),
        ({"cache_ttl_s": float("nan")}, ("cache_ttl",)),
        ({"shell": "rm -rf"}, ("cache_ttl",)),
        ({"agent_routing": "least_loaded"}, ("cache_ttl",)),
        ({"llm_retries": 3, "cache_ttl_s": 45.0}, ("cache_ttl",)),
        ({"cache_ttl_s": 45.0}, ()),
    ],
    ids=["out-of-range", "nan", "no-knob", "kind-hidden", "one-kind-hidden", "no-kind"],
)
def test_a_proposal_is_not_a_matter_of_trust(
    honest: tuple[Settings, Given, CycleResult], change: Mapping[str, Any], kinds: tuple[str, ...]
) -> None:
    """A policy that is none, or whose risk is hidden by what its change is called, is refused."""
    settings, given, _ = honest
    with pytest.raises(DataError, match="nothing is applied"):
        derived_again(settings, given, _changed(settings, given, change, kinds))


def test_a_rollout_does_not_stand_in_for_an_approval(honest: tuple[Settings, Given, CycleResult]) -> None:
    """A change that needs an approval, or that nobody may try in this mode, is not applied because it was tried."""
    settings, given, result = honest
    assert result.proposal is not None and result.rollout is not None
    unsure = replace(result.proposal, estimate=Estimate(0.1, 0.05, 0.15, 0.5, 32))  # low confidence: class H
    classified = cycle.classify_proposal(rules_of(settings), unsure)
    decision = Decision("applied", ("improvement 10.0%", *result.rollout.reasons), unsure.policy)
    decided = cycle.decide(given, rules_of(settings), result.gates, unsure, classified, result.rollout, None)
    forged = replace(result, proposal=unsure, classified=classified, decision=decided)
    for found in (forged, replace(forged, decision=decision)):
        with pytest.raises(DataError, match="nothing is applied"):
            derived_again(settings, given, found)


# Other cycles


def _started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a cycle and return once its notebook runs."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    running = subprocess.Popen([*NODE0, "cycle", "--force", *words], cwd=folder, env=environment(folder), **pipes)
    end, before = time.monotonic() + 120, len(rows(folder))
    while len(rows(folder)) == before or station(folder) != "notebook":
        assert running.poll() is None and time.monotonic() < end, running.communicate()
        time.sleep(0.05)
    return running


def test_two_cycles_are_kept_apart(blocked: Path, tmp_path: Path) -> None:
    """A second cycle is refused while one runs, and too soon afterwards; --force overrides the latter, on record."""
    folder = copied(blocked, tmp_path)
    write_notebook(folder, ("Wait", "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"))
    first = _started(folder, "--output", "json")
    refused = node0(folder, "cycle", "--force")
    (folder / "go").touch()
    told, _ = first.communicate(timeout=120)

    assert "a cycle or a rollout is running here" in one_line_error(refused, 5)
    assert first.returncode == 3 and json.loads(told)["status"] == "blocked"
    assert newest(folder).cycle == json.loads(told)["cycle"] and newest(folder).forced is True
    remembered = rows(folder)
    soon = one_line_error(node0(folder, "cycle"), 5)
    assert "--force overrides" in soon and "the next may start at" in soon
    assert rows(folder) == remembered, "a refusal is no cycle"
    verified(folder)


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")
def test_sigterm_in_the_notebook_ends_the_cycle_on_record(blocked: Path, tmp_path: Path) -> None:
    """A cycle that is told to stop takes its kernel with it and seals that it was interrupted; the next one runs."""
    folder = copied(blocked, tmp_path)
    write_notebook(folder, ("Fault", "import pathlib, time\npathlib.Path('here').touch()\ntime.sleep(600)"))
    running = _started(folder)
    end = time.monotonic() + 120
    while not (folder / "here").exists():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    family = psutil.Process(running.pid).children(recursive=True)
    assert len(family) >= 2
    running.send_signal(signal.SIGTERM)
    told, heard = running.communicate(timeout=120)

    assert running.returncode == 1 and "Traceback" not in heard
    assert "FAILED (interrupted)" in told and "'Fault'" in told
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert newest(folder).status == "interrupted"
    nothing_half_done(folder)
    write_notebook(folder)
    assert node0_json(folder, "cycle", "--force", expect=3)["status"] == "blocked"
    verified(folder)


# What others did to the files


def test_a_live_policy_that_nobody_sealed_is_replaced(blocked: Path, tmp_path: Path) -> None:
    """A policy deleted or edited by hand is found by verification, told first by the next start, and put back."""
    folder = copied(blocked, tmp_path)
    before = (folder / LIVE).read_bytes()
    (folder / LIVE).unlink()
    refused = one_line_error(node0(folder, "cycle"), 5)
    assert "INCIDENT policy_changed: the live policy was missing" in refused, "a refused start tells what it repaired"
    assert (folder / LIVE).read_bytes() == before

    (folder / LIVE).write_bytes(before.replace(b"round_robin", b"least_loaded"))
    checked = node0(folder, "evidence", "verify")
    assert checked.returncode == 1 and "alpha.policy.json" in checked.stderr
    ran = node0(folder, "cycle", "--force")

    assert ran.returncode == 3 and ran.stdout.startswith("INCIDENT policy_changed: ")
    assert (folder / LIVE).read_bytes() == before
    assert [i["kind"] for i in newest(folder).incidents] == ["policy_changed"]
    assert node0(folder, "evidence", "verify").returncode == 0


@pytest.mark.parametrize("what", ["one byte", "deleted"])
def test_evidence_that_does_not_verify_is_never_built_upon(applied: Path, tmp_path: Path, what: str) -> None:
    """Tampered evidence is told first, blocks every cycle, is not added to; restored, it verifies again."""
    folder = copied(applied, tmp_path)
    before, name = (folder / LIVE).read_bytes(), newest(folder).cycle
    path = folder / "evidence" / "poi-attestations" / f"{name}.dsse.json"
    content = path.read_bytes()
    path.unlink()
    if what == "one byte":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    else:  # Not even where nobody asks whether the evidence verifies.
        controls = "controls: [{control: clock_monotonic, weight: 5}]\n"
        (folder / "configs" / "ihsan.yaml").write_text(controls, "utf-8")
    checked = node0(folder, "evidence", "verify")
    assert checked.returncode == 1 and path.name in checked.stderr and "Traceback" not in checked.stderr
    files = {p: p.read_bytes() for p in (folder / "evidence").rglob("*") if p.is_file()}

    ran = node0(folder, "cycle", "--force")

    assert ran.returncode == 3 and ran.stdout.startswith("INCIDENT evidence_broken: ")
    assert {p: p.read_bytes() for p in (folder / "evidence").rglob("*") if p.is_file()} == files
    assert (folder / LIVE).read_bytes() == before
    pages = reports_of(folder, rows(folder)[-1][0])
    assert "The evidence does not verify" in pages and str(tmp_path) not in pages
    path.write_bytes(content)
    assert node0(folder, "evidence", "verify").returncode == 0


@pytest.mark.parametrize("damage", ["no database", "pages"])
def test_a_damaged_memory_is_one_clear_error(blocked: Path, tmp_path: Path, damage: str) -> None:
    """A database that is garbage, or has garbage in it, ends the cycle with one line, and nothing has happened."""
    folder = copied(blocked, tmp_path)
    path = folder / "data" / "node0.sqlite"
    for side in (f"{path}-wal", f"{path}-shm"):
        Path(side).unlink(missing_ok=True)
    content = path.read_bytes()
    path.write_bytes(b"garbage " * 1000 if damage == "no database" else content[:4096] + b"\xff" * len(content[4096:]))
    before = (folder / LIVE).read_bytes()
    assert "data/node0.sqlite" in one_line_error(node0(folder, "cycle", "--force"))
    assert (folder / LIVE).read_bytes() == before
    verified(folder)


def test_a_lost_memory_does_not_shorten_the_interval(blocked: Path, tmp_path: Path) -> None:
    """Once a damaged memory is moved away the sealed cycles are remembered from the evidence: a start is too soon."""
    folder = copied(blocked, tmp_path)
    name = newest(folder).cycle
    for path in (folder / "data").glob("node0.sqlite*"):
        path.unlink()
    script = ROOT / "tests" / "integration" / "killed_cycle.py"
    at = f"{name[:4]}-{name[4:6]}-{name[6:11]}:{name[11:13]}:00Z"
    command = [sys.executable, str(script), at]
    ran = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert "RefusedError: INCIDENT memory_lost" in ran.stderr and "the next may start at" in ran.stderr
    assert verified(folder).newest_cycle == name and [row[0] for row in rows(folder)] == [name]


def test_a_damaged_history_leaves_a_record(blocked: Path, tmp_path: Path) -> None:
    """Parquet that cannot be read is a failed cycle with evidence and reports, not a wrong number."""
    folder = copied(blocked, tmp_path)
    before = (folder / LIVE).read_bytes()
    for path in (folder / "data" / "sli").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-200] + b"\0" * 200)
    ended = node0_json(folder, "cycle", "--force", expect=1)
    assert ended["status"] == "error" and ".parquet" in ended["reasons"][0]
    assert str(tmp_path) not in ended["reasons"][0], "messages are sealed: no path of this machine is in them"
    _failed(folder, ended, before)


# Secrets


def test_no_secret_leaves_the_environment(tmp_path: Path) -> None:
    """Passphrase, token and webhook address are used, and stand in no file, on no screen, and not in the kernel."""
    folder = make_workspace(tmp_path / "w", webhook_env="HOOK")
    write_notebook(folder, ("Look", "import os\nprint(dict(os.environ), os.environ.get('HOME'))"))
    seen: list[tuple[str, str, str]] = []

    def behave(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
        seen.append((handler.path, handler.headers.get("Authorization", ""), body))
        told = f"you sent {handler.headers.get('Authorization')}"
        answer(handler, 404 if "hook" in handler.path else 400, {"status": "error", "errorType": told, "error": told})

    secrets = {"NODE0_KEY_PASSPHRASE": "passphrase-3b1f9c", "TOKEN": "token-77ac04"}
    with serving(behave) as url:
        ask_prometheus(folder, url, ", token_env: TOKEN")
        address = f"{url}/hook-e09d55"
        ran = node0(folder, "cycle", HOOK=address, **secrets)

    assert ran.returncode == 3, ran.stderr
    assert any(authorization == f"Bearer {secrets['TOKEN']}" for _, authorization, _ in seen), "the token was used"
    assert [json.loads(body)["status"] for path, _, body in seen if "hook-e09d55" in path] == ["blocked"]
    assert "note: the webhook of HOOK did not take the notification" in ran.stdout
    assert b"ENCRYPTED" in (keys_of(folder) / "runner.pem").read_bytes()
    dumped = next(folder.glob("reports/*.ipynb")).read_text("utf-8")
    assert "COLUMNS" in dumped, "the notebook did show its environment"
    assert not [name for name in (*secrets, "HOOK", "NODE0_KEY_DIR") if f"'{name}'" in dumped]
    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    written[Path("screen")] = (ran.stdout + ran.stderr).encode()
    for secret in (*secrets.values(), "hook-e09d55"):
        assert not [path for path, content in written.items() if secret.encode() in content]


# What is said, and where


def test_the_screen_has_eighty_columns_and_progress_is_elsewhere(applied: Path) -> None:
    """Without a terminal the screen keeps to 80 columns of plain text, and progress goes to stderr only."""
    shown, progress = ((applied.parent / name).read_text("utf-8") for name in ("stdout", "stderr"))
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown + progress
    assert "... kernel started" in progress and "kernel started" not in shown


def test_an_error_is_json_too(blocked: Path, tmp_path: Path) -> None:
    """With --output json also a cycle that was refused, or could not begin, is one JSON document on stdout."""
    folder = copied(blocked, tmp_path)
    refused = node0(folder, "cycle", "--output", "json")
    assert refused.returncode == 5
    assert json.loads(refused.stdout)["exit_code"] == 5
    (folder / "data" / "node0.sqlite").write_bytes(b"garbage " * 1000)
    failed = node0(folder, "cycle", "--output", "json")
    assert failed.returncode == json.loads(failed.stdout)["exit_code"] == 1
    assert "data/node0.sqlite" in failed.stderr
