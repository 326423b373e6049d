"""node0's objectives go out as OpenSLO, and come back as they were."""

from datetime import timedelta

import pytest

from node0lib.shell.spec_files import Content, read_specs
from node0lib.shell.yaml_lines import dump_all
from node0lib.slo.formats.openslo_export import export_slo
from node0lib.slo.formats.promql import canonical
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar

DAY = timedelta(days=1)
BUCKETS = 'sum by (le) (increase(http_seconds_bucket{job="a"}[$window]))'
GOOD, TOTAL = 'sum(increase(n{code!~"5.."}[$window]))', "sum(increase(n[$window]))"
MONTH = Calendar("month", "Europe/Berlin")
COMES_BACK = {
    "good": Objective("shop", "ratio", 0.999, 30 * DAY, "It is up: 99%.", queries={"good": GOOD, "total": TOTAL}),
    "bad": Objective("a_b__c1", "ratio", 0.5, timedelta(hours=1), queries={"bad": GOOD, "total": TOTAL}),
    "gauge": Objective(
        "probe",
        "ratio",
        0.99,
        7 * DAY,
        queries={"good": "sum(sum_over_time(up[$window]))", "total": "sum(count_over_time(up[$window]))"},
    ),
    "latency": Objective("fast", "latency", 0.95, 28 * DAY, threshold_s=0.05, queries={"buckets": BUCKETS}),
    "whole bound": Objective("slow", "latency", 0.95, 28 * DAY, threshold_s=2.0, queries={"buckets": BUCKETS}),
    "timeslice": Objective(
        "p95",
        "timeslice",
        0.9,
        timedelta(minutes=90),
        queries={"buckets": BUCKETS},
        threshold_s=0.05,
        quantile=0.95,
        slice=timedelta(minutes=5),
    ),
    "native timeslice": Objective(
        "native",
        "timeslice",
        0.9,
        DAY,
        queries={"buckets": "sum(increase(http_seconds[$window]))"},
        threshold_s=0.3,
        quantile=0.99,
    ),
    "month": Objective(
        "monthly", "ratio", 0.999, MONTH.nominal, queries={"good": GOOD, "total": TOTAL}, calendar=MONTH
    ),
    "week": Objective(
        "weekly", "ratio", 0.999, 7 * DAY, queries={"good": GOOD, "total": TOTAL}, calendar=Calendar("week")
    ),
}


@pytest.mark.parametrize("slo", COMES_BACK.values(), ids=COMES_BACK)
def test_what_is_exported_comes_back(slo: Objective) -> None:
    """Objective, window, slices, threshold and queries are the same after a way out and in."""
    exported = export_slo(slo, "web")
    assert exported.document is not None and exported.left == ()
    text = dump_all([exported.document])
    (back,) = read_specs([Content("out.yml", text.encode())]).objectives
    assert {**vars(back), "queries": None} == {**vars(slo), "queries": None}
    assert {role: canonical(query) for role, query in back.queries.items()} == {
        role: canonical(query) for role, query in slo.queries.items()
    }


def test_counters_are_written_as_openslo_does() -> None:
    """A sum of increases goes out as the counters themselves, with counter: true and no range."""
    exported = export_slo(COMES_BACK["good"], "web")
    assert exported.document is not None
    ratio = exported.document["spec"]["indicator"]["spec"]["ratioMetric"]
    assert ratio["counter"] is True
    assert ratio["good"]["metricSource"] == {"type": "Prometheus", "spec": {"query": 'sum(n{code!~"5.."})'}}


@pytest.mark.parametrize(
    ("slo", "reason"),
    [
        (Objective("score", "invariant", 1, DAY, minimum=100.0), "no objective without a budget"),
        (Objective("shop", "ratio", 0.9, DAY, stream="api"), "has no queries"),
        (
            Objective("h", "latency", 0.9, DAY, threshold_s=1.0, queries={"buckets": "sum(increase(h[$window]))"}),
            "no plain sum by (le)",
        ),
        (
            Objective("short", "ratio", 0.9, timedelta(seconds=90), queries={"good": GOOD, "total": TOTAL}),
            "whole minutes",
        ),
        (Objective("odd", "ratio", 0.9, DAY, queries={"good": "sum(", "total": TOTAL}), "is not PromQL"),
    ],
)
def test_what_openslo_cannot_say_is_not_exported(slo: Objective, reason: str) -> None:
    """An objective without a word in OpenSLO is told with the reason instead of being bent."""
    exported = export_slo(slo, "web")
    assert exported.document is None and reason in exported.left[0]


def test_what_is_left_out_of_an_exported_slo_is_told() -> None:
    """A cut description, a name that OpenSLO cannot have and the embedded node's stream are told."""
    slo = Objective("shop_", "ratio", 0.9, DAY, "x" * 1051, "api", {"good": GOOD, "total": TOTAL})
    exported = export_slo(slo, "web")
    assert exported.document is not None and exported.document["metadata"]["name"] == "shop"
    assert [text.split(":")[0] for text in exported.left] == ["description", "stream api", "name shop_"]
