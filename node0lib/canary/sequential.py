"""An anytime-valid canary judge: its error rates hold under any number of looks.

Of the bad events of both arms, the share that falls on the canary is p(r) = s r / (s r + 1 - s) when the canary
gets the share s of the traffic and its rate is r times the control's. Looks multiply up a likelihood ratio
against the margin r0, mixed over ratios beyond it (half-normal in the log, sd 1, a grid of 40): an e-process,
so P(ever >= 1/alpha) <= alpha (Ville's inequality). Swings that hit both arms cancel. Confidence bounds by
inversion. No randomness, no tuning to the data.

- ``Evidence`` takes looks one by one, at the same small cost however many came before.
- A rollout has several stages, and a fault may begin in a late one. Evidence for harm is a mean of e-processes
  with weights fixed before: one that began with the rollout (90%), and one for every later stage that began with it
  (the other 10%, evenly). A mean of e-processes is one. Evidence for harmlessness is that of the whole rollout.
- Where only so many bad ones are ``allowed`` (1% slower than a p99), there are two ways to pass, each with half of the
  error: the ratio is shown under the margin, or the canary's own share under what is allowed. Where the control was
  hardly ever slow, a ratio to it means nothing (``own_only``): then the canary's own share decides alone, and fails
  where it is shown above what is allowed while the control's is shown under that.
- ``design_effect`` D >= 1 says by how much the split of bad events varies more than independent requests would have it
  (failures in bursts of one client, say): its logarithms are divided by D. Bursts of D events each are then exactly as
  if they were single ones; for other noise of variance D it holds as far as the normal approximation does.

Source: Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference" (2023), 4.2 (means
and restarts); for the conditional binomial form, Lindon & Malek, "Anytime-valid inference for multinomial count data"
(2022); for the design effect, McCullagh & Nelder, "Generalized linear models" (1989), 4.5.

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
Floats = NDArray[np.float64]
FROM_THE_START = 0.9
"""Weight of the evidence that began with the rollout, beside that of the later stages."""
_SD, _POINTS = 1.0, 40
_STEPS = np.asarray((np.arange(_POINTS) + 0.5) * (4 * _SD / _POINTS), dtype=np.float64)
_WEIGHTS = np.exp(-0.5 * (_STEPS / _SD) ** 2)
_LOG_WEIGHTS = np.log(_WEIGHTS / _WEIGHTS.sum())
_FINE = 0.025
"""Ratios are tried on a grid of this step in the log that goes through the margin; all mixtures lie on it too."""
_OFFSETS = np.rint(_STEPS / _FINE).astype(np.int64)
_LEAST, _MOST = 0.05, 20.0


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


def log_e(share: Floats, bad: Floats, margin: float, *, above: bool, design_effect: float = 1.0) -> Floats:
    """Return the log e-value against "ratio <= margin" (``above``) or against "ratio >= margin".

    ``share`` (looks,) is the canary's share of the traffic, in (0, 1); ``bad`` (..., looks, 2) are the bad events of
    (control, canary), which need not be whole. Returns shape (...).
    """
    ratios = margin * np.exp(np.concatenate([[0.0], _STEPS if above else -_STEPS]))
    canary, control = _log_shares(share, ratios)
    terms = (bad[..., 1] @ canary + bad[..., 0] @ control) / design_effect
    mixed: Floats = _log_sum(terms[..., 1:] + _LOG_WEIGHTS) - terms[..., 0]
    return mixed


def _log_shares(share: Floats, ratios: Floats) -> tuple[Floats, Floats]:
    """Log probabilities that a bad event is the canary's, and that it is the control's: (looks, ratios) each."""
    odds = (share / (1 - share))[..., None] * ratios
    other = np.log1p(odds)
    return np.log(odds) - other, -other


def _log_sum(terms: Floats) -> Floats:
    top = terms.max(axis=-1)
    total: Floats = top + np.log(np.exp(terms - top[..., None]).sum(axis=-1))
    return total


class Evidence:
    """One metric's evidence, look by look; ``stages`` is how many the rollout has, ``allowed`` a share in (0, 1)."""

    def __init__(
        self,
        margin: float,
        *,
        design_effect: float = 1.0,
        stages: int = 1,
        allowed: float | None = None,
        own_only: bool = False,
    ) -> None:
        self.margin, self._design_effect, self._stages = margin, design_effect, stages
        self._allowed, self._own_only = allowed, own_only and allowed is not None
        low = min(0, math.floor(math.log(_LEAST / margin) / _FINE))
        high = max(0, math.floor(math.log(_MOST / margin) / _FINE))
        self._nulls = np.arange(low, high + 1)
        reach = int(_OFFSETS[-1])
        self._origin = reach - low  # the margin's place in the grid
        self._ratios = margin * np.exp(np.arange(low - reach, high + reach + 1) * _FINE)
        self._whole = np.zeros_like(self._ratios)
        self._later: list[Floats] = []
        self.requests, self.bad = (0, 0), (0, 0)

    def begin_stage(self) -> None:
        """Begin the next stage: from here on a further e-process looks at what comes, and at nothing before.

        Raises ValueError where more are begun than were announced: weights are fixed beforehand.
        """
        if len(self._later) + 1 >= self._stages:
            raise ValueError(f"this evidence was made for {self._stages} stages")
        self._later.append(np.zeros_like(self._ratios))

    def add(self, look: Tally) -> None:
        """Count a look; one in which an arm had no requests says nothing of the ratio."""
        self.requests = self.requests[0] + look.requests[0], self.requests[1] + look.requests[1]
        self.bad = self.bad[0] + look.bad[0], self.bad[1] + look.bad[1]
        if not (min(look.requests) and any(look.bad)):
            return
        share = np.asarray(look.requests[1] / sum(look.requests))
        canary, control = _log_shares(share, self._ratios)
        seen = (look.bad[1] * canary + look.bad[0] * control) / self._design_effect
        self._whole += seen
        if self._later:
            self._later[-1] += seen

    def fails(self, alpha: float) -> bool:
        """Whether harm above the margin is shown: cheap enough to ask at every look."""
        if self._own_only:
            return self._own(1, _STEPS) >= -math.log(alpha) and self._own(0, -_STEPS) >= -math.log(alpha)
        return min(self.requests) > 0 and float(self._above(np.array([0]))[0]) >= -math.log(alpha)

    def judge(self, metric: str, *, alpha: float, beta: float) -> MetricVerdict:
        """Judge what was added; fails with error ``alpha``, passes with error ``beta``."""
        margin = self.margin
        if not min(self.requests):
            text = "an arm had no requests; missing data is never a pass"
            return MetricVerdict(metric, "no_data", None, 0.0, math.inf, margin, None, text)
        each = beta if self._allowed is None or self._own_only else beta / 2
        low, high = self._interval(alpha, each)
        ratio = None if self.bad[0] == 0 else self.bad[1] / self.requests[1] / (self.bad[0] / self.requests[0])
        kind: VerdictKind = "fail" if self.fails(alpha) else "inconclusive"
        surely_few = self._own(1, -_STEPS) >= -math.log(each)
        surely_less = not self._own_only and float(self._below(np.array([0]))[0]) >= -math.log(each)
        if kind != "fail" and (surely_few or surely_less):
            kind, high = "pass", min(high, margin)
        if (kind == "pass" and not surely_less) or (kind == "fail" and self._own_only):
            return MetricVerdict(metric, kind, ratio, low, high, margin, None, self._own_reason(kind))
        need = self._need(each) if kind == "inconclusive" else None
        return MetricVerdict(metric, kind, ratio, low, high, margin, need, _reason(kind, low, high, margin, need))

    def _own_reason(self, kind: VerdictKind) -> str:
        share, side = self.bad[1] / self.requests[1], "above" if kind == "fail" else "under"
        return f"{share:.2%} of its requests are slow, surely {side} the {self._allowed:.0%} allowed"

    def _own(self, arm: int, steps: Floats) -> float:
        """The log e-value against an arm's share of bad ones being on the other side of what is allowed."""
        return self._own_log_e(self.requests[arm], self.bad[arm], steps)

    def _own_log_e(self, requests: float, bad: float, steps: Floats) -> float:
        if self._allowed is None:
            return -math.inf
        odds = math.log(self._allowed / (1 - self._allowed)) + steps
        terms = bad * steps + requests * (np.log1p(-1 / (1 + np.exp(-odds))) - math.log1p(-self._allowed))
        return float(_log_sum(terms / self._design_effect + _LOG_WEIGHTS))

    def _above(self, nulls: NDArray[np.int64]) -> Floats:
        """Log e-values against "ratio <= margin x exp(null x step)", shape as ``nulls``."""
        if self._stages == 1:
            return self._mixed(self._whole, nulls, _OFFSETS)
        each = (1 - FROM_THE_START) / (self._stages - 1)
        unbegun = each * (self._stages - 1 - len(self._later))
        parts = [self._mixed(self._whole, nulls, _OFFSETS) + math.log(FROM_THE_START)]
        parts += [self._mixed(stage, nulls, _OFFSETS) + math.log(each) for stage in self._later]
        parts += [np.full(nulls.shape, math.log(unbegun))] if unbegun > 0 else []
        return _log_sum(np.stack(parts, axis=-1))

    def _below(self, nulls: NDArray[np.int64]) -> Floats:
        return self._mixed(self._whole, nulls, -_OFFSETS)

    def _mixed(self, likelihood: Floats, nulls: NDArray[np.int64], offsets: NDArray[np.int64]) -> Floats:
        at = nulls + self._origin
        mixed: Floats = _log_sum(likelihood[at[:, None] + offsets] + _LOG_WEIGHTS) - likelihood[at]
        return mixed

    def _interval(self, alpha: float, beta: float) -> tuple[float, float]:
        """The ratios that are not excluded: from below with error ``alpha``, from above with ``beta``.

        The margin is one of the ratios tried, so the interval never contradicts the verdict.
        """
        ratios = self._ratios[self._nulls + self._origin]
        low = ratios[self._above(self._nulls) >= -math.log(alpha)]
        high = ratios[self._below(self._nulls) >= -math.log(beta)]
        return (float(low.max()) if low.size else 0.0), (float(high.min()) if high.size else math.inf)

    def _need(self, beta: float) -> int | None:
        """Further canary requests until an equal canary would pass, were they to come as those before."""
        control, canary = self.requests
        rate = sum(self.bad) / (control + canary)
        factors = 1.25 ** np.arange(75)
        enough = np.zeros(factors.shape, dtype=bool)
        if rate > 0 and self.margin > 1 and not self._own_only:
            bad = np.stack([control * rate * factors, canary * rate * factors], axis=-1)[:, None, :]
            share = np.array([canary / (control + canary)])
            found = log_e(share, bad, self.margin, above=False, design_effect=self._design_effect)
            enough |= found >= -math.log(beta)
        if self._allowed is not None:
            own = [self._own_log_e(canary * f, canary * f * rate, -_STEPS) for f in factors]
            enough |= np.array(own) >= -math.log(beta)
        return max(1, round(canary * (float(factors[enough][0]) - 1))) if enough.any() else None


