"""GitLab: lists of its REST API and payloads of its webhooks, told apart by what they hold.

Taken are deployments, issues (incidents among them), merge requests and commits, in any order and however often. A
webhook is known by its ``object_kind``; it may come in an envelope, ``{"event": "...", "payload": {...}}``.

- The outcome is the status: ``success`` succeeded, ``failed`` never arrived; ``created``, ``running`` and ``blocked``
  have not finished, ``canceled`` and ``skipped`` were called off: left out, counted.
- A deployment finished when its job did (``deployable.finished_at``); without a job, when the webhook says that the
  status changed, or when the record was last updated. It started with its job, or else was created then.
- An incident is an issue of the type "incident", or with one of the labels asked for. It lasts until it is closed.
- Links are explicit or none: "caused by deployment 42" in title, description or a label of an issue.
- Changes: see ``versions``. A deployment's job names one commit, its version; export commits, or ingest git, for all.
- The service is the project's path. A list of deployments may not hold it: then it is the one project that other
  records name, or else a service must be given. Which of these it is is settled when all records are there.
- With a service given, deployments are named by it and not by their path, and so are the links to them: GitLab numbers
  deployments across its projects, and one record of a deployment may tell its path while another does not.

Source: docs.gitlab.com, deployments, issues, merge requests and commits API; webhook events (deployment, issue, work
item), GitLab 17.

>>> hook = {"object_kind": "deployment", "status": "success", "status_changed_at": "2021-04-28 21:50:00 +0200",
...         "deployment_id": 15, "environment": "production", "project": {"path_with_namespace": "shop/cart"},
...         "commit_url": "http://127.0.0.1:3000/shop/cart/-/commit/279484c09fbe69ededfced8c1bb6e6d24616b468"}
>>> source = GitLab(Wanted())
>>> source.take(hook)
>>> source.taken().events[0].id, source.taken().events[0].sha[:8]
('gitlab:shop/cart:deployment:15', '279484c0')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from node0lib.dora.events import Deployment, Incident, Outcome
from node0lib.dora.sources.payload import (
    Row,
    Taken,
    Tally,
    Wanted,
    causing_deployment,
    labels,
    mapping,
    maybe,
    moment,
    text,
    words,
)
from node0lib.dora.sources.versions import Versions
from node0lib.errors import DataError

_PATH = re.compile(r"^https?://[^/]+/(.+?)/-/")
_COMMIT = re.compile(r"/commit/([0-9a-f]{40}(?:[0-9a-f]{24})?)$")
_ENDS: Mapping[str, Outcome] = {"success": "succeeded", "failed": "failed"}
_GOING = {"created", "running", "blocked"}
_OFF = {"canceled", "skipped"}
Ref = tuple[str, str]
"""A project's path (of a deployment: the service, if one was given), and a number in it."""


@dataclass
class _Known:
    """What is known of a deployment; of times of one kind those of its job are the better ones."""

    environment: str
    status: str
    told: datetime
    started: datetime
    finished: datetime
    sha: str | None
    job: bool


