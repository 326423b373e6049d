"""Values as somebody writes them into a notebook's parameters, checked: one clear ConfigError says what to write.

>>> share("error_rate", "1%"), shares("stages", "5%/25%"), number("stage_minutes", 5, 5)
(0.01, (0.05, 0.25), 5.0)
>>> number("stage_minutes", "5m", 5)
Traceback (most recent call last):
...
node0lib.errors.ConfigError: stage_minutes: '5m' is no number; write 5
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from node0lib.errors import ConfigError


def number(name: str, value: object, example: float) -> float:
    """Return a finite number; raises ConfigError that gives the ``example``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name}: {value!r} is no number; write {example:g}")
    return float(value)


def whole(name: str, value: object, example: int) -> int:
    """Return a whole number; raises ConfigError that gives the ``example``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}: {value!r} is no whole number; write {example}")
    return value


def share(name: str, value: object, example: float = 0.01) -> float:
    """Return a share that is written as 0.01 or as "1%"; raises ConfigError. Whether it makes sense is not asked."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        found = float(text[:-1]) / 100 if text.endswith("%") else number(name, float(text) if text else value, example)
    except (ConfigError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ConfigError(f'{name}: {value!r} is no share; write {example:g} or "{example:.0%}"')
    return found


def shares(name: str, value: object) -> tuple[float, ...]:
    """Return shares that are written as [0.05, 0.25], ["5%", "25%"] or "5%/25%"; raises ConfigError."""
    parts = value.split("/") if isinstance(value, str) else value
    if not isinstance(parts, Sequence):
        raise ConfigError(f'{name}: {value!r} is no list of shares; write [0.05, 0.25] or "5%/25%"')
    return tuple(share(name, part) for part in parts)


def text(name: str, value: object, example: str) -> str:
    """Return a text; raises ConfigError that gives the ``example``."""
    if not isinstance(value, str):
        raise ConfigError(f'{name}: {value!r} is no text; write "{example}"')
    return value


def texts(name: str, value: object, example: str) -> tuple[str, ...]:
    """Return a list of texts; raises ConfigError that gives the ``example`` of one."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f'{name}: {value!r} is no list; write ["{example}"], or [] for all')
    return tuple(text(name, one, example) for one in value)
