"""What a build's Job consists of, for each cloud, with all that the parts of a config add to it.

A case is a folder of tests/golden/kaniko: a launch config, `environment.yaml`, the agent's variables as the
chart sets them, and `manifests.yaml`, the Job and its Secrets. With `UPDATE_GOLDEN=1` in the environment this
test writes them anew: read the diff before you commit it.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
import yaml

from launch_agent.builders import Parts
from launch_agent.builders.jobs.manifest import Build
from launch_agent.builders.kaniko.builder import KanikoBuilder
from launch_agent.builders.kaniko.settings import IMAGE, settings_from
from launch_agent.config.load import load
from launch_agent.control import supplies
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.secret import Secret
from launch_agent.stores.azblob import BlobStore
from launch_agent.stores.naming import name_of

GOLDEN = Path(__file__).parents[2] / "golden" / "kaniko"
TAG = "0a1b" * 10
# As Azure signs it.
LINK = Secret("https://treasure.blob.core.windows.net/contexts/launch-context-k.tar.gz?sig=hush")
CONTEXT = BuildContext(
    directory=Path(),
    dockerfile=".launch-agent/Dockerfile",
    digest=TAG,
    why="a test's",
    build_args={"WHO": "world"},
    labels={"org.opencontainers.image.title": "train"},
)


def built(name: str, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Composed as the agent composes it, of the environment, store and registry of the config."""
    monkeypatch.setattr(BlobStore, "link", lambda *_: LINK)
    given = yaml.safe_load((GOLDEN / name / "environment.yaml").read_text()) or {}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    config = load(GOLDEN / name / "launch-config.yaml", {"WANDB_API_KEY": "x", **given})
    found = supplies.make(config, dict(os.environ))
    assert found.registry is not None
    parts = Parts(agent="me", registry=found.registry, store=found.store, environment=found.environment)
    plain = bool(config.builder.registry_options.get("plain-http"))
    settings = settings_from(config.builder.options, given, is_plain=plain)
    builder = KanikoBuilder(lambda: pytest.fail("nothing is asked"), parts, settings)
    ref = ImageRef.parse(f"{found.registry.repository}:{TAG}")
    store = str(config.builder.options.get("build-context-store", ""))
    uri = f"{store}/{name_of('', 'k.tar.gz')}" if store else "tar:///build-contexts/launch-context-k.tar.gz"
    return builder.compose(CONTEXT, ref, uri, "k.tar.gz", "wandb")


def _told(build: Build) -> str:
    """As YAML, with what Secrets hold in clear."""
    clear = [
        {**each, "data": {key: base64.b64decode(text).decode() for key, text in each["data"].items()}}
        for each in build.secrets
    ]
    return yaml.safe_dump_all([build.job, *clear], sort_keys=False, width=200)


@pytest.mark.req(
    "KAN-16", "KAN-18", "KAN-19", "KAN-22", "KAN-23", "KAN-25", "KAN-28", "KAN-29", "KAN-30", "GAP-4", "GAP-5"
)  # fmt: skip
@pytest.mark.parametrize("name", sorted(each.name for each in GOLDEN.iterdir()))
def test_the_manifests_are_what_they_must_be(name: str, bare_environment: pytest.MonkeyPatch) -> None:
    build = built(name, bare_environment)
    told = _told(build)
    file = GOLDEN / name / "manifests.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(told)
    assert told == file.read_text()
    assert "hush" not in str(build.job)


def test_the_reference_names_the_image_that_is_used() -> None:
    schema = json.loads((Path(__file__).parents[3] / "schemas" / "builder.json").read_text())
    assert IMAGE in schema["properties"]["kaniko-image"]["description"]
