"""The catalogue as a Grafana dashboard: what was promised, what is left of it, how fast it burns, how well we deliver.

Promises: equal arguments give the same bytes; the uid follows from the title and each panel's id from what it shows, so
that a dashboard can be updated in place and linked to; every expression names only metrics that node0 exports or that
the catalogue's queries use; every panel says in plain words what it shows and how to read it; no links, no plugins.

Rows: error budgets, burn rates and service levels are what somebody on call looks at, and stand open (many service
levels are folded); delivery and cycles are for a review, and are folded. node0's own metrics are those of the jobs that
the variable ``job`` selects, as a second copy (an exporter and a textfile, say) would be counted twice.

>>> board = dashboard(Catalogue(slos=()))
>>> [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
['Error budgets', 'Burn rates', 'Delivery', 'Cycles']
>>> dashboard_text(board) == dashboard_text(dashboard(Catalogue(slos=())))
True
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from node0lib.alerts import panels as p
from node0lib.alerts.delivery_panels import cycles, delivery
from node0lib.alerts.panels import Query, Row, Scale, Text, rising
from node0lib.alerts.sli_queries import Sli, burn_of, own, sli_of
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import Catalogue, Composite, Severity
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration, parse_duration

TITLE = "node0: service levels"
_OPEN_AT_MOST = 12
_BURN_WINDOWS = (("1h", "1h"), ("6h", "6h"), ("24h", "24h"))
"""The exported windows that are drawn, and how people call them."""
_COLORS: Mapping[Severity, str] = {"info": "blue", "warning": "orange", "critical": "red"}
_REFRESH = re.compile(r"[1-9]\d*[smhd]")
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


@dataclass(frozen=True)
class Source:
    """Where a dashboard reads: the template variable's name, and which data source it begins with (None: the default).

    >>> Source.of("${metrics}"), Source.of("P1809F7CD0C75ACF3")
    (Source(variable='metrics', uid=None), Source(variable='datasource', uid='P1809F7CD0C75ACF3'))
    """

    variable: str = "datasource"
    uid: str | None = None

    @classmethod
    def of(cls, text: str) -> Source:
        """Read ``$name`` or ``${name}`` as the variable's name, anything else as a uid; raises ConfigError."""
        named = _VARIABLE.fullmatch(text)
        name = named[1] or named[2] if named else None
        if name and name != "job":
            return cls(name)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text):
            raise ConfigError(f"{text!r} is no data source; write its uid (as in its address), or $name, but not $job")
        return cls(uid=text)

    @property
    def reference(self) -> Any:
        """What every panel asks."""
        return models.DataSourceRef("prometheus", f"${{{self.variable}}}")


