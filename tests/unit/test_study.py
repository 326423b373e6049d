"""The scenario notebook's parts: what is opened, what is drawn, what is said, and what is refused."""

import math
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import QualityRules
from node0lib.errors import ConfigError
from node0lib.shell.study import open_study
from node0lib.simulate import study
from node0lib.simulate.gallery import FAULTS, USUAL
from node0lib.simulate.scenario import Floor, Traffic
from node0lib.sli.intervals import Estimate
from node0lib.views import gallery_view, study_view
from node0lib.views.alarms import amount, estimated, lasting

CONFIG = str(Path(__file__).parents[2] / "configs" / "node0.yaml")


@pytest.fixture(scope="module")
def asked() -> study.Study:
    """Two policies over three months of each fault."""
    named = named_policies(0.999)
    return study.Study("workbook", {name: named[name] for name in ("workbook", "approach-3")}, months=3, slo="99.9%")


@pytest.fixture(scope="module")
def runs(asked: study.Study) -> study.Runs:
    """What both made of the gallery."""
    return study.gallery_months(asked)


def _images(html: str) -> list[str]:
    page = BeautifulSoup(html, "html.parser")
    assert page.find("figure") is not None and page.find("figcaption") is not None
    return [str(image["alt"]) for image in page.find_all("img")]


def test_the_catalogue_s_own_policy_is_studied_by_name() -> None:
    """An SLO of the configuration brings its objective, and "catalogue" the alerting section next to the named ones."""
    opened = open_study("api_availability", 36_000, 0.0003, "catalogue", 30, 1, CONFIG)
    assert opened.policy.objective == 0.999 and opened.slo == "api_availability, 99.9%"
    assert [alert.min_bad for alert in opened.policy.alerts] == [3, 3, 3, 3]
    assert list(opened.policies)[0] == "catalogue" and len(opened.policies) == 13
    assert (opened.usual.traffic.per_hour, opened.usual.floor.rate) == (36_000, 0.0003)
    assert (opened.months, opened.seed) == (30, 1)


def test_an_objective_needs_no_configuration() -> None:
    """A number is an objective, and without a configuration the defaults of alerting are the catalogue's."""
    opened = open_study(0.99, 60, 0.001, "pyrra", 5, 2, None)
    assert opened.policy.objective == 0.99 and opened.slo == "99%" and opened.chosen == "pyrra"


WRONG = {
    "there is no SLO 'api'; the catalogue has": ("api", 60, 0.001, "pyrra", 5, CONFIG),
    "promises 1h, burn alerts count budgets of 30d": ("api_latency_p95", 60, 0.001, "pyrra", 5, CONFIG),
    "there is no policy 'wrkbook'; did you mean workbook?": (0.99, 60, 0.001, "wrkbook", 5, None),
    "must lie strictly between 0 and 1": (1.5, 60, 0.001, "pyrra", 5, None),
    "requests and factors must be finite and not negative": (0.99, -60, 0.001, "pyrra", 5, None),
    "the rate 1.5 must lie between 0 and 1": (0.99, 60, 1.5, "pyrra", 5, None),
    "months: 1 are too few": (0.99, 60, 0.001, "pyrra", 1, None),
    "none.yaml": (0.99, 60, 0.001, "pyrra", 5, "none.yaml"),
}


@pytest.mark.parametrize("told", WRONG)
def test_a_parameter_that_cannot_be_is_one_clear_error(told: str) -> None:
    """Unknown names, objectives, traffic, floors and too few months say what is wrong."""
    slo, per_hour, floor, policy, months, config = WRONG[told]
    with pytest.raises(ConfigError, match=re.escape(told)):
        open_study(slo, per_hour, floor, policy, months, 1, config)


