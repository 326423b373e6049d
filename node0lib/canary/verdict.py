"""One question, three judges: is the canary worse, by each metric and in all?

Rules
- sequential: alpha is divided over the metrics, beta is not (a pass asks for all of them). Fewer canary requests than
  the minimum never pass.
- kayenta: as ``canary.kayenta`` has it, in its own words in ``Verdict.kayenta``; Marginal is inconclusive.
- threshold: the naive rule, for comparison.
- A gap is ``no_data``: never a pass and never a failure. Kayenta passes over some of them; its answer is kept, and its
  pass (or a failure for want of data alone) is ``no_data`` here.
- A canary that does not get the share that was ordered (``sample_ratio``, by counts and histograms; samples need not be
  requests) is not the experiment that was planned: every metric is ``no_data``, whatever it would have shown.
- ihsan is an absolute gate with a finding of its own: a score under the least one fails, one that is not known is
  ``no_data``, and any other changes nothing.
- In all: fail if any metric fails, else no_data if any has a gap, else inconclusive if any is, else pass.
- All of this but the design effect, which only the sequential judge knows, holds for each judge alike.

>>> from node0lib.canary.arms import Counts
>>> from node0lib.canary.sequential import Tally
>>> errors = Measured("errors", Counts((Tally((9500, 500), (95, 25)),) * 10), margin=1.05)
>>> [judged(judge, Comparison((errors,))).kind for judge in JUDGES]
['fail', 'fail', 'fail']
>>> nothing = Measured("errors", Counts((Tally((9500, 0), (95, 0)),) * 10), margin=1.05)
>>> [judged(judge, Comparison((nothing,))).kind for judge in JUDGES]
['no_data', 'no_data', 'no_data']
>>> [judged(judge, Comparison((errors,), ordered=Ordered(0.2))).kind for judge in JUDGES]
['no_data', 'no_data', 'no_data']
>>> judged("sequential", Comparison((nothing,), ihsan=Ihsan(91.0))).reasons
('ihsan: 91 is under 95',)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from node0lib.canary import kayenta, sequential, threshold
from node0lib.canary.arms import Gap, Measured, Samples
from node0lib.canary.kayenta_config import Analysis, KayentaConfig, Metric
from node0lib.canary.sample_ratio import TOLERANCE, SampleRatio
from node0lib.canary.sequential import MetricVerdict, VerdictKind

JudgeName = Literal["sequential", "kayenta", "threshold"]
JUDGES: tuple[JudgeName, ...] = ("sequential", "kayenta", "threshold")
ORDER: tuple[VerdictKind, ...] = ("fail", "no_data", "inconclusive", "pass")
"""The worst comes first."""
IHSAN = "ihsan"
"""The name of the gate's own finding."""
MISMATCH_ALPHA = 0.001
"""How often at most traffic that is right is called wrong, over all metrics."""


@dataclass(frozen=True)
class Ordered:
    """The share of the traffic that the canary was to get, in (0, 1), and what relative deviation is harmless."""

    share: float
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Ihsan:
    """The installation's score, in [0, 100] (NaN: not known), and the least with which a change may pass."""

    score: float
    at_least: float = 95.0


@dataclass(frozen=True)
class Comparison:
    """The metrics of two arms, and the errors that a judge may make. ``kayenta`` None is made of the metrics' own.

    ``ordered`` and ``ihsan`` are not asked for where they are None; ``design_effect`` (1 or more) is as in
    ``sequential.judge``.
    """

    metrics: tuple[Measured, ...]
    alpha: float = 0.05
    beta: float = 0.05
    minimum_requests: int = 100
    kayenta: KayentaConfig | None = None
    ordered: Ordered | None = None
    ihsan: Ihsan | None = None
    design_effect: float = 1.0


