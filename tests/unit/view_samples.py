"""Plain values for the tests of the views: one cycle as it could have been, and the run around it."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from node0lib.canary.sequential import MetricVerdict
from node0lib.canary.walk import Stage, Walked
from node0lib.cycle import CycleResult, Decision, Given, Kind, Series
from node0lib.gates import Gates, Verdict
from node0lib.ihsan import Control, Facts, score
from node0lib.optimize.estimate import Estimate
from node0lib.optimize.propose import Proposal
from node0lib.optimize.risk import Classified
from node0lib.ports import Arm
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.slo.catalogue import BudgetPolicy, Catalogue, ChangeClass
from node0lib.slo.objective import Objective
from node0lib.views import burndown, figures, headlines, tables
from node0lib.views.report import ReportFacts

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "production_cycle.ipynb"
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LIVE = {"cache_ttl_s": 60, "batch_size": 8, "timeout_ms": 250.0, "routing": "round_robin"}
CANDIDATE = {**LIVE, "cache_ttl_s": 180, "timeout_ms": 212.345}

SLOS = (
    Objective("api_availability", "ratio", 0.999, timedelta(days=30)),
    Objective("api_latency_p95", "timeslice", 0.9, timedelta(hours=1), threshold_s=0.05, quantile=0.95),
    Objective("api_latency_p99", "timeslice", 0.99, timedelta(hours=1), threshold_s=0.15, quantile=0.99),
    Objective("alpha_availability", "ratio", 0.995, timedelta(days=30)),
    Objective("alpha_latency_p95", "timeslice", 0.9, timedelta(hours=1), threshold_s=0.4, quantile=0.95),
    Objective("mcp_llm_latency_p95", "timeslice", 0.9, timedelta(hours=1), threshold_s=0.1, quantile=0.95),
    Objective("mcp_tools_availability", "ratio", 0.999, timedelta(days=30)),
    Objective("agent_success_rate", "ratio", 0.95, timedelta(hours=24)),
    Objective("agent_coordination_latency", "timeslice", 0.9, timedelta(hours=1), threshold_s=0.2, quantile=0.95),
    Objective("ihsan_compliance", "invariant", 1.0, timedelta(days=30), minimum=100.0),
)
CATALOGUE = Catalogue(SLOS)
_WINDOWS = (5, 30, 60, 360, 1440, 4320)
IHSAN = score(
    [Control("evidence_chain", 3), Control("environment_pinned", 1), Control("key_protected", 2)],
    Facts(sealed_records=412),
)


def slo_status(slo: Objective, errors: float, *, coverage: float = 1.0, faster: float = 1.0) -> SloStatus:
    """A status with an error ratio in every window; the 5 minute one is ``faster`` times as bad."""
    total = 100_000.0
    counts = {timedelta(minutes=m): Counts(total * (1 - errors), total, coverage) for m in _WINDOWS}
    counts[timedelta(minutes=5)] = Counts(total * (1 - min(1.0, errors * faster)), total, coverage)
    counts[slo.window] = Counts(total * (1 - errors), total, coverage)
    return status(slo, counts, BudgetPolicy())


def statuses() -> tuple[SloStatus, ...]:
    """Every state and edge: fine, at risk, breached, no data, short coverage, an invariant that holds."""
    ratios = (0.00016, 0.021, 0.0005, 0.0041, 0.0, 0.066, 0.0013, 0.0118, None, 0.0)
    found = []
    for slo, ratio in zip(SLOS, ratios, strict=True):
        if ratio is None:
            nothing = Counts.nothing("the query returned no series")
            found.append(status(slo, {slo.window: nothing, timedelta(minutes=5): nothing}, BudgetPolicy()))
        elif slo.kind == "invariant":
            found.append(status(slo, {slo.window: Counts(24.0, 24.0, 1.0)}, BudgetPolicy()))
        else:
            found.append(slo_status(slo, ratio, coverage=0.93 if slo.name == "alpha_availability" else 1.0, faster=2.5))
    return tuple(found)


def good_statuses() -> tuple[SloStatus, ...]:
    """Every SLO holds with more than half of its budget."""
    ratios = (0.00016, 0.021, 0.0005, 0.0011, 0.0, 0.026, 0.0002, 0.0118, 0.03, 0.0)
    made = [slo_status(s, r, faster=1.8) for s, r in zip(SLOS[:-1], ratios, strict=False)]
    return (*made, statuses()[-1])


def given(*, gap: bool = True) -> Given:
    """Thirty days in two-hour buckets, with a day that nobody observed, and an hour of slices."""
    total: list[float | None] = [7200.0] * 360
    good: list[float | None] = [7200.0 - (6 if 100 < i < 110 else i % 2) for i in range(360)]
    if gap:
        total[200:212] = good[200:212] = [None] * 12
    month = Series(AT - timedelta(days=30), timedelta(hours=2), tuple(good), tuple(total))
    broken = Series(AT - timedelta(hours=1), timedelta(minutes=1), (), (), "HTTP 503")
    return Given(
        at=AT, mode="autonomous", source="embedded", simulated=True, target="embedded", target_simulated=True,
        policy=LIVE, counts={}, series={"api_availability": month, "api_latency_p95": broken}, facts=Facts(),
        ihsan_history=(100.0,), incidents=(), seed=1,
    )  # fmt: skip


def proposal(low: float = 0.061) -> Proposal:
    """A candidate with two changed knobs; shown if ``low`` is above 0."""
    estimate = Estimate(0.0834, low, 0.1052, 0.9991, 32)
    return Proposal(CANDIDATE, ("cache_ttl_s", "timeout_ms"), ("cache_ttl", "timeout"), estimate, -0.2, -0.1, 40)


def _stage(share: float, outcome: Any, kinds: tuple[Any, Any, Any], high: float) -> Stage:
    names = ("error_rate", "latency_p95", "latency_p99")
    verdicts = tuple(
        MetricVerdict(n, k, 1.01, 0.72, high, m, 900 if k == "inconclusive" else None, f"at most {high} times")
        for n, k, m in zip(names, kinds, (1.05, 1.25, 1.4), strict=True)
    )
    arm = Arm(90_000, 90, 4_500, 900)
    return Stage(share, 15, arm, arm, verdicts, outcome, f"at {share:.0%}: every metric is within its margin")


def rollout(ending: Any = "promoted") -> Walked:
    """Four stages; the first could not bound the error rate at all."""
    passed = ("pass", "pass", "pass")
    stages = (
        _stage(0.05, "went_on", ("inconclusive", "pass", "pass"), math.inf),
        _stage(0.25, "passed", passed, 1.2),
        _stage(0.5, "passed", passed, 1.04),
        _stage(1.0, "passed" if ending == "promoted" else "failed", passed, 0.9),
    )
    return Walked(stages, ending, (stages[-1].reason,), 60)


GATES = Gates(
    (
        Verdict("telemetry", True, "all 10 SLOs have data"),
        Verdict("error_budget", True, "the least budget is 74%, of mcp_llm_latency_p95"),
        Verdict("recent_incident", True, "no incident within 1h"),
        Verdict("slo_compliance", True, "10 of 10 SLOs hold, none is breached"),
        Verdict("burn_alerts", True, "critical and warning burn-rate alerts: none fires"),
        Verdict("ihsan", True, "ihsan is 100.0 (need 95)"),
    )
)
CLOSED = Gates(
    (
        Verdict("telemetry", False, "no data (the query returned no series) for agent_coordination_latency"),
        Verdict("error_budget", False, "api_availability has 30% budget (need 50%); " * 4 + "frozen"),
        Verdict("ihsan", True, "ihsan is 100.0 (need 95)"),
    )
)


def result(kind: Kind = "applied") -> CycleResult:
    """A whole cycle that ended with that decision."""
    tried = kind in ("applied", "rolled_back", "inconclusive")
    found = None if kind == "blocked" else proposal(-0.01 if kind == "no_change" else 0.061)
    shown = ("improvement 8.3% (95% interval 6.1% to 10.5%, 32 fresh pairs)",)
    reasons = CLOSED.reasons if kind == "blocked" else shown
    return CycleResult(
        at=AT, mode="autonomous", source="embedded", simulated=True, target="embedded", target_simulated=True,
        policy=LIVE, statuses=statuses() if kind == "blocked" else good_statuses(), ihsan=IHSAN,
        gates=CLOSED if kind == "blocked" else GATES, proposal=found,
        classified=Classified(ChangeClass.M, ("retry is a class M change",)) if found else None,
        rollout=rollout("promoted" if kind == "applied" else "rolled_back") if tried else None,
        decision=Decision(kind, reasons, CANDIDATE if kind == "applied" else LIVE),
    )  # fmt: skip


def executed(kind: Kind = "applied") -> NotebookNode:
    """The production notebook with the outputs that the cycle of that kind would have left; a copy of one's own."""
    return copy.deepcopy(_executed(kind))


