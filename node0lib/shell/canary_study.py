"""Open a study of canaries: parameters as a notebook has them, checked, as one value.

>>> open_canary_study(100, 0.01, [0.05, 0.25, 0.5], 5, ["step"], "iid", 3, 100, 1).plan.stage
300.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from node0lib.errors import ConfigError
from node0lib.shell.mistakes import nearest
from node0lib.shell.notebook_values import number, share, shares, text, texts, whole
from node0lib.simulate.canary_study import Study
from node0lib.simulate.canary_walk import Plan
from node0lib.simulate.degradation import DEGRADATIONS, HARMLESS, Degradation, Noise, NoiseKind
from node0lib.simulate.rollouts import World

LOOK = 5.0
"""Seconds from look to look: 60 points in a stage of five minutes, and Kayenta asks for at least 50."""


def open_canary_study(
    traffic: float,
    error_rate: float | str,
    stages: Sequence[float | str] | str,
    stage_minutes: float,
    kinds: Sequence[str],
    noise: str,
    design_effect: float,
    rollouts: int,
    seed: int,
) -> Study:
    """Return a study of rollouts at ``traffic`` requests a second of which the control fails ``error_rate``.

    ``stages`` are the shares at which the arms are compared, ``stage_minutes`` each. ``kinds`` names degradations, none
    for all. ``noise`` is how failures come, with ``design_effect`` where that kind has one; judges are told of it.
    Shares may be written as "1%", stages as "5%/25%".
    Raises ConfigError for values of another kind, unknown names and numbers that make no sense.
    """
    text("noise", noise, "iid")
    if noise not in get_args(NoiseKind):
        raise ConfigError(f"noise: there is no {noise!r}; {nearest(noise, get_args(NoiseKind))}")
    effect = number("design_effect", design_effect, 3)
    known = Noise(cast(NoiseKind, noise), 1.0 if noise in ("iid", "swings") else effect)
    world = World(number("traffic", traffic, 100), share("error_rate", error_rate), known, LOOK)
    looks = round(number("stage_minutes", stage_minutes, 5) * 60 / LOOK)
    plan = Plan(world, shares("stages", stages), looks, design_effect=known.told)
    names = texts("kinds", kinds, "step")
    return Study(plan, whole("rollouts", rollouts, 500), whole("seed", seed, 1), _kinds(names))


def _kinds(names: Sequence[str]) -> Mapping[str, Degradation]:
    for name in names:
        if name not in DEGRADATIONS:
            raise ConfigError(f"kinds: there is no degradation {name!r}; {nearest(name, DEGRADATIONS)}")
    return {name: kind for name, kind in DEGRADATIONS.items() if name != HARMLESS and (not names or name in names)}
