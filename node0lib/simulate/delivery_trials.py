"""Many simulated histories: how often is a trend found, and how often does a forecast hold what it says?

Every history goes the whole way: events, links, weekly metrics, test, forecast. The weeks that are forecast are then
drawn too, and looked at. History k has the seed that ``SeedSequence(seed, spawn_key=(k,))`` gives, of whichever kind,
so kinds are compared on the same luck.

>>> from node0lib.simulate.delivery import KINDS
>>> found = trials(KINDS["steady"], weeks=12, histories=2, seed=1, ahead=1)
>>> found.histories, sorted(found.metrics)[0], found.metrics["change_fail_rate"].forecast[0].asked
(2, 'change_fail_rate', 2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node0lib.dora.forecast import LEVEL, forecast
from node0lib.dora.history import History, instant, micros
from node0lib.dora.linking import judge
from node0lib.dora.metrics import Group
from node0lib.dora.profiles import METRICS, NODE0
from node0lib.dora.report import SCALES
from node0lib.dora.trends import WEEK, trend, week_ends
from node0lib.errors import ConfigError
from node0lib.simulate.delivery import Delivery, end, events

_WEEKLY = ("frequency", "lead", "fails", "recovery", "rework")
Weeks = Mapping[str, Sequence[float | None]]
"""One value a week of each metric, oldest first: deployments a week, seconds, shares; None where there is none."""
Sizes = Mapping[str, Sequence[int] | None]
"""How many deployments each week's number rests on, for shares; None for what is no share."""


@dataclass(frozen=True)
class Held:
    """How many of the intervals for a week that was forecast held its value."""

    held: int
    asked: int


@dataclass(frozen=True)
class Found:
    """Of one metric: in how many histories it was found to rise and to fall, and its forecasts by weeks ahead."""

    rising: int
    falling: int
    forecast: tuple[Held, ...]


@dataclass(frozen=True)
class Trials:
    """What was found in ``histories`` histories of one kind, by metric; ``level`` is what the forecasts promised."""

    histories: int
    weeks: int
    level: float
    metrics: Mapping[str, Found]


def weekly(history: History, weeks: int, until: int) -> tuple[Weeks, Sizes]:
    """Return the metrics of the last whole ISO weeks before ``until`` (microseconds), of all services in production.

    The sizes are those of the shares. Weeks before the first deployment are unknown and left out; without one there are
    none. A metric's week knows only what had happened by its end.
    """
    nothing: tuple[Weeks, Sizes] = {name: [] for name in METRICS}, dict.fromkeys(METRICS)
    if "production" not in history.environments:
        return nothing
    place = history.environments.index("production")
    group = Group(history, judge(history, NODE0, frozenset({"production"})), NODE0, None, place)
    ends = [micros(one) for one in week_ends(instant(until), weeks)]
    ends = [one for one in ends if group.first is not None and instant(one) - WEEK >= instant(group.first)]
    if not ends:
        return nothing
    found = group.windows(ends, WEEK)
    series = dict(zip(METRICS, (getattr(found, name) for name in _WEEKLY), strict=True))
    values = {name: one.value * (7.0 if name == METRICS[0] else 1.0) for name, one in series.items()}
    sizes = {name: one.n.tolist() if SCALES[name] == "share" else None for name, one in series.items()}
    return {name: [_number(value) for value in one] for name, one in values.items()}, sizes


def trials(
    team: Delivery, *, weeks: int, histories: int, seed: int, ahead: int = 4, level: float = LEVEL
) -> Trials:
    """Return what is found in ``histories`` histories of ``weeks`` weeks, and in the ``ahead`` weeks after them.

    Raises ConfigError for fewer than one history, week or week ahead.
    """
    if histories < 1 or ahead < 1:
        raise ConfigError(f"{histories} histories and {ahead} weeks ahead; give at least 1 of each")
    drawn = [_drawn(team, weeks + ahead, seed, number) for number in range(histories)]
    return Trials(
        histories,
        weeks,
        level,
        {name: _found([(one[name], of[name]) for one, of in drawn], ahead, level, name) for name in METRICS},
    )


def _drawn(team: Delivery, weeks: int, seed: int, number: int) -> tuple[Weeks, Sizes]:
    own = int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])
    return weekly(History.of(events(team, weeks, own)), weeks, micros(end(weeks)))


def _found(
    drawn: Sequence[tuple[Sequence[float | None], Sequence[int] | None]], ahead: int, level: float, name: str
) -> Found:
    verdicts, held = [], np.zeros((ahead, 2), np.int64)
    for values, sizes in drawn:
        past, coming, rests = values[:-ahead], values[-ahead:], sizes[:-ahead] if sizes else None
        verdicts.append(trend(past, sizes=rests).verdict)
        for one in forecast(past, weeks=ahead, level=level, scale=SCALES[name], sizes=rests).ahead:
            value = coming[one.week - 1]
            if value is not None:
                held[one.week - 1] += (one.low - 1e-9 <= value <= one.high + 1e-9, 1)
    told = tuple(Held(int(hits), int(asked)) for hits, asked in held)
    return Found(verdicts.count("rising"), verdicts.count("falling"), told)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
