"""Carrying out a rollout where commands are refused, telemetry stutters, people decide, or the candidate changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from node0lib.canary.rollout import Abort, Approved, Command, Event, Plan, Revised, Rollout
from node0lib.canary.walk import Change, Seen, Walked, Watch, walk
from node0lib.errors import DataError, RunError
from node0lib.optimize.knobs import POLICY_EXAMPLE
from node0lib.ports import Arm, Baseline, Look, Policy
from node0lib.slo.catalogue import CanaryRules, Catalogue, ChangeClass

NOBODY = Arm(0, 0, 0, 0)
CANDIDATE: Policy = {**POLICY_EXAMPLE, "cache_ttl_s": 31}
RULE = replace(Catalogue(()).classes[ChangeClass.M], stage_duration=timedelta(seconds=10))
CHANGE = Change(POLICY_EXAMPLE, CANDIDATE, RULE, CanaryRules(), 0.05, datetime(2026, 11, 25, tzinfo=UTC), 1)


@dataclass
class Street:
    """A split whose traffic is even: 1,000 requests a second, 1% errors, the canary's times ``harm``.

    ``refuses`` says which commands are not carried out; ``deaf`` at which look nothing is heard, ``down`` at
    which the control serves nobody.
    """

    harm: float = 1.0
    refuses: Callable[[str, int], bool] = lambda what, n: False
    deaf: Callable[[int], bool] = lambda n: False
    down: Callable[[int], bool] = lambda n: False
    share: float = 0.0
    asked: list[str] = field(default_factory=list)
    looks: int = 0
    name = "a street"
    simulated = True

    def prepare(self, control: Policy, candidate: Policy) -> None:
        self.asked.append(f"prepare {candidate['cache_ttl_s']}")

    def baseline(self, *, margin_p95: float, margin_p99: float) -> Baseline:
        return Baseline(0.05, 0.15, 0.04, 0.008)

    def _command(self, what: str) -> None:
        self.asked.append(what)
        if self.refuses(what, self.asked.count(what)):
            raise RunError(f"{what}: permission denied")

    def send(self, share: float) -> None:
        self._command(f"send {share:g}")
        self.share = share

    def promote(self) -> None:
        self._command("promote")
        self.share = 0.0

    def look(self) -> Look:
        self.looks += 1
        if self.deaf(self.looks):
            raise DataError("the server does not answer")
        canary, second = round(1000 * self.share), 1 / 60
        if self.down(self.looks):
            return Look((self.looks - 1) * second, NOBODY, NOBODY, second, "stable weight 95 stopped")
        arms = [self._arm(1000 - canary, 0.01), self._arm(canary, 0.01 * self.harm)]
        return Look((self.looks - 1) * second, arms[0], arms[1], second)

    def _arm(self, requests: int, rate: float) -> Arm:
        return Arm(requests, round(requests * rate), round(requests * 0.04), round(requests * 0.008))


@dataclass
class Diary:
    """What a walk tells, and what it is told from outside at which look."""

    coming: dict[int, Event] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    pulses: int = 0

    def watch(self, *, deaf: int = 0) -> Watch:
        return Watch(self._pulse, self.seen.append, self._told, deaf=deaf)

    def _pulse(self, _: Rollout) -> Event | None:
        self.pulses += 1
        return self.coming.get(self.pulses)

    def _told(self, _: Rollout, command: Command, done: bool) -> None:
        if done:
            self.done.append(command.kind)


def _walk(street: Street, diary: Diary, plan: Plan | None = None, *, deaf: int = 0) -> Walked:
    return walk(CHANGE, street, plan or CHANGE.plan(), diary.watch(deaf=deaf))


def test_looks_seconds_apart_promote_what_is_harmless() -> None:
    """Every stage lasts its time in looks of a second, extensions included, and the last thing is the promotion."""
    street, diary = Street(), Diary()
    found = _walk(street, diary)
    assert found.ending == "promoted" and street.asked[-1] == "promote" and street.share == 0
    assert [s.share for s in found.stages] == [0.05, 0.25, 0.5, 1.0]
    assert all(s.minutes * 60 == pytest.approx(10 if s.outcome == "passed" else 20) for s in found.stages)
    assert len(diary.seen) == street.looks and all(len(s.reading.verdicts) == 3 for s in diary.seen)


def test_harm_sends_the_traffic_back_at_the_look_that_shows_it() -> None:
    """What is twenty times as bad is rolled back within seconds, and the commands done say so."""
    street, diary = Street(harm=20), Diary()
    found = _walk(street, diary)
    assert found.ending == "rolled_back" and diary.done == ["send", "roll_back"] and street.share == 0
    assert found.stages[-1].outcome == "failed" and "error_rate" in found.reasons[0] and street.looks <= 3


def test_a_share_that_cannot_be_set_is_an_abort() -> None:
    """Where the balancer refuses the next share, nothing is left with the canary."""
    street = Street(refuses=lambda what, n: what == "send 0.25")
    found = _walk(street, Diary())
    assert found.ending == "rolled_back" and street.share == 0 and street.asked[-1] == "send 0"
    assert "was not carried out: send 0.25: permission denied" in found.reasons[0] or "permission" in str(found)


def test_a_way_back_that_is_refused_is_tried_again() -> None:
    """A first refusal of the way back is not the last word."""
    street = Street(harm=20, refuses=lambda what, n: what == "send 0" and n < 3)
    found = _walk(street, Diary())
    assert found.ending == "rolled_back" and street.asked.count("send 0") == 3 and street.share == 0


def test_a_way_back_that_stays_refused_is_raised() -> None:
    """Where the traffic cannot be taken back, nobody is told that it was."""
    street = Street(harm=20, refuses=lambda what, n: what == "send 0")
    with pytest.raises(RunError, match="could not be taken back: send 0: permission denied"):
        _walk(street, Diary())
    assert street.asked.count("send 0") == 3


def test_a_promotion_that_is_refused_is_rolled_back() -> None:
    """A stable revision that does not take the candidate keeps what it had, and the canary loses its traffic."""
    street = Street(refuses=lambda what, n: what == "promote")
    assert _walk(street, Diary()).ending == "rolled_back" and street.share == 0


def test_telemetry_that_stutters_is_borne_and_what_is_lost_is_not() -> None:
    """Some looks in a row may fail; one more than that is lost telemetry, and the traffic goes back."""
    assert _walk(Street(deaf=lambda n: n % 7 in (3, 4)), Diary(), deaf=2).ending == "promoted"
    found = _walk(Street(deaf=lambda n: n > 5), Diary(), deaf=2)
    assert (found.ending, found.stages[-1].outcome) == ("rolled_back", "telemetry_lost")
    assert "the server does not answer" in found.reasons[0]


def test_a_person_waves_a_held_stage_through() -> None:
    """What is held keeps its share until somebody says go on; without anybody the traffic goes back in the end."""
    plan = replace(CHANGE.plan(), on_inconclusive="ask", patience=0.5)
    alone = _walk(Street(), Diary(), plan)
    assert alone.ending == "held" and "nobody decided" in alone.reasons[0] and len(alone.stages) == 1
    helped = Diary(coming={15: Approved("ada")})
    found = _walk(Street(), helped, plan)
    assert found.stages[0].outcome == "went_on" and "ada says go on" in found.stages[0].reason
    assert [s.share for s in found.stages] == [0.05, 0.25]


def test_an_abort_from_outside_is_obeyed() -> None:
    """Somebody who pulls the cord gets the traffic back at once."""
    street, diary = Street(), Diary(coming={4: Abort("the pager went off")})
    found = _walk(street, diary)
    assert found.ending == "rolled_back" and found.reasons == ("the pager went off",) and len(diary.seen) == 3


def test_an_interrupt_takes_the_traffic_back_on_its_way_out() -> None:
    """Ctrl-C is not swallowed, and does not leave anybody at the canary."""
    street, diary = Street(), Diary()

    def stop(_: Rollout) -> None:
        if street.looks == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(CHANGE, street, CHANGE.plan(), Watch(stop, diary.seen.append, lambda *_: None))
    assert street.share == 0 and street.asked[-1] == "send 0"


def test_a_new_revision_begins_without_evidence() -> None:
    """The harm of the candidate before is not held against the one that replaces it."""
    street = Street(harm=1.6)
    other: Policy = {**CANDIDATE, "cache_ttl_s": 99}
    diary = Diary(coming={4: Revised("other", other)})
    found = _walk(street, diary)
    again = [s for s in diary.seen if s.rollout.revision == "other"]
    assert "prepare 99" in street.asked and street.asked[:4] == ["prepare 31", "send 0.05", "send 0", "prepare 99"]
    assert again and again[0].rollout.stage == 0 and found.stages[0].canary.requests < 50 * len(again) + 1


def test_who_is_told_to_end_before_the_first_traffic_sends_none() -> None:
    """Where nothing was sent yet, there is nothing to take back either."""
    street = Street()

    def told(_: Rollout, command: Command, done: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(CHANGE, street, CHANGE.plan(), Watch(lambda _: None, lambda _: None, told))
    assert street.asked == ["prepare 31"]


def test_a_way_back_that_is_interrupted_is_gone_again() -> None:
    """An interrupt in the middle of the way back does not leave it half gone."""

    def refuses(what: str, n: int) -> bool:
        if what == "send 0" and n == 1:
            raise KeyboardInterrupt
        return False

    street = Street(harm=20, refuses=refuses)
    with pytest.raises(KeyboardInterrupt):
        _walk(street, Diary())
    assert street.asked.count("send 0") == 2 and street.share == 0


@pytest.mark.parametrize("patience", [0.0, 0.25])
def test_a_stable_that_serves_nobody_gets_nothing_back(patience: float) -> None:
    """The canary keeps its share for as long as stable is down, past everybody's patience and whoever says go on."""
    plan = replace(CHANGE.plan(), patience=patience)
    street, diary = Street(down=lambda n: 5 <= n <= 100), Diary(coming={50: Approved("ada")})
    found = _walk(street, diary, plan)
    held = [s for s in diary.seen if s.reading.control_down]
    assert len(held) == 96 and {s.rollout.share for s in held} == {0.05}
    assert diary.done == ["send", "hold", "withdraw"] and found.ending == "held"
    assert "stable does not serve (stable weight 95 stopped)" in found.reasons[0]


def test_a_long_way_to_mend_it_is_told_by_the_cause_alone() -> None:
    """Reasons stay short; what to do by hand hangs on the error, and is not repeated by each attempt."""
    street = Street(harm=20)

    def send(share: float) -> None:
        if share == 0:
            raise RunError("HAProxy does not answer; start it again")

    street.send = send  # type: ignore[method-assign]
    with pytest.raises(RunError, match="could not be taken back: HAProxy does not answer$") as caught:
        _walk(street, Diary())
    assert str(caught.value.__cause__) == "HAProxy does not answer; start it again"
