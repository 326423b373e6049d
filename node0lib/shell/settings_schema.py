"""The shape of ``node0.yaml`` and ``ihsan.yaml``: one strict model for each section.

Names of environment variables are names: a value that cannot be one is refused without being repeated, since it may
be the secret itself.

>>> ScheduleModel.model_validate({"every": "1h"}).at_least_between
datetime.timedelta(seconds=900)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from node0lib.cycle import Kind, Mode
from node0lib.errors import ConfigError
from node0lib.shell.prometheus import Endpoint
from node0lib.shell.schema import Contradictions, Duration, Model, Share, Text

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError("must be the name of an environment variable such as NODE0_TOKEN, never the secret itself")
    return value


def _line_file(value: object) -> str:
    """A plain name: two systems' rules for paths, and no folder to be made or left."""
    if (
        not isinstance(value, str)
        or not value.endswith(".jsonl")
        or PurePosixPath(value).name != value
        or PureWindowsPath(value).name != value
    ):
        raise ValueError("{value} must be the plain name of a .jsonl file; it lies in the data folder")
    return value


def _url(value: object) -> str:
    """What an endpoint takes; its message never repeats the address, which may hold a password."""
    if not isinstance(value, str):
        raise ValueError("must be text; write for example http://127.0.0.1:9090")
    try:
        return Endpoint(value).url
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("{value} is not a path; write for example data, with / between folders")
    return value


