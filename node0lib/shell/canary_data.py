"""The data of two arms as ``node0 canary judge`` reads them: counts, samples, histograms, looks in order.

What is not there is a ``Gap``; what cannot be is noted with its line (``Mistakes``), and read on.

>>> from node0lib.shell.json_lines import parse_json
>>> mistakes = Mistakes()
>>> text = b'{"samples": {"control": [1, 2], "canary": [1, null]}}'
>>> data_at(At(mistakes, mistakes.source(parse_json(text, "input.json"), "input.json"), ()))
Samples(control=(1.0, 2.0), canary=(1.0, nan))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node0lib.canary.arms import ARMS, Baseline, Counts, Data, Gap, Histograms, Samples
from node0lib.canary.sequential import Tally
from node0lib.errors import DataError
from node0lib.shell.mistakes import Mistakes, Source, nearest, shown
from node0lib.shell.yaml_lines import KeyPath
from node0lib.sli.histogram import Histogram

_KINDS = ("counts", "samples", "histogram")
_LARGEST = 10**300


@dataclass(frozen=True)
class At:
    """A place in the file, and where to note what is wrong there."""

    mistakes: Mistakes
    source: Source
    path: KeyPath

    def below(self, *keys: str | int) -> At:
        """Return the place under some keys."""
        return At(self.mistakes, self.source, (*self.path, *keys))

    @property
    def value(self) -> Any:
        """What is written there; None if nothing is."""
        return self.source.document.at(self.path)

    def wrong(self, text: str) -> None:
        """Note what is wrong there."""
        self.mistakes.add(self.source, self.path, text)

    def keys(self, *known: str, optional: tuple[str, ...] = ()) -> bool:
        """Whether there is a mapping of exactly those keys; notes what is not so."""
        if not isinstance(self.value, Mapping):
            self.wrong(f"{shown(self.value)} is not a mapping; write the keys {', '.join(known)}")
            return False
        extra = [key for key in self.value if key not in known + optional]
        for key in extra:
            self.below(key).wrong(f"is no key here; {nearest(key, known + optional)}")
        missing = [key for key in known if key not in self.value]
        for key in missing:
            self.wrong(f"{key} is missing; write the keys {', '.join(known)}")
        return not (extra or missing)


def has(at: At, key: str) -> bool:
    """Whether something is written there; null is what programs write for nothing."""
    return isinstance(at.value, Mapping) and at.value.get(key) is not None


def data_at(at: At) -> Data | Gap:
    """Return what was measured of a metric, or why there is nothing; mistakes are noted."""
    given = [kind for kind in _KINDS if has(at, kind)]
    if has(at, "query_error"):
        if given:
            at.below(given[0]).wrong("stands beside query_error; keep one of the two")
        return Gap("query_error", str(at.below("query_error").value))
    if len(given) != 1:
        what = f"{' and '.join(given)} stand side by side" if given else "there is no data"
        at.wrong(f"{what}; write exactly one of {', '.join(_KINDS)}, or query_error")
        return Counts(())
    if given[0] == "samples":
        return _samples(at.below("samples"))
    if given[0] == "counts":
        if has(at, "threshold") or has(at, "quantile"):
            at.below("counts").wrong("are not asked for a threshold or a quantile; remove it")
        return _counts(at.below("counts"))
    return _histograms(at.below("histogram"))


def _samples(at: At) -> Data:
    if not at.keys(*ARMS):
        return Counts(())
    control, canary = (_values(at.below(arm)) for arm in ARMS)
    return Samples(control, canary)


def _values(at: At) -> tuple[float, ...]:
    """Numbers, NaN for null; the first that is none is told."""
    if not isinstance(at.value, list):
        at.wrong(f"{shown(at.value)} is not a list; write [1.5, 2, …]")
        return ()
    for n, value in enumerate(at.value):
        if value is not None and not _is_number(value):
            at.below(n).wrong(f"{shown(value)} is not a number; write a finite one, or null where one is missing")
            return ()
    return tuple(math.nan if v is None else float(v) for v in at.value)


def _is_number(value: object) -> bool:
    """Whether it is a number that a float can hold, or NaN; JSON's 1e999 is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not math.isinf(value) if isinstance(value, float) else abs(value) < _LARGEST


