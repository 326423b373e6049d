"""``node0 canary judge`` and ``node0 canary plan``: verdicts, exit codes, and one clear error a mistake."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from node0lib.canary.plan import Traffic
from node0lib.canary.plan import plan as planned
from node0lib.shell.cli.canary import canary
from node0lib.shell.cli.frame import Verbs
from node0lib.slo.catalogue import CanaryRules, Catalogue, ChangeClass
from node0lib.views.canary_tables import plan_text

ROOT = Path(__file__).parent.parent.parent
CONFIGS = Path(__file__).parent.parent / "data" / "kayenta" / "configs"


@click.group(cls=Verbs, context_settings={"max_content_width": 80})
def main() -> None:
    """A program with the one group."""


main.add_command(canary)


def _run(*args: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["canary", *args], input=text)


def _counts(control: tuple[int, int], canary: tuple[int, int], looks: int = 1) -> list[dict[str, Any]]:
    arms = ("control", control), ("canary", canary)
    return [{arm: {"requests": n, "bad": bad} for arm, (n, bad) in arms}] * looks


def _judge(metrics: Any, judge: str = "sequential", **more: Any) -> Result:
    text = json.dumps({"metrics": metrics, **more})
    return _run("judge", "--judge", judge, "--input", "-", "-o", "json", text=text)


def _metric(**more: Any) -> dict[str, Any]:
    return {"name": "errors", "counts": _counts((9500, 95), (500, 5)), **more}


GOOD = _metric(margin=2, counts=_counts((9500, 950), (9500, 950), looks=5))
BAD = _metric(counts=_counts((9500, 95), (500, 40), looks=5))
NOON = "2026-01-05T12:00:00Z"
FALLING = {"bounds": [1], "control": [2, 1], "canary": [1, 2]}
SERIES = {"control": [10.0, 11, 12, 10.5, 11.5, 10.2], "canary": [20.0, 21, 22, 20.5, 21.5, 20.2]}


@pytest.mark.parametrize(
    ("judge", "metric", "verdict", "code"),
    [
        ("sequential", GOOD, "pass", 0),
        ("sequential", BAD, "fail", 4),
        ("sequential", _metric(), "inconclusive", 3),
        ("threshold", GOOD, "pass", 0),
        ("threshold", BAD, "fail", 4),
        ("kayenta", GOOD, "pass", 0),
        ("kayenta", BAD, "fail", 4),
        ("kayenta", {"name": "cpu", "samples": SERIES}, "fail", 4),
        ("threshold", {"name": "cpu", "samples": SERIES}, "fail", 4),
        ("sequential", {"name": "slow", "threshold": 15, "samples": {a: v * 40 for a, v in SERIES.items()}}, "fail", 4),
    ],
)
def test_the_verdict_is_the_exit_code(judge: str, metric: Any, verdict: str, code: int) -> None:
    """Pass is 0, inconclusive 3, fail 4; the JSON document says the same."""
    found = _judge([metric], judge)
    document = json.loads(found.stdout)
    assert (document["verdict"], document["exit_code"], found.exit_code) == (verdict, code, code)
    assert document["reasons"] and document["metrics"][0]["name"] == metric["name"]


@pytest.mark.parametrize("judge", ["sequential", "kayenta", "threshold"])
@pytest.mark.parametrize(
    ("metric", "state"),
    [
        (_metric(counts=_counts((9500, 95), (0, 0), looks=3)), "missing"),
        ({"name": "s", "threshold": 1, "samples": {"control": [1.0, 2.0], "canary": []}}, "missing"),
        ({"name": "s", "threshold": 1, "samples": {"control": [1.0, 2.0], "canary": [None, None]}}, "nan"),
        (_metric(counts=[{"control": {"requests": None, "bad": 1}, "canary": {"requests": 5, "bad": 1}}]), "nan"),
        ({"name": "q", "query_error": "connection refused"}, "query_error"),
        (_metric(newest={"control": "2026-01-05T00:10:00Z", "canary": "2026-01-05T00:01:00Z"}), "stale"),
    ],
)
def test_what_is_not_there_is_never_a_pass_nor_a_failure(judge: str, metric: Any, state: str) -> None:
    """Missing, NaN, failed and stale data are no data for every judge, with exit code 6 and their own state."""
    found = _judge([metric], judge, at="2026-01-05T00:10:00Z")
    document = json.loads(found.stdout)
    assert (found.exit_code, document["verdict"], document["metrics"][0]["state"]) == (6, "no_data", state)


def test_a_gap_beside_a_pass_is_no_pass_and_beside_a_failure_a_failure() -> None:
    """Harm that is shown is a failure whatever else is missing; a pass needs all metrics."""
    lost = {"name": "lost", "query_error": "timeout"}
    assert [_judge([GOOD, lost]).exit_code, _judge([BAD, lost]).exit_code] == [6, 4]


EVEN = _metric(margin=2, counts=_counts((9500, 950), (500, 50), looks=40))


@pytest.mark.parametrize("judge", ["sequential", "kayenta", "threshold"])
def test_a_canary_without_its_share_is_no_data(judge: str) -> None:
    """A canary that was to get 20% and got 5% is no experiment: every metric says so, and none passes or fails."""
    cpu = {"name": "cpu", "threshold": 15, "samples": SERIES}
    for metrics in ([EVEN], [EVEN, BAD | {"name": "bad"}], [EVEN, cpu]):
        found = _judge(metrics, judge, share=0.2)
        document = json.loads(found.stdout)
        assert (found.exit_code, document["verdict"]) == (6, "no_data")
        assert {(one["verdict"], one["state"]) for one in document["metrics"]} == {("no_data", "sample_ratio")}
        assert "the canary got 5.0% of 400,000 requests and was to get 20.0%" in document["reasons"][-1]


@pytest.mark.parametrize("judge", ["sequential", "kayenta", "threshold"])
def test_a_share_that_was_kept_changes_nothing(judge: str) -> None:
    """With its share, or one within the tolerance, the verdict is what it is without the check."""
    for metric, code in ((EVEN, 0), (BAD, 4)):
        ordered: tuple[dict[str, float], ...] = ({}, {"share": 0.05}, {"share": 0.2, "share_tolerance": 0.8})
        assert [_judge([metric], judge, **more).exit_code for more in ordered] == [code] * 3


def test_a_lost_metric_says_why_it_was_lost() -> None:
    """A query error stays one beside a wrong share, and its counts, which are not to be used, accuse nobody."""
    lost = {"name": "lost", "query_error": "timeout"}
    document = json.loads(_judge([EVEN, lost], share=0.2).stdout)
    assert [one["state"] for one in document["metrics"]] == ["sample_ratio", "query_error"]
    stale = {"newest": {"control": NOON, "canary": "2026-01-05T11:00:00Z"}}
    document = json.loads(_judge([EVEN | stale], share=0.2, at=NOON).stdout)
    assert [one["state"] for one in document["metrics"]] == ["stale"]


@pytest.mark.parametrize("judge", ["sequential", "kayenta", "threshold"])
def test_ihsan_is_an_absolute_gate(judge: str) -> None:
    """A score under the least one fails whatever was measured, an unknown one is no data, any other changes nothing."""
    lost = {"name": "lost", "query_error": "timeout"}
    asked: tuple[tuple[dict[str, Any], int], ...] = (
        ({"ihsan": 94.9}, 4), ({"ihsan": 95}, 0), ({"ihsan": 97, "ihsan_at_least": 98}, 4), ({"ihsan": None}, 6),
    )  # fmt: skip
    for more, code in asked:
        found = _judge([GOOD], judge, **more)
        gate = json.loads(found.stdout)["metrics"][-1]
        assert (found.exit_code, gate["name"], gate["absolute"]) == (code, "ihsan", True)
        assert gate["verdict"] == {0: "pass", 4: "fail", 6: "no_data"}[code]
    assert [_judge([one], judge, ihsan=100).exit_code for one in (GOOD, BAD, lost)] == [0, 4, 6]
    assert [_judge([one], judge, ihsan=10).exit_code for one in (GOOD, BAD, lost)] == [4, 4, 4]
    document = json.loads(_judge([GOOD], judge, ihsan=91.5).stdout)
    assert document["reasons"] == ["ihsan: 91.5 is under 95"]
    assert [document["metrics"][-1][key] for key in ("ratio", "low", "high", "margin")] == [None, 91.5, 91.5, 95]


def test_a_design_effect_makes_the_sequential_judge_slower() -> None:
    """Failures that come in bursts count for less: what failed, and what passed, is open again."""
    worse = _metric(counts=_counts((9500, 95), (500, 12), looks=5))
    for metric, code in ((worse, 4), (GOOD, 0)):
        assert [_judge([metric], design_effect=effect).exit_code for effect in (1, 400)] == [code, 3]
        assert _judge([metric], "threshold", design_effect=400).exit_code == code


def test_kayenta_passes_over_gaps_and_node0_does_not() -> None:
    """Kayenta scores 100 with one of three metrics missing; its answer is shown, the verdict is no data."""
    flat = {"control": [1.0, 2, 3], "canary": [1.0, 2, 3]}
    metrics = [{"name": n, "samples": flat} for n in "ab"] + [{"name": "c", "samples": {"control": [], "canary": []}}]
    found = _judge(metrics, "kayenta")
    document = json.loads(found.stdout)
    assert document["kayenta"]["classification"] == "Pass" and document["kayenta"]["score"] == 100
    assert found.exit_code == 6


def test_a_kayenta_configuration_rules_names_groups_and_scores() -> None:
    """With a config its metrics are judged: a muted failure does not count, a missing metric is no data."""
    config = str(CONFIGS / "kayenta-integration-tests_canary-configs_prometheus_muted-metric.json")
    flat = {"control": [1.0, 2, 3], "canary": [1.0, 2, 3]}
    both = [{"name": "Failing metric", "samples": SERIES}, {"name": "Successful metric", "samples": flat}]
    args = ("judge", "--judge", "kayenta", "--kayenta-config", config, "-o", "json", "--input", "-")
    found = [_run(*args, text=json.dumps({"metrics": metrics})) for metrics in (both, both[:1], both[1:])]
    assert [one.exit_code for one in found] == [0, 6, 0]
    unknown = _run(*args, text=json.dumps({"metrics": [_metric()]}))
    assert unknown.exit_code == 2 and "there is no metric 'errors'" in unknown.stderr


def test_marginal_is_inconclusive() -> None:
    """A score between the thresholds is neither."""
    flat = {"control": [1.0, 2, 3], "canary": [1.0, 2, 3]}
    metrics = [{"name": f"m{n}", "samples": flat} for n in range(4)] + [{"name": "cpu", "samples": SERIES}]
    assert _judge(metrics, "kayenta").exit_code == 3


def test_threshold_warns() -> None:
    """The naive rule is never used without being told what it does."""
    found = _judge([GOOD], "threshold")
    assert "37% of harmless canaries" in found.stderr and json.loads(found.stdout)["warnings"]
    assert _judge([GOOD]).stderr == ""


def test_null_is_nothing() -> None:
    """What programs write for nothing is nothing: null beside the data changes no verdict."""
    nothing = dict.fromkeys(("query_error", "newest", "kayenta", "samples", "baseline", "threshold"))
    assert _judge([GOOD | nothing]).exit_code == 0


def test_few_requests_never_pass() -> None:
    """Under the minimum of canary requests a pass is inconclusive."""
    few = _metric(margin=20, counts=_counts((95_000, 9500), (90, 8)))
    assert _judge([few]).exit_code == 3
    assert _judge([few], minimum_requests=10).exit_code == 0


def test_histograms_are_judged_at_a_bound() -> None:
    """A quantile with a baseline asks at the bucket's bound at or above quantile x margin; a threshold at its own."""
    histogram = {"bounds": [0.1, 0.2, 0.4, 0.8], "control": [9000, 9600, 9900, 9990, 10_000]}
    histogram["canary"] = [500, 700, 800, 900, 1000]
    baseline = {"bounds": [0.1, 0.2, 0.4, 0.8], "cumulative": [900, 960, 990, 999, 1000]}
    by_quantile = {"name": "p95", "quantile": 0.95, "baseline": baseline, "histogram": histogram}
    by_threshold = {"name": "slow", "threshold": 0.2, "margin": 1.2, "histogram": histogram}
    for metric in (by_quantile, by_threshold):
        for judge in ("sequential", "threshold"):
            assert _judge([metric], judge).exit_code == 4
    found = json.loads(_judge([by_quantile]).stdout)["metrics"][0]
    assert found["margin"] == pytest.approx(0.05 / 0.01)  # at 0.4, where 1% of the baseline is slower


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "stdin:1: is not JSON"),
        ('{"metrics": []}', "metrics: has too few items"),
        ("{}", "metrics: is missing"),
        ({"metrics": [_metric(name="")]}, "name: is empty"),
        ({"metrics": [_metric(), _metric()]}, "'errors' is there already"),
        ({"metrics": [_metric(margin=0.05)]}, "margin: 0.05 must lie between 1 and 20; +5% is 1.05"),
        ({"metrics": [_metric(margins=1.05)]}, "margins: is no key here; did you mean margin?"),
        ({"metrics": [{"name": "a"}]}, "there is no data; write exactly one of counts, samples, histogram"),
        ({"metrics": [_metric(samples=SERIES)]}, "counts and samples stand side by side"),
        ({"metrics": [_metric(query_error="x")]}, "counts: stands beside query_error"),
        ({"metrics": [_metric(threshold=3)]}, "counts: are not asked for a threshold"),
        ({"metrics": [_metric(counts=_counts((5, 6), (5, 1)))]}, "control.bad: 6 is more than the 5 requests"),
        ({"metrics": [_metric(counts=_counts((5, -1), (5, 1)))]}, "control.bad: -1 is not a count"),
        ({"metrics": [_metric(counts={"control": {"requests": 1, "bad": 0}})]}, "canary is missing"),
        ({"metrics": [_metric(counts=[])]}, "counts: has no looks"),
        ({"metrics": [{"name": "s", "samples": {"control": [1], "canary": ["2"]}}]}, "canary[0]: '2' is not a number"),
        ('{"metrics": [{"name": "s", "samples": {"control": [1e999], "canary": [1]}}]}', "is not a number"),
        ('{"metrics": [{"name": "s", "samples": {"control": [Infinity], "canary": [1]}}]}', "Infinity is no number"),
        ({"metrics": [_metric()], "alpha": 0.9}, "alpha: 0.9 must be at most 0.5"),
        ({"metrics": [_metric()], "stale_after": 5}, "stale_after: 5 is not a duration"),
        ({"metrics": [_metric(newest={"control": NOON, "canary": "x"})], "at": NOON}, "newest.canary"),
        ({"metrics": [_metric(newest={"control": NOON, "canary": NOON})]}, "needs to know when that was measured"),
        ({"metrics": [{"name": "h", "threshold": 1, "histogram": FALLING}]}, "cumulative counts must not fall"),
        ({"metrics": [{"name": "s", "samples": SERIES}]}, "s: the sequential judge asks for a share slower than"),
        ({"metrics": [_metric(kayenta={"direction": "up"})]}, "kayenta.direction: 'up' is not one of"),
        ('{"metrics": [{"name": "a", "name": "b"}]}', "is written twice"),
        ({"metrics": [_metric()], "share": 5}, "share: 5 must be less than 1"),
        ({"metrics": [_metric()], "share": 0}, "share: 0 must be"),
        ({"metrics": [_metric()], "share_tolerance": 0.1}, "share_tolerance: stands without share"),
        ({"metrics": [_metric()], "share": 0.05, "share_tolerance": 1}, "share_tolerance: 1 must be less than 1"),
        ({"metrics": [{"name": "s", "threshold": 9, "samples": SERIES}], "share": 0.5}, "share: needs requests to be"),
        ({"metrics": [_metric()], "ihsan": 101}, "ihsan: 101 must be at most 100"),
        ({"metrics": [_metric()], "ihsan": "99"}, "ihsan: '99' is not a number"),
        ({"metrics": [_metric()], "ihsan_at_least": 99}, "ihsan_at_least: stands without ihsan"),
        ({"metrics": [_metric(name="ihsan")], "ihsan": 99}, "name: 'ihsan' is the gate's own"),
        ({"metrics": [_metric()], "design_effect": 0.5}, "design_effect: 0.5 must be at least 1"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_clear_error(content: Any, message: str) -> None:
    """Bad input ends with exit code 2 and one line that names the place; JSON output has it too."""
    text = content if isinstance(content, str) else json.dumps(content)
    found = _run("judge", "--input", "-", "-o", "json", text=text)
    assert found.exit_code == 2 and message in found.stderr
    assert json.loads(found.stdout)["exit_code"] == 2


def test_all_mistakes_are_told_at_once() -> None:
    """Two mistakes are two lines, with the lines of the file."""
    text = '{"metrics": [\n {"name": "a", "margin": 0.05,\n  "counts": [{"control": {"requests": 3, "bad": 0}}]}]}'
    found = _run("judge", "--input", "-", text=text)
    assert "stdin:2: metrics.a.margin" in found.stderr and "stdin:3: metrics.a.counts[0]: canary is" in found.stderr


def test_kayenta_wants_a_series() -> None:
    """One look is no series; the message says what to give."""
    found = _judge([_metric()], "kayenta")
    assert found.exit_code == 2 and "give counts or histograms of several looks, or samples" in found.stderr


def test_a_config_for_another_judge_is_refused(tmp_path: Path) -> None:
    """--kayenta-config and --judge sequential contradict each other; a file that is not there is named."""
    found = _run("judge", "--input", "x.json", "--kayenta-config", "c.json")
    assert found.exit_code == 2 and "--kayenta-config is for --judge kayenta" in found.stderr
    missing = _run("judge", "--input", str(tmp_path / "x.json"))
    assert missing.exit_code == 2 and "x.json: cannot be read" in missing.stderr


def test_the_text_fits_80_columns(tmp_path: Path) -> None:
    """People get a table with the verdict on top."""
    path = tmp_path / "input.json"
    metrics = [_metric(), {**BAD, "name": "a rather long name of a metric"}]
    path.write_text(json.dumps({"metrics": metrics, "ihsan": 96.5}), "utf-8")
    found = _run("judge", "--input", str(path))
    assert found.stdout.startswith("FAIL (judge: sequential)") and "inconclusive" in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "96.5" in found.stdout and ">=95" in found.stdout.splitlines()[-1]


def _plan(*args: str) -> Result:
    return _run("plan", "-c", str(ROOT / "configs" / "node0.yaml"), *args)


def test_the_plan_says_plainly_what_five_percent_take() -> None:
    """262,000 canary requests, in 80 columns, with margins and lengths that work."""
    found = _plan("--traffic", "100", "--error-rate", "1%")
    assert found.exit_code == 0 and "+5% on an error rate of 1% needs about 262,000 canary requests" in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "every stage passes: margins of error rate +100%, p95 +10%, p99 +20%" in found.stdout


def test_stages_of_seconds_are_told_in_seconds() -> None:
    """A stage of 30 s is 30 s in the text, not a minute."""
    rule = replace(Catalogue(()).classes[ChangeClass.M], stage_duration=timedelta(seconds=30))
    told = " ".join(map(str, plan_text(planned(rule, CanaryRules(), Traffic(100.0, 0.01, 0.5)), CanaryRules(), "M")))
    assert "by the end of the stage (30s, " in told and "with stages of 30s;" in told


@pytest.mark.parametrize("kind", ["L", "M", "H"])
def test_the_plan_as_json(kind: str) -> None:
    """Stages with a control, three needs each, and two proposals; class L has none and says why."""
    document = json.loads(_plan("--class", kind, "--traffic", "50", "--error-rate", "0.02", "-o", "json").stdout)
    shares = {"L": [], "M": [0.05, 0.25, 0.5], "H": [0.01, 0.05, 0.25, 0.5]}[kind]
    assert [stage["share"] for stage in document["stages"]] == shares
    assert all(len(stage["needs"]) == 3 for stage in document["stages"])
    assert len(document["proposals"]) == (2 if shares else 0)
    assert ("no canary" in document["plain"]) == (kind == "L")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--traffic", "0", "--error-rate", "1%"), "traffic and sigma must be above 0"),
        (("--traffic", "100", "--error-rate", "0"), "without errors no ratio is known"),
        (("--traffic", "100", "--error-rate", "one"), "'one' is not a share"),
        (("--traffic", "nan", "--error-rate", "1%"), "must be above 0"),
        (("--traffic", "100", "--error-rate", "1%", "--power", "10%"), "power 0.1 does not lie between 0.5 and 1"),
        (("--traffic", "100", "--error-rate", "1%", "--latency-sigma", "-1"), "sigma"),
    ],
)
def test_a_plan_of_nonsense_is_refused(args: tuple[str, ...], message: str) -> None:
    """Numbers that mean nothing end with exit code 2 and say so."""
    found = _plan(*args)
    assert found.exit_code == 2 and message in " ".join(found.stderr.split())
