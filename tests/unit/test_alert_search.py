"""Thresholds by search: tapes, scores, fronts, verdicts and ``node0 alerts search``."""

import contextlib
import json
import math
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from node0lib.alerts.goals import Blips, Burn, Goals, Outage
from node0lib.alerts.policy import AlertPolicy, BurnAlert, policy_of, workbook_policy
from node0lib.alerts.quality import QualityRules, judge, pooled
from node0lib.alerts.search import Scored, dominates, front, met, out_of_reach, recommended, unshown, why
from node0lib.errors import ConfigError, DataError
from node0lib.shell.alert_policy_file import alert_policy_yaml, parse_alert_policy, read_alert_policy
from node0lib.shell.cli.alert_search import search as command
from node0lib.simulate.candidates import Space
from node0lib.simulate.gallery import USUAL
from node0lib.simulate.months import PAGING, evaluate
from node0lib.simulate.scenario import Fault, Floor, Scenario, Traffic, plan
from node0lib.simulate.search import Found, Search, search
from node0lib.simulate.tape import Tape, around, faulty
from node0lib.simulate.trial import Reach, Trial
from node0lib.sli.intervals import Estimate, median_interval, poisson_rate, quantile_interval
from node0lib.slo.catalogue import Alerting

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUIET = Scenario(Traffic(60.0), Floor(0.0003))
DEFAULT = policy_of(0.999, Alerting())


def _scored(detection: float = 600.0, false: int = 0, recall: float = 0.9, reset: float = 600.0) -> Scored:
    sure = Estimate(detection, detection, detection)
    rate = poisson_rate(false, 100.0)
    assert rate is not None
    share = Estimate(recall, recall - 0.05, recall + 0.05)
    return Scored(DEFAULT, sure, rate, share, Estimate(reset, reset, reset), Estimate(0.04, 0.04, 0.04))


def test_equal_within_noise_is_not_better() -> None:
    """Two false pages in a hundred months against five may be chance: neither dominates, and both are on the front."""
    one, other = _scored(false=2), _scored(false=5)
    assert not dominates(one, other)
    assert front([one, other]) == (one, other)
    assert dominates(one, _scored(false=30))


def test_worse_within_noise_is_worse() -> None:
    """A page a minute sooner does not dominate what has one false page fewer, though that may be chance."""
    assert not dominates(_scored(540, false=3), _scored(600, false=2))
    assert dominates(_scored(540, false=2), _scored(600, false=2))


def test_soon_enough_is_soon_enough() -> None:
    """What a burn spends before it is told counts only beyond what the goals allow."""
    late, early = (replace(_scored(), ticket_spent=Estimate(share, share, share)) for share in (0.04, 0.01))
    assert dominates(early, late)
    assert not dominates(early, late, enough=0.05)


def test_a_goal_is_met_missed_or_not_shown() -> None:
    """All of the interval, none of it, or only a part, with the numbers in the reason."""
    verdicts = {false: met(Goals(), _scored(false=false))[0] for false in (50, 100, 200)}
    assert [check.verdict for check in verdicts.values()] == ["met", "not shown", "missed"]
    assert verdicts[100].reason == "1, but 0.81 to 1.2 is on both sides of 1: more months would tell"
    unseen = replace(_scored(), recall=None)
    assert met(Goals(recall=0.9), unseen)[3].verdict == "not shown"


def test_few_observations_show_nothing() -> None:
    """An end of the interval that the sample is too small for does not meet a goal."""
    found = met(Goals(), replace(_scored(), detection_s=Estimate(300.0, 240.0, None)))
    assert found[1].verdict == "not shown"
    assert "4 min to ?" in found[1].reason


def test_the_recommended_has_the_fewest_false_pages() -> None:
    """Among what meets the goals, not the soonest; nothing is recommended where nothing meets them."""
    soon, quiet, late = _scored(300, false=20), _scored(540, false=10), _scored(900, false=0)
    assert recommended(Goals(), [soon, quiet, late]) is quiet
    assert recommended(Goals(), [late]) is None
    assert out_of_reach(Goals(), [late]) == ("a failure of 10% paged within 10m in 90% of cases",)
    few = replace(late, detection_s=Estimate(540.0, 480.0, None))
    assert out_of_reach(Goals(), [late, few]) == ()
    assert unshown(Goals(), [late, few]) == ("a failure of 10% paged within 10m in 90% of cases",)


