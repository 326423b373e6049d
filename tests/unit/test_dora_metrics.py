"""The five metrics on histories that can be reckoned by hand."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from node0lib.dora.bands import band, bands, target_verdict
from node0lib.dora.events import Change, Deployment, Event, Incident
from node0lib.dora.history import History
from node0lib.dora.profiles import METRICS, profile
from node0lib.dora.quick_check import BENCHMARKS_2025, answer_score, answers, score
from node0lib.dora.report import Metric, report
from node0lib.dora.trends import trend, week_ends, week_name
from node0lib.errors import ConfigError, DataError

END = datetime(2026, 3, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FREQUENCY, LEAD, FAILS, RECOVERY, REWORK = METRICS


def ago(**given: float) -> datetime:
    """The instant that long before the report."""
    return END - timedelta(**given)


def deployed(id: str, at: datetime, **given: Any) -> Deployment:
    """A deployment of the shop to production that finished at once."""
    return Deployment(id, given.pop("service", "shop"), given.pop("environment", "production"), at, at, **given)


def found(events: list[Event], *, window: str = "7d", group: int = 0, **given: Any) -> dict[str, Metric]:
    """The metrics of one window by name."""
    groups = report(History.of(events), END, **given).groups
    return {metric.name: metric for metric in groups[group].windows[window]}


def test_windows_are_half_open() -> None:
    """A deployment at the window's end counts, one at its start does not."""
    metrics = found([deployed("a", ago(days=7)), deployed("b", END)])
    assert (metrics[FREQUENCY].n, metrics[FREQUENCY].value) == (1, 1 / 7)


def test_frequency_counts_what_arrived() -> None:
    """Successful ones count; retries, rollbacks, what was rolled back and what never arrived are counted apart."""
    kinds = [{}, {"kind": "hotfix"}, {"kind": "retry"}, {"kind": "rollback", "sha": "0"}]
    kinds += [{"outcome": "failed"}, {"outcome": "rolled_back"}]
    metrics = found([deployed(str(k), ago(hours=k + 1), **kind) for k, kind in enumerate(kinds)])
    assert metrics[FREQUENCY].n == 2
    assert metrics[FREQUENCY].detail == {"retries": 1, "rollbacks": 1, "rolled_back": 1, "never_arrived": 1}


def test_no_data_is_none() -> None:
    """Without deployments there is no share and no duration; a known service that rests has a frequency of 0."""
    metrics = found([deployed("a", ago(days=20))])
    assert (metrics[FREQUENCY].value, metrics[FREQUENCY].low) == (0.0, 0.0)
    assert [metrics[name].value for name in (LEAD, FAILS, RECOVERY, REWORK)] == [None] * 4
    assert [metrics[name].n for name in (LEAD, FAILS, RECOVERY, REWORK)] == [0] * 4
    assert report(History.of([]), END).groups == ()
    assert found([deployed("a", ago(days=-1))])[FREQUENCY].value is None


def test_lead_time_is_that_of_the_first_arrival() -> None:
    """Each change counts once, when it first arrived; negative spans and unknown starts are dropped and counted."""
    changes = (Change("x", ago(hours=10)), Change("y", ago(hours=1)), Change("z"))
    events: list[Event] = [
        deployed("staging", ago(hours=9), environment="staging", changes=changes[:1]),
        deployed("stopped", ago(hours=8), outcome="failed", changes=changes[:1]),
        deployed("first", ago(hours=6), changes=changes),
        deployed("again", ago(hours=2), changes=changes[:1]),
    ]
    lead = found(events)[LEAD]
    assert (lead.n, lead.value) == (1, 4 * 3600)
    assert (lead.detail["negative_lead_times"], lead.detail["changes_without_a_start"]) == (1, 1)


def test_author_time_is_another_definition() -> None:
    """Committer time decides unless author time is asked for; the edition's band may turn on it."""
    change = Change("x", ago(hours=24.9), ago(hours=26.3))
    events: list[Event] = [deployed("a", ago(hours=1), changes=(change,))]
    by = {author: found(events, profile=profile("node0", author=author))[LEAD] for author in (False, True)}
    assert [by[author].bands["2024"]["value"] for author in (False, True)] == ["elite", "high"]


