"""The exported families: the whole table, zero from the first scrape on, absent where nothing is known."""

import itertools
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as plain_text
from view_samples import result

from node0lib.alerts.metrics import FAMILIES, family
from node0lib.errors import ConfigError, DataError
from node0lib.shell.config import EmbeddedTelemetry, PrometheusTelemetry, load
from node0lib.shell.exporter import SETTLED, Exporter, as_json, render
from node0lib.shell.history import History
from node0lib.shell.order import Order
from node0lib.shell.prometheus import Endpoint
from node0lib.shell.readings import SERVICE
from node0lib.shell.records import write_result
from node0lib.shell.state import State
from node0lib.shell.textfile import leave
from node0lib.shell.workspace import Places, write_policy
from node0lib.simulate.service import POLICY, EmbeddedNode
from node0lib.simulate.streams import BOUNDS_S

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE, SEED = timedelta(minutes=1), 7
LOADED = load(Path(__file__).parents[2] / "configs" / "node0.yaml")
SETTINGS = replace(LOADED, telemetry=EmbeddedTelemetry(SEED, timedelta(hours=2)))
REAL = replace(LOADED, telemetry=PrometheusTelemetry(Endpoint("http://127.0.0.1:9090"), timedelta(seconds=5)))
REQUESTS = ("http_requests_total", "200", "/v1/tasks", "POST")
STREAMS_OF = {
    "api": "http_request_duration_seconds",
    "alpha": "alpha_request_duration_seconds",
    "mcp_llm": "mcp_llm_request_duration_seconds",
    "coordination": "agent_coordination_duration_seconds",
}
OWN = [f for f in FAMILIES if f.name not in SERVICE]


class Stopped:
    """A clock that somebody sets."""

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An installation in which nothing has happened yet."""
    return Places(tmp_path, tmp_path / "data", tmp_path / "evidence", tmp_path / "reports")


def observed(places: Places, to: datetime = AT) -> None:
    """Store the node's minutes to ``to`` as a cycle does."""
    write_policy(places, POLICY)
    History(places.history, EmbeddedNode(SEED)).extend(to, POLICY, timedelta(hours=2), lambda *_: None)


def ended(places: Places, kind: str = "blocked", cycle: str = "c1") -> None:
    """Remember a cycle with a result that ended with that status."""
    with State(places.state) as state:
        state.begin(cycle, AT, AT, forced=False)
        state.finish(cycle, kind, AT + timedelta(seconds=8))
    write_result(places.cycle(cycle), result("blocked"))


def exporter(places: Places, now: datetime = AT + SETTLED) -> Exporter:
    """Return an exporter whose clock stands still."""
    return Exporter(SETTINGS, places, Stopped(now))


def values(source: Exporter) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and the values of its labels, sorted by label."""
    return {
        (s.name, *(v for _, v in sorted(s.labels.items()))): s.value for one in source.collect() for s in one.samples
    }


def by_name(source: Exporter) -> dict[str, Metric]:
    """Return the families by the names of the table."""
    return {f"{m.name}_total" if m.type == "counter" else m.name: m for m in source.collect()}


def stored_sum(places: Places, column: str) -> float:
    """Return the sum of a stored column over all days."""
    history = History(places.history, EmbeddedNode(SEED))
    return float(sum(np.nansum((history.day_columns(day, [column]) or {})[column]) for day in history.days()))


def test_a_new_installation_has_every_counter_at_zero_and_no_gauge(places: Places) -> None:
    """Every known label set of every counter and histogram is there at zero, gauges are not, and nothing is written."""
    found = by_name(exporter(places))
    assert list(found) == [f.name for f in FAMILIES]
    for one in FAMILIES:
        samples = found[one.name].samples
        labels = {tuple(s.labels[name] for name in one.label_names) for s in samples}
        assert labels == (set() if one.type == "gauge" else set(itertools.product(*one.labels.values())))
        assert all(s.value == 0 for s in samples)
    assert not places.data.exists()


def test_histograms_have_the_tables_buckets(places: Places) -> None:
    """Each histogram has its table's bounds and +Inf, a count and a sum, in every label set."""
    found = by_name(exporter(places))
    for one in (f for f in FAMILIES if f.type == "histogram"):
        bounds = {float(s.labels["le"]) for s in found[one.name].samples if s.name.endswith("_bucket")}
        assert bounds == {*one.buckets, math.inf}
        assert {s.name for s in found[one.name].samples} == set(one.samples)