def _called(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or value != value.strip():
        raise ValueError("{value} is not a name; write it as the events do, for example shop")
    return value


PathText = Annotated[str, BeforeValidator(_path)]
Variable = Annotated[str, BeforeValidator(_variable)]
Seed = Annotated[int, Field(ge=0)]
Called = Annotated[str, BeforeValidator(_called)]


class NodeModel(Model):
    """The keys of node0.yaml; each section is validated on its own, so that one cannot hide another's mistakes."""

    slo: Any = Field(examples=["slo.yaml"])
    ihsan: PathText = Field(examples=["ihsan.yaml"])
    policy: PathText = Field(examples=["alpha.policy.json"])
    mode: Mode = Field(examples=["recommend"])
    telemetry: Any = Field(examples=["{kind: embedded}"])
    target: Any = Field(examples=["{kind: none}"])
    paths: Any = None
    schedule: Any = None
    optimizer: Any = None
    evidence: Any = None
    notification: Any = None
    delivery: Any = None


class PathsModel(Model):
    """``paths:``, relative to the installation's root."""

    data: PathText = "data"
    evidence: PathText = "evidence"
    reports: PathText = "reports"
    notebook: PathText = "notebooks/production_cycle.ipynb"


class EmbeddedModel(Model):
    """``telemetry:`` of the embedded node."""

    kind: Literal["embedded"]
    seed: Seed = 20260101
    history: Duration = timedelta(days=30)

    def contradictions(self) -> Contradictions:
        """Yield a past that would take a day to make."""
        if not timedelta(hours=1) <= self.history <= timedelta(days=366):
            yield ("history",), "must lie between 1h and 366d; 30d covers the longest usual window"


class PrometheusModel(Model):
    """``telemetry:`` of a Prometheus-compatible server."""

    kind: Literal["prometheus"]
    url: Annotated[str, BeforeValidator(_url)] = Field(examples=["http://127.0.0.1:9090"])
    timeout: Duration = timedelta(seconds=10)
    attempts: int = Field(default=4, ge=1, le=100)
    delay: Duration = timedelta(seconds=5)
    scrape_interval: Duration = timedelta(seconds=15)
    max_points: int = Field(default=11_000, ge=1, le=11_000)
    username_env: Variable | None = None
    password_env: Variable | None = None
    token_env: Variable | None = None
    ca_file: PathText | None = None

    def contradictions(self) -> Contradictions:
        """Yield credentials that are half given, or given twice."""
        if (self.username_env is None) != (self.password_env is None):
            yield (), "has one of username_env and password_env; give both or neither"
        if self.token_env and (self.username_env or self.password_env):
            yield ("token_env",), "is one way in and username_env with password_env another; give one of them"


TELEMETRY: Mapping[str, type[EmbeddedModel] | type[PrometheusModel]] = {
    "embedded": EmbeddedModel,
    "prometheus": PrometheusModel,
}


class TargetModel(Model):
    """``target:``: what a policy governs; ``file`` says where the traffic of a ``haproxy`` is."""

    kind: Literal["embedded", "haproxy", "none"] = Field(examples=["embedded"])
    file: PathText | None = None

    def contradictions(self) -> Contradictions:
        """Yield a file without HAProxy, or HAProxy without a file."""
        if (self.file is None) == (self.kind == "haproxy"):
            text = "is for kind: haproxy, which needs one; node0 demo up writes such a file"
            yield self.written("file", "kind"), f"file {text}"


class ScheduleModel(Model):
    """``schedule:``; ``deadline`` bounds one run of the notebook."""

    every: Duration = timedelta(hours=1)
    at_least_between: Duration = timedelta(minutes=15)
    deadline: Duration = timedelta(minutes=10)

    def contradictions(self) -> Contradictions:
        """Yield an interval at which every other cycle would be refused."""
        if self.at_least_between > self.every:
            text = "at_least_between must not be longer than every, or cycles that fall due are refused"
            yield self.written("at_least_between", "every"), text


class OptimizerModel(Model):
    """``optimizer:``: how long to search."""

    trials: int = Field(default=60, ge=1, le=10_000)
    seeds: int = Field(default=3, ge=1, le=1000)
    fresh_seeds: int = Field(default=32, ge=2, le=10_000)
    seed: Seed = 1
    worthwhile: Share = 0.01


class EvidenceModel(Model):
    """``evidence:``; ``constraints`` is relative to the file."""

    constraints: PathText | None = None


class NotificationModel(Model):
    """``notification:``."""

    on: list[Literal[Kind, "failed"]] = []
    file: Annotated[str, BeforeValidator(_line_file)] | None = None
    webhook_env: Variable | None = None
    alertmanager: Annotated[str, BeforeValidator(_url)] | None = None
    alertmanager_username_env: Variable | None = None
    alertmanager_password_env: Variable | None = None
    alertmanager_token_env: Variable | None = None

    def contradictions(self) -> Contradictions:
        """Yield credentials that are half given, given twice, or for nobody."""
        user, password, token = (f"alertmanager_{name}_env" for name in ("username", "password", "token"))
        given = {name for name in (user, password, token) if getattr(self, name) is not None}
        if given and self.alertmanager is None:
            yield self.written(user, password, token), "has no alertmanager to be used at; add its url, or remove it"
        if len(given & {user, password}) == 1:
            yield self.written(user, password), f"is one of {user} and {password}; give both or neither"
        if token in given and len(given) > 1:
            yield (token,), f"is one way in and {user} with {password} another; give one of them"

    def endpoint(self) -> Endpoint | None:
        """Return where the Alertmanager is, and who may post to it."""
        if self.alertmanager is None:
            return None
        return Endpoint(
            self.alertmanager,
            username_env=self.alertmanager_username_env,
            password_env=self.alertmanager_password_env,
            token_env=self.alertmanager_token_env,
        )


class DeliveryModel(Model):
    """``delivery:``: the services that there are (null: whichever the events name), and where they serve people."""

    services: list[Called] | None = None
    production: list[Called] | None = None

    def contradictions(self) -> Contradictions:
        """Yield lists that name nothing, or something twice."""
        for key, names in (("services", self.services), ("production", self.production)):
            if names == []:
                yield (key,), "is an empty list, and would refuse everything; name some, or write null"
            for n, name in enumerate(names or ()):
                if name in (names or ())[:n]:
                    yield (key, n), f"{name} is listed twice; remove one"


class ControlModel(Model):
    """One of ``controls:`` in ihsan.yaml; ``minimum`` is for controls that measure."""

    control: Annotated[str, StringConstraints(min_length=1)] = Field(examples=["evidence_chain"])
    weight: float = Field(gt=0, le=1e6, examples=["20"])
    description: Text = ""
    minimum: Share | None = None


MEASURING = ("telemetry_coverage",)
"""The controls that have a ``minimum``."""