def test_why_says_what_the_rival_does_better() -> None:
    """Off the front: by how much, and in what no difference shows. On it: what would be sooner, and its price."""
    default, rival = _scored(600, false=2), _scored(420, false=2)
    assert why(default, [rival], called=lambda _: "policy 3") == (
        "The default policy is not on the front: policy 3 pages 3 min sooner (7 min against 10 min); no difference is "
        "shown in false pages, recall, reset time and budget spent before a ticket."
    )
    dear = why(default, [default, _scored(420, false=90)])
    assert dear.startswith("The default policy is on the front: no policy is at least as good in everything")
    assert dear.endswith(
        "Another policy pages 3 min sooner (7 min against 10 min), but has more false pages a month (0.9 against 0.02)."
    )
    assert why(default, [default]).endswith("no policy that was tried is better in anything beyond chance.")


@pytest.mark.parametrize("n", [1, 5, 6, 7, 60, 101])
def test_the_median_is_a_quantile(n: int) -> None:
    """The interval of the half is the median's own, for every size of sample."""
    sample = [float(k) for k in range(n)]
    assert quantile_interval(sample, 0.5) == median_interval(sample)


def test_a_high_quantile_needs_many_observations() -> None:
    """What happens nine times of ten has an upper end from 36 observations on; censored ones count."""
    assert [quantile_interval([1.0] * n, 0.9) for n in (35, 36)] == [Estimate(1.0, 1.0, None), Estimate(1.0, 1.0, 1.0)]
    assert quantile_interval([1.0] * 80 + [math.inf] * 20, 0.9) == Estimate(math.inf, math.inf, math.inf)
    assert quantile_interval([], 0.9) is None
    with pytest.raises(DataError, match="strictly between 0 and 1"):
        quantile_interval([1.0], 1.0)


@pytest.mark.parametrize("policy", [DEFAULT, workbook_policy()], ids=["guarded", "unguarded"])
def test_healthy_months_are_those_of_every_other_command(policy: AlertPolicy) -> None:
    """False pages of a trial are exactly those of the months that ``evaluate`` replays one by one."""
    trial = Trial.draw(QUIET, Goals(), Reach.of([policy]), policy, months=range(12), seed=3)
    alone = evaluate(plan(QUIET), {"policy": policy}, months=range(12), seed=3)["policy"]["page"]
    assert trial.quiet.judged(policy, PAGING, QualityRules()) == alone
    assert trial.score(policy).false_pages == alone.false_pages


def test_a_tape_is_judged_like_its_stretches() -> None:
    """Detection, recall and reset of many faults end to end are those of each fault by itself."""
    fault = Fault("outage", 5 * DAY, HOUR, errors=0.3)
    many = [faulty(USUAL, fault, lead=800, tail=360, watch=60, seed=1, month=k) for k in range(6)]
    tape, rules = Tape.of(many, 60_000, 26_000.0), QualityRules(significant=0.0)
    alone = [Tape.of([one], 60_000, 26_000.0).judged(DEFAULT, PAGING, rules) for one in many]
    together = tape.judged(DEFAULT, PAGING, rules)
    assert together.detection_s == pooled(alone).detection_s
    assert (together.reset_s, together.pages) == (pooled(alone).reset_s, pooled(alone).pages)
    assert together.detected == 6


def test_a_short_scenario_expects_what_the_month_does() -> None:
    """Cut out around a fault, the same minutes expect the same requests: clock, weekday, trend and recorded traffic."""
    recorded = tuple(float(k % 977) for k in range(5000))
    for traffic in (Traffic(6000.0, daily_swing=0.7, weekend=0.4, trend=0.8), Traffic(recorded=recorded)):
        fault = Fault("outage", 12 * DAY + 5 * HOUR, HOUR, errors=0.3, traffic=2.0)
        whole = Scenario(traffic, Floor(0.001), (fault,))
        short = around(whole, fault, lead=800, tail=360)
        first = fault.onset // MINUTE - 800
        part = slice(first, first + short.steps)
        assert np.allclose(plan(short).requests, plan(whole).requests[part], atol=1e-6)
        assert np.array_equal(plan(short).extra, plan(whole).extra[part])


def test_a_fault_at_the_beginning_has_an_empty_past() -> None:
    """A scenario's own fault stays where it is, though the windows look back beyond the month."""
    fault = Fault("outage", HOUR, HOUR, errors=1.0)
    found = faulty(replace(USUAL, faults=()), fault, lead=800, tail=360, watch=60, seed=1, month=1)
    assert found.event == (800, 860)
    assert found.month.total[:740].sum() == 0 < found.month.total[740:800].sum()
    judged = judge(Tape.of([found], 60_000, 26_000.0).fires(DEFAULT, PAGING), [], QualityRules(), 60_000)
    assert judged.pages == 1


def test_the_scenarios_own_faults_count_for_recall() -> None:
    """A fault of the asked scenario is one more kind, beside the gallery's, under a name of its own."""
    faults = (Fault("full outage", 5 * DAY, HOUR, errors=0.5), Fault("deploy", DAY, HOUR, errors=0.2))
    own = replace(USUAL, faults=faults)
    trial = Trial.draw(own, Goals(), Reach.of([DEFAULT]), DEFAULT, months=range(4), seed=1)
    found = trial.faults(DEFAULT)
    assert (found["deploy"].events, found["deploy"].detected) == (4, 4)
    assert found["full outage (the scenario's)"].events == found["full outage"].events == 4


