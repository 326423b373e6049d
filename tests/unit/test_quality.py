"""What counts as a page, true, detected, missed, reset: each definition on a case small enough to count by hand.

Steps are minutes; grace is 30 of them, the merge gap 15. Evaluation i lies at the end of step i.
"""

import math
from datetime import timedelta

import numpy as np
import pytest

from node0lib.alerts.quality import Event, Quality, QualityRules, judge, pages_of, pooled

MINUTE = 60_000
RULES = QualityRules()
SPENDS = 0.05


def _fires(*spans: tuple[int, int], n: int = 1000) -> np.ndarray:
    fires = np.zeros(n, np.bool_)
    for start, end in spans:
        fires[start:end] = True
    return fires


def _judged(fires: np.ndarray, *events: Event, rules: QualityRules = RULES, spent: np.ndarray | None = None) -> Quality:
    return judge(fires, events, rules, MINUTE, spent)


def test_a_page_within_the_event_detects_it() -> None:
    """An event of the steps [100, 120) that is up from evaluation 104 on: told five minutes after it began."""
    found = _judged(_fires((104, 125)), Event(100, 120, SPENDS))
    assert (found.pages, found.true_pages, found.events, found.detected) == (1, 1, 1, 1)
    assert found.detection_s == (300.0,)
    assert found.reset_s == (360.0,)


def test_a_page_at_the_end_of_the_first_step_is_a_minute_late() -> None:
    """Nothing can be told of an event before its first step has ended."""
    assert _judged(_fires((100, 101)), Event(100, 120, SPENDS)).detection_s == (60.0,)


def test_a_page_in_the_grace_detects_and_one_after_it_is_false() -> None:
    """[start, end + grace]: an onset 30 minutes after the end counts, one at 31 minutes does not."""
    event = Event(100, 105, SPENDS)
    late, too_late = _judged(_fires((134, 140)), event), _judged(_fires((135, 140)), event)
    assert (late.true_pages, late.detected, late.detection_s) == (1, 1, (2100.0,))
    assert (too_late.true_pages, too_late.detected, too_late.detection_s) == (0, 0, (math.inf,))
    assert too_late.false_pages.value == pytest.approx(1 / (1000 / 43_200))


def test_a_page_that_ends_in_the_grace_is_true_where_it_overlaps() -> None:
    """A page that is up from the grace on well past it is true: overlapping is enough."""
    assert _judged(_fires((130, 400)), Event(100, 105, SPENDS)).true_pages == 1


def test_a_page_that_was_up_before_detects_at_once() -> None:
    """What was up when the event began has told it after no time, whoever it was raised for."""
    found = _judged(_fires((50, 110)), Event(100, 120, SPENDS))
    assert (found.detected, found.detection_s) == (1, (0.0,))


def test_a_page_that_went_as_the_event_began_says_nothing_of_it() -> None:
    """A page whose last evaluation is the instant of the event's start cannot have seen it: false, and missed."""
    found = _judged(_fires((50, 100)), Event(100, 120, SPENDS))
    assert (found.true_pages, found.detected) == (0, 0)


@pytest.mark.parametrize(("gap", "pages", "flaps"), [(14, 1, 1), (15, 2, 0)])
def test_onsets_less_than_the_merge_gap_apart_are_one_page(gap: int, pages: int, flaps: int) -> None:
    """Down for 14 minutes is the same page, and a flap; down for 15 is another page."""
    found = _judged(_fires((100, 110), (110 + gap, 150)))
    assert (found.pages, found.flaps) == (pages, flaps)


def test_merged_pages_begin_with_the_first_and_end_with_the_last() -> None:
    """Three onsets within the gap are one interval with two flaps; the fourth stands alone."""
    starts, ends, flaps = pages_of(_fires((10, 11), (12, 13), (20, 25), (90, 95), n=200), 15)
    assert (starts.tolist(), ends.tolist(), flaps) == ([10, 90], [25, 95], 2)


def test_a_missed_event_is_censored() -> None:
    """It stays in the sample as later than any other, so that the median of one seen, two missed is never."""
    events = [Event(first, first + 10, SPENDS) for first in (100, 300, 500)]
    found = _judged(_fires((101, 105)), *events)
    assert found.detection_s == (120.0, math.inf, math.inf)
    assert found.detection.value == math.inf
    assert found.recall.value == pytest.approx(1 / 3)
    assert len(found.reset_s) == 0  # the page went before its event did


def test_what_spends_little_must_not_be_paged_and_may_be() -> None:
    """An insignificant event is no event to recall, but a page on it is not false."""
    found = _judged(_fires((102, 106)), Event(100, 110, 0.0099))
    assert (found.events, found.pages, found.true_pages) == (0, 1, 1)
    assert found.recall is None and found.precision.value == 1.0
    assert _judged(_fires((102, 106)), Event(100, 110, 0.01)).events == 1


