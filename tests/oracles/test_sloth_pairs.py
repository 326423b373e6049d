"""Sloth's own examples: the same input gives the same rules (tests/data/sloth)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from node0lib.alerts.promrules import yaml_of
from node0lib.alerts.sloth_rules import sloth_rules
from node0lib.errors import ConfigError
from node0lib.shell.yaml_lines import parse
from node0lib.slo.formats.fields import Mistake, Place
from node0lib.slo.formats.sloth import read_sloth
from node0lib.slo.formats.sloth_openslo import is_openslo, read_openslo
from node0lib.slo.formats.sloth_spec import SlothSpec
from node0lib.slo.formats.sloth_windows import AlertWindows, google, read_windows

DATA = Path(__file__).parents[1] / "data" / "sloth"
MONTH, FOUR_WEEKS = timedelta(days=30), timedelta(days=28)
PAIRS = [
    ("in-base", "out-base", MONTH, {}),
    ("in-base", "out-base-28d", FOUR_WEEKS, {}),
    ("in-base", "out-base-extra-labels", MONTH, {"labels": {"exk1": "exv1", "exk2": "exv2"}}),
    ("in-base", "out-base-no-alerts", MONTH, {"alerts": False}),
    ("in-base-k8s", "out-base-k8s", MONTH, {}),
    ("in-openslo", "out-openslo", MONTH, {}),
]


def _read(path: Path, period: timedelta = MONTH) -> tuple[SlothSpec | None, list[Mistake]]:
    mistakes: list[Mistake] = []
    data: Any = parse(path.read_bytes()).data
    if is_openslo(data):
        return read_openslo(data, Place(0), mistakes, period), mistakes
    return read_sloth(data, Place(0), mistakes), mistakes


def _ours(source: str, period: timedelta, options: dict[str, Any]) -> dict[str, Any]:
    spec, mistakes = _read(DATA / f"{source}.yaml", period)
    assert spec is not None and mistakes == []
    return yaml.safe_load(yaml_of(sloth_rules(spec, google(period), version="vX", **options)))


def _groups(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document.get("spec", document)["groups"]


def _numbers(expr: str) -> list[float]:
    found: list[float] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.NumberLiteral):
            found.append(node.val)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


@pytest.mark.parametrize(("source", "expected", "period", "options"), PAIRS, ids=[pair[1] for pair in PAIRS])
def test_the_rules_are_sloths(source: str, expected: str, period: timedelta, options: dict[str, Any]) -> None:
    """Groups, rules, labels, annotations and expressions are equal to what Sloth 0.16 wrote, to the character."""
    theirs = yaml.safe_load((DATA / f"{expected}.yaml").read_text("utf-8"))
    assert _ours(source, period, options) == theirs


@pytest.mark.parametrize(("source", "expected", "period", "options"), PAIRS, ids=[pair[1] for pair in PAIRS])
def test_expressions_parse_to_the_same_tree(
    source: str, expected: str, period: timedelta, options: dict[str, Any]
) -> None:
    """Every expression is PromQL, the same as Sloth's in canonical form, with thresholds within 1e-12."""
    theirs = yaml.safe_load((DATA / f"{expected}.yaml").read_text("utf-8"))
    exprs = [
        [rule["expr"] for group in _groups(document) for rule in group["rules"]]
        for document in (_ours(source, period, options), theirs)
    ]
    for ours, reference in zip(*exprs, strict=True):
        assert str(promql_parser.parse(ours)) == str(promql_parser.parse(reference))
        assert _numbers(ours) == pytest.approx(_numbers(reference), rel=0, abs=1e-12)


def test_without_recordings_only_alerts_are_left() -> None:
    """With recordings switched off the one SLO that has alerts has its alerts, and the other has no group."""
    (group,) = _groups(_ours("in-base", MONTH, {"recordings": False}))
    reference = yaml.safe_load((DATA / "out-base.yaml").read_text("utf-8"))
    assert group == next(g for g in reference["groups"] if g["name"] == "sloth-slo-alerts-svc01-slo1")


def test_without_both_there_is_nothing_to_write() -> None:
    """A file without a rule is an error, as in Sloth: it would hide a mistake."""
    with pytest.raises(ConfigError, match="no rules come out"):
        _ours("in-base", MONTH, {"recordings": False, "alerts": False})


@pytest.mark.parametrize("path", sorted((DATA / "validate" / "good").iterdir()), ids=lambda p: p.stem)
def test_what_sloth_calls_good_is_accepted(path: Path) -> None:
    """Every file that Sloth's validation accepts is read without a mistake and gives rules."""
    spec, mistakes = _read(path)
    assert spec is not None and mistakes == []
    assert sloth_rules(spec, google(MONTH), version="vX").rules


@pytest.mark.parametrize(
    ("name", "where", "what"),
    [
        ("bad-aa", ("slos", 1, "objective"), "101 must lie strictly between 0 and 100"),
        ("bad-k8s", ("spec", "service"), "is empty"),
        ("bad-openslo", ("spec", "timeWindows", 0, "count"), "ask for a period of 28d"),
    ],
)
def test_what_sloth_calls_bad_is_refused(name: str, where: tuple[str | int, ...], what: str) -> None:
    """Every file that Sloth's validation refuses is refused at the one place that is wrong."""
    _, mistakes = _read(DATA / "validate" / "bad" / f"{name}.yaml")
    assert [mistake.place.path for mistake in mistakes] == [where]
    assert what in mistakes[0].text


@pytest.mark.parametrize("period", [MONTH, FOUR_WEEKS], ids=["30d", "28d"])
def test_the_windows_are_sloths(period: timedelta) -> None:
    """The built-in windows are those of Sloth's own files."""
    data = parse((DATA / f"google-{period.days}d.yaml").read_bytes()).data
    assert _windows(data) == google(period)


def test_windows_of_ones_own() -> None:
    """Windows from a file are used as they are, with the factors that Sloth derives from them for a week."""
    parts = {
        "page": {"quick": _part(8, "5m", "1h"), "slow": _part(12.5, "30m", "6h")},
        "ticket": {"quick": _part(20, "2h", "24h"), "slow": _part(42, "6h", "72h")},
    }
    document = {"apiVersion": "sloth.slok.dev/v1", "kind": "AlertWindows", "spec": {"sloPeriod": "168h", **parts}}
    windows = _windows(document)
    assert [windows.factor(w) for w in (*windows.page, *windows.ticket)] == [13.44, 3.5, 1.4000000000000001, 0.98]


def _part(percent: float, short: str, long: str) -> dict[str, object]:
    return {"errorBudgetPercent": percent, "shortWindow": short, "longWindow": long}


def _windows(data: object) -> AlertWindows:
    mistakes: list[Mistake] = []
    found = read_windows(data, Place(0), mistakes)
    assert found is not None and mistakes == []
    return found
