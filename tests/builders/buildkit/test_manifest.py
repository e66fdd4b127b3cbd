"""What a build's Job consists of, for each cloud.

A case is a folder of tests/golden/buildkit: a launch config, and `manifests.yaml`, the Job and its Secrets.
With `UPDATE_GOLDEN=1` in the environment this test writes them anew: read the diff before you commit it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.builders.buildkit.manifest import compose, opening
from launch_agent.builders.buildkit.settings import PUSH_SECRET, settings_from
from launch_agent.builders.jobs.manifest import Build
from launch_agent.config.load import load
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.passon import AUTHORITIES, PASS_ON
from launch_agent.spec.secret import Secret
from launch_agent.stores.pvc import ClaimStore
from tests.fakes.control_plane import Cluster
from tests.fixtures.cluster import await_account

GOLDEN = Path(__file__).parents[2] / "golden" / "buildkit"
TAG = "0a1b" * 10
CONTEXT = BuildContext(
    directory=Path(),
    dockerfile=".launch-agent/Dockerfile",
    digest=TAG,
    why="a test's",
    text="FROM docker.io/library/python:3.12-slim\n",
    build_args={"WHO": "world"},
    labels={"org.opencontainers.image.title": "train"},
)
LINK = Secret("https://store.example.com/context?sig=hush")
# What the chart sets, of what the cases are about.
ENVIRONMENTS = {
    "claim": {PUSH_SECRET: "registry-login"},
    "plain": {
        PASS_ON: "HTTPS_PROXY,NO_PROXY",
        "HTTPS_PROXY": "http://agent:hush@proxy.example.com:3128",
        "NO_PROXY": ".svc",
        AUTHORITIES: "authorities/ca.crt",
    },
}


def built(name: str, key: str = "k") -> Build:
    config = load(
        GOLDEN / name / "launch-config.yaml",
        {"WANDB_API_KEY": "x", "WANDB_LAUNCH_KANIKO_PVC_NAME": "contexts" if name == "claim" else ""},
    )
    settings = settings_from(
        config.builder.options,
        ENVIRONMENTS.get(name, {}),
        repository=config.builder.destination,
        is_plain=bool(config.builder.registry_options.get("plain-http")),
    )
    ref = ImageRef.parse(f"{config.builder.destination}:{TAG}")
    claim = ClaimStore("contexts", Path("/kaniko")).build_pod()
    ends = None if name == "plain" else 4e9  # clouds lend tokens
    login = Credentials(host=ref.host, username="u", password=Secret("hush"), expires=ends)
    return compose(
        CONTEXT,
        ref,
        f"tar:///build-contexts/launch-context-{key}.tar.gz",
        Secret("") if name == "claim" else LINK,
        claim if name == "claim" else opening(ref.host, login),
        settings,
        secrets={each: Secret("hush") for each in settings.secrets},
        agent="me",
        namespace="wandb",
    )


def _told(build: Build) -> str:
    """As YAML, with what Secrets hold in clear."""
    clear = [
        {**each, "data": {key: base64.b64decode(text).decode() for key, text in each["data"].items()}}
        for each in build.secrets
    ]
    return yaml.safe_dump_all([build.job, *clear], sort_keys=False, width=200)


@pytest.mark.parametrize("name", sorted(each.name for each in GOLDEN.iterdir()))
def test_the_manifests_are_what_they_must_be(name: str) -> None:
    told = _told(built(name))
    file = GOLDEN / name / "manifests.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(told)
    assert told == file.read_text()
    assert "hush" not in str(built(name).job)


def container(build: Build) -> dict[str, Any]:
    (found,) = build.job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_agents_identity_is_not_the_builds() -> None:
    spec = built("aws").job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    assert spec["automountServiceAccountToken"] is False
    assert container(built("aws"))["securityContext"]["runAsUser"] == 1000


def test_who_joins_a_job_leaves_its_context_alone() -> None:
    """Two agents meet in one Job, each with a context that is gone when it turns away."""
    first, second = built("aws"), built("aws", "another")
    names = [{each["metadata"]["name"] for each in build.secrets} for build in (first, second)]
    assert first.name == second.name
    (shared,) = names[0] & names[1]
    assert shared.endswith("-docker-config")


@pytest.fixture
def namespaces(cluster: Cluster) -> Iterator[dict[str, str]]:
    """One for each Pod Security standard."""
    made = {}
    for level in ("baseline", "privileged"):
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "generateName": f"test-buildkit-{level}-",
                "labels": {"pod-security.kubernetes.io/enforce": level},
            },
        }
        made[level] = cluster.kube.create(manifest)["metadata"]["name"]
        await_account(cluster.kube, made[level])
    yield made
    for name in made.values():
        cluster.kube.delete("v1", "Namespace", "", name)


def test_pod_security_admits_the_pod_as_privileged_only(cluster: Cluster, namespaces: dict[str, str]) -> None:
    """As docs/jobs-from-code.md says."""
    spec = built("aws").job["spec"]["template"]["spec"]
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "build"}, "spec": spec}
    assert cluster.kube.create(manifest, namespaces["privileged"])["metadata"]["name"] == "build"
    with pytest.raises(Exception, match="seccompProfile"):
        cluster.kube.create(manifest, namespaces["baseline"])
