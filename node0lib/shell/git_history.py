"""Deployments out of a git repository: every tag is one, or every commit that landed on a branch.

- A tag deploys its commit. An annotated tag has a date of its own and the deployment finished then; a lightweight one
  has none and takes its commit's (committer) date. Which were which is told, and ``when`` can insist on either.
- The changes of a deployment are the commits that it contains and no earlier one did, merges too, as in
  ``git log TAG --not EARLIER...``. With a release branch that is each commit at the first tag that has it.
- On a branch every step of its first-parent line is a deployment: a merge, a squash or a plain commit. It is dated by
  that commit, so that a lead time begins at 0 by construction; this is told.
- The commits' committer and author times are both kept; which one counts is the report's question.
- Told, since they change the numbers: a shallow clone (refused unless allowed: what was cut off would be laid at the
  first tag's door), what the first tag brings, tags that name no commit, dates in the future of their commits, squash
  merges, release branches (tags that do not build on the tag before them), and tags that point elsewhere than in an
  earlier ingestion. A tag that was moved is two deployments, unless the earlier one is replaced (``gone``).

git is run on the repository and only reads; configuration of the repository is not trusted with anything to execute.

>>> tags_moved({"v1": {"a" * 40}}, {"v1": "b" * 40})
['tag v1 was moved: it was at aaaaaaaaaaaa and is at bbbbbbbbbbbb; both count as deployments']
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from node0lib.dora.events import Change, Deployment, Event, Key
from node0lib.errors import ConfigError, DataError, RunError

When = Literal["tag", "commit"]
_SHORT, _NAMED = 12, 5
_FIELDS = ("refname:strip=2", "objecttype", "objectname", "*objecttype", "*objectname", "taggerdate:unix")
_TAG_FIELDS = "%00".join(f"%({name})" for name in _FIELDS)


@dataclass(frozen=True)
class Commit:
    """A commit: its parents, and seconds since 1970 of its committer and its author."""

    parents: tuple[str, ...]
    committed: int
    authored: int
    subject: str


@dataclass(frozen=True)
class Tag:
    """A tag, the commit that it names, and its own date in seconds since 1970 if it is annotated."""

    name: str
    commit: str
    dated: int | None


@dataclass(frozen=True)
class Delivered:
    """The deployments of a repository, oldest first, and what a reader must know of them."""

    deployments: tuple[Deployment, ...]
    notes: tuple[str, ...]


def from_tags(
    repository: Path,
    *,
    pattern: str = "*",
    service: str,
    environment: str = "production",
    when: When = "tag",
    allow_shallow: bool = False,
) -> Delivered:
    """Return a deployment for each tag that the pattern (as in a shell) matches.

    Raises ConfigError if there is no repository or no such tag, DataError for a shallow clone, RunError without git.
    """
    notes = _shallow(repository, allowed=allow_shallow)
    tags, odd = _tags(repository, pattern)
    notes += [f"tag {name} names no commit and is left out" for name in odd]
    if not tags:
        text = f"no tag matches {pattern!r}; name others with --tags, or count what landed on a branch with --branch"
        raise ConfigError(f"{repository}: {text}")
    commits = _commits(repository, [tag.commit for tag in tags])
    steps = sorted((_dated(tag, commits, when), tag.name, tag.commit) for tag in tags)
    dated = sum(tag.dated is not None for tag in tags)
    own = "its own date" if when == "tag" else "its commit's date, as asked"
    notes.append(f"{dated} annotated tag(s), each at {own}; {len(tags) - dated} lightweight, at their commits' dates")
    notes += [*_early(tags, commits, when), *_beside(steps, commits), *_squashes(commits)]
    made = [(f"tag:{name}@{sha[:_SHORT]}", at, sha) for at, name, sha in steps]
    return _delivered(made, commits, service, environment, notes)


def from_branch(
    repository: Path, *, branch: str, service: str, environment: str = "production", allow_shallow: bool = False
) -> Delivered:
    """Return a deployment for each commit on the branch's first-parent line; raises as ``from_tags`` does."""
    notes = _shallow(repository, allowed=allow_shallow)
    tip = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{branch}^{{commit}}", quiet=True)
    if not tip.strip():
        raise ConfigError(f"{repository}: there is no branch {branch!r}")
    commits = _commits(repository, [tip.strip()])
    line: list[str] = [tip.strip()]
    while (parents := commits[line[-1]].parents) and parents[0] in commits:
        line.append(parents[0])
    landed = [commits[sha] for sha in line]
    merges = sum(len(one.parents) > 1 for one in landed)
    notes.append(f"{len(line)} commit(s) landed on {branch}, {merges} of them merge(s)")
    notes.append("each is deployed at its own commit's time: lead time has a minimum of 0 by construction")
    notes += _squashes(dict(zip(line, landed, strict=True)))
    made = [(f"commit:{sha[:_SHORT]}", commits[sha].committed, sha) for sha in reversed(line)]
    return _delivered(made, commits, service, environment, notes)