def judge(
    metric: str, looks: Sequence[Tally], *, margin: float, alpha: float, beta: float, design_effect: float = 1.0
) -> MetricVerdict:
    """Judge one metric; ``margin`` is the largest ratio that is still harmless (1.05 is +5%).

    Fails if the ratio is shown above the margin (error ``alpha``), passes if shown below it (``beta``).
    """
    return _all(looks, margin, design_effect).judge(metric, alpha=alpha, beta=beta)


def fails(looks: Sequence[Tally], *, margin: float, alpha: float, design_effect: float = 1.0) -> bool:
    """Whether ``judge`` would say fail."""
    return _all(looks, margin, design_effect).fails(alpha)


def _all(looks: Sequence[Tally], margin: float, design_effect: float) -> Evidence:
    evidence = Evidence(margin, design_effect=design_effect)
    for look in looks:
        evidence.add(look)
    return evidence


def _reason(kind: VerdictKind, low: float, high: float, margin: float, need: int | None) -> str:
    if kind == "fail":
        return f"at least {low:.2f} times the control, above the margin {margin:.2f}"
    if kind == "pass":
        return f"at most {high:.2f} times the control, under the margin {margin:.2f}"
    upper = "any harm" if math.isinf(high) else f"up to {high:.2f} times the control"
    wait = f"about {need:,} canary requests more" if need else "more bad events"
    return f"inconclusive, {wait}; not excluded: {upper}"