def _counts(at: At) -> Data | Gap:
    looks = [at.below(n) for n in range(len(at.value))] if isinstance(at.value, list) else [at]
    if not looks:
        at.wrong("has no looks; write one at least, or query_error")
    found = [_tally(look) for look in looks]
    gap = next((one for one in found if isinstance(one, Gap)), None)
    return gap or Counts(tuple(one for one in found if isinstance(one, Tally)))


def _tally(at: At) -> Tally | Gap | None:
    if not at.keys(*ARMS) or not all([at.below(arm).keys("requests", "bad") for arm in ARMS]):
        return None
    read = [[_count(at.below(arm, key)) for key in ("requests", "bad")] for arm in ARMS]
    for arm, (requests, bad) in zip(ARMS, read, strict=True):
        if requests == -1 or bad == -1:
            return None
        if requests is None or bad is None:
            return Gap("nan", f"a count of the {arm} is missing")
        if bad > requests:
            at.below(arm, "bad").wrong(f"{bad} is more than the {requests} requests; bad ones are part of them")
            return None
    (a, b), (c, d) = read
    return Tally((a or 0, c or 0), (b or 0, d or 0))


def _count(at: At) -> int | None:
    """A count; None for null or NaN, and -1, with a note, for what is none."""
    value = at.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    if isinstance(value, bool) or not (isinstance(value, int) or whole) or not 0 <= value < 2**53:
        at.wrong(f"{shown(value)} is not a count; write a whole number, 0 or more")
        return -1
    return int(value)


def _histograms(at: At) -> Data | Gap:
    many = has(at, "looks")
    if not (at.keys("bounds", "looks") if many else at.keys("bounds", *ARMS)):
        return Counts(())
    bounds = _values(at.below("bounds"))
    if many and not (isinstance(at.below("looks").value, list) and at.below("looks").value):
        at.below("looks").wrong("has no looks; write a list of {control, canary}, one at least")
        return Counts(())
    looks = [at.below("looks", n) for n in range(len(at.below("looks").value))] if many else [at]
    pairs = []
    for look in looks:
        if many and not look.keys(*ARMS):
            continue
        pair = [_histogram(look.below(arm), bounds) for arm in ARMS]
        if gap := next((one for one in pair if isinstance(one, Gap)), None):
            return gap
        if isinstance(pair[0], Histogram) and isinstance(pair[1], Histogram):
            pairs.append((pair[0], pair[1]))
    return Histograms(tuple(pairs))


def _histogram(at: At, bounds: tuple[float, ...]) -> Histogram | Gap | None:
    counts = at.value if isinstance(at.value, list) else []
    read = [_count(at.below(n)) for n in range(len(counts))]
    if -1 in read:
        return None
    if None in read:
        return Gap("nan", f"a bucket of the {at.path[-1]} is missing")
    try:
        return Histogram(bounds, tuple(c or 0 for c in read))
    except DataError as error:
        at.wrong(f"{error}; write cumulative counts, the last for +Inf")
        return None


def baseline_at(at: At) -> Baseline | None:
    """Return what the control was like before; None, with a note, where that says nothing."""
    if isinstance(at.value, Mapping):
        if not at.keys("bounds", "cumulative"):
            return None
        found = _histogram(at.below("cumulative"), _values(at.below("bounds")))
        if isinstance(found, Histogram) and found.count:
            return Baseline(found)
        at.wrong("has nothing in it; give the control from before")
        return None
    values = _values(at)
    if not values or any(map(math.isnan, values)):
        at.wrong("is empty or has gaps; give the control from before, without null")
        return None
    return Baseline(values)
