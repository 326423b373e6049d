"""The metrics of a real installation: served, printed, left by cycles, and asked for by a real Prometheus."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed
from prometheus_server import ask, needs_prometheus, running_prometheus
from workspaces import NODE0, environment, make_workspace, node0, node0_json

from node0lib.shell.state import cycle_id
from node0lib.sli.histogram import Histogram

P95 = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"
AVAILABILITY = 'sum(rate(http_requests_total{code!~"5.."}[5m])) / sum(rate(http_requests_total[5m]))'
BUDGET = 'slo_error_budget_remaining{slo_name="api_availability"}'
BURN = 'slo_burn_rate{slo_name="api_availability",window="1h"}'
"""The four queries of the README."""
_DIRECT = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Installation:
    """A workspace whose metrics were served since before its first cycle, and how that cycle ended."""

    folder: Path
    url: str
    cycle: Mapping[str, Any]
    prometheus: str | None

    def samples(self) -> dict[str, list[Any]]:
        """Scrape once: samples by name."""
        with _DIRECT.open(self.url, timeout=30) as answer:
            return by_name(answer.read().decode())


def by_name(text: str) -> dict[str, list[Any]]:
    """Return the samples of the text format by their names."""
    found: dict[str, list[Any]] = {}
    for family in parsed(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def serving(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the endpoint of an installation on a free port."""
    command = [*NODE0, "metrics", "serve", "--port", "0", "--output", "json", *words]
    where: dict[str, Any] = {"cwd": folder, "env": environment(folder), "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **where)


def address(process: subprocess.Popen[str]) -> str:
    """Return where a server that has just started is ready."""
    assert process.stdout is not None
    document = "".join(process.stdout.readline() for _ in range(3))
    assert document, process.communicate(timeout=30)[1]
    return str(json.loads(document)["url"])


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; a scrape may come between two looks, and a minute may pass."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def answered(url: str, query: str) -> float | None:
    """Return the one number that a Prometheus answers now, None without any."""
    series = ask(url, "query", query=query)
    return float(series[0]["value"][1]) if len(series) == 1 else None


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An endpoint, scraped by a real Prometheus where there is one, before and after the installation's first cycle."""
    folder = tmp_path_factory.mktemp("served")
    make_workspace(folder, history="2h")
    process = serving(folder)
    try:
        url = address(process)
        if shutil.which("prometheus") is None:
            yield Installation(folder, url, node0_json(folder, "cycle", expect=3), None)
        else:
            with running_prometheus(
                tmp_path_factory.mktemp("prometheus"), scrape_self=False, extra_targets=(urlsplit(url).netloc,)
            ) as server:
                eventually(lambda: answered(server, "sum(http_requests_total)") == 0, "no scrape")
                yield Installation(folder, url, node0_json(folder, "cycle", expect=3), server)
    finally:
        process.terminate()
        told = process.communicate(timeout=30)[1]
    assert process.returncode == 0 or os.name == "nt", told
    assert told.count("\n") == 2 and told.startswith("serving metrics at http://127.0.0.1:"), told


def _status(here: Installation, slo: str) -> Mapping[str, Any]:
    return next(s for s in here.cycle["result"]["statuses"] if s["name"] == slo)


@pytest.mark.real
@needs_prometheus
def test_prometheus_answers_the_p95(here: Installation) -> None:
    """histogram_quantile over what was scraped is the quantile of the node's own histogram."""
    assert here.prometheus is not None
    server = here.prometheus

    def agrees() -> bool:
        counts: dict[float, float] = {}
        for sample in here.samples()["http_request_duration_seconds_bucket"]:
            counts[float(sample.labels["le"])] = counts.get(float(sample.labels["le"]), 0.0) + sample.value
        bounds = sorted(counts)
        own = Histogram(tuple(bounds[:-1]), tuple(int(counts[bound]) for bound in bounds)).estimate(0.95)
        told = answered(server, P95)
        return told is not None and math.isclose(told, own, rel_tol=1e-9) and 0.01 < own < 0.1

    eventually(agrees, P95)


@pytest.mark.real
@needs_prometheus
def test_prometheus_answers_the_availability(here: Installation) -> None:
    """The share of requests without a server error is that of the node's own counts."""
    assert here.prometheus is not None
    server = here.prometheus

    def agrees() -> bool:
        totals = {s.labels["code"]: s.value for s in here.samples()["http_requests_total"]}
        own, told = totals["200"] / sum(totals.values()), answered(server, AVAILABILITY)
        return told is not None and math.isclose(told, own, rel_tol=1e-12) and 0.99 < own < 1

    eventually(agrees, AVAILABILITY)


@pytest.mark.real
@needs_prometheus
@pytest.mark.parametrize(("query", "field"), [(BUDGET, "budget_left"), (BURN, "burn")])
def test_prometheus_answers_what_the_cycle_found(here: Installation, query: str, field: str) -> None:
    """Budget remaining and burn rate are, to the last bit, those of the newest cycle."""
    assert here.prometheus is not None
    server, found = here.prometheus, _status(here, "api_availability")[field]
    expected = min(1.0, max(0.0, found)) if field == "budget_left" else found["1h"]
    eventually(lambda: answered(server, query) == expected, query)


@pytest.mark.real
@needs_prometheus
def test_promtool_has_no_complaint(here: Installation) -> None:
    """promtool check metrics accepts names, types and help texts of all that is exported."""
    printed = node0(here.folder, "metrics", "export").stdout
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=printed, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_all_ways_out_give_the_same(here: Installation) -> None:
    """The endpoint, ``metrics export``, its file, and the module for a host that shells out agree byte for byte."""
    module = [sys.executable, "-m", "node0lib.prometheus_metrics", "--export"]
    where: dict[str, Any] = {"cwd": here.folder, "env": environment(here.folder), "capture_output": True}

    def agree() -> bool:
        with _DIRECT.open(here.url, timeout=30) as answer:
            served = answer.read()
        shelled = subprocess.run(module, **where, check=False)
        assert shelled.returncode == 0 and shelled.stderr == b""
        ran = node0(here.folder, "metrics", "export", "--out", "all.prom")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        return shelled.stdout == served == (here.folder / "all.prom").read_bytes()

    eventually(agree, "the ways out never agreed")


def test_families_are_there_as_json(here: Installation) -> None:
    """``--output json`` has the same families, an infinite burn among them as a string."""
    document = node0_json(here.folder, "metrics", "export")
    families = {family["name"]: family for family in document["families"]}
    assert "http_request_duration_seconds" in families
    burns = {(s["labels"]["slo_name"], s["labels"]["window"]): s["value"] for s in families["slo_burn_rate"]["samples"]}
    assert burns["api_availability", "1h"] == _status(here, "api_availability")["burn"]["1h"]
    assert burns["ihsan_compliance", "1h"] == "+Inf"


def test_a_port_in_use_ends_at_once(here: Installation) -> None:
    """A second server on the port says so in one line and ends with 1."""
    ran = node0(here.folder, "metrics", "serve", "--port", str(urlsplit(here.url).port))
    assert ran.returncode == 1 and ran.stdout == ""
    assert ran.stderr.startswith("error: 127.0.0.1:") and ran.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal for another process")
def test_ctrl_c_stops_the_server(here: Installation) -> None:
    """Ctrl-C ends the server with 0 and a last word."""
    process = serving(here.folder)
    address(process)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 0 and told.splitlines()[-1] == "stopped"


def _left(folder: Path) -> dict[str, list[Any]]:
    return by_name((folder / "data" / "metrics" / "node0.prom").read_text("utf-8"))


def _count(samples: dict[str, list[Any]], status: str) -> float:
    counts = samples["bizra_optimizer_cycle_duration_seconds_count"]
    return float(next(s.value for s in counts if s.labels["cycle_status"] == status))


def _no_report_can_be_written(reports: Path) -> None:
    """Folders lie where the next minutes' reports would, whichever cycle of its minute it is."""
    for minute in range(4):
        name = cycle_id(datetime.now(UTC).replace(second=0) + minute * timedelta(minutes=1))
        for path in (reports / f"{name}{suffix}.audit.html" for suffix in ("", "-2", "-3")):
            if not path.exists():
                path.mkdir()


def test_every_cycle_leaves_its_textfile(here: Installation, tmp_path: Path) -> None:
    """A blocked cycle, one that cannot write the file, and one that fails end as they would have; the rest is there."""
    folder = tmp_path / "w"
    for name in ("configs", "notebooks", "data", "evidence", "reports"):
        shutil.copytree(here.folder / name, folder / name)
    shutil.copytree(here.folder.parent / f"{here.folder.name}-keys", tmp_path / "w-keys")
    shutil.copy(here.folder / "constraints.txt", folder)
    left = _left(folder)
    assert _count(left, "blocked") == 1 and "http_requests_total" not in left
    assert {s.labels["slo_name"]: s.value for s in left["slo_error_budget_remaining"]}["ihsan_compliance"] == 0

    shutil.rmtree(folder / "data" / "metrics")
    (folder / "data" / "metrics").write_text("in the way", "utf-8")
    told = node0_json(folder, "cycle", "--force", expect=3)
    assert told["notice"].startswith("the metrics were not written (data") and "provenance" in told["files"]

    (folder / "data" / "metrics").unlink()
    _no_report_can_be_written(folder / "reports")
    failed = node0(folder, "cycle", "--force")
    assert failed.returncode == 1 and ".audit.html: cannot be written" in failed.stderr
    left = _left(folder)
    assert (_count(left, "blocked"), _count(left, "failed")) == (2, 1)
    assert "slo_burn_rate" not in left and "node0_last_cycle_timestamp_seconds" in left
