"""Prometheus 3.x beside Debian stable's 2.42: they differ in what a range is, and read the same blocks.

3.x is looked for on PATH as ``prometheus3``; it needs no promtool of its own, 2.42's makes blocks for both.
``VERSIONS`` parametrises a test or a fixture over both, each as (program, Prometheus's major version).
"""

from __future__ import annotations

import pytest
from prometheus_server import needs_prometheus, needs_prometheus3

VERSIONS = [
    pytest.param(("prometheus", 2), marks=needs_prometheus, id="2.x"),
    pytest.param(("prometheus3", 3), marks=[needs_prometheus, needs_prometheus3], id="3.x"),
]
