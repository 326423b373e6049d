"""The Prometheus source against a server that misbehaves: a real loopback HTTP server, one behaviour a test."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import ipaddress
import json
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from node0lib.errors import ConfigError, DataError, RunError
from node0lib.shell import promhttp
from node0lib.shell.prometheus import Endpoint, PrometheusSource
from node0lib.sli.series import Counts
from node0lib.slo.objective import Objective
from node0lib.timespan import Span

AT = datetime(2026, 1, 31, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RATIO = Objective("api", "ratio", 0.99, 30 * DAY, queries={"good": "good[$window]", "total": "total[$window]"})
BUCKETS = {"buckets": "buckets[$window]"}
LATENCY = Objective("lat", "latency", 0.99, 30 * DAY, queries=BUCKETS, threshold_s=0.2)
SLICES = Objective("p95", "timeslice", 0.9, HOUR, queries=BUCKETS, threshold_s=0.2, quantile=0.95)
GAUGE = Objective("ihsan", "invariant", 1.0, HOUR, queries={"gauge": "score"}, minimum=100.0)


class Server(ThreadingHTTPServer):
    """Answers as ``behave(params, count of requests so far)`` says; keeps what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behave: Callable[[dict[str, str], int], Any]) -> None:
        self.behave = behave
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.over = threading.Event()
        self.waited_for = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, query: str) -> int:
        return sum(params["query"] == query for _, params, _ in self.seen)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some of these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])).decode("ascii"))

    def _answer(self, form: str) -> None:
        params = {name: values[0] for name, values in parse_qs(form).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, {**params, "path": urlsplit(self.path).path}, headers))
        answer = self.server.behave(params, len(self.server.seen))
        if callable(answer):
            answer(self)
            self.close_connection = True
        else:
            self._send(*answer)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(behave: Callable[[dict[str, str], int], Any]) -> Iterator[Server]:
    """A server on a free port for the time of the block."""
    server = Server(behave)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def ok(kind: str, result: Any, **more: Any) -> tuple[int, bytes, dict[str, str]]:
    """A successful answer."""
    document = {"status": "success", "data": {"resultType": kind, "result": result}, **more}
    return 200, json.dumps(document).encode(), {}


def failed(status: int, kind: str, error: str) -> tuple[int, bytes, dict[str, str]]:
    """An error as Prometheus words it."""
    return status, json.dumps({"status": "error", "errorType": kind, "error": error}).encode(), {}


def number(value: str) -> tuple[int, bytes, dict[str, str]]:
    """A vector of one sample."""
    return ok("vector", [{"metric": {}, "value": [AT.timestamp(), value]}])


def line(params: dict[str, str], value: Callable[[float], str], **labels: str) -> dict[str, Any]:
    """A series with a value at each instant that is asked for."""
    start, end, step = (round(float(params[name]) * 1000) for name in ("start", "end", "step"))
    return {"metric": labels, "values": [[t / 1000, value(t / 1000)] for t in range(start, end + 1, step)]}


def healthy(params: dict[str, str], _: int) -> tuple[int, bytes, dict[str, str]]:
    """99 good of 100, always observed."""
    if "step" in params:
        return ok("matrix", [line(params, lambda _: "100")])
    return number("99" if params["query"].startswith("good") else "100")


def read(url: str, slo: Objective = RATIO, window: timedelta = HOUR, **options: Any) -> Counts:
    """Read one window with little patience."""
    patience = {"timeout": SECOND, "attempts": 1, **options}
    with PrometheusSource(Endpoint(url, **patience)) as source:
        return source.counts(slo, window, AT)


def problem(behave: Callable[[dict[str, str], int], Any], slo: Objective = RATIO, **options: Any) -> str:
    """Why such a server gives no data."""
    with serving(behave) as server:
        counts = read(server.url, slo, **options)
    assert (counts.good, counts.total, counts.coverage) == (0.0, 0.0, 0.0)
    assert counts.problem is not None
    return counts.problem


# ---- what is read -----------------------------------------------------------------------------------------------


def test_a_healthy_server_is_read() -> None:
    """Good, total and coverage arrive; the window is put in; the instant is exact; the name is plain."""
    with serving(healthy) as server:
        assert read(server.url) == Counts(99.0, 100.0, 1.0)
        assert PrometheusSource(Endpoint(server.url)).name == f"prometheus at {server.url}"
    (_, good, _), (_, total, _), (_, coverage, _) = server.seen
    assert (good["path"], good["query"], good["time"]) == ("/api/v1/query", "good[1h]", "1769817600.000")
    assert total["query"] == "total[1h]"
    assert (coverage["path"], coverage["query"], coverage["step"]) == ("/api/v1/query_range", "total[2m]", "60.000")


def test_coverage_is_asked_once_and_counts_finite_points() -> None:
    """NaN and missing instants are not covered; a window under 5 minutes is looked at ten times; asked once each."""

    def behave(params: dict[str, str], count: int) -> Any:
        if "step" not in params:
            return healthy(params, count)
        series = line(params, lambda t: "NaN" if t > AT.timestamp() - 30 else "1")
        return ok("matrix", [{**series, "values": series["values"][2:]}])

    with serving(behave) as server, PrometheusSource(Endpoint(server.url)) as source:
        assert source.counts(RATIO, 100 * SECOND, AT).coverage == pytest.approx(0.5)  # Two missing, three NaN.
        source.counts(RATIO, 100 * SECOND, AT)
    ranges = [params for _, params, _ in server.seen if "step" in params]
    assert [(params["query"], params["step"]) for params in ranges] == [("total[1m40s]", "10.000")]


