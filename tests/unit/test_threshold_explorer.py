"""The threshold explorer without a browser: what is set, what is asked, what is written."""

import asyncio
import math
import shutil
import threading
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, policy_of
from node0lib.alerts.quality import Quality, QualityRules
from node0lib.errors import ConfigError
from node0lib.gates import firing
from node0lib.shell.alerting_edit import changed, remarks, write
from node0lib.shell.config import load
from node0lib.shell.explorer import Latest, Panel, explorer
from node0lib.shell.lab import EXPLORER, free_port, serve
from node0lib.simulate.explore import Answer, Explorer, Question, sentence
from node0lib.simulate.months import PAGE, evaluate, judged
from node0lib.simulate.scenario import Fault, Floor, Month, Plan, Scenario, Traffic, plan
from node0lib.simulate.thresholds import Chosen, ChosenPair, percentage, starting, writable
from node0lib.sli.intervals import Estimate
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus
from node0lib.slo.catalogue import Alerting, AlertPair
from node0lib.views.alarms import closed_form, detection_curve
from node0lib.views.explorer_view import explored, picture

ROOT = Path(__file__).parents[2]
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SLO = "api_availability"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the repository's configuration."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    return tmp_path / "configs" / "node0.yaml"


def chosen(config: Path) -> Chosen:
    return starting(load(config).catalogue, SLO, months=3)


def with_pair(one: Chosen, number: int, **values: object) -> Chosen:
    pairs = list(one.pairs)
    pairs[number] = replace(pairs[number], **values)  # type: ignore[arg-type]
    return replace(one, pairs=tuple(pairs))


def rewrite(config: Path, before: str, after: str) -> Path:
    path = config.parent / "slo.yaml"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8", newline="\n")
    return path


def test_what_was_not_moved_changes_nothing(config: Path) -> None:
    """The explorer's start is the catalogue, bit for bit, and its difference is empty."""
    start = chosen(config)
    alerting = load(config).catalogue.alerting
    assert start.alerting(alerting) == alerting
    assert start.question().policy == policy_of(start.objective, alerting)
    assert changed(config, start).diff == ""


@pytest.mark.parametrize("factor", [14.5, 13.7, 0.3, 7.77])
def test_what_is_explored_is_what_is_written(config: Path, factor: float) -> None:
    """The policy that was simulated is, bit for bit, the one that the written catalogue gives."""
    one = with_pair(chosen(config), 0, factor=factor, long=2 * HOUR, short=10 * MINUTE, hold=2 * MINUTE, min_bad=5.0)
    one = replace(one, objective=0.9995)
    write(changed(config, one))
    catalogue = load(config).catalogue
    assert policy_of(catalogue.slo(SLO).objective, catalogue.alerting) == one.question().policy


def test_only_the_chosen_numbers_change(config: Path) -> None:
    """Comments, order and every other line stay; `for` and `min_bad` are added to the pair; old remarks are told."""
    edit = changed(config, with_pair(chosen(config), 1, hold=5 * MINUTE, min_bad=4.0))
    lines = [line for line in edit.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert lines == [
        "-    - { severity: warning, budget: 5%, long: 6h, short: 30m } # 6",
        "+    - { severity: warning, budget: 5%, long: 6h, short: 30m, for: 5m, min_bad: 4 } # 6",
    ]
    assert edit.diff.startswith("--- configs/slo.yaml\n")
    assert remarks(edit) == ("6",)


def test_a_pair_over_several_lines_is_edited_too(config: Path) -> None:
    """In a block mapping new keys get lines of their own, with the file's own line ends and byte order mark."""
    one = "    - { severity: critical, budget: 2%, long: 1h, short: 5m } # burn above 14.4"
    block = "    - severity: critical # wakes\n      budget: 2% # much\n      long: 1h\n      short: 5m # quick"
    path = rewrite(config, one, block)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    write(changed(config, with_pair(chosen(config), 0, factor=7.2, hold=MINUTE)))
    after = path.read_bytes()
    assert after.startswith(b"\xef\xbb\xbf")
    assert b"budget: 1% # much\r\n      long: 1h\r\n      short: 5m # quick\r\n      for: 1m\r\n" in after
    assert b"\n" not in after.replace(b"\r\n", b"")
    assert load(config).catalogue.alerting.pairs[0].hold == MINUTE


def test_a_catalogue_inside_node0_yaml_is_edited(config: Path) -> None:
    """Where the catalogue stands below `slo:` in node0.yaml, that file is changed."""
    inner = (config.parent / "slo.yaml").read_text("utf-8")
    indented = "".join(f"  {line}" if line.strip() else line for line in inner.splitlines(keepends=True))
    text = config.read_text("utf-8")
    assert "slo: slo.yaml" in text
    config.write_text(text.replace("slo: slo.yaml", f"slo:\n{indented}"), "utf-8", newline="\n")
    edit = changed(config, with_pair(chosen(config), 0, factor=7.2))
    assert edit.shown == "configs/node0.yaml"
    write(edit)
    assert load(config).catalogue.alerting.pairs[0].budget == 0.01


def test_aliases_are_refused(config: Path) -> None:
    """A pair that another repeats by alias cannot be changed alone: nothing is written, and the message says so."""
    path = rewrite(config, "- { severity: warning, budget: 5%, long: 6h, short: 30m }", "- &w {severity: warning, "
                   "budget: 5%, long: 6h, short: 30m}\n    - *w")  # fmt: skip
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="aliases"):
        changed(config, with_pair(chosen(config), 1, factor=5.0))
    assert path.read_bytes() == before


