"""What a cycle delivered, for the record of changes and deployments.

A change that was deployed is a deployment; one that was tried and rolled back is a failed one; taking back an earlier
cycle's change is a deployment of its own (a rollback) and makes the earlier one failed. A cycle that changes nothing is
no deployment.

>>> remember_change.__name__
'remember_change'
"""

from __future__ import annotations

import json
from datetime import datetime

from node0lib.canary.rollout import Rollout
from node0lib.cycle import CycleResult, Given
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.optimize.propose import Proposal
from node0lib.optimize.risk import Classified
from node0lib.ports import Policy
from node0lib.shell.state import Deployment, State


def remember_change(
    state: State, cycle: str, given: Given, result: CycleResult, when: tuple[datetime, datetime]
) -> None:
    """Record the change that a cycle tried, if it did, and the deployment that came of it; ``when`` is (start, end)."""
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


def _sha(policy: Policy) -> str:
    return sha256(policy_bytes(policy))


def _row(proposal: Proposal, classified: Classified, rollout: Rollout, live: Policy) -> dict[str, object]:
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
