"""One installation: where its files lie, which source and which target its configuration names.

>>> Places(Path("w"), Path("w/data"), Path("w/evidence"), Path("w/reports")).policy.as_posix()
'w/data/policy/alpha.policy.json'
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node0lib.cycle import Rules
from node0lib.errors import ConfigError, RunError
from node0lib.evidence.canonical import policy_bytes
from node0lib.evidence.names import APPROVALS, KEYS, POIS, PROVENANCES, SBOMS
from node0lib.optimize.knobs import check_policy
from node0lib.ports import Policy, Progress, SliSource, Target
from node0lib.shell.config import EmbeddedTarget, PrometheusTelemetry, Settings
from node0lib.shell.files import write_atomic
from node0lib.shell.history import History
from node0lib.shell.keys import KEY_VARIABLES
from node0lib.shell.prometheus import PrometheusSource
from node0lib.simulate.service import EmbeddedNode


@dataclass(frozen=True)
class Places:
    """The folders and files of one installation, absolute."""

    root: Path
    data: Path
    evidence: Path
    reports: Path

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """Return the places that the configuration names."""
        return cls(settings.root, settings.data, settings.evidence, settings.reports)

    def under(self, folder: Path) -> Places:
        """Return places for a rehearsal, all of them below ``folder``."""
        return Places(self.root, folder / "data", folder / "evidence", folder / "reports")

    @property
    def policy(self) -> Path:
        """The live policy."""
        return self.data / "policy" / "alpha.policy.json"

    @property
    def state(self) -> Path:
        return self.data / "node0.sqlite"

    @property
    def lock(self) -> Path:
        return self.data / "node0.lock"

    @property
    def history(self) -> Path:
        return self.data / "sli"

    @property
    def guard(self) -> Path:
        """Leases of rollouts, and what the guard wrote when it had to act."""
        return self.data / "guard"

    @property
    def metrics(self) -> Path:
        """What a cycle leaves for node_exporter's textfile collector."""
        return self.data / "metrics"

    @property
    def written(self) -> tuple[Path, ...]:
        """Every folder that a cycle writes files into; other installations below these are not its own."""
        cycles = self.data / "cycles"
        folders = (self.data, self.policy.parent, self.history, self.metrics, self.reports, *self._stores())
        return (*folders, *(cycles.iterdir() if cycles.is_dir() else ()))

    def _stores(self) -> tuple[Path, ...]:
        return tuple(self.evidence / name for name in (POIS, PROVENANCES, SBOMS, APPROVALS, KEYS))

    def cycle(self, cycle: str) -> Path:
        """Where one cycle's inputs and result lie."""
        return self.data / "cycles" / cycle

    def shown(self, path: Path) -> str:
        """Return the path as it is told to people: relative to the installation where it lies within."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def told(self, text: str) -> str:
        """Return a message without the installation's own folder: where it lies is nobody's business."""
        return text.replace(f"{self.root}{os.sep}", "")


def rules_of(settings: Settings) -> Rules:
    """Return what people decided beforehand."""
    return Rules(settings.catalogue, settings.ihsan, settings.optimizer)


def target_of(settings: Settings) -> Target | None:
    """Return the target on which a policy can be measured and tried; None where the configuration names none."""
    return EmbeddedNode(settings.target.seed) if isinstance(settings.target, EmbeddedTarget) else None


@contextmanager
def source_of(
    settings: Settings, places: Places, policy: Policy, at: datetime, progress: Progress
) -> Iterator[SliSource]:
    """Open the telemetry; the embedded node first makes the minutes that have passed until ``at``."""
    telemetry = settings.telemetry
    if isinstance(telemetry, PrometheusTelemetry):
        with PrometheusSource(telemetry.endpoint) as source:
            yield source
    else:
        history = History(places.history, EmbeddedNode(telemetry.seed))
        history.extend(at, policy, telemetry.history, progress)
        yield history


def instant_of(settings: Settings, now: datetime) -> datetime:
    """Return the instant that a cycle looks at: whole minutes on the embedded node, else a little before now."""
    if isinstance(settings.telemetry, PrometheusTelemetry):
        return (now - settings.telemetry.delay).replace(microsecond=0)
    return now.replace(second=0, microsecond=0)


def read_policy(path: Path) -> Policy:
    """Read a policy file; raises ConfigError if it is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    return parse_policy(content, str(path))


def parse_policy(content: bytes, where: str) -> Policy:
    """Parse the bytes of a policy file; raises ConfigError if they are not one."""
    try:
        data = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{where}: is not JSON ({error})") from error
    return check_policy(data, where)


def live_policy(places: Places, initial: Policy) -> Policy:
    """Return the live policy, or ``initial``, which a new installation starts from."""
    content = live_bytes(places)
    return parse_policy(content, places.shown(places.policy)) if content else initial


def live_bytes(places: Places) -> bytes:
    """Return the bytes of the live policy, none if there is no file; raises RunError if it cannot be read."""
    try:
        return places.policy.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{places.shown(places.policy)}: cannot be read ({why}); move away what is there") from error


def write_policy(places: Places, policy: Policy) -> None:
    """Make ``policy`` the live one, atomically; a file that holds its very bytes already is left alone."""
    if live_bytes(places) != policy_bytes(policy):
        write_atomic(places.policy, policy_bytes(policy))


def kernel_environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment of the notebook: this one's, without any variable that names or holds a secret."""
    secret = {name.upper() for name in (*KEY_VARIABLES, *settings.secret_variables)}
    return {name: value for name, value in os.environ.items() if name.upper() not in secret}
