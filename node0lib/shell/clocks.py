"""The real clock, and the clock of a rehearsal.

>>> from datetime import timedelta
>>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
>>> SimulatedClock(noon).now() - noon < timedelta(seconds=5)
True
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SimulatedClock:
    """A clock that starts at an instant of one's choice and runs at the real pace."""

    def __init__(self, start: datetime) -> None:
        self._start, self._began = start, time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=time.monotonic() - self._began)
