"""What a cycle delivered, for the record of changes and deployments.

A change that was deployed is a deployment; one that was tried and rolled back is a failed one; taking back an earlier
cycle's change is a deployment of its own (a rollback) and makes the earlier one failed. A cycle that changes nothing is
no deployment.

A candidate that is worth a change but needs an approval is left waiting for one; an approved change that was tried, or
was measured again and is no longer worth it, has ended. Where a gate was closed it is tried by a later cycle.

>>> remember_change.__name__
'remember_change'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from node0lib import cycle as steps
from node0lib.canary.walk import Walked
from node0lib.cycle import CycleResult, Given, Kind, Rules
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.optimize.propose import Proposal
from node0lib.optimize.risk import Classified
from node0lib.ports import Policy
from node0lib.shell.changes import ChangeState, find_change, register_from_cycle, start, step
from node0lib.shell.state import Deployment, State


def remember_change(
    state: State, cycle: str, given: Given, result: CycleResult, when: tuple[datetime, datetime], rules: Rules
) -> None:
    """Record the change that a cycle tried, if it did, and the deployment that came of it; ``when`` is (start, end)."""
    _remember_request(state, cycle, given, result, when[1], rules)
    proposal, classified, rollout = result.proposal, result.classified, result.rollout
    if proposal is not None and classified is not None and rollout is not None:
        state.record_change(cycle, _row(proposal, classified, rollout, given.policy))
    kind = result.decision.kind
    if kind == "applied":
        state.record_deployment(cycle, Deployment("succeeded", _sha(result.decision.policy), *when))
    elif kind == "rolled_back" and given.recent_change is not None and rollout is None:
        state.fail_deployment(given.recent_change.cycle)
        state.record_deployment(cycle, Deployment("succeeded", _sha(result.decision.policy), *when, kind="rollback"))
    elif kind == "rolled_back" and proposal is not None:
        state.record_deployment(cycle, Deployment("failed", _sha(proposal.policy), *when))


def begin_change(state: State, cycle: str, given: Given, result: CycleResult, at: datetime) -> None:
    """Note that the cycle tries the approved change; raises RefusedError if it was rejected meanwhile."""
    if given.approved is not None and result.proposal is not None:
        start(state, find_change(state, given.approved.change), at, who=f"cycle {cycle}")


_ENDINGS: Mapping[Kind, ChangeState] = {
    "applied": "promoted",
    "rolled_back": "rolled_back",
    "inconclusive": "held",
    "no_change": "held",
    "held": "held",
}


def _remember_request(
    state: State, cycle: str, given: Given, result: CycleResult, at: datetime, rules: Rules
) -> None:
    """End the approved change that the cycle was given, and leave a new one waiting if the cycle asks for that."""
    proposal, classified, decision = result.proposal, result.classified, result.decision
    if proposal is None or classified is None:
        return  # nothing was measured: whatever was approved is still to be tried
    waits = decision.kind == "held" and steps.lacks_approval(given, rules, proposal, classified)
    if given.approved is not None:
        change, told = find_change(state, given.approved.change), "; ".join(decision.reasons)
        ending = "approved" if decision.kind == "held" and not waits else _ENDINGS[decision.kind]
        step(state, change, ending, at, f"cycle {cycle}", told)
    if waits:
        register_from_cycle(state, cycle, given.policy, proposal, classified, at)


def _sha(policy: Policy) -> str:
    return sha256(policy_bytes(policy))


def _row(proposal: Proposal, classified: Classified, rollout: Walked, live: Policy) -> dict[str, object]:
    e = proposal.estimate
    return {
        "class": str(classified.change_class),
        "ending": rollout.ending,
        "before": json.dumps(dict(live), sort_keys=True),
        "after": json.dumps(dict(proposal.policy), sort_keys=True),
        "improvement": e.improvement,
        "low": e.low,
        "high": e.high,
    }
