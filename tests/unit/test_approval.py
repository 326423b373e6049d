"""Approvals: what is signed is for one candidate of one change, what was touched is found, and cycles act on it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from test_cycle import RULES, _given
from test_evidence_chain import KEY, KEYS, STRANGER, Chain
from toy_service import Shop, quiet

from node0lib.cycle import CycleResult, Decision, Given, run_cycle
from node0lib.errors import ConfigError, DataError, EvidenceError, RefusedError
from node0lib.evidence.approval import Answer, Approval, Approved, answers, sign_approval, valid_approval
from node0lib.evidence.canonical import POLICY_NAME, encode
from node0lib.evidence.dsse import IN_TOTO, seal
from node0lib.evidence.names import approval_name
from node0lib.evidence.statement import Artifact
from node0lib.evidence.verify import chain_of
from node0lib.optimize.estimate import Estimate
from node0lib.optimize.knobs import POLICY_EXAMPLE
from node0lib.ports import Policy
from node0lib.shell import changes
from node0lib.shell.approvals import Desk, approvals_used, named, next_approved, same_person
from node0lib.shell.changes import (
    FOLLOWS,
    OPEN,
    ChangeState,
    Content,
    Origin,
    StoredChange,
    all_changes,
    approval_of,
    digest_of,
    find_change,
    may_follow,
    register,
)
from node0lib.shell.deployments import begin_change, remember_change
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import SigningKey
from node0lib.shell.records import dump, load
from node0lib.shell.state import State
from node0lib.slo.catalogue import ChangeClass
from node0lib.views import tables

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIVE: Policy = dict(POLICY_EXAMPLE)
AFTER: Policy = {**LIVE, "cache_ttl_s": 120.0}
OTHER: Policy = {**LIVE, "cache_ttl_s": 60.0}
YES = Approval("4f0c11d2a3b4", "approve", "Ada", AT, "H", digest_of(LIVE), digest_of(AFTER), "looked at it")
NO = replace(YES, decision="reject")
CONTENT = Content(Origin("person", "Grace"), LIVE, AFTER, ChangeClass.H, ("too good",), None, None, "try it")
SHOP = Shop(best=AFTER, weights={"cache_ttl_s": 2.0}, errors=0.01, traffic=6_000_000)
"""More than half better: class H; with traffic enough for stages of 1% and 5%."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A memory, a chain of three records and one trusted key."""
    Chain(EvidenceFiles(tmp_path / "evidence")).seal(3)
    with State(tmp_path / "node0.sqlite") as state:
        yield Desk(state, EvidenceFiles(tmp_path / "evidence"), KEYS)


def _registered(desk: Desk, content: Content = CONTENT, at: datetime = AT) -> StoredChange:
    found = register(desk.state, content, at, approval=True)
    assert found is not None
    return found


def _edit(desk: Desk, sql: str, *values: str) -> None:
    """Write into the memory past node0."""
    with closing(sqlite3.connect(desk.state.path)) as db:
        db.execute(sql, values)
        db.commit()


def _answer(
    desk: Desk, change: StoredChange, answer: Answer = "approve", by: str = "Ada", live: Policy = LIVE, **more: object
) -> StoredChange:
    desk.answer(change, answer, KEY, by=by, at=AT + HOUR, live=live, **more)  # type: ignore[arg-type]
    return find_change(desk.state, change.id)


# The statement


def test_an_approval_comes_back_as_it_was_signed(desk: Desk) -> None:
    """Who, when, which change, which digest, which class and what was said survive, and another library verifies it."""
    signed = sign_approval(desk.store, YES, KEY)
    (found,) = answers(desk.store, KEYS, YES.change)
    assert found == signed and found.approval == YES and found.keyid == KEY.keyid
    envelope = Envelope.from_dict(json.loads(desk.store.get(YES.name)))
    envelope.verify([SSlibKey.from_crypto(KEY.public, keyid=KEY.keyid)], 1)
    statement = json.loads(envelope.payload)
    assert statement["subject"] == [{"name": POLICY_NAME, "digest": {"sha256": digest_of(AFTER)}}]
    assert statement["predicateType"] == "urn:node0:approval:v1" and statement["predicate"]["by"] == "Ada"
    chain_of(desk.store, KEYS)


