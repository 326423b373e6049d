"""The embedded node: the same seed is the same world, and policies do what their mechanics say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from node0lib.alerts.metrics import FAMILIES
from node0lib.errors import ConfigError, DataError
from node0lib.ports import Baseline, Policy
from node0lib.shell.config import load
from node0lib.simulate import service
from node0lib.simulate.service import MODEL_VERSION, POLICY, EmbeddedNode, minute_of
from node0lib.simulate.streams import BOUNDS_S, STREAMS, bound_index, column, column_names, joined
from node0lib.simulate.traffic import environment, incidents

NODE, NOON = EmbeddedNode(seed=7), datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD: Policy = {**POLICY, "cache_ttl_s": 60, "agent_routing": "two_choices"}
IMPATIENT: Policy = {**POLICY, "llm_timeout_ms": 50, "llm_retries": 0}

PINNED = {
    "api": (535925, 535813, 32656263),
    "alpha": (171289, 171103, 4720823),
    "mcp_llm": (59952, 59939, 2744977),
    "mcp_tools": (51388, 51371, 2047677),
    "agent": (85649, 83500, 1737661),
    "coordination": (685163, 685163, 31446745),
}


def _baseline(seed: int = 3) -> Baseline:
    return NODE.baseline(POLICY, margin_p95=0.05, margin_p99=0.10, at=NOON, seed=seed)


def _looks(canary: Policy, first: int = 0, minutes: int = 15, share: float = 0.25) -> list:
    given = {"baseline": _baseline(), "share": share, "at": NOON, "seed": 3}
    return list(NODE.split(POLICY, canary, first_minute=first, minutes=minutes, **given))


def test_minutes_do_not_depend_on_the_chunk() -> None:
    """A minute is the same in one long span, in short ones, and when asked for out of order."""
    start = NOON - timedelta(minutes=77)
    whole = NODE.minutes(start, 130, POLICY)
    late = NODE.minutes(start + timedelta(minutes=50), 80, POLICY)
    both = joined([NODE.minutes(start, 50, POLICY), late])
    for name in STREAMS:
        for column_name in column_names(name):
            assert np.array_equal(column(whole, column_name), column(both, column_name))


def test_the_world_is_pinned_to_the_model_version() -> None:
    """If the same seed gives other minutes, MODEL_VERSION must rise: stored histories depend on it."""
    minutes = NODE.minutes(NOON, 60, POLICY)
    shown = {
        n: (int(s.total.sum()), int(s.good.sum()), int(s.cumulative.sum()))
        for n, s in minutes.streams.items()
    }
    assert MODEL_VERSION == 2
    assert shown == PINNED


def test_counts_are_integers_that_add_up() -> None:
    """Good is at most total, cumulative counts never fall nor pass the total, and seeds differ."""
    minutes = NODE.minutes(NOON, 60, POLICY)
    for stream in minutes.streams.values():
        assert stream.cumulative.dtype == np.int64
        assert (stream.good >= 0).all() and (stream.good <= stream.total).all()
        assert (np.diff(stream.cumulative, axis=1) >= 0).all()
        assert (stream.cumulative[:, -1] <= stream.total).all()
        assert stream.histogram().count == stream.total.sum()
    other = EmbeddedNode(seed=8).minutes(NOON, 60, POLICY)
    assert not np.array_equal(minutes.streams["api"].total, other.streams["api"].total)


def test_every_slo_threshold_is_a_bound() -> None:
    """The thresholds of the SLOs are exact bucket bounds, and another one is refused with its neighbours."""
    assert all(BOUNDS_S[bound_index(t)] == t for t in (0.05, 0.1, 0.15, 0.2, 0.4))
    with pytest.raises(ConfigError, match="0.05, 0.0556"):
        bound_index(0.052)


def test_traffic_is_overdispersed_and_has_a_day() -> None:
    """A month has about 100 requests a second, a daily peak, quiet weekends and more noise than Poisson."""
    first = minute_of(NOON) // 1440 * 1440 - 28 * 1440
    requests = environment(7, first, 28 * 1440).requests
    assert requests.mean() / 60 == pytest.approx(100, rel=0.05)
    hours = requests.reshape(28, 24, 60).mean(axis=(0, 2))
    assert 12 <= hours.argmax() <= 16
    assert hours.max() > 1.8 * hours.min()
    assert np.median(np.diff(requests) ** 2) > 2 * np.median(2 * requests)


def test_a_year_has_a_few_incidents_a_month() -> None:
    """Incidents are placed by day, of every kind, and leave their mark on the environment."""
    found = [i for day in range(20_000, 20_365) for i in incidents(7, day)]
    assert 24 <= len(found) <= 96
    assert {i.kind for i in found} == {"outage", "slow", "burst"}
    outage = next(i for i in found if i.kind == "outage")
    fault = environment(7, outage.first, outage.minutes).fault(outage.service)
    assert fault.min() >= outage.size
    assert 0.01 <= outage.size <= 0.10


def test_the_default_policy_meets_its_slos_but_not_lavishly() -> None:
    """Over four weeks' worth of samples the ratio SLOs have spent some of their budgets and not all."""
    parts = [NODE.minutes(NOON - timedelta(hours=17 * k), 60, POLICY) for k in range(40)]
    for name, budget in (("api", 0.001), ("alpha", 0.005), ("mcp_tools", 0.001), ("agent", 0.05)):
        good = sum(p.streams[name].good.sum() for p in parts)
        total = sum(p.streams[name].total.sum() for p in parts)
        assert 0.05 < (1 - good / total) / budget < 0.6, name
    fast = [p.streams["api"].cumulative[:, bound_index(0.05)] >= 0.95 * p.streams["api"].total for p in parts]
    assert 0.9 < np.mean(fast) < 1.0


