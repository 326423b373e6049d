"""Policies on a service's past: gaps, lead, waits, incidents at the edges, and what is not known."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from node0lib.alerts.comparison import Candidate, Comparison, Label, compare, merge
from node0lib.alerts.past import Past
from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert, workbook_policy
from node0lib.alerts.quality import QualityRules
from node0lib.errors import ConfigError, DataError
from node0lib.simulate.months import PAGING, silent
from node0lib.sli.series import GoodTotal

T = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RULES = QualityRules()
WORKBOOK = Candidate("catalogue", "here", workbook_policy(0.999))


def _past(*faults: tuple[datetime, timedelta], lead: timedelta = 3 * DAY, length: timedelta = 10 * DAY) -> Past:
    """Ten requests a minute from ``lead`` before T on; within a fault all of them fail."""
    count = (lead + length) // MINUTE
    good, total = np.full(count, 10.0), np.full(count, 10.0)
    for start, lasted in faults:
        first = (start - T + lead) // MINUTE
        good[first : first + lasted // MINUTE] = 0.0
    return Past(GoodTotal(T - lead, MINUTE, good, total), T, T + length)


def _without(past: Past, start: datetime, lasted: timedelta) -> Past:
    """The same past, of which somebody did not observe a part."""
    total = past.read.total.copy()
    first = (start - past.read.start) // MINUTE
    total[first : first + lasted // MINUTE] = np.nan
    return Past(GoodTotal(past.read.start, MINUTE, past.read.good, total), past.start, past.end)


def _compare(past: Past, *labels: Label, policies: tuple[Candidate, ...] = (WORKBOOK,)) -> Comparison:
    return compare(past, policies, labels, RULES, PAGING, silent)


def test_an_outage_that_is_labelled_is_paged_and_told() -> None:
    """One true page, after the first minute: 14.4 x 0.001 x 60 minutes of burning take less than one."""
    start = T + 5 * DAY
    found = _compare(_past((start, 20 * MINUTE)), Label("outage", start, start + 20 * MINUTE))
    (one,) = found.judged
    assert [(p.start, p.true, p.resolved, p.began_before) for p in one.pages] == [(start + MINUTE, True, True, False)]
    assert one.detections == (60.0,)
    assert one.quality.detected == one.quality.events == 1
    assert found.incidents[0].standing == "counted"
    assert found.incidents[0].spent == pytest.approx(20 / (0.001 * 43_200))
    assert one.pages[0].spent == pytest.approx(1 / (0.001 * 43_200))
    assert one.precision is not None and one.precision.value == 1.0
    assert one.false_pages is not None and one.false_pages.value == 0.0


def test_what_is_missed_is_censored_and_what_is_not_labelled_is_false() -> None:
    """A label without a failure strong enough is +inf; a page without a label is false, and a month has so many."""
    quiet, loud = T + 2 * DAY, T + 6 * DAY
    past = _past((loud, 20 * MINUTE), (quiet, MINUTE))
    found = _compare(past, Label("blip", quiet, quiet + 5 * MINUTE))
    (one,) = found.judged
    assert one.detections == (60.0,), "a whole minute of failures is 2.3% of the month, and pages"
    assert [page.true for page in one.pages] == [True, False]
    assert one.false_pages is not None and one.false_pages.value == pytest.approx(3.0)
    deaf = Candidate("deaf", "here", AlertPolicy(0.999, 30 * DAY, (BurnAlert("a", "critical", HOUR, HOUR, 900.0),)))
    missed = _compare(past, Label("blip", quiet, quiet + 5 * MINUTE), policies=(WORKBOOK, deaf)).judged[1]
    assert missed.detections == (math.inf,) and missed.quality.detection_s == (math.inf,)


def test_without_labels_only_what_fired_is_known() -> None:
    """Precision, recall, detection and false pages are None, and why is said; pages a month are there."""
    past = _past((T + 5 * DAY, 20 * MINUTE))
    found = _compare(past)
    (one,) = found.judged
    assert (one.precision, one.false_pages, one.quality.recall, one.quality.detection) == (None,) * 4
    assert one.pages_a_month is not None and one.pages_a_month.value == pytest.approx(3.0)
    assert [page.true for page in one.pages] == [None]
    assert found.unlabelled == "no incidents are labelled"
    outside = _compare(past, Label("old", T - 90 * DAY, T - 89 * DAY), Label("new", T + 10 * DAY, None))
    assert outside.unlabelled == "no incidents are labelled in the range (2 outside)"
    assert [one.standing for one in outside.incidents] == ["outside", "outside"]


def test_incidents_at_the_edges_of_the_range() -> None:
    """One that began before makes pages true and counts for nothing else; one that is open has no reset."""
    past = _past((T - 10 * MINUTE, 30 * MINUTE), (T + 10 * DAY - 30 * MINUTE, 30 * MINUTE))
    labels = [Label("early", T - 10 * MINUTE, T + 20 * MINUTE), Label("late", T + 10 * DAY - 30 * MINUTE, None)]
    found = _compare(past, *labels)
    (one,) = found.judged
    assert [i.standing for i in found.incidents] == ["began before", "counted"]
    assert [(page.true, page.began_before, page.resolved) for page in one.pages] == [
        (True, True, True),
        (True, False, False),
    ]
    assert one.quality.events == 1 and one.quality.reset_s == ()
    assert one.detections == (None, 60.0)


def test_a_label_of_which_nothing_was_observed_is_neither_found_nor_missed() -> None:
    """It has no share of the budget, and does not count."""
    start = T + 4 * DAY
    past = _without(_past((start, HOUR), (T + 6 * DAY, HOUR)), start, HOUR)
    labels = Label("dark", start, start + HOUR), Label("seen", T + 6 * DAY, T + 6 * DAY + HOUR)
    found = _compare(past, *labels)
    assert [(one.standing, one.observed) for one in found.incidents] == [("not observed", 0.0), ("counted", 1.0)]
    assert found.incidents[0].spent is None
    assert found.judged[0].detections == (None, 60.0)


def test_gaps_stay_gaps_and_are_told() -> None:
    """Nothing fires on what nobody saw, its share is told, and months count what was observed."""
    start = T + 4 * DAY
    past = _without(_past((start, 2 * HOUR)), start, 2 * DAY)
    assert past.observed == pytest.approx(0.8) and past.months == pytest.approx(8 / 30)
    assert [(gap.start, gap.end) for gap in past.gaps] == [(start, start + 2 * DAY)]
    assert _compare(past).judged[0].pages == ()
    whole = _past((T + 8 * DAY, MINUTE))
    with_gap = _without(whole, start, 2 * DAY)
    policy = WORKBOOK.policy
    assert with_gap.spent_so_far(policy)[-1] == pytest.approx(whole.spent_so_far(policy)[-1])


def test_maintenance_is_no_gap() -> None:
    """What is left out on purpose was not to be observed."""
    past = _past()
    total, left_out = past.read.total.copy(), np.zeros(past.read.total.size, np.bool_)
    left_out[4000:4600] = True
    total[left_out] = np.nan
    with_it = Past(GoodTotal(past.read.start, MINUTE, past.read.good, total), past.start, past.end, left_out)
    assert with_it.observed == 1.0 and with_it.gaps == () and with_it.lead_observed < 1.0 + 1e-12


def test_the_lead_fills_the_first_windows() -> None:
    """An hour that failed a day before the range keeps the ticket up at its start, as if the range had begun sooner."""
    fault = (T - DAY, HOUR)
    ticket = Candidate("t", "", AlertPolicy(0.999, 30 * DAY, (BurnAlert("a", "warning", 3 * DAY, 3 * DAY, 1.0),)))
    with_lead = _compare(_past(fault), policies=(ticket,)).judged[0]
    assert with_lead.pages[0].began_before and with_lead.began_before == (True,)
    longer = _past((T + 4 * DAY, HOUR), lead=5 * DAY, length=12 * DAY)
    whole, _ = longer.replay(ticket.policy)
    part = Past(longer.read, T + 5 * DAY, longer.end)
    assert (part.replay(ticket.policy)[0][0] == whole[0][5 * 1440 :]).all()
    read = _past(fault).read
    cut = GoodTotal(T, MINUTE, read.good[3 * 1440 :], read.total[3 * 1440 :])
    assert not _compare(Past(cut, T, T + 10 * DAY), policies=(ticket,)).judged[0].pages


def test_a_wait_that_began_before_the_range_is_known() -> None:
    """An alert with for: 1h on a fault that began an hour before the range is up at the first evaluation."""
    waiting = AlertPolicy(0.999, 30 * DAY, (BurnAlert("a", "critical", 10 * MINUTE, 10 * MINUTE, 1.0, HOUR),))
    past = _past((T - 70 * MINUTE, 3 * HOUR))
    firing, before = past.replay(waiting)
    assert firing[0][0] and before[0]
    later, before = _past((T - 30 * MINUTE, 3 * HOUR)).replay(waiting)
    assert int(later[0].argmax()) == 30 and not before[0]


def test_a_lead_that_does_not_exist_is_told_and_changes_nothing_else() -> None:
    """With or without empty buckets in front the same alerts fire, traffic-scaled ones included."""
    past = _past((T + 5 * DAY, 20 * MINUTE), lead=DAY)
    nothing = np.full(29 * 1440, np.nan)
    read = GoodTotal(
        T - 30 * DAY, MINUTE, np.concatenate((nothing, past.read.good)), np.concatenate((nothing, past.read.total))
    )
    padded = Past(read, past.start, past.end)
    assert padded.lead_observed == pytest.approx(1 / 30)
    for policy in named_policies(0.999).values():
        assert (padded.replay(policy)[0] == past.replay(policy)[0]).all()


def test_every_page_s_truth_is_the_quality_s() -> None:
    """Pages that are said to be true are as many as precision counts, whatever the noise and the labels."""
    rng = np.random.default_rng(7)
    total = np.full(10 * 1440, 20.0)
    bad = np.minimum(total, rng.poisson(0.02, total.size) + (rng.random(total.size) < 0.003) * 15.0)
    past = Past(GoodTotal(T, MINUTE, total - bad, total), T + DAY, T + 10 * DAY)
    starts = [T + int(m) * MINUTE for m in rng.integers(0, 14_000, 8)]
    labels, _ = merge([Label(f"i{n}", at, at + 40 * MINUTE) for n, at in enumerate(starts)])
    policies = [Candidate(name, "", policy) for name, policy in named_policies(0.999).items()]
    found = compare(past, policies, labels, RULES, PAGING, silent)
    assert any(one.quality.pages > one.quality.true_pages > 0 for one in found.judged)
    for one in found.judged:
        assert sum(page.true is True for page in one.pages) == one.quality.true_pages
        assert len(one.pages) == one.quality.pages
        finite = [d for d in one.detections if d is not None]
        assert tuple(sorted(finite)) == one.quality.detection_s


def test_too_many_policies_and_names_twice_are_refused() -> None:
    """Twenty at most, the catalogue's own included."""
    with pytest.raises(ConfigError, match="21 policies"):
        _compare(_past(), policies=tuple(Candidate(f"p{n}", "", WORKBOOK.policy) for n in range(21)))
    with pytest.raises(ConfigError, match="catalogue is there twice"):
        _compare(_past(), policies=(WORKBOOK, WORKBOOK))


def test_a_past_of_which_nothing_was_observed_is_refused() -> None:
    """There is nothing to replay, and the range is named."""
    nothing = np.full(1440, np.nan)
    with pytest.raises(DataError, match="nothing was observed from 2026-11-01T12:00:00Z"):
        Past(GoodTotal(T, MINUTE, nothing, nothing), T + DAY / 2, T + DAY)


def test_a_past_without_traffic_has_no_budget() -> None:
    """0 of 0 is observed, fires nothing, spends nothing that is known."""
    silence = np.zeros(1440)
    found = _compare(Past(GoodTotal(T, MINUTE, silence, silence), T, T + DAY), Label("a", T + HOUR, T + 2 * HOUR))
    assert found.judged[0].pages == () and found.incidents[0].spent is None
    assert found.incidents[0].standing == "not observed"
