"""The sliders of the threshold explorer: made from what is chosen, and read back into it.

Promises: what a slider shows is what is simulated; a value of the catalogue that lies between a slider's steps is a
step of its own. Traffic, error floor and fault go in round numbers, ten a decade.

>>> from node0lib.slo.catalogue import Catalogue
>>> from node0lib.slo.objective import Objective
>>> from node0lib.simulate.thresholds import starting
>>> chosen = starting(Catalogue((Objective("api", "ratio", 0.999, timedelta(days=30)),)), "api")
>>> Sliders.of(chosen).chosen() == chosen
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import ipywidgets as widgets

from node0lib.simulate.thresholds import Chosen, ChosenPair
from node0lib.timespan import parse_duration
from node0lib.views import words

_WINDOWS = ("1m", "2m", "5m", "10m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "24h", "2d", "3d")
_HOLDS = ("1m", "2m", "5m", "10m", "15m", "30m", "1h")
_LENGTHS = ("1m", "2m", "5m", "10m", "20m", "30m", "1h", "2h", "4h", "8h", "24h", "2d", "3d")
_OBJECTIVES = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
_V = TypeVar("_V", float, timedelta)
_WIDTH = "100%"
_COLUMN = "32%"
_STYLE = {"description_width": "90px"}
_ROUND = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


@dataclass
class PairSliders:
    """The sliders of one pair."""

    severity: str
    factor: widgets.FloatSlider
    long: widgets.SelectionSlider
    short: widgets.SelectionSlider
    hold: widgets.SelectionSlider
    min_bad: widgets.FloatSlider

    @classmethod
    def of(cls, pair: ChosenPair) -> PairSliders:
        """Return sliders at a pair's values."""
        return cls(
            pair.severity,
            _linear("factor", pair.factor, 0.2, 60.0, 0.1),
            _choice("long window", pair.long, _lengths(_WINDOWS[4:]), words.window),
            _choice("short window", pair.short, _lengths(_WINDOWS), words.window),
            _choice("for", pair.hold, (timedelta(0), *_lengths(_HOLDS)), words.window),
            _linear("min_bad", pair.min_bad, 0.0, 50.0, 1.0),
        )

    def read(self, before: ChosenPair) -> ChosenPair:
        """Return the pair that they show."""
        found = replace(before, long=self.long.value, short=self.short.value, hold=self.hold.value)
        factor, min_bad = _moved(self.factor, before.factor), _moved(self.min_bad, before.min_bad)
        return replace(found, factor=factor, min_bad=min_bad)

    def all(self) -> tuple[widgets.Widget, ...]:
        """Return them from top to bottom."""
        return self.factor, self.long, self.short, self.hold, self.min_bad


