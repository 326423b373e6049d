"""The linter on facts: each finding with its numbers at the very bound where it begins, and nothing beyond it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from node0lib.alerts.findings import Finding, Subject
from node0lib.alerts.lint import lint
from node0lib.alerts.measured import Absent, Born, Bounds, Facts, Scrape, Traffic, Unknown, rolling, steady
from node0lib.alerts.policy import AlertPolicy, BurnAlert, policy_of, workbook_policy
from node0lib.shell.cli import main
from node0lib.shell.cli.alert_lint import lint as command
from node0lib.shell.cli.frame import Verbs
from node0lib.shell.promhttp import ReadError
from node0lib.shell.prominspect import selectors
from node0lib.slo.catalogue import Alerting, Severity
from node0lib.timespan import parse_duration

ROOT = Path(__file__).parents[2]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GROUP = Verbs("node0", commands={"lint": command})


def alert(factor: float = 14.4, **changes: Any) -> BurnAlert:
    """A page over an hour."""
    given: dict[str, Any] = {"name": "page", "severity": "critical", "long": HOUR, "short": HOUR / 12}
    return BurnAlert(factor=factor, **{**given, **changes})


def found(facts: Facts, *alerts: BurnAlert, objective: float = 0.999, **changes: Any) -> tuple[Finding, ...]:
    """What the linter says of one SLO with these alerts."""
    policy = AlertPolicy(objective, 30 * DAY, alerts) if alerts else None
    given: dict[str, Any] = {"slo": "api", "kind": "ratio", "policy": policy, "facts": facts}
    return lint([Subject(**{**given, **changes})])


def codes(findings: Iterable[Finding]) -> list[str]:
    """Their codes, in order."""
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    ("objective", "never"), [(0.93, True), (1 - 1 / 14.4, True), (0.9306, False), (0.9, True), (0.999, False)]
)
def test_an_alert_fires_from_one_minus_one_over_factor_on(objective: float, never: bool) -> None:
    """14.4 never fires at or under 93.06%, and does above."""
    assert codes(found(Facts(), alert(), objective=objective)) == (["never-fires"] if never else [])


def test_never_names_the_largest_factor_and_the_least_objective() -> None:
    """At 90% the most is a burn of 10; for 14.4 the objective must be above 93.0556%."""
    (never,) = found(Facts(), alert(), objective=0.9)
    assert never.severity == "error" and never.alert == "page" and never.slo == "api"
    assert "burns 10 (1/B)" in never.why
    assert never.advice == "take a factor under 10, or raise the objective above 93.0556%"


def traffic(mean: float, quietest: float | None = None) -> Facts:
    """Facts of which only the traffic of an hour is known."""
    return Facts(traffic={HOUR: Traffic(mean, quietest, "measured over 7d")})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (traffic(10), "one-failure-fires"),  # 1/10 is above 1.44%
        (traffic(69), "one-failure-fires"),  # 1/69 = 1.449%
        (traffic(70), None),  # 1/70 = 1.429%
        (traffic(500, 60), "one-failure-fires"),
        (traffic(500, 70), None),
        (traffic(0, 0), "one-failure-fires"),
    ],
)
def test_one_failure_counts_for_one_over_the_requests(facts: Facts, expected: str | None) -> None:
    """Below 1/(factor x B) = 69.4 requests in the long window a single failure is above the threshold."""
    findings = found(facts, alert())
    assert codes(findings) == ([expected] if expected else [])
    if expected:
        assert "from 70 on" in findings[0].why and "measured over 7d" in findings[0].why


def test_ten_requests_of_which_one_fails_burn_a_hundredfold() -> None:
    """One failure in ten requests is a ratio of 10%, a burn of 100 at 99.9%: a factor of 100 is just not exceeded."""
    assert codes(found(traffic(10), alert(99.9))) == ["one-failure-fires"]
    assert codes(found(traffic(10), alert(100.1))) == []


def test_a_guard_of_two_protects_and_says_so() -> None:
    """With min_bad 2 or more one failure is not enough; min_bad 1 is no guard."""
    (note,) = found(traffic(10), alert(min_bad=2))
    assert (note.code, note.severity) == ("guarded", "note")
    assert codes(found(traffic(10), alert(min_bad=1))) == ["one-failure-fires"]


def test_a_guard_that_the_traffic_never_reaches_is_a_warning() -> None:
    """Where an hour has two requests, three can never fail in it."""
    (deaf,) = found(traffic(2), alert(min_bad=3))
    assert (deaf.code, deaf.severity) == ("guard-silences", "warning")
    assert codes(found(traffic(3), alert(min_bad=3))) == ["guarded"]


@pytest.mark.parametrize(("scrape", "short"), [(150, False), (151, True)])
def test_a_short_window_needs_two_scrapes(scrape: int, short: bool) -> None:
    """Five minutes hold two scrapes of 150 s, and not of 151 s."""
    facts = Facts(scrape=Scrape(timedelta(seconds=scrape), "measured"))
    assert codes(found(facts, alert())) == (["short-window-under-two-scrapes"] if short else [])
    slices = found(facts, kind="timeslice", slice=timedelta(minutes=5))
    assert codes(slices) == (["slice-under-two-scrapes"] if short else [])


@pytest.mark.parametrize(
    ("short", "told"), [("1h", "no shorter window"), ("20m", "1/3 of"), ("10m", ""), ("2m30s", ""), ("2m", "1/30 of")]
)
def test_a_short_window_is_about_a_twelfth(short: str, told: str) -> None:
    """Half and double of 1/12 pass; the rest is a note with what it costs."""
    findings = found(Facts(), alert(short=parse_duration(short)))
    assert codes(findings) == (["short-window"] if told else [])
    assert not told or (told in findings[0].what and findings[0].severity == "note")


def test_severities_in_the_wrong_order_are_found() -> None:
    """A critical alert of a lower factor than a warning's pages before anybody is warned."""
    alerts = [alert(6.0, name=n, severity=s) for n, s in (("page", "critical"), ("same", "warning"))]
    assert codes(found(Facts(), *alerts)) == []
    (wrong,) = found(Facts(), alerts[0], alert(14.4, name="ticket", severity="warning"))
    assert wrong.code == "factors-out-of-order" and wrong.alert == "page" and "ticket" in wrong.what
    severities: tuple[Severity, ...] = ("critical", "warning", "info")
    assert [a.severity for a in workbook_policy().alerts][:3] == list(severities)
    assert codes(lint([Subject("api", "ratio", workbook_policy(), Facts())])) == []