def test_an_incident_fails_the_latest_deployment_within_a_day() -> None:
    """Without a link the latest deployment at most 24 h earlier failed; further back nobody did."""
    at = ago(days=3)
    one: list[Event] = [deployed("a", at - 2 * HOUR), deployed("b", at - HOUR), Incident("i", "shop", at)]
    assert (found(one)[FAILS].value, found(one)[FAILS].detail["failed"]) == (0.5, 1)
    exactly: list[Event] = [deployed("a", at - DAY), Incident("i", "shop", at)]
    later: list[Event] = [deployed("a", at - DAY - HOUR / 3600), Incident("i", "shop", at)]
    assert (found(exactly)[FAILS].value, found(later)[FAILS].value) == (1.0, 0.0)
    assert found(later, profile=profile("devlake-2023"))[FAILS].value == 1.0


def test_a_link_comes_before_the_rule() -> None:
    """A named deployment failed, not the latest one; under Four Keys only named ones do."""
    at = ago(days=3)
    events: list[Event] = [deployed("a", at - 50 * HOUR), deployed("b", at - HOUR), Incident("i", "shop", at, at, "a")]
    assert found(events)[RECOVERY].value == 50 * 3600
    unnamed: list[Event] = [deployed("a", at - HOUR), Incident("i", "shop", at)]
    assert found(unnamed, profile=profile("fourkeys"))[FAILS].value == 0.0


def test_a_deployment_fails_once() -> None:
    """Two incidents and a rollback of one deployment are one failure; the rollback is none and not in the share."""
    events: list[Event] = [
        deployed("a", ago(hours=9), sha="1"),
        deployed("b", ago(hours=8), sha="2"),
        Incident("i", "shop", ago(hours=7)),
        Incident("j", "shop", ago(hours=6), None, "b"),
        deployed("back", ago(hours=5), sha="1", kind="rollback"),
    ]
    fails = found(events)[FAILS]
    assert (fails.n, fails.detail["failed"]) == (2, 1)


def test_a_second_rollback_goes_a_step_further_back() -> None:
    """Two rollbacks in a row undo two deployments, unless the second restores what is there already."""
    stages: list[Event] = [deployed(name, ago(hours=9 - k), sha=name) for k, name in enumerate("abc")]
    back = [deployed(f"r{k}", ago(hours=3 - k), sha=sha, kind="rollback") for k, sha in enumerate("ba")]
    assert found([*stages, *back])[FAILS].detail["failed"] == 2
    same = [deployed(f"r{k}", ago(hours=3 - k), sha="b", kind="rollback") for k in range(2)]
    assert found([*stages, *same])[FAILS].detail["failed"] == 1


def test_a_rollback_may_overlap_what_it_undoes() -> None:
    """An automatic rollback that starts before the deployment has finished undoes that one, not the one before."""
    bad = Deployment("b", "shop", "production", ago(minutes=60), ago(minutes=30), sha="b")
    back = Deployment("r", "shop", "production", ago(minutes=40), ago(minutes=20), sha="a", kind="rollback")
    metrics = found([deployed("a", ago(hours=9), sha="a"), bad, back])
    assert (metrics[FAILS].detail["failed"], metrics[RECOVERY].value) == (1, 600)


def test_recovery_ends_with_the_first_remedy() -> None:
    """From the failed deployment's finish to the first of rollback, hotfix and resolution."""
    start = ago(days=2)
    fault = Incident("i", "shop", start + HOUR, start + 5 * HOUR)
    base: list[Event] = [deployed("a", start), fault]
    assert found(base)[RECOVERY].value == 5 * 3600
    assert found([*base, deployed("h", start + 3 * HOUR, kind="hotfix")])[RECOVERY].value == 3 * 3600
    assert found([*base, deployed("r", start + 2 * HOUR, kind="rollback")])[RECOVERY].value == 2 * 3600
    assert found(base, profile=profile("gitlab"))[RECOVERY].value == 4 * 3600


def test_open_incidents_are_censored() -> None:
    """What has not ended counts, and holds the median back; if half is open there is none."""
    ends = [1.0, 2.0, None, None]
    events: list[Event] = []
    for k, hours in enumerate(ends):
        at = ago(days=4, hours=-12 * k)
        events += [deployed(f"d{k}", at), Incident(f"i{k}", "shop", at, at + hours * HOUR if hours else None)]
    metric = found(events)[RECOVERY]
    assert (metric.value, metric.n, metric.detail["open"]) == (2 * 3600, 4, 2)
    assert found(events[2:])[RECOVERY].value is None


