"""The Grafana dashboard: every expression is PromQL over metrics that exist, and every panel can be read."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import promql_parser
import pytest
from click.testing import CliRunner, Result
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from node0lib.alerts.dashboard import Source, dashboard, dashboard_text, uid_of, unfolded
from node0lib.alerts.metrics import FAMILIES
from node0lib.alerts.sli_queries import metric_names, sli_of
from node0lib.errors import ConfigError
from node0lib.shell.cli.dashboard import dashboard as command
from node0lib.shell.cli.frame import Verbs
from node0lib.shell.config import load
from node0lib.slo.catalogue import (
    Alerting,
    AlertPair,
    BudgetPolicy,
    Catalogue,
    Composite,
    DoraTargets,
    GateRules,
)
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar

CONFIG = Path(__file__).parents[2] / "configs" / "node0.yaml"
MONTH, HOUR = timedelta(days=30), timedelta(hours=1)
BUCKETS = "sum by (le) (increase(latency_seconds_bucket[$window]))"
EXPORTED = frozenset(sample for family in FAMILIES for sample in family.samples)


def as_grafana(expr: str) -> str:
    """What Grafana sends to Prometheus: its variables filled in."""
    return expr.replace("$__rate_interval", "1m15s").replace("$job", ".*")


def service(n: int, **changes: object) -> Objective:
    """The n-th of a team's services."""
    queries = {"good": f"sum(increase(ok_{n}_total[$window]))", "total": f"sum(increase(all_{n}_total[$window]))"}
    return replace(Objective(f"service_{n}", "ratio", 0.999, MONTH, queries=queries), **changes)


def of_kinds() -> tuple[Objective, ...]:
    """An SLO of every kind, with every kind of query."""
    slices = Objective("slices", "timeslice", 0.9, HOUR, queries={"buckets": BUCKETS}, threshold_s=0.2, quantile=0.95)
    errors = {"bad": 'increase(jobs_total{code="500"}[$window])', "total": "increase(jobs_total[$window])  # all"}
    return (
        service(1),
        Objective("errors", "ratio", 0.99, MONTH, queries=errors),
        Objective("latency", "latency", 0.99, MONTH, queries={"buckets": BUCKETS}, threshold_s=1.0),
        Objective("native", "latency", 0.99, MONTH, queries={"buckets": "increase(rpc[$window])"}, threshold_s=0.3),
        slices,
        replace(slices, name="commented", queries={"buckets": f"{BUCKETS} # per le"}),
        Objective("gauge", "invariant", 1.0, HOUR, queries={"gauge": "min(alive)"}, minimum=1.0),
        Objective("score", "invariant", 1.0, HOUR, minimum=100.0),
        Objective('said "so"', "ratio", 0.95, timedelta(days=1), stream="api"),
        replace(service(2), calendar=Calendar("month", "Europe/Berlin")),
    )


CATALOGUES = {
    "default": load(CONFIG).catalogue,
    "none": Catalogue(()),
    "one": Catalogue((service(0),)),
    "kinds": Catalogue(of_kinds(), composites=(Composite("shop", {"service_1": 3.0, "errors": 1.0}),)),
    "forty": Catalogue(tuple(service(n) for n in range(40))),
}
each_catalogue = pytest.mark.parametrize("catalogue", CATALOGUES.values(), ids=CATALOGUES.keys())


def panels(catalogue: Catalogue, **options: object) -> dict[str, dict]:
    """The panels by title, rows left out."""
    found = [panel for panel in unfolded(dashboard(catalogue, **options)) if panel["type"] != "row"]
    return {panel["title"]: panel for panel in found}


def expressions(catalogue: Catalogue) -> list[str]:
    return [target["expr"] for panel in panels(catalogue).values() for target in panel["targets"]]