def _delivered(
    made: Sequence[tuple[str, int, str]],
    commits: Mapping[str, Commit],
    service: str,
    environment: str,
    notes: list[str],
) -> Delivered:
    seen: set[str] = set()
    found = []
    for place, (name, at, sha) in enumerate(made):
        changes = tuple(_change(one, commits[one]) for one in _brought(sha, commits, seen))
        if place == 0 and len(changes) > 1:
            notes.append(f"the first deployment ({name}) brings {len(changes)} commits: all that was there before it")
        time = _time(at)
        found.append(Deployment(f"git:{service}:{name}", service, environment, time, time, sha=sha, changes=changes))
    return Delivered(tuple(found), tuple(notes))


def _brought(tip: str, commits: Mapping[str, Commit], seen: set[str]) -> Iterator[str]:
    """The commits that lead to the tip and were not seen before; they are seen now."""
    waiting = [tip]
    while waiting:
        sha = waiting.pop()
        if sha not in seen and sha in commits:
            seen.add(sha)
            yield sha
            waiting.extend(commits[sha].parents)


def _change(sha: str, commit: Commit) -> Change:
    return Change(sha, _time(commit.committed), _time(commit.authored))


def known_tags(events: Iterable[Event], service: str) -> dict[str, set[str]]:
    """Return the commits at which each tag of a service was found by earlier ingestions."""
    found: dict[str, set[str]] = {}
    start = f"git:{service}:tag:"
    for event in events:
        if isinstance(event, Deployment) and event.id.startswith(start) and event.sha is not None:
            found.setdefault(event.id.removeprefix(start).rpartition("@")[0], set()).add(event.sha)
    return found


def tags_of(delivered: Delivered) -> dict[str, str]:
    """Return the commit of each tag among deployments that ``from_tags`` found."""
    ids = ((one.id.split(":tag:", 1), one.sha) for one in delivered.deployments)
    return {parts[1].rpartition("@")[0]: sha for parts, sha in ids if len(parts) == 2 and sha is not None}


def tags_moved(known: Mapping[str, set[str]], tags: Mapping[str, str], *, replaced: bool = False) -> list[str]:
    """Return a note for each tag that names another commit than before; ``replaced`` if the earlier ones go."""
    end = "the earlier deployment is taken out" if replaced else "both count as deployments"
    return [
        f"tag {name} was moved: it was at {', '.join(sorted(one[:_SHORT] for one in old))} and is at"
        f" {tags[name][:_SHORT]}; {end}"
        for name, old in _moved(known, tags)
    ]


def gone(known: Mapping[str, set[str]], tags: Mapping[str, str], service: str) -> frozenset[Key]:
    """Return the names of the deployments by tags that name another commit now."""
    return frozenset(
        ("deployment", f"git:{service}:tag:{name}@{sha[:_SHORT]}") for name, old in _moved(known, tags) for sha in old
    )