def test_a_past_report_knows_nothing_later() -> None:
    """A report for an instant is what it would have been then: later incidents and resolutions are not in it."""
    start = ago(days=1)
    events: list[Event] = [deployed("a", start), Incident("i", "shop", start + HOUR, start + 3 * HOUR)]
    history = History.of(events)
    early, mid, late = (report(history, start + k * HOUR).groups[0].windows["7d"] for k in (0.5, 2, 4))
    assert [row[2].value for row in (early, mid, late)] == [0.0, 1.0, 1.0]
    assert [(row[3].n, row[3].value) for row in (early, mid, late)] == [(0, None), (1, None), (1, 3 * 3600)]


def test_rework_is_unplanned_and_has_an_incident() -> None:
    """An unplanned deployment counts if it names an incident or started while one was open; rollbacks are in the n."""
    events: list[Event] = [
        deployed("a", ago(hours=9)),
        Incident("i", "shop", ago(hours=8), ago(hours=6)),
        deployed("fix", ago(hours=7), kind="hotfix"),
        deployed("named", ago(hours=5), planned=False, caused_by="i"),
        deployed("whim", ago(hours=4), planned=False),
        deployed("back", ago(hours=3), kind="rollback", sha="0"),
    ]
    rework = found(events)[REWORK]
    assert (rework.n, rework.detail["rework"]) == (5, 2)


def test_a_half_done_deployment_that_did_harm_counts() -> None:
    """A deployment that never finished its way is no failure, unless an incident names it."""
    stopped = deployed("a", ago(hours=5), outcome="failed")
    assert found([stopped])[FAILS].value is None
    assert found([stopped, Incident("i", "shop", ago(hours=4), None, "a")])[FAILS].value == 1.0


def test_groups_are_kept_apart() -> None:
    """Each service has its row, the pooled one says so, and environments are only those asked for."""
    events: list[Event] = [deployed("a", ago(hours=2)), deployed("b", ago(hours=2), service="till")]
    events.append(deployed("c", ago(hours=1), environment="staging"))
    groups = report(History.of(events), END).groups
    assert [(group.service, group.environment) for group in groups] == [
        *(("shop", "production"), ("till", "production")),
        (None, "production"),
    ]
    with pytest.raises(ConfigError, match="nothing was ever deployed to 'prod'"):
        report(History.of(events), END, environments=["prod"])


def test_immature_deployments_are_told() -> None:
    """The share of deployments that may still turn out to have failed comes with every number."""
    events: list[Event] = [deployed(f"d{k}", ago(hours=12 * k + 1)) for k in range(4)]
    assert {metric.immature for metric in found(events).values()} == {0.5}


def test_a_document_is_json_with_words() -> None:
    """Each number has its n, interval, method and definition; unknown is null."""
    document = report(History.of([deployed("a", ago(hours=2))]), END).document()
    metric = document["groups"][0]["windows"]["7d"][RECOVERY]
    assert (metric["value"], metric["n"], metric["unit"]) == (None, 0, "seconds")
    assert "Kaplan-Meier" in metric["definition"]
    assert any("no incident" in note for note in document["notes"])


@pytest.mark.parametrize("name", ["fourkeys", "devlake-2023", "gitlab"])
def test_profiles_tell_their_faults(name: str) -> None:
    """A peer's profile says what it is and which faults of the tool it does not copy."""
    assert profile(name).faults
    assert set(profile(name).definitions) == set(METRICS)
    with pytest.raises(ConfigError, match="there is no profile"):
        profile(name.upper())


BANDS = [
    ("2021", LEAD, 3599, "elite"),
    ("2021", LEAD, 3600, "between elite and high"),
    ("2021", LEAD, 86_400 * 20, "between high and medium"),
    ("2023", LEAD, 86_400 * 20, "medium or low"),
    ("2024", LEAD, 86_400 * 40, "low"),
    ("2021", FREQUENCY, 2.0, "elite"),
    ("2024", FREQUENCY, 1.0, "high"),
    ("2024", FREQUENCY, 0.0, "beyond low"),
    ("2021", FAILS, 0.15, "elite"),
    ("2021", FAILS, 0.2, "high, medium or low"),
    ("2023", FAILS, 0.2, "low"),
    ("2024", FAILS, 0.2, "high"),
    ("2024", FAILS, 0.07, "medium"),
    ("2024", RECOVERY, 7200, "high or medium"),
    ("2023", REWORK, 0.1, None),
    ("2023", FAILS, None, None),
]


