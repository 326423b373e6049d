"""What a team wants of its alerts, from YAML; what is not written is not asked.

>>> text = b'''
... false_pages: 1                          # a month, at most
... outage: {size: 10%, within: 10m}        # and length: 1h, how long it lasts
... burn: {size: 1%, before: 5%}            # told, by page or ticket, before that share of the budget is gone
... recall: 90%                             # of the significant faults of the gallery
... reset: 1h                               # the median page's, after the outage
... share: 90%                              # of the outages and burns must keep their promise
... blips: {a_month: 8, size: 10%, length: 3m}  # happen, and are to page nobody
... '''
>>> goals = parse_goals(text, "goals.yaml")
>>> goals.outage.within, goals.burn.before, goals.recall, goals.blips.a_month
(datetime.timedelta(seconds=600), 0.05, 0.9, 8.0)
>>> parse_goals(b"recall: 80%", "goals.yaml").false_pages is None
True
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from node0lib.alerts.goals import Blips, Burn, Goals, Outage
from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import checked
from node0lib.shell.mistakes import Mistakes, Source, content_of, opened
from node0lib.shell.schema import Contradictions, Duration, Model, Share

_GOALS = ("false_pages", "outage", "burn", "recall", "reset")


def _some(share: float) -> float:
    if share == 0:
        raise ValueError("{value} must be more than 0; write for example 10%")
    return share


def _not_all(share: float) -> float:
    if share == 1:
        raise ValueError("{value} can never be shown of a sample; write at most 99.9%")
    return share


Some = Annotated[Share, AfterValidator(_some)]
Most = Annotated[Some, AfterValidator(_not_all)]


class OutageModel(Model):
    """``outage:``."""

    size: Some = Field(examples=["10%"])
    within: Duration = Field(examples=["10m"])
    length: Duration = timedelta(hours=1)

    def contradictions(self) -> Contradictions:
        """Yield an outage that is over before it has to be paged."""
        if self.within > self.length:
            yield self.written("within"), "is longer than the outage lasts; add length, or ask for less"


class BurnModel(Model):
    """``burn:``."""

    size: Some = Field(examples=["1%"])
    before: Some = Field(examples=["5%"])


class BlipsModel(Model):
    """``blips:``."""

    a_month: float = Field(gt=0, le=1000, examples=["8"])
    size: Some = 0.05
    length: Duration = timedelta(minutes=3)


class GoalsModel(Model):
    """The whole file."""

    false_pages: float | None = Field(default=None, gt=0, le=1e6)
    outage: Any = None
    burn: Any = None
    recall: Some | None = None
    reset: Duration | None = None
    share: Most = 0.9
    blips: Any = None


def read_goals(path: Path) -> Goals:
    """Return the goals in a file; raises ConfigError with every mistake, each with its line."""
    return parse_goals(content_of(path, "a goals file"), str(path))


def parse_goals(content: bytes, shown: str) -> Goals:
    """Return the goals that YAML bytes hold; raises ConfigError with every mistake."""
    mistakes, source = opened(content, shown)
    whole = checked(mistakes, source, (), GoalsModel)
    outage = _section(mistakes, source, "outage", OutageModel)
    burn = _section(mistakes, source, "burn", BurnModel)
    blips = _section(mistakes, source, "blips", BlipsModel)
    mistakes.raise_if_any()
    if whole is None or not any((name,) in source.document.lines for name in _GOALS):
        raise ConfigError(f"{shown}: asks for nothing; write one goal at least of {', '.join(_GOALS)}")
    return Goals(
        whole.false_pages,
        Outage(**outage.model_dump()) if outage else Outage(within=None),
        Burn(**burn.model_dump()) if burn else Burn(before=None),
        whole.recall,
        whole.reset,
        whole.share,
        Blips(**blips.model_dump()) if blips else None,
    )


def _section(mistakes: Mistakes, source: Source, name: str, model: type[Model]) -> Model | None:
    return checked(mistakes, source, (name,), model) if (name,) in source.document.lines else None
