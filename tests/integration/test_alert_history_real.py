"""``node0 alerts replay --from`` on a real Prometheus: read once, kept, and what it says is what happened there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result
from matplotlib.image import imread
from prometheus_server import _DIRECT, ask_number, backfill, needs_prometheus, running_prometheus
from workspaces import make_workspace

from node0lib.shell.cli import main
from node0lib.timespan import format_instant, parse_instant

pytestmark = [pytest.mark.real, needs_prometheus]
SCREENSHOTS = Path(__file__).parents[1] / "output"
CHROMIUM = shutil.which("chromium")
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
BEGIN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 16 * DAY
END = BEGIN + 14 * DAY
OUTAGE = BEGIN + 8 * DAY + 10 * HOUR
SCRAPE_S = 30
INSTALLATION = """ihsan: ../ihsan.yaml
policy: ../alpha.policy.json
mode: recommend
telemetry: {kind: prometheus, url: "URL", delay: 5s, scrape_interval: 30s}
target: {kind: none}
slo:
  slos:
    - name: jobs
      kind: ratio
      objective: 0.999
      window: 30d
      queries: {bad: 'sum(increase(jobs_total{result="failed"}[$window]))', total: "sum(increase(jobs_total[$window]))"}
    - name: nowhere
      kind: ratio
      objective: 0.999
      window: 30d
      queries: {good: "sum(increase(nothing_good[$window]))", total: "sum(increase(nothing_total[$window]))"}
"""


def _history() -> str:
    """Two weeks of 20 jobs a scrape; half fail for 20 minutes, and for an hour nobody scraped, as OpenMetrics."""
    count = int((END - BEGIN).total_seconds()) // SCRAPE_S
    times = np.arange(count) * SCRAPE_S
    outage = int((OUTAGE - BEGIN).total_seconds())
    failing = (times > outage) & (times <= outage + 1200)
    rng = np.random.default_rng(5)
    failed = np.where(failing, 10, rng.binomial(20, 0.0002, count))
    gap = (times >= 10 * 86_400) & (times < 10 * 86_400 + 3600)
    lines = ["# TYPE jobs counter"]
    for result, values in (("ok", 20 - failed), ("failed", failed)):
        rows = zip(times[~gap], np.cumsum(values)[~gap], strict=True)
        begin = int(BEGIN.timestamp())
        lines += [f'jobs_total{{result="{result}"}} {value} {begin + second}' for second, value in rows]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An installation on a Prometheus with two weeks of backfilled history, and the server's url."""
    folder = tmp_path_factory.mktemp("replay")
    backfill(_history(), folder / "tsdb")
    with running_prometheus(folder, data_dir=folder / "tsdb", scrape_self=False) as url:
        made = make_workspace(folder / "w")
        (made / "configs" / "examples" / "here.yaml").write_text(INSTALLATION.replace("URL", url), "utf-8")
        yield made, url


