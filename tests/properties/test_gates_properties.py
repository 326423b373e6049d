"""The gates on anything that may be observed: worse is never better, and no gate is closed without a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from node0lib.gates import Gates, Incident, ask, firing
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.slo.catalogue import Alerting, BudgetPolicy, Catalogue, GateRules
from node0lib.slo.objective import Objective

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MONTH, DAY, HOUR = timedelta(days=30), timedelta(days=1), timedelta(hours=1)
SLOS = (
    Objective("api_availability", "ratio", 0.999, MONTH),
    Objective("agent_success_rate", "ratio", 0.95, DAY),
    Objective("api_latency_p95", "timeslice", 0.9, HOUR, threshold_s=0.05, quantile=0.95),
    Objective("ihsan_compliance", "invariant", 1.0, HOUR, minimum=100.0),
)
WINDOWS = tuple(timedelta(minutes=m) for m in (5, 30, 60, 120, 360, 1440, 4320))
NAMES = {"telemetry", "error_budget", "recent_incident", "slo_compliance", "burn_alerts", "ihsan"}

Observed = dict[str, dict[timedelta, tuple[int, int]]]
"""SLO and window to (bad, total)."""


@st.composite
def observations(draw: st.DrawFn, *, some: bool = False) -> Observed:
    """Bad and total events of every SLO over every window, from an idle service to one that only fails."""
    totals = st.integers(1 if some else 0, 100_000)
    shares = st.one_of(st.just(0.0), st.floats(0, 0.002), st.floats(0, 1))
    found: Observed = {}
    for slo in SLOS:
        pairs = {w: (draw(totals), draw(shares)) for w in {*WINDOWS, slo.window}}
        found[slo.name] = {w: (round(total * share), total) for w, (total, share) in pairs.items()}
    return found


@st.composite
def incidents(draw: st.DrawFn) -> tuple[Incident, ...]:
    """Incidents of the last day, some of them still open."""
    ages = draw(st.lists(st.tuples(st.integers(0, 1440), st.booleans()), max_size=3))
    opened = [(NOW - timedelta(minutes=age), open_) for age, open_ in ages]
    return tuple(Incident("failed", at, None if open_ else at, f"at {at:%H:%M}") for at, open_ in opened)


def _statuses(seen: Observed) -> list[SloStatus]:
    return [
        status(slo, {w: Counts(total - bad, total, 1.0) for w, (bad, total) in seen[slo.name].items()}, BudgetPolicy())
        for slo in SLOS
    ]


def _ask(seen: Observed, ihsan: float = 100.0, known: tuple[Incident, ...] = ()) -> Gates:
    return ask(Catalogue(SLOS), _statuses(seen), ihsan, known, NOW)


def _closed(gates: Gates) -> set[str]:
    return {v.gate for v in gates.verdicts if not v.open}


@given(observations(some=True), st.data())
def test_adding_errors_never_opens_a_closed_gate(seen: Observed, data: st.DataObject) -> None:
    """Whatever fails more, in whatever windows: a gate that was closed stays closed."""
    worse: Observed = {}
    for name, windows in seen.items():
        more = {w: data.draw(st.integers(0, total - bad), label=name) for w, (bad, total) in windows.items()}
        worse[name] = {w: (bad + more[w], total) for w, (bad, total) in windows.items()}
    assert _closed(_ask(seen)) <= _closed(_ask(worse))


@given(observations(some=True), st.integers(1, 10_000))
def test_failures_on_top_never_open_a_closed_gate(seen: Observed, more: int) -> None:
    """Requests that come on top and fail do not help either."""
    worse = {name: {w: (bad + more, total + more) for w, (bad, total) in ws.items()} for name, ws in seen.items()}
    assert _closed(_ask(seen)) <= _closed(_ask(worse))


@given(observations(), st.sampled_from(SLOS))
def test_losing_telemetry_closes_the_gate(seen: Observed, slo: Objective) -> None:
    """An SLO of which nothing is seen closes the telemetry gate, however good the others are, and is named."""
    blind = {**seen, slo.name: dict.fromkeys(seen[slo.name], (0, 0))}
    gates = _ask(blind)
    assert "telemetry" in _closed(gates)
    assert any(slo.name in reason for reason in gates.reasons)


@given(observations(), st.floats(0, 100), st.floats(0, 100), incidents(), incidents())
def test_a_lower_score_or_one_more_incident_never_opens_a_gate(
    seen: Observed, one: float, other: float, known: tuple[Incident, ...], more: tuple[Incident, ...]
) -> None:
    """Less compliance and more incidents only close gates."""
    low, high = sorted((one, other))
    assert _closed(_ask(seen, high, known)) <= _closed(_ask(seen, low, (*known, *more)))


@given(observations(), st.floats(0, 100), incidents())
def test_every_closed_gate_says_why(seen: Observed, ihsan: float, known: tuple[Incident, ...]) -> None:
    """Every gate answers once, with a reason; the reasons told are those of the closed gates, all of them."""
    gates = _ask(seen, ihsan, known)
    assert sorted(v.gate for v in gates.verdicts) == sorted(NAMES)
    assert all(v.reason.strip() and "\n" not in v.reason for v in gates.verdicts)
    assert gates.open is (not _closed(gates))
    wanted = [v.reason for v in gates.verdicts if gates.open or not v.open]
    assert list(gates.reasons) == wanted


@given(observations(some=True))
def test_a_closed_budget_gate_names_every_short_budget(seen: Observed) -> None:
    """Each SLO with no more than half of its budget stands in the reason, and no other one."""
    verdict = next(v for v in _ask(seen).verdicts if v.gate == "error_budget")
    short = {s.name for s in _statuses(seen) if s.budget_left is not None and s.budget_left <= 0.5}
    assert verdict.open is (not short)
    if short:
        assert {slo.name for slo in SLOS if f"{slo.name} has " in verdict.reason} == short


@given(observations(some=True))
def test_what_fires_burns_in_both_windows(seen: Observed) -> None:
    """An alert needs both windows above its factor, enough bad events, and an SLO of at least the alerting period."""
    alerting = Alerting()
    for alert in firing(_statuses(seen), alerting):
        assert min(alert.long_burn, alert.short_burn) > alert.factor == alert.pair.factor(alerting.period)
        assert seen[alert.slo][alert.pair.long][0] >= alerting.min_bad
        assert alert.slo == "api_availability", "the only one with a window of 30 days"
    closed = "burn_alerts" in _closed(_ask(seen))
    assert closed is any(a.pair.severity != "info" for a in firing(_statuses(seen), alerting))


@given(observations(), st.floats(0, 100), incidents())
def test_fewer_rules_never_close_more(seen: Observed, ihsan: float, known: tuple[Incident, ...]) -> None:
    """A gate that people switched off is not asked; the others answer as before."""
    fewer = replace(Catalogue(SLOS), gates=GateRules(slo_compliance=False, telemetry=False, burn_alerts=False))
    found = ask(fewer, _statuses(seen), ihsan, known, NOW)
    assert {v.gate for v in found.verdicts} == NAMES - {"telemetry", "slo_compliance", "burn_alerts"}
    assert _closed(found) == _closed(_ask(seen, ihsan, known)) & {v.gate for v in found.verdicts}


@given(observations(), st.floats(0, 100), incidents())
def test_the_order_of_the_slos_does_not_matter(seen: Observed, ihsan: float, known: tuple[Incident, ...]) -> None:
    """Which gates are open does not depend on who stands first."""
    turned = ask(Catalogue(SLOS), _statuses(seen)[::-1], ihsan, known[::-1], NOW)
    assert _closed(turned) == _closed(_ask(seen, ihsan, known))