def test_a_prefix_of_the_url_is_kept() -> None:
    """A server behind a path prefix is asked under the prefix."""
    with serving(healthy) as server:
        assert read(f"{server.url}/mimir/prometheus/").observed
    assert server.seen[0][1]["path"] == "/mimir/prometheus/api/v1/query"


def test_scalar_and_gzip_are_understood() -> None:
    """A scalar counts like a vector of one, and a compressed answer is decompressed."""

    def behave(params: dict[str, str], count: int) -> Any:
        if "step" in params:
            return healthy(params, count)
        status, body, headers = ok("scalar", [AT.timestamp(), "50"])
        return status, gzip.compress(body), {**headers, "Content-Encoding": "gzip"}

    with serving(behave) as server:
        assert read(server.url) == Counts(50.0, 50.0, 1.0)
    assert "gzip" in server.seen[0][2]["accept-encoding"]


def test_good_above_total_is_clamped() -> None:
    """Extrapolation can lift good above total: it is clamped, and the clamp is counted."""

    def behave(params: dict[str, str], count: int) -> Any:
        return number("100.5") if params["query"].startswith("good") else healthy(params, count)

    with serving(behave) as server:
        assert read(server.url) == Counts(100.0, 100.0, 1.0, clamped=1)


def buckets(params: dict[str, str], counts: dict[str, str], **more: str) -> Any:
    """Classic buckets by le, the same at every instant."""
    if "step" in params:
        return ok("matrix", [line(params, lambda _, v=v: v, le=le, **more) for le, v in counts.items()])
    return ok("vector", [{"metric": {"le": le, **more}, "value": [0, v]} for le, v in counts.items()])


def test_latency_takes_the_bucket_at_the_threshold() -> None:
    """Good is the bucket whose bound equals the threshold; "0.2" and "0.20" are one bound."""
    with serving(lambda params, _: buckets(params, {"0.1": "5", "0.2": "60", "0.20": "30", "+Inf": "100"})) as server:
        assert read(server.url, LATENCY) == Counts(90.0, 100.0, 1.0)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"0.2": "9"}, 'no bucket le="+Inf"'),
        ({"fast": "9", "+Inf": "10"}, "le is 'fast', no number; wrap it in sum by (le)"),
        ({"0.2": "NaN", "+Inf": "10"}, "good is nan"),
    ],
)
def test_buckets_that_do_not_fit_are_refused(counts: dict[str, str], reason: str) -> None:
    """What is no histogram, or has no numbers at the threshold, is no data with the reason."""
    assert reason in problem(lambda params, _: buckets(params, counts), LATENCY)


@pytest.mark.parametrize(
    ("counts", "good", "most", "around"),
    [
        ({"0.1": "5", "0.5": "9", "+Inf": "10"}, 5.0, 9.0, "0.1 and 0.5"),
        ({"0.5": "9", "+Inf": "10"}, 0.0, 9.0, "0 and 0.5"),
        ({"0.1": "9", "+Inf": "10"}, 9.0, 10.0, "0.1 and inf"),
    ],
)
def test_a_threshold_between_bounds_gives_bounds(
    counts: dict[str, str], good: float, most: float, around: str
) -> None:
    """Between two bucket bounds good is the lower count, good_most the upper one, and the note names the bounds."""
    with serving(lambda params, _: buckets(params, counts)) as server:
        found = read(server.url, LATENCY)
        with PrometheusSource(Endpoint(server.url)) as source:
            series = source.series(LATENCY, Span.ending(AT, 5 * MINUTE), MINUTE)
    assert (found.good, found.good_most, found.total, found.problem) == (good, most, 10.0, None)
    assert found.note is not None and f"between the bucket bounds {around}" in found.note
    np.testing.assert_array_equal(series.good, [good] * 5)


def test_buckets_that_fall_are_noted() -> None:
    """Counts that fall from one bound to the next are reported as they are, with a note; a little is extrapolation."""
    for second, noted in (("40", True), ("49.9", False)):
        counts = {"0.1": "50", "0.2": second, "0.5": "90", "+Inf": "100"}
        with serving(lambda params, _, counts=counts: buckets(params, counts)) as server:
            found = [read(server.url, replace(slo, threshold_s=t)) for slo in (LATENCY, SLICES) for t in (0.2, 0.5)]
        assert found[0].good == float(second)
        assert [("fall between the bounds 0.1 and 0.2" in str(f.note)) for f in found] == [noted] * 4


def test_bounds_that_are_one_are_exact() -> None:
    """A threshold between two bounds that hold the same count is exact after all, without a note."""
    with serving(lambda params, _: buckets(params, {"0.1": "9", "0.5": "9", "+Inf": "10"})) as server:
        assert read(server.url, LATENCY) == Counts(9.0, 10.0, 1.0)


