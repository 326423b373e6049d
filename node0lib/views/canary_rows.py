"""The tables of a rollout: its stages, its looks (a few dozen of them where there are many), and what was done.

>>> [column.head for column in DEEDS]
['when, UTC', 'command', 'share', 'confirmed after', 'why']
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from node0lib.canary.record import Deed, RolloutRecord
from node0lib.canary.sequential import MetricVerdict
from node0lib.canary.walk import Seen, Stage
from node0lib.ports import Arm
from node0lib.timespan import ensure_utc
from node0lib.views import words
from node0lib.views.canary_document import told
from node0lib.views.canary_figures import thinned
from node0lib.views.canary_incident import lasting, share
from node0lib.views.canary_tables import NAMES
from node0lib.views.display import Display, note
from node0lib.views.tables import Column, table

DEEDS = (
    Column("when, UTC"),
    Column("command"),
    Column("share", number=True),
    Column("confirmed after", number=True),
    Column("why"),
)
Unit = Literal["second", "minute"]
MOST = 40
"""About so many looks are shown; the JSON document has them all."""
_OUTCOMES = {
    "passed": "passed", "went_on": "went on", "failed": "failed", "held": "held", "telemetry_lost": "no data",
}  # fmt: skip
_COMMANDS = {
    "send": "send traffic", "hold": "hold", "promote": "promote", "roll_back": "roll back", "withdraw": "withdraw",
    "report": "report",
}  # fmt: skip


def unit(record: RolloutRecord) -> Unit:
    """Return in what the times of a rollout are told: seconds, where its looks are seconds apart."""
    return "second" if record.looks and min(s.look.length for s in record.looks) < 0.5 else "minute"


def _time(minutes: float, unit: Unit) -> str:
    return f"{60 * minutes:,.1f}" if unit == "second" else f"{minutes:.4g}"


def stages(record: RolloutRecord) -> Display:
    """Show every stage: outcome, length, both arms, what each metric showed at its end."""
    found = record.walked.stages if record.walked else ()
    if not found:
        return note("No stage was brought to its end.")
    metrics = tuple(dict.fromkeys(v.metric for s in found for v in s.verdicts))
    columns = (
        Column("stage", number=True), Column("outcome", state=True), Column(f"{unit(record)}s", number=True),
        Column("control failed", number=True), Column("canary failed", number=True),
        *(Column(words.metric(name), number=True) for name in metrics), Column("besides"),
    )  # fmt: skip
    caption = (
        "Of each metric: the largest ratio of canary to control that is not excluded / its margin. At 100%, where no "
        "control is left, the ratio is to an absolute limit"
    )
    return table(caption, columns, [_stage(stage, metrics, unit(record)) for stage in found])


def _stage(stage: Stage, metrics: Sequence[str], unit: Unit) -> tuple[str, ...]:
    found = {v.metric: words.bound(v) for v in stage.verdicts}
    return (
        share(stage.share), _OUTCOMES[stage.outcome], _time(stage.minutes, unit), _failed(stage.control),
        _failed(stage.canary), *(found.get(name, "-") for name in metrics),
        "; ".join(words.beyond(stage.reason, stage.verdicts)) or "-",
    )  # fmt: skip


def _failed(arm: Arm) -> str:
    return f"{arm.errors:,} of {arm.requests:,}"


def looks(record: RolloutRecord) -> Display:
    """Show looks: counts of both arms, ratio and what is not excluded, what each says."""
    if not record.looks:
        return note("There was no look.")
    kept = thinned([(s.rollout.revision, s.rollout.share, s.rollout.state) for s in record.looks], MOST)
    metrics = tuple(dict.fromkeys(v.metric for s in record.looks for v in s.reading.verdicts))
    columns = (
        Column(unit(record), number=True), Column("share", number=True), Column("state"),
        Column("control failed", number=True), Column("canary failed", number=True),
        *(Column(words.metric(name), number=True) for name in metrics), Column("open, and needs"),
    )  # fmt: skip
    every = len(kept) == len(record.looks)
    caption = "Every look" if every else f"{len(kept)} of {len(record.looks):,} looks; the JSON document has them all"
    caption += (
        ". Counts are of the look, ratios (and what is not excluded) of all that was seen until then; needs: so many "
        "more canary requests until an equal canary would pass"
    )
    return table(caption, columns, [_look(record.looks[n], metrics, unit(record)) for n in kept])


def _look(seen: Seen, metrics: Sequence[str], unit: Unit) -> tuple[str, ...]:
    found = {v.metric: v for v in seen.reading.verdicts}
    return (
        _time(seen.look.minute + seen.look.length, unit), share(seen.rollout.share), seen.rollout.state.value,
        _failed(seen.look.control), _failed(seen.look.canary),
        *(_ratio(found[name]) if name in found else "-" for name in metrics),
        _says(seen),
    )  # fmt: skip


def _ratio(v: MetricVerdict) -> str:
    if v.kind == "no_data":
        return "no data"
    low, high = words.allowed(v)
    between = f"({words.rate(low)}-{'any' if math.isinf(high) else words.rate(high)})"
    return between if v.ratio is None else f"{words.rate(v.ratio)} {between}"


def _says(seen: Seen) -> str:
    """Verdicts by name where all is as usual; else what is wrong."""
    reading = seen.reading
    if reading.lost or reading.failed or reading.broken:
        return told(seen)
    if reading.passed:
        return "all pass"
    open_ = [f"{NAMES.get(v.metric, v.metric)}{_needs(v)}" for v in reading.verdicts if v.kind != "pass"]
    return ", ".join(open_) or told(seen) or "-"


def _needs(v: MetricVerdict) -> str:
    return "" if v.need is None else f" {brief(v.need)}"


def brief(requests: int) -> str:
    """Return a count in two figures: 910, 2.7k, 1.2M.

    >>> [brief(n) for n in (7, 912, 2730, 999_999, 1_160_000)]
    ['7', '910', '2.7k', '1M', '1.2M']
    """
    rounded = float(f"{requests:.2g}")
    size, unit = next(((size, unit) for size, unit in ((1e6, "M"), (1e3, "k")) if rounded >= size), (1.0, ""))
    return f"{rounded / size:g}{unit}"


def deeds(record: RolloutRecord) -> Display:
    """Show every command: when it was decided, and how soon it was carried out and read back."""
    if not record.deeds:
        return note("Nothing was commanded.")
    days = {ensure_utc(deed.decided).date() for deed in record.deeds}
    form = "%H:%M:%S" if len(days) == 1 else "%Y-%m-%d %H:%M:%S"
    rows = [_deed(deed, form) for deed in record.deeds]
    return table("Commands in the order in which they were decided", DEEDS, rows)


def _deed(deed: Deed, form: str) -> tuple[str, ...]:
    after = "never" if deed.confirmed is None else lasting((deed.confirmed - deed.decided).total_seconds())
    return (
        ensure_utc(deed.decided).strftime(form), _COMMANDS[deed.command.kind], share(deed.command.share), after,
        deed.command.reason,
    )  # fmt: skip
