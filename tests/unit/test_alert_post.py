"""Posting what fires to an Alertmanager: told once, tried again where that helps, never with a secret in a notice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from node0lib.errors import ConfigError
from node0lib.shell.alert_post import post_alerts
from node0lib.shell.config import Settings, load
from node0lib.shell.notify import notify
from node0lib.shell.promendpoint import Endpoint
from node0lib.shell.workspace import Places
from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.timespan import parse_duration

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOKEN = "am-token-91c2"


@dataclass
class Seen:
    """A server, and what it was sent: paths, Authorization headers, bodies."""

    url: str = ""
    requests: list[tuple[str, str | None, Any]] = field(default_factory=list)


@contextmanager
def alertmanager(*answers: int) -> Iterator[Seen]:
    """Yield a real server that answers these statuses in turn, the last one for ever."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.requests.append((self.path, self.headers.get("Authorization"), body))
            self.send_response(answers[min(len(seen.requests), len(answers)) - 1])
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings(url: str | None, **credentials: str) -> Settings:
    """The shipped settings with an Alertmanager."""
    shipped = load(ROOT / "configs" / "node0.yaml")
    endpoint = Endpoint(url, **credentials) if url else None  # type: ignore[arg-type]
    return replace(shipped, notification=replace(shipped.notification, on=(), file=None, alertmanager=endpoint))


def statuses(found: Settings, bad: float) -> Sequence[SloStatus]:
    """The API's status with that share of failures in every window."""
    slo = found.catalogue.slo("api_availability")
    windows = [parse_duration(text) for text in ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")]
    counts = {window: Counts(10_000 * (1 - bad), 10_000, 1.0) for window in windows}
    return [status(slo, counts, found.catalogue.budget_policy)]


def test_each_firing_alert_is_posted_with_its_labels() -> None:
    """At a burn of ten the warning and both infos fire; each has the labels of node0's rules, and ends by itself."""
    with alertmanager(200) as server:
        found = settings(server.url)
        assert post_alerts(found, statuses(found, 0.01), AT, "c7") is None
    ((path, authorization, alerts),) = server.requests
    assert path == "/api/v2/alerts" and authorization is None
    assert [(a["labels"]["severity"], a["labels"]["long_window"], a["labels"]["short_window"]) for a in alerts] == [
        ("warning", "6h", "30m"),
        ("info", "1d", "2h"),
        ("info", "3d", "6h"),
    ]
    warning = alerts[0]
    assert warning["labels"]["alertname"] == "SloErrorBudgetBurn" and warning["labels"]["slo"] == "api_availability"
    assert warning["labels"]["simulated"] == "true" and "generatorURL" not in warning
    assert warning["annotations"]["cycle"] == "c7"
    assert (warning["startsAt"], warning["endsAt"]) == ("2026-11-24T12:00:00Z", "2026-11-24T13:10:00Z")


def test_nothing_is_sent_where_nothing_fires_or_nobody_listens() -> None:
    """No request without an alert, without an address, or without a result."""
    with alertmanager(200) as server:
        found = settings(server.url)
        assert post_alerts(found, statuses(found, 0.0), AT, "c1") is None
        assert post_alerts(found, (), AT, "c1") is None
        assert post_alerts(settings(None), statuses(found, 0.5), AT, "c1") is None
    assert server.requests == []


def test_a_server_in_trouble_is_asked_again() -> None:
    """503 and then 200 is a delivery."""
    with alertmanager(503, 429, 200) as server:
        found = settings(server.url)
        assert post_alerts(found, statuses(found, 0.5), AT, "c1") is None
    assert len(server.requests) == 3


@pytest.mark.parametrize(("answer", "asked"), [(500, 3), (400, 1), (302, 1), (401, 1)])
def test_a_refusal_is_a_notice(answer: int, asked: int) -> None:
    """What cannot be delivered is told with the server's address and status; a redirect is not followed."""
    with alertmanager(answer) as server:
        found = settings(server.url)
        notice = post_alerts(found, statuses(found, 0.5), AT, "c1")
    assert notice == f"the Alertmanager at {server.url} did not take 4 alerts (HTTP {answer})"
    assert len(server.requests) == asked


def test_nobody_there_is_a_notice() -> None:
    """A closed door does not change how the cycle ended."""
    with alertmanager(200) as server:
        pass
    found = settings(server.url)
    notice = post_alerts(found, statuses(found, 0.5), AT, "c1")
    assert notice == f"the Alertmanager at {server.url} did not take 4 alerts (ConnectError)"


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is sent and stands in no notice; without it nothing is sent, and the notice names the variable."""
    monkeypatch.setenv("AM_TOKEN", TOKEN)
    with alertmanager(401) as server:
        found = settings(server.url, token_env="AM_TOKEN")
        notice = post_alerts(found, statuses(found, 0.5), AT, "c1")
        monkeypatch.delenv("AM_TOKEN")
        missing = post_alerts(found, statuses(found, 0.5), AT, "c1")
    assert [authorization for _, authorization, _ in server.requests] == [f"Bearer {TOKEN}"]
    assert notice is not None and TOKEN not in notice
    assert missing is not None and "the environment variable AM_TOKEN is empty or not set" in missing
    assert "AM_TOKEN" in found.secret_variables, "the notebook never sees it"


def test_a_failed_delivery_is_told_beside_the_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both problems are in one notice; alerts are posted although nobody asked to be told of this ending."""
    monkeypatch.delenv("HOOK", raising=False)
    places = Places(tmp_path, tmp_path, tmp_path, tmp_path)
    with alertmanager(400) as server:
        found = settings(server.url)
        result = Fired(statuses(found, 0.5))
        quiet = notify(found, places, "no_change", ("why",), "c1", AT, result)  # type: ignore[arg-type]
        loud = replace(found, notification=replace(found.notification, on=("blocked",), webhook_env="HOOK"))
        both = notify(loud, places, "blocked", ("why",), "c1", AT, result)  # type: ignore[arg-type]
    assert quiet is not None and quiet.startswith("the Alertmanager at")
    assert both == f"the environment variable HOOK holds no webhook address; {quiet}"


@dataclass(frozen=True)
class Fired:
    """The one thing of a result that notifying looks at."""

    statuses: Sequence[SloStatus]


def configured(folder: Path, notification: str) -> Settings:
    """Load the shipped configuration with another notification section."""
    for path in (ROOT / "configs").glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "n.ipynb").write_text("{}", "utf-8")
    node = folder / "node0.yaml"
    text = node.read_text("utf-8").split("notification:")[0].replace("notebooks/production_cycle.ipynb", "n.ipynb")
    node.write_text(text.replace("../constraints.txt", "slo.yaml") + f"notification: {notification}\n", "utf-8")
    return load(node)


