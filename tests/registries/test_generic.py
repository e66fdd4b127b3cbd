"""A registry of no cloud: Debian's, with the credentials of a Docker config."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest

from launch_agent import plugins
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.errors import RegistryDenied, RegistryError
from launch_agent.registries import Registry
from launch_agent.registries.generic import GenericRegistry, create
from launch_agent.spec.image import ImageRef
from launch_agent.telemetry.redact import redact
from tests.fakes.clock import Clock
from tests.fakes.images import push_image
from tests.fakes.registry import PASSWORD, USER


def write_config(folder: Path, host: str, password: str = PASSWORD) -> Path:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    file = folder / "config.json"
    file.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return file


@pytest.mark.req("REG-2", "REG-3", "REG-5", "REG-8", "REG-11", "REG-13", "IMG-2", "IMG-4")
def test_an_image_is_found_by_whoever_looks(
    private_registry: str, tmp_path: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, private_registry)
    bare_environment.setenv("DOCKER_CONFIG", str(tmp_path))
    destination = f"{private_registry}/generic/jobs"
    here: Registry = plugins.load("registries", "generic").create(destination, None, {})
    elsewhere = create(destination, None, {})
    here.verify()
    ref = ImageRef.parse(f"{destination}:v1")
    assert elsewhere.exists(ref) == ""
    pushed = push_image(elsewhere.contents, "v1")
    assert here.exists(ref) == pushed.digest
    assert here.exists(ImageRef.parse(f"{destination}@{pushed.digest}")) == pushed.digest
    assert here.exists(ImageRef.parse(f"{private_registry}/generic/other:v1")) == ""
    with pytest.raises(RegistryError, match="is not in the registry"):
        here.exists(ImageRef.parse("docker.io/a/b:v1"))
    elsewhere.close()


@pytest.mark.req("REG-6", "REG-9")
@pytest.mark.parametrize(
    ("destination", "host", "repository"),
    [
        ("my-team/jobs", "docker.io", "docker.io/my-team/jobs"),
        ("docker.io/my-team/jobs", "docker.io", "docker.io/my-team/jobs"),
        ("quay.io/team/jobs", "quay.io", "quay.io/team/jobs"),
        ("ghcr.io/team/jobs", "ghcr.io", "ghcr.io/team/jobs"),
        ("acme.jfrog.io/docker-local/jobs", "acme.jfrog.io", "acme.jfrog.io/docker-local/jobs"),
        ("harbor.example.com:8443/p/jobs", "harbor.example.com:8443", "harbor.example.com:8443/p/jobs"),
    ],
)
def test_credentials_of_well_known_registries(
    tmp_path: Path, destination: str, host: str, repository: str
) -> None:
    key = "https://index.docker.io/v1/" if host == "docker.io" else host
    registry = GenericRegistry(destination, DockerConfig({}, file=write_config(tmp_path, key)))
    found = registry.credentials()
    assert found is not None
    assert (found.host, found.username, found.password.reveal()) == (host, USER, PASSWORD)
    assert registry.repository == repository
    (secret,) = registry.build_pod().secrets
    assert secret.type == "kubernetes.io/dockerconfigjson"
    assert list(json.loads(secret.files[".dockerconfigjson"].reveal())["auths"]) == [key]
    registry.close()


def test_no_credentials_are_no_secret(tmp_path: Path) -> None:
    registry = GenericRegistry("quay.io/team/jobs", DockerConfig({}))
    assert registry.credentials() is None
    assert registry.build_pod().secrets == ()


def test_verify_finds_that_nothing_can_be_pushed(private_registry: str, tmp_path: Path) -> None:
    config = DockerConfig({}, file=write_config(tmp_path, private_registry, "barley"))
    registry = GenericRegistry(f"{private_registry}/generic/jobs", config)
    with pytest.raises(RegistryDenied, match="generic/jobs"):
        registry.verify()
    registry.close()


def test_verify_leaves_nothing_behind(docker_registry: str) -> None:
    registry = create(f"{docker_registry}/generic/verified", None, {})
    registry.verify()
    assert registry.exists(ImageRef.parse(f"{docker_registry}/generic/verified:latest")) == ""
    registry.close()


def test_a_renewed_file_is_read_within_minutes(tmp_path: Path) -> None:
    clock = Clock()
    file = write_config(tmp_path, "quay.io", "first word")
    registry = GenericRegistry("quay.io/team/jobs", DockerConfig({}, file=file), clock=clock)
    assert registry.credentials() is registry.credentials()
    write_config(tmp_path, "quay.io", "second word")
    clock.forward(299)
    assert "first word" in registry.credentials().password.reveal()  # type: ignore[union-attr] # it is there
    clock.forward(2)
    assert "second word" in registry.credentials().password.reveal()  # type: ignore[union-attr] # it is there
    assert redact("is it second word?") == "is it ***?"
    assert redact("is it first word?") == "is it first word?"


def test_a_password_is_in_no_log(
    private_registry: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = DockerConfig({}, file=write_config(tmp_path, private_registry))
    registry = GenericRegistry(f"{private_registry}/generic/logged", config)
    push_image(registry.contents, "v1")
    assert PASSWORD not in caplog.text
    assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in caplog.text
    registry.close()
