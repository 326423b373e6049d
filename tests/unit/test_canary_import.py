"""``node0 canary import``: canary configurations of Kayenta and Argo Rollouts, in node0's terms or refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.canary.verdict import judged
from node0lib.errors import ConfigError
from node0lib.shell.argo_margin_import import margin_of
from node0lib.shell.canary_foreign import read_foreign
from node0lib.shell.canary_input import read_input
from node0lib.shell.cli.canary_import import import_
from node0lib.shell.config import load
from node0lib.shell.kayenta_file import read_kayenta
from node0lib.slo.catalogue import ChangeClass
from node0lib.slo.formats.account import InexpressibleError

ROOT = Path(__file__).parent.parent.parent
KAYENTA = ROOT / "tests" / "data" / "kayenta" / "configs"
ARGO = ROOT / "tests" / "data" / "argo" / "import"
TWICE = "kayenta-web_canary-configs_duplicated-metric-name.json"
READABLE = sorted(path.name for path in KAYENTA.glob("*.json") if path.name != TWICE)
HEAD = "apiVersion: argoproj.io/v1alpha1\nkind: "


def _import(*words: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(import_, [str(word) for word in words], input=stdin)


def _refused(*words: object, stdin: bytes | None = None) -> str:
    ran = _import(*words, stdin=stdin)
    assert isinstance(ran.exception, ConfigError), ran.output
    assert ran.stdout == ""
    return str(ran.exception)


def _rollout(steps: str, canary: str = "") -> bytes:
    return f"{HEAD}Rollout\nspec: {{strategy: {{canary: {{steps: [{steps}]{canary}}}}}}}\n".encode()


def _class(content: bytes) -> dict[str, Any]:
    text = read_foreign(content, "rollout.yaml").files["slo.yaml"]
    return dict(yaml.safe_load(text)["change_classes"]["M"])


@pytest.mark.parametrize("name", READABLE)
def test_kayentas_configs_come_in(name: str, tmp_path: Path) -> None:
    """Every readable config becomes one that the judge takes, and an input that is no data until it is filled in."""
    ran = _import(KAYENTA / name, "--out", tmp_path)
    assert ran.exit_code == 0, ran.exception
    config = read_kayenta(tmp_path / "kayenta.json")
    assert config == read_kayenta(KAYENTA / name)
    empty = read_input(str(tmp_path / "input.json"), config)
    assert [metric.name for metric in empty.metrics] == [metric.name for metric in config.metrics]
    assert judged("kayenta", empty).kind == "no_data"
    filled = json.loads((tmp_path / "input.json").read_text("utf-8"))
    for metric in filled["metrics"]:
        metric["samples"] = {"control": [1.0, 2.0, 3.0] * 5, "canary": [1.1, 2.1, 2.9] * 5}
    (tmp_path / "input.json").write_text(json.dumps(filled), "utf-8")
    assert judged("kayenta", read_input(str(tmp_path / "input.json"), config)).kind == "pass"


def test_a_metric_twice_is_refused(tmp_path: Path) -> None:
    """Kayenta's own duplicated-metric-name is refused with file, line and path, partial or not; nothing is written."""
    out = tmp_path / "out"
    for words in ([], ["--partial"]):
        said = _refused(KAYENTA / TWICE, "--out", out, *words)
        assert f"{TWICE}:16: metrics[1].name: 'mem' is there already" in said
    assert not out.exists()


def test_prometheus_queries_become_promql() -> None:
    """Where Kayenta asks a Prometheus, the query is told as PromQL with Kayenta's variables; else it is a note."""
    name = "kayenta-integration-tests_canary-configs_prometheus_integration-test-cpu.json"
    found = json.loads(_import(KAYENTA / name, "--output", "json").stdout)
    said = "avg(integration_test_cpu{namespace='${namespace}', scope='${scope}'})"
    assert found["queries"] == {"CPU usage for service": said}
    ran = _import(KAYENTA / "kayenta-judge_test-config.json")
    assert "note: cpu: its atlas query is not translated" in ran.stderr


def test_unknown_keys_of_kayenta_are_refused_or_listed() -> None:
    """A key that Kayenta does not have is refused; --partial leaves it out, says so, and ends with 3."""
    text = b'{"metrics": [{"name": "a", "groups": ["g"],\n "extra": 1}],\n "more": {}}'
    said = _refused("-", stdin=text)
    assert "stdin:2: metrics.a.extra: is no key of a metric" in said and "stdin:3: more: is no key" in said
    ran = _import("-", "--partial", "--output", "json", stdin=text)
    found = json.loads(ran.stdout)
    assert ran.exit_code == 3
    assert [one["path"] for one in found["left_out"]] == ["more", "metrics.a.extra"]
    assert json.loads(found["files"]["kayenta.json"]) == {"metrics": [{"name": "a", "groups": ["g"]}]}