def test_the_configuration_names_an_alertmanager(tmp_path: Path) -> None:
    """An address and the names of variables; without the key nothing is posted."""
    names = "alertmanager_username_env: U, alertmanager_password_env: P"
    found = configured(tmp_path, f'{{alertmanager: "http://127.0.0.1:9093/am", {names}}}').notification.alertmanager
    assert found == Endpoint("http://127.0.0.1:9093/am", username_env="U", password_env="P")
    assert configured(tmp_path, "{alertmanager: null}").notification.alertmanager is None
    assert load(ROOT / "configs" / "node0.yaml").notification.alertmanager is None


@pytest.mark.parametrize(
    ("notification", "told"),
    [
        (f'{{alertmanager: "http://u:{TOKEN}@h"}}', "notification.alertmanager: the url holds credentials"),
        ("{alertmanager: localhost}", "notification.alertmanager: the url must be http(s)://host:port"),
        ("{alertmanager_token_env: T}", "has no alertmanager to be used at"),
        ('{alertmanager: "http://h", alertmanager_username_env: U}', "give both or neither"),
        (
            '{alertmanager: "http://h", alertmanager_token_env: T, alertmanager_username_env: U, '
            "alertmanager_password_env: P}",
            "give one of them",
        ),
    ],
)
def test_a_wrong_alertmanager_is_one_clear_mistake(tmp_path: Path, notification: str, told: str) -> None:
    """The address must hold no credentials, and these belong together; no message repeats a secret."""
    with pytest.raises(ConfigError) as wrong:
        configured(tmp_path, notification)
    assert told in str(wrong.value) and TOKEN not in str(wrong.value)
