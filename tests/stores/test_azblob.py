"""Build contexts in Azure Blob Storage: the real client against Azurite."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pytest
from azure.storage.blob import ContainerClient

from launch_agent import plugins
from launch_agent.errors import ConfigError, StoreError
from launch_agent.spec.secret import Secret
from launch_agent.stores.azblob import BlobStore, create
from tests.contracts.store import Place, StoreContract, unique
from tests.fakes.fault_proxy import status
from tests.fakes.registry_faults import RegistryFaults
from tests.fakes.stores import AZURE_ACCOUNT, AZURE_KEY


@pytest.fixture
def account(azurite_server: str, bare_environment: pytest.MonkeyPatch) -> str:
    bare_environment.setenv("AZURE_STORAGE_KEY", AZURE_KEY)
    return azurite_server


@pytest.fixture
def container(account: str) -> Iterator[ContainerClient]:
    with ContainerClient(account, unique(), credential=AZURE_KEY) as made:
        made.create_container()
        yield made


@pytest.mark.req("KAN-12", "KAN-13", "KAN-14", "BLOB-2")
class TestBlob(StoreContract):
    @pytest.fixture(params=["", "jobs/contexts"], ids=["container", "prefix"])
    def place(self, account: str, container: ContainerClient, request: pytest.FixtureRequest) -> Place:
        path = request.param
        prefix = f"{path}/" if path else ""
        name = container.container_name

        def contents() -> Mapping[str, bytes]:
            return {
                each.name: container.download_blob(each.name).readall() for each in container.list_blobs()
            }

        def later(seconds: float) -> BlobStore:
            return BlobStore(
                account, name, prefix, environment=None, access_key=Secret(AZURE_KEY),
                clock=lambda: time.time() + seconds,
            )  # fmt: skip

        return Place(
            store=plugins.load("stores", "azblob").create(f"{account}/{name}/{path}", None, {}),
            contents=contents,
            address=f"{account}/{name}/{prefix}",
            later=later,
            beside=lambda blob: container.upload_blob(f"{prefix}{blob}", b"y"),
            judges_links=True,
        )


@pytest.mark.req("KAN-29")
def test_a_build_gets_the_access_key_as_a_secret(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("AZURE_STORAGE_KEY", f" {AZURE_KEY}\n")
    store = create("https://treasure.blob.core.windows.net/contexts", None, {})
    patch = store.build_pod()
    (secret,) = patch.secrets
    (variable,) = patch.env
    assert secret.files["key"].reveal() == AZURE_KEY
    assert variable == {
        "name": "AZURE_STORAGE_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "{azure-storage}", "key": "key"}},
    }
    assert AZURE_KEY not in repr(patch)


@pytest.mark.parametrize("end", ["windows.net", "usgovcloudapi.net", "chinacloudapi.cn"])
def test_the_address_of_a_context(bare_environment: pytest.MonkeyPatch, end: str) -> None:
    bare_environment.setenv("AZURE_STORAGE_KEY", AZURE_KEY)
    store = create(f"https://treasure.blob.core.{end}/contexts/a/b/", None, {})
    assert store._place == f"https://treasure.blob.core.{end}/contexts/a/b/"


@pytest.mark.req("BLOB-1", "ENV-3")
def test_a_missing_role_is_named(container: ContainerClient, azurite_server: str) -> None:
    with RegistryFaults(azurite_server.removesuffix(f"/{AZURE_ACCOUNT}")) as proxy:
        refused = status(403, body=b"<Error><Code>AuthorizationPermissionMismatch</Code></Error>")
        proxy.always(refused, on="PUT")
        uri = f"{proxy.url}/{AZURE_ACCOUNT}/{container.container_name}"
        with pytest.raises(StoreError, match="cannot write to") as caught:
            create(uri, None, {}).verify()
    assert "the role Storage Blob Data Contributor" in caught.value.hint


def test_a_wrong_key(container: ContainerClient, account: str, bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    with pytest.raises(StoreError, match="cannot write to") as caught:
        create(f"{account}/{container.container_name}", None, {}).verify()
    assert "AZURE_STORAGE_KEY" in caught.value.hint


def test_a_container_that_is_not_there(account: str) -> None:
    with pytest.raises(StoreError, match="cannot write to") as caught:
        create(f"{account}/nobody-made-this", None, {}).verify()
    assert "make the container nobody-made-this" in caught.value.hint


@pytest.mark.req("ENV-2")
def test_an_environment_of_another_cloud_is_refused(bare_environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs an environment of type 'azure', or an access key"):
        create("https://treasure.blob.core.windows.net/contexts", None, {})
