"""One screen at the end of a cycle: what stands where, what was decided, why, and where the evidence lies.

At most about 45 lines of 80 columns. Every mark is a word, so it reads without colour; the layout is ASCII, and
what the console's encoding cannot say becomes ``?`` rather than an error. Simulated is written in capitals.

>>> clip("a long reason that goes on", 15)
'a long...'
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from node0lib.canary.walk import Stage, Walked
from node0lib.cycle import CycleResult
from node0lib.gates import Gates
from node0lib.slo.budget import SloStatus
from node0lib.views import words

WIDTH = 80
_STYLES = {
    "meeting": "green", "at risk": "yellow", "breached": "bold red", "no data": "magenta",
    "open": "green", "closed": "bold red",
    "passed": "green", "went on": "yellow", "failed": "bold red", "held": "yellow", "telemetry lost": "bold red",
    "applied": "bold green", "no_change": "bold green", "rolled_back": "bold red", "blocked": "bold yellow",
}  # fmt: skip


@dataclass(frozen=True)
class Screen:
    """A rich renderable; ``files`` maps what a file is ("audit report") to where it lies."""

    result: CycleResult
    files: Mapping[str, str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in lines(self.result, self.files):
            yield _sayable(line, options.encoding)


def screen(result: CycleResult, files: Mapping[str, str]) -> Screen:
    """Return the screen of a cycle that ended with a result."""
    return Screen(result, files)


def clip(text: str, width: int) -> str:
    """Return the text in one line of at most ``width`` characters, cut between words."""
    return textwrap.shorten(text, width, placeholder="...") if len(text) > width else text


def _sayable(line: Text, encoding: str) -> Text:
    """Return the line with ``?`` for what the encoding does not have; lengths, and so the spans, stay."""
    plain = line.plain.encode(encoding, "replace").decode(encoding)
    return line if plain == line.plain else Text(plain, spans=line.spans, overflow="fold", no_wrap=line.no_wrap)


def lines(result: CycleResult, files: Mapping[str, str]) -> Iterator[Text]:
    """Yield the screen line by line."""
    yield from _head(result)
    yield from _statuses(result)
    yield from _gates(result.gates)
    yield from _proposal(result)
    yield from _rollout(result.rollout)
    yield from _decision(result)
    yield Text("")
    for name, path in files.items():
        yield Text.assemble((f"{name:<17} ", "bold"), path, overflow="fold")


def _head(result: CycleResult) -> Iterator[Text]:
    yield Text(f"Node0 cycle of {words.moment(result.at)}, mode {result.mode}", style="bold")
    yield Text(clip(f"telemetry: {result.source}; target: {result.target or 'none'}", WIDTH))
    simulated = words.banner(result.simulated, result.target_simulated)
    if simulated:
        yield Text(f"*** {simulated} ***", style="bold yellow")
    yield Text("")


def _statuses(result: CycleResult) -> Iterator[Text]:
    heads = f"{'SLO':<27}{'objective':>9}{'budget left':>12}{'burn 1h':>8}{'6h':>7}{'24h':>7}  state"
    yield Text(heads, style="bold")
    for s in result.statuses:
        yield _status(s)


def _status(s: SloStatus) -> Text:
    burns = [words.rate(s.burn.get(w)) for w in ("1h", "6h", "1d")]
    numbers = f"{words.objective(s.objective):>9}{words.percent(s.budget_left):>12}"
    state = words.STATES[s.state]
    row = f"{s.name[:26]:<27}{numbers}"
    return Text.assemble(f"{row}{burns[0]:>8}{burns[1]:>7}{burns[2]:>7}  ", (state, _STYLES[state]))


def _gates(gates: Gates) -> Iterator[Text]:
    yield Text("")
    yield Text.assemble(("Gates ", "bold"), _styled("open" if gates.open else "closed"))
    room = 3 if sum(not v.open for v in gates.verdicts) <= 2 else 2
    for v in gates.verdicts:
        yield from _told("open" if v.open else "closed", v.gate, v.reason, lines=2 if v.open else room)


def _styled(word: str) -> tuple[str, str]:
    return word, _STYLES.get(word, "")


def _told(word: str, name: str, reason: str, *, lines: int, wide: int = 17) -> Iterator[Text]:
    """Yield a marked row; a long reason is wrapped into at most ``lines`` lines.

    ``wide`` is the width of the name's column.
    """
    indent = 10 + wide
    parts = textwrap.wrap(reason, WIDTH - indent, max_lines=lines, placeholder="...") or [""]
    yield Text.assemble("  ", (f"{word:<8}", _STYLES.get(word, "")), f"{name:<{wide}}{parts[0]}")
    yield from (Text(" " * indent + part) for part in parts[1:])


def _proposal(result: CycleResult) -> Iterator[Text]:
    found = result.proposal
    yield Text("")
    if found is None:
        yield Text.assemble(("Proposal ", "bold"), "none")
        return
    risk = f"class {result.classified.change_class}" if result.classified else "not classified"
    yield Text.assemble(("Proposal ", "bold"), f"{risk}, improvement {words.interval(found.estimate)}")
    changed = ", ".join(f"{n} {a} -> {b}" for n, a, b in words.changes(result.policy, found.policy))
    yield from _wrapped(changed, 3)
    if not found.estimate.shown:
        yield Text("  not shown by the data: the interval includes 0", style="yellow")
    if not found.safe:
        yield Text("  it would overstep an SLO's limit", style="bold red")
    if result.classified and result.classified.reasons:
        yield from _wrapped(f"{risk}: {'; '.join(result.classified.reasons)}", 2)


def _wrapped(text: str, lines: int) -> Iterator[Text]:
    found = textwrap.wrap(text, WIDTH - 2, max_lines=lines, placeholder="...", break_on_hyphens=False)
    return (Text(f"  {part}") for part in found)


def _rollout(rollout: Walked | None) -> Iterator[Text]:
    if rollout is None:
        yield Text.assemble(("Walked  ", "bold"), "none")
        return
    how = f"{rollout.ending.replace('_', ' ')} after {rollout.minutes:g} minutes"
    yield Text.assemble(("Walked  ", "bold"), f"{how}; ratio canary to control / its margin:")
    for s in rollout.stages:
        name = f"{words.percent(s.share, 0)}, {s.minutes:g} min"
        most = 3 if s is rollout.stages[-1] else 2
        yield from _told(s.outcome.replace("_", " "), name, _stage(s), lines=most, wide=14)


_TELLING = {"fail": 0, "no_data": 1, "inconclusive": 2, "pass": 3}


def _stage(stage: Stage) -> str:
    """Return what each metric showed, the worst first, and what else was said of the stage."""
    verdicts = sorted(stage.verdicts, key=lambda v: _TELLING[v.kind])
    told = [f"{words.metric(v.metric.removeprefix('latency_'))} {words.bound(v)}" for v in verdicts]
    return "; ".join([*told, *words.beyond(stage.reason, stage.verdicts)])


def _decision(result: CycleResult) -> Iterator[Text]:
    kind = result.decision.kind
    title, meaning = words.outcome(kind)
    yield Text("")
    yield Text.assemble(("Decision ", "bold"), (title.upper(), _STYLES.get(kind, "bold")))
    yield from _wrapped(meaning, 2)
    if kind == "blocked":
        yield from _closed(result.gates)
        return
    stages = tuple(f"at {s.share:.0%}: " for s in result.rollout.stages) if result.rollout else ()
    for reason in result.decision.reasons[:3]:
        if not (stages and reason.startswith(stages)):  # the rollout above told what its stages said
            yield from _wrapped(f"- {reason}", 2)


def _closed(gates: Gates) -> Iterator[Text]:
    """Yield each closed gate with the first of its reasons and how many more there are; of many only the names."""
    closed = [v for v in gates.verdicts if not v.open]
    if len(closed) > 2:
        yield from _wrapped(f"- {', '.join(v.gate for v in closed)}", 2)
    else:
        for v in closed:
            first, *more = words.parts(v.reason)
            yield from _wrapped(f"- {v.gate}: {first}{f'; and {len(more)} more' if more else ''}", 2)
