r"""Other people's PromQL into node0's: a count of events with ``$window`` where the range goes.

Rules
- Sloth writes the range ``{{.window}}``; ``$window`` and ``${window}`` are read too. A query without one is refused:
  a fixed range, as in ``rate(x[5m])``, cannot be asked over a budget's window.
- node0 counts events. Prometheus defines ``increase`` as ``rate`` times the length of the range, so an expression that
  is a sum of rates is a count when every ``rate`` is an ``increase``: sums, differences, joins with what is no rate.
  Whatever is not of that form (a quotient of two rates, an ``irate``, a maximum) is refused with the reason.
- A plain counter, without a range, counts events if the source says that it is a counter (OpenSLO, Pyrra).
- The text stays as it was written, but for the range, ``rate``, comments, line breaks and raw strings.

Source: Prometheus 2.45 querying language, parsed by promql-parser; ``extrapolatedRate`` for the factor.

>>> counted('sum(rate(http_total{code=~"5.."}[{{.window}}]))')
'sum(increase(http_total{code=~"5.."}[$window]))'
>>> counted("sum(http_total)", counter=True)
'sum(increase(http_total[$window]))'
>>> counters('sum(increase(http_total{code!="500"}[$window]))')
'sum(http_total{code!="500"})'
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import timedelta

import promql_parser as promql

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import InexpressibleError

LONGEST_QUERY = 10_000
MAX_OPERATORS = 200
"""Beyond it the parser's recursion, and ours, would end the program instead of the query."""
_MARK = "86399001ms"
_MARK_SHOWN = "23h59m59s1ms"
_MARK_LENGTH = timedelta(milliseconds=86_399_001)
_VARIABLE = re.compile(r"\{\{-?\s*\.window\s*-?\}\}|\$\{window\}|\$window\b")
_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`|#[^\n]*|[A-Za-z_:][A-Za-z0-9_:]*|[0-9.]+[A-Za-z0-9.]*|\s+|.',
    re.DOTALL,
)
_DEEPER = {"(", "+", "-", "*", "/", "%", "^", "<", ">", "and", "or", "unless", "atan2"}
COUNTING = ("increase", "count_over_time", "sum_over_time")
"""The functions of a range that count something."""
_SUMS = {"sum"}
_KEEP_DEGREE = {"label_replace", "label_join", "sort", "sort_desc", "sort_by_label", "sort_by_label_desc", "vector"}


def counted(text: str, *, counter: bool = False, series: bool = False) -> str:
    """Return node0's query for a count of events: one series, unless ``series`` asks to leave them apart.

    ``counter`` says that the source calls a metric without a range a counter. Raises ConfigError if the text is
    malformed or has no window, InexpressibleError if it counts nothing.
    """
    plain = plain_of(text)
    expression = parsed(plain)
    calls = list(_ranges(expression))
    if not calls and counter and "$window" not in plain:
        return _increased(expression)
    _windowed(plain, calls)
    if any(function == "rate" for function, _ in calls):
        plain = _without_rates(plain, expression)
    else:
        _counting(calls)
    return plain if series or single(parsed(plain)) else f"sum({plain})"


@functools.lru_cache(maxsize=512)
def parsed(text: str) -> promql.Expr:
    """Return the tree of a query with ``$window``; raises ConfigError."""
    if too_deep(text):
        raise ConfigError(f"has more than {MAX_OPERATORS} operators and brackets; record a part of it in Prometheus")
    if _MARK_SHOWN in text or _MARK in text:
        raise ConfigError(f"holds the range {_MARK_SHOWN}, which stands for the window in here; write another")
    try:
        return promql.parse(text.replace("$window", _MARK))
    except ValueError as error:
        raise ConfigError(f"is not PromQL: {' '.join(str(error).split())}; correct it") from None


def canonical(text: str) -> str:
    """Return the one way to write a query, by which two are compared; raises ConfigError."""
    return written(parsed(text))


def written(node: promql.Expr) -> str:
    """Return a tree of ``parsed`` as a query with ``$window``, in one line."""
    return _restored(node.prettify())


def counters(text: str) -> str | None:
    """Return the query with every ``increase(x[$window])`` as the counter ``x``; None if that says not all of it."""
    expression = parsed(text)
    calls = list(_ranges(expression))
    if not calls or any(call != ("increase", _MARK_LENGTH) for call in calls):
        return None

    def unwrapped(node: promql.Expr) -> promql.Expr | None:
        inside = node.args[0] if isinstance(node, promql.Call) and node.func.name == "increase" else None
        return inside.vector_selector if isinstance(inside, promql.MatrixSelector) else None

    plain = written(promql.transform(expression, post_visit=unwrapped))
    try:
        return plain if canonical(counted(plain, counter=True)) == canonical(text) else None
    except ConfigError:
        return None


def single(node: promql.Expr) -> bool:
    """Return whether an expression gives one series at most, whatever the labels."""
    if isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        return single(node.expr)
    if isinstance(node, promql.AggregateExpr):
        by_nothing = node.modifier is None or (
            node.modifier.type == promql.AggModifierType.By and not node.modifier.labels
        )
        return by_nothing and str(node.op) not in {"topk", "bottomk", "count_values", "limitk", "limit_ratio"}
    if isinstance(node, promql.BinaryExpr):
        return single(node.lhs) and single(node.rhs)
    if isinstance(node, promql.Call):
        return node.func.name in {"vector", "scalar", "time"} or (
            node.func.name in _KEEP_DEGREE and single(node.args[0])
        )
    return isinstance(node, promql.NumberLiteral)


def children(node: promql.Expr) -> list[promql.Expr]:
    """Return the expressions that an expression is made of."""
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.Call):
        return [argument for argument in node.args if isinstance(argument, promql.Expr)]
    if isinstance(node, promql.AggregateExpr | promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return [node.expr]
    return []


def too_deep(text: str) -> bool:
    """Return whether a text has so many operators and brackets that a parser must not see it."""
    return sum(token in _DEEPER for token in tokens(text)) > MAX_OPERATORS


def tokens(text: str) -> list[str]:
    """Return the tokens of a text; strings, comments and white space are one each."""
    return _TOKEN.findall(text)


def plain_of(text: str) -> str:
    """Return the query in one line, its window ``$window``, its raw strings quoted; raises ConfigError if too long."""
    if len(text) > LONGEST_QUERY:
        raise ConfigError(
            f"is longer than {LONGEST_QUERY:,} characters; record a part of it in Prometheus and ask that"
        )
    return _line([_word(token) for token in tokens(_VARIABLE.sub("$window", text))])


def _word(token: str) -> str:
    if token.isspace() or token.startswith("#"):
        return " " if token.isspace() else ""
    if token.startswith("`") and len(token) > 1:
        inside = token[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{inside}"'
    return token


def _restored(text: str) -> str:
    return _line([" " if t.isspace() else t for t in tokens(text.replace(f"[{_MARK_SHOWN}", "[$window"))])


def _line(words: list[str]) -> str:
    """The words in one line, without white space just inside brackets."""
    kept: list[str] = []
    for word in filter(None, words):
        if kept and kept[-1] == " " and (word in {" ", ")"}):
            kept.pop()
        if word != " " or (kept and kept[-1] != "("):
            kept.append(word)
    return "".join(kept).strip()


def _ranges(node: promql.Expr, function: str = "") -> Iterator[tuple[str, timedelta]]:
    """Yield every range with the function that takes it; what lies within a subquery is the subquery's own."""
    if isinstance(node, promql.MatrixSelector):
        yield function, node.range
    elif isinstance(node, promql.SubqueryExpr):
        yield function, node.range or timedelta(0)
    else:
        name = node.func.name if isinstance(node, promql.Call) else ""
        for child in children(node):
            yield from _ranges(child, name)


def _windowed(plain: str, calls: list[tuple[str, timedelta]]) -> None:
    """Raise ConfigError unless every range is the window."""
    if "$window" not in plain or not calls:
        raise ConfigError(
            "has no window variable; write [{{.window}}] where the range goes, as in rate(x_total[{{.window}}])"
        )
    fixed = [function for function, length in calls if length != _MARK_LENGTH]
    if fixed:
        raise ConfigError(f"has a fixed range in {fixed[0] or 'it'}(); write [{{{{.window}}}}] there, as in the rest")


def _counting(calls: list[tuple[str, timedelta]]) -> None:
    for function, _ in calls:
        if function not in COUNTING:
            known = ", ".join(("rate", *COUNTING))
            raise InexpressibleError(f"counts no events: {function or 'a range'}() is none of {known}")


def _without_rates(plain: str, expression: promql.Expr) -> str:
    """The same with ``increase`` for every ``rate``, where that only multiplies it by the window."""
    if degree(expression) != 1:
        raise InexpressibleError(
            "is no sum of rates, so it counts no events; node0 needs the events, bad or good, and all"
        )
    words = tokens(plain)
    spots = [n for n, word in enumerate(words) if word == "rate" and "".join(words[n + 1 :]).lstrip().startswith("(")]
    changed = "".join("increase" if n in spots else word for n, word in enumerate(words))
    if len(spots) != sum(1 for _ in _ranges(expression)) or any(f == "rate" for f, _ in _ranges(parsed(changed))):
        raise InexpressibleError("has a rate that cannot be told from its text; write it with increase")
    return changed


def _increased(expression: promql.Expr) -> str:
    """The expression over plain counters as their increase over the window."""
    if degree(expression, counters=True) != 1:
        raise InexpressibleError("is no sum of counters, so it counts no events")

    def wrapped(node: promql.Expr) -> promql.Expr | None:
        if not isinstance(node, promql.VectorSelector):
            return None
        if node.offset is not None or node.at is not None:
            raise InexpressibleError(
                "looks at another time (offset or @) without a range; write increase(x[{{.window}}])"
            )
        return promql.parse(f"increase({node.prettify()}[{_MARK}])")

    changed = promql.transform(expression, post_visit=wrapped)
    text = written(changed)
    return text if single(changed) else f"sum({text})"


def degree(node: promql.Expr, *, counters: bool = False) -> int | None:
    """Return how often the length of the range is a factor: 1 for a sum of rates, None for a zero, which fits all.

    ``counters`` says that a plain selector is a counter. Raises InexpressibleError where it is no whole number.
    """
    if isinstance(node, promql.NumberLiteral):
        return None if node.val == 0 else 0
    if isinstance(node, promql.VectorSelector):
        return int(counters)
    if isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        return degree(node.expr, counters=counters)
    if isinstance(node, promql.BinaryExpr):
        return _of_two(node, degree(node.lhs, counters=counters), degree(node.rhs, counters=counters))
    if isinstance(node, promql.AggregateExpr):
        inside = degree(node.expr, counters=counters)
        if inside and str(node.op) not in _SUMS:
            raise InexpressibleError(f"takes the {node.op} of rates, which counts no events; only a sum does")
        return inside
    return _of_call(node, counters)


def _of_call(node: promql.Expr, counters: bool) -> int | None:
    name = node.func.name if isinstance(node, promql.Call) else ""
    if name in _KEEP_DEGREE:
        return degree(children(node)[0], counters=counters)
    if name == "rate":
        return 1
    if any(True for _ in _ranges(node)) or any(degree(child, counters=counters) for child in children(node)):
        raise InexpressibleError(f"applies {name or 'a range'}() to events, which counts none; only sums of rates do")
    return 0


def _of_two(node: promql.BinaryExpr, left: int | None, right: int | None) -> int | None:
    operator = str(node.op)
    if operator in {"*", "/"}:
        if any(isinstance(_bare(side), promql.NumberLiteral) for side in (node.lhs, node.rhs)) and (left or right):
            raise InexpressibleError(
                f"scales a rate by a number ({operator}), so it counts no events; leave the number out"
            )
        return None if left is None else left + (right or 0) * (1 if operator == "*" else -1)
    if operator in {"and", "unless"}:
        return left
    if operator in {"+", "-", "or"} and (left is None or right is None or left == right):
        return right if left is None else left
    if not left and not right:
        return 0
    raise InexpressibleError(f"joins a rate by {operator} with what is none, so it counts no events")


def _bare(node: promql.Expr) -> promql.Expr:
    return _bare(node.expr) if isinstance(node, promql.ParenExpr | promql.UnaryExpr) else node
