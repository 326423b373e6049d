"""Several SLOs looked at as one, by weight.

The burn of a composite is the weighted mean of its parts' burns, and so is the budget left:
1 - sum(w (1 - left)) / sum(w). Weights say how much a part matters, whatever its traffic; only their ratios count.
The state follows from both by the rules of a single SLO. A composite of which any part has no data has none: a mean
over the rest would be of something else. A composite opens and closes no gate; its parts do.

>>> from datetime import timedelta
>>> from node0lib.sli.series import Counts
>>> from node0lib.slo.budget import status
>>> from node0lib.slo.objective import Objective
>>> day, policy = timedelta(days=1), BudgetPolicy()
>>> web = status(Objective("web", "ratio", 0.9, day), {day: Counts(95, 100, 1.0)}, policy)
>>> pay = status(Objective("pay", "ratio", 0.99, day), {day: Counts(100, 100, 1.0)}, policy)
>>> shop = composite_status(Composite("shop", {"web": 1, "pay": 3}), (web, pay), policy)
>>> round(shop.budget_left, 6), round(shop.burn["1d"], 6), shop.state
(0.875, 0.125, 'meeting')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from node0lib.errors import ConfigError
from node0lib.slo.budget import SloStatus, State, state_of
from node0lib.slo.catalogue import BudgetPolicy, Composite
from node0lib.timespan import format_duration


@dataclass(frozen=True)
class CompositeStatus:
    """Where a composite stands; ``burn`` holds the windows that all parts know, None where one observed nothing.

    ``problem`` names the parts without data, and why.
    """

    name: str
    of: Mapping[str, float]
    burn: Mapping[str, float | None]
    budget_left: float | None
    state: State
    problem: str | None = None


def composite_status(composite: Composite, statuses: Sequence[SloStatus], policy: BudgetPolicy) -> CompositeStatus:
    """Return the status of a composite from those of all SLOs; raises ConfigError if one of its parts is not there."""
    by_name = {s.name: s for s in statuses}
    if unknown := [name for name in composite.of if name not in by_name]:
        known = ", ".join(by_name)
        raise ConfigError(f"composites.{composite.name}: there is no SLO {unknown[0]!r}; known are {known}")
    found = [(by_name[name], weight) for name, weight in composite.of.items()]
    shared = [w for w in found[0][0].burn if all(w in s.burn for s, _ in found)]
    burn = {window: _mean(found, lambda s, w=window: s.burn[w]) for window in shared}  # type: ignore[misc]
    blind = [f"{s.name} ({s.problem})" for s, _ in found if s.state == "no_data"]
    if blind:
        return CompositeStatus(composite.name, composite.of, burn, None, "no_data", f"no data for {', '.join(blind)}")
    left = _mean(found, lambda s: s.budget_left)
    state = state_of(left, _mean(found, lambda s: _recent(s, policy)), policy)
    return CompositeStatus(composite.name, composite.of, burn, left, state)


def _recent(status: SloStatus, policy: BudgetPolicy) -> float | None:
    """The burn from which the part's own state followed."""
    own = status.burn[format_duration(status.window)]
    return status.burn.get(format_duration(policy.look_back), own) if status.window > policy.look_back else own


def _mean(found: Sequence[tuple[SloStatus, float]], of: Callable[[SloStatus], float | None]) -> float | None:
    """The weighted mean over the parts; None if one of them has no value."""
    known = [(value, weight) for status, weight in found if (value := of(status)) is not None]
    if len(known) < len(found):
        return None
    # The heaviest weight is 1, so that no sum overflows and no weight vanishes, however the weights were scaled.
    heaviest = max(weight for _, weight in known)
    shares = [(value, weight / heaviest) for value, weight in known]
    return sum(value * share for value, share in shares) / sum(share for _, share in shares)
