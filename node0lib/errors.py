"""The errors of node0: whose fault it is decides the class.

Every message says what is wrong, where, and what to do.

>>> issubclass(ConfigError, Node0Error)
True
"""

from __future__ import annotations


class Node0Error(Exception):
    """Anything that node0 raises on purpose."""


class ConfigError(Node0Error):
    """What you wrote is wrong: a configuration file, a parameter, a command line."""


class DataError(Node0Error):
    """What they sent is wrong or missing: telemetry that cannot be read or makes no sense."""


class EvidenceError(Node0Error):
    """Evidence does not verify: a digest, a signature or a chain is broken."""


class RunError(Node0Error):
    """What we did at run time did not work: a kernel, a disk, a process."""


class RefusedError(RunError):
    """The cycle may not start now: too soon, or another one is running."""