def test_slices_between_bounds_are_sure_or_possible() -> None:
    """A slice whose least count meets the quantile is good, one whose most does is possibly good."""

    def behave(params: dict[str, str], _: int) -> Any:
        def ahead(t: float) -> int:
            return round((AT.timestamp() - t) / 60)

        under = line(params, lambda t: "95" if ahead(t) < 20 else "90", le="0.1")
        above = line(params, lambda t: "99" if ahead(t) < 50 else "94", le="0.5")
        return ok("matrix", [under, above, line(params, lambda _: "100", le="+Inf")])

    with serving(behave) as server:
        found = read(server.url, SLICES)
    assert (found.good, found.good_most, found.total) == (20.0, 50.0, 60.0)
    assert found.note is not None and "0.1 and 0.5" in found.note


def native(*shown: tuple[int, str, str, str], count: str = "100") -> dict[str, Any]:
    """A native histogram as the API writes it."""
    return {"count": count, "sum": "1", "buckets": [list(bucket) for bucket in shown]}


def natives(params: dict[str, str], *shown: tuple[int, str, str, str], **labels: str) -> Any:
    """One native histogram, the same at every instant."""
    if "step" in params:
        points = line(params, lambda _: "0")["values"]
        return ok("matrix", [{"metric": labels, "histograms": [[t, native(*shown)] for t, _ in points]}])
    return ok("vector", [{"metric": labels, "histogram": [AT.timestamp(), native(*shown)]}])


SPARSE = ((0, "0.05", "0.125", "60"), (0, "0.125", "0.25", "30"), (0, "0.5", "1", "10"))


@pytest.mark.parametrize(
    ("threshold", "good", "most"), [(0.125, 60, None), (0.2, 60, 90), (0.25, 90, None), (0.4, 90, None), (9, 100, None)]
)
def test_native_histograms_are_read(threshold: float, good: float, most: float | None) -> None:
    """A native histogram is exact at its boundaries and where it has no bucket, and within bounds inside one."""
    slo = replace(LATENCY, threshold_s=threshold)
    with serving(lambda params, _: natives(params, *SPARSE)) as server:
        found = read(server.url, slo)
        with PrometheusSource(Endpoint(server.url)) as source:
            series = source.series(slo, Span.ending(AT, 5 * MINUTE), MINUTE)
    assert (found.good, found.good_most, found.total, found.coverage) == (good, most, 100.0, 1.0)
    assert (found.note is None) == (most is None)
    np.testing.assert_array_equal(series.good, [good] * 5)
    np.testing.assert_array_equal(series.total, [100.0] * 5)


def test_native_slices_are_judged() -> None:
    """A slice of a native histogram is good if the share at or under the threshold meets the quantile."""
    for threshold, good, most in ((0.25, 0.0, None), (0.6, 0.0, 60.0), (1.0, 60.0, None)):
        with serving(lambda params, _: natives(params, *SPARSE)) as server:
            found = read(server.url, replace(SLICES, threshold_s=threshold))
        assert (found.good, found.good_most, found.total) == (good, most, 60.0)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([{"metric": {"pod": p}, "histogram": [0, native(*SPARSE)]} for p in "ab"], "2 native histograms"),
        ([{"metric": {}, "histogram": [0, {"count": "many"}]}], "a native histogram is malformed (ValueError"),
        ([{"metric": {}, "histogram": [0, native((0, "1", "2", "200"))]}], "more than its count"),
        (
            [{"metric": {}, "histogram": [0, native()]}, {"metric": {"le": "+Inf"}, "value": [0, "1"]}],
            "numbers and native histograms at once",
        ),
    ],
)
def test_native_histograms_that_cannot_be_are_refused(result: list[Any], reason: str) -> None:
    """Several native histograms, a mixture with numbers, or nonsense is no data with the reason."""
    assert reason in problem(lambda *_: ok("vector", result), LATENCY)


# ---- bad events -------------------------------------------------------------------------------------------------

BAD = Objective("api", "ratio", 0.99, 30 * DAY, queries={"bad": "bad[$window]", "total": "total[$window]"})


def counting(bad: Any) -> Callable[[dict[str, str], int], Any]:
    """A server with 100 events at every instant, of which ``bad`` answers how many are bad."""
    return lambda params, n: bad(params) if params["query"].startswith("bad") else healthy(params, n)


@pytest.mark.parametrize(("bad", "good", "clamped"), [("0", 100, 0), ("2.5", 97.5, 0), ("100", 0, 0), ("101", 0, 1)])
def test_good_is_what_is_not_bad(bad: str, good: float, clamped: int) -> None:
    """Good is total - bad; bad above total is clamped to no good events, and counted."""

    def behave(params: dict[str, str]) -> Any:
        return ok("matrix", [line(params, lambda _: bad)]) if "step" in params else number(bad)

    with serving(counting(behave)) as server, PrometheusSource(Endpoint(server.url)) as source:
        assert source.counts(BAD, HOUR, AT) == Counts(good, 100.0, 1.0, clamped=clamped)
        series = source.series(BAD, Span.ending(AT, 5 * MINUTE), MINUTE)
    np.testing.assert_array_equal(series.good, [good] * 5)
    assert series.clamped == 5 * clamped


