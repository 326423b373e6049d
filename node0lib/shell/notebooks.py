"""The two ends of the production-cycle notebook: what it is given, and where its result goes.

The runner passes ``out``, a folder in which ``given.json`` lies and into which ``result.json`` goes. Opened by hand,
with ``out`` empty, the notebook looks at the telemetry from outside, from the configured policy: the embedded node's
past is made in memory, nothing is read from or written to the installation's data, and only those compliance controls
are asked that telemetry can answer. What nobody looked at (key, evidence, clock) is not claimed to be in order.

JupyterLab starts a kernel in the notebook's folder, so a relative ``config`` is looked for from the working directory
and then from each parent that holds a folder ``configs``.

>>> progress("searching", 1, 1)
"""

from __future__ import annotations

import html
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

with warnings.catch_warnings():
    # Optuna imports tqdm, which in a kernel asks for ipywidgets, to draw a bar that nobody is shown; and its warning
    # carries a path of the machine into the pages.
    warnings.filterwarnings("ignore", "IProgress not found")
    import optuna  # noqa: F401

from node0lib.cycle import CycleResult, Given, Rules
from node0lib.errors import DataError
from node0lib.gates import Incident
from node0lib.ihsan import Facts
from node0lib.ports import SliSource, Target
from node0lib.shell.config import PrometheusTelemetry, Settings, load
from node0lib.shell.history import embedded_source
from node0lib.shell.observe import look
from node0lib.shell.prometheus import PrometheusSource
from node0lib.shell.records import read_given, write_result
from node0lib.shell.workspace import instant_of, rules_of, target_of
from node0lib.simulate.service import EmbeddedNode
from node0lib.timespan import format_instant, parse_instant

_SESSION = "JPY_SESSION_NAME"
"""What Jupyter's server sets for the kernel of an open notebook."""

_BY_HAND = ("telemetry_coverage",)
"""The controls that need no installation."""


@dataclass(frozen=True)
class Kept:
    """Where the result of a cycle was kept."""

    text: str

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, str]:
        return {"text/plain": self.text, "text/html": f"<p>{html.escape(self.text)}</p>"}


def open_cycle(config: str, at: str, out: str) -> tuple[Given, Rules, Target | None]:
    """Return what the cycle looks at, the rules people made, and the target; raises ConfigError or DataError.

    ``at`` is ISO 8601, empty for now; ``out`` the folder with ``given.json``, empty to look by hand.
    """
    settings = load(found(config))
    given = read_given(Path(out)) if out else by_hand(settings, parse_instant(at) if at else datetime.now(UTC))
    if out and at and parse_instant(at) != given.at:
        raise DataError(f"{out}/given.json is of {format_instant(given.at)}, not of {at}; pass its own instant")
    rules = rules_of(settings)
    return given, rules if out else asked_by_hand(rules), target_of(settings)


def found(config: str) -> Path:
    """Return where a configuration lies: from the working directory, or from a parent of it that holds ``configs``.

    The nearest one wins; one that lies nowhere is returned as it is, so that whoever loads it says so.
    """
    path = Path(config)
    parents = (f for f in Path.cwd().parents if (f / "configs").is_dir())
    places = (path, *(f / path for f in parents))
    return next((p for p in places if p.is_file()), path)


def asked_by_hand(rules: Rules) -> Rules:
    """Return the rules with those controls only that need no installation: nobody looked at the others' facts."""
    return replace(rules, controls=tuple(c for c in rules.controls if c.name in _BY_HAND))


def close_cycle(result: CycleResult, out: str) -> Kept:
    """Write ``result.json`` into ``out``, atomically; with ``out`` empty nothing is kept."""
    if not out:
        return Kept("opened by hand: nothing was written, nothing was applied")
    return Kept(f"the result is kept in {write_result(Path(out), result).as_posix()}")


def progress(what: str, done: int, total: int) -> None:
    """Show how far something is in the cell's output while somebody watches, and take it away at the end.

    Somebody watches where Jupyter's server started the kernel; a run that is stored or compared shows none.
    """
    if _SESSION not in os.environ:
        return
    from IPython.display import clear_output

    clear_output(wait=done < total)  # type: ignore[no-untyped-call]
    if done < total:
        print(f"{what}: {done} of {total}")


@contextmanager
def source_by_hand(settings: Settings, at: datetime) -> Iterator[SliSource]:
    """Open the telemetry without an installation: the embedded node's past is made in memory."""
    telemetry = settings.telemetry
    if isinstance(telemetry, PrometheusTelemetry):
        with PrometheusSource(telemetry.endpoint) as source:
            yield source
    else:
        yield embedded_source(EmbeddedNode(telemetry.seed), settings.initial_policy, at, telemetry.history)


def by_hand(settings: Settings, now: datetime, incidents: tuple[Incident, ...] = ()) -> Given:
    """Look at an instant without an installation: no history is kept, nothing was sealed."""
    at = instant_of(settings, now)
    with source_by_hand(settings, at) as source:
        return look(
            settings,
            source,
            at,
            policy=settings.initial_policy,
            facts=lambda coverage: Facts(coverage=coverage),
            ihsan_history=(),
            incidents=incidents,
            progress=progress,
        )
