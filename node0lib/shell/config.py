"""What people wrote, read once at the door: ``node0.yaml`` and the files it names become frozen ``Settings``.

Promises: either everything is right, and nobody checks again, or one ConfigError tells every mistake of every file,
one a line: ``configs/slo.yaml:37: slos.api_latency_p95.objective: 1.2 must lie strictly between 0 and 1; ...``.

Paths: ``slo``, ``ihsan``, ``policy``, ``evidence.constraints`` and ``telemetry.ca_file`` are relative to the file that
names them; ``paths`` are relative to the root: the parent of the nearest folder called ``configs`` above the file,
else the file's own folder.

>>> root_of(Path("/srv/node0/configs/examples/prometheus-self.yaml")).as_posix()
'/srv/node0'
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from node0lib.errors import ConfigError
from node0lib.ihsan import CONTROLS, Control
from node0lib.optimize.knobs import check_policy, policy_mistakes
from node0lib.optimize.propose import Search
from node0lib.ports import Policy
from node0lib.shell.catalogue_file import (
    CatalogueFile,
    checked,
    items,
    known_keys,
    read_catalogue,
    silent_alerts,
    too_fine,
    unanswerable,
    unique,
)
from node0lib.shell.mistakes import Mistakes, Source, nearest, shown
from node0lib.shell.policy_file import read_json
from node0lib.shell.prometheus import Endpoint
from node0lib.shell.schema import Model
from node0lib.shell.settings import (
    Delivery,
    EmbeddedTarget,
    EmbeddedTelemetry,
    Notification,
    PrometheusTelemetry,
    Schedule,
    Settings,
    TrafficTarget,
)
from node0lib.shell.settings_schema import (
    MEASURING,
    TELEMETRY,
    ControlModel,
    DeliveryModel,
    EmbeddedModel,
    EvidenceModel,
    NodeModel,
    NotificationModel,
    OptimizerModel,
    PathsModel,
    PrometheusModel,
    ScheduleModel,
    TargetModel,
)
from node0lib.shell.yaml_lines import MAX_BYTES, Document, KeyPath, parse
from node0lib.slo.catalogue import Catalogue

__all__ = [
    "EmbeddedTarget",
    "EmbeddedTelemetry",
    "Notification",
    "PrometheusTelemetry",
    "Schedule",
    "Settings",
    "TrafficTarget",
    "load",
    "root_of",
]
_T = TypeVar("_T")
_SECTIONS: dict[str, type[Model]] = {
    "paths": PathsModel,
    "target": TargetModel,
    "schedule": ScheduleModel,
    "optimizer": OptimizerModel,
    "evidence": EvidenceModel,
    "notification": NotificationModel,
    "delivery": DeliveryModel,
}


def root_of(config: Path) -> Path:
    """Return the installation's root for an absolute path of its node0.yaml."""
    above = [folder for folder in config.parents if folder.name == "configs"]
    return above[0].parent if above else config.parent


def load(config: Path) -> Settings:
    """Read ``config`` and every file it names; raises ConfigError with every mistake, one a line."""
    try:
        path = _resolved(config)
        content = _content(path)
    except ConfigError as error:
        raise ConfigError(f"{_told(config)}: {error}") from error
    return _Reading(path, content).settings()


