"""GitHub's exports and webhooks: which events they are, what is left out, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node0lib.dora.events import Deployment, Event, Incident
from node0lib.dora.history import History
from node0lib.dora.sources.github import GitHub
from node0lib.dora.sources.payload import Taken, Wanted
from node0lib.errors import DataError
from node0lib.shell.dora_payloads import collected, payloads

DATA = Path(__file__).parent.parent / "data" / "dora" / "payloads"
HERE = "github:octocat/example:"
REPOSITORY = {"full_name": "octocat/example"}


def at(day: int, hour: int, minute: int) -> datetime:
    """A time in March 2026."""
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def read(*names: str, wanted: Wanted = Wanted(), **options: Any) -> Taken:  # noqa: B008
    """What node0 makes of these files."""
    return collected(GitHub(wanted, **options), [DATA / f"github-{name}" for name in names])


def by_id(found: Taken) -> dict[str, Event]:
    """The events by their names, without the source's own part."""
    return {event.id.removeprefix(HERE): event for event in found.events}


def test_the_latest_status_decides() -> None:
    """Success is when it was first told; inactive changes nothing; what is queued has not finished and is counted."""
    found = read("deployments.json", "statuses.json")
    one = by_id(found)["deployment:41"]
    assert isinstance(one, Deployment)
    assert (one.started_at, one.finished_at, one.outcome) == (at(2, 10, 0), at(2, 10, 5), "succeeded")
    assert (one.service, one.environment, one.kind, one.planned) == ("octocat/example", "production", "normal", True)
    assert "deployment:44" not in by_id(found) and "1 deployment(s) have not finished" in found.notes


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        (["success"], "succeeded"),
        (["failure"], "failed"),
        (["error"], "failed"),
        (["success", "failure"], "failed"),
        (["failure", "success", "inactive"], "succeeded"),
        (["success", "in_progress"], None),
        (["pending"], None),
        (["inactive"], None),
        ([], None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_every_state_has_one_meaning(states: list[str], outcome: str | None) -> None:
    """What the states of a deployment, oldest first, make of it; without an outcome it is left out and counted."""
    source = GitHub(Wanted())
    deployment = {"id": 1, "sha": "a", "environment": "production", "created_at": "2026-03-02T10:00:00Z"}
    source.take({"deployment": deployment, "repository": REPOSITORY})
    for minute, state in reversed(list(enumerate(states))):
        status = {"id": minute, "state": state, "created_at": f"2026-03-02T10:0{minute}:00Z"}
        source.take({"deployment": deployment, "deployment_status": status, "repository": REPOSITORY})
    found = source.taken()
    assert [event.outcome for event in found.events if isinstance(event, Deployment)] == [outcome] * bool(outcome)
    assert bool(found.notes) is (outcome is None)


def test_kinds_and_links_are_explicit() -> None:
    """The task names a rollback, a description the incident behind it, an issue's text the deployment behind it."""
    found = by_id(read("deployments.json", "statuses.json", "issues.json"))
    back, incident = found["deployment:43"], found["issue:7"]
    assert isinstance(back, Deployment) and isinstance(incident, Incident)
    assert (back.kind, back.planned, back.caused_by) == ("rollback", False, f"{HERE}issue:7")
    assert (incident.caused_by, incident.resolved_at) == (f"{HERE}deployment:42", at(3, 10, 40))
    assert found["issue:8"].caused_by is None and found["issue:8"].times is not None
    assert "issue:9" not in found and "issue:10" not in found  # no incident's label; a pull request
    assert History.of(found.values()).link.tolist()[0] >= 0


def test_two_causes_are_none() -> None:
    """An issue that names two deployments is linked to neither, and that is told."""
    source = GitHub(Wanted())
    issue = {"number": 1, "labels": ["incident"], "state": "open", "created_at": "2026-03-02T10:00:00Z"}
    text = "caused by deployment 1, and caused by deployment #2"
    source.take({"action": "opened", "issue": {**issue, "body": text}, "repository": REPOSITORY})
    found = source.taken()
    assert found.events[0].caused_by is None and "name several deployments" in found.notes[0]


def test_labels_and_services_can_be_named() -> None:
    """Another label makes other incidents; a service given is that of all; environments are filtered."""
    other = read("issues.json", incident_labels=["enhancement"])
    assert [event.id for event in other.events] == [f"{HERE}issue:9"]
    found = read("deployments.json", "statuses.json", wanted=Wanted("shop", frozenset({"staging"})))
    assert [(event.service, getattr(event, "environment", "")) for event in found.events] == [("shop", "staging")]
    assert any("not asked for" in note for note in found.notes)


def test_commits_make_changes_and_pull_requests_their_times() -> None:
    """A deployment brings the commits that no earlier one to that environment had; a merge has its request's times."""
    found = by_id(read("deployments.json", "statuses.json", "commits.json", "pulls.json"))
    one = found["deployment:42"]
    assert isinstance(one, Deployment)
    assert [change.sha[0] for change in one.changes] == ["b", "d"]
    assert (one.changes[0].committed_at, one.changes[0].authored_at) == (at(3, 9, 0), at(2, 20, 0))
    assert (one.changes[0].opened_at, one.changes[0].merged_at) == (at(2, 21, 0), at(3, 9, 0))
    assert getattr(found["deployment:43"], "changes", None) == ()  # a rollback brings nothing


def test_a_version_alone_is_a_change_without_a_start() -> None:
    """Without commits nothing is supposed of when a change was made; requests that nothing brought are counted."""
    found = read("deployments.json", "statuses.json", "pulls.json")
    one = by_id(found)["deployment:41"]
    assert isinstance(one, Deployment) and [change.committed_at for change in one.changes] == [None]
    source = GitHub(Wanted())
    source.take({"merge_commit_sha": "9" * 40, "merged_at": "2026-03-02T10:00:00Z", "number": 1})
    assert "1 merged pull request(s) are in no deployment" in source.taken().notes[0]


def test_webhooks_say_the_same() -> None:
    """Payloads of webhooks, some in envelopes, in any order and twice, are one deployment and one resolved incident."""
    rows = [row for _, row in payloads(DATA / "github-webhooks.jsonl")]
    both = []
    for order in (rows, rows[::-1] + rows):
        source = GitHub(Wanted())
        for row in order:
            source.take(row)
        both.append(by_id(source.taken()))
    deployment, incident = both[0]["deployment:51"], both[0]["issue:11"]
    assert both[0] == both[1] and len(both[0]) == 2
    assert isinstance(deployment, Deployment) and deployment.finished_at == at(5, 9, 5)
    assert isinstance(incident, Incident) and incident.resolved_at == at(5, 9, 50)


def test_releases_count_only_if_asked_for() -> None:
    """A published release is a deployment where --releases says to; drafts are none; otherwise they are told."""
    assert "1 release(s) were not taken" in read("releases.json").notes[0]
    (one,) = read("releases.json", releases="production").events
    assert isinstance(one, Deployment) and (one.finished_at, one.sha) == (at(1, 10, 0), "a" * 40)


ISSUE = {"number": 1, "labels": [{"name": "incident"}], "state": "closed", "created_at": "2026-03-02T10:00:00Z"}
DEPLOYMENT = {"id": 1, "sha": "a", "environment": "production", "created_at": "2026-03-02T10:00:00Z"}
STATUS = {"id": 1, "state": "success", "created_at": "2026-03-02T10:00:00Z"}
WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({"issue": {**ISSUE, "closed_at": "2026-03-02T09:00:00Z"}}, "resolved .* before it was opened"),
    ({"issue": {**ISSUE, "created_at": "2026-03-02T10:00:00"}}, "no time zone"),
    ({"issue": {**ISSUE, "created_at": None}}, "says nothing of created_at"),
    ({"issue": {**ISSUE, "created_at": 5}}, "not a time"),
    ({"issue": {**ISSUE, "number": None}}, "number is None"),
    ({"deployment": DEPLOYMENT, "deployment_status": {**STATUS, "state": "done"}}, "which GitHub does not have"),
    ({"deployment": {**DEPLOYMENT, "environment": ""}, "deployment_status": STATUS}, "environment is ''"),
    ({"deployment": DEPLOYMENT, "repository": None}, "should be an object"),
    ({"deployment": {**DEPLOYMENT, "created_at": "2026-03-02T11:00:00Z"}, "deployment_status": STATUS}, "before it st"),
]


