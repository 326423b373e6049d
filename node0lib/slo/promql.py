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

from node0lib.slo.formats.promql import too_deep


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