class GitLab:
    """Collects payloads; ``incident_labels`` make an issue an incident besides its type."""

    def __init__(self, wanted: Wanted, *, incident_labels: Sequence[str] = ()) -> None:
        self._wanted, self._labels = wanted, frozenset(label.casefold() for label in incident_labels)
        self._deployments: dict[Ref, _Known] = {}
        self._issues: dict[Ref, tuple[datetime, Incident | None]] = {}
        self._versions, self._tally = Versions(), Tally()
        self._paths: set[str] = set()
        self._homeless: list[Row] = []

    def take(self, row: Row) -> None:
        """Take a payload; raises DataError if it lacks what its kind must have."""
        kind, inner = row.get("object_kind"), row.get("payload")
        if isinstance(inner, Mapping) and "event" in row:
            self.take(inner)
        elif kind == "deployment":
            self._hook(row)
        elif kind in {"issue", "work_item"}:
            attributes = mapping(row, "object_attributes", "an issue's webhook")
            self._issue({"labels": row.get("labels"), **attributes}, self._path(mapping(row, "project", "the webhook")))
        elif kind is not None:
            self._tally.add("{} webhook(s) of other events were left out")
        elif "environment" in row and "status" in row:
            self._at_home(row, _path_of_deployment(row), self._record)
        elif "merge_commit_sha" in row:
            self._request(row)
        elif "iid" in row and "state" in row:
            self._at_home(row, _path_of_issue(row), self._issue)
        elif "parent_ids" in row:
            self._commit(row)
        else:
            self._tally.add("{} record(s) of other kinds were left out")

    def _path(self, project: Row) -> str:
        found = text(project, "path_with_namespace", "the webhook's project")
        self._paths.add(found)
        return found

    def _at_home(self, row: Row, path: str | None, take: Callable[[Row, str], None]) -> None:
        """Take a record of a project; one that does not say which waits for the others, unless a service is given."""
        if path is not None:
            self._paths.add(path)
        home = path or self._wanted.service
        if home is None:
            self._homeless.append(row)
        else:
            take(row, home)

    def _settle(self) -> None:
        """Take the records that waited: they are of the one project that is known."""
        if not self._homeless:
            return
        if len(self._paths) != 1:
            row = self._homeless[0]
            who = f"deployment {row.get('id')!r}" if "environment" in row else f"issue {row.get('iid')!r}"
            raise DataError(f"{who} does not say which project it is of; name its service with --service")
        (home,) = self._paths
        told = f"{{}} record(s) name no project and were taken for {home}'s, the only one that is named"
        self._tally.add(told, len(self._homeless))
        waiting, self._homeless = self._homeless, []
        for row in waiting:
            (self._record if "environment" in row else self._issue)(row, home)

    def _ref(self, path: str, number: str) -> Ref:
        """What a deployment is known by: in GitLab its number is unique, whatever the project."""
        return (self._wanted.service or path, number)

    def _hook(self, row: Row) -> None:
        number = text(row, "deployment_id", "a deployment's webhook")
        path = self._path(mapping(row, "project", f"the webhook of deployment {number}"))
        who = f"deployment {number} of {path}"
        at = moment(row, "status_changed_at", who)
        version = _COMMIT.search(words(row, "commit_url"))
        self._know(self._ref(path, number), _Known(
            text(row, "environment", who), text(row, "status", who), at, at, at, version[1] if version else None, False
        ))  # fmt: skip

    def _record(self, row: Row, path: str) -> None:
        number = text(row, "id", "a deployment")
        job = row["deployable"] if isinstance(row.get("deployable"), Mapping) else {}
        who = f"deployment {number} of {path}"
        created = moment(row, "created_at", who)
        ended = maybe(job, "finished_at", who) or maybe(row, "finished_at", who)
        updated = maybe(row, "updated_at", who) or created
        if isinstance(job.get("commit"), Mapping):
            self._commit(job["commit"])
        environment = text(mapping(row, "environment", who), "name", who)
        self._know(self._ref(path, number), _Known(
            environment, text(row, "status", who), ended or updated, maybe(job, "started_at", who) or created,
            ended or updated, words(row, "sha") or None, True
        ))  # fmt: skip

    def _know(self, ref: Ref, new: _Known) -> None:
        """The latest telling counts; a start that was told earlier, or by the job, is kept."""
        if new.status not in {*_ENDS, *_GOING, *_OFF}:
            raise DataError(f"deployment {ref[1]} of {ref[0]}: status is {new.status!r}, which GitLab does not have")
        old = self._deployments.get(ref)
        if old is None:
            self._deployments[ref] = new
            return
        ended = new.status not in _GOING, old.status not in _GOING
        later, earlier = (new, old) if (ended[0], new.job, new.told) >= (ended[1], old.job, old.told) else (old, new)
        later.started = later.started if later.job else min(later.started, earlier.started)
        later.sha = later.sha or earlier.sha
        self._deployments[ref] = later

    def _issue(self, row: Row, path: str) -> None:
        number = text(row, "iid", "an issue")
        who = f"issue {number} of {path}"
        updated = maybe(row, "updated_at", who) or moment(row, "created_at", who)
        known = self._issues.get((path, number))
        if known is None or updated >= known[0]:
            kind = (words(row, "issue_type") or words(row, "type")).casefold()
            fits = kind == "incident" or bool(labels(row) & self._labels)
            self._issues[path, number] = (updated, self._incident(row, path, number) if fits else None)

    def _incident(self, row: Row, path: str, number: str) -> Incident:
        who = f"issue {number} of {path}"
        told = causing_deployment([words(row, "title"), words(row, "description"), *labels(row)])
        if len(told) > 1:
            self._tally.add("{} incident(s) name several deployments as their cause, and are linked to none of them")
        return Incident(
            f"gitlab:{path}:issue:{number}",
            self._wanted.service or path,
            moment(row, "created_at", who),
            maybe(row, "closed_at", who) if row.get("state") == "closed" else None,
            _deployment_id(self._ref(path, next(iter(told)))) if len(told) == 1 else None,
            words(row, "title") or None,
        )

    def _request(self, row: Row) -> None:
        who = f"merge request {row.get('iid')!r}"
        merged = maybe(row, "merged_at", who)
        sha = words(row, "merge_commit_sha") or words(row, "squash_commit_sha")
        if sha and merged is not None:
            self._versions.request(sha, maybe(row, "created_at", who), merged)

    def _commit(self, row: Row) -> None:
        sha = text(row, "id", "a commit")
        who = f"commit {sha}"
        parents = row.get("parent_ids")
        committed = maybe(row, "committed_date", who) or maybe(row, "created_at", who)
        ancestors = tuple(one for one in parents if isinstance(one, str)) if isinstance(parents, list) else ()
        self._versions.commit(sha, ancestors, committed, maybe(row, "authored_date", who))

    def taken(self) -> Taken:
        """Return the events of all payloads, and what was left out; raises DataError where they make none."""
        self._settle()
        tally = Tally(self._tally.counts.copy())
        deployments = self._versions.complete(list(self._made(tally)))
        incidents = [one for _, one in self._issues.values() if one is not None]
        tally.add("{} issue(s) that are no incidents were left out", len(self._issues) - len(incidents))
        told = "{} merged merge request(s) are in no deployment that is known; export the commits too, or ingest git"
        tally.add(told, self._versions.undeployed(deployments))
        return Taken((*deployments, *incidents), tally.notes)

    def _made(self, tally: Tally) -> Iterator[Deployment]:
        for ref, known in self._deployments.items():
            if not self._wanted.takes(known.environment):
                tally.add("{} deployment(s) to environments that were not asked for")
            elif known.status in _GOING:
                tally.add("{} deployment(s) have not finished")
            elif known.status in _OFF:
                tally.add("{} deployment(s) were called off (canceled, skipped)")
            else:
                yield Deployment(
                    _deployment_id(ref),
                    ref[0],
                    known.environment,
                    known.started,
                    known.finished,
                    _ENDS[known.status],
                    sha=known.sha,
                )


def _deployment_id(ref: Ref) -> str:
    return f"gitlab:{ref[0]}:deployment:{ref[1]}"


def _path_of_deployment(row: Row) -> str | None:
    """The project's path, which a deployment's record only holds in the address of its job, pipeline or commit."""
    job = row["deployable"] if isinstance(row.get("deployable"), Mapping) else {}
    places = [job, *(job[key] for key in ("pipeline", "commit") if isinstance(job.get(key), Mapping))]
    return next((match[1] for place in places if (match := _PATH.match(words(place, "web_url")))), None)


def _path_of_issue(row: Row) -> str | None:
    references = row.get("references")
    if isinstance(references, Mapping) and "#" in words(references, "full"):
        return words(references, "full").rpartition("#")[0]
    found = _PATH.match(words(row, "web_url"))
    return found[1] if found else None