def test_equal_seeds_give_equal_outcomes_and_paired_ones() -> None:
    """An evaluation repeats exactly; pairing by seed leaves far less noise than one evaluation has."""
    assert NODE.evaluate(POLICY, at=NOON, seed=1) == NODE.evaluate(dict(POLICY), at=NOON, seed=1)
    old, new = (np.array([NODE.evaluate(p, at=NOON, seed=s).loss for s in range(24)]) for p in (POLICY, GOOD))
    assert 0.01 < old.std() / old.mean() < 0.08
    assert (new / old).std() < 0.6 * old.std() / old.mean()
    small = np.array([NODE.evaluate({**POLICY, "batch_wait_ms": 0}, at=NOON, seed=s).loss for s in range(24)])
    assert (small / old).std() < 0.1 * old.std() / old.mean()


def test_a_better_policy_is_measurably_better() -> None:
    """A longer TTL and two choices lower the loss on every seed; each knob's direction follows its mechanics."""
    gains = [
        1 - NODE.evaluate(GOOD, at=NOON, seed=s).loss / NODE.evaluate(POLICY, at=NOON, seed=s).loss
        for s in range(8)
    ]
    assert min(gains) > 0.1
    base = NODE.evaluate(POLICY, at=NOON, seed=1).metrics
    long = NODE.evaluate({**POLICY, "cache_ttl_s": 300}, at=NOON, seed=1).metrics
    assert long["staleness"] > base["staleness"] and long["loss_latency"] < base["loss_latency"]
    held = NODE.evaluate({**POLICY, "batch_wait_ms": 200, "batch_size": 32}, at=NOON, seed=1).metrics
    assert held["alpha_p95_s"] > base["alpha_p95_s"] and held["cost"] < base["cost"]


def test_an_outcome_explains_itself() -> None:
    """The loss is the sum of its positive parts; violation is above 0 exactly if some SLO limit is passed."""
    outcome = NODE.evaluate(POLICY, at=NOON, seed=1)
    parts = [v for k, v in outcome.metrics.items() if k.startswith("loss_")]
    assert outcome.loss == pytest.approx(sum(parts)) and min(parts) > 0
    assert NODE.evaluate({**POLICY, "tools_retries": 0}, at=NOON, seed=1).violation > 1
    assert {f"{s}_p95_s" for s in STREAMS} <= set(outcome.metrics)


def test_small_batches_and_impatience_overload() -> None:
    """A batch of one cannot carry the noon's traffic: alpha refuses jobs instead of waiting for ever."""
    metrics = NODE.evaluate({**POLICY, "batch_size": 1}, at=NOON, seed=1).metrics
    assert metrics["alpha_errors"] > 0.2
    assert np.isfinite(metrics["mean_latency_s"])


def test_looks_do_not_depend_on_the_call() -> None:
    """Fifteen looks at once are the same as ten and then five, and repeat exactly."""
    whole = _looks(GOOD)
    assert whole == _looks(GOOD, 0, 10) + _looks(GOOD, 10, 5)
    assert [look.minute for look in whole] == list(range(15))


