"""The rollout's state machine under any sequence of events, and what its table promises."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node0lib.canary.analysis import Reading
from node0lib.canary.rollout import (
    LOOKING,
    OVER,
    TABLE,
    Abort,
    Approved,
    Command,
    Confirmed,
    Event,
    Lost,
    Measured,
    Plan,
    Rejected,
    Revised,
    Rollout,
    Signal,
    State,
    Tick,
)
from node0lib.errors import ConfigError

NOTHING = Reading(None, None, None, False, "nothing is shown", math.inf, ())
PLANS = st.builds(
    Plan,
    shares=st.lists(st.sampled_from([0.01, 0.05, 0.25, 0.5]), unique=True, max_size=4).map(
        lambda shares: (*sorted(shares), 1.0)
    ),
    length=st.sampled_from([1.0, 5.0, 15.0]),
    on_inconclusive=st.sampled_from(["extend", "ask"]),
    harm_cap=st.just(2.0),
    approval=st.booleans(),
    patience=st.sampled_from([0.0, 10.0]),
)
READINGS = st.builds(
    Reading,
    control_down=st.just(False),
    lost=st.none() | st.just("silence"),
    broken=st.none() | st.just("the control fails"),
    failed=st.none() | st.just("worse"),
    passed=st.booleans(),
    open_=st.just("open"),
    worst=st.sampled_from([1.5, 3.0, math.inf]),
    verdicts=st.just(()),
) | st.just(Reading(None, "stable does not serve", None, True, "fine", 1.0, (), True))


class RolloutMachine(RuleBasedStateMachine):
    """Any events in any order; what was last commanded is carried out at once, or refused."""

    def __init__(self) -> None:
        super().__init__()
        self.rollout, self.minute, self.passed, self.evidence = None, 0.0, False, 0
        self.issued: list[Command] = []

    @precondition(lambda self: self.rollout is None)
    @rule(plan=PLANS)
    def begins(self, plan: Plan) -> None:
        """A rollout begins with its first share, or waits without traffic."""
        self.rollout, commands = Rollout.begin(plan, "first")
        assert (self.rollout.share, self.rollout.state) == (
            (0.0, State.WAITING) if plan.approval else (plan.shares[0], self.rollout.state)
        )
        assert [c.share for c in commands] == ([] if plan.approval else [plan.shares[0]])

    @precondition(lambda self: self.rollout is not None)
    @rule(reading=READINGS, minutes=st.sampled_from([0.5, 1.0, 15.0]))
    def looks(self, reading: Reading, minutes: float) -> None:
        """A look is judged: shares rise at the end of a stage's time only, and only if it was good enough."""
        self.minute += minutes
        before, commands = self._step(Measured(self.minute, reading))
        if any(c.kind in ("send", "promote") for c in commands):
            assert before.state in LOOKING - {State.HELD} and not (reading.lost or reading.failed)
            assert self.minute - before.since >= before.plan.length
            assert reading.passed or (before.state is State.EXTENDED and reading.worst <= before.plan.harm_cap)
            assert not (reading.broken and before.state in (State.OBSERVING, State.EXTENDED))
        if (reading.lost or reading.failed) and before.state in LOOKING:
            assert self.rollout.share == 0 and self.rollout.state is State.ROLLING_BACK
        if reading.control_down and before.state in LOOKING:
            assert self.rollout.share == before.share and self.rollout.state is State.HELD

    @precondition(lambda self: self.rollout is not None)
    @rule(event=st.sampled_from([Approved("ada"), Rejected("bob", "no"), Confirmed(), Lost("no answer")]))
    def is_told(self, event: Event) -> None:
        """A person, an answer, or the loss of one: a person may let go on what waits or is held, and nothing else."""
        before, commands = self._step(event)
        if any(c.kind in ("send", "promote") for c in commands):
            assert isinstance(event, Approved) and before.state in (State.WAITING, State.HELD) and not before.stranded

    @precondition(lambda self: self.rollout is not None)
    @rule(minutes=st.sampled_from([1.0, 30.0]))
    def waits(self, minutes: float) -> None:
        """Time alone never sends anybody to the canary, nor promotes it."""
        self.minute += minutes
        before, commands = self._step(Tick(self.minute))
        assert not (before.stranded and commands)
        assert not any(c.kind in ("send", "promote") for c in commands)

    @precondition(lambda self: self.rollout is not None)
    @rule()
    def is_aborted(self) -> None:
        """From every state an abort leads to no traffic at the canary; what has ended stays ended."""
        before, commands = self._step(Abort("stop"))
        if before.ending is None:
            assert self.rollout.share == 0 and [c.kind for c in commands] == ["roll_back"]
        else:
            assert self.rollout == before and not commands

    @precondition(lambda self: self.rollout is not None)
    @rule(revision=st.sampled_from(["first", "second", "third"]))
    def is_revised(self, revision: str) -> None:
        """Another revision begins again: without traffic, at the first stage, after the traffic was taken back."""
        before, commands = self._step(Revised(revision, {}))
        if before.ending is None and revision != before.revision:
            assert commands[0].kind == "withdraw" and commands[0].share == 0
            assert self.rollout.stage == (-1 if before.plan.approval else 0) and self.rollout.revision == revision
            assert self.rollout.share in (0.0, before.plan.shares[0])

    def _step(self, event: Event) -> tuple[Rollout, tuple[Command, ...]]:
        before = self.rollout
        self.rollout, commands = before.step(event)
        assert before.step(event) == (self.rollout, commands), "a step is a function of its event"
        return before, commands

    @invariant()
    def traffic_fits_the_state(self) -> None:
        """Only what is looked at or being promoted has traffic, and never more than its stage."""
        if self.rollout is None:
            return
        state, plan = self.rollout.state, self.rollout.plan
        if state in LOOKING or state in (State.PROMOTING, State.PROMOTED):
            assert self.rollout.share == plan.shares[self.rollout.stage]
        else:
            assert self.rollout.share == 0
        assert (self.rollout.ending is None) is (state not in OVER)


