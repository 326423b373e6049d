"""Simulated histories of delivery, the study that looks at them and at real ones, and what is shown of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from node0lib.dora.events import Deployment, Event, Incident, event_line
from node0lib.dora.history import History
from node0lib.dora.profiles import METRICS
from node0lib.errors import ConfigError, DataError
from node0lib.shell.delivery_study import open_delivery
from node0lib.simulate import delivery_study as study
from node0lib.simulate.delivery import KINDS, START, WHAT, Delivery, Drift, Train, end, events
from node0lib.simulate.delivery_study import DeliveryStudy
from node0lib.simulate.delivery_trials import trials
from node0lib.views import dora_pictures, dora_view
from node0lib.views.display import Display

FREQUENCY, LEAD, FAILS, RECOVERY, REWORK = METRICS
WEEK = timedelta(days=7)


def deployments(found: tuple[Event, ...]) -> list[Deployment]:
    """The deployments among events, without hotfixes and rollbacks."""
    return [one for one in found if isinstance(one, Deployment) and one.kind == "normal"]


@pytest.fixture(scope="module")
def improving() -> DeliveryStudy:
    """The study of the notebook."""
    return open_delivery("simulated", "improving", 1, 26, 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_history(kind: str) -> None:
    """Each kind is told in words, makes events that History takes, all within its time, and the same from one seed."""
    found = events(KINDS[kind], 8, seed=3)
    assert WHAT[kind] and found == events(KINDS[kind], 8, seed=3) != events(KINDS[kind], 8, seed=4)
    History.of(found, now=end(8))
    assert all(START - WEEK <= one.finished_at <= end(8) for one in deployments(found))


def test_a_longer_history_begins_with_the_shorter_one() -> None:
    """Deployments of the first weeks do not depend on how many follow; what goes on at an end is open there."""
    short, long = events(KINDS["degrading"], 6, seed=2), events(KINDS["degrading"], 12, seed=2)
    assert deployments(short) == [one for one in deployments(long) if one.finished_at <= end(6)]
    later = {one.id: one for one in long if isinstance(one, Incident)}
    for one in (one for one in short if isinstance(one, Incident)):
        resolved = later[one.id].resolved_at
        assert one.resolved_at == (resolved if resolved is not None and resolved <= end(6) else None)


def test_a_drift_is_what_it_says_after_half_a_year() -> None:
    """After 26 weeks each number has changed by its factor, after 52 by its square; shares end at 1."""
    team = Delivery(fail=0.4, drift=Drift(per_week=2.0, lead=0.5, fail=3.0, recovery=0.25))
    half, year = team.after(26), team.after(52)
    assert (half.per_week, half.lead, half.recovery) == (30.0, team.lead / 2, team.recovery / 4)
    assert (year.per_week, half.fail) == (60.0, 1.0)


def test_a_bad_train_goes_out_in_its_week() -> None:
    """The train's deployments lie in its week, and with a share of 1 every one of them is followed by an incident."""
    found = events(Delivery(fail=0.0, unrelated=0.0, train=Train(3, 5, 1.0)), 6, seed=1)
    train = [one for one in deployments(found) if "train" in one.id]
    assert len(train) == 5 and all(START + 2 * WEEK < one.finished_at < START + 3 * WEEK for one in train)
    assert len([one for one in found if isinstance(one, Incident)]) == 5


