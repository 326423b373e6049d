"""Open a study of alerts: the objective and the catalogue's own policy from the configuration, the rest as it is told.

>>> open_study(0.999, 36000, 0.0003, "workbook", 30, 1, config=None).policy.alerts[0].name
'critical_1h'
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from node0lib.alerts.policies import named_policies
from node0lib.alerts.policy import AlertPolicy, policy_of
from node0lib.errors import ConfigError
from node0lib.shell.config import load
from node0lib.shell.mistakes import nearest
from node0lib.shell.notebooks import found
from node0lib.shell.scenario_file import read_scenario
from node0lib.simulate.gallery import FAULTS, USUAL
from node0lib.simulate.scenario import Fault, Floor, Scenario
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
    faults: Sequence[str] = (),
    scenario: str = "",
) -> Study:
    """Return a study of the policy called ``policy`` for an SLO by name, or for an objective such as 0.999.

    Months have the gallery's usual rhythm at ``traffic_per_hour`` and its clustered errors at the rate ``floor``.
    ``faults`` names those of the gallery that are studied, none for all. ``scenario`` is a YAML file whose traffic,
    errors and length are the usual month then, and whose faults are kinds of their own, beside those that are named.
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
    usual, kinds = _kinds(traffic_per_hour, floor, faults, scenario)
    told = f"{slo}, {words.objective(objective)}" if isinstance(slo, str) else words.objective(objective)
    return Study(policy, policies, usual, months, seed, workers=os.cpu_count() or 1, slo=told, faults=kinds)


def _kinds(
    traffic_per_hour: float, floor: float, names: Sequence[str], scenario: str
) -> tuple[Scenario, dict[str, tuple[Fault, ...]]]:
    """Return the usual month and the kinds of fault; raises ConfigError for a name that the gallery has not."""
    for name in names:
        if name not in FAULTS:
            raise ConfigError(f"faults: there is no {name!r} in the gallery; {nearest(name, FAULTS)}")
    kinds = {name: faults for name, faults in FAULTS.items() if not names or name in names}
    if not scenario:
        traffic = replace(USUAL.traffic, per_hour=traffic_per_hour)
        errors = Floor(floor, USUAL.floor.dispersion, USUAL.floor.correlation)
        return replace(USUAL, traffic=traffic, floor=errors), kinds
    own = read_scenario(found(scenario))
    both = (kinds if names else {}) | {fault.name: (fault,) for fault in own.faults}
    if not both:
        raise ConfigError(f"{scenario}: has no faults; write some, or name those of the gallery in faults")
    return replace(own, faults=()), both


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