def test_pairs_that_are_not_written_out_are_asked_for(config: Path) -> None:
    """A catalogue that leaves its pairs to the defaults is not guessed at."""
    path = config.parent / "slo.yaml"
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("\nalerting:")] + "\n", "utf-8")
    with pytest.raises(ConfigError, match=r"alerting\.pairs is not written out"):
        changed(config, with_pair(chosen(config), 1, factor=5.0))


def test_a_file_that_changed_meanwhile_is_left_alone(config: Path) -> None:
    """What somebody else wrote after the difference was shown is not overwritten."""
    edit = changed(config, with_pair(chosen(config), 1, factor=5.0))
    path = rewrite(config, "# Check after an edit", "# check after an edit")
    with pytest.raises(ConfigError, match="has changed since the difference was shown"):
        write(edit)
    assert "# check after an edit" in path.read_text("utf-8")


def test_an_slo_that_no_pair_alerts_on_is_refused(config: Path) -> None:
    """An invariant, and an SLO whose window is shorter than the period, are told with those that may be chosen."""
    catalogue = load(config).catalogue
    with pytest.raises(ConfigError, match=r"invariant: it has no budget .* choose of api_availability"):
        starting(catalogue, "ihsan_compliance")
    with pytest.raises(ConfigError, match="shorter than the period"):
        starting(catalogue, "api_latency_p95")


@pytest.mark.parametrize(
    ("values", "told"),
    [({"short": HOUR}, "short window must be shorter"), ({"factor": 1000.0}, "would spend 138.9% of the budget")],
)
def test_windows_and_factors_that_make_no_sense_are_told(config: Path, values: dict[str, object], told: str) -> None:
    """A pair that no catalogue could hold is neither simulated nor written."""
    one = with_pair(chosen(config), 0, **values)
    with pytest.raises(ConfigError, match=told):
        one.question()
    with pytest.raises(ConfigError, match=told):
        changed(config, one)


def test_shares_are_written_as_they_are_read() -> None:
    """A share in percent reads back as the very float that was simulated."""
    for number in range(1, 2000):
        share = writable(number / 7 * 0.001)
        assert writable(share) == share
        assert percentage(share).endswith("%")


def status(bad: float) -> SloStatus:
    """An SLO that burns 20 times too fast."""
    counts = Counts(990.0, 1000.0, 1.0)
    burn, ratio = {"1h": 20.0, "5m": 20.0}, {"1h": 0.02, "5m": 0.02}
    return SloStatus(SLO, "ratio", 0.999, timedelta(days=30), counts, burn, {"1h": bad}, 0.1, "at_risk", ratio=ratio)


def test_a_pair_may_ask_for_more_bad_events() -> None:
    """A pair's own min_bad counts before the section's, in the gates and in the policy; a gate does not wait."""
    pair = AlertPair("critical", 0.02, HOUR, HOUR / 12, 5 * MINUTE, 10.0)
    alerting = Alerting(min_bad=3, pairs=(pair, replace(pair, severity="warning", hold=timedelta(0), min_bad=None)))
    policy = policy_of(0.999, alerting)
    assert [(a.hold, a.min_bad) for a in policy.alerts] == [(5 * MINUTE, 10.0), (timedelta(0), 3)]
    assert [a.pair.severity for a in firing([status(9.0)], alerting)] == ["warning"]
    assert [a.pair.severity for a in firing([status(10.0)], alerting)] == ["critical", "warning"]