def test_buckets_of_the_service_are_the_nodes_own(places: Places) -> None:
    """The table's bounds are the node's own and its counts exact; only at 2 s they may be those of the bound below."""
    observed(places)
    found = by_name(exporter(places))
    for stream, name in STREAMS_OF.items():
        for bound in family(name).buckets:
            nearest = max(own for own in BOUNDS_S if own <= bound)
            assert nearest == bound or bound == 2
            buckets = [s for s in found[name].samples if "le" in s.labels and float(s.labels["le"]) == bound]
            assert sum(s.value for s in buckets) == stored_sum(places, f"{stream}:le:{nearest:g}")


def test_requests_by_status_add_up(places: Places) -> None:
    """The number of latencies of a status is http_requests_total of that code."""
    observed(places)
    found = by_name(exporter(places))
    totals = {s.labels["code"]: s.value for s in found["http_requests_total"].samples}
    histogram = found["http_request_duration_seconds"].samples
    counts = {s.labels["status_code"]: s.value for s in histogram if s.name.endswith("_count")}
    assert counts == totals and totals["500"] > 0 and totals["200"] > 100_000


def test_sums_are_plausible_and_said_to_be_estimated(places: Places) -> None:
    """A sum lies between what its buckets allow at least and at most, and HELP says that it is an estimate."""
    observed(places)
    for one in by_name(exporter(places)).values():
        if one.type != "histogram" or one.name not in SERVICE:
            continue
        assert "SIMULATED" in one.documentation and "_sum is estimated" in one.documentation
        sets = {tuple(v for k, v in s.labels.items() if k != "le") for s in one.samples}
        for labels in sets:
            mine = [s for s in one.samples if tuple(v for k, v in s.labels.items() if k != "le") == labels]
            bounds = [0.0, *(float(s.labels["le"]) for s in mine if "le" in s.labels)]
            counts = [0.0, *(s.value for s in mine if "le" in s.labels)]
            (total,) = (s.value for s in mine if s.name.endswith("_sum"))
            steps = [high - low for low, high in zip(counts, counts[1:], strict=False)]
            least = sum(low * n for low, n in zip(bounds, steps, strict=False))
            most = sum(high * n for high, n in zip(bounds[1:], steps, strict=True) if n)
            assert least <= total <= most


def test_counters_move_with_the_minutes_and_agree_with_the_next_cycle(places: Places) -> None:
    """Between cycles counters grow by the minute without a write; when the cycle has stored them they are the same."""
    observed(places)
    clock = Stopped(AT)
    live = Exporter(SETTINGS, places, clock)
    files = sorted((p, p.stat().st_mtime_ns) for p in places.data.rglob("*"))
    before = values(live)
    for minutes in range(2, 90, 11):
        clock.at = AT + minutes * MINUTE
        now = values(live)
        assert now.keys() == before.keys()
        assert all(now[key] >= before[key] for key in before)
        assert now[REQUESTS] > before[REQUESTS]
        before = now
    assert files == sorted((p, p.stat().st_mtime_ns) for p in places.data.rglob("*"))
    observed(places, clock.at - SETTLED)
    assert values(live) == before == values(exporter(places, clock.at))


def test_while_a_cycle_runs_no_minute_after_its_instant_is_shown(places: Places) -> None:
    """A cycle may change the policy and so the minutes that follow it: they are shown when it has ended."""
    observed(places)
    with State(places.state) as state:
        state.begin("c1", AT, AT, forced=False)
        held = values(exporter(places, AT + 5 * MINUTE))
        state.finish("c1", "failed", AT + MINUTE)
    before, after = values(exporter(places, AT)), values(exporter(places, AT + 5 * MINUTE))
    assert held[REQUESTS] == before[REQUESTS] < after[REQUESTS]


def test_gauges_are_the_newest_cycles(places: Places) -> None:
    """Score, budgets within 0 and 1, and the table's burn windows are those of the cycle's result."""
    ended(places)
    found, told = values(exporter(places)), result("blocked")
    assert found["ihsan_compliance_score",] == told.ihsan.value
    assert found["node0_last_cycle_timestamp_seconds",] == AT.timestamp()
    assert any(s.budget_left is not None and s.budget_left < 0 for s in told.statuses)
    for status in told.statuses:
        left = found.get(("slo_error_budget_remaining", status.name))
        assert left == (None if status.budget_left is None else min(1.0, max(0.0, status.budget_left)))
        for window in family("slo_burn_rate").labels["window"]:
            named = "1d" if window == "24h" else window
            assert found.get(("slo_burn_rate", status.name, window)) == status.burn.get(named)
    assert not any(key[0] == "slo_burn_rate" and key[2] == "2h" for key in found)


