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
    from node0lib.shell.aware import SLOAwareOptimizer, enhance_optimizer_with_slo_awareness

__all__ = [
    "ChangeClass",
    "ConfigError",
    "DataError",
    "EvidenceError",
    "Node0Error",
    "RefusedError",
    "RunError",
    "SLOAwareOptimizer",
    "Span",
    "enhance_optimizer_with_slo_awareness",
]
_LATER = {"SLOAwareOptimizer", "enhance_optimizer_with_slo_awareness"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module("node0lib.shell.aware"), name)
    raise AttributeError(f"module 'node0lib' has no attribute {name!r}")