def test_blips_page_the_sensitive_only() -> None:
    """Small failures that nobody should be woken for are false pages of thresholds below them."""
    goals = Goals(blips=Blips(20, 0.1, 3 * MINUTE))
    eager = AlertPolicy(0.999, 30 * DAY, (BurnAlert("page", "critical", HOUR, 5 * MINUTE, 2.0),))
    trial = Trial.draw(USUAL, goals, Reach.of([eager, DEFAULT]), DEFAULT, months=range(6), seed=1)
    assert trial.score(eager).false_pages.value > 10
    assert trial.score(DEFAULT).false_pages.value < 1


def test_months_too_short_for_a_fault_are_refused() -> None:
    """What does not fit is said, with how long it takes."""
    short = replace(USUAL, length=3 * DAY)
    with pytest.raises(ConfigError, match="fault the goals' burn: .* needs 3d17h49m; let months be longer"):
        Trial.draw(short, Goals(), Reach.of([DEFAULT]), DEFAULT, months=range(2), seed=1)
    with pytest.raises(ConfigError, match="burn: a failure of 0.01% spends 5% of the budget in 15d only"):
        Trial.draw(USUAL, Goals(burn=Burn(0.0001)), Reach.of([DEFAULT]), DEFAULT, months=range(2), seed=1)


def test_any_default_has_its_place_in_the_space() -> None:
    """Windows, shares, for and min_bad of a policy of one's own are among the choices; what it has not, is open."""
    alert = BurnAlert("mine", "critical", 90 * MINUTE, 7 * MINUTE, 11.0, 3 * MINUTE, 7.0)
    own = AlertPolicy(0.99, 30 * DAY, (alert,))
    space = Space.around(own, MINUTE)
    at = space.numbers(own)
    assert set(at) == {f"critical.{name}" for name in ("long", "part", "budget", "for", "min_bad")}
    found = space.policy({**dict.fromkeys(space.sizes, 0), **at}).alerts[0]
    assert (found.long, found.short, found.hold, found.min_bad) == (alert.long, alert.short, alert.hold, 7.0)
    assert found.factor == pytest.approx(11.0)


def test_windows_are_whole_steps() -> None:
    """On buckets of five minutes no candidate has a window of two and a half."""
    space = Space.around(DEFAULT, 5 * MINUTE)
    for number in (0, 1):
        policy = space.policy({name: min(number, size - 1) for name, size in space.sizes.items()})
        assert all(w % (5 * MINUTE) == timedelta(0) for alert in policy.alerts for w in (alert.short, alert.long))
    with pytest.raises(ConfigError, match="must be whole steps of 7m"):
        Search(DEFAULT, replace(USUAL, step=7 * MINUTE, length=420 * HOUR), Goals())


def _numbers(found: Found) -> list[tuple[Scored, Scored]]:
    return [(one.seen, one.fresh) for one in found.front]


def test_equal_seeds_give_equal_answers() -> None:
    """Whatever the number of workers; another seed has other months."""
    asked = Search(DEFAULT, QUIET, Goals(share=0.5), candidates=20, months=8, seed=5)
    one, other = search(asked), search(asked, workers=2)
    assert one.tried == other.tried
    assert _numbers(one) == _numbers(other)
    assert search(replace(asked, seed=6)).tried != one.tried


def test_the_front_is_shown_with_fresh_numbers() -> None:
    """The default is tried first; what the search saw and what it has not seen are kept apart."""
    found = search(Search(DEFAULT, QUIET, Goals(share=0.5), candidates=24, months=8))
    assert found.tried[0].policy == DEFAULT == found.default.fresh.policy
    assert found.default in found.rescored
    assert [one.fresh for one in found.front] == sorted(
        front([one.fresh for one in found.rescored], 0.05), key=[one.fresh for one in found.front].index
    )
    assert any(one.seen != one.fresh for one in found.front)


def test_a_guard_makes_low_traffic_bearable() -> None:
    """At 60 requests an hour the unguarded default pages falsely about 12 times a month; the front offers min_bad."""
    default, goals = workbook_policy(), Goals(outage=Outage(within=None), burn=Burn(before=None))
    found = search(Search(default, QUIET, goals, candidates=48, months=24))
    before = found.default.fresh.false_pages
    assert 8 < before.value < 16
    best = found.recommended
    assert best is not None
    assert best.fresh.false_pages.high is not None and before.low is not None
    assert best.fresh.false_pages.high < 1 < before.low
    assert any(alert.min_bad > 0 for alert in best.fresh.policy.alerts if alert.severity in PAGING)
    bare = replace(best.fresh.policy, alerts=tuple(replace(a, min_bad=0.0) for a in best.fresh.policy.alerts))
    trial = Trial.draw(QUIET, goals, Reach.of([bare]), bare, months=range(24), seed=1)
    assert trial.score(bare).false_pages.value > 3 * max(best.fresh.false_pages.value, 0.1)


