"""An Argo Rollout as a change class: stages, their length, approval; whatever node0 has no word for is left over.

Rules
- A stage is a ``setWeight`` and the time until the next one: its pauses or, without any, its analysis if the template
  is in the same input. node0 has one ``stage_duration`` for all stages.
- A pause without end before the first weight is an approval; later ones are left over: node0 asks a person where a
  stage is inconclusive (``on_inconclusive: ask``, as Argo itself pauses).
- Argo goes to 100% after its last step, and so do the stages. Nothing but a ``setWeight: 100`` is a class without
  stages.
- How pods and traffic are moved (services, routers, surge, templates of pods) stays Argo's.

>>> from node0lib.shell.yaml_lines import parse
>>> text = b'''spec: {strategy: {canary: {steps: [{pause: {}}, {setWeight: 5}, {pause: {duration: 10m}}]}}}'''
>>> found = Leftovers()
>>> rule = import_rollout(found, found.mistakes.source(parse(text), "rollout.yaml"), {})
>>> rule
ClassRule(stages=(Fraction(1, 20), Fraction(1, 1)), stage_duration=datetime.timedelta(seconds=600), approval=True)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from node0lib.shell.canary_leftovers import Leftovers
from node0lib.shell.mistakes import Source, nearest, shown
from node0lib.shell.schema import LONGEST
from node0lib.shell.yaml_lines import KeyPath

_CANARY = ("spec", "strategy", "canary")
_ELSE = ("setCanaryScale", "setHeaderRoute", "setMirrorRoute", "experiment", "plugin")
_STEPS = ("setWeight", "pause", "analysis", *_ELSE)
_MOVING = (
    "canaryService", "stableService", "trafficRouting", "maxSurge", "maxUnavailable", "analysis", "steps",
    "abortScaleDownDelaySeconds", "antiAffinity", "canaryMetadata", "stableMetadata", "dynamicStableScale",
    "minPodsPerReplicaSet", "pingPong", "replicaProgressThreshold", "scaleDownDelayRevisionLimit",
    "scaleDownDelaySeconds",
)  # fmt: skip
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|h|m|s)")
_UNITS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}


@dataclass(frozen=True)
class ClassRule:
    """What a Rollout says of a change class; stages are exact shares, empty for "applied at once"."""

    stages: tuple[Fraction, ...]
    stage_duration: timedelta
    approval: bool


@dataclass
class _Stage:
    """A weight, where it stands, and what is known of its length: pauses, and analyses, which count without pauses."""

    path: KeyPath
    weight: int
    paused: timedelta = timedelta(0)
    analysed: timedelta = timedelta(0)

    @property
    def length(self) -> timedelta:
        return self.paused or self.analysed


def import_rollout(
    found: Leftovers, source: Source, templates: Mapping[str, timedelta | None], path: KeyPath = ()
) -> ClassRule | None:
    """Return the class of the Rollout at ``path``, None where it cannot be expressed.

    ``templates`` maps the AnalysisTemplates of the input to their length, None for one that runs on.
    """
    strategy = source.document.at((*path, *_CANARY[:2]))
    canary = source.document.at((*path, *_CANARY))
    if not isinstance(canary, Mapping):
        where = (*path, *_CANARY[:2])
        if isinstance(strategy, Mapping) and "blueGreen" in strategy:
            found.add(source, (*where, "blueGreen"), "moves all traffic at one stroke; node0's changes are canaries")
        else:
            found.mistakes.add(source, where, "has no canary with steps; a Rollout needs a strategy")
        return None
    at = (*path, *_CANARY)
    for key in (key for key in canary if key not in _MOVING):
        found.mistakes.add(source, (*at, key), f"is no key of a canary; {nearest(key, _MOVING)}")
    steps = canary.get("steps")
    if not isinstance(steps, list) or not steps:
        found.add(source, (*at, "steps"), "are missing: how long the new pods are watched is not said")
        return None
    return _rule(_Walk(found, source, (*at, "steps"), templates).stages(steps), source.document.at(at), found, source)


def _rule(walk: _Walk, canary: Any, found: Leftovers, source: Source) -> ClassRule | None:
    routing = canary.get("trafficRouting")
    most = routing.get("maxTrafficWeight", 100) if isinstance(routing, Mapping) else 100
    if not _whole(most) or most < 1:
        found.mistakes.add(source, walk.path, f"the maxTrafficWeight {shown(most)} is no whole number above 0")
        return None
    if not walk.found:
        found.add(source, walk.path, "set no weight; node0's stages are shares of the traffic")
        return None
    before = 0
    for stage in walk.found:
        if not before < stage.weight <= most:
            text = f"{stage.weight} of {most} must be more than the weight before, {before}; node0's stages rise"
            found.add(source, (*stage.path, "setWeight"), text)
            return None
        before = stage.weight
    length = _length(walk, found, source)
    shares = tuple(Fraction(stage.weight, most) for stage in walk.found)
    shares = shares if shares[-1] == 1 else (*shares, Fraction(1))
    return None if length is None else ClassRule(() if len(shares) == 1 else shares, length, walk.approval)


def _length(walk: _Walk, found: Leftovers, source: Source) -> timedelta | None:
    """The one length of all stages; one that is not said is taken to be that of the others."""
    known = [stage for stage in walk.found if stage.length]
    if not known:
        found.add(source, walk.path, "say nowhere how long a stage lasts; node0 needs a stage_duration")
        return None
    for stage in known[1:]:
        if stage.length != known[0].length:
            text = f"lasts {stage.length}, the first {known[0].length}; node0 has one stage_duration for all stages"
            found.add(source, stage.path, text)
            return None
    for stage in (stage for stage in walk.found if not stage.length):
        found.notes.append(f"the stage of weight {stage.weight} has no length of its own; it gets that of the others")
    return known[0].length


class _Walk:
    """Goes through the steps once."""

    def __init__(
        self, found: Leftovers, source: Source, path: KeyPath, templates: Mapping[str, timedelta | None]
    ) -> None:
        self.path, self.approval, self.found = path, False, list[_Stage]()
        self._left, self._source, self._templates = found, source, templates

    def stages(self, steps: Sequence[object]) -> _Walk:
        for n, step in enumerate(steps):
            at = (*self.path, n)
            keys = list(step) if isinstance(step, Mapping) else []
            if len(keys) != 1 or keys[0] not in _STEPS:
                self._left.mistakes.add(self._source, at, f"is not one of {', '.join(_STEPS)}; write one a step")
                continue
            self._step(str(keys[0]), self._source.document.at((*at, keys[0])), at)
        return self

    def _step(self, key: str, value: Any, at: KeyPath) -> None:
        if key == "setWeight":
            self._weight(value, at)
        elif key == "pause":
            self._pause(value, at)
        elif key == "analysis":
            self._analysis(value, at)
        else:
            self._left.add(self._source, (*at, key), "node0's stages are shares of the traffic and nothing else")

    def _weight(self, value: Any, at: KeyPath) -> None:
        if _whole(value):
            self.found.append(_Stage(at, value))
        else:
            self._left.mistakes.add(self._source, (*at, "setWeight"), f"{shown(value)} is no whole number; write one")

    def _pause(self, value: Any, at: KeyPath) -> None:
        given = value.get("duration") if isinstance(value, Mapping) else value
        if given is None:
            self._endless(at)
            return
        length = go_length(given)
        if length is None:
            text = f"{shown(given)} is no length; write seconds, or for example 10m"
            self._left.mistakes.add(self._source, (*at, "pause", "duration"), text)
        elif self.found:
            self.found[-1].paused += length
        else:
            self._left.add(self._source, (*at, "pause"), "waits before the first weight, and then goes on by itself")

    def _endless(self, at: KeyPath) -> None:
        if not self.found:
            self.approval = True
            return
        text = "waits for a person after the first weight; node0 asks before the first stage (approval), or where a "
        self._left.add(self._source, (*at, "pause"), f"{text}stage is inconclusive (on_inconclusive: ask)")

    def _analysis(self, value: Any, at: KeyPath) -> None:
        listed = value.get("templates") if isinstance(value, Mapping) else None
        names = [t.get("templateName") for t in listed if isinstance(t, Mapping)] if isinstance(listed, list) else []
        if not self.found:
            self._left.add(self._source, (*at, "analysis"), "analyses before the canary gets traffic")
            return
        lengths = [self._templates[str(name)] for name in names if str(name) in self._templates]
        self.found[-1].analysed += max((length for length in lengths if length), default=timedelta(0))


def template_length(metrics: object) -> timedelta | None:
    """Return how long the metrics of an AnalysisTemplate are measured: the longest of them; None if not known."""
    lengths = list(_lengths(metrics))
    return max((length for length in lengths if length is not None), default=None) if None not in lengths else None


def _lengths(metrics: object) -> Iterator[timedelta | None]:
    for metric in metrics if isinstance(metrics, list) else []:
        if not isinstance(metric, Mapping):
            continue
        delay, interval = go_length(metric.get("initialDelay", 0)), go_length(metric.get("interval", 0))
        count = metric.get("count", 1 if "interval" not in metric else None)
        if delay is None or interval is None or not _whole(count):
            yield None
        else:
            yield max(timedelta(0), min(LONGEST, delay + (min(count, 10**6) - 1) * interval))


def go_length(value: object) -> timedelta | None:
    """Return a length as Argo reads it, whole seconds or Go's "1h30m"; None if it is none, or beyond ten years.

    >>> go_length(90), go_length("1.5h"), go_length("10"), go_length("1d")
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=5400), datetime.timedelta(seconds=10), None)
    """
    if _whole(value) or (isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value)):
        seconds = Fraction(int(str(value)))
    elif isinstance(value, str) and len(value) <= 60 and value and not _PART.sub("", value):
        seconds = sum((Fraction(n) * _UNITS[unit] for n, unit in _PART.findall(value)), Fraction(0))
    else:
        return None
    return timedelta(seconds=float(seconds)) if 0 <= seconds <= LONGEST.total_seconds() else None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
