"""Artifact Registry: the real google-auth gets a token, and a registry with token auth takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent import plugins
from launch_agent.environments.gcp import GcpEnvironment
from launch_agent.errors import ConfigError, RegistryDenied
from launch_agent.registries import Registry
from launch_agent.registries.gar import GarRegistry, create
from launch_agent.spec.image import ImageRef
from tests.fakes.clock import Clock
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.images import push_image
from tests.fakes.registry import NoRegistry, registry
from tests.fakes.token_server import TokenServer

URI = "europe-west4-docker.pkg.dev/treasure/jobs/image"
ENVIRONMENT = GcpEnvironment("treasure", "europe-west4")
PATH = "treasure/jobs/image"


@pytest.fixture
def google(tmp_path: Path, bare_environment: pytest.MonkeyPatch) -> Iterator[GoogleTokens]:
    with GoogleTokens(tmp_path) as server:
        bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.key_file))
        yield server


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that takes Google's access tokens for a writer of one repository and a reader of another."""
    folder = tmp_path_factory.mktemp("gar")
    rights = {PATH: {"pull", "push"}, "treasure/jobs/readable": {"pull"}}
    accepts = {"oauth2accesstoken": "ya29."}
    with TokenServer(folder=folder / "tokens", rights=rights, accepts=accepts) as tokens:
        try:
            with registry(folder / "registry", tokens=tokens) as address:
                yield address
        except NoRegistry as reason:
            pytest.skip(str(reason))


@pytest.mark.req("REG-1", "GAR-1", "GAR-2", "GAR-7", "GAR-9")
def test_an_image_is_pushed_and_found_with_a_token_of_google(google: GoogleTokens, host: str) -> None:
    gar = create(f"{host}/{PATH}", ENVIRONMENT, {})
    gar.verify()
    assert gar.exists(ImageRef.parse(f"{host}/{PATH}:v1")) == ""
    pushed = push_image(gar.contents, "v1")
    assert gar.exists(ImageRef.parse(f"{host}/{PATH}:v1")) == pushed.digest
    assert google.issued == 1, "one token for all of it"
    gar.close()


@pytest.mark.req("GAR-6", "GAR-8")
def test_looking_for_an_image_lists_nothing(google: GoogleTokens, host: str) -> None:
    """Another image of the same repository is no hit: the manifest itself is asked for."""
    gar = create(f"{host}/{PATH}", ENVIRONMENT, {})
    push_image(gar.contents, "there")
    assert gar.exists(ImageRef.parse(f"{host}/{PATH}:absent")) == ""
    gar.close()


@pytest.mark.req("ENV-3")
def test_a_reader_is_told_which_permission_a_push_needs(google: GoogleTokens, host: str) -> None:
    gar = create(f"{host}/treasure/jobs/readable", ENVIRONMENT, {})
    with pytest.raises(RegistryDenied) as caught:
        gar.verify()
    assert "artifactregistry.repositories.uploadArtifacts" in caught.value.hint
    gar.close()


def test_the_registry_protocol(google: GoogleTokens) -> None:
    gar: Registry = plugins.load("registries", "gar").create(URI, ENVIRONMENT, {})
    assert gar.repository == URI
    found = gar.credentials()
    assert found is not None
    assert (found.host, found.username) == ("europe-west4-docker.pkg.dev", "oauth2accesstoken")
    assert found.password.reveal() == "ya29.1"


@pytest.mark.parametrize("uri", [URI, "eu.gcr.io/treasure/image", "gcr.io/treasure/image"])
def test_a_build_logs_in_by_its_own_identity(uri: str) -> None:
    (secret,) = create(uri, ENVIRONMENT, {}).build_pod().secrets
    host = uri.partition("/")[0]
    assert json.loads(secret.files[".dockerconfigjson"].reveal()) == {"credHelpers": {host: "gcr"}}


def test_a_token_is_renewed_before_it_ends(google: GoogleTokens) -> None:
    import time

    clock = Clock(time.time())
    gar = GarRegistry(URI, ENVIRONMENT, clock=clock)
    first = gar.credentials()
    assert first is not None
    assert first.expires is not None
    assert abs(first.expires - clock.now - 3600) < 120
    clock.now = first.expires - 301
    assert gar.credentials() is first
    clock.now = first.expires - 299
    second = gar.credentials()
    assert second is not None
    assert second.password.reveal() == "ya29.2"


def test_an_account_without_a_token(google: GoogleTokens) -> None:
    google.disabled = True
    with pytest.raises(RegistryDenied, match=r"cannot get an access token for europe.*account not found"):
        create(URI, ENVIRONMENT, {}).credentials()


@pytest.mark.req("ENV-2", "GAR-1")
def test_an_environment_of_another_cloud_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs an environment of type 'gcp'"):
        create(URI, None, {})
