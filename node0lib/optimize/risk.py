"""The risk class of a change: every criterion is asked, the highest class wins, the reasons say which decided.

>>> from node0lib.slo.catalogue import Catalogue
>>> classify(["cache_ttl"], 0.1, 0.99, Catalogue(slos=()).classes).change_class
<ChangeClass.L: 'L'>
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from node0lib.errors import DataError
from node0lib.slo.catalogue import ChangeClass, ChangeRule


@dataclass(frozen=True)
class Classified:
    """A class and the criteria that decided it."""

    change_class: ChangeClass
    reasons: tuple[str, ...]


def classify(
    kinds: Iterable[str], improvement: float, confidence: float, classes: Mapping[ChangeClass, ChangeRule]
) -> Classified:
    """Classify a change of those kinds with that expected improvement and confidence, shares in [0, 1].

    A kind that no class lists is H: what nobody thought of is not low risk. Raises DataError on other numbers.
    """
    if not (-1 <= improvement <= 1 and 0 <= confidence <= 1):
        raise DataError(f"improvement {improvement} and confidence {confidence} must be shares: 0.3 for 30%")
    hits = [hit for kind in sorted(set(kinds)) for hit in _by_kind(kind, classes)]
    for name, rule in classes.items():
        hits += [(name, text) for text in _by_numbers(rule, improvement, confidence)]
    order = list(ChangeClass)
    top = max((name for name, _ in hits), key=order.index, default=ChangeClass.L)
    return Classified(top, tuple(text for name, text in hits if name == top))


def _by_kind(kind: str, classes: Mapping[ChangeClass, ChangeRule]) -> list[tuple[ChangeClass, str]]:
    listed = [(name, f"{kind} is a class {name} change") for name, r in classes.items() if kind in r.kinds]
    return listed or [(ChangeClass.H, f"{kind} is a kind of change that no class lists")]


def _by_numbers(rule: ChangeRule, improvement: float, confidence: float) -> list[str]:
    found = []
    if rule.improvement_at_least is not None and improvement >= rule.improvement_at_least:
        found.append(f"improvement {improvement:.1%} is at least {rule.improvement_at_least:.0%}")
    if rule.improvement_above is not None and improvement > rule.improvement_above:
        found.append(f"improvement {improvement:.1%} is above {rule.improvement_above:.0%}")
    if rule.confidence_under is not None and confidence < rule.confidence_under:
        found.append(f"confidence {confidence:.0%} is under {rule.confidence_under:.0%}")
    return found
