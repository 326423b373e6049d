"""An anytime-valid canary judge: its error rates hold under any number of looks.

Of the bad events of both arms, the share that falls on the canary is p(r) = s r / (s r + 1 - s) when the canary
gets the share s of the traffic and its rate is r times the control's. Looks multiply up a likelihood ratio
against the margin r0, mixed over ratios beyond it (``canary.mixture``): an e-process, so P(ever >= 1/alpha) <= alpha
(Ville's inequality). Swings that hit both arms cancel. Confidence bounds by inversion. No randomness, no tuning to the
data.

- ``Evidence`` takes looks one by one, at the same small cost however many came before.
- A fault may begin in a late stage: evidence for harm is a mean over the stages, by weights fixed before
  (``mixture.over_stages``). Evidence for harmlessness is that of the whole rollout.
- Where only so many bad ones are ``allowed`` (1% slower than a p99) there are two ways to either verdict, each with
  half of the error. To pass: the ratio is shown under the margin, or the canary's own share under what is allowed
  (``canary.own_share``). To fail: the ratio is shown above the margin, or the own share above what is allowed and above
  the control's too, look by look, so that a swing of the whole service blames nobody. Where the control was hardly ever
  slow, a ratio to it means nothing (``own_only``), and the own share decides alone, with all of the error. What it
  decided is told as a multiple of what is allowed, with margin 1.
- An interval never contradicts its verdict: it holds the margin unless the verdict excludes it; and where a late stage
  fails what the whole rollout shows to be harmless, there is no one ratio, and no other bound is told.
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
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node0lib.canary.mixture import FINE, LOG_WEIGHTS, STEPS, Floats, log_sum, over_stages
from node0lib.canary.own_share import OwnShare

VerdictKind = Literal["pass", "fail", "inconclusive", "no_data"]
OFFSETS = np.rint(STEPS / FINE).astype(np.int64)
"""The alternatives' places in the grid of ratios, which goes through the margin, counted from a null's."""
_LEAST, _MOST = 0.05, 20.0


@dataclass(frozen=True)
class Tally:
    """One look: (control, canary) requests and bad events, integers."""

    requests: tuple[int, int]
    bad: tuple[int, int]


@dataclass(frozen=True)
class MetricVerdict:
    """What one metric shows: the ratio canary/control, its anytime-valid interval, and the verdict.

    Where the own share decided, ``ratio``, ``low`` and ``high`` are multiples of what is allowed, and ``margin`` is 1.
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
    ratios = margin * np.exp(np.concatenate([[0.0], STEPS if above else -STEPS]))
    canary, control = _log_shares(share, ratios)
    terms = (bad[..., 1] @ canary + bad[..., 0] @ control) / design_effect
    mixed: Floats = log_sum(terms[..., 1:] + LOG_WEIGHTS) - terms[..., 0]
    return mixed