@pytest.mark.parametrize("change", ["../x", "a/../../b", "", "a b"])
def test_a_change_that_is_no_name_has_no_approval(change: str) -> None:
    """What could lead out of the evidence store is not signed."""
    with pytest.raises(EvidenceError, match="is not a name"):
        replace(YES, change=change)


def test_an_approval_counts_for_its_digest_only(desk: Desk) -> None:
    """Another candidate, another policy to start from, another change: none of them is approved."""
    sign_approval(desk.store, YES, KEY)
    fits = {"before": YES.before, "after": YES.after}
    assert valid_approval(desk.store, KEYS, YES.change, **fits) is not None
    assert valid_approval(desk.store, KEYS, YES.change, **{**fits, "after": digest_of(OTHER)}) is None
    assert valid_approval(desk.store, KEYS, YES.change, **{**fits, "before": digest_of(OTHER)}) is None
    assert valid_approval(desk.store, KEYS, "4f0c11d2a3b5", **fits) is None


def test_a_rejection_beside_it_makes_an_approval_worthless(desk: Desk) -> None:
    """A no is final, whether it was signed before or after the yes."""
    for signed in (YES, NO):
        sign_approval(desk.store, signed, KEY)
    assert valid_approval(desk.store, KEYS, YES.change, before=YES.before, after=YES.after) is None


def test_an_approval_covers_its_class_and_lower_ones() -> None:
    """Who was shown an M has not approved what turns out to be an H; and never another policy."""
    approved = Approved("c", AFTER, "M", "Ada", AT, Artifact("x", "0" * 64))
    assert [approved.covers(AFTER, name) for name in ("L", "M", "H")] == [True, True, False]
    assert approved.covers({**AFTER, "cache_ttl_s": 120}, "M") and not approved.covers(OTHER, "L")


# Verification


def _flip(store: EvidenceFiles, index: int) -> None:
    path = store.root / YES.name
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(bytes(content))


def _renamed(store: EvidenceFiles) -> None:
    (store.root / YES.name).rename(store.root / approval_name("other", "approve"))


def _as_a_no(store: EvidenceFiles) -> None:
    (store.root / YES.name).rename(store.root / NO.name)


def _stray(store: EvidenceFiles) -> None:
    (store.root / "approvals" / "notes.txt").write_text("hello", "utf-8")


def _another_statement(store: EvidenceFiles) -> None:
    (store.root / YES.name).write_bytes(next(store.get(name) for name in store.names("poi-attestations")))


def _unknown_key(store: EvidenceFiles) -> None:
    sign_approval(store, replace(YES, change="of-a-stranger"), STRANGER)


def _more_fields(store: EvidenceFiles) -> None:
    statement = YES.to_statement()
    more = replace(statement, predicate={**statement.predicate, "level": "L3"})
    (store.root / YES.name).write_bytes(seal(more.to_bytes(), IN_TOTO, KEY))


def _not_canonical(store: EvidenceFiles) -> None:
    statement = YES.to_statement()
    given = {**statement.predicate, "at": "2026-11-24T13:00:00+01:00"}
    (store.root / YES.name).write_bytes(seal(replace(statement, predicate=given).to_bytes(), IN_TOTO, KEY))


@pytest.mark.parametrize(
    ("touch", "told"),
    [
        (_renamed, "give it back its name"),
        (_as_a_no, "is the answer 'approve' to the change"),
        (_stray, "notes.txt: is not JSON"),
        (_another_statement, "predicateType is 'urn:node0:poi:v1'"),
        (_unknown_key, "not signed by any of the 1 trusted keys"),
        (_more_fields, "unexpected fields: level"),
        (_not_canonical, "is not written as node0 writes it"),
    ],
)
def test_verification_finds_what_was_touched(desk: Desk, touch: Callable[[EvidenceFiles], None], told: str) -> None:
    """A moved, foreign, stray or rewritten approval is a problem of the whole evidence, with its name and a remedy."""
    sign_approval(desk.store, YES, KEY)
    assert isinstance(desk.store, EvidenceFiles)
    touch(desk.store)
    with pytest.raises(EvidenceError, match=told) as caught:
        chain_of(desk.store, KEYS)
    assert "approvals/" in str(caught.value)


