"""Rules of both dialects against Debian's own promtool and Prometheus."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml
from click.testing import CliRunner
from prometheus_server import needs_prometheus, needs_prometheus3, running

from node0lib.alerts.promrules import RuleFile, RuleGroup, yaml_of
from node0lib.alerts.rules import rules_of
from node0lib.alerts.sloth_rules import sloth_rules
from node0lib.shell.cli.alert_rules import rules
from node0lib.shell.config import load
from node0lib.shell.sloth_file import parse_sloth
from node0lib.shell.spec_files import Content
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.formats.sloth_windows import google
from node0lib.slo.objective import Objective

pytestmark = [pytest.mark.real, needs_prometheus]
ROOT = Path(__file__).parents[2]
SLOTH = ROOT / "tests" / "data" / "sloth"
MONTH = timedelta(days=30)
_DIRECT = build_opener(ProxyHandler({}))


def _promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _catalogue() -> Catalogue:
    return load(ROOT / "configs" / "node0.yaml").catalogue


@pytest.mark.parametrize("source", ["in-base.yaml", "in-openslo.yaml"])
def test_promtool_takes_the_sloth_dialect(source: str, tmp_path: Path) -> None:
    """promtool check rules accepts what is written for Sloth's own examples, through the command line."""
    out = tmp_path / "rules.yaml"
    done = CliRunner().invoke(rules, [str(SLOTH / source), "--dialect", "sloth", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "SUCCESS" in _promtool("check", "rules", str(out))


@pytest.mark.parametrize("source", ["in-base.yaml", "in-base-k8s.yaml"])
def test_promtool_takes_node0s_rules_for_sloths_files(source: str, tmp_path: Path) -> None:
    """Somebody's Sloth file in node0's own dialect, through the command line, is accepted as well."""
    out = tmp_path / "rules.yaml"
    done = CliRunner().invoke(rules, [str(SLOTH / source), "--config", "absent.yaml", "--out", str(out)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "SUCCESS" in _promtool("check", "rules", str(out))


def test_promtool_takes_the_catalogues_rules(tmp_path: Path) -> None:
    """promtool check rules accepts the node0 dialect of the shipped catalogue, through the command line."""
    out = tmp_path / "rules.yaml"
    config = str(ROOT / "configs" / "node0.yaml")
    done = CliRunner().invoke(rules, ["--config", config, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "SUCCESS" in _promtool("check", "rules", str(out))


@pytest.mark.parametrize("binary", ["prometheus", pytest.param("prometheus3", marks=needs_prometheus3)])
def test_prometheus_evaluates_every_rule(binary: str, tmp_path: Path) -> None:
    """A running Prometheus loads both dialects of rules, and each of them evaluates in good health."""
    (spec,) = parse_sloth(Content("in-base.yaml", (SLOTH / "in-base.yaml").read_bytes()), MONTH)
    both = {
        "node0.yaml": rules_of(_catalogue(), version="dev").file,
        "sloth.yaml": sloth_rules(spec, google(MONTH), version="dev"),
    }
    for name, file in both.items():
        # Often, so that the test need not wait for a minute.
        groups = tuple(RuleGroup(g.name, g.rules, timedelta(seconds=1)) for g in file.groups)
        (tmp_path / name).write_text(yaml_of(RuleFile(groups)), "utf-8")
    config = tmp_path / "prometheus.json"
    config.write_text(json.dumps({"rule_files": list(both)}), "utf-8")

    def command(port: int) -> list[str]:
        stored = f"--storage.tsdb.path={tmp_path / 'data'}"
        return [binary, f"--config.file={config}", stored, f"--web.listen-address=127.0.0.1:{port}"]

    with running(tmp_path, binary, command, "/-/ready") as url:
        found = _settled(url)
    expected = [rule.name for file in both.values() for rule in file.rules]
    assert sorted(rule["name"] for rule in found) == sorted(expected)
    assert [(r["name"], r.get("lastError")) for r in found if r["health"] != "ok"] == []


def _settled(url: str) -> list[dict[str, str]]:
    """Return all rules once each has been evaluated."""
    end = time.monotonic() + 60
    while True:
        with _DIRECT.open(f"{url}/api/v1/rules", timeout=10) as answer:
            groups = json.load(answer)["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in found) or time.monotonic() > end:
            return found
        time.sleep(0.2)


def _outage(minutes: int, start: int, end: int) -> tuple[str, str]:
    """Counters of 100 requests a minute, of which 20 fail from ``start`` to ``end``: as promtool writes series."""
    return f"0+100x{minutes}", f"0+0x{start} 20+20x{end - start - 1} {20 * (end - start)}+0x{minutes - end}"


def _test_file(folder: Path, slo: Objective, series: dict[str, str], tests: list[dict[str, object]]) -> None:
    emitted = rules_of(Catalogue((slo,)), version="dev")
    (folder / "rules.yaml").write_text(yaml_of(emitted.file), "utf-8")
    given = [{"series": name, "values": values} for name, values in series.items()]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, **test} for test in tests],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document), "utf-8")
    _promtool("test", "rules", str(folder / "test.yaml"))


def test_an_outage_wakes_somebody_and_a_recovery_lets_sleep(tmp_path: Path) -> None:
    """At 20% errors and an objective of 99.9% the critical alert fires in time, and is gone minutes after the end."""
    queries = {"bad": "sum(increase(failed_total[$window]))", "total": "sum(increase(asked_total[$window]))"}
    slo = Objective("shop", "ratio", 0.999, MONTH, queries=queries)
    total, failed = _outage(400, 120, 180)
    ratio = 'node0:slo_error_ratio:5m{slo="shop"}'
    samples = [{"labels": ratio, "value": 0.2}]
    tests: list[dict[str, object]] = [
        {"promql_expr_test": [{"expr": _firing("critical"), "eval_time": "110m", "exp_samples": []}]},
        {"promql_expr_test": [{"expr": _firing("critical"), "eval_time": "130m", "exp_samples": [_one("critical")]}]},
        {"promql_expr_test": [{"expr": _firing("critical"), "eval_time": "195m", "exp_samples": []}]},
        {"promql_expr_test": [{"expr": "round(" + ratio + ", 0.001)", "eval_time": "150m", "exp_samples": [
            {"labels": '{slo="shop"}', "value": samples[0]["value"]}]}]},
    ]
    _test_file(tmp_path, slo, {"asked_total": total, "failed_total": failed}, tests)


def test_a_timeslice_counts_its_bad_minutes(tmp_path: Path) -> None:
    """With half of the last hour's minutes too slow an objective of 90% of the minutes alerts."""
    buckets = "sum by (le) (increase(t_seconds_bucket[$window]))"
    slo = Objective(
        "quick",
        "timeslice",
        0.9,
        timedelta(hours=1),
        queries={"buckets": buckets},
        threshold_s=0.05,
        quantile=0.95,
        slice=timedelta(minutes=2),
    )
    fast = "0+100x60 6000+50x120"
    series = {'t_seconds_bucket{le="0.05"}': fast, 't_seconds_bucket{le="+Inf"}': "0+100x180"}
    tests: list[dict[str, object]] = [
        {"promql_expr_test": [{"expr": _firing("warning"), "eval_time": "58m", "exp_samples": []}]},
        {"promql_expr_test": [{"expr": _firing("warning", "1h"), "eval_time": "90m", "exp_samples": [
            _one("warning", "quick", "1h", "1h")]}]},
    ]
    _test_file(tmp_path, slo, series, tests)


def test_an_invariant_alerts_below_its_minimum(tmp_path: Path) -> None:
    """A gauge of 99 where 100 is the least alerts at once, and 100 does not."""
    slo = Objective("whole", "invariant", 1.0, timedelta(hours=1), queries={"gauge": "min(score)"}, minimum=100.0)
    expr = 'ALERTS{alertname="SloInvariantBroken"}'
    labels = 'ALERTS{alertname="SloInvariantBroken",alertstate="firing",severity="critical",slo="whole"}'
    tests: list[dict[str, object]] = [
        {"promql_expr_test": [{"expr": expr, "eval_time": "5m", "exp_samples": []}]},
        {"promql_expr_test": [{"expr": expr, "eval_time": "15m", "exp_samples": [{"labels": labels, "value": 1}]}]},
    ]
    _test_file(tmp_path, slo, {"score": "100x10 99x20"}, tests)


def _firing(severity: str, long: str = "1h") -> str:
    return f'ALERTS{{severity="{severity}",long_window="{long}"}}'


def _one(severity: str, slo: str = "shop", long: str = "1h", short: str = "5m") -> dict[str, object]:
    labels = f'alertname="SloErrorBudgetBurn",alertstate="firing",long_window="{long}"'
    return {"labels": f'ALERTS{{{labels},severity="{severity}",short_window="{short}",slo="{slo}"}}', "value": 1}
