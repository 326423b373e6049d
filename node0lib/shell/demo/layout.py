"""What of the demo listens where, what is started by which command, and the configurations of HAProxy and Prometheus.

Everything listens on loopback only. HAProxy answers 403 to /-/ and /metrics from outside, since an instance takes
commands from this machine. It asks each instance once a second how it is: one that leaves (404) gets nothing new, one
that is gone is not taken out, so that a crash shows as failed attempts, each of which is repeated once on the other.

The queries of ``target.yaml`` are raw counters by HAProxy, whose families are disjoint: a response that arrived
(``http_responses_total``), one that did not in time or in whole (``response_errors_total``, HTTP 502 and 504), and an
attempt to connect that failed and was sent elsewhere, repeated, or given up (``redispatch_warnings_total``,
``retry_warnings_total``, ``connection_errors_total``). Their sum is what was sent to the server
(``loadbalanced_total``) and has ended. Nothing there is filled in with zeros: a series that is missing is missing.

>>> ports = Ports(*range(20001, 20008))
>>> target(ports)["canary"]["loaded"]
'http://127.0.0.1:20005/-/policy'
>>> [line.strip() for line in haproxy_config(ports).splitlines() if "server canary" in line][0]
'server canary 127.0.0.1:20005 weight 0'
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from node0lib.shell.demo.loopback import LOOPBACK, free_port_numbers, url

Arm = Literal["stable", "canary"]
FAULTS = ("errors", "p95", "p99", "crash", "silence", "telemetry", "broken-stable", "leave", "clear")
ARMS: tuple[Arm, ...] = ("stable", "canary")
STABLE_WEIGHT, SCRAPE = 100, "1s"
HAPROXY_FILE, PROMETHEUS_FILE, TARGET_FILE = "haproxy.cfg", "prometheus.json", "target.yaml"
TSDB_SUFFIX = ".tsdb"
SEEDS: Mapping[str, int] = {"stable": 1, "canary": 2, "load": 3}

_RESPONSES = 'sum(haproxy_server_http_responses_total{proxy="app",server="$arm"})'
_BROKEN = 'sum(haproxy_server_http_responses_total{proxy="app",server="$arm",code="5xx"})'
_FAILED = " + ".join(
    f'sum(haproxy_server_{name}_total{{proxy="app",server="$arm"}})'
    for name in ("response_errors", "connection_errors", "redispatch_warnings", "retry_warnings")
)
QUERIES: Mapping[str, str] = {
    "requests": f"{_RESPONSES} + {_FAILED}",
    "errors": f"{_BROKEN} + {_FAILED}",
    "buckets": 'http_request_duration_seconds_bucket{job="app",arm="$arm"}',
}


@dataclass(frozen=True)
class Ports:
    """Where everything listens: ``front`` takes the traffic, ``admin`` is HAProxy's runtime API."""

    front: int
    admin: int
    exporter: int
    stable: int
    canary: int
    prometheus: int
    load: int


def free_ports() -> Ports:
    """Return ports that are free now; raises RunError if there are not enough."""
    return Ports(*free_port_numbers(len(fields(Ports))))


def haproxy_config(ports: Ports) -> str:
    """Return HAProxy's configuration: all traffic on stable, none on canary."""
    return f"""\
global
    nbthread 1
    maxconn 512
    stats socket ipv4@{LOOPBACK}:{ports.admin} level admin
    stats timeout 1m
defaults
    mode http
    timeout connect 500ms
    timeout queue 500ms
    timeout client 10s
    timeout server 3s
    timeout http-keep-alive 60s
    retries 1
    option redispatch 1
frontend front
    bind {LOOPBACK}:{ports.front}
    http-request deny if {{ path_beg /-/ }} or {{ path_beg /metrics }}
    default_backend app
frontend exporter
    bind {LOOPBACK}:{ports.exporter}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
backend app
    balance roundrobin
    option httpchk GET /-/healthy
    http-check disable-on-404
    default-server check inter 1s rise 1 fall 1000000
    server stable {LOOPBACK}:{ports.stable} weight {STABLE_WEIGHT}
    server canary {LOOPBACK}:{ports.canary} weight 0
"""


def prometheus_config(ports: Ports) -> dict[str, Any]:
    """Return Prometheus's configuration: a scrape a second of both arms, HAProxy and the load."""

    def at(port: int, **labels: str) -> dict[str, Any]:
        return {"targets": [f"{LOOPBACK}:{port}"], "labels": labels}

    arms = [at(ports.stable, arm="stable"), at(ports.canary, arm="canary")]
    return {
        "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": "1m"},
        "scrape_configs": [
            {"job_name": "app", "static_configs": arms},
            {"job_name": "haproxy", "static_configs": [at(ports.exporter)], "params": {"scope": ["server"]}},
            {"job_name": "load", "static_configs": [at(ports.load)]},
        ],
    }


def target(ports: Ports) -> dict[str, Any]:
    """Return what ``target.yaml`` holds: how a canary is run on this stack. Policy files lie beside it."""

    def arm(name: Arm) -> dict[str, str]:
        port = getattr(ports, name)
        ways = {"reload": url(port, "/-/reload"), "loaded": url(port, "/-/policy")}
        return {"server": name, "policy": policy_name(name), **ways}

    return {
        "kind": "haproxy",
        "socket": f"{LOOPBACK}:{ports.admin}",
        "backend": "app",
        "prometheus": url(ports.prometheus),
        "tick": SCRAPE,
        "stable": arm("stable"),
        "canary": arm("canary"),
        "queries": dict(QUERIES),
    }


def policy_name(arm: Arm) -> str:
    """Return the name of an arm's policy file."""
    return f"{arm}.policy.json"


@dataclass(frozen=True)
class Planned:
    """A process that is to run; ready when the path ``ready`` answers 200 or, if None, the port takes connections."""

    name: str
    port: int
    command: tuple[str, ...]
    ready: str | None


def plan(folder: Path, ports: Ports, rate: float, haproxy: str, prometheus: str) -> tuple[Planned, ...]:
    """Return the processes in the order of their start; ``folder`` is absolute, programs are paths."""
    module = (sys.executable, "-m")
    load = {"target": ports.front, "port": ports.load, "rate": rate, "seed": SEEDS["load"]}
    stored = folder / f"{ports.prometheus}{TSDB_SUFFIX}"  # of this run alone, whatever an earlier one still does
    storage = (f"--storage.tsdb.path={stored}", "--storage.tsdb.retention.time=1d", "--log.level=warn")
    listen = f"--web.listen-address={LOOPBACK}:{ports.prometheus}"
    scraping = (prometheus, f"--config.file={folder / PROMETHEUS_FILE}", listen, *storage)
    return (
        *(_instance(folder, ports, arm) for arm in ARMS),
        Planned("haproxy", ports.front, (haproxy, "-db", "-f", str(folder / HAPROXY_FILE)), None),
        Planned("prometheus", ports.prometheus, scraping, "/-/ready"),
        Planned("load", ports.load, (*module, "node0lib.shell.demo.load", *_flags(load)), "/metrics"),
    )


def _instance(folder: Path, ports: Ports, arm: Arm) -> Planned:
    port = getattr(ports, arm)
    peer = ports.canary if arm == "stable" else ports.stable
    given = {"policy": folder / policy_name(arm), "port": port, "peer": peer, "seed": SEEDS[arm]}
    command = (sys.executable, "-m", "node0lib.shell.demo.service", *_flags(given))
    return Planned(arm, port, command, "/-/healthy")


def _flags(given: Mapping[str, object]) -> list[str]:
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]
