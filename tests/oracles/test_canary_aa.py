"""Harmless canaries (A/A): how often each judge would stop one. 1% errors, 100 requests/s, 5% canary, 10 minutes."""

import numpy as np
from numpy.typing import NDArray

from node0lib.canary.sequential import Tally, fails
from node0lib.canary.threshold import compare

ROLLOUTS, LOOKS, ALPHA = 400, 10, 0.05
CONTROL, CANARY = 5700, 300
"""Requests a minute, an arm each."""


def _bad() -> NDArray[np.int64]:
    """Bad events up to each look, shape (rollouts, looks, 2): both arms fail 1% of their requests."""
    rng = np.random.default_rng(20260101)
    return np.cumsum(rng.binomial([CONTROL, CANARY], 0.01, size=(ROLLOUTS, LOOKS, 2)), axis=1)


def _tally(bad: NDArray[np.int64], look: int) -> Tally:
    return Tally((CONTROL * (look + 1), CANARY * (look + 1)), (int(bad[look, 0]), int(bad[look, 1])))


def _naive(bad: NDArray[np.int64], look: int) -> bool:
    t = _tally(bad, look)
    return compare("e", t.bad[0] / t.requests[0], t.bad[1] / t.requests[1], margin=1.05).kind == "fail"


def test_harmless_canaries_pass_the_sequential_judge_and_not_the_naive_rule() -> None:
    """At ten looks the sequential judge stops at most alpha of them, the naive rule 37% at the last, 75% at any."""
    rollouts = _bad()
    stopped = sum(any(fails([_tally(r, k)], margin=1.05, alpha=ALPHA) for k in range(LOOKS)) for r in rollouts)
    once = sum(_naive(r, LOOKS - 1) for r in rollouts) / ROLLOUTS
    ever = sum(any(_naive(r, k) for k in range(LOOKS)) for r in rollouts) / ROLLOUTS
    assert stopped / ROLLOUTS <= ALPHA
    assert abs(once - 0.37) < 0.08 and abs(ever - 0.75) < 0.08