@dataclass(frozen=True)
class Finding:
    """What one metric shows, why there is a gap if there is one, and how much each arm has, (control, canary).

    ``absolute``: it is not compared with a control; ``low`` and ``high`` of its verdict are the value itself (0 and
    infinity if that is not known), its ``margin`` is the least that is allowed.
    """

    verdict: MetricVerdict
    gap: Gap | None
    sizes: tuple[int, int]
    counted: bool = True
    absolute: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer of a judge; ``reasons`` are those of the metrics that decided it."""

    judge: JudgeName
    kind: VerdictKind
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    kayenta: kayenta.Judged | None = None


def judged(judge: JudgeName, comparison: Comparison) -> Verdict:
    """Return the judge's verdict; raises ConfigError where the data cannot answer that judge's question."""
    found = _BY_NAME[judge](replace(comparison, metrics=_believed(comparison)))
    return found if comparison.ihsan is None else _gated(found, comparison.ihsan)


def _believed(comparison: Comparison) -> tuple[Measured, ...]:
    """The metrics, all lost if the canary did not get its share of the requests that any of them counts."""
    ordered, metrics = comparison.ordered, comparison.metrics
    counting = [m for m in metrics if m.lost is None and not isinstance(m.data, Samples)]
    if ordered is None or not counting:
        return metrics
    told = (_mismatch(m, ordered, MISMATCH_ALPHA / len(counting)) for m in counting)
    why = next(filter(None, told), None)
    if why is None:
        return metrics
    return tuple(m if m.lost else replace(m, lost=Gap("sample_ratio", why)) for m in metrics)


def _mismatch(metric: Measured, ordered: Ordered, alpha: float) -> str | None:
    seen = SampleRatio(ordered.share, ordered.tolerance)
    seen.add(metric.sizes)
    return seen.mismatch(alpha)


def _gated(found: Verdict, ihsan: Ihsan) -> Verdict:
    """The verdict with the gate's finding, which decides where it is the worst."""
    gate = _gate(ihsan)
    worst = min(gate.verdict.kind, found.kind, key=ORDER.index)
    kept = found.reasons if found.kind == worst else ()
    own = (f"{IHSAN}: {gate.verdict.reason}",) if gate.verdict.kind == worst else ()
    return replace(found, kind=worst, reasons=(*kept, *own), findings=(*found.findings, gate))


def _gate(ihsan: Ihsan) -> Finding:
    score, least = ihsan.score, ihsan.at_least
    if math.isnan(score):
        gap = Gap("missing", "the score is not known")
        return Finding(_lost(IHSAN, least, gap), gap, (0, 0), absolute=True)
    kind: VerdictKind = "fail" if score < least else "pass"
    text = f"{score:g} is {'under' if kind == 'fail' else 'at least'} {least:g}"
    return Finding(MetricVerdict(IHSAN, kind, None, score, score, least, None, text), None, (0, 0), absolute=True)


def _sequential(comparison: Comparison) -> Verdict:
    alpha = comparison.alpha / len(comparison.metrics)

    def one(metric: Measured) -> MetricVerdict:
        _, ratio = metric.question()
        effect = comparison.design_effect
        found = sequential.judge(
            metric.name, metric.tallies(), margin=ratio, alpha=alpha, beta=comparison.beta, design_effect=effect
        )
        few = metric.sizes[1] < comparison.minimum_requests
        if found.kind == "pass" and few:
            text = f"{metric.sizes[1]} canary requests are under the minimum of {comparison.minimum_requests}"
            return replace(found, kind="inconclusive", need=comparison.minimum_requests - metric.sizes[1], reason=text)
        return found

    return _all("sequential", [_found(metric, one) for metric in comparison.metrics])


def _threshold(comparison: Comparison) -> Verdict:
    def one(metric: Measured) -> MetricVerdict:
        return threshold.compare(metric.name, *metric.estimates(), margin=metric.margin)

    return _all("threshold", [_found(metric, one) for metric in comparison.metrics])


def _found(metric: Measured, judge: Callable[[Measured], MetricVerdict]) -> Finding:
    gap = metric.gap
    return Finding(judge(metric) if gap is None else _lost(metric.name, metric.margin, gap), gap, metric.sizes)


def _lost(name: str, margin: float, gap: Gap) -> MetricVerdict:
    return MetricVerdict(name, "no_data", None, 0.0, math.inf, margin, None, f"{gap.why}; that is never a pass")


