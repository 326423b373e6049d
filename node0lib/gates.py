"""May anything change now? All gates are asked; each answers with its reason.

The gates: telemetry (no data is never good data), error budget, SLO compliance, burn alerts, recent incident,
ihsan. All of them must be open; a verdict is data, and somebody else acts on it.

>>> Verdict("ihsan", True, "ihsan 100").open
True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from node0lib.alerts.policy import fires
from node0lib.slo.budget import SloStatus
from node0lib.slo.catalogue import Alerting, AlertPair, Catalogue
from node0lib.timespan import format_duration, format_instant


@dataclass(frozen=True)
class Verdict:
    """One gate's answer."""

    gate: str
    open: bool
    reason: str


@dataclass(frozen=True)
class Gates:
    """All answers; ``open`` only if every gate is."""

    verdicts: tuple[Verdict, ...]

    @property
    def open(self) -> bool:
        return all(v.open for v in self.verdicts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the closed gates are closed, or what the open ones found."""
        closed = tuple(v.reason for v in self.verdicts if not v.open)
        return closed or tuple(v.reason for v in self.verdicts)


@dataclass(frozen=True)
class Alert:
    """A burn-rate alert that fires at the instant of the status: both windows burn above the factor."""

    slo: str
    pair: AlertPair
    factor: float
    long_burn: float
    short_burn: float

    def __str__(self) -> str:
        windows = f"{format_duration(self.pair.long)}/{format_duration(self.pair.short)}"
        burns = f"{self.long_burn:.1f}x and {self.short_burn:.1f}x"
        return f"{self.slo} burns {burns} over {windows} (more than {self.factor:.1f}x, {self.pair.severity})"


@dataclass(frozen=True)
class Incident:
    """What node0 remembers of an incident; ``resolved_at`` is None while it is open."""

    kind: str
    opened_at: datetime
    resolved_at: datetime | None
    summary: str


def firing(statuses: Iterable[SloStatus], alerting: Alerting) -> tuple[Alert, ...]:
    """Return the alerts that fire now, for the SLOs whose window is at least the alerting period.

    The condition is the replay's own (``alerts.policy.fires``), on unrounded ratios, ``min_bad`` included. A gate looks
    at one instant and has no memory: it takes no notice of ``for``, and so closes at least as soon as the alert fires.
    """
    slos = [s for s in statuses if s.window >= alerting.period and s.kind != "invariant"]
    asked = [(s, pair) for s in slos for pair in alerting.pairs]
    return tuple(a for s, pair in asked if (a := _alert(s, pair, alerting)) is not None)


def _alert(slo: SloStatus, pair: AlertPair, alerting: Alerting) -> Alert | None:
    factor = pair.factor(alerting.period)
    names = [format_duration(window) for window in (pair.short, pair.long)]
    short, long = (slo.ratio.get(name) for name in names)
    short_burn, long_burn = (slo.burn.get(name) for name in names)
    bad = slo.bad.get(names[1])
    if short is None or long is None or bad is None or short_burn is None or long_burn is None:
        return None
    if not fires(short, long, bad, factor * (1.0 - slo.objective), alerting.guard(pair)):
        return None
    return Alert(slo.name, pair, factor, long_burn, short_burn)


def ask(
    catalogue: Catalogue,
    statuses: Sequence[SloStatus],
    ihsan: float,
    incidents: Sequence[Incident],
    at: datetime,
    failed_controls: Sequence[str] = (),
) -> Gates:
    """Ask every gate; ``ihsan`` is the score 0..100, ``incidents`` all that node0 remembers.

    ``failed_controls`` are told with a score that is too low.
    """
    rules = catalogue.gates
    verdicts = [_budget(catalogue, statuses), _incident(incidents, at, rules.recent_incident)]
    if rules.telemetry:
        verdicts.insert(0, _telemetry(statuses))
    if rules.slo_compliance:
        verdicts.append(_compliance(statuses))
    if rules.burn_alerts:
        verdicts.append(_alerts(firing(statuses, catalogue.alerting)))
    need = rules.ihsan_at_least
    told = f"; failed: {', '.join(failed_controls)}" if failed_controls else ""
    verdicts.append(Verdict("ihsan", ihsan >= need, f"ihsan is {ihsan:.1f} (need {need:g}){told}"))
    return Gates(tuple(verdicts))


def _telemetry(statuses: Sequence[SloStatus]) -> Verdict:
    blind = [s for s in statuses if s.state == "no_data"]
    if not blind:
        return Verdict("telemetry", True, f"all {len(statuses)} SLOs have data")
    why = "; ".join(sorted({s.problem for s in blind if s.problem is not None}))
    return Verdict("telemetry", False, f"no data ({why}) for {', '.join(s.name for s in blind)}")


def _budget(catalogue: Catalogue, statuses: Sequence[SloStatus]) -> Verdict:
    policy = catalogue.budget_policy
    known = {s.name: s.budget_left for s in statuses if s.budget_left is not None}
    short = {name: left for name, left in known.items() if left <= policy.optimize_above}
    if short:
        need = f"(need {policy.optimize_above:.0%})"
        reasons = [f"{name} has {_share(left, policy.optimize_above)} budget {need}" for name, left in short.items()]
        frozen = [name for name, left in short.items() if left < policy.freeze_below]
        if frozen:
            reasons.append(f"deployments are frozen by {', '.join(frozen)}")
        return Verdict("error_budget", False, "; ".join(reasons))
    if not known:
        return Verdict("error_budget", False, "no SLO has a known budget")
    return Verdict("error_budget", True, _least(known))


def _share(left: float, need: float) -> str:
    """A budget in whole percent, or with a digit more where it would look like what is needed."""
    whole = f"{left:.0%}"
    return whole if whole != f"{need:.0%}" else f"{left:.1%}"


def _least(known: Mapping[str, float]) -> str:
    name = min(known, key=lambda n: known[n])
    return f"the least budget is {known[name]:.0%}, of {name}"


def _compliance(statuses: Sequence[SloStatus]) -> Verdict:
    broken = [s.name for s in statuses if s.state == "breached"]
    if broken:
        return Verdict("slo_compliance", False, f"breached: {', '.join(broken)}")
    met = sum(s.state in ("meeting", "at_risk") for s in statuses)
    return Verdict("slo_compliance", True, f"{met} of {len(statuses)} SLOs hold, none is breached")


def _alerts(alerts: Sequence[Alert]) -> Verdict:
    blocking = [a for a in alerts if a.pair.severity in ("critical", "warning")]
    if blocking:
        return Verdict("burn_alerts", False, "; ".join(str(a) for a in blocking))
    told = "; ".join(str(a) for a in alerts) or "none fires"
    return Verdict("burn_alerts", True, f"critical and warning burn-rate alerts: {told}")


def _incident(incidents: Sequence[Incident], at: datetime, within: timedelta) -> Verdict:
    recent = [i for i in incidents if i.resolved_at is None or i.opened_at > at - within]
    if recent:
        newest = max(recent, key=lambda i: i.opened_at)
        text = f"{newest.kind} at {format_instant(newest.opened_at)}: {newest.summary}"
        return Verdict("recent_incident", False, text)
    return Verdict("recent_incident", True, f"no incident within {format_duration(within)}")