@pytest.mark.parametrize(("edition", "metric", "value", "name"), BANDS)
def test_bands_are_those_of_their_edition(edition: str, metric: str, value: float | None, name: str | None) -> None:
    """A value is called what its edition calls it, gaps and shared ranges included."""
    assert band(edition, metric, value) == name


def test_bands_stand_at_both_ends() -> None:
    """The interval's ends have bands of their own; an edition without bands is refused."""
    assert bands(FAILS, 0.04, 0.01, 0.12)["2023"] == {"value": "elite", "low": "elite", "high": "medium"}
    with pytest.raises(ConfigError, match="no bands of '2025'"):
        band("2025", FAILS, 0.1)


@pytest.mark.parametrize(("n", "verdict"), [(58, "not shown by the data"), (59, "met")])
def test_59_deployments_show_five_percent(n: int, verdict: str) -> None:
    """59 deployments without a failure show "at most 5%" at 95%; 58 do not."""
    events: list[Event] = [deployed(f"d{k}", ago(hours=2 * k + 1)) for k in range(n)]
    events.append(Incident("old", "shop", ago(days=300)))  # somebody writes failures down
    assert found(events)[FAILS].verdict == verdict


def test_what_nobody_could_have_told_is_not_shown() -> None:
    """Without an incident, a rollback or a failed outcome no verdict is given on failures; the interval stays."""
    events: list[Event] = [deployed(f"d{k}", ago(hours=2 * k + 1)) for k in range(59)]
    silent = found(events)
    for name in (FAILS, RECOVERY, REWORK):
        assert silent[name].verdict == "not shown by the data"
        assert (silent[name].reason or "").startswith("there is no incident and no failed deployment")
    assert silent[FAILS].value == 0.0 and silent[FAILS].high is not None and silent[LEAD].reason is None
    told = found([*events, deployed("stopped", ago(days=300), outcome="failed")])
    assert (told[FAILS].verdict, told[FAILS].reason) == ("met", None)


def test_targets_have_three_answers() -> None:
    """Met and missed need the data's support; what is not known is not shown."""
    assert target_verdict(2.0, at_least=2.1, at_most=5.0, more_is_better=True) == "met"
    assert target_verdict(2.0, at_least=0.5, at_most=1.9, more_is_better=True) == "missed"
    assert target_verdict(2.0, at_least=1.0, at_most=3.0, more_is_better=True) == "not shown by the data"
    assert target_verdict(60.0, at_least=61.0, at_most=None) == "missed"
    assert target_verdict(60.0, at_least=None, at_most=None) == "not shown by the data"


def test_the_quick_check_scores_its_scales() -> None:
    """Answers 1 to 6 lie evenly on 0 to 10, percentages on 10 to 0; the score is the mean of what is answered."""
    assert [answer_score("leadtime", k) for k in range(1, 7)] == [0, 2, 4, 6, 8, 10]
    assert [answer_score("rework", k) for k in (0, 25, 100)] == [10, 7.5, 0]
    assert score({"leadtime": 6, "deployfreq": 1, "changefailure": None}) == 5.0
    with pytest.raises(DataError, match="outside 1 to 6"):
        answer_score("deployfreq", 0)
    with pytest.raises(DataError, match="nothing called"):
        answer_score("happiness", 1)


def test_measured_numbers_become_answers() -> None:
    """A measured value takes the answer in whose range it lies; on demand is only claimed when asked for."""
    spans = [3599, 3600, 86_400, 604_800, 2_592_000, 15_724_800]
    assert [answers({LEAD: span})["leadtime"] for span in spans] == [6, 5, 4, 3, 2, 1]
    rates = [25.0, 3.0, 1.0, 0.2, 1 / 30, 0.01, 0.0]
    assert [answers({FREQUENCY: rate})["deployfreq"] for rate in rates] == [6, 5, 5, 4, 3, 2, 1]
    assert answers({FREQUENCY: 3.0}, on_demand=True)["deployfreq"] == 6


