"""The policy of a running instance: its file is replaced whole, it is told to reload, and it is asked what it runs.

The instance answers ``POST reload`` with 2xx, and ``GET loaded`` with the policy that it runs now: one JSON object, the
policy itself or ``{"policy": {...}}``. That is brought to node0's canonical bytes, and their SHA-256 must be that of
the policy that was to be brought: how the instance writes its JSON does not matter, and no digest of its own counts.

>>> digest({"cache_ttl_s": 30.0}) == digest_of_answer(b'{"sha256": "?", "policy": {"cache_ttl_s":30}}')
True
>>> digest_of_answer(b"<html>")
Traceback (most recent call last):
...
node0lib.errors.DataError: what the instance says it runs is no JSON object
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import tenacity

from node0lib.errors import DataError, EvidenceError, RunError
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.ports import Policy
from node0lib.shell.files import write_atomic

_DEADLINE = timedelta(seconds=10)
_PAUSE = tenacity.wait_exponential(multiplier=0.05, max=0.5)


@dataclass(frozen=True)
class Instance:
    """One of the two: its server in HAProxy, its policy's file, and the addresses that reload it and tell it."""

    server: str
    policy: Path
    reload: str
    loaded: str


def new_client() -> httpx.Client:
    """Return a client for instances: 2 s a request, no redirects, and no proxy of the environment."""
    return httpx.Client(timeout=2.0, trust_env=False)


def digest(policy: Policy) -> str:
    """Return the SHA-256 of a policy's canonical bytes."""
    return sha256(policy_bytes(policy))


def digest_of_answer(body: bytes) -> str:
    """Return the same of what an instance says it runs; raises DataError if that is no policy."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise DataError("what the instance says it runs is no JSON object")
    policy = found.get("policy", found)
    try:
        return digest(policy)
    except (EvidenceError, AttributeError) as error:
        raise DataError(f"what the instance says it runs is no policy: {error}") from error


def running(instance: Instance, client: httpx.Client) -> str:
    """Return the digest of what the instance runs; raises RunError if it does not say."""
    try:
        answer = client.get(instance.loaded)
        answer.raise_for_status()
        return digest_of_answer(answer.content)
    except (httpx.HTTPError, DataError) as error:
        raise RunError(f"{instance.loaded}: tells no policy ({error}); is {instance.server} running?") from error


def bring(instance: Instance, policy: Policy, client: httpx.Client, *, deadline: timedelta = _DEADLINE) -> None:
    """Make the instance run ``policy``; returns once it said so. Raises RunError after ``deadline``."""
    content = policy_bytes(policy)
    write_atomic(instance.policy, content)
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_delay(deadline.total_seconds()),
        wait=_PAUSE,
        retry=tenacity.retry_if_exception_type(RunError),
        reraise=True,
    )
    attempts(_reloaded, instance, sha256(content), client)


def _reloaded(instance: Instance, wanted: str, client: httpx.Client) -> None:
    try:
        client.post(instance.reload).raise_for_status()
    except httpx.HTTPError as error:
        raise RunError(f"{instance.reload}: {instance.server} did not reload its policy ({error})") from error
    found = running(instance, client)
    if found != wanted:
        raise RunError(
            f"{instance.loaded}: {instance.server} runs the policy {found[:12]} after its reload, not {wanted[:12]} of "
            f"{instance.policy}; does it read that file?"
        )
