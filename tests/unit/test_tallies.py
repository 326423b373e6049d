"""The embedded node's running counts: the same in any chunks, never falling, and what the next cycle stores."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from node0lib.shell.history import History
from node0lib.shell.tallies import SCALE_BITS, ServiceTallies, Tally, tally
from node0lib.simulate.service import POLICY, EmbeddedNode, minute_of
from node0lib.simulate.streams import STREAMS, Minutes

NODE, NOON = EmbeddedNode(seed=7), datetime(2026, 11, 24, 0, 34, tzinfo=UTC)
LAST, HOUR = minute_of(NOON) - 1, timedelta(hours=1)
OTHER = {**POLICY, "cache_ttl_s": 90}


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def stored(folder: Path, to: datetime = NOON, past: timedelta = 2 * HOUR) -> History:
    """Return a history that ends at ``to``; at first it reaches over midnight."""
    history = History(folder / "sli", NODE)
    history.extend(to, POLICY, past, quiet)
    return history


def tallies(folder: Path, history: timedelta = 30 * 24 * HOUR) -> ServiceTallies:
    """Return counts that know nothing yet."""
    return ServiceTallies(folder / "sli", NODE, history)


def same(one: Tally, other: Tally) -> bool:
    """Whether two tallies are equal in every count."""
    arrays = np.array_equal(one.under, other.under) and np.array_equal(one.failed, other.failed)
    return arrays and (one.total, one.good) == (other.total, other.good)


@pytest.fixture(scope="module")
def minutes() -> Minutes:
    """Three hours of the node."""
    return NODE.minutes(NOON - 3 * HOUR, 180, POLICY)


def test_a_tally_adds_up_in_any_chunks(minutes: Minutes) -> None:
    """Counts of parts, however they are cut, are the counts of the whole, to the last unit."""
    api = minutes.streams["api"]
    for cuts in ([0, 180], [0, 1, 2, 180], [0, 60, 61, 120, 180], list(range(181))):
        parts = (tally(api.part(low, high)) for low, high in zip(cuts, cuts[1:], strict=False))
        assert same(sum(parts, Tally()), tally(api))


def test_failures_latencies_never_fall_nor_take_from_the_successes(minutes: Minutes) -> None:
    """With every minute and every bound, the counts of failures and of successes grow or stay, and end at all."""
    api, before = minutes.streams["api"], (np.zeros(74, dtype=np.int64),) * 2
    assert (api.total > api.good).any()
    for end in range(1, 181):
        seen = tally(api.part(0, end))
        failed = seen.failed >> SCALE_BITS
        for now, then, total in zip(
            (failed, seen.under - failed), before, (seen.total - seen.good, seen.good), strict=True
        ):
            assert (now >= then).all() and (np.diff(now, prepend=0, append=total) >= 0).all()
        before = failed, seen.under - failed


def test_minutes_counted_in_memory_are_those_stored_later(tmp_path: Path) -> None:
    """What is shown between two cycles is, to the last count, what the next cycle stores."""
    stored(tmp_path)
    live = tallies(tmp_path)
    for ahead in (0, 1, 29, 30, 90, 91):
        shown = live.until(LAST + 1 + ahead, LAST, POLICY)
        later = stored(tmp_path / str(ahead), NOON + timedelta(minutes=ahead), 2 * HOUR + timedelta(minutes=ahead))
        last = later.last_minute()
        assert last == LAST + ahead
        kept = tallies(tmp_path / str(ahead)).until(last + 1, last, OTHER)  # nothing is simulated: no policy matters
        assert all(same(shown[name], kept[name]) for name in STREAMS)


def test_a_history_that_grows_meanwhile_is_not_counted_twice(tmp_path: Path) -> None:
    """A cycle that stores minutes between the look for the last one and the reading changes nothing."""
    stored(tmp_path)
    before = tallies(tmp_path).until(LAST + 61, LAST, POLICY)
    stored(tmp_path, NOON + 2 * HOUR)
    after = tallies(tmp_path).until(LAST + 61, LAST, POLICY)
    assert all(same(before[name], after[name]) for name in STREAMS)


def test_a_cycle_moves_the_counts_by_no_more_than_its_minutes(tmp_path: Path) -> None:
    """The same counter goes on over a cycle, over midnight, and over a change of the policy."""
    stored(tmp_path, NOON - 2 * HOUR, HOUR)
    live, seen = tallies(tmp_path), []
    for minutes_on in (0, 60, 90):
        seen.append(live.until(LAST + 1 - 120 + minutes_on, LAST - 120, POLICY))
    stored(tmp_path)
    seen += [live.until(LAST + 1 + n, LAST, OTHER) for n in (0, 5, 65)]
    for name in STREAMS:
        totals = [found[name].total for found in seen]
        assert all(low < high for low, high in zip(totals, totals[1:], strict=False))
    assert same(seen[3]["api"], tallies(tmp_path).until(LAST + 1, LAST, POLICY)["api"])


def test_a_clock_that_was_set_back_counts_the_same_again(tmp_path: Path) -> None:
    """Minutes that were counted already are taken off again if the clock says that they have not passed."""
    stored(tmp_path)
    live = tallies(tmp_path)
    first = live.until(LAST + 61, LAST, POLICY)
    live.until(LAST + 181, LAST, POLICY)
    assert same(live.until(LAST + 61, LAST, POLICY)["api"], first["api"])


def test_after_a_long_absence_counts_stand_still(tmp_path: Path) -> None:
    """More than the configured past is never made at once: the next cycle would leave that as a gap."""
    stored(tmp_path)
    live = tallies(tmp_path, history=2 * HOUR)
    assert same(live.until(LAST + 121, LAST, POLICY)["api"], live.until(LAST + 5000, LAST, POLICY)["api"])


def test_what_is_stored_counts_although_it_lies_ahead(tmp_path: Path) -> None:
    """A minute that a cycle has stored is counted, even before it has been over for long enough to be shown."""
    stored(tmp_path)
    early, late = (tallies(tmp_path).until(end, LAST, POLICY)["api"] for end in (LAST - 5, LAST + 1))
    assert same(early, late)
