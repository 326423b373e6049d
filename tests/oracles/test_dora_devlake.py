"""The profile devlake-2023 against what Apache DevLake's own test expects of its change lead time.

Its tables are turned into events: a row of a production deployment in the project is a deployment of its repository,
and the pull requests whose merge commits lie between it and the one before are its changes. Where no earlier
deployment is known, what the first one brought is not known either.
"""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from node0lib.dora.events import Change, Deployment
from node0lib.dora.history import NONE, History, micros
from node0lib.dora.linking import cycle_time, judge
from node0lib.dora.profiles import profile

DATA = Path(__file__).parent.parent / "data" / "dora" / "devlake"
Row = Mapping[str, str]


def table(name: str) -> list[Row]:
    """The rows of a table."""
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def when(text: str) -> datetime | None:
    """A time of the tables, which are in UTC with or without saying so."""
    if not text or "T" in text:
        return datetime.fromisoformat(text) if text else None
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


EXPECTED = {row["id"]: row for row in table("project_pr_metrics")}


def requests() -> dict[str, Change]:
    """Each merged pull request under its merge commit, with its first commit's author time."""
    first: dict[str, datetime] = {}
    for row in table("pull_request_commits"):
        at = when(row["commit_authored_date"])
        assert at is not None
        first[row["pull_request_id"]] = min(at, first.get(row["pull_request_id"], at))
    merged = [row for row in table("pull_requests") if row["merged_date"]]
    return {
        row["id"]: Change(
            row["merge_commit_sha"],
            authored_at=first.get(row["id"]),
            opened_at=when(row["created_date"]),
            merged_at=when(row["merged_date"]),
        )
        for row in merged
    }


def deployments() -> list[Deployment]:
    """The production deployments of project1 that succeeded, with the requests that each brought."""
    scopes = {r["row_id"] for r in table("project_mapping") if r["project_name"] == "project1"}
    rows = {row["id"]: row for row in table("cicd_deployment_commits") if row["cicd_scope_id"] in scopes}
    by_commit = {change.sha: change for change in requests().values()}
    diffs: dict[tuple[str, str], list[Change]] = {}
    for row in table("commits_diffs"):
        diffs.setdefault((row["old_commit_sha"], row["new_commit_sha"]), []).append(by_commit[row["commit_sha"]])
    found = []
    for row in rows.values():
        start, end = when(row["started_date"]), when(row["finished_date"])
        assert start is not None and end is not None
        before = rows.get(row["prev_success_deployment_commit_id"])
        brought = diffs.get((before["commit_sha"], row["commit_sha"]), []) if before else []
        outcome = "succeeded" if row["result"] == "SUCCESS" else "failed"
        where = row["repo_url"], row["environment"] or "unknown"
        one = Deployment(row["id"], *where, start, end, outcome, row["commit_sha"], tuple(brought))  # type: ignore[arg-type]
        found.append(one)
    return found


def test_deployed_requests_have_devlakes_cycle_time() -> None:
    """Each request that was deployed has DevLake's deployment, and its cycle time to the minute."""
    events = deployments()
    history = History.of(events)
    judged = judge(history, profile("devlake-2023"), frozenset({"PRODUCTION"}))
    live = history.environment[judged.arrival] == history.environments.index("PRODUCTION")
    leads = sorted(judged.lead[live].tolist())
    expected = sorted(float(row["pr_cycle_time"]) * 60 for row in EXPECTED.values() if row["deployment_commit_id"])
    assert leads == expected
    brought = {change.sha: one.id for one in events for change in one.changes if one.environment == "PRODUCTION"}
    wanted = {key: row["deployment_commit_id"] for key, row in EXPECTED.items() if row["deployment_commit_id"]}
    assert {key: brought.get(change.sha) for key, change in requests().items() if key in wanted} == wanted


@pytest.mark.parametrize("key", sorted(EXPECTED))
def test_every_request_has_devlakes_cycle_time(key: str) -> None:
    """Deployed or not, negative parts or not: the sum of the parts is DevLake's, in minutes rounded up."""
    change, at = requests()[key], None
    if EXPECTED[key]["deployment_commit_id"]:
        at = next(one.finished_at for one in deployments() if one.id == EXPECTED[key]["deployment_commit_id"])
    marks = [change.authored_at, change.opened_at, change.merged_at, at]
    columns = [np.array([NONE if mark is None else micros(mark)]) for mark in marks]
    assert cycle_time(*columns).tolist() == [float(EXPECTED[key]["pr_cycle_time"]) * 60]