def test_every_fault_and_none_is_run_through_every_policy(asked: study.Study, runs: study.Runs) -> None:
    """Ten faults and a healthy month, each of the asked months, "page" and every alert of each policy."""
    assert list(runs) == [*FAULTS, study.HEALTHY]
    for run in runs.values():
        assert set(run) == set(asked.policies)
        assert set(run["workbook"]) == {"page", *(alert.name for alert in asked.policy.alerts)}
        assert run["workbook"]["page"].months == 3
    total = study.together(runs, "workbook")
    assert total.months == 33 and total.events == 7 * 3 and total.detected >= 6 * 3


def test_a_study_is_the_same_on_more_threads(asked: study.Study, runs: study.Runs) -> None:
    """Workers change how long it takes, and nothing else; progress tells each kind of month."""
    heard: list[int] = []
    again = study.gallery_months(replace(asked, workers=3), lambda _, done, __: heard.append(done))
    assert again == runs
    assert heard == list(range(1, 12))


def test_the_gallery_is_ten_small_pictures_that_state_their_numbers(asked: study.Study) -> None:
    """One image a fault, side by side where there is room; each says what it spends and which alerts fire when."""
    figure = gallery_view.firing_against_budget(asked, study.first_months(asked))
    alts = _images(figure.html)
    assert len(alts) == 10 and all(re.search(r"spends \d+\.\d% of the budget", alt) for alt in alts)
    assert re.match(r"full outage: spends \d\d\.\d% of the budget, critical_1h 1 to 2\d min, ", alts[0])
    assert alts[8] == "silent traffic loss: spends 0.0% of the budget, no alert fires"
    assert "imulated" in figure.html and "imulated" in figure.text
    assert figure == gallery_view.firing_against_budget(asked, study.first_months(asked))


def test_pairs_are_drawn_and_told_alike(asked: study.Study, runs: study.Runs) -> None:
    """Detection, reset and budget of each alert: three pictures, and the same numbers in a table; what is missed is."""
    alts = _images(gallery_view.pairs(asked, runs).html)
    assert [alt.split(":")[0] for alt in alts] == [
        "detected after", "reset after the end", "budget spent at detection"]  # fmt: skip
    assert "slow burn, critical_1h missed" in alts[0] and "full outage, critical_1h 1 min" in alts[0]
    table = study_view.pairs(asked, runs).text
    assert re.search(r"full outage +critical_1h +3 of 3 +1 min", table)
    assert re.search(r"telemetry gap +none: not significant", table)
    assert "slow burn            critical_1h" not in table


def test_policies_are_drawn_and_told_alike(asked: study.Study, runs: study.Runs) -> None:
    """Recall, false pages and detection of each policy, with what is missed more often than not."""
    alts = _images(gallery_view.policies(asked, runs).html)
    assert len(alts) == 3 and "approach-3" in alts[0] and "approach-3 missed" in alts[2]
    text = study_view.policies(asked, runs).text
    assert "33 simulated months" in text and "approach-3" in text


def test_in_short_says_what_is_paged_told_and_asked(asked: study.Study, runs: study.Runs) -> None:
    """A sentence a fault: when it is paged, what it cost by then, what only a ticket tells, what nobody asks."""
    lines = study_view.in_short(asked, runs).text.splitlines()
    assert lines[0].startswith("Over 33 simulated months the policy workbook brings 0 (0 to 0.11) false pages a month")
    assert re.match(r"full outage: paged after 1 min, having spent 3\.\d% of the budget\.", lines[1])
    (slow,) = (line for line in lines if line.startswith("slow burn"))
    assert re.match(r"slow burn: paged in \d of 3 months, but told by info_3d after \d\.\d+ h\.", slow)
    assert lines[-1].startswith("low-traffic night, silent traffic loss, telemetry gap: under 1% of the budget")


def test_definitions_carry_the_rules_in_force() -> None:
    """The numbers that are used are the numbers that are shown."""
    rules = QualityRules(0.05, timedelta(minutes=7), timedelta(minutes=3))
    text = study_view.definitions(rules).text
    assert "at least 5% of the period's budget" in text
    assert "[start, end + 7m]" in text and "less than 3m after the end" in text


