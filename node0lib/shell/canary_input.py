"""What ``node0 canary judge`` reads: the measurements of two arms, as JSON, checked strictly.

============================ ==========================================================================================
alpha, beta                  error rates of the sequential judge, in (0, 0.5]; 0.05 each
minimum_requests             fewer canary requests never pass; 100
at, stale_after              when it was measured (ISO 8601 with an offset), and after how long a series is stale ("5m")
metrics                      a list, one at least:
- name                       of its own
- margin                     the largest harmless ratio, 1 to 20; 1.05 if not given (+5%)
- counts                     {control: {requests, bad}, canary: {requests, bad}}, or a list of such looks, in order
- samples                    {control: [values], canary: [values]}
- histogram                  {bounds: [rising], control: [cumulative counts, one more for +Inf], canary: [...]}, or
                             bounds and looks: [{control, canary}, …]. Exactly one of counts, samples, histogram
- threshold                  a request is slow above it (in the unit of the data); margin is then one of shares
- quantile, baseline         margin is one of this quantile; the baseline is the control from before, not judged:
                             [values] or {bounds, cumulative}
- newest                     {control: time, canary: time}, the latest observation of each; needs at
- query_error                why there is no data; stands in place of it
- kayenta                    direction, nanStrategy, critical, … as in analysisConfigurations.canary
- groups                     Kayenta's groups; ["metrics"] if not given
============================ ==========================================================================================

null (or NaN) is a value that is missing: it makes the metric ``no_data`` (Kayenta has strategies for it).

>>> text = b'''{"metrics": [{"name": "errors", "margin": 1.05,
...   "counts": {"control": {"requests": 9500, "bad": 95}, "canary": {"requests": 500, "bad": 5}}}]}'''
>>> parse_input(text, "input.json").metrics[0].tallies()
(Tally(requests=(9500, 500), bad=(95, 5)),)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from node0lib.canary.arms import ARMS, WIDEST, Baseline, Counts, Data, Gap, Histograms, Measured, Samples
from node0lib.canary.kayenta_config import KayentaConfig
from node0lib.canary.sequential import Tally
from node0lib.canary.verdict import Comparison
from node0lib.errors import ConfigError, DataError
from node0lib.shell.catalogue_file import checked
from node0lib.shell.json_lines import parse_json
from node0lib.shell.kayenta_file import analysis_at
from node0lib.shell.mistakes import Mistakes, Source, nearest, shown
from node0lib.shell.schema import Duration, Model
from node0lib.shell.yaml_lines import KeyPath
from node0lib.sli.histogram import Histogram
from node0lib.timespan import format_duration, parse_instant

_KINDS = ("counts", "samples", "histogram")
_LARGEST = 10**300


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("{value} is not an ISO 8601 time; write 2026-01-05T00:00:00Z, in quotes")
    try:
        return parse_instant(value)
    except DataError as error:
        raise ValueError(str(error)) from None


def _ratio(value: float) -> float:
    if not 1 <= value <= WIDEST:
        raise ValueError(f"{{value}} must lie between 1 and {WIDEST:g}; +5% is 1.05")
    return value


Instant = Annotated[datetime, BeforeValidator(_instant)]
Error = Annotated[float, Field(gt=0, le=0.5)]


class InputModel(Model):
    """The whole file."""

    metrics: list[Any] = Field(min_length=1, max_length=1000, examples=["[{name: errors, counts: …}]"])
    alpha: Error = 0.05
    beta: Error = 0.05
    minimum_requests: int = Field(default=100, ge=0)
    at: Instant | None = None
    stale_after: Duration = timedelta(minutes=5)


class MetricModel(Model):
    """One of ``metrics``."""

    name: str = Field(min_length=1, max_length=200, examples=["error_rate"])
    margin: Annotated[float, AfterValidator(_ratio)] = 1.05
    counts: Any = None
    samples: Any = None
    histogram: Any = None
    threshold: float | None = Field(default=None, gt=0)
    quantile: float | None = Field(default=None, gt=0, lt=1)
    baseline: Any = None
    newest: Any = None
    query_error: str | None = Field(default=None, min_length=1, max_length=2000)
    kayenta: Any = None
    groups: list[str] = Field(default=["metrics"], min_length=1)


class NewestModel(Model):
    """``newest:``."""

    control: Instant = Field(examples=["2026-01-05T00:00:00Z"])
    canary: Instant = Field(examples=["2026-01-05T00:00:00Z"])


def read_input(path: str, config: KayentaConfig | None = None) -> Comparison:
    """Return the comparison in a file, or on standard input for ``-``; raises ConfigError with every mistake."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name a JSON file, or -") from error
    return parse_input(content, "stdin" if path == "-" else path, config)


