"""Canary configurations of other tools, told apart by what they hold: Kayenta's, and Argo's Rollouts and templates.

Promises: a malformed file, an apiVersion or a kind that nobody knows is one ConfigError with every mistake; so is what
node0 cannot express, unless ``partial`` asks for the rest. What is returned loads in node0: ``files`` are their names
and contents.

>>> read_foreign(b"apiVersion: argoproj.io/v2\\nkind: Rollout\\n", "rollout.yaml")
Traceback (most recent call last):
...
node0lib.errors.ConfigError: rollout.yaml:1: apiVersion: 'argoproj.io/v2' is none that node0 reads; it reads \
argoproj.io/v1alpha1 (Rollout, AnalysisTemplate, ClusterAnalysisTemplate) and Kayenta's canary configs
nothing was imported
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from node0lib.errors import ConfigError
from node0lib.shell.argo_import import ClassRule, import_rollout, template_length
from node0lib.shell.argo_margin_import import import_template
from node0lib.shell.canary_leftovers import Left, Leftovers
from node0lib.shell.catalogue_file import checked
from node0lib.shell.json_lines import parse_json
from node0lib.shell.kayenta_import import import_kayenta
from node0lib.shell.mistakes import Mistakes, Source, shown
from node0lib.shell.schema import CanaryModel, ChangeModel
from node0lib.shell.yaml_lines import Document, parse, parse_all
from node0lib.timespan import format_duration

Kind = Literal["kayenta", "argo"]
API = "argoproj.io/v1alpha1"
_TEMPLATES = ("AnalysisTemplate", "ClusterAnalysisTemplate")
_KINDS = ("Rollout", *_TEMPLATES)
_KNOWN = f"it reads {API} ({', '.join(_KINDS)}) and Kayenta's canary configs"
_KAYENTA = ("metrics", "classifier", "judge", "configVersion")


@dataclass(frozen=True)
class Foreign:
    """What was imported: ``files`` by name, ``queries`` PromQL by metric, and what was left out or is to be known."""

    kind: Kind
    files: Mapping[str, str]
    queries: Mapping[str, str] = field(default_factory=dict)
    left: tuple[Left, ...] = ()
    notes: tuple[str, ...] = ()


def read_foreign(content: bytes, named: str, *, change_class: str = "M", partial: bool = False) -> Foreign:
    """Return what the bytes hold, in node0's terms; ``change_class`` is what a Rollout becomes. Raises ConfigError."""
    found = Leftovers()
    sources = [found.mistakes.source(document, named) for document in _documents(content, named)]
    found.mistakes.raise_if_any()
    if not sources:
        raise ConfigError(f"{named}: is empty; {_KNOWN}")
    if len(sources) == 1 and _is_kayenta(sources[0].document.data):
        return _kayenta(found, sources[0], partial)
    return _argo(found, sources, change_class, partial)


def _documents(content: bytes, named: str) -> Sequence[Document]:
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return [parse_json(content, named)]
    return parse_all(content)


def _is_kayenta(data: object) -> bool:
    return isinstance(data, Mapping) and "apiVersion" not in data and any(key in data for key in _KAYENTA)


def _kayenta(found: Leftovers, source: Source, partial: bool) -> Foreign:
    read = import_kayenta(found, source)
    found.settle(partial=partial)
    files = {name: _json(data) for name, data in (("kayenta.json", read.config), ("input.json", read.skeleton))}
    return Foreign("kayenta", files, read.queries, tuple(found.left), tuple(found.notes))


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _argo(found: Leftovers, sources: Sequence[Source], change_class: str, partial: bool) -> Foreign:
    known = [source for source in sources if _is_known(found.mistakes, source)]
    templates = [source for source in known if _at(source, "kind") in _TEMPLATES]
    rollouts = [source for source in known if _at(source, "kind") == "Rollout"]
    lengths = dict(_lengths(templates))
    rules = [import_rollout(found, source, lengths) for source in rollouts]
    if len(rollouts) > 1:
        found.mistakes.add(rollouts[1], ("kind",), "is a second Rollout; import one after another, each as its class")
    roles = {name: role for source in rollouts for name, role in _roles(_at(source, "spec"))}
    margins: dict[str, float] = {}
    for source in templates:
        for name, margin in import_template(found, source, roles=roles).items():
            if margins.setdefault(name, margin) != margin:
                found.add(source, ("metadata", "name"), f"has another margin for {name} than a template before it")
    texts = [_class_text(change_class, rule) for rule in rules if rule is not None]
    texts += [_margin_text(margins)] if margins else []
    _loads(found, sources[0], texts)
    found.settle(partial=partial)
    if rollouts:
        found.notes.append("kinds, improvement and confidence are not Argo's to say: what the class has stays")
    files = {"slo.yaml": "".join(texts)} if texts else {}
    return Foreign("argo", files, {}, tuple(found.left), tuple(found.notes))


