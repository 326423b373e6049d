"""Classifying a change, and estimating its improvement."""

import numpy as np
import pytest

from node0lib.errors import DataError
from node0lib.optimize.estimate import paired
from node0lib.optimize.risk import classify
from node0lib.slo.catalogue import Catalogue

CLASSES = Catalogue(()).classes


@pytest.mark.parametrize(
    ("kinds", "improvement", "confidence", "expected"),
    [
        (["cache_ttl"], 0.10, 0.99, "L"),
        (["cache_ttl", "timeout", "batch"], 0.2499, 0.70, "L"),
        (["cache_ttl"], 0.25, 0.99, "M"),
        (["cache_ttl"], 0.50, 0.99, "M"),
        (["cache_ttl"], 0.51, 0.99, "H"),
        (["cache_ttl"], 0.10, 0.69, "H"),
        (["routing"], 0.01, 0.99, "M"),
        (["cache_ttl", "routing"], 0.01, 0.99, "M"),
        (["consensus"], 0.01, 0.99, "H"),
        (["routing", "crypto"], 0.30, 0.99, "H"),
        (["teleportation"], 0.01, 0.99, "H"),
    ],
)
def test_the_highest_class_wins(kinds: list[str], improvement: float, confidence: float, expected: str) -> None:
    """Every criterion of the table, at its edges; where they disagree the higher class wins, with its reason."""
    found = classify(kinds, improvement, confidence, CLASSES)
    assert found.change_class == expected and found.reasons


def test_the_reason_is_the_deciding_criterion() -> None:
    """The reasons name what put the change into its class, and nothing else."""
    assert classify(["cache_ttl"], 0.3, 0.99, CLASSES).reasons == ("improvement 30.0% is at least 25%",)


def test_percentages_are_refused() -> None:
    """An improvement of 30 is a mistake for 0.3, and says so."""
    with pytest.raises(DataError, match=r"0\.3 for 30%"):
        classify(["cache_ttl"], 30, 0.9, CLASSES)


def test_no_difference_is_not_shown() -> None:
    """Two equal candidates with noise show no improvement: the interval covers 0."""
    rng = np.random.default_rng(1)
    e = paired(np.exp(rng.normal(0, 0.05, 32)).tolist(), np.exp(rng.normal(0, 0.05, 32)).tolist())
    assert not e.shown and e.low < 0 < e.high


def test_the_interval_covers() -> None:
    """A true improvement of 10% lies within the 95% interval in at least 93% of 2,000 experiments."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(2000):
        base = np.exp(rng.normal(0, 0.05, 32))
        e = paired(base.tolist(), (0.9 * base * np.exp(rng.normal(0, 0.02, 32))).tolist())
        hits += e.low <= 0.1 <= e.high
    assert hits / 2000 >= 0.93


def test_common_noise_cancels() -> None:
    """What both runs share does not widen the interval."""
    base = np.exp(np.random.default_rng(3).normal(0, 1, 8))
    e = paired(base.tolist(), (0.8 * base).tolist())
    assert e.improvement == pytest.approx(0.2) and e.high - e.low < 1e-9 and e.confidence > 0.999


@pytest.mark.parametrize("losses", [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([0.0, 1.0], [1.0, 1.0])])
def test_too_few_or_senseless_losses_are_refused(losses: tuple[list[float], list[float]]) -> None:
    """One pair, unequal lengths or a loss of 0 give no estimate but an error."""
    with pytest.raises(DataError, match="pairs"):
        paired(*losses)
