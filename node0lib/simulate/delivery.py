"""Simulated histories of delivery: teams that get better, worse, stay as they are, or have a season, by a seed.

Deployments come by Poisson's law at a rate that differs from week to week (gamma) and by weekday and month. Each brings
changes, lognormally long after their commits, and fails with a given share: an incident is opened, which may name it or
not; a hotfix, a rollback or a repair ends it. Besides there are incidents that no deployment caused. What is still
open at the end is open. Week k is drawn from ``SeedSequence(seed, spawn_key=(k,))``, so a longer history begins with
the shorter one, but for what goes on at its end. Week 0 lies before the start: the first whole week has a past.

>>> short, long = (events(KINDS["steady"], weeks, seed=1) for weeks in (4, 8))
>>> len(short) < len(long), [one.id for one in short][:2]
(True, ['d0.0', 'd0.1'])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from node0lib.dora.events import Change, Deployment, Event, Incident, Kind
from node0lib.dora.trends import WEEK
from node0lib.errors import ConfigError

START = datetime(2025, 7, 7, tzinfo=UTC)
"""A Monday: whole ISO weeks are counted from here."""
_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_WORKDAYS = (1.0, 1.0, 1.0, 1.0, 0.8, 0.1, 0.1)
_ALIKE = (1.0,) * 12
_HALF_YEAR = 26
_LATE = 0.08
"""The share of failures that nobody notices for a day or more."""


@dataclass(frozen=True)
class Drift:
    """By which factor each number has changed after 26 weeks, little by little."""

    per_week: float = 1.0
    lead: float = 1.0
    fail: float = 1.0
    recovery: float = 1.0


@dataclass(frozen=True)
class Train:
    """Deployments that go out together in one week (1 is the first), of which ``fail`` fail and mend slowly."""

    week: int
    deployments: int
    fail: float


@dataclass(frozen=True)
class Delivery:
    """How a team delivers; raises ConfigError for what cannot be.

    ``per_week`` deployments on average, ``dispersion`` the coefficient of variation of the weeks' rates, ``lead`` and
    ``recovery`` medians with the standard deviations of their logarithms, ``fail``, ``named`` (incidents that name
    their deployment), ``rolled_back`` and ``fixed`` shares in [0, 1], ``unrelated`` incidents a week. ``weekdays`` (7)
    and ``months`` (12) are relative rates.
    """

    per_week: float = 15.0
    dispersion: float = 0.2
    lead: timedelta = 42 * _HOUR
    lead_spread: float = 0.9
    fail: float = 0.12
    recovery: timedelta = 50 * _MINUTE
    recovery_spread: float = 0.9
    named: float = 0.5
    unrelated: float = 0.5
    rolled_back: float = 0.25
    fixed: float = 0.4
    weekdays: tuple[float, ...] = _WORKDAYS
    months: tuple[float, ...] = _ALIKE
    drift: Drift = Drift()
    train: Train | None = None

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("fail", "named", "rolled_back", "fixed")}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share:g}; give a share between 0 and 1")
        if self.rolled_back + self.fixed > 1:
            raise ConfigError("rolled_back and fixed are shares of the same failures; together they are at most 1")
        sizes = (self.per_week, self.lead / _HOUR, self.recovery / _HOUR)
        if min(sizes) <= 0 or min(self.dispersion, self.unrelated, *self.weekdays, *self.months) < 0:
            raise ConfigError("per_week, lead and recovery must be above 0; rates and dispersion at least 0")
        if len(self.weekdays) != 7 or len(self.months) != 12 or sum(self.weekdays) <= 0:
            raise ConfigError("give 7 weekdays, not all 0, and 12 months")

    def after(self, weeks: float) -> Delivery:
        """Return the same team so many weeks later, as its drift has it."""
        share, drift = weeks / _HALF_YEAR, self.drift
        return replace(
            self,
            per_week=self.per_week * drift.per_week**share,
            lead=self.lead * drift.lead**share,
            fail=min(1.0, self.fail * drift.fail**share),
            recovery=self.recovery * drift.recovery**share,
        )


KINDS: Mapping[str, Delivery] = {
    "steady": Delivery(),
    "improving": Delivery(drift=Drift(per_week=2.0, lead=0.35, fail=0.35, recovery=0.4)),
    "degrading": Delivery(drift=Drift(per_week=0.5, lead=3.0, fail=2.5, recovery=2.5)),
    "seasonal": Delivery(months=(0.9, 1.1, 1.2, 1.0, 1.1, 1.1, 0.8, 0.6, 1.2, 1.2, 1.1, 0.3), dispersion=0.1),
    "bad train": Delivery(train=Train(week=17, deployments=12, fail=0.75)),
    "small team": Delivery(per_week=1.5),
}
"""The kinds of history that are looked at."""

WHAT: Mapping[str, str] = {
    "steady": "15 deployments a week, 12% fail, 42 h from commit to production: nothing changes",
    "improving": "in half a year twice as many deployments, a third of the lead time and of the failures",
    "degrading": "in half a year half as many deployments, three times the lead time, 2.5 times the failures",
    "seasonal": "few deployments in August, hardly any in December, and none of it a trend",
    "bad train": "in week 17 twelve more deployments go out together and nine of them fail",
    "small team": "as steady, but 1.5 deployments a week: little can be shown",
}
"""What happens, in words."""


def end(weeks: int) -> datetime:
    """Return when a history of so many whole weeks ends."""
    return START + WEEK * weeks


def events(team: Delivery, weeks: int, seed: int) -> tuple[Event, ...]:
    """Return what happened in the week before the start and in ``weeks`` from it; raises ConfigError for none."""
    if weeks < 1:
        raise ConfigError(f"weeks: {weeks} are none; give at least 1")
    until = end(weeks)
    drawn = (one for week in range(weeks + 1) for one in _week(team.after(max(0, week - 1)), week, seed))
    return tuple(_seen(one, until) for one in drawn if _known(one, until))


def _known(event: Event, until: datetime) -> bool:
    return (event.finished_at if isinstance(event, Deployment) else event.opened_at) <= until


def _seen(event: Event, until: datetime) -> Event:
    """The event as it was known at the end: an incident that went on is open."""
    if isinstance(event, Incident) and event.resolved_at is not None and event.resolved_at > until:
        return replace(event, resolved_at=None)
    return event


def _week(team: Delivery, week: int, seed: int) -> Iterator[Event]:
    """Week 0 ends at the start."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(week,)))
    begin = START + WEEK * (week - 1)
    train = team.train if team.train and team.train.week == week else None
    slow = replace(team, fail=train.fail, recovery=4 * team.recovery) if train else team
    usual = _times(rng, team, begin)
    together = [begin + 34 * _HOUR + 5 * _MINUTE * n for n in range(train.deployments)] if train else []
    for number, at in enumerate(sorted(usual)):
        yield from _deployment(rng, team, f"{week}.{number}", at)
    for number, at in enumerate(together):
        yield from _deployment(rng, slow, f"{week}.train{number}", at)
    for number in range(int(rng.poisson(team.unrelated))):
        opened = begin + WEEK * float(rng.random())
        yield Incident(f"u{week}.{number}", "shop", opened, opened + _lasting(rng, team.recovery, team.recovery_spread))


