"""``node0 canary export --to argo``: what Argo Rollouts is given, and what is said of it."""

import functools
import json
import math
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from node0lib.canary.argo import Wish, exported, flaws, horizon, weights
from node0lib.canary.argo_analysis import STEPS, Judging, Question, evidence, of_arm, watch
from node0lib.canary.argo_notes import false_alarm
from node0lib.errors import ConfigError
from node0lib.shell.argo_file import written
from node0lib.shell.argo_margins import margins
from node0lib.shell.canary_foreign import read_foreign
from node0lib.shell.cli.canary_export import export
from node0lib.shell.config import load
from node0lib.slo.catalogue import Catalogue, ChangeClass, ChangeRule
from node0lib.timespan import parse_duration

ROOT = Path(__file__).parent.parent.parent
CONFIG = ROOT / "configs" / "node0.yaml"
DATA = ROOT / "tests" / "data" / "argo"
BASE = ("--to", "argo", "--deployment", "shop", "--prometheus", "http://prometheus.monitoring:9090")
NGINX = ("--traffic-router", "nginx", "--route", "web", "--canary-service", "new", "--stable-service", "old")
JUDGES: list[tuple[str, ...]] = [
    (), ("--judge", "threshold"), ("--judge", "node0", "--image", "node0:1", "--collect", "cat /input.json"),
]  # fmt: skip
ROUTERS = [(), NGINX, *(("--traffic-router", router, *NGINX[2:]) for router in ("istio", "gateway"))]
ERRORS = Question("error_rate", 1.05, "sum(increase(bad[$window]))", "sum(increase(all[$window]))", 0.1, "bad events")