def test_closed_forms_and_simulation_agree(asked: study.Study) -> None:
    """Detection and reset of every pair and size lie within minutes of the closed form; the budget follows."""
    for fact in study.beside(replace(asked, months=15)):
        slack = 60 + 0.02 * fact.detection_closed
        assert fact.detection.value == pytest.approx(fact.detection_closed + 30, abs=slack)
        assert fact.reset.value == pytest.approx(fact.reset_closed, abs=61)
        half = fact.size * 30 / (0.001 * 30 * 86_400)  # of what a minute spends
        assert fact.spent.value == pytest.approx(fact.spent_closed + half, abs=half + 0.03 * fact.spent_closed)
    assert "closed form" in study_view.beside(asked, study.beside(asked)).text


def test_the_curve_follows_the_alerts_that_page(asked: study.Study) -> None:
    """A bigger fault is paged sooner; one under the thresholds of what pages never, whatever a ticket makes of it."""
    found = study.curve(asked, sizes=(0.002, 0.01, 0.1, 1.0))
    assert [size for size, _, _ in found] == [0.002, 0.01, 0.1, 1.0]
    assert found[0][1:] == (math.inf, 0.0) and [share for _, _, share in found[1:]] == [1.0] * 3
    assert found[1][1] > found[2][1] > found[3][1] == 60.0


def test_what_closed_forms_call_never_is_never() -> None:
    """At 90% the page can never fire, and a floor above the last pair's threshold leaves nothing to compare."""
    never = study.Study("workbook", {"workbook": named_policies(0.9)["workbook"]}, months=2)
    first = study.beside(never, sizes=(1.0,))[0]
    assert (first.detection_closed, first.reset_closed, first.spent_closed) == (None, None, None)
    assert first.detection.value == math.inf
    assert "never" in study_view.beside(never, [first]).text
    loud = replace(never, policies={"workbook": named_policies(0.999)["workbook"]},
                   usual=replace(USUAL, floor=Floor(0.002)))  # fmt: skip
    assert study.beside(loud, sizes=(0.5,))[3].detection_closed is None


def test_budgets_last_as_long_as_arithmetic_says(asked: study.Study) -> None:
    """1%, 10%, 100% of failures: within 2% of budget x period / e; what outlasts the month is not simulated."""
    for one in study.exhaustions(asked):
        assert one.simulated.value == pytest.approx(one.closed, rel=0.02, abs=60)
    (slow,) = study.exhaustions(asked, sizes=(0.0001,))
    assert slow.simulated is None and slow.closed > 20 * 86_400
    text = study_view.exhaustion(asked, [slow, *study.exhaustions(asked)]).text
    assert re.search(r"100% +1000 +43\.2 min +44 min", text) and re.search(r"-$", text, re.M)


def test_the_quiet_service_is_told_with_its_three_numbers(asked: study.Study) -> None:
    """False pages with and without the guard, and the guard's price, each with its interval."""
    text = study_view.low_traffic(study.low_traffic(asked, months=12)).text
    assert "60 requests an hour" in text and "12 simulated healthy months" in text
    assert re.search(r"false pages in a healthy month +1\d\.\d \(\d+\.\d to \d+\.\d\) +0", text)
    assert re.search(r"paged later by, mean +- +\d\.\d\d min \(\d\.\d\d to \d\.\d\d\)", text)