def _times(rng: np.random.Generator, team: Delivery, begin: datetime) -> list[datetime]:
    """When the deployments of a week finish: in working hours, UTC."""
    weekdays = np.array(team.weekdays) / sum(team.weekdays)
    months = [team.months[(begin + timedelta(days=day)).month - 1] for day in range(7)]
    shape = 1 / team.dispersion**2 if team.dispersion else 0.0
    luck = float(rng.gamma(shape, 1 / shape)) if shape else 1.0
    counts = rng.poisson(team.per_week * luck * weekdays * months)
    days = np.repeat(np.arange(7), counts).tolist()
    return [begin + timedelta(days=day, hours=9 + 8 * float(rng.random())) for day in days]


def _deployment(rng: np.random.Generator, team: Delivery, name: str, at: datetime) -> Iterator[Event]:
    """A deployment and, if it fails, what follows."""
    yield _deployed(rng, team, name, at)
    if rng.random() >= team.fail:
        return
    late = rng.random() < _LATE
    opened = at + (timedelta(days=1 + 2 * float(rng.random())) if late else 20 * _MINUTE * float(rng.exponential()))
    mended = opened + _lasting(rng, team.recovery, team.recovery_spread)
    named, way = rng.random() < team.named, rng.random()
    yield Incident(f"i{name}", "shop", opened, mended + 10 * _MINUTE, f"d{name}" if named else None)
    if way < team.rolled_back + team.fixed:
        kind: Kind = "rollback" if way < team.rolled_back else "hotfix"
        cause = f"i{name}" if named else None
        begun = mended - 5 * _MINUTE
        yield Deployment(f"{kind}{name}", "shop", "production", begun, mended, kind=kind, caused_by=cause)


def _deployed(rng: np.random.Generator, team: Delivery, name: str, at: datetime) -> Deployment:
    changes = tuple(_change(rng, team, f"c{name}.{n}", at) for n in range(1 + int(rng.poisson(0.8))))
    return Deployment(f"d{name}", "shop", "production", at - 5 * _MINUTE, at, sha=f"v{name}", changes=changes)


def _change(rng: np.random.Generator, team: Delivery, sha: str, at: datetime) -> Change:
    """A change that was written, committed, proposed, merged and then deployed."""
    committed = at - _lasting(rng, team.lead, team.lead_spread)
    first, second = np.sort(rng.random(2)).tolist()
    opened, merged = committed + (at - committed) * first, committed + (at - committed) * second
    return Change(sha, committed, committed - _lasting(rng, 2 * _HOUR, 1.0), opened, merged)


def _lasting(rng: np.random.Generator, median: timedelta, spread: float) -> timedelta:
    return median * float(rng.lognormal(0.0, spread))
