"""Node0: SLOs, burn rates, honest canaries and evidence that others can verify.

>>> "ConfigError" in __all__
True
"""

from node0lib.errors import ConfigError, DataError, EvidenceError, Node0Error, RefusedError, RunError
from node0lib.timespan import Span

__all__ = ["ConfigError", "DataError", "EvidenceError", "Node0Error", "RefusedError", "RunError", "Span"]
