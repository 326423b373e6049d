"""Whatever stands in a file of Sloth's, reading it ends in values or in mistakes."""

from __future__ import annotations

import copy
from typing import Any

import promql_parser
from hypothesis import given
from hypothesis import strategies as st

from node0lib.alerts.event_queries import at_bound
from node0lib.alerts.sloth_rules import go_float, sloth_rules
from node0lib.slo.formats.fields import Mistake, Place
from node0lib.slo.formats.sloth import read_sloth
from node0lib.slo.formats.sloth_windows import google
from node0lib.timespan import parse_duration

SPEC: dict[str, Any] = {
    "version": "prometheus/v1",
    "service": "shop",
    "labels": {"team": "a"},
    "slos": [
        {
            "name": "up",
            "objective": 99.9,
            "sli": {"events": {"error_query": "sum(rate(a[{{.window}}]))", "total_query": "sum(rate(b[{{.window}}]))"}},
            "alerting": {"name": "Down", "page_alert": {"labels": {"a": "b"}}, "ticket_alert": {"disable": True}},
        }
    ],
}
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


def _paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [path, *(p for key in keys for p in _paths(data[key], (*path, key)))]


def _with(path: tuple[Any, ...], value: object) -> object:
    if not path:
        return value
    data = copy.deepcopy(SPEC)
    inside: Any = data
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return data


@given(path=st.sampled_from(_paths(SPEC)), value=_VALUES)
def test_reading_never_raises(path: tuple[Any, ...], value: object) -> None:
    """With anything at all in any place there are mistakes, or rules that parse."""
    mistakes: list[Mistake] = []
    spec = read_sloth(_with(path, value), Place(0), mistakes)
    if spec is not None and not mistakes:
        for rule in sloth_rules(spec, google(parse_duration("30d")), version="dev").rules:
            promql_parser.parse(rule.expr)


@given(st.floats(min_value=1e-9, max_value=1e5))
def test_numbers_read_back_the_same(number: float) -> None:
    """A number in Go's notation is the same float64 for a parser of PromQL."""
    parsed = promql_parser.parse(go_float(number))
    assert isinstance(parsed, promql_parser.NumberLiteral) and parsed.val == number


@given(st.decimals(min_value="0.0001", max_value="10000", places=4))
def test_any_bound_makes_a_query(bound: Any) -> None:
    """For every threshold the bucket's matcher is PromQL."""
    promql_parser.parse(at_bound('sum by (le) (increase(x_bucket{a="b"}[5m]))', float(bound)))
