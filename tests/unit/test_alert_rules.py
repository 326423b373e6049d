"""node0's dialect: the rules of a catalogue say what the policy says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import promql_parser
import pytest

from node0lib.alerts.event_queries import asked, at_bound, events_of, under
from node0lib.alerts.policy import policy_of
from node0lib.alerts.promrules import Rule, RuleFile, RuleGroup, yaml_of
from node0lib.alerts.rules import BURN_ALERT, INVARIANT_ALERT, alerts_of, rules_of
from node0lib.errors import ConfigError
from node0lib.shell.config import load
from node0lib.slo.catalogue import Alerting, AlertPair, Catalogue
from node0lib.slo.objective import Objective

CONFIG = Path(__file__).parents[2] / "configs" / "node0.yaml"
HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
GOOD = {"good": "sum(increase(ok[$window]))", "total": "sum(increase(asked[$window]))"}
BAD = {"bad": "sum(increase(failed[$window]))", "total": "sum(increase(asked[$window]))"}


def _ratio(**changes: object) -> Objective:
    given: dict[str, object] = {"name": "api", "kind": "ratio", "objective": 0.999, "window": MONTH, "queries": GOOD}
    return Objective(**(given | changes))  # type: ignore[arg-type]


def _latency(buckets: str, threshold: float = 0.05) -> Objective:
    return _ratio(kind="latency", queries={"buckets": buckets}, threshold_s=threshold)


def _rules(*slos: Objective, **options: str) -> RuleFile:
    return rules_of(Catalogue(slos), version="dev", **options).file  # type: ignore[arg-type]


def _by_name(file: RuleFile) -> dict[str, Rule]:
    return {rule.name: rule for rule in file.rules if rule.record}


def _same(left: str, right: str) -> bool:
    return str(promql_parser.parse(left)) == str(promql_parser.parse(right))


def test_every_expression_of_the_catalogue_is_promql() -> None:
    """All rules of the shipped catalogue parse, and every SLO of it has a group that alerts."""
    catalogue = load(CONFIG).catalogue
    emitted = rules_of(catalogue, version="dev")
    for rule in emitted.file.rules:
        promql_parser.parse(rule.expr)
    alerting = {group.name for group in emitted.file.groups if any(rule.alert for rule in group.rules)}
    assert alerting == {f"node0-{slo.name}" for slo in catalogue.slos if slo.queries or slo.kind == "invariant"}


def test_alerts_only_read_what_their_own_group_has_recorded_before() -> None:
    """Every series that an alert compares is recorded earlier in the same group, so both are of one timestamp."""
    for group in rules_of(load(CONFIG).catalogue, version="dev").file.groups:
        seen: set[str] = set()
        for rule in group.rules:
            if rule.alert:
                assert set(re.findall(r"node0:\w+(?::\w+)?", rule.expr)) <= seen
            seen.add(rule.record)


def test_thresholds_are_the_policys_own_float64() -> None:
    """The number in a rule reads back as exactly the number that the replay compares with."""
    policy = policy_of(0.999, Alerting())
    alerts = [rule for rule in _rules(_ratio()).rules if rule.alert == BURN_ALERT]
    for alert, rule in zip(policy.alerts, alerts, strict=True):
        assert {float(number) for number in re.findall(r"> (\S+)", rule.expr)} == {policy.threshold(alert)}


def test_the_pairs_carry_severity_and_windows() -> None:
    """Routes can tell the alerts of an SLO apart by their labels."""
    labels = [rule.labels for rule in _rules(_ratio()).rules if rule.alert]
    assert [(one["severity"], one["long_window"], one["short_window"]) for one in labels] == [
        ("critical", "1h", "5m"),
        ("warning", "6h", "30m"),
        ("info", "1d", "2h"),
        ("info", "3d", "6h"),
    ]
    assert {one["slo"] for one in labels} == {"api"}


def test_a_ratio_of_good_events_is_one_minus_good_of_total() -> None:
    """For good and total the error ratio is 1 - good / total, with the increase that was written."""
    one = events_of(_ratio(), HOUR)
    assert _same(one.ratio, "1 - sum(increase(ok[1h])) / sum(increase(asked[1h]))")
    assert _same(one.bad, "sum(increase(asked[1h])) - sum(increase(ok[1h]))")


def test_a_bad_series_that_is_not_there_counts_as_none() -> None:
    """For bad and total the error ratio is bad / total, and 0 / total before the first error."""
    one = events_of(_ratio(queries=BAD), HOUR)
    bad = "(sum(increase(failed[1h])) or 0 * sum(increase(asked[1h])))"
    assert _same(one.ratio, f"{bad} / sum(increase(asked[1h]))")
    assert _same(one.bad, bad)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum(increase(a[$window]))", "sum(increase(a[1h]))"),
        ("sum by (code) (increase(a[$window]))", "sum(sum by (code) (increase(a[1h])))"),
        ("increase(a[$window])", "sum(increase(a[1h]))"),
        ("sum(increase(a[$window])) - sum(increase(b[$window]))", "(sum(increase(a[1h])) - sum(increase(b[1h])))"),
        ("sum(increase(a[$window])) # of all", "(sum(increase(a[1h])) # of all\n)"),
    ],
)
def test_a_query_is_made_one_series(query: str, expected: str) -> None:
    """Whatever a query is grouped by, one series comes of it; what is one already stays as it was written."""
    assert asked(_ratio(queries={"good": query}), "good", HOUR) == expected


@pytest.mark.parametrize(
    ("buckets", "selector"),
    [
        ("sum by (le) (increase(x_bucket[$window]))", "x_bucket{@}"),
        ("sum by (le) (increase(x_bucket{}[$window]))", "x_bucket{@}"),
        ('sum by (le) (increase(x_bucket{job="a, [b]",} [$window]))', 'x_bucket{job="a, [b]",@}'),
        ('sum by (le) (increase({__name__="x_bucket"}[$window] offset 5m))', '{__name__="x_bucket",@}'),
    ],
)
def test_only_the_wanted_bucket_is_read(buckets: str, selector: str) -> None:
    """The bound goes into the selector as a matcher, whatever matchers are there, and strings are left alone."""
    good, total = under(_latency(buckets), HOUR)
    assert selector.replace("@", 'le=~"0[.]050*|5([.]0+)?[eE]-0*2"') in good
    assert selector.replace("@", 'le="+Inf"') in total


def test_buckets_that_take_no_matcher_are_joined() -> None:
    """Where a selector without a range is summed (a recorded increase, say) the wanted bound is joined by its label."""
    good, _ = under(_latency("sum by (le) (recorded:increase)", 1.0), HOUR)
    assert 'label_replace(vector(1), "le", "1", "", "") or label_replace(vector(1), "le", "1.0", "", "")' in good
    promql_parser.parse(good)


@pytest.mark.parametrize(
    ("bound", "yes", "no"),
    [
        (0.05, ("0.05", "0.050", "5e-2", "5e-02", "5.0E-02"), ("0.5", "0.055", "50", "5e2")),
        (1.0, ("1", "1.0", "1e0", "1e+00"), ("10", "1.5", "11", "+Inf")),
        (2.5, ("2.5", "2.50", "2.5e+00"), ("25", "2", "2.55")),
        (300.0, ("300", "300.0", "3e2", "3e+02"), ("30", "3000", "3")),
    ],
)
def test_a_bound_is_found_however_it_is_written(bound: float, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
    """le is matched as a number: 0.05 is 5e-2, 1 is 1.0, and nothing else is."""
    pattern = re.search(r'le=~"([^"]*)"', at_bound("sum by (le) (increase(x[5m]))", bound))
    assert pattern is not None
    assert all(re.fullmatch(pattern[1], text) for text in yes)
    assert not any(re.fullmatch(pattern[1], text) for text in no)


def test_a_threshold_between_bounds_is_counted_by_the_lower_one() -> None:
    """150 ms lies between 100 and 250 ms of node0's own histogram: the cautious side counts, and that is told."""
    own = "sum by (le) (increase(http_request_duration_seconds_bucket[$window]))"
    good, _ = under(_latency(own, 0.15), HOUR)
    assert 'le=~"0[.]10*|' in good
    (note,) = rules_of(Catalogue((_latency(own, 0.15),)), version="dev").notes
    assert "requests above 0.1 s, the bound below, count as slow" in note
    assert under(_latency(own, 0.0001), HOUR)[0].startswith("0 * sum(")
    assert rules_of(Catalogue((_latency(own, 0.25),)), version="dev").notes == ()


