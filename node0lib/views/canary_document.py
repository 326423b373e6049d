"""A rollout as data: everything that was seen and done, for programs.

``document`` is JSON throughout: instants are ISO 8601 in UTC, and what is not known or not finite is null, never 0.
Ratios are canary to control; a ``high`` of null means that no harm is excluded. At 100% no control is left: ``low`` and
``high`` are then shares of an absolute limit, ``ratio`` is null. Where the canary's own share decides a latency
(``reason`` says so), all three are multiples of the share of slow requests that is allowed, and ``margin`` is 1.

=============== ======================================================================================================
schema          ``node0-canary-report/1``
change          ``id class why``, ``before`` and ``after`` (``policy digest``), ``differs`` (knob, before, after)
target          its name; ``simulated``, ``started``, ``finished``, ``minutes`` to the decision (null: by an error)
plan            ``stages length_minutes on_inconclusive harm_cap approval``, the judge's ``alpha beta margins
                design_effect minimum_requests error_limit``
ending          promoted, rolled_back, held; null where it ended by an ``error``. ``reasons``: why
exposed         canary ``requests``, ``failed`` ones, and how many of these are ``beyond_control``
stages          ``share minutes outcome reason control canary metrics``
looks           all of them: ``minute length state stage share got revision control canary metrics reason passed``
- arms          ``requests errors slow_p95 slow_p99`` of this look (of a stage: of the whole stage)
- metrics       ``metric verdict ratio low high margin need reason``, of all that was seen up to then
deeds           ``command share reason decided confirmed``
not_excluded    the metrics that were not shown to be harmless: ``metric verdict up_to margin share``; null where
                nothing was ever compared with a control
rollback        null, or ``seconds within kept attempts requests_after decided confirmed``
notes           for people
=============== ======================================================================================================

>>> finite({"high": float("inf"), "looks": (1.5, float("nan"))})
{'high': None, 'looks': [1.5, None]}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from node0lib.canary.record import Deed, Return, RolloutRecord
from node0lib.canary.sequential import MetricVerdict
from node0lib.canary.walk import Seen, Stage
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.ports import Arm, Policy
from node0lib.timespan import format_instant
from node0lib.views import words

SCHEMA = "node0-canary-report/1"


def document(record: RolloutRecord) -> dict[str, Any]:
    """Return the rollout as JSON values."""
    walked = record.walked
    whole: dict[str, Any] = finite(
        {
            "schema": SCHEMA,
            "change": _change(record),
            "target": record.target,
            "simulated": record.simulated,
            "started": format_instant(record.started),
            "finished": format_instant(record.finished),
            "minutes": walked.minutes if walked else None,
            "plan": _plan(record),
            "ending": walked.ending if walked else None,
            "reasons": walked.reasons if walked else (),
            "error": record.error,
            "exposed": exposed(record),
            "stages": [_stage(stage) for stage in walked.stages] if walked else [],
            "looks": [_look(seen) for seen in record.looks],
            "deeds": [_deed(deed) for deed in record.deeds],
            "not_excluded": not_excluded(record),
            "rollback": way_back(record.back),
            "notes": record.notes,
        }
    )
    return whole


def finite(value: Any) -> Any:
    """Return ``value`` with lists for sequences and None for every number that JSON has none for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(inner) for inner in value]
    return value


def _change(record: RolloutRecord) -> dict[str, Any]:
    before, after = record.change.control, record.change.candidate
    return {
        "id": record.id,
        "class": record.change_class,
        "why": record.why,
        "before": {"policy": dict(before), "digest": digest(before)},
        "after": {"policy": dict(after), "digest": digest(after)},
        "differs": [
            {"knob": knob, "before": before.get(knob), "after": after.get(knob)}
            for knob, _, _ in words.changes(before, after)
        ],
    }


def digest(policy: Policy) -> str:
    """Return the SHA-256 of a policy as its file has it, as attestations name it."""
    return sha256(policy_bytes(policy))


def _plan(record: RolloutRecord) -> dict[str, Any]:
    plan, rules = record.change.plan(), record.change.margins
    return {
        "stages": plan.shares,
        "length_minutes": plan.length,
        "on_inconclusive": plan.on_inconclusive,
        "harm_cap": plan.harm_cap,
        "approval": record.change.rule.approval,
        "alpha": rules.alpha,
        "beta": rules.beta,
        "margins": {
            "error_rate": rules.error_rate, "latency_p95": rules.latency_p95, "latency_p99": rules.latency_p99,
        },
        "design_effect": rules.design_effect,
        "minimum_requests": rules.minimum_requests,
        "error_limit": record.change.error_limit,
    }  # fmt: skip


def _arm(arm: Arm) -> dict[str, int]:
    return {
        "requests": int(arm.requests), "errors": int(arm.errors),
        "slow_p95": int(arm.slow_p95), "slow_p99": int(arm.slow_p99),
    }  # fmt: skip


