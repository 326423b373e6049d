"""Configuration: everything is right, or every mistake of every file is told at once with file, line and path."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from node0lib.errors import ConfigError
from node0lib.ihsan import CONTROLS
from node0lib.optimize.propose import Search
from node0lib.shell.config import EmbeddedTarget, EmbeddedTelemetry, PrometheusTelemetry, Settings, TrafficTarget, load
from node0lib.shell.prometheus import expand
from node0lib.shell.slo_schema import SloModel
from node0lib.shell.workspace import target_of
from node0lib.shell.yaml_lines import MAX_VALUES, parse
from node0lib.simulate.streams import STREAMS
from node0lib.slo.catalogue import Catalogue

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "configs"
NODE = """slo: slo.yaml
ihsan: ihsan.yaml
policy: alpha.policy.json
mode: recommend
telemetry: {kind: embedded}
target: {kind: embedded}
"""
PROMETHEUS = NODE.replace("{kind: embedded}", '{kind: prometheus, url: "http://127.0.0.1:9090"}', 1)
SLO = "slos:\n  - {name: api, kind: ratio, objective: 0.999, window: 30d, stream: api}\n"
RATIO = "name: api, kind: ratio, window: 30d, stream: api"
QUERIES = '{good: "a[$window]", total: "b[$window]"}'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small installation that is right; messages are relative to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "production_cycle.ipynb").write_text("{}", encoding="utf-8")
    for name in ("ihsan.yaml", "alpha.policy.json"):
        shutil.copy(SHIPPED / name, tmp_path / "configs" / name)
    write(tmp_path, node0=NODE, slo=SLO)
    return tmp_path


def write(place: Path, **files: str | bytes) -> None:
    """Write configuration files by their stem."""
    for stem, text in files.items():
        content = text if isinstance(text, bytes) else text.encode()
        (place / "configs" / f"{stem}.yaml").write_bytes(content)


def told(place: Path, name: str = "node0.yaml") -> list[str]:
    """The lines of the error that loading raises."""
    with pytest.raises(ConfigError) as error:
        load(place / "configs" / name)
    return str(error.value).split("\n")


def loaded(place: Path) -> Settings:
    """The settings of an installation that is right."""
    return load(place / "configs" / "node0.yaml")


# What is shipped


def test_the_shipped_slo_file_spells_out_the_defaults() -> None:
    """configs/slo.yaml and the defaults of the catalogue say the same, section by section."""
    found = load(SHIPPED / "node0.yaml").catalogue
    assert found == Catalogue(found.slos)


def test_the_shipped_slo_file_writes_every_key() -> None:
    """Nobody has to look for a rule that the file leaves out."""
    text = parse((SHIPPED / "slo.yaml").read_bytes())
    for section, value in {
        "error_budget_policy": Catalogue(()).budget_policy,
        "dora_targets": Catalogue(()).dora,
        "execution_gates": Catalogue(()).gates,
        "canary": Catalogue(()).canary,
        "rollback_policy": Catalogue(()).rollback,
        "alerting": Catalogue(()).alerting,
    }.items():
        written = text.at((section,))
        assert isinstance(written, dict) and set(written) == set(vars(value)), section


def test_the_shipped_slos_are_those_of_the_domain() -> None:
    """Ten SLOs, in their order, with their kinds, objectives, thresholds, windows and streams."""
    hour, day = timedelta(hours=1), timedelta(days=1)
    rows = [
        ("api_availability", "ratio", 0.999, 30 * day, None, None, "api"),
        ("api_latency_p95", "timeslice", 0.9, hour, 0.95, 0.05, "api"),
        ("api_latency_p99", "timeslice", 0.99, hour, 0.99, 0.15, "api"),
        ("alpha_availability", "ratio", 0.995, 30 * day, None, None, "alpha"),
        ("alpha_latency_p95", "timeslice", 0.9, hour, 0.95, 0.4, "alpha"),
        ("mcp_llm_latency_p95", "timeslice", 0.9, hour, 0.95, 0.1, "mcp_llm"),
        ("mcp_tools_availability", "ratio", 0.999, 30 * day, None, None, "mcp_tools"),
        ("agent_success_rate", "ratio", 0.95, day, None, None, "agent"),
        ("agent_coordination_latency", "timeslice", 0.9, hour, 0.95, 0.2, "coordination"),
        ("ihsan_compliance", "invariant", 1.0, hour, None, None, None),
    ]
    slos = load(SHIPPED / "node0.yaml").catalogue.slos
    assert [(s.name, s.kind, s.objective, s.window, s.quantile, s.threshold_s, s.stream) for s in slos] == rows
    assert slos[-1].minimum == 100 and all(s.description for s in slos)


def test_the_shipped_slos_work_on_a_prometheus_too(place: Path) -> None:
    """Switching telemetry.kind is all that a real Prometheus needs; one that scrapes too seldom for a slice is told."""
    shutil.copy(SHIPPED / "slo.yaml", place / "configs" / "slo.yaml")
    write(place, node0=PROMETHEUS)
    assert isinstance(loaded(place).telemetry, PrometheusTelemetry)
    write(place, node0=PROMETHEUS.replace("kind: prometheus", "kind: prometheus, scrape_interval: 1m"))
    slow = told(place)
    assert len(slow) == 5 and all(".slice: 1m holds fewer than two scrapes of 1m; " in text for text in slow)


def test_the_shipped_installation() -> None:
    """The shipped node0.yaml is autonomous on the embedded node, hourly, with every path absolute."""
    found = load(SHIPPED / "node0.yaml")
    assert found.root == ROOT and found.mode == "autonomous"
    assert found.telemetry == EmbeddedTelemetry(20260101, timedelta(days=30))
    assert found.target == EmbeddedTarget(20260101)
    assert (found.data, found.evidence, found.reports) == (ROOT / "data", ROOT / "evidence", ROOT / "reports")
    assert found.notebook == ROOT / "notebooks" / "production_cycle.ipynb"
    assert found.optimizer == Search(trials=60, seeds=3, fresh_seeds=32, seed=1)
    assert found.schedule.every == timedelta(hours=1)
    assert found.constraints == ROOT / "constraints.txt"
    assert found.notification.on == ("blocked", "rolled_back", "failed")
    names = ["node0.yaml", "slo.yaml", "ihsan.yaml", "alpha.policy.json"]
    assert found.files == tuple(SHIPPED / name for name in names)
    assert found.secret_variables == () and found.notes == ()
    assert {control.name for control in found.ihsan} == set(CONTROLS)


def test_the_shipped_example_reads_prometheus_by_its_own_metrics() -> None:
    """The example has its SLOs inline, on bucket bounds that exist, and folders of its own below the same root."""
    found = load(SHIPPED / "examples" / "prometheus-self.yaml")
    assert found.root == ROOT and found.mode == "recommend" and found.target is None
    assert found.data == ROOT / "data" / "prometheus-self"
    assert isinstance(found.telemetry, PrometheusTelemetry)
    assert found.telemetry.endpoint.url == "http://127.0.0.1:9090"
    bounds = {0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0}
    assert {s.threshold_s for s in found.catalogue.slos if s.threshold_s} <= bounds
    assert {s.kind for s in found.catalogue.slos} == {"ratio", "latency", "timeslice", "invariant"}
    assert found.catalogue.slos[0].queries["total"].startswith("sum(increase(prometheus_http_requests_total")


@pytest.mark.real
@pytest.mark.parametrize("name", ["node0.yaml", "examples/prometheus-self.yaml"])
def test_the_shipped_queries_are_promql(name: str, tmp_path: Path) -> None:
    """Prometheus's own parser accepts every query that is shipped."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    queries = [q for slo in load(SHIPPED / name).catalogue.slos for q in slo.queries.values()]
    rules = [{"record": f"query:{n}", "expr": expand(q, timedelta(hours=1))} for n, q in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    told = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert told.returncode == 0 and f"{len(rules)} rules found" in told.stdout, told.stdout + told.stderr


# What is right


def test_a_small_installation_keeps_the_defaults(place: Path) -> None:
    """Sections and keys that are left out stand at their defaults."""
    found = loaded(place)
    assert found.catalogue == Catalogue(found.catalogue.slos)
    assert found.root == place and found.schedule.deadline == timedelta(minutes=10)
    assert found.constraints is None


@pytest.mark.parametrize("change", ["crlf", "bom", "both"])
def test_line_ends_and_byte_order_marks_do_not_matter(place: Path, change: str) -> None:
    """Files that a Windows editor saved are read, and lines are counted alike."""
    before = loaded(place)
    for path in (place / "configs").iterdir():
        content = path.read_bytes()
        content = content.replace(b"\n", b"\r\n") if change != "bom" else content
        path.write_bytes(b"\xef\xbb\xbf" + content if change != "crlf" else content)
    assert loaded(place) == before
    bad = (place / "configs" / "slo.yaml").read_bytes().replace(b"0.999", b"1.2")
    write(place, slo=bad)
    assert told(place) == [
        "configs/slo.yaml:2: slos.api.objective: 1.2 must lie strictly between 0 and 1; write 99.9% as 0.999"
    ]


def test_words_that_yaml_1_1_reads_differently_are_words(place: Path) -> None:
    """The key ``on`` is a key, and 1e-1 is a number."""
    extra = "notification: {on: [failed]}\n"
    write(place, node0=NODE + extra, slo=SLO.replace("0.999", "9e-1"))
    assert loaded(place).notification.on == ("failed",)
    assert loaded(place).catalogue.slos[0].objective == 0.9


def test_shares_are_numbers_or_percentages(place: Path) -> None:
    """25% and 0.25 are one share, to the last bit."""
    both = "error_budget_policy: {{freeze_below: {0}, optimize_above: {1}}}\n"
    write(place, slo=SLO + both.format("25%", "57.3%"))
    percent = loaded(place).catalogue
    write(place, slo=SLO + both.format("0.25", "0.573"))
    assert loaded(place).catalogue == percent
    assert percent.budget_policy.optimize_above == 0.573


def test_the_root_is_above_configs_or_the_files_own_folder(place: Path) -> None:
    """A file outside of any configs folder is an installation of its own folder."""
    (place / "configs").rename(place / "settings")
    (place / "notebooks").rename(place / "settings" / "notebooks")
    found = load(Path("settings/node0.yaml"))
    assert found.root == place / "settings" and found.data == place / "settings" / "data"


def test_credentials_are_named_and_never_read(place: Path) -> None:
    """Settings hold the names of the variables, so that they can be kept from the notebook."""
    url = 'url: "https://127.0.0.1", username_env: U, password_env: P, timeout: 3s, delay: 1m'
    node = NODE.replace("kind: embedded}", f"kind: prometheus, {url}}}", 1) + "notification: {webhook_env: W}\n"
    write(place, node0=node, slo=SLO.replace("stream: api", f"queries: {QUERIES}"))
    found = loaded(place)
    assert set(found.secret_variables) == {"U", "P", "W"}
    assert isinstance(found.telemetry, PrometheusTelemetry)
    assert found.telemetry.delay == timedelta(minutes=1)
    assert found.telemetry.endpoint.timeout == timedelta(seconds=3)


def test_an_alert_that_can_never_fire_is_noted_and_not_refused(place: Path) -> None:
    """A burn of 14.4 cannot be reached at an objective of 0.9: worth a note, not an error."""
    write(place, slo=SLO.replace("0.999", "0.9"))
    assert loaded(place).notes == (
        "the critical alert over 1h can never fire for api: it asks for a burn above 14.4, "
        "and the most there can be is 10",
    )


def test_real_traffic_is_a_target_on_which_nothing_is_measured(place: Path) -> None:
    """A target behind HAProxy is named by its file, relative to the configuration; cycles have none to measure on."""
    write(place, node0=NODE.replace("target: {kind: embedded}", "target: {kind: haproxy, file: t.yaml}"))
    found = loaded(place)
    assert found.target == TrafficTarget((place / "configs" / "t.yaml").absolute()) and target_of(found) is None


def test_settings_are_frozen(place: Path) -> None:
    """What was read cannot be changed afterwards; a copy can."""
    found = loaded(place)
    with pytest.raises(AttributeError):
        found.mode = "autonomous"  # type: ignore[misc]
    assert replace(found, mode="autonomous") != found


def test_streams_are_those_of_the_embedded_node() -> None:
    """The streams that may be written are the streams that exist."""
    annotation = SloModel.model_fields["stream"].annotation
    assert all(repr(stream) in str(annotation) for stream in STREAMS)
    assert str(annotation).count("'") == 2 * len(STREAMS)


# Files that cannot be read


def test_a_missing_file_is_told_where_it_is_named(place: Path) -> None:
    """Each missing file is one line, at the key that names it; the missing first file names itself."""
    assert told(place, "nope.yaml") == ["configs/nope.yaml: does not exist; create it, or correct its name"]
    for name in ("slo.yaml", "ihsan.yaml", "alpha.policy.json"):
        (place / "configs" / name).unlink()
    rest = "does not exist; create it, or correct its name"
    assert told(place) == [
        f"configs/node0.yaml:1: slo: configs/slo.yaml {rest}",
        f"configs/node0.yaml:2: ihsan: configs/ihsan.yaml {rest}",
        f"configs/node0.yaml:3: policy: configs/alpha.policy.json {rest}",
    ]


def test_a_folder_is_no_file(place: Path) -> None:
    """A folder in a file's place is told as one."""
    assert told(place, "") == ["configs: is a folder; name the file in it"]
    write(place, node0=NODE.replace("slo.yaml", "."))
    assert told(place) == ["configs/node0.yaml:1: slo: configs is a folder; name the file in it"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_to_itself_is_told(place: Path) -> None:
    """A link that leads to itself is no file, and the message says what is wrong with it."""
    path = place / "configs" / "slo.yaml"
    path.unlink()
    path.symlink_to(path)
    assert told(place)[0].endswith("configs/slo.yaml cannot be resolved; does a link lead to itself?")


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "1: is empty; it must hold a mapping of keys"),
    "comments": (b"# nothing\n", "1: is empty; it must hold a mapping of keys"),
    "malformed": (
        b"slos:\n  - {name: a\n  - b: c}\n",
        "3: is not YAML: expected ',' or '}', but got ':' at column 6, "
        "while parsing a flow mapping begun in line 2; correct it here or just above",
    ),
    "tab": (
        b"slos:\n\t- a\n",
        "2: is not YAML: found character '\\t' that cannot start any token at column 1; correct it here or just above",
    ),
    "latin-1": (b"slos: \n# caf\xe9\n", "2: is not UTF-8 (byte 0xe9); save the file as UTF-8"),
    "utf-16": ("slos: 1".encode("utf-16-le"), "1: holds a control character; remove it"),
    "control": (b"slos: 1\n\n\x07\n", "3: holds a control character; remove it"),
    "escape": (
        b'slos: "\\UFFFFFFFF"',
        "1: is malformed: it holds an escape or a number that no character or version has",
    ),
    "bomb": (BOMB.encode(), ": expands to more than 10,000 values or 40 levels through its aliases; write them out"),
    "cycle": (b"slos: &a [*a, *a]", "1: expands to more than 10,000 values or 40 levels through its aliases"),
    "deep": (b"[" * 100_000, "1: is not YAML: nested more than 40 levels deep"),
    "two": (b"--- {}\n--- {}\n", "2: is not YAML: but found another document at column 1"),
    "huge": (b"#" * (1 << 20) + b"##", "1: is larger than 1 MiB; a configuration file is not"),
    "tag": (
        b"slos: !!python/object/apply:os.system [echo]\n",
        "1: slos: has the tag !!python/object/apply:os.system; tags are not allowed, write a plain value",
    ),
    "null": (b"~\n", "1: an empty value is not a mapping of SLOs and the rules around them"),
    "list": (b"- a\n", "1: a list is not a mapping of SLOs and the rules around them; write the keys slos, "),
    "text": (b"hello\n", "1: 'hello' is not a mapping of SLOs and the rules around them; write the keys slos, "),
    "twice": (
        SLO.encode() + b"canary:\n  alpha: 0.05\n  beta: 0.05\n  alpha: 0.01\n",
        "6: canary.alpha: is written twice, first in line 4; keep one of the two",
    ),
    "merge": (SLO.encode() + b"<<: {canary: {}}\n", "3: <<: is no key here; known are slos, "),
    "key": (SLO.encode() + b"? [a]\n: 1\n", "3: has a key that is no text; keys are plain words"),
    "surrogate": (SLO.replace("api,", '"\\ud800",').encode(), "2: slos[0].name: '?' cannot be read as str"),
    "anchor": (SLO.encode() + b"canary: *x\n", "3: is not YAML: found undefined alias 'x' at column 9"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_is_no_configuration_is_one_clear_line(place: Path, case: str) -> None:
    """Whatever the bytes are, there is one line with the file, the line and what to do."""
    content, expected = TEXTS[case]
    write(place, slo=content)
    lines = told(place)
    assert len(lines) == 1 and lines[0].startswith("configs/slo.yaml:") and expected in lines[0], lines


def test_the_first_file_gets_the_same_care(place: Path) -> None:
    """A node0.yaml that is no YAML is told with line and column."""
    write(place, node0="mode: [\n")
    assert told(place)[0].startswith("configs/node0.yaml:2: is not YAML: ")
    write(place, node0="- a\n")
    assert told(place) == [
        "configs/node0.yaml:1: a list is not a mapping of keys; indent the keys below it, or remove it"
    ]


def test_aliases_within_measure_are_expanded() -> None:
    """An alias that repeats a few values is a convenience, not an attack."""
    document = parse(b"a: &x {b: 1}\nc: *x\n")
    assert document.data == {"a": {"b": 1}, "c": {"b": 1}} and document.problems == ()
    assert parse(f"[{'1, ' * (MAX_VALUES - 1)}]".encode()).problems == ()


# Mistakes, all of them


def test_every_mistake_of_every_file_is_told_at_once(place: Path) -> None:
    """One error holds all mistakes of four files, each with file, line and path, in the order of the files."""
    node = NODE.replace("recommend", "auto") + "shedule: {}\nschedule:\n  every: 5\n  at_least_between: 1h\n"
    slo = (
        "slos:\n"
        "  - name: api_latency_p95\n"
        "    kind: timeslice\n"
        "    objective: 1.2\n"
        "    window: 0s\n"
        "    stream: api\n"
        "  - {name: b, kind: rato, objective: 0.9, window: 1h, streem: api}\n"
        "error_budget_policy:\n"
        "  freeze_below: 60%\n"
    )
    ihsan = "controls:\n  - {control: evidence_chain, weight: 0}\n  - {control: crash_fre, weight: 1}\n"
    (place / "configs" / "alpha.policy.json").write_text('{\n"cache_ttl_s": 0,\n"cache_ttl_s": 1}', encoding="utf-8")
    write(place, node0=node, slo=slo, ihsan=ihsan)
    lines = told(place)
    assert lines[:9] == [
        "configs/node0.yaml:4: mode: 'auto' is not one of recommend, autonomous; choose one",
        "configs/node0.yaml:7: shedule: is no key here; did you mean schedule?",
        "configs/node0.yaml:9: schedule.every: 5 is not a duration; write for example 5m, 1h30m or 30d",
        "configs/slo.yaml:4: slos.api_latency_p95.objective: 1.2 must lie strictly between 0 and 1; "
        "write 99.9% as 0.999",
        "configs/slo.yaml:5: slos.api_latency_p95.window: the duration '0s' is zero; it must be longer than 0",
        "configs/slo.yaml:7: slos.b.kind: 'rato' is not one of ratio, latency, timeslice, invariant; "
        "did you mean ratio?",
        "configs/slo.yaml:7: slos.b.streem: is no key here; did you mean stream?",
        "configs/slo.yaml:9: error_budget_policy.freeze_below: optimize_above must be at least freeze_below: "
        "who may not deploy may not optimize",
        "configs/ihsan.yaml:2: controls.evidence_chain.weight: 0 must be more than 0",
    ]
    assert (
        lines[9]
        == "configs/ihsan.yaml:3: controls.crash_fre.control: 'crash_fre' is no control; did you mean crash_free?"
    )
    assert lines[10].startswith("configs/alpha.policy.json:1: agent_routing: is missing; write one of")
    assert lines[-1] == (
        "configs/alpha.policy.json:3: cache_ttl_s: is written twice, first in line 2; keep one of the two"
    )
    assert len(lines) == 10 + 7 + 1


def slo_line(text: str, extra: str = "") -> str:
    """A slo.yaml of one SLO, written in line 2."""
    return f"slos:\n  - {{{text}}}\n{extra}"


STRICTLY = "must lie strictly between 0 and 1; write 99.9% as 0.999"
SLICES = "name: api, kind: timeslice, objective: 0.9, stream: api, quantile: 0.95, threshold: 50ms"
SLO_MISTAKES = [
    (f"{RATIO}, objective: 0", f"objective: 0 {STRICTLY}"),
    (f"{RATIO}, objective: 1", f"objective: 1 {STRICTLY}; only an invariant promises everything"),
    (f"{RATIO}, objective: 100", f"objective: 100 {STRICTLY}"),
    (f"{RATIO}, objective: 99.9", f"objective: 99.9 {STRICTLY}"),
    (f"{RATIO}, objective: -0.1", f"objective: -0.1 {STRICTLY}"),
    (f"{RATIO}, objective: .nan", f"objective: .nan {STRICTLY}"),
    (f"{RATIO}, objective: .inf", f"objective: .inf {STRICTLY}"),
    (f"{RATIO}, objective: '0.9'", "objective: '0.9' is not a number; write 99.9% as 0.999, without quotes"),
    (f"{RATIO}, objective: true", "objective: true is not a number; write 99.9% as 0.999, without quotes"),
    (f"{RATIO}, objective: 99.9%", "objective: '99.9%' is not a number; write 99.9% as 0.999, without quotes"),
    (f"{RATIO}, objective: ", "objective: an empty value is not a number"),
    (RATIO, "objective: is missing; add for example objective: 0.999"),
    (f"{RATIO}, objective: 0.9, threshold: 1s", "threshold: has no meaning for a ratio objective; remove it"),
    (f"{RATIO}, objective: 0.9, minimum: 1", "minimum: has no meaning for a ratio objective; remove it"),
    (f"{RATIO}, objective: 0.9, slice: 1m", "slice: has no meaning for a ratio objective; remove it"),
    ("name: api, kind: ratio, objective: 0.9, window: 1h", "api: has no source; add stream, or queries with good and"),
    ("name: api, kind: ratio, objective: 0.9, window: 5, stream: api", "window: 5 is not a duration; write for"),
    ("name: api, kind: ratio, objective: 0.9, window: 0m, stream: api", "window: the duration '0m' is zero"),
    ("name: api, kind: ratio, objective: 0.9, window: 99999w, stream: api", "window: the duration '99999w' is longer"),
    (f"name: api, kind: ratio, objective: 0.9, stream: api, window: {'9' * 30}w", "is longer than ten years"),
    ("name: api, kind: ratio, objective: 0.9, window: 90s, stream: api", "window: 1m30s is not in whole minutes"),
    ("name: api, kind: latency, objective: 0.9, window: 1h, stream: api", "threshold: is missing: a latency objective"),
    (
        "name: api, kind: latency, objective: 0.9, window: 1h, stream: api, threshold: 51ms",
        "no bucket bound at 0.051 s",
    ),
    ("name: api, kind: latency, objective: 0.9, window: 1h, stream: api, threshold: 0.05", "0.05 is not a duration"),
    ("name: api, kind: timeslice, objective: 0.9, window: 1h, stream: api, threshold: 50ms", "quantile: is missing"),
    (f"{SLICES}, window: 1h, slice: 1h", "slice: must be shorter than the window"),
    (f"{SLICES}, window: 1h, slice: 7m", "slice: must divide the window into whole slices"),
    (f"{SLICES.replace('0.95', '1')}, window: 1h", "quantile: 1 must lie strictly between 0 and 1"),
    (f"{SLICES.replace('0.95', '95')}, window: 1h", "quantile: 95 must lie strictly between 0 and 1"),
    ("name: api, kind: invariant, objective: 1, window: 1h", "minimum: is missing: an invariant objective needs it"),
    (
        "name: api, kind: invariant, objective: 0.9, window: 1h, minimum: 1",
        "objective: 0.9 must be 1: an invariant has",
    ),
    ("name: api, kind: invariant, objective: 1, window: 1h, minimum: .inf", "minimum: .inf is not a finite number"),
    (
        "name: api, kind: invariant, objective: 1, window: 1h, minimum: 1, stream: api",
        "stream: the embedded node has no",
    ),
    (f"{RATIO.replace('ratio', 'latenci')}, objective: 0.9", "timeslice, invariant; did you mean latency?"),
    (f"{RATIO.replace('ratio', '7')}, objective: 0.9", "kind: 7 is not one of ratio, latency"),
    (f"{RATIO}, objectiv: 0.9, objective: 0.9", "objectiv: is no key here; did you mean objective?"),
    (f"{RATIO.replace('stream: api', 'stream: apl')}, objective: 0.9", "stream: 'apl' is not one of api, alpha"),
    (f"{RATIO.replace('api,', 'A b,', 1)}, objective: 0.9", "name: 'A b' is not a name; write small letters"),
    (f"{RATIO}, objective: 0.9, queries: {{good: 'a[$window]'}}", "queries: lacks total; a ratio objective needs good"),
    (f"{RATIO}, objective: 0.9, queries: {{god: 'a[$window]'}}", "queries.god: 'god' is not one of good, total"),
    (f"{RATIO}, objective: 0.9, queries: {{good: a, total: 'b[$window]'}}", "queries.good: must contain $window"),
    (
        f"{RATIO}, objective: 0.9, queries: {{good: ' ', total: 'b[$window]'}}",
        "queries.good: is empty; write something",
    ),
    (
        f"{RATIO}, objective: 0.9, queries: {{good: 'a [$window]', total: 'a  [$window] '}}",
        "queries.good: is the same as total, which is 100% good for ever",
    ),
    (
        f"{RATIO}, objective: 0.9, queries: {{good: 'a[$window]', total: 'b[$window]', gauge: g}}",
        "queries.gauge: is not asked for: kind ratio has good and total",
    ),
]


@pytest.mark.parametrize(("text", "expected"), SLO_MISTAKES, ids=[t for _, t in SLO_MISTAKES])
def test_an_slo_that_makes_no_sense_is_refused(place: Path, text: str, expected: str) -> None:
    """Each mistake is one line, at the SLO's line, that says what is wrong and what to do."""
    write(place, slo=slo_line(text))
    lines = told(place)
    assert len(lines) == 1 and lines[0].startswith("configs/slo.yaml:2: slos"), lines
    assert expected in lines[0]


def test_two_slos_of_one_name_are_refused(place: Path) -> None:
    """The second one is told, with the line of the first."""
    write(place, slo=SLO + SLO.partition("\n")[2])
    assert told(place) == ["configs/slo.yaml:3: slos[1].name: api is taken, first in line 2; names must differ"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slos: []", "1: slos: must be a list with one item at least; begin an item with a dash"),
        ("slos: {api: {}}", "1: slos: must be a list with one item at least"),
        ("canary: {}", "1: slos: is missing; begin an item with a dash: - name: api_availability"),
        ("slos: [5]", "1: slos[0]: 5 is not a mapping of keys; write - name: api_availability"),
    ],
)
def test_without_slos_there_is_nothing_to_promise(place: Path, text: str, expected: str) -> None:
    """A catalogue has at least one SLO, in a list."""
    write(place, slo=text)
    assert told(place)[0].startswith(f"configs/slo.yaml:{expected}")


PAIR = "severity: info, budget: 2%, long: 1h, short: 5m"
RULE_MISTAKES = [
    ("alerting: {pairs: [{" + PAIR.replace("5m", "1h") + "}]}", "alerting.pairs[0].short: must be shorter than long"),
    ("alerting: {pairs: [{" + PAIR.replace("2%", "0%") + "}]}", "alerting.pairs[0].budget: must be more than 0"),
    (
        "alerting: {pairs: [{" + PAIR.replace("info", "inf") + "}]}",
        "severity: 'inf' is not one of critical, warning, info",
    ),
    ("alerting: {pairs: []}", "alerting.pairs: must be a list with one item at least"),
    ("alerting: {min_bad: -1}", "alerting.min_bad: -1 must be at least 0"),
    ("alerting: {min_bad: 1.0}", "alerting.min_bad: 1.0 is not a whole number"),
    ("alerting:", "alerting: an empty value is not a mapping of keys"),
    ("change_classes: {M: {stages: [5%, 5%, 100%]}}", "change_classes.M.stages[1]: 0.05 must be more than 0.05"),
    (
        "change_classes: {M: {stages: [0%, 100%]}}",
        "change_classes.M.stages[0]: 0 must be more than 0, the stage before",
    ),
    ("change_classes: {M: {stages: [5%, 50%]}}", "change_classes.M.stages: must end in 100%"),
    ("change_classes: {M: {stages: [5]}}", "change_classes.M.stages[0]: 5 must lie between 0 and 1; write a quarter"),
    ("change_classes: {M: {harm_cap: 1}}", "change_classes.M.harm_cap: 1 must be more than 1"),
    ("change_classes: {L: {kinds: [batch, retry]}}", "change_classes.M.kinds: retry is listed in class L too"),
    ("change_classes: {L: {kinds: [batch, batch]}}", "change_classes.L.kinds[1]: batch is listed twice; remove one"),
    ("change_classes: {XL: {}}", "change_classes.XL: is no key here; "),
    (
        "change_classes: {L: {approval: no}}",
        "approval: 'no' is neither true nor false; write one of them, without quotes",
    ),
    ("error_budget_policy: {freeze_below: 60%}", "freeze_below: optimize_above must be at least freeze_below"),
    ("error_budget_policy: {freeze_below: 25}", "freeze_below: 25 must lie between 0 and 1; write a quarter as 25%"),
    ("error_budget_policy: {freeze_below: x%}", "freeze_below: 'x%' is not a share; write 25% or 0.25"),
    ("error_budget_policy: {freeze_below: .nan}", "freeze_below: .nan is not a finite number"),
    ("error_budget_policy: {alert_at_burn: .inf}", "alert_at_burn: .inf is not a finite number"),
    ("error_budget_policy: {alert_at_burn: 0}", "alert_at_burn: 0 must be more than 0"),
    ("dora_targets: {lead_time: 1 hour}", "dora_targets.lead_time: '1 hour' is not a duration; write for example 5m"),
    ("execution_gates: {ihsan_at_least: 101}", "execution_gates.ihsan_at_least: 101 must be at most 100"),
    ("execution_gates: {telemetri: true}", "execution_gates.telemetri: is no key here; did you mean telemetry?"),
    ("canary: {error_rate: 0%}", "canary.error_rate: '0%' must be more than 0 and at most 1000%"),
    ("canary: {alpha: 0.5}", "canary.alpha: 0.5 must be less than 0.5"),
    ("canary: [5%]", "canary: a list is not a mapping of keys"),
    ("rollback_policy: {within: 0s}", "rollback_policy.within: the duration '0s' is zero"),
    ("rolback_policy: {}", "rolback_policy: is no key here; did you mean rollback_policy?"),
]


@pytest.mark.parametrize(("text", "expected"), RULE_MISTAKES, ids=[t for t, _ in RULE_MISTAKES])
def test_a_rule_that_makes_no_sense_is_refused(place: Path, text: str, expected: str) -> None:
    """Each section's mistakes are one line, at the line of the key."""
    write(place, slo=SLO + text + "\n")
    lines = told(place)
    assert len(lines) == 1 and lines[0].startswith("configs/slo.yaml:3: ") and expected in lines[0], lines


URL = '"http://127.0.0.1:9090"'
SECRET = "hunter2-secret!"
NODE_MISTAKES = [
    ("telemetry: {kind: embeded}", "telemetry.kind: 'embeded' is no telemetry; did you mean embedded?"),
    ("telemetry: {kind: 1}", "telemetry.kind: 1 is no telemetry; write embedded or prometheus"),
    ("telemetry: {seed: 1}", "telemetry.kind: is missing; write embedded or prometheus"),
    ("telemetry: embedded", "telemetry.kind: is missing; write embedded or prometheus"),
    ("telemetry: {kind: embedded, seed: -1}", "telemetry.seed: -1 must be at least 0"),
    ("telemetry: {kind: embedded, history: 1m}", "telemetry.history: must lie between 1h and 366d"),
    ("telemetry: {kind: embedded, url: x}", "telemetry.url: is no key here; known are kind, seed, history"),
    ("telemetry: {kind: prometheus}", "telemetry.url: is missing; add for example url: http://127.0.0.1:9090"),
    (f'telemetry: {{kind: prometheus, url: "http://u:{SECRET}@h"}}', "telemetry.url: the url holds credentials"),
    ("telemetry: {kind: prometheus, url: ftp://h}", "telemetry.url: the url must be http(s)://host:port"),
    ("telemetry: {kind: prometheus, url: 5}", "telemetry.url: must be text; write for example"),
    (f"telemetry: {{kind: prometheus, url: {URL}, token_env: {SECRET}}}", "telemetry.token_env: must be the name of"),
    (
        f"telemetry: {{kind: prometheus, url: {URL}, username_env: U}}",
        "telemetry: has one of username_env and password_env",
    ),
    (
        f"telemetry: {{kind: prometheus, url: {URL}, username_env: U, password_env: P, token_env: T}}",
        "telemetry.token_env: is one way in and username_env with password_env another",
    ),
    (
        f"telemetry: {{kind: prometheus, url: {URL}, ca_file: ca.pem}}",
        "telemetry.ca_file: configs/ca.pem does not exist",
    ),
    (f"telemetry: {{kind: prometheus, url: {URL}, attempts: 0}}", "telemetry.attempts: 0 must be at least 1"),
    ("target: {kind: real}", "target.kind: 'real' is not one of embedded, haproxy, none"),
    ("target: {kind: haproxy}", "target.kind: file is for kind: haproxy, which needs one; node0 demo up writes"),
    ("target: {kind: none, file: t.yaml}", "target.file: file is for kind: haproxy"),
    ("target: none", "target: 'none' is not a mapping of keys"),
    ("slo: 5", "slo: 5 is neither a file's name nor a mapping; write for example slo.yaml"),
    ("policy: 5", "policy: 5 is not a path; write for example data, with / between folders"),
    ("mode: yes", "mode: 'yes' is not one of recommend, autonomous; choose one"),
    ("paths: {data: x, reports: ./x}", "paths.reports: is the same folder as data; each needs a folder of its own"),
    ("paths: {data: configs/slo.yaml}", "paths.data: configs/slo.yaml is a file; name a folder"),
    ("paths: {notebook: n.ipynb}", "paths.notebook: n.ipynb does not exist; create it, or correct its name"),
    ("schedule: {every: 5m}", "schedule.every: at_least_between must not be longer than every"),
    ("optimizer: {trials: 0}", "optimizer.trials: 0 must be at least 1"),
    ("optimizer: {trials: true}", "optimizer.trials: true is not a whole number"),
    ("evidence: {constraints: c.txt}", "evidence.constraints: configs/c.txt does not exist; create it"),
    ("notification: {on: failed}", "notification.on: 'failed' is not a list; write [a, b]"),
    ("notification: {on: [failure]}", "notification.on[0]: 'failure' is not one of applied"),
    ("notification: {file: ../n.jsonl}", "notification.file: '../n.jsonl' must be the plain name of a .jsonl file"),
    ("notification: {file: node0.sqlite}", "notification.file: 'node0.sqlite' must be the plain name of a .jsonl file"),
    (f'notification: {{webhook_env: "https://h/{SECRET}"}}', "notification.webhook_env: must be the name of an"),
]


@pytest.mark.parametrize(("text", "expected"), NODE_MISTAKES, ids=[t for t, _ in NODE_MISTAKES])
def test_a_setting_that_makes_no_sense_is_refused(place: Path, text: str, expected: str) -> None:
    """Each mistake of node0.yaml is told at its line, and no message repeats what may be a secret."""
    key = text.partition(":")[0]
    lines = [text if line.startswith(f"{key}:") else line for line in NODE.splitlines()]
    if text not in lines:
        lines.append(text)
    write(place, node0="\n".join(lines) + "\n", slo=SLO.replace("stream: api", f"stream: api, queries: {QUERIES}"))
    found = told(place)
    assert len(found) == 1 and found[0].startswith(f"configs/node0.yaml:{lines.index(text) + 1}: "), found
    assert expected in found[0] and SECRET not in found[0]


def test_what_must_be_there_is_asked_for(place: Path) -> None:
    """A node0.yaml without its keys says each of them, with an example."""
    write(place, node0="schedule: {every: 1h}\n")
    assert told(place) == [
        "configs/node0.yaml:1: ihsan: is missing; add for example ihsan: ihsan.yaml",
        "configs/node0.yaml:1: mode: is missing; add for example mode: recommend",
        "configs/node0.yaml:1: policy: is missing; add for example policy: alpha.policy.json",
        "configs/node0.yaml:1: slo: is missing; add for example slo: slo.yaml",
        "configs/node0.yaml:1: target: is missing; add for example target: {kind: none}",
        "configs/node0.yaml:1: telemetry: is missing; add for example telemetry: {kind: embedded}",
    ]


def test_telemetry_must_be_able_to_answer_for_every_slo(place: Path) -> None:
    """A Prometheus needs queries and the embedded node a stream; an invariant may have neither."""
    ihsan = "  - {name: ihsan, kind: invariant, objective: 1, window: 1h, minimum: 100}\n"
    write(place, node0=PROMETHEUS, slo=SLO + ihsan)
    assert told(place) == [
        "configs/slo.yaml:2: slos.api: has no queries, but telemetry.kind is prometheus; "
        "add queries with good and total, in PromQL"
    ]
    write(place, node0=NODE, slo=SLO.replace("stream: api", f"queries: {QUERIES}") + ihsan)
    assert told(place) == [
        "configs/slo.yaml:2: slos.api: has no stream, but telemetry.kind is embedded; "
        "add stream, or read from a Prometheus"
    ]


def test_an_embedded_target_works_beside_a_prometheus(place: Path) -> None:
    """Proposals may come from the simulated node while the SLOs come from a real server."""
    write(place, node0=PROMETHEUS, slo=SLO.replace("stream: api", f"queries: {QUERIES}"))
    assert loaded(place).target == EmbeddedTarget(20260101)
    write(place, node0=NODE.replace("embedded}", "embedded, seed: 5}", 1), slo=SLO)
    assert loaded(place).target == EmbeddedTarget(5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("controls: []", "1: controls: must be a list with one item at least"),
        ("control: []", "1: control: is no key here; did you mean controls?"),
        ("controls: [{control: crash_free, weight: -1}]", "1: controls.crash_free.weight: -1 must be more than 0"),
        ("controls: [{control: crash_free}]", "1: controls.crash_free.weight: is missing; add for example weight: 20"),
        ("controls: [{control: crash_free, weight: .inf}]", "weight: .inf is not a finite number"),
        ("controls: [{control: crash_free, weight: 1, minimum: 1}]", "minimum: crash_free measures nothing"),
        ("controls: [{control: telemetry_coverage, weight: 1, minimum: 2}]", "minimum: 2 must lie between 0 and 1"),
        ("controls: [{control: magic, weight: 1}]", "'magic' is no control; known are evidence_chain, policy_sealed"),
        (
            "controls:\n  - {control: crash_free, weight: 1}\n  - {control: crash_free, weight: 2}",
            "3: controls[1].control: crash_free is taken, first in line 2; names must differ",
        ),
    ],
)
def test_controls_that_make_no_sense_are_refused(place: Path, text: str, expected: str) -> None:
    """Unknown, doubled and weightless controls are told, with the known ones."""
    write(place, ihsan=text)
    assert any(expected in line and line.startswith("configs/ihsan.yaml:") for line in told(place))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "1: is not JSON: Expecting value at column 1; correct it here or just above"),
        (b'{"a": 1\n"b"}', "2: is not JSON: Expecting ',' delimiter at column 1"),
        (b"\xff{}", "1: is not UTF-8; save the file as UTF-8"),
        (b"[1]", "1: is not an object of knobs; write {"),
        (b"\n null", "1: is not an object of knobs"),
        (b"[" * 100_000, "1: has a number of thousands of digits or as many brackets"),
        (b'{"batch_size": ' + b"9" * 5000 + b"}", "1: has a number of thousands of digits or as many brackets"),
        (b'{"batch_size": 8,\n\n"cache_ttl_s": NaN}', "3: cache_ttl_s: NaN must be a number from 1 to 600"),
        (b'{"llm_retrys": 8}', "1: llm_retrys: is no knob; did you mean llm_retries?"),
    ],
)
def test_a_policy_that_is_none_is_refused(place: Path, content: bytes, expected: str) -> None:
    """The policy's mistakes come with their lines too."""
    (place / "configs" / "alpha.policy.json").write_bytes(content)
    assert any(line.startswith(f"configs/alpha.policy.json:{expected}") for line in told(place))


def test_messages_outside_of_the_current_folder_are_absolute(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is relative to where the person is only if it lies below."""
    write(place, slo="")
    monkeypatch.chdir(place / "notebooks")
    assert told(place) == [f"{(place / 'configs' / 'slo.yaml').as_posix()}:1: is empty; it must hold a mapping of keys"]


def test_links_that_lead_to_themselves_are_told(place: Path) -> None:
    """A loop of links is a mistake with a place, not a traceback."""
    loop = place / "configs" / "loop.yaml"
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("this system makes no links without a privilege")
    write(place, node0=NODE.replace("slo.yaml", "loop.yaml"))
    assert told(place)[0].startswith("configs/node0.yaml:1: slo: configs/loop.yaml ")