def test_no_changed_byte_passes(desk: Desk) -> None:
    """One flipped bit anywhere in an approval is found."""
    sign_approval(desk.store, YES, KEY)
    assert isinstance(desk.store, EvidenceFiles)
    content = desk.store.get(YES.name)
    for index in range(0, len(content), 7):
        _flip(desk.store, index)
        with pytest.raises(EvidenceError):
            answers(desk.store, KEYS, YES.change)
        (desk.store.root / YES.name).write_bytes(content)


def test_an_approval_that_a_record_was_made_with_is_not_replaced(tmp_path: Path) -> None:
    """What a PoI names among its inputs must lie in the store with that digest, or the chain does not verify."""
    chain = Chain(EvidenceFiles(tmp_path / "evidence"))
    chain.seal()
    used = sign_approval(chain.store, YES, KEY).evidence
    chain.prove(chain.attest(inputs=(used,)))
    chain.verify()
    path = chain.store.root / YES.name
    another = seal(replace(YES, by="Eve").to_statement().to_bytes(), IN_TOTO, KEY)
    for change in (lambda: path.write_bytes(another), path.unlink):
        change()
        with pytest.raises(EvidenceError, match="is missing or is not the approval that poi-attestations/c8"):
            chain.verify()


# The life of a change


def test_the_table_has_an_end_and_every_state_is_reached() -> None:
    """Every state follows some other but the first two; what has ended never goes on; all states are of the table."""
    reached = {state for following in FOLLOWS.values() for state in following}
    assert reached | {"proposed", "waiting"} == set(FOLLOWS)
    ended = {state for state, following in FOLLOWS.items() if not following}
    assert ended == {"rejected", "promoted", "rolled_back", "held", "superseded"}
    assert not may_follow("waiting", "running") and not may_follow("nonsense", "approved")


@pytest.mark.parametrize("before", list(FOLLOWS))
def test_a_forbidden_step_is_one_clear_error(desk: Desk, before: ChangeState) -> None:
    """From every state exactly the steps of the table are taken; any other leaves the change as it was."""
    change = _registered(desk)
    for after in FOLLOWS:
        _edit(desk, "UPDATE requests SET state = ?", before)
        steps = desk.state.steps(change.id)
        if may_follow(before, after):
            assert changes.step(desk.state, change, after, AT, "x", "y").state == after
            continue
        with pytest.raises(RefusedError, match=f"is {before} and cannot become {after}: "):
            changes.step(desk.state, change, after, AT, "x", "y")
        assert find_change(desk.state, change.id).state == before and desk.state.steps(change.id) == steps


def test_a_change_is_found_by_the_beginning_of_its_id(desk: Desk) -> None:
    """An id or what begins no other; too short, unknown and ambiguous ones say what to do."""
    change = _registered(desk)
    assert find_change(desk.state, change.id[:6]) == change and change.state == "waiting"
    for name, told in ((change.id[:3], "at least 4"), ("ffffffff", "node0 change list"), ("", "at least 4")):
        with pytest.raises(ConfigError, match=told):
            find_change(desk.state, name)
    _edit(desk, "INSERT INTO requests SELECT substr(id, 1, 8) || 'zzzz', at, state, 'b', 'a', content FROM requests")
    with pytest.raises(ConfigError, match="2 changes begin with"):
        find_change(desk.state, change.id[:8])


