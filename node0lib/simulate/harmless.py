"""How often does each judge stop a canary that is no worse than it may be? And how soon one that is worse?

Many rollouts through fixed stages, looked at all the time, without anything but the evidence: no extension, no end but
a failure. ``stopped_by`` answers for error counts; ``family_stopped_by`` for the three metrics of a rollout together.
Chunks of rollouts draw from ``SeedSequence(seed, spawn_key=(chunk,))``, so their number and order do not matter, and
every judge sees the same rollouts.

- sequential: ``Evidences``, at every look.
- naive: totals of both arms since the rollout began, margin x the control's rate, at every look and at the last alone.
- kayenta: one error rate a look and arm, judged at the end of each stage on that stage's looks.

>>> asked = Question(World(look=5.0), shares=(0.05,), looks=60, rollouts=20)
>>> found = stopped_by(asked, kayenta=20)
>>> {judge: int((first < NEVER).sum()) for judge, first in found.items()}
{'sequential': 0, 'naive': 16, 'naive, last look': 3, 'kayenta': 0}
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts.replay import in_order
from node0lib.canary.analysis import ALPHA_SHARES
from node0lib.canary.evidence_kernel import Evidences
from node0lib.canary.mannwhitney_kernel import high
from node0lib.canary.plan import Traffic, question
from node0lib.errors import ConfigError
from node0lib.simulate.degradation import Degradation
from node0lib.simulate.rollouts import Block, Drawing, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NEVER = np.iinfo(np.int64).max
CHUNK = 250
"""Rollouts that are drawn together."""


@dataclass(frozen=True)
class Question:
    """Rollouts through ``shares`` of ``looks`` each; ``margin`` is the largest harmless ratio, ``design_effect`` what
    the judge is told of the noise."""

    world: World
    shares: tuple[float, ...]
    looks: int
    rollouts: int
    degradation: Degradation = Degradation()
    margin: float = 1.05
    alpha: float = 0.05
    design_effect: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise ConfigError(f"stages: {self.shares} must be shares strictly between 0 and 1, at least one")
        if self.looks < 1 or self.rollouts < 1:
            raise ConfigError("a rollout has at least one look a stage, and there is at least one rollout")


def chunks(rollouts: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield how many rollouts are drawn together, and from what."""
    for number, first in enumerate(range(0, rollouts, CHUNK)):
        source = np.random.SeedSequence(seed, spawn_key=(number,))
        yield min(CHUNK, rollouts - first), np.random.default_rng(source)


def stopped_by(asked: Question, *, kayenta: int = 0, workers: int | None = None) -> Mapping[str, Ints]:
    """Return for each judge the look at which it stops each rollout, counted from 0 (``NEVER``), (rollouts,).

    Kayenta is asked about the first ``kayenta`` rollouts only, to whole chunks, and left out if none.
    """
    given = enumerate(chunks(asked.rollouts, asked.seed))
    found = list(in_order(lambda one: _chunk(asked, one, kayenta), given, workers or os.cpu_count() or 1))
    names = dict.fromkeys(name for part in found for name in part)
    return {name: np.concatenate([part[name] for part in found if name in part]) for name in names}


def _chunk(asked: Question, one: tuple[int, tuple[int, np.random.Generator]], kayenta: int) -> dict[str, Ints]:
    number, (rollouts, random) = one
    blocks = list(_blocks(asked, rollouts, random))
    found = {"sequential": _sequential(asked, blocks, rollouts)}
    worse = _worse(asked, blocks)
    found["naive"] = np.where(worse.any(axis=1), worse.argmax(axis=1), NEVER)
    found["naive, last look"] = np.where(worse[:, -1], worse.shape[1] - 1, NEVER)
    if number * CHUNK < kayenta:
        found["kayenta"] = _kayenta(asked, blocks, rollouts)
    return found


def _blocks(asked: Question, rollouts: int, random: np.random.Generator) -> Iterator[Block]:
    most = max(asked.shares)
    drawing = Drawing(asked.world, asked.degradation, rollouts=rollouts, random=random, most=most)
    for number, share in enumerate(asked.shares):
        begins = np.full(rollouts, number * asked.looks * asked.world.look)
        yield drawing.looks(share, begins, asked.looks)


def _sequential(asked: Question, blocks: list[Block], rollouts: int) -> Ints:
    evidence = Evidences(rollouts, asked.margin, design_effect=asked.design_effect, stages=len(blocks))
    first = np.full(rollouts, NEVER)
    for number, block in enumerate(blocks):
        if number:
            evidence.begin_stage()
        stopped = evidence.add(block.requests, block.bad, alpha=asked.alpha, active=first == NEVER)
        first[stopped >= 0] = number * asked.looks + stopped[stopped >= 0]
    return first


def _worse(asked: Question, blocks: list[Block]) -> NDArray[np.bool_]:
    """Whether the naive rule says so at each look, (rollouts, looks)."""
    requests = np.cumsum(np.concatenate([block.requests for block in blocks], axis=1), axis=1)
    bad = np.cumsum(np.concatenate([block.bad for block in blocks], axis=1), axis=1)
    return naively_worse(requests, bad, asked.margin)


def naively_worse(requests: Ints, bad: Ints, margin: float) -> NDArray[np.bool_]:
    """Return whether totals (..., 2) of both arms compare badly; an arm without requests says nothing."""
    control, canary = bad[..., 0] * requests[..., 1], bad[..., 1] * requests[..., 0]
    worse: NDArray[np.bool_] = (canary > margin * control) & (requests.min(axis=-1) > 0)
    return worse


def rates(block: Block) -> tuple[Floats, Floats]:
    """Return (control, canary) error rates of each look, (rollouts, looks); NaN without requests."""
    requests = block.requests.astype(np.float64)
    found = np.divide(block.bad, requests, out=np.full(requests.shape, np.nan), where=requests > 0)
    return found[..., 0], found[..., 1]


def _kayenta(asked: Question, blocks: list[Block], rollouts: int) -> Ints:
    first = np.full(rollouts, NEVER)
    for number, block in enumerate(blocks):
        failed = high(*rates(block)) & (first == NEVER)
        first[failed] = (number + 1) * asked.looks - 1
    return first


def family_stopped_by(asked: Question, *, sigma: float = 0.5, worst: bool = False, workers: int | None = None) -> Ints:
    """Return the look at which node0's rollout stops for any of its three metrics, alpha divided as it divides it.

    Latencies are lognormal with ``sigma``. With ``worst`` the canary lies at every margin exactly: all nulls at once.
    """
    traffic = Traffic(asked.world.per_second, asked.world.error_rate, sigma)
    margins = {"error_rate": asked.margin - 1, "latency_p95": 0.05, "latency_p99": 0.10}
    questions = {name: question(name, margin, traffic) for name, margin in margins.items()}

    def chunk(given: tuple[int, np.random.Generator]) -> Ints:
        rollouts, random = given
        first = np.full(rollouts, NEVER)
        for name, ask in questions.items():
            wrong = Degradation(ask.ratio) if worst else Degradation()
            world = World(asked.world.per_second, ask.rate, asked.world.noise, asked.world.look)
            one = Question(world, asked.shares, asked.looks, rollouts, wrong, ask.ratio,
                           asked.alpha * ALPHA_SHARES[name], asked.design_effect)  # fmt: skip
            blocks = list(_blocks(one, rollouts, random))
            first = np.minimum(first, _sequential(one, blocks, rollouts))
        return first

    return np.concatenate(list(in_order(chunk, chunks(asked.rollouts, asked.seed), workers or os.cpu_count() or 1)))