def _metric(v: MetricVerdict) -> dict[str, Any]:
    return {
        "metric": v.metric, "verdict": v.kind, "ratio": v.ratio, "low": v.low, "high": v.high, "margin": v.margin,
        "need": v.need, "reason": v.reason,
    }  # fmt: skip


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "share": stage.share,
        "minutes": stage.minutes,
        "outcome": stage.outcome,
        "reason": stage.reason,
        "control": _arm(stage.control),
        "canary": _arm(stage.canary),
        "metrics": [_metric(v) for v in stage.verdicts],
    }


def _look(seen: Seen) -> dict[str, Any]:
    look, rollout = seen.look, seen.rollout
    return {
        "minute": look.minute,
        "length": look.length,
        "state": rollout.state.value,
        "stage": rollout.stage,
        "share": rollout.share,
        "got": got(seen),
        "revision": rollout.revision,
        "control": _arm(look.control),
        "canary": _arm(look.canary),
        "metrics": [_metric(v) for v in seen.reading.verdicts],
        "reason": told(seen),
        "passed": seen.reading.passed,
    }


def got(seen: Seen) -> float | None:
    """Return the share of a look's requests that went to the canary; None where there was none at all."""
    total = seen.look.control.requests + seen.look.canary.requests
    return seen.look.canary.requests / total if total else None


def told(seen: Seen) -> str:
    """Return what a look says: the worst that is known after it."""
    reading = seen.reading
    return reading.lost or reading.failed or reading.broken or reading.open_


def _deed(deed: Deed) -> dict[str, Any]:
    return {
        "command": deed.command.kind,
        "share": deed.command.share,
        "reason": deed.command.reason,
        "decided": format_instant(deed.decided),
        "confirmed": format_instant(deed.confirmed) if deed.confirmed else None,
    }


def way_back(back: Return | None) -> dict[str, Any] | None:
    """Return how the canary's traffic was taken back, as JSON values."""
    if back is None:
        return None
    return {
        "seconds": back.seconds,
        "within": back.within,
        "kept": back.kept,
        "attempts": back.attempts,
        "requests_after": back.after,
        "decided": format_instant(back.decided),
        "confirmed": format_instant(back.confirmed),
    }


def last_compared(record: RolloutRecord) -> tuple[float, tuple[MetricVerdict, ...]]:
    """Return the share and the verdicts of the last comparison with a control; (0, ()) if there was none."""
    compared = [(s.share, s.verdicts) for s in record.walked.stages if s.share < 1] if record.walked else []
    rollouts = [(s.rollout, s.reading.verdicts) for s in record.looks]
    compared += [(r.share, v) for r, v in rollouts if r.share < 1 and r.revision == rollouts[-1][0].revision]
    return next((one for one in reversed(compared) if any(v.kind != "no_data" for v in one[1])), (0.0, ()))


def not_excluded(record: RolloutRecord) -> list[dict[str, Any]] | None:
    """Return the metrics that the comparison did not show to be harmless, and how much worse each may be.

    None where nothing was compared: then nothing is excluded.
    """
    share, verdicts = last_compared(record)
    if not verdicts:
        return None
    return [
        finite({"metric": v.metric, "verdict": v.kind, "up_to": v.high, "margin": v.margin, "share": share})
        for v in verdicts
        if v.kind != "pass"
    ]


def exposed(record: RolloutRecord) -> dict[str, Any]:
    """Return how many requests met the canary, how many failed, and how many of these beyond the control's rate.

    The control's rate is that of the same stage; at 100%, where (almost) none is left, that of all stages. It is None
    if no control was ever seen, and below 0 where the canary failed less.
    """
    arms: dict[tuple[str, float], list[int]] = {}
    for seen in record.looks:
        control, canary = seen.look.control, seen.look.canary
        counts = arms.setdefault((seen.rollout.revision, seen.rollout.share), [0, 0, 0, 0])
        for n, count in enumerate((control.requests, control.errors, canary.requests, canary.errors)):
            counts[n] += int(count)
    requests, failed = (sum(counts[n] for counts in arms.values()) for n in (2, 3))
    beyond = sum(_beyond(arms, key) for key in arms)
    return {"requests": requests, "failed": failed, "beyond_control": finite(beyond)}


def _beyond(arms: Mapping[tuple[str, float], Sequence[int]], key: tuple[str, float]) -> float:
    """How many failed beyond the control's rate at one share; NaN if that is not known."""
    alone = arms[key][0] == 0 or key[1] >= 1
    requests, failed = (sum(a[n] for a in arms.values()) if alone else arms[key][n] for n in (0, 1))
    _, _, canary_requests, canary_failed = arms[key]
    return canary_failed - canary_requests * failed / requests if requests else math.nan