def test_a_change_starts_and_ends_once(desk: Desk) -> None:
    """Only what is approved, or needs no approval, is started; it ends once, with its reasons on record."""
    change = _registered(desk)
    with pytest.raises(RefusedError, match="is waiting and cannot become running"):
        changes.start(desk.state, change, AT)
    running = changes.start(desk.state, _answer(desk, change), AT)
    ended = changes.end(desk.state, running, "rolled_back", AT, ("errors", "too many"))
    assert ended.state == "rolled_back" and desk.state.steps(change.id)[-1].reason == "errors; too many"
    with pytest.raises(RefusedError, match="that is final; propose it again"):
        changes.end(desk.state, running, "promoted", AT, ())


# Answers


def test_an_approval_is_signed_and_remembered(desk: Desk) -> None:
    """The memory and the evidence say the same, and the chain verifies with it."""
    change = _answer(desk, _registered(desk), note="fine", digest=digest_of(AFTER)[:12])
    signed = approval_of(desk.store, KEYS, change)
    assert change.state == "approved" and signed is not None
    assert (signed.approval.by, signed.approval.note, signed.approval.after) == ("Ada", "fine", digest_of(AFTER))
    assert desk.state.steps(change.id)[-1].who == "Ada"
    chain_of(desk.store, KEYS)


@pytest.mark.parametrize("name", ["Grace", "grace", " GRACE "])
def test_nobody_approves_what_he_proposed(desk: Desk, name: str) -> None:
    """Two persons: the proposer is refused in whatever spelling, and may still take the change back."""
    change = _registered(desk)
    with pytest.raises(RefusedError, match="proposed the change .* and cannot approve it; ask somebody else"):
        _answer(desk, change, by=name)
    assert _answer(desk, change, "reject", by=name).state == "rejected"


def test_an_approval_for_another_digest_is_refused(desk: Desk) -> None:
    """Both digests are shown, nothing is signed and nothing is remembered."""
    change = _registered(desk)
    with pytest.raises(RefusedError) as caught:
        _answer(desk, change, digest=digest_of(OTHER))
    assert digest_of(OTHER) in str(caught.value) and digest_of(AFTER) in str(caught.value)
    assert desk.answers(change) == () and find_change(desk.state, change.id).state == "waiting"


def test_a_candidate_that_was_changed_in_the_memory_is_refused(desk: Desk) -> None:
    """Who edits the stored candidate gets no approval for it, before or after somebody approved the real one."""
    change = _registered(desk)
    forged = dump(replace(CONTENT, after=OTHER)).decode()

    _edit(desk, "UPDATE requests SET content = ?", forged)
    with pytest.raises(RefusedError) as caught:
        _answer(desk, find_change(desk.state, change.id))
    assert digest_of(OTHER) in str(caught.value) and digest_of(AFTER) in str(caught.value)
    _edit(desk, "UPDATE requests SET content = ?", dump(CONTENT).decode())
    _answer(desk, find_change(desk.state, change.id))
    _edit(desk, "UPDATE requests SET content = ?", forged)
    assert approval_of(desk.store, KEYS, find_change(desk.state, change.id)) is None
    assert next_approved(desk.state, desk.store, KEYS, LIVE, AT) is None
    assert find_change(desk.state, change.id).state == "waiting"


def test_a_memory_that_says_approved_approves_nothing(desk: Desk) -> None:
    """Without a signed approval in the evidence a change waits, whatever the database says."""
    change = _registered(desk)
    _edit(desk, "UPDATE requests SET state = 'approved'")
    assert next_approved(desk.state, desk.store, KEYS, LIVE, AT) is None
    assert find_change(desk.state, change.id).state == "waiting"
    assert "no approval of it is in the evidence" in desk.state.steps(change.id)[-1].reason


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_an_answer_whose_process_died_before_it_was_remembered_counts(desk: Desk, answer: Answer) -> None:
    """The evidence is written first: whoever looks next remembers what it says."""
    change = _registered(desk)
    sign_approval(desk.store, replace(YES, change=change.id, decision=answer), KEY)
    found = next_approved(desk.state, desk.store, KEYS, LIVE, AT)
    assert (found is not None) == (answer == "approve")
    assert find_change(desk.state, change.id).state == {"approve": "approved", "reject": "rejected"}[answer]


