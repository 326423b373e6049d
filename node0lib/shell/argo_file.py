"""Argo's manifests as YAML: written with comments and readable queries.

>>> print(written([{"kind": "Rollout", "query": "a\\n/\\nb\\n", "version": "1e3"}], ["one note"]), end="")
# one note
---
kind: Rollout
query: |
  a
  /
  b
version: '1e3'
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][\w./-]*")


class _Manifests(yaml.SafeDumper):
    """Several lines as a block; in quotes whatever a reader of YAML 1.1 or 1.2 could take for no text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = yaml.SafeDumper.represent_str(dumper, text)
    if "\n" in text:
        node.style = "|"
    elif not _PLAIN.fullmatch(text):
        node.style = "'"
    return node


_Manifests.add_representer(str, _text)


def written(manifests: Iterable[Mapping[str, Any]], comments: Sequence[str]) -> str:
    """Return the manifests as a stream of YAML documents below the comments."""
    wrapped = (line for text in comments for line in textwrap.wrap(text, 116, break_long_words=False))
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 10**9, "default_flow_style": False}
    return "".join(f"# {line}\n" for line in wrapped) + str(
        yaml.dump_all(manifests, Dumper=_Manifests, explicit_start=True, **style)
    )
