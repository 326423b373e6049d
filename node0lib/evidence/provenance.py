"""SLSA provenance of the live policy: which run made it, from what, and when.

Source: slsa.dev/spec/v1.2, "Build: Provenance"; predicate type https://slsa.dev/provenance/v1.

The build type ``urn:node0:production-cycle:v1``
- builds one file, the live policy, which is the only subject;
- external parameters (the tenant's): ``config``, ``at`` and ``mode``, each a text. Any other is refused, as the
  specification asks of verifiers;
- internal parameters (the runner's): anything that helps to repeat the run, such as a seed;
- resolved dependencies: first the PoI envelope (name "poi", uri = its name in the evidence store), then the
  SBOM (name "sbom", likewise), then configurations and the notebook;
- byproducts: the executed notebook and its result.
- The builder ``urn:node0:runner:local`` is the runner process on the machine of whoever started it: the
  notebook kernel is its tenant and has neither its key nor its memory.

No level is a field here: a level is a conclusion that a reader draws from what was verified, requirement by
requirement; a document cannot give it to itself.

>>> from datetime import UTC, datetime
>>> at = datetime(2026, 11, 24, 12, tzinfo=UTC)
>>> made_from = (Artifact("poi", "1" * 64, uri="poi-attestations/c1.dsse.json"),
...              Artifact("sbom", "2" * 64, uri="sbom/c1.cdx.json"))
>>> p = Provenance("c1", "0" * 64, "configs/node0.yaml", at, "autonomous", "0.1.0", at, at, made_from)
>>> p.poi.uri
'poi-attestations/c1.dsse.json'
>>> Provenance.from_statement(p.to_statement(), "c1.dsse.json") == p
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from node0lib.errors import EvidenceError
from node0lib.evidence.canonical import POLICY_NAME, Json, plain
from node0lib.evidence.statement import Artifact, Fields, Statement, located
from node0lib.timespan import ensure_utc, format_instant

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:node0:production-cycle:v1"
BUILDER = "urn:node0:runner:local"


@dataclass(frozen=True)
class Provenance:
    """One sealed cycle. ``cycle`` is the invocation's id, ``policy_sha256`` the digest of the live policy file.

    ``config`` is the path of the configuration as it was given; ``at``, ``started`` and ``finished`` are UTC
    instants. Raises EvidenceError if ``dependencies`` does not hold exactly one "poi" (first) and one "sbom",
    both with a uri, DataError if an instant is naive.
    """

    cycle: str
    policy_sha256: str
    config: str
    at: datetime
    mode: str
    node0_version: str
    started: datetime
    finished: datetime
    dependencies: tuple[Artifact, ...]
    byproducts: tuple[Artifact, ...] = ()
    internal: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("at", "started", "finished"):
            object.__setattr__(self, name, ensure_utc(getattr(self, name)))
        object.__setattr__(self, "internal", plain(self.internal))
        names = [artifact.name for artifact in self.dependencies]
        if names[:1] != ["poi"] or names.count("poi") != 1 or names.count("sbom") != 1:
            raise EvidenceError(f"the dependencies need one poi, first, and one sbom; they are {names}")
        if self.poi.uri is None or self.sbom.uri is None:
            raise EvidenceError("the dependencies poi and sbom need a uri: their names in the evidence store")

    @property
    def poi(self) -> Artifact:
        """The PoI envelope; its ``uri`` is its name in the evidence store."""
        return self.dependencies[0]

    @property
    def sbom(self) -> Artifact:
        """The SBOM of the environment that ran; its ``uri`` is its name in the evidence store."""
        return next(artifact for artifact in self.dependencies if artifact.name == "sbom")

    def to_statement(self) -> Statement:
        """Return the statement to be sealed."""
        definition: dict[str, Json] = {
            "buildType": BUILD_TYPE,
            "externalParameters": {"config": self.config, "at": format_instant(self.at), "mode": self.mode},
            "internalParameters": plain(self.internal),
            "resolvedDependencies": [artifact.to_json() for artifact in self.dependencies],
        }
        details: dict[str, Json] = {
            "builder": {"id": BUILDER, "version": {"node0": self.node0_version}},
            "metadata": {
                "invocationId": self.cycle,
                "startedOn": format_instant(self.started),
                "finishedOn": format_instant(self.finished),
            },
            "byproducts": [artifact.to_json() for artifact in self.byproducts],
        }
        subject = Artifact(POLICY_NAME, self.policy_sha256)
        return Statement((subject,), PREDICATE_TYPE, {"buildDefinition": definition, "runDetails": details})

    @classmethod
    def from_statement(cls, statement: Statement, where: str) -> Provenance:
        """Return the provenance in ``statement``; raises EvidenceError, naming the field, if it is not one."""
        given = statement.fields(PREDICATE_TYPE, where)
        build, run = given.inner("buildDefinition"), given.inner("runDetails")
        external, builder, metadata = _external(build), _builder(run), run.inner("metadata")
        artifacts = {"dependencies": build.artifacts("resolvedDependencies")}
        artifacts["byproducts"] = run.artifacts("byproducts")
        with located(where):
            return cls(
                cycle=metadata.text("invocationId"),
                policy_sha256=_policy_digest(statement, where),
                config=external.text("config"),
                at=external.instant("at"),
                mode=external.text("mode"),
                node0_version=builder.inner("version").text("node0"),
                started=metadata.instant("startedOn"),
                finished=metadata.instant("finishedOn"),
                internal=build.inner("internalParameters").values,
                **artifacts,
            )


def _policy_digest(statement: Statement, where: str) -> str:
    if [artifact.name for artifact in statement.subject] != [POLICY_NAME]:
        raise EvidenceError(f"{where}: its only subject must be {POLICY_NAME}")
    return statement.subject[0].sha256


def _external(build: Fields) -> Fields:
    if (kind := build.text("buildType")) != BUILD_TYPE:
        raise EvidenceError(f"{build.where}.buildType is {kind!r}, not {BUILD_TYPE!r}")
    external = build.inner("externalParameters")
    external.only(("config", "at", "mode"))
    return external


def _builder(run: Fields) -> Fields:
    builder = run.inner("builder")
    if (name := builder.text("id")) != BUILDER:
        raise EvidenceError(f"{builder.where}.id is {name!r}, not {BUILDER!r}")
    return builder
