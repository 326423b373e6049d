"""GitHub: lists of its REST API and payloads of its webhooks, told apart by what they hold.

Taken are deployments, their statuses, issues, releases, pull requests and commits, in any order and however often; of
several tellings of one thing the one updated last counts. A webhook may come in an envelope that names its event:
``{"event": "issues", "payload": {...}}``.

- The outcome is that of the latest status: ``success`` succeeded; ``failure`` and ``error`` never arrived; ``pending``,
  ``queued``, ``in_progress`` and ``waiting`` have not finished and are left out, counted. ``inactive`` says that
  another deployment took its place, and changes nothing. It finished when that outcome was first told, and started
  when it was created. A deployment without a status says nothing of how it ended, and is left out, counted.
- A ``task`` of ``rollback``, ``hotfix`` or ``retry``, or one that ends so (``deploy:rollback``), is the kind.
- An incident is an issue, and no pull request, with one of the labels asked for. It lasts until it is closed.
- Links are explicit or none: "caused by deployment 42" in title, text or a label of an issue; "caused by incident 7"
  in a deployment's description, which makes it unplanned.
- A release is a deployment only if asked for, since many repositories have both. Drafts and pre-releases are none.
- Changes: see ``versions``. The service is the repository, as ``octocat/example``, unless another is given.

Source: docs.github.com, REST API version 2022-11-28 (deployments, statuses, issues, releases, pulls, commits) and
webhook events and payloads.

>>> repository = {"full_name": "octocat/example"}
>>> deployment = {"id": 1, "sha": "a84d88e", "environment": "production", "created_at": "2026-01-05T11:55:00Z"}
>>> status = {"id": 1, "state": "success", "created_at": "2026-01-05T12:00:00Z"}
>>> source = GitHub(Wanted())
>>> source.take({"repository": repository, "deployment": deployment, "deployment_status": status})
>>> source.taken().events[0].id, source.taken().events[0].outcome
('github:octocat/example:deployment:1', 'succeeded')
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from node0lib.dora.events import KINDS, Deployment, Incident, Kind, Outcome
from node0lib.dora.sources.payload import (
    Row,
    Taken,
    Tally,
    Wanted,
    causing_deployment,
    causing_incident,
    labels,
    mapping,
    maybe,
    moment,
    text,
    words,
)
from node0lib.dora.sources.versions import Versions
from node0lib.errors import DataError

_REPOSITORY = re.compile(r"/repos/([^/]+/[^/]+)(?:/|$)")
_DEPLOYMENT = re.compile(r"/deployments/(\d+)(?:/|$)")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ENDS: Mapping[str, Outcome] = {"success": "succeeded", "failure": "failed", "error": "failed"}
_GOING = {"pending", "queued", "in_progress", "waiting"}
Ref = tuple[str, str]
"""A repository's full name, and a number in it."""


@dataclass
class _Known:
    """What is known of a deployment; ``statuses`` by their id: (when, state)."""

    row: Row | None = None
    updated: datetime | None = None
    statuses: dict[str, tuple[datetime, str]] = field(default_factory=dict)


