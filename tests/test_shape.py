"""The shape of the product: what lies at its top, and the packages that it is made of and tested with."""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from launch_agent.assembly.wheels import normal

ROOT = Path(__file__).parents[1]
TOP = (
    "charts/launch-agent/Chart.yaml",
    "agent/launch_agent/__init__.py",
    "schemas/launch-config.json",
    "tests/conftest.py",
    "ct.yaml",
    "pyproject.toml",
    "README.md",
)


@pytest.mark.req("CARD-3")
@pytest.mark.parametrize("path", TOP)
def test_what_lies_at_the_top(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.req("CARD-1")
def test_it_is_a_chart_and_a_generator_of_images() -> None:
    from launch_agent.cli import image

    assert (ROOT / "charts" / "launch-agent" / "templates" / "deployment.yaml").is_file()
    assert {"render", "build", "push", "inspect"} <= image.COMMANDS.keys()


@pytest.mark.req("CARD-2")
def test_it_is_made_of_well_kept_packages_and_tested_with_the_charts_own_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {normal(Requirement(line).name) for line in lines}
    assert {"jinja2", "pyyaml", "jsonschema"} <= names
    assert {"kubernetes", "boto3", "google-cloud-storage", "azure-storage-blob", "docker", "pytest"} <= names
    modules = {file.parent.name for file in (ROOT / "tools").glob("*/go.mod")}
    assert modules
    text = "".join(file.read_text() for file in (ROOT / "tools").glob("*/go.mod"))
    for program in ("helm.sh/helm", "helm-unittest", "chart-testing"):
        assert program in text
