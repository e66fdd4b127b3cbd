"""The Azure environment: the real azure-identity against a managed identity endpoint of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from launch_agent import plugins
from launch_agent.environments import Environment
from launch_agent.environments.azure import create
from launch_agent.errors import CloudError
from tests.fakes.azure_identity import AzureIdentity


@pytest.fixture
def identity(bare_environment: pytest.MonkeyPatch) -> Iterator[AzureIdentity]:
    with AzureIdentity() as server:
        for name, value in server.variables.items():
            bare_environment.setenv(name, value)
        yield server


@pytest.mark.req("ENV-1", "AZ-1", "AZ-2")
def test_the_credentials_are_those_that_azure_identity_finds(identity: AzureIdentity) -> None:
    environment: Environment = plugins.load("environments", "azure").create({"type": "azure"})
    environment.verify()
    assert identity.asked == ["https://management.azure.com"]
    assert (environment.type, environment.region, environment.project) == ("azure", "", "")
    assert environment.build_pod().labels == {"azure.workload.identity/use": "true"}


def test_another_cloud_is_asked_for_its_own_service(
    identity: AzureIdentity, bare_environment: pytest.MonkeyPatch
) -> None:
    bare_environment.setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us")
    create({}).verify()
    assert identity.asked == ["https://management.usgovcloudapi.net"]


def test_no_credentials(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(CloudError, match="cannot get a token of Azure") as caught:
        create({"type": "azure"}).verify()
    assert "AZURE_CLIENT_ID" in caught.value.hint
    assert len(caught.value.message) < 500


def test_an_identity_that_does_not_exist(identity: AzureIdentity) -> None:
    identity.absent = True
    with pytest.raises(CloudError, match="cannot get a token of Azure"):
        create({"type": "azure"}).verify()
