"""What a rollout leaves: every look, every command, how long the way back took. The analysis report is made of it.

>>> Deed.__name__
'Deed'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from node0lib.canary.rollout import Command
from node0lib.canary.walk import Change, Seen, Walked


@dataclass(frozen=True)
class Deed:
    """A command: when it was decided, and when it was carried out and read back (None: it was not)."""

    command: Command
    decided: datetime
    confirmed: datetime | None


@dataclass(frozen=True)
class Return:
    """The way back: from the decision to the first read-back of no canary traffic.

    ``after`` counts the canary's requests once that was read back (None: nobody could count), ``within`` is the promise
    in seconds, ``attempts`` how often it was commanded.
    """

    decided: datetime
    confirmed: datetime
    attempts: int
    within: float
    after: int | None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.confirmed - self.decided).total_seconds()

    @property
    def kept(self) -> bool:
        """Whether that was in time."""
        return self.seconds <= self.within


@dataclass(frozen=True)
class RolloutRecord:
    """Everything about one rollout. ``id`` is the change's, ``change_class`` L, M or H; ``notes`` are for people.

    ``walked`` is None where it ended by an error, which ``error`` tells.
    """

    id: str
    change_class: str
    why: tuple[str, ...]
    change: Change
    target: str
    simulated: bool
    started: datetime
    finished: datetime
    looks: tuple[Seen, ...]
    deeds: tuple[Deed, ...]
    walked: Walked | None
    back: Return | None
    error: str | None = None
    notes: tuple[str, ...] = ()