def _strict(schema: Any) -> Any:
    """The schema, refusing what Kubernetes would prune."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        found["additionalProperties"] = False
    return found


def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_strict(json.loads((DATA / f"{name}_schema.json").read_text("utf-8"))))


SCHEMAS = {"Rollout": _validator("rollout"), "AnalysisTemplate": _validator("analysis_template")}


def _export(*words: object, base: tuple[str, ...] = BASE) -> Result:
    return CliRunner().invoke(export, [*base, "--config", str(CONFIG), *map(str, words)])


def _manifests(*words: object) -> list[dict[str, Any]]:
    ran = _export(*words)
    assert ran.exit_code == 0, ran.exception
    return list(yaml.safe_load_all(ran.stdout))


def _refused(*words: object) -> str:
    ran = _export(*words)
    assert isinstance(ran.exception, ConfigError), ran.output
    assert ran.stdout == ""
    return str(ran.exception)


def _rollout(*words: object) -> dict[str, Any]:
    (found,) = (m for m in _manifests(*words) if m["kind"] == "Rollout")
    return dict(found)


@functools.cache
def _questions() -> tuple[Question, ...]:
    return margins(load(CONFIG).catalogue, {}, sigma=0.5)[0]


def _judging(rule: ChangeRule) -> Judging:
    extend = rule.on_inconclusive == "extend"
    return Judging(
        _questions(), "http://p:9090", "hash", rule.stage_duration, horizon(rule), 0.05, 0.05, 100,
        bound=rule.harm_cap if extend else None, again=extend,
    )  # fmt: skip


def test_the_strict_schemas_can_refuse() -> None:
    """A misspelt field, a fraction of a weight and a metric without provider fail the check that the others rely on."""
    steps = [{"setWeight": 0.5}, {"setWieght": 5}]
    rollout = {"apiVersion": "x", "kind": "Rollout", "metadata": {}, "spec": {"strategy": {"canary": {"steps": steps}}}}
    assert len(list(SCHEMAS["Rollout"].iter_errors(rollout))) == 2
    template = {"kind": "AnalysisTemplate", "spec": {"metrics": [{"name": "a"}]}}
    assert list(SCHEMAS["AnalysisTemplate"].iter_errors(template))


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("router", ROUTERS)
def test_shipped_classes_follow_argos_schemas(judge: tuple[str, ...], router: tuple[str, ...]) -> None:
    """Every manifest of all three shipped classes validates strictly, for every judge and traffic router."""
    found = _manifests("--class", "all", "--namespace", "web", "--replicas", 4, *judge, *router)
    assert [m["metadata"]["name"] for m in found if m["kind"] == "Rollout"] == ["shop-l", "shop-m", "shop-h"]
    for manifest in found:
        SCHEMAS[manifest["kind"]].validate(manifest)


@st.composite
def _rules(draw: st.DrawFn) -> ChangeRule:
    parts = draw(st.lists(st.integers(1, 999), max_size=6, unique=True).map(sorted))
    stages = (*(part / 1000 for part in parts), 1.0) if parts else ()
    length = timedelta(minutes=draw(st.integers(1, 3000)))
    ask = draw(st.sampled_from(["ask", "extend"]))
    return ChangeRule((), None, None, None, stages, length, draw(st.booleans()), ask, 2.0)


@settings(max_examples=40, deadline=None)
@given(_rules(), st.sampled_from(["sequential", "threshold"]))
def test_any_class_exports_and_comes_back(rule: ChangeRule, judge: Any) -> None:
    """Whatever the stages and their length, the manifests validate, and import gives the same class."""
    wish = Wish("shop", "shop", "ns", 3, "new", "old", "nginx", "web", judge)
    found = exported(rule, wish, _judging(rule)).manifests
    for manifest in found:
        SCHEMAS[manifest["kind"]].validate(manifest)
    text = read_foreign(written(found, []).encode(), "x.yaml", partial=True).files["slo.yaml"]
    back = yaml.safe_load(text)["change_classes"]["M"]
    assert [float(stage.rstrip("%")) / 100 for stage in back["stages"]] == pytest.approx(list(rule.stages))
    assert back["approval"] == rule.approval
    assert parse_duration(back["stage_duration"]) == rule.stage_duration


def test_steps_follow_the_class() -> None:
    """Class M: each stage is a weight, its time and a decision; the last is watched; the background begins at once."""
    canary = _rollout("--class", "M", *NGINX)["spec"]["strategy"]["canary"]
    kinds = [next(iter(step)) for step in canary["steps"]]
    assert kinds == ["setWeight", "pause", "analysis"] * 3 + ["setWeight", "analysis"]
    assert [step["setWeight"] for step in canary["steps"] if "setWeight" in step] == [5, 25, 50, 100]
    assert {step["pause"]["duration"] for step in canary["steps"] if "pause" in step} == {"15m"}
    assert canary["steps"][-1]["analysis"]["templates"] == [{"templateName": "shop-watch"}]
    assert canary["analysis"]["startingStep"] == 0
    assert canary["trafficRouting"] == {"nginx": {"stableIngress": "web"}}


def test_an_approval_waits_before_the_first_weight() -> None:
    """Class H begins with a pause without end, and the background analysis after it."""
    canary = _rollout("--class", "H", *NGINX)["spec"]["strategy"]["canary"]
    assert canary["steps"][:2] == [{"pause": {}}, {"setWeight": 1}]
    assert canary["analysis"]["startingStep"] == 1


def test_no_stages_are_one_weight_and_a_watch() -> None:
    """Class L sets 100 at once and watches for the stage's length, with no pod template invented."""
    spec = _rollout("--class", "L")["spec"]
    assert [next(iter(step)) for step in spec["strategy"]["canary"]["steps"]] == ["setWeight", "analysis"]
    assert spec["workloadRef"].items() > {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}.items()
    assert "template" not in spec and "analysis" not in spec["strategy"]["canary"]
    (template,) = (m for m in _manifests("--class", "L") if m["kind"] == "AnalysisTemplate")
    assert {metric["count"] for metric in template["spec"]["metrics"]} == {5}