def _log_shares(share: Floats, ratios: Floats) -> tuple[Floats, Floats]:
    """Log probabilities that a bad event is the canary's, and that it is the control's: (looks, ratios) each."""
    odds = (share / (1 - share))[..., None] * ratios
    other = np.log1p(odds)
    return np.log(odds) - other, -other


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
        self._own = None if allowed is None else OwnShare(allowed, design_effect=design_effect, stages=stages)
        self._own_only = own_only and allowed is not None
        low = min(0, math.floor(math.log(_LEAST / margin) / FINE))
        high = max(0, math.floor(math.log(_MOST / margin) / FINE))
        self._nulls = np.arange(low, high + 1)
        reach = int(OFFSETS[-1])
        self._origin = reach - low  # the margin's place in the grid
        self._ratios = margin * np.exp(np.arange(low - reach, high + reach + 1) * FINE)
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
        if self._own is not None:
            self._own.begin_stage()

    def add(self, look: Tally) -> None:
        """Count a look; one in which an arm had no requests says nothing of the ratio."""
        self.requests = self.requests[0] + look.requests[0], self.requests[1] + look.requests[1]
        self.bad = self.bad[0] + look.bad[0], self.bad[1] + look.bad[1]
        if self._own is not None:
            self._own.add(look.requests[1], look.bad[1])
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
        if min(self.requests) == 0:
            return False
        return self._worse(alpha / self._ways) or self._too_many(alpha / self._ways)

    @property
    def _ways(self) -> int:
        return 1 if self._own is None or self._own_only else 2

    def _worse(self, alpha: float) -> bool:
        return not self._own_only and self._shows(0, alpha)

    def _too_many(self, alpha: float) -> bool:
        equal = math.ceil(-math.log(self.margin) / FINE)  # the first null at which the canary is no better
        return self._own is not None and self._own.surely_above(alpha) and self._shows(equal, alpha)

    def _shows(self, null: int, alpha: float) -> bool:
        return float(self._above(np.array([null]))[0]) >= -math.log(alpha)

    def judge(self, metric: str, *, alpha: float, beta: float) -> MetricVerdict:
        """Judge what was added; fails with error ``alpha``, passes with error ``beta``."""
        if not min(self.requests):
            text = "an arm had no requests; missing data is never a pass"
            return MetricVerdict(metric, "no_data", None, 0.0, math.inf, self.margin, None, text)
        alpha, beta = alpha / self._ways, beta / self._ways
        worse, too_many = self._worse(alpha), self._too_many(alpha)
        less = not self._own_only and float(self._below(np.array([0]))[0]) >= -math.log(beta)
        few = self._own is not None and self._own.surely_under(beta)
        kind: VerdictKind = "fail" if worse or too_many else "pass" if less or few else "inconclusive"
        need = self._need(beta) if kind == "inconclusive" else None
        by_ratio = worse if kind == "fail" else less if kind == "pass" else not self._own_only
        if self._own is not None and not by_ratio:
            return self._told_of_own(self._own, MetricVerdict(metric, kind, None, 0, 0, 1.0, need, ""), alpha, beta)
        ratio = None if self.bad[0] == 0 else self.bad[1] / self.requests[1] / (self.bad[0] / self.requests[0])
        low, high = _fitting(kind, *self._interval(alpha, beta), self.margin)
        text = _reason(kind, low, high, self.margin, need)
        return MetricVerdict(metric, kind, ratio, low, high, self.margin, need, text)

    def _told_of_own(self, own: OwnShare, found: MetricVerdict, alpha: float, beta: float) -> MetricVerdict:
        """Complete a verdict that the canary's own share decides: all of it as multiples of what is allowed."""
        low, high = _fitting(found.kind, *own.interval(alpha, beta), 1.0)
        allowed = f"the {own.allowed:.0%} allowed"
        slow = f"{self.bad[1] / self.requests[1]:.2%} of its requests are slow"
        if found.kind == "inconclusive":
            wait = f"about {found.need:,} canary requests more" if found.need else "more of them"
            upper = "any share" if math.isinf(high) else f"up to {high:.2f} times {allowed}"
            text = f"inconclusive, {slow}, {wait}; not excluded: {upper}"
        elif found.kind == "fail":
            text = f"{slow}, surely above {allowed} and above the control's"
        else:
            text = f"{slow}, surely under {allowed}"
        return replace(found, ratio=own.relative, low=low, high=high, reason=text)

    def _above(self, nulls: NDArray[np.int64]) -> Floats:
        """Log e-values against "ratio <= margin x exp(null x step)", shape as ``nulls``."""
        later = [self._mixed(stage, nulls, OFFSETS) for stage in self._later]
        return over_stages(self._mixed(self._whole, nulls, OFFSETS), later, stages=self._stages)

    def _below(self, nulls: NDArray[np.int64]) -> Floats:
        return self._mixed(self._whole, nulls, -OFFSETS)

    def _mixed(self, likelihood: Floats, nulls: NDArray[np.int64], offsets: NDArray[np.int64]) -> Floats:
        at = nulls + self._origin
        mixed: Floats = log_sum(likelihood[at[:, None] + offsets] + LOG_WEIGHTS) - likelihood[at]
        return mixed

    def _interval(self, alpha: float, beta: float) -> tuple[float, float]:
        """The ratios that are not excluded: from below with error ``alpha``, from above with ``beta``."""
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
        if self._own is not None:
            own = [self._own.log_e_under(canary * f, canary * f * rate) for f in factors]
            enough |= np.array(own) >= -math.log(beta)
        if not enough.any() or enough[0]:  # a canary equal to the control would have passed already
            return None
        return max(1, round(canary * (float(factors[enough][0]) - 1)))


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


def _fitting(kind: VerdictKind, low: float, high: float, margin: float) -> tuple[float, float]:
    """The interval, widened where it would contradict the verdict or itself."""
    low = low if kind == "fail" else min(low, margin)
    high = high if kind == "pass" else max(high, margin)
    if low <= high:
        return low, high
    return (0.0, high) if kind == "pass" else (low, math.inf)


def _reason(kind: VerdictKind, low: float, high: float, margin: float, need: int | None) -> str:
    if kind == "fail":
        return f"at least {low:.2f} times the control, above the margin {margin:.2f}"
    if kind == "pass":
        return f"at most {high:.2f} times the control, under the margin {margin:.2f}"
    upper = "any harm" if math.isinf(high) else f"up to {high:.2f} times the control"
    wait = f"about {need:,} canary requests more" if need else "more of them"
    return f"inconclusive, {wait}; not excluded: {upper}"
