"""An objective as PromQL: the number that it promises, over time, for a graph.

Promises: the expression answers one series at most, in the unit of its bound, and nothing where there was no traffic.
What is asked is what node0 itself asks (``shell/prometheus.py``) and what its rules ask (``event_queries``).

========== ===========================================================================================
kind       expression
========== ===========================================================================================
ratio      good / total over the window, at most 1; with ``bad``: 1 - bad / total, a missing bad being 0
latency    requests at or under the threshold / all, over the window; no answer if no bucket bound is there
timeslice  the mean over the window of 1 for a slice whose quantile is at or under the threshold, else 0
invariant  the gauge itself; without a query node0's own ihsan score
any other  1 - budget x the burn rate that node0 exports (also for an SLO without queries)
========== ===========================================================================================

A quantile between two bucket bounds is interpolated by ``histogram_quantile``. That is for pictures: it is exact where
the threshold is a bound, and elsewhere node0 itself decides by the bound below, the cautious side; ``meaning`` says so
of the histograms whose bounds are known, those that node0 exports.
``$job`` and ``$__rate_interval`` are Grafana's to fill in.

>>> queries = {"good": "sum(increase(ok[$window]))", "total": "sum(increase(all[$window]))"}
>>> sli_of(Objective("api", "ratio", 0.999, timedelta(days=30), queries=queries)).expr
'clamp_max(sum(increase(ok[30d])) / (sum(increase(all[30d])) > 0), 1)'
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import promql_parser

from node0lib.alerts.event_queries import asked, events_of, under
from node0lib.alerts.metrics import FAMILIES, family
from node0lib.errors import ConfigError
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration, parse_duration

RATE = "$__rate_interval"
_JOB = 'job=~"$job"'
_SAMPLE = timedelta(minutes=1)


@dataclass(frozen=True)
class Sli:
    """What an SLO promises, as PromQL. ``bound`` is the least that ``expr`` may be.

    ``share`` tells a share in [0, 1] from a plain number; ``meaning`` says it in words. ``quantile`` is the latency
    behind a timeslice in seconds, as PromQL over Grafana's rate interval, else None.
    """

    expr: str
    bound: float
    share: bool
    meaning: str
    quantile: str | None = None


def sli_of(slo: Objective) -> Sli:
    """Return the objective's number as PromQL; raises ConfigError if one of its queries is no PromQL."""
    if slo.kind == "invariant":
        return _invariant(slo)
    return _BY_KIND.get(slo.kind, _exported)(slo) if slo.queries else _exported(slo)


def own(sample: str, *matchers: str) -> str:
    """Return a selector of a metric that node0 exports, of the chosen jobs.

    >>> own("slo_burn_rate", 'window="1h"')
    'slo_burn_rate{window="1h",job=~"$job"}'
    """
    return f"{sample}{{{','.join((*matchers, _JOB))}}}"


def burn_of(slo_name: str, window: str) -> str:
    """Return a selector of the exported burn rate of one SLO over one of the exported windows."""
    return own("slo_burn_rate", f"slo_name={json.dumps(slo_name, ensure_ascii=False)}", f'window="{window}"')


def metric_names(expr: str) -> frozenset[str]:
    """Return the names of all metrics that a PromQL text selects; raises ValueError if it is none.

    >>> sorted(metric_names('rate(a[5m]) / {__name__="b"}'))
    ['a', 'b']
    """
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            named = [m.value for m in selector.matchers.matchers if m.name == "__name__"]
            found.update([selector.name] if selector.name else named)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return frozenset(found)


def _ratio(slo: Objective) -> Sli:
    meaning = f"good events among all events of the last {format_duration(slo.window)}"
    if "bad" in slo.queries:
        events = events_of(slo, slo.window)
        expr = f"clamp_min(1 - {events.bad} / ({events.total} > 0), 0)"
        return Sli(expr, slo.objective, True, meaning)
    return _share(slo, asked(slo, "good", slo.window), asked(slo, "total", slo.window), meaning)


def _latency(slo: Objective) -> Sli:
    meaning = f"requests of at most {slo.threshold_s or 0:g} s among all of the last {format_duration(slo.window)}"
    return _share(slo, *under(slo, slo.window), meaning)


def _share(slo: Objective, good: str, total: str, meaning: str) -> Sli:
    return Sli(f"clamp_max({good} / ({total} > 0), 1)", slo.objective, True, meaning)


def _timeslice(slo: Objective) -> Sli:
    part, window, threshold = format_duration(slo.slice), format_duration(slo.window), slo.threshold_s or 0.0
    buckets = _over(slo, "buckets", part)
    # A slice without traffic has the quantile NaN, which no comparison keeps: it is neither good nor bad.
    quantile = f"histogram_quantile({slo.quantile!r}, {buckets}) >= 0"
    expr = f"avg_over_time((({quantile}) <= bool {threshold!r})[{window}:{part}])"
    name = f"p{100 * (slo.quantile or 0):g} is at most {threshold:g} s"
    meaning = f"slices of {part} whose {name}, among those with traffic of the last {window}"
    live = f"histogram_quantile({slo.quantile!r}, {_over(slo, 'buckets', RATE)})"
    return Sli(expr, slo.objective, True, meaning + _estimated(buckets, threshold), live)


def _invariant(slo: Objective) -> Sli:
    if "gauge" in slo.queries:
        expr = _over(slo, "gauge", format_duration(min(_SAMPLE, slo.window)))
        meaning = "the gauge that must never fall below its minimum"
    else:
        expr = f"min({own('ihsan_compliance_score')})"
        meaning = "the ihsan score of the newest cycle"
    return Sli(expr, slo.minimum or 0.0, False, meaning)


def _exported(slo: Objective) -> Sli:
    """The SLI behind the exported burn rate: error ratio = burn x budget, over the longest window within the SLO's."""
    windows = family("slo_burn_rate").labels["window"]
    window = max((w for w in windows if parse_duration(w) <= slo.window), key=parse_duration, default=windows[0])
    meaning = f"what was good in the last {window}, from the burn rate that node0 exports"
    return Sli(f"1 - {slo.budget!r} * max({burn_of(slo.name, window)})", slo.objective, True, meaning)


_BY_KIND: Mapping[str, Callable[[Objective], Sli]] = {"ratio": _ratio, "latency": _latency, "timeslice": _timeslice}


def _over(slo: Objective, role: str, window: str) -> str:
    """The role's query with that range; raises ConfigError if it is missing or no PromQL."""
    query = slo.queries.get(role, "").strip()
    try:
        promql_parser.parse(query.replace("$window", "5m"))
    except ValueError as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"slos.{slo.name}.queries.{role}: is not PromQL ({why}); correct the query") from None
    # A comment ends with its line, so what follows the query must not stand in it.
    return query.replace("$window", window) + ("\n" if "#" in query else "")


def _estimated(buckets: str, threshold: float) -> str:
    """Say that a threshold lies between two bucket bounds, where it is known to."""
    names = metric_names(buckets)
    known = [f.buckets for f in FAMILIES if f.buckets and {f.name, f"{f.name}_bucket"} & names]
    if len(known) != 1 or threshold in known[0]:
        return ""
    low = max((bound for bound in known[0] if bound < threshold), default=0.0)
    high = min((bound for bound in known[0] if bound > threshold), default=math.inf)
    return (
        f" (an estimate: the threshold lies between the bucket bounds {low:g} and {high:g} s, and node0 itself decides "
        "by the lower one)"
    )