def test_the_quiet_service_heard_of_progress(asked: study.Study) -> None:
    """Whoever watches hears of each month."""
    heard: list[tuple[int, int]] = []
    study.low_traffic(asked, months=3, progress=lambda _, done, of: heard.append((done, of)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_traffic_s_mean_is_that_of_a_month_with_weekends() -> None:
    """Five days and two at 70%, from a Monday on: 36,000 an hour on a working day are 33,120 over 30 days."""
    assert study.mean_per_hour(USUAL) == pytest.approx(33_120)
    assert study.mean_per_hour(replace(USUAL, traffic=Traffic(60.0))) == 60


def test_a_service_nobody_uses_is_studied_too() -> None:
    """Without traffic nothing is significant and nothing fires; tables and pictures say so instead of failing."""
    empty = study.Study("workbook", {"workbook": named_policies(0.999)["workbook"]}, months=2,
                        usual=replace(USUAL, traffic=Traffic(0.0)))  # fmt: skip
    found = study.gallery_months(empty)
    assert study.together(found, "workbook").pages == 0
    assert "no fault spends 1%" in gallery_view.pairs(empty, found).text
    assert len(_images(gallery_view.firing_against_budget(empty, study.first_months(empty)).html)) == 10
    for shown in (study_view.in_short, study_view.pairs, study_view.months, study_view.policies):
        assert shown(empty, found).text


def test_a_policy_with_many_or_single_alerts_is_drawn(asked: study.Study) -> None:
    """One alert, or nine: rows and marks are found for all of them."""
    minute = timedelta(minutes=1)
    nine = tuple(BurnAlert(f"a{n}", "critical", (n + 1) * 10 * minute, minute, 2.0) for n in range(9))
    for alerts in (nine, nine[:1]):
        policy = AlertPolicy(0.999, timedelta(days=30), alerts)
        own = replace(asked, chosen="own", policies={"own": policy}, months=2)
        assert _images(gallery_view.pairs(own, study.gallery_months(own)).html)
        assert len(_images(gallery_view.firing_against_budget(own, study.first_months(own)).html)) == 10


@pytest.mark.parametrize(
    ("estimate", "told", "text"),
    [
        (Estimate(480, 420, 480), lasting, "8 min (7 to 8)"),
        (Estimate(480, 480, 480), lasting, "8 min"),
        (Estimate(480, None, math.inf), lasting, "8 min (? to missed)"),
        (Estimate(480, None, 540), lasting, "8 min (? to 9)"),
        (Estimate(7000, 50, 7300), lasting, "117 min (50 s to 2.03 h)"),
        (Estimate(math.inf, None, None), lasting, "missed"),
        (Estimate(math.inf, 480, math.inf), lasting, "missed (8 min to missed)"),
        (Estimate(20 * 86_400, None, None), lasting, "20 d (? to ?)"),
        (Estimate(0.0, 0.0, 0.011), amount, "0 (0 to 0.011)"),
        (Estimate(179.6, 178.2, 181.1), amount, "180 (178 to 181)"),
        (None, amount, "-"),
    ],
)
def test_an_estimate_says_its_unit_once(estimate: Estimate | None, told, text: str) -> None:  # type: ignore[no-untyped-def]
    """Shared units are written once, unlike ones at each number; an unknown end is a question mark."""
    assert estimated(estimate, told) == text


def test_a_study_has_the_faults_that_are_asked_for(tmp_path: Path) -> None:
    """Names choose from the gallery; a scenario brings its own faults and month; unknown names are told."""
    some = open_study(0.999, 36000, 0.0003, "workbook", 2, 1, None, faults=["ramp", "flapping"])
    assert list(some.faults) == ["flapping", "ramp"]
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "traffic: {per_hour: 600}\nerrors: {rate: 1%}\nlength: 20d\n"
        "faults: [{name: mine, onset: 1d, length: 1h, errors: 50%}]\n",
        "utf-8",
    )
    own = open_study(0.999, 36000, 0.0003, "workbook", 2, 1, None, scenario=str(path))
    assert list(own.faults) == ["mine"] and own.usual.traffic.per_hour == 600
    both = open_study(0.999, 36000, 0.0003, "workbook", 2, 1, None, faults=["ramp"], scenario=str(path))
    assert list(both.faults) == ["ramp", "mine"]
    assert "50.0% of requests fail" in study_view.faults(own).text
    with pytest.raises(ConfigError, match="there is no 'rampp' in the gallery; did you mean ramp"):
        open_study(0.999, 36000, 0.0003, "workbook", 2, 1, None, faults=["rampp"])
