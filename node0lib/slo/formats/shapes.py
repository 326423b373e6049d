"""What queries really say, seen in their trees: a share of one histogram, its quantile, a quotient of two counts.

A good query that counts one bucket of a histogram, and a total that counts all of the same histogram, say "the share
of requests at or under the bound". node0 keeps that as ``buckets`` with a threshold, so that the bound is found by its
number: ``le="1"`` and ``le="1.0"`` are different labels before Prometheus 3, and one of them answers nothing.

Only histograms in seconds (``…_seconds_bucket``), and bounds of whole milliseconds, are read so: node0's thresholds are
durations.

>>> latency_of('sum(increase(http_seconds_bucket{le="0.05"}[$window]))', "sum(increase(http_seconds_count[$window]))")
Latency(buckets='sum by (le) (increase(http_seconds_bucket[$window]))', threshold_s=0.05)
>>> parts("sum by (le) (increase(http_seconds_bucket[$window]))", 0.05)[0]
'sum(increase(http_seconds_bucket{le="0.05"}[$window]))'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import promql_parser as promql

from node0lib.slo.formats.promql import canonical, counted, parsed, plain_of, single, written

_BUCKET = "_seconds_bucket"
_INFINITE = "+Inf"


@dataclass(frozen=True)
class Latency:
    """The query of a histogram's buckets, and the bound in seconds."""

    buckets: str
    threshold_s: float


@dataclass(frozen=True)
class _Counted:
    """A counter that a query sums: its metric, its matchers but for ``le``, sorted, and what ``le`` may be."""

    metric: str
    matchers: tuple[str, ...]
    le: tuple[str, ...]


def latency_of(good: str, total: str) -> Latency | None:
    """Return the latency objective that two queries are, with ``$window`` in them; None if they are none."""
    part, whole = _counted(parsed(good)), _counted(parsed(total))
    if part is None or whole is None or not part.metric.endswith(_BUCKET) or part.matchers != whole.matchers:
        return None
    count = part.metric.removesuffix("_bucket") + "_count"
    all_of_it = (whole.metric, whole.le) in {(part.metric, (_INFINITE,)), (count, ())}
    threshold = _seconds(part.le)
    if not all_of_it or threshold is None:
        return None
    inside = f"{{{','.join(part.matchers)}}}" if part.matchers else ""
    return Latency(f"sum by (le) (increase({part.metric}{inside}[$window]))", threshold)


def parts(buckets: str, threshold_s: float) -> tuple[str, str] | None:
    """Return good and total of a query of buckets, the inverse of ``latency_of``; None if it is no plain sum."""
    node = parsed(buckets)
    by_le = isinstance(node, promql.AggregateExpr) and node.modifier is not None and node.modifier.labels == ["le"]
    counter = _counted(node) if by_le else None
    if counter is None or counter.le or not counter.metric.endswith("_bucket"):
        return None

    def of(le: str) -> str:
        return f"sum(increase({counter.metric}{{{','.join((*counter.matchers, le))}}}[$window]))"

    good, total = of(_bound(threshold_s)), of(f'le="{_INFINITE}"')
    again = latency_of(good, total)
    same = again is not None and again.threshold_s == threshold_s and canonical(again.buckets) == canonical(buckets)
    return (good, total) if same else None


def quantile_of(query: str) -> tuple[float, str] | None:
    """Return quantile and buckets of a ``histogram_quantile`` over the window; None if the query is none.

    Raises ConfigError or InexpressibleError as ``counted`` does.

    >>> quantile_of("histogram_quantile(0.95, sum by (le) (rate(http_seconds_bucket[$window])))")
    (0.95, 'sum by (le) (increase(http_seconds_bucket[$window]))')
    """
    node = parsed(plain_of(query))
    if not isinstance(node, promql.Call) or node.func.name != "histogram_quantile":
        return None
    quantile, inside = node.args
    if not isinstance(quantile, promql.NumberLiteral) or not 0 < quantile.val < 1:
        return None
    if not isinstance(inside, promql.AggregateExpr) or str(inside.op) != "sum":
        return None
    by = inside.modifier.labels if inside.modifier else []
    return (quantile.val, counted(written(inside), series=True)) if by in ([], ["le"]) else None


def quotient_of(query: str) -> tuple[str, str, str] | None:
    """Return role, count and total of a ratio of events: ("bad", …) for bad / total, ("good", …) for 1 - good / total.

    Each count is one series, so that the quotient needs no matching of labels; None for any other form. Raises
    ConfigError or InexpressibleError as ``counted`` does.

    >>> quotient_of("1 - (sum(rate(ok[$window])) / sum(rate(all[$window])))")
    ('good', 'sum(increase(ok[$window]))', 'sum(increase(all[$window]))')
    """
    node, role = _bare(parsed(plain_of(query))), "bad"
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "-":
        one = _bare(node.lhs)
        if not isinstance(one, promql.NumberLiteral) or one.val != 1:
            return None
        node, role = _bare(node.rhs), "good"
    if not isinstance(node, promql.BinaryExpr) or str(node.op) != "/" or not (single(node.lhs) and single(node.rhs)):
        return None
    return role, counted(written(_bare(node.lhs))), counted(written(_bare(node.rhs)))


def _bare(node: promql.Expr) -> promql.Expr:
    while isinstance(node, promql.ParenExpr):
        node = node.expr
    return node


def _counted(node: promql.Expr) -> _Counted | None:
    """What ``sum(increase(x[$window]))`` counts; None for any other form."""
    node = _bare(node)
    call = node.expr if isinstance(node, promql.AggregateExpr) and str(node.op) == "sum" else None
    inside = call.args[0] if isinstance(call, promql.Call) and call.func.name == "increase" else None
    selector = inside.vector_selector if isinstance(inside, promql.MatrixSelector) else None
    if selector is None or not selector.name or selector.offset or selector.at or selector.matchers.or_matchers:
        return None
    others = sorted(str(m) for m in selector.matchers.matchers if m.name != "le")
    bounds = [m for m in selector.matchers.matchers if m.name == "le"]
    return _Counted(selector.name, tuple(others), tuple(_texts(bounds)))


def _texts(matchers: Iterable[promql.Matcher]) -> Iterable[str]:
    """The texts that ``le`` may be: of an equality one, of a regular expression its alternatives."""
    for matcher in matchers:
        if matcher.op == promql.MatchOp.Equal:
            yield matcher.value
        elif matcher.op == promql.MatchOp.Re and re.fullmatch(r"[0-9.\\|]+", matcher.value):
            yield from (text.replace("\\.", ".") for text in matcher.value.split("|"))
        else:
            yield "?"


def _seconds(texts: tuple[str, ...]) -> float | None:
    """The one number that all texts are, if it is a whole number of milliseconds above 0."""
    try:
        numbers = {Decimal(text) for text in texts}
    except InvalidOperation:
        return None
    number = numbers.pop() if len(numbers) == 1 else Decimal(0)
    return float(number) if number.is_finite() and number > 0 and number * 1000 % 1 == 0 else None


def _bound(threshold_s: float) -> str:
    """The matcher of a bound: a whole number may be written with a point and a zero or without."""
    text = repr(threshold_s)
    return f'le=~"{text[:-2]}|{text[:-2]}\\\\.0"' if text.endswith(".0") else f'le="{text}"'
