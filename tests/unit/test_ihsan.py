"""The compliance score."""

from dataclasses import replace

import pytest

from node0lib.ihsan import CONTROLS, Control, Facts, score

ALL = [Control(name, 1.0) for name in CONTROLS]
GOOD = Facts(sealed_records=3, coverage=1.0, pin_mismatches=())


def test_everything_in_order_is_one_hundred() -> None:
    """When every control passes the score is exactly 100."""
    assert score(ALL, GOOD).value == 100.0


@pytest.mark.parametrize(
    ("fact", "control"),
    [
        ({"chain_problem": "broken"}, "evidence_chain"),
        ({"policy_problem": "differs"}, "policy_sealed"),
        ({"hours_since_crash": 0.5}, "crash_free"),
        ({"coverage": 0.5}, "telemetry_coverage"),
        ({"coverage": None}, "telemetry_coverage"),
        ({"pin_mismatches": ("numpy 1 instead of 2",)}, "environment_pinned"),
        ({"clock_problem": "back"}, "clock_monotonic"),
        ({"key_problem": "inside"}, "key_protected"),
    ],
)
def test_each_control_can_fail(fact: dict[str, object], control: str) -> None:
    """Every control fails on its own fact, and only it, and takes its weight from the score."""
    found = score(ALL, replace(GOOD, **fact))  # type: ignore[arg-type]
    assert [f.control for f in found.failed] == [control]
    assert found.value == pytest.approx(100 * (len(ALL) - 1) / len(ALL))


def test_weights_count() -> None:
    """The score is the weight that passed over the weight that applied."""
    controls = [Control("evidence_chain", 3.0), Control("policy_sealed", 1.0)]
    assert score(controls, replace(GOOD, chain_problem="x")).value == 25.0


def test_what_does_not_apply_does_not_count() -> None:
    """A control that does not apply is told and left out of the score."""
    found = score([Control("environment_pinned", 9.0), Control("crash_free", 1.0)], replace(GOOD, pin_mismatches=None))
    assert found.value == 100.0 and found.findings[0].state == "not_applicable"


def test_nothing_shown_is_zero() -> None:
    """Where no control applies, nothing was shown and the score is 0."""
    assert score([], GOOD).value == 0.0


def test_an_old_crash_is_forgiven() -> None:
    """A crash an hour ago no longer fails its control."""
    assert score([Control("crash_free", 1.0)], replace(GOOD, hours_since_crash=1.0)).value == 100.0