def test_benchmarks_have_ten_for_best() -> None:
    """The means of all industries, with shares turned so that 10 is best."""
    everyone = BENCHMARKS_2025["all"]
    assert everyone.scores["changefailure"] == (8.1, 2.1)
    assert everyone.score == pytest.approx((5.5 + 4.8 + 7.4 + 8.1 + 7.8) / 5)
    assert len(BENCHMARKS_2025) == 14


def test_weeks_are_whole_iso_weeks() -> None:
    """Weeks end on Mondays at midnight, at or before the instant; their names are ISO's."""
    ends = week_ends(datetime(2026, 1, 7, 5, tzinfo=UTC), 2)
    assert [week_name(end) for end in ends] == ["2025-W52", "2026-W01"]
    assert week_ends(ends[-1], 1) == ends[-1:]


def test_trends_need_evidence() -> None:
    """A steady fall is one; few weeks, noise and no change are no evidence, and gaps keep their place."""
    assert trend([9, 8, 7, 6, 5, 4]).verdict == "falling"
    assert trend([1, None, 3, None, 5, 6, 7, math.nan]).slope == 1.0
    assert trend([1, 1, 1, 1, 1, 1]).verdict == "no evidence"
    assert trend([3, 1, 4, 1, 5, 2, 6, 2]).verdict == "no evidence"
    assert trend([]).n == 0


def test_shares_of_few_are_not_compared() -> None:
    """Weeks with under half of the middle week's deployments are left out of a share's trend, and it says so."""
    values, sizes = [0.2, 0.1, 0.3, 0.2, 0.15, 0.25, 0.0, 0.0, 0.0], [20] * 6 + [3, 9, 10]
    assert trend(values).n == 9
    one = trend(values, sizes=sizes)
    assert one.n == 7 and one.reason.endswith("; 2 left out, with under half of the middle week's deployments")
    assert trend(values, sizes=[20] * 9) == trend(values)
    assert trend([None] * 9, sizes=[0] * 9).n == 0


def test_asking_for_staging_changes_nothing_in_production() -> None:
    """An incident belongs to production whichever environments are asked for, unless production is said to be other."""
    events = [
        deployed("p", ago(hours=5)),
        deployed("s", ago(hours=4), environment="staging"),
        Incident("i", "shop", ago(hours=3)),
    ]

    def rates(*environments: str, production: tuple[str, ...] | None = None) -> dict[str, float | None]:
        asked = report(History.of(events), END, environments=environments, production=production)
        return {one.environment: one.windows["7d"][2].value for one in asked.groups}

    assert rates("production") == {"production": 1.0}
    assert rates("production", "staging") == rates("staging", "production") == {"production": 1.0, "staging": 0.0}
    assert rates("staging", "staging") == {"staging": 1.0}
    assert rates("production", "staging", production=("staging",)) == {"production": 0.0, "staging": 1.0}


def test_weeks_come_with_what_they_rest_on() -> None:
    """Each week's number has n, an interval and its immature share; without data it is None, and forecasts say why."""
    events = [deployed(f"d{k}", ago(days=k, hours=1)) for k in range(7, 30)] + [Incident("i", "shop", ago(days=8))]
    (group,) = report(History.of(events), END, weeks=3).groups
    last = group.weeks["2026-W10"]
    assert (last[FREQUENCY].value, last[FREQUENCY].n, last[FAILS].value, last[FAILS].n) == (0.0, 0, None, 0)
    before = group.weeks["2026-W09"]
    assert (before[FREQUENCY].value, before[FREQUENCY].n, before[FAILS].n) == (1.0, 7, 7)
    assert before[FAILS].low is not None and before[FAILS].high is not None
    assert 0 < before[FAILS].low < 1 / 7 < before[FAILS].high < 1
    assert before[FAILS].immature == 1 / 7  # as it was known at the week's end
    assert group.forecasts[FREQUENCY].reason.startswith("cannot forecast: 3 weeks of data")


def test_forecasts_are_in_the_metrics_unit() -> None:
    """Nine steady weeks of one deployment a day give a forecast of one a day, as an interval between past weeks."""
    events = [deployed(f"d{k}", ago(days=k, hours=1)) for k in range(70)]
    (group,) = report(History.of(events), END).groups
    found = group.forecasts[FREQUENCY]
    assert [(one.low, one.value, one.high) for one in found.ahead] == [(1.0, 1.0, 1.0)] * 4
