"""What the canary's e-processes are made of: mixtures over alternatives, and means over the stages of a rollout.

An alternative is a step in the log from the null (of a ratio, or of the odds of a share): half-normal, sd 1, a grid of
40. A rollout has several stages, and a fault may begin in a late one; so evidence for harm is a mean of e-processes
with weights fixed before: one that began with the rollout (90%), and one for every later stage that began with it (the
other 10%, evenly). A mean of e-processes is one.

>>> float(over_stages(np.float64(5.0), [], stages=1))
5.0
>>> float(over_stages(np.float64(0.0), [np.float64(0.0)], stages=3)) < 1e-12  # nothing was seen: e = 1
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FROM_THE_START = 0.9
"""Weight of the evidence that began with the rollout, beside that of the later stages."""
_SD, _POINTS = 1.0, 40
STEPS = np.asarray((np.arange(_POINTS) + 0.5) * (4 * _SD / _POINTS), dtype=np.float64)
_WEIGHTS = np.exp(-0.5 * (STEPS / _SD) ** 2)
LOG_WEIGHTS = np.log(_WEIGHTS / _WEIGHTS.sum())
FINE = 0.025
"""Nulls are tried on a grid of this step in the log; all alternatives lie on it too."""


def log_sum(terms: Floats) -> Floats:
    """Return the log of the sum of exponentials over the last axis."""
    top = terms.max(axis=-1)
    total: Floats = top + np.log(np.exp(terms - top[..., None]).sum(axis=-1))
    return total


def over_stages(whole: Floats, later: Sequence[Floats], *, stages: int) -> Floats:
    """Return the log of the mean e-value of a rollout of so many stages, of the ``later`` ones that have begun."""
    if stages == 1:
        return whole
    each = (1 - FROM_THE_START) / (stages - 1)
    unbegun = each * (stages - 1 - len(later))
    parts = [whole + math.log(FROM_THE_START), *(stage + math.log(each) for stage in later)]
    parts += [np.full(np.shape(whole), math.log(unbegun))] if unbegun > 1e-12 else []
    return log_sum(np.stack(parts, axis=-1))