def test_no_series_of_bad_events_is_no_bad_event_with_a_note() -> None:
    """An empty answer for bad, with total there, counts as none and says so; instants without it count as none too."""

    def behave(params: dict[str, str]) -> Any:
        if "step" not in params:
            return ok("vector", [])
        series = line(params, lambda _: "4")
        return ok("matrix", [{**series, "values": series["values"][3:]}])

    with serving(counting(behave)) as server, PrometheusSource(Endpoint(server.url)) as source:
        found = source.counts(BAD, HOUR, AT)
        series = source.series(BAD, Span.ending(AT, 5 * MINUTE), MINUTE)
    assert (found.good, found.total, found.coverage, found.problem) == (100.0, 100.0, 1.0, None)
    assert found.note is not None and "queries.bad: no series, counted as no bad events" in found.note
    np.testing.assert_array_equal(series.good, [100, 100, 100, 96, 96])


def test_bad_events_without_a_total_are_no_data() -> None:
    """Without a total nothing was observed, whether or not bad events were."""
    for bad in ([], [{"metric": {}, "value": [0, "1"]}]):
        answers = {"bad": ok("vector", bad), "total": ok("vector", [])}
        text = problem(lambda params, _, answers=answers: answers[params["query"].split("[")[0]], BAD)
        assert "queries.total: no series" in text


@pytest.mark.parametrize(("bad", "reason"), [("-1", "queries.bad: bad is -1"), ("NaN", "good is nan")])
def test_bad_events_that_are_no_count_are_refused(bad: str, reason: str) -> None:
    """A negative number of bad events, or none at all, is no data."""
    assert reason in problem(counting(lambda _: number(bad)), BAD)


def test_a_nan_among_bad_events_is_not_observed() -> None:
    """A bad sample that is NaN is not the same as none: its bucket is a gap."""

    def behave(params: dict[str, str]) -> Any:
        return ok("matrix", [line(params, lambda t: "NaN" if t == AT.timestamp() else "1")])

    with serving(counting(behave)) as server, PrometheusSource(Endpoint(server.url)) as source:
        series = source.series(BAD, Span.ending(AT, 3 * MINUTE), MINUTE)
    np.testing.assert_array_equal(series.good, [99, 99, np.nan])


def test_good_and_bad_together_are_a_config_error() -> None:
    """A ratio has good or bad events, not both."""
    both = replace(BAD, queries={**BAD.queries, "good": "good[$window]"})
    with (
        PrometheusSource(Endpoint("http://127.0.0.1:9")) as source,
        pytest.raises(ConfigError, match="keep one of them"),
    ):
        source.counts(both, HOUR, AT)


# ---- histograms that are none -----------------------------------------------------------------------------------


def test_buckets_of_several_series_are_refused() -> None:
    """Buckets that were not summed over their other labels say so."""

    def behave(params: dict[str, str], _: int) -> Any:
        return ok("vector", [{"metric": {"le": "+Inf", "pod": p}, "value": [0, "1"]} for p in "ab"])

    assert "several series for one bound; wrap it in sum by (le)" in problem(behave, LATENCY)


def test_slices_without_traffic_are_not_counted() -> None:
    """Of 60 slices 40 are observed, 30 have traffic, and 20 of these meet the bound."""

    def behave(params: dict[str, str], _: int) -> Any:
        def minute(t: float) -> int:
            return 60 - round((AT.timestamp() - t) / 60)  # 1..60

        under = line(params, lambda t: "0" if minute(t) > 30 else "95" if minute(t) > 10 else "94", le="0.2")
        total = line(params, lambda t: "0" if minute(t) > 30 else "100", le="+Inf")
        observed = [{**s, "values": s["values"][:40]} for s in (under, total)]
        return ok("matrix", observed)

    with serving(behave) as server:
        assert read(server.url, SLICES) == Counts(20.0, 30.0, pytest.approx(40 / 60))
        with PrometheusSource(Endpoint(server.url)) as source:
            series = source.series(SLICES, Span.ending(AT, HOUR), 10 * MINUTE)
    np.testing.assert_array_equal(series.good, [0, 10, 10, 0, np.nan, np.nan])
    np.testing.assert_array_equal(series.total, [10, 10, 10, 0, np.nan, np.nan])
    assert {params["query"] for _, params, _ in server.seen} == {"buckets[1m]"}


def test_an_invariant_counts_samples() -> None:
    """A gauge is sampled each minute; samples at or above the minimum are good."""

    def behave(params: dict[str, str], _: int) -> Any:
        return ok("matrix", [line(params, lambda t: "99.9" if t == AT.timestamp() else "100")])

    with serving(behave) as server:
        assert read(server.url, GAUGE) == Counts(59.0, 60.0, 1.0)


# ---- what cannot be read ----------------------------------------------------------------------------------------

