"""A real Prometheus for tests: started on a free loopback port, stopped at the end, and nothing else is touched.

``running_prometheus`` yields the base url of a server that scrapes itself; ``drive_traffic`` sends it requests of which
some fail and some are slow; ``backfill`` writes history into a data folder before the server starts on it;
``ask`` evaluates PromQL by a raw HTTP call that shares no code with node0.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import httpx
import pytest

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="install Debian's prometheus (it brings promtool)",
)
_DIRECT = build_opener(ProxyHandler({}))
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
) -> Iterator[str]:
    """Yield http://127.0.0.1:PORT of a Prometheus that is ready; ``folder`` takes its configuration, data and log.

    ``extra_targets`` are host:port texts that are scraped as job "extra". The server keeps 90 days.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prometheus.log").open("w", encoding="utf-8") as log:
        process, url = _start(folder, data_dir or folder / "data", scrape_interval, scrape_self, extra_targets, log)
        try:
            yield url
        finally:
            _stop(process)


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


def ask(url: str, path: str, **params: str) -> list[dict]:
    """Return ``data.result`` of a raw API call."""
    with _DIRECT.open(f"{url}/api/v1/{path}?{urlencode(params)}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


def ask_number(url: str, query: str, at: str) -> float:
    """Return the one number that PromQL answers at that instant."""
    (series,) = ask(url, "query", query=query, time=at)
    return float(series["value"][1])


def _start(folder, data_dir, scrape_interval, scrape_self, extra_targets, log):
    """Start on a free port; somebody may take it in between, so three ports are tried."""
    for _ in range(3):
        port = _free_port()
        config = folder / "prometheus.json"
        config.write_text(_config(port, scrape_interval, scrape_self, extra_targets), encoding="utf-8")
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data_dir}"]
        options = [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=90d"]
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        if _ready(process, f"http://127.0.0.1:{port}"):
            return process, f"http://127.0.0.1:{port}"
        _stop(process)
    raise AssertionError(f"prometheus did not start; see {folder / 'prometheus.log'}")


def _config(port: int, interval: str, scrape_self: bool, extra_targets: Sequence[str]) -> str:
    jobs = [("self", [f"127.0.0.1:{port}"])] if scrape_self else []
    jobs += [("extra", list(extra_targets))] if extra_targets else []
    scrapes = [{"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs]
    timing = {"scrape_interval": interval, "scrape_timeout": interval}
    return json.dumps({"global": timing, "scrape_configs": scrapes})  # JSON is YAML.


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(process: subprocess.Popen, url: str) -> bool:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            with _DIRECT.open(f"{url}/-/ready", timeout=5) as answer:
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
