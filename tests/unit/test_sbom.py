"""The bill of materials: valid, deterministic, honest about what is not known."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.version import Version

from node0lib.errors import ConfigError, EvidenceError
from node0lib.evidence.sbom import Component, build
from node0lib.shell.environment import installed, pin_mismatches

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROOT = Component("node0", "0.1.0", license_expression="Apache-2.0", requires=("left", "right"))
LEFT = Component("left", "1.0", license_expression="MIT", hashes=(("SHA-256", "0" * 64),), requires=("right",))
RIGHT = Component("right", "2.0", license_name="BSD License", author="Ann", supplier="Works")


def test_it_is_valid_cyclonedx() -> None:
    """The document passes the strict validation of CycloneDX 1.6."""
    text = build([LEFT, RIGHT], ROOT, at=AT).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_equal_input_gives_equal_bytes() -> None:
    """Order of the input does not matter; a change of content or time gives another serial number."""
    one = build([LEFT, RIGHT], ROOT, at=AT)
    assert one == build([RIGHT, LEFT], ROOT, at=AT)
    other = build([LEFT, RIGHT], replace(ROOT, version="0.1.1"), at=AT)
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]
    serial = UUID(int=7)
    assert json.loads(build([LEFT, RIGHT], ROOT, at=AT, serial=serial))["serialNumber"] == serial.urn


def test_what_is_known_is_there_and_the_rest_is_unknown() -> None:
    """Licence, producer, hash and relations are given as known, and said to be unknown where they are not."""
    bom = json.loads(build([LEFT, RIGHT], ROOT, at=AT))
    left, right = sorted(bom["components"], key=lambda c: c["name"])
    assert left["licenses"] == [{"expression": "MIT"}] and right["licenses"][0]["license"]["name"] == "BSD License"
    assert left["supplier"]["name"] == left["authors"][0]["name"] == "unknown"
    assert (right["supplier"]["name"], right["authors"][0]["name"]) == ("Works", "Ann")
    assert left["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}] and "hashes" not in right
    assert right["properties"] == [{"name": "urn:node0:sbom:hash", "value": "unknown"}]
    graph = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert graph == {
        "pkg:pypi/node0@0.1.0": ["pkg:pypi/left@1.0", "pkg:pypi/right@2.0"],
        "pkg:pypi/left@1.0": ["pkg:pypi/right@2.0"],
        "pkg:pypi/right@2.0": [],
    }
    assert bom["metadata"]["timestamp"].startswith("2026-11-24T12:00:00")
    assert bom["metadata"]["lifecycles"] == [{"phase": "operations"}]


@pytest.mark.parametrize(
    ("components", "what"),
    [
        ([LEFT, LEFT, RIGHT], "occur twice: left"),
        ([LEFT], "requires right, not among the components"),
        ([LEFT, Component("right", "2", hashes=(("CRC", "00"),))], "cannot be written"),
    ],
)
def test_input_that_makes_no_sense_is_refused(components: list[Component], what: str) -> None:
    """Doubled names, dangling requirements and unknown algorithms are errors, not silently dropped."""
    with pytest.raises(EvidenceError, match=what):
        build(components, ROOT, at=AT)


def test_the_running_environment_is_described() -> None:
    """This interpreter's packages make a valid document, with extras followed and no requirement dangling."""
    components = installed()
    known = {component.name: component for component in components}
    assert len(known) == len(components) and list(known) == sorted(known)
    assert "cryptography" in known["node0"].requires
    assert "jsonschema" in known["cyclonedx-python-lib"].requires  # through node0's extra json-validation
    assert all(set(component.requires) <= known.keys() for component in components)
    text = build(components, known["node0"], at=AT).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_pins_are_compared_with_what_is_installed(tmp_path: Path) -> None:
    """Only installed packages with another version are named; spelling and absent packages do not matter."""
    have = {component.name: component.version for component in installed()}
    next_major = Version(have["pyyaml"]).major + 1
    pins = tmp_path / "constraints.txt"
    text = f"# pins\n\nPyYAML=={next_major}  # a reason\nclick=={have['click']}\nnot_here==1\n-c other.txt\n"
    pins.write_text(text + "rich==1; python_version < '3'\nhttpx>=0.1\n", encoding="utf-8")
    expected = f"pyyaml {have['pyyaml']} is installed, constraints.txt pins {next_major}"
    assert pin_mismatches(pins) == (expected,)


def test_a_bad_constraints_file_is_a_config_error(tmp_path: Path) -> None:
    """A missing file or a line that is no requirement is named with its place."""
    with pytest.raises(ConfigError, match="cannot be read"):
        pin_mismatches(tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_text("click==8\n???\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad.txt:2: '\?\?\?'"):
        pin_mismatches(tmp_path / "bad.txt")