NATIVE = {"metric": {}, "histogram": [0, {"count": "1"}]}
FAULTS = {
    "nothing": (ok("vector", []), "queries.good: no series"),
    "NaN": (number("NaN"), "good is nan"),
    "infinite": (number("+Inf"), "must be finite"),
    "negative": (number("-1"), "not negative"),
    "several": (ok("vector", [{"metric": {"a": x}, "value": [0, "1"]} for x in "xyz"]), "3 series .* wrap it in sum()"),
    "twice": (ok("vector", [{"metric": {}, "value": [0, "1"]}] * 2), "holds a series twice"),
    "string": (ok("string", [0, "hello"]), "result type is string, not vector or scalar"),
    "matrix": (ok("matrix", []), "result type is matrix"),
    "native histogram": (ok("vector", [NATIVE]), "native histograms, not numbers"),
    "400": (failed(400, "bad_data", "parse error: unexpected end"), "HTTP 400: bad_data: parse error: unexpected end"),
    "422": (failed(422, "execution", "many-to-many"), "HTTP 422: execution: many-to-many"),
    "500": (failed(500, "internal", "disk on fire"), "HTTP 500: internal: disk on fire"),
    "404": ((404, b"404 page not found", {"Content-Type": "text/plain"}), "404 page not found; is there an API"),
    "proxy page": ((502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}), "HTTP 502"),
    "status error": (failed(200, "timeout", "too slow"), "status error: timeout: too slow"),
    "cut JSON": ((200, b'{"status": "succ', {}), "malformed JSON (16 bytes, application/json)"),
    "login page": ((200, b"<html>", {"Content-Type": "text/html"}), "malformed JSON .*text/html"),
    "no UTF-8": ((200, b"\xff\xfe", {}), "malformed JSON"),
    "deep JSON": ((200, b"[" * 200_000, {}), "malformed JSON"),
    "a list": ((200, b"[]", {}), "has no status"),
    "no data": ((200, b'{"status": "success"}', {}), "not the form of the Prometheus API (KeyError"),
    "odd data": ((200, b'{"status": "success", "data": 3}', {}), "not the form of the Prometheus API"),
    "odd value": (number("many"), "not the form of the Prometheus API (ValueError"),
    "not gzip": ((200, b"plain", {"Content-Encoding": "gzip"}), "the answer broke off"),
    "terminal codes": (failed(422, "execution", "a\x1b[31m\n b"), "execution: a[31m b"),
    "warned": (ok("vector", [], warnings=["store down"]), "no series.*; the server warns: store down"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_answer_is_no_data_with_its_reason(fault: str) -> None:
    """Every bad answer becomes Counts.nothing, and the problem names the objective, the role and the reason."""
    answer, reason = FAULTS[fault]
    text = problem(lambda params, count: answer)
    assert text.startswith("api: ")
    assert all(part in text for part in reason.split(".*")), text
    assert "\n" not in text and "\x1b" not in text


def test_series_raise_with_the_reason() -> None:
    """A series that cannot be read raises DataError naming the objective."""
    with serving(lambda *_: FAULTS["422"][0]) as server, PrometheusSource(Endpoint(server.url)) as source:
        with pytest.raises(DataError, match=r"^api: queries\.good: .*HTTP 422: execution: many-to-many"):
            source.series(RATIO, Span.ending(AT, HOUR), MINUTE)
        with pytest.raises(DataError, match="not a whole number"):
            source.series(RATIO, Span.ending(AT, HOUR), 7 * MINUTE)


def test_warnings_are_kept() -> None:
    """What the server warned of is kept on the source, and goes with a failure."""

    def behave(params: dict[str, str], _: int) -> Any:
        return ok("string", [0, "x"], warnings=["store 7 is down"])

    with serving(behave) as server, PrometheusSource(Endpoint(server.url)) as source:
        assert "; the server warns: store 7 is down" in str(source.counts(RATIO, HOUR, AT).problem)
        assert source.warnings == ("store 7 is down",)


def test_remarks_and_partial_answers_are_kept_apart() -> None:
    """Infos are no warnings; a partial answer that has no words is a warning; each text is kept once."""

    def behave(params: dict[str, str], n: int) -> Any:
        status, body, headers = healthy(params, n)
        document = {**json.loads(body), "infos": ["not a counter"], "isPartial": True, "warnings": ["store 7"]}
        return status, json.dumps(document).encode(), headers

    with serving(behave) as server, PrometheusSource(Endpoint(server.url)) as source:
        assert source.counts(RATIO, HOUR, AT).observed
        assert source.infos == ("not a counter",)
        assert source.warnings == ("store 7", "the answer is partial: a part of the cluster did not answer")


def test_a_body_that_is_cut_off_is_no_data() -> None:
    """A connection that ends before the announced length is an answer that broke off."""

    def cut(handler: _Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b'{"status":"success"')

    assert "the answer broke off" in problem(lambda *_: cut)


def test_a_reset_connection_is_no_data() -> None:
    """A connection that is reset in the middle is an answer that broke off."""

    def reset(handler: _Handler) -> None:
        handler.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        )
        handler.connection.close()

    assert "the answer broke off" in problem(lambda *_: reset)


def test_an_endless_answer_is_cut() -> None:
    """An answer past 64 MB is refused instead of filling the memory."""
    bomb = gzip.compress(b" " * (80 * 2**20), compresslevel=1)
    assert "larger than 64 MB" in problem(lambda *_: (200, bomb, {"Content-Encoding": "gzip"}), timeout=60 * SECOND)


