"""An objective's events as PromQL that answers one series: bad events, all events, and the ratio of the two.

Promises: a query stays as its owner wrote it, with the range in the place of ``$window``; what is put around it makes
one series without labels of it, so that any two of these match. ``increase`` stays ``increase``: it is ``rate`` times
the length of the range, which cancels in a ratio.

Rules
- ``good`` that answers nothing is no data, as when node0 reads it itself; ``bad`` that answers nothing is 0 of what
  ``total`` counts, because an error series is often born with the first error.
- 0 of 0 is NaN, which no threshold is below: silence never fires, and never counts as good.
- A latency threshold is a bucket bound, found by its number: ``le`` is 1 or 1.0 or 1e0, which are different labels
  before Prometheus 3. The matcher goes into the selectors, so that one bucket is read and not all of them.
- Where the threshold lies between two bounds of a histogram that node0 exports, the lower one counts: the cautious
  side, as when node0 reads it itself. PromQL cannot look for a bound, so of any other histogram the threshold must be
  one, or there is no answer (``node0 alerts lint`` finds it).

Source: Prometheus querying language; the same reading as ``node0lib/shell/prometheus.py``.

>>> errors = {"bad": "sum(increase(failed[$window]))", "total": "sum(increase(asked[$window]))"}
>>> print(events_of(Objective("api", "ratio", 0.999, timedelta(days=30), queries=errors), timedelta(hours=1)).ratio)
(
  sum(increase(failed[1h]))
  or
  0 * sum(increase(asked[1h]))
)
/
sum(increase(asked[1h]))
>>> at_bound("sum by (le) (increase(x_bucket[5m]))", 0.05)
'sum(sum by (le) (increase(x_bucket{le=~"0[.]050*|5([.]0+)?[eE]-0*2"}[5m])))'
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import promql_parser

from node0lib.alerts.metrics import FAMILIES
from node0lib.errors import ConfigError
from node0lib.slo.formats.promql import single
from node0lib.slo.objective import Objective
from node0lib.slo.promql import flaw, with_matcher
from node0lib.timespan import format_duration

_LE = re.compile(r"\ble\b")
_INFINITE = 'le="+Inf"'


@dataclass(frozen=True)
class EventQueries:
    """PromQL over one range: ``bad`` events, ``total`` events, and ``ratio`` = bad / total. One series each at most."""

    bad: str
    total: str
    ratio: str


def events_of(slo: Objective, window: timedelta) -> EventQueries:
    """Return the events of a ratio or latency objective over a window.

    Raises ConfigError, naming the query, if it is missing or no PromQL.
    """
    if slo.kind == "latency":
        return _of_good(*under(slo, window))
    total = asked(slo, "total", window)
    if "bad" in slo.queries:
        bad = f"(\n{_indented(asked(slo, 'bad', window))}\n  or\n{_indented(f'0 * {total}')}\n)"
        return EventQueries(bad, total, f"{bad}\n/\n{total}")
    return _of_good(asked(slo, "good", window), total)


def under(slo: Objective, window: timedelta) -> tuple[str, str]:
    """Return the events at or under a latency threshold, and all, from the query ``buckets``.

    Buckets without ``le`` are one native histogram.
    """
    buckets, threshold = _expanded(slo, "buckets", window), slo.threshold_s
    if threshold is None:
        raise ConfigError(f"slos.{slo.name}: a {slo.kind} objective needs a threshold")
    if _LE.search(buckets):
        total = _selected(buckets, _INFINITE) or _joined(buckets, ["+Inf"])
        bound = counted_at(slo)
        return at_bound(buckets, bound) if bound else f"0 * {total}", total
    histogram = f"sum({_inline(buckets)})"
    count = f"histogram_count({histogram})"
    return f"(histogram_fraction(-Inf, {threshold!r}, {histogram}) * {count})", count


def counted_at(slo: Objective) -> float:
    """Return the bucket bound by which a latency threshold is counted, in seconds; 0 if it is below all of them.

    >>> query = {"buckets": "sum by (le) (increase(http_request_duration_seconds_bucket[$window]))"}
    >>> slow = Objective("api", "latency", 0.99, timedelta(days=30), queries=query, threshold_s=0.15)
    >>> counted_at(slow)
    0.1
    """
    threshold, names = slo.threshold_s or 0.0, _metrics(_expanded(slo, "buckets", timedelta(minutes=1)))
    known = [family.buckets for family in FAMILIES if family.buckets and f"{family.name}_bucket" in names]
    bounds = known[0] if len(known) == 1 == len(names) else (threshold,)
    return max((bound for bound in bounds if bound <= threshold), default=0.0)


def asked(slo: Objective, role: str, window: timedelta) -> str:
    """Return the role's query over a window, as one series without labels.

    Raises ConfigError, naming the query, if it is missing or no PromQL.
    """
    text = _expanded(slo, role, window)
    tree = promql_parser.parse(text)
    if not single(tree):
        return f"sum({_inline(text)})"
    alone = isinstance(tree, promql_parser.AggregateExpr | promql_parser.Call | promql_parser.ParenExpr)
    return text if alone and "#" not in text else f"({_inline(text)})"


def at_bound(buckets: str, bound: float) -> str:
    """Return the count at the bucket whose bound is that number, however ``le`` writes it."""
    texts = [f"{bound:g}", repr(float(bound))]
    return _selected(buckets, f'le=~"{_written(bound)}"') or _joined(buckets, texts)


def _of_good(good: str, total: str) -> EventQueries:
    return EventQueries(f"{total}\n-\n{good}", total, f"1 -\n{good}\n/\n{total}")


def _expanded(slo: Objective, role: str, window: timedelta) -> str:
    query = slo.queries.get(role, "").strip()
    if not query:
        raise ConfigError(f"slos.{slo.name}: a {slo.kind} objective needs queries.{role}, in PromQL")
    text = query.replace("$window", format_duration(window))
    wrong = flaw(text)
    if wrong:
        raise ConfigError(f"slos.{slo.name}.queries.{role}: is not PromQL ({wrong}); correct the query")
    return text


def _selected(buckets: str, matcher: str) -> str:
    """The query with the matcher in every range selector, summed; empty if that is not all it selects."""
    changed = with_matcher(buckets, matcher)
    return f"sum({_inline(changed)})" if _all_have(changed, matcher) else ""


def _all_have(text: str, matcher: str) -> bool:
    """Whether every selector of a query has the matcher, as the parser reads it."""
    if flaw(text):
        return False
    name, _, value = matcher.partition("=")
    wanted = [value.strip('~"')]
    return all([m.value for m in one.matchers.matchers if m.name == name] == wanted for one in _selectors(text))


def _metrics(text: str) -> frozenset[str]:
    """The names of all metrics that a query selects, "" standing for those it does not name."""
    matched = ((one, [m.value for m in one.matchers.matchers if m.name == "__name__"]) for one in _selectors(text))
    return frozenset(one.name or (names[0] if names else "") for one, names in matched)


def _selectors(text: str) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.append(selector)
        return True

    promql_parser.walk(promql_parser.parse(text), visit)
    return found


def _joined(buckets: str, texts: list[str]) -> str:
    """The same for a query whose selectors take no matcher: all buckets are read, and joined with the wanted ones."""
    labels = [f'label_replace(vector(1), "le", {json.dumps(text)}, "", "")' for text in dict.fromkeys(texts)]
    return f"sum(({_inline(buckets)}) and on (le) ({' or '.join(labels)}))"


def _written(bound: float) -> str:
    """A regular expression for every way to write a positive number.

    >>> [bool(re.fullmatch(_written(0.25), text)) for text in ("0.25", "0.250", "2.5e-01", "0.255", "0x25")]
    [True, True, True, False, False]
    >>> [bool(re.fullmatch(_written(1.0), text)) for text in ("1", "1.0", "1e+00", "10", "1.01")]
    [True, True, True, False, False]
    """
    plain = f"{Decimal(repr(bound)).normalize():f}"
    mantissa, power = f"{Decimal(plain):e}".split("e")
    exponent = int(power)
    digits = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    sign = "-" if exponent < 0 else "[+]?" if exponent > 0 else "[-+]?"
    return f"{_zeros(plain)}|{_zeros(digits)}[eE]{sign}0*{abs(exponent)}"


def _zeros(plain: str) -> str:
    return plain.replace(".", "[.]") + "0*" if "." in plain else f"{plain}([.]0+)?"


def _inline(text: str) -> str:
    # A comment ends with its line, so what follows it must not stand in it.
    return f"{text}\n" if "#" in text else text


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
