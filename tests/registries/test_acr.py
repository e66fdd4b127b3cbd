"""Azure's registry: the real azure-identity's token, exchanged for one that a real registry takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import pytest

from launch_agent import plugins
from launch_agent.environments.azure import AzureEnvironment
from launch_agent.errors import ConfigError, RegistryDenied, RegistryError
from launch_agent.registries import Registry
from launch_agent.registries.acr import AcrRegistry, create
from launch_agent.spec.image import ImageRef
from tests.fakes.azure_identity import AzureIdentity
from tests.fakes.clock import Clock
from tests.fakes.fault_proxy import status
from tests.fakes.images import push_image
from tests.fakes.loopback import Reply, Request
from tests.fakes.registry import NoRegistry, registry
from tests.fakes.registry_faults import RegistryFaults
from tests.fakes.token_server import TokenServer

ENVIRONMENT = AzureEnvironment()
PATH = "team/deeply/nested"
USER = "00000000-0000-0000-0000-000000000000"
ENDS = int(time.time()) + 3 * 3600
REFRESH = jwt.encode({"exp": ENDS}, "k" * 32)
EXCHANGE = "POST /oauth2/exchange"


@pytest.fixture
def identity(bare_environment: pytest.MonkeyPatch) -> Iterator[AzureIdentity]:
    with AzureIdentity() as server:
        for name, value in server.variables.items():
            bare_environment.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("acr")
    rights = {PATH: {"pull", "push"}, "team/readable": {"pull"}}
    with TokenServer(folder=folder / "tokens", rights=rights, accepts={USER: REFRESH}) as tokens:
        try:
            with registry(folder / "registry", tokens=tokens) as address:
                yield address
        except NoRegistry as reason:
            pytest.skip(str(reason))


@pytest.fixture
def acr(upstream: str) -> Iterator[RegistryFaults]:
    """A registry that has Azure's exchange in front of it."""
    with RegistryFaults(f"http://{upstream}") as proxy:
        proxy.always(exchange, on=EXCHANGE)
        yield proxy


def exchange(request: Request, _forward: Callable[[], Reply]) -> Reply:
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["access_token"]
    assert form["service"] == [request.headers["host"]]
    if not form["access_token"][0].startswith("aad-token-for-https://containerregistry.azure.net"):
        return Reply.of({"errors": [{"code": "UNAUTHORIZED", "message": "aad access token"}]}, status=401)
    return Reply.of({"refresh_token": REFRESH})


def host_of(acr: RegistryFaults) -> str:
    return acr.url.removeprefix("http://")


@pytest.mark.req("REG-1", "ACR-1", "ACR-2", "AZ-2")
def test_an_image_is_pushed_and_found_with_an_exchanged_token(
    identity: AzureIdentity, acr: RegistryFaults
) -> None:
    found = create(f"{host_of(acr)}/{PATH}", ENVIRONMENT, {})
    found.verify()
    assert found.exists(ImageRef.parse(f"{host_of(acr)}/{PATH}:v1")) == ""
    pushed = push_image(found.contents, "v1")
    assert found.exists(ImageRef.parse(f"{host_of(acr)}/{PATH}:v1")) == pushed.digest
    assert identity.asked == ["https://containerregistry.azure.net"]
    assert acr.count(EXCHANGE) == 1
    found.close()


@pytest.mark.req("ACR-3", "ENV-3")
def test_a_reader_is_told_which_role_a_push_needs(identity: AzureIdentity, acr: RegistryFaults) -> None:
    found = create(f"{host_of(acr)}/team/readable", ENVIRONMENT, {})
    with pytest.raises(RegistryDenied) as caught:
        found.verify()
    assert "the role AcrPush" in caught.value.hint
    found.close()


@pytest.mark.req("ACR-3")
def test_an_identity_without_a_role(identity: AzureIdentity, acr: RegistryFaults) -> None:
    acr.heal()
    acr.always(status(401, body=b'{"errors":[{"message":"no pull permission"}]}'), on=EXCHANGE)
    found = create(f"{host_of(acr)}/{PATH}", ENVIRONMENT, {})
    with pytest.raises(RegistryDenied, match=r"does not exchange.*no pull permission") as caught:
        found.credentials()
    assert "the role AcrPush" in caught.value.hint
    found.close()


def test_an_answer_of_another_kind(identity: AzureIdentity, acr: RegistryFaults) -> None:
    acr.heal()
    acr.always(status(200, body=b"<html>"), on=EXCHANGE)
    found = create(f"{host_of(acr)}/{PATH}", ENVIRONMENT, {})
    with pytest.raises(RegistryError, match="holds no refresh token"):
        found.credentials()
    found.close()


def test_no_identity(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(RegistryDenied, match="no token of Azure AD"):
        create("reg.azurecr.io/jobs", ENVIRONMENT, {}).credentials()


def test_the_exchanged_token_is_kept_as_long_as_it_says(identity: AzureIdentity, acr: RegistryFaults) -> None:
    clock = Clock(ENDS - 3 * 3600)
    found = AcrRegistry(f"{host_of(acr)}/{PATH}", ENVIRONMENT, clock=clock)
    first = found.credentials()
    assert first is not None
    assert (first.username, first.expires) == (USER, ENDS)
    clock.now = ENDS - 301
    assert found.credentials() is first
    clock.now = ENDS - 299
    assert found.credentials() is not first
    found.close()


@pytest.mark.req("ACR-1")
@pytest.mark.parametrize("host", ["reg.azurecr.io", "reg.azurecr.us", "reg.azurecr.cn"])
def test_a_build_logs_in_by_its_own_identity(host: str) -> None:
    found: Registry = plugins.load("registries", "acr").create(f"{host}/{PATH}", ENVIRONMENT, {})
    assert found.repository == f"{host}/{PATH}"
    (secret,) = found.build_pod().secrets
    assert json.loads(secret.files[".dockerconfigjson"].reveal()) == {"credHelpers": {host: "acr-env"}}


@pytest.mark.req("ENV-2")
def test_an_environment_of_another_cloud_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs an environment of type 'azure'"):
        create("reg.azurecr.io/jobs", None, {})
