"""What the looks at one revision say so far: verdicts of its metrics, and whether they can be believed.

Rules
- Three metrics: the share of errors, and the shares slower than the control's p95 and p99 bounds. Alpha is divided
  before anything is seen (``ALPHA_SHARES``: errors harm most and are the rarest); beta is not, since promotion asks
  for all three. Over stages it is divided within ``sequential.Evidence``.
- A latency margin is read as a share: a quantile is at the bound if as many requests as it allows are slower. Both the
  ratio to the control and the canary's own share may decide (``sequential``); where the control is so rarely slow that
  the ratio would be ``WIDEST``, the canary's own share decides alone.
- At a share of 1 no control is left: fail what is surely above an absolute limit in this stage, however often one
  looks (an e-process too, error ``WATCH_ALPHA`` a metric).
- Silence: no canary request where at least 15 were to be expected by the requests of both arms, or by those that came
  each minute before (half a minute at least); or no request at all in the first minute.
- The control is broken if its own errors are surely above the absolute limit: then no comparison means anything.
- A control that serves nobody is broken too; while it is, nothing is counted, and neither silence nor the canary's
  share means anything: the balancer sends everybody to whoever serves.
- A canary that does not get its share (``sample_ratio``) is not the experiment that was planned.

>>> wilson_low(0, 100)
0.0
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node0lib.canary.arms import WIDEST
from node0lib.canary.own_share import OwnShare
from node0lib.canary.sample_ratio import SampleRatio
from node0lib.canary.sequential import Evidence, MetricVerdict, Tally, VerdictKind
from node0lib.ports import Arm, Baseline, Look
from node0lib.slo.catalogue import CanaryRules

ALPHA_SHARES: Mapping[str, float] = {"error_rate": 0.8, "latency_p95": 0.1, "latency_p99": 0.1}
"""How alpha is divided over the metrics; adds up to 1."""
ALLOWED: Mapping[str, float] = {"latency_p95": 0.05, "latency_p99": 0.01}
"""What share of requests may be slower than the quantile's bound."""
EXPECTED = 15.0
"""So many canary requests do not fail to come by chance (3e-7)."""
SILENT_MINUTES, UNHEARD_MINUTES = 0.5, 1.0
WATCH_ALPHA = 0.001
MISMATCH_ALPHA = 0.001
_NOBODY = Arm(0, 0, 0, 0)


@dataclass(frozen=True)
class Reading:
    """What is known at one look. Texts are None where there is nothing to say.

    ``lost``: telemetry that is missing or cannot be believed; ``broken``: the control is no yardstick;
    ``failed``: harm is shown. ``passed``: every metric passes, on enough requests; ``open_``: what does not, in words;
    ``worst``: the largest harm that is not excluded, of those; ``control_down``: the control serves nobody.
    """

    lost: str | None
    broken: str | None
    failed: str | None
    passed: bool
    open_: str
    worst: float
    verdicts: tuple[MetricVerdict, ...]
    control_down: bool = False