# ---- patience ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(status: int) -> None:
    """An answer that says "not now" is asked for again, and the second answer counts."""
    with serving(lambda params, n: failed(status, "x", "y") if n == 1 else healthy(params, n)) as server:
        assert read(server.url, attempts=2) == Counts(99.0, 100.0, 1.0)
    assert server.asked("good[1h]") == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
def test_a_lasting_fault_is_not_tried_again(status: int) -> None:
    """An answer that will not change is asked for once."""
    with serving(lambda *_: failed(status, "x", "y")) as server:
        assert not read(server.url, attempts=4).observed
    assert len(server.seen) == 1


def test_retry_after_is_honoured() -> None:
    """The second attempt comes no sooner than the server asked for, as seconds or as a date."""
    for wait in (lambda: "1", lambda: format_datetime(datetime.now(UTC) + 2 * SECOND, usegmt=True)):
        moments: list[float] = []

        def behave(params: dict[str, str], n: int, wait: Any = wait, moments: list[float] = moments) -> Any:
            moments.append(time.monotonic())
            return (503, b"", {"Retry-After": wait()}) if n == 1 else healthy(params, n)

        with serving(behave) as server:
            assert read(server.url, attempts=2, timeout=3 * SECOND).observed
        assert moments[1] - moments[0] >= 0.9


def test_a_server_that_asks_for_too_much_patience_is_given_up() -> None:
    """A Retry-After beyond the timeout ends the read at once, with the number in the reason."""
    text = problem(lambda *_: (503, b"", {"Retry-After": "3600"}), attempts=4)
    assert "HTTP 503; it asks to come back in 3600 s" in text


HEALTHY_BODY = b'{"status":"success","data":{"resultType":"scalar","result":[0,"1"]}}'


def _drip(handler: _Handler, byte: bytes) -> None:
    """A byte every 50 ms for 20 s, far beyond the timeout, or until the server is closed."""
    for _ in range(400):
        if handler.server.over.wait(0.05):
            return
        handler.wfile.write(byte)
    handler.server.waited_for.set()


def _hang(handler: _Handler) -> None:
    _drip(handler, b"")
    handler._send(200, HEALTHY_BODY, {})