@dataclass
class Sliders:
    """All sliders; ``start`` is what was chosen when they were made."""

    start: Chosen
    objective: widgets.SelectionSlider
    traffic: widgets.SelectionSlider
    floor: widgets.SelectionSlider
    dispersion: widgets.FloatSlider
    size: widgets.SelectionSlider
    length: widgets.SelectionSlider
    pairs: tuple[PairSliders, ...]

    @classmethod
    def of(cls, chosen: Chosen) -> Sliders:
        """Return sliders at what is chosen."""
        return cls(
            chosen,
            _choice("objective", chosen.objective, _OBJECTIVES, words.objective),
            _choice("requests/h", chosen.traffic, _decades(1, 6), lambda value: f"{value:,.6g}"),
            _choice("error floor", chosen.floor, (0.0, *_decades(-6, -1)), _percent),
            _linear("dispersion", chosen.dispersion, 0.0, 3.0, 0.1),
            _choice("fault fails", chosen.size, (*_decades(-3, -1), 1.0), _percent),
            _choice("fault lasts", chosen.length, _lengths(_LENGTHS), words.window),
            tuple(PairSliders.of(pair) for pair in chosen.pairs),
        )

    def chosen(self) -> Chosen:
        """Return what they show."""
        start = self.start
        pairs = tuple(one.read(before) for one, before in zip(self.pairs, start.pairs, strict=True))
        return replace(
            start,
            objective=self.objective.value,
            traffic=self.traffic.value,
            floor=self.floor.value,
            dispersion=_moved(self.dispersion, start.dispersion),
            size=self.size.value,
            length=self.length.value,
            pairs=pairs,
        )

    def each(self) -> Iterator[widgets.Widget]:
        """Yield every slider."""
        yield from self._service()
        for pair in self.pairs:
            yield from pair.all()

    def _service(self) -> tuple[widgets.Widget, ...]:
        return self.objective, self.traffic, self.floor, self.dispersion, self.size, self.length

    def observe(self, moved: Callable[[Any], None]) -> None:
        """Have ``moved`` called whenever a value changes."""
        for slider in self.each():
            slider.observe(moved, "value")

    def layout(self) -> widgets.Widget:
        """Return them in columns: the service and the pairs that page, and below, folded, those that tell."""
        paging = [pair for pair in self.pairs if pair.severity != "info"]
        telling = [pair for pair in self.pairs if pair.severity == "info"]
        row = _wrapped([_column("service and fault", self._service()), *_columns(paging)])
        if not telling:
            return row
        titles = ("info pairs: they tell, and page nobody",)
        folded = widgets.Accordion(children=[_wrapped(_columns(telling))], titles=titles)
        return widgets.VBox([row, folded])


def _columns(pairs: Sequence[PairSliders]) -> list[widgets.Widget]:
    """One column for each pair, numbered where two would be called the same."""
    names = [pair.severity for pair in pairs]
    return [
        _column(f"{name} pair" + (f" {number}" if names.count(name) > 1 else ""), pair.all())
        for number, (name, pair) in enumerate(zip(names, pairs, strict=True), start=1)
    ]


def _column(title: str, sliders: Iterable[widgets.Widget]) -> widgets.Widget:
    head = widgets.HTML(f"<b>{title}</b>")
    layout = widgets.Layout(width=_COLUMN, min_width="290px", padding="0 12px 0 0")
    return widgets.VBox([head, *sliders], layout=layout)


def _wrapped(columns: Sequence[widgets.Widget]) -> widgets.Widget:
    return widgets.HBox(list(columns), layout=widgets.Layout(flex_flow="row wrap"))


def _slider(kind: Any, description: str, **given: Any) -> Any:
    layout = widgets.Layout(width=_WIDTH)
    return kind(description=description, style=_STYLE, layout=layout, **given)


def _linear(description: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """A slider whose steps meet the value: a page moves what lies between two steps."""
    low = value - step * math.floor(max(0.0, value - low) / step + 1e-9)
    digits = ".1f" if step < 1 else ".0f"
    return _slider(
        widgets.FloatSlider, description, value=value, min=low, max=max(high, value), step=step, readout_format=digits
    )


def _choice(description: str, value: _V, values: Iterable[_V], told: Callable[[_V], str]) -> widgets.SelectionSlider:
    """A slider over some values, ``value`` being one of them."""
    options = [(told(one), one) for one in sorted(set(values) | {value})]
    return _slider(widgets.SelectionSlider, description, options=options, value=value)


def _lengths(texts: Iterable[str]) -> tuple[timedelta, ...]:
    return tuple(parse_duration(text) for text in texts)


def _decades(first: int, after: int) -> tuple[float, ...]:
    """Round numbers from 10^first on to below 10^after."""
    return tuple(float(f"{number}e{power}") for power in range(first, after) for number in _ROUND)


def _percent(share: float) -> str:
    return f"{share * 100:.4g}%"


def _moved(slider: Any, start: float) -> float:
    """The slider's value; its start exactly while it stands there: a page may send back its last digit otherwise."""
    value = float(slider.value)
    return start if abs(value - start) <= 1e-6 * abs(start) else round(value, 6)