class _Reading:
    """One reading of one installation: the files that were opened, and what was wrong with them."""

    def __init__(self, config: Path, content: bytes) -> None:
        self._config, self._root, self._files = config, root_of(config), [config]
        self._mistakes = Mistakes()
        self._scrape_interval: timedelta | None = None
        self._main = self._mistakes.source(parse(content), _told(config))

    def settings(self) -> Settings:
        """Return the settings; raises ConfigError."""
        top = self._mistakes.parsed(self._main, (), NodeModel)
        if not isinstance(self._main.document.data, dict):
            self._mistakes.raise_if_any()
        sections: dict[str, Any] = {k: checked(self._mistakes, self._main, (k,), m) for k, m in _SECTIONS.items()}
        telemetry = self._telemetry()
        catalogue = self._catalogue()
        ihsan = self._named("ihsan", parse, self._controls)
        policy = self._named("policy", read_json, self._policy)
        places = self._places(sections["paths"])
        constraints = self._file(("evidence", "constraints"))
        self._mistakes.raise_if_any()
        assert top and telemetry and catalogue and ihsan and policy  # else there were mistakes
        return Settings(
            config=self._config,
            root=self._root,
            catalogue=catalogue,
            ihsan=ihsan,
            initial_policy=policy,
            **places,
            telemetry=telemetry,
            target=_target(sections["target"], telemetry, self._config.parent),
            mode=top.mode,
            schedule=Schedule(**dict(sections["schedule"])),
            optimizer=Search(**dict(sections["optimizer"])),
            constraints=constraints,
            notification=_notification(sections["notification"]),
            files=tuple(self._files),
            delivery=_delivery(sections["delivery"]),
            notes=silent_alerts(catalogue),
        )

    def _telemetry(self) -> EmbeddedTelemetry | PrometheusTelemetry | None:
        kind = self._main.document.at(("telemetry", "kind"))
        if not isinstance(kind, str) or kind not in TELEMETRY:
            self._no_telemetry(kind)
            return None
        model = checked(self._mistakes, self._main, ("telemetry",), TELEMETRY[kind])
        if isinstance(model, EmbeddedModel):
            return EmbeddedTelemetry(model.seed, model.history)
        return self._prometheus(model) if isinstance(model, PrometheusModel) else None

    def _no_telemetry(self, kind: object) -> None:
        if ("telemetry",) in self._main.document.lines:
            what = "is missing" if kind is None else f"{shown(kind)} is no telemetry"
            hint = nearest(kind, TELEMETRY) if isinstance(kind, str) else f"write {' or '.join(TELEMETRY)}"
            self._mistakes.add(self._main, ("telemetry", "kind"), f"{what}; {hint}")

    def _prometheus(self, model: PrometheusModel) -> PrometheusTelemetry:
        given = {**dict(model), "ca_file": self._file(("telemetry", "ca_file"))}
        endpoint = Endpoint(**{name: value for name, value in given.items() if name not in ("kind", "delay")})
        self._scrape_interval = endpoint.scrape_interval
        return PrometheusTelemetry(endpoint, model.delay)

    def _catalogue(self) -> Catalogue | None:
        """The catalogue of the file that ``slo`` names, or of the mapping that it is."""
        slo = self._main.document.at(("slo",))
        if isinstance(slo, dict):
            return self._answerable(self._main, read_catalogue(self._mistakes, self._main, ("slo",)))
        return self._named("slo", parse, self._from_file)

    def _from_file(self, source: Source) -> Catalogue:
        return self._answerable(source, read_catalogue(self._mistakes, source, ()))

    def _answerable(self, source: Source, read: CatalogueFile) -> Catalogue:
        kind = self._main.document.at(("telemetry", "kind"))
        for path, slo in read.slos:
            fine = too_fine(slo, self._scrape_interval) if self._scrape_interval else ()
            for below, text in (*unanswerable(slo, str(kind)), *fine):
                self._mistakes.add(source, (*path, *below), text)
        return read.catalogue

    def _controls(self, source: Source) -> tuple[Control, ...]:
        if not known_keys(self._mistakes, source, (), ("controls",), what="a mapping"):
            return ()
        unique(self._mistakes, source, ("controls",), "control")
        paths = items(self._mistakes, source, ("controls",), example="- {control: evidence_chain, weight: 20}")
        return tuple(control for path in paths if (control := self._control(source, path)) is not None)

    def _control(self, source: Source, path: KeyPath) -> Control | None:
        model = self._mistakes.parsed(source, path, ControlModel)
        if model is None:
            return None
        if model.control not in CONTROLS:
            text = f"{model.control!r} is no control; {nearest(model.control, CONTROLS)}"
            self._mistakes.add(source, (*path, "control"), text)
        elif model.minimum is not None and model.control not in MEASURING:
            self._mistakes.add(source, (*path, "minimum"), f"{model.control} measures nothing; remove minimum")
        return Control(model.control, model.weight, model.minimum, model.description)

    def _policy(self, source: Source) -> Policy | None:
        wrong = policy_mistakes(source.document.data)
        for knob, text in wrong:
            self._mistakes.add(source, (knob,) if knob else (), text)
        return None if wrong else check_policy(source.document.data, source.shown)

    def _named(self, key: str, read: Callable[[bytes], Document], use: Callable[[Source], _T]) -> _T | None:
        """Open the file that a key of node0.yaml names and make something of it; None, and notes, if it cannot be."""
        name = self._main.document.at((key,))
        if not isinstance(name, str) or not name.strip():
            if key == "slo" and ("slo",) in self._main.document.lines:
                text = f"{shown(name)} is neither a file's name nor a mapping; write for example slo.yaml"
                self._mistakes.add(self._main, ("slo",), text)
            return None
        try:
            path = _resolved(self._config.parent / name)
            source = self._mistakes.source(read(_content(path)), _told(path))
        except ConfigError as error:
            self._mistakes.add(self._main, (key,), f"{_told(self._config.parent / name)} {error}")
            return None
        self._files.append(path)
        return None if source.document.unreadable else use(source)

    def _file(self, path: KeyPath) -> Path | None:
        """The absolute path of a file that must be there, relative to node0.yaml; None where none is named."""
        name = self._main.document.at(path)
        if not isinstance(name, str) or not name.strip():
            return None
        try:
            found = _resolved(self._config.parent / name)
            _must_be_file(found)
        except ConfigError as error:
            self._mistakes.add(self._main, path, f"{_told(self._config.parent / name)} {error}")
            return None
        return found

    def _places(self, paths: PathsModel | None) -> dict[str, Path]:
        """Data, evidence, reports and notebook, absolute: three folders that differ, and a file that is there."""
        places: dict[str, Path] = {}
        for name, value in dict(paths or ()).items():
            path = self._root / value
            try:
                places[name] = _resolved(path)
                if name == "notebook":
                    _must_be_file(places[name])
                else:
                    _may_be_folder(places[name])
            except ConfigError as error:
                self._mistakes.add(self._main, ("paths", name), f"{_told(path)} {error}")
        for first, second in itertools.combinations([n for n in places if n != "notebook"], 2):
            if places[first] == places[second]:
                text = f"is the same folder as {first}; each needs a folder of its own"
                self._mistakes.add(self._main, ("paths", second), text)
        return places


