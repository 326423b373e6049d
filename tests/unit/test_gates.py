"""The gates, one by one and together."""

from datetime import UTC, datetime, timedelta

import pytest

from node0lib.gates import Gates, Incident, ask, firing
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.slo.catalogue import Alerting, BudgetPolicy, Catalogue
from node0lib.slo.objective import Objective

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MONTH = timedelta(days=30)
API = Objective("api_availability", "ratio", 0.999, MONTH)
WINDOWS = [timedelta(minutes=m) for m in (5, 30, 60, 120, 360, 1440, 4320)]


def _status(errors: int, recent: int = 0, problem: str | None = None) -> SloStatus:
    """10,000 requests in the month with so many errors; 1,000 in every shorter window with ``recent``."""
    month = Counts.nothing(problem) if problem else Counts(100_000 - errors, 100_000, 1.0)
    short = Counts.nothing(problem) if problem else Counts(1000 - recent, 1000, 1.0)
    return status(API, {MONTH: month, **dict.fromkeys(WINDOWS, short)}, BudgetPolicy())


def _ask(found: SloStatus, ihsan: float = 100.0, incidents: tuple[Incident, ...] = ()) -> Gates:
    return ask(Catalogue((API,)), [found], ihsan, incidents, NOW)


def _closed(gates: Gates) -> list[str]:
    return [v.gate for v in gates.verdicts if not v.open]


def test_all_gates_open_on_a_healthy_service() -> None:
    """Budget left, data, no alert, no incident, ihsan 100: everything is open."""
    assert _ask(_status(10)).open


def test_a_short_budget_says_how_much_is_needed() -> None:
    """The reason is the one the original interface prints."""
    gates = _ask(_status(70))
    assert _closed(gates) == ["error_budget"]
    assert gates.reasons == ("api_availability has 30% budget (need 50%)",)


def test_a_frozen_budget_says_so() -> None:
    """Under a quarter of the budget deployments are frozen, and the reason names the SLO."""
    assert "frozen by api_availability" in _ask(_status(80)).reasons[0]


def test_exactly_half_a_budget_is_not_more_than_half() -> None:
    """Optimizing needs more than the threshold, not the threshold itself."""
    half = Objective("half", "ratio", 0.5, MONTH)
    found = status(half, {MONTH: Counts(75, 100, 1.0)}, BudgetPolicy())
    assert found.budget_left == 0.5
    assert not ask(Catalogue((half,)), [found], 100, (), NOW).verdicts[1].open


def test_no_data_is_never_good() -> None:
    """Without telemetry the gate is closed and tells the source's own problem."""
    gates = _ask(_status(0, problem="connection refused"))
    assert "telemetry" in _closed(gates) and "connection refused" in gates.reasons[0]


def test_a_breach_closes_compliance() -> None:
    """An SLO whose budget is gone is breached."""
    assert "slo_compliance" in _closed(_ask(_status(150)))


def test_a_critical_burn_closes_the_gate() -> None:
    """A burn above 14.4x over both windows fires, and blocks."""
    gates = _ask(_status(10, recent=20))
    assert "burn_alerts" in _closed(gates)


def test_alerts_compare_strictly() -> None:
    """A burn of exactly the factor does not fire; one event more does."""
    policy = Alerting()
    at_factor = status(API, {MONTH: Counts(1, 1, 1.0), **_flat(144, 10_000)}, BudgetPolicy())
    above = status(API, {MONTH: Counts(1, 1, 1.0), **_flat(145, 10_000)}, BudgetPolicy())
    critical = [a for a in firing([above], policy) if a.pair.severity == "critical"]
    assert [a for a in firing([at_factor], policy) if a.pair.severity == "critical"] == []
    assert len(critical) == 1 and "14.5x" in str(critical[0])


def _flat(bad: int, total: int) -> dict[timedelta, Counts]:
    return dict.fromkeys(WINDOWS, Counts(total - bad, total, 1.0))


def test_a_single_failure_does_not_page() -> None:
    """Fewer than min_bad bad events in the long window fire nothing, however fast they burn."""
    found = status(API, {MONTH: Counts(1, 1, 1.0), **_flat(2, 10)}, BudgetPolicy())
    assert firing([found], Alerting(min_bad=3)) == ()


def test_alerts_need_both_windows() -> None:
    """A fault that is over in the short window no longer fires."""
    counts = _flat(200, 10_000) | {timedelta(minutes=5): Counts(1000, 1000, 1.0)}
    found = status(API, {MONTH: Counts(1, 1, 1.0), **counts}, BudgetPolicy())
    assert "critical" not in {a.pair.severity for a in firing([found], Alerting())}


@pytest.mark.parametrize(("minutes", "open_"), [(59, False), (60, True)])
def test_an_incident_closes_the_gate_for_an_hour(minutes: int, open_: bool) -> None:
    """A resolved incident closes the gate for the configured time, half-open."""
    opened = NOW - timedelta(minutes=minutes)
    gates = _ask(_status(10), incidents=(Incident("rolled_back", opened, opened, "x"),))
    assert gates.open is open_


def test_an_open_incident_closes_the_gate_however_old() -> None:
    """An incident that is not resolved never ages out."""
    old = Incident("outage", NOW - timedelta(days=9), None, "still on")
    assert _closed(_ask(_status(10), incidents=(old,))) == ["recent_incident"]


def test_ihsan_under_95_closes_the_gate() -> None:
    """Compliance under the threshold blocks."""
    assert _closed(_ask(_status(10), ihsan=94.9)) == ["ihsan"]


def test_silence_closes_the_telemetry_gate() -> None:
    """A service that was good for a month and has been silent for the last hour may not be changed."""
    silent = {**_flat(0, 1000), timedelta(hours=1): Counts(0, 0, 1.0)}
    found = status(API, {MONTH: Counts(100_000, 100_000, 1.0), **silent}, BudgetPolicy())
    gates = _ask(found)
    assert _closed(gates) == ["telemetry"] and "no traffic in the look-back" in gates.reasons[0]


def test_a_budget_just_short_is_not_told_as_enough() -> None:
    """49.9% of a budget does not read "50% budget (need 50%)"."""
    half = Objective("half", "ratio", 0.5, MONTH)
    found = status(half, {MONTH: Counts(7496, 10_000, 1.0)}, BudgetPolicy())
    assert ask(Catalogue((half,)), [found], 100, (), NOW).reasons[0] == "half has 49.9% budget (need 50%)"
