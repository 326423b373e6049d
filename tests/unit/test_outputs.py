"""Files that cycles made, against the digests that were sealed."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node0lib.errors import EvidenceError
from node0lib.evidence.poi import PoI, Previous, Source
from node0lib.evidence.provenance import Provenance
from node0lib.evidence.statement import Artifact
from node0lib.evidence.verify import Record
from node0lib.shell.outputs import Outputs, check_outputs
from node0lib.shell.workspace import Places

AT = datetime(2026, 11, 24, 2, tzinfo=UTC)
FILES = ("reports/c1.ipynb", "data/cycles/c1/result.json", "data/cycles/c1/given.json", "reports/c0.audit.html")


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Places, Record]:
    """A record that speaks of a notebook, a result, what was given, a report and a configuration file."""
    for name in (*FILES, "configs/slo.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
    made = {name: Artifact.of(name, name.encode()) for name in (*FILES, "configs/slo.yaml")}
    poi = PoI("c1", AT, "blocked", Source("embedded", True), "simulated", {"a": 1}, {"a": 1})
    report = replace(made[FILES[3]], name="c0.audit.html")
    poi = replace(
        poi,
        subjects=(made[FILES[0]], made[FILES[1]]),
        inputs=(made["configs/slo.yaml"], made[FILES[2]]),
        previous=Previous("0" * 64, (report,)),
    )
    attested = Artifact("poi", "1" * 64, uri="poi-attestations/c1.dsse.json")
    parts = (attested, Artifact("sbom", "2" * 64, uri="sbom/c1.cdx.json"))
    provenance = Provenance("c1", "0" * 64, "configs/node0.yaml", AT, "recommend", "0.1.0", AT, AT, parts)
    places = Places(tmp_path, tmp_path / "data", tmp_path / "evidence", tmp_path / "reports")
    return places, Record(poi, provenance, "3" * 64)


def test_files_as_sealed_are_counted(sealed: tuple[Places, Record]) -> None:
    """Every file that is as it was sealed counts, and one that is gone is told as missing."""
    places, record = sealed
    assert check_outputs(places, [record]) == Outputs(matching=4, missing=0)
    (places.root / FILES[0]).unlink()
    assert check_outputs(places, [record]) == Outputs(matching=3, missing=1)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(sealed: tuple[Places, Record], name: str) -> None:
    """A notebook, a result, an input or a report that was edited after it was sealed is an error that names it."""
    places, record = sealed
    (places.root / name).write_text("edited", "utf-8")
    with pytest.raises(EvidenceError, match=f"{name}: was changed"):
        check_outputs(places, [record])


def test_configuration_may_change(sealed: tuple[Places, Record]) -> None:
    """People edit their configuration between cycles; that is no tampering."""
    places, record = sealed
    (places.root / "configs/slo.yaml").write_text("edited", "utf-8")
    assert check_outputs(places, [record]).matching == 4