TestRolloutMachine = RolloutMachine.TestCase
TestRolloutMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_the_table_lets_every_state_end() -> None:
    """From every state that is not over some path of the table leads to an end, and none leads out of one."""
    reach = set(OVER)
    for _ in State:
        reach |= {state for (state, _), step in TABLE.items() if step.to in reach}
    assert reach == set(State)
    assert not {state for state, _ in TABLE} & set(OVER)


def test_the_table_answers_an_abort_everywhere() -> None:
    """There is no state with an open end in which an abort is not answered by taking the traffic back."""
    for state in set(State) - set(OVER):
        assert TABLE[state, Signal.ABORT].to is State.ROLLING_BACK


@pytest.mark.parametrize("shares", [(), (0.5, 0.25, 1.0), (0.0, 1.0), (0.5, 1.5)])
def test_shares_that_do_not_rise_are_refused(shares: tuple[float, ...]) -> None:
    """A plan's shares rise within (0, 1]."""
    with pytest.raises(ConfigError, match="must be shares that rise"):
        Plan(shares, 1.0, "ask", 2.0)


def test_a_broken_control_holds_the_rollout_and_blames_nobody() -> None:
    """Where stable itself is beyond the limit, the canary is neither promoted nor blamed; then traffic goes back."""
    rollout, _ = Rollout.begin(Plan((0.05, 1.0), 5, "extend", 2.0, patience=10), "x")
    broken = Reading(None, "the control itself fails 20%", None, True, "", 1.0, ())
    held, commands = rollout.step(Measured(1, broken))
    assert (held.state, held.share, [c.kind for c in commands]) == (State.HELD, 0.05, ["hold"])
    assert "control itself" in commands[0].reason
    gone, commands = held.step(Measured(11, broken))
    assert (gone.state, gone.share) == (State.WITHDRAWING, 0.0) and "nobody decided" in gone.reason


def test_nothing_is_read_into_too_short_a_stage() -> None:
    """A stage that passes early still takes its time."""
    rollout, _ = Rollout.begin(Plan((0.05, 1.0), 5, "extend", 2.0), "x")
    fine = Reading(None, None, None, True, "fine", 1.0, ())
    assert rollout.step(Measured(4.9, fine))[1] == () and rollout.step(Measured(5, fine))[1][0].share == 1.0
    assert NOTHING.worst == math.inf