def test_a_native_histogram_is_asked_for_its_fraction() -> None:
    """Buckets without le are one native histogram, whose fraction is taken."""
    good, total = under(_latency("sum(increase(x[$window]))"), HOUR)
    assert "histogram_fraction(-Inf, 0.05, sum(sum(increase(x[1h]))))" in good
    assert total == "histogram_count(sum(sum(increase(x[1h]))))"


def test_a_timeslice_records_its_slices_once_a_slice() -> None:
    """A slice is good if the quantile's share of its requests is under the bound; shares are of the recorded slices."""
    slo = _ratio(
        kind="timeslice",
        objective=0.9,
        window=HOUR,
        queries={"buckets": "sum by (le) (increase(x_bucket[$window]))"},
        threshold_s=0.05,
        quantile=0.95,
    )
    file = _rules(slo)
    good, total = under(slo, slo.slice)
    recorded = _by_name(file)
    assert file.groups[0].interval == timedelta(minutes=1)
    assert _same(recorded["node0:slo_slice_good"].expr, f"({good} >= bool 0.95 * {total}) and {total} > 0")
    assert recorded["node0:slo_error_ratio:1h"].expr == '1 - avg_over_time(node0:slo_slice_good{slo="api"}[1h])'
    (alert,) = [rule for rule in file.rules if rule.alert]
    assert alert.expr.startswith(f'node0:slo_error_ratio:1h{{slo="api"}} > {2.0 * (1.0 - 0.9)!r}')