def test_what_is_inconclusive_pauses() -> None:
    """ask decides once and pauses at the first inconclusive answer; extend asks every minute for the stage again."""
    for kind, limit, count in (("H", 0, 1), ("M", 14, 20)):
        (found,) = (m for m in _manifests("--class", kind) if m["metadata"]["name"] == "shop-decision")
        errors = found["spec"]["metrics"][0]
        assert (errors["inconclusiveLimit"], errors["count"], errors["failureLimit"]) == (limit, count, 0)
        assert errors.get("consecutiveSuccessLimit") == (1 if kind == "M" else None)


def test_fractions_of_a_percent_need_a_finer_weight() -> None:
    """0.5% is setWeight 5 of 1000 where Argo has maxTrafficWeight, with a note; elsewhere it is refused."""
    rule = replace(Catalogue(()).classes[ChangeClass.M], stages=(0.005, 0.125, 1.0))
    wish = Wish("shop", "shop", "", 3, "new", "old", "nginx", "web")
    rollout = exported(rule, wish, _judging(rule)).manifests[-1]
    assert rollout["spec"]["strategy"]["canary"]["trafficRouting"]["maxTrafficWeight"] == 1000
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [5, 125, 1000]
    for router in ("none", "istio"):
        with pytest.raises(ConfigError, match=r"0\.5% is no whole percentage"):
            exported(rule, replace(wish, router=router), _judging(rule))
    with pytest.raises(ConfigError, match="no whole millionth"):
        weights((1 / 3, 1.0), "nginx")


def test_the_finer_weight_is_told(tmp_path: Path) -> None:
    """The note on maxTrafficWeight is on stderr and a comment of the YAML."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    slo = tmp_path / "configs" / "slo.yaml"
    slo.write_text(slo.read_text("utf-8").replace("[5%, 25%,", "[0.5%, 25%,"), "utf-8")
    config = str(tmp_path / "configs" / "node0.yaml")
    ran = CliRunner().invoke(export, [*BASE, *NGINX, "--config", config])
    said = "maxTrafficWeight 1000, for a share that is no whole percentage: setWeight 0.5% = 5, 25% = 250"
    assert f"shop: {said}" in ran.stderr and f"# {said}" in ran.stdout


def test_figures_are_told_for_the_traffic() -> None:
    """With the traffic the notes say what the naive rule stops of harmless canaries, and what the other can tell."""
    naive = _export("--traffic", 100, "--error-rate", "1%", "--judge", "threshold")
    assert "stops 98% of harmless canaries at 100 requests/s and 1% errors by the error rate alone" in naive.stderr
    assert "1.9 times the errors is found" in _export("--traffic", 100, "--error-rate", "0.01").stderr
    assert "approximates weights by counts of pods" in naive.stderr
    assert "with 4 pods, 5% becomes about 25%" in _export("--replicas", 4).stderr


def test_the_naive_rules_figure_is_what_happens() -> None:
    """The computed false alarms of one look agree with 100,000 drawn ones."""
    generator = np.random.default_rng(7)
    bad = generator.poisson((30, 570), (100_000, 2))
    drawn = float((bad[:, 0] / 3000 > 1.05 * bad[:, 1] / 57000).mean())
    assert false_alarm(0.01, 0.05, 3000, 57000, looks=1) == pytest.approx(drawn, abs=0.006)


def _grid(bad: np.ndarray, requests: np.ndarray, null: float) -> np.ndarray:
    """The running e-values of the exported query, in numpy: ``bad`` (n, looks, 2), ``requests`` (2,) stable, canary."""
    total = np.zeros((*bad.shape[:2], len(STEPS)))
    for k, step in enumerate(STEPS):
        r = null * math.exp(step)
        tilt = math.log((requests[0] + r * requests[1]) / (requests[0] + null * requests[1]))
        total[..., k] = np.cumsum(bad[..., 1] * step - bad.sum(axis=2) * tilt, axis=1)
    return np.asarray(np.exp(total).mean(axis=2))


def test_the_query_keeps_its_alpha() -> None:
    """Of 4,000 canaries exactly at the margin at most alpha are ever stopped in 90 looks; of twice as bad ones most."""
    generator, requests = np.random.default_rng(11), np.array((5700.0, 300.0))
    rates = requests * 0.01
    at_margin = generator.poisson(rates * (1, 1.05), (4000, 90, 2))
    assert (_grid(at_margin, requests, 1.05).max(axis=1) >= 20).mean() <= 0.05
    worse = generator.poisson(rates * (1, 3), (500, 15, 2))
    assert (_grid(worse, requests, 1.05).max(axis=1) >= 60).mean() > 0.9


@pytest.mark.real
def test_prometheus_computes_the_evidence(tmp_path: Path) -> None:
    """A real Prometheus answers the query with the e-value of its counters, minute by minute, gaps left out."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt install prometheus")
    generator, minutes = np.random.default_rng(3), 30
    counts = generator.poisson((60, 9), (minutes - 10, 2))
    judging = replace(_judging(Catalogue(()).classes[ChangeClass.M]), questions=(ERRORS,), reach=timedelta(hours=2))
    expected = math.log(_grid(counts[None] * 0.75, np.array((6000.0, 300.0)), 1.05)[0, -1])
    query = evidence(judging, ERRORS, null=1.05, above=True)
    query = query.replace("{{args.canary-hash}}", "new").replace("{{args.stable-hash}}", "old")
    series = [
        {"series": f'{name}{{hash="{arm}"}}', "values": _counter(per_minute, start)}
        for arm, start, column, each in (("old", 0, 0, 1500), ("new", 10, 1, 75))
        for name, per_minute in (
            ("all", [4 * each] * (minutes - start)),
            ("bad", [0] * (10 - start) + [int(n) for n in counts[:, column]]),
        )
    ]
    tests = [{
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [{
            "expr": f"abs(ln({query}) - {expected!r}) < bool 0.01",
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }],
    }]  # fmt: skip
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}), "utf-8")
    ran = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert expected > math.log(60)


