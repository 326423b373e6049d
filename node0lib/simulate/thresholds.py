"""What a person has set in the threshold explorer, as one value: a policy by its numbers, traffic, and a fault.

Factors are what people think in; a catalogue holds shares of the budget. So a share is rounded to what can be written
(a millionth of a percent), and the factor that is simulated is the one that the written share gives back: what is
explored is, bit for bit, what the catalogue then says.

>>> from node0lib.slo.objective import Objective
>>> api = Objective("api", "ratio", 0.999, timedelta(days=30))
>>> chosen = starting(Catalogue((api,)), "api")
>>> [(round(pair.factor, 6), pair.min_bad) for pair in chosen.pairs]
[(14.4, 3), (6.0, 3), (3.0, 3), (1.0, 3)]
>>> chosen.alerting(Alerting()) == Alerting()
True
>>> chosen.question().policy.objective
0.999
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from node0lib.alerts.policy import policy_of
from node0lib.errors import ConfigError
from node0lib.simulate.explore import Question
from node0lib.simulate.scenario import Floor, Traffic
from node0lib.slo.catalogue import Alerting, AlertPair, Catalogue, Severity
from node0lib.timespan import format_duration

_HOUR = timedelta(hours=1)
SWING = 0.5
"""The explorer's traffic has a day: half of its mean at 02:00 UTC, half as much more at 14:00 UTC."""


@dataclass(frozen=True)
class ChosenPair:
    """One multiwindow alert as it is set: a factor instead of a share of the budget."""

    severity: Severity
    factor: float
    long: timedelta
    short: timedelta
    hold: timedelta = timedelta(0)
    min_bad: float = 0.0


@dataclass(frozen=True)
class Chosen:
    """Everything that the explorer's sliders set: ``traffic`` in requests an hour, ``size`` and ``floor`` shares."""

    slo: str
    objective: float
    period: timedelta
    pairs: tuple[ChosenPair, ...]
    traffic: float = 36_000.0
    floor: float = 0.0003
    dispersion: float = 0.5
    size: float = 0.05
    length: timedelta = _HOUR
    months: int = 200
    seed: int = 1
    section_min_bad: int = field(default=3, repr=False)

    def alerting(self, before: Alerting) -> Alerting:
        """Return ``before`` with the chosen pairs; raises ConfigError for one that no catalogue could hold."""
        if len(before.pairs) != len(self.pairs):
            raise ConfigError("the catalogue has other pairs by now; start the explorer again")
        pairs = (self._pair(chosen, old, before) for chosen, old in zip(self.pairs, before.pairs, strict=True))
        return replace(before, pairs=tuple(pairs))

    def question(self) -> Question:
        """Return what is to be simulated; raises ConfigError for windows and factors that make no sense."""
        pairs = tuple(self._pair(one, None, None) for one in self.pairs)
        alerting = Alerting(self.period, self.section_min_bad, pairs)
        return Question(
            policy_of(self.objective, alerting),
            Traffic(self.traffic, daily_swing=SWING),
            Floor(self.floor, dispersion=self.dispersion),
            self.size,
            self.length,
            months=self.months,
            seed=self.seed,
        )

    def _pair(self, chosen: ChosenPair, old: AlertPair | None, section: Alerting | None) -> AlertPair:
        """The pair; ``min_bad`` is left to the section where it was and is the section's."""
        budget = writable(chosen.factor * (chosen.long / self.period))
        if old is not None and (old.long, old.factor(self.period)) == (chosen.long, chosen.factor):
            budget = old.budget
        name = f"the {chosen.severity} pair of {format_duration(chosen.long)} and {format_duration(chosen.short)}"
        if chosen.short >= chosen.long:
            raise ConfigError(f"{name}: the short window must be shorter than the long one; a twelfth of it is usual")
        if not 0 < budget <= 1:
            told = f"a burn of {chosen.factor:g} would spend {budget * 100:.4g}% of the budget"
            raise ConfigError(f"{name}: {told}, which must be more than 0 and at most all of it; change the factor")
        own: float | None = chosen.min_bad
        if old is not None and section is not None and old.min_bad is None and own == section.min_bad:
            own = None
        return AlertPair(chosen.severity, budget, chosen.long, chosen.short, chosen.hold, own)


def writable(share: float) -> float:
    """Return the share that is read back after it is written as a percentage.

    >>> writable(13.7 / 720), percentage(13.7 / 720)
    (0.01902778, '1.902778%')
    """
    return float(Decimal(percentage(share)[:-1]) / 100)


def percentage(share: float) -> str:
    """Return a share in percent, to a millionth: ``2%``, ``1.902778%``."""
    return f"{share * 100:.6f}".rstrip("0").rstrip(".") + "%"


def alerted(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the names of the SLOs that the pairs are asked of."""
    period = catalogue.alerting.period
    return tuple(slo.name for slo in catalogue.slos if slo.kind != "invariant" and slo.window >= period)


def starting(catalogue: Catalogue, slo: str, *, months: int = 200, seed: int = 1) -> Chosen:
    """Return what the catalogue says for an SLO; raises ConfigError for one that has no budget to burn."""
    objective, alerting = catalogue.slo(slo), catalogue.alerting
    able = ", ".join(alerted(catalogue))
    if objective.kind == "invariant":
        raise ConfigError(f"{slo} is an invariant: it has no budget that could burn; choose of {able}")
    if slo not in alerted(catalogue):
        told = f"its window of {format_duration(objective.window)} is shorter than the period of the alerts"
        raise ConfigError(f"{slo}: {told}, so no pair is asked of it; choose of {able}")
    pairs = tuple(
        ChosenPair(p.severity, p.factor(alerting.period), p.long, p.short, p.hold, alerting.guard(p))
        for p in alerting.pairs
    )
    return Chosen(
        slo,
        objective.objective,
        alerting.period,
        pairs,
        months=months,
        seed=seed,
        section_min_bad=alerting.min_bad,
    )
