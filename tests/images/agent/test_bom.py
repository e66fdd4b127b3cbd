"""Bills of materials keep CycloneDX's own schema, and say the same of the same image."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from launch_agent.assembly.contents import Kind, Package
from launch_agent.images.agent import bom

NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True)
PACKAGES = st.builds(
    Package,
    kind=st.sampled_from(Kind),
    name=NAMES,
    version=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12),
    licence=st.sampled_from(["", "MIT", "Apache-2.0 OR BSD-3-Clause", "Some words of a lawyer"]),
    size=st.integers(0, 1 << 40),
    summary=st.text(st.characters(blacklist_categories=("Cs",)), max_size=30),
    needs=st.lists(NAMES, max_size=3).map(tuple),
)


@pytest.fixture(scope="session")
def schema() -> jsonschema.protocols.Validator:
    """CycloneDX's schema of 1.6, strictly, with the ones that it refers to."""
    folder = resources.files("cyclonedx.schema") / "_res"

    def read(name: str) -> Any:
        return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())

    others = {"http://cyclonedx.org/schema/spdx.schema.json": read("spdx")}
    others["http://cyclonedx.org/schema/jsf-0.82.schema.json"] = read("jsf-0.82")
    registry: Registry[Any] = Registry().with_resources(
        (uri, Resource.from_contents(value)) for uri, value in others.items()
    )
    return jsonschema.Draft7Validator(read("bom-1.6"), registry=registry)


@given(st.lists(PACKAGES, max_size=6, unique_by=lambda each: (each.kind, each.name.lower(), each.version)))
def test_any_packages_make_a_bill_of_the_schema(
    schema: jsonschema.protocols.Validator, packages: list[Package]
) -> None:
    text = bom.document(
        packages, name="registry.example/agent:1", digest="sha256:" + "0" * 64, base="python:3"
    )
    told = json.loads(text)
    schema.validate(told)
    assert {each["name"] for each in told["components"][1:]} == {each.name for each in packages}
    assert text == bom.document(
        packages[::-1], name="registry.example/agent:1", digest="sha256:" + "0" * 64, base="python:3"
    )


def test_needs_licences_and_digests_are_told(schema: jsonschema.protocols.Validator) -> None:
    packages = [
        Package(
            kind=Kind.PYTHON, name="Jinja2", version="3.1", licence="BSD-3-Clause", needs=("markupsafe",)
        ),
        Package(kind=Kind.PYTHON, name="MarkupSafe", version="3.0", licence="words", size=7),
        Package(kind=Kind.DEBIAN, name="git", version="1:2.39.5-0+deb12u2"),
    ]
    told = json.loads(bom.document(packages, name="x", hashes={"jinja2": "sha256:" + "a" * 64}))
    schema.validate(told)
    git, jinja, markup = told["components"]
    assert git["purl"] == "pkg:deb/debian/git@1%3A2.39.5-0%2Bdeb12u2"
    assert jinja["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert jinja["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert markup["licenses"] == [{"license": {"name": "words"}}]
    assert {"ref": jinja["bom-ref"], "dependsOn": [markup["bom-ref"]]} in told["dependencies"]