def _counter(per_minute: list[int], start: int) -> str:
    """A counter every 15s in promtool's notation, that is born at a minute and rises at each minute's end."""
    values, total = ["_"] * (4 * start), 0
    for count in per_minute:
        values += [str(total)] * 4
        total += count
    return " ".join([*values, str(total)])


@pytest.mark.real
def test_every_query_is_promql(tmp_path: Path) -> None:
    """Prometheus itself can parse every query of every class and judge, once Argo has filled in the arguments."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt install prometheus")
    found = [*_manifests("--class", "all"), *_manifests("--class", "all", "--judge", "threshold")]
    metrics = [m for one in found if one["kind"] == "AnalysisTemplate" for m in one["spec"]["metrics"]]
    queries = {m["provider"]["prometheus"]["query"].replace("{{", "").replace("}}", "") for m in metrics}
    rules = [{"record": f"x:{n}", "expr": query} for n, query in enumerate(sorted(queries))]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}), "utf-8")
    ran = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(rules) > 10


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(increase(a{x='1'}[$window])) + sum(increase(b[$window]))", None),
        ("sum(increase({__name__='a',}[$window]))", None),
        ("sum(a)", "not every selector"),
        ("sum(increase(a{hash='x'}[$window]))", "not every selector"),
        ("vector(1)", "not every selector"),
    ],
)
def test_every_selector_gets_the_arm(query: str, said: str | None) -> None:
    """A selector that would count both arms is refused, never let through."""
    if said is None:
        found = of_arm(query, "hash", "canary")
        assert found.count('hash="{{args.canary-hash}}"') == query.count("[")
    else:
        with pytest.raises(ConfigError, match=said):
            of_arm(query, "hash", "canary")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--traffic-router", "nginx"], "needs --route"),
        (["--route", "web"], "belong to --traffic-router"),
        (["--judge", "node0"], "needs --image and --collect"),
        (["--image", "x"], "are for --judge node0"),
        (["--traffic", "5"], "go together"),
        (["--name", "Shop_1"], "'Shop_1' is no name in Kubernetes"),
        (["--name", "s" * 60], "is no name in Kubernetes"),
        (["--replicas", "0"], "0 replicas run nothing"),
        (["--traffic-router", "nginx", "--route", "web"], "needs a service for each arm"),
        ([*NGINX[:-1], "new"], "cannot be the service of both arms"),
        (["--errors", "api_latency_p95"], "cannot measure error_rate"),
        (["--p95", "nothing"], "there is no SLO 'nothing'"),
        (["--scrape", "often"], "--scrape: 'often' is not a duration"),
        (["--prometheus", "p:9090"], "is no URL"),
    ],
)
def test_what_argo_would_refuse_is_not_written(words: list[str], said: str, tmp_path: Path) -> None:
    """Options that contradict, and manifests that break Argo's rules, end in one error and no file."""
    out = tmp_path / "out.yaml"
    assert said in _refused(*words, "--out", out)
    assert not out.exists()