def test_rates_are_those_asked_for() -> None:
    """Over many weeks deployments, failures and lead times are about what the team's numbers say."""
    team = Delivery(unrelated=0.0, named=1.0)
    found = events(team, 150, seed=9)
    number = len(deployments(found))
    assert number / 151 == pytest.approx(15, rel=0.06)
    assert len([one for one in found if isinstance(one, Incident)]) / number == pytest.approx(0.12, rel=0.15)
    asked = DeliveryStudy("x", History.of(found), end(150), 150, True, 9)
    median = study.whole(asked)[LEAD].value
    assert median is not None and median == pytest.approx(team.lead.total_seconds(), rel=0.08)
    assert deployments(events(Delivery(months=(0.0,) * 12), 4, seed=1)) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [({"fail": 1.2}, "fail is 1.2"), ({"rolled_back": 0.7, "fixed": 0.7}, "together"), ({"per_week": 0.0}, "above 0"),
     ({"dispersion": -1.0}, "at least 0"), ({"months": (1.0,)}, "12 months"), ({"weekdays": (0.0,) * 7}, "7 weekdays")],
)  # fmt: skip
def test_teams_that_cannot_be_are_refused(given: dict[str, object], said: str) -> None:
    """Shares outside [0, 1], rates of nothing and incomplete years are refused, saying what to give."""
    with pytest.raises(ConfigError, match=said):
        Delivery(**given)  # type: ignore[arg-type]


def test_no_weeks_and_no_histories_are_refused() -> None:
    """A history has a week, a trial a history."""
    with pytest.raises(ConfigError, match="weeks"):
        events(KINDS["steady"], 0, seed=1)
    with pytest.raises(ConfigError, match="histories"):
        trials(KINDS["steady"], weeks=5, histories=0, seed=1)


def test_a_study_answers_every_metric(improving: DeliveryStudy) -> None:
    """Lead times are found to fall, all metrics have 26 weeks or say fewer, and a forecast for each."""
    found, coming = study.trends(improving), study.forecasts(improving)
    assert list(found) == list(coming) == list(METRICS)
    assert (found[LEAD].verdict, found[FREQUENCY].n) == ("falling", 26)
    assert [len(one.ahead) for one in coming.values()] == [4] * 5
    a_week = study.per_week(study.whole(improving))
    assert a_week is not None and sum(study.values(improving)[FREQUENCY]) == pytest.approx(26 * a_week)  # type: ignore[arg-type]


def test_definitions_move_the_numbers(improving: DeliveryStudy) -> None:
    """One history: committer's time is elite and author's is high, and what counts as a failure decides the target."""
    committer, author, fourkeys, devlake, gitlab = study.definitions(improving)
    bands = [one.metrics[LEAD].bands["2024"]["value"] for one in (committer, author)]
    assert (committer.start, author.start, bands) == ("committer", "author", ["elite", "high"])
    assert fourkeys.metrics[FAILS].verdict == "not shown by the data" and committer.metrics[FAILS].verdict == "missed"
    assert gitlab.metrics[LEAD].value < committer.metrics[LEAD].value < devlake.metrics[LEAD].value  # type: ignore[operator]


@pytest.mark.parametrize(
    ("given", "said"),
    [(("simulated", "stedy", 1, 26, 0.05), "steady"), (("simulated", "steady", 1, 0, 0.05), "weeks"),
     (("simulated", "steady", 1, 26, "few"), "target: 'few' is no share; write 0.05 or"),
     (("simulated", "steady", 1, "26w", 0.05), "weeks: '26w' is no whole number; write 26"),
     (("simulated", "steady", 1, 26, 5.0), "target is 5"), (("nowhere.jsonl", "", 1, 26, 0.05), "nowhere.jsonl")],
)  # fmt: skip
def test_a_study_that_cannot_be_opened_says_why(given: tuple[Any, ...], said: str) -> None:
    """Unknown kinds, no weeks, targets in percent and files that are nowhere are told by name."""
    with pytest.raises(ConfigError, match=said):
        open_delivery(*given)