def test_for_and_min_bad_are_read(config: Path) -> None:
    """A pair in the file may have for and min_bad; a misspelt key is told with what it may mean."""
    rewrite(config, "short: 5m }", "short: 5m, for: 2m, min_bad: 7 }")
    pair = load(config).catalogue.alerting.pairs[0]
    assert (pair.hold, pair.min_bad) == (2 * MINUTE, 7)
    rewrite(config, "for: 2m", "fro: 2m")
    with pytest.raises(ConfigError, match=r"alerting\.pairs\[0\]\.fro: is no key here; did you mean for"):
        load(config)


@pytest.fixture
def panel(config: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """The explorer of three months, as a kernel in the notebooks' folder has it."""
    monkeypatch.chdir(config.parent.parent / "notebooks")
    return explorer("configs/node0.yaml", SLO, months=3)


def test_a_moved_slider_redraws(panel: Panel) -> None:
    """Sentence and picture are those of the new state, and what was allowed to be written no longer is."""
    before = panel.result.value
    panel.show.click()
    assert "says this already" in panel.told.value
    panel.sliders.size.value = 0.02
    assert "A failure of 2% for 1h" in panel.result.value
    assert panel.result.value != before
    panel.show.click()
    panel.sliders.pairs[0].factor.value = 13.0
    assert panel.write.disabled
    assert panel.told.value == ""


def test_a_mistake_is_one_sentence_in_the_panel(panel: Panel) -> None:
    """What cannot be is told, the numbers of the last good state stay, and the sentence goes with the mistake."""
    before = panel.result.value
    panel.sliders.pairs[0].short.value = 2 * HOUR
    assert "the short window must be shorter" in panel.trouble.value
    assert "Traceback" not in panel.trouble.value
    assert panel.result.value == before
    panel.sliders.pairs[0].short.value = 10 * MINUTE
    assert panel.trouble.value == ""


def test_an_error_of_our_own_is_told_and_goes_on(panel: Panel) -> None:
    """What nobody foresaw is a sentence in the panel, too, and not swallowed."""
    panel.months = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        panel.refresh()
    assert "the log of the kernel tells why" in panel.trouble.value


def test_writing_needs_the_difference_first(panel: Panel, config: Path) -> None:
    """The button does nothing before the difference was shown; then it writes, once."""
    path = config.parent / "slo.yaml"
    before = path.read_bytes()
    panel.sliders.pairs[0].hold.value = 2 * MINUTE
    panel.write.click()
    assert path.read_bytes() == before
    panel.show.click()
    assert "for: 2m" in panel.told.value
    assert panel.write.description == "Write into configs/slo.yaml"
    panel.write.click()
    assert b"for: 2m } # burn above 14.4" in path.read_bytes()
    assert "Written into configs/slo.yaml" in panel.told.value


def test_rules_are_exported_for_what_is_chosen(panel: Panel, config: Path) -> None:
    """The rules wait as chosen, although the catalogue does not; the path is told."""
    panel.sliders.pairs[0].hold.value = 2 * MINUTE
    panel.export.click()
    target = config.parent.parent / "reports" / "threshold-explorer.rules.yaml"
    assert target.as_posix() in panel.told.value
    assert "for: 2m" in target.read_text("utf-8")


def test_many_moves_are_one_answer() -> None:
    """However often it is asked within a moment, the newest state is evaluated once; without a loop at once."""
    state, seen = [0], []
    latest = Latest(lambda: seen.append(state[0]))

    async def moves() -> None:
        for number in range(1, 50):
            state[0] = number
            latest.ask()
        await asyncio.sleep(0.1)

    asyncio.run(moves())
    assert seen == [49]
    latest.ask()
    assert seen == [49, 49]


def test_two_threads_do_not_fight(panel: Panel) -> None:
    """A second thread waits for the first; the panel shows one whole answer."""
    threads = [threading.Thread(target=panel.refresh) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert panel.result.value.count("<figure") == 1
    assert panel.trouble.value == ""


def test_waiting_counts_what_held_before_the_fault() -> None:
    """An alert with `for` is evaluated on a part of the month as it is on all of it."""
    pairs = (ChosenPair("critical", 6.0, 30 * MINUTE, 5 * MINUTE, 7 * MINUTE),
             ChosenPair("warning", 1.0, 6 * HOUR, 30 * MINUTE, 15 * MINUTE))  # fmt: skip
    one = Chosen(SLO, 0.999, timedelta(days=30), pairs, floor=0.0006, dispersion=1.0, size=0.01, months=8)
    quick = Explorer().answer(one.question())
    slow = Explorer().answer(replace(one.question(), policy=with_uneven_window(one.question().policy)))
    assert (quick.detection, quick.curve, quick.healthy) == (slow.detection, slow.curve, slow.healthy)
    assert any(time > 0 for _, time, _ in quick.curve)


def asked(floor: Floor, *, per_hour: float = 36_000.0, swing: float = 0.5, months: int = 6, **more: Any) -> Question:
    """A question of the workbook's policy at 99.9%."""
    policy = named_policies(0.999)["workbook"]
    return Question(policy, Traffic(per_hour, daily_swing=swing), floor, months=months, **more)


def scenario(one: Question, *, faulty: bool) -> Plan:
    """What the question asks, as the months of a study: with its fault, or without any."""
    fault = Fault("fault", one.onset, one.length, errors=one.size)
    return plan(Scenario(one.traffic, one.floor, (fault,) if faulty else ()))


def told(answer: Answer) -> tuple[object, ...]:
    return answer.events, answer.missed, answer.detection, answer.spent_at_detection, answer.up_before


def counted(page: Quality) -> tuple[object, ...]:
    before = sum(seconds == 0 for seconds in page.detection_s)
    return page.events, page.events - page.detected, page.detection, page.spent_at_detection, before


WILD = Floor(0.0012, dispersion=1.5, correlation=HOUR)
"""A floor on which pages come and go by themselves."""
FLICKERING = Floor(0.006, dispersion=1.0, correlation=HOUR / 2)
"""One on which a page is up half of the time, and goes down and up."""


@pytest.mark.parametrize(
    "one",
    [
        asked(Floor(0.0003, dispersion=0.5)),
        asked(FLICKERING, size=0.02),
        asked(FLICKERING, size=0.05, length=20 * MINUTE, onset=timedelta(days=3, hours=2)),
        asked(Floor(0.0003, dispersion=1.0), size=0.006, per_hour=600.0),
        asked(WILD, size=0.02, length=10 * MINUTE),
        asked(WILD, size=0.02, onset=5 * MINUTE),
        asked(WILD, size=0.02, onset=timedelta(days=29, hours=23)),
        asked(WILD, size=0.003, length=timedelta(days=9)),
    ],
    ids=["usual", "flickering", "briefly", "now and then significant", "short", "at first", "at last", "long"],
)
@pytest.mark.parametrize("period", [timedelta(days=30), timedelta(days=7)], ids=["month", "week"])
def test_a_month_is_judged_as_a_study_judges_it(one: Question, period: timedelta) -> None:
    """Of the very months with the fault, the explorer says what months.judged says: to the last bit."""
    one = replace(one, policy=replace(one.policy, period=period), months=1)
    expected, before = scenario(one, faulty=True), 0
    for seed in range(1, 6):
        answer = Explorer().answer(replace(one, seed=seed))
        month = Month(answer.first.bad, answer.first.total)
        page = judged(expected, month, {"it": one.policy}, QualityRules())["it"][PAGE]
        assert told(answer) == counted(page)
        before += answer.up_before
    assert before > 0 or one.floor != FLICKERING


@pytest.mark.parametrize("floor", [Floor(0.0003), WILD], ids=["usual", "wild"])
def test_healthy_months_are_those_of_a_study(floor: Floor) -> None:
    """False pages are, to the last one, those of months.evaluate."""
    one = asked(floor)
    found = evaluate(scenario(one, faulty=False), {"it": one.policy}, months=range(one.months), seed=one.seed)
    assert Explorer().answer(one).healthy == found["it"][PAGE]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (asked(Floor(0.0), per_hour=1e7, swing=0.0, size=0.1), "is paged after 9 min"),
        (asked(Floor(0.0), per_hour=1e9, swing=0.0, size=0.013, length=8 * HOUR), "is paged after"),
        (asked(Floor(0.0), per_hour=1e7, swing=0.0, size=0.004), "spends under 1% of the budget, so no page is asked"),
        (asked(Floor(0.016), size=0.05), "comes while a page is up already in 6 of 6 months"),
    ],
    ids=["large", "slow", "insignificant", "always up"],
)
def test_where_chance_decides_nothing_the_explorer_is_a_study(one: Question, said: str) -> None:
    """Other months with the same answer: events, missed, detection and pages up before are those of months.evaluate."""
    found = evaluate(scenario(one, faulty=True), {"it": one.policy}, months=range(one.months), seed=one.seed)
    answer = Explorer().answer(one)
    *counts, _, before = counted(found["it"][PAGE])
    *mine, _, mine_before = told(answer)
    assert (mine, mine_before) == (counts, before)
    assert said in sentence(answer)


