"""SLO awareness for an optimizer of one's own: ask before optimizing, classify what it found.

The names are those of node0's first interface. ``SLOAwareOptimizer`` looks at the installation that a configuration
describes, with the same functions as the production cycle; ``enhance_optimizer_with_slo_awareness`` puts the question
in front of an optimizer that knows nothing of SLOs.

>>> from node0lib.slo.catalogue import Catalogue
>>> _class_of({"type": "cache_ttl", "expected_improvement": 0.1, "confidence": 0.9}, Catalogue(()))
<ChangeClass.L: 'L'>
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from node0lib import cycle as steps
from node0lib.cycle import Given, Rules
from node0lib.errors import ConfigError, DataError
from node0lib.gates import Gates, Incident
from node0lib.optimize.propose import Proposal
from node0lib.optimize.risk import classify
from node0lib.shell.collect import events
from node0lib.shell.config import load
from node0lib.shell.notebooks import asked_by_hand, by_hand, source_by_hand
from node0lib.shell.state import State
from node0lib.shell.workspace import Places, instant_of, rules_of
from node0lib.slo.budget import burn_rate
from node0lib.slo.catalogue import Catalogue, ChangeClass
from node0lib.timespan import Span

T = TypeVar("T")
_METHODS = ("optimize", "run_cycle", "run", "propose", "step")
"""What an optimizer's doing may be called; every one of them that it has is asked about first."""


class SLOAwareOptimizer:
    """The questions of the production cycle, asked of the installation that ``config`` describes.

    ``at`` is the UTC instant to look at, None for now. Telemetry is read when it is first needed, and once; on the
    embedded node it is simulated, under the configured policy. Raises ConfigError with every mistake.
    """

    def __init__(self, config: str | Path = "configs/node0.yaml", *, at: datetime | None = None) -> None:
        self.settings = load(Path(config))
        self._rules: Rules = asked_by_hand(rules_of(self.settings))
        self.at = instant_of(self.settings, at or datetime.now(UTC))

    @functools.cached_property
    def _given(self) -> Given:
        return by_hand(self.settings, self.at, self._incidents())

    def _incidents(self) -> tuple[Incident, ...]:
        """What the installation remembers, if its cycles have run here."""
        path = Places.of(self.settings).state
        if not path.exists():
            return ()
        with State(path) as state:
            return state.incidents(self.at - self._rules.catalogue.gates.recent_incident)

    @functools.cached_property
    def gates(self) -> Gates:
        """Every gate's answer, with its reason."""
        ihsan = steps.score_ihsan(self._given, self._rules)
        statuses = steps.assess(self._given, self._rules, ihsan)
        return steps.ask_gates(self._given, self._rules, statuses, ihsan)

    def check_optimization_allowed(self) -> tuple[bool, str]:
        """Return whether all gates are open, and why or why not; nothing is changed."""
        told = "; ".join(self.gates.reasons)
        return (True, f"All SLO gates passed: {told}") if self.gates.open else (False, told)

    def classify_change(self, optimization: Mapping[str, Any] | Proposal) -> ChangeClass:
        """Return the risk class of a change.

        A mapping has ``type`` (or ``types``: kinds such as cache_ttl or routing), ``expected_improvement`` and
        ``confidence``, shares in [0, 1]; what is missing counts as unknown, and so as class H. Raises DataError.
        """
        return _class_of(optimization, self._rules.catalogue)

    def calculate_burn_rate(self, slo_name: str, window_minutes: int = 60) -> float:
        """Return the burn rate of an SLO over the minutes before ``at``; NaN without traffic, never 0 for no data.

        Raises ConfigError for an unknown SLO, DataError if its telemetry cannot be read.
        """
        if window_minutes < 1:
            raise ConfigError(f"window_minutes is {window_minutes}; it must be at least 1")
        slo, window = self._rules.catalogue.slo(slo_name), timedelta(minutes=window_minutes)
        if slo_name not in self._given.counts:
            ihsan = steps.score_ihsan(self._given, self._rules)
            status = next(s for s in steps.assess(self._given, self._rules, ihsan) if s.name == slo_name)
            burn = burn_rate(slo, status.counts)
        else:
            with source_by_hand(self.settings, self.at) as source:
                counts = events(self._rules.catalogue, source, slo, Span.ending(self.at, window))
            if counts.problem is not None:
                why = counts.problem.removeprefix(f"{slo_name}: ")
                raise DataError(f"{slo_name}: {why}")
            burn = burn_rate(slo, counts)
        return math.nan if burn is None else burn