def _moved(known: Mapping[str, set[str]], tags: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    for name, sha in sorted(tags.items()):
        if old := known.get(name, set()) - {sha}:
            yield name, old


def _shallow(repository: Path, *, allowed: bool) -> list[str]:
    if _git(repository, "rev-parse", "--is-shallow-repository").strip() != "true":
        return []
    text = f"{repository}: is a shallow clone: commits are missing, and what they brought would be wrong"
    if not allowed:
        raise DataError(f"{text}; fetch the rest with git fetch --unshallow, or allow it with --allow-shallow")
    return [f"{text} (allowed)"]


def _tags(repository: Path, pattern: str) -> tuple[list[Tag], list[str]]:
    """The tags that match, and the names of those that name no commit."""
    found, odd = [], []
    for line in _git(repository, "for-each-ref", f"--format={_TAG_FIELDS}", "refs/tags").splitlines():
        name, kind, sha, inner, peeled, date = line.split("\0")
        if not fnmatchcase(name, pattern):
            continue
        if (inner or kind) == "commit":
            found.append(Tag(name, peeled or sha, int(date) if date else None))
        else:
            odd.append(name)
    return found, odd


def _commits(repository: Path, tips: Sequence[str]) -> dict[str, Commit]:
    """Every commit that leads to the tips, from one run of git."""
    names = "".join(f"{tip}\n" for tip in dict.fromkeys(tips))
    text = _git(repository, "log", "--stdin", "-z", "--no-show-signature", "--format=%H%n%P%n%ct%n%at%n%s", given=names)
    found = {}
    for record in text.split("\0"):
        if record:
            sha, parents, committed, authored, subject = record.split("\n", 4)
            found[sha] = Commit(tuple(parents.split()), int(committed), int(authored), subject)
    return found


def _dated(tag: Tag, commits: Mapping[str, Commit], when: When) -> int:
    return tag.dated if when == "tag" and tag.dated is not None else commits[tag.commit].committed


def _early(tags: Sequence[Tag], commits: Mapping[str, Commit], when: When) -> list[str]:
    early = [tag.name for tag in tags if when == "tag" and (tag.dated or 2**62) < commits[tag.commit].committed]
    return [f"tag {name} is older than its commit: a clock is wrong, or its date was set by hand" for name in early]


def _beside(steps: Sequence[tuple[int, str, str]], commits: Mapping[str, Commit]) -> list[str]:
    """Tell of tags that bring something and do not build on the tag before them."""
    seen: set[str] = set()
    apart, before = [], ""
    for _, name, sha in steps:
        brought = set(_brought(sha, commits, seen))
        if before and brought and not any(before in commits[one].parents for one in brought):
            apart.append(name)
        before = sha
    if not apart:
        return []
    names = ", ".join(apart[:_NAMED]) + (f" and {len(apart) - _NAMED} more" if len(apart) > _NAMED else "")
    text = f"{len(apart)} tag(s) do not build on the one before them ({names}): release branches"
    return [f"{text}; what was picked onto one is another commit there, and counts again"]


def _squashes(commits: Mapping[str, Commit]) -> list[str]:
    found = sum(len(one.parents) < 2 and _squashed(one.subject) for one in commits.values())
    text = f"{found} commit(s) look like squash merges: each is one change, whose author time is that of the first"
    return [f"{text} commit or of the squash"] if found else []


def _squashed(subject: str) -> bool:
    head, bracket, number = subject.rpartition(" (#")
    return bool(head and bracket and number.removesuffix(")").isdigit() and number.endswith(")"))


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise DataError(f"a date of the repository, {seconds} s since 1970, is in no year from 1 to 9999") from error


def _git(repository: Path, *words: str, given: str | None = None, quiet: bool = False) -> str:
    """What git answers; raises ConfigError where it cannot, RunError where there is no git."""
    # No pager, no prompt, no file system monitor: reading must not run what a repository configures.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(repository), *words]
    quietly = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_PAGER": "cat"}
    environment = {**os.environ, **quietly}
    try:
        ran = subprocess.run(
            command, input=given, capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
        )
    except OSError as error:
        text = f"git cannot be run ({error.strerror or error}); install it, or ingest events from a file"
        raise RunError(text) from error
    if ran.returncode and not quiet:
        raise ConfigError(f"{repository}: git {words[0]} failed: {ran.stderr.strip() or 'it does not say why'}")
    return ran.stdout
