"""The threshold explorer: sliders for a policy and a service, and at once what those thresholds would do.

Promises
- Moving a slider re-evaluates every simulated month and redraws. While an answer is computed, further moves are taken
  together: only the newest state is asked. One thing at a time; a lock keeps a second thread waiting.
- What is wrong is told in the panel, as one sentence. The numbers last shown go pale: they are not of this state.
- Nothing is written before its difference has been shown, and moving a slider takes that permission back.
- Shown first is a static result, for readers without a kernel; the live panel takes its place while there is one.

>>> print(explorer("configs/absent.yaml", "api_availability"))
Traceback (most recent call last):
...
node0lib.errors.ConfigError: configs/absent.yaml: does not exist; create it, or correct its name
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from node0lib.alerts.promrules import yaml_of
from node0lib.alerts.rules import rules_of
from node0lib.errors import Node0Error
from node0lib.shell.alerting_edit import changed, remarks, write
from node0lib.shell.catalogue_edit import Edit
from node0lib.shell.config import load
from node0lib.shell.explorer_sliders import Sliders
from node0lib.shell.files import write_atomic
from node0lib.shell.notebooks import found
from node0lib.simulate.explore import Answer
from node0lib.simulate.explore import Explorer as Months
from node0lib.simulate.thresholds import Chosen, alerted, starting
from node0lib.slo.catalogue import Catalogue
from node0lib.timespan import format_duration, parse_duration
from node0lib.views import words
from node0lib.views.display import Display
from node0lib.views.explorer_view import explored
from node0lib.views.tables import Column, table

VIEW = "application/vnd.jupyter.widget-view+json"
LIVE = "The live panel of the threshold explorer: run this cell in JupyterLab (node0 lab opens it)."
RULES = "threshold-explorer.rules.yaml"
_PAUSE_S = 0.015
"""How long moves are gathered: long enough for those that wait in the kernel's queue."""
_STYLE = "<style>.n0-default{display:none}</style>"
_BROKE = "This could not be evaluated; the log of the kernel tells why."
_COLUMNS = (
    Column("pair"),
    Column("windows"),
    Column("factor", number=True),
    Column("budget spent", number=True),
    Column("for", number=True),
    Column("min_bad", number=True),
)


@dataclass
class Latest:
    """Calls ``run`` soon after ``ask``, once for however many asked in between; at once where no loop is running."""

    run: Callable[[], None]
    _waiting: bool = field(default=False, repr=False)

    def ask(self) -> None:
        """Ask for a run; may be called from the loop that handles a page's messages."""
        if self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.run()
            return
        self._waiting = True
        loop.call_later(_PAUSE_S, self._due)

    def _due(self) -> None:
        self._waiting = False
        self.run()


