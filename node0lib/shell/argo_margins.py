"""Which of the catalogue's SLOs a canary's margins are measured by, for an export to Argo Rollouts.

Rules
- error_rate: the bad events of a ratio SLO. latency_p95, latency_p99: the requests slower than the threshold of an SLO
  of that quantile, since PromQL needs a bound that is known beforehand. The first SLO that fits, or the one named.
- A margin of a quantile becomes one of shares as ``canary plan`` has it, for lognormal latencies of a given sigma.
- Without a control (100%) the limits are: errors at which the fastest alert of that SLO would fire, and twice the slow
  requests that its quantile allows.

>>> from datetime import timedelta
>>> queries = {"good": "sum(increase(ok[$window]))", "total": "sum(increase(all[$window]))"}
>>> slo = Objective("api", "ratio", 0.999, timedelta(days=30), queries=queries)
>>> found, left = margins(Catalogue((slo,)), {}, sigma=0.5)
>>> found[0].bad.replace(chr(10), " "), round(found[0].limit, 4), left[0]
('sum(increase(all[$window])) - sum(increase(ok[$window]))', 0.0144, \
'latency_p95: no SLO with buckets has the quantile 0.95; the margin is left out')
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from node0lib.alerts.event_queries import events_of, under
from node0lib.canary.argo_analysis import Question
from node0lib.canary.plan import Traffic, question
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import Catalogue
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

QUANTILES: Mapping[str, float] = {"latency_p95": 0.95, "latency_p99": 0.99}
METRICS = ("error_rate", *QUANTILES)
_MARK = timedelta(milliseconds=86_399_001)


def margins(
    catalogue: Catalogue, named: Mapping[str, str], *, sigma: float
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """Return a question for each margin that an SLO measures, and why the others are left out.

    ``named`` maps a metric to the SLO to measure it by. Raises ConfigError for an SLO that cannot, or if there is none.
    """
    found, left = [], []
    for metric in METRICS:
        slo = _slo(catalogue, metric, named.get(metric))
        if slo is None:
            what = "ratio SLO has queries" if metric == "error_rate" else _sought(metric)
            left.append(f"{metric}: no {what}; the margin is left out")
        else:
            found.append(_question(catalogue, metric, slo, sigma))
    if not found:
        raise ConfigError("no SLO of the catalogue measures any margin of the canary; give its SLOs queries, in PromQL")
    return tuple(found), tuple(left)


def _sought(metric: str) -> str:
    return f"SLO with buckets has the quantile {QUANTILES[metric]:g}"


def _slo(catalogue: Catalogue, metric: str, name: str | None) -> Objective | None:
    if name is None:
        return next((slo for slo in catalogue.slos if _fits(slo, metric)), None)
    slo = catalogue.slo(name)
    if not _fits(slo, metric):
        what = "a ratio with queries" if metric == "error_rate" else f"one: no {_sought(metric)} there"
        raise ConfigError(f"slos.{name}: cannot measure {metric}; it must be {what}")
    return slo


def _fits(slo: Objective, metric: str) -> bool:
    if metric == "error_rate":
        return slo.kind == "ratio" and "total" in slo.queries
    return "buckets" in slo.queries and slo.quantile == QUANTILES[metric]


def _question(catalogue: Catalogue, metric: str, slo: Objective, sigma: float) -> Question:
    margin = getattr(catalogue.canary, metric)
    ratio = question(metric, margin, Traffic(1.0, 0.01, sigma)).ratio
    if metric == "error_rate":
        events = events_of(slo, _MARK)
        factor = max(pair.factor(catalogue.alerting.period) for pair in catalogue.alerting.pairs)
        says = f"the bad events of {slo.name}"
        return Question(metric, ratio, _open(events.bad), _open(events.total), min(1.0, factor * slo.budget), says)
    good, total = (_open(text) for text in under(slo, _MARK))
    says = f"requests slower than {slo.threshold_s or 0:g} s, as in {slo.name}"
    return Question(metric, ratio, f"{total} - {good}", total, 2 * (1 - QUANTILES[metric]), says)


def _open(query: str) -> str:
    """The query with ``$window`` where the mark's length is."""
    return query.replace(f"[{format_duration(_MARK)}]", "[$window]")
