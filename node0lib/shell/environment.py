"""What is installed where this interpreter runs: the input of the SBOM, and whether it is what was pinned.

Rules
- ``importlib.metadata`` is the source. Of two distributions with one name the first on ``sys.path`` counts, as
  for ``import``. Names are normalised (PEP 503).
- A licence is License-Expression (PEP 639), else the classifiers, else the first line of License if it is short.
- A requirement counts if its marker holds here and it is installed; extras count where somebody asks for them.
- The digest of the archive is known only where pip kept it (``direct_url.json``). Always kept is the SHA-256 of
  RECORD, which in turn holds the digest of every installed file.

>>> [component.license_name or component.license_expression for component in installed()
...  if component.name == "cryptography"]
['Apache-2.0 OR BSD-3-Clause']
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from node0lib.errors import ConfigError
from node0lib.evidence.canonical import sha256
from node0lib.evidence.sbom import Component

_SHORT = 100  # characters; a longer License field is the licence's text, not its name
_NO_NAME = {"", "UNKNOWN", "Dual License"}


def installed() -> tuple[Component, ...]:
    """Return the installed packages, sorted by name; the work is some 150 small files to read."""
    found = _distributions()
    requires = _requirements(found)
    return tuple(_component(name, found[name], requires[name]) for name in sorted(found))


def pin_mismatches(constraints: Path) -> tuple[str, ...]:
    """Return one sentence for each installed package whose version is not the one that is pinned.

    Packages without a pin and pins that are not installed are left alone. Raises ConfigError if the file cannot
    be read or a line is not a requirement.
    """
    found = _distributions()
    problems = []
    for name, pinned in sorted(_pins(constraints).items()):
        if name in found and not _same(found[name].version, pinned):
            problems.append(f"{name} {found[name].version} is installed, {constraints.name} pins {pinned}")
    return tuple(problems)


def _distributions() -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        if name := _field(distribution, "Name"):  # a folder half removed by pip has none
            key = canonicalize_name(name)
            # A source tree on the path has an egg-info too, which shadows what pip installed and knows less of it.
            if key not in found or (found[key].read_text("RECORD") is None and distribution.read_text("RECORD")):
                found[key] = distribution
    return found


def _requirements(found: Mapping[str, Distribution]) -> dict[str, tuple[str, ...]]:
    """Return the installed requirements of each package; grows the extras asked for until nothing is new."""
    parsed = {name: tuple(_parsed(distribution)) for name, distribution in found.items()}
    extras: dict[str, set[str]] = {name: {""} for name in found}
    pending = list(found)
    requires: dict[str, tuple[str, ...]] = {}
    while pending:
        name = pending.pop()
        active = [r for r in parsed[name] if canonicalize_name(r.name) in found and _holds(r, extras[name])]
        requires[name] = tuple(sorted({canonicalize_name(r.name) for r in active} - {name}))
        for requirement in active:
            target = canonicalize_name(requirement.name)
            if not requirement.extras <= extras[target]:
                extras[target] |= requirement.extras
                pending.append(target)
    return requires


def _parsed(distribution: Distribution) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        try:
            yield Requirement(line)
        except InvalidRequirement:  # an old package may hold one; what cannot be read relates to nothing
            continue


def _holds(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _component(name: str, distribution: Distribution, requires: tuple[str, ...]) -> Component:
    expression, licence = _licence(distribution)
    record = distribution.read_text("RECORD")
    kept = () if record is None else (("urn:node0:sbom:record-sha256", sha256(record.encode("utf-8"))),)
    return Component(
        name=name,
        version=distribution.version,
        license_expression=expression,
        license_name=licence,
        author=_author(distribution),
        hashes=_hashes(distribution),
        requires=requires,
        properties=kept,
    )


def _licence(distribution: Distribution) -> tuple[str | None, str | None]:
    """Return (SPDX expression, None), (None, a name as its authors wrote it), or (None, None)."""
    if expression := _field(distribution, "License-Expression"):
        return expression, None
    classifiers = [c for c in distribution.metadata.get_all("Classifier") or () if c.startswith("License ::")]
    names = [c.rsplit("::", 1)[-1].strip() for c in classifiers]
    if names := [name for name in names if name != "OSI Approved"]:
        return None, " or ".join(names) if len(names) > 1 else names[0]
    lines = _field(distribution, "License").splitlines()
    first = lines[0].strip() if lines else ""
    return None, first if first not in _NO_NAME and len(first) <= _SHORT else None


def _author(distribution: Distribution) -> str | None:
    given = (_field(distribution, key) for key in ("Author", "Author-email", "Maintainer", "Maintainer-email"))
    return next((" ".join(name.split()) for name in given if name not in _NO_NAME), None)


def _field(distribution: Distribution, key: str) -> str:
    """Return a metadata field without surrounding space, "" if it is not there."""
    values: list[str] = distribution.metadata.get_all(key) or []
    return values[0].strip() if values else ""


def _hashes(distribution: Distribution) -> tuple[tuple[str, str], ...]:
    """Return the SHA-256 of the archive, where pip installed from one that it was given by address."""
    text = distribution.read_text("direct_url.json")
    archive = json.loads(text).get("archive_info", {}) if text else {}
    digest = archive.get("hashes", {}).get("sha256")
    return (("SHA-256", digest),) if digest else ()


def _pins(constraints: Path) -> dict[str, str]:
    """Return normalised name -> version for every ``name==version`` line whose marker holds here."""
    try:
        lines = constraints.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{constraints}: cannot be read ({error}); restore it") from error
    pins: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.split(" #")[0].split(" --")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ConfigError(f"{constraints}:{number}: {text!r} is not a requirement; correct it") from error
        exact = [s.version for s in requirement.specifier if s.operator in ("==", "===")]
        if exact and _holds(requirement, {""}):
            pins[canonicalize_name(requirement.name)] = exact[0]
    return pins


def _same(version: str, pinned: str) -> bool:
    try:
        return Version(version) == Version(pinned)
    except InvalidVersion:
        return version == pinned