class Analysis:
    """The looks at one revision in one rollout; a new revision begins with a new one.

    ``stages`` is how many shares below 1 there are; ``error_limit`` the absolute error share, in (0, 1].
    """

    def __init__(self, rules: CanaryRules, baseline: Baseline, *, stages: int, error_limit: float) -> None:
        self._rules, self._error_limit, self._stages = rules, error_limit, max(1, stages)
        margins = margins_in_force(rules, baseline)
        self._evidence = {
            name: Evidence(
                margin,
                design_effect=rules.design_effect,
                stages=self._stages,
                allowed=ALLOWED.get(name),
                own_only=margin >= WIDEST,
            )
            for name, margin in margins.items()
        }
        self._share, self._stage = 0.0, 0
        self._ratio: SampleRatio | None = None
        self._canary_requests = 0
        self.control, self.canary = _NOBODY, _NOBODY
        self._requests = 0
        self._listened = self._expected = self._silent = 0.0

    def begin(self, share: float) -> None:
        """Begin a stage; its arms (``control``, ``canary``) are counted from zero."""
        self._share, self._stage = share, self._stage + 1
        self.control = self.canary = _NOBODY
        self._expected = self._silent = 0.0
        self._ratio = SampleRatio(share) if share < 1 else None
        if share < 1 and self._stage > 1:
            for evidence in self._evidence.values():
                evidence.begin_stage()

    def add(self, look: Look) -> None:
        """Count a look of the stage; one without a control that serves counts nothing, and ends a silence."""
        if look.control_down is not None:
            self._expected = self._silent = 0.0
            return
        self.control, self.canary = add(self.control, look.control), add(self.canary, look.canary)
        self._canary_requests += look.canary.requests
        total = look.control.requests + look.canary.requests
        self._expected = 0.0 if look.canary.requests else self._expected + self._share * total
        self._requests += total
        self._listened += look.length
        self._silent = 0.0 if total else self._silent + look.length
        if self._ratio is None:
            return
        self._ratio.add((look.control.requests, look.canary.requests))
        for evidence, bad in zip(self._evidence.values(), _bad(look), strict=True):
            evidence.add(Tally((look.control.requests, look.canary.requests), bad))

    def reading(self, look: Look, *, whole: bool) -> Reading:
        """Return what is known after a look that was added; verdicts where something is shown or ``whole`` is asked."""
        down = look.control_down is not None
        lost = None if down else self._lost(look)
        failing = not down and lost is None and self._failing()
        verdicts = self.verdicts() if whole or failing or (lost and self._heard) else ()
        failed = "; ".join(f"{v.metric}: {v.reason}" for v in verdicts if v.kind == "fail") if failing else None
        few = self._canary_requests < self._rules.minimum_requests
        open_ = [v for v in verdicts if v.kind != "pass"]
        text = "; ".join(f"{v.metric}: {v.reason}" for v in open_ or verdicts)
        if few and not open_:
            text = f"too few canary requests ({self._canary_requests}, at least {self._rules.minimum_requests})"
        worst = math.inf if few or not verdicts else max((v.high for v in open_), default=0.0)
        broken = f"stable does not serve ({look.control_down})" if down else self._broken()
        return Reading(lost, broken, failed, not (few or open_) and bool(verdicts), text, worst, verdicts, down)

    @property
    def _heard(self) -> bool:
        return self.canary.requests > 0

    def verdicts(self) -> tuple[MetricVerdict, ...]:
        """Compare all that the rollout has seen; at 100%, only what this stage has seen, and with limits."""
        if self._share >= 1:
            return absolute(self.canary, self._error_limit, self._rules.design_effect)
        return tuple(
            evidence.judge(name, alpha=self._rules.alpha * ALPHA_SHARES[name], beta=self._rules.beta)
            for name, evidence in self._evidence.items()
        )

    def _failing(self) -> bool:
        if self._share >= 1:
            return any(v.kind == "fail" for v in self.verdicts())
        return any(e.fails(self._rules.alpha * ALPHA_SHARES[name]) for name, e in self._evidence.items())

    def _lost(self, look: Look) -> str | None:
        if self._expected >= EXPECTED or self._is_silent():
            return f"no canary requests in minute {look.minute:.3g}: telemetry is lost"
        wrong = self._ratio.mismatch(MISMATCH_ALPHA / self._stages) if self._ratio else None
        return f"{wrong}: requests or telemetry are lost" if wrong else None

    def _is_silent(self) -> bool:
        """Whether nobody's requests come any more: a quiet service has its pauses."""
        if not self._requests:
            return self._silent >= UNHEARD_MINUTES
        heard = self._listened - self._silent
        return self._silent >= SILENT_MINUTES and self._silent * self._requests >= EXPECTED * heard

    def _broken(self) -> str | None:
        seen = self.control
        enough = self._share < 1 and seen.requests >= self._rules.minimum_requests
        if not enough or wilson_low(seen.errors, seen.requests) <= self._error_limit:
            return None
        share = seen.errors / seen.requests
        return f"the control itself fails {share:.2%} of {seen.requests:,} requests (limit {self._error_limit:.2%})"


def margins_in_force(rules: CanaryRules, baseline: Baseline) -> dict[str, float]:
    """Return the largest harmless ratio of each metric's share of bad requests, each at least 1."""
    slow = zip(ALLOWED.values(), (baseline.slow_p95, baseline.slow_p99), strict=True)
    ratios = (1 + rules.error_rate, *(allowed / max(seen, allowed / WIDEST) for allowed, seen in slow))
    return {name: max(1.0, ratio) for name, ratio in zip(ALPHA_SHARES, ratios, strict=True)}


def _bad(look: Look) -> tuple[tuple[int, int], ...]:
    control, canary = look.control, look.canary
    return (
        (control.errors, canary.errors),
        (control.slow_p95, canary.slow_p95),
        (control.slow_p99, canary.slow_p99),
    )


def add(*arms: Arm) -> Arm:
    """Return the sum of some arms' counts."""
    fields = zip(*((a.requests, a.errors, a.slow_p95, a.slow_p99) for a in arms), strict=True)
    return Arm(*(sum(column) for column in fields))


def absolute(seen: Arm, error_limit: float, design_effect: float = 1.0) -> tuple[MetricVerdict, ...]:
    """Judge an arm without a control: fail only what is surely above twice the quantile's share, or the limit."""
    kind: VerdictKind
    limits: Sequence[float] = (error_limit, *(2 * share for share in ALLOWED.values()))
    found = []
    for name, limit, count in zip(ALPHA_SHARES, limits, (seen.errors, seen.slow_p95, seen.slow_p99), strict=True):
        if not seen.requests:
            text = "no requests; missing data is never a pass"
            found.append(MetricVerdict(name, "no_data", None, 0.0, math.inf, 1.0, None, text))
            continue
        own, share = OwnShare(limit, design_effect=design_effect), count / seen.requests
        own.add(seen.requests, count)
        text = f"{share:.3%} of {seen.requests:,} requests (limit {limit:.3%})"
        failing = own.surely_above(WATCH_ALPHA)
        low = own.interval(WATCH_ALPHA, WATCH_ALPHA)[0]
        low, kind = (max(1.0, low), "fail") if failing else (min(1.0, low), "pass")
        found.append(MetricVerdict(name, kind, None, low, share / limit, 1.0, None, text))
    return tuple(found)


def wilson_low(count: int, n: int, z: float = 3.0) -> float:
    """Return the lower end of Wilson's interval for a share, in [0, 1] (Wilson 1927)."""
    share = count / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n))
