"""An anytime-valid canary judge: its error rates hold under any number of looks.

Of the bad events of both arms, the share that falls on the canary is p(r) = s r / (s r + 1 - s) when the canary
gets the share s of the traffic and its rate is r times the control's. Looks multiply up a likelihood ratio
against the margin r0, mixed over ratios beyond it (half-normal in the log, sd 1, a grid of 40): an e-process,
so P(ever >= 1/alpha) <= alpha (Ville's inequality). Swings that hit both arms cancel. Confidence bounds by
inversion. No randomness, no tuning to the data.

Source: Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference" (2023);
for the conditional binomial form, Lindon & Malek, "Anytime-valid inference for multinomial count data" (2022).

>>> same = [Tally(requests=(9500, 500), bad=(95, 5))] * 10
>>> judge("error_rate", same, margin=1.05, alpha=0.05, beta=0.05).kind
'inconclusive'
>>> worse = [Tally(requests=(9500, 500), bad=(95, 25))] * 10
>>> judge("error_rate", worse, margin=1.05, alpha=0.05, beta=0.05).kind
'fail'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

VerdictKind = Literal["pass", "fail", "inconclusive", "no_data"]
_SD, _POINTS = 1.0, 40
_RATIOS: NDArray[np.float64] = np.exp(np.linspace(math.log(0.05), math.log(20.0), 241))


@dataclass(frozen=True)
class Tally:
    """One look: (control, canary) requests and bad events, integers."""

    requests: tuple[int, int]
    bad: tuple[int, int]


@dataclass(frozen=True)
class MetricVerdict:
    """What one metric shows: the ratio canary/control, its anytime-valid interval, and the verdict.

    ``need`` estimates the further canary requests until a canary equal to the control would pass.
    """

    metric: str
    kind: VerdictKind
    ratio: float | None
    low: float
    high: float
    margin: float
    need: int | None
    reason: str


def judge(
    metric: str, looks: Sequence[Tally], *, margin: float, alpha: float, beta: float
) -> MetricVerdict:
    """Judge one metric; ``margin`` is the largest ratio that is still harmless (1.05 is +5%).

    Fails if the ratio is shown above the margin (error ``alpha``), passes if shown below it (``beta``).
    """
    control, canary = _totals(looks)
    if not (control[0] and canary[0]):
        text = "an arm had no requests; missing data is never a pass"
        return MetricVerdict(metric, "no_data", None, 0.0, math.inf, margin, None, text)
    above, below = _evidence(looks, np.asarray([margin]))
    low, high = _interval(looks, margin, alpha, beta)
    ratio = _ratio(control, canary)
    kind: VerdictKind = "fail" if above[0] >= -math.log(alpha) else "inconclusive"
    if kind != "fail" and below[0] >= -math.log(beta):
        kind = "pass"
    need = _need(looks, margin, beta) if kind == "inconclusive" else None
    return MetricVerdict(metric, kind, ratio, low, high, margin, need, _reason(kind, low, high, margin, need))


def fails(looks: Sequence[Tally], *, margin: float, alpha: float) -> bool:
    """Whether ``judge`` would say fail: cheap enough to ask at every look, since it needs no interval."""
    if not all(arm[0] for arm in _totals(looks)):
        return False
    return bool(_evidence(looks, np.asarray([margin]))[0][0] >= -math.log(alpha))


def _totals(looks: Sequence[Tally]) -> tuple[tuple[int, int], tuple[int, int]]:
    control = sum(t.requests[0] for t in looks), sum(t.bad[0] for t in looks)
    canary = sum(t.requests[1] for t in looks), sum(t.bad[1] for t in looks)
    return control, canary


def _ratio(control: tuple[int, int], canary: tuple[int, int]) -> float | None:
    if control[1] == 0:
        return None
    return (canary[1] / canary[0]) / (control[1] / control[0])


def _log_likelihood(looks: Sequence[Tally], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log likelihood of the canary's shares of the bad events, shape as ``ratios``."""
    requests = np.array([t.requests for t in looks], dtype=float)
    bad = np.array([t.bad for t in looks], dtype=float)
    seen = requests.min(axis=1) > 0
    share = requests[seen, 1] / requests[seen].sum(axis=1)
    odds = (share / (1 - share))[:, None] * ratios.reshape(1, -1)
    log_p, log_q = np.log(odds) - np.log1p(odds), -np.log1p(odds)
    total: NDArray[np.float64] = (bad[seen, 1:] * log_p + bad[seen, :1] * log_q).sum(axis=0)
    return total.reshape(ratios.shape)


def _evidence(
    looks: Sequence[Tally], margins: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log e-values against "ratio <= margin" and against "ratio >= margin", for every margin, shape (m,)."""
    steps = (np.arange(_POINTS) + 0.5) * (4 * _SD / _POINTS)
    weights = np.exp(-0.5 * (steps / _SD) ** 2)
    log_weights = np.log(weights / weights.sum())
    null = _log_likelihood(looks, margins)
    above = _log_likelihood(looks, margins[:, None] * np.exp(steps))
    below = _log_likelihood(looks, margins[:, None] * np.exp(-steps))
    return _mix(above + log_weights, null), _mix(below + log_weights, null)


def _mix(terms: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    top = terms.max(axis=1)
    mixed: NDArray[np.float64] = top + np.log(np.exp(terms - top[:, None]).sum(axis=1)) - null
    return mixed


def _interval(looks: Sequence[Tally], margin: float, alpha: float, beta: float) -> tuple[float, float]:
    """The ratios that are not excluded: from below with error ``alpha``, from above with ``beta``.

    The margin is one of the ratios tried, so the interval never contradicts the verdict.
    """
    ratios = np.union1d(_RATIOS, [margin])
    above, below = _evidence(looks, ratios)
    low = ratios[above >= -math.log(alpha)]
    high = ratios[below >= -math.log(beta)]
    return (float(low.max()) if low.size else 0.0), (float(high.min()) if high.size else math.inf)


def _need(looks: Sequence[Tally], margin: float, beta: float) -> int | None:
    """Further canary requests until an equal canary would pass, by doubling the average look."""
    control, canary = _totals(looks)
    rate = (control[1] + canary[1]) / (control[0] + canary[0])
    if rate == 0 or margin <= 1:
        return None
    factor = 1.0
    while factor < 2**24:
        share = canary[0] * factor, control[0] * factor
        ideal = Tally((round(share[1]), round(share[0])), (round(share[1] * rate), round(share[0] * rate)))
        if _evidence([ideal], np.asarray([margin]))[1][0] >= -math.log(beta):
            return max(1, round(canary[0] * (factor - 1)))
        factor *= 1.25
    return None


def _reason(kind: VerdictKind, low: float, high: float, margin: float, need: int | None) -> str:
    if kind == "fail":
        return f"at least {low:.2f} times the control, above the margin {margin:.2f}"
    if kind == "pass":
        return f"at most {high:.2f} times the control, under the margin {margin:.2f}"
    upper = "any harm" if math.isinf(high) else f"up to {high:.2f} times the control"
    wait = f"about {need:,} canary requests more" if need else "more bad events"
    return f"inconclusive, {wait}; not excluded: {upper}"
