"""A target file says all its mistakes at once, each with its line; and what weights and counters make of it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node0lib.errors import ConfigError, DataError, RunError
from node0lib.ports import Arm, Baseline
from node0lib.shell.targets.arms_telemetry import ARMS, ROLES, Snapshot, combined, grown
from node0lib.shell.targets.haproxy_runtime import Address, Runtime
from node0lib.shell.targets.haproxy_weights import MOST, weights
from node0lib.shell.targets.target_file import parse_target, read_target

GOOD = """\
kind: haproxy
socket: run/haproxy.sock
backend: app
prometheus: http://127.0.0.1:9090
stable: {server: stable, policy: stable.json, reload: "http://h:1/r", loaded: "http://h:1/p"}
canary: {server: canary, policy: canary.json, reload: "http://h:2/r", loaded: "http://h:2/p"}
queries:
  requests: requests_total{arm="$arm"}
  errors: sum(requests_total{arm="$arm",code="500"}) or vector(0)
  buckets: sum by (le) (seconds_bucket{arm="$arm"})
"""
AT = datetime(2026, 1, 1, tzinfo=UTC)
BOUNDS = Baseline(0.1, 0.5, 0.0, 0.0)


def _mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_target(text.encode(), "t.yaml", Path())
    return str(caught.value).splitlines()


def test_relative_paths_begin_where_the_file_lies(tmp_path: Path) -> None:
    """Policies and a unix socket are found beside the file; the tick is a second unless another is written."""
    (tmp_path / "t.yaml").write_text(GOOD, encoding="utf-8")
    target = read_target(tmp_path / "t.yaml")
    assert target.socket == str(tmp_path / "run/haproxy.sock")
    assert target.canary.policy == tmp_path / "canary.json"
    assert target.tick == timedelta(seconds=1)
    with pytest.raises(ConfigError, match="name a target file"):
        read_target(tmp_path / "none.yaml")


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    """Whatever is wrong in the other sections, each mistake has its line and its path."""
    text = GOOD.replace("app", "a b").replace("http://h:1/r", "ftp://h/r").replace("run/haproxy.sock", "nowhere")
    text = text.replace('requests_total{arm="$arm"}', "requests_total").replace("seconds_bucket{", "rate(x{")
    told = _mistakes(text + "more: 1\\n".replace("\\n", "\n"))
    for start in (
        "t.yaml:2: socket: 'nowhere' is no address of a runtime API",
        "t.yaml:3: backend: 'a b' is no name",
        "t.yaml:5: stable.reload: is no http(s) address",
        "t.yaml:8: queries.requests: must contain $arm",
        "t.yaml:10: queries.buckets: is not PromQL",
        "t.yaml:11: more: is no key here",
    ):
        assert any(line.startswith(start) for line in told), (start, told)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kind: haproxy\n", "kind: nginx\n", "t.yaml:1: kind: 'nginx' is not one of haproxy"),
        ("kind: haproxy\n", "kind: haproxy\ntick: 1h\n", "t.yaml:2: tick: must lie between 100ms and 5m"),
        ("http://127.0.0.1:9090", "http://u:secret@h", "t.yaml:4: prometheus: holds credentials"),
        ("http://h:2/p", "http://u:secret@h:2/p", "t.yaml:6: canary.loaded: holds credentials"),
        ("http://h:2/r", "http://h:1/r", "t.yaml:6: canary.reload: is the stable instance's too"),
        ("server: canary", "server: stable", "t.yaml:6: canary.server: is the stable instance's too"),
        ("sum by (le) (seconds", "sum by (le) (rate(seconds", "t.yaml:10: queries.buckets: is not PromQL"),
        ('requests_total{arm="$arm"}', 'rate(r{arm="$arm"}[1m])', "t.yaml:8: queries.requests: reads a range"),
    ],
)
def test_a_mistake_names_what_to_do(old: str, new: str, told: str) -> None:
    """Each mistake is one line that begins with its place; no line repeats a password."""
    lines = _mistakes(GOOD.replace(old, new, 1))
    assert len(lines) == 1 and lines[0].startswith(told)
    assert "secret" not in lines[0]


@given(st.floats(1 / (MOST + 1), MOST / (MOST + 1)))
def test_weights_are_the_nearest_that_haproxy_has(share: float) -> None:
    """Two weights in 1..256 come within a 500th of any share that they can make."""
    stable, canary = weights(share)
    assert 1 <= stable <= MOST and 1 <= canary <= MOST
    assert abs(canary / (stable + canary) - share) < 1 / 500


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:0", "127.0.0.1:65536", "a:b:1x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """An address is host:port with a port, or the path of a socket."""
    with pytest.raises(ConfigError):
        Address(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "/nowhere/haproxy.sock"])
def test_nobody_who_listens_is_an_error_with_its_place(address: str) -> None:
    """Where nobody listens the error names the address and the command, by every kind of address."""
    with pytest.raises(RunError, match=r"did not answer 'show info'"):
        Runtime(address).ask("show info")


def _snapshot(scraped: float = 100.0, now: float = 100.5, **counts: float) -> Snapshot:
    le = {f"le={bound}": ((("le", bound),), counts.get(f"le{bound}", 0.0)) for bound in ("0.1", "0.5", "+Inf")}
    buckets = dict(le.values())
    one = {"requests": {(): counts.get("requests", 0.0)}, "errors": {(): counts.get("errors", 0.0)}, "buckets": buckets}
    series = {(arm, role): one[role] for arm in ARMS for role in ROLES}
    return Snapshot(AT, now, {"stable": scraped, "canary": scraped}, series)


def test_counts_of_an_arm_are_differences_that_fit_each_other() -> None:
    """Slow are those above a bound; what was counted in the middle of a scrape never exceeds the requests."""
    before = _snapshot(requests=10, errors=1, **{"le0.1": 9, "le0.5": 10, "le+Inf": 10})
    after = _snapshot(requests=20, errors=20, **{"le0.1": 12, "le0.5": 19, "le+Inf": 21})
    assert after.since(before, "canary", BOUNDS) == Arm(10, 10, 8, 2)
    with pytest.raises(DataError, match=r"no bucket le=0.2"):
        after.since(before, "canary", Baseline(0.2, 0.5, 0.0, 0.0))


def test_a_series_that_comes_back_counts_from_where_it_was() -> None:
    """What an earlier read has seen is remembered, so that a gap makes no new counter of an old one."""
    seen, gone = _snapshot(requests=1000), _snapshot(requests=1000)
    gone.series["canary", "requests"].pop(())  # type: ignore[attr-defined]
    remembered = gone.remembering(seen)
    assert grown(remembered.series["canary", "requests"], {(): 1003.0}) == {(): 3.0}


def test_after_an_instant_is_told_by_the_servers_own_clock() -> None:
    """Two clocks that differ by an hour do not make an old scrape new, nor a new one old."""
    found = _snapshot(scraped=3700.0, now=3700.5)  # asked at AT, whatever the server calls that
    assert found.after(AT - timedelta(seconds=1))
    assert not found.after(AT - timedelta(seconds=0.4))
    assert not found.newer(found)


def test_one_query_asks_for_both_arms() -> None:
    """Each part of the query is marked, of both arms, and as short as its own queries are."""
    target = parse_target(GOOD.encode(), "t.yaml", Path())
    text = combined(target.queries)
    assert all(f'"{arm}/{role}"' in text for arm in ARMS for role in ROLES)
    assert "$arm" not in text and math.isclose(text.count("timestamp("), 6)