def _notification(model: NotificationModel) -> Notification:
    return Notification(tuple(model.on), model.file, model.webhook_env, model.endpoint())


def _delivery(model: DeliveryModel) -> Delivery:
    services = None if model.services is None else frozenset(model.services)
    return Delivery(services, None if model.production is None else tuple(model.production))


def _target(
    model: TargetModel, telemetry: EmbeddedTelemetry | PrometheusTelemetry, folder: Path
) -> EmbeddedTarget | TrafficTarget | None:
    """The embedded target is the node that the telemetry comes from, where it comes from one."""
    if model.kind == "none":
        return None
    if model.file is not None:
        return TrafficTarget(folder / model.file)
    seed = telemetry.seed if isinstance(telemetry, EmbeddedTelemetry) else EmbeddedModel(kind="embedded").seed
    return EmbeddedTarget(seed)


def _content(path: Path) -> bytes:
    """Return the bytes of a file, one more than allowed at most; raises ConfigError without its name."""
    _must_be_file(path)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror or error}); correct its permissions") from error


def _must_be_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ConfigError("is a folder; name the file in it")
        if not path.exists():
            raise ConfigError("does not exist; create it, or correct its name")
        if not path.is_file():
            raise ConfigError("is no regular file; name one")
    except OSError as error:
        raise ConfigError(f"cannot be looked at ({error.strerror or error}); correct its name") from error


def _may_be_folder(path: Path) -> None:
    try:
        if path.exists() and not path.is_dir():
            raise ConfigError("is a file; name a folder")
    except OSError as error:
        raise ConfigError(f"cannot be looked at ({error.strerror or error}); correct its name") from error


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError in 3.11
        raise ConfigError("cannot be resolved; does a link lead to itself?") from error


def _told(path: Path) -> str:
    """Return the path as messages call it: relative to where the person is, if it lies below."""
    here = Path.cwd()
    whole = Path(os.path.normpath(here / path))
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else whole.as_posix()