def test_a_file_is_looked_at_until_its_last_event(tmp_path: Path) -> None:
    """A file's study ends with what it tells last, and a file without deployments is refused."""
    path = tmp_path / "events.jsonl"
    lines = [event_line(one) for one in events(KINDS["steady"], 10, seed=4)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    opened, drawn = open_delivery(str(path), "", 1, 9, 0.05), open_delivery("simulated", "steady", 4, 10, 0.05)
    assert end(9) < opened.at <= end(10) and not opened.is_simulated
    assert study.values(opened)[LEAD] == study.values(drawn)[LEAD][:9]
    path.write_text(event_line(Incident("i", "shop", START, None)) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="no deployment"):
        open_delivery(str(path), "", 1, 9, 0.05)


def shown(asked: DeliveryStudy) -> list[Display]:
    """Everything that the notebook shows of one history."""
    found, coming, whole, past = study.trends(asked), study.forecasts(asked), study.whole(asked), study.values(asked)
    defined = study.definitions(asked)
    return [
        dora_view.question(asked), dora_view.in_short(asked, found, coming, whole), dora_view.trends(asked, found),
        dora_view.forecasts(asked, coming), dora_view.definitions(asked, defined),
        dora_pictures.weeks(asked, past, found), dora_pictures.coming(asked, past, coming),
        dora_pictures.showing(asked, whole[FAILS]), dora_pictures.definitions(asked, defined),
    ]  # fmt: skip


def test_what_is_simulated_says_so_everywhere(improving: DeliveryStudy) -> None:
    """Every table and figure of a simulated history carries the word, in HTML and in text; a real one never does."""
    for one in shown(improving):
        assert "SIMULATED" in one.html and "SIMULATED" in one.text
    for one in shown(open_delivery("configs/examples/delivery/prometheus-releases.jsonl", "", 1, 52, 0.05)):
        assert "SIMULATED" not in one.html and "prometheus-releases.jsonl" in one.text


def test_a_history_of_three_weeks_is_shown_with_what_it_lacks() -> None:
    """Of a small team over three weeks every view says something, and no trend and no forecast."""
    asked = open_delivery("simulated", "small team", 1, 3, 0.05)
    text = "\n".join(one.text for one in shown(asked))
    assert "cannot forecast: 3 weeks of data" in text and "rising" not in text and "nan" not in text


def test_a_history_without_whole_weeks_is_shown_as_such() -> None:
    """One deployment in the last days leaves no whole week: notes say so, and nothing breaks."""
    at = datetime(2026, 3, 4, 12, tzinfo=UTC)
    history = History.of([Deployment("d", "shop", "production", at, at)])
    asked = DeliveryStudy("one.jsonl", history, at, 8, False)
    past, found, coming = study.values(asked), study.trends(asked), study.forecasts(asked)
    assert past == {name: [] for name in METRICS}
    assert "no whole week" in dora_pictures.weeks(asked, past, found).text
    assert "cannot forecast" in dora_pictures.coming(asked, past, coming).text
    assert "no share" in dora_view.in_short(asked, found, coming, study.whole(asked)).text


def test_events_elsewhere_are_no_deliveries() -> None:
    """A history that was never deployed to production has no weeks, and the study says that there is nothing."""
    history = History.of([Deployment("d", "shop", "staging", START, START)])
    asked = DeliveryStudy("staging.jsonl", history, START + WEEK, 4, False)
    assert study.values(asked) == {name: [] for name in METRICS}
    with pytest.raises(ConfigError, match="staging"):
        study.whole(asked)


def test_trials_are_shown_with_what_they_count(improving: DeliveryStudy) -> None:
    """The tables of many histories name every kind, how many there were and that they were simulated."""
    short = DeliveryStudy("x", improving.history, improving.at, 9, True, 1)
    steps: list[tuple[str, int, int]] = []
    runs = study.every_kind(short, 2, 1, lambda *step: steps.append(step))
    assert list(runs) == list(KINDS) and steps[-1] == ("simulating histories", 6, 6)
    for one in (dora_view.found_trends(runs), dora_view.held(runs)):
        assert "2 SIMULATED histories" in one.text and all(kind in one.text for kind in KINDS)
    assert "of 10 tests" in dora_view.found_trends(runs).text


def test_tables_that_need_no_history() -> None:
    """Kinds, definitions and what a target takes are there without events; 59 is among them."""
    assert all(kind in dora_view.kinds().text for kind in KINDS)
    assert "gitlab" in dora_view.peers().text and "Kaplan-Meier" in dora_view.meanings().text
    table = dora_view.needed(0.05, 15.0).text
    assert "59" in table and "weeks at 15 a week" in table
    assert dora_view.needed(0.05, 0.0).text.splitlines()[2].split()[-1] == "-"