def _at(source: Source, *path: str) -> object:
    return source.document.at(path)


def _is_known(mistakes: Mistakes, source: Source) -> bool:
    if not isinstance(source.document.data, Mapping):
        mistakes.add(source, (), f"{shown(source.document.data)} is no object with keys; {_KNOWN}")
        return False
    version, kind = _at(source, "apiVersion"), _at(source, "kind")
    if version is None:
        mistakes.add(source, (), f"has no apiVersion, and is no canary config of Kayenta's; {_KNOWN}")
    elif version != API:
        mistakes.add(source, ("apiVersion",), f"{shown(version)} is none that node0 reads; {_KNOWN}")
    elif kind not in _KINDS:
        mistakes.add(source, ("kind",), f"{shown(kind)} says nothing of a canary's judgement; {_KNOWN}")
    return version == API and kind in _KINDS


def _lengths(templates: Sequence[Source]) -> Iterator[tuple[str, timedelta | None]]:
    for source in templates:
        yield str(_at(source, "metadata", "name")), template_length(_at(source, "spec", "metrics"))


def _roles(data: object) -> Iterator[tuple[str, str]]:
    """Yield the arguments of a Rollout that are the hash of an arm, with Stable or Latest."""
    if isinstance(data, Mapping):
        value = data.get("valueFrom")
        role = value.get("podTemplateHashValue") if isinstance(value, Mapping) else None
        if isinstance(data.get("name"), str) and role in ("Stable", "Latest"):
            yield str(data["name"]), str(role)
        data = list(data.values())
    for item in data if isinstance(data, list) else []:
        yield from _roles(item)


def _class_text(name: str, rule: ClassRule) -> str:
    stages = ", ".join(_percent(share) for share in rule.stages)
    return (
        "# A canary of Argo's as a class: merge it into slo.yaml.\n"
        f"change_classes:\n  {name}:\n    stages: [{stages}]\n"
        f"    stage_duration: {format_duration(rule.stage_duration)}\n"
        f"    approval: {str(rule.approval).lower()}\n    on_inconclusive: ask\n"
    )


def _percent(share: Fraction) -> str:
    text = format(Decimal(share.numerator * 100) / Decimal(share.denominator), "f")
    return f"{text}%" if len(text.partition(".")[2]) <= 9 else repr(float(share))


def _margin_text(margins: Mapping[str, float]) -> str:
    lines = "".join(f"  {name}: {margin!r}\n" for name, margin in sorted(margins.items()))
    return f"# Margins of Argo's analysis, relative to the control: merge them into slo.yaml.\ncanary:\n{lines}"


def _loads(found: Leftovers, source: Source, texts: Sequence[str]) -> None:
    """Leave over, with node0's own reason, what slo.yaml would refuse."""
    own = Mistakes()
    read = own.source(parse("".join(texts).encode("utf-8")), "slo.yaml") if texts else None
    for path in read.document.lines if read is not None else ():
        if read is not None and len(path) == 2 and path[0] == "change_classes":
            checked(own, read, path, ChangeModel)
        elif read is not None and path == ("canary",):
            checked(own, read, path, CanaryModel)
    try:
        own.raise_if_any()
    except ConfigError as error:
        found.mistakes.add(source, (), f"cannot be a part of slo.yaml: {'; '.join(str(error).splitlines())}")
