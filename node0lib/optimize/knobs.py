"""The knobs of the live policy: the only things that node0 ever turns, each with its range and its kind of change.

A policy is a flat JSON object with every knob and nothing else. It is checked once, at the door; the kinds are those
that the change classes of ``configs/slo.yaml`` list. Times carry their unit in the name.

>>> live = check_policy(POLICY_EXAMPLE, "example")
>>> changed(live, {**live, "llm_retries": 2}), kinds(live, {**live, "llm_retries": 2})
(('llm_retries',), ('retry',))
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from node0lib.errors import ConfigError
from node0lib.ports import Policy


@dataclass(frozen=True)
class Knob:
    """One knob: a number in [low, high], or one of ``choices``; ``log``: a search moves by factors, not by steps."""

    name: str
    kind: str
    type: type[int] | type[float] | type[str]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What may be written, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = "a whole number" if self.type is int else "a number"
        return f"{noun} from {self.low:g} to {self.high:g}"

    def admits(self, value: object) -> bool:
        """Whether ``value`` has the right type and lies in the range; a bool is no number, NaN lies nowhere."""
        if self.type is str:
            return isinstance(value, str) and value in self.choices
        numbers = int if self.type is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, numbers):
            return False
        return self.low <= value <= self.high


KNOBS: tuple[Knob, ...] = (
    Knob("cache_ttl_s", "cache_ttl", float, 1, 600, log=True),
    Knob("batch_size", "batch", int, 1, 64, log=True),
    Knob("batch_wait_ms", "batch", int, 1, 100, log=True),
    Knob("llm_timeout_ms", "timeout", int, 50, 3000, log=True),
    Knob("llm_retries", "retry", int, 0, 3),
    Knob("tools_timeout_ms", "timeout", int, 100, 5000, log=True),
    Knob("tools_retries", "retry", int, 0, 3),
    Knob("agent_routing", "routing", str, choices=("round_robin", "two_choices", "least_loaded")),
)
"""Every knob, in the order in which policies are written and shown."""

POLICY_EXAMPLE: Policy = {
    "cache_ttl_s": 30,
    "batch_size": 8,
    "batch_wait_ms": 20,
    "llm_timeout_ms": 400,
    "llm_retries": 1,
    "tools_timeout_ms": 800,
    "tools_retries": 1,
    "agent_routing": "round_robin",
}
"""What ``configs/alpha.policy.json`` starts from."""

_KIND: Mapping[str, str] = {knob.name: knob.kind for knob in KNOBS}


def check_policy(data: object, where: str) -> Policy:
    """Return the policy that ``data`` holds, knobs in the order of ``KNOBS``.

    Raises ConfigError with every mistake at once, one a line, each beginning with ``where``.
    """
    mistakes = [f"{where}: {knob + ': ' if knob else ''}{text}" for knob, text in policy_mistakes(data)]
    if mistakes or not isinstance(data, Mapping):
        raise ConfigError("\n".join(mistakes))
    return {knob.name: float(data[knob.name]) if knob.type is float else data[knob.name] for knob in KNOBS}


def policy_mistakes(data: object) -> tuple[tuple[str, str], ...]:
    """Return (knob, what is wrong and what to do) for every mistake; the knob is "" if ``data`` is no object."""
    if not isinstance(data, Mapping):
        return (("", "is not an object of knobs; write {" + f'"{KNOBS[0].name}": 30, …' + "}"),)
    return (*_unknown(data), *_wrong(data))


def changed(before: Policy, after: Policy) -> tuple[str, ...]:
    """Return the names of the knobs that differ, in the order of ``KNOBS``; others follow, sorted."""
    order = {knob.name: n for n, knob in enumerate(KNOBS)}
    names = sorted({*before, *after}, key=lambda name: (order.get(name, len(order)), name))
    return tuple(name for name in names if before.get(name) != after.get(name))


def kinds(before: Policy, after: Policy) -> tuple[str, ...]:
    """Return the kinds of change, each once, sorted; a knob that is not in the table is a kind of its own."""
    return tuple(sorted({_KIND.get(name, name) for name in changed(before, after)}))


def _unknown(data: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    for name in data:
        if name not in _KIND:
            near = difflib.get_close_matches(str(name), _KIND, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the knobs are {', '.join(_KIND)}"
            yield str(name), f"is no knob; {hint}"


def _wrong(data: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    for knob in KNOBS:
        if knob.name not in data:
            yield knob.name, f"is missing; write {knob.allowed}"
        elif not knob.admits(data[knob.name]):
            yield knob.name, f"{_shown(data[knob.name])} must be {knob.allowed}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
