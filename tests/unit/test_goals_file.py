"""Goals from YAML: what is asked, what is not, and every mistake with its line."""

from datetime import timedelta
from pathlib import Path

import pytest

from node0lib.alerts.goals import Blips, Burn, Goals, Outage
from node0lib.errors import ConfigError
from node0lib.shell.goals_file import parse_goals, read_goals


def test_the_default_goals_can_be_written() -> None:
    """The three goals that hold without a file are the ones that this file says."""
    text = b"false_pages: 1\noutage: {size: 10%, within: 10m}\nburn: {size: 1%, before: 5%}\n"
    assert parse_goals(text, "goals.yaml") == Goals()


def test_what_is_not_written_is_not_asked() -> None:
    """A file with one goal has one; the faults by which policies are compared stay."""
    found = parse_goals(b"reset: 30m\nblips: {a_month: 2}\n", "goals.yaml")
    expected = Goals(None, Outage(within=None), Burn(before=None), reset=timedelta(minutes=30), blips=Blips(2.0))
    assert found == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("false_pages: -1", "goals.yaml:1: false_pages: -1 must be more than 0"),
        ("false_pages: few", "goals.yaml:1: false_pages: 'few' is not a number"),
        ("recall: 1.2", "goals.yaml:1: recall: 1.2 must lie between 0 and 1"),
        ("recall: 0%", "goals.yaml:1: recall: '0%' must be more than 0"),
        ("recall: 90%\nshare: 100%", "goals.yaml:2: share: '100%' can never be shown"),
        ("reset: soon", "goals.yaml:1: reset: 'soon' is not a duration"),
        ("outage: {size: 10%}", "goals.yaml:1: outage.within: is missing; add for example within: 10m"),
        ("outage: {size: 0, within: 10m}", "goals.yaml:1: outage.size: 0 must be more than 0"),
        ("outage:\n  size: 10%\n  within: 2h", "goals.yaml:3: outage.within: is longer than the outage lasts"),
        ("outage: now", "goals.yaml:1: outage: 'now' is not a mapping of keys"),
        ("burn: {size: 1%, befor: 5%}", "goals.yaml:1: burn.befor: is no key here; did you mean before?"),
        ("recall: 90%\nblips: {a_month: 0}", "goals.yaml:2: blips.a_month: 0 must be more than 0"),
        ("false_page: 1", "goals.yaml:1: false_page: is no key here; did you mean false_pages?"),
        ("blips: {a_month: 3}", "goals.yaml: asks for nothing; write one goal at least"),
        ("", "goals.yaml"),
        ("- 1", "goals.yaml:1"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, told: str) -> None:
    """What is wrong, where, and what to write instead."""
    with pytest.raises(ConfigError) as error:
        parse_goals(text.encode(), "goals.yaml")
    assert told in str(error.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Two mistakes, two lines."""
    with pytest.raises(ConfigError) as error:
        parse_goals(b"false_pages: -1\nburn: {size: 2, before: 5%}\n", "goals.yaml")
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["1", "2"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The path, and that a goals file is wanted."""
    with pytest.raises(ConfigError, match="missing.yaml: cannot be read"):
        read_goals(tmp_path / "missing.yaml")
