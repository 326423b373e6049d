"""How fast is a large git history ingested, and how much memory does a large file of events take?

    python tests/benchmarks/dora_sources.py              # both; ends with an error if more than promised
    python tests/benchmarks/dora_sources.py --events 5000000

- ``git``: 50,000 commits, one in ten a merge, and 500 annotated tags, made with ``git fast-import``; by tags and by
  what landed on the branch. Promised: 20 s. git must be installed.
- ``memory``: JSON lines of deployments with a commit each, and of the shortest ones, reported by ``node0 dora report``;
  the largest resident set less that for an empty file, and what 2 GB of such lines would take at that rate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

SECONDS, COMMITS, TAGS = 20.0, 50_000, 500
NODE0 = (sys.executable, "-m", "node0lib.shell.cli", "dora")
START = datetime(2025, 1, 1, tzinfo=UTC)


def stream(commits: int, tags: int) -> Iterator[bytes]:
    """A history for fast-import: hourly commits, a merge of an older one in every ten, tags two hours late."""
    for k in range(commits):
        at = 1_500_000_000 + 3600 * k
        who = "A <a@example.org>"
        parents = (f"from :{k}\n" if k else "") + (f"merge :{k - 5}\n" if k % 10 == 9 and k > 20 else "")
        head = f"commit refs/heads/main\nmark :{k + 1}\nauthor {who} {at - 3600} +0000\ncommitter {who} {at} +0000\n"
        yield f"{head}data 8\n{k:07d}\n{parents}M 100644 inline f{k % 50}\ndata 3\n{k % 100:02d}\n".encode()
        if (k + 1) % (commits // tags) == 0:
            yield f"tag v{k}\nfrom :{k + 1}\ntagger {who} {at + 7200} +0000\ndata 2\nv\n\n".encode()


def git(folder: Path) -> bool:
    """Print how long both ways take; whether that is within what is promised."""
    repository = folder / "repository"
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    made = b"".join(stream(COMMITS, TAGS))
    subprocess.run(["git", "-C", str(repository), "fast-import", "--quiet"], input=made, check=True)
    worst = 0.0
    for ways in (("--tags", "v*"), ("--branch", "main")):
        out = folder / f"{ways[0]}.jsonl"
        took, peak = measured("ingest", "git", "--repo", str(repository), *ways, "--out", str(out))
        print(f"git {' '.join(ways)}: {COMMITS:,} commits, {TAGS} tags: {took:.1f} s, {peak / 2**20:.0f} MB")
        worst = max(worst, took)
    return worst <= SECONDS


def lines(count: int, *, short: bool) -> Iterator[str]:
    """Deployments, one a line, over a year."""
    for k in range(count):
        at = (START + timedelta(days=365) * (k / count)).isoformat().replace("+00:00", "Z")
        row = {"type": "deployment", "id": f"d{k:09}", "service": f"s{k % 20:02}", "environment": "production"}
        times = {"started_at": at, "finished_at": at}
        sha = f"{k * 2_654_435_761:040x}"
        more = {} if short else {"sha": sha, "changes": [{"sha": sha, "committed_at": at, "authored_at": at}]}
        yield json.dumps({**row, **times, **more}, separators=(",", ":")) + "\n"


def memory(folder: Path, count: int) -> bool:
    """Print the largest resident set of a report for both kinds of line."""
    path = folder / "events.jsonl"
    path.write_text("", encoding="utf-8")
    asked = ("report", "--events", str(path), "--at", "2026-01-01T00:00:00Z")
    _, nothing = measured(*asked)
    for name, short in (("with a commit", False), ("the shortest", True)):
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines(count, short=short))
        size = path.stat().st_size
        took, peak = measured(*asked)
        rate = (peak - nothing) / size
        sizes = f"{count:,} events, {size / 2**20:.0f} MB of JSON lines ({name})"
        print(f"{sizes}: {took:.0f} s, {peak / 2**20:.0f} MB, {nothing / 2**20:.0f} MB of it without an event")
        print(f"  2 GB of them would take about {(2**31 * rate + nothing) / 2**30:.1f} GB")
    return True


def measured(*words: str) -> tuple[float, int]:
    """Run node0 dora; its seconds and its largest resident set in bytes, looked at 50 times a second."""
    began, peak = time.perf_counter(), 0
    process = psutil.Popen([*NODE0, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if process.wait():
        raise SystemExit(f"node0 dora {' '.join(words)} failed")
    return time.perf_counter() - began, peak


def main() -> int:
    """Print what was measured; 1 if a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("git", "memory"))
    parser.add_argument("--events", type=int, default=500_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kept = [
            asked.part not in (None, "git") or git(Path(name)),
            asked.part not in (None, "memory") or memory(Path(name), asked.events),
        ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