@pytest.mark.parametrize(("row", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_is_refused(row: Mapping[str, Any], told: str) -> None:
    """A payload that lacks what its kind must have is one error that names the record."""
    source = GitHub(Wanted())
    with pytest.raises(DataError, match=told):
        source.take({"action": "created", "repository": REPOSITORY, **row})
        source.taken()


@pytest.mark.parametrize(
    "row", [{"deployment_url": "nowhere", "state": "success"}, {"number": 1, "labels": [], "created_at": "x"}]
)
def test_a_record_must_say_what_it_belongs_to(row: Mapping[str, Any]) -> None:
    """A status without its deployment, or a record without its repository, belongs nowhere."""
    with pytest.raises(DataError, match="names"):
        GitHub(Wanted()).take(row)


def test_searches_and_unknown_records() -> None:
    """The answer of a search is its items; a record that nothing is known of is counted and not an error."""
    source = GitHub(Wanted("shop"))
    issue = {**ISSUE, "repository_url": "https://api.github.com/repos/o/r", "closed_at": None}
    source.take({"total_count": 1, "items": [issue]})
    source.take({"hello": "world"})
    found = source.taken()
    assert [event.id for event in found.events] == ["github:o/r:issue:1"]
    assert found.notes == ("1 record(s) of other kinds were left out",)


def test_a_deleted_issue_is_no_incident() -> None:
    """What was deleted later is gone, whichever came in first."""
    make: Callable[[str, str], dict[str, Any]] = lambda action, when: {  # noqa: E731
        "action": action,
        "issue": {**ISSUE, "state": "open", "updated_at": when},
        "repository": REPOSITORY,
    }
    source = GitHub(Wanted())
    source.take(make("deleted", "2026-03-02T12:00:00Z"))
    source.take(make("opened", "2026-03-02T10:00:00Z"))
    assert source.taken().events == ()