@pytest.mark.parametrize(
    ("bounds", "threshold", "told"),
    [
        (Bounds((0.1, 0.25)), 0.25, None),
        (Bounds((0.1, 0.25)), 0.2, "between the bucket bounds 0.1 and 0.25 s"),
        (Bounds((0.1, 0.25)), 0.5, "between the bucket bounds 0.25 and inf s"),
        (Bounds((0.1, 0.25)), 0.05, "between the bucket bounds 0 and 0.1 s"),
        (Bounds(native=True, cut=True), 0.2, "within a bucket of the native histogram"),
        (Bounds(native=True), 0.2, None),
    ],
)
def test_a_threshold_has_a_bucket_bound_or_neighbours(bounds: Bounds, threshold: float, told: str | None) -> None:
    """Exactly on a bound nothing is said; else the bounds around it are named."""
    findings = found(Facts(bounds=bounds), kind="latency", threshold_s=threshold)
    assert codes(findings) == (["threshold-between-buckets"] if told else [])
    assert told is None or told in findings[0].what


def test_series_that_are_missing_or_began_above_zero() -> None:
    """Errors are warnings with what was lost, good events a note, a silent total a warning of its own."""
    born = (Born("e", True, 1, 7, "{code=\"500\"}", DAY), Born("t", False, 1200, 3.5e6, "{}", DAY))
    findings = found(Facts(born=born, absent=(Absent("x", True, 7 * DAY), Absent("y", False, 7 * DAY))))
    by = {finding.code: finding for finding in findings}
    assert by["errors-born-above-zero"].severity == "warning" and "at 7 events" in by["errors-born-above-zero"].why
    assert by["counters-born-above-zero"].severity == "note" and "1,200 series" in by["counters-born-above-zero"].why
    assert "x has selected nothing for 7d" in by["error-series-missing"].why
    assert by["no-series"].severity == "warning"


