"""The bill of materials: which packages were installed where the cycle ran.

CycloneDX 1.6 JSON by cyclonedx-python-lib (ECMA-424). Equal input gives equal bytes: the serial number is a
UUIDv5 of the content, the timestamp is the cycle's, references are package URLs.

The minimum elements of both lists (NTIA 2021; CISA 2026, which replaced it) are there: producer, name, version,
identifier, hash, licence, relationships, author of the data, tool, timestamp, generation context. What is not
known is said to be not known: ``supplier`` and licence "unknown", and a property ``urn:node0:sbom:hash``.

>>> from datetime import UTC, datetime
>>> root = Component("node0", "0.1.0", license_expression="Apache-2.0", requires=("six",))
>>> content = build([Component("six", "1.17.0")], root, at=datetime(2026, 11, 24, tzinfo=UTC))
>>> content == build([Component("six", "1.17.0")], root, at=datetime(2026, 11, 24, tzinfo=UTC))
True
>>> b'"pkg:pypi/six@1.17.0"' in content
True
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

import cyclonedx
from cyclonedx.exception import CycloneDxException
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component as CdxComponent
from cyclonedx.model.component import ComponentType
from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from node0lib.errors import EvidenceError
from node0lib.evidence.canonical import encode, sha256
from node0lib.timespan import ensure_utc

UNKNOWN = "unknown"
MEDIA_TYPE = "application/vnd.cyclonedx+json"


@dataclass(frozen=True)
class Component:
    """One installed package; ``name`` is normalised (PEP 503).

    A licence is an SPDX expression, or else a name as its authors wrote it, or else unknown. ``hashes`` are
    (CycloneDX algorithm such as "SHA-256", hexadecimal) of the distributed archive. ``requires`` are names of
    other components. ``properties`` are further (name, value) pairs.
    """

    name: str
    version: str
    license_expression: str | None = None
    license_name: str | None = None
    author: str | None = None
    supplier: str | None = None
    hashes: tuple[tuple[str, str], ...] = ()
    requires: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def purl(self) -> str:
        """The package URL, for example ``pkg:pypi/six@1.17.0``."""
        return str(PackageURL("pypi", name=self.name, version=self.version))


def build(
    components: Iterable[Component], root: Component, *, at: datetime, serial: UUID | None = None
) -> bytes:
    """Return the CycloneDX document of ``root`` and the ``components`` around it, UTF-8 with a newline.

    ``at`` is the UTC instant it stands for; ``serial`` is derived from the content unless given. Raises
    EvidenceError if two components share a name, a requirement is not among them, or a value is not one that
    CycloneDX can hold.
    """
    others = sorted((c for c in components if c.name != root.name), key=lambda c: c.name)
    _check(others, root)
    at = ensure_utc(at)
    serial = serial or uuid5(NAMESPACE_URL, f"urn:node0:sbom:{sha256(encode([root, others, at]))}")
    try:
        bom = Bom(
            components=[_component(c, ComponentType.LIBRARY) for c in others],
            serial_number=serial,
            metadata=_metadata(root, at),
            dependencies=_dependencies([root, *others]),
        )
        text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    except (CycloneDxException, ValueError) as error:
        raise EvidenceError(f"the SBOM of {root.purl} cannot be written: {error}") from error
    return (text + "\n").encode("utf-8")


def _check(others: Sequence[Component], root: Component) -> None:
    known = Counter(c.name for c in (root, *others))
    if twice := sorted(name for name, times in known.items() if times > 1):
        raise EvidenceError(f"these components occur twice: {', '.join(twice)}; name each once")
    for component in (root, *others):
        if missing := sorted(set(component.requires) - known.keys()):
            raise EvidenceError(f"{component.purl} requires {', '.join(missing)}, not among the components")


def _metadata(root: Component, at: datetime) -> BomMetaData:
    tool = Component("cyclonedx-python-lib", cyclonedx.__version__, license_expression="Apache-2.0")
    tools = [_bare(tool, ComponentType.LIBRARY), _bare(root, ComponentType.APPLICATION)]
    return BomMetaData(
        timestamp=at,
        component=_component(root, ComponentType.APPLICATION),
        supplier=OrganizationalEntity(name=root.supplier or UNKNOWN),
        authors=[OrganizationalContact(name="node0 runner")],
        tools=ToolRepository(components=tools),
        lifecycles=[PredefinedLifecycle(LifecyclePhase.OPERATIONS)],
    )


def _bare(component: Component, kind: ComponentType) -> CdxComponent:
    """A tool: it must not reuse the reference under which the same package is a component."""
    return CdxComponent(
        name=component.name, version=component.version, type=kind, bom_ref=f"tool:{component.purl}"
    )


def _component(component: Component, kind: ComponentType) -> CdxComponent:
    unhashed = () if component.hashes else (("urn:node0:sbom:hash", UNKNOWN),)
    properties = [Property(name=n, value=v) for n, v in (*component.properties, *unhashed)]
    return CdxComponent(
        name=component.name,
        version=component.version,
        type=kind,
        bom_ref=component.purl,
        purl=PackageURL("pypi", name=component.name, version=component.version),
        authors=[OrganizationalContact(name=component.author or UNKNOWN)],
        supplier=OrganizationalEntity(name=component.supplier or UNKNOWN),
        hashes=[HashType(alg=HashAlgorithm(alg), content=digest) for alg, digest in component.hashes],
        licenses=[_license(component)],
        properties=properties,
    )


def _license(component: Component) -> LicenseExpression | DisjunctiveLicense:
    if component.license_expression:
        return LicenseExpression(component.license_expression)
    return DisjunctiveLicense(name=component.license_name or UNKNOWN)


def _dependencies(components: Sequence[Component]) -> list[Dependency]:
    """One entry a component, also when it requires nothing: an absent entry would mean "not known"."""
    refs: Mapping[str, str] = {c.name: c.purl for c in components}
    return [
        Dependency(
            ref=BomRef(c.purl), dependencies=[Dependency(ref=BomRef(refs[name])) for name in c.requires]
        )
        for c in components
    ]
