"""Build contexts in Google Cloud Storage: the real client against fake-gcs-server."""

from __future__ import annotations

import logging
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import google.auth.credentials
import pytest
from google.cloud import storage

from launch_agent import plugins
from launch_agent.environments.gcp import GcpEnvironment
from launch_agent.errors import ConfigError, StoreError
from launch_agent.stores.gcs import GcsStore, create
from tests.contracts.store import Place, StoreContract, unique
from tests.fakes.fault_proxy import status
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.registry_faults import RegistryFaults

ENVIRONMENT = GcpEnvironment("treasure", "europe-west4")


@pytest.fixture
def server(gcs_server: str, tmp_path: Path, bare_environment: pytest.MonkeyPatch) -> Iterator[RegistryFaults]:
    """The store behind a proxy that a test can have refuse requests."""
    folder = tmp_path / "google"
    folder.mkdir()
    with GoogleTokens(folder) as tokens, RegistryFaults(gcs_server) as proxy:
        bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tokens.key_file))
        bare_environment.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def direct(gcs_server: str, server: RegistryFaults, bare_environment: pytest.MonkeyPatch) -> str:
    """The store itself: the proxy holds whole requests in memory."""
    bare_environment.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    return gcs_server


@pytest.fixture
def client(gcs_server: str) -> Iterator[storage.Client]:
    made = storage.Client(
        project="treasure",
        credentials=google.auth.credentials.AnonymousCredentials(),
        client_options={"api_endpoint": gcs_server},
    )
    yield made
    made.close()


@pytest.fixture
def bucket(client: storage.Client) -> str:
    return str(client.create_bucket(unique()).name)


@pytest.mark.req("GCS-1", "GCS-2", "GCS-3", "GCS-4", "GCS-5", "KAN-11", "KAN-13", "KAN-14")
class TestGcs(StoreContract):
    @pytest.fixture(params=["", "jobs/contexts"], ids=["bucket", "prefix"])
    def place(
        self, client: storage.Client, direct: str, bucket: str, request: pytest.FixtureRequest
    ) -> Place:
        path = request.param
        prefix = f"{path}/" if path else ""

        def contents() -> Mapping[str, bytes]:
            return {each.name: each.download_as_bytes() for each in client.list_blobs(bucket)}

        return Place(
            store=plugins.load("stores", "gcs").create(f"gs://{bucket}/{path}", ENVIRONMENT, {}),
            contents=contents,
            address=f"gs://{bucket}/{prefix}",
            later=lambda seconds: GcsStore(bucket, prefix, ENVIRONMENT, clock=lambda: time.time() + seconds),
            beside=lambda name: client.bucket(bucket).blob(f"{prefix}{name}").upload_from_string(b"y"),
            reach=lambda link: link.replace("https://storage.googleapis.com", direct),
        )


DENIED = b'{"error": {"code": 403, "message": "agent@treasure does not have %s access"}}'


@pytest.mark.req("GCS-2", "GCS-3", "GCS-4", "GCS-5", "ENV-3")
@pytest.mark.parametrize(
    ("on", "right"),
    [
        (r"GET /storage/v1/b/[^/]+\?", "storage.buckets.get"),
        ("POST /upload/", "storage.objects.create"),
        ("GET /storage/v1/b/[^/]+/o/", "storage.objects.get"),
        ("DELETE /storage/v1/b/[^/]+/o/", "storage.objects.delete"),
    ],
)
def test_a_missing_permission_is_named(server: RegistryFaults, bucket: str, on: str, right: str) -> None:
    server.always(status(403, body=DENIED % right.encode()), on=on)
    with pytest.raises(StoreError, match="does not have") as caught:
        create(f"gs://{bucket}", ENVIRONMENT, {}).verify()
    assert f"give the agent's account {right} on the bucket {bucket}" in caught.value.hint
    assert not caught.value.retryable


def test_a_sweep_without_the_right_to_list_says_so(
    server: RegistryFaults, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.always(status(403, body=DENIED % b"storage.objects.list"), on="GET /storage/v1/b/[^/]+/o")
    assert create(f"gs://{bucket}", ENVIRONMENT, {}).sweep(0) == 0
    assert "storage.objects.list" in caplog.text


def test_a_broken_chunk_is_sent_again(server: RegistryFaults, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "context"
    file.write_bytes(bytes(17 * 1024 * 1024))
    server.next(status(503), on="(PUT|POST) /upload/resumable")
    create(f"gs://{bucket}", ENVIRONMENT, {}).put(file, "k")
    with urllib.request.urlopen(f"{server.upstream}/storage/v1/b/{bucket}/o/launch-context-k") as answer:
        assert b'"size":"17825792"' in answer.read().replace(b" ", b"")


def test_a_bucket_that_is_not_there(direct: str) -> None:
    with pytest.raises(StoreError, match="cannot look at gs://nobody-made-this") as caught:
        create("gs://nobody-made-this", ENVIRONMENT, {}).verify()
    assert "make the bucket" in caught.value.hint


def test_no_credentials(bare_environment: pytest.MonkeyPatch) -> None:
    from launch_agent.errors import CloudError

    with pytest.raises(CloudError, match="cannot find Google Cloud credentials"):
        create("gs://bucket", ENVIRONMENT, {}).verify()


@pytest.mark.req("ENV-2")
def test_an_environment_of_another_cloud_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs an environment of type 'gcp'"):
        create("gs://bucket", None, {})


def test_who_is_no_service_account_cannot_sign(bucket: str, direct: str) -> None:
    """A person's own credentials, as `gcloud auth application-default login` leaves them."""

    class Person:
        type, project, region = "gcp", "treasure", ""

        def session(self) -> object:
            class Own(google.auth.credentials.AnonymousCredentials):
                def refresh(self, request: object) -> None: ...

            return Own()

    with pytest.raises(StoreError, match="no service account's credentials") as refused:
        GcsStore(bucket, "", Person()).link("k", 60)
    assert "workload identity" in refused.value.hint