def test_windows_beyond_memory_and_data_are_notes() -> None:
    """A window longer than the retention, or observed in part, is told of the alert and of the SLO."""
    facts = Facts(retention=DAY, coverage={3 * DAY: 0.5, 30 * DAY: 0.05})
    slow = alert(1.0, name="slow", severity="info", long=3 * DAY, short=6 * HOUR)
    findings = found(facts, slow, window=30 * DAY)
    assert codes(findings) == 2 * ["window-beyond-retention", "window-beyond-data"]
    assert {finding.severity for finding in findings} == {"note"} and "50.0%" in findings[1].why
    assert codes(found(Facts(retention=3 * DAY, coverage={3 * DAY: 0.99}), slow)) == []


def test_what_is_unknown_is_told_once_for_each_reason() -> None:
    """The same reason for many SLOs and facts is one note that names them all; None means it does not apply."""
    down, none = Unknown("server down"), Unknown("no such page")
    subjects = [Subject(name, "ratio", None, Facts(traffic=down, scrape=down)) for name in ("a", "b")]
    first, second = lint([*subjects, Subject("c", "ratio", None, Facts(retention=none))])
    assert (first.what, first.why) == ("not checked: traffic, scrape interval of a, b", "server down")
    assert (second.slo, second.what) == ("c", "not checked: retention")


def test_the_gravest_come_first() -> None:
    """Errors, then warnings, then notes."""
    facts = Facts(traffic={HOUR: Traffic(1, None, "given"), DAY: Traffic(24, None, "given")}, retention=Unknown("x"))
    never = alert(2000.0, name="never", severity="critical", long=DAY, short=2 * HOUR)
    assert [one.severity for one in found(facts, alert(), never)] == ["error", "warning", "note"]


def test_traffic_is_summed_over_whole_hours_only() -> None:
    """Hours beside a gap are left out, windows over a gap have no quietest, and longer ones are reckoned."""
    total = np.array([9.0, 10.0, 20.0, np.nan, 5.0, 30.0, 40.0, 30.0])
    seen = rolling(total, HOUR, [HOUR, 2 * HOUR, 5 * HOUR], "measured")
    assert not isinstance(seen, Unknown)
    assert (seen[HOUR].mean, seen[HOUR].quietest) == (27.5, 10.0)
    assert (seen[2 * HOUR].mean, seen[2 * HOUR].quietest) == (55.0, 70.0)
    assert (seen[5 * HOUR].mean, seen[5 * HOUR].quietest) == (137.5, None)
    assert isinstance(rolling(np.array([np.nan, 4.0]), HOUR, [HOUR], "measured"), Unknown)
    assert steady(6, [HOUR / 2])[HOUR / 2].mean == 3


def test_selectors_are_written_as_promql() -> None:
    """Each selector once, without offsets, with its matchers; one without a metric is refused."""
    query = 'sum(increase(a{x=~"q\\"u",y!="1"}[$window] offset 5m)) / sum(increase({__name__="b"}[$window]))'
    assert [one.text for one in selectors(query)] == ['a{x=~"q\\"u", y!="1"}', "b"]
    assert selectors("x_bucket[5m]")[0].counted.text == 'x_bucket{le="+Inf"}'
    assert selectors('x_bucket{a="}"}[5m]')[0].counted.text == 'x_bucket{a="}", le="+Inf"}'
    for wrong in ('{job="a"}[5m]', "sum("):
        with pytest.raises(ReadError):
            selectors(wrong)


# The command


def run(*options: str) -> Result:
    """Run the command as node0 does."""
    return CliRunner().invoke(GROUP, ["lint", *options])


def policy_file(folder: Path, text: str) -> str:
    """Write a policy file; return its path."""
    path = folder / "policy.yaml"
    path.write_text(text, "utf-8")
    return str(path)


