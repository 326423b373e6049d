"""What arithmetic says of one alert and one fault: the answers that a replay must give on steady traffic.

A fault makes the error ratio jump from ``floor`` (0 unless told otherwise) to ``error`` and back. With budget B, a
window of length L and the threshold factor x B, under steady traffic:

- detection ``t = factor x B x L / error``, from the long window (the short one is met sooner), plus ``for``;
- reset ``S x (1 - factor x B / error)`` after the end, S being the shorter window: when it has lost enough of the
  fault. However long the fault was, if it was told at all;
- the period's budget is gone after ``B x period / error``;
- what is spent when the alert comes is ``error x t / (B x period)``, which is factor x L / period without ``for``.

With a floor, what counts in both windows is the excess over it: factor x B and ``error`` are both lessened by it.
``min_bad`` is not part of a closed form, nor is traffic that changes. Source: SRE Workbook, ch. 5 ("Alerting on SLOs").

>>> from node0lib.alerts.policy import workbook_policy
>>> policy = workbook_policy(0.999)
>>> page = policy.alerts[0]
>>> str(detection(page, policy.budget, 0.15)), str(reset(page, policy.budget, 0.15, timedelta(minutes=10)))
('0:05:45.600000', '0:04:31.200000')
>>> detection(page, policy.budget, 0.0144) is None
True
"""

from __future__ import annotations

from datetime import timedelta

from node0lib.alerts.policy import BurnAlert
from node0lib.errors import ConfigError


def detection(alert: BurnAlert, budget: float, error: float, *, floor: float = 0.0) -> timedelta | None:
    """Return how long a fault lasts when it is told; None if it never is (error <= factor x B: strictly above fires).

    Raises ConfigError for ratios outside [0, 1] and for a floor on which the alert fires always.

    >>> from node0lib.alerts.policy import workbook_policy
    >>> [str(detection(alert, 0.001, 1.0)) for alert in workbook_policy(0.999).alerts[:2]]
    ['0:00:51.840000', '0:02:09.600000']
    """
    share = _share_needed(alert, budget, error, floor)
    return None if share is None else share * alert.long + alert.hold


def reset(
    alert: BurnAlert, budget: float, error: float, length: timedelta, *, floor: float = 0.0
) -> timedelta | None:
    """Return how long after its end a fault of that ``length`` is still told; None if it is not told.

    Of a pair the short window decides; an alert on a single window (short == long) goes on for most of it. A fault
    may be over before ``for`` has passed, or it may end just before the detection time: then nothing is told.

    >>> page = BurnAlert("page", "critical", timedelta(hours=1), timedelta(minutes=5), 36.0)
    >>> alone = BurnAlert("alone", "critical", timedelta(hours=1), timedelta(hours=1), 36.0)
    >>> [str(reset(one, 0.001, 1.0, timedelta(minutes=10))) for one in (page, alone)]
    ['0:04:49.200000', '0:57:50.400000']
    """
    share = _share_needed(alert, budget, error, floor)
    if share is None or length <= share * alert.long:
        return None
    over = (1.0 - share) * alert.short
    return over if length + over > share * alert.long + alert.hold else None


def exhaustion(budget: float, error: float, period: timedelta) -> timedelta | None:
    """Return how long an error ratio of ``error`` takes to spend the budget of a period; None if (nearly) for ever.

    >>> str(exhaustion(0.001, 1.0, timedelta(days=30))), str(exhaustion(0.001, 0.002, timedelta(days=30)))
    ('0:43:12', '15 days, 0:00:00')
    """
    _check(budget, error, 0.0)
    return budget / error * period if error * (timedelta.max / period) > budget else None


def spent_at_alert(
    alert: BurnAlert, budget: float, error: float, period: timedelta, *, floor: float = 0.0
) -> float | None:
    """Return the share of the period's budget that a fault itself has spent when it is told; None if it never is.

    >>> from node0lib.alerts.policy import workbook_policy
    >>> [round(spent_at_alert(a, 0.001, 0.02, timedelta(days=30)), 9) for a in workbook_policy(0.999).alerts]
    [0.02, 0.05, 0.1, 0.1]
    """
    told = detection(alert, budget, error, floor=floor)
    return None if told is None else error * (told / period) / budget


def _share_needed(alert: BurnAlert, budget: float, error: float, floor: float) -> float | None:
    """The share of a window that must lie in the fault for its ratio to reach the threshold; None if all is too little.

    Strictly above it an alert fires.
    """
    _check(budget, error, floor)
    threshold = alert.factor * budget
    if floor > threshold:
        raise ConfigError(f"alert {alert.name} fires always: the floor {floor:g} is above its threshold {threshold:g}")
    return (threshold - floor) / (error - floor) if error > threshold else None


def _check(budget: float, error: float, floor: float) -> None:
    if not 0 < budget < 1:
        raise ConfigError(f"the error budget {budget:g} must lie strictly between 0 and 1; 99.9% leaves 0.001")
    if not (0 <= error <= 1 and 0 <= floor <= 1):
        raise ConfigError(f"error {error:g} and floor {floor:g} must lie between 0 and 1; 5% is 0.05")