@pytest.mark.parametrize("kind", ["failed", "error", "timeout", "interrupted"])
def test_a_failed_cycle_leaves_its_time_and_no_gauge(places: Places, kind: str) -> None:
    """Gauges of an older cycle are not true now, and a failed one's result was not accepted."""
    ended(places)
    ended(places, kind, "c2")
    names = {key[0] for key in values(exporter(places))}
    assert "node0_last_cycle_timestamp_seconds" in names
    assert not names & {"ihsan_compliance_score", "slo_error_budget_remaining", "slo_burn_rate"}


def test_a_result_that_was_removed_is_no_data(places: Places) -> None:
    """Where somebody has cleared old cycles away there is nothing to tell, and that is no error."""
    ended(places)
    (places.cycle("c1") / "result.json").unlink()
    assert ("ihsan_compliance_score",) not in values(exporter(places))


def test_a_damaged_result_is_named(places: Places) -> None:
    """A result that cannot be parsed is an error that names the cycle's folder and says what to do."""
    ended(places)
    (places.cycle("c1") / "result.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"data/cycles/c1: result\.json: .*"):
        values(exporter(places))


def test_a_history_of_another_seed_is_refused(places: Places) -> None:
    """Counters of one node never go on as those of another."""
    observed(places)
    other = replace(SETTINGS, telemetry=EmbeddedTelemetry(SEED + 1, timedelta(hours=2)))
    with pytest.raises(ConfigError, match="seed"):
        values(Exporter(other, places, Stopped(AT)))


def test_with_real_telemetry_the_service_is_not_exported(places: Places) -> None:
    """Somebody else exports the service's metrics then; node0's own are there."""
    assert list(by_name(Exporter(REAL, places, Stopped(AT)))) == [f.name for f in OWN]


@pytest.mark.parametrize("form", ["openmetrics", "text"])
def test_both_formats_hold_the_same_samples(places: Places, form: str) -> None:
    """Each format parses, OpenMetrics strictly, and says exactly what was collected."""
    observed(places)
    ended(places)
    parse = strict if form == "openmetrics" else plain_text
    text = render(exporter(places), form).decode()  # type: ignore[arg-type]
    parsed = {
        (s.name, *(v for _, v in sorted(s.labels.items()))): s.value for one in parse(text) for s in one.samples
    }
    assert parsed == values(exporter(places))
    assert text.endswith("# EOF\n") == (form == "openmetrics")


def test_families_as_json_are_the_same(places: Places) -> None:
    """The JSON has every family under its name, survives a strict encoder, and an infinite burn is a string."""
    ended(places)
    found = as_json(exporter(places))
    assert [one["name"] for one in found] == [f.name for f in FAMILIES]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    told = {s.name: s.burn.get("1h") for s in result("blocked").statuses}
    shown = {
        s["labels"]["slo_name"]: s["value"]
        for one in found
        if one["name"] == "slo_burn_rate"
        for s in one["samples"]
        if s["labels"]["window"] == "1h"
    }
    finite = {name: burn for name, burn in told.items() if burn is not None}
    assert shown == {name: burn if math.isfinite(burn) else "+Inf" for name, burn in finite.items()}


def test_the_textfile_holds_node0s_own_families(places: Places) -> None:
    """A cycle leaves the text format without times and without the service, for everybody to read."""
    observed(places)
    ended(places)
    order = Order(SETTINGS, places, Stopped(AT), lambda *_: None)
    assert leave(order, "a notice") == "a notice" and leave(order) is None
    file = places.metrics / "node0.prom"
    families = list(plain_text(file.read_text("utf-8")))
    assert {s.name for one in families for s in one.samples} <= {name for f in OWN for name in f.samples}
    assert all(s.timestamp is None for one in families for s in one.samples)
    assert {s.value for one in families for s in one.samples if one.name == "ihsan_compliance_score"}
    assert file.stat().st_mode & 0o444 == 0o444
    assert [p.name for p in places.metrics.iterdir()] == ["node0.prom"]


def test_a_textfile_that_cannot_be_written_is_told(places: Places) -> None:
    """The reason is one line beside whatever else is told, and names no folder outside the installation."""
    ended(places)
    places.metrics.write_text("in the way", "utf-8")
    order = Order(SETTINGS, places, Stopped(AT), lambda *_: None)
    told = leave(order, "the webhook did not answer")
    assert told is not None and told.startswith("the webhook did not answer; the metrics were not written (data")
    assert "\n" not in told and str(places.root) not in told
