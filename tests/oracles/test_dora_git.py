"""Deployments out of git against what plain ``git log`` says, on this repository and on ones made for the purpose."""

import os
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node0lib.dora.history import History
from node0lib.dora.profiles import profile
from node0lib.dora.report import report
from node0lib.errors import ConfigError, DataError
from node0lib.shell.dora_files import append_events, read_events
from node0lib.shell.git_history import from_branch, from_tags, known_tags, tags_moved, tags_of

HERE = Path(__file__).parent.parent.parent
MONDAY = 1_772_000_000


def git(where: Path, *words: str, at: int | None = None, authored: int | None = None) -> str:
    """Run git as a person with fixed times."""
    times = {"GIT_COMMITTER_DATE": f"{at} +0000", "GIT_AUTHOR_DATE": f"{authored or at} +0000"} if at else {}
    who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    none = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment = {**os.environ, **times, **who, **none}
    return subprocess.run(
        ["git", "-C", str(where), *words], capture_output=True, encoding="utf-8", check=True, env=environment
    ).stdout


def commit(where: Path, at: int, authored: int | None = None, text: str = "x") -> str:
    """Make an empty commit; its hash."""
    git(where, "commit", "--allow-empty", "-q", "-m", text, at=at, authored=authored)
    return git(where, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """main with v1 (annotated later), v2 (lightweight), and a release branch with v1.1 after v2."""
    where = tmp_path / "shop"
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    commit(where, MONDAY)
    commit(where, MONDAY + 3600, MONDAY + 600)
    git(where, "tag", "-a", "v1", "-m", "one", at=MONDAY + 7200)
    git(where, "branch", "release")
    commit(where, MONDAY + 10_000)
    git(where, "tag", "v2")
    git(where, "checkout", "-q", "release")
    commit(where, MONDAY + 12_000)
    git(where, "tag", "-a", "v1.1", "-m", "fix", at=MONDAY + 20_000)
    git(where, "checkout", "-q", "main")
    git(where, "merge", "-q", "--no-ff", "-m", "back", "release", at=MONDAY + 30_000)
    git(where, "tag", "-a", "v3", "-m", "three", at=MONDAY + 40_000)
    return where


def test_this_repository_is_as_git_log_says() -> None:
    """On this very repository every commit of the branch is one change, with git's own committer and author times."""
    if not (HERE / ".git").exists():
        pytest.skip("this copy is no git repository; clone it to compare with git log")
    if git(HERE, "rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("this clone is shallow; git fetch --unshallow to compare with git log")
    found = from_branch(HERE, branch="HEAD", service="node0").deployments
    lines = [line.split() for line in git(HERE, "log", "--format=%H %ct %at", "HEAD").splitlines()]
    changes = {change.sha: change for one in found for change in one.changes}
    assert sorted(changes) == sorted(sha for sha, *_ in lines)
    for sha, committed, authored in lines:
        times = changes[sha].committed_at, changes[sha].authored_at
        assert times == tuple(datetime.fromtimestamp(int(one), UTC) for one in (committed, authored))
    assert [one.sha for one in reversed(found)] == git(HERE, "log", "--first-parent", "--format=%H").split()


def test_tags_bring_what_git_log_lists(repository: Path) -> None:
    """A tag's changes are what git log lists of it and of no earlier tag, release branches included."""
    found = from_tags(repository, service="shop").deployments
    names = [one.id.split(":")[3].split("@")[0] for one in found]
    assert names == ["v1", "v2", "v1.1", "v3"]
    for place, one in enumerate(found):
        listed = git(repository, "log", "--format=%H", names[place], *(f"^{name}" for name in names[:place])).split()
        assert sorted(change.sha for change in one.changes) == sorted(listed)


def test_lead_times_are_those_of_the_dates(repository: Path) -> None:
    """The median lead time is what the dates give by hand, by committer and by author time."""
    history = History.of(from_tags(repository, service="shop").deployments)
    at = datetime.fromtimestamp(MONDAY + 86_400, UTC)
    committer, author = [7200, 3600, 0, 8000, 10_000], [7200, 6600, 0, 8000, 10_000]
    for by, spans in ((False, committer), (True, author)):
        lead = report(history, at, profile=profile("node0", author=by)).groups[0].windows["7d"][1]
        assert (lead.n, lead.value) == (5, statistics.median(spans))


def test_dates_of_tags_are_told_apart(repository: Path) -> None:
    """An annotated tag has a date of its own unless the commit's is asked for; the notes say how many have one."""
    own, commits = (from_tags(repository, service="shop", pattern="v1", when=when) for when in ("tag", "commit"))  # type: ignore[arg-type]
    ends = [one.deployments[0].finished_at.timestamp() for one in (own, commits)]
    assert ends == [MONDAY + 7200, MONDAY + 3600]
    notes = from_tags(repository, service="shop").notes
    assert any(note.startswith("3 annotated tag(s)") and "1 lightweight" in note for note in notes)
    assert any("brings 2 commits" in note for note in notes)


def test_merges_and_squashes_on_a_branch(repository: Path) -> None:
    """Each step of the first-parent line is a deployment; a merge brings its branch; a squash is recognised."""
    commit(repository, MONDAY + 50_000, MONDAY + 100, "Faster search (#12)")
    found = from_branch(repository, branch="main", service="shop")
    assert [len(one.changes) for one in found.deployments] == [1, 1, 1, 2, 1]
    assert any("5 commit(s) landed on main, 1 of them merge(s)" in note for note in found.notes)
    assert any("a minimum of 0 by construction" in note for note in found.notes)
    git(repository, "tag", "v4")
    for one in (found, from_tags(repository, service="shop")):
        assert any(note.startswith("1 commit(s) look like squash merges") for note in one.notes)


def test_release_branches_are_told(repository: Path) -> None:
    """A tag that does not build on the one before it lies on a release branch; without one there is nothing to tell."""
    notes = from_tags(repository, service="shop").notes
    assert any("1 tag(s) do not build on the one before them (v1.1): release branches" in note for note in notes)
    assert not any("release branches" in note for note in from_tags(repository, service="shop", pattern="v[123]").notes)


def test_a_moved_tag_is_two_deployments(repository: Path, tmp_path: Path) -> None:
    """A tag that names another commit than at the last ingestion is told, and both count; else nothing is new."""
    out = tmp_path / "events.jsonl"
    append_events(out, from_tags(repository, service="shop", pattern="v3").deployments)
    assert append_events(out, from_tags(repository, service="shop", pattern="v3").deployments).new == 0
    commit(repository, MONDAY + 60_000)
    git(repository, "tag", "-f", "-a", "v3", "-m", "again", at=MONDAY + 70_000)
    found = from_tags(repository, service="shop", pattern="v3")
    moved = tags_moved(known_tags(read_events(out), "shop"), tags_of(found))
    assert len(moved) == 1 and "tag v3 was moved" in moved[0]
    assert append_events(out, found.deployments).new == 1


def test_a_shallow_clone_is_refused(repository: Path, tmp_path: Path) -> None:
    """Commits that are missing would make lead times wrong: refused, or taken and told."""
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", "--branch", "main", repository.as_uri(), str(clone))
    git(clone, "tag", "v9")
    with pytest.raises(DataError, match="shallow clone.*--unshallow"):
        from_tags(clone, service="shop")
    assert any("shallow" in note for note in from_tags(clone, service="shop", allow_shallow=True).notes)


def test_what_cannot_be_counted_is_refused(repository: Path, tmp_path: Path) -> None:
    """No repository, no tag that matches, no such branch: one clear error each; odd tags are left out and told."""
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    with pytest.raises(ConfigError, match=r"no tag matches 'x\*'"):
        from_tags(repository, service="shop", pattern="x*")
    with pytest.raises(ConfigError, match="no tag matches"):
        from_tags(empty, service="shop")
    with pytest.raises(ConfigError, match="no branch 'dev'"):
        from_branch(repository, branch="dev", service="shop")
    with pytest.raises(ConfigError, match="--output=x"):
        from_branch(repository, branch="--output=x", service="shop")
    with pytest.raises(ConfigError, match="git rev-parse failed"):
        from_tags(tmp_path / "nowhere", service="shop")
    git(repository, "tag", "tree", "HEAD^{tree}")
    assert "tag tree names no commit and is left out" in from_tags(repository, service="shop").notes