def test_argos_rules_are_checked() -> None:
    """Weights beyond the maximum, fractions, counts under their limits and names that are there twice are found."""
    rule = Catalogue(()).classes[ChangeClass.M]
    *templates, rollout = exported(rule, Wish("shop", "shop", replicas=2), _judging(rule)).manifests
    canary = rollout["spec"]["strategy"]["canary"]
    canary["steps"] += [{"setWeight": 101}, {"setWeight": 0.5}, {"pause": {"duration": "1d"}}]
    canary["trafficRouting"] = {"istio": {}, "maxTrafficWeight": 1000}
    canary["steps"] += [{"setWeight": 1001}]
    told = "\n".join(flaws(rollout))
    assert told.count("is no integer from 0 to 1000") == 2 and "a pause of 1d" in told
    assert "for nginx and plugins only" in told and "needs a service for each arm" in told
    metrics = templates[0]["spec"]["metrics"]
    metrics += [{**metrics[0], "count": 2, "failureLimit": 3}, {**metrics[1], "name": "b", "count": 2, "interval": ""}]
    del metrics[-1]["interval"]
    told = "\n".join(flaws(templates[0]))
    assert "two metrics" in told and "fewer than a limit" in told and "need an interval" in told


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    """--out keeps a file that is there, unless --force is given; the file holds what stdout would."""
    out = tmp_path / "argo.yaml"
    out.write_text("mine", "utf-8")
    assert "is there already" in _refused("--out", out)
    ran = _export("--out", out, "--force")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert out.read_text("utf-8") == _export().stdout.removesuffix("\n") + "\n"


def test_json_is_one_document() -> None:
    """With --output json stdout is one document: manifests, notes and the YAML that holds the same."""
    found = json.loads(_export("--class", "all", "--output", "json").stdout)
    assert [one["class"] for one in found["classes"]] == ["L", "M", "H"]
    assert list(yaml.safe_load_all(found["yaml"])) == [m for one in found["classes"] for m in one["manifests"]]
    assert found["out"] is None and all(one["notes"] for one in found["classes"])


def test_the_watch_compares_nothing() -> None:
    """The last stage's metrics ask for the canary only: there is no stable arm to compare with."""
    for metric in watch(_judging(Catalogue(()).classes[ChangeClass.M])):
        query = metric["provider"]["prometheus"]["query"]
        assert "args.canary-hash" in query and "args.stable-hash" not in query


def test_bursts_weaken_the_evidence() -> None:
    """A design effect of 2 halves every bit of evidence, as does a scrape interval of half the step."""
    judging = replace(_judging(Catalogue(()).classes[ChangeClass.M]), design_effect=2.0)
    assert "exp(0.375 *" in evidence(judging, ERRORS, null=1.05, above=True)
    sparse = replace(judging, design_effect=1.0, scrape=timedelta(seconds=30))
    assert "exp(0.5 *" in evidence(sparse, ERRORS, null=1.05, above=True)