@pytest.fixture(autouse=True)
def here(place: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation is the current folder, with an empty cache."""
    monkeypatch.chdir(place[0])
    monkeypatch.setenv("COLUMNS", "80")
    shutil.rmtree(_data(place[0]) / "cache", ignore_errors=True)


def _data(folder: Path) -> Path:
    return folder / "data" if (folder / "data").exists() else folder / "configs" / "data"


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, ["alerts", "replay", "-c", "configs/examples/here.yaml", *words])


def _document(*words: str) -> dict[str, Any]:
    done = _run("--slo", "jobs", *words, "--output", "json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _requests(url: str) -> int:
    """How many range queries the server has answered so far, by its own count."""
    with _DIRECT.open(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    pattern = r'(?m)^prometheus_http_requests_total\{code="200",handler="/api/v1/query_range"\} (\S+)'
    found = re.search(pattern, text)
    return int(float(found[1])) if found else 0


def _span(start: datetime, end: datetime) -> tuple[str, ...]:
    return "--from", format_instant(start), "--to", format_instant(end)


def test_a_second_run_asks_nothing_and_says_the_same(place: tuple[Path, str]) -> None:
    """Both queries come in chunks of a week; then the cache answers; then a longer range asks for its new days only."""
    _, url = place
    span, before = _span(BEGIN + 4 * DAY, BEGIN + 12 * DAY), _requests(url)
    first = _document(*span)
    asked = _requests(url) - before
    assert asked == 4, "eleven days with the lead, two queries, two chunks"
    assert first["cache"] == {"kept": 0, "read": 11 * 1440}
    second = _document(*span)
    assert _requests(url) - before == asked
    assert second.pop("cache") == {"kept": 11 * 1440, "read": 0}
    del first["cache"]
    assert first == second
    longer = _document(*_span(BEGIN + 4 * DAY, BEGIN + 13 * DAY))
    assert _requests(url) - before == asked + 2
    assert longer["cache"] == {"kept": 11 * 1440, "read": 1440}
    assert _document(*span, "--fresh")["cache"]["read"] == 11 * 1440


def test_the_outage_is_found_where_it_was(place: tuple[Path, str]) -> None:
    """It is paged after two minutes (14.4 x 0.001 x 60 / 0.5 = 1.7), the gap and the true budget spent are told."""
    folder, url = place
    labels = folder / "labels.csv"
    rows = [f"{format_instant(OUTAGE)},{format_instant(OUTAGE + 20 * MINUTE)},half of the jobs"]
    labels.write_text("\n".join(["start,end,name", *rows, ""]), "utf-8")
    document = _document(*_span(BEGIN + 4 * DAY, END), "--labels", str(labels), "--policy", "name:pyrra")
    own = document["policies"][0]
    assert document["source"]["address"] == url and document["source"]["simulated"] is False
    assert [page["true"] for page in own["pages"]] == [True]
    assert timedelta(0) <= parse_instant(own["pages"][0]["start"]) - OUTAGE <= 2 * MINUTE
    (incident,) = document["labels"]["incidents"]
    assert incident["budget_spent"] == pytest.approx(0.5 * 20 / (0.001 * 43_200), rel=1e-3)
    (gap,) = document["observed"]["gaps"]
    assert abs(parse_instant(gap["from"]) - (BEGIN + 10 * DAY)) <= 2 * MINUTE
    assert "of the range was observed: a gap of" in document["notes"][0]
    spoken = f'sum(increase(jobs_total{{result="failed"}}[1h])) / sum(increase(jobs_total[1h])) > {0.0144!r}'
    at = parse_instant(own["pages"][0]["start"]) + 10 * MINUTE
    assert ask_number(url, spoken, str(at.timestamp())) > 0.0144, "the server's own expression burns then, too"


def test_a_name_that_answers_nothing_is_one_clear_error(place: tuple[Path, str]) -> None:
    """No history is exit code 1, with the range; nothing of it is kept."""
    done = _run("--slo", "nowhere", *_span(BEGIN + 12 * DAY, END))
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    assert "nothing was observed" in done.stderr or "two samples" in done.stderr
    assert not list(_data(place[0]).glob("cache/series/*/*.parquet"))


def test_a_server_that_is_gone_is_told_unless_the_cache_has_it_all(place: tuple[Path, str]) -> None:
    """A read that fails is exit code 1; what is kept needs no server."""
    folder, url = place
    gone = folder / "configs" / "examples" / "here.yaml"
    text = gone.read_text("utf-8")
    try:
        gone.write_text(text.replace(url, "http://127.0.0.1:9").replace("delay: 5s", "delay: 5s, attempts: 1"), "utf-8")
        done = _run("--slo", "jobs", *_span(BEGIN + 12 * DAY, END))
    finally:
        gone.write_text(text, "utf-8")
    assert done.exit_code == 1 and "error: jobs: " in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: install Debian's chromium")
def test_the_report_is_shown_by_a_real_browser(place: tuple[Path, str], tmp_path: Path) -> None:
    """The page has its headings, its pictures with descriptions, its colours; a screenshot is kept."""
    folder, _ = place
    labels = folder / "labels.csv"
    rows = [f"{format_instant(OUTAGE)},{format_instant(OUTAGE + 20 * MINUTE)},half of the jobs"]
    labels.write_text("\n".join(["start,end,name", *rows, ""]), "utf-8")
    names = ("workbook", "pyrra", "dynamic", "approach-1", "approach-4")
    policies = [word for name in names for word in ("--policy", f"name:{name}")]
    report = tmp_path / "replay.html"
    span = _span(BEGIN + 4 * DAY, END)
    done = _run("--slo", "jobs", *span, "--labels", str(labels), *policies, "--report", str(report))
    assert done.exit_code == 0, done.output
    SCREENSHOTS.mkdir(exist_ok=True)
    shot = SCREENSHOTS / "alert-replay.png"
    dom = _browse(tmp_path, report, "--dump-dom")
    page = BeautifulSoup(dom, "html.parser")
    assert [h.get_text() for h in page.find_all("h1")] == ["What would have paged for jobs"]
    assert all(page.find(id=str(a["href"])[1:]) for a in page.select("nav a"))
    assert len(page.select("figure img[alt]")) == 2 and "SIMULATED" not in dom
    _browse(tmp_path, report, "--window-size=1280,3000", f"--screenshot={shot}")
    pixels = (imread(shot)[:, :, :3] * 255).round().astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0x1B, 0x27, 0x33)):
        assert (np.abs(pixels - colour).max(axis=2) < 8).sum() > 100, colour


def _browse(folder: Path, page: Path, *options: str) -> str:
    always = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
    always += ("--host-resolver-rules=MAP * ~NOTFOUND",)
    command = [str(CHROMIUM), *always, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True).stdout
