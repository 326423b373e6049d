"""Where a real target is, from YAML: HAProxy's runtime API, the two instances behind it, and their telemetry.

>>> text = b'''
... kind: haproxy
... socket: 127.0.0.1:9999            # or the path of a unix socket; the level must be admin
... backend: app
... prometheus: http://127.0.0.1:9090
... tick: 1s                          # how often it scrapes, and how often is looked
... stable: {server: stable, policy: stable.json, reload: "http://127.0.0.1:81/r", loaded: "http://127.0.0.1:81/p"}
... canary: {server: canary, policy: canary.json, reload: "http://127.0.0.1:82/r", loaded: "http://127.0.0.1:82/p"}
... queries:                          # raw cumulative counters; $arm becomes stable or canary
...   requests: sum(requests_total{instance="$arm"})
...   errors: sum(requests_total{instance="$arm",code="500"}) or vector(0)
...   buckets: sum by (le) (seconds_bucket{instance="$arm"})
... '''
>>> target = parse_target(text, "target.yaml", Path("/srv"))
>>> target.backend, target.canary.server, target.tick.total_seconds()
('app', 'canary', 1.0)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from pydantic import AfterValidator, Field

from node0lib.errors import ConfigError
from node0lib.shell.catalogue_file import checked
from node0lib.shell.mistakes import Mistakes, Source, content_of, opened
from node0lib.shell.promendpoint import Endpoint
from node0lib.shell.schema import Contradictions, Duration, Model, Query
from node0lib.shell.targets.arms_telemetry import ROLES, Queries, selectors
from node0lib.shell.targets.haproxy_runtime import Address
from node0lib.shell.targets.live_policy import Instance
from node0lib.slo.promql import flaw

_ARMS = ("stable", "canary")
_NAMED = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_SHORTEST, _LONGEST = timedelta(milliseconds=100), timedelta(minutes=5)
_EXAMPLE = '"http://127.0.0.1:8081/-/reload"'


@dataclass(frozen=True)
class HaproxyTarget:
    """Where everything of a target is; paths are absolute, or relative to where the file was read."""

    socket: str
    backend: str
    prometheus: str
    tick: timedelta
    stable: Instance
    canary: Instance
    queries: Queries


def _plain_name(text: str) -> str:
    if not _NAMED.fullmatch(text):
        raise ValueError("{value} is no name of HAProxy's; write letters, digits and _ . : -, 100 at most")
    return text


def _web(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError("is malformed; write for example http://127.0.0.1:8081/-/reload") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("is no http(s) address; write for example http://127.0.0.1:8081/-/reload")
    if url.userinfo:
        raise ValueError("holds credentials, which this file must not; let the instance listen where only node0 is")
    return text


def _prometheus(text: str) -> str:
    try:
        return Endpoint(text).url
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("the url ")) from None


def _address(text: str) -> str:
    try:
        return Address(text).text
    except ConfigError as error:
        raise ValueError(str(error)) from None


Named = Annotated[str, AfterValidator(_plain_name)]
Web = Annotated[str, AfterValidator(_web)]


class InstanceModel(Model):
    """``stable:`` and ``canary:``."""

    server: Named = Field(examples=["canary"])
    policy: str = Field(min_length=1, max_length=4096, examples=["canary.policy.json"])
    reload: Web = Field(examples=[_EXAMPLE])
    loaded: Web = Field(examples=['"http://127.0.0.1:8081/-/policy"'])

    def value(self, folder: Path) -> Instance:
        """Return the frozen instance; a relative path of its policy begins at ``folder``."""
        return Instance(self.server, folder / self.policy, self.reload, self.loaded)


class QueriesModel(Model):
    """``queries:``."""

    requests: Query = Field(examples=['sum(requests_total{instance="$arm"})'])
    errors: Query = Field(examples=['sum(requests_total{instance="$arm",code=~"5.."}) or vector(0)'])
    buckets: Query = Field(examples=['sum by (le) (seconds_bucket{instance="$arm"})'])

    def contradictions(self) -> Contradictions:
        """Yield queries that know no arms, are no PromQL, or are no counters as they stand."""
        for role in ROLES:
            text = _wrong(getattr(self, role))
            if text:
                yield (role,), text


def _wrong(query: str) -> str:
    if "$arm" not in query:
        return "must contain $arm where stable or canary goes, as in {instance=\"$arm\"}"
    asked = query.replace("$arm", "stable")
    mistake = flaw(asked)
    if mistake:
        return f"is not PromQL ({mistake}); correct it, and ask a server for it to be sure"
    try:
        there = selectors(asked)
    except ValueError:
        return "reads a range; write the counter itself, node0 takes the differences"
    return "" if there else "reads no series; name the counter"


class TargetModel(Model):
    """The file without its sections."""

    kind: Literal["haproxy"] = Field(examples=["haproxy"])
    socket: Annotated[str, AfterValidator(_address)] = Field(examples=["127.0.0.1:9999"])
    backend: Named = Field(examples=["app"])
    prometheus: Annotated[str, AfterValidator(_prometheus)] = Field(examples=["http://127.0.0.1:9090"])
    tick: Duration = Field(default=timedelta(seconds=1), examples=["1s"])
    stable: Any = Field(examples=["{server: stable, policy: …, reload: …, loaded: …}"])
    canary: Any = Field(examples=["{server: canary, policy: …, reload: …, loaded: …}"])
    queries: Any = Field(examples=["{requests: …, errors: …, buckets: …}"])

    def contradictions(self) -> Contradictions:
        """Yield a tick that nobody can keep."""
        if not _SHORTEST <= self.tick <= _LONGEST:
            yield self.written("tick"), "must lie between 100ms and 5m; write the scrape interval, for example 1s"


def read_target(path: Path) -> HaproxyTarget:
    """Return the target that a file describes; raises ConfigError with every mistake, each with its line."""
    return parse_target(content_of(path, "a target file"), str(path), path.absolute().parent)


def parse_target(content: bytes, shown: str, folder: Path) -> HaproxyTarget:
    """Return the target that YAML bytes describe; relative paths begin at ``folder``. Raises ConfigError."""
    mistakes, source = opened(content, shown)
    whole = checked(mistakes, source, (), TargetModel)
    found = {arm: _section(mistakes, source, arm, InstanceModel) for arm in _ARMS}
    queries = _section(mistakes, source, "queries", QueriesModel)
    _distinct(mistakes, source)
    mistakes.raise_if_any()
    if whole is None or queries is None:
        raise ConfigError(f"{shown}: is no target file; write kind, socket, backend and what else a target has")
    stable, canary = (found[arm].value(folder) for arm in _ARMS)
    socket = whole.socket if ":" in whole.socket and "/" not in whole.socket else str(folder / whole.socket)
    asked = Queries(queries.requests, queries.errors, queries.buckets)
    return HaproxyTarget(socket, whole.backend, whole.prometheus, whole.tick, stable, canary, asked)


def _section(mistakes: Mistakes, source: Source, name: str, model: type[Any]) -> Any:
    return checked(mistakes, source, (name,), model) if (name,) in source.document.lines else None


def _distinct(mistakes: Mistakes, source: Source) -> None:
    """Note what both instances share: then there would be no canary."""
    stable, canary = source.document.at(("stable",)), source.document.at(("canary",))
    if not isinstance(stable, Mapping) or not isinstance(canary, Mapping):
        return
    for key in ("server", "policy", "reload", "loaded"):
        if key in canary and stable.get(key) == canary[key]:
            mistakes.add(source, ("canary", key), "is the stable instance's too; name the canary's own")
