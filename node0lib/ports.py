"""The few seams through which the world is reached; each has a real second implementation, the embedded one.

A policy is a flat JSON object of named knobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from node0lib.sli.series import Counts, GoodTotal
    from node0lib.slo.objective import Objective
    from node0lib.timespan import Span

Policy = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Outcome:
    """One run of a policy: ``loss`` (lower is better, > 0), ``violation`` (> 0: an SLO would break)."""

    loss: float
    violation: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Arm:
    """Requests of one arm in one look: all, failed, slower than the p95 and the p99 bound. Integers."""

    requests: int
    errors: int
    slow_p95: int
    slow_p99: int


@dataclass(frozen=True)
class Look:
    """What one look adds: control and canary at the same time, ``minute`` since the stage began."""

    minute: int
    control: Arm
    canary: Arm


class Clock(Protocol):
    def now(self) -> datetime: ...


class SliSource(Protocol):
    """Where telemetry comes from. ``simulated`` is shown wherever its numbers are."""

    name: str
    simulated: bool

    def counts(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        """Events of the window that ends at ``at``; a failed read is ``Counts.nothing(problem)``."""
        ...

    def series(self, slo: Objective, span: Span, step: timedelta) -> GoodTotal:
        """Buckets of ``step`` over the span, NaN where nothing was observed; raises DataError."""
        ...


class Target(Protocol):
    """What a policy governs: it can be evaluated, and it can be split between two policies."""

    name: str
    simulated: bool

    def evaluate(self, policy: Policy, *, at: datetime, seed: int) -> Outcome:
        """Run ``policy`` on the traffic of the hour before ``at``; equal seeds give common random numbers."""
        ...

    def split(
        self, control: Policy, canary: Policy, *, share: float, minutes: int, at: datetime, seed: int
    ) -> Sequence[Look]:
        """Send ``share`` of the traffic to the canary for ``minutes``; one look a minute."""
        ...


class EvidenceStore(Protocol):
    """Append only: a name is written once, whole, or not at all."""

    def put(self, name: str, content: bytes) -> None: ...

    def get(self, name: str) -> bytes: ...

    def names(self, folder: str) -> Sequence[str]: ...