def test_two_overlapping_labels_are_two_events_and_one_page() -> None:
    """Each is detected from its own start; the page that tells both is true once."""
    found = _judged(_fires((110, 130)), Event(100, 125, SPENDS), Event(108, 128, SPENDS))
    assert (found.pages, found.true_pages, found.events, found.detected) == (1, 1, 2, 2)
    assert found.detection_s == (180.0, 660.0)
    assert found.reset_s == (180.0, 360.0)


def test_one_page_over_two_events_detects_both() -> None:
    """A page that is still up when the next event begins has told that too, after no time."""
    found = _judged(_fires((102, 300)), Event(100, 110, SPENDS), Event(200, 210, SPENDS))
    assert found.detection_s == (0.0, 180.0)
    assert (found.pages, found.true_pages) == (1, 1)


@pytest.mark.parametrize("event", [Event(1000, 1010, SPENDS), Event(5000, 5010, SPENDS), Event(-500, -400, SPENDS)])
def test_an_event_outside_the_series_is_not_counted(event: Event) -> None:
    """Nobody evaluated it, so it was neither detected nor missed."""
    found = _judged(_fires((10, 20)), event)
    assert (found.events, found.detected, found.true_pages, found.pages) == (0, 0, 0, 1)


def test_an_event_that_began_before_the_series_is_told_from_its_start() -> None:
    """Its part within the series can be detected; the time counts from where it began, the budget from where we saw."""
    spent = np.linspace(0.0, 0.1, 1000)
    found = _judged(_fires((4, 20)), Event(-10, 30, SPENDS), spent=spent)
    assert found.detection_s == (900.0,)
    assert found.spent == (pytest.approx(spent[4]),)


def test_a_page_that_never_ended_is_censored_too() -> None:
    """Still up at the last evaluation: nobody knows how long it would have gone on."""
    assert _judged(_fires((105, 1000)), Event(100, 110, SPENDS)).reset_s == (math.inf,)


def test_reset_is_of_the_page_that_outlived_the_event() -> None:
    """Of two pages on one event the last counts; pages that all ended within it give no reset."""
    event = Event(100, 200, SPENDS)
    assert _judged(_fires((110, 120), (160, 210)), event).reset_s == (660.0,)
    assert _judged(_fires((110, 120), (160, 199)), event).reset_s == ()


def test_the_first_of_several_pages_detects() -> None:
    """Two pages on one event: told by the first, and that is when its budget is counted."""
    spent = 0.001 * np.arange(1000)
    found = _judged(_fires((110, 120), (160, 210)), Event(100, 200, SPENDS), spent=spent)
    assert (found.pages, found.true_pages, found.detection_s) == (2, 2, (660.0,))
    assert found.spent == (pytest.approx(0.011),)


def test_the_budget_spent_is_the_event_s_own() -> None:
    """What others spent before does not count; at the onset it is what had gone since the event began."""
    spent = np.concatenate((np.full(100, 0.3), 0.3 + 0.01 * np.arange(1, 901)))
    found = _judged(_fires((104, 110)), Event(100, 120, SPENDS), spent=spent)
    assert found.spent == (pytest.approx(0.05),)
    before = _judged(_fires((50, 110)), Event(100, 120, SPENDS), spent=spent)
    assert before.spent == (pytest.approx(0.01),)


def test_qualities_are_pooled_by_counting() -> None:
    """Months, counts and times add up; intervals come from what was counted together."""
    one = _judged(_fires((104, 125)), Event(100, 120, SPENDS))
    two = _judged(_fires((700, 710)), Event(100, 120, SPENDS))
    both = pooled([one, two])
    assert (both.pages, both.true_pages, both.events, both.detected) == (2, 1, 2, 1)
    assert both.detection_s == (300.0, math.inf)
    assert both.months == pytest.approx(2000 / 43_200)
    assert both.recall.low < 0.5 < both.recall.high
    assert pooled([]).false_pages is None


def test_nothing_fires_and_nothing_happens() -> None:
    """A silent month has no page, no recall and no precision, and a bound on its false pages."""
    found = judge(np.zeros(43_200, np.bool_), [], RULES, MINUTE)
    assert (found.pages, found.recall, found.precision, found.detection, found.reset) == (0, None, None, None, None)
    assert found.false_pages.value == 0.0 and found.false_pages.high == pytest.approx(3.69, abs=0.01)


def test_rules_are_in_time_not_in_steps() -> None:
    """With steps of five minutes a merge gap of 15 minutes is three of them."""
    rules = QualityRules(merge_gap=timedelta(minutes=15))
    fires = _fires((10, 11), (13, 14), (17, 18), n=100)
    assert judge(fires, [], rules, 5 * MINUTE).pages == 2


@pytest.mark.parametrize("step_minutes", [1, 5, 6, 10])
def test_the_merge_gap_is_in_time_whatever_the_step(step_minutes: int) -> None:
    """Onsets less than 15 minutes apart are one page also where steps do not divide the gap; 15 are two."""
    step = step_minutes * 60_000
    apart = -(-15 // step_minutes)
    for gap, pages in ((apart - 1, 1), (apart, 2)):
        fires = np.zeros(60, np.bool_)
        fires[[10, 11 + gap]] = True
        assert judge(fires, [], QualityRules(), step).pages == pages
