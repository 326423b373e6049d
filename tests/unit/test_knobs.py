"""The knobs: a policy has every one of them, in range, and nothing else."""

import json
import math
from pathlib import Path

import pytest

from node0lib.errors import ConfigError
from node0lib.optimize.knobs import KNOBS, POLICY_EXAMPLE, changed, check_policy, kinds, policy_mistakes
from node0lib.simulate.service import POLICY
from node0lib.slo.catalogue import Catalogue

SHIPPED = Path(__file__).parents[2] / "configs" / "alpha.policy.json"
GOOD = dict(POLICY_EXAMPLE)


def test_the_shipped_policy_is_the_example_and_the_embedded_nodes() -> None:
    """What a new installation starts from is one policy, wherever it is written down."""
    shipped = json.loads(SHIPPED.read_text("utf-8"))
    assert shipped == POLICY_EXAMPLE == POLICY
    assert check_policy(shipped, "x") == shipped


def test_every_knob_kind_belongs_to_a_change_class() -> None:
    """No knob falls into class H because nobody listed its kind."""
    listed = {kind for rule in Catalogue(()).classes.values() for kind in rule.kinds}
    assert {knob.kind for knob in KNOBS} <= listed


@pytest.mark.parametrize("knob", [k for k in KNOBS if not k.choices], ids=lambda k: k.name)
def test_ranges_include_their_ends_and_nothing_beyond(knob) -> None:
    """Both ends of a range are allowed; one step beyond is not."""
    for value in (knob.low, knob.high):
        assert check_policy({**GOOD, knob.name: knob.type(value)}, "x")[knob.name] == value
    for value in (knob.low - 1, knob.high + 1):
        with pytest.raises(ConfigError, match=rf"^x: {knob.name}: .* from .* to "):
            check_policy({**GOOD, knob.name: knob.type(value)}, "x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", True),
        ("batch_size", 8.0),
        ("batch_size", "8"),
        ("batch_size", None),
        ("batch_size", [8]),
        ("batch_size", 10**400),
        ("cache_ttl_s", math.nan),
        ("cache_ttl_s", math.inf),
        ("cache_ttl_s", False),
        ("agent_routing", 1),
        ("agent_routing", "Round_Robin"),
    ],
)
def test_wrong_types_are_refused(name: str, value: object) -> None:
    """A bool is no number, NaN lies in no range, a whole number has no point, a choice is spelled exactly."""
    with pytest.raises(ConfigError, match=rf"^p\.json: {name}: .* must be (a|one of) "):
        check_policy({**GOOD, name: value}, "p.json")


def test_whole_numbers_become_floats_where_the_knob_is_one() -> None:
    """A policy's types are the knobs' types, and its order is theirs, however the file is written."""
    policy = check_policy(dict(reversed(GOOD.items())), "x")
    assert [type(policy[k.name]) for k in KNOBS] == [k.type for k in KNOBS]
    assert list(policy) == [k.name for k in KNOBS]


def test_every_mistake_is_told_at_once() -> None:
    """Unknown, missing and wrong knobs are all in one error, one a line."""
    data = {**GOOD, "batch_size": 0, "llm_retrys": 1, "pi": 3}
    del data["llm_retries"]
    with pytest.raises(ConfigError) as error:
        check_policy(data, "p.json")
    assert str(error.value).split("\n") == [
        "p.json: llm_retrys: is no knob; did you mean llm_retries?",
        f"p.json: pi: is no knob; the knobs are {', '.join(GOOD)}",
        "p.json: batch_size: 0 must be a whole number from 1 to 64",
        "p.json: llm_retries: is missing; write a whole number from 0 to 3",
    ]


@pytest.mark.parametrize("data", [None, [], "x", 3, [GOOD]])
def test_what_is_no_object_is_refused(data: object) -> None:
    """A policy is an object of knobs and nothing else."""
    assert policy_mistakes(data)[0][0] == ""
    with pytest.raises(ConfigError, match="^x: is not an object of knobs; write {"):
        check_policy(data, "x")


def test_changed_and_kinds() -> None:
    """What differs is named in the table's order; equal numbers of two types do not differ."""
    after = {**GOOD, "agent_routing": "two_choices", "batch_size": 9, "batch_wait_ms": 21, "cache_ttl_s": 30.0}
    assert changed(GOOD, after) == ("batch_size", "batch_wait_ms", "agent_routing")
    assert kinds(GOOD, after) == ("batch", "routing")
    assert changed(GOOD, GOOD) == () and kinds(GOOD, GOOD) == ()
    assert changed(GOOD, {**GOOD, "new": 1}) == ("new",) and kinds(GOOD, {**GOOD, "new": 1}) == ("new",)
