"""Open a study of alerts: the objective and the catalogue's own policy from the configuration, the rest as it is told.

>>> open_study(0.999, 36000, 0.0003, "workbook", 30, 1, config=None).policy.alerts[0].name
'critical_1h'
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, policy_of
from node0lib.errors import ConfigError
from node0lib.shell.config import load
from node0lib.shell.mistakes import nearest
from node0lib.shell.notebooks import found
from node0lib.simulate.gallery import USUAL
from node0lib.simulate.scenario import Floor
from node0lib.simulate.study import Study
from node0lib.slo.catalogue import Catalogue
from node0lib.timespan import format_duration
from node0lib.views import words

CATALOGUE = "catalogue"


def open_study(
    slo: str | float,
    traffic_per_hour: float,
    floor: float,
    policy: str,
    months: int,
    seed: int,
    config: str | None,
) -> Study:
    """Return a study of the policy called ``policy`` for an SLO by name, or for an objective such as 0.999.

    Months have the gallery's usual rhythm at ``traffic_per_hour`` and its clustered errors at the rate ``floor``.
    ``policy`` is "catalogue", the alerting section of ``config``, or one of the named policies. Raises ConfigError for
    unknown names and numbers that make no sense.
    """
    catalogue = load(found(config)).catalogue if config else Catalogue(())
    objective = _objective(catalogue, slo) if isinstance(slo, str) else float(slo)
    if months < 2:
        raise ConfigError(f"months: {months} are too few to say anything; 30 is a beginning")
    policies = _policies(objective, catalogue)
    if policy not in policies:
        raise ConfigError(f"there is no policy {policy!r}; {nearest(policy, policies)}")
    usual = replace(
        USUAL,
        traffic=replace(USUAL.traffic, per_hour=traffic_per_hour),
        floor=Floor(floor, USUAL.floor.dispersion, USUAL.floor.correlation),
    )
    told = f"{slo}, {words.objective(objective)}" if isinstance(slo, str) else words.objective(objective)
    return Study(policy, policies, usual, months, seed, workers=os.cpu_count() or 1, slo=told)


def _objective(catalogue: Catalogue, name: str) -> float:
    """An SLO's objective; raises ConfigError for one whose alerts nobody would ask: its window is under the period."""
    slo, period = catalogue.slo(name), catalogue.alerting.period
    if slo.window < period:
        window, longer = format_duration(slo.window), format_duration(period)
        raise ConfigError(f"{name} promises {window}, burn alerts count budgets of {longer}; name an SLO of {longer}")
    return slo.objective


def _policies(objective: float, catalogue: Catalogue) -> dict[str, AlertPolicy]:
    """The catalogue's own policy first, then every named one."""
    own = policy_of(objective, catalogue.alerting)
    period: timedelta = catalogue.alerting.period
    return {CATALOGUE: own} | named_policies(objective, period)