def test_an_invariant_alerts_while_its_gauge_is_under_the_minimum() -> None:
    """The gauge is recorded and compared; without a query it is node0's own score."""
    slo = _ratio(kind="invariant", objective=1.0, queries={}, minimum=100.0)
    recorded, alert = _rules(slo).groups[0].rules
    assert recorded.expr == "min(ihsan_compliance_score)"
    assert (alert.alert, alert.expr) == (INVARIANT_ALERT, 'node0:slo_gauge{slo="api"} < 100.0')
    assert alerts_of(slo, Catalogue(())) is None


def test_a_short_window_has_no_burn_pairs() -> None:
    """An SLO over less than the alerting period alerts at the budget policy's burn over its look-back."""
    (alert,) = [rule for rule in _rules(_ratio(objective=0.95, window=timedelta(days=1))).rules if rule.alert]
    assert alert.labels["long_window"] == alert.labels["short_window"] == "1h"
    assert f"> {2.0 * (1.0 - 0.95)!r}" in alert.expr


def test_the_budget_is_weighted_by_events_over_the_whole_window() -> None:
    """What is left is 1 - (errors / requests over 30d) / budget, in a group that does not delay the alerts."""
    group = _rules(_ratio()).groups[1]
    recorded = {rule.record: rule.expr for rule in group.rules}
    assert group.interval == timedelta(minutes=2)
    assert _same(recorded["node0:slo_window_error_ratio"], events_of(_ratio(), MONTH).ratio)
    assert recorded["node0:slo_error_budget_remaining"].endswith(f"/ {1.0 - 0.999!r}")
    assert recorded["node0:slo_objective"] == "vector(0.999)"