def test_the_default_policys_verdict_on_usual_traffic() -> None:
    """It pages a tenth's failure in time and never falsely, but tells a slow burn too late: the search finds sooner."""
    found = search(Search(DEFAULT, USUAL, Goals(), candidates=16, months=40))
    assert [check.verdict for check in met(Goals(), found.default.fresh)] == ["met", "met", "missed"]
    assert found.default.fresh.detection_s.value == 600.0
    assert found.default not in found.front
    assert "not on the front" in why(found.default.fresh, [one.fresh for one in found.front])


def test_a_policy_is_written_as_it_is_read() -> None:
    """To the last bit, with for, min_bad, scaling, and names that YAML would read otherwise."""
    alerts = (
        BurnAlert('a: "b" #1', "critical", HOUR, 150 * timedelta(seconds=1), 1 / 3, 2 * MINUTE, 3.5),
        BurnAlert("yes", "info", 3 * DAY, 3 * DAY, 1e-9, scaling="traffic"),
    )
    policy = AlertPolicy(0.9995, 28 * DAY, alerts)
    text = alert_policy_yaml(policy, "found\nby chance")
    assert text.startswith(b"# found\n# by chance\nobjective: 0.9995\n")
    assert parse_alert_policy(text, "again.yaml") == policy


def _run(*words: str) -> Result:
    with tempfile.TemporaryDirectory() as nowhere, contextlib.chdir(nowhere):  # no configuration: the defaults
        return CliRunner().invoke(command, list(words))


EASY = "recall: 50%\nfalse_pages: 1\n"


def test_a_policy_is_found_and_written(tmp_path: Path) -> None:
    """Exit 0: what meets the goals is recommended, marked, and written so that a replay reads it."""
    (tmp_path / "goals.yaml").write_text(EASY, "utf-8")
    words = ("--goals", str(tmp_path / "goals.yaml"), "--candidates", "12", "--months", "12")
    done = _run(*words, "--out", str(tmp_path / "p.yaml"), "--output", "json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    best = document["front"][document["recommended"] - 1]
    assert best["meets_all"]
    written = read_alert_policy(tmp_path / "p.yaml")
    assert [alert.factor for alert in written.alerts] == [alert["factor"] for alert in best["alerts"]]
    assert document["default_policy"]["faults"]["full outage"] == [12, 12]
    text = _run(*words)
    assert text.exit_code == 0
    assert max(map(len, text.stdout.splitlines())) <= 80
    assert "Recommended: policy" in text.stdout and "The default policy is" in text.stdout
    assert "goal 2: at least 50% of significant faults paged" in text.stdout
    assert "... trying candidates" in text.stderr


def test_what_is_out_of_reach_is_said(tmp_path: Path) -> None:
    """Exit 3: no policy pages a tenth's failure within a minute at one request a minute; nothing is written."""
    (tmp_path / "goals.yaml").write_text("outage: {size: 10%, within: 1m}\nfalse_pages: 1\n", "utf-8")
    (tmp_path / "low.yaml").write_text("traffic: {per_hour: 60}\nerrors: {rate: 0.03%}\n", "utf-8")
    words = ("--goals", str(tmp_path / "goals.yaml"), "--scenario", str(tmp_path / "low.yaml"))
    done = _run(*words, "--candidates", "10", "--months", "10", "--out", str(tmp_path / "p.yaml"))
    assert done.exit_code == 3, done.output
    assert not (tmp_path / "p.yaml").exists()
    told = " ".join(done.stdout.split())
    assert "Out of reach: a failure of 10% paged within 1m in 90% of cases." in told
    assert "Nearest: " in told and "It lacks: a failure of 10% paged within 1m" in told


def test_wrong_input_is_an_error(tmp_path: Path) -> None:
    """Goals, scenario, SLO and numbers that are wrong are told before anything is simulated."""
    (tmp_path / "goals.yaml").write_text("false_pages: -1\n", "utf-8")
    found = _run("--goals", str(tmp_path / "goals.yaml"))
    assert isinstance(found.exception, ConfigError) and "goals.yaml:1: false_pages" in str(found.exception)
    assert isinstance(_run("--scenario", str(tmp_path / "no.yaml")).exception, ConfigError)
    assert isinstance(_run("--slo", "api").exception, ConfigError)
    assert _run("--candidates", "0").exit_code == 2
