"""What a reader without the field's terms should know first: a few numbers, and what they do not say.

Both are derived from the result and never written by hand: a caveat is there because its condition holds. Each
headline is (label, value, explanation).

>>> [term for term, _ in GLOSSARY][:2]
['Service level objective (SLO)', 'Error budget']
"""

from __future__ import annotations

from node0lib.cycle import CycleResult
from node0lib.views import words

Headline = tuple[str, str, str]
_ENOUGH = 0.99
"""A window observed to less than this share is worth a caveat."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Service level objective (SLO)", "A promise about a service that can be measured: 99.9% of requests succeed."),
    ("Error budget", "What the promise leaves for failure: 99.9% leaves 0.1% of the requests of the window."),
    ("Burn rate", "How fast the budget is spent: at 1 it lasts exactly for the window, at 2 for half of it."),
    ("Gate", "A question asked before anything may change. If one answer is no, nothing changes."),
    ("State", "Meeting: the promise holds. At risk: it holds, but its budget is low. Breached: it does not hold."),
    ("Window", "The time over which a promise is judged; what is older no longer counts."),
    ("p95, p99", "The time within which 95 (99) of 100 requests are answered."),
    ("Policy, knob", "The settings by which the service runs; the only thing a cycle may change. Each is a knob."),
    ("Candidate", "A policy that the search found and that is measured against the live one."),
    ("Fresh pair", "Two runs under equal conditions that the search has not seen: live policy and candidate."),
    ("95% interval", "The values that agree with the measurements; were it repeated, 95 of 100 would cover the truth."),
    ("Change class", "The risk of a change: L is low, M medium, H high. A higher class is tried more slowly."),
    ("Rollout, canary", "A small share of the traffic tries a change first and is compared with the rest."),
    ("Rollback", "The change is taken back and the earlier policy serves all traffic again."),
    ("Ihsan score", "Compliance from 0 to 100: the share of the controls, by weight, that passed with a finding."),
    ("Evidence", "Signed records of what was given, decided and changed, linked so that a later edit is noticed."),
    ("Simulated", "Made by a seeded model of the service and not by real traffic."),
)


def headlines(result: CycleResult) -> tuple[Headline, ...]:
    """Return the numbers that come first."""
    return (_met(result), _budget(result), _improvement(result), _rollout(result), _ihsan(result), _seen(result))


def _met(result: CycleResult) -> Headline:
    states = [s.state for s in result.statuses]
    met, blind = sum(s in ("meeting", "at_risk") for s in states), states.count("no_data")
    unknown = f"; {blind} could not be judged for lack of data" if blind else ""
    risk = states.count("at_risk")
    close = f", {risk} of them at risk" if risk else ""
    return "Promises kept", f"{met} of {len(states)}", f"service levels that hold now{close}{unknown}"


def _budget(result: CycleResult) -> Headline:
    known = [(s.budget_left, s.name) for s in result.statuses if s.budget_left is not None]
    if not known:
        return "Least error budget", "Unknown", "no service level has data"
    left, name = min(known)
    spent = "overspent" if left < 0 else "left to spend on failure in its window"
    return "Least error budget", words.percent(left, 0), f"{spent}, of {name}"


def _improvement(result: CycleResult) -> Headline:
    label = "Measured improvement"
    if result.proposal is None:
        why = "the search found nothing better" if result.target else "no search: there is no target"
        return label, "None", why if result.gates.open else "no search: a gate is closed"
    e = result.proposal.estimate
    interval = f"95% interval {words.percent(e.low)} to {words.percent(e.high)}, {e.n} fresh pairs"
    if not e.shown:
        return label, "Not shown", f"the data allow for no improvement: {interval}"
    return label, words.percent(e.improvement), interval


def _rollout(result: CycleResult) -> Headline:
    if result.rollout is None:
        return "Rollout", "None", "nothing was sent to real or simulated users"
    walked = result.rollout
    stages = "stage" if len(walked.stages) == 1 else "stages"
    ending = walked.ending.replace("_", " ").capitalize()
    return "Rollout", ending, f"{len(walked.stages)} {stages} in {walked.minutes:g} minutes"


def _ihsan(result: CycleResult) -> Headline:
    failed = ", ".join(f.control for f in result.ihsan.failed)
    explained = f"compliance; failed: {failed}" if failed else "compliance; no control failed"
    return "Ihsan score", f"{result.ihsan.value:.0f} of 100", explained


def _seen(result: CycleResult) -> Headline:
    least = min((s.counts.coverage for s in result.statuses), default=0.0)
    return "Telemetry observed", words.nearly(least, 0), "of the least observed window of any service level"


def caveats(result: CycleResult) -> tuple[str, ...]:
    """Return what these numbers do not say; each is there because its condition holds."""
    return (*_simulated(result), *_coverage(result), *_about_change(result))


def _simulated(result: CycleResult) -> list[str]:
    found = []
    if result.simulated:
        found.append("The telemetry is simulated: the service levels are those of a model, not of real users.")
    if result.target_simulated:
        found.append("The target is simulated: a gain measured on it need not carry over to a real service.")
    return found


def _coverage(result: CycleResult) -> list[str]:
    short = [s for s in result.statuses if s.state != "no_data" and s.counts.coverage < _ENOUGH]
    blind = [s for s in result.statuses if s.state == "no_data"]
    found = []
    if short:
        told = ", ".join(f"{s.name} {words.percent(s.counts.coverage, 0)}" for s in short)
        found.append(f"Not the whole window was observed: {told}. The rest may have been better or worse.")
    if blind:
        told = ", ".join(f"{s.name} ({s.counts.problem or 'no traffic'})" for s in blind)
        found.append(f"No data, which is never taken for good: {told}.")
    return found


def _about_change(result: CycleResult) -> list[str]:
    found = []
    if result.proposal is not None:
        found.append("The improvement is that of the hour before this cycle; it is not a forecast for other traffic.")
        if not result.proposal.estimate.shown:
            found.append("The best candidate was not shown to be better than the live policy; it may be, or not.")
    if result.decision.kind in ("no_change", "blocked"):
        found.append("No change is a good outcome of an hour: a change is made only when the data show that it helps.")
    if result.mode == "recommend":
        found.append("This node only recommends; it changes nothing by itself.")
    return found
