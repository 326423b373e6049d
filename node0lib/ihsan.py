"""Ihsan (excellence): a compliance score 0..100, computed from controls, each with its finding.

A control passes, fails, or does not apply; the score is the weight of what passed over the weight of what
applied, times 100. Nothing is assumed: a fact nobody could establish fails its control.

>>> facts = Facts(sealed_records=3)
>>> score([Control("evidence_chain", 1.0)], facts).value
100.0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["pass", "fail", "not_applicable"]


@dataclass(frozen=True)
class Control:
    """One control and its weight; ``minimum`` is the threshold of a control that measures something."""

    name: str
    weight: float
    minimum: float | None = None
    description: str = ""


@dataclass(frozen=True)
class Facts:
    """What the control plane established before the cycle; the controls judge nothing else.

    ``coverage`` is the least observed share of any SLO's window, None if no SLO could be read at all.
    ``pin_mismatches`` is None where there is no constraints file; ``key_problem`` says who else could read
    the signing key. ``hours_since_crash`` is None if no cycle was ever interrupted.
    """

    sealed_records: int = 0
    chain_problem: str | None = None
    policy_problem: str | None = None
    hours_since_crash: float | None = None
    coverage: float | None = None
    pin_mismatches: tuple[str, ...] | None = None
    clock_problem: str | None = None
    key_problem: str | None = None


@dataclass(frozen=True)
class Finding:
    """What one control found."""

    control: str
    state: State
    weight: float
    finding: str


@dataclass(frozen=True)
class IhsanScore:
    """The score, 0..100, and every finding behind it."""

    value: float
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.state == "fail")


_Judge = Callable[[Control, Facts], tuple[State, str]]


def _evidence_chain(_: Control, facts: Facts) -> tuple[State, str]:
    if facts.chain_problem:
        return "fail", facts.chain_problem
    return "pass", f"{facts.sealed_records} sealed records verify from the first to the newest"


def _policy_sealed(_: Control, facts: Facts) -> tuple[State, str]:
    if facts.policy_problem:
        return "fail", facts.policy_problem
    return "pass", "the live policy is the subject of the newest sealed provenance"


def _crash_free(_: Control, facts: Facts) -> tuple[State, str]:
    hours = facts.hours_since_crash
    if hours is not None and hours < 1:
        return "fail", f"a cycle was interrupted {hours * 60:.0f} minutes ago"
    return "pass", "no cycle was interrupted within the last hour"


def _telemetry_coverage(control: Control, facts: Facts) -> tuple[State, str]:
    minimum = 0.99 if control.minimum is None else control.minimum
    if facts.coverage is None:
        return "fail", "no SLO could be read"
    text = f"the least covered SLO window is observed to {facts.coverage:.1%} (at least {minimum:.1%})"
    return ("pass" if facts.coverage >= minimum else "fail"), text


def _environment_pinned(_: Control, facts: Facts) -> tuple[State, str]:
    if facts.pin_mismatches is None:
        return "not_applicable", "there is no constraints file to compare with"
    if facts.pin_mismatches:
        return "fail", "installed but not as pinned: " + ", ".join(facts.pin_mismatches)
    return "pass", "no installed package differs from its pin"


def _clock_monotonic(_: Control, facts: Facts) -> tuple[State, str]:
    if facts.clock_problem:
        return "fail", facts.clock_problem
    return "pass", "time has not gone back since the last cycle"


def _key_protected(_: Control, facts: Facts) -> tuple[State, str]:
    if facts.key_problem:
        return "fail", facts.key_problem
    return "pass", "the signing key lies outside the workspace"


CONTROLS: Mapping[str, _Judge] = {
    "evidence_chain": _evidence_chain,
    "policy_sealed": _policy_sealed,
    "crash_free": _crash_free,
    "telemetry_coverage": _telemetry_coverage,
    "environment_pinned": _environment_pinned,
    "clock_monotonic": _clock_monotonic,
    "key_protected": _key_protected,
}


def score(controls: Iterable[Control], facts: Facts) -> IhsanScore:
    """Judge every control; the value is 0 when none applies, since then nothing was shown."""
    findings = tuple(Finding(c.name, *_judged(c, facts)) for c in controls)
    applied = sum(f.weight for f in findings if f.state != "not_applicable")
    passed = sum(f.weight for f in findings if f.state == "pass")
    return IhsanScore(100.0 * passed / applied if applied else 0.0, findings)


def _judged(control: Control, facts: Facts) -> tuple[State, float, str]:
    state, finding = CONTROLS[control.name](control, facts)
    return state, control.weight, finding