@functools.cache
def _executed(kind: Kind) -> NotebookNode:
    seen = result(kind)
    live = seen.policy
    shown: dict[str, Any] = {
        "given": tables.given(given()),
        "ihsan": tables.ihsan(seen.ihsan),
        "levels": tables.statuses(seen.statuses),
        "budgets": figures.budgets_left(seen.statuses, CATALOGUE.budget_policy),
        "burn": figures.burn_rates(seen.statuses, CATALOGUE.alerting),
        "burndown": burndown.burn_down(given(), SLOS[0]),
        "gates": tables.gates(seen.gates),
        "proposal": tables.proposal(live, seen.proposal, seen.classified),
        "improvement": figures.improvement(seen.proposal),
        "rollout": tables.rollout(seen.rollout),
        "canary": figures.canary(seen.rollout),
        "decision": tables.decision(seen.decision),
    }
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.execution_count = number + 1
        if cell.id in shown:
            data = shown[cell.id]._repr_mimebundle_()
            cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=number + 1)]
    return notebook


def facts(kind: Kind = "applied") -> ReportFacts:
    """What the control plane knows of a cycle that ended well."""
    seen = result(kind)
    titles = ["Parameters", "What is given", "Compliance", "Service levels", "Error budgets", "Burn rates",
              "Budget over time", "Gates", "Proposal", "Expected improvement", "Walked", "Canary", "Decision",
              "Result"]  # fmt: skip
    return ReportFacts(
        cycle="20261124T120000Z-7f3a", at=AT, status=kind, failed=False, message="", reasons=seen.decision.reasons,
        banner="SIMULATED TARGET, SIMULATED TELEMETRY", mode="autonomous", source="embedded", target="embedded",
        parameters={"config": "configs/node0.yaml", "at": "2026-11-24T12:00:00Z", "out": ""},
        cells=tuple((t, "done", 0.2 + 0.31 * i) for i, t in enumerate(titles)),
        digests=tuple((n, f"{i:064x}") for i, n in enumerate(("node0.yaml", "slo.yaml", "result.json"))),
        evidence=("poi-attestations/20261124T120000Z-7f3a.json", "slsa-provenance/20261124T120000Z-7f3a.dsse.json"),
        builder="node0 0.1.0", headlines=headlines.headlines(seen), caveats=headlines.caveats(seen),
        clock="The instant was given, not read from a clock.", result=seen,
    )  # fmt: skip


def failed_facts(status: str) -> ReportFacts:
    """The facts of a run that failed in the step Gates."""
    state = {"error": "failed", "incomplete": "not run"}.get(status, "cut off")
    order = [title for title, _, _ in facts().cells]
    at = order.index("Gates")
    cells = tuple((t, "done" if i < at else state if i == at else "not run", 1.0 if i <= at else None)
                  for i, t in enumerate(order))  # fmt: skip
    return replace(
        facts(), status=status, failed=True, message="ZeroDivisionError: division by zero", reasons=(), cells=cells,
        headlines=(), caveats=("The run failed; nothing it shows was concluded.",), result=None,
    )  # fmt: skip


def failed_notebook() -> NotebookNode:
    """The notebook of a run that failed in the step Gates."""
    notebook = executed()
    position = next(i for i, c in enumerate(notebook.cells) if c.id == "gates")
    for cell in notebook.cells[position:]:
        if cell.cell_type == "code":
            cell.outputs = []
    trace = ["\x1b[31mZeroDivisionError\x1b[0m", "division by zero"]
    error = nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=trace)
    notebook.cells[position].outputs = [error]
    return notebook