def test_shares_of_traffic() -> None:
    """The canary gets its share, whoever is slower than the p99 bound is than the p95 bound, all gets all."""
    looks = _looks(POLICY)
    canary = sum(x.canary.requests for x in looks)
    assert canary / (canary + sum(x.control.requests for x in looks)) == pytest.approx(0.25, abs=0.01)
    assert all(a.requests >= a.slow_p95 >= a.slow_p99 >= 0 for x in looks for a in (x.control, x.canary))
    alone = _looks(POLICY, share=1.0)[0]
    assert (alone.control.requests, alone.control.errors, alone.control.slow_p95) == (0, 0, 0)
    with pytest.raises(ConfigError, match="share"):
        _looks(POLICY, share=0.0)


def test_degradation_shows_in_the_canary() -> None:
    """A canary that is too impatient with the LLM fails many more requests; the same policy does not."""

    def ratio(policy: Policy) -> float:
        looks = _looks(policy, share=0.5)
        rates = [
            sum(a.errors for a in arms) / sum(a.requests for a in arms)
            for arms in ([x.canary for x in looks], [x.control for x in looks])
        ]
        return rates[0] / rates[1]

    assert ratio(IMPATIENT) > 3
    assert ratio(POLICY) == pytest.approx(1.0, abs=0.25)


def test_baseline_lies_on_bounds() -> None:
    """The bounds are the first buckets above the quantiles plus margin; fewer than 5% and 1% are slower."""
    found = _baseline()
    assert found.bound_p95_s in BOUNDS_S and found.bound_p99_s in BOUNDS_S
    assert 0 < found.slow_p95 < 0.05 and 0 < found.slow_p99 < 0.01
    assert found == _baseline()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cache_ttl_s": -1}, "cache_ttl_s: -1 is not a number from 0 to 3600"),
        ({"batch_size": 2.5}, "batch_size: 2.5 is not a whole number"),
        ({"llm_retries": True}, "llm_retries"),
        ({"llm_timeout_ms": float("nan")}, "llm_timeout_ms"),
        ({"agent_routing": "magic"}, "one of round_robin, two_choices, least_loaded"),
        ({"turbo": 1}, "turbo: no such knob"),
    ],
)
def test_policies_that_do_not_fit_are_refused(change: Policy, why: str) -> None:
    """A wrong knob is named together with what is allowed."""
    with pytest.raises(ConfigError, match=why):
        NODE.evaluate({**POLICY, **change}, at=NOON, seed=1)


def test_bad_seeds_and_times_are_refused() -> None:
    """A negative seed, a naive time, a time before the world and a missing knob are said clearly."""
    with pytest.raises(ConfigError, match="0 or more"):
        EmbeddedNode(seed=-1)
    with pytest.raises(DataError, match="time zone"):
        NODE.minutes(datetime(2026, 1, 1), 5, POLICY)  # noqa: DTZ001
    with pytest.raises(DataError, match="too early"):
        minute_of(datetime(1970, 1, 1, tzinfo=UTC))
    with pytest.raises(ConfigError, match="agent_routing: missing"):
        NODE.evaluate({k: v for k, v in POLICY.items() if k != "agent_routing"}, at=NOON, seed=1)


def test_the_models_limits_are_those_that_were_promised() -> None:
    """The limits by which the model judges a policy safe are the thresholds and budgets of the shipped SLOs."""
    slos = {slo.name: slo for slo in load(Path(__file__).parents[2] / "configs" / "node0.yaml").catalogue.slos}
    p95 = {"api": "api_latency_p95", "alpha": "alpha_latency_p95", "mcp_llm": "mcp_llm_latency_p95"}
    p95["coordination"] = "agent_coordination_latency"
    assert {stream: slos[name].threshold_s for stream, name in p95.items()} == dict(service.P95_LIMITS_S)
    assert slos["api_latency_p99"].threshold_s == service.API_P99_LIMIT_S
    ratios = {s.stream: round(s.budget, 9) for s in slos.values() if s.kind == "ratio"}
    assert ratios == dict(service.ERROR_LIMITS)


def test_every_exported_bucket_is_one_of_the_node_s() -> None:
    """The exporter's buckets are exact because each of their bounds is a bound of the embedded node."""
    services = [family for family in FAMILIES if family.name.endswith("request_duration_seconds")]
    exported = {bound for family in services for bound in family.buckets}
    assert exported and exported <= set(BOUNDS_S)
