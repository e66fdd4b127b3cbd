"""Build contexts in Amazon S3: in parts where they are large, encrypted as the config says.

Pitfall: an upload in parts that breaks leaves its parts, which cost money and which no listing shows. boto3
gives them up where the policy allows it (`s3:AbortMultipartUpload`, which the documented `s3:*Object` does
not cover); a lifecycle rule for incomplete uploads is the bucket's own way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from launch_agent.clients.cloud_faults import Cause, understand
from launch_agent.errors import ConfigError, StoreError
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.stores import Cloud
from launch_agent.stores.naming import MARK, name_of, prefix_of, probe

# Four parts of 16 MiB are in memory at once; S3 takes 10,000 parts, which makes 160 GB.
_PART = 16 * 1024 * 1024
_TRANSFER = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)
_CLIENT_SECONDS = 900.0
# The longest that Amazon signs an address for: seven days.
_LONGEST_LINK = 604_800.0
_CREDENTIALS = "are the agent's AWS credentials in order?"


class S3Store:
    """The prefix `prefix` of a bucket. `key` is a KMS key, empty for the bucket's own encryption."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        environment: Cloud,
        *,
        key: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._environment = environment
        self._extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
        self._clock = clock
        self._lock = threading.Lock()
        self._client: tuple[Any, float] = (None, 0.0)

    def verify(self) -> None:
        """List, write, read and delete, as contexts are."""
        name = name_of(self._prefix, probe())
        place = {"Bucket": self._bucket, "Key": name}
        client = self._api()
        with self._speaking("list", "s3:ListBucket", bucket=True):
            client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}{MARK}", MaxKeys=1)
        with self._speaking("write to", "s3:PutObject"):
            client.put_object(**place, Body=b"", **self._extra)
        try:
            with self._speaking("read from", "s3:GetObject"):
                client.head_object(**place)
        finally:
            with self._speaking("delete from", "s3:DeleteObject"):
                client.delete_object(**place)

    def put(self, archive: Path, key: str) -> str:
        name = name_of(self._prefix, key)
        with self._speaking("write to", "s3:PutObject"):
            self._api().upload_file(
                str(archive), self._bucket, name, ExtraArgs=dict(self._extra), Config=_TRANSFER
            )
        return f"s3://{self._bucket}/{name}"

    def link(self, key: str, seconds: float) -> Secret:
        """Signed with the agent's own credentials: where those end sooner, so does the address."""
        # The older signature opens nothing that a KMS key encrypts.
        client = self._environment.session().client("s3", config=Config(signature_version="s3v4"))
        place = {"Bucket": self._bucket, "Key": name_of(self._prefix, key)}
        with self._speaking("sign an address in", "s3:GetObject"):
            signed = client.generate_presigned_url(
                "get_object", Params=place, ExpiresIn=int(min(seconds, _LONGEST_LINK))
            )
        return Secret(signed)

    def delete(self, key: str) -> None:
        with self._speaking("delete from", "s3:DeleteObject"):
            self._api().delete_object(Bucket=self._bucket, Key=name_of(self._prefix, key))

    def sweep(self, older_than: float) -> int:
        client = self._api()
        removed = 0
        with self._speaking("list", "s3:ListBucket", bucket=True):
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{MARK}"
            )
            found = [each for page in pages for each in page.get("Contents", ())]
        for each in found:
            if self._clock() - each["LastModified"].timestamp() > older_than:
                with self._speaking("delete from", "s3:DeleteObject"):
                    client.delete_object(Bucket=self._bucket, Key=each["Key"])
                removed += 1
        return removed

    def build_pod(self) -> PodPatch:
        """Nothing: the region and the identity are the environment's."""
        return PodPatch()

    def _api(self) -> Any:
        with self._lock:
            client, until = self._client
            if client is None or self._clock() >= until:
                client = self._environment.session().client("s3")
                self._client = (client, self._clock() + _CLIENT_SECONDS)
            return client

    @contextmanager
    def _speaking(self, doing: str, right: str, *, bucket: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot {doing} s3://{self._bucket}/{self._prefix}: {error}") from error
        except (ClientError, BotoCoreError, Boto3Error) as error:
            # What the transfer raises holds the cause in its words only, and the error itself behind it.
            fault = understand(error.__context__ if isinstance(error, Boto3Error) else error)
            arn = f"arn:aws:s3:::{self._bucket}" + ("" if bucket else f"/{self._prefix}*")
            hint = {
                Cause.DENIED: f"allow {right} on {arn} to the agent's identity",
                Cause.ABSENT: f"make the bucket, or change builder.build-context-store ({self._bucket})",
                Cause.NO_CREDENTIALS: _CREDENTIALS,
                Cause.BAD_CREDENTIALS: _CREDENTIALS,
            }.get(fault.cause, "")
            raise StoreError(
                f"cannot {doing} s3://{self._bucket}/{self._prefix}: {fault.message}",
                hint=hint,
                retryable=fault.is_retryable,
            ) from error


def create(uri: str, environment: Cloud | None, options: Mapping[str, Any]) -> S3Store:
    """`uri` is `s3://bucket/path`; `options` may hold `build-context-key`."""
    if environment is None or environment.type != "aws":
        raise ConfigError(
            f"the store {uri} needs an environment of type 'aws'",
            path="environment",
            hint="write environment: {type: aws, region: …}",
        )
    address = urlsplit(uri)
    key = str(options.get("build-context-key", ""))
    return S3Store(address.netloc, prefix_of(address.path), environment, key=key)