def dashboard(
    catalogue: Catalogue, *, title: str = TITLE, source: Source | None = None, refresh: str | None = "1m"
) -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model (a dict of plain values); ``refresh`` None never reloads.

    Raises ConfigError for an empty title, a refresh that Grafana does not know, or a query that is no PromQL.
    """
    source = source or Source()
    _check(title, refresh)
    board = builders.Dashboard(title).uid(uid_of(title)).description(_DESCRIPTION).tags(["node0", "slo"])
    board.time("now-24h", "now").timezone("browser").editable().tooltip(models.DashboardCursorSync.CROSSHAIR)
    board.refresh(refresh or "").links([]).with_variable(_source_variable(source)).with_variable(_job_variable(source))
    built = board.build()
    built.panels = p.lay_out(list(_rows(catalogue, source.reference)))
    plain: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder, allow_nan=False))
    return plain


def dashboard_text(board: Mapping[str, Any]) -> str:
    """Return the dashboard as the text of a file: ASCII, keys sorted, two blanks, a last newline."""
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def unfolded(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every panel and row of a dashboard, those of folded rows included."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def uid_of(title: str) -> str:
    """Return the uid of the dashboard of that title, at most 40 characters.

    >>> uid_of("node0: service levels")
    'node0-3e991817cea9'
    """
    return f"node0-{hashlib.sha256(title.encode()).hexdigest()[:12]}"


_DESCRIPTION = (
    "Service levels, error budgets and burn rates of the SLOs in slo.yaml, delivery metrics and cycles of node0. "
    "Made by node0 dashboard from the catalogue: make it again after a change there rather than editing it here."
)


def _check(title: str, refresh: str | None) -> None:
    if not title.strip():
        raise ConfigError("the title of a dashboard is empty; its uid follows from it, so give it one")
    if refresh is not None and (not _REFRESH.fullmatch(refresh) or parse_duration(refresh) < timedelta(seconds=5)):
        raise ConfigError(f"refresh {refresh!r} is nothing that Grafana knows; write one number and unit, 5s or more")


def _source_variable(source: Source) -> Any:
    variable = builders.DatasourceVariable(source.variable).label("Data source").type("prometheus")
    variable.description("The Prometheus that scrapes the services and node0.").multi(False).include_all(False)
    chosen = source.uid or "default"
    return variable.current(models.VariableOption(True, chosen, chosen))


def _job_variable(source: Source) -> Any:
    variable = builders.QueryVariable("job").label("node0 job").datasource(source.reference)
    variable.query("label_values(slo_error_budget_remaining, job)").sort(models.VariableSort.ALPHABETICAL_ASC)
    variable.description("Where node0's own metrics come from; choose one if there are copies of them.")
    variable.refresh(models.VariableRefresh.ON_DASHBOARD_LOAD).multi(True).include_all(True).all_value(".*")
    return variable.current(models.VariableOption(True, ["All"], ["$__all"]))


def _rows(catalogue: Catalogue, source: Any) -> Iterator[Row]:
    yield Row("Error budgets", [_budgets(catalogue, source), _ihsan(catalogue, source)])
    yield Row("Burn rates", [_burn(catalogue, source, *window) for window in _BURN_WINDOWS])
    slos = catalogue.slos
    if slos:
        levels = [_service_level(slo, catalogue, source) for slo in slos]
        yield Row("Service levels", levels, folded=len(slos) > _OPEN_AT_MOST)
    if catalogue.composites:
        yield Row("Composites", [_composite(composite, source) for composite in catalogue.composites])
    yield Row("Delivery", delivery(catalogue.dora, source), folded=True)
    yield Row("Cycles", cycles(source), folded=True)


def _budgets(catalogue: Catalogue, source: Any) -> Any:
    rules = catalogue.budget_policy
    text = Text(
        "budgets",
        "Error budget left",
        "How much of each SLO's error budget is left in its window: 100% is untouched, at 0% the promise is broken. "
        f"Red, under {_percent(rules.freeze_below)}, freezes deployments; an autonomous change needs green, "
        f"more than {_percent(rules.optimize_above)} of each. An SLO without data has no dial.",
    )
    query = Query(f"min by (slo_name) ({own('slo_error_budget_remaining')})", "{{slo_name}}")
    steps = rising("red", (rules.freeze_below, "orange"), (rules.optimize_above, "green"))
    height = max(8, 4 + 2 * math.ceil(len(catalogue.slos) / 8))
    return p.gauges(text, query, Scale("percentunit", steps, 1, 0, 1), source, width=18, height=height)


def _ihsan(catalogue: Catalogue, source: Any) -> Any:
    least = catalogue.gates.ihsan_at_least
    text = Text(
        "ihsan",
        "Ihsan score",
        f"The score of the compliance controls in the newest cycle, 0 to 100. Green from {least:.4g} on; under that, "
        "red, no change may be applied. Without a score the newest cycle failed.",
    )
    query = Query(f"min({own('ihsan_compliance_score')})", "score")
    height = max(8, 4 + 2 * math.ceil(len(catalogue.slos) / 8))
    scale = Scale("none", rising("red", (least, "green")), 1, 0, 100)
    return p.gauges(text, query, scale, source, width=6, height=height)


def _burn(catalogue: Catalogue, source: Any, window: str, called: str) -> Any:
    alerts = _alerts(catalogue, window)
    told = "".join(f" Above {factor:.4g} the {severity} alert may fire." for severity, factor in alerts)
    text = Text(
        f"burn/{window}",
        f"Burn rate over {called}",
        f"How fast each SLO's error budget was spent over the last {called}: at 1 it lasts exactly its window, at 2 "
        f"half of it, at 0 nothing was spent.{told} An SLO without data has no line, nor has one without a budget (an "
        "invariant) while it is broken.",
    )
    burn = own("slo_burn_rate", f'window="{window}"')
    steps = rising("green", (1.0, "yellow"), *((factor, _COLORS[severity]) for severity, factor in alerts))
    scale = Scale("short", steps, 2, 0, 1.1 * max((factor for _, factor in alerts), default=1.0))
    query = Query(f"max by (slo_name) ({burn}) < Inf", "{{slo_name}}")
    return p.lines(text, [query], scale, source, width=8, height=9)


def _alerts(catalogue: Catalogue, window: str) -> list[tuple[Severity, float]]:
    """The alerts on that long window, the most severe one last: it colours a factor that several share."""
    alerting = catalogue.alerting
    pairs = [pair for pair in alerting.pairs if pair.long == parse_duration(window)]
    pairs.sort(key=lambda pair: list(_COLORS).index(pair.severity))
    return [(pair.severity, pair.factor(alerting.period)) for pair in pairs]


def _service_level(slo: Objective, catalogue: Catalogue, source: Any) -> Any:
    sli = sli_of(slo)
    if not sli.share:
        return _invariant(slo, sli, source)
    promised = _percent(slo.objective)
    text = Text(
        f"slo/{slo.name}",
        f"{slo.name}: {promised} over {_window(slo)}",
        f"{slo.description} The line is the share of {sli.meaning}. The promise is kept at or above the dashed line at "
        f"{promised}.{_besides(slo, catalogue)} Without traffic, or where nobody measured, there is no line.".lstrip(),
    )
    steps = rising("red", (slo.objective, "green"))
    scale = Scale("percentunit", steps, _decimals(slo.budget), max(0.0, 1 - 2 * slo.budget), 1)
    queries = [Query(sli.expr, "SLI")]
    if sli.quantile is None:
        return p.lines(text, queries, scale, source, width=12, height=7)
    name, most = f"p{100 * (slo.quantile or 0):g}", slo.threshold_s or 0.0
    panel = p.lines(text, [*queries, Query(sli.quantile, name)], scale, source, width=12, height=7)
    panel.description += f" The thin line, on the right axis, is the {name} itself; {most:g} s is its threshold."
    return p.beside(panel, name, Scale("s", rising("green", (most, "red")), None, 0, 1.2 * most))


def _percent(share: float) -> str:
    return f"{100 * share:.10g}%"


def _window(slo: Objective) -> str:
    return format_duration(slo.window) if slo.calendar is None else f"a calendar {slo.calendar.unit}"


def _besides(slo: Objective, catalogue: Catalogue) -> str:
    """What PromQL cannot say of a promise, and the budget therefore judges differently."""
    told = ""
    if slo.calendar is not None:
        window, unit = format_duration(slo.window), slo.calendar.unit
        told = f" The promise is about the calendar {unit} so far, while this line looks back {window} at each instant."
    if any(maintenance.concerns(slo.name) for maintenance in catalogue.maintenance):
        told += " Announced maintenance counts in this line, but not in the budget."
    return told


def _invariant(slo: Objective, sli: Sli, source: Any) -> Any:
    text = Text(
        f"slo/{slo.name}",
        f"{slo.name}: always at least {sli.bound:g}",
        f"{slo.description} The line is {sli.meaning}. Under the dashed line at {sli.bound:g} the promise is broken: "
        "an invariant has no error budget.".lstrip(),
    )
    room = 0.1 * abs(sli.bound) or 1.0
    scale = Scale("none", rising("red", (sli.bound, "green")), None, sli.bound - room, sli.bound + room)
    return p.lines(text, [Query(sli.expr, "value")], scale, source, width=12, height=7)


def _composite(composite: Composite, source: Any) -> Any:
    parts = ", ".join(f"{name} ({weight:g})" for name, weight in composite.of.items())
    text = Text(
        f"composite/{composite.name}",
        f"{composite.name}: burn rate of {len(composite.of)} SLOs",
        f"{composite.description} The mean of the burn rates of {parts}, weighted by the numbers in brackets: above 1, "
        "the dashed line, their budgets together last less than their windows. Without data of one there is no "
        "line.".lstrip(),
    )
    queries = [Query(_mean_burn(composite, window), called) for window, called in _BURN_WINDOWS]
    return p.lines(text, queries, Scale("short", rising("green", (1.0, "yellow")), 2, 0, 2), source, width=12, height=7)


def _mean_burn(composite: Composite, window: str) -> str:
    """The weighted mean, nothing where a part has no value; weights are made to sum to 1 here."""
    total = math.fsum(composite.of.values())
    return " + ".join(f"{weight / total!r} * max({burn_of(name, window)})" for name, weight in composite.of.items())


def _decimals(budget: float) -> int:
    """Decimals of a percentage that tell tenths of the budget apart: 2 for an objective of 99.9%.

    >>> [_decimals(budget) for budget in (0.1, 0.01, 0.001, 0.0001)]
    [0, 1, 2, 3]
    """
    return max(0, math.ceil(-round(math.log10(budget), 9)) - 1)