def parse_input(content: bytes, named: str, config: KayentaConfig | None = None) -> Comparison:
    """Return the comparison that JSON bytes hold; ``config`` is what Kayenta judges by, if not the metrics' own."""
    mistakes = Mistakes()
    source = mistakes.source(parse_json(content, named), named)
    whole = checked(mistakes, source, (), InputModel)
    if whole is None:
        mistakes.raise_if_any()
        raise AssertionError("a model that is not there has a mistake that says why")
    found = [_metric(_At(mistakes, source, ("metrics", n)), whole) for n in range(len(whole.metrics))]
    _unique(mistakes, source, [m.name if m else None for m in found])
    mistakes.raise_if_any()
    metrics = tuple(m for m in found if m is not None)
    return Comparison(metrics, whole.alpha, whole.beta, whole.minimum_requests, config)


def _unique(mistakes: Mistakes, source: Source, names: list[str | None]) -> None:
    for n, name in enumerate(names):
        if name is not None and name in names[:n]:
            mistakes.add(source, ("metrics", n, "name"), f"{name!r} is there already; give each a name of its own")


@dataclass(frozen=True)
class _At:
    """A place in the file, and where to note what is wrong there."""

    mistakes: Mistakes
    source: Source
    path: KeyPath

    def below(self, *keys: str | int) -> _At:
        return _At(self.mistakes, self.source, (*self.path, *keys))

    @property
    def value(self) -> Any:
        return self.source.document.at(self.path)

    def wrong(self, text: str) -> None:
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


def _metric(at: _At, whole: InputModel) -> Measured | None:
    model = checked(at.mistakes, at.source, at.path, MetricModel)
    analysis = analysis_at(at.mistakes, at.source, at.below("kayenta").path) if _has(at, "kayenta") else None
    data = _data(at) if isinstance(at.value, Mapping) else Counts(())
    baseline = _baseline(at.below("baseline")) if _has(at, "baseline") else None
    if model is None:
        return None
    gap = _lost(at, model, whole)
    if model.threshold is not None and model.quantile is not None:
        at.below("quantile").wrong("stands beside threshold; keep one of the two")
    if isinstance(data, Gap):
        gap, data = gap or data, Counts(())
    return Measured(
        model.name, data, model.margin, model.threshold, model.quantile, baseline, gap, analysis, tuple(model.groups)
    )


def _has(at: _At, key: str) -> bool:
    """Whether something is written there; null is what programs write for nothing."""
    return isinstance(at.value, Mapping) and at.value.get(key) is not None


def _data(at: _At) -> Data | Gap:
    given = [kind for kind in _KINDS if _has(at, kind)]
    if _has(at, "query_error"):
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
        if _has(at, "threshold") or _has(at, "quantile"):
            at.below("counts").wrong("are not asked for a threshold or a quantile; remove it")
        return _counts(at.below("counts"))
    return _histograms(at.below("histogram"))


def _lost(at: _At, model: MetricModel, whole: InputModel) -> Gap | None:
    if model.newest is None:
        return None
    newest = checked(at.mistakes, at.source, at.below("newest").path, NewestModel)
    if whole.at is None:
        at.below("newest").wrong("needs to know when that was measured; write at: beside metrics")
    if newest is None or whole.at is None:
        return None
    for arm in ARMS:
        age = whole.at - getattr(newest, arm)
        if age > whole.stale_after:
            told = format_duration(timedelta(seconds=int(age.total_seconds())))
            return Gap("stale", f"the newest observation of the {arm} is {told} old")
    return None


def _samples(at: _At) -> Data:
    if not at.keys(*ARMS):
        return Counts(())
    control, canary = (_values(at.below(arm)) for arm in ARMS)
    return Samples(control, canary)


def _values(at: _At) -> tuple[float, ...]:
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


def _counts(at: _At) -> Data | Gap:
    looks = [at.below(n) for n in range(len(at.value))] if isinstance(at.value, list) else [at]
    if not looks:
        at.wrong("has no looks; write one at least, or query_error")
    found = [_tally(look) for look in looks]
    gap = next((one for one in found if isinstance(one, Gap)), None)
    return gap or Counts(tuple(one for one in found if isinstance(one, Tally)))


def _tally(at: _At) -> Tally | Gap | None:
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


def _count(at: _At) -> int | None:
    """A count; None for null or NaN, and -1, with a note, for what is none."""
    value = at.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    if isinstance(value, bool) or not (isinstance(value, int) or whole) or not 0 <= value < 2**53:
        at.wrong(f"{shown(value)} is not a count; write a whole number, 0 or more")
        return -1
    return int(value)


def _histograms(at: _At) -> Data | Gap:
    many = _has(at, "looks")
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


def _histogram(at: _At, bounds: tuple[float, ...]) -> Histogram | Gap | None:
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


def _baseline(at: _At) -> Baseline | None:
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
