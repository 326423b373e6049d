"""Values in words: the one place where numbers are rounded, after every comparison has been made.

Missing is a dash, never 0; infinite is said to be infinite. The words are ASCII, so that they read the same on any
terminal; the tables and the pages put typography on top.

>>> percent(0.84213), percent(None), rate(14.4), rate(float("inf")), nearly(0.99999)
('84.2%', '-', '14.4', 'inf', '>99.9%')
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from node0lib.canary.sequential import MetricVerdict
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
    "applied": ("Applied", "A better policy was found and passed its rollout: it replaces the live one."),
    "no_change": ("No change", "Nothing better was shown, so nothing was changed. That is a good outcome of an hour."),
    "recommended": ("Recommended", "A better policy was found; a person decides whether it is applied."),
    "held": ("Waiting for approval", "A better policy was found; its risk class needs an approval before it is tried."),
    "inconclusive": ("Inconclusive", "The rollout could not show that the change is harmless; it was not kept."),
    "blocked": ("Blocked by a gate", "A gate is closed, so nothing may change now. The live policy stays."),
    "rolled_back": ("Rolled back", "Harm was found and the change was taken back. The policy before it is live."),
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


def nearly(share: float | None, digits: int = 1) -> str:
    """A share in percent that is called 100% only if it is: what rounds to it is said to be above the last step."""
    text = percent(share, digits)
    if share is None or not share < 1 or text != percent(1.0, digits):
        return text
    return f">{100 - 10**-digits:.{digits}f}%"


def measured(share: float | None, promised: float) -> str:
    """What was measured of an objective, in percent, with one digit more than was promised, at least one."""
    return nearly(share, max(1, len(objective(promised).rstrip("%").partition(".")[2]) + 1))


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


_STAGE = re.compile(r"(at \d+%): (.+)", re.S)


def outline(reasons: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Give long reasons a structure: each becomes a head and its parts, none if it is short.

    Reasons are joined by ``; `` where they are made. What a stage says goes under that stage; ``not excluded`` stays
    with the metric before it.

    >>> outline(["at 5%: error_rate: fine; extended once", "a has 30%; b has 20%"])
    (('at 5% of the traffic', ('error_rate: fine', 'extended once')), ('a has 30%', ()), ('b has 20%', ()))
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    for reason in reasons:
        stage = _STAGE.fullmatch(reason)
        split = parts(stage[2] if stage else reason)
        if stage and len(split) > 1:
            found.append((f"{stage[1]} of the traffic", split))
        else:
            found += [(reason, ())] if stage else [(part, ()) for part in split]
    return tuple(found)


def parts(reason: str) -> tuple[str, ...]:
    """Split a reason where it was joined."""
    found: list[str] = []
    for part in reason.split("; "):
        if found and part.startswith("not excluded"):
            found[-1] += f", {part}"
        else:
            found.append(part)
    return tuple(found)


def metric(name: str) -> str:
    """A metric of the canary as people say it."""
    return name.replace("_", " ")


_BOUNDS = {"pass": "", "inconclusive": "up to ", "fail": "at least "}


def bound(verdict: MetricVerdict) -> str:
    """What the data allow the ratio canary to control to be, and its margin: ``0.84/1.05``, ``at least 1.80/1.05``."""
    if verdict.kind == "no_data":
        return "no data"
    low, high = allowed(verdict)
    return f"{_BOUNDS[verdict.kind]}{rate(low if verdict.kind == 'fail' else high)}/{rate(verdict.margin)}"


def allowed(verdict: MetricVerdict) -> tuple[float, float]:
    """The ratios that the data allow for; a verdict excludes one side of the margin, however coarse its interval."""
    if verdict.kind == "pass":
        return verdict.low, min(verdict.high, verdict.margin)
    return (max(verdict.low, verdict.margin) if verdict.kind == "fail" else verdict.low), verdict.high


def beyond(reason: str, verdicts: Iterable[MetricVerdict]) -> tuple[str, ...]:
    """What a stage's reason says besides its verdicts: that it was extended, or that telemetry was lost."""
    stage = _STAGE.fullmatch(reason)
    known = tuple(f"{v.metric}: " for v in verdicts)
    return tuple(p for p in parts(stage[2] if stage else reason) if not (known and p.startswith(known)))


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
