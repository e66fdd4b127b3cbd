"""A real API server takes the objects that are made of the golden configurations, every field of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.control_plane import Cluster
from tests.fixtures.cluster import await_account
from tests.runners.kubernetes.test_manifest_golden import CASES

NAMES = sorted(
    path.parent.name
    for path in CASES.glob("*/objects.yaml")
    if path.parent.name.startswith(("doc", "job-", "pod"))
)
BUILT_IN = {"v1", "batch/v1", "apps/v1"}


@pytest.fixture(scope="module")
def open_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace without Pod Security, since some cases are about what it refuses."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    cluster.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await_account(cluster.kube, name)
    yield name
    cluster.kube.delete("v1", "Namespace", "", name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.req("K8S-1", "K8S-2")
def test_the_server_knows_every_field(cluster: Cluster, open_namespace: str, name: str) -> None:
    for each in yaml.safe_load_all(Path(CASES / name / "objects.yaml").read_text(encoding="utf-8")):
        _dry_run(cluster, {**each, "metadata": {**each["metadata"], "namespace": open_namespace}})


def _dry_run(cluster: Cluster, manifest: dict[str, Any]) -> None:
    assert manifest["apiVersion"] in BUILT_IN
    where = cluster.kube.path(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["namespace"])
    cluster.kube.call("POST", where, manifest, query={"dryRun": "All", "fieldValidation": "Strict"})
