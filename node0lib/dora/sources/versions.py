"""Which changes a deployment brought, as far as exported commits and pull requests can tell.

- A deployment names one commit, its version. Where the exported commits lead on from it through their parents, all of
  them are its changes that no earlier deployment of the same service and environment had.
- A pull request whose merge commit is among them gives that change the times at which it was opened and merged.
- Where no commit was exported nothing is supposed: a version alone is a change without a start. Only a version's own
  pull request is known then, by its merge commit.

>>> from datetime import UTC, datetime
>>> noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
>>> known = Versions()
>>> known.commit("b", ("a",), noon, noon), known.commit("a", (), noon, noon)
(None, None)
>>> one = Deployment("d", "shop", "production", noon, noon, sha="b")
>>> [change.sha for change in known.complete([one])[0].changes]
['b', 'a']
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from node0lib.dora.events import Change, Deployment

Times = tuple[datetime | None, datetime | None]


class Versions:
    """Commits and pull requests by their shas."""

    def __init__(self) -> None:
        self._commits: dict[str, tuple[tuple[str, ...], Times]] = {}
        self._requests: dict[str, Times] = {}

    def commit(
        self, sha: str, parents: tuple[str, ...], committed: datetime | None, authored: datetime | None
    ) -> None:
        """Know a commit; what is told later of it counts, unless that is less."""
        known = self._commits.get(sha)
        if known is None or parents or not known[0]:
            self._commits[sha] = (parents, (committed, authored))

    def request(self, merge: str, opened: datetime | None, merged: datetime | None) -> None:
        """Know the pull request behind a merge commit."""
        self._requests[merge] = (opened, merged)

    def complete(self, deployments: Sequence[Deployment]) -> tuple[Deployment, ...]:
        """Return the deployments, oldest first, with their changes; those that never arrived bring none."""
        seen: dict[tuple[str, str], set[str]] = {}
        found = []
        for one in sorted(deployments, key=lambda one: (one.finished_at, one.id)):
            if one.sha is None or one.outcome == "failed" or one.kind == "rollback":
                found.append(one)
                continue
            brought = self._brought(one.sha, seen.setdefault((one.service, one.environment), set()))
            found.append(replace(one, changes=tuple(self._change(sha) for sha in brought)))
        return tuple(found)

    def undeployed(self, deployments: Sequence[Deployment]) -> int:
        """Return how many pull requests no deployment is known to have brought."""
        return len(self._requests.keys() - {change.sha for one in deployments for change in one.changes})

    def _brought(self, tip: str, seen: set[str]) -> Iterator[str]:
        waiting = [tip]
        while waiting:
            sha = waiting.pop()
            if sha in seen or (sha != tip and sha not in self._commits):
                continue
            seen.add(sha)
            yield sha
            waiting.extend(reversed(self._commits.get(sha, ((), ()))[0]))

    def _change(self, sha: str) -> Change:
        committed, authored = self._commits.get(sha, ((), (None, None)))[1]
        opened, merged = self._requests.get(sha, (None, None))
        return Change(sha, committed, authored, opened, merged)