def _drip_header(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    _drip(handler, b".")
    handler.wfile.write(b"\r\nContent-Length: %d\r\n\r\n" % len(HEALTHY_BODY) + HEALTHY_BODY)


def _drip_body(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    _drip(handler, b" ")
    handler.wfile.write(HEALTHY_BODY)


@pytest.mark.parametrize("hang", [_hang, _drip_header, _drip_body])
def test_a_server_that_hangs_is_left(hang: Callable[[_Handler], None]) -> None:
    """Silence, and a byte now and then, end at the timeout, although a good answer would come; nobody asks again."""
    with serving(lambda *_: hang) as server:
        endpoint = Endpoint(server.url, timeout=timedelta(seconds=0.3), attempts=2)
        with PrometheusSource(endpoint) as source:
            first = source.counts(RATIO, HOUR, AT).problem
            second = source.counts(GAUGE, HOUR, AT).problem
        assert not server.waited_for.is_set()
    assert first is not None and "no answer within 0.3 s (2 attempts)" in first
    assert second is not None and "not asked: the server was found down earlier" in second
    assert len(server.seen) == 2


def test_a_server_that_is_down_is_asked_once() -> None:
    """A closed port is found down after the attempts; later reads fail at once and say so; series raise."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with PrometheusSource(Endpoint(url, attempts=2)) as source:
        assert "cannot connect" in str(source.counts(RATIO, HOUR, AT).problem)
        assert "not asked: the server was found down earlier" in str(source.counts(RATIO, HOUR, AT).problem)
        with pytest.raises(DataError, match="found down earlier"):
            source.series(RATIO, Span.ending(AT, HOUR), MINUTE)


def test_a_redirect_is_refused() -> None:
    """A redirect is not followed: no credentials go where nobody sent them."""
    with serving(healthy) as other:
        moved = {"Location": f"{other.url}/api/v1/query"}
        assert "HTTP 302, a redirect, which is refused" in problem(lambda *_: (302, b"", moved))
    assert other.seen == []


# ---- secrets ----------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-of-the-test"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user, a password and a token in the environment."""
    monkeypatch.setenv("N0_USER", "observer")
    monkeypatch.setenv("N0_PASSWORD", SECRET)
    monkeypatch.setenv("N0_TOKEN", SECRET)


BASIC = {"username_env": "N0_USER", "password_env": "N0_PASSWORD"}
BEARER = {"token_env": "N0_TOKEN"}
ENCODED = base64.b64encode(f"observer:{SECRET}".encode()).decode()


@pytest.mark.parametrize(("how", "header"), [(BASIC, f"Basic {ENCODED}"), (BEARER, f"Bearer {SECRET}")])
def test_credentials_are_sent(credentials: None, how: dict[str, str], header: str) -> None:
    """Basic and bearer credentials of the environment arrive with every request."""
    with serving(healthy) as server:
        assert read(server.url, **how).observed
    assert {headers.get("authorization") for _, _, headers in server.seen} == {header}


@pytest.mark.parametrize("how", [BASIC, BEARER])
def test_no_message_holds_a_secret(credentials: None, how: dict[str, str]) -> None:
    """A 401 names the variables; no text, repr or traceback holds a value, even if the server repeats it."""

    def echo(params: dict[str, str], n: int) -> Any:
        return failed(401 if n == 1 else 422, "x", f"bad {SECRET} {ENCODED}")

    with serving(echo) as server, PrometheusSource(Endpoint(server.url, **how)) as source:
        refused, echoed = (str(source.counts(RATIO, HOUR, AT).problem) for _ in range(2))
        with pytest.raises(DataError) as caught:
            source.series(RATIO, Span.ending(AT, HOUR), MINUTE)
        texts = [refused, echoed, repr(source), source.name, repr(vars(source)), str(caught.getrepr(showlocals=True))]
    assert "HTTP 401" in refused and all(name in refused for name in how.values())
    assert "[secret]" in echoed
    assert not any(SECRET in text or (ENCODED in text and how is BASIC) for text in texts)


def test_credentials_that_cannot_be_are_refused(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, empty or unsendable variable is a ConfigError that names it and not its value."""
    url = "http://127.0.0.1:9090"
    with pytest.raises(ConfigError, match="N0_MISSING is not set"):
        PrometheusSource(Endpoint(url, token_env="N0_MISSING"))
    monkeypatch.setenv("N0_TOKEN", f"{SECRET}\r\nX-Evil: 1")
    with pytest.raises(ConfigError, match="N0_TOKEN") as caught:
        PrometheusSource(Endpoint(url, **BEARER))
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("N0_USER", "a:b")
    with pytest.raises(ConfigError, match="N0_USER has a colon"):
        PrometheusSource(Endpoint(url, **BASIC))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"url": f"http://observer:{SECRET}@127.0.0.1:9090"}, "environment variables"),
        ({"url": f"http://[{SECRET}@"}, "the url"),
        ({"url": "ftp://127.0.0.1"}, "must be http"),
        ({"url": ""}, "must be http"),
        ({"url": "http://127.0.0.1:9090/?token=x"}, "must be http"),
        ({"timeout": timedelta(0)}, "timeout"),
        ({"attempts": 0}, "attempts"),
        ({"max_points": 11_001}, "max_points"),
        ({"username_env": "X"}, "belong together"),
        ({**BASIC, **BEARER}, "not both"),
    ],
)
def test_an_impossible_endpoint_is_refused(options: dict[str, Any], reason: str) -> None:
    """What cannot be an endpoint is a ConfigError, and a url that holds a password is not repeated."""
    with pytest.raises(ConfigError, match=reason) as caught:
        Endpoint(**{"url": "http://127.0.0.1:9090", **options})
    assert SECRET not in str(caught.value)


def _certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def test_tls_is_verified(tmp_path: Path) -> None:
    """An unknown authority is refused at once with a hint at ca_file; with ca_file the server is read."""
    pem = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with serving(healthy) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http", "https")
        refused = read(url, attempts=4).problem
        assert refused is not None and "TLS verification failed" in refused and "set ca_file" in refused
        assert read(url, ca_file=pem).observed
    with pytest.raises(ConfigError, match="must be a PEM file"):
        PrometheusSource(Endpoint(url, ca_file=tmp_path / "absent.pem"))


# ---- pages ------------------------------------------------------------------------------------------------------


def test_long_series_are_paged_and_joined_exactly() -> None:
    """30 days of minutes are 43,200 points: never more than 11,000 in a request, each instant exactly once."""
    instants: list[int] = []

    def behave(params: dict[str, str], _: int) -> Any:
        series = line(params, lambda t: str(t / 60))
        if len(series["values"]) > 11_000:
            return failed(422, "bad_data", "exceeded maximum resolution of 11,000 points per timeseries")
        instants.extend(round(t) for t, _ in series["values"] if params["query"].startswith("total"))
        return ok("matrix", [series])

    start = AT - 30 * DAY
    with serving(behave) as server, PrometheusSource(Endpoint(server.url)) as source:
        series = source.series(RATIO, Span(start, AT), MINUTE)
    expected = start.timestamp() / 60 + np.arange(1, 43_201)
    np.testing.assert_array_equal(series.total, expected)
    np.testing.assert_array_equal(series.good, expected)
    assert instants == [round(60 * minute) for minute in expected]
    assert (series.start, series.step) == (start, MINUTE)
    assert len(server.seen) == 8
    assert {params["query"] for _, params, _ in server.seen} == {"good[1m]", "total[1m]"}


@pytest.mark.parametrize("size", [1, 2, 3, 59, 60, 61])
def test_pages_of_any_size_give_the_same(size: int) -> None:
    """How a span is cut into pages cannot be seen in the result; a step may be milliseconds."""

    def behave(params: dict[str, str], _: int) -> Any:
        return ok("matrix", [line(params, lambda t: f"{t:.3f}")])

    with serving(behave) as server, PrometheusSource(Endpoint(server.url, max_points=size)) as source:
        series = source.series(RATIO, Span.ending(AT, 15 * SECOND), 0.25 * SECOND)
    np.testing.assert_allclose(series.total, AT.timestamp() - 15 + 0.25 * np.arange(1, 61), rtol=0, atol=1e-6)
    assert len(server.seen) == 2 * -(-60 // size)


def test_series_that_come_and_go_keep_their_gaps() -> None:
    """Instants without a sample are NaN, in both; an empty answer is all NaN and no error."""

    def behave(params: dict[str, str], _: int) -> Any:
        series = line(params, lambda _: "1")
        if params["query"].startswith("good"):
            return ok("matrix", [{**series, "values": series["values"][:2]}] if series["values"] else [])
        return ok("matrix", [{**series, "values": series["values"][1:]}])

    with serving(behave) as server, PrometheusSource(Endpoint(server.url)) as source:
        series = source.series(RATIO, Span.ending(AT, 4 * MINUTE), MINUTE)
    np.testing.assert_array_equal(series.total, [np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(series.good, [np.nan, 1, np.nan, np.nan])
    for slo in (RATIO, LATENCY, SLICES, GAUGE):
        with serving(lambda *_: ok("matrix", [])) as server, PrometheusSource(Endpoint(server.url)) as source:
            assert np.isnan(source.series(slo, Span.ending(AT, HOUR), MINUTE).total).all()


def test_moved_instants_are_refused() -> None:
    """A server that aligns the instants to the step answers for other buckets, so the series is refused."""

    def behave(params: dict[str, str], _: int) -> Any:
        return ok("matrix", [line({**params, "start": str(float(params["start"]) - 7)}, lambda _: "1")])

    with (
        serving(behave) as server,
        PrometheusSource(Endpoint(server.url)) as source,
        pytest.raises(DataError, match="not asked for"),
    ):
        source.series(RATIO, Span.ending(AT, HOUR), MINUTE)


def test_an_answer_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page is larger than a body may be, half of it is asked for, and the result is the same."""
    monkeypatch.setattr(promhttp, "LARGEST_BODY", 4_000)
    slo = replace(LATENCY, threshold_s=0.25)
    with (
        serving(lambda params, _: natives(params, *SPARSE)) as server,
        PrometheusSource(Endpoint(server.url)) as source,
    ):
        series = source.series(slo, Span.ending(AT, 2 * HOUR), MINUTE)
    np.testing.assert_array_equal(series.good, [90.0] * 120)
    assert {params["step"] for _, params, _ in server.seen} == {"60.000"}
    assert len(server.seen) < 20


def test_a_long_query_is_posted() -> None:
    """GET, until the url would grow past 4,000 characters: then the same parameters go as POST."""
    slo = Objective("api", "ratio", 0.99, HOUR, queries={"good": "good[$window]", "total": "t[$window]" + "+0" * 2000})
    with serving(healthy) as server:
        assert read(server.url, slo).total == 100.0
    assert [method for method, _, _ in server.seen] == ["GET", "POST", "POST"]
    assert server.seen[1][1]["query"] == "t[1h]" + "+0" * 2000


# ---- what the objective lacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slo", "lacks"),
    [
        (Objective("x", "ratio", 0.9, HOUR, queries={"total": "t[$window]"}), "queries.good"),
        (Objective("x", "ratio", 0.9, HOUR, queries={"good": "g[5m]", "total": "t[$window]"}), r"write \$window"),
        (Objective("x", "latency", 0.9, HOUR, threshold_s=1.0), "queries.buckets"),
        (Objective("x", "latency", 0.9, HOUR, queries=BUCKETS), "threshold_s"),
        (Objective("x", "timeslice", 0.9, HOUR, queries=BUCKETS, threshold_s=1.0), "quantile"),
        (Objective("x", "invariant", 1.0, HOUR, minimum=1.0), "queries.gauge"),
        (Objective("x", "invariant", 1.0, HOUR, queries={"gauge": "g"}), "minimum"),
    ],
)
def test_an_objective_that_lacks_something_is_a_config_error(slo: Objective, lacks: str) -> None:
    """Both reads raise ConfigError naming the key before anything is sent."""
    with PrometheusSource(Endpoint("http://127.0.0.1:9")) as source:
        with pytest.raises(ConfigError, match=lacks):
            source.counts(slo, HOUR, AT)
        with pytest.raises(ConfigError, match=lacks):
            source.series(slo, Span.ending(AT, HOUR), MINUTE)


def test_naive_instants_and_odd_windows_are_refused() -> None:
    """A naive instant raises; a window that is not whole slices is no data with the reason."""
    with serving(healthy) as server, PrometheusSource(Endpoint(server.url)) as source:
        with pytest.raises(DataError, match="no time zone"):
            source.counts(RATIO, HOUR, AT.replace(tzinfo=None))
        assert "the window of 0:01:30 is not a whole number" in str(source.counts(SLICES, 90 * SECOND, AT).problem)


def test_a_given_client_stays_open() -> None:
    """Closing the source closes its own client and leaves a given one; a closed source says so."""
    with serving(healthy) as server, httpx.Client(trust_env=False) as client:
        with PrometheusSource(Endpoint(server.url), client=client) as source:
            assert source.counts(RATIO, HOUR, AT).observed
        assert not client.is_closed
        own = PrometheusSource(Endpoint(server.url))
        own.close()
        with pytest.raises(RunError, match="closed"):
            own.counts(RATIO, HOUR, AT)