def test_a_page_that_was_up_before_is_told() -> None:
    """It is found at once, and the sentence says in how many months: no quick detection is claimed."""
    always = Explorer().answer(asked(Floor(0.016)))
    assert (always.up_before, always.missed, always.detection) == (6, 0, Estimate(0.0, 0.0, 0.0))
    assert "is paged after" not in sentence(always)
    some = Explorer().answer(asked(Floor(0.004, 1.0, HOUR), size=0.02, months=40))
    assert 0 < some.up_before < 20
    assert f"; in {some.up_before} of 40 months a page was up before it" in sentence(some)
    assert f"in {some.up_before} months up before" in explored(some).text


def test_no_page_is_asked_of_a_small_fault() -> None:
    """Neither sentence nor numbers nor picture call it missed; its dot is left out."""
    small = Explorer().answer(asked(Floor(0.0003), size=0.002))
    assert (small.events, small.missed, small.detection, small.recall) == (0, 0, None, None)
    assert "A failure of 0.2% for 1h spends under 1% of the budget, so no page is asked of it" in sentence(small)
    shown = explored(small)
    assert "missed incidents: - (under 1% of the budget: no page is asked)" in shown.text
    assert "0.2% spends too little to ask for a page" in unescape(shown.html)
    assert [math.isnan(share) for _, _, share in small.curve[:3]] == [True, False, False]


