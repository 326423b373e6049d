"""What the notebook says is run again: a result that does not follow from what was given is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node0lib.canary.walk import Walked
from node0lib.cycle import CycleResult, Decision, Given, run_cycle
from node0lib.errors import DataError
from node0lib.shell.config import load
from node0lib.shell.notebooks import by_hand
from node0lib.shell.observe import derived_again
from node0lib.shell.settings import Settings
from node0lib.shell.workspace import rules_of, target_of

AT = datetime(2026, 11, 24, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def honest() -> tuple[Settings, Given, CycleResult]:
    """An hour of the shipped installation in which a change is applied after a canary."""
    settings = load(Path(__file__).parents[2] / "configs" / "node0.yaml")
    given = by_hand(settings, AT)
    result = run_cycle(given, rules_of(settings), target_of(settings), lambda *_: None)
    assert result.decision.kind == "applied" and result.rollout is not None
    return settings, given, result


def test_an_honest_result_follows(honest: tuple[Settings, Given, CycleResult]) -> None:
    """What was really computed from what was given is accepted as it is."""
    settings, given, result = honest
    assert derived_again(settings, given, result) == result


def _forged(result: CycleResult, what: str) -> CycleResult:
    assert result.proposal is not None and result.rollout is not None
    estimate = replace(result.proposal.estimate, improvement=0.45, high=0.5, n=999)
    forged = {
        "estimate": replace(result, proposal=replace(result.proposal, estimate=estimate)),
        "no stages": replace(result, rollout=Walked((), "promoted", (), 0)),
        "fewer stages": replace(result, rollout=replace(result.rollout, stages=result.rollout.stages[1:])),
        "policy": replace(result, proposal=replace(result.proposal, policy={**result.policy, "llm_timeout_ms": 50})),
        "status": replace(result, statuses=result.statuses[1:]),
        "decision": replace(result, decision=Decision("applied", ("trust me",), {**result.policy, "batch_size": 64})),
    }
    return forged[what]


@pytest.mark.parametrize("what", ["estimate", "no stages", "fewer stages", "policy", "status", "decision"])
def test_a_forged_result_is_refused(honest: tuple[Settings, Given, CycleResult], what: str) -> None:
    """An invented gain, a rollout that was not run, another policy: each is one error, and nothing is applied."""
    settings, given, result = honest
    with pytest.raises(DataError, match="nothing is applied"):
        derived_again(settings, given, _forged(result, what))