def test_a_superseded_change_is_not_approved(desk: Desk) -> None:
    """Once another policy is live the change is superseded, says so, and can neither be approved nor started."""
    change = _registered(desk)
    with pytest.raises(RefusedError, match="is superseded: it starts from the policy .*propose it again"):
        _answer(desk, change, live=OTHER)
    assert find_change(desk.state, change.id).state == "superseded" and desk.answers(change) == ()
    for attempt in (lambda: _answer(desk, change), lambda: changes.start(desk.state, change, AT)):
        with pytest.raises(RefusedError, match="is superseded and cannot become"):
            attempt()


def test_an_approved_change_is_superseded_with_the_live_policy(desk: Desk) -> None:
    """An approval does not outlive the policy that the change starts from."""
    change = _answer(desk, _registered(desk))
    assert next_approved(desk.state, desk.store, KEYS, OTHER, AT) is None
    assert find_change(desk.state, change.id).state == "superseded"


def test_a_rejected_change_stays_rejected(desk: Desk) -> None:
    """A no is final, also for what was approved and not yet tried."""
    change = _answer(desk, _answer(desk, _registered(desk)), "reject", by="Eve", note="too risky")
    assert change.state == "rejected" and approval_of(desk.store, KEYS, change) is None
    for answer in ("approve", "reject"):
        with pytest.raises(RefusedError, match="is rejected and cannot become"):
            _answer(desk, change, answer)  # type: ignore[arg-type]
    assert next_approved(desk.state, desk.store, KEYS, LIVE, AT) is None