@dataclass
class Panel:
    """The explorer of one SLO. In a notebook it shows itself: a static result, and the live panel."""

    config: Path
    sliders: Sliders
    months: Months
    answer: Answer
    shared_by: tuple[str, ...]
    edit: Edit | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.latest = Latest(self.refresh)
        self.result = widgets.HTML(explored(self.answer).html)
        self.trouble, self.told = widgets.HTML(), widgets.HTML()
        self.show = widgets.Button(description="Show the difference", layout=_button())
        self.write = widgets.Button(
            description="Write into the catalogue", disabled=True, button_style="warning", layout=_button()
        )
        self.export = widgets.Button(description="Export rules", layout=_button())
        self.show.on_click(lambda _: self._guarded(self.show_difference))
        self.write.on_click(lambda _: self._guarded(self.write_policy))
        self.export.on_click(lambda _: self._guarded(self.export_rules))
        self.sliders.observe(self._moved)

    @property
    def widget(self) -> widgets.Widget:
        """Everything, from top to bottom."""
        actions = widgets.HBox([self.show, self.write, self.export])
        shared = f"These pairs alert on {', '.join(self.shared_by)}; the objective is {self.sliders.start.slo}'s."
        parts = [widgets.HTML(_STYLE), self.sliders.layout(), self.trouble, self.result, actions]
        box = widgets.VBox([*parts, widgets.HTML(f"<small>{escape(shared)}</small>"), self.told])
        box.add_class("n0-explorer")
        return box

    def refresh(self) -> None:
        """Evaluate what the sliders show now, and redraw."""
        with self._lock:
            self._guarded(self._redraw)

    def _redraw(self) -> None:
        self.answer = self.months.answer(self.sliders.chosen().question())
        self.result.value = explored(self.answer).html

    def show_difference(self) -> None:
        """Show what writing would change in the catalogue, and allow it."""
        self._forget()
        self.edit = changed(self.config, self.sliders.chosen())
        if self.edit.after == self.edit.before:
            self._tell(f"{self.edit.shown} says this already: there is nothing to write.")
            return
        stale = remarks(self.edit)
        note = f"<p>Comments are kept. Are these still true? {escape('; '.join(stale))}</p>" if stale else ""
        self.told.value = f'<pre class="n0-diff" style="line-height:1.35">{_colored(self.edit.diff)}</pre>{note}'
        self.write.description = f"Write into {self.edit.shown}"
        self.write.disabled = False

    def write_policy(self) -> None:
        """Write the difference that was shown."""
        if self.edit is None:
            return
        edit = self.edit
        self._forget()
        write(edit)
        self._tell(f"Written into {edit.shown}.")

    def export_rules(self) -> None:
        """Write Prometheus rules for the catalogue with the chosen policy, and say where."""
        path = self.config.resolve()
        target, notes = exported(path, self.sliders.chosen())
        more = f" Not in them: {'; '.join(notes)}." if notes else ""
        self._tell(f"Rules written to {target.as_posix()}.{more}")

    def _moved(self, _: Any) -> None:
        self._forget()
        self.latest.ask()

    def _forget(self) -> None:
        """What is shown of the catalogue is of another state."""
        self.edit, self.write.disabled = None, True
        if self.told.value:
            self.told.value = ""

    def _tell(self, text: str) -> None:
        self.told.value = f"<p>{escape(text)}</p>"

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something; what is wrong is told in the panel. An error of node0's own goes on to the kernel's log."""
        told = _BROKE
        try:
            action()
            told = ""
        except Node0Error as error:
            told = str(error).replace("\n", "; ")
        finally:
            self._trouble(told)

    def _trouble(self, text: str) -> None:
        shown = f'<p class="n0-trouble" style="color:#b3261e;font-weight:600">{escape(text)}</p>' if text else ""
        if self.trouble.value != shown:
            self.trouble.value = shown
            self.result.layout.border_left = "4px solid #b3261e" if text else None

    def _ipython_display_(self) -> None:
        """Show the static result, and below it the panel, which hides the former as long as it lives."""
        static = explored(self.answer)
        shown = Display(f'<div class="n0-default">{static.html}</div>', static.text)
        view = {key: value for key, value in self.widget._repr_mimebundle_().items() if key == VIEW}
        display(shown)  # type: ignore[no-untyped-call]
        display({"text/plain": LIVE, **view}, raw=True)  # type: ignore[no-untyped-call]


def explorer(
    config: str,
    slo: str,
    *,
    months: int = 200,
    seed: int = 1,
    traffic: float = 36_000.0,
    floor: float = 0.0003,
    size: float = 0.05,
    length: str = "1h",
) -> Panel:
    """Return the explorer of an SLO at what the catalogue says; ``config`` is looked for as notebooks do.

    Raises ConfigError for a configuration that is not right, and an SLO that no pair alerts on.
    """
    path = found(config)
    catalogue = load(path).catalogue
    start = starting(catalogue, slo, months=months, seed=seed)
    start = replace(start, traffic=traffic, floor=floor, size=size, length=parse_duration(length))
    kept = Months(workers=os.cpu_count() or 1)
    return Panel(path, Sliders.of(start), kept, kept.answer(start.question()), alerted(catalogue))


def pairs_now(panel: Panel) -> Display:
    """Show the pairs that the explorer starts from, the catalogue's."""
    start = panel.sliders.start
    rows = [
        (
            pair.severity,
            f"{words.window(pair.long)} and {words.window(pair.short)}",
            f"{pair.factor:.4g}",
            words.percent(pair.factor * (pair.long / start.period)),
            format_duration(pair.hold),
            f"{pair.min_bad:g}",
        )
        for pair in start.pairs
    ]
    return table(f"The pairs of the catalogue; {start.slo} promises {words.objective(start.objective)}", _COLUMNS, rows)


def exported(config: Path, chosen: Chosen) -> tuple[Path, tuple[str, ...]]:
    """Write the rules of the catalogue with what is chosen into the reports; return where, and what is not in them."""
    settings = load(config)
    catalogue = with_chosen(settings.catalogue, chosen)
    version = importlib.metadata.version("node0")
    title = f"Generated by node0 {version} in the threshold explorer, from a policy that need not be the catalogue's."
    emitted = rules_of(catalogue, version=version, title=title)
    target = settings.reports / RULES
    write_atomic(target, yaml_of(emitted.file).encode("utf-8"))
    return target, emitted.notes


def with_chosen(catalogue: Catalogue, chosen: Chosen) -> Catalogue:
    """Return the catalogue with the chosen pairs and the SLO's chosen objective."""
    slos = tuple(
        replace(slo, objective=chosen.objective) if slo.name == chosen.slo else slo for slo in catalogue.slos
    )
    return replace(catalogue, slos=slos, alerting=chosen.alerting(catalogue.alerting))


def _button() -> widgets.Layout:
    return widgets.Layout(width="auto", min_width="180px")


def _colored(diff: str) -> str:
    """A difference in HTML; plus and minus tell it without colour, too."""
    colors = {"+": "#00785a", "-": "#b3261e", "@": "#52606d"}
    told = ((colors.get(line[:1], "inherit"), escape(line)) for line in diff.splitlines())
    return "\n".join(f'<span style="color:{color}">{line}</span>' for color, line in told)
