"""Real servers for tests: started on a free loopback port, stopped at the end, and nothing else is touched.

``running_prometheus`` yields the base url of a Prometheus that scrapes itself, 2.x or (``binary="prometheus3"``) 3.x;
``drive_traffic`` sends it requests of which some fail and some are slow; ``backfill`` writes history into a data folder
before the server starts on it. ``running_victoria_metrics`` yields the base url of an empty VictoriaMetrics, into which
``import_history`` puts the same text. ``ask`` evaluates PromQL by a raw HTTP call that shares no code with node0.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import httpx
import pytest

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="install Debian's prometheus (it brings promtool)",
)
needs_prometheus3 = pytest.mark.skipif(
    shutil.which("prometheus3") is None,
    reason="put the prometheus binary of Debian's suite sid (3.x) on PATH under the name prometheus3",
)
needs_victoria_metrics = pytest.mark.skipif(
    shutil.which("victoria-metrics") is None, reason="install Debian's victoria-metrics"
)
_DIRECT = build_opener(ProxyHandler({}))
_SELF = "the server's own address"
_SLOW = "/api/v1/query?query=sum_over_time(vector(1)[400000s:1s])"
_TRAFFIC = (
    "/api/v1/query?query=up",
    "/api/v1/query?query=sum(rate(prometheus_http_requests_total[30s]))",
    "/api/v1/query?query=sum(",  # HTTP 400
    "/api/v1/labels",
    "/metrics",
    "/api/v1/query_range?query=up&start=1&end=2&step=0",  # HTTP 400
)


@contextmanager
def running_prometheus(
    folder: Path,
    *,
    data_dir: Path | None = None,
    scrape_interval: str = "1s",
    scrape_self: bool = True,
    extra_targets: Sequence[str] = (),
    binary: str = "prometheus",
    options: Sequence[str] = (),
    scrape: Mapping[str, object] | None = None,
) -> Iterator[str]:
    """Yield http://127.0.0.1:PORT of a Prometheus that is ready; ``folder`` takes its configuration, data and log.

    ``extra_targets`` are host:port texts that are scraped as job "extra". The server keeps 90 days. ``options`` are
    more flags of its command line, ``scrape`` more keys of every scrape configuration.
    """
    jobs = {"self": [_SELF]} if scrape_self else {}
    jobs |= {"extra": list(extra_targets)} if extra_targets else {}
    timing = {"scrape_interval": scrape_interval, "scrape_timeout": scrape_interval}
    scrapes = [
        {"job_name": job, "static_configs": [{"targets": targets}], **(scrape or {})} for job, targets in jobs.items()
    ]
    config = folder / "prometheus.json"

    def command(port: int) -> list[str]:
        text = json.dumps({"global": timing, "scrape_configs": scrapes}).replace(_SELF, f"127.0.0.1:{port}")
        config.write_text(text, encoding="utf-8")  # JSON is YAML.
        stored = [f"--storage.tsdb.path={data_dir or folder / 'data'}", "--storage.tsdb.retention.time=90d"]
        return [binary, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", *stored, *options]

    with running(folder, Path(binary).name, command, "/-/ready") as url:
        yield url


@contextmanager
def running_victoria_metrics(folder: Path, *, options: Sequence[str] = ()) -> Iterator[str]:
    """Yield http://127.0.0.1:PORT of an empty VictoriaMetrics that keeps a hundred years; ``folder`` takes its data."""

    def command(port: int) -> list[str]:
        stored = [f"-storageDataPath={folder / 'data'}", "-retentionPeriod=100y", "-memory.allowedPercent=10"]
        return ["victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", *stored, *options]

    with running(folder, "victoria-metrics", command, "/health") as url:
        yield url


@contextmanager
def running(folder: Path, name: str, command: Callable[[int], list[str]], ready: str) -> Iterator[str]:
    """Yield the base url of a server started by ``command(port)``, once its path ``ready`` answers 200.

    Somebody may take the free port in between, so three are tried. The log is ``folder/NAME.log``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        for _ in range(3):
            port = _free_port()
            process, url = subprocess.Popen(command(port), stdout=log, stderr=log), f"http://127.0.0.1:{port}"
            try:
                if _ready(process, f"{url}{ready}"):
                    yield url
                    return
            finally:
                _stop(process)
    raise AssertionError(f"{name} did not start; see {folder / name}.log")


def drive_traffic(url: str, seconds: float) -> int:
    """Send requests for that long, a third failing, ten in a hundred slow; return how many were sent."""
    end, sent = time.monotonic() + seconds, 0
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        while time.monotonic() < end:
            slow = 50 <= sent % 100 < 60
            client.get(_SLOW if slow else _TRAFFIC[sent % len(_TRAFFIC)])
            sent += 1
            time.sleep(0.01)
    return sent


def backfill(openmetrics: str, data_dir: Path) -> None:
    """Write blocks of that OpenMetrics text (it ends with ``# EOF``) into ``data_dir``."""
    data_dir.mkdir(parents=True, exist_ok=True)
    source = data_dir.with_suffix(".openmetrics")
    source.write_text(openmetrics, encoding="utf-8")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h"]
    done = subprocess.run([*command, str(source), str(data_dir)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def import_history(url: str, openmetrics: str) -> None:
    """Put that OpenMetrics text (times in seconds) into a VictoriaMetrics, and wait until it can be asked for."""
    samples = (line.rsplit(" ", 1) for line in openmetrics.splitlines() if line and not line.startswith("#"))
    body = "".join(f"{sample} {round(float(seconds) * 1000)}\n" for sample, seconds in samples)
    for path, data in (("/api/v1/import/prometheus", body.encode()), ("/internal/force_flush", None)):
        with _DIRECT.open(Request(f"{url}{path}", data=data), timeout=60) as answer:
            assert answer.status in {200, 204}


def ask(url: str, path: str, **params: str) -> list[dict]:
    """Return ``data.result`` of a raw API call."""
    return ask_raw(url, path, **params)["result"]


def ask_raw(url: str, path: str, **params: str) -> dict:
    """Return ``data`` of a raw API call."""
    with _DIRECT.open(f"{url}/api/v1/{path}?{urlencode(params)}", timeout=60) as answer:
        return json.load(answer)["data"]


def ask_number(url: str, query: str, at: str) -> float:
    """Return the one number that PromQL answers at that instant."""
    (series,) = ask(url, "query", query=query, time=at)
    return float(series["value"][1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(process: subprocess.Popen, url: str) -> bool:
    """Whether ``url`` answers 200 within a minute, while the process lives."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            with _DIRECT.open(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
