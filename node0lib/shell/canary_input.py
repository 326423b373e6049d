"""What ``node0 canary judge`` reads: the measurements of two arms, as JSON, checked strictly.

============================ ==========================================================================================
alpha, beta                  error rates of the sequential judge, in (0, 0.5]; 0.05 each
minimum_requests             fewer canary requests never pass; 100
design_effect                1 or more: how much more the arms' shares of bad events vary than with independent
                             requests (failures in bursts of 2 or 3 of one client: 2, 3); sequential judge; 1
share, share_tolerance       the share of the traffic ordered for the canary, above 0 and under 1, and the relative
                             deviation that is harmless, in [0, 1), 0.2: a canary that surely did not get it is no_data
ihsan, ihsan_at_least        the installation's score, 0 to 100 (null: not known, which is no_data), and the least with
                             which a change may pass, 95: a score below is a fail
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
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from node0lib.canary.arms import ARMS, WIDEST, Counts, Gap, Measured, Samples
from node0lib.canary.kayenta_config import KayentaConfig
from node0lib.canary.sample_ratio import TOLERANCE
from node0lib.canary.verdict import IHSAN, Comparison, Ihsan, Ordered
from node0lib.errors import ConfigError, DataError
from node0lib.shell.canary_data import At, baseline_at, data_at, has
from node0lib.shell.catalogue_file import checked
from node0lib.shell.json_lines import parse_json
from node0lib.shell.kayenta_file import analysis_at
from node0lib.shell.mistakes import Mistakes, Source
from node0lib.shell.schema import Contradictions, Duration, Model
from node0lib.timespan import format_duration, parse_instant


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


def _known(value: object) -> object:
    """NaN is what programs write for a number that is not known, as null is."""
    return None if isinstance(value, float) and math.isnan(value) else value


Instant = Annotated[datetime, BeforeValidator(_instant)]
Error = Annotated[float, Field(gt=0, le=0.5)]
Score = Annotated[Annotated[float, Field(ge=0, le=100)] | None, BeforeValidator(_known)]


class InputModel(Model):
    """The whole file."""

    metrics: list[Any] = Field(min_length=1, max_length=1000, examples=["[{name: errors, counts: …}]"])
    alpha: Error = 0.05
    beta: Error = 0.05
    minimum_requests: int = Field(default=100, ge=0)
    design_effect: float = Field(default=1.0, ge=1)
    at: Instant | None = None
    stale_after: Duration = timedelta(minutes=5)
    share: float | None = Field(default=None, gt=0, lt=1)
    share_tolerance: float = Field(default=TOLERANCE, ge=0, lt=1)
    ihsan: Score = None
    ihsan_at_least: float = Field(default=95.0, ge=0, le=100)

    def contradictions(self) -> Contradictions:
        """Yield what is set of a check that is not asked for: whoever wrote it believes that it is."""
        written = self.model_fields_set
        if self.share is None and "share_tolerance" in written:
            yield ("share_tolerance",), "stands without share; add the share that was ordered for the canary"
        if "ihsan" not in written and "ihsan_at_least" in written:
            yield ("ihsan_at_least",), "stands without ihsan; add the score, or null where it is not known"


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
    found = [_metric(At(mistakes, source, ("metrics", n)), whole) for n in range(len(whole.metrics))]
    _unique(mistakes, source, [m.name if m else None for m in found], gate="ihsan" in whole.model_fields_set)
    mistakes.raise_if_any()
    metrics = tuple(m for m in found if m is not None)
    if whole.share is not None and all(m.lost is None and isinstance(m.data, Samples) for m in metrics):
        mistakes.add(source, ("share",), "needs requests to be counted; add counts or a histogram, or remove share")
        mistakes.raise_if_any()
    return _comparison(whole, metrics, config)


def _comparison(whole: InputModel, metrics: tuple[Measured, ...], config: KayentaConfig | None) -> Comparison:
    score = math.nan if whole.ihsan is None else whole.ihsan
    return Comparison(
        metrics,
        whole.alpha,
        whole.beta,
        whole.minimum_requests,
        config,
        None if whole.share is None else Ordered(whole.share, whole.share_tolerance),
        Ihsan(score, whole.ihsan_at_least) if "ihsan" in whole.model_fields_set else None,
        whole.design_effect,
    )


def _unique(mistakes: Mistakes, source: Source, names: list[str | None], *, gate: bool) -> None:
    for n, name in enumerate(names):
        if gate and name == IHSAN:
            mistakes.add(source, ("metrics", n, "name"), f"{IHSAN!r} is the gate's own; give the metric another name")
        if name is not None and name in names[:n]:
            mistakes.add(source, ("metrics", n, "name"), f"{name!r} is there already; give each a name of its own")


def _metric(at: At, whole: InputModel) -> Measured | None:
    model = checked(at.mistakes, at.source, at.path, MetricModel)
    analysis = analysis_at(at.mistakes, at.source, at.below("kayenta").path) if has(at, "kayenta") else None
    data = data_at(at) if isinstance(at.value, Mapping) else Counts(())
    baseline = baseline_at(at.below("baseline")) if has(at, "baseline") else None
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


def _lost(at: At, model: MetricModel, whole: InputModel) -> Gap | None:
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
