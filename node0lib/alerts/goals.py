"""What a team wants of its alerts, as frozen values, and how goals and numbers are told in words.

>>> Goals().outage.within, Goals().burn.before, Goals().false_pages
(datetime.timedelta(seconds=600), 0.05, 1.0)
>>> percent(0.1), lasting(540.0), lasting(float("inf")), amount(0.034)
('10%', '9 min', 'never', '0.034')
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from node0lib.errors import ConfigError


@dataclass(frozen=True)
class Outage:
    """``size`` of the requests fail for ``length``; to be paged ``within`` (None: not asked)."""

    size: float = 0.1
    within: timedelta | None = timedelta(minutes=10)
    length: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not 0 < self.size <= 1:
            raise ConfigError(f"outage: the size {self.size:g} must be above 0 and at most 1; a tenth is 10%")
        if self.length <= timedelta(0) or (self.within is not None and not timedelta(0) < self.within <= self.length):
            raise ConfigError("outage: within must be above 0 and at most the outage's length")


@dataclass(frozen=True)
class Burn:
    """``size`` of the requests fail for hours; to be told, by page or ticket, ``before`` that share is spent."""

    size: float = 0.01
    before: float | None = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.size <= 1:
            raise ConfigError(f"burn: the size {self.size:g} must be above 0 and at most 1; a hundredth is 1%")
        if self.before is not None and not 0 < self.before <= 1:
            raise ConfigError(f"burn: before {self.before:g} must be above 0 and at most 1; a twentieth is 5%")


@dataclass(frozen=True)
class Blips:
    """Failures too small to wake anybody: ``a_month`` on average, ``size`` of the requests for ``length``.

    They lie in the healthy months, and a page for one is a false page. Without them only chance pages falsely, which
    at high traffic makes the most sensitive alert the best.
    """

    a_month: float
    size: float = 0.05
    length: timedelta = timedelta(minutes=3)

    def __post_init__(self) -> None:
        if not 0 < self.a_month <= 1000 or not 0 < self.size <= 1 or self.length <= timedelta(0):
            raise ConfigError("blips: a_month must lie in (0, 1000], size in (0, 1], length be longer than 0")


@dataclass(frozen=True)
class Goals:
    """What is wanted; None is not asked. ``share`` is how many of the faults must keep outage's and burn's promise.

    ``false_pages`` a month at most, ``recall`` at least, ``reset`` (the median) at most. ``blips`` are no goal but what
    the goal on false pages has to stand.
    """

    false_pages: float | None = 1.0
    outage: Outage = Outage()
    burn: Burn = Burn()
    recall: float | None = None
    reset: timedelta | None = None
    share: float = 0.9
    blips: Blips | None = None

    def __post_init__(self) -> None:
        if self.false_pages is not None and not 0 <= self.false_pages < math.inf:
            raise ConfigError("false_pages must be a number of pages a month, at least 0")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise ConfigError("recall must be above 0 and at most 1; nine of ten is 90%")
        if not 0 < self.share < 1:
            raise ConfigError(f"the share {self.share:g} must lie strictly between 0 and 1; nine of ten is 90%")

    @property
    def enough(self) -> float:
        """How much of the budget may be spent before a ticket without any harm to the goals."""
        return self.burn.before or 0.0


def percent(share: float) -> str:
    """A share in words, with two digits that count."""
    if math.isinf(share):
        return "never"
    return f"{share * 100:.2g}%" if share < 0.0995 else f"{share * 100:.0f}%"


def lasting(seconds: float) -> str:
    """A time in words; +inf was missed."""
    if math.isinf(seconds):
        return "never"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def amount(rate: float) -> str:
    """A rate in words, with two digits that count."""
    return f"{rate:.2g}" if rate < 99.5 else f"{rate:.0f}"