class GitHub:
    """Collects payloads; ``incident_labels`` in whatever case, ``releases`` names where they are deployed to."""

    def __init__(
        self, wanted: Wanted, *, incident_labels: Sequence[str] = ("incident",), releases: str | None = None
    ) -> None:
        self._wanted, self._labels = wanted, frozenset(label.casefold() for label in incident_labels)
        self._released_to = releases
        self._deployments: dict[Ref, _Known] = {}
        self._issues: dict[Ref, tuple[datetime, Incident | None]] = {}
        self._releases: dict[Ref, Deployment | None] = {}
        self._versions, self._tally = Versions(), Tally()

    def take(self, row: Row) -> None:
        """Take a payload; raises DataError if it lacks what its kind must have."""
        inner = row.get("payload")
        if isinstance(inner, Mapping) and ("event" in row or "name" in row):
            self.take(inner)
        elif ("repository" in row and "action" in row) or isinstance(row.get("deployment"), Mapping):
            self._webhook(row)
        elif isinstance(row.get("items"), list) and "total_count" in row:
            for item in row["items"]:
                self.take(item)
        else:
            self._record(row)

    def _webhook(self, row: Row) -> None:
        repository = text(mapping(row, "repository", "the payload"), "full_name", "the payload's repository")
        gone = row.get("action") in {"deleted", "transferred", "unpublished"}
        if isinstance(row.get("deployment"), Mapping):
            number = self._deployment(row["deployment"], repository)
            if isinstance(row.get("deployment_status"), Mapping):
                self._status(row["deployment_status"], (repository, number))
        elif isinstance(row.get("issue"), Mapping) and "comment" not in row:
            self._issue(row["issue"], repository, gone=gone)
        elif isinstance(row.get("release"), Mapping):
            self._release(row["release"], repository, gone=gone)
        elif isinstance(row.get("pull_request"), Mapping) and "review" not in row and "comment" not in row:
            self._request(row["pull_request"])
        else:
            self._tally.add("{} webhook(s) of other events were left out")

    def _record(self, row: Row) -> None:
        """A record of the REST API: which one, its keys say."""
        if "statuses_url" in row and "task" in row:
            self._deployment(row, _repository(row))
        elif "deployment_url" in row and "state" in row:
            found = _DEPLOYMENT.search(words(row, "deployment_url"))
            if found is None:
                raise DataError(f"deployment status {row.get('id')!r}: deployment_url names no deployment")
            self._status(row, (_repository(row), found[1]))
        elif "merge_commit_sha" in row:
            self._request(row)
        elif "number" in row and "labels" in row:
            self._issue(row, _repository(row), gone=False)
        elif "tag_name" in row:
            self._release(row, _repository(row), gone=False)
        elif "commit" in row and "parents" in row:
            self._commit(row)
        else:
            self._tally.add("{} record(s) of other kinds were left out")

    def _deployment(self, row: Row, repository: str) -> str:
        number = text(row, "id", "a deployment")
        who = f"deployment {number} of {repository}"
        known = self._deployments.setdefault((repository, number), _Known())
        updated = maybe(row, "updated_at", who) or moment(row, "created_at", who)
        if known.updated is None or updated >= known.updated:
            known.row, known.updated = _kept(row, ("sha", "environment", "task", "created_at", "description")), updated
        return number

    def _status(self, row: Row, ref: Ref) -> None:
        number = text(row, "id", f"a status of deployment {ref[1]}")
        who = f"status {number} of deployment {ref[1]} of {ref[0]}"
        state = text(row, "state", who)
        if state not in _ENDS and state not in _GOING and state != "inactive":
            raise DataError(f"{who}: state is {state!r}, which GitHub does not have")
        self._deployments.setdefault(ref, _Known()).statuses[number] = (moment(row, "created_at", who), state)

    def _issue(self, row: Row, repository: str, *, gone: bool) -> None:
        if "pull_request" in row:
            return
        number = text(row, "number", "an issue")
        who = f"issue {number} of {repository}"
        updated = maybe(row, "updated_at", who) or moment(row, "created_at", who)
        known = self._issues.get((repository, number))
        if known is None or updated >= known[0]:
            incident = None if gone or not labels(row) & self._labels else self._incident(row, repository, number)
            self._issues[repository, number] = (updated, incident)

    def _incident(self, row: Row, repository: str, number: str) -> Incident:
        who = f"issue {number} of {repository}"
        told = causing_deployment([words(row, "title"), words(row, "body"), *labels(row)])
        if len(told) > 1:
            self._tally.add("{} incident(s) name several deployments as their cause, and are linked to none of them")
        return Incident(
            f"github:{repository}:issue:{number}",
            self._wanted.service or repository,
            moment(row, "created_at", who),
            maybe(row, "closed_at", who) if row.get("state") == "closed" else None,
            f"github:{repository}:deployment:{next(iter(told))}" if len(told) == 1 else None,
            words(row, "title") or None,
        )

    def _release(self, row: Row, repository: str, *, gone: bool) -> None:
        number = text(row, "id", "a release")
        who = f"release {number} of {repository}"
        published = maybe(row, "published_at", who)
        if gone or row.get("draft") or row.get("prerelease") or published is None:
            self._releases[repository, number] = None
            return
        target = words(row, "target_commitish")
        self._releases[repository, number] = Deployment(
            f"github:{repository}:release:{number}",
            self._wanted.service or repository,
            self._released_to or "production",
            published,
            published,
            sha=target if _SHA.fullmatch(target) else None,
        )

    def _request(self, row: Row) -> None:
        who = f"pull request {row.get('number')!r}"
        merge, merged = words(row, "merge_commit_sha"), maybe(row, "merged_at", who)
        if merge and merged is not None:  # before the merge that sha is a trial merge's
            self._versions.request(merge, maybe(row, "created_at", who), merged)

    def _commit(self, row: Row) -> None:
        sha = text(row, "sha", "a commit")
        who = f"commit {sha}"
        inner = mapping(row, "commit", who)
        times = (maybe(mapping(inner, role, who), "date", who) for role in ("committer", "author"))
        parents = tuple(text(parent, "sha", f"a parent of {who}") for parent in row["parents"])
        self._versions.commit(sha, parents, *times)

    def taken(self) -> Taken:
        """Return the events of all payloads, and what was left out; raises DataError where they make none."""
        tally = Tally(self._tally.counts.copy())
        made = list(self._made(tally))
        released = [one for one in self._releases.values() if one is not None]
        if self._released_to is not None:
            made += released
        elif released:
            tally.add("{} release(s) were not taken for deployments; --releases does that", len(released))
        deployments = self._versions.complete(made)
        incidents = [one for _, one in self._issues.values() if one is not None]
        tally.add("{} issue(s) without an incident's label were left out", len(self._issues) - len(incidents))
        text = "{} merged pull request(s) are in no deployment that is known; export the commits too, or ingest git"
        tally.add(text, self._versions.undeployed(deployments))
        return Taken((*deployments, *incidents), tally.notes)

    def _made(self, tally: Tally) -> Iterator[Deployment]:
        for (repository, number), known in self._deployments.items():
            who = f"deployment {number} of {repository}"
            if known.row is None:
                tally.add("{} deployment(s) are only known by statuses and were left out; export deployments too")
                continue
            environment = text(known.row, "environment", who)
            if not self._wanted.takes(environment):
                tally.add("{} deployment(s) to environments that were not asked for")
                continue
            ended = _ended(known.statuses)
            if ended is None:
                going = any(state in _GOING for _, state in known.statuses.values())
                tally.add(
                    "{} deployment(s) have not finished"
                    if going
                    else "{} deployment(s) tell no outcome; export their statuses too"
                )
                continue
            yield self._one(known.row, (repository, number), environment, ended)

    def _one(self, row: Row, ref: Ref, environment: str, ended: tuple[Outcome, datetime]) -> Deployment:
        repository, number = ref
        told = causing_incident([words(row, "description")])
        kind = _kind(words(row, "task"))
        return Deployment(
            f"github:{repository}:deployment:{number}",
            self._wanted.service or repository,
            environment,
            moment(row, "created_at", f"deployment {number} of {repository}"),
            ended[1],
            ended[0],
            sha=words(row, "sha") or None,
            planned=False if told else None,
            kind=kind,
            caused_by=f"github:{repository}:issue:{next(iter(told))}" if len(told) == 1 else None,
        )


def _kept(row: Row, keys: tuple[str, ...]) -> Row:
    """Only what is needed of a payload: a deployment's may hold a megabyte of somebody's own."""
    return {key: row[key] for key in keys if key in row}


def _repository(row: Row) -> str:
    found = next((m for key in ("repository_url", "url") if (m := _REPOSITORY.search(words(row, key)))), None)
    if found is None:
        raise DataError(f"record {row.get('id')!r}: neither repository_url nor url names the repository")
    return found[1]


def _ended(statuses: Mapping[str, tuple[datetime, str]]) -> tuple[Outcome, datetime] | None:
    """How a deployment ended and when that was first told; None if it has not, as far as is known."""
    ended: tuple[Outcome, datetime] | None = None
    for _, (at, state) in sorted(statuses.items(), key=lambda item: (item[1][0], len(item[0]), item[0])):
        if state in _GOING:
            ended = None
        elif state in _ENDS and (ended is None or ended[0] != _ENDS[state]):
            ended = (_ENDS[state], at)
    return ended


def _kind(task: str) -> Kind:
    last = re.split(r"[:/_-]", task.casefold())[-1] if task else ""
    return next((kind for kind in KINDS if kind == last), "normal")