def test_a_rollout_becomes_a_class_that_loads(tmp_path: Path) -> None:
    """Stages, length, approval and margins of a Rollout and its templates go into slo.yaml, and node0 reads them."""
    ran = _import(ARGO / "rollout.yaml", "--class", "H", "--out", tmp_path / "part")
    assert ran.exit_code == 0, ran.exception
    part = yaml.safe_load((tmp_path / "part" / "slo.yaml").read_text("utf-8"))
    assert part["canary"] == {"error_rate": 0.05, "latency_p95": 0.05, "latency_p99": 0.1}
    for folder in ("configs", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    slo = tmp_path / "configs" / "slo.yaml"
    whole = yaml.safe_load(slo.read_text("utf-8"))
    whole["change_classes"]["H"] |= part["change_classes"]["H"]
    whole["canary"] |= part["canary"]
    slo.write_text(yaml.safe_dump(whole), "utf-8")
    rule = load(tmp_path / "configs" / "node0.yaml").catalogue.classes[ChangeClass.H]
    assert rule.stages == (0.005, 0.25, 0.5, 1.0)
    assert (rule.stage_duration.total_seconds(), rule.approval, rule.on_inconclusive) == (900, True, "ask")


def test_everything_inexpressible_is_told_at_once() -> None:
    """Each step and metric that node0 cannot say is refused with its line and reason, and the rest with --partial."""
    said = _refused(ARGO / "inexpressible.yaml")
    lines = {line.split(": ")[0].rsplit(":", 1)[1]: line for line in said.splitlines()[:-1]}
    assert list(lines) == ["10", "12", "13", "24", "27", "30"]
    assert "steps[3].pause: waits for a person after the first weight" in lines["12"]
    assert "spec.metrics.success-rate: has a successCondition that bounds the result from below" in lines["24"]
    assert "spec.metrics.error-rate: is an absolute limit" in lines["27"]
    assert "--partial imports the rest" in said
    ran = _import(ARGO / "inexpressible.yaml", "--partial")
    assert ran.exit_code == 3 and ran.stderr.count("left out: ") == 6
    assert "stages: [20%, 60%, 100%]\n    stage_duration: 5m" in ran.stdout


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("{setWeight: 100}, {pause: {duration: 5m}}", ([], "5m", False)),
        ("{setWeight: 10}, {pause: {duration: 1m}}, {setWeight: 100}", (["10%", "100%"], "1m", False)),
        ("{pause: {}}, {setWeight: 10}, {pause: {duration: '90'}}", (["10%", "100%"], "1m30s", True)),
    ],
)
def test_what_argo_leaves_unsaid(steps: str, expected: tuple[list[str], str, bool]) -> None:
    """Argo's way to 100% is the last stage, one weight of 100 is no stages, and a first endless pause an approval."""
    found = _class(_rollout(steps))
    assert (found["stages"], found["stage_duration"], found["approval"]) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a: 1\n", "has no apiVersion"),
        (b"[1, 2]\n", "a list is no object with keys"),
        (b"apiVersion: apps/v1\nkind: Deployment\n", "stdin:1: apiVersion: 'apps/v1' is none that node0 reads"),
        (f"{HEAD}Experiment\n".encode(), "stdin:2: kind: 'Experiment' says nothing of a canary's judgement"),
        (b"{", "is not JSON"),
        (b"a: b: c", "is not YAML"),
        (b'{"metrics": []}', "is not a list of metrics"),
        (b'{"metrics": [{"name": []}]}', "metrics[0]: has no name"),
        (f"{HEAD}Rollout\n".encode(), "has no canary with steps"),
        (f"{HEAD}Rollout\nspec: {{strategy: {{blueGreen: {{}}}}}}\n".encode(), "moves all traffic at one stroke"),
        (f"{HEAD}AnalysisTemplate\nspec: {{metrics: []}}\n".encode(), "has no metrics"),
        (_rollout(""), "how long the new pods are watched is not said"),
        (_rollout("{pause: {duration: 5m}}"), "goes on by itself"),
        (_rollout("{setWeight: 5}"), "say nowhere how long a stage lasts"),
        (_rollout("{setWeight: 5}, {pause: {duration: 5m}}, {setWeight: 5}"), "node0's stages rise"),
        (_rollout("{setWeight: 500}, {pause: {duration: 5m}}"), "500 of 100"),
        (_rollout("{setWeight: 0.5}, {pause: {duration: 5m}}"), "is no whole number"),
        (_rollout("{setWeight: true}, {pause: {duration: 5m}}"), "is no whole number"),
        (_rollout("{setWeight: 5}, {pause: {duration: 5d}}"), "'5d' is no length"),
        (_rollout("{setWeight: 5, pause: {}}"), "write one a step"),
        (_rollout("{setWieght: 5}"), "is not one of setWeight"),
        (_rollout("{setWeight: 5}, {pause: {duration: 5m}}", ", stepz: 1"), "did you mean steps?"),
        (_rollout("{setWeight: 5}, {pause: {duration: 5m}}", ", trafficRouting: {maxTrafficWeight: x}"), "no whole"),
        (
            _rollout("{setWeight: 5}, {pause: {duration: 5m}}, {setWeight: 9}, {pause: {duration: 6m}}"),
            "one stage_duration for all stages",
        ),
        (_rollout("{setWeight: 5}, {pause: {duration: 5m}}") + b"---\n" + _rollout("{setWeight: 5}"), "second Rollout"),
    ],
)  # fmt: skip
def test_what_is_no_canary_for_node0_is_refused(content: bytes, said: str) -> None:
    """What is malformed, unknown or contradicts node0's reading ends in one error that says why."""
    assert said in _refused("-", stdin=content)


