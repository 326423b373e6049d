"""Node0: SLOs, burn rates, honest canaries and evidence that others can verify.

What reaches the world (files, clocks, servers) is loaded when it is first asked for.

>>> "SLOAwareOptimizer" in __all__
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from node0lib.errors import ConfigError, DataError, EvidenceError, Node0Error, RefusedError, RunError
from node0lib.slo.catalogue import ChangeClass
from node0lib.timespan import Span

if TYPE_CHECKING:
    from node0lib.alerts.policy import AlertPolicy, BurnAlert
    from node0lib.alerts.replay import BucketSeries, CounterSeries
    from node0lib.alerts.timeline import replay
    from node0lib.shell.aware import SLOAwareOptimizer, enhance_optimizer_with_slo_awareness

__all__ = [
    "AlertPolicy",
    "BucketSeries",
    "BurnAlert",
    "ChangeClass",
    "ConfigError",
    "CounterSeries",
    "DataError",
    "EvidenceError",
    "Node0Error",
    "RefusedError",
    "RunError",
    "SLOAwareOptimizer",
    "Span",
    "enhance_optimizer_with_slo_awareness",
    "replay",
]
_LATER = {
    "AlertPolicy": "node0lib.alerts.policy",
    "BucketSeries": "node0lib.alerts.replay",
    "BurnAlert": "node0lib.alerts.policy",
    "CounterSeries": "node0lib.alerts.replay",
    "SLOAwareOptimizer": "node0lib.shell.aware",
    "enhance_optimizer_with_slo_awareness": "node0lib.shell.aware",
    "replay": "node0lib.alerts.timeline",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'node0lib' has no attribute {name!r}")
