"""What an installation is told, as frozen values that cannot be wrong; ``config.load`` makes them.

>>> Schedule(timedelta(hours=1), timedelta(minutes=15), timedelta(minutes=10)).every
datetime.timedelta(seconds=3600)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from node0lib.cycle import Mode
from node0lib.ihsan import Control
from node0lib.optimize.propose import Search
from node0lib.ports import Policy
from node0lib.shell.prometheus import Endpoint
from node0lib.slo.catalogue import Catalogue


@dataclass(frozen=True)
class EmbeddedTelemetry:
    """The embedded node of that seed; its first use makes the past ``history``."""

    seed: int
    history: timedelta


@dataclass(frozen=True)
class PrometheusTelemetry:
    """A server to ask; a cycle looks at ``delay`` before now, so that late samples are in."""

    endpoint: Endpoint
    delay: timedelta


@dataclass(frozen=True)
class EmbeddedTarget:
    """The embedded node as what the policy governs."""

    seed: int


@dataclass(frozen=True)
class TrafficTarget:
    """Real traffic behind HAProxy, as ``file`` says: rollouts move it; no candidate is measured on it before."""

    file: Path


@dataclass(frozen=True)
class Schedule:
    """How often a cycle starts, how far apart two must be, and when a notebook is out of time."""

    every: timedelta
    at_least_between: timedelta
    deadline: timedelta


@dataclass(frozen=True)
class Notification:
    """Of which endings to tell: in a file of the data folder, and at the address that a variable holds.

    ``alertmanager`` is told of every burn-rate alert that fires, however the cycle ended.
    """

    on: tuple[str, ...]
    file: str | None
    webhook_env: str | None
    alertmanager: Endpoint | None = None


@dataclass(frozen=True)
class Delivery:
    """The services that may deliver, None for whichever the events name; and the environments that incidents belong to,
    None for "production" or, if a report asks for others only, for those."""

    services: frozenset[str] | None = None
    production: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Settings:
    """One installation's configuration, whole and right. Paths are absolute.

    ``files`` is every file that was read, for hashing;
    ``constraints`` is the file of pins, None where nothing is pinned; ``target`` is None where no policy can be
    tried; ``notes`` are no mistakes, but worth a look (an alert that can never fire).
    """

    config: Path
    root: Path
    catalogue: Catalogue
    ihsan: tuple[Control, ...]
    initial_policy: Policy
    data: Path
    evidence: Path
    reports: Path
    notebook: Path
    telemetry: EmbeddedTelemetry | PrometheusTelemetry
    target: EmbeddedTarget | TrafficTarget | None
    mode: Mode
    schedule: Schedule
    optimizer: Search
    constraints: Path | None
    notification: Notification
    files: tuple[Path, ...]
    delivery: Delivery = Delivery()
    notes: tuple[str, ...] = ()

    @property
    def secret_variables(self) -> tuple[str, ...]:
        """The environment variables that hold secrets, for keeping them from the notebook."""
        names = [self.notification.webhook_env]
        asked = self.telemetry.endpoint if isinstance(self.telemetry, PrometheusTelemetry) else None
        for e in (asked, self.notification.alertmanager):
            names += [e.username_env, e.password_env, e.token_env] if e is not None else []
        return tuple(name for name in names if name)