RATIO = 'sum(bad{h="{{args.%s}}"}) / sum(all{h="{{args.%s}}"})'
GOOD = f"({RATIO % ('canary', 'canary')}) / ({RATIO % ('stable', 'stable')})"


@pytest.mark.parametrize(
    ("query", "success", "failure", "said"),
    [
        (GOOD, "result[0] >= 0.95", None, "from below"),
        (GOOD, None, "result[0] < 0.95", "from below"),
        (GOOD, "result[0] <= 1.0", None, "lies above 1"),
        (GOOD, "result[0] <= 12", None, "up to 11"),
        (GOOD, None, None, "decides nothing"),
        (GOOD, "result[0] <= 1.05", "result[0] > 1.2", "two bounds"),
        (GOOD, "all(result, {# < 1.05})", None, "no comparison"),
        ("sum(a{h='{{args.canary}}'}) / sum(a{h='{{args.stable}}'})", "result[0] < 1.05", None, "neither a share"),
        (GOOD.replace("bad", "other", 1), "result[0] < 1.05", None, "two different expressions"),
        (f"({RATIO % ('old', 'old')}) / ({RATIO % ('new', 'new')})", "result[0] < 2", None, "does not divide"),
        (f"({RATIO % ('x', 'x')}) / ({RATIO % ('y', 'y')})", "result[0] < 2", None, "as far as its arguments x, y say"),
        ("sum(a[{{args.window}}])", "result[0] < 2", None, "cannot be read"),
        (GOOD.replace("bad", "x_bucket"), "result[0] < 2", None, "of quantiles"),
        (
            "histogram_quantile(0.5, x{h='{{args.canary}}'}) / histogram_quantile(0.5, x{h='{{args.stable}}'})",
            "result[0] < 2", None, "of p95 and p99",
        ),
    ],
)  # fmt: skip
def test_what_is_no_margin_is_told(query: str, success: str | None, failure: str | None, said: str) -> None:
    """Only an upper bound of canary / control of one expression is a margin; all else has its reason."""
    assert margin_of(GOOD, "result[0] <= 1.05", "result[0] > 1.05") == ("error_rate", 0.05)
    with pytest.raises(InexpressibleError, match=said):
        margin_of(query, success, failure)


def test_a_folder_is_not_overwritten_unasked(tmp_path: Path) -> None:
    """--out keeps what is there without --force, and tells which file."""
    (tmp_path / "slo.yaml").write_text("mine", "utf-8")
    assert "slo.yaml: is there already" in _refused(ARGO / "rollout.yaml", "--out", tmp_path)
    assert (tmp_path / "slo.yaml").read_text("utf-8") == "mine"
    assert _import(ARGO / "rollout.yaml", "--out", tmp_path, "--force").exit_code == 0


def test_nothing_to_write_is_said(tmp_path: Path) -> None:
    """Where nothing of a file can be expressed, --partial says so, writes nothing and ends with 3."""
    text = _rollout("{setHeaderRoute: {name: x}}")
    ran = _import("-", "--partial", "--out", tmp_path / "imp", stdin=text)
    assert ran.exit_code == 3 and "nothing of it can be expressed: nothing was written" in ran.stderr, ran.output
    assert not (tmp_path / "imp").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is the user's to correct."""
    assert "cannot be read" in _refused(tmp_path / "none.yaml")


_KEYS = st.sampled_from([
    "setWeight", "pause", "duration", "analysis", "templates", "steps", "name", "groups", "provider", "prometheus",
    "query", "count", "interval", "successCondition", "maxTrafficWeight", "templateName", "metricName", "x",
])  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["Rollout", "AnalysisTemplate"]), _VALUES, st.booleans())
def test_no_content_ends_in_anything_but_an_answer(kind: str, value: object, partial: bool) -> None:
    """Whatever stands in a manifest, the answer is an import or a ConfigError, never a traceback."""
    spec = {"strategy": {"canary": {"steps": value, "trafficRouting": value}}, "metrics": value, "dryRun": value}
    data = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    for content in (yaml.safe_dump(data), json.dumps({"metrics": value, "classifier": value, "templates": value})):
        try:
            read_foreign(content.encode(), "fuzzed", partial=partial)
        except ConfigError as error:
            assert str(error)
