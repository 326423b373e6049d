"""The few seams through which the world is reached; each has a real second implementation, the embedded one.

A policy is a flat JSON object of named knobs.

>>> Arm(requests=10, errors=1, slow_p95=0, slow_p99=0).errors
1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from node0lib.sli.series import Counts, GoodTotal
    from node0lib.slo.objective import Objective
    from node0lib.timespan import Span

Policy = Mapping[str, int | float | str]
Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) while something long goes on."""


@dataclass(frozen=True)
class Outcome:
    """One run of a policy: ``loss`` (lower is better, > 0), ``violation`` (> 0: an SLO would break)."""

    loss: float
    violation: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Baseline:
    """What the control does before a canary: its quantiles and, at the bounds, its slow shares.

    ``bound_p95_s`` is the smallest bucket bound at or above the control's p95 times the margin, in seconds;
    ``slow_p95`` is the share of the control's requests slower than that bound, in [0, 1].
    """

    bound_p95_s: float
    bound_p99_s: float
    slow_p95: float
    slow_p99: float


@dataclass(frozen=True)
class Arm:
    """Requests of one arm in one look: all, failed, slower than the p95 and the p99 bound. Integers."""

    requests: int
    errors: int
    slow_p95: int
    slow_p99: int


@dataclass(frozen=True)
class Look:
    """What one look adds: control and canary at the same time, for ``length`` minutes from ``minute`` on.

    ``minute`` counts since the rollout began; where looks are seconds apart, both are fractions. ``control_down`` says
    what is wrong where the control serves nobody: then nothing is counted, since nothing is compared.
    """

    minute: float
    control: Arm
    canary: Arm
    length: float = 1
    control_down: str | None = None


class Clock(Protocol):
    def now(self) -> datetime: ...


class SliSource(Protocol):
    """Where telemetry comes from. ``simulated`` is shown wherever its numbers are."""

    @property
    def name(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server itself warned of so far (partial answers, say), each text once."""
        ...

    def counts(self, slo: Objective, window: timedelta, at: datetime) -> Counts:
        """Events of the window that ends at ``at``; a failed read is ``Counts.nothing(problem)``."""
        ...

    def series(self, slo: Objective, span: Span, step: timedelta) -> GoodTotal:
        """Buckets of ``step`` over the span, NaN where nothing was observed; raises DataError."""
        ...


class Target(Protocol):
    """What a policy governs: it can be evaluated, and its traffic can be split between two policies."""

    @property
    def name(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    def evaluate(self, policy: Policy, *, at: datetime, seed: int) -> Outcome:
        """Run ``policy`` on the traffic of the hour before ``at``; equal seeds give common random numbers."""
        ...

    def baseline(
        self, policy: Policy, *, margin_p95: float, margin_p99: float, at: datetime, seed: int
    ) -> Baseline:
        """Measure the control over the hour before ``at``; margins are relative (0.05 is +5%)."""
        ...

    def split(
        self,
        control: Policy,
        canary: Policy,
        *,
        baseline: Baseline,
        share: float,
        first_minute: int,
        minutes: int,
        at: datetime,
        seed: int,
    ) -> Sequence[Look]:
        """Send ``share`` of the traffic to the canary for ``minutes``; one look a minute.

        ``first_minute`` counts from the rollout's start at ``at``; a share of 1 leaves the control empty.
        """
        ...


class Split(Protocol):
    """Traffic between a stable revision and a canary of it: what a rollout may command, and what it gets to see.

    Every command is confirmed before it returns (weights are read back); RunError where it cannot be.
    """

    @property
    def name(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    def prepare(self, control: Policy, candidate: Policy) -> None:
        """Bring the stable revision to ``control`` and the canary, without traffic yet, to ``candidate``."""
        ...

    def baseline(self, *, margin_p95: float, margin_p99: float) -> Baseline:
        """Measure the stable revision before the canary gets traffic; margins are relative (0.05 is +5%)."""
        ...

    def send(self, share: float) -> None:
        """Send ``share`` in [0, 1] of the traffic to the canary; returns once that was read back."""
        ...

    def look(self) -> Look:
        """Return what came since the last look or ``send``, whichever was later; raises DataError if that is lost."""
        ...

    def promote(self) -> None:
        """Bring the stable revision to the candidate and send it all traffic; returns once both were read back."""
        ...


class EvidenceStore(Protocol):
    """Append only: a name is written once, whole, or not at all."""

    def put(self, name: str, content: bytes) -> None: ...

    def get(self, name: str) -> bytes: ...

    def names(self, folder: str) -> Sequence[str]: ...
