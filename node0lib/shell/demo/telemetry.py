"""How the demo's traffic stands: HAProxy's weights by its runtime API, rates of the last seconds by Prometheus.

What cannot be asked is None, never zero.

>>> increase('sum(x{a="b"})', 10)
'(sum(x{a="b"})) - (sum(x{a="b"} offset 10s))'
"""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from node0lib.errors import DataError, RunError
from node0lib.shell.demo.layout import ARMS, QUERIES, Arm, Ports
from node0lib.shell.demo.loopback import LOOPBACK, fetch

WINDOW_S, _PATIENCE_S = 10, 2.0


@dataclass(frozen=True)
class Rates:
    """Of one arm, over the last ``WINDOW_S`` seconds: per second, and the 95th percentile in seconds."""

    requests: float | None
    errors: float | None
    p95_s: float | None


def runtime(port: int, command: str) -> str:
    """Return what HAProxy's runtime API answers to one command; raises RunError if it does not answer."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PATIENCE_S) as connection:
            connection.sendall(f"{command}\n".encode())
            parts = iter(lambda: connection.recv(65536), b"")
            return b"".join(parts).decode("utf-8", "replace").strip()
    except OSError as error:
        told = f"HAProxy's runtime API on port {port} does not answer ({error}); see node0 demo status"
        raise RunError(told) from error


def weights(ports: Ports) -> Mapping[str, int]:
    """Return the weight of each arm; raises RunError if HAProxy does not answer or says something else."""
    return {arm: _weight(ports, arm) for arm in ARMS}


def _weight(ports: Ports, arm: Arm) -> int:
    said = runtime(ports.admin, f"get weight app/{arm}")
    if (match := re.match(r"\d+", said)) is None:
        raise RunError(f"HAProxy was asked for the weight of app/{arm} and said: {said}")
    return int(match[0])


def rates(ports: Ports, arm: Arm) -> Rates:
    """Return the rates of an arm; raises DataError if Prometheus does not answer."""
    asked = {name: QUERIES[name].replace("$arm", arm) for name in QUERIES}
    p95 = f"histogram_quantile(0.95, sum by (le) (rate({asked['buckets']}[{WINDOW_S}s])))"
    counted = [ask(ports, increase(asked[name], WINDOW_S)) for name in ("requests", "errors")]
    requests, errors = (None if count is None else count / WINDOW_S for count in counted)
    return Rates(requests, errors, ask(ports, p95))


def increase(query: str, seconds: int) -> str:
    """Return the query for how much a sum of counters grew; not ``increase``, which takes no sums."""
    return f"({query}) - ({query.replace('})', f'}} offset {seconds}s)')})"


def ask(ports: Ports, query: str) -> float | None:
    """Return the number that Prometheus answers now, None without data; raises DataError if it does not answer."""
    try:
        _, text = fetch(ports.prometheus, "/api/v1/query", query={"query": query})
        result = json.loads(text)["data"]["result"]
    except (OSError, ValueError, KeyError) as error:
        told = f"Prometheus on port {ports.prometheus} does not answer ({error}); see node0 demo status"
        raise DataError(told) from error
    value = float(result[0]["value"][1]) if result else math.nan
    return value if math.isfinite(value) else None
