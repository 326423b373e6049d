"""GitLab's exports and webhooks: which events they are, what is left out, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node0lib.dora.events import Deployment, Event, Incident
from node0lib.dora.sources.gitlab import GitLab
from node0lib.dora.sources.payload import Taken, Wanted
from node0lib.errors import DataError
from node0lib.shell.dora_payloads import collected, payloads

DATA = Path(__file__).parent.parent / "data" / "dora" / "payloads"
HERE = "gitlab:shop/cart:"


def at(day: int, hour: int, minute: int) -> datetime:
    """A time in March 2026."""
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def read(*names: str, wanted: Wanted = Wanted()) -> Taken:  # noqa: B008
    """What node0 makes of these files."""
    return collected(GitLab(wanted), [DATA / f"gitlab-{name}" for name in names])


def by_id(found: Taken) -> dict[str, Event]:
    """The events by their names, without the source's own part."""
    return {event.id.removeprefix(HERE): event for event in found.events}


def test_a_deployment_is_its_job() -> None:
    """It starts and finishes with its job, and its version is the job's commit; the project is in the job's address."""
    found = read("deployments.json")
    one, failed = by_id(found)["deployment:41"], by_id(found)["deployment:42"]
    assert isinstance(one, Deployment) and isinstance(failed, Deployment)
    assert (one.service, one.started_at, one.finished_at) == ("shop/cart", at(2, 9, 1), at(2, 9, 5))
    assert [(change.sha, change.committed_at) for change in one.changes] == [("a" * 40, at(2, 8, 0))]
    assert (failed.outcome, failed.started_at, failed.changes) == ("failed", at(3, 9, 0), ())


def test_what_has_not_finished_is_counted() -> None:
    """Running ones and canceled ones are left out, each with its count."""
    found = read("deployments.json")
    assert len(found.events) == 2
    assert found.notes == ("1 deployment(s) have not finished", "1 deployment(s) were called off (canceled, skipped)")


def test_incidents_are_issues_of_that_type() -> None:
    """An issue of the type incident lasts until it is closed, and is linked by what its text says."""
    found = by_id(read("issues.json", "deployments.json"))
    one, still = found["issue:1"], found["issue:2"]
    assert isinstance(one, Incident) and isinstance(still, Incident) and "issue:3" not in found
    assert (one.resolved_at, one.caused_by) == (at(2, 10, 0), f"{HERE}deployment:41")
    assert still.resolved_at is None
    assert len(collected(GitLab(Wanted(), incident_labels=["BUG"]), [DATA / "gitlab-issues.json"]).events) == 3


def test_merge_requests_give_a_merge_its_times() -> None:
    """The request behind a deployed merge commit tells when it was opened and merged."""
    one = by_id(read("deployments.json", "merge-requests.json"))["deployment:41"]
    assert isinstance(one, Deployment)
    assert (one.changes[0].opened_at, one.changes[0].merged_at) == (at(1, 8, 0), at(2, 8, 0))


def test_commits_lead_on_to_their_parents() -> None:
    """Exported commits give a deployment everything that it was the first to bring."""
    source = GitLab(Wanted())
    for _, row in payloads(DATA / "gitlab-deployments.json"):
        source.take(row)
    source.take({"id": "a" * 40, "parent_ids": ["9" * 40], "committed_date": "2026-03-02T08:00:00Z"})
    source.take({"id": "9" * 40, "parent_ids": [], "committed_date": "2026-03-01T08:00:00Z"})
    one = by_id(source.taken())["deployment:41"]
    assert isinstance(one, Deployment) and [change.sha[0] for change in one.changes] == ["a", "9"]


def test_webhooks_say_the_same() -> None:
    """Webhooks in any order and twice are one deployment, from running to success, and one resolved incident."""
    rows = [row for _, row in payloads(DATA / "gitlab-webhooks.jsonl")]
    both = []
    for order in (rows, rows[::-1] + rows):
        source = GitLab(Wanted())
        for row in order:
            source.take({"event": "x", "payload": row})
        both.append(by_id(source.taken()))
    deployment, incident = both[0]["deployment:51"], both[0]["issue:9"]
    assert both[0] == both[1] and len(both[0]) == 2
    assert isinstance(deployment, Deployment) and isinstance(incident, Incident)
    assert (deployment.started_at, deployment.finished_at, deployment.sha) == (at(5, 9, 0), at(5, 9, 5), "c" * 40)
    assert incident.resolved_at == at(5, 9, 50)


DEPLOYMENT = {"id": 1, "status": "success", "created_at": "2026-03-02T10:00:00Z", "environment": {"name": "production"}}
ISSUE = {"iid": 1, "state": "closed", "issue_type": "incident", "created_at": "2026-03-02T10:00:00Z"}
WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({**DEPLOYMENT, "status": "done"}, "which GitLab does not have"),
    ({**DEPLOYMENT, "created_at": "2026-03-02T10:00:00"}, "no time zone"),
    ({**DEPLOYMENT, "updated_at": "2026-03-02T09:00:00Z"}, "before it started"),
    ({**DEPLOYMENT, "environment": "production"}, "should be an object"),
    ({**ISSUE, "closed_at": "2026-03-02T09:00:00Z"}, "before it was opened"),
    ({"object_kind": "deployment", "deployment_id": 1}, "project is None"),
    ({"object_kind": "issue", "object_attributes": []}, "should be an object"),
]


@pytest.mark.parametrize(("row", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_is_refused(row: Mapping[str, Any], told: str) -> None:
    """A payload that lacks what its kind must have is one error that names the record."""
    source = GitLab(Wanted("shop"))
    with pytest.raises(DataError, match=told):
        source.take(row)
        source.taken()


@pytest.mark.parametrize("row", [DEPLOYMENT, ISSUE], ids=["deployment", "issue"])
def test_a_record_without_a_project_needs_a_service(row: Mapping[str, Any]) -> None:
    """A list of an old GitLab does not say which project it is of: somebody must."""
    with pytest.raises(DataError, match="--service"):
        source = GitLab(Wanted())
        source.take(row)
        source.taken()
    source = GitLab(Wanted("shop"))
    source.take(row)
    assert [event.service for event in source.taken().events] == ["shop"]


CAUSED = {**ISSUE, "description": "caused by deployment 1", "web_url": "https://gitlab.example.com/acme/shop/-/issues/1"}


@pytest.mark.parametrize("service", ["shop", None], ids=["named", "known by the issue"])
@pytest.mark.parametrize("rows", [(DEPLOYMENT, CAUSED), (CAUSED, DEPLOYMENT)], ids=["first", "last"])
def test_a_link_survives_a_deployment_without_a_project(rows: list[Mapping[str, Any]], service: str | None) -> None:
    """An issue's "caused by deployment 1" has the name that the deployment has, though only the issue tells a path."""
    source = GitLab(Wanted(service))
    for row in rows:
        source.take(row)
    deployment, incident = source.taken().events
    assert isinstance(incident, Incident) and incident.caused_by == deployment.id
    assert deployment.id == f"gitlab:{service or 'acme/shop'}:deployment:1"
