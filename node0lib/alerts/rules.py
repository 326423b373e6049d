"""node0's own dialect: a catalogue as Prometheus rules that do what node0 says the alerts do.

Promises
- One group for an SLO. Prometheus evaluates the rules of a group one after the other, at one timestamp: the ratios are
  recorded first, then the alerts compare the recorded series with each other. So an alert is exactly what ``node0
  alerts replay`` evaluates, and no alert reads a ratio of the minute before. (Prometheus spreads its groups over the
  interval: the same alert is evaluated some seconds after the full minute.)
- A threshold is the float64 that the replay compares with, ``factor * budget``, written so that it reads back the same.
- What cannot be said in PromQL is left out and told in ``notes``, never silently.

Rules
- The burn alerts of ``alerting`` are for SLOs whose window is at least the alerting period (as the gates have it);
  every other SLO alerts at ``budget_policy.alert_at_burn`` over ``look_back``.
- A timeslice objective records 1 or 0 for each slice with traffic, in a group that is evaluated once a slice, and its
  ratios are shares of these. An invariant alerts while its gauge is under its minimum.
- The budget over the SLO's whole window is weighted by events (errors / requests over 30d, not a mean of ratios), and
  has a group of its own, evaluated less often: a range of a month must not delay an alert.
- A calendar window begins at a local midnight, which PromQL cannot say: node0 itself exports that budget.

========================================= ====================================================================
series                                    what
========================================= ====================================================================
``node0:slo_error_ratio:WINDOW``          bad / total events over WINDOW
``node0:slo_bad_events:WINDOW``           bad events over WINDOW (for ``min_bad``)
``node0:slo_slice_good``                  1 if the newest slice met its bound, else 0
``node0:slo_gauge``                       the gauge of an invariant
``node0:slo_window_error_ratio``          bad / total events over the SLO's window
``node0:slo_error_budget_remaining``      1 at the start, 0 where it is spent, below that where it is overspent
``node0:slo_objective`` ``node0:slo_info`` the objective, and what the SLO is in labels
========================================= ====================================================================

Each has the label ``slo``. Source: SRE Workbook, ch. 5; Prometheus, recording rules.

>>> queries = {"good": "sum(increase(ok[$window]))", "total": "sum(increase(asked[$window]))"}
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30), queries=queries)
>>> file, notes = rules_of(Catalogue((api,)), version="dev")
>>> [(group.name, len(group.rules)) for group in file.groups], notes
([('node0-api', 15), ('node0-api-budget', 4)], ())
>>> print(next(rule.expr for rule in file.rules if rule.alert))
node0:slo_error_ratio:1h{slo="api"} > 0.014400000000000013
and
node0:slo_error_ratio:5m{slo="api"} > 0.014400000000000013
and
node0:slo_bad_events:1h{slo="api"} >= 3
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from node0lib.alerts.event_queries import asked, counted_at, events_of, under
from node0lib.alerts.policy import AlertPolicy, BurnAlert, policy_of, windows
from node0lib.alerts.promrules import Rule, RuleFile, RuleGroup
from node0lib.errors import ConfigError
from node0lib.slo.catalogue import BudgetPolicy, Catalogue
from node0lib.slo.objective import Objective
from node0lib.timespan import format_duration

BURN_ALERT, INVARIANT_ALERT = "SloErrorBudgetBurn", "SloInvariantBroken"
BUDGET_INTERVAL = timedelta(minutes=2)
"""How often budgets are evaluated: often enough that their series never looks stale (5m)."""
_KINDS = ("ratio", "latency", "timeslice", "invariant")
_OWN_SCORE = "min(ihsan_compliance_score)"


class Emitted(NamedTuple):
    """The rules, and what the catalogue holds that they do not."""

    file: RuleFile
    notes: tuple[str, ...]


def rules_of(
    catalogue: Catalogue, *, version: str, labels: Mapping[str, str] | None = None, title: str = ""
) -> Emitted:
    """Return the rules of every SLO that has queries; ``labels`` are added to every series and alert.

    Raises ConfigError for a query that is no PromQL, and if no SLO has queries.
    """
    groups: list[RuleGroup] = []
    notes = list(_beyond(catalogue))
    for slo in catalogue.slos:
        why = _inexpressible(slo)
        if why:
            notes.append(f"{slo.name}: {why}")
            continue
        one = _Slo(slo, catalogue, labels or {}, version)
        groups += one.groups()
        notes += [f"{slo.name}: {note}" for note in one.notes()]
    if not groups:
        told = f" ({'; '.join(notes)})" if notes else ""
        raise ConfigError(f"no rules come out: no SLO has queries for a Prometheus{told}; add queries to slos")
    return Emitted(RuleFile(tuple(groups), title), tuple(notes))


def _beyond(catalogue: Catalogue) -> Iterable[str]:
    """What belongs to no single SLO, and has no rules."""
    if catalogue.maintenance:
        yield "maintenance is not known to the rules: silence their alerts in the Alertmanager for that time"
    for composite in catalogue.composites:
        yield f"{composite.name}: a composite has no alerts of its own; those of its parts are here"


def alerts_of(slo: Objective, catalogue: Catalogue) -> AlertPolicy | None:
    """Return the burn alerts of an SLO; None for an invariant, which has no budget to burn."""
    if slo.kind == "invariant":
        return None
    if slo.window >= catalogue.alerting.period:
        return policy_of(slo.objective, catalogue.alerting)
    alert = _looking_back(catalogue.budget_policy, catalogue.alerting.min_bad)
    return AlertPolicy(slo.objective, slo.window, (alert,))


def _looking_back(policy: BudgetPolicy, min_bad: float) -> BurnAlert:
    window = policy.look_back
    name = f"warning_{format_duration(window)}"
    return BurnAlert(name, "warning", window, window, policy.alert_at_burn, min_bad=min_bad)


def _inexpressible(slo: Objective) -> str:
    if slo.kind not in _KINDS:
        return f"rules cannot say a {slo.kind} objective; alert on its parts"
    if not slo.queries and slo.kind != "invariant":
        return "has no queries for a Prometheus, so it has no rules"
    return ""


@dataclass(frozen=True)
class _Slo:
    """The rules of one SLO."""

    slo: Objective
    catalogue: Catalogue
    labels: Mapping[str, str]
    version: str

    def groups(self) -> Iterable[RuleGroup]:
        """The group that alerts, and the one that keeps the budget."""
        timed = self.slo.slice if self.slo.kind == "timeslice" else None
        name = f"node0-{self.slo.name}"
        watched, kept = tuple(self._watched()), tuple(self._kept())
        return RuleGroup(name, watched, timed), RuleGroup(f"{name}-budget", kept, self._slow)

    def notes(self) -> Iterable[str]:
        """What is not as one might expect."""
        policy = alerts_of(self.slo, self.catalogue)
        for alert in policy.alerts if policy else ():
            if not alert.can_fire(self.slo.objective):
                yield f"{alert.name} can never fire: {alert.factor:.4g} times its budget is more than everything"
        bound = counted_at(self.slo) if "buckets" in self.slo.queries else self.slo.threshold_s
        if bound != self.slo.threshold_s:
            between = f"its threshold of {self.slo.threshold_s:g} s is no bound of the histogram"
            yield f"{between}: requests above {bound:g} s, the bound below, count as slow, as node0 itself counts them"
        if self.slo.calendar is not None:
            yield "its budget is a calendar's, which rules cannot keep; node0 exports slo_error_budget_remaining"

    @property
    def _slow(self) -> timedelta:
        return max(BUDGET_INTERVAL, self.slo.slice) if self.slo.kind == "timeslice" else BUDGET_INTERVAL

    def _watched(self) -> Iterable[Rule]:
        policy = alerts_of(self.slo, self.catalogue)
        if policy is None:
            yield from self._invariant()
            return
        if self.slo.kind == "timeslice":
            yield self._record("node0:slo_slice_good", self._slice())
        for window in windows(policy.alerts):
            yield self._record(f"node0:slo_error_ratio:{format_duration(window)}", self._ratio(window))
        for window in sorted({alert.long for alert in policy.alerts if alert.min_bad}):
            yield self._record(f"node0:slo_bad_events:{format_duration(window)}", self._bad(window))
        for alert in policy.alerts:
            yield self._burning(policy, alert)

    def _kept(self) -> Iterable[Rule]:
        if self.slo.kind != "invariant" and self.slo.calendar is None:
            yield self._record("node0:slo_window_error_ratio", self._ratio(self.slo.window))
            ratio = self._series("node0:slo_window_error_ratio")
            yield self._record("node0:slo_error_budget_remaining", f"1 - {ratio} / {self.slo.budget!r}")
        yield self._record("node0:slo_objective", f"vector({self.slo.objective!r})")
        window = format_duration(self.slo.window)
        about = {"kind": self.slo.kind, "window": window, "objective": repr(self.slo.objective)}
        calendar = {} if self.slo.calendar is None else {"calendar": self.slo.calendar.unit}
        yield self._record("node0:slo_info", "vector(1)", {**about, **calendar, "generator": f"node0-{self.version}"})

    def _record(self, name: str, expr: str, more: Mapping[str, str] | None = None) -> Rule:
        return Rule.recording(name, expr, {"slo": self.slo.name, **self.labels, **(more or {})})

    def _series(self, name: str) -> str:
        return f"{name}{{slo={json.dumps(self.slo.name)}}}"

    def _ratio(self, window: timedelta) -> str:
        if self.slo.kind != "timeslice":
            return events_of(self.slo, window).ratio
        return f"1 - avg_over_time({self._series('node0:slo_slice_good')}[{format_duration(window)}])"

    def _bad(self, window: timedelta) -> str:
        if self.slo.kind != "timeslice":
            return events_of(self.slo, window).bad
        slices = f"{self._series('node0:slo_slice_good')}[{format_duration(window)}]"
        return f"count_over_time({slices}) - sum_over_time({slices})"

    def _slice(self) -> str:
        """1 or 0 for a slice with traffic: at least the quantile's share of its events is at or under the threshold."""
        if self.slo.quantile is None:
            raise ConfigError(f"slos.{self.slo.name}: a timeslice objective needs a quantile")
        good, total = under(self.slo, self.slo.slice)
        return f"(\n  {good}\n  >= bool\n  {self.slo.quantile!r} * {total}\n)\nand\n{total} > 0"

    def _burning(self, policy: AlertPolicy, alert: BurnAlert) -> Rule:
        long, short = format_duration(alert.long), format_duration(alert.short)
        threshold = policy.threshold(alert)
        ratios = [self._series(f"node0:slo_error_ratio:{window}") for window in dict.fromkeys((long, short))]
        terms = [f"{ratio} > {threshold!r}" for ratio in ratios]
        if alert.min_bad:
            terms.append(f"{self._series(f'node0:slo_bad_events:{long}')} >= {alert.min_bad!r}")
        labels = {"severity": alert.severity, "slo": self.slo.name, "long_window": long, "short_window": short}
        return Rule(
            "\nand\n".join(terms),
            alert=BURN_ALERT,
            hold=alert.hold,
            labels={**self.labels, **labels},
            annotations=self._told(policy, alert),
        )

    def _told(self, policy: AlertPolicy, alert: BurnAlert) -> dict[str, str]:
        """Return the annotations: what is burnt how fast, and what the numbers mean."""
        long, short, period = (format_duration(one) for one in (alert.long, alert.short, policy.period))
        what = "slices" if self.slo.kind == "timeslice" else "events"
        both = f" and over {short}" if short != long else ""
        limit = f"{policy.threshold(alert) * 100:.4g}%"
        promise = f"{self.slo.objective * 100:.6g}% over {format_duration(self.slo.window)}"
        spent = f"{alert.factor * (alert.long / policy.period) * 100:.4g}%"
        sentences = (
            f"{{{{ $value | humanizePercentage }}}} of the {what} of the last {long} were bad.",
            f"Over {long}{both} more than {limit} were:",
            f"{alert.factor:.4g} times what the objective of {promise} allows.",
            f"In {long} that spends {spent} of the budget of {period}.",
            _plain(self.slo.description),
        )
        summary = f"{self.slo.name} burns its error budget more than {alert.factor:.4g} times too fast"
        return {"summary": summary, "description": " ".join(sentences).strip()}

    def _invariant(self) -> Iterable[Rule]:
        if self.slo.minimum is None:
            raise ConfigError(f"slos.{self.slo.name}: an invariant needs a minimum")
        # A gauge is sampled, not counted: where its query has a range at all, it is the one node0 samples by.
        sample = min(timedelta(minutes=1), self.slo.window)
        gauge = asked(self.slo, "gauge", sample) if self.slo.queries else _OWN_SCORE
        yield self._record("node0:slo_gauge", gauge)
        told = f"The gauge is {{{{ $value }}}} and must never be under {self.slo.minimum:g}."
        about = _plain(self.slo.description)
        yield Rule(
            f"{self._series('node0:slo_gauge')} < {self.slo.minimum!r}",
            alert=INVARIANT_ALERT,
            labels={**self.labels, "severity": "critical", "slo": self.slo.name},
            annotations={"summary": f"{self.slo.name} is broken", "description": f"{told} {about}".strip()},
        )


def _plain(text: str) -> str:
    """Text in which Prometheus finds no template."""
    return text.replace("{{", "{ {").replace("}}", "} }")