def test_a_page_that_never_ends_is_no_good_policy() -> None:
    """One false page a month that is up all month long is told with the time that it is up."""
    answer = Explorer().answer(asked(Floor(0.016)))
    assert answer.healthy.false_pages is not None
    assert answer.healthy.false_pages.value < 3
    assert answer.healthy_up > 0.9
    assert f"; a page is up {answer.healthy_up * 100:.0f}% of the time without any fault." in sentence(answer)
    assert f"up {answer.healthy_up * 100:.1f}% of the time)" in explored(answer).text
    assert "without any fault" not in sentence(Explorer().answer(asked(Floor(0.0003))))


def test_thin_lines_are_closed_forms_with_floor_and_wait() -> None:
    """Sizes below the threshold have none, floor and `for` count, and a floor above the threshold leaves no line."""
    page = replace(named_policies(0.999)["workbook"].alerts[0], hold=5 * MINUTE)
    sizes, floor = np.array([0.005, 0.1, 1.0]), 0.004
    reached, minutes = closed_form(page, 0.001, sizes, floor)
    assert reached.tolist() == [0.1, 1.0]
    for size, minute in zip(reached, minutes, strict=True):
        excess = size - size * floor
        assert minute == pytest.approx(60 * (0.0144 - floor) / excess + 5, abs=1e-6)
    assert closed_form(page, 0.001, sizes, 0.0145)[0].size == 0


def test_both_pictures_draw_those_lines() -> None:
    """A higher floor and a wait move the explorer's lines and the study's."""
    answer = Explorer().answer(asked(Floor(0.0003), months=2))
    waiting = tuple(replace(alert, hold=30 * MINUTE) for alert in answer.question.policy.alerts)
    policy = replace(answer.question.policy, alerts=waiting)
    high = replace(answer.question, floor=Floor(0.005))
    asked_so = [replace(answer, question=q) for q in (high, replace(answer.question, policy=policy))]
    pictures = {picture(one) for one in (answer, *asked_so)}
    assert len(pictures) == 3
    drawn = {
        detection_curve(answer.curve, [one], simulated="2 months", floor=floor).html
        for one, floor in ((answer.question.policy, 0.0), (answer.question.policy, 0.005), (policy, 0.0))
    }
    assert len(drawn) == 3


def with_uneven_window(policy: AlertPolicy) -> AlertPolicy:
    """The policy with an alert more that can never fire, whose window is no whole number of steps."""
    extra = replace(policy.alerts[0], name="never", factor=1e6, long=timedelta(seconds=1830), hold=timedelta(0))
    return replace(policy, alerts=(*policy.alerts, extra))


def test_a_taken_port_and_a_missing_notebook_are_told(tmp_path: Path) -> None:
    """The lab names the port or the notebook, before anything is started."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"cannot be listened on .* name another, or 0 for a free one"):
            free_port(taken.getsockname()[1])
    assert free_port(0) > 0
    with pytest.raises(ConfigError, match=f"there is no {EXPLORER}"):
        serve(tmp_path, 0, browser=False, allow_root=False, announce=print)
