"""Walk a change through the stages of its class: a state machine without I/O.

``Rollout`` is a value: it takes an event and returns its successor and the commands that somebody else carries out
(``canary.walk``). What an event means in a state is a ``Signal``; what follows is the ``TABLE``, which is the
documentation. A pair that is not in it changes nothing.

Rules
- Shares rise only after a stage that passed, or that a person waved through.
- At the end of a stage's time everything passes, or the class decides: ``extend`` takes the stage's time once more and
  goes on only if no harm above ``harm_cap`` is left unexcluded; ``ask`` (and an extension that ends open) holds for a
  person, for ``patience`` minutes at most, then the traffic goes back.
- Harm that is shown, telemetry that is lost and an abort send the traffic back from every state in which the canary
  has any, a promotion under way included.
- A control that is itself beyond the absolute limit is no yardstick: hold, and neither promote nor blame the canary.
- While the control serves nobody (``stranded``) the canary keeps what it has: only a person, or what stops the rollout,
  takes it away; who says go on is not heard until there is a control again.
- A new revision begins again: no traffic, first stage, no evidence.
- At a share of 1 no control is left: absolute limits are watched for the stage's time.
- A class without stages is applied at once and watched for ``stage_duration``.

>>> plan = Plan(shares=(0.05, 1.0), length=15, on_inconclusive="ask", harm_cap=2.0)
>>> rollout, commands = Rollout.begin(plan, "candidate")
>>> rollout.state.value, [c.kind for c in commands], commands[0].share
('observing', ['send'], 0.05)
>>> rollout, commands = rollout.step(Abort("somebody pulled the cord"))
>>> rollout.state.value, [c.kind for c in commands], rollout.share
('rolling_back', ['roll_back'], 0.0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from node0lib.canary.analysis import Reading
from node0lib.errors import ConfigError
from node0lib.ports import Policy

Ending = Literal["promoted", "rolled_back", "held"]
CommandKind = Literal["send", "hold", "promote", "roll_back", "withdraw", "report"]


class State(Enum):
    """Where a rollout is; the canary has traffic in the first four of these and while it is being promoted."""

    OBSERVING = "observing"
    EXTENDED = "extended"
    HELD = "held"
    WATCHING = "watching"
    WAITING = "waiting"  # for an approval, before any traffic
    PROMOTING = "promoting"
    ROLLING_BACK = "rolling_back"
    WITHDRAWING = "withdrawing"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    WITHDRAWN = "withdrawn"


class Signal(Enum):
    """What an event means."""

    NEXT = "a comparing stage comes next, and may"
    ALL = "the whole traffic comes next, and may"
    DONE = "the last stage is over, and well"
    OPEN = "the time is over, and something is still open"
    TIRED = "nobody decided in time"
    FAILED = "harm is shown"
    LOST = "telemetry is lost"
    BROKEN = "the control is no yardstick"
    ABORT = "somebody or something stops it"
    REJECTED = "a person says no"
    CONFIRMED = "what was commanded last has been read back"
    REVISED = "another revision is to be rolled out"


@dataclass(frozen=True)
class Abort:
    """Stop: a person, a deadline, a command that could not be carried out."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """Telemetry could not be had."""

    reason: str


@dataclass(frozen=True)
class Approved:
    """A person says go on: begin, where an approval is needed, or past a stage that is held."""

    by: str
    note: str = ""


@dataclass(frozen=True)
class Rejected:
    """A person says no."""

    by: str
    reason: str


@dataclass(frozen=True)
class Confirmed:
    """The last command was carried out and read back."""


@dataclass(frozen=True)
class Revised:
    """Another candidate is to be rolled out instead; ``revision`` is its digest."""

    revision: str
    candidate: Policy


@dataclass(frozen=True)
class Measured:
    """A look, ``minute`` since the rollout began, and what is known after it."""

    minute: float
    reading: Reading


@dataclass(frozen=True)
class Tick:
    """Time passed without a look."""

    minute: float


Event = Abort | Lost | Approved | Rejected | Confirmed | Revised | Measured | Tick


@dataclass(frozen=True)
class Command:
    """What is to be done: send ``share`` of the traffic to the canary (0 to roll back or withdraw), and why."""

    kind: CommandKind
    share: float
    reason: str


@dataclass(frozen=True)
class Plan:
    """How a class is rolled out: shares in (0, 1], rising, ``length`` and ``patience`` in minutes.

    Raises ConfigError if there is no share, or they do not rise within (0, 1].
    """

    shares: tuple[float, ...]
    length: float
    on_inconclusive: Literal["extend", "ask"]
    harm_cap: float
    approval: bool = False
    patience: float = 0.0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0.0, *self.shares), (*self.shares, 2.0), strict=True))
        if not self.shares or not rising or self.shares[-1] > 1:
            raise ConfigError(f"the stages {self.shares} must be shares that rise within (0, 1]; correct them")

    @property
    def comparing(self) -> int:
        """How many stages have a control."""
        return sum(share < 1 for share in self.shares)


@dataclass(frozen=True)
class _Step:
    to: State
    command: CommandKind | None = None


_S, _G = State, Signal
_BACK, _AWAY = _Step(_S.ROLLING_BACK, "roll_back"), _Step(_S.WITHDRAWING, "withdraw")
_UP, _ALL, _PROMOTE = _Step(_S.OBSERVING, "send"), _Step(_S.WATCHING, "send"), _Step(_S.PROMOTING, "promote")
_HOLD = _Step(_S.HELD, "hold")
TABLE: Mapping[tuple[State, Signal], _Step] = {
    (_S.WAITING, _G.NEXT): _UP,
    (_S.WAITING, _G.ALL): _ALL,
    (_S.WAITING, _G.REJECTED): _AWAY,
    (_S.WAITING, _G.TIRED): _AWAY,
    (_S.WAITING, _G.ABORT): _BACK,
    (_S.OBSERVING, _G.NEXT): _UP,
    (_S.OBSERVING, _G.ALL): _ALL,
    (_S.OBSERVING, _G.DONE): _PROMOTE,
    (_S.OBSERVING, _G.OPEN): _Step(_S.EXTENDED, "report"),  # with on_inconclusive: ask, see Rollout._next
    (_S.OBSERVING, _G.BROKEN): _HOLD,
    (_S.EXTENDED, _G.NEXT): _UP,
    (_S.EXTENDED, _G.ALL): _ALL,
    (_S.EXTENDED, _G.DONE): _PROMOTE,
    (_S.EXTENDED, _G.OPEN): _HOLD,
    (_S.EXTENDED, _G.BROKEN): _HOLD,
    (_S.HELD, _G.NEXT): _UP,
    (_S.HELD, _G.ALL): _ALL,
    (_S.HELD, _G.DONE): _PROMOTE,
    (_S.HELD, _G.REJECTED): _AWAY,
    (_S.HELD, _G.TIRED): _AWAY,
    (_S.WATCHING, _G.DONE): _PROMOTE,
    (_S.WATCHING, _G.OPEN): _HOLD,
    (_S.WATCHING, _G.BROKEN): _HOLD,
    (_S.PROMOTING, _G.CONFIRMED): _Step(_S.PROMOTED),
    (_S.PROMOTING, _G.ABORT): _BACK,
    (_S.ROLLING_BACK, _G.CONFIRMED): _Step(_S.ROLLED_BACK),
    (_S.ROLLING_BACK, _G.ABORT): _BACK,  # once more
    (_S.WITHDRAWING, _G.CONFIRMED): _Step(_S.WITHDRAWN),
    (_S.WITHDRAWING, _G.ABORT): _BACK,
    **{
        (state, signal): _BACK
        for state in (_S.OBSERVING, _S.EXTENDED, _S.HELD, _S.WATCHING)
        for signal in (_G.FAILED, _G.LOST, _G.ABORT)
    },
}
"""From a state, by a signal, to a state, with a command; what is not here changes nothing."""
OVER: Mapping[State, Ending] = {
    State.PROMOTED: "promoted",
    State.ROLLED_BACK: "rolled_back",
    State.WITHDRAWN: "held",
}
"""The states in which nothing more happens, and what they are called."""
LOOKING = frozenset({State.OBSERVING, State.EXTENDED, State.HELD, State.WATCHING})
"""The states in which the canary has traffic that is judged."""


@dataclass(frozen=True)
class Rollout:
    """One revision on its way: ``share`` was commanded last, ``since`` is the minute at which this state began.

    ``stranded``: at the last look the control served nobody.
    """

    plan: Plan
    revision: str
    state: State
    stage: int
    share: float
    since: float
    minute: float
    reason: str
    stranded: bool = False

    @classmethod
    def begin(cls, plan: Plan, revision: str) -> tuple[Rollout, tuple[Command, ...]]:
        """Begin with the first stage, or by waiting for an approval."""
        new = cls(plan, revision, State.WAITING, -1, 0.0, 0.0, 0.0, "an approval is needed")
        return (new, ()) if plan.approval else new._taken(new._onward(), "begins")

    @property
    def ending(self) -> Ending | None:
        """How it ended; None while it goes on."""
        return OVER.get(self.state)

    def step(self, event: Event) -> tuple[Rollout, tuple[Command, ...]]:
        """Return what the rollout is after an event, and what is to be done."""
        if isinstance(event, Revised):
            return self._restarted(event.revision)
        at = replace(self, minute=event.minute) if isinstance(event, Measured | Tick) else self
        at = replace(at, stranded=event.reading.control_down) if isinstance(event, Measured) else at
        signal, reason = at._meaning(event)
        if signal is None or (self.state, signal) not in TABLE:
            return at, ()
        return at._taken(signal, reason)

    def _restarted(self, revision: str) -> tuple[Rollout, tuple[Command, ...]]:
        """A new revision has no traffic and no evidence; what is over stays over."""
        if self.ending is not None or revision == self.revision:
            return self, ()
        again = replace(self, revision=revision, state=State.WAITING, stage=-1, share=0.0, since=self.minute)
        again = replace(again, stranded=False)
        told = Command("withdraw", 0.0, "another revision is to be rolled out: it begins again, without evidence")
        if self.plan.approval:
            return replace(again, reason="an approval is needed"), (told,)
        begun, commands = again._taken(again._onward(), "begins")
        return begun, (told, *commands)

    def _meaning(self, event: Event) -> tuple[Signal | None, str]:
        match event:
            case Abort(reason):
                return Signal.ABORT, reason
            case Lost(reason):
                return Signal.LOST, reason
            case Rejected(by, reason):
                return Signal.REJECTED, f"{by} says no: {reason}"
            case Approved(by, note):
                asked = self.state in (State.WAITING, State.HELD) and not self.stranded
                return (self._onward() if asked else None), f"{by} says go on{note and ': ' + note}"
            case Confirmed():
                return Signal.CONFIRMED, self.reason
            case Measured(_, reading) if self.state in LOOKING:
                return self._read(reading)
        return self._waited()

    def _waited(self) -> tuple[Signal | None, str]:
        """Whether the time for a person to decide is over; without any patience nobody was asked."""
        asked = self.state in (State.WAITING, State.HELD) and not self.stranded
        if not asked or self.minute - self.since < self.plan.patience:
            return None, ""
        return Signal.TIRED, f"{self.reason}; nobody decided" if self.plan.patience else self.reason

    def _read(self, reading: Reading) -> tuple[Signal | None, str]:
        where = f"at {100 * self.share:g}%: "
        if reading.lost:
            return Signal.LOST, reading.lost
        if reading.failed:
            return Signal.FAILED, where + reading.failed
        if reading.broken and self.state is not State.HELD:
            return Signal.BROKEN, where + reading.broken
        if self.state is State.HELD:
            return self._waited()
        if self.minute - self.since < self.plan.length - 1e-9:
            return None, ""
        return self._at_the_end(reading, where + reading.open_)

    def _at_the_end(self, reading: Reading, text: str) -> tuple[Signal, str]:
        if reading.passed:
            return self._onward(), text
        if self.state is not State.EXTENDED:
            return Signal.OPEN, text
        cap = f"harm above {self.plan.harm_cap:g} times"
        if reading.worst <= self.plan.harm_cap:
            return self._onward(), f"{text}; extended once, no {cap} is left"
        return Signal.OPEN, f"{text}; extended once, {cap} is not excluded"

    def _onward(self) -> Signal:
        following = self.plan.shares[self.stage + 1 : self.stage + 2]
        if not following:
            return Signal.DONE
        return Signal.NEXT if following[0] < 1 else Signal.ALL

    def _next(self, signal: Signal) -> _Step:
        if (self.state, signal) == (State.OBSERVING, Signal.OPEN) and self.plan.on_inconclusive == "ask":
            return _HOLD
        return TABLE[self.state, signal]

    def _taken(self, signal: Signal, reason: str) -> tuple[Rollout, tuple[Command, ...]]:
        step = self._next(signal)
        stage = self.stage + (step.command == "send")
        if step.command == "send":
            share = self.plan.shares[stage]
        else:
            share = 0.0 if step.command in ("roll_back", "withdraw") else self.share
        kept = self.since if signal is Signal.CONFIRMED else self.minute
        after = replace(self, state=step.to, stage=stage, share=share, since=kept, reason=reason)
        return after, (Command(step.command, share, reason),) if step.command else ()
