"""Build contexts in Google Cloud Storage, by resumable uploads.

Pitfall: the documented permissions have no `storage.objects.list`, so a sweep may find nothing to look at; it
says so once and leaves the rest to the bucket's lifecycle rules.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.credentials import Signing
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from launch_agent.clients.cloud_faults import Cause, understand
from launch_agent.errors import ConfigError, StoreError
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.stores import Cloud
from launch_agent.stores.naming import MARK, name_of, prefix_of, probe

_log = logging.getLogger(__name__)
# A chunk is in memory once; the service wants multiples of 256 KiB.
_CHUNK = 16 * 1024 * 1024
_TIMEOUT = (10.0, 60.0)
# The longest that Google signs an address for: seven days.
_LONGEST_LINK = 604_800.0
_RETRY = DEFAULT_RETRY.with_timeout(60.0)


class GcsStore:
    """The prefix `prefix` of a bucket. `key` is a KMS key's resource name, empty for the bucket's own."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        environment: Cloud,
        *,
        key: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket_name = bucket
        self._prefix = prefix
        self._environment = environment
        self._key = key or None
        self._clock = clock

    def verify(self) -> None:
        """Look at the bucket; write, read and delete, as contexts are."""
        with self._bucket() as bucket:
            with self._speaking("look at", "storage.buckets.get"):
                bucket.reload(timeout=_TIMEOUT, retry=_RETRY)
            blob = bucket.blob(name_of(self._prefix, probe()), kms_key_name=self._key)
            with self._speaking("write to", "storage.objects.create"):
                blob.upload_from_string(b"", timeout=_TIMEOUT, retry=_RETRY)
            try:
                with self._speaking("read from", "storage.objects.get"):
                    blob.reload(timeout=_TIMEOUT, retry=_RETRY)
            finally:
                with self._speaking("delete from", "storage.objects.delete"):
                    blob.delete(timeout=_TIMEOUT, retry=_RETRY)

    def put(self, archive: Path, key: str) -> str:
        name = name_of(self._prefix, key)
        with self._bucket() as bucket, self._speaking("write to", "storage.objects.create"):
            blob = bucket.blob(name, chunk_size=_CHUNK, kms_key_name=self._key)
            # The chunks of a resumable upload may be sent again whatever happened to the first.
            blob.upload_from_filename(str(archive), timeout=_TIMEOUT, retry=_RETRY)
        return f"gs://{self._bucket_name}/{name}"

    def link(self, key: str, seconds: float) -> Secret:
        """Signed with the account's key where the agent has one, else by Google, for which the account must
        be allowed to sign as itself."""
        credentials = self._environment.session()
        right = "iam.serviceAccounts.signBlob on itself (roles/iam.serviceAccountTokenCreator)"
        with self._bucket() as bucket, self._speaking("sign an address in", right):
            signer: dict[str, str] = {}
            if not isinstance(credentials, Signing):
                credentials.refresh(Request())
                account = getattr(credentials, "service_account_email", "")
                if not account:
                    raise StoreError(
                        f"cannot sign an address in gs://{self._bucket_name}: these are no service account's "
                        "credentials",
                        hint="let the agent run as a service account (workload identity, or its key)",
                    )
                signer = {"service_account_email": account, "access_token": credentials.token}
            blob = bucket.blob(name_of(self._prefix, key))
            lasts = datetime.timedelta(seconds=min(seconds, _LONGEST_LINK))
            address = blob.generate_signed_url(version="v4", method="GET", expiration=lasts, **signer)
        return Secret(address)

    def delete(self, key: str) -> None:
        with self._bucket() as bucket, self._speaking("delete from", "storage.objects.delete"):
            self._delete(bucket.blob(name_of(self._prefix, key)))

    def sweep(self, older_than: float) -> int:
        removed = 0
        with self._bucket() as bucket:
            try:
                with self._speaking("list", "storage.objects.list"):
                    prefix = f"{self._prefix}{MARK}"
                    found = list(bucket.list_blobs(prefix=prefix, timeout=_TIMEOUT, retry=_RETRY))
            except StoreError as error:
                _log.info("left-over build contexts are not looked for: %s", error)
                return 0
            for blob in found:
                if self._clock() - blob.updated.timestamp() > older_than:
                    with self._speaking("delete from", "storage.objects.delete"):
                        self._delete(blob)
                    removed += 1
        return removed

    def build_pod(self) -> PodPatch:
        """Nothing: the identity is the environment's."""
        return PodPatch()

    def _delete(self, blob: storage.Blob) -> None:
        try:
            blob.delete(timeout=_TIMEOUT, retry=_RETRY)
        except NotFound:
            return

    @contextmanager
    def _bucket(self) -> Iterator[storage.Bucket]:
        client = storage.Client(
            project=self._environment.project or None, credentials=self._environment.session()
        )
        try:
            yield client.bucket(self._bucket_name)
        finally:
            client.close()

    @contextmanager
    def _speaking(self, doing: str, right: str) -> Iterator[None]:
        try:
            yield
        except (GoogleAPIError, GoogleAuthError, requests.RequestException, OSError) as error:
            fault = understand(error)
            hint = {
                Cause.DENIED: f"give the agent's account {right} on the bucket {self._bucket_name}",
                Cause.ABSENT: f"make the bucket, or change builder.build-context-store ({self._bucket_name})",
            }.get(fault.cause, "")
            raise StoreError(
                f"cannot {doing} gs://{self._bucket_name}/{self._prefix}: {fault.message}",
                hint=hint,
                retryable=fault.is_retryable,
            ) from error


def create(uri: str, environment: Cloud | None, options: Mapping[str, Any]) -> GcsStore:
    """`uri` is `gs://bucket/path`; `options` may hold `build-context-key`."""
    if environment is None or environment.type != "gcp":
        raise ConfigError(
            f"the store {uri} needs an environment of type 'gcp'",
            path="environment",
            hint="write environment: {type: gcp, region: …, project: …}",
        )
    address = urlsplit(uri)
    key = str(options.get("build-context-key", ""))
    return GcsStore(address.netloc, prefix_of(address.path), environment, key=key)
