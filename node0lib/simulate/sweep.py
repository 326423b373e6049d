"""A sweep: every combination of objective, traffic, error floor, fault, policy and seed, each over many months.

- A *cell* is one traffic, floor, fault and seed. Its months are drawn once and replayed through every policy at every
  objective, so that policies are compared on the same chance. Month k of a cell is the same whichever worker draws it;
  cells of one seed share no months, since traffic, floor and faults change what is drawn.
- A *block* is a part of a cell's months, always the same part: what is computed at once, by a worker that needs to know
  nothing else. A *chunk* is what is finished, and kept, together: some cells that follow each other.
- What comes out are rows: for each objective, policy and alert ("page" is any that pages) the counts of
  ``alerts.quality.Quality``, its estimates with their intervals, and the times themselves, so that rows can be pooled.

>>> from node0lib.simulate.gallery import FAULTS
>>> small = Sweep((0.999,), {"busy": Traffic(36_000.0)}, {"iid": Floor(0.0003)},
...               {"none": (), "outage": FAULTS["full outage"]}, {"workbook": None}, range(2), months=3)
>>> [cell.id for cell in cells(small)]
['busy/iid/none/0', 'busy/iid/none/1', 'busy/iid/outage/0', 'busy/iid/outage/1']
>>> cost(small, Pace(0.001, 0.001))
Cost(combinations=4, months=12, steps=518400, seconds=0.024)
>>> row = run_cell(cell_at(small, 2))[0]
>>> row["alert"], row["events"], row["recall"], row["detection"]
('page', 3, 1.0, 60.0)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.alerts.quality import Quality, QualityRules, pooled
from node0lib.errors import ConfigError, RunError
from node0lib.evidence.canonical import encode
from node0lib.simulate.months import PAGE, evaluate
from node0lib.simulate.scenario import Fault, Floor, Plan, Scenario, Traffic, plan

Row = dict[str, Any]
Found = Mapping[str, Mapping[str, Quality]]
"""Qualities by label (see ``Cell.policies``) and alert."""
MOST_COMBINATIONS = 1_000_000
MOST_MONTHS = 10_000_000
MOST_STEPS = 43_200 * MOST_MONTHS
"""As many as that many months of 30 days of minutes."""
MOST_IN_A_CELL = 10_000
_BLOCK = 50
_CHUNK = 500
_MOST_CHUNKS = 2000
_DRAW_S, _POLICY_S = 50e-9, 7e-9  # a step, on a machine of today
_MONDAY = Scenario(Traffic(), Floor(0.0)).start
ESTIMATES = ("recall", "precision", "false_pages", "detection", "reset", "spent_at_detection")
TIMES = ("detection_s", "reset_s", "spent")


@dataclass(frozen=True)
class Sweep:
    """The axes of the grid, and ``months`` in each cell. Raises ConfigError for what cannot be simulated.

    A policy is its alerts, or None for the one that ``alerts.policies`` knows by that name.
    """

    objectives: tuple[float, ...]
    traffics: Mapping[str, Traffic]
    floors: Mapping[str, Floor]
    faults: Mapping[str, tuple[Fault, ...]]
    policies: Mapping[str, tuple[BurnAlert, ...] | None]
    seeds: Sequence[int]
    months: int = 100
    period: timedelta = timedelta(days=30)
    length: timedelta = timedelta(days=30)
    step: timedelta = timedelta(minutes=1)
    start: datetime = _MONDAY
    rules: QualityRules = QualityRules()

    def __post_init__(self) -> None:
        axes = (self.objectives, self.traffics, self.floors, self.faults, self.policies, self.seeds)
        if not all(axes):
            raise ConfigError("a sweep needs at least one objective, traffic, floor, fault, policy and seed")
        if not 1 <= self.months <= MOST_IN_A_CELL:
            raise ConfigError(f"months must lie between 1 and {MOST_IN_A_CELL:,}; more of them are more seeds")
        if len(set(self.objectives)) < len(self.objectives):
            raise ConfigError("objectives must differ")
        if min(self.seeds[0], self.seeds[-1]) < 0:
            raise ConfigError("seeds must be at least 0")
        if any("/" in name for name in (*self.traffics, *self.floors)):
            raise ConfigError("names of traffic and errors must not have a /: it lies between the parts of a cell's id")
        if any(alert.name == PAGE for alerts in self.policies.values() for alert in alerts or ()):
            raise ConfigError(f"no alert may be called {PAGE}: that is what those that page are called together")
        for faults in self.faults.values():
            self._scenario(Traffic(), Floor(0.0), faults)
        for objective in self.objectives:
            for name in self.policies:
                self.policy(name, objective)

    def policy(self, name: str, objective: float) -> AlertPolicy:
        """Return the policy of that name for an SLO of that objective; raises ConfigError for a stranger."""
        alerts = self.policies[name]
        if alerts is not None:
            return AlertPolicy(objective, self.period, alerts)
        known = named_policies(objective, self.period)
        if name not in known:
            raise ConfigError(f"policy {name} is not known; known are {', '.join(known)}")
        return known[name]

    def _scenario(self, traffic: Traffic, floor: Floor, faults: tuple[Fault, ...]) -> Scenario:
        return Scenario(traffic, floor, faults, self.length, self.step, self.start)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return math.prod(map(len, (self.traffics, self.floors, self.faults, self.seeds)))

    @property
    def chunk(self) -> int:
        """How many cells are finished together: some seconds' work, and never more than a few thousand files."""
        return max(1, _CHUNK // self.months, -(-self.cells // _MOST_CHUNKS))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.cells // self.chunk)

    def in_chunk(self, number: int) -> range:
        """Return the numbers of the cells of a chunk."""
        return range(number * self.chunk, min(self.cells, (number + 1) * self.chunk))


@dataclass(frozen=True)
class Cell:
    """One traffic, floor, fault and seed of a sweep; ``policies`` are all of it, by a label that nobody needs to read.

    ``labels`` tells the objective and the name of each.
    """

    id: str
    names: tuple[str, str, str]
    seed: int
    months: int
    scenario: Scenario
    policies: Mapping[str, AlertPolicy]
    labels: Mapping[str, tuple[float, str]]
    rules: QualityRules

    @property
    def blocks(self) -> tuple[range, ...]:
        """The months of each block."""
        starts = range(0, self.months, _BLOCK)
        return tuple(range(first, min(first + _BLOCK, self.months)) for first in starts)


@dataclass(frozen=True)
class Pace:
    """What a machine was measured to take: seconds to draw a month, and to put it through one policy."""

    draw: float
    policy: float


@dataclass(frozen=True)
class Cost:
    """What a sweep costs: ``combinations`` of the grid, ``months`` drawn, ``steps`` in them, ``seconds`` of a core."""

    combinations: int
    months: int
    steps: int
    seconds: float


def count(sweep: Sweep) -> int:
    """Return how many combinations (objective, traffic, floor, fault, policy, seed) there are."""
    return sweep.cells * len(sweep.objectives) * len(sweep.policies)


def cost(sweep: Sweep, pace: Pace) -> Cost:
    """Return what the sweep costs at that pace."""
    months = sweep.cells * sweep.months
    policies = len(sweep.objectives) * len(sweep.policies)
    steps = months * (sweep.length // sweep.step)
    return Cost(count(sweep), months, steps, months * (pace.draw + policies * pace.policy))


def usual_pace(sweep: Sweep) -> Pace:
    """Return roughly how fast any machine is on the sweep's months: known without drawing one."""
    steps = sweep.length // sweep.step
    return Pace(steps * _DRAW_S, steps * _POLICY_S)


def refuse_if_vast(sweep: Sweep) -> None:
    """Raise ConfigError, with the count and roughly the cost, for a sweep larger than anybody means; draws nothing."""
    told = cost(sweep, usual_pace(sweep))
    if told.combinations <= MOST_COMBINATIONS and told.months <= MOST_MONTHS and told.steps <= MOST_STEPS:
        return
    most = f"{MOST_COMBINATIONS:,} cells, {MOST_MONTHS:,} months and {MOST_STEPS:,} steps"
    raise ConfigError(
        f"the sweep has {told.combinations:,} cells and draws {told.months:,} months, {told.steps:,} steps in all: "
        f"about {lasting(told.seconds)} on one core. At most {most} are run; "
        "take longer steps, leave out what does not matter, or make several sweeps of it. Nothing was started"
    )


def lasting(seconds: float) -> str:
    """Return a length of time as people say it.

    >>> lasting(12), lasting(900), lasting(1e6), lasting(1e10)
    ('12 s', '15 min', '12 days', '317 years')
    """
    for unit, length in (("years", 365.25 * 86_400), ("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def document(sweep: Sweep) -> Row:
    """Return the sweep as plain values: what its digest is taken of."""
    seeds = sweep.seeds
    listed = {"first": seeds[0], "count": len(seeds), "step": seeds.step} if isinstance(seeds, range) else list(seeds)
    axes = {name: getattr(sweep, name) for name in ("objectives", "traffics", "floors", "faults", "policies")}
    rest = {name: getattr(sweep, name) for name in ("months", "period", "length", "step", "start")}
    # An object's keys are sorted by what is hashed, but rows follow the axes' order: that is told too.
    order = {name: list(axes[name]) for name in ("traffics", "floors", "faults", "policies")}
    how = {"rules": asdict(sweep.rules), "parts": [_BLOCK, sweep.chunk]}
    return {**axes, "order": order, "seeds": listed, **rest, **how}


def digest(sweep: Sweep) -> str:
    """Return the SHA-256 of the sweep: equal for equal sweeps only."""
    return hashlib.sha256(encode(document(sweep))).hexdigest()


def cells(sweep: Sweep) -> Iterator[Cell]:
    """Yield every cell, in a fixed order: traffic, then floor, fault and seed, which changes first."""
    return (cell_at(sweep, number) for number in range(sweep.cells))


def cell_at(sweep: Sweep, number: int) -> Cell:
    """Return the cell of that number; its ``id`` names what it is made of, and stays when axes grow."""
    rest, seed = divmod(number, len(sweep.seeds))
    names = []
    for axis in (sweep.faults, sweep.floors, sweep.traffics):
        rest, position = divmod(rest, len(axis))
        names.append(list(axis)[position])
    fault, floor, traffic = names
    scenario = sweep._scenario(sweep.traffics[traffic], sweep.floors[floor], sweep.faults[fault])
    labels = {f"{n}": pair for n, pair in enumerate((o, p) for o in sweep.objectives for p in sweep.policies)}
    policies = {label: sweep.policy(name, objective) for label, (objective, name) in labels.items()}
    told = f"{traffic}/{floor}/{fault}/{sweep.seeds[seed]}"
    kind = (traffic, floor, fault)
    return Cell(told, kind, sweep.seeds[seed], sweep.months, scenario, policies, labels, sweep.rules)


def run_block(cell: Cell, months: range) -> Found:
    """Return the qualities over some of a cell's months: a function of its arguments and of nothing else."""
    return evaluate(_plan(cell.scenario), cell.policies, months=months, seed=cell.seed, rules=cell.rules)


@lru_cache(maxsize=8)
def _plan(scenario: Scenario) -> Plan:
    return plan(scenario)


def run_cell(cell: Cell) -> list[Row]:
    """Return the rows of a cell: one for each objective, policy and alert."""
    return rows_of(cell, [run_block(cell, months) for months in cell.blocks])


def rows_of(cell: Cell, blocks: Sequence[Found]) -> list[Row]:
    """Return the rows of a cell whose blocks, in their order, have been run; raises RunError if one is missing."""
    if len(blocks) != len(cell.blocks):
        raise RunError(f"{cell.id}: {len(blocks)} of {len(cell.blocks)} blocks were run")
    found = []
    for label, (objective, name) in cell.labels.items():
        severities = {alert.name: alert.severity for alert in cell.policies[label].alerts}
        for alert in (PAGE, *severities):
            quality = pooled(block[label][alert] for block in blocks)
            of = dict(zip(("traffic", "floor", "fault"), cell.names, strict=True))
            key = {"cell": cell.id, **of, "seed": cell.seed, "objective": objective, "policy": name, "alert": alert}
            found.append({**key, "severity": severities.get(alert), **_columns(quality)})
    return found


def _columns(quality: Quality) -> Row:
    """Counts, estimates with both ends (None: not known), and the times."""
    counts = ("months", "events", "detected", "pages", "true_pages", "flaps")
    found: Row = {name: getattr(quality, name) for name in counts}
    for name in ESTIMATES:
        estimate = getattr(quality, name)
        for end in ("value", "low", "high"):
            column = name if end == "value" else f"{name}_{end}"
            found[column] = None if estimate is None else getattr(estimate, end)
    return found | {name: list(getattr(quality, name)) for name in TIMES}


def quality_of(row: Mapping[str, Any]) -> Quality:
    """Return the quality that a row was made of, to be pooled with others."""
    counts = (row[name] for name in ("events", "detected", "pages", "true_pages", "flaps"))
    return Quality(row["months"], *counts, *(tuple(row[name]) for name in TIMES))