POLICY = "objective: 0.999\nalerts:\n- {name: page, severity: critical, long: 1h, short: 5m, budget: 2%}\n"


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--requests-per-hour", "69", "--scrape-interval", "15s"), 3, ["one-failure-fires", "not-checked"]),
        (("--requests-per-hour", "70", "--scrape-interval", "15s"), 0, ["not-checked"]),
        (("--scrape-interval", "3m"), 3, ["short-window-under-two-scrapes", "not-checked"]),
        ((), 0, ["not-checked"]),
    ],
)
def test_a_policy_by_itself_is_looked_at_with_what_is_given(
    tmp_path: Path, options: tuple[str, ...], code: int, expected: list[str]
) -> None:
    """Without telemetry the user's traffic and interval decide; warnings and errors end with 3, notes with 0."""
    ran = run("--policy", policy_file(tmp_path, POLICY), *options, "--output", "json")
    document = json.loads(ran.stdout)
    assert ran.exit_code == code
    assert [finding["code"] for finding in document["findings"]] == expected
    assert document["checked"] == [{"slo": None, "alerts": ["page"]}]
    assert document["errors"] + document["warnings"] == len(expected) - 1


def test_the_shipped_catalogue_is_clean(tmp_path: Path) -> None:
    """On the embedded node the shipped alerts have neither errors nor warnings, and looking writes nothing."""
    (tmp_path / "notebooks").mkdir()
    for name in ("configs", "notebooks"):
        (tmp_path / name).mkdir(exist_ok=True)
        for path in (ROOT / name).glob("*.*"):
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    ran = run("--config", str(tmp_path / "configs" / "node0.yaml"))
    assert ran.exit_code == 0, ran.output
    assert "SIMULATED" in ran.stdout and "0 errors, 0 warnings" in ran.stdout
    assert not (tmp_path / "data").exists()


def test_the_embedded_nodes_traffic_is_measured(tmp_path: Path) -> None:
    """A policy for one SLO of the catalogue is weighed against that SLO's simulated traffic."""
    text = POLICY.replace("0.999", "0.9999").replace("budget: 2%", "factor: 14.4, min_bad: 1000000000")
    ran = run("--policy", policy_file(tmp_path, text), "--slo", "api_availability", "--config",
              str(ROOT / "configs" / "node0.yaml"), "--output", "json")  # fmt: skip
    (deaf,) = json.loads(ran.stdout)["findings"]
    assert deaf["code"] == "guard-silences" and "measured over 7d" in deaf["why"] and ran.exit_code == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--slo", "nobody"), "there is no SLO 'nobody'"),
        (("--look-back", "long"), "--look-back: 'long' is not a duration"),
        (("--scrape-interval", "x"), "--scrape-interval: 'x' is not a duration"),
        (("--policy", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_options_end_with_two(options: tuple[str, ...], told: str) -> None:
    """One clear error each."""
    ran = run("--config", str(ROOT / "configs" / "node0.yaml"), *options)
    assert ran.exit_code == 2 and told in ran.stderr


def test_the_catalogues_alerts_and_the_linters_are_the_same() -> None:
    """What is looked at are the alerts that the catalogue makes."""
    names = [one.name for one in policy_of(0.999, Alerting()).alerts]
    ran = run("--config", str(ROOT / "configs" / "node0.yaml"), "--slo", "api_availability", "--output", "json")
    assert json.loads(ran.stdout)["checked"] == [{"slo": "api_availability", "alerts": names}]


def test_strict_lets_what_could_not_be_checked_fail(tmp_path: Path) -> None:
    """A server that is down leaves only notes; --strict makes them count, so that a pipeline notices."""
    policy = tmp_path / "policy.yaml"
    alert = "{name: page, severity: critical, long: 1h, short: 5m, factor: 14.4}"
    policy.write_text(f"objective: 0.999\nalerts: [{alert}]\n", "utf-8")
    plain = CliRunner().invoke(command, ["--policy", str(policy)])
    strict = CliRunner().invoke(command, ["--policy", str(policy), "--strict"])
    assert (plain.exit_code, strict.exit_code) == (0, 3)
    wrong = CliRunner().invoke(main, ["alerts", "lint", "--policy", str(policy), "--requests-per-hour", "nan"])
    assert wrong.exit_code == 2 and "is no number of requests" in wrong.stderr
