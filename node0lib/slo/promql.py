"""Is a query PromQL? Asked when a file is read, before a server ever is.

The parser is promql-parser's. It is compiled and recursive, and a hostile text (thousands of minus or plus signs) would
end the whole process, so what is nested beyond reason is refused before it gets there.

>>> flaw("sum(increase(http_requests_total[$window]))") is None
True
>>> flaw("sum(increase(http_requests_total[$window])")
'unclosed left parenthesis'
>>> flaw("+".join("x" * 5000))
'nested too deep: it has more operators and brackets than a person writes'
"""

from __future__ import annotations

import promql_parser

from node0lib.slo.formats.promql import tokens, too_deep


def flaw(query: str, window: str = "5m") -> str | None:
    """Return what is wrong with a query as PromQL, ``$window`` standing for ``window``; None if nothing is."""
    expression = query.replace("$window", window)
    if too_deep(expression):
        return "nested too deep: it has more operators and brackets than a person writes"
    try:
        promql_parser.parse(expression)
    except ValueError as error:
        return " ".join(str(error).split()) or "invalid promql query"
    return None


def with_matcher(query: str, matcher: str) -> str:
    """Return the query with a matcher (``le="0.5"``) in every range selector; other selectors stay as they are.

    >>> with_matcher('sum(increase(a[5m])) / sum(increase(b{x="1"}[5m]))', 'y="2"')
    'sum(increase(a{y="2"}[5m])) / sum(increase(b{x="1",y="2"}[5m]))'
    """
    words = tokens(query)
    for n in reversed([n for n, word in enumerate(words) if word == "["]):
        before = next((m for m in range(n - 1, -1, -1) if not words[m].isspace()), -1)
        if before >= 0 and words[before] == "}":
            inside = next((words[m] for m in range(before - 1, -1, -1) if not words[m].isspace()), "{")
            words[before] = f"{'' if inside in '{,' else ','}{matcher}}}"
        elif before >= 0 and words[before] != ")":
            words[before] += f"{{{matcher}}}"
    return "".join(words)
