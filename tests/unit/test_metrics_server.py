"""The endpoint over real sockets: formats by negotiation, honest errors, and it goes on after them."""

import gzip
import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from node0lib.errors import RunError
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load
from node0lib.shell.exporter import Exporter
from node0lib.shell.metrics_server import MetricsServer, chosen
from node0lib.shell.workspace import Places

SETTINGS = load(Path(__file__).parents[2] / "configs" / "node0.yaml")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


Answer = tuple[http.client.HTTPResponse, bytes]


@dataclass(frozen=True)
class Serving:
    """A server that runs, and the installation that it serves."""

    server: MetricsServer
    places: Places

    def ask(self, path: str = "/metrics", method: str = "GET", **headers: str) -> Answer:
        """Return the answer and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server on a free port over an installation in which nothing has happened yet."""
    places = Places(tmp_path, tmp_path / "data", tmp_path / "evidence", tmp_path / "reports")
    with MetricsServer(Exporter(SETTINGS, places, SystemClock()), "127.0.0.1", 0, places) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Serving(server, places)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text"),
        ("text/plain", "text"),
        ("application/openmetrics-text", "openmetrics"),
        ("Application/OpenMetrics-Text; Version=1.0.0", "openmetrics"),
        ("application/openmetrics-text;version=0.0.1", "text"),
        ("application/openmetrics-text;version=2.0.0", "text"),
        ("application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", "text"),
        ("application/openmetrics-text;q=high", "text"),
        ("application/openmetrics-text;version=;;=,,;", "openmetrics"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
    ],
)
def test_the_format_follows_the_weights(accept: str, form: str) -> None:
    """OpenMetrics where 1.x is named and weighs as much as text, else text; nothing in a header is an error."""
    assert chosen(accept) == form


def test_both_formats_are_served(serving: Serving) -> None:
    """The content type is that of the body: OpenMetrics that parses strictly, or the text format."""
    answer, body = serving.ask(Accept=PROMETHEUS_2)
    assert (answer.status, answer.headers["Content-Type"]) == (200, OPENMETRICS)
    assert len(list(strict(body.decode()))) > 10
    answer, body = serving.ask()
    assert (answer.status, answer.headers["Content-Type"]) == (200, TEXT)
    assert body.startswith(b"# HELP ") and b"# EOF" not in body


def test_gzip_is_for_those_who_take_it(serving: Serving) -> None:
    """The compressed body is the plain one; a client that refuses gzip gets it plain."""
    plain = serving.ask()[1]
    answer, body = serving.ask(Accept_Encoding="deflate, gzip;q=0.5")
    assert answer.headers["Content-Encoding"] == "gzip" and len(body) < len(plain) / 5
    assert gzip.decompress(body) == plain
    answer, body = serving.ask(Accept_Encoding="gzip;q=0")
    assert answer.headers["Content-Encoding"] is None and body == plain


def test_head_has_the_headers_of_get(serving: Serving) -> None:
    """HEAD says type and length of what GET would give, and gives nothing."""
    answer, body = serving.ask(method="HEAD")
    get, whole = serving.ask()
    assert (answer.status, body) == (200, b"")
    for name in ("Content-Type", "Content-Length"):
        assert answer.headers[name] == get.headers[name]
    assert int(answer.headers["Content-Length"]) == len(whole)


@pytest.mark.parametrize(
    ("method", "path", "status", "hint"),
    [
        ("GET", "/-/healthy", 200, b"healthy"),
        ("GET", "/", 404, b"/metrics"),
        ("GET", "/metrics/", 404, b"/metrics"),
        ("GET", "/%2e%2e/etc/passwd", 404, b"/metrics"),
        ("POST", "/metrics", 405, b"GET"),
        ("DELETE", "/-/healthy", 405, b"GET"),
    ],
)
def test_other_requests_are_told_what_to_do(serving: Serving, method: str, path: str, status: int, hint: bytes) -> None:
    """A wrong path says where the metrics are, a wrong method which ones there are."""
    answer, body = serving.ask(path, method)
    assert answer.status == status and hint in body and body.count(b"\n") == 1


def test_a_bad_file_is_one_500_and_the_server_goes_on(serving: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    """One line says which file is bad, to the client and on stderr, without the folder; repaired, all is well."""
    state = serving.places.state
    state.parent.mkdir()
    state.write_bytes(b"no database" * 100)
    answer, body = serving.ask()
    assert answer.status == 500 and answer.headers["Content-Type"].startswith("text/plain")
    said = capfd.readouterr().err
    assert b"data/node0.sqlite: cannot be read" in body.replace(b"\\", b"/")
    assert said == f"error: {body.decode()}" and body.count(b"\n") == 1
    assert str(serving.places.root).encode() not in body
    assert serving.ask("/-/healthy")[0].status == 200
    state.unlink()
    assert serving.ask()[0].status == 200
    assert capfd.readouterr().err == ""


def test_many_at_once_get_the_same(serving: Serving) -> None:
    """Scrapes side by side are each whole."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: serving.ask(Accept=PROMETHEUS_2), range(64)))
    assert {answer.status for answer, _ in answers} == {200}
    assert len({body for _, body in answers}) == 1


def test_a_client_that_goes_away_is_no_news(serving: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    """Half a request and a closed connection leave no trace, and the next client is served."""
    connection = http.client.HTTPConnection("127.0.0.1", serving.server.server_port, timeout=30)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(b"GET /metrics HT")
    connection.close()
    assert serving.ask()[0].status == 200
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_one_clear_error(serving: Serving) -> None:
    """A second server on the port is refused with the address and what to do."""
    port = serving.server.server_port
    with pytest.raises(RunError, match=rf"127\.0\.0\.1:{port}: cannot be listened on .* choose another --port"):
        MetricsServer(Exporter(SETTINGS, serving.places, SystemClock()), "127.0.0.1", port, serving.places)


def test_a_wrong_address_is_one_clear_error(serving: Serving) -> None:
    """An address that is not this machine's is refused with the address and what to do."""
    with pytest.raises(RunError, match=r"203\.0\.113\.9:0: cannot be listened on .* --address"):
        MetricsServer(Exporter(SETTINGS, serving.places, SystemClock()), "203.0.113.9", 0, serving.places)
