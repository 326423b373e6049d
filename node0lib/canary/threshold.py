"""The naive rule: the canary is worse if its point estimate is above margin x the control's. For comparison only.

It has no notion of noise: at 1% errors, 100 requests/s and a canary of 5% it stops 37% of harmless canaries at one
look after ten minutes, and 75% over ten looks. It never says that it does not know.

>>> compare("error_rate", 0.0100, 0.0106, margin=1.05).kind
'fail'
>>> compare("error_rate", 0.0, 0.0, margin=1.05).kind, compare("error_rate", None, 0.0, margin=1.05).kind
('pass', 'no_data')
"""

from __future__ import annotations

import math

from node0lib.canary.sequential import MetricVerdict

WARNING = (
    "the threshold judge compares point estimates and has no notion of noise: it stops 37% of harmless canaries "
    "at one look and 75% over ten (1% errors, 100 requests/s, 5% canary, 10 minutes). "
    "Use it for comparison only; --judge sequential bounds both errors."
)


def compare(metric: str, control: float | None, canary: float | None, *, margin: float) -> MetricVerdict:
    """Compare two estimates (shares, seconds; at least 0; None where there is nothing to estimate from).

    A control of 0 makes any canary above 0 worse. The "interval" of the verdict is the ratio itself.
    """
    if control is None or canary is None:
        text = "an arm has no data; missing data is never a pass"
        return MetricVerdict(metric, "no_data", None, 0.0, math.inf, margin, None, text)
    worse = canary > margin * control
    ratio = canary / control if control > 0 else (math.inf if canary > 0 else 1.0)
    text = f"{canary:g} against {control:g}: {'above' if worse else 'not above'} {margin:g} times the control's"
    shown = ratio if control > 0 else None
    return MetricVerdict(metric, "fail" if worse else "pass", shown, ratio, ratio, margin, None, text)
