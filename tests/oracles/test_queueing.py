"""Textbook formulas, against numbers cross-checked with the Octave queueing package and by simulation."""

import numpy as np
import pytest

from node0lib.simulate.queueing import (
    ZipfKeys,
    batch_latency_bound,
    erlang_c,
    inoue_phi,
    jsq_mean_field,
    natural_batch,
    overload,
    stale_share,
    wait_mg1,
    wait_mmc,
)

MMC = [  # arrival rate, service rate, servers, probability of waiting, mean time in queue
    (9, 5, 2, 0.8526315789473683, 0.8526315789473683),
    (9, 5, 4, 0.12853364678225096, 0.011684876980204633),
    (0.8, 1, 1, 0.8, 4.000000000000001),
    (80, 10, 10, 0.40918015079644354, 0.020459007539822178),
    (45, 5, 10, 0.6687315241076972, 0.13374630482153943),
    (4.5, 1, 5, 0.7624932207329356, 1.5249864414658711),
]
MG1 = [(0.8, 0, 2.0), (0.8, 1, 4.0), (0.8, 4, 10.0), (0.5, 0.25, 0.625)]
BATCH = [  # arrival rate, exact mean latency, mean batch, phi0, phi1; alpha 0.15, tau0 0.8
    (0.5, 1.194123198549717, 1.0999439201168473, 1.210936517913262, 1.4538026398491515),
    (2, 1.8733906983075288, 2.436438834083633, 2.5368131868131876, 1.9038461538461542),
    (4, 3.304415413181175, 8.00395958526826, 7.1546875000000005, 3.3046875000000004),
    (5.5, 7.520547809295459, 25.142863026232966, 21.543248532289628, 7.520547945205479),
]
JSQ = [
    (1, 0.5, 2.0),
    (1, 0.9, 10.0),
    (2, 0.5, 1.2656860360875726),
    (2, 0.7, 1.614453770317711),
    (2, 0.9, 2.614057377323876),
    (3, 0.5, 1.125244140626819),
    (3, 0.7, 1.3568421967446802),
    (3, 0.9, 2.027855968995279),
]


@pytest.mark.parametrize(("rate", "mu", "servers", "waits", "queue"), MMC)
def test_mmc(rate: float, mu: float, servers: int, waits: float, queue: float) -> None:
    """Erlang C and the mean wait of M/M/c are the textbook's."""
    assert erlang_c(rate / mu, servers) == pytest.approx(waits, rel=1e-12)
    assert wait_mmc(rate, 1 / mu, servers) == pytest.approx(queue, rel=1e-12)


@pytest.mark.parametrize(("rate", "cv2", "queue"), MG1)
def test_mg1(rate: float, cv2: float, queue: float) -> None:
    """The mean wait of M/G/1 is Pollaczek and Khinchine's."""
    assert wait_mg1(rate, 1.0, cv2) == pytest.approx(queue, rel=1e-12)


@pytest.mark.parametrize(("rate", "exact", "mean_batch", "phi0", "phi1"), BATCH)
def test_batch_service(rate: float, exact: float, mean_batch: float, phi0: float, phi1: float) -> None:
    """Inoue's phi has his values, bounds the exact mean latency closely, and batches grow as they do."""
    assert [float(phi) for phi in inoue_phi(rate, 0.15, 0.8)] == pytest.approx([phi0, phi1], rel=1e-12)
    assert exact <= float(batch_latency_bound(rate, 0.15, 0.8)) <= 1.02 * exact
    assert natural_batch(rate, 0.15, 0.8) == pytest.approx(mean_batch, rel=0.04)


@pytest.mark.parametrize(("choices", "rho", "mean"), JSQ)
def test_jsq_mean_field(choices: int, rho: float, mean: float) -> None:
    """The time in system of JSQ(d) is Mitzenmacher's limit."""
    assert jsq_mean_field(rho, choices) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(
    ("keys", "exponent", "hit"), [(1000, 0.8, 0.7402629677901644), (10_000, 1.0, 0.600679990778841)]
)
def test_ttl_cache(keys: int, exponent: float, hit: float) -> None:
    """The TTL cache hits as often as the sum over all keys says, and grouping them costs under 0.1%."""
    alone = ZipfKeys.grouped(keys, exponent, groups=300_000)
    assert alone.weight.size == keys
    assert alone.hit_ratio(1.0, 2000.0) == pytest.approx(hit, rel=1e-12)
    assert ZipfKeys.grouped(keys, exponent).hit_ratio(1.0, 2000.0) == pytest.approx(hit, rel=1e-3)


def test_stale_share_by_counting() -> None:
    """A hit of uniform age is stale as often as its key changes before it."""
    ages, changes = np.random.default_rng(1).uniform(0, 60, 200_000), 1 / 100
    drawn = np.random.default_rng(2).exponential(1 / changes, 200_000) < ages
    assert stale_share(60, changes) == pytest.approx(drawn.mean(), abs=0.004)
    assert stale_share(0, changes) == 0.0


def test_overload_is_finite_and_monotone() -> None:
    """Far beyond the capacity waits stay finite, never fall with load, and the excess is refused."""
    rates = np.linspace(0, 50, 400)
    for wait in (wait_mmc(rates, 0.1, 3), wait_mg1(rates, 0.1, 1.0), jsq_mean_field(rates / 30, 2)):
        assert np.isfinite(wait).all()
        assert (np.diff(wait) >= -1e-12).all()
    assert overload(0.9) == 0.0
    assert overload(2.0) == pytest.approx(0.5, abs=0.01)
