"""What a canary can do wrong, and how noisy its errors are: frozen values, and a table of them.

A ``Degradation`` says how many times the control's share of errors the canary has, when, and for whom. A ``Noise`` says
how failures come. Its design effect D is the variance of a look's failures over their mean; what it is for each kind:

- ``iid``: failures are Poisson, D = 1.
- ``bursts``: failures come in bursts of geometric size (a client that tries again), mean (D + 1) / 2.
- ``overdispersed``: each arm's rate is drawn anew at each look from a gamma distribution, so that failures are negative
  binomial with variance D x mean.
- ``autocorrelated``: each arm's log rate wanders (AR(1), ``memory`` seconds). D is then what the *ratio* of both arms
  varies more than with iid failures, in the long run; how far rates must wander for that follows from the traffic.
- ``swings``: one such wandering for both arms alike, as a fault behind them makes it. It cancels: D = 1.

>>> DEGRADATIONS["ramp"].ratios(np.array([0.0, 300.0, 900.0]), share=0.05).tolist()
[1.0, 2.0, 3.0]
>>> DEGRADATIONS["only under load"].ratios(np.array([0.0]), share=0.05).tolist()
[1.0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from node0lib.errors import ConfigError

Floats = NDArray[np.float64]
Shape = Literal["step", "ramp", "heals", "flapping"]
NoiseKind = Literal["iid", "bursts", "overdispersed", "autocorrelated", "swings"]
NOISES: tuple[NoiseKind, ...] = get_args(NoiseKind)
_SWING = 0.5
"""Standard deviation of the log rate that both arms share."""
_WILDEST = 0.83
"""No arm's log rate wanders further: rates of a coefficient of variation of 1 are wild enough."""


@dataclass(frozen=True)
class Degradation:
    """The canary's share of errors, ``ratio`` times the control's from ``begins`` on (seconds since the rollout began).

    ``length`` is how long a ramp rises, how long one that heals takes, or a flapping one's period, in seconds. Nothing
    is wrong up to the share ``above_share``. Failures beyond the control's come in bursts of ``burst`` on average. Of
    the canary's failures clients try the share ``retried`` again; what then goes to the stable version counts there.
    The share ``lost`` of the canary's requests never arrives; from ``begins`` on a ``silent`` one is not heard of.
    """

    ratio: float = 1.0
    shape: Shape = "step"
    begins: float = 0.0
    length: float = 60.0
    above_share: float = 0.0
    burst: float = 1.0
    retried: float = 0.0
    lost: float = 0.0
    silent: bool = False

    def __post_init__(self) -> None:
        shares = (self.above_share, self.retried, self.lost)
        if not 1 <= self.ratio < math.inf or not all(0 <= share <= 1 for share in shares):
            raise ConfigError(f"degradation: the ratio {self.ratio:g} is under 1, or a share lies not between 0 and 1")
        if self.begins < 0 or not 0 < self.length < math.inf or not 1 <= self.burst < math.inf:
            raise ConfigError("a degradation begins at 0 s or later, has a length above 0 s and bursts of at least 1")

    @property
    def harmless(self) -> bool:
        """Whether the canary is no worse than the control, and heard of."""
        return self.ratio <= 1 and self.lost == 0 and not self.silent

    def ratios(self, seconds: Floats, share: float) -> Floats:
        """Return the ratio of error rates at some times (any shape), at that share of the traffic."""
        since = seconds - self.begins
        if self.shape == "ramp":
            full = np.clip(since / self.length, 0.0, 1.0)
        elif self.shape == "heals":
            full = np.clip(1.0 - since / self.length, 0.0, 1.0)
        elif self.shape == "flapping":
            full = np.where(since % self.length < self.length / 2, 1.0, 0.0)
        else:
            full = np.ones_like(since)
        found: Floats = 1.0 + (self.ratio - 1.0) * np.where((since >= 0) & (share > self.above_share), full, 0.0)
        return found


@dataclass(frozen=True)
class Noise:
    """How failures come; ``design_effect`` is at least 1 and that of every kind but ``iid`` and ``swings``."""

    kind: NoiseKind = "iid"
    design_effect: float = 1.0
    memory: float = 30.0

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise ConfigError(f"there is no noise {self.kind!r}; known are {', '.join(NOISES)}")
        if not 1 <= self.design_effect < math.inf or not 0 < self.memory < math.inf:
            raise ConfigError(f"a design effect of {self.design_effect:g} or a memory of {self.memory:g} s cannot be")

    @property
    def told(self) -> float:
        """The design effect that a judge has to know of this noise."""
        return 1.0 if self.kind in ("iid", "swings") else self.design_effect

    def wander(self, failures: tuple[float, float], look: float) -> tuple[float, float]:
        """Return how far log rates wander (standard deviation) and what is left of that after a look.

        ``failures`` is what both arms expect a look, (control, canary), both above 0; ``look`` is in seconds.
        """
        kept = math.exp(-look / self.memory)
        if self.kind == "swings":
            return _SWING, kept
        if self.kind != "autocorrelated":
            return 0.0, 0.0
        wanted = (self.design_effect - 1) * (1 / failures[0] + 1 / failures[1]) / 2
        return min(_WILDEST, math.sqrt(math.log1p(wanted * (1 - kept) / (1 + kept)))), kept


HARMLESS = "harmless"
DEGRADATIONS: dict[str, Degradation] = {
    HARMLESS: Degradation(),
    "step": Degradation(2.0),
    "ramp": Degradation(3.0, "ramp", length=600.0),
    "only under load": Degradation(3.0, above_share=0.2),
    "one cohort": Degradation(2.0, burst=5.0),
    "warm-up that heals": Degradation(10.0, "heals", length=60.0),
    "flapping": Degradation(4.0, "flapping", length=120.0),
    "crash with retries": Degradation(20.0, retried=1.0),
    "silent loss of traffic": Degradation(lost=0.5),
    "lost telemetry": Degradation(5.0, begins=60.0, silent=True),
}
"""Each with the control's errors but for what is said."""

WHAT: dict[str, str] = {
    HARMLESS: "nothing: the canary is as good as the control",
    "step": "twice the errors from the beginning",
    "ramp": "errors rise steadily to three times the control's in ten minutes",
    "only under load": "three times the errors, only at shares above 20%",
    "one cohort": "a few users get nothing but errors: twice as many in all, in bursts of five on average",
    "warm-up that heals": "ten times the errors at first, none too many after a minute",
    "flapping": "four times the errors every other minute",
    "crash with retries": "20 times the errors; clients try again, and most land on the stable version and see success",
    "silent loss of traffic": "half of the canary's requests never arrive; those that do are well",
    "lost telemetry": "after a minute five times the errors, and nobody counts them any more",
}
"""What happens, in words."""
