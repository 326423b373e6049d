"""Notifications: told where somebody asked to be told, and a delivery that fails says so without the secret address."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from node0lib.shell import notify as module
from node0lib.shell.config import Settings, load
from node0lib.shell.notify import notify
from node0lib.shell.workspace import Places

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
ON = ("blocked", "failed")
TOKEN = "hook-5f0ac1"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An installation whose data folder is there."""
    (tmp_path / "data").mkdir()
    return Places(tmp_path, tmp_path / "data", tmp_path / "evidence", tmp_path / "reports")


def settings(file: str | None = "told.jsonl", webhook: str | None = None) -> Settings:
    """The shipped settings, told of blocked and failed cycles."""
    shipped = load(Path(__file__).parents[2] / "configs" / "node0.yaml")
    return replace(shipped, notification=replace(shipped.notification, on=ON, file=file, webhook_env=webhook))


def tell(found: Settings, places: Places, status: str = "blocked", *reasons: str) -> str | None:
    """Tell of a cycle that ended so."""
    return notify(found, places, status, reasons or ("why",), "c1", AT)


def told(places: Places) -> list[dict[str, Any]]:
    """What the file has, line by line."""
    path = places.data / "told.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


@contextmanager
def hook(status: int, **headers: str) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Yield the address of a real server that answers with that status, and what it was sent."""
    seen: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{TOKEN}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_every_notification_is_one_line_of_json(places: Places) -> None:
    """Cycle, instant, status and reasons are appended, whatever characters the reasons have."""
    found = settings()
    reason = 'two\nlines, "quotes" and ünïcode'
    assert tell(found, places, "blocked", reason, "second") is None
    assert tell(found, places, "blocked") is None
    first, second = told(places)
    assert first == {"cycle": "c1", "at": "2026-11-24T12:00:00Z", "status": "blocked", "reasons": [reason, "second"]}
    assert second["reasons"] == ["why"]


@pytest.mark.parametrize("status", ["applied", "no_change", "recommended", "held", "inconclusive", "rolled_back"])
def test_nobody_is_told_of_what_nobody_asked_for(places: Places, status: str) -> None:
    """An ending that is not listed reaches neither the file nor the webhook."""
    assert tell(settings(webhook="NODE0_TEST_HOOK_THAT_IS_NOT_SET"), places, status) is None
    assert told(places) == []


@pytest.mark.parametrize("status", ["error", "timeout", "dead-kernel", "incomplete", "interrupted"])
def test_every_way_to_fail_is_told_as_what_it_was(places: Places, status: str) -> None:
    """Whoever asked for failures hears of each of them, by its own name."""
    assert tell(settings(), places, status) is None
    assert [line["status"] for line in told(places)] == [status]


def test_the_webhook_gets_the_same_as_the_file(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is posted as JSON to the address in the environment."""
    with hook(204) as (address, seen):
        monkeypatch.setenv("NODE0_TEST_HOOK", address)
        assert tell(settings(webhook="NODE0_TEST_HOOK"), places) is None
    ((path, body),) = seen
    assert path == f"/{TOKEN}" and [json.loads(body)] == told(places)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_is_a_notice(places: Places, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """An error and a redirect, which would carry the message elsewhere, are told without the address."""
    with hook(status, Location="http://127.0.0.1:9/elsewhere") as (address, seen):
        monkeypatch.setenv("NODE0_TEST_HOOK", address)
        notice = tell(settings(webhook="NODE0_TEST_HOOK"), places)
    assert notice == "the webhook of NODE0_TEST_HOOK did not take the notification (HTTPStatusError)"
    assert len(seen) == 1 and len(told(places)) == 1, "the file has it all the same"


def test_a_webhook_that_hangs_is_given_up(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers does not hold the cycle."""
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("NODE0_TEST_HOOK", f"http://127.0.0.1:{server.getsockname()[1]}/{TOKEN}")
        notice = tell(settings(webhook="NODE0_TEST_HOOK"), places)
    assert notice == "the webhook of NODE0_TEST_HOOK did not take the notification (ReadTimeout)"


@pytest.mark.parametrize(
    "address",
    [f"http://127.0.0.1:9/{TOKEN}", f"ftp://127.0.0.1/{TOKEN}", TOKEN, f"http://[{TOKEN}", f"http://a\nb/{TOKEN}"],
    ids=["nobody there", "not http", "no scheme", "malformed", "two lines"],
)
def test_an_address_that_leads_nowhere_is_a_notice(
    places: Places, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Whatever the variable holds, the notice names the variable and never its content."""
    monkeypatch.setenv("NODE0_TEST_HOOK", address)
    notice = tell(settings(webhook="NODE0_TEST_HOOK"), places)
    assert notice is not None and "NODE0_TEST_HOOK" in notice and TOKEN not in notice


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_variable_without_an_address_is_a_notice(
    places: Places, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """A webhook that was configured and not provided is told, not skipped."""
    monkeypatch.delenv("NODE0_TEST_HOOK", raising=False)
    if value is not None:
        monkeypatch.setenv("NODE0_TEST_HOOK", value)
    notice = tell(settings(webhook="NODE0_TEST_HOOK"), places)
    assert notice == "the environment variable NODE0_TEST_HOOK holds no webhook address"


def test_both_problems_are_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written does not keep the webhook from being tried, and both notices are there."""
    monkeypatch.delenv("NODE0_TEST_HOOK", raising=False)
    (places.data / "told.jsonl").mkdir()
    notice = tell(settings(webhook="NODE0_TEST_HOOK"), places)
    assert notice is not None
    assert notice.startswith("data/told.jsonl: the notification could not be written (")
    assert notice.endswith("; the environment variable NODE0_TEST_HOOK holds no webhook address")


def test_nowhere_to_tell_is_fine(places: Places) -> None:
    """Without a file and a webhook nothing is told and nothing is wrong."""
    assert tell(settings(file=None), places) is None
    assert list(places.data.iterdir()) == []