def test_of_several_people_at_once_one_answers(desk: Desk) -> None:
    """Four approve in the same moment: one approval is signed, the others are told, and the chain verifies."""
    change, told, gate = _registered(desk), [], threading.Barrier(4)

    def approve(name: str) -> None:
        with State(desk.state.path) as state:
            own = Desk(state, desk.store, KEYS)
            gate.wait()
            try:
                _answer(own, change, by=name)
                told.append("approved")
            except RefusedError as error:
                told.append(str(error))

    threads = [threading.Thread(target=approve, args=(f"person {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text == "approved" for text in told) == [False, False, False, True]
    assert all("is approved and cannot become approved" in text for text in told if text != "approved")
    (signed,) = desk.answers(change)
    assert [s.who for s in desk.state.steps(change.id)] == ["Grace", signed.approval.by]
    chain_of(desk.store, KEYS)


def test_a_key_that_is_not_trusted_signs_nothing(desk: Desk) -> None:
    """The evidence would not verify any more: refused before anything is written."""
    change = _registered(desk)
    with pytest.raises(RefusedError, match="is not trusted here"):
        desk.answer(change, "approve", STRANGER, by="Eve", at=AT, live=LIVE)
    assert desk.answers(change) == ()


def test_a_person_may_sign_with_a_key_of_his_own(desk: Desk) -> None:
    """A trusted key of another person signs, its public half is published, and the approval says whose it is."""
    own = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32))
    keys = {**KEYS, own.keyid: own.public}
    both, change = Desk(desk.state, desk.store, keys), _registered(desk)
    both.answer(change, "approve", own, by="Ada", at=AT, live=LIVE, signer="person")
    (signed,) = both.answers(change)
    assert (signed.keyid, signed.approval.signer) == (own.keyid, "person")
    chain_of(desk.store, keys)
    with pytest.raises(EvidenceError, match="trust it first"):
        chain_of(desk.store, KEYS)


@pytest.mark.parametrize("text", ["", "  ", "a\x07b", "x" * 201, "\udcff"])
def test_what_is_no_name_is_refused(text: str) -> None:
    """Nobody is nobody: empty, unprintable and endless names are mistakes of the command line."""
    with pytest.raises(ConfigError, match="is no name"):
        named(text, "--by")


def test_names_are_compared_as_people_read_them() -> None:
    """Case, spaces and the way an accent is written make no other person."""
    assert named("  Ada\n Lovelace ", "--by") == "Ada Lovelace"
    assert same_person("Ren\u00e9", "RENE\u0301") and not same_person("Ada", "Eve")


# Cycles


def _h_given(**more: object) -> Given:
    return replace(_given(policy=LIVE), **more)  # type: ignore[arg-type]


@cache
def _held() -> CycleResult:
    """What a cycle comes to that finds the best policy of the shop and has no approval: the search takes a while."""
    return run_cycle(_h_given(), RULES, SHOP, quiet)


def _remembered(desk: Desk, given: Given, shop: Shop = SHOP, cycle: str = "c1") -> CycleResult:
    """What a cycle comes to, and what the control plane makes of it."""
    result = _held() if given == _h_given() else run_cycle(given, RULES, shop, quiet)
    desk.state.begin(cycle, given.at, given.at, forced=False)
    begin_change(desk.state, cycle, given, result, given.at)
    remember_change(desk.state, cycle, given, result, (given.at, given.at), RULES)
    return result


def test_a_cycle_leaves_one_change_for_what_it_may_not_try(desk: Desk) -> None:
    """Held for an approval, the candidate waits, once: not again while it waits, nor after it was rejected."""
    for n in range(3):
        assert _remembered(desk, _h_given(), cycle=f"c{n}").decision.kind == "held"
    (change,) = all_changes(desk.state)
    assert change.state == "waiting" and change.content.origin == Origin("cycle", "c0")
    assert change.content.change_class == ChangeClass.H and change.content.estimate is not None
    _answer(desk, change, "reject", note="no")
    _remembered(desk, _h_given(), cycle="c3")
    assert [c.state for c in all_changes(desk.state)] == ["rejected"]


def test_a_change_that_is_held_for_another_reason_leaves_none(desk: Desk) -> None:
    """A low score holds a change of any class back, which is nobody's to approve."""
    result = run_cycle(_h_given(), RULES, Shop(errors=0.001), quiet)
    held = replace(result, decision=Decision("held", ("the ihsan score is under 95",), LIVE))
    assert result.classified is not None and result.classified.change_class == ChangeClass.L
    remember_change(desk.state, "c1", _h_given(), held, (AT, AT), RULES)
    assert all_changes(desk.state) == ()


def _approved(desk: Desk) -> Approved:
    _remembered(desk, _h_given())
    (change,) = all_changes(desk.state)
    _answer(desk, change)
    found = next_approved(desk.state, desk.store, KEYS, LIVE, AT)
    assert found is not None and found.change == change.id
    return found


def test_an_approved_change_is_tried_in_place_of_a_search(desk: Desk) -> None:
    """The candidate is measured again on fresh seeds, walks the stages of its class, and is promoted."""
    approved, shop = _approved(desk), replace(SHOP, asked=[], sent=[])
    given = _h_given(approved=approved)
    assert load(Given, dump(given), "given.json") == given, "the notebook is given it too"
    result = _remembered(desk, given, shop, "c2")
    assert result.proposal is not None and result.proposal.policy == approved.policy and result.proposal.trials == 0
    assert len(shop.asked) == 2 * RULES.search.fresh_seeds, "nothing was searched"
    assert result.decision.kind == "applied" and result.decision.reasons[-1] == str(approved)
    assert [share for share, *_ in shop.sent][0] == 0.01, "class H begins at 1%"
    assert [s.state for s in desk.state.steps(approved.change)] == ["waiting", "approved", "running", "promoted"]
    assert approvals_used(given) == (approved.evidence,) and approvals_used(None) == approvals_used(_h_given()) == ()


def test_an_approved_candidate_is_not_shown_as_the_winner_of_a_search(desk: Desk) -> None:
    """The notebook's table says that the change was approved, not that it is the best of so many."""
    given = _h_given(approved=_approved(desk))
    result = run_cycle(given, RULES, SHOP, quiet)
    assert "The approved change changes" in tables.proposal(LIVE, result.proposal, result.classified).text
    assert "The best of 60 candidates changes" in tables.proposal(LIVE, _held().proposal, None).text


def test_harm_takes_an_approved_change_back(desk: Desk) -> None:
    """An approval is no promise: what the canary shows decides."""
    approved = _approved(desk)
    result = _remembered(desk, _h_given(approved=approved), replace(SHOP, harm=20.0), "c2")
    assert result.decision.kind == "rolled_back"
    assert find_change(desk.state, approved.change).state == "rolled_back"


def test_an_approved_change_that_is_no_longer_worth_it_is_held(desk: Desk) -> None:
    """An hour later the candidate may be no better, or much worse: it is not tried, and its change has ended."""
    approved = _approved(desk)
    worse = replace(SHOP, best=LIVE, weights={"cache_ttl_s": 9.0}, sent=[])
    result = _remembered(desk, _h_given(approved=approved), worse, "c2")
    assert result.decision.kind == "no_change" and worse.sent == []
    assert result.proposal is not None and result.proposal.estimate.improvement < -1
    assert find_change(desk.state, approved.change).state == "held"
    assert "not shown by the data" in desk.state.steps(approved.change)[-1].reason


def test_a_closed_gate_keeps_an_approved_change_for_later(desk: Desk) -> None:
    """An approval opens no gate: the change stays approved, and the next cycle may try it."""
    approved = _approved(desk)
    result = _remembered(desk, replace(_given(bad=5000, policy=LIVE), approved=approved), cycle="c2")
    assert result.decision.kind == "blocked" and result.proposal is None
    assert find_change(desk.state, approved.change).state == "approved"


def test_an_approval_of_a_lower_class_is_asked_again(desk: Desk) -> None:
    """Approved as M, measured as H: not tried, ended, and waiting for somebody who sees what it is."""
    approved = replace(_approved(desk), change_class="M")
    result = _remembered(desk, _h_given(approved=approved), cycle="c2")
    assert result.decision.kind == "held" and result.rollout is None
    first, second = sorted(all_changes(desk.state), key=lambda c: c.id != approved.change)
    assert (first.state, second.state) == ("held", "waiting") and first.after == second.after


def test_a_change_that_is_rejected_while_a_cycle_measures_it_is_not_tried(desk: Desk) -> None:
    """The cycle starts the change before it applies anything: by then a rejection is seen; afterwards it is refused."""
    approved = _approved(desk)
    given = _h_given(approved=approved)
    result = run_cycle(given, RULES, SHOP, quiet)
    change = _answer(desk, find_change(desk.state, approved.change), "reject", by="Eve")
    with pytest.raises(RefusedError, match="is rejected and cannot become running"):
        begin_change(desk.state, "c2", given, result, AT)
    assert change.state == "rejected"


@pytest.mark.parametrize(
    ("who", "promoted", "expected"),
    [
        ("cycle c2", False, "approved"),
        ("cycle c2", True, "promoted"),
        ("node0", False, "held"),
        ("node0", True, "promoted"),
    ],
)
def test_a_change_whose_trial_was_killed_is_accounted_for(
    desk: Desk, who: str, promoted: bool, expected: str
) -> None:
    """A killed cycle's change may be tried again, another's a person looks at, and a live candidate was promoted."""
    approved = _approved(desk)
    changes.start(desk.state, find_change(desk.state, approved.change), AT, who)
    next_approved(desk.state, desk.store, KEYS, approved.policy if promoted else LIVE, AT)
    assert find_change(desk.state, approved.change).state == expected


def test_a_content_that_is_none_is_named(desk: Desk) -> None:
    """A memory that something else wrote is an error with the change's name, no traceback."""
    _registered(desk)
    _edit(desk, "UPDATE requests SET content = ?", encode({"after": 1}).decode())
    with pytest.raises(DataError, match="^change [0-9a-f]{12}: "):
        all_changes(desk.state, OPEN)


def test_a_content_comes_back_as_it_was() -> None:
    """The estimate, when there is one, is remembered with every figure."""
    content = replace(CONTENT, estimate=Estimate(0.6, 0.5, 0.7, 0.99, 32), safe=True)
    assert load(Content, dump(content), "x") == content