def steps(panel: dict) -> list[tuple[float | None, str]]:
    return [(step["value"], step["color"]) for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def unknown_metrics(catalogue: Catalogue) -> set[str]:
    """Metrics that the dashboard names, and neither node0 exports nor the catalogue asks for."""
    asked = {query.replace("$window", "5m") for slo in catalogue.slos for query in slo.queries.values()}
    known = EXPORTED.union(*map(metric_names, asked))
    return set().union(*(metric_names(as_grafana(expr)) for expr in expressions(catalogue))) - known


@each_catalogue
def test_expressions_are_promql_over_metrics_that_exist(catalogue: Catalogue) -> None:
    """Every expression parses, with Grafana's variables filled in, and names only exported or catalogued metrics."""
    for expr in expressions(catalogue):
        promql_parser.parse(as_grafana(expr))
        assert "$" not in as_grafana(expr)
    assert unknown_metrics(catalogue) == set()
    for variable in dashboard(catalogue)["templating"]["list"]:
        named = re.match(r"label_values\((\w+), ", variable["query"])
        assert variable["query"] == "prometheus" or (named and named[1] in EXPORTED)


def test_the_metric_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above finds a metric that nobody exports, also where it is selected by __name__."""
    monkeypatch.setattr("test_dashboard.EXPORTED", EXPORTED - {"slo_burn_rate"})
    assert unknown_metrics(CATALOGUES["default"]) == {"slo_burn_rate"}
    assert metric_names('sum(rate({__name__="a"}[5m])) / max_over_time((b offset 1h)[2h:1m])') == {"a", "b"}


@each_catalogue
def test_the_sdk_reads_what_it_wrote(catalogue: Catalogue) -> None:
    """Grafana's own model of a dashboard reads the file and says the same again: nothing in it is unknown to it."""
    register_default_plugins()
    text = dashboard_text(dashboard(catalogue))
    again = json.dumps(Dashboard.from_json(json.loads(text)), cls=JSONEncoder)
    assert dashboard_text(json.loads(again)) == text
    assert text.isascii() and text.endswith("}\n")


@each_catalogue
def test_panels_stand_apart_on_24_columns(catalogue: Catalogue) -> None:
    """No two panels overlap, folded rows unfolded, and none sticks out of the 24 columns."""
    places = [panel["gridPos"] for panel in unfolded(dashboard(catalogue))]
    for place in places:
        assert place["w"] > 0 and place["h"] > 0 and place["x"] >= 0 and place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@each_catalogue
def test_every_panel_can_be_read(catalogue: Catalogue) -> None:
    """Every panel says what it shows, has a unit and coloured thresholds, asks the variable's source, links nowhere."""
    board = dashboard(catalogue)
    assert board["links"] == [] and "$" not in board["title"]
    found = panels(catalogue)
    assert len(found) == 12 + len(catalogue.slos) + len(catalogue.composites)
    for panel in found.values():
        assert len(panel["description"].split()) > 15 and panel["description"][-1] == "."
        assert panel["fieldConfig"]["defaults"]["unit"] and not panel.get("links")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert steps(panel)[0][0] is None and all(color for _, color in steps(panel))
        values = [value for value, _ in steps(panel)[1:]]
        assert values == sorted(set(values))
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == list("ABC"[: len(refs)]) and all(target["legendFormat"] for target in panel["targets"])


def test_equal_catalogues_give_equal_bytes() -> None:
    """The text depends on nothing but the arguments."""
    one, other = (dashboard_text(dashboard(load(CONFIG).catalogue)) for _ in range(2))
    assert one == other


def test_ids_stay_when_the_catalogue_changes() -> None:
    """Ids differ from each other and are the same after an SLO was added before and an objective was changed."""
    ids = [panel["id"] for panel in unfolded(dashboard(CATALOGUES["forty"]))]
    assert len(ids) == len(set(ids)) and all(0 < i <= 2**30 for i in ids)
    before = dashboard(Catalogue((service(1), service(2))))
    after = dashboard(Catalogue((service(0), service(1, objective=0.99), service(2))))
    assert {panel["id"] for panel in unfolded(before)} < {panel["id"] for panel in unfolded(after)}
    assert before["uid"] == after["uid"] == uid_of(after["title"])


def test_the_uid_follows_from_the_title() -> None:
    """Another title is another dashboard; a uid is short enough for Grafana whatever the title."""
    uids = {uid_of(title) for title in ("node0", "node1", "Dienstgüte " * 100)}
    assert len(uids) == 3 and all(re.fullmatch(r"[a-z0-9-]{8,40}", uid) for uid in uids)


def test_each_slo_is_shown_against_its_objective() -> None:
    """Ten SLOs, ten panels: the unit is a share, and the dashed threshold is exactly the objective."""
    catalogue = CATALOGUES["default"]
    found = {title.split(":")[0]: panel for title, panel in panels(catalogue).items()}
    assert len(catalogue.slos) == 10
    for slo in catalogue.slos:
        panel = found[slo.name]
        defaults = panel["fieldConfig"]["defaults"]
        bound, unit = (slo.minimum, "none") if slo.kind == "invariant" else (slo.objective, "percentunit")
        assert steps(panel) == [(None, "red"), (bound, "green")] and defaults["unit"] == unit
        assert defaults["custom"]["thresholdsStyle"] == {"mode": "dashed"}
        assert defaults["custom"]["axisSoftMin"] < bound <= defaults["custom"]["axisSoftMax"]
        assert slo.description in panel["description"]


def test_a_timeslice_shows_its_latency_beside_it() -> None:
    """The quantile has an axis of its own, in seconds, with the threshold of the objective."""
    panel = panels(CATALOGUES["default"])["api_latency_p95: 90% over 1h"]
    assert [target["legendFormat"] for target in panel["targets"]] == ["SLI", "p95"]
    (override,) = panel["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byName", "options": "p95"}
    values = {item["id"]: item["value"] for item in override["properties"]}
    assert values["unit"] == "s" and values["custom.axisPlacement"] == "right"
    assert values["thresholds"]["steps"][1] == {"value": 0.05, "color": "red"}


def test_an_estimate_is_called_one() -> None:
    """A threshold between two bucket bounds of a known histogram is told; one at a bound is not."""
    found = panels(CATALOGUES["default"])
    assert "between the bucket bounds 0.1 and 0.25 s" in found["api_latency_p99: 99% over 1h"]["description"]
    assert "estimate" not in found["api_latency_p95: 90% over 1h"]["description"]


def test_a_calendar_window_is_told_from_a_rolling_one() -> None:
    """PromQL has no calendar: the panel of a calendar month says that its line rolls."""
    panel = panels(CATALOGUES["kinds"])["service_2: 99.9% over a calendar month"]
    assert "about the calendar month so far, while this line looks back 30d at each" in panel["description"]


def test_maintenance_in_the_line_is_told() -> None:
    """Announced maintenance is left out of the budget and not of the line: the panels that it concerns say so."""
    start = datetime(2026, 11, 24, tzinfo=UTC)
    move = Maintenance(start, start + HOUR, "move", ("service_1",))
    found = panels(Catalogue((service(1), service(2)), maintenance=(move,)))
    told = [title for title, panel in found.items() if "maintenance counts in this line" in panel["description"]]
    assert told == ["service_1: 99.9% over 30d"]


def test_a_composite_is_the_weighted_mean_of_its_burn_rates() -> None:
    """One panel per composite, over the three windows, with weights that sum to 1."""
    panel = panels(CATALOGUES["kinds"])["shop: burn rate of 2 SLOs"]
    assert [target["legendFormat"] for target in panel["targets"]] == ["1h", "6h", "24h"]
    assert panel["targets"][0]["expr"] == (
        '0.75 * max(slo_burn_rate{slo_name="service_1",window="1h",job=~"$job"})'
        ' + 0.25 * max(slo_burn_rate{slo_name="errors",window="1h",job=~"$job"})'
    )


def test_an_slo_without_queries_is_shown_by_its_exported_burn_rate() -> None:
    """The SLI is 1 - budget x burn over the longest exported window that lies within the SLO's."""
    (slo,) = (slo for slo in of_kinds() if slo.name == 'said "so"')
    expected = f'1 - {slo.budget!r} * max(slo_burn_rate{{slo_name="said \\"so\\"",window="24h",job=~"$job"}})'
    assert sli_of(slo).expr == expected


@pytest.mark.parametrize(
    ("queries", "where"),
    [
        ({"good": "sum(", "total": "sum(b)"}, "slos.shop.queries.good: is not PromQL"),
        ({"good": "sum(increase(a[$window]))"}, "slos.shop: a ratio objective needs queries.total"),
        ({"bad": "a b", "total": "sum(b)"}, "slos.shop.queries.bad: is not PromQL"),
    ],
)
def test_a_query_that_is_no_promql_is_named(queries: dict[str, str], where: str) -> None:
    """A dashboard is not made of a query that Prometheus would refuse: the error says which one."""
    with pytest.raises(ConfigError, match=re.escape(where)):
        dashboard(Catalogue((Objective("shop", "ratio", 0.9, HOUR, queries=queries),)))
    broken = Objective("shop", "timeslice", 0.9, HOUR, queries={"buckets": "x y"}, threshold_s=1.0, quantile=0.9)
    with pytest.raises(ConfigError, match="slos.shop.queries.buckets: is not PromQL"):
        dashboard(Catalogue((broken,)))


def test_budgets_and_score_have_the_catalogues_thresholds() -> None:
    """Gauges: 0 to 1 with the budget policy's limits, and the ihsan score 0 to 100 with its threshold at 95."""
    found = panels(CATALOGUES["default"])
    budget, score = found["Error budget left"], found["Ihsan score"]
    assert budget["type"] == score["type"] == "gauge"
    assert steps(budget) == [(None, "red"), (0.25, "orange"), (0.5, "green")]
    assert steps(score) == [(None, "red"), (95.0, "green")]
    limits = [(p["fieldConfig"]["defaults"]["min"], p["fieldConfig"]["defaults"]["max"]) for p in (budget, score)]
    assert limits == [(0, 1), (0, 100)]
    other = Catalogue((), budget_policy=BudgetPolicy(2.0, 0.1, 0.3), gates=GateRules(ihsan_at_least=90.0))
    assert steps(panels(other)["Error budget left"])[1:] == [(0.1, "orange"), (0.3, "green")]
    assert steps(panels(other)["Ihsan score"])[1:] == [(90.0, "green")]


def test_burn_rates_have_the_alerts_thresholds() -> None:
    """1h, 6h and 24h are windows that node0 exports; their thresholds are the factors of the alerts over them."""
    found = panels(CATALOGUES["default"])
    windows = next(family for family in FAMILIES if family.name == "slo_burn_rate").labels["window"]
    for called, window, factor, color in (
        ("1h", "1h", 14.4, "red"),
        ("6h", "6h", 6.0, "orange"),
        ("24h", "24h", 3.0, "blue"),
    ):
        panel = found[f"Burn rate over {called}"]
        assert window in windows and f'window="{window}"' in panel["targets"][0]["expr"]
        assert steps(panel) == [(None, "green"), (1.0, "yellow"), (pytest.approx(factor), color)]


def test_of_two_alerts_at_one_factor_the_severe_one_colours_it() -> None:
    """Info and critical over the same hour at the same factor: the line is red, and thresholds stay in order."""
    pairs = tuple(AlertPair(severity, 0.02, HOUR, HOUR / 12) for severity in ("critical", "info"))
    slow = AlertPair("warning", 0.001, HOUR, HOUR / 12)
    found = panels(Catalogue((), alerting=Alerting(pairs=(*pairs, slow))))
    assert [color for _, color in steps(found["Burn rate over 1h"])] == ["green", "orange", "yellow", "red"]


def test_delivery_is_measured_against_its_targets() -> None:
    """DORA's five, each over 7 and 30 days, with the catalogue's targets as thresholds."""
    found = panels(Catalogue((), dora=DoraTargets(3.0, HOUR, 0.1, timedelta(minutes=10))))
    targets = {
        "Deployment frequency": 3.0,
        "Lead time for changes": 3600.0,
        "Change fail rate": 0.1,
        "Failed deployment recovery time": 600.0,
        "Deployment rework rate": None,
    }
    for title, target in targets.items():
        assert [value for value, _ in steps(found[title])[1:]] == ([target] if target else [])
        exprs = [query["expr"] for query in found[title]["targets"]]
        assert "[7d]" in exprs[0] and all("[30d]" in expr for expr in exprs[1:])


def test_the_cycle_histogram_is_drawn_from_its_buckets() -> None:
    """A heatmap of the buckets as they are, a column an hour, and p50 and p95 beside it."""
    found = panels(CATALOGUES["default"])
    drawn = found["Cycle durations"]
    assert drawn["type"] == "heatmap" and drawn["targets"][0]["format"] == "heatmap" and drawn["interval"] == "1h"
    assert drawn["options"]["calculate"] is False and drawn["options"]["yAxis"]["unit"] == "s"
    assert "sum by (le)" in drawn["targets"][0]["expr"]
    assert [q["legendFormat"] for q in found["Cycle duration, p50 and p95"]["targets"]] == ["p50", "p95"]


def test_rows_fold_what_is_not_for_the_one_on_call() -> None:
    """Delivery and cycles are folded, and so are more than twelve service levels."""
    folded = {
        name: [row["title"] for row in dashboard(catalogue)["panels"] if row.get("collapsed")]
        for name, catalogue in CATALOGUES.items()
    }
    assert folded["default"] == folded["one"] == ["Delivery", "Cycles"]
    assert folded["forty"] == ["Service levels", "Delivery", "Cycles"]


def test_the_data_source_can_be_named() -> None:
    """A uid is what the variable begins with; $name is what it is called."""
    chosen = dashboard(CATALOGUES["one"], source=Source.of("P1809F7CD0C75ACF3"))["templating"]["list"][0]
    assert chosen["current"]["value"] == "P1809F7CD0C75ACF3" and chosen["query"] == "prometheus"
    board = dashboard(CATALOGUES["one"], source=Source.of("$metrics"))
    assert board["templating"]["list"][0]["name"] == "metrics"
    assert {p["datasource"]["uid"] for p in unfolded(board) if p["type"] != "row"} == {"${metrics}"}


@pytest.mark.parametrize("text", ["", "two words", "$", "${a", "x" * 41, "$job"])
def test_a_data_source_that_is_none_is_refused(text: str) -> None:
    """Neither a uid nor a variable's name, or the name of the other variable: the error says what to write."""
    with pytest.raises(ConfigError, match="write its uid"):
        Source.of(text)


@pytest.mark.parametrize("refresh", ["", "1", "1h30m", "4s", "0s", "1w", "m"])
def test_a_refresh_that_grafana_does_not_know_is_refused(refresh: str) -> None:
    """One number and one unit, five seconds at least."""
    with pytest.raises(ConfigError, match="write one number and unit"):
        dashboard(CATALOGUES["one"], refresh=refresh)


def test_refresh_can_be_switched_off_and_a_title_is_needed() -> None:
    """None never reloads; a title of blanks is refused."""
    assert dashboard(CATALOGUES["one"], refresh=None)["refresh"] == ""
    assert dashboard(CATALOGUES["one"], refresh="30s")["refresh"] == "30s"
    with pytest.raises(ConfigError, match="title"):
        dashboard(CATALOGUES["one"], title="  ")


def run(*words: str) -> Result:
    program = Verbs(commands={"dashboard": command})
    return CliRunner().invoke(program, ["dashboard", "--config", str(CONFIG), *words])


def test_the_command_prints_the_dashboard() -> None:
    """Standard output is the JSON and nothing else, with either --output, and equal to what the library makes."""
    text = dashboard_text(dashboard(CATALOGUES["default"]))
    for words in ((), ("--output", "json"), ("--output", "text")):
        ran = run(*words)
        assert ran.exit_code == 0 and ran.stdout == text and ran.stderr == ""


def test_the_command_writes_a_file_whole(tmp_path: Path) -> None:
    """--out replaces the file by the same bytes, leaves nothing else behind, and tells what was written."""
    out = tmp_path / "boards" / "slo.json"
    ran = run("--out", str(out), "--output", "json", "--title", "Ours", "--refresh", "off", "--datasource", "$prom")
    told = json.loads(ran.stdout)
    board = dashboard(CATALOGUES["default"], title="Ours", source=Source("prom"), refresh=None)
    assert out.read_bytes() == dashboard_text(board).encode() and list(out.parent.iterdir()) == [out]
    assert told == {"file": str(out), "uid": board["uid"], "title": "Ours", "panels": 22}
    again = run("--out", str(out))
    assert again.exit_code == 0 and again.stdout.startswith(f"wrote {out}") and "22 panels" in again.stdout


@pytest.mark.parametrize(
    "words", [("--refresh", "soon"), ("--datasource", "no such"), ("--title", ""), ("--config", "no/such.yaml")]
)
def test_the_command_says_what_is_wrong(words: tuple[str, ...]) -> None:
    """What the user wrote wrong ends with exit code 2 and one message, and writes nothing."""
    ran = run(*words, "--output", "json")
    assert ran.exit_code == 2 and json.loads(ran.stdout)["exit_code"] == 2 and ran.stderr.startswith("error: ")