def _class_of(optimization: Mapping[str, Any] | Proposal, catalogue: Catalogue) -> ChangeClass:
    if isinstance(optimization, Proposal):
        estimate = optimization.estimate
        found = classify(optimization.kinds, estimate.improvement, estimate.confidence, catalogue.classes)
        return found.change_class
    types = optimization.get("types", optimization.get("type", "unknown"))
    kinds = [types] if isinstance(types, str) else _listed(types)
    improvement, confidence = optimization.get("expected_improvement", 1.0), optimization.get("confidence", 0.0)
    for name, value in (("expected_improvement", improvement), ("confidence", confidence)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{name} is {value!r}; it must be a share, 0.3 for 30%")
    return classify(kinds, improvement, confidence, catalogue.classes).change_class


def _listed(types: object) -> list[str]:
    """The kinds of a change; none at all are unknown."""
    if not isinstance(types, list | tuple | set | frozenset) or not all(isinstance(kind, str) for kind in types):
        raise DataError(f"types is {types!r}; it must list kinds of change, such as cache_ttl or routing")
    return [*types] or ["unknown"]


def enhance_optimizer_with_slo_awareness(
    base_optimizer: T, slo: SLOAwareOptimizer | None = None, echo: Callable[[str], None] = print
) -> T:
    """Return ``base_optimizer``, asked about first: a blocked optimization does not run and returns None.

    A callable becomes a callable; of an object, its methods optimize, run_cycle, run, propose and step are guarded
    and everything else is its own. ``slo`` defaults to the configuration in ``configs/node0.yaml``, looked at anew on
    every call. Raises ConfigError if there is nothing to guard.
    """
    if any(callable(getattr(base_optimizer, name, None)) for name in _METHODS):
        kind = _GuardedCallable if callable(base_optimizer) else _Guarded
        return cast("T", kind(base_optimizer, slo, echo))
    if callable(base_optimizer):
        return cast("T", _guard(base_optimizer, slo, echo))
    raise ConfigError(f"{base_optimizer!r} is no optimizer: it is not callable and has none of {', '.join(_METHODS)}")


class _Guarded:
    """An optimizer whose doing is asked about first."""

    _base: Any
    _slo: SLOAwareOptimizer | None
    _echo: Callable[[str], None]

    def __init__(self, base: object, slo: SLOAwareOptimizer | None, echo: Callable[[str], None]) -> None:
        vars(self).update(_base=base, _slo=slo, _echo=echo)

    def __getattr__(self, name: str) -> Any:
        if "_base" not in vars(self):  # A copy in the making asks what it can do before it has anything.
            raise AttributeError(name)
        found = getattr(self._base, name)
        return _guard(found, self._slo, self._echo) if name in _METHODS and callable(found) else found

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._base, name, value)


class _GuardedCallable(_Guarded):
    """One that is itself called, too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _guard(self._base, self._slo, self._echo)(*args, **kwargs)


def _guard(
    action: Callable[..., Any], slo: SLOAwareOptimizer | None, echo: Callable[[str], None]
) -> Callable[..., Any]:
    @functools.wraps(action, updated=())
    def asked(*args: Any, **kwargs: Any) -> Any:
        echo("[SLO CHECK] Asking the gates whether anything may change now")
        allowed, reason = (slo or SLOAwareOptimizer()).check_optimization_allowed()
        if not allowed:
            echo(f"[BLOCKED] Optimization deferred: {reason}")
            return None
        echo(f"[OK] {reason}")
        return action(*args, **kwargs)

    return asked
