"""One value, one sequence of bytes: what is hashed and signed.

Promises
- ``encode`` is RFC 8785 (JCS, by the library ``rfc8785``); equal values give equal bytes on every machine.
- ``decode`` is strict JSON and the inverse: ``encode(decode(encode(x))) == encode(x)``. It refuses what two
  readers could read differently: duplicate keys, NaN, bytes that are not UTF-8.
- ``policy_bytes`` survives that round trip too, so the live policy can be restored from its attestation.

Rules: +-infinity (the burn of an empty budget) becomes the string "Infinity" or "-Infinity", NaN is refused;
datetimes become ISO 8601 with Z, timedeltas seconds, enums their value, dataclasses and mappings objects,
sequences arrays. As in every JCS document a number is a double: 2.0 is written 2, integers end at 2**53 - 1.

>>> encode({"b": 2.0, "a": float("inf")})
b'{"a":"Infinity","b":2}'
>>> policy_bytes({"cache_ttl_s": 30.0})
b'{\\n  "cache_ttl_s": 30\\n}\\n'
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from numbers import Integral, Real
from typing import Any, TypeAlias

import rfc8785

from node0lib.errors import DataError, EvidenceError
from node0lib.ports import Policy
from node0lib.timespan import format_instant

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"

POLICY_NAME = "data/policy/alpha.policy.json"
"""The name under which the live policy is a subject of attestations."""

_EXACT = 2**53 - 1  # the largest integer that every reader of JSON keeps exactly


def encode(value: object) -> bytes:
    """Return the canonical JSON of ``value``; raises EvidenceError, naming the place, if it has none."""
    try:
        return rfc8785.dumps(_json(value, "$"))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise EvidenceError(f"cannot be written as canonical JSON: {error}") from error


def decode(content: bytes, where: str) -> Json:
    """Return the JSON value in ``content``; raises EvidenceError that begins with ``where`` if malformed."""
    try:
        value: Json = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise EvidenceError(f"{where}: is not JSON ({error}); restore the file from a backup") from error
    return value


def plain(value: object) -> Json:
    """Return ``value`` as it will be read back: tuples as lists, instants as text; raises EvidenceError."""
    return decode(encode(value), "$")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of ``content``, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def policy_bytes(policy: Policy) -> bytes:
    """Return the exact bytes of the live policy file: sorted keys, two spaces, UTF-8, a newline at the end.

    Numbers are written as they come back from an attestation (2.0 as 2), so that the bytes do not depend on
    whether the policy was computed or restored. Raises EvidenceError if a knob is not text or a finite
    number.
    """
    for name, knob in policy.items():
        if not isinstance(knob, str) and not (isinstance(knob, Real) and math.isfinite(knob)):
            raise EvidenceError(f"policy.{name}: {knob!r} is not text or a finite number; correct the policy")
    return (json.dumps(plain(policy), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def _json(value: object, where: str) -> Any:
    """Return ``value`` in the types that rfc8785 knows; Any, because its own type is not importable."""
    if value is None or isinstance(value, bool | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Real):
        return _number(value, where)
    if isinstance(value, Mapping):
        return {_key(k, where): _json(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    return _special(value, where)


def _special(value: object, where: str) -> Any:
    if isinstance(value, Enum):
        return _json(value.value, where)
    if isinstance(value, datetime):
        try:
            return format_instant(value)
        except DataError as error:
            raise EvidenceError(f"{where}: {error}") from error
    if isinstance(value, timedelta):
        return _number(value.total_seconds(), where)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _json(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
    raise EvidenceError(f"{where}: a {type(value).__name__} has no canonical form; convert it to JSON first")


def _number(value: Real | float, where: str) -> int | float | str:
    if isinstance(value, Integral):
        if abs(int(value)) > _EXACT:
            raise EvidenceError(f"{where}: {int(value)} is beyond 2**53 - 1; write it as text")
        return int(value)
    number = float(value)
    if math.isnan(number):
        raise EvidenceError(f"{where}: NaN says nothing; use null and give the reason")
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise EvidenceError(f"{where}: the key {key!r} is not text")
    return key


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int | float:
    """JCS writes 1e20 as 100000000000000000000: beyond 2**53 an integer literal is a double again."""
    value = int(digits)
    return value if abs(value) <= _EXACT else _float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:20]} is beyond the range of a double")
    return value
