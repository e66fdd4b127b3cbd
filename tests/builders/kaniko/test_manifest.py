"""What a build's Job consists of, for each cloud, and what the config may change of it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.builders.jobs.manifest import Build, job_name
from launch_agent.builders.jobs.overlay import lay_over
from launch_agent.builders.kaniko.manifest import compose, overlay
from launch_agent.builders.kaniko.settings import Settings, settings_from
from launch_agent.errors import ConfigError
from launch_agent.registries import pod
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from tests.fakes.control_plane import Cluster
from tests.fixtures.cluster import await_account

REF = ImageRef.parse("registry.example.com/team/jobs:" + "0a1b" * 10)
CONTEXT = BuildContext(
    directory=Path(),
    dockerfile=".launch-agent/Dockerfile",
    digest="0a1b" * 10,
    why="a test's",
    build_args={"WHO": "world"},
    labels={"org.opencontainers.image.title": "train"},
)
LOGIN = Credentials(host="registry.example.com", username="u", password=Secret("hush"))


def built(settings: Settings | None = None, patch: PodPatch | None = None) -> Build:
    return compose(
        CONTEXT,
        REF,
        "s3://bucket/contexts/x.tar.gz",
        patch or PodPatch(),
        settings or Settings(),
        agent="me",
        namespace="wandb",
    )


def container(build: Build) -> dict[str, Any]:
    (found,) = build.job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def variables(build: Build) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(build)["env"]}


@pytest.mark.req("KAN-8", "KAN-16", "IMG-3", "KAN-10")
def test_a_build_is_a_job_that_pushes_to_destination_and_hash() -> None:
    build = built(Settings(prefix="wandb-image-build"))
    assert build.job["kind"] == "Job"
    assert build.name.startswith("wandb-image-build-0a1b0a1b-")
    assert build.job["spec"]["backoffLimit"] == 0
    arguments = container(build)["args"]
    assert f"--destination=registry.example.com/team/jobs:{'0a1b' * 10}" in arguments
    assert "--context=s3://bucket/contexts/x.tar.gz" in arguments
    assert {"--build-arg=WHO=world", "--label=org.opencontainers.image.title=train"} <= set(arguments)


@pytest.mark.req("KAN-18", "KAN-19", "KAN-20", "KAN-21", "KAN-22", "SEC-5")
@pytest.mark.parametrize(
    ("store", "variable"),
    [("s3://b/c", "AWS_SHARED_CREDENTIALS_FILE"), ("gs://b/c", "GOOGLE_APPLICATION_CREDENTIALS")],
)
def test_a_secret_with_credentials_is_a_file_of_the_build(store: str, variable: str) -> None:
    options = {"build-context-store": store, "secret-name": "cloud-key", "secret-key": "key.json"}
    build = built(settings_from(options, {}))
    assert variables(build)[variable] == "/kaniko-secret/key.json"
    volumes = build.job["spec"]["template"]["spec"]["volumes"]
    assert {"name": "cloud", "secret": {"secretName": "cloud-key"}} in volumes
    assert not build.secrets


@pytest.mark.req("KAN-23")
def test_without_a_secret_the_clusters_identity_is_used() -> None:
    settings = settings_from(
        {"build-context-store": "s3://b/c"}, {"WANDB_LAUNCH_SERVICE_ACCOUNT_NAME": "irsa"}
    )
    spec = built(settings).job["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "irsa"
    assert spec["volumes"] == []
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.req("KAN-29", "GAP-20")
def test_azures_key_comes_from_a_secret() -> None:
    store = {"build-context-store": "https://acc.blob.core.windows.net/contexts"}
    chart = settings_from(store, {"LAUNCH_AGENT_AZURE_STORAGE_SECRET": "launch-azure/key"})
    named = settings_from({**store, "secret-name": "launch-azure", "secret-key": "key"}, {})
    for settings in (chart, named):
        reference = {"secretKeyRef": {"name": "launch-azure", "key": "key"}}
        assert variables(built(settings))["AZURE_STORAGE_ACCESS_KEY"] == reference


def test_the_registrys_login_is_a_secret_of_the_build_and_nowhere_else() -> None:
    build = built(patch=pod.with_credentials("registry.example.com", LOGIN))
    (secret,) = build.secrets
    assert "hush" not in json.dumps(build.job)
    config = base64.b64decode(secret["data"][".dockerconfigjson"]).decode()
    assert "registry.example.com" in config
    name = secret["metadata"]["name"]
    (volume,) = build.job["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == name
    assert name.startswith(build.name)


def test_a_secret_of_the_administrators_takes_the_place_of_ours() -> None:
    settings = settings_from({}, {"WANDB_LAUNCH_KANIKO_AUTH_SECRET": "push-here"})
    build = built(settings, pod.with_credentials("registry.example.com", LOGIN))
    assert not build.secrets
    (volume,) = build.job["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == "push-here"


def test_proxy_and_authorities_reach_the_build() -> None:
    environment = {
        "LAUNCH_AGENT_PASS_ON": "NO_PROXY,HTTPS_PROXY",
        "NO_PROXY": "10.0.0.0/8",
        "HTTPS_PROXY": "http://user:hush@proxy.example.com",
        "LAUNCH_AGENT_CA_CONFIGMAP": "roots/bundle.pem",
    }
    build = built(settings_from({}, environment))
    found = variables(build)
    assert found["NO_PROXY"] == "10.0.0.0/8"
    assert found["HTTPS_PROXY"]["secretKeyRef"]["name"] == build.secrets[0]["metadata"]["name"]
    assert "hush" not in json.dumps(build.job)
    assert found["SSL_CERT_FILE"] == "/etc/launch-agent/ca/ca.crt"


@pytest.mark.req("KAN-24", "KAN-25", "KAN-26", "KAN-27", "CON-23", "CON-28")
def test_the_documents_partial_job_is_laid_over_ours() -> None:
    """EX-B5: one container entry without a name, with an argument and a variable."""
    entry = {"args": ["--cache=false"], "env": [{"name": "MY_ENV_VAR", "value": "my-env-var-value"}]}
    build = built(Settings(overlay={"spec": {"template": {"spec": {"containers": [entry]}}}}))
    arguments = container(build)["args"]
    assert "--cache=false" in arguments
    assert "--cache=true" not in arguments
    assert any(argument.startswith("--destination=") for argument in arguments)
    assert variables(build)["MY_ENV_VAR"] == "my-env-var-value"
    assert container(build)["image"] == Settings().image


def test_the_first_container_is_the_one_that_builds_whatever_its_name() -> None:
    entry = {"name": "wandb-container-build", "resources": {"limits": {"memory": "8Gi"}}}
    build = built(Settings(overlay={"spec": {"template": {"spec": {"containers": [entry]}}}}))
    assert container(build)["image"] == Settings().image
    assert container(build)["resources"]["limits"] == {"memory": "8Gi"}


@given(st.text("abcz./-", min_size=1, max_size=12), st.text("abcz./-", min_size=1, max_size=12))
def test_different_places_have_different_names(one: str, two: str) -> None:
    refs = [ImageRef(host="h", path=f"{text}/team/jobs", tag="0a1b" * 10) for text in (one, two)]
    names = {job_name("p" * 40, each) for each in refs}
    assert (len(names) == 1) is (one == two)
    assert all(len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--cache=false", "--cache=true"], "--cache=true"),
        (["--cache", "false"], "--cache=false"),
        (["--cache=false"], "--cache=false"),
        (["--skip-tls-verify"], "--skip-tls-verify"),
        ({"cache": "false"}, "--cache=false"),
        (["--build-arg=A=1", "--build-arg", "B=2"], "--build-arg=B=2"),
    ],
)
def test_arguments_in_any_form(given: Any, expected: str) -> None:
    build = built(Settings(overlay={"spec": {"template": {"spec": {"containers": [{"args": given}]}}}}))
    arguments = container(build)["args"]
    assert expected in arguments
    assert "--build-arg=WHO=world" in arguments
    assert len([a for a in arguments if a.startswith("--cache=")]) == 1


def test_names_stay_ours_whatever_the_config_says() -> None:
    """openings B4: a name in the config made today's agent wait for a Job that was not there."""
    overlay = {"kind": "CronJob", "metadata": {"name": "mine", "namespace": "other", "labels": {"team": "a"}}}
    job = built(Settings(overlay=overlay)).job
    assert (job["kind"], job["metadata"]["namespace"]) == ("Job", "wandb")
    assert job["metadata"]["name"].startswith("wandb-launch-container-build-")
    assert job["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize("wrong", [{"args": "--cache"}, {"args": ["value"]}, {"env": {"A": "b"}}])
def test_what_cannot_be_laid_over_is_named(wrong: Mapping[str, Any]) -> None:
    overlay = {"spec": {"template": {"spec": {"containers": [wrong]}}}}
    with pytest.raises(ConfigError, match=r"must be|is no flag") as refused:
        built(Settings(overlay=overlay))
    assert refused.value.path.startswith("builder.kaniko-config.spec.template.spec.containers[0].")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["spec", "metadata", "x"]), JSON, max_size=3))
def test_no_overlay_changes_what_it_is_laid_over(laid: dict[str, Any]) -> None:
    base = {"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "kaniko"}]}}}}
    before = json.dumps(base)
    with contextlib.suppress(ConfigError):
        lay_over(base, overlay(Settings(overlay=laid)))
    assert json.dumps(base) == before


@pytest.fixture
def baseline(cluster: Cluster) -> Iterator[str]:
    """A namespace that admits what the standard `baseline` allows."""
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    name = "test-kaniko-baseline"
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"generateName": f"{name}-", "labels": labels},
    }
    made = cluster.kube.create(manifest)["metadata"]["name"]
    await_account(cluster.kube, made)
    yield made
    cluster.kube.delete("v1", "Namespace", "", made)


@pytest.mark.req("KAN-4", "SEC-8")
def test_pod_security_baseline_admits_the_pod(cluster: Cluster, baseline: str) -> None:
    build = built(patch=pod.with_credentials("registry.example.com", LOGIN))
    spec = build.job["spec"]["template"]["spec"]
    pod_of_it = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "build"}, "spec": spec}
    assert cluster.kube.create(pod_of_it, baseline)["metadata"]["name"] == "build"