def test_extra_labels_are_on_every_series() -> None:
    """A label that is asked for is on all recordings and alerts, beside the SLO's name."""
    file = _rules(_ratio(), labels={"team": "a"})  # type: ignore[arg-type]
    assert all(rule.labels["team"] == "a" and rule.labels["slo"] == "api" for rule in file.rules)


def test_what_has_no_rules_is_told() -> None:
    """An SLO without queries is left out with a note; if none is left, that is an error."""
    silent = _ratio(name="silent", queries={})
    emitted = rules_of(Catalogue((_ratio(), silent)), version="dev")
    assert emitted.notes == ("silent: has no queries for a Prometheus, so it has no rules",)
    with pytest.raises(ConfigError, match="no rules come out"):
        _rules(silent)


def test_an_alert_that_can_never_fire_is_told() -> None:
    """At an objective of 90% not even an outage burns 14.4 times the budget."""
    notes = rules_of(Catalogue((_ratio(objective=0.9),)), version="dev").notes
    assert notes == ("api: critical_1h can never fire: 14.4 times its budget is more than everything",)


def test_a_query_that_is_no_promql_is_named() -> None:
    """The error says which SLO's which query is wrong."""
    with pytest.raises(ConfigError, match=r"slos\.api\.queries\.total: is not PromQL"):
        _rules(_ratio(queries={"good": "sum(a)", "total": "sum("}))


def test_without_a_guard_no_bad_events_are_recorded() -> None:
    """min_bad 0 leaves the two comparisons alone."""
    alerting = Alerting(min_bad=0, pairs=(AlertPair("critical", 0.02, HOUR, HOUR / 12),))
    file = rules_of(Catalogue((_ratio(),), alerting=alerting), version="dev").file
    assert not any("bad_events" in rule.name + rule.expr for rule in file.rules)


def test_braces_in_a_description_are_no_template() -> None:
    """A description is text: Prometheus must not run it as a template."""
    (alert, *_) = [rule for rule in _rules(_ratio(description="see {{ .Secret }}")).rules if rule.alert]
    assert "{{ .Secret" not in alert.annotations["description"]
    assert "{{ $value | humanizePercentage }}" in alert.annotations["description"]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"expr": "up"}, "either records or alerts"),
        ({"expr": "up", "record": "a", "alert": "b"}, "either records or alerts"),
        ({"expr": "up", "record": "a-b"}, "no name of a metric"),
        ({"expr": " ", "record": "a"}, "must not be empty"),
        ({"expr": "up", "record": "a", "hold": HOUR}, "only alerts have for"),
        ({"expr": "up", "alert": "a", "labels": {"a-b": "c"}}, "no name of a label"),
    ],
)
def test_rules_that_prometheus_would_refuse_cannot_be_made(given: dict[str, object], what: str) -> None:
    """Each of what Prometheus would not load is one clear error."""
    with pytest.raises(ConfigError, match=what):
        Rule(**given)  # type: ignore[arg-type]


def test_group_names_differ() -> None:
    """Two groups of one name are an error before Prometheus says so."""
    group = RuleGroup("a", (Rule.recording("b", "up"),))
    with pytest.raises(ConfigError, match="the group a is there twice"):
        RuleFile((group, group))


def test_lines_stay_lines() -> None:
    """An expression of several lines is a literal block, a long one is not folded, and nothing is an alias."""
    labels = {"team": "a"}
    long = " + ".join(["up"] * 100)
    rules = (Rule.recording("a", "up\nor\ndown", labels), Rule.recording("b", long, labels))
    text = yaml_of(RuleFile((RuleGroup("g", rules),)))
    assert "expr: |-\n      up\n      or\n      down\n" in text
    assert f"expr: {long}\n" in text
    assert "&" not in text and "*" not in text