def _all(judge: JudgeName, findings: list[Finding]) -> Verdict:
    kind = next(kind for kind in ORDER if any(f.verdict.kind == kind for f in findings))
    reasons = tuple(f"{f.verdict.metric}: {f.verdict.reason}" for f in findings if f.verdict.kind == kind)
    return Verdict(judge, kind, reasons, tuple(findings))


def _kayenta(comparison: Comparison) -> Verdict:
    config = comparison.kayenta or _config_of(comparison)
    usable = [metric for metric in comparison.metrics if metric.lost is None and all(metric.sizes)]
    given = {metric.name: metric for metric in comparison.metrics}
    for name in given:
        config.metric(name)
    answer = kayenta.judge(config, {metric.name: metric.points() for metric in usable})
    findings = tuple(_classified(given.get(r.name), r) for r in answer.results)
    kind = _kind(answer, findings)
    text = answer.score.reason or f"score {answer.score.score:g}, pass from {config.pass_at:g}"
    told = tuple(
        f"{f.verdict.metric}: {f.verdict.reason}"
        for f in findings
        if f.counted and (f.verdict.kind == kind or f.verdict.kind == "fail")
    )
    return Verdict("kayenta", kind, (f"{answer.label}: {text}", *told), findings, answer)


def _config_of(comparison: Comparison) -> KayentaConfig:
    """The configuration that the metrics' own analyses make; of bad or slow events only a rise is bad."""
    metrics = []
    for metric in comparison.metrics:
        default = Analysis() if isinstance(metric.data, Samples) else _RISE
        metrics.append(Metric(metric.name, metric.groups, metric.analysis or default))
    return KayentaConfig(tuple(metrics))


_RISE = Analysis(direction="increase")
_SCORES: Mapping[str, VerdictKind] = {"Pass": "pass", "Marginal": "inconclusive", "Fail": "fail"}
_KINDS: Mapping[kayenta.Label, VerdictKind] = {
    "Pass": "pass",
    "High": "fail",
    "Low": "fail",
    "Nodata": "no_data",
    "NodataFailMetric": "no_data",
    "Error": "no_data",
}


def _classified(metric: Measured | None, result: kayenta.MetricResult) -> Finding:
    gap = _gap_of(metric, result)
    margin = 1.0 if metric is None else metric.margin
    sizes = (0, 0) if metric is None else metric.sizes
    if gap is not None:
        return Finding(_lost(result.name, margin, gap), gap, sizes, not result.muted)
    found, kind = result.found, _KINDS[result.found.label]
    ratio = None if math.isnan(found.deviation) else found.deviation
    reason = found.reason or f"{found.label}, means {'cannot be compared' if ratio is None else f'{ratio:.3g} to 1'}"
    seen = MetricVerdict(result.name, kind, ratio, 0.0, math.inf, margin, None, reason)
    return Finding(seen, None, sizes, not result.muted)


def _gap_of(metric: Measured | None, result: kayenta.MetricResult) -> Gap | None:
    if metric is None:
        return Gap("missing", "the configuration has the metric and the input does not")
    gap = metric.lost or metric.gap
    if gap is not None and (metric.lost is not None or gap.state != "nan"):  # Kayenta has strategies for NaN
        return gap
    for arm, values in zip(("control", "canary"), metric.points(), strict=True):
        if all(map(math.isnan, values)):
            return Gap("nan", f"no value of the {arm} is a number")
    if result.found.label == "Error":
        return Gap("missing", result.found.reason or "it could not be classified")
    return None if _KINDS[result.found.label] != "no_data" else Gap("missing", result.found.reason or "no data")


def _kind(answer: kayenta.Judged, findings: tuple[Finding, ...]) -> VerdictKind:
    """Kayenta's answer, unless it rests on data that is not there."""
    shown = _SCORES[answer.label]
    counted = [f.verdict.kind for f in findings if f.counted]
    if shown == "fail":
        return "fail" if "fail" in counted or "no_data" not in counted else "no_data"
    return "no_data" if "no_data" in counted or not counted else shown


_BY_NAME: Mapping[JudgeName, Callable[[Comparison], Verdict]] = {
    "sequential": _sequential,
    "kayenta": _kayenta,
    "threshold": _threshold,
}
