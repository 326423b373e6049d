"""Values in words: the one place where numbers are rounded, after every comparison has been made.

Missing is a dash, never 0; infinite is said to be infinite. The words are ASCII, so that they read the same on any
terminal; the tables and the pages put typography on top.

>>> percent(0.84213), percent(None), rate(14.4), rate(float("inf"))
('84.2%', '-', '14.4', 'inf')
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from node0lib.cycle import Kind
from node0lib.optimize.estimate import Estimate
from node0lib.ports import Policy
from node0lib.slo.budget import SloStatus, State
from node0lib.timespan import ensure_utc, format_duration

STATES: Mapping[State, str] = {
    "meeting": "meeting",
    "at_risk": "at risk",
    "breached": "breached",
    "no_data": "no data",
}

KINDS: Mapping[Kind, tuple[str, str]] = {
    "applied": ("Applied", "A better policy was found, passed its rollout and is live now."),
    "no_change": ("No change", "Nothing better was shown, so nothing was changed. That is a good outcome of an hour."),
    "recommended": ("Recommended", "A better policy was found; a person decides whether it is applied."),
    "held": ("Waiting for approval", "A better policy was found; its risk class needs an approval before it is tried."),
    "inconclusive": ("Inconclusive", "The rollout could not show that the change is harmless; it was not kept."),
    "blocked": ("Blocked by a gate", "A gate is closed, so nothing may change now. The live policy stays."),
    "rolled_back": ("Rolled back", "The rollout found harm and took the change back. The live policy is unchanged."),
}
"""What a decision is called, and what it means."""

OUTCOMES: Mapping[str, tuple[str, str]] = {
    "error": ("Failed: a step raised an error", "The cycle stopped at an error. No decision was acted on."),
    "timeout": ("Failed: out of time", "The cycle passed its deadline and was ended. No decision was acted on."),
    "dead-kernel": ("Failed: the kernel died", "The computing process died. No decision was acted on."),
    "incomplete": ("Failed: not every step ran", "The cycle ended early. No decision was acted on."),
    "interrupted": ("Failed: interrupted", "The cycle was interrupted from outside. No decision was acted on."),
}
"""How a run can fail, and what that means."""


def outcome(status: str) -> tuple[str, str]:
    """Return title and meaning of a decision or of a failure."""
    known = {**OUTCOMES, **{str(kind): told for kind, told in KINDS.items()}}
    return known.get(status, (f"Failed: {status}", "The cycle did not end well. No decision was acted on."))


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] (or beyond) in percent; a dash if it is not known."""
    if share is None or math.isnan(share):
        return "-"
    text = f"{share * 100:.{digits}f}" if math.isfinite(share) else ("inf" if share > 0 else "-inf")
    return ("0" + text[2:] if text.startswith("-0") and not text.strip("-0.") else text) + "%"


def objective(share: float) -> str:
    """An objective in percent, with as many digits as were promised: 99.9%, 95%."""
    return f"{share * 100:.6g}%"


def rate(value: float | None) -> str:
    """A burn rate or a ratio with three figures or so; ``inf`` is a broken invariant, a dash not known."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf"
    if 0 < value < 0.005:
        return "<0.01"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def burns(status: SloStatus, windows: tuple[str, ...]) -> str:
    """The burn over each window the status knows: ``1h 0.91, 6h 1.02``."""
    return ", ".join(f"{w} {rate(status.burn[w])}" for w in windows if w in status.burn)


def seconds(value: float | None) -> str:
    """Seconds that something took."""
    if value is None:
        return "-"
    return f"{value:.1f} s" if value >= 0.05 else "<0.1 s"


def moment(at: datetime) -> str:
    """An instant as people read it, in UTC, to the minute."""
    return f"{ensure_utc(at):%Y-%m-%d %H:%M} UTC"


def window(length: timedelta) -> str:
    """A window: ``24h`` reads better than ``1d``."""
    return "24h" if length == timedelta(days=1) else format_duration(length)


def interval(estimate: Estimate) -> str:
    """An estimated improvement with its interval."""
    return f"{percent(estimate.improvement)} (95% interval {percent(estimate.low)} to {percent(estimate.high)})"


def setting(value: object) -> str:
    """The value of a knob: floats with four figures at most."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def changes(live: Policy, policy: Policy) -> tuple[tuple[str, str, str], ...]:
    """The knobs that differ: name, live value, candidate value; a knob that one side lacks is a dash."""
    names = [n for n in {**live, **policy} if live.get(n) != policy.get(n)]
    return tuple((n, setting(live.get(n, "-")), setting(policy.get(n, "-"))) for n in names)


def banner(simulated: bool, target_simulated: bool) -> str | None:
    """What must stand on every page, if anything is simulated."""
    parts = ["SIMULATED TARGET"] * target_simulated + ["SIMULATED TELEMETRY"] * simulated
    return ", ".join(parts) or None
