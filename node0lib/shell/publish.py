"""Publish what a cycle found: the audit and the investor report, whole or not at all.

Every digest on a page was computed by the runner from the files as they lie. A run that did not get as far as a
notebook still has its two pages.

>>> banner(Source("prometheus", simulated=False), target_simulated=False, clock="real") is None
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from node0lib.cycle import CycleResult
from node0lib.evidence.poi import Clock, Source
from node0lib.evidence.statement import Artifact
from node0lib.gates import Incident
from node0lib.shell.config import Settings
from node0lib.shell.execution import Execution
from node0lib.shell.files import write_atomic
from node0lib.shell.sealing import Sealed
from node0lib.shell.workspace import Places, target_of
from node0lib.timespan import format_instant

if TYPE_CHECKING:
    from node0lib.views.report import ReportFacts

_CLOCKS: Mapping[Clock, str] = {
    "real": "Its instant was read from the machine's clock.",
    "simulated": "Its clock was simulated: this hour was rehearsed.",
}


_FAILED = ("The run failed: what it shows was not concluded, and no decision was acted on.",)


@dataclass(frozen=True)
class Page:
    """What the pages of one cycle say."""

    cycle: str
    at: datetime
    status: str
    reasons: tuple[str, ...]
    incidents: tuple[Incident, ...]
    settings: Settings
    places: Places
    source: Source
    clock: Clock
    forced: bool
    result: CycleResult | None
    execution: Execution | None
    artifacts: tuple[Artifact, ...]
    sealed: Sealed | None
    chain_problem: str | None
    deployments: tuple[tuple[str, str], ...]


def banner(source: Source, *, target_simulated: bool, clock: Clock) -> str | None:
    """Return what every page of the reports must say if anything was simulated."""
    said = [
        *(["SIMULATED TARGET"] if target_simulated else []),
        *(["SIMULATED TELEMETRY"] if source.simulated else []),
        *(["SIMULATED CLOCK"] if clock == "simulated" else []),
    ]
    return " - ".join(said) or None


def reports(page: Page) -> tuple[Path, Path]:
    """Write both reports; return their paths. Raises RunError if one cannot be written."""
    import nbformat

    from node0lib.views.report import audit, investor

    facts, notebook = _facts(page), page.execution.notebook if page.execution else nbformat.v4.new_notebook()
    folder = page.places.reports
    paths = folder / f"{page.cycle}.audit.html", folder / f"{page.cycle}.investor.html"
    for path, make in zip(paths, (audit, investor), strict=True):
        write_atomic(path, make(notebook, facts).encode())
    return paths


def _facts(page: Page) -> ReportFacts:
    from node0lib.views.headlines import caveats, headlines
    from node0lib.views.report import ReportFacts

    target, execution, result = target_of(page.settings), page.execution, page.result
    known = (_signed(page), _delivered(page))
    return ReportFacts(
        cycle=page.cycle,
        at=page.at,
        status=page.status,
        failed=result is None,
        message="; ".join(page.reasons) if result is None else "",
        reasons=_reasons(page),
        banner=banner(page.source, target_simulated=bool(target and target.simulated), clock=page.clock),
        mode=page.settings.mode,
        source=page.source.name,
        target=target.name if target else None,
        parameters=_parameters(page),
        cells=tuple((c.title, c.state, c.seconds) for c in execution.cells) if execution else (),
        digests=_digests(page),
        evidence=_evidence(page),
        builder=f"node0 {version('node0')}",
        headlines=(*headlines(result), *known) if result else known,
        caveats=(*(caveats(result) if result else _FAILED), *_blind(page)),
        clock=_CLOCKS[page.clock],
        result=result,
    )


def _reasons(page: Page) -> tuple[str, ...]:
    """The decision's reasons and the incidents; a failure is the page's message, and is not said again."""
    told = () if page.result is None else page.reasons
    more = (i for i in page.incidents if not any(r.splitlines()[0] in i.summary for r in page.reasons if r))
    return (*told, *(f"incident {i.kind}: {i.summary}" for i in more))


def _parameters(page: Page) -> Mapping[str, object]:
    return {
        "config": page.places.shown(page.settings.config),
        "at": format_instant(page.at),
        "out": page.places.shown(page.places.cycle(page.cycle)),
        "interval waited out": "no, it was forced" if page.forced else "yes",
    }


def _digests(page: Page) -> tuple[tuple[str, str], ...]:
    sealed = page.sealed.artifacts if page.sealed else ()
    return tuple((a.uri or a.name, a.sha256) for a in (*page.artifacts, *sealed))


def _evidence(page: Page) -> tuple[str, ...]:
    if page.sealed is None:
        return ()
    return tuple(page.places.shown(page.places.evidence / str(a.uri)) for a in page.sealed.artifacts)


def _blind(page: Page) -> tuple[str, ...]:
    if page.chain_problem is None:
        return ()
    return (f"The evidence does not verify, so nothing was added to it: {page.chain_problem}",)


def _delivered(page: Page) -> tuple[str, str, str]:
    """Deployments of the last 30 days, this cycle's own not yet among them."""
    failed = sum(outcome == "failed" for _, outcome in page.deployments)
    told = f"{failed} of them failed" if failed else "none failed"
    target = f"the target is at most {page.settings.catalogue.dora.change_fail_rate:.0%}"
    return "Deployments", str(len(page.deployments)), f"in the 30 days before this cycle; {told}; {target}"


def _signed(page: Page) -> tuple[str, str, str]:
    """How many signed records this cycle left."""
    if page.sealed is None:
        return "Evidence", "None", "this cycle left no signed record"
    return "Evidence", f"{len(page.sealed.artifacts)} records", "of this cycle, bound to each other by digests"
