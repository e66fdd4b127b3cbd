"""Build contexts in Azure Blob Storage, opened by an access key or by the agent's own identity.

kaniko reads a context with an access key only (`AZURE_STORAGE_ACCESS_KEY`): where the agent has one, each
build gets it as a Secret of its own.

Pitfall: a container that is not there and an account that is not are told apart by the name service.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, ContainerClient, generate_blob_sas

from launch_agent.clients.cloud_faults import Cause, understand
from launch_agent.clients.oci.client import is_loopback
from launch_agent.errors import ConfigError, StoreError
from launch_agent.spec.podpatch import BuildSecret, PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.stores import Cloud
from launch_agent.stores.naming import MARK, name_of, prefix_of, probe
from launch_agent.telemetry import redact

# Four blocks of 8 MiB are in memory at once; a blob has 50,000 at most, which makes 400 GB.
_BLOCK = 8 * 1024 * 1024
_CONCURRENCY = 4
# Clocks differ: a key that begins in the service's future opens nothing yet.
_SKEW = datetime.timedelta(minutes=10)
# The longest that the service lends a key for: seven days.
_LONGEST_LINK = 604_800.0
_CONNECT, _READ, _RETRIES = 10, 60, 3
# The chart's name for it first, then that of kaniko and of older agents.
_VARIABLES = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY")
_SECRET, _FILE = "azure-storage", "key"
_ROLE = (
    "give the agent's identity the role Storage Blob Data Contributor on {place}, or the agent the account's "
    "access key (AZURE_STORAGE_KEY; in the chart azureStorageAccessKey)"
)


class BlobStore:
    """The prefix `prefix` of a container. `account` is the address of the storage account; `scope` an
    encryption scope, empty for the container's own."""

    def __init__(
        self,
        account: str,
        container: str,
        prefix: str,
        *,
        environment: Cloud | None,
        access_key: Secret,
        scope: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._account = account
        self._container_name = container
        self._prefix = prefix
        self._environment = environment
        self._access_key = access_key
        self._extra: dict[str, Any] = {"encryption_scope": scope} if scope else {}
        self._clock = clock
        self._place = f"{account}/{container}/{prefix}"

    def verify(self) -> None:
        """Write, read and delete, as contexts are."""
        name = name_of(self._prefix, probe())
        with self._container() as container:
            with self._speaking("write to"):
                container.upload_blob(name, b"", **self._extra)
            try:
                with self._speaking("read from"):
                    container.get_blob_client(name).get_blob_properties()
            finally:
                with self._speaking("delete from"):
                    container.delete_blob(name)

    def put(self, archive: Path, key: str) -> str:
        name = name_of(self._prefix, key)
        with self._container() as container, self._speaking("write to"), archive.open("rb") as stream:
            container.upload_blob(
                name,
                stream,
                length=archive.stat().st_size,
                overwrite=True,
                max_concurrency=_CONCURRENCY,
                **self._extra,
            )
        return f"{self._account}/{self._container_name}/{name}"

    def link(self, key: str, seconds: float) -> Secret:
        """Signed with the access key, or with a key that the service lends to the agent's identity."""
        now = datetime.datetime.now(datetime.UTC)
        ends = now + datetime.timedelta(seconds=min(seconds, _LONGEST_LINK))
        with self._service() as service, self._speaking("sign an address in"):
            lent = None if self._access_key else service.get_user_delegation_key(now - _SKEW, ends)
            blob = service.get_blob_client(self._container_name, name_of(self._prefix, key))
            signed = generate_blob_sas(
                str(blob.account_name),
                blob.container_name,
                blob.blob_name,
                account_key=self._access_key.reveal() or None,
                user_delegation_key=lent,
                permission=BlobSasPermissions(read=True),
                expiry=ends,
            )
        return Secret(f"{blob.url}?{signed}")

    def delete(self, key: str) -> None:
        with self._container() as container, self._speaking("delete from"):
            self._delete(container, name_of(self._prefix, key))

    def sweep(self, older_than: float) -> int:
        removed = 0
        with self._container() as container, self._speaking("list and delete from"):
            for blob in list(container.list_blobs(name_starts_with=f"{self._prefix}{MARK}")):
                if self._clock() - blob.last_modified.timestamp() > older_than:
                    self._delete(container, blob.name)
                    removed += 1
        return removed

    def build_pod(self) -> PodPatch:
        """The access key, as a Secret of the build; nothing where the agent has none."""
        if not self._access_key:
            return PodPatch()
        source = {"secretKeyRef": {"name": f"{{{_SECRET}}}", "key": _FILE}}
        return PodPatch(
            env=[{"name": "AZURE_STORAGE_ACCESS_KEY", "valueFrom": source}],
            secrets=[BuildSecret(name=_SECRET, files={_FILE: self._access_key})],
        )

    def _delete(self, container: ContainerClient, name: str) -> None:
        try:
            container.delete_blob(name, delete_snapshots="include")
        except ResourceNotFoundError as error:
            # The SDK sets the code of its service on errors of its core.
            if getattr(error, "error_code", "") != "BlobNotFound":
                raise

    @contextmanager
    def _container(self) -> Iterator[ContainerClient]:
        with self._service() as service:
            yield service.get_container_client(self._container_name)

    @contextmanager
    def _service(self) -> Iterator[BlobServiceClient]:
        credential: Any = self._access_key.reveal()
        if not credential and self._environment is not None:
            credential = self._environment.session()
        with BlobServiceClient(
            self._account,
            credential=credential,
            connection_timeout=_CONNECT,
            read_timeout=_READ,
            retry_total=_RETRIES,
            max_block_size=_BLOCK,
            max_single_put_size=_BLOCK,
        ) as service:
            yield service

    @contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot {doing} {self._place}: {error}") from error
        except AzureError as error:
            fault = understand(error)
            hint = {
                Cause.DENIED: _ROLE.format(place=f"{self._account}/{self._container_name}"),
                Cause.ABSENT: f"make the container {self._container_name}",
                Cause.NO_CREDENTIALS: _ROLE.format(place=f"{self._account}/{self._container_name}"),
                Cause.UNREACHABLE: f"is {self._account} the right account?",
            }.get(fault.cause, "")
            message = f"cannot {doing} {self._place}: {fault.message}"
            raise StoreError(message, hint=hint, retryable=fault.is_retryable) from error


def create(uri: str, environment: Cloud | None, options: Mapping[str, Any]) -> BlobStore:
    """`uri` is `https://account.blob.core.windows.net/container/path`; an emulator on the loopback has the
    account as the path's first part. `options` may hold `build-context-key`."""
    access_key = Secret(next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "").strip())
    if not access_key and (environment is None or environment.type != "azure"):
        raise ConfigError(
            f"the store {uri} needs an environment of type 'azure', or an access key",
            path="environment",
            hint="write environment: {type: azure}, or set AZURE_STORAGE_KEY",
        )
    redact.hide(access_key)
    address = urlsplit(uri)
    parts = address.path.strip("/").split("/")
    account = f"{address.scheme}://{address.netloc}"
    if is_loopback(address.netloc):
        account, parts = f"{account}/{parts[0]}", parts[1:]
    return BlobStore(
        account,
        parts[0],
        prefix_of("/".join(parts[1:])),
        environment=environment,
        access_key=access_key,
        scope=str(options.get("build-context-key", "")),
    )
